/*
 * NVMe: zoned namespaces whose zones live in the block node
 *
 * Translates between the ZNS Command Set (1.1, and TP4076 for the random write
 * area) and the block layer's zone API: logical blocks and bytes, descriptors,
 * identify data, events, and a status for each errno of block-zoned.h.  It
 * keeps no state of any zone and checks no rule that the node checks.
 *
 * A command is a coroutine that goes from its first check to its status.  Data
 * that is written is mapped or copied as a whole before the node sees the
 * command, and reaches it in one request: so a bad data pointer changes no
 * zone, and no other write can get in between.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/memalign.h"
#include "qapi/error.h"
#include "block/block_int-common.h"
#include "block/block-zoned.h"
#include "system/block-backend.h"
#include "system/dma.h"

#include "zns.h"
#include "trace.h"

/* Namespace is Write Protected */
#define STATUS_WRITE_PROTECTED 0x0020

#define NSATTR_WRITE_PROTECTED 0x01
#define COPY_FUA 0x40
#define REPORT_RECOMMENDED 0x09
#define AEC_ZONE_CHANGED (1u << 27)

/* How many zones are asked for at a time */
#define REPORT_BATCH 256

typedef struct QEMU_PACKED ZnsChangedList {
    uint16_t count;
    uint8_t rsvd2[6];
    uint64_t zslba[511];
} ZnsChangedList;

QEMU_BUILD_BUG_ON(sizeof(ZnsChangedList) != 4096);

/* As many zones changed as no list can hold */
#define CHANGED_TOO_MANY 0xffff

struct NvmeZbd {
    /* What the guest was told; another node here has the same zones */
    BlockZoneLimits limits;
    ZnsChangedList *changed[NVME_MAX_CONTROLLERS];
};

/* --- Units --- */

static BlockBackend *zns_blk(NvmeNamespace *ns)
{
    return ns->blkconf.blk;
}

static uint64_t zns_blocks(NvmeNamespace *ns, uint64_t bytes)
{
    return bytes >> ns->lbaf.ds;
}

static uint64_t zns_bytes(NvmeNamespace *ns, uint64_t blocks)
{
    return blocks << ns->lbaf.ds;
}

static uint64_t zns_total_bytes(const BlockZoneLimits *zl)
{
    return (uint64_t)zl->nr_zones * zl->size;
}

/* --- Statuses --- */

/*
 * The status for the result of a block layer call.  -EINVAL is @invalid, which
 * depends on the call; what is not the guest's doing is @failed.
 */
static uint16_t zns_status(int ret, uint16_t invalid, uint16_t failed)
{
    switch (ret) {
    case -ERANGE:
        return NVME_ZONE_BOUNDARY_ERROR | NVME_DNR;
    case -ESPIPE:
        return NVME_ZONE_INVALID_WRITE | NVME_DNR;
    case -EFBIG:
        return NVME_ZONE_FULL | NVME_DNR;
    case -EROFS:
        return NVME_ZONE_READ_ONLY | NVME_DNR;
    case -ENODEV:
        return NVME_ZONE_OFFLINE | NVME_DNR;
    case -EOVERFLOW:
        return NVME_ZONE_TOO_MANY_ACTIVE | NVME_DNR;
    case -ETOOMANYREFS:
        return NVME_ZONE_TOO_MANY_OPEN | NVME_DNR;
    case -ENOTTY:
        return NVME_INVALID_ZONE_OP | NVME_DNR;
    case -EUSERS:
        return NVME_NOZRWA | NVME_DNR;
    case -EINVAL:
        return invalid;
    default:
        return ret < 0 ? failed : NVME_SUCCESS;
    }
}

static uint16_t zns_write_status(int ret)
{
    return zns_status(ret, NVME_WRITE_FAULT, NVME_WRITE_FAULT);
}

uint16_t nvme_zns_read_status(int ret)
{
    return zns_status(ret, NVME_UNRECOVERED_READ, NVME_UNRECOVERED_READ);
}

static uint16_t zns_mgmt_status(int ret)
{
    return zns_status(ret, NVME_ZONE_INVAL_TRANSITION | NVME_DNR,
                      NVME_INTERNAL_DEV_ERROR);
}

/* --- Checks that need no zone --- */

static uint16_t zns_check_range(NvmeNamespace *ns, uint64_t slba, uint64_t nlb)
{
    uint64_t nsze = le64_to_cpu(ns->id_ns.nsze);

    return nlb <= nsze && slba <= nsze - nlb ? NVME_SUCCESS
                                             : NVME_LBA_RANGE | NVME_DNR;
}

/* A limit of 1 << @order pages of the smallest size; 0 is none */
static uint16_t zns_check_limit(NvmeCtrl *n, uint64_t bytes, uint8_t order)
{
    uint64_t page = 1 << (12 + NVME_CAP_MPSMIN(ldq_le_p(&n->bar.cap)));

    return order && order < 32 && bytes > page << order ?
           NVME_INVALID_FIELD | NVME_DNR : NVME_SUCCESS;
}

static uint16_t zns_check_writable(NvmeNamespace *ns)
{
    return blk_is_writable(zns_blk(ns)) ? NVME_SUCCESS
                                        : STATUS_WRITE_PROTECTED | NVME_DNR;
}

uint16_t nvme_zns_check_read(NvmeNamespace *ns, uint64_t slba, uint32_t nlb)
{
    uint64_t zone = zns_blocks(ns, ns->zbd->limits.size);

    return ns->params.cross_zone_read ||
           slba / zone == (slba + nlb - 1) / zone ?
           NVME_SUCCESS : NVME_ZONE_BOUNDARY_ERROR | NVME_DNR;
}

static uint16_t zns_check_read_range(NvmeNamespace *ns, uint64_t slba,
                                     uint32_t nlb)
{
    uint16_t status = zns_check_range(ns, slba, nlb);

    return status || !ns->zbd ? status : nvme_zns_check_read(ns, slba, nlb);
}

/* Where the host has asked for errors, blocks to be read must be written. */
static uint16_t coroutine_fn zns_check_written(NvmeNamespace *ns,
                                               uint64_t slba, uint32_t nlb)
{
    int64_t offset = zns_bytes(ns, slba);
    int64_t end = offset + zns_bytes(ns, nlb);

    while (NVME_ERR_REC_DULBE(ns->features.err_rec) && offset < end) {
        int64_t bytes;
        int ret = blk_co_block_status_above(zns_blk(ns), NULL, offset,
                                            end - offset, &bytes, NULL, NULL);

        if (ret < 0) {
            return zns_status(ret, NVME_INTERNAL_DEV_ERROR,
                              NVME_INTERNAL_DEV_ERROR);
        }
        if (!(ret & BDRV_BLOCK_DATA)) {
            return NVME_DULB | NVME_DNR;
        }
        offset += bytes;
    }
    return NVME_SUCCESS;
}

/* --- The command's data --- */

/* Fill @buf with the data of the command, which are @len bytes. */
static uint16_t zns_fetch(NvmeCtrl *n, NvmeRequest *req, void *buf, size_t len)
{
    uint16_t status = nvme_map_dptr(n, &req->sg, len, &req->cmd);

    return status ? status : nvme_bounce_data(n, buf, len,
                                              NVME_TX_DIRECTION_TO_DEVICE,
                                              req);
}

