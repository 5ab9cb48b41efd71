/*
 * Space of the host for a range of a file
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_SET_SPACE_H
#define BLOCK_SET_SPACE_H

#include "block/block-io.h"
#include "block/block_int.h"

/*
 * Let the host allocate space for [@offset, @offset + @bytes) of @child, which is
 * within the file, or give back what it has there; then it reads as zeroes.
 *
 * Other than bdrv_co_pwrite_zeroes(), to allocate changes no data, so that the
 * range can be written at the same time; other than bdrv_co_pdiscard(), to give
 * back depends on no option.
 *
 * Returns 0; -ENOTSUP if the host or a driver cannot do this, -ENOSPC, -EPERM
 * or another negative errno.  Part of it may be done then.
 */
int coroutine_fn GRAPH_RDLOCK
bdrv_co_set_space(BdrvChild *child, int64_t offset, int64_t bytes,
                  bool allocate);

#endif
