/*
 * Tests of SCSI disks with zones: what the disk says of itself
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "scsi-zbc-driver.h"

static uint32_t inquiry(Disk *d, bool vpd, uint8_t page, uint8_t *data,
                        uint16_t length)
{
    Command c = { .cdb = { INQUIRY, vpd, page, length >> 8, length } };

    memset(data, 0, length);
    c.in_len = length;
    c.in = data;
    return submit(d, &c);
}

static void get_page(Disk *d, uint8_t page, uint8_t *data)
{
    assert_ok(inquiry(d, true, page, data, 255));
    g_assert_cmphex(data[0], ==, 0x14);
    g_assert_cmphex(data[1], ==, page);
}

static void test_inquiry(void)
{
    static const uint16_t lengths[] = { 36, 96, 255 };
    static const uint16_t versions[] = { 0x00a0, 0x05c0, 0x0600, 0x0620 };
    Disk *d = get_disk(&standard);
    uint8_t data[256];

    for (int i = 0; i < ARRAY_SIZE(lengths); i++) {
        assert_ok(inquiry(d, false, 0, data, lengths[i]));
        g_assert_cmphex(data[0], ==, 0x14);
        g_assert_cmphex(data[1], ==, 0);
        g_assert_cmphex(data[2], >=, 5);
        /* It does not depend on the allocation length */
        g_assert_cmphex(data[4], ==, 96 - 5);
        for (int k = 0; lengths[i] >= 96 && k < ARRAY_SIZE(versions); k++) {
            g_assert_cmphex(lduw_be_p(data + 58 + 2 * k), ==, versions[k]);
        }
    }
}

static void test_plain_disk(void)
{
    static const Setup setup = { .plain = true };
    Disk *d = new_disk(&setup);
    uint8_t data[256];

    assert_ok(inquiry(d, false, 0, data, 96));
    g_assert_cmphex(data[0], ==, 0);
    g_assert_cmphex(lduw_be_p(data + 58), ==, 0);
    assert_ok(inquiry(d, true, 0, data, 255));
    g_assert_cmphex(data[1], ==, 0);
    assert_sense(inquiry(d, true, 0xb6, data, 255), BAD_FIELD);
    assert_ok(inquiry(d, true, 0xb2, data, 255));
    assert_sense(zbc_out(d, RESET_ZONE, 0, 0, 1), BAD_OPCODE);
    assert_ok(write_at(d, 5 * MiB, 12 * KiB, NEW));
    assert_data(d, 5 * MiB, 12 * KiB, NEW);
    delete_disk(d);
}

/* Zones that need no order are not shown. */
static void test_host_aware_disk(void)
{
    static const Setup setup = { .plain = true, .host_aware = true };
    Disk *d = new_disk(&setup);
    uint8_t data[256];

    assert_ok(inquiry(d, false, 0, data, 96));
    g_assert_cmphex(data[0], ==, 0);
    assert_ok(inquiry(d, true, 0xb1, data, 255));
    g_assert_cmphex(data[1], ==, 0xb1);
    g_assert_cmphex(data[8] & 0x30, ==, 0);
    assert_sense(inquiry(d, true, 0xb6, data, 255), BAD_FIELD);
    assert_sense(zbc_out(d, RESET_ZONE, 0, 0, 1), BAD_OPCODE);
    assert_ok(write_at(d, SEQ + 12 * KiB, 4 * KiB, NEW));
    assert_ok(write_at(d, SEQ + ZONE - 4 * KiB, 8 * KiB, NEW));
    assert_data(d, SEQ + 12 * KiB, 4 * KiB, NEW);
    assert_data(d, SEQ + ZONE - 4 * KiB, 8 * KiB, NEW);
    assert_data(d, SEQ, 12 * KiB, 0);
    delete_disk(d);
}

static void test_pages(void)
{
    static const Setup with_serial = { .device = ",serial=zoned" };
    static const uint8_t pages[] = { 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb6 };
    Disk *d = new_disk(&with_serial);
    uint8_t data[255];

    get_page(d, 0, data);
    g_assert_cmpint(lduw_be_p(data + 2), ==, sizeof(pages));
    g_assert_cmpmem(data + 4, sizeof(pages), pages, sizeof(pages));
    for (int i = 0; i < sizeof(pages); i++) {
        get_page(d, pages[i], data);
    }
    assert_sense(inquiry(d, true, 0xb2, data, 255), BAD_FIELD);
    assert_sense(inquiry(d, true, 0xb7, data, 255), BAD_FIELD);
    delete_disk(d);
}

