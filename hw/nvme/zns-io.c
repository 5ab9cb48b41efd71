/*
 * NVMe: zoned namespaces whose zones live in the block node
 *
 * The commands that read and write.  Data that is written is mapped or copied
 * as a whole before the node sees the command, and reaches it in one request:
 * so a bad data pointer changes no zone, and no other write can get in between.
 * dma_blk_write() splits a request, which is why this does not go through it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/memalign.h"
#include "block/zoned-range.h"
#include "system/dma-map.h"
#include "zns-int.h"

/* Namespace is Write Protected */
#define STATUS_WRITE_PROTECTED 0x0020

#define COPY_FUA 0x40

/* --- Statuses --- */

uint16_t zns_status(int ret, uint16_t invalid, uint16_t failed)
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

uint16_t nvme_zbd_read_status(NvmeNamespace *ns, int ret)
{
    if (!ns->zbd) {
        return ret < 0 ? NVME_UNRECOVERED_READ : NVME_SUCCESS;
    }
    return zns_status(ret, NVME_UNRECOVERED_READ, NVME_UNRECOVERED_READ);
}

/* --- Checks that need no zone --- */

uint16_t zns_check_range(NvmeNamespace *ns, uint64_t slba, uint64_t nlb)
{
    uint64_t nsze = le64_to_cpu(ns->id_ns.nsze);

    return nlb <= nsze && slba <= nsze - nlb ? NVME_SUCCESS
                                             : NVME_LBA_RANGE | NVME_DNR;
}

uint16_t zns_check_limit(NvmeCtrl *n, uint64_t bytes, uint8_t order)
{
    uint64_t page = 1 << (12 + NVME_CAP_MPSMIN(ldq_le_p(&n->bar.cap)));

    return order && order < 32 && bytes > page << order ?
           NVME_INVALID_FIELD | NVME_DNR : NVME_SUCCESS;
}

uint16_t zns_check_writable(NvmeNamespace *ns)
{
    return blk_is_writable(zns_blk(ns)) ? NVME_SUCCESS
                                        : STATUS_WRITE_PROTECTED | NVME_DNR;
}

uint16_t nvme_zbd_check_read(NvmeNamespace *ns, uint64_t slba, uint32_t nlb)
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

    return status || !ns->zbd ? status : nvme_zbd_check_read(ns, slba, nlb);
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
            return NVME_INTERNAL_DEV_ERROR;
        }
        if (!(ret & BDRV_BLOCK_DATA)) {
            return NVME_DULB | NVME_DNR;
        }
        offset += bytes;
    }
    return NVME_SUCCESS;
}

/* --- The command's data --- */

uint16_t zns_fetch(NvmeCtrl *n, NvmeRequest *req, void *buf, size_t len)
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

static void zns_unmap_memory(ZnsData *d)
{
    /* A memory buffer of the controller is not mapped */
    if (d->req->sg.flags & NVME_SG_DMA) {
        dma_unmap_qiov(&d->qiov, &d->req->sg.qsg, zns_dma_direction(d), true);
    }
}

