/*
 * Zoned qcow2: the guest's reads, writes and zone operations
 *
 * Zone rules are asked of the zone table before the I/O and told its outcome
 * after; data goes straight to the image file where the zone is mapped, and
 * through plain qcow2 where it is not.
 *
 * A callback returns the errno of a broken rule as the table has it, and that of
 * I/O through bdrv_zone_io_error(), so that neither looks like the other.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "block/block-zoned.h"
#include "block/zoned-range.h"
#include "qcow2-zoned-int.h"
#include "trace.h"

/*
 * A zone is mapped in steps: four L2 tables, but no more than 65536 clusters, and at
 * least 1 MiB.  In between, other requests get qcow2's lock.
 */
#define STEP_L2_BITS 2
#define MAX_STEP_CLUSTER_BITS 16
#define MIN_STEP_BITS 20

/* --- Where zones are in the image file --- */

/*
 * One word for each zone; written under map_lock, read without.  It says how many
 * steps have been mapped since the last reset, and where the last one is.  Those
 * before it, and what was there already, only plain qcow2 knows.
 */
struct ZoneMap {
    struct rcu_head rcu;
    uint64_t places[];          /* atomic */
};

#define PLACE_UNKNOWN 0
#define PLACE_SCATTERED 1       /* only plain qcow2 knows the last step, too */
/* Clusters from that of the write pointer on are there, those below may not */
#define PLACE_TAIL 2
/* There has been a reset: clusters that hold nothing can be left for others */
#define PLACE_RESET 4
/* How many steps */
#define PLACE_STEPS_SHIFT 3
#define PLACE_STEPS_BITS 21
/* The number that the first cluster of the last one has, or would have */
#define PLACE_CLUSTER_SHIFT (PLACE_STEPS_SHIFT + PLACE_STEPS_BITS)
#define PLACE_CLUSTER_MASK (UINT64_MAX >> PLACE_CLUSTER_SHIFT)

QEMU_BUILD_BUG_ON((1 * TiB) >> MIN_STEP_BITS >= 1 << PLACE_STEPS_BITS);

static uint64_t get_place(BlockDriverState *bs, uint32_t zone)
{
    BDRVQcow2State *s = bs->opaque;

    RCU_READ_LOCK_GUARD();

    return qatomic_read_u64(&qatomic_rcu_read(&s->zoned->map)->places[zone]);
}

static void set_place(BlockDriverState *bs, uint32_t zone, uint64_t place)
{
    BDRVQcow2State *s = bs->opaque;

    RCU_READ_LOCK_GUARD();

    qatomic_set_u64(&qatomic_rcu_read(&s->zoned->map)->places[zone], place);
}

static uint64_t steps_of_place(uint64_t place)
{
    return extract64(place, PLACE_STEPS_SHIFT, PLACE_STEPS_BITS);
}

/* Of a step's size, which is a power of two like that of a zone */
static int step_bits(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int clusters = MIN(s->l2_bits + STEP_L2_BITS, MAX_STEP_CLUSTER_BITS);

    return MIN(MAX(clusters + s->cluster_bits, MIN_STEP_BITS),
               ctz64(s->zoned->geometry->zones.size));
}

uint64_t qcow2_zoned_map_step_start(BlockDriverState *bs, uint64_t offset)
{
    return offset >> step_bits(bs) << step_bits(bs);
}

uint64_t qcow2_zoned_map_step_end(BlockDriverState *bs, uint64_t offset)
{
    return qcow2_zoned_map_step_start(bs, offset) + (1ULL << step_bits(bs));
}

/* How many steps the zone has up to that which @offset is in */
static uint64_t steps_up_to(BlockDriverState *bs, uint64_t offset)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t in_zone = offset & (s->zoned->geometry->zones.size - 1);

    return (in_zone >> step_bits(bs)) + 1;
}

/* Cluster number @below of the last of @steps is at @host, and so on to its end. */
static uint64_t encode_place(BDRVQcow2State *s, uint64_t steps, uint64_t host,
                             uint64_t below)
{
    uint64_t cluster = host >> s->cluster_bits;

    if (cluster > PLACE_CLUSTER_MASK) {
        return steps << PLACE_STEPS_SHIFT | PLACE_SCATTERED;
    }
    /* The first one may be before the start of the file: it wraps around */
    return (cluster - below) << PLACE_CLUSTER_SHIFT |
           steps << PLACE_STEPS_SHIFT | (below ? PLACE_TAIL : 0);
}

/* Is the step of @offset mapped, or one behind it? */
static bool is_mapped(BlockDriverState *bs, uint64_t offset)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t place = get_place(bs, zone_geometry_index(s->zoned->geometry, offset));

    return steps_of_place(place) >= steps_up_to(bs, offset);
}

/*
 * Where the data at @offset, in a sequential zone, is in the image file.
 * Returns false if only plain qcow2 can tell; of data that is there already, it
 * does so more often than for a write.
 */
static bool zone_host_offset(BlockDriverState *bs, uint64_t offset,
                             bool is_write, uint64_t *host)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t place = get_place(bs, zone_geometry_index(s->zoned->geometry, offset));
    uint64_t in_step = offset - qcow2_zoned_map_step_start(bs, offset);
    uint64_t cluster = (place >> PLACE_CLUSTER_SHIFT) +
                       (in_step >> s->cluster_bits);

    if (steps_of_place(place) != steps_up_to(bs, offset) ||
        (place & PLACE_SCATTERED) || ((place & PLACE_TAIL) && !is_write)) {
        return false;
    }
    *host = ((cluster & PLACE_CLUSTER_MASK) << s->cluster_bits) +
            offset_into_cluster(s, in_step);
    return true;
}

/* --- How often zones have been reset --- */

struct ZoneResets {
    struct rcu_head rcu;
    uint32_t nr_zones;
    Stat64 all;                 /* of all zones */
    uint32_t of_zone[];         /* atomic; one reset of a zone at a time */
};

