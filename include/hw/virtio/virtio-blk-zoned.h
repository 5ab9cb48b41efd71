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

#include "standard-headers/linux/virtio_blk.h"
#include "system/block-backend.h"

/*
 * The zones as they were when the device was made.  This is what the driver
 * is told and what requests are checked with: a driver may rely on it, so it
 * does not change with the nodes of the host.
 */
typedef struct VirtIOBlkZoned {
    uint8_t model;              /* BLK_Z_NONE: not zoned, all others are 0 */
    uint32_t zone_size;         /* bytes */
    uint32_t granularity;       /* of writes: the disk's block size */
    uint32_t max_open_zones, max_active_zones;
    uint32_t max_append_sectors;
} VirtIOBlkZoned;

/* The block size of a disk with @blk that was given none, 0 for any */
uint32_t virtio_blk_zoned_block_size(BlockBackend *blk);

/* A write to a zoned disk has to be a multiple of @block_size. */
bool virtio_blk_zoned_init(VirtIOBlkZoned *z, BlockBackend *blk,
                           uint32_t block_size, Error **errp);

/*
 * Are the zones of @blk still the ones the driver knows?  If not, nothing
 * may be written, and no zone be managed.
 */
bool virtio_blk_zoned_unchanged(const VirtIOBlkZoned *z, BlockBackend *blk);

/* What the config space says of zones */
struct virtio_blk_zoned_characteristics
virtio_blk_zoned_config(const VirtIOBlkZoned *z);

/*
 * The types of requests are whole values: false for a @type that looks like
 * another one, but has a direction bit or a flag too many.  @zoned: the driver
 * has accepted VIRTIO_BLK_F_ZONED, so that there are no legacy flags.
 */
bool virtio_blk_zoned_is_type(uint32_t type, bool zoned);

/* The byte offset of @sector, -1 if there is none */
int64_t virtio_blk_zoned_offset(uint64_t sector);

/* The bytes of the zone at @offset, 0 if that is not in the disk */
uint64_t virtio_blk_zoned_length(const VirtIOBlkZoned *z, BlockBackend *blk,
                                 int64_t offset);

/*
 * The status (VIRTIO_BLK_S_*) of a zone management, report or append request
 * with result @ret, 0 or a negative errno.
 */
uint8_t virtio_blk_zoned_status(int ret);

/* May a request that is for the zone at @offset, or writes, be tried? */
uint8_t virtio_blk_zoned_check(const VirtIOBlkZoned *z, BlockBackend *blk,
                               int64_t offset, bool is_write);

/*
 * Check an append of @bytes to the zone at @offset, which is within the disk,
 * with room for @in_bytes of answer besides the status.
 */
uint8_t virtio_blk_zoned_check_append(const VirtIOBlkZoned *z, int64_t offset,
                                      uint64_t bytes, size_t in_bytes);

/*
 * May a request that begins at @sector be merged with one that ends there?
 * Not a write to a zoned disk, because one of them may break a rule that the
 * other keeps; and not a read of another zone.
 */
bool virtio_blk_zoned_may_merge(const VirtIOBlkZoned *z, uint64_t sector,
                                bool is_write);

/* Is [@offset, @offset + @bytes) in more than one zone? */
bool virtio_blk_zoned_spans(const VirtIOBlkZoned *z, uint64_t offset,
                            uint64_t bytes);

/* Is a write within the disk not in units of the granularity? */
bool virtio_blk_zoned_misaligned(const VirtIOBlkZoned *z, BlockBackend *blk,
                                 uint64_t sector, uint64_t bytes);

/* What a report says of a zone */
struct virtio_blk_zone_descriptor
virtio_blk_zoned_descriptor(const BlockZoneDescriptor *zone);

/*
 * Find out whether one of the zones that [@offset, @offset + @bytes) is in
 * must be written sequentially: 1 if so, 0 if none, or a negative errno.
 */
int coroutine_fn virtio_blk_zoned_co_find_sequential(BlockBackend *blk,
                                                     int64_t offset,
                                                     uint64_t bytes);

/* The same; the answer goes to @cb, which may be called at once. */
void virtio_blk_zoned_find_sequential(BlockBackend *blk, int64_t offset,
                                      uint64_t bytes, BlockCompletionFunc *cb,
                                      void *opaque);

#endif
