/*
 * Tests of NVMe namespaces on a zoned disk
 *
 * Commands for all zones, open and active resources
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zns-driver.h"

/* --- All zones --- */

static void assert_states(Controller *c, const uint8_t *zs, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmphex(get_zone(c, i).state, ==, zs[i]);
    }
}

static const struct {
    const char *name;
    uint8_t action;
    uint8_t zs[S_FULL + 1];
} all_actions[] = {
    { "select-all/close-concerns-open-zones-only", NVME_ZONE_ACTION_CLOSE,
      { EMPTY, CLOSED, CLOSED, CLOSED, CLOSED, CLOSED, FULL } },
    { "select-all/finish-concerns-open-and-closed-zones-only",
      NVME_ZONE_ACTION_FINISH,
      { EMPTY, FULL, FULL, FULL, FULL, FULL, FULL } },
    { "select-all/open-concerns-closed-zones-only", NVME_ZONE_ACTION_OPEN,
      { EMPTY, IOPEN, EOPEN, EOPEN, EOPEN, EOPEN, FULL } },
    { "select-all/reset-empties-all", NVME_ZONE_ACTION_RESET,
      { EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY } },
    { "select-all/offline-concerns-none-of-these", NVME_ZONE_ACTION_OFFLINE,
      { EMPTY, IOPEN, EOPEN, EOPEN, CLOSED, CLOSED, FULL } },
};

static void test_select_all(const void *opaque)
{
    unsigned i = GPOINTER_TO_UINT(opaque);
    Controller *c = get_mixed();

    g_assert_cmphex(manage_all(c, all_actions[i].action), ==, OK);
    assert_states(c, all_actions[i].zs, S_FULL + 1);
}

static void test_select_all_worn(void)
{
    Controller *c = &get_machine(&cells)->controller[0];

    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_RESET), ==, OK);
    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_CLOSE), ==, OK);
    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_FINISH), ==, OK);
    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_OPEN), ==, OK);
    assert_zone(c, 1023, RDONLY, NO_WP);
    assert_zone(c, 1023 - 100, OFFLINE, NO_WP);
}

static void test_select_all_reserved(void)
{
    Controller *c = get_mixed();

    g_assert_cmphex(manage_all(c, 0), ==, INVALID_FIELD);
    g_assert_cmphex(manage_all(c, 6), ==, INVALID_FIELD);
    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_SET_ZD_EXT), ==,
                    INVALID_FIELD);
    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_ZRWA_FLUSH), ==,
                    INVALID_FIELD);
}

/* All zones are opened, or none */
static void test_open_all_is_atomic(void)
{
    Controller *c = get_clean(&limited);
    static const uint8_t closed[] = { CLOSED, CLOSED, CLOSED };

    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(write_at(c, i * ZONE, 1, 0x55), ==, OK);
    }
    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_CLOSE), ==, OK);
    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_OPEN), ==, TOO_MANY_OPEN);
    assert_states(c, closed, 3);
}

/* It resets no other zone */
static void test_reset_of_worn_zone(void)
{
    Machine *m = get_machine(&cells);
    Controller *c = &m->controller[0];
    unsigned last_empty = m->setup->zones - 2 * m->setup->worn - 1;

    g_assert_cmphex(write_at(c, last_empty * ZONE, 1, 0x55), ==, OK);
    for (unsigned i = last_empty + 1; i < m->setup->zones; i++) {
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, i * ZONE), ==,
                        TRANSITION);
    }
    assert_zone(c, last_empty, IOPEN, 1);
}

/* --- Limits --- */

static void test_implicit_close(void)
{
    Controller *c = get_clean(&limited);
    static const uint8_t expected[] = { CLOSED, IOPEN, IOPEN };

    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(write_at(c, i * ZONE, 1, 0x55), ==, OK);
    }
    assert_states(c, expected, 3);
}

