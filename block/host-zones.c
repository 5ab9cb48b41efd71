/*
 * Zones of a host device: who may write where, and in which order
 *
 * See include/block/host-zones.h.  The I/O is its user's (file-posix.c).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/coroutine.h"
#include "block/block_int-common.h"
#include "block/block-zoned.h"
#include "block/host-zones.h"
#include "block/zone-table.h"
#include "trace.h"

/* Zones to ask for at a time */
#define BATCH 64

typedef struct HostZone {
    CoMutex lock;               /* protects all but the type, which stays */
    uint64_t wp;
    uint64_t end;               /* of what can be written */
    uint8_t type;               /* BlockZoneType, 0 if the zone is not known */
    uint8_t state;              /* BlockZoneState */
    bool fresh;                 /* as the device said, or what we made of it */
} HostZone;

struct HostZones {
    BlockDriverState *bs;
    HostZonesReport *report;
    uint64_t zone_size;
    uint32_t nr_zones;
    uint32_t write_granularity;
    HostZone zones[];
};

HostZones *host_zones_new(BlockDriverState *bs, HostZonesReport *report,
                          uint32_t nr_zones, uint64_t zone_size,
                          uint32_t write_granularity)
{
    HostZones *z = g_malloc0(sizeof(*z) + nr_zones * sizeof(z->zones[0]));

    z->bs = bs;
    z->report = report;
    z->zone_size = zone_size;
    z->nr_zones = nr_zones;
    z->write_granularity = write_granularity;
    for (uint32_t i = 0; i < nr_zones; i++) {
        qemu_co_mutex_init(&z->zones[i].lock);
    }
    return z;
}

void host_zones_free(HostZones *z)
{
    g_free(z);
}

void host_zones_forget(HostZones *z)
{
    for (uint32_t i = 0; i < z->nr_zones; i++) {
        qatomic_set(&z->zones[i].fresh, false);
    }
}

/* --- What the device says --- */

static uint32_t zone_index(const HostZones *z, const HostZone *zone)
{
    return zone - z->zones;
}

static void remember(HostZones *z, HostZone *zone, const BlockZoneDescriptor *d)
{
    trace_host_zones_report(z->bs, zone_index(z, zone), d->type, d->state,
                            d->wp);
    zone->wp = d->wp;
    zone->end = d->start + d->cap;
    zone->state = d->state;
    qatomic_set(&zone->type, d->type);
    qatomic_set(&zone->fresh, true);
}

/* Ask about @n zones from @first on, all locked. */
static int coroutine_fn ask(HostZones *z, uint32_t first, uint32_t n)
{
    g_autofree BlockZoneDescriptor *d = g_new(BlockZoneDescriptor,
                                              MIN(n, BATCH));

    for (uint32_t i = 0; i < n; i += BATCH) {
        uint64_t start = (first + i) * z->zone_size;
        unsigned int wanted = MIN(n - i, BATCH), got = wanted;
        int ret = z->report(z->bs, start, &got, d);

        if (ret < 0) {
            return bdrv_zone_io_error(ret);
        }
        if (got != wanted) {
            return -EIO;
        }
        for (unsigned int k = 0; k < got; k++) {
            if (d[k].start != start + k * z->zone_size) {
                return -EIO;
            }
            remember(z, &z->zones[first + i + k], &d[k]);
        }
    }
    return 0;
}

static int coroutine_fn ask_one(HostZones *z, HostZone *zone)
{
    return ask(z, zone_index(z, zone), 1);
}

/* The last zone of a range, which must be on the device */
static uint32_t last_zone(const HostZones *z, int64_t offset, int64_t bytes)
{
    return ((uint64_t)offset + MAX(bytes, 1) - 1) / z->zone_size;
}

static bool on_device(const HostZones *z, int64_t offset, int64_t bytes)
{
    return offset >= 0 && bytes >= 0 && bytes <= INT64_MAX - offset &&
           ((uint64_t)offset + MAX(bytes, 1) - 1) / z->zone_size < z->nr_zones;
}

