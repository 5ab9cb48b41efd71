/*
 * virtio-blk zoned devices: what the device model and exports share
 *
 * Knows the virtio standard and the block layer's zone API, and keeps no zone
 * state of its own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/block_int-common.h"
#include "block/block-zoned.h"
#include "hw/virtio/virtio-blk-zoned.h"
#include "standard-headers/linux/virtio_blk.h"

static const BlockLimits *zoned_limits(BlockBackend *blk)
{
    BlockDriverState *bs = blk_bs(blk);

    return bs && bs->bl.zoned != BLK_Z_NONE && bs->bl.zone_size ? &bs->bl
                                                                : NULL;
}

int virtio_blk_zoned_validate_features(VirtIODevice *vdev, BlockBackend *blk)
{
    const BlockLimits *bl = zoned_limits(blk);

    return bl && bl->zoned == BLK_Z_HM &&
           !virtio_vdev_has_feature(vdev, VIRTIO_BLK_F_ZONED) ? -EINVAL : 0;
}

bool virtio_blk_zoned_lacks(VirtIODevice *vdev, BlockBackend *blk,
                            unsigned int fbit)
{
    return zoned_limits(blk) && !virtio_vdev_has_feature(vdev, fbit);
}

bool virtio_blk_zoned_is_type(uint32_t type)
{
    uint32_t base = type & ~(VIRTIO_BLK_T_OUT | VIRTIO_BLK_T_BARRIER);

    switch (base) {
    case VIRTIO_BLK_T_SECURE_ERASE:
        return type == VIRTIO_BLK_T_ZONE_APPEND;
    case VIRTIO_BLK_T_ZONE_REPORT:
    case VIRTIO_BLK_T_ZONE_OPEN:
    case VIRTIO_BLK_T_ZONE_CLOSE:
    case VIRTIO_BLK_T_ZONE_FINISH:
    case VIRTIO_BLK_T_ZONE_RESET:
    case VIRTIO_BLK_T_ZONE_RESET_ALL:
        return type == base;
    default:
        return true;
    }
}

int64_t virtio_blk_zoned_offset(uint64_t sector)
{
    return sector > INT64_MAX >> BDRV_SECTOR_BITS
           ? -1 : (int64_t)sector << BDRV_SECTOR_BITS;
}

uint8_t virtio_blk_zoned_status(int ret)
{
    switch (ret) {
    case 0:
        return VIRTIO_BLK_S_OK;
    case -ESPIPE:
        return VIRTIO_BLK_S_ZONE_UNALIGNED_WP;
    case -ETOOMANYREFS:
        return VIRTIO_BLK_S_ZONE_OPEN_RESOURCE;
    case -EOVERFLOW:
        return VIRTIO_BLK_S_ZONE_ACTIVE_RESOURCE;
    case -ERANGE:
    case -EFBIG:
    case -EROFS:
    case -ENODEV:
    case -EINVAL:
        return VIRTIO_BLK_S_ZONE_INVALID_CMD;
    case -ENOTSUP:
        return VIRTIO_BLK_S_UNSUPP;
    default:
        return VIRTIO_BLK_S_IOERR;
    }
}

uint8_t virtio_blk_zoned_rule_status(BlockBackend *blk, int ret)
{
    return zoned_limits(blk) && bdrv_is_zone_error(ret) ?
           virtio_blk_zoned_status(ret) : VIRTIO_BLK_S_OK;
}

uint8_t virtio_blk_zoned_check_append(BlockBackend *blk, int64_t offset,
                                      uint64_t bytes, size_t in_bytes)
{
    const BlockLimits *bl = zoned_limits(blk);

    if (!bl) {
        return VIRTIO_BLK_S_UNSUPP;
    }
    if (in_bytes < sizeof(uint64_t)) {
        return VIRTIO_BLK_S_ZONE_INVALID_CMD;
    }
    if (offset % bl->zone_size) {
        return VIRTIO_BLK_S_ZONE_INVALID_CMD;
    }
    if (bytes > (uint64_t)bl->max_append_sectors << BDRV_SECTOR_BITS) {
        return bl->max_append_sectors ? VIRTIO_BLK_S_ZONE_INVALID_CMD
                                      : VIRTIO_BLK_S_UNSUPP;
    }
    if (bl->write_granularity && bytes % bl->write_granularity) {
        return VIRTIO_BLK_S_ZONE_UNALIGNED_WP;
    }
    return VIRTIO_BLK_S_OK;
}

bool virtio_blk_zoned_may_merge(BlockBackend *blk, bool is_write)
{
    return !is_write || !zoned_limits(blk);
}
