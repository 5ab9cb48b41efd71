/*
 * Zone table: the state machine of an emulated zoned block device
 *
 * The rules of zoned storage and nothing else: no I/O, no image format, no
 * BlockDriverState.  See include/block/zone-table.h for the interface.
 *
 * Two ideas carry the concurrency.  A write *reserves* its range when it
 * begins, so that the next one can begin behind it at once: queue depth costs
 * nothing.  And a zone's write pointer (Zone.wp) is its *completed prefix*: it
 * moves only over writes that have ended well and have no unfinished one below
 * them, and only then are they acknowledged.  Whoever looks at Zone.wp - a
 * report, a reader, the store - therefore never sees a gap.
 *
 * A random write area adds to this: data is readable up to Zone.data_end, which
 * is then the prefix that writes extend, and Zone.wp follows by commits only.
 *
 * set_state() and set_attributes() are the only functions that change those of
 * a zone, so the resource counts cannot drift.
 *
 * Locks: each zone belongs to one of a few stripes, which have a lock each.  A
 * write to a zone that is open already, while nobody waits, changes this zone,
 * and what records_lock protects; begins_alone() and ends_alone() let it do
 * with the lock of its stripe.  Everything else holds the locks of all stripes
 * (t->all), and so has the table for itself.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/hbitmap.h"
#include "qemu/host-utils.h"
#include "qemu/lockable.h"
#include "qemu/madvise.h"
#include "qemu/memalign.h"
#include "qemu/stats64.h"
#include "qemu/units.h"
#include "block/aio.h"
#include "block/block-zoned.h"
#include "block/zone-table.h"
#include "trace.h"

#define NO_ZONE UINT32_MAX

typedef struct Zone {
    uint64_t wp;                /* completed prefix */
    aligned_uint64_t data_end;  /* end of readable data; see has_data() */
    QTAILQ_HEAD(, ZoneWrite) writes;    /* in the order of their ranges */
    uint32_t queue_prev, queue_next;    /* while implicitly open */
    uint8_t state;              /* BlockZoneState; see has_data() */
    uint8_t pending;            /* Pending */
    uint8_t next_state:4;       /* with PENDING_STATE: BlockZoneState */
    uint8_t next_settable:3;    /* with PENDING_ATTRIBUTES: BDRV_ZA_* */
    bool used:1;                /* written since it came into the queue */
    uint8_t attributes;         /* BDRV_ZA_* */
    uint16_t overwrites;        /* in progress, in a random write area */
    uint8_t cause;              /* errno of the write that failed: draining */
    bool draining:1;            /* new writes wait until none is in progress */
    bool was_empty:1;           /* opened by a write that has not ended yet */
    /* Of the operation that begins, from select_zones() to start_mgmt() */
    bool selected:1;
    bool has_tail:1;            /* in ZoneTable.tails */
    uint8_t epoch:4;            /* of the record, see zone_table_next_epoch() */
} Zone;

QEMU_BUILD_BUG_ON(ZONE_EPOCHS != 1 << 4);
QEMU_BUILD_BUG_ON(BDRV_ZA_SETTABLE >= 1 << 3);

/* A million zones are common: 64 bytes a zone are for this and the store. */
QEMU_BUILD_BUG_ON(sizeof(Zone) > 48);

/* More make everything but writes slower */
#define STRIPES 8
#define CACHE_LINE 64
#define ZONES_IN_LINES 8        /* so many fill whole cache lines */

QEMU_BUILD_BUG_ON(ZONES_IN_LINES * sizeof(Zone) % CACHE_LINE);

/* Zones of different stripes, as neighbours are, share no cache line. */
typedef struct ZoneArray {
    Zone *zones;
    uint32_t per_stripe;
} ZoneArray;

/* What an operation waits for to become durable; new writes wait for it. */
typedef enum Pending {
    PENDING_NONE,
    PENDING_STATE,              /* a change to Zone.next_state */
    PENDING_ATTRIBUTES,         /* those that can be set: Zone.next_settable */
    PENDING_COMMIT,             /* of a random write area */
    PENDING_EXT,                /* a descriptor extension */
} Pending;

/*
 * Walks over more zones than this let other threads have the lock, and other
 * work of the event loop its turn, in between: about a millisecond.
 */
#define ZONES_PER_TURN 32768

#define HUGE_PAGE (2 * MiB)

/* What a zone has more than its record says, and nothing else is different */
typedef struct ZoneTail {
    ZoneClaim claim;
    QLIST_ENTRY(ZoneTail) next;
} ZoneTail;

/* In cache lines of its own */
typedef struct QEMU_ALIGNED(CACHE_LINE) ZoneStripe {
    QemuMutex mutex;
    QemuLockable lock;          /* the same */
    uint32_t writes;            /* in progress, in its sequential zones */
} ZoneStripe;

struct ZoneTable {
    ZoneGeometry geometry;
    ZoneStripe *stripes;
    QemuLockable all;           /* the locks of all stripes */

    /* Written with all; to be read with one of them */
    CoQueue changed;            /* operations that wait for a zone */
    QLIST_HEAD(, ZoneMgmt) mgmts;
    ZoneMgmt *walker;           /* all others wait, and so do new writes */
    uint32_t count[BLK_ZS_OFFLINE + 1];
    uint32_t zrwa_zones;
    Stat64 implicit_closes;     /* so far; to be read without */
    uint32_t repairs;           /* that will make a zone active */
    HBitmap *released;          /* see mark_released() */
    bool claims;                /* tails are kept */
    ZoneArray zones;            /* each: written with its stripe's lock */
    unsigned long *dirty;       /* blocks, for records; see block_is_dirty() */
    uint32_t queue_first, queue_last;   /* implicitly open zones */

    /* With all, or with one of them and records_lock */
    QemuMutex records_lock;
    uint32_t nr_dirty;          /* bits in dirty */
    uint32_t nr_tails;
    uint64_t tail_bytes;
    QLIST_HEAD(, ZoneTail) tails;   /* they count if nothing is dirty */
};

static ZoneStripe *zone_stripe(const ZoneTable *t, uint32_t i)
{
    return &t->stripes[i % STRIPES];
}

static Zone *zone_in(const ZoneArray *array, uint32_t i)
{
    return &array->zones[i % STRIPES * array->per_stripe + i / STRIPES];
}

static Zone *zone_at(const ZoneTable *t, uint32_t i)
{
    return zone_in(&t->zones, i);
}

static void lock_all(void *opaque)
{
    ZoneTable *t = opaque;

    for (int k = 0; k < STRIPES; k++) {
        qemu_mutex_lock(&t->stripes[k].mutex);
    }
}

static void unlock_all(void *opaque)
{
    ZoneTable *t = opaque;

    for (int k = STRIPES - 1; k >= 0; k--) {
        qemu_mutex_unlock(&t->stripes[k].mutex);
    }
}

/* Only the stripe of zone @i is locked; what needs more looks again then. */
static QemuLockable *lock_all_instead(ZoneTable *t, uint32_t i)
{
    qemu_mutex_unlock(&zone_stripe(t, i)->mutex);
    lock_all(t);
    return &t->all;
}

/* --- Geometry --- */

static uint32_t zone_index(const ZoneTable *t, uint64_t offset)
{
    return zone_geometry_index(&t->geometry, offset);
}

static uint64_t zone_start(const ZoneTable *t, uint32_t i)
{
    return zone_geometry_start(&t->geometry, i);
}

static bool zone_is_conventional(const ZoneTable *t, uint32_t i)
{
    return zone_geometry_conventional(&t->geometry, i);
}

static uint64_t zone_writable_end(const ZoneTable *t, uint32_t i)
{
    return zone_geometry_writable_end(&t->geometry, i);
}

const ZoneGeometry *zone_table_geometry(const ZoneTable *t)
{
    return &t->geometry;
}

uint32_t zone_table_nr_zones(const ZoneTable *t)
{
    return t->geometry.zones.nr_zones;
}

/* --- States --- */

const char *zone_state_name(BlockZoneState state)
{
    static const char *const names[] = {
        [BLK_ZS_NOT_WP] = "not-write-pointer",
        [BLK_ZS_EMPTY] = "empty",
        [BLK_ZS_IOPEN] = "implicitly-open",
        [BLK_ZS_EOPEN] = "explicitly-open",
        [BLK_ZS_CLOSED] = "closed",
        [BLK_ZS_RDONLY] = "read-only",
        [BLK_ZS_FULL] = "full",
        [BLK_ZS_OFFLINE] = "offline",
    };

    return state < ARRAY_SIZE(names) && names[state] ? names[state] : "invalid";
}

static bool zone_state_is_open(BlockZoneState state)
{
    return state == BLK_ZS_IOPEN || state == BLK_ZS_EOPEN;
}

static bool zone_state_is_active(BlockZoneState state)
{
    return zone_state_is_open(state) || state == BLK_ZS_CLOSED;
}

static uint32_t open_zones(const ZoneTable *t)
{
    return t->count[BLK_ZS_IOPEN] + t->count[BLK_ZS_EOPEN];
}

static uint32_t active_zones(const ZoneTable *t)
{
    return open_zones(t) + t->count[BLK_ZS_CLOSED] + t->repairs;
}

/* Is the record of zone @i to be stored?  Needs no other lock than its own. */
static bool block_is_dirty(const ZoneTable *t, uint32_t i)
{
    uint32_t block = i >> ZONE_DIRTY_SHIFT;

    return qatomic_read(&t->dirty[BIT_WORD(block)]) & BIT_MASK(block);
}

