/*
 * Unit tests of the zones of host devices (include/block/host-zones.h)
 *
 * The device is a few zones in memory with the rules of a real one: it
 * refuses what is not at its write pointer with EIO, and its reports are
 * counted.  I/O of a request lasts until the test lets it go on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "block/block_int.h"
#include "block/block-zoned.h"
#include "block/host-zones.h"

#define ZONE        (1 * MiB)
#define CAPACITY    (768 * KiB)
#define BLOCK       (4 * KiB)
#define NR_ZONES    8
#define NR_CONV     2
#define LAST        (NR_ZONES - 1)      /* is only half a zone */
#define SIZE        (LAST * ZONE + ZONE / 2)

#define WAITING     INT_MAX

/* --- The device --- */

static struct {
    uint64_t wp;            /* from the zone's start */
    BlockZoneState state;
    BlockZoneType type;
} device[NR_ZONES];

static BlockDriverState *bs;
static unsigned reports;
static int report_error;

static uint64_t zone_length(unsigned i)
{
    return i == LAST ? ZONE / 2 : ZONE;
}

static uint64_t zone_capacity(unsigned i)
{
    return device[i].type == BLK_ZT_CONV ? ZONE : MIN(zone_length(i), CAPACITY);
}

static int coroutine_fn report(BlockDriverState *node, int64_t offset,
                               unsigned int *nr_zones,
                               BlockZoneDescriptor *zones)
{
    unsigned first = offset / ZONE;

    g_assert_true(node == bs);
    reports++;
    if (report_error) {
        return report_error;
    }
    *nr_zones = MIN(*nr_zones, NR_ZONES - first);
    for (unsigned k = 0; k < *nr_zones; k++) {
        unsigned i = first + k;

        zones[k] = (BlockZoneDescriptor) {
            .start = i * ZONE,
            .length = zone_length(i),
            .cap = zone_capacity(i),
            .wp = i * ZONE + (device[i].state == BLK_ZS_FULL ? zone_length(i)
                                                             : device[i].wp),
            .type = device[i].type,
            .state = device[i].state,
        };
    }
    return 0;
}

static void device_set(unsigned i, BlockZoneState state, uint64_t wp)
{
    device[i].state = state;
    device[i].wp = wp;
}

static int device_write(uint64_t offset, uint64_t bytes)
{
    unsigned i = offset / ZONE;
    uint64_t from = offset % ZONE;

    if (device[i].type == BLK_ZT_CONV) {
        return 0;
    }
    if (from != device[i].wp || from + bytes > zone_capacity(i) ||
        device[i].state > BLK_ZS_CLOSED) {
        return -EIO;
    }
    device_set(i, from + bytes == zone_capacity(i) ? BLK_ZS_FULL : BLK_ZS_IOPEN,
               from + bytes);
    return 0;
}

static HostZones *new_zones(void)
{
    for (unsigned i = 0; i < NR_ZONES; i++) {
        device[i].type = i < NR_CONV ? BLK_ZT_CONV : BLK_ZT_SWR;
        device_set(i, i < NR_CONV ? BLK_ZS_NOT_WP : BLK_ZS_EMPTY, 0);
    }
    reports = 0;
    report_error = 0;
    return host_zones_new(bs, report, NR_ZONES, ZONE, BLOCK);
}

/* --- Requests: each one in a coroutine of its own --- */

typedef enum Kind { WRITE, APPEND, MGMT } Kind;

typedef struct Request {
    HostZones *z;
    Kind kind;
    BlockZoneOp op;
    BlockZoneFlags flags;
    int64_t offset, bytes;
    bool slow;              /* its I/O waits for finish() */
    int fault;              /* of the device, instead of doing it */

    bool in_device;         /* waits there */
    int ret;
    Coroutine *co;
} Request;

