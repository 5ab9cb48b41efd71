/*
 * Tests of NVMe namespaces on a zoned disk
 *
 * The machine, a driver of a few functions, and commands
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zns-driver.h"

/* --- The machine --- */

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

static void doorbell(Controller *c, const Queue *q, bool completion,
                     uint32_t value)
{
    qpci_io_writel(c->pci, c->bar, 0x1000 + q->id * 8 + completion * 4, value);
}

static uint64_t sq_entry(const Queue *q, unsigned i)
{
    return q->sq + i % QUEUE_SIZE * 64;
}

static uint64_t cq_entry(const Queue *q, unsigned i)
{
    return q->cq + i % QUEUE_SIZE * 16;
}

unsigned submit(Controller *c, Queue *q, Command cmd)
{
    unsigned cid = q->next_cid++ % QUEUE_SIZE;

    cmd.dw[0] |= cid << 16;
    q->command[cid].done = false;
    q->command[cid].bytes = allow_data(c, q, sq_entry(q, cid), &cmd);
    guest_allow(c->m->ram, cq_entry(q, q->head + q->in_flight),
                cq_entry(q, q->head + q->in_flight), 16);
    q->in_flight++;
    for (int i = 0; i < 16; i++) {
        cmd.dw[i] = cpu_to_le32(cmd.dw[i]);
    }
    guest_write(c->m->ram, sq_entry(q, cid), cmd.dw, 64);
    q->tail = (q->tail + 1) % QUEUE_SIZE;
    doorbell(c, q, false, q->tail);
    return cid;
}

/* Has it failed where part of the data may have been transferred? */
static bool may_have_data(uint16_t status)
{
    return (status & 0x700) == 0x200 || status == NVME_INTERNAL_DEV_ERROR ||
           status == NVME_CMD_ABORT_REQ;
}

static void check_memory(Controller *c, const Queue *q, unsigned cid)
{
    uint16_t status = q->command[cid].status & 0x7ff;

    guest_done(c->m->ram, cq_entry(q, q->head), 16);
    if (may_have_data(status)) {
        guest_forget(c->m->ram, sq_entry(q, cid), 1);
    } else {
        guest_done(c->m->ram, sq_entry(q, cid),
                   status == OK ? q->command[cid].bytes : 0);
    }
    guest_check(c->m->ram);
}

bool take_completion(Controller *c, Queue *q)
{
    uint32_t dw[4];
    unsigned cid;

    qtest_memread(c->m->qts, cq_entry(q, q->head), dw, sizeof(dw));
    if ((le32_to_cpu(dw[3]) >> 16 & 1) != q->phase) {
        return false;
    }
    cid = le32_to_cpu(dw[3]) & 0xffff;
    g_assert_cmpint(cid, <, QUEUE_SIZE);
    q->command[cid].done = true;
    q->command[cid].status = le32_to_cpu(dw[3]) >> 17;
    q->command[cid].result = le32_to_cpu(dw[0]) |
                             (uint64_t)le32_to_cpu(dw[1]) << 32;
    check_memory(c, q, cid);
    q->in_flight--;
    q->head = (q->head + 1) % QUEUE_SIZE;
    q->phase ^= q->head == 0;
    doorbell(c, q, true, q->head);
    return true;
}

Result wait_for(Controller *c, Queue *q, unsigned cid)
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

Result run(Controller *c, Queue *q, Command cmd)
{
    return wait_for(c, q, submit(c, q, cmd));
}

Result admin(Controller *c, Command cmd)
{
    return run(c, &c->admin, cmd);
}

Result io(Controller *c, Command cmd)
{
    return run(c, &c->io, cmd);
}

Command with_data(Controller *c, Command cmd, uint32_t offset,
                  uint32_t len)
{
    uint64_t addr = c->buffer + offset;
    uint64_t second = QEMU_ALIGN_DOWN(addr, 4096) + 4096;

    g_assert_cmpint(offset + len, <=, BUFFER_SIZE);
    if (addr + len > second + 4096) {
        for (uint64_t page = second, i = 0; page < addr + len; page += 4096) {
            guest_writeq(c->m->ram, c->prp_list + 8 * i++, page);
        }
        second = c->prp_list;
    }
    cmd.dw[6] = addr;
    cmd.dw[7] = addr >> 32;
    cmd.dw[8] = second;
    cmd.dw[9] = second >> 32;
    return cmd;
}

Command command(uint8_t opcode, uint64_t dw10, uint32_t dw12,
                uint32_t dw13)
{
    return (Command) {
        .dw = {
            [0] = opcode, [1] = NSID, [10] = dw10, [11] = dw10 >> 32,
            [12] = dw12, [13] = dw13,
        },
    };
}

