/*
 * Unit tests of the zone table: limits of open and active zones
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "zone-table-harness.h"

/* Zones of the resource tests, and what an attempt to open one more does */
typedef struct ResourceCase {
    const char *name;
    uint32_t max_open, max_active;
    BlockZoneState others[4];
    BlockZoneState subject;
    int want;                   /* of a write as of an explicit open */
    int victim;                 /* the one of @others that is closed, or -1 */
} ResourceCase;

static const ResourceCase resource_cases[] = {
    { "no limits", 0, 0, { EO, EO, IO, CL }, EM, 0, -1 },
    { "room in both", 3, 5, { EO, IO, CL, EM }, EM, 0, -1 },
    { "last of both", 3, 4, { EO, IO, CL, EM }, EM, 0, -1 },

    /* Active is the harder one; an implicit close does not help it */
    { "active missing", 4, 3, { EO, IO, CL, EM }, EM,
      -EOVERFLOW, -1 },
    { "active and open missing", 2, 2, { EO, EO, EM, EM }, EM,
      -EOVERFLOW, -1 },
    { "active missing, open could be closed", 2, 2, { IO, IO, EM, EM }, EM,
      -EOVERFLOW, -1 },
    { "all active closed", 2, 2, { CL, CL, EM, EM }, EM,
      -EOVERFLOW, -1 },
    { "only active limited", 0, 2, { CL, EO, EM, EM }, EM,
      -EOVERFLOW, -1 },

    { "open missing, all explicit", 2, 0, { EO, EO, CL, EM }, EM,
      -ETOOMANYREFS, -1 },
    { "open missing, active left", 2, 5, { EO, EO, CL, EM }, EM,
      -ETOOMANYREFS, -1 },
    { "open missing, one implicit", 2, 0, { EO, IO, CL, EM }, EM, 0, 1 },
    { "open missing, implicit ones", 3, 0, { IO, EO, IO, EM }, EM, 0, 0 },

    /* A closed zone is active already */
    { "closed, active exhausted", 2, 2, { EO, FU, FU, EM }, CL, 0, -1 },
    { "closed, open exhausted", 2, 3, { EO, EO, FU, EM }, CL,
      -ETOOMANYREFS, -1 },
    { "closed, both exhausted, one implicit", 2, 3, { EO, IO, FU, EM }, CL,
      0, 1 },

    /* An open one has everything, whatever its kind */
    { "implicit, all exhausted", 3, 3, { EO, EO, EM, EM }, IO, 0, -1 },
    { "explicit, all exhausted", 3, 3, { EO, IO, EM, EM }, EO, 0, -1 },
    { "implicit, others explicit", 2, 2, { EO, FU, EM, EM }, IO, 0, -1 },
};

static void check_resource_case(const ResourceCase *c, bool by_write)
{
    g_autofree char *cell = g_strdup_printf("%s, by %s", c->name,
                                            by_write ? "write" : "open");
    ZoneTable *t = new_limited_table(c->max_open, c->max_active);
    uint32_t zone = FIRST_SEQ + ARRAY_SIZE(c->others);
    BlockZoneState after;
    int ret;

    for (int i = 0; i < ARRAY_SIZE(c->others); i++) {
        put_zone(t, FIRST_SEQ + i, c->others[i],
                 c->others[i] == EM ? 0 : WRITTEN);
    }
    put_zone(t, zone, c->subject, c->subject == EM ? 0 : WRITTEN);

    if (by_write) {
        ret = do_write(t, zone * ZONE + written_in(t, zone), BLOCK);
        after = c->subject == EO ? EO : IO;
    } else {
        ret = do_mgmt(t, BLK_ZO_OPEN, zone);
        after = EO;
    }
    expect_ret(cell, ret, c->want);
    expect_state(cell, state_of(t, zone), c->want < 0 ? c->subject : after);
    for (int i = 0; i < ARRAY_SIZE(c->others); i++) {
        expect_state(cell, state_of(t, FIRST_SEQ + i),
                     i == c->victim ? CL : c->others[i]);
    }
    expect_counts(cell, t);
    zone_table_free(t);
}