static int device_do(const Request *r)
{
    if (r->fault) {
        return r->fault;
    }
    if (r->kind == MGMT) {
        for (uint64_t o = r->offset; o < r->offset + r->bytes; o += ZONE) {
            unsigned i = o / ZONE;

            if (device[i].state <= BLK_ZS_CLOSED ||
                device[i].state == BLK_ZS_FULL) {
                if (device[i].state != BLK_ZS_NOT_WP) {
                    device_set(i, r->op == BLK_ZO_RESET ? BLK_ZS_EMPTY
                                                        : BLK_ZS_FULL, 0);
                }
            }
        }
        return 0;
    }
    return r->bytes ? device_write(r->offset, r->bytes) : 0;
}

static void coroutine_fn run_request(void *opaque)
{
    Request *r = opaque;
    HostZoneWrite w;
    int ret;

    r->ret = WAITING;
    if (r->kind == MGMT) {
        ret = host_zones_begin_mgmt(r->z, r->op, r->flags, r->offset,
                                    r->bytes);
    } else {
        ret = host_zones_begin_write(r->z, &w, r->kind == APPEND, &r->offset,
                                     r->bytes);
    }
    if (ret != 0) {
        r->ret = ret;
        return;
    }
    if (r->slow) {
        r->in_device = true;
        qemu_coroutine_yield();
        r->in_device = false;
    }
    ret = device_do(r);
    r->ret = r->kind == MGMT
             ? host_zones_end_mgmt(r->z, r->offset, r->bytes, ret)
             : host_zones_end_write(r->z, &w, ret);
}

static void poll_loop(void)
{
    while (aio_poll(qemu_get_aio_context(), false)) {
        /* more to do */
    }
}

static void start(Request *r)
{
    r->co = qemu_coroutine_create(run_request, r);
    qemu_coroutine_enter(r->co);
    poll_loop();
}

static void finish(Request *r)
{
    g_assert_true(r->in_device);
    qemu_coroutine_enter(r->co);
    poll_loop();
}

static int run(Request r)
{
    start(&r);
    return r.ret;
}

static int write_at(HostZones *z, int64_t offset, int64_t bytes)
{
    return run((Request) { .z = z, .offset = offset, .bytes = bytes });
}

static int append(HostZones *z, unsigned zone, int64_t bytes, int64_t *place)
{
    Request r = {
        .z = z, .kind = APPEND, .offset = zone * ZONE, .bytes = bytes,
    };

    start(&r);
    *place = r.offset;
    return r.ret;
}

static int mgmt(HostZones *z, BlockZoneOp op, unsigned zone)
{
    return run((Request) {
        .z = z, .kind = MGMT, .op = op, .offset = zone * ZONE,
        .bytes = zone_length(zone),
    });
}

/* --- Tests --- */

static void test_writes(void)
{
    HostZones *z = new_zones();

    g_assert_cmpint(reports, ==, 0);
    g_assert_cmpint(write_at(z, 3 * ZONE, 8 * KiB), ==, 0);
    g_assert_cmpint(write_at(z, 3 * ZONE + 8 * KiB, 4 * KiB), ==, 0);
    g_assert_cmpint(reports, ==, 1);
    g_assert_cmpint(write_at(z, 3 * ZONE, 4 * KiB), ==, -ESPIPE);
    g_assert_cmpint(write_at(z, 3 * ZONE + 16 * KiB, 4 * KiB), ==, -ESPIPE);
    g_assert_cmpint(write_at(z, 3 * ZONE + 12 * KiB, 512), ==, -ESPIPE);
    g_assert_cmpint(write_at(z, 3 * ZONE + 12 * KiB, CAPACITY), ==, -ERANGE);
    g_assert_cmpint(write_at(z, 3 * ZONE + 12 * KiB, ZONE), ==, -ERANGE);
    g_assert_cmpint(device[3].wp, ==, 12 * KiB);
    g_assert_cmpint(write_at(z, 3 * ZONE + 12 * KiB, CAPACITY - 12 * KiB), ==,
                    0);
    g_assert_cmpint(write_at(z, 3 * ZONE + CAPACITY, 4 * KiB), ==, -EFBIG);
    g_assert_cmpint(write_at(z, 3 * ZONE, 4 * KiB), ==, -EFBIG);
    host_zones_free(z);
}