typedef struct ZnsData {
    NvmeCtrl *n;
    NvmeRequest *req;
    NvmeTxDirection dir;
    QEMUIOVector qiov;
    void *bounce;               /* NULL: qiov is the guest's memory */
} ZnsData;

static DMADirection zns_dma_direction(const ZnsData *d)
{
    return d->dir == NVME_TX_DIRECTION_TO_DEVICE ? DMA_DIRECTION_TO_DEVICE
                                                 : DMA_DIRECTION_FROM_DEVICE;
}

static void zns_unmap_memory(ZnsData *d, bool accessed)
{
    NvmeSg *sg = &d->req->sg;

    for (int i = 0; sg->flags & NVME_SG_DMA && i < d->qiov.niov; i++) {
        size_t len = d->qiov.iov[i].iov_len;

        dma_memory_unmap(sg->qsg.as, d->qiov.iov[i].iov_base, len,
                         zns_dma_direction(d), accessed ? len : 0);
    }
    qemu_iovec_reset(&d->qiov);
}

static bool zns_map_memory(ZnsData *d)
{
    NvmeSg *sg = &d->req->sg;

    if (!(sg->flags & NVME_SG_DMA)) {
        /* A memory buffer of the controller */
        qemu_iovec_concat(&d->qiov, &sg->iov, 0, sg->iov.size);
        return true;
    }
    for (int i = 0; i < sg->qsg.nsg; i++) {
        dma_addr_t len = sg->qsg.sg[i].len;
        void *mem = dma_memory_map(sg->qsg.as, sg->qsg.sg[i].base, &len,
                                   zns_dma_direction(d),
                                   MEMTXATTRS_UNSPECIFIED);

        if (mem) {
            qemu_iovec_add(&d->qiov, mem, len);
        }
        if (!mem || len < sg->qsg.sg[i].len) {
            zns_unmap_memory(d, false);
            return false;
        }
    }
    return true;
}

static uint16_t zns_bounce(ZnsData *d, size_t len)
{
    d->bounce = blk_try_blockalign(zns_blk(d->req->ns), len);
    if (!d->bounce) {
        return NVME_INTERNAL_DEV_ERROR;
    }
    qemu_iovec_add(&d->qiov, d->bounce, len);
    return d->dir == NVME_TX_DIRECTION_TO_DEVICE ?
           nvme_bounce_data(d->n, d->bounce, len, d->dir, d->req) :
           NVME_SUCCESS;
}

static void zns_data_free(ZnsData *d)
{
    if (!d->bounce) {
        zns_unmap_memory(d, true);
    }
    qemu_vfree(d->bounce);
    qemu_iovec_destroy(&d->qiov);
}

static uint16_t zns_data_map(ZnsData *d, NvmeCtrl *n, NvmeRequest *req,
                             size_t len, NvmeTxDirection dir)
{
    uint16_t status = nvme_map_dptr(n, &req->sg, len, &req->cmd);

    if (status) {
        return status;
    }
    *d = (ZnsData) { .n = n, .req = req, .dir = dir };
    qemu_iovec_init(&d->qiov, 16);
    if (!zns_map_memory(d)) {
        status = zns_bounce(d, len);
        if (status) {
            zns_data_free(d);
        }
    }
    return status;
}

/* All has been read, with success. */
static uint16_t zns_data_deliver(ZnsData *d)
{
    return d->bounce ? nvme_bounce_data(d->n, d->bounce, d->qiov.size, d->dir,
                                        d->req) : NVME_SUCCESS;
}

static void zns_account(NvmeRequest *req, uint64_t bytes,
                        enum BlockAcctType type)
{
    block_acct_start(blk_get_stats(zns_blk(req->ns)), &req->acct, bytes, type);
}

/* --- Reading --- */

/* What the commands with an NvmeRwCmd have in common */
typedef struct ZnsRange {
    uint64_t slba;
    uint32_t nlb;
    uint64_t offset, bytes;
    BdrvRequestFlags flags;
} ZnsRange;

static ZnsRange zns_range(NvmeRequest *req)
{
    NvmeRwCmd *rw = (NvmeRwCmd *)&req->cmd;
    uint64_t slba = le64_to_cpu(rw->slba);
    uint32_t nlb = le16_to_cpu(rw->nlb) + 1;
    bool fua = le16_to_cpu(rw->control) & NVME_RW_FUA;

    return (ZnsRange) {
        .slba = slba,
        .nlb = nlb,
        .offset = zns_bytes(req->ns, slba),
        .bytes = zns_bytes(req->ns, nlb),
        .flags = fua ? BDRV_REQ_FUA : 0,
    };
}

static uint16_t coroutine_fn zns_check_source(NvmeRequest *req,
                                              const ZnsRange *r)
{
    uint16_t status = zns_check_read_range(req->ns, r->slba, r->nlb);

    return status ? status : zns_check_written(req->ns, r->slba, r->nlb);
}

static uint16_t coroutine_fn zns_read(NvmeCtrl *n, NvmeRequest *req)
{
    ZnsRange r = zns_range(req);
    ZnsData data;
    int ret = 0;
    uint16_t status = zns_check_limit(n, r.bytes, n->params.mdts);

    if (!status) {
        status = zns_check_source(req, &r);
    }
    if (!status) {
        status = zns_data_map(&data, n, req, r.bytes,
                              NVME_TX_DIRECTION_FROM_DEVICE);
    }
    if (status) {
        return status;
    }
    zns_account(req, r.bytes, BLOCK_ACCT_READ);
    if (r.flags & BDRV_REQ_FUA) {
        /* What is read has to be durable, not only current */
        ret = blk_co_flush(zns_blk(req->ns));
    }
    if (ret >= 0) {
        ret = blk_co_preadv(zns_blk(req->ns), r.offset, r.bytes, &data.qiov, 0);
    }
    status = nvme_zns_read_status(ret);
    if (!status) {
        status = zns_data_deliver(&data);
    }
    zns_data_free(&data);
    return status;
}

/* Read @r to a buffer of the caller's to free, also where this fails. */
static uint16_t coroutine_fn zns_read_buffer(NvmeRequest *req,
                                             const ZnsRange *r, void **buf)
{
    BlockBackend *blk = zns_blk(req->ns);

    *buf = blk_try_blockalign(blk, r->bytes);
    if (!*buf) {
        return NVME_INTERNAL_DEV_ERROR;
    }
    zns_account(req, r->bytes, BLOCK_ACCT_READ);
    return nvme_zns_read_status(blk_co_pread(blk, r->offset, r->bytes, *buf,
                                             0));
}

static uint16_t coroutine_fn zns_compare(NvmeCtrl *n, NvmeRequest *req)
{
    ZnsRange r = zns_range(req);
    g_autofree void *host = NULL;
    void *medium;
    uint16_t status = zns_check_limit(n, r.bytes, n->params.mdts);

    if (!status) {
        status = zns_check_source(req, &r);
    }
    if (status) {
        return status;
    }
    host = g_try_malloc(r.bytes);
    status = host ? zns_fetch(n, req, host, r.bytes) : NVME_INTERNAL_DEV_ERROR;
    if (status) {
        return status;
    }
    status = zns_read_buffer(req, &r, &medium);
    if (!status && memcmp(host, medium, r.bytes)) {
        status = NVME_CMP_FAILURE | NVME_DNR;
    }
    qemu_vfree(medium);
    return status;
}

