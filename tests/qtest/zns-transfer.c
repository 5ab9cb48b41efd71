/*
 * Tests of NVMe namespaces on a zoned disk
 *
 * Every command that transfers data, with all kinds of data pointers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zns-driver.h"

#define SGL_LENGTH      0x00f
#define SGL_TYPE        0x011

static const Setup plain_zones = { .zones = 16, .memory = "" };

static const unsigned offsets[] = { 0, 4, 8, 512, 2044, 4088, 4092 };

/* Where the buffer begins in its page, or a list of pieces */
#define BY_SGL          UINT32_MAX

static void set_buffer(Memory *mem, Command *cmd, size_t len, unsigned where)
{
    if (where == BY_SGL) {
        set_sgl(mem, cmd, len);
    } else {
        set_prps(mem, cmd, len, where);
    }
}

typedef void Transfer(Memory *mem, unsigned where, unsigned round);

/* With the buffer at each of the offsets, and by SGLs */
static void try_places(const Setup *setup, Transfer *transfer)
{
    Memory *mem = new_memory(setup);

    for (unsigned i = 0; i < 2 * ARRAY_SIZE(offsets); i++) {
        transfer(mem, i % 2 ? BY_SGL : offsets[i / 2], i);
    }
    delete_memory(mem);
}

static void copy_pieces(Memory *mem, uint8_t *data)
{
    for (unsigned i = 0; i < mem->pieces; i++) {
        guest_read(mem->ram, mem->piece[i].addr, data, mem->piece[i].len);
        data += mem->piece[i].len;
    }
}

static void fill_pieces(Memory *mem, const void *opaque)
{
    const uint8_t *data = opaque;

    for (unsigned i = 0; i < mem->pieces; i++) {
        guest_write(mem->ram, mem->piece[i].addr, data, mem->piece[i].len);
        data += mem->piece[i].len;
    }
}

static void drop_buffer(Memory *mem)
{
    mem->used = 0;
    mem->pieces = 0;
}

/* A command whose data the controller reads */
static void send_exactly(Memory *mem, Command cmd)
{
    g_assert_cmphex(check(io(mem->c, cmd)), ==, OK);
    drop_buffer(mem);
}

static void assert_blocks_are(Memory *mem, uint64_t slba, const uint8_t *data,
                              unsigned nlb)
{
    Controller *c = mem->c;
    g_autofree uint8_t *found = g_malloc(nlb * BLOCK);

    g_assert_cmphex(read_from(c, slba, nlb), ==, OK);
    guest_read(mem->ram, c->buffer, found, nlb * BLOCK);
    g_assert_cmpmem(found, nlb * BLOCK, data, nlb * BLOCK);
}

/* Of one page, two, a list, and one that is in two pages somewhere */
static const unsigned sizes[] = { 1, 2, 3, 9, 17 };

static void transfer_read(Memory *mem, unsigned where, unsigned round)
{
    g_autofree uint8_t *data = g_malloc(CAP * BLOCK);

    if (round == 0) {
        for (unsigned i = 0; i < CAP; i++) {
            g_assert_cmphex(write_at(mem->c, i, 1, 1 + i), ==, OK);
        }
    }
    for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
        unsigned nlb = sizes[i], slba = (round + i) % (CAP - nlb);
        Command cmd = command(NVME_CMD_READ, slba, nlb - 1, 0);

        for (unsigned k = 0; k < nlb; k++) {
            memset(data + k * BLOCK, 1 + slba + k, BLOCK);
        }
        set_buffer(mem, &cmd, nlb * BLOCK, where);
        run_exactly(mem, &mem->c->io, cmd, data, nlb * BLOCK);
    }
}

static void test_read(void)
{
    try_places(&plain_zones, transfer_read);
}

