/*
 * Backups of zoned disks
 *
 * The dirty bitmap of block-copy has what is still to be copied, in units that are
 * never larger than a zone.  What is above the end of a zone's data is not in it
 * from the beginning.  What is below the write pointer only goes with a reset of
 * the zone.  What a write can change is between: the units from that of the write
 * pointer to the end of data, the zone's edge.  They are copied before the first
 * write of the zone; then all its writes pass.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "block/block_int.h"
#include "block/dirty-bitmap.h"
#include "block/zoned-backup.h"
#include "block/zoned-graph.h"
#include "block/zoned-jobs.h"
#include "system/block-backend.h"

/* Writes that wait for the edge of a zone to be copied, in their order */
typedef struct Gate {
    uint32_t zone;
    unsigned int users;         /* under gates_lock */
    CoMutex mutex;
    int ret;                    /* why the first one failed; under mutex */
    QLIST_ENTRY(Gate) next;
} Gate;

struct ZonedBackup {
    BlockDriverState *filter;   /* above what has the zones, which may change */
    ZonedBackupCopy *copy;
    BdrvChild *target_child;
    BlockDriverState *target;   /* that receives zones; NULL: it has none */
    ZoneTable *zones;           /* as they were at the beginning */
    /* Those that the target had then, of an earlier backup; or NULL */
    ZoneTable *earlier;
    const ZoneGeometry *geometry;
    uint32_t unit;              /* of copying */
    bool receiving;
    /* Zones whose edge is still to be copied, and those where that goes on */
    QemuMutex gates_lock;
    unsigned long *edges;
    QLIST_HEAD(, Gate) gates;
    /* Zones whose extension is still to be copied; NULL: there are none */
    unsigned long *exts;
    CoMutex exts_lock;
    void *ext;                  /* a buffer for one, under exts_lock */
};

/* --- May it be done? --- */

bool zoned_backup_check(BlockDriverState *source, BlockDriverState *target,
                        MirrorSyncMode sync, bool discard_source, Error **errp)
{
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    if (source->bl.zones.model == BLK_Z_NONE) {
        return !bdrv_refuse_zoned(target, "copying to it", errp);
    }
    if (!bdrv_zoned_source(source)->drv ||
        !bdrv_zoned_source(source)->drv->zone_transfer) {
        return !bdrv_refuse_zoned(source, "a backup of it", errp);
    }
    if (sync == MIRROR_SYNC_MODE_NONE) {
        error_setg(errp, "Node '%s' is zoned, so 'sync' of a backup cannot be "
                   "'none': the target would never get its zones",
                   bdrv_get_node_name(source));
        return false;
    }
    if (discard_source) {
        error_setg(errp, "Node '%s' is zoned, so 'discard-source' is not "
                   "supported", bdrv_get_node_name(source));
        return false;
    }
    if (target->bl.zones.model != BLK_Z_NONE &&
        (!bdrv_zoned_source(target)->drv ||
         !bdrv_zoned_source(target)->drv->zone_transfer)) {
        return !bdrv_refuse_zoned(target, "copying to it", errp);
    }
    return true;
}

/* A host-aware disk can be used as one without zones */
static bool may_filter(BlockDriverState *bs, Error **errp)
{
    return bs->bl.zones.model != BLK_Z_HM ||
           !bdrv_refuse_zoned(bs, "a copy-before-write filter", errp);
}

bool zoned_backup_may_filter(BlockDriverState *source, BlockDriverState *target,
                             Error **errp)
{
    return may_filter(source, errp) && may_filter(target, errp);
}

/* --- What there is to copy --- */

static bool is_sequential(const ZonedBackup *zb, uint32_t i)
{
    return !zone_geometry_conventional(zb->geometry, i);
}

/* Where the units end that have data of zone @i */
static int64_t units_end(const ZonedBackup *zb, uint32_t i)
{
    uint64_t end = zone_geometry_end(zb->geometry, i);
    uint64_t wp, data_end;

    if (!is_sequential(zb, i)) {
        return end;
    }
    zone_table_position(zb->zones, i, &wp, &data_end);
    return MIN(QEMU_ALIGN_UP(data_end, zb->unit), end);
}

