/*
 * Unit tests of the zone table: a naive model of the rules
 *
 * The model is kept apart from the code under test, and compared with it over a
 * long random sequence of requests.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "zone-table-harness.h"

#define MODEL_ZONES     9
#define MODEL_CONV      1
#define MODEL_SIZE      (16 * BLOCK)
#define MODEL_CAPACITY  (12 * BLOCK)
#define MODEL_SHORT     (5 * BLOCK)     /* length of the last zone */
#define MODEL_APPEND    (8 * BLOCK)
#define MODEL_RDONLY    3               /* the zone that is read-only */
#define MODEL_OFFLINE   5               /* the zone that is offline */
#define MODEL_DEPTH     16              /* more than writes fit a zone */
#define MODEL_MGMTS     2

typedef struct ModelWrite {
    Request r;
    uint64_t start, end;
    bool over;                  /* its I/O */
    int io_ret;
} ModelWrite;

/*
 * The writes of a zone are kept, with their fates, until none is in flight.
 * All that is to be known follows from this list each time anew.
 */
typedef struct ModelZone {
    BlockZoneState state;
    uint64_t start, length, capacity;
    uint64_t base;              /* write pointer before the first of @writes */
    uint64_t data_end;          /* where the last reset or finish left it */
    ModelWrite *writes[MODEL_DEPTH];
    int nr_writes;
    bool kept_open;             /* not only by writes that may yet fail */
    uint64_t turn;              /* to be closed implicitly */
    bool used;                  /* written since it got that turn */
    BlockZoneState pending;     /* NOT_WP: nothing */
} ModelZone;

typedef struct ModelMgmt {
    Request r;
    bool selected;              /* its zones, and it changed what it could */
    uint32_t first, last;
} ModelMgmt;

typedef struct Model {
    ZoneTable *t;
    ZoneGeometry g;
    GRand *rand;
    uint64_t turns;
    ModelZone zones[MODEL_ZONES];
    ModelMgmt *mgmts[MODEL_MGMTS];      /* in progress */
    int nr_mgmts;
    char *step;                         /* what is going on, for messages */
    unsigned int nr_success, nr_waited;
} Model;

static int model_random(Model *m, int n)
{
    return g_rand_int_range(m->rand, 0, n);
}

static int model_count(Model *m, BlockZoneState state)
{
    int n = 0;

    for (int i = 0; i < MODEL_ZONES; i++) {
        n += m->zones[i].state == state;
    }
    return n;
}

static int model_open(Model *m)
{
    return model_count(m, IO) + model_count(m, EO);
}

static int model_active(Model *m)
{
    return model_open(m) + model_count(m, CL);
}

/* Number of writes from the first on that have succeeded */
static int model_prefix(ModelZone *z)
{
    int n = 0;

    while (n < z->nr_writes && z->writes[n]->over &&
           z->writes[n]->io_ret == 0) {
        n++;
    }
    return n;
}

/* Number of the first write that failed; if none, of all writes */
static int model_first_failure(ModelZone *z)
{
    int n = 0;

    while (n < z->nr_writes &&
           !(z->writes[n]->over && z->writes[n]->io_ret < 0)) {
        n++;
    }
    return n;
}

static uint64_t model_wp(ModelZone *z)
{
    int n = model_prefix(z);

    return n ? z->writes[n - 1]->end : z->base;
}

static uint64_t model_next_write(ModelZone *z)
{
    return z->nr_writes ? z->writes[z->nr_writes - 1]->end : z->base;
}

static bool model_holds_writes(ModelZone *z)
{
    return z->pending || model_first_failure(z) < z->nr_writes;
}

/* The next one to be closed implicitly */
static ModelZone *model_victim(Model *m, const bool *spare)
{
    ModelZone *victim = NULL;

    for (int i = 0; i < MODEL_ZONES; i++) {
        ModelZone *z = &m->zones[i];

        if (z->state == IO && !spare[i] &&
            (!victim || z->turn < victim->turn)) {
            victim = z;
        }
    }
    g_assert_nonnull(victim);
    return victim;
}

/*
 * Close implicitly open ones, in the order in which they were opened, but one
 * that has been written since gets another turn.
 */