static void test_conventional(void)
{
    HostZones *z = new_zones();
    int64_t place;

    g_assert_cmpint(write_at(z, ZONE - 4 * KiB, 8 * KiB), ==, 0);
    g_assert_cmpint(write_at(z, 512, 512), ==, 0);
    g_assert_cmpint(write_at(z, 2 * ZONE - 4 * KiB, 8 * KiB), ==, -ERANGE);
    g_assert_cmpint(append(z, 0, 4 * KiB, &place), ==, -EINVAL);
    g_assert_cmpint(mgmt(z, BLK_ZO_RESET, 1), ==, -EINVAL);
    host_zones_free(z);
}

static void test_out_of_range(void)
{
    static const int64_t offsets[] = {
        -1, -(int64_t)ZONE, NR_ZONES * ZONE, 1 * TiB, INT64_MAX & ~(ZONE - 1),
        (1ll << 32) * ZONE + 3 * ZONE,      /* 3 in 32 bits */
    };
    HostZones *z = new_zones();

    for (unsigned i = 0; i < ARRAY_SIZE(offsets); i++) {
        g_assert_cmpint(write_at(z, offsets[i], 4 * KiB), ==, -ERANGE);
        g_assert_cmpint(run((Request) {
            .z = z, .kind = APPEND, .offset = offsets[i], .bytes = 4 * KiB,
        }), ==, -EINVAL);
        g_assert_cmpint(run((Request) {
            .z = z, .kind = MGMT, .op = BLK_ZO_RESET, .offset = offsets[i],
            .bytes = ZONE,
        }), ==, -EINVAL);
    }
    g_assert_cmpint(run((Request) {
        .z = z, .kind = MGMT, .op = BLK_ZO_RESET, .offset = 3 * ZONE,
        .bytes = 0,
    }), ==, -EINVAL);
    g_assert_cmpint(run((Request) {
        .z = z, .kind = MGMT, .op = BLK_ZO_RESET, .offset = 3 * ZONE + BLOCK,
        .bytes = ZONE,
    }), ==, -EINVAL);
    g_assert_cmpint(run((Request) {
        .z = z, .kind = MGMT, .op = BLK_ZO_RESET, .offset = 3 * ZONE,
        .bytes = ZONE / 2,
    }), ==, -EINVAL);
    g_assert_cmpint(reports, ==, 0);
    host_zones_free(z);
}

static void test_appends(void)
{
    HostZones *z = new_zones();
    int64_t place;

    g_assert_cmpint(append(z, 3, 4 * KiB, &place), ==, 0);
    g_assert_cmpint(place, ==, 3 * ZONE);
    g_assert_cmpint(append(z, 3, 8 * KiB, &place), ==, 0);
    g_assert_cmpint(place, ==, 3 * ZONE + 4 * KiB);
    g_assert_cmpint(append(z, 3, 0, &place), ==, 0);
    g_assert_cmpint(place, ==, 3 * ZONE + 12 * KiB);
    g_assert_cmpint(append(z, 3, 512, &place), ==, -ESPIPE);
    g_assert_cmpint(append(z, 3, CAPACITY, &place), ==, -ERANGE);
    g_assert_cmpint(append(z, 3, CAPACITY - 12 * KiB, &place), ==, 0);
    g_assert_cmpint(append(z, 3, 4 * KiB, &place), ==, -EFBIG);
    g_assert_cmpint(device[4].wp, ==, 0);
    g_assert_cmpint(run((Request) {
        .z = z, .kind = APPEND, .offset = 4 * ZONE + BLOCK, .bytes = BLOCK,
    }), ==, -EINVAL);
    host_zones_free(z);
}

