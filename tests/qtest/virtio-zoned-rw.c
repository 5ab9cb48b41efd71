/*
 * Tests of virtio-blk on a zoned disk: reads, writes, flushes, write zeroes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zoned-driver.h"

/* --- Reads and writes --- */

/* The device of all these tests has werror=stop and rerror=stop */
static void test_error_policy(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    assert_status(write_at(d, 3 * ZONE, 4 * KiB, NEW), "UNALIGNED_WP");
    assert_vm_runs(d);
    assert_status(write_at(d, 3 * ZONE, CAPACITY, NEW), "UNALIGNED_WP");
    assert_vm_runs(d);
    assert_zones(d, "3:iopen@8K");
    assert_data(d, 3 * ZONE, 8 * KiB, OLD);
    assert_ok(write_at(d, 3 * ZONE + 8 * KiB, 4 * KiB, NEW));
    assert_zones(d, "3:iopen@12K");
}

/* Conventional zones have no write pointer */
static void test_conventional_any_order(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, ZONE + 512 * KiB, 8 * KiB, 1));
    assert_ok(write_at(d, 16 * KiB + SECTOR, SECTOR, 2));
    assert_ok(write_at(d, ZONE + 512 * KiB, 4 * KiB, 3));
    assert_ok(write_at(d, ZONE - 4 * KiB, 8 * KiB, 4));
    assert_data(d, ZONE + 512 * KiB, 4 * KiB, 3);
    assert_data(d, ZONE + 516 * KiB, 4 * KiB, 1);
    assert_data(d, 16 * KiB + SECTOR, SECTOR, 2);
    assert_data(d, ZONE - 4 * KiB, 8 * KiB, 4);
    assert_zones(d, "");
}

/* A write that ends in a sequential zone changes nothing */
static void test_write_into_first_sequential(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 2 * ZONE - 8 * KiB, 8 * KiB, OLD));
    assert_status(write_at(d, 2 * ZONE - 4 * KiB, 8 * KiB, NEW), "INVALID_CMD");
    assert_zones(d, "");
    assert_data(d, 2 * ZONE - 8 * KiB, 8 * KiB, OLD);
}

/* A write that ends in another zone changes nothing */
static void test_write_into_next_zone(void)
{
    Disk *d = get_disk(&no_gap);

    assert_ok(write_at(d, 3 * ZONE, ZONE - 4 * KiB, OLD));
    assert_status(write_at(d, 4 * ZONE - 4 * KiB, 8 * KiB, NEW), "INVALID_CMD");
    assert_zones(d, "3:iopen@4092K");
    assert_ok(write_at(d, 4 * ZONE - 4 * KiB, 4 * KiB, NEW));
    assert_zones(d, "3:full");
    assert_data(d, 4 * ZONE, 4 * KiB, 0);
}

/* The write granularity of the config space is the one that counts */
static void test_single_sectors(void)
{
    Disk *d = get_disk(&standard);
    uint64_t position;

    assert_ok(write_at(d, 3 * ZONE, SECTOR, 1));
    assert_zones(d, "3:iopen@512");
    assert_ok(append(d, 3 * ZONE, SECTOR, 2, &position));
    g_assert_cmpint(position, ==, 3 * ZONE + SECTOR);
    assert_ok(write_zeroes(d, 3 * ZONE + 2 * SECTOR, SECTOR));
    assert_zones(d, "3:iopen@1536");
    assert_data(d, 3 * ZONE, SECTOR, 1);
    assert_data(d, 3 * ZONE + SECTOR, SECTOR, 2);
    assert_data(d, 3 * ZONE + 2 * SECTOR, SECTOR, 0);
}

/* Above the write pointer there are zeroes */
static void test_read_after_reset(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, CAPACITY, OLD));
    assert_zones(d, "3:full");
    assert_data(d, 3 * ZONE, CAPACITY, OLD);
    assert_data(d, 3 * ZONE + CAPACITY, ZONE - CAPACITY, 0);
    assert_ok(zone_reset(d, 3));
    assert_data(d, 3 * ZONE, ZONE, 0);
    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, NEW));
    assert_data(d, 3 * ZONE, 4 * KiB, NEW);
    assert_data(d, 3 * ZONE + 4 * KiB, ZONE - 4 * KiB, 0);
    assert_zones(d, "3:iopen@4K");
}

/* A flush changes no zone */
static void test_flush(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    assert_ok(zone_open(d, 4));
    assert_ok(manage(d, VIRTIO_BLK_T_FLUSH, 0));
    assert_zones(d, "3:iopen@8K 4:eopen@0K");
}

