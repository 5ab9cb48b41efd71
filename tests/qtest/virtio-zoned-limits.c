/*
 * Tests of virtio-blk on a zoned disk: limits of open and active zones
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zoned-driver.h"

/* Open and write zones from 2 on: @nr of them, and close the first @closed. */
static Disk *use_zones(unsigned nr, unsigned closed, bool explicitly)
{
    Disk *d = get_disk(&standard);

    for (unsigned i = 2; i < 2 + nr; i++) {
        if (explicitly) {
            assert_ok(zone_open(d, i));
        }
        assert_ok(write_at(d, i * ZONE, 4 * KiB, OLD));
        if (i < 2 + closed) {
            assert_ok(zone_close(d, i));
        }
    }
    return d;
}

/* An implicitly open zone makes room for another one */
static void test_implicit_close(void)
{
    Disk *d = use_zones(3, 0, false);

    assert_zones(d, "2:iopen@4K 3:iopen@4K 4:iopen@4K");
    assert_ok(write_at(d, 5 * ZONE, 4 * KiB, OLD));
    assert_zones(d, "2:closed@4K 3:iopen@4K 4:iopen@4K 5:iopen@4K");
    assert_ok(write_at(d, 2 * ZONE + 4 * KiB, 4 * KiB, OLD));
    assert_zones(d, "2:iopen@8K 3:closed@4K 4:iopen@4K 5:iopen@4K");
    assert_ok(zone_open(d, 3));
    assert_zones(d, "2:iopen@8K 3:eopen@4K 4:closed@4K 5:iopen@4K");
}

/* Not asked for by the standard: it is the one not written to for longest. */
static void test_implicit_close_order(void)
{
    Disk *d = use_zones(3, 0, false);

    assert_ok(write_at(d, 2 * ZONE + 4 * KiB, 4 * KiB, OLD));
    assert_ok(write_at(d, 5 * ZONE, 4 * KiB, OLD));
    assert_zones(d, "2:iopen@8K 3:closed@4K 4:iopen@4K 5:iopen@4K");
}

static void assert_cannot_open(Disk *d, unsigned zone, uint64_t wp,
                               const char *status)
{
    g_autofree char *before = describe_zones(d);
    uint64_t position;

    assert_status(zone_open(d, zone), status);
    assert_status(write_at(d, zone * ZONE + wp, 4 * KiB, NEW), status);
    assert_status(append(d, zone * ZONE, 4 * KiB, NEW, &position), status);
    assert_status(write_zeroes(d, zone * ZONE + wp, 4 * KiB), status);
    assert_status(write_at(d, zone * ZONE + wp, CAPACITY - wp, NEW), status);
    assert_zones(d, before);
    assert_data(d, zone * ZONE + wp, 4 * KiB, 0);
    assert_vm_runs(d);
}

/* Explicitly open zones do not */
static void test_open_limit(void)
{
    Disk *d = use_zones(3, 0, true);

    assert_zones(d, "2:eopen@4K 3:eopen@4K 4:eopen@4K");
    assert_cannot_open(d, 5, 0, "OPEN_RESOURCE");
    assert_ok(zone_close(d, 3));
    assert_ok(write_at(d, 5 * ZONE, 4 * KiB, NEW));
    assert_zones(d, "2:eopen@4K 3:closed@4K 4:eopen@4K 5:iopen@4K");
}

/* A closed zone is active, and needs an open resource only */
static void test_open_limit_closed_zone(void)
{
    Disk *d = use_zones(4, 1, true);

    assert_zones(d, "2:closed@4K 3:eopen@4K 4:eopen@4K 5:eopen@4K");
    assert_cannot_open(d, 2, 4 * KiB, "OPEN_RESOURCE");
}

/* Closing a zone does not help here */
static void test_active_limit(void)
{
    Disk *d = use_zones(4, 0, false);

    assert_zones(d, "2:closed@4K 3:iopen@4K 4:iopen@4K 5:iopen@4K");
    assert_cannot_open(d, 6, 0, "ACTIVE_RESOURCE");
    assert_ok(zone_close(d, 3));
    assert_ok(zone_close(d, 4));
    assert_ok(zone_close(d, 5));
    assert_cannot_open(d, 6, 0, "ACTIVE_RESOURCE");
}

/* Where both resources lack, the active one is named */
static void test_both_limits(void)
{
    Disk *d = use_zones(4, 1, true);

    assert_cannot_open(d, 6, 0, "ACTIVE_RESOURCE");
}

/* What is open needs nothing more */
static void test_open_while_at_limits(void)
{
    Disk *d = use_zones(4, 1, false);

    assert_zones(d, "2:closed@4K 3:iopen@4K 4:iopen@4K 5:iopen@4K");
    assert_ok(zone_open(d, 3));
    assert_ok(zone_open(d, 3));
    assert_ok(write_at(d, 4 * ZONE + 4 * KiB, 4 * KiB, NEW));
    assert_zones(d, "2:closed@4K 3:eopen@4K 4:iopen@8K 5:iopen@4K");
}

/* Each way that gives resources back */
static void test_resources_come_back(void)
{
    Disk *d = use_zones(4, 1, true);
    uint64_t position;

    assert_ok(zone_finish(d, 6));
    assert_ok(zone_finish(d, 2));
    assert_ok(zone_finish(d, 3));
    assert_ok(zone_open(d, 7));
    assert_ok(zone_reset(d, 4));
    assert_ok(zone_open(d, 8));
    assert_zones(d, "2:full 3:full 5:eopen@4K 6:full 7:eopen@0K 8:eopen@0K");
    assert_cannot_open(d, 9, 0, "OPEN_RESOURCE");
    assert_ok(zone_close(d, 7));
    assert_ok(write_at(d, 9 * ZONE, CAPACITY, NEW));
    assert_ok(write_at(d, 10 * ZONE, CAPACITY - 4 * KiB, NEW));
    assert_ok(append(d, 10 * ZONE, 4 * KiB, NEW, &position));
    assert_ok(zone_open(d, 11));
    assert_zones(d, "2:full 3:full 5:eopen@4K 6:full 8:eopen@0K 9:full "
                 "10:full 11:eopen@0K");
    assert_cannot_open(d, 12, 0, "OPEN_RESOURCE");
    assert_ok(reset_all(d));
    for (unsigned i = 2; i < 2 + MAX_OPEN; i++) {
        assert_ok(zone_open(d, i));
    }
    assert_zones(d, "2:eopen@0K 3:eopen@0K 4:eopen@0K");
}

void add_limits_tests(void)
{
    add("limits/an-implicitly-open-zone-is-closed-for-another",
        test_implicit_close);
    add("limits/that-is-the-one-written-least-recently",
        test_implicit_close_order);
    add("limits/explicitly-open-zones-stand-in-the-way", test_open_limit);
    add("limits/a-closed-zone-can-lack-an-open-resource",
        test_open_limit_closed_zone);
    add("limits/closed-zones-are-active", test_active_limit);
    add("limits/without-both-resources-the-active-one-is-named",
        test_both_limits);
    add("limits/an-open-zone-needs-no-more", test_open_while_at_limits);
    add("limits/full-and-empty-zones-need-nothing", test_resources_come_back);
}
