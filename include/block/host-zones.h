/*
 * Zones of a host device: who may write where, and in which order
 *
 * The device is the state machine, and its report is the truth.  What it
 * cannot do for QEMU is here: name the rule that a request breaks (the kernel
 * has EIO for all of them), append (it has no such request for user space),
 * and keep requests in order on their way.  For that, each zone has a lock
 * and a write pointer remembered from the last time we asked or wrote.
 *
 * A remembered pointer that is wrong does no harm: no request is refused
 * before the device was asked again, and one that is let through is checked
 * by the device.
 *
 * Positions and sizes are bytes; broken rules have the errno values of
 * block-zoned.h.  All functions may be called from any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_HOST_ZONES_H
#define BLOCK_HOST_ZONES_H

#include "block/block-common.h"

typedef struct HostZones HostZones;

/* The report of a device, as BlockDriver.bdrv_co_zone_report */
typedef int coroutine_fn HostZonesReport(BlockDriverState *bs, int64_t offset,
                                         unsigned int *nr_zones,
                                         BlockZoneDescriptor *zones);

/* Asks the device for nothing before that is needed. */
HostZones *host_zones_new(BlockDriverState *bs, HostZonesReport *report,
                          uint32_t nr_zones, uint64_t zone_size,
                          uint32_t write_granularity);
/* No request may be in progress. */
void host_zones_free(HostZones *z);

/* Something else may have changed the zones. */
void host_zones_forget(HostZones *z);

/*
 * Is one of the zones of [@offset, @offset + @bytes) sequential?  1, 0, or a
 * negative errno.
 */
int coroutine_fn
host_zones_sequential(HostZones *z, int64_t offset, int64_t bytes);

/* A write in progress, owned by the caller until the end call */
typedef struct HostZoneWrite {
    uint64_t start, end;
    struct HostZone *zone;      /* locked; NULL where there is no order */
} HostZoneWrite;

/*
 * Begin a write of [*@offset, *@offset + @bytes), or an append of @bytes to
 * the zone at *@offset, which becomes the place to write them to.  Waits for
 * other writes and management of this zone, first come, first served.
 *
 * Returns 0, or a negative errno and there is nothing to end.
 */
int coroutine_fn
host_zones_begin_write(HostZones *z, HostZoneWrite *w, bool append,
                       int64_t *offset, int64_t bytes);

/* End it with the result @ret of its I/O, and return its final result. */
int coroutine_fn
host_zones_end_write(HostZones *z, HostZoneWrite *w, int ret);

/*
 * Begin @op on whole zones: waits for their writes.  With BDRV_ZONE_ALL, the
 * device picks the zones that the operation is for.  Returns 0; or 1 if nothing
 * is to be done (BDRV_ZONE_LENIENT), or a negative errno, and there is nothing
 * to end.
 */
int coroutine_fn
host_zones_begin_mgmt(HostZones *z, BlockZoneOp op, BlockZoneFlags flags,
                      int64_t offset, int64_t bytes);
int coroutine_fn
host_zones_end_mgmt(HostZones *z, int64_t offset, int64_t bytes, int ret);

/* Why did a read of [@offset, @offset + @bytes) fail with @ret? */
int coroutine_fn
host_zones_read_error(HostZones *z, int64_t offset, int64_t bytes, int ret);

#endif
