/*
 * Tests of virtio-blk on a zoned disk: what they share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zoned-driver.h"

/* --- The disk --- */

char *create_image(const Setup *setup)
{
    g_autofree char *options = setup->plain ? g_strdup("") :
        g_strdup_printf("-o zone.mode=host-managed,zone.size=%" PRIu64
                        ",zone.capacity=%" PRIu64 ",zone.conventional_zones=%d,"
                        "zone.max_open_zones=%d,zone.max_active_zones=%d,"
                        "zone.max_append_bytes=%u%s", (uint64_t)ZONE,
                        setup->capacity ?: (uint64_t)CAPACITY, NR_CONV,
                        MAX_OPEN, MAX_ACTIVE, (unsigned)MAX_APPEND,
                        setup->image ?: "");
    char *path = setup->host_aware
                 ? zoned_image_create_raw(DISK)
                 : zoned_image_create(options, setup->size ?: "64M");

    if (setup->worn) {
        /* 8K of data that nobody wrote */
        zoned_image_wear_out(path, ZONE_RDONLY, 13,
                             ZONE_RDONLY * ZONE + 8 * KiB);
        zoned_image_wear_out(path, ZONE_OFFLINE, 15,
                             ZONE_OFFLINE * ZONE + 8 * KiB);
    }
    return path;
}

void find_device(Disk *d)
{
    QPCIAddress address = { .devfn = QPCI_DEVFN(PCI_SLOT, 0) };

    d->pci = virtio_pci_new(d->machine->pcibus, &address);
    g_assert_nonnull(d->pci);
    g_assert_cmpint(d->pci->vdev.device_type, ==, VIRTIO_ID_BLOCK);
    d->dev = &d->pci->vdev;
    qvirtio_pci_device_enable(d->pci);
    qvirtio_start_device(d->dev);
    /* That was a reset, too */
    guest_forget(d->ram, 0, UINT64_MAX);
    d->features = qvirtio_get_features(d->dev);
}

void start_queue(Disk *d)
{
    d->vq = qvirtqueue_setup(d->dev, &d->machine->alloc, 0);
    guest_queue_started(d->ram, d->vq);
}

void start_driver(Disk *d)
{
    qvirtio_set_features(d->dev,
                         d->features & ~(QVIRTIO_F_BAD_FEATURE |
                                         1ull << VIRTIO_RING_F_INDIRECT_DESC |
                                         1ull << VIRTIO_RING_F_EVENT_IDX));
    start_queue(d);
    qvirtio_set_driver_ok(d->dev);
}

void drop_device(Disk *d)
{
    if (d->vq) {
        qvirtqueue_cleanup(d->dev->bus, d->vq, &d->machine->alloc);
        d->vq = NULL;
    }
    qvirtio_pci_device_disable(d->pci);
    g_free(d->pci->pdev);
    g_free(d->pci);
    d->pci = NULL;
}

char *block_nodes(Disk *d)
{
    const Setup *setup = d->setup;
    g_autofree char *debug =
        !setup->debug ? g_strdup("") :
        g_strdup_printf("--blockdev driver=blkdebug,node-name=debug,"
                        "image=file%s", setup->debug);

    if (setup->drive) {
        return g_strdup_printf("-drive if=none,id=zoned,format=qcow2,file=%s",
                               d->image);
    }
    if (setup->host_aware) {
        return g_strdup_printf("%s "
                               "--blockdev driver=host_device,node-name=zoned,"
                               "filename=%s,cache.direct=on",
                               setup->objects ?: "", d->image);
    }
    return g_strdup_printf("%s "
                           "--blockdev driver=file,node-name=file,filename=%s "
                           "%s "
                           "--blockdev driver=qcow2,node-name=zoned,file=%s%s",
                           setup->objects ?: "", d->image, debug,
                           setup->debug ? "debug" : "file",
                           setup->blockdev ?: "");
}

static void kill_daemon(void *opaque)
{
    Disk *d = opaque;

    kill(d->daemon, SIGKILL);
}

