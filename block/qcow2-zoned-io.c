/*
 * Zoned qcow2: the guest's reads, writes and zone operations
 *
 * Zone rules are asked of the zone table before the I/O and told its outcome
 * after; data goes straight to the image file where the zone is mapped, and
 * through plain qcow2 where it is not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "block/block-zoned.h"
#include "qcow2-zoned-int.h"
#include "trace.h"

/* Zones of more clusters than this are allocated as plain qcow2 does it. */
#define MAX_MAPPED_CLUSTERS 65536

/* --- Mapping --- */

/*
 * A sequential zone is mapped as a whole, before its first write: one extent
 * of the image file, linked in the L2 tables and the file extended over it.
 * Writes then change no metadata, and go where zone_host_offset() says.  It is
 * safe to have clusters mapped that hold anything, because nothing is read
 * from above the end of data.
 */

/* The cluster that @start is in, if the whole range lies in the file in one */
static int coroutine_fn GRAPH_RDLOCK
probe_extent(BlockDriverState *bs, uint64_t start, uint64_t bytes,
             uintptr_t *cluster)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t host = HOST_UNKNOWN;

    for (uint64_t done = 0; done < bytes; ) {
        unsigned int n = MIN(bytes - done, BDRV_REQUEST_MAX_BYTES);
        QCow2SubclusterType type;
        uint64_t here;
        int ret;

        ret = qcow2_get_host_offset(bs, start + done, &n, &here, &type);
        if (ret < 0) {
            return ret;
        }
        if (type == QCOW2_SUBCLUSTER_UNALLOCATED_PLAIN) {
            here = HOST_UNKNOWN;
        } else if (type == QCOW2_SUBCLUSTER_NORMAL) {
            here -= done;
        } else {
            *cluster = HOST_SCATTERED;
            return 0;
        }
        if (done && here != host) {
            *cluster = HOST_SCATTERED;
            return 0;
        }
        host = here;
        done += n;
    }
    *cluster = host >> s->cluster_bits;
    return 0;
}

/* May the clusters be written in place, without looking at each again? */
static int GRAPH_RDLOCK check_exclusive(BlockDriverState *bs, uint64_t cluster,
                                        uint64_t nb_clusters)
{
    BDRVQcow2State *s = bs->opaque;

    for (uint64_t i = 0; i < nb_clusters; i++) {
        uint64_t refcount;
        int ret = qcow2_get_refcount(bs, cluster + i, &refcount);

        if (ret < 0) {
            return ret;
        }
        if (refcount != 1) {
            return 0;
        }
    }
    return qcow2_pre_write_overlap_check(bs, 0, cluster << s->cluster_bits,
                                         nb_clusters << s->cluster_bits,
                                         true) < 0 ? -EIO : 1;
}

static int coroutine_fn GRAPH_RDLOCK
link_extent(BlockDriverState *bs, uint64_t start, uint64_t host,
            uint64_t nb_clusters)
{
    BDRVQcow2State *s = bs->opaque;

    while (nb_clusters) {
        int n = MIN(nb_clusters,
                    s->l2_slice_size - offset_to_l2_slice_index(s, start));
        uint64_t bytes = (uint64_t)n << s->cluster_bits;
        QCowL2Meta m = {
            .offset = start,
            .alloc_offset = host,
            .nb_clusters = n,
            .cow_end.offset = bytes,
            /* All subclusters count as written */
            .prealloc = !has_subclusters(s),
        };
        int ret;

        qemu_co_queue_init(&m.dependent_requests);
        ret = qcow2_alloc_cluster_link_l2(bs, &m);
        if (ret < 0) {
            return ret;
        }
        start += bytes;
        host += bytes;
        nb_clusters -= n;
    }
    return 0;
}

static int coroutine_fn GRAPH_RDLOCK
allocate_extent(BlockDriverState *bs, uint64_t start, uint64_t nb_clusters,
                uintptr_t *cluster)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t bytes = nb_clusters << s->cluster_bits;
    int64_t host, file_length;
    int ret;

    host = qcow2_alloc_clusters(bs, bytes);
    if (host < 0) {
        return host;
    }
    file_length = bdrv_co_getlength(bs->file->bs);
    ret = MIN(file_length, 0);
    if (ret == 0) {
        ret = qcow2_pre_write_overlap_check(bs, 0, host, bytes, true);
    }
    if (ret == 0 && file_length < host + bytes) {
        ret = bdrv_co_truncate(bs->file, host + bytes, false,
                               PREALLOC_MODE_OFF, 0, NULL);
    }
    if (ret < 0) {
        qcow2_free_clusters(bs, host, bytes, QCOW2_DISCARD_OTHER);
        return ret;
    }
    /* Where this fails some are linked: they are found scattered next time */
    ret = link_extent(bs, start, host, nb_clusters);
    *cluster = host >> s->cluster_bits;
    trace_qcow2_zoned_map(bs, start, host, bytes, ret);
    return ret;
}

