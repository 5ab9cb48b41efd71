/*
 * Tests of virtio-blk on a zoned disk: features and config space
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zoned-driver.h"

/* All fields: the geometry, the limits that are enforced, padding of zeroes */
static void test_config_space(void)
{
    Disk *d = get_disk(&standard);

    g_assert_cmpint(qvirtio_config_readq(d->dev, CONFIG(capacity)), ==,
                    DISK / SECTOR);
    g_assert_cmpint(config32(d, CONFIG(blk_size)), ==, SECTOR);
    g_assert_cmpint(config32(d, CONFIG(zoned.zone_sectors)), ==, ZONE / SECTOR);
    g_assert_cmpint(config32(d, CONFIG(zoned.max_open_zones)), ==, MAX_OPEN);
    g_assert_cmpint(config32(d, CONFIG(zoned.max_active_zones)), ==,
                    MAX_ACTIVE);
    g_assert_cmpint(config32(d, CONFIG(zoned.max_append_sectors)), ==,
                    MAX_APPEND / SECTOR);
    g_assert_cmpint(config32(d, CONFIG(zoned.write_granularity)), ==, SECTOR);
    g_assert_cmphex(config32(d, CONFIG(zoned.model)), ==, VIRTIO_BLK_Z_HM);
}

/* The fields are read-only */
static void test_config_read_only(void)
{
    Disk *d = get_disk(&standard);

    for (size_t i = CONFIG(zoned); i < sizeof(struct virtio_blk_config); i++) {
        uint8_t old = qvirtio_config_readb(d->dev, i);

        qpci_io_writeb(d->pci->pdev, d->pci->bar,
                       d->pci->device_cfg_offset + i, ~old);
        g_assert_cmphex(qvirtio_config_readb(d->dev, i), ==, old);
    }
}

/* No discard, no secure erase; no size_max, which would bound appends */
static void test_features(void)
{
    Disk *d = get_disk(&standard);

    g_assert_true(d->features & 1ull << VIRTIO_BLK_F_ZONED);
    g_assert_true(d->features & 1ull << VIRTIO_BLK_F_WRITE_ZEROES);
    g_assert_false(d->features & 1ull << VIRTIO_BLK_F_DISCARD);
    g_assert_false(d->features & 1ull << VIRTIO_BLK_F_SECURE_ERASE);
    g_assert_false(d->features & 1ull << VIRTIO_BLK_F_SIZE_MAX);
}

/* Such a driver has no zone operations either */
static void test_features_refused(void)
{
    Disk *d = get_disk(&standard);
    uint64_t features;

    drop_device(d);
    find_device(d);
    features = d->features & ~(1ull << VIRTIO_BLK_F_ZONED |
                               QVIRTIO_F_BAD_FEATURE);
    d->dev->bus->set_features(d->dev, features);
    d->dev->bus->set_status(d->dev, d->dev->bus->get_status(d->dev) |
                                    VIRTIO_CONFIG_S_FEATURES_OK);
    g_assert_false(d->dev->bus->get_status(d->dev) &
                   VIRTIO_CONFIG_S_FEATURES_OK);
    drop_device(d);
    find_device(d);
    start_driver(d);
    assert_zones(d, "");
}

#define LEGACY_HOST_FEATURES    0
#define LEGACY_GUEST_FEATURES   4
#define LEGACY_CONFIG           20

/* There is no FEATURES_OK, so nothing tells of zones */
static void test_legacy_registers(void)
{
    Disk *d = get_disk(&standard);
    uint32_t zoned = 1u << VIRTIO_BLK_F_ZONED;
    QPCIBar bar;

    drop_device(d);
    find_device(d);
    g_assert_true(d->features & zoned);
    bar = qpci_iomap(d->pci->pdev, 0, NULL);
    g_assert_false(qpci_io_readl(d->pci->pdev, bar, LEGACY_HOST_FEATURES) &
                   zoned);
    qpci_io_writel(d->pci->pdev, bar, LEGACY_GUEST_FEATURES,
                   zoned | 1u << VIRTIO_BLK_F_FLUSH);
    g_assert_cmphex(qpci_io_readl(d->pci->pdev, bar, LEGACY_GUEST_FEATURES), ==,
                    1u << VIRTIO_BLK_F_FLUSH);
    if (!d->exported) {     /* legacy drivers cannot use vhost-user at all */
        qvirtio_set_driver_ok(d->dev);
        for (size_t i = CONFIG(zoned); i < sizeof(struct virtio_blk_config);
             i++) {
            g_assert_cmphex(qpci_io_readb(d->pci->pdev, bar,
                                          LEGACY_CONFIG + i), ==, 0);
        }
    }
    restart_driver(d, 0);
    assert_zones(d, "");
}

