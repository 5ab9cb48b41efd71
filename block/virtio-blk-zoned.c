/*
 * Zone requests of virtio-blk: one engine for the device model and exports
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/iov.h"
#include "qapi/error.h"
#include "block/block_int-common.h"
#include "block/block-zoned.h"
#include "block/virtio-blk-zoned.h"
#include "block/zoned-range.h"
#include "trace.h"

/* Descriptors that are copied to the guest at a time */
#define REPORT_BATCH 64
/* The driver is told the number of sectors in 32 bits. */
#define MAX_ZONE_SIZE (BDRV_SECTOR_SIZE * UINT32_MAX)

/* --- What the driver is told --- */

/* The size of the disk in bytes, or a negative errno */
static int64_t disk_size(BlockBackend *blk)
{
    int64_t sectors = blk_nb_sectors(blk);

    return sectors < 0 ? sectors : sectors * BDRV_SECTOR_SIZE;
}

static const BlockZoneLimits *zoned_limits(BlockBackend *blk)
{
    BlockDriverState *bs = blk_bs(blk);
    const BlockZoneLimits *zl = bs ? &bs->bl.zones : NULL;

    return zl && zl->model != BLK_Z_NONE && zl->size ? zl : NULL;
}

static uint32_t backend_granularity(const BlockZoneLimits *zl)
{
    return MAX(zl->write_granularity, BDRV_SECTOR_SIZE);
}

uint32_t virtio_blk_zoned_block_size(BlockBackend *blk)
{
    const BlockZoneLimits *zl = zoned_limits(blk);

    return zl ? backend_granularity(zl) : 0;
}

/* The zones of @blk for a driver that writes in units of @block_size */
static VirtIOBlkZoned current_zones(BlockBackend *blk, uint32_t block_size)
{
    const BlockZoneLimits *zl = zoned_limits(blk);

    if (!zl) {
        return (VirtIOBlkZoned) { .model = BLK_Z_NONE };
    }
    return (VirtIOBlkZoned) {
        .model = zl->model,
        .zone_size = zl->size,
        .granularity = block_size,
        .max_open_zones = zl->max_open,
        .max_active_zones = zl->max_active,
        .max_append_sectors = QEMU_ALIGN_DOWN(zl->max_append, block_size) >>
                              BDRV_SECTOR_BITS,
    };
}

bool virtio_blk_zoned_init(VirtIOBlkZoned *z, BlockBackend *blk,
                           uint32_t block_size, Error **errp)
{
    const BlockZoneLimits *zl = zoned_limits(blk);
    int64_t size = disk_size(blk);

    *z = current_zones(blk, block_size ?: BDRV_SECTOR_SIZE);
    if (!zl) {
        return true;
    }
    if (!block_size || block_size % backend_granularity(zl)) {
        error_setg(errp, "logical_block_size (%" PRIu32 ") must be a multiple "
                   "of the write granularity of the zoned disk (%" PRIu32 ")",
                   block_size, backend_granularity(zl));
        return false;
    }
    if (z->zone_size % block_size || zl->capacity % block_size) {
        error_setg(errp, "logical_block_size (%" PRIu32 ") must divide the "
                   "zone size (%" PRIu64 ") and the zone capacity (%" PRIu64
                   ") of the zoned disk", block_size, z->zone_size,
                   zl->capacity ?: z->zone_size);
        return false;
    }
    if (z->zone_size > MAX_ZONE_SIZE) {
        error_setg(errp, "The zone size (%" PRIu64 ") of the zoned disk is too "
                   "large for virtio-blk, the largest is %" PRIu64,
                   z->zone_size, (uint64_t)MAX_ZONE_SIZE);
        return false;
    }
    if (size > 0 && size % block_size) {
        error_setg(errp, "logical_block_size (%" PRIu32 ") must divide the "
                   "size of the zoned disk (%" PRId64 "), or its last zone "
                   "cannot be written to the end", block_size, size);
        return false;
    }
    if (zl->max_append && !z->max_append_sectors) {
        error_setg(errp, "logical_block_size (%" PRIu32 ") must not exceed "
                   "the largest append of the zoned disk (%" PRIu64 ")",
                   block_size, zl->max_append);
        return false;
    }
    return true;
}

/*
 * Are the zones of the disk still the ones the driver was told?  If not,
 * nothing may be written, and no zone be managed.
 */
