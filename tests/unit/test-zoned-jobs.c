/*
 * Jobs that carry zones along, under a guest that goes on
 *
 * A chain of four zoned images is made by writers like those that go on while
 * the job runs: some have a zone each, which they write, append to, finish and
 * reset, some append to one zone together, and some have a part of the
 * conventional zones.  A model says what every block must hold.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "block/aio-wait.h"
#include "block/block_int.h"
#include "block/blockjob_int.h"
#include "block/dirty-bitmap.h"
#include "block/zoned-compat.h"
#include "iothread.h"
#include "system/block-backend.h"

#define ZONE (1 * MiB)
#define BLOCK 4096
#define BLOCKS (ZONE / BLOCK)
#define CONVENTIONAL 2
#define SHARED CONVENTIONAL             /* the zone that many append to */
#define FIRST_OWNED (SHARED + 1)
#define OWNED 12
#define ZONES (FIRST_OWNED + OWNED)
#define PARTS 4                         /* of each conventional zone */
#define APPENDERS 12
#define WRITERS (OWNED + CONVENTIONAL * PARTS + APPENDERS)
#define THREADS 3
#define MAX_BLOCKS 8
#define SEEDS 2
#define BUF_SIZE (256 * KiB)            /* of mirrors */
#define GAP 64                          /* blocks, of several pieces of 64 KiB */

QEMU_BUILD_BUG_ON(WRITERS != 32);

enum { NONE = -1, BASE, MID, UPPER, TOP, LAYERS, TARGET = LAYERS, IMAGES };

static const char *const node_names[IMAGES] = {
    "base", "mid", "upper", "top", "target"
};
static char *paths[IMAGES];
static char *directory;
static const char *options;             /* of all images */
static int target_base = NONE;          /* what the target is an overlay of */

/* What the disk must hold: a tag in all words of a block */
typedef struct ModelZone {
    uint64_t tags[BLOCKS];
    unsigned int end;                   /* blocks of data; of writers: in flight */
    bool full;
} ModelZone;

static ModelZone model[ZONES];
static uint64_t last_tag;               /* atomic */

typedef struct Writer {
    unsigned int index;
    unsigned int rounds;                /* at least */
    GRand *rand;
    uint64_t *buf;
} Writer;

static Writer writers[WRITERS];
static IOThread *threads[THREADS];
static BlockBackend *blk;
static int running;                     /* atomic: writers */
static bool stop;                       /* atomic: after their rounds */
static uint64_t job_at;                 /* atomic: how far it has come */

/* --- The guest --- */

static void fill(uint64_t *buf, unsigned int blocks, uint64_t *tags)
{
    for (unsigned int i = 0; i < blocks; i++) {
        tags[i] = qatomic_fetch_inc(&last_tag) + 1;
        for (size_t k = 0; k < BLOCK / sizeof(*buf); k++) {
            buf[i * (BLOCK / sizeof(*buf)) + k] = tags[i];
        }
    }
}

static void check(const uint64_t *buf, unsigned int blocks,
                  const uint64_t *tags)
{
    for (unsigned int i = 0; i < blocks; i++) {
        for (size_t k = 0; k < BLOCK / sizeof(*buf); k++) {
            g_assert_cmphex(buf[i * (BLOCK / sizeof(*buf)) + k], ==, tags[i]);
        }
    }
}

static int64_t place(unsigned int zone, unsigned int block)
{
    return zone * ZONE + block * BLOCK;
}

static void coroutine_fn
read_back(Writer *w, unsigned int zone, unsigned int first, unsigned int end)
{
    unsigned int from = g_rand_int_range(w->rand, first, end);
    unsigned int n = MIN(g_rand_int_range(w->rand, 1, MAX_BLOCKS + 1),
                         end - from);

    g_assert_cmpint(blk_co_pread(blk, place(zone, from), n * BLOCK, w->buf, 0),
                    ==, 0);
    check(w->buf, n, &model[zone].tags[from]);
}

static void coroutine_fn manage(unsigned int zone, BlockZoneOp op)
{
    g_assert_cmpint(blk_co_zone_mgmt(blk, op, 0, zone * ZONE, ZONE, NULL), ==,
                    0);
}

static void coroutine_fn write_on(Writer *w, unsigned int zone, bool append)
{
    ModelZone *m = &model[zone];
    unsigned int n = MIN(g_rand_int_range(w->rand, 1, MAX_BLOCKS + 1),
                         BLOCKS - m->end);
    int64_t offset = append ? zone * ZONE : place(zone, m->end);
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, w->buf, n * BLOCK);

    fill(w->buf, n, &m->tags[m->end]);
    if (append) {
        g_assert_cmpint(blk_co_zone_append(blk, &offset, &qiov, 0), ==, 0);
        g_assert_cmphex(offset, ==, place(zone, m->end));
    } else {
        g_assert_cmpint(blk_co_pwritev(blk, offset, n * BLOCK, &qiov, 0), ==,
                        0);
    }
    m->end += n;
    m->full = m->end == BLOCKS;
}

