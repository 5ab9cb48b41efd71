/*
 * Copying zoned disks
 *
 * Asks source and target for their write pointers instead of keeping any, so
 * it knows nothing of what kind of zoned disks they are.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "block/block_int.h"
#include "block/zoned-copy.h"
#include "block/zoned-graph.h"

bool zoned_copy_check(BlockBackend *target, bool in_order, bool is_zero,
                      Error **errp)
{
    GRAPH_RDLOCK_GUARD_MAINLOOP();
    if (!blk_zone_limits(target)) {
        return true;
    }
    if (bdrv_cow_bs(blk_bs(target))) {
        error_setg(errp, "A zoned target cannot have a backing file; "
                   "leave out -B");
        return false;
    }
    if (!in_order) {
        error_setg(errp, "A zoned target cannot be written out of order; "
                   "leave out -W");
        return false;
    }
    if (!is_zero) {
        error_setg(errp, "An existing zoned target must be empty "
                   "(--target-is-zero says that it is)");
        return false;
    }
    return true;
}

int64_t zoned_copy_clamp(BlockBackend *target, int64_t offset, int64_t bytes)
{
    const BlockZoneLimits *zl = blk_zone_limits(target);

    return zl ? MIN(bytes, zl->size - offset % zl->size) : bytes;
}

static int coroutine_mixed_fn get_zone(BlockBackend *blk, int64_t offset,
                                       BlockZoneDescriptor *zone)
{
    unsigned int n = 1;
    int ret = blk_zone_report(blk, offset, &n, zone);

    return ret < 0 ? ret : n ? 0 : -EINVAL;
}

/* Do the zones of the source have counterparts, with the same states? */
static bool copies_states(const ZonedCopy *copy)
{
    const BlockZoneLimits *from = blk_zone_limits(copy->src);
    const BlockZoneLimits *to = blk_zone_limits(copy->target);

    return from && to && from->size == to->size &&
           blk_getlength(copy->src) == blk_getlength(copy->target);
}

/*
 * Compressed clusters cannot be written where the zone was written otherwise
 * before, so a gap before them is of compressed clusters too; only the last
 * piece of a zone may be less than a cluster.
 */
static int coroutine_mixed_fn
fill_compressed(const ZonedCopy *copy, int64_t from, int64_t to)
{
    g_autofree void *zeroes = g_malloc0(copy->unit);
    int ret = 0;

    while (from < to && ret >= 0) {
        int64_t n = MIN(copy->unit - from % copy->unit, to - from);

        ret = blk_pwrite(copy->target, from, n, zeroes,
                         n == copy->unit ? copy->flags : 0);
        from += n;
    }
    return MIN(ret, 0);
}

/* Write zeroes from the write pointer of @zone, of the target, to @offset. */
static int coroutine_mixed_fn fill(const ZonedCopy *copy,
                                   const BlockZoneDescriptor *zone,
                                   int64_t offset)
{
    if (zone->type != BLK_ZT_SWR || zone->state == BLK_ZS_FULL ||
        zone->wp >= offset) {
        return 0;
    }
    if (copy->flags & BDRV_REQ_WRITE_COMPRESSED) {
        return fill_compressed(copy, zone->wp, offset);
    }
    return blk_pwrite_zeroes(copy->target, zone->wp, offset - zone->wp,
                             BDRV_REQ_MAY_UNMAP);
}

static int coroutine_mixed_fn copy_zone_state(const ZonedCopy *copy,
                                              int64_t offset)
{
    BlockZoneDescriptor from, to;
    int ret = get_zone(copy->src, offset, &from);

    if (ret == 0) {
        ret = get_zone(copy->target, offset, &to);
    }
    if (ret < 0 || to.type != BLK_ZT_SWR) {
        return ret;
    }
    switch (from.state) {
    case BLK_ZS_FULL:
        return blk_zone_mgmt(copy->target, BLK_ZO_FINISH, 0, to.start,
                             to.length, NULL);
    case BLK_ZS_IOPEN:
    case BLK_ZS_EOPEN:
    case BLK_ZS_CLOSED:
    case BLK_ZS_RDONLY:
        return fill(copy, &to, from.wp);
    default:
        return 0;
    }
}

/* Zones that end at or below @offset get no more data. */
static int coroutine_mixed_fn copy_states(ZonedCopy *copy, int64_t offset)
{
    if (!copies_states(copy)) {
        return 0;
    }
    while (copy->done < offset) {
        int64_t size = zoned_copy_clamp(copy->target, copy->done, offset -
                                                                  copy->done);
        int ret;

        if (size % blk_zone_limits(copy->target)->size &&
            copy->done + size != blk_getlength(copy->target)) {
            break;
        }
        ret = copy_zone_state(copy, copy->done);
        if (ret < 0) {
            return ret;
        }
        copy->done += size;
    }
    return 0;
}

/* Do not go beyond the end of a zone's data with the zeroes of its last cluster. */
static int coroutine_mixed_fn trim(const ZonedCopy *copy, int64_t offset,
                                   int64_t *bytes, BdrvRequestFlags *flags)
{
    BlockZoneDescriptor zone;
    int64_t end;
    int ret;

    if (!(*flags & BDRV_REQ_WRITE_COMPRESSED) || !copies_states(copy)) {
        return 0;
    }
    ret = get_zone(copy->src, offset, &zone);
    if (ret < 0 || zone.type != BLK_ZT_SWR) {
        return ret;
    }
    end = zone.state == BLK_ZS_FULL ? zone.start + zone.cap : zone.wp;
    if (end > offset && end < offset + *bytes) {
        *flags &= ~BDRV_REQ_WRITE_COMPRESSED;
        *bytes = end - offset;
    }
    return 0;
}

int coroutine_fn zoned_copy_prepare(ZonedCopy *copy, int64_t offset,
                                    int64_t *bytes, BdrvRequestFlags *flags)
{
    BlockZoneDescriptor zone;
    int ret;

    if (!blk_zone_limits(copy->target)) {
        return 0;
    }
    ret = copy_states(copy, offset);
    if (ret == 0) {
        ret = get_zone(copy->target, offset, &zone);
    }
    if (ret == 0) {
        ret = fill(copy, &zone, offset);
    }
    return ret < 0 ? ret : trim(copy, offset, bytes, flags);
}

/* The target was made without zones, and could have had them. */
static void warn_of_lost_zones(const ZonedCopy *copy)
{
    GRAPH_RDLOCK_GUARD_MAINLOOP();
    if (copy->src && blk_zone_limits(copy->src) &&
        !blk_zone_limits(copy->target) &&
        blk_bs(copy->target)->drv->bdrv_co_zones_inherit) {
        warn_report("The zones of the source are not copied; with -o "
                    "zone.mode=host-managed,zone.size=%" PRIu64 " the target "
                    "has zones of the same size",
                    blk_zone_limits(copy->src)->size);
    }
}

int zoned_copy_finish(ZonedCopy *copy)
{
    int64_t length = blk_getlength(copy->target);

    warn_of_lost_zones(copy);
    return length < 0 ? length : copy_states(copy, length);
}
