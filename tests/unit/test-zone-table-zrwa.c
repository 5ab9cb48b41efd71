/*
 * Unit tests of the zone table: random write areas
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "zone-table-harness.h"

/* --- One request at a time --- */

static const BlockZoneState active_states[] = { IO, EO, CL };

/* In KiB from the start of the zone; the area has 64, a grain 16 */
static const struct {
    const char *name;
    uint64_t wp, data_end, offset, bytes;
    int want;
    uint64_t start, wp_after, data_after;
} area_writes[] = {
    { "at the write pointer", 0, 0, 0, 4, 0, 0, 0, 4 },
    { "within the area", 0, 0, 32, 4, 0, 0, 0, 36 },
    { "at the end of the area", 0, 0, 60, 4, 0, 0, 0, 64 },
    { "all of the area", 0, 0, 0, 64, 0, 0, 0, 64 },
    { "over data", 0, 64, 0, 64, 0, 0, 0, 64 },
    { "over the last data", 0, 64, 60, 4, 0, 60, 0, 64 },
    { "over data and further", 0, 32, 16, 32, 0, 32, 0, 48 },
    { "behind data", 0, 32, 32, 4, 0, 32, 0, 36 },
    { "above data", 0, 32, 48, 4, 0, 32, 0, 52 },
    { "out of the area", 0, 0, 60, 8, 0, 0, 16, 68 },
    { "behind the area", 0, 64, 64, 4, 0, 64, 16, 68 },
    { "behind the area, a grain", 0, 64, 64, 16, 0, 64, 16, 80 },
    { "behind the area, more than a grain", 0, 64, 64, 20, 0, 64, 32, 84 },
    { "up to the end of the region", 0, 64, 124, 4, 0, 64, 64, 128 },
    { "area and region", 0, 0, 0, 128, 0, 0, 64, 128 },
    { "the region alone", 0, 0, 64, 64, 0, 0, 64, 128 },
    { "out of the region", 0, 0, 124, 8, -ESPIPE, },
    { "behind the region", 0, 0, 128, 4, -ESPIPE, },
    { "far behind the region", 0, 0, 700, 4, -ESPIPE, },
    { "more than area and region", 0, 0, 0, 132, -ESPIPE, },
    { "below the write pointer", 64, 96, 60, 4, -ESPIPE, },
    { "from below the write pointer", 64, 96, 60, 8, -ESPIPE, },
    { "at the start of the zone", 64, 96, 0, 4, -ESPIPE, },
    { "at a write pointer above zero", 64, 96, 64, 4, 0, 64, 64, 96 },
    { "behind a moved area", 64, 128, 128, 4, 0, 128, 80, 132 },
    { "out of a moved region", 64, 128, 188, 8, -ESPIPE, },
    { "above a commit of more than was written", 64, 16, 64, 4, 0,
      16, 64, 68 },
    { "a commit of nothing, then the region", 64, 0, 184, 8, 0, 0, 128, 192 },
    { "not in units of blocks", 0, 0, 0, 6, -ESPIPE, },
    { "not at a block", 0, 0, 2, 4, -ESPIPE, },
    { "nothing, at the write pointer", 0, 0, 0, 0, 0, 0, 0, 0 },
    { "nothing, within the area", 0, 0, 32, 0, 0, 32, 0, 0 },
    { "nothing, below the write pointer", 64, 64, 60, 0, -ESPIPE, },

    { "out of the area, short of the end", 640, 640, 760, 4, 0,
      640, 704, 764 },
    { "the whole last region", 640, 640, 704, 64, 0, 640, 704, 768 },
    { "a shrunk region", 688, 688, 752, 16, 0, 688, 704, 768 },
    { "a shrunk region, its last block", 692, 692, 764, 4, 0, 692, 708, 768 },
    { "past a shrunk region", 688, 688, 764, 8, -ERANGE, },
    { "no region left", 704, 704, 704, 64, 0, 704, 704, 768 },
    { "no region left, last block", 704, 704, 764, 4, 0, 704, 704, 768 },
    { "past the capacity, no region left", 704, 704, 764, 8, -ERANGE, },
    { "above the capacity", 704, 704, 768, 4, -ERANGE, },
    { "a shrunk area", 752, 752, 764, 4, 0, 752, 752, 768 },
    { "over the last data of all", 752, 768, 764, 4, 0, 764, 752, 768 },
    { "into the next zone", 752, 768, 1020, 8, -ERANGE, },
    { "the rest of the zone and more", 752, 768, 752, 300, -ERANGE, },
};

static void test_area_writes(void)
{
    for (int c = 0; c < ARRAY_SIZE(area_writes); c++) {
        for (int s = 0; s < ARRAY_SIZE(active_states); s++) {
            uint64_t wp = area_writes[c].wp * KiB;
            uint64_t data_end = area_writes[c].data_end * KiB;
            uint64_t bytes = area_writes[c].bytes * KiB;
            BlockZoneState state = active_states[s];
            g_autofree char *cell = g_strdup_printf("%s, %s",
                                                    area_writes[c].name,
                                                    zone_state_name(state));
            ZoneTable *t = new_zns_table(0, 0);
            Request r;

            put_zns_zone(t, 4, state, BDRV_ZA_ZRWA, wp, data_end);
            start_write(&r, t, 4 * ZONE + area_writes[c].offset * KiB, bytes);
            expect_ret(cell, r.begun, area_writes[c].want);
            if (r.begun == 0) {
                /* Nothing is seen of it before it ends */
                expect_value(cell, "write pointer meanwhile",
                             written_in(t, 4), wp);
                expect_value(cell, "data meanwhile", data_end_of(t, 4),
                             data_end);
                if (area_writes[c].offset + area_writes[c].bytes >
                    area_writes[c].data_end) {
                    expect_value(cell, "begin of what gets readable",
                                 r.w.start - 4 * ZONE,
                                 area_writes[c].start * KiB);
                }
                expect_ret(cell, finish(&r, 0), 0);
                wp = area_writes[c].wp_after * KiB;
                data_end = area_writes[c].data_after * KiB;
                state = state == CL && bytes ? IO : state;
            }
            expect_zone(cell, t, 4, state, wp, data_end);
            expect_value(cell, "attributes", attributes_of(t, 4),
                         BDRV_ZA_ZRWA);
            expect_counts(cell, t);
            zone_table_free(t);
        }
    }
}

