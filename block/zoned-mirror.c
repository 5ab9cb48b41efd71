/*
 * Mirrors of zoned disks
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qapi/error.h"
#include "block/block_int.h"
#include "block/dirty-bitmap.h"
#include "block/zoned-backup.h"
#include "block/zoned-compat.h"
#include "block/zoned-graph.h"
#include "block/zoned-jobs.h"
#include "block/zoned-mirror.h"
#include "system/block-backend.h"

struct ZonedMirror {
    BlockDriverState *filter;   /* above the source */
    BlockDriverState *target;   /* that receives them; NULL until begin */
    ZoneTable *zones;           /* a copy; NULL between begin and finish */
    uint32_t nr_zones;
    bool receiving;
    bool is_commit;             /* the target is in the chain of the source */
    /* What it has, and those above it, is copied; NULL: everything is */
    BlockDriverState *overlay;
    /* Zones that were offline when they were copied; only the job uses it */
    unsigned long *offline;
    /* Zones whose extension is to be copied; atomic.  NULL: there are none */
    unsigned long *exts;
    void *ext;                  /* a buffer for one */
};

/* What has the zones now: it may be another node, where it is below a filter. */
static BlockDriverState *GRAPH_RDLOCK source_of(const ZonedMirror *zm)
{
    return bdrv_zoned_source(zm->filter);
}

/* NULL: it was found corrupt, or it is another node that has no such zones */
static const BlockZoneTransfer *transfer_of(const BlockDriverState *source)
{
    return source->drv ? source->drv->zone_transfer : NULL;
}

static BlockDriverState *find_source(const ZonedMirror *zm)
{
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    return source_of(zm);
}

/* --- May it be done? --- */

static bool GRAPH_RDLOCK check_node(BlockDriverState *bs, const char *what,
                                    Error **errp)
{
    BlockDriverState *source = bdrv_zoned_source(bs);

    return transfer_of(source) || !bdrv_refuse_zoned(bs, what, errp);
}

static bool refuse_option(BlockDriverState *bs, const char *option,
                          const char *why, Error **errp)
{
    error_setg(errp, "Node '%s' is zoned, so %s in a mirror: %s",
               bdrv_get_node_name(bs), option, why);
    return false;
}

static bool refuse_write_blocking(BlockDriverState *bs, Error **errp)
{
    return refuse_option(bs, "'copy-mode' cannot be 'write-blocking'",
                         "a write that waits for a copy would be overtaken by "
                         "the next one of its zone", errp);
}

bool zoned_mirror_check(BlockDriverState *source, BlockDriverState *target,
                        bool is_commit, bool is_none_mode,
                        MirrorCopyMode copy_mode, Error **errp)
{
    if (is_commit) {
        return zoned_may_commit(source, target, errp);
    }
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    if (source->bl.zones.model == BLK_Z_NONE) {
        return !bdrv_refuse_zoned(target, "copying to it", errp);
    }
    if (!check_node(source, "mirroring it", errp)) {
        return false;
    }
    if (is_none_mode) {
        return refuse_option(source, "'sync' cannot be 'none'",
                             "the target would get zones without the data that "
                             "they had before", errp);
    }
    if (copy_mode != MIRROR_COPY_MODE_BACKGROUND) {
        return refuse_write_blocking(source, errp);
    }
    if (target->bl.zones.model == BLK_Z_NONE &&
        !zoned_transfer_target(target)) {
        error_setg(errp, "Node '%s' is zoned, so node '%s' must be, to become "
                   "its mirror", bdrv_get_node_name(source),
                   bdrv_get_node_name(target));
        return false;
    }
    return check_node(target, "copying to it", errp);
}

uint32_t zoned_mirror_granularity(BlockDriverState *target,
                                  uint32_t granularity)
{
    BlockDriverInfo info;

    GRAPH_RDLOCK_GUARD_MAINLOOP();

    target = zoned_transfer_target(target);
    if (!target || bdrv_get_info(target, &info) < 0) {
        return granularity;
    }
    return MAX(granularity, info.cluster_size);
}

bool zoned_mirror_check_change(ZonedMirror *zm, Error **errp)
{
    return !zm || refuse_write_blocking(find_source(zm), errp);
}

/* A target without zones here has them in another process. */
static bool is_elsewhere(const ZonedMirror *zm)
{
    return zm->target->bl.zones.model == BLK_Z_NONE;
}

bool zoned_mirror_may_complete(ZonedMirror *zm, Error **errp)
{
    if (zm && is_elsewhere(zm)) {
        error_setg(errp, "Node '%s' has its zones in another process, so it "
                   "cannot take the place of node '%s'; 'block-job-cancel' "
                   "ends the job", bdrv_get_node_name(zm->target),
                   bdrv_get_node_name(find_source(zm)));
        return false;
    }
    return true;
}