static void test_unwritable(void)
{
    static const struct {
        BlockZoneState state;
        int ret;
    } cases[] = {
        { BLK_ZS_FULL, -EFBIG },
        { BLK_ZS_RDONLY, -EROFS },
        { BLK_ZS_OFFLINE, -ENODEV },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        HostZones *z = new_zones();
        int64_t place;

        device_set(3, cases[i].state, 0);
        g_assert_cmpint(write_at(z, 3 * ZONE, 4 * KiB), ==, cases[i].ret);
        g_assert_cmpint(append(z, 3, 4 * KiB, &place), ==, cases[i].ret);
        g_assert_cmpint(device[4].wp, ==, 0);
        host_zones_free(z);
    }
}

/* A zone that the device takes away while it is written */
static void test_worn_out(void)
{
    HostZones *z = new_zones();

    g_assert_cmpint(write_at(z, 3 * ZONE, 4 * KiB), ==, 0);
    device_set(3, BLK_ZS_RDONLY, 4 * KiB);
    g_assert_cmpint(write_at(z, 3 * ZONE + 4 * KiB, 4 * KiB), ==, -EROFS);
    device_set(3, BLK_ZS_OFFLINE, 0);
    g_assert_cmpint(write_at(z, 3 * ZONE + 4 * KiB, 4 * KiB), ==, -ENODEV);
    host_zones_free(z);
}

static void test_swp(void)
{
    HostZones *z = new_zones();
    int64_t place;

    device[3].type = BLK_ZT_SWP;
    g_assert_cmpint(append(z, 3, 4 * KiB, &place), ==, -EINVAL);
    g_assert_cmpint(run((Request) {
        .z = z, .offset = 3 * ZONE + 64 * KiB, .bytes = 512, .fault = -EAGAIN,
    }), ==, -EAGAIN);       /* it came to the device */
    /* Also across zones, if the other one requires none */
    device[4].type = BLK_ZT_SWP;
    g_assert_cmpint(run((Request) {
        .z = z, .offset = 4 * ZONE - 4 * KiB, .bytes = 8 * KiB,
        .fault = -EAGAIN,
    }), ==, -EAGAIN);
    g_assert_cmpint(write_at(z, 5 * ZONE - 4 * KiB, 8 * KiB), ==, -ERANGE);
    host_zones_free(z);
}

/* What others do to the device is found out before a request is refused. */
static void test_others(void)
{
    HostZones *z = new_zones();
    int64_t place;

    g_assert_cmpint(write_at(z, 3 * ZONE, 64 * KiB), ==, 0);
    device_set(3, BLK_ZS_EMPTY, 0);
    g_assert_cmpint(write_at(z, 3 * ZONE, 4 * KiB), ==, 0);
    device_set(3, BLK_ZS_IOPEN, 16 * KiB);
    g_assert_cmpint(write_at(z, 3 * ZONE + 16 * KiB, 4 * KiB), ==, 0);
    device_set(3, BLK_ZS_IOPEN, 32 * KiB);
    host_zones_forget(z);
    g_assert_cmpint(append(z, 3, 4 * KiB, &place), ==, 0);
    g_assert_cmpint(place, ==, 3 * ZONE + 32 * KiB);
    /* Not told, an append fails once and does no harm */
    device_set(3, BLK_ZS_IOPEN, 64 * KiB);
    g_assert_cmpint(append(z, 3, 4 * KiB, &place), ==, -EIO);
    g_assert_cmpint(append(z, 3, 4 * KiB, &place), ==, 0);
    g_assert_cmpint(place, ==, 3 * ZONE + 64 * KiB);
    host_zones_free(z);
}

/* After an error the write pointer is where the device has it. */
static void test_errors(void)
{
    HostZones *z = new_zones();
    Request r = { .z = z, .offset = 3 * ZONE, .bytes = 16 * KiB, .slow = true,
                  .fault = -EIO };
    int64_t place;

    start(&r);
    device_set(3, BLK_ZS_IOPEN, 4 * KiB);   /* a part of it */
    finish(&r);
    g_assert_cmpint(r.ret, ==, -EIO);
    g_assert_cmpint(append(z, 3, 4 * KiB, &place), ==, 0);
    g_assert_cmpint(place, ==, 3 * ZONE + 4 * KiB);
    host_zones_free(z);
}

