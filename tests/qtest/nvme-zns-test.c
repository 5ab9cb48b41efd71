/*
 * Tests of NVMe namespaces on a zoned disk, seen from the host's side of the
 * queues
 *
 * A driver of a few functions sends commands that no operating system would;
 * after each, the status and the zones must be exactly right.  The rules are
 * those of the ZNS Command Set 1.1; "G-nn" in a comment is a defect that QEMU's
 * own zones in memory had (docs/devel/zoned-nvme.rst).  Points that begin with
 * "in memory" are about those, all others about zones in the image.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "libqtest.h"
#include "libqos/libqos-pc.h"
#include "block/nvme.h"
#include "hw/pci/pci_regs.h"
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
#define TIMEOUT_US      (30 * G_USEC_PER_SEC)

/* Status Code Type and Status Code, without Do Not Retry */
#define OK              0x000
#define INVALID_FIELD   0x002
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

/* --- The machine --- */

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
    bool phase;
    uint64_t sq, cq;
    struct {
        bool done;
        uint16_t status;
        uint64_t result;
    } command[QUEUE_SIZE];
} Queue;

typedef struct Machine Machine;

typedef struct Controller {
    Machine *m;
    QPCIDevice *pci;
    QPCIBar bar;
    Queue admin, io;
    uint64_t buffer, prp_list;
} Controller;

struct Machine {
    const Setup *setup;
    bool memory;
    char *image;
    QOSState *qos;
    QTestState *qts;
    Controller controller[2];
    unsigned fresh, fresh_rdonly, fresh_offline;
};

static char *create_image(const Setup *setup, bool memory)
{
    g_autofree char *options =
        g_strdup_printf("-o zone.mode=host-managed,zone.size=%u,"
                        "zone.capacity=%u,zone.max_append_bytes=%u%s",
                        ZONE_BYTES, CAP * BLOCK, APPEND_MAX * BLOCK,
                        setup->image ?: "");
    g_autofree char *size = g_strdup_printf("%u", setup->zones * ZONE_BYTES);
    char *path;

    if (memory) {
        /* With room for 8 bytes of metadata per block */
        return zoned_image_create_raw(setup->zones * (ZONE_BYTES + 8 * ZONE));
    }
    path = zoned_image_create(options, size);
    for (unsigned i = 0; i < 2 * setup->worn; i++) {
        unsigned zone = setup->zones - 1 - i;

        zoned_image_wear_out(path, zone, i < setup->worn ? 13 : 15,
                             zone * ZONE_BYTES + WRITTEN * BLOCK);
    }
    return path;
}

/* --- The driver --- */

typedef struct Command {
    uint32_t dw[16];
} Command;

typedef struct Result {
    uint16_t status;        /* type and code */
    bool dnr;
    uint64_t value;         /* dwords 0 and 1 */
} Result;

static void doorbell(Controller *c, const Queue *q, bool completion,
                     uint32_t value)
{
    qpci_io_writel(c->pci, c->bar, 0x1000 + q->id * 8 + completion * 4, value);
}

static unsigned submit(Controller *c, Queue *q, Command cmd)
{
    unsigned cid = q->next_cid++ % QUEUE_SIZE;

    cmd.dw[0] |= cid << 16;
    for (int i = 0; i < 16; i++) {
        cmd.dw[i] = cpu_to_le32(cmd.dw[i]);
    }
    q->command[cid].done = false;
    qtest_memwrite(c->m->qts, q->sq + q->tail * 64, cmd.dw, 64);
    q->tail = (q->tail + 1) % QUEUE_SIZE;
    doorbell(c, q, false, q->tail);
    return cid;
}

static bool take_completion(Controller *c, Queue *q)
{
    uint32_t dw[4];
    unsigned cid;

    qtest_memread(c->m->qts, q->cq + q->head * 16, dw, sizeof(dw));
    if ((le32_to_cpu(dw[3]) >> 16 & 1) != q->phase) {
        return false;
    }
    cid = le32_to_cpu(dw[3]) & 0xffff;
    g_assert_cmpint(cid, <, QUEUE_SIZE);
    q->command[cid].done = true;
    q->command[cid].status = le32_to_cpu(dw[3]) >> 17;
    q->command[cid].result = le32_to_cpu(dw[0]) |
                             (uint64_t)le32_to_cpu(dw[1]) << 32;
    q->head = (q->head + 1) % QUEUE_SIZE;
    q->phase ^= q->head == 0;
    doorbell(c, q, true, q->head);
    return true;
}

static Result wait_for(Controller *c, Queue *q, unsigned cid)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (!q->command[cid].done) {
        if (!take_completion(c, q)) {
            g_assert_cmpint(g_get_monotonic_time(), <, end);
        }
    }
    return (Result) {
        .status = q->command[cid].status & 0x7ff,
        .dnr = q->command[cid].status & 0x4000,
        .value = q->command[cid].result,
    };
}

static Result run(Controller *c, Queue *q, Command cmd)
{
    return wait_for(c, q, submit(c, q, cmd));
}

static Result admin(Controller *c, Command cmd)
{
    return run(c, &c->admin, cmd);
}

static Result io(Controller *c, Command cmd)
{
    return run(c, &c->io, cmd);
}

/* Let the command transfer @len bytes at @offset of the buffer. */
static Command with_data(Controller *c, Command cmd, uint32_t offset,
                         uint32_t len)
{
    uint64_t addr = c->buffer + offset;
    uint64_t second = QEMU_ALIGN_DOWN(addr, 4096) + 4096;

    g_assert_cmpint(offset + len, <=, BUFFER_SIZE);
    if (addr + len > second + 4096) {
        for (uint64_t page = second, i = 0; page < addr + len; page += 4096) {
            qtest_writeq(c->m->qts, c->prp_list + 8 * i++, page);
        }
        second = c->prp_list;
    }
    cmd.dw[6] = addr;
    cmd.dw[7] = addr >> 32;
    cmd.dw[8] = second;
    cmd.dw[9] = second >> 32;
    return cmd;
}

static Command command(uint8_t opcode, uint64_t dw10, uint32_t dw12,
                       uint32_t dw13)
{
    return (Command) {
        .dw = {
            [0] = opcode, [1] = NSID, [10] = dw10, [11] = dw10 >> 32,
            [12] = dw12, [13] = dw13,
        },
    };
}

static void init_queue(Controller *c, Queue *q, unsigned id)
{
    uint64_t sq = q->sq ?: guest_alloc(&c->m->qos->alloc, QUEUE_SIZE * 64);
    uint64_t cq = q->cq ?: guest_alloc(&c->m->qos->alloc, QUEUE_SIZE * 64);

    *q = (Queue) { .id = id, .sq = sq, .cq = cq, .phase = true };
    qtest_memset(c->m->qts, cq, 0, QUEUE_SIZE * 16);
}

static uint32_t reg(Controller *c, uint32_t offset)
{
    return qpci_io_readl(c->pci, c->bar, offset);
}

static void set_reg(Controller *c, uint32_t offset, uint64_t value)
{
    qpci_io_writel(c->pci, c->bar, offset, value);
    if (offset == 0x28 || offset == 0x30) {
        qpci_io_writel(c->pci, c->bar, offset + 4, value >> 32);
    }
}

#define REG_CC          0x14
#define REG_CSTS        0x1c
#define CC_ENABLE       1
#define CC_ALL_SETS     (6 << 4)
#define CC_SHUTDOWN     (1 << 14)
#define CC_ABRUPT       (2 << 14)
#define CC_PAGES_8K     (1 << 7)
#define CC_QUEUES       (6 << 16 | 4 << 20)

static void start_controller(Controller *c, uint32_t command_sets)
{
    init_queue(c, &c->admin, 0);
    init_queue(c, &c->io, 1);
    set_reg(c, 0x24, (QUEUE_SIZE - 1) << 16 | (QUEUE_SIZE - 1));
    set_reg(c, 0x28, c->admin.sq);
    set_reg(c, 0x30, c->admin.cq);
    set_reg(c, REG_CC, CC_ENABLE | command_sets | CC_QUEUES);
    g_assert_cmphex(reg(c, REG_CSTS), ==, 1);

    for (int completion = 1; completion >= 0; completion--) {
        uint64_t base = completion ? c->io.cq : c->io.sq;
        Command cmd = {
            .dw = {
                [0] = completion ? NVME_ADM_CMD_CREATE_CQ
                                 : NVME_ADM_CMD_CREATE_SQ,
                [6] = base, [7] = base >> 32,
                [10] = (QUEUE_SIZE - 1) << 16 | 1,
                [11] = completion ? 1 : 1 << 16 | 1,
            },
        };

        g_assert_cmphex(admin(c, cmd).status, ==, OK);
    }
}

static void stop_controller(Controller *c)
{
    set_reg(c, REG_CC, reg(c, REG_CC) & ~CC_ENABLE);
    g_assert_cmphex(reg(c, REG_CSTS), ==, 0);
}

static void reset_controller(Controller *c)
{
    stop_controller(c);
    start_controller(c, CC_ALL_SETS);
}

static void shutdown_controller(Controller *c, uint32_t how)
{
    set_reg(c, REG_CC, reg(c, REG_CC) | how);
    g_assert_cmphex(reg(c, REG_CSTS) & 0xc, ==, 8);
}

static void init_controller(Controller *c, unsigned slot)
{
    QOSState *qos = c->m->qos;

    c->pci = qpci_device_find(qos->pcibus, QPCI_DEVFN(slot, 0));
    g_assert_nonnull(c->pci);
    qpci_device_enable(c->pci);
    c->bar = qpci_iomap(c->pci, 0, NULL);
    c->buffer = guest_alloc(&qos->alloc, BUFFER_SIZE);
    c->prp_list = guest_alloc(&qos->alloc, 4096);
    start_controller(c, CC_ALL_SETS);
}

static void start_machine(Machine *m)
{
    const Setup *s = m->setup;
    g_autofree char *second = g_strdup(
        s->controllers == 2 ? "-device nvme,id=c1,serial=zns,subsys=s0,addr=5"
                            : "");
    g_autofree char *namespace = s->legacy ? g_strdup("") : g_strdup_printf(
        "-device nvme-ns,id=n1,drive=z0,bus=c0,nsid=%d,logical_block_size=%d%s",
        NSID, BLOCK, s->namespace ?: "");
    g_autofree char *memory = g_strdup_printf(
        ",physical_block_size=%d,zoned=on,zoned.zone_size=%u,"
        "zoned.zone_capacity=%u%s", BLOCK, ZONE_BYTES, CAP * BLOCK,
        s->memory ?: "");
    const char *filter =
        s->below ? "-blockdev driver=blkdebug,node-name=f0,image=g0" :
        s->throttled ? "-object throttle-group,id=t0,x-iops-write=1 "
                       "-blockdev driver=throttle,node-name=f0,"
                       "throttle-group=t0,file=g0" : NULL;
    m->qos = qtest_pc_boot("-nodefaults -blockdev driver=file,filename=%s,"
                           "node-name=%s "
                           "%s%s "
                           "-blockdev driver=%s,node-name=z0,file=f0%s "
                           "-device nvme-subsys,id=s0 "
                           "-device nvme,id=c0,serial=zns,%s,addr=%d%s "
                           "%s %s %s%s",
                           m->image, filter ? "g0" : "f0", filter ?: "",
                           s->below ?: "", m->memory ? "raw" : "qcow2",
                           s->node ?: "",
                           s->legacy ? "logical_block_size=4096,drive=z0" :
                           s->own_subsystem ? "mdts=7" : "subsys=s0", PCI_SLOT,
                           s->controller ?: "", second, s->machine ?: "",
                           namespace, m->memory ? memory : "");
    m->qts = m->qos->qts;
    for (int i = 0; i < MAX(s->controllers, 1); i++) {
        m->controller[i] = (Controller) { .m = m };
        init_controller(&m->controller[i], PCI_SLOT + i);
    }
}

static void free_controllers(Machine *m)
{
    for (int i = 0; i < MAX(m->setup->controllers, 1); i++) {
        qpci_iounmap(m->controller[i].pci, m->controller[i].bar);
        g_free(m->controller[i].pci);
    }
}

static void stop_machine(Machine *m)
{
    free_controllers(m);
    qtest_shutdown(m->qos);
}

static void restart_machine(Machine *m)
{
    stop_machine(m);
    start_machine(m);
}

/* Nothing that QEMU has not made durable is there afterwards. */
static void crash_machine(Machine *m)
{
    pid_t pid = qtest_pid(m->qts);

    free_controllers(m);
    /*
     * qtest_kill_qemu() is no crash, it asks QEMU to end; and for libqtest a
     * QEMU that was killed is a failed test, so its state is left behind.
     */
    qtest_remove_abrt_handler(m->qts);
    g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    start_machine(m);
}

/* QEMU's own zones in memory are asked to behave, too. */
static bool in_memory;

static Machine *new_machine(const Setup *setup)
{
    Machine *m = g_new0(Machine, 1);

    g_assert_true(setup->memory || !in_memory);
    m->setup = setup;
    m->memory = in_memory;
    m->image = create_image(setup, in_memory);
    m->fresh_rdonly = setup->zones - setup->worn;
    m->fresh_offline = m->fresh_rdonly - setup->worn;
    start_machine(m);
    return m;
}

static void delete_machine(Machine *m)
{
    stop_machine(m);
    zoned_image_delete(m->image);
    g_free(m);
}

/* --- Commands of the namespace --- */

static uint16_t check(Result r)
{
    /* Trying again only helps where the medium or memory was in the way */
    if (r.status < 0x280) {
        g_assert_cmpint(r.dnr, ==, r.status != OK);
    }
    return r.status;
}

static void fill(Controller *c, uint32_t offset, uint32_t blocks, uint8_t value)
{
    qtest_memset(c->m->qts, c->buffer + offset, value, blocks * BLOCK);
}

static Command write_command(Controller *c, uint8_t opcode, uint64_t slba,
                             unsigned nlb, uint32_t flags)
{
    return with_data(c, command(opcode, slba, (nlb - 1) | flags, 0), 0,
                     nlb * BLOCK);
}

static uint16_t write_at(Controller *c, uint64_t slba, unsigned nlb,
                         uint8_t value)
{
    fill(c, 0, nlb, value);
    return check(io(c, write_command(c, NVME_CMD_WRITE, slba, nlb, 0)));
}

static uint16_t append(Controller *c, uint64_t zslba, unsigned nlb,
                       uint8_t value, uint64_t *slba)
{
    Result r;

    fill(c, 0, nlb, value);
    r = io(c, write_command(c, NVME_CMD_ZONE_APPEND, zslba, nlb, 0));
    *slba = r.value;
    return check(r);
}

static uint16_t write_zeroes(Controller *c, uint64_t slba, unsigned nlb)
{
    return check(io(c, command(NVME_CMD_WRITE_ZEROES, slba, nlb - 1, 0)));
}

static uint16_t read_from(Controller *c, uint64_t slba, unsigned nlb)
{
    fill(c, 0, nlb, 0xee);
    return check(io(c, with_data(c, command(NVME_CMD_READ, slba, nlb - 1, 0),
                                 0, nlb * BLOCK)));
}

static uint16_t flush(Controller *c)
{
    return check(io(c, command(NVME_CMD_FLUSH, 0, 0, 0)));
}

static void assert_buffer(Controller *c, uint32_t offset, uint32_t len,
                          uint8_t value)
{
    g_autofree uint8_t *data = g_malloc(len);

    qtest_memread(c->m->qts, c->buffer + offset, data, len);
    for (uint32_t i = 0; i < len; i++) {
        g_assert_cmphex(data[i], ==, value);
    }
}

static void assert_blocks(Controller *c, uint64_t slba, unsigned nlb,
                          uint8_t value)
{
    g_assert_cmphex(read_from(c, slba, nlb), ==, OK);
    assert_buffer(c, 0, nlb * BLOCK, value);
}

typedef struct Source {
    uint32_t nsid;
    uint64_t slba;
    unsigned nlb;
} Source;

static Command copy_command(Controller *c, uint64_t sdlba, unsigned format,
                            const Source *sources, unsigned nr)
{
    for (unsigned i = 0; i < nr; i++) {
        NvmeCopySourceRangeFormat0_2 range = {
            .sparams = cpu_to_le32(format == 2 ? sources[i].nsid : 0),
            .slba = cpu_to_le64(sources[i].slba),
            .nlb = cpu_to_le16(sources[i].nlb - 1),
        };

        qtest_memwrite(c->m->qts, c->buffer + i * sizeof(range), &range,
                       sizeof(range));
    }
    return with_data(c, command(NVME_CMD_COPY, sdlba, (nr - 1) | format << 8,
                                0), 0, nr * 32);
}

static uint16_t copy(Controller *c, uint64_t sdlba, uint64_t slba, unsigned nlb)
{
    Source source = { .slba = slba, .nlb = nlb };

    return check(io(c, copy_command(c, sdlba, 0, &source, 1)));
}

static uint16_t manage(Controller *c, uint32_t action, uint64_t slba)
{
    return check(io(c, command(NVME_CMD_ZONE_MGMT_SEND, slba, 0, action)));
}

static uint16_t manage_all(Controller *c, uint8_t action)
{
    /* The address is ignored */
    return check(io(c, command(NVME_CMD_ZONE_MGMT_SEND, UINT64_MAX, 0,
                               action | SELECT_ALL)));
}

#define RECEIVE_EXTENDED 1

/* Zone Management Receive of @len bytes to the buffer */
static uint16_t receive(Controller *c, uint64_t slba, uint64_t len,
                        uint32_t dw13)
{
    qtest_memset(c->m->qts, c->buffer, 0xee, MIN(len + 4, BUFFER_SIZE));
    return check(io(c, with_data(c, command(NVME_CMD_ZONE_MGMT_RECV, slba,
                                            len / 4 - 1, dw13),
                                 0, MIN(len, MDTS_BYTES))));
}

static uint64_t report_count(Controller *c)
{
    return qtest_readq(c->m->qts, c->buffer);
}

typedef struct Zone {
    uint8_t type, state, attributes;
    uint64_t cap, start;
    int64_t wp;             /* from the start */
} Zone;

static Zone descriptor_at(Controller *c, uint32_t offset)
{
    NvmeZoneDescr d;

    qtest_memread(c->m->qts, c->buffer + offset, &d, sizeof(d));
    return (Zone) {
        .type = d.zt,
        .state = d.zs >> 4,
        .attributes = d.za,
        .cap = le64_to_cpu(d.zcap),
        .start = le64_to_cpu(d.zslba),
        .wp = le64_to_cpu(d.wp) - le64_to_cpu(d.zslba),
    };
}

static Zone get_zone(Controller *c, unsigned i)
{
    g_assert_cmphex(receive(c, i * ZONE, 128, PARTIAL), ==, OK);
    g_assert_cmpint(report_count(c), ==, 1);
    return descriptor_at(c, 64);
}

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

static void assert_zone(Controller *c, unsigned i, unsigned state, int wp)
{
    Zone z = get_zone(c, i);

    g_assert_cmphex(z.type, ==, 2);
    g_assert_cmphex(z.state, ==, state);
    g_assert_cmpint(z.cap, ==, CAP);
    g_assert_cmpint(z.start, ==, i * ZONE);
    if (wp != NO_WP) {
        g_assert_cmpint(z.wp, ==, wp);
    }
}

/* --- Machines that several tests share --- */

static Machine *shared;

static void delete_shared_machine(void)
{
    if (shared) {
        delete_machine(shared);
        shared = NULL;
    }
}

/* QEMU is started anew only for another setup. */
static Machine *get_machine(const Setup *setup)
{
    if (shared && (shared->setup != setup || shared->memory != in_memory)) {
        delete_shared_machine();
    }
    if (!shared) {
        shared = new_machine(setup);
    }
    return shared;
}

/* The same, with all zones empty that can be */
static Controller *get_clean(const Setup *setup)
{
    Machine *m = get_machine(setup);

    g_assert_cmphex(manage_all(&m->controller[0], NVME_ZONE_ACTION_RESET), ==,
                    OK);
    m->fresh = 0;
    return &m->controller[0];
}

static const Setup standard = { .zones = 16, .memory = "" };
static const Setup limited = {
    .zones = 16,
    .image = ",zone.max_open_zones=2,zone.max_active_zones=3",
    .memory = ",zoned.max_open=2,zoned.max_active=3",
};
static const Setup equal_limits = {
    .zones = 16,
    .image = ",zone.max_open_zones=2,zone.max_active_zones=2",
    .memory = ",zoned.max_open=2,zoned.max_active=2",
};
static const Setup cross_read = {
    .zones = 16,
    .namespace = ",zoned.cross_read=on",
};
static const Setup unlimited_append = {
    .zones = 16,
    .controller = ",mdts=2",
};
static const Setup many_zones = { .zones = 1100 };
static const Setup two_controllers = {
    .zones = 16, .controllers = 2, .memory = "",
};
/* One failing write after each of the first three reads of data */
static const Setup write_errors = {
    .zones = 16,
    .below = ",set-state.0.event=read_aio,set-state.0.state=1,"
             "set-state.0.new_state=2,"
             "set-state.1.event=read_aio,set-state.1.state=2,"
             "set-state.1.new_state=3,"
             "set-state.2.event=read_aio,set-state.2.state=3,"
             "set-state.2.new_state=4,"
             "inject-error.0.event=write_aio,inject-error.0.state=2,"
             "inject-error.0.once=on,inject-error.0.iotype=write,"
             "inject-error.1.event=write_aio,inject-error.1.state=3,"
             "inject-error.1.once=on,inject-error.1.iotype=write,"
             "inject-error.2.event=write_aio,inject-error.2.state=4,"
             "inject-error.2.once=on,inject-error.2.iotype=write",
};
static const Setup read_errors = {
    .zones = 16,
    .below = ",inject-error.0.event=read_aio,inject-error.0.iotype=read",
};
/* From the first write of data on, no flush succeeds. */
static const Setup flush_errors = {
    .zones = 16,
    .below = ",inject-error.0.event=write_aio,inject-error.0.iotype=flush",
    .memory = "",
};
static const Setup with_plain = {
    .zones = 16,
    .machine = "-blockdev driver=null-co,node-name=p0,size=16777216,"
               "read-zeroes=on -device nvme-ns,drive=p0,bus=c0,nsid=2,"
               "logical_block_size=4096,physical_block_size=4096 "
               "-blockdev driver=null-co,node-name=p1,size=16777216,"
               "read-zeroes=on -device nvme-ns,drive=p1,bus=c0,nsid=3 ",
};
static const Setup read_only = { .zones = 16, .node = ",read-only=on" };
#define EXTENSION       128
#define ZRWA            8           /* blocks */
#define GRANULARITY     2

#define ZNS_FEATURES    ",zone.descriptor_extension_size=128," \
                        "zone.zrwa_size=32k,zone.zrwa_flush_granularity=8k"

static const Setup features = {
    .zones = 16,
    .image = ZNS_FEATURES ",zone.zrwa_zones=2,zone.max_active_zones=5",
    .memory = ",zoned.descr_ext_size=128,zoned.zrwas=32k,zoned.zrwafg=8k,"
              "zoned.numzrwa=2,zoned.max_active=5",
};
static const Setup held = {
    .zones = 16, .below = "", .image = ZNS_FEATURES,
    .memory = ",zoned.zrwas=32k,zoned.zrwafg=8k",
};
static const Setup odd_granularity = {
    .zones = 16,
    .image = ",zone.zrwa_size=24k,zone.zrwa_flush_granularity=12k",
    .memory = ",zoned.zrwas=24k,zoned.zrwafg=12k",
};
static const Setup feature_cells = {
    .zones = 512, .worn = 20, .image = ZNS_FEATURES,
};
static const Setup cells = { .zones = 1024, .worn = 100 };

/* --- Every command in every state --- */

typedef enum State {
    S_EMPTY, S_IOPEN, S_EOPEN, S_OPENED, S_CLOSED, S_UNWRITTEN, S_FULL,
    S_RDONLY, S_OFFLINE,
    NR_STATES
} State;

static const struct {
    const char *name;
    uint8_t zs;
    int wp;
} states[NR_STATES] = {
    [S_EMPTY] = { "an empty zone", EMPTY, 0 },
    [S_IOPEN] = { "an implicitly open zone", IOPEN, WRITTEN },
    [S_EOPEN] = { "an explicitly open zone", EOPEN, WRITTEN },
    [S_OPENED] = { "a zone that was only opened", EOPEN, 0 },
    [S_CLOSED] = { "a closed zone", CLOSED, WRITTEN },
    [S_UNWRITTEN] = { "a zone that was only opened and closed", CLOSED, 0 },
    [S_FULL] = { "a full zone", FULL, NO_WP },
    [S_RDONLY] = { "a read-only zone", RDONLY, NO_WP },
    [S_OFFLINE] = { "an offline zone", OFFLINE, NO_WP },
};

/* Where writes to a zone without a valid write pointer are tried */
static int position(State s)
{
    return states[s].wp == NO_WP ? WRITTEN : states[s].wp;
}

