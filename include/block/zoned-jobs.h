/*
 * Zones and the jobs and commands for whole disks
 *
 * All functions are called in the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_JOBS_H
#define BLOCK_ZONED_JOBS_H

#include "block/block_int-common.h"

/*
 * For operations that cannot keep data and zones together: true, and an error
 * that says that @what cannot be done, if @bs has zones.
 */
bool bdrv_refuse_zoned(BlockDriverState *bs, const char *what, Error **errp);

/*
 * May data of the backing files be brought to @bs (block-stream)?  If it has zones,
 * neither these nor what is read changes.
 */
bool GRAPH_UNLOCKED zoned_may_stream(BlockDriverState *bs, Error **errp);

/*
 * @bs is to become the overlay of @base, whose requests are drained and whose
 * data is flushed.  If one has zones, @bs takes over those of @base with all
 * their states.  False, with an error, if it cannot.
 */
bool GRAPH_UNLOCKED zoned_inherit(BlockDriverState *bs, BlockDriverState *base,
                                  Error **errp);

/*
 * Bring data and zones of the overlay @bs to its backing file @base, which has
 * zones, and empty the overlay.  No requests reach @bs meanwhile.
 */
int GRAPH_UNLOCKED zoned_commit(BlockDriverState *bs, BlockDriverState *base,
                                Error **errp);

/*
 * The same for the backing file that @bs has, if that has zones; reports errors.
 * False if it has none: nothing is done.
 */
bool GRAPH_UNLOCKED zoned_commit_to_backing(BlockDriverState *bs, int *ret);

#endif
