/*
 * Zone requests of virtio-blk: one engine for the device model and exports
 *
 * Checks and executes the requests of virtio 1.3, section 5.2.6, for a disk
 * whose BlockBackend has zones.  What the state of a zone forbids is left to
 * the block layer (block/block-zoned.h); what can be told from the geometry,
 * the features and the buffers is checked here.  Keeps no zone state.
 *
 * All functions may be called in any thread that may use the BlockBackend.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_VIRTIO_BLK_ZONED_H
#define BLOCK_VIRTIO_BLK_ZONED_H

#include "standard-headers/linux/virtio_blk.h"
#include "system/block-backend.h"

/* --- What the driver is told --- */

/*
 * The zones as they were when the device was made.  The driver is told this,
 * and requests are checked against it: a driver may rely on it, so it does not
 * change with the nodes of the host.
 */
typedef struct VirtIOBlkZoned {
    uint8_t model;              /* BLK_Z_NONE: not zoned, all others are 0 */
    uint64_t zone_size;         /* bytes */
    uint32_t granularity;       /* of writes, bytes: the disk's block size */
    uint32_t max_open_zones, max_active_zones;  /* 0: no limit */
    uint32_t max_append_sectors;

    /*
     * Nobody knows any more which requests were done, or what became of those
     * that the driver knows to be done.  All fail until it resets the device.
     */
    bool needs_reset;
} VirtIOBlkZoned;

/* The block size of a disk with @blk for which none is configured, 0: any */
uint32_t virtio_blk_zoned_block_size(BlockBackend *blk);

/*
 * Take over the zones of @blk.  Fails if blocks of @block_size bytes do not
 * fit the zones: no write could fill a zone then.
 */
bool virtio_blk_zoned_init(VirtIOBlkZoned *z, BlockBackend *blk,
                           uint32_t block_size, Error **errp);

/* The zoned part of the config space (5.2.4) */
struct virtio_blk_zoned_characteristics
virtio_blk_zoned_config(const VirtIOBlkZoned *z);

/* The features of a device with these zones, of those that others have */
uint64_t virtio_blk_zoned_features(const VirtIOBlkZoned *z, uint64_t features);

/* May FEATURES_OK be set by a driver that has accepted @features?  (5.2.6) */
bool virtio_blk_zoned_features_ok(const VirtIOBlkZoned *z, uint64_t features);

/* --- Requests --- */

typedef struct VirtIOBlkZonedReq {
    BlockBackend *blk;
    const VirtIOBlkZoned *zoned;
    uint64_t features;          /* that the driver has accepted */
    uint32_t type;              /* VIRTIO_BLK_T_* */
    uint64_t sector;
    const struct iovec *in_iov; /* without the status */
    unsigned int in_num;
    const struct iovec *out_iov; /* without the header */
    unsigned int out_num;

    /* The result */
    uint8_t status;             /* VIRTIO_BLK_S_* */
    bool tried;                 /* false: a check failed before any I/O */
    int error;                  /* errno of the host behind an IOERR, or 0 */
} VirtIOBlkZonedReq;

/*
 * Is this a request for virtio_blk_zoned_co_request()?  True for zone requests
 * and unsupported types, and for reads and writes that need a look at the
 * zones, or break a rule.  All others proceed as on a disk without zones.
 */
bool virtio_blk_zoned_handles(const VirtIOBlkZonedReq *r);

/*
 * Execute a request, and set its result.  To be called between
 * blk_co_start_request() and blk_end_request(), so that a drained section
 * waits for all steps of the request and none of them for its end.
 */
void coroutine_fn virtio_blk_zoned_co_request(VirtIOBlkZonedReq *r);

/*
 * The status of another read or write, that failed with @ret (negative errno).
 * The zone statuses are for drivers that have accepted VIRTIO_BLK_F_ZONED.
 */
uint8_t virtio_blk_zoned_rw_status(BlockBackend *blk, uint64_t features,
                                   int ret);

/*
 * May a request that begins at @sector be merged with one that ends there?
 * Not a write to a zoned disk, because one of them may break a rule that the
 * other keeps; and not a read of another zone.
 */
bool virtio_blk_zoned_may_merge(const VirtIOBlkZoned *z, uint64_t sector,
                                bool is_write);

/*
 * Zero the first @bytes of a buffer for the device's answer.  The length in
 * the used ring always includes the status, which comes last; what lies before
 * it must have been written, too (2.7.8).  Disks without zones are left alone.
 */
void virtio_blk_zoned_clear_answer(const VirtIOBlkZoned *z,
                                   const struct iovec *in_iov,
                                   unsigned int in_num, size_t bytes);

/* --- Parts of the engine, for its unit tests --- */

/*
 * The types of requests are whole values: false for a @type that looks like
 * another one, but has a direction bit or a flag too many.  @zoned: the driver
 * has accepted VIRTIO_BLK_F_ZONED, so that there are no legacy flags.
 */
bool virtio_blk_zoned_type_acceptable(uint32_t type, bool zoned);

/* The byte offset of @sector, -1 if there is none */
int64_t virtio_blk_zoned_offset(uint64_t sector);

/* The status of zone management or an append with result @ret */
uint8_t virtio_blk_zoned_status(int ret);

/*
 * Check an append of @bytes to the zone at @offset, which is within the disk,
 * with room for @in_bytes of answer besides the status.
 */
uint8_t virtio_blk_zoned_check_append(const VirtIOBlkZoned *z, int64_t offset,
                                      uint64_t bytes, size_t in_bytes);

#endif