/* In KiB from the start of the zone */
static const struct {
    const char *name;
    uint64_t wp, data_end, upto;
    int want;
    uint64_t wp_after;          /* 768: the zone becomes full */
} area_commits[] = {
    { "a grain", 0, 64, 16, 0, 16 },
    { "some grains", 0, 64, 48, 0, 48 },
    { "all of the area", 0, 64, 64, 0, 64 },
    { "more than was written", 0, 16, 64, 0, 64 },
    { "where nothing was written", 0, 0, 16, 0, 16 },
    { "a moved area", 64, 96, 128, 0, 128 },
    { "more than the area", 0, 64, 80, -ENOTTY, },
    { "more than a moved area", 64, 96, 144, -ENOTTY, },
    { "to where the write pointer is", 64, 96, 64, -ENOTTY, },
    { "to below the write pointer", 64, 96, 48, -ENOTTY, },
    { "part of a grain", 0, 64, 20, -EINVAL, },
    { "all but a block", 64, 96, 124, -EINVAL, },
    { "a block more than the area", 0, 64, 68, -ENOTTY, },
    { "nothing", 0, 64, 0, -EINVAL, },
    { "up to the capacity", 704, 768, 768, 0, 768 },
    { "the last grain", 752, 768, 768, 0, 768 },
    { "up to the capacity, not written", 704, 704, 768, 0, 768 },
    { "up to the capacity, partly written", 704, 712, 768, 0, 768 },
    { "short of the capacity", 704, 768, 752, 0, 752 },
    { "past the capacity", 720, 768, 784, -ENOTTY, },
    { "to the end of the zone", 704, 768, 1024, -ENOTTY, },
    { "into the next zone", 704, 768, 1040, -EINVAL, },
};

static void test_area_commits(void)
{
    for (int c = 0; c < ARRAY_SIZE(area_commits); c++) {
        for (int s = 0; s < ARRAY_SIZE(active_states); s++) {
            uint64_t wp = area_commits[c].wp * KiB;
            uint64_t after = area_commits[c].wp_after * KiB;
            uint64_t data_end = area_commits[c].data_end * KiB;
            BlockZoneState state = active_states[s];
            g_autofree char *cell =
                g_strdup_printf("commit %s, %s", area_commits[c].name,
                                zone_state_name(state));
            ZoneTable *t = new_zns_table(1, 1);
            bool full;
            int ret;

            put_zns_zone(t, 4, state, ZA_ALL, wp, data_end);
            ret = do_commit(t, 4, area_commits[c].upto * KiB);
            expect_ret(cell, ret, area_commits[c].want);
            full = ret == 0 && after == CAPACITY;
            expect_zone(cell, t, 4, full ? FU : state,
                        full ? CAPACITY : ret == 0 ? after : wp, data_end);
            expect_value(cell, "dirty", zone_table_is_dirty(t), ret == 0);
            expect_value(cell, "attributes", attributes_of(t, 4),
                         full ? 0x81 : ZA_ALL);
            expect_ret(cell, do_open_zrwa(t, 5), full ? 0 : -EOVERFLOW);
            expect_counts(cell, t);
            zone_table_free(t);
        }
    }
}

/* A zone without a random write area has nothing to commit. */
static void test_commit_without_area(void)
{
    for (int i = 0; i < NR_SITUATIONS; i++) {
        const Situation *s = &situations[i];
        ZoneTable *t = new_zns_table(0, 0);
        uint32_t zone = put_situation(t, s);
        Request r;

        expect_ret(s->name, do_commit(t, zone, s->written + GRAIN), -ENOTTY);
        expect_state(s->name, state_of(t, zone), s->state);
        expect_ret(s->name, run(&r, &(Request) {
            .t = t, .kind = MGMT, .op = BLK_ZO_ZRWA_COMMIT,
            .offset = zone * ZONE + BLOCK, .bytes = GRAIN,
        }), -EINVAL);
        /* The zone is not held up by the attempt */
        if (s->state == EM) {
            expect_ret(s->name, do_write(t, zone * ZONE, BLOCK), 0);
        }
        zone_table_free(t);
    }
}

/* The last zone may be short, and no multiple of anything. */
static void test_area_in_short_zone(void)
{
    static const uint64_t lengths[] = {
        BLOCK, AREA - BLOCK, AREA, AREA + BLOCK, 2 * AREA + 3 * BLOCK,
    };

    for (int c = 0; c < ARRAY_SIZE(lengths); c++) {
        g_autofree char *cell = g_strdup_printf("last zone of 0x%" PRIx64,
                                                lengths[c]);
        ZoneGeometry g = zns_geometry();
        uint64_t last = NR_ZONES - 1, begin = last * ZONE;
        ZoneTable *t;
        Request r;

        g.size = begin + lengths[c];
        t = zone_table_new(&g);
        expect_ret(cell, run(&r, &(Request) {
            .t = t, .kind = MGMT, .op = BLK_ZO_OPEN, .flags = BDRV_ZONE_ZRWA,
            .offset = begin, .bytes = lengths[c],
        }), 0);
        while (data_end_of(t, last) < lengths[c]) {
            expect_ret(cell, do_write(t, begin + data_end_of(t, last), BLOCK),
                       0);
            g_assert_cmphex(written_in(t, last), <, lengths[c]);
            g_assert_cmphex(written_in(t, last) + AREA, >=,
                            data_end_of(t, last));
        }
        expect_ret(cell, do_commit(t, last, lengths[c]), 0);
        expect_state(cell, state_of(t, last), FU);
        zone_table_free(t);
    }
}

static void add_area_tests(void)
{
    g_test_add_func("/zone-table/zrwa/where-writes-may-be", test_area_writes);
    g_test_add_func("/zone-table/zrwa/what-can-be-committed",
                    test_area_commits);
    g_test_add_func("/zone-table/zrwa/nothing-to-commit-without-one",
                    test_commit_without_area);
    g_test_add_func("/zone-table/zrwa/short-last-zone",
                    test_area_in_short_zone);
}

/* --- Resources --- */

