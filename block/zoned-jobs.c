/*
 * Zones and the jobs and commands for whole disks
 *
 * What can keep data and zones together goes to the driver of the zones;
 * everything else is refused before it begins.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "block/block_int.h"
#include "block/zoned-compat.h"
#include "block/zoned-graph.h"
#include "block/zoned-jobs.h"
#include "system/block-backend.h"

bool bdrv_refuse_zoned(BlockDriverState *bs, const char *what, Error **errp)
{
    if (bs->bl.zones.model == BLK_Z_NONE) {
        return false;
    }
    error_setg(errp, "Node '%s' is zoned, so %s is not supported",
               bdrv_get_node_name(bs), what);
    return true;
}

bool zoned_may_stream(BlockDriverState *bs, Error **errp)
{
    BlockDriverState *source;
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    source = bdrv_zoned_source(bs);
    /*
     * A copy holds up other requests of the node that it is made to, and not
     * those that reach the zones past it.
     */
    if (source != bs && source->bl.zones.model != BLK_Z_NONE) {
        error_setg(errp, "Node '%s' has its zones from node '%s'; stream into "
                   "that one", bdrv_get_node_name(bs),
                   bdrv_get_node_name(source));
        return false;
    }
    return bs->supported_write_flags & BDRV_REQ_WRITE_UNCHANGED ||
           !bdrv_refuse_zoned(bs, "copying to it", errp);
}

typedef struct CoroutineCall {
    ZonedCoroutine *func;
    void *opaque;
    int ret;
} CoroutineCall;

static void coroutine_fn call_entry(void *opaque)
{
    CoroutineCall *c = opaque;
    int ret;

    WITH_GRAPH_RDLOCK_GUARD() {
        ret = c->func(c->opaque);
    }
    c->ret = ret;
    aio_wait_kick();
}

int zoned_call_coroutine(ZonedCoroutine *func, void *opaque)
{
    CoroutineCall c = { .func = func, .opaque = opaque, .ret = -EINPROGRESS };

    aio_co_enter(qemu_get_current_aio_context(),
                 qemu_coroutine_create(call_entry, &c));
    AIO_WAIT_WHILE_UNLOCKED(NULL, c.ret == -EINPROGRESS);
    return c.ret;
}

typedef struct ChainCall {
    BlockDriverState *bs, *base;
    Error **errp;
} ChainCall;

static int coroutine_fn GRAPH_RDLOCK co_inherit(void *opaque)
{
    ChainCall *c = opaque;
    BlockDriver *drv = c->bs->drv;

    if (!drv->bdrv_co_zones_inherit) {
        error_setg(c->errp, "Node '%s' is zoned and node '%s' cannot be",
                   bdrv_get_node_name(c->base), bdrv_get_node_name(c->bs));
        return -ENOTSUP;
    }
    if (bdrv_chain_contains(c->base, c->bs)) {
        error_setg(c->errp, "Node '%s' cannot be an overlay of node '%s', which "
                   "has it in its backing chain", bdrv_get_node_name(c->bs),
                   bdrv_get_node_name(c->base));
        return -EINVAL;
    }
    return drv->bdrv_co_zones_inherit(c->bs, bdrv_skip_filters(c->base),
                                      c->errp);
}

bool zoned_inherit(BlockDriverState *bs, BlockDriverState *base, Error **errp)
{
    ChainCall c = { .bs = bs, .base = base, .errp = errp };

    if (bs->bl.zones.model == BLK_Z_NONE &&
        base->bl.zones.model == BLK_Z_NONE) {
        return true;
    }
    if (zoned_call_coroutine(co_inherit, &c) < 0) {
        return false;
    }
    GRAPH_RDLOCK_GUARD_MAINLOOP();
    bdrv_refresh_limits(bs, NULL, NULL);
    return true;
}

static int coroutine_fn GRAPH_RDLOCK co_commit(void *opaque)
{
    ChainCall *c = opaque;
    BlockDriver *drv = c->bs->drv;

    if (!drv->bdrv_co_zones_commit) {
        error_setg(c->errp, "Node '%s' is zoned and node '%s' is not",
                   bdrv_get_node_name(c->base), bdrv_get_node_name(c->bs));
        return -ENOTSUP;
    }
    return drv->bdrv_co_zones_commit(c->bs, c->base, c->errp);
}

