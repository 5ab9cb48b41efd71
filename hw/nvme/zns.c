/*
 * NVMe: zoned namespaces whose zones live in the block node
 *
 * Translates between the ZNS Command Set (1.1, and TP4076 for the random write
 * area) and the block layer's zone API: logical blocks and bytes, descriptors,
 * identify data, events, and a status for each errno of block-zoned.h.  It
 * keeps no state of any zone and checks no rule that the node checks.
 *
 * A command is a coroutine that goes from its first check to its status:
 * zns-io.c has those that read and write, zns-zones.c those that manage and
 * report zones.  Here are how these run, what happens to the namespace as a
 * whole, events, identify data, and which drives are accepted.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "block/block_int-common.h"
#include "zns-int.h"
#include "trace.h"

#define NSATTR_WRITE_PROTECTED 0x01
#define AEC_ZONE_CHANGED (1u << 27)

/* How many zones are asked for at a time */
#define REPORT_BATCH 256

struct QEMU_PACKED ZnsChangedList {
    uint16_t count;
    uint8_t rsvd2[6];
    uint64_t zslba[511];
};

QEMU_BUILD_BUG_ON(sizeof(ZnsChangedList) != 4096);

/* More zones changed than the list can hold */
#define CHANGED_TOO_MANY 0xffff

/* --- Life of a command --- */

static ZnsCommand *const zns_commands[] = {
    [NVME_CMD_WRITE] = zns_write,
    [NVME_CMD_READ] = zns_read,
    [NVME_CMD_COMPARE] = zns_compare,
    [NVME_CMD_WRITE_ZEROES] = zns_write_zeroes,
    [NVME_CMD_DSM] = zns_dsm,
    [NVME_CMD_VERIFY] = zns_verify,
    [NVME_CMD_COPY] = zns_copy,
    [NVME_CMD_ZONE_MGMT_SEND] = zns_mgmt_send,
    [NVME_CMD_ZONE_MGMT_RECV] = zns_mgmt_receive,
    [NVME_CMD_ZONE_APPEND] = zns_append,
};

/*
 * Lives as long as the command, so that whoever deletes its queue can wait.
 * It cannot be cancelled: zones would be left at some point in between.
 */
typedef struct ZnsAIOCB {
    BlockAIOCB common;
    NvmeRequest *req;
} ZnsAIOCB;

static const AIOCBInfo zns_aiocb_info = {
    .aiocb_size = sizeof(ZnsAIOCB),
};

static void coroutine_fn zns_command_entry(void *opaque)
{
    ZnsAIOCB *acb = opaque;
    NvmeRequest *req = acb->req;

    req->status = zns_commands[req->cmd.opcode](nvme_ctrl(req), req);
    trace_pci_nvme_zns_done(nvme_cid(req), req->status);
    if (req->status) {
        block_acct_failed(blk_get_stats(zns_blk(req->ns)), &req->acct);
    }
    req->flushed = true;        /* writes were given BDRV_REQ_FUA */
    nvme_rw_complete_cb(req, 0);
    qemu_aio_unref(acb);
}

bool nvme_zbd_io_cmd(NvmeCtrl *n, NvmeRequest *req)
{
    uint8_t opcode = req->cmd.opcode;
    ZnsAIOCB *acb;

    if (opcode >= ARRAY_SIZE(zns_commands) || !zns_commands[opcode]) {
        return false;
    }
    trace_pci_nvme_zns_start(nvme_cid(req), nvme_nsid(req->ns),
                             nvme_io_opc_str(opcode));
    acb = blk_aio_get(&zns_aiocb_info, zns_blk(req->ns), NULL, NULL);
    acb->req = req;
    req->aiocb = &acb->common;
    qemu_coroutine_enter(qemu_coroutine_create(zns_command_entry, acb));
    return true;
}

/* --- Format, shutdown --- */

BlockAIOCB *nvme_zbd_format(NvmeNamespace *ns, NvmeZbdFormatStep step,
                            BlockCompletionFunc *cb, void *opaque)
{
    BlockZoneOp op = step == NVME_ZBD_FORMAT_OFFLINE ? BLK_ZO_OFFLINE
                                                     : BLK_ZO_RESET;

    return blk_aio_zone_mgmt(zns_blk(ns), op, BDRV_ZONE_ALL, 0,
                             zns_total_bytes(&ns->zbd->limits), cb, opaque);
}

