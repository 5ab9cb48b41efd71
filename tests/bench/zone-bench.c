/*
 * Generate load on disks of any format, and time it
 *
 * usage: zone-bench < COMMANDS
 *
 * Each line is a command and has one line of answer: "error" and a message,
 * or numbers.  Only what is measured is timed; times are in nanoseconds.
 * DISK is any name; the same disk can be used until it is closed.
 *
 *  open DISK FILENAME          time; "json:..." is a filename, too
 *  close DISK
 *  write|fua|append|read DISK BLOCK DEPTH FLUSH BYTES MS [STEP]
 *                              bytes done, time.  BLOCK bytes each, from the
 *                              start on, DEPTH at a time, until there are
 *                              BYTES or MS milliseconds are over; after every
 *                              FLUSH of them a flush (0: none).  "fua": writes
 *                              that are durable when they complete, as all are
 *                              in writethrough mode.  With STEP, requests begin
 *                              so many bytes apart, within BYTES.
 *  reset|discard|finish DISK BLOCK DEPTH FLUSH BYTES MS
 *                              the same for ranges of BLOCK bytes
 *  backup DISK FILENAME        bytes copied, time until the target is closed
 *  mirror DISK FILENAME        time until all is there and the target is closed
 *  stream DISK                 time
 *  commit DISK                 time, of its backing file to that below
 *  commit-active DISK          time until its backing file has all
 *  beside DISK BLOCK DEPTH START BYTES MS [FILENAME]
 *                              bytes done, time, of writes of BYTES from START
 *                              on, or for MS milliseconds, while DISK is backed up
 *                              to FILENAME; returns when that is closed
 *  latency                     of the last of these: median, that of 99.99% of
 *                              the requests, and the longest; without flushes
 *  flush DISK                  time
 *  report DISK                 zones, time
 *  secret ID PASSPHRASE        an object for encrypted disks
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "block/block_int.h"
#include "block/blockjob.h"
#include "block/zoned-compat.h"
#include "qom/object.h"
#include "system/block-backend.h"
#include "block-program.h"

/* Zones asked for at a time, about what a guest does */
#define REPORT_ZONES 1024

static GHashTable *disks;       /* BlockBackend by name */
static GArray *latencies;       /* int64_t, of each request of the last load */

/* --- Load --- */

typedef struct Load Load;
typedef int coroutine_fn Request(Load *load, uint64_t offset, void *buf);

struct Load {
    BlockBackend *blk;
    Request *request;
    uint64_t block, bytes, step;
    uint64_t flush_every;
    int64_t deadline;

    uint64_t begun, requests;
    unsigned int workers;
    int ret;
};

static int coroutine_fn do_write(Load *load, uint64_t offset, void *buf)
{
    return blk_co_pwrite(load->blk, offset, load->block, buf, 0);
}

static int coroutine_fn do_fua(Load *load, uint64_t offset, void *buf)
{
    return blk_co_pwrite(load->blk, offset, load->block, buf, BDRV_REQ_FUA);
}

static int coroutine_fn do_read(Load *load, uint64_t offset, void *buf)
{
    return blk_co_pread(load->blk, offset, load->block, buf, 0);
}

static int coroutine_fn do_append(Load *load, uint64_t offset, void *buf)
{
    int64_t zone = QEMU_ALIGN_DOWN(offset, blk_bs(load->blk)->bl.zones.size);
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, load->block);

    return blk_co_zone_append(load->blk, &zone, &qiov, 0);
}

static int coroutine_fn do_discard(Load *load, uint64_t offset, void *buf)
{
    return zoned_co_pdiscard(load->blk, offset, load->block);
}

static int coroutine_fn do_reset(Load *load, uint64_t offset, void *buf)
{
    return blk_co_zone_mgmt(load->blk, BLK_ZO_RESET, 0, offset, load->block,
                            NULL);
}

static int coroutine_fn do_finish(Load *load, uint64_t offset, void *buf)
{
    return blk_co_zone_mgmt(load->blk, BLK_ZO_FINISH, 0, offset, load->block,
                            NULL);
}

static const struct {
    const char *name;
    Request *request;
    bool needs_buffer;
} kinds[] = {
    { "write", do_write, true },
    { "fua", do_fua, true },
    { "append", do_append, true },
    { "read", do_read, true },
    { "discard", do_discard },
    { "reset", do_reset },
    { "finish", do_finish },
};

typedef struct Worker {
    Load *load;
    void *buf;
} Worker;

