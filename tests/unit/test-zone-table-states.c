/*
 * Unit tests of the zone table: every operation on a zone in every state
 *
 * What the standards say about one zone in one state is in tables of data,
 * whose columns are the situations of the harness.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "zone-table-harness.h"

/* --- Appends --- */

static void test_append_returns_position(void)
{
    ZoneTable *t = new_table();
    uint64_t position;

    g_assert_cmpint(do_append(t, FIRST_SEQ, 2 * BLOCK, &position), ==, 0);
    g_assert_cmphex(position, ==, FIRST_SEQ * ZONE);
    g_assert_cmpint(do_append(t, FIRST_SEQ, BLOCK, &position), ==, 0);
    g_assert_cmphex(position, ==, FIRST_SEQ * ZONE + 2 * BLOCK);
    g_assert_cmphex(written_in(t, FIRST_SEQ), ==, 3 * BLOCK);
    zone_table_free(t);
}

static void add_append_tests(void)
{
    g_test_add_func("/zone-table/append/returns-position",
                    test_append_returns_position);
}

/* --- Every operation on a zone in every state --- */

/* A cell of a table: the state after success, or the errno of a refusal */
typedef int Outcome;

/* What a size or a distance is counted from */
typedef enum Origin { ZERO, WP, ZONE_START, ROOM, REST_OF_ZONE } Origin;

typedef struct DataCase {
    const char *name;
    RequestKind kind;
    Origin from;                /* ZONE_START or WP */
    int64_t distance;
    Origin size;                /* ZERO, ROOM or REST_OF_ZONE */
    int64_t more;
    Outcome want[NR_SITUATIONS];
} DataCase;

static const DataCase data_cases[] = {
    { "a write at the write pointer", WRITE, WP, 0, ZERO, 64 * KiB,
      { NW, IO, IO, EO, IO, -EFBIG, -EROFS, -ENODEV,
        IO, EO, IO, -EFBIG } },
    { "a write that fills the zone", WRITE, WP, 0, ROOM, 0,
      { NW, FU, FU, FU, FU, -EFBIG, -EROFS, -ENODEV,
        FU, FU, FU, -EFBIG } },
    { "a write above the write pointer", WRITE, WP, BLOCK, ZERO, BLOCK,
      { NW, -ESPIPE, -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG, -EROFS, -ENODEV,
        -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG } },
    { "a write at the zone start", WRITE, ZONE_START, 0, ZERO, BLOCK,
      { NW, IO, -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG, -EROFS, -ENODEV,
        IO, EO, IO, -EFBIG } },
    { "a write at the end of the capacity", WRITE, ZONE_START, CAPACITY,
      ZERO, BLOCK,
      { NW, -ESPIPE, -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG, -EROFS, -ENODEV,
        -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG } },
    { "a write that begins within a block", WRITE, WP, 512, ZERO, BLOCK,
      { NW, -ESPIPE, -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG, -EROFS, -ENODEV,
        -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG } },
    { "a write that ends within a block", WRITE, WP, 0, ZERO, BLOCK + 512,
      { NW, -ESPIPE, -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG, -EROFS, -ENODEV,
        -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG } },
    { "a write past the capacity", WRITE, WP, 0, ROOM, BLOCK,
      { NW, -ERANGE, -ERANGE, -ERANGE, -ERANGE, -EFBIG, -EROFS, -ENODEV,
        -ERANGE, -ERANGE, -ERANGE, -EFBIG } },
    { "a write into the next zone", WRITE, WP, 0, REST_OF_ZONE, BLOCK,
      { NW, -ERANGE, -ERANGE, -ERANGE, -ERANGE, -EFBIG, -EROFS, -ENODEV,
        -ERANGE, -ERANGE, -ERANGE, -EFBIG } },
    { "a write of nothing at the write pointer", WRITE, WP, 0, ZERO, 0,
      { NW, EM, IO, EO, CL, -EFBIG, -EROFS, -ENODEV,
        IO, EO, CL, -EFBIG } },
    { "a write of nothing above the write pointer", WRITE, WP, BLOCK, ZERO, 0,
      { NW, -ESPIPE, -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG, -EROFS, -ENODEV,
        -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG } },

    { "an append", APPEND, ZONE_START, 0, ZERO, 64 * KiB,
      { -EINVAL, IO, IO, EO, IO, -EFBIG, -EROFS, -ENODEV,
        IO, EO, IO, -EFBIG } },
    { "an append that fills the zone", APPEND, ZONE_START, 0, ROOM, 0,
      { -EINVAL, FU, FU, FU, FU, -EFBIG, -EROFS, -ENODEV,
        FU, FU, FU, -EFBIG } },
    { "an append of part of a block", APPEND, ZONE_START, 0, ZERO, 512,
      { -EINVAL, -ESPIPE, -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG, -EROFS, -ENODEV,
        -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG } },
    { "an append past the capacity", APPEND, ZONE_START, 0, ROOM, BLOCK,
      { -EINVAL, -ERANGE, -ERANGE, -ERANGE, -ERANGE, -EFBIG, -EROFS, -ENODEV,
        -ERANGE, -ERANGE, -ERANGE, -EFBIG } },
    { "an append into the next zone", APPEND, ZONE_START, 0,
      REST_OF_ZONE, BLOCK,
      { -EINVAL, -ERANGE, -ERANGE, -ERANGE, -ERANGE, -EFBIG, -EROFS, -ENODEV,
        -ERANGE, -ERANGE, -ERANGE, -EFBIG } },
    { "an append above the limit", APPEND, ZONE_START, 0,
      ZERO, 2 * ZONE + BLOCK,
      { -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EFBIG, -EROFS, -ENODEV,
        -EINVAL, -EINVAL, -EINVAL, -EFBIG } },
    { "an append of nothing", APPEND, ZONE_START, 0, ZERO, 0,
      { -EINVAL, EM, IO, EO, CL, -EFBIG, -EROFS, -ENODEV,
        IO, EO, CL, -EFBIG } },
    { "an append not at the start of the zone", APPEND, ZONE_START, BLOCK,
      ZERO, BLOCK,
      { -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL,
        -EINVAL, -EINVAL, -EINVAL, -EINVAL } },
};