static void zns_power_cycle(NvmeNamespace *ns)
{
    int ret = 0;

    /* A write may be in a node above that of the zones. */
    nvme_ns_drain(ns);
    if (blk_is_available(zns_blk(ns)) && blk_is_writable(zns_blk(ns))) {
        ret = blk_zone_mgmt(zns_blk(ns), BLK_ZO_POWER_CYCLE, BDRV_ZONE_ALL, 0,
                            zns_total_bytes(&ns->zbd->limits), NULL);
    }
    if (ret < 0) {
        warn_report("cannot close the zones of namespace %" PRIu32 ": %s",
                    nvme_nsid(ns), strerror(-ret));
    }
}

void nvme_zbd_shutdown(NvmeCtrl *n)
{
    for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++) {
        NvmeNamespace *ns = nvme_subsys_ns(n->subsys, nsid);

        if (ns && ns->zbd) {
            zns_power_cycle(ns);
        }
    }
}

/* --- Events --- */

static void zns_list_add(ZnsChangedList *list, uint64_t zslba)
{
    unsigned int count = le16_to_cpu(list->count);

    if (count == CHANGED_TOO_MANY) {
        return;
    }
    for (unsigned int i = 0; i < count; i++) {
        if (list->zslba[i] == cpu_to_le64(zslba)) {
            return;
        }
    }
    if (count == ARRAY_SIZE(list->zslba)) {
        *list = (ZnsChangedList) { .count = cpu_to_le16(CHANGED_TOO_MANY) };
    } else {
        list->zslba[count] = cpu_to_le64(zslba);
        list->count = cpu_to_le16(count + 1);
    }
}

static NvmeAsyncEvent *zns_pending_event(NvmeCtrl *n, uint32_t nsid)
{
    NvmeAsyncEvent *event;

    QTAILQ_FOREACH(event, &n->aer_queue, entry) {
        if (event->nsid == nsid &&
            event->result.log_page == NVME_LOG_CHANGED_ZONES) {
            return event;
        }
    }
    return NULL;
}

/* The node has changed a zone, and no command of ours was the reason. */
static void zns_zone_changed(void *opaque, int64_t offset)
{
    NvmeNamespace *ns = opaque;
    NvmeSubsystem *subsys = ns->subsys ? ns->subsys : ns->ctrl->subsys;
    uint64_t zslba = zns_blocks(ns, offset);

    trace_pci_nvme_zns_zone_changed(nvme_nsid(ns), zslba);
    for (uint32_t i = 0; i < NVME_MAX_CONTROLLERS; i++) {
        NvmeCtrl *n = nvme_subsys_ctrl(subsys, i);

        if (!n || nvme_ns(n, nvme_nsid(ns)) != ns) {
            continue;
        }
        if (!ns->zbd->changed[i]) {
            ns->zbd->changed[i] = g_new0(ZnsChangedList, 1);
        }
        zns_list_add(ns->zbd->changed[i], zslba);
        if ((n->features.async_config & AEC_ZONE_CHANGED) &&
            !zns_pending_event(n, nvme_nsid(ns))) {
            nvme_enqueue_ns_event(n, nvme_nsid(ns), NVME_AER_TYPE_NOTICE,
                                  NVME_AER_INFO_NOTICE_ZONE_CHANGED,
                                  NVME_LOG_CHANGED_ZONES);
        }
    }
}

static const BlockDevOps zns_dev_ops = {
    .zone_changed_cb = zns_zone_changed,
};

uint16_t nvme_zbd_changed_zones(NvmeCtrl *n, uint8_t rae, size_t len,
                                uint64_t off, NvmeRequest *req)
{
    uint32_t nsid = le32_to_cpu(req->cmd.nsid);
    NvmeNamespace *ns = nvme_ns(n, nsid);
    ZnsChangedList list = {};
    uint16_t status;

    if (!ns || !ns->zbd || off >= sizeof(list)) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    if (ns->zbd->changed[n->cntlid]) {
        list = *ns->zbd->changed[n->cntlid];
    }
    status = nvme_c2h_part(n, (uint8_t *)&list + off, sizeof(list) - off, len,
                           req);
    if (!status && !rae) {
        NvmeAsyncEvent *event = zns_pending_event(n, nsid);

        g_clear_pointer(&ns->zbd->changed[n->cntlid], g_free);
        if (event) {
            QTAILQ_REMOVE(&n->aer_queue, event, entry);
            n->aer_queued--;
            g_free(event);
        }
        nvme_clear_events(n, NVME_AER_TYPE_NOTICE);
    }
    return status;
}