static int coroutine_fn GRAPH_RDLOCK
map_zone_locked(BlockDriverState *bs, uint32_t i, bool allocate)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t start, end, nb_clusters;
    uintptr_t cluster = HOST_SCATTERED;
    int ret;

    qcow2_zoned_extent(&s->zoned->geometry, i, &start, &end);
    nb_clusters = size_to_clusters(s, end - start);
    if (!has_data_file(bs) && nb_clusters <= MAX_MAPPED_CLUSTERS) {
        ret = probe_extent(bs, start, nb_clusters << s->cluster_bits, &cluster);
        if (ret < 0) {
            return ret;
        }
        if (cluster == HOST_UNKNOWN && allocate) {
            ret = allocate_extent(bs, start, nb_clusters, &cluster);
        } else if (cluster != HOST_UNKNOWN && cluster != HOST_SCATTERED) {
            ret = check_exclusive(bs, cluster, nb_clusters);
            cluster = ret > 0 ? cluster : HOST_SCATTERED;
        }
        if (ret < 0) {
            return ret;
        }
    }
    qatomic_set(&s->zoned->host_cluster[i], cluster);
    return 0;
}

/* Find out where zone @i is; with @allocate, have it somewhere if possible. */
static int coroutine_fn GRAPH_RDLOCK
map_zone(BlockDriverState *bs, uint32_t i, bool allocate)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = 0;

    if (qatomic_read(&qatomic_read(&s->zoned->host_cluster)[i]) !=
        HOST_UNKNOWN) {
        return 0;
    }
    qemu_co_mutex_lock(&s->lock);
    if (s->zoned->host_cluster[i] == HOST_UNKNOWN) {
        ret = map_zone_locked(bs, i, allocate);
    }
    qemu_co_mutex_unlock(&s->lock);
    return ret;
}

/*
 * Where the data at @offset, in a sequential zone, is in the image file.
 * Returns false if only plain qcow2 can tell.
 */
static bool zone_host_offset(BlockDriverState *bs, uint64_t offset,
                             uint64_t *host)
{
    BDRVQcow2State *s = bs->opaque;
    uint32_t i = offset / s->zoned->geometry.zone_size;
    uintptr_t *host_cluster = qatomic_read(&s->zoned->host_cluster);
    uintptr_t cluster = qatomic_read(&host_cluster[i]);

    if (cluster == HOST_UNKNOWN || cluster == HOST_SCATTERED || s->crypto) {
        return false;
    }
    *host = ((uint64_t)cluster << s->cluster_bits) +
            offset % s->zoned->geometry.zone_size;
    return true;
}

void qcow2_zoned_forget_mapping(Qcow2Zoned *z)
{
    uintptr_t *host_cluster = g_new0(uintptr_t, zone_table_nr_zones(z->table));

    /* Requests in zones that stay where they are may be looking at it */
    g_ptr_array_add(z->retired, qatomic_xchg(&z->host_cluster, host_cluster));
}

/* --- I/O --- */

static uint64_t zone_end(BlockDriverState *bs, uint64_t offset)
{
    const ZoneGeometry *g = zone_table_geometry(qcow2_zone_table(bs));

    return MIN(QEMU_ALIGN_DOWN(offset, g->zone_size) + g->zone_size, g->size);
}

/* [@offset, @offset + @bytes) is below the end of data of one zone. */
static int coroutine_fn GRAPH_RDLOCK
read_data(BlockDriverState *bs, int64_t offset, int64_t bytes,
          QEMUIOVector *qiov, size_t qiov_offset)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t host;

    if (!zone_host_offset(bs, offset, &host)) {
        return qcow2_co_preadv_part(bs, offset, bytes, qiov, qiov_offset, 0);
    }
    BLKDBG_CO_EVENT(bs->file, BLKDBG_READ_AIO);
    return bdrv_co_preadv_part(s->data_file, host, bytes, qiov, qiov_offset, 0);
}

