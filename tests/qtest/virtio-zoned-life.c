/*
 * Tests of virtio-blk on a zoned disk: resets, restarts, crashes, migration
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "hw/pci/pci_regs.h"
#include "zoned-driver.h"

static Disk *disk_with_history(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 0, 8 * KiB, 1));
    assert_ok(write_at(d, 5 * ZONE, 4 * KiB, 5));
    assert_ok(zone_finish(d, 5));
    assert_ok(write_at(d, 6 * ZONE, CAPACITY, 6));
    assert_ok(write_at(d, 7 * ZONE, 4 * KiB, 7));
    assert_ok(zone_reset(d, 7));
    assert_ok(write_at(d, 2 * ZONE, 8 * KiB, 2));
    assert_ok(zone_open(d, 3));
    assert_ok(zone_open(d, 4));
    assert_ok(write_at(d, 4 * ZONE, SECTOR, 4));
    assert_zones(d, "2:iopen@8K 3:eopen@0K 4:eopen@512 5:full 6:full");
    return d;
}

static void assert_history_data(Disk *d)
{
    assert_data(d, 0, 8 * KiB, 1);
    assert_data(d, 2 * ZONE, 8 * KiB, 2);
    assert_data(d, 2 * ZONE + 8 * KiB, 8 * KiB, 0);
    assert_data(d, 4 * ZONE, SECTOR, 4);
    assert_data(d, 5 * ZONE, 4 * KiB, 5);
    assert_data(d, 5 * ZONE + 4 * KiB, 64 * KiB, 0);
    assert_data(d, 6 * ZONE, CAPACITY, 6);
    assert_data(d, 7 * ZONE, 64 * KiB, 0);
}

/* The driver of the guest starts again */
static void test_device_reset(void)
{
    Disk *d = disk_with_history();

    drop_device(d);
    find_device(d);
    start_driver(d);
    assert_zones(d, "2:iopen@8K 3:eopen@0K 4:eopen@512 5:full 6:full");
    assert_history_data(d);
}

/*
 * A reset waits for a request that has several steps: afterwards nothing is
 * written to the guest's memory, and the queue is as good as new.
 */
static void test_device_reset_between_steps(void)
{
    static const Setup setup = {
        .host_aware = true, .slow = "200000", .device = ",ioeventfd=off",
    };
    Disk *d = new_disk(&setup);
    Request r = {
        .type = VIRTIO_BLK_T_IN, .in_len = 8 * KiB,
        .sector = (3 * ZONE - 4 * KiB) / SECTOR,
    };
    g_autofree uint8_t *data = g_malloc(r.in_len + 1);

    start_all(d, &r, 1);
    drop_device(d);
    find_device(d);
    guest_fill(d->ram, answer_address(&r), UNWRITTEN_BYTE, r.in_len + 1);
    start_driver(d);
    for (unsigned i = 0; i < 3; i++) {
        assert_data(d, 3 * ZONE - 4 * KiB, 8 * KiB, 0);
    }
    qtest_bufread(d->qts, answer_address(&r), data, r.in_len + 1);
    g_assert_cmphex(data[0], ==, UNWRITTEN_BYTE);
    g_assert_true(!memcmp(data, data + 1, r.in_len));
    delete_disk(d);
}

/* The guest reboots: its disk has not been without power */
static void test_system_reset(void)
{
    Disk *d = disk_with_history();

    qtest_system_reset(d->qts);
    drop_device(d);
    find_device(d);
    start_driver(d);
    assert_zones(d, "2:iopen@8K 3:eopen@0K 4:eopen@512 5:full 6:full");
    assert_history_data(d);
}

/* Power off and on: open zones are closed, or empty if they have no data */
static void test_restart(void)
{
    Disk *d = disk_with_history();
    uint64_t position;

    power_off(d);
    power_on(d);
    assert_zones(d, "2:closed@8K 4:closed@512 5:full 6:full");
    assert_history_data(d);
    assert_ok(append(d, 4 * ZONE, 4 * KiB, NEW, &position));
    g_assert_cmpint(position, ==, 4 * ZONE + SECTOR);
    assert_ok(write_at(d, 2 * ZONE + 8 * KiB, 4 * KiB, NEW));
    assert_zones(d, "2:iopen@12K 4:iopen@4608 5:full 6:full");
}

