/*
 * Zoned qcow2: the space that zones have on the host
 *
 * One word for each zone says how much of it has space, and whether the rest is
 * to be given back.  A hole is punched only where the zone holds nothing, and
 * nothing is being written:
 *
 *  - who punches marks the zone first (HOLE_BUSY), and then asks the zone table
 *    where the part without data and writes begins;
 *  - who writes has reserved the range in the zone table first, and then looks
 *    for that mark.
 *
 * So either the hole begins above the write, or the write waits for the hole.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "block/set-space.h"
#include "block/zoned-range.h"
#include "qcow2-zoned-int.h"
#include "qcow2-zoned-space.h"
#include "trace.h"

/* Space is allocated in steps of this part of what has been written */
#define STEP_FRACTION 8
#define MIN_STEP (1 * MiB)
/* Of a zone that is written by this process, each is at most twice the last one */
#define MAX_STEP_SHIFT 6        /* 64 MiB */
/* The next step begins when no more than this part of one is left */
#define AHEAD_FRACTION 2
/* The host locks the file for each, so more would only occupy threads */
#define MAX_STEPS_IN_FLIGHT 4
/* After an error of the host, none for so long */
#define RETRY_MS 10000

/* One hole takes the host a few milliseconds, and others wait for the file ... */
#define MAX_HOLE (16 * MiB)
/* ... but no time where there is nothing */
#define MAX_EMPTY_HOLE (1 * GiB)
#define EMPTY_HOLE_NS (100 * SCALE_US)
/* What holes are aligned to on the host, where they do not begin with a zone */
#define HOLE_ALIGNMENT (64 * KiB)
#define FINISH_MS 2000
/* Resets that follow each other so soon have their holes together ... */
#define SETTLE_NS (10 * SCALE_MS)
/* ... but for so long only */
#define MAX_SETTLE_NS (1000 * SCALE_MS)
/* While others use the disk: so much longer than a hole takes, until the next */
#define PAUSE_FACTOR 8
#define MAX_SLEEP_NS (10 * SCALE_MS)
/* What is done with the lock, which others wait for */
#define ZONES_PER_TURN 1024
/* For zoned_co_pause(): what it takes to find out that there is no hole */
#define ZONES_PER_HOLE 64

/* --- What is known of each zone --- */

#define HOLE_WANTED BIT(31)     /* what is not in use is to be given back */
#define HOLE_BUSY BIT(30)       /* as of now; writes wait */
#define HOLE_LATER BIT(29)      /* when the reset has ended */
#define HOLE_DONE BIT(28)       /* nothing to give back, unless it was written */
/* The next step is at most MIN_STEP << this */
#define STEP_SHIFT 25
#define STEP_MASK (7U << STEP_SHIFT)
/* So many units from the zone's start on have space, or will have it soon */
#define UNITS_MASK ((1U << STEP_SHIFT) - 1)
#define UNIT (64 * KiB)

QEMU_BUILD_BUG_ON((UNITS_MASK + 1ULL) * UNIT < 1 * TiB);

typedef struct SpaceMap {
    struct rcu_head rcu;
    uint32_t nr_zones;
    uint32_t zones[];           /* atomic */
} SpaceMap;

struct Qcow2ZonedSpace {
    SpaceMap *map;              /* RCU */
    unsigned int steps;         /* in flight; atomic */
    int64_t retry_at;           /* no step before; ms, atomic */
    unsigned int given_back;    /* how often; atomic */
    bool busy;                  /* there have been writes or resets; atomic */
    bool reset;                 /* there have been resets; atomic */
    CoMutex hole_lock;          /* one hole at a time */
    QemuMutex lock;             /* of what follows, and to set or clear flags */
    CoQueue hole_done;          /* writes that wait */
    /* Zones with HOLE_WANTED are among these */
    uint32_t first, last;
    /* Of zone @partial, holes above @partial_end are done */
    uint32_t partial;
    uint64_t partial_end;
    uint64_t hole_start;        /* 0: not known yet */
    uint64_t hole_bytes;        /* at most, in the next one; under hole_lock */
    bool running;               /* the coroutine that punches holes */
};

#define NO_ZONE UINT32_MAX

static Qcow2ZonedSpace *get_space(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    return s->zoned->space;
}

static uint32_t get_word(Qcow2ZonedSpace *sp, uint32_t zone)
{
    RCU_READ_LOCK_GUARD();

    return qatomic_read(&qatomic_rcu_read(&sp->map)->zones[zone]);
}