typedef struct MgmtCase {
    const char *name;
    BlockZoneOp op;
    BlockZoneFlags flags;
    Outcome want[NR_SITUATIONS];
} MgmtCase;

static const MgmtCase mgmt_cases[] = {
    { "open", BLK_ZO_OPEN, 0,
      { -EINVAL, EO, EO, EO, EO, -EINVAL, -EINVAL, -EINVAL,
        EO, EO, EO, -EINVAL } },
    { "close", BLK_ZO_CLOSE, 0,
      { -EINVAL, -EINVAL, CL, CL, CL, -EINVAL, -EINVAL, -EINVAL,
        EM, EM, CL, -EINVAL } },
    { "close as in ZNS", BLK_ZO_CLOSE, BDRV_ZONE_CLOSE_EMPTY,
      { -EINVAL, -EINVAL, CL, CL, CL, -EINVAL, -EINVAL, -EINVAL,
        CL, CL, CL, -EINVAL } },
    /* As in ZBC: what is so already is GOOD */
    { "open as in ZBC", BLK_ZO_OPEN, BDRV_ZONE_LENIENT,
      { -EINVAL, EO, EO, EO, EO, FU, -EINVAL, -EINVAL, EO, EO, EO, FU } },
    { "close as in ZBC", BLK_ZO_CLOSE, BDRV_ZONE_LENIENT,
      { -EINVAL, EM, CL, CL, CL, FU, -EINVAL, -EINVAL, EM, EM, CL, FU } },
    { "finish", BLK_ZO_FINISH, 0,
      { -EINVAL, FU, FU, FU, FU, FU, -EINVAL, -EINVAL, FU, FU, FU, FU } },
    { "reset", BLK_ZO_RESET, 0,
      { -EINVAL, EM, EM, EM, EM, EM, -EINVAL, -EINVAL, EM, EM, EM, EM } },

    { "open, select all", BLK_ZO_OPEN, BDRV_ZONE_ALL,
      { NW, EM, IO, EO, EO, FU, RO, OF, IO, EO, EO, FU } },
    { "close, select all", BLK_ZO_CLOSE, BDRV_ZONE_ALL,
      { NW, EM, CL, CL, CL, FU, RO, OF, EM, EM, CL, FU } },
    { "close as in ZNS, select all", BLK_ZO_CLOSE,
      BDRV_ZONE_ALL | BDRV_ZONE_CLOSE_EMPTY,
      { NW, EM, CL, CL, CL, FU, RO, OF, CL, CL, CL, FU } },
    { "finish, select all", BLK_ZO_FINISH, BDRV_ZONE_ALL,
      { NW, EM, FU, FU, FU, FU, RO, OF, FU, FU, FU, FU } },
    { "reset, select all", BLK_ZO_RESET, BDRV_ZONE_ALL,
      { NW, EM, EM, EM, EM, EM, RO, OF, EM, EM, EM, EM } },

    { "offline", BLK_ZO_OFFLINE, 0,
      { -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, OF, OF,
        -EINVAL, -EINVAL, -EINVAL, -EINVAL } },
    { "offline, select all", BLK_ZO_OFFLINE, BDRV_ZONE_ALL,
      { NW, EM, IO, EO, CL, FU, OF, OF, IO, EO, CL, FU } },
    { "set extension", BLK_ZO_SET_EXT, 0,
      { -EINVAL, CL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL,
        -EINVAL, -EINVAL, -EINVAL, -EINVAL } },
    { "power cycle", BLK_ZO_POWER_CYCLE, 0,
      { NW, EM, CL, CL, CL, FU, RO, OF, EM, EM, EM, FU } },
    { "power cycle, select all", BLK_ZO_POWER_CYCLE, BDRV_ZONE_ALL,
      { NW, EM, CL, CL, CL, FU, RO, OF, EM, EM, EM, FU } },
    { "force read-only", BLK_ZO_FORCE_RDONLY, 0,
      { -EINVAL, RO, RO, RO, RO, RO, RO, RO, RO, RO, RO, RO } },
    { "force offline", BLK_ZO_FORCE_OFFLINE, 0,
      { -EINVAL, OF, OF, OF, OF, OF, OF, OF, OF, OF, OF, OF } },
    { "force repair", BLK_ZO_FORCE_REPAIR, 0,
      { -EINVAL, EM, IO, EO, CL, FU, CL, CL, IO, EO, CL, FU } },
};

