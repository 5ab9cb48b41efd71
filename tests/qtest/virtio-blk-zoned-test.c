/*
 * Tests of virtio-blk on a zoned disk, seen from the guest's side of the queue
 *
 * A guest kernel sends only requests that make sense.  Here a virtio-blk-pci
 * device on a zoned qcow2 image is driven without one, so that every request
 * can be sent, the broken ones too; after each, the status, the data and the
 * report of all zones must be exactly right.  Most tests run once more with
 * the image in a storage daemon, whose vhost-user-blk export does the requests.
 *
 * The rules are those of virtio 1.3, section 5.2.6; "Vn" in a comment is a
 * number of our list of them (docs/devel/zoned-virtio.rst).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/virtio_blk.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ids.h"
#include "libqmp.h"
#include "libqtest.h"
#include "libqos/libqos-pc.h"
#include "libqos/virtio-pci.h"
#include "zoned-image.h"

#define SECTOR          512
#define DISK            (64 * MiB)
#define ZONE            (4 * MiB)
#define CAPACITY        (3 * MiB)
#define NR_ZONES        16
#define NR_CONV         2
#define MAX_OPEN        3
#define MAX_ACTIVE      4
#define MAX_APPEND      (64 * KiB)

/* Zones of a disk that is worn out in places */
#define ZONE_RDONLY     14
#define ZONE_OFFLINE    15

#define PCI_SLOT        4
#define TIMEOUT_US      (30 * G_USEC_PER_SEC)

/* --- The disk --- */

typedef struct Setup {
    const char *size;       /* of the disk, if not DISK */
    const char *image;      /* more options of qemu-img create, with a comma */
    const char *debug;      /* options of a blkdebug node below, likewise */
    const char *blockdev;   /* more options of the qcow2 node, likewise */
    const char *objects;    /* more options of the program with the image */
    const char *device;     /* more options of the device, likewise... */
    const char *export;     /* ...and of the export, in its place */
    uint64_t capacity;      /* of a zone, if not CAPACITY */
    bool plain;             /* not zoned */
    bool drive;             /* given with -drive, so it can be removed */
    bool host_aware;        /* a zoned device of the host, of this kind... */
    const char *slow;       /* ...that takes so many microseconds a read */
    bool worn;              /* has ZONE_RDONLY and ZONE_OFFLINE */
} Setup;

typedef struct Disk {
    const Setup *setup;
    bool exported;          /* by a storage daemon, to vhost-user-blk-pci */
    char *image;
    GPid daemon;
    int daemon_qmp;
    QOSState *machine;
    QTestState *qts;
    QVirtioPCIDevice *pci;
    QVirtioDevice *dev;
    QVirtQueue *vq;
    uint64_t features;      /* those that the device offers */
} Disk;

/* Makes a device of the host out of a file (tests/host-zoned/preload.c) */
static char *host_zoned_library;

static void set_host_device(const char *path, const char *delay)
{
    g_autofree char *zone = g_strdup_printf("%" PRIu64, (uint64_t)ZONE);
    g_autofree char *size = g_strdup_printf("%" PRIu64, (uint64_t)DISK);
    g_autofree char *conv = g_strdup_printf("%d", NR_CONV);

    g_setenv("LD_PRELOAD", host_zoned_library, true);
    g_setenv("HOST_ZONED_FILE", path, true);
    g_setenv("HOST_ZONED_MODEL", "host-aware", true);
    g_setenv("HOST_ZONED_ZONE", zone, true);
    g_setenv("HOST_ZONED_SIZE", size, true);
    g_setenv("HOST_ZONED_CONV", conv, true);
    g_setenv("HOST_ZONED_REPORT_DELAY", delay, true);
    g_setenv("HOST_ZONED_READ_DELAY", delay, true);
}

static char *create_image(const Setup *setup)
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

/* Find the device and stop before features are agreed upon. */
static void find_device(Disk *d)
{
    QPCIAddress address = { .devfn = QPCI_DEVFN(PCI_SLOT, 0) };

    d->pci = virtio_pci_new(d->machine->pcibus, &address);
    g_assert_nonnull(d->pci);
    g_assert_cmpint(d->pci->vdev.device_type, ==, VIRTIO_ID_BLOCK);
    d->dev = &d->pci->vdev;
    qvirtio_pci_device_enable(d->pci);
    qvirtio_start_device(d->dev);
    d->features = qvirtio_get_features(d->dev);
}

static void start_driver(Disk *d)
{
    qvirtio_set_features(d->dev,
                         d->features & ~(QVIRTIO_F_BAD_FEATURE |
                                         1ull << VIRTIO_RING_F_INDIRECT_DESC |
                                         1ull << VIRTIO_RING_F_EVENT_IDX));
    d->vq = qvirtqueue_setup(d->dev, &d->machine->alloc, 0);
    qvirtio_set_driver_ok(d->dev);
}

static void drop_device(Disk *d)
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

/* What makes a block node of the image, in QEMU or the storage daemon */
static char *block_nodes(Disk *d)
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
        return g_strdup_printf("--blockdev driver=host_device,node-name=zoned,"
                               "filename=%s,cache.direct=on", d->image);
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

/* The options of QEMU to connect to a storage daemon, which is started. */
static char *start_daemon(Disk *d, const char *nodes)
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
    return g_strdup_printf("-object memory-backend-memfd,id=mem,size=128M "
                           "-machine memory-backend=mem -m 128M "
                           "-chardev socket,id=daemon,path=%s,reconnect-ms=100",
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

/* Run QEMU on the image.  Whatever the guest does, it must not stop it. */
static void boot(Disk *d, const char *more)
{
    g_autofree char *nodes = block_nodes(d), *client = NULL;

    if (d->setup->host_aware) {
        set_host_device(d->image, d->setup->slow ?: "0");
    }
    client = d->exported ? start_daemon(d, nodes) : NULL;
    d->machine = qtest_pc_boot(
        "-machine pc -nodefaults %s %s -device %s,id=disk,addr=%x.0,%s%s",
        more, client ?: nodes,
        client ? "vhost-user-blk-pci" : "virtio-blk-pci", PCI_SLOT,
        client ? "chardev=daemon" : "drive=zoned,werror=stop,rerror=stop",
        client ? "" : d->setup->device ?: "");
    d->qts = d->machine->qts;
    g_unsetenv("LD_PRELOAD");
}

static void power_on(Disk *d)
{
    boot(d, "");
    find_device(d);
    start_driver(d);
}

static void power_off(Disk *d)
{
    drop_device(d);
    qtest_shutdown(d->machine);
    if (d->exported) {
        stop_daemon(d);
    }
}

/* Is the test that runs now one of exports? */
static bool test_exports;

static Disk *new_disk(const Setup *setup)
{
    Disk *d = g_new0(Disk, 1);

    d->setup = setup;
    d->exported = test_exports;
    d->image = create_image(setup);
    power_on(d);
    return d;
}

static void delete_disk(Disk *d)
{
    power_off(d);
    zoned_image_delete(d->image);
    g_free(d);
}

/* --- Requests --- */

typedef struct Request {
    uint32_t type;
    uint64_t sector;
    size_t out_len;         /* bytes for the device... */
    uint8_t fill;           /* ...that all have this value... */
    const void *out;        /* ...or are these */
    size_t in_len;          /* room for bytes of the device */
    void *in;               /* copy of them, if wanted */
    bool joined;            /* header and data, data and status together */
    unsigned segment;       /* cut the buffers into so long pieces */
    unsigned misaligned;    /* distance of the header from a page's start */

    const char *status;
    uint32_t used;          /* how much of in_len + 1 was written */
    uint64_t address;
    uint32_t head;
} Request;

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

static uint64_t answer_address(const Request *r)
{
    return r->address + readable_size(r);
}

static uint64_t status_address(const Request *r)
{
    return answer_address(r) + r->in_len;
}

/* What the device has not written; no short answer has it in its data. */
#define UNWRITTEN_BYTE  0xee

/* Put a request into guest memory. */
static void place(Disk *d, Request *r)
{
    struct virtio_blk_outhdr header = {
        .type = cpu_to_le32(r->type),
        .sector = cpu_to_le64(r->sector),
    };
    size_t size = r->misaligned + readable_size(r) + r->in_len + 1;

    r->address = guest_alloc(&d->machine->alloc, size) + r->misaligned;
    qtest_bufwrite(d->qts, r->address, &header, sizeof(header));
    if (r->out && r->out_len) {
        qtest_bufwrite(d->qts, r->address + sizeof(header), r->out,
                       r->out_len);
    } else if (r->out_len) {
        qtest_memset(d->qts, r->address + sizeof(header), r->fill, r->out_len);
    }
    qtest_memset(d->qts, answer_address(r), UNWRITTEN_BYTE, r->in_len + 1);
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
    r->head = describe(d, r->address, header, 0, false, true);
    describe(d, r->address + header, r->out_len, 0, false, true);
    describe(d, answer_address(r), r->in_len, 0, true, true);
    describe(d, status_address(r), 1, 0, true, false);
}

/* V29: what the used ring says to be written is written */
static void collect(Disk *d, Request *r)
{
    g_autofree uint8_t *answer = g_malloc(r->in_len + 1);

    qtest_bufread(d->qts, answer_address(r), answer, r->in_len + 1);
    r->status = status_name(answer[r->in_len]);
    g_assert_cmpint(r->used, ==, r->in_len + 1);
    if (!d->setup->plain && r->in_len < 64 * KiB) {
        g_assert_null(memchr(answer, UNWRITTEN_BYTE, r->used));
    }
    if (r->in) {
        memcpy(r->in, answer, r->in_len);
    }
    guest_free(&d->machine->alloc, r->address - r->misaligned);
}

/* Make the requests available all at once, with one kick. */
static void kick(Disk *d, const Request *requests, unsigned n)
{
    QVirtQueue *vq = d->vq;
    uint16_t index = qtest_readw(d->qts, vq->avail + 2);

    for (unsigned i = 0; i < n; i++) {
        qtest_writew(d->qts, vq->avail + 4 + 2 * ((index + i) % vq->size),
                     requests[i].head);
    }
    qtest_writew(d->qts, vq->avail + 2, index + n);
    d->dev->bus->virtqueue_kick(d->dev, vq);
}

/* Take one answer from the used ring; it comes, whatever was asked. */
static void wait_for_one(Disk *d, Request *requests, unsigned n)
{
    QVirtQueue *vq = d->vq;
    gint64 deadline = g_get_monotonic_time() + TIMEOUT_US;
    uint64_t element = vq->used + 4 + 8 * (vq->last_used_idx % vq->size);
    uint32_t head;

    while (qtest_readw(d->qts, vq->used + 2) == vq->last_used_idx) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(50);
    }
    vq->last_used_idx++;
    head = qtest_readl(d->qts, element);
    for (unsigned i = 0; i < n; i++) {
        if (requests[i].head == head) {
            requests[i].used = qtest_readl(d->qts, element + 4);
            collect(d, &requests[i]);
            return;
        }
    }
    g_assert_not_reached();
}

static void start_all(Disk *d, Request *requests, unsigned n)
{
    qvirtqueue_reset_pool(d->vq);
    for (unsigned i = 0; i < n; i++) {
        place(d, &requests[i]);
        describe_request(d, &requests[i]);
    }
    g_assert_cmpint(d->vq->free_head, <=, d->vq->size);
    kick(d, requests, n);
}

static void submit_all(Disk *d, Request *requests, unsigned n)
{
    start_all(d, requests, n);
    for (unsigned i = 0; i < n; i++) {
        wait_for_one(d, requests, n);
    }
}

static const char *submit(Disk *d, Request *r)
{
    submit_all(d, r, 1);
    return r->status;
}

#define assert_status(request, expected) \
    g_assert_cmpstr(request, ==, expected)
#define assert_ok(request) assert_status(request, "OK")

static Request request_write(uint64_t offset, size_t bytes, uint8_t fill)
{
    return (Request) {
        .type = VIRTIO_BLK_T_OUT, .sector = offset / SECTOR,
        .out_len = bytes, .fill = fill,
    };
}