/* What there are of zeroes takes memory when it is written only. */
static ZoneResets *new_resets(uint32_t nr_zones)
{
    ZoneResets *r = g_malloc0(sizeof(*r) + nr_zones * sizeof(r->of_zone[0]));

    r->nr_zones = nr_zones;
    return r;
}

/* Zone @i is being reset.  One that is empty anyway does not count. */
static void count_reset(Qcow2Zoned *z, uint32_t i)
{
    uint64_t start = i * z->geometry->zones.size, wp, data_end;
    ZoneResets *r;

    zone_table_position(z->table, i, &wp, &data_end);
    if (wp == start && data_end == start) {
        return;
    }
    RCU_READ_LOCK_GUARD();
    r = qatomic_rcu_read(&z->resets);
    if (!r) {
        ZoneResets *first = new_resets(zone_table_nr_zones(z->table));

        r = qatomic_cmpxchg(&z->resets, NULL, first);
        if (r) {
            g_free(first);
        } else {
            r = first;
        }
    }
    qatomic_set(&r->of_zone[i], r->of_zone[i] + 1);
    stat64_add(&r->all, 1);
}

/* The number of zones has changed, perhaps; they are not in use. */
static void resize_resets(Qcow2Zoned *z)
{
    uint32_t nr_zones = zone_table_nr_zones(z->table);
    ZoneResets *old = z->resets, *r;

    if (!old || old->nr_zones == nr_zones) {
        return;
    }
    r = new_resets(nr_zones);
    r->all = old->all;
    memcpy(r->of_zone, old->of_zone,
           MIN(nr_zones, old->nr_zones) * sizeof(r->of_zone[0]));
    qatomic_rcu_set(&z->resets, r);
    g_free_rcu(old, rcu);
}

uint32_t qcow2_zoned_resets(BlockDriverState *bs, uint32_t zone)
{
    BDRVQcow2State *s = bs->opaque;
    ZoneResets *r;

    RCU_READ_LOCK_GUARD();

    r = qcow2_is_zoned(bs) ? qatomic_rcu_read(&s->zoned->resets) : NULL;
    return r && zone < r->nr_zones ? qatomic_read(&r->of_zone[zone]) : 0;
}

void qcow2_zoned_stats(BlockDriverState *bs, BlockZoneStats *stats)
{
    BDRVQcow2State *s = bs->opaque;
    ZoneResets *r;

    RCU_READ_LOCK_GUARD();

    if (qcow2_is_zoned(bs)) {
        r = qatomic_rcu_read(&s->zoned->resets);
        stats->has_zones_reset = true;
        stats->zones_reset = r ? stat64_get(&r->all) : 0;
        stats->has_implicit_closes = true;
        stats->implicit_closes =
            zone_table_implicit_closes(s->zoned->table);
    }
}

void qcow2_zoned_forget_mapping(Qcow2Zoned *z)
{
    ZoneMap *map = g_malloc0(sizeof(*map) + zone_table_nr_zones(z->table) *
                                            sizeof(map->places[0]));

    /* Requests in zones that stay where they are may be looking at it */
    map = qatomic_xchg(&z->map, map);
    if (map) {
        g_free_rcu(map, rcu);
    }
    qcow2_zoned_space_forget(z->space, zone_table_nr_zones(z->table));
    resize_resets(z);
}

void qcow2_zoned_free_mapping(Qcow2Zoned *z)
{
    g_free(z->map);
    g_free(z->resets);
}

/* --- Mapping --- */

/*
 * A step of a sequential zone is mapped before its first write, from the cluster
 * that the write pointer is in (or the end of data, if that is lower) to its end:
 * one extent of the image file, linked in the L2 tables and the file extended over
 * it, but without space on the host (qcow2-zoned-space.c).  Writes then change no
 * metadata, and go where zone_host_offset() says.  It is safe to have clusters
 * mapped that hold anything, because nothing is read from above the end of data.
 *
 * What the zone holds already may be in the backing file, or shared with an
 * internal snapshot, and stays there: only the beginning of the write
 * pointer's cluster is copied.
 */

/* The clusters of a step from that of the write pointer on */
typedef struct ZoneClusters {
    uint64_t start, end;        /* guest offsets, whole clusters */
    uint64_t data_end;          /* there is data in [start, data_end) */
    uint64_t host;              /* of @start, if @extent */
    bool extent;                /* one extent that can be written in place */
    bool movable;               /* if it holds no data */
    bool owned;                 /* allocated, and not shared with anything */
    bool pinned;                /* with data in clusters that are not shared */
} ZoneClusters;

/* Do all clusters have a reference count of one?  Those of a data file do. */
static int GRAPH_RDLOCK check_exclusive(BlockDriverState *bs, uint64_t host,
                                        uint64_t bytes, bool *exclusive)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t last = (host + bytes - 1) >> s->cluster_bits;

    *exclusive = true;
    if (has_data_file(bs)) {
        return 0;
    }
    for (uint64_t i = host >> s->cluster_bits; i <= last && *exclusive; i++) {
        uint64_t refcount;
        int ret = qcow2_get_refcount(bs, i, &refcount);

        if (ret < 0) {
            return ret;
        }
        *exclusive = refcount == 1;
    }
    return 0;
}

static int coroutine_fn GRAPH_RDLOCK
probe_clusters(BlockDriverState *bs, ZoneClusters *c)
{
    c->extent = c->owned = true;
    c->pinned = false;

    for (uint64_t pos = c->start, n; pos < c->end; pos += n) {
        unsigned int bytes = MIN(c->end - pos, BDRV_REQUEST_MAX_BYTES);
        QCow2SubclusterType type;
        bool exclusive;
        uint64_t host;
        int ret = qcow2_get_host_offset(bs, pos, &bytes, &host, &type);

        if (ret < 0) {
            return ret;
        }
        n = bytes;
        switch (type) {
        case QCOW2_SUBCLUSTER_NORMAL:
        case QCOW2_SUBCLUSTER_ZERO_ALLOC:
        case QCOW2_SUBCLUSTER_UNALLOCATED_ALLOC:
            ret = check_exclusive(bs, host, n, &exclusive);
            if (ret < 0) {
                return ret;
            }
            break;
        case QCOW2_SUBCLUSTER_COMPRESSED:
            exclusive = true;
            c->owned = false;
            break;
        default:
            exclusive = false;
            break;
        }
        c->owned = c->owned && exclusive;
        c->pinned = c->pinned || (exclusive && pos < c->data_end);
        if (pos == c->start) {
            c->host = host;
        }
        c->extent = c->extent && exclusive && type == QCOW2_SUBCLUSTER_NORMAL &&
                    host - c->host == pos - c->start;
    }
    return !c->extent ? 0 :
           qcow2_pre_write_overlap_check(bs, 0, c->host, c->end - c->start,
                                         true);
}