/* From zone *@i on: the next range that has no data.  *@i becomes that behind. */
static bool next_hole(const ZonedBackup *zb, uint32_t *i, int64_t *start,
                      int64_t *end)
{
    uint32_t n = zone_table_nr_zones(zb->zones);

    while (*i < n && units_end(zb, *i) == zone_geometry_end(zb->geometry, *i)) {
        (*i)++;
    }
    if (*i == n) {
        return false;
    }
    *start = units_end(zb, *i);
    do {
        *end = zone_geometry_end(zb->geometry, *i);
        (*i)++;
    } while (*i < n && units_end(zb, *i) == *end);
    return true;
}

static void leave_out_holes(ZonedBackup *zb, BlockCopyState *bcs)
{
    BdrvDirtyBitmap *bitmap = block_copy_dirty_bitmap(bcs);
    int64_t start, end;

    for (uint32_t i = 0; next_hole(zb, &i, &start, &end); ) {
        bdrv_reset_dirty_bitmap(bitmap, start, end - start);
    }
}

/* What the earlier backup has of zone @i ends before what is to be there */
static void add_missing(ZonedBackup *zb, BdrvDirtyBitmap *bitmap, uint32_t i)
{
    uint64_t wp, had, data_end;

    zone_table_position(zb->earlier, i, &wp, &had);
    zone_table_position(zb->zones, i, &wp, &data_end);
    if (had < data_end) {
        bdrv_set_dirty_bitmap(bitmap, had, data_end - had);
    }
}

void zoned_backup_select(ZonedBackup *zb, BlockCopyState *bcs)
{
    if (!zb) {
        return;
    }
    for (uint32_t i = 0; zb->earlier && i < zone_table_nr_zones(zb->zones);
         i++) {
        if (is_sequential(zb, i)) {
            add_missing(zb, block_copy_dirty_bitmap(bcs), i);
        }
    }
    leave_out_holes(zb, bcs);
}

/* False: there is none. */
static bool get_edge(const ZonedBackup *zb, uint32_t i, int64_t *start,
                     int64_t *end)
{
    uint64_t wp, data_end;

    if (!is_sequential(zb, i)) {
        return false;
    }
    zone_table_position(zb->zones, i, &wp, &data_end);
    *start = QEMU_ALIGN_DOWN(MIN(wp, data_end), zb->unit);
    *end = data_end;
    return *start < *end;
}

static void find_edges(ZonedBackup *zb)
{
    uint32_t n = zone_table_nr_zones(zb->zones);
    int64_t start, end;

    zb->edges = bitmap_new(n);
    for (uint32_t i = 0; i < n; i++) {
        if (get_edge(zb, i, &start, &end)) {
            set_bit(i, zb->edges);
        }
    }
}

unsigned long *zoned_transfer_exts(ZoneTable *zones)
{
    uint32_t n = zone_table_nr_zones(zones);
    unsigned long *exts = bitmap_new(n);

    for (uint32_t i = 0; i < n; i++) {
        ZoneRecord r;

        zone_table_record(zones, i, true, &r);
        if (r.attributes & BDRV_ZA_EXT) {
            set_bit(i, exts);
        }
    }
    return exts;
}

/* Extensions are only for a target that can have them. */
static void find_exts(ZonedBackup *zb)
{
    if (zb->target && zb->geometry->zones.ext_size) {
        zb->exts = zoned_transfer_exts(zb->zones);
        zb->ext = g_malloc(zb->geometry->zones.ext_size);
    }
}

void zoned_transfer_empty_offline(ZoneTable *zones)
{
    for (uint32_t i = 0; i < zone_table_nr_zones(zones); i++) {
        ZoneRecord r;

        zone_table_record(zones, i, true, &r);
        if (r.state == BLK_ZS_OFFLINE) {
            r.data_end = zone_geometry_start(zone_table_geometry(zones), i);
            zone_table_load(zones, i, &r);
        }
    }
}

/* --- The target's zones --- */

/*
 * With sync=top, data below the source's overlay is not copied: the target has to
 * have it.
 */
static bool GRAPH_RDLOCK
has_data_below(BlockDriverState *target, BlockDriverState *source,
               ZoneTable *zones, Error **errp)
{
    BlockDriverState *below = bdrv_zoned_source(bdrv_cow_bs(source));
    const BlockZoneTransfer *t = below->drv ? below->drv->zone_transfer : NULL;
    ZoneTable *own = target->drv->zone_transfer->copy(target);
    ZoneTable *inherited = t && below->bl.zones.model != BLK_Z_NONE ?
                           t->copy(below) : NULL;
    const ZoneGeometry *g = zone_table_geometry(zones);
    uint32_t i = g->conventional_zones;
    bool ok = true;

    for (; ok && i < zone_table_nr_zones(zones); i++) {
        uint64_t wp, end, below_end, own_end;

        zone_table_position(zones, i, &wp, &end);
        zone_table_position(inherited ?: zones, i, &wp, &below_end);
        zone_table_position(own, i, &wp, &own_end);
        ok = own_end >= MIN(end, below_end);
    }
    if (!ok) {
        error_setg(errp, "The backing file of node '%s' does not have the data "
                   "that the backing file of node '%s' has",
                   bdrv_get_node_name(target), bdrv_get_node_name(source));
    }
    zone_table_free(own);
    zone_table_free(inherited);
    return ok;
}

