/*
 * Unit tests of the zone table: descriptor extensions, and what media do
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "zone-table-harness.h"

/* What becomes of attributes: EXT, a random write area, "finished by me" */
static void test_attributes_everywhere(void)
{
    static const struct {
        const char *name;
        BlockZoneOp op;
        BlockZoneFlags flags;
        BlockZoneState from, to;
        uint8_t before, after;
    } tests[] = {
        { "open closed", BLK_ZO_OPEN, 0, CL, EO, ZA_ALL, ZA_ALL },
        { "open implicit", BLK_ZO_OPEN, 0, IO, EO, ZA_ALL, ZA_ALL },
        { "close implicit", BLK_ZO_CLOSE, 0, IO, CL, ZA_ALL, ZA_ALL },
        { "close explicit", BLK_ZO_CLOSE, 0, EO, CL, ZA_ALL, ZA_ALL },
        { "close, all", BLK_ZO_CLOSE, BDRV_ZONE_ALL, EO, CL, ZA_ALL, ZA_ALL },
        { "power-cycle implicit", BLK_ZO_POWER_CYCLE, 0, IO, CL,
          ZA_ALL, ZA_ALL },
        { "power-cycle explicit", BLK_ZO_POWER_CYCLE, 0, EO, CL,
          ZA_ALL, ZA_ALL },
        { "power-cycle closed", BLK_ZO_POWER_CYCLE, 0, CL, CL,
          ZA_ALL, ZA_ALL },
        { "power-cycle full", BLK_ZO_POWER_CYCLE, 0, FU, FU, 0x81, 0x81 },
        { "power-cycle read-only", BLK_ZO_POWER_CYCLE, 0, RO, RO,
          0x81, 0x81 },
        { "finish implicit", BLK_ZO_FINISH, 0, IO, FU, ZA_ALL, 0x81 },
        { "finish explicit", BLK_ZO_FINISH, 0, EO, FU, ZA_ALL, 0x81 },
        { "finish closed", BLK_ZO_FINISH, 0, CL, FU, ZA_ALL, 0x81 },
        { "finish full", BLK_ZO_FINISH, 0, FU, FU, 0x81, 0x81 },
        { "reset implicit", BLK_ZO_RESET, 0, IO, EM, ZA_ALL, 0 },
        { "reset explicit", BLK_ZO_RESET, 0, EO, EM, ZA_ALL, 0 },
        { "reset closed", BLK_ZO_RESET, 0, CL, EM, ZA_ALL, 0 },
        { "reset full", BLK_ZO_RESET, 0, FU, EM, 0x81, 0 },
        { "offline", BLK_ZO_OFFLINE, 0, RO, OF, 0x81, 0x01 },
        { "offline, all", BLK_ZO_OFFLINE, BDRV_ZONE_ALL, RO, OF, 0x81, 0x01 },
        { "offline again", BLK_ZO_OFFLINE, 0, OF, OF, 0x01, 0x01 },
        { "make open read-only", BLK_ZO_FORCE_RDONLY, 0, IO, RO,
          ZA_ALL, 0x81 },
        { "make closed read-only", BLK_ZO_FORCE_RDONLY, 0, CL, RO,
          ZA_ALL, 0x81 },
        { "make full read-only", BLK_ZO_FORCE_RDONLY, 0, FU, RO, 0x81, 0x81 },
        { "make open offline", BLK_ZO_FORCE_OFFLINE, 0, EO, OF,
          ZA_ALL, 0x01 },
        { "make closed offline", BLK_ZO_FORCE_OFFLINE, 0, CL, OF,
          ZA_ALL, 0x01 },
        { "make full offline", BLK_ZO_FORCE_OFFLINE, 0, FU, OF, 0x81, 0x01 },
        { "repair read-only", BLK_ZO_FORCE_REPAIR, 0, RO, CL, 0x81, 0x81 },
        { "repair offline", BLK_ZO_FORCE_REPAIR, 0, OF, CL, 0x01, 0x01 },
        { "repair closed", BLK_ZO_FORCE_REPAIR, 0, CL, CL, ZA_ALL, ZA_ALL },
        { "repair open", BLK_ZO_FORCE_REPAIR, 0, EO, EO, ZA_ALL, ZA_ALL },
        { "repair full", BLK_ZO_FORCE_REPAIR, 0, FU, FU, 0x81, 0x81 },

        /* To finish is recommended */
        { "open closed, 2", BLK_ZO_OPEN, 0, CL, EO, 0x8a, 0x8a },
        { "close implicit, 2", BLK_ZO_CLOSE, 0, IO, CL, 0x02, 0x02 },
        { "power-cycle explicit, 2", BLK_ZO_POWER_CYCLE, 0, EO, CL,
          0x02, 0x02 },
        { "finish closed, 2", BLK_ZO_FINISH, 0, CL, FU, 0x03, 0x01 },
        { "reset implicit, 2", BLK_ZO_RESET, 0, IO, EM, 0x02, 0 },
        { "make open read-only, 2", BLK_ZO_FORCE_RDONLY, 0, EO, RO,
          0x82, 0x80 },
        { "make closed offline, 2", BLK_ZO_FORCE_OFFLINE, 0, CL, OF,
          0x03, 0x01 },

        /* To reset is recommended */
        { "finish full, 4", BLK_ZO_FINISH, 0, FU, FU, 0x84, 0x84 },
        { "power-cycle full, 4", BLK_ZO_POWER_CYCLE, 0, FU, FU, 0x05, 0x05 },
        { "repair full, 4", BLK_ZO_FORCE_REPAIR, 0, FU, FU, 0x04, 0x04 },
        { "reset full, 4", BLK_ZO_RESET, 0, FU, EM, 0x85, 0 },
        { "make full read-only, 4", BLK_ZO_FORCE_RDONLY, 0, FU, RO,
          0x85, 0x81 },
        { "make full offline, 4", BLK_ZO_FORCE_OFFLINE, 0, FU, OF,
          0x85, 0x01 },

        /* What a controller does on its own */
        { "set 2", BLK_ZO_SET_ATTRIBUTES, BDRV_ZONE_ATTRIBUTES(2), CL, CL,
          0x89, 0x8a },
        { "set 2 of implicit", BLK_ZO_SET_ATTRIBUTES, BDRV_ZONE_ATTRIBUTES(2),
          IO, IO, 0, 2 },
        { "set 2 again", BLK_ZO_SET_ATTRIBUTES, BDRV_ZONE_ATTRIBUTES(2),
          EO, EO, 0x82, 0x82 },
        { "clear 2", BLK_ZO_SET_ATTRIBUTES, 0, EO, EO, 0x8a, 0x88 },
        { "set 4", BLK_ZO_SET_ATTRIBUTES, BDRV_ZONE_ATTRIBUTES(4), FU, FU,
          0x81, 0x84 },
        { "clear all of full", BLK_ZO_SET_ATTRIBUTES, 0, FU, FU, 0x85, 0x80 },
        { "set 1 of full", BLK_ZO_SET_ATTRIBUTES, BDRV_ZONE_ATTRIBUTES(1),
          FU, FU, 0x80, 0x81 },
        { "set 1 of open", BLK_ZO_SET_ATTRIBUTES, BDRV_ZONE_ATTRIBUTES(1),
          EO, FU, 0x8a, 0x81 },
        { "set 5 of closed", BLK_ZO_SET_ATTRIBUTES, BDRV_ZONE_ATTRIBUTES(5),
          CL, FU, 0x08, 0x05 },
        { "set 1 of closed that has it", BLK_ZO_SET_ATTRIBUTES,
          BDRV_ZONE_ATTRIBUTES(1), CL, FU, 0x01, 0x01 },
        { "set 1 of read-only", BLK_ZO_SET_ATTRIBUTES,
          BDRV_ZONE_ATTRIBUTES(1), RO, RO, 0x80, 0x81 },
        { "clear 1 of offline", BLK_ZO_SET_ATTRIBUTES, 0, OF, OF, 0x01, 0 },
        { "set 4, all", BLK_ZO_SET_ATTRIBUTES,
          BDRV_ZONE_ATTRIBUTES(4) | BDRV_ZONE_ALL, FU, FU, 0x80, 0x84 },
        { "set 4, all but this", BLK_ZO_SET_ATTRIBUTES,
          BDRV_ZONE_ATTRIBUTES(4) | BDRV_ZONE_ALL, IO, IO, 0x80, 0x80 },
    };

    for (int c = 0; c < 2 * ARRAY_SIZE(tests); c++) {
        bool fails = c % 2;
        const char *name = tests[c / 2].name;
        g_autofree char *cell = g_strdup_printf("%s%s", name, fails ?
                                                ", failing" : "");
        BlockZoneState from = tests[c / 2].from, to = tests[c / 2].to;
        BlockZoneOp op = tests[c / 2].op;
        uint8_t before = tests[c / 2].before, after = tests[c / 2].after;
        bool all = tests[c / 2].flags & BDRV_ZONE_ALL;
        ZoneTable *t = new_zns_table(0, 3);
        Request m;

        put_zns_zone(t, FIRST_SEQ, from, before, from == FU ? CAPACITY
                                                            : WRITTEN, WRITTEN);
        start(&m, &(Request) {
            .t = t, .kind = MGMT, .op = op, .flags = tests[c / 2].flags,
            .offset = all ? 0 : FIRST_SEQ * ZONE,
            .bytes = all ? NR_ZONES * ZONE : ZONE,
        });
        if (m.m.commit) {
            expect_value(cell, "attributes meanwhile",
                         report_zone(t, FIRST_SEQ).attributes, before);
            expect_value(cell, "attributes to store",
                         record_of(t, FIRST_SEQ, false).attributes, after);
            expect_value(cell, "dirty", zone_table_is_dirty(t),
                         from != to || before != after);
        }
        if (fails && m.m.commit) {
            to = from;
            after = before;
        }
        finish(&m, fails ? -EIO : 0);
        expect_state(cell, state_of(t, FIRST_SEQ), to);
        expect_value(cell, "attributes", attributes_of(t, FIRST_SEQ), after);
        expect_value(cell, "free random write areas", zrwa_left(t),
                     after & BDRV_ZA_ZRWA ? 2 : 3);
        expect_counts(cell, t);
        zone_table_free(t);
    }
}

