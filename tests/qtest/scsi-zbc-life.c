/*
 * Tests of SCSI disks with zones: resets, restarts, crashes, migration
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "scsi-zbc-driver.h"

static const Setup queues = { .adapter = ",num_queues=2" };
static const Setup threads = {
    .objects = "-object iothread,id=iothread",
    .adapter = ",num_queues=2,iothread=iothread",
};

static Disk *disk_with_history(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 0, 8 * KiB, 1));
    assert_ok(write_at(d, 5 * ZONE, 4 * KiB, 5));
    assert_ok(zone_finish(d, 5));
    assert_ok(write_at(d, 7 * ZONE, 4 * KiB, 7));
    assert_ok(zone_reset(d, 7));
    assert_ok(write_at(d, 2 * ZONE, 8 * KiB, 2));
    assert_ok(zone_open(d, 3));
    assert_ok(zone_open(d, 4));
    assert_ok(write_at(d, 4 * ZONE, SECTOR, 4));
    assert_zones(d, "2:iopen@8K 3:eopen@0K 4:eopen@512 5:full");
    return d;
}

static void assert_history(Disk *d, const char *zones)
{
    assert_zones(d, zones);
    assert_data(d, 0, 8 * KiB, 1);
    assert_data(d, 2 * ZONE, 8 * KiB, 2);
    assert_data(d, 2 * ZONE + 8 * KiB, 8 * KiB, 0);
    assert_data(d, 4 * ZONE, SECTOR, 4);
    assert_data(d, 5 * ZONE, 4 * KiB, 5);
    assert_data(d, 7 * ZONE, 64 * KiB, 0);
}

/* The disk has power all the time, so no zone is closed by a reset. */
static void test_system_reset(void)
{
    Disk *d = disk_with_history();

    qtest_system_reset(d->qts);
    drop_device(d);
    start_driver(d);
    assert_history(d, "2:iopen@8K 3:eopen@0K 4:eopen@512 5:full");
}

static void test_driver_restart(void)
{
    Disk *d = disk_with_history();

    drop_device(d);
    start_driver(d);
    assert_history(d, "2:iopen@8K 3:eopen@0K 4:eopen@512 5:full");
}

static void test_lun_reset(const void *opaque)
{
    uint32_t subtype = *(const uint32_t *)opaque;
    Disk *d = disk_with_history();

    g_assert_cmpint(task_management(d, subtype), ==,
                    VIRTIO_SCSI_S_OK);
    if (subtype == VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET) {
        assert_sense(test_unit_ready(d), WAS_RESET);
    }
    assert_ok(test_unit_ready(d));
    assert_history(d, "2:iopen@8K 3:eopen@0K 4:eopen@512 5:full");
    assert_ok(write_at(d, 2 * ZONE + 8 * KiB, 4 * KiB, NEW));
}

/* What the guest is told of a reset with was not done. */
static void test_commands_after_reset(void)
{
    Disk *d = get_disk(&standard);
    uint64_t lba = SEQ / SECTOR;
    const Command commands[] = {
        raw16(0x94, OPEN_ZONE, lba, 0, 0), raw16(0x94, FINISH_ZONE, lba, 0, 0),
        raw16(0x94, RESET_ZONE, lba, 0, 0), raw16(0x94, RESET_ZONE, 0, 0, 1),
        write_command(d, SEQ + 4 * KiB, 4 * KiB, NEW),
        cdb16(d, WRITE_SAME_16, 1, SEQ + 4 * KiB, 4 * KiB),
        report_command(0, 0, 4096, NULL), read_command(d, SEQ, 4 * KiB, NULL),
        { .cdb = { FORMAT_UNIT } },
    };

    assert_ok(write_at(d, SEQ, 4 * KiB, OLD));
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        Command c = commands[i];

        g_assert_cmpint(task_management(
                            d, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET), ==,
                        VIRTIO_SCSI_S_OK);
        assert_sense(submit(d, &c), WAS_RESET);
        g_assert_cmpint(c.touched, ==, 0);
        assert_ok(test_unit_ready(d));
        assert_zones(d, "2:iopen@4K");
        assert_data(d, SEQ, 4 * KiB, OLD);
    }
}

/* It was done, or ended, or has come after the reset, which it tells of. */
static bool is_outcome_of_reset(uint32_t sense)
{
    return sense == OK || sense == ENDED_BY_ABORT || sense == ENDED_BY_RESET ||
           sense == WAS_RESET;
}

static void assert_was_reset(Disk *d, bool told)
{
    if (!told) {
        assert_sense(test_unit_ready(d), WAS_RESET);
    }
    assert_ok(test_unit_ready(d));
}

/*
 * A write that is ended by a reset is done or it is not; the write pointer says
 * which, and what is in the zone.
 */
