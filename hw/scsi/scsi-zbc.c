/*
 * SCSI disks: host-managed ZBC disks, whose zones live in the block node
 *
 * Translates between ZBC (INCITS 536) and the block layer's zone API: logical
 * blocks and bytes, descriptors, identity, and a sense for each errno of
 * block-zoned.h.  It keeps no condition of any zone and checks no rule that
 * the node checks.
 *
 * A command is a coroutine that checks the CDB, and goes to its end:
 * scsi-zbc-io.c has those that read and write, scsi-zbc-zones.c those that
 * manage and report zones, scsi-zbc-opcodes.c the list of them all.  Here are
 * how these run, what the disk says of itself, and which nodes are accepted.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/memalign.h"
#include "block/zoned-graph.h"
#include "qapi/error.h"
#include "scsi/constants.h"
#include "system/dma.h"
#include "scsi-zbc-int.h"
#include "trace.h"

/* How many zones are asked for at a time */
#define REPORT_BATCH 256

/* --- What is known of the disk --- */

uint64_t coroutine_mixed_fn zbc_size(const ZbcReq *r)
{
    int64_t sectors = blk_nb_sectors(zbc_blk(r));

    return MAX(sectors, 0) * BDRV_SECTOR_SIZE;
}

bool zbc_is_conventional(const SCSIZbc *z, uint64_t zone)
{
    return zone < z->limits.nr_zones && test_bit(zone, z->conventional);
}

bool zbc_zones_unchanged(const ZbcReq *r)
{
    const BlockZoneLimits *now = blk_zone_limits(zbc_blk(r));
    BlockZoneLimits told = zbc_of(r)->limits;

    if (!now) {
        return false;
    }
    told.nr_zones = now->nr_zones;
    return bdrv_same_zones(now, &told);
}

void zbc_drop_buf(ZbcReq *r)
{
    g_clear_pointer(&r->buf, qemu_vfree);
}

bool zbc_alloc_buf(ZbcReq *r, uint64_t len)
{
    zbc_drop_buf(r);
    r->buf_len = len;
    r->buf = blk_try_blockalign(zbc_blk(r), len);
    if (r->buf) {
        memset(r->buf, 0, len);
    }
    return r->buf;
}

/* --- Results --- */

int zbc_fail(ZbcReq *r, SCSISense sense)
{
    r->sense = sense;
    return ZBC_SENSE;
}

/* Has the guest broken a rule, or has the host failed? */
static bool is_guests_fault(const ZbcReq *r, int ret)
{
    return ret == ZBC_SENSE || bdrv_is_zone_error(ret) ||
           (ret == -EINVAL && r->command->acct == BLOCK_ACCT_ZONE_MGMT);
}

static SCSISense sense_of(const ZbcReq *r, int ret)
{
    SCSISense sense = SENSE_CODE(IO_ERROR);

    switch (ret) {
    case ZBC_SENSE:
        return r->sense;
    case -ERANGE:
        return SENSE_CODE(WRITE_BOUNDARY);
    case -ESPIPE:
        return SENSE_CODE(UNALIGNED_WRITE);
    case -EFBIG:
        /* The zone is full */
        return SENSE_CODE(INVALID_FIELD);
    case -EROFS:
        return SENSE_CODE(ZONE_READ_ONLY);
    case -ENODEV:
        return SENSE_CODE(ZONE_OFFLINE);
    case -EOVERFLOW:
    case -ETOOMANYREFS:
        return SENSE_CODE(ZONE_RESOURCES);
    default:
        scsi_sense_from_errno(-ret, &sense);
        return sense;
    }
}

static void check_condition(ZbcReq *r, SCSISense sense)
{
    trace_scsi_disk_check_condition(r->req.tag, sense.key, sense.asc,
                                    sense.ascq);
    scsi_req_build_sense(&r->req, sense);
    scsi_req_complete(&r->req, CHECK_CONDITION);
}

static void reject(ZbcReq *r, SCSISense sense)
{
    if (r->command && r->command->acct != BLOCK_ACCT_NONE) {
        block_acct_invalid(blk_get_stats(zbc_blk(r)), r->command->acct);
    }
    check_condition(r, sense);
}

