/*
 * Zoned qcow2: claims of write pointers in the image file
 *
 * Why they are right: the newest block has a claim for every zone that is ahead of
 * its record, so nothing else counts.  It can be torn, or ahead of data that got
 * lost; then the block before it, which was durable with its data before this
 * one was written, has what was flushed.  And a record that is stored of a zone
 * with a claim has an epoch that neither block has for it, so it takes effect and
 * the claims lose it at once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/memalign.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qcow2-zoned-int.h"
#include "trace.h"

#define BLOCK_MAGIC 0x5a434c4d  /* "ZCLM" */

/* On disk, big-endian */
typedef struct DiskClaim {
    uint32_t zone;
    uint32_t epoch;
    uint64_t from;
    uint64_t to;
    uint64_t checksum;
} DiskClaim;

typedef struct DiskBlock {
    uint32_t magic;
    uint32_t nr_claims;
    uint64_t sequence;
    uint64_t reserved;
    uint64_t checksum;          /* of the block with 0 here */
    DiskClaim claims[ZONE_CLAIMS_MAX];
} DiskBlock;

QEMU_BUILD_BUG_ON(sizeof(DiskClaim) != 32);
QEMU_BUILD_BUG_ON(sizeof(DiskBlock) != QCOW2_ZONE_CLAIMS_BLOCK);

static Qcow2ZoneClaims *get_claims(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    return &s->zoned->claims;
}

/* --- The area --- */

int coroutine_mixed_fn qcow2_zone_claims_alloc(BlockDriverState *bs)
{
    Qcow2ZoneClaims *c = get_claims(bs);
    g_autofree void *zeroes = g_malloc0(QCOW2_ZONE_CLAIMS_BYTES);
    int64_t offset = qcow2_alloc_clusters(bs, QCOW2_ZONE_CLAIMS_BYTES);
    int ret;

    if (offset < 0) {
        return offset;
    }
    ret = bdrv_pwrite(bs->file, offset, QCOW2_ZONE_CLAIMS_BYTES, zeroes, 0);
    if (ret < 0) {
        qcow2_free_clusters(bs, offset, QCOW2_ZONE_CLAIMS_BYTES,
                            QCOW2_DISCARD_OTHER);
        return ret;
    }
    c->offset = offset;
    c->blocks = g_new0(Qcow2ZoneClaimBlock, 2);
    zone_table_enable_claims(qcow2_zone_table(bs));
    return 0;
}

bool coroutine_mixed_fn qcow2_zone_claims_check(BlockDriverState *bs,
                                                Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    const Qcow2ZoneFile *table = &s->zoned->file;
    uint64_t offset = get_claims(bs)->offset;
    int64_t length = bdrv_getlength(bs->file->bs);

    if (length < 0) {
        error_setg_errno(errp, -length, "Could not get the file length");
        return false;
    }
    if (offset_into_cluster(s, offset) ||
        (offset && (length < QCOW2_ZONE_CLAIMS_BYTES ||
                    offset > length - QCOW2_ZONE_CLAIMS_BYTES))) {
        error_setg(errp, "Claim area at offset 0x%" PRIx64 " is not in the "
                   "file", offset);
        return false;
    }
    if (offset && qcow2_zone_file_overlaps(bs, table, offset,
                                           QCOW2_ZONE_CLAIMS_BYTES)) {
        error_setg(errp, "Claim area at offset 0x%" PRIx64 " is in the zone "
                   "table at offset 0x%" PRIx64, offset, table->offset);
        return false;
    }
    return true;
}

void qcow2_zone_claims_free(Qcow2ZoneClaims *c)
{
    g_free(c->blocks);
}

/* --- Blocks --- */

static uint64_t block_checksum(DiskBlock *d)
{
    ZoneChecksum sum = ZONE_CHECKSUM_INIT;
    uint64_t stored = d->checksum;

    d->checksum = 0;
    zone_checksum_update(&sum, d, sizeof(*d));
    d->checksum = stored;
    return zone_checksum_value(&sum);
}