char *start_daemon(Disk *d, const char *nodes)
{
    g_autofree char *path = g_strdup_printf("%s.socket", d->image);
    g_autofree char *command = NULL;
    char *argv[] = { (char *)"/bin/sh", (char *)"-c", NULL, NULL };
    int server = qtest_socket_server(path), qmp[2];
    struct timeval timeout = { .tv_sec = TIMEOUT_US / G_USEC_PER_SEC };

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, qmp), ==, 0);
    argv[2] = command = g_strdup_printf(
        "exec %s %s --chardev socket,id=qmp,fd=%d --monitor chardev=qmp "
        "--export vhost-user-blk,id=export,node-name=zoned,addr.type=fd,"
        "addr.str=%d,writable=%s%s",
        getenv("QTEST_QEMU_STORAGE_DAEMON_BINARY"), nodes, qmp[1], server,
        strstr(nodes, "read-only=on") ? "off" : "on", d->setup->export ?: "");
    g_assert_true(g_spawn_async(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD |
                                G_SPAWN_LEAVE_DESCRIPTORS_OPEN |
                                G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL,
                                &d->daemon, NULL));
    qtest_add_abrt_handler(kill_daemon, d);
    close(server);
    close(qmp[1]);
    d->daemon_qmp = qmp[0];
    setsockopt(qmp[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    qobject_unref(qmp_fd_receive(d->daemon_qmp));
    qobject_unref(qmp_fd(d->daemon_qmp, "{'execute': 'qmp_capabilities'}"));
    return g_strdup_printf("-chardev socket,id=daemon,path=%s,reconnect-ms=100",
                           path);
}

static void stop_daemon(Disk *d)
{
    g_autofree char *path = g_strdup_printf("%s.socket", d->image);
    int status;

    qtest_remove_abrt_handler(d);
    kill(d->daemon, SIGTERM);
    g_assert_cmpint(waitpid(d->daemon, &status, 0), ==, d->daemon);
    g_assert_cmpint(status, ==, 0);
    close(d->daemon_qmp);
    unlink(path);
}

void boot(Disk *d, const char *more)
{
    g_autofree char *nodes = block_nodes(d), *client = NULL;

    if (d->setup->host_aware) {
        host_zoned_begin(d->image, &(HostZoned) {
            .model = "host-aware", .size = DISK, .zone_size = ZONE,
            .conventional = NR_CONV, .delay = d->setup->slow,
        });
    }
    d->ram = guest_new();
    client = d->exported ? start_daemon(d, nodes) : NULL;
    d->machine = qtest_pc_boot(
        "-machine pc -nodefaults %s %s %s -device %s,id=disk,addr=%x.0,%s%s",
        guest_options(d->ram), more, client ?: nodes,
        client ? "vhost-user-blk-pci" : "virtio-blk-pci", PCI_SLOT,
        client ? "chardev=daemon,queue-size=256"
               : "drive=zoned,werror=stop,rerror=stop",
        client ? "" : d->setup->device ?: "");
    d->qts = d->machine->qts;
    host_zoned_end();
    guest_started(d->ram);
}

void power_on(Disk *d)
{
    boot(d, "");
    find_device(d);
    start_driver(d);
}

void quit(Disk *d)
{
    qtest_shutdown(d->machine);
    guest_delete(d->ram);
}

void power_off(Disk *d)
{
    drop_device(d);
    guest_check(d->ram);
    quit(d);
    if (d->exported) {
        stop_daemon(d);
    }
}

/* Is the test that runs now one of exports? */
bool test_exports;

Disk *new_disk(const Setup *setup)
{
    Disk *d = g_new0(Disk, 1);

    d->setup = setup;
    d->exported = test_exports;
    d->image = create_image(setup);
    power_on(d);
    return d;
}

void delete_disk(Disk *d)
{
    power_off(d);
    zoned_image_delete(d->image);
    g_free(d);
}

/* --- Requests --- */

static const char *status_name(uint8_t status)
{
    static const char *const names[] = {
        [VIRTIO_BLK_S_OK] = "OK",
        [VIRTIO_BLK_S_IOERR] = "IOERR",
        [VIRTIO_BLK_S_UNSUPP] = "UNSUPP",
        [VIRTIO_BLK_S_ZONE_INVALID_CMD] = "INVALID_CMD",
        [VIRTIO_BLK_S_ZONE_UNALIGNED_WP] = "UNALIGNED_WP",
        [VIRTIO_BLK_S_ZONE_OPEN_RESOURCE] = "OPEN_RESOURCE",
        [VIRTIO_BLK_S_ZONE_ACTIVE_RESOURCE] = "ACTIVE_RESOURCE",
    };

    return status < ARRAY_SIZE(names) ? names[status] : "none";
}

static uint64_t readable_size(const Request *r)
{
    return sizeof(struct virtio_blk_outhdr) + r->out_len;
}

uint64_t answer_address(const Request *r)
{
    return r->address + readable_size(r);
}

uint64_t status_address(const Request *r)
{
    return answer_address(r) + r->in_len;
}

void place(Disk *d, Request *r)
{
    struct virtio_blk_outhdr header = {
        .type = cpu_to_le32(r->type),
        .sector = cpu_to_le64(r->sector),
    };
    size_t size = r->misaligned + readable_size(r) + r->in_len + 1;

    r->address = r->at ?:
                 guest_alloc(&d->machine->alloc, size) + r->misaligned;
    guest_write(d->ram, r->address, &header, sizeof(header));
    if (r->out && r->out_len) {
        guest_write(d->ram, r->address + sizeof(header), r->out, r->out_len);
    } else if (r->out_len) {
        guest_fill(d->ram, r->address + sizeof(header), r->fill, r->out_len);
    }
    guest_fill(d->ram, answer_address(r), UNWRITTEN_BYTE, r->in_len + 1);
}

/* Describe a range, in pieces.  Returns the first descriptor. */
static uint32_t describe(Disk *d, uint64_t address, uint64_t size,
                         unsigned segment, bool writable, bool more)
{
    uint32_t head = d->vq->free_head;

    while (size) {
        uint64_t n = segment ? MIN(size, segment) : size;

        qvirtqueue_add(d->qts, d->vq, address, n, writable, more || n < size);
        address += n;
        size -= n;
    }
    return head;
}

static void describe_request(Disk *d, Request *r)
{
    size_t header = sizeof(struct virtio_blk_outhdr);

    if (r->joined || r->segment) {
        r->head = describe(d, r->address, readable_size(r), r->segment, false,
                           true);
        describe(d, answer_address(r), r->in_len + 1, r->segment, true, false);
        return;
    }
    r->head = describe(d, r->address, header - r->cut, 0, false, true);
    describe(d, r->address + header, r->out_len, 0, false, true);
    describe(d, answer_address(r), r->in_len, 0, true, true);
    describe(d, status_address(r), 1, 0, true, false);
}

/* What the used ring says to be written is written */
static void collect(Disk *d, Request *r)
{
    g_autofree uint8_t *answer = g_malloc(r->in_len + 1);

    guest_read(d->ram, answer_address(r), answer, r->in_len + 1);
    r->status = status_name(answer[r->in_len]);
    g_assert_cmpint(r->used, ==, r->in_len + 1);
    if (!d->setup->plain && r->in_len < 64 * KiB) {
        g_assert_null(memchr(answer, UNWRITTEN_BYTE, r->used));
    }
    if (r->in) {
        memcpy(r->in, answer, r->in_len);
    }
    if (!r->at) {
        guest_free(&d->machine->alloc, r->address - r->misaligned);
    }
}

void kick(Disk *d, const Request *requests, unsigned n)
{
    QVirtQueue *vq = d->vq;
    uint16_t index = qtest_readw(d->qts, vq->avail + 2);

    for (unsigned i = 0; i < n; i++) {
        qtest_writew(d->qts, vq->avail + 4 + 2 * ((index + i) % vq->size),
                     requests[i].head);
    }
    qtest_writew(d->qts, vq->avail + 2, index + n);
    guest_queue_offered(d->ram, vq, n);
    d->dev->bus->virtqueue_kick(d->dev, vq);
}

void wait_for_one(Disk *d, Request *requests, unsigned n)
{
    QVirtQueue *vq = d->vq;
    gint64 deadline = g_get_monotonic_time() + TIMEOUT_US;
    uint64_t element = vq->used + 4 + 8 * (vq->last_used_idx % vq->size);
    uint32_t head;

    while (qtest_readw(d->qts, vq->used + 2) == vq->last_used_idx) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(50);
    }
    head = qtest_readl(d->qts, element);
    guest_queue_taken(d->ram, vq);
    guest_queue_done(d->ram, vq, head, qtest_readl(d->qts, element + 4));
    guest_check(d->ram);
    vq->last_used_idx++;
    for (unsigned i = 0; i < n; i++) {
        if (requests[i].head == head) {
            requests[i].used = qtest_readl(d->qts, element + 4);
            collect(d, &requests[i]);
            return;
        }
    }
    g_assert_not_reached();
}

