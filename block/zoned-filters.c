/*
 * Zone operations of the filters throttle and blkdebug
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/block-io.h"
#include "block/throttle-groups.h"
#include "block/zoned-filters.h"
#include "qapi/error.h"

/* --- throttle --- */

/* One operation, of no bytes */
int coroutine_fn
throttle_co_zone_mgmt(BlockDriverState *bs, BlockZoneOp op,
                      BlockZoneFlags flags, int64_t offset, int64_t len,
                      const void *ext)
{
    ThrottleGroupMember *tgm = bs->opaque;
    throttle_group_co_io_limits_intercept(tgm, 0, THROTTLE_WRITE);

    return bdrv_zoned_filter_co_mgmt(bs, op, flags, offset, len, ext);
}

int coroutine_fn
throttle_co_zone_append(BlockDriverState *bs, int64_t *offset,
                        QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    ThrottleGroupMember *tgm = bs->opaque;
    throttle_group_co_io_limits_intercept(tgm, qiov->size, THROTTLE_WRITE);

    return bdrv_zoned_filter_co_append(bs, offset, qiov, flags);
}

/* --- blkdebug --- */

#define IO_TYPE(type) (1ull << BLKDEBUG_IO_TYPE_##type)

/* Requests have the narrowest type; a rule for a wider one is about all. */
uint64_t blkdebug_iotype_mask(BlkdebugIOType iotype)
{
    switch (iotype) {
    case BLKDEBUG_IO_TYPE_WRITE:
        return IO_TYPE(WRITE) | IO_TYPE(ZONE_APPEND);
    case BLKDEBUG_IO_TYPE_ZONE_MGMT:
        return IO_TYPE(ZONE_MGMT) | IO_TYPE(ZONE_OPEN) | IO_TYPE(ZONE_CLOSE) |
               IO_TYPE(ZONE_FINISH) | IO_TYPE(ZONE_RESET);
    default:
        return 1ull << iotype;
    }
}

bool blkdebug_check_zones(BlockDriverState *bs, uint64_t nr_zones, Error **errp)
{
    if (nr_zones && bs->bl.zones.model == BLK_Z_NONE) {
        error_setg(errp, "A rule has the option 'zone', but node '%s' is not "
                   "zoned", bdrv_get_node_name(bs));
        return false;
    }
    if (nr_zones > bs->bl.zones.nr_zones) {
        error_setg(errp, "zone (%" PRIu64 ") must be less than the number of "
                   "zones (%" PRIu32 ")", nr_zones - 1, bs->bl.zones.nr_zones);
        return false;
    }
    return true;
}

bool blkdebug_in_zone(BlockDriverState *bs, uint64_t zone, uint64_t offset,
                      uint64_t bytes)
{
    uint64_t size = bs->bl.zones.size;

    return zone == UINT64_MAX ||
           (bytes && zone >= offset / size &&
            zone <= (offset + bytes - 1) / size);
}

int coroutine_fn
blkdebug_co_zone_report(BlockDriverState *bs, int64_t offset,
                        unsigned int *nr_zones, BlockZoneDescriptor *zones)
{
    int err = blkdebug_check_zone_op(bs, offset,
                                     *nr_zones * bs->bl.zones.size,
                                     BLKDEBUG_IO_TYPE_ZONE_REPORT);

    if (err) {
        return err;
    }

    return bdrv_zoned_filter_co_report(bs, offset, nr_zones, zones);
}

static BlkdebugIOType mgmt_iotype(BlockZoneOp op)
{
    switch (op) {
    case BLK_ZO_OPEN:
        return BLKDEBUG_IO_TYPE_ZONE_OPEN;
    case BLK_ZO_CLOSE:
        return BLKDEBUG_IO_TYPE_ZONE_CLOSE;
    case BLK_ZO_FINISH:
        return BLKDEBUG_IO_TYPE_ZONE_FINISH;
    case BLK_ZO_RESET:
        return BLKDEBUG_IO_TYPE_ZONE_RESET;
    default:
        return BLKDEBUG_IO_TYPE_ZONE_MGMT;
    }
}

int coroutine_fn
blkdebug_co_zone_mgmt(BlockDriverState *bs, BlockZoneOp op,
                      BlockZoneFlags flags, int64_t offset, int64_t len,
                      const void *ext)
{
    int err = blkdebug_check_zone_op(bs, offset, len, mgmt_iotype(op));

    if (err) {
        return err;
    }

    return bdrv_zoned_filter_co_mgmt(bs, op, flags, offset, len, ext);
}

/* Where the data will be is not known, so a rule with a sector is for a zone */
int coroutine_fn
blkdebug_co_zone_append(BlockDriverState *bs, int64_t *offset,
                        QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    int err = blkdebug_check_zone_op(bs, *offset, bs->bl.zones.size,
                                     BLKDEBUG_IO_TYPE_ZONE_APPEND);

    if (err) {
        return err;
    }

    return bdrv_zoned_filter_co_append(bs, offset, qiov, flags);
}
