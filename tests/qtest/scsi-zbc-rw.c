/*
 * Tests of SCSI disks with zones: reads and writes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "scsi-zbc-driver.h"

/* --- Every form of a command --- */

typedef struct Form {
    const char *name;
    uint8_t opcode;
    unsigned length;        /* of the CDB */
} Form;

static const Form writes[] = {
    { "write-6", WRITE_6, 6 },
    { "write-10", WRITE_10, 10 },
    { "write-12", WRITE_12, 12 },
    { "write-16", WRITE_16, 16 },
    { "write-and-verify-10", WRITE_VERIFY_10, 10 },
    { "write-and-verify-12", WRITE_VERIFY_12, 12 },
    { "write-and-verify-16", WRITE_VERIFY_16, 16 },
};

static const Form reads[] = {
    { "read-6", READ_6, 6 },
    { "read-10", READ_10, 10 },
    { "read-12", READ_12, 12 },
    { "read-16", READ_16, 16 },
};

static const Form verifies[] = {
    { "verify-10", VERIFY_10, 10 },
    { "verify-12", VERIFY_12, 12 },
    { "verify-16", VERIFY_16, 16 },
};

static bool is_verifying(const Form *f)
{
    return strstr(f->name, "verify");
}

static Command form(Disk *d, const Form *f, uint8_t flags, uint64_t offset,
                    uint64_t bytes)
{
    switch (f->length) {
    case 6:
        return cdb6(d, f->opcode, offset, bytes);
    case 10:
        return cdb10(d, f->opcode, flags, offset, bytes);
    case 12:
        return cdb12(d, f->opcode, flags, offset, bytes);
    default:
        return cdb16(d, f->opcode, flags, offset, bytes);
    }
}

static uint32_t do_write(Disk *d, const Form *f, uint8_t flags,
                         uint64_t offset, uint64_t bytes)
{
    Command c = form(d, f, flags, offset, bytes);

    c.out_len = bytes;
    c.fill = NEW;
    submit(d, &c);
    g_assert_cmpint(c.resid, ==, 0);
    return c.sense;
}

static uint32_t do_read(Disk *d, const Form *f, uint8_t flags,
                        uint64_t offset, uint64_t bytes)
{
    Command c = form(d, f, flags, offset, bytes);

    c.in_len = bytes;
    submit(d, &c);
    /* What is before the offline zone may have been read */
    if (c.sense != OFFLINE_ZONE) {
        g_assert_cmpint(c.touched, ==, c.sense == OK ? bytes : 0);
    }
    return c.sense;
}

static void test_write_form(const void *opaque)
{
    const Form *f = opaque;
    Disk *d = get_disk(&standard);
    uint64_t wp = SEQ + 16 * KiB, end = SEQ + ZONE;

    assert_ok(do_write(d, f, 0, SEQ, 16 * KiB));
    assert_zones(d, "2:iopen@16K");
    assert_data(d, SEQ, 16 * KiB, NEW);
    assert_sense(do_write(d, f, 0, wp + 512, 4 * KiB), UNALIGNED);
    assert_sense(do_write(d, f, 0, wp - 512, 4 * KiB), UNALIGNED);
    assert_sense(do_write(d, f, 0, SEQ, 4 * KiB), UNALIGNED);
    assert_zones(d, "2:iopen@16K");
    assert_data(d, wp, 8 * KiB, 0);
    /* Over a border, at the write pointer and elsewhere */
    assert_ok(write_at(d, wp, end - 4 * KiB - wp, OLD));
    assert_sense(do_write(d, f, 0, end - 4 * KiB, 8 * KiB), WRITE_BORDER);
    assert_sense(do_write(d, f, 0, end - 2 * KiB, 4 * KiB), WRITE_BORDER);
    assert_sense(do_write(d, f, 0, SEQ - 4 * KiB, 8 * KiB), WRITE_BORDER);
    assert_zones(d, "2:iopen@4092K");
    assert_data(d, end - 4 * KiB, 4 * KiB, 0);
    assert_data(d, SEQ - 4 * KiB, 4 * KiB, 0);
    assert_ok(do_write(d, f, 0, end - 4 * KiB, 4 * KiB));
    assert_zones(d, "2:full");
    assert_sense(do_write(d, f, 0, end - 4 * KiB, 4 * KiB), BAD_FIELD);
    assert_sense(do_write(d, f, 0, SEQ, 4 * KiB), BAD_FIELD);
    /* The end of the disk */
    assert_sense(do_write(d, f, 0, DISK - 4 * KiB, 8 * KiB), OUT_OF_RANGE);
    assert_sense(do_write(d, f, 0, DISK, 512), OUT_OF_RANGE);
    assert_zones(d, "2:full");
    assert_vm_runs(d);
}

