/*
 * block-commit of images with zones, below a running disk
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "block/block-io.h"
#include "block/block_int.h"
#include "block/zoned-graph.h"
#include "block/zoned-jobs.h"

bool zoned_may_commit(BlockDriverState *top, BlockDriverState *base,
                      Error **errp)
{
    ZonedCommit *c;
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    if (base->bl.zones.model == BLK_Z_NONE) {
        return true;
    }
    if (bdrv_zoned_source(base) != base) {
        error_setg(errp, "Node '%s' has its zones from node '%s'; commit to "
                   "that one", bdrv_get_node_name(base),
                   bdrv_get_node_name(bdrv_zoned_source(base)));
        return false;
    }
    c = zoned_commit_new(bdrv_skip_filters(top), NULL, base, errp);
    zoned_commit_free(c);
    return c;
}

ZonedCommit *zoned_commit_start(BlockDriverState *top, BlockDriverState *last,
                                BlockDriverState *base)
{
    ZonedCommit *c;

    if (base->bl.zones.model == BLK_Z_NONE) {
        return NULL;
    }
    bdrv_graph_rdlock_main_loop();
    c = zoned_commit_new(bdrv_skip_filters(top), last, base, &error_abort);
    bdrv_graph_rdunlock_main_loop();
    /* Holes that wait to be punched since the base was the disk are given up. */
    bdrv_drained_begin(base);
    zoned_commit_forget(c);
    bdrv_drained_end(base);
    return c;
}