void start_all(Disk *d, Request *requests, unsigned n)
{
    d->vq->free_head = 0;
    d->vq->num_free = d->vq->size;
    for (unsigned i = 0; i < n; i++) {
        place(d, &requests[i]);
        describe_request(d, &requests[i]);
    }
    g_assert_cmpint(d->vq->free_head, <=, d->vq->size);
    kick(d, requests, n);
}

void submit_all(Disk *d, Request *requests, unsigned n)
{
    start_all(d, requests, n);
    for (unsigned i = 0; i < n; i++) {
        wait_for_one(d, requests, n);
    }
}

const char *submit(Disk *d, Request *r)
{
    submit_all(d, r, 1);
    return r->status;
}

Request request_write(uint64_t offset, size_t bytes, uint8_t fill)
{
    return (Request) {
        .type = VIRTIO_BLK_T_OUT, .sector = offset / SECTOR,
        .out_len = bytes, .fill = fill,
    };
}

Request request_append(uint64_t offset, size_t bytes, uint8_t fill,
                       uint64_t *position)
{
    return (Request) {
        .type = VIRTIO_BLK_T_ZONE_APPEND, .sector = offset / SECTOR,
        .out_len = bytes, .fill = fill,
        .in_len = sizeof(*position), .in = position,
    };
}

