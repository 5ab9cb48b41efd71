/*
 * Space of the host for a range of a file
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/set-space.h"

int coroutine_fn bdrv_co_set_space(BdrvChild *child, int64_t offset,
                                   int64_t bytes, bool allocate)
{
    BlockDriverState *bs = child->bs;
    int ret = bdrv_check_request(offset, bytes, NULL);

    if (ret < 0) {
        return ret;
    }
    if (!(child->perm & BLK_PERM_WRITE) || !bdrv_is_writable(bs)) {
        return -EPERM;
    }
    if (!bs->drv || !bs->drv->bdrv_co_set_space) {
        return -ENOTSUP;
    }
    bdrv_inc_in_flight(bs);
    ret = bs->drv->bdrv_co_set_space(bs, offset, bytes, allocate);
    bdrv_dec_in_flight(bs);
    return ret;
}
