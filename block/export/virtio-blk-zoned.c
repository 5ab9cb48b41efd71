/*
 * virtio-blk zoned devices: what the device model and exports share
 *
 * Knows the virtio standard and the block layer's zone API, and keeps no zone
 * state of its own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "block/block_int-common.h"
#include "block/block-zoned.h"
#include "hw/virtio/virtio-blk-zoned.h"

/* --- What the driver knows --- */

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

    *z = current_zones(blk, block_size);
    if (!zl) {
        return true;
    }
    if (block_size % backend_granularity(zl)) {
        error_setg(errp, "logical_block_size (%" PRIu32 ") must be a multiple "
                   "of the write granularity of the zoned disk (%" PRIu32 ")",
                   block_size, backend_granularity(zl));
        return false;
    }
    if (z->zone_size % block_size || zl->capacity % block_size) {
        error_setg(errp, "logical_block_size (%" PRIu32 ") must divide the "
                   "zone size (%" PRIu32 ") and the zone capacity (%" PRIu64
                   ") of the zoned disk", block_size, z->zone_size,
                   zl->capacity ?: z->zone_size);
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

bool virtio_blk_zoned_unchanged(const VirtIOBlkZoned *z, BlockBackend *blk)
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

/* --- Requests --- */

#define BIT_OF(type) (1u << VIRTIO_BLK_T_##type)

static const uint32_t plain_types =
    BIT_OF(IN) | BIT_OF(OUT) | BIT_OF(FLUSH) | BIT_OF(GET_ID) |
    BIT_OF(DISCARD) | BIT_OF(WRITE_ZEROES);

static const uint32_t zone_types =
    BIT_OF(ZONE_APPEND) | BIT_OF(ZONE_REPORT) | BIT_OF(ZONE_OPEN) |
    BIT_OF(ZONE_CLOSE) | BIT_OF(ZONE_FINISH) | BIT_OF(ZONE_RESET) |
    BIT_OF(ZONE_RESET_ALL);

#undef BIT_OF

bool virtio_blk_zoned_is_type(uint32_t type, bool zoned)
{
    uint32_t base = type & ~(VIRTIO_BLK_T_OUT | VIRTIO_BLK_T_BARRIER);

    if (type < 32 && (plain_types | zone_types) >> type & 1) {
        return true;
    }
    /* Legacy flags are for disks without zones, and make no zone request */
    return !zoned && (base < VIRTIO_BLK_T_SECURE_ERASE ||
                      base > VIRTIO_BLK_T_ZONE_RESET_ALL);
}

int64_t virtio_blk_zoned_offset(uint64_t sector)
{
    return sector > INT64_MAX >> BDRV_SECTOR_BITS
           ? -1 : (int64_t)sector << BDRV_SECTOR_BITS;
}

static int64_t disk_size(BlockBackend *blk)
{
    uint64_t sectors;

    blk_get_geometry(blk, &sectors);
    return sectors * BDRV_SECTOR_SIZE;
}

uint64_t virtio_blk_zoned_length(const VirtIOBlkZoned *z, BlockBackend *blk,
                                 int64_t offset)
{
    int64_t size = disk_size(blk);

    return offset < 0 || offset >= size ? 0 : MIN(z->zone_size, size - offset);
}

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

uint8_t virtio_blk_zoned_check(const VirtIOBlkZoned *z, BlockBackend *blk,
                               int64_t offset, bool is_write)
{
    if (z->model == BLK_Z_NONE) {
        return VIRTIO_BLK_S_UNSUPP;
    }
    if (!virtio_blk_zoned_unchanged(z, blk) ||
        (is_write && !blk_is_writable(blk))) {
        return VIRTIO_BLK_S_IOERR;
    }
    return virtio_blk_zoned_length(z, blk, offset)
           ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_ZONE_INVALID_CMD;
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

bool virtio_blk_zoned_may_merge(const VirtIOBlkZoned *z, uint64_t sector,
                                bool is_write)
{
    return z->model == BLK_Z_NONE ||
           (!is_write && sector % (z->zone_size / BDRV_SECTOR_SIZE));
}

bool virtio_blk_zoned_spans(const VirtIOBlkZoned *z, uint64_t offset,
                            uint64_t bytes)
{
    return z->model != BLK_Z_NONE && bytes &&
           offset / z->zone_size != (offset + bytes - 1) / z->zone_size;
}

bool virtio_blk_zoned_misaligned(const VirtIOBlkZoned *z, BlockBackend *blk,
                                 uint64_t sector, uint64_t bytes)
{
    int64_t offset = virtio_blk_zoned_offset(sector);
    int64_t size = disk_size(blk);

    return z->model != BLK_Z_NONE && (offset | bytes) % z->granularity &&
           offset >= 0 && offset < size && bytes <= size - offset;
}

/* --- Zones --- */

struct virtio_blk_zone_descriptor
virtio_blk_zoned_descriptor(const BlockZoneDescriptor *zone)
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

int coroutine_fn virtio_blk_zoned_co_find_sequential(BlockBackend *blk,
                                                     int64_t offset,
                                                     uint64_t bytes)
{
    int64_t end = offset + bytes;

    while (offset < end) {
        BlockZoneDescriptor zones[64];
        unsigned int n = ARRAY_SIZE(zones);
        int ret = blk_co_zone_report(blk, offset, &n, zones);

        if (ret < 0 || n == 0) {
            return ret;
        }
        for (unsigned int i = 0; i < n && offset < end; i++) {
            if (zones[i].type == BLK_ZT_SWR) {
                return 1;
            }
            offset = zones[i].start + zones[i].length;
        }
    }
    return 0;
}

typedef struct FindSequential {
    BlockBackend *blk;
    int64_t offset;
    uint64_t bytes;
    BlockCompletionFunc *cb;
    void *opaque;
} FindSequential;

static void coroutine_fn find_sequential_entry(void *opaque)
{
    g_autofree FindSequential *f = opaque;

    f->cb(f->opaque, virtio_blk_zoned_co_find_sequential(f->blk, f->offset,
                                                         f->bytes));
}

void virtio_blk_zoned_find_sequential(BlockBackend *blk, int64_t offset,
                                      uint64_t bytes, BlockCompletionFunc *cb,
                                      void *opaque)
{
    FindSequential *f = g_new(FindSequential, 1);

    *f = (FindSequential) { blk, offset, bytes, cb, opaque };
    aio_co_enter(qemu_get_current_aio_context(),
                 qemu_coroutine_create(find_sequential_entry, f));
}