/* There can be room for more than the status that a request tells */
static void test_room_for_nothing(void)
{
    static const uint32_t types[] = {
        VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_ZONE_OPEN,
        VIRTIO_BLK_T_ZONE_FINISH, VIRTIO_BLK_T_ZONE_RESET,
        VIRTIO_BLK_T_ZONE_RESET_ALL,
    };
    Disk *d = get_disk(&standard);

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        assert_ok(submit(d, &(Request) {
            .type = types[i], .sector = 3 * ZONE / SECTOR,
            .out_len = types[i] == VIRTIO_BLK_T_OUT ? 4 * KiB : 0,
            .in_len = 40,
        }));
    }
}

/* What is written does not depend on how the guest's buffers lie */
static void test_buffers(const void *opaque)
{
    const Request *framing = opaque;
    g_autofree uint8_t *data = g_malloc(48 * KiB), *back = g_malloc(48 * KiB);
    Disk *d = get_disk(&standard);
    Request r = *framing;

    for (unsigned i = 0; i < 48 * KiB; i++) {
        data[i] = (i / 256 + i * 7) % 128;
    }
    r.out = data;
    r.out_len = 24 * KiB;
    r.sector = 3 * ZONE / SECTOR;
    r.type = VIRTIO_BLK_T_OUT;
    assert_ok(submit(d, &r));
    r.out = data + 24 * KiB;
    r.type = VIRTIO_BLK_T_ZONE_APPEND;
    r.in_len = 8;
    assert_ok(submit(d, &r));
    assert_zones(d, "3:iopen@48K");
    r.out_len = 0;
    r.type = VIRTIO_BLK_T_IN;
    r.in_len = 48 * KiB;
    r.in = back;
    assert_ok(submit(d, &r));
    g_assert_cmpmem(data, 48 * KiB, back, 48 * KiB);
}

static const Request joined = { .joined = true };
static const Request misaligned = { .misaligned = 1003 };
static const Request in_pieces = { .segment = 1000, .misaligned = 333 };

/* A read that touches a sequential zone lies within that zone */
static void test_read_into_next_zone(const void *setup)
{
    Disk *d = get_disk(setup);

    assert_ok(write_at(d, 3 * ZONE, CAPACITY, OLD));
    assert_status(read_at(d, 4 * ZONE - 4 * KiB, 8 * KiB, NULL), "INVALID_CMD");
    assert_status(read_at(d, 4 * ZONE - SECTOR, 2 * SECTOR, NULL),
                  "INVALID_CMD");
    assert_status(read_at(d, 3 * ZONE, ZONE + SECTOR, NULL), "INVALID_CMD");
    assert_status(read_at(d, 3 * ZONE, 4 * ZONE, NULL), "INVALID_CMD");
    assert_status(read_at(d, 2 * ZONE - SECTOR, 2 * SECTOR, NULL),
                  "INVALID_CMD");
    assert_status(read_at(d, 0, 3 * ZONE, NULL), "INVALID_CMD");
    assert_vm_runs(d);
    if (!d->exported) {
        g_assert_cmpint(statistic(d, "failed_rd_operations"), >=, 6);
    }
    assert_ok(read_at(d, 3 * ZONE, ZONE, NULL));
    assert_ok(read_at(d, DISK - SECTOR, SECTOR, NULL));
    assert_status(read_at(d, DISK - SECTOR, 2 * SECTOR, NULL), "IOERR");
}

/* Conventional zones can be read across their borders */
static void test_read_conventional(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, ZONE - 4 * KiB, 8 * KiB, OLD));
    assert_data(d, ZONE - 4 * KiB, 8 * KiB, OLD);
    assert_ok(read_at(d, 0, 2 * ZONE, NULL));
}

/* More zones than the device looks at in one go */
static void test_read_many_conventional(void)
{
    static const Setup setup = {
        .image = ",zone.size=64K,zone.capacity=64K,zone.conventional_zones=200",
    };
    Disk *d = new_disk(&setup);

    assert_ok(write_at(d, 199 * 64 * KiB, 64 * KiB, OLD));
    assert_ok(read_at(d, 0, 200 * 64 * KiB, NULL));
    assert_data(d, 198 * 64 * KiB + SECTOR, 64 * KiB - SECTOR, 0);
    assert_data(d, 199 * 64 * KiB, 64 * KiB, OLD);
    assert_status(read_at(d, 0, 200 * 64 * KiB + SECTOR, NULL), "INVALID_CMD");
    delete_disk(d);
}

/* --- Write zeroes, discard --- */

/* Nothing is written, wherever clusters begin and end */
static void test_zeroes_past_capacity(void)
{
    Disk *d = get_disk(&standard);

    assert_status(write_zeroes(d, 3 * ZONE, ZONE), "INVALID_CMD");
    assert_status(write_zeroes(d, 3 * ZONE, CAPACITY + SECTOR), "INVALID_CMD");
    assert_zones(d, "");
    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
    assert_status(write_zeroes(d, 3 * ZONE + 4 * KiB, CAPACITY), "INVALID_CMD");
    assert_zones(d, "3:iopen@4K");
    assert_vm_runs(d);
}

