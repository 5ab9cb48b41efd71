/*
 * Unit tests of the zone table: a naive model of random write areas, with data
 *
 * The model is kept apart from the code under test, and compared with it over a
 * long random sequence of requests.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "zone-table-harness.h"

/* In blocks: positions count from the start of the zone */
#define AREA_ZONES      5
#define AREA_ZONE       64
#define AREA_CAPACITY   48
#define AREA_BLOCKS     8
#define AREA_GRAIN      2
#define AREA_ACTIVE     3
#define AREA_MAX        2
#define AREA_WRITES     64

typedef struct AreaWrite {
    Request r;
    unsigned int stamp;         /* what it writes to each block */
    int from, to;               /* what it writes */
    int start;                  /* what gets readable begins here */
    int commit;
    bool extends, written, failed;
} AreaWrite;

typedef struct AreaZone {
    BlockZoneState state;
    uint8_t attributes;
    int wp, data_end;
    bool nothing_yet;           /* open only by writes that may yet fail */
    bool broken;                /* one failed, others are in flight */
    AreaWrite *writes[AREA_WRITES];     /* in flight, as they began */
    int nr;
    unsigned int store[AREA_ZONE];      /* what "the disk" holds */
    unsigned int want[AREA_ZONE];       /* what is to be read, where readable */
} AreaZone;

typedef struct AreaModel {
    ZoneTable *t;
    GRand *rand;
    AreaZone zones[AREA_ZONES];
    Request mgmt;               /* in progress, on @mgmt_zone */
    int mgmt_zone;              /* -1: none */
    BlockZoneState mgmt_state;  /* what it brings about */
    unsigned int stamp;
    int max_active, max_areas;
    char *step;
    unsigned int nr_acked, nr_waited, nr_overwrites, nr_gaps, nr_commits;
} AreaModel;

static int area_random(AreaModel *m, int n)
{
    return g_rand_int_range(m->rand, 0, n);
}

static bool area_has(const AreaZone *z)
{
    return z->attributes & BDRV_ZA_ZRWA;
}

static bool area_active(BlockZoneState s)
{
    return s == IO || s == EO || s == CL;
}

/* Also those that an operation in progress will need */
static int area_count_active(AreaModel *m)
{
    int n = 0;

    for (int i = 0; i < AREA_ZONES; i++) {
        n += area_active(m->zones[i].state) ||
             (i == m->mgmt_zone && m->mgmt_state == CL);
    }
    return n;
}

static int area_count(AreaModel *m)
{
    int n = 0;

    for (int i = 0; i < AREA_ZONES; i++) {
        n += area_has(&m->zones[i]) ||
             (i == m->mgmt_zone && m->mgmt.op == BLK_ZO_SET_EXT &&
              m->mgmt.flags & BDRV_ZONE_ZRWA);
    }
    return n;
}

static const AreaWrite *area_last(const AreaZone *z)
{
    for (int i = z->nr - 1; i >= 0; i--) {
        if (z->writes[i]->extends) {
            return z->writes[i];
        }
    }
    return NULL;
}

static int area_next_data(const AreaZone *z)
{
    const AreaWrite *last = area_last(z);

    return last ? last->to : z->data_end;
}

static int area_next_wp(const AreaZone *z)
{
    const AreaWrite *last = area_last(z);

    return last ? MAX(last->commit, z->wp) : z->wp;
}

/* What the begin call has to return now, or WAITING */
static int area_begin_write(AreaModel *m, int i, int from, int to)
{
    const AreaZone *z = &m->zones[i];
    int wp = area_next_wp(z);

    if (z->broken || m->mgmt_zone == i) {
        return WAITING;
    }
    for (int k = 0; area_has(z) && k < z->nr; k++) {
        const AreaWrite *w = z->writes[k];

        if (w->extends && from < w->to && to > w->start) {
            return WAITING;
        }
    }
    if (z->state == OF || z->state == RO) {
        return z->state == OF ? -ENODEV : -EROFS;
    }
    if (z->state == FU || wp == AREA_CAPACITY) {
        return -EFBIG;
    }
    if (area_has(z) ? from < wp : from != wp) {
        return -ESPIPE;
    }
    if (to > AREA_CAPACITY) {
        return -ERANGE;
    }
    if (area_has(z) && to > wp + 2 * AREA_BLOCKS) {
        return -ESPIPE;
    }
    return z->state == EM && area_count_active(m) >= m->max_active ?
           -EOVERFLOW : 0;
}

