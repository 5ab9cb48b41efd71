/*
 * Zoned qcow2: zone tables in the image file
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
 * store_snapshot() keeps them all: what is to be written was taken at one
 * moment; then the data and metadata that the records stand for are made
 * durable; then the records are written, and the caller flushes once more.
 * Where little has been written, claims stand for the records and need one
 * flush only: see qcow2-zone-claims.c.  What a cluster holds at or above a
 * zone's end of data is never read, so a reset changes one record and no
 * mapping.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/memalign.h"
#include "qemu/range.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qcow2-zoned-int.h"
#include "trace.h"

/* A check names no more of the zones whose records are damaged. */
#define MAX_DAMAGED_SHOWN 100

/* How old write pointers on disk may get if the guest never flushes */
#define STORE_SOON_MS 2000

/* Blocks of records, each of which a sector holds whole, in one write */
#define MAX_BLOCKS_PER_WRITE 256

/* --- Records --- */

#define WP_BITS 51
#define WP_MASK MAKE_64BIT_MASK(0, WP_BITS)
#define ATTRIBUTES_SHIFT 51
#define CONVENTIONAL BIT_ULL(59)
#define STATE_SHIFT 60
#define EPOCH_SHIFT 60          /* in the second word */
#define DATA_END_MASK MAKE_64BIT_MASK(0, EPOCH_SHIFT)

/* The state follows from the write pointer; the others are as in ZNS */
#define STATE_DERIVED 0
#define STATE_IMPLICITLY_OPEN 1
#define STATE_EXPLICITLY_OPEN 2
#define STATE_CLOSED 3
#define STATE_READ_ONLY 13
#define STATE_FULL 14
#define STATE_OFFLINE 15

static void encode_record(const ZoneRecord *r, bool live, Qcow2ZonedRecord *d)
{
    uint64_t state = STATE_DERIVED;

    switch (r->state) {
    case BLK_ZS_NOT_WP:
        *d = (Qcow2ZonedRecord) { .type_and_wp = cpu_to_be64(CONVENTIONAL) };
        return;
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
    case BLK_ZS_FULL:
        /* Derived as well, unless it was finished before its end */
        state = r->data_end == r->wp ? STATE_DERIVED : STATE_FULL;
        break;
    case BLK_ZS_RDONLY:
        state = STATE_READ_ONLY;
        break;
    case BLK_ZS_OFFLINE:
        state = STATE_OFFLINE;
        break;
    default:
        break;
    }
    d->type_and_wp = cpu_to_be64(state << STATE_SHIFT |
                                 (uint64_t)r->attributes << ATTRIBUTES_SHIFT |
                                 r->wp);
    d->epoch_and_data_end = cpu_to_be64((uint64_t)r->epoch << EPOCH_SHIFT |
                                        r->data_end);
}

/*
 * Returns false for what no version of this format writes; that the values
 * fit the zone is checked by zone_table_load().
 */
static bool decode_record(const ZoneGeometry *g, uint32_t i,
                          const Qcow2ZonedRecord *d, bool live, ZoneRecord *r)
{
    static const BlockZoneState states[] = {
        [STATE_IMPLICITLY_OPEN] = BLK_ZS_IOPEN,
        [STATE_EXPLICITLY_OPEN] = BLK_ZS_EOPEN,
        [STATE_CLOSED] = BLK_ZS_CLOSED,
        [STATE_READ_ONLY] = BLK_ZS_RDONLY,
        [STATE_FULL] = BLK_ZS_FULL,
        [STATE_OFFLINE] = BLK_ZS_OFFLINE,
    };
    uint64_t word = be64_to_cpu(d->type_and_wp);
    uint64_t second = be64_to_cpu(d->epoch_and_data_end);
    unsigned state = word >> STATE_SHIFT;
    bool powered = state >= STATE_IMPLICITLY_OPEN && state <= STATE_CLOSED;

    *r = (ZoneRecord) {
        .attributes = word >> ATTRIBUTES_SHIFT,
        .epoch = second >> EPOCH_SHIFT,
        .wp = word & WP_MASK,
        .data_end = second & DATA_END_MASK,
    };
    if (word & CONVENTIONAL) {
        r->state = BLK_ZS_NOT_WP;
        return word == CONVENTIONAL && second == 0;
    }
    if (state == STATE_DERIVED || (powered && !live)) {
        r->state = zone_state_of(zone_geometry_start(g, i),
                                 zone_geometry_writable_end(g, i), r->wp,
                                 r->data_end, r->attributes);
        if (powered && r->state == BLK_ZS_EMPTY) {
            r->attributes = 0;  /* went with the power */
        }
        return true;
    }
    r->state = state < ARRAY_SIZE(states) ? states[state] : 0;
    return r->state;
}