/* A BlockZoneType, or a negative errno */
static int coroutine_fn zone_type(HostZones *z, HostZone *zone)
{
    int ret = 0;

    if (!qatomic_read(&zone->type)) {
        qemu_co_mutex_lock(&zone->lock);
        if (!zone->type) {
            ret = ask_one(z, zone);
        }
        qemu_co_mutex_unlock(&zone->lock);
    }
    return ret < 0 ? ret : qatomic_read(&zone->type);
}

int coroutine_fn host_zones_sequential(HostZones *z, int64_t offset,
                                       int64_t bytes)
{
    uint32_t last = last_zone(z, offset, bytes);

    if (!on_device(z, offset, bytes)) {
        return -ERANGE;
    }
    for (uint32_t i = offset / z->zone_size; i <= last; i++) {
        int type = zone_type(z, &z->zones[i]);

        if (type != BLK_ZT_CONV) {
            return type < 0 ? type : 1;
        }
    }
    return 0;
}

/* --- Writes --- */

static int check_write(const HostZones *z, const HostZone *zone, bool append,
                       uint64_t offset, uint64_t bytes)
{
    switch (zone->state) {
    case BLK_ZS_OFFLINE:
        return -ENODEV;
    case BLK_ZS_RDONLY:
        return -EROFS;
    default:
        break;
    }
    if (zone->type == BLK_ZT_SWP) {
        return append ? -EINVAL : 0;
    }
    if (zone->state == BLK_ZS_FULL) {
        return -EFBIG;
    }
    if ((!append && offset != zone->wp) || bytes % z->write_granularity) {
        return -ESPIPE;
    }
    return zone->wp + bytes > zone->end ? -ERANGE : 0;
}

/* Only zones that require an order cannot be written across. */
static int coroutine_fn check_crossing(HostZones *z, uint32_t first,
                                       uint32_t last)
{
    for (uint32_t i = first; i <= last; i++) {
        int type = zone_type(z, &z->zones[i]);

        if (type < 0 || type == BLK_ZT_SWR) {
            return type < 0 ? type : -ERANGE;
        }
    }
    return 0;
}

int coroutine_fn host_zones_begin_write(HostZones *z, HostZoneWrite *w,
                                        bool append, int64_t *offset,
                                        int64_t bytes)
{
    int sequential = host_zones_sequential(z, *offset, append ? 1 : bytes);
    uint32_t first;
    HostZone *zone;
    int ret;

    *w = (HostZoneWrite) { .start = *offset, .end = *offset + bytes };
    if (sequential < 0) {
        return append && sequential == -ERANGE ? -EINVAL : sequential;
    }
    if (!sequential) {
        return append ? -EINVAL : 0;
    }
    first = *offset / z->zone_size;
    if (append && *offset % z->zone_size) {
        return -EINVAL;
    }
    if (!append && first != last_zone(z, *offset, bytes)) {
        return check_crossing(z, first, last_zone(z, *offset, bytes));
    }

    zone = &z->zones[first];
    qemu_co_mutex_lock(&zone->lock);
    ret = qatomic_read(&zone->fresh)
          ? check_write(z, zone, append, *offset, bytes) : -EAGAIN;
    if (ret < 0) {
        ret = ask_one(z, zone);
        if (ret == 0) {
            ret = check_write(z, zone, append, *offset, bytes);
        }
    }
    if (ret < 0) {
        trace_host_zones_refused(z->bs, *offset, bytes, ret);
        qemu_co_mutex_unlock(&zone->lock);
        return ret;
    }
    if (append) {
        *offset = zone->wp;
    }
    w->zone = zone;
    w->start = *offset;
    w->end = *offset + bytes;
    return 0;
}

/* The errno to report for @ret of real I/O on a zone in this state */
static int zone_error(BlockZoneState state, int ret)
{
    if (state == BLK_ZS_OFFLINE) {
        return -ENODEV;
    }
    if (ret == -EOVERFLOW || ret == -ETOOMANYREFS || ret == -ENOTSUP) {
        return ret;
    }
    /* The request was right, so this is not about its place or size */
    return bdrv_zone_op_io_error(ret);
}