static void test_area_resources_come_back(void)
{
    static const struct {
        const char *name;
        BlockZoneOp op;
        BlockZoneFlags flags;
        uint64_t wp, data_end;
        bool kept;
    } tests[] = {
        { "finish", BLK_ZO_FINISH, 0, GRAIN, AREA, false },
        { "reset", BLK_ZO_RESET, 0, GRAIN, AREA, false },
        { "read-only", BLK_ZO_FORCE_RDONLY, 0, GRAIN, AREA, false },
        { "offline", BLK_ZO_FORCE_OFFLINE, 0, GRAIN, AREA, false },
        { "power cycle, nothing written", BLK_ZO_POWER_CYCLE, 0, 0, 0, false },
        { "close, nothing written", BLK_ZO_CLOSE, 0, 0, 0, false },
        { "close as in ZNS, nothing written", BLK_ZO_CLOSE,
          BDRV_ZONE_CLOSE_EMPTY, 0, 0, true },
        { "close, something written", BLK_ZO_CLOSE, 0, 0, BLOCK, true },
        { "close, something committed", BLK_ZO_CLOSE, 0, GRAIN, 0, true },
        { "power cycle, something written", BLK_ZO_POWER_CYCLE, 0, 0, BLOCK,
          true },
        { "open again", BLK_ZO_OPEN, 0, GRAIN, AREA, true },
        { "repair", BLK_ZO_FORCE_REPAIR, 0, GRAIN, AREA, true },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        for (int fails = 0; fails < 2; fails++) {
            g_autofree char *cell = g_strdup_printf("%s%s", tests[c].name,
                                                    fails ? ", failing" : "");
            ZoneTable *t = new_zns_table(0, 2);
            bool kept;
            Request m;

            g_assert_cmpint(do_open_zrwa(t, 4), ==, 0);
            put_zns_zone(t, 4, EO, BDRV_ZA_ZRWA, tests[c].wp,
                         tests[c].data_end);
            expect_value(cell, "left before", zrwa_left(t), 1);
            start(&m, &(Request) {
                .t = t, .kind = MGMT, .op = tests[c].op,
                .flags = tests[c].flags, .offset = 4 * ZONE, .bytes = ZONE,
            });
            expect_ret(cell, m.begun, 0);
            expect_value(cell, "left meanwhile", zrwa_left(t),
                         m.m.commit || tests[c].kept ? 1 : 2);
            kept = tests[c].kept || (fails && m.m.commit);
            finish(&m, fails ? -EIO : 0);
            expect_value(cell, "left", zrwa_left(t), kept ? 1 : 2);
            zone_table_free(t);
        }
    }
}

/* Who asks for one more than there are gets none, and changes nothing. */
static void test_area_limit(void)
{
    ZoneTable *t = new_zns_table(0, 2);

    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_OPEN, BDRV_ZONE_ZRWA, 4, 3), ==,
                    -EUSERS);
    g_assert_cmpuint(nr_active(t), ==, 0);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_OPEN, BDRV_ZONE_ZRWA, 4, 2), ==,
                    0);
    g_assert_cmpint(do_open_zrwa(t, 6), ==, -EUSERS);
    g_assert_cmpint(state_of(t, 6), ==, EM);
    g_assert_cmphex(attributes_of(t, 6), ==, 0);
    /* Without one it can be opened */
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 6), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_FINISH, 4), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 7), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 8), ==, -EUSERS);
    zone_table_free(t);
}

/* More zones than the limit have one: all else works, also to free them. */
static void test_area_limit_exceeded(void)
{
    ZoneTable *t = new_zns_table(0, 1);

    for (int i = 4; i < 7; i++) {
        put_zns_zone(t, i, CL, BDRV_ZA_ZRWA, 0, BLOCK);
    }
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 4), ==, 0);
    g_assert_cmpint(do_write(t, 4 * ZONE, BLOCK), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_CLOSE, 4), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_FINISH, 4), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_SET_EXT, 8), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 9), ==, -EUSERS);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_RESET, 0, 4, 3), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 9), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 4), ==, -EUSERS);
    zone_table_free(t);
}

/* Only an empty zone can get one. */
static void test_area_wants_empty_zone(void)
{
    for (int i = 1; i < NR_SITUATIONS; i++) {
        const Situation *s = &situations[i];
        ZoneTable *t = new_zns_table(0, 0);
        int want = s->state == EM ? 0 : -ENOTTY;

        put_situation(t, s);
        expect_ret(s->name, do_open_zrwa(t, FIRST_SEQ), want);
        expect_value(s->name, "attributes", attributes_of(t, FIRST_SEQ),
                     want ? 0 : BDRV_ZA_ZRWA);
        if (want) {
            expect_state(s->name, state_of(t, FIRST_SEQ), s->state);
            expect_ret(s->name,
                       do_mgmt_flags(t, BLK_ZO_SET_EXT, BDRV_ZONE_ZRWA,
                                     FIRST_SEQ, 1), -ENOTTY);
            /* One that can beside it does not help */
            expect_ret(s->name, do_mgmt_flags(t, BLK_ZO_OPEN, BDRV_ZONE_ZRWA,
                                              FIRST_SEQ, 2), -ENOTTY);
            expect_state(s->name, state_of(t, FIRST_SEQ + 1), EM);
        }
        zone_table_free(t);
    }
}

/* It stays with the zone when that is closed and opened, and counts once. */
static void test_area_survives_reopening(void)
{
    ZoneGeometry g = zns_geometry();
    ZoneTable *t;

    g.zones.max_open = 1;
    g.zones.max_zrwa = 1;
    t = zone_table_new(&g);
    g_assert_cmpint(do_open_zrwa(t, 4), ==, 0);
    g_assert_cmpint(do_write(t, 4 * ZONE + 2 * BLOCK, BLOCK), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 4), ==, -ENOTTY);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_CLOSE, 4), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 4), ==, -ENOTTY);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 4), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_CLOSE, 4), ==, 0);
    /* A write opens it, one to another zone closes it */
    g_assert_cmpint(do_write(t, 4 * ZONE, BLOCK), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, IO);
    g_assert_cmpint(do_write(t, 5 * ZONE, BLOCK), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, CL);
    g_assert_cmphex(attributes_of(t, 4), ==, BDRV_ZA_ZRWA);
    g_assert_cmpint(do_open_zrwa(t, 6), ==, -EUSERS);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_FINISH, 4), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 6), ==, 0);
    g_assert_cmphex(data_end_of(t, 4), ==, 3 * BLOCK);
    zone_table_free(t);
}

