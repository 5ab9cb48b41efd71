/*
 * Unit tests of the zone table (include/block/zone-table.h)
 *
 * What the standards say about one zone in one state is in data tables; what
 * only concurrency can break is played through in every order, or in many
 * random ones; and a naive model of the rules, kept apart from the code under
 * test, is compared with it over a long random sequence of requests.
 *
 * The "I/O" of a request is a coroutine that waits to be told how it ended.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "block/block-zoned.h"
#include "block/zone-table.h"
#include "iothread.h"

#define ZONE        (1 * MiB)
#define CAPACITY    (768 * KiB)
#define BLOCK       (4 * KiB)
#define WRITTEN     (256 * KiB)     /* in a zone that has some data */
#define NR_ZONES    16
#define NR_CONV     2
#define FIRST_SEQ   NR_CONV

/* The result of something that has not come yet */
#define WAITING     INT_MAX

static ZoneGeometry standard_geometry(void)
{
    return (ZoneGeometry) {
        .size = NR_ZONES * ZONE,
        .zone_size = ZONE,
        .zone_capacity = CAPACITY,
        .conventional_zones = NR_CONV,
        .max_append = 2 * ZONE,
        .write_granularity = BLOCK,
    };
}

static ZoneTable *new_table(void)
{
    ZoneGeometry g = standard_geometry();

    return zone_table_new(&g);
}

static ZoneTable *new_limited_table(uint32_t max_open, uint32_t max_active)
{
    ZoneGeometry g = standard_geometry();

    g.max_open_zones = max_open;
    g.max_active_zones = max_active;
    return zone_table_new(&g);
}

#define AREA    (64 * KiB)      /* of a random write area */
#define GRAIN   (16 * KiB)      /* of its commits */
#define ZA_ALL  (BDRV_ZA_FINISHED_BY_CONTROLLER | BDRV_ZA_ZRWA | BDRV_ZA_EXT)

static ZoneGeometry zns_geometry(void)
{
    ZoneGeometry g = standard_geometry();

    g.ext_size = 64;
    g.zrwa_size = AREA;
    g.zrwa_granularity = GRAIN;
    return g;
}

static ZoneTable *new_zns_table(uint32_t max_active, uint32_t max_zrwa)
{
    ZoneGeometry g = zns_geometry();

    g.max_active_zones = max_active;
    g.max_zrwa_zones = max_zrwa;
    return zone_table_new(&g);
}

/* --- Comparing: a failure says in which cell it happened --- */

static const char *ret_name(int ret)
{
    return ret == WAITING ? "waiting" : ret < 0 ? strerror(-ret) : "success";
}

static bool expect_ret(const char *cell, int got, int want)
{
    if (got != want) {
        g_test_message("%s: result is %d (%s), expected %d (%s)", cell,
                       got, ret_name(got), want, ret_name(want));
        g_test_fail();
    }
    return got == want;
}

static bool expect_state(const char *cell, BlockZoneState got,
                         BlockZoneState want)
{
    if (got != want) {
        g_test_message("%s: state is %s, expected %s", cell,
                       zone_state_name(got), zone_state_name(want));
        g_test_fail();
    }
    return got == want;
}

static bool expect_value(const char *cell, const char *what,
                         uint64_t got, uint64_t want)
{
    if (got != want) {
        g_test_message("%s: %s is 0x%" PRIx64 ", expected 0x%" PRIx64, cell,
                       what, got, want);
        g_test_fail();
    }
    return got == want;
}

/* --- Requests: each one in a coroutine of its own --- */

typedef enum RequestKind { WRITE, APPEND, MGMT } RequestKind;

typedef struct Request {
    ZoneTable *t;
    RequestKind kind;
    BlockZoneOp op;
    BlockZoneFlags flags;
    uint64_t offset, bytes;     /* of an append: the position, once begun */

    int begun;                  /* result of the begin call, or WAITING */
    int ended;                  /* result of the whole request, or WAITING */
    unsigned int order;         /* how many had ended before it */
    int io_ret;
    bool ext_late;              /* the test calls zone_mgmt_ext_written() */
    Coroutine *co;
    ZoneWrite w;
    ZoneMgmt m;
} Request;

static unsigned int requests_ended;

static void coroutine_fn request_entry(void *opaque)
{
    Request *r = opaque;
    int ret;

    switch (r->kind) {
    case WRITE:
        ret = zone_begin_write(r->t, &r->w, r->offset, r->bytes);
        break;
    case APPEND:
        ret = zone_begin_append(r->t, &r->w, &r->offset, r->bytes);
        break;
    default:
        ret = zone_mgmt_begin(r->t, &r->m, r->op, r->flags,
                              r->offset, r->bytes);
        break;
    }
    r->begun = ret;
    if (ret == 0) {
        if (r->op == BLK_ZO_SET_EXT && !r->ext_late) {
            zone_mgmt_ext_written(r->t, &r->m);
        }
        qemu_coroutine_yield();
        ret = r->kind == MGMT ? zone_mgmt_end(r->t, &r->m, r->io_ret)
                              : zone_end_write(r->t, &r->w, r->io_ret);
    }
    r->ended = ret;
    r->order = requests_ended++;
    r->co = NULL;
}

/* Begin a request and leave it in the middle of its I/O */
static void start(Request *r, const Request *what)
{
    *r = *what;
    r->begun = r->ended = WAITING;
    r->co = qemu_coroutine_create(request_entry, r);
    qemu_coroutine_enter(r->co);
}

static void start_write(Request *r, ZoneTable *t, uint64_t offset,
                        uint64_t bytes)
{
    start(r, &(Request) {
        .t = t, .kind = WRITE, .offset = offset, .bytes = bytes,
    });
}

static void start_append(Request *r, ZoneTable *t, uint32_t zone,
                         uint64_t bytes)
{
    start(r, &(Request) {
        .t = t, .kind = APPEND, .offset = zone * ZONE, .bytes = bytes,
    });
}

static void start_mgmt(Request *r, ZoneTable *t, BlockZoneOp op,
                       uint32_t zone, uint32_t nr)
{
    start(r, &(Request) {
        .t = t, .kind = MGMT, .op = op,
        .offset = zone * ZONE, .bytes = nr * ZONE,
    });
}

/* Let the I/O of a request end, and nothing else run */
static void end_io(Request *r, int io_ret)
{
    g_assert_cmpint(r->begun, ==, 0);
    g_assert_cmpint(r->ended, ==, WAITING);
    r->io_ret = io_ret;
    qemu_coroutine_enter(r->co);
}

/* Let the I/O of a request end; with others below, it may still wait then. */
static int finish(Request *r, int io_ret)
{
    end_io(r, io_ret);
    while (aio_poll(qemu_get_aio_context(), false)) {
        /* Others that this one lets go on */
    }
    return r->ended;
}

/* From begin to end in one go; nothing may make it wait. */
static int run(Request *r, const Request *what)
{
    start(r, what);
    g_assert_cmpint(r->begun, !=, WAITING);
    return r->begun < 0 ? r->begun : finish(r, 0);
}

static int do_write(ZoneTable *t, uint64_t offset, uint64_t bytes)
{
    Request r;

    return run(&r, &(Request) {
        .t = t, .kind = WRITE, .offset = offset, .bytes = bytes,
    });
}

static int do_append(ZoneTable *t, uint32_t zone, uint64_t bytes,
                     uint64_t *position)
{
    Request r;
    int ret;

    ret = run(&r, &(Request) {
        .t = t, .kind = APPEND, .offset = zone * ZONE, .bytes = bytes,
    });
    *position = r.offset;
    return ret;
}

static int do_mgmt_flags(ZoneTable *t, BlockZoneOp op, BlockZoneFlags flags,
                         uint32_t zone, uint32_t nr)
{
    Request r;

    return run(&r, &(Request) {
        .t = t, .kind = MGMT, .op = op, .flags = flags,
        .offset = zone * ZONE, .bytes = nr * ZONE,
    });
}

static int do_mgmt(ZoneTable *t, BlockZoneOp op, uint32_t zone)
{
    return do_mgmt_flags(t, op, 0, zone, 1);
}

/* --- Looking at zones --- */

static BlockZoneDescriptor report_zone(ZoneTable *t, uint32_t zone)
{
    BlockZoneDescriptor d;
    unsigned int nr = 1;

    zone_table_report(t, zone * ZONE, &nr, &d);
    g_assert_cmpuint(nr, ==, 1);
    return d;
}

static BlockZoneState state_of(ZoneTable *t, uint32_t zone)
{
    return report_zone(t, zone).state;
}

/* Bytes below the write pointer */
static uint64_t written_in(ZoneTable *t, uint32_t zone)
{
    return report_zone(t, zone).wp - zone * ZONE;
}

static ZoneRecord record_of(ZoneTable *t, uint32_t zone, bool live)
{
    ZoneRecord r;

    zone_table_record(t, zone, live, &r);
    return r;
}

static uint32_t nr_open(ZoneTable *t)
{
    ZoneCounts c;

    zone_table_count(t, &c);
    return c.in_state[BLK_ZS_IOPEN] + c.in_state[BLK_ZS_EOPEN];
}

static uint32_t nr_active(ZoneTable *t)
{
    ZoneCounts c;

    zone_table_count(t, &c);
    return c.in_state[BLK_ZS_IOPEN] + c.in_state[BLK_ZS_EOPEN] +
           c.in_state[BLK_ZS_CLOSED];
}

/* The counts must agree with the states that are reported. */
static bool expect_counts(const char *cell, ZoneTable *t)
{
    unsigned int nr = zone_table_nr_zones(t);
    g_autofree BlockZoneDescriptor *zones = g_new(BlockZoneDescriptor, nr);
    uint32_t in_state[BLK_ZS_OFFLINE + 1] = { 0 };
    bool good = true;
    ZoneCounts counts;

    zone_table_report(t, 0, &nr, zones);
    for (unsigned int i = 0; i < nr; i++) {
        in_state[zones[i].state]++;
    }
    zone_table_count(t, &counts);
    for (unsigned int s = 0; s < ARRAY_SIZE(in_state); s++) {
        if (counts.in_state[s] != in_state[s]) {
            g_test_message("%s: count of zones %s is %u, expected %u", cell,
                           zone_state_name(s), counts.in_state[s],
                           in_state[s]);
            g_test_fail();
            good = false;
        }
    }
    return good;
}

/* Put a zone into a state, with this much written to it */
static void put_zone(ZoneTable *t, uint32_t zone, BlockZoneState state,
                     uint64_t written)
{
    uint64_t begin = zone * ZONE;
    ZoneRecord r = {
        .state = state,
        .wp = begin + (state == BLK_ZS_FULL ? CAPACITY : written),
        .data_end = begin + written,
    };

    g_assert_true(zone_table_load(t, zone, &r));
}

/* --- Appends --- */

static void test_append_returns_position(void)
{
    ZoneTable *t = new_table();
    uint64_t position;

    g_assert_cmpint(do_append(t, FIRST_SEQ, 2 * BLOCK, &position), ==, 0);
    g_assert_cmphex(position, ==, FIRST_SEQ * ZONE);
    g_assert_cmpint(do_append(t, FIRST_SEQ, BLOCK, &position), ==, 0);
    g_assert_cmphex(position, ==, FIRST_SEQ * ZONE + 2 * BLOCK);
    g_assert_cmphex(written_in(t, FIRST_SEQ), ==, 3 * BLOCK);
    zone_table_free(t);
}

/* --- Every operation on a zone in every state --- */

typedef struct Situation {
    const char *name;
    BlockZoneState state;
    uint64_t written;
} Situation;

/* Columns of the tables below, in this order */
static const Situation situations[] = {
    { "a conventional zone", BLK_ZS_NOT_WP },
    { "an empty zone", BLK_ZS_EMPTY },
    { "an implicitly open zone", BLK_ZS_IOPEN, WRITTEN },
    { "an explicitly open zone", BLK_ZS_EOPEN, WRITTEN },
    { "a closed zone", BLK_ZS_CLOSED, WRITTEN },
    { "a full zone", BLK_ZS_FULL, CAPACITY },
    { "a read-only zone", BLK_ZS_RDONLY, WRITTEN },
    { "an offline zone", BLK_ZS_OFFLINE, WRITTEN },
    /* Open or closed, but nothing was written yet */
    { "an implicitly open zone without data", BLK_ZS_IOPEN },
    { "an explicitly open zone without data", BLK_ZS_EOPEN },
    { "a closed zone without data", BLK_ZS_CLOSED },
    /* Finished before everything was written */
    { "a finished zone", BLK_ZS_FULL, WRITTEN },
};

#define NR_SITUATIONS ARRAY_SIZE(situations)

/* A cell of a table: the state after success, or the errno of a refusal */
typedef int Outcome;

#define NW BLK_ZS_NOT_WP
#define EM BLK_ZS_EMPTY
#define IO BLK_ZS_IOPEN
#define EO BLK_ZS_EOPEN
#define CL BLK_ZS_CLOSED
#define FU BLK_ZS_FULL
#define RO BLK_ZS_RDONLY
#define OF BLK_ZS_OFFLINE

/* What a size or a distance is counted from */
typedef enum Origin { ZERO, WP, ZONE_START, ROOM, REST_OF_ZONE } Origin;

typedef struct DataCase {
    const char *name;
    RequestKind kind;
    Origin from;                /* ZONE_START or WP */
    int64_t distance;
    Origin size;                /* ZERO, ROOM or REST_OF_ZONE */
    int64_t more;
    Outcome want[NR_SITUATIONS];
} DataCase;

static const DataCase data_cases[] = {
    { "a write at the write pointer", WRITE, WP, 0, ZERO, 64 * KiB,
      { NW, IO, IO, EO, IO, -EFBIG, -EROFS, -ENODEV,
        IO, EO, IO, -EFBIG } },
    { "a write that fills the zone", WRITE, WP, 0, ROOM, 0,
      { NW, FU, FU, FU, FU, -EFBIG, -EROFS, -ENODEV,
        FU, FU, FU, -EFBIG } },
    { "a write above the write pointer", WRITE, WP, BLOCK, ZERO, BLOCK,
      { NW, -ESPIPE, -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG, -EROFS, -ENODEV,
        -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG } },
    { "a write at the zone start", WRITE, ZONE_START, 0, ZERO, BLOCK,
      { NW, IO, -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG, -EROFS, -ENODEV,
        IO, EO, IO, -EFBIG } },
    { "a write at the end of the capacity", WRITE, ZONE_START, CAPACITY,
      ZERO, BLOCK,
      { NW, -ESPIPE, -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG, -EROFS, -ENODEV,
        -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG } },
    { "a write that begins within a block", WRITE, WP, 512, ZERO, BLOCK,
      { NW, -ESPIPE, -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG, -EROFS, -ENODEV,
        -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG } },
    { "a write that ends within a block", WRITE, WP, 0, ZERO, BLOCK + 512,
      { NW, -ESPIPE, -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG, -EROFS, -ENODEV,
        -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG } },
    { "a write past the capacity", WRITE, WP, 0, ROOM, BLOCK,
      { NW, -ERANGE, -ERANGE, -ERANGE, -ERANGE, -EFBIG, -EROFS, -ENODEV,
        -ERANGE, -ERANGE, -ERANGE, -EFBIG } },
    { "a write into the next zone", WRITE, WP, 0, REST_OF_ZONE, BLOCK,
      { NW, -ERANGE, -ERANGE, -ERANGE, -ERANGE, -EFBIG, -EROFS, -ENODEV,
        -ERANGE, -ERANGE, -ERANGE, -EFBIG } },
    { "a write of nothing at the write pointer", WRITE, WP, 0, ZERO, 0,
      { NW, EM, IO, EO, CL, -EFBIG, -EROFS, -ENODEV,
        IO, EO, CL, -EFBIG } },
    { "a write of nothing above the write pointer", WRITE, WP, BLOCK, ZERO, 0,
      { NW, -ESPIPE, -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG, -EROFS, -ENODEV,
        -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG } },

    { "an append", APPEND, ZONE_START, 0, ZERO, 64 * KiB,
      { -EINVAL, IO, IO, EO, IO, -EFBIG, -EROFS, -ENODEV,
        IO, EO, IO, -EFBIG } },
    { "an append that fills the zone", APPEND, ZONE_START, 0, ROOM, 0,
      { -EINVAL, FU, FU, FU, FU, -EFBIG, -EROFS, -ENODEV,
        FU, FU, FU, -EFBIG } },
    { "an append of part of a block", APPEND, ZONE_START, 0, ZERO, 512,
      { -EINVAL, -ESPIPE, -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG, -EROFS, -ENODEV,
        -ESPIPE, -ESPIPE, -ESPIPE, -EFBIG } },
    { "an append past the capacity", APPEND, ZONE_START, 0, ROOM, BLOCK,
      { -EINVAL, -ERANGE, -ERANGE, -ERANGE, -ERANGE, -EFBIG, -EROFS, -ENODEV,
        -ERANGE, -ERANGE, -ERANGE, -EFBIG } },
    { "an append into the next zone", APPEND, ZONE_START, 0,
      REST_OF_ZONE, BLOCK,
      { -EINVAL, -ERANGE, -ERANGE, -ERANGE, -ERANGE, -EFBIG, -EROFS, -ENODEV,
        -ERANGE, -ERANGE, -ERANGE, -EFBIG } },
    { "an append above the limit", APPEND, ZONE_START, 0,
      ZERO, 2 * ZONE + BLOCK,
      { -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EFBIG, -EROFS, -ENODEV,
        -EINVAL, -EINVAL, -EINVAL, -EFBIG } },
    { "an append of nothing", APPEND, ZONE_START, 0, ZERO, 0,
      { -EINVAL, EM, IO, EO, CL, -EFBIG, -EROFS, -ENODEV,
        IO, EO, CL, -EFBIG } },
    { "an append not at the start of the zone", APPEND, ZONE_START, BLOCK,
      ZERO, BLOCK,
      { -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL,
        -EINVAL, -EINVAL, -EINVAL, -EINVAL } },
};

typedef struct MgmtCase {
    const char *name;
    BlockZoneOp op;
    BlockZoneFlags flags;
    Outcome want[NR_SITUATIONS];
} MgmtCase;

static const MgmtCase mgmt_cases[] = {
    { "open", BLK_ZO_OPEN, 0,
      { -EINVAL, EO, EO, EO, EO, -EINVAL, -EINVAL, -EINVAL,
        EO, EO, EO, -EINVAL } },
    { "close", BLK_ZO_CLOSE, 0,
      { -EINVAL, -EINVAL, CL, CL, CL, -EINVAL, -EINVAL, -EINVAL,
        EM, EM, CL, -EINVAL } },
    { "close as in ZNS", BLK_ZO_CLOSE, BDRV_ZONE_CLOSE_EMPTY,
      { -EINVAL, -EINVAL, CL, CL, CL, -EINVAL, -EINVAL, -EINVAL,
        CL, CL, CL, -EINVAL } },
    { "finish", BLK_ZO_FINISH, 0,
      { -EINVAL, FU, FU, FU, FU, FU, -EINVAL, -EINVAL, FU, FU, FU, FU } },
    { "reset", BLK_ZO_RESET, 0,
      { -EINVAL, EM, EM, EM, EM, EM, -EINVAL, -EINVAL, EM, EM, EM, EM } },

    { "open, select all", BLK_ZO_OPEN, BDRV_ZONE_ALL,
      { NW, EM, IO, EO, EO, FU, RO, OF, IO, EO, EO, FU } },
    { "close, select all", BLK_ZO_CLOSE, BDRV_ZONE_ALL,
      { NW, EM, CL, CL, CL, FU, RO, OF, EM, EM, CL, FU } },
    { "close as in ZNS, select all", BLK_ZO_CLOSE,
      BDRV_ZONE_ALL | BDRV_ZONE_CLOSE_EMPTY,
      { NW, EM, CL, CL, CL, FU, RO, OF, CL, CL, CL, FU } },
    { "finish, select all", BLK_ZO_FINISH, BDRV_ZONE_ALL,
      { NW, EM, FU, FU, FU, FU, RO, OF, FU, FU, FU, FU } },
    { "reset, select all", BLK_ZO_RESET, BDRV_ZONE_ALL,
      { NW, EM, EM, EM, EM, EM, RO, OF, EM, EM, EM, EM } },

    { "offline", BLK_ZO_OFFLINE, 0,
      { -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, OF, OF,
        -EINVAL, -EINVAL, -EINVAL, -EINVAL } },
    { "offline, select all", BLK_ZO_OFFLINE, BDRV_ZONE_ALL,
      { NW, EM, IO, EO, CL, FU, OF, OF, IO, EO, CL, FU } },
    { "set extension", BLK_ZO_SET_EXT, 0,
      { -EINVAL, CL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL,
        -EINVAL, -EINVAL, -EINVAL, -EINVAL } },
    { "power cycle", BLK_ZO_POWER_CYCLE, 0,
      { NW, EM, CL, CL, CL, FU, RO, OF, EM, EM, EM, FU } },
    { "power cycle, select all", BLK_ZO_POWER_CYCLE, BDRV_ZONE_ALL,
      { NW, EM, CL, CL, CL, FU, RO, OF, EM, EM, EM, FU } },
    { "force read-only", BLK_ZO_FORCE_RDONLY, 0,
      { -EINVAL, RO, RO, RO, RO, RO, RO, RO, RO, RO, RO, RO } },
    { "force offline", BLK_ZO_FORCE_OFFLINE, 0,
      { -EINVAL, OF, OF, OF, OF, OF, OF, OF, OF, OF, OF, OF } },
    { "force repair", BLK_ZO_FORCE_REPAIR, 0,
      { -EINVAL, EM, IO, EO, CL, FU, CL, CL, IO, EO, CL, FU } },
};

static uint32_t put_situation(ZoneTable *t, const Situation *s)
{
    uint32_t zone = s->state == BLK_ZS_NOT_WP ? 0 : FIRST_SEQ;

    if (s->state != BLK_ZS_NOT_WP) {
        put_zone(t, zone, s->state, s->written);
    }
    return zone;
}

static void expect_zone(const char *cell, ZoneTable *t, uint32_t zone,
                        BlockZoneState state, uint64_t written,
                        uint64_t data)
{
    ZoneRecord r = record_of(t, zone, true);
    bool full = state == BLK_ZS_FULL;

    expect_state(cell, state_of(t, zone), state);
    expect_value(cell, "write pointer", written_in(t, zone),
                 full ? ZONE : written);
    expect_state(cell, r.state, state);
    expect_value(cell, "stored write pointer", r.wp - zone * ZONE,
                 full ? CAPACITY : written);
    expect_value(cell, "end of data", r.data_end - zone * ZONE, data);
}

static void check_data_cell(const DataCase *c, int i)
{
    const Situation *s = &situations[i];
    g_autofree char *cell = g_strdup_printf("%s to %s", c->name, s->name);
    const uint64_t origin[] = {
        [WP] = s->written, [ROOM] = CAPACITY - s->written,
        [REST_OF_ZONE] = ZONE - s->written,
    };
    ZoneTable *t = new_table();
    uint32_t zone = put_situation(t, s);
    uint64_t bytes = origin[c->size] + c->more;
    Request r;
    int ret;

    ret = run(&r, &(Request) {
        .t = t, .kind = c->kind, .bytes = bytes,
        .offset = zone * ZONE + origin[c->from] + c->distance,
    });
    if (c->want[i] < 0) {
        expect_ret(cell, ret, c->want[i]);
        expect_zone(cell, t, zone, s->state,
                    s->state == BLK_ZS_FULL ? CAPACITY : s->written,
                    s->written);
    } else {
        uint64_t end = zone ? s->written + bytes : 0;

        expect_ret(cell, ret, 0);
        expect_zone(cell, t, zone, c->want[i], end, end);
        if (c->kind == APPEND) {
            expect_value(cell, "position", r.offset - zone * ZONE, s->written);
        }
    }
    expect_zone(cell, t, zone + 1, zone ? EM : NW, 0, 0);
    expect_counts(cell, t);
    zone_table_free(t);
}

