/*
 * Zoned qcow2: a zone table kept in a qcow2 image
 *
 * What qcow2.c and its sisters call.  Every function does nothing, or what
 * plain qcow2 does, on an image without zones (s->zoned is NULL).  The format
 * is described in docs/interop/qcow2-zoned.rst.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_QCOW2_ZONED_H
#define BLOCK_QCOW2_ZONED_H

#include "qcow2.h"
#include "block/zoned-compat.h"
#include "qapi/qapi-types-zoned.h"

#define QCOW2_EXT_MAGIC_ZONED 0x5a4f4e45    /* "ZONE" */

typedef struct Qcow2Zoned Qcow2Zoned;

/* On disk, big-endian */
typedef struct Qcow2ZonedHeaderExt {
    uint8_t model;
    uint8_t reserved[3];
    uint32_t flags;
    uint64_t zone_size;
    uint64_t zone_capacity;
    uint32_t nr_zones;
    uint32_t conventional_zones;
    uint32_t max_open_zones;
    uint32_t max_active_zones;
    uint32_t max_append_bytes;
    uint32_t descriptor_extension_size;
    uint64_t table_offset;
    uint64_t descriptor_extension_offset;
    uint32_t zrwa_size;
    uint32_t zrwa_flush_granularity;
    uint32_t zrwa_zones;
    uint32_t reserved2;
    uint64_t claims_offset;     /* the extension may end before it */
} QEMU_PACKED Qcow2ZonedHeaderExt;

QEMU_BUILD_BUG_ON(sizeof(Qcow2ZonedHeaderExt) != 88);

/* --- Creation --- */

/*
 * Give the zone.* options in @options, from a command line, QAPI's names, and
 * check them for what QAPI would refuse in less helpful words.
 */
bool qcow2_zoned_check_opts(QDict *options, Error **errp);

/*
 * Check the creation options of @create, for an image in @filename, against
 * the rules in qapi/zoned.json and the zones of its backing file before
 * anything is written.  *@backing becomes the backing file if it is zoned.
 */
bool coroutine_fn
qcow2_zoned_check_create(const char *filename,
                         const BlockdevCreateOptionsQcow2 *create, int version,
                         size_t cluster_size, BlockBackend **backing,
                         Error **errp);

/*
 * Make @bs, a fresh image of its final size, a zoned one; with @backing, one
 * with the same zones.
 */
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_create(BlockDriverState *bs,
                   const BlockdevCreateOptionsQcow2 *create,
                   BlockBackend *backing, Error **errp);

/*
 * For an image of @size bytes with creation options @opts: how many bytes the
 * zone table takes, and in what units data is allocated, which are zones.
 * False, with an error, if no such image can be created.
 */
bool qcow2_zoned_measure(QemuOpts *opts, uint64_t size, int version,
                         size_t cluster_size, uint64_t *table_bytes,
                         uint64_t *unit, Error **errp);

/* --- Overlays --- */

/*
 * @bs is to become the overlay of @base, whose requests are drained and whose
 * data is flushed: take over its zones, with all states.  An image without
 * zones gets some.
 */
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_inherit(BlockDriverState *bs, BlockDriverState *base,
                       Error **errp);

/*
 * Bring data and zones of @bs to its backing file @base; nobody uses both.  At
 * every moment, also after a crash, @base has what @bs needs of it, and it
 * can be done again.
 */
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_commit(BlockDriverState *bs, BlockDriverState *base,
                      Error **errp);

/* Change the limits in @opts; the caller updates the header. */
bool GRAPH_RDLOCK qcow2_zoned_amend(BlockDriverState *bs, QemuOpts *opts, Error **errp);

/* --- Open and close --- */

/* Parse the header extension of @len bytes at @offset of the image file. */
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_read_header_ext(BlockDriverState *bs, uint64_t offset,
                            uint32_t len, Error **errp);
/* Fill in the header extension of an image with zones; returns its length. */
size_t qcow2_zoned_header_ext(BlockDriverState *bs, Qcow2ZonedHeaderExt *ext);

