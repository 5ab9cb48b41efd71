/*
 * Zones of virtio-blk exports
 *
 * What the device model does with callbacks, in coroutines; the rules are
 * those of virtio-blk-zoned.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VIRTIO_BLK_ZONED_HANDLER_H
#define VIRTIO_BLK_ZONED_HANDLER_H

#include "virtio-blk-handler.h"

/*
 * Do a zone request with buffers that have neither header nor status.
 * Returns its status.
 */
uint8_t coroutine_fn
virtio_blk_zoned_process_req(const VirtioBlkHandler *h, uint32_t type,
                             uint64_t sector, const struct iovec *in_iov,
                             unsigned int in_num, struct iovec *out_iov,
                             unsigned int out_num);

/*
 * On a zoned disk, all of the guest's buffer counts as written, up to the
 * status: let no byte of it be what it was.
 */
void virtio_blk_zoned_clear_answer(const VirtioBlkHandler *h,
                                   const struct iovec *in_iov,
                                   unsigned int in_num);

/* May the driver send requests of this @type, discard or write zeroes? */
bool virtio_blk_zoned_may_zero(const VirtioBlkHandler *h, uint32_t type);

/* May data be written there?  Called before the range is checked. */
uint8_t coroutine_fn
virtio_blk_zoned_check_write(const VirtioBlkHandler *h, uint64_t sector,
                             uint64_t bytes);

/* May data be read there?  Called after the range was checked. */
uint8_t coroutine_fn
virtio_blk_zoned_check_read(const VirtioBlkHandler *h, uint64_t sector,
                            uint64_t bytes);

/* The status of a read or write that failed with @ret */
uint8_t virtio_blk_zoned_rw_status(const VirtioBlkHandler *h, int ret);

#endif