static void area_reserve(AreaModel *m, AreaZone *z, AreaWrite *w)
{
    int wp = area_next_wp(z);

    w->start = area_next_data(z);
    w->extends = w->to > w->start;
    w->stamp = ++m->stamp;
    w->commit = area_has(z) ? wp : w->to;
    while (area_has(z) && w->to > w->commit + AREA_BLOCKS) {
        w->commit += AREA_GRAIN;
    }
    m->nr_overwrites += !w->extends;
    m->nr_gaps += w->extends && w->start < w->from;
    g_assert_cmpint(z->nr, <, AREA_WRITES);
    z->writes[z->nr++] = w;
    z->nothing_yet |= z->state == EM;
    z->state = z->state == EO ? EO : IO;
}

static void area_empty(AreaZone *z)
{
    z->state = EM;
    z->attributes = 0;
    z->wp = z->data_end = 0;
    memset(z->want, 0, sizeof(z->want));
}

static void area_remove(AreaZone *z, int k)
{
    g_free(z->writes[k]);
    z->nr--;
    memmove(&z->writes[k], &z->writes[k + 1],
            (z->nr - k) * sizeof(z->writes[0]));
}

/* Remove those that are done with; what comes with that for the zone */
static bool area_settle(AreaModel *m, AreaZone *z)
{
    bool below = false, good = true;

    for (int k = 0; k < z->nr;) {
        AreaWrite *w = z->writes[k];

        if (!w->extends || !w->written) {
            below |= w->extends;
            k++;
        } else if (w->failed) {
            good &= expect_ret(m->step, w->r.ended, -ENOSPC);
            area_remove(z, k);
        } else if (below) {
            good &= expect_ret(m->step, w->r.ended, WAITING);
            k++;
        } else {
            good &= expect_ret(m->step, w->r.ended, 0);
            for (int b = w->start; b < w->to; b++) {
                z->want[b] = b < w->from ? 0 : w->stamp;
            }
            z->data_end = w->to;
            z->wp = MAX(z->wp, w->commit);
            z->nothing_yet = false;
            m->nr_acked++;
            area_remove(z, k);
        }
    }
    if (z->wp == AREA_CAPACITY) {
        z->state = FU;
        z->attributes &= ~BDRV_ZA_ZRWA;
    }
    if (z->nr == 0) {
        z->broken = false;
        if (z->nothing_yet) {
            area_empty(z);
        }
        z->nothing_yet = false;
    }
    return good;
}

/* The I/O of a write: also what it has to fill with zeroes */
static bool area_end_write(AreaModel *m, AreaZone *z, int k)
{
    AreaWrite *w = z->writes[k];
    int ret = area_random(m, 8) ? 0 : -ENOSPC;
    uint64_t zone = (z - m->zones) * AREA_ZONE;
    bool good = true;

    if (w->extends) {
        good &= expect_value(m->step, "begin", w->r.w.start / BLOCK - zone,
                             w->start);
        for (int b = w->r.w.start / BLOCK - zone; b < w->from; b++) {
            z->store[b] = ret ? UINT_MAX : 0;
        }
    }
    for (int b = w->from; b < w->to; b++) {
        z->store[b] = ret ? UINT_MAX : w->stamp;
        if (!w->extends || b < w->start) {
            z->want[b] = z->store[b];
        }
    }
    w->written = true;
    end_io(&w->r, ret);
    while (aio_poll(qemu_get_aio_context(), false)) {
        /* Others that this one lets go on */
    }
    if (!w->extends) {
        good &= expect_ret(m->step, w->r.ended, ret);
        area_remove(z, k);
    } else if (w->failed) {
        good &= expect_ret(m->step, w->r.ended, -ENOSPC);
        area_remove(z, k);
    } else if (ret) {
        good &= expect_ret(m->step, w->r.ended, ret);
        for (int above = k + 1; above < z->nr; above++) {
            z->writes[above]->failed = true;
        }
        z->broken = true;
        area_remove(z, k);
    }
    return area_settle(m, z) && good;
}