/* What a damaged record becomes: all that the zone may hold stays readable. */
static void load_salvaged(ZoneTable *t, const ZoneGeometry *g, uint32_t i)
{
    uint64_t end = zone_geometry_writable_end(g, i);
    ZoneRecord r = { .state = BLK_ZS_NOT_WP };

    if (!zone_geometry_conventional(g, i)) {
        r = (ZoneRecord) { .state = BLK_ZS_FULL, .wp = end, .data_end = end };
    }
    zone_table_load(t, i, &r);
}

/* --- Where a table is --- */

static uint64_t records_bytes(uint32_t nr_zones)
{
    return (uint64_t)nr_zones * sizeof(Qcow2ZonedRecord);
}

uint64_t qcow2_zone_file_bytes(uint64_t cluster_size, uint64_t ext_size,
                               uint32_t nr_zones)
{
    return ext_size ?
           ROUND_UP(records_bytes(nr_zones), cluster_size) +
           nr_zones * ext_size : records_bytes(nr_zones);
}

static uint64_t file_bytes(BlockDriverState *bs, const Qcow2ZoneFile *f)
{
    BDRVQcow2State *s = bs->opaque;

    return qcow2_zone_file_bytes(s->cluster_size,
                                 s->zoned->geometry->zones.ext_size,
                                 f->nr_zones);
}

uint64_t qcow2_zone_file_ext_offset(BlockDriverState *bs,
                                    const Qcow2ZoneFile *f, uint32_t i)
{
    BDRVQcow2State *s = bs->opaque;

    return f->offset + ROUND_UP(records_bytes(f->nr_zones), s->cluster_size) +
           i * s->zoned->geometry->zones.ext_size;
}

bool coroutine_mixed_fn
qcow2_zone_file_check(BlockDriverState *bs, const Qcow2ZoneFile *f,
                      Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    int64_t length = bdrv_getlength(bs->file->bs);
    uint64_t bytes = file_bytes(bs, f);

    if (length < 0) {
        error_setg_errno(errp, -length, "Could not get the file length");
        return false;
    }
    if (!f->offset || offset_into_cluster(s, f->offset) || f->offset > length ||
        bytes > length - f->offset) {
        error_setg(errp, "Zone table at offset 0x%" PRIx64 " (%" PRIu64
                   " bytes) is not in the file", f->offset, bytes);
        return false;
    }
    return true;
}

bool qcow2_zone_file_overlaps(BlockDriverState *bs, const Qcow2ZoneFile *f,
                              int64_t offset, int64_t bytes)
{
    return f->offset &&
           ranges_overlap(offset, bytes, f->offset, file_bytes(bs, f));
}

int coroutine_mixed_fn qcow2_zone_file_alloc(BlockDriverState *bs,
                                             Qcow2ZoneFile *f,
                                             uint32_t nr_zones)
{
    static const uint8_t zeroes[BDRV_SECTOR_SIZE];
    Qcow2ZoneFile new = { .nr_zones = nr_zones };
    uint64_t bytes = file_bytes(bs, &new);
    int64_t offset = qcow2_alloc_clusters(bs, bytes);
    int ret;

    if (offset < 0) {
        return offset;
    }
    new.offset = offset;
    /* Have all of it in the file: qcow2_zone_file_check() wants that */
    ret = bdrv_pwrite(bs->file,
                      ROUND_UP(offset + bytes, sizeof(zeroes)) -
                      sizeof(zeroes), sizeof(zeroes), zeroes, 0);
    if (ret < 0) {
        qcow2_zone_file_free(bs, &new, QCOW2_DISCARD_OTHER);
        return ret;
    }
    *f = new;
    return 0;
}