/* The data file has no reference counts. */
static void coroutine_fn GRAPH_RDLOCK
free_extent(BlockDriverState *bs, uint64_t host, uint64_t bytes)
{
    if (!has_data_file(bs)) {
        qcow2_free_clusters(bs, host, bytes, QCOW2_DISCARD_OTHER);
    }
}

/* Linked at a time: QCowL2Meta counts bytes in 32 bits, and copies all at once */
#define LINK_BYTES (256 * MiB)

static int coroutine_fn GRAPH_RDLOCK
link_extent(BlockDriverState *bs, const ZoneClusters *c)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t bytes;

    for (uint64_t pos = c->start; pos < c->end; pos += bytes) {
        int n = MIN(size_to_clusters(s, MIN(c->end - pos, LINK_BYTES)),
                    s->l2_slice_size - offset_to_l2_slice_index(s, pos));
        QCowL2Meta m = {
            .offset = pos,
            .alloc_offset = c->host + (pos - c->start),
            .nb_clusters = n,
            /* All subclusters count as written */
            .prealloc = !has_subclusters(s),
        };
        int ret;

        bytes = (uint64_t)n << s->cluster_bits;
        m.cow_start.nb_bytes = c->data_end > pos ? MIN(c->data_end - pos, bytes)
                                                 : 0;
        m.cow_end.offset = bytes;
        qemu_co_queue_init(&m.dependent_requests);
        ret = qcow2_alloc_cluster_link_l2(bs, &m);
        if (ret < 0) {
            free_extent(bs, m.alloc_offset, c->end - pos);
            return ret;
        }
    }
    return 0;
}

/*
 * Let the file reach to @end.  The last sector before it is not in use yet.
 * Others may write behind it at the same time, so the file must not become
 * shorter, as bdrv_co_truncate() could make it.
 */
static int coroutine_fn GRAPH_RDLOCK grow_file(BdrvChild *file, uint64_t end)
{
    int64_t length = bdrv_co_getlength(file->bs);

    if (length < 0 || length >= end) {
        return MIN(length, 0);
    }
    return bdrv_co_pwrite_zeroes(file, end - BDRV_SECTOR_SIZE,
                                 BDRV_SECTOR_SIZE, 0);
}

/*
 * In a data file everything is where it is on the disk.  Nothing depends on its
 * length: that it cannot grow, like a disk of the host, is for a write to find
 * out.
 */
static int64_t coroutine_fn GRAPH_RDLOCK
allocate_in_data_file(BlockDriverState *bs, const ZoneClusters *c)
{
    BDRVQcow2State *s = bs->opaque;
    uint32_t zone = zone_geometry_index(s->zoned->geometry, c->start);

    /* Of before a resize there may be a write in progress */
    if (zone_table_unused(s->zoned->table, zone) <= c->end - BDRV_SECTOR_SIZE) {
        grow_file(s->data_file, c->end);
    }
    return c->start;
}

/*
 * Have the refcount blocks for @bytes that are allocated next.  Otherwise
 * qcow2_alloc_clusters() would undo all that it has done and begin again, at
 * each block that is missing.
 */
static int coroutine_fn GRAPH_RDLOCK
prepare_refcounts(BlockDriverState *bs, uint64_t bytes)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t end = s->free_cluster_index + size_to_clusters(s, bytes);

    for (uint64_t i = s->free_cluster_index >> s->refcount_block_bits;
         i <= (end - 1) >> s->refcount_block_bits; i++) {
        uint64_t cluster = i << s->refcount_block_bits;
        int64_t allocated;

        if (i < s->refcount_table_size &&
            (s->refcount_table[i] & REFT_OFFSET_MASK)) {
            continue;
        }
        allocated = qcow2_alloc_clusters_at(bs, cluster << s->cluster_bits, 1);
        if (allocated < 0) {
            return allocated;
        }
        if (allocated) {
            qcow2_free_clusters(bs, cluster << s->cluster_bits, s->cluster_size,
                                QCOW2_DISCARD_NEVER);
        }
        end++;      /* the block itself comes first */
    }
    return 0;
}

static int64_t coroutine_fn GRAPH_RDLOCK
allocate_in_image(BlockDriverState *bs, uint64_t bytes)
{
    int ret = prepare_refcounts(bs, bytes);

    return ret < 0 ? ret : qcow2_alloc_clusters(bs, bytes);
}

/* Empty ones, durable before anything refers to them; returns where they are. */
static int64_t coroutine_fn GRAPH_RDLOCK
new_l2_tables(BlockDriverState *bs, uint64_t n)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t bytes = n << s->cluster_bits;
    int64_t host = qcow2_alloc_clusters(bs, bytes);
    int ret;

    if (host < 0) {
        return host;
    }
    ret = qcow2_pre_write_overlap_check(bs, 0, host, bytes, false);
    if (ret == 0) {
        ret = bdrv_co_pwrite_zeroes(bs->file, host, bytes, 0);
    }
    if (ret == 0) {
        /* With their refcounts; it flushes the file, too */
        ret = qcow2_cache_flush(bs, s->refcount_block_cache);
    }
    if (ret < 0) {
        qcow2_free_clusters(bs, host, bytes, QCOW2_DISCARD_OTHER);
        return ret;
    }
    return host;
}