static void test_block_limits(void)
{
    static const Setup setup = {
        .block = 512, .physical = 4096, .device = ",max_io_size=1000000",
    };
    Disk *d = new_disk(&setup);
    uint8_t data[255];

    get_page(d, 0xb0, data);
    g_assert_cmpint(lduw_be_p(data + 2), ==, 0x3c);
    g_assert_cmphex(data[4] & 1, ==, 1);        /* WSNZ */
    /* Whole physical blocks */
    g_assert_cmpint(get_be32(data + 8), ==, 1000000 / 4096 * 8);
    g_assert_cmpint(get_be32(data + 20), ==, 0);
    g_assert_cmpint(get_be32(data + 24), ==, 0);
    g_assert_cmpint(get_be32(data + 28), ==, 0);
    g_assert_cmpint(ldq_be_p(data + 36), ==, 1000000 / 4096 * 8);

    /* What is longer is refused as a whole */
    assert_sense(write_at(d, SEQ, 1000000 / 4096 * 4096 + 4096, NEW),
                 BAD_FIELD);
    assert_zones(d, "");
    assert_sense(read_at(d, SEQ, 1000000 / 4096 * 4096 + 4096, NULL),
                 BAD_FIELD);
    assert_ok(write_at(d, SEQ, 1000000 / 4096 * 4096, NEW));
    assert_zones(d, "2:iopen@976K");
    delete_disk(d);
}

static void test_not_host_aware(void)
{
    Disk *d = get_disk(&standard);
    uint8_t data[255];

    get_page(d, 0xb1, data);
    g_assert_cmpint(lduw_be_p(data + 2), ==, 0x3c);
    g_assert_cmphex(data[8] & 0x30, ==, 0);
}

static void assert_rotation_rate(const Setup *setup, unsigned rate)
{
    Disk *d = new_disk(setup);
    uint8_t data[255];

    assert_ok(inquiry(d, true, 0xb1, data, sizeof(data)));
    g_assert_cmpint(lduw_be_p(data + 4), ==, rate);
    delete_disk(d);
}

/* "Not reported" would be a rotating medium for Linux. */
static void test_rotation_rate(void)
{
    static const Setup rotating = { .device = ",rotation_rate=7200" };
    static const Setup plain = { .plain = true };

    assert_rotation_rate(&standard, 1);
    assert_rotation_rate(&rotating, 7200);
    assert_rotation_rate(&plain, 0);
}

static void check_characteristics(const Setup *setup, uint32_t max_open)
{
    Disk *d = new_disk(setup);
    uint8_t data[255];

    get_page(d, 0xb6, data);
    g_assert_cmpint(lduw_be_p(data + 2), ==, 0x3c);
    g_assert_cmphex(data[4], ==, 1);            /* URSWRZ */
    g_assert_true(buffer_is_zero(data + 5, 3));
    g_assert_cmphex(get_be32(data + 8), ==, UINT32_MAX);
    g_assert_cmphex(get_be32(data + 12), ==, UINT32_MAX);
    g_assert_cmphex(get_be32(data + 16), ==, max_open);
    g_assert_true(buffer_is_zero(data + 20, 64 - 20));
    delete_disk(d);
}

static void test_characteristics(void)
{
    static const Setup no_limit = { .image = ",zone.max_open_zones=0" };

    check_characteristics(&standard, MAX_OPEN);
    check_characteristics(&no_limit, UINT32_MAX);
}

static void read_capacity(Disk *d, uint8_t *data)
{
    Command c = raw16(0x9e, 0x10, 0, 32, 0);

    c.in_len = 32;
    c.in = data;
    assert_ok(submit(d, &c));
}