/*
 * Without the feature there are no zones, and no statuses that the
 * driver cannot know.
 */
static void assert_can_only_read(Disk *d)
{
    g_autofree Report *report = g_malloc(report_size(1));
    uint64_t position;

    for (size_t i = CONFIG(zoned); i < sizeof(struct virtio_blk_config); i++) {
        g_assert_cmphex(qvirtio_config_readb(d->dev, i), ==, 0);
    }
    assert_data(d, 3 * ZONE, 4 * KiB, OLD);
    assert_ok(read_at(d, 3 * ZONE, 2 * ZONE, NULL));
    assert_status(write_at(d, 3 * ZONE, 4 * KiB, NEW), "IOERR");
    assert_status(write_at(d, 3 * ZONE + 4 * KiB, 4 * KiB, NEW), "IOERR");
    assert_status(write_at(d, 0, 4 * KiB, NEW), "IOERR");
    assert_status(write_zeroes(d, 3 * ZONE + 4 * KiB, 4 * KiB), "IOERR");
    assert_status(send_range(d, VIRTIO_BLK_T_DISCARD, 0, 4 * KiB, 0), "UNSUPP");
    for (unsigned i = 0; i < ARRAY_SIZE(management); i++) {
        assert_status(manage(d, management[i], 3 * ZONE), "UNSUPP");
    }
    assert_status(reset_all(d), "UNSUPP");
    assert_status(append(d, 3 * ZONE, 4 * KiB, NEW, &position), "UNSUPP");
    assert_status(get_report(d, 0, report, report_size(1)), "UNSUPP");
    assert_status(get_report(d, 0, NULL, 0), "UNSUPP");
    assert_vm_runs(d);
    restart_driver(d, 0);
    assert_zones(d, "3:iopen@4K");
}

/* It cannot be refused */
static void test_legacy_driver(void)
{
    Disk *d = get_disk(&standard);
    QPCIBar legacy;

    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
    drop_device(d);
    find_device(d);
    legacy = qpci_iomap(d->pci->pdev, 0, NULL);
    qpci_io_writel(d->pci->pdev, legacy, LEGACY_GUEST_FEATURES,
                   d->features & ~(QVIRTIO_F_BAD_FEATURE |
                                   1ull << VIRTIO_RING_F_EVENT_IDX));
    d->dev->features = 0;
    d->dev->features_negotiated = true;
    start_queue(d);
    qvirtio_set_driver_ok(d->dev);
    assert_can_only_read(d);
}

/* A driver that is refused, and does not ask whether it is */
static void test_stubborn_driver(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
    drop_device(d);
    find_device(d);
    d->dev->features = d->features & ~(1ull << VIRTIO_BLK_F_ZONED |
                                       QVIRTIO_F_BAD_FEATURE |
                                       1ull << VIRTIO_RING_F_INDIRECT_DESC |
                                       1ull << VIRTIO_RING_F_EVENT_IDX);
    d->dev->bus->set_features(d->dev, d->dev->features);
    d->dev->features_negotiated = true;
    start_queue(d);
    d->dev->bus->set_status(d->dev, d->dev->bus->get_status(d->dev) |
                                    VIRTIO_CONFIG_S_DRIVER_OK);
    assert_can_only_read(d);
}

