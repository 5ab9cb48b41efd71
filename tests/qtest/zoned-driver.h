/*
 * Tests of virtio-blk on a zoned disk: what they share
 *
 * A driver of a few functions sends requests that no guest kernel would, to a
 * virtio-blk-pci device, or to a vhost-user-blk export through
 * vhost-user-blk-pci; after each, the status, the data and the report of all
 * zones must be exactly right.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_ZONED_DRIVER_H
#define TESTS_ZONED_DRIVER_H

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
#include "guest-memory.h"
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
#define TIMEOUT_US      (120 * G_USEC_PER_SEC)

/* What the device has not written; no short answer has it in its data. */
#define UNWRITTEN_BYTE  0xee

/* What data is made of */
#define OLD     0x11
#define NEW     0x22

#define MANY 32

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
    GuestMemory *ram;
    QOSState *machine;
    QTestState *qts;
    QVirtioPCIDevice *pci;
    QVirtioDevice *dev;
    QVirtQueue *vq;
    uint64_t features;      /* those that the device offers */
} Disk;

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
    uint64_t at;            /* address of the header, if not anywhere */
    unsigned cut;           /* bytes of the header that are not sent */

    const char *status;
    uint32_t used;          /* how much of in_len + 1 was written */
    uint64_t address;
    uint32_t head;
} Request;

typedef struct Report {
    struct virtio_blk_zone_report header;
    struct virtio_blk_zone_descriptor zones[];
} Report;

/* --- Shared setups --- */

/* Is the test that runs now one of exports? */
extern bool test_exports;
extern const Setup standard;
extern const Setup large_append;
extern const Setup worn_out;
extern const uint32_t management[4];
extern const Setup host_aware;
extern const Setup no_gap;
extern const Setup with_iothread;
/* The default policy: a full host stops the VM, other errors do not */
extern const Setup full_once;
extern const Setup other_limits;
extern const Setup other_append;
extern const Setup other_zones;
extern const Setup other_blocks;
extern const Setup no_zones;

/* --- The disk --- */

char *create_image(const Setup *setup);

/* Find the device and stop before features are agreed upon. */
void find_device(Disk *d);

void start_driver(Disk *d);

/* Make the queue, without a word to the device about features. */
void start_queue(Disk *d);

void drop_device(Disk *d);

/* What makes a block node of the image, in QEMU or the storage daemon */
char *block_nodes(Disk *d);

/* The options of QEMU to connect to a storage daemon, which is started. */
char *start_daemon(Disk *d, const char *nodes);

/* Run QEMU on the image.  Whatever the guest does, it must not stop it. */
void boot(Disk *d, const char *more);

void power_on(Disk *d);

/* End QEMU, whatever it does. */
void quit(Disk *d);

void power_off(Disk *d);

Disk *new_disk(const Setup *setup);

void delete_disk(Disk *d);

/* --- Requests --- */

uint64_t answer_address(const Request *r);

uint64_t status_address(const Request *r);

/* Put a request into guest memory. */
void place(Disk *d, Request *r);

/* Make the requests available all at once, with one kick. */
void kick(Disk *d, const Request *requests, unsigned n);

/* Take one answer from the used ring; it comes, whatever was asked. */
void wait_for_one(Disk *d, Request *requests, unsigned n);

void start_all(Disk *d, Request *requests, unsigned n);

void submit_all(Disk *d, Request *requests, unsigned n);

const char *submit(Disk *d, Request *r);

Request request_write(uint64_t offset, size_t bytes, uint8_t fill);

Request request_append(uint64_t offset, size_t bytes, uint8_t fill,
                       uint64_t *position);

const char *write_at(Disk *d, uint64_t offset, size_t bytes,
                     uint8_t fill);

const char *read_at(Disk *d, uint64_t offset, size_t bytes, void *data);

/* @position: offset on the disk, or -1 if the device has not told */
const char *append(Disk *d, uint64_t offset, size_t bytes, uint8_t fill,
                   uint64_t *position);

const char *send_range(Disk *d, uint32_t type, uint64_t offset,
                       uint64_t bytes, uint32_t flags);

const char *write_zeroes(Disk *d, uint64_t offset, uint64_t bytes);

const char *manage(Disk *d, uint32_t type, uint64_t offset);

const char *zone_open(Disk *d, unsigned zone);

const char *zone_close(Disk *d, unsigned zone);

const char *zone_finish(Disk *d, unsigned zone);

const char *zone_reset(Disk *d, unsigned zone);

const char *reset_all(Disk *d);

/* --- What the zones are like --- */

size_t report_size(unsigned nr_zones);

const char *get_report(Disk *d, uint64_t offset, void *report,
                       size_t size);

/* Type, start and capacity of the zone with number @i */
void assert_zone_geometry(Disk *d, unsigned i,
                          const struct virtio_blk_zone_descriptor *z);

/*
 * Describe all zones except the conventional and the empty ones, for example
 * "2:iopen@8K 5:full" (8K is how far the write pointer is from the start).
 */
char *describe_zones(Disk *d);

bool all_bytes_are(Disk *d, uint64_t offset, size_t bytes, uint8_t value);

void assert_vm_runs(Disk *d);

/* --- A disk shared by tests --- */

void delete_shared_disk(void);

/* All zones empty; QEMU is started anew only for another setup. */
Disk *get_disk(const Setup *setup);

/* --- Config space --- */

QDict *statistics(Disk *d);

int64_t statistic(Disk *d, const char *name);

/* Exports count nothing. */
void assert_statistic(Disk *d, const char *name, int64_t value);

uint32_t config32(Disk *d, size_t field);

/* Let a driver begin with the features that the device offers, but @without. */
void restart_driver(Disk *d, uint64_t without);

/* Give QEMU another image, as the node "other". */
char *add_image(Disk *d, const Setup *setup);

struct virtio_blk_zone_descriptor get_zone(Disk *d, unsigned zone);

/* --- Disks that cannot be written --- */

void wait_for_stop(Disk *d);

void prepare_appends(Request *r, uint64_t *sectors);

/* --- The life of a disk --- */

/* Have a QMP command done by the program that has the image. */
void G_GNUC_PRINTF(2, 3) storage_qmp(Disk *d, const char *fmt, ...);

/* --- Registration --- */

/* A test of what only the device has */
void add_device_with(const char *name, const void *data,
                     void (*function)(const void *));

void add_device(const char *name, void (*function)(void));

void add_export(const char *name, void (*function)(void));

void add_with(const char *name, const void *data,
              void (*function)(const void *));

void add(const char *name, void (*function)(void));

void add_host_aware(const char *name, void (*function)(void));

/* Find the library that makes a host device, beside @program. */
void find_host_zones(const char *program);

/* --- Assertions --- */

#define assert_status(request, expected) \
    g_assert_cmpstr(request, ==, expected)
#define assert_ok(request) assert_status(request, "OK")

#define assert_zones(d, expected)                       \
    do {                                                \
        g_autofree char *zones_ = describe_zones(d);    \
        g_assert_cmpstr(zones_, ==, expected);          \
    } while (0)

#define assert_data(d, offset, bytes, value) \
    g_assert_true(all_bytes_are(d, offset, bytes, value))

#define CONFIG(field)   offsetof(struct virtio_blk_config, field)

/* --- The tests, by topic --- */

void add_config_tests(void);
void add_report_tests(void);
void add_states_tests(void);
void add_management_tests(void);
void add_rw_tests(void);
void add_append_tests(void);
void add_limits_tests(void);
void add_kick_tests(void);
void add_medium_tests(void);
void add_memory_tests(void);
void add_life_tests(void);

#endif
