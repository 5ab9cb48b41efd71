/*
 * Tests of NVMe namespaces on a zoned disk
 *
 * Data pointers, with all guest memory compared
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zns-driver.h"

/* --- Data pointers --- */

/*
 * Where the data of a command goes depends on the length that the command has,
 * not on how much there is to transfer.  What is no part of the buffer is
 * compared after each command anyway; what is in the buffer, here.
 */
unsigned roll(Memory *mem, unsigned end)
{
    return g_rand_int_range(mem->dice, 0, end);
}

Memory *new_memory(const Setup *setup)
{
    Memory *mem = g_new0(Memory, 1);
    uint64_t arena;

    mem->dice = g_rand_new_with_seed(9);
    mem->m = new_machine(setup);
    mem->c = &mem->m->controller[0];
    mem->ram = mem->m->ram;
    arena = guest_alloc(&mem->m->qos->alloc, ARENA_PAGES * PAGE);
    for (unsigned i = 0; i < ARENA_PAGES; i++) {
        mem->pages[i] = arena + i * PAGE;
    }
    return mem;
}

void delete_memory(Memory *mem)
{
    delete_machine(mem->m);
    g_rand_free(mem->dice);
    g_free(mem);
}

uint64_t take_page(Memory *mem)
{
    unsigned other = mem->used + roll(mem, ARENA_PAGES - mem->used);
    uint64_t page = mem->pages[other];

    mem->pages[other] = mem->pages[mem->used];
    mem->pages[mem->used++] = page;
    return page;
}

/* What is in a buffer before */
static void get_pattern(uint64_t addr, uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        data[i] = 0x80 + (addr + i + addr / PAGE) % 101;
    }
}

void add_piece(Memory *mem, uint64_t addr, size_t len)
{
    uint8_t before[PAGE];

    g_assert_cmpint(mem->pieces, <, ARENA_PAGES);
    mem->piece[mem->pieces].addr = addr;
    mem->piece[mem->pieces++].len = len;
    get_pattern(addr, before, len);
    guest_write(mem->ram, addr, before, len);
}

void set_pointer(Command *cmd, uint64_t first, uint64_t second)
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

void set_prps(Memory *mem, Command *cmd, size_t len, unsigned offset)
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

            guest_writeq(mem->ram, list + entry * 8, next);
            list = next;
            entry = 0;
        }
        guest_writeq(mem->ram, list + entry++ * 8, page);
    }
    set_pointer(cmd, first, second);
}

void put_sgl(Memory *mem, uint64_t at, uint64_t addr, uint32_t len,
             unsigned type)
{
    guest_writeq(mem->ram, at, addr);
    guest_writeq(mem->ram, at + 8, len | (uint64_t)type << 60);
}

void set_sgl(Memory *mem, Command *cmd, size_t len)
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
    guest_read(mem->ram, first, &cmd->dw[6], 16);
    for (int i = 6; i < 10; i++) {
        cmd->dw[i] = le32_to_cpu(cmd->dw[i]);
    }
}

void assert_pieces(Memory *mem, const uint8_t *data, size_t len)
{
    for (unsigned i = 0; i < mem->pieces; i++) {
        size_t size = mem->piece[i].len, n = MIN(len, size);
        uint8_t expected[PAGE], found[PAGE];

        get_pattern(mem->piece[i].addr, expected, size);
        memcpy(expected, data, n);
        guest_read(mem->ram, mem->piece[i].addr, found, size);
        g_assert_cmpmem(found, size, expected, size);
        data += n;
        len -= n;
    }
    g_assert_cmpint(len, ==, 0);
    mem->used = 0;
    mem->pieces = 0;
}

void run_exactly(Memory *mem, Queue *q, Command cmd, const uint8_t *data,
                 size_t len)
{
    g_assert_cmphex(check(run(mem->c, q, cmd)), ==, OK);
    assert_pieces(mem, data, len);
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
        guest_read(c->m->ram, c->buffer + 64, r->all + i * r->entry,
                      r->entry);
    }
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
    size_t room = MAX(*len, 64) - 64;
    unsigned complete = MIN(zones, room / r->entry);
    size_t body = in_memory ? complete * r->entry
                            : MIN(room, zones * r->entry);
    uint8_t *data;

    if (!in_memory) {
        *len = MIN(*len, 64 + body);
    }
    data = g_malloc0(MAX(*len, 64));
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

        guest_fill(c->m->ram, c->buffer, zone, size);
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