static void test_lun_reset_of_write(void)
{
    Disk *d = new_disk(&threads);

    for (unsigned i = 0; i < 4; i++) {
        uint64_t zone = (3 + i) * ZONE;
        bool told = false;
        Command w[4];

        for (unsigned k = 0; k < ARRAY_SIZE(w); k++) {
            w[k] = write_command(d, zone + k * 4 * KiB, 4 * KiB, NEW);
        }
        start_commands(d, w, ARRAY_SIZE(w));
        g_usleep(i * 300);
        g_assert_cmpint(task_management(
                            d, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET), ==,
                        VIRTIO_SCSI_S_OK);
        finish_commands(d, w, ARRAY_SIZE(w));
        for (unsigned k = 0; k < ARRAY_SIZE(w); k++) {
            /* Behind one that came after the reset, or was ended by it */
            g_assert_true(is_outcome_of_reset(w[k].sense) ||
                          (k && w[k].sense == UNALIGNED));
            told |= w[k].sense == WAS_RESET;
        }
        assert_was_reset(d, told);
        /* Whatever has been done, it can go on from there */
        assert_ok(zone_reset(d, 3 + i));
        assert_ok(write_at(d, zone, 4 * KiB, OLD));
        assert_data(d, zone, 4 * KiB, OLD);
    }
    delete_disk(d);
}

/* A long report is ended by a reset like anything else. */
static void test_reset_in_report(void)
{
    static const Setup setup = {
        .size = "160000M", .image = ",zone.max_open_zones=0",
        .objects = "-object iothread,id=iothread",
        .adapter = ",iothread=iothread",
    };
    Disk *d = new_disk(&setup);
    const unsigned n = 40000;

    for (unsigned i = 0; i < 8; i++) {
        Command c = report_command(0, 0, 64 + 64 * n, NULL);

        start_command(d, &c);
        g_usleep(i * 300);
        g_assert_cmpint(task_management(
                            d, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET), ==,
                        VIRTIO_SCSI_S_OK);
        finish_command(d, &c);
        g_assert_true(is_outcome_of_reset(c.sense));
        assert_was_reset(d, c.sense == WAS_RESET);
    }
    delete_disk(d);
}

/* Power off and on: open zones are closed, or empty if they have no data. */
static void test_restart(void)
{
    Disk *d = disk_with_history();

    power_off(d);
    power_on(d, "");
    start_driver(d);
    assert_history(d, "2:closed@8K 4:closed@512 5:full");
    assert_ok(write_at(d, 4 * ZONE + SECTOR, 4 * KiB, NEW));
    assert_ok(write_at(d, 2 * ZONE + 8 * KiB, 4 * KiB, NEW));
    assert_zones(d, "2:iopen@12K 4:iopen@4608 5:full");
}

static void test_crash_without_write_cache(void)
{
    static const Setup setup = { .device = ",write-cache=off" };
    Disk *d = new_disk(&setup), *copy;

    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    copy = disk_after_crash(d);
    assert_zones(copy, "3:closed@8K");
    assert_data(copy, 3 * ZONE, 8 * KiB, OLD);
    delete_disk(copy);
    delete_disk(d);
}

/* --- Size and conditions --- */

static void resize(Disk *d, uint64_t size)
{
    qtest_qmp_assert_success(d->qts, "{'execute': 'block_resize', 'arguments':"
                             " {'node-name': 'zoned0', 'size': %" PRIu64 "}}",
                             size);
}

static void test_resize(void)
{
    Disk *d = new_disk(&standard);

    assert_ok(write_at(d, SEQ, 4 * KiB, OLD));
    assert_sense(zone_open(d, NR_ZONES), OUT_OF_RANGE);
    resize(d, DISK + 2 * ZONE + 1 * MiB);
    assert_sense(test_unit_ready(d), CAPACITY_CHANGED);
    assert_ok(test_unit_ready(d));
    g_assert_cmpint(get_size(d), ==, DISK + 2 * ZONE + 1 * MiB);
    assert_zones(d, "2:iopen@4K");
    assert_ok(write_at(d, DISK, ZONE, NEW));
    assert_sense(write_at(d, DISK + 2 * ZONE - 4 * KiB, 8 * KiB, NEW),
                 WRITE_BORDER);
    assert_ok(read_at(d, DISK + ZONE - 4 * KiB, 8 * KiB, NULL));
    assert_ok(write_at(d, DISK + 2 * ZONE, 1 * MiB, NEW));
    assert_sense(write_at(d, DISK + 2 * ZONE + 1 * MiB, 4 * KiB, NEW),
                 OUT_OF_RANGE);
    assert_zones(d, "2:iopen@4K 16:full 18:full");
    delete_disk(d);
}

/* The guest need not ask for the capacity before it uses it. */
static void test_resize_without_asking(void)
{
    Disk *d = new_disk(&standard);

    resize(d, DISK + ZONE);
    assert_sense(test_unit_ready(d), CAPACITY_CHANGED);
    assert_ok(write_at(d, DISK, 4 * KiB, NEW));
    assert_ok(zone_close(d, NR_ZONES));
    assert_zones(d, "16:closed@4K");
    delete_disk(d);
}

static void set_condition(Disk *d, unsigned zone, const char *condition)
{
    qtest_qmp_assert_success(d->qts, "{'execute': 'block-zone-set-condition',"
                             " 'arguments': {'node-name': 'zoned0',"
                             "  'offset': %" PRIu64 ", 'condition': %s}}",
                             (uint64_t)(zone * ZONE), condition);
}

