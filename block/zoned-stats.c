/*
 * What happens to the zones of a node, as QMP shows it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/zoned-graph.h"
#include "block/zoned-qapi.h"
#include "system/block-backend.h"

static BlockZoneStats *stats_of(const BlockZoneCounters *counters)
{
    BlockZoneStats *stats = g_new0(BlockZoneStats, 1);
    uint64_t n[BDRV_ZC__MAX];

    for (int i = 0; i < BDRV_ZC__MAX; i++) {
        n[i] = stat64_get(&counters->n[i]);
    }
    stats->writes = n[BDRV_ZC_WRITES];
    stats->write_bytes = n[BDRV_ZC_WRITE_BYTES];
    stats->appends = n[BDRV_ZC_APPENDS];
    stats->append_bytes = n[BDRV_ZC_APPEND_BYTES];
    stats->opens = n[BDRV_ZC_OPENS];
    stats->closes = n[BDRV_ZC_CLOSES];
    stats->finishes = n[BDRV_ZC_FINISHES];
    stats->resets = n[BDRV_ZC_RESETS];
    stats->refused = g_new(BlockZoneRefusals, 1);
    *stats->refused = (BlockZoneRefusals) {
        .boundary = n[BDRV_ZC_BOUNDARY],
        .write_pointer = n[BDRV_ZC_WRITE_POINTER],
        .full = n[BDRV_ZC_FULL],
        .read_only = n[BDRV_ZC_READ_ONLY],
        .offline = n[BDRV_ZC_OFFLINE],
        .active_limit = n[BDRV_ZC_ACTIVE_LIMIT],
        .open_limit = n[BDRV_ZC_OPEN_LIMIT],
        .random_write_area = n[BDRV_ZC_RANDOM_WRITE_AREA],
        .invalid = n[BDRV_ZC_INVALID],
    };
    return stats;
}

BlockZoneStats *bdrv_zone_stats(BlockDriverState *bs)
{
    BlockZoneStats *stats;

    if (bs->bl.zones.model == BLK_Z_NONE) {
        return NULL;
    }
    stats = stats_of(&bs->zone_counters);
    if (bs->drv && bs->drv->bdrv_zone_stats) {
        bs->drv->bdrv_zone_stats(bs, stats);
    }
    return stats;
}

BlockZoneStats *blk_zone_stats(BlockBackend *blk)
{
    const BdrvChild *root = blk_root(blk);

    return root && root->bs->bl.zones.model != BLK_Z_NONE
           ? stats_of(&root->zone_counters) : NULL;
}
