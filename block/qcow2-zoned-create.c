/*
 * Zoned qcow2: how an image gets zones
 *
 * Creation with its options, overlays and their commit.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/option.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-zoned.h"
#include "qapi/qobject-input-visitor.h"
#include "qapi/util.h"
#include "block/qdict.h"
#include "block/zoned-jobs.h"
#include "qobject/qdict.h"
#include "system/block-backend.h"
#include "qcow2-zoned-int.h"

#define DEFAULT_ZONE_SIZE (UINT64_C(256) * MiB)
#define DEFAULT_MAX_APPEND (512 * KiB)

/* --- Creation --- */

/*
 * The geometry that the options ask for.  Those that are not given are as in
 * @base, the zones of the backing file, if there is one.
 */
static ZoneGeometry create_geometry(const BlockdevCreateOptionsQcow2 *create,
                                    const ZoneGeometry *base)
{
    static const BlockZoneRandomWriteArea no_zrwa;
    static const BlockZoneGeometry none;
    const BlockZoneGeometry *o =
        create->zone ? &create->zone->u.host_managed : &none;
    const BlockZoneRandomWriteArea *zrwa = o->zrwa ?: &no_zrwa;
    ZoneGeometry g = base ? *base : (ZoneGeometry) {
        .zones = {
            .model = BLK_Z_HM,
            .size = DEFAULT_ZONE_SIZE,
            .write_granularity = QCOW2_ZONED_WRITE_GRANULARITY,
        },
    };

#define TAKE_FROM(o, option, field) \
    if (o->has_##option) { \
        g.field = o->option; \
    }
#define TAKE(option, field) TAKE_FROM(o, option, field)
    g.size = create->size;
    TAKE(size, zones.size)
    TAKE(conventional_zones, conventional_zones)
    TAKE(max_open_zones, zones.max_open)
    TAKE(max_active_zones, zones.max_active)
    TAKE(descriptor_extension_size, zones.ext_size)
    TAKE_FROM(zrwa, size, zones.zrwa_size)
    TAKE_FROM(zrwa, flush_granularity, zones.zrwa_granularity)
    TAKE_FROM(zrwa, zones, zones.max_zrwa)
    if (!base) {
        g.zones.capacity = g.zones.size;
    }
    TAKE(capacity, zones.capacity)
    if (!base) {
        g.zones.max_append = MIN(g.zones.capacity, DEFAULT_MAX_APPEND);
    }
    TAKE(max_append_bytes, zones.max_append)
#undef TAKE
#undef TAKE_FROM
    return g;
}

bool qcow2_zoned_check_opts(QDict *options, Error **errp)
{
    static const QDictRenames renames[] = {
        { "zone.conventional_zones", "zone.conventional-zones" },
        { "zone.max_open_zones", "zone.max-open-zones" },
        { "zone.max_active_zones", "zone.max-active-zones" },
        { "zone.max_append_bytes", "zone.max-append-bytes" },
        { "zone.descriptor_extension_size", "zone.descriptor-extension-size" },
        { "zone.zrwa_size", "zone.zrwa.size" },
        { "zone.zrwa_flush_granularity", "zone.zrwa.flush-granularity" },
        { "zone.zrwa_zones", "zone.zrwa.zones" },
        { NULL, NULL },
    };
    const char *mode = qdict_get_try_str(options, "zone.mode");
    const QDictEntry *e;

    if (!qdict_rename_keys(options, renames, errp)) {
        return false;
    }
    if (mode && qapi_enum_parse(&BlockdevZoneMode_lookup, mode, -1, NULL) < 0) {
        error_setg(errp, "zone.mode (%s) must be none or host-managed", mode);
        return false;
    }
    for (e = qdict_first(options); e; e = qdict_next(options, e)) {
        const char *name = qdict_entry_key(e);
        g_autofree char *option = NULL;
        const char *value;
        uint64_t n;

        if (!g_str_has_prefix(name, "zone.") ||
            g_str_equal(name, "zone.mode")) {
            continue;
        }
        option = g_strdup(name);
        g_strdelimit(option + strlen("zone."), "-.", '_');
        if (!mode || g_str_equal(mode, "none")) {
            error_setg(errp, "%s requires zone.mode=host-managed", option);
            return false;
        }
        /* The only numbers that are not sizes are of zones */
        value = qdict_get_try_str(options, name);
        if (value && g_str_has_suffix(option, "_zones") &&
            qemu_strtou64(value, NULL, 10, &n) == 0 &&
            !qcow2_zoned_check_number(option, n, errp)) {
            return false;
        }
    }
    return true;
}

