/*
 * What the unit tests of the zone table share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zone-table-harness.h"

ZoneGeometry standard_geometry(void)
{
    return (ZoneGeometry) {
        .size = NR_ZONES * ZONE,
        .zones.size = ZONE,
        .zones.capacity = CAPACITY,
        .conventional_zones = NR_CONV,
        .zones.max_append = 2 * ZONE,
        .zones.write_granularity = BLOCK,
    };
}

ZoneTable *new_table(void)
{
    ZoneGeometry g = standard_geometry();

    return zone_table_new(&g);
}

ZoneTable *new_limited_table(uint32_t max_open, uint32_t max_active)
{
    ZoneGeometry g = standard_geometry();

    g.zones.max_open = max_open;
    g.zones.max_active = max_active;
    return zone_table_new(&g);
}

ZoneGeometry zns_geometry(void)
{
    ZoneGeometry g = standard_geometry();

    g.zones.ext_size = 64;
    g.zones.zrwa_size = AREA;
    g.zones.zrwa_granularity = GRAIN;
    return g;
}

ZoneTable *new_zns_table(uint32_t max_active, uint32_t max_zrwa)
{
    ZoneGeometry g = zns_geometry();

    g.zones.max_active = max_active;
    g.zones.max_zrwa = max_zrwa;
    return zone_table_new(&g);
}

/* --- Comparing: a failure says in which cell it happened --- */

static const char *ret_name(int ret)
{
    return ret == WAITING ? "waiting" : ret < 0 ? strerror(-ret) : "success";
}

bool expect_ret(const char *cell, int got, int want)
{
    if (got != want) {
        g_test_message("%s: result is %d (%s), expected %d (%s)", cell,
                       got, ret_name(got), want, ret_name(want));
        g_test_fail();
    }
    return got == want;
}

bool expect_state(const char *cell, BlockZoneState got, BlockZoneState want)
{
    if (got != want) {
        g_test_message("%s: state is %s, expected %s", cell,
                       zone_state_name(got), zone_state_name(want));
        g_test_fail();
    }
    return got == want;
}

bool expect_value(const char *cell, const char *what,
                  uint64_t got, uint64_t want)
{
    if (got != want) {
        g_test_message("%s: %s is 0x%" PRIx64 ", expected 0x%" PRIx64, cell,
                       what, got, want);
        g_test_fail();
    }
    return got == want;
}

/* --- Requests: each one in a coroutine of its own --- */

unsigned int requests_ended;

static void coroutine_fn request_entry(void *opaque)
{
    Request *r = opaque;
    int ret;

    switch (r->kind) {
    case WRITE:
        ret = zone_table_begin_write(r->t, &r->w, r->offset, r->bytes);
        break;
    case APPEND:
        ret = zone_table_begin_append(r->t, &r->w, &r->offset, r->bytes);
        break;
    default:
        ret = zone_table_begin_mgmt(r->t, &r->m, r->op, r->flags,
                              r->offset, r->bytes);
        break;
    }
    r->begun = ret;
    if (ret == 0) {
        if (r->op == BLK_ZO_SET_EXT && !r->ext_late) {
            zone_table_ext_written(r->t, &r->m);
        }
        qemu_coroutine_yield();
        ret = r->kind == MGMT ? zone_table_end_mgmt(r->t, &r->m, r->io_ret)
                              : zone_table_end_write(r->t, &r->w, r->io_ret);
    }
    r->ended = ret;
    r->order = requests_ended++;
    r->co = NULL;
}

void start(Request *r, const Request *what)
{
    *r = *what;
    r->begun = r->ended = WAITING;
    r->co = qemu_coroutine_create(request_entry, r);
    qemu_coroutine_enter(r->co);
}

void start_write(Request *r, ZoneTable *t, uint64_t offset, uint64_t bytes)
{
    start(r, &(Request) {
        .t = t, .kind = WRITE, .offset = offset, .bytes = bytes,
    });
}

void start_append(Request *r, ZoneTable *t, uint32_t zone, uint64_t bytes)
{
    start(r, &(Request) {
        .t = t, .kind = APPEND, .offset = zone * ZONE, .bytes = bytes,
    });
}

void start_mgmt(Request *r, ZoneTable *t, BlockZoneOp op,
                uint32_t zone, uint32_t nr)
{
    start(r, &(Request) {
        .t = t, .kind = MGMT, .op = op,
        .offset = zone * ZONE, .bytes = nr * ZONE,
    });
}

void end_io(Request *r, int io_ret)
{
    g_assert_cmpint(r->begun, ==, 0);
    g_assert_cmpint(r->ended, ==, WAITING);
    r->io_ret = io_ret;
    qemu_coroutine_enter(r->co);
}

int finish(Request *r, int io_ret)
{
    end_io(r, io_ret);
    while (aio_poll(qemu_get_aio_context(), false)) {
        /* Others that this one lets go on */
    }
    return r->ended;
}

int run(Request *r, const Request *what)
{
    start(r, what);
    g_assert_cmpint(r->begun, !=, WAITING);
    return r->begun < 0 ? r->begun : finish(r, 0);
}