static void check_mgmt_cell(const MgmtCase *c, int i)
{
    const Situation *s = &situations[i];
    g_autofree char *cell = g_strdup_printf("%s of %s", c->name, s->name);
    ZoneTable *t = new_zns_table(0, 0);
    uint32_t zone = put_situation(t, s);
    BlockZoneState want = c->want[i] < 0 ? s->state : c->want[i];
    bool all = c->flags & BDRV_ZONE_ALL;
    uint64_t written = s->written;
    uint64_t wp = s->state == FU || want == FU ? CAPACITY : written;
    Request r;
    int ret;

    ret = run(&r, &(Request) {
        .t = t, .kind = MGMT, .op = c->op, .flags = c->flags,
        .offset = all ? 0 : zone * ZONE, .bytes = all ? NR_ZONES * ZONE : ZONE,
    });
    expect_ret(cell, ret, MIN(c->want[i], 0));
    if (ret == 0) {
        /* Also of what is so already: stable storage may not know */
        expect_value(cell, "need to commit", r.m.commit,
                     c->op != BLK_ZO_OPEN && c->op != BLK_ZO_CLOSE &&
                     c->op != BLK_ZO_POWER_CYCLE);
    }
    if (want == EM) {
        wp = written = 0;
    }
    expect_zone(cell, t, zone, want, wp, written);
    expect_value(cell, "attributes", report_zone(t, zone).attributes,
                 c->op == BLK_ZO_SET_EXT && ret == 0 ? BDRV_ZA_EXT : 0);
    expect_zone(cell, t, zone + 1, zone ? EM : NW, 0, 0);
    expect_counts(cell, t);
    zone_table_free(t);
}

static void test_data_matrix(void)
{
    for (int c = 0; c < ARRAY_SIZE(data_cases); c++) {
        for (int i = 0; i < NR_SITUATIONS; i++) {
            check_data_cell(&data_cases[c], i);
        }
    }
}

static void test_mgmt_matrix(void)
{
    for (int c = 0; c < ARRAY_SIZE(mgmt_cases); c++) {
        for (int i = 0; i < NR_SITUATIONS; i++) {
            check_mgmt_cell(&mgmt_cases[c], i);
        }
    }
}

/* All situations side by side: select all acts on each as if it were alone. */
static void test_select_all_mixed(void)
{
    for (int c = 0; c < ARRAY_SIZE(mgmt_cases); c++) {
        const MgmtCase *m = &mgmt_cases[c];
        ZoneTable *t = new_zns_table(0, 0);

        if (!(m->flags & BDRV_ZONE_ALL)) {
            zone_table_free(t);
            continue;
        }
        for (int i = 1; i < NR_SITUATIONS; i++) {
            put_zone(t, NR_CONV + i, situations[i].state,
                     situations[i].written);
        }
        expect_ret(m->name, do_mgmt_flags(t, m->op, m->flags, 0, NR_ZONES), 0);
        for (int i = 1; i < NR_SITUATIONS; i++) {
            g_autofree char *cell = g_strdup_printf("%s beside others: %s",
                                                    m->name,
                                                    situations[i].name);

            expect_state(cell, state_of(t, NR_CONV + i), m->want[i]);
        }
        expect_counts(m->name, t);
        zone_table_free(t);
    }
}

/* One zone that cannot change keeps all others as they are. */
static void test_range_all_or_nothing(void)
{
    static const struct {
        BlockZoneOp op;
        BlockZoneState bad, good;
    } tests[] = {
        { BLK_ZO_OPEN, FU, EM }, { BLK_ZO_OPEN, RO, CL },
        { BLK_ZO_CLOSE, EM, IO }, { BLK_ZO_CLOSE, FU, EO },
        { BLK_ZO_FINISH, RO, IO }, { BLK_ZO_FINISH, OF, CL },
        { BLK_ZO_RESET, RO, FU }, { BLK_ZO_RESET, OF, IO },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        for (int bad = 0; bad < 4; bad++) {
            g_autofree char *cell =
                g_strdup_printf("op %d on 4 zones, number %d is %s",
                                tests[c].op, bad,
                                zone_state_name(tests[c].bad));
            ZoneTable *t = new_table();

            for (int i = 0; i < 4; i++) {
                BlockZoneState s = i == bad ? tests[c].bad : tests[c].good;

                put_zone(t, FIRST_SEQ + i, s, s == EM ? 0 : WRITTEN);
            }
            expect_ret(cell,
                       do_mgmt_flags(t, tests[c].op, 0, FIRST_SEQ, 4),
                       -EINVAL);
            for (int i = 0; i < 4; i++) {
                expect_state(cell, state_of(t, FIRST_SEQ + i),
                             i == bad ? tests[c].bad : tests[c].good);
                expect_state(cell, record_of(t, FIRST_SEQ + i, true).state,
                             i == bad ? tests[c].bad : tests[c].good);
            }
            zone_table_free(t);
        }
    }
}

static void test_range_changes_every_zone(void)
{
    ZoneTable *t = new_table();

    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_OPEN, 0, FIRST_SEQ, 4), ==, 0);
    g_assert_cmpuint(nr_open(t), ==, 4);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_FINISH, 0, FIRST_SEQ, 3), ==, 0);
    g_assert_cmpint(state_of(t, FIRST_SEQ + 2), ==, FU);
    g_assert_cmpint(state_of(t, FIRST_SEQ + 3), ==, EO);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_RESET, 0, FIRST_SEQ, 14), ==, 0);
    for (int i = FIRST_SEQ; i < NR_ZONES; i++) {
        g_assert_cmpint(state_of(t, i), ==, EM);
    }
    zone_table_free(t);
}

static void test_mgmt_wants_whole_zones(void)
{
    static const struct {
        const char *name;
        uint64_t offset, bytes;
    } tests[] = {
        { "not at a zone start", FIRST_SEQ * ZONE + BLOCK, ZONE },
        { "ends within a zone", FIRST_SEQ * ZONE, ZONE + BLOCK },
        { "part of a zone", FIRST_SEQ * ZONE, BLOCK },
        { "no zone", FIRST_SEQ * ZONE, 0 },
        { "at the end of the device", NR_ZONES * ZONE, ZONE },
        { "past the end of the device", (NR_ZONES - 1) * ZONE, 2 * ZONE },
        { "beyond 2^32 zones", (1ULL << 32) * ZONE, ZONE },
        { "wraps", FIRST_SEQ * ZONE, UINT64_MAX - FIRST_SEQ * ZONE + 1 },
        { "wraps to a zone end", FIRST_SEQ * ZONE, UINT64_MAX - ZONE + 1 },
        { "last offset", UINT64_MAX - ZONE + 1, ZONE },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        ZoneTable *t = new_table();
        Request r;

        put_zone(t, FIRST_SEQ, BLK_ZS_CLOSED, WRITTEN);
        expect_ret(tests[c].name, run(&r, &(Request) {
            .t = t, .kind = MGMT, .op = BLK_ZO_RESET,
            .offset = tests[c].offset, .bytes = tests[c].bytes,
        }), -EINVAL);
        expect_state(tests[c].name, state_of(t, FIRST_SEQ), BLK_ZS_CLOSED);
        zone_table_free(t);
    }
}

static void test_requests_outside_the_device(void)
{
    static const struct {
        RequestKind kind;
        uint64_t offset, bytes;
        int want;
    } tests[] = {
        { WRITE, NR_ZONES * ZONE, BLOCK, -ERANGE },
        { WRITE, (NR_ZONES - 1) * ZONE, ZONE + BLOCK, -ERANGE },
        { WRITE, (1ULL << 32) * ZONE + FIRST_SEQ * ZONE, BLOCK, -ERANGE },
        { WRITE, FIRST_SEQ * ZONE, UINT64_MAX - FIRST_SEQ * ZONE + 1,
          -ERANGE },
        { APPEND, NR_ZONES * ZONE, BLOCK, -EINVAL },
        { APPEND, NR_ZONES * ZONE, 0, -EINVAL },
        { APPEND, (1ULL << 32) * ZONE + FIRST_SEQ * ZONE, BLOCK, -EINVAL },
        { APPEND, UINT64_MAX - ZONE + 1, BLOCK, -EINVAL },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        g_autofree char *cell = g_strdup_printf("case %d", c);
        ZoneTable *t = new_table();
        Request r;

        expect_ret(cell, run(&r, &(Request) {
            .t = t, .kind = tests[c].kind,
            .offset = tests[c].offset, .bytes = tests[c].bytes,
        }), tests[c].want);
        g_assert_cmpuint(nr_active(t), ==, 0);
        zone_table_free(t);
    }
}

/* --- Geometry --- */

static void test_conventional_zones(void)
{
    ZoneTable *t = new_table();
    BlockZoneDescriptor d;

    /* Any place, any order, any size, also over two zones at once */
    g_assert_cmpint(do_write(t, ZONE - 512, 1024), ==, 0);
    g_assert_cmpint(do_write(t, 3 * BLOCK, BLOCK), ==, 0);
    g_assert_cmpint(do_write(t, 3 * BLOCK, BLOCK), ==, 0);
    g_assert_cmpint(do_write(t, 0, 2 * ZONE), ==, 0);
    /* but not into a sequential one, even at its write pointer */
    g_assert_cmpint(do_write(t, 2 * ZONE - BLOCK, 2 * BLOCK), ==, -ERANGE);
    g_assert_cmpint(do_write(t, 0, 3 * ZONE), ==, -ERANGE);

    d = report_zone(t, 1);
    g_assert_cmpint(d.type, ==, BLK_ZT_CONV);
    g_assert_cmpint(d.state, ==, BLK_ZS_NOT_WP);
    g_assert_cmphex(d.start, ==, ZONE);
    g_assert_cmphex(d.cap, ==, ZONE);
    g_assert_cmphex(d.length, ==, ZONE);
    g_assert_cmpint(report_zone(t, 2).type, ==, BLK_ZT_SWR);
    g_assert_cmphex(written_in(t, 2), ==, 0);
    g_assert_false(zone_table_is_dirty(t));
    zone_table_free(t);
}

static void test_conventional_only(void)
{
    ZoneGeometry g = standard_geometry();
    uint64_t position;
    ZoneTable *t;
    bool data;

    g.size = 3 * ZONE - 512 * KiB;
    g.conventional_zones = 3;
    t = zone_table_new(&g);
    g_assert_cmpint(do_write(t, 0, g.size), ==, 0);
    g_assert_cmpint(do_write(t, 0, g.size + 512), ==, -ERANGE);
    g_assert_cmpint(do_append(t, 2, BLOCK, &position), ==, -EINVAL);
    g_assert_cmphex(report_zone(t, 2).length, ==, ZONE - 512 * KiB);
    g_assert_cmphex(report_zone(t, 2).cap, ==, ZONE - 512 * KiB);
    g_assert_cmphex(zone_table_readable(t, 0, g.size, &data), ==, g.size);
    g_assert_true(data);
    zone_table_free(t);
}

static void test_conventional_io_errors(void)
{
    ZoneTable *t = new_table();
    Request r;

    start_write(&r, t, 0, BLOCK);
    g_assert_cmpint(finish(&r, -EIO), ==, -EIO);
    start_write(&r, t, 0, BLOCK);
    g_assert_cmpint(finish(&r, -EROFS), ==, -EIO);
    zone_table_free(t);
}

/* Size and capacity of the last zone end with the device. */
static void test_short_last_zone(void)
{
    static const struct {
        uint64_t length, cap;
    } tests[] = {
        { BLOCK, BLOCK },
        { CAPACITY - BLOCK, CAPACITY - BLOCK },
        { CAPACITY, CAPACITY },
        { CAPACITY + BLOCK, CAPACITY },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        g_autofree char *cell = g_strdup_printf("last zone of 0x%" PRIx64,
                                                tests[c].length);
        ZoneGeometry g = standard_geometry();
        uint32_t last = NR_ZONES - 1;
        BlockZoneDescriptor d;
        uint64_t position;
        ZoneTable *t;
        Request r;

        g.size = last * ZONE + tests[c].length;
        t = zone_table_new(&g);
        expect_value(cell, "number of zones", zone_table_nr_zones(t),
                     NR_ZONES);
        d = report_zone(t, last);
        expect_value(cell, "length", d.length, tests[c].length);
        expect_value(cell, "capacity", d.cap, tests[c].cap);

        expect_ret(cell, do_append(t, last, tests[c].cap + BLOCK, &position),
                   -ERANGE);
        expect_ret(cell, do_append(t, last, tests[c].cap, &position), 0);
        d = report_zone(t, last);
        expect_state(cell, d.state, BLK_ZS_FULL);
        expect_value(cell, "write pointer", d.wp, g.size);
        expect_value(cell, "stored write pointer",
                     record_of(t, last, false).wp, last * ZONE + tests[c].cap);

        /* The zone's size is its real one, as in select all */
        expect_ret(cell, run(&r, &(Request) {
            .t = t, .kind = MGMT, .op = BLK_ZO_RESET,
            .offset = last * ZONE, .bytes = tests[c].length,
        }), 0);
        expect_state(cell, state_of(t, last), BLK_ZS_EMPTY);
        expect_ret(cell, run(&r, &(Request) {
            .t = t, .kind = MGMT, .op = BLK_ZO_RESET, .flags = BDRV_ZONE_ALL,
            .offset = 0, .bytes = g.size,
        }), 0);
        expect_ret(cell, run(&r, &(Request) {
            .t = t, .kind = MGMT, .op = BLK_ZO_FINISH,
            .offset = last * ZONE, .bytes = tests[c].length,
        }), 0);
        expect_state(cell, state_of(t, last), BLK_ZS_FULL);
        zone_table_free(t);
    }
}

static void test_capacity_equals_size(void)
{
    ZoneGeometry g = standard_geometry();
    ZoneTable *t;

    g.zone_capacity = ZONE;
    t = zone_table_new(&g);
    g_assert_cmpint(do_write(t, FIRST_SEQ * ZONE, ZONE + BLOCK), ==, -ERANGE);
    g_assert_cmpint(do_write(t, FIRST_SEQ * ZONE, ZONE), ==, 0);
    g_assert_cmpint(state_of(t, FIRST_SEQ), ==, BLK_ZS_FULL);
    g_assert_cmphex(report_zone(t, FIRST_SEQ).cap, ==, ZONE);
    zone_table_free(t);
}

static void test_granularity(void)
{
    static const struct {
        uint32_t granularity;
        uint64_t bytes;
        int want;
    } tests[] = {
        { 512, 512, 0 }, { 512, 1024, 0 }, { 512, 256, -ESPIPE },
        { 4096, 512, -ESPIPE }, { 4096, 4096 - 512, -ESPIPE },
        { 4096, 4096, 0 }, { 4096, 4096 + 512, -ESPIPE }, { 4096, 8192, 0 },
        { 65536, 4096, -ESPIPE }, { 65536, 65536, 0 },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        g_autofree char *cell =
            g_strdup_printf("0x%" PRIx64 " in units of 0x%x", tests[c].bytes,
                            tests[c].granularity);
        ZoneGeometry g = standard_geometry();
        uint64_t position;
        ZoneTable *t;

        g.write_granularity = tests[c].granularity;
        t = zone_table_new(&g);
        expect_ret(cell, do_write(t, FIRST_SEQ * ZONE, tests[c].bytes),
                   tests[c].want);
        expect_ret(cell, do_append(t, FIRST_SEQ + 1, tests[c].bytes,
                                   &position), tests[c].want);
        expect_value(cell, "data", written_in(t, FIRST_SEQ),
                     tests[c].want ? 0 : tests[c].bytes);
        zone_table_free(t);
    }
}

static void test_append_limit(void)
{
    ZoneGeometry g = standard_geometry();
    uint64_t position;
    ZoneTable *t;

    g.max_append = 2 * BLOCK;
    t = zone_table_new(&g);
    g_assert_cmpint(do_append(t, FIRST_SEQ, 3 * BLOCK, &position), ==,
                    -EINVAL);
    g_assert_cmpint(do_append(t, FIRST_SEQ, 2 * BLOCK, &position), ==, 0);
    /* A plain write has no such limit */
    g_assert_cmpint(do_write(t, FIRST_SEQ * ZONE + 2 * BLOCK, 3 * BLOCK), ==,
                    0);
    zone_table_free(t);

    g.max_append = 0;
    t = zone_table_new(&g);
    g_assert_cmpint(do_append(t, FIRST_SEQ, BLOCK, &position), ==, -EINVAL);
    g_assert_cmpint(do_append(t, FIRST_SEQ, 0, &position), ==, 0);
    zone_table_free(t);
}

/* Of nothing, but behind writes whose end is still open */
static void test_append_nothing_in_flight(void)
{
    ZoneTable *t = new_table();
    uint64_t position;
    Request r;

    start_write(&r, t, FIRST_SEQ * ZONE, BLOCK);
    g_assert_cmpint(do_append(t, FIRST_SEQ, 0, &position), ==, 0);
    g_assert_cmphex(position, ==, FIRST_SEQ * ZONE + BLOCK);
    g_assert_cmpint(finish(&r, 0), ==, 0);
    zone_table_free(t);
}

static void test_report(void)
{
    ZoneTable *t = new_table();
    BlockZoneDescriptor d[NR_ZONES + 1];
    unsigned int nr;

    /* From within a zone: the zone that contains the offset comes first */
    nr = 3;
    zone_table_report(t, 4 * ZONE + 17 * BLOCK, &nr, d);
    g_assert_cmpuint(nr, ==, 3);
    for (int i = 0; i < 3; i++) {
        g_assert_cmphex(d[i].start, ==, (4 + i) * ZONE);
        g_assert_cmphex(d[i].length, ==, ZONE);
        g_assert_cmphex(d[i].cap, ==, CAPACITY);
        g_assert_cmphex(d[i].wp, ==, d[i].start);
        g_assert_cmpint(d[i].state, ==, BLK_ZS_EMPTY);
    }

    /* The device ends before the room in the report does */
    nr = ARRAY_SIZE(d);
    zone_table_report(t, 0, &nr, d);
    g_assert_cmpuint(nr, ==, NR_ZONES);
    nr = ARRAY_SIZE(d);
    zone_table_report(t, (NR_ZONES - 2) * ZONE, &nr, d);
    g_assert_cmpuint(nr, ==, 2);
    nr = ARRAY_SIZE(d);
    zone_table_report(t, NR_ZONES * ZONE - 1, &nr, d);
    g_assert_cmpuint(nr, ==, 1);

    /* Nothing there */
    nr = 5;
    zone_table_report(t, NR_ZONES * ZONE, &nr, d);
    g_assert_cmpuint(nr, ==, 0);
    nr = 5;
    zone_table_report(t, (1ULL << 32) * ZONE, &nr, d);
    g_assert_cmpuint(nr, ==, 0);

    /* Nothing wanted */
    nr = 0;
    zone_table_report(t, 0, &nr, d);
    g_assert_cmpuint(nr, ==, 0);
    zone_table_free(t);
}

static void test_geometry(void)
{
    ZoneGeometry g = standard_geometry();
    ZoneTable *t = zone_table_new(&g);
    ZoneCounts c;

    g_assert_cmpmem(zone_table_geometry(t), sizeof(g), &g, sizeof(g));
    g_assert_cmpuint(zone_table_nr_zones(t), ==, NR_ZONES);
    zone_table_count(t, &c);
    g_assert_cmpuint(c.in_state[BLK_ZS_NOT_WP], ==, NR_CONV);
    g_assert_cmpuint(c.in_state[BLK_ZS_EMPTY], ==, NR_ZONES - NR_CONV);
    zone_table_free(t);

    g_assert_cmpuint(zone_geometry_nr_zones(&g), ==, NR_ZONES);
    g.size++;
    g_assert_cmpuint(zone_geometry_nr_zones(&g), ==, NR_ZONES + 1);
    g.size -= 2;
    g_assert_cmpuint(zone_geometry_nr_zones(&g), ==, NR_ZONES);

    zone_table_free(NULL);
}

static void test_state_names(void)
{
    g_assert_cmpstr(zone_state_name(BLK_ZS_NOT_WP), ==, "not-write-pointer");
    g_assert_cmpstr(zone_state_name(BLK_ZS_EMPTY), ==, "empty");
    g_assert_cmpstr(zone_state_name(BLK_ZS_IOPEN), ==, "implicitly-open");
    g_assert_cmpstr(zone_state_name(BLK_ZS_EOPEN), ==, "explicitly-open");
    g_assert_cmpstr(zone_state_name(BLK_ZS_CLOSED), ==, "closed");
    g_assert_cmpstr(zone_state_name(BLK_ZS_RDONLY), ==, "read-only");
    g_assert_cmpstr(zone_state_name(BLK_ZS_FULL), ==, "full");
    g_assert_cmpstr(zone_state_name(BLK_ZS_OFFLINE), ==, "offline");
    g_assert_cmpstr(zone_state_name(7), ==, "invalid");
    g_assert_cmpstr(zone_state_name(200), ==, "invalid");
}

/* --- Resources --- */

/* Zones of the resource tests, and what an attempt to open one more does */
typedef struct ResourceCase {
    const char *name;
    uint32_t max_open, max_active;
    BlockZoneState others[4];
    BlockZoneState subject;
    int want;                   /* of a write as of an explicit open */
    int victim;                 /* the one of @others that is closed, or -1 */
} ResourceCase;

static const ResourceCase resource_cases[] = {
    { "no limits", 0, 0, { EO, EO, IO, CL }, EM, 0, -1 },
    { "room in both", 3, 5, { EO, IO, CL, EM }, EM, 0, -1 },
    { "last of both", 3, 4, { EO, IO, CL, EM }, EM, 0, -1 },

    /* Active is the harder one; an implicit close does not help it */
    { "active missing", 4, 3, { EO, IO, CL, EM }, EM,
      -EOVERFLOW, -1 },
    { "active and open missing", 2, 2, { EO, EO, EM, EM }, EM,
      -EOVERFLOW, -1 },
    { "active missing, open could be closed", 2, 2, { IO, IO, EM, EM }, EM,
      -EOVERFLOW, -1 },
    { "all active closed", 2, 2, { CL, CL, EM, EM }, EM,
      -EOVERFLOW, -1 },
    { "only active limited", 0, 2, { CL, EO, EM, EM }, EM,
      -EOVERFLOW, -1 },

    { "open missing, all explicit", 2, 0, { EO, EO, CL, EM }, EM,
      -ETOOMANYREFS, -1 },
    { "open missing, active left", 2, 5, { EO, EO, CL, EM }, EM,
      -ETOOMANYREFS, -1 },
    { "open missing, one implicit", 2, 0, { EO, IO, CL, EM }, EM, 0, 1 },
    { "open missing, implicit ones", 3, 0, { IO, EO, IO, EM }, EM, 0, 0 },

    /* A closed zone is active already */
    { "closed, active exhausted", 2, 2, { EO, FU, FU, EM }, CL, 0, -1 },
    { "closed, open exhausted", 2, 3, { EO, EO, FU, EM }, CL,
      -ETOOMANYREFS, -1 },
    { "closed, both exhausted, one implicit", 2, 3, { EO, IO, FU, EM }, CL,
      0, 1 },

    /* An open one has everything, whatever its kind */
    { "implicit, all exhausted", 3, 3, { EO, EO, EM, EM }, IO, 0, -1 },
    { "explicit, all exhausted", 3, 3, { EO, IO, EM, EM }, EO, 0, -1 },
    { "implicit, others explicit", 2, 2, { EO, FU, EM, EM }, IO, 0, -1 },
};