static void coroutine_fn use_owned(Writer *w)
{
    unsigned int zone = FIRST_OWNED + w->index;
    ModelZone *m = &model[zone];
    unsigned int what = g_rand_int_range(w->rand, 0, 100);

    if (what < 6) {
        manage(zone, BLK_ZO_RESET);
        memset(m, 0, sizeof(*m));
    } else if (what < 9) {
        manage(zone, BLK_ZO_FINISH);
        m->full = true;
    } else if (what < 12) {
        g_assert_cmpint(blk_co_flush(blk), ==, 0);
    } else if (what < 60 && !m->full) {
        write_on(w, zone, what % 2);
    } else if (m->end) {
        read_back(w, zone, 0, m->end);
    }
}

static void coroutine_fn use_conventional(Writer *w)
{
    unsigned int part = w->index - OWNED, size = BLOCKS / PARTS;
    unsigned int zone = part / PARTS, start = part % PARTS * size;
    unsigned int at = g_rand_int_range(w->rand, 0, size - MAX_BLOCKS);
    unsigned int n = g_rand_int_range(w->rand, 1, MAX_BLOCKS + 1);
    int ret;

    if (g_rand_int_range(w->rand, 0, 4)) {
        read_back(w, zone, start, start + size);
        return;
    }
    fill(w->buf, n, &model[zone].tags[start + at]);
    ret = blk_co_pwrite(blk, place(zone, start + at), n * BLOCK, w->buf, 0);
    g_assert_cmpint(ret, ==, 0);
}

static void coroutine_fn append_shared(Writer *w)
{
    ModelZone *m = &model[SHARED];
    int64_t offset = SHARED * ZONE;
    uint64_t tag;
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, w->buf, BLOCK);
    int ret;

    if (qatomic_fetch_inc(&m->end) >= BLOCKS) {
        qatomic_dec(&m->end);
        return;
    }
    fill(w->buf, 1, &tag);
    ret = blk_co_zone_append(blk, &offset, &qiov, 0);
    g_assert_cmpint(ret, ==, 0);
    g_assert_cmphex(offset, >=, SHARED * ZONE);
    g_assert_cmphex(offset, <, (SHARED + 1) * ZONE);
    m->tags[offset % ZONE / BLOCK] = tag;
}

static void coroutine_fn writer_entry(void *opaque)
{
    Writer *w = opaque;

    /* What the job copies is to be written at the same moment. */
    while (w->index < OWNED && !qatomic_read(&stop) &&
           qatomic_read(&job_at) < (FIRST_OWNED + w->index) * ZONE) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, SCALE_MS / 10);
    }
    for (unsigned int i = 0; i < w->rounds || !qatomic_read(&stop); i++) {
        if (w->index < OWNED) {
            use_owned(w);
        } else if (w->index < WRITERS - APPENDERS) {
            use_conventional(w);
        } else if (i % 8 == 0) {
            append_shared(w);
        } else {
            g_assert_cmpint(blk_co_pread(blk, place(SHARED, 0), BLOCK, w->buf,
                                         0), ==, 0);
        }
        /* The job is to come to its end, too */
        if (i % 4 == 3) {
            qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, SCALE_MS);
        }
    }
    qatomic_dec(&running);
    aio_wait_kick();
}

static void start_writers(unsigned int seed, unsigned int rounds, bool threaded)
{
    qatomic_set(&running, WRITERS);
    qatomic_set(&stop, false);
    qatomic_set(&job_at, 0);
    for (unsigned int i = 0; i < WRITERS; i++) {
        Writer *w = &writers[i];

        w->index = i;
        w->rounds = rounds;
        w->rand = g_rand_new_with_seed(seed * WRITERS + i);
        w->buf = qemu_memalign(BLOCK, MAX_BLOCKS * BLOCK);
        aio_co_enter(threaded ? iothread_get_aio_context(threads[i % THREADS])
                              : qemu_get_aio_context(),
                     qemu_coroutine_create(writer_entry, w));
    }
}

static void stop_writers(void)
{
    qatomic_set(&stop, true);
    AIO_WAIT_WHILE_UNLOCKED(NULL, qatomic_read(&running) > 0);
    for (unsigned int i = 0; i < WRITERS; i++) {
        g_rand_free(writers[i].rand);
        qemu_vfree(writers[i].buf);
    }
    model[SHARED].full = model[SHARED].end == BLOCKS;
}

/* --- Images --- */

QEMU_BUILD_BUG_ON(BASE - 1 != NONE);

static int layer_below(int layer)
{
    return layer == TARGET ? target_base : layer - 1;
}

static bool has_backing(int layer)
{
    return layer_below(layer) != NONE;
}

/* One image above @file and the node of the image below, if there is any */
static BlockBackend *open_above(const char *file, int layer, bool read_only,
                                Error **errp)
{
    g_autofree char *backing =
        has_backing(layer) ? g_strdup_printf("'%s'", node_names[layer_below(layer)])
                           : g_strdup("null");
    g_autofree char *filename =
        g_strdup_printf("json:{'driver':'qcow2','node-name':'%s','read-only':"
                        "%s,'file':%s,'backing':%s}", node_names[layer],
                        read_only ? "true" : "false", file, backing);

    return blk_new_open(filename, NULL, NULL, read_only ? 0 : BDRV_O_RDWR,
                        errp);
}

