/*
 * A disk in memory that logs what happens to it, for power-loss tests
 *
 * A block driver, "crash-disk", whose content begins as that of the file named.
 * Requests take a random number of turns of the event loop, so that they
 * overtake each other, and always the same ones for one seed.  The log tells
 * when each was submitted and when it ended; what a power cut may leave of it
 * is the reader's to say.  (blklogwrites writes its entry when a request has
 * ended, so a write that ends during a flush looks as if that had covered it,
 * and does not see how the file grows.)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "block/aio.h"
#include "block/block_int.h"
#include "block-program.h"
#include "crash-disk.h"

#define MAX_LENGTH (64 * 1024 * 1024)

typedef struct CrashDisk {
    uint32_t number;            /* in the order in which they were opened */
    RamDisk ram;
} CrashDisk;

GRand *crash_rand;
uint32_t crash_fail_writes, crash_fail_flushes;
uint32_t crash_discards;
static int log_fd = -1;

/* --- The log --- */

static uint64_t last_id;

void crash_log_open(const char *path)
{
    log_fd = qemu_create(path, O_WRONLY | O_APPEND, 0644, &error_fatal);
    /* Higher than any number that is in the log */
    last_id = lseek(log_fd, 0, SEEK_END);
}

static void log_event(const CrashEvent *e, QEMUIOVector *payload)
{
    struct iovec head = { (void *)e, sizeof(*e) };

    /* Nothing is buffered: the log must survive the end of this process */
    g_assert(writev(log_fd, &head, 1) == sizeof(*e));
    if (payload) {
        g_autofree uint8_t *buf = g_malloc(payload->size);

        qemu_iovec_to_buf(payload, 0, buf, payload->size);
        g_assert(write(log_fd, buf, payload->size) == payload->size);
    }
}

uint64_t crash_log_begin(char kind, uint32_t disk, uint64_t offset,
                         uint64_t bytes, QEMUIOVector *payload)
{
    CrashEvent e = {
        .kind = kind, .disk = disk, .id = ++last_id,
        .offset = offset, .bytes = bytes,
    };

    log_event(&e, payload);
    return e.id;
}

void crash_log_end(uint64_t id, uint64_t offset, uint64_t bytes, int64_t result)
{
    CrashEvent e = {
        .kind = EVENT_END, .id = id,
        .offset = offset, .bytes = bytes, .result = result,
    };

    log_event(&e, NULL);
}

/* --- The driver --- */

static int crash_disk_open(BlockDriverState *bs, QDict *options, int flags,
                           Error **errp)
{
    static uint32_t nr_disks;
    CrashDisk *d = bs->opaque;
    g_autofree char *content = NULL;
    gsize length;

    if (!g_file_get_contents(qdict_get_str(options, "filename"), &content,
                             &length, NULL) || length > MAX_LENGTH) {
        error_setg(errp, "cannot read the file");
        return -EINVAL;
    }
    qdict_del(options, "filename");
    *d = (CrashDisk) {
        .number = nr_disks++,
        .ram = {
            .data = g_malloc0(MAX_LENGTH),
            .length = length,
            .max_length = MAX_LENGTH,
        },
    };
    memcpy(d->ram.data, content, length);
    return 0;
}

static void crash_disk_close(BlockDriverState *bs)
{
    CrashDisk *d = bs->opaque;

    g_free(d->ram.data);
}

static int crash_disk_reopen_prepare(BDRVReopenState *state,
                                     BlockReopenQueue *queue, Error **errp)
{
    return 0;
}

/* As with O_DIRECT */
static void crash_disk_refresh_limits(BlockDriverState *bs, Error **errp)
{
    bs->bl.request_alignment = BDRV_SECTOR_SIZE;
}

static int64_t coroutine_fn crash_disk_co_getlength(BlockDriverState *bs)
{
    CrashDisk *d = bs->opaque;

    return d->ram.length;
}

static bool fails(uint32_t one_in)
{
    return one_in && crash_random(one_in) == 0;
}