static unsigned prepare(Controller *c, State s)
{
    Machine *m = c->m;
    unsigned i = s == S_RDONLY ? m->fresh_rdonly++ :
                 s == S_OFFLINE ? m->fresh_offline++ : m->fresh++;

    g_assert_cmpint(m->fresh, <, m->setup->zones - 2 * m->setup->worn);
    g_assert_cmpint(m->fresh_rdonly, <=, m->setup->zones);
    if (s == S_EOPEN || s == S_OPENED || s == S_UNWRITTEN) {
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, i * ZONE), ==, OK);
    }
    if (s == S_IOPEN || s == S_EOPEN || s == S_CLOSED || s == S_FULL) {
        g_assert_cmphex(write_at(c, i * ZONE, WRITTEN, 0x11), ==, OK);
    }
    if (s == S_CLOSED || s == S_UNWRITTEN) {
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_CLOSE, i * ZONE), ==, OK);
    }
    if (s == S_FULL) {
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, i * ZONE), ==, OK);
    }
    assert_zone(c, i, states[s].zs, states[s].wp);
    return i;
}

typedef struct Outcome {
    uint16_t status;
    uint8_t zs;             /* 0: nothing changes */
    int wp;
} Outcome;

typedef uint16_t Action(Controller *c, uint64_t zslba, int wp);

/* Zone 0 is where Copy reads. */
#define COPY_SOURCE     0

static uint16_t do_write(Controller *c, uint64_t zslba, int wp)
{
    return write_at(c, zslba + wp, 2, 0x22);
}

static uint16_t do_write_rest(Controller *c, uint64_t zslba, int wp)
{
    return write_at(c, zslba + wp, CAP - wp, 0x22);
}

static uint16_t do_write_behind(Controller *c, uint64_t zslba, int wp)
{
    return write_at(c, wp ? zslba : zslba + 1, 1, 0x22);
}

static uint16_t do_write_ahead(Controller *c, uint64_t zslba, int wp)
{
    return write_at(c, zslba + wp + 1, 1, 0x22);
}

static uint16_t do_write_past(Controller *c, uint64_t zslba, int wp)
{
    return write_at(c, zslba + wp, CAP - wp + 1, 0x22);
}

static uint16_t do_write_next(Controller *c, uint64_t zslba, int wp)
{
    return write_at(c, zslba + wp, ZONE - wp + 1, 0x22);
}

static uint16_t do_write_unwritable(Controller *c, uint64_t zslba, int wp)
{
    return write_at(c, zslba + CAP, 1, 0x22);
}

/* A data pointer that is wrong in its second page only */
static uint16_t do_write_bad_prp(Controller *c, uint64_t zslba, int wp)
{
    Command cmd = write_command(c, NVME_CMD_WRITE, zslba + wp, 2, 0);

    cmd.dw[8] += 8;
    return check(io(c, cmd));
}

static uint16_t do_append(Controller *c, uint64_t zslba, int wp)
{
    uint64_t slba;
    uint16_t status = append(c, zslba, 2, 0x22, &slba);

    if (status == OK) {
        g_assert_cmpint(slba, ==, zslba + wp);
    }
    return status;
}

static uint16_t do_append_rest(Controller *c, uint64_t zslba, int wp)
{
    unsigned left = CAP - wp;
    uint16_t status = OK;

    while (status == OK && left) {
        unsigned n = MIN(left, APPEND_MAX);
        uint64_t slba;

        status = append(c, zslba, n, 0x22, &slba);
        left -= n;
    }
    return status;
}

/* One more than what is left after all of it but three blocks */
static uint16_t do_append_past(Controller *c, uint64_t zslba, int wp)
{
    uint64_t slba;
    uint16_t status = write_at(c, zslba + wp, CAP - wp - 3, 0x22);

    return status == OK ? append(c, zslba, 4, 0x22, &slba) : status;
}

static uint16_t do_append_inside(Controller *c, uint64_t zslba, int wp)
{
    uint64_t slba;

    return append(c, zslba + 1, 1, 0x22, &slba);
}

static uint16_t do_append_large(Controller *c, uint64_t zslba, int wp)
{
    uint64_t slba;

    return append(c, zslba, APPEND_MAX + 1, 0x22, &slba);
}

static uint16_t do_append_bad_prp(Controller *c, uint64_t zslba, int wp)
{
    Command cmd = write_command(c, NVME_CMD_ZONE_APPEND, zslba, 2, 0);

    cmd.dw[8] += 8;
    return check(io(c, cmd));
}

static uint16_t do_zeroes(Controller *c, uint64_t zslba, int wp)
{
    return write_zeroes(c, zslba + wp, 2);
}

static uint16_t do_zeroes_rest(Controller *c, uint64_t zslba, int wp)
{
    return write_zeroes(c, zslba + wp, CAP - wp);
}

static uint16_t do_zeroes_ahead(Controller *c, uint64_t zslba, int wp)
{
    return write_zeroes(c, zslba + wp + 1, 1);
}

static uint16_t do_zeroes_past(Controller *c, uint64_t zslba, int wp)
{
    return write_zeroes(c, zslba + wp, CAP - wp + 1);
}

static uint16_t do_copy(Controller *c, uint64_t zslba, int wp)
{
    return copy(c, zslba + wp, COPY_SOURCE, 2);
}

static uint16_t do_copy_rest(Controller *c, uint64_t zslba, int wp)
{
    return copy(c, zslba + wp, COPY_SOURCE, CAP - wp);
}

static uint16_t do_copy_ahead(Controller *c, uint64_t zslba, int wp)
{
    return copy(c, zslba + wp + 1, COPY_SOURCE, 1);
}

static uint16_t do_copy_past(Controller *c, uint64_t zslba, int wp)
{
    return copy(c, zslba + wp, COPY_SOURCE, CAP - wp + 1);
}

static uint16_t do_copy_from(Controller *c, uint64_t zslba, int wp)
{
    unsigned target = prepare(c, S_EMPTY);
    uint16_t status = copy(c, target * ZONE, zslba, WRITTEN);

    assert_zone(c, target, status ? EMPTY : IOPEN, status ? 0 : WRITTEN);
    return status;
}

static uint16_t do_copy_across(Controller *c, uint64_t zslba, int wp)
{
    return copy(c, prepare(c, S_EMPTY) * ZONE, zslba + ZONE - 1, 2);
}

static uint16_t do_close(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, NVME_ZONE_ACTION_CLOSE, zslba);
}

static uint16_t do_finish(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, NVME_ZONE_ACTION_FINISH, zslba);
}

static uint16_t do_open(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, NVME_ZONE_ACTION_OPEN, zslba);
}

static uint16_t do_reset(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, NVME_ZONE_ACTION_RESET, zslba);
}

static uint16_t do_offline(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, NVME_ZONE_ACTION_OFFLINE, zslba);
}

static uint16_t do_reserved(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, 6, zslba);
}

static uint16_t do_reset_inside(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, NVME_ZONE_ACTION_RESET, zslba + 1);
}

static uint16_t do_read(Controller *c, uint64_t zslba, int wp)
{
    return read_from(c, zslba, CAP);
}

static uint16_t do_read_unwritable(Controller *c, uint64_t zslba, int wp)
{
    uint16_t status = read_from(c, zslba + CAP, ZONE - CAP);

    if (status == OK) {
        assert_buffer(c, 0, (ZONE - CAP) * BLOCK, 0);
    }
    return status;
}

static uint16_t do_read_across(Controller *c, uint64_t zslba, int wp)
{
    return read_from(c, zslba + ZONE - 1, 2);
}

/* The zone reads as it was written, or as zeroes. */
static uint16_t do_compare(Controller *c, uint64_t zslba, int wp)
{
    g_autofree uint8_t *data = g_malloc(BLOCK);
    uint16_t status = read_from(c, zslba, 1);

    qtest_memread(c->m->qts, c->buffer, data, BLOCK);
    return check(io(c, with_data(c, command(NVME_CMD_COMPARE, zslba, 0, 0), 0,
                                 BLOCK))) == status ? status : 0xffff;
}

static uint16_t do_compare_across(Controller *c, uint64_t zslba, int wp)
{
    return check(io(c, with_data(c, command(NVME_CMD_COMPARE, zslba + ZONE - 1,
                                            1, 0), 0, 2 * BLOCK)));
}

static uint16_t do_verify(Controller *c, uint64_t zslba, int wp)
{
    return check(io(c, command(NVME_CMD_VERIFY, zslba, CAP - 1, 0)));
}

static uint16_t do_verify_across(Controller *c, uint64_t zslba, int wp)
{
    return check(io(c, command(NVME_CMD_VERIFY, zslba + ZONE - 1, 1, 0)));
}

static uint16_t do_deallocate(Controller *c, uint64_t zslba, int wp)
{
    NvmeDsmRange range = {
        .nlb = cpu_to_le32(CAP), .slba = cpu_to_le64(zslba),
    };
    Command cmd = command(NVME_CMD_DSM, (uint64_t)NVME_DSMGMT_AD << 32, 0, 0);

    qtest_memwrite(c->m->qts, c->buffer, &range, sizeof(range));
    return check(io(c, with_data(c, cmd, 0, sizeof(range))));
}

static uint16_t set_extension(Controller *c, uint64_t zslba, uint8_t value,
                              uint32_t flags)
{
    qtest_memset(c->m->qts, c->buffer, value, EXTENSION);
    return check(io(c, with_data(c, command(NVME_CMD_ZONE_MGMT_SEND, zslba, 0,
                                            NVME_ZONE_ACTION_SET_ZD_EXT |
                                            flags), 0, EXTENSION)));
}

static uint16_t do_set_extension(Controller *c, uint64_t zslba, int wp)
{
    return set_extension(c, zslba, 0x5e, 0);
}

static uint16_t do_set_extension_zrwa(Controller *c, uint64_t zslba, int wp)
{
    return set_extension(c, zslba, 0x5e, WITH_ZRWA);
}

static uint16_t do_open_zrwa(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, NVME_ZONE_ACTION_OPEN | WITH_ZRWA, zslba);
}

static uint16_t do_commit(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, NVME_ZONE_ACTION_ZRWA_FLUSH, zslba + wp + 1);
}

#define UNCHANGED       { OK }
#define TO(zs, wp)      { OK, zs, wp }
#define FAILS(status)   { status }
#define ALWAYS(...) { \
    __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, \
    __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__ }

/* A write-type command that moves the write pointer by @n blocks */
#define ADVANCES(n) { \
    TO(IOPEN, n), TO(IOPEN, WRITTEN + n), TO(EOPEN, WRITTEN + n), \
    TO(EOPEN, n), TO(IOPEN, WRITTEN + n), TO(IOPEN, n), \
    FAILS(IS_FULL), FAILS(IS_READ_ONLY), FAILS(IS_OFFLINE) }
#define FILLS { \
    TO(FULL, NO_WP), TO(FULL, NO_WP), TO(FULL, NO_WP), TO(FULL, NO_WP), \
    TO(FULL, NO_WP), TO(FULL, NO_WP), \
    FAILS(IS_FULL), FAILS(IS_READ_ONLY), FAILS(IS_OFFLINE) }
/* A write-type command that breaks another rule than that of the state */
#define BREAKS(status) { \
    FAILS(status), FAILS(status), FAILS(status), FAILS(status), \
    FAILS(status), FAILS(status), \
    FAILS(IS_FULL), FAILS(IS_READ_ONLY), FAILS(IS_OFFLINE) }
/* What gives an empty zone a random write area */
#define EMPTY_ONLY(zs) { \
    TO(zs, 0), FAILS(INVALID_OP), FAILS(INVALID_OP), FAILS(INVALID_OP), \
    FAILS(INVALID_OP), FAILS(INVALID_OP), FAILS(INVALID_OP), \
    FAILS(INVALID_OP), FAILS(INVALID_OP) }
#define READS(status) { \
    FAILS(status), FAILS(status), FAILS(status), FAILS(status), \
    FAILS(status), FAILS(status), FAILS(status), FAILS(status), \
    FAILS(IS_OFFLINE) }

static const struct {
    const char *name;
    Action *action;
    Outcome outcome[NR_STATES];
    const Setup *setup;     /* if not cells */
} rows[] = {
    /* G-01: nothing changes before the data is there */
    { "a write at the write pointer of", do_write, ADVANCES(2) },
    { "a write of all that is left in", do_write_rest, FILLS },
    { "a write behind the write pointer of", do_write_behind,
      BREAKS(INVALID_WRITE) },
    { "a write ahead of the write pointer of", do_write_ahead,
      BREAKS(INVALID_WRITE) },
    { "a write past the capacity of", do_write_past, BREAKS(BOUNDARY) },
    { "a write into the zone after", do_write_next, BREAKS(BOUNDARY) },
    { "a write to what is not writable of", do_write_unwritable,
      BREAKS(INVALID_WRITE) },
    { "a write with a bad data pointer to", do_write_bad_prp,
      ALWAYS(FAILS(PRP_OFFSET)) },
    { "an append to", do_append, ADVANCES(2) },
    { "an append of all that is left in", do_append_rest, FILLS },
    { "an append past the capacity of", do_append_past, {
        { BOUNDARY, IOPEN, CAP - 3 }, { BOUNDARY, IOPEN, CAP - 3 },
        { BOUNDARY, EOPEN, CAP - 3 }, { BOUNDARY, EOPEN, CAP - 3 },
        { BOUNDARY, IOPEN, CAP - 3 }, { BOUNDARY, IOPEN, CAP - 3 },
        FAILS(IS_FULL), FAILS(IS_READ_ONLY), FAILS(IS_OFFLINE) } },
    { "an append to the second block of", do_append_inside,
      ALWAYS(FAILS(INVALID_FIELD)) },
    { "an append that is too large to", do_append_large,
      ALWAYS(FAILS(INVALID_FIELD)) },
    { "an append with a bad data pointer to", do_append_bad_prp,
      ALWAYS(FAILS(PRP_OFFSET)) },
    { "zeroes at the write pointer of", do_zeroes, ADVANCES(2) },
    { "zeroes in all that is left in", do_zeroes_rest, FILLS },
    { "zeroes ahead of the write pointer of", do_zeroes_ahead,
      BREAKS(INVALID_WRITE) },
    { "zeroes past the capacity of", do_zeroes_past, BREAKS(BOUNDARY) },
    /* G-09, G-10, G-11 */
    { "a copy to the write pointer of", do_copy, ADVANCES(2) },
    { "a copy to all that is left in", do_copy_rest, FILLS },
    { "a copy ahead of the write pointer of", do_copy_ahead,
      BREAKS(INVALID_WRITE) },
    { "a copy past the capacity of", do_copy_past, BREAKS(BOUNDARY) },
    { "a copy from", do_copy_from, READS(OK) },
    { "a copy of blocks in two zones, the first of them", do_copy_across,
      ALWAYS(FAILS(BOUNDARY)) },

    { "a close of", do_close, {
        FAILS(TRANSITION), TO(CLOSED, WRITTEN), TO(CLOSED, WRITTEN),
        TO(CLOSED, 0), UNCHANGED, UNCHANGED,
        FAILS(TRANSITION), FAILS(TRANSITION), FAILS(TRANSITION) } },
    { "a finish of", do_finish, {
        TO(FULL, NO_WP), TO(FULL, NO_WP), TO(FULL, NO_WP), TO(FULL, NO_WP),
        TO(FULL, NO_WP), TO(FULL, NO_WP),
        UNCHANGED, FAILS(TRANSITION), FAILS(TRANSITION) } },
    { "an open of", do_open, {
        TO(EOPEN, 0), TO(EOPEN, WRITTEN), UNCHANGED, UNCHANGED,
        TO(EOPEN, WRITTEN), TO(EOPEN, 0),
        FAILS(TRANSITION), FAILS(TRANSITION), FAILS(TRANSITION) } },
    { "a reset of", do_reset, {
        UNCHANGED, TO(EMPTY, 0), TO(EMPTY, 0), TO(EMPTY, 0), TO(EMPTY, 0),
        TO(EMPTY, 0), TO(EMPTY, 0), FAILS(TRANSITION), FAILS(TRANSITION) } },
    { "offline for", do_offline, {
        FAILS(TRANSITION), FAILS(TRANSITION), FAILS(TRANSITION),
        FAILS(TRANSITION), FAILS(TRANSITION), FAILS(TRANSITION),
        FAILS(TRANSITION), TO(OFFLINE, NO_WP), UNCHANGED } },
    { "a reserved action on", do_reserved, ALWAYS(FAILS(INVALID_FIELD)) },
    { "a reset of the second block of", do_reset_inside,
      ALWAYS(FAILS(INVALID_FIELD)) },

    { "a read of", do_read, READS(OK) },
    { "a read of what is not writable of", do_read_unwritable, READS(OK) },
    { "a read across the end of", do_read_across, ALWAYS(FAILS(BOUNDARY)) },
    /* G-13, G-14 */
    { "a compare with", do_compare, READS(OK) },
    { "a compare across the end of", do_compare_across,
      ALWAYS(FAILS(BOUNDARY)) },
    { "a verify of", do_verify, READS(OK) },
    { "a verify across the end of", do_verify_across,
      ALWAYS(FAILS(BOUNDARY)) },
    { "a deallocation in", do_deallocate, READS(OK) },

    { "an extension without room for", do_set_extension,
      ALWAYS(FAILS(INVALID_FIELD)) },
    { "an extension for", do_set_extension, {
        TO(CLOSED, 0), FAILS(TRANSITION), FAILS(TRANSITION),
        FAILS(TRANSITION), FAILS(TRANSITION), FAILS(TRANSITION),
        FAILS(TRANSITION), FAILS(TRANSITION), FAILS(TRANSITION) },
      &feature_cells },
    /* G-32 */
    { "an extension and a random write area for", do_set_extension_zrwa,
      EMPTY_ONLY(CLOSED), &feature_cells },
    /* G-22 */
    { "an open with random write area of", do_open_zrwa, EMPTY_ONLY(EOPEN),
      &feature_cells },
    { "an open with random write area where there are none of", do_open_zrwa,
      ALWAYS(FAILS(INVALID_OP)) },
    /* G-31 */
    { "a commit in", do_commit, ALWAYS(FAILS(INVALID_OP)), &feature_cells },
    { "a commit where there are no random write areas in", do_commit,
      ALWAYS(FAILS(INVALID_OP)) },
};

typedef struct Cell {
    unsigned row;
    State state;
} Cell;

static void test_cell(const void *opaque)
{
    const Cell *cell = opaque;
    const Outcome *o = &rows[cell->row].outcome[cell->state];
    Machine *m = get_machine(rows[cell->row].setup ?: &cells);
    Controller *c = &m->controller[0];
    unsigned zone;

    if (m->fresh == COPY_SOURCE) {
        g_assert_cmphex(write_at(c, COPY_SOURCE, CAP, 0x33), ==, OK);
        m->fresh = COPY_SOURCE + 1;
    }
    zone = prepare(c, cell->state);
    g_assert_cmphex(rows[cell->row].action(c, zone * ZONE,
                                           position(cell->state)),
                    ==, o->status);
    assert_zone(c, zone, o->zs ?: states[cell->state].zs,
                o->zs ? o->wp : states[cell->state].wp);
}

static void add_cells(void)
{
    for (unsigned row = 0; row < ARRAY_SIZE(rows); row++) {
        for (State s = 0; s < NR_STATES; s++) {
            const Outcome *o = &rows[row].outcome[s];
            g_autofree char *name = g_strdup_printf(
                "cells/%s %s %s", rows[row].name, states[s].name,
                o->status ? "fails" : "succeeds");
            Cell *cell = g_new(Cell, 1);

            *cell = (Cell) { row, s };
            qtest_add_data_func_full(name, cell, test_cell, g_free);
        }
    }
}

/* --- Identify --- */

static void identify(Controller *c, uint8_t cns, uint8_t csi, uint32_t nsid)
{
    Command cmd = { .dw = { NVME_ADM_CMD_IDENTIFY, nsid } };

    cmd.dw[10] = cns;
    cmd.dw[11] = (uint32_t)csi << 24;
    g_assert_cmphex(check(admin(c, with_data(c, cmd, 0, 4096))), ==, OK);
}

static uint64_t field(Controller *c, uint32_t offset, unsigned size)
{
    uint64_t value = 0;

    qtest_memread(c->m->qts, c->buffer + offset, &value, size);
    return le64_to_cpu(value);
}

static void assert_size(Controller *c)
{
    identify(c, 0, 0, NSID);
    g_assert_cmpint(field(c, 0, 8), ==, 16 * ZONE);
    g_assert_cmpint(field(c, 8, 8), ==, 16 * CAP);
}

/* G-48 */
static void test_identify_namespace(void)
{
    Controller *c = get_clean(&limited);

    assert_size(c);
    g_assert_cmpint(field(c, 25, 1), ==, 0);        /* one LBA format, */
    g_assert_cmpint(field(c, 26, 1), ==, 0);        /* the first, */
    g_assert_cmphex(field(c, 128, 4), ==, 12 << 16);        /* of 4 KiB */
    g_assert_cmpint(field(c, 99, 1), ==, 0);        /* not write protected */
}

/* G-53 */
static void test_identify_allocated(void)
{
    Controller *c = get_clean(&standard);

    identify(c, 0x11, 0, NSID);
    g_assert_cmpint(field(c, 0, 8), ==, 16 * ZONE);
    identify(c, 0x1b, NVME_CSI_ZONED, NSID);
    g_assert_cmpint(field(c, 2816, 8), ==, ZONE);
}

static void test_identify_zoned(void)
{
    Controller *c = get_clean(&limited);

    identify(c, 5, NVME_CSI_ZONED, NSID);
    g_assert_cmphex(field(c, 0, 2), ==, 0);         /* ZOC */
    g_assert_cmphex(field(c, 2, 2), ==, 0);         /* OZCS */
    g_assert_cmpint(field(c, 4, 4), ==, 3 - 1);     /* MAR */
    g_assert_cmpint(field(c, 8, 4), ==, 2 - 1);     /* MOR */
    g_assert_cmpint(field(c, 2816, 8), ==, ZONE);
    g_assert_cmpint(field(c, 2824, 1), ==, 0);      /* no extension */
    for (unsigned i = 12; i < 4096; i++) {
        g_assert_cmphex(field(c, i, 1), ==, i == 2816 ? ZONE : 0);
    }
}

static void test_identify_no_limits(void)
{
    Controller *c = get_clean(&standard);

    identify(c, 5, NVME_CSI_ZONED, NSID);
    g_assert_cmphex(field(c, 4, 8), ==, UINT64_MAX);
}

static void test_identify_cross_read(void)
{
    Controller *c = get_clean(&cross_read);

    identify(c, 5, NVME_CSI_ZONED, NSID);
    g_assert_cmphex(field(c, 2, 2), ==, 1);
}

static uint32_t zasl(Controller *c)
{
    identify(c, 6, NVME_CSI_ZONED, 0);
    return field(c, 0, 1);
}

static void test_identify_zasl(void)
{
    /* 16 blocks of 4 KiB */
    g_assert_cmpint(zasl(get_clean(&standard)), ==, 4);
}

static void test_identify_zasl_below_mdts(void)
{
    g_assert_cmpint(zasl(get_clean(&unlimited_append)), ==, 2);
}

static void test_identify_controller(void)
{
    Controller *c = get_clean(&standard);

    identify(c, 1, 0, 0);
    g_assert_cmphex(field(c, 92, 4) & 1u << 27, !=, 0);     /* OAES */
    identify(c, 3, 0, NSID);
}

/* --- Reports --- */

/* Zones 0 to 6 in all states that a host can bring about */
static Controller *get_mixed(void)
{
    Controller *c = get_clean(&standard);

    for (State s = S_EMPTY; s <= S_FULL; s++) {
        prepare(c, s);
    }
    return c;
}

static void test_report_count(void)
{
    Controller *c = get_mixed();

    g_assert_cmphex(receive(c, 0, 64, 0), ==, OK);
    g_assert_cmpint(report_count(c), ==, 16);
    assert_buffer(c, 8, 56, 0);
    assert_buffer(c, 64, 4, 0xee);
    g_assert_cmphex(receive(c, 0, 64, PARTIAL), ==, OK);
    g_assert_cmpint(report_count(c), ==, 0);
}

static void test_report_all(void)
{
    Controller *c = get_mixed();

    g_assert_cmphex(receive(c, 0, 64 * 17, PARTIAL), ==, OK);
    g_assert_cmpint(report_count(c), ==, 16);
    for (unsigned i = 0; i < 16; i++) {
        Zone z = descriptor_at(c, 64 * (i + 1));

        g_assert_cmpint(z.start, ==, i * ZONE);
        g_assert_cmphex(z.state, ==, i <= S_FULL ? states[i].zs : EMPTY);
        g_assert_cmphex(z.attributes, ==, 0);
        assert_buffer(c, 64 * (i + 1) + 32, 32, 0);
    }
}

static void test_report_from_middle(void)
{
    Controller *c = get_mixed();

    g_assert_cmphex(receive(c, 14 * ZONE + CAP, 64 * 17, 0), ==, OK);
    g_assert_cmpint(report_count(c), ==, 2);
    g_assert_cmpint(descriptor_at(c, 64).start, ==, 14 * ZONE);
    g_assert_cmpint(descriptor_at(c, 128).start, ==, 15 * ZONE);
    assert_buffer(c, 192, 64, 0xee);
}

