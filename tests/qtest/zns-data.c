/*
 * Tests of NVMe namespaces on a zoned disk
 *
 * Reads, writes and copies, and errors of the host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zns-driver.h"

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
        guest_fill(c->m->ram, c->buffer + 0x404 + i, i / 16, 1);
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
    guest_fill(c->m->ram, c->buffer + 2 * BLOCK - 1, 0x76, 1);
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

Result set_feature(Controller *c, uint8_t fid, uint32_t nsid,
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
    guest_write(c->m->ram, c->buffer, &support, sizeof(support));
    g_assert_cmphex(admin(c, with_data(c, cmd, 0, sizeof(support))).status, ==,
                    OK);
}

/* Each range is read from its own namespace */
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
    /* The write pointer works after a copy that failed */
    g_assert_cmphex(copy(c, ZONE, 0, 4), ==, WRITE_FAULT);
    assert_zone(c, 1, EMPTY, 0);
    g_assert_cmphex(append(c, ZONE, 4, 0x23, &slba), ==, OK);
    assert_zone(c, 1, IOPEN, 4);
}

/* What has to be durable fails, and only that */
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

void add_data_tests(void)
{
    add("data/what-was-written-is-read-also-by-the-next-QEMU", test_data);
    add("data/its-pointer-may-begin-within-a-page", test_data_misaligned);
    add("data/a-transfer-has-a-limit", test_largest_transfer);
    add("data/it-cannot-be-beyond-the-namespace", test_beyond_namespace);
    add("data/it-can-be-compared", test_compare);
    add("data/reads-can-be-allowed-to-cross-zones", test_cross_read);
    add("data/unwritten-blocks-can-be-errors", test_unwritten_blocks);
    add("copy/it-gathers-ranges", test_copy_ranges);
    add("copy/one-bad-range-and-nothing-is-done", test_copy_one_bad_range);
    add("copy/it-has-limits", test_copy_limits);
    add("copy/it-can-be-from-and-to-other-namespaces",
        test_copy_between_namespaces);
    add("medium/a-failed-write-leaves-a-write-pointer-that-works",
        test_write_errors);
    add("medium/a-failed-read-fails-the-command", test_read_errors);
    add("medium/a-failed-flush-fails-what-has-to-be-durable",
        test_flush_errors);
    add("medium/a-read-only-disk-is-write-protected", test_read_only);
    add("medium/error-of-plain-copy-source", test_plain_source_error);
    add("medium/error-of-extension", test_extension_error);
}
