/*
 * Unit tests of what virtio-blk devices and exports share of zones
 * (include/block/virtio-blk-zoned.h), as far as no disk of the other tests
 * gets there: one without appends, and a request for zones that there are none.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "block/block_int.h"
#include "block/virtio-blk-zoned.h"

#define ZONE    (1 * MiB)
#define ROOM    sizeof(uint64_t)

static const VirtIOBlkZoned no_zones = { .model = BLK_Z_NONE };
static const VirtIOBlkZoned zones = {
    .model = BLK_Z_HM, .zone_size = ZONE, .granularity = 4096,
    .max_append_sectors = 16,
};

static void coroutine_fn request_entry(void *opaque)
{
    virtio_blk_zoned_co_request(opaque);
}

/* Without zones, or a driver that knows them, no disk is looked at */
static void test_none(void)
{
    struct virtio_blk_zoned_characteristics nothing = {}, config;

    config = virtio_blk_zoned_config(&no_zones);
    g_assert_cmpmem(&config, sizeof(config), &nothing, sizeof(nothing));
    g_assert_true(virtio_blk_zoned_may_merge(&no_zones, 8, true));
    for (unsigned i = 0; i < 2; i++) {
        VirtIOBlkZonedReq r = {
            .zoned = i ? &zones : &no_zones,
            .features = i ? 0 : 1ull << VIRTIO_BLK_F_ZONED,
            .type = VIRTIO_BLK_T_ZONE_OPEN,
            .sector = UINT64_MAX,
        };

        g_assert_true(virtio_blk_zoned_handles(&r));
        qemu_coroutine_enter(qemu_coroutine_create(request_entry, &r));
        g_assert_cmpint(r.status, ==, VIRTIO_BLK_S_UNSUPP);
        g_assert_false(r.tried);
        g_assert_cmpint(r.error, ==, 0);
    }
}

/* Without data it is no append that could be too large */
static void test_no_appends(void)
{
    VirtIOBlkZoned z = zones;

    z.max_append_sectors = 0;
    g_assert_cmpint(virtio_blk_zoned_check_append(&z, 0, 4096, ROOM), ==,
                    VIRTIO_BLK_S_UNSUPP);
    g_assert_cmpint(virtio_blk_zoned_check_append(&z, 0, 100, ROOM), ==,
                    VIRTIO_BLK_S_UNSUPP);
    g_assert_cmpint(virtio_blk_zoned_check_append(&z, 512, 4096, ROOM), ==,
                    VIRTIO_BLK_S_UNSUPP);
    g_assert_cmpint(virtio_blk_zoned_check_append(&z, 0, 0, ROOM), ==,
                    VIRTIO_BLK_S_OK);
    g_assert_cmpint(virtio_blk_zoned_check_append(&z, 0, 4096, ROOM - 1), ==,
                    VIRTIO_BLK_S_ZONE_INVALID_CMD);
}

/* Where several rules are broken, which of them goes first */
static void test_appends(void)
{
    static const struct {
        int64_t offset;
        uint64_t bytes;
        size_t room;
        uint8_t status;
    } cases[] = {
        { ZONE, 4096, ROOM, VIRTIO_BLK_S_OK },
        { ZONE, 8192, ROOM, VIRTIO_BLK_S_OK },
        { ZONE, 8192, ROOM - 1, VIRTIO_BLK_S_ZONE_INVALID_CMD },
        { ZONE, 12288, ROOM, VIRTIO_BLK_S_ZONE_INVALID_CMD },
        { ZONE, 8193, ROOM, VIRTIO_BLK_S_ZONE_INVALID_CMD },
        { ZONE, 512, ROOM, VIRTIO_BLK_S_ZONE_UNALIGNED_WP },
        { ZONE, 4097, ROOM, VIRTIO_BLK_S_ZONE_UNALIGNED_WP },
        { ZONE + 4096, 4096, ROOM, VIRTIO_BLK_S_ZONE_INVALID_CMD },
        { ZONE + 4096, 512, ROOM, VIRTIO_BLK_S_ZONE_INVALID_CMD },
        { ZONE - 512, 4096, ROOM, VIRTIO_BLK_S_ZONE_INVALID_CMD },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        g_assert_cmpint(virtio_blk_zoned_check_append(&zones, cases[i].offset,
                                                      cases[i].bytes,
                                                      cases[i].room),
                        ==, cases[i].status);
    }
}

