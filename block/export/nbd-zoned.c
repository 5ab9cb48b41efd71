/*
 * Zones over NBD: the server
 *
 * What the client asks for is done with the exported node as a job of this process
 * would do it.  Nothing that the client says is trusted.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "block/block_int.h"
#include "block/nbd-zoned.h"
#include "block/zoned-graph.h"
#include "system/block-backend.h"
#include "system/runstate.h"
#include "trace/trace-block.h"

/* QEMU as a client takes 1000 bytes at most, with what is around it. */
#define MAX_MESSAGE 900

struct NBDZones {
    BlockExport *exp;
    NBDZones **from;            /* of the export; only in the main loop */
    int draining;               /* 1: it drains the export; atomic */
    ZoneTable *zones;           /* NULL until there is a geometry */
    BlockDriverState *target;   /* that receives them; NULL if none does */
    uint64_t perm, shared_perm; /* of the export, before */
    VMChangeStateEntry *vmstate; /* of a guest that waits for its migration */
};

bool coroutine_fn nbd_zones_offered(BlockExport *exp)
{
    return zoned_transfer_target(blk_bs(exp->blk)) != NULL;
}

NBDZones *nbd_zones_new(BlockExport *exp, NBDZones **from)
{
    NBDZones *z = g_new0(NBDZones, 1);

    z->exp = exp;
    z->from = from;
    blk_exp_ref(exp);
    return z;
}

int nbd_zones_draining(NBDZones *z)
{
    return z ? qatomic_read(&z->draining) : 0;
}

/* --- In the main loop --- */

static void vm_state_changed(void *opaque, bool running, RunState state);

static bool take_export(NBDZones *z, Error **errp)
{
    *z->from = z;
    /* What others have begun to send could hold up all that drains the export. */
    nbd_zones_drop_others(z->exp, z);
    blk_get_perm(z->exp->blk, &z->perm, &z->shared_perm);
    /*
     * Nobody else writes, or reads what is of no use yet.  A guest that waits for
     * its migration has permissions already, and does not use them.
     */
    if (runstate_check(RUN_STATE_INMIGRATE)) {
        z->vmstate = qemu_add_vm_change_state_handler(vm_state_changed, z);
    } else if (blk_set_perm(z->exp->blk, z->perm, BLK_PERM_WRITE_UNCHANGED,
                            errp) < 0) {
        *z->from = NULL;
        return false;
    }
    return true;
}

static void return_export(NBDZones *z)
{
    *z->from = NULL;
    if (z->vmstate) {
        qemu_del_vm_change_state_handler(z->vmstate);
        z->vmstate = NULL;
    }
    blk_set_perm(z->exp->blk, z->perm, z->shared_perm, NULL);
}

static bool can_receive(NBDZones *z, BlockDriverState *target, bool same_limits,
                        Error **errp)
{
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    return target->drv->zone_transfer->can_receive(target, z->zones,
                                                   MIRROR_SYNC_MODE_FULL,
                                                   same_limits, errp);
}

static BlockDriverState *find_target(NBDZones *z, Error **errp)
{
    BlockDriverState *target;

    GRAPH_RDLOCK_GUARD_MAINLOOP();

    target = zoned_transfer_target(blk_bs(z->exp->blk));
    if (!target) {
        error_setg(errp, "The export cannot get zones any more");
    }
    return target;
}

/* begin(), end() and this poll the main loop: it can be called again meanwhile. */
static void stop(NBDZones *z)
{
    BlockDriverState *target = g_steal_pointer(&z->target);

    if (target) {
        return_export(z);
        /* Polls: the client may leave meanwhile, and @z is freed then. */
        zoned_transfer_give_up(target);
        bdrv_unref(target);
    }
}

/* No request of a guest that comes meanwhile is taken for what is received. */
static int begin_drained(NBDZones *z, bool same_limits, Error **errp)
{
    ERRP_GUARD();
    BlockDriverState *target = z->target;
    int ret = -EINVAL;

    bdrv_ref(target);
    bdrv_drained_begin(target);
    if (z->target &&
        zoned_transfer_begin(target, z->zones, same_limits, errp)) {
        ret = 0;
    }
    if (!z->target) {
        zoned_transfer_give_up(target);
        if (!*errp) {
            error_setg(errp, "The guest has come meanwhile, and uses the disk");
        }
        ret = -EBUSY;
    } else if (ret < 0) {
        stop(z);
    }
    bdrv_drained_end(target);
    bdrv_unref(target);
    return ret;
}

static int begin(NBDZones *z, uint32_t flags, Error **errp)
{
    bool same_limits = flags & NBD_ZONES_SAME_LIMITS;
    BlockDriverState *target = find_target(z, errp);

    if (!target || !can_receive(z, target, same_limits, errp)) {
        return -EINVAL;
    }
    if (*z->from) {
        error_setg(errp, "The export gets the zones of another client");
        return -EBUSY;
    }
    /* Here others lose their connection. */
    if (!take_export(z, errp)) {
        return -EBUSY;
    }
    bdrv_ref(target);
    z->target = target;
    return begin_drained(z, same_limits, errp);
}