static void check_data_cell(const DataCase *c, int i)
{
    const Situation *s = &situations[i];
    g_autofree char *cell = g_strdup_printf("%s to %s", c->name, s->name);
    const uint64_t origin[] = {
        [WP] = s->written, [ROOM] = CAPACITY - s->written,
        [REST_OF_ZONE] = ZONE - s->written,
    };
    ZoneTable *t = new_table();
    uint32_t zone = put_situation(t, s);
    uint64_t bytes = origin[c->size] + c->more;
    Request r;
    int ret;

    ret = run(&r, &(Request) {
        .t = t, .kind = c->kind, .bytes = bytes,
        .offset = zone * ZONE + origin[c->from] + c->distance,
    });
    if (c->want[i] < 0) {
        expect_ret(cell, ret, c->want[i]);
        expect_zone(cell, t, zone, s->state,
                    s->state == BLK_ZS_FULL ? CAPACITY : s->written,
                    s->written);
    } else {
        uint64_t end = zone ? s->written + bytes : 0;

        expect_ret(cell, ret, 0);
        expect_zone(cell, t, zone, c->want[i], end, end);
        if (c->kind == APPEND) {
            expect_value(cell, "position", r.offset - zone * ZONE, s->written);
        }
    }
    expect_zone(cell, t, zone + 1, zone ? EM : NW, 0, 0);
    expect_counts(cell, t);
    zone_table_free(t);
}

static void check_mgmt_cell(const MgmtCase *c, int i)
{
    const Situation *s = &situations[i];
    g_autofree char *cell = g_strdup_printf("%s of %s", c->name, s->name);
    ZoneTable *t = new_zns_table(0, 0);
    uint32_t zone = put_situation(t, s);
    BlockZoneState want = c->want[i] < 0 ? s->state : c->want[i];
    bool all = c->flags & BDRV_ZONE_ALL;
    uint64_t written = s->written;
    uint64_t wp = s->state == FU || want == FU ? CAPACITY : written;
    Request r;
    int ret;

    ret = run(&r, &(Request) {
        .t = t, .kind = MGMT, .op = c->op, .flags = c->flags,
        .offset = all ? 0 : zone * ZONE, .bytes = all ? NR_ZONES * ZONE : ZONE,
    });
    expect_ret(cell, ret, MIN(c->want[i], 0));
    if (ret == 0) {
        /* Also of what is so already: stable storage may not know */
        expect_value(cell, "need to commit", r.m.commit,
                     c->op != BLK_ZO_OPEN && c->op != BLK_ZO_CLOSE &&
                     c->op != BLK_ZO_POWER_CYCLE);
    }
    if (want == EM) {
        wp = written = 0;
    }
    expect_zone(cell, t, zone, want, wp, written);
    expect_value(cell, "attributes", report_zone(t, zone).attributes,
                 c->op == BLK_ZO_SET_EXT && ret == 0 ? BDRV_ZA_EXT : 0);
    expect_zone(cell, t, zone + 1, zone ? EM : NW, 0, 0);
    expect_counts(cell, t);
    zone_table_free(t);
}