static void model_make_room(Model *m, const bool *spare)
{
    while (m->g.zones.max_open && model_open(m) > m->g.zones.max_open) {
        ModelZone *victim;

        while ((victim = model_victim(m, spare))->used) {
            victim->used = false;
            victim->turn = ++m->turns;
        }
        victim->state = CL;
    }
}

static int model_check_resources(Model *m, int new_active, int new_explicit)
{
    if (new_active && m->g.zones.max_active &&
        model_active(m) + new_active > m->g.zones.max_active) {
        return -EOVERFLOW;
    }
    if (m->g.zones.max_open &&
        model_count(m, EO) + new_explicit > m->g.zones.max_open) {
        return -ETOOMANYREFS;
    }
    return 0;
}

/* The rules for a write or append, one after another; may change nothing */
static int model_check_write(Model *m, const Request *r)
{
    uint64_t offset = r->offset, end;
    ModelZone *z;
    int i;

    if (r->kind == APPEND &&
        (offset >= m->g.size || offset % MODEL_SIZE ||
         offset < MODEL_CONV * MODEL_SIZE)) {
        return -EINVAL;
    }
    if (offset >= m->g.size ||
        (r->kind == WRITE && offset + r->bytes > m->g.size)) {
        return -ERANGE;
    }
    i = offset / MODEL_SIZE;
    z = &m->zones[i];
    if (z->state == NW) {
        return offset + r->bytes > MODEL_CONV * MODEL_SIZE ? -ERANGE : 0;
    }
    if (z->state == OF) {
        return -ENODEV;
    }
    if (z->state == RO) {
        return -EROFS;
    }
    if (z->state == FU || model_next_write(z) == z->start + z->capacity) {
        return -EFBIG;
    }
    if (r->kind == APPEND && r->bytes > MODEL_APPEND) {
        return -EINVAL;
    }
    if (r->kind == APPEND) {
        offset = model_next_write(z);
    }
    end = offset + r->bytes;
    if (end > z->start + MODEL_SIZE) {
        return -ERANGE;
    }
    if (offset != model_next_write(z) || end % BLOCK) {
        return -ESPIPE;
    }
    if (end > z->start + z->capacity) {
        return -ERANGE;
    }
    if (r->bytes == 0 || z->state == IO || z->state == EO) {
        return 0;
    }
    return model_check_resources(m, z->state == EM, 1);
}

static void model_reserve(Model *m, ModelWrite *w)
{
    ModelZone *z = &m->zones[w->r.offset / MODEL_SIZE];
    bool spare[MODEL_ZONES] = { false };

    w->start = w->r.kind == APPEND ? model_next_write(z) : w->r.offset;
    w->end = w->start + w->r.bytes;
    g_assert_cmpint(z->nr_writes, <, MODEL_DEPTH);
    if (z->state == EM) {
        z->kept_open = false;
    }
    z->writes[z->nr_writes++] = w;
    z->used = true;
    if (z->state == EM || z->state == CL) {
        spare[z - m->zones] = true;
        z->state = IO;
        z->used = false;
        model_make_room(m, spare);
        z->turn = ++m->turns;
    }
}

/* What follows for a zone from an end of I/O; writes that are done go. */
static bool model_settle_writes(Model *m, ModelZone *z)
{
    int prefix = model_prefix(z), failure = model_first_failure(z);
    bool good = true, all = true;

    for (int i = 0; i < z->nr_writes; i++) {
        ModelWrite *w = z->writes[i];
        int want = i < prefix ? 0 : w->over && i >= failure ? -EIO : WAITING;

        good &= expect_ret(m->step, w->r.ended, want);
        all &= w->over;
    }
    if (prefix) {
        z->kept_open = true;
        z->data_end = model_wp(z);
    }
    if (model_wp(z) == z->start + z->capacity) {
        z->state = FU;
    }
    if (all) {
        z->base = model_wp(z);
        if (!z->kept_open) {
            z->state = EM;
        }
        for (int i = 0; i < z->nr_writes; i++) {
            g_free(z->writes[i]);
        }
        z->nr_writes = 0;
    }
    return good;
}

