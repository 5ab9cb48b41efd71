/*
 * Unit tests of the zone table: claims, which stand for records
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "zone-table-harness.h"

#define MANY_ZONES (ZONE_CLAIMS_MAX + 20)

static ZoneTable *new_claiming_table(uint32_t nr_zones, uint32_t max_active)
{
    ZoneGeometry g = standard_geometry();
    ZoneTable *t;

    g.size = nr_zones * ZONE;
    g.zones.max_active = max_active;
    g.zones.max_open = max_active;
    g.zones.write_granularity = 512;
    t = zone_table_new(&g);
    zone_table_enable_claims(t);
    return t;
}

/* What the tests write at @offset of the disk */
static void fill(uint8_t *buf, uint64_t offset, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++) {
        buf[i] = (offset + i) * 2654435761u >> 24;
    }
}

static ZoneChecksum sum_of(uint64_t offset, uint64_t bytes)
{
    g_autofree uint8_t *buf = g_malloc(bytes);
    ZoneChecksum sum = ZONE_CHECKSUM_INIT;

    fill(buf, offset, bytes);
    zone_checksum_update(&sum, buf, bytes);
    return sum;
}

static void start_summed(Request *r, ZoneTable *t, uint64_t offset,
                         uint64_t bytes)
{
    start_write(r, t, offset, bytes);
    g_assert_cmpint(r->begun, ==, 0);
    r->w.has_sum = true;
    r->w.sum = sum_of(r->w.start, bytes);
}

static void write_summed(ZoneTable *t, uint64_t offset, uint64_t bytes)
{
    Request r;

    start_summed(&r, t, offset, bytes);
    g_assert_cmpint(finish(&r, 0), ==, 0);
}

/* All that is in the table is in records. */
static void store(ZoneTable *t)
{
    ZoneSnapshot *snap;

    while ((snap = zone_table_take_snapshot(t, false))) {
        zone_table_drop_snapshot(t, snap, true);
    }
}

static int nr_claims(ZoneTable *t)
{
    ZoneClaim claims[ZONE_CLAIMS_MAX];

    return zone_table_get_claims(t, claims);
}

static void expect_claim(const ZoneClaim *claim, uint64_t from, uint64_t to)
{
    ZoneChecksum sum = sum_of(from, to - from);

    g_assert_cmpuint(claim->zone, ==, from / ZONE);
    g_assert_cmphex(claim->from, ==, from);
    g_assert_cmphex(claim->to, ==, to);
    g_assert_cmphex(zone_checksum_value(&claim->sum), ==,
                    zone_checksum_value(&sum));
}

static void test_checksum(void)
{
    /* Check values of CRC-32 and Adler-32, as everybody has them */
    ZoneChecksum whole = ZONE_CHECKSUM_INIT, parts = ZONE_CHECKSUM_INIT;
    ZoneChecksum second = ZONE_CHECKSUM_INIT;

    zone_checksum_update(&whole, "123456789", 9);
    g_assert_cmphex(zone_checksum_value(&whole), ==, 0xcbf43926091e01de);

    zone_checksum_update(&parts, "1234", 4);
    zone_checksum_update(&second, "56789", 5);
    zone_checksum_append(&parts, &second, 5);
    g_assert_cmphex(zone_checksum_value(&parts), ==, 0xcbf43926091e01de);
}

static void test_writes(void)
{
    ZoneTable *t = new_claiming_table(NR_ZONES, 0);
    ZoneClaim claims[ZONE_CLAIMS_MAX];

    g_assert_cmpint(nr_claims(t), ==, 0);
    write_summed(t, 5 * ZONE, BLOCK);
    write_summed(t, 3 * ZONE, 512);
    write_summed(t, 5 * ZONE + BLOCK, 2 * BLOCK);
    g_assert_true(zone_table_is_dirty(t));
    g_assert_cmpint(zone_table_get_claims(t, claims), ==, 2);
    expect_claim(&claims[0], 3 * ZONE, 3 * ZONE + 512);
    expect_claim(&claims[1], 5 * ZONE, 5 * ZONE + 3 * BLOCK);
    /* They are all of them, each time */
    g_assert_cmpint(nr_claims(t), ==, 2);
    zone_table_free(t);
}

