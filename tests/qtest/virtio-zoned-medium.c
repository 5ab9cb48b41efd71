/*
 * Tests of virtio-blk on a zoned disk: accounting, and errors of the host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zoned-driver.h"

/* --- Accounting --- */

static void assert_management(Disk *d, int64_t good, int64_t failed,
                              int64_t invalid)
{
    QDict *stats = statistics(d);
    QDict *management = qdict_get_qdict(stats, "zone-mgmt");

    g_assert_cmpint(qdict_get_int(management, "operations"), ==, good);
    g_assert_cmpint(qdict_get_int(management, "failed-operations"), ==, failed);
    g_assert_cmpint(qdict_get_int(management, "invalid-operations"), ==,
                    invalid);
    g_assert_true((qdict_get_int(management, "total-time-ns") > 0) ==
                  (good > 0));
    qobject_unref(stats);
}

static void test_statistics(void)
{
    Disk *d = new_disk(&standard);
    uint64_t position;

    assert_ok(append(d, 3 * ZONE, 4 * KiB, NEW, &position));
    assert_ok(append(d, 3 * ZONE, 12 * KiB, NEW, &position));
    assert_statistic(d, "zone_append_operations", 2);
    assert_statistic(d, "zone_append_bytes", 16 * KiB);
    assert_statistic(d, "failed_zone_append_operations", 0);
    assert_ok(zone_finish(d, 3));
    assert_status(append(d, 3 * ZONE, 4 * KiB, NEW, &position), "INVALID_CMD");
    assert_statistic(d, "zone_append_operations", 2);
    assert_statistic(d, "failed_zone_append_operations", 1);
    assert_statistic(d, "wr_operations", 0);
    assert_ok(write_at(d, 4 * ZONE, 4 * KiB, NEW));
    assert_status(write_at(d, 4 * ZONE, 4 * KiB, NEW), "UNALIGNED_WP");
    assert_statistic(d, "wr_operations", 1);
    assert_statistic(d, "failed_wr_operations", 1);
    delete_disk(d);
}

static void test_management_statistics(void)
{
    Disk *d = new_disk(&standard);
    uint64_t position;

    assert_management(d, 0, 0, 0);
    assert_ok(zone_open(d, 3));
    assert_ok(zone_finish(d, 3));
    assert_ok(zone_reset(d, 3));
    assert_ok(reset_all(d));
    assert_management(d, 4, 0, 0);
    assert_status(zone_finish(d, 0), "INVALID_CMD");
    assert_management(d, 4, 1, 0);
    assert_status(manage(d, VIRTIO_BLK_T_ZONE_RESET, DISK), "INVALID_CMD");
    assert_management(d, 4, 1, 1);
    assert_status(append(d, 3 * ZONE + SECTOR, SECTOR, NEW, &position),
                  "INVALID_CMD");
    assert_statistic(d, "invalid_zone_append_operations", 1);
    delete_disk(d);
}

static void test_plain_statistics(void)
{
    static const Setup setup = { .plain = true };
    Disk *d = new_disk(&setup);
    QDict *stats = statistics(d);

    g_assert_false(qdict_haskey(stats, "zone-mgmt"));
    qobject_unref(stats);
    delete_disk(d);
}

/* Histograms of other requests are not touched. */
static void test_append_histogram(void)
{
    static const char *const kinds[] = { "read", "zap" };
    Disk *d = new_disk(&standard);
    uint64_t position;
    QDict *stats;

    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        g_autofree char *name = g_strdup_printf("boundaries-%s", kinds[i]);
        QDict *args = qdict_from_jsonf_nofail(
            "{'id': '/machine/peripheral/disk/virtio-backend'}");

        qdict_put_obj(args, name, qobject_from_jsonf_nofail("[10, 1000000]"));
        qtest_qmp_assert_success(d->qts,
                                 "{'execute': 'block-latency-histogram-set',"
                                 " 'arguments': %p}", args);
    }
    assert_ok(append(d, 3 * ZONE, 4 * KiB, NEW, &position));
    stats = statistics(d);
    g_assert_true(qdict_haskey(stats, "rd_latency_histogram"));
    g_assert_true(qdict_haskey(stats, "zone_append_latency_histogram"));
    g_assert_false(qdict_haskey(stats, "wr_latency_histogram"));
    qobject_unref(stats);
    delete_disk(d);
}