static uint16_t coroutine_fn zns_verify(NvmeCtrl *n, NvmeRequest *req)
{
    ZnsRange r = zns_range(req);
    void *buf;
    uint16_t status = zns_check_limit(n, r.bytes, n->params.vsl);

    if (!status) {
        status = zns_check_source(req, &r);
    }
    if (status) {
        return status;
    }
    status = zns_read_buffer(req, &r, &buf);
    qemu_vfree(buf);
    return status;
}

/* --- Writing --- */

static uint16_t zns_check_target(NvmeRequest *req, const ZnsRange *r)
{
    uint16_t status = zns_check_range(req->ns, r->slba, r->nlb);

    return status ? status : zns_check_writable(req->ns);
}

static uint16_t coroutine_fn zns_write(NvmeCtrl *n, NvmeRequest *req)
{
    ZnsRange r = zns_range(req);
    ZnsData data;
    int ret;
    uint16_t status = zns_check_limit(n, r.bytes, n->params.mdts);

    if (!status) {
        status = zns_check_target(req, &r);
    }
    if (!status) {
        status = zns_data_map(&data, n, req, r.bytes,
                              NVME_TX_DIRECTION_TO_DEVICE);
    }
    if (status) {
        return status;
    }
    zns_account(req, r.bytes, BLOCK_ACCT_WRITE);
    ret = blk_co_pwritev(zns_blk(req->ns), r.offset, r.bytes, &data.qiov,
                         r.flags);
    zns_data_free(&data);
    return zns_write_status(ret);
}

static uint16_t coroutine_fn zns_write_zeroes(NvmeCtrl *n, NvmeRequest *req)
{
    ZnsRange r = zns_range(req);
    uint16_t status = zns_check_target(req, &r);

    if (status) {
        return status;
    }
    zns_account(req, r.bytes, BLOCK_ACCT_WRITE);
    return zns_write_status(
        blk_co_pwrite_zeroes(zns_blk(req->ns), r.offset, r.bytes,
                             r.flags | BDRV_REQ_MAY_UNMAP));
}

static uint16_t coroutine_fn zns_append(NvmeCtrl *n, NvmeRequest *req)
{
    NvmeZonedResult *result = (NvmeZonedResult *)&req->cqe;
    ZnsRange r = zns_range(req);
    int64_t offset = r.offset;
    ZnsData data;
    int ret;
    uint16_t status = zns_check_limit(n, r.bytes, n->params.mdts);

    if (!status) {
        status = zns_check_limit(n, r.bytes, nvme_zns_zasl(n));
    }
    if (!status) {
        status = zns_check_target(req, &r);
    }
    if (!status && offset % req->ns->zbd->limits.size) {
        status = NVME_INVALID_FIELD | NVME_DNR;
    }
    if (!status) {
        status = zns_data_map(&data, n, req, r.bytes,
                              NVME_TX_DIRECTION_TO_DEVICE);
    }
    if (status) {
        return status;
    }
    zns_account(req, r.bytes, BLOCK_ACCT_ZONE_APPEND);
    ret = blk_co_zone_append(zns_blk(req->ns), &offset, &data.qiov, r.flags);
    zns_data_free(&data);
    if (ret >= 0) {
        result->slba = cpu_to_le64(zns_blocks(req->ns, offset));
    }
    return zns_status(ret, NVME_INVALID_FIELD | NVME_DNR, NVME_WRITE_FAULT);
}

/* --- Copy --- */

typedef struct ZnsCopySource {
    NvmeNamespace *ns;
    uint64_t slba;
    uint32_t nlb;
} ZnsCopySource;

/* Formats 2 and 3 name the namespace of each source range. */
static bool zns_copy_names_source(uint8_t format)
{
    return format == NVME_COPY_FORMAT_2 || format == NVME_COPY_FORMAT_3;
}

static uint16_t zns_copy_check_format(NvmeCtrl *n, uint8_t format)
{
    if (!(le16_to_cpu(n->id_ctrl.ocfs) & (1 << format)) ||
        (zns_copy_names_source(format) &&
         !(n->features.hbs.cdfe & (1 << format)))) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    /* The other formats have the tags of 64-bit protection information */
    return format == NVME_COPY_FORMAT_0 || format == NVME_COPY_FORMAT_2 ?
           NVME_SUCCESS : NVME_INVALID_FORMAT | NVME_DNR;
}

static uint16_t zns_copy_find_source(NvmeCtrl *n, NvmeRequest *req,
                                     uint32_t nsid, NvmeNamespace **source)
{
    NvmeNamespace *ns;

    if (nsid == 0 || nsid > NVME_MAX_NAMESPACES) {
        return NVME_INVALID_NSID | NVME_DNR;
    }
    *source = ns = nvme_ns(n, nsid);
    if (!ns) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    /* Zones in memory are ctrl.c's, which checks reads of them itself */
    if (ns != req->ns &&
        (ns->lbaf.ds != req->ns->lbaf.ds || ns->lbaf.ms || ns->params.zoned)) {
        return NVME_CMD_INCOMP_NS_OR_FMT | NVME_DNR;
    }
    return ns->status;
}

static uint16_t coroutine_fn
zns_copy_parse(NvmeCtrl *n, NvmeRequest *req, ZnsCopySource *sources,
               unsigned int nr, uint64_t *total)
{
    NvmeCopyCmd *copy = (NvmeCopyCmd *)&req->cmd;
    uint8_t format = copy->control[0] & 0xf;
    g_autofree NvmeCopySourceRangeFormat0_2 *ranges =
        g_new(NvmeCopySourceRangeFormat0_2, nr);
    uint16_t status = zns_fetch(n, req, ranges, nr * sizeof(*ranges));

    *total = 0;
    for (unsigned int i = 0; !status && i < nr; i++) {
        ZnsCopySource *s = &sources[i];
        uint32_t nsid = zns_copy_names_source(format) ?
                        le32_to_cpu(ranges[i].sparams) : nvme_nsid(req->ns);

        s->slba = le64_to_cpu(ranges[i].slba);
        s->nlb = le16_to_cpu(ranges[i].nlb) + 1;
        *total += s->nlb;
        status = zns_copy_find_source(n, req, nsid, &s->ns);
        if (!status && s->nlb > le16_to_cpu(s->ns->id_ns.mssrl)) {
            status = NVME_CMD_SIZE_LIMIT | NVME_DNR;
        }
    }
    return status;
}

/* Everything that can be told before the first block is read */
static uint16_t coroutine_fn
zns_copy_check(NvmeRequest *req, const ZnsCopySource *sources, unsigned int nr,
               uint64_t total)
{
    NvmeCopyCmd *copy = (NvmeCopyCmd *)&req->cmd;
    bool overlap_is_error = zns_copy_names_source(copy->control[0] & 0xf);
    uint64_t sdlba = le64_to_cpu(copy->sdlba);
    uint16_t status = NVME_SUCCESS;

    if (total > le32_to_cpu(req->ns->id_ns.mcl) ||
        zns_bytes(req->ns, total) > BDRV_REQUEST_MAX_BYTES) {
        return NVME_CMD_SIZE_LIMIT | NVME_DNR;
    }
    for (unsigned int i = 0; !status && i < nr; i++) {
        const ZnsCopySource *s = &sources[i];

        status = zns_check_read_range(s->ns, s->slba, s->nlb);
        if (!status && overlap_is_error && s->ns == req->ns &&
            s->slba < sdlba + total && sdlba < s->slba + s->nlb) {
            status = NVME_CMD_OVERLAP_IO_RANGE | NVME_DNR;
        }
        if (!status) {
            status = zns_check_written(s->ns, s->slba, s->nlb);
        }
    }
    return status ? status : zns_check_range(req->ns, sdlba, total);
}

