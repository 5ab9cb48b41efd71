/*
 * Zone geometry: where the zones of an emulated disk are, and its limits
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "block/zone-geometry.h"

/* A zone's write pointer is stored in 51 bits. */
#define MAX_SIZE (1ULL << 51)
#define MIN_ZONE_SIZE 4096
#define MAX_ZONE_SIZE (1 * TiB)
#define MAX_FIELD (2 * GiB)     /* of 32 bits in the image */
#define SIZE_UNIT 4096          /* of capacity and append limit */
#define EXT_UNIT 64             /* a descriptor extension has up to 255 */
#define MAX_EXT_SIZE (255 * EXT_UNIT)
#define MAX_EXT_BYTES (1 * GiB) /* of all zones */

/* --- Comparison --- */

static uint64_t get_field(const ZoneGeometry *g, size_t offset, size_t bytes)
{
    const uint8_t *field = (const uint8_t *)g + offset;

    return bytes == sizeof(uint32_t) ? *(const uint32_t *)field
                                     : *(const uint64_t *)field;
}

const char *zone_geometry_difference(const ZoneGeometry *a,
                                     const ZoneGeometry *b,
                                     uint64_t *value_a, uint64_t *value_b)
{
#define FIELD(option, field) \
    { option, offsetof(ZoneGeometry, field), sizeof_field(ZoneGeometry, field) }
    static const struct {
        const char *option;
        size_t offset, bytes;
    } fields[] = {
        FIELD("size", size),
        FIELD("zone.size", zones.size),
        FIELD("zone.capacity", zones.capacity),
        FIELD("zone.conventional_zones", conventional_zones),
        FIELD("zone.max_open_zones", zones.max_open),
        FIELD("zone.max_active_zones", zones.max_active),
        FIELD("zone.max_append_bytes", zones.max_append),
        FIELD("zone.descriptor_extension_size", zones.ext_size),
        FIELD("zone.zrwa_size", zones.zrwa_size),
        FIELD("zone.zrwa_flush_granularity", zones.zrwa_granularity),
        FIELD("zone.zrwa_zones", zones.max_zrwa),
    };
#undef FIELD

    for (int i = 0; i < ARRAY_SIZE(fields); i++) {
        *value_a = get_field(a, fields[i].offset, fields[i].bytes);
        *value_b = get_field(b, fields[i].offset, fields[i].bytes);
        if (*value_a != *value_b) {
            return fields[i].option;
        }
    }
    return NULL;
}

/* --- Rules --- */

static bool check_max(const char *option, uint64_t value, const char *bound,
                      uint64_t max, Error **errp)
{
    if (value > max) {
        error_setg(errp, "%s (%" PRIu64 ") must not exceed %s (%" PRIu64 ")",
                   option, value, bound, max);
        return false;
    }
    return true;
}

/* A size that is at least one unit */
static bool check_size(const char *option, uint64_t value, const char *bound,
                       uint64_t max, Error **errp)
{
    if (!value || value % SIZE_UNIT || value > max) {
        error_setg(errp, "%s (%" PRIu64 ") must be a multiple of %d between "
                   "%d and %s (%" PRIu64 ")", option, value, SIZE_UNIT,
                   SIZE_UNIT, bound, max);
        return false;
    }
    return true;
}

static bool check_zone_size(const ZoneGeometry *g, size_t cluster_size,
                            Error **errp)
{
    uint64_t size = g->zones.size;

    if (!is_power_of_2(size) || size < MIN_ZONE_SIZE || size > MAX_ZONE_SIZE) {
        error_setg(errp, "zone.size (%" PRIu64 ") must be a power of two "
                   "between %d and %" PRIu64, size, MIN_ZONE_SIZE,
                   (uint64_t)MAX_ZONE_SIZE);
        return false;
    }
    if (size % cluster_size) {
        error_setg(errp, "zone.size (%" PRIu64 ") must be a multiple of the "
                   "cluster size (%zu)", size, cluster_size);
        return false;
    }
    if (g->size >= MAX_SIZE) {
        error_setg(errp, "size (%" PRIu64 ") of a zoned image must be less "
                   "than %" PRIu64, g->size, (uint64_t)MAX_SIZE);
        return false;
    }
    if (zone_geometry_nr_zones(g) > ZONE_GEOMETRY_MAX_ZONES) {
        error_setg(errp, "zone.size (%" PRIu64 ") is too small: the image "
                   "would have %" PRIu64 " zones, more than %" PRIu64, size,
                   zone_geometry_nr_zones(g),
                   (uint64_t)ZONE_GEOMETRY_MAX_ZONES);
        return false;
    }
    return check_max("zone.size", size, "the image size", g->size, errp);
}

