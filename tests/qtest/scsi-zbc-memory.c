/*
 * Tests of SCSI disks with zones: where the guest has its data
 *
 * Whatever the buffers are like, a write is done as a whole or not at all, and
 * only what the command names is read and written.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "scsi-zbc-driver.h"

/* Registers, which can be read, but are no memory that can be mapped */
#define HPET            0xfed00000
/* Nobody answers there. */
#define NOWHERE         0xf0000000

/* The adapter and the disk together have no room to map so many at a time. */
#define MANY_SECTORS    5

static uint8_t pattern(size_t i)
{
    return 1 + i % 97;
}

static void *new_data(size_t bytes)
{
    uint8_t *data = g_malloc(bytes);

    for (size_t i = 0; i < bytes; i++) {
        data[i] = pattern(i);
    }
    return data;
}

static void assert_pattern(Disk *d, uint64_t offset, size_t bytes)
{
    g_autofree uint8_t *expected = new_data(bytes);
    g_autofree uint8_t *data = g_malloc(bytes);

    assert_ok(read_at(d, offset, bytes, data));
    g_assert_cmpmem(data, bytes, expected, bytes);
}

/* Pieces of any length, which are no sectors, from any address */
static void test_pieces(void)
{
    static const unsigned segments[] = { 0, 511, 512, 513, 100, 4096, 4097 };
    static const unsigned misaligned[] = { 0, 1, 511, 4095 };
    const size_t bytes = 16 * KiB;
    g_autofree uint8_t *data = new_data(bytes), *read = g_malloc(bytes);
    Disk *d = get_disk(&standard);
    uint64_t wp = SEQ;

    for (int i = 0; i < ARRAY_SIZE(segments); i++) {
        for (int k = 0; k < ARRAY_SIZE(misaligned); k++) {
            Command w = write_command(d, wp, bytes, 0);
            Command r = read_command(d, wp, bytes, read);

            w.out = data;
            w.segment = r.segment = segments[i];
            w.misaligned = r.misaligned = misaligned[k];
            assert_ok(submit(d, &w));
            g_assert_cmpint(w.resid, ==, 0);
            assert_pattern(d, wp, bytes);
            assert_ok(submit(d, &r));
            g_assert_cmpint(r.resid, ==, 0);
            g_assert_cmpmem(read, bytes, data, bytes);
            wp += bytes;
        }
    }
    assert_zones(d, "2:iopen@448K");
}

static void test_bytes(void)
{
    static const Setup setup = { .adapter = ",virtqueue_size=1024" };
    Disk *d = new_disk(&setup);
    Command w = write_command(d, SEQ, SECTOR, NEW);

    w.segment = 1;
    assert_ok(submit(d, &w));
    assert_zones(d, "2:iopen@512");
    assert_data(d, SEQ, SECTOR, NEW);
    delete_disk(d);
}

/* More data than the command names is not written behind it. */
static void test_long_buffer(void)
{
    static const unsigned segments[] = { 0, 512, 3000, 4096 };
    Disk *d = get_disk(&standard);
    uint64_t wp = SEQ;

    for (int i = 0; i < ARRAY_SIZE(segments); i++) {
        Command w = write_command(d, wp, 8 * KiB, NEW);
        Command same = cdb16(d, WRITE_SAME_16, 0, wp + 8 * KiB, 8 * KiB);
        Command r = read_command(d, wp, 16 * KiB, NULL);

        w.out_len = 64 * KiB;
        w.segment = same.segment = r.segment = segments[i];
        assert_ok(submit(d, &w));
        g_assert_cmpint(w.resid, ==, 56 * KiB);
        assert_data(d, wp, 8 * KiB, NEW);
        assert_data(d, wp + 8 * KiB, 64 * KiB, 0);
        same.out_len = 2 * KiB;
        same.fill = OLD;
        assert_ok(submit(d, &same));
        g_assert_cmpint(same.resid, ==, 2 * KiB - SECTOR);
        assert_data(d, wp + 8 * KiB, 8 * KiB, OLD);
        r.in_len = 64 * KiB;
        assert_ok(submit(d, &r));
        g_assert_cmpint(r.touched, ==, 16 * KiB);
        g_assert_cmpint(r.resid, ==, 48 * KiB);
        wp += 16 * KiB;
    }
    assert_zones(d, "2:iopen@64K");
}