/* The guest has come without what the disk was to receive, and uses it. */
static void vm_state_changed(void *opaque, bool running, RunState state)
{
    NBDZones *z = opaque;

    if (running && z->target) {
        trace_nbd_zones_gone(bdrv_get_node_name(z->target));
        stop(z);
    }
}

static bool check_max(BlockDriverState *bs, const char *option, uint32_t n,
                      uint32_t max, Error **errp)
{
    if (max && n > max) {
        error_setg(errp, "%s of node '%s' (%" PRIu32 ") must not be less than "
                   "the number of such zones (%" PRIu32 ")", option,
                   bdrv_get_node_name(bs), max, n);
        return false;
    }
    return true;
}

/* The zones of a client that keeps the rules are within these. */
static bool check_limits(NBDZones *z, Error **errp)
{
    const BlockZoneLimits *l = &z->target->bl.zones;
    uint32_t open, zrwa = 0;
    ZoneCounts c;

    zone_table_count(z->zones, &c);
    open = c.in_state[BLK_ZS_IOPEN] + c.in_state[BLK_ZS_EOPEN];
    for (uint32_t i = 0; i < zone_table_nr_zones(z->zones); i++) {
        ZoneRecord r;

        zone_table_record(z->zones, i, true, &r);
        zrwa += !!(r.attributes & BDRV_ZA_ZRWA);
    }
    return check_max(z->target, "zone.max_open_zones", open, l->max_open,
                     errp) &&
           check_max(z->target, "zone.max_active_zones",
                     open + c.in_state[BLK_ZS_CLOSED], l->max_active, errp) &&
           check_max(z->target, "zone.zrwa_zones", zrwa, l->max_zrwa, errp);
}

static int end(NBDZones *z, uint32_t flags, Error **errp)
{
    int ret = -EINVAL;

    /* The guest may have come since the request was looked at */
    if (z->target && check_limits(z, errp)) {
        ret = zoned_transfer_end(z->target, z->zones, flags & NBD_ZONES_LIVE);
    }
    if (ret == 0) {
        stop(z);
    }
    return ret;
}

typedef struct MainCall {
    Coroutine *co;
    NBDZones *z;
    int (*func)(NBDZones *z, uint32_t flags, Error **errp);
    uint32_t flags;
    Error **errp;
    int ret;
} MainCall;

static void main_bh(void *opaque)
{
    MainCall *c = opaque;

    qatomic_set(&c->z->draining, 1);
    c->ret = c->func(c->z, c->flags, c->errp);
    qatomic_set(&c->z->draining, 0);
    aio_co_wake(c->co);
}

static int coroutine_fn
call_in_main(NBDZones *z, int (*func)(NBDZones *z, uint32_t flags, Error **errp),
             uint32_t flags, Error **errp)
{
    MainCall c = {
        .co = qemu_coroutine_self(),
        .z = z,
        .func = func,
        .flags = flags,
        .errp = errp,
    };

    aio_bh_schedule_oneshot(qemu_get_aio_context(), main_bh, &c);
    qemu_coroutine_yield();
    return c.ret;
}

static void free_bh(void *opaque)
{
    NBDZones *z = opaque;

    if (z->target) {
        trace_nbd_zones_gone(bdrv_get_node_name(z->target));
        stop(z);
    }
    zone_table_free(z->zones);
    blk_exp_unref(z->exp);
    g_free(z);
}

void nbd_zones_free(NBDZones *z)
{
    if (z) {
        /* What has to be done cannot be in a coroutine */
        aio_bh_schedule_oneshot(qemu_get_aio_context(), free_bh, z);
    }
}

/* --- Requests --- */

static bool check_reserved(bool zero, const char *where, Error **errp)
{
    if (!zero) {
        error_setg(errp, "What is reserved in %s must be 0", where);
    }
    return zero;
}

static bool parse_geometry(const void *body, size_t len, ZoneGeometry *g,
                           Error **errp)
{
    NBDZonesGeometry b;

    if (len != sizeof(b)) {
        return false;
    }
    memcpy(&b, body, sizeof(b));
    if (!check_reserved(!b.reserved, "the geometry", errp)) {
        return false;
    }
    *g = (ZoneGeometry) {
        .size = be64_to_cpu(b.size),
        .conventional_zones = be32_to_cpu(b.conventional_zones),
        .zones = {
            .model = BLK_Z_HM,
            .size = be64_to_cpu(b.zone_size),
            .capacity = be64_to_cpu(b.capacity),
            .max_append = be64_to_cpu(b.max_append),
            .ext_size = be64_to_cpu(b.ext_size),
            .zrwa_size = be64_to_cpu(b.zrwa_size),
            .zrwa_granularity = be64_to_cpu(b.zrwa_granularity),
            .max_open = be32_to_cpu(b.max_open),
            .max_active = be32_to_cpu(b.max_active),
            .max_zrwa = be32_to_cpu(b.max_zrwa),
            .write_granularity = be32_to_cpu(b.write_granularity),
        },
    };
    return true;
}

