/*
 * Tests of SCSI disks with zones: accounting, and errors of the host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/pci/pci_regs.h"
#include "scsi-zbc-driver.h"

/* --- Disks that cannot be written --- */

static void test_read_only_disk(void)
{
    static const Setup setup = {
        .blockdev = ",read-only=on", .device = ",werror=report",
    };
    Disk *d = new_disk(&setup);
    Command format = { .cdb = { FORMAT_UNIT } };
    Command same = cdb16(d, WRITE_SAME_16, 1, SEQ, 4 * KiB);

    assert_sense(write_at(d, SEQ, 4 * KiB, NEW), WRITE_PROTECT);
    assert_sense(write_at(d, SEQ, 0, NEW), WRITE_PROTECT);
    assert_sense(write_at(d, DISK, 4 * KiB, NEW), WRITE_PROTECT);
    assert_sense(submit(d, &same), WRITE_PROTECT);
    assert_sense(submit(d, &format), WRITE_PROTECT);
    for (unsigned action = CLOSE_ZONE; action <= RESET_ZONE; action++) {
        assert_sense(zbc_out(d, action, SEQ / SECTOR, 0, 0), WRITE_PROTECT);
        assert_sense(zbc_out(d, action, 0, 0, 1), WRITE_PROTECT);
        /* Before anything else is looked at, but which action it is */
        assert_sense(zbc_out(d, action, UINT64_MAX, 0, 0), WRITE_PROTECT);
    }
    assert_sense(zbc_out(d, 5, SEQ / SECTOR, 0, 0), BAD_FIELD);
    assert_ok(read_at(d, SEQ, 4 * KiB, NULL));
    assert_ok(verify_at(d, SEQ, 4 * KiB));
    assert_ok(flush(d));
    assert_zones(d, "");
    delete_disk(d);
}

/* --- A host that fails --- */

static const Setup full_once = {
    .debug = ",inject-error.0.event=write_aio,inject-error.0.errno=28"
             ",inject-error.0.once=on",
};

static const Setup full_report = {
    .debug = ",inject-error.0.event=write_aio,inject-error.0.errno=28"
             ",inject-error.0.once=on",
    .device = ",werror=report",
};

static const Setup broken_report = {
    .debug = ",inject-error.0.event=write_aio,inject-error.0.errno=5"
             ",inject-error.0.once=on",
    .device = ",werror=report",
};

static void test_reported(const void *opaque)
{
    Disk *d = new_disk(opaque);

    assert_sense(write_at(d, SEQ, 4 * KiB, NEW),
                 opaque == &full_report ? NO_SPACE : ABORTED);
    assert_zones(d, "");
    g_assert_cmpint(statistic(d, "failed_wr_operations"), ==, 1);
    assert_vm_runs(d);
    assert_ok(write_at(d, SEQ, 4 * KiB, NEW));
    assert_data(d, SEQ, 4 * KiB, NEW);
    delete_disk(d);
}

static void cont(Disk *d)
{
    qtest_qmp_assert_success(d->qts, "{'execute': 'cont'}");
}

/* The command is held, and done as it was sent when the machine goes on. */
static void test_stopped_write(void)
{
    Disk *d = new_disk(&full_once);
    Command w = write_command(d, SEQ, 16 * KiB, NEW);

    w.segment = 1000;
    start_command(d, &w);
    wait_for_stop(d);
    g_assert_false(is_done(d, &w));
    cont(d);
    assert_ok(finish_command(d, &w));
    assert_zones(d, "2:iopen@16K");
    assert_data(d, SEQ, 16 * KiB, NEW);
    g_assert_cmpint(statistic(d, "wr_operations"), ==, 1);
    delete_disk(d);
}

/*
 * Writes behind the one that fails are held, too, and all come back in their
 * order, or they would not be at the write pointer.
 */
