/*
 * Unit tests of the zone table: requests from several threads
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "iothread.h"
#include "qapi/error.h"
#include "zone-table-harness.h"

#define NR_THREADS      4
#define NR_WORKERS      6       /* per thread */
#define NR_STEPS        10000   /* per worker */
#define STRESS_ZONES    5
#define STRESS_OPEN     2
#define STRESS_ACTIVE   4
#define STRESS_AREAS    3
#define ZONE_BLOCKS     (ZONE / BLOCK)

/* An acknowledged write, and how many resets of the zone came before it */
typedef struct Acknowledged {
    uint32_t zone;
    unsigned int epoch;
    uint64_t start, end;
} Acknowledged;

typedef struct Stress {
    ZoneTable *t;
    bool claims;
    int running;                                    /* workers; atomic */
    unsigned int next;                              /* worker; atomic */
    unsigned int epoch[STRESS_ZONES];               /* resets; atomic */
    uint8_t busy[STRESS_ZONES * ZONE_BLOCKS];       /* being written; atomic */
} Stress;

typedef struct Worker {
    Stress *s;
    AioContext *ctx;
    GRand *rand;
    GArray *acknowledged;
} Worker;

/* I/O takes its time, and other requests go on meanwhile. */
static void coroutine_fn stress_io(Worker *w)
{
    for (int n = g_rand_int_range(w->rand, 0, 4); n; n--) {
        aio_co_schedule(w->ctx, qemu_coroutine_self());
        qemu_coroutine_yield();
    }
}

/* Nobody else may write to these blocks between begin and end. */
static void stress_mark_busy(Stress *s, const ZoneWrite *zw, bool busy)
{
    for (uint64_t b = zw->start / BLOCK; b < zw->end / BLOCK; b++) {
        g_assert_cmpint(qatomic_xchg(&s->busy[b], busy), ==, !busy);
    }
}

static void coroutine_fn stress_write(Worker *w, uint32_t zone)
{
    uint64_t bytes = g_rand_int_range(w->rand, 1, 9) * BLOCK;
    Stress *s = w->s;
    Acknowledged a;
    BlockZoneDescriptor d;
    int64_t readable;
    ZoneWrite zw;
    bool data;
    int ret;

    if (g_rand_int_range(w->rand, 0, 4)) {
        uint64_t offset = zone * ZONE;

        ret = zone_table_begin_append(s->t, &zw, &offset, bytes);
        g_assert_cmpint(ret, !=, -ESPIPE);
        g_assert_true(ret < 0 || zw.start == offset);
    } else {
        ret = zone_table_begin_write(s->t, &zw, report_zone(s->t, zone).wp,
                                     bytes);
    }
    if (ret < 0) {
        /* -ENOSPC: as the writes had it that it was to go behind */
        g_assert_true(bdrv_is_zone_error(ret) || ret == -ENOSPC);
        g_assert_cmpint(ret, !=, -EROFS);
        g_assert_cmpint(ret, !=, -ENODEV);
        return;
    }

    /* At the write pointer of a full zone, the next one begins. */
    zone = zw.zone;
    /* A reset has to wait for us, so the epoch is the same until our end. */
    a = (Acknowledged) {
        zone, qatomic_read(&s->epoch[zone]), zw.start, zw.end,
    };
    stress_mark_busy(s, &zw, true);
    stress_io(w);
    stress_mark_busy(s, &zw, false);
    ret = g_rand_int_range(w->rand, 0, 16) ? 0 : -ENOSPC;
    ret = zone_table_end_write(s->t, &zw, ret);
    if (ret < 0) {
        g_assert_true(ret == -EIO || ret == -ENOSPC);
        return;
    }
    g_array_append_val(w->acknowledged, a);
    d = report_zone(s->t, zone);
    readable = zone_table_readable(s->t, a.start, bytes, &data);
    if (qatomic_read(&s->epoch[zone]) == a.epoch) {
        g_assert_cmphex(d.wp, >=, a.end);
        g_assert_true(data);
        g_assert_cmpint(readable, ==, bytes);
    }
}

