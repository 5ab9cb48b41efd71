/*
 * Unit tests of the zone table: records, dirty marks, readable ranges, resize
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "zone-table-harness.h"

/* --- Records --- */

/* Valid records of a sequential zone, and what is stored of them */
static const struct {
    ZoneRecord r;
    BlockZoneState stored;      /* when the power is lost */
} good_records[] = {
    { { EM, 0, BEGIN, BEGIN }, EM },
    { { IO, 0, BEGIN + WRITTEN, BEGIN + WRITTEN }, CL },
    { { EO, 0, BEGIN + WRITTEN, BEGIN + WRITTEN }, CL },
    { { CL, 0, BEGIN + WRITTEN, BEGIN + WRITTEN }, CL },
    { { IO, 0, BEGIN, BEGIN }, EM },
    { { EO, 0, BEGIN, BEGIN }, EM },
    { { CL, 0, BEGIN, BEGIN }, EM },
    { { CL, 1, END - BLOCK, END - BLOCK }, CL },
    { { FU, 0, END, END }, FU },
    { { FU, 1, END, BEGIN + WRITTEN }, FU },
    { { FU, 1, END, BEGIN }, FU },
    { { FU, 5, END, BEGIN + WRITTEN }, FU },
    { { CL, 3, BEGIN + WRITTEN, BEGIN + WRITTEN }, CL },
    { { EO, 2, BEGIN + BLOCK, BEGIN + BLOCK }, CL },
    { { RO, 0, BEGIN, BEGIN }, RO },
    { { RO, 0, BEGIN + WRITTEN, BEGIN + WRITTEN }, RO },
    { { RO, 0, END, BEGIN + WRITTEN }, RO },
    { { OF, 0, BEGIN + WRITTEN, BEGIN + WRITTEN }, OF },
    { { OF, 0, END, END }, OF },
};

static const struct {
    const char *name;
    uint32_t zone;
    ZoneRecord r;
} bad_records[] = {
    { "no such state", FIRST_SEQ, { 5, 0, BEGIN, BEGIN } },
    { "no such state, large", FIRST_SEQ, { 16, 0, BEGIN, BEGIN } },
    { "sequential as conventional", FIRST_SEQ, { NW, 0, BEGIN, BEGIN } },
    { "conventional as empty", 0, { EM, 0, 0, 0 } },
    { "conventional as full", 0, { FU, 0, ZONE, ZONE } },
    { "conventional as offline", 1, { OF, 0, ZONE, ZONE } },

    { "empty, to be finished", FIRST_SEQ, { EM, 2, BEGIN, BEGIN } },
    { "empty, to be reset", FIRST_SEQ, { EM, 4, BEGIN, BEGIN } },
    { "closed, to be reset", FIRST_SEQ,
      { CL, 4, BEGIN + BLOCK, BEGIN + BLOCK } },
    { "open, to be reset", FIRST_SEQ,
      { EO, 4, BEGIN + BLOCK, BEGIN + BLOCK } },
    { "full, to be finished", FIRST_SEQ, { FU, 2, END, END } },
    { "read-only, to be finished", FIRST_SEQ, { RO, 2, BEGIN, BEGIN } },
    { "read-only, to be reset", FIRST_SEQ, { RO, 4, END, END } },
    { "offline, to be reset", FIRST_SEQ, { OF, 4, END, END } },
    { "an attribute that is not known", FIRST_SEQ, { FU, 0x10, END, END } },

    { "empty with write pointer", FIRST_SEQ, { EM, 0, BEGIN + BLOCK, BEGIN } },
    { "empty with data", FIRST_SEQ, { EM, 0, BEGIN, BEGIN + BLOCK } },
    { "write pointer below the zone", FIRST_SEQ,
      { CL, 0, BEGIN - BLOCK, BEGIN - BLOCK } },
    { "write pointer of another zone", FIRST_SEQ,
      { CL, 0, BEGIN + ZONE, BEGIN + ZONE } },
    { "write pointer zero", FIRST_SEQ, { CL, 0, 0, 0 } },
    { "write pointer huge", FIRST_SEQ, { CL, 0, UINT64_MAX, UINT64_MAX } },
    { "implicitly open at the end", FIRST_SEQ, { IO, 0, END, END } },
    { "explicitly open at the end", FIRST_SEQ, { EO, 0, END, END } },
    { "closed at the end", FIRST_SEQ, { CL, 0, END, END } },
    { "closed above the end", FIRST_SEQ,
      { CL, 0, END + BLOCK, END + BLOCK } },
    { "closed with less data", FIRST_SEQ,
      { CL, 0, BEGIN + 2 * BLOCK, BEGIN + BLOCK } },
    { "closed with more data", FIRST_SEQ,
      { CL, 0, BEGIN + BLOCK, BEGIN + 2 * BLOCK } },
    { "closed within a sector", FIRST_SEQ,
      { CL, 0, BEGIN + 100, BEGIN + 100 } },
    { "full below the end", FIRST_SEQ, { FU, 0, END - BLOCK, BEGIN } },
    { "full at the end of the zone", FIRST_SEQ,
      { FU, 0, BEGIN + ZONE, END } },
    { "full with data below the zone", FIRST_SEQ,
      { FU, 0, END, BEGIN - BLOCK } },
    { "full with data above the capacity", FIRST_SEQ,
      { FU, 0, END, END + BLOCK } },
    { "full with data within a sector", FIRST_SEQ,
      { FU, 0, END, BEGIN + 1 } },
    { "read-only with write pointer above", FIRST_SEQ,
      { RO, 0, END + BLOCK, END } },
    { "read-only with write pointer below", FIRST_SEQ,
      { RO, 0, BEGIN - BLOCK, BEGIN } },
    { "offline with data above", FIRST_SEQ, { OF, 0, END, END + BLOCK } },
    { "offline with data below", FIRST_SEQ, { OF, 0, END, 0 } },
};