bool zoned_transfer_check(BlockDriverState *target, BlockDriverState *source,
                          ZoneTable *zones, MirrorSyncMode sync,
                          bool same_limits, Error **errp)
{
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    /* Without anything below it, the top is all. */
    if (sync == MIRROR_SYNC_MODE_TOP && !bdrv_cow_bs(source)) {
        sync = MIRROR_SYNC_MODE_FULL;
    }
    return target->drv->zone_transfer->can_receive(target, zones, sync,
                                                   same_limits, errp) &&
           (sync != MIRROR_SYNC_MODE_TOP ||
            has_data_below(target, source, zones, errp));
}

typedef struct TransferCall {
    BlockDriverState *target;
    BlockDriverState *top;      /* of a commit */
    ZoneTable *zones;
    bool live, same_limits;
    Error **errp;
} TransferCall;

static int coroutine_fn GRAPH_RDLOCK co_begin(void *opaque)
{
    TransferCall *c = opaque;

    return c->target->drv->zone_transfer->begin(c->target, c->zones,
                                                c->same_limits, c->errp);
}

static int coroutine_fn GRAPH_RDLOCK co_begin_commit(void *opaque)
{
    TransferCall *c = opaque;

    return c->target->drv->zone_transfer->begin_commit(c->target, c->top,
                                                       c->errp);
}

static int coroutine_fn GRAPH_RDLOCK co_end(void *opaque)
{
    TransferCall *c = opaque;

    return c->target->drv->zone_transfer->end(c->target, c->zones, c->live);
}

static int coroutine_fn GRAPH_RDLOCK co_end_commit(void *opaque)
{
    TransferCall *c = opaque;

    return c->target->drv->zone_transfer->end_commit(c->target, c->zones,
                                                     c->top, c->live);
}

static int call_transfer(ZonedCoroutine *func, TransferCall *c)
{
    int ret;

    bdrv_drained_begin(c->target);
    ret = c->target->drv ? zoned_call_coroutine(func, c) : -ENOMEDIUM;
    bdrv_drained_end(c->target);
    return ret;
}

BlockDriverState *zoned_transfer_target(BlockDriverState *bs)
{
    BlockDriverState *target = bdrv_zoned_source(bs);
    const BlockZoneTransfer *t = target->drv ? target->drv->zone_transfer
                                             : NULL;

    return t && (t->takes_zones ? t->takes_zones(target)
                                : target->bl.zones.model != BLK_Z_NONE)
           ? target : NULL;
}

static bool call_begin(ZonedCoroutine *func, TransferCall *c, Error **errp)
{
    ERRP_GUARD();
    int ret;

    c->errp = errp;
    ret = call_transfer(func, c);
    if (ret < 0 && !*errp) {
        error_setg_errno(errp, -ret, "Could not prepare node '%s' for zones",
                         bdrv_get_node_name(c->target));
    }
    return ret == 0;
}

bool zoned_transfer_begin(BlockDriverState *target, ZoneTable *zones,
                          bool same_limits, Error **errp)
{
    TransferCall c = {
        .target = target, .zones = zones, .same_limits = same_limits,
    };

    return call_begin(co_begin, &c, errp);
}

bool zoned_transfer_begin_commit(BlockDriverState *target,
                                 BlockDriverState *top, Error **errp)
{
    TransferCall c = { .target = target, .top = top };

    return call_begin(co_begin_commit, &c, errp);
}

int zoned_transfer_end(BlockDriverState *target, ZoneTable *zones, bool live)
{
    TransferCall c = { .target = target, .zones = zones, .live = live };

    return call_transfer(co_end, &c);
}

int zoned_transfer_end_commit(BlockDriverState *target, ZoneTable *zones,
                              BlockDriverState *top, bool live)
{
    TransferCall c = {
        .target = target, .top = top, .zones = zones, .live = live,
    };

    return call_transfer(co_end_commit, &c);
}