static void encode_block(const Qcow2ZoneClaimBlock *b, DiskBlock *d)
{
    memset(d, 0, sizeof(*d));
    d->magic = cpu_to_be32(BLOCK_MAGIC);
    d->nr_claims = cpu_to_be32(b->nr);
    d->sequence = cpu_to_be64(b->sequence);
    for (int k = 0; k < b->nr; k++) {
        const ZoneClaim *claim = &b->claims[k];

        d->claims[k] = (DiskClaim) {
            .zone = cpu_to_be32(claim->zone),
            .epoch = cpu_to_be32(claim->epoch),
            .from = cpu_to_be64(claim->from),
            .to = cpu_to_be64(claim->to),
            .checksum = cpu_to_be64(zone_checksum_value(&claim->sum)),
        };
    }
    d->checksum = cpu_to_be64(block_checksum(d));
}

static bool decode_claim(const ZoneGeometry *g, const DiskClaim *d,
                         ZoneClaim *claim)
{
    uint32_t epoch = be32_to_cpu(d->epoch);
    uint64_t checksum = be64_to_cpu(d->checksum);

    *claim = (ZoneClaim) {
        .zone = be32_to_cpu(d->zone),
        .epoch = epoch,
        .from = be64_to_cpu(d->from),
        .to = be64_to_cpu(d->to),
        .sum = { .crc = checksum >> 32, .adler = checksum },
    };
    return claim->zone < g->zones.nr_zones && epoch < ZONE_EPOCHS &&
           !zone_geometry_conventional(g, claim->zone) &&
           (claim->from | claim->to) % BDRV_SECTOR_SIZE == 0 &&
           claim->from >= zone_geometry_start(g, claim->zone) &&
           claim->from < claim->to &&
           claim->to <= zone_geometry_writable_end(g, claim->zone);
}

/* One that is not valid has no claims. */
static void decode_block(const ZoneGeometry *g, DiskBlock *d,
                         Qcow2ZoneClaimBlock *b)
{
    uint32_t nr = be32_to_cpu(d->nr_claims);
    uint64_t bytes = 0;
    int n;

    b->valid = false;
    b->sequence = 0;
    b->nr = 0;
    if (be32_to_cpu(d->magic) != BLOCK_MAGIC || nr > ZONE_CLAIMS_MAX ||
        d->reserved || be64_to_cpu(d->checksum) != block_checksum(d)) {
        return;
    }
    for (n = 0; n < nr; n++) {
        ZoneClaim *claim = &b->claims[n];

        if (!decode_claim(g, &d->claims[n], claim) ||
            (n && claim->zone <= claim[-1].zone)) {
            return;
        }
        bytes += claim->to - claim->from;
        if (bytes > ZONE_CLAIMS_MAX_BYTES) {
            return;
        }
    }
    b->valid = true;
    b->sequence = be64_to_cpu(d->sequence);
    b->nr = nr;
}

/* The numbers go on with 0 after the last one. */
static bool is_newer(const Qcow2ZoneClaimBlock *b,
                     const Qcow2ZoneClaimBlock *other)
{
    return b->valid &&
           (!other->valid || (int64_t)(b->sequence - other->sequence) > 0);
}

/* --- Reading --- */

#define READ_BYTES (256 * KiB)

/*
 * Add up the data of a claim as it is in the file.  *@held becomes false if some of
 * it is not in clusters that a mapped zone has.
 */