static void test_writes_end_in_any_order(void)
{
    ZoneTable *t = new_claiming_table(NR_ZONES, 0);
    ZoneClaim claims[ZONE_CLAIMS_MAX];
    Request a, b, c;

    start_summed(&a, t, BEGIN, BLOCK);
    start_summed(&b, t, BEGIN + BLOCK, 3 * BLOCK);
    start_summed(&c, t, BEGIN + 4 * BLOCK, BLOCK);
    end_io(&b, 0);
    g_assert_cmpint(nr_claims(t), ==, 0);
    finish(&a, 0);
    g_assert_cmpint(zone_table_get_claims(t, claims), ==, 1);
    expect_claim(&claims[0], BEGIN, BEGIN + 4 * BLOCK);
    /* What failed is not in it */
    finish(&c, -EIO);
    g_assert_cmpint(zone_table_get_claims(t, claims), ==, 1);
    expect_claim(&claims[0], BEGIN, BEGIN + 4 * BLOCK);
    write_summed(t, BEGIN + 4 * BLOCK, 512);
    g_assert_cmpint(zone_table_get_claims(t, claims), ==, 1);
    expect_claim(&claims[0], BEGIN, BEGIN + 4 * BLOCK + 512);
    zone_table_free(t);
}

/* What cannot be said in claims, after which all has to be stored */
static void expect_records_needed(ZoneTable *t)
{
    g_assert_cmpint(nr_claims(t), ==, -1);
    g_assert_true(zone_table_is_dirty(t));
    store(t);
    g_assert_cmpint(nr_claims(t), ==, 0);
}

static void test_records_needed(void)
{
    static const BlockZoneOp ops[] = {
        BLK_ZO_RESET, BLK_ZO_FINISH, BLK_ZO_FORCE_RDONLY, BLK_ZO_FORCE_OFFLINE,
    };
    ZoneTable *t = new_table();

    write_summed(t, BEGIN, BLOCK);      /* no claims are kept */
    expect_records_needed(t);
    zone_table_free(t);

    t = new_claiming_table(MANY_ZONES, 0);
    for (int i = 0; i < ARRAY_SIZE(ops); i++) {
        uint32_t zone = FIRST_SEQ + i;

        write_summed(t, zone * ZONE, BLOCK);
        g_assert_cmpint(nr_claims(t), ==, 1);
        g_assert_cmpint(do_mgmt(t, ops[i], zone), ==, 0);
        expect_records_needed(t);
    }
    /* A write without checksum, also behind one with */
    do_write(t, 9 * ZONE, BLOCK);
    expect_records_needed(t);
    write_summed(t, 9 * ZONE + BLOCK, BLOCK);
    do_write(t, 9 * ZONE + 2 * BLOCK, BLOCK);
    expect_records_needed(t);
    /* A zone that becomes full */
    write_summed(t, 10 * ZONE, CAPACITY);
    expect_records_needed(t);
    /* Open and close are not stored */
    write_summed(t, 11 * ZONE, BLOCK);
    do_mgmt(t, BLK_ZO_OPEN, 11);
    do_mgmt(t, BLK_ZO_CLOSE, 11);
    g_assert_cmpint(nr_claims(t), ==, 1);
    zone_table_free(t);
}

/*
 * An operation waits for writes, and is stored already: the record is not one
 * that a claim can go on from.
 */
static void test_operation_that_waits(void)
{
    static const BlockZoneOp ops[] = { BLK_ZO_RESET, BLK_ZO_FINISH };

    for (int i = 0; i < ARRAY_SIZE(ops); i++) {
        ZoneTable *t = new_claiming_table(NR_ZONES, 0);
        Request w, above, m;

        start_summed(&w, t, BEGIN, BLOCK);
        start_summed(&above, t, BEGIN + BLOCK, BLOCK);
        start_mgmt(&m, t, ops[i], FIRST_SEQ, 1);
        store(t);
        g_assert_cmpint(finish(&w, 0), ==, 0);
        expect_records_needed(t);
        g_assert_cmpint(finish(&above, 0), ==, 0);
        expect_records_needed(t);
        g_assert_cmpint(finish(&m, 0), ==, 0);
        zone_table_free(t);
    }
}