static bool zones_unchanged(const VirtIOBlkZoned *z, BlockBackend *blk)
{
    VirtIOBlkZoned now = current_zones(blk, z->granularity ?: BDRV_SECTOR_SIZE);

    if (z->model == BLK_Z_NONE) {
        return now.model != BLK_Z_HM;
    }
    return now.model == z->model && now.zone_size == z->zone_size &&
           now.max_open_zones == z->max_open_zones &&
           now.max_active_zones == z->max_active_zones &&
           now.max_append_sectors == z->max_append_sectors &&
           z->granularity % backend_granularity(zoned_limits(blk)) == 0;
}

struct virtio_blk_zoned_characteristics
virtio_blk_zoned_config(const VirtIOBlkZoned *z)
{
    static const uint8_t models[] = {
        [BLK_Z_NONE] = VIRTIO_BLK_Z_NONE,
        [BLK_Z_HM] = VIRTIO_BLK_Z_HM,
        [BLK_Z_HA] = VIRTIO_BLK_Z_HA,
    };

    return (struct virtio_blk_zoned_characteristics) {
        .zone_sectors = cpu_to_le32(z->zone_size / BDRV_SECTOR_SIZE),
        .max_open_zones = cpu_to_le32(z->max_open_zones),
        .max_active_zones = cpu_to_le32(z->max_active_zones),
        .max_append_sectors = cpu_to_le32(z->max_append_sectors),
        .write_granularity = cpu_to_le32(z->granularity),
        .model = models[z->model],
    };
}

uint64_t virtio_blk_zoned_features(const VirtIOBlkZoned *z, uint64_t features)
{
    if (z->model != BLK_Z_NONE) {
        features |= 1ull << VIRTIO_BLK_F_ZONED;
    }
    if (z->model == BLK_Z_HM) {
        features &= ~(1ull << VIRTIO_BLK_F_DISCARD);
    }
    return features;
}

bool virtio_blk_zoned_features_ok(const VirtIOBlkZoned *z, uint64_t features)
{
    /* A host-managed disk cannot be used as a plain one. */
    return z->model != BLK_Z_HM || features >> VIRTIO_BLK_F_ZONED & 1;
}

/* --- Types, positions and ranges --- */

#define BIT_OF(type) (1u << VIRTIO_BLK_T_##type)

static const uint32_t plain_types =
    BIT_OF(IN) | BIT_OF(OUT) | BIT_OF(FLUSH) | BIT_OF(GET_ID) |
    BIT_OF(DISCARD) | BIT_OF(WRITE_ZEROES);

static const uint32_t zone_types =
    BIT_OF(ZONE_APPEND) | BIT_OF(ZONE_REPORT) | BIT_OF(ZONE_OPEN) |
    BIT_OF(ZONE_CLOSE) | BIT_OF(ZONE_FINISH) | BIT_OF(ZONE_RESET) |
    BIT_OF(ZONE_RESET_ALL);

#undef BIT_OF

bool virtio_blk_zoned_type_acceptable(uint32_t type, bool zoned)
{
    uint32_t base = type & ~(VIRTIO_BLK_T_OUT | VIRTIO_BLK_T_BARRIER);

    if (type < 32 && (plain_types | zone_types) >> type & 1) {
        return true;
    }
    /* Legacy flags are for disks without zones, and make no zone request */
    return !zoned && (base < VIRTIO_BLK_T_SECURE_ERASE ||
                      base > VIRTIO_BLK_T_ZONE_RESET_ALL);
}

static bool is_zone_request(const VirtIOBlkZonedReq *r)
{
    return r->type < 32 && zone_types >> r->type & 1;
}

/* The type of a request that is no zone request */
static uint32_t plain_type(const VirtIOBlkZonedReq *r)
{
    return r->type & ~VIRTIO_BLK_T_BARRIER;
}

static bool has_feature(const VirtIOBlkZonedReq *r, unsigned feature)
{
    return r->features >> feature & 1;
}

static bool knows_zones(const VirtIOBlkZonedReq *r)
{
    return r->zoned->model != BLK_Z_NONE && has_feature(r, VIRTIO_BLK_F_ZONED);
}

