/*
 * Tests of SCSI disks with zones: what they share
 *
 * A driver of a few functions sends commands that no guest kernel would to a
 * SCSI disk behind virtio-scsi-pci; after each, the sense, the data, what of the
 * buffers was not to be touched, and the report of all zones must be exactly
 * right.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SCSI_ZBC_DRIVER_H
#define TESTS_SCSI_ZBC_DRIVER_H

#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "scsi/constants.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ids.h"
#include "standard-headers/linux/virtio_scsi.h"
#include "libqtest.h"
#include "libqos/libqos-pc.h"
#include "libqos/virtio-pci.h"
#include "guest-memory.h"
#include "zoned-image.h"

#define SECTOR          512
#define DISK            (64 * MiB)
#define ZONE            (4 * MiB)
#define NR_ZONES        16
#define NR_CONV         2
#define MAX_OPEN        3

/* The first sequential zone, and another one */
#define SEQ             (NR_CONV * ZONE)
#define OTHER           (5 * ZONE)

/* Zones of a disk that is worn out in places */
#define ZONE_RDONLY     14
#define ZONE_OFFLINE    15

#define PCI_SLOT        4
#define TIMEOUT_US      (120 * G_USEC_PER_SEC)
#define MAX_LUNS        4
#define MAX_QUEUES      4

/* What the device has not written; no answer has it in its data. */
#define UNWRITTEN_BYTE  0xee

/* What data is made of */
#define OLD     0x11
#define NEW     0x22

/* --- Results: a sense is its key, ASC and ASCQ --- */

#define SENSE(key, asc, ascq) ((key) << 16 | (asc) << 8 | (ascq))

enum {
    OK = 0,
    BAD_OPCODE          = SENSE(5, 0x20, 0x00),
    OUT_OF_RANGE        = SENSE(5, 0x21, 0x00),
    UNALIGNED           = SENSE(5, 0x21, 0x04),
    WRITE_BORDER        = SENSE(5, 0x21, 0x05),
    READ_BORDER         = SENSE(5, 0x21, 0x07),
    BAD_FIELD           = SENSE(5, 0x24, 0x00),
    BAD_PARAMETER       = SENSE(5, 0x26, 0x00),
    WRITE_PROTECT       = SENSE(7, 0x27, 0x00),
    NO_SPACE            = SENSE(7, 0x27, 0x07),
    READ_ONLY           = SENSE(7, 0x27, 0x08),
    OFFLINE_ZONE        = SENSE(7, 0x2c, 0x0e),
    NO_RESOURCES        = SENSE(7, 0x55, 0x0e),
    TARGET_FAILED       = SENSE(4, 0x44, 0x00),
    ABORTED             = SENSE(0xb, 0x00, 0x06),
    WAS_RESET           = SENSE(6, 0x29, 0x00),
    CAPACITY_CHANGED    = SENSE(6, 0x2a, 0x09),
    /* The adapter has not let the command through, or has ended it */
    OVERRUN             = 0x1000000 | VIRTIO_SCSI_S_OVERRUN,
    ENDED_BY_RESET      = 0x1000000 | VIRTIO_SCSI_S_RESET,
    ENDED_BY_ABORT      = 0x1000000 | VIRTIO_SCSI_S_ABORTED,
    UNFINISHED          = 0x2000000,
};

/* Unlike ldl_be_p(), without a sign */
static inline uint32_t get_be32(const uint8_t *p)
{
    return ldl_be_p(p);
}

/* --- The disk --- */

typedef enum Kind {
    OF_AN_IMAGE,            /* scsi-hd of a qcow2 image */
    OF_THE_HOST,            /* scsi-hd of a zoned device of the host */
    PASSED_THROUGH,         /* scsi-block of a ZBC disk of the host */
} Kind;

/* What the test that runs now is for */
extern Kind disk_kind;

