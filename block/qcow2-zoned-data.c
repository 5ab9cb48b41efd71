/*
 * Zoned qcow2: the data of mapped zones
 *
 * It goes straight to its place in the file, encrypted if the image is.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/memalign.h"
#include "block/aio_task.h"
#include "qcow2-zoned-int.h"

/*
 * So much is copied at a time, and encrypted or decrypted in a worker thread.  What
 * is larger has up to QCOW2_MAX_WORKERS such pieces in flight.
 */
#define COPY_BYTES (256 * KiB)

/*
 * After a flush, so much is written with checksums, for claims.  More costs the
 * writer time, and is not worth saving a flush.
 */
#define SUMMED_BYTES COPY_BYTES

/* Some data, and where it is */
typedef struct DataPiece {
    AioTask task;
    BlockDriverState *bs;
    uint64_t host, offset;
    uint64_t bytes;
    QEMUIOVector *qiov;
    size_t qiov_offset;
    ZoneWrite *summed;          /* the write that gets its checksum, or NULL */
} DataPiece;

/* --- The file --- */

static int coroutine_fn GRAPH_RDLOCK read_file(const DataPiece *p)
{
    BDRVQcow2State *s = p->bs->opaque;

    BLKDBG_CO_EVENT(p->bs->file, BLKDBG_READ_AIO);
    return bdrv_co_preadv_part(s->data_file, p->host, p->bytes, p->qiov,
                               p->qiov_offset, 0);
}

/* All data of mapped zones comes by here. */
static int coroutine_fn GRAPH_RDLOCK write_file(const DataPiece *p)
{
    BDRVQcow2State *s = p->bs->opaque;

    BLKDBG_CO_EVENT(p->bs->file, BLKDBG_WRITE_AIO);
    return bdrv_co_pwritev_part(s->data_file, p->host, p->bytes, p->qiov,
                                p->qiov_offset, 0);
}

/* --- Encryption and checksums --- */

static int coroutine_fn GRAPH_RDLOCK read_encrypted(AioTask *task)
{
    const DataPiece *p = container_of(task, DataPiece, task);
    BDRVQcow2State *s = p->bs->opaque;
    void *buf = qemu_try_blockalign(s->data_file->bs, p->bytes);
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, p->bytes);
    DataPiece below = *p;
    int ret;

    if (!buf) {
        return -ENOMEM;
    }
    below.qiov = &qiov;
    below.qiov_offset = 0;
    ret = read_file(&below);
    if (ret == 0 &&
        qcow2_co_decrypt(p->bs, p->host, p->offset, buf, p->bytes) < 0) {
        ret = -EIO;
    }
    if (ret == 0) {
        qemu_iovec_from_buf(p->qiov, p->qiov_offset, buf, p->bytes);
    }
    qemu_vfree(buf);
    return ret;
}

/* After as many writes as last time, probably. */
static bool expects_flush(Qcow2Zoned *z)
{
    return qatomic_fetch_inc(&z->writes_summed) + 1 ==
           qatomic_read(&z->writes_expected);
}

/*
 * The guest may change its buffer meanwhile, so what is encrypted, or has a
 * checksum, is a copy.
 */
static int coroutine_fn GRAPH_RDLOCK write_copy(AioTask *task)
{
    const DataPiece *p = container_of(task, DataPiece, task);
    BDRVQcow2State *s = p->bs->opaque;
    void *buf = qemu_try_blockalign(s->data_file->bs, p->bytes);
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, p->bytes);
    DataPiece below = *p;
    int ret = 0;

    if (!buf) {
        return p->bs->encrypted ? -ENOMEM : write_file(p);
    }
    qemu_iovec_to_buf(p->qiov, p->qiov_offset, buf, p->bytes);
    if (p->bs->encrypted &&
        qcow2_co_encrypt(p->bs, p->host, p->offset, buf, p->bytes) < 0) {
        ret = -EIO;
    }
    if (ret == 0) {
        if (p->summed) {
            p->summed->has_sum = true;
            p->summed->sum = ZONE_CHECKSUM_INIT;
            zone_checksum_update(&p->summed->sum, buf, p->bytes);
            if (expects_flush(s->zoned)) {
                qcow2_zone_claims_write_ahead(p->bs, p->summed);
            }
        }
        below.qiov = &qiov;
        below.qiov_offset = 0;
        ret = write_file(&below);
    }
    qemu_vfree(buf);
    return ret;
}