static void test_data_matrix(void)
{
    for (int c = 0; c < ARRAY_SIZE(data_cases); c++) {
        for (int i = 0; i < NR_SITUATIONS; i++) {
            check_data_cell(&data_cases[c], i);
        }
    }
}

static void test_mgmt_matrix(void)
{
    for (int c = 0; c < ARRAY_SIZE(mgmt_cases); c++) {
        for (int i = 0; i < NR_SITUATIONS; i++) {
            check_mgmt_cell(&mgmt_cases[c], i);
        }
    }
}

/* All situations side by side: select all acts on each as if it were alone. */
static void test_select_all_mixed(void)
{
    for (int c = 0; c < ARRAY_SIZE(mgmt_cases); c++) {
        const MgmtCase *m = &mgmt_cases[c];
        ZoneTable *t = new_zns_table(0, 0);

        if (!(m->flags & BDRV_ZONE_ALL)) {
            zone_table_free(t);
            continue;
        }
        for (int i = 1; i < NR_SITUATIONS; i++) {
            put_zone(t, NR_CONV + i, situations[i].state,
                     situations[i].written);
        }
        expect_ret(m->name, do_mgmt_flags(t, m->op, m->flags, 0, NR_ZONES), 0);
        for (int i = 1; i < NR_SITUATIONS; i++) {
            g_autofree char *cell = g_strdup_printf("%s beside others: %s",
                                                    m->name,
                                                    situations[i].name);

            expect_state(cell, state_of(t, NR_CONV + i), m->want[i]);
        }
        expect_counts(m->name, t);
        zone_table_free(t);
    }
}

/* One zone that cannot change keeps all others as they are. */
static void test_range_all_or_nothing(void)
{
    static const struct {
        BlockZoneOp op;
        BlockZoneState bad, good;
    } tests[] = {
        { BLK_ZO_OPEN, FU, EM }, { BLK_ZO_OPEN, RO, CL },
        { BLK_ZO_CLOSE, EM, IO }, { BLK_ZO_CLOSE, FU, EO },
        { BLK_ZO_FINISH, RO, IO }, { BLK_ZO_FINISH, OF, CL },
        { BLK_ZO_RESET, RO, FU }, { BLK_ZO_RESET, OF, IO },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        for (int bad = 0; bad < 4; bad++) {
            g_autofree char *cell =
                g_strdup_printf("op %d on 4 zones, number %d is %s",
                                tests[c].op, bad,
                                zone_state_name(tests[c].bad));
            ZoneTable *t = new_table();

            for (int i = 0; i < 4; i++) {
                BlockZoneState s = i == bad ? tests[c].bad : tests[c].good;

                put_zone(t, FIRST_SEQ + i, s, s == EM ? 0 : WRITTEN);
            }
            expect_ret(cell,
                       do_mgmt_flags(t, tests[c].op, 0, FIRST_SEQ, 4),
                       -EINVAL);
            for (int i = 0; i < 4; i++) {
                expect_state(cell, state_of(t, FIRST_SEQ + i),
                             i == bad ? tests[c].bad : tests[c].good);
                expect_state(cell, record_of(t, FIRST_SEQ + i, true).state,
                             i == bad ? tests[c].bad : tests[c].good);
            }
            zone_table_free(t);
        }
    }
}

static void test_range_changes_every_zone(void)
{
    ZoneTable *t = new_table();

    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_OPEN, 0, FIRST_SEQ, 4), ==, 0);
    g_assert_cmpuint(nr_open(t), ==, 4);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_FINISH, 0, FIRST_SEQ, 3), ==, 0);
    g_assert_cmpint(state_of(t, FIRST_SEQ + 2), ==, FU);
    g_assert_cmpint(state_of(t, FIRST_SEQ + 3), ==, EO);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_RESET, 0, FIRST_SEQ, 14), ==, 0);
    for (int i = FIRST_SEQ; i < NR_ZONES; i++) {
        g_assert_cmpint(state_of(t, i), ==, EM);
    }
    zone_table_free(t);
}

