/*
 * QMP commands for zoned nodes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/block-io.h"
#include "block/zoned-filter.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-zoned.h"
#include "trace.h"

/* Tell the devices on top, whatever filters are between */
static void GRAPH_RDLOCK notify_devices(BlockDriverState *bs, int64_t offset)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->klass->parent_is_bds) {
            notify_devices(c->opaque, offset);
        } else if (c->klass->zone_changed) {
            c->klass->zone_changed(c, offset);
        }
    }
}

void coroutine_fn
qmp_block_zone_set_condition(const char *node_name, uint64_t offset,
                             BlockZoneCondition condition, Error **errp)
{
    static const BlockZoneOp ops[] = {
        [BLOCK_ZONE_CONDITION_GOOD] = BLK_ZO_FORCE_REPAIR,
        [BLOCK_ZONE_CONDITION_READ_ONLY] = BLK_ZO_FORCE_RDONLY,
        [BLOCK_ZONE_CONDITION_OFFLINE] = BLK_ZO_FORCE_OFFLINE,
    };
    BlockDriverState *bs;
    uint64_t size, start;
    int ret;

    GRAPH_RDLOCK_GUARD();

    bs = bdrv_find_node(node_name);
    if (!bs) {
        error_setg(errp, "Cannot find node '%s'", node_name);
        return;
    }
    bs = bdrv_zoned_source(bs);
    if (bs->bl.zones.model == BLK_Z_NONE || !bs->drv->bdrv_co_zone_mgmt) {
        error_setg(errp, "Node '%s' is not zoned", node_name);
        return;
    }
    if (!bdrv_is_writable(bs)) {
        error_setg(errp, "Node '%s' is read-only", node_name);
        return;
    }
    size = bs->total_sectors * BDRV_SECTOR_SIZE;
    if (offset >= size) {
        error_setg(errp, "offset (%" PRIu64 ") must be less than the size of "
                   "node '%s' (%" PRIu64 ")", offset, node_name, size);
        return;
    }
    start = QEMU_ALIGN_DOWN(offset, bs->bl.zones.size);

    bdrv_inc_in_flight(bs);
    ret = bs->drv->bdrv_co_zone_mgmt(bs, ops[condition], 0, start,
                                     MIN(bs->bl.zones.size, size - start), NULL);
    bdrv_dec_in_flight(bs);
    trace_block_zone_set_condition(node_name, start,
                                   BlockZoneCondition_str(condition), ret);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not set the condition of the zone "
                         "at %" PRIu64, start);
        return;
    }
    notify_devices(bs, start);
}