/* Zeroes lie in one zone, as all that is written */
static void test_zeroes_into_next_zone(void)
{
    Disk *d = get_disk(&no_gap);

    assert_ok(write_at(d, 2 * ZONE - 256 * KiB, 256 * KiB, OLD));
    assert_status(write_zeroes(d, 2 * ZONE - 68 * KiB, 256 * KiB),
                  "INVALID_CMD");
    assert_zones(d, "");
    assert_data(d, 2 * ZONE - 256 * KiB, 256 * KiB, OLD);
    assert_ok(write_at(d, 3 * ZONE, ZONE - 68 * KiB, OLD));
    assert_status(write_zeroes(d, 4 * ZONE - 68 * KiB, 256 * KiB),
                  "INVALID_CMD");
    assert_status(write_zeroes(d, 3 * ZONE, 3 * ZONE), "INVALID_CMD");
    assert_zones(d, "3:iopen@4028K");
}

/* More than the block layer writes in one go */
static void test_zeroes_large_zone(void)
{
    static const Setup setup = {
        .size = "512M", .capacity = 48 * MiB, .image = ",zone.size=64M",
    };
    g_autofree Report *r = g_malloc(report_size(1));
    Disk *d = new_disk(&setup);

    assert_status(write_zeroes(d, 128 * MiB, 64 * MiB), "INVALID_CMD");
    assert_ok(get_report(d, 128 * MiB, r, report_size(1)));
    g_assert_cmpint(r->zones[0].z_state, ==, VIRTIO_BLK_ZS_EMPTY);
    assert_ok(write_zeroes(d, 128 * MiB, 48 * MiB));
    assert_ok(get_report(d, 128 * MiB, r, report_size(1)));
    g_assert_cmpint(r->zones[0].z_state, ==, VIRTIO_BLK_ZS_FULL);
    delete_disk(d);
}

/* An optimization of the host changes no rule */
static void test_detect_zeroes(void)
{
    static const Setup setup = { .blockdev = ",detect-zeroes=on" };
    Disk *d = new_disk(&setup);

    assert_ok(write_at(d, 3 * ZONE, 64 * KiB, 0));
    assert_zones(d, "3:iopen@64K");
    assert_status(write_at(d, 3 * ZONE, 64 * KiB, 0), "UNALIGNED_WP");
    assert_ok(write_at(d, 3 * ZONE + 64 * KiB, 4 * KiB, 0));
    assert_status(write_at(d, 3 * ZONE + 68 * KiB, CAPACITY, 0), "INVALID_CMD");
    assert_status(write_at(d, 2 * ZONE - 4 * KiB, 8 * KiB, 0), "INVALID_CMD");
    assert_zones(d, "3:iopen@68K");
    assert_data(d, 3 * ZONE, 128 * KiB, 0);
    delete_disk(d);
}

/* The write pointer moves on, and what is before it reads as zeroes */
static void test_zeroes_unmap(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, 64 * KiB, OLD));
    assert_status(send_range(d, VIRTIO_BLK_T_WRITE_ZEROES, 3 * ZONE, 64 * KiB,
                             VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP),
                  "UNALIGNED_WP");
    assert_data(d, 3 * ZONE, 64 * KiB, OLD);
    assert_ok(send_range(d, VIRTIO_BLK_T_WRITE_ZEROES, 3 * ZONE + 64 * KiB,
                         64 * KiB, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP));
    assert_zones(d, "3:iopen@128K");
    assert_data(d, 3 * ZONE + 64 * KiB, 64 * KiB, 0);
}

/* All of a zone, in one request */
static void test_zeroes_fill(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_zeroes(d, 3 * ZONE, CAPACITY));
    assert_zones(d, "3:full");
    assert_status(write_zeroes(d, 3 * ZONE, 4 * KiB), "INVALID_CMD");
}

/* Conventional zones take zeroes anywhere */
static void test_zeroes_conventional(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, ZONE, 256 * KiB, OLD));
    assert_ok(write_zeroes(d, ZONE + 4 * KiB, 128 * KiB));
    assert_data(d, ZONE, 4 * KiB, OLD);
    assert_data(d, ZONE + 4 * KiB, 128 * KiB, 0);
    assert_data(d, ZONE + 132 * KiB, 124 * KiB, OLD);
    assert_zones(d, "");
}

/* A flag that is not known is not ignored */
static void test_zeroes_unknown_flag(void)
{
    Disk *d = get_disk(&standard);

    assert_status(send_range(d, VIRTIO_BLK_T_WRITE_ZEROES, 3 * ZONE, 4 * KiB,
                             2), "UNSUPP");
    assert_zones(d, "");
}