static void test_report_filters(void)
{
    Controller *c = get_mixed();
    static const struct {
        unsigned filter, count, first;
    } filters[] = {
        { 0, 16, 0 }, { 1, 10, S_EMPTY }, { 2, 1, S_IOPEN }, { 3, 2, S_EOPEN },
        { 4, 2, S_CLOSED }, { 5, 1, S_FULL }, { 6, 0 }, { 7, 0 }, { 9, 0 },
    };

    for (int i = 0; i < ARRAY_SIZE(filters); i++) {
        for (int partial = 0; partial < 2; partial++) {
            g_assert_cmphex(receive(c, 0, 2048, filters[i].filter << 8 |
                                    (partial ? PARTIAL : 0)), ==, OK);
            g_assert_cmpint(report_count(c), ==, filters[i].count);
            if (filters[i].count) {
                g_assert_cmpint(descriptor_at(c, 64).start, ==,
                                filters[i].first * ZONE);
            }
        }
    }
}

static void test_report_worn_filters(void)
{
    Controller *c = &get_machine(&cells)->controller[0];

    g_assert_cmphex(receive(c, 0, 64, 7 << 8), ==, OK);
    g_assert_cmpint(report_count(c), >=, 100);
    g_assert_cmphex(receive(c, (1024 - 100) * ZONE, 128, 6 << 8 | PARTIAL),
                    ==, OK);
    g_assert_cmpint(report_count(c), ==, 1);
    g_assert_cmphex(descriptor_at(c, 64).state, ==, RDONLY);
}

/* G-45: limits are in units of the smallest page, not of the one in use. */
static void test_report_large_pages(void)
{
    Controller *c = get_mixed();
    uint64_t unit = 2 * 4096;

    stop_controller(c);
    c->admin.sq = ROUND_UP(c->buffer, unit);
    c->admin.cq = c->admin.sq + unit;
    c->io.sq = c->admin.cq + unit;
    c->io.cq = c->io.sq + unit;
    start_controller(c, CC_ALL_SETS | CC_PAGES_8K);
    c->buffer = ROUND_UP(c->buffer, unit) + 8 * unit;
    g_assert_cmphex(receive(c, 0, 4096, 0), ==, OK);
    g_assert_cmphex(receive(c, 0, MDTS_BYTES + 4, 0), ==, INVALID_FIELD);
    g_assert_cmphex(check(io(c, command(NVME_CMD_ZONE_APPEND, 0, APPEND_MAX,
                                        0))), ==, INVALID_FIELD);
    g_assert_cmphex(check(io(c, command(NVME_CMD_READ, 0, MDTS_BYTES / BLOCK,
                                        0))), ==, INVALID_FIELD);
    delete_shared_machine();
}

static void test_report_bad_fields(void)
{
    Controller *c = get_mixed();

    g_assert_cmphex(receive(c, 0, 64, 2), ==, INVALID_FIELD);
    g_assert_cmphex(receive(c, 0, 64, RECEIVE_EXTENDED), ==, INVALID_FIELD);
    g_assert_cmphex(receive(c, 0, 64, 8 << 8), ==, INVALID_FIELD);
    g_assert_cmphex(receive(c, 0, 64, 10 << 8), ==, INVALID_FIELD);
    g_assert_cmphex(receive(c, 16 * ZONE, 64, 0), ==, LBA_RANGE);
    g_assert_cmphex(receive(c, UINT64_MAX, 64, 0), ==, LBA_RANGE);
    g_assert_cmphex(receive(c, 1ull << 52, 64, 0), ==, LBA_RANGE);
}

/* G-42 */
static void test_report_short(void)
{
    Controller *c = get_mixed();

    g_assert_cmphex(receive(c, 0, 8, 0), ==, OK);
    g_assert_cmpint(report_count(c), ==, 16);
    assert_buffer(c, 8, 4, 0xee);
}

static void test_report_cut_off(void)
{
    Controller *c = get_mixed();
    Zone z;

    g_assert_cmphex(receive(c, 0, 64 * 3 + 32, PARTIAL), ==, OK);
    g_assert_cmpint(report_count(c), ==, 2);
    z = descriptor_at(c, 64 * 3);
    g_assert_cmpint(z.start, ==, 2 * ZONE);
    g_assert_cmphex(z.state, ==, EOPEN);
    assert_buffer(c, 64 * 3 + 32, 4, 0xee);
}

/* G-41 */
static void test_report_too_large(void)
{
    Controller *c = get_mixed();

    g_assert_cmphex(receive(c, 0, MDTS_BYTES, 0), ==, OK);
    g_assert_cmphex(receive(c, 0, MDTS_BYTES + 4, 0), ==, INVALID_FIELD);
    g_assert_cmphex(receive(c, 0, (0x4000001full + 1) * 4, 0), ==,
                    INVALID_FIELD);
    g_assert_cmphex(receive(c, 0, (0xffffffffull + 1) * 4, 0), ==,
                    INVALID_FIELD);
}

static void test_report_many(void)
{
    Controller *c = get_clean(&many_zones);

    g_assert_cmphex(write_at(c, 1050 * ZONE, 3, 0x44), ==, OK);
    g_assert_cmphex(receive(c, 0, 64 * (1024 + 1), PARTIAL), ==, OK);
    g_assert_cmpint(report_count(c), ==, 1024);
    g_assert_cmpint(descriptor_at(c, 64 * 1024).start, ==, 1023 * ZONE);
    g_assert_cmphex(receive(c, ZONE, 64 * 1101, 0), ==, OK);
    g_assert_cmpint(report_count(c), ==, 1099);
    g_assert_cmpint(descriptor_at(c, 64 * 1050).start, ==, 1050 * ZONE);
    g_assert_cmpint(descriptor_at(c, 64 * 1050).wp, ==, 3);
}

/* --- All zones --- */

static void assert_states(Controller *c, const uint8_t *zs, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmphex(get_zone(c, i).state, ==, zs[i]);
    }
}

static const struct {
    const char *name;
    uint8_t action;
    uint8_t zs[S_FULL + 1];
} all_actions[] = {
    { "select all/close concerns open zones only", NVME_ZONE_ACTION_CLOSE,
      { EMPTY, CLOSED, CLOSED, CLOSED, CLOSED, CLOSED, FULL } },
    { "select all/finish concerns open and closed zones only",
      NVME_ZONE_ACTION_FINISH,
      { EMPTY, FULL, FULL, FULL, FULL, FULL, FULL } },
    { "select all/open concerns closed zones only", NVME_ZONE_ACTION_OPEN,
      { EMPTY, IOPEN, EOPEN, EOPEN, EOPEN, EOPEN, FULL } },
    { "select all/reset empties all", NVME_ZONE_ACTION_RESET,
      { EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY } },
    { "select all/offline concerns none of these", NVME_ZONE_ACTION_OFFLINE,
      { EMPTY, IOPEN, EOPEN, EOPEN, CLOSED, CLOSED, FULL } },
};

static void test_select_all(const void *opaque)
{
    unsigned i = GPOINTER_TO_UINT(opaque);
    Controller *c = get_mixed();

    g_assert_cmphex(manage_all(c, all_actions[i].action), ==, OK);
    assert_states(c, all_actions[i].zs, S_FULL + 1);
}

static void test_select_all_worn(void)
{
    Controller *c = &get_machine(&cells)->controller[0];

    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_RESET), ==, OK);
    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_CLOSE), ==, OK);
    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_FINISH), ==, OK);
    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_OPEN), ==, OK);
    assert_zone(c, 1023, RDONLY, NO_WP);
    assert_zone(c, 1023 - 100, OFFLINE, NO_WP);
}

static void test_select_all_reserved(void)
{
    Controller *c = get_mixed();

    g_assert_cmphex(manage_all(c, 0), ==, INVALID_FIELD);
    g_assert_cmphex(manage_all(c, 6), ==, INVALID_FIELD);
    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_SET_ZD_EXT), ==,
                    INVALID_FIELD);
    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_ZRWA_FLUSH), ==,
                    INVALID_FIELD);
}

/* G-08 */
static void test_open_all_is_atomic(void)
{
    Controller *c = get_clean(&limited);
    static const uint8_t closed[] = { CLOSED, CLOSED, CLOSED };

    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(write_at(c, i * ZONE, 1, 0x55), ==, OK);
    }
    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_CLOSE), ==, OK);
    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_OPEN), ==, TOO_MANY_OPEN);
    assert_states(c, closed, 3);
}

/* G-06 */
static void test_reset_of_worn_zone(void)
{
    Machine *m = get_machine(&cells);
    Controller *c = &m->controller[0];
    unsigned last_empty = m->setup->zones - 2 * m->setup->worn - 1;

    g_assert_cmphex(write_at(c, last_empty * ZONE, 1, 0x55), ==, OK);
    for (unsigned i = last_empty + 1; i < m->setup->zones; i++) {
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, i * ZONE), ==,
                        TRANSITION);
    }
    assert_zone(c, last_empty, IOPEN, 1);
}

/* --- Limits --- */

static void test_implicit_close(void)
{
    Controller *c = get_clean(&limited);
    static const uint8_t expected[] = { CLOSED, IOPEN, IOPEN };

    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(write_at(c, i * ZONE, 1, 0x55), ==, OK);
    }
    assert_states(c, expected, 3);
}

static void test_explicit_stays(void)
{
    Controller *c = get_clean(&limited);
    uint64_t slba;

    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 0), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, ZONE), ==, OK);
    g_assert_cmphex(write_at(c, 2 * ZONE, 1, 0x55), ==, TOO_MANY_OPEN);
    g_assert_cmphex(append(c, 2 * ZONE, 1, 0x55, &slba), ==, TOO_MANY_OPEN);
    g_assert_cmphex(write_zeroes(c, 2 * ZONE, 1), ==, TOO_MANY_OPEN);
    g_assert_cmphex(copy(c, 2 * ZONE, 0, 1), ==, TOO_MANY_OPEN);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 2 * ZONE), ==,
                    TOO_MANY_OPEN);
    assert_zone(c, 0, EOPEN, 0);
    assert_zone(c, 1, EOPEN, 0);
    assert_zone(c, 2, EMPTY, 0);
}

/* G-07 */
static void test_no_close_without_active(void)
{
    Controller *c = get_clean(&equal_limits);

    g_assert_cmphex(write_at(c, 0, 1, 0x55), ==, OK);
    g_assert_cmphex(write_at(c, ZONE, 1, 0x55), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 2 * ZONE), ==,
                    TOO_MANY_ACTIVE);
    g_assert_cmphex(write_at(c, 2 * ZONE, 1, 0x55), ==, TOO_MANY_ACTIVE);
    assert_zone(c, 0, IOPEN, 1);
    assert_zone(c, 1, IOPEN, 1);
    assert_zone(c, 2, EMPTY, 0);
}

static void test_active_first(void)
{
    Controller *c = get_clean(&limited);

    g_assert_cmphex(write_at(c, 2 * ZONE, 1, 0x55), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_CLOSE, 2 * ZONE), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 0), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, ZONE), ==, OK);
    g_assert_cmphex(write_at(c, 3 * ZONE, 1, 0x55), ==, TOO_MANY_ACTIVE);
    g_assert_cmphex(write_at(c, 2 * ZONE + 1, 1, 0x55), ==, TOO_MANY_OPEN);
    /* Finishing needs nothing, and full zones need nothing */
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, 3 * ZONE), ==, OK);
    assert_zone(c, 3, FULL, NO_WP);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, 0), ==, OK);
    g_assert_cmphex(write_at(c, 4 * ZONE, 1, 0x55), ==, OK);
}

/* G-09 */
static void test_failed_copies_use_nothing(void)
{
    Controller *c = get_clean(&limited);

    for (unsigned i = 1; i < 16; i++) {
        g_assert_cmphex(copy(c, i * ZONE + 1, 0, 1), ==, INVALID_WRITE);
        g_assert_cmphex(copy(c, i * ZONE, 0, 129), ==, SIZE_LIMIT);
        g_assert_cmphex(copy(c, i * ZONE, 0, CAP + 1), ==, BOUNDARY);
        g_assert_cmphex(copy(c, i * ZONE, ZONE - 1, 2), ==, BOUNDARY);
        g_assert_cmphex(copy(c, i * ZONE, 16 * ZONE, 1), ==, LBA_RANGE);
        assert_zone(c, i, EMPTY, 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(write_at(c, i * ZONE, 1, 0x55), ==, OK);
    }
}

/* --- Data --- */

static void test_data(void)
{
    Controller *c = get_clean(&standard);
    uint64_t slba;

    g_assert_cmphex(write_at(c, 0, 3, 0xa1), ==, OK);
    g_assert_cmphex(append(c, 0, 2, 0xa2, &slba), ==, OK);
    g_assert_cmpint(slba, ==, 3);
    g_assert_cmphex(write_zeroes(c, 5, 1), ==, OK);
    g_assert_cmphex(write_at(c, 6, 1, 0xa3), ==, OK);
    g_assert_cmphex(copy(c, ZONE, 1, 4), ==, OK);
    for (int i = 0; i < 2; i++) {
        assert_blocks(c, 0, 3, 0xa1);
        assert_blocks(c, 3, 2, 0xa2);
        assert_blocks(c, 5, 1, 0);
        assert_blocks(c, 6, 1, 0xa3);
        assert_blocks(c, 7, ZONE - 7, 0);
        assert_blocks(c, ZONE, 2, 0xa1);
        assert_blocks(c, ZONE + 2, 2, 0xa2);
        assert_blocks(c, ZONE + 4, 4, 0);
        if (i == 0) {
            g_assert_cmphex(flush(c), ==, OK);
            restart_machine(c->m);
        }
    }
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, 0), ==, OK);
    assert_blocks(c, 0, ZONE, 0);
}

/* The data pointer may begin within a page. */
static void test_data_misaligned(void)
{
    Controller *c = get_clean(&standard);

    for (unsigned i = 0; i < 3 * BLOCK; i++) {
        qtest_writeb(c->m->qts, c->buffer + 0x404 + i, i / 16);
    }
    g_assert_cmphex(check(io(c, with_data(c, command(NVME_CMD_WRITE, 0, 2, 0),
                                          0x404, 3 * BLOCK))), ==, OK);
    g_assert_cmphex(check(io(c, with_data(c, command(NVME_CMD_READ, 0, 2, 0),
                                          0x10208, 3 * BLOCK))), ==, OK);
    for (unsigned i = 0; i < 3 * BLOCK; i++) {
        g_assert_cmphex(qtest_readb(c->m->qts, c->buffer + 0x10208 + i), ==,
                        (uint8_t)(i / 16));
    }
}

static void test_largest_transfer(void)
{
    Controller *c = get_clean(&cross_read);

    g_assert_cmphex(read_from(c, 0, MDTS_BYTES / BLOCK), ==, OK);
    g_assert_cmphex(read_from(c, 0, MDTS_BYTES / BLOCK + 1), ==,
                    INVALID_FIELD);
    g_assert_cmphex(write_at(c, 0, MDTS_BYTES / BLOCK + 1, 1), ==,
                    INVALID_FIELD);
}

static void test_beyond_namespace(void)
{
    Controller *c = get_clean(&standard);
    static const uint64_t slbas[] = {
        16 * ZONE, 16 * ZONE - 1, UINT64_MAX, 1ull << 52, INT64_MAX / BLOCK,
    };

    for (int i = 0; i < ARRAY_SIZE(slbas); i++) {
        uint64_t at = slbas[i], result;

        g_assert_cmphex(read_from(c, at, 2), ==, LBA_RANGE);
        g_assert_cmphex(write_at(c, at, 2, 0), ==, LBA_RANGE);
        g_assert_cmphex(write_zeroes(c, at, 2), ==, LBA_RANGE);
        g_assert_cmphex(append(c, at, 2, 0, &result), ==, LBA_RANGE);
        g_assert_cmphex(copy(c, at, 0, 2), ==, LBA_RANGE);
        g_assert_cmphex(copy(c, 0, at, 2), ==, LBA_RANGE);
        g_assert_cmphex(do_deallocate(c, at, 0), ==, LBA_RANGE);
        g_assert_cmphex(check(io(c, command(NVME_CMD_VERIFY, at, 1, 0))), ==,
                        LBA_RANGE);
        if (i) {
            continue;
        }
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, at), ==, LBA_RANGE);
    }
}

static void test_compare(void)
{
    Controller *c = get_clean(&standard);

    g_assert_cmphex(write_at(c, 0, 2, 0x77), ==, OK);
    g_assert_cmphex(check(io(c, write_command(c, NVME_CMD_COMPARE, 0, 2, 0))),
                    ==, OK);
    qtest_writeb(c->m->qts, c->buffer + 2 * BLOCK - 1, 0x76);
    g_assert_cmphex(io(c, write_command(c, NVME_CMD_COMPARE, 0, 2, 0)).status,
                    ==, MISCOMPARE);
}

static void test_cross_read(void)
{
    Controller *c = get_clean(&cross_read);

    g_assert_cmphex(write_at(c, 0, 1, 0x01), ==, OK);
    g_assert_cmphex(write_at(c, ZONE, 1, 0x02), ==, OK);
    g_assert_cmphex(read_from(c, 0, 2 * ZONE), ==, OK);
    assert_buffer(c, 0, BLOCK, 0x01);
    assert_buffer(c, BLOCK, (ZONE - 1) * BLOCK, 0);
    assert_buffer(c, ZONE * BLOCK, BLOCK, 0x02);
    assert_buffer(c, (ZONE + 1) * BLOCK, (ZONE - 1) * BLOCK, 0);
    fill(c, 0, 2, 0);
    g_assert_cmphex(do_compare_across(c, 5 * ZONE, 0), ==, OK);
    g_assert_cmphex(do_verify_across(c, 0, 0), ==, OK);
    /* Writes do not cross */
    g_assert_cmphex(write_at(c, 3 * ZONE, CAP, 0x03), ==, OK);
    g_assert_cmphex(write_at(c, 4 * ZONE, ZONE + 1, 0x03), ==, BOUNDARY);
}

static Result set_feature(Controller *c, uint8_t fid, uint32_t nsid,
                          uint32_t value)
{
    Command cmd = { .dw = { NVME_ADM_CMD_SET_FEATURES, nsid } };

    cmd.dw[10] = fid;
    cmd.dw[11] = value;
    return admin(c, cmd);
}

static void test_unwritten_blocks(void)
{
    Controller *c = get_clean(&standard);

    g_assert_cmphex(write_at(c, 0, 4, 0x77), ==, OK);
    g_assert_cmphex(set_feature(c, NVME_ERROR_RECOVERY, NSID, 1 << 16).status,
                    ==, OK);
    g_assert_cmphex(read_from(c, 0, 4), ==, OK);
    g_assert_cmphex(io(c, with_data(c, command(NVME_CMD_READ, 0, 4, 0), 0,
                                    5 * BLOCK)).status, ==, UNWRITTEN);
    g_assert_cmphex(io(c, command(NVME_CMD_VERIFY, 4, 0, 0)).status, ==,
                    UNWRITTEN);
    g_assert_cmphex(set_feature(c, NVME_ERROR_RECOVERY, NSID, 0).status, ==,
                    OK);
    g_assert_cmphex(read_from(c, 0, 5), ==, OK);
}

/* --- Several commands at a time --- */

static void test_queue_of_writes(void)
{
    Controller *c = get_clean(&standard);
    unsigned cid[CAP];

    fill(c, 0, 1, 0x99);
    for (unsigned i = 0; i < CAP; i++) {
        cid[i] = submit(c, &c->io, write_command(c, NVME_CMD_WRITE, i, 1, 0));
    }
    for (unsigned i = 0; i < CAP; i++) {
        g_assert_cmphex(wait_for(c, &c->io, cid[i]).status, ==, OK);
    }
    assert_zone(c, 0, FULL, NO_WP);
    assert_blocks(c, 0, CAP, 0x99);
}

static void test_queue_of_appends(void)
{
    Controller *c = get_clean(&standard);
    unsigned cid[CAP + 1], full = 0;
    bool used[CAP] = {};

    fill(c, 0, 1, 0x99);
    for (unsigned i = 0; i <= CAP; i++) {
        cid[i] = submit(c, &c->io,
                        write_command(c, NVME_CMD_ZONE_APPEND, 0, 1, 0));
    }
    for (unsigned i = 0; i <= CAP; i++) {
        Result r = wait_for(c, &c->io, cid[i]);

        if (r.status == IS_FULL) {
            full++;
            continue;
        }
        g_assert_cmphex(r.status, ==, OK);
        g_assert_cmpint(r.value, <, CAP);
        g_assert_false(used[r.value]);
        used[r.value] = true;
    }
    g_assert_cmpint(full, ==, 1);
}

/* G-03 */
static void test_write_and_reset(void)
{
    Controller *c = get_clean(&standard);

    for (int i = 0; i < 100; i++) {
        unsigned w = submit(c, &c->io,
                            write_command(c, NVME_CMD_WRITE, 0, 2, 0));
        unsigned r = submit(c, &c->io, command(NVME_CMD_ZONE_MGMT_SEND, 0, 0,
                                               NVME_ZONE_ACTION_RESET));
        Zone z;

        g_assert_cmphex(wait_for(c, &c->io, w).status, ==, OK);
        g_assert_cmphex(wait_for(c, &c->io, r).status, ==, OK);
        z = get_zone(c, 0);
        g_assert_cmphex(z.state, ==, z.wp ? IOPEN : EMPTY);
        g_assert_cmpint(z.wp == 0 || z.wp == 2, ==, true);
        g_assert_cmphex(write_at(c, z.wp, 1, 0x01), ==, OK);
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, 0), ==, OK);
    }
}

/* G-04 */
static void test_write_and_abrupt_shutdown(void)
{
    Controller *c = get_clean(&standard);

    for (int i = 0; i < 20; i++) {
        Zone z;

        submit(c, &c->io, write_command(c, NVME_CMD_WRITE, 0, 2, 0));
        shutdown_controller(c, CC_ABRUPT);
        reset_controller(c);
        z = get_zone(c, 0);
        g_assert_cmpint(z.wp == 0 || z.wp == 2, ==, true);
        g_assert_cmphex(write_at(c, z.wp, 1, 0x01), ==, OK);
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, 0), ==, OK);
    }
}

static void test_reset_with_commands(void)
{
    Controller *c = get_clean(&standard);

    for (int i = 0; i < 20; i++) {
        Zone z;

        for (int k = 0; k < 8; k++) {
            submit(c, &c->io, write_command(c, NVME_CMD_ZONE_APPEND, 0, 2,
                                            FUA));
        }
        reset_controller(c);
        z = get_zone(c, 0);
        g_assert_cmpint(z.wp % 2, ==, 0);
        g_assert_cmphex(write_at(c, z.wp, 1, 0x01), ==, OK);
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, 0), ==, OK);
    }
}

static void test_delete_queue_with_commands(void)
{
    Controller *c = get_clean(&standard);
    Command cmd = { .dw = { NVME_ADM_CMD_DELETE_SQ } };

    for (int k = 0; k < 8; k++) {
        submit(c, &c->io, write_command(c, NVME_CMD_ZONE_APPEND, 0, 2, FUA));
    }
    cmd.dw[10] = 1;
    g_assert_cmphex(admin(c, cmd).status, ==, OK);
    reset_controller(c);
    g_assert_cmpint(get_zone(c, 0).wp % 2, ==, 0);
}

static void test_unknown_opcodes(void)
{
    Controller *c = get_clean(&standard);

    for (unsigned opcode = 0; opcode < 256; opcode++) {
        Command cmd = with_data(c, command(opcode, 0, 0, 0), 0, BLOCK);

        /* Any status will do */
        io(c, cmd);
    }
    g_assert_cmphex(flush(c), ==, OK);
}

static uint32_t random_field(GRand *dice)
{
    switch (g_rand_int_range(dice, 0, 5)) {
    case 0:
        return 0;
    case 1:
        return g_rand_int_range(dice, 0, 16) * ZONE;
    case 2:
        return g_rand_int_range(dice, 0, 16 * ZONE);
    case 3:
        return g_rand_int_range(dice, 0, 32) << g_rand_int_range(dice, 0, 26);
    default:
        return g_rand_int(dice);
    }
}