static bool check_ext(const ZoneGeometry *g, uint64_t nr_zones, Error **errp)
{
    uint64_t size = g->zones.ext_size;
    uint64_t max = QEMU_ALIGN_DOWN(MIN(MAX_EXT_SIZE, MAX_EXT_BYTES / nr_zones),
                                   EXT_UNIT);

    if (size % EXT_UNIT || size > max) {
        error_setg(errp, "zone.descriptor_extension_size (%" PRIu64 ") must be "
                   "a multiple of %d, at most %" PRIu64 " for %" PRIu64
                   " zones", size, EXT_UNIT, max, nr_zones);
        return false;
    }
    return true;
}

/* Random write area: NVMe ZNS, TP4076 */
static bool check_zrwa(const ZoneGeometry *g, uint64_t sequential, Error **errp)
{
    const BlockZoneLimits *l = &g->zones;

    if (!l->zrwa_size) {
        if (l->zrwa_granularity || l->max_zrwa) {
            error_setg(errp, "%s requires zone.zrwa_size",
                       l->zrwa_granularity ? "zone.zrwa_flush_granularity"
                                           : "zone.zrwa_zones");
            return false;
        }
        return true;
    }
    if (!l->zrwa_granularity || l->zrwa_granularity % l->write_granularity ||
        l->capacity % l->zrwa_granularity) {
        error_setg(errp, "zone.zrwa_flush_granularity (%" PRIu64 ") must be a "
                   "multiple of %" PRIu32 " that divides zone.capacity (%"
                   PRIu64 ")", l->zrwa_granularity, l->write_granularity,
                   l->capacity);
        return false;
    }
    if (l->zrwa_size % l->zrwa_granularity || l->zrwa_size > l->capacity) {
        error_setg(errp, "zone.zrwa_size (%" PRIu64 ") must be a multiple of "
                   "zone.zrwa_flush_granularity (%" PRIu64 "), at most "
                   "zone.capacity (%" PRIu64 ")", l->zrwa_size,
                   l->zrwa_granularity, l->capacity);
        return false;
    }
    if (!check_max("zone.zrwa_size", l->zrwa_size, "2 GiB", MAX_FIELD, errp)) {
        return false;
    }
    if (g->size % l->size) {
        error_setg(errp, "zone.zrwa_size requires an image size (%" PRIu64
                   ") that is a multiple of zone.size (%" PRIu64 ")", g->size,
                   l->size);
        return false;
    }
    return check_max("zone.zrwa_zones", l->max_zrwa,
                     "the number of sequential zones", sequential, errp);
}

bool zone_geometry_check(const ZoneGeometry *g, size_t cluster_size,
                         Error **errp)
{
    const BlockZoneLimits *l = &g->zones;
    uint64_t nr_zones, sequential;

    if (!l->write_granularity || l->write_granularity % BDRV_SECTOR_SIZE) {
        error_setg(errp, "The unit of writes (%" PRIu32 ") must be a multiple "
                   "of %d", l->write_granularity, (int)BDRV_SECTOR_SIZE);
        return false;
    }
    if (!check_zone_size(g, cluster_size, errp) ||
        !check_size("zone.capacity", l->capacity, "zone.size", l->size, errp)) {
        return false;
    }
    nr_zones = zone_geometry_nr_zones(g);
    if (g->conventional_zones >= nr_zones) {
        error_setg(errp, "zone.conventional_zones (%" PRIu32 ") must be less "
                   "than the number of zones (%" PRIu64 ")",
                   g->conventional_zones, nr_zones);
        return false;
    }
    sequential = nr_zones - g->conventional_zones;
    return check_max("zone.max_active_zones", l->max_active,
                     "the number of sequential zones", sequential, errp) &&
           check_max("zone.max_open_zones", l->max_open,
                     "the number of sequential zones", sequential, errp) &&
           (!l->max_active ||
            check_max("zone.max_open_zones", l->max_open,
                      "zone.max_active_zones", l->max_active, errp)) &&
           check_size("zone.max_append_bytes", l->max_append, "zone.capacity",
                      l->capacity, errp) &&
           check_max("zone.max_append_bytes", l->max_append, "2 GiB",
                     MAX_FIELD, errp) &&
           check_ext(g, nr_zones, errp) && check_zrwa(g, sequential, errp);
}
