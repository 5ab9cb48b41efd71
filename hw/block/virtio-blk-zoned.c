/*
 * virtio-blk device: requests that zones have a say in
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "block/block-zoned.h"
#include "block/zoned-compat.h"
#include "hw/virtio/virtio-blk-zoned.h"
#include "migration/vmstate.h"

typedef struct ZonedRequest {
    VirtIOBlkZonedReq zoned;
    VirtIOBlockReq *req;
} ZonedRequest;

/* What the request counts as in query-blockstats */
static enum BlockAcctType acct_type(uint32_t type)
{
    switch (type & ~VIRTIO_BLK_T_BARRIER) {
    case VIRTIO_BLK_T_IN:
        return BLOCK_ACCT_READ;
    case VIRTIO_BLK_T_OUT:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return BLOCK_ACCT_WRITE;
    case VIRTIO_BLK_T_ZONE_APPEND:
        return BLOCK_ACCT_ZONE_APPEND;
    case VIRTIO_BLK_T_ZONE_OPEN:
    case VIRTIO_BLK_T_ZONE_CLOSE:
    case VIRTIO_BLK_T_ZONE_FINISH:
    case VIRTIO_BLK_T_ZONE_RESET:
    case VIRTIO_BLK_T_ZONE_RESET_ALL:
        return BLOCK_ACCT_ZONE_MGMT;
    default:
        return BLOCK_ACCT_NONE;
    }
}

static void account_start(VirtIOBlockReq *req, const VirtIOBlkZonedReq *r)
{
    enum BlockAcctType type = acct_type(r->type);
    size_t bytes = type == BLOCK_ACCT_READ ? iov_size(r->in_iov, r->in_num)
                   : type == BLOCK_ACCT_ZONE_APPEND
                   ? iov_size(r->out_iov, r->out_num) : 0;

    block_acct_start(blk_get_stats(r->blk), &req->acct, bytes, type);
}

static void account_end(VirtIOBlockReq *req, const VirtIOBlkZonedReq *r)
{
    BlockAcctStats *stats = blk_get_stats(r->blk);
    enum BlockAcctType type = acct_type(r->type);

    if (type == BLOCK_ACCT_NONE) {
        return;
    }
    if (r->status == VIRTIO_BLK_S_OK) {
        block_acct_done(stats, &req->acct);
    } else if (r->tried) {
        block_acct_failed(stats, &req->acct);
    } else {
        block_acct_invalid(stats, type);
    }
}

/* Without its answer, an append or report is no success. */
static bool has_answer(uint32_t type)
{
    return type == VIRTIO_BLK_T_ZONE_APPEND ||
           type == VIRTIO_BLK_T_ZONE_REPORT;
}

static void complete(ZonedRequest *z)
{
    VirtIOBlkZonedReq *r = &z->zoned;
    bool is_read = r->type == VIRTIO_BLK_T_IN ||
                   r->type == VIRTIO_BLK_T_ZONE_REPORT;

    if (r->error) {
        if (virtio_blk_handle_rw_error(z->req, r->error, is_read,
                                       acct_type(r->type) != BLOCK_ACCT_NONE)) {
            return;
        }
        if (!has_answer(r->type)) {
            r->status = VIRTIO_BLK_S_OK;    /* the policy is to ignore it */
        }
    }
    account_end(z->req, r);
    virtio_blk_req_complete(z->req, r->status);
    g_free(z->req);
}

/*
 * Until it is complete the request is in flight for the BlockBackend, so that
 * a reset of the device waits for it.
 */
static void coroutine_fn zoned_request_entry(void *opaque)
{
    g_autofree ZonedRequest *z = opaque;
    BlockBackend *blk = z->zoned.blk;

    blk_co_start_request(blk);
    account_start(z->req, &z->zoned);
    virtio_blk_zoned_co_request(&z->zoned);
    complete(z);
    blk_end_request(blk);
}

