/*
 * The one loop over the zones of a range
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/aio.h"
#include "block/block_int-common.h"
#include "block/block-io.h"
#include "block/zoned-range.h"
#include "system/block-backend.h"

/* Zones that are asked for at a time, on the coroutine's stack */
#define BATCH 64

/*
 * Zones between two turns of the event loop: about a tenth of a millisecond, as
 * dozens of such loops can be in progress
 */
#define ZONES_PER_TURN 2048

/* How often to look whether a node is still drained */
#define DRAINED_WAIT_MS 1

void coroutine_fn zoned_co_pause(uint64_t *work, uint64_t zones)
{
    *work += zones;
    if (*work >= ZONES_PER_TURN) {
        *work = 0;
        aio_co_schedule(qemu_get_current_aio_context(), qemu_coroutine_self());
        qemu_coroutine_yield();
    }
}

/* What zones are asked of: @blk, or @bs alone */
typedef struct ZoneSource {
    BlockBackend *blk;
    BlockDriverState *bs;
    BdrvRequestFlags flags;
} ZoneSource;

static int coroutine_fn report_of_blk(const ZoneSource *source, int64_t offset,
                                      unsigned int *n,
                                      BlockZoneDescriptor *zones)
{
    if (!(source->flags & BDRV_REQ_NO_QUEUE)) {
        return blk_co_zone_report(source->blk, offset, n, zones);
    }
    GRAPH_RDLOCK_GUARD();
    return blk_co_is_available(source->blk)
           ? bdrv_co_zone_report(blk_bs(source->blk), offset, n, zones)
           : -ENOMEDIUM;
}

/* Nothing that is drained is asked. */
static int coroutine_fn report_of_node(BlockDriverState *bs, int64_t offset,
                                       unsigned int *n,
                                       BlockZoneDescriptor *zones)
{
    while (true) {
        WITH_GRAPH_RDLOCK_GUARD() {
            if (!qatomic_read(&bs->quiesce_counter)) {
                return bdrv_co_zone_report(bs, offset, n, zones);
            }
        }
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, DRAINED_WAIT_MS * SCALE_MS);
    }
}

static int coroutine_fn for_each_zone(const ZoneSource *source, int64_t offset,
                                      uint64_t bytes, BlkZoneFunc *fn,
                                      void *opaque)
{
    BlockZoneDescriptor zones[BATCH];
    int64_t end = offset + bytes;
    uint64_t work = 0;

    while (offset < end) {
        unsigned int n = BATCH;
        int ret = source->blk ? report_of_blk(source, offset, &n, zones)
                              : report_of_node(source->bs, offset, &n, zones);

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

int coroutine_fn blk_co_for_each_zone(BlockBackend *blk, int64_t offset,
                                      uint64_t bytes, BdrvRequestFlags flags,
                                      BlkZoneFunc *fn, void *opaque)
{
    ZoneSource source = { .blk = blk, .flags = flags };

    return for_each_zone(&source, offset, bytes, fn, opaque);
}

int coroutine_fn bdrv_co_for_each_zone(BlockDriverState *bs, int64_t offset,
                                       uint64_t bytes, BlkZoneFunc *fn,
                                       void *opaque)
{
    ZoneSource source = { .bs = bs };

    return for_each_zone(&source, offset, bytes, fn, opaque);
}