/* Without its feature, the request is unsupported */
static void test_without_write_zeroes(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, ZONE, 4 * KiB, OLD));
    restart_driver(d, 1ull << VIRTIO_BLK_F_WRITE_ZEROES);
    assert_status(write_zeroes(d, ZONE, 4 * KiB), "UNSUPP");
    assert_status(write_zeroes(d, 3 * ZONE, 4 * KiB), "UNSUPP");
    assert_data(d, ZONE, 4 * KiB, OLD);
    restart_driver(d, 0);
    assert_zones(d, "");
}

/* Block size and write granularity are one number for all that is written */
static void test_block_size(void)
{
    static const Setup setup = {
        .device = ",logical_block_size=4096,physical_block_size=4096",
        .export = ",logical-block-size=4096",
        .image = ",zone.max_append_bytes=36K",
    };
    Disk *d = new_disk(&setup);
    uint64_t position;

    g_assert_cmpint(config32(d, CONFIG(blk_size)), ==, 4 * KiB);
    g_assert_cmpint(config32(d, CONFIG(zoned.write_granularity)), ==, 4 * KiB);
    g_assert_cmpint(config32(d, CONFIG(zoned.max_append_sectors)), ==, 72);

    assert_status(write_at(d, 3 * ZONE, SECTOR, NEW), "UNALIGNED_WP");
    assert_status(write_at(d, 3 * ZONE, 4 * KiB + SECTOR, NEW), "UNALIGNED_WP");
    assert_status(write_at(d, 3 * ZONE, 100, NEW), "UNALIGNED_WP");
    assert_status(write_at(d, 3 * ZONE + SECTOR, 4 * KiB, NEW), "UNALIGNED_WP");
    assert_status(write_at(d, 2 * ZONE - SECTOR, 4 * KiB, NEW), "UNALIGNED_WP");
    assert_status(write_zeroes(d, 3 * ZONE, SECTOR), "UNALIGNED_WP");
    assert_status(append(d, 3 * ZONE, SECTOR, NEW, &position), "UNALIGNED_WP");
    assert_status(append(d, 3 * ZONE, 4 * KiB + SECTOR, NEW, &position),
                  "UNALIGNED_WP");
    assert_zones(d, "");
    assert_data(d, 3 * ZONE, 8 * KiB, 0);

    /* Other blocks are not a matter of zones */
    assert_status(write_at(d, ZONE, SECTOR, NEW), "IOERR");
    assert_status(write_at(d, DISK, SECTOR, NEW), "IOERR");
    assert_status(write_zeroes(d, ZONE, SECTOR), "IOERR");
    if (!d->exported) {     /* whose reads can be in sectors */
        assert_status(read_at(d, 3 * ZONE, SECTOR, NULL), "IOERR");
    }
    assert_vm_runs(d);
    assert_statistic(d, "invalid_wr_operations", 9);
    assert_statistic(d, "invalid_rd_operations", 1);

    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, NEW));
    assert_ok(append(d, 3 * ZONE, 36 * KiB, NEW, &position));
    g_assert_cmpint(position, ==, 3 * ZONE + 4 * KiB);
    assert_zones(d, "3:iopen@40K");
    delete_disk(d);
}

static void assert_no_device(Disk *d, QDict *options, const char *message)
{
    QDict *answer = qtest_qmp(d->qts, "{'execute': 'device_add',"
                              " 'arguments': %p}", options);
    QDict *error = qdict_get_qdict(answer, "error");

    g_assert_nonnull(error);
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), message));
    qobject_unref(answer);
}

static QDict *block_sizes(unsigned bytes)
{
    return qdict_from_jsonf_nofail("{'driver': 'virtio-blk-pci',"
                                   " 'drive': 'other',"
                                   " 'logical_block_size': %u,"
                                   " 'physical_block_size': %u}", bytes, bytes);
}