/* An entry, a dword and a header more or less than there is room for */
static void test_report_lengths(void)
{
    static const unsigned offsets[] = { 0, 4, 4032, 4092 };
    static const int beside[] = { -4, 0, 4 };
    static const unsigned zones[] = { 0, 1, 2, 63, 64 };
    Reports r = { .mem = new_memory(&reported), .entry = 64 };

    get_reports(&r);
    for (int i = 0; i < ARRAY_SIZE(offsets); i++) {
        unsigned at = offsets[i];

        for (size_t len = 4; len < 64; len += 4) {
            report_exactly(&r, 1, len, at, i % 2);
        }
        for (int k = 0; k < ARRAY_SIZE(beside) * ARRAY_SIZE(zones); k++) {
            size_t len = 64 + zones[k / 3] * 64 + beside[k % 3];

            report_exactly(&r, 5, len, at, false);
            report_exactly(&r, REPORTED - 64, len, at, true);
            report_exactly(&r, REPORTED - 1, len, at, false);
        }
    }
    g_free(r.all);
    delete_memory(r.mem);
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
    guest_read(c->m->ram, c->buffer, log, page->size);
    for (unsigned pages = 1; pages <= MOST_PAGES; pages++) {
        unsigned offset = 4 * roll(mem, 1000);
        size_t skip = get != log_command ? 0 :
                      4 * roll(mem, MIN(pages, 3) * page->size / 12);
        size_t len = pages * PAGE - offset;
        Command cmd = get(page, len, skip);

        set_prps(mem, &cmd, len, offset);
        run_exactly(mem, q, cmd, log + skip, MIN(len, page->size - skip));
    }
    for (unsigned i = 0; i < 5; i++) {
        size_t len = ((const size_t[]) { 4, 8, page->size - 4, page->size,
                                         page->size + 4 })[i];

        /* Admin commands have no SGLs */
        for (unsigned sgl = 0; sgl < 1 + (q == &c->io); sgl++) {
            Command cmd = get(page, len, 0);

            if (sgl) {
                set_sgl(mem, &cmd, len);
            } else {
                set_prps(mem, &cmd, len, 4092);
            }
            run_exactly(mem, q, cmd, log, MIN(len, page->size));
        }
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

static void put_block(Controller *c, unsigned i, uint64_t addr, uint32_t len)
{
    guest_writeq(c->m->ram, c->buffer + i * 16, addr);
    guest_writeq(c->m->ram, c->buffer + i * 16 + 8,
                 len | (uint64_t)NVME_SGL_DESCR_TYPE_DATA_BLOCK << 60);
}

/*
 * A piece of data is memory for the half of it: neither is that written, nor what
 * comes behind.
 */
static void test_half_a_piece(void)
{
    Controller *c = get_clean(&standard);
    const uint32_t bytes = 4 * BLOCK;
    Command cmd;

    g_assert_cmphex(write_at(c, 2 * ZONE, 1, 0x11), ==, OK);
    cmd = write_command(c, NVME_CMD_WRITE, 2 * ZONE + 1, 4, 0);
    put_block(c, 0, GUEST_MEMORY_SIZE - 256, 512);
    put_block(c, 1, c->buffer + 4096, bytes - 512);
    cmd.dw[0] |= 1 << 14;
    set_pointer(&cmd, c->buffer, 2 * 16 |
                (uint64_t)NVME_SGL_DESCR_TYPE_LAST_SEGMENT << 60);
    g_assert_cmphex(check(io(c, cmd)), ==, DATA_TRANSFER);
    assert_zone(c, 2, IOPEN, 1);
    assert_blocks(c, 2 * ZONE, 1, 0x11);
    assert_blocks(c, 2 * ZONE + 1, 4, 0);
    g_assert_cmphex(write_at(c, 2 * ZONE + 1, 4, 0x22), ==, OK);
    assert_blocks(c, 2 * ZONE + 1, 4, 0x22);
}

void add_pointers_tests(void)
{
    add("data-pointer/reports", test_reports);
    add("data-pointer/reports-by-sgl", test_reports_by_sgl);
    add("data-pointer/extended-reports", test_extended_reports);
    add("data-pointer/large-extended-reports",
        test_large_extended_reports);
    add("data-pointer/report-lengths", test_report_lengths);
    add_in_memory("data-pointer/report-lengths", test_report_lengths);
    add("data-pointer/report-longest-list", test_report_longest_list);
    add("data-pointer/log-pages", test_log_pages);
    add("data-pointer/data-placement-pages", test_data_placement_pages);
    add("data-pointer/log-page-too-large", test_log_page_too_large);
    add("data-pointer/half-a-piece", test_half_a_piece);
    add_in_memory("data-pointer/reports", test_reports);
    add_in_memory("data-pointer/reports-by-sgl", test_reports_by_sgl);
    add_in_memory("data-pointer/extended-reports", test_extended_reports);
    add_in_memory("data-pointer/large-extended-reports",
                  test_large_extended_reports);
    add_in_memory("data-pointer/log-pages", test_log_pages);
}
