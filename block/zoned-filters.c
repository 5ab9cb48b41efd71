/*
 * Zone operations of the filters throttle and blkdebug
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/throttle-groups.h"
#include "block/zoned-filters.h"

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

int coroutine_fn
blkdebug_co_zone_mgmt(BlockDriverState *bs, BlockZoneOp op,
                      BlockZoneFlags flags, int64_t offset, int64_t len,
                      const void *ext)
{
    int err = blkdebug_check_zone_op(bs, offset, len,
                                     BLKDEBUG_IO_TYPE_ZONE_MGMT);

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
                                     BLKDEBUG_IO_TYPE_WRITE);

    if (err) {
        return err;
    }

    return bdrv_zoned_filter_co_append(bs, offset, qiov, flags);
}