static bool wants_zones(const BlockdevCreateOptionsQcow2 *create)
{
    return create->zone && create->zone->mode != BLOCKDEV_ZONE_MODE_NONE;
}

/* The default zone size is not one that a small image can have. */
static bool check_default_size(uint64_t size, size_t cluster_size,
                               Error **errp)
{
    uint64_t least = MAX(cluster_size, 4 * KiB);
    uint64_t choice = MAX(pow2floor(size) / 16, least);

    if (size >= DEFAULT_ZONE_SIZE) {
        return true;
    }
    if (size < least) {
        error_setg(errp, "size (%" PRIu64 ") of a zoned image must be at least "
                   "%" PRIu64 ", one zone of one cluster", size, least);
        return false;
    }
    error_setg(errp, "zone.size is not given, and its default (%" PRIu64 ") "
               "exceeds the image size (%" PRIu64 "); choose a smaller one, "
               "such as zone.size=%" PRIu64 "%c", DEFAULT_ZONE_SIZE, size,
               choice / (choice < MiB ? KiB : MiB), choice < MiB ? 'K' : 'M');
    return false;
}

/* Without a backing file: are the options complete? */
static bool check_defaults(const BlockdevCreateOptionsQcow2 *create,
                           size_t cluster_size, Error **errp)
{
    const BlockZoneGeometry *o = &create->zone->u.host_managed;

    if (!o->has_size &&
        !check_default_size(create->size, cluster_size, errp)) {
        return false;
    }
    if (o->zrwa && o->zrwa->has_size && !o->zrwa->has_flush_granularity) {
        error_setg(errp, "zone.zrwa_size requires "
                   "zone.zrwa_flush_granularity");
        return false;
    }
    return true;
}

/* NULL if it has no zones, or (with an error) cannot be opened */
static BlockBackend *coroutine_fn open_zoned(const char *filename, int flags,
                                             Error **errp)
{
    QDict *options = qdict_new();
    BlockBackend *blk;

    qdict_put_str(options, "driver", "qcow2");
    qdict_put_bool(options, BDRV_OPT_FORCE_SHARE, true);
    blk = blk_co_new_open(filename, NULL, options, flags, errp);
    if (blk && !qcow2_is_zoned(blk_bs(blk))) {
        blk_co_unref(blk);
        blk = NULL;
    }
    return blk;
}

/*
 * The backing file in @backing, if it has zones.  One that cannot be opened has
 * none: whether it can is not for blockdev-create to ask.  But false, with an
 * error, if it has zones and they cannot be read.
 */
static bool coroutine_fn
open_backing(const char *filename, const BlockdevCreateOptionsQcow2 *create,
             BlockBackend **backing, Error **errp)
{
    ERRP_GUARD();
    g_autofree char *full_name = NULL;
    BDRVQcow2State *s;

    *backing = NULL;
    if (!create->backing_file || !create->has_backing_fmt ||
        create->backing_fmt != BLOCKDEV_DRIVER_QCOW2) {
        return true;
    }
    full_name = bdrv_get_full_backing_filename_from_filename(
        filename, create->backing_file, NULL);
    if (!full_name) {
        return true;
    }
    *backing = open_zoned(full_name, BDRV_O_NO_BACKING | BDRV_O_NO_IO, NULL);
    if (!*backing) {
        return true;
    }
    s = blk_bs(*backing)->opaque;
    if (s->zoned->claims.unread) {
        /* After a crash, its data has to be looked at. */
        blk_co_unref(*backing);
        *backing = open_zoned(full_name, BDRV_O_NO_BACKING, errp);
        if (!*backing) {
            error_prepend(errp, "Cannot read the zones of the backing file: ");
            return false;
        }
    }
    return true;
}

/* Of an image that is there */
static const char *how_to_change(const char *option)
{
    if (g_str_equal(option, "size")) {
        return ", and resize the overlay with 'qemu-img resize'";
    }
    if (g_str_has_prefix(option, "zone.max_")) {
        return ", and change that of the overlay with 'qemu-img amend'";
    }
    return "";
}