/* Which attributes a controller can set, by the state of the zone */
static void test_attributes_allowed(void)
{
    static const struct {
        BlockZoneState state;
        const char *allowed;    /* digits: BDRV_ZA_SETTABLE */
    } tests[] = {
        { EM, "0" }, { IO, "0125" }, { EO, "0125" }, { CL, "0125" },
        { FU, "0145" }, { RO, "01" }, { OF, "01" },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        for (int a = 0; a <= 0xff; a++) {
            g_autofree char *cell =
                g_strdup_printf("%s with %02x",
                                zone_state_name(tests[c].state), a);
            bool allowed = a < 8 && strchr(tests[c].allowed, '0' + a);
            ZoneTable *t = new_zns_table(0, 0);
            ZoneRecord before;

            if (tests[c].state != EM) {
                put_zns_zone(t, 5, tests[c].state, 0, tests[c].state == FU
                             ? CAPACITY : WRITTEN, WRITTEN);
            }
            before = record_of(t, 5, true);
            expect_ret(cell, do_mgmt_flags(t, BLK_ZO_SET_ATTRIBUTES,
                                           BDRV_ZONE_ATTRIBUTES(a), 5, 1),
                       allowed ? 0 : -EINVAL);
            if (allowed) {
                expect_value(cell, "attributes", attributes_of(t, 5), a);
            } else {
                expect_record(cell, record_of(t, 5, true), before);
            }
            expect_counts(cell, t);
            zone_table_free(t);
        }
    }
}