/* Which errors of the device keep their number, and what the others become */
static void test_error_numbers(void)
{
    static const struct {
        int fault, write, mgmt;
    } cases[] = {
        { -EIO, -EIO, -EIO },
        { -ENOSPC, -ENOSPC, -ENOSPC },
        { -ETOOMANYREFS, -ETOOMANYREFS, -ETOOMANYREFS },
        { -EOVERFLOW, -EOVERFLOW, -EOVERFLOW },
        { -ENODEV, -EIO, -EIO },
        { -EROFS, -EIO, -EIO },
        { -ESPIPE, -EIO, -EIO },
        { -EINVAL, -EIO, -EIO },
        { -ENOTSUP, -ENOTSUP, -ENOTSUP },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        HostZones *z = new_zones();

        g_assert_cmpint(run((Request) {
            .z = z, .offset = 3 * ZONE, .bytes = BLOCK, .fault = cases[i].fault,
        }), ==, cases[i].write);
        g_assert_cmpint(run((Request) {
            .z = z, .kind = MGMT, .op = BLK_ZO_OPEN, .offset = 3 * ZONE,
            .bytes = ZONE, .fault = cases[i].fault,
        }), ==, cases[i].mgmt);
        host_zones_free(z);
    }
}

static void test_report_error(void)
{
    HostZones *z = new_zones();

    report_error = -EIO;
    g_assert_cmpint(write_at(z, 3 * ZONE, BLOCK), ==, -EIO);
    report_error = -ENODEV;
    g_assert_cmpint(mgmt(z, BLK_ZO_RESET, 3), ==, -EIO);
    report_error = 0;
    g_assert_cmpint(write_at(z, 3 * ZONE, BLOCK), ==, 0);
    report_error = -EIO;        /* while it explains an error */
    g_assert_cmpint(run((Request) {
        .z = z, .offset = 3 * ZONE + BLOCK, .bytes = BLOCK, .fault = -EIO,
    }), ==, -EIO);
    report_error = 0;
    g_assert_cmpint(write_at(z, 3 * ZONE + BLOCK, BLOCK), ==, 0);
    host_zones_free(z);
}

static void test_smaller_last_zone(void)
{
    HostZones *z = new_zones();
    int64_t place;

    g_assert_cmpint(append(z, LAST, ZONE / 2 + BLOCK, &place), ==, -ERANGE);
    g_assert_cmpint(append(z, LAST, ZONE / 2, &place), ==, 0);
    g_assert_cmpint(mgmt(z, BLK_ZO_RESET, LAST), ==, 0);
    g_assert_cmpint(append(z, LAST, BLOCK, &place), ==, 0);
    g_assert_cmpint(place, ==, LAST * ZONE);
    g_assert_cmpint(mgmt(z, BLK_ZO_FINISH, LAST), ==, 0);
    g_assert_cmpint(append(z, LAST, BLOCK, &place), ==, -EFBIG);
    host_zones_free(z);
}

static void test_mgmt(void)
{
    static const struct {
        BlockZoneState state;
        int open, close, finish, reset;
    } cases[] = {
        { BLK_ZS_EMPTY, 0, -EINVAL, 0, 0 },
        { BLK_ZS_IOPEN, 0, 0, 0, 0 },
        { BLK_ZS_EOPEN, 0, 0, 0, 0 },
        { BLK_ZS_CLOSED, 0, 0, 0, 0 },
        { BLK_ZS_FULL, -EINVAL, -EINVAL, 0, 0 },
        { BLK_ZS_RDONLY, -EINVAL, -EINVAL, -EINVAL, -EINVAL },
        { BLK_ZS_OFFLINE, -EINVAL, -EINVAL, -EINVAL, -EINVAL },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        HostZones *z = new_zones();

        device_set(3, cases[i].state, 0);
        g_assert_cmpint(mgmt(z, BLK_ZO_OPEN, 3), ==, cases[i].open);
        device_set(3, cases[i].state, 0);
        g_assert_cmpint(mgmt(z, BLK_ZO_CLOSE, 3), ==, cases[i].close);
        device_set(3, cases[i].state, 0);
        g_assert_cmpint(mgmt(z, BLK_ZO_FINISH, 3), ==, cases[i].finish);
        device_set(3, cases[i].state, 0);
        g_assert_cmpint(mgmt(z, BLK_ZO_RESET, 3), ==, cases[i].reset);
        host_zones_free(z);
    }
}