bool virtio_blk_zoned_start(VirtIOBlockReq *req, uint32_t type,
                            struct iovec *in_iov, unsigned int in_num,
                            struct iovec *out_iov, unsigned int out_num)
{
    VirtIOBlock *s = req->dev;
    VirtIOBlkZonedReq r = {
        .blk = s->blk,
        .zoned = &s->zoned,
        .features = VIRTIO_DEVICE(s)->guest_features,
        .type = type,
        .sector = le64_to_cpu(req->out.sector),
        .in_iov = in_iov,
        .in_num = in_num,
        .out_iov = out_iov,
        .out_num = out_num,
    };
    ZonedRequest *z;

    if (!virtio_blk_zoned_handles(&r)) {
        return false;
    }
    z = g_new(ZonedRequest, 1);
    *z = (ZonedRequest) { r, req };
    aio_co_enter(qemu_get_current_aio_context(),
                 qemu_coroutine_create(zoned_request_entry, z));
    return true;
}

bool virtio_blk_zoned_rule_broken(VirtIOBlockReq *req, int ret)
{
    VirtIOBlock *s = req->dev;
    uint64_t features = VIRTIO_DEVICE(s)->guest_features;

    if (s->zoned.model == BLK_Z_NONE || !bdrv_is_zone_error(ret)) {
        return false;
    }
    virtio_blk_req_complete(req, virtio_blk_zoned_rw_status(s->blk, features,
                                                            ret));
    block_acct_failed(blk_get_stats(s->blk), &req->acct);
    g_free(req);
    return true;
}

/* --- Migration --- */

static int pre_load(void *opaque)
{
    VirtIOBlock *s = opaque;

    s->zones_received = false;
    return 0;
}

static int post_load(void *opaque, int version_id)
{
    VirtIOBlock *s = opaque;

    /* Earlier versions sent nothing of the zones that the driver knows. */
    if (s->zoned.model == BLK_Z_NONE || s->zones_received ||
        virtio_vdev_has_feature(VIRTIO_DEVICE(s), VIRTIO_BLK_F_ZONED)) {
        return 0;
    }
    error_report("The disk is zoned, and the one that was migrated is not");
    return -EINVAL;
}

static bool zones_needed(void *opaque)
{
    VirtIOBlock *s = opaque;

    return s->zoned.model != BLK_Z_NONE;
}

static int zones_post_load(void *opaque, int version_id)
{
    VirtIOBlock *s = opaque;

    s->zones_received = true;
    return 0;
}

static const VMStateDescription vmstate_zones = {
    .name = "virtio-blk-device/zoned",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = zones_needed,
    .post_load = zones_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT8_EQUAL(zoned.model, VirtIOBlock, NULL),
        VMSTATE_UINT64_EQUAL(zoned.zone_size, VirtIOBlock, NULL),
        VMSTATE_UINT32_EQUAL(zoned.granularity, VirtIOBlock, NULL),
        VMSTATE_UINT32_EQUAL(zoned.max_open_zones, VirtIOBlock, NULL),
        VMSTATE_UINT32_EQUAL(zoned.max_active_zones, VirtIOBlock, NULL),
        VMSTATE_UINT32_EQUAL(zoned.max_append_sectors, VirtIOBlock, NULL),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription vmstate_virtio_blk_device = {
    .name = "virtio-blk-device",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_load = pre_load,
    .post_load = post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_END_OF_LIST()
    },
    .subsections = (const VMStateDescription * const []) {
        &vmstate_zones,
        NULL
    },
};

void virtio_blk_zoned_save(VirtIOBlock *s, QEMUFile *f)
{
    zoned_vmstate_save(f, &vmstate_virtio_blk_device, s);
}

int virtio_blk_zoned_load(VirtIOBlock *s, QEMUFile *f)
{
    return zoned_vmstate_load(f, &vmstate_virtio_blk_device, s);
}