#define ZERO_BUFFER_BYTES (1 * MiB)

/* Through plain qcow2, for what it cannot zero by changing metadata */
static int coroutine_fn GRAPH_RDLOCK
write_zero_buffers(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    g_autofree void *zeroes = g_malloc0(MIN(bytes, ZERO_BUFFER_BYTES));
    int ret = 0;

    while (bytes && ret == 0) {
        int64_t n = MIN(bytes, ZERO_BUFFER_BYTES);
        QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, zeroes, n);

        ret = qcow2_co_pwritev_part(bs, offset, n, &qiov, 0, 0);
        offset += n;
        bytes -= n;
    }
    return ret;
}

/*
 * [@offset, @offset + @bytes) is reserved.  Unlike elsewhere in qcow2, the
 * clusters stay as they are linked.
 */
static int coroutine_fn GRAPH_RDLOCK
zero_sequential(BlockDriverState *bs, const ZoneWrite *w, int64_t offset,
                int64_t bytes, BdrvRequestFlags flags)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t host;
    int ret = map_zone(bs, w->zone, true);

    if (ret < 0) {
        return ret;
    }
    if (zone_host_offset(bs, offset, &host)) {
        return bdrv_co_pwrite_zeroes(s->data_file, host, bytes,
                                     flags & (BDRV_REQ_MAY_UNMAP |
                                              BDRV_REQ_NO_FALLBACK));
    }
    return flags & BDRV_REQ_NO_FALLBACK ? -ENOTSUP :
           write_zero_buffers(bs, offset, bytes);
}

/* [@offset, @offset + @bytes) is reserved for this write. */
static int coroutine_fn GRAPH_RDLOCK
write_data(BlockDriverState *bs, const ZoneWrite *w, int64_t offset,
           int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset)
{
    BDRVQcow2State *s = bs->opaque;
    uint64_t host;
    int ret;

    if (w->sequential) {
        ret = map_zone(bs, w->zone, true);
        if (ret < 0) {
            return ret;
        }
    }
    if (offset > w->start) {
        ret = zero_sequential(bs, w, w->start, offset - w->start, 0);
        if (ret < 0) {
            return ret;
        }
    }
    if (!w->sequential || !zone_host_offset(bs, offset, &host)) {
        return qcow2_co_pwritev_part(bs, offset, bytes, qiov, qiov_offset, 0);
    }
    BLKDBG_CO_EVENT(bs->file, BLKDBG_WRITE_AIO);
    return bdrv_co_pwritev_part(s->data_file, host, bytes, qiov, qiov_offset,
                                0);
}

int coroutine_fn
qcow2_zoned_co_preadv_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                           QEMUIOVector *qiov, size_t qiov_offset,
                           BdrvRequestFlags flags)
{
    while (bytes && qcow2_in_zones(bs, offset)) {
        bool data;
        int64_t n = zone_table_readable(qcow2_zone_table(bs), offset, bytes,
                                        &data);

        if (n < 0) {
            return n;
        }
        if (!data) {
            qemu_iovec_memset(qiov, qiov_offset, 0, n);
        } else {
            int ret;

            n = MIN(n, zone_end(bs, offset) - offset);
            ret = read_data(bs, offset, n, qiov, qiov_offset);
            if (ret < 0) {
                return ret;
            }
        }
        offset += n;
        qiov_offset += n;
        bytes -= n;
    }
    return bytes ? qcow2_co_preadv_part(bs, offset, bytes, qiov, qiov_offset,
                                        flags) : 0;
}

int coroutine_fn
qcow2_zoned_co_pwritev_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                            QEMUIOVector *qiov, size_t qiov_offset,
                            BdrvRequestFlags flags)
{
    ZoneWrite w;
    int ret;

    if (!qcow2_in_zones(bs, offset)) {
        return qcow2_co_pwritev_part(bs, offset, bytes, qiov, qiov_offset,
                                     flags);
    }
    ret = zone_begin_write(qcow2_zone_table(bs), &w, offset, bytes);
    if (ret < 0) {
        trace_qcow2_zoned_refused(bs, offset, bytes, ret);
        return ret;
    }
    ret = write_data(bs, &w, offset, bytes, qiov, qiov_offset);
    ret = zone_end_write(qcow2_zone_table(bs), &w, ret);
    qcow2_zoned_flush_soon(bs);
    return ret;
}