int do_write(ZoneTable *t, uint64_t offset, uint64_t bytes)
{
    Request r;

    return run(&r, &(Request) {
        .t = t, .kind = WRITE, .offset = offset, .bytes = bytes,
    });
}

int do_append(ZoneTable *t, uint32_t zone, uint64_t bytes, uint64_t *position)
{
    Request r;
    int ret;

    ret = run(&r, &(Request) {
        .t = t, .kind = APPEND, .offset = zone * ZONE, .bytes = bytes,
    });
    *position = r.offset;
    return ret;
}

int do_mgmt_flags(ZoneTable *t, BlockZoneOp op, BlockZoneFlags flags,
                  uint32_t zone, uint32_t nr)
{
    Request r;

    return run(&r, &(Request) {
        .t = t, .kind = MGMT, .op = op, .flags = flags,
        .offset = zone * ZONE, .bytes = nr * ZONE,
    });
}

int do_mgmt(ZoneTable *t, BlockZoneOp op, uint32_t zone)
{
    return do_mgmt_flags(t, op, 0, zone, 1);
}

/* --- Looking at zones --- */

BlockZoneDescriptor report_zone(ZoneTable *t, uint32_t zone)
{
    BlockZoneDescriptor d;
    unsigned int nr = 1;

    zone_table_report(t, zone * ZONE, &nr, &d);
    g_assert_cmpuint(nr, ==, 1);
    return d;
}

BlockZoneState state_of(ZoneTable *t, uint32_t zone)
{
    return report_zone(t, zone).state;
}

uint64_t written_in(ZoneTable *t, uint32_t zone)
{
    return report_zone(t, zone).wp - zone * ZONE;
}

ZoneRecord record_of(ZoneTable *t, uint32_t zone, bool live)
{
    ZoneRecord r;

    zone_table_record(t, zone, live, &r);
    return r;
}

uint32_t nr_open(ZoneTable *t)
{
    ZoneCounts c;

    zone_table_count(t, &c);
    return c.in_state[BLK_ZS_IOPEN] + c.in_state[BLK_ZS_EOPEN];
}

uint32_t nr_active(ZoneTable *t)
{
    ZoneCounts c;

    zone_table_count(t, &c);
    return c.in_state[BLK_ZS_IOPEN] + c.in_state[BLK_ZS_EOPEN] +
           c.in_state[BLK_ZS_CLOSED];
}

bool expect_counts(const char *cell, ZoneTable *t)
{
    unsigned int nr = zone_table_nr_zones(t);
    g_autofree BlockZoneDescriptor *zones = g_new(BlockZoneDescriptor, nr);
    uint32_t in_state[BLK_ZS_OFFLINE + 1] = { 0 };
    bool good = true;
    ZoneCounts counts;

    zone_table_report(t, 0, &nr, zones);
    for (unsigned int i = 0; i < nr; i++) {
        in_state[zones[i].state]++;
    }
    zone_table_count(t, &counts);
    for (unsigned int s = 0; s < ARRAY_SIZE(in_state); s++) {
        if (counts.in_state[s] != in_state[s]) {
            g_test_message("%s: count of zones %s is %u, expected %u", cell,
                           zone_state_name(s), counts.in_state[s],
                           in_state[s]);
            g_test_fail();
            good = false;
        }
    }
    return good;
}

void put_zone(ZoneTable *t, uint32_t zone, BlockZoneState state,
              uint64_t written)
{
    uint64_t begin = zone * ZONE;
    ZoneRecord r = {
        .state = state,
        .wp = begin + (state == BLK_ZS_FULL ? CAPACITY : written),
        .data_end = begin + written,
    };

    g_assert_true(zone_table_load(t, zone, &r));
}

bool expect_record(const char *cell, ZoneRecord got, ZoneRecord want)
{
    return expect_state(cell, got.state, want.state) &
           expect_value(cell, "attributes", got.attributes, want.attributes) &
           expect_value(cell, "stored write pointer", got.wp, want.wp) &
           expect_value(cell, "end of data", got.data_end, want.data_end);
}

/* --- Situations that a zone can be in --- */

const Situation situations[NR_SITUATIONS] = {
    { "a conventional zone", BLK_ZS_NOT_WP },
    { "an empty zone", BLK_ZS_EMPTY },
    { "an implicitly open zone", BLK_ZS_IOPEN, WRITTEN },
    { "an explicitly open zone", BLK_ZS_EOPEN, WRITTEN },
    { "a closed zone", BLK_ZS_CLOSED, WRITTEN },
    { "a full zone", BLK_ZS_FULL, CAPACITY },
    { "a read-only zone", BLK_ZS_RDONLY, WRITTEN },
    { "an offline zone", BLK_ZS_OFFLINE, WRITTEN },
    /* Open or closed, but nothing was written yet */
    { "an implicitly open zone without data", BLK_ZS_IOPEN },
    { "an explicitly open zone without data", BLK_ZS_EOPEN },
    { "a closed zone without data", BLK_ZS_CLOSED },
    /* Finished before everything was written */
    { "a finished zone", BLK_ZS_FULL, WRITTEN },
};

