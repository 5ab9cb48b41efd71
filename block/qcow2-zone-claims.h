/*
 * Zoned qcow2: claims of write pointers in the image file
 *
 * A record of the zone table must not run ahead of its data, so storing one takes
 * two flushes of the file.  A claim says how far the data of a zone reaches and has
 * the checksum of what is new; who opens the image looks whether that is so.  So
 * claims are written with the data, before one flush.  See "Claims" in
 * docs/interop/qcow2-zoned.rst for the format and the order of writes.
 *
 * All of this does nothing for an image without a claim area.  Unless said
 * otherwise, callers have Qcow2Zoned.store_lock, or nothing else runs.  Sizes and
 * offsets are bytes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_QCOW2_ZONE_CLAIMS_H
#define BLOCK_QCOW2_ZONE_CLAIMS_H

#include "block/block_int.h"
#include "block/zone-table.h"

/* Two blocks, written in turn */
#define QCOW2_ZONE_CLAIMS_BLOCK 4096
#define QCOW2_ZONE_CLAIMS_BYTES (2 * QCOW2_ZONE_CLAIMS_BLOCK)

typedef struct Qcow2ZoneClaimBlock {
    bool valid;
    uint64_t sequence;
    int nr;
    ZoneClaim claims[ZONE_CLAIMS_MAX];
} Qcow2ZoneClaimBlock;

typedef struct Qcow2ZoneClaims {
    uint64_t offset;            /* of the area in the image file; 0: none */
    bool unread;                /* without the data file they are unknown */

    /* The two, as they are in the file or, if one could not be written, may be */
    Qcow2ZoneClaimBlock *blocks; /* NULL: there is no area, or it was not read */
    unsigned slot;              /* of the one in force */
    bool pending;               /* the other is newer, and not in force */
    bool ahead;                 /* and was written */
    bool superseded;            /* the next records make the newest void */

    /* Of the writes of blocks and records, numbered, which are durable? */
    uint64_t writes;            /* read without the lock */
    uint64_t durable;           /* written without the lock */
    bool by_flush;              /* the last is of a flush of the node */
    int flushed_gen;            /* of the node, before that */
} Qcow2ZoneClaims;

/* --- The area --- */

/* Give the image a claim area, without claims; nothing is flushed. */
int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zone_claims_alloc(BlockDriverState *bs);
/* Is the area of an image, if it has one, in its file? */
bool coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zone_claims_check(BlockDriverState *bs, Error **errp);
void qcow2_zone_claims_free(Qcow2ZoneClaims *c);

/* --- Reading --- */

/*
 * The zone table has the records of the file: move the write pointers of zones to
 * where claims say, if those hold.  Zones with claims are in the next store, and
 * the next flush of the files, though this process has not written yet, makes
 * durable what they stand for: the one that wrote it may have been killed.  Not for
 * an image whose metadata is damaged.
 */
int coroutine_fn GRAPH_RDLOCK
qcow2_zone_claims_load(BlockDriverState *bs, Error **errp);

/*
 * Before another image, such as an overlay, depends on what claims say: make that
 * durable, also where this process may only read.
 */
int coroutine_fn GRAPH_RDLOCK qcow2_zone_claims_flush_read(BlockDriverState *bs);

/* Has the newest block any? */
bool qcow2_zone_claims_any(const Qcow2ZoneClaims *c);

/*
 * What a record, as it is in the file, with this @epoch and end of data @from
 * stands for durably: @from, or what a claim in force has.
 * qcow2_zone_claims_settle() first.
 */
uint64_t qcow2_zone_claims_end(const Qcow2ZoneClaims *c, uint32_t zone,
                               uint8_t epoch, uint64_t from);

/* --- Writing --- */

/*
 * Write a block with claims for all that is not in records, for the next flush
 * of the data and image files, which is one of the node if @by_flush.  Returns 1,
 * also if there is nothing new; 0 if records have to be written; or a negative
 * errno.
 */
int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zone_claims_write(BlockDriverState *bs, bool by_flush);
/*
 * A flush is expected after @w, which has a checksum and is about to be written:
 * write the block for it now, beside the data, in the background.  Without
 * store_lock.
 */
void coroutine_fn GRAPH_RDLOCK
qcow2_zone_claims_write_ahead(BlockDriverState *bs, const ZoneWrite *w);
/* Is there a block that is not in force, but claims what may become true? */
bool qcow2_zone_claims_unsure(const Qcow2ZoneClaims *c);
/* Before the records are taken that make the claims of the newest block void */
void qcow2_zone_claims_supersede(BlockDriverState *bs);
/* Records, or a block, have been written; @by_flush as above. */
void qcow2_zone_claims_note_write(BlockDriverState *bs, bool by_flush);
/* Make durable what was written, if that is not known to be. */
int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zone_claims_settle(BlockDriverState *bs);
/* A flush of the files that began after write number @write has ended well. */
void qcow2_zone_claims_flushed(Qcow2ZoneClaims *c, uint64_t write);
/* All is in records, durably: write a block without claims, durably. */
int coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zone_claims_retire(BlockDriverState *bs);

#endif