int64_t virtio_blk_zoned_offset(uint64_t sector)
{
    return sector > INT64_MAX >> BDRV_SECTOR_BITS
           ? -1 : (int64_t)sector << BDRV_SECTOR_BITS;
}

typedef struct Range {
    int64_t offset;             /* -1: beyond any disk */
    uint64_t bytes;
} Range;

/* What a read, write, discard or write zeroes names, nothing if that is bad */
static Range get_range(const VirtIOBlkZonedReq *r)
{
    struct virtio_blk_discard_write_zeroes segment;
    uint64_t sector = r->sector, bytes = 0;

    switch (plain_type(r)) {
    case VIRTIO_BLK_T_IN:
        bytes = iov_size(r->in_iov, r->in_num);
        break;
    case VIRTIO_BLK_T_OUT:
        bytes = iov_size(r->out_iov, r->out_num);
        break;
    default:
        if (iov_size(r->out_iov, r->out_num) == sizeof(segment)) {
            iov_to_buf(r->out_iov, r->out_num, 0, &segment, sizeof(segment));
            sector = le64_to_cpu(segment.sector);
            bytes = (uint64_t)le32_to_cpu(segment.num_sectors) *
                    BDRV_SECTOR_SIZE;
        }
        break;
    }
    return (Range) { virtio_blk_zoned_offset(sector), bytes };
}

static bool in_disk(const VirtIOBlkZonedReq *r, Range range)
{
    int64_t size = disk_size(r->blk);

    return range.offset >= 0 && range.offset < size &&
           range.bytes <= size - range.offset;
}

static bool in_blocks(const VirtIOBlkZonedReq *r, Range range)
{
    return (range.offset | range.bytes) % r->zoned->granularity == 0;
}

/* Is a range in more than one zone? */
static bool spans_zones(const VirtIOBlkZonedReq *r, Range range)
{
    uint64_t zone_size = r->zoned->zone_size;

    return range.offset >= 0 && range.bytes &&
           range.offset / zone_size !=
           (range.offset + range.bytes - 1) / zone_size;
}

bool virtio_blk_zoned_may_merge(const VirtIOBlkZoned *z, uint64_t sector,
                                bool is_write)
{
    return z->model == BLK_Z_NONE ||
           (!is_write && sector % (z->zone_size / BDRV_SECTOR_SIZE));
}

/* --- Results --- */

uint8_t virtio_blk_zoned_status(int ret)
{
    switch (ret) {
    case 0:
        return VIRTIO_BLK_S_OK;
    case -ESPIPE:
        return VIRTIO_BLK_S_ZONE_UNALIGNED_WP;
    case -ETOOMANYREFS:
        return VIRTIO_BLK_S_ZONE_OPEN_RESOURCE;
    case -EOVERFLOW:
        return VIRTIO_BLK_S_ZONE_ACTIVE_RESOURCE;
    case -ERANGE:
    case -EFBIG:
    case -EROFS:
    case -ENODEV:
    case -EINVAL:
        return VIRTIO_BLK_S_ZONE_INVALID_CMD;
    case -ENOTSUP:
        return VIRTIO_BLK_S_UNSUPP;
    default:
        return VIRTIO_BLK_S_IOERR;
    }
}

uint8_t virtio_blk_zoned_rw_status(BlockBackend *blk, uint64_t features,
                                   int ret)
{
    if (!(features >> VIRTIO_BLK_F_ZONED & 1) || !bdrv_is_zone_error(ret)) {
        return VIRTIO_BLK_S_IOERR;
    }
    trace_virtio_blk_zoned_rule_broken(blk, ret);
    return virtio_blk_zoned_status(ret);
}

void virtio_blk_zoned_clear_answer(const VirtIOBlkZoned *z,
                                   const struct iovec *in_iov,
                                   unsigned int in_num, size_t bytes)
{
    if (z->model != BLK_Z_NONE) {
        iov_memset(in_iov, in_num, 0, 0, bytes);
    }
}

/* The request fails, and the disk has not been asked. */
static void reject(VirtIOBlkZonedReq *r, uint8_t status)
{
    trace_virtio_blk_zoned_refused(r->blk, r->type, r->sector, status);
    r->status = status;
}

/* The request ends with @status, for which the block layer's @ret stands. */
static void finish(VirtIOBlkZonedReq *r, uint8_t status, int ret)
{
    r->status = status;
    r->tried = true;
    r->error = status == VIRTIO_BLK_S_IOERR ? -ret : 0;
}