/*
 * Make the L2 tables that are missing for @c, or the first of them, up to one that
 * is there.  qcow2 itself makes them one at a time, with three flushes for each.
 */
static int coroutine_fn GRAPH_RDLOCK
add_l2_tables(BlockDriverState *bs, const ZoneClusters *c)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t first = offset_to_l1_index(s, c->start);
    uint64_t last = offset_to_l1_index(s, c->end - 1);
    g_autofree uint64_t *entries = g_new(uint64_t, last - first + 1);
    uint64_t n = 0, offset;
    int64_t host;
    int ret;

    while (first <= last && s->l1_table[first]) {
        first++;
    }
    while (first + n <= last && !s->l1_table[first + n]) {
        n++;
    }
    host = n ? new_l2_tables(bs, n) : 0;
    if (host <= 0) {
        return host;
    }
    for (uint64_t i = 0; i < n; i++) {
        entries[i] = cpu_to_be64((host + (i << s->cluster_bits)) |
                                 QCOW_OFLAG_COPIED);
    }
    offset = s->l1_table_offset + first * L1E_SIZE;
    ret = qcow2_pre_write_overlap_check(bs, QCOW2_OL_ACTIVE_L1, offset,
                                        n * L1E_SIZE, false);
    if (ret == 0) {
        ret = bdrv_co_pwrite_sync(bs->file, offset, n * L1E_SIZE, entries, 0);
    }
    /* After an error, the disk may refer to them: they are lost */
    for (uint64_t i = 0; ret == 0 && i < n; i++) {
        s->l1_table[first + i] = be64_to_cpu(entries[i]);
    }
    return ret;
}

static int coroutine_fn GRAPH_RDLOCK
allocate_extent(BlockDriverState *bs, ZoneClusters *c)
{
    uint64_t bytes = c->end - c->start;
    int64_t host;
    int ret = add_l2_tables(bs, c);

    if (ret < 0) {
        return ret;
    }
    host = has_data_file(bs) ? allocate_in_data_file(bs, c)
                             : allocate_in_image(bs, bytes);
    if (host < 0) {
        return host;
    }
    ret = qcow2_pre_write_overlap_check(bs, 0, host, bytes, true);
    if (ret == 0 && !has_data_file(bs)) {
        ret = grow_file(bs->file, host + bytes);
    }
    if (ret < 0) {
        free_extent(bs, host, bytes);
        return ret;
    }
    c->host = host;
    ret = link_extent(bs, c);
    trace_qcow2_zoned_map(bs, c->start, host, bytes, ret);
    return ret;
}

/*
 * Find the extent that @c is, or make one; not @extent if that cannot be.
 *
 * Clusters are replaced where that can lose nothing in a crash: those with no
 * data in use, and shared ones.  Clusters with data that nothing else refers
 * to could be used again before the L2 table without them is durable.  What was
 * preallocated stays where it is until a reset.
 */
static int coroutine_fn GRAPH_RDLOCK
map_extent(BlockDriverState *bs, ZoneClusters *c)
{
    int ret = probe_clusters(bs, c);

    if (ret < 0 || c->extent ||
        (!has_data_file(bs) &&
         (c->pinned || (c->owned && !c->movable)))) {
        return ret;
    }
    ret = allocate_extent(bs, c);
    c->extent = ret == 0;
    return ret;
}

/* The step that @offset is in, as if it held no data */
static ZoneClusters whole_step(BlockDriverState *bs, uint64_t offset)
{
    BDRVQcow2State *s = bs->opaque;
    const ZoneGeometry *g = s->zoned->geometry;
    uint64_t start = qcow2_zoned_map_step_start(bs, offset);
    uint64_t end = MIN(qcow2_zoned_map_step_end(bs, offset),
                       zone_geometry_writable_end(g, zone_geometry_index(g, start)));

    return (ZoneClusters) {
        .start = start,
        .end = QEMU_ALIGN_UP(end, s->cluster_size),
        .data_end = start,
    };
}

static int coroutine_fn GRAPH_RDLOCK
map_step_locked(BlockDriverState *bs, uint32_t zone, uint64_t offset)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t steps = steps_up_to(bs, offset);
    uint64_t reset = get_place(bs, zone) & PLACE_RESET;
    ZoneClusters c = whole_step(bs, offset);
    uint64_t start = c.start, wp, place;
    int ret;

    /* A reset that waits for this write has not emptied the zone yet */
    zone_table_position(s->zoned->table, zone, &wp, &c.data_end);
    /* Where a random write area was committed, data may end below */
    c.start = MAX(start, start_of_cluster(s, MIN(wp, c.data_end)));
    assert(c.start < c.end);
    c.movable = reset;
    ret = map_extent(bs, &c);
    if (ret == 0) {
        place = c.extent ? encode_place(s, steps, c.host,
                                        size_to_clusters(s, c.start - start))
                         : steps << PLACE_STEPS_SHIFT | PLACE_SCATTERED;
        set_place(bs, zone, place | reset);
    }
    return ret;
}

/* The step that @offset is in, of this zone, gets a place if possible. */
static int coroutine_fn GRAPH_RDLOCK
map_step(BlockDriverState *bs, uint32_t zone, uint64_t offset)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = 0;

    if (is_mapped(bs, offset)) {
        return 0;
    }
    QEMU_LOCK_GUARD(&s->zoned->map_lock);
    qemu_co_mutex_lock(&s->lock);
    if (!is_mapped(bs, offset)) {
        ret = map_step_locked(bs, zone, offset);
    }
    qemu_co_mutex_unlock(&s->lock);
    return ret;
}

/* Zone @i is being reset: its next write can have an extent from the start. */
static void forget_part(BlockDriverState *bs, uint32_t i)
{
    uint64_t place = get_place(bs, i);

    if ((place & (PLACE_SCATTERED | PLACE_TAIL)) || steps_of_place(place) > 1) {
        place = PLACE_UNKNOWN;
    }
    set_place(bs, i, place | PLACE_RESET);
}