static void mark_dirty(ZoneTable *t, uint32_t i)
{
    if (!block_is_dirty(t, i)) {
        set_bit_atomic(i >> ZONE_DIRTY_SHIFT, t->dirty);
        t->nr_dirty++;
    }
}

static uint32_t nr_blocks(const ZoneTable *t)
{
    return DIV_ROUND_UP(t->geometry.zones.nr_zones, ZONE_BLOCK_RECORDS);
}

/*
 * Zone @i is not active any more, or not after all, but the record stored of it
 * may be that of an active zone.  Its active resource can go to another zone,
 * whose record must not be stored before this one's.
 */
static void mark_released(ZoneTable *t, uint32_t i)
{
    mark_dirty(t, i);
    hbitmap_set(t->released, i, 1);
}

static void queue_remove(ZoneTable *t, Zone *z)
{
    if (z->queue_prev == NO_ZONE) {
        t->queue_first = z->queue_next;
    } else {
        zone_at(t, z->queue_prev)->queue_next = z->queue_next;
    }
    if (z->queue_next == NO_ZONE) {
        t->queue_last = z->queue_prev;
    } else {
        zone_at(t, z->queue_next)->queue_prev = z->queue_prev;
    }
}

static void queue_append(ZoneTable *t, uint32_t i)
{
    Zone *z = zone_at(t, i);

    z->queue_prev = t->queue_last;
    z->queue_next = NO_ZONE;
    if (t->queue_last == NO_ZONE) {
        t->queue_first = i;
    } else {
        zone_at(t, t->queue_last)->queue_next = i;
    }
    t->queue_last = i;
}

static void set_state(ZoneTable *t, uint32_t i, BlockZoneState state)
{
    Zone *z = zone_at(t, i);

    trace_zone_table_state(t, i, zone_state_name(z->state),
                           zone_state_name(state), z->wp);
    if (z->state == BLK_ZS_IOPEN) {
        queue_remove(t, z);
    }
    if (state == BLK_ZS_IOPEN) {
        z->used = false;
        queue_append(t, i);
    }
    t->count[z->state]--;
    t->count[state]++;
    qatomic_set(&z->state, state);
}

static bool zone_has_zrwa(const Zone *z)
{
    return z->attributes & BDRV_ZA_ZRWA;
}

static void set_attributes(ZoneTable *t, uint32_t i, uint8_t attributes)
{
    Zone *z = zone_at(t, i);

    t->zrwa_zones -= zone_has_zrwa(z);
    z->attributes = attributes;
    t->zrwa_zones += zone_has_zrwa(z);
}

/* ZNS 1.1, 4.4.1.  What cannot be done to a zone is not recommended. */
uint8_t zone_attributes_in(BlockZoneState state, uint8_t attributes)
{
    switch (state) {
    case BLK_ZS_EMPTY:
        return 0;
    case BLK_ZS_FULL:
        return attributes & ~(BDRV_ZA_ZRWA | BDRV_ZA_FINISH_RECOMMENDED);
    case BLK_ZS_RDONLY:
        return attributes & ~(BDRV_ZA_ZRWA | BDRV_ZA_RECOMMENDED);
    case BLK_ZS_OFFLINE:
        return attributes & ~(BDRV_ZA_ZRWA | BDRV_ZA_EXT | BDRV_ZA_RECOMMENDED);
    default:
        return attributes & ~BDRV_ZA_RESET_RECOMMENDED;
    }
}

BlockZoneState zone_attributes_state(BlockZoneState state, uint8_t attributes)
{
    return zone_state_is_active(state) &&
           (attributes & BDRV_ZA_FINISHED_BY_CONTROLLER) ? BLK_ZS_FULL : state;
}

bool zone_attributes_allowed(BlockZoneState state, uint8_t attributes)
{
    return (attributes & ~BDRV_ZA_SETTABLE) == 0 &&
           zone_attributes_in(zone_attributes_state(state, attributes),
                              attributes) == attributes;
}

/* What the operation in progress makes of attributes and state of a zone */
static uint8_t next_attributes(const Zone *z)
{
    return z->pending == PENDING_ATTRIBUTES
           ? (z->attributes & ~BDRV_ZA_SETTABLE) | z->next_settable
           : z->attributes;
}

static BlockZoneState next_state(const Zone *z)
{
    switch (z->pending) {
    case PENDING_STATE:
        return z->next_state;
    case PENDING_ATTRIBUTES:
        return zone_attributes_state(z->state, z->next_settable);
    default:
        return z->state;
    }
}

/*
 * Zone @i as it will be in @state, of @attributes with those that last: for its
 * record, and for the change itself
 */
static void record_in_state(const ZoneTable *t, uint32_t i,
                            BlockZoneState state, uint8_t attributes,
                            ZoneRecord *r)
{
    const Zone *z = zone_at(t, i);

    *r = (ZoneRecord) {
        .state = state,
        .attributes = zone_attributes_in(state, attributes),
        .epoch = z->epoch,
        .wp = z->wp,
        .data_end = z->data_end,
    };
    if (state == BLK_ZS_EMPTY) {
        r->wp = r->data_end = zone_start(t, i);
    } else if (state == BLK_ZS_FULL) {
        r->wp = zone_writable_end(t, i);
    } else if (state == BLK_ZS_CLOSED && !(r->attributes & BDRV_ZA_ZRWA)) {
        r->wp = r->data_end;    /* differs after a repair only */
    }
}

static void enter_state(ZoneTable *t, uint32_t i, BlockZoneState state)
{
    Zone *z = zone_at(t, i);
    ZoneRecord r;

    record_in_state(t, i, state, z->attributes, &r);
    z->wp = r.wp;
    qatomic_set_u64(&z->data_end, r.data_end);
    z->was_empty = false;
    set_attributes(t, i, r.attributes);
    set_state(t, i, state);
}

BlockZoneState zone_state_of(uint64_t start, uint64_t end, uint64_t wp,
                             uint64_t data_end, uint8_t attributes)
{
    return wp == end ? BLK_ZS_FULL :
           wp > start || data_end > start || (attributes & BDRV_ZA_EXT) ?
           BLK_ZS_CLOSED : BLK_ZS_EMPTY;
}

/*
 * What becomes of an active zone when the power goes (ZNS 1.1, 2.1.1.3): Empty
 * if it holds nothing.  Data in a random write area is something, though the
 * write pointer is not above it: it may have been flushed.
 */
static BlockZoneState unpowered_state(const ZoneTable *t, uint32_t i)
{
    const Zone *z = zone_at(t, i);

    return zone_state_of(zone_start(t, i), zone_writable_end(t, i), z->wp,
                         z->data_end, z->attributes);
}

/* --- Resources (ZNS 2.1.1.4; virtio 5.2.6, "zone resources") --- */

/*
 * May a zone in @state be opened?  Active is checked before open: where both
 * are missing the standards ask for that, and an implicit close must not
 * happen for a request that then fails for lack of an active resource.
 */
static int check_resources(const ZoneTable *t, BlockZoneState state)
{
    const ZoneGeometry *g = &t->geometry;

    if (state == BLK_ZS_EMPTY && g->zones.max_active &&
        active_zones(t) >= g->zones.max_active) {
        return -EOVERFLOW;
    }
    if ((state == BLK_ZS_EMPTY || state == BLK_ZS_CLOSED) &&
        g->zones.max_open && t->count[BLK_ZS_EOPEN] >= g->zones.max_open) {
        return -ETOOMANYREFS;
    }
    return 0;
}

static int check_zrwa_resources(const ZoneTable *t, uint64_t wanted)
{
    const ZoneGeometry *g = &t->geometry;

    return wanted && g->zones.max_zrwa &&
           t->zrwa_zones + wanted > g->zones.max_zrwa ? -EUSERS : 0;
}

/*
 * Close the implicitly open zone that was opened first.  If it has been written
 * since, it goes to the end of the queue instead, once.  (To know which one was
 * written least recently, all writes would have to share something.)
 */
static void close_one(ZoneTable *t)
{
    while (zone_at(t, t->queue_first)->used) {
        uint32_t i = t->queue_first;

        zone_at(t, i)->used = false;
        queue_remove(t, zone_at(t, i));
        queue_append(t, i);
    }
    set_state(t, t->queue_first, BLK_ZS_CLOSED);
}

/* Open zone @i, after check_resources() has agreed */
static void open_zone(ZoneTable *t, uint32_t i, BlockZoneState state)
{
    BlockZoneState old = zone_at(t, i)->state;

    if (old == BLK_ZS_EMPTY || old == BLK_ZS_CLOSED) {
        if (t->geometry.zones.max_open &&
            open_zones(t) >= t->geometry.zones.max_open) {
            close_one(t);
            stat64_add(&t->implicit_closes, 1);
        }
    }
    set_state(t, i, state);
}

uint64_t zone_table_implicit_closes(const ZoneTable *t)
{
    return stat64_get(&t->implicit_closes);
}

/* --- Writes --- */

/* Do new writes to the zone have to wait? */
static bool zone_is_held(const ZoneTable *t, const Zone *z)
{
    return t->walker || z->draining || z->pending != PENDING_NONE;
}

static bool zone_is_busy(const Zone *z)
{
    return !QTAILQ_EMPTY(&z->writes) || z->overwrites;
}

/* Where data ends, and without a random write area the next write begins */
static uint64_t reserved_end(const Zone *z)
{
    const ZoneWrite *last = QTAILQ_LAST(&z->writes);

    return last ? last->end : z->data_end;
}

