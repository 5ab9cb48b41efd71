/*
 * Tests of SCSI disks with zones: REPORT ZONES
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "scsi-zbc-driver.h"

static uint64_t lba_of(Disk *d, uint64_t offset)
{
    return offset / d->block;
}

static void test_start(void)
{
    Disk *d = get_disk(&standard);
    g_autofree uint8_t *list = g_malloc(64 + 64 * NR_ZONES);
    /* Inside a zone means that zone */
    static const uint64_t starts[] = {
        0, 512, ZONE - 512, ZONE, SEQ + 3 * KiB, DISK - ZONE, DISK - 512,
    };

    for (int i = 0; i < ARRAY_SIZE(starts); i++) {
        Command c = report_command(lba_of(d, starts[i]), 0, 64 + 64 * NR_ZONES,
                                   list);
        unsigned n = NR_ZONES - starts[i] / ZONE;

        assert_ok(submit(d, &c));
        g_assert_cmpint(reported(list), ==, n);
        g_assert_cmpint(c.touched, ==, 64 + 64 * n);
        g_assert_cmpint(c.resid, ==, 64 * (NR_ZONES - n));
        g_assert_cmpint(reported_start(list, 0), ==,
                        lba_of(d, QEMU_ALIGN_DOWN(starts[i], ZONE)));
    }
}

static void test_start_out_of_range(void)
{
    Disk *d = get_disk(&standard);
    const uint64_t starts[] = {
        DISK / SECTOR, DISK / SECTOR + 1, 1ull << 32, INT64_MAX, UINT64_MAX,
        UINT64_MAX / SECTOR + 1,
    };
    static const uint8_t options[] = { 0, 1, 5, 0x3f, PARTIAL };

    for (int i = 0; i < ARRAY_SIZE(starts); i++) {
        for (int k = 0; k < ARRAY_SIZE(options); k++) {
            Command c = report_command(starts[i], options[k], 1024, NULL);

            assert_sense(submit(d, &c), OUT_OF_RANGE);
            g_assert_cmpint(c.touched, ==, 0);
        }
    }
}

static void test_service_actions(void)
{
    Disk *d = get_disk(&standard);

    for (unsigned action = 1; action < 32; action++) {
        Command c = report_command(0, 0, 1024, NULL);

        c.cdb[1] = action;
        assert_sense(submit(d, &c), BAD_FIELD);
        g_assert_cmpint(c.touched, ==, 0);
    }
    for (unsigned action = 0; action < 32; action++) {
        if (action < CLOSE_ZONE || action > RESET_ZONE) {
            assert_sense(zbc_out(d, action, lba_of(d, SEQ), 0, 0), BAD_FIELD);
            assert_sense(zbc_out(d, action, 0, 0, 1), BAD_FIELD);
        }
    }
    assert_zones(d, "");
}

/* One zone in each condition, more than one that is empty or conventional */
static Disk *disk_of_all_conditions(void)
{
    Disk *d = get_disk(&worn_out);

    assert_ok(write_at(d, 4 * ZONE, 4 * KiB, OLD));
    assert_ok(zone_close(d, 4));
    assert_ok(zone_open(d, 3));
    assert_ok(write_at(d, 2 * ZONE, 4 * KiB, OLD));
    assert_ok(zone_finish(d, 5));
    assert_ok(zone_finish(d, 8));
    assert_zones(d, "2:iopen@4K 3:eopen@0K 4:closed@4K 5:full 8:full "
                 "14:rdonly 15:offline");
    return d;
}

typedef struct Option {
    uint8_t option;
    unsigned n;
    uint8_t zones[16];
} Option;

static const Option all_options[] = {
    { 0x00, 16, { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 } },
    { 0x01, 7, { 6, 7, 9, 10, 11, 12, 13 } },
    { 0x02, 1, { 2 } },
    { 0x03, 1, { 3 } },
    { 0x04, 1, { 4 } },
    { 0x05, 2, { 5, 8 } },
    { 0x06, 1, { 14 } },
    { 0x07, 1, { 15 } },
    { 0x10, 0 },
    { 0x11, 0 },
    { 0x3f, 2, { 0, 1 } },
};

static void check_option(Disk *d, const Option *o, unsigned room, bool partial)
{
    uint8_t list[64 + 64 * NR_ZONES];
    unsigned shown = MIN(room, o->n);
    Command c = report_command(0, o->option | (partial ? PARTIAL : 0),
                               64 + 64 * room, list);

    assert_ok(submit(d, &c));
    g_assert_cmpint(reported(list), ==, partial ? shown : o->n);
    g_assert_cmpint(c.touched, ==, 64 + 64 * shown);
    g_assert_cmpint(c.resid, ==, 64 * (room - shown));
    for (unsigned i = 0; i < shown; i++) {
        g_assert_cmpint(reported_start(list, i), ==,
                        lba_of(d, o->zones[i] * ZONE));
    }
}

