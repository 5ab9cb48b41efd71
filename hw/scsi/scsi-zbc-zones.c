/*
 * SCSI disks: host-managed ZBC disks, whose zones live in the block node
 *
 * The commands that manage zones, and report them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "block/zoned-range.h"
#include "scsi/constants.h"
#include "scsi-zbc-int.h"

#define REPORT_HEADER   64
#define REPORT_ENTRY    64
#define ZONE_RESET      0x01    /* in byte 1: reset is recommended */
#define REPORT_BATCH    64      /* descriptors on their way to the guest */

/* REPORTING OPTIONS that are not conditions of a zone */
#define OPTION_ALL              0x00
#define OPTION_RESET            0x10    /* reset is recommended */
#define OPTION_NON_SEQ          0x11    /* written out of sequence */
#define OPTION_NOT_WP           0x3f

/* The parameter list of FORMAT UNIT (SBC-4): byte 0, byte 1, length in bytes */
#define FORMAT_PROTECTION       0x07
#define FORMAT_FOV              0x80    /* the options are valid */
#define FORMAT_OPTIONS          0x7c
#define FORMAT_IP               0x08    /* option: an initialization pattern */
#define LONG_FORMAT_LIST        8

static uint8_t service_action(const ZbcReq *r)
{
    return r->req.cmd.buf[1] & 0x1f;
}

static SCSISense check_zone_command(const ZbcReq *r)
{
    return zbc_zones_unchanged(r) ? ZBC_OK : SENSE_CODE(TARGET_FAILURE);
}

/* --- ZBC OUT --- */

static bool names_all(const ZbcReq *r)
{
    return r->req.cmd.buf[14] & 1;
}

static BlockZoneOp zone_op(const ZbcReq *r)
{
    switch (service_action(r)) {
    case ZBC_OUT_CLOSE:
        return BLK_ZO_CLOSE;
    case ZBC_OUT_FINISH:
        return BLK_ZO_FINISH;
    case ZBC_OUT_OPEN:
        return BLK_ZO_OPEN;
    default:
        return BLK_ZO_RESET;
    }
}

static void coroutine_fn all_zones(ZbcReq *r)
{
    r->start = 0;
    r->bytes = zbc_size(r);
}

SCSISense coroutine_fn zbc_check_out(ZbcReq *r)
{
    uint64_t size = zbc_size(r), zone_size = zbc_of(r)->limits.size;

    if (service_action(r) < ZBC_OUT_CLOSE ||
        service_action(r) > ZBC_OUT_RESET) {
        return SENSE_CODE(INVALID_FIELD);
    }
    if (!blk_is_writable(zbc_blk(r))) {
        return SENSE_CODE(WRITE_PROTECTED);
    }
    if (names_all(r)) {
        all_zones(r);
        return check_zone_command(r);
    }
    if (r->req.cmd.lba >= zbc_blocks(r, size)) {
        return SENSE_CODE(LBA_OUT_OF_RANGE);
    }
    r->start = zbc_bytes(r, r->req.cmd.lba);
    r->bytes = MIN(zone_size, size - r->start);
    if (r->start % zone_size ||
        zbc_is_conventional(zbc_of(r), r->start / zone_size) ||
        /* ZONE COUNT of ZBC-2: several zones are not supported */
        lduw_be_p(&r->req.cmd.buf[12]) > 1) {
        return SENSE_CODE(INVALID_FIELD);
    }
    return check_zone_command(r);
}

/* Does @op change a zone with this condition, if it is meant for all? */
static bool applies_to(BlockZoneOp op, BlockZoneState state)
{
    switch (state) {
    case BLK_ZS_IOPEN:
    case BLK_ZS_EOPEN:
        return op != BLK_ZO_OPEN;
    case BLK_ZS_CLOSED:
        return op != BLK_ZO_CLOSE;
    case BLK_ZS_FULL:
        return op == BLK_ZO_RESET;
    default:
        return false;
    }
}