/* The limit of a zone holds for what is named, not for what is there. */
static void test_long_buffer_at_the_end(void)
{
    Disk *d = get_disk(&standard);
    Command w = write_command(d, SEQ + ZONE - 4 * KiB, 4 * KiB, NEW);

    assert_ok(write_at(d, SEQ, ZONE - 4 * KiB, OLD));
    w.out_len = 64 * KiB;
    assert_ok(submit(d, &w));
    assert_zones(d, "2:full");
    assert_data(d, SEQ + ZONE - 4 * KiB, 4 * KiB, NEW);
    assert_data(d, SEQ + ZONE, 64 * KiB, 0);
}

static void test_short_buffer(void)
{
    Disk *d = get_disk(&standard);
    Command w = write_command(d, SEQ, 8 * KiB, NEW);
    Command r = read_command(d, SEQ, 8 * KiB, NULL);
    Command wrong_way = read_command(d, SEQ, 8 * KiB, NULL);

    w.out_len = r.in_len = 8 * KiB - 1;
    assert_sense(submit(d, &w), OVERRUN);
    assert_sense(submit(d, &r), OVERRUN);
    wrong_way.out_len = 8 * KiB;
    wrong_way.in_len = 0;
    assert_sense(submit(d, &wrong_way), OVERRUN);
    assert_zones(d, "");
}

/* A zone count and a data buffer do not make a transfer of it. */
static void test_zbc_out_with_buffer(void)
{
    Disk *d = get_disk(&standard);
    Command c = raw16(0x94, FINISH_ZONE, SEQ / SECTOR, 1, 0);

    c.in_len = 1024;
    assert_ok(submit(d, &c));
    g_assert_cmpint(c.touched, ==, 0);
    assert_zones(d, "2:full");
    c = raw16(0x94, RESET_ZONE, SEQ / SECTOR, 1, 0);
    c.out_len = 1024;
    assert_ok(submit(d, &c));
    assert_zones(d, "");
}

/*
 * Part of the data cannot be mapped, or not all of it at a time.  Cut there, the
 * write would be two, and the second would begin in the middle of a sector for
 * some of these.
 */
static void test_write_from_registers(const void *opaque)
{
    static const size_t places[] = { 0, 512, 700, 4096, 10 * KiB };
    unsigned n = *(const unsigned *)opaque;
    const size_t bytes = 16 * KiB;
    g_autofree uint8_t *data = new_data(bytes), *read = g_malloc(bytes);
    Disk *d = get_disk(&standard);
    uint8_t registers[SECTOR];
    uint64_t wp = SEQ;

    qtest_bufread(d->qts, HPET, registers, SECTOR);
    g_assert_false(buffer_is_zero(registers, SECTOR));
    for (int i = 0; i < ARRAY_SIZE(places); i++) {
        Command w = write_command(d, wp, bytes, 0);
        size_t end = places[i] + n * SECTOR;

        w.out = data;
        w.elsewhere = n;
        w.place = HPET;
        w.elsewhere_at = places[i];
        assert_ok(submit(d, &w));
        g_assert_cmpint(w.resid, ==, 0);
        assert_ok(read_at(d, wp, bytes, read));
        g_assert_cmpmem(read, places[i], data, places[i]);
        for (unsigned k = 0; k < n; k++) {
            g_assert_cmpmem(read + places[i] + k * SECTOR, SECTOR, registers,
                            SECTOR);
        }
        g_assert_cmpmem(read + end, bytes - end, data + end, bytes - end);
        wp += bytes;
    }
    assert_zones(d, "2:iopen@80K");
}