static void check_resource_case(const ResourceCase *c, bool by_write)
{
    g_autofree char *cell = g_strdup_printf("%s, by %s", c->name,
                                            by_write ? "write" : "open");
    ZoneTable *t = new_limited_table(c->max_open, c->max_active);
    uint32_t zone = FIRST_SEQ + ARRAY_SIZE(c->others);
    BlockZoneState after;
    int ret;

    for (int i = 0; i < ARRAY_SIZE(c->others); i++) {
        put_zone(t, FIRST_SEQ + i, c->others[i],
                 c->others[i] == EM ? 0 : WRITTEN);
    }
    put_zone(t, zone, c->subject, c->subject == EM ? 0 : WRITTEN);

    if (by_write) {
        ret = do_write(t, zone * ZONE + written_in(t, zone), BLOCK);
        after = c->subject == EO ? EO : IO;
    } else {
        ret = do_mgmt(t, BLK_ZO_OPEN, zone);
        after = EO;
    }
    expect_ret(cell, ret, c->want);
    expect_state(cell, state_of(t, zone), c->want < 0 ? c->subject : after);
    for (int i = 0; i < ARRAY_SIZE(c->others); i++) {
        expect_state(cell, state_of(t, FIRST_SEQ + i),
                     i == c->victim ? CL : c->others[i]);
    }
    expect_counts(cell, t);
    zone_table_free(t);
}

static void test_resources(void)
{
    for (int c = 0; c < ARRAY_SIZE(resource_cases); c++) {
        check_resource_case(&resource_cases[c], true);
        check_resource_case(&resource_cases[c], false);
    }
}

/* A write that would fill the zone at once needs the resources all the same. */
static void test_resources_for_filling_write(void)
{
    ZoneTable *t = new_limited_table(1, 1);

    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, FIRST_SEQ), ==, 0);
    g_assert_cmpint(do_write(t, 5 * ZONE, CAPACITY), ==, -EOVERFLOW);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_RESET, FIRST_SEQ), ==, 0);
    g_assert_cmpint(do_write(t, 5 * ZONE, CAPACITY), ==, 0);
    g_assert_cmpuint(nr_active(t), ==, 0);
    g_assert_cmpint(do_write(t, 6 * ZONE, CAPACITY), ==, 0);
    zone_table_free(t);
}

/* Other errors come first, so a request in error closes nothing. */
static void test_resources_last(void)
{
    ZoneTable *t = new_limited_table(1, 0);

    g_assert_cmpint(do_write(t, 4 * ZONE, BLOCK), ==, 0);
    g_assert_cmpint(do_write(t, 5 * ZONE + BLOCK, BLOCK), ==, -ESPIPE);
    g_assert_cmpint(do_write(t, 5 * ZONE, CAPACITY + BLOCK), ==, -ERANGE);
    g_assert_cmpint(do_write(t, 5 * ZONE, 0), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, IO);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 4), ==, 0);
    g_assert_cmpint(do_write(t, 5 * ZONE + BLOCK, BLOCK), ==, -ESPIPE);
    g_assert_cmpint(do_write(t, 5 * ZONE, CAPACITY + BLOCK), ==, -ERANGE);
    g_assert_cmpint(do_write(t, 5 * ZONE, 0), ==, 0);
    zone_table_free(t);
}

/* Finishing an empty zone takes no resource. */
static void test_finish_takes_no_resource(void)
{
    ZoneTable *t = new_limited_table(1, 1);

    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 4), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_FINISH, 5), ==, 0);
    g_assert_cmpint(state_of(t, 5), ==, FU);
    g_assert_cmpint(state_of(t, 4), ==, EO);
    zone_table_free(t);
}

/* Each way out of an active state gives the resources back. */
static void test_resources_come_back(void)
{
    static const struct {
        const char *name;
        BlockZoneState from;
        BlockZoneOp op;
        uint32_t open, active;
    } tests[] = {
        { "close implicit", IO, BLK_ZO_CLOSE, 0, 1 },
        { "close explicit", EO, BLK_ZO_CLOSE, 0, 1 },
        { "finish implicit", IO, BLK_ZO_FINISH, 0, 0 },
        { "finish explicit", EO, BLK_ZO_FINISH, 0, 0 },
        { "finish closed", CL, BLK_ZO_FINISH, 0, 0 },
        { "reset implicit", IO, BLK_ZO_RESET, 0, 0 },
        { "reset explicit", EO, BLK_ZO_RESET, 0, 0 },
        { "reset closed", CL, BLK_ZO_RESET, 0, 0 },
        { "open implicit", IO, BLK_ZO_OPEN, 1, 1 },
        { "open explicit", EO, BLK_ZO_OPEN, 1, 1 },
        { "open closed", CL, BLK_ZO_OPEN, 1, 1 },
        { "open empty", EM, BLK_ZO_OPEN, 1, 1 },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        ZoneTable *t = new_limited_table(1, 1);

        put_zone(t, 4, tests[c].from, tests[c].from == EM ? 0 : WRITTEN);
        expect_ret(tests[c].name, do_mgmt(t, tests[c].op, 4), 0);
        expect_value(tests[c].name, "open", nr_open(t), tests[c].open);
        expect_value(tests[c].name, "active", nr_active(t), tests[c].active);
        zone_table_free(t);
    }
}

/* The one that was written least recently goes, not the one opened first. */
static void test_implicit_close_order(void)
{
    ZoneTable *t = new_limited_table(3, 0);
    uint64_t position;

    for (int i = 4; i < 7; i++) {
        g_assert_cmpint(do_append(t, i, BLOCK, &position), ==, 0);
    }
    g_assert_cmpint(do_append(t, 4, BLOCK, &position), ==, 0);
    /* Neither looking nor failing counts, nor writing nothing */
    g_assert_cmpint(do_append(t, 5, 0, &position), ==, 0);
    g_assert_cmpint(do_write(t, 5 * ZONE, BLOCK), ==, -ESPIPE);
    report_zone(t, 5);

    g_assert_cmpint(do_append(t, 7, BLOCK, &position), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, IO);
    g_assert_cmpint(state_of(t, 5), ==, CL);
    g_assert_cmpint(state_of(t, 6), ==, IO);

    /* Open zones now from the oldest write on: 6, 4, 7 */
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 8), ==, 0);
    g_assert_cmpint(state_of(t, 6), ==, CL);
    g_assert_cmpint(do_append(t, 5, BLOCK, &position), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, CL);
    g_assert_cmpint(do_append(t, 6, BLOCK, &position), ==, 0);
    g_assert_cmpint(state_of(t, 7), ==, CL);
    g_assert_cmpint(state_of(t, 8), ==, EO);
    g_assert_cmpuint(nr_open(t), ==, 3);
    g_assert_cmpuint(nr_active(t), ==, 5);
    zone_table_free(t);
}

/* With nothing but explicitly open zones, one that is made so stays. */
static void test_explicit_never_closed(void)
{
    ZoneTable *t = new_limited_table(2, 0);
    uint64_t position;

    g_assert_cmpint(do_append(t, 4, BLOCK, &position), ==, 0);
    g_assert_cmpint(do_append(t, 5, BLOCK, &position), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 4), ==, 0);
    for (int i = 6; i < NR_ZONES; i++) {
        g_assert_cmpint(do_append(t, i, BLOCK, &position), ==, 0);
        g_assert_cmpint(state_of(t, i - 1), ==, CL);
        g_assert_cmpint(state_of(t, 4), ==, EO);
    }
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 5), ==, 0);
    g_assert_cmpint(do_append(t, 6, BLOCK, &position), ==, -ETOOMANYREFS);
    zone_table_free(t);
}

typedef struct OpenRangeCase {
    const char *name;
    uint32_t max_open, max_active;
    BlockZoneFlags flags;
    BlockZoneState outside[2], range[4];
    int want;
    BlockZoneState after_outside[2], after[4];
} OpenRangeCase;

static const OpenRangeCase open_range_cases[] = {
    { "fits", 4, 4, 0, { EM, EM }, { EM, EM, EM, EM }, 0,
      { EM, EM }, { EO, EO, EO, EO } },
    { "one active too few", 4, 3, 0, { EM, EM }, { EM, EM, EM, EM },
      -EOVERFLOW, },
    { "one open too few", 3, 4, 0, { EM, EM }, { EM, EM, EM, EM },
      -ETOOMANYREFS, },
    { "both too few", 3, 3, 0, { EM, EM }, { EM, EM, EM, EM },
      -EOVERFLOW, },
    { "active taken outside", 0, 5, 0, { CL, IO }, { EM, EM, EM, EM },
      -EOVERFLOW, },
    { "closed ones have theirs", 0, 6, 0, { CL, IO }, { CL, EM, EM, CL }, 0,
      { CL, IO }, { EO, EO, EO, EO } },
    { "closes implicit ones", 4, 0, 0, { IO, IO }, { EM, CL, EM, CL }, 0,
      { CL, CL }, { EO, EO, EO, EO } },
    { "closes only as many as needed", 5, 0, 0, { IO, IO },
      { EM, CL, EM, CL }, 0, { CL, IO }, { EO, EO, EO, EO } },
    { "explicit one in the way", 4, 0, 0, { EO, IO }, { EM, CL, EM, CL },
      -ETOOMANYREFS, },
    { "implicit ones of the range stay open", 4, 4, 0, { EM, EM },
      { EM, EM, IO, IO }, 0, { EM, EM }, { EO, EO, EO, EO } },
    { "implicit ones of the range, one too few", 3, 4, 0, { EM, EM },
      { EM, EM, IO, IO }, -ETOOMANYREFS, },
    { "explicit ones count once", 4, 4, 0, { EM, EM }, { EO, EM, EO, IO }, 0,
      { EM, EM }, { EO, EO, EO, EO } },
    { "nothing to do at the limit", 4, 4, 0, { EM, EM }, { EO, EO, EO, EO },
      0, { EM, EM }, { EO, EO, EO, EO } },

    { "all: opens the closed ones", 3, 0, BDRV_ZONE_ALL, { EM, FU },
      { CL, EM, CL, CL }, 0, { EM, FU }, { EO, EM, EO, EO } },
    { "all: one too few", 2, 0, BDRV_ZONE_ALL, { EM, FU },
      { CL, EM, CL, CL }, -ETOOMANYREFS, },
    { "all: explicit one in the way", 3, 0, BDRV_ZONE_ALL, { EM, EO },
      { CL, EM, CL, CL }, -ETOOMANYREFS, },
    /* One that is closed for it is not opened again by the same operation */
    { "all: implicit one makes room", 3, 0, BDRV_ZONE_ALL, { EM, EM },
      { CL, IO, CL, CL }, 0, { EM, EM }, { EO, CL, EO, EO } },
    { "all: nothing closed", 1, 1, BDRV_ZONE_ALL, { EM, FU },
      { EM, IO, RO, OF }, 0, { EM, FU }, { EM, IO, RO, OF } },
};

static void test_open_range(void)
{
    for (int c = 0; c < ARRAY_SIZE(open_range_cases); c++) {
        const OpenRangeCase *o = &open_range_cases[c];
        ZoneTable *t = new_limited_table(o->max_open, o->max_active);
        const BlockZoneState *outside = o->want ? o->outside
                                                : o->after_outside;
        const BlockZoneState *after = o->want ? o->range : o->after;
        bool all = o->flags & BDRV_ZONE_ALL;

        for (int i = 0; i < 2; i++) {
            put_zone(t, 4 + i, o->outside[i],
                     o->outside[i] == EM ? 0 : WRITTEN);
        }
        for (int i = 0; i < 4; i++) {
            put_zone(t, 6 + i, o->range[i], o->range[i] == EM ? 0 : WRITTEN);
        }
        expect_ret(o->name, do_mgmt_flags(t, BLK_ZO_OPEN, o->flags,
                                          all ? 0 : 6, all ? NR_ZONES : 4),
                   o->want);
        for (int i = 0; i < 2; i++) {
            expect_state(o->name, state_of(t, 4 + i), outside[i]);
        }
        for (int i = 0; i < 4; i++) {
            expect_state(o->name, state_of(t, 6 + i), after[i]);
        }
        expect_counts(o->name, t);
        zone_table_free(t);
    }
}

/* --- Reservations: writes of one zone in flight together --- */

#define MAX_DEPTH 32

static void swap(int *a, int *b)
{
    int c = *a;

    *a = *b;
    *b = c;
}

/* Next permutation of @n numbers in lexicographic order */
static bool next_permutation(int *order, int n)
{
    int i = n - 2, j = n - 1;

    while (i >= 0 && order[i] > order[i + 1]) {
        i--;
    }
    if (i < 0) {
        return false;
    }
    while (order[j] < order[i]) {
        j--;
    }
    swap(&order[i], &order[j]);
    for (int a = i + 1, b = n - 1; a < b; a++, b--) {
        swap(&order[a], &order[b]);
    }
    return true;
}

static void identity(int *order, int n)
{
    for (int i = 0; i < n; i++) {
        order[i] = i;
    }
}

static void shuffle(GRand *rand, int *order, int n)
{
    for (int i = n - 1; i > 0; i--) {
        int j = g_rand_int_range(rand, 0, i + 1);

        swap(&order[i], &order[j]);
    }
}

static char *order_name(const char *what, const int *order, int n)
{
    GString *s = g_string_new(what);

    g_string_append(s, ", ending in the order");
    for (int i = 0; i < n; i++) {
        g_string_append_printf(s, " %d", order[i]);
    }
    return g_string_free(s, false);
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

/* --- Failures --- */

#define DEPTH 4

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
        } else if (fail & (1 << i)) {
            /* Its own error, or that of the one below */
            g_assert_cmpint(r[i].ended, <, 0);
            g_assert_false(bdrv_is_zone_error(r[i].ended));
        } else {
            expect_ret(cell, r[i].ended, -EIO);
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
    g_assert_cmpint(behind.ended, ==, -ESPIPE);
    g_assert_cmpint(at_wp.begun, ==, 0);
    g_assert_cmpint(finish(&at_wp, 0), ==, 0);
    zone_table_free(t);
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
        while (zone_table_take_dirty(t, 0) >= 0) {
            /* The store takes the records, and fails */
        }
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

/* --- Records --- */

#define BEGIN (FIRST_SEQ * ZONE)
#define END (BEGIN + CAPACITY)

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

static bool expect_record(const char *cell, ZoneRecord got, ZoneRecord want)
{
    return expect_state(cell, got.state, want.state) &
           expect_value(cell, "attributes", got.attributes, want.attributes) &
           expect_value(cell, "stored write pointer", got.wp, want.wp) &
           expect_value(cell, "end of data", got.data_end, want.data_end);
}

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
    g_assert_cmpint(zone_table_take_dirty(t, 0), ==, 0);
    g_assert_false(zone_table_is_dirty(t));
    g_assert_cmpint(zone_table_take_dirty(t, 0), ==, -1);

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
    g_assert_cmpint(zone_table_take_dirty(t, 0), ==, 0);
    finish(&m, 0);
    while (zone_table_take_dirty(t, 0) >= 0) {
        /* Allowed, but not needed */
    }
    g_assert_cmpint(do_mgmt(t, BLK_ZO_FINISH, 0), ==, 0);
    g_assert_false(zone_table_is_dirty(t));
    start_mgmt(&m, t, BLK_ZO_RESET, 0, 1);
    g_assert_cmpint(zone_table_take_dirty(t, 0), ==, 0);
    finish(&m, 0);
    zone_table_free(t);
}

static void test_dirty_blocks(void)
{
    enum { PER_BLOCK = 1 << ZONE_DIRTY_SHIFT };
    ZoneTable *t = new_large_table(3 * PER_BLOCK + 1);
    uint64_t position;

    do_append(t, PER_BLOCK - 1, BLOCK, &position);
    do_append(t, 2 * PER_BLOCK, BLOCK, &position);
    do_append(t, 2 * PER_BLOCK + 17, BLOCK, &position);
    do_append(t, 3 * PER_BLOCK, BLOCK, &position);      /* the last zone */

    g_assert_cmpint(zone_table_take_dirty(t, 1), ==, 2);
    g_assert_cmpint(zone_table_take_dirty(t, 2), ==, 3);
    g_assert_cmpint(zone_table_take_dirty(t, 1), ==, -1);
    g_assert_true(zone_table_is_dirty(t));
    g_assert_cmpint(zone_table_take_dirty(t, 0), ==, 0);
    g_assert_cmpint(zone_table_take_dirty(t, 0), ==, -1);
    g_assert_cmpint(zone_table_take_dirty(t, 4), ==, -1);
    g_assert_false(zone_table_is_dirty(t));

    /* Given back */
    zone_table_mark_dirty(t, 3);
    zone_table_mark_dirty(t, 1);
    g_assert_cmpint(zone_table_take_dirty(t, 0), ==, 1);
    g_assert_cmpint(zone_table_take_dirty(t, 0), ==, 3);
    g_assert_false(zone_table_is_dirty(t));
    zone_table_free(t);
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

    g.zone_capacity = ZONE;
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

/* With a capacity of the whole zone, data goes on in the next one. */
static void test_readable_over_zones(void)
{
    ZoneGeometry g = standard_geometry();
    ZoneTable *t;
    bool data;

    g.zone_capacity = ZONE;
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

    /* and so does the order of implicit closes: 4 was before 5, then 7 */
    g_assert_cmpint(state_of(t, 4), ==, CL);
    g_assert_cmpint(do_append(t, NR_ZONES + 3, BLOCK, &position), ==, 0);
    g_assert_cmpint(do_append(t, NR_ZONES + 400, BLOCK, &position), ==, 0);
    g_assert_cmpint(state_of(t, 5), ==, CL);
    g_assert_cmpint(state_of(t, NR_ZONES + 3), ==, IO);

    /* All blocks of records can be dirty */
    g_assert_cmpint(zone_table_take_dirty(t, 0), ==, 0);
    g_assert_cmpint(zone_table_take_dirty(t, 0), ==, 1);
    g_assert_cmpint(zone_table_take_dirty(t, 0), ==, -1);
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
    g_assert_cmpint(zone_table_take_dirty(t, 0), ==, 0);
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
    g_assert_cmpuint(zone_table_geometry(t)->max_open_zones, ==, 2);
    g_assert_cmpuint(zone_table_geometry(t)->max_active_zones, ==, 5);
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

/* --- ZNS: descriptor extensions, and what media do --- */

/* Put a zone into a state; positions count from its start */
static void put_zns_zone(ZoneTable *t, uint32_t zone, BlockZoneState state,
                         uint8_t attributes, uint64_t wp, uint64_t data_end)
{
    g_assert_true(zone_table_load(t, zone, &(ZoneRecord) {
        state, attributes, zone * ZONE + wp, zone * ZONE + data_end,
    }));
}

static uint8_t attributes_of(ZoneTable *t, uint32_t zone)
{
    uint8_t attributes = report_zone(t, zone).attributes;

    g_assert_cmphex(record_of(t, zone, true).attributes, ==, attributes);
    return attributes;
}

static uint64_t data_end_of(ZoneTable *t, uint32_t zone)
{
    return record_of(t, zone, true).data_end - zone * ZONE;
}

static void start_commit(Request *r, ZoneTable *t, uint32_t zone,
                         uint64_t upto)
{
    start(r, &(Request) {
        .t = t, .kind = MGMT, .op = BLK_ZO_ZRWA_COMMIT,
        .offset = zone * ZONE, .bytes = upto,
    });
}

static int do_commit(ZoneTable *t, uint32_t zone, uint64_t upto)
{
    Request r;

    start_commit(&r, t, zone, upto);
    g_assert_cmpint(r.begun, !=, WAITING);
    return r.begun < 0 ? r.begun : finish(&r, 0);
}

static int do_open_zrwa(ZoneTable *t, uint32_t zone)
{
    return do_mgmt_flags(t, BLK_ZO_OPEN, BDRV_ZONE_ZRWA, zone, 1);
}

/* How many random write areas can still be had; none is kept */
static uint32_t zrwa_left(ZoneTable *t)
{
    uint32_t got = 0;

    for (uint32_t i = NR_ZONES - 1; i >= NR_ZONES - 4; i--) {
        got += do_open_zrwa(t, i) == 0;
    }
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_RESET, 0, NR_ZONES - 4, 4), ==, 0);
    return got;
}

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
        zone_mgmt_ext_written(t, &m.m);
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

        while (zone_table_take_dirty(t, 0) >= 0) {
            /* The store takes it */
        }
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
        { "read-only, a commit above data", RO, 0, AREA, BLOCK, CL },
        { "read-only, a commit of nothing", RO, 0, AREA, 0, EM },
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

    g.max_open_zones = 1;
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

/* --- Random write areas: one request at a time --- */

static const BlockZoneState active_states[] = { IO, EO, CL };

/* In KiB from the start of the zone; the area has 64, a grain 16 */
static const struct {
    const char *name;
    uint64_t wp, data_end, offset, bytes;
    int want;
    uint64_t start, wp_after, data_after;
} area_writes[] = {
    { "at the write pointer", 0, 0, 0, 4, 0, 0, 0, 4 },
    { "within the area", 0, 0, 32, 4, 0, 0, 0, 36 },
    { "at the end of the area", 0, 0, 60, 4, 0, 0, 0, 64 },
    { "all of the area", 0, 0, 0, 64, 0, 0, 0, 64 },
    { "over data", 0, 64, 0, 64, 0, 0, 0, 64 },
    { "over the last data", 0, 64, 60, 4, 0, 60, 0, 64 },
    { "over data and further", 0, 32, 16, 32, 0, 32, 0, 48 },
    { "behind data", 0, 32, 32, 4, 0, 32, 0, 36 },
    { "above data", 0, 32, 48, 4, 0, 32, 0, 52 },
    { "out of the area", 0, 0, 60, 8, 0, 0, 16, 68 },
    { "behind the area", 0, 64, 64, 4, 0, 64, 16, 68 },
    { "behind the area, a grain", 0, 64, 64, 16, 0, 64, 16, 80 },
    { "behind the area, more than a grain", 0, 64, 64, 20, 0, 64, 32, 84 },
    { "up to the end of the region", 0, 64, 124, 4, 0, 64, 64, 128 },
    { "area and region", 0, 0, 0, 128, 0, 0, 64, 128 },
    { "the region alone", 0, 0, 64, 64, 0, 0, 64, 128 },
    { "out of the region", 0, 0, 124, 8, -ESPIPE, },
    { "behind the region", 0, 0, 128, 4, -ESPIPE, },
    { "far behind the region", 0, 0, 700, 4, -ESPIPE, },
    { "more than area and region", 0, 0, 0, 132, -ESPIPE, },
    { "below the write pointer", 64, 96, 60, 4, -ESPIPE, },
    { "from below the write pointer", 64, 96, 60, 8, -ESPIPE, },
    { "at the start of the zone", 64, 96, 0, 4, -ESPIPE, },
    { "at a write pointer above zero", 64, 96, 64, 4, 0, 64, 64, 96 },
    { "behind a moved area", 64, 128, 128, 4, 0, 128, 80, 132 },
    { "out of a moved region", 64, 128, 188, 8, -ESPIPE, },
    { "above a commit of more than was written", 64, 16, 64, 4, 0,
      16, 64, 68 },
    { "a commit of nothing, then the region", 64, 0, 184, 8, 0, 0, 128, 192 },
    { "not in units of blocks", 0, 0, 0, 6, -ESPIPE, },
    { "not at a block", 0, 0, 2, 4, -ESPIPE, },
    { "nothing, at the write pointer", 0, 0, 0, 0, 0, 0, 0, 0 },
    { "nothing, within the area", 0, 0, 32, 0, 0, 32, 0, 0 },
    { "nothing, below the write pointer", 64, 64, 60, 0, -ESPIPE, },

    { "out of the area, short of the end", 640, 640, 760, 4, 0,
      640, 704, 764 },
    { "the whole last region", 640, 640, 704, 64, 0, 640, 704, 768 },
    { "a shrunk region", 688, 688, 752, 16, 0, 688, 704, 768 },
    { "a shrunk region, its last block", 692, 692, 764, 4, 0, 692, 708, 768 },
    { "past a shrunk region", 688, 688, 764, 8, -ERANGE, },
    { "no region left", 704, 704, 704, 64, 0, 704, 704, 768 },
    { "no region left, last block", 704, 704, 764, 4, 0, 704, 704, 768 },
    { "past the capacity, no region left", 704, 704, 764, 8, -ERANGE, },
    { "above the capacity", 704, 704, 768, 4, -ERANGE, },
    { "a shrunk area", 752, 752, 764, 4, 0, 752, 752, 768 },
    { "over the last data of all", 752, 768, 764, 4, 0, 764, 752, 768 },
    { "into the next zone", 752, 768, 1020, 8, -ERANGE, },
    { "the rest of the zone and more", 752, 768, 752, 300, -ERANGE, },
};