static void coroutine_fn stress_mgmt(Worker *w, uint32_t zone, BlockZoneOp op,
                                     BlockZoneFlags flags, uint32_t nr)
{
    Stress *s = w->s;
    ZoneMgmt m;
    int ret;

    ret = zone_table_begin_mgmt(s->t, &m, op, flags, zone * ZONE, nr * ZONE);
    if (ret < 0) {
        g_assert_true(ret == -EINVAL || (op == BLK_ZO_OPEN &&
                      (ret == -EOVERFLOW || ret == -ETOOMANYREFS)));
        return;
    }
    g_assert_true(m.commit == (op == BLK_ZO_RESET || op == BLK_ZO_FINISH));
    stress_io(w);
    ret = g_rand_int_range(w->rand, 0, 4) ? 0 : -EIO;
    /* A zone that was empty already is not held up */
    if (op == BLK_ZO_RESET && ret == 0 && resets_zone(s->t, &m, zone)) {
        g_assert_cmpuint(nr, ==, 1);
        for (uint64_t b = 0; b < ZONE_BLOCKS; b++) {
            g_assert_cmpint(qatomic_read(&s->busy[zone * ZONE_BLOCKS + b]),
                            ==, 0);
        }
        qatomic_inc(&s->epoch[zone]);
    }
    g_assert_cmpint(zone_table_end_mgmt(s->t, &m, ret), ==, ret);
}

static void stress_check_limits(Stress *s)
{
    uint32_t open, active, sum = 0;
    ZoneCounts c;

    zone_table_count(s->t, &c);
    for (int i = 0; i < ARRAY_SIZE(c.in_state); i++) {
        sum += c.in_state[i];
    }
    open = c.in_state[BLK_ZS_IOPEN] + c.in_state[BLK_ZS_EOPEN];
    active = open + c.in_state[BLK_ZS_CLOSED];
    g_assert_cmpuint(sum, ==, STRESS_ZONES);
    g_assert_cmpuint(open, <=, STRESS_OPEN);
    g_assert_cmpuint(active, <=, STRESS_ACTIVE);
}

static void coroutine_fn stress_step(Worker *w)
{
    uint32_t zone = g_rand_int_range(w->rand, 0, STRESS_ZONES);
    uint32_t pair = MIN(zone, STRESS_ZONES - 2);

    switch (g_rand_int_range(w->rand, 0, 100)) {
    case 0 ... 5:
        stress_mgmt(w, zone, BLK_ZO_RESET, 0, 1);
        break;
    case 6:
        stress_mgmt(w, pair, BLK_ZO_FINISH, 0, 2);
        break;
    case 7:
        stress_mgmt(w, pair, BLK_ZO_OPEN, 0, 2);
        break;
    case 8:
        stress_mgmt(w, zone, BLK_ZO_OPEN, 0, 1);
        break;
    case 9 ... 11:
        stress_mgmt(w, 0, BLK_ZO_CLOSE, BDRV_ZONE_ALL, STRESS_ZONES);
        break;
    case 12:
        stress_mgmt(w, zone, BLK_ZO_CLOSE, BDRV_ZONE_CLOSE_EMPTY, 1);
        break;
    default:
        stress_write(w, zone);
        break;
    }
    stress_check_limits(w->s);
}

static void coroutine_fn stress_worker(void *opaque)
{
    Worker *w = opaque;

    for (int i = 0; i < NR_STEPS; i++) {
        stress_step(w);
    }
    qatomic_dec(&w->s->running);
}

static int compare_acknowledged(const void *va, const void *vb)
{
    const Acknowledged *a = va, *b = vb;

    if (a->zone != b->zone) {
        return a->zone < b->zone ? -1 : 1;
    }
    if (a->epoch != b->epoch) {
        return a->epoch < b->epoch ? -1 : 1;
    }
    return a->start < b->start ? -1 : a->start > b->start;
}