/* The controller has ended all that it had, and writes nothing more for it. */
static void forget_commands(Controller *c, Queue *q)
{
    guest_forget(c->m->ram, q->sq, QUEUE_SIZE * 64);
    guest_forget(c->m->ram, q->cq, QUEUE_SIZE * 16);
    guest_check(c->m->ram);
    q->in_flight = 0;
}

static void init_queue(Controller *c, Queue *q, unsigned id)
{
    uint64_t sq = q->sq ?: guest_alloc(&c->m->qos->alloc, QUEUE_SIZE * 64);
    uint64_t cq = q->cq ?: guest_alloc(&c->m->qos->alloc, QUEUE_SIZE * 64);

    *q = (Queue) { .id = id, .sq = sq, .cq = cq, .phase = true };
    forget_commands(c, q);
    guest_fill(c->m->ram, cq, 0, QUEUE_SIZE * 16);
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

void start_controller(Controller *c, uint32_t command_sets)
{
    init_queue(c, &c->admin, 0);
    init_queue(c, &c->io, 1);
    set_reg(c, 0x24, (QUEUE_SIZE - 1) << 16 | (QUEUE_SIZE - 1));
    set_reg(c, 0x28, c->admin.sq);
    set_reg(c, 0x30, c->admin.cq);
    c->page_size = command_sets & CC_PAGES_8K ? 8192 : 4096;
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

void stop_controller(Controller *c)
{
    set_reg(c, REG_CC, reg(c, REG_CC) & ~CC_ENABLE);
    g_assert_cmphex(reg(c, REG_CSTS), ==, 0);
    forget_commands(c, &c->admin);
    forget_commands(c, &c->io);
}

void reset_controller(Controller *c)
{
    stop_controller(c);
    start_controller(c, CC_ALL_SETS);
}

void shutdown_controller(Controller *c, uint32_t how)
{
    set_reg(c, REG_CC, reg(c, REG_CC) | how);
    g_assert_cmphex(reg(c, REG_CSTS) & 0xc, ==, 8);
}

void init_controller(Controller *c, unsigned slot)
{
    QOSState *qos = c->m->qos;

    c->pci = qpci_device_find(qos->pcibus, QPCI_DEVFN(slot, 0));
    g_assert_nonnull(c->pci);
    qpci_device_enable(c->pci);
    c->bar = qpci_iomap(c->pci, 0, NULL);
    /* In this order, so that there is memory below the buffer, too */
    c->prp_list = guest_alloc(&qos->alloc, 4096);
    c->buffer = guest_alloc(&qos->alloc, BUFFER_SIZE);
    start_controller(c, CC_ALL_SETS);
}

void start_machine(Machine *m)
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

    m->ram = guest_new();
    m->qos = qtest_pc_boot("-nodefaults %s -blockdev driver=file,filename=%s,"
                           "node-name=%s "
                           "%s%s "
                           "-blockdev driver=%s,node-name=z0,file=f0%s "
                           "-device nvme-subsys,id=s0 "
                           "-device nvme,id=c0,serial=zns,%s,addr=%d%s "
                           "%s %s %s%s",
                           guest_options(m->ram), m->image,
                           filter ? "g0" : "f0", filter ?: "", s->below ?: "",
                           m->memory ? "raw" : "qcow2", s->node ?: "",
                           s->legacy ? "logical_block_size=4096,drive=z0" :
                           s->own_subsystem ? "mdts=7" : "subsys=s0", PCI_SLOT,
                           s->controller ?: "", second, s->machine ?: "",
                           namespace, m->memory ? memory : "");
    m->qts = m->qos->qts;
    guest_started(m->ram);
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

void stop_machine(Machine *m)
{
    free_controllers(m);
    guest_check(m->ram);
    qtest_shutdown(m->qos);
    guest_delete(m->ram);
}

void restart_machine(Machine *m)
{
    stop_machine(m);
    start_machine(m);
}

void crash_machine(Machine *m)
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
    guest_check(m->ram);
    guest_delete(m->ram);
    start_machine(m);
}

bool in_memory;

Machine *new_machine(const Setup *setup)
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

void delete_machine(Machine *m)
{
    stop_machine(m);
    zoned_image_delete(m->image);
    g_free(m);
}

/* --- Commands of the namespace --- */

uint16_t check(Result r)
{
    /* Trying again only helps where the medium or memory was in the way */
    if (r.status < 0x280) {
        g_assert_cmpint(r.dnr, ==, r.status != OK);
    }
    return r.status;
}

void fill(Controller *c, uint32_t offset, uint32_t blocks, uint8_t value)
{
    guest_fill(c->m->ram, c->buffer + offset, value, blocks * BLOCK);
}

Command write_command(Controller *c, uint8_t opcode, uint64_t slba,
                      unsigned nlb, uint32_t flags)
{
    return with_data(c, command(opcode, slba, (nlb - 1) | flags, 0), 0,
                     nlb * BLOCK);
}

uint16_t write_at(Controller *c, uint64_t slba, unsigned nlb,
                  uint8_t value)
{
    fill(c, 0, nlb, value);
    return check(io(c, write_command(c, NVME_CMD_WRITE, slba, nlb, 0)));
}

uint16_t append(Controller *c, uint64_t zslba, unsigned nlb,
                uint8_t value, uint64_t *slba)
{
    Result r;

    fill(c, 0, nlb, value);
    r = io(c, write_command(c, NVME_CMD_ZONE_APPEND, zslba, nlb, 0));
    *slba = r.value;
    return check(r);
}

uint16_t write_zeroes(Controller *c, uint64_t slba, unsigned nlb)
{
    return check(io(c, command(NVME_CMD_WRITE_ZEROES, slba, nlb - 1, 0)));
}

uint16_t read_from(Controller *c, uint64_t slba, unsigned nlb)
{
    fill(c, 0, nlb, 0xee);
    return check(io(c, with_data(c, command(NVME_CMD_READ, slba, nlb - 1, 0),
                                 0, nlb * BLOCK)));
}

uint16_t flush(Controller *c)
{
    return check(io(c, command(NVME_CMD_FLUSH, 0, 0, 0)));
}

void assert_buffer(Controller *c, uint32_t offset, uint32_t len,
                   uint8_t value)
{
    g_autofree uint8_t *data = g_malloc(len);

    guest_read(c->m->ram, c->buffer + offset, data, len);
    for (uint32_t i = 0; i < len; i++) {
        g_assert_cmphex(data[i], ==, value);
    }
}

void assert_blocks(Controller *c, uint64_t slba, unsigned nlb,
                   uint8_t value)
{
    g_assert_cmphex(read_from(c, slba, nlb), ==, OK);
    assert_buffer(c, 0, nlb * BLOCK, value);
}

Command copy_command(Controller *c, uint64_t sdlba, unsigned format,
                     const Source *sources, unsigned nr)
{
    for (unsigned i = 0; i < nr; i++) {
        NvmeCopySourceRangeFormat0_2 range = {
            .sparams = cpu_to_le32(format == 2 ? sources[i].nsid : 0),
            .slba = cpu_to_le64(sources[i].slba),
            .nlb = cpu_to_le16(sources[i].nlb - 1),
        };

        guest_write(c->m->ram, c->buffer + i * sizeof(range), &range,
                       sizeof(range));
    }
    return with_data(c, command(NVME_CMD_COPY, sdlba, (nr - 1) | format << 8,
                                0), 0, nr * 32);
}

uint16_t copy(Controller *c, uint64_t sdlba, uint64_t slba, unsigned nlb)
{
    Source source = { .slba = slba, .nlb = nlb };

    return check(io(c, copy_command(c, sdlba, 0, &source, 1)));
}

uint16_t manage(Controller *c, uint32_t action, uint64_t slba)
{
    return check(io(c, command(NVME_CMD_ZONE_MGMT_SEND, slba, 0, action)));
}

uint16_t manage_all(Controller *c, uint8_t action)
{
    /* The address is ignored */
    return check(io(c, command(NVME_CMD_ZONE_MGMT_SEND, UINT64_MAX, 0,
                               action | SELECT_ALL)));
}

uint16_t receive(Controller *c, uint64_t slba, uint64_t len,
                 uint32_t dw13)
{
    guest_fill(c->m->ram, c->buffer, 0xee, MIN(len + 4, BUFFER_SIZE));
    return check(io(c, with_data(c, command(NVME_CMD_ZONE_MGMT_RECV, slba,
                                            len / 4 - 1, dw13),
                                 0, MIN(len, MDTS_BYTES))));
}

uint64_t report_count(Controller *c)
{
    return qtest_readq(c->m->qts, c->buffer);
}

Zone descriptor_at(Controller *c, uint32_t offset)
{
    NvmeZoneDescr d;

    guest_read(c->m->ram, c->buffer + offset, &d, sizeof(d));
    return (Zone) {
        .type = d.zt,
        .state = d.zs >> 4,
        .attributes = d.za,
        .cap = le64_to_cpu(d.zcap),
        .start = le64_to_cpu(d.zslba),
        .wp = le64_to_cpu(d.wp) - le64_to_cpu(d.zslba),
    };
}

Zone get_zone(Controller *c, unsigned i)
{
    g_assert_cmphex(receive(c, i * ZONE, 128, PARTIAL), ==, OK);
    g_assert_cmpint(report_count(c), ==, 1);
    return descriptor_at(c, 64);
}

void assert_zone(Controller *c, unsigned i, unsigned state, int wp)
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

void delete_shared_machine(void)
{
    if (shared) {
        delete_machine(shared);
        shared = NULL;
    }
}

Machine *get_machine(const Setup *setup)
{
    if (shared && (shared->setup != setup || shared->memory != in_memory)) {
        delete_shared_machine();
    }
    if (!shared) {
        shared = new_machine(setup);
    }
    return shared;
}

Controller *get_clean(const Setup *setup)
{
    Machine *m = get_machine(setup);

    g_assert_cmphex(manage_all(&m->controller[0], NVME_ZONE_ACTION_RESET), ==,
                    OK);
    m->fresh = 0;
    return &m->controller[0];
}

const Setup standard = { .zones = 16, .memory = "" };

const Setup limited = {
    .zones = 16,
    .image = ",zone.max_open_zones=2,zone.max_active_zones=3",
    .memory = ",zoned.max_open=2,zoned.max_active=3",
};

const Setup equal_limits = {
    .zones = 16,
    .image = ",zone.max_open_zones=2,zone.max_active_zones=2",
    .memory = ",zoned.max_open=2,zoned.max_active=2",
};

const Setup cross_read = {
    .zones = 16,
    .namespace = ",zoned.cross_read=on",
};

const Setup unlimited_append = {
    .zones = 16,
    .controller = ",mdts=2",
};

const Setup many_zones = { .zones = 1100 };

const Setup two_controllers = {
    .zones = 16, .controllers = 2, .memory = "",
};

const Setup write_errors = {
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

const Setup read_errors = {
    .zones = 16,
    .below = ",inject-error.0.event=read_aio,inject-error.0.iotype=read",
};

const Setup flush_errors = {
    .zones = 16,
    .below = ",inject-error.0.event=write_aio,inject-error.0.iotype=flush",
    .memory = "",
};

const Setup with_plain = {
    .zones = 16,
    .machine = "-blockdev driver=null-co,node-name=p0,size=16777216,"
               "read-zeroes=on -device nvme-ns,drive=p0,bus=c0,nsid=2,"
               "logical_block_size=4096,physical_block_size=4096 "
               "-blockdev driver=null-co,node-name=p1,size=16777216,"
               "read-zeroes=on -device nvme-ns,drive=p1,bus=c0,nsid=3 ",
};

const Setup read_only = { .zones = 16, .node = ",read-only=on" };

const Setup features = {
    .zones = 16,
    .image = ZNS_FEATURES ",zone.zrwa_zones=2,zone.max_active_zones=5",
    .memory = ",zoned.descr_ext_size=128,zoned.zrwas=32k,zoned.zrwafg=8k,"
              "zoned.numzrwa=2,zoned.max_active=5",
};

const Setup held = {
    .zones = 16, .below = "", .image = ZNS_FEATURES,
    .memory = ",zoned.zrwas=32k,zoned.zrwafg=8k",
};

const Setup odd_granularity = {
    .zones = 16,
    .image = ",zone.zrwa_size=24k,zone.zrwa_flush_granularity=12k",
    .memory = ",zoned.zrwas=24k,zoned.zrwafg=12k",
};

const Setup feature_cells = {
    .zones = 512, .worn = 20, .image = ZNS_FEATURES,
};

const Setup cells = { .zones = 1024, .worn = 100 };

static void run_in_memory(const void *test)
{
    in_memory = true;
    ((void (*)(void))test)();
    in_memory = false;
}

/* --- Names --- */

char *test_path(const char *sentence)
{
    return g_strdelimit(g_strdup(sentence), " ", '-');
}

bool have_images;

void add(const char *name, void (*test)(void))
{
    if (have_images) {
        qtest_add_func(name, test);
    }
}

void add_with(const char *name, const void *data, GTestDataFunc test)
{
    if (have_images) {
        qtest_add_data_func(name, data, test);
    }
}

void add_in_memory(const char *name, void (*test)(void))
{
    g_autofree char *path = g_strdup_printf("in-memory/%s", name);

    qtest_add_data_func(path, (const void *)test, run_in_memory);
}