static void test_options(void)
{
    static const unsigned rooms[] = { 0, 1, 2, 7, NR_ZONES };
    Disk *d = disk_of_all_conditions();

    for (int i = 0; i < ARRAY_SIZE(all_options); i++) {
        for (int k = 0; k < ARRAY_SIZE(rooms); k++) {
            check_option(d, &all_options[i], rooms[k], false);
            check_option(d, &all_options[i], rooms[k], true);
        }
    }
}

static void test_reserved_options(void)
{
    Disk *d = get_disk(&standard);

    for (unsigned option = 0; option < 0x40; option++) {
        Command c = report_command(0, option, 1024, NULL);
        bool valid = false;

        for (int i = 0; i < ARRAY_SIZE(all_options); i++) {
            valid |= option == all_options[i].option;
        }
        if (!valid) {
            assert_sense(submit(d, &c), BAD_FIELD);
            g_assert_cmpint(c.touched, ==, 0);
        }
    }
}

/* Only whole descriptors are sent, and the header as far as it goes. */
static void test_allocation_length(void)
{
    static const unsigned lengths[] = {
        1, 4, 63, 64, 65, 127, 128, 129, 64 + 64 * NR_ZONES - 1,
        64 + 64 * NR_ZONES, 64 + 64 * NR_ZONES + 1, 65535, 65537,
        1 * MiB + 64,
    };
    Disk *d = get_disk(&standard);

    for (int i = 0; i < ARRAY_SIZE(lengths); i++) {
        for (unsigned partial = 0; partial <= PARTIAL; partial += PARTIAL) {
            unsigned length = lengths[i];
            unsigned room = MIN((MAX(length, 64) - 64) / 64, NR_ZONES);
            unsigned expected = MIN(length, 64 + 64 * room);
            g_autofree uint8_t *list = g_malloc(length);
            Command c = report_command(0, partial, length, list);

            assert_ok(submit(d, &c));
            g_assert_cmpint(c.touched, <=, expected);
            g_assert_cmpint(c.touched, >=, MIN(expected, 4));
            g_assert_cmpint(c.resid, ==, length - expected);
            if (length >= 4) {
                g_assert_cmpint(reported(list), ==,
                                partial ? room : NR_ZONES);
            }
        }
    }
}

/* Nothing is sent, but what the command says is checked. */
static void test_no_allocation(void)
{
    Disk *d = get_disk(&standard);
    Command c = report_command(0, 0, 0, NULL);
    Command bad = report_command(DISK / SECTOR, 0, 0, NULL);

    c.in_len = bad.in_len = 512;
    assert_ok(submit(d, &c));
    g_assert_cmpint(c.touched, ==, 0);
    g_assert_cmpint(c.resid, ==, 512);
    assert_sense(submit(d, &bad), OUT_OF_RANGE);
}

/* The guest's buffer is larger than the allocation length. */
static void test_long_buffer(void)
{
    Disk *d = get_disk(&standard);
    Command c = report_command(0, 0, 128, NULL);

    c.in_len = 4096;
    assert_ok(submit(d, &c));
    g_assert_cmpint(c.touched, <=, 128);
    g_assert_cmpint(c.resid, ==, 4096 - 128);
    c.in_len = 64;
    assert_sense(submit(d, &c), OVERRUN);
}

/* The last zone can be smaller. */
static void test_short_zone(void)
{
    static const Setup setup = { .size = "66M" };
    Disk *d = new_disk(&setup);

    /* This checks lengths and the last LBA */
    assert_zones(d, "");
    assert_ok(write_at(d, DISK, 2 * MiB - 4 * KiB, NEW));
    assert_zones(d, "16:iopen@2044K");
    assert_sense(write_at(d, DISK + 2 * MiB - 4 * KiB, 8 * KiB, NEW),
                 OUT_OF_RANGE);
    assert_ok(write_at(d, DISK + 2 * MiB - 4 * KiB, 4 * KiB, NEW));
    assert_zones(d, "16:full");
    assert_ok(zone_reset(d, 16));
    assert_ok(zone_finish(d, 16));
    assert_zones(d, "16:full");
    assert_ok(on_all(d, RESET_ZONE));
    assert_zones(d, "");
    delete_disk(d);
}