static void test_area_takes_no_append(void)
{
    for (int s = 0; s < ARRAY_SIZE(active_states); s++) {
        const char *cell = zone_state_name(active_states[s]);
        ZoneTable *t = new_zns_table(0, 0);
        uint64_t position;

        put_zns_zone(t, 4, active_states[s], BDRV_ZA_ZRWA, GRAIN, AREA);
        expect_ret(cell, do_append(t, 4, BLOCK, &position), -ENOTTY);
        expect_ret(cell, do_append(t, 4, 0, &position), -ENOTTY);
        expect_ret(cell, do_append(t, 4, 3 * ZONE, &position), -ENOTTY);
        expect_zone(cell, t, 4, active_states[s], GRAIN, AREA);
        expect_ret(cell, do_mgmt(t, BLK_ZO_FINISH, 4), 0);
        expect_ret(cell, do_append(t, 4, BLOCK, &position), -EFBIG);
        zone_table_free(t);
    }
}

/* A zone is written through its area from the first block to the last. */
static void test_area_full_cycle(void)
{
    ZoneTable *t = new_zns_table(1, 1);
    uint64_t n = 0, begin = 4 * ZONE;

    g_assert_cmpint(do_open_zrwa(t, 4), ==, 0);
    for (uint64_t pos = 0; pos < CAPACITY; pos += BLOCK) {
        uint64_t wp = written_in(t, 4);

        g_assert_cmpint(do_write(t, begin + pos, BLOCK), ==, 0);
        g_assert_cmpint(do_write(t, begin + pos, BLOCK), ==, 0);
        n += written_in(t, 4) != wp;
        g_assert_cmphex(written_in(t, 4) % GRAIN, ==, 0);
    }
    /* By writes alone it does not become full */
    g_assert_cmpuint(n, ==, (CAPACITY - AREA) / GRAIN);
    g_assert_cmphex(written_in(t, 4), ==, CAPACITY - AREA);
    g_assert_cmpint(state_of(t, 4), ==, EO);
    g_assert_cmpint(do_commit(t, 4, CAPACITY - GRAIN), ==, 0);
    g_assert_cmpint(do_write(t, begin + CAPACITY - BLOCK, BLOCK), ==, 0);
    g_assert_cmpint(do_commit(t, 4, CAPACITY), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, FU);
    g_assert_cmpint(do_write(t, begin + CAPACITY - BLOCK, BLOCK), ==, -EFBIG);
    g_assert_cmpint(do_commit(t, 4, CAPACITY), ==, -ENOTTY);
    g_assert_cmpuint(nr_active(t), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 5), ==, 0);
    zone_table_free(t);
}

static void add_area_resource_tests(void)
{
    g_test_add_func("/zone-table/zrwa/resources-come-back",
                    test_area_resources_come_back);
    g_test_add_func("/zone-table/zrwa/no-more-than-there-are", test_area_limit);
    g_test_add_func("/zone-table/zrwa/more-than-there-are",
                    test_area_limit_exceeded);
    g_test_add_func("/zone-table/zrwa/only-for-empty-zones",
                    test_area_wants_empty_zone);
    g_test_add_func("/zone-table/zrwa/survives-reopening",
                    test_area_survives_reopening);
    g_test_add_func("/zone-table/zrwa/takes-no-append",
                    test_area_takes_no_append);
    g_test_add_func("/zone-table/zrwa/full-by-commit-only",
                    test_area_full_cycle);
}

/* --- Writes in flight together --- */

#define AREA_DEPTH 5

/*
 * Two writes over data, and three that each make more readable, the last of
 * which moves the write pointer; they end in @order, those in @fail badly.
 */
static void check_area_order(const int *order, unsigned int fail)
{
    static const struct {
        uint64_t offset, bytes, start, end;
    } w[AREA_DEPTH] = {         /* in blocks; 4 are there */
        { 0, 2, 0, 2 }, { 3, 1, 3, 4 },
        { 3, 3, 4, 6 }, { 8, 1, 6, 9 }, { 17, 2, 9, 19 },
    };
    g_autofree char *what = g_strdup_printf("failures 0x%x", fail);
    g_autofree char *cell = order_name(what, order, AREA_DEPTH);
    ZoneTable *t = new_zns_table(1, 1);
    bool over[AREA_DEPTH] = { false };
    uint64_t data_end = 4;
    Request r[AREA_DEPTH];

    put_zns_zone(t, 4, EO, BDRV_ZA_ZRWA, 0, 4 * BLOCK);
    for (int i = 0; i < AREA_DEPTH; i++) {
        start_write(&r[i], t, 4 * ZONE + w[i].offset * BLOCK,
                    w[i].bytes * BLOCK);
        expect_ret(cell, r[i].begun, 0);
        if (i >= 2) {
            expect_value(cell, "begin", r[i].w.start - 4 * ZONE,
                         w[i].start * BLOCK);
        }
        expect_value(cell, "end", r[i].w.end - 4 * ZONE, w[i].end * BLOCK);
    }
    for (int k = 0; k < AREA_DEPTH; k++) {
        bool broken = false, unfinished = false;

        over[order[k]] = true;
        finish(&r[order[k]], fail & (1 << order[k]) ? -ENOSPC : 0);
        data_end = 4;
        for (int i = 0; i < AREA_DEPTH; i++) {
            bool fails = over[i] && fail & (1 << i);

            if (i < 2) {
                expect_ret(cell, r[i].ended, !over[i] ? WAITING :
                                             fails ? -ENOSPC : 0);
                continue;
            }
            if (!over[i] || (unfinished && !broken && !fails)) {
                expect_ret(cell, r[i].ended, WAITING);
            } else if (broken || fails) {
                expect_ret(cell, r[i].ended, -ENOSPC);
            } else {
                expect_ret(cell, r[i].ended, 0);
                data_end = w[i].end;
            }
            broken |= fails;
            unfinished |= !over[i];
        }
        expect_value(cell, "end of data", data_end_of(t, 4),
                     data_end * BLOCK);
        expect_value(cell, "write pointer", written_in(t, 4),
                     data_end == 19 ? GRAIN : 0);
    }
    /* All of the area is there for new writes, also what has failed */
    expect_ret(cell, do_write(t, 4 * ZONE + 4 * BLOCK, 12 * BLOCK), 0);
    expect_state(cell, state_of(t, 4), EO);
    expect_counts(cell, t);
    zone_table_free(t);
}

static void test_area_orders(void)
{
    int order[AREA_DEPTH];

    identity(order, AREA_DEPTH);
    do {
        for (unsigned int fail = 0; fail < 1 << AREA_DEPTH; fail++) {
            check_area_order(order, fail);
        }
    } while (!g_test_failed() && next_permutation(order, AREA_DEPTH));
}