/* Whatever is in the fields, QEMU lives, and the zones make sense. */
static void test_random_commands(void)
{
    static const uint8_t opcodes[] = {
        NVME_CMD_FLUSH, NVME_CMD_WRITE, NVME_CMD_READ, NVME_CMD_COMPARE,
        NVME_CMD_WRITE_ZEROES, NVME_CMD_DSM, NVME_CMD_VERIFY, NVME_CMD_COPY,
        NVME_CMD_ZONE_MGMT_SEND, NVME_CMD_ZONE_MGMT_SEND,
        NVME_CMD_ZONE_MGMT_RECV, NVME_CMD_ZONE_APPEND,
    };
    g_autoptr(GRand) dice = g_rand_new_with_seed(1);
    Controller *c = get_clean(&features);

    for (int round = 0; round < 200; round++) {
        unsigned cid[16];

        for (int i = 0; i < ARRAY_SIZE(cid); i++) {
            int o = g_rand_int_range(dice, 0, ARRAY_SIZE(opcodes));
            uint8_t opcode = opcodes[o];
            Command cmd = command(opcode, random_field(dice), 0, 0);

            /* All that can be transferred has memory, or a bad pointer */
            cmd = with_data(c, cmd, g_rand_int_range(dice, 0, 64) * 4,
                            MDTS_BYTES);
            if (g_rand_int_range(dice, 0, 8) == 0) {
                cmd.dw[8] += 8;
            }
            if (g_rand_int_range(dice, 0, 16) == 0) {
                cmd.dw[11] = random_field(dice);
            }
            cmd.dw[12] = random_field(dice);
            if (opcode != NVME_CMD_ZONE_MGMT_RECV) {
                cmd.dw[12] &= g_rand_boolean(dice) ? 0x7 : 0x4f00003f;
            }
            for (int k = 13; k < 16; k++) {
                cmd.dw[k] = random_field(dice);
            }
            if (opcode == NVME_CMD_ZONE_MGMT_SEND && g_rand_boolean(dice)) {
                cmd.dw[13] = g_rand_int_range(dice, 0, 18) |
                             (g_rand_boolean(dice) ? WITH_ZRWA : 0);
            }
            cid[i] = submit(c, &c->io, cmd);
        }
        for (int i = 0; i < ARRAY_SIZE(cid); i++) {
            wait_for(c, &c->io, cid[i]);
        }
    }
    for (unsigned i = 0; i < 16; i++) {
        Zone z = get_zone(c, i);

        if (z.state == FULL) {
            continue;
        }
        g_assert_cmpint(z.wp, <, CAP);
        if (z.attributes & 8) {
            g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, i * ZONE), ==,
                            OK);
        } else {
            uint16_t status = write_at(c, i * ZONE + z.wp, CAP - z.wp, 0x99);

            if (status == TOO_MANY_ACTIVE) {
                g_assert_cmphex(z.state, ==, EMPTY);
                continue;
            }
            g_assert_cmphex(status, ==, OK);
        }
        assert_zone(c, i, FULL, NO_WP);
    }
}

/* --- What survives (ZNS 1.1, 2.1.1.2 and the initial state) --- */

typedef void Event(Machine *m);

static void all_shut_down(Machine *m)
{
    for (int i = 0; i < MAX(m->setup->controllers, 1); i++) {
        shutdown_controller(&m->controller[i], CC_SHUTDOWN);
    }
    for (int i = 0; i < MAX(m->setup->controllers, 1); i++) {
        reset_controller(&m->controller[i]);
    }
}

static void all_reset(Machine *m)
{
    for (int i = 0; i < MAX(m->setup->controllers, 1); i++) {
        reset_controller(&m->controller[i]);
    }
}

static void one_shut_down(Machine *m)
{
    shutdown_controller(&m->controller[1], CC_SHUTDOWN);
    reset_controller(&m->controller[1]);
}

static void system_reset(Machine *m)
{
    qtest_system_reset(m->qts);
    for (int i = 0; i < MAX(m->setup->controllers, 1); i++) {
        Controller *c = &m->controller[i];

        qpci_device_enable(c->pci);
        qpci_config_writel(c->pci, PCI_BASE_ADDRESS_0, c->bar.addr);
        start_controller(c, CC_ALL_SETS);
    }
}

static void flush_and_crash(Machine *m)
{
    g_assert_cmphex(flush(&m->controller[0]), ==, OK);
    crash_machine(m);
}

static const struct {
    const char *name;
    Event *event;
    bool power_cycle;
    bool two;
    bool loses_memory;
} events[] = {
    { "a shutdown", all_shut_down, true },
    { "a shutdown of both controllers", all_shut_down, true, true },
    { "a shutdown of one of two controllers", one_shut_down, false, true },
    { "a reset of the controller", all_reset },
    { "a reset of both controllers", all_reset, false, true },
    { "a reset of the system", system_reset },
    { "another QEMU", restart_machine, true, .loses_memory = true },
    { "a flush and a crash", flush_and_crash, true, .loses_memory = true },
};

/* G-05, G-56; and what all zones of QEMU's own lose with another QEMU */
static void test_survival(const void *opaque)
{
    unsigned i = GPOINTER_TO_UINT(opaque);
    Controller *c = get_clean(events[i].two ? &two_controllers : &standard);

    for (State s = S_EMPTY; s <= S_FULL; s++) {
        prepare(c, s);
    }
    events[i].event(c->m);
    for (State s = S_EMPTY; s <= S_FULL; s++) {
        bool was_active = states[s].zs != EMPTY && states[s].zs != FULL;

        assert_zone(c, s, !events[i].power_cycle || !was_active ? states[s].zs :
                    states[s].wp ? CLOSED : EMPTY, states[s].wp);
        if (states[s].wp == WRITTEN || s == S_FULL) {
            assert_blocks(c, s * ZONE, WRITTEN, 0x11);
        }
    }
}

static void test_worn_zones_stay(void)
{
    Machine *m = get_machine(&cells);
    Controller *c = &m->controller[0];

    manage_all(c, NVME_ZONE_ACTION_RESET);
    all_shut_down(m);
    assert_zone(c, 1023, RDONLY, NO_WP);
    assert_zone(c, 1023 - 100, OFFLINE, NO_WP);
    crash_machine(m);
    assert_zone(c, 1023, RDONLY, NO_WP);
    assert_zone(c, 1023 - 100, OFFLINE, NO_WP);
}

/* Management commands are durable when they complete. */
static void test_crash_after_management(void)
{
    Controller *c = get_clean(&standard);

    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(write_at(c, i * ZONE, 2, 0x12), ==, OK);
    }
    g_assert_cmphex(flush(c), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, 0), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, ZONE), ==, OK);
    crash_machine(c->m);
    assert_zone(c, 0, EMPTY, 0);
    assert_zone(c, 1, FULL, NO_WP);
    assert_zone(c, 2, CLOSED, 2);
    assert_blocks(c, 0, 2, 0);
    assert_blocks(c, ZONE, 2, 0x12);
    assert_blocks(c, ZONE + 2, 2, 0);
}

static void crash_and_assert(Controller *c, int wp, uint8_t value)
{
    crash_machine(c->m);
    assert_zone(c, 1, CLOSED, wp);
    assert_blocks(c, ZONE, wp, value);
}

static Controller *get_fua_source(void)
{
    Controller *c = get_clean(&standard);

    g_assert_cmphex(write_at(c, 0, 2, 0x12), ==, OK);
    g_assert_cmphex(flush(c), ==, OK);
    fill(c, 0, 2, 0x12);
    return c;
}

/* G-50 */
static void test_crash_after_fua_write(void)
{
    Controller *c = get_fua_source();

    g_assert_cmphex(check(io(c, write_command(c, NVME_CMD_WRITE, ZONE, 2,
                                              FUA))), ==, OK);
    crash_and_assert(c, 2, 0x12);
}

static void test_crash_after_fua_append(void)
{
    Controller *c = get_fua_source();

    g_assert_cmphex(check(io(c, write_command(c, NVME_CMD_ZONE_APPEND, ZONE, 2,
                                              FUA))), ==, OK);
    crash_and_assert(c, 2, 0x12);
}

static void test_crash_after_fua_zeroes(void)
{
    Controller *c = get_fua_source();

    g_assert_cmphex(check(io(c, command(NVME_CMD_WRITE_ZEROES, ZONE, 1 | FUA,
                                        0))), ==, OK);
    crash_and_assert(c, 2, 0);
}

static void test_crash_after_fua_copy(void)
{
    Controller *c = get_fua_source();
    Source source = { .slba = 0, .nlb = 2 };
    Command cmd = copy_command(c, ZONE, 0, &source, 1);

    cmd.dw[12] |= FUA;
    g_assert_cmphex(check(io(c, cmd)), ==, OK);
    crash_and_assert(c, 2, 0x12);
}

static void test_crash_after_fua_read(void)
{
    Controller *c = get_fua_source();

    g_assert_cmphex(write_at(c, ZONE, 2, 0x34), ==, OK);
    g_assert_cmphex(check(io(c, with_data(c, command(NVME_CMD_READ, ZONE,
                                                     1 | FUA, 0),
                                          0, 2 * BLOCK))), ==, OK);
    crash_and_assert(c, 2, 0x34);
}

static void test_crash_without_write_cache(void)
{
    Controller *c = get_fua_source();
    uint64_t slba;

    g_assert_cmphex(set_feature(c, NVME_VOLATILE_WRITE_CACHE, 0, 0).status, ==,
                    OK);
    g_assert_cmphex(write_at(c, ZONE, 2, 0x12), ==, OK);
    g_assert_cmphex(append(c, ZONE, 2, 0x12, &slba), ==, OK);
    crash_and_assert(c, 4, 0x12);
}

/* --- Two controllers --- */

static void test_shared_zones(void)
{
    Controller *c = get_clean(&two_controllers);
    Controller *d = &c->m->controller[1];

    g_assert_cmphex(write_at(c, 0, 2, 0x12), ==, OK);
    g_assert_cmphex(write_at(d, 2, 2, 0x13), ==, OK);
    g_assert_cmphex(write_at(d, 2, 2, 0x13), ==, INVALID_WRITE);
    assert_zone(c, 0, IOPEN, 4);
    assert_zone(d, 0, IOPEN, 4);
    assert_blocks(d, 0, 2, 0x12);
    assert_blocks(c, 2, 2, 0x13);
}

static void test_shutdown_one_after_the_other(void)
{
    Controller *c = get_clean(&two_controllers);
    Controller *d = &c->m->controller[1];

    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 0), ==, OK);
    shutdown_controller(c, CC_SHUTDOWN);
    assert_zone(d, 0, EOPEN, 0);
    shutdown_controller(d, CC_SHUTDOWN);
    reset_controller(d);
    assert_zone(d, 0, EMPTY, 0);
    reset_controller(c);
}

/* --- Copy --- */

static void test_copy_ranges(void)
{
    Controller *c = get_clean(&standard);
    static const Source sources[] = {
        { .slba = 3, .nlb = 1 }, { .slba = ZONE, .nlb = 2 },
        { .slba = 0, .nlb = 2 },
    };

    g_assert_cmphex(write_at(c, 0, 3, 0xa1), ==, OK);
    g_assert_cmphex(write_at(c, 3, 1, 0xa2), ==, OK);
    g_assert_cmphex(write_at(c, ZONE, 2, 0xa3), ==, OK);
    g_assert_cmphex(check(io(c, copy_command(c, 2 * ZONE, 0, sources, 3))), ==,
                    OK);
    assert_zone(c, 2, IOPEN, 5);
    assert_blocks(c, 2 * ZONE, 1, 0xa2);
    assert_blocks(c, 2 * ZONE + 1, 2, 0xa3);
    assert_blocks(c, 2 * ZONE + 3, 2, 0xa1);
}

static void test_copy_one_bad_range(void)
{
    Controller *c = get_clean(&standard);
    static const Source sources[] = {
        { .slba = 0, .nlb = 2 }, { .slba = ZONE - 1, .nlb = 2 },
    };
    Result r = io(c, copy_command(c, 2 * ZONE, 0, sources, 2));

    g_assert_cmphex(r.status, ==, BOUNDARY);
    g_assert_cmpint(r.value, ==, 0);
    assert_zone(c, 2, EMPTY, 0);
}

static void test_copy_limits(void)
{
    Controller *c = get_clean(&cross_read);
    Source sources[129];

    for (int i = 0; i < ARRAY_SIZE(sources); i++) {
        sources[i] = (Source) { .slba = i, .nlb = 1 };
    }
    /* MSRC, MSSRL, MCL */
    g_assert_cmphex(check(io(c, copy_command(c, 0, 0, sources, 129))), ==,
                    SIZE_LIMIT);
    g_assert_cmphex(copy(c, 0, 0, 129), ==, SIZE_LIMIT);
    sources[0].nlb = sources[1].nlb = 65;
    g_assert_cmphex(check(io(c, copy_command(c, 0, 0, sources, 2))), ==,
                    SIZE_LIMIT);
    g_assert_cmphex(check(io(c, copy_command(c, 0, 1, sources, 1))), ==,
                    INVALID_FORMAT);
    g_assert_cmphex(check(io(c, copy_command(c, 0, 2, sources, 1))), ==,
                    INVALID_FIELD);
    assert_zone(c, 0, EMPTY, 0);
}

static void allow_copy_between_namespaces(Controller *c)
{
    Command cmd = { .dw = { NVME_ADM_CMD_SET_FEATURES } };
    NvmeHostBehaviorSupport support = { .cdfe = cpu_to_le16(1 << 2) };

    cmd.dw[10] = NVME_HOST_BEHAVIOR_SUPPORT;
    qtest_memwrite(c->m->qts, c->buffer, &support, sizeof(support));
    g_assert_cmphex(admin(c, with_data(c, cmd, 0, sizeof(support))).status, ==,
                    OK);
}

/* G-12 */
static void test_copy_between_namespaces(void)
{
    Controller *c = get_clean(&with_plain);
    static const Source mixed[] = {
        { .nsid = 2, .slba = 7, .nlb = 1 }, { .nsid = 1, .slba = 0, .nlb = 1 },
    };
    Source source = { .nsid = 3, .slba = 0, .nlb = 1 };
    Command cmd;

    allow_copy_between_namespaces(c);
    g_assert_cmphex(write_at(c, 0, 2, 0x21), ==, OK);
    g_assert_cmphex(check(io(c, copy_command(c, ZONE, 2, mixed, 2))), ==, OK);
    assert_blocks(c, ZONE, 1, 0);
    assert_blocks(c, ZONE + 1, 1, 0x21);
    assert_zone(c, 1, IOPEN, 2);

    /* Other block size, no such namespace, overlap with the target */
    g_assert_cmphex(check(io(c, copy_command(c, ZONE + 2, 2, &source, 1))), ==,
                    INCOMPATIBLE);
    source.nsid = 4;
    g_assert_cmphex(check(io(c, copy_command(c, ZONE + 2, 2, &source, 1))), ==,
                    INVALID_FIELD);
    source = (Source) { .nsid = 1, .slba = ZONE, .nlb = 3 };
    g_assert_cmphex(check(io(c, copy_command(c, ZONE + 2, 2, &source, 1))), ==,
                    OVERLAP);

    /* From the zones to a plain namespace */
    source = (Source) { .nsid = 1, .slba = 0, .nlb = 2 };
    cmd = copy_command(c, 0, 2, &source, 1);
    cmd.dw[1] = 2;
    g_assert_cmphex(io(c, cmd).status, ==, OK);
    source.slba = ZONE - 1;
    cmd = copy_command(c, 0, 2, &source, 1);
    cmd.dw[1] = 2;
    g_assert_cmphex(io(c, cmd).status, ==, BOUNDARY);
}

/* --- Errors of the medium --- */

static void test_write_errors(void)
{
    Controller *c = get_clean(&write_errors);
    uint64_t slba;

    g_assert_cmphex(write_at(c, 0, 2, 0x21), ==, OK);
    assert_blocks(c, 0, 2, 0x21);
    g_assert_cmphex(write_at(c, 2, 2, 0x22), ==, WRITE_FAULT);
    assert_zone(c, 0, IOPEN, 2);
    g_assert_cmphex(write_at(c, 2, 2, 0x22), ==, OK);
    assert_blocks(c, 0, 2, 0x21);
    g_assert_cmphex(append(c, 0, 2, 0x22, &slba), ==, WRITE_FAULT);
    assert_zone(c, 0, IOPEN, 4);
    /* G-11 */
    g_assert_cmphex(copy(c, ZONE, 0, 4), ==, WRITE_FAULT);
    assert_zone(c, 1, EMPTY, 0);
    g_assert_cmphex(append(c, ZONE, 4, 0x23, &slba), ==, OK);
    assert_zone(c, 1, IOPEN, 4);
}

/* G-50: what has to be durable fails, and only that */
static void test_flush_errors(void)
{
    Machine *m = new_machine(&flush_errors);
    Controller *c = &m->controller[0];
    static const uint8_t opcodes[] = {
        NVME_CMD_WRITE, NVME_CMD_WRITE_ZEROES, NVME_CMD_ZONE_APPEND,
    };
    Source source = { .slba = 0, .nlb = 2 };

    g_assert_cmphex(write_at(c, 0, 2, 0x21), ==, OK);
    g_assert_cmphex(flush(c), ==, WRITE_FAULT);
    for (int i = 0; i < ARRAY_SIZE(opcodes); i++) {
        uint64_t zslba = (i + 1) * ZONE;
        uint64_t wp;

        g_assert_cmphex(io(c, write_command(c, opcodes[i], zslba, 2, 0)).status,
                        ==, OK);
        wp = opcodes[i] == NVME_CMD_ZONE_APPEND ? zslba : zslba + 2;
        g_assert_cmphex(io(c, write_command(c, opcodes[i], wp, 2, FUA)).status,
                        ==, WRITE_FAULT);
    }
    for (unsigned fua = 0; fua < 2; fua++) {
        Command cmd = copy_command(c, (8 + fua) * ZONE, 0, &source, 1);

        cmd.dw[12] |= fua ? FUA : 0;
        g_assert_cmphex(io(c, cmd).status, ==, fua ? WRITE_FAULT : OK);
        cmd = with_data(c, command(NVME_CMD_READ, 0, fua ? 1 | FUA : 1, 0), 0,
                        2 * BLOCK);
        g_assert_cmphex(io(c, cmd).status, ==,
                        fua ? NVME_UNRECOVERED_READ : OK);
    }
    /* Without a write cache everything has to be durable */
    set_feature(c, NVME_VOLATILE_WRITE_CACHE, 0, 0);
    g_assert_cmphex(write_at(c, 10 * ZONE, 2, 0x21), ==, WRITE_FAULT);
    delete_machine(m);
}

static void test_read_errors(void)
{
    Controller *c = get_clean(&read_errors);

    g_assert_cmphex(write_at(c, 0, 2, 0x21), ==, OK);
    g_assert_cmphex(read_from(c, 0, 2), ==, NVME_UNRECOVERED_READ);
    g_assert_cmphex(copy(c, ZONE, 0, 2), ==, NVME_UNRECOVERED_READ);
    assert_zone(c, 1, EMPTY, 0);
    assert_zone(c, 0, IOPEN, 2);
}

static void test_read_only(void)
{
    Machine *m = get_machine(&read_only);
    Controller *c = &m->controller[0];
    uint64_t slba;

    identify(c, 0, 0, NSID);
    g_assert_cmpint(field(c, 99, 1), ==, 1);
    g_assert_cmphex(read_from(c, 0, 1), ==, OK);
    g_assert_cmphex(write_at(c, 0, 1, 0), ==, WRITE_PROTECTED);
    g_assert_cmphex(write_zeroes(c, 0, 1), ==, WRITE_PROTECTED);
    g_assert_cmphex(append(c, 0, 1, 0, &slba), ==, WRITE_PROTECTED);
    g_assert_cmphex(copy(c, 0, 1, 1), ==, WRITE_PROTECTED);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 0), ==, WRITE_PROTECTED);
    assert_zone(c, 0, EMPTY, 0);
    all_shut_down(m);
}

/* --- Admin commands --- */

static Result format(Controller *c, uint32_t nsid, uint32_t dw10)
{
    Command cmd = { .dw = { NVME_ADM_CMD_FORMAT_NVM, nsid } };

    cmd.dw[10] = dw10;
    return admin(c, cmd);
}

/* G-49 */
static void test_format(void)
{
    Controller *c = get_mixed();

    g_assert_cmphex(format(c, NSID, 1).status, ==, INVALID_FORMAT);
    g_assert_cmphex(format(c, NSID, 1 << 5).status, ==, INVALID_FORMAT);
    assert_zone(c, S_FULL, FULL, NO_WP);
    for (int i = 0; i < 2; i++) {
        g_assert_cmphex(format(c, i ? NSID : UINT32_MAX, 0).status, ==, OK);
        for (unsigned z = 0; z < 16; z++) {
            assert_zone(c, z, EMPTY, 0);
        }
        assert_blocks(c, S_FULL * ZONE, ZONE, 0);
        assert_size(c);
        g_assert_cmphex(write_at(c, S_FULL * ZONE, 2, 0x31), ==, OK);
    }
}

static void test_format_failed(void)
{
    Machine *m = new_machine(&flush_errors);
    Controller *c = &m->controller[0];

    g_assert_cmphex(write_at(c, 0, 2, 0x31), ==, OK);
    g_assert_cmphex(format(c, NSID, 0).status, ==, NVME_INTERNAL_DEV_ERROR);
    /* It has not changed anything, and is over */
    assert_zone(c, 0, IOPEN, 2);
    assert_blocks(c, 0, 2, 0x31);
    delete_machine(m);
}

static void test_format_worn(void)
{
    Machine *m = new_machine(&cells);
    Controller *c = &m->controller[0];

    g_assert_cmphex(format(c, NSID, 0).status, ==, OK);
    assert_zone(c, 1023, OFFLINE, NO_WP);
    assert_zone(c, 1023 - 100, OFFLINE, NO_WP);
    assert_zone(c, 0, EMPTY, 0);
    delete_machine(m);
}

static Result attach(Controller *c, bool on)
{
    Command cmd = { .dw = { NVME_ADM_CMD_NS_ATTACHMENT, NSID } };
    uint16_t list[2] = { cpu_to_le16(1), 0 };

    cmd.dw[10] = !on;
    qtest_memset(c->m->qts, c->buffer, 0, 4096);
    qtest_memwrite(c->m->qts, c->buffer, list, sizeof(list));
    return admin(c, with_data(c, cmd, 0, 4096));
}

/* G-51 */
static void test_detached_stays_detached(void)
{
    Controller *c = get_clean(&standard);

    g_assert_cmphex(attach(c, false).status, ==, OK);
    g_assert_cmphex(io(c, command(NVME_CMD_READ, 0, 0, 0)).status, ==,
                    INVALID_FIELD);
    reset_controller(c);
    g_assert_cmphex(io(c, command(NVME_CMD_READ, 0, 0, 0)).status, ==,
                    INVALID_FIELD);
    g_assert_cmphex(attach(c, true).status, ==, OK);
    assert_zone(c, 0, EMPTY, 0);
    reset_controller(c);
    g_assert_cmphex(attach(c, false).status, ==, OK);
    g_assert_cmphex(attach(c, true).status, ==, OK);
}

/* G-52 */
static void test_nvm_command_set_only(void)
{
    Controller *c = get_clean(&standard);

    stop_controller(c);
    start_controller(c, 0);
    g_assert_cmphex(io(c, command(NVME_CMD_ZONE_MGMT_SEND, 0, 0,
                                  NVME_ZONE_ACTION_OPEN)).status, ==,
                    INVALID_FIELD);
    reset_controller(c);
    assert_zone(c, 0, EMPTY, 0);
}

/* --- How it can be set up --- */

typedef struct Refusal {
    const char *name;
    const char *image;          /* options of qemu-img create */
    const char *device;         /* options of the namespace, with a comma */
    const char *error;          /* part of the message; NULL: it starts */
} Refusal;

#define PLAIN   "size=256M"
#define IMAGE   "size=16M,zone.mode=host-managed,zone.size=1M," \
                "zone.capacity=768k,zone.max_open_zones=3," \
                "zone.max_active_zones=4"