static int coroutine_fn GRAPH_RDLOCK
sum_data(BlockDriverState *bs, const ZoneClaim *claim, ZoneChecksum *sum,
         bool *held)
{
    BDRVQcow2State *s = bs->opaque;
    g_autofree void *buf = g_malloc(READ_BYTES);

    *sum = ZONE_CHECKSUM_INIT;
    for (uint64_t pos = claim->from, n; pos < claim->to; pos += n) {
        unsigned int bytes = MIN(claim->to - pos, READ_BYTES);
        QCow2SubclusterType type;
        uint64_t host;
        int ret = qcow2_get_host_offset(bs, pos, &bytes, &host, &type);

        *held = ret == 0 && type == QCOW2_SUBCLUSTER_NORMAL;
        if (!*held) {
            /* Where the mapping is corrupt, nothing is known to be there */
            return s->signaled_corruption && bs->drv ? 0 : ret;
        }
        n = bytes;
        ret = bdrv_co_pread(s->data_file, host, n, buf, 0);
        if (ret < 0) {
            return ret;
        }
        zone_checksum_update(sum, buf, n);
    }
    return 0;
}

static int coroutine_fn GRAPH_RDLOCK
claim_holds(BlockDriverState *bs, const ZoneClaim *claim, bool *held)
{
    ZoneChecksum sum;
    ZoneRecord r;
    int ret;

    zone_table_record(qcow2_zone_table(bs), claim->zone, true, &r);
    *held = (r.state == BLK_ZS_EMPTY || r.state == BLK_ZS_CLOSED) &&
            !(r.attributes & BDRV_ZA_ZRWA) && r.epoch == claim->epoch &&
            r.wp == claim->from && r.data_end == claim->from;
    if (!*held) {
        return 0;
    }
    ret = sum_data(bs, claim, &sum, held);
    *held = *held && ret == 0 && zone_checksum_value(&sum) ==
                                 zone_checksum_value(&claim->sum);
    return ret;
}

/* The zone has what the claim says. */
static void apply(BlockDriverState *bs, const ZoneClaim *claim)
{
    ZoneTable *t = qcow2_zone_table(bs);
    uint64_t end = zone_geometry_writable_end(zone_table_geometry(t),
                                              claim->zone);
    ZoneRecord r;

    zone_table_record(t, claim->zone, true, &r);
    r.state = claim->to == end ? BLK_ZS_FULL : BLK_ZS_CLOSED;
    r.attributes = zone_attributes_in(r.state, r.attributes);
    r.wp = r.data_end = claim->to;
    zone_table_load(t, claim->zone, &r);
}

static const ZoneClaim *find_claim(const Qcow2ZoneClaimBlock *b, uint32_t zone)
{
    for (int k = 0; k < b->nr; k++) {
        if (b->claims[k].zone == zone) {
            return &b->claims[k];
        }
    }
    return NULL;
}

/* @claim becomes what holds: the one @before it perhaps, or nothing. */
static int coroutine_fn GRAPH_RDLOCK
load_claim(BlockDriverState *bs, ZoneClaim *claim,
           const Qcow2ZoneClaimBlock *before)
{
    const ZoneClaim *earlier = before ? find_claim(before, claim->zone) : NULL;
    bool held;
    int ret = claim_holds(bs, claim, &held);

    if (ret == 0 && !held && earlier) {
        *claim = *earlier;
        ret = claim_holds(bs, claim, &held);
    }
    held = held && ret == 0;
    trace_qcow2_zoned_claim(bs, claim->zone, claim->from, claim->to, held);
    if (held) {
        apply(bs, claim);
    } else {
        claim->to = claim->from;
    }
    return ret;
}

/* Flush the node, and what is below it, next time: another process has written. */
static void GRAPH_RDLOCK assume_written(BlockDriverState *bs)
{
    BdrvChild *child;

    QLIST_FOREACH(child, &bs->children, next) {
        assume_written(child->bs);
    }
    qatomic_inc(&bs->write_gen);
}

/* Flushes what another process has written, also where this one may only read */
static int coroutine_fn GRAPH_RDLOCK flush_below(BlockDriverState *bs)
{
    BdrvChild *child;
    int ret = 0;

    if (QLIST_EMPTY(&bs->children) && bs->drv->bdrv_co_flush_to_disk) {
        bdrv_inc_in_flight(bs);
        ret = bs->drv->bdrv_co_flush_to_disk(bs);
        bdrv_dec_in_flight(bs);
    }
    QLIST_FOREACH(child, &bs->children, next) {
        ret = flush_below(child->bs);
        if (ret < 0) {
            break;
        }
    }
    return ret;
}