/* Clear these bits of the word and set those; returns what it was. */
static uint32_t change_word(Qcow2ZonedSpace *sp, uint32_t zone, uint32_t clear,
                            uint32_t set)
{
    uint32_t *word, old;

    RCU_READ_LOCK_GUARD();

    word = &qatomic_rcu_read(&sp->map)->zones[zone];
    do {
        old = qatomic_read(word);
    } while (qatomic_cmpxchg(word, old, (old & ~clear) | set) != old);
    return old;
}

static uint64_t allocated(uint32_t word)
{
    return (uint64_t)(word & UNITS_MASK) * UNIT;
}

Qcow2ZonedSpace *qcow2_zoned_space_new(void)
{
    Qcow2ZonedSpace *sp = g_new0(Qcow2ZonedSpace, 1);

    qemu_co_mutex_init(&sp->hole_lock);
    qemu_mutex_init(&sp->lock);
    qemu_co_queue_init(&sp->hole_done);
    sp->first = NO_ZONE;
    sp->partial = NO_ZONE;
    sp->hole_bytes = MAX_HOLE;
    return sp;
}

void qcow2_zoned_space_free(Qcow2ZonedSpace *sp)
{
    if (sp) {
        qemu_mutex_destroy(&sp->lock);
        g_free(sp->map);
        g_free(sp);
    }
}

void qcow2_zoned_space_forget(Qcow2ZonedSpace *sp, uint32_t nr_zones)
{
    SpaceMap *map = sp->map;

    QEMU_LOCK_GUARD(&sp->lock);

    sp->first = NO_ZONE;
    sp->last = 0;
    sp->partial = NO_ZONE;
    if (map && map->nr_zones == nr_zones) {
        for (uint32_t i = 0; i < nr_zones; i++) {
            /* Memory that was never written need not be there */
            if (qatomic_read(&map->zones[i])) {
                qatomic_and(&map->zones[i], HOLE_BUSY);
            }
        }
        return;
    }
    map = g_malloc0(sizeof(*map) + nr_zones * sizeof(map->zones[0]));
    map->nr_zones = nr_zones;
    map = qatomic_xchg(&sp->map, map);
    if (map) {
        g_free_rcu(map, rcu);
    }
}

/* --- Holes --- */

typedef struct Hole {
    uint32_t first, last;       /* zones */
    uint64_t start, host, bytes;
    uint64_t below;             /* if not 0, there can be another one below */
} Hole;

/* What the zone has in the file ends here: with its last cluster. */
static uint64_t place_end(BlockDriverState *bs, uint32_t zone)
{
    BDRVQcow2State *s = bs->opaque;
    const ZoneGeometry *g = s->zoned->geometry;

    return QEMU_ALIGN_UP(zone_geometry_writable_end(g, zone), s->cluster_size);
}

/*
 * The hole that @zone can have in [zone start + @floor, @end), in the last step of
 * its mapping there: no bytes if there is none, or that is not in one piece.
 */
static void coroutine_fn GRAPH_RDLOCK
find_hole(BlockDriverState *bs, uint32_t zone, uint64_t floor, uint64_t end,
          Hole *h)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t unused = zone_table_unused(s->zoned->table, zone);
    uint64_t start = zone_geometry_start(s->zoned->geometry, zone) + floor;
    uint64_t map_step;

    *h = (Hole) {
        .first = zone,
        .last = zone,
        .start = MAX(unused, start),
    };
    if (h->start >= end) {
        return;
    }
    map_step = qcow2_zoned_map_step_start(bs, end - 1);
    if (h->start < map_step) {
        h->start = h->below = map_step;
    }
    if (!qcow2_zoned_find_extent(bs, h->start, unused <= map_step, &h->host)) {
        return;
    }
    if (h->start > map_step) {
        uint64_t pad = ROUND_UP(h->host, HOLE_ALIGNMENT) - h->host;

        h->start += pad;
        h->host += pad;
    }
    h->bytes = h->start < end ? end - h->start : 0;
}

/*
 * From here on, writes to the zone wait; see the top of the file.  Unless more
 * is wanted meanwhile, this is the zone's last hole.
 */
static void claim_locked(Qcow2ZonedSpace *sp, uint32_t zone)
{
    change_word(sp, zone, HOLE_WANTED, HOLE_BUSY | HOLE_DONE);
}

