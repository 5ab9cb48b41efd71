/*
 * Zoned qcow2: zone tables in the image file
 *
 * A zone table in the file (Qcow2ZoneFile) has a record for each zone and,
 * behind them, their descriptor extensions.  The image has one, and each
 * internal snapshot has one; see docs/interop/qcow2-zoned.rst for the format.
 * Sizes and offsets are bytes.
 *
 * qcow2_zones_store() is how the image's own table follows what happens in
 * memory.  Everything else reads or writes a table as a whole, while nothing
 * else uses it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_QCOW2_ZONE_STORE_H
#define BLOCK_QCOW2_ZONE_STORE_H

#include "block/block_int.h"
#include "block/zone-table.h"
#include "qcow2.h"

typedef struct Qcow2ZoneFile {
    uint64_t offset;            /* in the image file, cluster aligned */
    uint32_t nr_zones;          /* records; the disk may have fewer zones */
} Qcow2ZoneFile;

/* On disk, big-endian */
typedef struct Qcow2ZonedRecord {
    uint64_t type_and_wp;
    uint64_t epoch_and_data_end;
} Qcow2ZonedRecord;

QEMU_BUILD_BUG_ON(sizeof(Qcow2ZonedRecord) != 16);

/* --- Where it is --- */

/* What a table takes in the image file */
uint64_t qcow2_zone_file_bytes(uint64_t cluster_size, uint64_t ext_size,
                               uint32_t nr_zones);
/* Where the extension of zone @i is */
uint64_t qcow2_zone_file_ext_offset(BlockDriverState *bs,
                                    const Qcow2ZoneFile *f, uint32_t i);
/* Is the table of a zoned image in its file? */
bool coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zone_file_check(BlockDriverState *bs, const Qcow2ZoneFile *f,
                      Error **errp);
bool qcow2_zone_file_overlaps(BlockDriverState *bs, const Qcow2ZoneFile *f,
                              int64_t offset, int64_t bytes);

/*
 * Allocate and free the clusters of a table; with BDRVQcow2State.lock held, or
 * when nothing else runs.
 */
int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zone_file_alloc(BlockDriverState *bs, Qcow2ZoneFile *f,
                      uint32_t nr_zones);
void GRAPH_RDLOCK qcow2_zone_file_free(BlockDriverState *bs,
                                       const Qcow2ZoneFile *f,
                                       enum qcow2_discard_type type);

/* --- All of it --- */

/*
 * Read all records into @table; @live: states of open zones count.  With
 * @damaged, count what makes no sense there, and salvage what can be, instead
 * of failing.
 */
int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zone_file_read(BlockDriverState *bs, const Qcow2ZoneFile *f,
                     ZoneTable *table, bool live, uint32_t *damaged,
                     Error **errp);
/* Write the records of all zones of @table; nothing is flushed. */
int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zone_file_write(BlockDriverState *bs, const Qcow2ZoneFile *f,
                      ZoneTable *table, bool live);
/* Copy the extensions of the zones of @table that have one. */
int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zone_file_copy_exts(BlockDriverState *to_bs, const Qcow2ZoneFile *to,
                          BlockDriverState *from_bs, const Qcow2ZoneFile *from,
                          ZoneTable *table);

/* The extension of zone @i in the image's own table; no flush, no record */
int coroutine_fn GRAPH_RDLOCK
qcow2_zones_read_ext(BlockDriverState *bs, uint32_t i, void *ext);
int coroutine_fn GRAPH_RDLOCK
qcow2_zones_write_ext(BlockDriverState *bs, uint32_t i, const void *ext);

/* --- What changed --- */

/* qcow2_zones_write() of qcow2-zoned.h, and durable */
int coroutine_fn GRAPH_RDLOCK qcow2_zones_store(BlockDriverState *bs);
/*
 * The same, but all of it in records and without claims, for callers with
 * Qcow2Zoned.store_lock or when nothing else runs; with @live, states of open
 * zones are kept.
 */
int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zones_store_locked(BlockDriverState *bs, bool live);
/*
 * When an image was just opened: store what claims were found to stand for, and
 * what else is marked dirty.  BDRVQcow2State.lock may be held.
 */
int coroutine_fn GRAPH_RDLOCK
qcow2_zones_store_found(BlockDriverState *bs, bool live);
/* Say why one of these returned @ret. */
void qcow2_zones_store_error(BlockDriverState *bs, int ret, Error **errp);

/*
 * Write the header, durably.  If that fails the file has this header or the one
 * before; the caller goes on with the one before in memory.  Nothing is stored,
 * so no flush succeeds, until that has been written again.
 */
int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zones_write_header(BlockDriverState *bs);

/* The mapping and the refcounts, to the image file */
int coroutine_mixed_fn GRAPH_RDLOCK qcow2_zones_write_caches(BlockDriverState *bs);

/* Make durable what was written to the files of the image: data first. */
int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zones_flush_files(BlockDriverState *bs);

/* After a write: see to it that the write pointer gets stored some time. */
void qcow2_zones_store_soon(BlockDriverState *bs);

/* The timer for this; the node may go, or have no driver, before it fires. */
typedef struct Qcow2ZonesTimer Qcow2ZonesTimer;
Qcow2ZonesTimer *qcow2_zones_timer_new(BlockDriverState *bs);
/* From here on it does nothing, whatever other threads are about to do. */
void qcow2_zones_timer_stop(Qcow2ZonesTimer *timer);
void qcow2_zones_timer_free(Qcow2ZonesTimer *timer);

#endif