/* A write into what another makes readable, or fills with zeroes, waits. */
static void test_area_contention(void)
{
    static const struct {
        const char *name;
        uint64_t offset, bytes;     /* in blocks; 4 to 9 are taken */
        bool waits;
    } tests[] = {
        { "same blocks", 8, 2, true },
        { "first block", 8, 1, true },
        { "last block", 9, 1, true },
        { "over its end", 9, 3, true },
        { "over its begin", 7, 2, true },
        { "all of it and more", 0, 16, true },
        { "in the gap", 5, 1, true },
        { "first block of the gap", 4, 1, true },
        { "data and gap", 3, 2, true },
        { "data below the gap", 2, 2, false },
        { "behind it", 10, 1, false },
        { "above it", 14, 1, false },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        for (int fails = 0; fails < 2; fails++) {
            g_autofree char *cell = g_strdup_printf("%s%s", tests[c].name,
                                                    fails ? ", failing" : "");
            uint64_t end = tests[c].offset + tests[c].bytes;
            uint64_t data = fails ? 4 : 10;
            bool fate = fails && !tests[c].waits && end > 4;
            ZoneTable *t = new_zns_table(0, 0);
            Request first, r;

            put_zns_zone(t, 4, IO, BDRV_ZA_ZRWA, 0, 4 * BLOCK);
            start_write(&first, t, 4 * ZONE + 8 * BLOCK, 2 * BLOCK);
            start_write(&r, t, 4 * ZONE + tests[c].offset * BLOCK,
                        tests[c].bytes * BLOCK);
            expect_ret(cell, r.begun, tests[c].waits ? WAITING : 0);
            finish(&first, fails ? -EIO : 0);
            expect_ret(cell, r.begun, 0);
            if (tests[c].waits && end > data) {
                expect_value(cell, "begin", r.w.start - 4 * ZONE,
                             data * BLOCK);
            }
            expect_ret(cell, finish(&r, 0), fate ? -EIO : 0);
            expect_value(cell, "end of data", data_end_of(t, 4),
                         (fate ? 4 : MAX(data, end)) * BLOCK);
            zone_table_free(t);
        }
    }
}

/* Each end lets those go on that have waited for it, and no others. */
static void test_area_waiters(void)
{
    ZoneTable *t = new_zns_table(0, 0);
    uint64_t begin = 4 * ZONE;
    Request a, b, c, over_a, over_b, over_ab;

    g_assert_cmpint(do_open_zrwa(t, 4), ==, 0);
    start_write(&a, t, begin, 2 * BLOCK);
    start_write(&b, t, begin + 4 * BLOCK, 2 * BLOCK);
    start_write(&over_ab, t, begin + BLOCK, 2 * BLOCK);
    start_write(&over_a, t, begin, BLOCK);
    start_write(&over_b, t, begin + 3 * BLOCK, BLOCK);
    start_write(&c, t, begin + 6 * BLOCK, BLOCK);
    g_assert_cmpint(c.begun, ==, 0);
    g_assert_cmpint(over_a.begun, ==, WAITING);
    g_assert_cmpint(over_b.begun, ==, WAITING);
    g_assert_cmpint(finish(&c, 0), ==, WAITING);
    g_assert_cmpint(finish(&a, 0), ==, 0);
    g_assert_cmpint(over_a.begun, ==, 0);
    g_assert_cmpint(over_ab.begun, ==, WAITING);
    g_assert_cmpint(over_b.begun, ==, WAITING);
    g_assert_cmpint(finish(&b, 0), ==, 0);
    g_assert_cmpint(c.ended, ==, 0);
    g_assert_cmpint(over_ab.begun, ==, 0);
    g_assert_cmpint(over_b.begun, ==, 0);
    g_assert_cmpint(finish(&over_b, 0), ==, 0);
    g_assert_cmpint(finish(&over_a, 0), ==, 0);
    g_assert_cmpint(finish(&over_ab, 0), ==, 0);
    g_assert_cmphex(data_end_of(t, 4), ==, 7 * BLOCK);
    zone_table_free(t);
}

/* One that has waited finds the area gone, or elsewhere. */
static void test_area_waiting_checked_anew(void)
{
    ZoneTable *t = new_zns_table(0, 0);
    uint64_t begin = 4 * ZONE;
    Request a, late, m;

    /* moved by the one that it waited for */
    g_assert_cmpint(do_open_zrwa(t, 4), ==, 0);
    start_write(&a, t, begin, 2 * AREA);
    start_write(&late, t, begin, BLOCK);
    g_assert_cmpint(late.begun, ==, WAITING);
    g_assert_cmpint(finish(&a, 0), ==, 0);
    g_assert_cmpint(late.ended, ==, -ESPIPE);

    /* finished */
    start_write(&a, t, begin + 2 * AREA, BLOCK);
    start_write(&late, t, begin + 2 * AREA, BLOCK);
    start_mgmt(&m, t, BLK_ZO_FINISH, 4, 1);
    g_assert_cmpint(finish(&a, 0), ==, 0);
    g_assert_cmpint(m.begun == 0, !=, late.begun == 0);
    if (late.begun == 0) {
        g_assert_cmpint(finish(&late, 0), ==, 0);
        g_assert_cmpint(m.begun, ==, 0);
        g_assert_cmpint(finish(&m, 0), ==, 0);
    } else {
        g_assert_cmpint(finish(&m, 0), ==, 0);
        g_assert_cmpint(late.ended, ==, -EFBIG);
    }
    zone_table_free(t);
}

/* The area is where the writes in flight will have moved it, if they can. */
static void test_area_moved_in_flight(void)
{
    static const int rets[] = { 0, -EIO };

    for (int c = 0; c < ARRAY_SIZE(rets); c++) {
        ZoneTable *t = new_zns_table(0, 0);
        uint64_t begin = 4 * ZONE;
        Request a, b;

        g_assert_cmpint(do_open_zrwa(t, 4), ==, 0);
        g_assert_cmpint(do_write(t, begin, AREA), ==, 0);
        start_write(&a, t, begin + AREA, GRAIN);
        g_assert_cmpint(do_write(t, begin, BLOCK), ==, -ESPIPE);
        g_assert_cmpint(do_write(t, begin + GRAIN, BLOCK), ==, 0);
        start_write(&b, t, begin + 2 * AREA, GRAIN);
        g_assert_cmpint(b.begun, ==, 0);
        g_assert_cmpint(finish(&b, 0), ==, WAITING);
        g_assert_cmphex(written_in(t, 4), ==, 0);
        g_assert_cmpint(finish(&a, rets[c]), ==, rets[c]);
        g_assert_cmpint(b.ended, ==, rets[c]);
        g_assert_cmphex(written_in(t, 4), ==, rets[c] ? 0 : AREA + GRAIN);
        g_assert_cmpint(do_write(t, begin, BLOCK), ==,
                        rets[c] ? 0 : -ESPIPE);
        zone_table_free(t);
    }
}