/* May the operation change a zone in this state, select it, or neither? */
static bool model_selects(BlockZoneOp op, BlockZoneState s)
{
    return op == BLK_ZO_OPEN ? s == CL :
           op == BLK_ZO_CLOSE ? s == IO || s == EO :
           op == BLK_ZO_FINISH ? s == IO || s == EO || s == CL :
           s == IO || s == EO || s == CL || s == FU;
}

static bool model_allows(BlockZoneOp op, BlockZoneState s)
{
    return op == BLK_ZO_OPEN ? s == EM || s == IO || s == EO || s == CL :
           op == BLK_ZO_CLOSE ? s == IO || s == EO || s == CL :
           s != NW && s != RO && s != OF;
}

static void model_open_zones(Model *m, const bool *selected)
{
    for (int i = 0; i < MODEL_ZONES; i++) {
        if (selected[i]) {
            m->zones[i].state = EO;
            m->zones[i].kept_open = true;
        }
    }
    model_make_room(m, selected);
}

static void model_close_zone(ModelZone *z, BlockZoneFlags flags)
{
    bool zns = flags & BDRV_ZONE_CLOSE_EMPTY;

    if (z->state == CL) {
        return;
    }
    z->state = CL;
    if (model_wp(z) == z->start) {
        z->kept_open = zns;
        if (!zns && z->nr_writes == 0) {
            z->state = EM;
        }
    }
}

/* Select zones, check, and change what needs no commit */
static int model_select(Model *m, ModelMgmt *g)
{
    bool all = g->r.flags & BDRV_ZONE_ALL, selected[MODEL_ZONES] = { false };
    int new_active = 0, new_explicit = 0;
    int ret = 0;

    for (uint32_t i = g->first; i <= g->last; i++) {
        ModelZone *z = &m->zones[i];

        selected[i] = !all || model_selects(g->r.op, z->state);
        if (selected[i] && !model_allows(g->r.op, z->state)) {
            ret = -EINVAL;
        }
        new_active += selected[i] && z->state == EM;
        new_explicit += selected[i] && z->state != EO;
    }
    if (ret == 0 && g->r.op == BLK_ZO_OPEN && new_explicit) {
        ret = model_check_resources(m, new_active, new_explicit);
    }
    if (ret < 0) {
        return ret;
    }
    if (g->r.op == BLK_ZO_OPEN) {
        model_open_zones(m, selected);
        return 0;
    }
    for (uint32_t i = g->first; i <= g->last; i++) {
        BlockZoneState target = g->r.op == BLK_ZO_RESET ? EM : FU;
        ModelZone *z = &m->zones[i];

        if (!selected[i]) {
            continue;
        }
        if (g->r.op == BLK_ZO_CLOSE) {
            model_close_zone(z, g->r.flags);
        } else if (z->state != target) {
            z->pending = target;
        }
    }
    return 0;
}

/* Returns what zone_table_begin_mgmt() has to return now, or WAITING */
static int model_begin_mgmt(Model *m, ModelMgmt *g)
{
    if (!g->selected) {
        int ret;

        for (int i = 0; i < m->nr_mgmts; i++) {
            if (g->first <= m->mgmts[i]->last &&
                m->mgmts[i]->first <= g->last) {
                return WAITING;
            }
        }
        ret = model_select(m, g);
        if (ret < 0) {
            return ret;
        }
        g->selected = true;
    }
    for (uint32_t i = g->first; i <= g->last; i++) {
        if (m->zones[i].pending && m->zones[i].nr_writes) {
            return WAITING;
        }
    }
    for (uint32_t i = g->first; i <= g->last; i++) {
        ModelZone *z = &m->zones[i];

        if (z->pending == z->state) {
            z->pending = NW;
        }
    }
    expect_value(m->step, "need to commit", g->r.m.commit,
                 g->r.op == BLK_ZO_RESET || g->r.op == BLK_ZO_FINISH);
    m->mgmts[m->nr_mgmts++] = g;
    return 0;
}