/* Where the write pointer will be when all writes in progress have ended */
static uint64_t reserved_wp(const Zone *z)
{
    const ZoneWrite *last = QTAILQ_LAST(&z->writes);

    return last ? MAX(last->commit, z->wp) : z->wp;
}

static int check_writable(const ZoneTable *t, uint32_t i)
{
    const Zone *z = zone_at(t, i);

    switch (z->state) {
    case BLK_ZS_OFFLINE:
        return -ENODEV;
    case BLK_ZS_RDONLY:
        return -EROFS;
    case BLK_ZS_FULL:
        return -EFBIG;
    default:
        return reserved_wp(z) == zone_writable_end(t, i) ? -EFBIG : 0;
    }
}

static bool in_device(const ZoneTable *t, uint64_t offset, uint64_t bytes)
{
    return offset < t->geometry.size && bytes <= t->geometry.size - offset;
}

/* Does the range stay in one zone?  Conventional zones may be joined. */
static bool in_one_zone(const ZoneTable *t, uint64_t offset, uint64_t bytes)
{
    uint32_t last = zone_index(t, offset + MAX(bytes, 1) - 1);

    return last == zone_index(t, offset) || zone_is_conventional(t, last);
}

static bool begins_at_wp(const ZoneTable *t, uint32_t i, uint64_t offset)
{
    const Zone *z = zone_at(t, i);

    return zone_has_zrwa(z) ?
           offset >= reserved_wp(z) &&
           offset % t->geometry.zones.write_granularity == 0 :
           offset == reserved_wp(z);
}

/* A random write area, and the region behind it that a write can end in */
static bool ends_near_wp(const ZoneTable *t, uint32_t i, uint64_t end)
{
    const Zone *z = zone_at(t, i);

    return !zone_has_zrwa(z) ||
           end <= reserved_wp(z) + 2 * t->geometry.zones.zrwa_size;
}

static int check_write(const ZoneTable *t, uint32_t i,
                       uint64_t offset, uint64_t bytes)
{
    int ret = check_writable(t, i);

    if (ret < 0) {
        return ret;
    }
    if (!in_one_zone(t, offset, bytes)) {
        return -ERANGE;
    }
    if (!begins_at_wp(t, i, offset) ||
        bytes % t->geometry.zones.write_granularity) {
        return -ESPIPE;
    }
    if (offset + bytes > zone_writable_end(t, i)) {
        return -ERANGE;
    }
    if (!ends_near_wp(t, i, offset + bytes)) {
        return -ESPIPE;
    }
    return bytes ? check_resources(t, zone_at(t, i)->state) : 0;
}

/* Where a write that ends at @end makes the write pointer go */
static uint64_t implicit_commit(const ZoneTable *t, uint32_t i, uint64_t end)
{
    const ZoneGeometry *g = &t->geometry;
    const Zone *z = zone_at(t, i);
    uint64_t wp = reserved_wp(z);

    if (!zone_has_zrwa(z)) {
        return end;
    }
    if (end <= wp + g->zones.zrwa_size) {
        return wp;
    }
    /* The granularity need not be a power of two, as ROUND_UP() wants it */
    return wp + QEMU_ALIGN_UP(end - wp - g->zones.zrwa_size,
                              g->zones.zrwa_granularity);
}

static void reserve(ZoneTable *t, ZoneWrite *w, uint32_t i,
                    uint64_t offset, uint64_t bytes)
{
    Zone *z = zone_at(t, i);
    uint64_t data_end = reserved_end(z);

    *w = (ZoneWrite) {
        .start = offset,
        .end = offset + bytes,
        .zone = i,
        .reserved = bytes > 0,
        .commit = implicit_commit(t, i, offset + bytes),
    };
    if (bytes == 0) {
        return;
    }
    zone_stripe(t, i)->writes++;
    if (w->end <= data_end) {
        w->state = ZW_OVERWRITE;
        z->overwrites++;
    } else {
        w->start = data_end;
        QTAILQ_INSERT_TAIL(&z->writes, w, next);
    }

    if (z->state == BLK_ZS_EMPTY) {
        z->was_empty = true;
    }
    if (z->state == BLK_ZS_EOPEN) {
        return;
    }
    if (z->state == BLK_ZS_IOPEN) {
        z->used = true;
        return;
    }
    open_zone(t, i, BLK_ZS_IOPEN);
}

/*
 * If this waits for a zone to recover from a failed write, returns why that
 * failed, else 0: a write that was to go behind it fails for the same reason.
 */
static int coroutine_fn wait_for_zone(ZoneTable *t, uint32_t i)
{
    const Zone *z = zone_at(t, i);
    int cause = z->draining && z->pending == PENDING_NONE ? -z->cause : 0;

    while (zone_is_held(t, zone_at(t, i))) {
        qemu_co_queue_wait(&t->changed, &t->all);
    }
    return cause;
}

/*
 * Does a write of this range touch what one in progress writes, or fills with
 * zeroes?  Never without a random write area.
 */
static bool is_contended(const Zone *z, uint64_t offset, uint64_t end)
{
    const ZoneWrite *w;

    if (z->overwrites == UINT16_MAX) {
        return true;
    }
    QTAILQ_FOREACH(w, &z->writes, next) {
        if (offset < w->end && w->start < end) {
            return true;
        }
    }
    return false;
}

/* Does a write that begins change nothing but its zone, and wait for nothing? */
static bool begins_alone(const ZoneTable *t, uint32_t i)
{
    const Zone *z = zone_at(t, i);

    return zone_state_is_open(z->state) && !zone_has_zrwa(z) &&
           !zone_is_held(t, z);
}

/* Returns what is locked then. */
static QemuLockable *lock_to_begin(ZoneTable *t, uint32_t i)
{
    qemu_mutex_lock(&zone_stripe(t, i)->mutex);
    return begins_alone(t, i) ? &zone_stripe(t, i)->lock
                              : lock_all_instead(t, i);
}

static int coroutine_fn begin_write(ZoneTable *t, ZoneWrite *w, uint32_t i,
                                    uint64_t offset, uint64_t bytes)
{
    int cause, ret;

    cause = wait_for_zone(t, i);
    while (zone_has_zrwa(zone_at(t, i)) &&
           is_contended(zone_at(t, i), offset, offset + bytes)) {
        qemu_co_queue_wait(&t->changed, &t->all);
        wait_for_zone(t, i);
    }
    ret = check_write(t, i, offset, bytes);
    if (ret == 0) {
        reserve(t, w, i, offset, bytes);
    } else if (ret == -ESPIPE && cause && offset > reserved_wp(zone_at(t, i))) {
        ret = bdrv_zone_io_error(cause);
    }
    return ret;
}

int coroutine_fn zone_table_begin_write(ZoneTable *t, ZoneWrite *w,
                                        uint64_t offset, uint64_t bytes)
{
    uint32_t i = zone_index(t, offset);
    QemuLockable *held;
    int ret;

    if (!in_device(t, offset, bytes)) {
        return -ERANGE;
    }
    if (zone_is_conventional(t, i)) {
        *w = (ZoneWrite) { .start = offset, .end = offset + bytes, .zone = i };
        return in_one_zone(t, offset, bytes) ? 0 : -ERANGE;
    }

    held = lock_to_begin(t, i);
    ret = begin_write(t, w, i, offset, bytes);
    qemu_lockable_unlock(held);
    return ret;
}

static int coroutine_fn begin_append(ZoneTable *t, ZoneWrite *w, uint32_t i,
                                     uint64_t *offset, uint64_t bytes)
{
    uint64_t wp;
    int ret;

    wait_for_zone(t, i);
    ret = check_writable(t, i);
    if (ret < 0) {
        return ret;
    }
    if (zone_has_zrwa(zone_at(t, i))) {
        return -ENOTTY;
    }
    if (bytes > t->geometry.zones.max_append) {
        return -EINVAL;
    }
    wp = reserved_wp(zone_at(t, i));
    ret = check_write(t, i, wp, bytes);
    if (ret == 0) {
        reserve(t, w, i, wp, bytes);
        *offset = wp;
    }
    return ret;
}

int coroutine_fn zone_table_begin_append(ZoneTable *t, ZoneWrite *w,
                                         uint64_t *offset, uint64_t bytes)
{
    uint32_t i = zone_index(t, *offset);
    QemuLockable *held;
    int ret;

    if (!in_device(t, *offset, 1) || *offset != zone_start(t, i) ||
        zone_is_conventional(t, i)) {
        return -EINVAL;
    }

    held = lock_to_begin(t, i);
    ret = begin_append(t, w, i, offset, bytes);
    qemu_lockable_unlock(held);
    return ret;
}

/*
 * Let the caller of zone_table_end_write() go on, from its event loop.  Entered
 * from here instead, it would run before what this coroutine has submitted and
 * not entered yet, and what it submits itself could overtake that: a sequence
 * of writes would get out of order.
 */
static void wake_write(ZoneWrite *w)
{
    if (w->waiter) {
        aio_co_schedule(w->waiter_context, w->waiter);
    }
}

/*
 * @w and everything above it in its zone can no longer succeed, and all for the
 * same reason: with werror=enospc, say, all of them are to be tried again.
 */