static void test_record_round_trip(void)
{
    for (int i = 0; i < ARRAY_SIZE(good_records); i++) {
        const ZoneRecord *r = &good_records[i].r;
        g_autofree char *cell = g_strdup_printf("record %d", i);
        ZoneRecord stored = *r;
        ZoneTable *t = new_table();

        if (!zone_table_load(t, FIRST_SEQ, r)) {
            g_test_message("%s is refused", cell);
            g_test_fail();
            zone_table_free(t);
            continue;
        }
        expect_record(cell, record_of(t, FIRST_SEQ, true), *r);
        stored.state = good_records[i].stored;
        expect_record(cell, record_of(t, FIRST_SEQ, false), stored);

        /* What is stored can be loaded, over what was there before too */
        g_assert_true(zone_table_load(t, FIRST_SEQ, &stored));
        expect_record(cell, record_of(t, FIRST_SEQ, false), stored);
        expect_counts(cell, t);
        g_assert_false(zone_table_is_dirty(t));
        zone_table_free(t);
    }
}

static void test_record_rejected(void)
{
    for (int i = 0; i < ARRAY_SIZE(bad_records); i++) {
        const char *cell = bad_records[i].name;
        uint32_t zone = bad_records[i].zone;
        ZoneTable *t = new_table();
        ZoneRecord before = record_of(t, zone, true);

        if (zone_table_load(t, zone, &bad_records[i].r)) {
            g_test_message("%s is accepted", cell);
            g_test_fail();
        }
        expect_record(cell, record_of(t, zone, true), before);
        expect_counts(cell, t);
        zone_table_free(t);
    }
}

static void test_record_of_conventional(void)
{
    ZoneTable *t = new_table();
    ZoneRecord r = record_of(t, 1, false);

    g_assert_cmpint(r.state, ==, NW);
    g_assert_true(zone_table_load(t, 1, &r));
    g_assert_cmpint(state_of(t, 1), ==, NW);
    zone_table_free(t);
}