/* The host failed to tell what the zones are like. */
static void fail(VirtIOBlkZonedReq *r, int ret)
{
    finish(r, VIRTIO_BLK_S_IOERR, ret);
}

/* --- Reads and writes that zones have a say in --- */

static int coroutine_fn is_sequential(const BlockZoneDescriptor *zone,
                                      void *opaque)
{
    return zone->type == BLK_ZT_SWR;
}

/*
 * Must one of the zones that @range is in be written sequentially?
 * Returns 1 if so, 0 if not, or a negative errno.
 */
static int coroutine_fn find_sequential(const VirtIOBlkZonedReq *r,
                                        Range range)
{
    return blk_co_for_each_zone(r->blk, range.offset, range.bytes,
                                BDRV_REQ_NO_QUEUE, is_sequential, NULL);
}

/* Reads of conventional zones can go on from one to the next. */
static void coroutine_fn read_zones(VirtIOBlkZonedReq *r)
{
    Range range = get_range(r);
    QEMUIOVector qiov;
    int ret;

    if (!in_disk(r, range) || !in_blocks(r, range)) {
        reject(r, VIRTIO_BLK_S_IOERR);
        return;
    }
    ret = find_sequential(r, range);
    if (ret > 0) {
        finish(r, virtio_blk_zoned_status(-ERANGE), 0);
        return;
    }
    if (ret < 0) {
        fail(r, ret);
        return;
    }
    qemu_iovec_init_external(&qiov, (struct iovec *)r->in_iov, r->in_num);
    ret = blk_co_preadv(r->blk, range.offset, range.bytes, &qiov,
                        BDRV_REQ_NO_QUEUE);
    finish(r, ret < 0 ? virtio_blk_zoned_rw_status(r->blk, r->features, ret)
                      : VIRTIO_BLK_S_OK, ret);
}

/* A driver that does not know the zones of a host-managed disk can read only */
static bool may_write(const VirtIOBlkZonedReq *r)
{
    return zones_unchanged(r->zoned, r->blk) &&
           virtio_blk_zoned_features_ok(r->zoned, r->features);
}

/* Discard and write zeroes need their feature, on disks with zones. */
static bool is_offered(const VirtIOBlkZonedReq *r)
{
    return r->zoned->model == BLK_Z_NONE ||
           plain_type(r) == VIRTIO_BLK_T_OUT ||
           has_feature(r, plain_type(r) == VIRTIO_BLK_T_DISCARD
                          ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES);
}

/* A write within the disk that is not in blocks, or of parts of them */
static bool is_misaligned(const VirtIOBlkZonedReq *r)
{
    Range range = get_range(r);

    return in_disk(r, range) && !in_blocks(r, range);
}

static bool may_be_written(const VirtIOBlkZonedReq *r)
{
    return is_offered(r) && may_write(r) &&
           !(knows_zones(r) && is_misaligned(r));
}

/* The status of a write for which may_be_written() is false */
static void coroutine_fn reject_write(VirtIOBlkZonedReq *r)
{
    int ret;

    if (!is_offered(r)) {
        reject(r, VIRTIO_BLK_S_UNSUPP);
        return;
    }
    if (!may_write(r) || !blk_is_writable(r->blk)) {
        reject(r, VIRTIO_BLK_S_IOERR);
        return;
    }
    ret = find_sequential(r, get_range(r));
    if (ret < 0) {
        fail(r, ret);
        return;
    }
    reject(r, ret ? VIRTIO_BLK_S_ZONE_UNALIGNED_WP : VIRTIO_BLK_S_IOERR);
}

/* --- Zone requests --- */