static BlockBackend *open_image(int layer, bool read_only)
{
    g_autofree char *file =
        g_strdup_printf("{'driver':'file','cache':{'no-flush':true},"
                        "'filename':'%s'}", paths[layer]);
    g_autofree char *blkdebug =
        g_strdup_printf("{'driver':'blkdebug','image':%s}", file);
    g_autofree char *slow =
        g_strdup_printf("{'driver':'blkdebug','inject-error':[{'event':'none',"
                        "'iotype':'read','errno':0,'immediately':false,"
                        "'delay-ns':500000}],'image':%s}", file);
    BlockBackend *opened;

    if (!read_only) {
        return open_above(file, layer, false, &error_abort);
    }
    /*
     * Reads of backing files take time, so that there is some for races, where
     * blkdebug has delays (not all versions have).
     */
    opened = open_above(slow, layer, true, NULL);
    return opened ?: open_above(blkdebug, layer, true, &error_abort);
}

static void open_chain(int top)
{
    BlockBackend *below = NULL;

    for (int layer = BASE; layer <= top; layer++) {
        blk = open_image(layer, layer < top);
        blk_unref(below);
        below = blk;
    }
}

static void close_chain(void)
{
    blk_unref(blk);
    blk = NULL;
}

static void create(int layer)
{
    g_autofree char *words =
        has_backing(layer) ? g_strdup(*options ? options + 1 : "")
                           : g_strdup_printf("zone.mode=host-managed,"
                                             "zone.size=1M,"
                                             "zone.conventional_zones=2%s",
                                             options);

    bdrv_img_create(paths[layer], "qcow2",
                    has_backing(layer) ? paths[layer_below(layer)] : NULL,
                    has_backing(layer) ? "qcow2" : NULL, words,
                    has_backing(layer) ? -1 : ZONES * ZONE, BDRV_O_RDWR, true,
                    &error_abort);
}

static void make_chain(unsigned int seed)
{
    /* The overlays leave some zones as they are. */
    static const unsigned int rounds[LAYERS] = { 40, 4, 4, 0 };

    memset(model, 0, sizeof(model));
    last_tag = 0;
    for (int layer = BASE; layer < LAYERS; layer++) {
        create(layer);
        open_chain(layer);
        start_writers(seed + layer, rounds[layer], false);
        stop_writers();
        close_chain();
    }
}

static void remove_images(void)
{
    for (int layer = BASE; layer < IMAGES; layer++) {
        unlink(paths[layer]);
    }
}

static void check_zones(void)
{
    BlockZoneDescriptor zones[ZONES];
    unsigned int n = ZONES;

    g_assert_cmpint(blk_zone_report(blk, 0, &n, zones), ==, 0);
    g_assert_cmpint(n, ==, ZONES);
    for (unsigned int i = CONVENTIONAL; i < ZONES; i++) {
        g_assert_cmpint(zones[i].state == BLK_ZS_FULL, ==, model[i].full);
        if (!model[i].full) {
            g_assert_cmphex(zones[i].wp, ==, place(i, model[i].end));
        }
    }
}

static void check_disk(void)
{
    uint64_t *buf = qemu_memalign(BLOCK, ZONE);

    check_zones();
    for (unsigned int i = 0; i < ZONES; i++) {
        g_assert_cmpint(blk_pread(blk, i * ZONE, ZONE, buf, 0), ==, 0);
        check(buf, BLOCKS, model[i].tags);
    }
    qemu_vfree(buf);
}

/* As qemu-img check does it */
static void check_image(int layer)
{
    g_autofree char *filename =
        g_strdup_printf("json:{'driver':'qcow2','backing':null,'file':{"
                        "'driver':'file','filename':'%s'}}", paths[layer]);
    BlockBackend *image = blk_new_open(filename, NULL, NULL,
                                       BDRV_O_RDWR | BDRV_O_CHECK,
                                       &error_abort);
    BdrvCheckResult result = {};

    g_assert_cmpint(bdrv_check(blk_bs(image), &result, 0), ==, 0);
    g_assert_cmpint(result.corruptions, ==, 0);
    g_assert_cmpint(result.leaks, ==, 0);
    g_assert_cmpint(result.check_errors, ==, 0);
    blk_unref(image);
}

/* --- Jobs --- */

static BlockDriverState *node(int layer)
{
    return bdrv_find_node(node_names[layer]);
}

static Job *started_job(void)
{
    Job *job;

    JOB_LOCK_GUARD();
    job = job_get_locked("job");
    g_assert_nonnull(job);
    job_ref_locked(job);
    return job;
}

static bool is_over(Job *job)
{
    JOB_LOCK_GUARD();
    return job_is_completed_locked(job);
}