/* The guest finds out by a report, or by what it does with the zone. */
static void test_condition(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
    set_condition(d, 3, "read-only");
    assert_zones(d, "3:rdonly");
    assert_data(d, 3 * ZONE, 4 * KiB, OLD);
    assert_sense(write_at(d, 3 * ZONE + 4 * KiB, 4 * KiB, NEW), READ_ONLY);
    set_condition(d, 3, "offline");
    assert_zones(d, "3:offline");
    assert_sense(read_at(d, 3 * ZONE, 4 * KiB, NULL), OFFLINE_ZONE);
    set_condition(d, 3, "good");
    assert_zones(d, "3:closed@4K");
    assert_data(d, 3 * ZONE, 4 * KiB, OLD);
    assert_vm_runs(d);
}

/* The host has another limit, which it tells when the node is opened anew. */
static void reopen_with_limit(Disk *d, unsigned max_open)
{
    g_autofree char *name = g_strdup_printf("%s.max_open_zones", d->image[0]);
    g_autofree char *value = g_strdup_printf("%u", max_open);

    g_assert_true(g_file_set_contents(name, value, -1, NULL));
    qtest_qmp_assert_success(d->qts, "{'execute': 'blockdev-reopen',"
                             " 'arguments': {'options': [{"
                             "  'driver': 'host_device', 'filename': %s,"
                             "  'node-name': 'zoned0',"
                             "  'cache': {'direct': true}}]}}", d->image[0]);
    unlink(name);
}

/*
 * The guest relies on what it was told, so nothing is changed, and no zone is
 * shown, that belongs to other limits.  What is there can be read.
 */
static void test_other_limits(void)
{
    Disk *d = new_disk(&standard);
    uint64_t lba = SEQ / SECTOR;
    const Command commands[] = {
        raw16(0x94, OPEN_ZONE, lba, 0, 0), raw16(0x94, CLOSE_ZONE, lba, 0, 0),
        raw16(0x94, FINISH_ZONE, lba, 0, 0), raw16(0x94, RESET_ZONE, lba, 0, 0),
        raw16(0x94, RESET_ZONE, 0, 0, 1), raw16(0x94, FINISH_ZONE, 0, 0, 1),
        write_command(d, SEQ + 4 * KiB, 4 * KiB, NEW),
        write_command(d, 0, 4 * KiB, NEW),
        cdb16(d, WRITE_SAME_16, 1, SEQ + 4 * KiB, 4 * KiB),
        report_command(0, 0, 4096, NULL), { .cdb = { FORMAT_UNIT } },
    };

    assert_ok(write_at(d, 0, 4 * KiB, OLD));
    assert_ok(write_at(d, SEQ, 4 * KiB, OLD));
    reopen_with_limit(d, MAX_OPEN - 1);
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        Command c = commands[i];

        assert_sense(submit(d, &c), TARGET_FAILED);
        g_assert_cmpint(c.touched, ==, 0);
    }
    assert_ok(test_unit_ready(d));
    assert_ok(flush(d));
    assert_ok(verify_at(d, SEQ, 4 * KiB));
    assert_data(d, 0, 4 * KiB, OLD);
    assert_data(d, SEQ, 4 * KiB, OLD);
    assert_data(d, SEQ + 4 * KiB, 4 * KiB, 0);
    assert_vm_runs(d);
    reopen_with_limit(d, MAX_OPEN);
    assert_zones(d, "2:iopen@4K");
    assert_ok(write_at(d, SEQ + 4 * KiB, 4 * KiB, NEW));
    assert_zones(d, "2:iopen@8K");
    delete_disk(d);
}

static void set_attributes(Disk *d, unsigned zone, const char *attributes)
{
    qtest_qmp_assert_success(d->qts, "{'execute': 'block-zone-set-attributes',"
                             " 'arguments': {'node-name': 'zoned0',"
                             "  'offset': %" PRIu64 ", 'attributes': %p}}",
                             (uint64_t)(zone * ZONE),
                             qobject_from_json(attributes, &error_abort));
}

/* Byte 1 of the descriptors of zones, and how many there are with an option */
static unsigned report_bytes(Disk *d, uint8_t option, uint8_t *bytes)
{
    uint8_t list[64 + 64 * NR_ZONES];
    Command c = report_command(0, option, sizeof(list), list);
    unsigned n;

    assert_ok(submit(d, &c));
    n = reported(list);
    for (unsigned i = 0; i < n; i++) {
        bytes[i] = list[64 + 64 * i + 1];
    }
    return n;
}