static int coroutine_fn zns_copy_read(const ZnsCopySource *sources,
                                      unsigned int nr, uint8_t *buf)
{
    int ret = 0;

    for (unsigned int i = 0; ret >= 0 && i < nr; i++) {
        const ZnsCopySource *s = &sources[i];
        uint64_t bytes = zns_bytes(s->ns, s->nlb);

        ret = blk_co_pread(zns_blk(s->ns), zns_bytes(s->ns, s->slba), bytes,
                           buf, 0);
        buf += bytes;
    }
    return ret;
}

static uint16_t coroutine_fn zns_copy(NvmeCtrl *n, NvmeRequest *req)
{
    NvmeCopyCmd *copy = (NvmeCopyCmd *)&req->cmd;
    NvmeNamespace *ns = req->ns;
    unsigned int nr = copy->nr + 1;
    g_autofree ZnsCopySource *sources = g_new(ZnsCopySource, nr);
    uint64_t total, bytes;
    void *buf;
    uint16_t status = zns_copy_check_format(n, copy->control[0] & 0xf);

    if (!status && nr > ns->id_ns.msrc + 1) {
        status = NVME_CMD_SIZE_LIMIT | NVME_DNR;
    }
    if (!status) {
        status = zns_check_writable(ns);
    }
    if (!status) {
        status = zns_copy_parse(n, req, sources, nr, &total);
    }
    if (!status) {
        status = zns_copy_check(req, sources, nr, total);
    }
    if (status) {
        return status;
    }
    bytes = zns_bytes(ns, total);
    buf = blk_try_blockalign(zns_blk(ns), bytes);
    if (!buf) {
        return NVME_INTERNAL_DEV_ERROR;
    }
    zns_account(req, bytes, BLOCK_ACCT_WRITE);
    status = nvme_zns_read_status(zns_copy_read(sources, nr, buf));
    if (!status) {
        BdrvRequestFlags flags = copy->control[2] & COPY_FUA ? BDRV_REQ_FUA
                                                             : 0;

        status = zns_write_status(
            blk_co_pwrite(zns_blk(ns), zns_bytes(ns, le64_to_cpu(copy->sdlba)),
                          bytes, buf, flags));
    }
    qemu_vfree(buf);
    return status;
}

/* --- Dataset Management --- */

static int coroutine_fn zns_report(NvmeNamespace *ns, uint64_t offset,
                                   BlockZoneDescriptor *zones,
                                   unsigned int *nr)
{
    const BlockZoneLimits *zl = &ns->zbd->limits;

    *nr = MIN(REPORT_BATCH, zl->nr_zones - offset / zl->size);
    return blk_co_zone_report(zns_blk(ns), offset, nr, zones);
}

static uint16_t coroutine_fn zns_check_online(NvmeNamespace *ns, uint64_t slba,
                                              uint32_t nlb)
{
    g_autofree BlockZoneDescriptor *zones = g_new(BlockZoneDescriptor,
                                                  REPORT_BATCH);
    uint64_t zone_size = ns->zbd->limits.size;
    uint64_t end = zns_bytes(ns, slba + nlb);
    uint64_t pos = QEMU_ALIGN_DOWN(zns_bytes(ns, slba), zone_size);

    while (pos < end) {
        unsigned int nr;
        int ret = zns_report(ns, pos, zones, &nr);

        if (ret < 0 || nr == 0) {
            return NVME_INTERNAL_DEV_ERROR;
        }
        for (unsigned int i = 0; i < nr && pos < end; i++, pos += zone_size) {
            if (zones[i].state == BLK_ZS_OFFLINE) {
                return NVME_ZONE_OFFLINE | NVME_DNR;
            }
        }
    }
    return NVME_SUCCESS;
}

/*
 * Deallocating is advice, and what a zone holds can only be given up by a
 * reset: so there is nothing to do for a command that makes sense.
 */
static uint16_t coroutine_fn zns_dsm(NvmeCtrl *n, NvmeRequest *req)
{
    NvmeDsmCmd *dsm = (NvmeDsmCmd *)&req->cmd;
    unsigned int nr = (le32_to_cpu(dsm->nr) & 0xff) + 1;
    g_autofree NvmeDsmRange *ranges = g_new(NvmeDsmRange, nr);
    uint16_t status = zns_fetch(n, req, ranges, nr * sizeof(*ranges));

    if (!(le32_to_cpu(dsm->attributes) & NVME_DSMGMT_AD)) {
        return status;
    }
    for (unsigned int i = 0; !status && i < nr; i++) {
        uint64_t slba = le64_to_cpu(ranges[i].slba);
        uint32_t nlb = le32_to_cpu(ranges[i].nlb);

        status = zns_check_range(req->ns, slba, nlb);
        if (!status) {
            status = zns_check_online(req->ns, slba, nlb);
        }
    }
    return status;
}

/* --- Zone Management Send --- */

static uint16_t coroutine_fn zns_mgmt(NvmeNamespace *ns, BlockZoneOp op,
                                      BlockZoneFlags flags, uint64_t offset,
                                      uint64_t bytes, const void *ext)
{
    return zns_mgmt_status(blk_co_zone_mgmt(zns_blk(ns), op, flags, offset,
                                            bytes, ext));
}

/* One zone or, with @all, those that the action applies to */
static uint16_t coroutine_fn zns_change(NvmeNamespace *ns, BlockZoneOp op,
                                        BlockZoneFlags flags, bool all,
                                        uint64_t offset)
{
    const BlockZoneLimits *zl = &ns->zbd->limits;

    return all ? zns_mgmt(ns, op, flags | BDRV_ZONE_ALL, 0,
                          zns_total_bytes(zl), NULL)
               : zns_mgmt(ns, op, flags, offset, zl->size, NULL);
}

static uint16_t coroutine_fn zns_set_ext(NvmeCtrl *n, NvmeRequest *req,
                                         BlockZoneFlags flags, bool all,
                                         uint64_t offset)
{
    const BlockZoneLimits *zl = &req->ns->zbd->limits;
    g_autofree void *ext = NULL;
    uint16_t status;

    if (all || !zl->ext_size) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    ext = g_malloc(zl->ext_size);
    status = zns_fetch(n, req, ext, zl->ext_size);
    return status ? status : zns_mgmt(req->ns, BLK_ZO_SET_EXT, flags, offset,
                                      zl->size, ext);
}

/* @offset is that of the last block to commit. */
static uint16_t coroutine_fn zns_commit(NvmeNamespace *ns, bool all,
                                        uint64_t offset)
{
    const BlockZoneLimits *zl = &ns->zbd->limits;
    uint64_t start = QEMU_ALIGN_DOWN(offset, zl->size);

    if (all) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    if (!zl->zrwa_size) {
        return NVME_INVALID_ZONE_OP | NVME_DNR;
    }
    return zns_status(blk_co_zone_mgmt(zns_blk(ns), BLK_ZO_ZRWA_COMMIT, 0,
                                       start, offset + ns->lbasz - start,
                                       NULL),
                      NVME_INVALID_FIELD | NVME_DNR, NVME_INTERNAL_DEV_ERROR);
}