/* What a zone's history leaves for the store, live or not */
static void test_record_follows_zone(void)
{
    ZoneTable *t = new_table();
    uint64_t position;
    Request w;

    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, FIRST_SEQ), ==, 0);
    expect_record("opened", record_of(t, FIRST_SEQ, true),
                  (ZoneRecord) { EO, 0, BEGIN, BEGIN });
    expect_record("opened, stored", record_of(t, FIRST_SEQ, false),
                  (ZoneRecord) { EM, 0, BEGIN, BEGIN });

    start_append(&w, t, FIRST_SEQ, BLOCK);
    expect_record("writing", record_of(t, FIRST_SEQ, false),
                  (ZoneRecord) { EM, 0, BEGIN, BEGIN });
    finish(&w, 0);
    expect_record("written", record_of(t, FIRST_SEQ, false),
                  (ZoneRecord) { CL, 0, BEGIN + BLOCK, BEGIN + BLOCK });
    g_assert_cmpint(do_append(t, FIRST_SEQ, CAPACITY - BLOCK, &position), ==,
                    0);
    expect_record("full", record_of(t, FIRST_SEQ, false),
                  (ZoneRecord) { FU, 0, END, END });
    g_assert_cmpint(do_mgmt(t, BLK_ZO_RESET, FIRST_SEQ), ==, 0);
    expect_record("reset", record_of(t, FIRST_SEQ, false),
                  (ZoneRecord) { EM, 0, BEGIN, BEGIN });
    zone_table_free(t);
}

static void test_attributes(void)
{
    ZoneTable *t = new_table();
    ZoneRecord r = { CL, 0x01, BEGIN + WRITTEN, BEGIN + WRITTEN };

    g_assert_true(zone_table_load(t, FIRST_SEQ, &r));
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, FIRST_SEQ), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_CLOSE, FIRST_SEQ), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_FINISH, FIRST_SEQ), ==, 0);
    g_assert_cmphex(record_of(t, FIRST_SEQ, false).attributes, ==, 0x01);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_RESET, FIRST_SEQ), ==, 0);
    g_assert_cmphex(record_of(t, FIRST_SEQ, false).attributes, ==, 0);
    zone_table_free(t);
}

static void add_record_tests(void)
{
    g_test_add_func("/zone-table/record/round-trip", test_record_round_trip);
    g_test_add_func("/zone-table/record/senseless-is-refused",
                    test_record_rejected);
    g_test_add_func("/zone-table/record/of-conventional-zone",
                    test_record_of_conventional);
    g_test_add_func("/zone-table/record/follows-zone",
                    test_record_follows_zone);
    g_test_add_func("/zone-table/record/attributes-last-until-reset",
                    test_attributes);
}

/* --- Dirty marks --- */

static ZoneTable *new_large_table(uint32_t zones)
{
    ZoneGeometry g = standard_geometry();

    g.size = zones * ZONE;
    g.conventional_zones = 0;
    return zone_table_new(&g);
}

static void test_dirty_causes(void)
{
    ZoneTable *t = new_large_table(4);
    uint64_t position;
    Request a, b, m;

    g_assert_false(zone_table_is_dirty(t));

    /* The stored record has neither open nor closed zones without data */
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 0), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_CLOSE, 0), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 0), ==, 0);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_CLOSE, BDRV_ZONE_CLOSE_EMPTY,
                                  0, 1), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_RESET, 1), ==, 0);
    g_assert_cmpint(do_append(t, 0, 0, &position), ==, 0);
    g_assert_false(zone_table_is_dirty(t));

    /* A write counts when it is acknowledged, not before */
    start_append(&a, t, 0, BLOCK);
    start_append(&b, t, 0, BLOCK);
    g_assert_false(zone_table_is_dirty(t));
    finish(&b, 0);
    g_assert_false(zone_table_is_dirty(t));
    finish(&a, 0);
    g_assert_true(zone_table_is_dirty(t));
    expect_dirty(t, "0");
    g_assert_false(zone_table_is_dirty(t));
    expect_dirty(t, "");

    /* A failed one does not count */
    start_append(&a, t, 2, BLOCK);
    finish(&a, -EIO);
    g_assert_false(zone_table_is_dirty(t));

    /* Open and close of a zone with data */
    g_assert_cmpint(do_mgmt(t, BLK_ZO_CLOSE, 0), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 0), ==, 0);
    g_assert_false(zone_table_is_dirty(t));

    /* Reset and finish are dirty before they end: that is to be stored */
    start_mgmt(&m, t, BLK_ZO_FINISH, 0, 1);
    expect_dirty(t, "0");
    finish(&m, 0);
    store_all(t);       /* Allowed, but not needed */
    g_assert_cmpint(do_mgmt(t, BLK_ZO_FINISH, 0), ==, 0);
    g_assert_false(zone_table_is_dirty(t));
    start_mgmt(&m, t, BLK_ZO_RESET, 0, 1);
    expect_dirty(t, "0");
    finish(&m, 0);
    zone_table_free(t);
}