/*
 * As in ZBC, OPEN and CLOSE are GOOD where nothing is to be done; the device is not
 * asked, because Linux would make that an error of some.
 */
static void test_lenient(void)
{
    static const struct {
        BlockZoneState state;
        int open, close;        /* 1: without the device */
    } cases[] = {
        { BLK_ZS_EMPTY, 0, 1 },
        { BLK_ZS_IOPEN, 0, 0 },
        { BLK_ZS_EOPEN, 0, 0 },
        { BLK_ZS_CLOSED, 0, 0 },
        { BLK_ZS_FULL, 1, 1 },
        { BLK_ZS_RDONLY, -EINVAL, -EINVAL },
        { BLK_ZS_OFFLINE, -EINVAL, -EINVAL },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        HostZones *z = new_zones();
        Request r = { .z = z, .kind = MGMT, .op = BLK_ZO_OPEN,
                      .flags = BDRV_ZONE_LENIENT, .offset = 3 * ZONE,
                      .bytes = ZONE };

        device_set(3, cases[i].state, 0);
        g_assert_cmpint(run(r), ==, cases[i].open);
        device_set(3, cases[i].state, 0);
        r.op = BLK_ZO_CLOSE;
        g_assert_cmpint(run(r), ==, cases[i].close);
        if (cases[i].close) {
            g_assert_cmpint(device[3].state, ==, cases[i].state);
        }
        /* The zone is free for others */
        device_set(3, BLK_ZS_EMPTY, 0);
        g_assert_cmpint(write_at(z, 3 * ZONE, BLOCK), ==, 0);
        host_zones_free(z);
    }
}

/* Only a reset of all passes over zones that it is not for. */
static void test_reset_all(void)
{
    HostZones *z = new_zones();
    Request r = { .z = z, .kind = MGMT, .op = BLK_ZO_RESET, .bytes = SIZE };
    int64_t place;

    g_assert_cmpint(append(z, 3, 4 * KiB, &place), ==, 0);
    device_set(4, BLK_ZS_RDONLY, 0);
    g_assert_cmpint(run(r), ==, -EINVAL);
    g_assert_cmpint(device[3].wp, ==, 4 * KiB);
    r.flags = BDRV_ZONE_ALL;
    g_assert_cmpint(run(r), ==, 0);
    g_assert_cmpint(append(z, 3, 4 * KiB, &place), ==, 0);
    g_assert_cmpint(place, ==, 3 * ZONE);
    g_assert_cmpint(append(z, 4, 4 * KiB, &place), ==, -EROFS);
    host_zones_free(z);
}

/* One write of a zone at a time, in order; other zones do not wait. */
static void test_order(void)
{
    HostZones *z = new_zones();
    Request a[3], b = { .z = z, .offset = 4 * ZONE, .bytes = 8 * KiB,
                        .slow = true };

    for (unsigned i = 0; i < 3; i++) {
        a[i] = (Request) { .z = z, .offset = 3 * ZONE + i * BLOCK,
                           .bytes = BLOCK, .slow = true };
        start(&a[i]);
    }
    start(&b);
    g_assert_true(a[0].in_device);
    g_assert_false(a[1].in_device);
    g_assert_true(b.in_device);
    for (unsigned i = 0; i < 3; i++) {
        finish(&a[i]);
        g_assert_cmpint(a[i].ret, ==, 0);
    }
    finish(&b);
    g_assert_cmpint(b.ret, ==, 0);
    host_zones_free(z);
}