/* Let @func do it, in pieces if there is much of it. */
static int coroutine_fn GRAPH_RDLOCK
do_in_pieces(const DataPiece *all, AioTaskFunc func)
{
    DataPiece p = *all;
    AioTaskPool *pool;
    int ret;

    if (all->bytes <= COPY_BYTES) {
        return func(&p.task);
    }
    pool = aio_task_pool_new(QCOW2_MAX_WORKERS);
    p.task.func = func;
    for (uint64_t done = 0; done < all->bytes &&
         aio_task_pool_status(pool) == 0; done += p.bytes) {
        DataPiece *piece;

        p.host = all->host + done;
        p.offset = all->offset + done;
        p.bytes = MIN(all->bytes - done, COPY_BYTES);
        p.qiov_offset = all->qiov_offset + done;
        piece = g_memdup2(&p, sizeof(p));
        aio_task_pool_start_task(pool, &piece->task);
    }
    aio_task_pool_wait_all(pool);
    ret = aio_task_pool_status(pool);
    g_free(pool);
    return ret;
}

/* --- Interface --- */

int coroutine_fn
qcow2_zoned_read_at(BlockDriverState *bs, uint64_t host, uint64_t offset,
                    uint64_t bytes, QEMUIOVector *qiov, size_t qiov_offset)
{
    DataPiece p = {
        .bs = bs, .host = host, .offset = offset, .bytes = bytes,
        .qiov = qiov, .qiov_offset = qiov_offset,
    };

    return bs->encrypted ? do_in_pieces(&p, read_encrypted) : read_file(&p);
}

static bool wants_sum(Qcow2Zoned *z, uint64_t bytes)
{
    uint64_t unflushed = qatomic_read_u64(&z->unflushed);

    if (!z->claims.offset || unflushed > SUMMED_BYTES) {
        return false;
    }
    qatomic_set_u64(&z->unflushed, unflushed + bytes);
    return unflushed + bytes <= SUMMED_BYTES;
}

int coroutine_fn
qcow2_zoned_write_at(BlockDriverState *bs, ZoneWrite *w, uint64_t host,
                     uint64_t offset, uint64_t bytes, QEMUIOVector *qiov,
                     size_t qiov_offset)
{
    BDRVQcow2State *s = bs->opaque;
    DataPiece p = {
        .bs = bs, .host = host, .offset = offset, .bytes = bytes,
        .qiov = qiov, .qiov_offset = qiov_offset,
    };

    if (w->end - w->start == bytes && wants_sum(s->zoned, bytes)) {
        p.summed = w;
    }
    return bs->encrypted || p.summed ? do_in_pieces(&p, write_copy)
                                     : write_file(&p);
}

int coroutine_fn
qcow2_zoned_zero_at(BlockDriverState *bs, uint64_t host, uint64_t offset,
                    uint64_t bytes, BdrvRequestFlags flags)
{
    BDRVQcow2State *s = bs->opaque;
    g_autofree void *zeroes = NULL;
    uint64_t n;
    int ret = 0;

    if (!bs->encrypted) {
        return bdrv_co_pwrite_zeroes(s->data_file, host, bytes,
                                     flags & BDRV_REQ_MAY_UNMAP);
    }
    zeroes = g_malloc0(MIN(bytes, QCOW2_ZONED_ZERO_BYTES));
    for (uint64_t done = 0; done < bytes && ret == 0; done += n) {
        QEMUIOVector qiov;
        DataPiece p = {
            .bs = bs, .host = host + done, .offset = offset + done,
            .qiov = &qiov,
        };

        p.bytes = n = MIN(bytes - done, QCOW2_ZONED_ZERO_BYTES);
        qemu_iovec_init_buf(&qiov, zeroes, n);
        ret = do_in_pieces(&p, write_copy);
    }
    return ret;
}