/*
 * Start QEMU on what another QEMU has written so far, as if it had been killed
 * this moment.
 */
static Disk *disk_after_crash(Disk *d)
{
    Disk *copy = g_new0(Disk, 1);

    copy->setup = d->setup;
    copy->exported = d->exported;
    copy->image = zoned_image_copy(d->image);
    power_on(copy);
    return copy;
}

/* A flush makes writes and appends durable */
static void test_crash_after_flush(void)
{
    Disk *d = get_disk(&standard), *copy;
    uint64_t position;

    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    assert_ok(append(d, 4 * ZONE, 4 * KiB, NEW, &position));
    assert_ok(manage(d, VIRTIO_BLK_T_FLUSH, 0));
    copy = disk_after_crash(d);
    assert_zones(copy, "3:closed@8K 4:closed@4K");
    assert_data(copy, 3 * ZONE, 8 * KiB, OLD);
    assert_data(copy, 4 * ZONE, 4 * KiB, NEW);
    delete_disk(copy);
}

static void assert_nothing_to_flush(Disk *d)
{
    uint64_t position;
    Disk *copy;

    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    copy = disk_after_crash(d);
    assert_zones(copy, "3:closed@8K");
    assert_data(copy, 3 * ZONE, 8 * KiB, OLD);
    delete_disk(copy);

    assert_ok(append(d, 4 * ZONE, 4 * KiB, NEW, &position));
    copy = disk_after_crash(d);
    assert_zones(copy, "3:closed@8K 4:closed@4K");
    assert_data(copy, 4 * ZONE, 4 * KiB, NEW);
    delete_disk(copy);
}

/*
 * The storage daemon dies with writes that are not flushed, and another takes
 * its place: no append is done twice, and nothing is written where the driver
 * has data, until it has started anew and can see what is left.
 */
static void test_killed_daemon(void)
{
    g_autofree char *nodes = NULL, *client = NULL, *path = NULL;
    Disk *d = new_disk(&standard);
    uint64_t position, sector;
    Request r = request_append(3 * ZONE, 4 * KiB, NEW, &sector);
    uint8_t status;

    assert_ok(append(d, 3 * ZONE, 8 * KiB, OLD, &position));
    assert_ok(manage(d, VIRTIO_BLK_T_FLUSH, 0));
    assert_ok(append(d, 4 * ZONE, 8 * KiB, OLD, &position));

    kill(d->daemon, SIGSTOP);
    start_all(d, &r, 1);
    qtest_remove_abrt_handler(d);
    kill(d->daemon, SIGKILL);
    g_assert_cmpint(waitpid(d->daemon, NULL, 0), ==, d->daemon);
    close(d->daemon_qmp);
    path = g_strdup_printf("%s.socket", d->image);
    unlink(path);
    nodes = block_nodes(d);
    client = start_daemon(d, nodes);

    for (unsigned i = 0; i < 6000 && !(d->dev->bus->get_status(d->dev) &
                                      VIRTIO_CONFIG_S_NEEDS_RESET); i++) {
        g_usleep(10000);
    }
    g_assert_true(d->dev->bus->get_status(d->dev) &
                  VIRTIO_CONFIG_S_NEEDS_RESET);
    d->dev->bus->virtqueue_kick(d->dev, d->vq);
    g_usleep(300000);
    g_assert_cmpint(qtest_readw(d->qts, d->vq->used + 2), ==,
                    d->vq->last_used_idx);
    status = qtest_readb(d->qts, status_address(&r));
    g_assert_cmphex(status, ==, UNWRITTEN_BYTE);

    restart_driver(d, 0);
    assert_zones(d, "3:closed@8K");
    assert_data(d, 3 * ZONE, 8 * KiB, OLD);
    assert_ok(append(d, 3 * ZONE, 4 * KiB, NEW, &position));
    g_assert_cmpint(position, ==, 3 * ZONE + 8 * KiB);
    assert_ok(write_at(d, 4 * ZONE, 4 * KiB, NEW));
    assert_data(d, 4 * ZONE, 4 * KiB, NEW);
    delete_disk(d);
}