static void want_hole_locked(Qcow2ZonedSpace *sp, uint32_t zone)
{
    change_word(sp, zone, HOLE_LATER | HOLE_DONE, HOLE_WANTED);
    sp->first = MIN(sp->first, zone);
    sp->last = MAX(sp->last, zone);
}

/*
 * Claim the last zone that wants a hole, which is to be below *@end: disks are
 * written upwards, and what is written again soon can keep its space.
 */
static bool claim_next(BlockDriverState *bs, uint32_t *zone, uint64_t *end)
{
    Qcow2ZonedSpace *sp = get_space(bs);

    QEMU_LOCK_GUARD(&sp->lock);

    for (uint32_t i = sp->last; i >= sp->first; i--) {
        if (get_word(sp, i) & HOLE_WANTED) {
            *zone = sp->last = i;
            *end = i == sp->partial ? sp->partial_end : place_end(bs, i);
            sp->partial = NO_ZONE;
            claim_locked(sp, i);
            return true;
        }
        if (i == 0) {
            break;
        }
    }
    sp->first = NO_ZONE;
    sp->last = 0;
    return false;
}

static bool claim(Qcow2ZonedSpace *sp, uint32_t zone)
{
    QEMU_LOCK_GUARD(&sp->lock);

    if (!(get_word(sp, zone) & HOLE_WANTED) || zone == sp->partial) {
        return false;
    }
    claim_locked(sp, zone);
    return true;
}

/* Writes to these zones can go on; with @again, the zone still wants a hole. */
static void unclaim(Qcow2ZonedSpace *sp, uint32_t first, uint32_t last,
                    bool again)
{
    QEMU_LOCK_GUARD(&sp->lock);

    for (uint32_t i = first; i <= last; i++) {
        change_word(sp, i, HOLE_BUSY, 0);
        if (again) {
            want_hole_locked(sp, i);
        }
    }
    sp->hole_start = 0;
    qemu_co_queue_restart_all(&sp->hole_done);
}

/* Zones before it, also in the file, go into the same hole. */
static void coroutine_fn GRAPH_RDLOCK
join_zones(BlockDriverState *bs, Hole *h)
{
    Qcow2ZonedSpace *sp = get_space(bs);
    BDRVQcow2State *s = bs->opaque;

    while (h->bytes < sp->hole_bytes && h->first && claim(sp, h->first - 1)) {
        uint32_t zone = h->first - 1;
        uint64_t start = zone_geometry_start(s->zoned->geometry, zone);
        Hole next;

        find_hole(bs, zone, allocated(get_word(sp, zone)),
                  place_end(bs, zone), &next);
        if (next.start != start || !next.bytes ||
            next.host + next.bytes != h->host ||
            next.bytes + h->bytes > sp->hole_bytes) {
            unclaim(sp, zone, zone, true);
            break;
        }
        h->first = zone;
        h->start = start;
        h->host = next.host;
        h->bytes += next.bytes;
    }
}

/* Writes that go elsewhere need not wait. */
static void publish_hole(Qcow2ZonedSpace *sp, const Hole *h)
{
    QEMU_LOCK_GUARD(&sp->lock);

    sp->hole_start = h->start;
    qemu_co_queue_restart_all(&sp->hole_done);
}

/* Keep that the zone wants another hole, below @end. */
static void want_rest(Qcow2ZonedSpace *sp, uint32_t zone, uint64_t end)
{
    QEMU_LOCK_GUARD(&sp->lock);

    /* Unless it has been reset again */
    if (!(get_word(sp, zone) & HOLE_WANTED)) {
        want_hole_locked(sp, zone);
        sp->partial = zone;
        sp->partial_end = end;
    }
}

/* Most of a large zone that has hardly been written is empty. */
static void learn_size(Qcow2ZonedSpace *sp, int64_t ns)
{
    sp->hole_bytes = ns > EMPTY_HOLE_NS ? MAX_HOLE
                                        : MIN(sp->hole_bytes * 2, MAX_EMPTY_HOLE);
}

static void coroutine_fn GRAPH_RDLOCK punch(BlockDriverState *bs, const Hole *h)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2ZonedSpace *sp = get_space(bs);
    int64_t start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    int ret;

    publish_hole(sp, h);
    ret = bdrv_co_pdiscard(s->data_file, h->host, h->bytes);
    trace_qcow2_zoned_punch(bs, h->first, h->last, h->host, h->bytes, ret);
    if (ret == 0) {
        qatomic_inc(&sp->given_back);
        learn_size(sp, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start);
    }
}