/* Each rule of block-zoned.h has a status, all else is an error */
static void test_statuses(void)
{
    static const uint8_t expected[] = {
        [ERANGE] = VIRTIO_BLK_S_ZONE_INVALID_CMD,
        [EFBIG] = VIRTIO_BLK_S_ZONE_INVALID_CMD,
        [EROFS] = VIRTIO_BLK_S_ZONE_INVALID_CMD,
        [ENODEV] = VIRTIO_BLK_S_ZONE_INVALID_CMD,
        [EINVAL] = VIRTIO_BLK_S_ZONE_INVALID_CMD,
        [ESPIPE] = VIRTIO_BLK_S_ZONE_UNALIGNED_WP,
        [ETOOMANYREFS] = VIRTIO_BLK_S_ZONE_OPEN_RESOURCE,
        [EOVERFLOW] = VIRTIO_BLK_S_ZONE_ACTIVE_RESOURCE,
        [ENOTSUP] = VIRTIO_BLK_S_UNSUPP,
        [255] = 0,
    };

    g_assert_cmpint(virtio_blk_zoned_status(0), ==, VIRTIO_BLK_S_OK);
    for (unsigned i = 1; i < ARRAY_SIZE(expected); i++) {
        g_assert_cmpint(virtio_blk_zoned_status(-i), ==,
                        expected[i] ?: VIRTIO_BLK_S_IOERR);
    }
}

/* Types are whole numbers: no bit of them is a flag */
static void test_types(void)
{
    static const bool is_type[32] = {
        [VIRTIO_BLK_T_IN] = true, [VIRTIO_BLK_T_OUT] = true,
        [VIRTIO_BLK_T_FLUSH] = true, [VIRTIO_BLK_T_GET_ID] = true,
        [VIRTIO_BLK_T_DISCARD] = true, [VIRTIO_BLK_T_WRITE_ZEROES] = true,
        [VIRTIO_BLK_T_ZONE_APPEND] = true, [VIRTIO_BLK_T_ZONE_REPORT] = true,
        [VIRTIO_BLK_T_ZONE_OPEN] = true, [VIRTIO_BLK_T_ZONE_CLOSE] = true,
        [VIRTIO_BLK_T_ZONE_FINISH] = true, [VIRTIO_BLK_T_ZONE_RESET] = true,
        [VIRTIO_BLK_T_ZONE_RESET_ALL] = true,
    };

    for (uint32_t type = 0; type < 64; type++) {
        bool known = type < 32 && is_type[type];
        uint32_t base = type & ~VIRTIO_BLK_T_OUT;

        g_assert_cmpint(virtio_blk_zoned_type_acceptable(type, true), ==, known);
        g_assert_false(virtio_blk_zoned_type_acceptable(type | VIRTIO_BLK_T_BARRIER,
                                                true));
        /* Where there is no zone request to mistake it for, as it was */
        if (base < VIRTIO_BLK_T_SECURE_ERASE ||
            base > VIRTIO_BLK_T_ZONE_RESET_ALL) {
            g_assert_true(virtio_blk_zoned_type_acceptable(type, false));
            g_assert_true(virtio_blk_zoned_type_acceptable(type | VIRTIO_BLK_T_BARRIER,
                                                   false));
        } else {
            g_assert_cmpint(virtio_blk_zoned_type_acceptable(type, false), ==, known);
            g_assert_false(virtio_blk_zoned_type_acceptable(type | VIRTIO_BLK_T_BARRIER,
                                                    false));
        }
    }
}

/* Sectors whose offset in bytes is too large are none of the disk */
static void test_offsets(void)
{
    g_assert_cmpint(virtio_blk_zoned_offset(0), ==, 0);
    g_assert_cmpint(virtio_blk_zoned_offset((1ull << 54) - 1), ==,
                    INT64_MAX - 511);
    g_assert_cmpint(virtio_blk_zoned_offset(1ull << 54), ==, -1);
    g_assert_cmpint(virtio_blk_zoned_offset(1ull << 55), ==, -1);
    g_assert_cmpint(virtio_blk_zoned_offset(UINT64_MAX), ==, -1);
}

