/*
 * The one loop over the zones of a range
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/aio.h"
#include "block/zoned-range.h"
#include "system/block-backend.h"

/* Zones that are asked for at a time, on the coroutine's stack */
#define BATCH 64

/*
 * Zones between two turns of the event loop: about a tenth of a millisecond, as
 * dozens of such loops can be in progress
 */
#define ZONES_PER_TURN 2048

void coroutine_fn zoned_co_pause(uint64_t *work, uint64_t zones)
{
    *work += zones;
    if (*work >= ZONES_PER_TURN) {
        *work = 0;
        aio_co_schedule(qemu_get_current_aio_context(), qemu_coroutine_self());
        qemu_coroutine_yield();
    }
}

static int coroutine_fn report(BlockBackend *blk, int64_t offset,
                               unsigned int *n, BlockZoneDescriptor *zones,
                               BdrvRequestFlags flags)
{
    if (!(flags & BDRV_REQ_NO_QUEUE)) {
        return blk_co_zone_report(blk, offset, n, zones);
    }
    GRAPH_RDLOCK_GUARD();
    return blk_co_is_available(blk)
           ? bdrv_co_zone_report(blk_bs(blk), offset, n, zones) : -ENOMEDIUM;
}

int coroutine_fn blk_co_for_each_zone(BlockBackend *blk, int64_t offset,
                                      uint64_t bytes, BdrvRequestFlags flags,
                                      BlkZoneFunc *fn, void *opaque)
{
    BlockZoneDescriptor zones[BATCH];
    int64_t end = offset + bytes;
    uint64_t work = 0;

    while (offset < end) {
        unsigned int n = BATCH;
        int ret = report(blk, offset, &n, zones, flags);

        if (ret < 0 || n == 0) {
            return ret;
        }
        for (unsigned int i = 0; i < n && offset < end; i++) {
            ret = fn(&zones[i], opaque);
            if (ret) {
                return ret;
            }
            offset = zones[i].start + zones[i].length;
        }
        zoned_co_pause(&work, n);
    }
    return 0;
}
