/*
 * Zone table: operations on very many zones, and what is stored first
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/aio.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "zone-table-harness.h"

/* More than one turn of the event loop takes, and not a multiple of it */
#define MANY 200001u

static ZoneTable *new_large_table(uint32_t max_open, uint32_t max_active)
{
    ZoneGeometry g = standard_geometry();

    g.size = (uint64_t)MANY * ZONE;
    g.conventional_zones = 0;
    g.zones.max_open = max_open;
    g.zones.max_active = max_active;
    return zone_table_new(&g);
}

static void start_all(Request *r, ZoneTable *t, BlockZoneOp op)
{
    start(r, &(Request) {
        .t = t, .kind = MGMT, .op = op, .flags = BDRV_ZONE_ALL,
        .bytes = (uint64_t)MANY * ZONE,
    });
}

/* Let the event loop run until @r has begun; how many turns that took */
static int turns_until_begun(const Request *r)
{
    int turns = 0;

    while (r->begun == WAITING) {
        aio_poll(qemu_get_aio_context(), true);
        turns++;
    }
    return turns;
}

static uint32_t zones_in(ZoneTable *t, BlockZoneState state)
{
    ZoneCounts c;

    zone_table_count(t, &c);
    return c.in_state[state];
}

static void fill_table(ZoneTable *t)
{
    for (uint32_t i = 0; i < MANY; i++) {
        put_zone(t, i, CL, BLOCK);
    }
}

/* Other work has its turn, and all zones have changed in the end. */
static void test_others_have_their_turn(void)
{
    static const struct {
        BlockZoneOp op;
        BlockZoneState state;
    } tests[] = {
        { BLK_ZO_RESET, EM },
        { BLK_ZO_FINISH, FU },
        { BLK_ZO_OPEN, EO },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        ZoneTable *t = new_large_table(0, 0);
        Request r;

        fill_table(t);
        start_all(&r, t, tests[c].op);
        expect_value("all zones", "turns of others at least 10",
                     turns_until_begun(&r) >= 10, true);
        expect_ret("all zones", r.begun, 0);
        end_io(&r, 0);
        while (r.ended == WAITING) {
            aio_poll(qemu_get_aio_context(), true);
        }
        expect_ret("all zones", r.ended, 0);
        expect_value("all zones", "in the state", zones_in(t, tests[c].state),
                     MANY);
        zone_table_free(t);
    }
}

