/*
 * Zoned qcow2: what changes a whole image
 *
 * Resizing, amending, internal snapshots.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/option.h"
#include "qapi/error.h"
#include "block/zoned-graph.h"
#include "qcow2-zoned-int.h"

/* --- Resizing and amending --- */

/* With store_lock held: records of the zones from @first_zone on, durable */
static int coroutine_fn GRAPH_RDLOCK
store_from(BlockDriverState *bs, uint32_t first_zone)
{
    BDRVQcow2State *s = bs->opaque;

    zone_table_mark_dirty(s->zoned->table, first_zone);
    return qcow2_zones_store_locked(bs, false);
}

/* Put a table for all zones in a new place, before the old one goes. */
static int coroutine_fn GRAPH_RDLOCK move_table(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Zoned *z = s->zoned;
    Qcow2ZoneFile old = z->file, new;
    int ret;

    qemu_co_mutex_lock(&s->lock);
    ret = qcow2_zone_file_alloc(bs, &new, zone_table_nr_zones(z->table));
    qemu_co_mutex_unlock(&s->lock);
    if (ret < 0) {
        return ret;
    }
    z->file = new;
    ret = qcow2_zone_file_copy_exts(bs, &new, bs, &old, z->table);
    if (ret == 0) {
        ret = store_from(bs, 0);
    }
    if (ret == 0) {
        ret = qcow2_zones_write_header(bs);
    }
    if (ret < 0) {
        /* The new table may be in force until this has worked: it is a leak */
        z->file = old;
        if (z->header_unknown) {
            qcow2_zones_write_header(bs);
        }
        /* What store_from() has stored is not in the old table */
        zone_table_mark_dirty(z->table, 0);
        return ret;
    }
    qemu_co_mutex_lock(&s->lock);
    qcow2_zone_file_free(bs, &old, QCOW2_DISCARD_OTHER);
    qemu_co_mutex_unlock(&s->lock);
    return 0;
}

/* The zones of @size, in memory */
static int resize_zones(Qcow2Zoned *z, uint64_t size)
{
    int ret = zone_table_resize(z->table, size);

    if (ret == 0) {
        qcow2_zoned_forget_mapping(z);
    }
    return ret;
}

static bool check_resize(const Qcow2Zoned *z, size_t cluster_size,
                         uint64_t size, Error **errp)
{
    ERRP_GUARD();
    ZoneGeometry geometry = *z->geometry;

    geometry.size = size;
    if (z->receiving) {
        error_setg(errp, "Cannot resize the zoned image: it is getting the "
                   "zones of another disk");
        return false;
    }
    if (size % BDRV_SECTOR_SIZE) {
        error_setg(errp, "The new size must be a multiple of %u",
                   (unsigned) BDRV_SECTOR_SIZE);
        return false;
    }
    if (!zone_geometry_check(&geometry, cluster_size, errp)) {
        error_prepend(errp, "Cannot resize the zoned image: ");
        geometry.zones.max_open = geometry.zones.max_active = 0;
        if (zone_geometry_check(&geometry, cluster_size, NULL)) {
            error_append_hint(errp, "Lower the limit with 'qemu-img amend' "
                              "first.\n");
        }
        return false;
    }
    return true;
}

static int coroutine_fn GRAPH_RDLOCK
resize_locked(BlockDriverState *bs, int64_t size, bool exact,
              PreallocMode prealloc, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Zoned *z = s->zoned;
    uint64_t old_size = z->geometry->size;
    int l1_vm_state_index = s->l1_vm_state_index;
    uint32_t old_nr_zones = zone_table_nr_zones(z->table);
    /* A claim is of a record in this table, and of a zone that stays */
    int ret = qcow2_zones_store_locked(bs, false);

    if (ret < 0) {
        qcow2_zones_store_error(bs, ret, errp);
        return ret;
    }

    /*
     * Both the size and the number of records are in the header, but not in
     * one sector: the table is never the smaller one.
     */
    ret = resize_zones(z, size);
    if (ret < 0) {
        error_setg(errp, "Cannot resize the zoned image: a zone that would "
                   "change or go is not empty");
        return ret;
    }
    if (zone_table_nr_zones(z->table) > z->file.nr_zones) {
        ret = move_table(bs);
    } else if (size > old_size) {
        ret = store_from(bs, old_nr_zones - 1);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not enlarge the zone table");
        resize_zones(z, old_size);
        return ret;
    }
    /* What is new reads as zeroes without being written */
    ret = qcow2_co_truncate(bs, size, exact, prealloc, 0, errp);
    if (ret < 0) {
        resize_zones(z, old_size);
        s->l1_vm_state_index = l1_vm_state_index;
        bs->total_sectors = old_size / BDRV_SECTOR_SIZE;
        qcow2_zones_write_header(bs);   /* it may have the new size */
        return ret;
    }
    qcow2_zoned_refresh_limits(bs);
    bdrv_zoned_limits_changed(bs);
    return 0;
}

