/*
 * Tests of virtio-blk on a zoned disk: many requests in one kick
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zoned-driver.h"

/* Each is its own request, also if they could be merged */
static void test_kick_neighbours(void)
{
    Disk *d = get_disk(&no_gap);
    Request r[3];

    assert_ok(write_at(d, 3 * ZONE, ZONE - 8 * KiB, OLD));
    assert_ok(write_at(d, 5 * ZONE, 8 * KiB, OLD));
    assert_ok(write_at(d, 4 * ZONE, ZONE - 8 * KiB, OLD));
    r[0] = request_write(4 * ZONE - 8 * KiB, 8 * KiB, 1);
    r[1] = request_write(5 * ZONE - 8 * KiB, 8 * KiB, 2);
    r[2] = request_write(5 * ZONE, 8 * KiB, 3);
    submit_all(d, r, 3);
    assert_ok(r[0].status);
    assert_ok(r[1].status);
    assert_status(r[2].status, "UNALIGNED_WP");
    assert_zones(d, "3:full 4:full 5:iopen@8K");
    assert_data(d, 4 * ZONE - 8 * KiB, 8 * KiB, 1);
    assert_data(d, 5 * ZONE - 8 * KiB, 8 * KiB, 2);
    assert_data(d, 5 * ZONE, 8 * KiB, OLD);
    assert_vm_runs(d);
}

/* The end of a conventional zone and the start of a sequential one */
static void test_kick_conventional_neighbour(void)
{
    Disk *d = get_disk(&standard);
    Request r[2];

    r[0] = request_write(2 * ZONE - 8 * KiB, 8 * KiB, 1);
    r[1] = request_write(2 * ZONE, 8 * KiB, 2);
    submit_all(d, r, 2);
    assert_ok(r[0].status);
    assert_ok(r[1].status);
    assert_zones(d, "2:iopen@8K");
    assert_data(d, 2 * ZONE - 8 * KiB, 8 * KiB, 1);
    assert_data(d, 2 * ZONE, 8 * KiB, 2);
}

/* Two reads that could be merged are still two */
static void test_kick_reads(const void *opaque)
{
    uint8_t data[2][4 * KiB];
    Disk *d = get_disk(opaque);
    Request r[2];

    assert_ok(write_at(d, 4 * ZONE, 8 * KiB, OLD));
    for (unsigned i = 0; i < 2; i++) {
        r[i] = (Request) {
            .type = VIRTIO_BLK_T_IN, .in_len = 4 * KiB, .in = data[i],
            .sector = (4 * ZONE - 4 * KiB + i * 4 * KiB) / SECTOR,
        };
    }
    submit_all(d, r, 2);
    assert_ok(r[0].status);
    assert_ok(r[1].status);
    g_assert_true(buffer_is_zero(data[0], 4 * KiB));
    g_assert_cmpint(data[1][0], ==, OLD);
}

/* A read of an offline zone fails, and its neighbour does not */
static void test_kick_read_offline(void)
{
    Disk *d = get_disk(&worn_out);
    Request r[2] = {
        { .type = VIRTIO_BLK_T_IN, .in_len = 4 * KiB,
          .sector = (ZONE_OFFLINE * ZONE - 4 * KiB) / SECTOR },
        { .type = VIRTIO_BLK_T_IN, .in_len = 4 * KiB,
          .sector = ZONE_OFFLINE * ZONE / SECTOR },
    };

    submit_all(d, r, 2);
    assert_ok(r[0].status);
    assert_status(r[1].status, "INVALID_CMD");
}

/* Writes that are queued together are done in their order */
static void test_kick_sequence(const void *setup)
{
    Disk *d = get_disk(setup);
    Request r[16];

    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        r[i] = request_write(3 * ZONE + i * 4 * KiB, 4 * KiB, 1 + i);
    }
    submit_all(d, r, ARRAY_SIZE(r));
    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        assert_ok(r[i].status);
        assert_data(d, 3 * ZONE + i * 4 * KiB, 4 * KiB, 1 + i);
    }
    assert_zones(d, "3:iopen@64K");
}

/* More than the device sorts and submits together */
static void test_kick_long_sequence(void)
{
    Disk *d = get_disk(&standard);
    Request r[60];

    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        r[i] = request_write(3 * ZONE + i * 4 * KiB, 4 * KiB, 1 + i);
    }
    submit_all(d, r, ARRAY_SIZE(r));
    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        assert_ok(r[i].status);
    }
    assert_zones(d, "3:iopen@240K");
    assert_data(d, 3 * ZONE + 236 * KiB, 4 * KiB, 60);
}

/* One that breaks a rule stops nothing, and changes nothing */
static void test_kick_one_bad(void)
{
    Disk *d = get_disk(&standard);
    Request r[8];

    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        r[i] = request_write(3 * ZONE + i * 4 * KiB, 4 * KiB, 1 + i);
    }
    r[5].sector = 3 * ZONE / SECTOR + 1000;
    submit_all(d, r, ARRAY_SIZE(r));
    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        assert_status(r[i].status, i < 5 ? "OK" : "UNALIGNED_WP");
    }
    assert_zones(d, "3:iopen@20K");
    assert_vm_runs(d);
}