void qcow2_zone_file_free(BlockDriverState *bs, const Qcow2ZoneFile *f,
                          enum qcow2_discard_type type)
{
    qcow2_free_clusters(bs, f->offset, file_bytes(bs, f), type);
}

/* --- All of a table --- */

/* Aligned, or it is a thread that reads or writes them */
static GRAPH_RDLOCK Qcow2ZonedRecord *new_records(BlockDriverState *bs,
                                                  uint32_t n)
{
    return qemu_blockalign0(bs->file->bs, records_bytes(n));
}

static void report_damage(const Qcow2ZoneFile *f, uint32_t i)
{
    fprintf(stderr, "ERROR zone %" PRIu32 ": invalid record at offset 0x%"
            PRIx64 "\n", i, f->offset + records_bytes(i));
}

int coroutine_mixed_fn
qcow2_zone_file_read(BlockDriverState *bs, const Qcow2ZoneFile *f,
                     ZoneTable *table, bool live, uint32_t *damaged,
                     Error **errp)
{
    const ZoneGeometry *g = zone_table_geometry(table);
    uint32_t nr_zones = zone_table_nr_zones(table);
    uint32_t piece = MIN(nr_zones, MAX_BLOCKS_PER_WRITE * ZONE_BLOCK_RECORDS);
    QEMU_AUTO_VFREE Qcow2ZonedRecord *buf = new_records(bs, piece);

    for (uint32_t first = 0; first < nr_zones; first += piece) {
        uint32_t n = MIN(piece, nr_zones - first);
        int ret = bdrv_pread(bs->file, f->offset + records_bytes(first),
                             records_bytes(n), buf, 0);

        if (ret < 0) {
            error_setg_errno(errp, -ret, "Could not read the zone table");
            return ret;
        }
        for (uint32_t k = 0, i = first; k < n; k++, i++) {
            ZoneRecord r;

            if (decode_record(g, i, &buf[k], live, &r) &&
                zone_table_load(table, i, &r)) {
                continue;
            }
            if (!damaged) {
                error_setg(errp, "Zone table: invalid record of zone %" PRIu32
                           " at offset 0x%" PRIx64, i,
                           f->offset + records_bytes(i));
                return -EINVAL;
            }
            if (*damaged < MAX_DAMAGED_SHOWN) {
                report_damage(f, i);
            }
            (*damaged)++;
            load_salvaged(table, g, i);
        }
    }
    if (damaged && *damaged > MAX_DAMAGED_SHOWN) {
        fprintf(stderr, "... and %" PRIu32 " more zones\n",
                *damaged - MAX_DAMAGED_SHOWN);
    }
    return 0;
}

/* Write records from zone @first on; whole sectors, so that none is torn. */
static int coroutine_mixed_fn GRAPH_RDLOCK
write_records(BlockDriverState *bs, const Qcow2ZoneFile *f, uint32_t first,
              uint32_t n, const Qcow2ZonedRecord *buf)
{
    BDRVQcow2State *s = bs->opaque;
    bool own = f->offset == s->zoned->file.offset;
    uint64_t offset = f->offset + records_bytes(first);
    uint64_t bytes = MIN(ROUND_UP(records_bytes(n), BDRV_SECTOR_SIZE),
                         ROUND_UP(records_bytes(f->nr_zones - first),
                                  BDRV_SECTOR_SIZE));
    int ret = qcow2_pre_write_overlap_check(bs, own ? QCOW2_OL_ZONE_TABLE : 0,
                                            offset, bytes, false);

    if (ret < 0) {
        return ret;
    }
    trace_qcow2_zoned_write_table(bs, offset, bytes);
    return bdrv_pwrite(bs->file, offset, bytes, buf, 0);
}