const char *write_at(Disk *d, uint64_t offset, size_t bytes,
                     uint8_t fill)
{
    Request r = request_write(offset, bytes, fill);

    return submit(d, &r);
}

const char *read_at(Disk *d, uint64_t offset, size_t bytes, void *data)
{
    return submit(d, &(Request) {
        .type = VIRTIO_BLK_T_IN, .sector = offset / SECTOR,
        .in_len = bytes, .in = data,
    });
}

const char *append(Disk *d, uint64_t offset, size_t bytes, uint8_t fill,
                   uint64_t *position)
{
    uint64_t sector;
    Request r = request_append(offset, bytes, fill, &sector);

    submit(d, &r);
    *position = g_str_equal(r.status, "OK") ? le64_to_cpu(sector) * SECTOR : -1;
    return r.status;
}

const char *send_range(Disk *d, uint32_t type, uint64_t offset,
                       uint64_t bytes, uint32_t flags)
{
    struct virtio_blk_discard_write_zeroes range = {
        .sector = cpu_to_le64(offset / SECTOR),
        .num_sectors = cpu_to_le32(bytes / SECTOR),
        .flags = cpu_to_le32(flags),
    };

    return submit(d, &(Request) {
        .type = type, .out_len = sizeof(range), .out = &range,
    });
}