/* The host has failed: what the user wants to be done about it */
static BlockErrorAction apply_policy(ZbcReq *r, int error)
{
    bool is_read = r->command->acct == BLOCK_ACCT_READ ||
                   r->command->acct == BLOCK_ACCT_NONE;
    BlockErrorAction action = blk_get_error_action(zbc_blk(r), is_read, error);

    blk_error_action(zbc_blk(r), action, is_read, error);
    return action;
}

static void good(ZbcReq *r, uint64_t transferred)
{
    r->req.residual = r->req.sg->size - transferred;
    scsi_req_complete(&r->req, GOOD);
}

static bool is_empty(const ZbcReq *r)
{
    return r->command->ranged && !r->bytes;
}

/* The data of a command are where they belong, or are sent there. */
static void succeed(ZbcReq *r)
{
    block_acct_done(blk_get_stats(zbc_blk(r)), &r->acct);
    switch (r->req.cmd.mode) {
    case SCSI_XFER_FROM_DEV:
        if (r->buf) {
            scsi_req_data(&r->req, r->buf_len);
        } else {
            good(r, r->sent);
        }
        return;
    case SCSI_XFER_TO_DEV:
        good(r, is_empty(r) ? 0 : r->req.cmd.xfer);
        return;
    default:
        good(r, 0);
        return;
    }
}

static void complete(ZbcReq *r, int ret)
{
    trace_scsi_zbc_done(r->req.tag, r->req.cmd.buf[0], ret);
    if (r->req.io_canceled) {
        scsi_req_cancel_complete(&r->req);
        return;
    }
    if (is_guests_fault(r, ret)) {
        reject(r, sense_of(r, ret));
        return;
    }
    if (ret < 0) {
        switch (apply_policy(r, -ret)) {
        case BLOCK_ERROR_ACTION_STOP:
            scsi_req_retry(&r->req);
            return;
        case BLOCK_ERROR_ACTION_REPORT:
            block_acct_failed(blk_get_stats(zbc_blk(r)), &r->acct);
            check_condition(r, sense_of(r, ret));
            return;
        default:
            break;
        }
    }
    succeed(r);
}

/* --- Life of a command --- */

static const ZbcCommand report_zones = {
    zbc_check_report, zbc_report, BLOCK_ACCT_NONE,
};
static const ZbcCommand zone_out = {
    zbc_check_out, zbc_out, BLOCK_ACCT_ZONE_MGMT,
};
static const ZbcCommand format_unit = {
    zbc_check_format, zbc_format, BLOCK_ACCT_ZONE_MGMT,
};
static const ZbcCommand synchronize_cache = {
    zbc_check_flush, zbc_flush, BLOCK_ACCT_FLUSH,
};
static const ZbcCommand read_blocks = {
    zbc_check_read, zbc_read, BLOCK_ACCT_READ, true,
};
static const ZbcCommand verify = {
    zbc_check_verify, zbc_verify, BLOCK_ACCT_NONE, true,
};
static const ZbcCommand write_blocks = {
    zbc_check_write, zbc_write, BLOCK_ACCT_WRITE, true,
};
static const ZbcCommand write_same = {
    zbc_check_write_same, zbc_write_same, BLOCK_ACCT_WRITE, true,
};
static const ZbcCommand report_opcodes = {
    zbc_check_opcodes, zbc_report_opcodes, BLOCK_ACCT_NONE,
};
/* What other disks have, or other devices, and this one has not */
static const ZbcCommand unsupported;

static const ZbcCommand *const commands[256] = {
    [ZBC_IN] = &report_zones,
    [ZBC_OUT] = &zone_out,
    [FORMAT_UNIT] = &format_unit,
    [SYNCHRONIZE_CACHE] = &synchronize_cache,
    [SYNCHRONIZE_CACHE_16] = &synchronize_cache,
    [READ_6] = &read_blocks,
    [READ_10] = &read_blocks,
    [READ_12] = &read_blocks,
    [READ_16] = &read_blocks,
    [VERIFY_10] = &verify,
    [VERIFY_12] = &verify,
    [VERIFY_16] = &verify,
    [WRITE_6] = &write_blocks,
    [WRITE_10] = &write_blocks,
    [WRITE_12] = &write_blocks,
    [WRITE_16] = &write_blocks,
    [WRITE_VERIFY_10] = &write_blocks,
    [WRITE_VERIFY_12] = &write_blocks,
    [WRITE_VERIFY_16] = &write_blocks,
    [WRITE_SAME_10] = &write_same,
    [WRITE_SAME_16] = &write_same,
    [MAINTENANCE_IN] = &report_opcodes,
};

