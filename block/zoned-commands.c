/*
 * QMP commands for the zones of nodes: show, reset, finish, set attributes
 *
 * They are coroutines, so that very many zones stop nothing but other commands,
 * and those for a bounded time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/zoned-change.h"
#include "block/zoned-graph.h"
#include "block/zoned-range.h"
#include "block/zoned-report.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-zoned-commands.h"
#include "system/block-backend.h"
#include "trace.h"

/* --- Showing zones --- */

#define ANSWER_MAX_ZONES 1024
/* So many are passed in some hundredths of a second. */
#define ANSWER_MAX_LOOKS (256 * 1024)

typedef struct ZoneQuery {
    BlockDriverState *bs;
    uint32_t states;             /* 0: any; bits are 1 << BlockdevZoneState */
    uint32_t room;               /* zones that the answer can still have */
    uint32_t looks;              /* zones that can still be looked at */
    BlockdevZoneReport *report;
    BlockdevZoneList **tail;
} ZoneQuery;

static int coroutine_fn query_zone(const BlockZoneDescriptor *zone,
                                   void *opaque)
{
    ZoneQuery *query = opaque;
    BlockDriverState *bs = query->bs;
    uint32_t index = zone->start / query->report->zone_size;
    BlockdevZone *info;

    if (!query->room || !query->looks) {
        query->report->has_next = true;
        query->report->next = zone->start;
        return 1;
    }
    query->looks--;
    if (query->states &&
        !(query->states >> zoned_report_state(zone->state) & 1)) {
        return 0;
    }
    query->room--;
    info = g_new(BlockdevZone, 1);
    zoned_report_info(zone, index, info);
    if (zone->type != BLK_ZT_CONV && bs->drv &&
        bs->drv->bdrv_zone_resets) {
        info->has_resets = true;
        info->resets = bs->drv->bdrv_zone_resets(bs, index);
    }
    QAPI_LIST_APPEND(query->tail, info);
    return 0;
}

static BlockdevZoneReport *coroutine_fn
query_zones(BlockDriverState *bs, int64_t size, uint64_t offset, uint32_t count,
            BlockdevZoneStateList *states, Error **errp)
{
    uint64_t zone_size = bs->bl.zones.size;
    g_autoptr(BlockdevZoneReport) report = g_new0(BlockdevZoneReport, 1);
    ZoneQuery query = {
        .bs = bs,
        .room = count,
        .looks = ANSWER_MAX_LOOKS,
        .report = report,
        .tail = &report->zones,
    };
    int ret;

    for (; states; states = states->next) {
        query.states |= 1u << states->value;
    }
    report->size = size;
    report->zone_size = zone_size;
    report->nr_zones = DIV_ROUND_UP(size, zone_size);
    ret = bdrv_co_for_each_zone(bs, offset, size - offset, query_zone, &query);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not report zones");
        return NULL;
    }
    return g_steal_pointer(&report);
}

/* What an overlay of @bs shows changes with it, also if nobody looks now. */
static bool GRAPH_RDLOCK check_overlays(BlockDriverState *bs,
                                        const char *node_name, Error **errp)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        BlockDriverState *parent = bdrv_zoned_parent(c);

        if (parent && !check_overlays(parent, node_name, errp)) {
            return false;
        }
        if (!parent && (c->role & BDRV_CHILD_COW)) {
            error_setg(errp, "Node '%s' is the backing file of node '%s'",
                       node_name, bdrv_get_node_name(c->opaque));
            return false;
        }
    }
    return true;
}

typedef enum ZoneUse {
    ZONES_LOOK,                 /* also when the host does not answer */
    ZONES_CHANGE,               /* alone: who uses them would not know */
    ZONES_BE_MEDIUM,            /* change them beside those who use them */
} ZoneUse;

/*
 * The node that has the zones which @node_name shows, with a reference for the
 * caller; NULL with an error.  Sets *@size to that of the disk.
 */
static BlockDriverState *coroutine_fn
find_zones(const char *node_name, ZoneUse use, int64_t *size, Error **errp)
{
    BlockDriverState *bs;

    GRAPH_RDLOCK_GUARD();

    bs = bdrv_find_zoned(node_name, use != ZONES_LOOK, errp);
    if (!bs || (use == ZONES_CHANGE &&
                !check_overlays(bs, node_name, errp))) {
        return NULL;
    }
    bdrv_ref(bs);
    *size = bs->total_sectors * BDRV_SECTOR_SIZE;
    return bs;
}

/* The same, to change the zones: a user of that node */
static BlockBackend *coroutine_fn
use_zones(const char *node_name, ZoneUse use, int64_t *size, Error **errp)
{
    static const struct {
        uint64_t perm, shared;
    } perms[] = {
        [ZONES_CHANGE] = { BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE, 0 },
        [ZONES_BE_MEDIUM] = { BLK_PERM_WRITE_UNCHANGED, BLK_PERM_ALL },
    };
    ERRP_GUARD();
    BlockDriverState *bs;
    BlockBackend *blk;

    bs = find_zones(node_name, use, size, errp);
    if (!bs) {
        return NULL;
    }
    blk = blk_co_new_with_bs(bs, perms[use].perm, perms[use].shared, errp);
    if (!blk && use == ZONES_CHANGE) {
        error_prepend(errp, "Zones of node '%s' are in use: ", node_name);
    }
    bdrv_co_unref(bs);
    return blk;
}