static bool model_end_mgmt(Model *m, int n, int io_ret)
{
    ModelMgmt *g = m->mgmts[n];
    bool good = expect_ret(m->step, finish(&g->r, io_ret), io_ret);

    for (uint32_t i = g->first; i <= g->last; i++) {
        ModelZone *z = &m->zones[i];

        if (z->pending && io_ret == 0) {
            z->state = z->pending;
            z->base = z->start + (z->state == FU ? z->capacity : 0);
            z->data_end = z->state == FU ? z->data_end : z->start;
        }
        z->pending = NW;
    }
    m->mgmts[n] = m->mgmts[--m->nr_mgmts];
    g_free(g);
    return good;
}

/* Compare all that can be seen of all zones */
static bool model_compare(Model *m)
{
    unsigned int nr = MODEL_ZONES + 1;
    BlockZoneDescriptor d[MODEL_ZONES + 1];
    bool good = true;

    zone_table_report(m->t, 0, &nr, d);
    good &= expect_value(m->step, "number of zones", nr, MODEL_ZONES);
    for (int i = MODEL_CONV; i < MODEL_ZONES && good; i++) {
        ModelZone *z = &m->zones[i];
        uint64_t wp = model_wp(z);
        ZoneRecord r = record_of(m->t, i, false);
        bool lost = z->state == IO || z->state == EO || z->state == CL;

        good &= expect_state(m->step, d[i].state, z->state) &
                expect_value(m->step, "write pointer", d[i].wp,
                             z->state == FU ? z->start + z->length : wp);
        if (z->pending) {
            good &= expect_state(m->step, r.state, z->pending);
        } else {
            good &= expect_state(m->step, r.state, !lost ? z->state :
                                 wp == z->start ? EM : CL) &
                    expect_value(m->step, "stored write pointer", r.wp, wp) &
                    expect_value(m->step, "end of data", r.data_end,
                                 z->data_end);
        }
        if (!good) {
            g_test_message("%s: that was zone %d", m->step, i);
        }
    }
    g_assert_true(!m->g.zones.max_open ||
                  model_open(m) <= m->g.zones.max_open);
    g_assert_true(!m->g.zones.max_active ||
                  model_active(m) <= m->g.zones.max_active);
    return good && expect_counts(m->step, m->t);
}

/* Let one request in progress end; false if there is none, or on failure */
static bool model_end_one(Model *m, bool *good)
{
    int n = m->nr_mgmts, k;

    for (int i = 0; i < MODEL_ZONES; i++) {
        for (int j = 0; j < m->zones[i].nr_writes; j++) {
            n += !m->zones[i].writes[j]->over;
        }
    }
    if (n == 0) {
        return false;
    }
    k = model_random(m, n);
    if (k < m->nr_mgmts) {
        *good = model_end_mgmt(m, k, model_random(m, 4) ? 0 : -ENOSPC);
        return true;
    }
    k -= m->nr_mgmts;
    for (int i = 0; i < MODEL_ZONES; i++) {
        ModelZone *z = &m->zones[i];

        for (int j = 0; j < z->nr_writes; j++) {
            ModelWrite *w = z->writes[j];

            if (!w->over && k-- == 0) {
                static const int rets[8] = { [3] = -EIO, [6] = -EFBIG };

                w->io_ret = rets[model_random(m, ARRAY_SIZE(rets))];
                w->over = true;
                finish(&w->r, w->io_ret);
                *good = model_settle_writes(m, z);
                return true;
            }
        }
    }
    g_assert_not_reached();
}

/* Returns what the begin call has to return now, or WAITING */
static int model_begin_write(Model *m, ModelWrite *w)
{
    uint64_t zone = w->r.offset / MODEL_SIZE;
    int ret = model_check_write(m, &w->r);

    /* Nothing that is wrong with the address has to wait */
    if (zone >= MODEL_CONV && zone < MODEL_ZONES &&
        (w->r.kind == APPEND ? w->r.offset % MODEL_SIZE == 0
                             : w->r.offset + w->r.bytes <= m->g.size) &&
        w->r.offset < m->g.size && model_holds_writes(&m->zones[zone])) {
        return WAITING;
    }
    return ret;
}