static const Refusal refusals[] = {
    { "setup/conventional zones are refused",
      "size=16M,zone.mode=host-managed,zone.size=1M,zone.conventional_zones=1",
      "", "conventional" },
    { "setup/a smaller last zone is refused",
      "size=16777728,zone.mode=host-managed,zone.size=1M", "", "last zone" },
    { "setup/a small append limit is refused",
      IMAGE ",zone.max_append_bytes=4k", "", "zone append limit 4096" },
    { "setup/blocks that do not fit the capacity are refused", IMAGE,
      ",logical_block_size=524288", "zone capacity 786432" },
    { "setup/blocks-beyond-the-append-limit-are-refused",
      "size=16M,zone.mode=host-managed,zone.size=1M,zone.max_append_bytes=8k",
      ",logical_block_size=65536,physical_block_size=65536",
      "logical_block_size 65536 is larger than the zone append limit 8192" },
    { "setup/blocks-of-the-append-limit-work",
      "size=16M,zone.mode=host-managed,zone.size=1M,zone.max_append_bytes=64k",
      ",logical_block_size=65536,physical_block_size=65536", NULL },
    { "setup/metadata is refused", IMAGE, ",ms=8", "ms=8" },
    { "setup/protection information is refused", IMAGE, ",ms=8,pi=1", "ms=8" },
    { "setup/another zone size is refused", IMAGE, ",zoned.zone_size=2M",
      "zoned.zone_size" },
    { "setup/the default zone size of QEMU is refused too", IMAGE,
      ",zoned=on,zoned.zone_size=128M", "zoned.zone_size" },
    { "setup/another capacity is refused", IMAGE, ",zoned.zone_capacity=1M",
      "zoned.zone_capacity" },
    { "setup/another limit of active zones is refused", IMAGE,
      ",zoned.max_active=5", "zoned.max_active" },
    { "setup/another limit of open zones is refused", IMAGE,
      ",zoned.max_open=2", "zoned.max_open" },
    { "setup/another extension size is refused", IMAGE,
      ",zoned.descr_ext_size=64", "zoned.descr_ext_size" },
    { "setup/another random write area is refused", IMAGE,
      ",zoned.zrwas=64k", "zoned.zrwas" },
    { "setup/another granularity of it is refused", IMAGE,
      ",zoned.zrwafg=4k", "zoned.zrwafg" },
    { "setup/another number of them is refused", IMAGE,
      ",zoned.numzrwa=2", "zoned.numzrwa" },
    { "setup/a random write area beyond 16 bits is refused",
      "size=64M,zone.mode=host-managed,zone.size=64M,zone.zrwa_size=32M,"
      "zone.zrwa_flush_granularity=4k", "", "random write area size 33554432" },
    { "setup/a granularity below a block is refused",
      IMAGE ",zone.zrwa_size=64k,zone.zrwa_flush_granularity=4k",
      ",logical_block_size=8192,physical_block_size=8192",
      "random write area granularity 4096" },
    { "setup/no property is needed", IMAGE, "", NULL },
    { "setup/properties may say what the image says", IMAGE,
      ",zoned=on,zoned.zone_size=1M,zoned.zone_capacity=768k,"
      "zoned.max_open=3,zoned.max_active=4,zoned.cross_read=on", NULL },
    { "setup/blocks of 4 KiB fit", IMAGE,
      ",logical_block_size=4096,physical_block_size=4096", NULL },

    { "setup/mdts-0-is-refused", PLAIN, " -device nvme,serial=m,mdts=0",
      "mdts is 0, it must be 1 to 9" },
    { "setup/mdts-10-is-refused", PLAIN, " -device nvme,serial=m,mdts=10",
      "mdts is 10, it must be 1 to 9" },
    { "setup/mdts-31-is-refused", PLAIN, " -device nvme,serial=m,mdts=31",
      "mdts is 31, it must be 1 to 9" },
    { "setup/mdts-32-is-refused", PLAIN, " -device nvme,serial=m,mdts=32",
      "mdts is 32, it must be 1 to 9" },
    { "setup/mdts-255-is-refused", PLAIN, " -device nvme,serial=m,mdts=255",
      "mdts is 255, it must be 1 to 9" },
    { "setup/mdts-9-works", PLAIN, " -device nvme,serial=m,mdts=9", NULL },

    /* QEMU's own zones in memory: G-26, G-27, G-28 */
    { "setup/zones in memory: a granularity below a block is refused", PLAIN,
      ",logical_block_size=4096,physical_block_size=4096,zoned=on,"
      "zoned.zone_size=1M,zoned.zrwas=32k,zoned.zrwafg=512", "zoned.zrwafg" },
    { "setup/zones in memory: a granularity of 0 is refused", PLAIN,
      ",zoned=on,zoned.zone_size=1M,zoned.zrwas=32k,zoned.zrwafg=0",
      "zoned.zrwafg" },
    { "setup/zones in memory: one that cannot fill the zone is refused", PLAIN,
      ",zoned=on,zoned.zone_size=1M,zoned.zone_capacity=800k,"
      "zoned.zrwas=64k,zoned.zrwafg=64k", "zone capacity" },
    { "setup/zones in memory: an area beyond 16 bits is refused", PLAIN,
      ",zoned=on,zoned.zone_size=64M,zoned.zrwas=32M", "zoned.zrwas" },
    { "setup/zones in memory: the granularity has a default", PLAIN,
      ",zoned=on,zoned.zone_size=1M,zoned.zrwas=32k", NULL },
    { "setup/zones in memory: the zone size has a default", PLAIN,
      ",zoned=on", NULL },
};

static void test_setup(const void *opaque)
{
    const Refusal *r = opaque;
    g_autofree char *options = g_strdup_printf("-o %s", r->image);
    g_autofree char *run = NULL, *out = NULL, *err = NULL;
    char *path = zoned_image_create(options, "");
    const char *argv[] = { "/bin/sh", "-c", NULL, NULL };
    int status;

    argv[2] = run = g_strdup_printf(
        "echo quit | %s -nodefaults -machine pc -display none -accel qtest "
        "-monitor stdio -drive file=%s,id=z0,format=qcow2,if=none "
        "-device nvme,id=c0,serial=zns -device nvme-ns,drive=z0,bus=c0%s",
        getenv("QTEST_QEMU_BINARY"), path, r->device);
    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT,
                               NULL, NULL, &out, &err, &status, NULL));
    if (!!strstr(err, r->error ?: "qemu-system") != !!r->error) {
        g_test_message("%s", err);
        g_test_fail();
    }
    g_assert_cmpint(status == 0, ==, !r->error);
    zoned_image_delete(path);
}

/* --- Zone descriptor extensions --- */

static void assert_extension(Controller *c, unsigned i, uint8_t value)
{
    g_assert_cmphex(receive(c, i * ZONE, 64 + 64 + EXTENSION,
                            RECEIVE_EXTENDED | PARTIAL), ==, OK);
    g_assert_cmpint(report_count(c), ==, 1);
    g_assert_cmphex(descriptor_at(c, 64).attributes & 0x80, ==,
                    value ? 0x80 : 0);
    assert_buffer(c, 128, EXTENSION, value);
}

static void test_identify_features(void)
{
    Controller *c = get_clean(&features);

    identify(c, 5, NVME_CSI_ZONED, NSID);
    g_assert_cmphex(field(c, 2, 2), ==, 2);
    g_assert_cmpint(field(c, 44, 4), ==, 2 - 1);    /* NUMZRWA, G-23 */
    g_assert_cmpint(field(c, 48, 2), ==, GRANULARITY);
    g_assert_cmpint(field(c, 50, 2), ==, ZRWA);
    g_assert_cmpint(field(c, 52, 1), ==, 1);
    g_assert_cmpint(field(c, 2824, 1), ==, EXTENSION / 64);

    c = get_clean(&held);
    identify(c, 5, NVME_CSI_ZONED, NSID);
    g_assert_cmphex(field(c, 44, 4), ==, UINT32_MAX);
}

static void test_extended_report(void)
{
    Controller *c = get_clean(&features);
    const unsigned entry = 64 + EXTENSION;

    g_assert_cmphex(set_extension(c, ZONE, 0xe1, 0), ==, OK);
    g_assert_cmphex(set_extension(c, 3 * ZONE, 0xe3, 0), ==, OK);
    g_assert_cmphex(receive(c, 0, 64 + 4 * entry + entry / 2,
                            RECEIVE_EXTENDED | PARTIAL), ==, OK);
    g_assert_cmpint(report_count(c), ==, 4);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmpint(descriptor_at(c, 64 + i * entry).start, ==, i * ZONE);
        g_assert_cmphex(descriptor_at(c, 64 + i * entry).attributes, ==,
                        i % 2 ? 0x80 : 0);
        assert_buffer(c, 64 + i * entry + 64, EXTENSION, i % 2 ? 0xe0 + i : 0);
    }
    g_assert_cmphex(receive(c, 0, 64 + 16 * entry, RECEIVE_EXTENDED | 4 << 8),
                    ==, OK);
    g_assert_cmpint(report_count(c), ==, 2);
    assert_buffer(c, 64 + entry + 64, EXTENSION, 0xe3);
}

/* ZNS 1.1: it is lost with a reset, and with nothing else */
static void test_extension_stays(void)
{
    Controller *c = get_clean(&features);

    g_assert_cmphex(set_extension(c, 0, 0xe1, 0), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 0), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_CLOSE, 0), ==, OK);
    assert_extension(c, 0, 0xe1);
    restart_machine(c->m);
    assert_zone(c, 0, CLOSED, 0);
    assert_extension(c, 0, 0xe1);
    g_assert_cmphex(write_at(c, 0, 2, 0x12), ==, OK);
    crash_machine(c->m);
    assert_extension(c, 0, 0xe1);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, 0), ==, OK);
    crash_machine(c->m);
    assert_zone(c, 0, FULL, NO_WP);
    assert_extension(c, 0, 0xe1);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, 0), ==, OK);
    assert_extension(c, 0, 0);
    g_assert_cmphex(set_extension(c, 0, 0xe2, 0), ==, OK);
    all_shut_down(c->m);
    assert_zone(c, 0, CLOSED, 0);
    assert_extension(c, 0, 0xe2);
}

/* G-40 */
static void test_extension_not_replaced(void)
{
    Controller *c = get_clean(&features);
    Command cmd = command(NVME_CMD_ZONE_MGMT_SEND, ZONE, 0,
                          NVME_ZONE_ACTION_SET_ZD_EXT);

    g_assert_cmphex(set_extension(c, 0, 0xe1, 0), ==, OK);
    g_assert_cmphex(set_extension(c, 0, 0xe2, 0), ==, TRANSITION);
    assert_extension(c, 0, 0xe1);
    /* Half of it in a page that has a bad address */
    cmd = with_data(c, cmd, 4096 - EXTENSION / 2, EXTENSION);
    cmd.dw[8] += 8;
    g_assert_cmphex(io(c, cmd).status, ==, PRP_OFFSET);
    assert_zone(c, 1, EMPTY, 0);
    assert_extension(c, 1, 0);
}

static void test_extension_is_active(void)
{
    Controller *c = get_clean(&features);

    for (unsigned i = 0; i < 5; i++) {
        g_assert_cmphex(set_extension(c, i * ZONE, 0xe1, 0), ==, OK);
    }
    g_assert_cmphex(set_extension(c, 5 * ZONE, 0xe1, 0), ==, TOO_MANY_ACTIVE);
    g_assert_cmphex(write_at(c, 5 * ZONE, 1, 0), ==, TOO_MANY_ACTIVE);
    assert_extension(c, 5, 0);
    restart_machine(c->m);
    g_assert_cmphex(write_at(c, 5 * ZONE, 1, 0), ==, TOO_MANY_ACTIVE);
    g_assert_cmphex(write_at(c, 4 * ZONE, 1, 0), ==, OK);
}

/* --- Random write areas (TP4076) --- */

static Controller *get_zrwa(void)
{
    Controller *c = get_clean(&features);

    g_assert_cmphex(do_open_zrwa(c, 0, 0), ==, OK);
    g_assert_cmphex(get_zone(c, 0).attributes, ==, 8);
    return c;
}

static void test_zrwa_any_order(void)
{
    Controller *c = get_zrwa();

    g_assert_cmphex(write_at(c, 6, 2, 0xa1), ==, OK);
    g_assert_cmphex(write_at(c, 0, 1, 0xa2), ==, OK);
    g_assert_cmphex(write_at(c, 6, 1, 0xa3), ==, OK);
    g_assert_cmphex(write_zeroes(c, 7, 1), ==, OK);
    assert_zone(c, 0, EOPEN, 0);
    assert_blocks(c, 0, 1, 0xa2);
    assert_blocks(c, 1, 5, 0);
    assert_blocks(c, 6, 1, 0xa3);
    assert_blocks(c, 7, 1, 0);
}

static void test_zrwa_bounds(void)
{
    Controller *c = get_zrwa();
    uint64_t slba;

    g_assert_cmphex(write_at(c, 2 * ZRWA - 1, 2, 0), ==, INVALID_WRITE);
    g_assert_cmphex(write_at(c, 2 * ZRWA, 1, 0), ==, INVALID_WRITE);
    g_assert_cmphex(append(c, 0, 1, 0, &slba), ==, INVALID_OP);
    assert_zone(c, 0, EOPEN, 0);
    /* The least commit that makes room, in units of the granularity */
    g_assert_cmphex(write_at(c, ZRWA, 1, 0xa1), ==, OK);
    assert_zone(c, 0, EOPEN, GRANULARITY);
    g_assert_cmphex(write_at(c, GRANULARITY - 1, 1, 0), ==, INVALID_WRITE);
    g_assert_cmphex(write_at(c, GRANULARITY, 1, 0xa2), ==, OK);
    g_assert_cmphex(write_at(c, 2 * ZRWA + GRANULARITY - 1, 1, 0xa3), ==, OK);
    assert_zone(c, 0, EOPEN, ZRWA + GRANULARITY);
    assert_blocks(c, ZRWA + 1, ZRWA, 0);
    assert_blocks(c, 2 * ZRWA + GRANULARITY - 1, 1, 0xa3);
}

/* G-24 */
static void test_zrwa_commit(void)
{
    Controller *c = get_zrwa();
    const uint32_t commit = NVME_ZONE_ACTION_ZRWA_FLUSH;

    g_assert_cmphex(write_at(c, 0, ZRWA, 0xa1), ==, OK);
    g_assert_cmphex(manage(c, commit, 2), ==, INVALID_FIELD);
    g_assert_cmphex(manage(c, commit, ZRWA), ==, INVALID_OP);
    g_assert_cmphex(manage(c, commit, ZONE - 1), ==, INVALID_OP);
    g_assert_cmphex(manage(c, commit, ZONE + 1), ==, INVALID_OP);
    g_assert_cmphex(manage(c, commit, 16 * ZONE), ==, LBA_RANGE);
    assert_zone(c, 0, EOPEN, 0);
    g_assert_cmphex(manage(c, commit, 1), ==, OK);
    assert_zone(c, 0, EOPEN, 2);
    g_assert_cmphex(manage(c, commit, 1), ==, INVALID_OP);
    g_assert_cmphex(manage(c, commit, ZRWA - 1), ==, OK);
    assert_zone(c, 0, EOPEN, ZRWA);
    assert_blocks(c, 0, ZRWA, 0xa1);
}

/* G-25 */
static void test_zrwa_to_the_end(void)
{
    Controller *c = get_zrwa();
    const uint32_t commit = NVME_ZONE_ACTION_ZRWA_FLUSH;

    for (unsigned i = 0; i < CAP; i += ZRWA) {
        g_assert_cmphex(write_at(c, i, ZRWA, 0xa1), ==, OK);
    }
    assert_zone(c, 0, EOPEN, CAP - ZRWA);
    g_assert_cmphex(write_at(c, CAP - 1, 2, 0xa2), ==, BOUNDARY);
    g_assert_cmphex(manage(c, commit, CAP + 1), ==, INVALID_OP);
    g_assert_cmphex(manage(c, commit, CAP - 1), ==, OK);
    assert_zone(c, 0, FULL, NO_WP);
    g_assert_cmphex(get_zone(c, 0).attributes, ==, 0);
    assert_blocks(c, 0, CAP, 0xa1);
}

/* G-20, G-21, G-34 */
static void test_zrwa_resources(void)
{
    Controller *c = get_zrwa();

    for (int i = 0; i < 40; i++) {
        g_assert_cmphex(do_open_zrwa(c, ZONE, 0), ==, OK);
        g_assert_cmphex(do_open_zrwa(c, ZONE, 0), ==, INVALID_OP);
        g_assert_cmphex(do_open_zrwa(c, 2 * ZONE, 0), ==, NO_ZRWA);
        g_assert_cmphex(set_extension(c, 2 * ZONE, 1, WITH_ZRWA), ==, NO_ZRWA);
        assert_zone(c, 2, EMPTY, 0);
        assert_extension(c, 2, 0);
        g_assert_cmphex(manage(c, i % 2 ? NVME_ZONE_ACTION_RESET
                                        : NVME_ZONE_ACTION_FINISH, ZONE),
                        ==, OK);
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, ZONE), ==, OK);
    }
    /* A closed zone keeps its area */
    g_assert_cmphex(do_open_zrwa(c, ZONE, 0), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_CLOSE, 0), ==, OK);
    g_assert_cmphex(get_zone(c, 0).attributes, ==, 8);
    g_assert_cmphex(do_open_zrwa(c, 2 * ZONE, 0), ==, NO_ZRWA);
}

/* G-20 */
static void test_zrwa_no_limit(void)
{
    Controller *c = get_clean(&held);

    for (int i = 0; i < 40; i++) {
        g_assert_cmphex(do_open_zrwa(c, (i % 2) * ZONE, 0), ==, OK);
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, (i % 2) * ZONE), ==,
                        OK);
    }
    for (int i = 0; i < 16; i++) {
        g_assert_cmphex(do_open_zrwa(c, i * ZONE, 0), ==, OK);
    }
}

/* G-29: the granularity counts from the start of the zone. */
static void test_zrwa_odd_granularity(void)
{
    Controller *c = get_clean(&odd_granularity);

    g_assert_cmphex(do_open_zrwa(c, ZONE, 0), ==, OK);
    g_assert_cmphex(write_at(c, ZONE, 6, 0xa1), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_ZRWA_FLUSH, ZONE + 1), ==,
                    INVALID_FIELD);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_ZRWA_FLUSH, ZONE + 2), ==, OK);
    assert_zone(c, 1, EOPEN, 3);
    g_assert_cmphex(write_at(c, ZONE + 9, 1, 0xa2), ==, OK);
    assert_zone(c, 1, EOPEN, 6);
}

/* G-34 */
static void test_zrwa_power_cycle(void)
{
    Controller *c = get_zrwa();

    g_assert_cmphex(do_open_zrwa(c, ZONE, 0), ==, OK);
    g_assert_cmphex(write_at(c, 0, 2, 0xa1), ==, OK);
    g_assert_cmphex(flush(c), ==, OK);
    all_shut_down(c->m);
    /* One is kept by what it holds, the other one is free */
    assert_zone(c, 0, CLOSED, 0);
    assert_zone(c, 1, EMPTY, 0);
    g_assert_cmphex(do_open_zrwa(c, 2 * ZONE, 0), ==, OK);
    g_assert_cmphex(do_open_zrwa(c, 3 * ZONE, 0), ==, NO_ZRWA);
}

/* G-22 */
static void test_zrwa_only_empty(void)
{
    Controller *c = get_clean(&features);

    for (State s = S_IOPEN; s <= S_FULL; s++) {
        unsigned zone = prepare(c, s);

        g_assert_cmphex(do_open_zrwa(c, zone * ZONE, 0), ==, INVALID_OP);
        assert_zone(c, zone, states[s].zs, states[s].wp);
        g_assert_cmphex(get_zone(c, zone).attributes, ==, 0);
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, zone * ZONE), ==,
                        OK);
    }
    g_assert_cmphex(set_extension(c, 0, 1, WITH_ZRWA), ==, OK);
    g_assert_cmphex(get_zone(c, 0).attributes, ==, 0x88);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_ZRWA_FLUSH, ZONE + 1), ==,
                    INVALID_OP);
}

/* G-30 */
static void test_zrwa_copy(void)
{
    Controller *c = get_zrwa();

    g_assert_cmphex(write_at(c, ZONE, 4, 0xa1), ==, OK);
    g_assert_cmphex(copy(c, 4, ZONE, 4), ==, OK);
    assert_zone(c, 0, EOPEN, 0);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_ZRWA_FLUSH, ZRWA - 1), ==, OK);
    assert_zone(c, 0, EOPEN, ZRWA);
    assert_blocks(c, 0, 4, 0);
    assert_blocks(c, 4, 4, 0xa1);
    g_assert_cmphex(copy(c, 4, ZONE, 4), ==, INVALID_WRITE);
}

/* G-35 */
static void test_zrwa_survives(void)
{
    Controller *c = get_zrwa();

    g_assert_cmphex(write_at(c, 2, 2, 0xa1), ==, OK);
    g_assert_cmphex(do_open_zrwa(c, ZONE, 0), ==, OK);
    g_assert_cmphex(flush(c), ==, OK);
    for (int i = 0; i < 3; i++) {
        if (i == 0) {
            all_shut_down(c->m);
        } else if (i == 1) {
            restart_machine(c->m);
        } else {
            crash_machine(c->m);
        }
        assert_zone(c, 0, CLOSED, 0);
        g_assert_cmphex(get_zone(c, 0).attributes, ==, 8);
        assert_blocks(c, 0, 2, 0);
        assert_blocks(c, 2, 2, 0xa1);
        assert_blocks(c, 4, 4, 0);
        /* Nothing was written to the other, which lost its area */
        assert_zone(c, 1, EMPTY, 0);
        g_assert_cmphex(get_zone(c, 1).attributes, ==, 0);
    }
    g_assert_cmphex(write_at(c, 0, 1, 0xa2), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_ZRWA_FLUSH, 3), ==, OK);
    assert_zone(c, 0, IOPEN, 4);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, 0), ==, OK);
    assert_blocks(c, 0, 1, 0xa2);
    assert_blocks(c, 2, 2, 0xa1);
}

static void test_zrwa_crash_after_commit(void)
{
    Controller *c = get_zrwa();

    g_assert_cmphex(write_at(c, 0, 4, 0xa1), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_ZRWA_FLUSH, 1), ==, OK);
    crash_machine(c->m);
    assert_zone(c, 0, CLOSED, 2);
    assert_blocks(c, 0, 2, 0xa1);
    g_assert_cmphex(get_zone(c, 0).attributes, ==, 8);
}

/* --- Zones that fail, and events --- */

static void set_condition(Controller *c, unsigned zone, const char *condition)
{
    qtest_qmp_assert_success(c->m->qts,
        "{ 'execute': 'block-zone-set-condition', 'arguments': {"
        "  'node-name': 'z0', 'offset': %" PRId64 ", 'condition': %s } }",
        (int64_t)zone * ZONE_BYTES, condition);
}

#define ZONE_CHANGED    0xbfef02ull     /* log page, information, notice */

static void enable_events(Controller *c, bool on)
{
    g_assert_cmphex(set_feature(c, NVME_ASYNCHRONOUS_EVENT_CONF, 0,
                                on ? 1u << 27 : 0).status, ==, OK);
}

static unsigned request_event(Controller *c)
{
    return submit(c, &c->admin,
                  (Command) { .dw = { NVME_ADM_CMD_ASYNC_EV_REQ } });
}

static bool event_is_there(Controller *c, unsigned cid)
{
    while (take_completion(c, &c->admin)) {
        /* More may be there */
    }
    return c->admin.command[cid].done;
}

/* Get the Changed Zone List to the buffer. */
static uint16_t get_changed(Controller *c, bool keep)
{
    Command cmd = { .dw = { NVME_ADM_CMD_GET_LOG_PAGE, NSID } };

    cmd.dw[10] = 0xbf | keep << 15 | 1023 << 16;
    return admin(c, with_data(c, cmd, 0, 4096)).status;
}

static void assert_changed(Controller *c, bool keep, unsigned nr,
                           const unsigned *zones)
{
    g_assert_cmphex(get_changed(c, keep), ==, OK);
    g_assert_cmpint(field(c, 0, 8), ==, nr);
    for (unsigned i = 0; i < nr; i++) {
        g_assert_cmpint(field(c, 8 + 8 * i, 8), ==, zones[i] * ZONE);
    }
    for (unsigned i = nr; i < 511; i++) {
        g_assert_cmpint(field(c, 8 + 8 * i, 8), ==, 0);
    }
}

/* As virtio-blk counts them */
static void test_statistics(void)
{
    static const Setup setup = { .zones = 16 };
    Machine *m = new_machine(&setup);
    Controller *c = &m->controller[0];
    QDict *answer, *stats, *management;
    uint64_t slba;

    g_assert_cmphex(append(c, 0, 1, 0x41, &slba), ==, OK);
    g_assert_cmphex(append(c, 0, 3, 0x41, &slba), ==, OK);
    g_assert_cmphex(write_at(c, 4, 2, 0x42), ==, OK);
    g_assert_cmphex(write_at(c, 0, 2, 0x43), ==, INVALID_WRITE);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, ZONE), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, 0), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_CLOSE, 0), ==, TRANSITION);
    g_assert_cmphex(append(c, 0, 1, 0x44, &slba), ==, IS_FULL);

    answer = qtest_qmp(m->qts, "{'execute': 'query-blockstats'}");
    stats = qdict_get_qdict(qobject_to(QDict, qlist_peek(
        qdict_get_qlist(answer, "return"))), "stats");
    management = qdict_get_qdict(stats, "zone_mgmt");
    g_assert_cmpint(qdict_get_int(stats, "zone_append_operations"), ==, 2);
    g_assert_cmpint(qdict_get_int(stats, "zone_append_bytes"), ==, 4 * BLOCK);
    g_assert_cmpint(qdict_get_int(stats, "failed_zone_append_operations"), ==,
                    1);
    g_assert_cmpint(qdict_get_int(stats, "wr_operations"), ==, 1);
    g_assert_cmpint(qdict_get_int(stats, "failed_wr_operations"), ==, 1);
    g_assert_cmpint(qdict_get_int(management, "operations"), ==, 2);
    g_assert_cmpint(qdict_get_int(management, "failed-operations"), ==, 1);
    qobject_unref(answer);
    delete_machine(m);
}

static void test_conditions(void)
{
    Machine *m = new_machine(&standard);
    Controller *c = &m->controller[0];

    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(write_at(c, i * ZONE, 2, 0x41), ==, OK);
    }
    set_condition(c, 0, "read-only");
    set_condition(c, 1, "offline");
    set_condition(c, 2, "read-only");
    assert_zone(c, 0, RDONLY, NO_WP);
    assert_zone(c, 1, OFFLINE, NO_WP);
    g_assert_cmphex(write_at(c, 2, 2, 0), ==, IS_READ_ONLY);
    assert_blocks(c, 0, 2, 0x41);
    g_assert_cmphex(read_from(c, ZONE, 2), ==, IS_OFFLINE);
    restart_machine(m);
    assert_zone(c, 0, RDONLY, NO_WP);
    assert_zone(c, 1, OFFLINE, NO_WP);
    set_condition(c, 0, "good");
    assert_zone(c, 0, CLOSED, 2);
    g_assert_cmphex(write_at(c, 2, 2, 0x42), ==, OK);
    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_OFFLINE), ==, OK);
    assert_zone(c, 2, OFFLINE, NO_WP);
    assert_zone(c, 0, IOPEN, 4);
    delete_machine(m);
}