/* Writes in progress end first, new ones wait, and so do other operations. */
static void test_nothing_gets_between(void)
{
    ZoneTable *t = new_large_table(0, 0);
    Request before, all, write, mgmt;

    fill_table(t);
    start_append(&before, t, 7, BLOCK);
    g_assert_cmpint(before.begun, ==, 0);
    start_all(&all, t, BLK_ZO_OPEN);
    start_append(&write, t, MANY - 1, BLOCK);
    start_mgmt(&mgmt, t, BLK_ZO_CLOSE, 3, 1);
    for (int i = 0; i < 100; i++) {
        aio_poll(qemu_get_aio_context(), false);
    }
    /* None has changed while a write is in progress */
    g_assert_cmpuint(zones_in(t, EO), ==, 0);
    g_assert_cmpint(write.begun, ==, WAITING);
    g_assert_cmpint(mgmt.begun, ==, WAITING);

    g_assert_cmpint(finish(&before, 0), ==, 0);
    turns_until_begun(&all);
    g_assert_cmpint(all.begun, ==, 0);
    g_assert_cmpint(mgmt.begun, ==, WAITING);
    /* The implicitly open one is not selected */
    g_assert_cmpuint(zones_in(t, EO), ==, MANY - 1);
    end_io(&all, 0);
    while (mgmt.begun == WAITING || write.begun == WAITING) {
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_cmpint(finish(&write, 0), ==, 0);
    g_assert_cmpint(finish(&mgmt, 0), ==, 0);
    g_assert_cmpuint(written_in(t, 7), ==, 2 * BLOCK);
    g_assert_cmpuint(zones_in(t, EO), ==, MANY - 2);
    g_assert_cmpint(state_of(t, 3), ==, CL);
    zone_table_free(t);
}

/* Nor does an operation on other zones: it could take what was checked. */
static void test_limits_hold(void)
{
    ZoneTable *t = new_large_table(MANY - 1, 0);
    Request r, last;

    fill_table(t);
    start_mgmt(&r, t, BLK_ZO_OPEN, 0, MANY - 1);
    start_mgmt(&last, t, BLK_ZO_OPEN, MANY - 1, 1);
    g_assert_cmpint(last.begun, ==, WAITING);
    turns_until_begun(&r);
    g_assert_cmpint(r.begun, ==, 0);
    turns_until_begun(&last);
    g_assert_cmpint(last.begun, ==, -ETOOMANYREFS);
    g_assert_cmpuint(zones_in(t, EO), ==, MANY - 1);
    end_io(&r, 0);
    while (r.ended == WAITING) {
        aio_poll(qemu_get_aio_context(), true);
    }
    zone_table_free(t);
}

/* All of them or none: the last zone is in the way, or a limit. */
static void test_none_changes(void)
{
    ZoneTable *t = new_large_table(0, 0);
    Request r;

    fill_table(t);
    put_zone(t, MANY - 1, RO, BLOCK);
    start_mgmt(&r, t, BLK_ZO_RESET, 0, MANY);
    turns_until_begun(&r);
    g_assert_cmpint(r.begun, ==, -EINVAL);
    g_assert_cmpuint(zones_in(t, CL), ==, MANY - 1);
    g_assert_cmpint(do_append(t, 5, BLOCK, &r.offset), ==, 0);
    zone_table_free(t);

    t = new_large_table(MANY - 1, 0);
    fill_table(t);
    start_all(&r, t, BLK_ZO_OPEN);
    turns_until_begun(&r);
    g_assert_cmpint(r.begun, ==, -ETOOMANYREFS);
    g_assert_cmpuint(zones_in(t, CL), ==, MANY);
    zone_table_free(t);
}

/* A snapshot is bounded; all of them together have every zone once. */
static void test_snapshots_in_pieces(void)
{
    ZoneGeometry g = standard_geometry();
    uint32_t zones = 600000, blocks = 0;
    ZoneSnapshot *snap;
    ZoneTable *t;
    bool more;

    g.size = zones * ZONE;
    g.conventional_zones = 0;
    t = zone_table_new(&g);
    zone_table_mark_dirty(t, 0);
    do {
        snap = zone_table_take_snapshot(t, false);
        g_assert_nonnull(snap);
        g_assert_cmpuint(snap->blocks->len, <=, 1024);
        for (guint b = 0; b < snap->blocks->len; b++) {
            g_assert_cmpuint(g_array_index(snap->blocks, uint32_t, b), ==,
                             blocks++);
        }
        more = snap->more;
        zone_table_drop_snapshot(t, snap, true);
    } while (more);
    g_assert_cmpuint(blocks, ==, DIV_ROUND_UP(zones, ZONE_BLOCK_RECORDS));
    g_assert_null(zone_table_take_snapshot(t, false));
    zone_table_free(t);
}

static void add_walk_tests(void)
{
    g_test_add_func("/zone-table/walks/others-have-their-turn",
                    test_others_have_their_turn);
    g_test_add_func("/zone-table/walks/nothing-gets-between",
                    test_nothing_gets_between);
    g_test_add_func("/zone-table/walks/limits-hold", test_limits_hold);
    g_test_add_func("/zone-table/walks/none-changes", test_none_changes);
    g_test_add_func("/zone-table/walks/snapshots-in-pieces",
                    test_snapshots_in_pieces);
}

/* --- Zones that have released their active resource --- */

/* The only zone that a snapshot has as released, and in which state */
static void expect_released(const char *cell, ZoneTable *t, uint32_t zone,
                            BlockZoneState state, bool stored)
{
    ZoneSnapshot *snap = zone_table_take_snapshot(t, false);
    const ZoneReleased *r;

    g_assert_nonnull(snap);
    if (expect_value(cell, "released zones", snap->released->len, 1)) {
        r = &g_array_index(snap->released, ZoneReleased, 0);
        expect_value(cell, "released zone", r->zone, zone);
        expect_state(cell, r->record.state, state);
    }
    zone_table_drop_snapshot(t, snap, stored);
}

static void expect_none_released(const char *cell, ZoneTable *t)
{
    ZoneSnapshot *snap;

    zone_table_mark_dirty(t, 0);
    snap = zone_table_take_snapshot(t, false);
    expect_value(cell, "released zones", snap->released->len, 0);
    zone_table_drop_snapshot(t, snap, true);
}

static void test_full_by_a_write(void)
{
    ZoneTable *t = new_limited_table(0, 1);
    uint64_t position;

    put_zone(t, 4, CL, CAPACITY - BLOCK);
    store_all(t);
    g_assert_cmpint(do_append(t, 4, BLOCK, &position), ==, 0);
    expect_released("not stored", t, 4, FU, false);
    expect_released("stored", t, 4, FU, true);
    expect_none_released("after that", t);

    /* One that is active again has its resource */
    put_zone(t, 4, CL, CAPACITY - BLOCK);
    g_assert_cmpint(do_append(t, 4, BLOCK, &position), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_RESET, 4), ==, 0);
    g_assert_cmpint(do_append(t, 4, BLOCK, &position), ==, 0);
    expect_none_released("active again", t);
    zone_table_free(t);
}