/* --- Disks that cannot be written --- */

/* It ends all with IOERR that would change data or zones */
static void test_read_only_disk(void)
{
    static const Setup setup = {
        .blockdev = ",read-only=on", .device = ",werror=report",
    };
    Disk *d = new_disk(&setup);
    uint64_t position;

    g_assert_true(d->features & 1ull << VIRTIO_BLK_F_RO);
    assert_status(write_at(d, 3 * ZONE, 4 * KiB, NEW), "IOERR");
    assert_status(write_zeroes(d, 3 * ZONE, 4 * KiB), "IOERR");
    assert_status(append(d, 3 * ZONE, 4 * KiB, NEW, &position), "IOERR");
    for (unsigned i = 0; i < ARRAY_SIZE(management); i++) {
        assert_status(manage(d, management[i], 3 * ZONE), "IOERR");
    }
    assert_status(reset_all(d), "IOERR");
    assert_zones(d, "");
    assert_data(d, 3 * ZONE, 4 * KiB, 0);
    delete_disk(d);
}

/*
 * A failure of the medium is not a broken rule, also if its errno
 * says so (75 is EOVERFLOW, which stands for the limit of active zones).
 */
static const Setup write_error_once = {
    .debug = ",inject-error.0.event=write_aio,inject-error.0.errno=75"
             ",inject-error.0.once=on",
    .device = ",werror=report",
};

static void test_medium_write_error(void)
{
    Disk *d = new_disk(&write_error_once);

    assert_status(write_at(d, 3 * ZONE, 4 * KiB, NEW), "IOERR");
    assert_zones(d, "");
    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, NEW));
    assert_zones(d, "3:iopen@4K");
    delete_disk(d);
}

static void test_medium_append_error(void)
{
    Disk *d = new_disk(&write_error_once);
    uint64_t position;

    assert_status(append(d, 3 * ZONE, 4 * KiB, NEW, &position), "IOERR");
    assert_zones(d, "");
    assert_ok(append(d, 3 * ZONE, 4 * KiB, NEW, &position));
    g_assert_cmpint(position, ==, 3 * ZONE);
    delete_disk(d);
}

/* An error policy is for the medium; what it delays is done in the end */
static void test_medium_error_stops(const void *opaque)
{
    static const Setup setup = {
        .debug = ",inject-error.0.event=write_aio,inject-error.0.errno=5"
                 ",inject-error.0.once=on",
    };
    Request r = *(const Request *)opaque;
    Disk *d = new_disk(&setup);
    uint64_t sector = 0;

    r.sector = 3 * ZONE / SECTOR;
    r.out_len = 4 * KiB;
    r.fill = NEW;
    if (r.type == VIRTIO_BLK_T_ZONE_APPEND) {
        r.in = &sector;
        r.in_len = sizeof(sector);
    }
    start_all(d, &r, 1);
    qtest_qmp_eventwait(d->qts, "STOP");
    qtest_qmp_assert_success(d->qts, "{'execute': 'cont'}");
    wait_for_one(d, &r, 1);
    assert_ok(r.status);
    assert_zones(d, "3:iopen@4K");
    assert_data(d, 3 * ZONE, 4 * KiB, NEW);
    if (r.in) {
        g_assert_cmpint(le64_to_cpu(sector), ==, 3 * ZONE / SECTOR);
    }
    delete_disk(d);
}

static const Request stopped_write = { .type = VIRTIO_BLK_T_OUT };
static const Request stopped_append = { .type = VIRTIO_BLK_T_ZONE_APPEND };
static const Request stopped_joined_write = {
    .type = VIRTIO_BLK_T_OUT, .joined = true,
};
static const Request stopped_joined_append = {
    .type = VIRTIO_BLK_T_ZONE_APPEND, .joined = true,
};

/* The host is full when it writes the record of zone 3 (after some data). */
static char *full_at_record(bool after_data)
{
    char *image = create_image(&standard);
    uint64_t offset = zoned_image_record_offset(image, 3);

    zoned_image_delete(image);
    return g_strdup_printf(",inject-error.0.event=%s"
                           ",inject-error.0.iotype=write"
                           ",inject-error.0.sector=%" PRIu64
                           ",inject-error.0.errno=28,inject-error.0.once=on",
                           after_data ? "write_aio" : "none",
                           offset / SECTOR);
}