/* An overlay has the zones of its backing file, and no option says otherwise */
static bool check_inherited(const BlockdevCreateOptionsQcow2 *create,
                            const ZoneGeometry *base, Error **errp)
{
    uint64_t value, inherited;
    ZoneGeometry wanted;
    const char *option;

    if (create->zone &&
        create->zone->mode != BLOCKDEV_ZONE_MODE_HOST_MANAGED) {
        error_setg(errp, "zone.mode (%s) must be that of the backing file "
                   "(host-managed); leave it out",
                   BlockdevZoneMode_str(create->zone->mode));
        return false;
    }
    wanted = create_geometry(create, base);
    option = zone_geometry_difference(&wanted, base, &value, &inherited);
    if (option) {
        error_setg(errp, "%s (%" PRIu64 ") must be that of the backing file "
                   "(%" PRIu64 "); leave it out%s", option, value, inherited,
                   how_to_change(option));
    }
    return !option;
}

/* What zones need of an image */
static bool check_image(int version, bool data_file_raw, Error **errp)
{
    if (version < 3) {
        error_setg(errp, "zone.mode=host-managed requires compatibility level "
                   "1.1 and above (use version=v3 or greater)");
        return false;
    }
    if (data_file_raw) {
        error_setg(errp, "zone.mode=host-managed cannot be used with "
                   "data_file_raw: a raw file cannot show the zones");
        return false;
    }
    return true;
}

bool coroutine_fn
qcow2_zoned_check_create(const char *filename,
                         const BlockdevCreateOptionsQcow2 *create, int version,
                         size_t cluster_size, BlockBackend **backing,
                         Error **errp)
{
    ZoneGeometry geometry;

    if (!open_backing(filename, create, backing, errp)) {
        return false;
    }
    if (!wants_zones(create) && !*backing) {
        return true;
    }
    if (*backing) {
        geometry = *zone_table_geometry(qcow2_zone_table(blk_bs(*backing)));
        if (!check_inherited(create, &geometry, errp)) {
            return false;
        }
    } else if (check_defaults(create, cluster_size, errp)) {
        geometry = create_geometry(create, NULL);
    } else {
        return false;
    }
    if (!check_image(version, create->data_file_raw, errp)) {
        return false;
    }
    if (create->backing_file && !*backing) {
        error_setg(errp, "zone.mode=host-managed cannot be used with a "
                   "backing file that is not a zoned qcow2 image, or cannot "
                   "be opened ('%s')", create->backing_file);
        return false;
    }
    return zone_geometry_check(&geometry, cluster_size, errp);
}

/* The zone.* options of qemu-img, as blockdev-create has them; NULL if bad */
static BlockdevCreateOptionsZone *zone_options(QemuOpts *opts, Error **errp)
{
    g_autoptr(QDict) options = qemu_opts_to_qdict(opts, NULL);
    g_autoptr(QDict) zone = NULL;
    BlockdevCreateOptionsZone *result = NULL;
    Visitor *v;

    if (!qcow2_zoned_check_opts(options, errp)) {
        return NULL;
    }
    qdict_set_default_str(options, "zone.mode", "none");
    qdict_extract_subqdict(options, &zone, "zone.");
    v = qobject_input_visitor_new_flat_confused(zone, errp);
    if (v) {
        visit_type_BlockdevCreateOptionsZone(v, NULL, &result, errp);
        visit_free(v);
    }
    return result;
}

bool qcow2_zoned_measure(QemuOpts *opts, uint64_t size, int version,
                         size_t cluster_size, uint64_t *table_bytes,
                         uint64_t *unit, Error **errp)
{
    g_autoptr(BlockdevCreateOptionsZone) zone = zone_options(opts, errp);
    BlockdevCreateOptionsQcow2 create = { .size = size, .zone = zone };
    ZoneGeometry g;

    *table_bytes = 0;
    *unit = cluster_size;
    if (!zone) {
        return false;
    }
    if (!wants_zones(&create)) {
        return true;
    }
    if (!check_defaults(&create, cluster_size, errp)) {
        return false;
    }
    g = create_geometry(&create, NULL);
    if (!check_image(version,
                     qemu_opt_get_bool(opts, BLOCK_OPT_DATA_FILE_RAW, false),
                     errp) ||
        !zone_geometry_check(&g, cluster_size, errp)) {
        return false;
    }
    *table_bytes = ROUND_UP(qcow2_zone_file_bytes(cluster_size,
                                                  g.zones.ext_size,
                                                  zone_geometry_nr_zones(&g)),
                            cluster_size) +
                   ROUND_UP(QCOW2_ZONE_CLAIMS_BYTES, cluster_size);
    *unit = g.zones.size;
    return true;
}