/*
 * Punch the next hole that a reset zone, or adjacent ones, want; of a large
 * zone the last part first.  Returns false if none does.  Called with
 * hole_lock.
 */
static bool coroutine_fn GRAPH_RDLOCK punch_next(BlockDriverState *bs)
{
    Qcow2ZonedSpace *sp = get_space(bs);
    uint32_t zone;
    uint64_t end;
    Hole h;

    if (!claim_next(bs, &zone, &end)) {
        return false;
    }
    find_hole(bs, zone, allocated(get_word(sp, zone)), end, &h);
    if (h.bytes > sp->hole_bytes) {
        uint64_t rest = h.bytes - sp->hole_bytes;

        h.below = h.start += rest;
        h.host += rest;
        h.bytes = sp->hole_bytes;
    }
    if (h.below) {
        want_rest(sp, zone, h.below);
    } else if (h.bytes) {
        join_zones(bs, &h);
    }
    if (h.bytes) {
        punch(bs, &h);
    }
    unclaim(sp, h.first, h.last, false);
    return true;
}

/* --- Resets --- */

void qcow2_zoned_space_unused(BlockDriverState *bs, uint32_t i)
{
    /* The zone table does not show the zone as empty yet */
    change_word(get_space(bs), i, UNITS_MASK | STEP_MASK, HOLE_LATER);
}

/*
 * Has the zone something to give back?  Also if it was empty before the reset: a
 * crash may have come before the hole.
 */
static bool wants_hole(BlockDriverState *bs, uint32_t i)
{
    BDRVQcow2State *s = bs->opaque;
    const ZoneGeometry *g = s->zoned->geometry;
    uint32_t word = get_word(s->zoned->space, i);

    if (word & HOLE_LATER) {
        return true;
    }
    return !(word & (HOLE_DONE | HOLE_WANTED)) &&
           !zone_geometry_conventional(g, i) &&
           zone_table_unused(s->zoned->table, i) == zone_geometry_start(g, i);
}

static void want_holes(BlockDriverState *bs, uint32_t first, uint32_t last)
{
    Qcow2ZonedSpace *sp = get_space(bs);

    /* Nested, it costs next to nothing */
    RCU_READ_LOCK_GUARD();
    QEMU_LOCK_GUARD(&sp->lock);

    for (uint32_t i = first; i <= last; i++) {
        if (wants_hole(bs, i)) {
            want_hole_locked(sp, i);
            if (sp->partial == i) {
                sp->partial = NO_ZONE;
            }
        }
    }
}

void coroutine_fn qcow2_zoned_space_give_back(BlockDriverState *bs,
                                              uint32_t first, uint32_t last)
{
    Qcow2ZonedSpace *sp = get_space(bs);
    uint64_t work = 0;

    for (uint32_t i = first, n; i <= last; i += n) {
        n = MIN(last - i + 1, ZONES_PER_TURN);
        want_holes(bs, i, i + n - 1);
        zoned_co_pause(&work, n);
    }
    qatomic_set(&sp->reset, true);
    qatomic_set(&sp->busy, true);
    qcow2_zoned_space_start(bs);
}

static void forget_holes(Qcow2ZonedSpace *sp)
{
    QEMU_LOCK_GUARD(&sp->lock);

    for (uint32_t i = sp->first; i <= sp->last; i++) {
        change_word(sp, i, HOLE_WANTED, 0);
    }
    sp->first = NO_ZONE;
    sp->last = 0;
}

static bool GRAPH_RDLOCK may_punch(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    return bs->drv && bdrv_is_writable(bs) &&
           (s->data_file->perm & BLK_PERM_WRITE);
}

static bool should_run(BlockDriverState *bs)
{
    Qcow2ZonedSpace *sp = get_space(bs);

    return sp->first <= sp->last && !qatomic_read(&bs->quiesce_counter);
}

/* Is it over, or has more to do come up in the last moment? */
static bool stop_running(BlockDriverState *bs)
{
    Qcow2ZonedSpace *sp = get_space(bs);

    QEMU_LOCK_GUARD(&sp->lock);

    sp->running = should_run(bs);
    return !sp->running;
}