/* What does not go to memory is lost, and all else arrives. */
static void test_read_to_registers(const void *opaque)
{
    unsigned n = *(const unsigned *)opaque;
    const size_t bytes = 16 * KiB, place = 700, end = place + n * SECTOR;
    g_autofree uint8_t *data = new_data(bytes), *read = g_malloc(bytes);
    Disk *d = get_disk(&standard);
    Command w = write_command(d, SEQ, bytes, 0);
    Command r = read_command(d, SEQ, bytes, read);

    w.out = data;
    assert_ok(submit(d, &w));
    r.elsewhere = n;
    r.place = HPET + 0x200;     /* reserved */
    r.elsewhere_at = place;
    assert_ok(submit(d, &r));
    g_assert_cmpint(r.resid, ==, 0);
    g_assert_cmpmem(read, place, data, place);
    g_assert_cmphex(read[place], ==, UNWRITTEN_BYTE);
    g_assert_cmpmem(read + end, bytes - end, data + end, bytes - end);
}

/* Data that cannot be had: nothing is written, and the zone is as before. */
static void test_write_from_nowhere(void)
{
    static const size_t places[] = { 0, 512, 1000 };
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, SEQ, 4 * KiB, OLD));
    for (int i = 0; i < ARRAY_SIZE(places); i++) {
        Command w = write_command(d, SEQ + 4 * KiB, 8 * KiB, NEW);

        w.elsewhere = MANY_SECTORS;
        w.place = NOWHERE;
        w.elsewhere_at = places[i];
        assert_sense(submit(d, &w), TARGET_FAILED);
        assert_zones(d, "2:iopen@4K");
        assert_data(d, SEQ + 4 * KiB, 8 * KiB, 0);
    }
    assert_ok(write_at(d, SEQ + 4 * KiB, 4 * KiB, NEW));
    assert_vm_runs(d);
}

/* --- Answers of any length, in buffers of any kind --- */

/* A command that answers with so much that the initiator has room for */
typedef struct Answer {
    const char *name;
    uint8_t cdb[16];
    unsigned length_at, length_bytes;   /* the allocation length in the CDB */
    unsigned least;                     /* less is refused */
    bool exact;     /* QEMU pads others with zeroes, to the allocation length */
} Answer;

static const Answer answers[] = {
    { "inquiry", { INQUIRY }, 3, 2 },
    { "inquiry-page-00", { INQUIRY, 1, 0x00 }, 3, 2 },
    { "inquiry-page-80", { INQUIRY, 1, 0x80 }, 3, 2 },
    { "inquiry-page-83", { INQUIRY, 1, 0x83 }, 3, 2 },
    { "inquiry-page-b0", { INQUIRY, 1, 0xb0 }, 3, 2 },
    { "inquiry-page-b1", { INQUIRY, 1, 0xb1 }, 3, 2 },
    { "inquiry-page-b6", { INQUIRY, 1, 0xb6 }, 3, 2 },
    { "mode-sense-6", { MODE_SENSE, 0, 0x3f }, 4, 1 },
    { "mode-sense-10", { MODE_SENSE_10, 0, 0x3f }, 7, 2 },
    { "request-sense", { REQUEST_SENSE }, 4, 1 },
    { "report-luns", { REPORT_LUNS }, 6, 4, 16, true },
    { "read-capacity-16", { 0x9e, 0x10 }, 10, 4 },
    { "opcodes", { 0xa3, 0x0c }, 6, 4, 0, true },
    { "opcode", { 0xa3, 0x0c, 1, READ_16 }, 6, 4, 0, true },
    { "report-zones", { 0x95 }, 10, 4, 0, true },
};

#define ANSWER_ROOM     2048

static const Setup many_buffers = {
    .adapter = ",virtqueue_size=1024", .device = ",serial=zoned",
};

static Command answer_command(const Answer *a, size_t length, size_t room,
                              void *data)
{
    Command c = { .in_len = room, .in = data };

    memcpy(c.cdb, a->cdb, sizeof(c.cdb));
    for (unsigned i = 0; i < a->length_bytes; i++) {
        c.cdb[a->length_at + i] = length >> 8 * (a->length_bytes - 1 - i);
    }
    return c;
}

