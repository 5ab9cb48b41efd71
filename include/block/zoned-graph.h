/*
 * Zones and the block graph
 *
 * A node whose driver says supports_zoned_children has the zones of its
 * primary child: its limits are copied from there, and the driver passes zone
 * operations on, with the functions below if it has nothing to add.  No other
 * driver gets a host-managed child, except as the backing file of an overlay
 * with zones of the same size.  Guest devices that do not know zones cannot
 * use a host-managed node.  So no node and no device hides zones; exports
 * over NBD and FUSE do, as their protocols have none.
 *
 * What has been seen of the zones of a node never changes because the graph
 * does: a node is only replaced by one with the same zones.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_GRAPH_H
#define BLOCK_ZONED_GRAPH_H

#include "block/block_int-common.h"

/* The node that @bs has its zones from, or @bs itself */
BlockDriverState *GRAPH_RDLOCK bdrv_zoned_source(BlockDriverState *bs);

/*
 * The node that has the zones which the node @node_name shows, NULL with an
 * error if that has none that can be seen, or @write and they cannot be changed
 */
BlockDriverState *GRAPH_RDLOCK bdrv_find_zoned(const char *node_name,
                                               bool write, Error **errp);

/*
 * The zones of the host-managed disk that @blk has, NULL if it has another
 * disk or none
 */
const BlockZoneLimits *blk_zone_limits(BlockBackend *blk);

/* The node that has its zones through @child, NULL if there is none */
BlockDriverState *GRAPH_RDLOCK bdrv_zoned_parent(BdrvChild *child);

/*
 * The zone at @offset has changed, and no request was the reason: tell the
 * devices that have the zones of @bs, whatever filters are between
 */
void GRAPH_RDLOCK bdrv_zone_changed(BlockDriverState *bs, int64_t offset);

/* May @child become a child of @parent in @role? */
bool GRAPH_RDLOCK bdrv_zoned_may_attach(BlockDriverState *parent,
                                        BlockDriverState *child,
                                        BdrvChildRole role, Error **errp);

/* May @child point to @to instead of to the node that it points to? */
bool GRAPH_RDLOCK bdrv_zoned_may_replace(BdrvChild *child,
                                         BlockDriverState *to, Error **errp);

/*
 * Copy-on-read of @bs writes what does not change.  Does the driver that has the
 * zones, if there are any, know such writes?
 */
bool GRAPH_RDLOCK bdrv_zoned_may_copy_on_read(BlockDriverState *bs,
                                              Error **errp);

/* @bs is being opened: can it be used if it is zoned? */
bool GRAPH_UNLOCKED bdrv_zoned_check_open(BlockDriverState *bs, Error **errp);

/*
 * The raw node @bs, with an offset or size if it is @limited, passes zone
 * operations on as they are, past what protects the first sector of a probed
 * image: may it be used, or written if it is @writable?
 */
bool GRAPH_RDLOCK bdrv_zoned_check_raw(BlockDriverState *bs, bool limited,
                                       bool writable, Error **errp);

/* May an overlay of @base have the format @drv?  In the main loop. */
bool bdrv_zoned_may_create_overlay(BlockDriver *drv, BlockDriverState *base,
                                   Error **errp);

/*
 * Before a qcow2 overlay of @base is created with @opts, which have defaults
 * only: clusters must not be larger than zones.
 */
void bdrv_zoned_overlay_opts(BlockDriverState *base, QemuOpts *opts);

/* May @base become the backing file of the overlay @bs?  In the main loop. */
bool bdrv_zoned_may_rebase(BlockDriverState *bs, BlockDriverState *base,
                           Error **errp);

/* May a guest device of type @device, which does not know zones, use @bs? */
bool bdrv_zoned_may_use(BlockDriverState *bs, const char *device, Error **errp);

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
