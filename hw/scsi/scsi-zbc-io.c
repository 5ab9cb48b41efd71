/*
 * SCSI disks: host-managed ZBC disks, whose zones live in the block node
 *
 * The commands that read and write.  A write is checked by what the CDB says
 * before any data is asked for, and reaches the node as one request: no other
 * write can get in between, and one that fails leaves the write pointer where
 * it was.  dma_blk_write() splits requests, which is why this does not go
 * through it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/cutils.h"
#include "qemu/memalign.h"
#include "qemu/units.h"
#include "block/block-io.h"
#include "block/zoned-range.h"
#include "scsi/constants.h"
#include "system/dma-map.h"
#include "scsi-zbc-int.h"

/* A pattern of WRITE SAME is repeated in memory up to this size... */
#define PATTERN_SIZE (1 * MiB)
/* ...or more, so that no request has more buffers */
#define PATTERN_BUFFERS 512

/* --- Checks that need no zone --- */

static SCSISense check_writable(const ZbcReq *r)
{
    if (!blk_is_writable(zbc_blk(r))) {
        return SENSE_CODE(WRITE_PROTECTED);
    }
    return zbc_zones_unchanged(r) ? ZBC_OK : SENSE_CODE(TARGET_FAILURE);
}

/* Protection information, which SCSI-2 does not have, is not supported. */
static bool has_protection(const ZbcReq *r)
{
    return r->req.dev->scsi_version > 2 && (r->req.cmd.buf[1] & 0xe0);
}

/* BYTCHK, which is not supported: no medium is read to be compared with data */
static bool has_comparison(const ZbcReq *r)
{
    switch (r->req.cmd.buf[0]) {
    case VERIFY_10:
    case VERIFY_12:
    case VERIFY_16:
    case WRITE_VERIFY_10:
    case WRITE_VERIFY_12:
    case WRITE_VERIFY_16:
        return r->req.cmd.buf[1] & 6;
    default:
        return false;
    }
}

/* Set the range that the CDB names. */
static SCSISense coroutine_fn get_range(ZbcReq *r)
{
    uint64_t size = zbc_blocks(r, zbc_size(r));
    uint64_t lba = r->req.cmd.lba;
    uint32_t blocks = scsi_data_cdb_xfer(r->req.cmd.buf);

    if (lba > size || blocks > size - lba) {
        return SENSE_CODE(LBA_OUT_OF_RANGE);
    }
    r->start = zbc_bytes(r, lba);
    r->bytes = zbc_bytes(r, blocks);
    return ZBC_OK;
}

static uint64_t first_zone(const ZbcReq *r)
{
    return r->start / zbc_of(r)->limits.size;
}

static uint64_t last_zone(const ZbcReq *r)
{
    return (r->start + r->bytes - 1) / zbc_of(r)->limits.size;
}

/* Is one of the zones from @first to @last of this type? */
static bool has_type(const SCSIZbc *z, uint64_t first, uint64_t last,
                     bool conventional)
{
    uint64_t nr = z->limits.nr_zones;

    if (conventional) {
        return first < nr &&
               find_next_bit(z->conventional, nr, first) <= MIN(last, nr - 1);
    }
    return last >= nr || find_next_zero_bit(z->conventional, nr, first) <= last;
}

/* Reads can go from one zone to the next, but not to another type (ZBC-2) */
static SCSISense check_read_borders(const ZbcReq *r)
{
    const SCSIZbc *z = zbc_of(r);

    return has_type(z, first_zone(r), last_zone(r), true) &&
           has_type(z, first_zone(r), last_zone(r), false)
           ? SENSE_CODE(READ_BOUNDARY) : ZBC_OK;
}

/*
 * Writes can go from one conventional zone to the next.  In a sequential one,
 * they end where a physical block does.
 */
static SCSISense check_write_place(const ZbcReq *r)
{
    const SCSIZbc *z = zbc_of(r);
    uint64_t first = first_zone(r), last = last_zone(r);

    if (!has_type(z, first, last, false)) {
        return ZBC_OK;
    }
    if (first != last) {
        return SENSE_CODE(WRITE_BOUNDARY);
    }
    return (r->start + r->bytes) % z->physical_block
           ? SENSE_CODE(UNALIGNED_WRITE) : ZBC_OK;
}

static SCSISense check_transfer(const ZbcReq *r)
{
    return r->bytes > zbc_of(r)->max_transfer ? SENSE_CODE(INVALID_FIELD)
                                              : ZBC_OK;
}