/* An append and a reset are both valid in any order. */
static void test_reset_waits(void)
{
    HostZones *z = new_zones();
    Request w = { .z = z, .kind = APPEND, .offset = 3 * ZONE, .bytes = BLOCK,
                  .slow = true };
    Request r = { .z = z, .kind = MGMT, .op = BLK_ZO_RESET, .offset = 3 * ZONE,
                  .bytes = ZONE, .slow = true };
    Request next = w;

    start(&w);
    start(&r);
    start(&next);
    g_assert_false(r.in_device);
    finish(&w);
    g_assert_true(r.in_device);
    g_assert_false(next.in_device);
    finish(&r);
    finish(&next);
    g_assert_cmpint(w.ret, ==, 0);
    g_assert_cmpint(r.ret, ==, 0);
    g_assert_cmpint(next.ret, ==, 0);
    g_assert_cmpint(w.offset, ==, 3 * ZONE);
    g_assert_cmpint(next.offset, ==, 3 * ZONE);
    host_zones_free(z);
}

typedef struct ReadError {
    HostZones *z;
    int64_t offset, bytes;
    int ret;
} ReadError;

static void coroutine_fn run_read_error(void *opaque)
{
    ReadError *r = opaque;

    r->ret = host_zones_read_error(r->z, r->offset, r->bytes, r->ret);
}

static void test_read_errors(void)
{
    ReadError r = { .z = new_zones(), .offset = 3 * ZONE, .bytes = BLOCK };

    r.ret = -EIO;
    qemu_coroutine_enter(qemu_coroutine_create(run_read_error, &r));
    g_assert_cmpint(r.ret, ==, -EIO);
    device_set(3, BLK_ZS_OFFLINE, 0);
    qemu_coroutine_enter(qemu_coroutine_create(run_read_error, &r));
    g_assert_cmpint(r.ret, ==, -ENODEV);
    host_zones_free(r.z);
}

int main(int argc, char **argv)
{
    int ret;

    qemu_init_main_loop(&error_abort);
    bdrv_init();
    g_test_init(&argc, &argv, NULL);
    bs = bdrv_new();
    bs->total_sectors = SIZE / BDRV_SECTOR_SIZE;

    g_test_add_func("/host-zones/a broken rule has its errno", test_writes);
    g_test_add_func("/host-zones/conventional zones have few rules",
                    test_conventional);
    g_test_add_func("/host-zones/what is not on the device is refused",
                    test_out_of_range);
    g_test_add_func("/host-zones/appends stay in their zone", test_appends);
    g_test_add_func("/host-zones/some zones cannot be written",
                    test_unwritable);
    g_test_add_func("/host-zones/a zone can wear out", test_worn_out);
    g_test_add_func("/host-zones/preferred order is no rule", test_swp);
    g_test_add_func("/host-zones/what others did is found out", test_others);
    g_test_add_func("/host-zones/an error leaves the device's write pointer",
                    test_errors);
    g_test_add_func("/host-zones/errors of the device are not broken rules",
                    test_error_numbers);
    g_test_add_func("/host-zones/a report can fail", test_report_error);
    g_test_add_func("/host-zones/the last zone can be smaller",
                    test_smaller_last_zone);
    g_test_add_func("/host-zones/management has its transitions", test_mgmt);
    g_test_add_func("/host-zones/nothing to be done is good for ZBC",
                    test_lenient);
    g_test_add_func("/host-zones/a reset of all picks its zones",
                    test_reset_all);
    g_test_add_func("/host-zones/writes of a zone go in order, others beside",
                    test_order);
    g_test_add_func("/host-zones/a reset waits for appends",
                    test_reset_waits);
    g_test_add_func("/host-zones/an offline zone cannot be read",
                    test_read_errors);

    ret = g_test_run();
    bdrv_unref(bs);
    return ret;
}