int coroutine_fn host_zones_end_write(HostZones *z, HostZoneWrite *w, int ret)
{
    HostZone *zone = w->zone;

    if (!zone) {
        for (uint32_t i = w->start / z->zone_size;
             i <= last_zone(z, w->start, w->end - w->start); i++) {
            qatomic_set(&z->zones[i].fresh, false);
        }
        return bdrv_zone_io_error(ret);
    }
    if (zone->type == BLK_ZT_SWP) {
        qatomic_set(&zone->fresh, false);
    }
    if (ret >= 0) {
        zone->wp = w->end;
        if (zone->wp == zone->end) {
            zone->state = BLK_ZS_FULL;
        }
    } else if (ask_one(z, zone) < 0) {
        qatomic_set(&zone->fresh, false);
        ret = zone_error(BLK_ZS_NOT_WP, ret);
    } else {
        ret = zone->state == BLK_ZS_RDONLY ? -EROFS
                                           : zone_error(zone->state, ret);
    }
    trace_host_zones_write(z->bs, w->start, w->end, zone->wp, ret);
    qemu_co_mutex_unlock(&zone->lock);
    return ret;
}

/* --- Management --- */

static void coroutine_fn unlock_zones(HostZones *z, uint32_t first,
                                      uint32_t last)
{
    for (uint32_t i = first; i <= last; i++) {
        qemu_co_mutex_unlock(&z->zones[i].lock);
    }
}

int coroutine_fn host_zones_begin_mgmt(HostZones *z, BlockZoneOp op,
                                       BlockZoneFlags flags, int64_t offset,
                                       int64_t bytes)
{
    int64_t size = z->bs->total_sectors * BDRV_SECTOR_SIZE;
    uint32_t first = offset / z->zone_size;
    uint32_t last = last_zone(z, offset, bytes);
    int ret = 0;

    if (bytes == 0 || !on_device(z, offset, bytes) ||
        offset % z->zone_size || offset + bytes > size ||
        ((offset + bytes) % z->zone_size && offset + bytes != size)) {
        return -EINVAL;
    }
    for (uint32_t i = first; i <= last; i++) {
        qemu_co_mutex_lock(&z->zones[i].lock);
    }
    if (!(flags & BDRV_ZONE_ALL)) {
        ret = ask(z, first, last - first + 1);
        if (ret == 0 && first == last &&
            zone_op_leaves(op, flags, z->zones[first].state)) {
            ret = 1;
        }
        for (uint32_t i = first; i <= last && ret == 0; i++) {
            ret = zone_op_allowed(op, z->zones[i].state) ? 0 : -EINVAL;
        }
    }
    if (ret != 0) {
        unlock_zones(z, first, last);
    }
    return ret;
}

int coroutine_fn host_zones_end_mgmt(HostZones *z, int64_t offset,
                                     int64_t bytes, int ret)
{
    uint32_t first = offset / z->zone_size;
    uint32_t last = last_zone(z, offset, bytes);

    for (uint32_t i = first; i <= last; i++) {
        qatomic_set(&z->zones[i].fresh, false);
    }
    unlock_zones(z, first, last);
    return ret < 0 ? zone_error(BLK_ZS_NOT_WP, ret) : 0;
}

/* --- Reads --- */

int coroutine_fn host_zones_read_error(HostZones *z, int64_t offset,
                                       int64_t bytes, int ret)
{
    uint32_t last = last_zone(z, offset, bytes);

    for (uint32_t i = offset / z->zone_size; i <= last; i++) {
        unsigned int n = 1;
        BlockZoneDescriptor d;

        if (z->report(z->bs, i * z->zone_size, &n, &d) == 0 && n == 1 &&
            d.state == BLK_ZS_OFFLINE) {
            return -ENODEV;
        }
    }
    return bdrv_zone_io_error(ret);
}