/* Give @bs zones of this geometry, all of them empty, that are not stored. */
static int coroutine_fn GRAPH_RDLOCK
add_zones(BlockDriverState *bs, const ZoneGeometry *geometry, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Zoned *z = qcow2_zoned_new(geometry);
    int ret;

    qcow2_zoned_start(bs, z);
    s->zoned = z;
    ret = qcow2_zone_file_alloc(bs, &z->file, zone_table_nr_zones(z->table));
    if (ret == 0) {
        ret = qcow2_zone_claims_alloc(bs);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not allocate the zone table");
        qcow2_zoned_close(bs);
        return ret;
    }
    s->incompatible_features |= QCOW2_INCOMPAT_ZONED;
    return 0;
}

/* Both have the same geometry, and no requests. */
static int coroutine_fn GRAPH_RDLOCK
copy_zones(BlockDriverState *to, BlockDriverState *from)
{
    BDRVQcow2State *to_s = to->opaque, *from_s = from->opaque;
    ZoneTable *table = qcow2_zone_table(from);
    int ret = qcow2_zone_claims_flush_read(from);

    if (ret < 0) {
        return ret;
    }
    zone_table_copy(qcow2_zone_table(to), table);
    return qcow2_zone_file_copy_exts(to, &to_s->zoned->file, from,
                                     &from_s->zoned->file, table);
}

int coroutine_fn qcow2_zoned_create(BlockDriverState *bs,
                                    const BlockdevCreateOptionsQcow2 *create,
                                    BlockBackend *backing, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    ZoneTable *base = backing ? qcow2_zone_table(blk_bs(backing)) : NULL;
    ZoneGeometry geometry;
    int ret;

    if (!wants_zones(create) && !base) {
        return 0;
    }
    geometry = base ? *zone_table_geometry(base)
                    : create_geometry(create, NULL);
    ret = add_zones(bs, &geometry, errp);
    if (ret < 0) {
        return ret;
    }
    if (base) {
        ret = copy_zones(bs, blk_bs(backing));
    }
    if (ret == 0) {
        ret = qcow2_zone_file_write(bs, &s->zoned->file, s->zoned->table,
                                    false);
    }
    if (ret == 0) {
        ret = qcow2_update_header(bs);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not write the zone table");
    }
    return ret;
}

/* --- Overlays --- */

static bool check_same_geometry(BlockDriverState *bs, BlockDriverState *base,
                                const ZoneGeometry *a, const ZoneGeometry *b,
                                Error **errp)
{
    uint64_t value, other;
    const char *option = zone_geometry_difference(a, b, &value, &other);

    if (option) {
        error_setg(errp, "%s of node '%s' (%" PRIu64 ") must be that of "
                   "node '%s' (%" PRIu64 ")", option, bdrv_get_node_name(bs),
                   value, bdrv_get_node_name(base), other);
    }
    return !option;
}

static bool GRAPH_RDLOCK check_empty(BlockDriverState *bs, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;

    for (int i = 0; i < s->l1_size; i++) {
        if (s->l1_table[i]) {
            error_setg(errp, "Node '%s' cannot take over zones: it is not "
                       "empty", bdrv_get_node_name(bs));
            return false;
        }
    }
    return true;
}

static bool check_not_receiving(BlockDriverState *bs, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;

    if (s->zoned && s->zoned->receiving) {
        error_setg(errp, "Node '%s' is getting the zones of another disk",
                   bdrv_get_node_name(bs));
        return false;
    }
    return true;
}