/*
 * Read the zone table.  Sets *@update_header if the header has to be written
 * again.
 */
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_open(BlockDriverState *bs, int flags, bool *update_header,
                 Error **errp);
/* Store what is not stored yet; called for writable nodes only. */
int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zoned_inactivate(BlockDriverState *bs);
/* While the image can still be used: finish, in bounded time, what goes on. */
void coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zoned_before_close(BlockDriverState *bs);
void qcow2_zoned_close(BlockDriverState *bs);
/* The image was found corrupt: there will be neither I/O nor a close. */
void qcow2_zoned_abandon(BlockDriverState *bs);

/* Set the request flags that a zoned image supports in addition. */
void qcow2_zoned_supported_flags(BlockDriverState *bs);
void qcow2_zoned_refresh_limits(BlockDriverState *bs);
ImageInfoZone *qcow2_zoned_get_info(BlockDriverState *bs);

/* --- Durability --- */

/*
 * For a flush of the node, which goes on to the flush of its files: write what is
 * new of the zones.  Concurrent callers share the work.
 */
int coroutine_fn GRAPH_RDLOCK qcow2_zones_write(BlockDriverState *bs);

/* --- Whole-image operations --- */

int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_check(BlockDriverState *bs, BdrvCheckResult *result,
                     BdrvCheckMode fix);
/* Count the references to the clusters of the zone table. */
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_check_refcounts(BlockDriverState *bs, BdrvCheckResult *result,
                            void **refcount_table,
                            int64_t *refcount_table_size);
/*
 * All clusters with data are about to be dropped, because the backing file has it
 * all.  Nothing is in flight until they are.
 */
int GRAPH_RDLOCK qcow2_zoned_begin_empty(BlockDriverState *bs);
/* Is any of the range of the image file in the zone table? */
bool qcow2_zoned_overlaps(BlockDriverState *bs, int64_t offset, int64_t size);

/*
 * Internal snapshots.  A snapshot keeps a copy of the zone table.  Going back
 * to one has a step before anything changes, one that puts the new L1 table
 * (big-endian, of l1_size entries) and the zones in force together, and one
 * when all is over, which passes on @ret, the result so far.  A crash leaves
 * the disk as it was, or as it is in the snapshot.
 */
int GRAPH_RDLOCK qcow2_zoned_snapshot_create(BlockDriverState *bs,
                                             QCowSnapshot *sn);
int GRAPH_RDLOCK qcow2_zoned_snapshot_goto_begin(BlockDriverState *bs,
                                                 const QCowSnapshot *sn);
int GRAPH_RDLOCK qcow2_zoned_write_l1(BlockDriverState *bs,
                                      uint64_t *l1_table);
int GRAPH_RDLOCK qcow2_zoned_snapshot_goto_end(BlockDriverState *bs, int ret);
void GRAPH_RDLOCK qcow2_zoned_snapshot_delete(BlockDriverState *bs,
                                              const QCowSnapshot *sn);
/* Show the zones of a snapshot on a read-only node. */
int GRAPH_RDLOCK qcow2_zoned_snapshot_load(BlockDriverState *bs,
                                           const QCowSnapshot *sn,
                                           Error **errp);

/* --- Driver callbacks --- */

int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_truncate(BlockDriverState *bs, int64_t size, bool exact,
                        PreallocMode prealloc, BdrvRequestFlags flags,
                        Error **errp);

int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_preadv_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                           QEMUIOVector *qiov, size_t qiov_offset,
                           BdrvRequestFlags flags);