int coroutine_fn qcow2_zoned_co_truncate(BlockDriverState *bs, int64_t size,
                                         bool exact, PreallocMode prealloc,
                                         BdrvRequestFlags flags, Error **errp)
{
    ERRP_GUARD();
    BDRVQcow2State *s = bs->opaque;
    int ret;

    if (!qcow2_is_zoned(bs) || size == s->zoned->geometry->size) {
        return qcow2_co_truncate(bs, size, exact, prealloc, flags, errp);
    }
    if (!check_resize(s->zoned, s->cluster_size, size, errp)) {
        return -EINVAL;
    }
    qemu_co_mutex_lock(&s->zoned->store_lock);
    ret = resize_locked(bs, size, exact, prealloc, errp);
    qemu_co_mutex_unlock(&s->zoned->store_lock);
    return ret;
}

bool qcow2_zoned_check_number(const char *option, uint64_t n, Error **errp)
{
    if (n > UINT32_MAX) {
        error_setg(errp, "%s (%" PRId64 ") must be a number between 0 and %"
                   PRIu32, option, (int64_t)n, UINT32_MAX);
        return false;
    }
    return true;
}

static bool amend_limit(QemuOpts *opts, const char *name, uint32_t *limit,
                        Error **errp)
{
    uint64_t n = qemu_opt_get_number(opts, name, *limit);

    *limit = n;
    return qcow2_zoned_check_number(name, n, errp);
}

bool qcow2_zoned_amend(BlockDriverState *bs, QemuOpts *opts, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    ZoneGeometry g;
    ZoneCounts c;
    int ret;

    if (!qcow2_is_zoned(bs)) {
        error_setg(errp, "Can't amend zone options - image has no zones");
        return false;
    }
    g = *s->zoned->geometry;
    if (!amend_limit(opts, "zone.max_open_zones", &g.zones.max_open, errp) ||
        !amend_limit(opts, "zone.max_active_zones", &g.zones.max_active,
                     errp)) {
        return false;
    }
    g.zones.max_append = qemu_opt_get_size(opts, "zone.max_append_bytes",
                                     g.zones.max_append);
    if (!zone_geometry_check(&g, s->cluster_size, errp)) {
        return false;
    }
    zone_table_count(qcow2_zone_table(bs), &c);
    if (g.zones.max_active && c.in_state[BLK_ZS_CLOSED] > g.zones.max_active) {
        error_setg(errp, "zone.max_active_zones (%" PRIu32 ") must not be less "
                   "than the number of closed zones (%" PRIu32 ")",
                   g.zones.max_active, c.in_state[BLK_ZS_CLOSED]);
        return false;
    }
    /* A claim that made a zone active did so without this limit */
    ret = qcow2_zones_store_locked(bs, false);
    if (ret < 0) {
        qcow2_zones_store_error(bs, ret, errp);
        return false;
    }
    zone_table_set_limits(qcow2_zone_table(bs), g.zones.max_open,
                          g.zones.max_active, g.zones.max_append);
    return true;
}

/* --- Internal snapshots --- */

/*
 * Called without requests in progress, mostly from the main loop.  A snapshot
 * has a table of its own, with live states, because it may be of a running
 * guest.  There are none of zones that are received: what they have got is not
 * below any end of data, so a copy on write would not have it.
 */