/* What an operation makes of the zone when it has been stored */
static void area_apply(AreaModel *m, AreaZone *z)
{
    const Request *r = &m->mgmt;

    if (r->op == BLK_ZO_SET_EXT) {
        z->attributes = BDRV_ZA_EXT |
                        (r->flags & BDRV_ZONE_ZRWA ? BDRV_ZA_ZRWA : 0);
    }
    if (r->op == BLK_ZO_FORCE_REPAIR && m->mgmt_state == CL) {
        z->wp = z->data_end;
    }
    if (r->op == BLK_ZO_ZRWA_COMMIT) {
        z->wp = r->bytes / BLOCK;
        m->nr_commits++;
    }
    z->state = m->mgmt_state;
    if (!area_active(z->state)) {
        z->attributes &= ~BDRV_ZA_ZRWA;
    }
    if (z->state == OF) {
        z->attributes &= ~BDRV_ZA_EXT;
    }
    if (z->state == FU) {
        z->wp = AREA_CAPACITY;
    }
    if (z->state == EM) {
        area_empty(z);
    }
}

/* Close and power cycle: without data and extension it gets empty */
static void area_close(AreaZone *z, bool keep)
{
    z->nothing_yet = !keep && z->wp == 0 && z->data_end == 0 &&
                     !(z->attributes & BDRV_ZA_EXT);
    z->state = CL;
    if (z->nothing_yet && z->nr == 0) {
        z->nothing_yet = false;
        area_empty(z);
    }
}

static BlockZoneState area_repaired(const AreaZone *z)
{
    return z->state != RO && z->state != OF ? z->state :
           z->wp > z->data_end || z->data_end == AREA_CAPACITY ? FU :
           z->data_end || z->attributes & BDRV_ZA_EXT ? CL : EM;
}

/* The rules for an operation, at the moment when they count */
static int area_check_mgmt(AreaModel *m, const Request *r, int i,
                           BlockZoneState *to)
{
    const AreaZone *z = &m->zones[i];
    bool area = r->flags & BDRV_ZONE_ZRWA, gets_active = false;
    int upto = r->bytes / BLOCK;

    if (area && z->state != EM) {
        return -ENOTTY;
    }
    *to = z->state;
    switch (r->op) {
    case BLK_ZO_OPEN:
        if (z->state != EM && !area_active(z->state)) {
            return -EINVAL;
        }
        *to = EO;
        gets_active = z->state == EM;
        break;
    case BLK_ZO_CLOSE:
        return area_active(z->state) ? 0 : -EINVAL;
    case BLK_ZO_POWER_CYCLE:
        return 0;
    case BLK_ZO_FINISH:
    case BLK_ZO_RESET:
        *to = r->op == BLK_ZO_FINISH ? FU : EM;
        return z->state == RO || z->state == OF ? -EINVAL : 0;
    case BLK_ZO_OFFLINE:
        *to = OF;
        return z->state == RO || z->state == OF ? 0 : -EINVAL;
    case BLK_ZO_SET_EXT:
        if (z->state != EM) {
            return -EINVAL;
        }
        *to = CL;
        gets_active = true;
        break;
    case BLK_ZO_FORCE_RDONLY:
    case BLK_ZO_FORCE_OFFLINE:
        *to = r->op == BLK_ZO_FORCE_RDONLY ? RO : OF;
        return 0;
    case BLK_ZO_FORCE_REPAIR:
        *to = area_repaired(z);
        gets_active = *to == CL && z->state != CL;
        break;
    default:
        if (!area_has(z) || upto <= z->wp || upto > z->wp + AREA_BLOCKS ||
            upto > AREA_CAPACITY) {
            return -ENOTTY;
        }
        *to = upto == AREA_CAPACITY ? FU : z->state;
        return upto % AREA_GRAIN ? -EINVAL : 0;
    }
    if (gets_active && area_count_active(m) >= m->max_active) {
        return -EOVERFLOW;
    }
    return area && area_count(m) >= m->max_areas ? -EUSERS : 0;
}