/* Of several zones, all get attributes or none; conventional ones have none. */
static void test_attributes_of_several(void)
{
    BlockZoneFlags finish = BDRV_ZONE_ATTRIBUTES(BDRV_ZA_FINISH_RECOMMENDED);
    ZoneTable *t = new_zns_table(0, 0);

    put_zns_zone(t, 4, CL, 0, WRITTEN, WRITTEN);
    put_zns_zone(t, 5, EO, 0, WRITTEN, WRITTEN);
    put_zns_zone(t, 7, IO, 0x80, WRITTEN, WRITTEN);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_SET_ATTRIBUTES, finish, 4, 4), ==,
                    -EINVAL);
    g_assert_cmphex(attributes_of(t, 4), ==, 0);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_SET_ATTRIBUTES, finish, 4, 2), ==,
                    0);
    g_assert_cmphex(attributes_of(t, 4), ==, 2);
    g_assert_cmphex(attributes_of(t, 5), ==, 2);
    g_assert_cmphex(attributes_of(t, 7), ==, 0x80);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_SET_ATTRIBUTES,
                                  finish | BDRV_ZONE_ALL, 0, NR_ZONES), ==, 0);
    g_assert_cmphex(attributes_of(t, 6), ==, 0);
    g_assert_cmphex(attributes_of(t, 7), ==, 0x82);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_SET_ATTRIBUTES, NR_CONV - 1), ==,
                    -EINVAL);
    zone_table_free(t);
}

