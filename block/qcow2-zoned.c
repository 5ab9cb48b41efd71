/*
 * Zoned qcow2: a zone table kept in a qcow2 image
 *
 * The rules of zones are in zone-table.c; here is how their state gets onto
 * stable storage and back (docs/interop/qcow2-zoned.rst has the format).
 *
 * The durability contract, in order of importance:
 *
 * 1. When a flush completes, every write that completed before it is below
 *    its zone's write pointer on disk, and its data is on disk.
 * 2. The write pointer on disk never runs ahead of durable data.
 * 3. A reset or finish is durable before it completes, and no write goes into
 *    the zone before that.
 * 4. After a crash at any moment the image opens without repair, and no limit
 *    is exceeded.
 *
 * One function, qcow2_zoned_store_records(), writes the table, and keeps them
 * all: it takes the records first, then makes durable the data and metadata
 * they stand for, then writes the records; its caller flushes once more.  What
 * a cluster holds at or above a zone's end of data is never read, so a reset
 * changes one record and no mapping.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/range.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qcow2-zoned-int.h"
#include "trace.h"

#define MODEL_HOST_MANAGED 1

/* Header extension flags */
#define FLAG_LIVE_STATES 1      /* states 1 to 3 in the table count */
#define KNOWN_FLAGS FLAG_LIVE_STATES

/* A check names no more of the zones whose records are damaged. */
#define MAX_DAMAGED_SHOWN 100

/* A guest that never flushes loses this much of its write pointers. */
#define BACKGROUND_FLUSH_MS 2000

/* --- Records --- */

#define WP_BITS 51
#define WP_MASK MAKE_64BIT_MASK(0, WP_BITS)
#define ATTRIBUTES_SHIFT 51
#define CONVENTIONAL BIT_ULL(59)
#define STATE_SHIFT 60

/* The state follows from the write pointer; the others are as in ZNS */
#define STATE_DERIVED 0
#define STATE_IMPLICITLY_OPEN 1
#define STATE_EXPLICITLY_OPEN 2
#define STATE_CLOSED 3

static void encode_record(const ZoneRecord *r, bool live, Qcow2ZonedRecord *d)
{
    uint64_t state = STATE_DERIVED;

    if (r->state == BLK_ZS_NOT_WP) {
        *d = (Qcow2ZonedRecord) { .type_and_wp = cpu_to_be64(CONVENTIONAL) };
        return;
    }
    switch (r->state) {
    case BLK_ZS_FULL:
        /* Derived as well, unless it was finished before its end */
        state = r->data_end == r->wp ? STATE_DERIVED : BLK_ZS_FULL;
        break;
    case BLK_ZS_IOPEN:
        state = STATE_IMPLICITLY_OPEN;
        break;
    case BLK_ZS_EOPEN:
        state = STATE_EXPLICITLY_OPEN;
        break;
    case BLK_ZS_CLOSED:
        /* It may have no data, as long as there is power */
        state = live ? STATE_CLOSED : STATE_DERIVED;
        break;
    case BLK_ZS_RDONLY:
    case BLK_ZS_OFFLINE:
        state = r->state;
        break;
    default:
        break;
    }
    d->type_and_wp = cpu_to_be64(state << STATE_SHIFT |
                                 (uint64_t)r->attributes << ATTRIBUTES_SHIFT |
                                 r->wp);
    d->data_end = cpu_to_be64(r->data_end);
}

static BlockZoneState derived_state(const ZoneRecord *r, uint64_t start,
                                    uint64_t end)
{
    return r->wp == end ? BLK_ZS_FULL :
           r->wp > start || r->data_end > start ||
           (r->attributes & BDRV_ZA_EXT) ? BLK_ZS_CLOSED : BLK_ZS_EMPTY;
}

/*
 * Returns false for what no version of this format writes; that the values
 * fit the zone is checked by zone_table_load().
 */
static bool decode_record(const Qcow2ZonedRecord *d, uint64_t start,
                          uint64_t end, bool live, ZoneRecord *r)
{
    static const BlockZoneState powered[] = {
        [STATE_IMPLICITLY_OPEN] = BLK_ZS_IOPEN,
        [STATE_EXPLICITLY_OPEN] = BLK_ZS_EOPEN,
        [STATE_CLOSED] = BLK_ZS_CLOSED,
    };
    uint64_t word = be64_to_cpu(d->type_and_wp);
    unsigned state = word >> STATE_SHIFT;

    *r = (ZoneRecord) {
        .attributes = word >> ATTRIBUTES_SHIFT,
        .wp = word & WP_MASK,
        .data_end = be64_to_cpu(d->data_end),
    };
    if (word & CONVENTIONAL) {
        r->state = BLK_ZS_NOT_WP;
        return word == CONVENTIONAL && r->data_end == 0;
    }
    switch (state) {
    case STATE_IMPLICITLY_OPEN:
    case STATE_EXPLICITLY_OPEN:
    case STATE_CLOSED:
        r->state = live ? powered[state] : derived_state(r, start, end);
        if (r->state == BLK_ZS_EMPTY) {
            r->attributes = 0;  /* went with the power */
        }
        break;
    case STATE_DERIVED:
        r->state = derived_state(r, start, end);
        break;
    case BLK_ZS_RDONLY:
    case BLK_ZS_FULL:
    case BLK_ZS_OFFLINE:
        r->state = state;
        break;
    default:
        return false;
    }
    return true;
}

