/*
 * Zones and the block graph
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/option.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "block/block.h"
#include "block/block_int.h"
#include "block/block-zoned.h"
#include "block/zoned-graph.h"
#include "system/block-backend.h"

/* The child that @bs has its zones from, NULL if they are its own */
static BdrvChild *GRAPH_RDLOCK zoned_child(BlockDriverState *bs)
{
    return bs->drv && bs->drv->supports_zoned_children ? bdrv_primary_child(bs)
                                                       : NULL;
}

BlockDriverState *bdrv_zoned_parent(BdrvChild *child)
{
    BlockDriverState *parent = child->klass == &child_of_bds ? child->opaque
                                                             : NULL;

    return parent && zoned_child(parent) == child ? parent : NULL;
}

BlockDriverState *bdrv_zoned_source(BlockDriverState *bs)
{
    BdrvChild *child;

    while ((child = zoned_child(bs))) {
        bs = child->bs;
    }
    return bs;
}

BlockDriverState *bdrv_find_zoned(const char *node_name, bool write,
                                  Error **errp)
{
    BlockDriverState *bs = bdrv_find_node(node_name);

    if (!bs) {
        error_setg(errp, "Cannot find node '%s'", node_name);
        return NULL;
    }
    bs = bdrv_zoned_source(bs);
    if (!bs->drv) {
        error_setg(errp, "Node '%s' was found corrupt and cannot be used",
                   node_name);
        return NULL;
    }
    if (bs->bl.zones.model == BLK_Z_NONE) {
        error_setg(errp, "Node '%s' is not zoned", node_name);
        return NULL;
    }
    if (write && !bdrv_is_writable(bs)) {
        error_setg(errp, "Node '%s' is read-only", node_name);
        return NULL;
    }
    /* Another process may be changing them. */
    if (bs->open_flags & BDRV_O_INACTIVE) {
        error_setg(errp, "Node '%s' is inactive", node_name);
        return NULL;
    }
    return bs;
}

/* Unlike the limits of @bs itself, up to date while the graph is changed */
static const BlockZoneLimits *GRAPH_RDLOCK zone_limits(BlockDriverState *bs)
{
    return &bdrv_zoned_source(bs)->bl.zones;
}

/* What the user calls @bs */
static const char *user_name(BlockDriverState *bs)
{
    const char *node_name = bdrv_get_node_name(bs);

    return *node_name == '#' && *bs->filename ? bs->filename : node_name;
}

/* An overlay must have the zones of its backing file @base, or it hides them */
static bool GRAPH_RDLOCK check_overlay(BlockDriverState *bs,
                                       BlockDriverState *base, Error **errp)
{
    const BlockZoneLimits *zones = zone_limits(bs);
    const BlockZoneLimits *base_zones = zone_limits(base);

    if (zones->model != base_zones->model) {
        error_setg(errp, "Backing file '%s' is zoned, and its overlay '%s' is "
                   "not; create the overlay with 'qemu-img create -f qcow2 "
                   "-b', or attach it with blockdev-snapshot",
                   user_name(base), user_name(bs));
        return false;
    }
    if (zones->size != base_zones->size ||
        zones->capacity != base_zones->capacity) {
        error_setg(errp, "Backing file '%s' has zones of %" PRIu64 " bytes "
                   "(capacity %" PRIu64 "), and its overlay '%s' has zones of "
                   "%" PRIu64 " bytes (capacity %" PRIu64 ")",
                   user_name(base), base_zones->size, base_zones->capacity,
                   user_name(bs), zones->size, zones->capacity);
        return false;
    }
    return true;
}

bool bdrv_zoned_may_attach(BlockDriverState *parent, BlockDriverState *child,
                           BdrvChildRole role, Error **errp)
{
    /* A host-aware disk can be used as one without zones */
    if (zone_limits(child)->model != BLK_Z_HM ||
        ((role & BDRV_CHILD_PRIMARY) && parent->drv->supports_zoned_children)) {
        return true;
    }
    if (role & BDRV_CHILD_COW) {
        return check_overlay(parent, child, errp);
    }
    /* Not shown, but written with the zones of another child */
    if ((role & BDRV_CHILD_DATA) && parent->drv->supports_zoned_children) {
        return true;
    }
    error_setg(errp, "Node '%s' is zoned, and driver '%s' does not support "
               "zoned children", user_name(child),
               parent->drv->format_name);
    return false;
}

bool bdrv_zoned_may_replace(BdrvChild *child, BlockDriverState *to,
                            Error **errp)
{
    if (child->bs && (child->role & BDRV_CHILD_COW)) {
        return bdrv_zoned_may_attach(child->opaque, to, child->role, errp);
    }
    if (!child->bs ||
        bdrv_same_zones(zone_limits(child->bs), zone_limits(to))) {
        return true;
    }
    error_setg(errp, "Node '%s' cannot take the place of node '%s': "
               "their zones are different", user_name(to),
               user_name(child->bs));
    return false;
}

bool bdrv_zoned_may_copy_on_read(BlockDriverState *bs, Error **errp)
{
    BlockDriverState *source = bdrv_zoned_source(bs);

    /*
     * It writes where somebody reads, and holds up other requests of @bs itself,
     * not those that reach the zones past it.
     */
    if (source->bl.zones.model != BLK_Z_HM ||
        (source == bs && (bs->supported_write_flags &
                          BDRV_REQ_WRITE_UNCHANGED))) {
        return true;
    }
    error_setg(errp, "Node '%s' is zoned, so copy-on-read is not supported",
               user_name(bs));
    return false;
}

