/*
 * What there is to tell of a zone, for people and for programs
 *
 * All positions and sizes are bytes.  Nothing here locks, yields or does I/O.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_REPORT_H
#define BLOCK_ZONED_REPORT_H

#include "block/block-common.h"
#include "qapi/qapi-types-block-core.h"
#include "qapi/qapi-types-zoned.h"

/* The state of a zone as QAPI has it */
BlockdevZoneState zoned_report_state(BlockZoneState state);

/* Is the write pointer of @zone valid?  ZNS 1.1, 2.1.1.2.1; ZBC-2, 4.4.3.2 */
bool zoned_report_has_pointer(const BlockZoneDescriptor *zone);

/*
 * How much of a sequential zone has been written, and how much can be before it
 * is full.  A full zone counts as written up to its capacity; nothing can be
 * said of the bytes of an offline one, and both are 0 for it, as they are for
 * conventional zones.
 */
uint64_t zoned_report_written(const BlockZoneDescriptor *zone);
uint64_t zoned_report_left(const BlockZoneDescriptor *zone);

/*
 * Fill @info with what QMP tells of @zone, which has the number @index.  The
 * caller frees info->attributes.
 */
void zoned_report_info(const BlockZoneDescriptor *zone, uint32_t index,
                       BlockdevZone *info);

/* Attributes as QAPI has them, from BDRV_ZA_* and back */
BlockdevZoneAttributeList *zoned_report_attributes(uint8_t attributes);
uint8_t zoned_report_attribute_bits(const BlockdevZoneAttributeList *list);

/* Zones and bytes by state, of a disk or a part of it */
typedef struct ZoneTotals {
    uint32_t zones;
    uint32_t in_state[BLOCKDEV_ZONE_STATE__MAX];
    /* What can be written of them, and how much of that is or is taken */
    uint64_t capacity[BLOCKDEV_ZONE_STATE__MAX];
    uint64_t filled[BLOCKDEV_ZONE_STATE__MAX];
    uint64_t written, left;      /* of sequential zones */
} ZoneTotals;

void zoned_report_add(ZoneTotals *totals, const BlockZoneDescriptor *zone);

/* A size without rounding: in the largest unit that it is a multiple of */
#define ZONED_SIZE_MAX 24
const char *zoned_report_size(char buf[ZONED_SIZE_MAX], uint64_t bytes);

/* A table of zones, line by line; what is private begins with zeroes */
typedef struct ZoneColumn {
    uint64_t value;
    char text[ZONED_SIZE_MAX];
} ZoneColumn;

typedef struct ZoneLines {
    bool resets;                 /* with a column for them */

    /* Private */
    ZoneColumn start, length, capacity, written, left;
} ZoneLines;

/* Set @line to a line of the table, without its end. */
void zoned_report_heading(const ZoneLines *lines, GString *line);
void zoned_report_line(ZoneLines *lines, const BlockdevZone *zone,
                       GString *line);

/*
 * Print the zones of an image for people, in an order that does not change,
 * and take them out of @data, which is what is printed of @info otherwise.
 */
void zoned_report_image(int indentation, const ImageInfoSpecific *info,
                        QDict *data);

#endif