int coroutine_mixed_fn
qcow2_zone_file_write(BlockDriverState *bs, const Qcow2ZoneFile *f,
                      ZoneTable *table, bool live)
{
    uint32_t nr_zones = zone_table_nr_zones(table);
    uint32_t piece = MIN(ROUND_UP(nr_zones, ZONE_BLOCK_RECORDS),
                         MAX_BLOCKS_PER_WRITE * ZONE_BLOCK_RECORDS);
    g_autofree ZoneRecord *records = g_new(ZoneRecord, piece);
    QEMU_AUTO_VFREE Qcow2ZonedRecord *buf = new_records(bs, piece);

    for (uint32_t first = 0, n; first < nr_zones; first += n) {
        int ret;

        n = zone_table_records(table, first, piece, live, records);
        memset(buf, 0, records_bytes(piece));
        for (uint32_t k = 0; k < n; k++) {
            encode_record(&records[k], live, &buf[k]);
        }
        ret = write_records(bs, f, first, n, buf);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* --- Descriptor extensions --- */

static int coroutine_mixed_fn GRAPH_RDLOCK
write_ext(BlockDriverState *bs, const Qcow2ZoneFile *f, uint32_t i,
          const void *ext)
{
    BDRVQcow2State *s = bs->opaque;
    bool own = f->offset == s->zoned->file.offset;
    uint64_t offset = qcow2_zone_file_ext_offset(bs, f, i);
    uint64_t bytes = s->zoned->geometry->zones.ext_size;
    int ret = qcow2_pre_write_overlap_check(bs, own ? QCOW2_OL_ZONE_TABLE : 0,
                                            offset, bytes, false);

    return ret < 0 ? ret : bdrv_pwrite(bs->file, offset, bytes, ext, 0);
}

static int coroutine_mixed_fn GRAPH_RDLOCK
read_ext(BlockDriverState *bs, const Qcow2ZoneFile *f, uint32_t i, void *ext)
{
    BDRVQcow2State *s = bs->opaque;

    return bdrv_pread(bs->file, qcow2_zone_file_ext_offset(bs, f, i),
                      s->zoned->geometry->zones.ext_size, ext, 0);
}

int coroutine_fn qcow2_zones_read_ext(BlockDriverState *bs, uint32_t i,
                                      void *ext)
{
    BDRVQcow2State *s = bs->opaque;

    return read_ext(bs, &s->zoned->file, i, ext);
}

int coroutine_fn qcow2_zones_write_ext(BlockDriverState *bs, uint32_t i,
                                       const void *ext)
{
    BDRVQcow2State *s = bs->opaque;

    return write_ext(bs, &s->zoned->file, i, ext);
}

int coroutine_mixed_fn
qcow2_zone_file_copy_exts(BlockDriverState *to_bs, const Qcow2ZoneFile *to,
                          BlockDriverState *from_bs, const Qcow2ZoneFile *from,
                          ZoneTable *table)
{
    uint64_t size = zone_table_geometry(table)->zones.ext_size;
    g_autofree void *ext = g_malloc(size);
    int ret = 0;

    for (uint32_t i = 0; size && ret == 0 && i < zone_table_nr_zones(table);
         i++) {
        ZoneRecord r;

        zone_table_record(table, i, true, &r);
        if (!(r.attributes & BDRV_ZA_EXT)) {
            continue;
        }
        ret = read_ext(from_bs, from, i, ext);
        if (ret == 0) {
            ret = write_ext(to_bs, to, i, ext);
        }
    }
    return ret;
}

/* --- What changed --- */

static int coroutine_mixed_fn GRAPH_RDLOCK
write_snapshot(BlockDriverState *bs, const ZoneSnapshot *snap)
{
    BDRVQcow2State *s = bs->opaque;
    const uint32_t *blocks = (const uint32_t *)snap->blocks->data;
    const ZoneRecord *records = (const ZoneRecord *)snap->records->data;
    QEMU_AUTO_VFREE Qcow2ZonedRecord *buf =
        new_records(bs, MIN(snap->blocks->len, MAX_BLOCKS_PER_WRITE) *
                        ZONE_BLOCK_RECORDS);
    int ret = 0;

    for (guint b = 0, n; ret == 0 && b < snap->blocks->len; b += n) {
        n = 1;
        while (b + n < snap->blocks->len && n < MAX_BLOCKS_PER_WRITE &&
               blocks[b + n] == blocks[b] + n) {
            n++;
        }
        for (uint32_t k = 0; k < n * ZONE_BLOCK_RECORDS; k++) {
            encode_record(&records[b * ZONE_BLOCK_RECORDS + k], snap->live,
                          &buf[k]);
        }
        ret = write_records(bs, &s->zoned->file,
                            blocks[b] * ZONE_BLOCK_RECORDS,
                            n * ZONE_BLOCK_RECORDS, buf);
    }
    return ret;
}

/*
 * Let the stored record @d of a zone that is not active say so; the data of
 * one that became full may not be durable yet, so its end of data stays, where
 * that or a claim has it.  Returns whether there was something to change.
 */
static bool release_stored(const Qcow2Zoned *z, const ZoneReleased *released,
                           Qcow2ZonedRecord *d)
{
    Qcow2ZonedRecord old = *d;
    ZoneRecord r;

    if (!decode_record(z->geometry, released->zone, d, false, &r) ||
        r.state != BLK_ZS_CLOSED) {
        return false;
    }
    if (released->record.state == BLK_ZS_FULL) {
        r.state = BLK_ZS_FULL;
        r.wp = zone_geometry_writable_end(z->geometry, released->zone);
        r.data_end = qcow2_zone_claims_end(&z->claims, released->zone, r.epoch,
                                           r.data_end);
        r.epoch = released->record.epoch;
        r.attributes = zone_attributes_in(r.state, r.attributes) |
                       BDRV_ZA_FINISHED_BY_CONTROLLER;
    } else {
        r = released->record;
    }
    encode_record(&r, false, d);
    return memcmp(&old, d, sizeof(old));
}

/*
 * With a limit of active zones: those that released their resource must not be
 * active on disk any more before any other record changes.  This needs nothing
 * that is not durable already.
 */
static int coroutine_mixed_fn GRAPH_RDLOCK
write_released(BlockDriverState *bs, const ZoneSnapshot *snap)
{
    BDRVQcow2State *s = bs->opaque;
    const Qcow2ZoneFile *f = &s->zoned->file;
    const ZoneReleased *z = (const ZoneReleased *)snap->released->data;
    const ZoneReleased *end = z + snap->released->len;
    QEMU_AUTO_VFREE Qcow2ZonedRecord *buf = NULL;
    int ret;

    if (!s->zoned->geometry->zones.max_active || z == end) {
        return 0;
    }
    ret = qcow2_zone_claims_settle(bs);
    if (ret < 0) {
        return ret;
    }
    buf = new_records(bs, ZONE_BLOCK_RECORDS);
    while (z < end) {
        uint32_t first = QEMU_ALIGN_DOWN(z->zone, ZONE_BLOCK_RECORDS);
        uint32_t n = MIN(ZONE_BLOCK_RECORDS, f->nr_zones - first);
        bool changed = false;

        ret = bdrv_pread(bs->file, f->offset + records_bytes(first),
                         records_bytes(n), buf, 0);
        for (; z < end && z->zone < first + n; z++) {
            changed |= ret == 0 &&
                       release_stored(s->zoned, z, &buf[z->zone - first]);
        }
        if (ret == 0 && changed) {
            ret = write_records(bs, f, first, n, buf);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

static int coroutine_fn GRAPH_RDLOCK co_write_caches(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    qemu_co_mutex_lock(&s->lock);
    ret = qcow2_write_caches(bs);
    qemu_co_mutex_unlock(&s->lock);
    return ret;
}

int coroutine_mixed_fn qcow2_zones_write_caches(BlockDriverState *bs)
{
    return qemu_in_coroutine() ? co_write_caches(bs) : qcow2_write_caches(bs);
}

int coroutine_mixed_fn qcow2_zones_flush_files(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = 0;

    if (has_data_file(bs)) {
        ret = bdrv_flush(s->data_file->bs);
    }
    return ret < 0 ? ret : bdrv_flush(bs->file->bs);
}

/* Make durable what the records stand for: data, mapping and refcounts. */
static int coroutine_mixed_fn GRAPH_RDLOCK
flush_below_records(BlockDriverState *bs)
{
    int ret = qcow2_zones_write_caches(bs);

    return ret < 0 ? ret : qcow2_zones_flush_files(bs);
}

/* @idle: nothing has been written that records could stand for, but what was found. */
static int coroutine_mixed_fn GRAPH_RDLOCK
store_snapshot(BlockDriverState *bs, const ZoneSnapshot *snap, bool idle)
{
    int ret = write_released(bs, snap);

    if (ret == 0) {
        ret = idle ? qcow2_zone_claims_settle(bs) : flush_below_records(bs);
    }
    if (ret == 0) {
        ret = write_snapshot(bs, snap);
    }
    trace_qcow2_zoned_store(bs, snap->blocks->len, ret);
    return ret;
}

static int coroutine_fn GRAPH_RDLOCK co_update_header(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    qemu_co_mutex_lock(&s->lock);
    ret = qcow2_update_header(bs);
    qemu_co_mutex_unlock(&s->lock);
    return ret;
}

int coroutine_mixed_fn qcow2_zones_write_header(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = qemu_in_coroutine() ? co_update_header(bs)
                                  : qcow2_update_header(bs);

    if (ret == 0) {
        ret = bdrv_flush(bs->file->bs);
    }
    s->zoned->header_unknown = ret < 0;
    return ret;
}

static int coroutine_mixed_fn GRAPH_RDLOCK
write_table(BlockDriverState *bs, bool live, bool by_flush, bool idle)
{
    BDRVQcow2State *s = bs->opaque;
    ZoneTable *table = s->zoned->table;
    ZoneSnapshot *snap;
    bool more = true;
    int ret = 0;

    qcow2_zone_claims_supersede(bs);
    while (ret == 0 && more && (snap = zone_table_take_snapshot(table, live))) {
        more = snap->more;
        ret = store_snapshot(bs, snap, idle);
        zone_table_drop_snapshot(table, snap, ret == 0);
        qcow2_zone_claims_note_write(bs, by_flush);
    }
    return ret;
}

/* Before something is stored: the header has to say which states count. */
static int coroutine_mixed_fn GRAPH_RDLOCK
settle_header(BlockDriverState *bs, bool live)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Zoned *z = s->zoned;

    if (!live && (z->flags & FLAG_LIVE_STATES)) {
        z->flags &= ~FLAG_LIVE_STATES;
        z->header_unknown = true;
    }
    return z->header_unknown ? qcow2_zones_write_header(bs) : 0;
}

static int coroutine_mixed_fn GRAPH_RDLOCK
write_locked(BlockDriverState *bs, bool by_flush)
{
    int ret = settle_header(bs, false);

    if (ret == 0) {
        ret = qcow2_zone_claims_write(bs, by_flush);
    }
    return ret ? MIN(ret, 0) : write_table(bs, false, by_flush, false);
}

static int coroutine_mixed_fn GRAPH_RDLOCK
store_table(BlockDriverState *bs, bool live, bool idle)
{
    int ret = write_table(bs, live, false, idle);

    if (ret == 0) {
        ret = bdrv_flush(bs->file->bs);
    }
    return ret < 0 ? ret : qcow2_zone_claims_retire(bs);
}

int coroutine_mixed_fn qcow2_zones_store_locked(BlockDriverState *bs, bool live)
{
    int ret = settle_header(bs, live);

    return ret < 0 ? ret : store_table(bs, live, false);
}

int coroutine_fn qcow2_zones_store_found(BlockDriverState *bs, bool live)
{
    return store_table(bs, live, true);
}

void qcow2_zones_store_error(BlockDriverState *bs, int ret, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;

    /* Where the table overlaps other metadata, nothing was written. */
    if (s->incompatible_features & QCOW2_INCOMPAT_CORRUPT) {
        error_setg(errp, "Could not store the zone table: the image is "
                   "corrupt");
    } else {
        error_setg_errno(errp, -ret, "Could not store the zone table");
    }
}

/* Concurrent callers share the work.  *@write becomes its number, for claims. */
static int coroutine_fn GRAPH_RDLOCK
write_zones(BlockDriverState *bs, bool by_flush, uint64_t *write)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Zoned *z = s->zoned;
    uint64_t begun;
    int ret = 0;

    *write = qatomic_read_u64(&z->claims.writes);
    /* Found in an image that another process may write to now, or nobody */
    if (!bdrv_is_writable(bs)) {
        return 0;
    }
    /*
     * What the caller changed is in every store that begins from here on.  So
     * those who wait share one; without the numbers each would store what has
     * changed since the one before it.
     */
    begun = qatomic_read_u64(&z->stores_begun);
    qemu_co_mutex_lock(&z->store_lock);
    if (z->last_stored <= begun) {
        uint64_t number = z->stores_begun + 1;

        qatomic_set_u64(&z->stores_begun, number);
        qatomic_set_u64(&z->unflushed, 0);
        if (by_flush) {
            qatomic_set(&z->writes_expected, qatomic_xchg(&z->writes_summed, 0));
        }
        ret = write_locked(bs, by_flush);
        if (ret == 0) {
            z->last_stored = number;
        }
    }
    *write = z->claims.writes;
    qemu_co_mutex_unlock(&z->store_lock);
    return ret;
}

int coroutine_fn qcow2_zones_write(BlockDriverState *bs)
{
    uint64_t write;

    return qcow2_is_zoned(bs) ? write_zones(bs, true, &write) : 0;
}

int coroutine_fn qcow2_zones_store(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t write;
    int ret = write_zones(bs, false, &write);

    if (ret == 0) {
        ret = qcow2_zones_flush_files(bs);
    }
    if (ret == 0) {
        qcow2_zone_claims_flushed(&s->zoned->claims, write);
    }
    return ret;
}

/* --- In the background --- */

struct Qcow2ZonesTimer {
    BlockDriverState *bs;       /* atomic; NULL: stopped */
    QEMUTimer *timer;           /* in the main loop, where nodes go, too */
    bool armed;                 /* atomic; any thread sets it */
};

static void coroutine_fn background_flush_entry(void *opaque)
{
    BlockDriverState *bs = opaque;

    WITH_GRAPH_RDLOCK_GUARD() {
        bdrv_co_flush(bs);  /* an error stays for the guest's flush to see */
    }
    bdrv_dec_in_flight(bs);
}

static void arm(Qcow2ZonesTimer *timer)
{
    if (!qatomic_read(&timer->armed) && !qatomic_xchg(&timer->armed, true)) {
        timer_mod(timer->timer,
                  qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + STORE_SOON_MS);
    }
}

static void background_flush_cb(void *opaque)
{
    Qcow2ZonesTimer *timer = opaque;
    BlockDriverState *bs = qatomic_read(&timer->bs);

    /* A write that comes too late for this flush finds it false, and arms. */
    qatomic_set(&timer->armed, false);
    if (!bs) {
        return;
    }
    if (qatomic_read(&bs->quiesce_counter)) {
        arm(timer);
        return;
    }
    bdrv_inc_in_flight(bs);
    aio_co_enter(bdrv_get_aio_context(bs),
                 qemu_coroutine_create(background_flush_entry, bs));
}

void qcow2_zones_store_soon(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    arm(s->zoned->timer);
}

Qcow2ZonesTimer *qcow2_zones_timer_new(BlockDriverState *bs)
{
    Qcow2ZonesTimer *timer = g_new0(Qcow2ZonesTimer, 1);

    timer->bs = bs;
    timer->timer = aio_timer_new(qemu_get_aio_context(), QEMU_CLOCK_REALTIME,
                                 SCALE_MS, background_flush_cb, timer);
    return timer;
}

void qcow2_zones_timer_stop(Qcow2ZonesTimer *timer)
{
    qatomic_set(&timer->bs, NULL);
}

static void free_timer(void *opaque)
{
    Qcow2ZonesTimer *timer = opaque;

    timer_free(timer->timer);
    g_free(timer);
}

void qcow2_zones_timer_free(Qcow2ZonesTimer *timer)
{
    qcow2_zones_timer_stop(timer);
    if (qemu_in_main_thread()) {
        free_timer(timer);
    } else {
        /* It may be firing just now */
        aio_bh_schedule_oneshot(qemu_get_aio_context(), free_timer, timer);
    }
}
