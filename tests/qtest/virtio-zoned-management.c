/*
 * Tests of virtio-blk on a zoned disk: zone management, types of requests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zoned-driver.h"

static void test_management_elsewhere(uint64_t offset)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    assert_ok(write_at(d, 15 * ZONE, 8 * KiB, OLD));
    for (unsigned i = 0; i < ARRAY_SIZE(management); i++) {
        assert_status(manage(d, management[i], offset), "INVALID_CMD");
    }
    assert_zones(d, "3:iopen@8K 15:iopen@8K");
}

/* The sector has to be the start of a zone */
static void test_management_in_zone(void)
{
    test_management_elsewhere(3 * ZONE + SECTOR);
}

static void test_management_at_end(void)
{
    test_management_elsewhere(DISK);
}

static void test_management_beyond(void)
{
    test_management_elsewhere(DISK + 3 * ZONE);
}

/* It applies to all sequential zones that are not worn out, and only them */
static void test_reset_all_sector(void)
{
    static const uint64_t sectors[] = { 1, DISK / SECTOR, UINT64_MAX };
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 0, 8 * KiB, OLD));
    for (unsigned i = 0; i < ARRAY_SIZE(sectors); i++) {
        assert_ok(write_at(d, 2 * ZONE, 8 * KiB, OLD));
        assert_ok(zone_open(d, 3));
        assert_ok(zone_finish(d, 15));
        assert_zones(d, "2:iopen@8K 3:eopen@0K 15:full");
        assert_ok(submit(d, &(Request) {
            .type = VIRTIO_BLK_T_ZONE_RESET_ALL, .sector = sectors[i],
        }));
        assert_zones(d, "");
    }
    assert_data(d, 0, 8 * KiB, OLD);
}

/* What is no type is unsupported */
static void test_unknown_type(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    assert_status(manage(d, 28, 3 * ZONE), "UNSUPP");
    assert_status(manage(d, 1000, 3 * ZONE), "UNSUPP");
    assert_zones(d, "3:iopen@8K");
}

/* 14 is a secure erase, the others have a bit too many */
static void test_similar_types(void)
{
    static const uint32_t types[] = {
        VIRTIO_BLK_T_SECURE_ERASE, VIRTIO_BLK_T_ZONE_OPEN | 1,
        VIRTIO_BLK_T_ZONE_CLOSE | 1, VIRTIO_BLK_T_ZONE_FINISH | 1,
        VIRTIO_BLK_T_ZONE_RESET | 1, VIRTIO_BLK_T_ZONE_RESET_ALL | 1,
        VIRTIO_BLK_T_ZONE_RESET_ALL | VIRTIO_BLK_T_BARRIER,
    };
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        assert_status(submit(d, &(Request) {
            .type = types[i], .sector = 3 * ZONE / SECTOR,
            .out_len = 4 * KiB, .in_len = 8,
        }), "UNSUPP");
    }
    assert_zones(d, "3:iopen@8K");
}

/* A driver that knows zones has no legacy flags */
static void test_legacy_flags(void)
{
    static const uint32_t types[] = {
        VIRTIO_BLK_T_FLUSH | VIRTIO_BLK_T_OUT,
        VIRTIO_BLK_T_GET_ID | VIRTIO_BLK_T_OUT,
        VIRTIO_BLK_T_IN | VIRTIO_BLK_T_BARRIER,
        VIRTIO_BLK_T_OUT | VIRTIO_BLK_T_BARRIER,
        VIRTIO_BLK_T_ZONE_APPEND | VIRTIO_BLK_T_BARRIER,
        VIRTIO_BLK_T_WRITE_ZEROES | VIRTIO_BLK_T_BARRIER,
        VIRTIO_BLK_T_SCSI_CMD,
    };
    Disk *d = get_disk(&standard);

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        assert_status(submit(d, &(Request) {
            .type = types[i], .sector = 3 * ZONE / SECTOR,
            .out_len = 4 * KiB, .in_len = 8,
        }), "UNSUPP");
    }
    assert_zones(d, "");
}

/* The used length is right where the answer is shorter than the buffer */
static void test_get_id(void)
{
    static const Setup setup = { .device = ",serial=zoned" };
    char id[20];
    Disk *d = new_disk(&setup);

    assert_ok(submit(d, &(Request) {
        .type = VIRTIO_BLK_T_GET_ID, .in_len = sizeof(id), .in = id,
    }));
    g_assert_cmpstr(id, ==, d->exported ? "vhost_user_blk" : "zoned");
    delete_disk(d);
}

/* In bytes, these sectors would be zone 3 again */
static void test_sector_overflow(void)
{
    static const uint64_t high[] = { 1ull << 55, 1ull << 56, 1ull << 63 };
    static const uint32_t types[] = {
        VIRTIO_BLK_T_ZONE_REPORT, VIRTIO_BLK_T_ZONE_OPEN,
        VIRTIO_BLK_T_ZONE_CLOSE, VIRTIO_BLK_T_ZONE_FINISH,
        VIRTIO_BLK_T_ZONE_RESET, VIRTIO_BLK_T_ZONE_APPEND,
    };
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    for (unsigned i = 0; i < ARRAY_SIZE(high); i++) {
        for (unsigned j = 0; j < ARRAY_SIZE(types); j++) {
            assert_status(submit(d, &(Request) {
                .type = types[j], .sector = high[i] + 3 * ZONE / SECTOR,
                .out_len = 4 * KiB, .in_len = report_size(1),
            }), "INVALID_CMD");
        }
    }
    assert_zones(d, "3:iopen@8K");
}

/*
 * Without a whole header nobody knows what was meant: the device says that it
 * needs a reset, and has done nothing.
 */
static void test_cut_header(void)
{
    static const uint32_t types[] = {
        VIRTIO_BLK_T_ZONE_RESET, VIRTIO_BLK_T_ZONE_RESET_ALL,
        VIRTIO_BLK_T_ZONE_FINISH, VIRTIO_BLK_T_ZONE_APPEND,
        VIRTIO_BLK_T_ZONE_REPORT, VIRTIO_BLK_T_WRITE_ZEROES,
    };
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        Request r = {
            .type = types[i], .sector = 3 * ZONE / SECTOR, .cut = 1 + i,
        };

        start_all(d, &r, 1);
        while (!(d->dev->bus->get_status(d->dev) &
                 VIRTIO_CONFIG_S_NEEDS_RESET)) {
            g_usleep(50);
        }
        restart_driver(d, 0);
        assert_zones(d, "3:iopen@8K");
    }
    assert_vm_runs(d);
}

void add_management_tests(void)
{
    add("management/it-needs-the-start-of-a-zone", test_management_in_zone);
    add("management/there-is-no-zone-at-the-end-of-the-disk",
        test_management_at_end);
    add("management/there-is-no-zone-beyond-the-disk", test_management_beyond);
    add("management/a-reset-of-all-ignores-the-sector", test_reset_all_sector);
    add("management/an-unknown-type-is-unsupported", test_unknown_type);
    add("management/a-similar-type-is-another-type", test_similar_types);
    add("management/legacy-flags-are-unknown-types", test_legacy_flags);
    add("management/an-ID-is-filled-up-with-zeroes", test_get_id);
    add("management/a-sector-does-not-wrap-around", test_sector_overflow);
    /* Exports drop such a request */
    add_device("management/a-cut-header-needs-a-reset", test_cut_header);
}