/*
 * Lives as long as the coroutine, so that whoever cancels the command can wait.
 * It cannot be interrupted: a write has been done then, or has not.
 */
typedef struct ZbcAIOCB {
    BlockAIOCB common;
    ZbcReq *r;
} ZbcAIOCB;

static const AIOCBInfo zbc_aiocb_info = {
    .aiocb_size = sizeof(ZbcAIOCB),
};

/* What follows from the CDB and from the node as it is now */
static SCSISense coroutine_fn parse(ZbcReq *r)
{
    GRAPH_RDLOCK_GUARD();

    r->command = commands[r->req.cmd.buf[0]] ?: &unsupported;
    if (r->command == &unsupported) {
        return SENSE_CODE(INVALID_OPCODE);
    }
    if (!blk_co_is_available(zbc_blk(r))) {
        return SENSE_CODE(NO_MEDIUM);
    }
    return r->command->check(r);
}

static int coroutine_fn parse_and_run(ZbcReq *r)
{
    SCSISense sense = parse(r);

    trace_scsi_zbc_command(r->req.tag, r->req.cmd.buf[0], r->req.cmd.lba,
                           r->bytes, sense.key, sense.asc, sense.ascq);
    if (sense.key) {
        return zbc_fail(r, sense);
    }
    if (is_empty(r)) {
        return 0;
    }
    block_acct_start(blk_get_stats(zbc_blk(r)), &r->acct, r->bytes,
                     r->command->acct);
    return r->command->run(r);
}

/*
 * Until it is complete, the command is in flight for the BlockBackend, so that
 * a drained section waits for all of its steps.  It looks at nothing of the
 * node before: the adapter takes commands from its queue in an iothread, which
 * no drained section waits for, and the node is exchanged in one.
 */
static void coroutine_fn zbc_entry(void *opaque)
{
    ZbcAIOCB *acb = opaque;
    ZbcReq *r = acb->r;
    BlockBackend *blk = zbc_blk(r);
    int ret;

    blk_co_start_request(blk);
    ret = parse_and_run(r);
    r->req.aiocb = NULL;
    complete(r, ret);
    qemu_aio_unref(acb);
    /* The disk may be unplugged when nothing of it is in flight */
    scsi_req_unref(&r->req);
    blk_end_request(blk);
}

static void start(ZbcReq *r)
{
    ZbcAIOCB *acb = blk_aio_get(&zbc_aiocb_info, zbc_blk(r), NULL, NULL);

    acb->r = r;
    assert(!r->req.aiocb);
    r->req.aiocb = &acb->common;
    scsi_req_ref(&r->req);
    aio_co_enter(qemu_get_current_aio_context(),
                 qemu_coroutine_create(zbc_entry, acb));
}

static int32_t zbc_send_command(SCSIRequest *req, uint8_t *cdb)
{
    switch (req->cmd.mode) {
    case SCSI_XFER_FROM_DEV:
        return req->cmd.xfer;
    case SCSI_XFER_TO_DEV:
        return -req->cmd.xfer;
    default:
        start(DO_UPCAST(ZbcReq, req, req));
        return 0;
    }
}

static void zbc_read_data(SCSIRequest *req)
{
    if (req->dma_started) {
        /* The data has been fetched from r->buf */
        scsi_req_complete(req, GOOD);
    } else {
        start(DO_UPCAST(ZbcReq, req, req));
    }
}

static void zbc_write_data(SCSIRequest *req)
{
    start(DO_UPCAST(ZbcReq, req, req));
}

static uint8_t *zbc_get_buf(SCSIRequest *req)
{
    return DO_UPCAST(ZbcReq, req, req)->buf;
}