static void coroutine_fn work(void *opaque)
{
    Worker *worker = opaque;
    Load *load = worker->load;
    int64_t start;

    while (load->begun < load->bytes && load->ret == 0 &&
           (start = get_clock()) < load->deadline) {
        uint64_t offset = load->begun;
        int64_t latency;
        int ret;

        load->begun += load->step;
        ret = load->request(load, offset, worker->buf);
        latency = get_clock() - start;
        g_array_append_val(latencies, latency);
        load->requests++;
        if (ret == 0 && load->flush_every &&
            load->requests % load->flush_every == 0) {
            ret = blk_co_flush(load->blk);
        }
        load->ret = load->ret ?: MIN(ret, 0);
    }
    load->workers--;
}

static void run_load(Load *load, unsigned int depth, bool needs_buffer)
{
    g_autofree Worker *workers = g_new(Worker, depth);
    int64_t start;

    for (unsigned int i = 0; i < depth; i++) {
        workers[i].load = load;
        workers[i].buf = NULL;
        if (needs_buffer) {
            workers[i].buf = blk_blockalign(load->blk, load->block);
            memset(workers[i].buf, 'A' + i % 26, load->block);
        }
    }
    g_array_set_size(latencies, 0);
    start = get_clock();
    load->deadline += start;
    load->workers = depth;
    for (unsigned int i = 0; i < depth; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(work, &workers[i]));
    }
    while (load->workers) {
        aio_poll(qemu_get_aio_context(), true);
    }
    if (load->ret < 0) {
        printf("error %s\n", strerror(-load->ret));
    } else {
        printf("%" PRIu64 " %" PRId64 "\n", load->requests * load->block,
               get_clock() - start);
    }
    for (unsigned int i = 0; i < depth; i++) {
        qemu_vfree(workers[i].buf);
    }
}

/* --- Commands --- */

static void open_disk(const char *name, const char *filename)
{
    Error *local_err = NULL;
    int64_t start = get_clock();
    BlockBackend *blk = blk_new_open(filename, NULL, NULL,
                                     BDRV_O_RDWR | BDRV_O_NOCACHE, &local_err);

    if (!blk) {
        printf("error %s\n", error_get_pretty(local_err));
        error_free(local_err);
        return;
    }
    printf("%" PRId64 "\n", get_clock() - start);
    g_hash_table_insert(disks, g_strdup(name), blk);
}

static void report(BlockBackend *blk)
{
    g_autofree BlockZoneDescriptor *zones = g_new(BlockZoneDescriptor,
                                                  REPORT_ZONES);
    int64_t start = get_clock();
    uint64_t done = 0;
    unsigned int n;

    while (done < blk_bs(blk)->bl.zones.nr_zones) {
        n = REPORT_ZONES;
        g_assert(blk_zone_report(blk, done * blk_bs(blk)->bl.zones.size, &n,
                                 zones) == 0);
        done += n;
    }
    printf("%" PRIu64 " %" PRId64 "\n", done, get_clock() - start);
}