static bool zns_map_memory(ZnsData *d)
{
    NvmeSg *sg = &d->req->sg;

    if (!(sg->flags & NVME_SG_DMA)) {
        qemu_iovec_concat(&d->qiov, &sg->iov, 0, sg->iov.size);
        return true;
    }
    return dma_map_qiov(&d->qiov, &sg->qsg, sg->qsg.size,
                        zns_dma_direction(d));
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
        zns_unmap_memory(d);
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

void zns_account(NvmeRequest *req, uint64_t bytes, enum BlockAcctType type)
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

uint16_t coroutine_fn zns_read(NvmeCtrl *n, NvmeRequest *req)
{
    ZnsRange r = zns_range(req);
    ZnsData data;
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
    /* With FUA, what is read has to be durable, not only current */
    if ((r.flags & BDRV_REQ_FUA) && blk_co_flush(zns_blk(req->ns)) < 0) {
        status = NVME_UNRECOVERED_READ;
    } else {
        status = nvme_zbd_read_status(
            req->ns, blk_co_preadv(zns_blk(req->ns), r.offset, r.bytes,
                                   &data.qiov, 0));
    }
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
    return nvme_zbd_read_status(req->ns, blk_co_pread(blk, r->offset, r->bytes,
                                                      *buf, 0));
}

uint16_t coroutine_fn zns_compare(NvmeCtrl *n, NvmeRequest *req)
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

uint16_t coroutine_fn zns_verify(NvmeCtrl *n, NvmeRequest *req)
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

uint16_t coroutine_fn zns_write(NvmeCtrl *n, NvmeRequest *req)
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

uint16_t coroutine_fn zns_write_zeroes(NvmeCtrl *n, NvmeRequest *req)
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

uint16_t coroutine_fn zns_append(NvmeCtrl *n, NvmeRequest *req)
{
    NvmeZonedResult *result = (NvmeZonedResult *)&req->cqe;
    ZnsRange r = zns_range(req);
    int64_t offset = r.offset;
    ZnsData data;
    int ret;
    uint16_t status = zns_check_limit(n, r.bytes, n->params.mdts);

    if (!status) {
        status = zns_check_limit(n, r.bytes, nvme_zbd_zasl(n));
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

static uint16_t coroutine_fn zns_copy_read(const ZnsCopySource *sources,
                                           unsigned int nr, uint8_t *buf)
{
    uint16_t status = NVME_SUCCESS;

    for (unsigned int i = 0; !status && i < nr; i++) {
        const ZnsCopySource *s = &sources[i];
        uint64_t bytes = zns_bytes(s->ns, s->nlb);

        status = nvme_zbd_read_status(
            s->ns, blk_co_pread(zns_blk(s->ns), zns_bytes(s->ns, s->slba),
                                bytes, buf, 0));
        buf += bytes;
    }
    return status;
}

uint16_t coroutine_fn zns_copy(NvmeCtrl *n, NvmeRequest *req)
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
    status = zns_copy_read(sources, nr, buf);
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

/* Bytes of the namespace */
typedef struct ZnsSpan {
    uint64_t start, end;
} ZnsSpan;

static int zns_compare_spans(const void *a, const void *b)
{
    uint64_t x = ((const ZnsSpan *)a)->start, y = ((const ZnsSpan *)b)->start;

    return x < y ? -1 : x > y;
}

static uint16_t zns_dsm_spans(NvmeNamespace *ns, const NvmeDsmRange *ranges,
                              unsigned int nr, ZnsSpan *spans)
{
    uint16_t status = NVME_SUCCESS;

    for (unsigned int i = 0; !status && i < nr; i++) {
        uint64_t slba = le64_to_cpu(ranges[i].slba);
        uint32_t nlb = le32_to_cpu(ranges[i].nlb);

        status = zns_check_range(ns, slba, nlb);
        spans[i].start = zns_bytes(ns, slba);
        spans[i].end = spans[i].start + zns_bytes(ns, nlb);
    }
    qsort(spans, nr, sizeof(*spans), zns_compare_spans);
    return status;
}

static int coroutine_fn zns_is_offline(const BlockZoneDescriptor *zone,
                                       void *opaque)
{
    return zone->state == BLK_ZS_OFFLINE;
}

/* No zone is looked at twice, however much the ranges overlap. */
static uint16_t coroutine_fn
zns_check_online(NvmeNamespace *ns, const ZnsSpan *spans, unsigned int nr)
{
    uint64_t zone_size = ns->zbd->limits.size;
    uint64_t done = 0;
    int ret = 0;

    for (unsigned int i = 0; !ret && i < nr; i++) {
        uint64_t start = MAX(done, spans[i].start);

        if (start < spans[i].end) {
            ret = blk_co_for_each_zone(zns_blk(ns), start, spans[i].end - start,
                                       0, zns_is_offline, NULL);
            done = QEMU_ALIGN_UP(spans[i].end, zone_size);
        }
    }
    return ret < 0 ? NVME_INTERNAL_DEV_ERROR :
           ret ? NVME_ZONE_OFFLINE | NVME_DNR : NVME_SUCCESS;
}

/*
 * Deallocating is advice, and what a zone holds can only be given up by a
 * reset: so there is nothing to do for a command that makes sense.  That no
 * zone is offline has to be checked (ZNS 1.1, 2.1.1.2).
 */
uint16_t coroutine_fn zns_dsm(NvmeCtrl *n, NvmeRequest *req)
{
    NvmeDsmCmd *dsm = (NvmeDsmCmd *)&req->cmd;
    unsigned int nr = (le32_to_cpu(dsm->nr) & 0xff) + 1;
    g_autofree NvmeDsmRange *ranges = g_new(NvmeDsmRange, nr);
    g_autofree ZnsSpan *spans = g_new(ZnsSpan, nr);
    uint16_t status = zns_fetch(n, req, ranges, nr * sizeof(*ranges));

    if (status || !(le32_to_cpu(dsm->attributes) & NVME_DSMGMT_AD)) {
        return status;
    }
    status = zns_dsm_spans(req->ns, ranges, nr, spans);
    return status ? status : zns_check_online(req->ns, spans, nr);
}