int coroutine_fn qcow2_zone_claims_flush_read(BlockDriverState *bs)
{
    /* One that is written to is flushed as always */
    return !bdrv_is_writable(bs) && qcow2_zone_claims_any(get_claims(bs)) ?
        flush_below(bs) : 0;
}

int coroutine_fn qcow2_zone_claims_load(BlockDriverState *bs, Error **errp)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2ZoneClaims *c = get_claims(bs);
    ZoneTable *t = qcow2_zone_table(bs);
    g_autofree DiskBlock *disk = NULL;
    Qcow2ZoneClaimBlock *newest;
    const Qcow2ZoneClaimBlock *before;
    int ret;

    if (!c->offset) {
        return 0;
    }
    disk = g_new(DiskBlock, 2);
    ret = bdrv_co_pread(bs->file, c->offset, QCOW2_ZONE_CLAIMS_BYTES, disk, 0);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "Could not read the claims of zones");
        return ret;
    }
    g_free(c->blocks);
    c->blocks = g_new0(Qcow2ZoneClaimBlock, 2);
    for (int k = 0; k < 2; k++) {
        decode_block(zone_table_geometry(t), &disk[k], &c->blocks[k]);
    }
    c->slot = is_newer(&c->blocks[1], &c->blocks[0]);
    c->pending = c->ahead = c->superseded = false;
    newest = &c->blocks[c->slot];
    before = &c->blocks[!c->slot];
    zone_table_enable_claims(t);
    if (newest->nr && !s->data_file) {
        c->unread = true;
        return 0;
    }
    if (!before->valid || before->sequence != newest->sequence - 1) {
        before = NULL;
    }
    for (int k = 0; k < newest->nr; k++) {
        ret = load_claim(bs, &newest->claims[k], before);
        if (ret < 0) {
            error_setg(errp, "Could not read what the claim of zone %" PRIu32
                       " is about: %s; qemu-img check may tell more",
                       newest->claims[k].zone, strerror(-ret));
            return ret;
        }
    }
    /* Whoever stores something first, now or later, stores these records */
    qcow2_zone_claims_supersede(bs);
    if (newest->nr) {
        if (has_data_file(bs)) {
            assume_written(s->data_file->bs);
        }
        assume_written(bs->file->bs);
        qcow2_zone_claims_note_write(bs, false);
    }
    return 0;
}

bool qcow2_zone_claims_any(const Qcow2ZoneClaims *c)
{
    return c->blocks && c->blocks[c->slot].nr;
}

uint64_t qcow2_zone_claims_end(const Qcow2ZoneClaims *c, uint32_t zone,
                               uint8_t epoch, uint64_t from)
{
    const ZoneClaim *claim = c->blocks ?
        find_claim(&c->blocks[c->slot], zone) : NULL;

    return claim && claim->epoch == epoch && claim->from == from ? claim->to
                                                                 : from;
}

/* --- Writing --- */

void qcow2_zone_claims_note_write(BlockDriverState *bs, bool by_flush)
{
    BDRVQcow2State *s = bs->opaque;
    Qcow2ZoneClaims *c = get_claims(bs);

    /* A node is flushed without those children that nobody may write to. */
    c->by_flush = by_flush && (!has_data_file(bs) ||
                               s->data_file->perm & BLK_PERM_WRITE);
    c->flushed_gen = bs->flushed_gen;
    qatomic_set_u64(&c->writes, c->writes + 1);
}

void qcow2_zone_claims_flushed(Qcow2ZoneClaims *c, uint64_t write)
{
    if (qatomic_read_u64(&c->writes) == write) {
        qatomic_set_u64(&c->durable, write);
    }
}