static void test_dirty_blocks(void)
{
    enum { PER_BLOCK = 1 << ZONE_DIRTY_SHIFT };
    ZoneTable *t = new_large_table(3 * PER_BLOCK + 1);
    ZoneSnapshot *snap;
    uint64_t position;

    do_append(t, PER_BLOCK - 1, BLOCK, &position);
    do_append(t, 2 * PER_BLOCK, BLOCK, &position);
    do_append(t, 2 * PER_BLOCK + 17, BLOCK, &position);
    do_append(t, 3 * PER_BLOCK, BLOCK, &position);      /* the last zone */

    snap = zone_table_take_snapshot(t, false);
    g_assert_false(zone_table_is_dirty(t));
    expect_blocks(snap, "0 2 3");
    g_assert_cmpuint(snap->records->len, ==, 3 * PER_BLOCK);

    /* Not stored; and there is more meanwhile */
    do_append(t, PER_BLOCK, BLOCK, &position);
    zone_table_drop_snapshot(t, snap, false);
    expect_dirty(t, "0 1 2 3");
    g_assert_false(zone_table_is_dirty(t));

    /* From some zone to the end */
    zone_table_mark_dirty(t, 2 * PER_BLOCK + 5);
    expect_dirty(t, "2 3");
    zone_table_free(t);
}

static void add_dirty_tests(void)
{
    g_test_add_func("/zone-table/dirty/what-changes-the-record",
                    test_dirty_causes);
    g_test_add_func("/zone-table/dirty/taken-in-blocks", test_dirty_blocks);
}

/* --- Readable ranges --- */

static void test_readable(void)
{
    /* Zones 0 and 1 are conventional; the rest is put into states below. */
    static const struct {
        const char *name;
        uint64_t offset, bytes, want;
        bool data;
    } tests[] = {
        { "conventional", 0, 2 * ZONE, 2 * ZONE, true },
        { "within conventional", ZONE - BLOCK, 2 * BLOCK, 2 * BLOCK, true },
        { "empty", 2 * ZONE, BLOCK, BLOCK, false },
        { "two empty zones", 2 * ZONE, 2 * ZONE, 2 * ZONE, false },
        { "below the write pointer", 4 * ZONE, WRITTEN, WRITTEN, true },
        { "one byte", 4 * ZONE + WRITTEN - 1, BLOCK, 1, true },
        { "over the write pointer", 4 * ZONE + BLOCK, ZONE,
          WRITTEN - BLOCK, true },
        { "above the write pointer", 4 * ZONE + WRITTEN, BLOCK, BLOCK,
          false },
        { "up to the data of the next zone", 4 * ZONE + WRITTEN, ZONE,
          ZONE - WRITTEN, false },
        { "finished, data", 5 * ZONE, ZONE, WRITTEN, true },
        { "finished, the rest", 5 * ZONE + WRITTEN, ZONE - WRITTEN,
          ZONE - WRITTEN, false },
        { "full", 6 * ZONE, ZONE, CAPACITY, true },
        { "above the capacity", 6 * ZONE + CAPACITY, ZONE - CAPACITY,
          ZONE - CAPACITY, false },
        { "read-only", 7 * ZONE, ZONE, WRITTEN, true },
        { "the rest of the device", 8 * ZONE + BLOCK, 8 * ZONE - BLOCK,
          8 * ZONE - BLOCK, false },
        { "the last byte", NR_ZONES * ZONE - 1, 1, 1, false },
    };
    ZoneTable *t = new_table();

    put_zone(t, 4, CL, WRITTEN);
    put_zone(t, 5, FU, WRITTEN);
    put_zone(t, 6, FU, CAPACITY);
    put_zone(t, 7, RO, WRITTEN);
    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        bool data = !tests[c].data;

        expect_value(tests[c].name, "readable",
                     zone_table_readable(t, tests[c].offset, tests[c].bytes,
                                         &data), tests[c].want);
        expect_value(tests[c].name, "data", data, tests[c].data);
    }
    zone_table_free(t);
}