int coroutine_fn
qcow2_zoned_co_append(BlockDriverState *bs, int64_t *offset,
                      QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    uint64_t position = *offset;
    ZoneWrite w;
    int ret;

    if (!qcow2_is_zoned(bs)) {
        return -ENOTSUP;
    }
    ret = zone_begin_append(qcow2_zone_table(bs), &w, &position, qiov->size);
    if (ret < 0) {
        trace_qcow2_zoned_refused(bs, *offset, qiov->size, ret);
        return ret;
    }
    if (qiov->size) {
        ret = write_data(bs, &w, position, qiov->size, qiov, 0);
    }
    ret = zone_end_write(qcow2_zone_table(bs), &w, ret);
    qcow2_zoned_flush_soon(bs);
    if (ret == 0) {
        *offset = position;
    }
    return ret;
}

int coroutine_fn
qcow2_zoned_co_report(BlockDriverState *bs, int64_t offset,
                      unsigned int *nr_zones, BlockZoneDescriptor *zones)
{
    if (!qcow2_is_zoned(bs)) {
        return -ENOTSUP;
    }
    zone_table_report(qcow2_zone_table(bs), offset, nr_zones, zones);
    return 0;
}

/*
 * Give up what zones that are reset occupy of the host file, where the user
 * wants this (discard=unmap).  The mapping stays.  Errors do not matter.
 */
static void coroutine_fn GRAPH_RDLOCK
discard_zones(BlockDriverState *bs, uint64_t offset, uint64_t bytes)
{
    BDRVQcow2State *s = bs->opaque;
    const ZoneGeometry *g = zone_table_geometry(qcow2_zone_table(bs));
    uint64_t host;

    if (!(bs->open_flags & BDRV_O_UNMAP) ||
        !s->discard_passthrough[QCOW2_DISCARD_REQUEST]) {
        return;
    }
    for (uint64_t pos = offset; pos < offset + bytes; pos += g->zone_size) {
        uint64_t start, end;

        qcow2_zoned_extent(g, pos / g->zone_size, &start, &end);
        if (zone_table_being_reset(qcow2_zone_table(bs), pos / g->zone_size) &&
            map_zone(bs, pos / g->zone_size, false) == 0 &&
            zone_host_offset(bs, pos, &host)) {
            bdrv_co_pdiscard(s->data_file, host, end - start);
        }
    }
}

int coroutine_fn
qcow2_zoned_co_mgmt(BlockDriverState *bs, BlockZoneOp op, BlockZoneFlags flags,
                    int64_t offset, int64_t len, const void *ext)
{
    ZoneMgmt m;
    int ret;

    if (!qcow2_is_zoned(bs)) {
        return -ENOTSUP;
    }
    ret = zone_mgmt_begin(qcow2_zone_table(bs), &m, op, flags, offset, len);
    trace_qcow2_zoned_mgmt(bs, op, offset, len, ret);
    if (ret < 0) {
        return ret;
    }
    if (op == BLK_ZO_SET_EXT) {
        ret = qcow2_zoned_write_ext(bs, offset / bs->bl.zone_size, ext);
    }
    if (ret == 0 && m.commit) {
        ret = qcow2_zoned_co_store(bs);
        if (ret == 0) {
            ret = bdrv_co_flush(bs->file->bs);
        }
    }
    if (ret == 0 && op == BLK_ZO_RESET && m.commit) {
        discard_zones(bs, offset, len);
    }
    return zone_mgmt_end(qcow2_zone_table(bs), &m, bdrv_zone_io_error(ret));
}

int coroutine_fn
qcow2_zoned_co_block_status(BlockDriverState *bs, bool want_zero,
                            int64_t offset, int64_t bytes, int64_t *pnum,
                            int64_t *map, BlockDriverState **file)
{
    if (qcow2_in_zones(bs, offset)) {
        bool data;
        int64_t n = zone_table_readable(qcow2_zone_table(bs), offset, bytes,
                                        &data);

        /* An offline zone has data that cannot be read */
        bytes = n < 0 ? MIN(bytes, zone_end(bs, offset) - offset) : n;
        if (n >= 0 && !data) {
            *pnum = bytes;
            return BDRV_BLOCK_ZERO;
        }
    }
    return qcow2_co_block_status(bs, want_zero, offset, bytes, pnum, map, file);
}