typedef struct Setup {
    const char *size;       /* of the disk, if not DISK */
    const char *image;      /* more options of qemu-img create, with a comma */
    const char *debug;      /* options of a blkdebug node below, likewise */
    const char *blockdev;   /* more options of the qcow2 node, likewise */
    const char *objects;    /* more options of QEMU */
    const char *adapter;    /* more options of virtio-scsi-pci, with a comma */
    const char *device;     /* more options of the device, likewise */
    unsigned block;         /* logical block, if not SECTOR */
    unsigned physical;      /* physical block, if not the logical one */
    bool drive;             /* given with -drive, so it can be removed */
    bool plain;             /* not zoned */
    bool host_aware;        /* ...but the device of the host is */
    bool worn;              /* has ZONE_RDONLY and ZONE_OFFLINE */
    unsigned luns;          /* disks, if more than one */
} Setup;

typedef struct Disk {
    const Setup *setup;
    Kind kind;
    char *image[MAX_LUNS];
    GuestMemory *ram;
    QOSState *machine;
    QTestState *qts;
    QVirtioPCIDevice *pci;
    QVirtioDevice *dev;
    QVirtQueue *control;
    QVirtQueue *event;
    QVirtQueue *vq[MAX_QUEUES];
    unsigned queues;
    unsigned block;
    unsigned lun;           /* that commands go to */
    unsigned queue;         /* likewise */
} Disk;

typedef struct Command {
    uint8_t cdb[16];
    size_t out_len;         /* bytes for the device... */
    uint8_t fill;           /* ...that all have this value... */
    const void *out;        /* ...or are these */
    size_t in_len;          /* room for bytes of the device */
    void *in;               /* copy of them, if wanted */
    unsigned segment;       /* cut the buffers into so long pieces */
    unsigned misaligned;    /* distance of the buffers from a page's start */
    /*
     * Sectors of the data buffer that are all at the same place: how many,
     * where, and from which byte of the buffer on
     */
    unsigned elsewhere;
    uint64_t place;
    size_t elsewhere_at;

    uint32_t sense;
    uint32_t resid;
    size_t touched;         /* end of what the device has written of in_len */
    unsigned queue;
    uint64_t request, data_out, response, data_in;
    uint32_t head;
} Command;

extern const Setup standard;
extern const Setup worn_out;
extern const Setup emulated_512;
extern const Setup native_4k;

Disk *new_disk(const Setup *setup);
void delete_disk(Disk *d);
void power_on(Disk *d, const char *more);
/* End QEMU, whatever it does. */
void quit(Disk *d);
void power_off(Disk *d);
/* Begin to drive a device that is there, or was reset. */
void start_driver(Disk *d);
void drop_device(Disk *d);
char *create_image(const Setup *setup);
/*
 * Start QEMU on what another QEMU has written so far, as if it had been killed
 * this moment.
 */
Disk *disk_after_crash(Disk *d);

/* All zones empty; QEMU is started anew only for another setup. */
Disk *get_disk(const Setup *setup);
void delete_shared_disk(void);

/* --- Commands --- */

void start_command(Disk *d, Command *c);
void start_commands(Disk *d, Command *c, unsigned n);
bool is_done(Disk *d, Command *c);
uint32_t finish_command(Disk *d, Command *c);
/* In the order in which they end */
void finish_commands(Disk *d, Command *c, unsigned n);
uint32_t submit(Disk *d, Command *c);
/* A task management function; returns the response. */
uint8_t task_management(Disk *d, uint32_t subtype);

/* CDBs; positions and lengths are bytes. */
Command cdb6(Disk *d, uint8_t opcode, uint64_t offset, uint64_t bytes);
Command cdb10(Disk *d, uint8_t opcode, uint8_t flags, uint64_t offset,
              uint64_t bytes);
Command cdb12(Disk *d, uint8_t opcode, uint8_t flags, uint64_t offset,
              uint64_t bytes);
Command cdb16(Disk *d, uint8_t opcode, uint8_t flags, uint64_t offset,
              uint64_t bytes);