/* It waits for writes.  What the zone is then decides what it has. */
static void test_attributes_wait_for_writes(void)
{
    static const struct {
        uint8_t attributes;
        uint64_t bytes;         /* of a write to an empty zone */
        int ret;
        BlockZoneState want;
        uint8_t has;
    } tests[] = {
        { BDRV_ZA_FINISH_RECOMMENDED, BLOCK, 0, IO, 2 },
        { BDRV_ZA_FINISH_RECOMMENDED, CAPACITY, 0, FU, 0 },
        { BDRV_ZA_FINISH_RECOMMENDED, BLOCK, -EIO, EM, 0 },
        { BDRV_ZA_FINISHED_BY_CONTROLLER, BLOCK, 0, FU, 1 },
        { BDRV_ZA_FINISHED_BY_CONTROLLER, CAPACITY, 0, FU, 1 },
        { BDRV_ZA_FINISHED_BY_CONTROLLER, BLOCK, -EIO, EM, 0 },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        g_autofree char *cell = g_strdup_printf("case %d", c);
        bool full = tests[c].want == FU;
        ZoneTable *t = new_zns_table(1, 0);
        Request w, m, late;

        start_write(&w, t, 4 * ZONE, tests[c].bytes);
        start(&m, &(Request) {
            .t = t, .kind = MGMT, .op = BLK_ZO_SET_ATTRIBUTES,
            .flags = BDRV_ZONE_ATTRIBUTES(tests[c].attributes),
            .offset = 4 * ZONE, .bytes = ZONE,
        });
        expect_ret(cell, m.begun, WAITING);
        start_write(&late, t, 4 * ZONE + BLOCK, BLOCK);
        expect_ret(cell, late.begun, WAITING);
        expect_ret(cell, finish(&w, tests[c].ret), tests[c].ret);
        expect_ret(cell, m.begun, 0);
        expect_value(cell, "attributes meanwhile",
                     report_zone(t, 4).attributes, 0);
        expect_ret(cell, late.begun, WAITING);
        store_all(t);
        expect_ret(cell, finish(&m, 0), 0);
        expect_state(cell, state_of(t, 4), tests[c].want);
        expect_value(cell, "attributes", attributes_of(t, 4), tests[c].has);
        expect_value(cell, "active", nr_active(t), tests[c].want == IO);
        expect_ret(cell, late.begun, full ? -EFBIG :
                   tests[c].ret ? -ESPIPE : 0);
        if (late.begun == 0) {
            expect_ret(cell, finish(&late, 0), 0);
        }
        expect_counts(cell, t);
        zone_table_free(t);
    }
}

/* A recommendation goes with what it was about. */
static void test_full_by_writing(void)
{
    ZoneTable *t = new_zns_table(1, 0);

    g_assert_cmpint(do_write(t, 4 * ZONE, BLOCK), ==, 0);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_SET_ATTRIBUTES,
                                  BDRV_ZONE_ATTRIBUTES(2), 4, 1), ==, 0);
    g_assert_cmpint(do_write(t, 4 * ZONE + BLOCK, BLOCK), ==, 0);
    g_assert_cmphex(attributes_of(t, 4), ==, 2);
    g_assert_cmpint(do_write(t, 4 * ZONE + 2 * BLOCK, CAPACITY - 2 * BLOCK), ==,
                    0);
    g_assert_cmpint(state_of(t, 4), ==, FU);
    g_assert_cmphex(attributes_of(t, 4), ==, 0);
    zone_table_free(t);
}