static uint16_t coroutine_fn zns_mgmt_send(NvmeCtrl *n, NvmeRequest *req)
{
    NvmeZoneSendCmd *cmd = (NvmeZoneSendCmd *)&req->cmd;
    NvmeNamespace *ns = req->ns;
    const BlockZoneLimits *zl = &ns->zbd->limits;
    bool all = cmd->zsflags & NVME_ZSFLAG_SELECT_ALL;
    BlockZoneFlags zrwa = cmd->zsflags & NVME_ZSFLAG_ZRWA_ALLOC ?
                          BDRV_ZONE_ZRWA : 0;
    uint64_t slba = all ? 0 : le64_to_cpu(cmd->slba);
    uint64_t offset = zns_bytes(ns, slba);
    uint16_t status = zns_check_range(ns, slba, 1);

    if (!status) {
        status = zns_check_writable(ns);
    }
    if (status) {
        return status;
    }
    if (offset % zl->size && cmd->zsa != NVME_ZONE_ACTION_ZRWA_FLUSH) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    if (zrwa && (cmd->zsa == NVME_ZONE_ACTION_OPEN ||
                 cmd->zsa == NVME_ZONE_ACTION_SET_ZD_EXT) &&
        (all || !zl->zrwa_size)) {
        /* All means closed zones, and only an empty one can get an area */
        return NVME_INVALID_ZONE_OP | NVME_DNR;
    }

    zns_account(req, 0, BLOCK_ACCT_ZONE_MGMT);
    switch (cmd->zsa) {
    case NVME_ZONE_ACTION_CLOSE:
        return zns_change(ns, BLK_ZO_CLOSE, BDRV_ZONE_CLOSE_EMPTY, all, offset);
    case NVME_ZONE_ACTION_FINISH:
        return zns_change(ns, BLK_ZO_FINISH, 0, all, offset);
    case NVME_ZONE_ACTION_OPEN:
        return zns_change(ns, BLK_ZO_OPEN, zrwa, all, offset);
    case NVME_ZONE_ACTION_RESET:
        return zns_change(ns, BLK_ZO_RESET, 0, all, offset);
    case NVME_ZONE_ACTION_OFFLINE:
        return zns_change(ns, BLK_ZO_OFFLINE, 0, all, offset);
    case NVME_ZONE_ACTION_SET_ZD_EXT:
        return zns_set_ext(n, req, zrwa, all, offset);
    case NVME_ZONE_ACTION_ZRWA_FLUSH:
        return zns_commit(ns, all, offset);
    default:
        return NVME_INVALID_FIELD | NVME_DNR;
    }
}

/* --- Zone Management Receive --- */

static bool zns_filter_valid(uint8_t filter)
{
    return filter <= NVME_ZONE_REPORT_OFFLINE || filter == REPORT_RECOMMENDED;
}

static bool zns_filter_matches(uint8_t filter, const BlockZoneDescriptor *zone)
{
    static const BlockZoneState states[] = {
        [NVME_ZONE_REPORT_EMPTY] = BLK_ZS_EMPTY,
        [NVME_ZONE_REPORT_IMPLICITLY_OPEN] = BLK_ZS_IOPEN,
        [NVME_ZONE_REPORT_EXPLICITLY_OPEN] = BLK_ZS_EOPEN,
        [NVME_ZONE_REPORT_CLOSED] = BLK_ZS_CLOSED,
        [NVME_ZONE_REPORT_FULL] = BLK_ZS_FULL,
        [NVME_ZONE_REPORT_READ_ONLY] = BLK_ZS_RDONLY,
        [NVME_ZONE_REPORT_OFFLINE] = BLK_ZS_OFFLINE,
    };

    switch (filter) {
    case NVME_ZONE_REPORT_ALL:
        return true;
    case REPORT_RECOMMENDED:
        /* Finishing or resetting is never recommended here */
        return zone->attributes & BDRV_ZA_FINISHED_BY_CONTROLLER;
    default:
        return zone->state == states[filter];
    }
}

static NvmeZoneState zns_zone_state(BlockZoneState state)
{
    switch (state) {
    case BLK_ZS_EMPTY:
        return NVME_ZONE_STATE_EMPTY;
    case BLK_ZS_IOPEN:
        return NVME_ZONE_STATE_IMPLICITLY_OPEN;
    case BLK_ZS_EOPEN:
        return NVME_ZONE_STATE_EXPLICITLY_OPEN;
    case BLK_ZS_CLOSED:
        return NVME_ZONE_STATE_CLOSED;
    case BLK_ZS_RDONLY:
        return NVME_ZONE_STATE_READ_ONLY;
    case BLK_ZS_FULL:
        return NVME_ZONE_STATE_FULL;
    default:
        return NVME_ZONE_STATE_OFFLINE;
    }
}

static void zns_fill_descriptor(NvmeNamespace *ns, NvmeZoneDescr *d,
                                const BlockZoneDescriptor *zone)
{
    /* The write pointer of a full zone means nothing; hosts know all ones */
    uint64_t wp = zone->state == BLK_ZS_FULL ? UINT64_MAX
                                             : zns_blocks(ns, zone->wp);

    *d = (NvmeZoneDescr) {
        .zt = NVME_ZONE_TYPE_SEQ_WRITE,
        .zs = zns_zone_state(zone->state) << 4,
        .za = zone->attributes,
        .zcap = cpu_to_le64(zns_blocks(ns, zone->cap)),
        .zslba = cpu_to_le64(zns_blocks(ns, zone->start)),
        .wp = cpu_to_le64(wp),
    };
}

typedef struct ZnsReport {
    NvmeNamespace *ns;
    uint8_t filter;
    bool partial;
    size_t entry;               /* bytes per zone, with the extension */
    uint64_t complete;          /* entries that fit */
    uint64_t room;              /* the same, counting one that is cut off */
    uint64_t found;
    uint8_t *next;              /* entry to fill */
} ZnsReport;

static int coroutine_fn zns_report_zone(ZnsReport *r,
                                        const BlockZoneDescriptor *zone)
{
    int ret = 0;

    if (!zns_filter_matches(r->filter, zone)) {
        return 0;
    }
    if (r->found < r->room) {
        zns_fill_descriptor(r->ns, (NvmeZoneDescr *)r->next, zone);
        if (r->entry > sizeof(NvmeZoneDescr) &&
            (zone->attributes & BDRV_ZA_EXT)) {
            ret = blk_co_zone_get_ext(zns_blk(r->ns), zone->start,
                                      r->next + sizeof(NvmeZoneDescr));
        }
        r->next += r->entry;
    }
    r->found++;
    return ret;
}

static int coroutine_fn zns_report_from(ZnsReport *r, uint64_t offset)
{
    g_autofree BlockZoneDescriptor *zones = g_new(BlockZoneDescriptor,
                                                  REPORT_BATCH);
    const BlockZoneLimits *zl = &r->ns->zbd->limits;

    while (offset < zns_total_bytes(zl)) {
        unsigned int nr;
        int ret = zns_report(r->ns, offset, zones, &nr);

        for (unsigned int i = 0; ret >= 0 && i < nr; i++) {
            if (r->partial && r->found >= r->room) {
                return 0;
            }
            ret = zns_report_zone(r, &zones[i]);
        }
        if (ret < 0 || nr == 0) {
            return ret < 0 ? ret : -EIO;
        }
        offset += (uint64_t)nr * zl->size;
    }
    return 0;
}