/* What takes the place of another disk has all that can be seen of it. */
static bool check_target(ZonedMirror *zm, Error **errp)
{
    MirrorSyncMode sync = zm->is_commit ? MIRROR_SYNC_MODE_NONE :
                          zm->overlay ? MIRROR_SYNC_MODE_TOP
                                      : MIRROR_SYNC_MODE_FULL;

    return zoned_transfer_check(zm->target, find_source(zm), zm->zones, sync,
                                true, errp);
}

bool zoned_mirror_add_backing(BlockDriverState *target,
                              BlockDriverState *backing, MirrorSyncMode sync,
                              BlockMirrorBackingMode *mode, Error **errp)
{
    bool is_overlay;

    bdrv_graph_rdlock_main_loop();
    is_overlay = sync == MIRROR_SYNC_MODE_TOP &&
                 target->bl.zones.model != BLK_Z_NONE;
    backing = bdrv_skip_filters(backing);
    bdrv_graph_rdunlock_main_loop();
    if (!is_overlay) {
        return true;
    }
    if (*mode == MIRROR_SOURCE_BACKING_CHAIN) {
        return zoned_set_backing_hd(target, backing, errp) == 0;
    }
    *mode = MIRROR_LEAVE_BACKING_CHAIN;
    return bdrv_open_backing_file(target, NULL, "backing", errp) == 0;
}

/* --- Begin and end --- */

static void take_zones(ZonedMirror *zm)
{
    BlockDriverState *source = find_source(zm);

    zm->zones = transfer_of(source)->copy(source);
}

static void drop_zones(ZonedMirror *zm)
{
    zone_table_free(zm->zones);
    zm->zones = NULL;
}

/* A commit takes them from the source at the end. */
static void find_exts(ZonedMirror *zm)
{
    if (!zm->filter->bl.zones.ext_size || zm->is_commit) {
        return;
    }
    zm->exts = zoned_transfer_exts(zm->zones);
    zm->ext = g_malloc(zm->filter->bl.zones.ext_size);
}

ZonedMirror *zoned_mirror_new(BlockDriverState *filter, bool is_commit)
{
    BlockDriverState *zoned;
    ZonedMirror *zm;

    bdrv_graph_rdlock_main_loop();
    zoned = bdrv_zoned_source(filter);
    if (zoned->bl.zones.model != BLK_Z_NONE) {
        /* bdrv_append() does not */
        bdrv_refresh_limits(filter, NULL, NULL);
    }
    bdrv_graph_rdunlock_main_loop();
    if (zoned->bl.zones.model == BLK_Z_NONE) {
        return NULL;
    }
    zm = g_new0(ZonedMirror, 1);
    zm->filter = filter;
    zm->is_commit = is_commit;
    take_zones(zm);
    zm->nr_zones = zone_table_nr_zones(zm->zones);
    zm->offline = bitmap_new(zm->nr_zones);
    find_exts(zm);
    return zm;
}

bool zoned_mirror_begin(ZonedMirror *zm, BlockDriverState *target,
                        BlockDriverState *base, Error **errp)
{
    bdrv_graph_rdlock_main_loop();
    zm->target = bdrv_zoned_source(target);
    bdrv_ref(zm->target);
    zm->overlay = base ? bdrv_find_overlay(source_of(zm), base) : NULL;
    bdrv_graph_rdunlock_main_loop();
    if (!check_target(zm, errp)) {
        return false;
    }
    zm->receiving = zm->is_commit ?
        zoned_transfer_begin_commit(zm->target, find_source(zm), errp) :
        zoned_transfer_begin(zm->target, zm->zones, true, errp);
    drop_zones(zm);
    return zm->receiving;
}

void zoned_mirror_free(ZonedMirror *zm)
{
    if (!zm) {
        return;
    }
    if (zm->receiving) {
        zoned_transfer_give_up(zm->target);
    }
    if (zm->target) {
        bdrv_unref(zm->target);
    }
    zone_table_free(zm->zones);
    g_free(zm->offline);
    g_free(zm->exts);
    g_free(zm->ext);
    g_free(zm);
}

static bool is_offline(const ZonedMirror *zm, uint32_t i)
{
    ZoneRecord r;

    zone_table_record(zm->zones, i, true, &r);
    return r.state == BLK_ZS_OFFLINE;
}

/* Was there a zone that could not be copied, and can be now? */
static bool is_incomplete(const ZonedMirror *zm)
{
    for (uint32_t i = 0; i < zm->nr_zones; i++) {
        if (test_bit(i, zm->offline) && !is_offline(zm, i)) {
            return true;
        }
    }
    return false;
}

