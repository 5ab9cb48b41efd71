/*
 * Zones and the block graph
 *
 * A node whose driver says supports_zoned_children has the zones of its
 * primary child: its limits are copied from there, and the driver passes zone
 * operations on, with the functions below if it has nothing to add.  No other
 * driver gets a host-managed child, except as a backing file; so zones are
 * never hidden.
 *
 * What has been seen of the zones of a node never changes because the graph
 * does: a node is only replaced by one with the same zones.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_FILTER_H
#define BLOCK_ZONED_FILTER_H

#include "block/block_int-common.h"

/* The node that @bs has its zones from, or @bs itself */
BlockDriverState * GRAPH_RDLOCK bdrv_zoned_source(BlockDriverState *bs);

/* The node that has its zones through @child, NULL if there is none */
BlockDriverState * GRAPH_RDLOCK bdrv_zoned_parent(BdrvChild *child);

/* May @child become a child of @parent in @role? */
bool GRAPH_RDLOCK bdrv_zoned_may_attach(BlockDriverState *parent,
                                        BlockDriverState *child,
                                        BdrvChildRole role, Error **errp);

/* May @child point to @to instead of to the node that it points to? */
bool GRAPH_RDLOCK bdrv_zoned_may_replace(BdrvChild *child,
                                         BlockDriverState *to, Error **errp);

/*
 * Where @bs has the zones of its child, copy the limits.  Called when the
 * limits of @bs are refreshed.
 */
void GRAPH_RDLOCK bdrv_zoned_inherit_limits(BlockDriverState *bs);

/* The limits of @bs have changed: bring those above up to date. */
void GRAPH_RDLOCK bdrv_zoned_limits_changed(BlockDriverState *bs);

/* Callbacks that pass zone operations on */
int coroutine_fn GRAPH_RDLOCK
bdrv_zoned_filter_co_report(BlockDriverState *bs, int64_t offset,
                            unsigned int *nr_zones,
                            BlockZoneDescriptor *zones);
int coroutine_fn GRAPH_RDLOCK
bdrv_zoned_filter_co_mgmt(BlockDriverState *bs, BlockZoneOp op,
                          BlockZoneFlags flags, int64_t offset, int64_t len,
                          const void *ext);
int coroutine_fn GRAPH_RDLOCK
bdrv_zoned_filter_co_get_ext(BlockDriverState *bs, int64_t offset, void *ext);
int coroutine_fn GRAPH_RDLOCK
bdrv_zoned_filter_co_append(BlockDriverState *bs, int64_t *offset,
                            QEMUIOVector *qiov, BdrvRequestFlags flags);

#endif