/* Is the step that @offset is in, and that holds nothing, in one piece? */
static bool coroutine_fn GRAPH_RDLOCK
probe_step(BlockDriverState *bs, uint64_t offset, uint64_t *host)
{
    BDRVQcow2State *s = bs->opaque;
    ZoneClusters c = whole_step(bs, offset);
    int ret;

    qemu_co_mutex_lock(&s->lock);
    ret = probe_clusters(bs, &c);
    qemu_co_mutex_unlock(&s->lock);
    *host = c.host + (offset - c.start);
    return ret == 0 && c.extent;
}

bool coroutine_fn
qcow2_zoned_find_extent(BlockDriverState *bs, uint64_t offset, bool probe,
                        uint64_t *host)
{
    return zone_host_offset(bs, offset, true, host) ||
           (probe && probe_step(bs, offset, host));
}

/* @offset, that @w is reserved for, gets a place. */
static int coroutine_fn GRAPH_RDLOCK
place_write(BlockDriverState *bs, const ZoneWrite *w, uint64_t offset)
{
    qcow2_zoned_space_wait(bs, w);
    return map_step(bs, w->zone, offset);
}

/* --- I/O --- */

static uint64_t zone_end(BlockDriverState *bs, uint64_t offset)
{
    const ZoneGeometry *g = zone_table_geometry(qcow2_zone_table(bs));

    return zone_geometry_end(g, zone_geometry_index(g, offset));
}

/* [@offset, @offset + @bytes) is below the end of data, in one step. */
static int coroutine_fn GRAPH_RDLOCK
read_data(BlockDriverState *bs, int64_t offset, int64_t bytes,
          QEMUIOVector *qiov, size_t qiov_offset)
{
    uint64_t host;

    if (!zone_host_offset(bs, offset, false, &host)) {
        return qcow2_co_preadv_part(bs, offset, bytes, qiov, qiov_offset, 0);
    }
    return qcow2_zoned_read_at(bs, host, offset, bytes, qiov, qiov_offset);
}

/* Through plain qcow2, for what it cannot zero by changing metadata */
static int coroutine_fn GRAPH_RDLOCK
write_zero_buffers(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    g_autofree void *zeroes = g_malloc0(MIN(bytes, QCOW2_ZONED_ZERO_BYTES));
    int ret = 0;

    while (bytes && ret == 0) {
        int64_t n = MIN(bytes, QCOW2_ZONED_ZERO_BYTES);
        QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, zeroes, n);

        ret = qcow2_co_pwritev_part(bs, offset, n, &qiov, 0, 0);
        offset += n;
        bytes -= n;
    }
    return ret;
}

/*
 * May zeroes at @offset be written without a buffer of them?  Asked before the
 * zone is: once they are reserved, all that is written behind them depends on
 * them.  So those in a zone that turns out to be scattered then are slow.
 */
static bool may_zero_fast(BlockDriverState *bs, uint64_t offset)
{
    BDRVQcow2State *s = bs->opaque;
    uint32_t i = zone_geometry_index(s->zoned->geometry, offset);
    uint64_t host;

    return i < s->zoned->geometry->conventional_zones ||
           (!s->crypto && (!is_mapped(bs, offset) ||
                           zone_host_offset(bs, offset, true, &host)) &&
            (s->data_file->bs->supported_zero_flags & BDRV_REQ_NO_FALLBACK));
}

/*
 * [@offset, @offset + @bytes) is reserved.  Unlike elsewhere in qcow2, the
 * clusters stay as they are linked.
 */
static int coroutine_fn GRAPH_RDLOCK
zero_sequential(BlockDriverState *bs, const ZoneWrite *w, int64_t offset,
                int64_t bytes, BdrvRequestFlags flags)
{
    uint64_t n;
    int ret = 0;

    for (; bytes && ret == 0; offset += n, bytes -= n) {
        uint64_t host;

        n = MIN(bytes, qcow2_zoned_map_step_end(bs, offset) - offset);
        ret = place_write(bs, w, offset);
        if (ret < 0) {
            break;
        }
        ret = zone_host_offset(bs, offset, true, &host) ?
              qcow2_zoned_zero_at(bs, host, offset, n, flags) :
              write_zero_buffers(bs, offset, n);
    }
    return ret;
}

/* [@offset, @offset + @bytes) is reserved for this write, and in one step. */
static int coroutine_fn GRAPH_RDLOCK
write_in_step(BlockDriverState *bs, ZoneWrite *w, int64_t offset,
              int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset)
{
    uint64_t host;
    int ret = place_write(bs, w, offset);

    if (ret < 0) {
        return ret;
    }
    if (offset + bytes == w->end) {
        qcow2_zoned_space_ahead(bs, w);
    }
    return zone_host_offset(bs, offset, true, &host) ?
           qcow2_zoned_write_at(bs, w, host, offset, bytes, qiov,
                                qiov_offset) :
           qcow2_co_pwritev_part(bs, offset, bytes, qiov, qiov_offset, 0);
}

/* [@offset, @offset + @bytes) is reserved for this write. */
static int coroutine_fn GRAPH_RDLOCK
try_write_data(BlockDriverState *bs, ZoneWrite *w, int64_t offset,
               int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset)
{
    int64_t n;
    int ret = 0;

    if (!w->reserved) {
        return qcow2_co_pwritev_part(bs, offset, bytes, qiov, qiov_offset, 0);
    }
    if (offset > w->start) {
        ret = zero_sequential(bs, w, w->start, offset - w->start, 0);
    }
    for (; bytes && ret == 0; offset += n, bytes -= n, qiov_offset += n) {
        n = MIN(bytes, qcow2_zoned_map_step_end(bs, offset) - offset);
        ret = write_in_step(bs, w, offset, n, qiov, qiov_offset);
    }
    return ret;
}

