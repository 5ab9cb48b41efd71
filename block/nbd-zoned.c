/*
 * Zones over NBD: the client
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "block/block-io.h"
#include "block/nbd-zoned.h"
#include "trace.h"

/* Of those that are sent at once; 768 KiB */
#define MAX_RECORDS (32 * 1024)

static int coroutine_fn GRAPH_RDLOCK
request(BlockDriverState *bs, NBDZonesOp op, uint32_t arg, void *body,
        size_t len, Error **errp)
{
    g_autofree char *message = NULL;
    NBDZonesHeader header = {
        .op = cpu_to_be32(op),
        .arg = cpu_to_be32(arg),
    };
    struct iovec iov[] = {
        { .iov_base = &header, .iov_len = sizeof(header) },
        { .iov_base = body, .iov_len = len },
    };
    QEMUIOVector payload;
    int ret;

    qemu_iovec_init_external(&payload, iov, body ? 2 : 1);
    ret = nbd_co_request_zones(bs, &payload, &message);
    trace_nbd_zones_request(bs, op, arg, len, ret);
    if (ret < 0 && message && *message) {
        error_setg(errp, "The NBD server of node '%s' refuses the zones: %s",
                   bdrv_get_node_name(bs), message);
    } else if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not give zones to the NBD server of "
                         "node '%s'", bdrv_get_node_name(bs));
    }
    return ret;
}

static int coroutine_fn GRAPH_RDLOCK
send_geometry(BlockDriverState *bs, const ZoneGeometry *g, Error **errp)
{
    const BlockZoneLimits *l = &g->zones;
    NBDZonesGeometry geometry = {
        .size = cpu_to_be64(g->size),
        .zone_size = cpu_to_be64(l->size),
        .capacity = cpu_to_be64(l->capacity),
        .max_append = cpu_to_be64(l->max_append),
        .ext_size = cpu_to_be64(l->ext_size),
        .zrwa_size = cpu_to_be64(l->zrwa_size),
        .zrwa_granularity = cpu_to_be64(l->zrwa_granularity),
        .conventional_zones = cpu_to_be32(g->conventional_zones),
        .max_open = cpu_to_be32(l->max_open),
        .max_active = cpu_to_be32(l->max_active),
        .max_zrwa = cpu_to_be32(l->max_zrwa),
        .write_granularity = cpu_to_be32(l->write_granularity),
    };

    return request(bs, NBD_ZONES_GEOMETRY, 0, &geometry, sizeof(geometry),
                   errp);
}

static int coroutine_fn GRAPH_RDLOCK
send_records(BlockDriverState *bs, ZoneTable *zones, bool live, Error **errp)
{
    uint32_t end = zone_table_nr_zones(zones), first = 0;
    g_autofree NBDZoneRecord *records = g_new0(NBDZoneRecord,
                                               MIN(end, MAX_RECORDS));
    int ret = 0;

    while (first < end && ret == 0) {
        uint32_t n = MIN(end - first, MAX_RECORDS);

        for (uint32_t i = 0; i < n; i++) {
            ZoneRecord r;

            zone_table_record(zones, first + i, live, &r);
            records[i].wp = cpu_to_be64(r.wp);
            records[i].data_end = cpu_to_be64(r.data_end);
            records[i].state = r.state;
            records[i].attributes = r.attributes;
        }
        ret = request(bs, NBD_ZONES_RECORDS, first, records,
                      n * sizeof(*records), errp);
        first += n;
    }
    return ret;
}

static bool can_receive(BlockDriverState *bs, ZoneTable *zones,
                        MirrorSyncMode sync, bool same_limits, Error **errp)
{
    /* The others have to know what the target's zones are. */
    if (sync != MIRROR_SYNC_MODE_FULL) {
        error_setg(errp, "Node '%s' gets zones over NBD, so 'sync' must be "
                   "'full'", bdrv_get_node_name(bs));
        return false;
    }
    return true;
}

static int coroutine_fn GRAPH_RDLOCK
begin(BlockDriverState *bs, ZoneTable *zones, bool same_limits, Error **errp)
{
    int ret;

    nbd_begin_zones(bs);
    ret = send_geometry(bs, zone_table_geometry(zones), errp);
    if (ret == 0) {
        ret = send_records(bs, zones, false, errp);
    }
    if (ret == 0) {
        ret = request(bs, NBD_ZONES_BEGIN,
                      same_limits ? NBD_ZONES_SAME_LIMITS : 0, NULL, 0, errp);
    }
    if (ret < 0) {
        nbd_end_zones(bs, false);
    }
    return ret;
}

static int coroutine_fn GRAPH_RDLOCK
ext(BlockDriverState *bs, uint32_t i, const void *data, size_t bytes)
{
    return request(bs, NBD_ZONES_EXT, i, (void *)data, bytes, NULL);
}

static int coroutine_fn GRAPH_RDLOCK
end(BlockDriverState *bs, ZoneTable *zones, bool live)
{
    int ret = send_records(bs, zones, live, NULL);

    if (ret == 0) {
        ret = request(bs, NBD_ZONES_END, live ? NBD_ZONES_LIVE : 0, NULL, 0,
                      NULL);
    }
    if (ret == 0) {
        nbd_end_zones(bs, false);
    }
    return ret;
}

static void give_up(BlockDriverState *bs)
{
    nbd_end_zones(bs, true);
}

const BlockZoneTransfer nbd_zone_transfer = {
    .takes_zones = nbd_takes_zones,
    .can_receive = can_receive,
    .begin = begin,
    .ext = ext,
    .end = end,
    .give_up = give_up,
};