/* What cannot be told to a driver is an error of the user */
static void test_impossible_devices(void)
{
    static const Setup small_zones = {
        .image = ",zone.size=64K,zone.capacity=64K,zone.max_append_bytes=8K",
    };
    static const Setup odd_size = { .size = "67109376" };
    Disk *d = get_disk(&standard);
    char *image = add_image(d, &small_zones);

    assert_no_device(d, qdict_from_jsonf_nofail("{'driver': 'virtio-blk-pci',"
                                                " 'drive': 'other',"
                                                " 'disable-modern': true}"),
                     "legacy");
    assert_no_device(d, block_sizes(128 * KiB),
                     "logical_block_size (131072) must divide the zone size");
    assert_no_device(d, block_sizes(16 * KiB),
                     "must not exceed the largest append of the zoned disk "
                     "(8192)");
    zoned_image_delete(image);
    delete_shared_disk();

    d = get_disk(&standard);
    image = add_image(d, &odd_size);
    assert_no_device(d, block_sizes(4 * KiB),
                     "logical_block_size (4096) must divide the size of the "
                     "zoned disk (67109376)");
    zoned_image_delete(image);
    delete_shared_disk();
}

/* What a driver was told stays, whatever the host tries */
static void test_other_node(const void *other)
{
    Disk *d = new_disk(&standard);
    char *image = add_image(d, other);
    QDict *answer;

    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
    answer = qtest_qmp(d->qts, "{'execute': 'qom-set', 'arguments':"
                       " {'path': '/machine/peripheral/disk',"
                       "  'property': 'drive', 'value': 'other'}}");
    g_assert_nonnull(strstr(qdict_get_str(qdict_get_qdict(answer, "error"),
                                          "desc"),
                            "their zones are different"));
    qobject_unref(answer);
    g_assert_cmphex(config32(d, CONFIG(zoned.model)), ==, VIRTIO_BLK_Z_HM);
    g_assert_cmpint(config32(d, CONFIG(zoned.zone_sectors)), ==, ZONE / SECTOR);
    g_assert_cmpint(config32(d, CONFIG(zoned.max_open_zones)), ==, MAX_OPEN);
    assert_zones(d, "3:iopen@4K");
    assert_ok(write_at(d, 3 * ZONE + 4 * KiB, 4 * KiB, NEW));
    delete_disk(d);
    zoned_image_delete(image);
}

/* An error of the host, not of the driver */
static void test_no_medium(void)
{
    static const Setup setup = { .drive = true };
    g_autofree Report *report = g_malloc(report_size(1));
    g_autofree char *message = NULL;
    Disk *d = new_disk(&setup);
    uint64_t position;

    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
    message = qtest_hmp(d->qts, "drive_del zoned");
    g_assert_cmpstr(message, ==, "");
    g_assert_cmphex(config32(d, CONFIG(zoned.model)), ==, VIRTIO_BLK_Z_HM);
    g_assert_cmpint(config32(d, CONFIG(zoned.zone_sectors)), ==, ZONE / SECTOR);
    assert_status(get_report(d, 0, report, report_size(1)), "IOERR");
    assert_status(reset_all(d), "IOERR");
    for (unsigned i = 0; i < ARRAY_SIZE(management); i++) {
        assert_status(manage(d, management[i], 3 * ZONE), "IOERR");
    }
    assert_status(append(d, 3 * ZONE, 4 * KiB, NEW, &position), "IOERR");
    assert_status(write_at(d, 3 * ZONE + 4 * KiB, 4 * KiB, NEW), "IOERR");
    assert_status(read_at(d, 3 * ZONE, 4 * KiB, NULL), "IOERR");
    delete_disk(d);
}