static void test_resources(void)
{
    for (int c = 0; c < ARRAY_SIZE(resource_cases); c++) {
        check_resource_case(&resource_cases[c], true);
        check_resource_case(&resource_cases[c], false);
    }
}

/* A write that would fill the zone at once needs the resources all the same. */
static void test_resources_for_filling_write(void)
{
    ZoneTable *t = new_limited_table(1, 1);

    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, FIRST_SEQ), ==, 0);
    g_assert_cmpint(do_write(t, 5 * ZONE, CAPACITY), ==, -EOVERFLOW);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_RESET, FIRST_SEQ), ==, 0);
    g_assert_cmpint(do_write(t, 5 * ZONE, CAPACITY), ==, 0);
    g_assert_cmpuint(nr_active(t), ==, 0);
    g_assert_cmpint(do_write(t, 6 * ZONE, CAPACITY), ==, 0);
    zone_table_free(t);
}

/* Other errors come first, so a request in error closes nothing. */
static void test_resources_last(void)
{
    ZoneTable *t = new_limited_table(1, 0);

    g_assert_cmpint(do_write(t, 4 * ZONE, BLOCK), ==, 0);
    g_assert_cmpint(do_write(t, 5 * ZONE + BLOCK, BLOCK), ==, -ESPIPE);
    g_assert_cmpint(do_write(t, 5 * ZONE, CAPACITY + BLOCK), ==, -ERANGE);
    g_assert_cmpint(do_write(t, 5 * ZONE, 0), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, IO);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 4), ==, 0);
    g_assert_cmpint(do_write(t, 5 * ZONE + BLOCK, BLOCK), ==, -ESPIPE);
    g_assert_cmpint(do_write(t, 5 * ZONE, CAPACITY + BLOCK), ==, -ERANGE);
    g_assert_cmpint(do_write(t, 5 * ZONE, 0), ==, 0);
    zone_table_free(t);
}

/* Finishing an empty zone takes no resource. */
static void test_finish_takes_no_resource(void)
{
    ZoneTable *t = new_limited_table(1, 1);

    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 4), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_FINISH, 5), ==, 0);
    g_assert_cmpint(state_of(t, 5), ==, FU);
    g_assert_cmpint(state_of(t, 4), ==, EO);
    zone_table_free(t);
}

/* Each way out of an active state gives the resources back. */
static void test_resources_come_back(void)
{
    static const struct {
        const char *name;
        BlockZoneState from;
        BlockZoneOp op;
        uint32_t open, active;
    } tests[] = {
        { "close implicit", IO, BLK_ZO_CLOSE, 0, 1 },
        { "close explicit", EO, BLK_ZO_CLOSE, 0, 1 },
        { "finish implicit", IO, BLK_ZO_FINISH, 0, 0 },
        { "finish explicit", EO, BLK_ZO_FINISH, 0, 0 },
        { "finish closed", CL, BLK_ZO_FINISH, 0, 0 },
        { "reset implicit", IO, BLK_ZO_RESET, 0, 0 },
        { "reset explicit", EO, BLK_ZO_RESET, 0, 0 },
        { "reset closed", CL, BLK_ZO_RESET, 0, 0 },
        { "open implicit", IO, BLK_ZO_OPEN, 1, 1 },
        { "open explicit", EO, BLK_ZO_OPEN, 1, 1 },
        { "open closed", CL, BLK_ZO_OPEN, 1, 1 },
        { "open empty", EM, BLK_ZO_OPEN, 1, 1 },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        ZoneTable *t = new_limited_table(1, 1);

        put_zone(t, 4, tests[c].from, tests[c].from == EM ? 0 : WRITTEN);
        expect_ret(tests[c].name, do_mgmt(t, tests[c].op, 4), 0);
        expect_value(tests[c].name, "open", nr_open(t), tests[c].open);
        expect_value(tests[c].name, "active", nr_active(t), tests[c].active);
        zone_table_free(t);
    }
}