/* The rest of a cluster that is written in part, of whatever state its zone is */
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_read_for_cow(BlockDriverState *bs, int64_t offset,
                            QEMUIOVector *qiov);
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_pwritev_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                            QEMUIOVector *qiov, size_t qiov_offset,
                            BdrvRequestFlags flags);
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_pwritev_compressed_part(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, QEMUIOVector *qiov,
                                       size_t qiov_offset);
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_block_status(BlockDriverState *bs, ZonedStatusMode mode,
                            int64_t offset, int64_t bytes, int64_t *pnum,
                            int64_t *map, BlockDriverState **file);
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset,
                             int64_t bytes, BdrvRequestFlags flags);
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes);
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_copy_range_from(BlockDriverState *bs,
                               BdrvChild *src, int64_t src_offset,
                               BdrvChild *dst, int64_t dst_offset,
                               int64_t bytes, BdrvRequestFlags read_flags,
                               BdrvRequestFlags write_flags);
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_copy_range_to(BlockDriverState *bs,
                             BdrvChild *src, int64_t src_offset,
                             BdrvChild *dst, int64_t dst_offset,
                             int64_t bytes, BdrvRequestFlags read_flags,
                             BdrvRequestFlags write_flags);
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_report(BlockDriverState *bs, int64_t offset,
                      unsigned int *nr_zones, BlockZoneDescriptor *zones);
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_mgmt(BlockDriverState *bs, BlockZoneOp op, BlockZoneFlags flags,
                    int64_t offset, int64_t len, const void *ext);
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_get_ext(BlockDriverState *bs, int64_t offset, void *ext);
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_co_append(BlockDriverState *bs, int64_t *offset,
                      QEMUIOVector *qiov, BdrvRequestFlags flags);
/* Since it was opened: what only this driver knows, and of one zone */
void qcow2_zoned_stats(BlockDriverState *bs, BlockZoneStats *stats);
uint32_t qcow2_zoned_resets(BlockDriverState *bs, uint32_t zone);
/*
 * Hands the image over to another process: open states are kept.  The node has to
 * be drained, as a flush in the background would store other states.
 */
int GRAPH_RDLOCK qcow2_zoned_hand_over(BlockDriverState *bs);
void qcow2_zoned_drain_end(BlockDriverState *bs);

/* Zones that go to another disk, or come from one */
extern const struct BlockZoneTransfer qcow2_zone_transfer;

/* --- Plain qcow2, in qcow2.c, for the callbacks above --- */

int coroutine_fn GRAPH_RDLOCK
qcow2_co_preadv_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                     QEMUIOVector *qiov, size_t qiov_offset,
                     BdrvRequestFlags flags);
int coroutine_fn GRAPH_RDLOCK
qcow2_co_pwritev_part(BlockDriverState *bs, int64_t offset, int64_t bytes,
                      QEMUIOVector *qiov, size_t qiov_offset,
                      BdrvRequestFlags flags);
int coroutine_fn GRAPH_RDLOCK
qcow2_co_pwritev_compressed_part(BlockDriverState *bs, int64_t offset,
                                 int64_t bytes, QEMUIOVector *qiov,
                                 size_t qiov_offset);
int coroutine_fn GRAPH_RDLOCK
qcow2_co_block_status(BlockDriverState *bs, ZonedStatusMode mode,
                      int64_t offset, int64_t count, int64_t *pnum,
                      int64_t *map, BlockDriverState **file);
int coroutine_fn GRAPH_RDLOCK
qcow2_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                       BdrvRequestFlags flags);
int coroutine_fn GRAPH_RDLOCK
qcow2_co_pdiscard(BlockDriverState *bs, int64_t offset, int64_t bytes);
int coroutine_fn GRAPH_RDLOCK
qcow2_co_copy_range_from(BlockDriverState *bs,
                         BdrvChild *src, int64_t src_offset,
                         BdrvChild *dst, int64_t dst_offset,
                         int64_t bytes, BdrvRequestFlags read_flags,
                         BdrvRequestFlags write_flags);
int coroutine_fn GRAPH_RDLOCK
qcow2_co_copy_range_to(BlockDriverState *bs,
                       BdrvChild *src, int64_t src_offset,
                       BdrvChild *dst, int64_t dst_offset,
                       int64_t bytes, BdrvRequestFlags read_flags,
                       BdrvRequestFlags write_flags);
int coroutine_fn GRAPH_RDLOCK
qcow2_co_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                  PreallocMode prealloc, BdrvRequestFlags flags, Error **errp);
int GRAPH_RDLOCK qcow2_inactivate(BlockDriverState *bs);

#endif