static void coroutine_fn take_some_time(void)
{
    /* Most are quick; few are much slower than all others */
    uint32_t turns = crash_random(crash_random(16) ? 6 : 60);

    do {
        aio_co_schedule(qemu_get_current_aio_context(), qemu_coroutine_self());
        qemu_coroutine_yield();
    } while (turns--);
}

static int coroutine_fn
crash_disk_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes,
                     QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    CrashDisk *d = bs->opaque;

    take_some_time();
    ram_disk_read(&d->ram, offset, qiov);
    return 0;
}

/* Write @qiov, or zeroes without one; like a disk, not always all of it. */
static int coroutine_fn do_write(BlockDriverState *bs, char kind,
                                 int64_t offset, int64_t bytes,
                                 QEMUIOVector *qiov)
{
    CrashDisk *d = bs->opaque;
    uint64_t id = crash_log_begin(kind, d->number, offset, bytes, qiov);
    int failed = 0, ret;

    take_some_time();
    if (fails(crash_fail_writes)) {
        failed = -EIO;
        bytes = QEMU_ALIGN_DOWN(bytes / 2, BDRV_SECTOR_SIZE);
    }
    ret = ram_disk_write(&d->ram, offset, bytes, qiov);
    crash_log_end(id, offset, ret < 0 ? 0 : bytes, ret < 0 ? ret : failed);
    return ret < 0 ? ret : failed;
}

static int coroutine_fn
crash_disk_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes,
                      QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    return do_write(bs, EVENT_WRITE, offset, bytes, qiov);
}

static int coroutine_fn
crash_disk_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                            int64_t bytes, BdrvRequestFlags flags)
{
    return do_write(bs, EVENT_ZERO, offset, bytes, NULL);
}

static int coroutine_fn
crash_disk_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    CrashDisk *d = bs->opaque;

    crash_discards++;
    bytes = MIN(bytes, d->ram.length - offset);
    return bytes > 0 ? do_write(bs, EVENT_ZERO, offset, bytes, NULL) : 0;
}

static int coroutine_fn crash_disk_co_flush(BlockDriverState *bs)
{
    CrashDisk *d = bs->opaque;
    uint64_t id = crash_log_begin(EVENT_FLUSH, d->number, 0, 0, NULL);
    int ret = fails(crash_fail_flushes) ? -EIO : 0;

    take_some_time();
    crash_log_end(id, 0, 0, ret);
    return ret;
}

static int coroutine_fn
crash_disk_co_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                       PreallocMode prealloc, BdrvRequestFlags flags,
                       Error **errp)
{
    CrashDisk *d = bs->opaque;
    uint64_t id = crash_log_begin(EVENT_TRUNCATE, d->number, offset, 0, NULL);
    int ret;

    take_some_time();
    ret = ram_disk_truncate(&d->ram, offset, errp);
    crash_log_end(id, offset, 0, ret);
    return ret;
}

static BlockDriver bdrv_crash_disk = {
    .format_name            = "crash-disk",
    .protocol_name          = "crash-disk",
    .instance_size          = sizeof(CrashDisk),

    .bdrv_open              = crash_disk_open,
    .bdrv_close             = crash_disk_close,
    .bdrv_reopen_prepare    = crash_disk_reopen_prepare,
    .bdrv_refresh_limits    = crash_disk_refresh_limits,
    .bdrv_co_getlength      = crash_disk_co_getlength,
    .bdrv_co_preadv         = crash_disk_co_preadv,
    .bdrv_co_pwritev        = crash_disk_co_pwritev,
    .bdrv_co_pwrite_zeroes  = crash_disk_co_pwrite_zeroes,
    .bdrv_co_pdiscard       = crash_disk_co_pdiscard,
    .bdrv_co_flush_to_disk  = crash_disk_co_flush,
    .bdrv_co_truncate       = crash_disk_co_truncate,
};

static void crash_disk_init(void)
{
    bdrv_register(&bdrv_crash_disk);
}

block_init(crash_disk_init);
