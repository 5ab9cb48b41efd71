/*
 * Unit tests of the zone table: requests of one zone in flight together
 *
 * What only concurrency can break is played through in every order, or in many
 * random ones.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "zone-table-harness.h"

/* --- Reservations: writes of one zone in flight together --- */

#define MAX_DEPTH 32

static void shuffle(GRand *rand, int *order, int n)
{
    for (int i = n - 1; i > 0; i--) {
        int j = g_rand_int_range(rand, 0, i + 1);

        swap(&order[i], &order[j]);
    }
}

/*
 * Begin @n writes and appends of different sizes to an empty zone and let
 * them end in @order, without errors.
 */
static void check_completion_order(const int *order, int n)
{
    g_autofree char *cell = order_name("writes", order, n);
    uint32_t zone = FIRST_SEQ;
    bool ended[MAX_DEPTH] = { false };
    uint64_t position = zone * ZONE;
    ZoneTable *t = new_table();
    Request r[MAX_DEPTH];
    unsigned int first;

    for (int i = 0; i < n; i++) {
        uint64_t bytes = (1 + i % 3) * BLOCK;

        if (i % 2) {
            start_append(&r[i], t, zone, bytes);
        } else {
            start_write(&r[i], t, position, bytes);
        }
        expect_ret(cell, r[i].begun, 0);
        expect_value(cell, "position", r[i].offset, position);
        position += bytes;
    }
    expect_value(cell, "write pointer", written_in(t, zone), 0);

    first = requests_ended;
    for (int k = 0; k < n; k++) {
        uint64_t prefix = zone * ZONE;
        bool whole = true;

        ended[order[k]] = true;
        finish(&r[order[k]], 0);
        for (int i = 0; i < n; i++) {
            whole &= ended[i];
            prefix += whole ? r[i].bytes : 0;
            expect_ret(cell, r[i].ended, whole ? 0 : WAITING);
        }
        expect_value(cell, "write pointer", report_zone(t, zone).wp, prefix);
        expect_value(cell, "stored write pointer",
                     record_of(t, zone, false).wp, prefix);
        expect_value(cell, "end of data",
                     record_of(t, zone, false).data_end, prefix);
    }
    for (int i = 0; i < n; i++) {
        expect_value(cell, "place in order of acknowledgement",
                     r[i].order - first, i);
    }
    expect_state(cell, state_of(t, zone), BLK_ZS_IOPEN);
    zone_table_free(t);
}

static void test_every_order(void)
{
    for (int n = 1; n <= 6; n++) {
        int order[6];

        identity(order, n);
        do {
            check_completion_order(order, n);
        } while (!g_test_failed() && next_permutation(order, n));
    }
}

static void test_random_orders(void)
{
    GRand *rand = g_rand_new_with_seed(20);
    int order[MAX_DEPTH];

    identity(order, MAX_DEPTH);
    for (int i = 0; i < 300 && !g_test_failed(); i++) {
        shuffle(rand, order, MAX_DEPTH);
        check_completion_order(order, MAX_DEPTH);
    }
    g_rand_free(rand);
}

/* The next write begins where the one in flight ends, and only there. */
static void test_reserved_end_is_write_pointer(void)
{
    ZoneTable *t = new_table();
    uint64_t begin = FIRST_SEQ * ZONE;
    Request a, b;

    start_write(&a, t, begin, 2 * BLOCK);
    g_assert_cmpint(do_write(t, begin, BLOCK), ==, -ESPIPE);
    g_assert_cmpint(do_write(t, begin + BLOCK, BLOCK), ==, -ESPIPE);
    g_assert_cmpint(do_write(t, begin + 3 * BLOCK, BLOCK), ==, -ESPIPE);
    start_write(&b, t, begin + 2 * BLOCK, BLOCK);
    g_assert_cmpint(b.begun, ==, 0);
    g_assert_cmpint(finish(&b, 0), ==, WAITING);
    g_assert_cmpint(finish(&a, 0), ==, 0);
    g_assert_cmpint(b.ended, ==, 0);
    zone_table_free(t);
}

