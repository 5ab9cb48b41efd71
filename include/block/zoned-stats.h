/*
 * What happens to the zones of a node, counted
 *
 * A node and each of its users (BdrvChild) have counters.  They begin when the
 * node is opened, or the user attached.  Any thread may count.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_STATS_H
#define BLOCK_ZONED_STATS_H

#include "qemu/stats64.h"

typedef enum BlockZoneCounter {
    /* Requests that succeeded, and their bytes */
    BDRV_ZC_WRITES, BDRV_ZC_WRITE_BYTES,
    BDRV_ZC_APPENDS, BDRV_ZC_APPEND_BYTES,
    BDRV_ZC_OPENS, BDRV_ZC_CLOSES, BDRV_ZC_FINISHES, BDRV_ZC_RESETS,
    /* Those that broke a rule, by the errno of block-zoned.h */
    BDRV_ZC_BOUNDARY, BDRV_ZC_WRITE_POINTER, BDRV_ZC_FULL, BDRV_ZC_READ_ONLY,
    BDRV_ZC_OFFLINE, BDRV_ZC_ACTIVE_LIMIT, BDRV_ZC_OPEN_LIMIT,
    BDRV_ZC_RANDOM_WRITE_AREA, BDRV_ZC_INVALID,
    BDRV_ZC__MAX
} BlockZoneCounter;

typedef struct BlockZoneCounters {
    Stat64 n[BDRV_ZC__MAX];
} BlockZoneCounters;

#endif