static void zbc_free_req(SCSIRequest *req)
{
    zbc_drop_buf(DO_UPCAST(ZbcReq, req, req));
}

/* A command that is migrated starts again, from its CDB and buffers. */
static const SCSIReqOps zbc_reqops = {
    .size         = sizeof(ZbcReq),
    .free_req     = zbc_free_req,
    .send_command = zbc_send_command,
    .read_data    = zbc_read_data,
    .write_data   = zbc_write_data,
    .get_buf      = zbc_get_buf,
};

const SCSIReqOps *scsi_zbc_reqops(uint8_t opcode)
{
    return commands[opcode] || !zbc_has_opcode(opcode) ? &zbc_reqops : NULL;
}

/* --- Migration --- */

static bool zones_needed(void *opaque)
{
    return ((SCSIDevice *)opaque)->zbc;
}

static const VMStateDescription vmstate_limits = {
    .name = "scsi-zbc/limits",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64_EQUAL(limits.size, SCSIZbc, NULL),
        VMSTATE_UINT32_EQUAL(limits.max_open, SCSIZbc, NULL),
        VMSTATE_UINT32_EQUAL(physical_block, SCSIZbc, NULL),
        VMSTATE_UINT64_EQUAL(max_transfer, SCSIZbc, NULL),
        VMSTATE_END_OF_LIST()
    },
};

static int zones_pre_load(void *opaque)
{
    if (((SCSIDevice *)opaque)->zbc) {
        return 0;
    }
    error_report("The disk is not zoned, and the one that was migrated is");
    return -EINVAL;
}

static int zones_post_load(void *opaque, int version_id)
{
    ((SCSIDevice *)opaque)->zbc->received = true;
    return 0;
}

int scsi_zbc_post_load(void *opaque, int version_id)
{
    SCSIZbc *z = ((SCSIDevice *)opaque)->zbc;

    if (!z) {
        return 0;
    }
    if (z->received) {
        z->received = false;
        return 0;
    }
    error_report("The disk is zoned, and the one that was migrated is not");
    return -EINVAL;
}

const VMStateDescription vmstate_scsi_zbc = {
    .name = "SCSIDevice/zbc",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_load = zones_pre_load,
    .post_load = zones_post_load,
    .needed = zones_needed,
    .fields = (const VMStateField[]) {
        VMSTATE_INT32_EQUAL(blocksize, SCSIDevice, NULL),
        VMSTATE_STRUCT_POINTER(zbc, SCSIDevice, vmstate_limits, SCSIZbc),
        VMSTATE_END_OF_LIST()
    },
};

/* --- Identity --- */

int scsi_zbc_inquiry(uint8_t *buf)
{
    static const uint16_t versions[] = {
        0x00a0,     /* SAM-5 */
        0x05c0,     /* SPC-5 */
        0x0600,     /* SBC-4 */
        0x0620,     /* ZBC */
    };

    for (int i = 0; i < ARRAY_SIZE(versions); i++) {
        stw_be_p(buf + 58 + 2 * i, versions[i]);
    }
    buf[4] = 96 - 5;
    return 96;
}

int scsi_zbc_vpd_pages(uint8_t *buf)
{
    buf[0] = 0xb0;  /* block limits */
    buf[1] = 0xb1;  /* block device characteristics: not host-aware */
    buf[2] = 0xb6;  /* zoned block device characteristics */
    return 3;
}

void scsi_zbc_block_limits(SCSIDevice *dev, SCSIBlockLimits *bl)
{
    bl->max_io_sectors = dev->zbc->max_transfer / dev->blocksize;
    /* There is no logical block provisioning */
    bl->unmap_sectors = 0;
    bl->max_unmap_sectors = 0;
    bl->max_unmap_descr = 0;
}

int scsi_zbc_characteristics(SCSIDevice *dev, uint8_t *buf)
{
    uint32_t max_open = dev->zbc->limits.max_open;

    memset(buf, 0, 0x3c);
    buf[0] = 1;                         /* URSWRZ: reads are not restricted */
    stl_be_p(buf + 4, UINT32_MAX);      /* optimal numbers: not reported */
    stl_be_p(buf + 8, UINT32_MAX);
    stl_be_p(buf + 12, max_open ? max_open : UINT32_MAX);
    return 0x3c;
}