static void test_mgmt_wants_whole_zones(void)
{
    static const struct {
        const char *name;
        uint64_t offset, bytes;
    } tests[] = {
        { "not at a zone start", FIRST_SEQ * ZONE + BLOCK, ZONE },
        { "ends within a zone", FIRST_SEQ * ZONE, ZONE + BLOCK },
        { "part of a zone", FIRST_SEQ * ZONE, BLOCK },
        { "no zone", FIRST_SEQ * ZONE, 0 },
        { "at the end of the device", NR_ZONES * ZONE, ZONE },
        { "past the end of the device", (NR_ZONES - 1) * ZONE, 2 * ZONE },
        { "beyond 2^32 zones", (1ULL << 32) * ZONE, ZONE },
        { "wraps", FIRST_SEQ * ZONE, UINT64_MAX - FIRST_SEQ * ZONE + 1 },
        { "wraps to a zone end", FIRST_SEQ * ZONE, UINT64_MAX - ZONE + 1 },
        { "last offset", UINT64_MAX - ZONE + 1, ZONE },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        ZoneTable *t = new_table();
        Request r;

        put_zone(t, FIRST_SEQ, BLK_ZS_CLOSED, WRITTEN);
        expect_ret(tests[c].name, run(&r, &(Request) {
            .t = t, .kind = MGMT, .op = BLK_ZO_RESET,
            .offset = tests[c].offset, .bytes = tests[c].bytes,
        }), -EINVAL);
        expect_state(tests[c].name, state_of(t, FIRST_SEQ), BLK_ZS_CLOSED);
        zone_table_free(t);
    }
}

static void test_requests_outside_the_device(void)
{
    static const struct {
        RequestKind kind;
        uint64_t offset, bytes;
        int want;
    } tests[] = {
        { WRITE, NR_ZONES * ZONE, BLOCK, -ERANGE },
        { WRITE, (NR_ZONES - 1) * ZONE, ZONE + BLOCK, -ERANGE },
        { WRITE, (1ULL << 32) * ZONE + FIRST_SEQ * ZONE, BLOCK, -ERANGE },
        { WRITE, FIRST_SEQ * ZONE, UINT64_MAX - FIRST_SEQ * ZONE + 1,
          -ERANGE },
        { APPEND, NR_ZONES * ZONE, BLOCK, -EINVAL },
        { APPEND, NR_ZONES * ZONE, 0, -EINVAL },
        { APPEND, (1ULL << 32) * ZONE + FIRST_SEQ * ZONE, BLOCK, -EINVAL },
        { APPEND, UINT64_MAX - ZONE + 1, BLOCK, -EINVAL },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        g_autofree char *cell = g_strdup_printf("case %d", c);
        ZoneTable *t = new_table();
        Request r;

        expect_ret(cell, run(&r, &(Request) {
            .t = t, .kind = tests[c].kind,
            .offset = tests[c].offset, .bytes = tests[c].bytes,
        }), tests[c].want);
        g_assert_cmpuint(nr_active(t), ==, 0);
        zone_table_free(t);
    }
}

static void add_state_tests(void)
{
    g_test_add_func("/zone-table/states/every-write-and-append",
                    test_data_matrix);
    g_test_add_func("/zone-table/states/every-management-operation",
                    test_mgmt_matrix);
    g_test_add_func("/zone-table/states/select-all-leaves-others-alone",
                    test_select_all_mixed);
    g_test_add_func("/zone-table/range/changes-every-zone",
                    test_range_changes_every_zone);
    g_test_add_func("/zone-table/range/all-or-nothing",
                    test_range_all_or_nothing);
    g_test_add_func("/zone-table/range/wants-whole-zones",
                    test_mgmt_wants_whole_zones);
    g_test_add_func("/zone-table/range/stays-in-the-device",
                    test_requests_outside_the_device);
}

/* --- Geometry --- */