/* Again if the host is full, but zones have space that they do not use */
static int coroutine_fn GRAPH_RDLOCK
write_data(BlockDriverState *bs, ZoneWrite *w, int64_t offset,
           int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset)
{
    unsigned int given_back = qcow2_zoned_space_given_back(bs);
    int ret = try_write_data(bs, w, offset, bytes, qiov, qiov_offset);

    if (ret == -ENOSPC && qcow2_zoned_space_full(bs, given_back)) {
        w->has_sum = false;
        ret = try_write_data(bs, w, offset, bytes, qiov, qiov_offset);
    }
    return ret;
}

/*
 * A write that changes nothing (BDRV_REQ_WRITE_UNCHANGED): what is read from
 * the backing file is to be kept here.  No zone rule is asked; where a zone has
 * no data any more, there is nothing to keep.  @qiov is NULL for zeroes.
 */
static int coroutine_fn GRAPH_RDLOCK
fill_in(BlockDriverState *bs, int64_t offset, int64_t bytes,
        QEMUIOVector *qiov, size_t qiov_offset)
{
    BDRVQcow2State *s = bs->opaque;

    /* A zone must not be mapped at the same time */
    QEMU_LOCK_GUARD(&s->zoned->map_lock);

    while (bytes) {
        bool data;
        int64_t n = zone_table_readable(qcow2_zone_table(bs), offset, bytes,
                                        &data);
        int ret = 0;

        if (n < 0) {
            return n;
        }
        if (data) {
            ret = qiov ? qcow2_co_pwritev_part(bs, offset, n, qiov, qiov_offset,
                                               0)
                       : write_zero_buffers(bs, offset, n);
        }
        if (ret < 0) {
            return bdrv_zone_io_error(ret);
        }
        offset += n;
        qiov_offset += n;
        bytes -= n;
    }
    return 0;
}

/* Of an overlay, maybe below a filter: a job has one there */
static bool GRAPH_RDLOCK is_backing_file(BlockDriverState *bs)
{
    BdrvChild *parent;

    QLIST_FOREACH(parent, &bs->parents, next_parent) {
        if (parent->role & BDRV_CHILD_COW ||
            (parent->role & BDRV_CHILD_FILTERED &&
             parent->klass->parent_is_bds &&
             is_backing_file(parent->opaque))) {
            return true;
        }
    }
    return false;
}

/* Also what is in offline zones, if that is @stored */
static int coroutine_fn GRAPH_RDLOCK
read_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
          QEMUIOVector *qiov, size_t qiov_offset, BdrvRequestFlags flags,
          bool stored)
{
    while (bytes && qcow2_in_zones(bs, offset)) {
        ZoneTable *t = qcow2_zone_table(bs);
        bool data;
        int64_t n = zone_table_readable(t, offset, bytes, &data);

        /* Which zones are offline is for the overlay to say. */
        if (n == -ENODEV && (stored || is_backing_file(bs))) {
            n = zone_table_stored(t, offset, bytes, &data);
        }
        if (n < 0) {
            return n;
        }
        if (!data) {
            qemu_iovec_memset(qiov, qiov_offset, 0, n);
        } else {
            int ret;

            n = MIN(n, qcow2_zoned_map_step_end(bs, offset) - offset);
            ret = read_data(bs, offset, n, qiov, qiov_offset);
            if (ret < 0) {
                return bdrv_zone_io_error(ret);
            }
        }
        offset += n;
        qiov_offset += n;
        bytes -= n;
    }
    return bytes ? qcow2_co_preadv_part(bs, offset, bytes, qiov, qiov_offset,
                                        flags) : 0;
}

int coroutine_fn
qcow2_zoned_co_preadv_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                           QEMUIOVector *qiov, size_t qiov_offset,
                           BdrvRequestFlags flags)
{
    return read_part(bs, offset, bytes, qiov, qiov_offset, flags, false);
}

int coroutine_fn qcow2_zoned_co_read_for_cow(BlockDriverState *bs,
                                             int64_t offset, QEMUIOVector *qiov)
{
    return read_part(bs, offset, qiov->size, qiov, 0, 0, true);
}

/* Zones that are received show nothing of this until they are all there. */
static bool is_receiving(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    return s->zoned->receiving;
}

int coroutine_fn
qcow2_zoned_co_pwritev_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                            QEMUIOVector *qiov, size_t qiov_offset,
                            BdrvRequestFlags flags)
{
    ZoneWrite w;
    int ret;

    if (!qcow2_in_zones(bs, offset)) {
        return qcow2_co_pwritev_part(bs, offset, bytes, qiov, qiov_offset,
                                     flags);
    }
    if (is_receiving(bs)) {
        return bdrv_zone_io_error(qcow2_co_pwritev_part(bs, offset, bytes, qiov,
                                                        qiov_offset, flags));
    }
    if (flags & BDRV_REQ_WRITE_UNCHANGED) {
        return fill_in(bs, offset, bytes, qiov, qiov_offset);
    }
    ret = zone_table_begin_write(qcow2_zone_table(bs), &w, offset, bytes);
    if (ret < 0) {
        trace_qcow2_zoned_refused(bs, offset, bytes, ret);
        return ret;
    }
    ret = write_data(bs, &w, offset, bytes, qiov, qiov_offset);
    ret = zone_table_end_write(qcow2_zone_table(bs), &w, ret);
    qcow2_zones_store_soon(bs);
    return ret;
}

int coroutine_fn
qcow2_zoned_co_append(BlockDriverState *bs, int64_t *offset,
                      QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    uint64_t position = *offset;
    ZoneWrite w;
    int ret;

    if (!qcow2_is_zoned(bs)) {
        return -ENOTSUP;
    }
    ret = zone_table_begin_append(qcow2_zone_table(bs), &w, &position,
                                  qiov->size);
    if (ret < 0) {
        trace_qcow2_zoned_refused(bs, *offset, qiov->size, ret);
        return ret;
    }
    if (qiov->size) {
        ret = write_data(bs, &w, position, qiov->size, qiov, 0);
    }
    ret = zone_table_end_write(qcow2_zone_table(bs), &w, ret);
    qcow2_zones_store_soon(bs);
    if (ret == 0) {
        *offset = position;
    }
    return bdrv_zone_op_io_error(ret);
}