/* Between two resets, what was acknowledged is a zone's data, each byte once */
static void stress_check_acknowledged(Stress *s, GArray *acks)
{
    uint64_t data_end[STRESS_ZONES];

    for (uint32_t i = 0; i < STRESS_ZONES; i++) {
        data_end[i] = i * ZONE;
    }
    g_array_sort(acks, compare_acknowledged);
    for (unsigned int i = 0; i < acks->len; i++) {
        const Acknowledged *a = &g_array_index(acks, Acknowledged, i);
        const Acknowledged *prev = a - 1;
        bool first = i == 0 || prev->zone != a->zone ||
                     prev->epoch != a->epoch;

        g_assert_cmphex(a->start, ==, first ? a->zone * ZONE : prev->end);
        if (a->epoch == s->epoch[a->zone]) {
            data_end[a->zone] = a->end;
        }
    }
    for (uint32_t i = 0; i < STRESS_ZONES; i++) {
        ZoneRecord r = record_of(s->t, i, true);

        g_assert_cmphex(r.data_end, ==, data_end[i]);
        g_assert_cmphex(r.wp, ==,
                        r.state == FU ? i * ZONE + CAPACITY : data_end[i]);
    }
}

/* Let workers in several threads do their steps, all at once */
static void stress_run(Stress *s, const ZoneGeometry *g,
                       CoroutineEntry *worker, GArray *acknowledged)
{
    Worker workers[NR_THREADS * NR_WORKERS];
    IOThread *threads[NR_THREADS];
    int64_t deadline;

    s->t = zone_table_new(g);
    if (s->claims) {
        zone_table_enable_claims(s->t);
    }
    s->running = ARRAY_SIZE(workers);

    for (int i = 0; i < NR_THREADS; i++) {
        threads[i] = iothread_new();
    }
    for (int i = 0; i < ARRAY_SIZE(workers); i++) {
        Worker *w = &workers[i];

        *w = (Worker) {
            .s = s,
            .ctx = iothread_get_aio_context(threads[i % NR_THREADS]),
            .rand = g_rand_new_with_seed(i),
            .acknowledged = g_array_new(false, false, sizeof(Acknowledged)),
        };
        aio_co_schedule(w->ctx, qemu_coroutine_create(worker, w));
    }

    deadline = g_get_monotonic_time() + 300 * G_USEC_PER_SEC;
    while (qatomic_read(&s->running)) {
        /* If it never ends, some request waits for nothing */
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(1000);
    }
    for (int i = 0; i < NR_THREADS; i++) {
        iothread_join(threads[i]);
    }
    for (int i = 0; i < ARRAY_SIZE(workers); i++) {
        g_array_append_vals(acknowledged, workers[i].acknowledged->data,
                            workers[i].acknowledged->len);
        g_array_free(workers[i].acknowledged, true);
        g_rand_free(workers[i].rand);
    }
    g_test_message("%u writes acknowledged, %u resets", acknowledged->len,
                   s->epoch[0] + s->epoch[1] + s->epoch[2] + s->epoch[3] +
                   s->epoch[4]);
    g_assert_cmpuint(acknowledged->len, >, 1000);
}

static ZoneGeometry stress_geometry(void)
{
    ZoneGeometry g = zns_geometry();

    g.size = STRESS_ZONES * ZONE;
    g.conventional_zones = 0;
    g.zones.max_open = STRESS_OPEN;
    g.zones.max_active = STRESS_ACTIVE;
    g.zones.max_zrwa = STRESS_AREAS;
    return g;
}

static void test_threads(void)
{
    ZoneGeometry g = stress_geometry();
    g_autoptr(GArray) all = g_array_new(false, false, sizeof(Acknowledged));
    g_autofree Stress *s = g_new0(Stress, 1);

    stress_run(s, &g, stress_worker, all);
    stress_check_acknowledged(s, all);
    expect_counts("after all threads", s->t);
    zone_table_free(s->t);
}