/* Make @base as large as the overlay, commit, and empty the overlay. */
static int commit_and_empty(BlockBackend *overlay, BlockBackend *base,
                            Error **errp)
{
    BlockDriverState *bs = blk_bs(overlay);
    ChainCall c = { .bs = bs, .base = blk_bs(base), .errp = errp };
    int64_t length = blk_getlength(overlay);
    int ret = 0;

    if (length > blk_getlength(base)) {
        ret = blk_truncate(base, length, false, PREALLOC_MODE_OFF, 0, errp);
    }
    if (ret == 0) {
        ret = zoned_call_coroutine(co_commit, &c);
    }
    if (ret == 0) {
        ret = blk_make_empty(overlay, errp);
    }
    if (ret == 0) {
        ret = bdrv_flush(bs);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Could not flush node '%s'",
                             bdrv_get_node_name(bs));
        }
    }
    return ret;
}

/* The overlay keeps its backing file from being written, so it has none here */
static int commit_detached(BlockDriverState *bs, BlockDriverState *base,
                           Error **errp)
{
    BlockBackend *overlay_blk, *base_blk = NULL;
    int ret = zoned_set_backing_hd(bs, NULL, errp);

    if (ret < 0) {
        return ret;
    }
    ret = -EPERM;
    overlay_blk = blk_new_with_bs(bs, BLK_PERM_CONSISTENT_READ |
                                      BLK_PERM_WRITE_UNCHANGED,
                                  BLK_PERM_ALL, errp);
    if (overlay_blk) {
        base_blk = blk_new_with_bs(base, BLK_PERM_WRITE | BLK_PERM_RESIZE,
                                   BLK_PERM_ALL, errp);
    }
    if (base_blk) {
        ret = commit_and_empty(overlay_blk, base_blk, errp);
    }
    blk_unref(base_blk);
    blk_unref(overlay_blk);
    zoned_set_backing_hd(bs, base, &error_abort);
    return ret;
}

static int check_commit(BlockDriverState *bs, BlockDriverState *base,
                        Error **errp)
{
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    if (base != bdrv_cow_bs(bs)) {
        error_setg(errp, "A zoned image can only be committed to its "
                   "immediate backing file");
        return -EINVAL;
    }
    if (bdrv_op_is_blocked(bs, BLOCK_OP_TYPE_COMMIT_SOURCE, errp) ||
        bdrv_op_is_blocked(base, BLOCK_OP_TYPE_COMMIT_TARGET, errp)) {
        return -EBUSY;
    }
    return 0;
}

int zoned_commit(BlockDriverState *bs, BlockDriverState *base, Error **errp)
{
    bool read_only = bdrv_is_read_only(base);
    int ret;

    ret = check_commit(bs, base, errp);
    if (ret < 0) {
        return ret;
    }
    if (read_only && bdrv_reopen_set_read_only(base, false, errp) < 0) {
        return -EACCES;
    }
    bdrv_ref(base);
    bdrv_drained_begin(bs);
    ret = commit_detached(bs, base, errp);
    bdrv_drained_end(bs);
    if (read_only) {
        /* All is done, so it does not matter if it stays writable */
        bdrv_reopen_set_read_only(base, true, NULL);
    }
    bdrv_unref(base);
    return ret;
}

static BlockDriverState *zoned_backing(BlockDriverState *bs)
{
    BlockDriverState *base;

    GRAPH_RDLOCK_GUARD_MAINLOOP();

    base = bdrv_cow_bs(bs);
    return base && base->bl.zones.model != BLK_Z_NONE ? base : NULL;
}

bool zoned_commit_to_backing(BlockDriverState *bs, int *ret)
{
    BlockDriverState *base = zoned_backing(bs);
    Error *local_err = NULL;

    if (!base) {
        return false;
    }
    *ret = zoned_commit(bs, base, &local_err);
    if (*ret < 0) {
        error_report_err(local_err);
    }
    return true;
}