/* Why can the node not do it with the zone that the command names? */
static int coroutine_fn explain(const BlockZoneDescriptor *zone, void *opaque)
{
    switch (zone->state) {
    case BLK_ZS_RDONLY:
        return -EROFS;
    case BLK_ZS_OFFLINE:
        return -ENODEV;
    default:
        return -EINVAL;
    }
}

static int coroutine_fn manage(ZbcReq *r, BlockZoneFlags flags)
{
    return blk_co_zone_mgmt(zbc_blk(r), zone_op(r),
                            BDRV_ZONE_NO_QUEUE | flags, r->start, r->bytes,
                            NULL);
}

static int coroutine_fn manage_one(ZbcReq *r)
{
    int ret = manage(r, BDRV_ZONE_LENIENT);

    if (ret == -EINVAL) {
        ret = blk_co_for_each_zone(zbc_blk(r), r->start, r->bytes,
                                   BDRV_REQ_NO_QUEUE, explain, NULL);
    }
    /* It was repaired meanwhile? */
    return ret == -EINVAL ? manage(r, BDRV_ZONE_LENIENT) : ret;
}

typedef struct ZbcEach {
    ZbcReq *r;
    uint64_t explicitly_open;   /* zones there will be */
} ZbcEach;

static int coroutine_fn count_open(const BlockZoneDescriptor *zone,
                                   void *opaque)
{
    ZbcEach *each = opaque;

    each->explicitly_open += zone->state == BLK_ZS_EOPEN ||
                             zone->state == BLK_ZS_CLOSED;
    return 0;
}

static int coroutine_fn manage_each(const BlockZoneDescriptor *zone,
                                    void *opaque)
{
    ZbcReq *r = ((ZbcEach *)opaque)->r;
    int ret;

    if (zone->type == BLK_ZT_CONV || !applies_to(zone_op(r), zone->state)) {
        return 0;
    }
    ret = blk_co_zone_mgmt(zbc_blk(r), zone_op(r), BDRV_ZONE_NO_QUEUE,
                           zone->start, zone->length, NULL);
    return MIN(ret, 0);
}

/* For the devices of hosts, which can only be reset as a whole */
static int coroutine_fn manage_all_by_one(ZbcReq *r)
{
    uint32_t max_open = zbc_of(r)->limits.max_open;
    ZbcEach each = { .r = r };
    int ret = 0;

    if (zone_op(r) == BLK_ZO_OPEN && max_open) {
        ret = blk_co_for_each_zone(zbc_blk(r), r->start, r->bytes,
                                   BDRV_REQ_NO_QUEUE, count_open, &each);
        if (ret == 0 && each.explicitly_open > max_open) {
            ret = -ETOOMANYREFS;
        }
    }
    return ret < 0 ? ret :
           blk_co_for_each_zone(zbc_blk(r), r->start, r->bytes,
                                BDRV_REQ_NO_QUEUE, manage_each, &each);
}

static int coroutine_fn manage_all(ZbcReq *r)
{
    int ret = manage(r, BDRV_ZONE_ALL);

    return ret == -ENOTSUP ? manage_all_by_one(r) : ret;
}

int coroutine_fn zbc_out(ZbcReq *r)
{
    return names_all(r) ? manage_all(r) : manage_one(r);
}

/* --- FORMAT UNIT --- */

SCSISense coroutine_fn zbc_check_format(ZbcReq *r)
{
    if (!blk_is_writable(zbc_blk(r))) {
        return SENSE_CODE(WRITE_PROTECTED);
    }
    if (r->req.cmd.buf[1] & 0xc0) {
        /* FMTPINFO: protection information is not supported */
        return SENSE_CODE(INVALID_FIELD);
    }
    all_zones(r);
    return check_zone_command(r);
}

/*
 * The header of the parameter list.  What would be lost is refused: a list of
 * defects, a pattern for the blocks, and protection information.
 */