static void test_explicit_stays(void)
{
    Controller *c = get_clean(&limited);
    uint64_t slba;

    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 0), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, ZONE), ==, OK);
    g_assert_cmphex(write_at(c, 2 * ZONE, 1, 0x55), ==, TOO_MANY_OPEN);
    g_assert_cmphex(append(c, 2 * ZONE, 1, 0x55, &slba), ==, TOO_MANY_OPEN);
    g_assert_cmphex(write_zeroes(c, 2 * ZONE, 1), ==, TOO_MANY_OPEN);
    g_assert_cmphex(copy(c, 2 * ZONE, 0, 1), ==, TOO_MANY_OPEN);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 2 * ZONE), ==,
                    TOO_MANY_OPEN);
    assert_zone(c, 0, EOPEN, 0);
    assert_zone(c, 1, EOPEN, 0);
    assert_zone(c, 2, EMPTY, 0);
}

/* No zone is closed for a command that fails all the same */
static void test_no_close_without_active(void)
{
    Controller *c = get_clean(&equal_limits);

    g_assert_cmphex(write_at(c, 0, 1, 0x55), ==, OK);
    g_assert_cmphex(write_at(c, ZONE, 1, 0x55), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 2 * ZONE), ==,
                    TOO_MANY_ACTIVE);
    g_assert_cmphex(write_at(c, 2 * ZONE, 1, 0x55), ==, TOO_MANY_ACTIVE);
    assert_zone(c, 0, IOPEN, 1);
    assert_zone(c, 1, IOPEN, 1);
    assert_zone(c, 2, EMPTY, 0);
}

static void test_active_first(void)
{
    Controller *c = get_clean(&limited);

    g_assert_cmphex(write_at(c, 2 * ZONE, 1, 0x55), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_CLOSE, 2 * ZONE), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 0), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, ZONE), ==, OK);
    g_assert_cmphex(write_at(c, 3 * ZONE, 1, 0x55), ==, TOO_MANY_ACTIVE);
    g_assert_cmphex(write_at(c, 2 * ZONE + 1, 1, 0x55), ==, TOO_MANY_OPEN);
    /* Finishing needs nothing, and full zones need nothing */
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, 3 * ZONE), ==, OK);
    assert_zone(c, 3, FULL, NO_WP);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, 0), ==, OK);
    g_assert_cmphex(write_at(c, 4 * ZONE, 1, 0x55), ==, OK);
}

/* A copy that fails opens no zone */
static void test_failed_copies_use_nothing(void)
{
    Controller *c = get_clean(&limited);

    for (unsigned i = 1; i < 16; i++) {
        g_assert_cmphex(copy(c, i * ZONE + 1, 0, 1), ==, INVALID_WRITE);
        g_assert_cmphex(copy(c, i * ZONE, 0, 129), ==, SIZE_LIMIT);
        g_assert_cmphex(copy(c, i * ZONE, 0, CAP + 1), ==, BOUNDARY);
        g_assert_cmphex(copy(c, i * ZONE, ZONE - 1, 2), ==, BOUNDARY);
        g_assert_cmphex(copy(c, i * ZONE, 16 * ZONE, 1), ==, LBA_RANGE);
        assert_zone(c, i, EMPTY, 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(write_at(c, i * ZONE, 1, 0x55), ==, OK);
    }
}

void add_limits_tests(void)
{
    for (int i = 0; i < ARRAY_SIZE(all_actions); i++) {
        add_with(all_actions[i].name, GUINT_TO_POINTER(i), test_select_all);
    }
    add("select-all/worn-zones-stay-as-they-are", test_select_all_worn);
    add("select-all/other-actions-are-refused", test_select_all_reserved);
    add("select-all/open-opens-all-zones-or-none", test_open_all_is_atomic);
    add("select-all/a-reset-of-a-worn-zone-resets-no-other-zone",
        test_reset_of_worn_zone);
    add("limits/an-implicitly-open-zone-is-closed-for-another",
        test_implicit_close);
    add("limits/an-explicitly-open-zone-is-not", test_explicit_stays);
    add("limits/no-zone-is-closed-where-that-does-not-help",
        test_no_close_without_active);
    add("limits/without-both-resources-the-active-one-is-named",
        test_active_first);
    add("limits/failed-copies-use-no-resource",
        test_failed_copies_use_nothing);
    add_in_memory("no-zone-is-closed-where-that-does-not-help",
                  test_no_close_without_active);
    add_in_memory("without-both-resources-the-active-one-is-named",
                  test_active_first);
    add_in_memory("open-opens-all-zones-or-none", test_open_all_is_atomic);
    add_in_memory("failed-copies-use-no-resource",
                  test_failed_copies_use_nothing);
}