/* Drained: give the target the zones that the source has. */
static int hand_over(ZonedMirror *zm, bool live)
{
    if (zm->is_commit) {
        return zoned_transfer_end_commit(zm->target, zm->zones,
                                         find_source(zm), live);
    }
    zoned_transfer_empty_offline(zm->zones);
    return is_incomplete(zm) ? -EBUSY
                             : zoned_transfer_end(zm->target, zm->zones,
                                                  live || is_elsewhere(zm));
}

int zoned_mirror_finish(ZonedMirror *zm, bool live)
{
    BlockDriverState *source = find_source(zm);
    int ret = -ENOMEDIUM;

    bdrv_ref(source);
    bdrv_drained_begin(source);
    /* Another node may have come in its place meanwhile */
    if (source == find_source(zm) && transfer_of(source)) {
        take_zones(zm);
        ret = hand_over(zm, live);
        drop_zones(zm);
    }
    bdrv_drained_end(source);
    bdrv_unref(source);
    return ret;
}

/* --- The guest's requests --- */

/* What can be read, and is not zero, may be less after these, or more. */
static void zones_changed(ZonedMirror *zm, BdrvDirtyBitmap *dirty,
                          BlockZoneOp op, int64_t offset, int64_t len)
{
    uint64_t size = zm->filter->bl.zones.size;

    if (op == BLK_ZO_SET_EXT && zm->exts) {
        set_bit_atomic(offset / size, zm->exts);
    }
    if (zoned_op_ends_data(op)) {
        bdrv_set_dirty_bitmap(dirty, offset, len);
    }
}

int coroutine_fn
zoned_mirror_mgmt(BlockDriverState *filter, ZonedMirror *zm,
                  BdrvDirtyBitmap *dirty, BlockZoneOp op, BlockZoneFlags flags,
                  int64_t offset, int64_t len, const void *ext)
{
    int ret = bdrv_zoned_filter_co_mgmt(filter, op, flags, offset, len, ext);

    zones_changed(zm, dirty, op, offset, len);
    return ret;
}

int coroutine_fn
zoned_mirror_append(BlockDriverState *filter, BdrvDirtyBitmap *dirty,
                    int64_t *offset, QEMUIOVector *qiov,
                    BdrvRequestFlags flags)
{
    int ret = bdrv_zoned_filter_co_append(filter, offset, qiov, flags);

    if (ret == 0) {
        bdrv_set_dirty_bitmap(dirty, *offset, qiov->size);
    }
    return ret;
}

/* --- In the job --- */

/*
 * Has the source, or an image below it that is copied too, the bytes from @offset
 * on?  What no zone holds is zero, and the source says so.
 */
static int coroutine_fn GRAPH_RDLOCK
is_own(ZonedMirror *zm, int64_t offset, int64_t bytes, int64_t *n)
{
    BlockDriverState *source = source_of(zm);
    bool data;

    if (!transfer_of(source)) {
        return -ENOMEDIUM;
    }
    *n = transfer_of(source)->stored(source, offset, bytes, &data);
    return !data ? 1 : bdrv_co_is_allocated_above(source, zm->overlay, true,
                                                  offset, *n, n);
}

int coroutine_fn
zoned_mirror_to_copy(ZonedMirror *zm, int64_t offset, int64_t bytes, int64_t *n)
{
    int ret;

    if (zm->overlay) {
        return is_own(zm, offset, bytes, n);
    }
    ret = bdrv_co_block_status_above(source_of(zm), NULL, offset, bytes, n,
                                     NULL, NULL);
    return ret < 0 ? ret : !(ret & BDRV_BLOCK_ZERO);
}

/* In zone @i */
static int coroutine_fn GRAPH_RDLOCK
read_in_zone(ZonedMirror *zm, uint32_t i, BdrvChild *source, int64_t offset,
             int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset)
{
    BlockDriverState *zoned = source_of(zm);
    int ret = bdrv_co_preadv_part(source, offset, bytes, qiov, qiov_offset, 0);

    if (ret == -ENODEV && zm->is_commit && transfer_of(zoned)) {
        /* It stays for the repair of the zone. */
        ret = transfer_of(zoned)->read(zoned, offset, bytes, qiov,
                                       qiov_offset);
    } else if (ret == -ENODEV) {
        set_bit(i, zm->offline);
        qemu_iovec_memset(qiov, qiov_offset, 0, bytes);
        ret = 0;
    }
    return ret;
}

