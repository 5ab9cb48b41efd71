/*
 * Pictures of the zones of a disk: cells that are filled as zones are
 *
 * A cell is a zone, or a group of zones where there would be too many.  All
 * sizes are bytes.  Nothing here locks, yields or does I/O.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_PICTURE_H
#define BLOCK_ZONED_PICTURE_H

#include "block/zoned-report.h"

typedef struct ZonePicture {
    /* The disk, for the heading of zoned_picture_svg() */
    const char *name;
    uint64_t size, zone_size;
    uint32_t nr_zones, max_open, max_active;
    uint64_t capacity;           /* of a sequential zone; 0: unknown */

    /* The zones shown, in cells of @group zones */
    uint32_t first, count, group, nr_cells;
    ZoneTotals *cells;
    uint32_t *resets;            /* of that zone of a cell which had most */
    ZoneTotals totals;
    uint32_t most_resets, most_reset_zone;
} ZonePicture;

/* Set up for @count zones from @first on, in at most @max_cells cells. */
void zoned_picture_init(ZonePicture *picture, uint32_t first, uint32_t count,
                        uint32_t max_cells);
void zoned_picture_destroy(ZonePicture *picture);

/* Add the zone with the number @index. */
void zoned_picture_add(ZonePicture *picture, uint32_t index,
                       const BlockZoneDescriptor *zone);

/* Likewise, how often it was reset. */
void zoned_picture_add_resets(ZonePicture *picture, uint32_t index,
                              uint32_t resets);

/*
 * A character for each cell, and a legend: with colours and blocks for a
 * terminal, or plain ASCII, for states or resets.  Lines have at most @columns
 * characters.  The caller frees it.
 */
typedef enum ZonePictureStyle {
    ZONE_PICTURE_PLAIN, ZONE_PICTURE_COLOUR, ZONE_PICTURE_BLOCKS,
    ZONE_PICTURE_WEAR,
} ZonePictureStyle;
GString *zoned_picture_text(const ZonePicture *picture, ZonePictureStyle style,
                            unsigned int columns);

/* The picture as a file in SVG; the caller frees it. */
GString *zoned_picture_svg(const ZonePicture *picture);

#endif