static void test_capacity(const void *opaque)
{
    Disk *d = get_disk(opaque);
    unsigned physical = d->setup->physical ?: d->block;
    uint8_t data[32];
    Command c = { .cdb = { READ_CAPACITY_10 }, .in_len = 8, .in = data };

    read_capacity(d, data);
    g_assert_cmpint(ldq_be_p(data), ==, DISK / d->block - 1);
    g_assert_cmpint(get_be32(data + 8), ==, d->block);
    g_assert_cmphex(data[12], ==, 0x10);        /* RC BASIS, no protection */
    g_assert_cmpint(1 << (data[13] & 0xf), ==, physical / d->block);
    g_assert_cmphex(data[14] & 0xc0, ==, 0);    /* LBPME, LBPRZ */
    assert_ok(submit(d, &c));
    g_assert_cmpint(get_be32(data), ==, DISK / d->block - 1);
    g_assert_cmpint(get_be32(data + 4), ==, d->block);
}

static uint32_t mode_sense(Disk *d, uint8_t opcode, uint8_t page,
                           uint8_t *data)
{
    Command c = { .cdb = { opcode, 8, page }, .in_len = 128, .in = data };

    c.cdb[opcode == MODE_SENSE ? 4 : 8] = 128;
    memset(data, 0, 128);
    return submit(d, &c);
}

static void check_mode(Disk *d, uint8_t specific)
{
    uint8_t data[128];

    assert_ok(mode_sense(d, MODE_SENSE, 8, data));
    g_assert_cmphex(data[2], ==, specific);
    g_assert_cmphex(data[4], ==, 8);
    g_assert_cmphex(data[6], ==, 4);            /* WCE */
    assert_ok(mode_sense(d, MODE_SENSE_10, 8, data));
    g_assert_cmphex(data[3], ==, specific);
    g_assert_cmphex(data[8], ==, 8);
    assert_ok(mode_sense(d, MODE_SENSE, 1, data));
    g_assert_cmphex(data[4], ==, 1);
    /* No geometry of cylinders and heads, no URSWRZ that can be changed */
    assert_sense(mode_sense(d, MODE_SENSE, 4, data), BAD_FIELD);
    assert_sense(mode_sense(d, MODE_SENSE, 5, data), BAD_FIELD);
    assert_sense(mode_sense(d, MODE_SENSE, 0xa, data), BAD_FIELD);
    assert_ok(mode_sense(d, MODE_SENSE, 0x3f, data));
    g_assert_cmphex(data[2], ==, specific);
}

static void test_mode_sense(void)
{
    /* What is the default depends on the version of the machine. */
    static const Setup no_fua = { .device = ",dpofua=off" };
    static const Setup fua = { .device = ",dpofua=on" };
    static const Setup protected = {
        .blockdev = ",read-only=on", .device = ",dpofua=off",
    };
    const struct {
        const Setup *setup;
        uint8_t specific;
    } disks[] = { { &no_fua, 0 }, { &fua, 0x10 }, { &protected, 0x80 } };

    for (int i = 0; i < ARRAY_SIZE(disks); i++) {
        Disk *d = new_disk(disks[i].setup);

        check_mode(d, disks[i].specific);
        delete_disk(d);
    }
}

/* With a block descriptor, and maybe a caching page that has this WCE */
static uint32_t mode_select(Disk *d, uint32_t blocks, uint32_t block, int wce)
{
    uint8_t parameters[4 + 8 + 20] = {
        [3] = 8, [12] = 8, 18, wce > 0 ? 4 : 0,
    };
    size_t length = wce < 0 ? 4 + 8 : sizeof(parameters);
    Command c = {
        .cdb = { MODE_SELECT, 0x10, 0, 0, length },
        .out_len = length, .out = parameters,
    };

    stl_be_p(parameters + 4, blocks);
    stl_be_p(parameters + 8, block);
    return submit(d, &c);
}

/*
 * Neither the size of blocks, of which a zone has to have a whole number, nor
 * the number of blocks can be changed.
 */
