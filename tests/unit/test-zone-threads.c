/*
 * Zones of one node used from several threads at the same time
 *
 * usage: test-zone-threads [FILENAME]
 *
 * FILENAME is a zoned node as QEMU's filenames have it, for instance "json:..."
 * of a host device; it gets the appends only.  Without one, all tests run on
 * a zoned qcow2 image of their own.
 *
 * Made to be run under a thread sanitizer, too.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/aio-wait.h"
#include "block/block_int.h"
#include "iothread.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "system/block-backend.h"

#define THREADS 4
#define WORKERS 32              /* coroutines, of all threads together */
#define ROUNDS 24
#define SHARED 4                /* zones that all workers append to */
#define BLOCK 4096
#define MAX_BLOCKS 4

typedef struct Append {
    int64_t offset;
    unsigned int blocks;
    uint64_t tag;
} Append;

typedef struct Worker {
    unsigned int index;
    unsigned int shared;        /* zones to append to */
    GRand *rand;
    uint64_t *buf;
    Append appends[ROUNDS];
} Worker;

static const char *filename;
static BlockBackend *blk;
static BlockZoneDescriptor *zones;      /* the sequential ones */
static unsigned int nr_zones;
static IOThread *threads[THREADS];
static Worker workers[WORKERS];
static int running;

/* --- Data: every word of a request is its tag --- */

static void fill(uint64_t *buf, unsigned int blocks, uint64_t tag)
{
    for (size_t i = 0; i < blocks * BLOCK / sizeof(tag); i++) {
        buf[i] = tag;
    }
}

static void check(const uint64_t *buf, unsigned int blocks, uint64_t tag)
{
    for (size_t i = 0; i < blocks * BLOCK / sizeof(tag); i++) {
        g_assert_cmphex(buf[i], ==, tag);
    }
}

static uint64_t make_tag(const Worker *w, unsigned int round)
{
    return (uint64_t)(w->index + 1) << 32 | (round + 1);
}

/* --- What workers do --- */

static void coroutine_fn append(Worker *w, unsigned int round)
{
    Append *a = &w->appends[round];
    QEMUIOVector qiov;

    a->blocks = g_rand_int_range(w->rand, 1, MAX_BLOCKS + 1);
    a->offset = zones[g_rand_int_range(w->rand, 0, w->shared)].start;
    a->tag = make_tag(w, round);
    fill(w->buf, a->blocks, a->tag);
    qemu_iovec_init_buf(&qiov, w->buf, a->blocks * BLOCK);
    g_assert_cmpint(blk_co_zone_append(blk, &a->offset, &qiov, 0), ==, 0);
}

static void coroutine_fn append_worker(void *opaque)
{
    Worker *w = opaque;

    for (unsigned int round = 0; round < ROUNDS; round++) {
        append(w, round);
    }
    qatomic_dec(&running);
    aio_wait_kick();
}

static void coroutine_fn manage(const BlockZoneDescriptor *z, BlockZoneOp op)
{
    int ret = blk_co_zone_mgmt(blk, op, 0, z->start, z->length, NULL);

    g_assert_cmpint(ret, ==, 0);
}

/* A worker's own zone is written, read, closed, reset and finished. */
static void coroutine_fn use_own_zone(Worker *w, unsigned int round,
                                      uint64_t *end)
{
    const BlockZoneDescriptor *z = &zones[SHARED + w->index];
    BlockZoneDescriptor now;
    unsigned int one = 1;
    int ret;

    fill(w->buf, 1, make_tag(w, round));
    ret = blk_co_pwrite(blk, *end, BLOCK, w->buf, 0);
    g_assert_cmpint(ret, ==, 0);
    *end += BLOCK;
    memset(w->buf, 0, BLOCK);
    ret = blk_co_pread(blk, *end - BLOCK, BLOCK, w->buf, 0);
    g_assert_cmpint(ret, ==, 0);
    check(w->buf, 1, make_tag(w, round));

    switch (round % 8) {
    case 1:
        manage(z, BLK_ZO_CLOSE);
        break;
    case 3:
        g_assert_cmpint(blk_co_flush(blk), ==, 0);
        break;
    case 5:
        ret = blk_co_zone_report(blk, z->start, &one, &now);
        g_assert_cmpint(ret, ==, 0);
        g_assert_cmphex(now.wp, ==, *end);
        break;
    case 7:
        manage(z, BLK_ZO_FINISH);
        manage(z, BLK_ZO_RESET);
        *end = z->start;
        break;
    }
}

static void coroutine_fn mixed_worker(void *opaque)
{
    Worker *w = opaque;
    uint64_t end = zones[SHARED + w->index].start;

    for (unsigned int round = 0; round < ROUNDS; round++) {
        append(w, round);
        use_own_zone(w, round, &end);
    }
    qatomic_dec(&running);
    aio_wait_kick();
}