static void test_area_writes(void)
{
    for (int c = 0; c < ARRAY_SIZE(area_writes); c++) {
        for (int s = 0; s < ARRAY_SIZE(active_states); s++) {
            uint64_t wp = area_writes[c].wp * KiB;
            uint64_t data_end = area_writes[c].data_end * KiB;
            uint64_t bytes = area_writes[c].bytes * KiB;
            BlockZoneState state = active_states[s];
            g_autofree char *cell = g_strdup_printf("%s, %s",
                                                    area_writes[c].name,
                                                    zone_state_name(state));
            ZoneTable *t = new_zns_table(0, 0);
            Request r;

            put_zns_zone(t, 4, state, BDRV_ZA_ZRWA, wp, data_end);
            start_write(&r, t, 4 * ZONE + area_writes[c].offset * KiB, bytes);
            expect_ret(cell, r.begun, area_writes[c].want);
            if (r.begun == 0) {
                /* Nothing is seen of it before it ends */
                expect_value(cell, "write pointer meanwhile",
                             written_in(t, 4), wp);
                expect_value(cell, "data meanwhile", data_end_of(t, 4),
                             data_end);
                if (area_writes[c].offset + area_writes[c].bytes >
                    area_writes[c].data_end) {
                    expect_value(cell, "begin of what gets readable",
                                 r.w.start - 4 * ZONE,
                                 area_writes[c].start * KiB);
                }
                expect_ret(cell, finish(&r, 0), 0);
                wp = area_writes[c].wp_after * KiB;
                data_end = area_writes[c].data_after * KiB;
                state = state == CL && bytes ? IO : state;
            }
            expect_zone(cell, t, 4, state, wp, data_end);
            expect_value(cell, "attributes", attributes_of(t, 4),
                         BDRV_ZA_ZRWA);
            expect_counts(cell, t);
            zone_table_free(t);
        }
    }
}

/* In KiB from the start of the zone */
static const struct {
    const char *name;
    uint64_t wp, data_end, upto;
    int want;
    uint64_t wp_after;          /* 768: the zone becomes full */
} area_commits[] = {
    { "a grain", 0, 64, 16, 0, 16 },
    { "some grains", 0, 64, 48, 0, 48 },
    { "all of the area", 0, 64, 64, 0, 64 },
    { "more than was written", 0, 16, 64, 0, 64 },
    { "where nothing was written", 0, 0, 16, 0, 16 },
    { "a moved area", 64, 96, 128, 0, 128 },
    { "more than the area", 0, 64, 80, -ENOTTY, },
    { "more than a moved area", 64, 96, 144, -ENOTTY, },
    { "to where the write pointer is", 64, 96, 64, -ENOTTY, },
    { "to below the write pointer", 64, 96, 48, -ENOTTY, },
    { "part of a grain", 0, 64, 20, -EINVAL, },
    { "all but a block", 64, 96, 124, -EINVAL, },
    { "a block more than the area", 0, 64, 68, -ENOTTY, },
    { "nothing", 0, 64, 0, -EINVAL, },
    { "up to the capacity", 704, 768, 768, 0, 768 },
    { "the last grain", 752, 768, 768, 0, 768 },
    { "up to the capacity, not written", 704, 704, 768, 0, 768 },
    { "up to the capacity, partly written", 704, 712, 768, 0, 768 },
    { "short of the capacity", 704, 768, 752, 0, 752 },
    { "past the capacity", 720, 768, 784, -ENOTTY, },
    { "to the end of the zone", 704, 768, 1024, -ENOTTY, },
    { "into the next zone", 704, 768, 1040, -EINVAL, },
};

static void test_area_commits(void)
{
    for (int c = 0; c < ARRAY_SIZE(area_commits); c++) {
        for (int s = 0; s < ARRAY_SIZE(active_states); s++) {
            uint64_t wp = area_commits[c].wp * KiB;
            uint64_t after = area_commits[c].wp_after * KiB;
            uint64_t data_end = area_commits[c].data_end * KiB;
            BlockZoneState state = active_states[s];
            g_autofree char *cell =
                g_strdup_printf("commit %s, %s", area_commits[c].name,
                                zone_state_name(state));
            ZoneTable *t = new_zns_table(1, 1);
            bool full;
            int ret;

            put_zns_zone(t, 4, state, ZA_ALL, wp, data_end);
            ret = do_commit(t, 4, area_commits[c].upto * KiB);
            expect_ret(cell, ret, area_commits[c].want);
            full = ret == 0 && after == CAPACITY;
            expect_zone(cell, t, 4, full ? FU : state,
                        full ? CAPACITY : ret == 0 ? after : wp, data_end);
            expect_value(cell, "dirty", zone_table_is_dirty(t), ret == 0);
            expect_value(cell, "attributes", attributes_of(t, 4),
                         full ? 0x81 : ZA_ALL);
            expect_ret(cell, do_open_zrwa(t, 5), full ? 0 : -EOVERFLOW);
            expect_counts(cell, t);
            zone_table_free(t);
        }
    }
}

/* A zone without a random write area has nothing to commit. */
static void test_commit_without_area(void)
{
    for (int i = 0; i < NR_SITUATIONS; i++) {
        const Situation *s = &situations[i];
        ZoneTable *t = new_zns_table(0, 0);
        uint32_t zone = put_situation(t, s);
        Request r;

        expect_ret(s->name, do_commit(t, zone, s->written + GRAIN), -ENOTTY);
        expect_state(s->name, state_of(t, zone), s->state);
        expect_ret(s->name, run(&r, &(Request) {
            .t = t, .kind = MGMT, .op = BLK_ZO_ZRWA_COMMIT,
            .offset = zone * ZONE + BLOCK, .bytes = GRAIN,
        }), -EINVAL);
        /* The zone is not held up by the attempt */
        if (s->state == EM) {
            expect_ret(s->name, do_write(t, zone * ZONE, BLOCK), 0);
        }
        zone_table_free(t);
    }
}

/* The last zone may be short, and no multiple of anything. */
static void test_area_in_short_zone(void)
{
    static const uint64_t lengths[] = {
        BLOCK, AREA - BLOCK, AREA, AREA + BLOCK, 2 * AREA + 3 * BLOCK,
    };

    for (int c = 0; c < ARRAY_SIZE(lengths); c++) {
        g_autofree char *cell = g_strdup_printf("last zone of 0x%" PRIx64,
                                                lengths[c]);
        ZoneGeometry g = zns_geometry();
        uint64_t last = NR_ZONES - 1, begin = last * ZONE;
        ZoneTable *t;
        Request r;

        g.size = begin + lengths[c];
        t = zone_table_new(&g);
        expect_ret(cell, run(&r, &(Request) {
            .t = t, .kind = MGMT, .op = BLK_ZO_OPEN, .flags = BDRV_ZONE_ZRWA,
            .offset = begin, .bytes = lengths[c],
        }), 0);
        while (data_end_of(t, last) < lengths[c]) {
            expect_ret(cell, do_write(t, begin + data_end_of(t, last), BLOCK),
                       0);
            g_assert_cmphex(written_in(t, last), <, lengths[c]);
            g_assert_cmphex(written_in(t, last) + AREA, >=,
                            data_end_of(t, last));
        }
        expect_ret(cell, do_commit(t, last, lengths[c]), 0);
        expect_state(cell, state_of(t, last), FU);
        zone_table_free(t);
    }
}

/* --- Random write areas: resources --- */

static void test_area_resources_come_back(void)
{
    static const struct {
        const char *name;
        BlockZoneOp op;
        BlockZoneFlags flags;
        uint64_t wp, data_end;
        bool kept;
    } tests[] = {
        { "finish", BLK_ZO_FINISH, 0, GRAIN, AREA, false },
        { "reset", BLK_ZO_RESET, 0, GRAIN, AREA, false },
        { "read-only", BLK_ZO_FORCE_RDONLY, 0, GRAIN, AREA, false },
        { "offline", BLK_ZO_FORCE_OFFLINE, 0, GRAIN, AREA, false },
        { "power cycle, nothing written", BLK_ZO_POWER_CYCLE, 0, 0, 0, false },
        { "close, nothing written", BLK_ZO_CLOSE, 0, 0, 0, false },
        { "close as in ZNS, nothing written", BLK_ZO_CLOSE,
          BDRV_ZONE_CLOSE_EMPTY, 0, 0, true },
        { "close, something written", BLK_ZO_CLOSE, 0, 0, BLOCK, true },
        { "close, something committed", BLK_ZO_CLOSE, 0, GRAIN, 0, true },
        { "power cycle, something written", BLK_ZO_POWER_CYCLE, 0, 0, BLOCK,
          true },
        { "open again", BLK_ZO_OPEN, 0, GRAIN, AREA, true },
        { "repair", BLK_ZO_FORCE_REPAIR, 0, GRAIN, AREA, true },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        for (int fails = 0; fails < 2; fails++) {
            g_autofree char *cell = g_strdup_printf("%s%s", tests[c].name,
                                                    fails ? ", failing" : "");
            ZoneTable *t = new_zns_table(0, 2);
            bool kept;
            Request m;

            g_assert_cmpint(do_open_zrwa(t, 4), ==, 0);
            put_zns_zone(t, 4, EO, BDRV_ZA_ZRWA, tests[c].wp,
                         tests[c].data_end);
            expect_value(cell, "left before", zrwa_left(t), 1);
            start(&m, &(Request) {
                .t = t, .kind = MGMT, .op = tests[c].op,
                .flags = tests[c].flags, .offset = 4 * ZONE, .bytes = ZONE,
            });
            expect_ret(cell, m.begun, 0);
            expect_value(cell, "left meanwhile", zrwa_left(t),
                         m.m.commit || tests[c].kept ? 1 : 2);
            kept = tests[c].kept || (fails && m.m.commit);
            finish(&m, fails ? -EIO : 0);
            expect_value(cell, "left", zrwa_left(t), kept ? 1 : 2);
            zone_table_free(t);
        }
    }
}

/* Who asks for one more than there are gets none, and changes nothing. */
static void test_area_limit(void)
{
    ZoneTable *t = new_zns_table(0, 2);

    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_OPEN, BDRV_ZONE_ZRWA, 4, 3), ==,
                    -EUSERS);
    g_assert_cmpuint(nr_active(t), ==, 0);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_OPEN, BDRV_ZONE_ZRWA, 4, 2), ==,
                    0);
    g_assert_cmpint(do_open_zrwa(t, 6), ==, -EUSERS);
    g_assert_cmpint(state_of(t, 6), ==, EM);
    g_assert_cmphex(attributes_of(t, 6), ==, 0);
    /* Without one it can be opened */
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 6), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_FINISH, 4), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 7), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 8), ==, -EUSERS);
    zone_table_free(t);
}

/* More zones than the limit have one: all else works, also to free them. */
static void test_area_limit_exceeded(void)
{
    ZoneTable *t = new_zns_table(0, 1);

    for (int i = 4; i < 7; i++) {
        put_zns_zone(t, i, CL, BDRV_ZA_ZRWA, 0, BLOCK);
    }
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 4), ==, 0);
    g_assert_cmpint(do_write(t, 4 * ZONE, BLOCK), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_CLOSE, 4), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_FINISH, 4), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_SET_EXT, 8), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 9), ==, -EUSERS);
    g_assert_cmpint(do_mgmt_flags(t, BLK_ZO_RESET, 0, 4, 3), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 9), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 4), ==, -EUSERS);
    zone_table_free(t);
}

/* Only an empty zone can get one. */
static void test_area_wants_empty_zone(void)
{
    for (int i = 1; i < NR_SITUATIONS; i++) {
        const Situation *s = &situations[i];
        ZoneTable *t = new_zns_table(0, 0);
        int want = s->state == EM ? 0 : -ENOTTY;

        put_situation(t, s);
        expect_ret(s->name, do_open_zrwa(t, FIRST_SEQ), want);
        expect_value(s->name, "attributes", attributes_of(t, FIRST_SEQ),
                     want ? 0 : BDRV_ZA_ZRWA);
        if (want) {
            expect_state(s->name, state_of(t, FIRST_SEQ), s->state);
            expect_ret(s->name,
                       do_mgmt_flags(t, BLK_ZO_SET_EXT, BDRV_ZONE_ZRWA,
                                     FIRST_SEQ, 1), -ENOTTY);
            /* One that can beside it does not help */
            expect_ret(s->name, do_mgmt_flags(t, BLK_ZO_OPEN, BDRV_ZONE_ZRWA,
                                              FIRST_SEQ, 2), -ENOTTY);
            expect_state(s->name, state_of(t, FIRST_SEQ + 1), EM);
        }
        zone_table_free(t);
    }
}

/* It stays with the zone when that is closed and opened, and counts once. */
static void test_area_survives_reopening(void)
{
    ZoneGeometry g = zns_geometry();
    ZoneTable *t;

    g.max_open_zones = 1;
    g.max_zrwa_zones = 1;
    t = zone_table_new(&g);
    g_assert_cmpint(do_open_zrwa(t, 4), ==, 0);
    g_assert_cmpint(do_write(t, 4 * ZONE + 2 * BLOCK, BLOCK), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 4), ==, -ENOTTY);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_CLOSE, 4), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 4), ==, -ENOTTY);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_OPEN, 4), ==, 0);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_CLOSE, 4), ==, 0);
    /* A write opens it, one to another zone closes it */
    g_assert_cmpint(do_write(t, 4 * ZONE, BLOCK), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, IO);
    g_assert_cmpint(do_write(t, 5 * ZONE, BLOCK), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, CL);
    g_assert_cmphex(attributes_of(t, 4), ==, BDRV_ZA_ZRWA);
    g_assert_cmpint(do_open_zrwa(t, 6), ==, -EUSERS);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_FINISH, 4), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 6), ==, 0);
    g_assert_cmphex(data_end_of(t, 4), ==, 3 * BLOCK);
    zone_table_free(t);
}

static void test_area_takes_no_append(void)
{
    for (int s = 0; s < ARRAY_SIZE(active_states); s++) {
        const char *cell = zone_state_name(active_states[s]);
        ZoneTable *t = new_zns_table(0, 0);
        uint64_t position;

        put_zns_zone(t, 4, active_states[s], BDRV_ZA_ZRWA, GRAIN, AREA);
        expect_ret(cell, do_append(t, 4, BLOCK, &position), -ENOTTY);
        expect_ret(cell, do_append(t, 4, 0, &position), -ENOTTY);
        expect_ret(cell, do_append(t, 4, 3 * ZONE, &position), -ENOTTY);
        expect_zone(cell, t, 4, active_states[s], GRAIN, AREA);
        expect_ret(cell, do_mgmt(t, BLK_ZO_FINISH, 4), 0);
        expect_ret(cell, do_append(t, 4, BLOCK, &position), -EFBIG);
        zone_table_free(t);
    }
}

/* A zone is written through its area from the first block to the last. */
static void test_area_full_cycle(void)
{
    ZoneTable *t = new_zns_table(1, 1);
    uint64_t n = 0, begin = 4 * ZONE;

    g_assert_cmpint(do_open_zrwa(t, 4), ==, 0);
    for (uint64_t pos = 0; pos < CAPACITY; pos += BLOCK) {
        uint64_t wp = written_in(t, 4);

        g_assert_cmpint(do_write(t, begin + pos, BLOCK), ==, 0);
        g_assert_cmpint(do_write(t, begin + pos, BLOCK), ==, 0);
        n += written_in(t, 4) != wp;
        g_assert_cmphex(written_in(t, 4) % GRAIN, ==, 0);
    }
    /* By writes alone it does not become full */
    g_assert_cmpuint(n, ==, (CAPACITY - AREA) / GRAIN);
    g_assert_cmphex(written_in(t, 4), ==, CAPACITY - AREA);
    g_assert_cmpint(state_of(t, 4), ==, EO);
    g_assert_cmpint(do_commit(t, 4, CAPACITY - GRAIN), ==, 0);
    g_assert_cmpint(do_write(t, begin + CAPACITY - BLOCK, BLOCK), ==, 0);
    g_assert_cmpint(do_commit(t, 4, CAPACITY), ==, 0);
    g_assert_cmpint(state_of(t, 4), ==, FU);
    g_assert_cmpint(do_write(t, begin + CAPACITY - BLOCK, BLOCK), ==, -EFBIG);
    g_assert_cmpint(do_commit(t, 4, CAPACITY), ==, -ENOTTY);
    g_assert_cmpuint(nr_active(t), ==, 0);
    g_assert_cmpint(do_open_zrwa(t, 5), ==, 0);
    zone_table_free(t);
}

/* --- Random write areas: writes in flight together --- */

#define AREA_DEPTH 5

/*
 * Two writes over data, and three that each make more readable, the last of
 * which moves the write pointer; they end in @order, those in @fail badly.
 */
static void check_area_order(const int *order, unsigned int fail)
{
    static const struct {
        uint64_t offset, bytes, start, end;
    } w[AREA_DEPTH] = {         /* in blocks; 4 are there */
        { 0, 2, 0, 2 }, { 3, 1, 3, 4 },
        { 3, 3, 4, 6 }, { 8, 1, 6, 9 }, { 17, 2, 9, 19 },
    };
    g_autofree char *what = g_strdup_printf("failures 0x%x", fail);
    g_autofree char *cell = order_name(what, order, AREA_DEPTH);
    ZoneTable *t = new_zns_table(1, 1);
    bool over[AREA_DEPTH] = { false };
    uint64_t data_end = 4;
    Request r[AREA_DEPTH];

    put_zns_zone(t, 4, EO, BDRV_ZA_ZRWA, 0, 4 * BLOCK);
    for (int i = 0; i < AREA_DEPTH; i++) {
        start_write(&r[i], t, 4 * ZONE + w[i].offset * BLOCK,
                    w[i].bytes * BLOCK);
        expect_ret(cell, r[i].begun, 0);
        if (i >= 2) {
            expect_value(cell, "begin", r[i].w.start - 4 * ZONE,
                         w[i].start * BLOCK);
        }
        expect_value(cell, "end", r[i].w.end - 4 * ZONE, w[i].end * BLOCK);
    }
    for (int k = 0; k < AREA_DEPTH; k++) {
        bool broken = false, unfinished = false;

        over[order[k]] = true;
        finish(&r[order[k]], fail & (1 << order[k]) ? -ENOSPC : 0);
        data_end = 4;
        for (int i = 0; i < AREA_DEPTH; i++) {
            bool fails = over[i] && fail & (1 << i);

            if (i < 2) {
                expect_ret(cell, r[i].ended, !over[i] ? WAITING :
                                             fails ? -ENOSPC : 0);
                continue;
            }
            if (!over[i] || (unfinished && !broken && !fails)) {
                expect_ret(cell, r[i].ended, WAITING);
            } else if (broken || fails) {
                g_assert_true(r[i].ended == -EIO ||
                              (fails && r[i].ended == -ENOSPC));
            } else {
                expect_ret(cell, r[i].ended, 0);
                data_end = w[i].end;
            }
            broken |= fails;
            unfinished |= !over[i];
        }
        expect_value(cell, "end of data", data_end_of(t, 4),
                     data_end * BLOCK);
        expect_value(cell, "write pointer", written_in(t, 4),
                     data_end == 19 ? GRAIN : 0);
    }
    /* All of the area is there for new writes, also what has failed */
    expect_ret(cell, do_write(t, 4 * ZONE + 4 * BLOCK, 12 * BLOCK), 0);
    expect_state(cell, state_of(t, 4), EO);
    expect_counts(cell, t);
    zone_table_free(t);
}

static void test_area_orders(void)
{
    int order[AREA_DEPTH];

    identity(order, AREA_DEPTH);
    do {
        for (unsigned int fail = 0; fail < 1 << AREA_DEPTH; fail++) {
            check_area_order(order, fail);
        }
    } while (!g_test_failed() && next_permutation(order, AREA_DEPTH));
}

/* A write into what another makes readable, or fills with zeroes, waits. */
static void test_area_contention(void)
{
    static const struct {
        const char *name;
        uint64_t offset, bytes;     /* in blocks; 4 to 9 are taken */
        bool waits;
    } tests[] = {
        { "same blocks", 8, 2, true },
        { "first block", 8, 1, true },
        { "last block", 9, 1, true },
        { "over its end", 9, 3, true },
        { "over its begin", 7, 2, true },
        { "all of it and more", 0, 16, true },
        { "in the gap", 5, 1, true },
        { "first block of the gap", 4, 1, true },
        { "data and gap", 3, 2, true },
        { "data below the gap", 2, 2, false },
        { "behind it", 10, 1, false },
        { "above it", 14, 1, false },
    };

    for (int c = 0; c < ARRAY_SIZE(tests); c++) {
        for (int fails = 0; fails < 2; fails++) {
            g_autofree char *cell = g_strdup_printf("%s%s", tests[c].name,
                                                    fails ? ", failing" : "");
            uint64_t end = tests[c].offset + tests[c].bytes;
            uint64_t data = fails ? 4 : 10;
            bool fate = fails && !tests[c].waits && end > 4;
            ZoneTable *t = new_zns_table(0, 0);
            Request first, r;

            put_zns_zone(t, 4, IO, BDRV_ZA_ZRWA, 0, 4 * BLOCK);
            start_write(&first, t, 4 * ZONE + 8 * BLOCK, 2 * BLOCK);
            start_write(&r, t, 4 * ZONE + tests[c].offset * BLOCK,
                        tests[c].bytes * BLOCK);
            expect_ret(cell, r.begun, tests[c].waits ? WAITING : 0);
            finish(&first, fails ? -EIO : 0);
            expect_ret(cell, r.begun, 0);
            if (tests[c].waits && end > data) {
                expect_value(cell, "begin", r.w.start - 4 * ZONE,
                             data * BLOCK);
            }
            expect_ret(cell, finish(&r, 0), fate ? -EIO : 0);
            expect_value(cell, "end of data", data_end_of(t, 4),
                         (fate ? 4 : MAX(data, end)) * BLOCK);
            zone_table_free(t);
        }
    }
}

