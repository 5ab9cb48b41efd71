/*
 * What zone operations share with other I/O: block/io.c has these functions,
 * unless it is said otherwise
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_IO_H
#define BLOCK_ZONED_IO_H

#include "block/block_int.h"

void coroutine_fn tracked_request_begin(BdrvTrackedRequest *req,
                                        BlockDriverState *bs, int64_t offset,
                                        int64_t bytes,
                                        enum BdrvTrackedRequestType type);
void coroutine_fn tracked_request_end(BdrvTrackedRequest *req);
int coroutine_fn GRAPH_RDLOCK
bdrv_co_write_req_prepare(BdrvChild *child, int64_t offset, int64_t bytes,
                          BdrvTrackedRequest *req, int flags);
void coroutine_fn GRAPH_RDLOCK
bdrv_co_write_req_finish(BdrvChild *child, int64_t offset, int64_t bytes,
                         BdrvTrackedRequest *req, int ret);

/*
 * In zoned-io.c, for block/io.c: a write is about to wait for copies on read.  In
 * a zone, one that waits has those behind it wait, too.
 */
void coroutine_fn bdrv_zone_hold_up_write(BdrvTrackedRequest *req);

/*
 * In zoned-io.c, for block/io.c: count a write of @child with the result @ret, if
 * there are zones.
 */
void bdrv_zone_count_write(BdrvChild *child, int64_t bytes,
                           BdrvRequestFlags flags, int ret);

#endif