/*
 * Those that waited for a write go on from the event loop, not within its end
 * call: else what they submit next would overtake what its caller submits.
 */
static void test_others_go_on_from_event_loop(void)
{
    static const int rets[] = { 0, -EIO };

    for (int i = 0; i < ARRAY_SIZE(rets); i++) {
        ZoneTable *t = new_table();
        Request a, b;

        start_append(&a, t, FIRST_SEQ, BLOCK);
        start_append(&b, t, FIRST_SEQ, BLOCK);
        g_assert_cmpint(finish(&b, 0), ==, WAITING);
        end_io(&a, rets[i]);
        g_assert_cmpint(a.ended, ==, rets[i]);
        g_assert_cmpint(b.ended, ==, WAITING);
        while (aio_poll(qemu_get_aio_context(), false)) {
            /* b */
        }
        g_assert_cmpint(b.ended, ==, rets[i]);
        zone_table_free(t);
    }
}

/* When all is reserved the zone is as good as full; it is so at the end. */
static void test_reserved_to_the_end(void)
{
    ZoneTable *t = new_limited_table(1, 1);
    uint64_t begin = FIRST_SEQ * ZONE, position;
    Request a, b;

    start_write(&a, t, begin, CAPACITY - BLOCK);
    g_assert_cmpint(do_write(t, begin + CAPACITY - BLOCK, 2 * BLOCK), ==,
                    -ERANGE);
    start_append(&b, t, FIRST_SEQ, BLOCK);
    g_assert_cmpint(b.begun, ==, 0);
    g_assert_cmpint(do_append(t, FIRST_SEQ, BLOCK, &position), ==, -EFBIG);
    g_assert_cmpint(do_write(t, begin + CAPACITY, BLOCK), ==, -EFBIG);
    g_assert_cmpint(finish(&b, 0), ==, WAITING);
    g_assert_cmpint(state_of(t, FIRST_SEQ), ==, IO);
    g_assert_cmpuint(nr_active(t), ==, 1);
    g_assert_cmpint(finish(&a, 0), ==, 0);
    g_assert_cmpint(b.ended, ==, 0);
    g_assert_cmpint(state_of(t, FIRST_SEQ), ==, FU);
    g_assert_cmpuint(nr_active(t), ==, 0);
    zone_table_free(t);
}

/* Zones do not wait for one another. */
static void test_zones_are_independent(void)
{
    ZoneTable *t = new_table();
    Request slow, fast;

    start_append(&slow, t, 4, BLOCK);
    start_append(&fast, t, 5, BLOCK);
    g_assert_cmpint(finish(&fast, 0), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_RESET, 5), ==, 0);
    g_assert_cmpint(finish(&slow, -EIO), ==, -EIO);
    zone_table_free(t);
}

/* A close, explicit or implicit, does not disturb a write in flight. */
static void test_close_during_write(void)
{
    ZoneTable *t = new_limited_table(1, 0);
    uint64_t position;
    Request a, b, c;

    start_append(&a, t, 4, BLOCK);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_CLOSE, 4), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, CL);
    g_assert_cmpint(finish(&a, 0), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, CL);
    g_assert_cmphex(written_in(t, 4), ==, BLOCK);

    start_append(&a, t, 4, BLOCK);
    g_assert_cmpint(do_append(t, 5, BLOCK, &position), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, CL);
    start_append(&b, t, 4, BLOCK);          /* opens it again */
    g_assert_cmpint(state_of(t, 4), ==, IO);
    g_assert_cmpint(state_of(t, 5), ==, CL);
    start_append(&c, t, 4, CAPACITY - 3 * BLOCK);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_CLOSE, 4), ==, 0);
    g_assert_cmpint(finish(&c, 0), ==, WAITING);
    g_assert_cmpint(finish(&a, 0), ==, 0);
    g_assert_cmpint(finish(&b, 0), ==, 0);
    g_assert_cmpint(c.ended, ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, FU);
    g_assert_cmpuint(nr_active(t), ==, 1);
    zone_table_free(t);
}