bool scsi_zbc_may_select(SCSIDevice *dev, const uint8_t *bd)
{
    int64_t size = blk_getlength(dev->conf.blk);
    uint32_t blocks = ldl_be_p(bd), block = ldl_be_p(bd + 4) & 0xffffff;

    /* 0 is "as it is", and all ones "as many as there are" */
    return (!blocks || blocks == UINT32_MAX ||
            blocks == size / dev->blocksize) &&
           (!block || block == dev->blocksize);
}

/* --- Attachment --- */

void scsi_zbc_set_defaults(SCSIDevice *dev, uint16_t *rotation_rate)
{
    const BlockZoneLimits *zl = blk_zone_limits(dev->conf.blk);
    BlockConf *conf = &dev->conf;
    uint32_t unit;

    if (!zl) {
        return;
    }
    unit = MAX(zl->write_granularity, BDRV_SECTOR_SIZE);
    if (!conf->logical_block_size) {
        conf->logical_block_size = MIN_NON_ZERO(conf->physical_block_size,
                                                unit);
    }
    if (!conf->physical_block_size) {
        conf->physical_block_size = MAX(conf->logical_block_size, unit);
    }
    if (conf->discard_granularity == -1) {
        conf->discard_granularity = 0;
    }
    /* Linux takes "not reported" for yes, and writes one request at a time */
    if (!*rotation_rate) {
        *rotation_rate = 1;
    }
    blk_set_dev_knows_zones(conf->blk);
}

/*
 * Zones need an adapter that has the whole data of a command at once (most do
 * not), sends commands without data (megasas does not), and takes a report that
 * is shorter than its buffer for no error (pvscsi does not).
 */
static bool adapter_is_known(const SCSIDevice *dev)
{
    return object_dynamic_cast(OBJECT(dev->qdev.parent_bus->parent),
                               "virtio-scsi-device");
}

static bool check_options(SCSIDevice *dev, bool removable, Error **errp)
{
    const BlockConf *conf = &dev->conf;

    if (!adapter_is_known(dev)) {
        error_setg(errp, "Zoned disks are not supported by the host adapter "
                   "'%s'; use 'virtio-scsi'",
                   object_get_typename(OBJECT(dev->qdev.parent_bus->parent)));
        return false;
    }
    if (removable) {
        error_setg(errp, "removable=on: a zoned disk cannot be removable");
        return false;
    }
    if (conf->werror == BLOCKDEV_ON_ERROR_IGNORE) {
        error_setg(errp, "werror=ignore: the guest would believe in write "
                   "pointers that the zoned disk does not have; use report, "
                   "stop or enospc");
        return false;
    }
    if (conf->discard_granularity) {
        error_setg(errp, "discard_granularity=%" PRIu32 ": a zoned SCSI disk "
                   "has no discard; leave it out", conf->discard_granularity);
        return false;
    }
    if (dev->default_scsi_version < 5) {
        error_setg(errp, "scsi_version=%d: a zoned SCSI disk needs at least 5",
                   dev->default_scsi_version);
        return false;
    }
    return true;
}

static bool check_sizes(SCSIDevice *dev, const BlockZoneLimits *zl,
                        Error **errp)
{
    uint32_t physical = dev->conf.physical_block_size;
    int64_t size = blk_getlength(dev->conf.blk);

    if (physical % MAX(zl->write_granularity, BDRV_SECTOR_SIZE)) {
        error_setg(errp, "physical_block_size (%" PRIu32 ") must be a multiple "
                   "of the write granularity of the zoned disk (%" PRIu32 ")",
                   physical, zl->write_granularity);
        return false;
    }
    if (zl->size % physical) {
        error_setg(errp, "physical_block_size (%" PRIu32 ") must divide the "
                   "zone size of the zoned disk (%" PRIu64 ")", physical,
                   zl->size);
        return false;
    }
    if (size < 0) {
        error_setg_errno(errp, -size, "cannot get the size of the zoned disk");
        return false;
    }
    if (size % physical) {
        error_setg(errp, "physical_block_size (%" PRIu32 ") must divide the "
                   "size of the zoned disk (%" PRId64 "), or its last zone "
                   "cannot be written to the end", physical, size);
        return false;
    }
    if (zl->capacity && zl->capacity != zl->size) {
        error_setg(errp, "The zone capacity of the zoned disk (%" PRIu64 ") is "
                   "smaller than its zone size (%" PRIu64 "), which SCSI "
                   "cannot show; choose the same for zone.capacity and "
                   "zone.size of the image, or use 'virtio-blk' or 'nvme-ns'",
                   zl->capacity, zl->size);
        return false;
    }
    return true;
}