/* All that is in the cache is written, whatever the range */
SCSISense coroutine_fn zbc_check_flush(ZbcReq *r)
{
    SCSISense sense = get_range(r);

    r->bytes = 0;
    return sense;
}

SCSISense coroutine_fn zbc_check_verify(ZbcReq *r)
{
    SCSISense sense;

    if (has_protection(r) || has_comparison(r)) {
        return SENSE_CODE(INVALID_FIELD);
    }
    sense = get_range(r);
    return sense.key || !r->bytes ? sense : check_read_borders(r);
}

SCSISense coroutine_fn zbc_check_read(ZbcReq *r)
{
    SCSISense sense;

    if (has_protection(r)) {
        return SENSE_CODE(INVALID_FIELD);
    }
    sense = get_range(r);
    if (!sense.key) {
        sense = check_transfer(r);
    }
    return sense.key || !r->bytes ? sense : check_read_borders(r);
}

SCSISense coroutine_fn zbc_check_write(ZbcReq *r)
{
    SCSISense sense = check_writable(r);

    if (!sense.key && (has_protection(r) || has_comparison(r))) {
        sense = SENSE_CODE(INVALID_FIELD);
    }
    if (!sense.key) {
        sense = get_range(r);
    }
    if (!sense.key) {
        sense = check_transfer(r);
    }
    return sense.key || !r->bytes ? sense : check_write_place(r);
}

static bool has_no_data_out(const ZbcReq *r)
{
    return r->req.cmd.buf[0] == WRITE_SAME_16 && (r->req.cmd.buf[1] & 1);
}

SCSISense coroutine_fn zbc_check_write_same(ZbcReq *r)
{
    uint8_t flags = r->req.cmd.buf[1];
    SCSISense sense = check_writable(r);

    if (!sense.key && (flags & 0xfe ||
                       (flags && r->req.cmd.buf[0] == WRITE_SAME_10))) {
        /* WRPROTECT, ANCHOR, UNMAP, PBDATA, LBDATA */
        sense = SENSE_CODE(INVALID_FIELD);
    }
    if (!sense.key) {
        sense = get_range(r);
    }
    if (!sense.key && !r->bytes) {
        /* Block Limits VPD page: WSNZ is 1 */
        sense = SENSE_CODE(INVALID_FIELD);
    }
    if (!sense.key) {
        sense = check_transfer(r);
    }
    return sense.key ? sense : check_write_place(r);
}

/* --- The command's data --- */

/* The adapter's list ends before the data that the CDB names. */
static bool list_is_short(const ZbcReq *r, uint64_t bytes)
{
    return r->req.sg->size < bytes;
}

/* Nothing was done, because the guest's memory could not be used. */
static int memory_failed(ZbcReq *r)
{
    return zbc_fail(r, SENSE_CODE(TARGET_FAILURE));
}

bool zbc_fetch(ZbcReq *r, uint64_t len)
{
    return !list_is_short(r, len) && zbc_alloc_buf(r, len) &&
           dma_buf_write(r->buf, len, NULL, r->req.sg,
                         MEMTXATTRS_UNSPECIFIED) == MEMTX_OK;
}

void zbc_put(ZbcReq *r, uint64_t offset, const void *data, uint64_t len)
{
    const QEMUSGList *list = r->req.sg;

    for (int i = 0; len && i < list->nsg; i++) {
        const ScatterGatherEntry *sg = &list->sg[i];
        uint64_t n = MIN(len, sg->len - MIN(offset, sg->len));

        if (n) {
            dma_memory_write(list->as, sg->base + offset, data, n,
                             MEMTXATTRS_UNSPECIFIED);
        }
        offset -= MIN(offset, sg->len);
        data = (const uint8_t *)data + n;
        len -= n;
    }
}

/* --- Reading --- */

static int coroutine_fn flush_now(BlockBackend *blk)
{
    GRAPH_RDLOCK_GUARD();

    return blk_co_is_available(blk) ? bdrv_co_flush(blk_bs(blk)) : -ENOMEDIUM;
}

int coroutine_fn zbc_flush(ZbcReq *r)
{
    return flush_now(zbc_blk(r));
}

static bool has_fua(const ZbcReq *r)
{
    switch (r->req.cmd.buf[0]) {
    case READ_10:
    case READ_12:
    case READ_16:
    case WRITE_10:
    case WRITE_12:
    case WRITE_16:
        return r->req.cmd.buf[1] & 8;
    case WRITE_VERIFY_10:
    case WRITE_VERIFY_12:
    case WRITE_VERIFY_16:
        return true;
    default:
        return false;
    }
}