static int finish_job(Job *job)
{
    int ret;

    while (!is_over(job)) {
        aio_poll(qemu_get_aio_context(), true);
        WITH_JOB_LOCK_GUARD() {
            qatomic_set(&job_at, job->progress.current);
        }
    }
    ret = job->ret;
    WITH_JOB_LOCK_GUARD() {
        job_unref_locked(job);
    }
    return ret;
}

static Job *start_stream(int base)
{
    stream_start("job", node(TOP), base == NONE ? NULL : node(base),
                 base == NONE ? NULL : paths[base], false, NULL, JOB_DEFAULT,
                 0, BLOCKDEV_ON_ERROR_REPORT, NULL, &error_abort);
    return started_job();
}

static Job *start_commit(int top, int base)
{
    commit_start("job", node(TOP), node(base), node(top), JOB_DEFAULT, 0,
                 BLOCKDEV_ON_ERROR_REPORT, paths[base], false, NULL,
                 &error_abort);
    return started_job();
}

typedef struct Case {
    const char *name;
    const char *options;
    int base;                   /* the images above it go... */
    int top;                    /* ...down from this one */
    bool threaded;
} Case;

/* What the job has left can be used as the guest's disk, and is written. */
static void use_again(int top)
{
    blk = blk_new_open(paths[top], NULL, NULL, BDRV_O_RDWR, &error_abort);
    check_disk();
    start_writers(99, 10, false);
    stop_writers();
    check_disk();
    close_chain();
    check_image(top);
}

/* The job is over: the disk is as the guest knows it, without other files. */
static void check_result(int top, int base)
{
    int below = top == UPPER ? base : UPPER;
    BlockDriverState *backing;

    check_disk();
    bdrv_graph_rdlock_main_loop();
    backing = bdrv_cow_bs(bdrv_skip_filters(blk_bs(blk)));
    bdrv_graph_rdunlock_main_loop();
    g_assert(backing == (below == NONE ? NULL : node(below)));
    close_chain();

    for (int layer = BASE; layer < LAYERS; layer++) {
        if (layer > base && layer <= top) {
            unlink(paths[layer]);
        } else {
            check_image(layer);
        }
    }
    use_again(TOP);
}

static void test_stream(const void *opaque)
{
    const Case *c = opaque;
    Job *job;

    options = c->options;
    for (unsigned int seed = 0; seed < SEEDS; seed++) {
        make_chain(seed * LAYERS);
        open_chain(TOP);
        start_writers(1000 + seed, 0, c->threaded);
        job = start_stream(c->base);
        g_assert_cmpint(finish_job(job), ==, 0);
        stop_writers();
        check_result(UPPER, c->base);
        remove_images();
    }
}

static void test_commit(const void *opaque)
{
    const Case *c = opaque;
    Job *job;

    options = c->options;
    for (unsigned int seed = 0; seed < SEEDS; seed++) {
        make_chain(seed * LAYERS);
        open_chain(TOP);
        start_writers(2000 + seed, 0, c->threaded);
        job = start_commit(c->top, c->base);
        g_assert_cmpint(finish_job(job), ==, 0);
        stop_writers();
        check_result(c->top, c->base);
        remove_images();
    }
}

/* --- Mirrors --- */

/* The zones of @image are empty, but not what they hold. */
static void use_before(BlockBackend *image)
{
    g_autofree uint64_t *buf = g_malloc(ZONE);

    memset(buf, 0xee, ZONE);
    for (unsigned int i = CONVENTIONAL; i < ZONES; i++) {
        g_assert_cmpint(blk_pwrite(image, i * ZONE, ZONE, buf, 0), ==, 0);
    }
    g_assert_cmpint(blk_zone_mgmt(image, BLK_ZO_RESET, BDRV_ZONE_ALL, 0,
                                  ZONES * ZONE, NULL), ==, 0);
}

/* To an image by itself, or the topmost layer to a new overlay */
static Job *start_mirror(int layer)
{
    bool is_top = has_backing(TARGET);
    BlockBackend *target;

    create(TARGET);
    target = open_image(TARGET, false);
    if (!is_top) {
        use_before(target);
    }
    g_assert_cmpint(blk_set_perm(target, 0, BLK_PERM_ALL, &error_abort), ==, 0);
    mirror_start("job", node(layer), blk_bs(target), NULL, JOB_DEFAULT, 0,
                 0, BUF_SIZE,
                 is_top ? MIRROR_SYNC_MODE_TOP : MIRROR_SYNC_MODE_FULL,
                 MIRROR_LEAVE_BACKING_CHAIN, false, BLOCKDEV_ON_ERROR_REPORT,
                 BLOCKDEV_ON_ERROR_REPORT, true, NULL,
                 MIRROR_COPY_MODE_BACKGROUND, &error_abort);
    blk_unref(target);
    qatomic_set(&job_at, INT64_MAX);
    return started_job();
}

static bool has_copied(Job *job, uint64_t bytes)
{
    JOB_LOCK_GUARD();
    return job->progress.current >= bytes;
}

static bool is_ready(Job *job)
{
    JOB_LOCK_GUARD();
    return job_is_ready_locked(job);
}