static void test_stopped_sequence(void)
{
    Disk *d = new_disk(&full_once);
    Command w[8];

    for (int i = 0; i < ARRAY_SIZE(w); i++) {
        w[i] = write_command(d, SEQ + i * 4 * KiB, 4 * KiB, 1 + i);
    }
    start_commands(d, w, ARRAY_SIZE(w));
    wait_for_stop(d);
    cont(d);
    finish_commands(d, w, ARRAY_SIZE(w));
    for (int i = 0; i < ARRAY_SIZE(w); i++) {
        assert_ok(w[i].sense);
        assert_data(d, SEQ + i * 4 * KiB, 4 * KiB, 1 + i);
    }
    assert_zones(d, "2:iopen@32K");
    delete_disk(d);
}

static bool interrupt_was_raised(Disk *d)
{
    return qpci_io_readb(d->pci->pdev, d->pci->bar, d->pci->isr_cfg_offset);
}

/*
 * The write that an iothread has stopped the machine for ends when the disk goes
 * or is reset; the main loop waits for that, and does not let others write to an
 * interrupt controller.
 */
static void test_stopped_and_gone(const void *unplug)
{
    static const Setup setup = {
        .debug = ",inject-error.0.event=write_aio,inject-error.0.errno=28"
                 ",inject-error.0.once=on",
        .objects = "-object iothread,id=iothread",
        .adapter = ",iothread=iothread",
    };
    Disk *d = new_disk(&setup);
    Command w = write_command(d, SEQ, 16 * KiB, NEW);
    QPCIDevice *pci = d->pci->pdev;

    qpci_msix_enable(pci);
    qvirtqueue_pci_msix_setup(d->pci, (QVirtQueuePCI *)d->vq[0],
                              &d->machine->alloc, 0);
    qpci_io_writel(pci, pci->msix_table_bar,
                   pci->msix_table_off + PCI_MSIX_ENTRY_LOWER_ADDR, 0xfee00000);
    start_command(d, &w);
    wait_for_stop(d);
    interrupt_was_raised(d);
    g_assert_false(interrupt_was_raised(d));
    if (unplug) {
        qtest_qmp_device_del(d->qts, "disk0");
        assert_sense(finish_command(d, &w), ENDED_BY_ABORT);
        g_assert_true(interrupt_was_raised(d));
        cont(d);
    } else {
        qtest_system_reset(d->qts);
        cont(d);
        drop_device(d);
        start_driver(d);
        assert_zones(d, "");
        assert_ok(write_at(d, SEQ, 4 * KiB, NEW));
        assert_data(d, SEQ, 4 * KiB, NEW);
    }
    delete_disk(d);
}

static void test_stopped_write_same(void)
{
    Disk *d = new_disk(&full_once);
    Command c = cdb16(d, WRITE_SAME_16, 0, SEQ, 2 * MiB);

    c.out_len = SECTOR;
    c.fill = NEW;
    start_command(d, &c);
    wait_for_stop(d);
    cont(d);
    assert_ok(finish_command(d, &c));
    assert_zones(d, "2:iopen@2048K");
    assert_data(d, SEQ, 2 * MiB, NEW);
    delete_disk(d);
}

/* FUA: the flush may fail when the data has been written. */
static void test_stopped_fua(void)
{
    static const Setup setup = {
        .debug = ",inject-error.0.event=write_aio,inject-error.0.errno=28"
                 ",inject-error.0.iotype=flush,inject-error.0.once=on",
    };
    Disk *d = new_disk(&setup);
    Command w = cdb16(d, WRITE_16, 8, SEQ, 8 * KiB);

    w.out_len = 8 * KiB;
    w.fill = NEW;
    start_command(d, &w);
    wait_for_stop(d);
    cont(d);
    finish_command(d, &w);
    /* Written once, wherever the host failed */
    assert_data(d, SEQ, 8 * KiB, NEW);
    assert_zones(d, "2:iopen@8K");
    assert_data(d, SEQ + 8 * KiB, 8 * KiB, 0);
    delete_disk(d);
}

