/*
 * Zoned qcow2: a qcow2 image with a zone table
 *
 * The rules of zones are in zone-table.c, how their state gets onto stable
 * storage in qcow2-zone-store.c.  Here is how an image gets its zones when it
 * is opened, and what it says of them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/range.h"
#include "qapi/error.h"
#include "block/zoned-graph.h"
#include "qcow2-zoned-int.h"

#define MODEL_HOST_MANAGED 1

/* Header extension flags */
#define KNOWN_FLAGS FLAG_LIVE_STATES

/* --- The header extension --- */

/* Without a claim area it ends before that field */
#define EXT_BYTES_MIN offsetof(Qcow2ZonedHeaderExt, claims_offset)

static uint64_t ext_offset_in_header(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    return s->zoned->geometry->zones.ext_size ?
           qcow2_zone_file_ext_offset(bs, &s->zoned->file, 0) : 0;
}

size_t qcow2_zoned_header_ext(BlockDriverState *bs, Qcow2ZonedHeaderExt *ext)
{
    BDRVQcow2State *s = bs->opaque;
    const Qcow2Zoned *z = s->zoned;
    const BlockZoneLimits *l = &z->geometry->zones;

    *ext = (Qcow2ZonedHeaderExt) {
        .model = MODEL_HOST_MANAGED,
        .flags = cpu_to_be32(z->flags),
        .zone_size = cpu_to_be64(l->size),
        .zone_capacity = cpu_to_be64(l->capacity),
        .nr_zones = cpu_to_be32(z->file.nr_zones),
        .conventional_zones = cpu_to_be32(z->geometry->conventional_zones),
        .max_open_zones = cpu_to_be32(l->max_open),
        .max_active_zones = cpu_to_be32(l->max_active),
        .max_append_bytes = cpu_to_be32(l->max_append),
        .descriptor_extension_size = cpu_to_be32(l->ext_size),
        .table_offset = cpu_to_be64(z->file.offset),
        .descriptor_extension_offset = cpu_to_be64(ext_offset_in_header(bs)),
        .zrwa_size = cpu_to_be32(l->zrwa_size),
        .zrwa_flush_granularity = cpu_to_be32(l->zrwa_granularity),
        .zrwa_zones = cpu_to_be32(l->max_zrwa),
        .claims_offset = cpu_to_be64(z->claims.offset),
    };
    return z->claims.offset ? sizeof(*ext) : EXT_BYTES_MIN;
}

/* Fields that no option of this version can set must be zero. */
static bool check_reserved(const Qcow2ZonedHeaderExt *ext,
                           const uint8_t *tail, size_t tail_len, Error **errp)
{
    const char *field =
        ext->reserved[0] | ext->reserved[1] | ext->reserved[2] ? "reserved" :
        be32_to_cpu(ext->flags) & ~KNOWN_FLAGS ? "flags" :
        ext->reserved2 ? "reserved" :
        !buffer_is_zero(tail, tail_len) ? "length" : NULL;

    if (field) {
        error_setg(errp, "Zone extension: unsupported value in field '%s'",
                   field);
    }
    return !field;
}

static ZoneGeometry header_geometry(const Qcow2ZonedHeaderExt *ext)
{
    return (ZoneGeometry) {
        .conventional_zones = be32_to_cpu(ext->conventional_zones),
        .zones = {
            .model = BLK_Z_HM,
            .size = be64_to_cpu(ext->zone_size),
            .capacity = be64_to_cpu(ext->zone_capacity),
            .max_open = be32_to_cpu(ext->max_open_zones),
            .max_active = be32_to_cpu(ext->max_active_zones),
            .max_append = be32_to_cpu(ext->max_append_bytes),
            .write_granularity = QCOW2_ZONED_WRITE_GRANULARITY,
            .ext_size = be32_to_cpu(ext->descriptor_extension_size),
            .zrwa_size = be32_to_cpu(ext->zrwa_size),
            .zrwa_granularity = be32_to_cpu(ext->zrwa_flush_granularity),
            .max_zrwa = be32_to_cpu(ext->zrwa_zones),
        },
    };
}