/* In blocks */
Command raw16(uint8_t opcode, uint8_t flags, uint64_t lba, uint32_t length,
              uint8_t byte14);

Command write_command(Disk *d, uint64_t offset, uint64_t bytes, uint8_t fill);
Command read_command(Disk *d, uint64_t offset, uint64_t bytes, void *data);

uint32_t write_at(Disk *d, uint64_t offset, uint64_t bytes, uint8_t fill);
uint32_t read_at(Disk *d, uint64_t offset, uint64_t bytes, void *data);
uint32_t verify_at(Disk *d, uint64_t offset, uint64_t bytes);
uint32_t flush(Disk *d);
uint32_t test_unit_ready(Disk *d);

#define CLOSE_ZONE  1
#define FINISH_ZONE 2
#define OPEN_ZONE   3
#define RESET_ZONE  4

uint32_t zbc_out(Disk *d, unsigned action, uint64_t lba, unsigned count,
                 uint8_t flags);
uint32_t zone_close(Disk *d, unsigned zone);
uint32_t zone_finish(Disk *d, unsigned zone);
uint32_t zone_open(Disk *d, unsigned zone);
uint32_t zone_reset(Disk *d, unsigned zone);
uint32_t on_all(Disk *d, unsigned action);

/* --- What the zones are like --- */

#define PARTIAL 0x80

Command report_command(uint64_t lba, uint8_t options, uint32_t length,
                       void *data);
/* The number of zones that a list has, by its header */
unsigned reported(const uint8_t *list);
/* The first LBA of zone @i of the list */
uint64_t reported_start(const uint8_t *list, unsigned i);

/* The size of the disk, as READ CAPACITY(16) has it */
uint64_t get_size(Disk *d);

/*
 * Describe all zones except the conventional and the empty ones, for example
 * "2:iopen@8K 5:full" (8K is how far the write pointer is from the start).
 */
char *describe_zones(Disk *d);
bool all_bytes_are(Disk *d, uint64_t offset, uint64_t bytes, uint8_t value);

/* --- The machine --- */

void assert_vm_runs(Disk *d);
void wait_for_stop(Disk *d);
QDict *statistics(Disk *d);
int64_t statistic(Disk *d, const char *name);

/* A test of disks of images */
void add(const char *name, void (*function)(void));
void add_with(const char *name, const void *data,
              void (*function)(const void *));
/*
 * A test of several kinds of disks, bits of 1 << Kind.  With zoned devices of
 * the host, its name begins with "host-device/", and with disks that are passed
 * through, with "passed-through/".  These are the only ones if the environment
 * has ZBC_DISK: such a disk, which has zones like all here.
 */
void add_of(unsigned kinds, const char *name, void (*function)(void));
void add_of_with(unsigned kinds, const char *name, const void *data,
                 void (*function)(const void *));

#define KINDS_WITH_IMAGE_AND_HOST (1 << OF_AN_IMAGE | 1 << OF_THE_HOST)
#define ALL_KINDS (KINDS_WITH_IMAGE_AND_HOST | 1 << PASSED_THROUGH)

/* Find what makes devices of the host, beside @program. */
void find_host_zones(const char *program);

/* --- Assertions --- */

#define assert_sense(command, expected) g_assert_cmphex(command, ==, expected)
#define assert_ok(command) assert_sense(command, OK)

#define assert_zones(d, expected)                       \
    do {                                                \
        g_autofree char *zones_ = describe_zones(d);    \
        g_assert_cmpstr(zones_, ==, expected);          \
    } while (0)

#define assert_data(d, offset, bytes, value) \
    g_assert_true(all_bytes_are(d, offset, bytes, value))

/* --- The tests, by topic --- */

void add_identity_tests(void);
void add_report_tests(void);
void add_states_tests(void);
void add_rw_tests(void);
void add_memory_tests(void);
void add_medium_tests(void);
void add_life_tests(void);
void add_plain_tests(void);
void add_passthrough_tests(void);

#endif