/* An offline zone cannot be read, and what is readable ends where it begins. */
static void test_readable_offline(void)
{
    ZoneGeometry g = standard_geometry();
    ZoneTable *t;
    bool data;

    g.zones.capacity = ZONE;
    t = zone_table_new(&g);
    g_assert_cmpint(do_write(t, 4 * ZONE, ZONE), ==, 0);
    put_zone(t, 5, OF, ZONE);
    g_assert_cmpint(do_write(t, 6 * ZONE, ZONE), ==, 0);
    g_assert_cmpint(zone_table_readable(t, 5 * ZONE, BLOCK, &data), ==,
                    -ENODEV);
    g_assert_cmpint(zone_table_readable(t, 4 * ZONE, 3 * ZONE, &data), ==,
                    ZONE);
    g_assert_true(data);
    zone_table_free(t);
}

/* Who reads whole clusters may read behind the end: there is nothing. */
static void test_readable_behind_the_end(void)
{
    ZoneGeometry g = standard_geometry();
    ZoneTable *t;
    bool data = true;

    g.size -= ZONE - CAPACITY + BLOCK;
    t = zone_table_new(&g);
    g_assert_cmphex(zone_table_readable(t, g.size - BLOCK, 4 * ZONE, &data), ==,
                    BLOCK);
    g_assert_false(data);
    data = true;
    g_assert_cmphex(zone_table_readable(t, g.size, 4 * ZONE, &data), ==,
                    4 * ZONE);
    g_assert_false(data);
    g_assert_cmpint(do_write(t, (NR_ZONES - 1) * ZONE, CAPACITY - BLOCK), ==, 0);
    g_assert_cmphex(zone_table_readable(t, g.size - BLOCK, 4 * ZONE, &data), ==,
                    BLOCK);
    g_assert_true(data);
    zone_table_free(t);
}

/* With a capacity of the whole zone, data goes on in the next one. */
static void test_readable_over_zones(void)
{
    ZoneGeometry g = standard_geometry();
    ZoneTable *t;
    bool data;

    g.zones.capacity = ZONE;
    t = zone_table_new(&g);
    g_assert_cmpint(do_write(t, 2 * ZONE, ZONE), ==, 0);
    g_assert_cmpint(do_write(t, 3 * ZONE, ZONE), ==, 0);
    g_assert_cmpint(do_write(t, 4 * ZONE, BLOCK), ==, 0);
    g_assert_cmphex(zone_table_readable(t, 2 * ZONE, 5 * ZONE, &data), ==,
                    2 * ZONE + BLOCK);
    g_assert_true(data);
    zone_table_free(t);
}

static void test_readable_follows_acknowledgement(void)
{
    ZoneTable *t = new_table();
    Request a, b, m;
    bool data;

    start_append(&a, t, 4, BLOCK);
    start_append(&b, t, 4, BLOCK);
    finish(&b, 0);
    g_assert_cmphex(zone_table_readable(t, 4 * ZONE, ZONE, &data), ==, ZONE);
    g_assert_false(data);
    finish(&a, 0);
    g_assert_cmphex(zone_table_readable(t, 4 * ZONE, ZONE, &data), ==,
                    2 * BLOCK);
    g_assert_true(data);

    /* Until a reset has ended, the data is there */
    start_mgmt(&m, t, BLK_ZO_RESET, 4, 1);
    zone_table_readable(t, 4 * ZONE, ZONE, &data);
    g_assert_true(data);
    finish(&m, 0);
    zone_table_readable(t, 4 * ZONE, ZONE, &data);
    g_assert_false(data);
    zone_table_free(t);
}

static void add_readable_tests(void)
{
    g_test_add_func("/zone-table/readable/ends-where-data-ends", test_readable);
    g_test_add_func("/zone-table/readable/goes-on-over-zones",
                    test_readable_over_zones);
    g_test_add_func("/zone-table/readable/behind-the-end",
                    test_readable_behind_the_end);
    g_test_add_func("/zone-table/readable/stops-at-an-offline-zone",
                    test_readable_offline);
    g_test_add_func("/zone-table/readable/follows-acknowledgement",
                    test_readable_follows_acknowledgement);
}

/* --- Changing size and limits --- */