/* With FUA, both the data and the write pointer survive a loss of power. */
static void test_fua(const void *opaque)
{
    Disk *d = new_disk(&standard), *copy;
    Command w = cdb16(d, opaque ? WRITE_VERIFY_16 : WRITE_16, opaque ? 0 : 8,
                      SEQ, 8 * KiB);
    int64_t flushes = statistic(d, "flush_operations");

    w.out_len = 8 * KiB;
    w.fill = NEW;
    assert_ok(submit(d, &w));
    g_assert_cmpint(statistic(d, "flush_operations"), ==, flushes);
    copy = disk_after_crash(d);
    assert_zones(copy, "2:closed@8K");
    assert_data(copy, SEQ, 8 * KiB, NEW);
    delete_disk(copy);
    delete_disk(d);
}

/* A flush makes durable what was written before, with either command. */
static void test_flush(const void *opaque)
{
    Disk *d = new_disk(&standard), *copy;
    Command c = {
        .cdb = { opaque ? SYNCHRONIZE_CACHE : SYNCHRONIZE_CACHE_16 },
    };

    assert_ok(write_at(d, SEQ, 8 * KiB, NEW));
    assert_ok(submit(d, &c));
    copy = disk_after_crash(d);
    assert_zones(copy, "2:closed@8K");
    assert_data(copy, SEQ, 8 * KiB, NEW);
    delete_disk(copy);
    delete_disk(d);
}

/* A range is looked at, although all of the cache is written. */
static void test_flush_range(const void *opaque)
{
    const unsigned length = opaque ? 10 : 16;
    const struct {
        uint64_t offset, bytes;
        uint32_t sense;
    } ranges[] = {
        { 0, 0, OK }, { SEQ, 4 * KiB, OK }, { DISK - 512, 512, OK },
        { DISK - 512, 0, OK },
        { DISK - 512, 1024, OUT_OF_RANGE }, { DISK, 512, OUT_OF_RANGE },
        { DISK + 512, 0, OUT_OF_RANGE }, { 512 * GiB, 0, OUT_OF_RANGE },
    };
    Disk *d = new_disk(&standard), *copy;

    for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
        Command c = length == 10 ? cdb10(d, SYNCHRONIZE_CACHE, 0,
                                         ranges[i].offset, ranges[i].bytes)
                                 : cdb16(d, SYNCHRONIZE_CACHE_16, 0,
                                         ranges[i].offset, ranges[i].bytes);

        assert_sense(submit(d, &c), ranges[i].sense);
    }
    g_assert_cmpint(statistic(d, "flush_operations"), ==, 4);
    assert_ok(write_at(d, SEQ, 8 * KiB, NEW));
    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    assert_ok(flush(d));
    copy = disk_after_crash(d);
    assert_zones(copy, "2:closed@8K 3:closed@8K");
    assert_data(copy, 3 * ZONE, 8 * KiB, OLD);
    delete_disk(copy);
    delete_disk(d);
}

/* A read that fails is tried again, to the same place. */
static void test_stopped_read(void)
{
    static const Setup setup = {
        .debug = ",inject-error.0.event=read_aio,inject-error.0.errno=5"
                 ",inject-error.0.once=on",
    };
    Disk *d = new_disk(&setup);
    Command r = read_command(d, SEQ, 8 * KiB, NULL);
    g_autofree uint8_t *data = g_malloc(8 * KiB);

    assert_ok(write_at(d, SEQ, 8 * KiB, NEW));
    r.in = data;
    start_command(d, &r);
    wait_for_stop(d);
    cont(d);
    assert_ok(finish_command(d, &r));
    g_assert_cmpint(r.touched, ==, 8 * KiB);
    g_assert_cmphex(data[0], ==, NEW);
    delete_disk(d);
}

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

/* What cannot be stored is tried again, as a command without data. */
static void test_stopped_management(void)
{
    const struct {
        Command command;
        bool data;
        const char *zones;
    } cases[] = {
        { raw16(0x94, RESET_ZONE, 3 * ZONE / SECTOR, 0, 0), true, "" },
        { raw16(0x94, RESET_ZONE, 0, 0, 1), true, "" },
        { raw16(0x94, FINISH_ZONE, 3 * ZONE / SECTOR, 0, 0), true, "3:full" },
        { raw16(0x94, FINISH_ZONE, 3 * ZONE / SECTOR, 0, 0), false, "3:full" },
        { { .cdb = { FORMAT_UNIT } }, true, "" },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *debug = full_at_record(cases[i].data);
        Setup setup = { .debug = debug };
        Disk *d = new_disk(&setup);
        Command c = cases[i].command;

        if (cases[i].data) {
            assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
        }
        start_command(d, &c);
        wait_for_stop(d);
        cont(d);
        assert_ok(finish_command(d, &c));
        assert_zones(d, cases[i].zones);
        delete_disk(d);
    }
}