int coroutine_fn qcow2_zoned_read_header_ext(BlockDriverState *bs,
                                             uint64_t offset, uint32_t len,
                                             Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    g_autofree uint8_t *buf = NULL;
    Qcow2ZonedHeaderExt ext = {};
    size_t known = MIN(len, sizeof(ext));
    ZoneGeometry geometry;
    int ret;

    if (s->zoned) {
        error_setg(errp, "Zone extension: more than one");
        return -EINVAL;
    }
    if (len < EXT_BYTES_MIN || len % 8) {
        error_setg(errp, "Zone extension: length (%" PRIu32 ") must be a "
                   "multiple of 8 and at least %zu", len, EXT_BYTES_MIN);
        return -EINVAL;
    }
    buf = g_malloc(len);    /* the extension area is within one cluster */
    ret = bdrv_co_pread(bs->file, offset, len, buf, 0);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Zone extension: could not be read");
        return ret;
    }
    memcpy(&ext, buf, known);
    if (ext.model != MODEL_HOST_MANAGED) {
        error_setg(errp, "Zone extension: unsupported model %d", ext.model);
        return -EINVAL;
    }
    if (!check_reserved(&ext, buf + known, len - known, errp)) {
        return -EINVAL;
    }

    geometry = header_geometry(&ext);
    s->zoned = qcow2_zoned_new(&geometry);
    s->zoned->flags = be32_to_cpu(ext.flags);
    s->zoned->file = (Qcow2ZoneFile) {
        .offset = be64_to_cpu(ext.table_offset),
        .nr_zones = be32_to_cpu(ext.nr_zones),
    };
    s->zoned->claims.offset = be64_to_cpu(ext.claims_offset);
    if (be64_to_cpu(ext.descriptor_extension_offset) !=
        ext_offset_in_header(bs)) {
        error_setg(errp, "Zone extension: descriptor extension offset (0x%"
                   PRIx64 ") must be 0x%" PRIx64,
                   be64_to_cpu(ext.descriptor_extension_offset),
                   ext_offset_in_header(bs));
        return -EINVAL;
    }
    return 0;
}

/* --- Open and close --- */

Qcow2Zoned *qcow2_zoned_new(const ZoneGeometry *geometry)
{
    Qcow2Zoned *z = g_new0(Qcow2Zoned, 1);

    z->header_geometry = *geometry;
    z->geometry = &z->header_geometry;
    qemu_co_mutex_init(&z->store_lock);
    qemu_co_mutex_init(&z->map_lock);
    return z;
}

void qcow2_zoned_start(BlockDriverState *bs, Qcow2Zoned *z)
{
    z->table = zone_table_new(z->geometry);
    z->geometry = zone_table_geometry(z->table);
    z->space = qcow2_zoned_space_new();
    qcow2_zoned_forget_mapping(z);
    z->timer = qcow2_zones_timer_new(bs);
}

/* A crash leaves claims: from here on, they are records. */
static int coroutine_fn GRAPH_RDLOCK read_zones(BlockDriverState *bs,
                                                Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2Zoned *z = s->zoned;
    int ret = qcow2_zone_file_read(bs, &z->file, z->table,
                                   z->flags & FLAG_LIVE_STATES, NULL, errp);

    if (ret == 0) {
        ret = qcow2_zone_claims_load(bs, errp);
    }
    if (ret == 0 && qcow2_zone_claims_any(&z->claims) && !z->claims.unread &&
        bdrv_is_writable(bs)) {
        ret = qcow2_zones_store_found(bs, z->flags & FLAG_LIVE_STATES);
        if (ret < 0) {
            qcow2_zones_store_error(bs, ret, errp);
        }
    }
    return ret;
}

/*
 * Is this the image that was opened before?  One that gets active, as after a
 * migration, is read again, and somebody may have changed it meanwhile.  Guests
 * know of the zones that there were, of which there can be more now, or less.
 */
static bool check_known_zones(BlockDriverState *bs, const Qcow2Zoned *z,
                              Error **errp)
{
    BlockZoneLimits known = bs->bl.zones;

    if (known.model == BLK_Z_NONE) {
        return true;
    }
    if (z) {
        known.nr_zones = z->geometry->zones.nr_zones;
    }
    if (!z || !bdrv_same_zones(&known, &z->geometry->zones)) {
        error_setg(errp, "Zones or their limits are not those that the image "
                   "had when it was opened");
        return false;
    }
    return true;
}