static void add_in_flight_tests(void)
{
    g_test_add_func("/zone-table/in-flight/acknowledged-in-every-order",
                    test_every_order);
    g_test_add_func("/zone-table/in-flight/acknowledged-in-random-orders",
                    test_random_orders);
    g_test_add_func("/zone-table/in-flight/next-begins-where-last-ends",
                    test_reserved_end_is_write_pointer);
    g_test_add_func("/zone-table/in-flight/others-go-on-from-event-loop",
                    test_others_go_on_from_event_loop);
    g_test_add_func("/zone-table/in-flight/full-when-all-is-acknowledged",
                    test_reserved_to_the_end);
    g_test_add_func("/zone-table/in-flight/zones-are-independent",
                    test_zones_are_independent);
    g_test_add_func("/zone-table/in-flight/survives-close",
                    test_close_during_write);
}

/* --- Failures --- */

#define DEPTH 4

/* Is @ret what a failing write at or below @i ends with? */
static bool is_cause(int ret, unsigned int fail, int i, const int *results)
{
    bool found = false;

    for (int k = 0; k <= i; k++) {
        found |= (fail & (1 << k)) && ret == results[k];
    }
    return found;
}

/*
 * DEPTH writes, of which those in the bit mask @fail fail, end in @order.
 * With @late, one more begins as soon as one has failed.
 */
static void check_failures(const int *order, unsigned int fail, bool late,
                           uint64_t already)
{
    static const int errors[DEPTH] = { -EIO, -ENOSPC, -EFBIG, -EROFS };
    static const int results[DEPTH] = { -EIO, -ENOSPC, -EIO, -EIO };
    g_autofree char *what =
        g_strdup_printf("failures 0x%x%s, 0x%" PRIx64 " bytes before", fail,
                        late ? " and a late append" : "", already);
    g_autofree char *cell = order_name(what, order, DEPTH);
    uint32_t zone = FIRST_SEQ;
    int earliest = ctz32(fail);
    ZoneTable *t = new_table();
    Request r[DEPTH], after = { .begun = 0 };
    uint64_t wp;
    bool failed = false;

    if (already) {
        put_zone(t, zone, BLK_ZS_IOPEN, already);
    }
    for (int i = 0; i < DEPTH; i++) {
        start_append(&r[i], t, zone, (i + 1) * BLOCK);
        expect_ret(cell, r[i].begun, 0);
    }
    wp = r[earliest].offset;

    for (int k = 0; k < DEPTH; k++) {
        int i = order[k];
        bool fails = fail & (1 << i);

        finish(&r[i], fails ? errors[i] : 0);
        if (fails && !failed) {
            failed = true;
            /* A failed one has nothing to wait for */
            expect_ret(cell, r[i].ended, results[i]);
            if (late) {
                start_append(&after, t, zone, BLOCK);
                expect_ret(cell, after.begun, k == DEPTH - 1 ? 0 : WAITING);
            }
        }
        g_assert_cmphex(report_zone(t, zone).wp, <=, wp);
    }

    for (int i = 0; i < DEPTH; i++) {
        if (i < earliest) {
            expect_ret(cell, r[i].ended, 0);
        } else if (i == earliest) {
            expect_ret(cell, r[i].ended, results[i]);
        } else {
            /* Its own error, or that of one below */
            expect_value(cell, "is an error that happened",
                         is_cause(r[i].ended, fail, i, results), true);
        }
    }
    expect_value(cell, "write pointer", report_zone(t, zone).wp, wp);
    expect_value(cell, "stored write pointer", record_of(t, zone, true).wp,
                 wp);

    if (late) {
        expect_ret(cell, after.begun, 0);
        expect_value(cell, "position of the late one", after.offset, wp);
        expect_state(cell, state_of(t, zone), BLK_ZS_IOPEN);
        expect_ret(cell, finish(&after, 0), 0);
    } else {
        expect_state(cell, state_of(t, zone),
                     earliest == 0 && !already ? BLK_ZS_EMPTY : BLK_ZS_IOPEN);
        expect_ret(cell, do_write(t, wp, BLOCK), 0);
    }
    expect_value(cell, "write pointer at last", report_zone(t, zone).wp,
                 wp + BLOCK);
    expect_counts(cell, t);
    zone_table_free(t);
}

