/*
 * QMP commands for zoned nodes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/block-io.h"
#include "block/zoned-graph.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-zoned.h"
#include "system/block-backend.h"
#include "trace.h"

void bdrv_zone_changed(BlockDriverState *bs, int64_t offset)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        BlockDriverState *parent = bdrv_zoned_parent(c);

        if (parent) {
            bdrv_zone_changed(parent, offset);
        } else if (c->klass->zone_changed) {
            c->klass->zone_changed(c, offset);
        }
    }
}

/*
 * The node that has the zones which @node_name shows.  Sets *@zone to the start
 * of the zone that @offset is in, and *@length to its length.
 */
static BlockDriverState *coroutine_fn GRAPH_RDLOCK
find_zone(const char *node_name, uint64_t offset, int64_t *zone,
          int64_t *length, Error **errp)
{
    BlockDriverState *bs = bdrv_find_zoned(node_name, true, errp);
    uint64_t size;

    if (!bs) {
        return NULL;
    }
    size = bs->total_sectors * BDRV_SECTOR_SIZE;
    if (offset >= size) {
        error_setg(errp, "offset (%" PRIu64 ") must be less than the size of "
                   "node '%s' (%" PRIu64 ")", offset, node_name, size);
        return NULL;
    }
    *zone = QEMU_ALIGN_DOWN(offset, bs->bl.zones.size);
    *length = MIN(bs->bl.zones.size, size - *zone);
    return bs;
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
    BlockBackend *blk;
    int64_t zone, length;
    int ret;

    WITH_GRAPH_RDLOCK_GUARD() {
        bs = find_zone(node_name, offset, &zone, &length, errp);
        if (!bs) {
            return;
        }
        bdrv_ref(bs);
    }

    /* Devices do not share writing, but what a medium does is not a write */
    blk = blk_co_new_with_bs(bs, BLK_PERM_WRITE_UNCHANGED, BLK_PERM_ALL, errp);
    bdrv_co_unref(bs);
    if (!blk) {
        return;
    }
    ret = blk_co_zone_mgmt(blk, ops[condition], 0, zone, length, NULL);
    trace_block_zone_set_condition(node_name, zone,
                                   BlockZoneCondition_str(condition), ret);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not set the condition of the zone "
                         "at %" PRId64, zone);
    } else {
        GRAPH_RDLOCK_GUARD();
        bdrv_zone_changed(blk_bs(blk), zone);
    }
    blk_co_unref(blk);
}
