/*
 * Tests of NVMe namespaces on a zoned disk: what they share
 *
 * A driver of a few functions sends commands that no operating system would;
 * after each, the status and the zones must be exactly right.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_ZNS_DRIVER_H
#define TESTS_ZNS_DRIVER_H

#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "libqtest.h"
#include "libqos/libqos-pc.h"
#include "block/nvme.h"
#include "hw/pci/pci_regs.h"
#include "guest-memory.h"
#include "zoned-image.h"

#define BLOCK           4096
#define ZONE            64          /* blocks of a zone */
#define CAP             48          /* of those, the writable ones */
#define ZONE_BYTES      (ZONE * BLOCK)
#define APPEND_MAX      16          /* blocks */
#define WRITTEN         4           /* blocks in the zones that are prepared */

#define NSID            1
#define QUEUE_SIZE      64
#define BUFFER_SIZE     (1 * MiB)
#define MDTS_BYTES      (512 * KiB)
#define PCI_SLOT        4
#define TIMEOUT_US      (120 * G_USEC_PER_SEC)

/* Status Code Type and Status Code, without Do Not Retry */
#define OK              0x000
#define INVALID_FIELD   0x002
#define DATA_TRANSFER   0x004
#define PRP_OFFSET      0x013
#define WRITE_PROTECTED 0x020
#define LBA_RANGE       0x080
#define INVALID_FORMAT  0x10a
#define SIZE_LIMIT      0x183
#define INCOMPATIBLE    0x185
#define OVERLAP         0x187
#define INVALID_OP      0x1b6
#define NO_ZRWA         0x1b7
#define BOUNDARY        0x1b8
#define IS_FULL         0x1b9
#define IS_READ_ONLY    0x1ba
#define IS_OFFLINE      0x1bb
#define INVALID_WRITE   0x1bc
#define TOO_MANY_ACTIVE 0x1bd
#define TOO_MANY_OPEN   0x1be
#define TRANSITION      0x1bf
#define BAD_PROTECTION  0x181
#define WRITE_FAULT     0x280
#define BAD_GUARD       0x282
#define MISCOMPARE      0x285
#define UNWRITTEN       0x287

#define FUA             (1u << 30)  /* in dword 12 */
#define SELECT_ALL      (1u << 8)   /* in dword 13 */
#define WITH_ZRWA       (1u << 9)
#define PARTIAL         (1u << 16)

typedef struct Setup {
    unsigned zones;
    const char *image;      /* more options of qemu-img create, with a comma */
    const char *node;       /* more options of the qcow2 node, likewise */
    const char *below;      /* options of a blkdebug node below, likewise */
    const char *namespace;  /* more options of the namespace, likewise */
    const char *controller; /* more options of the controller, likewise */
    const char *machine;    /* more options of QEMU */
    unsigned controllers;   /* of the subsystem, if not 1 */
    unsigned worn;          /* read-only zones at the end, offline before */
    bool throttled;         /* one write per second of the clock's steps */
    bool own_subsystem;     /* of the controller */
    const char *memory;     /* for QEMU's own zones: options of the namespace */
    bool legacy;            /* the controller has the drive, no namespace */
} Setup;

typedef struct Queue {
    unsigned id, tail, head, next_cid;
    unsigned in_flight;
    bool phase;
    uint64_t sq, cq;
    struct {
        bool done;
        uint16_t status;
        uint64_t result;
        uint64_t bytes;     /* to be written to memory if it succeeds */
    } command[QUEUE_SIZE];
} Queue;

typedef struct Machine Machine;

typedef struct Controller {
    Machine *m;
    QPCIDevice *pci;
    QPCIBar bar;
    Queue admin, io;
    unsigned page_size;
    uint64_t buffer, prp_list;
} Controller;

struct Machine {
    const Setup *setup;
    bool memory;
    char *image;
    GuestMemory *ram;
    QOSState *qos;
    QTestState *qts;
    Controller controller[2];
    unsigned fresh, fresh_rdonly, fresh_offline;
};

typedef struct Command {
    uint32_t dw[16];
} Command;

typedef struct Result {
    uint16_t status;        /* type and code */
    bool dnr;
    uint64_t value;         /* dwords 0 and 1 */
} Result;

#define REG_CC          0x14
#define REG_CSTS        0x1c
#define CC_ENABLE       1
#define CC_ALL_SETS     (6 << 4)
#define CC_SHUTDOWN     (1 << 14)
#define CC_ABRUPT       (2 << 14)
#define CC_PAGES_8K     (1 << 7)
#define CC_QUEUES       (6 << 16 | 4 << 20)

typedef struct Source {
    uint32_t nsid;
    uint64_t slba;
    unsigned nlb;
} Source;

#define RECEIVE_EXTENDED 1

typedef struct Zone {
    uint8_t type, state, attributes;
    uint64_t cap, start;
    int64_t wp;             /* from the start */
} Zone;