/*
 * The answer is that of before, cut off at the allocation length; the residual
 * says how much it is, and nothing behind it is written.
 */
static void check_answer(Disk *d, const Answer *a, const uint8_t *whole,
                         size_t size, size_t length, unsigned segment)
{
    uint8_t data[ANSWER_ROOM];
    size_t n = a->exact ? MIN(size, length) : length, room = length + 64;
    Command c = answer_command(a, length, room, data);

    if (segment && room / segment > 1000) {
        return;
    }
    /* A report has no descriptor that is cut off */
    if (a->cdb[0] == 0x95 && n > 64) {
        n = QEMU_ALIGN_DOWN(n, 64);
    }
    c.segment = segment;
    c.misaligned = segment * 31;
    if (length < a->least) {
        assert_sense(submit(d, &c), BAD_FIELD);
        g_assert_cmpint(c.touched, ==, 0);
        return;
    }
    assert_ok(submit(d, &c));
    if (length) {
        /* Without a transfer, there is no residual from QEMU. */
        g_assert_cmpint(c.resid, ==, room - n);
    }
    g_assert_cmpint(c.touched, <=, n);
    g_assert_cmpmem(data, n, whole, n);
}

static void test_answer(const void *opaque)
{
    static const unsigned segments[] = { 0, 1, 3, 64 };
    static const int beside[] = { -1, 0, 1 };
    static const unsigned lengths[] = { 0, 1, 4, 5, 8, 12, 36, 64, 96, 128 };
    const Answer *a = opaque;
    Disk *d = get_disk(&many_buffers);
    size_t most = a->length_bytes == 1 ? 255 : ANSWER_ROOM - 64, size;
    uint8_t whole[ANSWER_ROOM];
    Command c = answer_command(a, most, ANSWER_ROOM, whole);

    assert_ok(submit(d, &c));
    size = a->exact ? ANSWER_ROOM - c.resid : 96;
    g_assert_cmpint(ANSWER_ROOM - c.resid, ==, a->exact ? size : most);
    g_assert_cmpint(size, <, most);
    for (int i = 0; i < ARRAY_SIZE(segments); i++) {
        for (int k = 0; k < ARRAY_SIZE(lengths); k++) {
            check_answer(d, a, whole, size, lengths[k], segments[i]);
        }
        for (int k = 0; k < ARRAY_SIZE(beside); k++) {
            check_answer(d, a, whole, size, size + beside[k], segments[i]);
        }
    }
}

/* A buffer of less than the allocation length is refused as a whole. */
static void test_short_answers(void)
{
    Disk *d = get_disk(&standard);

    for (int i = 0; i < ARRAY_SIZE(answers); i++) {
        Command c = answer_command(&answers[i], 200, 199, NULL);

        assert_sense(submit(d, &c), OVERRUN);
        g_assert_cmpint(c.touched, ==, 0);
    }
}

static void add_answer(const Answer *a)
{
    g_autofree char *name = g_strdup_printf("memory/answer-of-%s", a->name);

    add_with(name, a, test_answer);
}

void add_memory_tests(void)
{
    static const unsigned one = 1, many = MANY_SECTORS;

    add("memory/pieces", test_pieces);
    add("memory/single-bytes", test_bytes);
    add("memory/long-buffer", test_long_buffer);
    add("memory/long-buffer-at-the-end", test_long_buffer_at_the_end);
    add("memory/short-buffer", test_short_buffer);
    add("memory/zbc-out-with-buffer", test_zbc_out_with_buffer);
    add_with("memory/write-from-a-register", &one, test_write_from_registers);
    add_with("memory/write-from-registers", &many, test_write_from_registers);
    add_with("memory/read-to-a-register", &one, test_read_to_registers);
    add_with("memory/read-to-registers", &many, test_read_to_registers);
    add("memory/write-from-nowhere", test_write_from_nowhere);
    for (int i = 0; i < ARRAY_SIZE(answers); i++) {
        add_answer(&answers[i]);
    }
    add("memory/short-answers", test_short_answers);
}