static void test_mode_select(void)
{
    const uint32_t blocks = DISK / SECTOR;
    Disk *d = get_disk(&standard);

    assert_sense(mode_select(d, 0, 4096, -1), BAD_PARAMETER);
    assert_sense(mode_select(d, 0, 256, -1), BAD_PARAMETER);
    assert_sense(mode_select(d, 0, 0x10200, -1), BAD_PARAMETER);
    assert_sense(mode_select(d, blocks - 1, SECTOR, -1), BAD_PARAMETER);
    assert_sense(mode_select(d, blocks + 1, 0, -1), BAD_PARAMETER);
    assert_sense(mode_select(d, 1, SECTOR, -1), BAD_PARAMETER);
    g_assert_cmpint(get_size(d), ==, DISK);
    assert_ok(mode_select(d, 0, SECTOR, -1));
    assert_ok(mode_select(d, blocks, SECTOR, -1));
    assert_ok(mode_select(d, UINT32_MAX, 0, -1));
    g_assert_cmpint(get_size(d), ==, DISK);
    assert_zones(d, "");
}

/* The guest can do without a cache, and what it writes is durable then. */
static void test_mode_select_of_cache(void)
{
    Disk *d = new_disk(&standard), *copy;
    uint8_t data[128];

    /* A bad descriptor changes nothing */
    assert_sense(mode_select(d, 0, 4096, 0), BAD_PARAMETER);
    assert_ok(mode_sense(d, MODE_SENSE, 8, data));
    g_assert_cmphex(data[6], ==, 4);
    assert_ok(write_at(d, SEQ, 4 * KiB, OLD));
    assert_ok(mode_select(d, 0, 0, 0));
    assert_ok(mode_sense(d, MODE_SENSE, 8, data));
    g_assert_cmphex(data[6], ==, 0);
    assert_ok(write_at(d, 3 * ZONE, 8 * KiB, NEW));
    copy = disk_after_crash(d);
    assert_zones(copy, "2:closed@4K 3:closed@8K");
    assert_data(copy, SEQ, 4 * KiB, OLD);
    assert_data(copy, 3 * ZONE, 8 * KiB, NEW);
    delete_disk(copy);
    delete_disk(d);
}

/* Commands that other disks have, or zoned disks of ZBC-2 and SBC-4 may have */
static void test_unsupported(void)
{
    static const uint8_t opcodes[] = { 0x48, 0x7f, 0x8b, 0x96, 0x9c };
    static const uint8_t param[24] = { 0, 22, 0, 16, [13] = 0x40, [19] = 8 };
    Disk *d = get_disk(&standard);
    Command unmap = {
        .cdb = { UNMAP, [8] = sizeof(param) },
        .out_len = sizeof(param), .out = param,
    };
    Command compare = { .cdb = { COMPARE_AND_WRITE, [13] = 1 } };

    assert_ok(write_at(d, SEQ, 4 * KiB, OLD));
    assert_sense(submit(d, &unmap), BAD_OPCODE);
    compare.in_len = 1024;
    assert_sense(submit(d, &compare), BAD_OPCODE);
    for (int i = 0; i < ARRAY_SIZE(opcodes); i++) {
        Command c = { .cdb = { opcodes[i] } };

        assert_sense(submit(d, &c), BAD_OPCODE);
    }
    assert_zones(d, "2:iopen@4K");
    assert_data(d, SEQ, 4 * KiB, OLD);
}

/* No zone changes by what is done to the disk as a whole. */
static void test_whole_disk(void)
{
    static const Command commands[] = {
        { .cdb = { TEST_UNIT_READY } },
        { .cdb = { START_STOP, 0, 0, 0, 0 } },
        { .cdb = { START_STOP, 0, 0, 0, 1 } },
        { .cdb = { RESERVE } },
        { .cdb = { RELEASE } },
        { .cdb = { SEEK_10 } },
        { .cdb = { SYNCHRONIZE_CACHE } },
        { .cdb = { SYNCHRONIZE_CACHE_16 } },
        /* IMMED, and a range */
        { .cdb = { SYNCHRONIZE_CACHE_16, 2, [9] = 1, [13] = 8 } },
    };
    const char *zones = "2:iopen@4K 3:eopen@0K 4:closed@4K 5:full";
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 4 * ZONE, 4 * KiB, OLD));
    assert_ok(zone_close(d, 4));
    assert_ok(zone_finish(d, 5));
    assert_ok(zone_open(d, 3));
    assert_ok(write_at(d, SEQ, 4 * KiB, OLD));
    for (int i = 0; i < ARRAY_SIZE(commands); i++) {
        Command c = commands[i];

        assert_ok(submit(d, &c));
        assert_zones(d, zones);
    }
}