/* 40,000 zones: more than one message of any host adapter used to have */
static void test_many_zones(void)
{
    static const Setup setup = {
        .size = "160000M", .image = ",zone.max_open_zones=0",
    };
    const unsigned n = 40000;
    Disk *d = new_disk(&setup);
    g_autofree uint8_t *list = g_malloc(64 + 64 * n);
    Command c = report_command(0, 0, 64 + 64 * n, list);
    Command full = report_command(0, 5, 128, list);

    assert_ok(submit(d, &c));
    g_assert_cmpint(reported(list), ==, n);
    g_assert_cmpint(c.resid, ==, 0);
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmpint(reported_start(list, i), ==, lba_of(d, i * ZONE));
    }
    assert_ok(zone_finish(d, n - 1));
    assert_ok(zone_finish(d, 20000));
    assert_ok(submit(d, &full));
    g_assert_cmpint(reported(list), ==, 2);
    g_assert_cmpint(reported_start(list, 0), ==, lba_of(d, 20000 * ZONE));
    delete_disk(d);
}

/* Some memory of QEMU, in KiB, by its name in the status file of Linux */
static unsigned memory_of(pid_t pid, const char *name)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", pid);
    g_autofree char *status = NULL;
    const char *line;
    unsigned kib;

    g_assert_true(g_file_get_contents(path, &status, NULL, NULL));
    line = strstr(status, name);
    g_assert_nonnull(line);
    g_assert_cmpint(sscanf(line + strlen(name), ": %u kB", &kib), ==, 1);
    return kib;
}

/* From now on, the maximum is that of what comes; false if nobody counts it. */
static bool reset_maximum(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/clear_refs", pid);
    int fd = open(path, O_WRONLY);
    bool done = fd >= 0 && write(fd, "5", 1) == 1;

    if (fd >= 0) {
        close(fd);
    }
    return done;
}

/* QEMU does not have the list a second time, besides the guest's buffer. */
static void test_memory(void)
{
    static const Setup setup = {
        .size = "32G",
        .image = ",zone.size=64k,zone.conventional_zones=0,"
                 "zone.max_open_zones=0",
    };
    const unsigned n = 512 * KiB, length = 64 + 64 * n;
    Disk *d = new_disk(&setup);
    pid_t pid = qtest_pid(d->qts);
    g_autofree uint8_t *list = g_malloc(length);
    unsigned before;

    for (unsigned i = 0; i < 2; i++) {
        Command c = report_command(0, 0, length, list);

        if (i && !reset_maximum(pid)) {
            g_test_skip("The host does not tell how much memory QEMU has");
            break;
        }
        before = memory_of(pid, "VmRSS");
        assert_ok(submit(d, &c));
        g_assert_cmpint(reported(list), ==, n);
        g_assert_cmpint(c.resid, ==, 0);
        g_assert_cmpint(reported_start(list, n - 1), ==,
                        lba_of(d, (n - 1) * 64ull * KiB));
        if (i) {
            g_assert_cmpint(memory_of(pid, "VmHWM"), <, before + 8 * KiB);
        }
    }
    delete_disk(d);
}

/* Descriptors go to the right places of buffers that are in pieces. */
static void test_pieces(void)
{
    static const unsigned segments[] = { 1000, 4096, 63, 65 };
    static const Setup setup = {
        .size = "640M", .adapter = ",virtqueue_size=1024",
    };
    const unsigned n = 160, length = 64 + 64 * n;
    Disk *d = new_disk(&setup);
    g_autofree uint8_t *whole = g_malloc(length), *list = g_malloc(length);
    Command all = report_command(0, 0, length, whole);

    assert_ok(write_at(d, SEQ, 4 * KiB, NEW));
    assert_ok(submit(d, &all));
    g_assert_cmpint(reported(whole), ==, n);
    for (int i = 0; i < ARRAY_SIZE(segments); i++) {
        for (unsigned from = 0; from <= 128; from += 32) {
            Command c = report_command(lba_of(d, from * ZONE), 0, length,
                                       list);
            unsigned part = 64 * (n - from);

            c.segment = segments[i];
            c.misaligned = 7 * i;
            assert_ok(submit(d, &c));
            g_assert_cmpint(c.resid, ==, 64 * from);
            g_assert_cmpint(reported(list), ==, n - from);
            g_assert_cmpmem(list + 64, part, whole + 64 + 64 * from, part);
        }
    }
    delete_disk(d);
}

void add_report_tests(void)
{
    add("report/start", test_start);
    add("report/start-out-of-range", test_start_out_of_range);
    add("report/service-actions", test_service_actions);
    add("report/options", test_options);
    add("report/reserved-options", test_reserved_options);
    add("report/allocation-length", test_allocation_length);
    add("report/no-allocation", test_no_allocation);
    add("report/long-buffer", test_long_buffer);
    add("report/short-last-zone", test_short_zone);
    add("report/many-zones", test_many_zones);
    add("report/memory", test_memory);
    add("report/pieces", test_pieces);
}