static void test_conventional_zones(void)
{
    ZoneTable *t = new_table();
    BlockZoneDescriptor d;

    /* Any place, any order, any size, also over two zones at once */
    g_assert_cmpint(do_write(t, ZONE - 512, 1024), ==, 0);
    g_assert_cmpint(do_write(t, 3 * BLOCK, BLOCK), ==, 0);
    g_assert_cmpint(do_write(t, 3 * BLOCK, BLOCK), ==, 0);
    g_assert_cmpint(do_write(t, 0, 2 * ZONE), ==, 0);
    /* but not into a sequential one, even at its write pointer */
    g_assert_cmpint(do_write(t, 2 * ZONE - BLOCK, 2 * BLOCK), ==, -ERANGE);
    g_assert_cmpint(do_write(t, 0, 3 * ZONE), ==, -ERANGE);

    d = report_zone(t, 1);
    g_assert_cmpint(d.type, ==, BLK_ZT_CONV);
    g_assert_cmpint(d.state, ==, BLK_ZS_NOT_WP);
    g_assert_cmphex(d.start, ==, ZONE);
    g_assert_cmphex(d.cap, ==, ZONE);
    g_assert_cmphex(d.length, ==, ZONE);
    g_assert_cmpint(report_zone(t, 2).type, ==, BLK_ZT_SWR);
    g_assert_cmphex(written_in(t, 2), ==, 0);
    g_assert_false(zone_table_is_dirty(t));
    zone_table_free(t);
}

static void test_conventional_only(void)
{
    ZoneGeometry g = standard_geometry();
    uint64_t position;
    ZoneTable *t;
    bool data;

    g.size = 3 * ZONE - 512 * KiB;
    g.conventional_zones = 3;
    t = zone_table_new(&g);
    g_assert_cmpint(do_write(t, 0, g.size), ==, 0);
    g_assert_cmpint(do_write(t, 0, g.size + 512), ==, -ERANGE);
    g_assert_cmpint(do_append(t, 2, BLOCK, &position), ==, -EINVAL);
    g_assert_cmphex(report_zone(t, 2).length, ==, ZONE - 512 * KiB);
    g_assert_cmphex(report_zone(t, 2).cap, ==, ZONE - 512 * KiB);
    g_assert_cmphex(zone_table_readable(t, 0, g.size, &data), ==, g.size);
    g_assert_true(data);
    zone_table_free(t);
}

static void test_conventional_io_errors(void)
{
    ZoneTable *t = new_table();
    Request r;

    start_write(&r, t, 0, BLOCK);
    g_assert_cmpint(finish(&r, -EIO), ==, -EIO);
    start_write(&r, t, 0, BLOCK);
    g_assert_cmpint(finish(&r, -EROFS), ==, -EIO);
    zone_table_free(t);
}

/* Size and capacity of the last zone end with the device. */
static void test_short_last_zone(void)
{
    static const struct {
        uint64_t length, cap;
    } tests[] = {
        { BLOCK, BLOCK },
        { CAPACITY - BLOCK, CAPACITY - BLOCK },
        { CAPACITY, CAPACITY },
        { CAPACITY + BLOCK, CAPACITY },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        g_autofree char *cell = g_strdup_printf("last zone of 0x%" PRIx64,
                                                tests[c].length);
        ZoneGeometry g = standard_geometry();
        uint32_t last = NR_ZONES - 1;
        BlockZoneDescriptor d;
        uint64_t position;
        ZoneTable *t;
        Request r;

        g.size = last * ZONE + tests[c].length;
        t = zone_table_new(&g);
        expect_value(cell, "number of zones", zone_table_nr_zones(t),
                     NR_ZONES);
        d = report_zone(t, last);
        expect_value(cell, "length", d.length, tests[c].length);
        expect_value(cell, "capacity", d.cap, tests[c].cap);

        expect_ret(cell, do_append(t, last, tests[c].cap + BLOCK, &position),
                   -ERANGE);
        expect_ret(cell, do_append(t, last, tests[c].cap, &position), 0);
        d = report_zone(t, last);
        expect_state(cell, d.state, BLK_ZS_FULL);
        expect_value(cell, "write pointer", d.wp, g.size);
        expect_value(cell, "stored write pointer",
                     record_of(t, last, false).wp, last * ZONE + tests[c].cap);

        /* The zone's size is its real one, as in select all */
        expect_ret(cell, run(&r, &(Request) {
            .t = t, .kind = MGMT, .op = BLK_ZO_RESET,
            .offset = last * ZONE, .bytes = tests[c].length,
        }), 0);
        expect_state(cell, state_of(t, last), BLK_ZS_EMPTY);
        expect_ret(cell, run(&r, &(Request) {
            .t = t, .kind = MGMT, .op = BLK_ZO_RESET, .flags = BDRV_ZONE_ALL,
            .offset = 0, .bytes = g.size,
        }), 0);
        expect_ret(cell, run(&r, &(Request) {
            .t = t, .kind = MGMT, .op = BLK_ZO_FINISH,
            .offset = last * ZONE, .bytes = tests[c].length,
        }), 0);
        expect_state(cell, state_of(t, last), BLK_ZS_FULL);
        zone_table_free(t);
    }
}