/* In pieces that are each in one subcluster or aligned, as plain qcow2 wants */
static int coroutine_fn GRAPH_RDLOCK
zero_conventional(BlockDriverState *bs, int64_t offset, int64_t bytes,
                  BdrvRequestFlags flags)
{
    BDRVQcow2State *s = bs->opaque;
    int ret = 0;

    while (bytes && ret == 0) {
        int64_t rest = s->subcluster_size - offset_into_subcluster(s, offset);
        int64_t n = rest < s->subcluster_size ? MIN(bytes, rest) :
                    bytes < s->subcluster_size ? bytes :
                    QEMU_ALIGN_DOWN(bytes, s->subcluster_size);

        ret = qcow2_co_pwrite_zeroes(bs, offset, n, flags);
        if (ret == -ENOTSUP && !(flags & BDRV_REQ_NO_FALLBACK)) {
            ret = write_zero_buffers(bs, offset, n);
        }
        offset += n;
        bytes -= n;
    }
    return ret;
}

int coroutine_fn
qcow2_zoned_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                             int64_t bytes, BdrvRequestFlags flags)
{
    ZoneWrite w;
    int ret;

    if (!qcow2_in_zones(bs, offset)) {
        return qcow2_co_pwrite_zeroes(bs, offset, bytes, flags);
    }
    ret = zone_begin_write(qcow2_zone_table(bs), &w, offset, bytes);
    if (ret < 0) {
        trace_qcow2_zoned_refused(bs, offset, bytes, ret);
        return ret;
    }
    if (w.sequential) {
        int64_t start = MIN(offset, w.start);

        ret = zero_sequential(bs, &w, start, offset + bytes - start, flags);
    } else {
        ret = zero_conventional(bs, offset, bytes, flags);
    }
    ret = zone_end_write(qcow2_zone_table(bs), &w, ret);
    qcow2_zoned_flush_soon(bs);
    return ret;
}

/* Only a reset gives up what a sequential zone holds. */
int coroutine_fn
qcow2_zoned_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    if (qcow2_in_zones(bs, offset)) {
        const ZoneGeometry *g = zone_table_geometry(qcow2_zone_table(bs));

        if (offset + bytes > g->conventional_zones * g->zone_size) {
            return -ENOTSUP;
        }
    }
    return qcow2_co_pdiscard(bs, offset, bytes);
}

/* For qemu-img convert; the zone must not be mapped yet, or it fails */
int coroutine_fn
qcow2_zoned_co_pwritev_compressed_part(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, QEMUIOVector *qiov,
                                       size_t qiov_offset)
{
    ZoneWrite w;
    int ret;

    /* No bytes: a call to align the end of the file */
    if (!bytes || !qcow2_in_zones(bs, offset)) {
        return qcow2_co_pwritev_compressed_part(bs, offset, bytes, qiov,
                                                qiov_offset);
    }
    ret = zone_begin_write(qcow2_zone_table(bs), &w, offset, bytes);
    if (ret < 0) {
        return ret;
    }
    ret = qcow2_co_pwritev_compressed_part(bs, offset, bytes, qiov,
                                           qiov_offset);
    ret = zone_end_write(qcow2_zone_table(bs), &w, ret);
    qcow2_zoned_flush_soon(bs);
    return ret;
}

/* Callers copy through a buffer instead, which goes through the zone rules. */
int coroutine_fn
qcow2_zoned_co_copy_range_from(BlockDriverState *bs,
                               BdrvChild *src, int64_t src_offset,
                               BdrvChild *dst, int64_t dst_offset,
                               int64_t bytes, BdrvRequestFlags read_flags,
                               BdrvRequestFlags write_flags)
{
    return qcow2_is_zoned(bs) ? -ENOTSUP :
           qcow2_co_copy_range_from(bs, src, src_offset, dst, dst_offset,
                                    bytes, read_flags, write_flags);
}

int coroutine_fn
qcow2_zoned_co_copy_range_to(BlockDriverState *bs,
                             BdrvChild *src, int64_t src_offset,
                             BdrvChild *dst, int64_t dst_offset,
                             int64_t bytes, BdrvRequestFlags read_flags,
                             BdrvRequestFlags write_flags)
{
    return qcow2_is_zoned(bs) ? -ENOTSUP :
           qcow2_co_copy_range_to(bs, src, src_offset, dst, dst_offset,
                                  bytes, read_flags, write_flags);
}