static uint16_t coroutine_fn zns_mgmt_receive(NvmeCtrl *n, NvmeRequest *req)
{
    NvmeNamespace *ns = req->ns;
    const BlockZoneLimits *zl = &ns->zbd->limits;
    uint64_t slba = (uint64_t)le32_to_cpu(req->cmd.cdw11) << 32 |
                    le32_to_cpu(req->cmd.cdw10);
    uint64_t len = ((uint64_t)le32_to_cpu(req->cmd.cdw12) + 1) * 4;
    uint32_t dw13 = le32_to_cpu(req->cmd.cdw13);
    uint8_t action = dw13;
    ZnsReport r = {
        .ns = ns,
        .filter = dw13 >> 8,
        .partial = dw13 & (1 << 16),
        .entry = sizeof(NvmeZoneDescr),
    };
    NvmeZoneReportHeader *header;
    g_autofree uint8_t *buf = NULL;
    uint64_t body, start;
    int ret;
    uint16_t status = zns_check_range(ns, slba, 1);

    if (!status) {
        status = zns_check_limit(n, len, n->params.mdts);
    }
    if (status) {
        return status;
    }
    if (action == NVME_ZONE_REPORT_EXTENDED) {
        r.entry += zl->ext_size;
    }
    if ((action != NVME_ZONE_REPORT && action != NVME_ZONE_REPORT_EXTENDED) ||
        (action == NVME_ZONE_REPORT_EXTENDED && !zl->ext_size) ||
        !zns_filter_valid(r.filter)) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }

    start = QEMU_ALIGN_DOWN(zns_bytes(ns, slba), zl->size);
    body = len > sizeof(*header) ? len - sizeof(*header) : 0;
    body = MIN(body, (zl->nr_zones - start / zl->size) * r.entry);
    r.complete = body / r.entry;
    r.room = DIV_ROUND_UP(body, r.entry);
    buf = g_try_malloc0(sizeof(*header) + r.room * r.entry);
    if (!buf) {
        return NVME_INTERNAL_DEV_ERROR;
    }
    r.next = buf + sizeof(*header);

    ret = zns_report_from(&r, start);
    if (ret < 0) {
        return zns_status(ret, NVME_INTERNAL_DEV_ERROR,
                          NVME_INTERNAL_DEV_ERROR);
    }
    header = (NvmeZoneReportHeader *)buf;
    header->nr_zones = cpu_to_le64(r.partial ? MIN(r.found, r.complete)
                                             : r.found);
    /* What is beyond the last entry is not defined, so it stays as it is */
    return nvme_c2h_part(n, buf, sizeof(*header) + body, len, req);
}

/* --- Life of a command --- */

typedef uint16_t coroutine_fn ZnsCommand(NvmeCtrl *n, NvmeRequest *req);

static ZnsCommand *const zns_commands[] = {
    [NVME_CMD_WRITE] = zns_write,
    [NVME_CMD_READ] = zns_read,
    [NVME_CMD_COMPARE] = zns_compare,
    [NVME_CMD_WRITE_ZEROES] = zns_write_zeroes,
    [NVME_CMD_DSM] = zns_dsm,
    [NVME_CMD_VERIFY] = zns_verify,
    [NVME_CMD_COPY] = zns_copy,
    [NVME_CMD_ZONE_MGMT_SEND] = zns_mgmt_send,
    [NVME_CMD_ZONE_MGMT_RECV] = zns_mgmt_receive,
    [NVME_CMD_ZONE_APPEND] = zns_append,
};

/*
 * Lives as long as the command, so that whoever deletes its queue can wait.
 * It cannot be cancelled: zones would be left at some point in between.
 */
typedef struct ZnsAIOCB {
    BlockAIOCB common;
    NvmeRequest *req;
} ZnsAIOCB;

static const AIOCBInfo zns_aiocb_info = {
    .aiocb_size = sizeof(ZnsAIOCB),
};

static void coroutine_fn zns_command_entry(void *opaque)
{
    ZnsAIOCB *acb = opaque;
    NvmeRequest *req = acb->req;

    req->status = zns_commands[req->cmd.opcode](nvme_ctrl(req), req);
    trace_pci_nvme_zns_done(nvme_cid(req), req->status);
    if (req->status) {
        block_acct_failed(blk_get_stats(zns_blk(req->ns)), &req->acct);
    }
    nvme_rw_complete_cb(req, 0);
    qemu_aio_unref(acb);
}

bool nvme_zns_io_cmd(NvmeCtrl *n, NvmeRequest *req)
{
    uint8_t opcode = req->cmd.opcode;
    ZnsAIOCB *acb;

    if (opcode >= ARRAY_SIZE(zns_commands) || !zns_commands[opcode]) {
        return false;
    }
    trace_pci_nvme_zns_start(nvme_cid(req), nvme_nsid(req->ns),
                             nvme_io_opc_str(opcode));
    acb = blk_aio_get(&zns_aiocb_info, zns_blk(req->ns), NULL, NULL);
    acb->req = req;
    req->aiocb = &acb->common;
    qemu_coroutine_enter(qemu_coroutine_create(zns_command_entry, acb));
    return true;
}

/* --- Format, shutdown --- */

/* Read-only zones cannot be empty again: they go offline, the rest is reset. */
BlockAIOCB *nvme_zns_format(NvmeNamespace *ns, int64_t *offset,
                            BlockCompletionFunc *cb, void *opaque)
{
    BlockZoneOp op = *offset == 0 ? BLK_ZO_OFFLINE : BLK_ZO_RESET;

    *offset = *offset == 0 ? 1 : ns->size;
    return blk_aio_zone_mgmt(zns_blk(ns), op, BDRV_ZONE_ALL, 0,
                             zns_total_bytes(&ns->zbd->limits), cb, opaque);
}

static bool zns_is_shut_down(NvmeCtrl *n)
{
    NvmeSecCtrlEntry *sctrl = nvme_sctrl(n);
    uint32_t csts = ldl_le_p(&n->bar.csts);

    /* A virtual function that is not online cannot be shut down */
    return (NVME_CSTS_SHST(csts) << CSTS_SHST_SHIFT) ==
           NVME_CSTS_SHST_COMPLETE || (sctrl && !sctrl->scs);
}

static void zns_power_cycle(NvmeNamespace *ns)
{
    int ret = 0;

    if (blk_is_available(zns_blk(ns)) && blk_is_writable(zns_blk(ns))) {
        ret = blk_zone_mgmt(zns_blk(ns), BLK_ZO_POWER_CYCLE, BDRV_ZONE_ALL, 0,
                            zns_total_bytes(&ns->zbd->limits), NULL);
    }
    if (ret < 0) {
        warn_report("cannot close the zones of namespace %" PRIu32 ": %s",
                    nvme_nsid(ns), strerror(-ret));
    }
}