static struct virtio_blk_zone_descriptor
zone_descriptor(const BlockZoneDescriptor *zone)
{
    QEMU_BUILD_BUG_ON((int)BLK_ZT_CONV != VIRTIO_BLK_ZT_CONV ||
                      (int)BLK_ZT_SWR != VIRTIO_BLK_ZT_SWR ||
                      (int)BLK_ZT_SWP != VIRTIO_BLK_ZT_SWP);
    QEMU_BUILD_BUG_ON((int)BLK_ZS_NOT_WP != VIRTIO_BLK_ZS_NOT_WP ||
                      (int)BLK_ZS_EMPTY != VIRTIO_BLK_ZS_EMPTY ||
                      (int)BLK_ZS_IOPEN != VIRTIO_BLK_ZS_IOPEN ||
                      (int)BLK_ZS_EOPEN != VIRTIO_BLK_ZS_EOPEN ||
                      (int)BLK_ZS_CLOSED != VIRTIO_BLK_ZS_CLOSED ||
                      (int)BLK_ZS_RDONLY != VIRTIO_BLK_ZS_RDONLY ||
                      (int)BLK_ZS_FULL != VIRTIO_BLK_ZS_FULL ||
                      (int)BLK_ZS_OFFLINE != VIRTIO_BLK_ZS_OFFLINE);

    return (struct virtio_blk_zone_descriptor) {
        .z_cap = cpu_to_le64(zone->cap >> BDRV_SECTOR_BITS),
        .z_start = cpu_to_le64(zone->start >> BDRV_SECTOR_BITS),
        .z_wp = cpu_to_le64(zone->wp >> BDRV_SECTOR_BITS),
        .z_type = zone->type,
        .z_state = zone->state,
    };
}

/* A report on its way to the guest, in batches of descriptors */
typedef struct Report {
    const VirtIOBlkZonedReq *r;
    uint64_t done, max;         /* zones in the guest's buffer */
    unsigned int n;             /* zones in the batch */
    struct virtio_blk_zone_descriptor batch[REPORT_BATCH];
} Report;

static void put_batch(Report *report)
{
    size_t size = sizeof(report->batch[0]);

    iov_from_buf(report->r->in_iov, report->r->in_num,
                 sizeof(struct virtio_blk_zone_report) + report->done * size,
                 report->batch, report->n * size);
    report->done += report->n;
    report->n = 0;
}

static int coroutine_fn put_zone(const BlockZoneDescriptor *zone, void *opaque)
{
    Report *report = opaque;

    if (report->done + report->n == report->max) {
        return 1;
    }
    report->batch[report->n++] = zone_descriptor(zone);
    if (report->n == REPORT_BATCH) {
        put_batch(report);
    }
    return 0;
}

static void coroutine_fn report_zones(VirtIOBlkZonedReq *r, int64_t offset,
                                      int64_t size)
{
    Report report = { .r = r };
    struct virtio_blk_zone_report header = {};
    size_t room = iov_size(r->in_iov, r->in_num);
    int ret;

    if (room < sizeof(header)) {
        reject(r, VIRTIO_BLK_S_ZONE_INVALID_CMD);
        return;
    }
    report.max = (room - sizeof(header)) / sizeof(report.batch[0]);
    ret = blk_co_for_each_zone(r->blk, offset, size - offset,
                               BDRV_REQ_NO_QUEUE, put_zone, &report);
    if (ret < 0) {
        fail(r, ret);
        return;
    }
    put_batch(&report);
    header.nr_zones = cpu_to_le64(report.done);
    iov_from_buf(r->in_iov, r->in_num, 0, &header, sizeof(header));
    finish(r, VIRTIO_BLK_S_OK, 0);
}

uint8_t virtio_blk_zoned_check_append(const VirtIOBlkZoned *z, int64_t offset,
                                      uint64_t bytes, size_t in_bytes)
{
    if (in_bytes < sizeof(uint64_t)) {
        return VIRTIO_BLK_S_ZONE_INVALID_CMD;
    }
    if (bytes && !z->max_append_sectors) {
        return VIRTIO_BLK_S_UNSUPP;
    }
    if (offset % z->zone_size ||
        bytes > (uint64_t)z->max_append_sectors * BDRV_SECTOR_SIZE) {
        return VIRTIO_BLK_S_ZONE_INVALID_CMD;
    }
    return bytes % z->granularity ? VIRTIO_BLK_S_ZONE_UNALIGNED_WP
                                  : VIRTIO_BLK_S_OK;
}

