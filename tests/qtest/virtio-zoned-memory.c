/*
 * Tests of virtio-blk on a zoned disk: where the guest has its data
 *
 * Whatever the buffers are like, their length decides what is transferred, and
 * nothing but the device's part of them is written.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zoned-driver.h"

static const unsigned segments[] = { 0, 1000, 511, 512, 513, 4096, 4097 };
static const unsigned misaligned[] = { 0, 1, 511, 4080, 4095 };

static void *new_data(size_t bytes)
{
    uint8_t *data = g_malloc(bytes);

    for (size_t i = 0; i < bytes; i++) {
        data[i] = 1 + i % 97;
    }
    return data;
}

/* Pieces of any length, from any address: written, appended and read */
static void test_pieces(void)
{
    const size_t bytes = 16 * KiB;
    g_autofree uint8_t *data = new_data(bytes), *found = g_malloc(bytes);
    Disk *d = get_disk(&standard);
    uint64_t wp = 3 * ZONE, sector;

    for (int i = 0; i < ARRAY_SIZE(segments); i++) {
        for (int k = 0; k < ARRAY_SIZE(misaligned); k++) {
            Request w = request_write(wp, bytes, 0);
            Request a = request_append(3 * ZONE, bytes, 0, &sector);
            Request r = {
                .type = VIRTIO_BLK_T_IN, .sector = wp / SECTOR,
                .in_len = bytes, .in = found,
            };

            w.out = a.out = data;
            w.segment = a.segment = r.segment = segments[i];
            w.misaligned = a.misaligned = r.misaligned = misaligned[k];
            assert_ok(submit(d, &w));
            assert_ok(submit(d, &r));
            g_assert_cmpmem(found, bytes, data, bytes);
            assert_ok(submit(d, &a));
            g_assert_cmpint(le64_to_cpu(sector) * SECTOR, ==, wp + bytes);
            r.sector += bytes / SECTOR;
            assert_ok(submit(d, &r));
            g_assert_cmpmem(found, bytes, data, bytes);
            wp += 2 * bytes;
        }
    }
    assert_zones(d, "3:iopen@1120K");
}

/* A byte, or a sector, less or more than sectors */
static void test_data_lengths(void)
{
    static const size_t lengths[] = { 1, 511, 513, 1023, 1025, 4095, 4097 };
    Disk *d = get_disk(&standard);
    uint64_t position;

    for (int i = 0; i < ARRAY_SIZE(lengths); i++) {
        assert_status(read_at(d, 3 * ZONE, lengths[i], NULL), "IOERR");
        g_assert_cmpstr(write_at(d, 3 * ZONE, lengths[i], NEW), !=, "OK");
        g_assert_cmpstr(append(d, 3 * ZONE, lengths[i], NEW, &position), !=,
                        "OK");
        assert_zones(d, "");
    }
    assert_ok(read_at(d, DISK - 4 * KiB, 4 * KiB, NULL));
    assert_status(read_at(d, DISK - 4 * KiB, 4 * KiB + SECTOR, NULL), "IOERR");
    assert_status(read_at(d, DISK, SECTOR, NULL), "IOERR");
    assert_zones(d, "");
}

/* No data at all */
static void test_no_data(void)
{
    Disk *d = get_disk(&standard);
    uint64_t position;

    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
    assert_ok(write_at(d, 3 * ZONE + 4 * KiB, 0, NEW));
    assert_ok(append(d, 3 * ZONE, 0, NEW, &position));
    g_assert_cmpint(position, ==, 3 * ZONE + 4 * KiB);
    assert_ok(read_at(d, 3 * ZONE, 0, NULL));
    assert_zones(d, "3:iopen@4K");
}

/* Entries that are cut off stay out, and nobody sees what was there before. */
static void test_report_lengths(void)
{
    static const int beside[] = { -64, -63, -1, 0, 1, 63, 64 };
    g_autofree Report *all = g_malloc(report_size(NR_ZONES));
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 5 * ZONE, 4 * KiB, OLD));
    assert_ok(get_report(d, 0, all, report_size(NR_ZONES)));
    for (unsigned first = 0; first < NR_ZONES; first += 5) {
        for (unsigned i = 0; i < ARRAY_SIZE(beside) * 3; i++) {
            unsigned n = ((const unsigned[]) { 1, 2, NR_ZONES - first })[i / 7];
            size_t size = report_size(n) + beside[i % 7];
            unsigned fit = MIN((size - 64) / 64, NR_ZONES - first);
            g_autofree uint8_t *data = g_malloc(size);
            Request r = {
                .type = VIRTIO_BLK_T_ZONE_REPORT,
                .sector = first * ZONE / SECTOR, .in_len = size, .in = data,
                .segment = i % 2 ? 65 : 0, .misaligned = 4080,
            };

            assert_ok(submit(d, &r));
            g_assert_cmpint(ldq_le_p(data), ==, fit);
            g_assert_cmpmem(data + 64, 64 * fit, &all->zones[first], 64 * fit);
            g_assert_true(buffer_is_zero(data + report_size(fit),
                                         size - report_size(fit)));
        }
    }
}

