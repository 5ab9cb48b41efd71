/*
 * NVMe: zoned namespaces whose zones live in the block node
 *
 * The commands that manage zones, and report them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/zoned-range.h"
#include "zns-int.h"

#define REPORT_RECOMMENDED 0x09

/* --- Zone Management Send --- */

static uint16_t zns_mgmt_status(int ret)
{
    return zns_status(ret, NVME_ZONE_INVAL_TRANSITION | NVME_DNR,
                      NVME_INTERNAL_DEV_ERROR);
}

static uint16_t coroutine_fn zns_mgmt(NvmeNamespace *ns, BlockZoneOp op,
                                      BlockZoneFlags flags, uint64_t offset,
                                      uint64_t bytes, const void *ext)
{
    return zns_mgmt_status(blk_co_zone_mgmt(zns_blk(ns), op, flags, offset,
                                            bytes, ext));
}

/* One zone or, with @all, those that the action applies to */
static uint16_t coroutine_fn zns_change(NvmeNamespace *ns, BlockZoneOp op,
                                        BlockZoneFlags flags, bool all,
                                        uint64_t offset)
{
    const BlockZoneLimits *zl = &ns->zbd->limits;

    return all ? zns_mgmt(ns, op, flags | BDRV_ZONE_ALL, 0,
                          zns_total_bytes(zl), NULL)
               : zns_mgmt(ns, op, flags, offset, zl->size, NULL);
}

static uint16_t coroutine_fn zns_set_ext(NvmeCtrl *n, NvmeRequest *req,
                                         BlockZoneFlags flags, bool all,
                                         uint64_t offset)
{
    const BlockZoneLimits *zl = &req->ns->zbd->limits;
    g_autofree void *ext = NULL;
    uint16_t status;

    if (all || !zl->ext_size) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    ext = g_malloc(zl->ext_size);
    status = zns_fetch(n, req, ext, zl->ext_size);
    return status ? status : zns_mgmt(req->ns, BLK_ZO_SET_EXT, flags, offset,
                                      zl->size, ext);
}

/* @offset is that of the last block to commit. */
static uint16_t coroutine_fn zns_commit(NvmeNamespace *ns, bool all,
                                        uint64_t offset)
{
    const BlockZoneLimits *zl = &ns->zbd->limits;
    uint64_t start = QEMU_ALIGN_DOWN(offset, zl->size);

    if (all) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    if (!zl->zrwa_size) {
        return NVME_INVALID_ZONE_OP | NVME_DNR;
    }
    return zns_status(blk_co_zone_mgmt(zns_blk(ns), BLK_ZO_ZRWA_COMMIT, 0,
                                       start, offset + ns->lbasz - start,
                                       NULL),
                      NVME_INVALID_FIELD | NVME_DNR, NVME_INTERNAL_DEV_ERROR);
}

