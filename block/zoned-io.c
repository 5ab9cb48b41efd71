/*
 * Zone operations of a node
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/block-io.h"
#include "block/zoned-io.h"

/* --- Counting --- */

static void count(BdrvChild *child, BlockZoneCounter counter, uint64_t n)
{
    stat64_add(&child->zone_counters.n[counter], n);
    stat64_add(&child->bs->zone_counters.n[counter], n);
}

/*
 * Count @ret, if it is the errno of a broken rule.  -EINVAL is one of @zone_op
 * only, see block-zoned.h.
 */
static void count_refusal(BdrvChild *child, int ret, bool zone_op)
{
    switch (ret) {
    case -ERANGE:
        count(child, BDRV_ZC_BOUNDARY, 1);
        break;
    case -ESPIPE:
        count(child, BDRV_ZC_WRITE_POINTER, 1);
        break;
    case -EFBIG:
        count(child, BDRV_ZC_FULL, 1);
        break;
    case -EROFS:
        count(child, BDRV_ZC_READ_ONLY, 1);
        break;
    case -ENODEV:
        count(child, BDRV_ZC_OFFLINE, 1);
        break;
    case -EOVERFLOW:
        count(child, BDRV_ZC_ACTIVE_LIMIT, 1);
        break;
    case -ETOOMANYREFS:
        count(child, BDRV_ZC_OPEN_LIMIT, 1);
        break;
    case -ENOTTY:
    case -EUSERS:
        count(child, BDRV_ZC_RANDOM_WRITE_AREA, 1);
        break;
    case -EINVAL:
        if (zone_op) {
            count(child, BDRV_ZC_INVALID, 1);
        }
        break;
    default:
        break;
    }
}

void bdrv_zone_count_write(BdrvChild *child, int64_t bytes,
                           BdrvRequestFlags flags, int ret)
{
    if (child->bs->bl.zones.model == BLK_Z_NONE ||
        (flags & BDRV_REQ_WRITE_UNCHANGED)) {
        return;
    }
    if (ret < 0) {
        count_refusal(child, ret, false);
    } else {
        count(child, BDRV_ZC_WRITES, 1);
        count(child, BDRV_ZC_WRITE_BYTES, bytes);
    }
}

static void count_append(BdrvChild *child, int64_t bytes, int ret)
{
    if (ret < 0) {
        count_refusal(child, ret, true);
    } else {
        count(child, BDRV_ZC_APPENDS, 1);
        count(child, BDRV_ZC_APPEND_BYTES, bytes);
    }
}

static void count_mgmt(BdrvChild *child, BlockZoneOp op, int ret)
{
    if (ret < 0) {
        count_refusal(child, ret, true);
        return;
    }
    switch (op) {
    case BLK_ZO_OPEN:
        count(child, BDRV_ZC_OPENS, 1);
        break;
    case BLK_ZO_CLOSE:
        count(child, BDRV_ZC_CLOSES, 1);
        break;
    case BLK_ZO_FINISH:
        count(child, BDRV_ZC_FINISHES, 1);
        break;
    case BLK_ZO_RESET:
        count(child, BDRV_ZC_RESETS, 1);
        break;
    default:
        break;
    }
}

/* --- Order --- */

/*
 * A write to a zone is at the write pointer after those before it only.  So it is
 * held up by whatever holds up one of them: it counts as from the zone's start on.
 */
void coroutine_fn bdrv_zone_hold_up_write(BdrvTrackedRequest *req)
{
    BlockDriverState *bs = req->bs;
    int64_t start;

    if (bs->bl.zones.model == BLK_Z_NONE || req->serialising ||
        req->type != BDRV_TRACKED_WRITE ||
        !qatomic_read(&bs->serialising_in_flight)) {
        return;
    }
    start = QEMU_ALIGN_DOWN(req->overlap_offset, bs->bl.zones.size);

    QEMU_LOCK_GUARD(&bs->reqs_lock);

    req->overlap_bytes += req->overlap_offset - start;
    req->overlap_offset = start;
}

/* --- Operations --- */

/*
 * Zone management and append are writes: of the zones named, or of a place in
 * the zone that is known afterwards only.  Until then the whole range counts
 * as being written.
 */
static int coroutine_fn GRAPH_RDLOCK
bdrv_co_zone_write_begin(BdrvChild *child, BdrvTrackedRequest *req,
                         int64_t offset, int64_t bytes, int flags)
{
    BlockDriverState *bs = child->bs;
    int64_t end = bs->total_sectors * BDRV_SECTOR_SIZE;
    int ret;

    /* Guests can get here on any node, so nothing to assert */
    if (!bdrv_is_writable(bs)) {
        return -EPERM;
    }
    if (offset < 0 || bytes <= 0 || offset >= end || bytes > end - offset) {
        return -EINVAL;
    }
    tracked_request_begin(req, bs, offset, bytes, BDRV_TRACKED_WRITE);
    ret = bdrv_co_write_req_prepare(child, offset, bytes, req, flags);
    if (ret < 0) {
        tracked_request_end(req);
    }
    return ret;
}