static Request request_append(uint64_t offset, size_t bytes, uint8_t fill,
                              uint64_t *position)
{
    return (Request) {
        .type = VIRTIO_BLK_T_ZONE_APPEND, .sector = offset / SECTOR,
        .out_len = bytes, .fill = fill,
        .in_len = sizeof(*position), .in = position,
    };
}

static const char *write_at(Disk *d, uint64_t offset, size_t bytes,
                            uint8_t fill)
{
    Request r = request_write(offset, bytes, fill);

    return submit(d, &r);
}

static const char *read_at(Disk *d, uint64_t offset, size_t bytes, void *data)
{
    return submit(d, &(Request) {
        .type = VIRTIO_BLK_T_IN, .sector = offset / SECTOR,
        .in_len = bytes, .in = data,
    });
}

/* @position: offset on the disk, or -1 if the device has not told */
static const char *append(Disk *d, uint64_t offset, size_t bytes, uint8_t fill,
                          uint64_t *position)
{
    uint64_t sector;
    Request r = request_append(offset, bytes, fill, &sector);

    submit(d, &r);
    *position = g_str_equal(r.status, "OK") ? le64_to_cpu(sector) * SECTOR : -1;
    return r.status;
}

static const char *send_range(Disk *d, uint32_t type, uint64_t offset,
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

static const char *write_zeroes(Disk *d, uint64_t offset, uint64_t bytes)
{
    return send_range(d, VIRTIO_BLK_T_WRITE_ZEROES, offset, bytes, 0);
}

static const char *manage(Disk *d, uint32_t type, uint64_t offset)
{
    return submit(d, &(Request) { .type = type, .sector = offset / SECTOR });
}

static const char *zone_open(Disk *d, unsigned zone)
{
    return manage(d, VIRTIO_BLK_T_ZONE_OPEN, zone * ZONE);
}

static const char *zone_close(Disk *d, unsigned zone)
{
    return manage(d, VIRTIO_BLK_T_ZONE_CLOSE, zone * ZONE);
}

static const char *zone_finish(Disk *d, unsigned zone)
{
    return manage(d, VIRTIO_BLK_T_ZONE_FINISH, zone * ZONE);
}

static const char *zone_reset(Disk *d, unsigned zone)
{
    return manage(d, VIRTIO_BLK_T_ZONE_RESET, zone * ZONE);
}

static const char *reset_all(Disk *d)
{
    return manage(d, VIRTIO_BLK_T_ZONE_RESET_ALL, 0);
}

/* --- What the zones are like --- */

typedef struct Report {
    struct virtio_blk_zone_report header;
    struct virtio_blk_zone_descriptor zones[];
} Report;

static size_t report_size(unsigned nr_zones)
{
    return sizeof(struct virtio_blk_zone_report) +
           nr_zones * sizeof(struct virtio_blk_zone_descriptor);
}

static const char *get_report(Disk *d, uint64_t offset, void *report,
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

/* V68, V69, V70 of the zone with number @i */
static void assert_zone_geometry(Disk *d, unsigned i,
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

/*
 * Describe all zones except the conventional and the empty ones, for example
 * "2:iopen@8K 5:full" (8K is how far the write pointer is from the start).
 */
static char *describe_zones(Disk *d)
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

#define assert_zones(d, expected)                       \
    do {                                                \
        g_autofree char *zones_ = describe_zones(d);    \
        g_assert_cmpstr(zones_, ==, expected);          \
    } while (0)

static bool all_bytes_are(Disk *d, uint64_t offset, size_t bytes, uint8_t value)
{
    g_autofree uint8_t *data = g_malloc(bytes);

    assert_ok(read_at(d, offset, bytes, data));
    return data[0] == value && !memcmp(data, data + 1, bytes - 1);
}

#define assert_data(d, offset, bytes, value) \
    g_assert_true(all_bytes_are(d, offset, bytes, value))

static void assert_vm_runs(Disk *d)
{
    QDict *answer = qtest_qmp_assert_success_ref(d->qts,
                                                 "{'execute': 'query-status'}");

    g_assert_cmpstr(qdict_get_str(answer, "status"), ==, "running");
    qobject_unref(answer);
}

/* --- A disk shared by tests --- */

static const Setup standard;

static const Setup large_append = {
    .image = ",zone.max_append_bytes=3M",
};

static const Setup worn_out = {
    .worn = true,
    .image = ",zone.max_append_bytes=3M",
};

static Disk *shared_disk;

static void delete_shared_disk(void)
{
    if (shared_disk) {
        delete_disk(shared_disk);
        shared_disk = NULL;
    }
}

/* All zones empty; QEMU is started anew only for another setup. */
static Disk *get_disk(const Setup *setup)
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

static const uint32_t management[] = {
    VIRTIO_BLK_T_ZONE_OPEN, VIRTIO_BLK_T_ZONE_CLOSE, VIRTIO_BLK_T_ZONE_FINISH,
    VIRTIO_BLK_T_ZONE_RESET,
};

/* What data is made of */
#define OLD     0x11
#define NEW     0x22

static QDict *statistics(Disk *d)
{
    QDict *answer = qtest_qmp(d->qts, "{'execute': 'query-blockstats'}");
    QList *list = qdict_get_qlist(answer, "return");
    QDict *stats;

    g_assert_cmpint(qlist_size(list), ==, 1);
    stats = qobject_ref(qdict_get_qdict(qobject_to(QDict, qlist_peek(list)),
                                        "stats"));
    qobject_unref(answer);
    return stats;
}

static int64_t statistic(Disk *d, const char *name)
{
    QDict *stats = statistics(d);
    int64_t value = qdict_get_int(stats, name);

    qobject_unref(stats);
    return value;
}

/* Exports count nothing. */
static void assert_statistic(Disk *d, const char *name, int64_t value)
{
    if (!d->exported) {
        g_assert_cmpint(statistic(d, name), ==, value);
    }
}

static uint32_t config32(Disk *d, size_t field)
{
    return qvirtio_config_readl(d->dev, field);
}

#define CONFIG(field)   offsetof(struct virtio_blk_config, field)

/* V12 to V16, V18 to V21 */
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


/* V21 */
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

/* V8, V11, V17 (there is no size_max that could bound appends) */
static void test_features(void)
{
    Disk *d = get_disk(&standard);

    g_assert_true(d->features & 1ull << VIRTIO_BLK_F_ZONED);
    g_assert_true(d->features & 1ull << VIRTIO_BLK_F_WRITE_ZEROES);
    g_assert_false(d->features & 1ull << VIRTIO_BLK_F_DISCARD);
    g_assert_false(d->features & 1ull << VIRTIO_BLK_F_SECURE_ERASE);
    g_assert_false(d->features & 1ull << VIRTIO_BLK_F_SIZE_MAX);
}

/* V5, and V7: such a driver has no zone operations either */
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

/* Let a driver begin with the features that the device offers, but @without. */
static void restart_driver(Disk *d, uint64_t without)
{
    drop_device(d);
    find_device(d);
    d->features &= ~without;
    start_driver(d);
}

#define LEGACY_HOST_FEATURES    0
#define LEGACY_GUEST_FEATURES   4
#define LEGACY_CONFIG           20

/* V2 */
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
 * V6, V7, V9: without the feature there are no zones, and no statuses that the
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

/* V2: it cannot be refused */
static void test_legacy_driver(void)
{
    Disk *d = get_disk(&standard);
    QPCIBar legacy;

    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
    drop_device(d);
    find_device(d);
    legacy = qpci_iomap(d->pci->pdev, 0, NULL);
    qpci_io_writel(d->pci->pdev, legacy, LEGACY_GUEST_FEATURES,
                   d->features & ~QVIRTIO_F_BAD_FEATURE);
    d->dev->features = 0;
    d->dev->features_negotiated = true;
    d->vq = qvirtqueue_setup(d->dev, &d->machine->alloc, 0);
    qvirtio_set_driver_ok(d->dev);
    assert_can_only_read(d);
}

/* V5: a driver that is refused, and does not ask whether it is */
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
    d->vq = qvirtqueue_setup(d->dev, &d->machine->alloc, 0);
    d->dev->bus->set_status(d->dev, d->dev->bus->get_status(d->dev) |
                                    VIRTIO_CONFIG_S_DRIVER_OK);
    assert_can_only_read(d);
}

/* V9 */
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

/* V18, V19, V46, V100, V61, V44: one number for all of them */
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

/* Give QEMU another image, as the node "other". */
static char *add_image(Disk *d, const Setup *setup)
{
    char *image = create_image(setup);

    qtest_qmp_assert_success(d->qts, "{'execute': 'blockdev-add', 'arguments':"
                             " {'node-name': 'other', 'driver': 'qcow2',"
                             "  'file': {'driver': 'file', 'filename': %s}}}",
                             image);
    return image;
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

/* V2, V4, V18: what cannot be told to a driver is an error of the user */
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

/* V22, V13: what a driver was told stays, whatever the host tries */
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

/* V22, V72: an error of the host, not of the driver */
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

static const Setup host_aware = { .host_aware = true };

static struct virtio_blk_zone_descriptor get_zone(Disk *d, unsigned zone)
{
    g_autofree Report *report = g_malloc(report_size(1));

    assert_ok(get_report(d, zone * ZONE, report, report_size(1)));
    g_assert_cmpint(le64_to_cpu(report->header.nr_zones), ==, 1);
    return report->zones[0];
}

/* V4, V8, V53, V57, V98: zones whose order is preferred, not required */
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

/* V6: to a driver that does not know zones, it is a disk */
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

/* V14, V15 */
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

/* V13, V69, V103, V88 */
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

/* V1, V7 */
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

/* --- Report --- */

/* V63, V64, V68 to V71; the checks are in describe_zones() */
static void test_report_all(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 2 * ZONE, 8 * KiB, 1));
    assert_ok(zone_finish(d, 9));
    assert_ok(write_at(d, 15 * ZONE, SECTOR, 1));
    assert_zones(d, "2:iopen@8K 9:full 15:iopen@512");
}

/* V63 */
static void test_report_from_middle(void)
{
    g_autofree Report *r = g_malloc(report_size(NR_ZONES));
    Disk *d = get_disk(&standard);

    assert_ok(get_report(d, 6 * ZONE - SECTOR, r, report_size(NR_ZONES)));
    g_assert_cmpint(le64_to_cpu(r->header.nr_zones), ==, NR_ZONES - 5);
    for (unsigned i = 5; i < NR_ZONES; i++) {
        assert_zone_geometry(d, i, &r->zones[i - 5]);
    }
}

/* V64 */
static void test_report_odd_buffer(void)
{
    size_t size = report_size(3) + 40;
    g_autofree uint8_t *buffer = g_malloc(size);
    Report *r = (Report *)buffer;
    Disk *d = get_disk(&standard);

    assert_ok(get_report(d, 4 * ZONE, buffer, size));
    g_assert_cmpint(le64_to_cpu(r->header.nr_zones), ==, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_zone_geometry(d, 4 + i, &r->zones[i]);
    }
}

/* V24 */
static void test_report_pieces(void)
{
    g_autofree Report *r = g_malloc(report_size(NR_ZONES));
    Disk *d = get_disk(&standard);

    assert_ok(submit(d, &(Request) {
        .type = VIRTIO_BLK_T_ZONE_REPORT, .segment = 77, .misaligned = 13,
        .in_len = report_size(NR_ZONES), .in = r,
    }));
    g_assert_cmpint(le64_to_cpu(r->header.nr_zones), ==, NR_ZONES);
    for (unsigned i = 0; i < NR_ZONES; i++) {
        assert_zone_geometry(d, i, &r->zones[i]);
    }
}

/* V63, V64; the device collects a report in parts */
static void test_report_many_zones(void)
{
    static const Setup setup = {
        .size = "320M",
        .image = ",zone.size=64K,zone.capacity=64K",
    };
    unsigned n = 5120;
    g_autofree Report *r = g_malloc(report_size(n + 1));
    Disk *d = new_disk(&setup);

    assert_ok(get_report(d, 0, r, report_size(n + 1)));
    g_assert_cmpint(le64_to_cpu(r->header.nr_zones), ==, n);
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmpint(le64_to_cpu(r->zones[i].z_start), ==, i * 128);
    }
    delete_disk(d);
}