/*
 * Find the conventional zones, and all zones of hosts that do not tell the
 * capacity with their limits.
 */
static bool find_conventional(SCSIDevice *dev, uint32_t *sequential,
                              Error **errp)
{
    SCSIZbc *z = dev->zbc;
    g_autofree BlockZoneDescriptor *zones = g_new(BlockZoneDescriptor,
                                                  REPORT_BATCH);
    uint32_t i = 0;

    *sequential = 0;
    while (i < z->limits.nr_zones) {
        unsigned int nr = MIN(REPORT_BATCH, z->limits.nr_zones - i);
        int ret = blk_zone_report(dev->conf.blk, (int64_t)i * z->limits.size,
                                  &nr, zones);

        if (ret < 0 || nr == 0) {
            error_setg_errno(errp, ret < 0 ? -ret : EIO,
                             "cannot get a report of the disk's zones");
            return false;
        }
        for (unsigned int k = 0; k < nr; k++, i++) {
            if (zones[k].type == BLK_ZT_CONV) {
                set_bit(i, z->conventional);
            } else if (zones[k].cap != zones[k].length) {
                error_setg(errp, "The capacity of zone %" PRIu32 " of the "
                           "disk is smaller than the zone, which SCSI cannot "
                           "show", i);
                return false;
            } else {
                ++*sequential;
            }
        }
    }
    return true;
}

static bool check_limits(const BlockZoneLimits *zl, uint32_t sequential,
                         Error **errp)
{
    if (zl->max_active && zl->max_active < sequential) {
        error_setg(errp, "The zoned disk can have %" PRIu32 " active zones of "
                   "%" PRIu32 " sequential ones, and SCSI cannot show such a "
                   "limit; set zone.max_active_zones of the image to 0 (for an "
                   "existing one with qemu-img amend), or use 'virtio-blk' or "
                   "'nvme-ns'", zl->max_active, sequential);
        return false;
    }
    if (!is_power_of_2(zl->size)) {
        warn_report("The zone size of the zoned disk (%" PRIu64 ") is not a "
                    "power of two, which Linux needs", zl->size);
    }
    return true;
}

bool scsi_zbc_create(SCSIDevice *dev, bool removable, uint64_t max_io_size,
                     Error **errp)
{
    const BlockZoneLimits *zl = blk_zone_limits(dev->conf.blk);
    uint32_t physical = dev->conf.physical_block_size, sequential;
    SCSIZbc *z;

    if (!zl) {
        return true;
    }
    if (!check_options(dev, removable, errp) || !check_sizes(dev, zl, errp)) {
        return false;
    }
    dev->zbc = z = g_new0(SCSIZbc, 1);
    z->limits = *zl;
    z->physical_block = physical;
    z->max_transfer = MIN_NON_ZERO(max_io_size,
                                   blk_get_max_transfer(dev->conf.blk));
    z->max_transfer = QEMU_ALIGN_DOWN(z->max_transfer, physical);
    z->conventional = bitmap_new(zl->nr_zones);
    if (!z->max_transfer) {
        error_setg(errp, "max_io_size (%" PRIu64 ") is smaller than "
                   "physical_block_size (%" PRIu32 ")", max_io_size, physical);
        return false;
    }
    if (!find_conventional(dev, &sequential, errp) ||
        !check_limits(&z->limits, sequential, errp)) {
        return false;
    }
    dev->type = TYPE_ZBC;
    return true;
}

void scsi_zbc_destroy(SCSIDevice *dev)
{
    if (dev->zbc) {
        g_free(dev->zbc->conventional);
        g_clear_pointer(&dev->zbc, g_free);
    }
}