static void test_failures(void)
{
    int order[DEPTH];

    identity(order, DEPTH);
    do {
        for (unsigned int fail = 1; fail < 1 << DEPTH; fail++) {
            check_failures(order, fail, false, 0);
            check_failures(order, fail, true, 0);
            check_failures(order, fail, false, WRITTEN);
            check_failures(order, fail, true, WRITTEN);
        }
    } while (!g_test_failed() && next_permutation(order, DEPTH));
}

static void test_io_errors(void)
{
    static const int rules[] = {
        -ERANGE, -ESPIPE, -EFBIG, -EROFS, -ENODEV, -EOVERFLOW, -ETOOMANYREFS,
    };
    static const int others[] = { -EIO, -ENOSPC, -EINVAL, -EPERM };
    ZoneTable *t = new_table();
    Request r;

    for (int i = 0; i < ARRAY_SIZE(rules); i++) {
        start_append(&r, t, FIRST_SEQ, BLOCK);
        expect_ret("a rule's errno from I/O", finish(&r, rules[i]), -EIO);
    }
    for (int i = 0; i < ARRAY_SIZE(others); i++) {
        start_append(&r, t, FIRST_SEQ, BLOCK);
        expect_ret("an errno from I/O", finish(&r, others[i]), others[i]);
    }
    g_assert_cmpint(state_of(t, FIRST_SEQ), ==, EM);
    zone_table_free(t);
}

/* What became of the zone while the write that opened it was in flight */
static void test_failed_opening_write(void)
{
    static const struct {
        const char *name;
        bool open, close;
        BlockZoneFlags flags;
        BlockZoneState during, want;
    } tests[] = {
        { "opened by the failed write", false, false, 0, IO, EM },
        { "then opened explicitly", true, false, 0, EO, EO },
        { "then closed", false, true, 0, CL, EM },
        { "then closed as in ZNS", false, true, BDRV_ZONE_CLOSE_EMPTY,
          CL, CL },
        { "then opened and closed", true, true, 0, CL, EM },
        { "then opened and closed as in ZNS", true, true,
          BDRV_ZONE_CLOSE_EMPTY, CL, CL },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        bool active = tests[c].want != EM;
        ZoneTable *t = new_limited_table(1, 1);
        uint64_t position;
        Request r;

        start_append(&r, t, 4, BLOCK);
        if (tests[c].open) {
            expect_ret(tests[c].name, do_mgmt(t, BLK_ZO_OPEN, 4), 0);
        }
        if (tests[c].close) {
            expect_ret(tests[c].name,
                       do_mgmt_flags(t, BLK_ZO_CLOSE, tests[c].flags, 4, 1),
                       0);
        }
        expect_state(tests[c].name, state_of(t, 4), tests[c].during);
        expect_ret(tests[c].name, finish(&r, -EIO), -EIO);
        expect_state(tests[c].name, state_of(t, 4), tests[c].want);
        expect_value(tests[c].name, "active", nr_active(t), active);
        expect_ret(tests[c].name, do_append(t, 5, BLOCK, &position),
                   active ? -EOVERFLOW : 0);
        zone_table_free(t);
    }
}

/* A zone that a write opens, fails in, and another has closed implicitly */
static void test_failed_write_in_closed_zone(void)
{
    ZoneTable *t = new_limited_table(1, 2);
    uint64_t position;
    Request r;

    start_append(&r, t, 4, BLOCK);
    g_assert_cmpint(do_append(t, 5, BLOCK, &position), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, CL);
    g_assert_cmpint(do_append(t, 6, BLOCK, &position), ==, -EOVERFLOW);
    g_assert_cmpint(finish(&r, -EIO), ==, -EIO);
    g_assert_cmpint(state_of(t, 4), ==, EM);
    g_assert_cmpint(do_append(t, 6, BLOCK, &position), ==, 0);
    g_assert_cmpuint(nr_active(t), ==, 2);
    zone_table_free(t);
}