static void fail_from(Zone *z, ZoneWrite *w, int ret)
{
    ZoneWrite *above, *next;

    for (above = QTAILQ_NEXT(w, next); above; above = next) {
        bool written = above->state == ZW_WRITTEN;

        next = QTAILQ_NEXT(above, next);
        above->state = ZW_FAILED;
        above->ret = ret;
        if (written) {
            /* Its caller waits in zone_table_end_write() */
            QTAILQ_REMOVE(&z->writes, above, next);
            wake_write(above);
        }
    }
    QTAILQ_REMOVE(&z->writes, w, next);
    w->state = ZW_FAILED;
    z->draining = true;
    z->cause = -ret <= UINT8_MAX ? -ret : EIO;
}

static ZoneTail *find_tail(const ZoneTable *t, uint32_t i)
{
    ZoneTail *tail;

    QLIST_FOREACH(tail, &t->tails, next) {
        if (tail->claim.zone == i) {
            break;
        }
    }
    return tail;
}

/* The claim that zone @i, whose data ends at @from, begins with */
static ZoneClaim empty_claim(const ZoneTable *t, uint32_t i, uint64_t from)
{
    return (ZoneClaim) {
        .zone = i,
        .epoch = zone_at(t, i)->epoch,
        .from = from,
        .to = from,
        .sum = ZONE_CHECKSUM_INIT,
    };
}

static void extend_claim(ZoneClaim *claim, const ZoneWrite *w)
{
    zone_checksum_append(&claim->sum, &w->sum, w->end - w->start);
    claim->to = w->end;
}

/* Can a claim say what @w does, which begins at the end of data of its zone? */
static bool can_claim(const ZoneTable *t, const ZoneWrite *w)
{
    const Zone *z = zone_at(t, w->zone);

    /* Where one zone needs a record, all get one. */
    if (!t->claims || !w->has_sum || t->nr_dirty ||
        t->tail_bytes + (w->end - w->start) > ZONE_CLAIMS_MAX_BYTES) {
        return false;
    }
    /* The record has been stored as the operation leaves the zone. */
    if (z->pending != PENDING_NONE || zone_has_zrwa(z)) {
        return false;
    }
    /* A claim that holds would exceed the limit, if one before it does not */
    return z->has_tail ||
           (t->nr_tails < ZONE_CLAIMS_MAX &&
            !(t->geometry.zones.max_active &&
              w->start == zone_start(t, w->zone)));
}

static ZoneTail *new_tail(ZoneTable *t, uint32_t i, uint64_t from)
{
    ZoneTail *tail = g_new(ZoneTail, 1);

    tail->claim = empty_claim(t, i, from);
    QLIST_INSERT_HEAD(&t->tails, tail, next);
    zone_at(t, i)->has_tail = true;
    t->nr_tails++;
    return tail;
}

/* @w moves the end of data of its zone, which stores have to follow. */
static void note_written(ZoneTable *t, const ZoneWrite *w)
{
    ZoneTail *tail;

    if (block_is_dirty(t, w->zone)) {
        return;
    }

    QEMU_LOCK_GUARD(&t->records_lock);

    if (!can_claim(t, w)) {
        mark_dirty(t, w->zone);
        return;
    }
    tail = zone_at(t, w->zone)->has_tail ? find_tail(t, w->zone)
                                      : new_tail(t, w->zone, w->start);
    extend_claim(&tail->claim, w);
    t->tail_bytes += w->end - w->start;
}

/* Move the write pointer over all writes that nothing unfinished is below. */
static void acknowledge(ZoneTable *t, uint32_t i)
{
    Zone *z = zone_at(t, i);
    ZoneWrite *w;

    while ((w = QTAILQ_FIRST(&z->writes)) && w->state == ZW_WRITTEN) {
        assert(w->start == z->data_end);
        note_written(t, w);
        qatomic_set_u64(&z->data_end, w->end);
        z->wp = MAX(z->wp, w->commit);
        z->was_empty = false;
        QTAILQ_REMOVE(&z->writes, w, next);
        w->state = ZW_ACKNOWLEDGED;
        wake_write(w);
    }
    if (z->wp == zone_writable_end(t, i) && z->state != BLK_ZS_FULL) {
        enter_state(t, i, BLK_ZS_FULL);
        mark_released(t, i);
    }
}

/* The operation that zone @i waits for */
static ZoneMgmt *find_mgmt(const ZoneTable *t, uint32_t i)
{
    ZoneMgmt *m;

    QLIST_FOREACH(m, &t->mgmts, next) {
        if (m->first <= i && i <= m->last) {
            break;
        }
    }
    return m;
}

/* The last write in flight has ended: let those go on that wait for this. */
static void coroutine_fn zone_became_idle(ZoneTable *t, uint32_t i)
{
    Zone *z = zone_at(t, i);

    if (z->pending != PENDING_NONE) {
        find_mgmt(t, i)->busy_zones--;
    }
    if (z->was_empty) {
        /* Nothing was written after all */
        enter_state(t, i, BLK_ZS_EMPTY);
    }
    z->draining = false;
    qemu_co_queue_restart_all(&t->changed);
}

/*
 * Does the end of @w change nothing but its zone?  The queue: whoever waits, for
 * any zone, looks again when a write has ended.  An operation counts the zones
 * whose writes it waits for, also while it is out of the queue to look again.
 */
static bool ends_alone(ZoneTable *t, const ZoneWrite *w, int ret)
{
    const Zone *z = zone_at(t, w->zone);

    return ret >= 0 && w->state == ZW_IN_FLIGHT &&
           zone_state_is_open(z->state) && z->pending == PENDING_NONE &&
           !zone_has_zrwa(z) &&
           reserved_end(z) < zone_writable_end(t, w->zone) &&
           qemu_co_queue_empty(&t->changed);
}

static QemuLockable *lock_to_end(ZoneTable *t, const ZoneWrite *w, int ret)
{
    qemu_mutex_lock(&zone_stripe(t, w->zone)->mutex);
    return ends_alone(t, w, ret) ? &zone_stripe(t, w->zone)->lock
                                 : lock_all_instead(t, w->zone);
}

int coroutine_fn zone_table_end_write(ZoneTable *t, ZoneWrite *w, int ret)
{
    QemuLockable *held;
    Zone *z;

    if (!w->reserved) {
        return bdrv_zone_io_error(ret);
    }

    held = lock_to_end(t, w, ret);

    z = zone_at(t, w->zone);
    zone_stripe(t, w->zone)->writes--;

    if (w->state == ZW_FAILED) {
        /* One below failed; its caller removed us only if we were written */
        QTAILQ_REMOVE(&z->writes, w, next);
        ret = ret < 0 ? ret : w->ret;
    } else if (w->state == ZW_OVERWRITE) {
        z->overwrites--;
    } else if (ret < 0) {
        fail_from(z, w, ret);
        trace_zone_table_write_failed(t, w->zone, w->start, w->end, ret);
    } else {
        w->state = ZW_WRITTEN;
        acknowledge(t, w->zone);
    }
    if (!zone_is_busy(z)) {
        zone_became_idle(t, w->zone);
    } else if (zone_has_zrwa(z)) {
        qemu_co_queue_restart_all(&t->changed);
    }
    if (w->state == ZW_WRITTEN) {
        w->waiter = qemu_coroutine_self();
        w->waiter_context = qemu_get_current_aio_context();
        qemu_lockable_unlock(held);
        qemu_coroutine_yield();
        ret = w->state == ZW_FAILED ? w->ret : 0;
    } else {
        qemu_lockable_unlock(held);
    }
    return bdrv_zone_io_error(ret);
}

/* --- Zone management: rules --- */

#define IN(state) (1u << BLK_ZS_##state)
#define OPEN_STATES (IN(IOPEN) | IN(EOPEN))
#define ACTIVE_STATES (OPEN_STATES | IN(CLOSED))
#define WRITABLE_STATES (IN(EMPTY) | ACTIVE_STATES)
#define SEQUENTIAL_STATES \
    (WRITABLE_STATES | IN(FULL) | IN(RDONLY) | IN(OFFLINE))

/* ZNS 1.1, 2.1.1.3 and 3.4.3; virtio 1.3, 5.2.6.2; see block-zoned.h */
static const struct ZoneOpRules {
    uint16_t from;              /* states in which a zone can be named */
    uint16_t all;               /* states that Select All picks */
    uint16_t good;              /* states to leave, with BDRV_ZONE_LENIENT */
    uint8_t to;                 /* the state to be in, if always the same */
    bool durable;               /* it is not done before it is stored */
    bool one_zone;
} zone_op_rules[] = {
    [BLK_ZO_OPEN] = { WRITABLE_STATES, IN(CLOSED), IN(FULL) },
    [BLK_ZO_CLOSE] = { ACTIVE_STATES, OPEN_STATES, IN(EMPTY) | IN(FULL) },
    [BLK_ZO_FINISH] = { WRITABLE_STATES | IN(FULL), ACTIVE_STATES, 0,
                        BLK_ZS_FULL, true },
    [BLK_ZO_RESET] = { WRITABLE_STATES | IN(FULL), ACTIVE_STATES | IN(FULL), 0,
                       BLK_ZS_EMPTY, true },
    [BLK_ZO_OFFLINE] = { IN(RDONLY) | IN(OFFLINE), IN(RDONLY), 0,
                         BLK_ZS_OFFLINE, true },
    [BLK_ZO_SET_EXT] = { IN(EMPTY), .durable = true, .one_zone = true },
    /* Whether it can be is for commit_zrwa() to say, after the writes */
    [BLK_ZO_ZRWA_COMMIT] = { SEQUENTIAL_STATES | IN(NOT_WP), .durable = true,
                             .one_zone = true },
    [BLK_ZO_POWER_CYCLE] = { SEQUENTIAL_STATES, ACTIVE_STATES },
    [BLK_ZO_FORCE_RDONLY] = { SEQUENTIAL_STATES, 0, 0, BLK_ZS_RDONLY, true },
    [BLK_ZO_FORCE_OFFLINE] = { SEQUENTIAL_STATES, 0, 0, BLK_ZS_OFFLINE, true },
    [BLK_ZO_FORCE_REPAIR] = { SEQUENTIAL_STATES, .durable = true },
    [BLK_ZO_SET_ATTRIBUTES] = { SEQUENTIAL_STATES, SEQUENTIAL_STATES,
                                .durable = true },
};