/* RESET of a descriptor, and a report of these zones (ZBC-2, 5.2) */
static void test_reset_recommended(void)
{
    Disk *d = get_disk(&standard);
    uint8_t bytes[NR_ZONES];

    assert_ok(zone_finish(d, 4));
    assert_ok(zone_finish(d, 6));
    assert_ok(zone_open(d, 5));
    set_attributes(d, 4, "['reset-recommended']");
    set_attributes(d, 6, "['finished-by-controller']");
    set_attributes(d, 5, "['finish-recommended']");
    g_assert_cmpint(report_bytes(d, 0, bytes), ==, NR_ZONES);
    for (unsigned i = NR_CONV; i < NR_ZONES; i++) {
        g_assert_cmphex(bytes[i], ==, i == 4 ? 0xe1 : i == 5 ? 0x30 :
                                      i == 6 ? 0xe0 : 0x10);
    }
    g_assert_cmpint(report_bytes(d, 0x10, bytes), ==, 1);
    g_assert_cmphex(bytes[0], ==, 0xe1);
    g_assert_cmpint(report_bytes(d, 0x11, bytes), ==, 0);
    assert_ok(test_unit_ready(d));

    set_attributes(d, 4, "[]");
    g_assert_cmpint(report_bytes(d, 0x10, bytes), ==, 0);
    set_attributes(d, 4, "['reset-recommended']");
    assert_ok(on_all(d, RESET_ZONE));
    g_assert_cmpint(report_bytes(d, 0x10, bytes), ==, 0);
    assert_zones(d, "");
}

/* --- Several disks, queues and threads --- */

static void test_luns(void)
{
    static const Setup setup = { .luns = 3 };
    Disk *d = new_disk(&setup);

    for (unsigned i = 0; i < 3; i++) {
        d->lun = i;
        assert_ok(write_at(d, (3 + i) * ZONE, 4 * KiB, 1 + i));
    }
    for (unsigned i = 0; i < 3; i++) {
        g_autofree char *zones = g_strdup_printf("%u:iopen@4K", 3 + i);

        d->lun = i;
        assert_zones(d, zones);
        assert_data(d, (3 + i) * ZONE, 4 * KiB, 1 + i);
        assert_data(d, 3 * ZONE + (i ? 0 : 4 * KiB), 4 * KiB, 0);
    }
    /* A reset of one is none of the others */
    d->lun = 1;
    g_assert_cmpint(task_management(d, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET),
                    ==, VIRTIO_SCSI_S_OK);
    d->lun = 0;
    assert_ok(test_unit_ready(d));
    assert_ok(on_all(d, RESET_ZONE));
    d->lun = 1;
    assert_sense(test_unit_ready(d), WAS_RESET);
    assert_zones(d, "4:iopen@4K");
    delete_disk(d);
}

/* Each queue writes zones of its own. */
static void test_queues(const void *opaque)
{
    Disk *d = new_disk(opaque);
    Command c[2][16];

    for (unsigned q = 0; q < 2; q++) {
        d->queue = q;
        for (unsigned i = 0; i < 16; i++) {
            c[q][i] = write_command(d, (3 + q) * ZONE + i * 4 * KiB, 4 * KiB,
                                    1 + q);
        }
        start_commands(d, c[q], 16);
    }
    for (unsigned q = 0; q < 2; q++) {
        finish_commands(d, c[q], 16);
        for (unsigned i = 0; i < 16; i++) {
            assert_ok(c[q][i].sense);
        }
    }
    d->queue = 0;
    assert_zones(d, "3:iopen@64K 4:iopen@64K");
    assert_data(d, 3 * ZONE, 64 * KiB, 1);
    assert_data(d, 4 * ZONE, 64 * KiB, 2);
    delete_disk(d);
}

/* Of two writes at the write pointer, one is done. */
static void test_race(const void *opaque)
{
    Disk *d = new_disk(opaque);

    for (unsigned i = 0; i < 16; i++) {
        uint64_t wp = 3 * ZONE + i * 4 * KiB;
        Command c[2];

        for (unsigned q = 0; q < 2; q++) {
            d->queue = q;
            c[q] = write_command(d, wp, 4 * KiB, 1 + q);
            start_command(d, &c[q]);
        }
        finish_command(d, &c[0]);
        finish_command(d, &c[1]);
        d->queue = 0;
        if (c[0].sense == OK) {
            assert_sense(c[1].sense, UNALIGNED);
            assert_data(d, wp, 4 * KiB, 1);
        } else {
            assert_sense(c[0].sense, UNALIGNED);
            assert_ok(c[1].sense);
            assert_data(d, wp, 4 * KiB, 2);
        }
    }
    assert_zones(d, "3:iopen@64K");
    delete_disk(d);
}

/* --- Drained sections --- */

static void trace(Disk *d, const char *event)
{
    qtest_qmp_assert_success(d->qts, "{'execute': 'trace-event-set-state',"
                             " 'arguments': {'name': %s, 'enable': true}}",
                             event);
}

static unsigned count(const char *text, const char *word)
{
    unsigned n = 0;

    while ((text = strstr(text, word))) {
        text++;
        n++;
    }
    return n;
}

/* The number of the drained section that the main loop is in, 0: in none */
static unsigned section(const char *log)
{
    g_autofree char *text = NULL;
    unsigned begun;

    if (!g_file_get_contents(log, &text, NULL, NULL)) {
        return 0;
    }
    begun = count(text, "scsi_bus_drained_begin");
    return begun > count(text, "scsi_bus_drained_end") ? begun : 0;
}