void nvme_zbd_reset(NvmeCtrl *n)
{
    n->features.async_config &= ~AEC_ZONE_CHANGED;
    for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++) {
        NvmeNamespace *ns = nvme_subsys_ns(n->subsys, nsid);

        if (ns && ns->zbd) {
            g_clear_pointer(&ns->zbd->changed[n->cntlid], g_free);
        }
    }
}

/* --- Identify --- */

/* In pages of the smallest size, as a power of two */
static uint8_t zns_append_limit(const BlockZoneLimits *zl)
{
    return zl->max_append < 2 * 4096 ? 0 : 63 - clz64(zl->max_append / 4096);
}

uint8_t nvme_zbd_zasl(NvmeCtrl *n)
{
    uint8_t zasl = n->params.zasl;

    for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++) {
        NvmeNamespace *ns = nvme_ns(n, nsid);

        if (ns && ns->zbd) {
            uint8_t limit = zns_append_limit(&ns->zbd->limits);

            zasl = MIN_NON_ZERO(zasl, MIN_NON_ZERO(limit, n->params.mdts));
        }
    }
    return zasl;
}

void nvme_zbd_attach(NvmeCtrl *n, NvmeNamespace *ns)
{
    if (ns->zbd) {
        n->id_ctrl.oaes |= cpu_to_le32(NVME_OAES_ZONE_CHANGED);
    }
}

/* A limit that is one less in the field, where all ones mean none */
static uint32_t zns_zeroes_based(uint32_t limit)
{
    return cpu_to_le32(limit ? limit - 1 : UINT32_MAX);
}

static void zns_init_zoned(NvmeNamespace *ns)
{
    const BlockZoneLimits *zl = &ns->zbd->limits;
    NvmeIdNsZoned *id = ns->id_ns_zoned;
    uint16_t ozcs = ns->params.cross_zone_read ? NVME_ID_NS_ZONED_OZCS_RAZB : 0;

    id->mar = zns_zeroes_based(zl->max_active);
    id->mor = zns_zeroes_based(MIN_NON_ZERO(zl->max_open, zl->max_active));
    id->lbafe[0].zsze = cpu_to_le64(zns_blocks(ns, zl->size));
    id->lbafe[0].zdes = zl->ext_size / 64;
    if (zl->zrwa_size) {
        ozcs |= NVME_ID_NS_ZONED_OZCS_ZRWASUP;
        id->numzrwa = zns_zeroes_based(zl->max_zrwa);
        id->zrwas = cpu_to_le16(zns_blocks(ns, zl->zrwa_size));
        id->zrwafg = cpu_to_le16(zns_blocks(ns, zl->zrwa_granularity));
        id->zrwacap = NVME_ID_NS_ZONED_ZRWACAP_EXPFLUSHSUP;
    }
    id->ozcs = cpu_to_le16(ozcs);
}

static BlockDriverState *zns_node(NvmeNamespace *ns)
{
    BlockDriverState *bs = zns_blk(ns) ? blk_bs(zns_blk(ns)) : NULL;

    return bs && bs->bl.zones.model == BLK_Z_HM ? bs : NULL;
}

static void zns_create(NvmeNamespace *ns, const BlockZoneLimits *zl)
{
    ns->zbd = g_new0(NvmeZbd, 1);
    ns->zbd->limits = *zl;
    ns->id_ns_zoned = g_new0(NvmeIdNsZoned, 1);
    blk_set_dev_ops(zns_blk(ns), &zns_dev_ops, ns);
}

void nvme_zbd_init(NvmeNamespace *ns)
{
    BlockDriverState *bs = zns_node(ns);
    NvmeIdNs *id = &ns->id_ns;
    const BlockZoneLimits *zl;
    uint64_t capacity;

    if (!ns->zbd && !bs) {
        return;
    }
    if (!ns->zbd) {
        zns_create(ns, &bs->bl.zones);
    }
    zl = &ns->zbd->limits;
    capacity = (uint64_t)zl->nr_zones * zl->capacity;

    ns->csi = NVME_CSI_ZONED;
    ns->nlbaf = 1;
    memset(id->lbaf, 0, sizeof(id->lbaf));
    id->lbaf[0] = ns->lbaf;
    id->nlbaf = 0;
    id->flbas = 0;
    id->mc = 0;
    id->dpc = 0;
    id->dps = 0;
    id->nsze = cpu_to_le64(zns_blocks(ns, zns_total_bytes(zl)));
    id->ncap = cpu_to_le64(zns_blocks(ns, capacity));
    id->nuse = id->ncap;
    id->nsattr = blk_is_writable(zns_blk(ns)) ? 0 : NSATTR_WRITE_PROTECTED;
    zns_init_zoned(ns);
}