static void test_limits(void)
{
    ZoneTable *t = new_claiming_table(MANY_ZONES, 0);
    uint32_t zone = FIRST_SEQ;
    uint64_t bytes;

    for (; zone < FIRST_SEQ + ZONE_CLAIMS_MAX; zone++) {
        write_summed(t, zone * ZONE, 512);
    }
    g_assert_cmpint(nr_claims(t), ==, ZONE_CLAIMS_MAX);
    write_summed(t, zone * ZONE, 512);
    expect_records_needed(t);

    /* 512 KiB each in 32 zones are as much as goes */
    bytes = ZONE_CLAIMS_MAX_BYTES / 32;
    for (zone = FIRST_SEQ; zone < FIRST_SEQ + 32; zone++) {
        write_summed(t, zone * ZONE + 512, bytes);
    }
    g_assert_cmpint(nr_claims(t), ==, 32);
    write_summed(t, FIRST_SEQ * ZONE + 512 + bytes, 512);
    expect_records_needed(t);
    write_summed(t, FIRST_SEQ * ZONE + 1024 + bytes, 512);
    g_assert_cmpint(nr_claims(t), ==, 1);
    zone_table_free(t);
}

/* A claim must not make a zone active that could be one too many */
static void test_active_limit(void)
{
    ZoneTable *t = new_claiming_table(NR_ZONES, 2);

    write_summed(t, BEGIN, BLOCK);
    expect_records_needed(t);
    write_summed(t, BEGIN + BLOCK, BLOCK);
    g_assert_cmpint(nr_claims(t), ==, 1);
    zone_table_free(t);
}

static void test_random_write_area(void)
{
    ZoneTable *t = new_zns_table(0, 0);

    zone_table_enable_claims(t);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_OPEN, BDRV_ZONE_ZRWA, FIRST_SEQ,
                                  1),
                    ==, 0);
    store(t);
    write_summed(t, BEGIN, BLOCK);
    expect_records_needed(t);
    zone_table_free(t);
}

/* A snapshot has in records what was in claims; if it fails, so has the next */
static void test_snapshot(void)
{
    ZoneTable *t = new_claiming_table(NR_ZONES, 0);
    ZoneClaim claims[ZONE_CLAIMS_MAX];
    ZoneSnapshot *snap;

    write_summed(t, BEGIN, BLOCK);
    snap = zone_table_take_snapshot(t, false);
    g_assert_nonnull(snap);
    g_assert_cmphex(g_array_index(snap->records, ZoneRecord,
                                  FIRST_SEQ).data_end, ==, BEGIN + BLOCK);
    /* Written meanwhile, and good only if the record gets there */
    write_summed(t, BEGIN + BLOCK, BLOCK);
    zone_table_drop_snapshot(t, snap, false);
    g_assert_cmpint(nr_claims(t), ==, -1);
    snap = zone_table_take_snapshot(t, false);
    g_assert_cmphex(g_array_index(snap->records, ZoneRecord,
                                  FIRST_SEQ).data_end, ==, BEGIN + 2 * BLOCK);
    write_summed(t, BEGIN + 2 * BLOCK, BLOCK);
    zone_table_drop_snapshot(t, snap, true);
    g_assert_cmpint(zone_table_get_claims(t, claims), ==, 1);
    expect_claim(&claims[0], BEGIN + 2 * BLOCK, BEGIN + 3 * BLOCK);
    zone_table_free(t);
}