static void test_capacity_equals_size(void)
{
    ZoneGeometry g = standard_geometry();
    ZoneTable *t;

    g.zones.capacity = ZONE;
    t = zone_table_new(&g);
    g_assert_cmpint(do_write(t, FIRST_SEQ * ZONE, ZONE + BLOCK), ==, -ERANGE);
    g_assert_cmpint(do_write(t, FIRST_SEQ * ZONE, ZONE), ==, 0);
    g_assert_cmpint(state_of(t, FIRST_SEQ), ==, BLK_ZS_FULL);
    g_assert_cmphex(report_zone(t, FIRST_SEQ).cap, ==, ZONE);
    zone_table_free(t);
}

static void test_granularity(void)
{
    static const struct {
        uint32_t granularity;
        uint64_t bytes;
        int want;
    } tests[] = {
        { 512, 512, 0 }, { 512, 1024, 0 }, { 512, 256, -ESPIPE },
        { 4096, 512, -ESPIPE }, { 4096, 4096 - 512, -ESPIPE },
        { 4096, 4096, 0 }, { 4096, 4096 + 512, -ESPIPE }, { 4096, 8192, 0 },
        { 65536, 4096, -ESPIPE }, { 65536, 65536, 0 },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        g_autofree char *cell =
            g_strdup_printf("0x%" PRIx64 " in units of 0x%x", tests[c].bytes,
                            tests[c].granularity);
        ZoneGeometry g = standard_geometry();
        uint64_t position;
        ZoneTable *t;

        g.zones.write_granularity = tests[c].granularity;
        t = zone_table_new(&g);
        expect_ret(cell, do_write(t, FIRST_SEQ * ZONE, tests[c].bytes),
                   tests[c].want);
        expect_ret(cell, do_append(t, FIRST_SEQ + 1, tests[c].bytes,
                                   &position), tests[c].want);
        expect_value(cell, "data", written_in(t, FIRST_SEQ),
                     tests[c].want ? 0 : tests[c].bytes);
        zone_table_free(t);
    }
}

static void test_append_limit(void)
{
    ZoneGeometry g = standard_geometry();
    uint64_t position;
    ZoneTable *t;

    g.zones.max_append = 2 * BLOCK;
    t = zone_table_new(&g);
    g_assert_cmpint(do_append(t, FIRST_SEQ, 3 * BLOCK, &position), ==,
                    -EINVAL);
    g_assert_cmpint(do_append(t, FIRST_SEQ, 2 * BLOCK, &position), ==, 0);
    /* A plain write has no such limit */
    g_assert_cmpint(do_write(t, FIRST_SEQ * ZONE + 2 * BLOCK, 3 * BLOCK), ==,
                    0);
    zone_table_free(t);

    g.zones.max_append = 0;
    t = zone_table_new(&g);
    g_assert_cmpint(do_append(t, FIRST_SEQ, BLOCK, &position), ==, -EINVAL);
    g_assert_cmpint(do_append(t, FIRST_SEQ, 0, &position), ==, 0);
    zone_table_free(t);
}

/* Of nothing, but behind writes whose end is still open */
static void test_append_nothing_in_flight(void)
{
    ZoneTable *t = new_table();
    uint64_t position;
    Request r;

    start_write(&r, t, FIRST_SEQ * ZONE, BLOCK);
    g_assert_cmpint(do_append(t, FIRST_SEQ, 0, &position), ==, 0);
    g_assert_cmphex(position, ==, FIRST_SEQ * ZONE + BLOCK);
    g_assert_cmpint(finish(&r, 0), ==, 0);
    zone_table_free(t);
}