/* The same with random write areas; "the disk" holds the number of resets */
typedef struct AreaStress {
    Stress s;
    unsigned int disk[STRESS_ZONES * ZONE_BLOCKS];  /* atomic */
} AreaStress;

static void stress_fill(AreaStress *as, uint64_t begin, uint64_t end,
                        unsigned int value)
{
    for (uint64_t b = begin / BLOCK; b < end / BLOCK; b++) {
        qatomic_set(&as->disk[b], value);
    }
}

/* Nobody makes these blocks readable now, so they stay so. */
static void stress_check_idle(Stress *s, uint64_t begin, uint64_t end)
{
    for (uint64_t b = begin / BLOCK; b < end / BLOCK; b++) {
        g_assert_cmpint(qatomic_read(&s->busy[b]), ==, 0);
    }
}

static void coroutine_fn area_stress_write(Worker *w, uint32_t zone)
{
    AreaStress *as = container_of(w->s, AreaStress, s);
    uint64_t bytes = g_rand_int_range(w->rand, 1, 9) * BLOCK;
    BlockZoneDescriptor d = report_zone(as->s.t, zone);
    bool area = d.attributes & BDRV_ZA_ZRWA, extends;
    uint64_t offset = d.wp + (area ? g_rand_int_range(w->rand, 0, 20) : 0) *
                      BLOCK;
    Acknowledged a;
    ZoneWrite zw;
    int ret;

    ret = zone_table_begin_write(as->s.t, &zw, offset, bytes);
    if (ret < 0) {
        /* -ENOSPC: as the writes had it that it was to go behind */
        g_assert_true(bdrv_is_zone_error(ret) || ret == -ENOSPC);
        g_assert_cmpint(ret, !=, -EROFS);
        g_assert_cmpint(ret, !=, -ENODEV);
        return;
    }
    a = (Acknowledged) {
        zw.zone, qatomic_read(&as->s.epoch[zw.zone]), offset, offset + bytes,
    };
    extends = zw.state != ZW_OVERWRITE;
    if (extends) {
        stress_mark_busy(&as->s, &zw, true);
        stress_fill(as, zw.start, offset, 0);
    } else {
        stress_check_idle(&as->s, offset, zw.end);
    }
    stress_io(w);
    stress_fill(as, offset, zw.end, a.epoch + 1);
    if (extends) {
        stress_mark_busy(&as->s, &zw, false);
    } else {
        stress_check_idle(&as->s, offset, zw.end);
    }
    ret = g_rand_int_range(w->rand, 0, 16) ? 0 : -ENOSPC;
    ret = zone_table_end_write(as->s.t, &zw, ret);
    if (ret < 0) {
        g_assert_true(ret == -EIO || ret == -ENOSPC);
        return;
    }
    g_array_append_val(w->acknowledged, a);
    /* It is there until a reset. */
    for (uint64_t b = a.start / BLOCK; b < a.end / BLOCK; b++) {
        unsigned int value = qatomic_read(&as->disk[b]);

        g_assert_true(value == a.epoch + 1 ||
                      qatomic_read(&as->s.epoch[a.zone]) != a.epoch);
    }
}