int coroutine_fn qcow2_zoned_open(BlockDriverState *bs, int flags,
                                  bool *update_header, Error **errp)
{
    ERRP_GUARD();
    BDRVQcow2State *s = bs->opaque;
    bool bit = s->incompatible_features & QCOW2_INCOMPAT_ZONED;
    Qcow2Zoned *z = s->zoned;
    int ret;

    if (bit != !!z) {
        error_setg(errp, bit ? "Zoned image has no zone extension"
                             : "Image has a zone extension but is not zoned");
        return -EINVAL;
    }
    if (!check_known_zones(bs, z, errp)) {
        return -EINVAL;
    }
    if (!z) {
        return 0;
    }
    if (s->qcow_version < 3 || data_file_is_raw(bs)) {
        error_setg(errp, "Zoned image must be of version 3 and have no raw "
                   "external data file");
        return -EINVAL;
    }
    z->header_geometry.size = bs->total_sectors * BDRV_SECTOR_SIZE;
    if (!zone_geometry_check(z->geometry, s->cluster_size, errp)) {
        error_prepend(errp, "Zone extension: ");
        return -EINVAL;
    }
    /* More are left where a resize was interrupted */
    if (z->file.nr_zones > ZONE_GEOMETRY_MAX_ZONES ||
        z->file.nr_zones < zone_geometry_nr_zones(z->geometry)) {
        error_setg(errp, "Zone extension: number of zones (%" PRIu32 ") does "
                   "not match the image size", z->file.nr_zones);
        return -EINVAL;
    }
    if (!qcow2_zone_file_check(bs, &z->file, errp) ||
        !qcow2_zone_claims_check(bs, errp)) {
        return -EINVAL;
    }
    qcow2_zoned_start(bs, z);
    /* When checking, bad records are for qcow2_zoned_co_check() to report */
    ret = flags & BDRV_O_CHECK ? 0 : read_zones(bs, errp);
    if (ret < 0) {
        return ret;
    }
    if ((z->flags & FLAG_LIVE_STATES) && bdrv_is_writable(bs)) {
        /* From here on, a crash closes the zones */
        z->flags &= ~FLAG_LIVE_STATES;
        *update_header = true;
    }
    /* Their number is known to those above if the image was open before */
    qcow2_zoned_refresh_limits(bs);
    bdrv_zoned_limits_changed(bs);
    return 0;
}

void qcow2_zoned_close(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    if (s->zoned) {
        if (s->zoned->table) {
            qcow2_zones_timer_free(s->zoned->timer);
        }
        zone_table_free(s->zoned->table);
        qcow2_zone_claims_free(&s->zoned->claims);
        qcow2_zoned_free_mapping(s->zoned);
        qcow2_zoned_space_free(s->zoned->space);
        g_free(s->zoned);
        s->zoned = NULL;
    }
}

void qcow2_zoned_abandon(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    if (qcow2_is_zoned(bs)) {
        qcow2_zones_timer_stop(s->zoned->timer);
    }
}

int coroutine_mixed_fn qcow2_zoned_inactivate(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    if (!qcow2_is_zoned(bs) || !bdrv_is_writable(bs) ||
        !(zone_table_is_dirty(s->zoned->table) || s->zoned->header_unknown ||
          qcow2_zone_claims_unsure(&s->zoned->claims))) {
        return 0;
    }
    return qcow2_zones_store_locked(bs, false);
}

static int GRAPH_RDLOCK store_live_states(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    /* Who takes over waits */
    qcow2_zoned_space_drop(bs);
    zone_table_mark_dirty(s->zoned->table, 0);
    ret = qcow2_zones_store_locked(bs, true);
    if (ret == 0) {
        /* Whoever stores other states, also here if this fails, clears it. */
        s->zoned->flags |= FLAG_LIVE_STATES;
        ret = qcow2_zones_write_header(bs);
    }
    return ret;
}

int qcow2_zoned_hand_over(BlockDriverState *bs)
{
    int ret = 0;

    if (qcow2_is_zoned(bs) && bdrv_is_writable(bs)) {
        ret = store_live_states(bs);
    }
    return ret < 0 ? ret : qcow2_inactivate(bs);
}

void coroutine_mixed_fn qcow2_zoned_before_close(BlockDriverState *bs)
{
    if (qcow2_is_zoned(bs)) {
        qcow2_zoned_space_finish(bs);
    }
}

void qcow2_zoned_drain_end(BlockDriverState *bs)
{
    if (qcow2_is_zoned(bs)) {
        qcow2_zoned_space_start(bs);
    }
}

/* --- What an image says of its zones --- */

void qcow2_zoned_supported_flags(BlockDriverState *bs)
{
    if (qcow2_is_zoned(bs)) {
        bs->supported_write_flags |= BDRV_REQ_WRITE_UNCHANGED;
        bs->supported_zero_flags |= BDRV_REQ_WRITE_UNCHANGED;
    }
}