/* Protection information and no data; DPO and FUA say how to do it */
static void test_write_flags(const void *opaque)
{
    const Form *f = opaque;
    Disk *d = get_disk(&standard);
    uint64_t wp = SEQ;

    for (unsigned protect = 1; protect < 8; protect++) {
        assert_sense(do_write(d, f, protect << 5, SEQ, 4 * KiB), BAD_FIELD);
    }
    assert_zones(d, "");
    for (unsigned flags = 0; flags <= 0x18; flags += 8) {
        assert_ok(do_write(d, f, flags, wp, 4 * KiB));
        wp += 4 * KiB;
    }
    assert_zones(d, "2:iopen@16K");
    assert_ok(do_write(d, f, 0, wp, 0));
    assert_ok(do_write(d, f, 0, SEQ, 0));
    assert_ok(do_write(d, f, 0, OTHER + 4 * KiB, 0));
    assert_ok(do_write(d, f, 0, DISK, 0));
    assert_sense(do_write(d, f, 0, DISK + 512, 0), OUT_OF_RANGE);
    assert_zones(d, "2:iopen@16K");
}

/* Zero blocks mean 256 here, which are more than what is left. */
static void test_write_6_of_256(void)
{
    Disk *d = get_disk(&standard);
    Command c = cdb6(d, WRITE_6, SEQ, 0);
    Command late;

    c.out_len = 256 * SECTOR;
    c.fill = NEW;
    assert_ok(submit(d, &c));
    assert_zones(d, "2:iopen@128K");
    assert_ok(write_at(d, SEQ + 128 * KiB, ZONE - 192 * KiB, OLD));
    late = cdb6(d, WRITE_6, SEQ + ZONE - 64 * KiB, 0);
    late.out_len = 256 * SECTOR;
    assert_sense(submit(d, &late), WRITE_BORDER);
    assert_zones(d, "2:iopen@4032K");
}

static void test_read_form(const void *opaque)
{
    const Form *f = opaque;
    Disk *d = get_disk(&worn_out);

    assert_ok(write_at(d, SEQ, 16 * KiB, OLD));
    assert_ok(write_at(d, 13 * ZONE, ZONE, OLD));
    /* Below, across and above the write pointer, and over borders */
    assert_ok(do_read(d, f, 0, SEQ, 16 * KiB));
    assert_ok(do_read(d, f, 0, SEQ + 12 * KiB, 8 * KiB));
    assert_ok(do_read(d, f, 0, SEQ + 1 * MiB, 64 * KiB));
    assert_ok(do_read(d, f, 0, OTHER - 4 * KiB, 8 * KiB));
    assert_ok(do_read(d, f, 0, ZONE - 4 * KiB, 8 * KiB));
    assert_ok(do_read(d, f, 0, ZONE_RDONLY * ZONE - 4 * KiB, 8 * KiB));
    /* From conventional to sequential zones */
    assert_sense(do_read(d, f, 0, SEQ - 4 * KiB, 8 * KiB), READ_BORDER);
    assert_sense(do_read(d, f, 0, SEQ - 512, 1024), READ_BORDER);
    assert_sense(do_read(d, f, 0, ZONE_OFFLINE * ZONE, 4 * KiB), OFFLINE_ZONE);
    assert_sense(do_read(d, f, 0, ZONE_OFFLINE * ZONE - 4 * KiB, 8 * KiB),
                 OFFLINE_ZONE);
    assert_sense(do_read(d, f, 0, DISK, 512), OUT_OF_RANGE);
    assert_sense(do_read(d, f, 0, DISK - 512, 1024), OUT_OF_RANGE);
    assert_vm_runs(d);
}