static void coroutine_fn area_stress_mgmt(Worker *w, uint32_t zone,
                                          BlockZoneOp op, BlockZoneFlags flags)
{
    Stress *s = w->s;
    uint64_t bytes = ZONE;
    ZoneMgmt m;
    int ret;

    if (op == BLK_ZO_ZRWA_COMMIT) {
        bytes = report_zone(s->t, zone).wp - zone * ZONE +
                g_rand_int_range(w->rand, 1, AREA / GRAIN + 1) * GRAIN;
    }
    ret = zone_table_begin_mgmt(s->t, &m, op, flags, zone * ZONE, bytes);
    if (ret < 0) {
        g_assert_true(ret == -EINVAL || ret == -EOVERFLOW ||
                      ret == -ETOOMANYREFS || ret == -EUSERS ||
                      ret == -ENOTTY);
        return;
    }
    stress_io(w);
    if (op == BLK_ZO_SET_EXT) {
        zone_table_ext_written(s->t, &m);
        stress_io(w);
    }
    ret = g_rand_int_range(w->rand, 0, 4) || !m.commit ? 0 : -EIO;
    if (m.commit && op != BLK_ZO_FORCE_REPAIR &&
        (op != BLK_ZO_RESET || resets_zone(s->t, &m, zone))) {
        stress_check_idle(s, zone * ZONE, (zone + 1) * ZONE);
        if (op == BLK_ZO_RESET && ret == 0) {
            qatomic_inc(&s->epoch[zone]);
        }
    }
    g_assert_cmpint(zone_table_end_mgmt(s->t, &m, ret), ==, ret);
}

static void coroutine_fn area_stress_step(Worker *w)
{
    uint32_t zone = g_rand_int_range(w->rand, 0, STRESS_ZONES), areas = 0;
    BlockZoneDescriptor d[STRESS_ZONES];
    unsigned int nr = STRESS_ZONES;

    switch (g_rand_int_range(w->rand, 0, 100)) {
    case 0 ... 3:
        area_stress_mgmt(w, zone, BLK_ZO_RESET, 0);
        break;
    case 4:
        area_stress_mgmt(w, zone, BLK_ZO_FINISH, 0);
        break;
    case 5 ... 14:
        area_stress_mgmt(w, zone, BLK_ZO_OPEN, BDRV_ZONE_ZRWA);
        break;
    case 15 ... 16:
        area_stress_mgmt(w, zone, BLK_ZO_SET_EXT, BDRV_ZONE_ZRWA);
        break;
    case 17 ... 21:
        area_stress_mgmt(w, zone, BLK_ZO_CLOSE, 0);
        break;
    case 22:
        area_stress_mgmt(w, zone, BLK_ZO_POWER_CYCLE, 0);
        break;
    case 23 ... 29:
        area_stress_mgmt(w, zone, BLK_ZO_ZRWA_COMMIT, 0);
        break;
    default:
        area_stress_write(w, zone);
        break;
    }
    zone_table_report(w->s->t, 0, &nr, d);
    for (unsigned int i = 0; i < nr; i++) {
        areas += !!(d[i].attributes & BDRV_ZA_ZRWA);
    }
    g_assert_cmpuint(areas, <=, STRESS_AREAS);
    stress_check_limits(w->s);
}

static void coroutine_fn area_stress_worker(void *opaque)
{
    Worker *w = opaque;

    for (int i = 0; i < NR_STEPS; i++) {
        area_stress_step(w);
    }
    qatomic_dec(&w->s->running);
}

static void test_area_threads(void)
{
    ZoneGeometry g = stress_geometry();
    g_autoptr(GArray) all = g_array_new(false, false, sizeof(Acknowledged));
    g_autofree AreaStress *as = g_new0(AreaStress, 1);
    unsigned int written = 0;

    stress_fill(as, 0, STRESS_ZONES * ZONE, UINT_MAX);
    stress_run(&as->s, &g, area_stress_worker, all);
    for (uint32_t i = 0; i < STRESS_ZONES; i++) {
        uint64_t data_end = record_of(as->s.t, i, true).data_end / BLOCK;

        for (uint64_t b = i * ZONE_BLOCKS; b < data_end; b++) {
            written += as->disk[b] != 0;
            g_assert_true(as->disk[b] == 0 ||
                          as->disk[b] == as->s.epoch[i] + 1);
        }
    }
    g_test_message("%u blocks with data at last", written);
    expect_counts("after all threads", as->s.t);
    zone_table_free(as->s.t);
}

/*
 * Claims while others write: at any time, what is stored and what is claimed are
 * all that was acknowledged before, each byte once.  The data are zeroes.
 */
