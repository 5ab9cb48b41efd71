/*
 * Tests of NVMe namespaces on a zoned disk
 *
 * Identify data and reports of zones
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zns-driver.h"

/* --- Identify --- */

void identify(Controller *c, uint8_t cns, uint8_t csi, uint32_t nsid)
{
    Command cmd = { .dw = { NVME_ADM_CMD_IDENTIFY, nsid } };

    cmd.dw[10] = cns;
    cmd.dw[11] = (uint32_t)csi << 24;
    g_assert_cmphex(check(admin(c, with_data(c, cmd, 0, 4096))), ==, OK);
}

uint64_t field(Controller *c, uint32_t offset, unsigned size)
{
    uint64_t value = 0;

    guest_read(c->m->ram, c->buffer + offset, &value, size);
    return le64_to_cpu(value);
}

void assert_size(Controller *c)
{
    identify(c, 0, 0, NSID);
    g_assert_cmpint(field(c, 0, 8), ==, 16 * ZONE);
    g_assert_cmpint(field(c, 8, 8), ==, 16 * CAP);
}

/* The capacity is not the size */
static void test_identify_namespace(void)
{
    Controller *c = get_clean(&limited);

    assert_size(c);
    g_assert_cmpint(field(c, 25, 1), ==, 0);        /* one LBA format, */
    g_assert_cmpint(field(c, 26, 1), ==, 0);        /* the first, */
    g_assert_cmphex(field(c, 128, 4), ==, 12 << 16);        /* of 4 KiB */
    g_assert_cmpint(field(c, 99, 1), ==, 0);        /* not write protected */
}

/* Allocated namespaces have zones, too */
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
Controller *get_mixed(void)
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

/* Limits are in units of the smallest page, not of the one in use */
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

/* It may be shorter than its header */
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

/* Its size has more than 32 bits */
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

void add_report_tests(void)
{
    add("identify/size-and-capacity-are-those-of-the-zones",
        test_identify_namespace);
    add("identify/allocated-namespaces-can-be-asked-for-too",
        test_identify_allocated);
    add("identify/limits-are-told-less-one", test_identify_zoned);
    add("identify/no-limit-is-all-ones", test_identify_no_limits);
    add("identify/reads-across-zones-are-announced", test_identify_cross_read);
    add("identify/appends-have-the-limit-of-the-disk", test_identify_zasl);
    add("identify/appends-have-no-larger-limit-than-other-commands",
        test_identify_zasl_below_mdts);
    add("identify/events-for-changed-zones-are-announced",
        test_identify_controller);
    add("report/its-header-counts-all-zones-or-those-that-fit",
        test_report_count);
    add("report/it-has-all-zones", test_report_all);
    add("report/it-starts-with-the-zone-that-has-the-block",
        test_report_from_middle);
    add("report/it-can-be-of-one-state", test_report_filters);
    add("report/it-can-be-of-worn-zones", test_report_worn_filters);
    add("report/its-limit-is-in-the-smallest-pages", test_report_large_pages);
    add("report/reserved-values-are-refused", test_report_bad_fields);
    add("report/it-may-be-shorter-than-its-header", test_report_short);
    add("report/a-descriptor-that-is-cut-off-does-not-count",
        test_report_cut_off);
    add("report/the-size-of-the-buffer-does-not-overflow",
        test_report_too_large);
    add("report/there-can-be-many-zones", test_report_many);
    add_in_memory("report-short", test_report_short);
    add_in_memory("report-filters", test_report_filters);
    add_in_memory("the-size-of-a-report-does-not-overflow",
                  test_report_too_large);
    add_in_memory("allocated-namespaces-can-be-identified",
                  test_identify_allocated);
}