static void test_grow(void)
{
    ZoneTable *t = new_limited_table(2, 0);
    uint64_t position;
    Request a, b, late, m;
    ZoneCounts c;

    start_append(&a, t, 4, BLOCK);
    start_append(&b, t, 4, BLOCK);
    do_append(t, 5, BLOCK, &position);
    put_zone(t, NR_ZONES - 1, FU, WRITTEN);
    start_mgmt(&m, t, BLK_ZO_FINISH, 7, 1);
    start_append(&late, t, 7, BLOCK);
    g_assert_cmpint(late.begun, ==, WAITING);
    g_assert_cmpint(finish(&b, 0), ==, WAITING);

    g_assert_cmpint(zone_table_resize(t, (NR_ZONES + 500) * ZONE), ==, 0);
    g_assert_cmpuint(zone_table_nr_zones(t), ==, NR_ZONES + 500);
    g_assert_cmphex(zone_table_geometry(t)->size, ==,
                    (NR_ZONES + 500) * ZONE);
    g_assert_cmpint(state_of(t, NR_ZONES - 1), ==, FU);
    g_assert_cmpint(state_of(t, NR_ZONES), ==, EM);
    g_assert_cmphex(written_in(t, NR_ZONES + 499), ==, 0);
    zone_table_count(t, &c);
    g_assert_cmpuint(c.in_state[NW], ==, NR_CONV);
    expect_counts("after growing", t);

    /* What was in progress goes on */
    g_assert_cmpint(finish(&a, 0), ==, 0);
    g_assert_cmpint(b.ended, ==, 0);
    g_assert_cmphex(written_in(t, 4), ==, 2 * BLOCK);
    g_assert_cmpint(finish(&m, -EIO), ==, -EIO);
    g_assert_cmpint(late.begun, ==, 0);
    g_assert_cmpint(finish(&late, -EIO), ==, -EIO);

    /* and so does the order of implicit closes: 4 was written again, 5 was not */
    g_assert_cmpint(state_of(t, 4), ==, IO);
    g_assert_cmpint(state_of(t, 5), ==, CL);
    g_assert_cmpint(do_append(t, NR_ZONES + 3, BLOCK, &position), ==, 0);
    g_assert_cmpint(do_append(t, NR_ZONES + 400, BLOCK, &position), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, CL);
    g_assert_cmpint(state_of(t, NR_ZONES + 3), ==, IO);

    /* All blocks of records can be dirty */
    expect_dirty(t, "0 1");
    zone_table_free(t);
}

static void test_shrink(void)
{
    ZoneTable *t = new_large_table(600);
    BlockZoneDescriptor d[4];
    unsigned int nr = 4;
    uint64_t position;

    do_append(t, 3, BLOCK, &position);
    do_append(t, 599, BLOCK, &position);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_RESET, 599), ==, 0);
    g_assert_cmpint(zone_table_resize(t, 5 * ZONE - BLOCK), ==, 0);
    g_assert_cmpuint(zone_table_nr_zones(t), ==, 5);
    expect_counts("after shrinking", t);
    zone_table_report(t, 3 * ZONE, &nr, d);
    g_assert_cmpuint(nr, ==, 2);
    g_assert_cmphex(d[0].wp, ==, 3 * ZONE + BLOCK);
    g_assert_cmphex(d[1].length, ==, ZONE - BLOCK);
    g_assert_cmpint(do_append(t, 5, BLOCK, &position), ==, -EINVAL);

    /* The marks of what is gone are gone */
    expect_dirty(t, "0");
    g_assert_false(zone_table_is_dirty(t));

    /* What comes back is empty */
    g_assert_cmpint(zone_table_resize(t, 600 * ZONE), ==, 0);
    g_assert_cmpint(state_of(t, 599), ==, EM);
    g_assert_cmphex(report_zone(t, 4).length, ==, ZONE);
    g_assert_false(zone_table_is_dirty(t));
    expect_counts("after growing again", t);
    zone_table_free(t);
}

