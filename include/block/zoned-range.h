/*
 * The one loop over the zones of a range
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_RANGE_H
#define BLOCK_ZONED_RANGE_H

#include "block/block-common.h"
#include "qemu/coroutine.h"

/* Returns 0 to go on, and anything else to end the loop with it. */
typedef int coroutine_fn BlkZoneFunc(const BlockZoneDescriptor *zone,
                                     void *opaque);

/*
 * Call @fn for each zone of @blk that has a part of
 * [@offset, @offset + @bytes), in their order.  Other work of the event loop
 * gets its turn in between, so the zones are not those of one moment.
 *
 * @flags: BDRV_REQ_NO_QUEUE between blk_co_start_request() and
 * blk_end_request(), otherwise 0
 *
 * Returns 0, what @fn returned, or a negative errno if a report failed.
 */
int coroutine_fn blk_co_for_each_zone(BlockBackend *blk, int64_t offset,
                                      uint64_t bytes, BdrvRequestFlags flags,
                                      BlkZoneFunc *fn, void *opaque);

/*
 * The same of a node that the caller has a reference to and does not use, so that
 * nothing has to be attached: that would wait for all requests of all disks, in the
 * main loop, which a host that does not answer would stop.
 */
int coroutine_fn bdrv_co_for_each_zone(BlockDriverState *bs, int64_t offset,
                                       uint64_t bytes, BlkZoneFunc *fn,
                                       void *opaque);

/*
 * For a loop that may be long: let other work of the event loop have its turn
 * when @work, which counts up to one step at a time, has passed another few
 * milliseconds' worth of zones.
 */
void coroutine_fn zoned_co_pause(uint64_t *work, uint64_t zones);

#endif