static void test_read_flags(const void *opaque)
{
    const Form *f = opaque;
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, SEQ, 16 * KiB, OLD));
    for (unsigned protect = 1; protect < 8; protect++) {
        assert_sense(do_read(d, f, protect << 5, SEQ, 4 * KiB), BAD_FIELD);
    }
    for (unsigned flags = 0; flags <= 0x18; flags += 8) {
        assert_ok(do_read(d, f, flags, SEQ, 4 * KiB));
    }
    assert_ok(do_read(d, f, 0, SEQ, 0));
    assert_ok(do_read(d, f, 0, DISK, 0));
    assert_sense(do_read(d, f, 0, DISK + 512, 0), OUT_OF_RANGE);
    assert_zones(d, "2:iopen@16K");
}

/* What is read is right: also from one zone to the next. */
static void test_read_data(void)
{
    Disk *d = get_disk(&standard);
    g_autofree uint8_t *data = g_malloc(ZONE);

    assert_ok(write_at(d, 4 * ZONE, ZONE, OLD));
    assert_ok(write_at(d, 5 * ZONE, 8 * KiB, NEW));
    assert_ok(read_at(d, 5 * ZONE - 8 * KiB, 24 * KiB, data));
    for (int i = 0; i < 24 * KiB; i++) {
        g_assert_cmphex(data[i], ==, i < 8 * KiB ? OLD : i < 16 * KiB ? NEW
                                                                      : 0);
    }
    /* Unwritten blocks are zero, also after FINISH and RESET */
    assert_ok(zone_finish(d, 5));
    assert_data(d, 5 * ZONE, 8 * KiB, NEW);
    assert_data(d, 5 * ZONE + 8 * KiB, 64 * KiB, 0);
    assert_ok(zone_reset(d, 5));
    assert_data(d, 5 * ZONE, 64 * KiB, 0);
}

static void test_verify_form(const void *opaque)
{
    const Form *f = opaque;
    Disk *d = get_disk(&worn_out);
    const struct {
        uint64_t offset, bytes;
        uint32_t sense;
    } ranges[] = {
        { SEQ, 16 * KiB, OK },
        { SEQ, 11 * ZONE, OK },
        { OTHER - 4 * KiB, 8 * KiB, OK },
        { 0, SEQ, OK },
        { ZONE_RDONLY * ZONE, 4 * KiB, OK },
        { SEQ, 0, OK },
        { SEQ - 4 * KiB, 8 * KiB, READ_BORDER },
        { 0, DISK - ZONE, READ_BORDER },
        { ZONE_OFFLINE * ZONE, 4 * KiB, OFFLINE_ZONE },
        { SEQ, DISK - SEQ, OFFLINE_ZONE },
        { DISK, 512, OUT_OF_RANGE },
        { DISK - 512, 1024, OUT_OF_RANGE },
    };

    for (int i = 0; i < ARRAY_SIZE(ranges); i++) {
        uint64_t bytes = ranges[i].bytes;
        Command c;

        if (f->length == 10 && bytes / SECTOR > UINT16_MAX) {
            continue;
        }
        c = form(d, f, 0, ranges[i].offset, bytes);
        assert_sense(submit(d, &c), ranges[i].sense);
    }
    for (unsigned flags = 0x20; flags < 0x100; flags += 0x20) {
        Command c = form(d, f, flags, SEQ, 4 * KiB);

        assert_sense(submit(d, &c), BAD_FIELD);
    }
    assert_vm_runs(d);
}

/* BYTCHK: nothing is compared, so nobody is told that it was. */
static void test_comparison(const void *opaque)
{
    const Form *f = opaque;
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, SEQ, 4 * KiB, OLD));
    for (unsigned bytchk = 1; bytchk < 4; bytchk++) {
        for (uint64_t bytes = 0; bytes <= 4 * KiB; bytes += 4 * KiB) {
            Command c = form(d, f, bytchk << 1, SEQ + 4 * KiB, bytes);

            c.out_len = 4 * KiB;
            c.fill = NEW;
            assert_sense(submit(d, &c), BAD_FIELD);
        }
    }
    assert_zones(d, "2:iopen@4K");
    assert_data(d, SEQ + 4 * KiB, 4 * KiB, 0);
}

/* --- Ranges --- */

