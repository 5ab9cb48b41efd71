/*
 * How long do the calls of the zone table take, alone and from two threads?
 *
 * usage: zone-table-bench [ROUNDS [MS]]
 *
 * There is no I/O: what is measured is what zones add to a request.  In each
 * round, all cases run for MS milliseconds, one after the other.  Each has one
 * line of output: its name, and for each round the nanoseconds that one call
 * took, or one pair of begin and end.
 *
 * Two threads that share nothing also slow each other down, as the machine does
 * not have two whole CPUs for them: so what sharing a table costs is the ratio
 * to "2 threads, 2 tables".
 *
 * With nothing else to do, threads meet at the lock as often as possible.  "With
 * work", they do about a microsecond of something else between begin and end;
 * whatever submits a request to the host does more.  "With limit", the table has
 * to know which zone was opened first.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "block/zone-table.h"
#include "block-program.h"
#include "iothread.h"

#define THREADS 2
#define ZONE (64 * GiB)         /* does not get full */
#define BLOCK BDRV_SECTOR_SIZE
#define CALLS 64                /* between two looks at the clock */
#define WORK 2000               /* about a microsecond, of additions */

typedef struct Case {
    const char *name;
    bool look, append, work, limit;
    unsigned int threads, tables, zones;
} Case;

static const Case cases[] = {
    { "write, 1 thread", .threads = 1, .tables = 1, .zones = 1 },
    { "write, 2 threads, 2 tables", .threads = 2, .tables = 2, .zones = 2 },
    { "write, 2 threads, 2 zones", .threads = 2, .tables = 1, .zones = 2 },
    { "write with work, 1 thread", .work = true,
      .threads = 1, .tables = 1, .zones = 1 },
    { "write with work, 2 threads, 2 tables", .work = true,
      .threads = 2, .tables = 2, .zones = 2 },
    { "write with work, 2 threads, 2 zones", .work = true,
      .threads = 2, .tables = 1, .zones = 2 },
    { "write with limit, 1 thread", .limit = true,
      .threads = 1, .tables = 1, .zones = 1 },
    { "write with limit, 2 threads, 2 tables", .limit = true,
      .threads = 2, .tables = 2, .zones = 2 },
    { "write with limit, 2 threads, 2 zones", .limit = true,
      .threads = 2, .tables = 1, .zones = 2 },
    { "append, 1 thread", .append = true,
      .threads = 1, .tables = 1, .zones = 1 },
    { "append, 2 threads, 2 tables", .append = true,
      .threads = 2, .tables = 2, .zones = 2 },
    { "append, 2 threads, 2 zones", .append = true,
      .threads = 2, .tables = 1, .zones = 2 },
    { "append, 2 threads, 1 zone", .append = true,
      .threads = 2, .tables = 1, .zones = 1 },
    { "look, 1 thread", .look = true, .threads = 1, .tables = 1, .zones = 1 },
    { "look, 2 threads, 2 tables", .look = true,
      .threads = 2, .tables = 2, .zones = 2 },
    { "look, 2 threads, 2 zones", .look = true,
      .threads = 2, .tables = 1, .zones = 2 },
};

typedef struct Worker {
    const Case *of;
    ZoneTable *table;
    uint64_t zone_start;
    uint64_t calls;
    int64_t time;
} Worker;

static unsigned int ready, finished;    /* atomic */
static bool stop;                       /* atomic */

static void do_work(void)
{
    for (int i = 0; i < WORK; i++) {
        barrier();
    }
}

static void coroutine_fn write_once(Worker *w, uint64_t at)
{
    ZoneWrite zw;
    int ret;

    if (w->of->append) {
        at = w->zone_start;
        ret = zone_table_begin_append(w->table, &zw, &at, BLOCK);
    } else {
        ret = zone_table_begin_write(w->table, &zw, at, BLOCK);
    }
    g_assert(ret == 0);
    if (w->of->work) {
        do_work();
    }
    ret = zone_table_end_write(w->table, &zw, 0);
    g_assert(ret == 0);
}

static void coroutine_fn work(void *opaque)
{
    Worker *w = opaque;
    uint64_t at = w->zone_start;
    int64_t start;
    bool data;

    if (w->of->look) {
        write_once(w, at);
    }
    qatomic_inc(&ready);
    while (qatomic_read(&ready) < w->of->threads) {
        cpu_relax();
    }
    start = get_clock();
    while (!qatomic_read(&stop)) {
        for (int i = 0; i < CALLS; i++, at += BLOCK) {
            if (w->of->look) {
                zone_table_readable(w->table, w->zone_start, BLOCK, &data);
            } else {
                write_once(w, at);
            }
        }
        w->calls += CALLS;
    }
    w->time = get_clock() - start;
    qatomic_inc(&finished);
}

/* Nanoseconds a call */
static double run_case(const Case *of, IOThread **threads, int ms)
{
    ZoneGeometry g = {
        .size = THREADS * ZONE,
        .zones = {
            .model = BLK_Z_HM,
            .size = ZONE,
            .capacity = ZONE,
            .max_append = BLOCK,
            .max_open = of->limit ? THREADS : 0,
            .write_granularity = BLOCK,
        },
    };
    ZoneTable *tables[THREADS];
    Worker workers[THREADS] = { 0 };
    double sum = 0;

    for (unsigned int i = 0; i < THREADS; i++) {
        tables[i] = zone_table_new(&g);
    }
    stop = false;
    ready = finished = 0;
    for (unsigned int i = 0; i < of->threads; i++) {
        workers[i].of = of;
        workers[i].table = tables[i % of->tables];
        workers[i].zone_start = i % of->zones * ZONE;
        aio_co_schedule(iothread_get_aio_context(threads[i]),
                        qemu_coroutine_create(work, &workers[i]));
    }
    g_usleep(ms * 1000);
    qatomic_set(&stop, true);
    while (qatomic_read(&finished) < of->threads) {
        g_usleep(100);
    }
    for (unsigned int i = 0; i < of->threads; i++) {
        sum += (double)workers[i].time / workers[i].calls;
    }
    for (unsigned int i = 0; i < THREADS; i++) {
        zone_table_free(tables[i]);
    }
    return sum / of->threads;
}

int main(int argc, char **argv)
{
    unsigned int rounds = argc > 1 ? block_program_number(argv[1]) : 9;
    int ms = argc > 2 ? block_program_number(argv[2]) : 50;
    g_autofree double *ns = g_new(double, ARRAY_SIZE(cases) * rounds);
    IOThread *threads[THREADS];

    block_program_init(argv[0]);
    for (int i = 0; i < THREADS; i++) {
        threads[i] = iothread_new();
    }
    for (unsigned int r = 0; r < rounds; r++) {
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
            ns[i * rounds + r] = run_case(&cases[i], threads, ms);
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        printf("%s:", cases[i].name);
        for (unsigned int r = 0; r < rounds; r++) {
            printf(" %.1f", ns[i * rounds + r]);
        }
        printf("\n");
    }
    for (int i = 0; i < THREADS; i++) {
        iothread_join(threads[i]);
    }
    return 0;
}