void zoned_transfer_give_up(BlockDriverState *target)
{
    bdrv_drained_begin(target);
    if (target->drv) {
        target->drv->zone_transfer->give_up(target);
    }
    bdrv_drained_end(target);
}

static bool begin_target(ZonedBackup *zb, BlockDriverState *source,
                         MirrorSyncMode sync, Error **errp)
{
    if (!zb->target) {
        return true;
    }
    if (!zoned_transfer_check(zb->target, source, zb->zones, sync, false,
                              errp)) {
        return false;
    }
    if (sync == MIRROR_SYNC_MODE_BITMAP) {
        zb->earlier = zb->target->drv->zone_transfer->copy(zb->target);
    }
    zb->receiving = zoned_transfer_begin(zb->target, zb->zones, false, errp);
    return zb->receiving;
}

bool zoned_backup_begin(BlockDriverState *filter, BlockDriverState *source,
                        BdrvChild *target, BlockCopyState *bcs,
                        MirrorSyncMode sync, ZonedBackupCopy *copy,
                        ZonedBackup **zbp, Error **errp)
{
    BlockDriverState *zoned, *target_zoned;
    ZonedBackup *zb;

    *zbp = NULL;
    bdrv_graph_rdlock_main_loop();
    zoned = bdrv_zoned_source(source);
    target_zoned = zoned_transfer_target(target->bs);
    bdrv_graph_rdunlock_main_loop();
    if (zoned->bl.zones.model == BLK_Z_NONE) {
        return true;
    }
    if (block_copy_cluster_size(bcs) > zoned->bl.zones.size) {
        error_setg(errp, "Node '%s' has zones of %" PRIu64 " bytes, which is "
                   "less than what a backup copies at once (%" PRIi64 ")",
                   bdrv_get_node_name(source), zoned->bl.zones.size,
                   block_copy_cluster_size(bcs));
        return false;
    }
    zb = g_new0(ZonedBackup, 1);
    zb->filter = filter;
    zb->copy = copy;
    zb->target_child = target;
    zb->target = target_zoned;
    if (zb->target) {
        bdrv_ref(zb->target);
    }
    zb->unit = block_copy_cluster_size(bcs);
    qemu_mutex_init(&zb->gates_lock);
    QLIST_INIT(&zb->gates);
    qemu_co_mutex_init(&zb->exts_lock);
    zb->zones = zoned->drv->zone_transfer->copy(zoned);
    zb->geometry = zone_table_geometry(zb->zones);
    zoned_transfer_empty_offline(zb->zones);
    if (!begin_target(zb, zoned, sync, errp)) {
        zoned_backup_free(zb);
        return false;
    }
    leave_out_holes(zb, bcs);
    find_edges(zb);
    find_exts(zb);
    *zbp = zb;
    return true;
}

void zoned_backup_free(ZonedBackup *zb)
{
    if (!zb) {
        return;
    }
    if (zb->receiving) {
        zoned_transfer_give_up(zb->target);
    }
    if (zb->target) {
        bdrv_unref(zb->target);
    }
    zone_table_free(zb->zones);
    zone_table_free(zb->earlier);
    qemu_mutex_destroy(&zb->gates_lock);
    g_free(zb->edges);
    g_free(zb->exts);
    g_free(zb->ext);
    g_free(zb);
}

int zoned_backup_finish(ZonedBackup *zb)
{
    int ret;

    if (!zb || !zb->target) {
        return 0;
    }
    /* The guest need not wait for this, as it does while all is drained */
    ret = bdrv_flush(zb->target);
    return ret < 0 ? ret : zoned_transfer_end(zb->target, zb->zones, false);
}

/* --- Descriptor extensions --- */

/* With exts_lock: copy that of zone @i, if it has not been */
static int coroutine_fn GRAPH_RDLOCK
copy_ext(ZonedBackup *zb, uint32_t i, bool *error_is_read)
{
    int ret;

    if (!test_bit(i, zb->exts)) {
        return 0;
    }
    *error_is_read = true;
    ret = bdrv_co_zone_get_ext(bdrv_zoned_source(zb->filter),
                               zone_geometry_start(zb->geometry, i), zb->ext);
    if (ret == 0) {
        *error_is_read = false;
        ret = zb->target->drv ?
              zb->target->drv->zone_transfer->ext(zb->target, i, zb->ext,
                                                  zb->geometry->zones.ext_size)
              : -ENOMEDIUM;
    }
    if (ret == 0) {
        clear_bit(i, zb->exts);
    }
    return ret;
}