int coroutine_fn
qcow2_zoned_co_report(BlockDriverState *bs, int64_t offset,
                      unsigned int *nr_zones, BlockZoneDescriptor *zones)
{
    if (!qcow2_is_zoned(bs)) {
        return -ENOTSUP;
    }
    zone_table_report(qcow2_zone_table(bs), offset, nr_zones, zones);
    return 0;
}

/* With discard=unmap, a reset gives up what the zone occupies on the host. */
static bool gives_back(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    return (bs->open_flags & BDRV_O_UNMAP) &&
           s->discard_passthrough[QCOW2_DISCARD_REQUEST];
}

/* Zones are being reset.  Where all of a zone is mapped that stays. */
static void coroutine_fn GRAPH_RDLOCK
empty_zones(BlockDriverState *bs, const ZoneMgmt *m)
{
    BDRVQcow2State *s = bs->opaque;
    bool unused = gives_back(bs);
    uint64_t work = 0;

    for (uint32_t i = m->first; i <= m->last; ) {
        uint32_t from = i;

        if (zone_mgmt_next_reset(s->zoned->table, m, &i)) {
            count_reset(s->zoned, i);
            forget_part(bs, i);
            if (unused) {
                qcow2_zoned_space_unused(bs, i);
            }
            i++;
        }
        zoned_co_pause(&work, i - from);
    }
}

/*
 * The record of the zone must not say that it has an extension before it is
 * there; nor may it while another one is written over it, which a set that
 * failed has perhaps left.  So a record without one is stored first.
 */
static int coroutine_fn GRAPH_RDLOCK
set_ext(BlockDriverState *bs, ZoneMgmt *m, const void *ext)
{
    int ret = qcow2_zones_store(bs);

    if (ret == 0) {
        ret = qcow2_zones_write_ext(bs, m->first, ext);
    }
    if (ret == 0) {
        zone_table_ext_written(qcow2_zone_table(bs), m);
    }
    return ret;
}

int coroutine_fn
qcow2_zoned_co_mgmt(BlockDriverState *bs, BlockZoneOp op, BlockZoneFlags flags,
                    int64_t offset, int64_t len, const void *ext)
{
    ZoneMgmt m;
    int ret;

    if (!qcow2_is_zoned(bs)) {
        return -ENOTSUP;
    }
    if (is_receiving(bs)) {
        return -EBUSY;
    }
    ret = zone_table_begin_mgmt(qcow2_zone_table(bs), &m, op, flags, offset,
                                len);
    trace_qcow2_zoned_mgmt(bs, op, offset, len, ret);
    if (ret < 0) {
        return ret;
    }
    if (op == BLK_ZO_SET_EXT) {
        ret = set_ext(bs, &m, ext);
    }
    if (ret == 0 && m.commit) {
        ret = qcow2_zones_store(bs);
    }
    if (ret == 0 && op == BLK_ZO_RESET && m.commit) {
        empty_zones(bs, &m);
    }
    ret = zone_table_end_mgmt(qcow2_zone_table(bs), &m,
                              bdrv_zone_op_io_error(ret));
    if (ret == 0 && op == BLK_ZO_RESET && gives_back(bs)) {
        qcow2_zoned_space_give_back(bs, m.first, m.last);
    }
    return ret;
}

/*
 * Copy-on-read and rebase ask per subcluster whether it is in this image or in
 * its backing file, and not about zeroes.  So the part of a subcluster above
 * the end of data gets the answer of the part below.
 *
 * Returns the end of the subcluster if @offset is in such a part, else 0.
 */
static uint64_t GRAPH_RDLOCK
subcluster_end_if_data(BlockDriverState *bs, uint64_t offset)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t start = QEMU_ALIGN_DOWN(offset, s->subcluster_size);
    bool data;

    return bs->backing && start < offset &&
           zone_table_readable(qcow2_zone_table(bs), start, 1, &data) > 0 &&
           data ? MIN(start + s->subcluster_size, zone_end(bs, offset)) : 0;
}

int coroutine_fn
qcow2_zoned_co_block_status(BlockDriverState *bs, ZonedStatusMode mode,
                            int64_t offset, int64_t bytes, int64_t *pnum,
                            int64_t *map, BlockDriverState **file)
{
    uint64_t end = 0;
    bool data = true;
    int ret;

    if (qcow2_in_zones(bs, offset)) {
        int64_t n = zone_table_readable(qcow2_zone_table(bs), offset, bytes,
                                        &data);

        /* An offline zone has data that cannot be read */
        n = n < 0 ? MIN(bytes, zone_end(bs, offset) - offset) : n;
        if (!(mode & BDRV_WANT_ZERO)) {
            end = subcluster_end_if_data(bs, data ? offset + n : offset);
        }
        if (!data && !end) {
            *pnum = n;
            return BDRV_BLOCK_ZERO;
        }
        bytes = data ? n : MIN(bytes, end - offset);
    }
    ret = qcow2_co_block_status(bs, mode, offset, bytes, pnum, map, file);
    if (ret >= 0 && end && *pnum == bytes) {
        *pnum = end - offset;
    }
    return qcow2_is_zoned(bs) ? bdrv_zone_io_error(ret) : ret;
}

/* In pieces that are each in one subcluster or aligned, as plain qcow2 wants */
static int coroutine_fn GRAPH_RDLOCK
zero_conventional(BlockDriverState *bs, int64_t offset, int64_t bytes,
                  BdrvRequestFlags flags)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = 0;

    while (bytes && ret == 0) {
        int64_t rest = s->subcluster_size - offset_into_subcluster(s, offset);
        int64_t n = rest < s->subcluster_size ? MIN(bytes, rest) :
                    bytes < s->subcluster_size ? bytes :
                    QEMU_ALIGN_DOWN(bytes, s->subcluster_size);

        ret = qcow2_co_pwrite_zeroes(bs, offset, n, flags);
        if (ret == -ENOTSUP && !(flags & BDRV_REQ_NO_FALLBACK)) {
            ret = write_zero_buffers(bs, offset, n);
        }
        offset += n;
        bytes -= n;
    }
    return ret;
}