bool zone_op_allowed(BlockZoneOp op, BlockZoneState state)
{
    return zone_op_rules[op].from >> state & 1;
}

bool zone_op_leaves(BlockZoneOp op, BlockZoneFlags flags, BlockZoneState state)
{
    return flags & BDRV_ZONE_LENIENT && zone_op_rules[op].good >> state & 1;
}

static bool selects_all(const ZoneMgmt *m)
{
    return m->flags & BDRV_ZONE_ALL;
}

static uint8_t settable_attributes(const ZoneMgmt *m)
{
    return m->flags / BDRV_ZONE_ATTRIBUTES(1);
}

static bool attributes_allowed(const ZoneMgmt *m, const Zone *z)
{
    return m->op != BLK_ZO_SET_ATTRIBUTES ||
           zone_attributes_allowed(z->state, settable_attributes(m));
}

static bool needs_repair(const Zone *z)
{
    return z->state == BLK_ZS_RDONLY || z->state == BLK_ZS_OFFLINE;
}

/*
 * The state of a repaired zone.  It has no random write area any more, so its
 * write pointer has to be where its data ends.  One that was committed further
 * cannot go back: nothing more is to be written.
 */
static BlockZoneState repaired_state(const ZoneTable *t, uint32_t i)
{
    const Zone *z = zone_at(t, i);
    uint64_t end = zone_writable_end(t, i);

    return z->data_end == end || z->wp > z->data_end ? BLK_ZS_FULL :
           zone_state_of(zone_start(t, i), end, z->wp, z->data_end,
                         z->attributes);
}

/* What an operation takes of the resources of the device */
typedef struct ZoneNeeds {
    uint64_t active, explicitly_open, zrwa;
} ZoneNeeds;

static void add_needs(const ZoneTable *t, const ZoneMgmt *m, uint32_t i,
                      ZoneNeeds *needs)
{
    const Zone *z = zone_at(t, i);

    switch (m->op) {
    case BLK_ZO_OPEN:
        needs->active += z->state == BLK_ZS_EMPTY;
        needs->explicitly_open += z->state != BLK_ZS_EOPEN;
        break;
    case BLK_ZO_SET_EXT:
        needs->active++;
        break;
    case BLK_ZO_FORCE_REPAIR:
        needs->active += needs_repair(z) &&
                         repaired_state(t, i) == BLK_ZS_CLOSED;
        break;
    default:
        break;
    }
    needs->zrwa += m->flags & BDRV_ZONE_ZRWA ? 1 : 0;
}

/*
 * Can all zones of the range change at once?  Every implicitly open zone
 * outside can be closed for it; only explicit ones stand in the way.
 */
static int check_needs(const ZoneTable *t, const ZoneNeeds *needs)
{
    const BlockZoneLimits *l = &t->geometry.zones;

    if (needs->active && l->max_active &&
        active_zones(t) + needs->active > l->max_active) {
        return -EOVERFLOW;
    }
    if (needs->explicitly_open && l->max_open &&
        t->count[BLK_ZS_EOPEN] + needs->explicitly_open > l->max_open) {
        return -ETOOMANYREFS;
    }
    return check_zrwa_resources(t, needs->zrwa);
}

/* Checks that do not depend on the state of a zone */
static int check_mgmt(const ZoneTable *t, const ZoneMgmt *m,
                      uint64_t offset, uint64_t bytes)
{
    const ZoneGeometry *g = &t->geometry;
    uint64_t end = offset + bytes;

    if (offset % g->zones.size ||
        (end % g->zones.size && end != g->size &&
         m->op != BLK_ZO_ZRWA_COMMIT)) {
        return -EINVAL;
    }
    if (zone_op_rules[m->op].one_zone &&
        (m->first != m->last || selects_all(m))) {
        return -EINVAL;
    }
    if (m->op == BLK_ZO_SET_EXT && !g->zones.ext_size) {
        return -EINVAL;
    }
    return (m->flags & BDRV_ZONE_ZRWA) && !g->zones.zrwa_size ? -ENOTTY : 0;
}

/* --- Zone management: from begin to end --- */

static bool is_long(const ZoneMgmt *m)
{
    return m->last - m->first >= ZONES_PER_TURN;
}

/* In a loop over all zones of the operation, after zone @i */
static void coroutine_fn walk_pause(ZoneTable *t, const ZoneMgmt *m, uint32_t i)
{
    if (is_long(m) && (i - m->first) % ZONES_PER_TURN == ZONES_PER_TURN - 1) {
        unlock_all(t);
        aio_co_schedule(qemu_get_current_aio_context(), qemu_coroutine_self());
        qemu_coroutine_yield();
        lock_all(t);
    }
}

static bool has_to_wait(const ZoneTable *t, const ZoneMgmt *m)
{
    const ZoneMgmt *other;

    QLIST_FOREACH(other, &t->mgmts, next) {
        if (m->first <= other->last && other->first <= m->last) {
            return true;
        }
    }
    return t->walker;
}

static uint32_t writes_in_progress(const ZoneTable *t)
{
    uint32_t writes = 0;

    for (int k = 0; k < STRIPES; k++) {
        writes += t->stripes[k].writes;
    }
    return writes;
}

/*
 * From here on no other operation on these zones begins.  While a long one
 * walks over its zones, none does at all, and there are no writes: so all of
 * its zones change or none, though it gives up the lock in between.
 */
static void coroutine_fn begin_turn(ZoneTable *t, ZoneMgmt *m)
{
    while (has_to_wait(t, m)) {
        qemu_co_queue_wait(&t->changed, &t->all);
    }
    QLIST_INSERT_HEAD(&t->mgmts, m, next);
    if (is_long(m)) {
        t->walker = m;
        while (writes_in_progress(t)) {
            qemu_co_queue_wait(&t->changed, &t->all);
        }
    }
}

static void coroutine_fn end_walk(ZoneTable *t, ZoneMgmt *m)
{
    if (t->walker == m) {
        t->walker = NULL;
        qemu_co_queue_restart_all(&t->changed);
    }
}

static void coroutine_fn end_turn(ZoneTable *t, ZoneMgmt *m)
{
    QLIST_REMOVE(m, next);
    end_walk(t, m);
    qemu_co_queue_restart_all(&t->changed);
}

/*
 * Select the zones that the operation names, once: what it does to one zone
 * may change the state of another (implicit close).
 */
static int coroutine_fn select_zones(ZoneTable *t, const ZoneMgmt *m)
{
    const struct ZoneOpRules *rules = &zone_op_rules[m->op];
    ZoneNeeds needs = {};
    int ret = 0;

    for (uint32_t i = m->first; i <= m->last; i++) {
        Zone *z = zone_at(t, i);

        z->selected = selects_all(m) ? rules->all >> z->state & 1 &&
                                       attributes_allowed(m, z)
                                     : !zone_op_leaves(m->op, m->flags,
                                                       z->state);
        if (z->selected && m->flags & BDRV_ZONE_ZRWA &&
            z->state != BLK_ZS_EMPTY) {
            ret = -ENOTTY;
        } else if (z->selected && (!zone_op_allowed(m->op, z->state) ||
                                   !attributes_allowed(m, z))) {
            ret = -EINVAL;
        } else if (z->selected) {
            add_needs(t, m, i, &needs);
        }
        walk_pause(t, m, i);
    }
    return ret < 0 ? ret : check_needs(t, &needs);
}

static void close_zone(ZoneTable *t, uint32_t i, BlockZoneFlags flags)
{
    Zone *z = zone_at(t, i);
    bool to_empty = unpowered_state(t, i) == BLK_ZS_EMPTY &&
                    !(flags & BDRV_ZONE_CLOSE_EMPTY);

    if (to_empty && !zone_is_busy(z)) {
        enter_state(t, i, BLK_ZS_EMPTY);
    } else {
        /* zone_became_idle() will know whether anything was written */
        z->was_empty = to_empty;
        set_state(t, i, BLK_ZS_CLOSED);
    }
}

static void wait_for_state(Zone *z, BlockZoneState state)
{
    z->pending = PENDING_STATE;
    z->next_state = state;
}

static void wait_for_attributes(Zone *z, uint8_t settable)
{
    if ((z->attributes & BDRV_ZA_SETTABLE) != settable ||
        zone_attributes_state(z->state, settable) != z->state) {
        z->pending = PENDING_ATTRIBUTES;
        z->next_settable = settable;
    }
}