/* A write has begun: compare what begin returned, and reserve */
static bool model_write_begun(Model *m, ModelWrite *w, const Request *what,
                              int want)
{
    int begun = w->r.begun;
    uint64_t position = w->r.offset;
    bool good = expect_ret(m->step, begun, want);

    if (!good || begun < 0) {
        g_free(w);
        return good;
    }
    w->r.offset = what->offset;
    if (w->r.bytes && what->offset >= MODEL_CONV * MODEL_SIZE) {
        model_reserve(m, w);
        m->nr_success++;
        return expect_value(m->step, "position", position, w->start);
    }
    good = expect_ret(m->step, finish(&w->r, 0), 0);
    g_free(w);
    return good;
}

/* Did one of the zone's writes fail while others are still in progress? */
static bool model_recovers(ModelZone *z)
{
    return !z->pending && model_first_failure(z) < z->nr_writes;
}

static bool model_step_write(Model *m)
{
    ModelZone *z = &m->zones[model_random(m, MODEL_ZONES)];
    bool append = model_random(m, 2), good = true, recovers;
    ModelWrite *w = g_new0(ModelWrite, 1);
    Request what = {
        .t = m->t,
        .kind = append ? APPEND : WRITE,
        .offset = append ? z->start : model_next_write(z),
        .bytes = model_random(m, 6) * BLOCK,
    };
    int want;

    switch (model_random(m, 30)) {
    case 0:
        what.offset = z->start + model_random(m, 16) * BLOCK;
        break;
    case 1:
        what.offset += 512;
        break;
    case 2:
        what.bytes += 512;
        break;
    case 3:
        what.bytes = model_random(m, 40) * BLOCK;
        break;
    case 4:
        what.bytes = z->start + z->capacity - model_next_write(z);
        break;
    }
    g_free(m->step);
    m->step = g_strdup_printf("%s of 0x%" PRIx64 " + 0x%" PRIx64,
                              append ? "append" : "write", what.offset,
                              what.bytes);

    w->r = what;
    want = model_begin_write(m, w);
    recovers = what.offset < m->g.size &&
               model_recovers(&m->zones[what.offset / MODEL_SIZE]);
    start(&w->r, &what);
    while (want == WAITING) {
        m->nr_waited++;
        good &= expect_ret(m->step, w->r.begun, WAITING);
        if (!good || !model_end_one(m, &good) || !good) {
            /* The table is lost, as is the coroutine */
            return false;
        }
        want = model_begin_write(m, &(ModelWrite) { .r = what });
    }
    if (want == -ESPIPE && recovers &&
        what.offset > model_next_write(&m->zones[what.offset / MODEL_SIZE])) {
        want = -EIO;    /* as those had it that it was to go behind */
    }
    return model_write_begun(m, w, &what, want);
}

static bool model_step_mgmt(Model *m)
{
    static const BlockZoneOp ops[] = {
        BLK_ZO_OPEN, BLK_ZO_CLOSE, BLK_ZO_FINISH, BLK_ZO_RESET,
    };
    ModelMgmt *g = g_new0(ModelMgmt, 1);
    bool good = true;
    int want;

    g->first = model_random(m, MODEL_ZONES);
    g->last = MIN(g->first + (model_random(m, 3) ? 0 : model_random(m, 4)),
                  MODEL_ZONES - 1);
    g->r = (Request) {
        .t = m->t, .kind = MGMT, .op = ops[model_random(m, 4)],
        .flags = model_random(m, 3) ? 0 : BDRV_ZONE_CLOSE_EMPTY,
    };
    if (!model_random(m, 12)) {
        g->first = 0;
        g->last = MODEL_ZONES - 1;
        g->r.flags |= BDRV_ZONE_ALL;
    }
    g->r.offset = m->zones[g->first].start;
    g->r.bytes = m->zones[g->last].start + m->zones[g->last].length -
                 g->r.offset;
    g_free(m->step);
    m->step = g_strdup_printf("op %d, flags %d, zones %u to %u", g->r.op,
                              g->r.flags, g->first, g->last);

    start(&g->r, &(Request) {
        .t = m->t, .kind = MGMT, .op = g->r.op, .flags = g->r.flags,
        .offset = g->r.offset, .bytes = g->r.bytes,
    });
    for (;;) {
        want = model_begin_mgmt(m, g);
        if (want != WAITING) {
            break;
        }
        m->nr_waited++;
        good &= expect_ret(m->step, g->r.begun, WAITING);
        if (!good || !model_end_one(m, &good) || !good) {
            return false;
        }
    }
    good = expect_ret(m->step, g->r.begun, want);
    if (want < 0) {
        g_free(g);
    } else {
        m->nr_success++;
    }
    return good;
}