/* What else has to be the same is for the driver to say. */
static bool coroutine_fn check_size(NBDZones *z, const ZoneGeometry *g,
                                    Error **errp)
{
    BlockDriverState *bs = blk_bs(z->exp->blk);
    uint64_t n = zone_geometry_nr_zones(g);

    GRAPH_RDLOCK_GUARD();

    if (n != bs->bl.zones.nr_zones ||
        g->zones.write_granularity != bs->bl.zones.write_granularity) {
        error_setg(errp, "Node '%s' has %" PRIu32 " zones that are written in "
                   "units of %" PRIu32 ", and the source %" PRIu64 " and %"
                   PRIu32, bdrv_get_node_name(bs), bs->bl.zones.nr_zones,
                   bs->bl.zones.write_granularity, n,
                   g->zones.write_granularity);
        return false;
    }
    return true;
}

static int coroutine_fn set_geometry(NBDZones *z, const void *body, size_t len,
                                     Error **errp)
{
    ZoneGeometry g;

    if (z->target || !parse_geometry(body, len, &g, errp) ||
        !zone_geometry_check(&g, 1, errp) || !check_size(z, &g, errp)) {
        return -EINVAL;
    }
    zone_table_free(z->zones);
    z->zones = zone_table_new(&g);
    return 0;
}

static int set_records(NBDZones *z, uint32_t first, const void *body, size_t len,
                       Error **errp)
{
    uint32_t nr_zones = z->zones ? zone_table_nr_zones(z->zones) : 0;
    uint64_t n = len / sizeof(NBDZoneRecord);

    if (len % sizeof(NBDZoneRecord) || first + n > nr_zones) {
        return -EINVAL;
    }
    for (uint64_t i = 0; i < n; i++) {
        NBDZoneRecord b;
        ZoneRecord r;

        memcpy(&b, (const NBDZoneRecord *)body + i, sizeof(b));
        if (!check_reserved(buffer_is_zero(b.reserved, sizeof(b.reserved)),
                            "a record", errp)) {
            return -EINVAL;
        }
        r = (ZoneRecord) {
            .wp = be64_to_cpu(b.wp),
            .data_end = be64_to_cpu(b.data_end),
            .state = b.state,
            .attributes = b.attributes,
        };
        if (!zone_table_load(z->zones, first + i, &r)) {
            return -EINVAL;
        }
    }
    return 0;
}

static int coroutine_fn set_ext(NBDZones *z, uint32_t i, const void *body,
                                size_t len)
{
    /* stop() takes it away, and waits for this request */
    BlockDriverState *target = qatomic_read(&z->target);
    const BlockZoneLimits *l = target ? &target->bl.zones : NULL;

    GRAPH_RDLOCK_GUARD();

    if (!l || !l->ext_size || len != l->ext_size || i >= l->nr_zones) {
        return -EINVAL;
    }
    return target->drv ? target->drv->zone_transfer->ext(target, i, body, len) :
           -ENOMEDIUM;
}

/* Of those arguments that are no number of a zone */
static bool check_arg(uint32_t op, uint32_t arg, Error **errp)
{
    switch (op) {
    case NBD_ZONES_GEOMETRY:
        return check_reserved(!arg, "the argument of geometry", errp);
    case NBD_ZONES_BEGIN:
        return check_reserved(!(arg & ~NBD_ZONES_SAME_LIMITS),
                              "the argument of begin", errp);
    case NBD_ZONES_END:
        return check_reserved(!(arg & ~NBD_ZONES_LIVE), "the argument of end",
                              errp);
    default:
        return true;
    }
}

static int coroutine_fn
do_request(NBDZones *z, uint32_t op, uint32_t arg, const void *body, size_t len,
           Error **errp)
{
    if (!check_arg(op, arg, errp)) {
        return -EINVAL;
    }
    switch (op) {
    case NBD_ZONES_GEOMETRY:
        return set_geometry(z, body, len, errp);
    case NBD_ZONES_RECORDS:
        return set_records(z, arg, body, len, errp);
    case NBD_ZONES_BEGIN:
        return z->zones && !z->target && !len ?
               call_in_main(z, begin, arg, errp) : -EINVAL;
    case NBD_ZONES_EXT:
        return set_ext(z, arg, body, len);
    case NBD_ZONES_END:
        return z->target && !len ? call_in_main(z, end, arg, errp) : -EINVAL;
    default:
        return -EINVAL;
    }
}

int coroutine_fn nbd_zones_request(NBDZones *z, const void *payload, size_t len,
                                   char **message)
{
    NBDZonesHeader h = {};
    Error *err = NULL;
    int ret = -EINVAL;

    *message = NULL;
    if (len >= sizeof(h)) {
        memcpy(&h, payload, sizeof(h));
        h.op = be32_to_cpu(h.op);
        h.arg = be32_to_cpu(h.arg);
        ret = do_request(z, h.op, h.arg, payload + sizeof(h), len - sizeof(h),
                         &err);
    }
    trace_nbd_zones_done(z->exp->id, h.op, h.arg, len, ret);
    if (err) {
        *message = g_strndup(error_get_pretty(err), MAX_MESSAGE);
        error_free(err);
    }
    return ret;
}