/* --- The tests --- */

static void get_zones(void)
{
    BlockZoneDescriptor *all;
    unsigned int conventional = 0;

    nr_zones = blk_bs(blk)->bl.zones.nr_zones;
    g_assert_cmpint(nr_zones, >, 0);
    all = g_new(BlockZoneDescriptor, nr_zones);
    g_assert_cmpint(blk_zone_report(blk, 0, &nr_zones, all), ==, 0);
    while (all[conventional].type == BLK_ZT_CONV) {
        conventional++;
    }
    nr_zones -= conventional;
    zones = g_memdup2(all + conventional, nr_zones * sizeof(*all));
    g_free(all);
}

/* Every append is where it was said to be, and the zones hold nothing else. */
static void check_appends(unsigned int shared)
{
    g_autofree uint64_t *written = g_new0(uint64_t, shared);
    uint64_t *buf = blk_blockalign(blk, MAX_BLOCKS * BLOCK);

    for (Worker *w = workers; w < workers + WORKERS; w++) {
        for (Append *a = w->appends; a < w->appends + ROUNDS; a++) {
            unsigned int z = (a->offset - zones[0].start) / zones[0].length;

            g_assert_cmpint(z, <, shared);
            g_assert_cmpint(blk_pread(blk, a->offset, a->blocks * BLOCK, buf,
                                      0), ==, 0);
            check(buf, a->blocks, a->tag);
            written[z] += a->blocks * BLOCK;
        }
    }
    g_free(zones);
    get_zones();
    for (unsigned int z = 0; z < shared; z++) {
        g_assert_cmphex(zones[z].wp - zones[z].start, ==, written[z]);
    }
    qemu_vfree(buf);
}

static void run_workers(CoroutineEntry *entry, unsigned int shared,
                        unsigned int nr_threads)
{
    running = WORKERS;
    for (unsigned int i = 0; i < WORKERS; i++) {
        Worker *w = &workers[i];

        w->index = i;
        w->shared = shared;
        w->rand = g_rand_new_with_seed(i);
        w->buf = blk_blockalign(blk, MAX_BLOCKS * BLOCK);
        aio_co_enter(iothread_get_aio_context(threads[i % nr_threads]),
                     qemu_coroutine_create(entry, w));
    }
    AIO_WAIT_WHILE_UNLOCKED(NULL, qatomic_read(&running) > 0);
    for (unsigned int i = 0; i < WORKERS; i++) {
        g_rand_free(workers[i].rand);
        qemu_vfree(workers[i].buf);
    }
}

static void open_node(void)
{
    if (filename) {
        blk = blk_new_open(filename, NULL, NULL, BDRV_O_RDWR, &error_fatal);
        get_zones();
        g_assert_cmpint(blk_zone_mgmt(blk, BLK_ZO_RESET, 0, zones[0].start,
                                      zones[0].length, NULL), ==, 0);
        return;
    }

    g_autofree char *image = NULL;
    int fd = g_file_open_tmp("zone-threads-XXXXXX", &image, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    bdrv_img_create(image, "qcow2", NULL, NULL,
                    (char *)"zone.mode=host-managed,zone.size=16M,"
                            "zone.conventional_zones=2,zone.max_open_zones=8",
                    (2 + SHARED + WORKERS) * (16ULL << 20), BDRV_O_RDWR, true,
                    &error_fatal);
    blk = blk_new_open(image, NULL, NULL, BDRV_O_RDWR, &error_fatal);
    /* The open file keeps it. */
    unlink(image);
    get_zones();
}

static void run_test(CoroutineEntry *entry, unsigned int shared,
                     unsigned int nr_threads)
{
    open_node();
    run_workers(entry, shared, nr_threads);
    check_appends(shared);
    blk_unref(blk);
    g_free(zones);
}

static void test_one_thread(void)
{
    run_test(append_worker, 1, 1);
}

static void test_one_zone(void)
{
    run_test(append_worker, 1, THREADS);
}

static void test_mixed(void)
{
    run_test(mixed_worker, SHARED, THREADS);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    bdrv_init();
    qemu_init_main_loop(&error_fatal);
    for (unsigned int i = 0; i < THREADS; i++) {
        threads[i] = iothread_new();
    }

    filename = argv[1];
    g_test_add_func("/zone-threads/append/one-thread", test_one_thread);
    g_test_add_func("/zone-threads/append/one-zone", test_one_zone);
    if (!filename) {
        g_test_add_func("/zone-threads/mixed", test_mixed);
    }
    ret = g_test_run();

    for (unsigned int i = 0; i < THREADS; i++) {
        iothread_join(threads[i]);
    }
    return ret;
}