/* The first of two writes succeeds: the zone is not empty, so it stays open */
static void test_failed_second_write(void)
{
    ZoneTable *t = new_table();
    Request a, b;

    start_append(&a, t, 4, BLOCK);
    start_append(&b, t, 4, BLOCK);
    g_assert_cmpint(finish(&b, -EIO), ==, -EIO);
    g_assert_cmpint(state_of(t, 4), ==, IO);
    g_assert_cmpint(finish(&a, 0), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, IO);
    g_assert_cmphex(written_in(t, 4), ==, BLOCK);
    zone_table_free(t);
}

/* After a failure the one that waits is checked anew against the rules. */
static void test_waiting_write_checked_anew(void)
{
    ZoneTable *t = new_table();
    uint64_t begin = FIRST_SEQ * ZONE;
    Request a, b, behind, at_wp;

    start_write(&a, t, begin, BLOCK);
    start_write(&b, t, begin + BLOCK, BLOCK);
    finish(&a, -EIO);
    start_write(&behind, t, begin + 2 * BLOCK, BLOCK);
    start_write(&at_wp, t, begin, BLOCK);
    g_assert_cmpint(behind.begun, ==, WAITING);
    g_assert_cmpint(at_wp.begun, ==, WAITING);
    g_assert_cmpint(finish(&b, 0), ==, -EIO);
    /* It would have gone behind those that failed: not its writer's fault */
    g_assert_cmpint(behind.ended, ==, -EIO);
    g_assert_cmpint(at_wp.begun, ==, 0);
    g_assert_cmpint(finish(&at_wp, 0), ==, 0);
    zone_table_free(t);
}

static void add_failure_tests(void)
{
    g_test_add_func("/zone-table/failure/earliest-decides", test_failures);
    g_test_add_func("/zone-table/failure/io-error-is-no-rule-errno",
                    test_io_errors);
    g_test_add_func("/zone-table/failure/zone-is-empty-again",
                    test_failed_opening_write);
    g_test_add_func("/zone-table/failure/closed-zone-is-empty-again",
                    test_failed_write_in_closed_zone);
    g_test_add_func("/zone-table/failure/zone-with-data-stays-open",
                    test_failed_second_write);
    g_test_add_func("/zone-table/failure/waiting-write-is-checked-anew",
                    test_waiting_write_checked_anew);
}

/* --- Management operations, while they wait and when they fail --- */

/* Reset and finish hold up new writes until they end. */
static void test_write_waits_for_mgmt(void)
{
    static const struct {
        BlockZoneOp op;
        int commit, want;
        BlockZoneState state;
        uint64_t position;
    } tests[] = {
        { BLK_ZO_RESET, 0, 0, IO, 0 },
        { BLK_ZO_RESET, -EIO, 0, IO, BLOCK },
        { BLK_ZO_FINISH, 0, -EFBIG, FU, 0 },
        { BLK_ZO_FINISH, -ENOSPC, 0, IO, BLOCK },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        g_autofree char *cell = g_strdup_printf("op %d, commit %d",
                                                tests[c].op, tests[c].commit);
        ZoneTable *t = new_table();
        uint64_t position;
        Request m, w, other;

        do_append(t, 4, BLOCK, &position);
        start_mgmt(&m, t, tests[c].op, 4, 1);
        expect_ret(cell, m.begun, 0);
        start_append(&w, t, 4, BLOCK);
        expect_ret(cell, w.begun, WAITING);
        start_append(&other, t, 5, BLOCK);
        expect_ret(cell, finish(&other, 0), 0);

        expect_ret(cell, finish(&m, tests[c].commit), tests[c].commit);
        expect_ret(cell, w.begun, tests[c].want);
        if (w.begun == 0) {
            expect_value(cell, "position", w.offset - 4 * ZONE,
                         tests[c].position);
            expect_ret(cell, finish(&w, 0), 0);
        }
        expect_state(cell, state_of(t, 4), tests[c].state);
        zone_table_free(t);
    }
}