static int compare(gconstpointer a, gconstpointer b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void latency(void)
{
    unsigned int n = latencies->len;

    if (!n) {
        printf("error nothing was done\n");
        return;
    }
    g_array_sort(latencies, compare);
    printf("%" PRId64 " %" PRId64 " %" PRId64 "\n",
           g_array_index(latencies, int64_t, n / 2),
           g_array_index(latencies, int64_t, n - 1 - n / 10000),
           g_array_index(latencies, int64_t, n - 1));
}

static void add_secret(const char *id, const char *passphrase)
{
    object_new_with_props("secret", object_get_objects_root(), id, &error_fatal,
                          "data", passphrase, NULL);
    printf("0\n");
}

/* --- Jobs --- */

typedef struct Backup {
    BlockDriverState *target;
    int64_t start, end, bytes;
    BlockJob *job;
    bool done;
    int ret;
} Backup;

/* What was copied is durable then, with zones or without */
static void close_target(void *opaque)
{
    Backup *b = opaque;

    bdrv_unref(b->target);
    b->end = get_clock();
    b->done = true;
}

static void backup_done(void *opaque, int ret)
{
    Backup *b = opaque;
    uint64_t total;

    progress_get_snapshot(&b->job->job.progress, (uint64_t *)&b->bytes, &total);
    b->ret = ret;
    /* The job still uses the target */
    aio_bh_schedule_oneshot(qemu_get_aio_context(), close_target, b);
}

static bool start_backup(Backup *b, BlockBackend *blk, const char *filename,
                         Error **errp)
{
    BlockDriverState *bs = blk_bs(blk);
    BackupPerf perf = { .max_workers = 64 };

    b->target = bdrv_open(filename, NULL, NULL,
                          BDRV_O_RDWR | BDRV_O_NOCACHE, errp);
    if (!b->target) {
        return false;
    }
    b->start = get_clock();
    bdrv_drained_begin(bs);
    b->job = backup_job_create(NULL, bs, b->target, 0, MIRROR_SYNC_MODE_FULL,
                               NULL, 0, false, false, NULL, &perf,
                               BLOCKDEV_ON_ERROR_REPORT,
                               BLOCKDEV_ON_ERROR_REPORT, JOB_INTERNAL,
                               backup_done, b, NULL, errp);
    bdrv_drained_end(bs);
    if (!b->job) {
        bdrv_unref(b->target);
        return false;
    }
    job_start(&b->job->job);
    return true;
}

/* True: it went well. */
static bool end_backup(Backup *b)
{
    while (!b->done) {
        aio_poll(qemu_get_aio_context(), true);
    }
    if (b->ret < 0) {
        printf("error %s\n", strerror(-b->ret));
    }
    return b->ret == 0;
}

static void backup(BlockBackend *blk, const char *filename)
{
    Error *local_err = NULL;
    Backup b = {};

    if (!start_backup(&b, blk, filename, &local_err)) {
        printf("error %s\n", error_get_pretty(local_err));
        error_free(local_err);
    } else if (end_backup(&b)) {
        printf("%" PRId64 " %" PRId64 "\n", b.bytes, b.end - b.start);
    }
}

static void wait_for_job(void)
{
    bool done = false;

    while (!done) {
        WITH_JOB_LOCK_GUARD() {
            done = !block_job_next_locked(NULL);
        }
        if (!done) {
            aio_poll(qemu_get_aio_context(), true);
        }
    }
}

/* Print the time since @start, or what went wrong. */
static void print_time(int64_t start, int ret, Error *err)
{
    if (err) {
        printf("error %s\n", error_get_pretty(err));
        error_free(err);
    } else if (ret < 0) {
        printf("error %s\n", strerror(-ret));
    } else {
        printf("%" PRId64 "\n", get_clock() - start);
    }
}

/* Until the target has all, which it keeps then */
static int end_mirror(void)
{
    bool ready = false;
    BlockJob *job;

    WITH_JOB_LOCK_GUARD() {
        job = block_job_next_locked(NULL);
        job_ref_locked(&job->job);
    }
    while (!ready) {
        aio_poll(qemu_get_aio_context(), true);
        WITH_JOB_LOCK_GUARD() {
            ready = job_is_ready_locked(&job->job) ||
                    job_is_completed_locked(&job->job);
        }
    }
    WITH_JOB_LOCK_GUARD() {
        int ret = job_cancel_sync_locked(&job->job, false);

        job_unref_locked(&job->job);
        return ret;
    }
    g_assert_not_reached();
}

static void mirror(BlockBackend *blk, const char *filename)
{
    Error *local_err = NULL;
    int64_t start = 0;
    int ret = 0;
    BlockDriverState *target = bdrv_open(filename, NULL, NULL,
                                         BDRV_O_RDWR | BDRV_O_NOCACHE,
                                         &local_err);

    if (target) {
        start = get_clock();
        mirror_start(NULL, blk_bs(blk), target, NULL, JOB_INTERNAL, 0, 0, 0,
                     MIRROR_SYNC_MODE_FULL, MIRROR_LEAVE_BACKING_CHAIN, false,
                     BLOCKDEV_ON_ERROR_REPORT, BLOCKDEV_ON_ERROR_REPORT, true,
                     NULL, MIRROR_COPY_MODE_BACKGROUND, &local_err);
        ret = local_err ? 0 : end_mirror();
        bdrv_unref(target);
    }
    print_time(start, ret, local_err);
}

static void stream(BlockBackend *blk)
{
    Error *local_err = NULL;
    int64_t start = get_clock();

    stream_start(NULL, blk_bs(blk), NULL, NULL, false, NULL, JOB_INTERNAL, 0,
                 BLOCKDEV_ON_ERROR_REPORT, NULL, &local_err);
    if (!local_err) {
        wait_for_job();
    }
    print_time(start, 0, local_err);
}

static void commit(BlockBackend *blk)
{
    Error *local_err = NULL;
    int64_t start = get_clock();
    BlockDriverState *top, *base;

    bdrv_graph_rdlock_main_loop();
    top = bdrv_cow_bs(blk_bs(blk));
    base = bdrv_cow_bs(top);
    bdrv_graph_rdunlock_main_loop();
    commit_start(NULL, blk_bs(blk), base, top, JOB_INTERNAL, 0,
                 BLOCKDEV_ON_ERROR_REPORT, NULL, false, NULL, &local_err);
    if (!local_err) {
        wait_for_job();
    }
    print_time(start, 0, local_err);
}

static void commit_active(BlockBackend *blk)
{
    Error *local_err = NULL;
    int64_t start = get_clock();
    BlockDriverState *base;
    int ret = 0;

    bdrv_graph_rdlock_main_loop();
    base = bdrv_cow_bs(blk_bs(blk));
    bdrv_graph_rdunlock_main_loop();
    commit_active_start(NULL, blk_bs(blk), base, JOB_INTERNAL, 0,
                        BLOCKDEV_ON_ERROR_REPORT, NULL, NULL, NULL, false,
                        &local_err);
    if (!local_err) {
        ret = end_mirror();
    }
    print_time(start, ret, local_err);
}

static void load_command(BlockBackend *blk, char **words, unsigned int n)
{
    Load load = {
        .blk = blk,
        .block = block_program_number(words[2]),
        .step = block_program_number(words[n == 8 ? 7 : 2]),
        .flush_every = block_program_number(words[4]),
        .bytes = block_program_number(words[5]),
        .deadline = block_program_number(words[6]) * SCALE_MS,
    };

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (g_str_equal(words[0], kinds[i].name)) {
            load.request = kinds[i].request;
            run_load(&load, block_program_number(words[3]), kinds[i].needs_buffer);
            return;
        }
    }
    printf("error no such command: %s\n", words[0]);
}

