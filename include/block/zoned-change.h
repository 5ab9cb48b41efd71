/*
 * Reset or finish zones that nobody else uses, or do what a controller does
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_CHANGE_H
#define BLOCK_ZONED_CHANGE_H

#include "block/zoned-report.h"

/* What is done to which zones */
typedef struct ZoneChange {
    const char *disk;            /* its name, for messages */
    BlockdevZoneOperation operation;
    BlockZoneCondition condition;       /* with SET_CONDITION */
    uint8_t attributes;          /* with SET_ATTRIBUTES: BDRV_ZA_SETTABLE */
    bool all;                    /* only those that it applies to */
    uint32_t first, count;       /* with @all, all zones of the disk */

    /* What came of it */
    uint32_t changed, unchanged;
    ZoneTotals skipped;          /* with @all: it does not apply to them */
} ZoneChange;

/*
 * Do it to zones of @blk, which is zoned and may write; the zones are on the disk.
 * All of them change or none.  Returns false, with an error, if it cannot be done.
 */
bool coroutine_fn blk_co_change_zones(BlockBackend *blk, ZoneChange *change,
                                      Error **errp);

/* "reset" and the like, of zones that have been changed */
const char *zoned_change_participle(const ZoneChange *change);
/* What they are then */
const char *zoned_change_outcome(const ZoneChange *change);
/* The caller frees info->attributes. */
void zoned_change_info(const ZoneChange *change, BlockdevZoneChange *info);

/* Set change->attributes; false, with an error, if those cannot be set. */
bool zoned_change_set_attributes(ZoneChange *change,
                                 const BlockdevZoneAttributeList *attributes,
                                 Error **errp);

#endif
