/*
 * Zones of virtio-blk exports
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/iov.h"
#include "block/block-zoned.h"
#include "virtio-blk-zoned-handler.h"
#include "trace/trace-block.h"

/* Zones that the block layer is asked for at a time */
#define REPORT_BATCH 64

static uint8_t coroutine_fn
report(const VirtioBlkHandler *h, int64_t offset, const struct iovec *in_iov,
       unsigned int in_num)
{
    BlockZoneDescriptor zones[REPORT_BATCH];
    struct virtio_blk_zone_descriptor descs[REPORT_BATCH];
    struct virtio_blk_zone_report header = {};
    size_t room = iov_size(in_iov, in_num);
    uint64_t done = 0, max;

    if (room < sizeof(header)) {
        return VIRTIO_BLK_S_ZONE_INVALID_CMD;
    }
    max = (room - sizeof(header)) / sizeof(descs[0]);
    while (done < max) {
        unsigned int n = MIN(max - done, REPORT_BATCH);
        int ret = blk_co_zone_report(h->blk, offset, &n, zones);

        if (ret < 0) {
            return virtio_blk_zoned_status(ret);
        }
        if (n == 0) {
            break;
        }
        for (unsigned int i = 0; i < n; i++) {
            descs[i] = virtio_blk_zoned_descriptor(&zones[i]);
        }
        iov_from_buf(in_iov, in_num, sizeof(header) + done * sizeof(descs[0]),
                     descs, n * sizeof(descs[0]));
        offset = zones[n - 1].start + zones[n - 1].length;
        done += n;
    }
    header.nr_zones = cpu_to_le64(done);
    iov_from_buf(in_iov, in_num, 0, &header, sizeof(header));
    return VIRTIO_BLK_S_OK;
}

static uint8_t coroutine_fn
append(const VirtioBlkHandler *h, int64_t offset, const struct iovec *in_iov,
       unsigned int in_num, struct iovec *out_iov, unsigned int out_num)
{
    size_t room = iov_size(in_iov, in_num);
    uint64_t sector;
    QEMUIOVector qiov;
    uint8_t status;
    int ret;

    qemu_iovec_init_external(&qiov, out_iov, out_num);
    status = virtio_blk_zoned_check_append(&h->zoned, offset, qiov.size, room);
    if (status != VIRTIO_BLK_S_OK) {
        return status;
    }
    ret = blk_co_zone_append(h->blk, &offset, &qiov, 0);
    if (ret == 0) {
        sector = cpu_to_le64(offset >> BDRV_SECTOR_BITS);
        /* First, not right before the status: Linux leaves room between */
        iov_from_buf(in_iov, in_num, 0, &sector, sizeof(sector));
    }
    return virtio_blk_zoned_status(ret);
}

void virtio_blk_zoned_clear_answer(const VirtioBlkHandler *h,
                                   const struct iovec *in_iov,
                                   unsigned int in_num)
{
    if (h->zoned.model != BLK_Z_NONE) {
        iov_memset(in_iov, in_num, 0, 0, -1);
    }
}

static uint8_t coroutine_fn
process(const VirtioBlkHandler *h, uint32_t type, uint64_t sector,
        const struct iovec *in_iov, unsigned int in_num,
        struct iovec *out_iov, unsigned int out_num)
{
    bool all = type == VIRTIO_BLK_T_ZONE_RESET_ALL;
    int64_t offset = all ? 0 : virtio_blk_zoned_offset(sector);
    int64_t bytes;
    BlockZoneOp op;
    uint8_t status;

    if (!h->zones_known) {
        return VIRTIO_BLK_S_UNSUPP;
    }
    status = virtio_blk_zoned_check(&h->zoned, h->blk, offset,
                                    type != VIRTIO_BLK_T_ZONE_REPORT);
    if (status != VIRTIO_BLK_S_OK) {
        return status;
    }

    switch (type) {
    case VIRTIO_BLK_T_ZONE_REPORT:
        return report(h, offset, in_iov, in_num);
    case VIRTIO_BLK_T_ZONE_APPEND:
        return append(h, offset, in_iov, in_num, out_iov, out_num);
    case VIRTIO_BLK_T_ZONE_OPEN:
        op = BLK_ZO_OPEN;
        break;
    case VIRTIO_BLK_T_ZONE_CLOSE:
        op = BLK_ZO_CLOSE;
        break;
    case VIRTIO_BLK_T_ZONE_FINISH:
        op = BLK_ZO_FINISH;
        break;
    default:
        op = BLK_ZO_RESET;
        break;
    }
    bytes = all ? blk_co_getlength(h->blk)
                : virtio_blk_zoned_length(&h->zoned, h->blk, offset);
    return virtio_blk_zoned_status(
        blk_co_zone_mgmt(h->blk, op, all ? BDRV_ZONE_ALL : 0, offset, bytes,
                         NULL));
}

uint8_t coroutine_fn
virtio_blk_zoned_process_req(const VirtioBlkHandler *h, uint32_t type,
                             uint64_t sector, const struct iovec *in_iov,
                             unsigned int in_num, struct iovec *out_iov,
                             unsigned int out_num)
{
    uint8_t status = process(h, type, sector, in_iov, in_num, out_iov, out_num);

    trace_virtio_blk_export_zone_request(h->blk, type, sector, status);
    return status;
}

bool virtio_blk_zoned_may_zero(const VirtioBlkHandler *h, uint32_t type)
{
    unsigned feature = type == VIRTIO_BLK_T_DISCARD ? VIRTIO_BLK_F_DISCARD
                                                    : VIRTIO_BLK_F_WRITE_ZEROES;

    return h->zoned.model == BLK_Z_NONE || h->features & 1ull << feature;
}

uint8_t coroutine_fn
virtio_blk_zoned_check_write(const VirtioBlkHandler *h, uint64_t sector,
                             uint64_t bytes)
{
    if (!virtio_blk_zoned_unchanged(&h->zoned, h->blk) ||
        (h->zoned.model == BLK_Z_HM && !h->zones_known)) {
        return VIRTIO_BLK_S_IOERR;
    }
    if (h->zones_known &&
        virtio_blk_zoned_misaligned(&h->zoned, h->blk, sector, bytes)) {
        return virtio_blk_zoned_co_find_sequential(
            h->blk, sector * BDRV_SECTOR_SIZE, bytes) > 0 ?
            VIRTIO_BLK_S_ZONE_UNALIGNED_WP : VIRTIO_BLK_S_IOERR;
    }
    return VIRTIO_BLK_S_OK;
}

uint8_t coroutine_fn
virtio_blk_zoned_check_read(const VirtioBlkHandler *h, uint64_t sector,
                            uint64_t bytes)
{
    uint64_t offset = sector * BDRV_SECTOR_SIZE;
    int ret = 0;

    if (h->zones_known && virtio_blk_zoned_spans(&h->zoned, offset, bytes)) {
        ret = virtio_blk_zoned_co_find_sequential(h->blk, offset, bytes);
    }
    return virtio_blk_zoned_status(ret > 0 ? -ERANGE : ret);
}

uint8_t virtio_blk_zoned_rw_status(const VirtioBlkHandler *h, int ret)
{
    if (!h->zones_known || !bdrv_is_zone_error(ret)) {
        return VIRTIO_BLK_S_IOERR;
    }
    trace_virtio_blk_export_zone_rule_broken(h->blk, ret);
    return virtio_blk_zoned_status(ret);
}