/* V67 */
static void test_report_beyond(void)
{
    g_autofree Report *r = g_malloc(report_size(1));
    Disk *d = get_disk(&standard);

    assert_status(get_report(d, DISK, r, report_size(1)), "INVALID_CMD");
    assert_status(get_report(d, DISK + SECTOR, r, report_size(1)),
                  "INVALID_CMD");
    assert_zones(d, "");
}

/* V65 */
static void test_report_header_only(void)
{
    struct virtio_blk_zone_report header;
    Disk *d = get_disk(&standard);

    assert_ok(get_report(d, 0, &header, sizeof(header)));
    g_assert_cmpint(le64_to_cpu(header.nr_zones), ==, 0);
}

/* V66: the device stays usable */
static void test_report_no_room(void)
{
    Disk *d = get_disk(&standard);

    assert_status(get_report(d, 0, NULL, sizeof(struct virtio_blk_zone_report)
                                         - 1), "INVALID_CMD");
    assert_status(get_report(d, 0, NULL, 0), "INVALID_CMD");
    assert_zones(d, "");
}

/* --- Every request in every state --- */

typedef enum State {
    CONV, EMPTY, IOPEN, EOPEN, UNWRITTEN, CLOSED, FULL, RDONLY, OFFLINE,
} State;

static const struct {
    const char *name;
    unsigned zone;          /* the one that is used for it */
    uint64_t wp;            /* from its start; what is below is OLD */
    const char *zones;      /* described */
} states[] = {
    [CONV] = { "a conventional zone", 1, 8 * KiB, "" },
    [EMPTY] = { "an empty zone", 3, 0, "" },
    [IOPEN] = { "an implicitly open zone", 3, 8 * KiB, "3:iopen@8K" },
    [EOPEN] = { "an explicitly open zone", 3, 8 * KiB, "3:eopen@8K" },
    [UNWRITTEN] = { "an explicitly open zone without data", 3, 0,
                    "3:eopen@0K" },
    [CLOSED] = { "a closed zone", 3, 8 * KiB, "3:closed@8K" },
    [FULL] = { "a full zone", 3, 8 * KiB, "3:full" },
    [RDONLY] = { "a read-only zone", ZONE_RDONLY, 8 * KiB,
                 "14:rdonly 15:offline" },
    [OFFLINE] = { "an offline zone", ZONE_OFFLINE, 8 * KiB,
                  "14:rdonly 15:offline" },
};

static Disk *prepare(State state)
{
    unsigned zone = states[state].zone;
    bool worn = state == RDONLY || state == OFFLINE;
    Disk *d = get_disk(worn ? &worn_out : &large_append);

    if (state == EOPEN || state == UNWRITTEN) {
        assert_ok(zone_open(d, zone));
    }
    if (states[state].wp && !worn) {
        assert_ok(write_at(d, zone * ZONE, states[state].wp, OLD));
    }
    if (state == CLOSED) {
        assert_ok(zone_close(d, zone));
    }
    if (state == FULL) {
        assert_ok(zone_finish(d, zone));
    }
    assert_zones(d, states[state].zones);
    return d;
}

typedef enum Action {
    READ,
    WRITE, WRITE_REST, WRITE_AHEAD, WRITE_BEHIND, WRITE_PAST,
    APPEND, APPEND_REST, APPEND_PAST,
    ZEROES, ZEROES_AHEAD,
    OPEN, CLOSE, FINISH, RESET, RESET_ALL,
} Action;

static const char *const actions[] = {
    [READ] = "a read from the start of",
    [WRITE] = "a write at the write pointer of",
    [WRITE_REST] = "a write of all that is left in",
    [WRITE_AHEAD] = "a write ahead of the write pointer of",
    [WRITE_BEHIND] = "a write behind the write pointer of",
    [WRITE_PAST] = "a write past the capacity of",
    [APPEND] = "an append to",
    [APPEND_REST] = "an append of all that is left in",
    [APPEND_PAST] = "an append past the capacity of",
    [ZEROES] = "a write of zeroes at the write pointer of",
    [ZEROES_AHEAD] = "a write of zeroes ahead of the write pointer of",
    [OPEN] = "an open of",
    [CLOSE] = "a close of",
    [FINISH] = "a finish of",
    [RESET] = "a reset of",
    [RESET_ALL] = "a reset of all with",
};

typedef struct Cell {
    State state;
    Action action;
    const char *status;
    const char *after;      /* zones after it; NULL: as before */
} Cell;

static const Cell cells[] = {
    /* V44, V98; V39; V60 */
    { CONV, READ, "OK" },
    { CONV, WRITE, "OK" },
    { CONV, WRITE_REST, "OK" },
    { CONV, WRITE_AHEAD, "OK" },
    { CONV, WRITE_BEHIND, "OK" },
    { CONV, ZEROES, "OK" },
    { CONV, ZEROES_AHEAD, "OK" },
    { CONV, APPEND, "INVALID_CMD" },
    { CONV, APPEND_REST, "INVALID_CMD" },
    { CONV, APPEND_PAST, "INVALID_CMD" },
    /* V76, V82, V86, V90, V93 */
    { CONV, OPEN, "INVALID_CMD" },
    { CONV, CLOSE, "INVALID_CMD" },
    { CONV, FINISH, "INVALID_CMD" },
    { CONV, RESET, "INVALID_CMD" },
    { CONV, RESET_ALL, "OK" },

    /* V42, V43; V51, V52; V45; V48; V96, V106, V103; V61 */
    { EMPTY, READ, "OK" },
    { EMPTY, WRITE, "OK", "3:iopen@4K" },
    { EMPTY, WRITE_REST, "OK", "3:full" },
    { EMPTY, WRITE_AHEAD, "UNALIGNED_WP" },
    { EMPTY, WRITE_PAST, "INVALID_CMD" },
    { EMPTY, APPEND, "OK", "3:iopen@4K" },
    { EMPTY, APPEND_REST, "OK", "3:full" },
    { EMPTY, APPEND_PAST, "INVALID_CMD" },
    { EMPTY, ZEROES, "OK", "3:iopen@4K" },
    { EMPTY, ZEROES_AHEAD, "UNALIGNED_WP" },
    /* V73; V82; V85; V89; V93 */
    { EMPTY, OPEN, "OK", "3:eopen@0K" },
    { EMPTY, CLOSE, "INVALID_CMD" },
    { EMPTY, FINISH, "OK", "3:full" },
    { EMPTY, RESET, "OK" },
    { EMPTY, RESET_ALL, "OK" },

    { IOPEN, READ, "OK" },
    { IOPEN, WRITE, "OK", "3:iopen@12K" },
    { IOPEN, WRITE_REST, "OK", "3:full" },
    { IOPEN, WRITE_AHEAD, "UNALIGNED_WP" },
    { IOPEN, WRITE_BEHIND, "UNALIGNED_WP" },
    { IOPEN, WRITE_PAST, "INVALID_CMD" },
    { IOPEN, APPEND, "OK", "3:iopen@12K" },
    { IOPEN, APPEND_REST, "OK", "3:full" },
    { IOPEN, APPEND_PAST, "INVALID_CMD" },
    { IOPEN, ZEROES, "OK", "3:iopen@12K" },
    { IOPEN, ZEROES_AHEAD, "UNALIGNED_WP" },
    /* V73; V78; V83; V88; V92 */
    { IOPEN, OPEN, "OK", "3:eopen@8K" },
    { IOPEN, CLOSE, "OK", "3:closed@8K" },
    { IOPEN, FINISH, "OK", "3:full" },
    { IOPEN, RESET, "OK", "" },
    { IOPEN, RESET_ALL, "OK", "" },

    { EOPEN, READ, "OK" },
    { EOPEN, WRITE, "OK", "3:eopen@12K" },
    { EOPEN, WRITE_REST, "OK", "3:full" },
    { EOPEN, WRITE_AHEAD, "UNALIGNED_WP" },
    { EOPEN, WRITE_BEHIND, "UNALIGNED_WP" },
    { EOPEN, WRITE_PAST, "INVALID_CMD" },
    { EOPEN, APPEND, "OK", "3:eopen@12K" },
    { EOPEN, APPEND_REST, "OK", "3:full" },
    { EOPEN, APPEND_PAST, "INVALID_CMD" },
    { EOPEN, ZEROES, "OK", "3:eopen@12K" },
    { EOPEN, ZEROES_AHEAD, "UNALIGNED_WP" },
    /* V74; V78; V83; V88; V92 */
    { EOPEN, OPEN, "OK" },
    { EOPEN, CLOSE, "OK", "3:closed@8K" },
    { EOPEN, FINISH, "OK", "3:full" },
    { EOPEN, RESET, "OK", "" },
    { EOPEN, RESET_ALL, "OK", "" },

    { UNWRITTEN, READ, "OK" },
    { UNWRITTEN, WRITE, "OK", "3:eopen@4K" },
    { UNWRITTEN, WRITE_REST, "OK", "3:full" },
    { UNWRITTEN, WRITE_AHEAD, "UNALIGNED_WP" },
    { UNWRITTEN, WRITE_PAST, "INVALID_CMD" },
    { UNWRITTEN, APPEND, "OK", "3:eopen@4K" },
    { UNWRITTEN, APPEND_REST, "OK", "3:full" },
    { UNWRITTEN, APPEND_PAST, "INVALID_CMD" },
    /* V74; V79; V83; V88; V92 */
    { UNWRITTEN, OPEN, "OK" },
    { UNWRITTEN, CLOSE, "OK", "" },
    { UNWRITTEN, FINISH, "OK", "3:full" },
    { UNWRITTEN, RESET, "OK", "" },
    { UNWRITTEN, RESET_ALL, "OK", "" },

    { CLOSED, READ, "OK" },
    { CLOSED, WRITE, "OK", "3:iopen@12K" },
    { CLOSED, WRITE_REST, "OK", "3:full" },
    { CLOSED, WRITE_AHEAD, "UNALIGNED_WP" },
    { CLOSED, WRITE_BEHIND, "UNALIGNED_WP" },
    { CLOSED, WRITE_PAST, "INVALID_CMD" },
    { CLOSED, APPEND, "OK", "3:iopen@12K" },
    { CLOSED, APPEND_REST, "OK", "3:full" },
    { CLOSED, APPEND_PAST, "INVALID_CMD" },
    { CLOSED, ZEROES, "OK", "3:iopen@12K" },
    { CLOSED, ZEROES_AHEAD, "UNALIGNED_WP" },
    /* V73; V80; V85; V88; V92 */
    { CLOSED, OPEN, "OK", "3:eopen@8K" },
    { CLOSED, CLOSE, "OK" },
    { CLOSED, FINISH, "OK", "3:full" },
    { CLOSED, RESET, "OK", "" },
    { CLOSED, RESET_ALL, "OK", "" },

    /* V42, V43; V49, V87; V105 */
    { FULL, READ, "OK" },
    { FULL, WRITE, "INVALID_CMD" },
    { FULL, WRITE_REST, "INVALID_CMD" },
    { FULL, WRITE_AHEAD, "INVALID_CMD" },
    { FULL, WRITE_BEHIND, "INVALID_CMD" },
    { FULL, WRITE_PAST, "INVALID_CMD" },
    { FULL, APPEND, "INVALID_CMD" },
    { FULL, APPEND_REST, "INVALID_CMD" },
    { FULL, APPEND_PAST, "INVALID_CMD" },
    { FULL, ZEROES, "INVALID_CMD" },
    { FULL, ZEROES_AHEAD, "INVALID_CMD" },
    /* V75; V81; V84; V88; V92 */
    { FULL, OPEN, "INVALID_CMD" },
    { FULL, CLOSE, "INVALID_CMD" },
    { FULL, FINISH, "OK" },
    { FULL, RESET, "OK", "" },
    { FULL, RESET_ALL, "OK", "" },

    /* V35, V43, V50, V75, V81, V86, V90, V93, V105 */
    { RDONLY, READ, "OK" },
    { RDONLY, WRITE, "INVALID_CMD" },
    { RDONLY, WRITE_REST, "INVALID_CMD" },
    { RDONLY, WRITE_AHEAD, "INVALID_CMD" },
    { RDONLY, WRITE_BEHIND, "INVALID_CMD" },
    { RDONLY, WRITE_PAST, "INVALID_CMD" },
    { RDONLY, APPEND, "INVALID_CMD" },
    { RDONLY, APPEND_REST, "INVALID_CMD" },
    { RDONLY, APPEND_PAST, "INVALID_CMD" },
    { RDONLY, ZEROES, "INVALID_CMD" },
    { RDONLY, ZEROES_AHEAD, "INVALID_CMD" },
    { RDONLY, OPEN, "INVALID_CMD" },
    { RDONLY, CLOSE, "INVALID_CMD" },
    { RDONLY, FINISH, "INVALID_CMD" },
    { RDONLY, RESET, "INVALID_CMD" },
    { RDONLY, RESET_ALL, "OK" },

    /* V34, V41, V50, V75, V81, V86, V90, V93, V105 */
    { OFFLINE, READ, "INVALID_CMD" },
    { OFFLINE, WRITE, "INVALID_CMD" },
    { OFFLINE, WRITE_REST, "INVALID_CMD" },
    { OFFLINE, WRITE_AHEAD, "INVALID_CMD" },
    { OFFLINE, WRITE_BEHIND, "INVALID_CMD" },
    { OFFLINE, WRITE_PAST, "INVALID_CMD" },
    { OFFLINE, APPEND, "INVALID_CMD" },
    { OFFLINE, APPEND_REST, "INVALID_CMD" },
    { OFFLINE, APPEND_PAST, "INVALID_CMD" },
    { OFFLINE, ZEROES, "INVALID_CMD" },
    { OFFLINE, ZEROES_AHEAD, "INVALID_CMD" },
    { OFFLINE, OPEN, "INVALID_CMD" },
    { OFFLINE, CLOSE, "INVALID_CMD" },
    { OFFLINE, FINISH, "INVALID_CMD" },
    { OFFLINE, RESET, "INVALID_CMD" },
    { OFFLINE, RESET_ALL, "OK" },
};

