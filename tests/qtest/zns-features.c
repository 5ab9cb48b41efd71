/*
 * Tests of NVMe namespaces on a zoned disk
 *
 * Descriptor extensions and random write areas
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zns-driver.h"

/* --- Zone descriptor extensions --- */

void assert_extension(Controller *c, unsigned i, uint8_t value)
{
    g_assert_cmphex(receive(c, i * ZONE, 64 + 64 + EXTENSION,
                            RECEIVE_EXTENDED | PARTIAL), ==, OK);
    g_assert_cmpint(report_count(c), ==, 1);
    g_assert_cmphex(descriptor_at(c, 64).attributes & 0x80, ==,
                    value ? 0x80 : 0);
    assert_buffer(c, 128, EXTENSION, value);
}

static void test_identify_features(void)
{
    Controller *c = get_clean(&features);

    identify(c, 5, NVME_CSI_ZONED, NSID);
    g_assert_cmphex(field(c, 2, 2), ==, 2);
    g_assert_cmpint(field(c, 44, 4), ==, 2 - 1);    /* NUMZRWA */
    g_assert_cmpint(field(c, 48, 2), ==, GRANULARITY);
    g_assert_cmpint(field(c, 50, 2), ==, ZRWA);
    g_assert_cmpint(field(c, 52, 1), ==, 1);
    g_assert_cmpint(field(c, 2824, 1), ==, EXTENSION / 64);

    c = get_clean(&held);
    identify(c, 5, NVME_CSI_ZONED, NSID);
    g_assert_cmphex(field(c, 44, 4), ==, UINT32_MAX);
}

static void test_extended_report(void)
{
    Controller *c = get_clean(&features);
    const unsigned entry = 64 + EXTENSION;

    g_assert_cmphex(set_extension(c, ZONE, 0xe1, 0), ==, OK);
    g_assert_cmphex(set_extension(c, 3 * ZONE, 0xe3, 0), ==, OK);
    g_assert_cmphex(receive(c, 0, 64 + 4 * entry + entry / 2,
                            RECEIVE_EXTENDED | PARTIAL), ==, OK);
    g_assert_cmpint(report_count(c), ==, 4);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmpint(descriptor_at(c, 64 + i * entry).start, ==, i * ZONE);
        g_assert_cmphex(descriptor_at(c, 64 + i * entry).attributes, ==,
                        i % 2 ? 0x80 : 0);
        assert_buffer(c, 64 + i * entry + 64, EXTENSION, i % 2 ? 0xe0 + i : 0);
    }
    g_assert_cmphex(receive(c, 0, 64 + 16 * entry, RECEIVE_EXTENDED | 4 << 8),
                    ==, OK);
    g_assert_cmpint(report_count(c), ==, 2);
    assert_buffer(c, 64 + entry + 64, EXTENSION, 0xe3);
}

/* ZNS 1.1: it is lost with a reset, and with nothing else */
static void test_extension_stays(void)
{
    Controller *c = get_clean(&features);

    g_assert_cmphex(set_extension(c, 0, 0xe1, 0), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 0), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_CLOSE, 0), ==, OK);
    assert_extension(c, 0, 0xe1);
    restart_machine(c->m);
    assert_zone(c, 0, CLOSED, 0);
    assert_extension(c, 0, 0xe1);
    g_assert_cmphex(write_at(c, 0, 2, 0x12), ==, OK);
    crash_machine(c->m);
    assert_extension(c, 0, 0xe1);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, 0), ==, OK);
    crash_machine(c->m);
    assert_zone(c, 0, FULL, NO_WP);
    assert_extension(c, 0, 0xe1);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, 0), ==, OK);
    assert_extension(c, 0, 0);
    g_assert_cmphex(set_extension(c, 0, 0xe2, 0), ==, OK);
    all_shut_down(c->m);
    assert_zone(c, 0, CLOSED, 0);
    assert_extension(c, 0, 0xe2);
}

/* A command that fails leaves the extension as it was */
static void test_extension_not_replaced(void)
{
    Controller *c = get_clean(&features);
    Command cmd = command(NVME_CMD_ZONE_MGMT_SEND, ZONE, 0,
                          NVME_ZONE_ACTION_SET_ZD_EXT);

    g_assert_cmphex(set_extension(c, 0, 0xe1, 0), ==, OK);
    g_assert_cmphex(set_extension(c, 0, 0xe2, 0), ==, TRANSITION);
    assert_extension(c, 0, 0xe1);
    /* Half of it in a page that has a bad address */
    cmd = with_data(c, cmd, 4096 - EXTENSION / 2, EXTENSION);
    cmd.dw[8] += 8;
    g_assert_cmphex(io(c, cmd).status, ==, PRP_OFFSET);
    assert_zone(c, 1, EMPTY, 0);
    assert_extension(c, 1, 0);
}