/* G-54 */
static void test_events(void)
{
    Machine *m = new_machine(&two_controllers);
    Controller *c = &m->controller[0], *d = &m->controller[1];
    static const unsigned one[] = { 3 }, two[] = { 3, 4 };
    unsigned cid, cid_d;

    enable_events(c, true);
    cid = request_event(c);
    cid_d = request_event(d);
    g_assert_cmphex(write_at(c, 0, CAP, 0), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, 0), ==, OK);
    g_assert_false(event_is_there(c, cid));
    assert_changed(c, false, 0, NULL);

    set_condition(c, 3, "read-only");
    g_assert_cmphex(wait_for(c, &c->admin, cid).value, ==,
                    ZONE_CHANGED | (uint64_t)NSID << 32);
    assert_changed(c, true, 1, one);
    assert_changed(c, true, 1, one);

    /* Nothing more until the log is read */
    cid = request_event(c);
    set_condition(c, 4, "offline");
    set_condition(c, 3, "offline");
    g_assert_false(event_is_there(c, cid));
    assert_changed(c, false, 2, two);
    assert_changed(c, false, 0, NULL);
    g_assert_false(event_is_there(c, cid));
    set_condition(c, 3, "good");
    g_assert_cmphex(wait_for(c, &c->admin, cid).value, ==,
                    ZONE_CHANGED | (uint64_t)NSID << 32);

    /* The other controller wants no events, but has a list of its own */
    g_assert_false(event_is_there(d, cid_d));
    assert_changed(d, false, 2, two);
    reset_controller(c);
    assert_changed(c, false, 0, NULL);
    delete_machine(m);
}

static void test_events_too_many(void)
{
    Machine *m = new_machine(&many_zones);
    Controller *c = &m->controller[0];

    for (unsigned i = 0; i < 511; i++) {
        set_condition(c, i, "read-only");
    }
    g_assert_cmphex(get_changed(c, true), ==, OK);
    g_assert_cmpint(field(c, 0, 8), ==, 511);
    g_assert_cmpint(field(c, 4088, 8), ==, 510 * ZONE);
    set_condition(c, 511, "read-only");
    g_assert_cmphex(get_changed(c, false), ==, OK);
    g_assert_cmphex(field(c, 0, 8), ==, 0xffff);
    g_assert_cmpint(field(c, 8, 8), ==, 0);
    set_condition(c, 511, "good");
    g_assert_cmphex(get_changed(c, false), ==, OK);
    g_assert_cmphex(field(c, 0, 8), ==, 1);
    delete_machine(m);
}

static void test_events_of_plain(void)
{
    Controller *c = get_clean(&with_plain);
    Command cmd = { .dw = { NVME_ADM_CMD_GET_LOG_PAGE, 2 } };

    cmd.dw[10] = 0xbf | 1023 << 16;
    g_assert_cmphex(admin(c, with_data(c, cmd, 0, 4096)).status, ==,
                    INVALID_FIELD);
    cmd.dw[1] = UINT32_MAX;
    g_assert_cmphex(admin(c, with_data(c, cmd, 0, 4096)).status, ==,
                    INVALID_FIELD);
}

/* --- What survives, row by row --- */

/*
 * Every kind of zone after each kind of end.  Zone 0 is brought to a state;
 * what it is and reads must be there afterwards, but where the zones lose their
 * power, it becomes what the row says.
 */

static const Setup lasting = {
    .zones = 16,
    .image = ZNS_FEATURES ",zone.max_open_zones=3,zone.max_active_zones=4",
};

static void last_flush(Controller *c)
{
    g_assert_cmphex(flush(c), ==, OK);
}

static void last_written(Controller *c)
{
    g_assert_cmphex(write_at(c, 0, WRITTEN, 0x81), ==, OK);
    last_flush(c);
}

static void last_empty(Controller *c)
{
    last_written(c);
    g_assert_cmphex(do_reset(c, 0, 0), ==, OK);
}

static void last_opened(Controller *c)
{
    g_assert_cmphex(do_open(c, 0, 0), ==, OK);
}

static void last_explicit(Controller *c)
{
    last_opened(c);
    last_written(c);
}

static void last_closed(Controller *c)
{
    last_written(c);
    g_assert_cmphex(do_close(c, 0, 0), ==, OK);
}

static void last_unwritten(Controller *c)
{
    last_opened(c);
    g_assert_cmphex(do_close(c, 0, 0), ==, OK);
}

static void last_finished(Controller *c)
{
    last_written(c);
    g_assert_cmphex(do_finish(c, 0, 0), ==, OK);
}

static void last_filled(Controller *c)
{
    g_assert_cmphex(write_at(c, 0, CAP, 0x82), ==, OK);
    last_flush(c);
}

static void last_rdonly(Controller *c)
{
    last_written(c);
    set_condition(c, 0, "read-only");
}

static void last_offline(Controller *c)
{
    last_written(c);
    set_condition(c, 0, "offline");
}

static void last_extension(Controller *c)
{
    g_assert_cmphex(set_extension(c, 0, 0xe7, 0), ==, OK);
}

static void last_extension_open(Controller *c)
{
    last_extension(c);
    last_opened(c);
}

static void last_extension_full(Controller *c)
{
    last_extension(c);
    last_finished(c);
}

static void last_extension_rdonly(Controller *c)
{
    last_extension(c);
    last_rdonly(c);
}

/* No command does this: QEMU, where it repairs an image */
static void last_by_controller(Controller *c)
{
    Machine *m = c->m;

    last_finished(c);
    stop_machine(m);
    zoned_image_set_attributes(m->image, 0, NVME_ZA_FINISHED_BY_CTLR);
    start_machine(m);
}

static void last_area(Controller *c)
{
    g_assert_cmphex(do_open_zrwa(c, 0, 0), ==, OK);
    g_assert_cmphex(write_at(c, 2, 2, 0x83), ==, OK);
    last_flush(c);
}

static void last_area_unwritten(Controller *c)
{
    g_assert_cmphex(do_open_zrwa(c, 0, 0), ==, OK);
}

static void last_area_committed(Controller *c)
{
    last_area(c);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_ZRWA_FLUSH, 3), ==, OK);
}

static const struct {
    const char *name;
    void (*prepare)(Controller *c);
    /* After a loss of power; without one, nothing changes */
    uint8_t zs;
    int wp;
    uint8_t attributes;
} lasts[] = {
    { "an empty zone stays empty", last_empty, EMPTY, 0 },
    { "an implicitly open zone is closed", last_written, CLOSED, WRITTEN },
    { "an explicitly open zone is closed", last_explicit, CLOSED, WRITTEN },
    { "a zone that was only opened is empty", last_opened, EMPTY, 0 },
    { "an open zone with an extension is closed", last_extension_open, CLOSED,
      0, 0x80 },
    { "a closed zone stays closed", last_closed, CLOSED, WRITTEN },
    { "a zone that was only opened and closed is empty", last_unwritten,
      EMPTY, 0 },
    { "a closed zone with an extension stays closed", last_extension, CLOSED,
      0, 0x80 },
    { "a zone that was finished stays full", last_finished, FULL, NO_WP },
    { "a zone that was written to the end stays full", last_filled, FULL,
      NO_WP },
    { "a read-only zone stays so", last_rdonly, RDONLY, WRITTEN },
    { "an offline zone stays so", last_offline, OFFLINE, NO_WP },
    { "a full zone keeps its extension", last_extension_full, FULL, NO_WP,
      0x80 },
    { "a read-only zone keeps its extension", last_extension_rdonly, RDONLY,
      WRITTEN, 0x80 },
    { "that the controller finished a zone is kept", last_by_controller, FULL,
      NO_WP, 0x01 },
    { "a random write area is kept with what it holds", last_area, CLOSED, 0,
      0x08 },
    { "a random write area that holds nothing is lost", last_area_unwritten,
      EMPTY, 0 },
    { "a commit of a random write area is kept", last_area_committed, CLOSED,
      4, 0x08 },
};

static const struct {
    const char *name;
    Event *event;
    bool power_cycle;
} last_events[] = {
    { "shutdown", all_shut_down, true },
    { "controller reset", all_reset },
    { "restart", restart_machine, true },
    { "kill", crash_machine, true },
};

typedef struct Lasting {
    unsigned row, event;
} Lasting;

static void test_lasting(const void *opaque)
{
    const Lasting *l = opaque;
    Controller *c = get_clean(&lasting);
    g_autofree uint8_t *before = g_malloc(CAP * BLOCK);
    g_autofree uint8_t *after = g_malloc(CAP * BLOCK);
    Zone was, is;
    uint16_t status;

    set_condition(c, 0, "good");
    g_assert_cmphex(do_reset(c, 0, 0), ==, OK);
    lasts[l->row].prepare(c);
    was = get_zone(c, 0);
    status = read_from(c, 0, CAP);
    qtest_memread(c->m->qts, c->buffer, before, CAP * BLOCK);

    last_events[l->event].event(c->m);
    is = get_zone(c, 0);
    if (last_events[l->event].power_cycle) {
        g_assert_cmphex(is.state, ==, lasts[l->row].zs);
        g_assert_cmphex(is.attributes, ==, lasts[l->row].attributes);
        if (lasts[l->row].wp != NO_WP) {
            g_assert_cmpint(is.wp, ==, lasts[l->row].wp);
        }
    } else {
        g_assert_cmphex(is.state, ==, was.state);
        g_assert_cmphex(is.attributes, ==, was.attributes);
        g_assert_cmpint(is.wp, ==, was.wp);
    }
    g_assert_cmphex(read_from(c, 0, CAP), ==, status);
    qtest_memread(c->m->qts, c->buffer, after, CAP * BLOCK);
    g_assert_cmpmem(before, CAP * BLOCK, after, CAP * BLOCK);
    assert_extension(c, 0, is.attributes & 0x80 ? 0xe7 : 0);
    /* G-43: those with a recommendation, or finished by the controller */
    g_assert_cmphex(receive(c, 0, 128, 9 << 8), ==, OK);
    g_assert_cmpint(report_count(c), ==, is.attributes & 1);
    set_condition(c, 0, "good");
}

/* What was not flushed may be lost, from the end. */
static void test_lasting_tail(const void *opaque)
{
    const Lasting *l = opaque;
    Controller *c = get_clean(&lasting);
    int wp;

    last_written(c);
    g_assert_cmphex(write_at(c, WRITTEN, 6, 0x84), ==, OK);
    last_events[l->event].event(c->m);
    wp = get_zone(c, 0).wp;
    g_assert_cmpint(wp, >=, WRITTEN);
    g_assert_cmpint(wp, <=, WRITTEN + 6);
    assert_zone(c, 0, last_events[l->event].power_cycle ? CLOSED : IOPEN, wp);
    assert_blocks(c, 0, WRITTEN, 0x81);
    if (wp > WRITTEN) {
        assert_blocks(c, WRITTEN, wp - WRITTEN, 0x84);
    }
    assert_blocks(c, wp, CAP - wp, 0);
}

/* Resources are those of the zones that are active and open then. */
static void test_lasting_resources(const void *opaque)
{
    const Lasting *l = opaque;
    Controller *c = get_clean(&lasting);
    bool off = last_events[l->event].power_cycle;

    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(do_open(c, i * ZONE, 0), ==, OK);
    }
    g_assert_cmphex(write_at(c, 0, 1, 0x85), ==, OK);
    last_flush(c);
    last_events[l->event].event(c->m);
    /* One is closed now, and all others that were active are empty */
    for (unsigned i = 3; i < 6; i++) {
        g_assert_cmphex(do_open(c, i * ZONE, 0), ==, off ? OK : TOO_MANY_OPEN);
    }
    g_assert_cmphex(do_open(c, 6 * ZONE, 0), ==,
                    off ? TOO_MANY_ACTIVE : TOO_MANY_OPEN);
    g_assert_cmphex(do_open(c, 0, 0), ==, off ? TOO_MANY_OPEN : OK);
}

/* Neither the list of changed zones nor the wish for events outlives it. */
static void test_lasting_events(const void *opaque)
{
    const Lasting *l = opaque;
    Controller *c = get_clean(&lasting);
    unsigned cid;

    enable_events(c, true);
    set_condition(c, 3, "read-only");
    last_events[l->event].event(c->m);
    assert_changed(c, false, 0, NULL);
    cid = request_event(c);
    set_condition(c, 3, "good");
    g_assert_false(event_is_there(c, cid));
    reset_controller(c);
}

static void add_lasting(const char *name, unsigned row,
                        void (*test)(const void *))
{
    for (unsigned i = 0; i < ARRAY_SIZE(last_events); i++) {
        g_autofree char *path = g_strdup_printf("survival/%s/%s", name,
                                                last_events[i].name);
        Lasting *l = g_new(Lasting, 1);

        *l = (Lasting) { row, i };
        qtest_add_data_func_full(path, l, test, g_free);
    }
}

/* --- Commands while others are in progress --- */

/* The next request of this kind stops, until it is let go on. */
static void hold(Controller *c, const char *event)
{
    g_free(qtest_hmp(c->m->qts, "qemu-io -d n1 \"break %s held\"", event));
}

static void wait_held(Controller *c)
{
    g_free(qtest_hmp(c->m->qts, "qemu-io -d n1 \"wait_break held\""));
}

static void let_go(Controller *c)
{
    g_free(qtest_hmp(c->m->qts, "qemu-io -d n1 \"resume held\""));
}

static const struct {
    const char *name;
    uint32_t action;
    bool zrwa;
} overtaking[] = {
    { "queue/a reset does not overtake a write", NVME_ZONE_ACTION_RESET },
    { "queue/a reset of all zones does not either",
      NVME_ZONE_ACTION_RESET | SELECT_ALL },
    { "queue/a finish loses no write", NVME_ZONE_ACTION_FINISH },
    { "queue/a reset does not overtake a write to a random write area",
      NVME_ZONE_ACTION_RESET, true },
    { "queue/a finish loses no write to a random write area",
      NVME_ZONE_ACTION_FINISH, true },
};

/* G-03, G-33 */
static void test_overtaking(const void *opaque)
{
    unsigned i = GPOINTER_TO_UINT(opaque), write, mgmt;
    Controller *c = get_clean(&held);
    bool reset = (uint8_t)overtaking[i].action == NVME_ZONE_ACTION_RESET;

    if (overtaking[i].zrwa) {
        g_assert_cmphex(do_open_zrwa(c, 0, 0), ==, OK);
    }
    hold(c, "write_aio");
    fill(c, 0, 2, 0x61);
    write = submit(c, &c->io, write_command(c, NVME_CMD_WRITE, 0, 2, 0));
    wait_held(c);
    mgmt = submit(c, &c->io, command(NVME_CMD_ZONE_MGMT_SEND, 0, 0,
                                     overtaking[i].action));
    /* A command that is done later than that one is begun */
    g_assert_cmphex(set_feature(c, NVME_ERROR_RECOVERY, NSID, 0).status, ==,
                    OK);
    g_assert_false(c->io.command[write].done);
    let_go(c);
    g_assert_cmphex(wait_for(c, &c->io, write).status, ==, OK);
    g_assert_cmphex(wait_for(c, &c->io, mgmt).status, ==, OK);
    assert_zone(c, 0, reset ? EMPTY : FULL, reset ? 0 : NO_WP);
    g_assert_cmphex(get_zone(c, 0).attributes, ==, 0);
    assert_blocks(c, 0, 2, reset ? 0 : 0x61);
    if (reset) {
        g_assert_cmphex(write_at(c, 0, 2, 0x62), ==, OK);
        assert_zone(c, 0, IOPEN, 2);
    }
}

/* --- QEMU's own zones in memory --- */

static const Setup throttled = {
    .zones = 16, .throttled = true, .memory = "",
};

static Result step_until(Controller *c, unsigned cid)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (!c->io.command[cid].done) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        qtest_clock_step(c->m->qts, 1000000000);
        take_completion(c, &c->io);
    }
    return wait_for(c, &c->io, cid);
}

/* What is written next has to wait for the clock. */
static unsigned use_up(Controller *c)
{
    unsigned cid = 0;

    fill(c, 0, 2, 0x71);
    for (int i = 0; i < 2; i++) {
        cid = submit(c, &c->io, write_command(c, NVME_CMD_ZONE_APPEND,
                                              15 * ZONE, 1, 0));
    }
    return cid;
}

/* G-03 */
static void test_write_in_reset(void)
{
    Controller *c = get_clean(&throttled);

    for (unsigned all = 0; all < 2; all++) {
        unsigned busy, reset, next, first;
        Zone z;

        fill(c, 0, 2, 0x71);
        next = submit(c, &c->io, write_command(c, NVME_CMD_WRITE, 0, 2, 0));
        g_assert_cmphex(step_until(c, next).status, ==, OK);
        busy = use_up(c);
        reset = submit(c, &c->io,
                       command(NVME_CMD_ZONE_MGMT_SEND, 0, 0,
                               NVME_ZONE_ACTION_RESET |
                               (all ? SELECT_ALL : 0)));
        next = submit(c, &c->io, write_command(c, NVME_CMD_WRITE, 2, 2, 0));
        first = submit(c, &c->io, write_command(c, NVME_CMD_WRITE, 0, 2, 0));
        step_until(c, busy);
        step_until(c, next);
        step_until(c, first);
        g_assert_cmphex(step_until(c, reset).status, ==, OK);

        z = get_zone(c, 0);
        g_assert_cmphex(z.state, ==, z.wp ? IOPEN : EMPTY);
        if (z.wp) {
            assert_blocks(c, 0, z.wp, 0x71);
        }
        assert_blocks(c, z.wp, CAP - z.wp, 0);
        first = submit(c, &c->io, write_command(c, NVME_CMD_WRITE, z.wp, 1,
                                                0));
        g_assert_cmphex(step_until(c, first).status, ==, OK);
        reset = submit(c, &c->io, command(NVME_CMD_ZONE_MGMT_SEND, 0, 0,
                                          NVME_ZONE_ACTION_RESET));
        g_assert_cmphex(step_until(c, reset).status, ==, OK);
    }
    delete_shared_machine();
}

/* G-04 */
static void test_shutdown_with_write(void)
{
    Controller *c = get_clean(&throttled);
    unsigned cid;
    Zone z;

    use_up(c);
    submit(c, &c->io, write_command(c, NVME_CMD_WRITE, 0, 2, 0));
    g_assert_cmphex(do_open(c, ZONE, 0), ==, OK);
    shutdown_controller(c, CC_ABRUPT);
    reset_controller(c);
    assert_zone(c, 1, EMPTY, 0);
    z = get_zone(c, 0);
    g_assert_cmphex(z.state, ==, z.wp ? CLOSED : EMPTY);
    cid = submit(c, &c->io, write_command(c, NVME_CMD_WRITE, z.wp, 1, 0));
    g_assert_cmphex(step_until(c, cid).status, ==, OK);
    delete_shared_machine();
}

/* It must be possible to go on where the report says. */
static void assert_goes_on(Controller *c, unsigned i)
{
    int wp = get_zone(c, i).wp;

    g_assert_cmphex(write_at(c, i * ZONE + wp, 1, 0x01), ==, OK);
    g_assert_cmphex(write_at(c, i * ZONE + wp + 1, CAP - wp - 1, 0x02), ==,
                    OK);
    assert_zone(c, i, FULL, NO_WP);
}

/* G-01 */
static void test_bad_pointers(void)
{
    Controller *c = get_clean(&standard);
    static const State tried[] = { S_EMPTY, S_IOPEN, S_CLOSED };

    for (int i = 0; i < ARRAY_SIZE(tried); i++) {
        unsigned zone = prepare(c, tried[i]);
        int wp = states[tried[i]].wp;

        g_assert_cmphex(do_write_bad_prp(c, zone * ZONE, wp), ==, PRP_OFFSET);
        g_assert_cmphex(do_append_bad_prp(c, zone * ZONE, wp), ==, PRP_OFFSET);
        assert_zone(c, zone, states[tried[i]].zs, wp);
        assert_goes_on(c, zone);
    }
}

/* One write per second of the clock's steps gets from the device to the node. */
static void hold_back(Controller *c, const char *device)
{
    qtest_qmp_assert_success(c->m->qts, "{"
        "  'execute': 'block_set_io_throttle', 'arguments': { 'id': %s,"
        "    'bps': 0, 'bps_rd': 0, 'bps_wr': 0, 'iops': 0, 'iops_rd': 0,"
        "    'iops_wr': 1 } }", device);
}

/* What was submitted before a shutdown is complete when that is. */
static void try_shutdown_with_queue(uint32_t how)
{
    static const Setup setup = { .zones = 16, .memory = "" };
    Machine *m = new_machine(&setup);
    Controller *c = &m->controller[0];
    unsigned cid[3];

    hold_back(c, "n1");
    g_assert_cmphex(do_open(c, ZONE, 0), ==, OK);
    fill(c, 0, 3, 0x71);
    for (unsigned i = 0; i < ARRAY_SIZE(cid); i++) {
        cid[i] = submit(c, &c->io, write_command(c, NVME_CMD_WRITE, i, 1, 0));
    }
    shutdown_controller(c, how);
    for (unsigned i = 0; i < ARRAY_SIZE(cid); i++) {
        g_assert_true(take_completion(c, &c->io));
    }
    for (unsigned i = 0; i < ARRAY_SIZE(cid); i++) {
        g_assert_cmphex(wait_for(c, &c->io, cid[i]).status, ==, OK);
    }
    reset_controller(c);
    assert_zone(c, 0, CLOSED, 3);
    assert_zone(c, 1, EMPTY, 0);
    assert_blocks(c, 0, 3, 0x71);
    delete_machine(m);
}

static void test_shutdown_with_queue(void)
{
    try_shutdown_with_queue(CC_SHUTDOWN);
}

static void test_abrupt_shutdown_with_queue(void)
{
    try_shutdown_with_queue(CC_ABRUPT);
}

static const Setup protected = { .zones = 16, .memory = ",ms=8,pi=1" };

#define CHECK_GUARD     (1u << 28)      /* in dword 12 */
#define PROTECT         (1u << 29)

/* G-02 */
static void test_bad_protection(void)
{
    Controller *c = get_clean(&protected);
    static const struct {
        uint8_t opcode;
        uint32_t flags;
        uint16_t status;
    } writes[] = {
        { NVME_CMD_WRITE, CHECK_GUARD, BAD_GUARD },
        { NVME_CMD_WRITE, PROTECT, OK },
        { NVME_CMD_WRITE_ZEROES, CHECK_GUARD, BAD_PROTECTION },
        { NVME_CMD_WRITE_ZEROES, 0, OK },
    };
    int wp = 0;

    for (int i = 0; i < ARRAY_SIZE(writes); i++) {
        Command cmd = write_command(c, writes[i].opcode, ZONE + wp, 2,
                                    writes[i].flags);

        fill(c, 0, 5, 0x77);
        cmd.dw[4] = c->buffer + 4 * BLOCK;
        cmd.dw[14] = ZONE + wp;
        g_assert_cmphex(io(c, cmd).status, ==, writes[i].status);
        wp += writes[i].status ? 0 : 2;
        assert_zone(c, 1, wp ? IOPEN : EMPTY, wp);
    }
}

/* G-10 */
static void test_copy_to_full_zone(void)
{
    Controller *c = get_clean(&standard);

    g_assert_cmphex(write_at(c, 0, 2, 0x21), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, ZONE), ==, OK);
    g_assert_cmphex(copy(c, ZONE, 0, 2), ==, IS_FULL);
    assert_zone(c, 1, FULL, NO_WP);
}

/* One write that fails after the first read */
static const Setup copy_error = {
    .zones = 16, .memory = "",
    .below = ",set-state.0.event=read_aio,set-state.0.state=1,"
             "set-state.0.new_state=2,"
             "inject-error.0.event=write_aio,inject-error.0.state=2,"
             "inject-error.0.once=on,inject-error.0.iotype=write",
};

/* G-11 */
static void test_copy_error(void)
{
    Controller *c = get_clean(&copy_error);

    g_assert_cmphex(write_at(c, 0, 2, 0x21), ==, OK);
    g_assert_cmphex(copy(c, ZONE, 0, 2), ==, WRITE_FAULT);
    assert_goes_on(c, 1);
}

/* G-50 */
static void test_memory_fua(void)
{
    Controller *c = get_clean(&flush_errors);
    static const uint8_t opcodes[] = {
        NVME_CMD_WRITE, NVME_CMD_WRITE_ZEROES, NVME_CMD_ZONE_APPEND,
        NVME_CMD_READ,
    };
    Source source = { .slba = 0, .nlb = 2 };

    for (int i = 0; i < ARRAY_SIZE(opcodes); i++) {
        for (unsigned fua = 0; fua < 2; fua++) {
            uint64_t zslba = (2 * i + fua) * ZONE;
            uint16_t error = opcodes[i] == NVME_CMD_READ ?
                             NVME_UNRECOVERED_READ : WRITE_FAULT;

            g_assert_cmphex(io(c, write_command(c, opcodes[i], zslba, 2,
                                                fua ? FUA : 0)).status,
                            ==, fua ? error : OK);
        }
    }
    for (unsigned fua = 0; fua < 2; fua++) {
        Command cmd = copy_command(c, (10 + fua) * ZONE, 0, &source, 1);

        cmd.dw[12] |= fua ? FUA : 0;
        g_assert_cmphex(io(c, cmd).status, ==, fua ? WRITE_FAULT : OK);
    }
}