/* No errno of a flush is the condition of a zone. */
static void test_stopped_flush(void)
{
    static const Setup setup = {
        .debug = ",inject-error.0.event=write_aio,inject-error.0.iotype=flush"
                 ",inject-error.0.errno=30,inject-error.0.once=on",
    };
    Disk *d = new_disk(&setup);
    Command c = { .cdb = { SYNCHRONIZE_CACHE_16 } };

    assert_ok(write_at(d, 0, 4 * KiB, OLD));
    start_command(d, &c);
    wait_for_stop(d);
    cont(d);
    assert_ok(finish_command(d, &c));
    assert_data(d, 0, 4 * KiB, OLD);
    delete_disk(d);
}

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
    qobject_unref(stats);
}

/* A rule that the guest has broken is no failure of the disk. */
static void test_statistics(void)
{
    Disk *d = new_disk(&standard);

    assert_ok(write_at(d, SEQ, 4 * KiB, NEW));
    assert_ok(read_at(d, SEQ, 4 * KiB, NULL));
    assert_sense(write_at(d, SEQ, 4 * KiB, NEW), UNALIGNED);
    assert_sense(write_at(d, SEQ - 512, 1024, NEW), WRITE_BORDER);
    assert_sense(read_at(d, SEQ - 512, 1024, NULL), READ_BORDER);
    g_assert_cmpint(statistic(d, "wr_operations"), ==, 1);
    g_assert_cmpint(statistic(d, "wr_bytes"), ==, 4 * KiB);
    g_assert_cmpint(statistic(d, "failed_wr_operations"), ==, 0);
    g_assert_cmpint(statistic(d, "invalid_wr_operations"), ==, 2);
    g_assert_cmpint(statistic(d, "rd_operations"), ==, 1);
    g_assert_cmpint(statistic(d, "invalid_rd_operations"), ==, 1);
    assert_management(d, 0, 0, 0);
    assert_ok(zone_open(d, 3));
    assert_ok(zone_finish(d, 3));
    assert_ok(on_all(d, RESET_ZONE));
    assert_management(d, 3, 0, 0);
    assert_sense(zone_open(d, 0), BAD_FIELD);
    assert_management(d, 3, 0, 1);
    delete_disk(d);
}

void add_medium_tests(void)
{
    add("medium/read-only-disk", test_read_only_disk);
    add_with("medium/full-host-reported", &full_report, test_reported);
    add_with("medium/broken-host-reported", &broken_report, test_reported);
    add("medium/stopped-write", test_stopped_write);
    add("medium/stopped-sequence", test_stopped_sequence);
    add_with("medium/stopped-and-reset", NULL, test_stopped_and_gone);
    add_with("medium/stopped-and-unplugged", "unplug", test_stopped_and_gone);
    add("medium/stopped-write-same", test_stopped_write_same);
    add("medium/stopped-fua", test_stopped_fua);
    add("medium/stopped-read", test_stopped_read);
    add("medium/stopped-management", test_stopped_management);
    add("medium/stopped-flush", test_stopped_flush);
    add_with("medium/fua", NULL, test_fua);
    add_with("medium/write-and-verify", "verify", test_fua);
    add_with("medium/synchronize-cache-16", NULL, test_flush);
    add_with("medium/synchronize-cache-10", "10", test_flush);
    add_with("medium/synchronize-cache-16-range", NULL, test_flush_range);
    add_with("medium/synchronize-cache-10-range", "10", test_flush_range);
    add("medium/statistics", test_statistics);
}