static bool load_record(const Qcow2Zoned *z, uint32_t i,
                        const Qcow2ZonedRecord *d, bool live)
{
    const ZoneGeometry *g = &z->geometry;
    ZoneRecord r;

    return decode_record(d, zone_geometry_start(g, i),
                         zone_geometry_writable_end(g, i), live, &r) &&
           zone_table_load(z->table, i, &r);
}

/* What a damaged record becomes: all that the zone may hold stays readable. */
static void load_salvaged(const Qcow2Zoned *z, uint32_t i)
{
    uint64_t end = zone_geometry_writable_end(&z->geometry, i);
    ZoneRecord r = { .state = BLK_ZS_NOT_WP };

    if (!zone_geometry_conventional(&z->geometry, i)) {
        r = (ZoneRecord) { .state = BLK_ZS_FULL, .wp = end, .data_end = end };
    }
    zone_table_load(z->table, i, &r);
}

/* --- The table --- */

bool qcow2_zoned_snapshot_extra(const QCowSnapshot *sn,
                                Qcow2ZonedSnapshotExtra *extra)
{
    if (sn->extra_data_size < sizeof(QCowSnapshotExtraData) + sizeof(*extra)) {
        return false;
    }
    memcpy(extra, sn->unknown_extra_data, sizeof(*extra));
    extra->table_offset = be64_to_cpu(extra->table_offset);
    extra->nr_zones = be32_to_cpu(extra->nr_zones);
    return true;
}

static uint64_t records_bytes(uint32_t nr_zones)
{
    return nr_zones * sizeof(Qcow2ZonedRecord);
}

uint64_t qcow2_zoned_ext_offset(const BDRVQcow2State *s, const ZoneGeometry *g,
                                uint64_t table_offset, uint32_t nr_zones,
                                uint32_t i)
{
    return table_offset + ROUND_UP(records_bytes(nr_zones), s->cluster_size) +
           (uint64_t)i * g->zones.ext_size;
}

uint64_t qcow2_zoned_table_bytes(const BDRVQcow2State *s, const ZoneGeometry *g,
                                 uint32_t nr_zones)
{
    return g->zones.ext_size ?
           qcow2_zoned_ext_offset(s, g, 0, nr_zones, nr_zones) :
           records_bytes(nr_zones);
}

static uint64_t own_table_bytes(const BDRVQcow2State *s)
{
    return qcow2_zoned_table_bytes(s, &s->zoned->geometry, s->zoned->nr_zones);
}

bool qcow2_zoned_overlaps(BlockDriverState *bs, int64_t offset, int64_t size)
{
    BDRVQcow2State *s = bs->opaque;

    return s->zoned && s->zoned->table_offset &&
           ranges_overlap(offset, size, s->zoned->table_offset,
                          own_table_bytes(s));
}

int coroutine_fn
qcow2_zoned_check_refcounts(BlockDriverState *bs, BdrvCheckResult *result,
                            void **refcount_table,
                            int64_t *refcount_table_size)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    if (!s->zoned) {
        return 0;
    }
    ret = qcow2_inc_refcounts_imrt(bs, result, refcount_table,
                                   refcount_table_size,
                                   s->zoned->table_offset,
                                   own_table_bytes(s));
    for (unsigned i = 0; ret == 0 && i < s->nb_snapshots; i++) {
        Qcow2ZonedSnapshotExtra extra;
        Error *local_err = NULL;
        uint64_t bytes;

        if (!qcow2_zoned_snapshot_extra(&s->snapshots[i], &extra)) {
            continue;
        }
        bytes = qcow2_zoned_table_bytes(s, &s->zoned->geometry,
                                        extra.nr_zones);
        if (!qcow2_zoned_check_table_place(bs, extra.table_offset, bytes,
                                           &local_err)) {
            fprintf(stderr, "ERROR snapshot %s: %s\n", s->snapshots[i].id_str,
                    error_get_pretty(local_err));
            error_free(local_err);
            result->corruptions++;
            continue;
        }
        ret = qcow2_inc_refcounts_imrt(bs, result, refcount_table,
                                       refcount_table_size,
                                       extra.table_offset, bytes);
    }
    return ret;
}