/* What a device with zones offers, and which drivers it takes */
static void test_features(void)
{
    const uint64_t zoned = 1ull << VIRTIO_BLK_F_ZONED;
    const uint64_t discard = 1ull << VIRTIO_BLK_F_DISCARD;
    const uint64_t others = 1ull << VIRTIO_BLK_F_FLUSH |
                            1ull << VIRTIO_BLK_F_WRITE_ZEROES;
    static const struct {
        uint8_t model;
        bool zoned, discard, needs_zoned;
    } models[] = {
        { BLK_Z_NONE, false, true, false },
        { BLK_Z_HA, true, true, false },
        { BLK_Z_HM, true, false, true },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
        VirtIOBlkZoned z = { .model = models[i].model };

        g_assert_cmphex(virtio_blk_zoned_features(&z, others | discard), ==,
                        others | (models[i].zoned ? zoned : 0) |
                        (models[i].discard ? discard : 0));
        g_assert_true(virtio_blk_zoned_features_ok(&z, others | zoned));
        g_assert_cmpint(virtio_blk_zoned_features_ok(&z, others), ==,
                        !models[i].needs_zoned);
    }
}

/* Until the reset everything fails, and no disk is looked at */
static void test_needs_reset(void)
{
    VirtIOBlkZoned z = zones;
    uint8_t data[4096];
    struct iovec iov = { data, sizeof(data) };

    z.needs_reset = true;
    for (uint32_t type = 0; type < 32; type++) {
        VirtIOBlkZonedReq r = {
            .zoned = &z,
            .features = 1ull << VIRTIO_BLK_F_ZONED,
            .type = type,
            .in_iov = &iov, .in_num = 1, .out_iov = &iov, .out_num = 1,
        };

        g_assert_true(virtio_blk_zoned_handles(&r));
        qemu_coroutine_enter(qemu_coroutine_create(request_entry, &r));
        g_assert_cmpint(r.status, ==, VIRTIO_BLK_S_IOERR);
        g_assert_false(r.tried);
        g_assert_cmpint(r.error, ==, 0);
    }
}

/* The driver is told the sectors of a zone in 32 bits. */
static void test_zone_sizes(void)
{
    BlockBackend *blk = blk_new_open("null-co://", NULL, NULL, 0, &error_abort);
    BlockZoneLimits *zl = &blk_bs(blk)->bl.zones;
    VirtIOBlkZoned z;
    Error *err = NULL;

    *zl = (BlockZoneLimits) {
        .model = BLK_Z_HM, .nr_zones = 1, .size = 1 * TiB, .capacity = 1 * TiB,
        .max_append = 4096, .write_granularity = 512,
    };
    g_assert_true(virtio_blk_zoned_init(&z, blk, 512, &error_abort));
    g_assert_cmphex(le32_to_cpu(virtio_blk_zoned_config(&z).zone_sectors), ==,
                    1u << 31);
    g_assert_cmpint(virtio_blk_zoned_check_append(&z, 1 * TiB, 4096, ROOM), ==,
                    VIRTIO_BLK_S_OK);
    g_assert_cmpint(virtio_blk_zoned_check_append(&z, 4 * GiB, 4096, ROOM), ==,
                    VIRTIO_BLK_S_ZONE_INVALID_CMD);
    g_assert_false(virtio_blk_zoned_may_merge(&z, 1u << 31, false));
    g_assert_true(virtio_blk_zoned_may_merge(&z, 1u << 23, false));

    zl->size = zl->capacity = 2 * TiB;
    g_assert_false(virtio_blk_zoned_init(&z, blk, 512, &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "The zone size (2199023255552) of the zoned disk is too "
                    "large for virtio-blk, the largest is 2199023255040");
    error_free(err);
    blk_unref(blk);
}

int main(int argc, char **argv)
{
    bdrv_init();
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-blk-zoned/no-zones-are-no-zones", test_none);
    g_test_add_func("/virtio-blk-zoned/appends-can-be-unsupported",
                    test_no_appends);
    g_test_add_func("/virtio-blk-zoned/an-append-is-checked-in-this-order",
                    test_appends);
    g_test_add_func("/virtio-blk-zoned/each-broken-rule-has-a-status",
                    test_statuses);
    g_test_add_func("/virtio-blk-zoned/zones-are-offered-and-needed",
                    test_features);
    g_test_add_func("/virtio-blk-zoned/nothing-is-done-until-the-reset",
                    test_needs_reset);
    g_test_add_func("/virtio-blk-zoned/a-zone-has-32-bits-of-sectors",
                    test_zone_sizes);
    g_test_add_func("/virtio-blk-zoned/types-are-whole-numbers", test_types);
    g_test_add_func("/virtio-blk-zoned/sectors-do-not-wrap-around",
                    test_offsets);
    return g_test_run();
}