/* A zone that goes or gets another length must be empty. */
static void test_resize_in_the_way(void)
{
    static const struct {
        const char *name;
        uint64_t from, to;
        uint32_t zone;          /* that is not empty */
        int want;
    } tests[] = {
        { "last one goes", 8 * ZONE, 7 * ZONE, 7, -EBUSY },
        { "one of many goes", 8 * ZONE, 3 * ZONE, 5, -EBUSY },
        { "one becomes shorter", 8 * ZONE, 7 * ZONE + BLOCK, 7, -EBUSY },
        { "short one becomes shorter", 7 * ZONE + CAPACITY + BLOCK,
          7 * ZONE + CAPACITY, 7, -EBUSY },
        { "short one becomes longer", 7 * ZONE + CAPACITY,
          7 * ZONE + CAPACITY + BLOCK, 7, -EBUSY },
        { "short one becomes whole", 7 * ZONE + CAPACITY, 9 * ZONE, 7,
          -EBUSY },
        { "one below", 8 * ZONE, 7 * ZONE, 6, 0 },
        { "whole one stays", 8 * ZONE, 9 * ZONE, 7, 0 },
        { "whole one, same size", 8 * ZONE, 8 * ZONE, 7, 0 },
        { "short one, same size", 7 * ZONE + CAPACITY, 7 * ZONE + CAPACITY,
          7, 0 },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        for (int i = 2; i < NR_SITUATIONS; i++) {
            const Situation *s = &situations[i];
            g_autofree char *cell = g_strdup_printf("%s, and is %s",
                                                    tests[c].name, s->name);
            ZoneGeometry g = standard_geometry();
            uint64_t size = tests[c].want ? tests[c].from : tests[c].to;
            ZoneTable *t;

            g.size = tests[c].from;
            t = zone_table_new(&g);
            put_zone(t, tests[c].zone, s->state, s->written);
            expect_ret(cell, zone_table_resize(t, tests[c].to),
                       tests[c].want);
            expect_value(cell, "size", zone_table_geometry(t)->size, size);
            expect_value(cell, "number of zones", zone_table_nr_zones(t),
                         DIV_ROUND_UP(size, ZONE));
            expect_state(cell, state_of(t, tests[c].zone), s->state);
            expect_counts(cell, t);
            zone_table_free(t);
        }
    }
}

/* It is empty yet, but is being finished. */
static void test_resize_during_finish(void)
{
    ZoneTable *t = new_table();
    Request m;

    start_mgmt(&m, t, BLK_ZO_FINISH, NR_ZONES - 1, 1);
    g_assert_cmpint(zone_table_resize(t, (NR_ZONES - 1) * ZONE), ==, -EBUSY);
    g_assert_cmpint(finish(&m, -EIO), ==, -EIO);
    g_assert_cmpint(zone_table_resize(t, (NR_ZONES - 1) * ZONE), ==, 0);
    zone_table_free(t);
}

static void test_set_limits(void)
{
    ZoneTable *t = new_table();
    uint64_t position;

    for (int i = 4; i < 8; i++) {
        do_append(t, i, BLOCK, &position);
    }

    /* Lower limits take effect as soon as one more is opened */
    zone_table_set_limits(t, 2, 5, BLOCK);
    g_assert_cmpuint(zone_table_geometry(t)->zones.max_open, ==, 2);
    g_assert_cmpuint(zone_table_geometry(t)->zones.max_active, ==, 5);
    g_assert_cmpint(do_append(t, 8, 2 * BLOCK, &position), ==, -EINVAL);
    g_assert_cmpint(do_append(t, 8, BLOCK, &position), ==, 0);
    g_assert_cmpuint(nr_open(t), <=, 2);
    g_assert_cmpint(state_of(t, 7), ==, IO);
    g_assert_cmpint(do_append(t, 9, BLOCK, &position), ==, -EOVERFLOW);
    g_assert_cmpuint(nr_active(t), ==, 5);

    /* and higher ones, or none, at once */
    zone_table_set_limits(t, 0, 0, 2 * BLOCK);
    for (int i = 9; i < NR_ZONES; i++) {
        g_assert_cmpint(do_append(t, i, 2 * BLOCK, &position), ==, 0);
    }
    g_assert_cmpint(state_of(t, 8), ==, IO);
    zone_table_free(t);
}

static void add_resize_tests(void)
{
    g_test_add_func("/zone-table/resize/new-zones-are-empty", test_grow);
    g_test_add_func("/zone-table/resize/zones-go", test_shrink);
    g_test_add_func("/zone-table/resize/zones-that-change-must-be-empty",
                    test_resize_in_the_way);
    g_test_add_func("/zone-table/resize/not-during-finish",
                    test_resize_during_finish);
    g_test_add_func("/zone-table/limits/can-change", test_set_limits);
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);

    add_record_tests();
    add_dirty_tests();
    add_readable_tests();
    add_resize_tests();
    return g_test_run();
}