static void beside(BlockBackend *blk, char **words, const char *filename)
{
    Load load = {
        .blk = blk,
        .request = do_write,
        .block = block_program_number(words[2]),
        .step = block_program_number(words[2]),
        .begun = block_program_number(words[4]),
        .bytes = block_program_number(words[4]) + block_program_number(words[5]),
        .deadline = block_program_number(words[6]) * SCALE_MS,
    };
    Error *local_err = NULL;
    Backup b = {};

    if (filename && !start_backup(&b, blk, filename, &local_err)) {
        printf("error %s\n", error_get_pretty(local_err));
        error_free(local_err);
        return;
    }
    run_load(&load, block_program_number(words[3]), true);
    if (filename && !end_backup(&b)) {
        exit(EXIT_FAILURE);
    }
}

static void command(char **words)
{
    BlockBackend *blk = words[0] && words[1] ?
                        g_hash_table_lookup(disks, words[1]) : NULL;
    unsigned int n = g_strv_length(words);

    if (n == 1 && g_str_equal(words[0], "latency")) {
        latency();
    } else if (n == 3 && g_str_equal(words[0], "secret")) {
        add_secret(words[1], words[2]);
    } else if (n == 3 && g_str_equal(words[0], "open") && !blk) {
        open_disk(words[1], words[2]);
    } else if (n == 2 && g_str_equal(words[0], "close") && blk) {
        g_hash_table_remove(disks, words[1]);
        printf("0\n");
    } else if (n == 2 && g_str_equal(words[0], "flush") && blk) {
        int64_t start = get_clock();

        g_assert(blk_flush(blk) == 0);
        printf("%" PRId64 "\n", get_clock() - start);
    } else if (n == 3 && g_str_equal(words[0], "backup") && blk) {
        backup(blk, words[2]);
    } else if (n == 3 && g_str_equal(words[0], "mirror") && blk) {
        mirror(blk, words[2]);
    } else if (n == 2 && g_str_equal(words[0], "stream") && blk) {
        stream(blk);
    } else if (n == 2 && g_str_equal(words[0], "commit") && blk) {
        commit(blk);
    } else if (n == 2 && g_str_equal(words[0], "commit-active") && blk) {
        commit_active(blk);
    } else if (n >= 7 && g_str_equal(words[0], "beside") && blk) {
        beside(blk, words, n > 7 ? words[7] : NULL);
    } else if (n == 2 && g_str_equal(words[0], "report") && blk) {
        report(blk);
    } else if ((n == 7 || n == 8) && blk) {
        load_command(blk, words, n);
    } else {
        printf("error see zone-bench.c\n");
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t size = 0;

    block_program_init(argv[0]);
    latencies = g_array_new(false, false, sizeof(int64_t));
    disks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                  (GDestroyNotify)blk_unref);
    while (getline(&line, &size, stdin) > 0) {
        g_auto(GStrv) words = g_strsplit(g_strchomp(line), " ", 3);

        if (words[0] && !g_str_equal(words[0], "open")) {
            g_strfreev(words);
            words = g_strsplit(line, " ", -1);
        }
        command(words);
    }
    g_hash_table_unref(disks);
    g_array_unref(latencies);
    free(line);
    return 0;
}