/* Zones whose order is preferred, not required */
static void test_host_aware(void)
{
    struct virtio_blk_zone_descriptor before, after;
    Disk *d = new_disk(&host_aware);
    uint64_t position;

    g_assert_true(d->features & 1ull << VIRTIO_BLK_F_ZONED);
    g_assert_true(d->features & 1ull << VIRTIO_BLK_F_DISCARD);
    g_assert_cmphex(config32(d, CONFIG(zoned.model)), ==, VIRTIO_BLK_Z_HA);
    g_assert_cmpint(config32(d, CONFIG(zoned.zone_sectors)), ==, ZONE / SECTOR);
    assert_ok(write_at(d, 3 * ZONE + 64 * KiB, 8 * KiB, OLD));
    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, NEW));
    assert_data(d, 3 * ZONE, 4 * KiB, NEW);
    assert_data(d, 3 * ZONE + 64 * KiB, 8 * KiB, OLD);
    assert_status(append(d, 3 * ZONE, 4 * KiB, NEW, &position), "INVALID_CMD");
    assert_status(append(d, 0, 4 * KiB, NEW, &position), "INVALID_CMD");
    assert_ok(write_at(d, 5 * ZONE - 4 * KiB, 8 * KiB, NEW));
    assert_data(d, 5 * ZONE - 4 * KiB, 8 * KiB, NEW);
    before = get_zone(d, 3);
    g_assert_cmpint(before.z_type, ==, VIRTIO_BLK_ZT_SWP);
    assert_ok(send_range(d, VIRTIO_BLK_T_DISCARD, 3 * ZONE, 64 * KiB, 0));
    after = get_zone(d, 3);
    g_assert_cmpmem(&before, sizeof(before), &after, sizeof(after));
    assert_ok(zone_reset(d, 3));
    g_assert_cmpint(get_zone(d, 3).z_state, ==, VIRTIO_BLK_ZS_EMPTY);
    delete_disk(d);
}

/* To a driver that does not know zones, it is a disk */
static void test_host_aware_as_plain(void)
{
    Disk *d = new_disk(&host_aware);

    restart_driver(d, 1ull << VIRTIO_BLK_F_ZONED);
    for (size_t i = CONFIG(zoned); i < sizeof(struct virtio_blk_config); i++) {
        g_assert_cmphex(qvirtio_config_readb(d->dev, i), ==, 0);
    }
    assert_ok(write_at(d, 3 * ZONE + 64 * KiB, 8 * KiB, OLD));
    assert_ok(write_at(d, 4 * ZONE - 8 * KiB, 16 * KiB, NEW));
    assert_data(d, 4 * ZONE - 8 * KiB, 16 * KiB, NEW);
    assert_ok(send_range(d, VIRTIO_BLK_T_DISCARD, 3 * ZONE, 64 * KiB, 0));
    for (unsigned i = 0; i < ARRAY_SIZE(management); i++) {
        assert_status(manage(d, management[i], 3 * ZONE), "UNSUPP");
    }
    assert_status(get_report(d, 0, NULL, 0), "UNSUPP");
    delete_disk(d);
}

/* 0 stands for no limit */
static void test_config_no_limits(void)
{
    static const Setup setup = {
        .image = ",zone.max_open_zones=0,zone.max_active_zones=0",
    };
    Disk *d = new_disk(&setup);

    g_assert_cmpint(config32(d, CONFIG(zoned.max_open_zones)), ==, 0);
    g_assert_cmpint(config32(d, CONFIG(zoned.max_active_zones)), ==, 0);
    for (unsigned i = NR_CONV; i < NR_ZONES; i++) {
        assert_ok(zone_open(d, i));
    }
    delete_disk(d);
}

/* Of what an image may have as its limit QEMU cannot do the last bytes at once */
static void test_config_large_append(void)
{
    static const Setup setup = {
        .size = "32G", .image = ",zone.size=4G,zone.capacity=4G,"
                               "zone.conventional_zones=0,"
                               "zone.max_append_bytes=2G",
    };
    Disk *d = new_disk(&setup);

    g_assert_cmpint(config32(d, CONFIG(zoned.max_append_sectors)), ==,
                    (2 * GiB - 4096) / SECTOR);
    delete_disk(d);
}