bool nvme_zns_shutdown(NvmeCtrl *n)
{
    for (uint32_t i = 0; i < NVME_MAX_CONTROLLERS; i++) {
        NvmeCtrl *other = nvme_subsys_ctrl(n->subsys, i);

        if (other && other != n && !zns_is_shut_down(other)) {
            return false;
        }
    }
    for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++) {
        NvmeNamespace *ns = nvme_subsys_ns(n->subsys, nsid);

        if (ns && ns->zbd) {
            zns_power_cycle(ns);
        }
    }
    return true;
}

/* --- Events --- */

static void zns_list_add(ZnsChangedList *list, uint64_t zslba)
{
    unsigned int count = le16_to_cpu(list->count);

    if (count == CHANGED_TOO_MANY) {
        return;
    }
    for (unsigned int i = 0; i < count; i++) {
        if (list->zslba[i] == cpu_to_le64(zslba)) {
            return;
        }
    }
    if (count == ARRAY_SIZE(list->zslba)) {
        *list = (ZnsChangedList) { .count = cpu_to_le16(CHANGED_TOO_MANY) };
    } else {
        list->zslba[count] = cpu_to_le64(zslba);
        list->count = cpu_to_le16(count + 1);
    }
}

static NvmeAsyncEvent *zns_pending_event(NvmeCtrl *n, uint32_t nsid)
{
    NvmeAsyncEvent *event;

    QTAILQ_FOREACH(event, &n->aer_queue, entry) {
        if (event->nsid == nsid &&
            event->result.log_page == NVME_LOG_CHANGED_ZONES) {
            return event;
        }
    }
    return NULL;
}

/* The node has changed a zone, and no command of ours was the reason. */
static void zns_zone_changed(void *opaque, int64_t offset)
{
    NvmeNamespace *ns = opaque;
    NvmeSubsystem *subsys = ns->subsys ? ns->subsys : ns->ctrl->subsys;
    uint64_t zslba = zns_blocks(ns, offset);

    trace_pci_nvme_zns_zone_changed(nvme_nsid(ns), zslba);
    for (uint32_t i = 0; i < NVME_MAX_CONTROLLERS; i++) {
        NvmeCtrl *n = nvme_subsys_ctrl(subsys, i);

        if (!n || nvme_ns(n, nvme_nsid(ns)) != ns) {
            continue;
        }
        if (!ns->zbd->changed[i]) {
            ns->zbd->changed[i] = g_new0(ZnsChangedList, 1);
        }
        zns_list_add(ns->zbd->changed[i], zslba);
        if ((n->features.async_config & AEC_ZONE_CHANGED) &&
            !zns_pending_event(n, nvme_nsid(ns))) {
            nvme_enqueue_ns_event(n, nvme_nsid(ns), NVME_AER_TYPE_NOTICE,
                                  NVME_AER_INFO_NOTICE_ZONE_CHANGED,
                                  NVME_LOG_CHANGED_ZONES);
        }
    }
}

static const BlockDevOps zns_dev_ops = {
    .zone_changed_cb = zns_zone_changed,
};

uint16_t nvme_zns_changed_zones(NvmeCtrl *n, uint8_t rae, size_t len,
                                uint64_t off, NvmeRequest *req)
{
    uint32_t nsid = le32_to_cpu(req->cmd.nsid);
    NvmeNamespace *ns = nvme_ns(n, nsid);
    ZnsChangedList list = {};
    uint16_t status;

    if (!ns || !ns->zbd || off >= sizeof(list)) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    if (ns->zbd->changed[n->cntlid]) {
        list = *ns->zbd->changed[n->cntlid];
    }
    status = nvme_c2h_part(n, (uint8_t *)&list + off, sizeof(list) - off, len,
                           req);
    if (!status && !rae) {
        NvmeAsyncEvent *event = zns_pending_event(n, nsid);

        g_clear_pointer(&ns->zbd->changed[n->cntlid], g_free);
        if (event) {
            QTAILQ_REMOVE(&n->aer_queue, event, entry);
            n->aer_queued--;
            g_free(event);
        }
        nvme_clear_events(n, NVME_AER_TYPE_NOTICE);
    }
    return status;
}

void nvme_zns_reset(NvmeCtrl *n)
{
    n->features.async_config &= ~AEC_ZONE_CHANGED;
    for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++) {
        NvmeNamespace *ns = nvme_subsys_ns(n->subsys, nsid);

        if (ns && ns->zbd) {
            g_clear_pointer(&ns->zbd->changed[n->cntlid], g_free);
        }
    }
}

/* --- Identify --- */

/* In pages of the smallest size, as a power of two */
static uint8_t zns_append_limit(const BlockZoneLimits *zl)
{
    return zl->max_append < 2 * 4096 ? 0 : 63 - clz64(zl->max_append / 4096);
}

uint8_t nvme_zns_zasl(NvmeCtrl *n)
{
    uint8_t zasl = n->params.zasl;

    for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++) {
        NvmeNamespace *ns = nvme_ns(n, nsid);

        if (ns && ns->zbd) {
            uint8_t limit = zns_append_limit(&ns->zbd->limits);

            zasl = MIN_NON_ZERO(zasl, MIN_NON_ZERO(limit, n->params.mdts));
        }
    }
    return zasl;
}

void nvme_zns_attach(NvmeCtrl *n, NvmeNamespace *ns)
{
    if (ns->zbd) {
        n->id_ctrl.oaes |= cpu_to_le32(NVME_OAES_ZONE_CHANGED);
    }
}

/* A limit that is one less in the field, where all ones mean none */
static uint32_t zns_zeroes_based(uint32_t limit)
{
    return cpu_to_le32(limit ? limit - 1 : UINT32_MAX);
}

static void zns_init_zoned(NvmeNamespace *ns)
{
    const BlockZoneLimits *zl = &ns->zbd->limits;
    NvmeIdNsZoned *id = ns->id_ns_zoned;
    uint16_t ozcs = ns->params.cross_zone_read ? NVME_ID_NS_ZONED_OZCS_RAZB : 0;

    id->mar = zns_zeroes_based(zl->max_active);
    id->mor = zns_zeroes_based(MIN_NON_ZERO(zl->max_open, zl->max_active));
    id->lbafe[0].zsze = cpu_to_le64(zns_blocks(ns, zl->size));
    id->lbafe[0].zdes = zl->ext_size / 64;
    if (zl->zrwa_size) {
        ozcs |= NVME_ID_NS_ZONED_OZCS_ZRWASUP;
        id->numzrwa = zns_zeroes_based(zl->max_zrwa);
        id->zrwas = cpu_to_le16(zns_blocks(ns, zl->zrwa_size));
        id->zrwafg = cpu_to_le16(zns_blocks(ns, zl->zrwa_granularity));
        id->zrwacap = NVME_ID_NS_ZONED_ZRWACAP_EXPFLUSHSUP;
    }
    id->ozcs = cpu_to_le16(ozcs);
}

static BlockDriverState *zns_node(NvmeNamespace *ns)
{
    BlockDriverState *bs = zns_blk(ns) ? blk_bs(zns_blk(ns)) : NULL;

    return bs && bs->bl.zones.model == BLK_Z_HM ? bs : NULL;
}

static void zns_create(NvmeNamespace *ns, const BlockZoneLimits *zl)
{
    ns->zbd = g_new0(NvmeZbd, 1);
    ns->zbd->limits = *zl;
    ns->id_ns_zoned = g_new0(NvmeIdNsZoned, 1);
    blk_set_dev_ops(zns_blk(ns), &zns_dev_ops, ns);
}