int qcow2_zoned_snapshot_create(BlockDriverState *bs, QCowSnapshot *sn)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2ZonedSnapshotExtra *extra;
    Qcow2ZoneFile f;
    ZoneTable *t;
    int ret;

    if (!qcow2_is_zoned(bs)) {
        return 0;
    }
    if (s->zoned->receiving) {
        return -EBUSY;
    }
    t = s->zoned->table;
    ret = qcow2_zones_store_locked(bs, false);
    if (ret < 0) {
        return ret;
    }
    ret = qcow2_zone_file_alloc(bs, &f, zone_table_nr_zones(t));
    if (ret < 0) {
        return ret;
    }
    /* Data below the copy's write pointers is flushed with the snapshot list */
    ret = qcow2_zone_file_write(bs, &f, t, true);
    if (ret == 0) {
        ret = qcow2_zone_file_copy_exts(bs, &f, bs, &s->zoned->file, t);
    }
    if (ret < 0) {
        qcow2_zone_file_free(bs, &f, QCOW2_DISCARD_OTHER);
        return ret;
    }
    extra = g_new0(Qcow2ZonedSnapshotExtra, 1);
    extra->table_offset = cpu_to_be64(f.offset);
    extra->nr_zones = cpu_to_be32(f.nr_zones);
    extra->magic = cpu_to_be32(QCOW2_ZONED_SNAPSHOT_MAGIC);
    sn->unknown_extra_data = extra;
    sn->extra_data_size += sizeof(*extra);

    /* All clusters are shared from now on */
    qcow2_zoned_forget_mapping(s->zoned);
    return 0;
}

static bool GRAPH_RDLOCK
check_snapshot(BlockDriverState *bs, const QCowSnapshot *sn,
               Qcow2ZoneFile *f, Error **errp)
{
    if (!qcow2_zoned_snapshot_file(sn, f)) {
        error_setg(errp, "Snapshot '%s' has no zone table", sn->name);
        return false;
    }
    if (f->nr_zones != zone_table_nr_zones(qcow2_zone_table(bs)) ||
        sn->disk_size != bs->total_sectors * BDRV_SECTOR_SIZE) {
        error_setg(errp, "Snapshot '%s' has %" PRIu32 " zones and the zoned "
                   "image has another size; resize the image first", sn->name,
                   f->nr_zones);
        return false;
    }
    return qcow2_zone_file_check(bs, f, errp);
}

int qcow2_zoned_snapshot_load(BlockDriverState *bs, const QCowSnapshot *sn,
                              Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2ZoneFile f;

    if (!qcow2_is_zoned(bs)) {
        return 0;
    }
    if (!check_snapshot(bs, sn, &f, errp)) {
        return -EINVAL;
    }
    qcow2_zoned_forget_mapping(s->zoned);
    return qcow2_zone_file_read(bs, &f, s->zoned->table, true, NULL, errp);
}

/* The zones to go back to, while that is in progress */
struct Qcow2ZonedGoto {
    ZoneTable *table;
    Qcow2ZoneFile file;         /* for the image: a copy of the snapshot's */
};

/* A table for the image, with what @table and the one in @from have */
static int GRAPH_RDLOCK copy_table(BlockDriverState *bs, Qcow2ZoneFile *to,
                                   const Qcow2ZoneFile *from, ZoneTable *table)
{
    int ret = qcow2_zone_file_alloc(bs, to, from->nr_zones);

    if (ret < 0) {
        return ret;
    }
    ret = qcow2_zone_file_write(bs, to, table, false);
    if (ret == 0) {
        ret = qcow2_zone_file_copy_exts(bs, to, bs, from, table);
    }
    if (ret < 0) {
        qcow2_zone_file_free(bs, to, QCOW2_DISCARD_OTHER);
    }
    return ret;
}

int qcow2_zoned_snapshot_goto_begin(BlockDriverState *bs,
                                    const QCowSnapshot *sn)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2ZonedGoto next = {};
    Error *local_err = NULL;
    Qcow2ZoneFile f;
    int ret;

    if (!qcow2_is_zoned(bs)) {
        return 0;
    }
    if (s->zoned->receiving) {
        return -EBUSY;
    }
    if (!check_snapshot(bs, sn, &f, &local_err)) {
        error_report_err(local_err);
        return -ENOTSUP;
    }
    next.table = zone_table_new(s->zoned->geometry);
    if (qcow2_zone_file_read(bs, &f, next.table, true, NULL, &local_err) < 0) {
        error_report_err(local_err);
        zone_table_free(next.table);
        return -ENOTSUP;
    }
    /* Until the switch, a crash must find the zones as they are now. */
    ret = qcow2_zones_store_locked(bs, false);
    if (ret == 0) {
        ret = copy_table(bs, &next.file, &f, next.table);
    }
    if (ret < 0) {
        zone_table_free(next.table);
        return ret;
    }
    s->zoned->going_to = g_memdup2(&next, sizeof(next));
    return 0;
}

