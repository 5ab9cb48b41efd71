/*
 * virtio-blk zoned devices: what the device model and exports share
 *
 * Request checks and the mapping of errors to statuses of virtio 1.3,
 * section 5.2.6, for a disk whose BlockBackend has zones.  What a zone's
 * state forbids is for the block layer to say (block/block-zoned.h); here is
 * only what can be told from the geometry.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VIRTIO_BLK_ZONED_H
#define HW_VIRTIO_BLK_ZONED_H

#include "hw/virtio/virtio.h"
#include "system/block-backend.h"

/*
 * May the driver of a disk with @blk go on with the features that it has
 * accepted?  0 or a negative errno.  A host-managed disk cannot be used as a
 * plain one (5.2.5, VIRTIO_BLK_F_ZONED).
 */
int virtio_blk_zoned_validate_features(VirtIODevice *vdev, BlockBackend *blk);

/* Is @blk zoned, and feature bit @fbit not accepted by the driver? */
bool virtio_blk_zoned_lacks(VirtIODevice *vdev, BlockBackend *blk,
                            unsigned int fbit);

/*
 * The types of zone requests are whole values, without a direction bit and
 * without flags: false for a @type that looks like one and is not.
 */
bool virtio_blk_zoned_is_type(uint32_t type);

/* The byte offset of @sector, -1 if there is none */
int64_t virtio_blk_zoned_offset(uint64_t sector);

/*
 * The status (VIRTIO_BLK_S_*) of a zone management, report or append request
 * with result @ret, 0 or a negative errno.
 */
uint8_t virtio_blk_zoned_status(int ret);

/*
 * The status of a plain request that failed with @ret, if it broke a zone
 * rule of @blk: such a request ends with this status, whatever the error
 * policy of the disk.  VIRTIO_BLK_S_OK if that is not why it failed.
 */
uint8_t virtio_blk_zoned_rule_status(BlockBackend *blk, int ret);

/*
 * Check an append of @bytes to the zone at @offset, which is within the disk,
 * with room for @in_bytes of answer besides the status.
 */
uint8_t virtio_blk_zoned_check_append(BlockBackend *blk, int64_t offset,
                                      uint64_t bytes, size_t in_bytes);

/*
 * May two adjacent requests be sent as one?  Not writes to a zoned disk: one
 * of them may break a rule that the other keeps.
 */
bool virtio_blk_zoned_may_merge(BlockBackend *blk, bool is_write);

#endif