static void test_huge_ranges(void)
{
    Disk *d = get_disk(&standard);
    const struct {
        uint64_t lba;
        uint32_t length;
    } ranges[] = {
        { UINT64_MAX, 1 }, { UINT64_MAX, UINT32_MAX },
        { UINT64_MAX - UINT32_MAX + 1, UINT32_MAX },
        { DISK / SECTOR - 1, UINT32_MAX },
        { SEQ / SECTOR, UINT32_MAX }, { 1ull << 55, 8 }, { INT64_MAX, 8 },
        /* In the disk when the upper bits get lost */
        { SEQ / SECTOR | 1ull << 55, 8 },
    };

    for (int i = 0; i < ARRAY_SIZE(ranges); i++) {
        Command verify = raw16(VERIFY_16, 0, ranges[i].lba, ranges[i].length,
                               0);
        Command same = raw16(WRITE_SAME_16, 1, ranges[i].lba,
                             ranges[i].length, 0);

        assert_sense(submit(d, &verify), OUT_OF_RANGE);
        assert_sense(submit(d, &same), OUT_OF_RANGE);
        if (ranges[i].length == 8) {
            Command w = raw16(WRITE_16, 0, ranges[i].lba, 8, 0);
            Command r = raw16(READ_16, 0, ranges[i].lba, 8, 0);

            w.out_len = r.in_len = 4 * KiB;
            assert_sense(submit(d, &w), OUT_OF_RANGE);
            assert_sense(submit(d, &r), OUT_OF_RANGE);
        }
    }
    assert_zones(d, "");
}

/* Conventional zones: anywhere, in logical blocks, and over their borders */
static void test_conventional(void)
{
    Disk *d = get_disk(&emulated_512);

    assert_ok(write_at(d, 5 * SECTOR, SECTOR, NEW));
    assert_data(d, 5 * SECTOR, SECTOR, NEW);
    assert_ok(write_at(d, ZONE - 4 * KiB, 8 * KiB, NEW));
    assert_data(d, ZONE - 4 * KiB, 8 * KiB, NEW);
    assert_ok(write_at(d, SEQ - SECTOR, SECTOR, NEW));
    assert_data(d, SEQ - SECTOR, SECTOR, NEW);
    assert_ok(write_at(d, ZONE - 4 * KiB, 8 * KiB, OLD));
    assert_data(d, ZONE - 4 * KiB, 8 * KiB, OLD);
    assert_zones(d, "");
}

/* A write ends where a physical block does. */
static void test_physical_blocks(void)
{
    static const unsigned lengths[] = { 512, 2 * KiB, 4 * KiB + 512,
                                        8 * KiB - 512 };
    Disk *d = get_disk(&emulated_512);
    uint64_t wp = SEQ + 8 * KiB;

    assert_ok(write_at(d, SEQ, 8 * KiB, OLD));
    for (int i = 0; i < ARRAY_SIZE(lengths); i++) {
        Command same = cdb16(d, WRITE_SAME_16, 1, wp, lengths[i]);

        assert_sense(write_at(d, wp, lengths[i], NEW), UNALIGNED);
        assert_sense(submit(d, &same), UNALIGNED);
        assert_zones(d, "2:iopen@8K");
        assert_data(d, wp, 8 * KiB, 0);
    }
    assert_ok(write_at(d, wp, 4 * KiB, NEW));
    assert_zones(d, "2:iopen@12K");
    /* Reads know logical blocks only */
    assert_data(d, wp + SECTOR, SECTOR, NEW);
}

static void test_4k_blocks(void)
{
    Disk *d = get_disk(&native_4k);

    assert_ok(write_at(d, SEQ, 8 * KiB, NEW));
    assert_zones(d, "2:iopen@8K");
    assert_data(d, SEQ, 8 * KiB, NEW);
    assert_sense(write_at(d, SEQ, 4 * KiB, NEW), UNALIGNED);
    assert_ok(zone_finish(d, 3));
    assert_ok(zone_open(d, 4));
    assert_zones(d, "2:iopen@8K 3:full 4:eopen@0K");
    assert_sense(read_at(d, SEQ - 4 * KiB, 8 * KiB, NULL), READ_BORDER);
    assert_sense(write_at(d, DISK, 4 * KiB, NEW), OUT_OF_RANGE);
}

/* --- WRITE SAME --- */

static uint32_t write_same(Disk *d, uint8_t opcode, uint8_t flags,
                           uint64_t offset, uint64_t bytes, int fill)
{
    Command c = opcode == WRITE_SAME_10 ? cdb10(d, opcode, flags, offset, bytes)
                                        : cdb16(d, opcode, flags, offset,
                                                bytes);

    c.out_len = fill < 0 ? 0 : d->block;
    c.fill = fill;
    submit(d, &c);
    g_assert_cmpint(c.resid, ==, 0);
    return c.sense;
}

