/*
 * Zoned qcow2: zones that come from another disk
 *
 * While zones are received, all of them are empty, and data is written as plain
 * qcow2 does it, above their ends of data, where nothing of it can be read.  The
 * new records are put in a table of their own; the header's change from the old
 * table to that one shows everything at once.
 *
 * When an overlay is committed, the zones stay as they are until then, because the
 * overlay still reads what it has not got itself.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "block/zoned-backup.h"
#include "block/zoned-graph.h"
#include "qcow2-zoned-int.h"

static ZoneTable *copy_zones(BlockDriverState *bs)
{
    ZoneTable *table = zone_table_new(zone_table_geometry(qcow2_zone_table(bs)));

    zone_table_copy(table, qcow2_zone_table(bs));
    return table;
}

static int64_t stored(BlockDriverState *bs, int64_t offset, int64_t bytes,
                      bool *data)
{
    return zone_table_stored(qcow2_zone_table(bs), offset, bytes, data);
}

static int coroutine_fn GRAPH_RDLOCK
read_stored(BlockDriverState *bs, int64_t offset, int64_t bytes,
            QEMUIOVector *qiov, size_t qiov_offset)
{
    return qcow2_co_preadv_part(bs, offset, bytes, qiov, qiov_offset, 0);
}

/* --- May it be done? --- */

/* Limits may differ if they are about what becomes of the zones only. */
static bool check_geometry(BlockDriverState *bs, ZoneTable *zones,
                           bool same_limits, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    ZoneGeometry own = *s->zoned->geometry;
    const ZoneGeometry *g = zone_table_geometry(zones);
    uint64_t value, other;
    const char *option;

    if (!same_limits) {
        own.zones.max_open = g->zones.max_open;
        own.zones.max_active = g->zones.max_active;
        own.zones.max_append = g->zones.max_append;
    }
    option = zone_geometry_difference(&own, g, &value, &other);
    if (option) {
        error_setg(errp, "%s of node '%s' (%" PRIu64 ") must be that of the "
                   "zones that it gets (%" PRIu64 ")", option,
                   bdrv_get_node_name(bs), value, other);
    }
    return !option;
}

static uint32_t count_closed(ZoneTable *zones)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < zone_table_nr_zones(zones); i++) {
        ZoneRecord r;

        zone_table_record(zones, i, false, &r);
        n += r.state == BLK_ZS_CLOSED;
    }
    return n;
}

static bool check_limits(BlockDriverState *bs, ZoneTable *zones, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    uint32_t limit = s->zoned->geometry->zones.max_active;
    uint32_t n = limit ? count_closed(zones) : 0;

    if (n > limit) {
        error_setg(errp, "zone.max_active_zones of node '%s' (%" PRIu32 ") "
                   "must not be less than the number of active zones that it "
                   "gets (%" PRIu32 ")", bdrv_get_node_name(bs), limit, n);
        return false;
    }
    return true;
}

static bool all_empty(BlockDriverState *bs)
{
    ZoneCounts c;

    zone_table_count(qcow2_zone_table(bs), &c);
    return c.in_state[BLK_ZS_EMPTY] + c.in_state[BLK_ZS_NOT_WP] ==
           zone_table_nr_zones(qcow2_zone_table(bs));
}

/* Does @bs, an overlay, still have the zones that it was made with? */
static bool GRAPH_RDLOCK is_new_overlay(BlockDriverState *bs)
{
    BlockDriverState *base = bdrv_zoned_source(bdrv_cow_bs(bs));
    ZoneTable *own = qcow2_zone_table(bs), *below;

    if (base->drv != bs->drv || !qcow2_is_zoned(base)) {
        return false;
    }
    below = qcow2_zone_table(base);
    for (uint32_t i = 0; i < zone_table_nr_zones(own); i++) {
        ZoneRecord r, other;

        zone_table_record(own, i, false, &r);
        zone_table_record(below, i, false, &other);
        if (r.wp != other.wp || r.data_end != other.data_end) {
            return false;
        }
    }
    return true;
}