/* What a claim will say of a write that is in progress */
static void test_claims_ahead(void)
{
    ZoneTable *t = new_claiming_table(NR_ZONES, 0);
    ZoneClaim claims[ZONE_CLAIMS_MAX];
    Request a, b;

    write_summed(t, BEGIN, BLOCK);
    start_summed(&a, t, BEGIN + BLOCK, BLOCK);
    start_summed(&b, t, BEGIN + 2 * BLOCK, BLOCK);
    g_assert_cmpint(zone_table_get_claims_with(t, claims, &a.w), ==, 1);
    expect_claim(&claims[0], BEGIN, BEGIN + 2 * BLOCK);
    /* One below is not there yet */
    g_assert_cmpint(zone_table_get_claims_with(t, claims, &b.w), ==, -1);
    finish(&a, 0);
    g_assert_cmpint(zone_table_get_claims_with(t, claims, &b.w), ==, 1);
    expect_claim(&claims[0], BEGIN, BEGIN + 3 * BLOCK);
    /* Nothing has changed by asking */
    g_assert_cmpint(zone_table_get_claims(t, claims), ==, 1);
    expect_claim(&claims[0], BEGIN, BEGIN + 2 * BLOCK);
    finish(&b, 0);

    /* In another zone, before the others */
    start_summed(&a, t, BEGIN + 5 * ZONE, BLOCK);
    g_assert_cmpint(zone_table_get_claims_with(t, claims, &a.w), ==, 2);
    expect_claim(&claims[0], BEGIN, BEGIN + 3 * BLOCK);
    expect_claim(&claims[1], BEGIN + 5 * ZONE, BEGIN + 5 * ZONE + BLOCK);
    finish(&a, -EIO);
    g_assert_cmpint(nr_claims(t), ==, 1);

    /* Records will be needed: the zone becomes full; something else changed */
    start_summed(&a, t, BEGIN + 3 * BLOCK, CAPACITY - 3 * BLOCK);
    g_assert_cmpint(zone_table_get_claims_with(t, claims, &a.w), ==, -1);
    finish(&a, 0);
    start_summed(&a, t, BEGIN + ZONE, BLOCK);
    g_assert_cmpint(zone_table_get_claims_with(t, claims, &a.w), ==, -1);
    finish(&a, 0);
    zone_table_free(t);
}

static void test_epochs(void)
{
    ZoneTable *t = new_claiming_table(NR_ZONES, 0);
    ZoneTable *copy = new_claiming_table(NR_ZONES, 0);
    ZoneClaim claims[ZONE_CLAIMS_MAX];

    for (int i = 1; i <= ZONE_EPOCHS; i++) {
        zone_table_next_epoch(t, FIRST_SEQ, 0);
        g_assert_cmpuint(record_of(t, FIRST_SEQ, false).epoch, ==,
                         i % ZONE_EPOCHS);
        g_assert_cmpuint(record_of(t, FIRST_SEQ + 1, false).epoch, ==, 0);
        /* It is to be stored, or the next claim would be of another record */
        expect_records_needed(t);
        write_summed(t, BEGIN + (i - 1) * 512, 512);
        g_assert_cmpint(zone_table_get_claims(t, claims), ==, 1);
        g_assert_cmpuint(claims[0].epoch, ==, i % ZONE_EPOCHS);
        store(t);
    }
    zone_table_next_epoch(t, FIRST_SEQ, 0);
    zone_table_copy(copy, t);
    g_assert_cmpuint(record_of(copy, FIRST_SEQ, false).epoch, ==, 1);

    /* Those that are taken are left out */
    zone_table_next_epoch(t, FIRST_SEQ, 1 << 2 | 1 << 3 | 1 << 5);
    g_assert_cmpuint(record_of(t, FIRST_SEQ, false).epoch, ==, 4);
    zone_table_next_epoch(t, FIRST_SEQ, 0xffff & ~(1 << 3));
    g_assert_cmpuint(record_of(t, FIRST_SEQ, false).epoch, ==, 3);
    zone_table_free(copy);
    zone_table_free(t);
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/zone-checksum/check-values", test_checksum);
    g_test_add_func("/zone-table/claims/writes", test_writes);
    g_test_add_func("/zone-table/claims/writes-end-in-any-order",
                    test_writes_end_in_any_order);
    g_test_add_func("/zone-table/claims/records-needed", test_records_needed);
    g_test_add_func("/zone-table/claims/operation-that-waits",
                    test_operation_that_waits);
    g_test_add_func("/zone-table/claims/so-many-and-so-much", test_limits);
    g_test_add_func("/zone-table/claims/active-limit", test_active_limit);
    g_test_add_func("/zone-table/claims/random-write-area",
                    test_random_write_area);
    g_test_add_func("/zone-table/claims/snapshot-makes-records",
                    test_snapshot);
    g_test_add_func("/zone-table/claims/of-a-write-in-progress",
                    test_claims_ahead);
    g_test_add_func("/zone-table/claims/epochs", test_epochs);
    return g_test_run();
}