void nvme_zns_init(NvmeNamespace *ns)
{
    BlockDriverState *bs = zns_node(ns);
    NvmeIdNs *id = &ns->id_ns;
    const BlockZoneLimits *zl;
    uint64_t capacity;

    if (!ns->zbd && !bs) {
        return;
    }
    if (!ns->zbd) {
        zns_create(ns, &bs->bl.zones);
    }
    zl = &ns->zbd->limits;
    capacity = (uint64_t)zl->nr_zones * zl->capacity;

    ns->csi = NVME_CSI_ZONED;
    ns->nlbaf = 1;
    memset(id->lbaf, 0, sizeof(id->lbaf));
    id->lbaf[0] = ns->lbaf;
    id->nlbaf = 0;
    id->flbas = 0;
    id->mc = 0;
    id->dpc = 0;
    id->dps = 0;
    id->nsze = cpu_to_le64(zns_blocks(ns, zns_total_bytes(zl)));
    id->ncap = cpu_to_le64(zns_blocks(ns, capacity));
    id->nuse = id->ncap;
    id->nsattr = blk_is_writable(zns_blk(ns)) ? 0 : NSATTR_WRITE_PROTECTED;
    zns_init_zoned(ns);
}

/* --- Realize --- */

static bool zns_check_params(NvmeNamespace *ns, const BlockZoneLimits *zl,
                             Error **errp)
{
    const NvmeNamespaceParams *p = &ns->params;
    const struct {
        const char *name;
        uint64_t given, unset, actual;
    } params[] = {
        { "zoned.zone_size", p->zone_size_bs, 0, zl->size },
        { "zoned.zone_capacity", p->zone_cap_bs, 0, zl->capacity },
        { "zoned.max_active", p->max_active_zones, 0, zl->max_active },
        { "zoned.max_open", p->max_open_zones, 0, zl->max_open },
        { "zoned.descr_ext_size", p->zd_extension_size, 0, zl->ext_size },
        { "zoned.numzrwa", p->numzrwa, 0, zl->max_zrwa },
        { "zoned.zrwas", p->zrwas, 0, zl->zrwa_size },
        { "zoned.zrwafg", p->zrwafg, -1, zl->zrwa_granularity },
    };

    for (int i = 0; i < ARRAY_SIZE(params); i++) {
        if (params[i].given != params[i].unset &&
            params[i].given != params[i].actual) {
            error_setg(errp, "%s is %" PRIu64 " but the zoned drive has %"
                       PRIu64 "; leave it out", params[i].name,
                       params[i].given, params[i].actual);
            return false;
        }
    }
    if (p->ms || p->pi) {
        error_setg(errp, "%s=%u: a zoned drive has no room for metadata",
                   p->ms ? "ms" : "pi", p->ms ? p->ms : p->pi);
        return false;
    }
    if (ns->endgrp && ns->endgrp->fdp.enabled) {
        error_setg(errp, "a zoned drive cannot be used in an FDP "
                   "configuration");
        return false;
    }
    return true;
}

static bool zns_check_zones(NvmeNamespace *ns, const BlockZoneLimits *zl,
                            Error **errp)
{
    g_autofree BlockZoneDescriptor *zones = g_new(BlockZoneDescriptor,
                                                  REPORT_BATCH);
    uint32_t i = 0;

    if (blk_getlength(zns_blk(ns)) != zns_total_bytes(zl)) {
        error_setg(errp, "the last zone of the drive is smaller than %" PRIu64
                   " bytes, which NVMe namespaces cannot have", zl->size);
        return false;
    }
    while (i < zl->nr_zones) {
        unsigned int nr = MIN(REPORT_BATCH, zl->nr_zones - i);
        int ret = blk_zone_report(zns_blk(ns), (int64_t)i * zl->size, &nr,
                                  zones);

        if (ret < 0 || nr == 0) {
            error_setg_errno(errp, ret < 0 ? -ret : EIO,
                             "cannot get a report of the drive's zones");
            return false;
        }
        for (unsigned int k = 0; k < nr; k++, i++) {
            if (zones[k].type == BLK_ZT_CONV) {
                error_setg(errp, "zone %" PRIu32 " of the drive is a "
                           "conventional one, which NVMe namespaces cannot "
                           "have", i);
                return false;
            }
        }
    }
    if (!zl->capacity) {
        error_setg(errp, "the driver of this zoned drive cannot do what NVMe "
                   "namespaces need");
        return false;
    }
    return true;
}

static bool zns_check_sizes(const BlockZoneLimits *zl, uint32_t block,
                            Error **errp)
{
    const struct {
        const char *what;
        uint64_t bytes;
        bool area;              /* a field of 16 bits has it, in blocks */
    } sizes[] = {
        { "zone size", zl->size },
        { "zone capacity", zl->capacity },
        { "random write area size", zl->zrwa_size, true },
        { "random write area granularity", zl->zrwa_granularity, true },
    };

    if (block % zl->write_granularity) {
        error_setg(errp, "logical_block_size %" PRIu32 " is not a multiple of "
                   "%" PRIu32 ", the least that can be written to the drive",
                   block, zl->write_granularity);
        return false;
    }
    for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
        if (sizes[i].bytes % block) {
            error_setg(errp, "%s %" PRIu64 " of the drive is not a multiple of "
                       "logical_block_size %" PRIu32, sizes[i].what,
                       sizes[i].bytes, block);
            return false;
        }
        if (sizes[i].area && sizes[i].bytes / block > UINT16_MAX) {
            error_setg(errp, "%s %" PRIu64 " of the drive is more than %d "
                       "blocks of logical_block_size %" PRIu32, sizes[i].what,
                       sizes[i].bytes, UINT16_MAX, block);
            return false;
        }
    }
    if (!zns_append_limit(zl)) {
        error_setg(errp, "zone append limit %" PRIu64 " of the drive "
                   "(zone.max_append_bytes of a qcow2 image) is less than "
                   "8192, the smallest that NVMe can tell the guest",
                   zl->max_append);
        return false;
    }
    return true;
}

bool nvme_zns_probe(NvmeNamespace *ns, Error **errp)
{
    BlockDriverState *bs = zns_node(ns);
    BlockConf *conf = &ns->blkconf;
    BlockZoneLimits zl;

    if (!bs) {
        return true;
    }
    zl = bs->bl.zones;
    if (!conf->logical_block_size) {
        conf->logical_block_size = MAX(zl.write_granularity, BDRV_SECTOR_SIZE);
    }
    if (!conf->physical_block_size) {
        conf->physical_block_size = conf->logical_block_size;
    }
    if (!zns_check_zones(ns, &zl, errp) ||
        !zns_check_params(ns, &zl, errp) ||
        !zns_check_sizes(&zl, conf->logical_block_size, errp)) {
        return false;
    }
    /* Not the zones in memory that the property stands for otherwise */
    ns->params.zoned = false;
    return true;
}

void nvme_zns_cleanup(NvmeNamespace *ns)
{
    zns_power_cycle(ns);
    blk_set_dev_ops(zns_blk(ns), NULL, NULL);
    for (int i = 0; i < NVME_MAX_CONTROLLERS; i++) {
        g_free(ns->zbd->changed[i]);
    }
    g_clear_pointer(&ns->id_ns_zoned, g_free);
    g_clear_pointer(&ns->zbd, g_free);
}