uint32_t put_situation(ZoneTable *t, const Situation *s)
{
    uint32_t zone = s->state == BLK_ZS_NOT_WP ? 0 : FIRST_SEQ;

    if (s->state != BLK_ZS_NOT_WP) {
        put_zone(t, zone, s->state, s->written);
    }
    return zone;
}

void expect_zone(const char *cell, ZoneTable *t, uint32_t zone,
                 BlockZoneState state, uint64_t written,
                 uint64_t data)
{
    ZoneRecord r = record_of(t, zone, true);
    bool full = state == BLK_ZS_FULL;

    expect_state(cell, state_of(t, zone), state);
    expect_value(cell, "write pointer", written_in(t, zone),
                 full ? ZONE : written);
    expect_state(cell, r.state, state);
    expect_value(cell, "stored write pointer", r.wp - zone * ZONE,
                 full ? CAPACITY : written);
    expect_value(cell, "end of data", r.data_end - zone * ZONE, data);
}

/* --- Extensions and random write areas --- */

void put_zns_zone(ZoneTable *t, uint32_t zone, BlockZoneState state,
                  uint8_t attributes, uint64_t wp, uint64_t data_end)
{
    g_assert_true(zone_table_load(t, zone, &(ZoneRecord) {
        state, attributes, zone * ZONE + wp, zone * ZONE + data_end,
    }));
}

uint8_t attributes_of(ZoneTable *t, uint32_t zone)
{
    uint8_t attributes = report_zone(t, zone).attributes;

    g_assert_cmphex(record_of(t, zone, true).attributes, ==, attributes);
    return attributes;
}

uint64_t data_end_of(ZoneTable *t, uint32_t zone)
{
    return record_of(t, zone, true).data_end - zone * ZONE;
}

void start_commit(Request *r, ZoneTable *t, uint32_t zone, uint64_t upto)
{
    start(r, &(Request) {
        .t = t, .kind = MGMT, .op = BLK_ZO_ZRWA_COMMIT,
        .offset = zone * ZONE, .bytes = upto,
    });
}

int do_commit(ZoneTable *t, uint32_t zone, uint64_t upto)
{
    Request r;

    start_commit(&r, t, zone, upto);
    g_assert_cmpint(r.begun, !=, WAITING);
    return r.begun < 0 ? r.begun : finish(&r, 0);
}

int do_open_zrwa(ZoneTable *t, uint32_t zone)
{
    return do_mgmt_flags(t, BLK_ZO_OPEN, BDRV_ZONE_ZRWA, zone, 1);
}

uint32_t zrwa_left(ZoneTable *t)
{
    uint32_t got = 0;

    for (uint32_t i = NR_ZONES - 1; i >= NR_ZONES - 4; i--) {
        got += do_open_zrwa(t, i) == 0;
    }
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_RESET, 0, NR_ZONES - 4, 4), ==, 0);
    return got;
}

/* --- Orders in which requests end --- */

void swap(int *a, int *b)
{
    int c = *a;

    *a = *b;
    *b = c;
}

bool next_permutation(int *order, int n)
{
    int i = n - 2, j = n - 1;

    while (i >= 0 && order[i] > order[i + 1]) {
        i--;
    }
    if (i < 0) {
        return false;
    }
    while (order[j] < order[i]) {
        j--;
    }
    swap(&order[i], &order[j]);
    for (int a = i + 1, b = n - 1; a < b; a++, b--) {
        swap(&order[a], &order[b]);
    }
    return true;
}

void identity(int *order, int n)
{
    for (int i = 0; i < n; i++) {
        order[i] = i;
    }
}

char *order_name(const char *what, const int *order, int n)
{
    GString *s = g_string_new(what);

    g_string_append(s, ", ending in the order");
    for (int i = 0; i < n; i++) {
        g_string_append_printf(s, " %d", order[i]);
    }
    return g_string_free(s, false);
}

/* --- The store --- */

void expect_blocks(const ZoneSnapshot *snap, const char *blocks)
{
    g_autoptr(GString) found = g_string_new("");

    for (guint b = 0; snap && b < snap->blocks->len; b++) {
        g_string_append_printf(found, "%s%" PRIu32, b ? " " : "",
                               g_array_index(snap->blocks, uint32_t, b));
    }
    g_assert_cmpstr(found->str, ==, blocks);
}

void expect_dirty(ZoneTable *t, const char *blocks)
{
    ZoneSnapshot *snap = zone_table_take_snapshot(t, false);

    expect_blocks(snap, blocks);
    if (snap) {
        g_assert_false(snap->more);
        zone_table_drop_snapshot(t, snap, true);
    }
}

void store_all(ZoneTable *t)
{
    ZoneSnapshot *snap;

    while ((snap = zone_table_take_snapshot(t, false))) {
        zone_table_drop_snapshot(t, snap, true);
    }
}

bool resets_zone(ZoneTable *t, const ZoneMgmt *m, uint32_t zone)
{
    uint32_t i = zone;

    return zone_mgmt_next_reset(t, m, &i) && i == zone;
}