/* Can @bs, which has no zones, get these? */
static bool GRAPH_RDLOCK check_can_get_zones(BlockDriverState *bs,
                                             const ZoneGeometry *g,
                                             Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t size = bs->total_sectors * BDRV_SECTOR_SIZE;

    if (s->qcow_version < 3 || data_file_is_raw(bs) || s->nb_snapshots) {
        error_setg(errp, "Node '%s' cannot get zones: it must be of version 3 "
                   "and have no raw external data file and no snapshots",
                   bdrv_get_node_name(bs));
        return false;
    }
    if (size != g->size) {
        error_setg(errp, "size (%" PRIu64 ") must be that of the backing file "
                   "(%" PRIu64 ")", size, g->size);
        return false;
    }
    return zone_geometry_check(g, s->cluster_size, errp);
}

int coroutine_fn qcow2_zoned_co_inherit(BlockDriverState *bs,
                                        BlockDriverState *base, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    const ZoneGeometry *g;
    int ret = 0;

    if (base->drv != bs->drv || !qcow2_is_zoned(base)) {
        error_setg(errp, "Node '%s' has zones, and node '%s' is not a zoned "
                   "qcow2 image", bdrv_get_node_name(bs),
                   bdrv_get_node_name(base));
        return -ENOTSUP;
    }
    if (!bdrv_is_writable(bs)) {
        error_setg(errp, "Node '%s' is read-only and cannot take over zones",
                   bdrv_get_node_name(bs));
        return -EACCES;
    }
    g = zone_table_geometry(qcow2_zone_table(base));
    if (!check_not_receiving(base, errp) || !check_not_receiving(bs, errp) ||
        !check_empty(bs, errp) ||
        !(s->zoned ? check_same_geometry(bs, base, s->zoned->geometry, g, errp)
                   : check_can_get_zones(bs, g, errp))) {
        return -EINVAL;
    }
    if (!s->zoned) {
        ret = add_zones(bs, g, errp);
        if (ret < 0) {
            return ret;
        }
        qcow2_zoned_supported_flags(bs);
    }
    ret = copy_zones(bs, base);
    zone_table_mark_dirty(s->zoned->table, 0);
    if (ret == 0) {
        ret = qcow2_zones_store_locked(bs, false);
    }
    if (ret == 0) {
        ret = qcow2_update_header(bs);
    }
    if (ret == 0) {
        ret = bdrv_co_flush(bs->file->bs);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not write the zone table");
    }
    return ret;
}

/* --- Commit --- */

/* What a commit does with a zone of the base */
typedef struct CommitZone {
    uint64_t from, to;          /* data to be copied */
    bool reset;                 /* what the base has goes */
} CommitZone;

/*
 * The images from @top down to @last, the overlay of @base, are committed.  At
 * every moment, also after a crash, they read as before: the base changes only
 * where nothing is inherited from it.
 */
struct ZonedCommit {
    BlockDriverState *top, *last, *base;
    CommitZone *plans;
    uint32_t nr_zones;
};

static bool GRAPH_RDLOCK can_commit(BlockDriverState *bs,
                                    BlockDriverState *base, Error **errp)
{
    if (base->drv != &bdrv_qcow2 || bs->drv != base->drv ||
        !qcow2_is_zoned(bs) || !qcow2_is_zoned(base)) {
        error_setg(errp, "Only a zoned qcow2 overlay can be committed to "
                   "node '%s', which is zoned", bdrv_get_node_name(base));
        return false;
    }
    return check_same_geometry(bs, base,
                               zone_table_geometry(qcow2_zone_table(bs)),
                               zone_table_geometry(qcow2_zone_table(base)),
                               errp);
}

ZonedCommit *zoned_commit_new(BlockDriverState *top, BlockDriverState *last,
                              BlockDriverState *base, Error **errp)
{
    ZonedCommit *c;

    if (!can_commit(top, base, errp)) {
        return NULL;
    }
    c = g_new(ZonedCommit, 1);
    *c = (ZonedCommit) {
        .top = top, .last = last, .base = base,
        .nr_zones = zone_table_nr_zones(qcow2_zone_table(base)),
    };
    c->plans = g_new(CommitZone, c->nr_zones);
    return c;
}

void zoned_commit_forget(ZonedCommit *c)
{
    BDRVQcow2State *s = c->base->opaque;

    qcow2_zoned_forget_mapping(s->zoned);
}