void qcow2_zoned_refresh_limits(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    if (!qcow2_is_zoned(bs)) {
        return;
    }
    bs->bl.zones = s->zoned->geometry->zones;
    /* The block layer refuses more */
    bs->bl.zones.max_append = MIN(bs->bl.zones.max_append,
                                  QEMU_ALIGN_DOWN(BDRV_REQUEST_MAX_BYTES, 4096));
    /*
     * A write must come in one piece, to be checked and reserved as a whole.
     * The limits of the file were merged into ours before this is called.
     */
    bs->bl.pwrite_zeroes_alignment = BDRV_SECTOR_SIZE;
    bs->bl.max_transfer = 0;
}

ImageInfoZone *qcow2_zoned_get_info(BlockDriverState *bs)
{
    const ZoneGeometry *g;
    ImageInfoZone *info;
    ZoneCounts c;

    if (!qcow2_is_zoned(bs)) {
        return NULL;
    }
    g = zone_table_geometry(qcow2_zone_table(bs));
    zone_table_count(qcow2_zone_table(bs), &c);

    info = g_new0(ImageInfoZone, 1);
    *info = (ImageInfoZone) {
        .mode = BLOCKDEV_ZONE_MODE_HOST_MANAGED,
        .zones = zone_table_nr_zones(qcow2_zone_table(bs)),
#define GIVE(option, value) .has_##option = true, .option = (value)
        GIVE(size, g->zones.size),
        GIVE(capacity, g->zones.capacity),
        GIVE(conventional_zones, g->conventional_zones),
        GIVE(max_open_zones, g->zones.max_open),
        GIVE(max_active_zones, g->zones.max_active),
        GIVE(max_append_bytes, g->zones.max_append),
        .has_descriptor_extension_size = g->zones.ext_size,
        .descriptor_extension_size = g->zones.ext_size,
        .states = g_new0(ImageInfoZoneStates, 1),
    };
    *info->states = (ImageInfoZoneStates) {
        .empty = c.in_state[BLK_ZS_EMPTY],
        .implicitly_open = c.in_state[BLK_ZS_IOPEN],
        .explicitly_open = c.in_state[BLK_ZS_EOPEN],
        .closed = c.in_state[BLK_ZS_CLOSED],
        .full = c.in_state[BLK_ZS_FULL],
        .read_only = c.in_state[BLK_ZS_RDONLY],
        .offline = c.in_state[BLK_ZS_OFFLINE],
    };
    if (g->zones.zrwa_size) {
        info->zrwa = g_new(BlockZoneRandomWriteArea, 1);
        *info->zrwa = (BlockZoneRandomWriteArea) {
            GIVE(size, g->zones.zrwa_size),
            GIVE(flush_granularity, g->zones.zrwa_granularity),
            GIVE(zones, g->zones.max_zrwa),
        };
    }
#undef GIVE
    return info;
}

int coroutine_fn qcow2_zoned_co_get_ext(BlockDriverState *bs, int64_t offset,
                                        void *ext)
{
    BDRVQcow2State *s = bs->opaque;
    ZoneTable *t = qcow2_zone_table(bs);
    BlockZoneDescriptor zone;
    unsigned int n = 1;
    ZoneMgmt m;
    int ret = 0;

    zone_table_begin_look(t, &m, offset);
    zone_table_report(t, offset, &n, &zone);
    if (zone.attributes & BDRV_ZA_EXT) {
        ret = qcow2_zones_read_ext(bs, zone_geometry_index(s->zoned->geometry,
                                                           offset), ext);
    } else {
        memset(ext, 0, s->zoned->geometry->zones.ext_size);
    }
    return zone_table_end_mgmt(t, &m, bdrv_zone_io_error(ret));
}

/* --- Check --- */

bool qcow2_zoned_snapshot_file(const QCowSnapshot *sn, Qcow2ZoneFile *f)
{
    const size_t known = sizeof(QCowSnapshotExtraData);
    Qcow2ZonedSnapshotExtra extra;

    if (sn->extra_data_size < known + sizeof(extra)) {
        return false;
    }
    memcpy(&extra, sn->unknown_extra_data + sn->extra_data_size - known -
           sizeof(extra), sizeof(extra));
    /* Without the magic, there is nothing before the rest either */
    if (be32_to_cpu(extra.magic) != QCOW2_ZONED_SNAPSHOT_MAGIC &&
        (extra.magic || sn->extra_data_size != known + sizeof(extra))) {
        return false;
    }
    f->offset = be64_to_cpu(extra.table_offset);
    f->nr_zones = be32_to_cpu(extra.nr_zones);
    return true;
}