static bool has_valid_list(const ZbcReq *r)
{
    const uint8_t *list = r->buf;
    bool is_long = r->req.cmd.xfer == LONG_FORMAT_LIST;
    uint32_t defects = is_long ? ldl_be_p(list + 4) : lduw_be_p(list + 2);

    if (!(list[1] & FORMAT_FOV) && (list[1] & FORMAT_OPTIONS)) {
        return false;
    }
    return !(list[0] & FORMAT_PROTECTION) && !(list[1] & FORMAT_IP) &&
           !(is_long && list[3]) && !defects;
}

/* All zones are empty then; what is in the conventional ones is undefined. */
int coroutine_fn zbc_format(ZbcReq *r)
{
    uint32_t len = r->req.cmd.xfer;

    if (len && !zbc_fetch(r, len)) {
        return zbc_fail(r, SENSE_CODE(TARGET_FAILURE));
    }
    if (len && !has_valid_list(r)) {
        return zbc_fail(r, SENSE_CODE(INVALID_PARAM));
    }
    return blk_co_zone_mgmt(zbc_blk(r), BLK_ZO_RESET,
                            BDRV_ZONE_NO_QUEUE | BDRV_ZONE_ALL, r->start,
                            r->bytes, NULL);
}

/* --- REPORT ZONES --- */

static uint8_t report_option(const ZbcReq *r)
{
    return r->req.cmd.buf[14] & 0x3f;
}

static bool is_valid_option(uint8_t option)
{
    return option <= 0x07 || option == OPTION_RESET ||
           option == OPTION_NON_SEQ || option == OPTION_NOT_WP;
}

static bool matches(uint8_t option, const BlockZoneDescriptor *zone)
{
    static const BlockZoneState states[] = {
        [0x01] = BLK_ZS_EMPTY,
        [0x02] = BLK_ZS_IOPEN,
        [0x03] = BLK_ZS_EOPEN,
        [0x04] = BLK_ZS_CLOSED,
        [0x05] = BLK_ZS_FULL,
        [0x06] = BLK_ZS_RDONLY,
        [0x07] = BLK_ZS_OFFLINE,
    };

    switch (option) {
    case OPTION_ALL:
        return true;
    case OPTION_RESET:
        return zone->attributes & BDRV_ZA_RESET_RECOMMENDED;
    case OPTION_NON_SEQ:
        return false;
    case OPTION_NOT_WP:
        return zone->state == BLK_ZS_NOT_WP;
    default:
        return zone->state == states[option];
    }
}

SCSISense coroutine_fn zbc_check_report(ZbcReq *r)
{
    uint64_t size = zbc_size(r);

    if (service_action(r) != ZBC_IN_REPORT_ZONES) {
        return SENSE_CODE(INVALID_FIELD);
    }
    if (r->req.cmd.lba >= zbc_blocks(r, size)) {
        return SENSE_CODE(LBA_OUT_OF_RANGE);
    }
    if (!is_valid_option(report_option(r))) {
        return SENSE_CODE(INVALID_FIELD);
    }
    r->start = QEMU_ALIGN_DOWN(zbc_bytes(r, r->req.cmd.lba),
                               zbc_of(r)->limits.size);
    r->bytes = size - r->start;
    return check_zone_command(r);
}

