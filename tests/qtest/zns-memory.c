/*
 * Tests of NVMe namespaces on a zoned disk
 *
 * QEMU's own zones in memory
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zns-driver.h"

/* --- QEMU's own zones in memory --- */

const Setup throttled = {
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

/* A write that ends after a reset does not move the write pointer */
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

/* A shutdown waits for the write */
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

/* A write without data moves no write pointer */
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

static const Setup protected = { .zones = 16, .memory = ",ms=8,pi=1" };

#define CHECK_GUARD     (1u << 28)      /* in dword 12 */
#define PROTECT         (1u << 29)

/* Nor does one with a bad guard */
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

/* It fails as a write */
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

/* The write pointer works after a copy that failed */
static void test_copy_error(void)
{
    Controller *c = get_clean(&copy_error);

    g_assert_cmphex(write_at(c, 0, 2, 0x21), ==, OK);
    g_assert_cmphex(copy(c, ZONE, 0, 2), ==, WRITE_FAULT);
    assert_goes_on(c, 1);
}

/* What has to be durable fails, and only that */
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

/* --- What QEMU's own zones in memory have to do, too --- */

static void test_compare_one_zone(void)
{
    Controller *c = get_clean(&standard);

    g_assert_cmphex(do_compare_across(c, 0, 0), ==, BOUNDARY);
    g_assert_cmphex(do_verify_across(c, 0, 0), ==, BOUNDARY);
    g_assert_cmphex(do_verify(c, 0, 0), ==, OK);
}

/* A bad guard is noticed in block 0, too */
static void test_first_guard(void)
{
    Controller *c = get_clean(&protected);
    Command cmd = write_command(c, NVME_CMD_WRITE, 0, 1, CHECK_GUARD);

    fill(c, 0, 2, 0x77);
    cmd.dw[4] = c->buffer + BLOCK;
    g_assert_cmphex(io(c, cmd).status, ==, BAD_GUARD);
    assert_zone(c, 0, EMPTY, 0);
}

/* The limit counts metadata */
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

/* Number of areas less one; the capacity is not the size */
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

/* A shutdown loses nothing that was flushed */
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

void add_memory_tests(void)
{
    add_in_memory("compare-and-verify-one-zone", test_compare_one_zone);
    add_in_memory("guard-of-first-block", test_first_guard);
    add_in_memory("append-limit-with-metadata", test_append_with_metadata);
    add_in_memory("identify-capacity-and-areas", test_identify_memory);
    add_in_memory("shutdown-keeps-random-write-areas",
                  test_memory_zrwa_shutdown);
    add_in_memory("a-bad-data-pointer-changes-no-zone", test_bad_pointers);
    add_in_memory("bad-protection-information-changes-no-zone",
                  test_bad_protection);
    add_in_memory("a-write-while-a-reset-is-in-progress-is-before-or-after-it",
                  test_write_in_reset);
    add_in_memory("an-abrupt-shutdown-leaves-write-pointers-that-work",
                  test_shutdown_with_write);
    add_in_memory("a-copy-to-a-full-zone-says-so", test_copy_to_full_zone);
    add_in_memory("a-failed-copy-leaves-a-write-pointer-that-works",
                  test_copy_error);
    add_in_memory("what-has-to-be-durable-is-flushed", test_memory_fua);
}