/* Compare all that can be seen */
static bool area_compare(AreaModel *m)
{
    bool good = true;

    for (int i = 0; i < AREA_ZONES && good; i++) {
        const AreaZone *z = &m->zones[i];
        uint64_t begin = i * AREA_ZONE * BLOCK;
        BlockZoneDescriptor d;
        unsigned int nr = 1;
        ZoneRecord r, stored;
        ZoneTable *copy;
        int64_t n;
        bool data;

        zone_table_report(m->t, begin, &nr, &d);
        n = zone_table_readable(m->t, begin, AREA_ZONE * BLOCK, &data);
        if (z->state == OF) {
            good &= expect_value(m->step, "readable", n, -ENODEV);
        } else {
            good &= expect_value(m->step, "readable", data ? n : 0,
                                 z->data_end * BLOCK);
            for (int b = 0; b < z->data_end; b++) {
                good &= expect_value(m->step, "block", z->store[b],
                                     z->want[b]);
            }
        }
        /* What is stored at any moment makes sense, but for its limits. */
        stored = record_of(m->t, i, false);
        copy = zone_table_new(zone_table_geometry(m->t));
        good &= expect_value(m->step, "stored record is good",
                             zone_table_load(copy, i, &stored), true);
        zone_table_free(copy);
        if (i != m->mgmt_zone) {
            zone_table_record(m->t, i, true, &r);
            good &= expect_state(m->step, d.state, z->state) &
                    expect_value(m->step, "attributes", d.attributes,
                                 z->attributes) &
                    expect_value(m->step, "write pointer", r.wp - begin,
                                 z->wp * BLOCK) &
                    expect_value(m->step, "end of data", r.data_end - begin,
                                 z->data_end * BLOCK);
        }
        if (!good) {
            g_test_message("%s: that was zone %d", m->step, i);
        }
    }
    g_assert_cmpint(area_count_active(m), <=, m->max_active);
    g_assert_cmpint(area_count(m), <=, m->max_areas);
    return good && expect_counts(m->step, m->t);
}

static bool area_end_mgmt(AreaModel *m)
{
    AreaZone *z = &m->zones[m->mgmt_zone];
    int ret = area_random(m, 4) ? 0 : -EIO;
    bool good = expect_ret(m->step, finish(&m->mgmt, ret), ret);

    if (ret == 0) {
        area_apply(m, z);
    }
    m->mgmt_zone = -1;
    return good;
}

/* Let one request in progress end; false if there is none, or on failure */
static bool area_end_one(AreaModel *m, bool *good)
{
    int n = m->mgmt_zone >= 0, k;

    for (int i = 0; i < AREA_ZONES; i++) {
        for (int j = 0; j < m->zones[i].nr; j++) {
            n += !m->zones[i].writes[j]->written;
        }
    }
    if (n == 0) {
        return false;
    }
    k = area_random(m, n);
    if (m->mgmt_zone >= 0 && k-- == 0) {
        *good = area_end_mgmt(m);
        return true;
    }
    for (int i = 0; i < AREA_ZONES; i++) {
        for (int j = 0; j < m->zones[i].nr; j++) {
            if (!m->zones[i].writes[j]->written && k-- == 0) {
                *good = area_end_write(m, &m->zones[i], j);
                return true;
            }
        }
    }
    g_assert_not_reached();
}