void qcow2_zoned_encode_block(const Qcow2Zoned *z, uint64_t block, bool live,
                              Qcow2ZonedRecord *buf)
{
    uint32_t first = block * QCOW2_ZONED_BLOCK_RECORDS;
    uint32_t nr_zones = zone_table_nr_zones(z->table);

    memset(buf, 0, QCOW2_ZONED_BLOCK_BYTES);
    for (uint32_t k = 0;
         k < QCOW2_ZONED_BLOCK_RECORDS && first + k < nr_zones; k++) {
        ZoneRecord r;

        zone_table_record(z->table, first + k, live, &r);
        encode_record(&r, live, &buf[k]);
    }
}

/* Write @n blocks from @block on; whole sectors, so records are not torn. */
static int coroutine_mixed_fn GRAPH_RDLOCK
write_blocks(BlockDriverState *bs, uint64_t block, uint64_t n, const void *buf)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Zoned *z = s->zoned;
    uint64_t offset = block * QCOW2_ZONED_BLOCK_BYTES;
    uint64_t bytes = MIN(n * QCOW2_ZONED_BLOCK_BYTES,
                         ROUND_UP(records_bytes(z->nr_zones),
                                  BDRV_SECTOR_SIZE) - offset);
    int ret;

    ret = qcow2_pre_write_overlap_check(bs, QCOW2_OL_ZONE_TABLE,
                                        z->table_offset + offset, bytes, false);
    if (ret < 0) {
        return ret;
    }
    trace_qcow2_zoned_write_table(bs, z->table_offset + offset, bytes);
    return bdrv_pwrite(bs->file, z->table_offset + offset, bytes, buf, 0);
}

/* Blocks of the table as they were at one moment */
typedef struct TableSnapshot {
    GArray *blocks;             /* uint64_t: their numbers, ascending */
    GByteArray *records;        /* QCOW2_ZONED_BLOCK_BYTES each */
} TableSnapshot;

static void take_snapshot(const Qcow2Zoned *z, bool live, TableSnapshot *snap)
{
    int64_t block = 0;

    snap->blocks = g_array_new(false, false, sizeof(uint64_t));
    snap->records = g_byte_array_new();
    while ((block = zone_table_take_dirty(z->table, block)) >= 0) {
        uint64_t number = block++;
        size_t used = snap->records->len;

        g_array_append_val(snap->blocks, number);
        g_byte_array_set_size(snap->records, used + QCOW2_ZONED_BLOCK_BYTES);
        qcow2_zoned_encode_block(z, number, live,
                                 (void *)(snap->records->data + used));
    }
}