/* A flush is slower when holes are punched beside it, and resets flush. */
static void coroutine_fn settle(BlockDriverState *bs)
{
    Qcow2ZonedSpace *sp = get_space(bs);
    int64_t end = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + MAX_SETTLE_NS;

    do {
        qatomic_set(&sp->reset, false);
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, SETTLE_NS);
    } while (qatomic_read(&sp->reset) &&
             !qatomic_read(&bs->quiesce_counter) &&
             qemu_clock_get_ns(QEMU_CLOCK_REALTIME) < end);
}

/*
 * Holes hold up all that uses the file, so while the disk is being used they
 * take a small part of the time.
 */
static void coroutine_fn pause_if_busy(BlockDriverState *bs, int64_t hole_ns)
{
    int64_t end = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + hole_ns * PAUSE_FACTOR;

    if (!qatomic_xchg(&get_space(bs)->busy, false)) {
        return;
    }
    for (;;) {
        int64_t rest = end - qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

        if (rest <= 0 || qatomic_read(&bs->quiesce_counter)) {
            break;
        }
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, MIN(rest, MAX_SLEEP_NS));
    }
}

static bool coroutine_fn punch_in_background(BlockDriverState *bs)
{
    Qcow2ZonedSpace *sp = get_space(bs);
    bool more;

    GRAPH_RDLOCK_GUARD();

    if (!may_punch(bs)) {
        forget_holes(sp);
        return false;
    }
    qemu_co_mutex_lock(&sp->hole_lock);
    more = punch_next(bs);
    qemu_co_mutex_unlock(&sp->hole_lock);
    return more;
}

static void coroutine_fn punch_entry(void *opaque)
{
    BlockDriverState *bs = opaque;
    uint64_t work = 0;

    settle(bs);
    do {
        /* A drained section begins after at most one hole. */
        while (!qatomic_read(&bs->quiesce_counter)) {
            int64_t start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

            if (!punch_in_background(bs)) {
                break;
            }
            pause_if_busy(bs, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start);
            zoned_co_pause(&work, ZONES_PER_HOLE);
        }
    } while (!stop_running(bs));
    bdrv_dec_in_flight(bs);
}

static bool begin_running(BlockDriverState *bs)
{
    Qcow2ZonedSpace *sp = get_space(bs);

    QEMU_LOCK_GUARD(&sp->lock);

    if (sp->running || !should_run(bs)) {
        return false;
    }
    sp->running = true;
    return true;
}

void qcow2_zoned_space_start(BlockDriverState *bs)
{
    if (begin_running(bs)) {
        bdrv_inc_in_flight(bs);
        aio_co_schedule(bdrv_get_aio_context(bs),
                        qemu_coroutine_create(punch_entry, bs));
    }
}

typedef struct Finish {
    BlockDriverState *bs;
    int64_t deadline;
    bool done;
} Finish;

static void coroutine_fn GRAPH_RDLOCK finish_until(BlockDriverState *bs,
                                                   int64_t deadline)
{
    Qcow2ZonedSpace *sp = get_space(bs);

    qemu_co_mutex_lock(&sp->hole_lock);
    while (may_punch(bs) &&
           qemu_clock_get_ms(QEMU_CLOCK_REALTIME) < deadline &&
           punch_next(bs)) {
        /* next */
    }
    qemu_co_mutex_unlock(&sp->hole_lock);
    forget_holes(sp);
}

static void coroutine_fn finish_entry(void *opaque)
{
    Finish *finish = opaque;

    WITH_GRAPH_RDLOCK_GUARD() {
        finish_until(finish->bs, finish->deadline);
    }
    finish->done = true;
    aio_wait_kick();
}

/*
 * A data file may be written while there is somebody who may write the disk, and
 * when an image is closed there is nobody any more.
 */
static void GRAPH_RDLOCK allow_punching(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    if (bdrv_is_writable(bs) && !(s->data_file->perm & BLK_PERM_WRITE)) {
        bdrv_child_try_set_perm(s->data_file,
                                s->data_file->perm | BLK_PERM_WRITE,
                                s->data_file->shared_perm, NULL);
    }
}

void coroutine_mixed_fn qcow2_zoned_space_finish(BlockDriverState *bs)
{
    Qcow2ZonedSpace *sp = get_space(bs);
    Finish finish = {
        .bs = bs,
        .deadline = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + FINISH_MS,
    };

    if (sp->first > sp->last) {
        return;
    }
    if (qemu_in_coroutine()) {
        finish_until(bs, finish.deadline);
        return;
    }
    allow_punching(bs);
    aio_co_enter(bdrv_get_aio_context(bs),
                 qemu_coroutine_create(finish_entry, &finish));
    BDRV_POLL_WHILE(bs, !finish.done);
}