bool qcow2_zoned_overlaps(BlockDriverState *bs, int64_t offset, int64_t size)
{
    BDRVQcow2State *s = bs->opaque;

    return s->zoned &&
           (qcow2_zone_file_overlaps(bs, &s->zoned->file, offset, size) ||
            (s->zoned->claims.offset &&
             ranges_overlap(offset, size, s->zoned->claims.offset,
                            QCOW2_ZONE_CLAIMS_BYTES)));
}

static int coroutine_fn GRAPH_RDLOCK
count_table(BlockDriverState *bs, const Qcow2ZoneFile *f,
            BdrvCheckResult *result, void **refcount_table,
            int64_t *refcount_table_size)
{
    BDRVQcow2State *s = bs->opaque;

    return qcow2_inc_refcounts_imrt(
        bs, result, refcount_table, refcount_table_size, f->offset,
        qcow2_zone_file_bytes(s->cluster_size,
                              s->zoned->geometry->zones.ext_size,
                              f->nr_zones));
}

int coroutine_fn
qcow2_zoned_check_refcounts(BlockDriverState *bs, BdrvCheckResult *result,
                            void **refcount_table,
                            int64_t *refcount_table_size)
{
    BDRVQcow2State *s = bs->opaque;
    int ret;

    if (!s->zoned) {
        return 0;
    }
    ret = count_table(bs, &s->zoned->file, result, refcount_table,
                      refcount_table_size);
    if (ret == 0 && s->zoned->claims.offset) {
        ret = qcow2_inc_refcounts_imrt(bs, result, refcount_table,
                                       refcount_table_size,
                                       s->zoned->claims.offset,
                                       QCOW2_ZONE_CLAIMS_BYTES);
    }
    for (unsigned i = 0; ret == 0 && i < s->nb_snapshots; i++) {
        Error *local_err = NULL;
        Qcow2ZoneFile f;

        if (!qcow2_zoned_snapshot_file(&s->snapshots[i], &f)) {
            continue;
        }
        if (!qcow2_zone_file_check(bs, &f, &local_err)) {
            fprintf(stderr, "ERROR snapshot %s: %s\n", s->snapshots[i].id_str,
                    error_get_pretty(local_err));
            error_free(local_err);
            result->corruptions++;
            continue;
        }
        ret = count_table(bs, &f, result, refcount_table,
                          refcount_table_size);
    }
    return ret;
}

int coroutine_fn qcow2_zoned_co_check(BlockDriverState *bs,
                                      BdrvCheckResult *result,
                                      BdrvCheckMode fix)
{
    BDRVQcow2State *s = bs->opaque;
    uint32_t damaged = 0;
    Error *local_err = NULL;
    int ret;

    if (!qcow2_is_zoned(bs)) {
        return 0;
    }
    ret = qcow2_zone_file_read(bs, &s->zoned->file, s->zoned->table,
                               s->zoned->flags & FLAG_LIVE_STATES, &damaged,
                               &local_err);
    /* Claims go by the mapping: without repairs it has to be right */
    if (ret == 0 && !result->corruptions && (!damaged || (fix & BDRV_FIX_ERRORS))) {
        ret = qcow2_zone_claims_load(bs, &local_err);
    }
    if (ret < 0) {
        error_report_err(local_err);
        result->check_errors++;
        return ret;
    }
    if (!(fix & BDRV_FIX_ERRORS)) {
        result->corruptions += damaged;
        return 0;
    }
    if (!damaged && !qcow2_zone_claims_any(&s->zoned->claims)) {
        return 0;
    }
    if (damaged) {
        zone_table_mark_dirty(s->zoned->table, 0);
    }
    ret = qcow2_zones_store_found(bs, s->zoned->flags & FLAG_LIVE_STATES);
    if (ret < 0) {
        result->corruptions += damaged;
        result->check_errors++;
        return ret;
    }
    if (damaged) {
        fprintf(stderr, "Repaired: %" PRIu32 " zones whose record made no "
                "sense are full now, all of their data is readable\n", damaged);
    }
    result->corruptions_fixed += damaged;
    return 0;
}