/* Write and append by turns, compare, and read again. */
static void transfer_write(Memory *mem, unsigned where, unsigned round)
{
    uint64_t zslba = round % 14 * ZONE, slba = zslba;

    for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
        bool append = i % 2 && sizes[i] <= APPEND_MAX;
        unsigned nlb = MIN(sizes[i], CAP - (slba - zslba)), bytes = nlb * BLOCK;
        Command cmd = append ? command(NVME_CMD_ZONE_APPEND, zslba, nlb - 1, 0)
                             : command(NVME_CMD_WRITE, slba, nlb - 1, 0);
        g_autofree uint8_t *data = g_malloc(bytes);

        set_buffer(mem, &cmd, bytes, where);
        copy_pieces(mem, data);
        send_exactly(mem, cmd);
        assert_blocks_are(mem, slba, data, nlb);

        cmd = command(NVME_CMD_COMPARE, slba, nlb - 1, 0);
        set_buffer(mem, &cmd, bytes, where);
        g_assert_cmphex(io(mem->c, cmd).status, ==, MISCOMPARE);
        fill_pieces(mem, data);
        send_exactly(mem, cmd);
        slba += nlb;
    }
    assert_zone(mem->c, round % 14, IOPEN, slba - zslba);
}

static void test_write(void)
{
    try_places(&plain_zones, transfer_write);
}

static void transfer_identify(Memory *mem, unsigned where, unsigned round)
{
    static const struct {
        uint8_t cns, csi;
        uint32_t nsid;
    } pages[] = {
        { 0x00, 0, NSID }, { 0x01, 0, 0 }, { 0x02, 0, 0 }, { 0x03, 0, NSID },
        { 0x05, 0, NSID }, { 0x05, NVME_CSI_ZONED, NSID }, { 0x06, 0, 0 },
        { 0x06, NVME_CSI_ZONED, 0 }, { 0x07, NVME_CSI_ZONED, 0 },
        { 0x08, 0, NSID }, { 0x10, 0, 0 }, { 0x11, 0, NSID },
        { 0x12, 0, NSID }, { 0x13, 0, 0 }, { 0x14, 0, 0 },
        { 0x1a, NVME_CSI_ZONED, 0 }, { 0x1b, NVME_CSI_ZONED, NSID },
        { 0x1c, 0, 0 },
    };
    uint8_t data[PAGE];

    for (int i = 0; i < ARRAY_SIZE(pages); i++) {
        Command cmd = { .dw = { NVME_ADM_CMD_IDENTIFY, pages[i].nsid } };

        cmd.dw[10] = pages[i].cns;
        cmd.dw[11] = (uint32_t)pages[i].csi << 24;
        if (admin(mem->c, with_data(mem->c, cmd, 0, PAGE)).status != OK) {
            continue;
        }
        guest_read(mem->ram, mem->c->buffer, data, PAGE);
        set_prps(mem, &cmd, PAGE, where == BY_SGL ? 4 * roll(mem, PAGE / 4)
                                                  : where);
        run_exactly(mem, &mem->c->admin, cmd, data, PAGE);
    }
}

static void test_identify(void)
{
    try_places(&plain_zones, transfer_identify);
}

/* Timestamp and Host Behavior Support; what has no data transfers none. */
static void transfer_features(Memory *mem, unsigned where, unsigned round)
{
    for (unsigned fid = 1; fid < 256; fid++) {
        Command cmd = { .dw = { NVME_ADM_CMD_GET_FEATURES, NSID } };
        unsigned len = fid == NVME_TIMESTAMP ? 8
                       : fid == NVME_HOST_BEHAVIOR_SUPPORT ? 512 : 0;

        cmd.dw[10] = fid;
        set_prps(mem, &cmd, len ?: PAGE, where == BY_SGL ? 36 : where);
        if (admin(mem->c, cmd).status == OK && !len) {
            assert_pieces(mem, NULL, 0);
        }
        drop_buffer(mem);
    }
}

static void test_features(void)
{
    try_places(&plain_zones, transfer_features);
}

static void transfer_extension(Memory *mem, unsigned where, unsigned round)
{
    uint8_t data[EXTENSION], found[EXTENSION];
    Command cmd = command(NVME_CMD_ZONE_MGMT_SEND, 0, 0,
                          NVME_ZONE_ACTION_SET_ZD_EXT);

    g_assert_cmphex(manage(mem->c, NVME_ZONE_ACTION_RESET, 0), ==, OK);
    set_buffer(mem, &cmd, EXTENSION, where);
    copy_pieces(mem, data);
    send_exactly(mem, cmd);
    g_assert_cmphex(receive(mem->c, 0, 64 + 64 + EXTENSION, RECEIVE_EXTENDED),
                    ==, OK);
    guest_read(mem->ram, mem->c->buffer + 128, found, EXTENSION);
    g_assert_cmpmem(found, EXTENSION, data, EXTENSION);
}