void qcow2_zoned_space_drop(BlockDriverState *bs)
{
    Qcow2ZonedSpace *sp = get_space(bs);

    forget_holes(sp);
    BDRV_POLL_WHILE(bs, qatomic_read(&sp->running));
}

/* --- Writes --- */

/* Does the hole go where the write does, or is that not known yet? */
static bool must_wait(Qcow2ZonedSpace *sp, const ZoneWrite *w)
{
    return (get_word(sp, w->zone) & HOLE_BUSY) && w->end > sp->hole_start;
}

void coroutine_fn qcow2_zoned_space_wait(BlockDriverState *bs,
                                         const ZoneWrite *w)
{
    Qcow2ZonedSpace *sp = get_space(bs);

    if (!qatomic_read(&sp->busy)) {
        qatomic_set(&sp->busy, true);
    }
    if (likely(!(get_word(sp, w->zone) & HOLE_BUSY))) {
        return;
    }
    QEMU_LOCK_GUARD(&sp->lock);
    while (must_wait(sp, w)) {
        qemu_co_queue_wait(&sp->hole_done, &sp->lock);
    }
}

typedef struct Step {
    BlockDriverState *bs;
    uint32_t zone;
    uint64_t start, bytes;
} Step;

/* Give back what zone @zone has ahead of its writer. */
static void coroutine_fn GRAPH_RDLOCK
give_back(BlockDriverState *bs, uint32_t zone)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2ZonedSpace *sp = get_space(bs);
    uint64_t start = zone_geometry_start(s->zoned->geometry, zone);
    Hole h = {
        .below = MIN(start + allocated(get_word(sp, zone)),
                     place_end(bs, zone)),
    };

    while (h.below) {
        WITH_QEMU_LOCK_GUARD(&sp->lock) {
            change_word(sp, zone, 0, HOLE_BUSY);
        }
        find_hole(bs, zone, 0, h.below, &h);
        if (h.bytes) {
            int ret;

            publish_hole(sp, &h);
            ret = bdrv_co_set_space(s->data_file, h.host, h.bytes, false);
            trace_qcow2_zoned_give_back(bs, zone, h.host, h.bytes, ret);
            if (ret == 0) {
                change_word(sp, zone, UNITS_MASK | STEP_MASK,
                            DIV_ROUND_UP(h.start - start, UNIT));
                qatomic_inc(&sp->given_back);
            }
        }
        unclaim(sp, zone, zone, false);
    }
}

/* Without fallocate() never again; a host that is full may get space. */
static void set_retry(Qcow2ZonedSpace *sp, int error)
{
    qatomic_set_i64(&sp->retry_at,
                    error == -ENOTSUP ? INT64_MAX :
                    qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + RETRY_MS);
}

static void coroutine_fn GRAPH_RDLOCK allocate(const Step *step)
{
    BlockDriverState *bs = step->bs;
    BDRVQcow2State *s = bs->opaque;
    Qcow2ZonedSpace *sp = get_space(bs);
    uint64_t host;
    int ret;

    if (!bs->drv ||
        !qcow2_zoned_find_extent(bs, step->start, false, &host)) {
        return;
    }
    ret = bdrv_co_set_space(s->data_file, host, step->bytes, true);
    trace_qcow2_zoned_allocate(bs, step->zone, host, step->bytes, ret);
    if (ret == 0) {
        return;
    }
    set_retry(sp, ret);
    if (ret == -ENOSPC) {
        /* The host may have got a part of it, which others need. */
        qemu_co_mutex_lock(&sp->hole_lock);
        give_back(bs, step->zone);
        qemu_co_mutex_unlock(&sp->hole_lock);
    }
}

static void coroutine_fn allocate_entry(void *opaque)
{
    Step *step = opaque;
    BlockDriverState *bs = step->bs;

    WITH_GRAPH_RDLOCK_GUARD() {
        allocate(step);
    }
    g_free(step);
    qatomic_dec(&get_space(bs)->steps);
    bdrv_dec_in_flight(bs);
}