static bool is_settled(BlockDriverState *bs)
{
    const Qcow2ZoneClaims *c = get_claims(bs);

    /* Flushes of a node follow each other: the one that wrote this is over */
    return qatomic_read_u64(&c->durable) == c->writes ||
           (c->by_flush && bs->flushed_gen != c->flushed_gen);
}

int coroutine_mixed_fn qcow2_zone_claims_settle(BlockDriverState *bs)
{
    Qcow2ZoneClaims *c = get_claims(bs);
    int ret;

    if (is_settled(bs)) {
        return 0;
    }
    ret = qcow2_zones_flush_files(bs);
    if (ret == 0) {
        qatomic_set_u64(&c->durable, c->writes);
    }
    return ret;
}

/* The pending block, or if there is none, the one in force */
static Qcow2ZoneClaimBlock *newest_block(const Qcow2ZoneClaims *c)
{
    return &c->blocks[c->pending ? !c->slot : c->slot];
}

/*
 * Write the next block.  The one in force is durable, so this may be done any
 * number of times before the next is.
 */
static int coroutine_mixed_fn GRAPH_RDLOCK
put_block(BlockDriverState *bs, const ZoneClaim *claims, int n)
{
    Qcow2ZoneClaims *c = get_claims(bs);
    Qcow2ZoneClaimBlock *b = &c->blocks[!c->slot];
    /* Aligned, or it is a thread that writes it */
    QEMU_AUTO_VFREE DiskBlock *d = qemu_blockalign(bs->file->bs, sizeof(*d));
    uint64_t offset = c->offset + !c->slot * QCOW2_ZONE_CLAIMS_BLOCK;
    int ret = qcow2_pre_write_overlap_check(bs, QCOW2_OL_ZONE_TABLE, offset,
                                            sizeof(*d), false);

    /* Whatever comes of it, this is what may be on disk */
    c->pending = true;
    c->ahead = false;
    c->superseded = false;
    b->sequence = c->blocks[c->slot].sequence + 1;
    b->nr = n;
    if (n) {
        memcpy(b->claims, claims, n * sizeof(claims[0]));
    }
    encode_block(b, d);
    if (ret == 0) {
        ret = bdrv_pwrite(bs->file, offset, sizeof(*d), d, 0);
    }
    trace_qcow2_zoned_write_claims(bs, b->sequence, n, ret);
    return ret;
}

/* The next flush makes durable what the block stands for, and the block. */
static void put_in_force(BlockDriverState *bs, bool by_flush)
{
    Qcow2ZoneClaims *c = get_claims(bs);

    c->slot = !c->slot;
    c->pending = c->ahead = false;
    qcow2_zone_claims_note_write(bs, by_flush);
}

static int coroutine_mixed_fn GRAPH_RDLOCK
write_block(BlockDriverState *bs, const ZoneClaim *claims, int n, bool by_flush)
{
    int ret = qcow2_zone_claims_settle(bs);

    if (ret == 0) {
        ret = put_block(bs, claims, n);
    }
    if (ret == 0) {
        put_in_force(bs, by_flush);
    }
    return ret;
}

/* Are these the claims of the newest block, and are those not void? */
static bool is_same(const Qcow2ZoneClaims *c, const ZoneClaim *claims, int n)
{
    const Qcow2ZoneClaimBlock *newest = newest_block(c);
    bool same = !c->superseded && n == newest->nr;

    for (int k = 0; same && k < n; k++) {
        const ZoneClaim *a = &claims[k], *b = &newest->claims[k];

        same = a->zone == b->zone && a->epoch == b->epoch &&
               a->from == b->from && a->to == b->to &&
               zone_checksum_value(&a->sum) == zone_checksum_value(&b->sum);
    }
    return same;
}