/* Without a write cache, what is done is durable */
static void test_crash_without_write_cache(void)
{
    static const Setup setup = {
        .device = ",write-cache=off",
        .export = ",writethrough=on",
    };
    Disk *d = new_disk(&setup);

    assert_nothing_to_flush(d);
    delete_disk(d);
}

/* Such a driver takes all that is done for durable */
static void test_crash_without_flush(void)
{
    Disk *d = new_disk(&standard);

    restart_driver(d, 1ull << VIRTIO_BLK_F_FLUSH |
                      1ull << VIRTIO_BLK_F_CONFIG_WCE);
    assert_nothing_to_flush(d);
    delete_disk(d);
}

static void test_crash_after_reset(void)
{
    Disk *d = get_disk(&standard), *copy;

    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    assert_ok(manage(d, VIRTIO_BLK_T_FLUSH, 0));
    assert_ok(zone_reset(d, 3));
    assert_ok(zone_finish(d, 4));
    copy = disk_after_crash(d);
    assert_zones(copy, "4:full");
    assert_data(copy, 3 * ZONE, 8 * KiB, 0);
    delete_disk(copy);
}

/* Migrate to a QEMU with an image of its own, or the same one. */
static char *migrate_to(Disk *d, const Setup *setup)
{
    g_autofree char *uri = g_strdup_printf("file:%s.migration", d->image);
    g_autofree char *sent = NULL;
    Disk to = { .setup = setup };
    char *status;

    qtest_qmp_assert_success(d->qts, "{'execute': 'migrate',"
                             " 'arguments': {'uri': %s}}", uri);
    sent = machine_end_of_migration(d->qts);
    g_assert_cmpstr(sent, ==, "completed");
    to.image = setup == d->setup ? d->image : create_image(setup);
    boot(&to, "-incoming defer");
    qtest_qmp_assert_success(to.qts, "{'execute': 'migrate-incoming',"
                             " 'arguments': {'uri': %s,"
                             "               'exit-on-error': false}}", uri);
    status = machine_end_of_migration(to.qts);
    quit(&to);
    if (to.image != d->image) {
        zoned_image_delete(to.image);
    }
    unlink(uri + strlen("file:"));
    return status;
}

/* It needs a disk with the same config space */
static void test_migration(const void *setup)
{
    Disk *d = new_disk(&standard);
    g_autofree char *status = migrate_to(d, setup);

    g_assert_cmpstr(status, ==, setup == &standard ? "completed" : "failed");
    delete_disk(d);
}

/* A disk that had no zones so far */
static void test_migration_from_plain(void)
{
    /* Nothing else that the other side cannot take */
    static const Setup setup = { .plain = true, .device = ",discard=off" };
    Disk *d = new_disk(&setup);
    g_autofree char *status = migrate_to(d, &standard);

    g_assert_cmpstr(status, ==, "failed");
    delete_disk(d);
}

/* What has stopped the VM is done where it goes on */
static void assert_stopped_and_migrated(Disk *d, const Setup *setup,
                                        Request *r, unsigned n)
{
    g_autofree char *uri = g_strdup_printf("file:%s.migration", d->image);
    g_autofree char *sent = NULL, *received = NULL;
    Disk view, to = {};

    start_all(d, r, n);
    wait_for_stop(d);
    qtest_qmp_assert_success(d->qts, "{'execute': 'migrate',"
                             " 'arguments': {'uri': %s}}", uri);
    sent = machine_end_of_migration(d->qts);
    g_assert_cmpstr(sent, ==, "completed");

    to.setup = setup;
    to.image = d->image;
    boot(&to, "-incoming defer");
    qtest_qmp_assert_success(to.qts, "{'execute': 'migrate-incoming',"
                             " 'arguments': {'uri': %s}}", uri);
    received = machine_end_of_migration(to.qts);
    g_assert_cmpstr(received, ==, "completed");
    qtest_qmp_assert_success(to.qts, "{'execute': 'cont'}");

    /* The driver and its memory are those of before */
    view = *d;
    view.qts = to.qts;
    view.ram = to.ram;
    guest_migrated(to.ram, d->ram);
    for (unsigned i = 0; i < n; i++) {
        wait_for_one(&view, r, n);
    }
    for (unsigned i = 0; i < n; i++) {
        assert_ok(r[i].status);
    }
    quit(&to);
    unlink(uri + strlen("file:"));
}