/* The disk is that of @top, with the images below and no others; it is closed. */
static void check_alone(int top)
{
    int next = top;

    check_disk();
    close_chain();
    for (int layer = top; layer >= BASE; layer--) {
        if (layer == next) {
            check_image(layer);
            next = layer_below(layer);
        } else {
            unlink(paths[layer]);
        }
    }
    use_again(top);
}

/* Writers go on with the job @job, until it is over and the disk is @to. */
static void move_disk(Job *job, unsigned int seed, bool threaded, int to)
{
    while (!has_copied(job, ZONES * ZONE)) {
        aio_poll(qemu_get_aio_context(), true);
    }
    stop_writers();
    while (!is_ready(job)) {
        aio_poll(qemu_get_aio_context(), true);
    }
    start_writers(4000 + seed, 20, threaded);
    qatomic_set(&stop, true);
    WITH_JOB_LOCK_GUARD() {
        job_complete_locked(job, &error_abort);
    }
    g_assert_cmpint(finish_job(job), ==, 0);
    stop_writers();
    g_assert(bdrv_skip_filters(blk_bs(blk)) == node(to));
}

/* The writers go on while the disk moves to the target. */
static void test_mirror(const void *opaque)
{
    const Case *c = opaque;

    options = c->options;
    target_base = c->base;
    for (unsigned int seed = 0; seed < SEEDS; seed++) {
        make_chain(seed * LAYERS);
        open_chain(TOP);
        start_writers(3000 + seed, 0, c->threaded);
        move_disk(start_mirror(TOP), seed, c->threaded, TARGET);
        check_alone(TARGET);
        remove_images();
    }
    target_base = NONE;
}

static Job *start_active_commit(int base)
{
    commit_active_start("job", node(TOP), node(base), JOB_DEFAULT, 0,
                        BLOCKDEV_ON_ERROR_REPORT, NULL, NULL, NULL, false,
                        &error_abort);
    qatomic_set(&job_at, INT64_MAX);
    return started_job();
}

/*
 * The writers go on while the disk moves to one that it was made from.  The first job
 * is given up when it has copied something, which leaves the disk as it is.
 */
static void test_active_commit(const void *opaque)
{
    const Case *c = opaque;
    Job *job;

    options = c->options;
    for (unsigned int seed = 0; seed < SEEDS; seed++) {
        make_chain(seed * LAYERS);
        open_chain(TOP);
        start_writers(5000 + seed, 0, c->threaded);
        job = start_active_commit(c->base);
        while (!has_copied(job, (seed + 1) * ZONE)) {
            aio_poll(qemu_get_aio_context(), true);
        }
        WITH_JOB_LOCK_GUARD() {
            job_cancel_locked(job, true);
        }
        g_assert_cmpint(finish_job(job), ==, -ECANCELED);
        stop_writers();
        check_disk();
        g_assert(blk_bs(blk) == node(TOP));

        start_writers(6000 + seed, 0, c->threaded);
        move_disk(start_active_commit(c->base), seed, c->threaded, c->base);
        check_alone(c->base);
        remove_images();
    }
}

/*
 * What a random write area skips is zero without being written: the target must not
 * have what the zone held before its reset.
 */
