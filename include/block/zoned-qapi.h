/*
 * What happens to the zones of a node, as QMP shows it
 *
 * Called in the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_QAPI_H
#define BLOCK_ZONED_QAPI_H

#include "block/block-common.h"
#include "qapi/qapi-types-zoned.h"

/* Of the node @bs, and of a user of one; NULL if there are no zones */
BlockZoneStats *GRAPH_RDLOCK bdrv_zone_stats(BlockDriverState *bs);
BlockZoneStats *GRAPH_RDLOCK blk_zone_stats(BlockBackend *blk);

#endif