/* Do what needs no durability, note the rest as pending. */
static void start_zone(ZoneTable *t, ZoneMgmt *m, uint32_t i)
{
    Zone *z = zone_at(t, i);
    uint8_t zrwa = m->flags & BDRV_ZONE_ZRWA ? BDRV_ZA_ZRWA : 0;

    switch (m->op) {
    case BLK_ZO_OPEN:
        z->was_empty = false;
        if (z->state != BLK_ZS_EOPEN) {
            open_zone(t, i, BLK_ZS_EOPEN);
        }
        set_attributes(t, i, z->attributes | zrwa);
        break;
    case BLK_ZO_CLOSE:
        if (z->state != BLK_ZS_CLOSED) {
            close_zone(t, i, m->flags);
        }
        break;
    case BLK_ZO_POWER_CYCLE:
        close_zone(t, i, 0);
        break;
    case BLK_ZO_FORCE_REPAIR:
        if (needs_repair(z)) {
            wait_for_state(z, repaired_state(t, i));
            t->repairs += z->next_state == BLK_ZS_CLOSED;
        }
        break;
    case BLK_ZO_SET_EXT:
        /* Its resources are taken at once; should it fail, given back */
        set_state(t, i, BLK_ZS_CLOSED);
        set_attributes(t, i, zrwa);
        z->pending = PENDING_EXT;
        break;
    case BLK_ZO_ZRWA_COMMIT:
        z->pending = PENDING_COMMIT;
        break;
    case BLK_ZO_SET_ATTRIBUTES:
        wait_for_attributes(z, settable_attributes(m));
        break;
    default:
        if (z->state != zone_op_rules[m->op].to) {
            wait_for_state(z, zone_op_rules[m->op].to);
        }
        break;
    }
    m->busy_zones += z->pending != PENDING_NONE && zone_is_busy(z);
}

static void coroutine_fn start_zones(ZoneTable *t, ZoneMgmt *m)
{
    for (uint32_t i = m->first; i <= m->last; i++) {
        if (zone_at(t, i)->selected) {
            start_zone(t, m, i);
        }
        walk_pause(t, m, i);
    }
}

/* Explicit commit up to @wp, when no write is in progress */
static int commit_zrwa(ZoneTable *t, ZoneMgmt *m, uint64_t wp)
{
    const ZoneGeometry *g = &t->geometry;
    Zone *z = zone_at(t, m->first);
    uint64_t end = zone_writable_end(t, m->first);

    if (!zone_has_zrwa(z) || wp <= z->wp || wp > z->wp + g->zones.zrwa_size ||
        wp > end) {
        return -ENOTTY;
    }
    if (wp == end) {
        wait_for_state(z, BLK_ZS_FULL);
        return 0;
    }
    if ((wp - zone_start(t, m->first)) % g->zones.zrwa_granularity) {
        return -EINVAL;
    }
    m->wp_before = z->wp;
    z->wp = wp;
    return 0;
}

/* The writes have ended: let the records show what is to become durable. */
static void coroutine_fn mark_pending_dirty(ZoneTable *t, ZoneMgmt *m)
{
    for (uint32_t i = m->first; i <= m->last; i++) {
        Zone *z = zone_at(t, i);

        if (z->pending == PENDING_STATE && z->next_state == z->state) {
            /* A write has brought the state, or none after all */
            z->pending = PENDING_NONE;
        } else if (z->pending != PENDING_NONE && z->pending != PENDING_EXT) {
            mark_dirty(t, i);
        }
        walk_pause(t, m, i);
    }
}

int coroutine_fn zone_table_begin_mgmt(ZoneTable *t, ZoneMgmt *m,
                                       BlockZoneOp op, BlockZoneFlags flags,
                                       uint64_t offset, uint64_t bytes)
{
    int ret;

    if (bytes == 0 || !in_device(t, offset, bytes)) {
        return -EINVAL;
    }
    *m = (ZoneMgmt) {
        .op = op,
        .flags = flags | (op == BLK_ZO_POWER_CYCLE ? BDRV_ZONE_ALL : 0),
        .first = zone_index(t, offset),
        .last = zone_index(t, offset + bytes - 1),
        /*
         * Even where a zone is in the state wanted already: it may have got
         * there by a write, or out of it by an operation that failed, and
         * stable storage may not know.
         */
        .commit = zone_op_rules[op].durable,
    };
    ret = check_mgmt(t, m, offset, bytes);
    if (ret < 0) {
        return ret;
    }

    QEMU_LOCK_GUARD(&t->all);

    begin_turn(t, m);
    ret = select_zones(t, m);
    if (ret == 0) {
        start_zones(t, m);
        while (m->busy_zones) {
            qemu_co_queue_wait(&t->changed, &t->all);
        }
        if (op == BLK_ZO_ZRWA_COMMIT) {
            ret = commit_zrwa(t, m, offset + bytes);
        }
    }
    if (ret < 0) {
        zone_at(t, m->first)->pending = PENDING_NONE;
        end_turn(t, m);
        return ret;
    }
    if (m->commit) {
        mark_pending_dirty(t, m);
    }
    end_walk(t, m);
    return 0;
}

void zone_table_ext_written(ZoneTable *t, ZoneMgmt *m)
{
    QEMU_LOCK_GUARD(&t->all);

    set_attributes(t, m->first, zone_at(t, m->first)->attributes | BDRV_ZA_EXT);
    mark_dirty(t, m->first);
}

/*
 * Zone @i stays as it was.  Its record may say otherwise already: until it is
 * stored again, the zone counts as released.
 */
static void undo_zone(ZoneTable *t, const ZoneMgmt *m, uint32_t i)
{
    Zone *z = zone_at(t, i);

    if (z->pending == PENDING_EXT) {
        enter_state(t, i, BLK_ZS_EMPTY);
    } else if (z->pending == PENDING_COMMIT) {
        z->wp = m->wp_before;
    }
    mark_released(t, i);
}

/* A zone whose state stays has nothing else that changes. */
static void change_attributes(ZoneTable *t, uint32_t i)
{
    const Zone *z = zone_at(t, i);
    BlockZoneState state = next_state(z);

    set_attributes(t, i, zone_attributes_in(state, next_attributes(z)));
    if (state != z->state) {
        enter_state(t, i, state);
    }
}

static void end_zone(ZoneTable *t, const ZoneMgmt *m, uint32_t i, bool stored)
{
    Zone *z = zone_at(t, i);

    if (z->pending == PENDING_NONE) {
        return;
    }
    t->repairs -= m->op == BLK_ZO_FORCE_REPAIR &&
                  z->next_state == BLK_ZS_CLOSED;
    if (!stored) {
        undo_zone(t, m, i);
    } else if (z->pending == PENDING_STATE) {
        enter_state(t, i, z->next_state);
    } else if (z->pending == PENDING_ATTRIBUTES) {
        change_attributes(t, i);
    }
    z->pending = PENDING_NONE;
}

int coroutine_fn zone_table_end_mgmt(ZoneTable *t, ZoneMgmt *m, int ret)
{
    QEMU_LOCK_GUARD(&t->all);

    for (uint32_t i = m->first; m->commit && i <= m->last; i++) {
        end_zone(t, m, i, ret >= 0);
        walk_pause(t, m, i);
    }
    end_turn(t, m);
    return ret;
}

bool zone_mgmt_next_reset(ZoneTable *t, const ZoneMgmt *m, uint32_t *i)
{
    uint32_t end = MIN(m->last, *i + ZONES_PER_TURN) + 1;

    QEMU_LOCK_GUARD(&t->all);

    for (; *i < end; (*i)++) {
        const Zone *z = zone_at(t, *i);

        if (z->pending == PENDING_STATE && z->next_state == BLK_ZS_EMPTY) {
            return true;
        }
    }
    return false;
}

void coroutine_fn zone_table_begin_look(ZoneTable *t, ZoneMgmt *m,
                                        uint64_t offset)
{
    *m = (ZoneMgmt) {
        .first = zone_index(t, offset),
        .last = zone_index(t, offset),
    };

    QEMU_LOCK_GUARD(&t->all);

    begin_turn(t, m);
}

/* --- Looking --- */

void zone_table_report(ZoneTable *t, uint64_t offset, unsigned int *nr_zones,
                       BlockZoneDescriptor *zones)
{
    uint32_t first = zone_index(t, offset);
    unsigned int n;

    QEMU_LOCK_GUARD(&t->all);

    if (offset >= t->geometry.size) {
        *nr_zones = 0;
        return;
    }
    n = MIN(*nr_zones, t->geometry.zones.nr_zones - first);

    for (unsigned int k = 0; k < n; k++) {
        uint32_t i = first + k;
        const Zone *z = zone_at(t, i);
        bool full = z->state == BLK_ZS_FULL;

        zones[k] = (BlockZoneDescriptor) {
            .start = zone_start(t, i),
            .length = zone_geometry_end(&t->geometry, i) - zone_start(t, i),
            .cap = zone_writable_end(t, i) - zone_start(t, i),
            .wp = full ? zone_geometry_end(&t->geometry, i) : z->wp,
            .type = zone_is_conventional(t, i) ? BLK_ZT_CONV : BLK_ZT_SWR,
            .state = z->state,
            /* An extension is not there before it is durable */
            .attributes = z->attributes &
                          ~(z->pending == PENDING_EXT ? BDRV_ZA_EXT : 0),
        };
    }
    *nr_zones = n;
}

/*
 * Is all of the range data of one sequential zone?  The one answer that needs no
 * lock: most reads are of data, and then threads do not meet.  A request that
 * changes it at the same time comes before or after the caller's.
 */
static bool has_data(const ZoneTable *t, uint64_t offset, uint64_t bytes)
{
    const Zone *z = zone_at(t, zone_index(t, offset));

    return offset + bytes <= qatomic_read_u64(&z->data_end) &&
           qatomic_read(&z->state) != BLK_ZS_OFFLINE;
}

