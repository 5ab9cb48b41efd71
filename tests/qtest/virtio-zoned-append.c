/*
 * Tests of virtio-blk on a zoned disk: appends
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zoned-driver.h"

/* An append lies in one zone, within its capacity, or nothing is written */
static void test_append_into_next_zone(void)
{
    Disk *d = get_disk(&no_gap);
    uint64_t position;

    assert_ok(write_at(d, 3 * ZONE, ZONE - 4 * KiB, OLD));
    assert_status(append(d, 3 * ZONE, 8 * KiB, NEW, &position), "INVALID_CMD");
    assert_zones(d, "3:iopen@4092K");
    assert_ok(append(d, 3 * ZONE, 4 * KiB, NEW, &position));
    g_assert_cmpint(position, ==, 4 * ZONE - 4 * KiB);
    assert_status(append(d, 3 * ZONE, 4 * KiB, NEW, &position), "INVALID_CMD");
    assert_zones(d, "3:full");
    assert_data(d, 4 * ZONE, 8 * KiB, 0);
}

/* --- Append --- */

/* Its data is at the write pointer, and the answer tells where that was */
static void test_append_position(void)
{
    Disk *d = get_disk(&standard);
    uint64_t position;

    assert_ok(append(d, 3 * ZONE, 4 * KiB, 1, &position));
    g_assert_cmpint(position, ==, 3 * ZONE);
    assert_ok(append(d, 3 * ZONE, 60 * KiB, 2, &position));
    g_assert_cmpint(position, ==, 3 * ZONE + 4 * KiB);
    assert_ok(write_at(d, 3 * ZONE + 64 * KiB, 4 * KiB, 3));
    assert_ok(append(d, 3 * ZONE, 4 * KiB, 4, &position));
    g_assert_cmpint(position, ==, 3 * ZONE + 68 * KiB);
    assert_zones(d, "3:iopen@72K");
    assert_data(d, 3 * ZONE, 4 * KiB, 1);
    assert_data(d, 3 * ZONE + 4 * KiB, 60 * KiB, 2);
    assert_data(d, 3 * ZONE + 68 * KiB, 4 * KiB, 4);
}

/* The limit of the config space is the one that counts */
static void test_append_limit(void)
{
    Disk *d = get_disk(&standard);
    uint64_t position;

    assert_ok(append(d, 3 * ZONE, MAX_APPEND, NEW, &position));
    assert_status(append(d, 3 * ZONE, MAX_APPEND + SECTOR, NEW, &position),
                  "INVALID_CMD");
    assert_zones(d, "3:iopen@64K");
}

/* The sector is the start of a zone, which is looked at before the size */
static void test_append_not_zone_start(void)
{
    static const uint64_t offsets[] = {
        3 * ZONE + SECTOR, 3 * ZONE + 4 * KiB, 3 * ZONE + 8 * KiB,
        4 * ZONE - SECTOR, DISK, DISK + ZONE,
    };
    Disk *d = get_disk(&standard);
    uint64_t position;

    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    for (unsigned i = 0; i < ARRAY_SIZE(offsets); i++) {
        assert_status(append(d, offsets[i], 4 * KiB, NEW, &position),
                      "INVALID_CMD");
        assert_status(append(d, offsets[i], 100, NEW, &position),
                      "INVALID_CMD");
    }
    assert_zones(d, "3:iopen@8K");
}

/* Its size is in units of the write granularity */
static void test_append_not_whole_sectors(void)
{
    Disk *d = get_disk(&standard);
    uint64_t position;

    assert_status(append(d, 3 * ZONE, 100, NEW, &position), "UNALIGNED_WP");
    assert_status(append(d, 3 * ZONE, 4 * KiB + 1, NEW, &position),
                  "UNALIGNED_WP");
    assert_zones(d, "");
    assert_data(d, 3 * ZONE, 8 * KiB, 0);
}

/* Without room for the position nothing is written */
static void test_append_no_room(void)
{
    Disk *d = get_disk(&standard);
    uint64_t position;

    for (unsigned room = 0; room < 8; room++) {
        assert_status(submit(d, &(Request) {
            .type = VIRTIO_BLK_T_ZONE_APPEND, .sector = 3 * ZONE / SECTOR,
            .out_len = 4 * KiB, .fill = NEW, .in_len = room,
        }), "INVALID_CMD");
    }
    assert_zones(d, "");
    assert_data(d, 3 * ZONE, 4 * KiB, 0);
    assert_ok(append(d, 3 * ZONE, 4 * KiB, NEW, &position));
    g_assert_cmpint(position, ==, 3 * ZONE);
}

/*
 * The position comes first, however much room there is.  The standard has
 * it right before the status; the driver of Linux leaves 7 bytes between.
 */
static void test_append_more_room(void)
{
    Disk *d = get_disk(&standard);
    uint64_t answer[3];
    Request r = request_append(3 * ZONE, 4 * KiB, NEW, answer);

    r.in_len = sizeof(answer);
    assert_ok(submit(d, &r));
    g_assert_cmpint(le64_to_cpu(answer[0]), ==, 3 * ZONE / SECTOR);
    g_assert_cmpint(answer[1], ==, 0);
    g_assert_cmpint(answer[2], ==, 0);
    assert_zones(d, "3:iopen@4K");
}

/* Nothing to append is no error, and opens no zone */
static void test_append_nothing(void)
{
    Disk *d = get_disk(&standard);
    uint64_t position;

    assert_ok(append(d, 3 * ZONE, 0, NEW, &position));
    g_assert_cmpint(position, ==, 3 * ZONE);
    assert_zones(d, "");
    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, NEW));
    assert_ok(append(d, 3 * ZONE, 0, NEW, &position));
    g_assert_cmpint(position, ==, 3 * ZONE + 8 * KiB);
    assert_zones(d, "3:iopen@8K");
    assert_status(append(d, 0, 0, NEW, &position), "INVALID_CMD");
    assert_status(append(d, DISK, 0, NEW, &position), "INVALID_CMD");
}

/* What is left of a zone is known to the sector */
static void test_append_to_the_end(void)
{
    Disk *d = get_disk(&standard);
    uint64_t position;

    assert_ok(write_at(d, 3 * ZONE, CAPACITY - 8 * KiB, OLD));
    assert_status(append(d, 3 * ZONE, 8 * KiB + SECTOR, NEW, &position),
                  "INVALID_CMD");
    assert_zones(d, "3:iopen@3064K");
    assert_ok(append(d, 3 * ZONE, 8 * KiB, NEW, &position));
    g_assert_cmpint(position, ==, 3 * ZONE + CAPACITY - 8 * KiB);
    assert_zones(d, "3:full");
}

void add_append_tests(void)
{
    add("append/it-tells-where-the-data-is", test_append_position);
    add("append/it-has-a-limit", test_append_limit);
    add("append/it-needs-the-start-of-a-zone", test_append_not_zone_start);
    add("append/it-needs-whole-sectors", test_append_not_whole_sectors);
    add("append/it-writes-nothing-without-room-for-the-position",
        test_append_no_room);
    add("append/its-position-comes-first", test_append_more_room);
    add("append/nothing-can-be-appended", test_append_nothing);
    add("append/it-can-fill-a-zone-and-not-more", test_append_to_the_end);
    add("append/it-cannot-go-into-the-next-zone", test_append_into_next_zone);
}