/* --- Realize --- */

/* The namespace that belongs to the drive of a controller is not a device. */
static bool has_props(NvmeNamespace *ns)
{
    return OBJECT(ns)->class;
}

/* Zones in memory, if any: QEMU's own emulation knows no "not given". */
static void zns_use_memory(NvmeNamespace *ns)
{
    NvmeNamespaceParams *p = &ns->params;
    uint32_t *limits[] = {
        &p->max_active_zones, &p->max_open_zones, &p->zd_extension_size,
        &p->numzrwa,
    };

    for (int i = 0; i < ARRAY_SIZE(limits); i++) {
        if (*limits[i] == NVME_ZBD_NOT_GIVEN) {
            *limits[i] = 0;
        }
    }
    if (p->zoned) {
        warn_report_once("The drive of an nvme-ns with zoned=on has no zones: "
                         "they are kept in memory and are empty after each "
                         "start; a qcow2 image that is created with "
                         "-o zone.mode=host-managed keeps its zones");
    }
}

static bool zns_check_params(NvmeNamespace *ns, const BlockZoneLimits *zl,
                             Error **errp)
{
    const NvmeNamespaceParams *p = &ns->params;
    const struct {
        const char *name;
        uint64_t given, unset, actual;
    } params[] = {
        { "zoned.zone_size", p->zone_size_bs, 0, zl->size },
        { "zoned.zone_capacity", p->zone_cap_bs, 0, zl->capacity },
        { "zoned.max_active", p->max_active_zones, NVME_ZBD_NOT_GIVEN,
          zl->max_active },
        { "zoned.max_open", p->max_open_zones, NVME_ZBD_NOT_GIVEN,
          zl->max_open },
        { "zoned.descr_ext_size", p->zd_extension_size, NVME_ZBD_NOT_GIVEN,
          zl->ext_size },
        { "zoned.numzrwa", p->numzrwa, NVME_ZBD_NOT_GIVEN, zl->max_zrwa },
        { "zoned.zrwas", p->zrwas, 0, zl->zrwa_size },
        { "zoned.zrwafg", p->zrwafg, -1, zl->zrwa_granularity },
    };

    for (int i = 0; has_props(ns) && i < ARRAY_SIZE(params); i++) {
        if (params[i].given != params[i].unset &&
            params[i].given != params[i].actual) {
            error_setg(errp, "%s is %" PRIu64 " but the zoned drive has %"
                       PRIu64 "; leave it out (what the zones are like is "
                       "chosen with the zone.* options of 'qemu-img create')",
                       params[i].name,
                       params[i].given, params[i].actual);
            return false;
        }
    }
    if (p->ms || p->pi) {
        error_setg(errp, "%s=%u: a zoned drive has no room for metadata",
                   p->ms ? "ms" : "pi", p->ms ? p->ms : p->pi);
        return false;
    }
    if (ns->endgrp && ns->endgrp->fdp.enabled) {
        error_setg(errp, "a zoned drive cannot be used in an FDP "
                   "configuration");
        return false;
    }
    return true;
}

