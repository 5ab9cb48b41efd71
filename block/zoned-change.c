/*
 * Reset or finish zones that nobody else uses, or do what a controller does
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/block_int-common.h"
#include "block/block-zoned.h"
#include "block/zone-table.h"
#include "block/zoned-change.h"
#include "block/zoned-range.h"
#include "qapi/error.h"
#include "system/block-backend.h"

static BlockZoneOp zone_op(const ZoneChange *change)
{
    static const BlockZoneOp conditions[BLOCK_ZONE_CONDITION__MAX] = {
        [BLOCK_ZONE_CONDITION_GOOD] = BLK_ZO_FORCE_REPAIR,
        [BLOCK_ZONE_CONDITION_READ_ONLY] = BLK_ZO_FORCE_RDONLY,
        [BLOCK_ZONE_CONDITION_OFFLINE] = BLK_ZO_FORCE_OFFLINE,
    };

    switch (change->operation) {
    case BLOCKDEV_ZONE_OPERATION_RESET:
        return BLK_ZO_RESET;
    case BLOCKDEV_ZONE_OPERATION_FINISH:
        return BLK_ZO_FINISH;
    case BLOCKDEV_ZONE_OPERATION_SET_ATTRIBUTES:
        return BLK_ZO_SET_ATTRIBUTES;
    default:
        return conditions[change->condition];
    }
}

static BlockZoneFlags zone_flags(const ZoneChange *change)
{
    switch (change->operation) {
    case BLOCKDEV_ZONE_OPERATION_SET_ATTRIBUTES:
        return BDRV_ZONE_ATTRIBUTES(change->attributes) |
               (change->all ? BDRV_ZONE_ALL : 0);
    case BLOCKDEV_ZONE_OPERATION_SET_CONDITION:
        return 0;
    default:
        return change->all ? BDRV_ZONE_ALL : 0;
    }
}

const char *zoned_change_participle(const ZoneChange *change)
{
    static const char *const conditions[BLOCK_ZONE_CONDITION__MAX] = {
        [BLOCK_ZONE_CONDITION_GOOD] = "made good",
        [BLOCK_ZONE_CONDITION_READ_ONLY] = "made read-only",
        [BLOCK_ZONE_CONDITION_OFFLINE] = "made offline",
    };
    static const char *const attributes[] = {
        [0] = "cleared of attributes",
        [BDRV_ZA_FINISHED_BY_CONTROLLER] = "marked finished-by-controller",
        [BDRV_ZA_FINISH_RECOMMENDED] = "marked finish-recommended",
        [BDRV_ZA_RESET_RECOMMENDED] = "marked reset-recommended",
        [BDRV_ZA_RESET_RECOMMENDED | BDRV_ZA_FINISHED_BY_CONTROLLER] =
            "marked finished-by-controller and reset-recommended",
        [BDRV_ZA_SETTABLE] = NULL,
    };

    switch (change->operation) {
    case BLOCKDEV_ZONE_OPERATION_RESET:
        return "reset";
    case BLOCKDEV_ZONE_OPERATION_FINISH:
        return "finished";
    case BLOCKDEV_ZONE_OPERATION_SET_ATTRIBUTES:
        return attributes[change->attributes] ?: "given these attributes";
    default:
        return conditions[change->condition];
    }
}

const char *zoned_change_outcome(const ZoneChange *change)
{
    switch (change->operation) {
    case BLOCKDEV_ZONE_OPERATION_RESET:
        return "empty";
    case BLOCKDEV_ZONE_OPERATION_FINISH:
        return "full";
    case BLOCKDEV_ZONE_OPERATION_SET_ATTRIBUTES:
        return "so";
    default:
        return BlockZoneCondition_str(change->condition);
    }
}

void zoned_change_info(const ZoneChange *change, BlockdevZoneChange *info)
{
    bool is_condition = change->operation ==
                        BLOCKDEV_ZONE_OPERATION_SET_CONDITION;

    *info = (BlockdevZoneChange) {
        .operation = change->operation,
        .has_condition = is_condition,
        .condition = change->condition,
        .has_attributes = change->operation ==
                          BLOCKDEV_ZONE_OPERATION_SET_ATTRIBUTES,
        .attributes = zoned_report_attributes(change->attributes),
        .first_zone = change->first,
        .nr_zones = change->count,
        .changed = change->changed,
        .unchanged = change->unchanged,
        .skipped = change->skipped.zones,
    };
}

bool zoned_change_set_attributes(ZoneChange *change,
                                 const BlockdevZoneAttributeList *attributes,
                                 Error **errp)
{
    uint8_t bits = zoned_report_attribute_bits(attributes);

    if (bits & ~BDRV_ZA_SETTABLE) {
        error_setg(errp, "The attributes random-write-area and "
                   "descriptor-extension cannot be set");
        return false;
    }
    change->attributes = bits;
    return true;
}

/* --- Which zones --- */

