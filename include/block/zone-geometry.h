/*
 * Zone geometry: where the zones of an emulated disk are, and its limits
 *
 * The one place for the rules of a geometry, for creation, resizing, amending
 * and images from anywhere.  All positions and sizes are bytes.  Nothing here
 * locks, yields or does I/O.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONE_GEOMETRY_H
#define BLOCK_ZONE_GEOMETRY_H

#include "block/block-zoned.h"

/* 64 MiB of table on disk, 256 MiB of zones in memory */
#define ZONE_GEOMETRY_MAX_ZONES (4u << 20)

typedef struct ZoneGeometry {
    uint64_t size;               /* of the disk; the last zone may be short */
    uint32_t conventional_zones; /* they come first, capacity is their size */
    BlockZoneLimits zones;
} ZoneGeometry;

/*
 * Check every rule.  What is wrong is named as the option of qemu-img create
 * is, with its value and bound.  @cluster_size is that of the image.
 */
bool zone_geometry_check(const ZoneGeometry *g, size_t cluster_size,
                         Error **errp);

/* The name of the first option in which @a and @b differ, or NULL */
const char *zone_geometry_difference(const ZoneGeometry *a,
                                     const ZoneGeometry *b,
                                     uint64_t *value_a, uint64_t *value_b);

/* From size and zone size; zones.nr_zones need not be set. */
static inline uint64_t zone_geometry_nr_zones(const ZoneGeometry *g)
{
    return DIV_ROUND_UP(g->size, g->zones.size);
}

/* The zone that @offset is in */
static inline uint64_t zone_geometry_index(const ZoneGeometry *g,
                                           uint64_t offset)
{
    return offset / g->zones.size;
}

static inline uint64_t zone_geometry_start(const ZoneGeometry *g, uint64_t i)
{
    return i * g->zones.size;
}

static inline uint64_t zone_geometry_end(const ZoneGeometry *g, uint64_t i)
{
    return MIN(zone_geometry_start(g, i) + g->zones.size, g->size);
}

static inline bool zone_geometry_conventional(const ZoneGeometry *g, uint64_t i)
{
    return i < g->conventional_zones;
}

/* Where what can be written of zone @i ends: its capacity */
static inline uint64_t zone_geometry_writable_end(const ZoneGeometry *g,
                                                  uint64_t i)
{
    uint64_t end = zone_geometry_end(g, i);

    return zone_geometry_conventional(g, i) ? end :
           MIN(end, zone_geometry_start(g, i) + g->zones.capacity);
}

#endif