/* A write over data that fails is nobody else's failure. */
static void test_area_failed_overwrite(void)
{
    ZoneTable *t = new_zns_table(0, 0);
    uint64_t begin = 4 * ZONE;
    Request over, ahead, next;

    put_zns_zone(t, 4, EO, BDRV_ZA_ZRWA, 0, 4 * BLOCK);
    start_write(&over, t, begin, BLOCK);
    start_write(&ahead, t, begin + 4 * BLOCK, BLOCK);
    g_assert_cmpint(finish(&over, -EROFS), ==, -EIO);
    start_write(&next, t, begin + 5 * BLOCK, BLOCK);
    g_assert_cmpint(next.begun, ==, 0);
    g_assert_cmpint(finish(&ahead, 0), ==, 0);
    g_assert_cmpint(finish(&next, 0), ==, 0);
    expect_zone("after all", t, 4, EO, 0, 6 * BLOCK);
    zone_table_free(t);
}

/* A reset or finish waits for writes over data too, which move nothing. */
static void test_mgmt_waits_for_overwrite(void)
{
    static const BlockZoneOp ops[] = {
        BLK_ZO_RESET, BLK_ZO_FINISH, BLK_ZO_FORCE_RDONLY,
        BLK_ZO_FORCE_OFFLINE, BLK_ZO_ZRWA_COMMIT,
    };
    static const int rets[] = { 0, -EIO };

    for (int c = 0; c < 2 * ARRAY_SIZE(ops); c++) {
        BlockZoneOp op = ops[c / 2];
        g_autofree char *cell = g_strdup_printf("op %d, %d", op, rets[c % 2]);
        ZoneTable *t = new_zns_table(0, 0);
        Request w, m, late;

        put_zns_zone(t, 4, EO, BDRV_ZA_ZRWA, 0, AREA);
        start_write(&w, t, 4 * ZONE, BLOCK);
        if (op == BLK_ZO_ZRWA_COMMIT) {
            start_commit(&m, t, 4, GRAIN);
        } else {
            start_mgmt(&m, t, op, 4, 1);
        }
        start_write(&late, t, 4 * ZONE + AREA - BLOCK, BLOCK);
        expect_ret(cell, m.begun, WAITING);
        expect_ret(cell, late.begun, WAITING);
        expect_ret(cell, finish(&w, rets[c % 2]), rets[c % 2]);
        expect_ret(cell, m.begun, 0);
        expect_ret(cell, late.begun, WAITING);
        expect_ret(cell, finish(&m, -EIO), -EIO);
        expect_ret(cell, late.begun, 0);
        expect_ret(cell, finish(&late, 0), 0);
        expect_zone(cell, t, 4, EO, 0, AREA);
        zone_table_free(t);
    }
}

static void add_area_in_flight_tests(void)
{
    g_test_add_func("/zone-table/zrwa/every-order-and-failure",
                    test_area_orders);
    g_test_add_func("/zone-table/zrwa/writes-that-overlap-wait",
                    test_area_contention);
    g_test_add_func("/zone-table/zrwa/waiting-writes-go-on", test_area_waiters);
    g_test_add_func("/zone-table/zrwa/waiting-write-is-checked-anew",
                    test_area_waiting_checked_anew);
    g_test_add_func("/zone-table/zrwa/moved-by-writes-in-flight",
                    test_area_moved_in_flight);
    g_test_add_func("/zone-table/zrwa/failed-overwrite-fails-alone",
                    test_area_failed_overwrite);
    g_test_add_func("/zone-table/zrwa/management-waits-for-overwrites",
                    test_mgmt_waits_for_overwrite);
}

/* --- Explicit commits as operations --- */

/* Until its end a commit counts for the store, and others wait. */
static void test_commit_in_progress(void)
{
    static const uint64_t wps[] = { 0, CAPACITY - AREA };

    for (int c = 0; c < 4; c++) {
        uint64_t wp = wps[c / 2], upto = wp + AREA;
        bool fails = c % 2, full = upto == CAPACITY;
        g_autofree char *cell = g_strdup_printf("up to 0x%" PRIx64 "%s", upto,
                                                fails ? ", failing" : "");
        ZoneTable *t = new_zns_table(0, 1);
        Request m, w, again;
        ZoneRecord r;

        put_zns_zone(t, 4, EO, BDRV_ZA_ZRWA, wp, wp + AREA - BLOCK);
        start_commit(&m, t, 4, upto);
        expect_ret(cell, m.begun, 0);
        expect_value(cell, "need to commit", m.m.commit, true);
        r = record_of(t, 4, false);
        expect_state(cell, r.state, full ? FU : CL);
        expect_value(cell, "write pointer to store", r.wp - 4 * ZONE, upto);
        expect_value(cell, "data to store", r.data_end - 4 * ZONE,
                     wp + AREA - BLOCK);
        expect_value(cell, "attributes to store", r.attributes,
                     full ? 0 : BDRV_ZA_ZRWA);
        expect_state(cell, state_of(t, 4), EO);
        expect_ret(cell, do_open_zrwa(t, 5), -EUSERS);

        start_write(&w, t, 4 * ZONE + wp, BLOCK);
        start_commit(&again, t, 4, upto);
        expect_ret(cell, w.begun, WAITING);
        expect_ret(cell, again.begun, WAITING);
        store_all(t);   /* The store takes it */
        expect_ret(cell, finish(&m, fails ? -EIO : 0), fails ? -EIO : 0);
        if (fails) {
            g_assert_true(zone_table_is_dirty(t));
            /* As if nothing had been */
            if (again.begun == 0) {
                expect_ret(cell, finish(&again, -EIO), -EIO);
            }
            expect_ret(cell, w.begun, 0);
            expect_ret(cell, finish(&w, 0), 0);
            if (again.ended == WAITING) {
                expect_ret(cell, again.begun, 0);
                expect_ret(cell, finish(&again, -EIO), -EIO);
            }
            expect_zone(cell, t, 4, EO, wp, wp + AREA - BLOCK);
        } else {
            expect_ret(cell, w.ended, full ? -EFBIG : -ESPIPE);
            expect_ret(cell, again.ended, -ENOTTY);
            expect_zone(cell, t, 4, full ? FU : EO, upto, wp + AREA - BLOCK);
        }
        zone_table_free(t);
    }
}

