/*
 * Zoned qcow2: what its files share
 *
 * qcow2-zoned.c keeps the zone table on stable storage, qcow2-zoned-image.c
 * has the operations on whole images, qcow2-zoned-io.c the guest's I/O.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_QCOW2_ZONED_INT_H
#define BLOCK_QCOW2_ZONED_INT_H

#include "block/block-io.h"
#include "block/block_int.h"
#include "block/zone-geometry.h"
#include "block/zone-table.h"
#include "qcow2-zoned.h"

/* Write pointers are in units of what the guest can address. */
#define QCOW2_ZONED_WRITE_GRANULARITY BDRV_SECTOR_SIZE

struct Qcow2Zoned {
    ZoneGeometry geometry;
    uint32_t nr_zones;          /* records in the table; may be too many */
    uint64_t table_offset;
    uint32_t flags;
    ZoneTable *table;           /* NULL until qcow2_zoned_open() */
    ZoneTable *next_table;      /* of the snapshot to go back to */
    CoMutex store_lock;         /* one writer of the table at a time */
    uint64_t stores_begun;      /* written under store_lock, read without */
    uint64_t last_stored;       /* of these the last that succeeded */
    CoMutex map_lock;           /* one that maps a zone, or fills it in */
    /*
     * Where each zone is in the image file: the number that its first cluster
     * has, or would have, shifted, and a flag; or one of the values below.
     * Written under map_lock, read without.
     */
    uintptr_t *host_cluster;
    GPtrArray *retired;         /* arrays that host_cluster was before */
    QEMUTimer *flush_timer;     /* in the main loop */
    bool flush_timed;           /* it is set; atomic, any thread sets it */
};

#define HOST_UNKNOWN 0
#define HOST_SCATTERED UINTPTR_MAX
/* Clusters from that of the write pointer on are there, those below may not */
#define HOST_TAIL 1
#define HOST_SHIFT 1

static inline bool qcow2_is_zoned(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    return s->zoned && s->zoned->table;
}

static inline ZoneTable *qcow2_zone_table(BlockDriverState *bs)
{
    BDRVQcow2State *s = bs->opaque;

    return s->zoned->table;
}

/* VM state lies behind the disk and knows no zones. */
static inline bool qcow2_in_zones(BlockDriverState *bs, int64_t offset)
{
    return qcow2_is_zoned(bs) &&
           offset < zone_table_geometry(qcow2_zone_table(bs))->size;
}

/* --- On disk, big-endian --- */

typedef struct Qcow2ZonedRecord {
    uint64_t type_and_wp;
    uint64_t data_end;
} Qcow2ZonedRecord;

QEMU_BUILD_BUG_ON(sizeof(Qcow2ZonedRecord) != 16);

#define QCOW2_ZONED_BLOCK_RECORDS (1 << ZONE_DIRTY_SHIFT)
#define QCOW2_ZONED_BLOCK_BYTES \
    (QCOW2_ZONED_BLOCK_RECORDS * sizeof(Qcow2ZonedRecord))

/* In the extra data of a snapshot, behind what qcow2 itself has there */
typedef struct Qcow2ZonedSnapshotExtra {
    uint64_t table_offset;
    uint32_t nr_zones;
    uint32_t reserved;
} QEMU_PACKED Qcow2ZonedSnapshotExtra;

/* --- qcow2-zoned.c --- */

Qcow2Zoned *qcow2_zoned_new(void);
/* The geometry is known and good: all zones are empty. */
void qcow2_zoned_start(BlockDriverState *bs, Qcow2Zoned *z);

/*
 * What the zone table takes in the image file, for @nr_zones: the records and,
 * in clusters of their own behind them, the zone descriptor extensions.
 */
uint64_t qcow2_zoned_table_bytes(const BDRVQcow2State *s, const ZoneGeometry *g,
                                 uint32_t nr_zones);
/* Where the extension of zone @i is, of a table that begins at @table_offset */
uint64_t qcow2_zoned_ext_offset(const BDRVQcow2State *s, const ZoneGeometry *g,
                                uint64_t table_offset, uint32_t nr_zones,
                                uint32_t i);
/*
 * Copy the extensions of those zones that have one, in memory, from another
 * table into the image's own or (@to_other) the other way round.
 */
int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zoned_copy_exts(BlockDriverState *bs, uint64_t other_offset,
                      uint32_t other_nr_zones, bool to_other);
/* Fill @buf (QCOW2_ZONED_BLOCK_BYTES) with records as they are to be stored. */
void qcow2_zoned_encode_block(const Qcow2Zoned *z, uint64_t block, bool live,
                              Qcow2ZonedRecord *buf);
/* Is a table of @bytes at @offset in the file? */
bool coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zoned_check_table_place(BlockDriverState *bs, uint64_t offset,
                              uint64_t bytes, Error **errp);
/*
 * Read the records of the table at @offset in pieces and pass each to
 * zone_table_load().  With @damaged, count what makes no sense there instead
 * of failing.
 */
int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zoned_read_table(BlockDriverState *bs, uint64_t offset, bool live,
                       uint32_t *damaged, Error **errp);
/* Write all records as they are, without making durable what is below them. */
int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zoned_write_table(BlockDriverState *bs);

/* Write the descriptor extension of zone @i; its record does not say so yet. */
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_write_ext(BlockDriverState *bs, uint32_t i, const void *ext);

void qcow2_zoned_mark_dirty(const Qcow2Zoned *z, uint32_t first_zone);
/*
 * Make durable what changed records stand for, then write them; the caller
 * flushes bs->file.  In a coroutine with store_lock held, or when nothing else
 * runs.
 */
int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zoned_store_records(BlockDriverState *bs, bool live);
/* After a write: see to it that the write pointer gets stored some time. */
void qcow2_zoned_flush_soon(BlockDriverState *bs);

/* Returns false if the snapshot has no copy of the zone table. */
bool qcow2_zoned_snapshot_extra(const QCowSnapshot *sn,
                                Qcow2ZonedSnapshotExtra *extra);

/* --- qcow2-zoned-io.c --- */

/* Where zones are in the file has to be asked again. */
void qcow2_zoned_forget_mapping(Qcow2Zoned *z);

#endif