static void test_write_same(const void *opaque)
{
    uint8_t opcode = ((const Form *)opaque)->opcode;
    Disk *d = get_disk(&standard);
    uint64_t end = SEQ + ZONE;

    assert_ok(write_same(d, opcode, 0, SEQ, 12 * KiB, NEW));
    assert_zones(d, "2:iopen@12K");
    assert_data(d, SEQ, 12 * KiB, NEW);
    assert_sense(write_same(d, opcode, 0, SEQ, 4 * KiB, OLD), UNALIGNED);
    assert_sense(write_same(d, opcode, 0, SEQ + 16 * KiB, 4 * KiB, OLD),
                 UNALIGNED);
    assert_sense(write_same(d, opcode, 0, SEQ + 12 * KiB, ZONE, OLD),
                 WRITE_BORDER);
    assert_sense(write_same(d, opcode, 0, SEQ - 4 * KiB, 8 * KiB, OLD),
                 WRITE_BORDER);
    /* No length is not "to the end" */
    assert_sense(write_same(d, opcode, 0, SEQ + 12 * KiB, 0, OLD), BAD_FIELD);
    assert_zones(d, "2:iopen@12K");
    assert_data(d, SEQ, 12 * KiB, NEW);
    /* More than any buffer has room for, in one command */
    assert_ok(write_same(d, opcode, 0, SEQ + 12 * KiB, ZONE - 12 * KiB, OLD));
    assert_zones(d, "2:full");
    assert_data(d, SEQ + 12 * KiB, ZONE - 12 * KiB, OLD);
    assert_sense(write_same(d, opcode, 0, end - 4 * KiB, 4 * KiB, NEW),
                 BAD_FIELD);
    /* Zeroes move the write pointer, too */
    assert_ok(write_same(d, opcode, 0, OTHER, 8 * KiB, 0));
    assert_zones(d, "2:full 5:iopen@8K");
    assert_data(d, OTHER, 16 * KiB, 0);
    /* Conventional zones together */
    assert_ok(write_same(d, opcode, 0, 0, 2 * ZONE, NEW));
    assert_data(d, 0, 2 * ZONE, NEW);
    assert_ok(write_same(d, opcode, 0, 0, 2 * ZONE, 0));
    assert_data(d, 0, 2 * ZONE, 0);
    assert_zones(d, "2:full 5:iopen@8K");
}

/* WRPROTECT, ANCHOR, UNMAP, PBDATA, LBDATA */
static void test_write_same_flags(const void *opaque)
{
    uint8_t opcode = ((const Form *)opaque)->opcode;
    Disk *d = get_disk(&standard);

    for (unsigned flag = 2; flag < 0x100; flag <<= 1) {
        assert_sense(write_same(d, opcode, flag, SEQ, 4 * KiB, NEW),
                     BAD_FIELD);
    }
    assert_zones(d, "");
    assert_data(d, SEQ, 4 * KiB, 0);
}

/* Without a data-out buffer, zeroes are written. */
static void test_write_same_without_data(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_same(d, WRITE_SAME_16, 1, SEQ, 8 * KiB, -1));
    assert_zones(d, "2:iopen@8K");
    assert_sense(write_same(d, WRITE_SAME_16, 1, SEQ, 8 * KiB, -1),
                 UNALIGNED);
    assert_ok(write_at(d, 0, 64 * KiB, OLD));
    assert_ok(write_same(d, WRITE_SAME_16, 1, 4 * KiB, 8 * KiB, -1));
    assert_data(d, 4 * KiB, 8 * KiB, 0);
    assert_data(d, 12 * KiB, 4 * KiB, OLD);
    assert_sense(write_same(d, WRITE_SAME_10, 1, OTHER, 8 * KiB, -1),
                 BAD_FIELD);
    assert_zones(d, "2:iopen@8K");
}