/* @d is zero where a descriptor is reserved. */
static void put_descriptor(const ZbcReq *r, uint8_t *d,
                           const BlockZoneDescriptor *zone)
{
    bool has_wp = zone->state >= BLK_ZS_EMPTY && zone->state <= BLK_ZS_CLOSED;

    QEMU_BUILD_BUG_ON(BLK_ZT_CONV != 1 || BLK_ZT_SWR != 2 || BLK_ZT_SWP != 3);
    QEMU_BUILD_BUG_ON(BLK_ZS_NOT_WP != 0 || BLK_ZS_EMPTY != 1 ||
                      BLK_ZS_IOPEN != 2 || BLK_ZS_EOPEN != 3 ||
                      BLK_ZS_CLOSED != 4 || BLK_ZS_RDONLY != 0xd ||
                      BLK_ZS_FULL != 0xe || BLK_ZS_OFFLINE != 0xf);

    d[0] = zone->type;
    d[1] = zone->state << 4 |
           (zone->attributes & BDRV_ZA_RESET_RECOMMENDED ? ZONE_RESET : 0);
    stq_be_p(d + 8, zbc_blocks(r, zone->length));
    stq_be_p(d + 16, zbc_blocks(r, zone->start));
    /* Readers know all ones as "there is none" */
    stq_be_p(d + 24, has_wp ? zbc_blocks(r, zone->wp) : UINT64_MAX);
}

typedef struct ZbcReport {
    ZbcReq *r;
    uint8_t option;
    bool partial;
    uint32_t room;              /* descriptors that fit */
    uint32_t found;
    uint32_t sent;              /* descriptors in the guest's buffers... */
    uint32_t n;                 /* ...and in the batch */
    uint8_t batch[REPORT_BATCH][REPORT_ENTRY];
} ZbcReport;

static void put_batch(ZbcReport *report)
{
    zbc_put(report->r, REPORT_HEADER + (uint64_t)report->sent * REPORT_ENTRY,
            report->batch, report->n * REPORT_ENTRY);
    report->sent += report->n;
    report->n = 0;
}

static int coroutine_fn report_zone(const BlockZoneDescriptor *zone,
                                    void *opaque)
{
    ZbcReport *report = opaque;

    if (!matches(report->option, zone)) {
        return 0;
    }
    if (report->found < report->room) {
        put_descriptor(report->r, report->batch[report->n++], zone);
        if (report->n == REPORT_BATCH) {
            put_batch(report);
        }
    }
    report->found++;
    return report->partial && report->found >= report->room;
}

/* The number of zones from that at @start to the end */
static uint64_t zones_from(const ZbcReq *r)
{
    return DIV_ROUND_UP(r->bytes, zbc_of(r)->limits.size);
}

static void put_header(ZbcReport *report)
{
    ZbcReq *r = report->r;
    uint8_t header[REPORT_HEADER] = {};
    uint64_t len = MIN(r->req.cmd.xfer, sizeof(header));

    stl_be_p(header, report->found * REPORT_ENTRY);
    /* SAME is 0: types and lengths may be different */
    stq_be_p(header + 8, zbc_blocks(r, r->start + r->bytes) - 1);
    zbc_put(r, 0, header, len);
    r->sent = len + (uint64_t)report->sent * REPORT_ENTRY;
}

/* Memory for a few descriptors will do, however many the guest asks for. */
int coroutine_fn zbc_report(ZbcReq *r)
{
    uint64_t zones = zones_from(r), bytes = r->bytes;
    uint64_t allocated = MAX(r->req.cmd.xfer, REPORT_HEADER);
    ZbcReport report = {
        .r = r,
        .option = report_option(r),
        .partial = r->req.cmd.buf[14] & 0x80,
        .room = MIN((allocated - REPORT_HEADER) / REPORT_ENTRY, zones),
    };
    int ret;

    zbc_drop_buf(r);
    if (report.option == OPTION_ALL || (report.partial && !report.room)) {
        /* Those that do not fit are not looked at */
        bytes = MIN(bytes, report.room * zbc_of(r)->limits.size);
    }
    ret = blk_co_for_each_zone(zbc_blk(r), r->start, bytes, BDRV_REQ_NO_QUEUE,
                               report_zone, &report);
    if (ret < 0) {
        return ret;
    }
    put_batch(&report);
    if (report.option == OPTION_ALL && !report.partial) {
        report.found = zones;
    }
    put_header(&report);
    return 0;
}