static uint32_t format(Disk *d, uint8_t flags, const uint8_t *list,
                       size_t length)
{
    Command c = {
        .cdb = { FORMAT_UNIT, flags }, .out_len = length, .out = list,
    };

    return submit(d, &c);
}

/*
 * FORMAT UNIT with the header of a parameter list, short or long: what the disk
 * cannot do is refused before a zone is reset.
 */
static void test_format_lists(void)
{
    static const struct {
        uint8_t flags, list[8];
        bool good;
    } lists[] = {
        { 0x10, { 0 }, true },
        { 0x10, { 0, 0x02 }, true },                /* IMMED */
        { 0x10, { 0, 0xf2 }, true },                /* FOV, DPRY, DCRT, STPF */
        { 0x30, { 0 }, true },
        { 0x30, { 0, 0x82 }, true },
        { 0x10, { 0, 0x40 } },                      /* DPRY without FOV */
        { 0x10, { 0, 0x88 } },                      /* a pattern */
        { 0x10, { 1 } },                            /* protection */
        { 0x10, { 0, 0x80, 0, 8 } },                /* defects */
        { 0x10, { 0, 0x80, 8, 0 } },
        { 0x30, { 0, 0x88 } },
        { 0x30, { 2 } },
        { 0x30, { 0, 0, 0, 1 } },                   /* protection intervals */
        { 0x30, { 0, 0x80, 0, 0, 0, 0, 0, 8 } },
        { 0x30, { 0, 0x80, 0, 0, 1, 0, 0, 0 } },
    };
    Disk *d = get_disk(&standard);

    for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
        size_t length = lists[i].flags & 0x20 ? 8 : 4;

        assert_ok(on_all(d, RESET_ZONE));
        assert_ok(write_at(d, SEQ, 4 * KiB, OLD));
        assert_sense(format(d, lists[i].flags, lists[i].list, length),
                     lists[i].good ? OK : BAD_PARAMETER);
        assert_zones(d, lists[i].good ? "" : "2:iopen@4K");
        assert_data(d, SEQ, 4 * KiB, lists[i].good ? 0 : OLD);
    }
    assert_sense(format(d, 0x80, NULL, 0), BAD_FIELD);
    assert_sense(format(d, 0x50, lists[0].list, 4), BAD_FIELD);
    assert_zones(d, "2:iopen@4K");
}

/* --- REPORT SUPPORTED OPERATION CODES --- */

#define SUPPORT_NONE            1
#define SUPPORT_STANDARD        3

static uint32_t query(Disk *d, uint8_t options, uint8_t opcode,
                      uint16_t action, uint8_t *data, unsigned room)
{
    Command c = { .cdb = { 0xa3, 0x0c, options, opcode } };

    stw_be_p(c.cdb + 4, action);
    stl_be_p(c.cdb + 6, room);
    c.in_len = room;
    c.in = data;
    submit(d, &c);
    if (c.sense != OK) {
        g_assert_cmpint(c.touched, ==, 0);
    }
    return c.sense;
}

/* Does the disk know the opcode, with this service action if it has any? */
static bool knows(Disk *d, uint8_t opcode, uint8_t action)
{
    Command c = { .cdb = { opcode, action } };
    uint32_t sense;

    if (opcode == WRITE_6 || opcode == WRITE_SAME_10 ||
        opcode == WRITE_SAME_16) {
        c.out_len = 256 * SECTOR;
    } else {
        c.in_len = 256 * SECTOR;
    }
    if (opcode == REPORT_LUNS) {
        c.cdb[9] = 16;
    }
    sense = submit(d, &c);
    return sense != BAD_OPCODE;
}

/* What the list has is what the disk does. */
static void test_opcodes(void)
{
    Disk *d = get_disk(&standard);
    uint8_t data[64];

    for (unsigned opcode = 0; opcode < 256; opcode++) {
        uint32_t sense = query(d, 1, opcode, 0, data, sizeof(data));
        bool known = knows(d, opcode, 0);

        if (sense == BAD_FIELD) {
            /* Those with service actions */
            g_assert_true(opcode == 0x94 || opcode == 0x95 || opcode == 0x9e ||
                          opcode == 0xa3);
            continue;
        }
        assert_sense(sense, OK);
        g_assert_cmpint(data[1] & 7, ==, known ? SUPPORT_STANDARD
                                               : SUPPORT_NONE);
        if (known) {
            g_assert_cmphex(data[4], ==, opcode);
        }
    }
    assert_ok(on_all(d, RESET_ZONE));
}