/* The one opened first goes, but one that has been written since goes later. */
static void test_implicit_close_order(void)
{
    ZoneTable *t = new_limited_table(3, 0);
    uint64_t position;

    for (int i = 4; i < 7; i++) {
        g_assert_cmpint(do_append(t, i, BLOCK, &position), ==, 0);
    }
    g_assert_cmpint(do_append(t, 4, BLOCK, &position), ==, 0);
    /* Neither looking nor failing counts, nor writing nothing */
    g_assert_cmpint(do_append(t, 5, 0, &position), ==, 0);
    g_assert_cmpint(do_write(t, 5 * ZONE, BLOCK), ==, -ESPIPE);
    report_zone(t, 5);

    g_assert_cmpint(do_append(t, 7, BLOCK, &position), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, IO);
    g_assert_cmpint(state_of(t, 5), ==, CL);
    g_assert_cmpint(state_of(t, 6), ==, IO);

    /* Open zones now, in the order in which they go: 6, 4, 7 */
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 8), ==, 0);
    g_assert_cmpint(state_of(t, 6), ==, CL);
    g_assert_cmpint(do_append(t, 5, BLOCK, &position), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, CL);
    g_assert_cmpint(do_append(t, 6, BLOCK, &position), ==, 0);
    g_assert_cmpint(state_of(t, 7), ==, CL);
    g_assert_cmpint(state_of(t, 8), ==, EO);
    g_assert_cmpuint(nr_open(t), ==, 3);
    g_assert_cmpuint(nr_active(t), ==, 5);
    zone_table_free(t);
}

/* With nothing but explicitly open zones, one that is made so stays. */
static void test_explicit_never_closed(void)
{
    ZoneTable *t = new_limited_table(2, 0);
    uint64_t position;

    g_assert_cmpint(do_append(t, 4, BLOCK, &position), ==, 0);
    g_assert_cmpint(do_append(t, 5, BLOCK, &position), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 4), ==, 0);
    for (int i = 6; i < NR_ZONES; i++) {
        g_assert_cmpint(do_append(t, i, BLOCK, &position), ==, 0);
        g_assert_cmpint(state_of(t, i - 1), ==, CL);
        g_assert_cmpint(state_of(t, 4), ==, EO);
    }
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 5), ==, 0);
    g_assert_cmpint(do_append(t, 6, BLOCK, &position), ==, -ETOOMANYREFS);
    zone_table_free(t);
}

typedef struct OpenRangeCase {
    const char *name;
    uint32_t max_open, max_active;
    BlockZoneFlags flags;
    BlockZoneState outside[2], range[4];
    int want;
    BlockZoneState after_outside[2], after[4];
} OpenRangeCase;