/* Wait for one that does not end before the main loop does something else. */
static void wait_for_long_section(Disk *d, const char *log)
{
    unsigned before;

    do {
        before = section(log);
        qtest_readw(d->qts, d->vq[0]->used);
    } while (!before || section(log) != before);
}

/* The handler of an iothread's queue is held, as it cannot open its log, a FIFO. */
typedef struct Held {
    Setup setup;
    char *dir, *options, *log, *main_log;
    int fd;
} Held;

static Disk *disk_with_held_handler(Held *h)
{
    Disk *d;

    h->dir = g_dir_make_tmp("scsi-zbc-XXXXXX", NULL);
    h->options = g_strdup_printf("-object iothread,id=iothread,poll-max-ns=0 "
                                 "-d tid,trace:scsi_zbc_done -D %s/%%d",
                                 h->dir);
    h->setup = (Setup) { .objects = h->options, .adapter = ",iothread=iothread" };
    d = new_disk(&h->setup);
    h->main_log = g_strdup_printf("%s/%d", h->dir, (int)qtest_pid(d->qts));
    h->log = g_strdup_printf("%s/%" PRId64, h->dir, machine_iothread(d->qts));
    g_assert_cmpint(mkfifo(h->log, 0600), ==, 0);
    return d;
}

/* A handler wants no kicks. */
static void wait_held(Disk *d)
{
    while (!(qtest_readw(d->qts, d->vq[0]->used) & VRING_USED_F_NO_NOTIFY)) {
        g_usleep(50);
    }
}

/* Let it go on; the command that QMP was sent then succeeds. */
static void let_go(Disk *d, Held *h)
{
    QDict *answer;

    h->fd = open(h->log, O_RDONLY | O_NONBLOCK);
    g_assert_cmpint(h->fd, >=, 0);
    answer = qtest_qmp_receive(d->qts);
    g_assert_true(qdict_haskey(answer, "return"));
    qobject_unref(answer);
}

static void delete_held(Disk *d, Held *h)
{
    delete_disk(d);
    close(h->fd);
    unlink(h->log);
    unlink(h->main_log);
    rmdir(h->dir);
    g_free(h->dir);
    g_free(h->options);
    g_free(h->log);
    g_free(h->main_log);
}

/*
 * The disk is looked at before a drained section or behind it, and not when the
 * handler of a queue in an iothread goes on in it.  The handler is held until the
 * section has begun; and the disk can be made larger, by that thread, only when
 * the handler has ended.
 */
static void handler_in_drained_section(void)
{
    Held h = {};
    Disk *d = disk_with_held_handler(&h);
    Command c[] = {
        write_command(d, DISK, 4 * KiB, NEW),
        raw16(0x94, OPEN_ZONE, (DISK + ZONE) / SECTOR, 0, 0),
        report_command(DISK / SECTOR, 0, 4096, NULL),
    };

    trace(d, "virtqueue_pop");
    trace(d, "scsi_bus_drained_*");
    start_commands(d, c, ARRAY_SIZE(c));
    wait_held(d);
    qtest_qmp_send(d->qts, "{'execute': 'block_resize', 'arguments':"
                   " {'node-name': 'zoned0', 'size': %" PRIu64 "}}",
                   (uint64_t)(DISK + 2 * ZONE));
    wait_for_long_section(d, h.main_log);
    let_go(d, &h);
    finish_commands(d, c, ARRAY_SIZE(c));
    for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
        assert_ok(c[i].sense);
    }
    assert_sense(test_unit_ready(d), CAPACITY_CHANGED);
    assert_zones(d, "16:iopen@4K 17:eopen@0K");
    assert_data(d, DISK, 4 * KiB, NEW);
    delete_held(d, &h);
}

static void test_handler_in_drained_section(void)
{
    if (machine_logs()) {
        handler_in_drained_section();
    }
}

/* --- Unplug --- */

static void test_unplug(void)
{
    Disk *d = new_disk(&standard);
    Command w[8];

    for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
        w[i] = write_command(d, SEQ + i * 64 * KiB, 64 * KiB, NEW);
    }
    start_commands(d, w, ARRAY_SIZE(w));
    qtest_qmp_device_del(d->qts, "disk0");
    finish_commands(d, w, ARRAY_SIZE(w));
    qtest_qmp_assert_success(d->qts, "{'execute': 'device_add', 'arguments':"
                             " {'driver': 'scsi-hd', 'id': 'disk0',"
                             "  'bus': 'scsi.0', 'scsi-id': 0, 'lun': 0,"
                             "  'drive': 'zoned0'}}");
    while (test_unit_ready(d) != OK) {
        /* Reset, and another list of disks */
    }
    /* The zones are the node's: nothing of them was with the device */
    assert_ok(zone_reset(d, 2));
    assert_ok(write_at(d, SEQ, 4 * KiB, OLD));
    assert_zones(d, "2:iopen@4K");
    delete_disk(d);
}