static void test_mirror_gap(void)
{
    int64_t start = FIRST_OWNED * ZONE;
    uint64_t tags[GAP] = {};
    g_autofree uint64_t *buf = g_malloc(GAP * BLOCK);
    Job *job;

    options = ",zone.zrwa_size=512k,zone.zrwa_flush_granularity=4k";
    create(BASE);
    open_chain(BASE);
    fill(buf, GAP, tags);
    g_assert_cmpint(blk_pwrite(blk, start, GAP * BLOCK, buf, 0), ==, 0);
    job = start_mirror(BASE);
    while (!is_ready(job)) {
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_cmpint(blk_zone_mgmt(blk, BLK_ZO_RESET, 0, start, ZONE, NULL), ==,
                    0);
    g_assert_cmpint(blk_zone_mgmt(blk, BLK_ZO_OPEN, BDRV_ZONE_ZRWA, start,
                                  ZONE, NULL), ==, 0);
    memset(tags, 0, sizeof(tags));
    fill(buf, 1, &tags[GAP - 1]);
    g_assert_cmpint(blk_pwrite(blk, place(FIRST_OWNED, GAP - 1), BLOCK, buf,
                               0), ==, 0);
    WITH_JOB_LOCK_GUARD() {
        job_complete_locked(job, &error_abort);
    }
    g_assert_cmpint(finish_job(job), ==, 0);
    g_assert(blk_bs(blk) == node(TARGET));
    g_assert_cmpint(blk_pread(blk, start, GAP * BLOCK, buf, 0), ==, 0);
    check(buf, GAP, tags);
    close_chain();
    check_image(TARGET);
    remove_images();
}

/* --- Many writes in one zone --- */

#define DEPTH 8
#define BACKUPS 8

/* As a device has them: each begins where the one before it ends */
typedef struct Sequence {
    AioContext *ctx;
    unsigned int zone;
    unsigned int in_flight;
    bool resetting;
} Sequence;

typedef struct SequenceWrite {
    Sequence *s;
    QEMUIOVector qiov;
    uint64_t buf[BLOCK / sizeof(uint64_t)];
} SequenceWrite;

static void sequence_go_on(void *opaque);

static void sequence_completed(Sequence *s, int ret)
{
    g_assert_cmpint(ret, ==, 0);
    s->in_flight--;
    aio_bh_schedule_oneshot(s->ctx, sequence_go_on, s);
}

static void sequence_written(void *opaque, int ret)
{
    SequenceWrite *w = opaque;

    sequence_completed(w->s, ret);
    g_free(w);
}

static void sequence_reset(void *opaque, int ret)
{
    Sequence *s = opaque;

    s->resetting = false;
    memset(&model[s->zone], 0, sizeof(model[0]));
    sequence_completed(s, ret);
}

static void sequence_write(Sequence *s, ModelZone *m)
{
    SequenceWrite *w = g_new(SequenceWrite, 1);

    w->s = s;
    qemu_iovec_init_buf(&w->qiov, w->buf, BLOCK);
    fill(w->buf, 1, &m->tags[m->end]);
    s->in_flight++;
    blk_aio_pwritev(blk, place(s->zone, m->end++), &w->qiov, 0,
                    sequence_written, w);
    m->full = m->end == BLOCKS;
}

static void sequence_go_on(void *opaque)
{
    Sequence *s = opaque;

    while (s->in_flight < DEPTH && !qatomic_read(&stop) &&
           !s->resetting && !model[s->zone].full) {
        sequence_write(s, &model[s->zone]);
    }
    if (s->in_flight > 0) {
        return;
    }
    if (qatomic_read(&stop)) {
        qatomic_set(&running, 0);
        aio_wait_kick();
        return;
    }
    s->zone = s->zone < ZONES - 1 ? s->zone + 1 : FIRST_OWNED;
    s->resetting = true;
    s->in_flight++;
    blk_aio_zone_mgmt(blk, BLK_ZO_RESET, 0, s->zone * ZONE, ZONE,
                      sequence_reset, s);
}

static Job *create_backup(int layer, BdrvDirtyBitmap *bitmap)
{
    BackupPerf perf = { .max_workers = 64 };
    BlockBackend *target = open_image(TARGET, false);
    BlockJob *job;

    g_assert_cmpint(blk_set_perm(target, 0, BLK_PERM_ALL, &error_abort), ==, 0);
    job = zoned_backup_job_create("job", node(layer), blk_bs(target), bitmap,
                                  &perf, &error_abort);
    WITH_JOB_LOCK_GUARD() {
        job_ref_locked(&job->job);
    }
    blk_unref(target);
    return &job->job;
}

static Job *start_backup(int layer)
{
    Job *job;

    unlink(paths[TARGET]);
    create(TARGET);
    bdrv_drained_begin(node(layer));
    job = create_backup(layer, NULL);
    job_start(job);
    bdrv_drained_end(node(layer));
    return job;
}

static void run_backups(void)
{
    for (int i = 0; i < BACKUPS; i++) {
        g_assert_cmpint(finish_job(start_backup(TOP)), ==, 0);
    }
}

static void run_mirror(void)
{
    Job *job = start_mirror(TOP);

    while (!is_ready(job)) {
        aio_poll(qemu_get_aio_context(), true);
    }
    WITH_JOB_LOCK_GUARD() {
        job_complete_locked(job, &error_abort);
    }
    g_assert_cmpint(finish_job(job), ==, 0);
}

static void run_stream(void)
{
    g_assert_cmpint(finish_job(start_stream(NONE)), ==, 0);
}

static void run_commit(void)
{
    g_assert_cmpint(finish_job(start_commit(UPPER, BASE)), ==, 0);
}

typedef struct DepthCase {
    const char *name;
    void (*run)(void);
} DepthCase;

static void do_test_depth(const DepthCase *c, AioContext *writer)
{
    Sequence s = { .ctx = writer, .zone = FIRST_OWNED };

    options = "";
    make_chain(5000);
    open_chain(TOP);
    qatomic_set(&running, 1);
    qatomic_set(&stop, false);
    aio_bh_schedule_oneshot(writer, sequence_go_on, &s);
    c->run();
    qatomic_set(&stop, true);
    AIO_WAIT_WHILE_UNLOCKED(NULL, qatomic_read(&running) > 0);
    check_disk();
    close_chain();
    remove_images();
}

/* Writes of a zone stay in order when a job begins and when it ends. */
static void test_depth(const void *opaque)
{
    do_test_depth(opaque, qemu_get_aio_context());
    do_test_depth(opaque, iothread_get_aio_context(threads[0]));
}

/* --- A copy that is held up --- */

typedef struct Request {
    void coroutine_fn (*run)(void);
    bool done;
} Request;

static void coroutine_fn request_entry(void *opaque)
{
    Request *r = opaque;

    r->run();
    r->done = true;
}

static void coroutine_fn reset_and_write(void)
{
    Writer w = { .buf = qemu_memalign(BLOCK, MAX_BLOCKS * BLOCK),
                 .rand = g_rand_new_with_seed(1) };

    manage(FIRST_OWNED, BLK_ZO_RESET);
    memset(&model[FIRST_OWNED], 0, sizeof(model[0]));
    write_on(&w, FIRST_OWNED, false);
    qemu_vfree(w.buf);
    g_rand_free(w.rand);
}

static void coroutine_fn append_in_the_cluster(void)
{
    Writer w = { .buf = qemu_memalign(BLOCK, MAX_BLOCKS * BLOCK),
                 .rand = g_rand_new_with_seed(1) };

    write_on(&w, FIRST_OWNED, true);
    qemu_vfree(w.buf);
    g_rand_free(w.rand);
}

#define ROW 16                  /* writes, beyond the cluster that is copied */

typedef struct Row {
    Coroutine *co;
    int left;
} Row;

static void row_written(void *opaque, int ret)
{
    Row *row = opaque;

    g_assert_cmpint(ret, ==, 0);
    if (--row->left == 0) {
        aio_co_wake(row->co);
    }
}

static void coroutine_fn write_in_a_row(void)
{
    ModelZone *m = &model[FIRST_OWNED];
    Row row = { .co = qemu_coroutine_self(), .left = ROW };
    uint64_t *buf = qemu_memalign(BLOCK, ROW * BLOCK);
    QEMUIOVector qiovs[ROW];

    for (unsigned int i = 0; i < ROW; i++) {
        uint64_t *block = &buf[i * BLOCK / sizeof(*buf)];

        fill(block, 1, &m->tags[m->end]);
        qemu_iovec_init_buf(&qiovs[i], block, BLOCK);
        blk_aio_pwritev(blk, place(FIRST_OWNED, m->end++), &qiovs[i], 0,
                        row_written, &row);
    }
    qemu_coroutine_yield();
    qemu_vfree(buf);
}

static void coroutine_fn write_first_blocks(void)
{
    uint64_t *buf = qemu_memalign(BLOCK, 6 * BLOCK);

    fill(buf, 6, model[FIRST_OWNED].tags);
    g_assert_cmpint(blk_co_pwrite(blk, place(FIRST_OWNED, 0), 6 * BLOCK, buf,
                                  0), ==, 0);
    model[FIRST_OWNED].end = 6;
    qemu_vfree(buf);
}

/*
 * The copy of a zone has been read from the backing file and is not written yet:
 * what the guest does in the same place comes after it.
 */
static void test_stream_held(const void *opaque)
{
    Request first = { .run = write_first_blocks };
    Request r = { .run = (void *)opaque };
    Job *job;

    options = "";
    memset(model, 0, sizeof(model));
    create(BASE);
    open_chain(BASE);
    qemu_coroutine_enter(qemu_coroutine_create(request_entry, &first));
    AIO_WAIT_WHILE_UNLOCKED(NULL, !first.done);
    close_chain();
    create(MID);
    create(UPPER);
    create(TOP);

    open_chain(TOP);
    g_assert_cmpint(bdrv_debug_breakpoint(node(BASE), "read_aio", "copy"), ==,
                    0);
    job = start_stream(NONE);
    while (!bdrv_debug_is_suspended(node(BASE), "copy")) {
        aio_poll(qemu_get_aio_context(), true);
    }
    qemu_coroutine_enter(qemu_coroutine_create(request_entry, &r));
    /* It would be done if nothing held it up. */
    for (int i = 0; i < 100; i++) {
        g_usleep(100);
        while (aio_poll(qemu_get_aio_context(), false)) {
            continue;
        }
        g_assert(!r.done);
    }
    g_assert_cmpint(bdrv_debug_resume(node(BASE), "copy"), ==, 0);
    AIO_WAIT_WHILE_UNLOCKED(NULL, !r.done);
    check_disk();
    g_assert_cmpint(finish_job(job), ==, 0);
    check_result(UPPER, NONE);
    remove_images();
}

/* --- Writes that come before a backup starts --- */

static uint64_t *early_buf;

static void coroutine_fn write_conventional(void)
{
    uint64_t tags[CONVENTIONAL * BLOCKS];

    fill(early_buf, CONVENTIONAL * BLOCKS, tags);
    g_assert_cmpint(blk_co_pwrite(blk, 0, CONVENTIONAL * ZONE, early_buf, 0),
                    ==, 0);
}

/*
 * The backup is of the moment when it was created.  The zone that is in the bitmap
 * has changed since the last one, the other one has not.
 */
static void test_early_write(const void *opaque)
{
    bool in_flight = !strcmp(opaque, "in-flight");
    Request r = { .run = write_conventional };
    BdrvDirtyBitmap *bitmap;
    Job *job;

    options = "";
    make_chain(6000);
    open_chain(TOP);
    g_assert_cmpint(finish_job(start_backup(TOP)), ==, 0);
    bitmap = bdrv_create_dirty_bitmap(node(TOP), 64 * KiB, "bitmap",
                                      &error_abort);
    early_buf = qemu_memalign(BLOCK, CONVENTIONAL * ZONE);
    fill(early_buf, BLOCKS, model[0].tags);
    g_assert_cmpint(blk_pwrite(blk, 0, ZONE, early_buf, 0), ==, 0);

    job = create_backup(TOP, bitmap);
    qemu_coroutine_enter(qemu_coroutine_create(request_entry, &r));
    if (!in_flight) {
        AIO_WAIT_WHILE_UNLOCKED(NULL, !r.done);
    }
    g_assert(r.done == !in_flight);
    job_start(job);
    g_assert_cmpint(finish_job(job), ==, 0);
    AIO_WAIT_WHILE_UNLOCKED(NULL, !r.done);
    close_chain();

    blk = open_image(TARGET, false);
    check_disk();
    close_chain();
    qemu_vfree(early_buf);
    remove_images();
}

static void add_cases(const char *job, const Case *cases, unsigned int n,
                      GTestDataFunc f)
{
    for (unsigned int i = 0; i < n; i++) {
        g_autofree char *name = g_strdup_printf("/zoned-jobs/%s/%s", job,
                                                cases[i].name);

        g_test_add_data_func(name, &cases[i], f);
    }
}

int main(int argc, char **argv)
{
    static const Case stream_cases[] = {
        { "all", "", NONE, UPPER, false },
        { "to-base", "", BASE, UPPER, false },
        { "threads", "", NONE, UPPER, true },
        { "small-clusters", ",cluster_size=4k", NONE, UPPER, false },
        { "subclusters", ",extended_l2=on", BASE, UPPER, true },
    };
    static const Case commit_cases[] = {
        { "lowest", "", BASE, MID, false },
        { "highest", "", MID, UPPER, false },
        { "both", "", BASE, UPPER, false },
        { "threads", "", BASE, UPPER, true },
        { "small-clusters", ",cluster_size=4k", BASE, MID, false },
        { "subclusters", ",extended_l2=on", BASE, UPPER, true },
    };
    static const Case mirror_cases[] = {
        { "all", "", NONE },
        { "threads", "", NONE, .threaded = true },
        { "small-clusters", ",cluster_size=4k", NONE },
        { "subclusters", ",extended_l2=on", NONE, .threaded = true },
        { "top", "", UPPER },
        { "top-threads", "", UPPER, .threaded = true },
        { "top-small-clusters", ",cluster_size=4k", UPPER },
        { "top-subclusters", ",extended_l2=on", UPPER, .threaded = true },
    };
    static const Case active_commit_cases[] = {
        { "lowest", "", BASE },
        { "highest", "", UPPER },
        { "threads", "", MID, .threaded = true },
        { "small-clusters", ",cluster_size=4k", BASE },
        { "subclusters", ",extended_l2=on", MID, .threaded = true },
    };
    static const DepthCase depth_cases[] = {
        { "backup", run_backups },
        { "mirror", run_mirror },
        { "stream", run_stream },
        { "commit", run_commit },
    };
    int ret;

    g_test_init(&argc, &argv, NULL);
    bdrv_init();
    qemu_init_main_loop(&error_fatal);
    directory = g_dir_make_tmp("zoned-jobs-XXXXXX", NULL);
    g_assert_nonnull(directory);
    for (int layer = BASE; layer < IMAGES; layer++) {
        paths[layer] = g_build_filename(directory, node_names[layer], NULL);
    }
    for (unsigned int i = 0; i < THREADS; i++) {
        threads[i] = iothread_new();
    }

    add_cases("stream", stream_cases, ARRAY_SIZE(stream_cases), test_stream);
    add_cases("commit", commit_cases, ARRAY_SIZE(commit_cases), test_commit);
    add_cases("mirror", mirror_cases, ARRAY_SIZE(mirror_cases), test_mirror);
    add_cases("active-commit", active_commit_cases,
              ARRAY_SIZE(active_commit_cases), test_active_commit);
    for (int i = 0; i < ARRAY_SIZE(depth_cases); i++) {
        g_autofree char *name = g_strdup_printf("/zoned-jobs/depth/%s",
                                                depth_cases[i].name);

        g_test_add_data_func(name, &depth_cases[i], test_depth);
    }
    g_test_add_func("/zoned-jobs/mirror/gap", test_mirror_gap);
    g_test_add_data_func("/zoned-jobs/stream/held-up/reset", reset_and_write,
                         test_stream_held);
    g_test_add_data_func("/zoned-jobs/stream/held-up/append",
                         append_in_the_cluster, test_stream_held);
    g_test_add_data_func("/zoned-jobs/stream/held-up/writes", write_in_a_row,
                         test_stream_held);
    g_test_add_data_func("/zoned-jobs/backup/early-write/done", "done",
                         test_early_write);
    g_test_add_data_func("/zoned-jobs/backup/early-write/in-flight",
                         "in-flight", test_early_write);
    ret = g_test_run();

    for (unsigned int i = 0; i < THREADS; i++) {
        iothread_join(threads[i]);
    }
    for (int layer = BASE; layer < IMAGES; layer++) {
        g_free(paths[layer]);
    }
    rmdir(directory);
    g_free(directory);
    return ret;
}