/* Do it.  *@offset and *@bytes become the range of the disk that it is for. */
static const char *act(Disk *d, const Cell *c, uint64_t *offset,
                       uint64_t *bytes)
{
    uint64_t start = states[c->state].zone * ZONE;
    uint64_t wp = start + states[c->state].wp;
    uint64_t end = start + (c->state == CONV ? ZONE : CAPACITY);

    *bytes = 4 * KiB;
    *offset = wp;
    switch (c->action) {
    case READ:
        *offset = start;
        *bytes = 16 * KiB;
        return read_at(d, start, *bytes, NULL);
    case WRITE_REST:
        *bytes = end - wp;
        break;
    case WRITE_AHEAD:
        *offset = wp + 4 * KiB;
        break;
    case WRITE_BEHIND:
        *offset = start;
        break;
    case WRITE_PAST:
        *bytes += end - wp;
        break;
    case APPEND:
        return append(d, start, *bytes, NEW, offset);
    case APPEND_REST:
        *bytes = end - wp;
        return append(d, start, *bytes, NEW, offset);
    case APPEND_PAST:
        *bytes += end - wp;
        return append(d, start, *bytes, NEW, offset);
    case ZEROES:
        return write_zeroes(d, *offset, *bytes);
    case ZEROES_AHEAD:
        *offset = wp + 4 * KiB;
        return write_zeroes(d, *offset, *bytes);
    case OPEN:
        return zone_open(d, states[c->state].zone);
    case CLOSE:
        return zone_close(d, states[c->state].zone);
    case FINISH:
        return zone_finish(d, states[c->state].zone);
    case RESET:
        return zone_reset(d, states[c->state].zone);
    case RESET_ALL:
        return reset_all(d);
    default:
        break;
    }
    return write_at(d, *offset, *bytes, NEW);
}

/* The parts of a zone that a request of a cell could change by mistake */
static void read_zone(Disk *d, unsigned zone, uint8_t data[64 * KiB])
{
    if (zone == ZONE_OFFLINE) {
        memset(data, 0, 64 * KiB);
        return;
    }
    assert_ok(read_at(d, zone * ZONE, 32 * KiB, data));
    assert_ok(read_at(d, zone * ZONE + CAPACITY - 16 * KiB, 32 * KiB,
                      data + 32 * KiB));
}

/* V39, V42, V43, V44, V52, V60, V88, V96 */
static void assert_data_after(Disk *d, const Cell *c, uint64_t offset,
                              uint64_t bytes)
{
    uint64_t start = states[c->state].zone * ZONE;
    uint64_t wp = start + states[c->state].wp;

    switch (c->action) {
    case APPEND:
    case APPEND_REST:
        g_assert_cmpint(offset, ==, wp);
        /* fall through */
    case WRITE:
    case WRITE_REST:
    case WRITE_AHEAD:
    case WRITE_BEHIND:
        assert_data(d, offset, bytes, NEW);
        break;
    case ZEROES:
    case ZEROES_AHEAD:
        assert_data(d, offset, bytes, 0);
        break;
    case RESET:
    case RESET_ALL:
        if (c->state != CONV && c->state != RDONLY && c->state != OFFLINE) {
            assert_data(d, start, 16 * KiB, 0);
        }
        break;
    default:
        if (wp > start && c->state != RDONLY) {
            assert_data(d, start, wp - start, OLD);
        }
        if (c->state != CONV) {
            assert_data(d, wp, 16 * KiB, 0);
        }
        break;
    }
}

/* V27, V28 in addition to what is said at the cell */
static void test_cell(const void *opaque)
{
    const Cell *c = opaque;
    unsigned zone = states[c->state].zone;
    g_autofree uint8_t *before = g_malloc(64 * KiB);
    g_autofree uint8_t *after = g_malloc(64 * KiB);
    Disk *d = prepare(c->state);
    uint64_t offset, bytes;

    read_zone(d, zone, before);
    assert_status(act(d, c, &offset, &bytes), c->status);
    assert_zones(d, c->after ?: states[c->state].zones);
    if (g_str_equal(c->status, "OK")) {
        assert_data_after(d, c, offset, bytes);
    } else {
        read_zone(d, zone, after);
        g_assert_cmpmem(before, 64 * KiB, after, 64 * KiB);
    }
    assert_vm_runs(d);
}

static char *cell_name(const Cell *c)
{
    g_autofree char *outcome = NULL;

    if (!g_str_equal(c->status, "OK")) {
        outcome = g_strdup_printf("fails with %s", c->status);
    } else if (!c->after) {
        outcome = g_strdup("is OK and changes no zone");
    } else {
        outcome = g_strdup_printf("makes it %s", c->after[0] ?
                                  strchr(c->after, ':') + 1 : "empty");
    }
    return g_strdup_printf("state/%s %s %s",
                           actions[c->action], states[c->state].name, outcome);
}

/* --- Places that are no zone --- */

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

/* V76, V82, V86, V91 */
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

/* V92, V93, V94 */
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

/* V25 */
static void test_unknown_type(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    assert_status(manage(d, 28, 3 * ZONE), "UNSUPP");
    assert_status(manage(d, 1000, 3 * ZONE), "UNSUPP");
    assert_zones(d, "3:iopen@8K");
}

/* V25, V111: 14 is a secure erase, the others have a bit too many */
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

/* V25: a driver that knows zones has no legacy flags */
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

/* V29: also where the answer is shorter than the buffer */
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

/* V26, V91: in bytes, these sectors would be zone 3 again */
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

/* --- Reads and writes --- */

/* V27, V45: the device of all these tests has werror=stop and rerror=stop */
static void test_error_policy(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    assert_status(write_at(d, 3 * ZONE, 4 * KiB, NEW), "UNALIGNED_WP");
    assert_vm_runs(d);
    assert_status(write_at(d, 3 * ZONE, CAPACITY, NEW), "UNALIGNED_WP");
    assert_vm_runs(d);
    assert_zones(d, "3:iopen@8K");
    assert_data(d, 3 * ZONE, 8 * KiB, OLD);
    assert_ok(write_at(d, 3 * ZONE + 8 * KiB, 4 * KiB, NEW));
    assert_zones(d, "3:iopen@12K");
}

/* V44 */
static void test_conventional_any_order(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, ZONE + 512 * KiB, 8 * KiB, 1));
    assert_ok(write_at(d, 16 * KiB + SECTOR, SECTOR, 2));
    assert_ok(write_at(d, ZONE + 512 * KiB, 4 * KiB, 3));
    assert_ok(write_at(d, ZONE - 4 * KiB, 8 * KiB, 4));
    assert_data(d, ZONE + 512 * KiB, 4 * KiB, 3);
    assert_data(d, ZONE + 516 * KiB, 4 * KiB, 1);
    assert_data(d, 16 * KiB + SECTOR, SECTOR, 2);
    assert_data(d, ZONE - 4 * KiB, 8 * KiB, 4);
    assert_zones(d, "");
}

/* V47, V28 */
static void test_write_into_first_sequential(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 2 * ZONE - 8 * KiB, 8 * KiB, OLD));
    assert_status(write_at(d, 2 * ZONE - 4 * KiB, 8 * KiB, NEW), "INVALID_CMD");
    assert_zones(d, "");
    assert_data(d, 2 * ZONE - 8 * KiB, 8 * KiB, OLD);
}

static const Setup no_gap = {
    .capacity = ZONE,
};

/* V47, V28 */
static void test_write_into_next_zone(void)
{
    Disk *d = get_disk(&no_gap);

    assert_ok(write_at(d, 3 * ZONE, ZONE - 4 * KiB, OLD));
    assert_status(write_at(d, 4 * ZONE - 4 * KiB, 8 * KiB, NEW), "INVALID_CMD");
    assert_zones(d, "3:iopen@4092K");
    assert_ok(write_at(d, 4 * ZONE - 4 * KiB, 4 * KiB, NEW));
    assert_zones(d, "3:full");
    assert_data(d, 4 * ZONE, 4 * KiB, 0);
}

/* V103, V104, V105, V28 */
static void test_append_into_next_zone(void)
{
    Disk *d = get_disk(&no_gap);
    uint64_t position;

    assert_ok(write_at(d, 3 * ZONE, ZONE - 4 * KiB, OLD));
    assert_status(append(d, 3 * ZONE, 8 * KiB, NEW, &position), "INVALID_CMD");
    assert_zones(d, "3:iopen@4092K");
    assert_ok(append(d, 3 * ZONE, 4 * KiB, NEW, &position));
    g_assert_cmpint(position, ==, 4 * ZONE - 4 * KiB);
    assert_status(append(d, 3 * ZONE, 4 * KiB, NEW, &position), "INVALID_CMD");
    assert_zones(d, "3:full");
    assert_data(d, 4 * ZONE, 8 * KiB, 0);
}

/* V18: the write granularity of the config space is the one that counts */
static void test_single_sectors(void)
{
    Disk *d = get_disk(&standard);
    uint64_t position;

    assert_ok(write_at(d, 3 * ZONE, SECTOR, 1));
    assert_zones(d, "3:iopen@512");
    assert_ok(append(d, 3 * ZONE, SECTOR, 2, &position));
    g_assert_cmpint(position, ==, 3 * ZONE + SECTOR);
    assert_ok(write_zeroes(d, 3 * ZONE + 2 * SECTOR, SECTOR));
    assert_zones(d, "3:iopen@1536");
    assert_data(d, 3 * ZONE, SECTOR, 1);
    assert_data(d, 3 * ZONE + SECTOR, SECTOR, 2);
    assert_data(d, 3 * ZONE + 2 * SECTOR, SECTOR, 0);
}

/* V42 */
static void test_read_after_reset(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, CAPACITY, OLD));
    assert_zones(d, "3:full");
    assert_data(d, 3 * ZONE, CAPACITY, OLD);
    assert_data(d, 3 * ZONE + CAPACITY, ZONE - CAPACITY, 0);
    assert_ok(zone_reset(d, 3));
    assert_data(d, 3 * ZONE, ZONE, 0);
    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, NEW));
    assert_data(d, 3 * ZONE, 4 * KiB, NEW);
    assert_data(d, 3 * ZONE + 4 * KiB, ZONE - 4 * KiB, 0);
    assert_zones(d, "3:iopen@4K");
}

