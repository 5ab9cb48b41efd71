/*
 * What there is to tell of a zone, for people and for programs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/qemu-print.h"
#include "qobject/qdict.h"
#include "block/block-zoned.h"
#include "block/zoned-report.h"

BlockdevZoneState zoned_report_state(BlockZoneState state)
{
    switch (state) {
    case BLK_ZS_EMPTY:
        return BLOCKDEV_ZONE_STATE_EMPTY;
    case BLK_ZS_IOPEN:
        return BLOCKDEV_ZONE_STATE_IMPLICITLY_OPEN;
    case BLK_ZS_EOPEN:
        return BLOCKDEV_ZONE_STATE_EXPLICITLY_OPEN;
    case BLK_ZS_CLOSED:
        return BLOCKDEV_ZONE_STATE_CLOSED;
    case BLK_ZS_FULL:
        return BLOCKDEV_ZONE_STATE_FULL;
    case BLK_ZS_RDONLY:
        return BLOCKDEV_ZONE_STATE_READ_ONLY;
    case BLK_ZS_OFFLINE:
        return BLOCKDEV_ZONE_STATE_OFFLINE;
    default:
        return BLOCKDEV_ZONE_STATE_NOT_WRITE_POINTER;
    }
}

bool zoned_report_has_pointer(const BlockZoneDescriptor *zone)
{
    switch (zone->state) {
    case BLK_ZS_EMPTY:
    case BLK_ZS_IOPEN:
    case BLK_ZS_EOPEN:
    case BLK_ZS_CLOSED:
        return true;
    case BLK_ZS_RDONLY:
        /* Not for writing, but what is below can be read; hosts may not know */
        return zone->wp >= zone->start &&
               zone->wp - zone->start <= zone->cap;
    default:
        return false;
    }
}

uint64_t zoned_report_written(const BlockZoneDescriptor *zone)
{
    if (zone->state == BLK_ZS_FULL) {
        return zone->cap;
    }
    return zoned_report_has_pointer(zone) ? zone->wp - zone->start : 0;
}

uint64_t zoned_report_left(const BlockZoneDescriptor *zone)
{
    switch (zone->state) {
    case BLK_ZS_EMPTY:
    case BLK_ZS_IOPEN:
    case BLK_ZS_EOPEN:
    case BLK_ZS_CLOSED:
        return zone->cap - (zone->wp - zone->start);
    default:
        return 0;
    }
}

static const uint8_t attribute_bits[BLOCKDEV_ZONE_ATTRIBUTE__MAX] = {
    [BLOCKDEV_ZONE_ATTRIBUTE_FINISHED_BY_CONTROLLER] =
        BDRV_ZA_FINISHED_BY_CONTROLLER,
    [BLOCKDEV_ZONE_ATTRIBUTE_FINISH_RECOMMENDED] = BDRV_ZA_FINISH_RECOMMENDED,
    [BLOCKDEV_ZONE_ATTRIBUTE_RESET_RECOMMENDED] = BDRV_ZA_RESET_RECOMMENDED,
    [BLOCKDEV_ZONE_ATTRIBUTE_RANDOM_WRITE_AREA] = BDRV_ZA_ZRWA,
    [BLOCKDEV_ZONE_ATTRIBUTE_DESCRIPTOR_EXTENSION] = BDRV_ZA_EXT,
};

BlockdevZoneAttributeList *zoned_report_attributes(uint8_t attributes)
{
    BlockdevZoneAttributeList *list = NULL, **tail = &list;

    for (int i = 0; i < BLOCKDEV_ZONE_ATTRIBUTE__MAX; i++) {
        if (attributes & attribute_bits[i]) {
            QAPI_LIST_APPEND(tail, i);
        }
    }
    return list;
}

uint8_t zoned_report_attribute_bits(const BlockdevZoneAttributeList *list)
{
    uint8_t attributes = 0;

    for (; list; list = list->next) {
        attributes |= attribute_bits[list->value];
    }
    return attributes;
}

void zoned_report_info(const BlockZoneDescriptor *zone, uint32_t index,
                       BlockdevZone *info)
{
    bool sequential = zone->type != BLK_ZT_CONV;

    *info = (BlockdevZone) {
        .index = index,
        .start = zone->start,
        .length = zone->length,
        .capacity = zone->cap,
        .has_write_pointer = zoned_report_has_pointer(zone),
        .write_pointer = zoned_report_has_pointer(zone) ? zone->wp : 0,
        .has_remaining = sequential,
        .remaining = zoned_report_left(zone),
        .type = sequential ? BLOCKDEV_ZONE_TYPE_SEQUENTIAL_WRITE_REQUIRED
                           : BLOCKDEV_ZONE_TYPE_CONVENTIONAL,
        .state = zoned_report_state(zone->state),
        .attributes = zoned_report_attributes(zone->attributes),
    };
}

void zoned_report_add(ZoneTotals *totals, const BlockZoneDescriptor *zone)
{
    BlockdevZoneState state = zoned_report_state(zone->state);

    totals->zones++;
    totals->in_state[state]++;
    totals->capacity[state] += zone->cap;
    totals->filled[state] += zone->state == BLK_ZS_NOT_WP ||
                             zone->state == BLK_ZS_OFFLINE
                             ? zone->cap : zoned_report_written(zone);
    totals->written += zoned_report_written(zone);
    totals->left += zoned_report_left(zone);
}