/* Appends can be done in any order, each at a place of its own */
static void test_kick_appends(const void *setup)
{
    Disk *d = get_disk(setup);
    uint64_t sector[12], seen = 0;
    Request r[12];

    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        r[i] = request_append(3 * ZONE, 4 * KiB, 1 + i, &sector[i]);
    }
    submit_all(d, r, ARRAY_SIZE(r));
    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        uint64_t from = le64_to_cpu(sector[i]) * SECTOR - 3 * ZONE;

        assert_ok(r[i].status);
        g_assert_cmpint(from % (4 * KiB), ==, 0);
        seen |= 1 << from / (4 * KiB);
        assert_data(d, 3 * ZONE + from, 4 * KiB, 1 + i);
    }
    g_assert_cmphex(seen, ==, 0xfff);
    assert_zones(d, "3:iopen@48K");
}

/* As many as fit */
static void test_kick_appends_past_capacity(void)
{
    Disk *d = get_disk(&standard);
    uint64_t sector[8];
    unsigned ok = 0;
    Request r[8];

    assert_ok(write_at(d, 3 * ZONE, CAPACITY - 20 * KiB, OLD));
    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        r[i] = request_append(3 * ZONE, 4 * KiB, 1 + i, &sector[i]);
    }
    submit_all(d, r, ARRAY_SIZE(r));
    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        if (g_str_equal(r[i].status, "OK")) {
            ok++;
            assert_data(d, le64_to_cpu(sector[i]) * SECTOR, 4 * KiB, 1 + i);
        } else {
            assert_status(r[i].status, "INVALID_CMD");
        }
    }
    g_assert_cmpint(ok, ==, 5);
    assert_zones(d, "3:full");
}

/* Valid in every order */
static void test_kick_reset_and_append(const void *setup)
{
    Disk *d = get_disk(setup);

    for (unsigned i = 0; i < 20; i++) {
        uint64_t sector;
        Request r[2] = {
            { .type = VIRTIO_BLK_T_ZONE_RESET, .sector = 3 * ZONE / SECTOR },
            request_append(3 * ZONE, 4 * KiB, 1 + i, &sector),
        };

        assert_ok(write_at(d, 3 * ZONE, 16 * KiB, OLD));
        submit_all(d, r, 2);
        assert_ok(r[0].status);
        assert_ok(r[1].status);
        sector = le64_to_cpu(sector);
        if (sector == 3 * ZONE / SECTOR) {
            assert_zones(d, "3:iopen@4K");
            assert_data(d, 3 * ZONE, 4 * KiB, 1 + i);
        } else {
            g_assert_cmpint(sector, ==, (3 * ZONE + 16 * KiB) / SECTOR);
            assert_zones(d, "");
        }
        assert_ok(zone_reset(d, 3));
    }
}

/* The result is that of one order or the other */
static void test_kick_write_and_finish(void)
{
    Disk *d = get_disk(&standard);
    Request r[2] = {
        request_write(3 * ZONE, 1 * MiB, NEW),
        { .type = VIRTIO_BLK_T_ZONE_FINISH, .sector = 3 * ZONE / SECTOR },
    };

    submit_all(d, r, 2);
    assert_ok(r[1].status);
    assert_zones(d, "3:full");
    if (g_str_equal(r[0].status, "OK")) {
        assert_data(d, 3 * ZONE, 1 * MiB, NEW);
    } else {
        assert_status(r[0].status, "INVALID_CMD");
    }
    assert_data(d, 3 * ZONE + 1 * MiB, 1 * MiB, 0);
}

void add_kick_tests(void)
{
    add("kick/writes-of-neighbouring-zones-stay-apart", test_kick_neighbours);
    add("kick/a-conventional-and-a-sequential-zone-stay-apart",
        test_kick_conventional_neighbour);
    add_with("kick/reads-of-neighbouring-zones-stay-apart",
             &standard, test_kick_reads);
    add("kick/a-read-of-an-offline-zone-does-not-harm-its-neighbour",
        test_kick_read_offline);
    add_with("kick/16-writes-succeed-in-order", &standard, test_kick_sequence);
    add("kick/60-writes-succeed-in-order", test_kick_long_sequence);
    add("kick/a-bad-write-does-not-harm-those-before-it", test_kick_one_bad);
    add_with("kick/appends-to-one-zone-get-places-of-their-own",
             &standard, test_kick_appends);
    add("kick/as-many-appends-succeed-as-fit", test_kick_appends_past_capacity);
    add_with("kick/a-reset-and-an-append-both-succeed",
             &standard, test_kick_reset_and_append);
    add("kick/a-write-and-a-finish-have-an-order", test_kick_write_and_finish);
    add_with("kick/16-writes-succeed-in-order-in-an-iothread",
             &with_iothread, test_kick_sequence);
    add_with("kick/appends-get-places-of-their-own-in-an-iothread",
             &with_iothread, test_kick_appends);
    add_with("kick/a-reset-and-an-append-both-succeed-in-an-iothread",
             &with_iothread, test_kick_reset_and_append);
}