/* Reset and finish wait for the writes in flight, of all their zones. */
static void test_mgmt_waits_for_writes(void)
{
    static const BlockZoneOp ops[] = { BLK_ZO_RESET, BLK_ZO_FINISH };

    for (int c = 0; c < ARRAY_SIZE(ops); c++) {
        ZoneTable *t = new_table();
        Request a, b, other, m, late;

        start_append(&a, t, 4, 2 * BLOCK);
        start_append(&b, t, 5, BLOCK);
        start_append(&other, t, 7, BLOCK);
        start_mgmt(&m, t, ops[c], 3, 3);
        g_assert_cmpint(m.begun, ==, WAITING);
        start_append(&late, t, 4, BLOCK);
        g_assert_cmpint(late.begun, ==, WAITING);

        g_assert_cmpint(finish(&b, 0), ==, 0);
        g_assert_cmpint(m.begun, ==, WAITING);
        g_assert_cmpint(finish(&a, 0), ==, 0);
        g_assert_cmpint(m.begun, ==, 0);
        g_assert_true(m.m.commit);
        g_assert_cmpint(late.begun, ==, WAITING);

        /* As before, until the end says that it is durable */
        g_assert_cmphex(written_in(t, 4), ==, 2 * BLOCK);
        g_assert_cmpint(state_of(t, 4), ==, IO);
        g_assert_cmpint(finish(&m, 0), ==, 0);
        g_assert_cmpint(late.begun, ==, ops[c] == BLK_ZO_RESET ? 0 : -EFBIG);
        if (late.begun == 0) {
            finish(&late, 0);
            g_assert_cmphex(late.offset, ==, 4 * ZONE);
        }
        g_assert_cmpint(finish(&other, 0), ==, 0);
        zone_table_free(t);
    }
}

/* What a write in flight leaves behind may be what was asked for already. */
static void test_mgmt_overtaken_by_write(void)
{
    ZoneTable *t = new_table();
    Request w, m;

    start_append(&w, t, 4, BLOCK);
    start_mgmt(&m, t, BLK_ZO_RESET, 4, 1);
    g_assert_cmpint(finish(&w, -EIO), ==, -EIO);
    g_assert_cmpint(m.begun, ==, 0);
    g_assert_true(m.m.commit);
    g_assert_cmpint(finish(&m, 0), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, EM);

    start_append(&w, t, 4, CAPACITY);
    start_mgmt(&m, t, BLK_ZO_FINISH, 4, 1);
    g_assert_cmpint(finish(&w, 0), ==, 0);
    g_assert_cmpint(m.begun, ==, 0);
    g_assert_true(m.m.commit);
    g_assert_cmpint(finish(&m, 0), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, FU);
    g_assert_cmphex(record_of(t, 4, false).data_end, ==, 4 * ZONE + CAPACITY);
    zone_table_free(t);
}

/* Operations on a zone come one after another, on different ones do not. */
static void test_mgmt_waits_for_mgmt(void)
{
    ZoneTable *t = new_table();
    Request a, b, c, d;

    put_zone(t, 4, CL, WRITTEN);
    put_zone(t, 5, CL, WRITTEN);
    put_zone(t, 6, CL, WRITTEN);
    put_zone(t, 7, CL, WRITTEN);
    start_mgmt(&a, t, BLK_ZO_FINISH, 4, 2);
    start_mgmt(&b, t, BLK_ZO_RESET, 5, 2);
    start_mgmt(&c, t, BLK_ZO_RESET, 7, 1);
    g_assert_cmpint(b.begun, ==, WAITING);
    g_assert_cmpint(c.begun, ==, 0);
    g_assert_cmpint(finish(&c, 0), ==, 0);
    g_assert_cmpint(b.begun, ==, WAITING);
    g_assert_cmpint(finish(&a, 0), ==, 0);
    g_assert_cmpint(b.begun, ==, 0);

    /* Waits, and then finds that the zone is of no use any more */
    start_mgmt(&d, t, BLK_ZO_CLOSE, 6, 1);
    g_assert_cmpint(d.begun, ==, WAITING);
    g_assert_cmpint(finish(&b, 0), ==, 0);
    g_assert_cmpint(d.ended, ==, -EINVAL);
    g_assert_cmpint(state_of(t, 4), ==, FU);
    g_assert_cmpint(state_of(t, 5), ==, EM);
    g_assert_cmpint(state_of(t, 6), ==, EM);
    zone_table_free(t);
}