static bool area_step_write(AreaModel *m)
{
    int i = area_random(m, AREA_ZONES), want;
    AreaZone *z = &m->zones[i];
    AreaWrite *w = g_new0(AreaWrite, 1);
    int base = area_random(m, 2) ? area_next_wp(z) : area_next_data(z);
    bool good = true, recovers = z->broken && m->mgmt_zone != i;

    w->from = base + (area_has(z) ? area_random(m, 12) - 2 :
                      area_random(m, 8) ? 0 : area_random(m, 4));
    w->from = MIN(MAX(w->from, 0), AREA_ZONE - 1);
    w->to = MIN(w->from + 1 + area_random(m, area_random(m, 8) ? 4 : 20),
                AREA_ZONE);
    g_free(m->step);
    m->step = g_strdup_printf("write to zone %d of blocks %d to %d", i,
                              w->from, w->to - 1);
    want = area_begin_write(m, i, w->from, w->to);
    start_write(&w->r, m->t, (i * AREA_ZONE + w->from) * BLOCK,
                (w->to - w->from) * BLOCK);
    while (want == WAITING) {
        m->nr_waited++;
        good &= expect_ret(m->step, w->r.begun, WAITING);
        if (!good || !area_end_one(m, &good) || !good) {
            return false;
        }
        want = area_begin_write(m, i, w->from, w->to);
    }
    if (want == -ESPIPE && recovers && w->from > area_next_wp(z)) {
        want = -ENOSPC;
    }
    good = expect_ret(m->step, w->r.begun, want);
    if (good && want == 0) {
        area_reserve(m, z, w);
    } else {
        g_free(w);
    }
    return good;
}

static bool area_step_mgmt(AreaModel *m)
{
    static const BlockZoneOp ops[] = {
        BLK_ZO_OPEN, BLK_ZO_OPEN, BLK_ZO_OPEN, BLK_ZO_CLOSE, BLK_ZO_FINISH,
        BLK_ZO_RESET, BLK_ZO_RESET, BLK_ZO_SET_EXT, BLK_ZO_POWER_CYCLE,
        BLK_ZO_ZRWA_COMMIT, BLK_ZO_ZRWA_COMMIT, BLK_ZO_ZRWA_COMMIT,
        BLK_ZO_FORCE_RDONLY, BLK_ZO_FORCE_OFFLINE, BLK_ZO_FORCE_REPAIR,
        BLK_ZO_FORCE_REPAIR, BLK_ZO_OFFLINE,
    };
    int i = area_random(m, AREA_ZONES);
    AreaZone *z = &m->zones[i];
    Request r = {
        .t = m->t, .kind = MGMT, .op = ops[area_random(m, ARRAY_SIZE(ops))],
        .offset = i * AREA_ZONE * BLOCK, .bytes = AREA_ZONE * BLOCK,
    };
    bool commits, good = true;
    BlockZoneState to;
    int want = 0;

    if (area_random(m, 4)) {
        /* What gets the zone on, to be written to again */
        r.op = z->state == EM ? BLK_ZO_OPEN : z->state == FU ? BLK_ZO_RESET :
               area_active(z->state) ? BLK_ZO_ZRWA_COMMIT :
               BLK_ZO_FORCE_REPAIR;
    }
    if (m->mgmt_zone >= 0 && !area_end_mgmt(m)) {
        return false;
    }
    if (r.op == BLK_ZO_OPEN || r.op == BLK_ZO_SET_EXT) {
        r.flags = area_random(m, 4) ? BDRV_ZONE_ZRWA : 0;
    } else if (r.op == BLK_ZO_CLOSE) {
        r.flags = area_random(m, 2) ? BDRV_ZONE_CLOSE_EMPTY : 0;
    } else if (r.op == BLK_ZO_ZRWA_COMMIT) {
        r.bytes = MAX(z->wp + area_random(m, 7) * AREA_GRAIN - 2, 1) * BLOCK;
        r.bytes += area_random(m, 8) ? 0 : BLOCK;
    }
    g_free(m->step);
    m->step = g_strdup_printf("op %d, flags %d, to zone %d, bytes 0x%" PRIx64,
                              r.op, r.flags, i, r.bytes);
    commits = r.op != BLK_ZO_OPEN && r.op != BLK_ZO_CLOSE &&
              r.op != BLK_ZO_POWER_CYCLE;
    if (r.op != BLK_ZO_ZRWA_COMMIT) {
        want = area_check_mgmt(m, &r, i, &to);
    }
    start(&m->mgmt, &r);
    /* A zone that is what it is to be, or that has no repair, is not held up */
    while (want == 0 && commits && z->nr && (r.op == BLK_ZO_ZRWA_COMMIT ||
                                             to != z->state)) {
        m->nr_waited++;
        good &= expect_ret(m->step, m->mgmt.begun, WAITING);
        if (!good || !area_end_one(m, &good) || !good) {
            return false;
        }
    }
    if (r.op == BLK_ZO_ZRWA_COMMIT) {
        want = area_check_mgmt(m, &r, i, &to);
    }
    good = expect_ret(m->step, m->mgmt.begun, want);
    if (!good || want < 0) {
        return good;
    }
    if (commits) {
        if (to == z->state && r.op != BLK_ZO_ZRWA_COMMIT) {
            /* Nothing is held up, so the end is all the same */
            return expect_ret(m->step, finish(&m->mgmt, 0), 0);
        }
        m->mgmt_zone = i;
        m->mgmt_state = to;
        return true;
    }
    if (r.op == BLK_ZO_OPEN) {
        z->state = EO;
        z->nothing_yet = false;
        z->attributes |= r.flags & BDRV_ZONE_ZRWA ? BDRV_ZA_ZRWA : 0;
    } else if (r.op == BLK_ZO_CLOSE ? z->state != CL : area_active(z->state)) {
        area_close(z, r.flags & BDRV_ZONE_CLOSE_EMPTY);
    }
    return expect_ret(m->step, finish(&m->mgmt, 0), 0);
}

