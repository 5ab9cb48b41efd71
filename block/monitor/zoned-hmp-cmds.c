/*
 * HMP command for the zones of devices and nodes, and their counters
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/block-hmp-cmds.h"
#include "block/block_int.h"
#include "block/zoned-graph.h"
#include "block/zoned-picture.h"
#include "block/zoned-range.h"
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

    for (const BlockdevZoneList *zone = report->zones; zone;
         zone = zone->next) {
        lines.resets = lines.resets || zone->value->has_resets;
    }
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

static void coroutine_fn show_zones(Monitor *mon, const char *node_name,
                                    uint64_t offset, int64_t count,
                                    Error **errp)
{
    g_autoptr(BlockdevZoneReport) report = NULL;

    /* What is negative is out of range as a very large number, too. */
    report = qmp_query_block_zones(node_name, true, offset, true, count, false,
                                   NULL, errp);
    if (report) {
        print_zones(mon, report);
    }
}

/* --- Maps --- */

#define MAP_COLUMNS 80
#define MAP_CELLS (64 * 40)

typedef struct ZoneMapping {
    BlockDriverState *bs;
    ZonePicture picture;
} ZoneMapping;

static int coroutine_fn map_zone(const BlockZoneDescriptor *zone, void *opaque)
{
    ZoneMapping *m = opaque;
    BlockDriverState *bs = m->bs;
    uint32_t index = zone->start / bs->bl.zones.size;

    zoned_picture_add(&m->picture, index, zone);
    if (zone->type != BLK_ZT_CONV && bs->drv && bs->drv->bdrv_zone_resets) {
        zoned_picture_add_resets(&m->picture, index,
                                 bs->drv->bdrv_zone_resets(bs, index));
    }
    return 0;
}

/* @bs is zoned; @count zones, or up to the last one, from @first on */
static int coroutine_fn draw_map(Monitor *mon, BlockDriverState *bs,
                                 uint32_t first, int64_t count,
                                 ZonePictureStyle style)
{
    const BlockZoneLimits *zones = &bs->bl.zones;
    g_autoptr(GString) text = NULL;
    ZoneMapping m = { .bs = bs };
    int ret;

    count = MIN(count, zones->nr_zones - first);
    zoned_picture_init(&m.picture, first, count, MAP_CELLS);
    ret = bdrv_co_for_each_zone(bs, first * zones->size, count * zones->size,
                                map_zone, &m);
    if (ret == 0) {
        text = zoned_picture_text(&m.picture, style, MAP_COLUMNS);
        monitor_puts(mon, text->str);
    }
    zoned_picture_destroy(&m.picture);
    return ret;
}

static void coroutine_fn show_map(Monitor *mon, const char *node_name,
                                  uint64_t offset, int64_t count,
                                  ZonePictureStyle style, Error **errp)
{
    BlockDriverState *bs;
    int ret;

    if (count < 1) {
        error_setg(errp, "count (%" PRIi64 ") must be at least 1", count);
        return;
    }
    WITH_GRAPH_RDLOCK_GUARD() {
        bs = bdrv_find_zoned(node_name, false, errp);
        if (!bs) {
            return;
        }
        bdrv_ref(bs);
    }
    ret = draw_map(mon, bs, offset / bs->bl.zones.size, count, style);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not report zones");
    }
    bdrv_co_unref(bs);
}

/* --- The command --- */

static void coroutine_fn info_zones(Monitor *mon, const QDict *qdict,
                                    Error **errp)
{
    const char *name = qdict_get_str(qdict, "device");
    bool wear = qdict_get_try_bool(qdict, "wear", false);
    g_autofree char *node_name = find_node_name(name, errp);
    uint64_t offset;

    if (!node_name ||
        !find_offset(node_name, qdict_get_try_int(qdict, "zone", 0), &offset,
                     errp)) {
        return;
    }
    if (wear || qdict_get_try_bool(qdict, "map", false)) {
        show_map(mon, node_name, offset,
                 qdict_get_try_int(qdict, "count", INT64_MAX),
                 wear ? ZONE_PICTURE_WEAR : ZONE_PICTURE_PLAIN, errp);
    } else {
        show_zones(mon, node_name, offset,
                   qdict_get_try_int(qdict, "count", DEFAULT_COUNT), errp);
    }
}

void coroutine_fn hmp_info_zones(Monitor *mon, const QDict *qdict)
{
    Error *err = NULL;

    if (qdict_haskey(qdict, "device")) {
        info_zones(mon, qdict, &err);
        hmp_handle_error(mon, err);
    } else {
        print_disks(mon);
    }
}

/* --- Counters, for info blockstats --- */

void hmp_print_zone_stats(Monitor *mon, const BlockZoneStats *stats)
{
    const BlockZoneRefusals *refused;

    if (!stats) {
        return;
    }
    refused = stats->refused;
    monitor_printf(mon, "    zones: writes=%" PRIu64 " write_bytes=%" PRIu64
                   " appends=%" PRIu64 " append_bytes=%" PRIu64
                   " opens=%" PRIu64 " closes=%" PRIu64
                   " finishes=%" PRIu64 " resets=%" PRIu64
                   " refused=%" PRIu64 "\n",
                   stats->writes, stats->write_bytes, stats->appends,
                   stats->append_bytes, stats->opens, stats->closes,
                   stats->finishes, stats->resets,
                   refused->boundary + refused->write_pointer +
                   refused->full + refused->read_only + refused->offline +
                   refused->active_limit + refused->open_limit +
                   refused->random_write_area + refused->invalid);
}