/* Of the image itself, and of what its backing file has where it has nothing */
static int coroutine_fn GRAPH_RDLOCK
received_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int64_t *n)
{
    BlockDriverState *file;
    int64_t map, below;
    int ret = qcow2_co_block_status(bs, BDRV_WANT_ZERO, offset, bytes, n, &map,
                                    &file);

    if (ret < 0 || (ret & (BDRV_BLOCK_DATA | BDRV_BLOCK_ZERO))) {
        return ret;
    }
    if (!bs->backing) {
        /* One that is not open may have anything. */
        return bs->backing_file[0] ? BDRV_BLOCK_DATA : BDRV_BLOCK_ZERO;
    }
    ret = bdrv_co_block_status_above(bs->backing->bs, NULL, offset, *n, &below,
                                     NULL, NULL);
    if (ret >= 0 && below == 0) {
        return BDRV_BLOCK_ZERO;     /* it ends before that */
    }
    *n = below;
    return ret;
}

/* What is zero already does not get L2 tables by it. */
static int coroutine_fn GRAPH_RDLOCK
receive_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
               BdrvRequestFlags flags)
{
    int64_t n;

    for (; bytes; offset += n, bytes -= n) {
        int ret = received_status(bs, offset, bytes, &n);

        if (ret >= 0 && !(ret & BDRV_BLOCK_ZERO)) {
            ret = zero_conventional(bs, offset, n, flags);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

int coroutine_fn
qcow2_zoned_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                             int64_t bytes, BdrvRequestFlags flags)
{
    ZoneWrite w;
    int ret;

    if (!qcow2_in_zones(bs, offset)) {
        return qcow2_co_pwrite_zeroes(bs, offset, bytes, flags);
    }
    if (is_receiving(bs)) {
        return bdrv_zone_io_error(receive_zeroes(bs, offset, bytes, flags));
    }
    if (flags & BDRV_REQ_WRITE_UNCHANGED) {
        return flags & BDRV_REQ_NO_FALLBACK ? -ENOTSUP :
               fill_in(bs, offset, bytes, NULL, 0);
    }
    if ((flags & BDRV_REQ_NO_FALLBACK) && !may_zero_fast(bs, offset)) {
        return -ENOTSUP;
    }
    ret = zone_table_begin_write(qcow2_zone_table(bs), &w, offset, bytes);
    if (ret < 0) {
        trace_qcow2_zoned_refused(bs, offset, bytes, ret);
        return ret;
    }
    if (w.reserved) {
        int64_t start = MIN(offset, w.start);
        unsigned int given_back = qcow2_zoned_space_given_back(bs);

        ret = zero_sequential(bs, &w, start, offset + bytes - start, flags);
        if (ret == -ENOSPC && qcow2_zoned_space_full(bs, given_back)) {
            ret = zero_sequential(bs, &w, start, offset + bytes - start, flags);
        }
    } else {
        ret = zero_conventional(bs, offset, bytes, flags);
    }
    ret = zone_table_end_write(qcow2_zone_table(bs), &w, ret);
    qcow2_zones_store_soon(bs);
    return ret;
}

/* Only a reset gives up what a sequential zone holds. */
int coroutine_fn
qcow2_zoned_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    const ZoneGeometry *g;

    if (!qcow2_in_zones(bs, offset)) {
        return qcow2_co_pdiscard(bs, offset, bytes);
    }
    g = zone_table_geometry(qcow2_zone_table(bs));
    if (offset + bytes > g->conventional_zones * g->zones.size) {
        return -ENOTSUP;
    }
    return bdrv_zone_io_error(qcow2_co_pdiscard(bs, offset, bytes));
}

/* For qemu-img convert; the zone must not be mapped yet, or it fails */
int coroutine_fn
qcow2_zoned_co_pwritev_compressed_part(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, QEMUIOVector *qiov,
                                       size_t qiov_offset)
{
    ZoneWrite w;
    int ret;

    /* No bytes: a call to align the end of the file */
    if (!bytes || !qcow2_in_zones(bs, offset) || is_receiving(bs)) {
        return qcow2_co_pwritev_compressed_part(bs, offset, bytes, qiov,
                                                qiov_offset);
    }
    ret = zone_table_begin_write(qcow2_zone_table(bs), &w, offset, bytes);
    if (ret < 0) {
        return ret;
    }
    ret = qcow2_co_pwritev_compressed_part(bs, offset, bytes, qiov,
                                           qiov_offset);
    ret = zone_table_end_write(qcow2_zone_table(bs), &w, ret);
    qcow2_zones_store_soon(bs);
    return ret;
}

/* Callers copy through a buffer instead, which goes through the zone rules. */
int coroutine_fn
qcow2_zoned_co_copy_range_from(BlockDriverState *bs,
                               BdrvChild *src, int64_t src_offset,
                               BdrvChild *dst, int64_t dst_offset,
                               int64_t bytes, BdrvRequestFlags read_flags,
                               BdrvRequestFlags write_flags)
{
    return qcow2_is_zoned(bs) ? -ENOTSUP :
           qcow2_co_copy_range_from(bs, src, src_offset, dst, dst_offset,
                                    bytes, read_flags, write_flags);
}

int coroutine_fn
qcow2_zoned_co_copy_range_to(BlockDriverState *bs,
                             BdrvChild *src, int64_t src_offset,
                             BdrvChild *dst, int64_t dst_offset,
                             int64_t bytes, BdrvRequestFlags read_flags,
                             BdrvRequestFlags write_flags)
{
    return qcow2_is_zoned(bs) ? -ENOTSUP :
           qcow2_co_copy_range_to(bs, src, src_offset, dst, dst_offset,
                                  bytes, read_flags, write_flags);
}