/* One that is refused after it has waited lets go on what waits for it. */
static void test_refused_commit_wakes_others(void)
{
    ZoneTable *t = new_zns_table(0, 0);
    Request w, m, late, again;

    put_zns_zone(t, 4, EO, BDRV_ZA_ZRWA, 0, AREA);
    start_write(&w, t, 4 * ZONE + AREA, BLOCK);
    start_write(&late, t, 4 * ZONE + AREA, BLOCK);
    start_commit(&m, t, 4, GRAIN);
    start_commit(&again, t, 4, 2 * GRAIN);
    g_assert_cmpint(m.begun, ==, WAITING);
    g_assert_cmpint(late.begun, ==, WAITING);
    g_assert_cmpint(again.begun, ==, WAITING);
    /*
     * w moves the write pointer to where the commit would; late looks first,
     * and finds that the commit is still there.
     */
    g_assert_cmpint(finish(&w, 0), ==, 0);
    g_assert_cmpint(m.ended, ==, -ENOTTY);
    g_assert_cmpint(late.begun, ==, 0);
    g_assert_cmpint(finish(&late, 0), ==, 0);
    g_assert_cmpint(again.begun, ==, 0);
    g_assert_cmpint(finish(&again, 0), ==, 0);
    expect_zone("after all", t, 4, EO, 2 * GRAIN, AREA + BLOCK);
    zone_table_free(t);
}

/* Commit and reset, both waiting for a write, come one after the other. */
static void test_commit_and_reset(void)
{
    for (int c = 0; c < 4; c++) {
        bool reset_first = c & 1, fails = c & 2;
        g_autofree char *cell = g_strdup_printf("case %d", c);
        ZoneTable *t = new_zns_table(0, 1);
        Request w, m[2];

        put_zns_zone(t, 4, EO, BDRV_ZA_ZRWA, 0, AREA);
        start_write(&w, t, 4 * ZONE, BLOCK);
        if (reset_first) {
            start_mgmt(&m[0], t, BLK_ZO_RESET, 4, 1);
            start_commit(&m[1], t, 4, GRAIN);
        } else {
            start_commit(&m[0], t, 4, GRAIN);
            start_mgmt(&m[1], t, BLK_ZO_RESET, 4, 1);
        }
        expect_ret(cell, finish(&w, 0), 0);
        expect_ret(cell, m[0].begun, 0);
        expect_ret(cell, m[1].begun, WAITING);
        expect_ret(cell, finish(&m[0], fails ? -EIO : 0), fails ? -EIO : 0);
        if (reset_first && !fails) {
            expect_ret(cell, m[1].ended, -ENOTTY);
        } else {
            expect_ret(cell, m[1].begun, 0);
            expect_state(cell, state_of(t, 4), EO);
            expect_ret(cell, finish(&m[1], 0), 0);
        }
        if (reset_first && fails) {
            expect_zone(cell, t, 4, EO, GRAIN, AREA);
        } else {
            expect_zone(cell, t, 4, EM, 0, 0);
        }
        expect_counts(cell, t);
        zone_table_free(t);
    }
}

/* The table may grow while a commit waits. */
static void test_commit_waits_while_resized(void)
{
    ZoneTable *t = new_zns_table(0, 0);
    Request w, m;

    put_zns_zone(t, NR_ZONES - 1, EO, BDRV_ZA_ZRWA, 0, AREA);
    start_write(&w, t, (NR_ZONES - 1) * ZONE, BLOCK);
    start_commit(&m, t, NR_ZONES - 1, GRAIN);
    g_assert_cmpint(m.begun, ==, WAITING);
    g_assert_cmpint(zone_table_resize(t, (NR_ZONES + 5000) * ZONE), ==, 0);
    g_assert_cmpint(finish(&w, 0), ==, 0);
    g_assert_cmpint(m.begun, ==, 0);
    g_assert_cmpint(finish(&m, 0), ==, 0);
    g_assert_cmphex(written_in(t, NR_ZONES - 1), ==, GRAIN);
    zone_table_free(t);
}

/* Closed for another zone while it is under way, it stays closed. */
static void test_commit_of_zone_closed_meanwhile(void)
{
    ZoneGeometry g = zns_geometry();
    ZoneTable *t;
    Request m;

    g.zones.max_open = 1;
    t = zone_table_new(&g);
    put_zns_zone(t, 4, IO, BDRV_ZA_ZRWA, 0, AREA);
    start_commit(&m, t, 4, GRAIN);
    g_assert_cmpint(do_write(t, 5 * ZONE, BLOCK), ==, 0);
    g_assert_cmpint(finish(&m, 0), ==, 0);
    expect_zone("closed", t, 4, CL, GRAIN, AREA);
    g_assert_cmpuint(nr_open(t), ==, 1);
    zone_table_free(t);
}

static void add_area_commit_tests(void)
{
    g_test_add_func("/zone-table/zrwa/commit-in-progress",
                    test_commit_in_progress);
    g_test_add_func("/zone-table/zrwa/refused-commit-wakes-others",
                    test_refused_commit_wakes_others);
    g_test_add_func("/zone-table/zrwa/commit-and-reset", test_commit_and_reset);
    g_test_add_func("/zone-table/zrwa/commit-waits-while-resized",
                    test_commit_waits_while_resized);
    g_test_add_func("/zone-table/zrwa/commit-of-zone-closed-meanwhile",
                    test_commit_of_zone_closed_meanwhile);
}

/* --- Records --- */