/* What is at odds with the answer of an append, which takes 8 bytes */
static void test_append_answers(void)
{
    static const size_t rooms[] = { 0, 1, 7, 9, 16, 512 };
    Disk *d = get_disk(&standard);
    uint8_t answer[512];

    for (int i = 0; i < ARRAY_SIZE(rooms); i++) {
        Request r = request_append(3 * ZONE, 4 * KiB, NEW, NULL);

        r.in_len = rooms[i];
        r.in = answer;
        submit(d, &r);
        if (rooms[i] < 8) {
            assert_status(r.status, "INVALID_CMD");
        }
    }
    assert_vm_runs(d);
    assert_ok(reset_all(d));
}

/* The ID is 20 bytes, padded with zeroes. */
static void test_id_lengths(void)
{
    static const Setup setup = { .device = ",serial=zoned" };
    static const size_t lengths[] = { 0, 1, 5, 6, 19, 20, 21, 512 };
    Disk *d = new_disk(&setup);
    char expected[20] = {};

    strcpy(expected, d->exported ? "vhost_user_blk" : "zoned");

    for (int i = 0; i < ARRAY_SIZE(lengths); i++) {
        uint8_t id[512];
        size_t n = MIN(lengths[i], sizeof(expected));

        assert_ok(submit(d, &(Request) {
            .type = VIRTIO_BLK_T_GET_ID, .in_len = lengths[i], .in = id,
        }));
        g_assert_cmpmem(id, n, expected, n);
        g_assert_true(buffer_is_zero(id + n, lengths[i] - n));
    }
    delete_disk(d);
}

/* The header, too, is in pieces. */
static void test_requests_in_pieces(void)
{
    static const uint32_t types[] = {
        VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_ZONE_OPEN,
        VIRTIO_BLK_T_ZONE_CLOSE, VIRTIO_BLK_T_ZONE_FINISH,
        VIRTIO_BLK_T_ZONE_RESET, VIRTIO_BLK_T_ZONE_RESET_ALL,
        77,
    };
    Disk *d = get_disk(&standard);

    for (int i = 0; i < ARRAY_SIZE(types); i++) {
        Request r = {
            .type = types[i], .sector = 3 * ZONE / SECTOR,
            .out_len = types[i] == VIRTIO_BLK_T_OUT ? SECTOR : 0, .fill = NEW,
            .segment = 7, .misaligned = 4090,
        };

        assert_status(submit(d, &r), types[i] == 77 ? "UNSUPP" : "OK");
    }
    assert_ok(reset_all(d));
    assert_zones(d, "");
}

/*
 * A buffer is in the memory below 1 MiB, and the guest switches that off in
 * the chipset while the data is read: the answer to a request that was kicked
 * together with it is there.  An export lets the memory go when the request is
 * done; nobody is harmed, and it can come back.
 */
static void test_memory_goes(void)
{
    static const Setup setup = { .host_aware = true, .slow = "200000" };
    const uint8_t control = 0x5c, off = 0x00, on = 0x33;
    Disk *d = new_disk(&setup);
    QPCIDevice *chipset = qpci_device_find(d->machine->pcibus, 0);
    Request r[] = {
        { .type = VIRTIO_BLK_T_GET_ID, .in_len = 20 },
        { .type = VIRTIO_BLK_T_IN, .in_len = 8 * KiB, .at = 0xd0000 },
    };

    for (unsigned i = 0; i < 2; i++) {
        qpci_config_writeb(chipset, control, on);
        start_all(d, r, ARRAY_SIZE(r));
        wait_for_one(d, r, 1);
        assert_ok(r[0].status);
        qpci_config_writeb(chipset, control, off);
        if (d->exported) {
            g_assert_cmpint(qtest_readw(d->qts, d->vq->used + 2), !=,
                            d->vq->last_used_idx);
        }
        wait_for_one(d, r + 1, 1);
        assert_ok(r[1].status);
    }
    assert_data(d, 0, 8 * KiB, 0);
    g_free(chipset);
    delete_disk(d);
}

void add_memory_tests(void)
{
    add("memory/pieces", test_pieces);
    add("memory/lengths-that-are-no-sectors", test_data_lengths);
    add("memory/no-data", test_no_data);
    add("memory/report-lengths", test_report_lengths);
    add("memory/room-for-the-answer-of-an-append", test_append_answers);
    add("memory/id-lengths", test_id_lengths);
    add("memory/requests-in-pieces", test_requests_in_pieces);
    add_host_aware("memory/it-goes-when-the-request-is-done",
                   test_memory_goes);
}