static int64_t one_kind(ZoneTable *t, uint64_t offset, uint64_t bytes,
                        bool ignore_offline, bool *data)
{
    uint64_t pos = offset, end = offset + bytes;
    uint64_t conventional_end = zone_start(t, t->geometry.conventional_zones);

    if (offset < conventional_end) {
        *data = true;
        return MIN(bytes, conventional_end - offset);
    }
    if (offset >= t->geometry.size) {
        *data = false;
        return bytes;
    }
    end = MIN(end, t->geometry.size);
    if (has_data(t, offset, bytes)) {
        *data = true;
        return bytes;
    }

    QEMU_LOCK_GUARD(&t->all);

    *data = offset < zone_at(t, zone_index(t, offset))->data_end;
    while (pos < end) {
        uint32_t i = zone_index(t, pos);
        uint64_t data_end = zone_at(t, i)->data_end;
        bool offline = zone_at(t, i)->state == BLK_ZS_OFFLINE && !ignore_offline;

        if (offline && pos == offset) {
            return -ENODEV;
        }
        if (offline || (pos < data_end) != *data) {
            break;
        }
        pos = *data ? data_end : zone_geometry_end(&t->geometry, i);
    }
    return MIN(pos, end) - offset;
}

int64_t zone_table_readable(ZoneTable *t, uint64_t offset, uint64_t bytes,
                            bool *data)
{
    return one_kind(t, offset, bytes, false, data);
}

int64_t zone_table_stored(ZoneTable *t, uint64_t offset, uint64_t bytes,
                          bool *data)
{
    return one_kind(t, offset, bytes, true, data);
}

void zone_table_count(ZoneTable *t, ZoneCounts *counts)
{
    QEMU_LOCK_GUARD(&t->all);

    memcpy(counts->in_state, t->count, sizeof(counts->in_state));
}

/* --- The store's side --- */

static uint8_t known_attributes(const ZoneTable *t)
{
    return BDRV_ZA_SETTABLE |
           (t->geometry.zones.ext_size ? BDRV_ZA_EXT : 0) |
           (t->geometry.zones.zrwa_size ? BDRV_ZA_ZRWA : 0);
}

static bool record_is_valid(const ZoneTable *t, uint32_t i,
                            const ZoneRecord *r)
{
    uint64_t start = zone_start(t, i);
    uint64_t end = zone_writable_end(t, i);

    if (r->state == BLK_ZS_NOT_WP) {
        return zone_is_conventional(t, i);
    }
    if (zone_is_conventional(t, i) || r->data_end < start ||
        r->data_end > end || (r->data_end | r->wp) % BDRV_SECTOR_SIZE ||
        (r->attributes & ~zone_attributes_in(r->state, known_attributes(t)))) {
        return false;
    }
    switch (r->state) {
    case BLK_ZS_EMPTY:
        return r->wp == start && r->data_end == start;
    case BLK_ZS_IOPEN:
    case BLK_ZS_EOPEN:
    case BLK_ZS_CLOSED:
        return r->wp >= start && r->wp < end &&
               (r->attributes & BDRV_ZA_ZRWA ?
                r->data_end <= r->wp + t->geometry.zones.zrwa_size :
                r->data_end == r->wp);
    case BLK_ZS_RDONLY:
    case BLK_ZS_OFFLINE:
        return r->wp >= start && r->wp <= end;
    case BLK_ZS_FULL:
        return r->wp == end;
    default:
        return false;
    }
}

bool zone_table_load(ZoneTable *t, uint32_t index, const ZoneRecord *record)
{
    Zone *z;

    if (!record_is_valid(t, index, record)) {
        return false;
    }
    z = zone_at(t, index);
    if (record->state == BLK_ZS_NOT_WP) {
        return true;
    }
    z->wp = record->wp;
    qatomic_set_u64(&z->data_end, record->data_end);
    z->epoch = record->epoch;
    set_attributes(t, index, record->attributes);
    if (z->state != record->state) {
        set_state(t, index, record->state);
    }
    return true;
}

void zone_table_position(ZoneTable *t, uint32_t index, uint64_t *wp,
                         uint64_t *data_end)
{
    QEMU_LOCK_GUARD(&zone_stripe(t, index)->mutex);

    *wp = zone_at(t, index)->wp;
    *data_end = zone_at(t, index)->data_end;
}

uint64_t zone_table_unused(ZoneTable *t, uint32_t index)
{
    QEMU_LOCK_GUARD(&zone_stripe(t, index)->mutex);

    return reserved_end(zone_at(t, index));
}

/* The record to store of zone @i now */
static void get_record(const ZoneTable *t, uint32_t i, bool live, ZoneRecord *r)
{
    const Zone *z = zone_at(t, i);
    BlockZoneState state = next_state(z);

    if (!live && zone_state_is_active(state)) {
        state = unpowered_state(t, i);
    }
    record_in_state(t, i, state, next_attributes(z), r);
}

void zone_table_record(ZoneTable *t, uint32_t index, bool live,
                       ZoneRecord *record)
{
    QEMU_LOCK_GUARD(&zone_stripe(t, index)->mutex);

    get_record(t, index, live, record);
}

unsigned int zone_table_records(ZoneTable *t, uint32_t first, unsigned int n,
                                bool live, ZoneRecord *records)
{
    QEMU_LOCK_GUARD(&t->all);

    n = MIN(n, t->geometry.zones.nr_zones - first);
    for (unsigned int k = 0; k < n; k++) {
        get_record(t, first + k, live, &records[k]);
    }
    return n;
}

void zone_table_clear(ZoneTable *t, uint32_t index)
{
    uint64_t start = zone_start(t, index);

    QEMU_LOCK_GUARD(&t->all);

    zone_table_load(t, index, &(ZoneRecord) {
        .state = BLK_ZS_EMPTY, .wp = start, .data_end = start,
    });
}

void zone_table_copy(ZoneTable *to, ZoneTable *from)
{
    QEMU_LOCK_GUARD(&to->all);

    for (uint32_t i = 0; i < to->geometry.zones.nr_zones; i++) {
        ZoneRecord r;

        zone_table_record(from, i, true, &r);
        zone_table_load(to, i, &r);
    }
}

/* Blocks in one snapshot at most: 262,144 zones, a few milliseconds */
#define SNAPSHOT_BLOCKS 1024

static void add_block(const ZoneTable *t, ZoneSnapshot *snap, uint32_t block,
                      bool live)
{
    uint32_t first = block << ZONE_DIRTY_SHIFT;
    uint32_t n = MIN(ZONE_BLOCK_RECORDS, t->geometry.zones.nr_zones - first);
    guint used = snap->records->len;

    g_array_append_val(snap->blocks, block);
    g_array_set_size(snap->records, used + ZONE_BLOCK_RECORDS);
    for (uint32_t k = 0; k < n; k++) {
        get_record(t, first + k, live,
                   &g_array_index(snap->records, ZoneRecord, used + k));
    }
}

/* Zones that became active again meanwhile have their resource. */
static void add_released(const ZoneTable *t, ZoneSnapshot *snap, uint32_t i)
{
    ZoneReleased released = { .zone = i };

    get_record(t, i, false, &released.record);
    if (!zone_state_is_active(released.record.state)) {
        g_array_append_val(snap->released, released);
    }
}

/* Records say it from now on. */
static void drop_tails(ZoneTable *t)
{
    ZoneTail *tail, *next;

    QLIST_FOREACH_SAFE(tail, &t->tails, next, next) {
        zone_at(t, tail->claim.zone)->has_tail = false;
        mark_dirty(t, tail->claim.zone);
        g_free(tail);
    }
    QLIST_INIT(&t->tails);
    t->nr_tails = 0;
    t->tail_bytes = 0;
}

ZoneSnapshot *zone_table_take_snapshot(ZoneTable *t, bool live)
{
    ZoneSnapshot *snap;
    uint32_t nr = nr_blocks(t), block;
    int64_t i;

    QEMU_LOCK_GUARD(&t->all);

    drop_tails(t);
    if (!t->nr_dirty) {
        return NULL;
    }
    snap = g_new(ZoneSnapshot, 1);
    *snap = (ZoneSnapshot) {
        .live = live,
        .blocks = g_array_new(false, false, sizeof(uint32_t)),
        .records = g_array_new(false, true, sizeof(ZoneRecord)),
        .released = g_array_new(false, false, sizeof(ZoneReleased)),
    };
    for (block = find_first_bit(t->dirty, nr);
         block < nr && snap->blocks->len < SNAPSHOT_BLOCKS;
         block = find_next_bit(t->dirty, nr, block + 1)) {
        clear_bit_atomic(block, t->dirty);
        t->nr_dirty--;
        add_block(t, snap, block, live);
    }
    snap->more = t->nr_dirty;
    while ((i = hbitmap_next_dirty(t->released, 0, INT64_MAX)) >= 0) {
        hbitmap_reset(t->released, i, 1);
        add_released(t, snap, i);
    }
    return snap;
}

void zone_table_drop_snapshot(ZoneTable *t, ZoneSnapshot *snap, bool stored)
{
    WITH_QEMU_LOCK_GUARD(&t->all) {
        for (guint b = 0; !stored && b < snap->blocks->len; b++) {
            mark_dirty(t, g_array_index(snap->blocks, uint32_t, b)
                          << ZONE_DIRTY_SHIFT);
        }
        for (guint r = 0; !stored && r < snap->released->len; r++) {
            mark_released(t, g_array_index(snap->released, ZoneReleased,
                                           r).zone);
        }
    }
    g_array_free(snap->blocks, true);
    g_array_free(snap->records, true);
    g_array_free(snap->released, true);
    g_free(snap);
}