static void test_area_records(void)
{
    static const struct {
        ZoneRecord r;
        BlockZoneState stored;
        uint8_t attributes;     /* stored */
    } good[] = {
        { { EO, BDRV_ZA_ZRWA, BEGIN, BEGIN }, EM, 0 },
        { { CL, BDRV_ZA_ZRWA, BEGIN, BEGIN }, EM, 0 },
        { { IO, BDRV_ZA_ZRWA, BEGIN, BEGIN + BLOCK }, CL, BDRV_ZA_ZRWA },
        { { IO, BDRV_ZA_ZRWA, BEGIN, BEGIN + AREA }, CL, BDRV_ZA_ZRWA },
        { { EO, BDRV_ZA_ZRWA, BEGIN + AREA, BEGIN }, CL, BDRV_ZA_ZRWA },
        { { CL, BDRV_ZA_ZRWA, BEGIN + AREA, BEGIN + BLOCK }, CL,
          BDRV_ZA_ZRWA },
        { { CL, BDRV_ZA_ZRWA, END - GRAIN, END }, CL, BDRV_ZA_ZRWA },
        { { CL, ZA_ALL, BEGIN + GRAIN, BEGIN + AREA }, CL, ZA_ALL },
        { { CL, BDRV_ZA_EXT, BEGIN, BEGIN }, CL, BDRV_ZA_EXT },
        { { EO, BDRV_ZA_EXT, BEGIN, BEGIN }, CL, BDRV_ZA_EXT },
        { { EO, 0x88, BEGIN, BEGIN }, CL, 0x88 },
        { { FU, 0x81, END, BEGIN }, FU, 0x81 },
        { { RO, 0x81, BEGIN, BEGIN }, RO, 0x81 },
        { { OF, 0x01, BEGIN, BEGIN }, OF, 0x01 },
    };
    static const struct {
        const char *name;
        ZoneRecord r;
    } bad[] = {
        { "empty with area", { EM, BDRV_ZA_ZRWA, BEGIN, BEGIN } },
        { "empty with extension", { EM, BDRV_ZA_EXT, BEGIN, BEGIN } },
        { "empty, finished by itself", { EM, 0x01, BEGIN, BEGIN } },
        { "full with area", { FU, BDRV_ZA_ZRWA, END, END } },
        { "read-only with area", { RO, BDRV_ZA_ZRWA, BEGIN, BEGIN } },
        { "offline with area", { OF, BDRV_ZA_ZRWA, BEGIN, BEGIN } },
        { "offline with extension", { OF, BDRV_ZA_EXT, BEGIN, BEGIN } },
        { "data above the area",
          { CL, BDRV_ZA_ZRWA, BEGIN, BEGIN + AREA + BLOCK } },
        { "data above the area, wrapping",
          { CL, BDRV_ZA_ZRWA, UINT64_MAX - BLOCK + 1, BEGIN } },
        { "data above the capacity",
          { CL, BDRV_ZA_ZRWA, END - GRAIN, END + BLOCK } },
        { "data below the zone",
          { CL, BDRV_ZA_ZRWA, BEGIN, BEGIN - BLOCK } },
        { "closed at the end with area", { CL, BDRV_ZA_ZRWA, END, END } },
        { "data within a sector",
          { CL, BDRV_ZA_ZRWA, BEGIN, BEGIN + 100 } },
        { "data above an extension", { CL, BDRV_ZA_EXT, BEGIN,
                                       BEGIN + BLOCK } },
        { "unknown attribute", { CL, 0x10, BEGIN, BEGIN } },
        { "all attributes", { CL, 0xff, BEGIN, BEGIN } },
    };

    for (int i = 0; i < ARRAY_SIZE(good); i++) {
        g_autofree char *cell = g_strdup_printf("record %d", i);
        ZoneTable *t = new_zns_table(0, 2);
        ZoneRecord stored = good[i].r;

        g_assert_true(zone_table_load(t, FIRST_SEQ, &good[i].r));
        expect_record(cell, record_of(t, FIRST_SEQ, true), good[i].r);
        stored.state = good[i].stored;
        stored.attributes = good[i].attributes;
        expect_record(cell, record_of(t, FIRST_SEQ, false), stored);
        expect_value(cell, "areas left", zrwa_left(t),
                     good[i].r.attributes & BDRV_ZA_ZRWA ? 1 : 2);
        g_assert_true(zone_table_load(t, FIRST_SEQ, &stored));
        expect_record(cell, record_of(t, FIRST_SEQ, true), stored);
        expect_value(cell, "areas left", zrwa_left(t),
                     good[i].attributes & BDRV_ZA_ZRWA ? 1 : 2);
        expect_counts(cell, t);
        zone_table_free(t);
        if (good[i].r.attributes & (BDRV_ZA_ZRWA | BDRV_ZA_EXT)) {
            /* A device without these has no such record */
            t = new_table();
            g_assert_false(zone_table_load(t, FIRST_SEQ, &good[i].r));
            zone_table_free(t);
        }
    }
    for (int i = 0; i < ARRAY_SIZE(bad); i++) {
        ZoneTable *t = new_zns_table(0, 1);

        if (zone_table_load(t, FIRST_SEQ, &bad[i].r)) {
            g_test_message("%s is accepted", bad[i].name);
            g_test_fail();
        }
        expect_zone(bad[i].name, t, FIRST_SEQ, EM, 0, 0);
        expect_value(bad[i].name, "areas left", zrwa_left(t), 1);
        zone_table_free(t);
    }
}

/* Readable is what was written, below the write pointer or above it. */
static void test_area_readable(void)
{
    ZoneTable *t = new_zns_table(0, 0);
    uint64_t begin = 4 * ZONE;
    bool data;

    g_assert_cmpint(do_open_zrwa(t, 4), ==, 0);
    g_assert_cmpint(do_write(t, begin + 2 * BLOCK, BLOCK), ==, 0);
    g_assert_cmphex(zone_table_readable(t, begin, ZONE, &data), ==,
                    3 * BLOCK);
    g_assert_true(data);
    g_assert_cmpint(do_commit(t, 4, AREA), ==, 0);
    g_assert_cmphex(zone_table_readable(t, begin, ZONE, &data), ==,
                    3 * BLOCK);
    g_assert_cmphex(zone_table_readable(t, begin + 3 * BLOCK, BLOCK, &data),
                    ==, BLOCK);
    g_assert_false(data);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_FINISH, 4), ==, 0);
    g_assert_cmphex(zone_table_readable(t, begin, ZONE, &data), ==,
                    3 * BLOCK);
    g_assert_true(data);
    zone_table_free(t);
}

static void add_area_record_tests(void)
{
    g_test_add_func("/zone-table/zrwa/records", test_area_records);
    g_test_add_func("/zone-table/zrwa/readable", test_area_readable);
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);

    add_area_tests();
    add_area_resource_tests();
    add_area_in_flight_tests();
    add_area_commit_tests();
    add_area_record_tests();
    return g_test_run();
}
