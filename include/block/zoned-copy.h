/*
 * Copying zoned disks
 *
 * For code that copies a disk front to back (qemu-img convert) and leaves out
 * what is zero: on a zoned target, the gaps below the last data of a zone have
 * to be written.  Code that copies in other ways refuses zoned disks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_COPY_H
#define BLOCK_ZONED_COPY_H

#include "system/block-backend.h"

/* A copy to a disk that may have zones; nothing below matters if it has not. */
typedef struct ZonedCopy {
    BlockBackend *src;          /* NULL: not one disk with the same offsets */
    BlockBackend *target;
    int64_t unit;               /* of compressed writes: a cluster */
    BdrvRequestFlags flags;     /* of data writes */
    int64_t done;               /* zones below have got their final state */
} ZonedCopy;

/*
 * May the disk be copied to @target, whose sequential zones are empty if
 * @is_zero, with writes @in_order of their offsets?
 */
bool zoned_copy_check(BlockBackend *target, bool in_order, bool is_zero,
                      Error **errp);

/* At most @bytes at @offset that are in one zone of @target */
int64_t zoned_copy_clamp(BlockBackend *target, int64_t offset, int64_t bytes);

/*
 * Before *@bytes of data are written at @offset: write zeroes from the write
 * pointer of its zone up to there, and bring the zones below to where those of
 * the source are, if both disks have the same zones: the same write pointers,
 * and full where they are full.
 *
 * Makes *@bytes less, and removes BDRV_REQ_WRITE_COMPRESSED from *@flags,
 * where a whole compressed cluster would move the write pointer too far.
 *
 * Returns 0 or a negative errno.  Calls must be in the order of offsets.
 */
int coroutine_fn zoned_copy_prepare(ZonedCopy *copy, int64_t offset,
                                    int64_t *bytes, BdrvRequestFlags *flags);

/* After the last data: the states of all other zones */
int zoned_copy_finish(ZonedCopy *copy);

#endif