static void test_migration_of_stopped_appends(void)
{
    Disk *d = new_disk(&full_once);
    uint64_t sectors[MANY];
    Request r[MANY];

    prepare_appends(r, sectors);
    assert_stopped_and_migrated(d, &standard, r, MANY);
    delete_disk(d);
}

/* In their order, as the second cannot be before the first in its zone */
static void test_migration_of_stopped_writes(void)
{
    static const Setup full_twice = {
        .device = ",request-merging=off,werror=enospc",
        .debug = ",inject-error.0.event=write_aio,inject-error.0.errno=28"
                 ",inject-error.0.once=on"
                 ",inject-error.1.event=write_aio,inject-error.1.errno=28"
                 ",inject-error.1.once=on",
    };
    static const Setup not_full = { .device = ",request-merging=off" };
    Disk *d = new_disk(&full_twice);
    Request r[] = {
        request_write(3 * ZONE, 4 * KiB, OLD),
        request_write(3 * ZONE + 4 * KiB, 4 * KiB, NEW),
    };

    assert_stopped_and_migrated(d, &not_full, r, ARRAY_SIZE(r));
    delete_disk(d);
}

static void assert_traced(const char *log, const char *const *events,
                          unsigned n)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    if (!strstr(text, "zone_table_")) {
        g_test_skip("QEMU is built without the log trace backend");
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        if (!strstr(text, events[i])) {
            g_test_message("no trace of %s", events[i]);
            g_test_fail();
        }
    }
}