static const OpenRangeCase open_range_cases[] = {
    { "fits", 4, 4, 0, { EM, EM }, { EM, EM, EM, EM }, 0,
      { EM, EM }, { EO, EO, EO, EO } },
    { "one active too few", 4, 3, 0, { EM, EM }, { EM, EM, EM, EM },
      -EOVERFLOW, },
    { "one open too few", 3, 4, 0, { EM, EM }, { EM, EM, EM, EM },
      -ETOOMANYREFS, },
    { "both too few", 3, 3, 0, { EM, EM }, { EM, EM, EM, EM },
      -EOVERFLOW, },
    { "active taken outside", 0, 5, 0, { CL, IO }, { EM, EM, EM, EM },
      -EOVERFLOW, },
    { "closed ones have theirs", 0, 6, 0, { CL, IO }, { CL, EM, EM, CL }, 0,
      { CL, IO }, { EO, EO, EO, EO } },
    { "closes implicit ones", 4, 0, 0, { IO, IO }, { EM, CL, EM, CL }, 0,
      { CL, CL }, { EO, EO, EO, EO } },
    { "closes only as many as needed", 5, 0, 0, { IO, IO },
      { EM, CL, EM, CL }, 0, { CL, IO }, { EO, EO, EO, EO } },
    { "explicit one in the way", 4, 0, 0, { EO, IO }, { EM, CL, EM, CL },
      -ETOOMANYREFS, },
    { "implicit ones of the range stay open", 4, 4, 0, { EM, EM },
      { EM, EM, IO, IO }, 0, { EM, EM }, { EO, EO, EO, EO } },
    { "implicit ones of the range, one too few", 3, 4, 0, { EM, EM },
      { EM, EM, IO, IO }, -ETOOMANYREFS, },
    { "explicit ones count once", 4, 4, 0, { EM, EM }, { EO, EM, EO, IO }, 0,
      { EM, EM }, { EO, EO, EO, EO } },
    { "nothing to do at the limit", 4, 4, 0, { EM, EM }, { EO, EO, EO, EO },
      0, { EM, EM }, { EO, EO, EO, EO } },

    { "all: opens the closed ones", 3, 0, BDRV_ZONE_ALL, { EM, FU },
      { CL, EM, CL, CL }, 0, { EM, FU }, { EO, EM, EO, EO } },
    { "all: one too few", 2, 0, BDRV_ZONE_ALL, { EM, FU },
      { CL, EM, CL, CL }, -ETOOMANYREFS, },
    { "all: explicit one in the way", 3, 0, BDRV_ZONE_ALL, { EM, EO },
      { CL, EM, CL, CL }, -ETOOMANYREFS, },
    /* One that is closed for it is not opened again by the same operation */
    { "all: implicit one makes room", 3, 0, BDRV_ZONE_ALL, { EM, EM },
      { CL, IO, CL, CL }, 0, { EM, EM }, { EO, CL, EO, EO } },
    { "all: nothing closed", 1, 1, BDRV_ZONE_ALL, { EM, FU },
      { EM, IO, RO, OF }, 0, { EM, FU }, { EM, IO, RO, OF } },
};

static void test_open_range(void)
{
    for (int c = 0; c < ARRAY_SIZE(open_range_cases); c++) {
        const OpenRangeCase *o = &open_range_cases[c];
        ZoneTable *t = new_limited_table(o->max_open, o->max_active);
        const BlockZoneState *outside = o->want ? o->outside
                                                : o->after_outside;
        const BlockZoneState *after = o->want ? o->range : o->after;
        bool all = o->flags & BDRV_ZONE_ALL;

        for (int i = 0; i < 2; i++) {
            put_zone(t, 4 + i, o->outside[i],
                     o->outside[i] == EM ? 0 : WRITTEN);
        }
        for (int i = 0; i < 4; i++) {
            put_zone(t, 6 + i, o->range[i], o->range[i] == EM ? 0 : WRITTEN);
        }
        expect_ret(o->name, do_mgmt_flags(t, BLK_ZO_OPEN, o->flags,
                                          all ? 0 : 6, all ? NR_ZONES : 4),
                   o->want);
        for (int i = 0; i < 2; i++) {
            expect_state(o->name, state_of(t, 4 + i), outside[i]);
        }
        for (int i = 0; i < 4; i++) {
            expect_state(o->name, state_of(t, 6 + i), after[i]);
        }
        expect_counts(o->name, t);
        zone_table_free(t);
    }
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/zone-table/resources/open-one-more", test_resources);
    g_test_add_func("/zone-table/resources/filling-write-needs-them",
                    test_resources_for_filling_write);
    g_test_add_func("/zone-table/resources/checked-last", test_resources_last);
    g_test_add_func("/zone-table/resources/finish-takes-none",
                    test_finish_takes_no_resource);
    g_test_add_func("/zone-table/resources/come-back",
                    test_resources_come_back);
    g_test_add_func("/zone-table/resources/least-recently-written-closed",
                    test_implicit_close_order);
    g_test_add_func("/zone-table/resources/explicit-never-closed",
                    test_explicit_never_closed);
    g_test_add_func("/zone-table/resources/open-range-all-or-nothing",
                    test_open_range);
    return g_test_run();
}
