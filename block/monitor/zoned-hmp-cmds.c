/*
 * HMP command for the zones of devices and nodes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/block-hmp-cmds.h"
#include "block/block_int.h"
#include "block/zoned-graph.h"
#include "block/zoned-report.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-zoned-commands.h"
#include "qobject/qdict.h"
#include "system/block-backend.h"

/* Lines that are printed unless more are asked for */
#define DEFAULT_COUNT 64

/* --- All zoned disks --- */

static void GRAPH_RDLOCK print_disk(Monitor *mon, BlockDriverState *bs)
{
    const BlockZoneLimits *zones = &bs->bl.zones;
    char size[ZONED_SIZE_MAX], zone_size[ZONED_SIZE_MAX];

    monitor_printf(mon, "%s: %s, %" PRIu32 " zones of %s",
                   bdrv_get_node_name(bs),
                   zoned_report_size(size,
                                     bs->total_sectors * BDRV_SECTOR_SIZE),
                   zones->nr_zones, zoned_report_size(zone_size, zones->size));
    if (zones->max_open) {
        monitor_printf(mon, ", at most %" PRIu32 " open", zones->max_open);
    }
    if (zones->max_active) {
        monitor_printf(mon, ", at most %" PRIu32 " active", zones->max_active);
    }
    monitor_printf(mon, "\n");
}

static void coroutine_fn print_disks(Monitor *mon)
{
    bool any = false;

    GRAPH_RDLOCK_GUARD();

    for (BlockDriverState *bs = bdrv_next_node(NULL); bs;
         bs = bdrv_next_node(bs)) {
        if (bs->drv && bs->bl.zones.model != BLK_Z_NONE) {
            print_disk(mon, bs);
            any = true;
        }
    }
    if (!any) {
        monitor_printf(mon, "No zoned disks\n");
    }
}

/* --- Zones of a disk --- */

/* The name of the node that a drive, device or node of this name has */
static char *coroutine_fn find_node_name(const char *name, Error **errp)
{
    g_autofree char *virtio = g_strdup_printf("%s/virtio-backend", name);
    BlockBackend *blk = blk_by_name(name) ?: blk_by_qdev_id(name, NULL)
                                          ?: blk_by_qdev_id(virtio, NULL);
    BlockDriverState *bs = blk ? blk_bs(blk) : NULL;

    if (blk && !bs) {
        error_setg(errp, "Device '%s' has no medium", name);
        return NULL;
    }
    return g_strdup(bs ? bdrv_get_node_name(bs) : name);
}

static void print_zones(Monitor *mon, const BlockdevZoneReport *report)
{
    g_autoptr(GString) line = g_string_new(NULL);
    ZoneLines lines = {};

    zoned_report_heading(&lines, line);
    monitor_printf(mon, "%s\n", line->str);
    for (const BlockdevZoneList *zone = report->zones; zone;
         zone = zone->next) {
        zoned_report_line(&lines, zone->value, line);
        monitor_printf(mon, "%s\n", line->str);
    }
    if (report->has_next) {
        uint32_t next = report->next / report->zone_size;
        uint32_t last = report->nr_zones - 1;

        if (next == last) {
            monitor_printf(mon, "Zone %" PRIu32 " is not shown\n", last);
        } else {
            monitor_printf(mon, "Zones %" PRIu32 " to %" PRIu32 " are not "
                           "shown\n", next, last);
        }
    }
}

/* Zones are given by number: what is the offset of the first one? */
static bool coroutine_fn find_offset(const char *node_name, int64_t zone,
                                     uint64_t *offset, Error **errp)
{
    BlockDriverState *bs;

    GRAPH_RDLOCK_GUARD();

    bs = bdrv_find_zoned(node_name, false, errp);
    if (!bs) {
        return false;
    }
    if (zone < 0 || zone >= bs->bl.zones.nr_zones) {
        error_setg(errp, "zone (%" PRIi64 ") must be between 0 and %" PRIu32,
                   zone, bs->bl.zones.nr_zones - 1);
        return false;
    }
    *offset = zone * bs->bl.zones.size;
    return true;
}

static BlockdevZoneReport *coroutine_fn
query(const char *name, int64_t zone, int64_t count, Error **errp)
{
    g_autofree char *node_name = find_node_name(name, errp);
    uint64_t offset;

    if (!node_name || !find_offset(node_name, zone, &offset, errp)) {
        return NULL;
    }
    /* What is negative is out of range as a very large number, too. */
    return qmp_query_block_zones(node_name, true, offset, true, count, false,
                                 NULL, errp);
}

void coroutine_fn hmp_info_zones(Monitor *mon, const QDict *qdict)
{
    const char *name = qdict_get_try_str(qdict, "device");
    g_autoptr(BlockdevZoneReport) report = NULL;
    Error *err = NULL;

    if (!name) {
        print_disks(mon);
        return;
    }
    report = query(name, qdict_get_try_int(qdict, "zone", 0),
                   qdict_get_try_int(qdict, "count", DEFAULT_COUNT), &err);
    if (err) {
        hmp_handle_error(mon, err);
        return;
    }
    print_zones(mon, report);
}