void zoned_commit_free(ZonedCommit *c)
{
    if (c) {
        g_free(c->plans);
        g_free(c);
    }
}

/* Is some of the range in the base only? */
static int coroutine_fn GRAPH_RDLOCK
is_inherited(const ZonedCommit *c, uint64_t offset, uint64_t end)
{
    while (offset < end) {
        int64_t n;
        int ret = bdrv_co_is_allocated_above(c->top, c->last, true, offset,
                                             end - offset, &n);

        if (ret <= 0) {
            return ret < 0 ? ret : 1;
        }
        offset += n;
    }
    return 0;
}

/*
 * Is some of the data of sequential zone @i in the base only?  1 or 0; an error if
 * the zone has less than in the base, where that is in the way.
 */
static int coroutine_fn GRAPH_RDLOCK
zone_inherits(const ZonedCommit *c, uint32_t i, const ZoneRecord *from,
              const ZoneRecord *to, Error **errp)
{
    const ZoneGeometry *g = zone_table_geometry(qcow2_zone_table(c->base));
    int ret = is_inherited(c, zone_geometry_start(g, i), from->data_end);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read metadata");
    } else if (ret && from->data_end < to->data_end) {
        error_setg(errp, "Zone %" PRIu32 " of node '%s' has more data than "
                   "when the overlay was made", i, bdrv_get_node_name(c->base));
        ret = -EINVAL;
    }
    return ret;
}

static int coroutine_fn GRAPH_RDLOCK
plan_commit(ZonedCommit *c, uint32_t i, Error **errp)
{
    const ZoneGeometry *g = zone_table_geometry(qcow2_zone_table(c->base));
    CommitZone *plan = &c->plans[i];
    ZoneRecord from, to;
    uint64_t start = zone_geometry_start(g, i);
    int ret;

    zone_table_record(qcow2_zone_table(c->top), i, false, &from);
    zone_table_record(qcow2_zone_table(c->base), i, false, &to);
    if (from.state == BLK_ZS_NOT_WP) {
        *plan = (CommitZone) {
            .from = start,
            .to = zone_geometry_writable_end(g, i),
        };
        return 0;
    }
    ret = zone_inherits(c, i, &from, &to, errp);
    if (ret < 0) {
        return ret;
    }
    *plan = (CommitZone) {
        /* In a random write area there can be other data than in the base */
        .from = ret ? MIN(to.wp, to.data_end) : start,
        .to = from.data_end,
        .reset = !ret,
    };
    return 0;
}

int coroutine_fn
qcow2_zoned_check_commit(BlockDriverState *base, BlockDriverState *top,
                         Error **errp)
{
    ZonedCommit c = {
        .top = top, .last = bdrv_find_overlay(top, base), .base = base,
    };
    uint32_t n = zone_table_nr_zones(qcow2_zone_table(base));
    int ret = 0;

    for (uint32_t i = 0; i < n && ret >= 0; i++) {
        ZoneRecord from, to;

        zone_table_record(qcow2_zone_table(top), i, false, &from);
        zone_table_record(qcow2_zone_table(base), i, false, &to);
        if (from.data_end < to.data_end) {
            ret = zone_inherits(&c, i, &from, &to, errp);
        }
    }
    return MIN(ret, 0);
}

/* What the plans are made of has to be on disk before the base changes. */
static int coroutine_fn GRAPH_RDLOCK flush_overlays(const ZonedCommit *c)
{
    BlockDriverState *bs = c->top;
    int ret = bdrv_co_flush(bs);

    while (ret == 0 && bs != c->last) {
        bs = bdrv_filter_or_cow_bs(bs);
        ret = bdrv_co_flush(bs);
    }
    return ret;
}