/* NULL: nothing is wrong with what @bs has already. */
static const char *GRAPH_RDLOCK
wrong_with(BlockDriverState *bs, MirrorSyncMode sync)
{
    BDRVQcow2State *s = bs->opaque;

    if (s->zoned->receiving) {
        return "it already gets those of one";
    }
    switch (sync) {
    case MIRROR_SYNC_MODE_FULL:
        /* One that is not open would show where nothing is copied */
        return bs->backing || bs->backing_file[0] ? "it has a backing file" :
               !all_empty(bs) ? "its zones are not empty" : NULL;
    case MIRROR_SYNC_MODE_TOP:
        return !bs->backing ? "it has no backing file" :
               !is_new_overlay(bs) ? "its zones are not those of its backing "
                                     "file" : NULL;
    default:
        return NULL;
    }
}

static bool GRAPH_RDLOCK
can_receive(BlockDriverState *bs, ZoneTable *zones, MirrorSyncMode sync,
            bool same_limits, Error **errp)
{
    const char *wrong = wrong_with(bs, sync);

    if (wrong) {
        error_setg(errp, "Node '%s' cannot get the zones of another disk: %s",
                   bdrv_get_node_name(bs), wrong);
        return false;
    }
    return check_geometry(bs, zones, same_limits, errp) &&
           check_limits(bs, zones, errp);
}

/* --- Receiving --- */

static void empty_all(BlockDriverState *bs)
{
    ZoneTable *table = qcow2_zone_table(bs);
    uint32_t i = zone_table_geometry(table)->conventional_zones;

    for (; i < zone_table_nr_zones(table); i++) {
        zone_table_clear(table, i);
    }
    zone_table_mark_dirty(table, 0);
}

static int coroutine_fn GRAPH_RDLOCK empty_locked(BlockDriverState *bs)
{
    ZoneTable *before;
    /*
     * On disk they may still have the data that they were reset of.  And this leaves
     * no claims, which could be about the records to come.
     */
    int ret = qcow2_zones_store_locked(bs, false);

    if (ret < 0 || all_empty(bs)) {
        return ret;
    }
    before = copy_zones(bs);
    empty_all(bs);
    ret = qcow2_zones_store_locked(bs, false);
    if (ret < 0) {
        zone_table_copy(qcow2_zone_table(bs), before);
        zone_table_mark_dirty(qcow2_zone_table(bs), 0);
    }
    zone_table_free(before);
    return ret;
}

/* Where zones are mapped, and have space ahead, changes now. */
static void receive(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    qcow2_zoned_forget_mapping(s->zoned);
    s->zoned->receiving = true;
}

static int coroutine_fn GRAPH_RDLOCK
begin(BlockDriverState *bs, ZoneTable *zones, bool same_limits, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    qemu_co_mutex_lock(&s->zoned->store_lock);
    ret = empty_locked(bs);
    qemu_co_mutex_unlock(&s->zoned->store_lock);
    if (ret == 0) {
        receive(bs);
    }
    return ret;
}

static int coroutine_fn GRAPH_RDLOCK
begin_commit(BlockDriverState *bs, BlockDriverState *top, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = qcow2_zoned_check_commit(bs, top, errp);

    if (ret < 0) {
        return ret;
    }
    /* A record of the overlay may be just what a claim is about: leave none. */
    qemu_co_mutex_lock(&s->zoned->store_lock);
    ret = qcow2_zones_store_locked(bs, false);
    qemu_co_mutex_unlock(&s->zoned->store_lock);
    if (ret == 0) {
        receive(bs);
    }
    return ret;
}

static int coroutine_fn GRAPH_RDLOCK
ext(BlockDriverState *bs, uint32_t i, const void *data, size_t bytes)
{
    return qcow2_zones_write_ext(bs, i, data);
}

/*
 * A table of its own for these zones, durable with all that they stand for; their
 * extensions are in @from
 */