/* Setting an extension: everything at once, or nothing */
static void test_set_ext(void)
{
    for (int c = 0; c < 4; c++) {
        BlockZoneFlags flags = c & 1 ? BDRV_ZONE_ZRWA : 0;
        bool fails = c & 2;
        g_autofree char *cell = g_strdup_printf("%s random write area%s",
                                                flags ? "with" : "without",
                                                fails ? ", failing" : "");
        uint8_t after = BDRV_ZA_EXT | (flags ? BDRV_ZA_ZRWA : 0);
        ZoneTable *t = new_zns_table(1, 1);
        ZoneRecord stored;
        Request m, w;

        start(&m, &(Request) {
            .t = t, .kind = MGMT, .op = BLK_ZO_SET_EXT, .flags = flags,
            .offset = 4 * ZONE, .bytes = ZONE, .ext_late = true,
        });
        expect_ret(cell, m.begun, 0);
        expect_value(cell, "need to commit", m.m.commit, true);

        /* The extension is not written yet, which another store must not say */
        expect_state(cell, record_of(t, 4, false).state, EM);
        expect_value(cell, "attributes to store at first",
                     record_of(t, 4, true).attributes,
                     after & ~BDRV_ZA_EXT);
        zone_table_ext_written(t, &m.m);
        g_assert_true(zone_table_is_dirty(t));
        expect_value(cell, "attributes meanwhile",
                     report_zone(t, 4).attributes, after & ~BDRV_ZA_EXT);

        /* What it needs is taken already, by it alone */
        expect_ret(cell, do_write(t, 5 * ZONE, BLOCK), -EOVERFLOW);
        expect_ret(cell, do_mgmt(t, BLK_ZO_OPEN, 5), -EOVERFLOW);
        stored = record_of(t, 4, false);
        expect_state(cell, stored.state, CL);
        expect_value(cell, "attributes to store", stored.attributes, after);
        start_write(&w, t, 4 * ZONE, BLOCK);
        expect_ret(cell, w.begun, WAITING);

        store_all(t);   /* The store takes it */
        expect_ret(cell, finish(&m, fails ? -ENOSPC : 0), fails ? -ENOSPC : 0);
        expect_value(cell, "dirty", zone_table_is_dirty(t), fails);
        expect_value(cell, "attributes", attributes_of(t, 4),
                     fails ? 0 : after);
        expect_ret(cell, w.begun, 0);
        expect_ret(cell, finish(&w, -EIO), -EIO);
        /* The zone was active before the write, or it was not */
        expect_state(cell, state_of(t, 4), fails ? EM : IO);
        expect_ret(cell, do_mgmt(t, BLK_ZO_OPEN, 5), fails ? 0 : -EOVERFLOW);
        expect_counts(cell, t);
        if (fails) {
            g_assert_cmpint(do_mgmt(t, BLK_ZO_RESET, 5), ==, 0);
        } else {
            expect_ret(cell, do_mgmt(t, BLK_ZO_RESET, 4), 0);
        }
        expect_value(cell, "active zones", nr_active(t), 0);
        expect_ret(cell, do_open_zrwa(t, 6), 0);
        zone_table_free(t);
    }
}

static void test_set_ext_refused(void)
{
    ZoneTable *t = new_zns_table(2, 1);
    Request r;

    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_SET_EXT, 0, 4, 2), ==, -EINVAL);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_SET_EXT, BDRV_ZONE_ALL, 4, 1),
                    ==, -EINVAL);
    g_assert_cmpint(run(&r, &(Request) {
        .t = t, .kind = MGMT, .op = BLK_ZO_SET_EXT,
        .offset = 4 * ZONE + BLOCK, .bytes = ZONE,
    }), ==, -EINVAL);
    g_assert_cmpint(state_of(t, 4), ==, EM);

    /* No random write area left, then no active zone either */
    g_assert_cmpint(do_open_zrwa(t, 5), ==, 0);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_SET_EXT, BDRV_ZONE_ZRWA, 4, 1),
                    ==, -EUSERS);
    g_assert_cmpint(state_of(t, 4), ==, EM);
    g_assert_cmphex(attributes_of(t, 4), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_SET_EXT, 4), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_SET_EXT, 6), ==, -EOVERFLOW);
    g_assert_cmpint(state_of(t, 6), ==, EM);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_SET_EXT, 4), ==, -EINVAL);
    zone_table_free(t);

    /* A device without extensions, without random write areas */
    t = new_table();
    g_assert_cmpint(do_mgmt(t, BLK_ZO_SET_EXT, 4), ==, -EINVAL);
    g_assert_cmpint(do_open_zrwa(t, 4), ==, -ENOTTY);
    g_assert_cmpint(state_of(t, 4), ==, EM);
    zone_table_free(t);
}

/* A zone with an extension is never empty, but by a reset. */
static void test_ext_keeps_zone_closed(void)
{
    ZoneTable *t = new_zns_table(0, 0);
    Request w;

    g_assert_cmpint(do_mgmt(t, BLK_ZO_SET_EXT, 4), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 4), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_CLOSE, 4), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, CL);
    g_assert_cmpint(record_of(t, 4, false).state, ==, CL);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 4), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_POWER_CYCLE, 4), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, CL);
    start_write(&w, t, 4 * ZONE, BLOCK);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_CLOSE, 4), ==, 0);
    g_assert_cmpint(finish(&w, -EIO), ==, -EIO);
    g_assert_cmpint(state_of(t, 4), ==, CL);
    g_assert_cmphex(attributes_of(t, 4), ==, BDRV_ZA_EXT);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_RESET, 4), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, EM);
    zone_table_free(t);
}