uint16_t coroutine_fn zns_mgmt_send(NvmeCtrl *n, NvmeRequest *req)
{
    NvmeZoneSendCmd *cmd = (NvmeZoneSendCmd *)&req->cmd;
    NvmeNamespace *ns = req->ns;
    const BlockZoneLimits *zl = &ns->zbd->limits;
    bool all = cmd->zsflags & NVME_ZSFLAG_SELECT_ALL;
    BlockZoneFlags zrwa = cmd->zsflags & NVME_ZSFLAG_ZRWA_ALLOC ?
                          BDRV_ZONE_ZRWA : 0;
    uint64_t slba = all ? 0 : le64_to_cpu(cmd->slba);
    uint64_t offset = zns_bytes(ns, slba);
    uint16_t status = zns_check_range(ns, slba, 1);

    if (!status) {
        status = zns_check_writable(ns);
    }
    if (status) {
        return status;
    }
    if (offset % zl->size && cmd->zsa != NVME_ZONE_ACTION_ZRWA_FLUSH) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    if (zrwa && (cmd->zsa == NVME_ZONE_ACTION_OPEN ||
                 cmd->zsa == NVME_ZONE_ACTION_SET_ZD_EXT) &&
        (all || !zl->zrwa_size)) {
        /* All means closed zones, and only an empty one can get an area */
        return NVME_INVALID_ZONE_OP | NVME_DNR;
    }

    zns_account(req, 0, BLOCK_ACCT_ZONE_MGMT);
    switch (cmd->zsa) {
    case NVME_ZONE_ACTION_CLOSE:
        return zns_change(ns, BLK_ZO_CLOSE, BDRV_ZONE_CLOSE_EMPTY, all, offset);
    case NVME_ZONE_ACTION_FINISH:
        return zns_change(ns, BLK_ZO_FINISH, 0, all, offset);
    case NVME_ZONE_ACTION_OPEN:
        return zns_change(ns, BLK_ZO_OPEN, zrwa, all, offset);
    case NVME_ZONE_ACTION_RESET:
        return zns_change(ns, BLK_ZO_RESET, 0, all, offset);
    case NVME_ZONE_ACTION_OFFLINE:
        return zns_change(ns, BLK_ZO_OFFLINE, 0, all, offset);
    case NVME_ZONE_ACTION_SET_ZD_EXT:
        return zns_set_ext(n, req, zrwa, all, offset);
    case NVME_ZONE_ACTION_ZRWA_FLUSH:
        return zns_commit(ns, all, offset);
    default:
        return NVME_INVALID_FIELD | NVME_DNR;
    }
}

/* --- Zone Management Receive --- */

static bool zns_filter_valid(uint8_t filter)
{
    return filter <= NVME_ZONE_REPORT_OFFLINE || filter == REPORT_RECOMMENDED;
}

static bool zns_filter_matches(uint8_t filter, const BlockZoneDescriptor *zone)
{
    static const BlockZoneState states[] = {
        [NVME_ZONE_REPORT_EMPTY] = BLK_ZS_EMPTY,
        [NVME_ZONE_REPORT_IMPLICITLY_OPEN] = BLK_ZS_IOPEN,
        [NVME_ZONE_REPORT_EXPLICITLY_OPEN] = BLK_ZS_EOPEN,
        [NVME_ZONE_REPORT_CLOSED] = BLK_ZS_CLOSED,
        [NVME_ZONE_REPORT_FULL] = BLK_ZS_FULL,
        [NVME_ZONE_REPORT_READ_ONLY] = BLK_ZS_RDONLY,
        [NVME_ZONE_REPORT_OFFLINE] = BLK_ZS_OFFLINE,
    };

    switch (filter) {
    case NVME_ZONE_REPORT_ALL:
        return true;
    case REPORT_RECOMMENDED:
        return zone->attributes & BDRV_ZA_SETTABLE;
    default:
        return zone->state == states[filter];
    }
}

static NvmeZoneState zns_zone_state(BlockZoneState state)
{
    switch (state) {
    case BLK_ZS_EMPTY:
        return NVME_ZONE_STATE_EMPTY;
    case BLK_ZS_IOPEN:
        return NVME_ZONE_STATE_IMPLICITLY_OPEN;
    case BLK_ZS_EOPEN:
        return NVME_ZONE_STATE_EXPLICITLY_OPEN;
    case BLK_ZS_CLOSED:
        return NVME_ZONE_STATE_CLOSED;
    case BLK_ZS_RDONLY:
        return NVME_ZONE_STATE_READ_ONLY;
    case BLK_ZS_FULL:
        return NVME_ZONE_STATE_FULL;
    default:
        return NVME_ZONE_STATE_OFFLINE;
    }
}

static void zns_fill_descriptor(NvmeNamespace *ns, NvmeZoneDescr *d,
                                const BlockZoneDescriptor *zone)
{
    /* The write pointer of a full zone means nothing; hosts know all ones */
    uint64_t wp = zone->state == BLK_ZS_FULL ? UINT64_MAX
                                             : zns_blocks(ns, zone->wp);

    *d = (NvmeZoneDescr) {
        .zt = NVME_ZONE_TYPE_SEQ_WRITE,
        .zs = zns_zone_state(zone->state) << 4,
        .za = zone->attributes,
        .zcap = cpu_to_le64(zns_blocks(ns, zone->cap)),
        .zslba = cpu_to_le64(zns_blocks(ns, zone->start)),
        .wp = cpu_to_le64(wp),
    };
}