/* The handler of an iothread has a command for the disk, and is held. */
static void unplug_during_handler(void)
{
    Held h = {};
    Disk *d = disk_with_held_handler(&h);
    Command w = write_command(d, SEQ, 4 * KiB, NEW);
    uint32_t sense;

    trace(d, "scsi_req_parsed");
    start_command(d, &w);
    wait_held(d);
    g_usleep(100 * 1000);
    qtest_qmp_send(d->qts, "{'execute': 'device_del',"
                   " 'arguments': {'id': 'disk0'}}");
    g_usleep(200 * 1000);
    let_go(d, &h);
    qtest_qmp_eventwait(d->qts, "DEVICE_DELETED");
    /* It may be done before it is cancelled */
    sense = finish_command(d, &w);
    g_assert_true(sense == ENDED_BY_ABORT || sense == OK);
    assert_vm_runs(d);
    delete_held(d, &h);
}

static void test_unplug_during_handler(void)
{
    if (machine_logs()) {
        unplug_during_handler();
    }
}

/* --- A machine that is stopped --- */

/* ...in a drained section, which ends while it is stopped */
static void test_stop_in_drained_section(void)
{
    static const Setup setup = {
        .objects = "-object iothread,id=iothread",
        .adapter = ",iothread=iothread",
    };
    Disk *d = new_disk(&setup);
    char *image = create_image(&setup);
    Command w = write_command(d, SEQ, 4 * KiB, NEW);

    machine_begin_section(d->qts, "zoned0", image);
    start_command(d, &w);
    qtest_qmp_assert_success(d->qts, "{'execute': 'stop'}");
    machine_end_section(d->qts);
    g_usleep(100 * 1000);
    g_assert_false(is_done(d, &w));
    qtest_qmp_assert_success(d->qts, "{'execute': 'cont'}");
    assert_ok(finish_command(d, &w));
    assert_data(d, SEQ, 4 * KiB, NEW);
    delete_disk(d);
    zoned_image_delete(image);
}

/* --- Migration --- */

static char *migration_uri(Disk *d)
{
    return g_strdup_printf("file:%s.migration", d->image[0]);
}

static void save_machine(Disk *d)
{
    g_autofree char *uri = migration_uri(d), *status = NULL;

    qtest_qmp_assert_success(d->qts, "{'execute': 'migrate',"
                             " 'arguments': {'uri': %s}}", uri);
    status = machine_end_of_migration(d->qts);
    g_assert_cmpstr(status, ==, "completed");
}

/* Load the machine that @d has saved into that of @to, which waits for it. */
static char *load_machine(Disk *d, Disk *to)
{
    g_autofree char *uri = migration_uri(d);
    char *status;

    qtest_qmp_assert_success(to->qts, "{'execute': 'migrate-incoming',"
                             " 'arguments': {'uri': %s,"
                             "               'exit-on-error': false}}", uri);
    status = machine_end_of_migration(to->qts);
    guest_migrated(to->ram, d->ram);
    unlink(uri + strlen("file:"));
    return status;
}

static char *migrate_disk(Disk *d, Disk *to)
{
    save_machine(d);
    power_on(to, "-incoming defer");
    return load_machine(d, to);
}

static void test_migration_to_others(const void *setup)
{
    Disk *d = new_disk(&standard);
    Disk to = { .setup = setup };
    g_autofree char *status = NULL;

    to.image[0] = create_image(setup);
    status = migrate_disk(d, &to);
    g_assert_cmpstr(status, ==, "failed");
    quit(&to);
    zoned_image_delete(to.image[0]);
    delete_disk(d);
}

static void test_migration_from_plain(void)
{
    /* Nothing else that the other side cannot take */
    static const Setup setup = { .plain = true };
    Disk *d = new_disk(&setup), to = { .setup = &standard };
    g_autofree char *status = NULL;

    to.image[0] = create_image(&standard);
    status = migrate_disk(d, &to);
    g_assert_cmpstr(status, ==, "failed");
    quit(&to);
    zoned_image_delete(to.image[0]);
    delete_disk(d);
}

static void test_migration(void)
{
    Disk *d = new_disk(&standard), to = { .setup = &standard };
    g_autofree char *status = NULL;

    assert_ok(write_at(d, SEQ, 8 * KiB, OLD));
    to.image[0] = d->image[0];
    status = migrate_disk(d, &to);
    g_assert_cmpstr(status, ==, "completed");
    quit(&to);
    delete_disk(d);
}

/*
 * The other side may be there, and have opened the image, before this side
 * changes its size.
 */