#define CLAIM_ZONE      (16 * GiB)

typedef struct ClaimStress {
    Stress s;
    uint64_t stored[STRESS_ZONES];                  /* by the first worker */
    uint64_t written[STRESS_ZONES];                 /* atomic */
    ZoneChecksum block;                             /* of a block of zeroes */
    unsigned int claims;                            /* seen */
} ClaimStress;

static void coroutine_fn claim_stress_write(Worker *w)
{
    ClaimStress *cs = container_of(w->s, ClaimStress, s);
    uint32_t zone = g_rand_int_range(w->rand, 0, STRESS_ZONES);
    uint64_t offset = zone * CLAIM_ZONE, bytes;
    Acknowledged a = { zone };
    ZoneWrite zw;

    bytes = g_rand_int_range(w->rand, 1, 9) * BLOCK;
    g_assert_cmpint(zone_table_begin_append(w->s->t, &zw, &offset, bytes),
                    ==, 0);
    stress_io(w);
    zw.has_sum = g_rand_int_range(w->rand, 0, 1000);
    zw.sum = (ZoneChecksum) ZONE_CHECKSUM_INIT;
    for (uint64_t n = bytes / BLOCK; n; n--) {
        zone_checksum_append(&zw.sum, &cs->block, BLOCK);
    }
    g_assert_cmpint(zone_table_end_write(w->s->t, &zw, 0), ==, 0);
    qatomic_add(&cs->written[zone], bytes);
    g_array_append_val(w->acknowledged, a);
}

static void claim_stress_store(ClaimStress *cs)
{
    ZoneSnapshot *snap = zone_table_take_snapshot(cs->s.t, false);

    if (snap) {
        for (uint32_t i = 0; i < STRESS_ZONES; i++) {
            uint64_t end = g_array_index(snap->records, ZoneRecord, i).data_end;

            g_assert_cmphex(end, >=, cs->stored[i]);
            cs->stored[i] = end;
        }
        zone_table_drop_snapshot(cs->s.t, snap, true);
    }
}

static void claim_stress_claim(ClaimStress *cs)
{
    ZoneClaim claims[ZONE_CLAIMS_MAX];
    uint64_t written[STRESS_ZONES], end[STRESS_ZONES];
    int n;

    for (uint32_t i = 0; i < STRESS_ZONES; i++) {
        written[i] = qatomic_read(&cs->written[i]);
        end[i] = cs->stored[i];
    }
    n = zone_table_get_claims(cs->s.t, claims);
    if (n < 0) {
        return;
    }
    cs->claims += n;
    for (int k = 0; k < n; k++) {
        ZoneChecksum sum = ZONE_CHECKSUM_INIT;

        g_assert_cmphex(claims[k].from, ==, end[claims[k].zone]);
        end[claims[k].zone] = claims[k].to;
        for (uint64_t b = claims[k].from; b < claims[k].to; b += BLOCK) {
            zone_checksum_append(&sum, &cs->block, BLOCK);
        }
        g_assert_cmphex(zone_checksum_value(&claims[k].sum), ==,
                        zone_checksum_value(&sum));
    }
    for (uint32_t i = 0; i < STRESS_ZONES; i++) {
        g_assert_cmphex(end[i], >=, i * CLAIM_ZONE + written[i]);
    }
}

static void coroutine_fn claim_stress_worker(void *opaque)
{
    Worker *w = opaque;
    ClaimStress *cs = container_of(w->s, ClaimStress, s);
    bool stores = qatomic_fetch_inc(&cs->s.next) == 0;

    for (int i = 0; i < NR_STEPS; i++) {
        claim_stress_write(w);
        if (stores && i % 16 == 0) {
            claim_stress_claim(cs);
        }
        if (stores && i % 64 == 0) {
            claim_stress_store(cs);
        }
    }
    qatomic_dec(&w->s->running);
}

