/*
 * Tests of virtio-blk on a zoned disk: reports
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zoned-driver.h"

/* All fields of all zones; the checks are in describe_zones() */
static void test_report_all(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 2 * ZONE, 8 * KiB, 1));
    assert_ok(zone_finish(d, 9));
    assert_ok(write_at(d, 15 * ZONE, SECTOR, 1));
    assert_zones(d, "2:iopen@8K 9:full 15:iopen@512");
}

/* It begins with the zone that has the sector */
static void test_report_from_middle(void)
{
    g_autofree Report *r = g_malloc(report_size(NR_ZONES));
    Disk *d = get_disk(&standard);

    assert_ok(get_report(d, 6 * ZONE - SECTOR, r, report_size(NR_ZONES)));
    g_assert_cmpint(le64_to_cpu(r->header.nr_zones), ==, NR_ZONES - 5);
    for (unsigned i = 5; i < NR_ZONES; i++) {
        assert_zone_geometry(d, i, &r->zones[i - 5]);
    }
}

/* It has whole descriptors only */
static void test_report_odd_buffer(void)
{
    size_t size = report_size(3) + 40;
    g_autofree uint8_t *buffer = g_malloc(size);
    Report *r = (Report *)buffer;
    Disk *d = get_disk(&standard);

    assert_ok(get_report(d, 4 * ZONE, buffer, size));
    g_assert_cmpint(le64_to_cpu(r->header.nr_zones), ==, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_zone_geometry(d, 4 + i, &r->zones[i]);
    }
}

/* It does not depend on how the guest's buffers lie */
static void test_report_pieces(void)
{
    g_autofree Report *r = g_malloc(report_size(NR_ZONES));
    Disk *d = get_disk(&standard);

    assert_ok(submit(d, &(Request) {
        .type = VIRTIO_BLK_T_ZONE_REPORT, .segment = 77, .misaligned = 13,
        .in_len = report_size(NR_ZONES), .in = r,
    }));
    g_assert_cmpint(le64_to_cpu(r->header.nr_zones), ==, NR_ZONES);
    for (unsigned i = 0; i < NR_ZONES; i++) {
        assert_zone_geometry(d, i, &r->zones[i]);
    }
}

/* The device collects a report in parts */
static void test_report_many_zones(void)
{
    static const Setup setup = {
        .size = "320M",
        .image = ",zone.size=64K,zone.capacity=64K",
    };
    unsigned n = 5120;
    g_autofree Report *r = g_malloc(report_size(n + 1));
    Disk *d = new_disk(&setup);

    assert_ok(get_report(d, 0, r, report_size(n + 1)));
    g_assert_cmpint(le64_to_cpu(r->header.nr_zones), ==, n);
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmpint(le64_to_cpu(r->zones[i].z_start), ==, i * 128);
    }
    delete_disk(d);
}

/* There is no zone to begin with */
static void test_report_beyond(void)
{
    g_autofree Report *r = g_malloc(report_size(1));
    Disk *d = get_disk(&standard);

    assert_status(get_report(d, DISK, r, report_size(1)), "INVALID_CMD");
    assert_status(get_report(d, DISK + SECTOR, r, report_size(1)),
                  "INVALID_CMD");
    assert_zones(d, "");
}

/* The header alone is a report of no zone */
static void test_report_header_only(void)
{
    struct virtio_blk_zone_report header;
    Disk *d = get_disk(&standard);

    assert_ok(get_report(d, 0, &header, sizeof(header)));
    g_assert_cmpint(le64_to_cpu(header.nr_zones), ==, 0);
}

/* The device stays usable */
static void test_report_no_room(void)
{
    Disk *d = get_disk(&standard);

    assert_status(get_report(d, 0, NULL, sizeof(struct virtio_blk_zone_report)
                                         - 1), "INVALID_CMD");
    assert_status(get_report(d, 0, NULL, 0), "INVALID_CMD");
    assert_zones(d, "");
}

void add_report_tests(void)
{
    add("report/it-names-all-zones", test_report_all);
    add("report/it-starts-with-the-zone-that-has-the-sector",
        test_report_from_middle);
    add("report/a-part-of-a-descriptor-does-not-count", test_report_odd_buffer);
    add("report/the-buffer-can-be-in-pieces", test_report_pieces);
    add("report/thousands-of-zones-fit-in-one", test_report_many_zones);
    add("report/it-cannot-start-beyond-the-disk", test_report_beyond);
    add("report/there-can-be-room-for-no-zone", test_report_header_only);
    add("report/it-needs-room-for-the-header", test_report_no_room);
}