static bool may_begin_step(Qcow2ZonedSpace *sp)
{
    int64_t retry_at = qatomic_read_i64(&sp->retry_at);

    if (retry_at == INT64_MAX ||
        (retry_at && qemu_clock_get_ms(QEMU_CLOCK_REALTIME) < retry_at)) {
        return false;
    }
    if (qatomic_fetch_inc(&sp->steps) >= MAX_STEPS_IN_FLIGHT) {
        qatomic_dec(&sp->steps);
        return false;
    }
    return true;
}

/*
 * A zone with this word is to have so much more.  Below where the first write found
 * the write pointer there may be no space, but zeroes: begin with small steps.
 */
static uint64_t step_size(uint32_t word)
{
    uint64_t part = QEMU_ALIGN_DOWN(allocated(word) / STEP_FRACTION, UNIT);
    uint64_t most = (uint64_t)MIN_STEP << ((word & STEP_MASK) >> STEP_SHIFT);

    return MIN(MAX(part, MIN_STEP), most);
}

/* What the word becomes when there is space up to @to. */
static uint32_t word_after_step(uint32_t word, uint64_t to)
{
    uint32_t shift = MIN(((word & STEP_MASK) >> STEP_SHIFT) + 1, MAX_STEP_SHIFT);

    return (word & ~(UNITS_MASK | STEP_MASK | HOLE_DONE)) |
           shift << STEP_SHIFT | DIV_ROUND_UP(to, UNIT);
}

/* The zone, whose word is @word, is written up to @end of @size. */
static void coroutine_fn begin_step(BlockDriverState *bs, uint32_t zone,
                                    uint64_t end, uint32_t word, uint64_t size)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2ZonedSpace *sp = get_space(bs);
    uint64_t from = MAX(end, allocated(word));
    uint64_t to = MIN(QEMU_ALIGN_DOWN(from, UNIT) + step_size(word), size);
    uint32_t new = word_after_step(word, to);
    uint32_t *p;
    Step *step;

    if (!may_begin_step(sp)) {
        return;
    }
    WITH_RCU_READ_LOCK_GUARD() {
        p = &qatomic_rcu_read(&sp->map)->zones[zone];
        if (qatomic_cmpxchg(p, word, new) != word) {
            qatomic_dec(&sp->steps);
            return;
        }
    }
    step = g_new(Step, 1);
    *step = (Step) {
        .bs = bs,
        .zone = zone,
        .start = zone_geometry_start(s->zoned->geometry, zone) + from,
        .bytes = to - from,
    };
    bdrv_inc_in_flight(bs);
    /* Goes on when the caller has submitted its write, and waits for it */
    aio_co_enter(qemu_get_current_aio_context(),
                 qemu_coroutine_create(allocate_entry, step));
}

void coroutine_fn qcow2_zoned_space_ahead(BlockDriverState *bs,
                                          const ZoneWrite *w)
{
    BDRVQcow2State *s = bs->opaque;
    const ZoneGeometry *g = s->zoned->geometry;
    uint64_t start = zone_geometry_start(g, w->zone);
    /* What is mapped */
    uint64_t size = MIN(zone_geometry_writable_end(g, w->zone),
                        qcow2_zoned_map_step_end(bs, w->end - 1)) - start;
    uint64_t end = w->end - start;
    uint32_t word = get_word(s->zoned->space, w->zone);
    uint64_t ahead = step_size(word) / AHEAD_FRACTION;

    if (end < size && allocated(word) < MIN(end + ahead, size)) {
        begin_step(bs, w->zone, end, word, size);
    }
}

unsigned int qcow2_zoned_space_given_back(BlockDriverState *bs)
{
    return qatomic_read(&get_space(bs)->given_back);
}

bool coroutine_fn qcow2_zoned_space_full(BlockDriverState *bs,
                                         unsigned int given_back)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2ZonedSpace *sp = get_space(bs);
    const ZoneGeometry *g = s->zoned->geometry;

    set_retry(sp, -ENOSPC);
    qemu_co_mutex_lock(&sp->hole_lock);
    while (may_punch(bs) && punch_next(bs)) {
        /* next */
    }
    for (uint32_t i = g->conventional_zones; i < g->zones.nr_zones; i++) {
        if (allocated(get_word(sp, i)) && bs->drv) {
            give_back(bs, i);
        }
    }
    qemu_co_mutex_unlock(&sp->hole_lock);
    return qcow2_zoned_space_given_back(bs) != given_back;
}