/* V54 */
static void test_flush(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    assert_ok(zone_open(d, 4));
    assert_ok(manage(d, VIRTIO_BLK_T_FLUSH, 0));
    assert_zones(d, "3:iopen@8K 4:eopen@0K");
}

/* V29: there can be room for more than the status that a request tells */
static void test_room_for_nothing(void)
{
    static const uint32_t types[] = {
        VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_ZONE_OPEN,
        VIRTIO_BLK_T_ZONE_FINISH, VIRTIO_BLK_T_ZONE_RESET,
        VIRTIO_BLK_T_ZONE_RESET_ALL,
    };
    Disk *d = get_disk(&standard);

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        assert_ok(submit(d, &(Request) {
            .type = types[i], .sector = 3 * ZONE / SECTOR,
            .out_len = types[i] == VIRTIO_BLK_T_OUT ? 4 * KiB : 0,
            .in_len = 40,
        }));
    }
}

/* V24, V110: what is written does not depend on how the guest's buffers lie */
static void test_buffers(const void *opaque)
{
    const Request *framing = opaque;
    g_autofree uint8_t *data = g_malloc(48 * KiB), *back = g_malloc(48 * KiB);
    Disk *d = get_disk(&standard);
    Request r = *framing;

    for (unsigned i = 0; i < 48 * KiB; i++) {
        data[i] = (i / 256 + i * 7) % 128;
    }
    r.out = data;
    r.out_len = 24 * KiB;
    r.sector = 3 * ZONE / SECTOR;
    r.type = VIRTIO_BLK_T_OUT;
    assert_ok(submit(d, &r));
    r.out = data + 24 * KiB;
    r.type = VIRTIO_BLK_T_ZONE_APPEND;
    r.in_len = 8;
    assert_ok(submit(d, &r));
    assert_zones(d, "3:iopen@48K");
    r.out_len = 0;
    r.type = VIRTIO_BLK_T_IN;
    r.in_len = 48 * KiB;
    r.in = back;
    assert_ok(submit(d, &r));
    g_assert_cmpmem(data, 48 * KiB, back, 48 * KiB);
}

static const Request joined = { .joined = true };
static const Request misaligned = { .misaligned = 1003 };
static const Request in_pieces = { .segment = 1000, .misaligned = 333 };

/* V40 */
static void test_read_into_next_zone(const void *setup)
{
    Disk *d = get_disk(setup);

    assert_ok(write_at(d, 3 * ZONE, CAPACITY, OLD));
    assert_status(read_at(d, 4 * ZONE - 4 * KiB, 8 * KiB, NULL), "INVALID_CMD");
    assert_status(read_at(d, 4 * ZONE - SECTOR, 2 * SECTOR, NULL),
                  "INVALID_CMD");
    assert_status(read_at(d, 3 * ZONE, ZONE + SECTOR, NULL), "INVALID_CMD");
    assert_status(read_at(d, 3 * ZONE, 4 * ZONE, NULL), "INVALID_CMD");
    assert_status(read_at(d, 2 * ZONE - SECTOR, 2 * SECTOR, NULL),
                  "INVALID_CMD");
    assert_status(read_at(d, 0, 3 * ZONE, NULL), "INVALID_CMD");
    assert_vm_runs(d);
    if (!d->exported) {
        g_assert_cmpint(statistic(d, "failed_rd_operations"), >=, 6);
    }
    assert_ok(read_at(d, 3 * ZONE, ZONE, NULL));
    assert_ok(read_at(d, DISK - SECTOR, SECTOR, NULL));
    assert_status(read_at(d, DISK - SECTOR, 2 * SECTOR, NULL), "IOERR");
}

/* V39, V40 */
static void test_read_conventional(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, ZONE - 4 * KiB, 8 * KiB, OLD));
    assert_data(d, ZONE - 4 * KiB, 8 * KiB, OLD);
    assert_ok(read_at(d, 0, 2 * ZONE, NULL));
}

/* V39, V40: more zones than the device looks at in one go */
static void test_read_many_conventional(void)
{
    static const Setup setup = {
        .image = ",zone.size=64K,zone.capacity=64K,zone.conventional_zones=200",
    };
    Disk *d = new_disk(&setup);

    assert_ok(write_at(d, 199 * 64 * KiB, 64 * KiB, OLD));
    assert_ok(read_at(d, 0, 200 * 64 * KiB, NULL));
    assert_data(d, 198 * 64 * KiB + SECTOR, 64 * KiB - SECTOR, 0);
    assert_data(d, 199 * 64 * KiB, 64 * KiB, OLD);
    assert_status(read_at(d, 0, 200 * 64 * KiB + SECTOR, NULL), "INVALID_CMD");
    delete_disk(d);
}

/* --- Write zeroes, discard --- */

/* V61, V28: nothing is written, wherever clusters begin and end */
static void test_zeroes_past_capacity(void)
{
    Disk *d = get_disk(&standard);

    assert_status(write_zeroes(d, 3 * ZONE, ZONE), "INVALID_CMD");
    assert_status(write_zeroes(d, 3 * ZONE, CAPACITY + SECTOR), "INVALID_CMD");
    assert_zones(d, "");
    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
    assert_status(write_zeroes(d, 3 * ZONE + 4 * KiB, CAPACITY), "INVALID_CMD");
    assert_zones(d, "3:iopen@4K");
    assert_vm_runs(d);
}

/* V47, V61, V28 */
static void test_zeroes_into_next_zone(void)
{
    Disk *d = get_disk(&no_gap);

    assert_ok(write_at(d, 2 * ZONE - 256 * KiB, 256 * KiB, OLD));
    assert_status(write_zeroes(d, 2 * ZONE - 68 * KiB, 256 * KiB),
                  "INVALID_CMD");
    assert_zones(d, "");
    assert_data(d, 2 * ZONE - 256 * KiB, 256 * KiB, OLD);
    assert_ok(write_at(d, 3 * ZONE, ZONE - 68 * KiB, OLD));
    assert_status(write_zeroes(d, 4 * ZONE - 68 * KiB, 256 * KiB),
                  "INVALID_CMD");
    assert_status(write_zeroes(d, 3 * ZONE, 3 * ZONE), "INVALID_CMD");
    assert_zones(d, "3:iopen@4028K");
}

/* V61, V28: more than the block layer writes in one go */
static void test_zeroes_large_zone(void)
{
    static const Setup setup = {
        .size = "512M", .capacity = 48 * MiB, .image = ",zone.size=64M",
    };
    g_autofree Report *r = g_malloc(report_size(1));
    Disk *d = new_disk(&setup);

    assert_status(write_zeroes(d, 128 * MiB, 64 * MiB), "INVALID_CMD");
    assert_ok(get_report(d, 128 * MiB, r, report_size(1)));
    g_assert_cmpint(r->zones[0].z_state, ==, VIRTIO_BLK_ZS_EMPTY);
    assert_ok(write_zeroes(d, 128 * MiB, 48 * MiB));
    assert_ok(get_report(d, 128 * MiB, r, report_size(1)));
    g_assert_cmpint(r->zones[0].z_state, ==, VIRTIO_BLK_ZS_FULL);
    delete_disk(d);
}

/* V45, V47, V48, V61: an optimization of the host changes no rule */
static void test_detect_zeroes(void)
{
    static const Setup setup = { .blockdev = ",detect-zeroes=on" };
    Disk *d = new_disk(&setup);

    assert_ok(write_at(d, 3 * ZONE, 64 * KiB, 0));
    assert_zones(d, "3:iopen@64K");
    assert_status(write_at(d, 3 * ZONE, 64 * KiB, 0), "UNALIGNED_WP");
    assert_ok(write_at(d, 3 * ZONE + 64 * KiB, 4 * KiB, 0));
    assert_status(write_at(d, 3 * ZONE + 68 * KiB, CAPACITY, 0), "INVALID_CMD");
    assert_status(write_at(d, 2 * ZONE - 4 * KiB, 8 * KiB, 0), "INVALID_CMD");
    assert_zones(d, "3:iopen@68K");
    assert_data(d, 3 * ZONE, 128 * KiB, 0);
    delete_disk(d);
}

/* V60, V62 */
static void test_zeroes_unmap(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, 64 * KiB, OLD));
    assert_status(send_range(d, VIRTIO_BLK_T_WRITE_ZEROES, 3 * ZONE, 64 * KiB,
                             VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP),
                  "UNALIGNED_WP");
    assert_data(d, 3 * ZONE, 64 * KiB, OLD);
    assert_ok(send_range(d, VIRTIO_BLK_T_WRITE_ZEROES, 3 * ZONE + 64 * KiB,
                         64 * KiB, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP));
    assert_zones(d, "3:iopen@128K");
    assert_data(d, 3 * ZONE + 64 * KiB, 64 * KiB, 0);
}

/* V61: all of a zone, in one request */
static void test_zeroes_fill(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_zeroes(d, 3 * ZONE, CAPACITY));
    assert_zones(d, "3:full");
    assert_status(write_zeroes(d, 3 * ZONE, 4 * KiB), "INVALID_CMD");
}

/* V60 */
static void test_zeroes_conventional(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, ZONE, 256 * KiB, OLD));
    assert_ok(write_zeroes(d, ZONE + 4 * KiB, 128 * KiB));
    assert_data(d, ZONE, 4 * KiB, OLD);
    assert_data(d, ZONE + 4 * KiB, 128 * KiB, 0);
    assert_data(d, ZONE + 132 * KiB, 124 * KiB, OLD);
    assert_zones(d, "");
}

/* V59 */
static void test_zeroes_unknown_flag(void)
{
    Disk *d = get_disk(&standard);

    assert_status(send_range(d, VIRTIO_BLK_T_WRITE_ZEROES, 3 * ZONE, 4 * KiB,
                             2), "UNSUPP");
    assert_zones(d, "");
}

/* V9, V56, V57, V58 */
static void test_discard(void)
{
    static const uint64_t offsets[] = { 0, 3 * ZONE, 3 * ZONE + 128 * KiB };
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 0, 128 * KiB, OLD));
    assert_ok(write_at(d, 3 * ZONE, 128 * KiB, OLD));
    for (unsigned i = 0; i < ARRAY_SIZE(offsets); i++) {
        assert_status(send_range(d, VIRTIO_BLK_T_DISCARD, offsets[i],
                                 64 * KiB, 0), "UNSUPP");
        assert_status(send_range(d, VIRTIO_BLK_T_DISCARD, offsets[i],
                                 64 * KiB, 1), "UNSUPP");
    }
    assert_zones(d, "3:iopen@128K");
    assert_data(d, 0, 128 * KiB, OLD);
    assert_data(d, 3 * ZONE, 128 * KiB, OLD);
    assert_vm_runs(d);
}

/* --- Append --- */

/* V96 */
static void test_append_position(void)
{
    Disk *d = get_disk(&standard);
    uint64_t position;

    assert_ok(append(d, 3 * ZONE, 4 * KiB, 1, &position));
    g_assert_cmpint(position, ==, 3 * ZONE);
    assert_ok(append(d, 3 * ZONE, 60 * KiB, 2, &position));
    g_assert_cmpint(position, ==, 3 * ZONE + 4 * KiB);
    assert_ok(write_at(d, 3 * ZONE + 64 * KiB, 4 * KiB, 3));
    assert_ok(append(d, 3 * ZONE, 4 * KiB, 4, &position));
    g_assert_cmpint(position, ==, 3 * ZONE + 68 * KiB);
    assert_zones(d, "3:iopen@72K");
    assert_data(d, 3 * ZONE, 4 * KiB, 1);
    assert_data(d, 3 * ZONE + 4 * KiB, 60 * KiB, 2);
    assert_data(d, 3 * ZONE + 68 * KiB, 4 * KiB, 4);
}

/* V16, V102 */
static void test_append_limit(void)
{
    Disk *d = get_disk(&standard);
    uint64_t position;

    assert_ok(append(d, 3 * ZONE, MAX_APPEND, NEW, &position));
    assert_status(append(d, 3 * ZONE, MAX_APPEND + SECTOR, NEW, &position),
                  "INVALID_CMD");
    assert_zones(d, "3:iopen@64K");
}