/* Opening and closing happen at once, with writes in flight or not. */
static void test_open_and_close_do_not_wait(void)
{
    ZoneTable *t = new_table();
    Request w;

    start_append(&w, t, 4, BLOCK);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 4), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, EO);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_CLOSE, 4), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, CL);
    g_assert_cmpint(finish(&w, 0), ==, 0);
    zone_table_free(t);
}

static void test_failed_commit(void)
{
    static const BlockZoneOp ops[] = { BLK_ZO_RESET, BLK_ZO_FINISH };

    for (int c = 0; c < ARRAY_SIZE(ops); c++) {
        ZoneTable *t = new_table();
        Request m;

        for (int i = 1; i < NR_SITUATIONS; i++) {
            put_zone(t, NR_CONV + i, situations[i].state,
                     situations[i].written);
        }
        start(&m, &(Request) {
            .t = t, .kind = MGMT, .op = ops[c], .flags = BDRV_ZONE_ALL,
            .bytes = NR_ZONES * ZONE,
        });
        g_assert_cmpint(m.begun, ==, 0);
        g_assert_true(m.m.commit);
        store_all(t);   /* The store takes the records, and fails */
        g_assert_cmpint(finish(&m, -ENOSPC), ==, -ENOSPC);
        for (int i = 1; i < NR_SITUATIONS; i++) {
            const Situation *s = &situations[i];

            expect_zone(s->name, t, NR_CONV + i, s->state,
                        s->state == FU ? CAPACITY : s->written, s->written);
        }
        /* What was stored, or not, is to be stored again */
        g_assert_true(zone_table_is_dirty(t));
        expect_counts("after a failed commit", t);
        zone_table_free(t);
    }
}

/* Between begin and end the store sees the outcome, others what was. */
static void test_record_shows_pending(void)
{
    ZoneTable *t = new_table();
    Request m;
    ZoneRecord r;

    put_zone(t, 4, CL, WRITTEN);
    start_mgmt(&m, t, BLK_ZO_FINISH, 4, 1);
    for (int live = 0; live <= 1; live++) {
        r = record_of(t, 4, live);
        g_assert_cmpint(r.state, ==, FU);
        g_assert_cmphex(r.wp, ==, 4 * ZONE + CAPACITY);
        g_assert_cmphex(r.data_end, ==, 4 * ZONE + WRITTEN);
    }
    g_assert_cmpint(state_of(t, 4), ==, CL);
    g_assert_cmphex(written_in(t, 4), ==, WRITTEN);
    g_assert_cmpint(finish(&m, 0), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, FU);

    start_mgmt(&m, t, BLK_ZO_RESET, 4, 1);
    for (int live = 0; live <= 1; live++) {
        r = record_of(t, 4, live);
        g_assert_cmpint(r.state, ==, EM);
        g_assert_cmphex(r.wp, ==, 4 * ZONE);
        g_assert_cmphex(r.data_end, ==, 4 * ZONE);
    }
    g_assert_cmpint(state_of(t, 4), ==, FU);
    g_assert_cmpint(finish(&m, 0), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, EM);
    zone_table_free(t);
}

static void add_management_tests(void)
{
    g_test_add_func("/zone-table/management/holds-up-writes",
                    test_write_waits_for_mgmt);
    g_test_add_func("/zone-table/management/waits-for-writes",
                    test_mgmt_waits_for_writes);
    g_test_add_func("/zone-table/management/overtaken-by-write",
                    test_mgmt_overtaken_by_write);
    g_test_add_func("/zone-table/management/one-after-another",
                    test_mgmt_waits_for_mgmt);
    g_test_add_func("/zone-table/management/open-and-close-at-once",
                    test_open_and_close_do_not_wait);
    g_test_add_func("/zone-table/management/failed-commit-changes-nothing",
                    test_failed_commit);
    g_test_add_func("/zone-table/management/record-shows-pending",
                    test_record_shows_pending);
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);

    add_in_flight_tests();
    add_failure_tests();
    add_management_tests();
    return g_test_run();
}