/* Each end lets those go on that have waited for it, and no others. */
static void test_area_waiters(void)
{
    ZoneTable *t = new_zns_table(0, 0);
    uint64_t begin = 4 * ZONE;
    Request a, b, c, over_a, over_b, over_ab;

    g_assert_cmpint(do_open_zrwa(t, 4), ==, 0);
    start_write(&a, t, begin, 2 * BLOCK);
    start_write(&b, t, begin + 4 * BLOCK, 2 * BLOCK);
    start_write(&over_ab, t, begin + BLOCK, 2 * BLOCK);
    start_write(&over_a, t, begin, BLOCK);
    start_write(&over_b, t, begin + 3 * BLOCK, BLOCK);
    start_write(&c, t, begin + 6 * BLOCK, BLOCK);
    g_assert_cmpint(c.begun, ==, 0);
    g_assert_cmpint(over_a.begun, ==, WAITING);
    g_assert_cmpint(over_b.begun, ==, WAITING);
    g_assert_cmpint(finish(&c, 0), ==, WAITING);
    g_assert_cmpint(finish(&a, 0), ==, 0);
    g_assert_cmpint(over_a.begun, ==, 0);
    g_assert_cmpint(over_ab.begun, ==, WAITING);
    g_assert_cmpint(over_b.begun, ==, WAITING);
    g_assert_cmpint(finish(&b, 0), ==, 0);
    g_assert_cmpint(c.ended, ==, 0);
    g_assert_cmpint(over_ab.begun, ==, 0);
    g_assert_cmpint(over_b.begun, ==, 0);
    g_assert_cmpint(finish(&over_b, 0), ==, 0);
    g_assert_cmpint(finish(&over_a, 0), ==, 0);
    g_assert_cmpint(finish(&over_ab, 0), ==, 0);
    g_assert_cmphex(data_end_of(t, 4), ==, 7 * BLOCK);
    zone_table_free(t);
}

/* One that has waited finds the area gone, or elsewhere. */
static void test_area_waiting_checked_anew(void)
{
    ZoneTable *t = new_zns_table(0, 0);
    uint64_t begin = 4 * ZONE;
    Request a, late, m;

    /* moved by the one that it waited for */
    g_assert_cmpint(do_open_zrwa(t, 4), ==, 0);
    start_write(&a, t, begin, 2 * AREA);
    start_write(&late, t, begin, BLOCK);
    g_assert_cmpint(late.begun, ==, WAITING);
    g_assert_cmpint(finish(&a, 0), ==, 0);
    g_assert_cmpint(late.ended, ==, -ESPIPE);

    /* finished */
    start_write(&a, t, begin + 2 * AREA, BLOCK);
    start_write(&late, t, begin + 2 * AREA, BLOCK);
    start_mgmt(&m, t, BLK_ZO_FINISH, 4, 1);
    g_assert_cmpint(finish(&a, 0), ==, 0);
    g_assert_cmpint(m.begun == 0, !=, late.begun == 0);
    if (late.begun == 0) {
        g_assert_cmpint(finish(&late, 0), ==, 0);
        g_assert_cmpint(m.begun, ==, 0);
        g_assert_cmpint(finish(&m, 0), ==, 0);
    } else {
        g_assert_cmpint(finish(&m, 0), ==, 0);
        g_assert_cmpint(late.ended, ==, -EFBIG);
    }
    zone_table_free(t);
}

/* The area is where the writes in flight will have moved it, if they can. */
static void test_area_moved_in_flight(void)
{
    static const int rets[] = { 0, -EIO };

    for (int c = 0; c < ARRAY_SIZE(rets); c++) {
        ZoneTable *t = new_zns_table(0, 0);
        uint64_t begin = 4 * ZONE;
        Request a, b;

        g_assert_cmpint(do_open_zrwa(t, 4), ==, 0);
        g_assert_cmpint(do_write(t, begin, AREA), ==, 0);
        start_write(&a, t, begin + AREA, GRAIN);
        g_assert_cmpint(do_write(t, begin, BLOCK), ==, -ESPIPE);
        g_assert_cmpint(do_write(t, begin + GRAIN, BLOCK), ==, 0);
        start_write(&b, t, begin + 2 * AREA, GRAIN);
        g_assert_cmpint(b.begun, ==, 0);
        g_assert_cmpint(finish(&b, 0), ==, WAITING);
        g_assert_cmphex(written_in(t, 4), ==, 0);
        g_assert_cmpint(finish(&a, rets[c]), ==, rets[c]);
        g_assert_cmpint(b.ended, ==, rets[c]);
        g_assert_cmphex(written_in(t, 4), ==, rets[c] ? 0 : AREA + GRAIN);
        g_assert_cmpint(do_write(t, begin, BLOCK), ==,
                        rets[c] ? 0 : -ESPIPE);
        zone_table_free(t);
    }
}

/* A write over data that fails is nobody else's failure. */
static void test_area_failed_overwrite(void)
{
    ZoneTable *t = new_zns_table(0, 0);
    uint64_t begin = 4 * ZONE;
    Request over, ahead, next;

    put_zns_zone(t, 4, EO, BDRV_ZA_ZRWA, 0, 4 * BLOCK);
    start_write(&over, t, begin, BLOCK);
    start_write(&ahead, t, begin + 4 * BLOCK, BLOCK);
    g_assert_cmpint(finish(&over, -EROFS), ==, -EIO);
    start_write(&next, t, begin + 5 * BLOCK, BLOCK);
    g_assert_cmpint(next.begun, ==, 0);
    g_assert_cmpint(finish(&ahead, 0), ==, 0);
    g_assert_cmpint(finish(&next, 0), ==, 0);
    expect_zone("after all", t, 4, EO, 0, 6 * BLOCK);
    zone_table_free(t);
}

/* A reset or finish waits for writes over data too, which move nothing. */
static void test_mgmt_waits_for_overwrite(void)
{
    static const BlockZoneOp ops[] = {
        BLK_ZO_RESET, BLK_ZO_FINISH, BLK_ZO_FORCE_RDONLY,
        BLK_ZO_FORCE_OFFLINE, BLK_ZO_ZRWA_COMMIT,
    };
    static const int rets[] = { 0, -EIO };

    for (int c = 0; c < 2 * ARRAY_SIZE(ops); c++) {
        BlockZoneOp op = ops[c / 2];
        g_autofree char *cell = g_strdup_printf("op %d, %d", op, rets[c % 2]);
        ZoneTable *t = new_zns_table(0, 0);
        Request w, m, late;

        put_zns_zone(t, 4, EO, BDRV_ZA_ZRWA, 0, AREA);
        start_write(&w, t, 4 * ZONE, BLOCK);
        if (op == BLK_ZO_ZRWA_COMMIT) {
            start_commit(&m, t, 4, GRAIN);
        } else {
            start_mgmt(&m, t, op, 4, 1);
        }
        start_write(&late, t, 4 * ZONE + AREA - BLOCK, BLOCK);
        expect_ret(cell, m.begun, WAITING);
        expect_ret(cell, late.begun, WAITING);
        expect_ret(cell, finish(&w, rets[c % 2]), rets[c % 2]);
        expect_ret(cell, m.begun, 0);
        expect_ret(cell, late.begun, WAITING);
        expect_ret(cell, finish(&m, -EIO), -EIO);
        expect_ret(cell, late.begun, 0);
        expect_ret(cell, finish(&late, 0), 0);
        expect_zone(cell, t, 4, EO, 0, AREA);
        zone_table_free(t);
    }
}

/* --- Random write areas: explicit commits as operations --- */

/* Until its end a commit counts for the store, and others wait. */
static void test_commit_in_progress(void)
{
    static const uint64_t wps[] = { 0, CAPACITY - AREA };

    for (int c = 0; c < 4; c++) {
        uint64_t wp = wps[c / 2], upto = wp + AREA;
        bool fails = c % 2, full = upto == CAPACITY;
        g_autofree char *cell = g_strdup_printf("up to 0x%" PRIx64 "%s", upto,
                                                fails ? ", failing" : "");
        ZoneTable *t = new_zns_table(0, 1);
        Request m, w, again;
        ZoneRecord r;

        put_zns_zone(t, 4, EO, BDRV_ZA_ZRWA, wp, wp + AREA - BLOCK);
        start_commit(&m, t, 4, upto);
        expect_ret(cell, m.begun, 0);
        expect_value(cell, "need to commit", m.m.commit, true);
        r = record_of(t, 4, false);
        expect_state(cell, r.state, full ? FU : CL);
        expect_value(cell, "write pointer to store", r.wp - 4 * ZONE, upto);
        expect_value(cell, "data to store", r.data_end - 4 * ZONE,
                     wp + AREA - BLOCK);
        expect_value(cell, "attributes to store", r.attributes,
                     full ? 0 : BDRV_ZA_ZRWA);
        expect_state(cell, state_of(t, 4), EO);
        expect_ret(cell, do_open_zrwa(t, 5), -EUSERS);

        start_write(&w, t, 4 * ZONE + wp, BLOCK);
        start_commit(&again, t, 4, upto);
        expect_ret(cell, w.begun, WAITING);
        expect_ret(cell, again.begun, WAITING);
        while (zone_table_take_dirty(t, 0) >= 0) {
            /* The store takes it */
        }
        expect_ret(cell, finish(&m, fails ? -EIO : 0), fails ? -EIO : 0);
        if (fails) {
            g_assert_true(zone_table_is_dirty(t));
            /* As if nothing had been */
            if (again.begun == 0) {
                expect_ret(cell, finish(&again, -EIO), -EIO);
            }
            expect_ret(cell, w.begun, 0);
            expect_ret(cell, finish(&w, 0), 0);
            if (again.ended == WAITING) {
                expect_ret(cell, again.begun, 0);
                expect_ret(cell, finish(&again, -EIO), -EIO);
            }
            expect_zone(cell, t, 4, EO, wp, wp + AREA - BLOCK);
        } else {
            expect_ret(cell, w.ended, full ? -EFBIG : -ESPIPE);
            expect_ret(cell, again.ended, -ENOTTY);
            expect_zone(cell, t, 4, full ? FU : EO, upto, wp + AREA - BLOCK);
        }
        zone_table_free(t);
    }
}

/* One that is refused after it has waited lets go on what waits for it. */
static void test_refused_commit_wakes_others(void)
{
    ZoneTable *t = new_zns_table(0, 0);
    Request w, m, late, again;

    put_zns_zone(t, 4, EO, BDRV_ZA_ZRWA, 0, AREA);
    start_write(&w, t, 4 * ZONE + AREA, BLOCK);
    start_write(&late, t, 4 * ZONE + AREA, BLOCK);
    start_commit(&m, t, 4, GRAIN);
    start_commit(&again, t, 4, 2 * GRAIN);
    g_assert_cmpint(m.begun, ==, WAITING);
    g_assert_cmpint(late.begun, ==, WAITING);
    g_assert_cmpint(again.begun, ==, WAITING);
    /*
     * w moves the write pointer to where the commit would; late looks first,
     * and finds that the commit is still there.
     */
    g_assert_cmpint(finish(&w, 0), ==, 0);
    g_assert_cmpint(m.ended, ==, -ENOTTY);
    g_assert_cmpint(late.begun, ==, 0);
    g_assert_cmpint(finish(&late, 0), ==, 0);
    g_assert_cmpint(again.begun, ==, 0);
    g_assert_cmpint(finish(&again, 0), ==, 0);
    expect_zone("after all", t, 4, EO, 2 * GRAIN, AREA + BLOCK);
    zone_table_free(t);
}

/* Commit and reset, both waiting for a write, come one after the other. */
static void test_commit_and_reset(void)
{
    for (int c = 0; c < 4; c++) {
        bool reset_first = c & 1, fails = c & 2;
        g_autofree char *cell = g_strdup_printf("case %d", c);
        ZoneTable *t = new_zns_table(0, 1);
        Request w, m[2];

        put_zns_zone(t, 4, EO, BDRV_ZA_ZRWA, 0, AREA);
        start_write(&w, t, 4 * ZONE, BLOCK);
        if (reset_first) {
            start_mgmt(&m[0], t, BLK_ZO_RESET, 4, 1);
            start_commit(&m[1], t, 4, GRAIN);
        } else {
            start_commit(&m[0], t, 4, GRAIN);
            start_mgmt(&m[1], t, BLK_ZO_RESET, 4, 1);
        }
        expect_ret(cell, finish(&w, 0), 0);
        expect_ret(cell, m[0].begun, 0);
        expect_ret(cell, m[1].begun, WAITING);
        expect_ret(cell, finish(&m[0], fails ? -EIO : 0), fails ? -EIO : 0);
        if (reset_first && !fails) {
            expect_ret(cell, m[1].ended, -ENOTTY);
        } else {
            expect_ret(cell, m[1].begun, 0);
            expect_state(cell, state_of(t, 4), EO);
            expect_ret(cell, finish(&m[1], 0), 0);
        }
        if (reset_first && fails) {
            expect_zone(cell, t, 4, EO, GRAIN, AREA);
        } else {
            expect_zone(cell, t, 4, EM, 0, 0);
        }
        expect_counts(cell, t);
        zone_table_free(t);
    }
}

/* The table may grow while a commit waits. */
static void test_commit_waits_while_resized(void)
{
    ZoneTable *t = new_zns_table(0, 0);
    Request w, m;

    put_zns_zone(t, NR_ZONES - 1, EO, BDRV_ZA_ZRWA, 0, AREA);
    start_write(&w, t, (NR_ZONES - 1) * ZONE, BLOCK);
    start_commit(&m, t, NR_ZONES - 1, GRAIN);
    g_assert_cmpint(m.begun, ==, WAITING);
    g_assert_cmpint(zone_table_resize(t, (NR_ZONES + 5000) * ZONE), ==, 0);
    g_assert_cmpint(finish(&w, 0), ==, 0);
    g_assert_cmpint(m.begun, ==, 0);
    g_assert_cmpint(finish(&m, 0), ==, 0);
    g_assert_cmphex(written_in(t, NR_ZONES - 1), ==, GRAIN);
    zone_table_free(t);
}

/* Closed for another zone while it is under way, it stays closed. */
static void test_commit_of_zone_closed_meanwhile(void)
{
    ZoneGeometry g = zns_geometry();
    ZoneTable *t;
    Request m;

    g.max_open_zones = 1;
    t = zone_table_new(&g);
    put_zns_zone(t, 4, IO, BDRV_ZA_ZRWA, 0, AREA);
    start_commit(&m, t, 4, GRAIN);
    g_assert_cmpint(do_write(t, 5 * ZONE, BLOCK), ==, 0);
    g_assert_cmpint(finish(&m, 0), ==, 0);
    expect_zone("closed", t, 4, CL, GRAIN, AREA);
    g_assert_cmpuint(nr_open(t), ==, 1);
    zone_table_free(t);
}

/* --- Random write areas: records --- */

static void test_area_records(void)
{
    static const struct {
        ZoneRecord r;
        BlockZoneState stored;
        uint8_t attributes;     /* stored */
    } good[] = {
        { { EO, BDRV_ZA_ZRWA, BEGIN, BEGIN }, EM, 0 },
        { { CL, BDRV_ZA_ZRWA, BEGIN, BEGIN }, EM, 0 },
        { { IO, BDRV_ZA_ZRWA, BEGIN, BEGIN + BLOCK }, CL, BDRV_ZA_ZRWA },
        { { IO, BDRV_ZA_ZRWA, BEGIN, BEGIN + AREA }, CL, BDRV_ZA_ZRWA },
        { { EO, BDRV_ZA_ZRWA, BEGIN + AREA, BEGIN }, CL, BDRV_ZA_ZRWA },
        { { CL, BDRV_ZA_ZRWA, BEGIN + AREA, BEGIN + BLOCK }, CL,
          BDRV_ZA_ZRWA },
        { { CL, BDRV_ZA_ZRWA, END - GRAIN, END }, CL, BDRV_ZA_ZRWA },
        { { CL, ZA_ALL, BEGIN + GRAIN, BEGIN + AREA }, CL, ZA_ALL },
        { { CL, BDRV_ZA_EXT, BEGIN, BEGIN }, CL, BDRV_ZA_EXT },
        { { EO, BDRV_ZA_EXT, BEGIN, BEGIN }, CL, BDRV_ZA_EXT },
        { { EO, 0x88, BEGIN, BEGIN }, CL, 0x88 },
        { { FU, 0x81, END, BEGIN }, FU, 0x81 },
        { { RO, 0x81, BEGIN, BEGIN }, RO, 0x81 },
        { { OF, 0x01, BEGIN, BEGIN }, OF, 0x01 },
    };
    static const struct {
        const char *name;
        ZoneRecord r;
    } bad[] = {
        { "empty with area", { EM, BDRV_ZA_ZRWA, BEGIN, BEGIN } },
        { "empty with extension", { EM, BDRV_ZA_EXT, BEGIN, BEGIN } },
        { "empty, finished by itself", { EM, 0x01, BEGIN, BEGIN } },
        { "full with area", { FU, BDRV_ZA_ZRWA, END, END } },
        { "read-only with area", { RO, BDRV_ZA_ZRWA, BEGIN, BEGIN } },
        { "offline with area", { OF, BDRV_ZA_ZRWA, BEGIN, BEGIN } },
        { "offline with extension", { OF, BDRV_ZA_EXT, BEGIN, BEGIN } },
        { "data above the area",
          { CL, BDRV_ZA_ZRWA, BEGIN, BEGIN + AREA + BLOCK } },
        { "data above the area, wrapping",
          { CL, BDRV_ZA_ZRWA, UINT64_MAX - BLOCK + 1, BEGIN } },
        { "data above the capacity",
          { CL, BDRV_ZA_ZRWA, END - GRAIN, END + BLOCK } },
        { "data below the zone",
          { CL, BDRV_ZA_ZRWA, BEGIN, BEGIN - BLOCK } },
        { "closed at the end with area", { CL, BDRV_ZA_ZRWA, END, END } },
        { "data within a sector",
          { CL, BDRV_ZA_ZRWA, BEGIN, BEGIN + 100 } },
        { "data above an extension", { CL, BDRV_ZA_EXT, BEGIN,
                                       BEGIN + BLOCK } },
        { "unknown attribute", { CL, 0x02, BEGIN, BEGIN } },
        { "all attributes", { CL, 0xff, BEGIN, BEGIN } },
    };

    for (int i = 0; i < ARRAY_SIZE(good); i++) {
        g_autofree char *cell = g_strdup_printf("record %d", i);
        ZoneTable *t = new_zns_table(0, 2);
        ZoneRecord stored = good[i].r;

        g_assert_true(zone_table_load(t, FIRST_SEQ, &good[i].r));
        expect_record(cell, record_of(t, FIRST_SEQ, true), good[i].r);
        stored.state = good[i].stored;
        stored.attributes = good[i].attributes;
        expect_record(cell, record_of(t, FIRST_SEQ, false), stored);
        expect_value(cell, "areas left", zrwa_left(t),
                     good[i].r.attributes & BDRV_ZA_ZRWA ? 1 : 2);
        g_assert_true(zone_table_load(t, FIRST_SEQ, &stored));
        expect_record(cell, record_of(t, FIRST_SEQ, true), stored);
        expect_value(cell, "areas left", zrwa_left(t),
                     good[i].attributes & BDRV_ZA_ZRWA ? 1 : 2);
        expect_counts(cell, t);
        zone_table_free(t);
        if (good[i].r.attributes & (BDRV_ZA_ZRWA | BDRV_ZA_EXT)) {
            /* A device without these has no such record */
            t = new_table();
            g_assert_false(zone_table_load(t, FIRST_SEQ, &good[i].r));
            zone_table_free(t);
        }
    }
    for (int i = 0; i < ARRAY_SIZE(bad); i++) {
        ZoneTable *t = new_zns_table(0, 1);

        if (zone_table_load(t, FIRST_SEQ, &bad[i].r)) {
            g_test_message("%s is accepted", bad[i].name);
            g_test_fail();
        }
        expect_zone(bad[i].name, t, FIRST_SEQ, EM, 0, 0);
        expect_value(bad[i].name, "areas left", zrwa_left(t), 1);
        zone_table_free(t);
    }
}

/* Readable is what was written, below the write pointer or above it. */
static void test_area_readable(void)
{
    ZoneTable *t = new_zns_table(0, 0);
    uint64_t begin = 4 * ZONE;
    bool data;

    g_assert_cmpint(do_open_zrwa(t, 4), ==, 0);
    g_assert_cmpint(do_write(t, begin + 2 * BLOCK, BLOCK), ==, 0);
    g_assert_cmphex(zone_table_readable(t, begin, ZONE, &data), ==,
                    3 * BLOCK);
    g_assert_true(data);
    g_assert_cmpint(do_commit(t, 4, AREA), ==, 0);
    g_assert_cmphex(zone_table_readable(t, begin, ZONE, &data), ==,
                    3 * BLOCK);
    g_assert_cmphex(zone_table_readable(t, begin + 3 * BLOCK, BLOCK, &data),
                    ==, BLOCK);
    g_assert_false(data);
    g_assert_cmpint(do_mgmt(t, BLK_ZO_FINISH, 4), ==, 0);
    g_assert_cmphex(zone_table_readable(t, begin, ZONE, &data), ==,
                    3 * BLOCK);
    g_assert_true(data);
    zone_table_free(t);
}

/* --- Several threads --- */

#define NR_THREADS      4
#define NR_WORKERS      6       /* per thread */
#define NR_STEPS        10000   /* per worker */
#define STRESS_ZONES    5
#define STRESS_OPEN     2
#define STRESS_ACTIVE   4
#define STRESS_AREAS    3
#define ZONE_BLOCKS     (ZONE / BLOCK)

/* An acknowledged write, and how many resets of the zone came before it */
typedef struct Acknowledged {
    uint32_t zone;
    unsigned int epoch;
    uint64_t start, end;
} Acknowledged;

typedef struct Stress {
    ZoneTable *t;
    int running;                                    /* workers; atomic */
    unsigned int epoch[STRESS_ZONES];               /* resets; atomic */
    uint8_t busy[STRESS_ZONES * ZONE_BLOCKS];       /* being written; atomic */
} Stress;

typedef struct Worker {
    Stress *s;
    AioContext *ctx;
    GRand *rand;
    GArray *acknowledged;
} Worker;

/* I/O takes its time, and other requests go on meanwhile. */
static void coroutine_fn stress_io(Worker *w)
{
    for (int n = g_rand_int_range(w->rand, 0, 4); n; n--) {
        aio_co_schedule(w->ctx, qemu_coroutine_self());
        qemu_coroutine_yield();
    }
}

/* Nobody else may write to these blocks between begin and end. */
static void stress_mark_busy(Stress *s, const ZoneWrite *zw, bool busy)
{
    for (uint64_t b = zw->start / BLOCK; b < zw->end / BLOCK; b++) {
        g_assert_cmpint(qatomic_xchg(&s->busy[b], busy), ==, !busy);
    }
}