int coroutine_fn
zoned_mirror_read(ZonedMirror *zm, BdrvChild *source, int64_t offset,
                  int64_t bytes, QEMUIOVector *qiov)
{
    size_t done = 0;
    int ret = 0;

    if (!zm) {
        return bdrv_co_preadv(source, offset, bytes, qiov, 0);
    }
    while (done < bytes && ret >= 0) {
        uint64_t size = zm->filter->bl.zones.size, pos = offset + done;
        uint64_t n = MIN(size - pos % size, bytes - done);

        ret = read_in_zone(zm, pos / size, source, pos, n, qiov, done);
        done += n;
    }
    return ret;
}

/*
 * What the base has may change only where the source, as it is on disk, has bytes of
 * its own: otherwise a crash could leave a source that reads something else.
 */
static int coroutine_fn GRAPH_RDLOCK
prepare_commit(ZonedMirror *zm, int64_t offset, int64_t bytes, int64_t *n)
{
    bool data;
    int ret = is_own(zm, offset, bytes, n);

    if (ret <= 0) {
        return ret;
    }
    if (!zm->target->drv) {
        return -ENOMEDIUM;
    }
    *n = MIN(*n, zm->filter->bl.zones.size -
                 offset % zm->filter->bl.zones.size);
    zm->target->drv->zone_transfer->stored(zm->target, offset, 1, &data);
    if (data) {
        ret = bdrv_co_flush(source_of(zm));
    }
    return ret < 0 ? ret : 1;
}

static int coroutine_fn
write_part(BlockBackend *target, int64_t offset, int64_t bytes,
           QEMUIOVector *qiov, size_t qiov_offset, BdrvRequestFlags flags)
{
    return qiov ? blk_co_pwritev_part(target, offset, bytes, qiov, qiov_offset,
                                      flags)
                : blk_co_pwrite_zeroes(target, offset, bytes, flags);
}

int coroutine_fn
zoned_mirror_write(ZonedMirror *zm, BlockBackend *target, int64_t offset,
                   int64_t bytes, QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    int64_t n;
    int ret = 0;

    if (!zm || !zm->is_commit) {
        return write_part(target, offset, bytes, qiov, 0, flags);
    }
    for (int64_t done = 0; done < bytes && ret >= 0; done += n) {
        WITH_GRAPH_RDLOCK_GUARD() {
            ret = prepare_commit(zm, offset + done, bytes - done, &n);
        }
        if (ret > 0) {
            ret = write_part(target, offset + done, n, qiov, done, flags);
        }
    }
    return MIN(ret, 0);
}

static int coroutine_fn GRAPH_RDLOCK
get_zone(ZonedMirror *zm, uint32_t i, BlockZoneDescriptor *zone)
{
    unsigned int n = 1;

    return bdrv_co_zone_report(source_of(zm), i * zm->filter->bl.zones.size,
                               &n, zone);
}

void coroutine_fn zoned_mirror_check_dirty(ZonedMirror *zm,
                                           BdrvDirtyBitmap *dirty)
{
    uint32_t i, n = zm ? zm->nr_zones : 0;

    if (!n) {
        return;
    }
    GRAPH_RDLOCK_GUARD();

    for (i = find_first_bit(zm->offline, n); i < n;
         i = find_next_bit(zm->offline, n, i + 1)) {
        BlockZoneDescriptor zone;

        if (get_zone(zm, i, &zone) == 0 && zone.state != BLK_ZS_OFFLINE) {
            clear_bit(i, zm->offline);
            bdrv_set_dirty_bitmap(dirty, zone.start,
                                  MIN(zone.length,
                                      bdrv_dirty_bitmap_size(dirty) -
                                      zone.start));
        }
    }
}

static int coroutine_fn GRAPH_RDLOCK
copy_ext(ZonedMirror *zm, uint32_t i, bool *in_source)
{
    int ret;

    *in_source = true;
    ret = bdrv_co_zone_get_ext(source_of(zm), i * zm->filter->bl.zones.size,
                               zm->ext);
    if (ret < 0) {
        return ret;
    }
    *in_source = false;
    return zm->target->drv ?
           zm->target->drv->zone_transfer->ext(zm->target, i, zm->ext,
                                               zm->filter->bl.zones.ext_size)
           : -ENOMEDIUM;
}

int coroutine_fn zoned_mirror_sync(ZonedMirror *zm, bool *in_source)
{
    uint32_t i, n = zm ? zm->nr_zones : 0;
    int ret = 0;

    *in_source = false;
    if (!zm || !zm->exts) {
        return 0;
    }
    for (i = find_first_bit(zm->exts, n); i < n && ret == 0;
         i = find_next_bit(zm->exts, n, i + 1)) {
        /* One that is set from here on is copied again. */
        clear_bit_atomic(i, zm->exts);
        WITH_GRAPH_RDLOCK_GUARD() {
            ret = copy_ext(zm, i, in_source);
        }
        if (ret < 0) {
            set_bit_atomic(i, zm->exts);
        }
    }
    return ret;
}
