/*
 * Zone operations of the filters throttle and blkdebug
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_FILTERS_H
#define BLOCK_ZONED_FILTERS_H

#include "block/zoned-graph.h"
#include "qapi/qapi-types-block-core.h"

int coroutine_fn GRAPH_RDLOCK
throttle_co_zone_mgmt(BlockDriverState *bs, BlockZoneOp op,
                      BlockZoneFlags flags, int64_t offset, int64_t len,
                      const void *ext);
int coroutine_fn GRAPH_RDLOCK
throttle_co_zone_append(BlockDriverState *bs, int64_t *offset,
                        QEMUIOVector *qiov, BdrvRequestFlags flags);
int coroutine_fn GRAPH_RDLOCK
blkdebug_co_zone_report(BlockDriverState *bs, int64_t offset,
                        unsigned int *nr_zones, BlockZoneDescriptor *zones);
int coroutine_fn GRAPH_RDLOCK
blkdebug_co_zone_mgmt(BlockDriverState *bs, BlockZoneOp op,
                      BlockZoneFlags flags, int64_t offset, int64_t len,
                      const void *ext);
int coroutine_fn GRAPH_RDLOCK
blkdebug_co_zone_append(BlockDriverState *bs, int64_t *offset,
                        QEMUIOVector *qiov, BdrvRequestFlags flags);

/* For blkdebug.c: the types of requests that a rule for @iotype is about */
uint64_t blkdebug_iotype_mask(BlkdebugIOType iotype);

/* Has @bs at least @nr_zones zones (0: it need not be zoned)? */
bool blkdebug_check_zones(BlockDriverState *bs, uint64_t nr_zones,
                          Error **errp);

/* Is something of [@offset, @offset + @bytes) in @zone?  UINT64_MAX: in any */
bool blkdebug_in_zone(BlockDriverState *bs, uint64_t zone, uint64_t offset,
                      uint64_t bytes);

/* In blkdebug.c, for those above: the error to inject, or 0 */
int coroutine_fn blkdebug_check_zone_op(BlockDriverState *bs, uint64_t offset,
                                        uint64_t bytes, BlkdebugIOType iotype);

#endif
