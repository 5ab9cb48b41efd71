/*
 * Tests of NVMe namespaces on a zoned disk
 *
 * Several commands at a time, and long ones
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zns-driver.h"

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

/* The outcome is that of one order */
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

/* The zone is as the status of the write says */
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

static bool interrupts(Controller *c)
{
    return qpci_config_readw(c->pci, PCI_STATUS) & PCI_STATUS_INTERRUPT;
}

/* The driver has not acknowledged a completion; there is no MSI-X. */
static void test_reset_with_interrupt(void)
{
    Controller *c = get_clean(&standard);
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    g_assert_false(interrupts(c));
    for (int i = 0; i < 2; i++) {
        submit(c, &c->admin, with_data(
            c, (Command) { .dw = { NVME_ADM_CMD_IDENTIFY, [10] = 1 } }, 0, 4096));
        while (!interrupts(c)) {
            g_assert_cmpint(g_get_monotonic_time(), <, end);
        }
        stop_controller(c);
        g_assert_false(interrupts(c));
        start_controller(c, CC_ALL_SETS);
        g_assert_false(interrupts(c));
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

/*
 * Whatever is in the fields, QEMU lives, and the zones make sense.  For some of
 * the commands, the list of pages is a page of data: no two have the same.
 */
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
    uint64_t list = c->prp_list;
    uint64_t lists = guest_alloc(&c->m->qos->alloc, 16 * 4096);

    for (int round = 0; round < 200; round++) {
        unsigned cid[16];

        for (int i = 0; i < ARRAY_SIZE(cid); i++) {
            int o = g_rand_int_range(dice, 0, ARRAY_SIZE(opcodes));
            uint8_t opcode = opcodes[o];
            Command cmd = command(opcode, random_field(dice), 0, 0);

            /* All that can be transferred has memory, or a bad pointer */
            c->prp_list = lists + i * 4096;
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
    c->prp_list = list;
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
    { "queue/a-reset-does-not-overtake-a-write", NVME_ZONE_ACTION_RESET },
    { "queue/a-reset-of-all-zones-does-not-either",
      NVME_ZONE_ACTION_RESET | SELECT_ALL },
    { "queue/a-finish-loses-no-write", NVME_ZONE_ACTION_FINISH },
    { "queue/a-reset-does-not-overtake-a-write-to-a-random-write-area",
      NVME_ZONE_ACTION_RESET, true },
    { "queue/a-finish-loses-no-write-to-a-random-write-area",
      NVME_ZONE_ACTION_FINISH, true },
};

/* A reset or finish waits for writes, also to a random write area */
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

/* One write per second of the clock gets from the device to the node. */
void hold_back(Controller *c, const char *device)
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

static void run_overtaking_in_memory(const void *i)
{
    in_memory = true;
    test_overtaking(i);
    in_memory = false;
}

/* --- Long commands --- */

#define LONG_ZONES      (4 * MiB)
#define RANGES          256

static Command deallocation(Controller *c, const NvmeDsmRange *ranges,
                            unsigned nr)
{
    Command cmd = command(NVME_CMD_DSM, (nr - 1) | (uint64_t)4 << 32, 0, 0);

    guest_write(c->m->ram, c->buffer, ranges, nr * sizeof(*ranges));
    return with_data(c, cmd, 0, nr * sizeof(*ranges));
}

/*
 * Run @cmd 60 times at once: while none of them has ended, QMP is to be answered
 * @answers times, whatever the machine does besides.  How long it took to
 * answer is only told.
 */
static void assert_others_run(Controller *c, const char *name, Command cmd,
                              unsigned answers)
{
    gint64 before = g_get_monotonic_time(), longest = 0;
    unsigned cid[60], answered = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(cid); i++) {
        cid[i] = submit(c, &c->io, cmd);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(cid); ) {
        gint64 start = g_get_monotonic_time();

        qtest_qmp_assert_success(c->m->qts, "{ 'execute': 'query-status' }");
        longest = MAX(longest, g_get_monotonic_time() - start);
        answered += !take_completion(c, &c->io) && i == 0;
        while (i < ARRAY_SIZE(cid) && c->io.command[cid[i]].done) {
            i++;
        }
    }
    for (unsigned i = 0; i < ARRAY_SIZE(cid); i++) {
        g_assert_cmphex(wait_for(c, &c->io, cid[i]).status, ==, OK);
    }
    g_test_message("%s: 60 took %d ms, query-status at most %d ms, answered %u "
                   "times before the first ended", name,
                   (int)((g_get_monotonic_time() - before) / 1000),
                   (int)(longest / 1000), answered);
    g_assert_cmpuint(answered, >=, answers);
}

/* Of all zones; the deallocation has 256 ranges, each of the whole disk. */
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
    assert_others_run(c, "deallocate", deallocation(c, ranges, RANGES),
                      10);
    assert_others_run(c, "report", with_data(
        c, command(NVME_CMD_ZONE_MGMT_RECV, 0, MDTS_BYTES / 4 - 1, 0), 0,
        MDTS_BYTES), 10);
    for (int i = 0; i < ARRAY_SIZE(actions); i++) {
        assert_others_run(c, actions[i].name, command(
            NVME_CMD_ZONE_MGMT_SEND, 0, 0, actions[i].action | SELECT_ALL), 0);
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

/* --- A machine that is stopped --- */

typedef struct Content {
    char *bytes;
    gsize len;
} Content;

/* What is in the image file */
static Content content(Controller *c)
{
    Content k;

    g_assert_true(g_file_get_contents(c->m->image, &k.bytes, &k.len, NULL));
    return k;
}

/* Nothing is completed or written, for a while. */
static void assert_nothing_happens(Controller *c)
{
    Content before = content(c), after;

    for (int i = 0; i < 20; i++) {
        g_usleep(10000);
        qtest_qmp_assert_success(c->m->qts, "{'execute': 'query-status'}");
        g_assert_false(take_completion(c, &c->io));
        g_assert_false(take_completion(c, &c->admin));
    }
    after = content(c);
    g_assert_cmpmem(before.bytes, before.len, after.bytes, after.len);
    g_free(before.bytes);
    g_free(after.bytes);
}

/* The doorbell has rung, but nobody has looked yet. */
static void test_stopped(void)
{
    Controller *c = get_clean(&standard);
    unsigned write, reset, append, identify;

    g_assert_cmphex(write_at(c, ZONE, 2, 0x60), ==, OK);
    g_assert_cmphex(flush(c), ==, OK);
    fill(c, 0, 2, 0x61);
    qtest_qmp_assert_success(c->m->qts, "{'execute': 'stop'}");
    write = submit(c, &c->io, write_command(c, NVME_CMD_WRITE, 0, 2, FUA));
    reset = submit(c, &c->io, command(NVME_CMD_ZONE_MGMT_SEND, ZONE, 0,
                                      NVME_ZONE_ACTION_RESET));
    append = submit(c, &c->io, write_command(c, NVME_CMD_ZONE_APPEND, 2 * ZONE,
                                             1, FUA));
    identify = submit(c, &c->admin, with_data(
        c, (Command) { .dw = { NVME_ADM_CMD_IDENTIFY, [10] = 1 } }, 64 * KiB,
        4096));
    assert_nothing_happens(c);
    qtest_qmp_assert_success(c->m->qts, "{'execute': 'cont'}");
    g_assert_cmphex(wait_for(c, &c->io, write).status, ==, OK);
    g_assert_cmphex(wait_for(c, &c->io, reset).status, ==, OK);
    g_assert_cmphex(wait_for(c, &c->io, append).status, ==, OK);
    g_assert_cmphex(wait_for(c, &c->admin, identify).status, ==, OK);
    assert_zone(c, 0, IOPEN, 2);
    assert_zone(c, 1, EMPTY, 0);
    assert_zone(c, 2, IOPEN, 1);
    assert_blocks(c, 0, 2, 0x61);
}

/* A command that has begun ends before the machine has stopped, and all of it. */
static void test_stopped_in_copy(void)
{
    static const Setup setup = { .zones = 16, .memory = "" };
    static const Source sources[] = { { NSID, 0, 1 }, { NSID, 2, 1 },
                                      { NSID, 1, 1 }, { NSID, 3, 1 } };
    Machine *m = new_machine(&setup);
    Controller *c = &m->controller[0];
    unsigned cid;
    Content k;

    g_assert_cmphex(write_at(c, 0, 4, 0x62), ==, OK);
    hold_back(c, "n1");
    /* That of this second */
    g_assert_cmphex(write_at(c, 2 * ZONE, 1, 0x63), ==, OK);
    cid = submit(c, &c->io, copy_command(c, ZONE, 0, sources,
                                         ARRAY_SIZE(sources)));
    qtest_qmp_assert_success(c->m->qts, "{'execute': 'stop'}");
    assert_nothing_happens(c);
    k = content(c);
    if (m->memory) {
        g_assert_cmpmem(k.bytes + ZONE_BYTES, 4 * BLOCK, k.bytes, 4 * BLOCK);
    }
    g_free(k.bytes);
    qtest_qmp_assert_success(c->m->qts, "{'execute': 'cont'}");
    g_assert_cmphex(wait_for(c, &c->io, cid).status, ==, OK);
    assert_zone(c, 1, IOPEN, ARRAY_SIZE(sources));
    assert_blocks(c, ZONE, ARRAY_SIZE(sources), 0x62);
    delete_machine(m);
}

static void add_overtaking(unsigned i)
{
    const char *name = overtaking[i].name;
    g_autofree char *path = g_strdup_printf("in-memory/%s",
                                            strchr(name, '/') + 1);

    add_with(name, GUINT_TO_POINTER(i), test_overtaking);
    qtest_add_data_func(path, GUINT_TO_POINTER(i), run_overtaking_in_memory);
}

void add_queue_tests(void)
{
    add("queue/writes-succeed-in-order", test_queue_of_writes);
    add("queue/appends-get-places-of-their-own", test_queue_of_appends);
    add("queue/a-write-and-a-reset-both-succeed", test_write_and_reset);
    add("queue/an-abrupt-shutdown-leaves-write-pointers-that-work",
        test_write_and_abrupt_shutdown);
    add("queue/a-controller-reset-waits-for-commands",
        test_reset_with_commands);
    add("queue/a-controller-reset-ends-the-interrupt",
        test_reset_with_interrupt);
    add("queue/deleting-it-waits-for-commands",
        test_delete_queue_with_commands);
    add("queue/no-opcode-does-harm", test_unknown_opcodes);
    add("queue/no-fields-do-harm", test_random_commands);
    add_in_memory("no-fields-do-harm", test_random_commands);
    for (int i = 0; i < ARRAY_SIZE(overtaking); i++) {
        add_overtaking(i);
    }
    add("shutdown/completes-what-is-queued", test_shutdown_with_queue);
    add("shutdown/abrupt-completes-what-is-queued",
        test_abrupt_shutdown_with_queue);
    add_in_memory("shutdown/completes-what-is-queued",
                  test_shutdown_with_queue);
    add_in_memory("shutdown/abrupt-completes-what-is-queued",
                  test_abrupt_shutdown_with_queue);
    add("queue/commands-wait-while-the-machine-is-stopped", test_stopped);
    add("queue/a-copy-ends-before-the-machine-has-stopped",
        test_stopped_in_copy);
    add_in_memory("a-copy-ends-before-the-machine-has-stopped",
                  test_stopped_in_copy);
    add("queue/long-commands-let-others-run", test_long_commands);
    add("queue/deallocation-of-overlapping-ranges",
        test_overlapping_deallocation);
}