static void test_migration_of_resized(void)
{
    Disk *d = new_disk(&standard), to = { .setup = &standard };
    g_autofree char *status = NULL, *overlay = NULL;

    to.image[0] = d->image[0];
    power_on(&to, "-incoming defer");
    assert_ok(write_at(d, SEQ, 8 * KiB, OLD));
    resize(d, DISK + 2 * ZONE);
    assert_sense(test_unit_ready(d), CAPACITY_CHANGED);
    assert_ok(write_at(d, DISK + ZONE, 4 * KiB, NEW));
    save_machine(d);
    status = load_machine(d, &to);
    g_assert_cmpstr(status, ==, "completed");
    start_driver(&to);
    assert_zones(&to, "2:iopen@8K 17:iopen@4K");
    assert_ok(write_at(&to, DISK, 4 * KiB, NEW));
    assert_ok(write_at(&to, DISK + ZONE + 4 * KiB, 4 * KiB, NEW));
    assert_data(&to, DISK + ZONE, 8 * KiB, NEW);
    assert_ok(zone_finish(&to, 17));
    assert_zones(&to, "2:iopen@8K 16:iopen@4K 17:full");
    /* The overlay, with as many zones, can take its place */
    overlay = g_strdup_printf("%s.overlay", to.image[0]);
    qtest_qmp_assert_success(to.qts, "{'execute': 'blockdev-snapshot-sync',"
                             " 'arguments': {'node-name': 'zoned0',"
                             "  'snapshot-node-name': 'overlay',"
                             "  'snapshot-file': %s}}", overlay);
    assert_ok(write_at(&to, DISK + 4 * KiB, 4 * KiB, NEW));
    assert_data(&to, DISK, 8 * KiB, NEW);
    power_off(&to);
    unlink(overlay);
    delete_disk(d);
}

/*
 * ...or somebody gives it other limits before the machine goes on with it.  The
 * guest relies on those of before, so it does not go on until they are back.
 */
static void test_migration_of_amended(void)
{
    Disk *d = new_disk(&standard), to = { .setup = &standard };
    g_autofree char *status = NULL;
    QDict *error;

    assert_ok(write_at(d, SEQ, 8 * KiB, OLD));
    save_machine(d);
    to.image[0] = d->image[0];
    power_on(&to, "-incoming defer");
    zoned_image_amend(to.image[0], "zone.max_open_zones=1");
    status = load_machine(d, &to);
    g_assert_cmpstr(status, ==, "completed");
    machine_wait_for_status(to.qts, "inmigrate");
    quit(&to);

    error = qtest_qmp_assert_failure_ref(d->qts, "{'execute': 'cont'}");
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), "limits"));
    qobject_unref(error);
    machine_wait_for_status(d->qts, "postmigrate");
    delete_disk(d);
}

/* What has stopped the machine is done where it goes on. */
static void migrate_stopped(Disk *d, Disk *to, Command *c, unsigned n)
{
    g_autofree char *status = NULL;
    Disk view;

    start_commands(d, c, n);
    wait_for_stop(d);
    to->image[0] = d->image[0];
    status = migrate_disk(d, to);
    g_assert_cmpstr(status, ==, "completed");
    qtest_qmp_assert_success(to->qts, "{'execute': 'cont'}");
    /* The driver and its memory are those of before */
    view = *d;
    view.qts = to->qts;
    view.ram = to->ram;
    finish_commands(&view, c, n);
    for (unsigned i = 0; i < n; i++) {
        assert_ok(c[i].sense);
    }
}

#define FULL_ONCE ",inject-error.0.event=write_aio,inject-error.0.errno=28" \
                  ",inject-error.0.once=on"

/* ...in its order... */
static void test_migration_of_stopped(const void *opaque)
{
    static const Setup setup = { .debug = FULL_ONCE };
    Disk *d = new_disk(&setup), to = { .setup = &standard };
    unsigned n = opaque ? 1 : 6;
    Command c[6];

    for (unsigned i = 0; i < n; i++) {
        c[i] = write_command(d, SEQ + i * 8 * KiB, 8 * KiB, 1 + i);
        c[i].segment = 1000;
    }
    if (opaque) {
        c[0] = cdb16(d, WRITE_SAME_16, 0, SEQ, 8 * KiB);
        c[0].out_len = SECTOR;
        c[0].fill = 1;
    }
    migrate_stopped(d, &to, c, n);
    quit(&to);
    /* Nobody else has it now */
    power_on(&to, "");
    start_driver(&to);
    for (unsigned i = 0; i < n; i++) {
        assert_data(&to, SEQ + i * 8 * KiB, 8 * KiB, 1 + i);
    }
    assert_zones(&to, n == 1 ? "2:closed@8K" : "2:closed@48K");
    power_off(&to);
    delete_disk(d);
}

/* ...and by the thread that its queue belongs to. */
static void migration_of_stopped_of_thread(void)
{
    static const Setup setup = {
        .debug = FULL_ONCE,
        .objects = "-object iothread,id=iothread",
        .adapter = ",iothread=iothread",
    };
    g_autofree char *dir = g_dir_make_tmp("scsi-zbc-XXXXXX", NULL);
    g_autofree char *options = g_strdup_printf(
        "-object iothread,id=iothread -d tid,trace:scsi_req_continue -D %s/%%d",
        dir);
    Setup log_setup = { .objects = options, .adapter = ",iothread=iothread" };
    Disk *d = new_disk(&setup), to = { .setup = &log_setup };
    Command w = write_command(d, SEQ, 8 * KiB, NEW);
    g_autofree char *main_log = NULL, *log = NULL, *text = NULL;

    migrate_stopped(d, &to, &w, 1);
    main_log = g_strdup_printf("%s/%d", dir, (int)qtest_pid(to.qts));
    log = g_strdup_printf("%s/%" PRId64, dir, machine_iothread(to.qts));
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    g_assert_cmpint(count(text, "scsi_req_continue"), >, 0);
    quit(&to);
    delete_disk(d);
    unlink(log);
    unlink(main_log);
    rmdir(dir);
}