typedef struct ZnsReport {
    NvmeNamespace *ns;
    uint8_t filter;
    bool partial;
    size_t entry;               /* bytes per zone, with the extension */
    uint64_t complete;          /* entries that fit */
    uint64_t room;              /* the same, counting one that is cut off */
    uint64_t found;
    uint8_t *next;              /* entry to fill */
} ZnsReport;

static int coroutine_fn zns_report_zone(const BlockZoneDescriptor *zone,
                                        void *opaque)
{
    ZnsReport *r = opaque;
    int ret = 0;

    if (r->partial && r->found >= r->room) {
        return 1;
    }
    if (!zns_filter_matches(r->filter, zone)) {
        return 0;
    }
    if (r->found < r->room) {
        zns_fill_descriptor(r->ns, (NvmeZoneDescr *)r->next, zone);
        if (r->entry > sizeof(NvmeZoneDescr) &&
            (zone->attributes & BDRV_ZA_EXT)) {
            ret = blk_co_zone_get_ext(zns_blk(r->ns), zone->start,
                                      r->next + sizeof(NvmeZoneDescr));
        }
        r->next += r->entry;
    }
    r->found++;
    return MIN(ret, 0);
}

uint16_t coroutine_fn zns_mgmt_receive(NvmeCtrl *n, NvmeRequest *req)
{
    NvmeNamespace *ns = req->ns;
    const BlockZoneLimits *zl = &ns->zbd->limits;
    uint64_t slba = (uint64_t)le32_to_cpu(req->cmd.cdw11) << 32 |
                    le32_to_cpu(req->cmd.cdw10);
    uint64_t len = ((uint64_t)le32_to_cpu(req->cmd.cdw12) + 1) * 4;
    uint32_t dw13 = le32_to_cpu(req->cmd.cdw13);
    uint8_t action = dw13;
    ZnsReport r = {
        .ns = ns,
        .filter = dw13 >> 8,
        .partial = dw13 & (1 << 16),
        .entry = sizeof(NvmeZoneDescr),
    };
    NvmeZoneReportHeader *header;
    g_autofree uint8_t *buf = NULL;
    uint64_t body, start;
    uint16_t status = zns_check_range(ns, slba, 1);

    if (!status) {
        status = zns_check_limit(n, len, n->params.mdts);
    }
    if (status) {
        return status;
    }
    if (action == NVME_ZONE_REPORT_EXTENDED) {
        r.entry += zl->ext_size;
    }
    if ((action != NVME_ZONE_REPORT && action != NVME_ZONE_REPORT_EXTENDED) ||
        (action == NVME_ZONE_REPORT_EXTENDED && !zl->ext_size) ||
        !zns_filter_valid(r.filter)) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }

    start = QEMU_ALIGN_DOWN(zns_bytes(ns, slba), zl->size);
    body = len > sizeof(*header) ? len - sizeof(*header) : 0;
    body = MIN(body, (zl->nr_zones - start / zl->size) * r.entry);
    r.complete = body / r.entry;
    r.room = DIV_ROUND_UP(body, r.entry);
    buf = g_try_malloc0(sizeof(*header) + r.room * r.entry);
    if (!buf) {
        return NVME_INTERNAL_DEV_ERROR;
    }
    r.next = buf + sizeof(*header);

    if (blk_co_for_each_zone(zns_blk(ns), start, zns_total_bytes(zl) - start,
                             0, zns_report_zone, &r) < 0) {
        return NVME_INTERNAL_DEV_ERROR;
    }
    header = (NvmeZoneReportHeader *)buf;
    header->nr_zones = cpu_to_le64(r.partial ? MIN(r.found, r.complete)
                                             : r.found);
    /* What is beyond the last entry is not defined, so it stays as it is */
    return nvme_c2h_part(n, buf, sizeof(*header) + body, len, req);
}