static void test_extension_is_active(void)
{
    Controller *c = get_clean(&features);

    for (unsigned i = 0; i < 5; i++) {
        g_assert_cmphex(set_extension(c, i * ZONE, 0xe1, 0), ==, OK);
    }
    g_assert_cmphex(set_extension(c, 5 * ZONE, 0xe1, 0), ==, TOO_MANY_ACTIVE);
    g_assert_cmphex(write_at(c, 5 * ZONE, 1, 0), ==, TOO_MANY_ACTIVE);
    assert_extension(c, 5, 0);
    restart_machine(c->m);
    g_assert_cmphex(write_at(c, 5 * ZONE, 1, 0), ==, TOO_MANY_ACTIVE);
    g_assert_cmphex(write_at(c, 4 * ZONE, 1, 0), ==, OK);
}

/* --- Random write areas (TP4076) --- */

Controller *get_zrwa(void)
{
    Controller *c = get_clean(&features);

    g_assert_cmphex(do_open_zrwa(c, 0, 0), ==, OK);
    g_assert_cmphex(get_zone(c, 0).attributes, ==, 8);
    return c;
}

static void test_zrwa_any_order(void)
{
    Controller *c = get_zrwa();

    g_assert_cmphex(write_at(c, 6, 2, 0xa1), ==, OK);
    g_assert_cmphex(write_at(c, 0, 1, 0xa2), ==, OK);
    g_assert_cmphex(write_at(c, 6, 1, 0xa3), ==, OK);
    g_assert_cmphex(write_zeroes(c, 7, 1), ==, OK);
    assert_zone(c, 0, EOPEN, 0);
    assert_blocks(c, 0, 1, 0xa2);
    assert_blocks(c, 1, 5, 0);
    assert_blocks(c, 6, 1, 0xa3);
    assert_blocks(c, 7, 1, 0);
}

static void test_zrwa_bounds(void)
{
    Controller *c = get_zrwa();
    uint64_t slba;

    g_assert_cmphex(write_at(c, 2 * ZRWA - 1, 2, 0), ==, INVALID_WRITE);
    g_assert_cmphex(write_at(c, 2 * ZRWA, 1, 0), ==, INVALID_WRITE);
    g_assert_cmphex(append(c, 0, 1, 0, &slba), ==, INVALID_OP);
    assert_zone(c, 0, EOPEN, 0);
    /* The least commit that makes room, in units of the granularity */
    g_assert_cmphex(write_at(c, ZRWA, 1, 0xa1), ==, OK);
    assert_zone(c, 0, EOPEN, GRANULARITY);
    g_assert_cmphex(write_at(c, GRANULARITY - 1, 1, 0), ==, INVALID_WRITE);
    g_assert_cmphex(write_at(c, GRANULARITY, 1, 0xa2), ==, OK);
    g_assert_cmphex(write_at(c, 2 * ZRWA + GRANULARITY - 1, 1, 0xa3), ==, OK);
    assert_zone(c, 0, EOPEN, ZRWA + GRANULARITY);
    assert_blocks(c, ZRWA + 1, ZRWA, 0);
    assert_blocks(c, 2 * ZRWA + GRANULARITY - 1, 1, 0xa3);
}

/* It is of what is in the area, and in units of the granularity */
static void test_zrwa_commit(void)
{
    Controller *c = get_zrwa();
    const uint32_t commit = NVME_ZONE_ACTION_ZRWA_FLUSH;

    g_assert_cmphex(write_at(c, 0, ZRWA, 0xa1), ==, OK);
    g_assert_cmphex(manage(c, commit, 2), ==, INVALID_FIELD);
    g_assert_cmphex(manage(c, commit, ZRWA), ==, INVALID_OP);
    g_assert_cmphex(manage(c, commit, ZONE - 1), ==, INVALID_OP);
    g_assert_cmphex(manage(c, commit, ZONE + 1), ==, INVALID_OP);
    g_assert_cmphex(manage(c, commit, 16 * ZONE), ==, LBA_RANGE);
    assert_zone(c, 0, EOPEN, 0);
    g_assert_cmphex(manage(c, commit, 1), ==, OK);
    assert_zone(c, 0, EOPEN, 2);
    g_assert_cmphex(manage(c, commit, 1), ==, INVALID_OP);
    g_assert_cmphex(manage(c, commit, ZRWA - 1), ==, OK);
    assert_zone(c, 0, EOPEN, ZRWA);
    assert_blocks(c, 0, ZRWA, 0xa1);
}