static void test_opcodes_with_actions(void)
{
    static const struct {
        uint8_t opcode;
        uint32_t actions;
    } known[] = {
        { 0x94, 0x1e }, { 0x95, 0x01 }, { 0x9e, 1 << 0x10 },
        { 0xa3, 1 << 0x0c },
    };
    Disk *d = get_disk(&standard);
    uint8_t data[64];

    for (int i = 0; i < ARRAY_SIZE(known); i++) {
        for (unsigned action = 0; action < 32; action++) {
            bool has = known[i].actions >> action & 1;

            for (unsigned option = 2; option <= 3; option++) {
                assert_ok(query(d, option, known[i].opcode, action, data,
                                sizeof(data)));
                g_assert_cmpint(data[1] & 7, ==, has ? SUPPORT_STANDARD
                                                     : SUPPORT_NONE);
                if (has) {
                    g_assert_cmphex(data[5] & 0x1f, ==, action);
                }
            }
        }
    }
    assert_sense(query(d, 2, READ_16, 0, data, sizeof(data)), BAD_FIELD);
    assert_ok(query(d, 3, READ_16, 0, data, sizeof(data)));
    g_assert_cmpint(data[1] & 7, ==, SUPPORT_STANDARD);
    assert_ok(query(d, 3, READ_16, 1, data, sizeof(data)));
    g_assert_cmpint(data[1] & 7, ==, SUPPORT_NONE);
    assert_sense(query(d, 4, READ_16, 0, data, sizeof(data)), BAD_FIELD);
}

static void test_opcode_list(void)
{
    Disk *d = get_disk(&standard);
    uint8_t data[2048], one[64];

    for (unsigned timeouts = 0; timeouts <= 0x80; timeouts += 0x80) {
        unsigned size = timeouts ? 20 : 8, n;

        assert_ok(query(d, timeouts, 0, 0, data, sizeof(data)));
        n = get_be32(data) / size;
        g_assert_cmpint(get_be32(data), ==, n * size);
        for (unsigned i = 0; i < n; i++) {
            const uint8_t *p = data + 4 + i * size;

            assert_ok(query(d, timeouts | 3, p[0], lduw_be_p(p + 2), one,
                            sizeof(one)));
            g_assert_cmpint(one[1], ==, SUPPORT_STANDARD | timeouts);
            g_assert_cmpint(lduw_be_p(one + 2), ==, lduw_be_p(p + 6));
            if (timeouts) {
                g_assert_cmpint(lduw_be_p(p + 8), ==, 10);
                g_assert_cmpint(lduw_be_p(one + 4 + lduw_be_p(p + 6)), ==, 10);
            }
        }
    }
    /* Cut where the guest has no more room */
    assert_ok(query(d, 0, 0, 0, data, 6));
    assert_ok(query(d, 1, READ_16, 0, data, 2));
}

void add_identity_tests(void)
{
    add("inquiry", test_inquiry);
    add("plain-disk", test_plain_disk);
    add_of(1 << OF_THE_HOST, "host-aware-disk", test_host_aware_disk);
    add("vital-product-data", test_pages);
    add("block-limits", test_block_limits);
    add("not-host-aware", test_not_host_aware);
    add("rotation-rate", test_rotation_rate);
    add("zoned-characteristics", test_characteristics);
    add_with("capacity", &standard, test_capacity);
    add_with("capacity-of-512e", &emulated_512, test_capacity);
    add_with("capacity-of-4k", &native_4k, test_capacity);
    add("mode-sense", test_mode_sense);
    add("mode-select-of-blocks", test_mode_select);
    add("mode-select-of-cache", test_mode_select_of_cache);
    add("unsupported-commands", test_unsupported);
    add("format-lists", test_format_lists);
    add("commands-for-the-whole-disk", test_whole_disk);
    add("opcodes/supported", test_opcodes);
    add("opcodes/service-actions", test_opcodes_with_actions);
    add("opcodes/list", test_opcode_list);
}