const char *write_zeroes(Disk *d, uint64_t offset, uint64_t bytes)
{
    return send_range(d, VIRTIO_BLK_T_WRITE_ZEROES, offset, bytes, 0);
}

const char *manage(Disk *d, uint32_t type, uint64_t offset)
{
    return submit(d, &(Request) { .type = type, .sector = offset / SECTOR });
}

const char *zone_open(Disk *d, unsigned zone)
{
    return manage(d, VIRTIO_BLK_T_ZONE_OPEN, zone * ZONE);
}

const char *zone_close(Disk *d, unsigned zone)
{
    return manage(d, VIRTIO_BLK_T_ZONE_CLOSE, zone * ZONE);
}

const char *zone_finish(Disk *d, unsigned zone)
{
    return manage(d, VIRTIO_BLK_T_ZONE_FINISH, zone * ZONE);
}

const char *zone_reset(Disk *d, unsigned zone)
{
    return manage(d, VIRTIO_BLK_T_ZONE_RESET, zone * ZONE);
}

const char *reset_all(Disk *d)
{
    return manage(d, VIRTIO_BLK_T_ZONE_RESET_ALL, 0);
}

/* --- What the zones are like --- */

size_t report_size(unsigned nr_zones)
{
    return sizeof(struct virtio_blk_zone_report) +
           nr_zones * sizeof(struct virtio_blk_zone_descriptor);
}

const char *get_report(Disk *d, uint64_t offset, void *report,
                       size_t size)
{
    return submit(d, &(Request) {
        .type = VIRTIO_BLK_T_ZONE_REPORT, .sector = offset / SECTOR,
        .in_len = size, .in = report,
    });
}

static const char *state_name(uint8_t state)
{
    static const char *const names[] = {
        [VIRTIO_BLK_ZS_EMPTY] = "empty",
        [VIRTIO_BLK_ZS_IOPEN] = "iopen",
        [VIRTIO_BLK_ZS_EOPEN] = "eopen",
        [VIRTIO_BLK_ZS_CLOSED] = "closed",
        [VIRTIO_BLK_ZS_RDONLY] = "rdonly",
        [VIRTIO_BLK_ZS_FULL] = "full",
        [VIRTIO_BLK_ZS_OFFLINE] = "offline",
    };

    g_assert_cmpint(state, <, ARRAY_SIZE(names));
    g_assert_nonnull(names[state]);
    return names[state];
}

void assert_zone_geometry(Disk *d, unsigned i,
                          const struct virtio_blk_zone_descriptor *z)
{
    bool conventional = i < NR_CONV;
    uint64_t capacity = conventional ? ZONE : d->setup->capacity ?: CAPACITY;

    g_assert_cmpint(le64_to_cpu(z->z_start), ==, i * ZONE / SECTOR);
    g_assert_cmpint(le64_to_cpu(z->z_cap), ==, capacity / SECTOR);
    g_assert_cmpint(z->z_type, ==,
                    conventional ? VIRTIO_BLK_ZT_CONV : VIRTIO_BLK_ZT_SWR);
    g_assert_true(buffer_is_zero(z->reserved, sizeof(z->reserved)));
    if (conventional) {
        g_assert_cmpint(z->z_state, ==, VIRTIO_BLK_ZS_NOT_WP);
    }
}

static char *describe_zone(const struct virtio_blk_zone_descriptor *z)
{
    uint64_t wp = (le64_to_cpu(z->z_wp) - le64_to_cpu(z->z_start)) * SECTOR;

    switch (z->z_state) {
    case VIRTIO_BLK_ZS_IOPEN:
    case VIRTIO_BLK_ZS_EOPEN:
    case VIRTIO_BLK_ZS_CLOSED:
        return wp % KiB ? g_strdup_printf("%s@%" PRIu64, state_name(z->z_state),
                                          wp)
                        : g_strdup_printf("%s@%" PRIu64 "K",
                                          state_name(z->z_state), wp / KiB);
    case VIRTIO_BLK_ZS_EMPTY:
        g_assert_cmpint(wp, ==, 0);
        return g_strdup("empty");
    default:
        return g_strdup(state_name(z->z_state));
    }
}