static bool area_step(AreaModel *m)
{
    int dice = area_random(m, 100);
    bool good = true;

    if (dice < 50) {
        return area_step_write(m);
    }
    if (dice < 62) {
        return area_step_mgmt(m);
    }
    g_free(m->step);
    m->step = g_strdup("an end");
    area_end_one(m, &good);
    return good;
}

static void test_area_model(void)
{
    static const struct {
        int max_active, max_areas;
    } limits[] = { { 3, 2 }, { 1, 1 }, { 5, 5 }, { 4, 1 } };
    ZoneGeometry g = {
        .size = AREA_ZONES * AREA_ZONE * BLOCK,
        .zones.size = AREA_ZONE * BLOCK,
        .zones.capacity = AREA_CAPACITY * BLOCK,
        .zones.max_append = BLOCK,
        .zones.write_granularity = BLOCK,
        .zones.ext_size = 64,
        .zones.zrwa_size = AREA_BLOCKS * BLOCK,
        .zones.zrwa_granularity = AREA_GRAIN * BLOCK,
    };

    for (int l = 0; l < ARRAY_SIZE(limits); l++) {
        AreaModel *m = g_new0(AreaModel, 1);
        bool good = true;

        g.zones.max_active = m->max_active = limits[l].max_active;
        g.zones.max_zrwa = m->max_areas = limits[l].max_areas;
        m->t = zone_table_new(&g);
        m->rand = g_rand_new_with_seed(l);
        m->mgmt_zone = -1;
        for (int i = 0; i < AREA_ZONES; i++) {
            area_empty(&m->zones[i]);
            memset(m->zones[i].store, 0xff, sizeof(m->zones[i].store));
        }
        for (int i = 0; i < 100000 && good; i++) {
            good = area_step(m) && area_compare(m);
            if (!good) {
                g_test_message("limits %d, step %d: %s", l, i, m->step);
                g_test_fail();
            }
        }
        if (good) {
            /* Enough of everything must have been. */
            g_test_message("%u acknowledged, %u waits, %u overwrites, "
                           "%u gaps, %u commits", m->nr_acked, m->nr_waited,
                           m->nr_overwrites, m->nr_gaps, m->nr_commits);
            g_assert_cmpuint(m->nr_acked, >, 5000);
            g_assert_cmpuint(m->nr_waited, >, 500);
            g_assert_cmpuint(m->nr_overwrites, >, 300);
            g_assert_cmpuint(m->nr_gaps, >, 300);
            g_assert_cmpuint(m->nr_commits, >, 50);
            while (area_end_one(m, &good)) {
                /* Nothing stays in flight */
            }
            zone_table_free(m->t);
        }
        g_rand_free(m->rand);
        g_free(m->step);
        g_free(m);
    }
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/zone-table/model/agrees-with-random-write-areas",
                    test_area_model);
    return g_test_run();
}