/* The capacity tells how long the last zone is */
static void test_smaller_last_zone(void)
{
    static const Setup setup = { .size = "65M" };
    uint64_t start = NR_ZONES * ZONE, position;
    g_autofree Report *r = g_malloc(report_size(2));
    Disk *d = new_disk(&setup);

    g_assert_cmpint(qvirtio_config_readq(d->dev, CONFIG(capacity)), ==,
                    65 * MiB / SECTOR);
    g_assert_cmpint(config32(d, CONFIG(zoned.zone_sectors)), ==, ZONE / SECTOR);
    assert_ok(write_at(d, start, 1 * MiB - 4 * KiB, 1));
    assert_status(append(d, start, 8 * KiB, 1, &position), "INVALID_CMD");
    assert_ok(append(d, start, 4 * KiB, 1, &position));
    g_assert_cmpint(position, ==, start + 1 * MiB - 4 * KiB);
    assert_ok(get_report(d, start, r, report_size(2)));
    g_assert_cmpint(le64_to_cpu(r->header.nr_zones), ==, 1);
    g_assert_cmpint(le64_to_cpu(r->zones[0].z_start), ==, start / SECTOR);
    g_assert_cmpint(le64_to_cpu(r->zones[0].z_cap), ==, MiB / SECTOR);
    g_assert_cmpint(r->zones[0].z_state, ==, VIRTIO_BLK_ZS_FULL);
    assert_ok(zone_reset(d, NR_ZONES));
    assert_ok(append(d, start, 4 * KiB, 1, &position));
    g_assert_cmpint(position, ==, start);
    delete_disk(d);
}

/* Neither the feature nor zone operations */
static void test_plain_disk(void)
{
    static const Setup setup = { .plain = true };
    static const uint32_t types[] = {
        VIRTIO_BLK_T_ZONE_OPEN, VIRTIO_BLK_T_ZONE_CLOSE,
        VIRTIO_BLK_T_ZONE_FINISH, VIRTIO_BLK_T_ZONE_RESET,
        VIRTIO_BLK_T_ZONE_RESET_ALL,
    };
    g_autofree Report *report = g_malloc(report_size(1));
    uint64_t position;
    Disk *d = new_disk(&setup);

    g_assert_false(d->features & 1ull << VIRTIO_BLK_F_ZONED);
    assert_ok(write_at(d, 0, 8 * KiB, 1));
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        assert_status(manage(d, types[i], 0), "UNSUPP");
    }
    assert_status(append(d, 0, 4 * KiB, 2, &position), "UNSUPP");
    assert_status(get_report(d, 0, report, report_size(1)), "UNSUPP");
    assert_data(d, 0, 8 * KiB, 1);
    delete_disk(d);
}

void add_config_tests(void)
{
    add("config/its-config-space-tells-the-geometry-and-the-limits",
        test_config_space);
    add("config/the-guest-cannot-change-it", test_config_read_only);
    add("config/it-offers-zones-and-no-discard", test_features);
    add("config/a-driver-without-zones-is-refused", test_features_refused);
    add("config/legacy-registers-do-not-tell-of-zones", test_legacy_registers);
    add_device("config/a-legacy-driver-can-only-read", test_legacy_driver);
    add("config/a-driver-that-goes-on-without-zones-can-only-read",
        test_stubborn_driver);
    add("config/zeroes-need-their-feature", test_without_write_zeroes);
    add("config/the-block-size-is-the-unit-of-writes", test_block_size);
    add_device("config/a-device-that-a-driver-could-not-use-is-an-error",
               test_impossible_devices);
    add_device_with("config/it-stays-if-the-host-takes-the-zones-away",
                    &no_zones, test_other_node);
    add_device_with("config/it-stays-if-the-host-has-other-zones",
                    &other_zones, test_other_node);
    add_device_with("config/it-stays-if-the-host-has-other-limits",
                    &other_limits, test_other_node);
    add_device("config/it-stays-if-the-host-removes-the-disk", test_no_medium);
    add_host_aware("config/a-host-aware-disk-has-few-rules", test_host_aware);
    add_host_aware("config/a-host-aware-disk-can-be-used-as-a-plain-one",
                   test_host_aware_as_plain);
    add("config/no-limits-are-told-as-0", test_config_no_limits);
    add("config/an-append-is-not-longer-than-requests-can-be",
        test_config_large_append);
    add("config/the-last-zone-can-be-smaller", test_smaller_last_zone);
    add("config/a-plain-disk-has-no-zones", test_plain_disk);
}