/*
 * The record of a failed operation may have reached the file, with a zone that
 * is active there and not in memory: the next one must not come before it.
 */
static void test_failed_operations(void)
{
    ZoneTable *t = new_zns_table(1, 0);
    uint64_t position;
    Request r;

    start(&r, &(Request) {
        .t = t, .kind = MGMT, .op = BLK_ZO_SET_EXT, .offset = 4 * ZONE,
        .bytes = ZONE, .ext_late = true,
    });
    g_assert_cmpint(r.begun, ==, 0);
    zone_table_ext_written(t, &r.m);
    store_all(t);
    g_assert_cmpint(finish(&r, -EIO), ==, -EIO);
    g_assert_cmpint(do_append(t, 5, BLOCK, &position), ==, 0);
    expect_released("set extension", t, 4, EM, true);
    expect_none_released("set extension, stored", t);
    zone_table_free(t);

    t = new_zns_table(1, 0);
    put_zns_zone(t, 4, RO, 0, BLOCK, BLOCK);
    start_mgmt(&r, t, BLK_ZO_FORCE_REPAIR, 4, 1);
    g_assert_cmpint(r.begun, ==, 0);
    store_all(t);
    g_assert_cmpint(finish(&r, -EIO), ==, -EIO);
    g_assert_cmpint(do_append(t, 5, BLOCK, &position), ==, 0);
    expect_released("repair", t, 4, RO, true);
    zone_table_free(t);

    /* A reset that failed leaves an active zone */
    t = new_zns_table(2, 0);
    put_zone(t, 4, CL, BLOCK);
    start_mgmt(&r, t, BLK_ZO_RESET, 4, 1);
    store_all(t);
    g_assert_cmpint(finish(&r, -EIO), ==, -EIO);
    expect_none_released("reset", t);
    zone_table_free(t);
}

static void add_released_tests(void)
{
    g_test_add_func("/zone-table/released/full-by-a-write",
                    test_full_by_a_write);
    g_test_add_func("/zone-table/released/failed-operations",
                    test_failed_operations);
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);
    add_walk_tests();
    add_released_tests();
    return g_test_run();
}
