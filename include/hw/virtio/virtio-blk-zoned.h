/*
 * virtio-blk device: requests that zones have a say in
 *
 * Starts a coroutine of the engine (block/virtio-blk-zoned.h) for each, and
 * completes the request with its result: accounting, error policies, status.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VIRTIO_BLK_ZONED_H
#define HW_VIRTIO_BLK_ZONED_H

#include "block/virtio-blk-zoned.h"
#include "hw/virtio/virtio-blk.h"

/*
 * Start @req if the engine handles it; false if the caller shall do so.  The
 * buffers have neither header nor status, and belong to @req.
 */
bool virtio_blk_zoned_start(VirtIOBlockReq *req, uint32_t type,
                            struct iovec *in_iov, unsigned int in_num,
                            struct iovec *out_iov, unsigned int out_num);

/*
 * Complete @req, a read or write that failed with @ret, if it has broken a zone
 * rule: the error policies are for failures of the host.  False otherwise.
 */
bool virtio_blk_zoned_rule_broken(VirtIOBlockReq *req, int ret);

/*
 * Follows the requests in the migration stream.  The driver relies on what it
 * was told of the zones, so the other side must have the same.  Disks without
 * zones send nothing.
 */
void virtio_blk_zoned_save(VirtIOBlock *s, QEMUFile *f);
/* A negative errno if the zones are others, which is reported */
int virtio_blk_zoned_load(VirtIOBlock *s, QEMUFile *f);

#endif