static void coroutine_fn stress_write(Worker *w, uint32_t zone)
{
    uint64_t bytes = g_rand_int_range(w->rand, 1, 9) * BLOCK;
    Stress *s = w->s;
    Acknowledged a;
    BlockZoneDescriptor d;
    ZoneWrite zw;
    int ret;

    if (g_rand_int_range(w->rand, 0, 4)) {
        uint64_t offset = zone * ZONE;

        ret = zone_begin_append(s->t, &zw, &offset, bytes);
        g_assert_cmpint(ret, !=, -ESPIPE);
        g_assert_true(ret < 0 || zw.start == offset);
    } else {
        ret = zone_begin_write(s->t, &zw, report_zone(s->t, zone).wp, bytes);
    }
    if (ret < 0) {
        g_assert_true(bdrv_is_zone_error(ret));
        g_assert_cmpint(ret, !=, -EROFS);
        g_assert_cmpint(ret, !=, -ENODEV);
        return;
    }

    /* At the write pointer of a full zone, the next one begins. */
    zone = zw.zone;
    /* A reset has to wait for us, so the epoch is the same until our end. */
    a = (Acknowledged) {
        zone, qatomic_read(&s->epoch[zone]), zw.start, zw.end,
    };
    stress_mark_busy(s, &zw, true);
    stress_io(w);
    stress_mark_busy(s, &zw, false);
    ret = g_rand_int_range(w->rand, 0, 16) ? 0 : -ENOSPC;
    ret = zone_end_write(s->t, &zw, ret);
    if (ret < 0) {
        g_assert_true(ret == -EIO || ret == -ENOSPC);
        return;
    }
    g_array_append_val(w->acknowledged, a);
    d = report_zone(s->t, zone);
    if (qatomic_read(&s->epoch[zone]) == a.epoch) {
        g_assert_cmphex(d.wp, >=, a.end);
    }
}

static void coroutine_fn stress_mgmt(Worker *w, uint32_t zone, BlockZoneOp op,
                                     BlockZoneFlags flags, uint32_t nr)
{
    Stress *s = w->s;
    ZoneMgmt m;
    int ret;

    ret = zone_mgmt_begin(s->t, &m, op, flags, zone * ZONE, nr * ZONE);
    if (ret < 0) {
        g_assert_true(ret == -EINVAL || (op == BLK_ZO_OPEN &&
                      (ret == -EOVERFLOW || ret == -ETOOMANYREFS)));
        return;
    }
    g_assert_true(m.commit == (op == BLK_ZO_RESET || op == BLK_ZO_FINISH));
    stress_io(w);
    ret = g_rand_int_range(w->rand, 0, 4) ? 0 : -EIO;
    /* A zone that was empty already is not held up */
    if (op == BLK_ZO_RESET && ret == 0 && zone_table_being_reset(s->t, zone)) {
        g_assert_cmpuint(nr, ==, 1);
        for (uint64_t b = 0; b < ZONE_BLOCKS; b++) {
            g_assert_cmpint(qatomic_read(&s->busy[zone * ZONE_BLOCKS + b]),
                            ==, 0);
        }
        qatomic_inc(&s->epoch[zone]);
    }
    g_assert_cmpint(zone_mgmt_end(s->t, &m, ret), ==, ret);
}

static void stress_check_limits(Stress *s)
{
    uint32_t open, active, sum = 0;
    ZoneCounts c;

    zone_table_count(s->t, &c);
    for (int i = 0; i < ARRAY_SIZE(c.in_state); i++) {
        sum += c.in_state[i];
    }
    open = c.in_state[BLK_ZS_IOPEN] + c.in_state[BLK_ZS_EOPEN];
    active = open + c.in_state[BLK_ZS_CLOSED];
    g_assert_cmpuint(sum, ==, STRESS_ZONES);
    g_assert_cmpuint(open, <=, STRESS_OPEN);
    g_assert_cmpuint(active, <=, STRESS_ACTIVE);
}

static void coroutine_fn stress_step(Worker *w)
{
    uint32_t zone = g_rand_int_range(w->rand, 0, STRESS_ZONES);
    uint32_t pair = MIN(zone, STRESS_ZONES - 2);

    switch (g_rand_int_range(w->rand, 0, 100)) {
    case 0 ... 5:
        stress_mgmt(w, zone, BLK_ZO_RESET, 0, 1);
        break;
    case 6:
        stress_mgmt(w, pair, BLK_ZO_FINISH, 0, 2);
        break;
    case 7:
        stress_mgmt(w, pair, BLK_ZO_OPEN, 0, 2);
        break;
    case 8:
        stress_mgmt(w, zone, BLK_ZO_OPEN, 0, 1);
        break;
    case 9 ... 11:
        stress_mgmt(w, 0, BLK_ZO_CLOSE, BDRV_ZONE_ALL, STRESS_ZONES);
        break;
    case 12:
        stress_mgmt(w, zone, BLK_ZO_CLOSE, BDRV_ZONE_CLOSE_EMPTY, 1);
        break;
    default:
        stress_write(w, zone);
        break;
    }
    stress_check_limits(w->s);
}

static void coroutine_fn stress_worker(void *opaque)
{
    Worker *w = opaque;

    for (int i = 0; i < NR_STEPS; i++) {
        stress_step(w);
    }
    qatomic_dec(&w->s->running);
}

static int compare_acknowledged(const void *va, const void *vb)
{
    const Acknowledged *a = va, *b = vb;

    if (a->zone != b->zone) {
        return a->zone < b->zone ? -1 : 1;
    }
    if (a->epoch != b->epoch) {
        return a->epoch < b->epoch ? -1 : 1;
    }
    return a->start < b->start ? -1 : a->start > b->start;
}

/* Between two resets, what was acknowledged is a zone's data, each byte once */
static void stress_check_acknowledged(Stress *s, GArray *acks)
{
    uint64_t data_end[STRESS_ZONES];

    for (uint32_t i = 0; i < STRESS_ZONES; i++) {
        data_end[i] = i * ZONE;
    }
    g_array_sort(acks, compare_acknowledged);
    for (unsigned int i = 0; i < acks->len; i++) {
        const Acknowledged *a = &g_array_index(acks, Acknowledged, i);
        const Acknowledged *prev = a - 1;
        bool first = i == 0 || prev->zone != a->zone ||
                     prev->epoch != a->epoch;

        g_assert_cmphex(a->start, ==, first ? a->zone * ZONE : prev->end);
        if (a->epoch == s->epoch[a->zone]) {
            data_end[a->zone] = a->end;
        }
    }
    for (uint32_t i = 0; i < STRESS_ZONES; i++) {
        ZoneRecord r = record_of(s->t, i, true);

        g_assert_cmphex(r.data_end, ==, data_end[i]);
        g_assert_cmphex(r.wp, ==,
                        r.state == FU ? i * ZONE + CAPACITY : data_end[i]);
    }
}

/* Let workers in several threads do their steps, all at once */
static void stress_run(Stress *s, const ZoneGeometry *g,
                       CoroutineEntry *worker, GArray *acknowledged)
{
    Worker workers[NR_THREADS * NR_WORKERS];
    IOThread *threads[NR_THREADS];
    int64_t deadline;

    s->t = zone_table_new(g);
    s->running = ARRAY_SIZE(workers);

    for (int i = 0; i < NR_THREADS; i++) {
        threads[i] = iothread_new();
    }
    for (int i = 0; i < ARRAY_SIZE(workers); i++) {
        Worker *w = &workers[i];

        *w = (Worker) {
            .s = s,
            .ctx = iothread_get_aio_context(threads[i % NR_THREADS]),
            .rand = g_rand_new_with_seed(i),
            .acknowledged = g_array_new(false, false, sizeof(Acknowledged)),
        };
        aio_co_schedule(w->ctx, qemu_coroutine_create(worker, w));
    }

    deadline = g_get_monotonic_time() + 300 * G_USEC_PER_SEC;
    while (qatomic_read(&s->running)) {
        /* If it never ends, some request waits for nothing */
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(1000);
    }
    for (int i = 0; i < NR_THREADS; i++) {
        iothread_join(threads[i]);
    }
    for (int i = 0; i < ARRAY_SIZE(workers); i++) {
        g_array_append_vals(acknowledged, workers[i].acknowledged->data,
                            workers[i].acknowledged->len);
        g_array_free(workers[i].acknowledged, true);
        g_rand_free(workers[i].rand);
    }
    g_test_message("%u writes acknowledged, %u resets", acknowledged->len,
                   s->epoch[0] + s->epoch[1] + s->epoch[2] + s->epoch[3] +
                   s->epoch[4]);
    g_assert_cmpuint(acknowledged->len, >, 1000);
}

static ZoneGeometry stress_geometry(void)
{
    ZoneGeometry g = zns_geometry();

    g.size = STRESS_ZONES * ZONE;
    g.conventional_zones = 0;
    g.max_open_zones = STRESS_OPEN;
    g.max_active_zones = STRESS_ACTIVE;
    g.max_zrwa_zones = STRESS_AREAS;
    return g;
}

static void test_threads(void)
{
    ZoneGeometry g = stress_geometry();
    g_autoptr(GArray) all = g_array_new(false, false, sizeof(Acknowledged));
    g_autofree Stress *s = g_new0(Stress, 1);

    stress_run(s, &g, stress_worker, all);
    stress_check_acknowledged(s, all);
    expect_counts("after all threads", s->t);
    zone_table_free(s->t);
}

/* The same with random write areas; "the disk" holds the number of resets */
typedef struct AreaStress {
    Stress s;
    unsigned int disk[STRESS_ZONES * ZONE_BLOCKS];  /* atomic */
} AreaStress;

static void stress_fill(AreaStress *as, uint64_t begin, uint64_t end,
                        unsigned int value)
{
    for (uint64_t b = begin / BLOCK; b < end / BLOCK; b++) {
        qatomic_set(&as->disk[b], value);
    }
}

/* Nobody makes these blocks readable now, so they stay so. */
static void stress_check_idle(Stress *s, uint64_t begin, uint64_t end)
{
    for (uint64_t b = begin / BLOCK; b < end / BLOCK; b++) {
        g_assert_cmpint(qatomic_read(&s->busy[b]), ==, 0);
    }
}

static void coroutine_fn area_stress_write(Worker *w, uint32_t zone)
{
    AreaStress *as = container_of(w->s, AreaStress, s);
    uint64_t bytes = g_rand_int_range(w->rand, 1, 9) * BLOCK;
    BlockZoneDescriptor d = report_zone(as->s.t, zone);
    bool area = d.attributes & BDRV_ZA_ZRWA, extends;
    uint64_t offset = d.wp + (area ? g_rand_int_range(w->rand, 0, 20) : 0) *
                      BLOCK;
    Acknowledged a;
    ZoneWrite zw;
    int ret;

    ret = zone_begin_write(as->s.t, &zw, offset, bytes);
    if (ret < 0) {
        g_assert_true(bdrv_is_zone_error(ret));
        g_assert_cmpint(ret, !=, -EROFS);
        g_assert_cmpint(ret, !=, -ENODEV);
        return;
    }
    a = (Acknowledged) {
        zw.zone, qatomic_read(&as->s.epoch[zw.zone]), offset, offset + bytes,
    };
    extends = zw.state != ZW_OVERWRITE;
    if (extends) {
        stress_mark_busy(&as->s, &zw, true);
        stress_fill(as, zw.start, offset, 0);
    } else {
        stress_check_idle(&as->s, offset, zw.end);
    }
    stress_io(w);
    stress_fill(as, offset, zw.end, a.epoch + 1);
    if (extends) {
        stress_mark_busy(&as->s, &zw, false);
    } else {
        stress_check_idle(&as->s, offset, zw.end);
    }
    ret = g_rand_int_range(w->rand, 0, 16) ? 0 : -ENOSPC;
    ret = zone_end_write(as->s.t, &zw, ret);
    if (ret < 0) {
        g_assert_true(ret == -EIO || ret == -ENOSPC);
        return;
    }
    g_array_append_val(w->acknowledged, a);
    /* It is there until a reset. */
    for (uint64_t b = a.start / BLOCK; b < a.end / BLOCK; b++) {
        unsigned int value = qatomic_read(&as->disk[b]);

        g_assert_true(value == a.epoch + 1 ||
                      qatomic_read(&as->s.epoch[a.zone]) != a.epoch);
    }
}

static void coroutine_fn area_stress_mgmt(Worker *w, uint32_t zone,
                                          BlockZoneOp op, BlockZoneFlags flags)
{
    Stress *s = w->s;
    uint64_t bytes = ZONE;
    ZoneMgmt m;
    int ret;

    if (op == BLK_ZO_ZRWA_COMMIT) {
        bytes = report_zone(s->t, zone).wp - zone * ZONE +
                g_rand_int_range(w->rand, 1, AREA / GRAIN + 1) * GRAIN;
    }
    ret = zone_mgmt_begin(s->t, &m, op, flags, zone * ZONE, bytes);
    if (ret < 0) {
        g_assert_true(ret == -EINVAL || ret == -EOVERFLOW ||
                      ret == -ETOOMANYREFS || ret == -EUSERS ||
                      ret == -ENOTTY);
        return;
    }
    stress_io(w);
    if (op == BLK_ZO_SET_EXT) {
        zone_mgmt_ext_written(s->t, &m);
        stress_io(w);
    }
    ret = g_rand_int_range(w->rand, 0, 4) || !m.commit ? 0 : -EIO;
    if (m.commit && op != BLK_ZO_FORCE_REPAIR &&
        (op != BLK_ZO_RESET || zone_table_being_reset(s->t, zone))) {
        stress_check_idle(s, zone * ZONE, (zone + 1) * ZONE);
        if (op == BLK_ZO_RESET && ret == 0) {
            qatomic_inc(&s->epoch[zone]);
        }
    }
    g_assert_cmpint(zone_mgmt_end(s->t, &m, ret), ==, ret);
}

static void coroutine_fn area_stress_step(Worker *w)
{
    uint32_t zone = g_rand_int_range(w->rand, 0, STRESS_ZONES), areas = 0;
    BlockZoneDescriptor d[STRESS_ZONES];
    unsigned int nr = STRESS_ZONES;

    switch (g_rand_int_range(w->rand, 0, 100)) {
    case 0 ... 3:
        area_stress_mgmt(w, zone, BLK_ZO_RESET, 0);
        break;
    case 4:
        area_stress_mgmt(w, zone, BLK_ZO_FINISH, 0);
        break;
    case 5 ... 14:
        area_stress_mgmt(w, zone, BLK_ZO_OPEN, BDRV_ZONE_ZRWA);
        break;
    case 15 ... 16:
        area_stress_mgmt(w, zone, BLK_ZO_SET_EXT, BDRV_ZONE_ZRWA);
        break;
    case 17 ... 21:
        area_stress_mgmt(w, zone, BLK_ZO_CLOSE, 0);
        break;
    case 22:
        area_stress_mgmt(w, zone, BLK_ZO_POWER_CYCLE, 0);
        break;
    case 23 ... 29:
        area_stress_mgmt(w, zone, BLK_ZO_ZRWA_COMMIT, 0);
        break;
    default:
        area_stress_write(w, zone);
        break;
    }
    zone_table_report(w->s->t, 0, &nr, d);
    for (unsigned int i = 0; i < nr; i++) {
        areas += !!(d[i].attributes & BDRV_ZA_ZRWA);
    }
    g_assert_cmpuint(areas, <=, STRESS_AREAS);
    stress_check_limits(w->s);
}

static void coroutine_fn area_stress_worker(void *opaque)
{
    Worker *w = opaque;

    for (int i = 0; i < NR_STEPS; i++) {
        area_stress_step(w);
    }
    qatomic_dec(&w->s->running);
}

static void test_area_threads(void)
{
    ZoneGeometry g = stress_geometry();
    g_autoptr(GArray) all = g_array_new(false, false, sizeof(Acknowledged));
    g_autofree AreaStress *as = g_new0(AreaStress, 1);
    unsigned int written = 0;

    stress_fill(as, 0, STRESS_ZONES * ZONE, UINT_MAX);
    stress_run(&as->s, &g, area_stress_worker, all);
    for (uint32_t i = 0; i < STRESS_ZONES; i++) {
        uint64_t data_end = record_of(as->s.t, i, true).data_end / BLOCK;

        for (uint64_t b = i * ZONE_BLOCKS; b < data_end; b++) {
            written += as->disk[b] != 0;
            g_assert_true(as->disk[b] == 0 ||
                          as->disk[b] == as->s.epoch[i] + 1);
        }
    }
    g_test_message("%u blocks with data at last", written);
    expect_counts("after all threads", as->s.t);
    zone_table_free(as->s.t);
}

/* --- A naive model of the rules --- */

#define MODEL_ZONES     9
#define MODEL_CONV      1
#define MODEL_SIZE      (16 * BLOCK)
#define MODEL_CAPACITY  (12 * BLOCK)
#define MODEL_SHORT     (5 * BLOCK)     /* length of the last zone */
#define MODEL_APPEND    (8 * BLOCK)
#define MODEL_RDONLY    3               /* the zone that is read-only */
#define MODEL_OFFLINE   5               /* the zone that is offline */
#define MODEL_DEPTH     16              /* more than writes fit a zone */
#define MODEL_MGMTS     2

typedef struct ModelWrite {
    Request r;
    uint64_t start, end;
    bool over;                  /* its I/O */
    int io_ret;
} ModelWrite;

/*
 * The writes of a zone are kept, with their fates, until none is in flight.
 * All that is to be known follows from this list each time anew.
 */
typedef struct ModelZone {
    BlockZoneState state;
    uint64_t start, length, capacity;
    uint64_t base;              /* write pointer before the first of @writes */
    uint64_t data_end;          /* where the last reset or finish left it */
    ModelWrite *writes[MODEL_DEPTH];
    int nr_writes;
    bool kept_open;             /* not only by writes that may yet fail */
    uint64_t written_at;        /* by the clock, when last */
    BlockZoneState pending;     /* NOT_WP: nothing */
} ModelZone;

typedef struct ModelMgmt {
    Request r;
    bool selected;              /* its zones, and it changed what it could */
    uint32_t first, last;
} ModelMgmt;

typedef struct Model {
    ZoneTable *t;
    ZoneGeometry g;
    GRand *rand;
    uint64_t clock;
    ModelZone zones[MODEL_ZONES];
    ModelMgmt *mgmts[MODEL_MGMTS];      /* in progress */
    int nr_mgmts;
    char *step;                         /* what is going on, for messages */
    unsigned int nr_success, nr_waited;
} Model;

static int model_random(Model *m, int n)
{
    return g_rand_int_range(m->rand, 0, n);
}

static int model_count(Model *m, BlockZoneState state)
{
    int n = 0;

    for (int i = 0; i < MODEL_ZONES; i++) {
        n += m->zones[i].state == state;
    }
    return n;
}

static int model_open(Model *m)
{
    return model_count(m, IO) + model_count(m, EO);
}

static int model_active(Model *m)
{
    return model_open(m) + model_count(m, CL);
}

/* Number of writes from the first on that have succeeded */
static int model_prefix(ModelZone *z)
{
    int n = 0;

    while (n < z->nr_writes && z->writes[n]->over &&
           z->writes[n]->io_ret == 0) {
        n++;
    }
    return n;
}

/* Number of the first write that failed; if none, of all writes */
static int model_first_failure(ModelZone *z)
{
    int n = 0;

    while (n < z->nr_writes &&
           !(z->writes[n]->over && z->writes[n]->io_ret < 0)) {
        n++;
    }
    return n;
}

static uint64_t model_wp(ModelZone *z)
{
    int n = model_prefix(z);

    return n ? z->writes[n - 1]->end : z->base;
}

static uint64_t model_next_write(ModelZone *z)
{
    return z->nr_writes ? z->writes[z->nr_writes - 1]->end : z->base;
}

static bool model_holds_writes(ModelZone *z)
{
    return z->pending || model_first_failure(z) < z->nr_writes;
}

/* Close implicitly open ones, the least recently written first, up to here */
static void model_make_room(Model *m, const bool *spare)
{
    while (m->g.max_open_zones && model_open(m) > m->g.max_open_zones) {
        ModelZone *victim = NULL;

        for (int i = 0; i < MODEL_ZONES; i++) {
            ModelZone *z = &m->zones[i];

            if (z->state == IO && !spare[i] &&
                (!victim || z->written_at < victim->written_at)) {
                victim = z;
            }
        }
        g_assert_nonnull(victim);
        victim->state = CL;
    }
}

static int model_check_resources(Model *m, int new_active, int new_explicit)
{
    if (new_active && m->g.max_active_zones &&
        model_active(m) + new_active > m->g.max_active_zones) {
        return -EOVERFLOW;
    }
    if (m->g.max_open_zones &&
        model_count(m, EO) + new_explicit > m->g.max_open_zones) {
        return -ETOOMANYREFS;
    }
    return 0;
}

/* The rules for a write or append, one after another; may change nothing */
static int model_check_write(Model *m, const Request *r)
{
    uint64_t offset = r->offset, end;
    ModelZone *z;
    int i;

    if (r->kind == APPEND &&
        (offset >= m->g.size || offset % MODEL_SIZE ||
         offset < MODEL_CONV * MODEL_SIZE)) {
        return -EINVAL;
    }
    if (offset >= m->g.size ||
        (r->kind == WRITE && offset + r->bytes > m->g.size)) {
        return -ERANGE;
    }
    i = offset / MODEL_SIZE;
    z = &m->zones[i];
    if (z->state == NW) {
        return offset + r->bytes > MODEL_CONV * MODEL_SIZE ? -ERANGE : 0;
    }
    if (z->state == OF) {
        return -ENODEV;
    }
    if (z->state == RO) {
        return -EROFS;
    }
    if (z->state == FU || model_next_write(z) == z->start + z->capacity) {
        return -EFBIG;
    }
    if (r->kind == APPEND && r->bytes > MODEL_APPEND) {
        return -EINVAL;
    }
    if (r->kind == APPEND) {
        offset = model_next_write(z);
    }
    end = offset + r->bytes;
    if (end > z->start + MODEL_SIZE) {
        return -ERANGE;
    }
    if (offset != model_next_write(z) || end % BLOCK) {
        return -ESPIPE;
    }
    if (end > z->start + z->capacity) {
        return -ERANGE;
    }
    if (r->bytes == 0 || z->state == IO || z->state == EO) {
        return 0;
    }
    return model_check_resources(m, z->state == EM, 1);
}

static void model_reserve(Model *m, ModelWrite *w)
{
    ModelZone *z = &m->zones[w->r.offset / MODEL_SIZE];
    bool spare[MODEL_ZONES] = { false };

    w->start = w->r.kind == APPEND ? model_next_write(z) : w->r.offset;
    w->end = w->start + w->r.bytes;
    g_assert_cmpint(z->nr_writes, <, MODEL_DEPTH);
    if (z->state == EM) {
        z->kept_open = false;
    }
    z->writes[z->nr_writes++] = w;
    z->written_at = ++m->clock;
    if (z->state == EM || z->state == CL) {
        spare[z - m->zones] = true;
        z->state = IO;
        model_make_room(m, spare);
    }
}