static void test_extension(void)
{
    try_places(&features, transfer_extension);
}

#define COPIES  20

/* Lists of ranges, of which one is in two pages */
static void transfer_ranges(Memory *mem, unsigned where, unsigned round)
{
    NvmeCopySourceRangeFormat0_2 sources[COPIES] = {};
    NvmeDsmRange ranges[COPIES] = {};
    uint64_t to = (1 + round % 14) * ZONE;
    Command cmd = command(NVME_CMD_COPY, to, COPIES - 1, 0);
    g_autofree uint8_t *data = g_malloc(COPIES * BLOCK);

    if (round == 0) {
        for (unsigned i = 0; i < COPIES; i++) {
            g_assert_cmphex(write_at(mem->c, i, 1, 0x40 + i), ==, OK);
        }
    }
    for (unsigned i = 0; i < COPIES; i++) {
        unsigned from = (i * 7 + round) % COPIES;

        sources[i].slba = cpu_to_le64(from);
        memset(data + i * BLOCK, 0x40 + from, BLOCK);
        ranges[i].slba = cpu_to_le64(to + i);
        ranges[i].nlb = cpu_to_le32(1);
    }
    set_buffer(mem, &cmd, sizeof(sources), where);
    fill_pieces(mem, sources);
    send_exactly(mem, cmd);
    assert_blocks_are(mem, to, data, COPIES);

    cmd = command(NVME_CMD_DSM, (COPIES - 1) |
                  (uint64_t)NVME_DSMGMT_AD << 32, 0, 0);
    set_buffer(mem, &cmd, sizeof(ranges), where);
    fill_pieces(mem, ranges);
    send_exactly(mem, cmd);
    assert_zone(mem->c, 1 + round % 14, IOPEN, COPIES);
}

static void test_ranges(void)
{
    try_places(&plain_zones, transfer_ranges);
}

/* --- Lists that are wrong --- */

/* The commands that are tried, with 3 blocks or as many bytes */
static const struct {
    uint8_t opcode;
    bool is_admin;
} kinds[] = {
    { NVME_CMD_READ },
    { NVME_CMD_WRITE },
    { NVME_CMD_ZONE_APPEND },
    { NVME_CMD_COMPARE },
    { NVME_CMD_ZONE_MGMT_RECV },
    { NVME_ADM_CMD_GET_LOG_PAGE, true },
};

#define KIND_BYTES      (3 * BLOCK)

static Command command_of_kind(unsigned i)
{
    Command cmd = command(kinds[i].opcode, 0, 2, 0);

    if (kinds[i].opcode == NVME_CMD_ZONE_MGMT_RECV) {
        cmd.dw[12] = KIND_BYTES / 4 - 1;
    } else if (kinds[i].is_admin) {
        cmd.dw[1] = UINT32_MAX;
        cmd.dw[10] = NVME_LOG_SMART_INFO | (KIND_BYTES / 4 - 1) << 16;
        cmd.dw[12] = 0;
    }
    return cmd;
}

/*
 * Nothing is transferred, which the guard sees, and no zone has changed.  Admin
 * commands have no SGLs.
 */
static void assert_refused(Memory *mem, unsigned kind, Command cmd,
                           uint16_t status)
{
    Controller *c = mem->c;
    Queue *q = kinds[kind].is_admin ? &c->admin : &c->io;

    g_assert_cmphex(check(run(c, q, cmd)), ==,
                    q == &c->admin && (cmd.dw[0] & 1 << 14) ? INVALID_FIELD
                                                            : status);
    drop_buffer(mem);
    assert_zone(c, 0, EMPTY, 0);
}