/* Of zones @i to @end - 1 */
static int coroutine_fn GRAPH_RDLOCK
copy_exts(ZonedBackup *zb, uint32_t i, uint32_t end, bool *error_is_read)
{
    int ret = 0;

    QEMU_LOCK_GUARD(&zb->exts_lock);

    for (i = find_next_bit(zb->exts, end, i); i < end && ret == 0;
         i = find_next_bit(zb->exts, end, i + 1)) {
        ret = copy_ext(zb, i, error_is_read);
    }
    return ret;
}

/* --- Before the disk changes --- */

/* NULL: writes of zone @i can pass, nobody is before them */
static Gate *enter_gate(ZonedBackup *zb, uint32_t i)
{
    Gate *gate;

    QEMU_LOCK_GUARD(&zb->gates_lock);

    QLIST_FOREACH(gate, &zb->gates, next) {
        if (gate->zone == i) {
            gate->users++;
            return gate;
        }
    }
    if (!test_bit(i, zb->edges)) {
        return NULL;
    }
    gate = g_new0(Gate, 1);
    gate->zone = i;
    gate->users = 1;
    qemu_co_mutex_init(&gate->mutex);
    QLIST_INSERT_HEAD(&zb->gates, gate, next);
    return gate;
}

static void leave_gate(ZonedBackup *zb, Gate *gate)
{
    QEMU_LOCK_GUARD(&zb->gates_lock);

    if (--gate->users == 0) {
        QLIST_REMOVE(gate, next);
        g_free(gate);
    }
}

static bool has_edge(ZonedBackup *zb, uint32_t i)
{
    QEMU_LOCK_GUARD(&zb->gates_lock);

    return test_bit(i, zb->edges);
}

static void edge_is_copied(ZonedBackup *zb, uint32_t i)
{
    QEMU_LOCK_GUARD(&zb->gates_lock);

    clear_bit(i, zb->edges);
}

/*
 * Copy the edge of sequential zone @i.  Who comes while others wait goes behind
 * them: of two writes to a zone, the second one is not at the write pointer
 * before the first.
 */
static int coroutine_fn GRAPH_RDLOCK copy_edge(ZonedBackup *zb, uint32_t i)
{
    Gate *gate = enter_gate(zb, i);
    int64_t start, end;
    int ret;

    if (!gate) {
        return 0;
    }
    qemu_co_mutex_lock(&gate->mutex);
    if (gate->ret == 0 && has_edge(zb, i) && get_edge(zb, i, &start, &end)) {
        gate->ret = zb->copy(zb->filter, start, end - start, 0);
        if (gate->ret == 0) {
            edge_is_copied(zb, i);
        }
    }
    ret = gate->ret;
    qemu_co_mutex_unlock(&gate->mutex);
    leave_gate(zb, gate);
    return ret;
}

/*
 * Zone @i was copied, with @ret.  What is offline cannot be, and does not change: the
 * request goes on, to be told so by the zone, or to change others.
 */
static int coroutine_fn GRAPH_RDLOCK
copied(ZonedBackup *zb, uint32_t i, int ret)
{
    BlockZoneDescriptor zone;
    unsigned int n = 1;

    return ret < 0 &&
           bdrv_co_zone_report(bdrv_zoned_source(zb->filter),
                               zone_geometry_start(zb->geometry, i), &n,
                               &zone) == 0 &&
           n == 1 && zone.state == BLK_ZS_OFFLINE ? 0 : ret;
}

int coroutine_fn
zoned_backup_before_write(ZonedBackup *zb, int64_t offset, int64_t bytes,
                          BdrvRequestFlags flags)
{
    uint32_t i = zone_geometry_index(zb->geometry, offset);

    if (!is_sequential(zb, i)) {
        return bdrv_zone_io_error(zb->copy(zb->filter, offset, bytes, flags));
    }
    return flags & BDRV_REQ_WRITE_UNCHANGED ? 0 :
           bdrv_zone_io_error(copied(zb, i, copy_edge(zb, i)));
}

int coroutine_fn zoned_backup_before_append(ZonedBackup *zb, int64_t offset)
{
    uint32_t i = zone_geometry_index(zb->geometry, offset);

    return bdrv_zone_op_io_error(copied(zb, i, copy_edge(zb, i)));
}