static int coroutine_fn GRAPH_RDLOCK
write_table(BlockDriverState *bs, Qcow2ZoneFile *new, ZoneTable *zones,
            BlockDriverState *from)
{
    BDRVQcow2State *s = bs->opaque, *from_s = from->opaque;
    int ret;

    qemu_co_mutex_lock(&s->lock);
    ret = qcow2_zone_file_alloc(bs, new, zone_table_nr_zones(zones));
    qemu_co_mutex_unlock(&s->lock);
    if (ret < 0) {
        return ret;
    }
    ret = qcow2_zone_file_write(bs, new, zones, false);
    if (ret == 0) {
        ret = qcow2_zone_file_copy_exts(bs, new, from, &from_s->zoned->file,
                                        zones);
    }
    if (ret == 0) {
        ret = qcow2_zones_write_caches(bs);
    }
    if (ret == 0) {
        ret = qcow2_zones_flush_files(bs);
    }
    if (ret < 0) {
        qemu_co_mutex_lock(&s->lock);
        qcow2_zone_file_free(bs, new, QCOW2_DISCARD_OTHER);
        qemu_co_mutex_unlock(&s->lock);
    }
    return ret;
}

static int coroutine_fn GRAPH_RDLOCK
switch_table(BlockDriverState *bs, const Qcow2ZoneFile *new)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Zoned *z = s->zoned;
    Qcow2ZoneFile old = z->file;
    int ret;

    z->file = *new;
    ret = qcow2_zones_write_header(bs);
    if (ret < 0) {
        /* The new table may be in force until this has worked: it is a leak */
        z->file = old;
        qcow2_zones_write_header(bs);
        return ret;
    }
    qemu_co_mutex_lock(&s->lock);
    qcow2_zone_file_free(bs, &old, QCOW2_DISCARD_OTHER);
    qemu_co_mutex_unlock(&s->lock);
    return 0;
}

/* Nothing of this is to be stored: open zones are closed ones there. */
static void load_zones(ZoneTable *t, ZoneTable *zones, bool live)
{
    for (uint32_t i = 0; i < zone_table_nr_zones(zones); i++) {
        ZoneRecord r;

        zone_table_record(zones, i, live, &r);
        zone_table_load(t, i, &r);
    }
}

static int coroutine_fn GRAPH_RDLOCK
end_locked(BlockDriverState *bs, ZoneTable *zones, BlockDriverState *top,
           bool live)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Zoned *z = s->zoned;
    Qcow2ZoneFile new;
    int ret;

    /* It may have been given up, or the limits changed */
    if (!z->receiving || (!top && !all_empty(bs)) ||
        !check_limits(bs, zones, NULL)) {
        return -EBUSY;
    }
    ret = write_table(bs, &new, zones, top ?: bs);
    if (ret == 0) {
        ret = switch_table(bs, &new);
    }
    if (ret < 0) {
        return ret;
    }
    load_zones(z->table, zones, live);
    z->receiving = false;
    qcow2_zoned_forget_mapping(z);
    return 0;
}

static int coroutine_fn GRAPH_RDLOCK
end_commit(BlockDriverState *bs, ZoneTable *zones, BlockDriverState *top,
           bool live)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    qemu_co_mutex_lock(&s->zoned->store_lock);
    ret = end_locked(bs, zones, top, live);
    qemu_co_mutex_unlock(&s->zoned->store_lock);
    return ret;
}

static int coroutine_fn GRAPH_RDLOCK
end(BlockDriverState *bs, ZoneTable *zones, bool live)
{
    return end_commit(bs, zones, NULL, live);
}

static void give_up(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    if (s->zoned->receiving) {
        s->zoned->receiving = false;
        qcow2_zoned_forget_mapping(s->zoned);
    }
}

const BlockZoneTransfer qcow2_zone_transfer = {
    .copy = copy_zones,
    .stored = stored,
    .read = read_stored,
    .can_receive = can_receive,
    .begin = begin,
    .ext = ext,
    .end = end,
    .begin_commit = begin_commit,
    .end_commit = end_commit,
    .give_up = give_up,
};