int coroutine_mixed_fn qcow2_zone_claims_write(BlockDriverState *bs,
                                               bool by_flush)
{
    Qcow2ZoneClaims *c = get_claims(bs);
    g_autofree ZoneClaim *next = NULL;
    int n, ret;

    if (!c->offset) {
        return 0;
    }
    next = g_new(ZoneClaim, ZONE_CLAIMS_MAX);
    n = zone_table_get_claims(qcow2_zone_table(bs), next);
    if (n < 0) {
        return 0;
    }
    if (n == 0 && !c->pending) {
        return 1;
    }
    /* Claims are of what is mapped, which may be since the caller wrote caches. */
    ret = qcow2_zones_write_caches(bs);
    if (ret < 0) {
        return ret;
    }
    if (is_same(c, next, n)) {
        if (c->ahead) {
            put_in_force(bs, by_flush);
        }
        if (!c->pending) {
            return 1;
        }
    }
    ret = write_block(bs, next, n, by_flush);
    return ret < 0 ? ret : 1;
}

/* --- Writing ahead --- */

typedef struct Ahead {
    BlockDriverState *bs;
    uint64_t stores_begun;
    int nr;
    ZoneClaim claims[ZONE_CLAIMS_MAX];
} Ahead;

static void coroutine_fn GRAPH_RDLOCK write_ahead(const Ahead *ahead)
{
    BlockDriverState *bs = ahead->bs;
    BDRVQcow2State *s = bs->opaque;
    Qcow2Zoned *z = s->zoned;

    qemu_co_mutex_lock(&z->store_lock);
    /* If it had to wait, it comes too late */
    if (z->stores_begun == ahead->stores_begun && is_settled(bs)) {
        z->claims.ahead = put_block(bs, ahead->claims, ahead->nr) == 0;
    }
    qemu_co_mutex_unlock(&z->store_lock);
}

static void coroutine_fn write_ahead_entry(void *opaque)
{
    g_autofree Ahead *ahead = opaque;

    WITH_GRAPH_RDLOCK_GUARD() {
        write_ahead(ahead);
    }
    bdrv_dec_in_flight(ahead->bs);
}

void coroutine_fn qcow2_zone_claims_write_ahead(BlockDriverState *bs,
                                                const ZoneWrite *w)
{
    BDRVQcow2State *s = bs->opaque;
    Ahead *ahead = g_new(Ahead, 1);

    ahead->bs = bs;
    ahead->stores_begun = qatomic_read_u64(&s->zoned->stores_begun);
    ahead->nr = zone_table_get_claims_with(qcow2_zone_table(bs),
                                           ahead->claims, w);
    if (ahead->nr < 0) {
        g_free(ahead);
        return;
    }
    bdrv_inc_in_flight(bs);
    /* Begins when the caller has submitted its write, and waits for it */
    aio_co_enter(qemu_get_current_aio_context(),
                 qemu_coroutine_create(write_ahead_entry, ahead));
}

bool qcow2_zone_claims_unsure(const Qcow2ZoneClaims *c)
{
    return c->pending;
}

/* --- Before and after records --- */

void qcow2_zone_claims_supersede(BlockDriverState *bs)
{
    Qcow2ZoneClaims *c = get_claims(bs);
    const Qcow2ZoneClaimBlock *newest;

    if (!c->blocks || c->superseded) {
        return;
    }
    newest = newest_block(c);
    for (int i = 0; i < newest->nr; i++) {
        uint32_t zone = newest->claims[i].zone, taken = 0;

        for (int k = 0; k < 2; k++) {
            const ZoneClaim *claim = find_claim(&c->blocks[k], zone);

            taken |= claim ? 1 << claim->epoch : 0;
        }
        zone_table_next_epoch(qcow2_zone_table(bs), zone, taken);
    }
    c->superseded = true;
}

int coroutine_mixed_fn qcow2_zone_claims_retire(BlockDriverState *bs)
{
    Qcow2ZoneClaims *c = get_claims(bs);
    int ret;

    if (!c->blocks || (newest_block(c)->nr == 0 && !c->pending)) {
        return 0;               /* none, or not looked at */
    }
    ret = write_block(bs, NULL, 0, false);
    return ret < 0 ? ret : qcow2_zone_claims_settle(bs);
}