/* What a power cycle makes of active zones, by what they hold */
static void test_power_cycle(void)
{
    static const struct {
        const char *name;
        uint8_t attributes;
        uint64_t wp, data_end;
        BlockZoneState want;
    } tests[] = {
        { "nothing", 0, 0, 0, EM },
        { "data", 0, WRITTEN, WRITTEN, CL },
        { "an extension", BDRV_ZA_EXT, 0, 0, CL },
        { "an unused area", BDRV_ZA_ZRWA, 0, 0, EM },
        { "data in an area", BDRV_ZA_ZRWA, 0, BLOCK, CL },
        { "a commit of nothing", BDRV_ZA_ZRWA, GRAIN, 0, CL },
        { "an extension and an area", BDRV_ZA_EXT | BDRV_ZA_ZRWA, 0, 0, CL },
    };
    static const BlockZoneState states[] = { IO, EO, CL };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        for (int s = 0; s < ARRAY_SIZE(states); s++) {
            g_autofree char *cell =
                g_strdup_printf("%s with %s", zone_state_name(states[s]),
                                tests[c].name);
            bool lost = tests[c].want == EM;
            ZoneTable *t = new_zns_table(1, 3);
            ZoneRecord stored;

            put_zns_zone(t, 4, states[s], tests[c].attributes, tests[c].wp,
                         tests[c].data_end);
            stored = record_of(t, 4, false);
            expect_ret(cell, do_mgmt(t, BLK_ZO_POWER_CYCLE, 4), 0);
            expect_zone(cell, t, 4, tests[c].want, tests[c].wp,
                        tests[c].data_end);
            expect_value(cell, "attributes", attributes_of(t, 4),
                         lost ? 0 : tests[c].attributes);
            /* The same as if the power had gone without notice */
            expect_record(cell, stored, record_of(t, 4, true));
            expect_value(cell, "active", nr_active(t), !lost);
            expect_ret(cell, do_mgmt(t, BLK_ZO_OPEN, 5),
                       lost ? 0 : -EOVERFLOW);
            expect_counts(cell, t);
            zone_table_free(t);
        }
    }
}

/* It does not wait: what is in flight decides what the zone is at last. */
static void test_power_cycle_in_flight(void)
{
    for (int c = 0; c < 4; c++) {
        BlockZoneFlags flags = c & 1 ? BDRV_ZONE_ZRWA : 0;
        bool fails = c & 2;
        g_autofree char *cell = g_strdup_printf("case %d", c);
        ZoneTable *t = new_zns_table(1, 1);
        Request w;

        expect_ret(cell, do_mgmt_flags(t, BLK_ZO_OPEN, flags, 4, 1), 0);
        start_write(&w, t, 4 * ZONE, BLOCK);
        expect_ret(cell, do_mgmt(t, BLK_ZO_POWER_CYCLE, 4), 0);
        expect_state(cell, state_of(t, 4), CL);
        expect_ret(cell, finish(&w, fails ? -EIO : 0), fails ? -EIO : 0);
        expect_state(cell, state_of(t, 4), fails ? EM : CL);
        expect_value(cell, "attributes", attributes_of(t, 4),
                     fails || !flags ? 0 : BDRV_ZA_ZRWA);
        expect_ret(cell, do_open_zrwa(t, 5), fails ? 0 : -EOVERFLOW);
        zone_table_free(t);
    }
}

/* Repair needs an active resource if data below the capacity comes back. */
static void test_repair_limits(void)
{
    static const struct {
        const char *name;
        BlockZoneState from;
        uint8_t attributes;
        uint64_t wp, data_end;
        BlockZoneState want;
    } tests[] = {
        { "read-only with data", RO, 0, WRITTEN, WRITTEN, CL },
        { "read-only without data", RO, 0, 0, 0, EM },
        { "read-only with an extension", RO, BDRV_ZA_EXT, 0, 0, CL },
        { "read-only, full", RO, 0, CAPACITY, CAPACITY, FU },
        { "read-only, finished", RO, 0, CAPACITY, BLOCK, FU },
        { "read-only, finished without data", RO, 0, CAPACITY, 0, FU },
        { "read-only, data to the end of an area", RO, 0, CAPACITY - AREA,
          CAPACITY, FU },
        { "read-only, data in an area", RO, 0, 0, BLOCK, CL },
        { "read-only, a commit above data", RO, 0, AREA, BLOCK, FU },
        { "read-only, a commit of nothing", RO, 0, AREA, 0, FU },
        { "offline with data", OF, 0, WRITTEN, WRITTEN, CL },
        { "offline without data", OF, 0, 0, 0, EM },
        { "offline, finished", OF, 0, CAPACITY, BLOCK, FU },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        for (int limited = 0; limited < 2; limited++) {
            g_autofree char *cell =
                g_strdup_printf("%s%s", tests[c].name,
                                limited ? ", no active zone left" : "");
            bool refused = limited && tests[c].want == CL;
            ZoneTable *t = new_zns_table(1, 0);
            ZoneRecord stored;
            Request m;

            put_zns_zone(t, 4, tests[c].from, tests[c].attributes,
                         tests[c].wp, tests[c].data_end);
            if (limited) {
                expect_ret(cell, do_mgmt(t, BLK_ZO_OPEN, 5), 0);
            }
            start_mgmt(&m, t, BLK_ZO_FORCE_REPAIR, 4, 1);
            expect_ret(cell, m.begun, refused ? -EOVERFLOW : 0);
            if (m.begun == 0) {
                stored = record_of(t, 4, false);
                expect_ret(cell, finish(&m, 0), 0);
                expect_zone(cell, t, 4, tests[c].want, tests[c].data_end,
                            tests[c].data_end);
                expect_record(cell, record_of(t, 4, true), stored);
                g_assert_true(zone_table_load(t, 4, &stored));
            } else {
                expect_state(cell, state_of(t, 4), tests[c].from);
            }
            expect_counts(cell, t);
            zone_table_free(t);
        }
    }
}