static void test_claim_threads(void)
{
    ZoneGeometry g = stress_geometry();
    g_autoptr(GArray) all = g_array_new(false, false, sizeof(Acknowledged));
    g_autofree ClaimStress *cs = g_new0(ClaimStress, 1);
    g_autofree void *zeroes = g_malloc0(BLOCK);
    BlockZoneDescriptor d[STRESS_ZONES];
    unsigned int nr = STRESS_ZONES;

    g.size = STRESS_ZONES * CLAIM_ZONE;
    g.zones.size = g.zones.capacity = CLAIM_ZONE;
    g.zones.max_open = g.zones.max_active = 0;
    cs->block = (ZoneChecksum) ZONE_CHECKSUM_INIT;
    zone_checksum_update(&cs->block, zeroes, BLOCK);
    cs->s.claims = true;
    for (uint32_t i = 0; i < STRESS_ZONES; i++) {
        cs->stored[i] = i * CLAIM_ZONE;
    }
    stress_run(&cs->s, &g, claim_stress_worker, all);
    claim_stress_claim(cs);
    g_assert_cmpuint(cs->claims, >, 0);
    claim_stress_store(cs);
    zone_table_report(cs->s.t, 0, &nr, d);
    for (uint32_t i = 0; i < STRESS_ZONES; i++) {
        g_assert_cmphex(cs->stored[i], ==, i * CLAIM_ZONE + cs->written[i]);
        g_assert_cmphex(d[i].wp, ==, cs->stored[i]);
    }
    zone_table_free(cs->s.t);
}

/*
 * Writes that change the state of their zone, each worker's in zones of its own:
 * some fail, as the first in their zone too, and the last one makes it full.
 */
#define FILL_ZONES      200     /* per worker */

static void coroutine_fn fill_worker(void *opaque)
{
    Worker *w = opaque;
    uint32_t first = qatomic_fetch_inc(&w->s->next) * FILL_ZONES;

    for (uint32_t zone = first; zone < first + FILL_ZONES; zone++) {
        for (uint64_t done = 0; done < CAPACITY;) {
            uint64_t bytes = MIN(CAPACITY - done, 4 * BLOCK);
            int ret = g_rand_int_range(w->rand, 0, 4) ? 0 : -ENOSPC;
            uint64_t offset = zone * ZONE;
            Acknowledged a = { zone };
            ZoneWrite zw;

            g_assert_cmpint(zone_table_begin_append(w->s->t, &zw, &offset,
                                                    bytes), ==, 0);
            g_assert_cmphex(offset, ==, zone * ZONE + done);
            stress_io(w);
            g_assert_cmpint(zone_table_end_write(w->s->t, &zw, ret), ==, ret);
            if (ret == 0) {
                done += bytes;
                g_array_append_val(w->acknowledged, a);
            }
        }
    }
    qatomic_dec(&w->s->running);
}

static void test_fill_threads(void)
{
    ZoneGeometry g = stress_geometry();
    g_autoptr(GArray) all = g_array_new(false, false, sizeof(Acknowledged));
    g_autofree Stress *s = g_new0(Stress, 1);
    uint32_t nr_zones = NR_THREADS * NR_WORKERS * FILL_ZONES;
    ZoneCounts c;

    g.size = nr_zones * ZONE;
    g.zones.max_open = g.zones.max_active = 0;
    stress_run(s, &g, fill_worker, all);
    zone_table_count(s->t, &c);
    g_assert_cmpuint(c.in_state[BLK_ZS_FULL], ==, nr_zones);
    expect_counts("after all threads", s->t);
    zone_table_free(s->t);
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/zone-table/threads/keep-the-rules", test_threads);
    g_test_add_func("/zone-table/threads/keep-the-rules-of-areas",
                    test_area_threads);
    g_test_add_func("/zone-table/threads/fill-zones-of-their-own",
                    test_fill_threads);
    g_test_add_func("/zone-table/threads/claim-what-they-wrote",
                    test_claim_threads);
    return g_test_run();
}