char *describe_zones(Disk *d)
{
    g_autofree Report *report = g_malloc(report_size(NR_ZONES));
    GString *text = g_string_new("");

    assert_ok(get_report(d, 0, report, report_size(NR_ZONES)));
    g_assert_cmpint(le64_to_cpu(report->header.nr_zones), ==, NR_ZONES);
    g_assert_true(buffer_is_zero(report->header.reserved,
                                 sizeof(report->header.reserved)));
    for (unsigned i = 0; i < NR_ZONES; i++) {
        g_autofree char *zone = NULL;

        assert_zone_geometry(d, i, &report->zones[i]);
        if (i < NR_CONV) {
            continue;
        }
        zone = describe_zone(&report->zones[i]);
        if (!g_str_equal(zone, "empty")) {
            g_string_append_printf(text, "%s%u:%s", text->len ? " " : "", i,
                                   zone);
        }
    }
    return g_string_free(text, FALSE);
}

bool all_bytes_are(Disk *d, uint64_t offset, size_t bytes, uint8_t value)
{
    g_autofree uint8_t *data = g_malloc(bytes);

    assert_ok(read_at(d, offset, bytes, data));
    return data[0] == value && !memcmp(data, data + 1, bytes - 1);
}

void assert_vm_runs(Disk *d)
{
    g_assert_true(machine_has_status(d->qts, "running"));
}

/* --- A disk shared by tests --- */

const Setup standard;

const Setup large_append = {
    .image = ",zone.max_append_bytes=3M",
};

const Setup worn_out = {
    .worn = true,
    .image = ",zone.max_append_bytes=3M",
};

static Disk *shared_disk;

void delete_shared_disk(void)
{
    if (shared_disk) {
        delete_disk(shared_disk);
        shared_disk = NULL;
    }
}

Disk *get_disk(const Setup *setup)
{
    if (shared_disk && (shared_disk->setup != setup ||
                        shared_disk->exported != test_exports)) {
        delete_shared_disk();
    }
    if (!shared_disk) {
        shared_disk = new_disk(setup);
    }
    assert_ok(reset_all(shared_disk));
    assert_zones(shared_disk, setup->worn ? "14:rdonly 15:offline" : "");
    return shared_disk;
}

/* --- Config space --- */

const uint32_t management[] = {
    VIRTIO_BLK_T_ZONE_OPEN, VIRTIO_BLK_T_ZONE_CLOSE, VIRTIO_BLK_T_ZONE_FINISH,
    VIRTIO_BLK_T_ZONE_RESET,
};

QDict *statistics(Disk *d)
{
    return machine_statistics(d->qts);
}

int64_t statistic(Disk *d, const char *name)
{
    QDict *stats = statistics(d);
    int64_t value = qdict_get_int(stats, name);

    qobject_unref(stats);
    return value;
}

void assert_statistic(Disk *d, const char *name, int64_t value)
{
    if (!d->exported) {
        g_assert_cmpint(statistic(d, name), ==, value);
    }
}

uint32_t config32(Disk *d, size_t field)
{
    return qvirtio_config_readl(d->dev, field);
}

void restart_driver(Disk *d, uint64_t without)
{
    drop_device(d);
    find_device(d);
    d->features &= ~without;
    start_driver(d);
}

char *add_image(Disk *d, const Setup *setup)
{
    char *image = create_image(setup);

    qtest_qmp_assert_success(d->qts, "{'execute': 'blockdev-add', 'arguments':"
                             " {'node-name': 'other', 'driver': 'qcow2',"
                             "  'file': {'driver': 'file', 'filename': %s}}}",
                             image);
    return image;
}

const Setup host_aware = { .host_aware = true };

struct virtio_blk_zone_descriptor get_zone(Disk *d, unsigned zone)
{
    g_autofree Report *report = g_malloc(report_size(1));