static Model *model_new(const ZoneGeometry *limits, uint32_t seed)
{
    Model *m = g_new0(Model, 1);

    m->g = (ZoneGeometry) {
        .size = (MODEL_ZONES - 1) * MODEL_SIZE + MODEL_SHORT,
        .zones.size = MODEL_SIZE,
        .zones.capacity = MODEL_CAPACITY,
        .conventional_zones = MODEL_CONV,
        .zones.max_open = limits->zones.max_open,
        .zones.max_active = limits->zones.max_active,
        .zones.max_append = MODEL_APPEND,
        .zones.write_granularity = BLOCK,
    };
    m->rand = g_rand_new_with_seed(seed);
    m->t = zone_table_new(&m->g);
    for (int i = 0; i < MODEL_ZONES; i++) {
        uint64_t start = i * MODEL_SIZE;
        bool is_short = i == MODEL_ZONES - 1;

        m->zones[i] = (ModelZone) {
            .state = i < MODEL_CONV ? NW : i == MODEL_RDONLY ? RO :
                     i == MODEL_OFFLINE ? OF : EM,
            .start = start,
            .length = is_short ? MODEL_SHORT : MODEL_SIZE,
            .capacity = is_short ? MODEL_SHORT : MODEL_CAPACITY,
            .base = start,
            .data_end = start,
        };
        if (m->zones[i].state == RO || m->zones[i].state == OF) {
            g_assert_true(zone_table_load(m->t, i, &(ZoneRecord) {
                m->zones[i].state, 0, start, start,
            }));
        }
    }
    return m;
}

static bool model_step(Model *m)
{
    int dice = model_random(m, 100);
    bool good = true;

    if (dice < 45) {
        return model_step_write(m);
    }
    if (dice < 60 && m->nr_mgmts < MODEL_MGMTS) {
        return model_step_mgmt(m);
    }
    g_free(m->step);
    m->step = g_strdup("an end");
    model_end_one(m, &good);
    return good;
}

static bool model_run(const ZoneGeometry *limits, int steps, uint32_t seed)
{
    Model *m = model_new(limits, seed);
    bool good = true;

    for (int i = 0; i < steps && good; i++) {
        good = model_step(m) && model_compare(m);
        if (!good) {
            g_test_message("limits %u and %u, seed %u, step %d: %s",
                           limits->zones.max_open, limits->zones.max_active,
                           seed, i, m->step);
            g_test_fail();
        }
    }
    if (good) {
        /* Enough of it must have been real, and some must have waited. */
        g_assert_cmpuint(m->nr_success, >, steps / 20);
        g_assert_cmpuint(m->nr_waited, >, steps / 100);
        while (model_end_one(m, &good)) {
            /* Nothing stays in flight */
        }
        zone_table_free(m->t);
    }
    g_rand_free(m->rand);
    g_free(m->step);
    g_free(m);
    return good;
}

static void test_model(void)
{
    static const ZoneGeometry limits[] = {
        { .zones.max_open = 0, .zones.max_active = 0 },
        { .zones.max_open = 1, .zones.max_active = 1 },
        { .zones.max_open = 1, .zones.max_active = 3 },
        { .zones.max_open = 2, .zones.max_active = 2 },
        { .zones.max_open = 2, .zones.max_active = 4 },
        { .zones.max_open = 3, .zones.max_active = 5 },
        { .zones.max_open = 0, .zones.max_active = 3 },
        { .zones.max_open = 3, .zones.max_active = 0 },
    };

    for (int i = 0; i < ARRAY_SIZE(limits); i++) {
        if (!model_run(&limits[i], 15000, i)) {
            return;
        }
    }
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/zone-table/model/agrees-over-random-requests",
                    test_model);
    return g_test_run();
}