/* V99, V91; V36: before the size counts */
static void test_append_not_zone_start(void)
{
    static const uint64_t offsets[] = {
        3 * ZONE + SECTOR, 3 * ZONE + 4 * KiB, 3 * ZONE + 8 * KiB,
        4 * ZONE - SECTOR, DISK, DISK + ZONE,
    };
    Disk *d = get_disk(&standard);
    uint64_t position;

    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, OLD));
    for (unsigned i = 0; i < ARRAY_SIZE(offsets); i++) {
        assert_status(append(d, offsets[i], 4 * KiB, NEW, &position),
                      "INVALID_CMD");
        assert_status(append(d, offsets[i], 100, NEW, &position),
                      "INVALID_CMD");
    }
    assert_zones(d, "3:iopen@8K");
}

/* V100 */
static void test_append_not_whole_sectors(void)
{
    Disk *d = get_disk(&standard);
    uint64_t position;

    assert_status(append(d, 3 * ZONE, 100, NEW, &position), "UNALIGNED_WP");
    assert_status(append(d, 3 * ZONE, 4 * KiB + 1, NEW, &position),
                  "UNALIGNED_WP");
    assert_zones(d, "");
    assert_data(d, 3 * ZONE, 8 * KiB, 0);
}

/* V109, V97 */
static void test_append_no_room(void)
{
    Disk *d = get_disk(&standard);
    uint64_t position;

    for (unsigned room = 0; room < 8; room++) {
        assert_status(submit(d, &(Request) {
            .type = VIRTIO_BLK_T_ZONE_APPEND, .sector = 3 * ZONE / SECTOR,
            .out_len = 4 * KiB, .fill = NEW, .in_len = room,
        }), "INVALID_CMD");
    }
    assert_zones(d, "");
    assert_data(d, 3 * ZONE, 4 * KiB, 0);
    assert_ok(append(d, 3 * ZONE, 4 * KiB, NEW, &position));
    g_assert_cmpint(position, ==, 3 * ZONE);
}

/*
 * V24: the position comes first, however much room there is.  The standard has
 * it right before the status; the driver of Linux leaves 7 bytes between.
 */
static void test_append_more_room(void)
{
    Disk *d = get_disk(&standard);
    uint64_t answer[3];
    Request r = request_append(3 * ZONE, 4 * KiB, NEW, answer);

    r.in_len = sizeof(answer);
    assert_ok(submit(d, &r));
    g_assert_cmpint(le64_to_cpu(answer[0]), ==, 3 * ZONE / SECTOR);
    g_assert_cmpint(answer[1], ==, 0);
    g_assert_cmpint(answer[2], ==, 0);
    assert_zones(d, "3:iopen@4K");
}

/* V107 */
static void test_append_nothing(void)
{
    Disk *d = get_disk(&standard);
    uint64_t position;

    assert_ok(append(d, 3 * ZONE, 0, NEW, &position));
    g_assert_cmpint(position, ==, 3 * ZONE);
    assert_zones(d, "");
    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, NEW));
    assert_ok(append(d, 3 * ZONE, 0, NEW, &position));
    g_assert_cmpint(position, ==, 3 * ZONE + 8 * KiB);
    assert_zones(d, "3:iopen@8K");
    assert_status(append(d, 0, 0, NEW, &position), "INVALID_CMD");
    assert_status(append(d, DISK, 0, NEW, &position), "INVALID_CMD");
}

/* V48, V52, V103: what is left is known to the sector */
static void test_append_to_the_end(void)
{
    Disk *d = get_disk(&standard);
    uint64_t position;

    assert_ok(write_at(d, 3 * ZONE, CAPACITY - 8 * KiB, OLD));
    assert_status(append(d, 3 * ZONE, 8 * KiB + SECTOR, NEW, &position),
                  "INVALID_CMD");
    assert_zones(d, "3:iopen@3064K");
    assert_ok(append(d, 3 * ZONE, 8 * KiB, NEW, &position));
    g_assert_cmpint(position, ==, 3 * ZONE + CAPACITY - 8 * KiB);
    assert_zones(d, "3:full");
}

/* --- Open and active zones --- */

/* Open and write zones from 2 on: @nr of them, and close the first @closed. */
static Disk *use_zones(unsigned nr, unsigned closed, bool explicitly)
{
    Disk *d = get_disk(&standard);

    for (unsigned i = 2; i < 2 + nr; i++) {
        if (explicitly) {
            assert_ok(zone_open(d, i));
        }
        assert_ok(write_at(d, i * ZONE, 4 * KiB, OLD));
        if (i < 2 + closed) {
            assert_ok(zone_close(d, i));
        }
    }
    return d;
}

/* V31, V51, V77, V106 */
static void test_implicit_close(void)
{
    Disk *d = use_zones(3, 0, false);

    assert_zones(d, "2:iopen@4K 3:iopen@4K 4:iopen@4K");
    assert_ok(write_at(d, 5 * ZONE, 4 * KiB, OLD));
    assert_zones(d, "2:closed@4K 3:iopen@4K 4:iopen@4K 5:iopen@4K");
    assert_ok(write_at(d, 2 * ZONE + 4 * KiB, 4 * KiB, OLD));
    assert_zones(d, "2:iopen@8K 3:closed@4K 4:iopen@4K 5:iopen@4K");
    assert_ok(zone_open(d, 3));
    assert_zones(d, "2:iopen@8K 3:eopen@4K 4:closed@4K 5:iopen@4K");
}

/* Not asked for by the standard: it is the one not written to for longest. */
static void test_implicit_close_order(void)
{
    Disk *d = use_zones(3, 0, false);

    assert_ok(write_at(d, 2 * ZONE + 4 * KiB, 4 * KiB, OLD));
    assert_ok(write_at(d, 5 * ZONE, 4 * KiB, OLD));
    assert_zones(d, "2:iopen@8K 3:closed@4K 4:iopen@4K 5:iopen@4K");
}

static void assert_cannot_open(Disk *d, unsigned zone, uint64_t wp,
                               const char *status)
{
    g_autofree char *before = describe_zones(d);
    uint64_t position;

    assert_status(zone_open(d, zone), status);
    assert_status(write_at(d, zone * ZONE + wp, 4 * KiB, NEW), status);
    assert_status(append(d, zone * ZONE, 4 * KiB, NEW, &position), status);
    assert_status(write_zeroes(d, zone * ZONE + wp, 4 * KiB), status);
    assert_status(write_at(d, zone * ZONE + wp, CAPACITY - wp, NEW), status);
    assert_zones(d, before);
    assert_data(d, zone * ZONE + wp, 4 * KiB, 0);
    assert_vm_runs(d);
}

/* V32, V51, V77, V106 */
static void test_open_limit(void)
{
    Disk *d = use_zones(3, 0, true);

    assert_zones(d, "2:eopen@4K 3:eopen@4K 4:eopen@4K");
    assert_cannot_open(d, 5, 0, "OPEN_RESOURCE");
    assert_ok(zone_close(d, 3));
    assert_ok(write_at(d, 5 * ZONE, 4 * KiB, NEW));
    assert_zones(d, "2:eopen@4K 3:closed@4K 4:eopen@4K 5:iopen@4K");
}

/* V33 */
static void test_open_limit_closed_zone(void)
{
    Disk *d = use_zones(4, 1, true);

    assert_zones(d, "2:closed@4K 3:eopen@4K 4:eopen@4K 5:eopen@4K");
    assert_cannot_open(d, 2, 4 * KiB, "OPEN_RESOURCE");
}

/* V32, V51, V77, V106: closing a zone does not help here */
static void test_active_limit(void)
{
    Disk *d = use_zones(4, 0, false);

    assert_zones(d, "2:closed@4K 3:iopen@4K 4:iopen@4K 5:iopen@4K");
    assert_cannot_open(d, 6, 0, "ACTIVE_RESOURCE");
    assert_ok(zone_close(d, 3));
    assert_ok(zone_close(d, 4));
    assert_ok(zone_close(d, 5));
    assert_cannot_open(d, 6, 0, "ACTIVE_RESOURCE");
}

/* V32 */
static void test_both_limits(void)
{
    Disk *d = use_zones(4, 1, true);

    assert_cannot_open(d, 6, 0, "ACTIVE_RESOURCE");
}

/* V33 */
static void test_open_while_at_limits(void)
{
    Disk *d = use_zones(4, 1, false);

    assert_zones(d, "2:closed@4K 3:iopen@4K 4:iopen@4K 5:iopen@4K");
    assert_ok(zone_open(d, 3));
    assert_ok(zone_open(d, 3));
    assert_ok(write_at(d, 4 * ZONE + 4 * KiB, 4 * KiB, NEW));
    assert_zones(d, "2:closed@4K 3:eopen@4K 4:iopen@8K 5:iopen@4K");
}

/* V30, V52, V78, V79, V83, V85, V88: each way that gives resources back */
static void test_resources_come_back(void)
{
    Disk *d = use_zones(4, 1, true);
    uint64_t position;

    assert_ok(zone_finish(d, 6));
    assert_ok(zone_finish(d, 2));
    assert_ok(zone_finish(d, 3));
    assert_ok(zone_open(d, 7));
    assert_ok(zone_reset(d, 4));
    assert_ok(zone_open(d, 8));
    assert_zones(d, "2:full 3:full 5:eopen@4K 6:full 7:eopen@0K 8:eopen@0K");
    assert_cannot_open(d, 9, 0, "OPEN_RESOURCE");
    assert_ok(zone_close(d, 7));
    assert_ok(write_at(d, 9 * ZONE, CAPACITY, NEW));
    assert_ok(write_at(d, 10 * ZONE, CAPACITY - 4 * KiB, NEW));
    assert_ok(append(d, 10 * ZONE, 4 * KiB, NEW, &position));
    assert_ok(zone_open(d, 11));
    assert_zones(d, "2:full 3:full 5:eopen@4K 6:full 8:eopen@0K 9:full "
                 "10:full 11:eopen@0K");
    assert_cannot_open(d, 12, 0, "OPEN_RESOURCE");
    assert_ok(reset_all(d));
    for (unsigned i = 2; i < 2 + MAX_OPEN; i++) {
        assert_ok(zone_open(d, i));
    }
    assert_zones(d, "2:eopen@0K 3:eopen@0K 4:eopen@0K");
}

/* --- Many requests in one kick --- */

static const Setup with_iothread = {
    .objects = "--object iothread,id=iothread",
    .device = ",iothread=iothread",
    .export = ",iothread=iothread",
};

/* L27, V47: each is its own request, also if they could be merged */
static void test_kick_neighbours(void)
{
    Disk *d = get_disk(&no_gap);
    Request r[3];

    assert_ok(write_at(d, 3 * ZONE, ZONE - 8 * KiB, OLD));
    assert_ok(write_at(d, 5 * ZONE, 8 * KiB, OLD));
    assert_ok(write_at(d, 4 * ZONE, ZONE - 8 * KiB, OLD));
    r[0] = request_write(4 * ZONE - 8 * KiB, 8 * KiB, 1);
    r[1] = request_write(5 * ZONE - 8 * KiB, 8 * KiB, 2);
    r[2] = request_write(5 * ZONE, 8 * KiB, 3);
    submit_all(d, r, 3);
    assert_ok(r[0].status);
    assert_ok(r[1].status);
    assert_status(r[2].status, "UNALIGNED_WP");
    assert_zones(d, "3:full 4:full 5:iopen@8K");
    assert_data(d, 4 * ZONE - 8 * KiB, 8 * KiB, 1);
    assert_data(d, 5 * ZONE - 8 * KiB, 8 * KiB, 2);
    assert_data(d, 5 * ZONE, 8 * KiB, OLD);
    assert_vm_runs(d);
}

/* V47: the end of a conventional zone and the start of a sequential one */
static void test_kick_conventional_neighbour(void)
{
    Disk *d = get_disk(&standard);
    Request r[2];

    r[0] = request_write(2 * ZONE - 8 * KiB, 8 * KiB, 1);
    r[1] = request_write(2 * ZONE, 8 * KiB, 2);
    submit_all(d, r, 2);
    assert_ok(r[0].status);
    assert_ok(r[1].status);
    assert_zones(d, "2:iopen@8K");
    assert_data(d, 2 * ZONE - 8 * KiB, 8 * KiB, 1);
    assert_data(d, 2 * ZONE, 8 * KiB, 2);
}