bool zoned_op_ends_data(BlockZoneOp op)
{
    switch (op) {
    case BLK_ZO_OPEN:
    case BLK_ZO_CLOSE:
    case BLK_ZO_FINISH:
    case BLK_ZO_POWER_CYCLE:
    case BLK_ZO_SET_EXT:        /* of an empty zone without one */
    case BLK_ZO_SET_ATTRIBUTES:
    case BLK_ZO_ZRWA_COMMIT:
    case BLK_ZO_FORCE_RDONLY:
        return false;
    default:
        return true;
    }
}

int coroutine_fn
zoned_backup_before_mgmt(ZonedBackup *zb, BlockZoneOp op, int64_t offset,
                         int64_t len)
{
    const ZoneGeometry *g = zb->geometry;
    int64_t start = MAX(offset, g->conventional_zones * g->zones.size);
    int64_t end = offset + len;
    bool error_is_read;
    int ret = 0;

    /* A reset of everything leaves conventional zones alone. */
    if (!zoned_op_ends_data(op)) {
        return 0;
    }
    while (start < end && ret == 0) {
        uint32_t i = zone_geometry_index(g, start);
        int64_t zone_end = MIN(end, zone_geometry_start(g, i + 1));

        if (zb->exts) {
            ret = copy_exts(zb, i, i + 1, &error_is_read);
        }
        if (ret == 0) {
            ret = zb->copy(zb->filter, start, zone_end - start, 0);
        }
        ret = copied(zb, i, ret);
        start = zone_end;
    }
    return bdrv_zone_op_io_error(ret);
}

/* --- In the job --- */

/* A piece of what is written as zeroes, and skipped where it is zero */
#define ZERO_BYTES (1 * GiB)
/* Zones whose extensions are copied while others may wait for theirs */
#define EXTS_AT_ONCE 64

static int coroutine_fn GRAPH_RDLOCK
zero_target(ZonedBackup *zb, int64_t offset, int64_t bytes, int64_t *n)
{
    BlockDriverState *bs = zb->target_child->bs;
    int ret = bdrv_co_block_status_above(bs, NULL, offset, bytes, n, NULL,
                                         NULL);

    if (ret < 0 || *n == 0) {
        *n = bytes;
    }
    return ret >= 0 && (ret & BDRV_BLOCK_ZERO) ? 0 :
           bdrv_co_pwrite_zeroes(zb->target_child, offset, *n,
                                 BDRV_REQ_MAY_UNMAP);
}

/* What is done so far */
typedef struct Progress {
    uint32_t ext;               /* zone */
    uint32_t zone;              /* of the next hole */
    int64_t hole, hole_end;
} Progress;

/* The next step; 1 if there is one after it, 0 if not, or a negative errno */
static int coroutine_fn GRAPH_RDLOCK
run_step(ZonedBackup *zb, Progress *p, bool *error_is_read)
{
    uint32_t nr_zones = zone_table_nr_zones(zb->zones);
    int64_t n;
    int ret;

    *error_is_read = false;
    if (zb->exts && p->ext < nr_zones) {
        uint32_t end = MIN(p->ext + EXTS_AT_ONCE, nr_zones);

        ret = copy_exts(zb, p->ext, end, error_is_read);
        if (ret == 0) {
            p->ext = end;
        }
        return ret < 0 ? ret : 1;
    }
    if (zb->target || (p->hole == p->hole_end &&
                       !next_hole(zb, &p->zone, &p->hole, &p->hole_end))) {
        return 0;
    }
    ret = zero_target(zb, p->hole, MIN(p->hole_end - p->hole, ZERO_BYTES), &n);
    if (ret == 0) {
        p->hole += n;
    }
    return ret < 0 ? ret : 1;
}

int coroutine_fn zoned_backup_run(ZonedBackup *zb, BlockJob *job,
                                  BlockdevOnError on_source_error,
                                  BlockdevOnError on_target_error)
{
    Progress p = {};
    int ret = zb ? 1 : 0;

    while (ret) {
        bool error_is_read;

        job_pause_point(&job->job);
        if (job_is_cancelled(&job->job)) {
            return 0;
        }
        WITH_GRAPH_RDLOCK_GUARD() {
            ret = run_step(zb, &p, &error_is_read);
        }
        if (ret < 0 &&
            block_job_error_action(job, error_is_read ? on_source_error
                                                      : on_target_error,
                                   error_is_read, -ret) ==
            BLOCK_ERROR_ACTION_REPORT) {
            return ret;
        }
    }
    return 0;
}