bool bdrv_zoned_check_open(BlockDriverState *bs, Error **errp)
{
    const BlockZoneLimits *zones = &bs->bl.zones;

    GRAPH_RDLOCK_GUARD_MAINLOOP();
    if (zones->model != BLK_Z_HM) {
        return true;
    }
    if (bs->copy_on_read && !bdrv_zoned_may_copy_on_read(bs, errp)) {
        return false;
    }
    /* Smaller writes are padded, and then they are not at the write pointer */
    if (zoned_child(bs) &&
        bs->bl.request_alignment > zones->write_granularity) {
        error_setg(errp, "Node '%s' has a request alignment of %" PRIu32
                   " bytes, but its zones are written in units of %" PRIu32,
                   user_name(bs), bs->bl.request_alignment,
                   zones->write_granularity);
        return false;
    }
    return true;
}

bool bdrv_zoned_check_raw(BlockDriverState *bs, bool limited, bool writable,
                          Error **errp)
{
    BlockDriverState *child = bs->file->bs;

    if (child->bl.zones.model == BLK_Z_NONE) {
        return true;
    }
    if (limited) {
        error_setg(errp, "Cannot use offset/size with zoned node '%s'",
                   user_name(child));
        return false;
    }
    if (bs->probed && writable) {
        error_setg(errp, "Format 'raw' must be specified explicitly for "
                   "writing to zoned node '%s'", user_name(child));
        return false;
    }
    return true;
}

bool bdrv_zoned_may_create_overlay(BlockDriver *drv, BlockDriverState *base,
                                   Error **errp)
{
    BlockDriverState *source;
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    source = bdrv_zoned_source(base);
    if (source->bl.zones.model != BLK_Z_HM ||
        (drv == source->drv && drv->bdrv_co_zones_inherit)) {
        return true;
    }
    if (source->drv->bdrv_co_zones_inherit) {
        error_setg(errp, "Backing file '%s' is zoned, so its overlay must be "
                   "of format '%s'", user_name(base), source->drv->format_name);
    } else {
        error_setg(errp, "Backing file '%s' is zoned, and driver '%s' does not "
                   "support overlays of it", user_name(base),
                   source->drv->format_name);
    }
    return false;
}

void bdrv_zoned_overlay_opts(BlockDriverState *base, QemuOpts *opts)
{
    const BlockZoneLimits *zones = &base->bl.zones;

    /* The default size of a cluster */
    if (zones->model == BLK_Z_HM && zones->size < 64 * KiB) {
        qemu_opt_set_number(opts, BLOCK_OPT_CLUSTER_SIZE, zones->size,
                            &error_abort);
    }
}

bool bdrv_zoned_may_rebase(BlockDriverState *bs, BlockDriverState *base,
                           Error **errp)
{
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    return bdrv_zoned_may_attach(bs, base, BDRV_CHILD_COW, errp);
}

const BlockZoneLimits *blk_zone_limits(BlockBackend *blk)
{
    BlockDriverState *bs = blk ? blk_bs(blk) : NULL;

    return bs && bs->bl.zones.model == BLK_Z_HM ? &bs->bl.zones : NULL;
}

bool bdrv_zoned_may_use(BlockDriverState *bs, const char *device, Error **errp)
{
    if (bs->bl.zones.model != BLK_Z_HM) {
        return true;
    }
    error_setg(errp, "Node '%s' is zoned, and device '%s' does not support "
               "zones; use 'virtio-blk', 'nvme-ns' or 'scsi-hd'",
               user_name(bs), device);
    return false;
}

void bdrv_zoned_inherit_limits(BlockDriverState *bs)
{
    BdrvChild *child = zoned_child(bs);

    if (child) {
        bs->bl.zones = child->bs->bl.zones;
    }
}

void bdrv_zoned_limits_changed(BlockDriverState *bs)
{
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        BlockDriverState *parent = bdrv_zoned_parent(c);

        if (parent) {
            bdrv_zoned_inherit_limits(parent);
            bdrv_zoned_limits_changed(parent);
        }
    }
}

int coroutine_fn
bdrv_zoned_filter_co_report(BlockDriverState *bs, int64_t offset,
                            unsigned int *nr_zones, BlockZoneDescriptor *zones)
{
    return bdrv_co_zone_report(bdrv_primary_bs(bs), offset, nr_zones, zones);
}

int coroutine_fn
bdrv_zoned_filter_co_mgmt(BlockDriverState *bs, BlockZoneOp op,
                          BlockZoneFlags flags, int64_t offset, int64_t len,
                          const void *ext)
{
    return bdrv_co_zone_mgmt(bdrv_primary_child(bs), op, flags, offset, len,
                             ext);
}

int coroutine_fn
bdrv_zoned_filter_co_get_ext(BlockDriverState *bs, int64_t offset, void *ext)
{
    return bdrv_co_zone_get_ext(bdrv_primary_bs(bs), offset, ext);
}

int coroutine_fn
bdrv_zoned_filter_co_append(BlockDriverState *bs, int64_t *offset,
                            QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    return bdrv_co_zone_append(bdrv_primary_child(bs), offset, qiov, flags);
}