int coroutine_fn zoned_commit_begin(ZonedCommit *c, Error **errp)
{
    BDRVQcow2State *s = c->base->opaque;
    ZoneTable *table = qcow2_zone_table(c->base);
    int ret = flush_overlays(c);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not flush the overlays of node "
                         "'%s'", bdrv_get_node_name(c->base));
        return ret;
    }
    for (uint32_t i = 0; i < c->nr_zones; i++) {
        ret = plan_commit(c, i, errp);
        if (ret < 0) {
            return ret;
        }
    }
    /* A record of the overlay may be just what a claim is about: leave none. */
    qemu_co_mutex_lock(&s->zoned->store_lock);
    ret = qcow2_zones_store_locked(c->base, false);
    qemu_co_mutex_unlock(&s->zoned->store_lock);
    for (uint32_t i = 0; i < c->nr_zones && ret == 0; i++) {
        if (c->plans[i].reset) {
            uint64_t start = i * zone_table_geometry(table)->zones.size;
            uint64_t wp, data_end;

            zone_table_position(table, i, &wp, &data_end);
            zone_table_clear(table, i);
            bdrv_set_dirty(c->base, start, data_end - start);
        }
    }
    if (ret == 0) {
        zone_table_mark_dirty(table, 0);
        ret = bdrv_co_flush(c->base);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not commit to node '%s'",
                         bdrv_get_node_name(c->base));
    }
    return ret;
}

int coroutine_fn zoned_commit_copy(ZonedCommit *c, int64_t offset,
                                   int64_t *bytes, void *buf, bool *in_source)
{
    const ZoneGeometry *g = zone_table_geometry(qcow2_zone_table(c->base));
    uint32_t i = zone_geometry_index(g, offset);
    const CommitZone *plan = &c->plans[i];
    QEMUIOVector qiov;
    int ret;

    *in_source = true;
    if (offset < plan->from || offset >= plan->to) {
        *bytes = (offset < plan->from ? plan->from : zone_geometry_end(g, i)) -
                 offset;
        return 0;
    }
    ret = bdrv_co_is_allocated_above(c->top, c->last, true, offset,
                                     MIN(plan->to - offset, *bytes), bytes);
    if (ret <= 0) {
        return ret;
    }
    /*
     * Past the zone rules: the base is not written in order, and an offline zone
     * keeps its data for its repair.
     */
    qemu_iovec_init_buf(&qiov, buf, *bytes);
    ret = qcow2_co_preadv_part(c->top, offset, *bytes, &qiov, 0, 0);
    if (ret < 0) {
        return ret;
    }
    *in_source = false;
    ret = qcow2_co_pwritev_part(c->base, offset, *bytes, &qiov, 0, 0);
    bdrv_set_dirty(c->base, offset, *bytes);
    return ret < 0 ? ret : 1;
}

int coroutine_fn zoned_commit_end(ZonedCommit *c)
{
    int ret = bdrv_co_flush(c->base);

    if (ret == 0) {
        ret = copy_zones(c->base, c->top);
    }
    if (ret < 0) {
        return ret;
    }
    zone_table_mark_dirty(qcow2_zone_table(c->base), 0);
    return bdrv_co_flush(c->base);
}

#define COMMIT_BUFFER_BYTES (1 * MiB)

static int coroutine_fn GRAPH_RDLOCK commit_data(ZonedCommit *c)
{
    g_autofree void *buf = g_malloc(COMMIT_BUFFER_BYTES);
    int64_t end = c->base->total_sectors * BDRV_SECTOR_SIZE, n;
    bool in_source;

    for (int64_t pos = 0; pos < end; pos += n) {
        int ret;

        n = COMMIT_BUFFER_BYTES;
        ret = zoned_commit_copy(c, pos, &n, buf, &in_source);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

int coroutine_fn qcow2_zoned_co_commit(BlockDriverState *bs,
                                       BlockDriverState *base, Error **errp)
{
    ZonedCommit *c = zoned_commit_new(bs, bs, base, errp);
    int ret;

    if (!c) {
        return -EINVAL;
    }
    ret = zoned_commit_begin(c, errp);
    if (ret == 0) {
        ret = commit_data(c);
        if (ret == 0) {
            ret = zoned_commit_end(c);
        }
        if (ret < 0) {
            error_setg_errno(errp, -ret, "Could not commit to node '%s'",
                             bdrv_get_node_name(base));
        }
        zoned_commit_forget(c);
    }
    zoned_commit_free(c);
    return ret;
}

int qcow2_zoned_begin_empty(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    if (!qcow2_is_zoned(bs)) {
        return 0;
    }
    /* A claim is void where its clusters are gone: leave none. */
    ret = qcow2_zones_store_locked(bs, false);
    if (ret == 0) {
        qcow2_zoned_forget_mapping(s->zoned);
    }
    return ret;
}