/* Until a repair has ended it keeps the resource that it will need. */
static void test_repair_takes_its_resource(void)
{
    static const int rets[] = { 0, -EIO };

    for (int c = 0; c < ARRAY_SIZE(rets); c++) {
        ZoneTable *t = new_zns_table(2, 0);
        Request m;

        put_zns_zone(t, 4, RO, 0, WRITTEN, WRITTEN);
        put_zns_zone(t, 5, OF, 0, BLOCK, BLOCK);
        put_zns_zone(t, 6, RO, 0, 0, 0);
        start_mgmt(&m, t, BLK_ZO_FORCE_REPAIR, 4, 3);
        g_assert_cmpint(m.begun, ==, 0);
        g_assert_cmpint(do_write(t, 8 * ZONE, BLOCK), ==, -EOVERFLOW);
        g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 8), ==, -EOVERFLOW);
        g_assert_cmpint(do_mgmt(t, BLK_ZO_SET_EXT, 8), ==, -EOVERFLOW);
        g_assert_cmpint(state_of(t, 4), ==, RO);
        g_assert_cmpint(state_of(t, 5), ==, OF);
        g_assert_cmpint(finish(&m, rets[c]), ==, rets[c]);
        g_assert_cmpint(state_of(t, 4), ==, rets[c] ? RO : CL);
        g_assert_cmpint(state_of(t, 5), ==, rets[c] ? OF : CL);
        g_assert_cmpint(state_of(t, 6), ==, rets[c] ? RO : EM);
        g_assert_cmphex(written_in(t, 4), ==, WRITTEN);
        g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 8), ==,
                        rets[c] ? 0 : -EOVERFLOW);
        if (rets[c] == 0) {
            g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_RESET, 0, 4, 2), ==, 0);
            g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 8), ==, 0);
        }
        g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 9), ==, 0);
        g_assert_cmpuint(nr_active(t), ==, 2);
        zone_table_free(t);
    }
}

/* All zones of a repair find room, or none is repaired. */
static void test_repair_all_or_nothing(void)
{
    ZoneTable *t = new_zns_table(2, 0);

    put_zns_zone(t, 4, RO, 0, WRITTEN, WRITTEN);
    put_zns_zone(t, 5, RO, 0, CAPACITY, CAPACITY);
    put_zns_zone(t, 6, OF, 0, WRITTEN, WRITTEN);
    put_zns_zone(t, 7, CL, 0, WRITTEN, WRITTEN);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_FORCE_REPAIR, 0, 4, 4), ==,
                    -EOVERFLOW);
    g_assert_cmpint(state_of(t, 4), ==, RO);
    g_assert_cmpint(state_of(t, 5), ==, RO);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_FORCE_REPAIR, 0, 4, 2), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, CL);
    g_assert_cmpint(state_of(t, 5), ==, FU);
    zone_table_free(t);
}