static void run_in_memory(const void *test)
{
    in_memory = true;
    ((void (*)(void))test)();
    in_memory = false;
}

static void run_overtaking_in_memory(const void *i)
{
    in_memory = true;
    test_overtaking(i);
    in_memory = false;
}

static void run_survival_in_memory(const void *i)
{
    in_memory = true;
    test_survival(i);
    in_memory = false;
}

/* --- Data pointers --- */

/*
 * Where the data of a command goes depends on the length that the command has,
 * not on how much there is to transfer.  So all of the guest's memory is
 * compared with what it has to be after each of these commands.
 */
#define RAM_SIZE        (8 * MiB)
#define PAGE            4096
#define ARENA_PAGES     1024        /* for buffers, and lists of their pages */
#define PRPS            (PAGE / 8)  /* in a page */

typedef struct Memory {
    Setup setup;
    Machine *m;
    Controller *c;                  /* to send commands to */
    char *path;
    uint8_t *ram;                   /* the guest's */
    uint8_t *expected;              /* what is to be there */
    GRand *dice;
    uint64_t pages[ARENA_PAGES];    /* in an order of their own */
    unsigned used;                  /* of @pages */
    struct {
        uint64_t addr;
        size_t len;
    } piece[ARENA_PAGES];           /* of the buffer */
    unsigned pieces;
} Memory;

static unsigned roll(Memory *mem, unsigned end)
{
    return g_rand_int_range(mem->dice, 0, end);
}

static Memory *new_memory(const Setup *setup)
{
    Memory *mem = g_new0(Memory, 1);
    int fd = g_file_open_tmp("zoned-ram-XXXXXX", &mem->path, NULL);
    uint64_t arena;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, RAM_SIZE), ==, 0);
    mem->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert_true(mem->ram != MAP_FAILED);
    close(fd);
    mem->expected = g_malloc(RAM_SIZE);
    mem->dice = g_rand_new_with_seed(9);
    mem->setup = *setup;
    mem->setup.machine = g_strdup_printf(
        "-m 8M -object memory-backend-file,id=ram,size=8M,share=on,"
        "mem-path=%s -machine memory-backend=ram %s", mem->path,
        setup->machine ?: "");
    mem->m = new_machine(&mem->setup);
    mem->c = &mem->m->controller[0];
    arena = guest_alloc(&mem->m->qos->alloc, ARENA_PAGES * PAGE);
    for (unsigned i = 0; i < ARENA_PAGES; i++) {
        mem->pages[i] = arena + i * PAGE;
        for (unsigned k = 0; k < PAGE; k++) {
            mem->ram[mem->pages[i] + k] = 0x80 + (i + k) % 101;
        }
    }
    memcpy(mem->expected, mem->ram, RAM_SIZE);
    return mem;
}

static void delete_memory(Memory *mem)
{
    delete_machine(mem->m);
    munmap(mem->ram, RAM_SIZE);
    unlink(mem->path);
    g_free(mem->path);
    g_free(mem->expected);
    g_free((char *)mem->setup.machine);
    g_rand_free(mem->dice);
    g_free(mem);
}


static uint64_t take_page(Memory *mem)
{
    unsigned other = mem->used + roll(mem, ARENA_PAGES - mem->used);
    uint64_t page = mem->pages[other];

    mem->pages[other] = mem->pages[mem->used];
    mem->pages[mem->used++] = page;
    return page;
}

static void add_piece(Memory *mem, uint64_t addr, size_t len)
{
    g_assert_cmpint(mem->pieces, <, ARENA_PAGES);
    mem->piece[mem->pieces].addr = addr;
    mem->piece[mem->pieces++].len = len;
}

static void put_word(Memory *mem, uint64_t at, uint64_t value)
{
    stq_le_p(mem->ram + at, value);
    stq_le_p(mem->expected + at, value);
}

static void set_pointer(Command *cmd, uint64_t first, uint64_t second)
{
    cmd->dw[6] = first;
    cmd->dw[7] = first >> 32;
    cmd->dw[8] = second;
    cmd->dw[9] = second >> 32;
}

/* The first entry of a list in its page; near the end, there are two pages */
static unsigned first_entry(Memory *mem)
{
    switch (roll(mem, 3)) {
    case 0:
        return 0;
    case 1:
        return roll(mem, PRPS);
    default:
        return PRPS - 1 - roll(mem, 8);
    }
}

/* A buffer of @len bytes that begins at @offset of a page */
static void set_prps(Memory *mem, Command *cmd, size_t len, unsigned offset)
{
    unsigned pages = DIV_ROUND_UP(offset + len, PAGE);
    unsigned entry = first_entry(mem);
    uint64_t first = take_page(mem) + offset;
    uint64_t second = 0, list = 0;
    size_t done = MIN(PAGE - offset, len);

    add_piece(mem, first, done);
    if (pages > 2) {
        list = take_page(mem);
        second = list + entry * 8;
    }
    for (unsigned i = 1; i < pages; i++) {
        uint64_t page = take_page(mem);

        add_piece(mem, page, MIN(PAGE, len - done));
        done += MIN(PAGE, len - done);
        if (pages == 2) {
            second = page;
            break;
        }
        if (entry == PRPS - 1 && i < pages - 1) {
            uint64_t next = take_page(mem);

            put_word(mem, list + entry * 8, next);
            list = next;
            entry = 0;
        }
        put_word(mem, list + entry++ * 8, page);
    }
    set_pointer(cmd, first, second);
}

static void put_sgl(Memory *mem, uint64_t at, uint64_t addr, uint32_t len,
                    unsigned type)
{
    put_word(mem, at, addr);
    put_word(mem, at + 8, len | (uint64_t)type << 60);
}

/* As many segments as it takes, of a few descriptors of less than a page */
static void set_sgl(Memory *mem, Command *cmd, size_t len)
{
    uint64_t at = take_page(mem);
    uint64_t first = at;

    while (len) {
        unsigned n = 1 + roll(mem, 7);
        uint64_t segment = take_page(mem) + roll(mem, 200) * 16;
        unsigned i;

        for (i = 0; len && i < n; i++) {
            size_t piece = MIN(len, 4 + 4 * roll(mem, 700));
            uint64_t addr = take_page(mem) + 4 * roll(mem, 300);

            put_sgl(mem, segment + i * 16, addr, piece,
                    NVME_SGL_DESCR_TYPE_DATA_BLOCK);
            add_piece(mem, addr, piece);
            len -= piece;
        }
        put_sgl(mem, at, segment, (i + !!len) * 16,
                len ? NVME_SGL_DESCR_TYPE_SEGMENT
                    : NVME_SGL_DESCR_TYPE_LAST_SEGMENT);
        at = segment + i * 16;
    }
    cmd->dw[0] |= 1 << 14;
    memcpy(&cmd->dw[6], mem->ram + first, 16);
    for (int i = 6; i < 10; i++) {
        cmd->dw[i] = le32_to_cpu(cmd->dw[i]);
    }
}

/* Exchange the beginning of the buffer in @memory with @data. */
static void exchange(Memory *mem, uint8_t *memory, uint8_t *data, size_t len)
{
    for (unsigned i = 0; len; i++) {
        size_t n = MIN(len, mem->piece[i].len);

        g_assert_cmpint(i, <, mem->pieces);
        for (size_t k = 0; k < n; k++, data++) {
            uint8_t byte = memory[mem->piece[i].addr + k];

            memory[mem->piece[i].addr + k] = *data;
            *data = byte;
        }
        len -= n;
    }
}

static void assert_memory(Memory *mem)
{
    if (memcmp(mem->ram, mem->expected, RAM_SIZE)) {
        size_t i = 0;

        while (mem->ram[i] == mem->expected[i]) {
            i++;
        }
        g_test_message("guest memory is wrong from 0x%zx on", i);
        g_assert_not_reached();
    }
}

/*
 * Run the command, which has to transfer the @len bytes at @data, and to change
 * nothing but these and its entry of each queue.
 */
static void run_exactly(Memory *mem, Queue *q, Command cmd, const uint8_t *data,
                        size_t len)
{
    uint64_t sqe = q->sq + q->tail * 64;
    uint64_t cqe = q->cq + q->head * 16;
    g_autofree uint8_t *copy = g_memdup2(data, len);

    exchange(mem, mem->expected, copy, len);
    g_assert_cmphex(check(run(mem->c, q, cmd)), ==, OK);
    memcpy(mem->expected + sqe, mem->ram + sqe, 64);
    memcpy(mem->expected + cqe, mem->ram + cqe, 16);
    assert_memory(mem);
    exchange(mem, mem->expected, copy, len);
    for (unsigned i = 0; i < mem->pieces; i++) {
        memcpy(mem->ram + mem->piece[i].addr,
               mem->expected + mem->piece[i].addr, mem->piece[i].len);
    }
    mem->used = 0;
    mem->pieces = 0;
}

/* --- Reports and log pages in all kinds of buffers --- */

#define REPORTED        200         /* zones */
#define MOST_PAGES      40

typedef struct Reports {
    Memory *mem;
    uint32_t action;
    size_t entry;           /* bytes per zone */
    uint8_t *all;           /* the entries of all zones */
} Reports;

static Command report_command(uint64_t slba, uint64_t len, uint32_t dw13)
{
    return command(NVME_CMD_ZONE_MGMT_RECV, slba, len / 4 - 1, dw13);
}

static void get_reports(Reports *r)
{
    Controller *c = r->mem->c;

    r->all = g_malloc(REPORTED * r->entry);
    for (unsigned i = 0; i < REPORTED; i++) {
        g_assert_cmphex(receive(c, i * ZONE, 64 + r->entry, r->action), ==, OK);
        g_assert_cmpint(report_count(c), ==, REPORTED - i);
        qtest_memread(c->m->qts, c->buffer + 64, r->all + i * r->entry,
                      r->entry);
    }
    memcpy(r->mem->expected, r->mem->ram, RAM_SIZE);
}

/*
 * What a buffer of @len bytes begins with afterwards; what follows stays as it
 * was.  A report of zones in memory has no entry that is cut off, and ends with
 * zeroes.
 */
static uint8_t *expected_report(Reports *r, unsigned first, size_t *len,
                                bool partial)
{
    unsigned zones = REPORTED - first;
    unsigned complete = MIN(zones, (*len - 64) / r->entry);
    size_t body = in_memory ? complete * r->entry
                            : MIN(*len - 64, zones * r->entry);
    uint8_t *data;

    if (!in_memory) {
        *len = 64 + body;
    }
    data = g_malloc0(*len);
    stq_le_p(data, partial ? complete : zones);
    memcpy(data + 64, r->all + first * r->entry, body);
    return data;
}

static void report_exactly(Reports *r, unsigned first, size_t len,
                           unsigned offset, bool sgl)
{
    Memory *mem = r->mem;
    bool partial = roll(mem, 2);
    Command cmd = report_command(first * ZONE + roll(mem, ZONE), len,
                                 r->action | (partial ? PARTIAL : 0));
    g_autofree uint8_t *data = expected_report(r, first, &len, partial);

    if (sgl) {
        set_sgl(mem, &cmd, (cmd.dw[12] + 1) * 4);
    } else {
        set_prps(mem, &cmd, (cmd.dw[12] + 1) * 4, offset);
    }
    run_exactly(mem, &mem->c->io, cmd, data, len);
}

/* From each zone, to a buffer of 1 to 40 pages somewhere in the first one */
static void try_reports(Reports *r, bool sgl)
{
    get_reports(r);
    for (unsigned first = 0; first < REPORTED; first++) {
        unsigned pages = 1 + (first * 7 + r->entry) % MOST_PAGES;
        unsigned offset = 4 * roll(r->mem, (PAGE - 64) / 4);
        size_t len = pages * PAGE - offset;

        report_exactly(r, first, len, offset, sgl);
        report_exactly(r, first, pages * PAGE - 4 * roll(r->mem, 900), 0, sgl);
    }
    g_free(r->all);
}

static const Setup reported = { .zones = REPORTED, .memory = "" };

static const Setup most_pages = {
    .zones = REPORTED, .controller = ",mdts=9", .memory = "",
};

static void test_reports(void)
{
    Reports r = { .mem = new_memory(&reported), .entry = 64 };

    try_reports(&r, false);
    delete_memory(r.mem);
}

static void test_reports_by_sgl(void)
{
    Reports r = { .mem = new_memory(&reported), .entry = 64 };

    try_reports(&r, true);
    delete_memory(r.mem);
}

static void try_extended_reports(const Setup *setup, unsigned size)
{
    Reports r = {
        .mem = new_memory(setup),
        .action = RECEIVE_EXTENDED,
        .entry = 64 + size,
    };
    Controller *c = r.mem->c;

    for (unsigned zone = 1; zone < REPORTED; zone += 3) {
        Command cmd = command(NVME_CMD_ZONE_MGMT_SEND, zone * ZONE, 0,
                              NVME_ZONE_ACTION_SET_ZD_EXT);

        qtest_memset(c->m->qts, c->buffer, zone, size);
        g_assert_cmphex(check(io(c, with_data(c, cmd, 0, size))), ==, OK);
    }
    try_reports(&r, false);
    try_reports(&r, true);
    delete_memory(r.mem);
}

static void test_extended_reports(void)
{
    static const Setup setup = {
        .zones = REPORTED, .image = ",zone.descriptor_extension_size=64",
        .memory = ",zoned.descr_ext_size=64",
    };

    try_extended_reports(&setup, 64);
}

static void test_large_extended_reports(void)
{
    static const Setup setup = {
        .zones = REPORTED, .image = ",zone.descriptor_extension_size=16320",
        .memory = ",zoned.descr_ext_size=16320",
    };

    try_extended_reports(&setup, 16320);
}

/* The largest that there can be */
static void test_report_longest_list(void)
{
    Reports r = { .mem = new_memory(&most_pages), .entry = 64 };

    get_reports(&r);
    for (unsigned first = 0; first < REPORTED; first += 66) {
        report_exactly(&r, first, 512 * PAGE, 4 * roll(r.mem, 1000), false);
    }
    g_free(r.all);
    delete_memory(r.mem);
}

/* The log page of @size bytes, if it is one that there is */
typedef struct LogPage {
    uint8_t lid;
    size_t size;
    uint32_t dw14;
} LogPage;

static Command log_command(const LogPage *page, uint64_t len, uint64_t offset)
{
    uint64_t dwords = len / 4 - 1;
    Command cmd = command(NVME_ADM_CMD_GET_LOG_PAGE, 0, offset, offset >> 32);

    cmd.dw[1] = page->lid == NVME_LOG_CHANGED_ZONES ? NSID : UINT32_MAX;
    /* Events are retained */
    cmd.dw[10] = page->lid | 1 << 15 | (dwords & 0xffff) << 16;
    /* Endurance group 1, or FDP configurations of it */
    cmd.dw[11] = dwords >> 16 | 1 << 16;
    cmd.dw[14] = page->dw14;
    return cmd;
}

static Command directive_command(const LogPage *page, uint64_t len,
                                 uint64_t offset)
{
    Command cmd = command(NVME_ADM_CMD_DIRECTIVE_RECV, len / 4 - 1, 0, 0);

    cmd.dw[11] = NVME_DIRECTIVE_RETURN_PARAMS;
    return cmd;
}

static Command handles_command(const LogPage *page, uint64_t len,
                               uint64_t offset)
{
    Command cmd = command(NVME_CMD_IO_MGMT_RECV, NVME_IOMR_MO_RUH_STATUS, 0, 0);

    cmd.dw[11] = len / 4 - 1;
    return cmd;
}

typedef Command GetPage(const LogPage *page, uint64_t len, uint64_t offset);

static void try_page(Memory *mem, Queue *q, GetPage *get, const LogPage *page)
{
    Controller *c = mem->c;
    g_autofree uint8_t *log = g_malloc(page->size);

    g_assert_cmphex(check(run(c, q, with_data(c, get(page, page->size, 0), 0,
                                              page->size))), ==, OK);
    qtest_memread(c->m->qts, c->buffer, log, page->size);
    memcpy(mem->expected, mem->ram, RAM_SIZE);
    for (unsigned pages = 1; pages <= MOST_PAGES; pages++) {
        unsigned offset = 4 * roll(mem, 1000);
        size_t skip = get != log_command ? 0 :
                      4 * roll(mem, MIN(pages, 3) * page->size / 12);
        size_t len = pages * PAGE - offset;
        Command cmd = get(page, len, skip);

        set_prps(mem, &cmd, len, offset);
        run_exactly(mem, q, cmd, log + skip, MIN(len, page->size - skip));
    }
}

/* The size of the buffer does not overflow. */
static void test_log_page_too_large(void)
{
    Controller *c = get_clean(&standard);
    const LogPage page = { NVME_LOG_SMART_INFO };

    g_assert_cmphex(check(admin(c, log_command(&page, MDTS_BYTES + 4, 0))), ==,
                    INVALID_FIELD);
    g_assert_cmphex(check(admin(c, log_command(&page, 4ull * GiB, 0))), ==,
                    INVALID_FIELD);
    g_assert_cmphex(check(admin(c, log_command(&page, 4ull * GiB + 512, 0))),
                    ==, INVALID_FIELD);
    g_assert_cmphex(check(admin(c, log_command(&page, 16ull * GiB, 0))), ==,
                    INVALID_FIELD);
}

static void test_log_pages(void)
{
    static const Setup setup = {
        .zones = 16, .controller = ",ocp=on", .memory = "",
    };
    static const LogPage pages[] = {
        { NVME_LOG_ERROR_INFO, 64 },
        { NVME_LOG_SMART_INFO, 512 },
        { NVME_LOG_FW_SLOT_INFO, 512 },
        { NVME_LOG_CHANGED_NSLIST, 4096 },
        { NVME_LOG_CMD_EFFECTS, 4096, NVME_CSI_ZONED << 24 },
        { NVME_LOG_ENDGRP, 512 },
        { 0xc0, 512 },              /* of the Open Compute Project */
        { NVME_LOG_CHANGED_ZONES, 4096 },
    };
    Memory *mem = new_memory(&setup);

    for (int i = 0; i < ARRAY_SIZE(pages); i++) {
        if (!in_memory || pages[i].lid != NVME_LOG_CHANGED_ZONES) {
            try_page(mem, &mem->c->admin, log_command, &pages[i]);
        }
    }
    delete_memory(mem);
}

#define HANDLES         128

/* On a controller of its own, as zones and data placement exclude each other */
static void test_data_placement_pages(void)
{
    static const Setup setup = {
        .zones = 16,
        .machine = "-device nvme-subsys,id=s1,fdp=on,fdp.nruh=128 "
                   "-device nvme,id=c1,serial=fdp,subsys=s1,addr=5 "
                   "-blockdev driver=null-co,node-name=p0,size=16777216 "
                   "-device nvme-ns,drive=p0,bus=c1,nsid=1,fdp.ruhs=0-127",
    };
    static const LogPage pages[] = {
        { NVME_LOG_FDP_CONFS, sizeof(NvmeFdpConfsHdr) +
                              sizeof(NvmeFdpDescrHdr) +
                              HANDLES * sizeof(NvmeRuhDescr) },
        { NVME_LOG_FDP_RUH_USAGE, sizeof(NvmeRuhuLog) +
                                  HANDLES * sizeof(NvmeRuhuDescr) },
        { NVME_LOG_FDP_STATS, sizeof(NvmeFdpStatsLog) },
        { NVME_LOG_FDP_EVENTS, sizeof(NvmeFdpEventsLog) },
    };
    static const LogPage handles = {
        .size = sizeof(NvmeRuhStatus) + HANDLES * sizeof(NvmeRuhStatusDescr),
    };
    static const LogPage directives = { .size = sizeof(NvmeDirectiveIdentify) };
    Memory *mem = new_memory(&setup);
    Controller second = { .m = mem->m };

    init_controller(&second, PCI_SLOT + 1);
    mem->c = &second;
    for (int i = 0; i < ARRAY_SIZE(pages); i++) {
        try_page(mem, &second.admin, log_command, &pages[i]);
    }
    try_page(mem, &second.io, handles_command, &handles);
    try_page(mem, &second.admin, directive_command, &directives);
    qpci_iounmap(second.pci, second.bar);
    g_free(second.pci);
    delete_memory(mem);
}

/* --- SMART / Health --- */

typedef struct Smart {
    uint64_t units_read, units_written;     /* 1000 sectors, rounded up */
    uint64_t read_commands, write_commands;
} Smart;

static Smart smart(Controller *c)
{
    Command cmd = command(NVME_ADM_CMD_GET_LOG_PAGE,
                          NVME_LOG_SMART_INFO | 127 << 16, 0, 0);
    NvmeSmartLog log;

    g_assert_cmphex(check(admin(c, with_data(c, cmd, 0, sizeof(log)))), ==, OK);
    qtest_memread(c->m->qts, c->buffer, &log, sizeof(log));
    return (Smart) {
        .units_read = le64_to_cpu(log.data_units_read[0]),
        .units_written = le64_to_cpu(log.data_units_written[0]),
        .read_commands = le64_to_cpu(log.host_read_commands[0]),
        .write_commands = le64_to_cpu(log.host_write_commands[0]),
    };
}

/* Write and Zone Append move the host's data, Copy and Write Zeroes do not. */
static void test_smart(void)
{
    static const Setup setup = {
        .zones = 128,
        .memory = "",
    };
    Machine *m = new_machine(&setup);
    Controller *c = &m->controller[0];
    uint64_t slba;
    Smart s;

    for (unsigned i = 0; i < 80; i++) {
        g_assert_cmphex(append(c, i * ZONE, APPEND_MAX, 0x41, &slba), ==, OK);
        g_assert_cmphex(write_at(c, i * ZONE + APPEND_MAX, 8, 0x42), ==, OK);
    }
    g_assert_cmphex(write_at(c, 0, 1, 0x43), ==, INVALID_WRITE);
    s = smart(c);
    g_assert_cmpint(s.write_commands, ==, 160);
    g_assert_cmpint(s.units_written, ==,
                    DIV_ROUND_UP(80 * 24 * (BLOCK / 512), 1000));
    g_assert_cmpint(s.read_commands, ==, 0);
    g_assert_cmpint(s.units_read, ==, 0);

    g_assert_cmphex(write_zeroes(c, 24, 4), ==, OK);
    g_assert_cmphex(copy(c, ZONE + 24, 0, 4), ==, OK);
    s = smart(c);
    g_assert_cmpint(s.write_commands, ==, 160);
    g_assert_cmpint(s.units_written, ==,
                    DIV_ROUND_UP(80 * 24 * (BLOCK / 512), 1000));
    g_assert_cmpint(s.read_commands, ==, 0);

    g_assert_cmphex(read_from(c, 0, 1), ==, OK);
    g_assert_cmphex(check(io(c, with_data(c, command(NVME_CMD_COMPARE, 0, 0, 0),
                                          0, BLOCK))), ==, OK);
    g_assert_cmphex(check(io(c, command(NVME_CMD_VERIFY, 0, 0, 0))), ==, OK);
    s = smart(c);
    g_assert_cmpint(s.read_commands, ==, 3);
    g_assert_cmpint(s.units_read, ==, 1);
    delete_machine(m);
}

/* --- Errors of the host --- */

/* The error of a plain namespace is not the state of a zone. */
static void test_plain_source_error(void)
{
    static const Setup setup = {
        .zones = 16,
        .machine = "-blockdev driver=null-co,node-name=p0,size=16777216 "
                   "-blockdev driver=blkdebug,node-name=p1,image=p0,"
                   "inject-error.0.event=none,inject-error.0.iotype=read,"
                   "inject-error.0.errno=19 "
                   "-device nvme-ns,drive=p1,bus=c0,nsid=2,"
                   "logical_block_size=4096,physical_block_size=4096",
    };
    Machine *m = new_machine(&setup);
    Controller *c = &m->controller[0];
    Source source = { .nsid = 2, .nlb = 1 };

    allow_copy_between_namespaces(c);
    g_assert_cmphex(check(io(c, copy_command(c, 0, 2, &source, 1))), ==,
                    NVME_UNRECOVERED_READ);
    assert_zone(c, 0, EMPTY, 0);
    delete_machine(m);
}

/* ENODEV of the host does not mean that the zone is offline. */
static void test_extension_error(void)
{
    static const Setup setup = {
        .zones = 16, .image = ZNS_FEATURES,
        .below = ",inject-error.0.event=write_aio,inject-error.0.iotype=read,"
                 "inject-error.0.errno=19",
    };
    Machine *m = new_machine(&setup);
    Controller *c = &m->controller[0];

    g_assert_cmphex(do_set_extension(c, 0, 0), ==, OK);
    g_assert_cmphex(receive(c, 0, 64 + 64 + EXTENSION, RECEIVE_EXTENDED), ==,
                    OK);
    /* The first write of data is what reads fail from on. */
    write_at(c, ZONE, 1, 0x11);
    g_assert_cmphex(io(c, with_data(c, command(NVME_CMD_ZONE_MGMT_RECV, 0,
                                               (64 + 64 + EXTENSION) / 4 - 1,
                                               RECEIVE_EXTENDED),
                                    0, 64 + 64 + EXTENSION)).status, ==,
                    NVME_INTERNAL_DEV_ERROR);
    delete_machine(m);
}