/* V40: two reads that could be merged are still two */
static void test_kick_reads(const void *opaque)
{
    uint8_t data[2][4 * KiB];
    Disk *d = get_disk(opaque);
    Request r[2];

    assert_ok(write_at(d, 4 * ZONE, 8 * KiB, OLD));
    for (unsigned i = 0; i < 2; i++) {
        r[i] = (Request) {
            .type = VIRTIO_BLK_T_IN, .in_len = 4 * KiB, .in = data[i],
            .sector = (4 * ZONE - 4 * KiB + i * 4 * KiB) / SECTOR,
        };
    }
    submit_all(d, r, 2);
    assert_ok(r[0].status);
    assert_ok(r[1].status);
    g_assert_true(buffer_is_zero(data[0], 4 * KiB));
    g_assert_cmpint(data[1][0], ==, OLD);
}

/* V40, V41, V43: one of them is allowed */
static void test_kick_read_offline(void)
{
    Disk *d = get_disk(&worn_out);
    Request r[2] = {
        { .type = VIRTIO_BLK_T_IN, .in_len = 4 * KiB,
          .sector = (ZONE_OFFLINE * ZONE - 4 * KiB) / SECTOR },
        { .type = VIRTIO_BLK_T_IN, .in_len = 4 * KiB,
          .sector = ZONE_OFFLINE * ZONE / SECTOR },
    };

    submit_all(d, r, 2);
    assert_ok(r[0].status);
    assert_status(r[1].status, "INVALID_CMD");
}

/* V37 */
static void test_kick_sequence(const void *setup)
{
    Disk *d = get_disk(setup);
    Request r[16];

    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        r[i] = request_write(3 * ZONE + i * 4 * KiB, 4 * KiB, 1 + i);
    }
    submit_all(d, r, ARRAY_SIZE(r));
    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        assert_ok(r[i].status);
        assert_data(d, 3 * ZONE + i * 4 * KiB, 4 * KiB, 1 + i);
    }
    assert_zones(d, "3:iopen@64K");
}

/* V37: more than the device sorts and submits together */
static void test_kick_long_sequence(void)
{
    Disk *d = get_disk(&standard);
    Request r[60];

    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        r[i] = request_write(3 * ZONE + i * 4 * KiB, 4 * KiB, 1 + i);
    }
    submit_all(d, r, ARRAY_SIZE(r));
    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        assert_ok(r[i].status);
    }
    assert_zones(d, "3:iopen@240K");
    assert_data(d, 3 * ZONE + 236 * KiB, 4 * KiB, 60);
}

/* V27, V28 */
static void test_kick_one_bad(void)
{
    Disk *d = get_disk(&standard);
    Request r[8];

    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        r[i] = request_write(3 * ZONE + i * 4 * KiB, 4 * KiB, 1 + i);
    }
    r[5].sector = 3 * ZONE / SECTOR + 1000;
    submit_all(d, r, ARRAY_SIZE(r));
    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        assert_status(r[i].status, i < 5 ? "OK" : "UNALIGNED_WP");
    }
    assert_zones(d, "3:iopen@20K");
    assert_vm_runs(d);
}

/* V37 */
static void test_kick_appends(const void *setup)
{
    Disk *d = get_disk(setup);
    uint64_t sector[12], seen = 0;
    Request r[12];

    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        r[i] = request_append(3 * ZONE, 4 * KiB, 1 + i, &sector[i]);
    }
    submit_all(d, r, ARRAY_SIZE(r));
    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        uint64_t from = le64_to_cpu(sector[i]) * SECTOR - 3 * ZONE;

        assert_ok(r[i].status);
        g_assert_cmpint(from % (4 * KiB), ==, 0);
        seen |= 1 << from / (4 * KiB);
        assert_data(d, 3 * ZONE + from, 4 * KiB, 1 + i);
    }
    g_assert_cmphex(seen, ==, 0xfff);
    assert_zones(d, "3:iopen@48K");
}

/* V37, V103: as many as fit */
static void test_kick_appends_past_capacity(void)
{
    Disk *d = get_disk(&standard);
    uint64_t sector[8];
    unsigned ok = 0;
    Request r[8];

    assert_ok(write_at(d, 3 * ZONE, CAPACITY - 20 * KiB, OLD));
    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        r[i] = request_append(3 * ZONE, 4 * KiB, 1 + i, &sector[i]);
    }
    submit_all(d, r, ARRAY_SIZE(r));
    for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
        if (g_str_equal(r[i].status, "OK")) {
            ok++;
            assert_data(d, le64_to_cpu(sector[i]) * SECTOR, 4 * KiB, 1 + i);
        } else {
            assert_status(r[i].status, "INVALID_CMD");
        }
    }
    g_assert_cmpint(ok, ==, 5);
    assert_zones(d, "3:full");
}

/* V37: valid in every order */
static void test_kick_reset_and_append(const void *setup)
{
    Disk *d = get_disk(setup);

    for (unsigned i = 0; i < 20; i++) {
        uint64_t sector;
        Request r[2] = {
            { .type = VIRTIO_BLK_T_ZONE_RESET, .sector = 3 * ZONE / SECTOR },
            request_append(3 * ZONE, 4 * KiB, 1 + i, &sector),
        };

        assert_ok(write_at(d, 3 * ZONE, 16 * KiB, OLD));
        submit_all(d, r, 2);
        assert_ok(r[0].status);
        assert_ok(r[1].status);
        sector = le64_to_cpu(sector);
        if (sector == 3 * ZONE / SECTOR) {
            assert_zones(d, "3:iopen@4K");
            assert_data(d, 3 * ZONE, 4 * KiB, 1 + i);
        } else {
            g_assert_cmpint(sector, ==, (3 * ZONE + 16 * KiB) / SECTOR);
            assert_zones(d, "");
        }
        assert_ok(zone_reset(d, 3));
    }
}

/* V37 */
static void test_kick_write_and_finish(void)
{
    Disk *d = get_disk(&standard);
    Request r[2] = {
        request_write(3 * ZONE, 1 * MiB, NEW),
        { .type = VIRTIO_BLK_T_ZONE_FINISH, .sector = 3 * ZONE / SECTOR },
    };

    submit_all(d, r, 2);
    assert_ok(r[1].status);
    assert_zones(d, "3:full");
    if (g_str_equal(r[0].status, "OK")) {
        assert_data(d, 3 * ZONE, 1 * MiB, NEW);
    } else {
        assert_status(r[0].status, "INVALID_CMD");
    }
    assert_data(d, 3 * ZONE + 1 * MiB, 1 * MiB, 0);
}

/* --- Accounting --- */