static void mark_dirty_from(ZoneTable *t, uint32_t first)
{
    for (uint32_t b = first >> ZONE_DIRTY_SHIFT; b < nr_blocks(t); b++) {
        mark_dirty(t, b << ZONE_DIRTY_SHIFT);
    }
}

void zone_table_mark_dirty(ZoneTable *t, uint32_t first)
{
    QEMU_LOCK_GUARD(&t->all);

    mark_dirty_from(t, first);
}

bool zone_table_is_dirty(ZoneTable *t)
{
    QEMU_LOCK_GUARD(&t->all);

    return t->nr_dirty || t->nr_tails;
}

void zone_table_enable_claims(ZoneTable *t)
{
    t->claims = true;
}

static gint compare_claims(gconstpointer a, gconstpointer b)
{
    const ZoneClaim *left = a, *right = b;

    return left->zone < right->zone ? -1 : left->zone > right->zone;
}

static int get_claims(const ZoneTable *t, ZoneClaim *claims)
{
    ZoneTail *tail;
    int n = 0;

    if (t->nr_dirty) {
        return -1;
    }
    QLIST_FOREACH(tail, &t->tails, next) {
        claims[n++] = tail->claim;
    }
    return n;
}

int zone_table_get_claims(ZoneTable *t, ZoneClaim *claims)
{
    int n;

    WITH_QEMU_LOCK_GUARD(&t->all) {
        n = get_claims(t, claims);
    }
    if (n > 0) {
        qsort(claims, n, sizeof(claims[0]), compare_claims);
    }
    return n;
}

/* Add @w to the @n claims; returns how many there are then. */
static int add_claim(const ZoneTable *t, ZoneClaim *claims, int n,
                     const ZoneWrite *w)
{
    int k = 0;

    while (k < n && claims[k].zone != w->zone) {
        k++;
    }
    if (k == n) {
        claims[n++] = empty_claim(t, w->zone, w->start);
    }
    extend_claim(&claims[k], w);
    return n;
}

int zone_table_get_claims_with(ZoneTable *t, ZoneClaim *claims,
                               const ZoneWrite *w)
{
    int n = -1;

    WITH_QEMU_LOCK_GUARD(&t->all) {
        if (w->start == zone_at(t, w->zone)->data_end &&
            w->end < zone_writable_end(t, w->zone) && can_claim(t, w)) {
            n = add_claim(t, claims, get_claims(t, claims), w);
        }
    }
    if (n > 0) {
        qsort(claims, n, sizeof(claims[0]), compare_claims);
    }
    return n;
}

void zone_table_next_epoch(ZoneTable *t, uint32_t index, uint32_t taken)
{
    QEMU_LOCK_GUARD(&t->all);

    do {
        zone_at(t, index)->epoch = (zone_at(t, index)->epoch + 1) % ZONE_EPOCHS;
    } while (taken & 1 << zone_at(t, index)->epoch);
    mark_dirty(t, index);
}

/* --- Life --- */

static void init_zone(ZoneTable *t, uint32_t i)
{
    uint64_t start = zone_start(t, i);

    *zone_at(t, i) = (Zone) {
        .wp = start,
        .data_end = start,
        .state = zone_is_conventional(t, i) ? BLK_ZS_NOT_WP : BLK_ZS_EMPTY,
        .pending = PENDING_NONE,
    };
    QTAILQ_INIT(&zone_at(t, i)->writes);
}

static void move_zone(Zone *to, Zone *from)
{
    ZoneWrite *w;

    *to = *from;
    QTAILQ_INIT(&to->writes);
    while ((w = QTAILQ_FIRST(&from->writes))) {
        QTAILQ_REMOVE(&from->writes, w, next);
        QTAILQ_INSERT_TAIL(&to->writes, w, next);
    }
}

/* The zones from @first on change their length or go. */
static bool may_change_from(const ZoneTable *t, uint32_t first)
{
    const ZoneMgmt *m;

    QLIST_FOREACH(m, &t->mgmts, next) {
        if (m->last >= first) {
            return false;
        }
    }
    for (uint32_t i = first; i < t->geometry.zones.nr_zones; i++) {
        if (zone_at(t, i)->state != BLK_ZS_EMPTY) {
            return false;
        }
    }
    return true;
}

/* Of a million zones, most of the time to open is that of page faults */
static ZoneArray new_zones(uint32_t nr_zones)
{
    uint32_t per_stripe = ROUND_UP(DIV_ROUND_UP(nr_zones, STRIPES),
                                   ZONES_IN_LINES);
    size_t bytes = sizeof(Zone) * STRIPES * per_stripe;
    bool many = bytes > 8 * HUGE_PAGE;
    Zone *zones = qemu_memalign(many ? HUGE_PAGE : CACHE_LINE, bytes);

    if (many) {
        qemu_madvise(zones, bytes, QEMU_MADV_HUGEPAGE);
    }
    return (ZoneArray) { zones, per_stripe };
}

/* After the number of zones has changed, for which there were @old blocks */
static void resize_dirty(ZoneTable *t, uint32_t old)
{
    uint32_t nr = nr_blocks(t);

    if (nr < old) {
        t->nr_dirty -= bitmap_count_one_with_offset(t->dirty, nr, old - nr);
        bitmap_clear(t->dirty, nr, old - nr);
    } else {
        t->dirty = bitmap_zero_extend(t->dirty, old, nr);
    }
}

int zone_table_resize(ZoneTable *t, uint64_t size)
{
    uint32_t old_nr_zones = t->geometry.zones.nr_zones;
    uint64_t old_size = t->geometry.size;
    uint32_t nr_zones;
    ZoneArray old;

    QEMU_LOCK_GUARD(&t->all);

    if (size == old_size) {
        return 0;
    }
    if (!may_change_from(t, zone_index(t, MIN(size, old_size)))) {
        return -EBUSY;
    }
    t->geometry.size = size;
    nr_zones = zone_geometry_nr_zones(&t->geometry);
    t->geometry.zones.nr_zones = nr_zones;
    old = t->zones;
    t->zones = new_zones(nr_zones);
    for (uint32_t i = 0; i < MIN(nr_zones, old_nr_zones); i++) {
        move_zone(zone_at(t, i), zone_in(&old, i));
    }
    qemu_vfree(old.zones);
    for (uint32_t i = old_nr_zones; i < nr_zones; i++) {
        init_zone(t, i);
    }
    t->count[BLK_ZS_EMPTY] += nr_zones - old_nr_zones;
    resize_dirty(t, DIV_ROUND_UP(old_nr_zones, ZONE_BLOCK_RECORDS));
    hbitmap_truncate(t->released, nr_zones);
    return 0;
}

void zone_table_set_limits(ZoneTable *t, uint32_t max_open_zones,
                           uint32_t max_active_zones, uint64_t max_append)
{
    QEMU_LOCK_GUARD(&t->all);

    t->geometry.zones.max_open = max_open_zones;
    t->geometry.zones.max_active = max_active_zones;
    t->geometry.zones.max_append = max_append;
    while (max_open_zones && open_zones(t) > max_open_zones &&
           t->queue_first != NO_ZONE) {
        close_one(t);
    }
}

ZoneTable *zone_table_new(const ZoneGeometry *geometry)
{
    ZoneTable *t = g_new0(ZoneTable, 1);
    uint32_t nr_zones = zone_geometry_nr_zones(geometry);

    t->geometry = *geometry;
    t->geometry.zones.nr_zones = nr_zones;
    t->queue_first = t->queue_last = NO_ZONE;
    t->dirty = bitmap_new(nr_blocks(t));
    t->released = hbitmap_alloc(nr_zones, 0);
    t->zones = new_zones(nr_zones);
    t->stripes = qemu_memalign(sizeof(ZoneStripe),
                               STRIPES * sizeof(ZoneStripe));
    for (int k = 0; k < STRIPES; k++) {
        ZoneStripe *stripe = &t->stripes[k];

        qemu_mutex_init(&stripe->mutex);
        stripe->lock = *QEMU_MAKE_LOCKABLE(&stripe->mutex);
        stripe->writes = 0;
    }
    t->all = (QemuLockable) {
        .object = t,
        .lock = lock_all,
        .unlock = unlock_all,
    };
    qemu_mutex_init(&t->records_lock);
    qemu_co_queue_init(&t->changed);
    QLIST_INIT(&t->mgmts);
    QLIST_INIT(&t->tails);

    for (uint32_t i = 0; i < nr_zones; i++) {
        init_zone(t, i);
    }
    t->count[BLK_ZS_NOT_WP] = geometry->conventional_zones;
    t->count[BLK_ZS_EMPTY] = nr_zones - geometry->conventional_zones;
    return t;
}

void zone_table_free(ZoneTable *t)
{
    if (!t) {
        return;
    }
    assert(QLIST_EMPTY(&t->mgmts));
    drop_tails(t);
    g_free(t->dirty);
    hbitmap_free(t->released);
    for (int k = 0; k < STRIPES; k++) {
        qemu_mutex_destroy(&t->stripes[k].mutex);
    }
    qemu_vfree(t->stripes);
    qemu_mutex_destroy(&t->records_lock);
    qemu_vfree(t->zones.zones);
    g_free(t);
}