/* Each operation leaves a trace, those that fail too. */
static void test_trace(void)
{
    static const char *const events[] = {
        "block_zone_set_condition", "qcow2_zoned_map", "qcow2_zoned_mgmt",
        "qcow2_zoned_refused", "qcow2_zoned_store", "qcow2_zoned_write_table",
        "virtio_blk_zoned_refused", "virtio_blk_zoned_request",
        "virtio_blk_zoned_rule_broken",
        "zone_table_state",
    };
    g_autofree char *log = NULL, *options = NULL;
    Setup setup = {};
    uint64_t position;
    Disk *d;
    int fd = g_file_open_tmp("virtio-blk-zoned-XXXXXX.log", &log, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    options = g_strdup_printf("--trace '*zone*' 2>%s", log);
    setup.objects = options;
    d = new_disk(&setup);
    assert_zones(d, "");
    assert_ok(zone_open(d, 3));
    assert_ok(reset_all(d));
    assert_ok(append(d, 3 * ZONE, 4 * KiB, NEW, &position));
    assert_status(write_at(d, 3 * ZONE, 4 * KiB, NEW), "UNALIGNED_WP");
    assert_status(zone_open(d, NR_ZONES), "INVALID_CMD");
    assert_ok(manage(d, VIRTIO_BLK_T_FLUSH, 0));
    storage_qmp(d, "{'execute': 'block-zone-set-condition', 'arguments': {"
                "    'node-name': 'zoned', 'offset': %" PRIu64 ","
                "    'condition': 'offline'}}", (uint64_t)(5 * ZONE));
    delete_disk(d);

    assert_traced(log, events, ARRAY_SIZE(events));
    unlink(log);
}

/* The capacity changes, the driver is told, and there are more zones */
static void test_resize(void)
{
    Disk *d = new_disk(&standard);
    g_autofree Report *r = g_malloc(report_size(8));

    assert_status(zone_open(d, NR_ZONES), "INVALID_CMD");
    storage_qmp(d, "{'execute': 'block_resize', 'arguments': {"
                "    'node-name': 'zoned', 'size': %" PRIu64 "}}",
                (uint64_t)(DISK + 2 * ZONE));
    qvirtio_wait_config_isr(d->dev, TIMEOUT_US);
    g_assert_cmpint(qvirtio_config_readq(d->dev, CONFIG(capacity)), ==,
                    (DISK + 2 * ZONE) / SECTOR);
    assert_ok(get_report(d, (NR_ZONES - 1) * ZONE, r, report_size(8)));
    g_assert_cmpint(le64_to_cpu(r->header.nr_zones), ==, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_zone_geometry(d, NR_ZONES - 1 + i, &r->zones[i]);
        g_assert_cmpint(r->zones[i].z_state, ==, VIRTIO_BLK_ZS_EMPTY);
    }
    assert_ok(zone_open(d, NR_ZONES));
    delete_disk(d);
}

/*
 * A drained section waits for the requests in flight, and a long report takes
 * many steps: none of them may wait for the end of the section.
 */
static void test_drain_during_report(void)
{
    static const Setup setup = {
        .size = "4G", .image = ",zone.size=64K,zone.capacity=64K",
        .objects = "--object iothread,id=iothread",
        .device = ",iothread=iothread", .export = ",iothread=iothread",
    };
    Disk *d = new_disk(&setup);
    unsigned nr_zones = 4 * GiB / (64 * KiB);
    g_autofree Report *report = g_malloc(report_size(nr_zones));

    for (unsigned i = 0; i < 8; i++) {
        Request r = {
            .type = VIRTIO_BLK_T_ZONE_REPORT,
            .in_len = report_size(nr_zones), .in = report,
        };

        start_all(d, &r, 1);
        g_usleep(i * 500);
        storage_qmp(d, "{'execute': 'block_resize', 'arguments': {"
                    "    'node-name': 'zoned', 'size': %" PRIu64 "}}",
                    (uint64_t)(4 * GiB));
        wait_for_one(d, &r, 1);
        assert_ok(r.status);
        g_assert_cmpint(le64_to_cpu(report->header.nr_zones), ==, nr_zones);
        for (unsigned z = 0; z < nr_zones; z++) {
            g_assert_cmpint(le64_to_cpu(report->zones[z].z_start), ==,
                            z * 64ull * KiB / SECTOR);
        }
    }
    delete_disk(d);
}

/* An iothread that stops where it has to log, as it cannot open its log */
typedef struct Pause {
    Setup setup;
    char *dir;
    char *log;              /* a FIFO */
    char *options;
    GThread *reader;
    bool over;              /* atomic */
} Pause;

/* A new disk whose iothread stops at a trace event; NULL: no QEMU that logs */
static Disk *disk_with_pause(Pause *p, const char *event)
{
    Disk *d;

    if (!machine_logs()) {
        return NULL;
    }
    p->dir = g_dir_make_tmp("virtio-blk-zoned-XXXXXX", NULL);
    p->options = g_strdup_printf(
        "-object iothread,id=iothread,poll-max-ns=0 "
        "-d tid -D %s/%%d -trace %s", p->dir, event);
    p->setup.objects = p->options;
    p->setup.device = ",iothread=iothread";
    d = new_disk(&p->setup);
    p->log = g_strdup_printf("%s/%" PRId64, p->dir,
                             machine_iothread(d->qts));
    g_assert_cmpint(mkfifo(p->log, 0600), ==, 0);
    return d;
}

static void *end_pause(void *opaque)
{
    Pause *p = opaque;

    g_usleep(2000 * 1000);
    qatomic_set(&p->over, true);
    return GINT_TO_POINTER(open(p->log, O_RDONLY | O_NONBLOCK));
}

/* Wait for the pause, which ends by itself after a while. */
static void begin_pause(Disk *d, Pause *p)
{
    /* A handler wants no kicks */
    while (!(qtest_readw(d->qts, d->vq->used) & VRING_USED_F_NO_NOTIFY)) {
        g_usleep(50);
    }
    p->reader = g_thread_new("reader", end_pause, p);
}

/* How many events the iothread has logged */
static unsigned delete_disk_with_pause(Disk *d, Pause *p)
{
    int fd = GPOINTER_TO_INT(g_thread_join(p->reader));
    unsigned logged = 0;
    char c;

    g_assert_cmpint(fd, >=, 0);
    while (read(fd, &c, 1) > 0) {
        logged += c == '\n';
    }
    delete_disk(d);
    close(fd);
    unlink(p->log);
    rmdir(p->dir);
    g_free(p->log);
    g_free(p->dir);
    g_free(p->options);
    return logged;
}

/*
 * While an iothread looks at a request no drained section begins, as the disk
 * may be exchanged in it.
 */
static void test_drain_during_handler(void)
{
    Pause pause = {};
    Disk *d = disk_with_pause(&pause, "virtio_blk_handle_write");
    Request r = request_write(3 * ZONE, 4 * KiB, NEW);
    bool waited;

    if (!d) {
        return;
    }
    start_all(d, &r, 1);
    begin_pause(d, &pause);
    /* A drained section, and nothing else */
    storage_qmp(d, "{'execute': 'transaction', 'arguments': {'actions': []}}");
    waited = qatomic_read(&pause.over);
    wait_for_one(d, &r, 1);
    assert_ok(r.status);
    assert_zones(d, "3:iopen@4K");
    delete_disk_with_pause(d, &pause);
    g_assert_true(waited);
}

/* A request that an iothread takes from the ring in a drained section goes back. */
static void test_drain_before_handler(void)
{
    Pause pause = { .setup.host_aware = true, .setup.slow = "6000000" };
    Disk *d = disk_with_pause(&pause, "virtqueue_pop");
    Request r = request_write(3 * ZONE, 4 * KiB, NEW);

    if (!d) {
        return;
    }
    /* What the section waits for, longer than the pause */
    g_free(qtest_hmp(d->qts, "qemu-io -d /machine/peripheral/disk/"
                     "virtio-backend \"aio_read 0 4k\""));
    start_all(d, &r, 1);
    begin_pause(d, &pause);
    storage_qmp(d, "{'execute': 'transaction', 'arguments': {'actions': []}}");
    g_assert_true(qatomic_read(&pause.over));
    wait_for_one(d, &r, 1);
    assert_ok(r.status);
    g_assert_cmpint(delete_disk_with_pause(d, &pause), ==, 2);
}

/* The interrupt of an error needs a lock, whose holder waits for the iothread. */
static void test_stop_during_error(void)
{
    Pause pause = {};
    Disk *d = disk_with_pause(&pause, "virtqueue_pop");
    Request r = { .type = VIRTIO_BLK_T_ZONE_RESET, .cut = 1 };
    QPCIDevice *pci;

    if (!d) {
        return;
    }
    pci = d->pci->pdev;
    qpci_msix_enable(pci);
    qvirtio_pci_set_msix_configuration_vector(d->pci, &d->machine->alloc, 0);
    /* As any guest has it: the interrupt controller */
    qpci_io_writel(pci, pci->msix_table_bar,
                   pci->msix_table_off + PCI_MSIX_ENTRY_LOWER_ADDR, 0xfee00000);
    start_all(d, &r, 1);
    begin_pause(d, &pause);
    storage_qmp(d, "{'execute': 'stop'}");
    g_assert_true(qatomic_read(&pause.over));
    while (!(d->dev->bus->get_status(d->dev) & VIRTIO_CONFIG_S_NEEDS_RESET)) {
        g_usleep(50);
    }
    delete_disk_with_pause(d, &pause);
}

/*
 * A request is complete while the machine is being stopped, and the iothread has
 * not sent its interrupt yet.
 */
static void test_stop_before_interrupt(void)
{
    Pause pause = { .setup.host_aware = true, .setup.slow = "200000" };
    Disk *d = disk_with_pause(&pause, "virtio_notify_irqfd_deferred_fn");
    Request r = { .type = VIRTIO_BLK_T_IN, .in_len = 4 * KiB };

    if (!d) {
        return;
    }
    qpci_msix_enable(d->pci->pdev);
    qvirtqueue_pci_msix_setup(d->pci, (QVirtQueuePCI *)d->vq,
                              &d->machine->alloc, 0);
    start_all(d, &r, 1);
    pause.reader = g_thread_new("reader", end_pause, &pause);
    storage_qmp(d, "{'execute': 'stop'}");
    g_assert_true(qatomic_read(&pause.over));
    g_assert_true(d->dev->bus->get_queue_isr_status(d->dev, d->vq));
    wait_for_one(d, &r, 1);
    assert_ok(r.status);
    delete_disk_with_pause(d, &pause);
}

/* The machine is stopped in a drained section, which ends before it goes on. */
static void test_stop_in_drained_section(const void *setup)
{
    Disk *d = new_disk(setup);
    char *image = create_image(setup);
    Request r = request_write(3 * ZONE + 4 * KiB, 4 * KiB, NEW);

    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
    machine_begin_section(d->qts, "zoned", image);
    start_all(d, &r, 1);
    qtest_qmp_assert_success(d->qts, "{'execute': 'stop'}");
    machine_end_section(d->qts);
    g_usleep(100 * 1000);
    g_assert_cmpuint(qtest_readw(d->qts, d->vq->used + 2), ==,
                     d->vq->last_used_idx);
    qtest_qmp_assert_success(d->qts, "{'execute': 'cont'}");
    wait_for_one(d, &r, 1);
    assert_ok(r.status);
    assert_zones(d, "3:iopen@8K");
    assert_data(d, 3 * ZONE + 4 * KiB, 4 * KiB, NEW);
    delete_disk(d);
    unlink(image);
    g_free(image);
}

void add_life_tests(void)
{
    add("life/a-reset-of-the-device-changes-no-zone", test_device_reset);
    add_host_aware("life/reset-waits-for-request-of-several-steps",
                   test_device_reset_between_steps);
    add("life/a-reset-of-the-system-changes-no-zone", test_system_reset);
    add("life/a-restart-of-QEMU-closes-the-open-zones", test_restart);
    add("life/a-crash-loses-nothing-that-was-flushed", test_crash_after_flush);
    add("life/a-crash-loses-nothing-without-a-write-cache",
        test_crash_without_write_cache);
    add("life/a-crash-loses-nothing-of-a-driver-that-cannot-flush",
        test_crash_without_flush);
    add("life/a-crash-undoes-no-reset-and-no-finish", test_crash_after_reset);
    add_export("life/killed-daemon-repeats-no-append", test_killed_daemon);
    add_device_with("life/it-can-be-migrated", &standard, test_migration);
    add_device_with("life/it-cannot-be-migrated-to-other-limits",
                    &other_limits, test_migration);
    add_device_with("life/it-cannot-be-migrated-to-another-append-limit",
                    &other_append, test_migration);
    add_device_with("life/it-cannot-be-migrated-to-other-zones",
                    &other_zones, test_migration);
    add_device_with("life/it-cannot-be-migrated-to-other-blocks",
                    &other_blocks, test_migration);
    add_device_with("life/it-cannot-be-migrated-to-a-disk-without-zones",
                    &no_zones, test_migration);
    add_device("life/no-migration-from-a-disk-without-zones",
               test_migration_from_plain);
    add_device("life/drained-section-waits-for-handler",
               test_drain_during_handler);
    add_device("life/handler-waits-for-the-end-of-a-drained-section",
               test_drain_before_handler);
    add_device("life/it-can-be-stopped-when-a-request-is-malformed",
               test_stop_during_error);
    add_device_with("life/stopped-in-a-drained-section-it-writes-nothing",
                    &standard, test_stop_in_drained_section);
    add_device_with("life/nor-does-one-with-an-iothread", &with_iothread,
                    test_stop_in_drained_section);
    add_device("life/stopping-it-loses-no-interrupt",
               test_stop_before_interrupt);
    add_device("life/stopped-appends-are-migrated",
               test_migration_of_stopped_appends);
    add_device("life/stopped-writes-are-migrated-in-order",
               test_migration_of_stopped_writes);
    add("life/each-zone-operation-can-be-traced", test_trace);
    add("life/a-larger-disk-has-more-zones", test_resize);
    add("life/drain-in-the-middle-of-a-report-ends", test_drain_during_report);
}