static bool zns_check_zones(NvmeNamespace *ns, const BlockZoneLimits *zl,
                            Error **errp)
{
    g_autofree BlockZoneDescriptor *zones = g_new(BlockZoneDescriptor,
                                                  REPORT_BATCH);
    uint32_t i = 0;

    if (blk_getlength(zns_blk(ns)) != zns_total_bytes(zl)) {
        error_setg(errp, "the last zone of the drive is smaller than %" PRIu64
                   " bytes, which NVMe namespaces cannot have; choose a size "
                   "of the image that is a multiple of zone.size (for an "
                   "existing one with 'qemu-img resize'), or use 'virtio-blk' "
                   "or 'scsi-hd'", zl->size);
        return false;
    }
    while (i < zl->nr_zones) {
        unsigned int nr = MIN(REPORT_BATCH, zl->nr_zones - i);
        int ret = blk_zone_report(zns_blk(ns), (int64_t)i * zl->size, &nr,
                                  zones);

        if (ret < 0 || nr == 0) {
            error_setg_errno(errp, ret < 0 ? -ret : EIO,
                             "cannot get a report of the drive's zones");
            return false;
        }
        for (unsigned int k = 0; k < nr; k++, i++) {
            if (zones[k].type == BLK_ZT_CONV) {
                error_setg(errp, "zone %" PRIu32 " of the drive is a "
                           "conventional one, which NVMe namespaces cannot "
                           "have; create the image with "
                           "zone.conventional_zones=0, or use 'virtio-blk' or "
                           "'scsi-hd'", i);
                return false;
            }
        }
    }
    if (!zl->capacity) {
        error_setg(errp, "the driver of this zoned drive cannot do what NVMe "
                   "namespaces need");
        return false;
    }
    return true;
}

static bool zns_check_sizes(const BlockZoneLimits *zl, uint32_t block,
                            Error **errp)
{
    const struct {
        const char *what;
        uint64_t bytes;
        bool area;              /* a field of 16 bits has it, in blocks */
    } sizes[] = {
        { "zone size", zl->size },
        { "zone capacity", zl->capacity },
        { "random write area size", zl->zrwa_size, true },
        { "random write area granularity", zl->zrwa_granularity, true },
    };

    if (block % zl->write_granularity) {
        error_setg(errp, "logical_block_size %" PRIu32 " is not a multiple of "
                   "%" PRIu32 ", the least that can be written to the drive",
                   block, zl->write_granularity);
        return false;
    }
    for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
        if (sizes[i].bytes % block) {
            error_setg(errp, "%s %" PRIu64 " of the drive is not a multiple of "
                       "logical_block_size %" PRIu32, sizes[i].what,
                       sizes[i].bytes, block);
            return false;
        }
        if (sizes[i].area && sizes[i].bytes / block > UINT16_MAX) {
            error_setg(errp, "%s %" PRIu64 " of the drive is more than %d "
                       "blocks of logical_block_size %" PRIu32, sizes[i].what,
                       sizes[i].bytes, UINT16_MAX, block);
            return false;
        }
    }
    if (!zns_append_limit(zl)) {
        error_setg(errp, "zone append limit %" PRIu64 " of the drive "
                   "(zone.max_append_bytes of a qcow2 image) is less than "
                   "8192, the smallest that NVMe can tell the guest; choose "
                   "zone.max_append_bytes=8K or more (for an existing image "
                   "with 'qemu-img amend')", zl->max_append);
        return false;
    }
    if (block > 4096ull << zns_append_limit(zl)) {
        error_setg(errp, "logical_block_size %" PRIu32 " is larger than the "
                   "zone append limit %" PRIu64 " of the drive "
                   "(zone.max_append_bytes of a qcow2 image, which 'qemu-img "
                   "amend' changes)", block, zl->max_append);
        return false;
    }
    return true;
}

bool nvme_zbd_probe(NvmeNamespace *ns, Error **errp)
{
    BlockDriverState *bs = zns_node(ns);
    BlockConf *conf = &ns->blkconf;
    BlockZoneLimits zl;

    if (!bs) {
        zns_use_memory(ns);
        return true;
    }
    zl = bs->bl.zones;
    if (!conf->logical_block_size) {
        conf->logical_block_size = MAX(zl.write_granularity, BDRV_SECTOR_SIZE);
    }
    if (!conf->physical_block_size) {
        conf->physical_block_size = conf->logical_block_size;
    }
    if (!zns_check_zones(ns, &zl, errp) ||
        !zns_check_params(ns, &zl, errp) ||
        !zns_check_sizes(&zl, conf->logical_block_size, errp)) {
        return false;
    }
    /* Not the zones in memory that the property stands for otherwise */
    ns->params.zoned = false;
    return true;
}

void nvme_zbd_cleanup(NvmeNamespace *ns)
{
    zns_power_cycle(ns);
    blk_set_dev_ops(zns_blk(ns), NULL, NULL);
    for (int i = 0; i < NVME_MAX_CONTROLLERS; i++) {
        g_free(ns->zbd->changed[i]);
    }
    g_clear_pointer(&ns->id_ns_zoned, g_free);
    g_clear_pointer(&ns->zbd, g_free);
}
