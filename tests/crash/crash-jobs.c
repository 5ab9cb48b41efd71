/*
 * Jobs beside the requests of zone-workload
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "block/block_int.h"
#include "block/blockjob_int.h"
#include "block/dirty-bitmap.h"
#include "crash-disk.h"
#include "crash-jobs.h"

#define BUF_BYTES (64 * 1024)           /* of mirrors */
/* After so many requests a job begins, and what follows after so many turns */
#define FEWEST_REQUESTS 50
#define MOST_REQUESTS 150
#define MOST_TURNS 40

static BlockBackend *disk, *target;
static const char *steps;       /* a letter for each thing that is to be done */
static uint64_t begin_after;    /* so many requests */
static uint32_t turns;          /* until the next thing */
static bool may_move;
static Job *job;                /* NULL: none that is not over */
static uint64_t job_id, done_id;
static BdrvDirtyBitmap *bitmap;
static Notifier completed, cancelled;

static const struct {
    const char *what, *steps;
} plans[] = {
    { "stream", "s" },
    { "streambase", "S" },
    { "commit", "c" },
    { "active", "ap" },
    { "backup", "b" },
    { "incremental", "bi" },
    { "mirror", "mp" },
    { "mirrortop", "tp" },
    { "copy", "ml" },
};

void crash_jobs_init(const char *what, BlockBackend *blk,
                     const char *target_name)
{
    int i = 0;

    while (!g_str_equal(plans[i].what, what)) {
        g_assert(++i < ARRAY_SIZE(plans));
    }
    steps = plans[i].steps;
    begin_after = FEWEST_REQUESTS +
                  crash_random(MOST_REQUESTS - FEWEST_REQUESTS);
    disk = blk;
    if (target_name) {
        target = blk_new_open(target_name, NULL, NULL, BDRV_O_RDWR,
                              &error_fatal);
        blk_set_perm(target, 0, BLK_PERM_ALL, &error_abort);
    }
}

/* --- Their ends --- */

/* When management is told, and before the job goes away */
static void job_has_ended(Notifier *n, void *opaque)
{
    Job *ended = opaque;

    crash_log_end(job_id, 0, 0, ended->ret);
    if (done_id) {
        crash_log_end(done_id, 0, 0, ended->ret);
    }
}

static void follow(void)
{
    JOB_LOCK_GUARD();

    job = job_get_locked("job");
    g_assert_nonnull(job);
    job_ref_locked(job);
    completed.notify = cancelled.notify = job_has_ended;
    notifier_list_add(&job->on_finalize_completed, &completed);
    notifier_list_add(&job->on_finalize_cancelled, &cancelled);
}

static bool is_over(void)
{
    JOB_LOCK_GUARD();

    if (job && job_is_completed_locked(job)) {
        job_unref_locked(job);
        job = NULL;
    }
    return !job;
}

static bool is_ready(void)
{
    JOB_LOCK_GUARD();

    return job && job_is_ready_locked(job);
}

/* --- What is done --- */

static void begin_job(void)
{
    job_id = crash_log_begin('j', 0, 0, 0, NULL);
    done_id = 0;
}

static void start_mirror(MirrorSyncMode mode)
{
    begin_job();
    mirror_start("job", blk_bs(disk), blk_bs(target), NULL, JOB_DEFAULT, 0, 0,
                 BUF_BYTES, mode, MIRROR_LEAVE_BACKING_CHAIN, false,
                 BLOCKDEV_ON_ERROR_REPORT, BLOCKDEV_ON_ERROR_REPORT, true, NULL,
                 MIRROR_COPY_MODE_BACKGROUND, &error_abort);
}

/* As a transaction of block-dirty-bitmap-add and blockdev-backup does it */
static void start_backup(MirrorSyncMode mode)
{
    BlockDriverState *bs = blk_bs(disk);
    BackupPerf perf = { .max_workers = 1, .max_chunk = 64 * 1024 };
    BlockJob *backup;
    uint64_t id;

    begin_job();
    id = crash_log_begin('q', 0, 0, 0, NULL);
    bdrv_drained_begin(bs);
    if (!bitmap) {
        bitmap = bdrv_create_dirty_bitmap(bs, 64 * 1024, "bitmap",
                                          &error_abort);
    }
    backup = backup_job_create("job", bs, blk_bs(target), 0, mode,
                               mode == MIRROR_SYNC_MODE_FULL ? NULL : bitmap,
                               BITMAP_SYNC_MODE_ON_SUCCESS, false, false, NULL,
                               &perf, BLOCKDEV_ON_ERROR_REPORT,
                               BLOCKDEV_ON_ERROR_REPORT, JOB_DEFAULT, NULL,
                               NULL, NULL, &error_abort);
    job_start(&backup->job);
    bdrv_drained_end(bs);
    crash_log_end(id, 0, 0, 0);
}

static void do_step(char step)
{
    BlockDriverState *top = blk_bs(disk), *base = bdrv_find_node("base");

    switch (step) {
    case 's':
        begin_job();
        stream_start("job", top, NULL, NULL, false, NULL, JOB_DEFAULT, 0,
                     BLOCKDEV_ON_ERROR_REPORT, NULL, &error_abort);
        break;
    case 'S':
        begin_job();
        stream_start("job", top, base, "base", false, NULL, JOB_DEFAULT, 0,
                     BLOCKDEV_ON_ERROR_REPORT, NULL, &error_abort);
        break;
    case 'c':
        begin_job();
        commit_start("job", top, base, bdrv_find_node("upper"), JOB_DEFAULT, 0,
                     BLOCKDEV_ON_ERROR_REPORT, "base", false, NULL,
                     &error_abort);
        break;
    case 'a':
        begin_job();
        commit_active_start("job", top, base, JOB_DEFAULT, 0,
                            BLOCKDEV_ON_ERROR_REPORT, NULL, NULL, NULL, false,
                            &error_abort);
        break;
    case 'b':
        start_backup(MIRROR_SYNC_MODE_FULL);
        break;
    case 'i':
        start_backup(MIRROR_SYNC_MODE_BITMAP);
        break;
    case 'm':
        start_mirror(MIRROR_SYNC_MODE_FULL);
        break;
    case 't':
        start_mirror(MIRROR_SYNC_MODE_TOP);
        break;
    case 'p':                   /* pivot */
    case 'l':                   /* leave the target as it is */
        done_id = crash_log_begin(step == 'p' ? 'y' : 'q', 0, 0, 0, NULL);
        WITH_JOB_LOCK_GUARD() {
            if (step == 'p') {
                job_complete_locked(job, &error_abort);
            } else {
                job_user_cancel_locked(job, false, &error_abort);
            }
        }
        return;
    default:
        g_assert_not_reached();
    }
    follow();
}

bool crash_jobs_step(bool busy, uint64_t done)
{
    if (!steps) {
        return false;
    }
    if (!*steps) {
        return !is_over();
    }
    if (!(is_over() || is_ready())) {
        return true;
    }
    if (*steps == 'p' && !may_move) {
        /* Not while it is only ready because nobody writes */
        may_move = !busy;
        return busy;
    }
    /* The moment of a copy is only known if nothing happens meanwhile */
    if (busy && (done < begin_after || turns || *steps == 'l')) {
        turns -= turns > 0;
        return true;
    }
    turns = crash_random(MOST_TURNS);
    do_step(*steps++);
    return true;
}