int coroutine_fn zbc_read(ZbcReq *r)
{
    QEMUIOVector qiov;
    bool mapped;
    int ret;

    if (list_is_short(r, r->bytes)) {
        return memory_failed(r);
    }
    /* With FUA, what is read has to be durable, not only current */
    ret = has_fua(r) ? flush_now(zbc_blk(r)) : 0;
    if (ret < 0) {
        return ret;
    }
    qemu_iovec_init(&qiov, r->req.sg->nsg);
    mapped = dma_map_qiov(&qiov, r->req.sg, r->bytes,
                          DMA_DIRECTION_FROM_DEVICE);
    if (mapped) {
        zbc_drop_buf(r);
    } else if (zbc_alloc_buf(r, r->bytes)) {
        qemu_iovec_add(&qiov, r->buf, r->bytes);
    } else {
        ret = memory_failed(r);
        goto out;
    }
    ret = blk_co_preadv(zbc_blk(r), r->start, r->bytes, &qiov,
                        BDRV_REQ_NO_QUEUE);
    if (mapped) {
        dma_unmap_qiov(&qiov, r->req.sg, DMA_DIRECTION_FROM_DEVICE, true);
        r->sent = r->bytes;
    }
out:
    qemu_iovec_destroy(&qiov);
    return ret;
}

static int coroutine_fn is_offline(const BlockZoneDescriptor *zone,
                                   void *opaque)
{
    return zone->state == BLK_ZS_OFFLINE ? -ENODEV : 0;
}

/* Whatever is not in an offline zone can be read. */
int coroutine_fn zbc_verify(ZbcReq *r)
{
    return blk_co_for_each_zone(zbc_blk(r), r->start, r->bytes,
                                BDRV_REQ_NO_QUEUE, is_offline, NULL);
}

/* --- Writing --- */

int coroutine_fn zbc_write(ZbcReq *r)
{
    QEMUIOVector qiov;
    bool mapped;
    int ret;

    if (list_is_short(r, r->bytes)) {
        return memory_failed(r);
    }
    qemu_iovec_init(&qiov, r->req.sg->nsg);
    mapped = dma_map_qiov(&qiov, r->req.sg, r->bytes, DMA_DIRECTION_TO_DEVICE);
    if (!mapped) {
        if (!zbc_fetch(r, r->bytes)) {
            ret = memory_failed(r);
            goto out;
        }
        qemu_iovec_add(&qiov, r->buf, r->bytes);
    }
    ret = blk_co_pwritev(zbc_blk(r), r->start, r->bytes, &qiov,
                         BDRV_REQ_NO_QUEUE | (has_fua(r) ? BDRV_REQ_FUA : 0));
    if (mapped) {
        dma_unmap_qiov(&qiov, r->req.sg, DMA_DIRECTION_TO_DEVICE, true);
    }
out:
    qemu_iovec_destroy(&qiov);
    return ret;
}

/* Write the block in r->buf all over the range. */
static int coroutine_fn write_pattern(ZbcReq *r)
{
    uint32_t block = r->req.dev->blocksize;
    uint64_t size = MIN(r->bytes, MAX(PATTERN_SIZE,
                                      r->bytes / PATTERN_BUFFERS));
    QEMUIOVector qiov;
    uint8_t *pattern;
    int ret;

    size = QEMU_ALIGN_UP(size, block);
    pattern = blk_try_blockalign(zbc_blk(r), size);
    if (!pattern) {
        return memory_failed(r);
    }
    for (uint64_t i = 0; i < size; i += block) {
        memcpy(pattern + i, r->buf, block);
    }
    qemu_iovec_init(&qiov, DIV_ROUND_UP(r->bytes, size));
    while (qiov.size < r->bytes) {
        qemu_iovec_add(&qiov, pattern, MIN(size, r->bytes - qiov.size));
    }
    ret = blk_co_pwritev(zbc_blk(r), r->start, r->bytes, &qiov,
                         BDRV_REQ_NO_QUEUE);
    qemu_iovec_destroy(&qiov);
    qemu_vfree(pattern);
    return ret;
}

int coroutine_fn zbc_write_same(ZbcReq *r)
{
    uint32_t block = r->req.dev->blocksize;

    if (!has_no_data_out(r)) {
        if (!zbc_fetch(r, block)) {
            return memory_failed(r);
        }
        if (!buffer_is_zero(r->buf, block)) {
            return write_pattern(r);
        }
    }
    return blk_co_pwrite_zeroes(zbc_blk(r), r->start, r->bytes,
                                BDRV_REQ_NO_QUEUE);
}