const char *zoned_report_size(char buf[ZONED_SIZE_MAX], uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    int unit = 0;

    while (bytes && bytes % 1024 == 0 && unit < ARRAY_SIZE(units) - 1) {
        bytes /= 1024;
        unit++;
    }
    snprintf(buf, ZONED_SIZE_MAX, "%" PRIu64 " %s", bytes, units[unit]);
    return buf;
}

/* Most have the value of the line above: a million lines are fast like this. */
static const char *size_cell(ZoneColumn *column, uint64_t value)
{
    if (!column->text[0] || column->value != value) {
        column->value = value;
        zoned_report_size(column->text, value);
    }
    return column->text;
}

void zoned_report_heading(const ZoneLines *lines, GString *line)
{
    g_string_printf(line, "%8s  %12s  %9s  %9s  %12s  %12s  ", "Zone", "Start",
                    "Length", "Capacity", "Pointer at", "Left");
    if (lines->resets) {
        g_string_append_printf(line, "%10s  ", "Resets");
    }
    g_string_append_printf(line, "%-17s  %s", "State", "Attributes");
}

void zoned_report_line(ZoneLines *lines, const BlockdevZone *zone,
                       GString *line)
{
    const char *separator = "  ";

    g_string_printf(line, "%8" PRIu32 "  %12s  %9s  %9s  %12s  %12s  ",
                    zone->index, size_cell(&lines->start, zone->start),
                    size_cell(&lines->length, zone->length),
                    size_cell(&lines->capacity, zone->capacity),
                    zone->has_write_pointer
                    ? size_cell(&lines->written,
                                zone->write_pointer - zone->start)
                    : "-",
                    zone->has_remaining
                    ? size_cell(&lines->left, zone->remaining) : "-");
    if (lines->resets && zone->has_resets) {
        g_string_append_printf(line, "%10" PRIu32 "  ", zone->resets);
    } else if (lines->resets) {
        g_string_append_printf(line, "%10s  ", "-");
    }
    if (!zone->attributes) {
        g_string_append(line, BlockdevZoneState_str(zone->state));
        return;
    }
    g_string_append_printf(line, "%-17s", BlockdevZoneState_str(zone->state));
    for (const BlockdevZoneAttributeList *a = zone->attributes; a;
         a = a->next) {
        g_string_append_printf(line, "%s%s", separator,
                               BlockdevZoneAttribute_str(a->value));
        separator = ",";
    }
}

/* --- An image --- */

static void print_size(int spaces, const char *name, uint64_t bytes)
{
    char buf[ZONED_SIZE_MAX];

    qemu_printf("%*s%s: %s (%" PRIu64 " bytes)\n", spaces, "", name,
                zoned_report_size(buf, bytes), bytes);
}

static void print_number(int spaces, const char *name, uint32_t n)
{
    qemu_printf("%*s%s: %" PRIu32 "\n", spaces, "", name, n);
}

static void print_limit(int spaces, const char *name, uint32_t n)
{
    qemu_printf("%*s%s: %" PRIu32 "%s\n", spaces, "", name, n,
                n ? "" : " (no limit)");
}

static void print_states(int spaces, const ImageInfoZoneStates *states)
{
    qemu_printf("%*sstates:\n", spaces, "");
    spaces += 4;
    print_number(spaces, "empty", states->empty);
    print_number(spaces, "implicitly open", states->implicitly_open);
    print_number(spaces, "explicitly open", states->explicitly_open);
    print_number(spaces, "closed", states->closed);
    print_number(spaces, "full", states->full);
    print_number(spaces, "read only", states->read_only);
    print_number(spaces, "offline", states->offline);
}

static void print_zrwa(int spaces, const BlockZoneRandomWriteArea *zrwa)
{
    qemu_printf("%*szrwa:\n", spaces, "");
    spaces += 4;
    print_size(spaces, "size", zrwa->size);
    print_size(spaces, "flush granularity", zrwa->flush_granularity);
    print_limit(spaces, "zones", zrwa->zones);
}

void zoned_report_image(int indentation, const ImageInfoSpecific *info,
                        QDict *data)
{
    const ImageInfoZone *zone = info->type == IMAGE_INFO_SPECIFIC_KIND_QCOW2
                                ? info->u.qcow2.data->zone : NULL;
    int spaces = indentation * 4;

    if (!zone) {
        return;
    }
    qdict_del(data, "zone");
    qemu_printf("%*szone:\n", spaces, "");
    spaces += 4;
    qemu_printf("%*smode: %s\n", spaces, "",
                BlockdevZoneMode_str(zone->mode));
    print_number(spaces, "zones", zone->zones);
    print_size(spaces, "size", zone->size);
    print_size(spaces, "capacity", zone->capacity);
    print_number(spaces, "conventional zones", zone->conventional_zones);
    print_limit(spaces, "max open zones", zone->max_open_zones);
    print_limit(spaces, "max active zones", zone->max_active_zones);
    print_size(spaces, "max append bytes", zone->max_append_bytes);
    if (zone->has_descriptor_extension_size) {
        print_size(spaces, "descriptor extension size",
                   zone->descriptor_extension_size);
    }
    if (zone->zrwa) {
        print_zrwa(spaces, zone->zrwa);
    }
    print_states(spaces, zone->states);
}