static void assert_management(Disk *d, int64_t good, int64_t failed,
                              int64_t invalid)
{
    QDict *stats = statistics(d);
    QDict *management = qdict_get_qdict(stats, "zone_mgmt");

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

    g_assert_false(qdict_haskey(stats, "zone_mgmt"));
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

/* V53, V108, and management likewise */
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
 * V38, V28: a failure of the medium is not a broken rule, also if its errno
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

/* V38: an error policy is for the medium; what it delays is done in the end */
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

static void wait_for_stop(Disk *d)
{
    gint64 deadline = g_get_monotonic_time() + TIMEOUT_US;
    bool stopped = false;

    while (!stopped) {
        QDict *answer = qtest_qmp_assert_success_ref(d->qts, "{'execute':"
                                                     " 'query-status'}");

        stopped = g_str_equal(qdict_get_str(answer, "status"), "io-error");
        qobject_unref(answer);
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(1000);
    }
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

/* V38: zone management is as subject to the error policy as a write */
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

/* V38: no errno of a flush is the state of a zone */
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

/* The default policy: a full host stops the VM, other errors do not */
static const Setup full_once = {
    .device = ",werror=enospc",
    .debug = ",inject-error.0.event=write_aio,inject-error.0.errno=28"
             ",inject-error.0.once=on",
};

#define MANY 32

static void prepare_appends(Request *r, uint64_t *sectors)
{
    for (unsigned i = 0; i < MANY; i++) {
        r[i] = request_append(3 * ZONE, 4 * KiB, 1 + i, &sectors[i]);
    }
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

/* V38: one failure stops the VM, and with room again all of them succeed */
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

/* V38, V72: the image is closed when it is found corrupt */
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

/* V28, V47, V48, V61: the host splits requests, but not before the rules */
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

/* --- The life of a disk --- */

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
    qtest_memset(d->qts, answer_address(&r), UNWRITTEN_BYTE, r.in_len + 1);
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

/* V54 */
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

    for (unsigned i = 0; i < 300 && !(d->dev->bus->get_status(d->dev) &
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

/* V55 */
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

/* V55: such a driver takes all that is done for durable */
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

/* What became of a migration, seen from one side */
static char *migration_status(QTestState *qts)
{
    gint64 deadline = g_get_monotonic_time() + TIMEOUT_US;

    for (;;) {
        QDict *answer = qtest_qmp_assert_success_ref(qts, "{'execute':"
                                                     " 'query-migrate'}");
        const char *status = qdict_get_try_str(answer, "status");
        g_autofree char *copy = g_strdup(status ?: "none");

        qobject_unref(answer);
        if (g_str_equal(copy, "completed") || g_str_equal(copy, "failed")) {
            return g_steal_pointer(&copy);
        }
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(10000);
    }
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
    sent = migration_status(d->qts);
    g_assert_cmpstr(sent, ==, "completed");
    to.image = setup == d->setup ? d->image : create_image(setup);
    boot(&to, "-incoming defer");
    qtest_qmp_assert_success(to.qts, "{'execute': 'migrate-incoming',"
                             " 'arguments': {'uri': %s,"
                             "               'exit-on-error': false}}", uri);
    status = migration_status(to.qts);
    qtest_shutdown(to.machine);
    if (to.image != d->image) {
        zoned_image_delete(to.image);
    }
    unlink(uri + strlen("file:"));
    return status;
}

/* V23 */
static void test_migration(const void *setup)
{
    Disk *d = new_disk(&standard);
    g_autofree char *status = migrate_to(d, setup);

    g_assert_cmpstr(status, ==, setup == &standard ? "completed" : "failed");
    delete_disk(d);
}

static const Setup other_limits = { .image = ",zone.max_open_zones=2" };
static const Setup other_append = { .image = ",zone.max_append_bytes=32K" };
static const Setup other_zones = {
    .image = ",zone.size=2M,zone.capacity=2M",
};
static const Setup other_blocks = {
    .device = ",logical_block_size=4096,physical_block_size=4096",
};
static const Setup no_zones = { .plain = true };

/* V23: a disk that had no zones so far */
static void test_migration_from_plain(void)
{
    Disk *d = new_disk(&no_zones);
    g_autofree char *status = migrate_to(d, &standard);

    g_assert_cmpstr(status, ==, "failed");
    delete_disk(d);
}

/* V38: what has stopped the VM is done where it goes on */
static void test_migration_of_stopped_appends(void)
{
    Disk *d = new_disk(&full_once), view, to = {};
    g_autofree char *uri = g_strdup_printf("file:%s.migration", d->image);
    g_autofree char *sent = NULL, *received = NULL;
    uint64_t sectors[MANY];
    Request r[MANY];

    prepare_appends(r, sectors);
    start_all(d, r, MANY);
    wait_for_stop(d);
    qtest_qmp_assert_success(d->qts, "{'execute': 'migrate',"
                             " 'arguments': {'uri': %s}}", uri);
    sent = migration_status(d->qts);
    g_assert_cmpstr(sent, ==, "completed");

    to.setup = &standard;
    to.image = d->image;
    boot(&to, "-incoming defer");
    qtest_qmp_assert_success(to.qts, "{'execute': 'migrate-incoming',"
                             " 'arguments': {'uri': %s}}", uri);
    received = migration_status(to.qts);
    g_assert_cmpstr(received, ==, "completed");
    qtest_qmp_assert_success(to.qts, "{'execute': 'cont'}");

    /* The driver and its memory are those of before */
    view = *d;
    view.qts = to.qts;
    for (unsigned i = 0; i < MANY; i++) {
        wait_for_one(&view, r, MANY);
    }
    for (unsigned i = 0; i < MANY; i++) {
        assert_ok(r[i].status);
    }
    qtest_shutdown(to.machine);
    unlink(uri + strlen("file:"));
    delete_disk(d);
}

/* Have a QMP command done by the program that has the image. */
static void G_GNUC_PRINTF(2, 3) storage_qmp(Disk *d, const char *fmt, ...)
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
        "virtio_blk_zoned_request", "virtio_blk_zoned_rule_broken",
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
    assert_ok(manage(d, VIRTIO_BLK_T_FLUSH, 0));
    storage_qmp(d, "{'execute': 'block-zone-set-condition', 'arguments': {"
                "    'node-name': 'zoned', 'offset': %" PRIu64 ","
                "    'condition': 'offline'}}", (uint64_t)(5 * ZONE));
    delete_disk(d);

    assert_traced(log, events, ARRAY_SIZE(events));
    unlink(log);
}

/* V13 */
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

/* --- */

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

/* A test of what only the device has */
static void add_device_with(const char *name, const void *data,
                            void (*function)(const void *))
{
    add_test("", name, (Test) { .function_with = function, .data = data });
}

static void add_device(const char *name, void (*function)(void))
{
    add_test("", name, (Test) { .function = function });
}

static void add_export(const char *name, void (*function)(void))
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

static void add_with(const char *name, const void *data,
                     void (*function)(const void *))
{
    add_both(name, (Test) { .function_with = function, .data = data });
}

static void add(const char *name, void (*function)(void))
{
    add_both(name, (Test) { .function = function });
}

static void add_host_aware(const char *name, void (*function)(void))
{
    if (g_file_test(host_zoned_library, G_FILE_TEST_EXISTS)) {
        add(name, function);
    }
}

static void add_cells(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(cells); i++) {
        g_autofree char *name = cell_name(&cells[i]);

        add_with(name, &cells[i], test_cell);
    }
}

int main(int argc, char **argv)
{
    g_autofree char *directory = g_path_get_dirname(argv[0]);
    int ret;

    host_zoned_library = g_build_filename(directory, "libhost-zoned.so", NULL);

    g_test_init(&argc, &argv, NULL);
    if (!have_qemu_img()) {
        g_test_message("QTEST_QEMU_IMG not set or qemu-img missing");
        return g_test_run();
    }

    add("config/its config space tells the geometry and the limits",
        test_config_space);
    add("config/the guest cannot change it", test_config_read_only);
    add("config/it offers zones and no discard", test_features);
    add("config/a driver without zones is refused", test_features_refused);
    add("config/legacy registers do not tell of zones", test_legacy_registers);
    add_device("config/a legacy driver can only read", test_legacy_driver);
    add("config/a driver that goes on without zones can only read",
        test_stubborn_driver);
    add("config/zeroes need their feature", test_without_write_zeroes);
    add("config/the block size is the unit of writes", test_block_size);
    add_device("config/a device that a driver could not use is an error",
               test_impossible_devices);
    add_device_with("config/it stays if the host takes the zones away",
                    &no_zones, test_other_node);
    add_device_with("config/it stays if the host has other zones", &other_zones,
                    test_other_node);
    add_device_with("config/it stays if the host has other limits",
                    &other_limits, test_other_node);
    add_device("config/it stays if the host removes the disk", test_no_medium);
    add_host_aware("config/a host-aware disk has few rules", test_host_aware);
    add_host_aware("config/a host-aware disk can be used as a plain one",
                   test_host_aware_as_plain);
    add("config/no limits are told as 0", test_config_no_limits);
    add("config/the last zone can be smaller", test_smaller_last_zone);
    add("config/a plain disk has no zones", test_plain_disk);

    add("report/it names all zones", test_report_all);
    add("report/it starts with the zone that has the sector",
        test_report_from_middle);
    add("report/a part of a descriptor does not count", test_report_odd_buffer);
    add("report/the buffer can be in pieces", test_report_pieces);
    add("report/thousands of zones fit in one", test_report_many_zones);
    add("report/it cannot start beyond the disk", test_report_beyond);
    add("report/there can be room for no zone", test_report_header_only);
    add("report/it needs room for the header", test_report_no_room);

    add_cells();

    add("management/it needs the start of a zone", test_management_in_zone);
    add("management/there is no zone at the end of the disk",
        test_management_at_end);
    add("management/there is no zone beyond the disk", test_management_beyond);
    add("management/a reset of all ignores the sector", test_reset_all_sector);
    add("management/an unknown type is unsupported", test_unknown_type);
    add("management/a similar type is another type", test_similar_types);
    add("management/legacy flags are unknown types", test_legacy_flags);
    add("management/an ID is filled up with zeroes", test_get_id);
    add("management/a sector does not wrap around", test_sector_overflow);

    add("rw/a broken rule does not stop the VM", test_error_policy);
    add("rw/conventional zones are written in any order",
        test_conventional_any_order);
    add("rw/a write cannot go from a conventional zone into a sequential one",
        test_write_into_first_sequential);
    add("rw/a write cannot go into the next zone", test_write_into_next_zone);
    add("rw/single sectors can be written", test_single_sectors);
    add("rw/a zone that was reset reads as zeroes", test_read_after_reset);
    add_with("rw/a read cannot go into the next zone", &standard,
             test_read_into_next_zone);
    add_with("rw/a read cannot go into the next zone in an iothread",
             &with_iothread, test_read_into_next_zone);
    add("rw/a read can go from one conventional zone to the next",
        test_read_conventional);
    add("rw/a read can go over many conventional zones",
        test_read_many_conventional);
    add("rw/a flush changes no zone", test_flush);
    add("rw/room for an answer that there is not is cleared",
        test_room_for_nothing);
    add_with("rw/header and data can be in one buffer", &joined, test_buffers);
    add_with("rw/buffers can be misaligned", &misaligned, test_buffers);
    add_with("rw/buffers can be in odd pieces", &in_pieces, test_buffers);

    add("zeroes/they cannot go past the capacity", test_zeroes_past_capacity);
    add("zeroes/they cannot go into the next zone", test_zeroes_into_next_zone);
    /* Exports take 16 MiB at a time */
    add_device("zeroes/they are all or nothing in a large zone",
               test_zeroes_large_zone);
    add("zeroes/detected ones follow the rules too", test_detect_zeroes);
    add("zeroes/they can fill a zone", test_zeroes_fill);
    add("zeroes/unmapping does not move a write pointer back",
        test_zeroes_unmap);
    add("zeroes/conventional zones take them anywhere",
        test_zeroes_conventional);
    add("zeroes/an unknown flag is unsupported", test_zeroes_unknown_flag);
    add("zeroes/a discard is unsupported", test_discard);

    add("append/it tells where the data is", test_append_position);
    add("append/it has a limit", test_append_limit);
    add("append/it needs the start of a zone", test_append_not_zone_start);
    add("append/it needs whole sectors", test_append_not_whole_sectors);
    add("append/it writes nothing without room for the position",
        test_append_no_room);
    add("append/its position comes first", test_append_more_room);
    add("append/nothing can be appended", test_append_nothing);
    add("append/it can fill a zone and not more", test_append_to_the_end);
    add("append/it cannot go into the next zone", test_append_into_next_zone);

    add("limits/an implicitly open zone is closed for another",
        test_implicit_close);
    add("limits/that is the one written least recently",
        test_implicit_close_order);
    add("limits/explicitly open zones stand in the way", test_open_limit);
    add("limits/a closed zone can lack an open resource",
        test_open_limit_closed_zone);
    add("limits/closed zones are active", test_active_limit);
    add("limits/without both resources the active one is named",
        test_both_limits);
    add("limits/an open zone needs no more", test_open_while_at_limits);
    add("limits/full and empty zones need nothing", test_resources_come_back);

    add("kick/writes of neighbouring zones stay apart", test_kick_neighbours);
    add("kick/a conventional and a sequential zone stay apart",
        test_kick_conventional_neighbour);
    add_with("kick/reads of neighbouring zones stay apart", &standard,
             test_kick_reads);
    add("kick/a read of an offline zone does not harm its neighbour",
        test_kick_read_offline);
    add_with("kick/16 writes succeed in order", &standard, test_kick_sequence);
    add("kick/60 writes succeed in order", test_kick_long_sequence);
    add("kick/a bad write does not harm those before it", test_kick_one_bad);
    add_with("kick/appends to one zone get places of their own", &standard,
             test_kick_appends);
    add("kick/as many appends succeed as fit",
        test_kick_appends_past_capacity);
    add_with("kick/a reset and an append both succeed", &standard,
             test_kick_reset_and_append);
    add("kick/a write and a finish have an order", test_kick_write_and_finish);
    add_with("kick/16 writes succeed in order in an iothread", &with_iothread,
             test_kick_sequence);
    add_with("kick/appends get places of their own in an iothread",
             &with_iothread, test_kick_appends);
    add_with("kick/a reset and an append both succeed in an iothread",
             &with_iothread, test_kick_reset_and_append);

    add_device("accounting/appends are counted", test_statistics);
    add_device("accounting/zone management is counted",
               test_management_statistics);
    add_device("accounting/a plain disk has no zone management",
               test_plain_statistics);
    add_device("accounting/appends can have the only histogram",
               test_append_histogram);
    add("medium/a read-only disk refuses all that writes",
        test_read_only_disk);
    add("medium/requests that the host splits keep the rules",
        test_small_transfers);
    add("medium/a write error ends with IOERR", test_medium_write_error);
    add("medium/an error of an append does too",
        test_medium_append_error);

    add("medium/management-error-is-retried", test_management_error);
    add("medium/flush-error-is-no-zone-status", test_flush_error);
    add_device("medium/all-appends-succeed-after-enospc",
               test_appends_to_full_host);
    add_device("medium/all-writes-succeed-after-enospc",
               test_writes_to_full_host);
    add("medium/corrupt-node-ends-with-ioerr", test_corrupt_node);
    add_device_with("medium/a write that stopped the VM is done later",
                    &stopped_write, test_medium_error_stops);
    add_device_with("medium/an append that stopped the VM is done later",
                    &stopped_append, test_medium_error_stops);
    add_device_with("medium/so is a write in one buffer with its header",
                    &stopped_joined_write, test_medium_error_stops);
    add_device_with("medium/so is an append in one buffer with its header",
                    &stopped_joined_append, test_medium_error_stops);

    add("life/a reset of the device changes no zone", test_device_reset);
    add_host_aware("life/reset-waits-for-request-of-several-steps",
                   test_device_reset_between_steps);
    add("life/a reset of the system changes no zone", test_system_reset);
    add("life/a restart of QEMU closes the open zones", test_restart);
    add("life/a crash loses nothing that was flushed", test_crash_after_flush);
    add("life/a crash loses nothing without a write cache",
        test_crash_without_write_cache);
    add("life/a crash loses nothing of a driver that cannot flush",
        test_crash_without_flush);
    add("life/a crash undoes no reset and no finish", test_crash_after_reset);
    add_export("life/killed-daemon-repeats-no-append", test_killed_daemon);
    add_device_with("life/it can be migrated", &standard, test_migration);
    add_device_with("life/it cannot be migrated to other limits", &other_limits,
                    test_migration);
    add_device_with("life/it cannot be migrated to another append limit",
                    &other_append, test_migration);
    add_device_with("life/it cannot be migrated to other zones", &other_zones,
                    test_migration);
    add_device_with("life/it cannot be migrated to other blocks", &other_blocks,
                    test_migration);
    add_device_with("life/it cannot be migrated to a disk without zones",
                    &no_zones, test_migration);
    add_device("life/no-migration-from-a-disk-without-zones",
               test_migration_from_plain);
    add_device("life/stopped-appends-are-migrated",
               test_migration_of_stopped_appends);
    add("life/each zone operation can be traced", test_trace);
    add("life/a larger disk has more zones", test_resize);
    add("life/drain-in-the-middle-of-a-report-ends",
        test_drain_during_report);

    ret = g_test_run();
    delete_shared_disk();
    return ret;
}