    assert_ok(get_report(d, zone * ZONE, report, report_size(1)));
    g_assert_cmpint(le64_to_cpu(report->header.nr_zones), ==, 1);
    return report->zones[0];
}

/* --- Reads and writes --- */

const Setup no_gap = {
    .capacity = ZONE,
};

/* --- Many requests in one kick --- */

const Setup with_iothread = {
    .objects = "--object iothread,id=iothread",
    .device = ",iothread=iothread",
    .export = ",iothread=iothread",
};

/* --- Disks that cannot be written --- */

void wait_for_stop(Disk *d)
{
    machine_wait_for_status(d->qts, "io-error");
}

const Setup full_once = {
    .device = ",werror=enospc",
    .debug = ",inject-error.0.event=write_aio,inject-error.0.errno=28"
             ",inject-error.0.once=on",
};

void prepare_appends(Request *r, uint64_t *sectors)
{
    for (unsigned i = 0; i < MANY; i++) {
        r[i] = request_append(3 * ZONE, 4 * KiB, 1 + i, &sectors[i]);
    }
}

/* --- The life of a disk --- */

const Setup other_limits = { .image = ",zone.max_open_zones=2" };

const Setup other_append = { .image = ",zone.max_append_bytes=32K" };

const Setup other_zones = {
    .image = ",zone.size=2M,zone.capacity=2M",
};

const Setup other_blocks = {
    .device = ",logical_block_size=4096,physical_block_size=4096",
};

const Setup no_zones = { .plain = true };

void G_GNUC_PRINTF(2, 3) storage_qmp(Disk *d, const char *fmt, ...)
{
    va_list ap;
    QDict *answer;

    va_start(ap, fmt);
    answer = d->exported ? qmp_fdv(d->daemon_qmp, fmt, ap)
                         : qtest_vqmp(d->qts, fmt, ap);
    va_end(ap);
    g_assert_true(qdict_haskey(answer, "return"));
    qobject_unref(answer);
}

/* --- Registration --- */

typedef struct Test {
    void (*function)(void);
    void (*function_with)(const void *data);
    const void *data;
    bool exported;
} Test;

static void run_test(const void *opaque)
{
    const Test *test = opaque;

    test_exports = test->exported;
    if (test->function) {
        test->function();
    } else {
        test->function_with(test->data);
    }
}

static void add_test(const char *prefix, const char *name, Test test)
{
    g_autofree char *path = g_strdup_printf("virtio-blk-zoned/%s%s", prefix,
                                            name);

    qtest_add_data_func_full(path, g_memdup2(&test, sizeof(test)), run_test,
                             g_free);
}

void add_device_with(const char *name, const void *data,
                     void (*function)(const void *))
{
    add_test("", name, (Test) { .function_with = function, .data = data });
}

void add_device(const char *name, void (*function)(void))
{
    add_test("", name, (Test) { .function = function });
}

void add_export(const char *name, void (*function)(void))
{
    if (getenv("QTEST_QEMU_STORAGE_DAEMON_BINARY")) {
        add_test("export/", name, (Test) {
            .function = function, .exported = true,
        });
    }
}

/* A test of the device and, where there is a storage daemon, of the export */
static void add_both(const char *name, Test test)
{
    add_test("", name, test);
    if (getenv("QTEST_QEMU_STORAGE_DAEMON_BINARY")) {
        test.exported = true;
        add_test("export/", name, test);
    }
}

void add_with(const char *name, const void *data,
              void (*function)(const void *))
{
    add_both(name, (Test) { .function_with = function, .data = data });
}

void add(const char *name, void (*function)(void))
{
    add_both(name, (Test) { .function = function });
}

static bool has_host_zoned;

void find_host_zones(const char *program)
{
    has_host_zoned = host_zoned_find(program);
}

void add_host_aware(const char *name, void (*function)(void))
{
    if (has_host_zoned) {
        add(name, function);
    }
}