/* 2 GiB and more: no byte count of 32 bits is enough. */
static void test_write_same_large(void)
{
    static const Setup setup = {
        .size = "24G", .image = ",zone.size=8G,zone.conventional_zones=1"
                                ",zone.max_open_zones=0",
    };
    Disk *d = new_disk(&setup);
    uint8_t list[64 + 64 * 3];
    Command report = report_command(0, 0, sizeof(list), list);
    uint64_t zone = 8 * GiB, max = 2 * GiB - 512;

    /* The largest that is announced, and more of them */
    assert_sense(write_same(d, WRITE_SAME_16, 1, zone, 4 * GiB, -1),
                 BAD_FIELD);
    assert_sense(write_same(d, WRITE_SAME_16, 1, zone, 4 * GiB + 4 * KiB, -1),
                 BAD_FIELD);
    assert_ok(submit(d, &report));
    g_assert_cmphex(list[64 + 64 + 1], ==, 0x10);
    assert_ok(write_same(d, WRITE_SAME_16, 1, zone, max, -1));
    assert_ok(submit(d, &report));
    g_assert_cmphex(list[64 + 64 + 1], ==, 0x20);
    g_assert_cmpint(ldq_be_p(list + 64 + 64 + 24), ==, (zone + max) / SECTOR);
    delete_disk(d);
}

/* --- Commands at the same time --- */

#define MANY 24

static void test_many_writes(const void *opaque)
{
    Disk *d = get_disk(&standard);
    bool joined = opaque;
    Command c[MANY];

    for (int i = 0; i < MANY; i++) {
        uint64_t zone = joined ? SEQ : SEQ + i % 3 * ZONE;
        uint64_t place = joined ? i : i / 3;

        c[i] = write_command(d, zone + place * 4 * KiB, 4 * KiB, 1 + i);
    }
    start_commands(d, c, MANY);
    finish_commands(d, c, MANY);
    for (int i = 0; i < MANY; i++) {
        uint64_t zone = joined ? SEQ : SEQ + i % 3 * ZONE;
        uint64_t place = joined ? i : i / 3;

        assert_ok(c[i].sense);
        assert_data(d, zone + place * 4 * KiB, 4 * KiB, 1 + i);
    }
    assert_zones(d, joined ? "2:iopen@96K"
                           : "2:iopen@32K 3:iopen@32K 4:iopen@32K");
}

void add_rw_tests(void)
{
    static const Form sames[] = {
        { "write-same-10", WRITE_SAME_10 }, { "write-same-16", WRITE_SAME_16 },
    };

    for (int i = 0; i < ARRAY_SIZE(writes); i++) {
        g_autofree char *name = g_strdup_printf("rw/%s", writes[i].name);
        g_autofree char *flags = g_strdup_printf("rw/%s-flags",
                                                 writes[i].name);
        g_autofree char *comparison = g_strdup_printf("rw/%s-comparison",
                                                      writes[i].name);

        add_with(name, &writes[i], test_write_form);
        if (writes[i].length > 6) {
            add_with(flags, &writes[i], test_write_flags);
        }
        if (is_verifying(&writes[i])) {
            add_with(comparison, &writes[i], test_comparison);
        }
    }
    add("rw/write-6-of-256-blocks", test_write_6_of_256);
    for (int i = 0; i < ARRAY_SIZE(reads); i++) {
        g_autofree char *name = g_strdup_printf("rw/%s", reads[i].name);
        g_autofree char *flags = g_strdup_printf("rw/%s-flags", reads[i].name);

        add_with(name, &reads[i], test_read_form);
        if (reads[i].length > 6) {
            add_with(flags, &reads[i], test_read_flags);
        }
    }
    add("rw/read-data", test_read_data);
    for (int i = 0; i < ARRAY_SIZE(verifies); i++) {
        g_autofree char *name = g_strdup_printf("rw/%s", verifies[i].name);

        g_autofree char *comparison = g_strdup_printf("rw/%s-comparison",
                                                      verifies[i].name);

        add_with(name, &verifies[i], test_verify_form);
        add_with(comparison, &verifies[i], test_comparison);
    }
    add("rw/huge-ranges", test_huge_ranges);
    add("rw/conventional", test_conventional);
    add("rw/physical-blocks", test_physical_blocks);
    add("rw/4k-blocks", test_4k_blocks);
    for (int i = 0; i < ARRAY_SIZE(sames); i++) {
        g_autofree char *name = g_strdup_printf("rw/%s", sames[i].name);
        g_autofree char *flags = g_strdup_printf("rw/%s-flags", sames[i].name);

        add_with(name, &sames[i], test_write_same);
        add_with(flags, &sames[i], test_write_same_flags);
    }
    add("rw/write-same-without-data", test_write_same_without_data);
    add("rw/write-same-large", test_write_same_large);
    add_with("rw/many-writes-of-a-zone", "joined", test_many_writes);
    add_with("rw/many-writes-of-zones", NULL, test_many_writes);
}