static void coroutine_fn append(VirtIOBlkZonedReq *r, int64_t offset)
{
    QEMUIOVector qiov;
    uint64_t sector;
    uint8_t status;
    int ret;

    qemu_iovec_init_external(&qiov, (struct iovec *)r->out_iov, r->out_num);
    status = virtio_blk_zoned_check_append(r->zoned, offset, qiov.size,
                                           iov_size(r->in_iov, r->in_num));
    if (status != VIRTIO_BLK_S_OK) {
        reject(r, status);
        return;
    }
    ret = blk_co_zone_append(r->blk, &offset, &qiov, BDRV_REQ_NO_QUEUE);
    if (ret == 0) {
        sector = cpu_to_le64(offset >> BDRV_SECTOR_BITS);
        /* First, not right before the status: Linux leaves room between */
        iov_from_buf(r->in_iov, r->in_num, 0, &sector, sizeof(sector));
    }
    finish(r, virtio_blk_zoned_status(ret), ret);
}

static BlockZoneOp zone_op(uint32_t type)
{
    switch (type) {
    case VIRTIO_BLK_T_ZONE_OPEN:
        return BLK_ZO_OPEN;
    case VIRTIO_BLK_T_ZONE_CLOSE:
        return BLK_ZO_CLOSE;
    case VIRTIO_BLK_T_ZONE_FINISH:
        return BLK_ZO_FINISH;
    default:
        return BLK_ZO_RESET;
    }
}

static void coroutine_fn manage(VirtIOBlkZonedReq *r, int64_t offset,
                                int64_t size)
{
    bool all = r->type == VIRTIO_BLK_T_ZONE_RESET_ALL;
    int ret = blk_co_zone_mgmt(r->blk, zone_op(r->type),
                               BDRV_ZONE_NO_QUEUE | (all ? BDRV_ZONE_ALL : 0),
                               offset,
                               all ? size : MIN(r->zoned->zone_size,
                                                size - offset), NULL);

    finish(r, virtio_blk_zoned_status(ret), ret);
}

/*
 * Checks in the order that the standard suggests: the feature, a disk that
 * cannot be written, the position; then those of the request.
 */
static void coroutine_fn zone_request(VirtIOBlkZonedReq *r)
{
    int64_t offset = r->type == VIRTIO_BLK_T_ZONE_RESET_ALL
                     ? 0 : virtio_blk_zoned_offset(r->sector);
    int64_t size;

    if (!knows_zones(r)) {
        reject(r, VIRTIO_BLK_S_UNSUPP);
        return;
    }
    if (!zones_unchanged(r->zoned, r->blk) ||
        (r->type != VIRTIO_BLK_T_ZONE_REPORT && !blk_is_writable(r->blk))) {
        reject(r, VIRTIO_BLK_S_IOERR);
        return;
    }
    size = disk_size(r->blk);
    if (size < 0) {
        fail(r, size);
        return;
    }
    if (offset < 0 || offset >= size) {
        reject(r, VIRTIO_BLK_S_ZONE_INVALID_CMD);
        return;
    }
    switch (r->type) {
    case VIRTIO_BLK_T_ZONE_REPORT:
        report_zones(r, offset, size);
        break;
    case VIRTIO_BLK_T_ZONE_APPEND:
        append(r, offset);
        break;
    default:
        manage(r, offset, size);
        break;
    }
}

/* --- All of them --- */

bool virtio_blk_zoned_handles(const VirtIOBlkZonedReq *r)
{
    if (r->zoned->needs_reset || is_zone_request(r) ||
        !virtio_blk_zoned_type_acceptable(r->type, knows_zones(r))) {
        return true;
    }
    switch (plain_type(r)) {
    case VIRTIO_BLK_T_IN:
        return knows_zones(r) && spans_zones(r, get_range(r));
    case VIRTIO_BLK_T_OUT:
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return !may_be_written(r);
    default:
        return false;
    }
}

void coroutine_fn virtio_blk_zoned_co_request(VirtIOBlkZonedReq *r)
{
    r->tried = false;
    r->error = 0;
    if (r->zoned->needs_reset) {
        reject(r, VIRTIO_BLK_S_IOERR);
    } else if (is_zone_request(r)) {
        zone_request(r);
    } else if (!virtio_blk_zoned_type_acceptable(r->type, knows_zones(r))) {
        reject(r, VIRTIO_BLK_S_UNSUPP);
    } else if (plain_type(r) == VIRTIO_BLK_T_IN) {
        read_zones(r);
    } else {
        reject_write(r);
    }
    trace_virtio_blk_zoned_request(r->blk, r->type, r->sector, r->status,
                                   r->error);
}