/*
 * The header has both offsets, that of the L1 table and that of the zone table,
 * in its first sector: so they change together, or not at all.
 */
static int GRAPH_RDLOCK switch_tables(BlockDriverState *bs, uint64_t l1_offset)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2ZoneFile old_file = s->zoned->file;
    uint64_t old_l1_offset = s->l1_table_offset;
    /* The zone extension can be anywhere in the header: put it first */
    int ret = qcow2_zones_write_header(bs);

    if (ret < 0) {
        return ret;
    }
    s->l1_table_offset = l1_offset;
    s->zoned->file = s->zoned->going_to->file;
    s->zoned->going_to->file.offset = 0;
    ret = qcow2_zones_write_header(bs);
    if (ret < 0) {
        /* The new tables may be in force until this has worked: a leak */
        s->l1_table_offset = old_l1_offset;
        s->zoned->file = old_file;
        qcow2_zones_write_header(bs);
        return ret;
    }
    qcow2_free_clusters(bs, old_l1_offset, s->l1_size * L1E_SIZE,
                        QCOW2_DISCARD_OTHER);
    qcow2_zone_file_free(bs, &old_file, QCOW2_DISCARD_OTHER);
    return 0;
}

int qcow2_zoned_write_l1(BlockDriverState *bs, uint64_t *l1_table)
{
    BDRVQcow2State *s = bs->opaque;
    int bytes = s->l1_size * L1E_SIZE;
    int64_t offset;
    int ret;

    if (!qcow2_is_zoned(bs)) {
        return bdrv_pwrite_sync(bs->file, s->l1_table_offset, bytes, l1_table,
                                0);
    }
    /*
     * All L2 tables have one reference from here and one from the snapshot,
     * until the caller has given up those of the old L1 table: if it does not
     * come so far, they must not be changed in place.
     */
    for (int i = 0; i < s->l1_size; i++) {
        l1_table[i] &= ~cpu_to_be64(QCOW_OFLAG_COPIED);
    }
    offset = qcow2_alloc_clusters(bs, bytes);
    if (offset < 0) {
        return offset;
    }
    ret = qcow2_pre_write_overlap_check(bs, 0, offset, bytes, false);
    if (ret == 0) {
        ret = bdrv_pwrite(bs->file, offset, bytes, l1_table, 0);
    }
    if (ret == 0) {
        ret = qcow2_write_caches(bs);
    }
    if (ret == 0) {
        ret = bdrv_flush(bs->file->bs);
    }
    if (ret < 0) {
        qcow2_free_clusters(bs, offset, bytes, QCOW2_DISCARD_OTHER);
        return ret;
    }
    ret = switch_tables(bs, offset);
    if (ret == 0) {
        zone_table_copy(s->zoned->table, s->zoned->going_to->table);
        qcow2_zoned_forget_mapping(s->zoned);
    }
    return ret;
}

int qcow2_zoned_snapshot_goto_end(BlockDriverState *bs, int ret)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2ZonedGoto *next;

    if (!qcow2_is_zoned(bs) || !s->zoned->going_to) {
        return ret;
    }
    next = g_steal_pointer(&s->zoned->going_to);
    if (next->file.offset) {
        /* Failed before the switch */
        qcow2_zone_file_free(bs, &next->file, QCOW2_DISCARD_OTHER);
    }
    zone_table_free(next->table);
    g_free(next);
    return ret;
}

void qcow2_zoned_snapshot_delete(BlockDriverState *bs, const QCowSnapshot *sn)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2ZoneFile f;

    if (qcow2_is_zoned(bs) && qcow2_zoned_snapshot_file(sn, &f) &&
        qcow2_zone_file_check(bs, &f, NULL)) {
        qcow2_zone_file_free(bs, &f, QCOW2_DISCARD_SNAPSHOT);
        qcow2_zoned_forget_mapping(s->zoned);
    }
}