int coroutine_fn bdrv_co_zone_get_ext(BlockDriverState *bs, int64_t offset,
                                      void *ext)
{
    BlockDriver *drv = bs->drv;
    int ret;
    IO_CODE();
    assert_bdrv_graph_readable();

    if (!drv || !drv->bdrv_co_zone_get_ext || !bs->bl.zones.ext_size) {
        return drv ? -ENOTSUP : -ENOMEDIUM;
    }
    if (offset < 0 || offset >= bs->total_sectors * BDRV_SECTOR_SIZE) {
        return -EINVAL;
    }
    bdrv_inc_in_flight(bs);
    ret = drv->bdrv_co_zone_get_ext(bs, offset, ext);
    bdrv_dec_in_flight(bs);
    return ret;
}

static int coroutine_fn GRAPH_RDLOCK
do_zone_mgmt(BdrvChild *child, BlockZoneOp op, BlockZoneFlags flags,
             int64_t offset, int64_t len, const void *ext)
{
    BlockDriverState *bs = child->bs;
    BlockDriver *drv = bs->drv;
    BdrvTrackedRequest req;
    int ret;

    if (!drv || !drv->bdrv_co_zone_mgmt || bs->bl.zones.model == BLK_Z_NONE) {
        return drv ? -ENOTSUP : -ENOMEDIUM;
    }
    /* A medium that fails does not write, whoever else may */
    ret = bdrv_co_zone_write_begin(child, &req, offset, len,
                                   op >= BLK_ZO_FORCE_RDONLY ?
                                   BDRV_REQ_WRITE_UNCHANGED : 0);
    if (ret < 0) {
        return ret;
    }
    ret = drv->bdrv_co_zone_mgmt(bs, op, flags, offset, len, ext);
    /* What can be read changes, or an error may have changed it half */
    if (op != BLK_ZO_OPEN && op != BLK_ZO_CLOSE) {
        bdrv_co_write_req_finish(child, offset, len, &req, ret);
    }
    tracked_request_end(&req);
    return ret;
}

int coroutine_fn bdrv_co_zone_mgmt(BdrvChild *child, BlockZoneOp op,
                                   BlockZoneFlags flags, int64_t offset,
                                   int64_t len, const void *ext)
{
    int ret;
    IO_CODE();
    assert_bdrv_graph_readable();

    ret = do_zone_mgmt(child, op, flags, offset, len, ext);
    count_mgmt(child, op, ret);
    return ret;
}

static int coroutine_fn GRAPH_RDLOCK
do_zone_append(BdrvChild *child, int64_t *offset, QEMUIOVector *qiov,
               BdrvRequestFlags flags)
{
    BlockDriverState *bs = child->bs;
    BlockDriver *drv = bs->drv;
    BdrvTrackedRequest req;
    int64_t zone = *offset;
    int ret;

    if (!drv || !drv->bdrv_co_zone_append || bs->bl.zones.model == BLK_Z_NONE) {
        return drv ? -ENOTSUP : -ENOMEDIUM;
    }
    ret = bdrv_check_qiov_request(zone, qiov->size, qiov, 0, NULL);
    if (ret < 0) {
        return ret;
    }
    if (qiov->size > BDRV_REQUEST_MAX_BYTES) {
        return -EIO;
    }
    if (zone % bs->bl.zones.size) {
        return -EINVAL;
    }
    ret = bdrv_co_zone_write_begin(child, &req, zone,
                                   MIN(bs->bl.zones.size,
                                       bs->total_sectors * BDRV_SECTOR_SIZE -
                                       zone), 0);
    if (ret < 0) {
        return ret;
    }
    ret = drv->bdrv_co_zone_append(bs, offset, qiov, 0);
    bdrv_co_write_req_finish(child, ret < 0 ? zone : *offset,
                             ret < 0 ? 0 : qiov->size, &req, ret);
    tracked_request_end(&req);
    if (ret == 0 && (flags & BDRV_REQ_FUA)) {
        ret = bdrv_zone_io_error(bdrv_co_flush(bs));
    }
    return ret;
}

int coroutine_fn bdrv_co_zone_append(BdrvChild *child, int64_t *offset,
                                     QEMUIOVector *qiov,
                                     BdrvRequestFlags flags)
{
    int ret;
    IO_CODE();
    assert_bdrv_graph_readable();

    ret = do_zone_append(child, offset, qiov, flags);
    count_append(child, qiov->size, ret);
    return ret;
}