/* What follows for a zone from an end of I/O; writes that are done go. */
static bool model_settle_writes(Model *m, ModelZone *z)
{
    int prefix = model_prefix(z), failure = model_first_failure(z);
    bool good = true, all = true;

    for (int i = 0; i < z->nr_writes; i++) {
        ModelWrite *w = z->writes[i];
        int want = i < prefix ? 0 : w->over && i >= failure ? -EIO : WAITING;

        good &= expect_ret(m->step, w->r.ended, want);
        all &= w->over;
    }
    if (prefix) {
        z->kept_open = true;
        z->data_end = model_wp(z);
    }
    if (model_wp(z) == z->start + z->capacity) {
        z->state = FU;
    }
    if (all) {
        z->base = model_wp(z);
        if (!z->kept_open) {
            z->state = EM;
        }
        for (int i = 0; i < z->nr_writes; i++) {
            g_free(z->writes[i]);
        }
        z->nr_writes = 0;
    }
    return good;
}

/* May the operation change a zone in this state, select it, or neither? */
static bool model_selects(BlockZoneOp op, BlockZoneState s)
{
    return op == BLK_ZO_OPEN ? s == CL :
           op == BLK_ZO_CLOSE ? s == IO || s == EO :
           op == BLK_ZO_FINISH ? s == IO || s == EO || s == CL :
           s == IO || s == EO || s == CL || s == FU;
}

static bool model_allows(BlockZoneOp op, BlockZoneState s)
{
    return op == BLK_ZO_OPEN ? s == EM || s == IO || s == EO || s == CL :
           op == BLK_ZO_CLOSE ? s == IO || s == EO || s == CL :
           s != NW && s != RO && s != OF;
}

static void model_open_zones(Model *m, const bool *selected)
{
    for (int i = 0; i < MODEL_ZONES; i++) {
        if (selected[i]) {
            m->zones[i].state = EO;
            m->zones[i].kept_open = true;
        }
    }
    model_make_room(m, selected);
}

static void model_close_zone(ModelZone *z, BlockZoneFlags flags)
{
    bool zns = flags & BDRV_ZONE_CLOSE_EMPTY;

    if (z->state == CL) {
        return;
    }
    z->state = CL;
    if (model_wp(z) == z->start) {
        z->kept_open = zns;
        if (!zns && z->nr_writes == 0) {
            z->state = EM;
        }
    }
}

/* Select zones, check, and change what needs no commit */
static int model_select(Model *m, ModelMgmt *g)
{
    bool all = g->r.flags & BDRV_ZONE_ALL, selected[MODEL_ZONES] = { false };
    int new_active = 0, new_explicit = 0;
    int ret = 0;

    for (uint32_t i = g->first; i <= g->last; i++) {
        ModelZone *z = &m->zones[i];

        selected[i] = !all || model_selects(g->r.op, z->state);
        if (selected[i] && !model_allows(g->r.op, z->state)) {
            ret = -EINVAL;
        }
        new_active += selected[i] && z->state == EM;
        new_explicit += selected[i] && z->state != EO;
    }
    if (ret == 0 && g->r.op == BLK_ZO_OPEN && new_explicit) {
        ret = model_check_resources(m, new_active, new_explicit);
    }
    if (ret < 0) {
        return ret;
    }
    if (g->r.op == BLK_ZO_OPEN) {
        model_open_zones(m, selected);
        return 0;
    }
    for (uint32_t i = g->first; i <= g->last; i++) {
        BlockZoneState target = g->r.op == BLK_ZO_RESET ? EM : FU;
        ModelZone *z = &m->zones[i];

        if (!selected[i]) {
            continue;
        }
        if (g->r.op == BLK_ZO_CLOSE) {
            model_close_zone(z, g->r.flags);
        } else if (z->state != target) {
            z->pending = target;
        }
    }
    return 0;
}

/* Returns what zone_mgmt_begin() has to return now, or WAITING */
static int model_begin_mgmt(Model *m, ModelMgmt *g)
{
    if (!g->selected) {
        int ret;

        for (int i = 0; i < m->nr_mgmts; i++) {
            if (g->first <= m->mgmts[i]->last &&
                m->mgmts[i]->first <= g->last) {
                return WAITING;
            }
        }
        ret = model_select(m, g);
        if (ret < 0) {
            return ret;
        }
        g->selected = true;
    }
    for (uint32_t i = g->first; i <= g->last; i++) {
        if (m->zones[i].pending && m->zones[i].nr_writes) {
            return WAITING;
        }
    }
    for (uint32_t i = g->first; i <= g->last; i++) {
        ModelZone *z = &m->zones[i];

        if (z->pending == z->state) {
            z->pending = NW;
        }
    }
    expect_value(m->step, "need to commit", g->r.m.commit,
                 g->r.op == BLK_ZO_RESET || g->r.op == BLK_ZO_FINISH);
    m->mgmts[m->nr_mgmts++] = g;
    return 0;
}

static bool model_end_mgmt(Model *m, int n, int io_ret)
{
    ModelMgmt *g = m->mgmts[n];
    bool good = expect_ret(m->step, finish(&g->r, io_ret), io_ret);

    for (uint32_t i = g->first; i <= g->last; i++) {
        ModelZone *z = &m->zones[i];

        if (z->pending && io_ret == 0) {
            z->state = z->pending;
            z->base = z->start + (z->state == FU ? z->capacity : 0);
            z->data_end = z->state == FU ? z->data_end : z->start;
        }
        z->pending = NW;
    }
    m->mgmts[n] = m->mgmts[--m->nr_mgmts];
    g_free(g);
    return good;
}

/* Compare all that can be seen of all zones */
static bool model_compare(Model *m)
{
    unsigned int nr = MODEL_ZONES + 1;
    BlockZoneDescriptor d[MODEL_ZONES + 1];
    bool good = true;

    zone_table_report(m->t, 0, &nr, d);
    good &= expect_value(m->step, "number of zones", nr, MODEL_ZONES);
    for (int i = MODEL_CONV; i < MODEL_ZONES && good; i++) {
        ModelZone *z = &m->zones[i];
        uint64_t wp = model_wp(z);
        ZoneRecord r = record_of(m->t, i, false);
        bool lost = z->state == IO || z->state == EO || z->state == CL;

        good &= expect_state(m->step, d[i].state, z->state) &
                expect_value(m->step, "write pointer", d[i].wp,
                             z->state == FU ? z->start + z->length : wp);
        if (z->pending) {
            good &= expect_state(m->step, r.state, z->pending);
        } else {
            good &= expect_state(m->step, r.state, !lost ? z->state :
                                 wp == z->start ? EM : CL) &
                    expect_value(m->step, "stored write pointer", r.wp, wp) &
                    expect_value(m->step, "end of data", r.data_end,
                                 z->data_end);
        }
        if (!good) {
            g_test_message("%s: that was zone %d", m->step, i);
        }
    }
    g_assert_true(!m->g.max_open_zones ||
                  model_open(m) <= m->g.max_open_zones);
    g_assert_true(!m->g.max_active_zones ||
                  model_active(m) <= m->g.max_active_zones);
    return good && expect_counts(m->step, m->t);
}

/* Let one request in progress end; false if there is none, or on failure */
static bool model_end_one(Model *m, bool *good)
{
    int n = m->nr_mgmts, k;

    for (int i = 0; i < MODEL_ZONES; i++) {
        for (int j = 0; j < m->zones[i].nr_writes; j++) {
            n += !m->zones[i].writes[j]->over;
        }
    }
    if (n == 0) {
        return false;
    }
    k = model_random(m, n);
    if (k < m->nr_mgmts) {
        *good = model_end_mgmt(m, k, model_random(m, 4) ? 0 : -ENOSPC);
        return true;
    }
    k -= m->nr_mgmts;
    for (int i = 0; i < MODEL_ZONES; i++) {
        ModelZone *z = &m->zones[i];

        for (int j = 0; j < z->nr_writes; j++) {
            ModelWrite *w = z->writes[j];

            if (!w->over && k-- == 0) {
                static const int rets[8] = { [3] = -EIO, [6] = -EFBIG };

                w->io_ret = rets[model_random(m, ARRAY_SIZE(rets))];
                w->over = true;
                finish(&w->r, w->io_ret);
                *good = model_settle_writes(m, z);
                return true;
            }
        }
    }
    g_assert_not_reached();
}

/* Returns what the begin call has to return now, or WAITING */
static int model_begin_write(Model *m, ModelWrite *w)
{
    uint64_t zone = w->r.offset / MODEL_SIZE;
    int ret = model_check_write(m, &w->r);

    /* Nothing that is wrong with the address has to wait */
    if (zone >= MODEL_CONV && zone < MODEL_ZONES &&
        (w->r.kind == APPEND ? w->r.offset % MODEL_SIZE == 0
                             : w->r.offset + w->r.bytes <= m->g.size) &&
        w->r.offset < m->g.size && model_holds_writes(&m->zones[zone])) {
        return WAITING;
    }
    return ret;
}

/* A write has begun: compare what begin returned, and reserve */
static bool model_write_begun(Model *m, ModelWrite *w, const Request *what,
                              int want)
{
    int begun = w->r.begun;
    uint64_t position = w->r.offset;
    bool good = expect_ret(m->step, begun, want);

    if (!good || begun < 0) {
        g_free(w);
        return good;
    }
    w->r.offset = what->offset;
    if (w->r.bytes && what->offset >= MODEL_CONV * MODEL_SIZE) {
        model_reserve(m, w);
        m->nr_success++;
        return expect_value(m->step, "position", position, w->start);
    }
    good = expect_ret(m->step, finish(&w->r, 0), 0);
    g_free(w);
    return good;
}

static bool model_step_write(Model *m)
{
    ModelZone *z = &m->zones[model_random(m, MODEL_ZONES)];
    bool append = model_random(m, 2), good = true;
    ModelWrite *w = g_new0(ModelWrite, 1);
    Request what = {
        .t = m->t,
        .kind = append ? APPEND : WRITE,
        .offset = append ? z->start : model_next_write(z),
        .bytes = model_random(m, 6) * BLOCK,
    };
    int want;

    switch (model_random(m, 30)) {
    case 0:
        what.offset = z->start + model_random(m, 16) * BLOCK;
        break;
    case 1:
        what.offset += 512;
        break;
    case 2:
        what.bytes += 512;
        break;
    case 3:
        what.bytes = model_random(m, 40) * BLOCK;
        break;
    case 4:
        what.bytes = z->start + z->capacity - model_next_write(z);
        break;
    }
    g_free(m->step);
    m->step = g_strdup_printf("%s of 0x%" PRIx64 " + 0x%" PRIx64,
                              append ? "append" : "write", what.offset,
                              what.bytes);

    w->r = what;
    want = model_begin_write(m, w);
    start(&w->r, &what);
    while (want == WAITING) {
        m->nr_waited++;
        good &= expect_ret(m->step, w->r.begun, WAITING);
        if (!good || !model_end_one(m, &good) || !good) {
            /* The table is lost, as is the coroutine */
            return false;
        }
        want = model_begin_write(m, &(ModelWrite) { .r = what });
    }
    return model_write_begun(m, w, &what, want);
}

static bool model_step_mgmt(Model *m)
{
    static const BlockZoneOp ops[] = {
        BLK_ZO_OPEN, BLK_ZO_CLOSE, BLK_ZO_FINISH, BLK_ZO_RESET,
    };
    ModelMgmt *g = g_new0(ModelMgmt, 1);
    bool good = true;
    int want;

    g->first = model_random(m, MODEL_ZONES);
    g->last = MIN(g->first + (model_random(m, 3) ? 0 : model_random(m, 4)),
                  MODEL_ZONES - 1);
    g->r = (Request) {
        .t = m->t, .kind = MGMT, .op = ops[model_random(m, 4)],
        .flags = model_random(m, 3) ? 0 : BDRV_ZONE_CLOSE_EMPTY,
    };
    if (!model_random(m, 12)) {
        g->first = 0;
        g->last = MODEL_ZONES - 1;
        g->r.flags |= BDRV_ZONE_ALL;
    }
    g->r.offset = m->zones[g->first].start;
    g->r.bytes = m->zones[g->last].start + m->zones[g->last].length -
                 g->r.offset;
    g_free(m->step);
    m->step = g_strdup_printf("op %d, flags %d, zones %u to %u", g->r.op,
                              g->r.flags, g->first, g->last);

    start(&g->r, &(Request) {
        .t = m->t, .kind = MGMT, .op = g->r.op, .flags = g->r.flags,
        .offset = g->r.offset, .bytes = g->r.bytes,
    });
    for (;;) {
        want = model_begin_mgmt(m, g);
        if (want != WAITING) {
            break;
        }
        m->nr_waited++;
        good &= expect_ret(m->step, g->r.begun, WAITING);
        if (!good || !model_end_one(m, &good) || !good) {
            return false;
        }
    }
    good = expect_ret(m->step, g->r.begun, want);
    if (want < 0) {
        g_free(g);
    } else {
        m->nr_success++;
    }
    return good;
}

static Model *model_new(const ZoneGeometry *limits, uint32_t seed)
{
    Model *m = g_new0(Model, 1);

    m->g = (ZoneGeometry) {
        .size = (MODEL_ZONES - 1) * MODEL_SIZE + MODEL_SHORT,
        .zone_size = MODEL_SIZE,
        .zone_capacity = MODEL_CAPACITY,
        .conventional_zones = MODEL_CONV,
        .max_open_zones = limits->max_open_zones,
        .max_active_zones = limits->max_active_zones,
        .max_append = MODEL_APPEND,
        .write_granularity = BLOCK,
    };
    m->rand = g_rand_new_with_seed(seed);
    m->t = zone_table_new(&m->g);
    for (int i = 0; i < MODEL_ZONES; i++) {
        uint64_t start = i * MODEL_SIZE;
        bool is_short = i == MODEL_ZONES - 1;

        m->zones[i] = (ModelZone) {
            .state = i < MODEL_CONV ? NW : i == MODEL_RDONLY ? RO :
                     i == MODEL_OFFLINE ? OF : EM,
            .start = start,
            .length = is_short ? MODEL_SHORT : MODEL_SIZE,
            .capacity = is_short ? MODEL_SHORT : MODEL_CAPACITY,
            .base = start,
            .data_end = start,
        };
        if (m->zones[i].state == RO || m->zones[i].state == OF) {
            g_assert_true(zone_table_load(m->t, i, &(ZoneRecord) {
                m->zones[i].state, 0, start, start,
            }));
        }
    }
    return m;
}

static bool model_step(Model *m)
{
    int dice = model_random(m, 100);
    bool good = true;

    if (dice < 45) {
        return model_step_write(m);
    }
    if (dice < 60 && m->nr_mgmts < MODEL_MGMTS) {
        return model_step_mgmt(m);
    }
    g_free(m->step);
    m->step = g_strdup("an end");
    model_end_one(m, &good);
    return good;
}

static bool model_run(const ZoneGeometry *limits, int steps, uint32_t seed)
{
    Model *m = model_new(limits, seed);
    bool good = true;

    for (int i = 0; i < steps && good; i++) {
        good = model_step(m) && model_compare(m);
        if (!good) {
            g_test_message("limits %u and %u, seed %u, step %d: %s",
                           limits->max_open_zones, limits->max_active_zones,
                           seed, i, m->step);
            g_test_fail();
        }
    }
    if (good) {
        /* Enough of it must have been real, and some must have waited. */
        g_assert_cmpuint(m->nr_success, >, steps / 20);
        g_assert_cmpuint(m->nr_waited, >, steps / 100);
        while (model_end_one(m, &good)) {
            /* Nothing stays in flight */
        }
        zone_table_free(m->t);
    }
    g_rand_free(m->rand);
    g_free(m->step);
    g_free(m);
    return good;
}

static void test_model(void)
{
    static const ZoneGeometry limits[] = {
        { .max_open_zones = 0, .max_active_zones = 0 },
        { .max_open_zones = 1, .max_active_zones = 1 },
        { .max_open_zones = 1, .max_active_zones = 3 },
        { .max_open_zones = 2, .max_active_zones = 2 },
        { .max_open_zones = 2, .max_active_zones = 4 },
        { .max_open_zones = 3, .max_active_zones = 5 },
        { .max_open_zones = 0, .max_active_zones = 3 },
        { .max_open_zones = 3, .max_active_zones = 0 },
    };

    for (int i = 0; i < ARRAY_SIZE(limits); i++) {
        if (!model_run(&limits[i], 15000, i)) {
            return;
        }
    }
}

/* --- Random write areas: a naive model, with data --- */

/* In blocks: positions count from the start of the zone */
#define AREA_ZONES      5
#define AREA_ZONE       64
#define AREA_CAPACITY   48
#define AREA_BLOCKS     8
#define AREA_GRAIN      2
#define AREA_ACTIVE     3
#define AREA_MAX        2
#define AREA_WRITES     64

typedef struct AreaWrite {
    Request r;
    unsigned int stamp;         /* what it writes to each block */
    int from, to;               /* what it writes */
    int start;                  /* what gets readable begins here */
    int commit;
    bool extends, written, failed;
} AreaWrite;

typedef struct AreaZone {
    BlockZoneState state;
    uint8_t attributes;
    int wp, data_end;
    bool nothing_yet;           /* open only by writes that may yet fail */
    bool broken;                /* one failed, others are in flight */
    AreaWrite *writes[AREA_WRITES];     /* in flight, as they began */
    int nr;
    unsigned int store[AREA_ZONE];      /* what "the disk" holds */
    unsigned int want[AREA_ZONE];       /* what is to be read, where readable */
} AreaZone;

typedef struct AreaModel {
    ZoneTable *t;
    GRand *rand;
    AreaZone zones[AREA_ZONES];
    Request mgmt;               /* in progress, on @mgmt_zone */
    int mgmt_zone;              /* -1: none */
    BlockZoneState mgmt_state;  /* what it brings about */
    unsigned int stamp;
    int max_active, max_areas;
    char *step;
    unsigned int nr_acked, nr_waited, nr_overwrites, nr_gaps, nr_commits;
} AreaModel;

static int area_random(AreaModel *m, int n)
{
    return g_rand_int_range(m->rand, 0, n);
}

static bool area_has(const AreaZone *z)
{
    return z->attributes & BDRV_ZA_ZRWA;
}

static bool area_active(BlockZoneState s)
{
    return s == IO || s == EO || s == CL;
}

/* Also those that an operation in progress will need */
static int area_count_active(AreaModel *m)
{
    int n = 0;

    for (int i = 0; i < AREA_ZONES; i++) {
        n += area_active(m->zones[i].state) ||
             (i == m->mgmt_zone && m->mgmt_state == CL);
    }
    return n;
}

static int area_count(AreaModel *m)
{
    int n = 0;

    for (int i = 0; i < AREA_ZONES; i++) {
        n += area_has(&m->zones[i]) ||
             (i == m->mgmt_zone && m->mgmt.op == BLK_ZO_SET_EXT &&
              m->mgmt.flags & BDRV_ZONE_ZRWA);
    }
    return n;
}

static const AreaWrite *area_last(const AreaZone *z)
{
    for (int i = z->nr - 1; i >= 0; i--) {
        if (z->writes[i]->extends) {
            return z->writes[i];
        }
    }
    return NULL;
}

static int area_next_data(const AreaZone *z)
{
    const AreaWrite *last = area_last(z);

    return last ? last->to : z->data_end;
}

static int area_next_wp(const AreaZone *z)
{
    const AreaWrite *last = area_last(z);

    return last ? MAX(last->commit, z->wp) : z->wp;
}

/* What the begin call has to return now, or WAITING */
static int area_begin_write(AreaModel *m, int i, int from, int to)
{
    const AreaZone *z = &m->zones[i];
    int wp = area_next_wp(z);

    if (z->broken || m->mgmt_zone == i) {
        return WAITING;
    }
    for (int k = 0; area_has(z) && k < z->nr; k++) {
        const AreaWrite *w = z->writes[k];

        if (w->extends && from < w->to && to > w->start) {
            return WAITING;
        }
    }
    if (z->state == OF || z->state == RO) {
        return z->state == OF ? -ENODEV : -EROFS;
    }
    if (z->state == FU || wp == AREA_CAPACITY) {
        return -EFBIG;
    }
    if (area_has(z) ? from < wp : from != wp) {
        return -ESPIPE;
    }
    if (to > AREA_CAPACITY) {
        return -ERANGE;
    }
    if (area_has(z) && to > wp + 2 * AREA_BLOCKS) {
        return -ESPIPE;
    }
    return z->state == EM && area_count_active(m) >= m->max_active ?
           -EOVERFLOW : 0;
}

static void area_reserve(AreaModel *m, AreaZone *z, AreaWrite *w)
{
    int wp = area_next_wp(z);

    w->start = area_next_data(z);
    w->extends = w->to > w->start;
    w->stamp = ++m->stamp;
    w->commit = area_has(z) ? wp : w->to;
    while (area_has(z) && w->to > w->commit + AREA_BLOCKS) {
        w->commit += AREA_GRAIN;
    }
    m->nr_overwrites += !w->extends;
    m->nr_gaps += w->extends && w->start < w->from;
    g_assert_cmpint(z->nr, <, AREA_WRITES);
    z->writes[z->nr++] = w;
    z->nothing_yet |= z->state == EM;
    z->state = z->state == EO ? EO : IO;
}

static void area_empty(AreaZone *z)
{
    z->state = EM;
    z->attributes = 0;
    z->wp = z->data_end = 0;
    memset(z->want, 0, sizeof(z->want));
}

static void area_remove(AreaZone *z, int k)
{
    g_free(z->writes[k]);
    z->nr--;
    memmove(&z->writes[k], &z->writes[k + 1],
            (z->nr - k) * sizeof(z->writes[0]));
}

/* Remove those that are done with; what comes with that for the zone */
static bool area_settle(AreaModel *m, AreaZone *z)
{
    bool below = false, good = true;

    for (int k = 0; k < z->nr;) {
        AreaWrite *w = z->writes[k];

        if (!w->extends || !w->written) {
            below |= w->extends;
            k++;
        } else if (w->failed) {
            good &= expect_ret(m->step, w->r.ended, -EIO);
            area_remove(z, k);
        } else if (below) {
            good &= expect_ret(m->step, w->r.ended, WAITING);
            k++;
        } else {
            good &= expect_ret(m->step, w->r.ended, 0);
            for (int b = w->start; b < w->to; b++) {
                z->want[b] = b < w->from ? 0 : w->stamp;
            }
            z->data_end = w->to;
            z->wp = MAX(z->wp, w->commit);
            z->nothing_yet = false;
            m->nr_acked++;
            area_remove(z, k);
        }
    }
    if (z->wp == AREA_CAPACITY) {
        z->state = FU;
        z->attributes &= ~BDRV_ZA_ZRWA;
    }
    if (z->nr == 0) {
        z->broken = false;
        if (z->nothing_yet) {
            area_empty(z);
        }
        z->nothing_yet = false;
    }
    return good;
}

/* The I/O of a write: also what it has to fill with zeroes */
static bool area_end_write(AreaModel *m, AreaZone *z, int k)
{
    AreaWrite *w = z->writes[k];
    int ret = area_random(m, 8) ? 0 : -ENOSPC;
    uint64_t zone = (z - m->zones) * AREA_ZONE;
    bool good = true;

    if (w->extends) {
        good &= expect_value(m->step, "begin", w->r.w.start / BLOCK - zone,
                             w->start);
        for (int b = w->r.w.start / BLOCK - zone; b < w->from; b++) {
            z->store[b] = ret ? UINT_MAX : 0;
        }
    }
    for (int b = w->from; b < w->to; b++) {
        z->store[b] = ret ? UINT_MAX : w->stamp;
        if (!w->extends || b < w->start) {
            z->want[b] = z->store[b];
        }
    }
    w->written = true;
    end_io(&w->r, ret);
    while (aio_poll(qemu_get_aio_context(), false)) {
        /* Others that this one lets go on */
    }
    if (!w->extends) {
        good &= expect_ret(m->step, w->r.ended, ret);
        area_remove(z, k);
    } else if (w->failed) {
        good &= expect_ret(m->step, w->r.ended, ret ? ret : -EIO);
        area_remove(z, k);
    } else if (ret) {
        good &= expect_ret(m->step, w->r.ended, ret);
        for (int above = k + 1; above < z->nr; above++) {
            z->writes[above]->failed = true;
        }
        z->broken = true;
        area_remove(z, k);
    }
    return area_settle(m, z) && good;
}