/* What is no range is an error of this request only */
static void assert_range_lengths(Disk *d, uint32_t type)
{
    static const size_t lengths[] = { 0, 1, 8, 15, 17, 32 };

    for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
        assert_status(submit(d, &(Request) {
            .type = type, .out_len = lengths[i],
        }), lengths[i] < 16 ? "IOERR" : "UNSUPP");
    }
}

static void test_zeroes_without_range(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 0, 4 * KiB, OLD));
    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
    assert_range_lengths(d, VIRTIO_BLK_T_WRITE_ZEROES);
    assert_zones(d, "3:iopen@4K");
    assert_data(d, 0, 4 * KiB, OLD);
    assert_vm_runs(d);
}

static void test_discard_without_range(void)
{
    Disk *d = new_disk(&host_aware);

    assert_ok(write_at(d, 0, 4 * KiB, OLD));
    assert_range_lengths(d, VIRTIO_BLK_T_DISCARD);
    assert_data(d, 0, 4 * KiB, OLD);
    delete_disk(d);
}

/* A host-managed disk has no discard, whatever its flags */
static void test_discard(void)
{
    static const uint64_t offsets[] = { 0, 3 * ZONE, 3 * ZONE + 128 * KiB };
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 0, 128 * KiB, OLD));
    assert_ok(write_at(d, 3 * ZONE, 128 * KiB, OLD));
    for (unsigned i = 0; i < ARRAY_SIZE(offsets); i++) {
        assert_status(send_range(d, VIRTIO_BLK_T_DISCARD, offsets[i],
                                 64 * KiB, 0), "UNSUPP");
        assert_status(send_range(d, VIRTIO_BLK_T_DISCARD, offsets[i],
                                 64 * KiB, 1), "UNSUPP");
    }
    assert_status(submit(d, &(Request) { .type = VIRTIO_BLK_T_DISCARD }),
                  "UNSUPP");
    assert_zones(d, "3:iopen@128K");
    assert_data(d, 0, 128 * KiB, OLD);
    assert_data(d, 3 * ZONE, 128 * KiB, OLD);
    assert_vm_runs(d);
}

void add_rw_tests(void)
{
    add("rw/a-broken-rule-does-not-stop-the-VM", test_error_policy);
    add("rw/conventional-zones-are-written-in-any-order",
        test_conventional_any_order);
    add("rw/a-write-cannot-go-from-a-conventional-zone-into-a-sequential-one",
        test_write_into_first_sequential);
    add("rw/a-write-cannot-go-into-the-next-zone", test_write_into_next_zone);
    add("rw/single-sectors-can-be-written", test_single_sectors);
    add("rw/a-zone-that-was-reset-reads-as-zeroes", test_read_after_reset);
    add_with("rw/a-read-cannot-go-into-the-next-zone",
             &standard, test_read_into_next_zone);
    add_with("rw/a-read-cannot-go-into-the-next-zone-in-an-iothread",
             &with_iothread, test_read_into_next_zone);
    add("rw/a-read-can-go-from-one-conventional-zone-to-the-next",
        test_read_conventional);
    add("rw/a-read-can-go-over-many-conventional-zones",
        test_read_many_conventional);
    add("rw/a-flush-changes-no-zone", test_flush);
    add("rw/room-for-an-answer-that-there-is-not-is-cleared",
        test_room_for_nothing);
    add_with("rw/header-and-data-can-be-in-one-buffer", &joined, test_buffers);
    add_with("rw/buffers-can-be-misaligned", &misaligned, test_buffers);
    add_with("rw/buffers-can-be-in-odd-pieces", &in_pieces, test_buffers);
    add("zeroes/they-cannot-go-past-the-capacity", test_zeroes_past_capacity);
    add("zeroes/they-cannot-go-into-the-next-zone", test_zeroes_into_next_zone);
    /* Exports take 16 MiB at a time */
    add_device("zeroes/they-are-all-or-nothing-in-a-large-zone",
               test_zeroes_large_zone);
    add("zeroes/detected-ones-follow-the-rules-too", test_detect_zeroes);
    add("zeroes/they-can-fill-a-zone", test_zeroes_fill);
    add("zeroes/unmapping-does-not-move-a-write-pointer-back",
        test_zeroes_unmap);
    add("zeroes/conventional-zones-take-them-anywhere",
        test_zeroes_conventional);
    add("zeroes/an-unknown-flag-is-unsupported", test_zeroes_unknown_flag);
    add("zeroes/a-discard-is-unsupported", test_discard);
    add("zeroes/what-is-no-range-is-an-error", test_zeroes_without_range);
    add("zeroes/a-discard-of-no-range-is-an-error", test_discard_without_range);
}