enum {
    EMPTY = NVME_ZONE_STATE_EMPTY,
    IOPEN = NVME_ZONE_STATE_IMPLICITLY_OPEN,
    EOPEN = NVME_ZONE_STATE_EXPLICITLY_OPEN,
    CLOSED = NVME_ZONE_STATE_CLOSED,
    FULL = NVME_ZONE_STATE_FULL,
    RDONLY = NVME_ZONE_STATE_READ_ONLY,
    OFFLINE = NVME_ZONE_STATE_OFFLINE,
};

#define NO_WP (-1)

#define EXTENSION       128
#define ZRWA            8           /* blocks */
#define GRANULARITY     2

#define ZNS_FEATURES    ",zone.descriptor_extension_size=128," \
                        "zone.zrwa_size=32k,zone.zrwa_flush_granularity=8k"

typedef enum State {
    S_EMPTY, S_IOPEN, S_EOPEN, S_OPENED, S_CLOSED, S_UNWRITTEN, S_FULL,
    S_RDONLY, S_OFFLINE,
    NR_STATES
} State;

typedef struct StateInfo {
    const char *name;
    uint8_t zs;
    int wp;
} StateInfo;

/* --- zns-driver.c: the machine, a driver, and commands --- */

unsigned submit(Controller *c, Queue *q, Command cmd);
bool take_completion(Controller *c, Queue *q);
Result wait_for(Controller *c, Queue *q, unsigned cid);
Result run(Controller *c, Queue *q, Command cmd);
Result admin(Controller *c, Command cmd);
Result io(Controller *c, Command cmd);
/* Let the command transfer @len bytes at @offset of the buffer. */
Command with_data(Controller *c, Command cmd, uint32_t offset,
                  uint32_t len);
Command command(uint8_t opcode, uint64_t dw10, uint32_t dw12,
                uint32_t dw13);
void start_controller(Controller *c, uint32_t command_sets);
void stop_controller(Controller *c);
void reset_controller(Controller *c);
void shutdown_controller(Controller *c, uint32_t how);
void init_controller(Controller *c, unsigned slot);
void start_machine(Machine *m);
void stop_machine(Machine *m);
void restart_machine(Machine *m);
/* Nothing that QEMU has not made durable is there afterwards. */
void crash_machine(Machine *m);
/* QEMU's own zones in memory are asked to behave, too. */
extern bool in_memory;
Machine *new_machine(const Setup *setup);
void delete_machine(Machine *m);
uint16_t check(Result r);
void fill(Controller *c, uint32_t offset, uint32_t blocks, uint8_t value);
Command write_command(Controller *c, uint8_t opcode, uint64_t slba,
                      unsigned nlb, uint32_t flags);
uint16_t write_at(Controller *c, uint64_t slba, unsigned nlb,
                  uint8_t value);
uint16_t append(Controller *c, uint64_t zslba, unsigned nlb,
                uint8_t value, uint64_t *slba);
uint16_t write_zeroes(Controller *c, uint64_t slba, unsigned nlb);
uint16_t read_from(Controller *c, uint64_t slba, unsigned nlb);
uint16_t flush(Controller *c);
void assert_buffer(Controller *c, uint32_t offset, uint32_t len,
                   uint8_t value);
void assert_blocks(Controller *c, uint64_t slba, unsigned nlb,
                   uint8_t value);
Command copy_command(Controller *c, uint64_t sdlba, unsigned format,
                     const Source *sources, unsigned nr);
uint16_t copy(Controller *c, uint64_t sdlba, uint64_t slba, unsigned nlb);
uint16_t manage(Controller *c, uint32_t action, uint64_t slba);
uint16_t manage_all(Controller *c, uint8_t action);
/* Zone Management Receive of @len bytes to the buffer */
uint16_t receive(Controller *c, uint64_t slba, uint64_t len,
                 uint32_t dw13);
uint64_t report_count(Controller *c);
Zone descriptor_at(Controller *c, uint32_t offset);
Zone get_zone(Controller *c, unsigned i);
void assert_zone(Controller *c, unsigned i, unsigned state, int wp);
void delete_shared_machine(void);
/* QEMU is started anew only for another setup. */
Machine *get_machine(const Setup *setup);
/* The same, with all zones empty that can be */
Controller *get_clean(const Setup *setup);
extern const Setup standard;
extern const Setup limited;
extern const Setup equal_limits;
extern const Setup cross_read;
extern const Setup unlimited_append;
extern const Setup many_zones;
extern const Setup two_controllers;
/* One failing write after each of the first three reads of data */
extern const Setup write_errors;
extern const Setup read_errors;
/* From the first write of data on, no flush succeeds. */
extern const Setup flush_errors;
extern const Setup with_plain;
extern const Setup read_only;
extern const Setup features;
extern const Setup held;
extern const Setup odd_granularity;
extern const Setup feature_cells;
extern const Setup cells;
/* The name of a test, which can be typed without quotes */
char *test_path(const char *sentence);
/* Only zones in memory are tested without zoned images. */
extern bool have_images;
void add(const char *name, void (*test)(void));
void add_with(const char *name, const void *data, GTestDataFunc test);
void add_in_memory(const char *name, void (*test)(void));

/* --- zns-areas.c: what memory a command may write --- */

/*
 * Tell the guard what the controller may write for the command, which is in the
 * queue entry at @owner; returns how many bytes that is.
 */