/* --- Long commands --- */

#define LONG_ZONES      (4 * MiB)
#define RANGES          256

static Command deallocation(Controller *c, const NvmeDsmRange *ranges,
                            unsigned nr)
{
    Command cmd = command(NVME_CMD_DSM, (nr - 1) | (uint64_t)4 << 32, 0, 0);

    qtest_memwrite(c->m->qts, c->buffer, ranges, nr * sizeof(*ranges));
    return with_data(c, cmd, 0, nr * sizeof(*ranges));
}

/* Run @cmd 60 times at once; for how long is there no answer to QMP? */
static void assert_others_run(Controller *c, const char *name, Command cmd)
{
    gint64 before = g_get_monotonic_time(), longest = 0;
    unsigned cid[60];

    for (unsigned i = 0; i < ARRAY_SIZE(cid); i++) {
        cid[i] = submit(c, &c->io, cmd);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(cid); ) {
        gint64 start = g_get_monotonic_time();

        qtest_qmp_assert_success(c->m->qts, "{ 'execute': 'query-status' }");
        longest = MAX(longest, g_get_monotonic_time() - start);
        take_completion(c, &c->io);
        i += c->io.command[cid[i]].done;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(cid); i++) {
        g_assert_cmphex(wait_for(c, &c->io, cid[i]).status, ==, OK);
    }
    g_test_message("%s: 60 took %d ms, query-status at most %d ms", name,
                   (int)((g_get_monotonic_time() - before) / 1000),
                   (int)(longest / 1000));
    /* 50 ms on a machine that does nothing else */
    g_assert_cmpint(longest, <, 500 * 1000);
}

/* Of all zones; a deallocation of 256 ranges, each of which is the whole disk */
static void test_long_commands(void)
{
    static const struct {
        const char *name;
        uint8_t action;
    } actions[] = {
        { "open", NVME_ZONE_ACTION_OPEN },
        { "close", NVME_ZONE_ACTION_CLOSE },
        { "finish", NVME_ZONE_ACTION_FINISH },
        { "reset", NVME_ZONE_ACTION_RESET },
    };
    Setup setup = { .zones = 16 };
    Machine *m = g_new0(Machine, 1);
    Controller *c = &m->controller[0];
    NvmeDsmRange ranges[RANGES];

    m->setup = &setup;
    m->image = zoned_image_create("-o zone.mode=host-managed,zone.size=64k,"
                                  "zone.max_append_bytes=64k,cluster_size=64k",
                                  "256G");
    start_machine(m);
    for (unsigned i = 0; i < RANGES; i++) {
        ranges[i] = (NvmeDsmRange) {
            .nlb = cpu_to_le32(LONG_ZONES * (64 * KiB / BLOCK) - i),
            .slba = cpu_to_le64(i),
        };
    }
    assert_others_run(c, "deallocate", deallocation(c, ranges, RANGES));
    assert_others_run(c, "report", with_data(
        c, command(NVME_CMD_ZONE_MGMT_RECV, 0, MDTS_BYTES / 4 - 1, 0), 0,
        MDTS_BYTES));
    for (int i = 0; i < ARRAY_SIZE(actions); i++) {
        assert_others_run(c, actions[i].name, command(
            NVME_CMD_ZONE_MGMT_SEND, 0, 0, actions[i].action | SELECT_ALL));
    }
    delete_machine(m);
}

/* Ranges in any order, of any length: the status is that of all zones. */
static void test_overlapping_deallocation(void)
{
    Controller *c = &get_machine(&cells)->controller[0];
    unsigned offline = 1024 - 2 * 100;
    const struct {
        unsigned slba[3], nlb[3];
        uint16_t status;
    } cases[] = {
        { { 0, 0, 0 }, { ZONE, 0, ZONE + 1 }, OK },
        { { 5 * ZONE, 1, 0 }, { 3, 2 * ZONE, 1 }, OK },
        { { 0, 3, offline * ZONE - 1 }, { ZONE, 7, 1 }, OK },
        { { 0, 3, offline * ZONE - 1 }, { ZONE, 7, 2 }, IS_OFFLINE },
        { { offline * ZONE + ZONE - 1, 0, 0 }, { 1, 9, 9 }, IS_OFFLINE },
        { { offline * ZONE, 0, 0 }, { 0, 9, 9 }, OK },
        { { 0, offline * ZONE + 1, 0 }, { offline * ZONE, 1, 9 }, IS_OFFLINE },
        { { 0, 0, 1024 * ZONE - 1 }, { 1, 1, 2 }, LBA_RANGE },
        { { 1024 * ZONE - 1, 1024 * ZONE - 1, 0 }, { 1, 1, 0 }, OK },
    };

    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        NvmeDsmRange ranges[3];

        for (int k = 0; k < 3; k++) {
            ranges[k] = (NvmeDsmRange) {
                .slba = cpu_to_le64(cases[i].slba[k]),
                .nlb = cpu_to_le32(cases[i].nlb[k]),
            };
        }
        g_assert_cmphex(check(io(c, deallocation(c, ranges, 3))), ==,
                        cases[i].status);
    }
}

/* --- Format of all namespaces --- */

/* Namespace 1 can have formats that namespace 2, with the zones, cannot. */
static void test_format_all_or_none(void)
{
    static const Setup setup = {
        .zones = 16,
        .namespace = ",nsid=2 "
                     "-blockdev driver=null-co,node-name=p0,size=16777216,"
                     "read-zeroes=on -device nvme-ns,drive=p0,bus=c0,nsid=1,"
                     "logical_block_size=4096,physical_block_size=4096",
    };
    Machine *m = new_machine(&setup);
    Controller *c = &m->controller[0];
    unsigned before;

    identify(c, 0, 0, 1);
    before = field(c, 26, 1) & 0xf;
    g_assert_cmpint(field(c, 25, 1), >, 1);
    g_assert_cmpint(before, !=, 1);
    g_assert_cmphex(format(c, UINT32_MAX, 1).status, ==, INVALID_FORMAT);
    identify(c, 0, 0, 1);
    g_assert_cmpint(field(c, 26, 1) & 0xf, ==, before);
    g_assert_cmphex(format(c, 1, 1).status, ==, OK);
    identify(c, 0, 0, 1);
    g_assert_cmpint(field(c, 26, 1) & 0xf, ==, 1);
    delete_machine(m);
}

/* --- What QEMU's own zones in memory have to do, too --- */

static void test_compare_one_zone(void)
{
    Controller *c = get_clean(&standard);

    g_assert_cmphex(do_compare_across(c, 0, 0), ==, BOUNDARY);
    g_assert_cmphex(do_verify_across(c, 0, 0), ==, BOUNDARY);
    g_assert_cmphex(do_verify(c, 0, 0), ==, OK);
}

/* G-47 */
static void test_first_guard(void)
{
    Controller *c = get_clean(&protected);
    Command cmd = write_command(c, NVME_CMD_WRITE, 0, 1, CHECK_GUARD);

    fill(c, 0, 2, 0x77);
    cmd.dw[4] = c->buffer + BLOCK;
    g_assert_cmphex(io(c, cmd).status, ==, BAD_GUARD);
    assert_zone(c, 0, EMPTY, 0);
}

/* G-44 */
static void test_append_with_metadata(void)
{
    static const Setup setup = {
        .zones = 16, .memory = ",ms=8,mset=1",
        .controller = ",zoned.zasl=1",
    };
    Controller *c = get_clean(&setup);
    Command cmd = command(NVME_CMD_ZONE_APPEND, 0, 1, 0);

    fill(c, 0, 4, 0x77);
    g_assert_cmphex(check(io(c, with_data(c, cmd, 0, 2 * (BLOCK + 8)))), ==,
                    INVALID_FIELD);
    cmd.dw[12] = 0;
    g_assert_cmphex(check(io(c, with_data(c, cmd, 0, BLOCK + 8))), ==, OK);
}

/* G-23, G-48 */
static void test_identify_memory(void)
{
    Controller *c = get_clean(&features);

    assert_size(c);
    identify(c, 5, NVME_CSI_ZONED, NSID);
    g_assert_cmpint(field(c, 44, 4), ==, 2 - 1);

    c = get_clean(&held);
    identify(c, 5, NVME_CSI_ZONED, NSID);
    g_assert_cmphex(field(c, 44, 4), ==, UINT32_MAX);
}

/* G-35: a shutdown loses nothing that was flushed. */
static void test_memory_zrwa_shutdown(void)
{
    Controller *c = get_zrwa();

    g_assert_cmphex(write_at(c, 0, 2, 0xa1), ==, OK);
    g_assert_cmphex(flush(c), ==, OK);
    all_shut_down(c->m);
    assert_zone(c, 0, CLOSED, 0);
    assert_blocks(c, 0, 2, 0xa1);
    g_assert_cmphex(write_at(c, 4, 2, 0xa2), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, 0), ==, OK);
}

/* --- The property drive of the controller --- */

static const Setup legacy = { .zones = 16, .legacy = true };

static void start_again(Machine *m)
{
    Controller *c = &m->controller[0];

    qpci_device_enable(c->pci);
    qpci_config_writel(c->pci, PCI_BASE_ADDRESS_0, c->bar.addr);
    start_controller(c, CC_ALL_SETS);
}

/* G-57 */
static void test_unplug(void)
{
    Controller *c = get_clean(&legacy);
    static const unsigned one[] = { 3 };
    QDict *answer;

    g_assert_cmphex(write_at(c, 0, 2, 0x91), ==, OK);
    g_assert_cmphex(do_open(c, ZONE, 0), ==, OK);
    set_condition(c, 3, "read-only");
    assert_changed(c, false, 1, one);
    qpci_unplug_acpi_device_test(c->m->qts, "c0", PCI_SLOT);
    set_condition(c, 3, "good");

    /* With blocks that the zones cannot have, and as it was */
    answer = qtest_qmp(c->m->qts, "{ 'execute': 'device_add', 'arguments': {"
                       "  'driver': 'nvme', 'id': 'c0', 'serial': 'zns',"
                       "  'drive': 'z0', 'addr': '4',"
                       "  'logical_block_size': 524288 } }");
    g_assert_nonnull(strstr(qdict_get_str(qdict_get_qdict(answer, "error"),
                                          "desc"), "zone size"));
    qobject_unref(answer);
    qtest_qmp_device_add(c->m->qts, "nvme", "c0", "{ 'serial': 'zns',"
                         "  'drive': 'z0', 'addr': '4',"
                         "  'logical_block_size': 4096 }");
    start_again(c->m);
    assert_zone(c, 0, CLOSED, 2);
    assert_zone(c, 1, EMPTY, 0);
    assert_changed(c, false, 0, NULL);
    assert_blocks(c, 0, 2, 0x91);
    delete_shared_machine();
}

/* The controller goes, and everything that is in the way of its drive. */
static void unplug(const Setup *setup, const char *drive, const char *busy)
{
    Machine *m = new_machine(setup);
    Controller *c = &m->controller[0];

    fill(c, 0, 1, 0x71);
    if (busy) {
        hold_back(c, busy);
    }
    for (unsigned i = 0; busy && i < 3; i++) {
        submit(c, &c->io, write_command(c, NVME_CMD_WRITE, i, 1, 0));
    }
    qpci_unplug_acpi_device_test(c->m->qts, "c0", PCI_SLOT);
    qtest_qmp_assert_success(m->qts, "{ 'execute': 'blockdev-del',"
                             "  'arguments': { 'node-name': %s } }", drive);
    delete_machine(m);
}

static void test_unplug_namespace(void)
{
    static const Setup setup = {
        .zones = 16, .own_subsystem = true, .memory = "",
    };

    unplug(&setup, "z0", NULL);
}

static void test_unplug_in_flight(void)
{
    static const Setup setup = {
        .zones = 16, .own_subsystem = true, .memory = "",
    };

    unplug(&setup, "z0", "n1");
}

static void test_unplug_in_flight_with_drive(void)
{
    static const Setup setup = {
        .zones = 16, .legacy = true,
    };

    unplug(&setup, "z0", "c0");
}

static void test_unplug_plain(void)
{
    static const Setup setup = {
        .zones = 16, .own_subsystem = true,
        .namespace = " -blockdev driver=null-co,node-name=p0,size=16777216 "
                     "-device nvme-ns,drive=p0,bus=c0,nsid=2",
    };

    unplug(&setup, "p0", NULL);
}

static void add(const char *name, void (*test)(void))
{
    qtest_add_func(name, test);
}

static void add_in_memory(const char *name, void (*test)(void))
{
    g_autofree char *path = g_strdup_printf("in memory/%s", name);

    qtest_add_data_func(path, (const void *)test, run_in_memory);
}

static void add_overtaking(unsigned i)
{
    const char *name = overtaking[i].name;
    g_autofree char *path = g_strdup_printf("in memory/%s",
                                            strchr(name, '/') + 1);

    qtest_add_data_func(name, GUINT_TO_POINTER(i), test_overtaking);
    qtest_add_data_func(path, GUINT_TO_POINTER(i), run_overtaking_in_memory);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    /* What QEMU allocates is not zero by chance */
    g_setenv("MALLOC_PERTURB_", "165", true);
    if (!getenv("QTEST_QEMU_IMG")) {
        g_test_message("QTEST_QEMU_IMG is not set");
        return g_test_run();
    }
    qtest_add_abrt_handler((void (*)(void *))delete_shared_machine, NULL);

    add("identify/size and capacity are those of the zones",
        test_identify_namespace);
    add("identify/allocated namespaces can be asked for, too",
        test_identify_allocated);
    add("identify/limits are told less one", test_identify_zoned);
    add("identify/no limit is all ones", test_identify_no_limits);
    add("identify/reads across zones are announced", test_identify_cross_read);
    add("identify/appends have the limit of the disk", test_identify_zasl);
    add("identify/appends have no larger limit than other commands",
        test_identify_zasl_below_mdts);
    add("identify/events for changed zones are announced",
        test_identify_controller);

    add_cells();

    add("report/its header counts all zones or those that fit",
        test_report_count);
    add("report/it has all zones", test_report_all);
    add("report/it starts with the zone that has the block",
        test_report_from_middle);
    add("report/it can be of one state", test_report_filters);
    add("report/it can be of worn zones", test_report_worn_filters);
    add("report/its limit is in the smallest pages", test_report_large_pages);
    add("report/reserved values are refused", test_report_bad_fields);
    add("report/it may be shorter than its header", test_report_short);
    add("report/a descriptor that is cut off does not count",
        test_report_cut_off);
    add("report/the size of the buffer does not overflow",
        test_report_too_large);
    add("report/there can be many zones", test_report_many);

    for (int i = 0; i < ARRAY_SIZE(all_actions); i++) {
        qtest_add_data_func(all_actions[i].name, GUINT_TO_POINTER(i),
                            test_select_all);
    }
    add("select all/worn zones stay as they are", test_select_all_worn);
    add("select all/other actions are refused", test_select_all_reserved);
    add("select all/open opens all zones or none", test_open_all_is_atomic);
    add("select all/a reset of a worn zone resets no other zone",
        test_reset_of_worn_zone);

    add("limits/an implicitly open zone is closed for another",
        test_implicit_close);
    add("limits/an explicitly open zone is not", test_explicit_stays);
    add("limits/no zone is closed where that does not help",
        test_no_close_without_active);
    add("limits/without both resources the active one is named",
        test_active_first);
    add("limits/failed copies use no resource",
        test_failed_copies_use_nothing);

    add("data/what was written is read, also by the next QEMU", test_data);
    add("data/its pointer may begin within a page", test_data_misaligned);
    add("data/a transfer has a limit", test_largest_transfer);
    add("data/it cannot be beyond the namespace", test_beyond_namespace);
    add("data/it can be compared", test_compare);
    add("data/reads can be allowed to cross zones", test_cross_read);
    add("data/unwritten blocks can be errors", test_unwritten_blocks);

    add("queue/writes succeed in order", test_queue_of_writes);
    add("queue/appends get places of their own", test_queue_of_appends);
    add("queue/a write and a reset both succeed", test_write_and_reset);
    add("queue/an abrupt shutdown leaves write pointers that work",
        test_write_and_abrupt_shutdown);
    add("queue/a controller reset waits for commands",
        test_reset_with_commands);
    add("queue/deleting it waits for commands",
        test_delete_queue_with_commands);
    add("queue/no opcode does harm", test_unknown_opcodes);
    add("queue/no fields do harm", test_random_commands);
    add_in_memory("no fields do harm", test_random_commands);
    for (int i = 0; i < ARRAY_SIZE(overtaking); i++) {
        add_overtaking(i);
    }

    for (int i = 0; i < ARRAY_SIZE(events); i++) {
        g_autofree char *name = g_strdup_printf(
            "survival/%s %s", events[i].name,
            events[i].power_cycle ? "closes open zones, not more"
                                  : "changes no zone");

        qtest_add_data_func(name, GUINT_TO_POINTER(i), test_survival);
        if (!events[i].loses_memory) {
            g_autofree char *memory = g_strdup_printf("in memory/%s", name);

            qtest_add_data_func(memory, GUINT_TO_POINTER(i),
                                run_survival_in_memory);
        }
    }
    for (unsigned i = 0; i < ARRAY_SIZE(lasts); i++) {
        add_lasting(lasts[i].name, i, test_lasting);
    }
    add_lasting("writes are lost from the end only", 0, test_lasting_tail);
    add_lasting("resources are those of the zones", 0, test_lasting_resources);
    add_lasting("events are forgotten", 0, test_lasting_events);
    add("survival/worn zones stay so", test_worn_zones_stay);
    add("survival/a crash undoes no reset and no finish",
        test_crash_after_management);
    add("survival/a crash undoes no write with FUA",
        test_crash_after_fua_write);
    add("survival/a crash undoes no append with FUA",
        test_crash_after_fua_append);
    add("survival/a crash undoes no zeroes with FUA",
        test_crash_after_fua_zeroes);
    add("survival/a crash undoes no copy with FUA", test_crash_after_fua_copy);
    add("survival/a crash undoes nothing that was read with FUA",
        test_crash_after_fua_read);
    add("survival/a crash undoes nothing without a write cache",
        test_crash_without_write_cache);

    add("two controllers/they see the same zones", test_shared_zones);
    add("two controllers/the last one that shuts down closes zones",
        test_shutdown_one_after_the_other);

    add("copy/it gathers ranges", test_copy_ranges);
    add("copy/one bad range and nothing is done", test_copy_one_bad_range);
    add("copy/it has limits", test_copy_limits);
    add("copy/it can be from and to other namespaces",
        test_copy_between_namespaces);

    add("medium/a failed write leaves a write pointer that works",
        test_write_errors);
    add("medium/a failed read fails the command", test_read_errors);
    add("medium/a failed flush fails what has to be durable",
        test_flush_errors);
    add("medium/a read-only disk is write protected", test_read_only);

    add("admin/format empties all zones", test_format);
    add("admin/a format that fails changes nothing", test_format_failed);
    add("admin/format takes read-only zones offline", test_format_worn);
    add("admin/a namespace that was detached stays so",
        test_detached_stays_detached);
    add("admin/without its command set the namespace is not there",
        test_nvm_command_set_only);

    add("identify/extensions and random write areas are announced",
        test_identify_features);
    add("extension/it is in the extended report", test_extended_report);
    add("extension/only a reset loses it", test_extension_stays);
    add("extension/a command that fails does not replace it",
        test_extension_not_replaced);
    add("extension/it needs an active resource", test_extension_is_active);

    add("zrwa/writes come in any order", test_zrwa_any_order);
    add("zrwa/writes behind it commit", test_zrwa_bounds);
    add("zrwa/a commit is in its bounds", test_zrwa_commit);
    add("zrwa/a commit can fill the zone", test_zrwa_to_the_end);
    add("zrwa/there are only so many", test_zrwa_resources);
    add("zrwa/there need not be a limit", test_zrwa_no_limit);
    add("zrwa/its granularity counts from the zone's start",
        test_zrwa_odd_granularity);
    add("zrwa/a shutdown gives back what holds nothing",
        test_zrwa_power_cycle);
    add("zrwa/only empty zones get one", test_zrwa_only_empty);
    add("zrwa/a copy is a write", test_zrwa_copy);
    add("zrwa/it survives with what was written to it", test_zrwa_survives);
    add("zrwa/a crash undoes no commit", test_zrwa_crash_after_commit);

    add("accounting/appends and zone management are counted", test_statistics);
    add("failing/zones become read-only and offline", test_conditions);
    add("failing/there are events, and a list of the zones", test_events);
    add("failing/the list may be too short", test_events_too_many);
    add("failing/a plain namespace has no list", test_events_of_plain);

    add("setup/the drive of a controller can be unplugged", test_unplug);

    add("shutdown/completes-what-is-queued", test_shutdown_with_queue);
    add("shutdown/abrupt-completes-what-is-queued",
        test_abrupt_shutdown_with_queue);
    add_in_memory("shutdown/completes-what-is-queued",
                  test_shutdown_with_queue);
    add_in_memory("shutdown/abrupt-completes-what-is-queued",
                  test_abrupt_shutdown_with_queue);
    add("admin/format-all-or-none", test_format_all_or_none);
    add("accounting/smart-counts-user-data", test_smart);
    add_in_memory("accounting/smart-counts-user-data", test_smart);
    add("medium/error-of-plain-copy-source", test_plain_source_error);
    add("medium/error-of-extension", test_extension_error);
    add("queue/long-commands-let-others-run", test_long_commands);
    add("queue/deallocation-of-overlapping-ranges",
        test_overlapping_deallocation);
    add("unplug/namespace-goes-too", test_unplug_namespace);
    add("unplug/in-flight", test_unplug_in_flight);
    add("unplug/in-flight-with-drive", test_unplug_in_flight_with_drive);
    add("unplug/plain-namespace", test_unplug_plain);
    add_in_memory("unplug/namespace-goes-too", test_unplug_namespace);
    add_in_memory("unplug/in-flight", test_unplug_in_flight);
    add_in_memory("report-short", test_report_short);
    add_in_memory("report-filters", test_report_filters);
    add_in_memory("compare-and-verify-one-zone", test_compare_one_zone);
    add_in_memory("guard-of-first-block", test_first_guard);
    add_in_memory("append-limit-with-metadata", test_append_with_metadata);
    add_in_memory("identify-capacity-and-areas", test_identify_memory);
    add_in_memory("shutdown-keeps-random-write-areas",
                  test_memory_zrwa_shutdown);

    add("data-pointer/reports", test_reports);
    add("data-pointer/reports-by-sgl", test_reports_by_sgl);
    add("data-pointer/extended-reports", test_extended_reports);
    add("data-pointer/large-extended-reports",
        test_large_extended_reports);
    add("data-pointer/report-longest-list", test_report_longest_list);
    add("data-pointer/log-pages", test_log_pages);
    add("data-pointer/data-placement-pages", test_data_placement_pages);
    add("data-pointer/log-page-too-large", test_log_page_too_large);
    add_in_memory("data-pointer/reports", test_reports);
    add_in_memory("data-pointer/reports-by-sgl", test_reports_by_sgl);
    add_in_memory("data-pointer/extended-reports", test_extended_reports);
    add_in_memory("data-pointer/large-extended-reports",
                  test_large_extended_reports);
    add_in_memory("data-pointer/log-pages", test_log_pages);

    add_in_memory("a bad data pointer changes no zone", test_bad_pointers);
    add_in_memory("bad protection information changes no zone",
                  test_bad_protection);
    add_in_memory("a write while a reset is in progress is before or after it",
                  test_write_in_reset);
    add_in_memory("an abrupt shutdown leaves write pointers that work",
                  test_shutdown_with_write);
    add_in_memory("the last controller that shuts down closes zones",
                  test_shutdown_one_after_the_other);
    add_in_memory("no zone is closed where that does not help",
                  test_no_close_without_active);
    add_in_memory("without both resources the active one is named",
                  test_active_first);
    add_in_memory("open opens all zones or none", test_open_all_is_atomic);
    add_in_memory("failed copies use no resource",
                  test_failed_copies_use_nothing);
    add_in_memory("a copy to a full zone says so", test_copy_to_full_zone);
    add_in_memory("a failed copy leaves a write pointer that works",
                  test_copy_error);
    add_in_memory("what has to be durable is flushed", test_memory_fua);
    add_in_memory("the size of a report does not overflow",
                  test_report_too_large);
    add_in_memory("allocated namespaces can be identified",
                  test_identify_allocated);
    add_in_memory("an extension that is refused replaces none",
                  test_extension_not_replaced);
    add_in_memory("a commit is in its bounds", test_zrwa_commit);
    add_in_memory("a commit can fill the zone", test_zrwa_to_the_end);
    add_in_memory("there are only so many random write areas",
                  test_zrwa_resources);
    add_in_memory("random write areas need not be limited",
                  test_zrwa_no_limit);
    add_in_memory("the granularity counts from the zone's start",
                  test_zrwa_odd_granularity);
    add_in_memory("only empty zones get a random write area",
                  test_zrwa_only_empty);
    add_in_memory("a copy to a random write area is a write", test_zrwa_copy);

    for (int i = 0; i < ARRAY_SIZE(refusals); i++) {
        qtest_add_data_func(refusals[i].name, &refusals[i], test_setup);
    }

    ret = g_test_run();
    delete_shared_machine();
    return ret;
}