/* What an operation makes of the zone when it has been stored */
static void area_apply(AreaModel *m, AreaZone *z)
{
    const Request *r = &m->mgmt;

    if (r->op == BLK_ZO_SET_EXT) {
        z->attributes = BDRV_ZA_EXT |
                        (r->flags & BDRV_ZONE_ZRWA ? BDRV_ZA_ZRWA : 0);
    }
    if (r->op == BLK_ZO_FORCE_REPAIR && m->mgmt_state == CL) {
        z->wp = z->data_end;
    }
    if (r->op == BLK_ZO_ZRWA_COMMIT) {
        z->wp = r->bytes / BLOCK;
        m->nr_commits++;
    }
    z->state = m->mgmt_state;
    if (!area_active(z->state)) {
        z->attributes &= ~BDRV_ZA_ZRWA;
    }
    if (z->state == OF) {
        z->attributes &= ~BDRV_ZA_EXT;
    }
    if (z->state == FU) {
        z->wp = AREA_CAPACITY;
    }
    if (z->state == EM) {
        area_empty(z);
    }
}

/* Close and power cycle: without data and extension it gets empty */
static void area_close(AreaZone *z, bool keep)
{
    z->nothing_yet = !keep && z->wp == 0 && z->data_end == 0 &&
                     !(z->attributes & BDRV_ZA_EXT);
    z->state = CL;
    if (z->nothing_yet && z->nr == 0) {
        z->nothing_yet = false;
        area_empty(z);
    }
}

static BlockZoneState area_repaired(const AreaZone *z)
{
    return z->state != RO && z->state != OF ? z->state :
           z->wp == AREA_CAPACITY || z->data_end == AREA_CAPACITY ? FU :
           z->data_end || z->attributes & BDRV_ZA_EXT ? CL : EM;
}

/* The rules for an operation, at the moment when they count */
static int area_check_mgmt(AreaModel *m, const Request *r, int i,
                           BlockZoneState *to)
{
    const AreaZone *z = &m->zones[i];
    bool area = r->flags & BDRV_ZONE_ZRWA, gets_active = false;
    int upto = r->bytes / BLOCK;

    if (area && z->state != EM) {
        return -ENOTTY;
    }
    *to = z->state;
    switch (r->op) {
    case BLK_ZO_OPEN:
        if (z->state != EM && !area_active(z->state)) {
            return -EINVAL;
        }
        *to = EO;
        gets_active = z->state == EM;
        break;
    case BLK_ZO_CLOSE:
        return area_active(z->state) ? 0 : -EINVAL;
    case BLK_ZO_POWER_CYCLE:
        return 0;
    case BLK_ZO_FINISH:
    case BLK_ZO_RESET:
        *to = r->op == BLK_ZO_FINISH ? FU : EM;
        return z->state == RO || z->state == OF ? -EINVAL : 0;
    case BLK_ZO_OFFLINE:
        *to = OF;
        return z->state == RO || z->state == OF ? 0 : -EINVAL;
    case BLK_ZO_SET_EXT:
        if (z->state != EM) {
            return -EINVAL;
        }
        *to = CL;
        gets_active = true;
        break;
    case BLK_ZO_FORCE_RDONLY:
    case BLK_ZO_FORCE_OFFLINE:
        *to = r->op == BLK_ZO_FORCE_RDONLY ? RO : OF;
        return 0;
    case BLK_ZO_FORCE_REPAIR:
        *to = area_repaired(z);
        gets_active = *to == CL && z->state != CL;
        break;
    default:
        if (!area_has(z) || upto <= z->wp || upto > z->wp + AREA_BLOCKS ||
            upto > AREA_CAPACITY) {
            return -ENOTTY;
        }
        *to = upto == AREA_CAPACITY ? FU : z->state;
        return upto % AREA_GRAIN ? -EINVAL : 0;
    }
    if (gets_active && area_count_active(m) >= m->max_active) {
        return -EOVERFLOW;
    }
    return area && area_count(m) >= m->max_areas ? -EUSERS : 0;
}

/* Compare all that can be seen */
static bool area_compare(AreaModel *m)
{
    bool good = true;

    for (int i = 0; i < AREA_ZONES && good; i++) {
        const AreaZone *z = &m->zones[i];
        uint64_t begin = i * AREA_ZONE * BLOCK;
        BlockZoneDescriptor d;
        unsigned int nr = 1;
        ZoneRecord r, stored;
        ZoneTable *copy;
        int64_t n;
        bool data;

        zone_table_report(m->t, begin, &nr, &d);
        n = zone_table_readable(m->t, begin, AREA_ZONE * BLOCK, &data);
        if (z->state == OF) {
            good &= expect_value(m->step, "readable", n, -ENODEV);
        } else {
            good &= expect_value(m->step, "readable", data ? n : 0,
                                 z->data_end * BLOCK);
            for (int b = 0; b < z->data_end; b++) {
                good &= expect_value(m->step, "block", z->store[b],
                                     z->want[b]);
            }
        }
        /* What is stored at any moment makes sense, but for its limits. */
        stored = record_of(m->t, i, false);
        copy = zone_table_new(zone_table_geometry(m->t));
        good &= expect_value(m->step, "stored record is good",
                             zone_table_load(copy, i, &stored), true);
        zone_table_free(copy);
        if (i != m->mgmt_zone) {
            zone_table_record(m->t, i, true, &r);
            good &= expect_state(m->step, d.state, z->state) &
                    expect_value(m->step, "attributes", d.attributes,
                                 z->attributes) &
                    expect_value(m->step, "write pointer", r.wp - begin,
                                 z->wp * BLOCK) &
                    expect_value(m->step, "end of data", r.data_end - begin,
                                 z->data_end * BLOCK);
        }
        if (!good) {
            g_test_message("%s: that was zone %d", m->step, i);
        }
    }
    g_assert_cmpint(area_count_active(m), <=, m->max_active);
    g_assert_cmpint(area_count(m), <=, m->max_areas);
    return good && expect_counts(m->step, m->t);
}

static bool area_end_mgmt(AreaModel *m)
{
    AreaZone *z = &m->zones[m->mgmt_zone];
    int ret = area_random(m, 4) ? 0 : -EIO;
    bool good = expect_ret(m->step, finish(&m->mgmt, ret), ret);

    if (ret == 0) {
        area_apply(m, z);
    }
    m->mgmt_zone = -1;
    return good;
}

/* Let one request in progress end; false if there is none, or on failure */
static bool area_end_one(AreaModel *m, bool *good)
{
    int n = m->mgmt_zone >= 0, k;

    for (int i = 0; i < AREA_ZONES; i++) {
        for (int j = 0; j < m->zones[i].nr; j++) {
            n += !m->zones[i].writes[j]->written;
        }
    }
    if (n == 0) {
        return false;
    }
    k = area_random(m, n);
    if (m->mgmt_zone >= 0 && k-- == 0) {
        *good = area_end_mgmt(m);
        return true;
    }
    for (int i = 0; i < AREA_ZONES; i++) {
        for (int j = 0; j < m->zones[i].nr; j++) {
            if (!m->zones[i].writes[j]->written && k-- == 0) {
                *good = area_end_write(m, &m->zones[i], j);
                return true;
            }
        }
    }
    g_assert_not_reached();
}

static bool area_step_write(AreaModel *m)
{
    int i = area_random(m, AREA_ZONES), want;
    AreaZone *z = &m->zones[i];
    AreaWrite *w = g_new0(AreaWrite, 1);
    int base = area_random(m, 2) ? area_next_wp(z) : area_next_data(z);
    bool good = true;

    w->from = base + (area_has(z) ? area_random(m, 12) - 2 :
                      area_random(m, 8) ? 0 : area_random(m, 4));
    w->from = MIN(MAX(w->from, 0), AREA_ZONE - 1);
    w->to = MIN(w->from + 1 + area_random(m, area_random(m, 8) ? 4 : 20),
                AREA_ZONE);
    g_free(m->step);
    m->step = g_strdup_printf("write to zone %d of blocks %d to %d", i,
                              w->from, w->to - 1);
    want = area_begin_write(m, i, w->from, w->to);
    start_write(&w->r, m->t, (i * AREA_ZONE + w->from) * BLOCK,
                (w->to - w->from) * BLOCK);
    while (want == WAITING) {
        m->nr_waited++;
        good &= expect_ret(m->step, w->r.begun, WAITING);
        if (!good || !area_end_one(m, &good) || !good) {
            return false;
        }
        want = area_begin_write(m, i, w->from, w->to);
    }
    good = expect_ret(m->step, w->r.begun, want);
    if (good && want == 0) {
        area_reserve(m, z, w);
    } else {
        g_free(w);
    }
    return good;
}

static bool area_step_mgmt(AreaModel *m)
{
    static const BlockZoneOp ops[] = {
        BLK_ZO_OPEN, BLK_ZO_OPEN, BLK_ZO_OPEN, BLK_ZO_CLOSE, BLK_ZO_FINISH,
        BLK_ZO_RESET, BLK_ZO_RESET, BLK_ZO_SET_EXT, BLK_ZO_POWER_CYCLE,
        BLK_ZO_ZRWA_COMMIT, BLK_ZO_ZRWA_COMMIT, BLK_ZO_ZRWA_COMMIT,
        BLK_ZO_FORCE_RDONLY, BLK_ZO_FORCE_OFFLINE, BLK_ZO_FORCE_REPAIR,
        BLK_ZO_FORCE_REPAIR, BLK_ZO_OFFLINE,
    };
    int i = area_random(m, AREA_ZONES);
    AreaZone *z = &m->zones[i];
    Request r = {
        .t = m->t, .kind = MGMT, .op = ops[area_random(m, ARRAY_SIZE(ops))],
        .offset = i * AREA_ZONE * BLOCK, .bytes = AREA_ZONE * BLOCK,
    };
    bool commits, good = true;
    BlockZoneState to;
    int want = 0;

    if (area_random(m, 4)) {
        /* What gets the zone on, to be written to again */
        r.op = z->state == EM ? BLK_ZO_OPEN : z->state == FU ? BLK_ZO_RESET :
               area_active(z->state) ? BLK_ZO_ZRWA_COMMIT :
               BLK_ZO_FORCE_REPAIR;
    }
    if (m->mgmt_zone >= 0 && !area_end_mgmt(m)) {
        return false;
    }
    if (r.op == BLK_ZO_OPEN || r.op == BLK_ZO_SET_EXT) {
        r.flags = area_random(m, 4) ? BDRV_ZONE_ZRWA : 0;
    } else if (r.op == BLK_ZO_CLOSE) {
        r.flags = area_random(m, 2) ? BDRV_ZONE_CLOSE_EMPTY : 0;
    } else if (r.op == BLK_ZO_ZRWA_COMMIT) {
        r.bytes = MAX(z->wp + area_random(m, 7) * AREA_GRAIN - 2, 1) * BLOCK;
        r.bytes += area_random(m, 8) ? 0 : BLOCK;
    }
    g_free(m->step);
    m->step = g_strdup_printf("op %d, flags %d, to zone %d, bytes 0x%" PRIx64,
                              r.op, r.flags, i, r.bytes);
    commits = r.op != BLK_ZO_OPEN && r.op != BLK_ZO_CLOSE &&
              r.op != BLK_ZO_POWER_CYCLE;
    if (r.op != BLK_ZO_ZRWA_COMMIT) {
        want = area_check_mgmt(m, &r, i, &to);
    }
    start(&m->mgmt, &r);
    /* A zone that is what it is to be, or that has no repair, is not held up */
    while (want == 0 && commits && z->nr && (r.op == BLK_ZO_ZRWA_COMMIT ||
                                             to != z->state)) {
        m->nr_waited++;
        good &= expect_ret(m->step, m->mgmt.begun, WAITING);
        if (!good || !area_end_one(m, &good) || !good) {
            return false;
        }
    }
    if (r.op == BLK_ZO_ZRWA_COMMIT) {
        want = area_check_mgmt(m, &r, i, &to);
    }
    good = expect_ret(m->step, m->mgmt.begun, want);
    if (!good || want < 0) {
        return good;
    }
    if (commits) {
        if (to == z->state && r.op != BLK_ZO_ZRWA_COMMIT) {
            /* Nothing is held up, so the end is all the same */
            return expect_ret(m->step, finish(&m->mgmt, 0), 0);
        }
        m->mgmt_zone = i;
        m->mgmt_state = to;
        return true;
    }
    if (r.op == BLK_ZO_OPEN) {
        z->state = EO;
        z->nothing_yet = false;
        z->attributes |= r.flags & BDRV_ZONE_ZRWA ? BDRV_ZA_ZRWA : 0;
    } else if (r.op == BLK_ZO_CLOSE ? z->state != CL : area_active(z->state)) {
        area_close(z, r.flags & BDRV_ZONE_CLOSE_EMPTY);
    }
    return expect_ret(m->step, finish(&m->mgmt, 0), 0);
}

static bool area_step(AreaModel *m)
{
    int dice = area_random(m, 100);
    bool good = true;

    if (dice < 50) {
        return area_step_write(m);
    }
    if (dice < 62) {
        return area_step_mgmt(m);
    }
    g_free(m->step);
    m->step = g_strdup("an end");
    area_end_one(m, &good);
    return good;
}

static void test_area_model(void)
{
    static const struct {
        int max_active, max_areas;
    } limits[] = { { 3, 2 }, { 1, 1 }, { 5, 5 }, { 4, 1 } };
    ZoneGeometry g = {
        .size = AREA_ZONES * AREA_ZONE * BLOCK,
        .zone_size = AREA_ZONE * BLOCK,
        .zone_capacity = AREA_CAPACITY * BLOCK,
        .max_append = BLOCK,
        .write_granularity = BLOCK,
        .ext_size = 64,
        .zrwa_size = AREA_BLOCKS * BLOCK,
        .zrwa_granularity = AREA_GRAIN * BLOCK,
    };

    for (int l = 0; l < ARRAY_SIZE(limits); l++) {
        AreaModel *m = g_new0(AreaModel, 1);
        bool good = true;

        g.max_active_zones = m->max_active = limits[l].max_active;
        g.max_zrwa_zones = m->max_areas = limits[l].max_areas;
        m->t = zone_table_new(&g);
        m->rand = g_rand_new_with_seed(l);
        m->mgmt_zone = -1;
        for (int i = 0; i < AREA_ZONES; i++) {
            area_empty(&m->zones[i]);
            memset(m->zones[i].store, 0xff, sizeof(m->zones[i].store));
        }
        for (int i = 0; i < 100000 && good; i++) {
            good = area_step(m) && area_compare(m);
            if (!good) {
                g_test_message("limits %d, step %d: %s", l, i, m->step);
                g_test_fail();
            }
        }
        if (good) {
            /* Enough of everything must have been. */
            g_test_message("%u acknowledged, %u waits, %u overwrites, "
                           "%u gaps, %u commits", m->nr_acked, m->nr_waited,
                           m->nr_overwrites, m->nr_gaps, m->nr_commits);
            g_assert_cmpuint(m->nr_acked, >, 5000);
            g_assert_cmpuint(m->nr_waited, >, 500);
            g_assert_cmpuint(m->nr_overwrites, >, 300);
            g_assert_cmpuint(m->nr_gaps, >, 300);
            g_assert_cmpuint(m->nr_commits, >, 50);
            while (area_end_one(m, &good)) {
                /* Nothing stays in flight */
            }
            zone_table_free(m->t);
        }
        g_rand_free(m->rand);
        g_free(m->step);
        g_free(m);
    }
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/zone-table/append/returns-position",
                    test_append_returns_position);
    g_test_add_func("/zone-table/states/every-write-and-append",
                    test_data_matrix);
    g_test_add_func("/zone-table/states/every-management-operation",
                    test_mgmt_matrix);
    g_test_add_func("/zone-table/states/select-all-leaves-others-alone",
                    test_select_all_mixed);
    g_test_add_func("/zone-table/range/changes-every-zone",
                    test_range_changes_every_zone);
    g_test_add_func("/zone-table/range/all-or-nothing",
                    test_range_all_or_nothing);
    g_test_add_func("/zone-table/range/wants-whole-zones",
                    test_mgmt_wants_whole_zones);
    g_test_add_func("/zone-table/range/stays-in-the-device",
                    test_requests_outside_the_device);
    g_test_add_func("/zone-table/append/honours-its-limit",
                    test_append_limit);
    g_test_add_func("/zone-table/append/nothing-is-behind-writes-in-flight",
                    test_append_nothing_in_flight);
    g_test_add_func("/zone-table/conventional/writes-go-anywhere",
                    test_conventional_zones);
    g_test_add_func("/zone-table/conventional/whole-device",
                    test_conventional_only);
    g_test_add_func("/zone-table/conventional/io-error-is-no-rule-errno",
                    test_conventional_io_errors);
    g_test_add_func("/zone-table/geometry/is-kept", test_geometry);
    g_test_add_func("/zone-table/geometry/last-zone-may-be-short",
                    test_short_last_zone);
    g_test_add_func("/zone-table/geometry/capacity-may-be-the-size",
                    test_capacity_equals_size);
    g_test_add_func("/zone-table/geometry/writes-come-in-its-units",
                    test_granularity);
    g_test_add_func("/zone-table/report/ends-with-the-device", test_report);
    g_test_add_func("/zone-table/report/state-names", test_state_names);
    g_test_add_func("/zone-table/resources/open-one-more", test_resources);
    g_test_add_func("/zone-table/resources/filling-write-needs-them",
                    test_resources_for_filling_write);
    g_test_add_func("/zone-table/resources/checked-last",
                    test_resources_last);
    g_test_add_func("/zone-table/resources/finish-takes-none",
                    test_finish_takes_no_resource);
    g_test_add_func("/zone-table/resources/come-back",
                    test_resources_come_back);
    g_test_add_func("/zone-table/resources/least-recently-written-closed",
                    test_implicit_close_order);
    g_test_add_func("/zone-table/resources/explicit-never-closed",
                    test_explicit_never_closed);
    g_test_add_func("/zone-table/resources/open-range-all-or-nothing",
                    test_open_range);
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
    g_test_add_func("/zone-table/failure/earliest-decides",
                    test_failures);
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
    g_test_add_func("/zone-table/record/round-trip", test_record_round_trip);
    g_test_add_func("/zone-table/record/senseless-is-refused",
                    test_record_rejected);
    g_test_add_func("/zone-table/record/of-conventional-zone",
                    test_record_of_conventional);
    g_test_add_func("/zone-table/record/follows-zone",
                    test_record_follows_zone);
    g_test_add_func("/zone-table/record/attributes-last-until-reset",
                    test_attributes);
    g_test_add_func("/zone-table/dirty/what-changes-the-record",
                    test_dirty_causes);
    g_test_add_func("/zone-table/dirty/taken-in-blocks", test_dirty_blocks);
    g_test_add_func("/zone-table/readable/ends-where-data-ends",
                    test_readable);
    g_test_add_func("/zone-table/readable/goes-on-over-zones",
                    test_readable_over_zones);
    g_test_add_func("/zone-table/readable/stops-at-an-offline-zone",
                    test_readable_offline);
    g_test_add_func("/zone-table/readable/follows-acknowledgement",
                    test_readable_follows_acknowledgement);
    g_test_add_func("/zone-table/resize/new-zones-are-empty", test_grow);
    g_test_add_func("/zone-table/resize/zones-go", test_shrink);
    g_test_add_func("/zone-table/resize/zones-that-change-must-be-empty",
                    test_resize_in_the_way);
    g_test_add_func("/zone-table/resize/not-during-finish",
                    test_resize_during_finish);
    g_test_add_func("/zone-table/limits/can-change", test_set_limits);
    g_test_add_func("/zone-table/zns/attributes-through-every-transition",
                    test_attributes_everywhere);
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
    g_test_add_func("/zone-table/zrwa/where-writes-may-be", test_area_writes);
    g_test_add_func("/zone-table/zrwa/what-can-be-committed",
                    test_area_commits);
    g_test_add_func("/zone-table/zrwa/nothing-to-commit-without-one",
                    test_commit_without_area);
    g_test_add_func("/zone-table/zrwa/short-last-zone",
                    test_area_in_short_zone);
    g_test_add_func("/zone-table/zrwa/resources-come-back",
                    test_area_resources_come_back);
    g_test_add_func("/zone-table/zrwa/no-more-than-there-are", test_area_limit);
    g_test_add_func("/zone-table/zrwa/more-than-there-are",
                    test_area_limit_exceeded);
    g_test_add_func("/zone-table/zrwa/only-for-empty-zones",
                    test_area_wants_empty_zone);
    g_test_add_func("/zone-table/zrwa/survives-reopening",
                    test_area_survives_reopening);
    g_test_add_func("/zone-table/zrwa/takes-no-append",
                    test_area_takes_no_append);
    g_test_add_func("/zone-table/zrwa/full-by-commit-only",
                    test_area_full_cycle);
    g_test_add_func("/zone-table/zrwa/every-order-and-failure",
                    test_area_orders);
    g_test_add_func("/zone-table/zrwa/writes-that-overlap-wait",
                    test_area_contention);
    g_test_add_func("/zone-table/zrwa/waiting-writes-go-on", test_area_waiters);
    g_test_add_func("/zone-table/zrwa/waiting-write-is-checked-anew",
                    test_area_waiting_checked_anew);
    g_test_add_func("/zone-table/zrwa/moved-by-writes-in-flight",
                    test_area_moved_in_flight);
    g_test_add_func("/zone-table/zrwa/failed-overwrite-fails-alone",
                    test_area_failed_overwrite);
    g_test_add_func("/zone-table/zrwa/management-waits-for-overwrites",
                    test_mgmt_waits_for_overwrite);
    g_test_add_func("/zone-table/zrwa/commit-in-progress",
                    test_commit_in_progress);
    g_test_add_func("/zone-table/zrwa/refused-commit-wakes-others",
                    test_refused_commit_wakes_others);
    g_test_add_func("/zone-table/zrwa/commit-and-reset", test_commit_and_reset);
    g_test_add_func("/zone-table/zrwa/commit-waits-while-resized",
                    test_commit_waits_while_resized);
    g_test_add_func("/zone-table/zrwa/commit-of-zone-closed-meanwhile",
                    test_commit_of_zone_closed_meanwhile);
    g_test_add_func("/zone-table/zrwa/records", test_area_records);
    g_test_add_func("/zone-table/zrwa/readable", test_area_readable);
    g_test_add_func("/zone-table/threads/keep-the-rules", test_threads);
    g_test_add_func("/zone-table/threads/keep-the-rules-of-areas",
                    test_area_threads);
    g_test_add_func("/zone-table/model/agrees-over-random-requests",
                    test_model);
    g_test_add_func("/zone-table/model/agrees-with-random-write-areas",
                    test_area_model);
    return g_test_run();
}