static void test_report(void)
{
    ZoneTable *t = new_table();
    BlockZoneDescriptor d[NR_ZONES + 1];
    unsigned int nr;

    /* From within a zone: the zone that contains the offset comes first */
    nr = 3;
    zone_table_report(t, 4 * ZONE + 17 * BLOCK, &nr, d);
    g_assert_cmpuint(nr, ==, 3);
    for (int i = 0; i < 3; i++) {
        g_assert_cmphex(d[i].start, ==, (4 + i) * ZONE);
        g_assert_cmphex(d[i].length, ==, ZONE);
        g_assert_cmphex(d[i].cap, ==, CAPACITY);
        g_assert_cmphex(d[i].wp, ==, d[i].start);
        g_assert_cmpint(d[i].state, ==, BLK_ZS_EMPTY);
    }

    /* The device ends before the room in the report does */
    nr = ARRAY_SIZE(d);
    zone_table_report(t, 0, &nr, d);
    g_assert_cmpuint(nr, ==, NR_ZONES);
    nr = ARRAY_SIZE(d);
    zone_table_report(t, (NR_ZONES - 2) * ZONE, &nr, d);
    g_assert_cmpuint(nr, ==, 2);
    nr = ARRAY_SIZE(d);
    zone_table_report(t, NR_ZONES * ZONE - 1, &nr, d);
    g_assert_cmpuint(nr, ==, 1);

    /* Nothing there */
    nr = 5;
    zone_table_report(t, NR_ZONES * ZONE, &nr, d);
    g_assert_cmpuint(nr, ==, 0);
    nr = 5;
    zone_table_report(t, (1ULL << 32) * ZONE, &nr, d);
    g_assert_cmpuint(nr, ==, 0);

    /* Nothing wanted */
    nr = 0;
    zone_table_report(t, 0, &nr, d);
    g_assert_cmpuint(nr, ==, 0);
    zone_table_free(t);
}

static void test_geometry(void)
{
    ZoneGeometry g = standard_geometry();
    ZoneTable *t = zone_table_new(&g);
    ZoneCounts c;

    g.zones.nr_zones = NR_ZONES;
    g_assert_cmpmem(zone_table_geometry(t), sizeof(g), &g, sizeof(g));
    g_assert_cmpuint(zone_table_nr_zones(t), ==, NR_ZONES);
    zone_table_count(t, &c);
    g_assert_cmpuint(c.in_state[BLK_ZS_NOT_WP], ==, NR_CONV);
    g_assert_cmpuint(c.in_state[BLK_ZS_EMPTY], ==, NR_ZONES - NR_CONV);
    zone_table_free(t);

    g_assert_cmpuint(zone_geometry_nr_zones(&g), ==, NR_ZONES);
    g.size++;
    g_assert_cmpuint(zone_geometry_nr_zones(&g), ==, NR_ZONES + 1);
    g.size -= 2;
    g_assert_cmpuint(zone_geometry_nr_zones(&g), ==, NR_ZONES);

    zone_table_free(NULL);
}

static void test_state_names(void)
{
    g_assert_cmpstr(zone_state_name(BLK_ZS_NOT_WP), ==, "not-write-pointer");
    g_assert_cmpstr(zone_state_name(BLK_ZS_EMPTY), ==, "empty");
    g_assert_cmpstr(zone_state_name(BLK_ZS_IOPEN), ==, "implicitly-open");
    g_assert_cmpstr(zone_state_name(BLK_ZS_EOPEN), ==, "explicitly-open");
    g_assert_cmpstr(zone_state_name(BLK_ZS_CLOSED), ==, "closed");
    g_assert_cmpstr(zone_state_name(BLK_ZS_RDONLY), ==, "read-only");
    g_assert_cmpstr(zone_state_name(BLK_ZS_FULL), ==, "full");
    g_assert_cmpstr(zone_state_name(BLK_ZS_OFFLINE), ==, "offline");
    g_assert_cmpstr(zone_state_name(7), ==, "invalid");
    g_assert_cmpstr(zone_state_name(200), ==, "invalid");
}

static void add_geometry_tests(void)
{
    g_test_add_func("/zone-table/append/honours-its-limit", test_append_limit);
    g_test_add_func("/zone-table/append/nothing-is-behind-writes-in-flight",
                    test_append_nothing_in_flight);
    g_test_add_func("/zone-table/conventional/writes-go-anywhere",
                    test_conventional_zones);
    g_test_add_func("/zone-table/conventional/whole-device",
                    test_conventional_only);
    g_test_add_func("/zone-table/conventional/io-error-is-no-rule-errno",
                    test_conventional_io_errors);
    g_test_add_func("/zone-table/geometry/is-kept", test_geometry);
    g_test_add_func("/zone-table/geometry/last-zone-may-be-short",
                    test_short_last_zone);
    g_test_add_func("/zone-table/geometry/capacity-may-be-the-size",
                    test_capacity_equals_size);
    g_test_add_func("/zone-table/geometry/writes-come-in-its-units",
                    test_granularity);
    g_test_add_func("/zone-table/report/ends-with-the-device", test_report);
    g_test_add_func("/zone-table/report/state-names", test_state_names);
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);

    add_append_tests();
    add_state_tests();
    add_geometry_tests();
    return g_test_run();
}