static int coroutine_mixed_fn GRAPH_RDLOCK
write_snapshot(BlockDriverState *bs, const TableSnapshot *snap)
{
    for (guint i = 0, n; i < snap->blocks->len; i += n) {
        uint64_t first = g_array_index(snap->blocks, uint64_t, i);
        int ret;

        n = 1;
        while (i + n < snap->blocks->len &&
               g_array_index(snap->blocks, uint64_t, i + n) == first + n) {
            n++;
        }
        ret = write_blocks(bs, first, n, snap->records->data +
                                         i * QCOW2_ZONED_BLOCK_BYTES);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

static void drop_snapshot(const Qcow2Zoned *z, TableSnapshot *snap, bool stored)
{
    for (guint i = 0; !stored && i < snap->blocks->len; i++) {
        zone_table_mark_dirty(z->table,
                              g_array_index(snap->blocks, uint64_t, i));
    }
    g_array_free(snap->blocks, true);
    g_byte_array_free(snap->records, true);
}

void qcow2_zoned_mark_dirty(const Qcow2Zoned *z, uint32_t first_zone)
{
    uint64_t blocks = DIV_ROUND_UP(zone_table_nr_zones(z->table),
                                   QCOW2_ZONED_BLOCK_RECORDS);

    for (uint64_t b = first_zone / QCOW2_ZONED_BLOCK_RECORDS; b < blocks; b++) {
        zone_table_mark_dirty(z->table, b);
    }
}

/* Make durable what the records stand for: data, mapping and refcounts. */
static int coroutine_mixed_fn GRAPH_RDLOCK
flush_below_records(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = 0;

    if (has_data_file(bs)) {
        ret = bdrv_flush(s->data_file->bs);
    }
    return ret < 0 ? ret : bdrv_flush(bs->file->bs);
}

static int coroutine_fn GRAPH_RDLOCK write_caches(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    qemu_co_mutex_lock(&s->lock);
    ret = qcow2_write_caches(bs);
    qemu_co_mutex_unlock(&s->lock);
    return ret;
}

/*
 * Let the record that is stored of a zone that has become full say so, with
 * the end of data that it has.  Returns whether there was something to change.
 */
static bool finish_stored_record(const Qcow2Zoned *z, uint32_t i,
                                 Qcow2ZonedRecord *d)
{
    uint64_t start = zone_geometry_start(&z->geometry, i);
    uint64_t end = zone_geometry_writable_end(&z->geometry, i);
    ZoneRecord r;

    if (!zone_table_is_full(z->table, i) ||
        !decode_record(d, start, end, false, &r) || r.state != BLK_ZS_CLOSED) {
        return false;
    }
    r.state = BLK_ZS_FULL;
    r.wp = end;
    r.attributes = BDRV_ZA_FINISHED_BY_CONTROLLER |
                   (r.attributes & ~BDRV_ZA_ZRWA);
    encode_record(&r, false, d);
    return true;
}

/*
 * A zone that became full has given its active resource to another one, whose
 * record may reach the disk first: with a limit, there would be too many
 * active zones after a crash.  So those are finished on disk, one flush before
 * any other record changes.  This needs nothing that is not durable already.
 */
static int coroutine_mixed_fn GRAPH_RDLOCK
finish_stored_records(BlockDriverState *bs, const TableSnapshot *snap)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Zoned *z = s->zoned;
    g_autofree Qcow2ZonedRecord *buf = NULL;

    if (!z->geometry.zones.max_active || !zone_table_take_filled(z->table)) {
        return 0;
    }
    buf = g_malloc(QCOW2_ZONED_BLOCK_BYTES);
    for (guint i = 0; i < snap->blocks->len; i++) {
        uint64_t block = g_array_index(snap->blocks, uint64_t, i);
        uint32_t first = block * QCOW2_ZONED_BLOCK_RECORDS;
        uint32_t n = MIN(QCOW2_ZONED_BLOCK_RECORDS,
                         zone_table_nr_zones(z->table) - first);
        bool changed = false;
        int ret;

        memset(buf, 0, QCOW2_ZONED_BLOCK_BYTES);
        ret = bdrv_pread(bs->file,
                         z->table_offset + first * sizeof(Qcow2ZonedRecord),
                         n * sizeof(Qcow2ZonedRecord), buf, 0);
        for (uint32_t k = 0; ret == 0 && k < n; k++) {
            changed |= finish_stored_record(z, first + k, &buf[k]);
        }
        if (changed) {
            ret = write_blocks(bs, block, 1, buf);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zoned_store_records(BlockDriverState *bs, bool live)
{
    BDRVQcow2State *s = bs->opaque;
    TableSnapshot snap;
    int ret;

    take_snapshot(s->zoned, live, &snap);
    ret = finish_stored_records(bs, &snap);
    if (ret == 0) {
        ret = qemu_in_coroutine() ? write_caches(bs) : qcow2_write_caches(bs);
    }
    if (ret == 0) {
        ret = flush_below_records(bs);
    }
    if (ret == 0) {
        ret = write_snapshot(bs, &snap);
    }
    trace_qcow2_zoned_store(bs, snap.blocks->len, ret);
    drop_snapshot(s->zoned, &snap, ret == 0);
    return ret;
}

int coroutine_fn qcow2_zoned_co_store(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Zoned *z = s->zoned;
    uint64_t begun;
    int ret = 0;

    if (!qcow2_is_zoned(bs)) {
        return 0;
    }
    /*
     * What the caller changed is in every store that begins from here on.  So
     * those who wait share one; without the numbers each would store what has
     * changed since the one before it.
     */
    begun = qatomic_read_u64(&z->stores_begun);
    qemu_co_mutex_lock(&z->store_lock);
    if (z->last_stored <= begun && zone_table_is_dirty(z->table)) {
        uint64_t number = z->stores_begun + 1;

        qatomic_set_u64(&z->stores_begun, number);
        ret = qcow2_zoned_store_records(bs, false);
        if (ret == 0) {
            z->last_stored = number;
        }
    }
    qemu_co_mutex_unlock(&z->store_lock);
    return ret;
}

int coroutine_mixed_fn qcow2_zoned_write_table(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Zoned *z = s->zoned;
    uint64_t blocks = DIV_ROUND_UP(zone_table_nr_zones(z->table),
                                   QCOW2_ZONED_BLOCK_RECORDS);
    g_autofree Qcow2ZonedRecord *buf = g_malloc(QCOW2_ZONED_BLOCK_BYTES);

    for (uint64_t block = 0; block < blocks; block++) {
        int ret;

        qcow2_zoned_encode_block(z, block, false, buf);
        ret = write_blocks(bs, block, 1, buf);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* --- Descriptor extensions --- */

int coroutine_fn qcow2_zoned_write_ext(BlockDriverState *bs, uint32_t i,
                                       const void *ext)
{
    BDRVQcow2State *s = bs->opaque;
    const Qcow2Zoned *z = s->zoned;
    uint64_t offset = qcow2_zoned_ext_offset(s, &z->geometry, z->table_offset,
                                             z->nr_zones, i);
    int ret = qcow2_pre_write_overlap_check(bs, QCOW2_OL_ZONE_TABLE, offset,
                                            z->geometry.zones.ext_size, false);

    return ret < 0 ? ret : bdrv_co_pwrite(bs->file, offset,
                                          z->geometry.zones.ext_size, ext, 0);
}

int coroutine_fn qcow2_zoned_co_get_ext(BlockDriverState *bs, int64_t offset,
                                        void *ext)
{
    BDRVQcow2State *s = bs->opaque;
    const Qcow2Zoned *z = s->zoned;
    const ZoneGeometry *g = &z->geometry;
    BlockZoneDescriptor zone;
    unsigned int n = 1;

    zone_table_report(z->table, offset, &n, &zone);
    if (!(zone.attributes & BDRV_ZA_EXT)) {
        memset(ext, 0, g->zones.ext_size);
        return 0;
    }
    return bdrv_zone_io_error(
        bdrv_co_pread(bs->file,
                      qcow2_zoned_ext_offset(s, g, z->table_offset, z->nr_zones,
                                             offset / g->zones.size),
                      g->zones.ext_size, ext, 0));
}

int coroutine_mixed_fn qcow2_zoned_copy_exts(BlockDriverState *bs,
                                             uint64_t other_offset,
                                             uint32_t other_nr_zones,
                                             bool to_other)
{
    BDRVQcow2State *s = bs->opaque;
    const Qcow2Zoned *z = s->zoned;
    const ZoneGeometry *g = &z->geometry;
    g_autofree void *buf = g_malloc(g->zones.ext_size);

    for (uint32_t i = 0; g->zones.ext_size && i < zone_table_nr_zones(z->table);
         i++) {
        uint64_t own = qcow2_zoned_ext_offset(s, g, z->table_offset,
                                              z->nr_zones, i);
        uint64_t other = qcow2_zoned_ext_offset(s, g, other_offset,
                                                other_nr_zones, i);
        uint64_t to = to_other ? other : own;
        ZoneRecord r;
        int ret;

        zone_table_record(z->table, i, true, &r);
        if (!(r.attributes & BDRV_ZA_EXT)) {
            continue;
        }
        ret = bdrv_pread(bs->file, to_other ? own : other, g->zones.ext_size,
                         buf, 0);
        if (ret == 0) {
            ret = qcow2_pre_write_overlap_check(bs, QCOW2_OL_ZONE_TABLE, to,
                                                g->zones.ext_size, false);
        }
        if (ret == 0) {
            ret = bdrv_pwrite(bs->file, to, g->zones.ext_size, buf, 0);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* --- Background flush --- */

static void coroutine_fn background_flush_entry(void *opaque)
{
    BlockDriverState *bs = opaque;

    WITH_GRAPH_RDLOCK_GUARD() {
        bdrv_co_flush(bs);  /* an error stays for the guest's flush to see */
    }
    bdrv_dec_in_flight(bs);
}

static void background_flush_cb(void *opaque)
{
    BlockDriverState *bs = opaque;
    BDRVQcow2State *s = bs->opaque;

    /* Who finds it set has changed a zone that this flush will still see */
    qatomic_set(&s->zoned->flush_timed, false);
    if (qatomic_read(&bs->quiesce_counter)) {
        qcow2_zoned_flush_soon(bs);
        return;
    }
    bdrv_inc_in_flight(bs);
    aio_co_enter(bdrv_get_aio_context(bs),
                 qemu_coroutine_create(background_flush_entry, bs));
}

void qcow2_zoned_flush_soon(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    if (!qatomic_read(&s->zoned->flush_timed) &&
        !qatomic_xchg(&s->zoned->flush_timed, true)) {
        timer_mod(s->zoned->flush_timer,
                  qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + BACKGROUND_FLUSH_MS);
    }
    /* Found corrupt by another request: one of us two deletes the timer */
    smp_mb();
    if (!qatomic_read(&bs->drv)) {
        timer_del(s->zoned->flush_timer);
    }
}

void qcow2_zoned_abandon(BlockDriverState *bs)
{
    if (qcow2_is_zoned(bs)) {
        BDRVQcow2State *s = bs->opaque;

        /* As in qcow2_zoned_flush_soon() */
        smp_mb();
        timer_del(s->zoned->flush_timer);
    }
}

/* --- Open and close --- */

Qcow2Zoned *qcow2_zoned_new(void)
{
    Qcow2Zoned *z = g_new0(Qcow2Zoned, 1);

    qemu_co_mutex_init(&z->store_lock);
    qemu_co_mutex_init(&z->map_lock);
    return z;
}

void qcow2_zoned_start(BlockDriverState *bs, Qcow2Zoned *z)
{
    z->table = zone_table_new(&z->geometry);
    z->host_cluster = g_new0(uintptr_t, zone_table_nr_zones(z->table));
    z->retired = g_ptr_array_new_with_free_func(g_free);
    z->flush_timer = aio_timer_new(qemu_get_aio_context(), QEMU_CLOCK_REALTIME,
                                   SCALE_MS, background_flush_cb, bs);
}

void qcow2_zoned_header_ext(BlockDriverState *bs, Qcow2ZonedHeaderExt *ext)
{
    BDRVQcow2State *s = bs->opaque;
    const Qcow2Zoned *z = s->zoned;
    const ZoneGeometry *g = &z->geometry;
    uint64_t ext_offset = g->zones.ext_size ?
        qcow2_zoned_ext_offset(s, g, z->table_offset, z->nr_zones, 0) : 0;

    *ext = (Qcow2ZonedHeaderExt) {
        .model = MODEL_HOST_MANAGED,
        .flags = cpu_to_be32(z->flags),
        .zone_size = cpu_to_be64(g->zones.size),
        .zone_capacity = cpu_to_be64(g->zones.capacity),
        .nr_zones = cpu_to_be32(z->nr_zones),
        .conventional_zones = cpu_to_be32(g->conventional_zones),
        .max_open_zones = cpu_to_be32(g->zones.max_open),
        .max_active_zones = cpu_to_be32(g->zones.max_active),
        .max_append_bytes = cpu_to_be32(g->zones.max_append),
        .descriptor_extension_size = cpu_to_be32(g->zones.ext_size),
        .table_offset = cpu_to_be64(z->table_offset),
        .descriptor_extension_offset = cpu_to_be64(ext_offset),
        .zrwa_size = cpu_to_be32(g->zones.zrwa_size),
        .zrwa_flush_granularity = cpu_to_be32(g->zones.zrwa_granularity),
        .zrwa_zones = cpu_to_be32(g->zones.max_zrwa),
    };
}

/* Fields that no option of this version can set must be zero. */
static bool check_reserved(const Qcow2ZonedHeaderExt *ext,
                           const uint8_t *tail, size_t tail_len, Error **errp)
{
    const char *field =
        ext->reserved[0] | ext->reserved[1] | ext->reserved[2] ? "reserved" :
        be32_to_cpu(ext->flags) & ~KNOWN_FLAGS ? "flags" :
        ext->reserved2 ? "reserved" :
        !buffer_is_zero(tail, tail_len) ? "length" : NULL;

    if (field) {
        error_setg(errp, "Zone extension: unsupported value in field '%s'",
                   field);
    }
    return !field;
}

int coroutine_fn qcow2_zoned_read_header_ext(BlockDriverState *bs,
                                             uint64_t offset, uint32_t len,
                                             Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    g_autofree uint8_t *buf = NULL;
    Qcow2ZonedHeaderExt ext;
    uint64_t ext_offset;
    Qcow2Zoned *z;
    int ret;

    if (s->zoned) {
        error_setg(errp, "Zone extension: more than one");
        return -EINVAL;
    }
    if (len < sizeof(ext) || len % 8) {
        error_setg(errp, "Zone extension: length (%" PRIu32 ") must be a "
                   "multiple of 8 and at least %zu", len, sizeof(ext));
        return -EINVAL;
    }
    buf = g_malloc(len);    /* the extension area is within one cluster */
    ret = bdrv_co_pread(bs->file, offset, len, buf, 0);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Zone extension: could not be read");
        return ret;
    }
    memcpy(&ext, buf, sizeof(ext));
    if (ext.model != MODEL_HOST_MANAGED) {
        error_setg(errp, "Zone extension: unsupported model %d", ext.model);
        return -EINVAL;
    }
    if (!check_reserved(&ext, buf + sizeof(ext), len - sizeof(ext), errp)) {
        return -EINVAL;
    }

    s->zoned = z = qcow2_zoned_new();
    z->flags = be32_to_cpu(ext.flags);
    z->nr_zones = be32_to_cpu(ext.nr_zones);
    z->table_offset = be64_to_cpu(ext.table_offset);
    z->geometry = (ZoneGeometry) {
        .conventional_zones = be32_to_cpu(ext.conventional_zones),
        .zones = {
            .model = BLK_Z_HM,
            .size = be64_to_cpu(ext.zone_size),
            .capacity = be64_to_cpu(ext.zone_capacity),
            .max_open = be32_to_cpu(ext.max_open_zones),
            .max_active = be32_to_cpu(ext.max_active_zones),
            .max_append = be32_to_cpu(ext.max_append_bytes),
            .write_granularity = QCOW2_ZONED_WRITE_GRANULARITY,
            .ext_size = be32_to_cpu(ext.descriptor_extension_size),
            .zrwa_size = be32_to_cpu(ext.zrwa_size),
            .zrwa_granularity = be32_to_cpu(ext.zrwa_flush_granularity),
            .max_zrwa = be32_to_cpu(ext.zrwa_zones),
        },
    };
    ext_offset = z->geometry.zones.ext_size ?
        qcow2_zoned_ext_offset(s, &z->geometry, z->table_offset, z->nr_zones,
                               0) : 0;
    if (be64_to_cpu(ext.descriptor_extension_offset) != ext_offset) {
        error_setg(errp, "Zone extension: descriptor extension offset (0x%"
                   PRIx64 ") must be 0x%" PRIx64,
                   be64_to_cpu(ext.descriptor_extension_offset), ext_offset);
        return -EINVAL;
    }
    return 0;
}

bool coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zoned_check_table_place(BlockDriverState *bs, uint64_t offset,
                              uint64_t bytes, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    int64_t file_length = bdrv_getlength(bs->file->bs);

    if (file_length < 0) {
        error_setg_errno(errp, -file_length, "Could not get the file length");
        return false;
    }
    if (!offset || offset_into_cluster(s, offset) || offset > file_length ||
        bytes > file_length - offset) {
        error_setg(errp, "Zone table at offset 0x%" PRIx64 " (%" PRIu64
                   " bytes) is not in the file", offset, bytes);
        return false;
    }
    return true;
}

int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zoned_read_table(BlockDriverState *bs, uint64_t offset, bool live,
                       uint32_t *damaged, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    const Qcow2Zoned *z = s->zoned;
    uint64_t total = zone_table_nr_zones(z->table) * sizeof(Qcow2ZonedRecord);
    uint64_t piece = MIN(total, 1 * MiB);
    g_autofree Qcow2ZonedRecord *buf = g_malloc(piece);

    for (uint64_t done = 0; done < total; done += piece) {
        uint64_t n = MIN(piece, total - done);
        uint32_t first = done / sizeof(Qcow2ZonedRecord);
        int ret = bdrv_pread(bs->file, offset + done, n, buf, 0);

        if (ret < 0) {
            error_setg_errno(errp, -ret, "Could not read the zone table");
            return ret;
        }
        for (uint32_t k = 0; k < n / sizeof(Qcow2ZonedRecord); k++) {
            uint32_t i = first + k;

            if (load_record(z, i, &buf[k], live)) {
                continue;
            }
            if (!damaged) {
                error_setg(errp, "Zone table: invalid record of zone %" PRIu32
                           " at offset 0x%" PRIx64, i,
                           offset + i * sizeof(Qcow2ZonedRecord));
                return -EINVAL;
            }
            if (*damaged < MAX_DAMAGED_SHOWN) {
                fprintf(stderr, "ERROR zone %" PRIu32 ": invalid record at "
                        "offset 0x%" PRIx64 "\n", i,
                        offset + i * sizeof(Qcow2ZonedRecord));
            }
            (*damaged)++;
            load_salvaged(z, i);
        }
    }
    return 0;
}

int coroutine_fn qcow2_zoned_open(BlockDriverState *bs, int flags,
                                  bool *update_header, Error **errp)
{
    ERRP_GUARD();
    BDRVQcow2State *s = bs->opaque;
    bool bit = s->incompatible_features & QCOW2_INCOMPAT_ZONED;
    Qcow2Zoned *z = s->zoned;
    int ret;

    if (bit != !!z) {
        error_setg(errp, bit ? "Zoned image has no zone extension"
                             : "Image has a zone extension but is not zoned");
        return -EINVAL;
    }
    if (!z) {
        return 0;
    }
    if (s->qcow_version < 3 || data_file_is_raw(bs)) {
        error_setg(errp, "Zoned image must be of version 3 and have no raw "
                   "external data file");
        return -EINVAL;
    }
    z->geometry.size = bs->total_sectors * BDRV_SECTOR_SIZE;
    if (!zone_geometry_check(&z->geometry, s->cluster_size, errp)) {
        error_prepend(errp, "Zone extension: ");
        return -EINVAL;
    }
    /* More are left where a resize was interrupted */
    if (z->nr_zones > ZONE_GEOMETRY_MAX_ZONES ||
        z->nr_zones < zone_geometry_nr_zones(&z->geometry)) {
        error_setg(errp, "Zone extension: number of zones (%" PRIu32 ") does "
                   "not match the image size", z->nr_zones);
        return -EINVAL;
    }
    if (!qcow2_zoned_check_table_place(bs, z->table_offset,
                                       own_table_bytes(s), errp)) {
        return -EINVAL;
    }
    qcow2_zoned_start(bs, z);
    /* When checking, bad records are for qcow2_zoned_co_check() to report */
    ret = flags & BDRV_O_CHECK ? 0 :
          qcow2_zoned_read_table(bs, z->table_offset,
                                 z->flags & FLAG_LIVE_STATES, NULL, errp);
    if (ret < 0) {
        return ret;
    }
    if ((z->flags & FLAG_LIVE_STATES) && bdrv_is_writable(bs)) {
        /* From here on, a crash closes the zones */
        z->flags &= ~FLAG_LIVE_STATES;
        *update_header = true;
    }
    return 0;
}

void qcow2_zoned_close(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    if (s->zoned) {
        zone_table_free(s->zoned->table);
        g_free(s->zoned->host_cluster);
        if (s->zoned->retired) {
            g_ptr_array_free(s->zoned->retired, true);
        }
        timer_free(s->zoned->flush_timer);
        g_free(s->zoned);
        s->zoned = NULL;
    }
}

int coroutine_mixed_fn qcow2_zoned_inactivate(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    if (!qcow2_is_zoned(bs) || !bdrv_is_writable(bs) ||
        !zone_table_is_dirty(s->zoned->table)) {
        return 0;
    }
    ret = qcow2_zoned_store_records(bs, false);
    return ret < 0 ? ret : bdrv_flush(bs->file->bs);
}

int qcow2_zoned_hand_over(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    if (qcow2_is_zoned(bs) && bdrv_is_writable(bs)) {
        qcow2_zoned_mark_dirty(s->zoned, 0);
        ret = qcow2_zoned_store_records(bs, true);
        if (ret == 0) {
            s->zoned->flags |= FLAG_LIVE_STATES;
            ret = qcow2_update_header(bs);
        }
        if (ret == 0) {
            ret = bdrv_flush(bs->file->bs);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return qcow2_inactivate(bs);
}

void qcow2_zoned_supported_flags(BlockDriverState *bs)
{
    if (qcow2_is_zoned(bs)) {
        bs->supported_write_flags |= BDRV_REQ_WRITE_UNCHANGED;
        bs->supported_zero_flags |= BDRV_REQ_WRITE_UNCHANGED;
    }
}

void qcow2_zoned_refresh_limits(BlockDriverState *bs)
{
    const ZoneGeometry *g;

    if (!qcow2_is_zoned(bs)) {
        return;
    }
    g = zone_table_geometry(qcow2_zone_table(bs));
    bs->bl.zones = g->zones;
    /* A write must come in one piece, to be checked and reserved as a whole */
    bs->bl.pwrite_zeroes_alignment = BDRV_SECTOR_SIZE;
    bs->bl.max_transfer = 0;
}

ImageInfoZone *qcow2_zoned_get_info(BlockDriverState *bs)
{
    const ZoneGeometry *g;
    ImageInfoZone *info;
    ZoneCounts c;

    if (!qcow2_is_zoned(bs)) {
        return NULL;
    }
    g = zone_table_geometry(qcow2_zone_table(bs));
    zone_table_count(qcow2_zone_table(bs), &c);

    info = g_new0(ImageInfoZone, 1);
    *info = (ImageInfoZone) {
        .mode = BLOCKDEV_ZONE_MODE_HOST_MANAGED,
        .size = g->zones.size,
        .capacity = g->zones.capacity,
        .zones = zone_table_nr_zones(qcow2_zone_table(bs)),
        .conventional_zones = g->conventional_zones,
        .max_open_zones = g->zones.max_open,
        .max_active_zones = g->zones.max_active,
        .max_append_bytes = g->zones.max_append,
        .has_descriptor_extension_size = g->zones.ext_size,
        .descriptor_extension_size = g->zones.ext_size,
        .has_zrwa_size = g->zones.zrwa_size,
        .zrwa_size = g->zones.zrwa_size,
        .has_zrwa_flush_granularity = g->zones.zrwa_size,
        .zrwa_flush_granularity = g->zones.zrwa_granularity,
        .has_zrwa_zones = g->zones.zrwa_size,
        .zrwa_zones = g->zones.max_zrwa,
        .states = g_new0(ImageInfoZoneStates, 1),
    };
    *info->states = (ImageInfoZoneStates) {
        .empty = c.in_state[BLK_ZS_EMPTY],
        .implicitly_open = c.in_state[BLK_ZS_IOPEN],
        .explicitly_open = c.in_state[BLK_ZS_EOPEN],
        .closed = c.in_state[BLK_ZS_CLOSED],
        .full = c.in_state[BLK_ZS_FULL],
        .read_only = c.in_state[BLK_ZS_RDONLY],
        .offline = c.in_state[BLK_ZS_OFFLINE],
    };
    return info;
}

/* --- Check --- */

int coroutine_fn qcow2_zoned_co_check(BlockDriverState *bs,
                                      BdrvCheckResult *result,
                                      BdrvCheckMode fix)
{
    BDRVQcow2State *s = bs->opaque;
    uint32_t damaged = 0;
    Error *local_err = NULL;
    int ret;

    if (!qcow2_is_zoned(bs)) {
        return 0;
    }
    ret = qcow2_zoned_read_table(bs, s->zoned->table_offset,
                                 s->zoned->flags & FLAG_LIVE_STATES, &damaged,
                                 &local_err);
    if (ret < 0) {
        error_report_err(local_err);
        result->check_errors++;
        return ret;
    }
    if (!damaged) {
        return 0;
    }
    if (damaged > MAX_DAMAGED_SHOWN) {
        fprintf(stderr, "... and %" PRIu32 " more zones\n",
                damaged - MAX_DAMAGED_SHOWN);
    }
    if (!(fix & BDRV_FIX_ERRORS)) {
        result->corruptions += damaged;
        return 0;
    }
    /* Nothing else runs, and what is salvaged needs no data to be flushed. */
    ret = qcow2_zoned_write_table(bs);
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file->bs);
    }
    if (ret < 0) {
        result->corruptions += damaged;
        result->check_errors++;
        return ret;
    }
    fprintf(stderr, "Repaired: %" PRIu32 " zones whose record made no sense "
            "are full now, all of their data is readable\n", damaged);
    result->corruptions_fixed += damaged;
    return 0;
}