/* Is the zone what the operation makes of it? */
static bool is_done(const ZoneChange *change, const BlockZoneDescriptor *zone)
{
    BlockZoneState state = zone->state;

    switch (zone_op(change)) {
    case BLK_ZO_SET_ATTRIBUTES:
        return (zone->attributes & BDRV_ZA_SETTABLE) == change->attributes &&
               zone_attributes_state(state, change->attributes) == state;
    case BLK_ZO_RESET:
        return state == BLK_ZS_EMPTY;
    case BLK_ZO_FINISH:
        return state == BLK_ZS_FULL;
    case BLK_ZO_FORCE_RDONLY:
        return state == BLK_ZS_RDONLY;
    case BLK_ZO_FORCE_OFFLINE:
        return state == BLK_ZS_OFFLINE;
    default:
        return state != BLK_ZS_RDONLY && state != BLK_ZS_OFFLINE;
    }
}

/* Can the zone be named?  With @all, ZNS leaves empty zones unfinished. */
static bool applies(const ZoneChange *change, BlockZoneState state)
{
    if (state == BLK_ZS_NOT_WP) {
        return false;
    }
    if (change->operation == BLOCKDEV_ZONE_OPERATION_SET_CONDITION) {
        return true;
    }
    if (change->operation == BLOCKDEV_ZONE_OPERATION_SET_ATTRIBUTES) {
        return zone_attributes_allowed(state, change->attributes);
    }
    return state != BLK_ZS_RDONLY && state != BLK_ZS_OFFLINE &&
           !(change->all && state == BLK_ZS_EMPTY &&
             change->operation == BLOCKDEV_ZONE_OPERATION_FINISH);
}

typedef struct ZoneChoice {
    ZoneChange *change;
    uint64_t zone_size;
    /* From the first zone that the operation applies to, up to the last one */
    uint64_t start, end;
    Error **errp;
} ZoneChoice;

static int coroutine_fn look_at_zone(const BlockZoneDescriptor *zone,
                                     void *opaque)
{
    ZoneChoice *choice = opaque;
    ZoneChange *change = choice->change;

    if (!applies(change, zone->state)) {
        if (!change->all) {
            error_setg(choice->errp, "Zone %" PRIu64 " cannot be %s: it is %s",
                       zone->start / choice->zone_size,
                       zoned_change_participle(change),
                       zone->state == BLK_ZS_NOT_WP ? "conventional" :
                       BlockdevZoneState_str(zoned_report_state(zone->state)));
            return 1;
        }
        zoned_report_add(&change->skipped, zone);
        return 0;
    }
    if (change->changed + change->unchanged == 0) {
        choice->start = zone->start;
    }
    choice->end = zone->start + zone->length;
    if (is_done(change, zone)) {
        change->unchanged++;
    } else {
        change->changed++;
    }
    return 0;
}

/* --- The change --- */

static void change_error(const ZoneChange *change,
                         const BlockZoneLimits *limits, int ret, Error **errp)
{
    switch (ret) {
    case -EOVERFLOW:
        error_setg(errp, "Could not change zones of '%s': more than %" PRIu32
                   " zones would be active", change->disk, limits->max_active);
        break;
    case -ENOTSUP:
        error_setg(errp, "Could not change zones of '%s': its driver cannot do "
                   "that", change->disk);
        break;
    default:
        error_setg_errno(errp, -ret, "Could not change zones of '%s'",
                         change->disk);
        break;
    }
}

bool coroutine_fn blk_co_change_zones(BlockBackend *blk, ZoneChange *change,
                                      Error **errp)
{
    const BlockZoneLimits *limits = &blk_bs(blk)->bl.zones;
    ZoneChoice choice = {
        .change = change,
        .zone_size = limits->size,
        .errp = errp,
    };
    int ret = blk_co_for_each_zone(blk, change->first * limits->size,
                                   change->count * limits->size, 0,
                                   look_at_zone, &choice);

    /* Only conventional zones, which come first, are in no range of a change */
    if (ret == 0 && choice.end) {
        ret = blk_co_zone_mgmt(blk, zone_op(change), zone_flags(change),
                               choice.start, choice.end - choice.start, NULL);
    }
    if (ret < 0) {
        change_error(change, limits, ret, errp);
    }
    return ret == 0;
}