/* A commit up to the capacity makes the zone full */
static void test_zrwa_to_the_end(void)
{
    Controller *c = get_zrwa();
    const uint32_t commit = NVME_ZONE_ACTION_ZRWA_FLUSH;

    for (unsigned i = 0; i < CAP; i += ZRWA) {
        g_assert_cmphex(write_at(c, i, ZRWA, 0xa1), ==, OK);
    }
    assert_zone(c, 0, EOPEN, CAP - ZRWA);
    g_assert_cmphex(write_at(c, CAP - 1, 2, 0xa2), ==, BOUNDARY);
    g_assert_cmphex(manage(c, commit, CAP + 1), ==, INVALID_OP);
    g_assert_cmphex(manage(c, commit, CAP - 1), ==, OK);
    assert_zone(c, 0, FULL, NO_WP);
    g_assert_cmphex(get_zone(c, 0).attributes, ==, 0);
    assert_blocks(c, 0, CAP, 0xa1);
}

/* Areas are counted, and given back */
static void test_zrwa_resources(void)
{
    Controller *c = get_zrwa();

    for (int i = 0; i < 40; i++) {
        g_assert_cmphex(do_open_zrwa(c, ZONE, 0), ==, OK);
        g_assert_cmphex(do_open_zrwa(c, ZONE, 0), ==, INVALID_OP);
        g_assert_cmphex(do_open_zrwa(c, 2 * ZONE, 0), ==, NO_ZRWA);
        g_assert_cmphex(set_extension(c, 2 * ZONE, 1, WITH_ZRWA), ==, NO_ZRWA);
        assert_zone(c, 2, EMPTY, 0);
        assert_extension(c, 2, 0);
        g_assert_cmphex(manage(c, i % 2 ? NVME_ZONE_ACTION_RESET
                                        : NVME_ZONE_ACTION_FINISH, ZONE),
                        ==, OK);
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, ZONE), ==, OK);
    }
    /* A closed zone keeps its area */
    g_assert_cmphex(do_open_zrwa(c, ZONE, 0), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_CLOSE, 0), ==, OK);
    g_assert_cmphex(get_zone(c, 0).attributes, ==, 8);
    g_assert_cmphex(do_open_zrwa(c, 2 * ZONE, 0), ==, NO_ZRWA);
}

/* Without a limit they do not run out */
static void test_zrwa_no_limit(void)
{
    Controller *c = get_clean(&held);

    for (int i = 0; i < 40; i++) {
        g_assert_cmphex(do_open_zrwa(c, (i % 2) * ZONE, 0), ==, OK);
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, (i % 2) * ZONE), ==,
                        OK);
    }
    for (int i = 0; i < 16; i++) {
        g_assert_cmphex(do_open_zrwa(c, i * ZONE, 0), ==, OK);
    }
}

/* The granularity counts from the start of the zone */
static void test_zrwa_odd_granularity(void)
{
    Controller *c = get_clean(&odd_granularity);

    g_assert_cmphex(do_open_zrwa(c, ZONE, 0), ==, OK);
    g_assert_cmphex(write_at(c, ZONE, 6, 0xa1), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_ZRWA_FLUSH, ZONE + 1), ==,
                    INVALID_FIELD);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_ZRWA_FLUSH, ZONE + 2), ==, OK);
    assert_zone(c, 1, EOPEN, 3);
    g_assert_cmphex(write_at(c, ZONE + 9, 1, 0xa2), ==, OK);
    assert_zone(c, 1, EOPEN, 6);
}

/* Only areas that were counted are given back */
static void test_zrwa_power_cycle(void)
{
    Controller *c = get_zrwa();

    g_assert_cmphex(do_open_zrwa(c, ZONE, 0), ==, OK);
    g_assert_cmphex(write_at(c, 0, 2, 0xa1), ==, OK);
    g_assert_cmphex(flush(c), ==, OK);
    all_shut_down(c->m);
    /* One is kept by what it holds, the other one is free */
    assert_zone(c, 0, CLOSED, 0);
    assert_zone(c, 1, EMPTY, 0);
    g_assert_cmphex(do_open_zrwa(c, 2 * ZONE, 0), ==, OK);
    g_assert_cmphex(do_open_zrwa(c, 3 * ZONE, 0), ==, NO_ZRWA);
}

/* A zone with data gets none */
static void test_zrwa_only_empty(void)
{
    Controller *c = get_clean(&features);

    for (State s = S_IOPEN; s <= S_FULL; s++) {
        unsigned zone = prepare(c, s);

        g_assert_cmphex(do_open_zrwa(c, zone * ZONE, 0), ==, INVALID_OP);
        assert_zone(c, zone, states[s].zs, states[s].wp);
        g_assert_cmphex(get_zone(c, zone).attributes, ==, 0);
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, zone * ZONE), ==,
                        OK);
    }
    g_assert_cmphex(set_extension(c, 0, 1, WITH_ZRWA), ==, OK);
    g_assert_cmphex(get_zone(c, 0).attributes, ==, 0x88);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_ZRWA_FLUSH, ZONE + 1), ==,
                    INVALID_OP);
}