static void test_migration_of_stopped_of_thread(void)
{
    if (machine_logs()) {
        migration_of_stopped_of_thread();
    }
}

/* --- Anything at all --- */

/* No command, however it looks, does QEMU or the disk harm. */
static void test_random_commands(void)
{
    static const uint8_t opcodes[] = {
        0x94, 0x95, 0x9e, 0xa3, 0x93, 0x8a, 0x88, 0x2a, 0x28, 0x0a, 0x08, 0x41,
        0x42, 0x04, 0x8f, 0x2f, 0xaf, 0x8e, 0x91, 0x35, 0x12, 0x1a, 0x5a, 0x55,
        0x15, 0x1b, 0x48, 0x89, 0x9c,
    };
    Disk *d = get_disk(&standard);
    GRand *rand = g_rand_new_with_seed(1);

    for (unsigned i = 0; i < 20000; i++) {
        Command c = {};

        for (int k = 0; k < 16; k++) {
            c.cdb[k] = g_rand_boolean(rand) ? 0 : g_rand_int(rand);
        }
        c.cdb[0] = opcodes[g_rand_int_range(rand, 0, ARRAY_SIZE(opcodes))];
        if (g_rand_boolean(rand)) {
            /* An address within the disk */
            memset(c.cdb + 2, 0, 6);
            c.cdb[7] = g_rand_int_range(rand, 0, 2);
        }
        if (g_rand_boolean(rand)) {
            c.in_len = g_rand_int_range(rand, 0, 70000);
        } else {
            c.out_len = g_rand_int_range(rand, 0, 70000);
            c.fill = NEW;
        }
        submit(d, &c);
        g_assert_cmphex(c.sense, !=, UNFINISHED);
        g_assert_cmpint(c.touched, <=, c.in_len);
    }
    g_rand_free(rand);
    while (test_unit_ready(d) != OK) {
        /* Whatever there is */
    }
    assert_ok(on_all(d, RESET_ZONE));
    assert_zones(d, "");
    assert_vm_runs(d);
    delete_shared_disk();
}

void add_life_tests(void)
{
    static const uint32_t lun_reset = VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET;
    static const uint32_t clear = VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET;
    static const Setup other_limits = { .image = ",zone.max_open_zones=2" };
    static const Setup other_zones = { .image = ",zone.size=2M" };
    static const Setup other_transfer = { .device = ",max_io_size=65536" };
    static const Setup no_zones = { .plain = true };

    add("life/system-reset", test_system_reset);
    add("life/driver-restart", test_driver_restart);
    add_with("life/lun-reset", &lun_reset, test_lun_reset);
    add("life/commands-after-reset", test_commands_after_reset);
    add_with("life/clear-task-set", &clear, test_lun_reset);
    add("life/lun-reset-of-writes", test_lun_reset_of_write);
    add("life/lun-reset-of-a-report", test_reset_in_report);
    add("life/restart", test_restart);
    add("life/crash-without-write-cache", test_crash_without_write_cache);
    add("life/resize", test_resize);
    add("life/resize-without-asking", test_resize_without_asking);
    add("life/condition", test_condition);
    add("life/reset-is-recommended", test_reset_recommended);
    add("life/luns", test_luns);
    add_with("life/queues", &queues, test_queues);
    add_with("life/queues-of-a-thread", &threads, test_queues);
    add_with("life/two-writes-at-once", &queues, test_race);
    add_with("life/two-writes-at-once-of-a-thread", &threads, test_race);
    add("life/handler-in-a-drained-section", test_handler_in_drained_section);
    add_of(1 << OF_THE_HOST, "other-limits", test_other_limits);
    add("life/unplug", test_unplug);
    add("life/unplug-waits-for-handler", test_unplug_during_handler);
    add("life/stopped-in-a-drained-section-it-writes-nothing",
        test_stop_in_drained_section);
    add("life/migration", test_migration);
    add("life/migration-of-a-resized-disk", test_migration_of_resized);
    add("life/migration-of-an-amended-disk", test_migration_of_amended);
    add("life/no-migration-from-a-plain-disk", test_migration_from_plain);
    add_with("life/no-migration-to-other-limits", &other_limits,
             test_migration_to_others);
    add_with("life/no-migration-to-other-zones", &other_zones,
             test_migration_to_others);
    add_with("life/no-migration-to-other-blocks", &native_4k,
             test_migration_to_others);
    add_with("life/no-migration-to-other-transfers", &other_transfer,
             test_migration_to_others);
    add_with("life/no-migration-to-a-plain-disk", &no_zones,
             test_migration_to_others);
    add_with("life/migration-of-stopped-writes", NULL,
             test_migration_of_stopped);
    add_with("life/migration-of-a-stopped-write-same", "same",
             test_migration_of_stopped);
    add("life/migration-of-a-stopped-write-of-a-thread",
        test_migration_of_stopped_of_thread);
    add("life/random-commands", test_random_commands);
}