/* A list of three pages, of which one entry is wrong */
static void set_bad_list(Memory *mem, Command *cmd, int bad, uint64_t by,
                         unsigned first_entry)
{
    uint64_t first = take_page(mem), list = take_page(mem);
    uint64_t entry = list + 8 * first_entry;

    set_pointer(cmd, first + 4, entry + (bad == -1 ? by : 0));
    for (int i = 0; i < 3; i++) {
        if (entry % PAGE == PAGE - 8 && i < 2) {
            uint64_t next = take_page(mem);

            guest_writeq(mem->ram, entry, next + (bad == 3 ? by : 0));
            entry = next;
        }
        guest_writeq(mem->ram, entry, take_page(mem) + (bad == i ? by : 0));
        entry += 8;
    }
}

static void test_bad_entries(void)
{
    Memory *mem = new_memory(&plain_zones);

    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
        for (int bad = 0; bad < 4; bad++) {
            for (uint64_t by = 4; by < PAGE; by *= 2) {
                Command cmd = command_of_kind(k);

                set_bad_list(mem, &cmd, bad, by, PRPS - 2);
                assert_refused(mem, k, cmd, PRP_OFFSET);
            }
        }
    }
    delete_memory(mem);
}

/* The list itself has to begin at an entry, also at the end of its page. */
static void test_bad_list_pointer(void)
{
    Memory *mem = new_memory(&plain_zones);

    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
        for (unsigned entry = 0; entry < PRPS; entry += PRPS - 1) {
            for (unsigned by = 1; by < 8; by++) {
                Command cmd = command_of_kind(k);

                set_bad_list(mem, &cmd, -1, by, entry);
                assert_refused(mem, k, cmd, PRP_OFFSET);
            }
        }
    }
    delete_memory(mem);
}

/* The second of two pages has no offset. */
static void test_bad_second_page(void)
{
    Memory *mem = new_memory(&plain_zones);

    for (uint64_t by = 4; by < PAGE; by *= 2) {
        Command cmd = command(NVME_CMD_READ, 0, 1, 0);

        set_pointer(&cmd, take_page(mem), take_page(mem) + by);
        assert_refused(mem, 0, cmd, PRP_OFFSET);
        cmd.dw[0] = NVME_CMD_WRITE;
        assert_refused(mem, 1, cmd, PRP_OFFSET);
    }
    delete_memory(mem);
}

static void set_segment(Memory *mem, Command *cmd, uint64_t at, unsigned n)
{
    cmd->dw[0] |= 1 << 14;
    set_pointer(cmd, at, n * 16 |
                (uint64_t)NVME_SGL_DESCR_TYPE_LAST_SEGMENT << 60);
}

static void put_data(Memory *mem, uint64_t segment, unsigned i, uint32_t len)
{
    put_sgl(mem, segment + 16 * i, take_page(mem), len,
            NVME_SGL_DESCR_TYPE_DATA_BLOCK);
}

/* An SGL of less than there is to transfer, by a byte or by a descriptor */
static void test_short_sgl(void)
{
    Memory *mem = new_memory(&plain_zones);

    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
        static const unsigned less[] = { 1, 4, 512, BLOCK - 1, BLOCK };

        for (int i = 0; i < ARRAY_SIZE(less); i++) {
            Command cmd = command_of_kind(k);
            uint64_t segment = take_page(mem);

            put_data(mem, segment, 0, BLOCK);
            put_data(mem, segment, 1, BLOCK);
            put_data(mem, segment, 2, BLOCK - less[i]);
            set_segment(mem, &cmd, segment, 3);
            assert_refused(mem, k, cmd, SGL_LENGTH);
        }
    }
    delete_memory(mem);
}

/* An SGL of more: one descriptor too many, which SGLS says is not supported */
static void test_long_sgl(void)
{
    Memory *mem = new_memory(&plain_zones);

    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
        Command cmd = command_of_kind(k);
        uint64_t segment = take_page(mem);

        for (unsigned i = 0; i < 4; i++) {
            put_data(mem, segment, i, BLOCK);
        }
        set_segment(mem, &cmd, segment, 4);
        assert_refused(mem, k, cmd, SGL_LENGTH);
    }
    delete_memory(mem);
}