/* A copy is a write to the area */
static void test_zrwa_copy(void)
{
    Controller *c = get_zrwa();

    g_assert_cmphex(write_at(c, ZONE, 4, 0xa1), ==, OK);
    g_assert_cmphex(copy(c, 4, ZONE, 4), ==, OK);
    assert_zone(c, 0, EOPEN, 0);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_ZRWA_FLUSH, ZRWA - 1), ==, OK);
    assert_zone(c, 0, EOPEN, ZRWA);
    assert_blocks(c, 0, 4, 0);
    assert_blocks(c, 4, 4, 0xa1);
    g_assert_cmphex(copy(c, 4, ZONE, 4), ==, INVALID_WRITE);
}

/* What was flushed to an area is not lost */
static void test_zrwa_survives(void)
{
    Controller *c = get_zrwa();

    g_assert_cmphex(write_at(c, 2, 2, 0xa1), ==, OK);
    g_assert_cmphex(do_open_zrwa(c, ZONE, 0), ==, OK);
    g_assert_cmphex(flush(c), ==, OK);
    for (int i = 0; i < 3; i++) {
        if (i == 0) {
            all_shut_down(c->m);
        } else if (i == 1) {
            restart_machine(c->m);
        } else {
            crash_machine(c->m);
        }
        assert_zone(c, 0, CLOSED, 0);
        g_assert_cmphex(get_zone(c, 0).attributes, ==, 8);
        assert_blocks(c, 0, 2, 0);
        assert_blocks(c, 2, 2, 0xa1);
        assert_blocks(c, 4, 4, 0);
        /* Nothing was written to the other, which lost its area */
        assert_zone(c, 1, EMPTY, 0);
        g_assert_cmphex(get_zone(c, 1).attributes, ==, 0);
    }
    g_assert_cmphex(write_at(c, 0, 1, 0xa2), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_ZRWA_FLUSH, 3), ==, OK);
    assert_zone(c, 0, IOPEN, 4);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, 0), ==, OK);
    assert_blocks(c, 0, 1, 0xa2);
    assert_blocks(c, 2, 2, 0xa1);
}

static void test_zrwa_crash_after_commit(void)
{
    Controller *c = get_zrwa();

    g_assert_cmphex(write_at(c, 0, 4, 0xa1), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_ZRWA_FLUSH, 1), ==, OK);
    crash_machine(c->m);
    assert_zone(c, 0, CLOSED, 2);
    assert_blocks(c, 0, 2, 0xa1);
    g_assert_cmphex(get_zone(c, 0).attributes, ==, 8);
}

void add_features_tests(void)
{
    add("identify/extensions-and-random-write-areas-are-announced",
        test_identify_features);
    add("extension/it-is-in-the-extended-report", test_extended_report);
    add("extension/only-a-reset-loses-it", test_extension_stays);
    add("extension/a-command-that-fails-does-not-replace-it",
        test_extension_not_replaced);
    add("extension/it-needs-an-active-resource", test_extension_is_active);
    add("zrwa/writes-come-in-any-order", test_zrwa_any_order);
    add("zrwa/writes-behind-it-commit", test_zrwa_bounds);
    add("zrwa/a-commit-is-in-its-bounds", test_zrwa_commit);
    add("zrwa/a-commit-can-fill-the-zone", test_zrwa_to_the_end);
    add("zrwa/there-are-only-so-many", test_zrwa_resources);
    add("zrwa/there-need-not-be-a-limit", test_zrwa_no_limit);
    add("zrwa/its-granularity-counts-from-the-zones-start",
        test_zrwa_odd_granularity);
    add("zrwa/a-shutdown-gives-back-what-holds-nothing",
        test_zrwa_power_cycle);
    add("zrwa/only-empty-zones-get-one", test_zrwa_only_empty);
    add("zrwa/a-copy-is-a-write", test_zrwa_copy);
    add("zrwa/it-survives-with-what-was-written-to-it", test_zrwa_survives);
    add("zrwa/a-crash-undoes-no-commit", test_zrwa_crash_after_commit);
    add_in_memory("an-extension-that-is-refused-replaces-none",
                  test_extension_not_replaced);
    add_in_memory("a-commit-is-in-its-bounds", test_zrwa_commit);
    add_in_memory("a-commit-can-fill-the-zone", test_zrwa_to_the_end);
    add_in_memory("there-are-only-so-many-random-write-areas",
                  test_zrwa_resources);
    add_in_memory("random-write-areas-need-not-be-limited",
                  test_zrwa_no_limit);
    add_in_memory("the-granularity-counts-from-the-zones-start",
                  test_zrwa_odd_granularity);
    add_in_memory("only-empty-zones-get-a-random-write-area",
                  test_zrwa_only_empty);
    add_in_memory("a-copy-to-a-random-write-area-is-a-write", test_zrwa_copy);
}