/* Let a request fail: it stops the VM, and succeeds when that goes on */
static void assert_stops_and_succeeds(Disk *d, Request *r, unsigned n)
{
    if (d->exported) {      /* which have no error policy */
        submit_all(d, r, n);
        assert_status(r[0].status, "IOERR");
        submit_all(d, r, n);
    } else {
        start_all(d, r, n);
        wait_for_stop(d);
        qtest_qmp_assert_success(d->qts, "{'execute': 'cont'}");
        for (unsigned i = 0; i < n; i++) {
            wait_for_one(d, r, n);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        assert_ok(r[i].status);
    }
}

/* Zone management is as subject to the error policy as a write */
static void test_management_error(void)
{
    static const struct {
        uint32_t type;
        bool data;
        const char *zones;
    } cases[] = {
        { VIRTIO_BLK_T_ZONE_RESET, true, "" },
        { VIRTIO_BLK_T_ZONE_RESET_ALL, true, "" },
        { VIRTIO_BLK_T_ZONE_FINISH, true, "3:full" },
        { VIRTIO_BLK_T_ZONE_FINISH, false, "3:full" },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *debug = full_at_record(cases[i].data);
        Setup setup = { .debug = debug };
        Disk *d = new_disk(&setup);
        Request r = { .type = cases[i].type, .sector = 3 * ZONE / SECTOR };

        if (cases[i].data) {
            assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
        }
        assert_stops_and_succeeds(d, &r, 1);
        assert_zones(d, cases[i].zones);
        delete_disk(d);
    }
}

/* No errno of a flush is the state of a zone */
static void test_flush_error(void)
{
    static const Setup setup = {
        .debug = ",inject-error.0.event=write_aio,inject-error.0.iotype=flush"
                 ",inject-error.0.errno=30,inject-error.0.once=on",
    };
    Disk *d = new_disk(&setup);
    Request r = { .type = VIRTIO_BLK_T_FLUSH };

    assert_ok(write_at(d, 0, 4 * KiB, OLD));
    assert_stops_and_succeeds(d, &r, 1);
    assert_data(d, 0, 4 * KiB, OLD);
    assert_zones(d, "");
    delete_disk(d);
}

static void assert_appended(Disk *d, const uint64_t *sectors)
{
    uint64_t seen = 0;

    for (unsigned i = 0; i < MANY; i++) {
        uint64_t from = le64_to_cpu(sectors[i]) * SECTOR - 3 * ZONE;

        g_assert_cmpint(from, <, MANY * 4 * KiB);
        seen |= 1ull << from / (4 * KiB);
        assert_data(d, 3 * ZONE + from, 4 * KiB, 1 + i);
    }
    g_assert_cmphex(seen, ==, (1ull << MANY) - 1);
    assert_zones(d, "3:iopen@128K");
}

/* One failure stops the VM, and with room again all of them succeed */
static void test_appends_to_full_host(void)
{
    Disk *d = new_disk(&full_once);
    uint64_t sectors[MANY];
    Request r[MANY];

    prepare_appends(r, sectors);
    assert_stops_and_succeeds(d, r, MANY);
    assert_appended(d, sectors);
    delete_disk(d);
}

static void test_writes_to_full_host(void)
{
    Disk *d = new_disk(&full_once);
    Request r[MANY];

    for (unsigned i = 0; i < MANY; i++) {
        r[i] = request_write(3 * ZONE + i * 4 * KiB, 4 * KiB, 1 + i);
    }
    assert_stops_and_succeeds(d, r, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        assert_data(d, 3 * ZONE + i * 4 * KiB, 4 * KiB, 1 + i);
    }
    assert_zones(d, "3:iopen@128K");
    delete_disk(d);
}

/* Let the first entry of the first L2 table point to the L1 table. */
static void corrupt_image(const char *path)
{
    uint64_t l1_offset, l2_offset, entry;
    int fd = open(path, O_RDWR);

    g_assert_cmpint(pread(fd, &l1_offset, 8, 40), ==, 8);
    l1_offset = be64_to_cpu(l1_offset);
    g_assert_cmpint(pread(fd, &l2_offset, 8, l1_offset), ==, 8);
    l2_offset = be64_to_cpu(l2_offset) & 0x00fffffffffffe00ull;
    g_assert_cmphex(l2_offset, !=, 0);
    entry = cpu_to_be64(l1_offset | 1ull << 63);
    g_assert_cmpint(pwrite(fd, &entry, 8, l2_offset), ==, 8);
    close(fd);
}

/* The image is closed when it is found corrupt */
static void test_corrupt_node(void)
{
    static const Setup setup = { .device = ",werror=report,rerror=report" };
    g_autofree Report *report = g_malloc(report_size(1));
    Disk *d = new_disk(&setup);
    uint64_t position;

    assert_ok(write_at(d, 0, 4 * KiB, OLD));
    power_off(d);
    corrupt_image(d->image);
    power_on(d);
    assert_status(write_at(d, 0, 4 * KiB, NEW), "IOERR");
    assert_status(get_report(d, 0, report, report_size(1)), "IOERR");
    assert_status(reset_all(d), "IOERR");
    for (unsigned i = 0; i < ARRAY_SIZE(management); i++) {
        assert_status(manage(d, management[i], 3 * ZONE), "IOERR");
    }
    assert_status(append(d, 3 * ZONE, 4 * KiB, NEW, &position), "IOERR");
    assert_status(write_at(d, 3 * ZONE, 4 * KiB, NEW), "IOERR");
    assert_status(write_zeroes(d, 3 * ZONE, 4 * KiB), "IOERR");
    assert_status(read_at(d, 3 * ZONE, 4 * KiB, NULL), "IOERR");
    assert_status(read_at(d, 3 * ZONE - 4 * KiB, 8 * KiB, NULL), "IOERR");
    assert_status(manage(d, VIRTIO_BLK_T_FLUSH, 0), "IOERR");
    assert_vm_runs(d);
    delete_disk(d);
}

/* The host splits requests, but not before the rules */
static void test_small_transfers(void)
{
    static const Setup setup = { .debug = ",max-transfer=65536" };
    Disk *d = new_disk(&setup);

    assert_ok(write_at(d, 2 * ZONE - 128 * KiB, 128 * KiB, OLD));
    assert_status(write_at(d, 2 * ZONE - 128 * KiB, 256 * KiB, NEW),
                  "INVALID_CMD");
    assert_status(write_at(d, 3 * ZONE, CAPACITY + 4 * KiB, NEW),
                  "INVALID_CMD");
    assert_status(write_zeroes(d, 3 * ZONE, ZONE), "INVALID_CMD");
    assert_zones(d, "");
    assert_data(d, 2 * ZONE - 128 * KiB, 128 * KiB, OLD);
    assert_ok(write_at(d, 3 * ZONE, 256 * KiB, NEW));
    assert_zones(d, "3:iopen@256K");
    assert_data(d, 3 * ZONE, 256 * KiB, NEW);
    delete_disk(d);
}

void add_medium_tests(void)
{
    add_device("accounting/appends-are-counted", test_statistics);
    add_device("accounting/zone-management-is-counted",
               test_management_statistics);
    add_device("accounting/a-plain-disk-has-no-zone-management",
               test_plain_statistics);
    add_device("accounting/appends-can-have-the-only-histogram",
               test_append_histogram);
    add("medium/a-read-only-disk-refuses-all-that-writes", test_read_only_disk);
    add("medium/requests-that-the-host-splits-keep-the-rules",
        test_small_transfers);
    add("medium/a-write-error-ends-with-IOERR", test_medium_write_error);
    add("medium/an-error-of-an-append-does-too", test_medium_append_error);
    add("medium/management-error-is-retried", test_management_error);
    add("medium/flush-error-is-no-zone-status", test_flush_error);
    add_device("medium/all-appends-succeed-after-enospc",
               test_appends_to_full_host);
    add_device("medium/all-writes-succeed-after-enospc",
               test_writes_to_full_host);
    add("medium/corrupt-node-ends-with-ioerr", test_corrupt_node);
    add_device_with("medium/a-write-that-stopped-the-VM-is-done-later",
                    &stopped_write, test_medium_error_stops);
    add_device_with("medium/an-append-that-stopped-the-VM-is-done-later",
                    &stopped_append, test_medium_error_stops);
    add_device_with("medium/so-is-a-write-in-one-buffer-with-its-header",
                    &stopped_joined_write, test_medium_error_stops);
    add_device_with("medium/so-is-an-append-in-one-buffer-with-its-header",
                    &stopped_joined_append, test_medium_error_stops);
}