/* A zone that is well does not notice, whatever happens to it meanwhile. */
static void test_repair_of_nothing(void)
{
    ZoneGeometry g = zns_geometry();
    ZoneTable *t;
    Request m, w;

    g.zones.max_open = 1;
    t = zone_table_new(&g);

    /* Data in a random write area stays above the write pointer */
    put_zns_zone(t, 4, EO, BDRV_ZA_ZRWA, GRAIN, GRAIN + BLOCK);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_FORCE_REPAIR, 4), ==, 0);
    expect_zone("repair of an open zone", t, 4, EO, GRAIN, GRAIN + BLOCK);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_RESET, 4), ==, 0);

    /* Written full meanwhile */
    start_write(&w, t, 5 * ZONE, CAPACITY);
    start_mgmt(&m, t, BLK_ZO_FORCE_REPAIR, 5, 1);
    g_assert_cmpint(finish(&w, 0), ==, 0);
    g_assert_cmpint(finish(&m, 0), ==, 0);
    g_assert_cmpint(state_of(t, 5), ==, FU);

    /* Closed meanwhile, for another */
    g_assert_cmpint(do_write(t, 6 * ZONE, BLOCK), ==, 0);
    start_mgmt(&m, t, BLK_ZO_FORCE_REPAIR, 6, 1);
    g_assert_cmpint(do_write(t, 7 * ZONE, BLOCK), ==, 0);
    g_assert_cmpint(finish(&m, 0), ==, 0);
    g_assert_cmpint(state_of(t, 6), ==, CL);
    g_assert_cmpuint(nr_open(t), ==, 1);
    zone_table_free(t);
}

/* Whatever is forced on a zone waits for its writes and holds up new ones. */
static void test_force_waits_for_writes(void)
{
    static const struct {
        BlockZoneOp op;
        int ret, late;
        BlockZoneState want;
    } tests[] = {
        { BLK_ZO_FORCE_RDONLY, 0, -EROFS, RO },
        { BLK_ZO_FORCE_RDONLY, -EIO, 0, IO },
        { BLK_ZO_FORCE_OFFLINE, 0, -ENODEV, OF },
        { BLK_ZO_FORCE_OFFLINE, -EIO, 0, IO },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        for (int area = 0; area < 2; area++) {
            g_autofree char *cell =
                g_strdup_printf("op %d, %d, %s random write area",
                                tests[c].op, tests[c].ret,
                                area ? "with" : "without");
            ZoneTable *t = new_zns_table(1, 1);
            Request w, m, late;

            put_zns_zone(t, 4, IO, area ? BDRV_ZA_ZRWA : 0, 0, 0);
            start_write(&w, t, 4 * ZONE, 2 * BLOCK);
            start_mgmt(&m, t, tests[c].op, 4, 1);
            expect_ret(cell, m.begun, WAITING);
            start_write(&late, t, 4 * ZONE + 2 * BLOCK, BLOCK);
            expect_ret(cell, late.begun, WAITING);
            expect_ret(cell, finish(&w, 0), 0);
            expect_ret(cell, m.begun, 0);
            expect_ret(cell, late.begun, WAITING);
            expect_ret(cell, finish(&m, tests[c].ret), tests[c].ret);
            expect_ret(cell, late.begun, tests[c].late);
            if (late.begun == 0) {
                expect_ret(cell, finish(&late, 0), 0);
            }
            expect_state(cell, state_of(t, 4), tests[c].want);
            expect_value(cell, "active", nr_active(t), tests[c].ret != 0);
            zone_table_free(t);
        }
    }
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/zone-table/zns/attributes-through-every-transition",
                    test_attributes_everywhere);
    g_test_add_func("/zone-table/zns/attributes-that-a-state-allows",
                    test_attributes_allowed);
    g_test_add_func("/zone-table/zns/attributes-of-all-zones-or-none",
                    test_attributes_of_several);
    g_test_add_func("/zone-table/zns/attributes-after-writes",
                    test_attributes_wait_for_writes);
    g_test_add_func("/zone-table/zns/recommendation-to-finish-until-full",
                    test_full_by_writing);
    g_test_add_func("/zone-table/zns/extension-set-or-nothing-taken",
                    test_set_ext);
    g_test_add_func("/zone-table/zns/extension-refused", test_set_ext_refused);
    g_test_add_func("/zone-table/zns/extension-keeps-zone-closed",
                    test_ext_keeps_zone_closed);
    g_test_add_func("/zone-table/zns/power-cycle-keeps-what-holds-something",
                    test_power_cycle);
    g_test_add_func("/zone-table/zns/power-cycle-with-writes-in-flight",
                    test_power_cycle_in_flight);
    g_test_add_func("/zone-table/zns/repair-needs-an-active-zone",
                    test_repair_limits);
    g_test_add_func("/zone-table/zns/repair-keeps-its-resource",
                    test_repair_takes_its_resource);
    g_test_add_func("/zone-table/zns/repair-all-or-nothing",
                    test_repair_all_or_nothing);
    g_test_add_func("/zone-table/zns/repair-of-a-good-zone-changes-nothing",
                    test_repair_of_nothing);
    g_test_add_func("/zone-table/zns/force-waits-for-writes",
                    test_force_waits_for_writes);
    return g_test_run();
}
