/*
 * Zoned qcow2: what its files share
 *
 * From the ground up: qcow2-zone-claims.c has claims and qcow2-zone-store.c zone
 * tables in the file, qcow2-zoned.c opens and closes images, qcow2-zoned-io.c
 * has the guest's I/O, qcow2-zoned-data.c that to mapped zones,
 * qcow2-zoned-space.c the space on the host for it, qcow2-zoned-create.c creation
 * and overlays, qcow2-zoned-image.c what changes a whole image,
 * qcow2-zoned-transfer.c zones that come from another disk.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_QCOW2_ZONED_INT_H
#define BLOCK_QCOW2_ZONED_INT_H

#include "qemu/units.h"
#include "block/block-io.h"
#include "block/block_int.h"
#include "block/zone-geometry.h"
#include "block/zone-table.h"
#include "qcow2-zone-claims.h"
#include "qcow2-zone-store.h"
#include "qcow2-zoned-space.h"
#include "qcow2-zoned.h"

/* Write pointers are in units of what the guest can address. */
#define QCOW2_ZONED_WRITE_GRANULARITY BDRV_SECTOR_SIZE

typedef struct Qcow2ZonedGoto Qcow2ZonedGoto;
typedef struct ZoneMap ZoneMap;
typedef struct ZoneResets ZoneResets;

#define FLAG_LIVE_STATES 1      /* states 1 to 3 in the table count */

struct Qcow2Zoned {
    const ZoneGeometry *geometry;   /* that of @table, if there is one */
    ZoneGeometry header_geometry;   /* without a size, until it is open */
    Qcow2ZoneFile file;         /* written under store_lock */
    uint32_t flags;             /* those of the header */
    bool receiving;             /* see BlockZoneTransfer; changed when drained */
    bool header_unknown;        /* see qcow2_zones_write_header() */
    ZoneTable *table;           /* NULL until qcow2_zoned_open() */
    Qcow2ZonedGoto *going_to;   /* the snapshot to go back to */
    Qcow2ZonesTimer *timer;
    CoMutex store_lock;         /* one writer of the table at a time */
    uint64_t stores_begun;      /* written under store_lock, read without */
    uint64_t last_stored;       /* of these the last that succeeded */
    Qcow2ZoneClaims claims;     /* under store_lock, but see there */
    /* No lock, because they are for guesses: */
    uint64_t unflushed;         /* bytes written since the last flush */
    unsigned writes_summed;     /* of these, writes with checksums */
    unsigned writes_expected;   /* as many as before the last flush */
    CoMutex map_lock;           /* one that maps a zone, or fills it in */
    ZoneMap *map;               /* where zones are in the image file; RCU */
    Qcow2ZonedSpace *space;     /* what they have of the host's */
    ZoneResets *resets;         /* NULL until the first one; RCU */
};

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

/* The end of a snapshot's extra data, whatever qcow2 itself has before it */
typedef struct Qcow2ZonedSnapshotExtra {
    uint64_t table_offset;
    uint32_t nr_zones;
    uint32_t magic;
} QEMU_PACKED Qcow2ZonedSnapshotExtra;

#define QCOW2_ZONED_SNAPSHOT_MAGIC 0x5a4f4e45   /* "ZONE" */

/* --- qcow2-zoned.c --- */

/* Zones of this geometry, without a table in memory or in the file */
Qcow2Zoned *qcow2_zoned_new(const ZoneGeometry *geometry);
/* The geometry is known and good: all zones are empty. */
void qcow2_zoned_start(BlockDriverState *bs, Qcow2Zoned *z);

/* Returns false if the snapshot has no zone table. */
bool qcow2_zoned_snapshot_file(const QCowSnapshot *sn, Qcow2ZoneFile *f);

/* --- qcow2-zoned-image.c --- */

/* Is the number @n of zones, an option's value, one that a geometry can have? */
bool qcow2_zoned_check_number(const char *option, uint64_t n, Error **errp);

/* --- qcow2-zoned-create.c --- */

/*
 * The overlay @top, which may be in use, is to be committed to @base.  An error if
 * @base has got more data since then where @top inherits some.
 */
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_check_commit(BlockDriverState *base, BlockDriverState *top,
                         Error **errp);

/* --- qcow2-zoned-data.c --- */

/* Zeroes that have to be written as data are so in pieces of this. */
#define QCOW2_ZONED_ZERO_BYTES (1 * MiB)

/*
 * Read and write @bytes bytes of data that are at @offset on the disk and at
 * @host in the file, encrypted there if the image is; whole sectors.  Nothing
 * else is asked or changed.  Returns 0 or a negative errno of the I/O.
 */
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_read_at(BlockDriverState *bs, uint64_t host, uint64_t offset,
                    uint64_t bytes, QEMUIOVector *qiov, size_t qiov_offset);
/* For the write @w, which gets a checksum if it may become part of a claim */
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_write_at(BlockDriverState *bs, ZoneWrite *w, uint64_t host,
                     uint64_t offset, uint64_t bytes, QEMUIOVector *qiov,
                     size_t qiov_offset);
/* Of @flags, BDRV_REQ_MAY_UNMAP counts. */
int coroutine_fn GRAPH_RDLOCK
qcow2_zoned_zero_at(BlockDriverState *bs, uint64_t host, uint64_t offset,
                    uint64_t bytes, BdrvRequestFlags flags);

/* --- qcow2-zoned-io.c --- */

/* Where zones are in the file has to be asked (again); also after a resize. */
void qcow2_zoned_forget_mapping(Qcow2Zoned *z);

/* Nobody uses @z any more. */
void qcow2_zoned_free_mapping(Qcow2Zoned *z);

/* A zone is mapped in steps: where that one begins and ends which has @offset */
uint64_t qcow2_zoned_map_step_start(BlockDriverState *bs, uint64_t offset);
uint64_t qcow2_zoned_map_step_end(BlockDriverState *bs, uint64_t offset);

/*
 * Where the data at @offset, in a sequential zone, is or would be in the file, up
 * to the end of the step.  With @probe, the step holds nothing, and the image is
 * asked if need be.  Returns false if it is not in one piece.
 */
bool coroutine_fn GRAPH_RDLOCK
qcow2_zoned_find_extent(BlockDriverState *bs, uint64_t offset, bool probe,
                        uint64_t *host);

#endif