static bool check_offset(const char *node_name, uint64_t offset, int64_t size,
                         Error **errp)
{
    if (offset >= size) {
        error_setg(errp, "offset (%" PRIu64 ") must be less than the size of "
                   "node '%s' (%" PRIi64 ")", offset, node_name, size);
        return false;
    }
    return true;
}

BlockdevZoneReport *coroutine_fn
qmp_query_block_zones(const char *node_name, bool has_offset, uint64_t offset,
                      bool has_count, uint32_t count, bool has_states,
                      BlockdevZoneStateList *states, Error **errp)
{
    BlockdevZoneReport *report = NULL;
    BlockDriverState *bs;
    int64_t size;

    count = has_count ? count : ANSWER_MAX_ZONES;
    if (count < 1 || count > ANSWER_MAX_ZONES) {
        error_setg(errp, "count (%" PRIu32 ") must be between 1 and %d", count,
                   ANSWER_MAX_ZONES);
        return NULL;
    }
    bs = find_zones(node_name, ZONES_LOOK, &size, errp);
    if (!bs) {
        return NULL;
    }
    if (check_offset(node_name, offset, size, errp)) {
        report = query_zones(bs, size, offset, count, states, errp);
    }
    bdrv_co_unref(bs);
    trace_block_zones_query(node_name, offset, count,
                            report && report->has_next ? report->next : 0);
    return report;
}

/* --- Changing zones --- */

/* Fill in first and count of @change; false, with an error, if it cannot be. */
static bool select_zones(const BlockZoneSelection *selection, int64_t size,
                         uint64_t zone_size, ZoneChange *change, Error **errp)
{
    uint32_t nr_zones = DIV_ROUND_UP(size, zone_size);

    change->all = selection->all;
    if (selection->all) {
        if (selection->has_offset || selection->has_count) {
            error_setg(errp, "all cannot be combined with %s",
                       selection->has_offset ? "offset" : "count");
            return false;
        }
        change->count = nr_zones;
        return true;
    }
    if (!selection->has_offset) {
        error_setg(errp, "Choose zones by offset, or all of them by all");
        return false;
    }
    if (!check_offset(selection->node_name, selection->offset, size, errp)) {
        return false;
    }
    if (selection->offset % zone_size) {
        error_setg(errp, "offset (%" PRIu64 ") must be the start of a zone, a "
                   "multiple of the zone size (%" PRIu64 ")",
                   selection->offset, zone_size);
        return false;
    }
    change->first = selection->offset / zone_size;
    change->count = selection->has_count ? selection->count : 1;
    if (change->count < 1 || change->count > nr_zones - change->first) {
        error_setg(errp, "count (%" PRIu32 ") must be between 1 and the number "
                   "of zones from zone %" PRIu32 " on (%" PRIu32 ")",
                   change->count, change->first, nr_zones - change->first);
        return false;
    }
    return true;
}

static BlockdevZoneChange *coroutine_fn
change_zones(const BlockZoneSelection *selection,
             BlockdevZoneOperation operation, Error **errp)
{
    ZoneChange change = {
        .disk = selection->node_name,
        .operation = operation,
    };
    BlockdevZoneChange *info = NULL;
    BlockBackend *blk;
    int64_t size;

    blk = use_zones(selection->node_name, ZONES_CHANGE, &size, errp);
    if (!blk) {
        return NULL;
    }
    if (select_zones(selection, size, blk_bs(blk)->bl.zones.size, &change,
                     errp) &&
        blk_co_change_zones(blk, &change, errp)) {
        info = g_new(BlockdevZoneChange, 1);
        zoned_change_info(&change, info);
    }
    blk_co_unref(blk);
    trace_block_zones_change(selection->node_name,
                             BlockdevZoneOperation_str(operation),
                             change.first, change.count, change.changed);
    return info;
}

BlockdevZoneChange *coroutine_fn
qmp_block_zone_reset(BlockZoneSelection *selection, Error **errp)
{
    return change_zones(selection, BLOCKDEV_ZONE_OPERATION_RESET, errp);
}

BlockdevZoneChange *coroutine_fn
qmp_block_zone_finish(BlockZoneSelection *selection, Error **errp)
{
    return change_zones(selection, BLOCKDEV_ZONE_OPERATION_FINISH, errp);
}

void coroutine_fn
qmp_block_zone_set_attributes(const char *node_name, uint64_t offset,
                              BlockdevZoneAttributeList *attributes,
                              Error **errp)
{
    ZoneChange change = {
        .disk = node_name,
        .operation = BLOCKDEV_ZONE_OPERATION_SET_ATTRIBUTES,
        .count = 1,
    };
    BlockBackend *blk;
    int64_t size;

    if (!zoned_change_set_attributes(&change, attributes, errp)) {
        return;
    }
    blk = use_zones(node_name, ZONES_BE_MEDIUM, &size, errp);
    if (!blk) {
        return;
    }
    if (check_offset(node_name, offset, size, errp)) {
        uint64_t zone_size = blk_bs(blk)->bl.zones.size;

        change.first = offset / zone_size;
        if (blk_co_change_zones(blk, &change, errp) && change.changed) {
            GRAPH_RDLOCK_GUARD();
            bdrv_zone_changed(blk_bs(blk), change.first * zone_size);
        }
        trace_block_zones_change(node_name, BlockdevZoneOperation_str(
                                     change.operation),
                                 change.first, 1, change.changed);
    }
    blk_co_unref(blk);
}