uint64_t allow_data(Controller *c, const Queue *q, uint64_t owner,
                    const Command *cmd);

/* --- zns-cells.c: every command in every state of a zone --- */

extern const StateInfo states[NR_STATES];
unsigned prepare(Controller *c, State s);
uint16_t do_write_bad_prp(Controller *c, uint64_t zslba, int wp);
uint16_t do_append_bad_prp(Controller *c, uint64_t zslba, int wp);
uint16_t do_close(Controller *c, uint64_t zslba, int wp);
uint16_t do_finish(Controller *c, uint64_t zslba, int wp);
uint16_t do_open(Controller *c, uint64_t zslba, int wp);
uint16_t do_reset(Controller *c, uint64_t zslba, int wp);
uint16_t do_compare_across(Controller *c, uint64_t zslba, int wp);
uint16_t do_verify(Controller *c, uint64_t zslba, int wp);
uint16_t do_verify_across(Controller *c, uint64_t zslba, int wp);
uint16_t do_deallocate(Controller *c, uint64_t zslba, int wp);
uint16_t set_extension(Controller *c, uint64_t zslba, uint8_t value,
                       uint32_t flags);
uint16_t do_set_extension(Controller *c, uint64_t zslba, int wp);
uint16_t do_open_zrwa(Controller *c, uint64_t zslba, int wp);

/* --- zns-report.c: identify data and reports of zones --- */

void identify(Controller *c, uint8_t cns, uint8_t csi, uint32_t nsid);
uint64_t field(Controller *c, uint32_t offset, unsigned size);
void assert_size(Controller *c);
Controller *get_mixed(void);

/* --- zns-data.c: reads, writes and copies, and errors of the host --- */

Result set_feature(Controller *c, uint8_t fid, uint32_t nsid,
                   uint32_t value);

/* --- zns-survival.c: what survives resets, shutdowns and crashes --- */

void all_shut_down(Machine *m);
void last_empty(Controller *c);

/* --- zns-admin.c: format, attachment, SMART, set up and unplug --- */

Result format(Controller *c, uint32_t nsid, uint32_t dw10);
extern const Setup legacy;

/* --- zns-features.c: descriptor extensions and random write areas --- */

void assert_extension(Controller *c, unsigned i, uint8_t value);
Controller *get_zrwa(void);

/* --- zns-events.c: zones that fail, and events --- */

void set_condition(Controller *c, unsigned zone, const char *condition);
/* NVME_ZA_*, of those that can be set */
void set_attributes(Controller *c, unsigned zone, uint8_t attributes);
void enable_events(Controller *c, bool on);
unsigned request_event(Controller *c);
bool event_is_there(Controller *c, unsigned cid);
void assert_changed(Controller *c, bool keep, unsigned nr,
                    const unsigned *zones);

/* --- zns-memory.c: QEMU's own zones in memory --- */

extern const Setup throttled;

/* --- zns-queue.c: several commands at a time, and long ones --- */

void hold_back(Controller *c, const char *device);

/* --- zns-pointers.c: data pointers of all kinds --- */

#define PAGE            4096
#define ARENA_PAGES     1024        /* for buffers, and lists of their pages */
#define PRPS            (PAGE / 8)  /* in a page */

typedef struct Memory {
    Machine *m;
    Controller *c;                  /* to send commands to */
    GuestMemory *ram;
    GRand *dice;
    uint64_t pages[ARENA_PAGES];    /* in an order of their own */
    unsigned used;                  /* of @pages */
    struct {
        uint64_t addr;
        size_t len;
    } piece[ARENA_PAGES];           /* of the buffer */
    unsigned pieces;
} Memory;

unsigned roll(Memory *mem, unsigned end);
Memory *new_memory(const Setup *setup);
void delete_memory(Memory *mem);
/* A page that no other part of the command has; run_exactly() gives it back. */
uint64_t take_page(Memory *mem);
void add_piece(Memory *mem, uint64_t addr, size_t len);
void set_pointer(Command *cmd, uint64_t first, uint64_t second);
/* A buffer of @len bytes that begins at @offset of a page */
void set_prps(Memory *mem, Command *cmd, size_t len, unsigned offset);
void put_sgl(Memory *mem, uint64_t at, uint64_t addr, uint32_t len,
             unsigned type);
/* As many segments as it takes, of a few descriptors of less than a page */
void set_sgl(Memory *mem, Command *cmd, size_t len);
/*
 * The buffer begins with the @len bytes at @data, and what follows them is as
 * before.
 */
void assert_pieces(Memory *mem, const uint8_t *data, size_t len);
/* Run the command, which has to transfer the @len bytes at @data. */
void run_exactly(Memory *mem, Queue *q, Command cmd, const uint8_t *data,
                 size_t len);

/* Each registers the tests of its file. */
void add_cells_tests(void);
void add_report_tests(void);
void add_limits_tests(void);
void add_data_tests(void);
void add_queue_tests(void);
void add_survival_tests(void);
void add_admin_tests(void);
void add_features_tests(void);
void add_events_tests(void);
void add_memory_tests(void);
void add_pointers_tests(void);
void add_transfer_tests(void);

#endif