/* A last descriptor that is too long: its end stays as it was, at any rate. */
static void test_long_descriptor(void)
{
    Memory *mem = new_memory(&plain_zones);
    uint8_t data[2 * BLOCK];

    g_assert_cmphex(write_at(mem->c, 0, 2, 0x31), ==, OK);
    memset(data, 0x31, sizeof(data));
    for (unsigned more = 4; more < BLOCK; more *= 2) {
        Command cmd = command(NVME_CMD_READ, 0, 1, 0);
        uint64_t segment = take_page(mem);
        uint64_t addr[] = { take_page(mem), take_page(mem), take_page(mem) };
        Result r;

        for (int i = 0; i < 3; i++) {
            uint32_t len = i == 2 ? BLOCK / 2 + more / 2 : 3 * BLOCK / 4;

            put_sgl(mem, segment + 16 * i, addr[i], len,
                    NVME_SGL_DESCR_TYPE_DATA_BLOCK);
            add_piece(mem, addr[i], len);
        }
        set_segment(mem, &cmd, segment, 3);
        r = io(mem->c, cmd);
        if (r.status != SGL_LENGTH) {
            g_assert_cmphex(r.status, ==, OK);
            assert_pieces(mem, data, sizeof(data));
        } else {
            assert_pieces(mem, NULL, 0);
        }
    }
    delete_memory(mem);
}

/* Bit buckets, which SGLS does not have, and types that there are not */
static void test_other_descriptors(void)
{
    Memory *mem = new_memory(&plain_zones);

    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
        for (unsigned type = 1; type < 16; type++) {
            Command cmd = command_of_kind(k);
            uint64_t segment = take_page(mem);

            if (type == NVME_SGL_DESCR_TYPE_SEGMENT ||
                type == NVME_SGL_DESCR_TYPE_LAST_SEGMENT) {
                continue;
            }
            put_data(mem, segment, 0, BLOCK);
            put_sgl(mem, segment + 16, take_page(mem), BLOCK, type);
            put_data(mem, segment, 2, BLOCK);
            set_segment(mem, &cmd, segment, 3);
            assert_refused(mem, k, cmd, SGL_TYPE);
        }
    }
    delete_memory(mem);
}

/* Descriptors of nothing are no part of the data, wherever they point to. */
static void test_empty_descriptors(void)
{
    Memory *mem = new_memory(&plain_zones);
    uint8_t data[2 * BLOCK];

    g_assert_cmphex(write_at(mem->c, 0, 2, 0x31), ==, OK);
    memset(data, 0x31, sizeof(data));
    for (unsigned empty = 0; empty < 5; empty++) {
        Command cmd = command(NVME_CMD_READ, 0, 1, 0);
        uint64_t segment = take_page(mem);

        for (unsigned i = 0; i < 5; i++) {
            uint64_t addr = take_page(mem);
            uint32_t len = i == empty ? 0 : BLOCK / 2;

            put_sgl(mem, segment + 16 * i, addr, len,
                    NVME_SGL_DESCR_TYPE_DATA_BLOCK);
            if (len) {
                add_piece(mem, addr, len);
            }
        }
        set_segment(mem, &cmd, segment, 5);
        run_exactly(mem, &mem->c->io, cmd, data, sizeof(data));
    }
    delete_memory(mem);
}

static void add_both(const char *name, void (*test)(void))
{
    add(name, test);
    add_in_memory(name, test);
}

void add_transfer_tests(void)
{
    add_both("transfer/read", test_read);
    add_both("transfer/write-append-and-compare", test_write);
    add_both("transfer/identify", test_identify);
    add_both("transfer/features", test_features);
    add_both("transfer/extension", test_extension);
    add_both("transfer/ranges", test_ranges);
    add_both("transfer/list-entries-with-an-offset", test_bad_entries);
    add_both("transfer/list-that-begins-beside-an-entry",
             test_bad_list_pointer);
    add_both("transfer/second-page-with-an-offset", test_bad_second_page);
    add_both("transfer/sgl-of-less", test_short_sgl);
    add_both("transfer/sgl-of-more", test_long_sgl);
    add_both("transfer/last-descriptor-of-more", test_long_descriptor);
    add_both("transfer/other-descriptors", test_other_descriptors);
    add_both("transfer/empty-descriptors", test_empty_descriptors);
}
