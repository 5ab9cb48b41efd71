/*
 * Zone table: the state machine of an emulated zoned block device
 *
 * Pure bookkeeping in memory, shared by everything that emulates zones.  The
 * table knows the rules (ZNS Command Set 1.1, sections 2.1 to 2.4; virtio 1.3,
 * section 5.2; ZBC-2 agrees except where noted) and nothing of images, nodes
 * or devices: its owner does the I/O between a begin and an end call and keeps
 * the records on stable storage.
 *
 * All positions and sizes are bytes.  All functions may be called from any
 * thread; the table has locks of its own, which are never held across a yield.
 * Only functions marked coroutine_fn can wait.  Zone rules are reported with the
 * errno values of block-zoned.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONE_TABLE_H
#define BLOCK_ZONE_TABLE_H

#include "qemu/coroutine.h"
#include "qemu/queue.h"
#include "block/block-common.h"
#include "block/block-zoned.h"
#include "block/zone-checksum.h"
#include "block/zone-geometry.h"

typedef struct ZoneTable ZoneTable;

/*
 * @geometry must hold: power-of-two zone size, 0 < capacity <= zone size,
 * conventional zones <= number of zones <= UINT32_MAX.  All zones begin empty;
 * the table sets zones.nr_zones in its own copy.
 */
ZoneTable *zone_table_new(const ZoneGeometry *geometry);
/* No request may be in progress. */
void zone_table_free(ZoneTable *t);
/* Changes only while nothing is in progress: see resize and set_limits. */
const ZoneGeometry *zone_table_geometry(const ZoneTable *t);
uint32_t zone_table_nr_zones(const ZoneTable *t);

/*
 * Change the size of the device: new zones are empty, and zones that go or
 * change their length must be.  The device must be drained: nobody else may
 * use the table or wait in it.  Returns -EBUSY where a zone is in the way.
 */
int zone_table_resize(ZoneTable *t, uint64_t size);

/*
 * Change the limits; closes implicitly open zones that are too many.  The
 * device must be drained.
 */
void zone_table_set_limits(ZoneTable *t, uint32_t max_open_zones,
                           uint32_t max_active_zones, uint64_t max_append);

/* --- Writes and appends --- */

/*
 * A write in progress: [start, end) of a zone is reserved for it.  Owned by
 * the caller, from a successful begin until the end call returns.
 */
typedef struct ZoneWrite {
    /*
     * @start can be below the offset of the request, in a random write area:
     * the caller fills what is between with zeroes, because it gets readable.
     */
    uint64_t start, end;
    uint32_t zone;
    bool reserved;               /* false: conventional zone, or no bytes */
    /* Before the end call, optional: the checksum of what is in [start, end) */
    bool has_sum;
    ZoneChecksum sum;

    /* Private */
    enum {
        ZW_IN_FLIGHT, ZW_WRITTEN, ZW_ACKNOWLEDGED, ZW_FAILED,
        ZW_OVERWRITE,            /* of data in a random write area */
    } state;
    int ret;                     /* with ZW_FAILED: why one below failed */
    uint64_t commit;             /* where the write pointer goes to, at least */
    Coroutine *waiter;           /* in zone_table_end_write() */
    AioContext *waiter_context;
    QTAILQ_ENTRY(ZoneWrite) next;
} ZoneWrite;

/*
 * Check a write of [@offset, @offset + @bytes) against every zone rule and
 * reserve the range.  Opens the zone implicitly; where the open limit is
 * reached, the implicitly open zone that was opened first is closed, or the
 * next one if it has been written since.  Any number of reservations of one
 * zone may be in progress: each begins where the one before ends.  Waits while
 * the zone is being reset or finished, and while it recovers from a failed
 * write.
 *
 * In a zone with a random write area (ZNS, TP4076) a write may be anywhere in
 * the area, where it leaves the write pointer alone, or end in the region of
 * the same size behind it, which moves the write pointer as far as needed.
 * One that touches what another in progress makes readable waits for that; the
 * order of two over the same readable data is up to the caller.
 *
 * The range must lie in the device.  Anything that can fail before the I/O
 * should be checked before this call.
 *
 * Returns 0, or a negative errno with nothing changed.
 */
int coroutine_fn zone_table_begin_write(ZoneTable *t, ZoneWrite *w,
                                        uint64_t offset, uint64_t bytes);

/*
 * The same for an append to the zone that starts at *@offset; *@offset becomes
 * the position to write at.  Zero @bytes change nothing (w->reserved is
 * false) and yield the write pointer.
 */
int coroutine_fn zone_table_begin_append(ZoneTable *t, ZoneWrite *w,
                                         uint64_t *offset, uint64_t bytes);

/*
 * End a write with the result @ret of its I/O and return its final result.
 * Writes of a zone may end in any order, but are acknowledged in the order of
 * their ranges: the call waits until all reservations below have ended.  So
 * everything acknowledged is below the write pointer, without a gap.  A call
 * that waits goes on in the event loop of the AioContext it was made in.
 *
 * If a write fails, all reservations above it fail too, with an error of their
 * own or with its error; so do writes that waited for the zone to recover and
 * were meant to go behind them.  The write pointer stays at the start of the
 * earliest one that failed.  No result looks like a broken zone rule, see
 * bdrv_zone_io_error().
 */
int coroutine_fn zone_table_end_write(ZoneTable *t, ZoneWrite *w, int ret);

/* --- Zone management --- */

/* A management operation in progress; owned by the caller like ZoneWrite. */
typedef struct ZoneMgmt {
    /*
     * Set by zone_table_begin_mgmt(): the records of these zones show the
     * outcome already and must be durable before zone_table_end_mgmt() makes it
     * so (even if nothing changed in memory: the stored record may be older).  An
     * extension has to be written first, see zone_table_ext_written().
     */
    bool commit;

    /* Private */
    BlockZoneOp op;
    BlockZoneFlags flags;
    uint32_t first, last;
    uint32_t busy_zones;         /* with writes that have to end first */
    uint64_t wp_before;          /* a commit of a random write area */
    QLIST_ENTRY(ZoneMgmt) next;
} ZoneMgmt;

/*
 * Begin @op on the zones of [@offset, @offset + @bytes), which must be whole
 * zones (but see BLK_ZO_ZRWA_COMMIT in block-zoned.h).  All zones change or
 * none.  Waits for other operations on these zones; all but open, close and
 * power cycle also wait for writes in progress and hold up new ones until they
 * end.  With very many zones it yields, and holds up everything else meanwhile.
 *
 * Returns 0, or a negative errno with nothing changed (and nothing to end).
 */
int coroutine_fn zone_table_begin_mgmt(ZoneTable *t, ZoneMgmt *m,
                                       BlockZoneOp op, BlockZoneFlags flags,
                                       uint64_t offset, uint64_t bytes);

/*
 * Between begin and end of BLK_ZO_SET_EXT: the extension itself is where it is
 * kept, so that the record can say so from now on.
 */
void zone_table_ext_written(ZoneTable *t, ZoneMgmt *m);

/*
 * End the operation; @ret < 0 says that it could not be made durable, then
 * the zones stay as they were.  Returns @ret.
 */
int coroutine_fn zone_table_end_mgmt(ZoneTable *t, ZoneMgmt *m, int ret);

/*
 * Between begin and end of a reset: find the next zone that it resets, from
 * zone *@i on.  Looks at a bounded number of zones; if none of them is reset,
 * returns false with *@i behind them.
 */
bool zone_mgmt_next_reset(ZoneTable *t, const ZoneMgmt *m, uint32_t *i);

/*
 * No operation begins on the zone at @offset until zone_table_end_mgmt(), so
 * that what belongs to it outside the table stays the same.
 */
void coroutine_fn zone_table_begin_look(ZoneTable *t, ZoneMgmt *m,
                                        uint64_t offset);

/* Can a zone in @state be the object of @op? */
bool zone_op_allowed(BlockZoneOp op, BlockZoneState state);

/* Is it left as it is, by @flags (BDRV_ZONE_LENIENT)? */
bool zone_op_leaves(BlockZoneOp op, BlockZoneFlags flags, BlockZoneState state);

/* What is left of @attributes (BDRV_ZA_*) in a zone that gets into @state */
uint8_t zone_attributes_in(BlockZoneState state, uint8_t attributes);

/*
 * BLK_ZO_SET_ATTRIBUTES with @attributes: can it be done to a zone in @state,
 * and what is the zone then?
 */
bool zone_attributes_allowed(BlockZoneState state, uint8_t attributes);
BlockZoneState zone_attributes_state(BlockZoneState state, uint8_t attributes);

/* --- Looking --- */

/*
 * Fill @zones with the zones from the one that contains @offset on, at most
 * *@nr_zones; *@nr_zones becomes the number filled, 0 if @offset is not in
 * the device.  A write in progress is not in the report yet.
 */
void zone_table_report(ZoneTable *t, uint64_t offset, unsigned int *nr_zones,
                       BlockZoneDescriptor *zones);

/*
 * How much of [@offset, @offset + @bytes) from its beginning is of one kind:
 * kept by the store (*@data is true), or to be read as zeroes whatever the
 * store holds (false).  At least 1 for @bytes > 0, or -ENODEV in an offline
 * zone.  Behind the end of the device, where the last cluster of an image may
 * go on, there are zeroes.
 */
int64_t zone_table_readable(ZoneTable *t, uint64_t offset, uint64_t bytes,
                            bool *data);

/* The same for what the store has of offline zones, too, for their repair */
int64_t zone_table_stored(ZoneTable *t, uint64_t offset, uint64_t bytes,
                          bool *data);

/* Number of zones per state, indexed by BlockZoneState */
typedef struct ZoneCounts {
    uint32_t in_state[BLK_ZS_OFFLINE + 1];
} ZoneCounts;
void zone_table_count(ZoneTable *t, ZoneCounts *counts);

/* How many zones have been closed since zone_table_new() because another opened */
uint64_t zone_table_implicit_closes(const ZoneTable *t);

/* The field's name of a zone state */
const char *zone_state_name(BlockZoneState state);

/* --- The store's side --- */

/*
 * What stable storage keeps of a zone.  Without a live power supply, a zone
 * that was open is closed, or empty if it holds nothing, so that only
 * EMPTY, CLOSED, FULL, RDONLY, OFFLINE and (conventional zones) NOT_WP are
 * stored; open states are kept in a hand-over between two QEMU processes.
 */
typedef struct ZoneRecord {
    BlockZoneState state;
    uint8_t attributes;          /* BDRV_ZA_* */
    uint64_t wp;                 /* zone start + capacity when FULL */
    uint64_t data_end;           /* everything at or above reads as zeroes */
    uint8_t epoch;               /* see zone_table_next_epoch() */
} ZoneRecord;

/* Zones per dirty mark: the records of one 4096-byte block at 16 bytes each */
#define ZONE_DIRTY_SHIFT 8
#define ZONE_BLOCK_RECORDS (1u << ZONE_DIRTY_SHIFT)

/*
 * The state that a sequential zone [@start, @end) without power is in, going by
 * its position and attributes
 */
BlockZoneState zone_state_of(uint64_t start, uint64_t end, uint64_t wp,
                             uint64_t data_end, uint8_t attributes);

/*
 * Set zone @index from a record while nobody else uses the table.  Returns false
 * if the record makes no sense for this zone.
 */
bool zone_table_load(ZoneTable *t, uint32_t index, const ZoneRecord *record);

/*
 * Empty sequential zone @index, and set all zones, open ones too, as they are in
 * @from, of the same geometry.  Others may read, but nothing else is in progress.
 */
void zone_table_clear(ZoneTable *t, uint32_t index);
void zone_table_copy(ZoneTable *to, ZoneTable *from);

/* Where write pointer and end of data are, whatever waits to become durable */
void zone_table_position(ZoneTable *t, uint32_t index, uint64_t *wp,
                         uint64_t *data_end);

/*
 * From here on, sequential zone @index holds no data and nothing is being
 * written; a reset that waits to become durable has changed nothing yet
 */
uint64_t zone_table_unused(ZoneTable *t, uint32_t index);

/*
 * The record to store for zone @index now: nothing above the completed prefix
 * of its writes counts, and a reset or finish that waits to become durable is
 * done.  @live keeps open states.
 */
void zone_table_record(ZoneTable *t, uint32_t index, bool live,
                       ZoneRecord *record);
/* The same for up to @n zones from @first on; returns how many there are. */
unsigned int zone_table_records(ZoneTable *t, uint32_t first, unsigned int n,
                                bool live, ZoneRecord *records);

/* A zone that is not active, but that the store may have as an active one */
typedef struct ZoneReleased {
    uint32_t zone;
    ZoneRecord record;
} ZoneReleased;

/* What is to be stored, as it was at one moment */
typedef struct ZoneSnapshot {
    bool live;                   /* open states are kept */
    bool more;                   /* has changed; for the next snapshot */
    GArray *blocks;              /* uint32_t: numbers of blocks, ascending */
    GArray *records;             /* ZoneRecord: ZONE_BLOCK_RECORDS for each */
    /*
     * ZoneReleased: their records have to be durable before @records are
     * written, or a crash could leave more active zones than the limit
     */
    GArray *released;
} ZoneSnapshot;

/*
 * Take what has changed since it was last taken, or a bounded part of it; NULL
 * if nothing has.
 */
ZoneSnapshot *zone_table_take_snapshot(ZoneTable *t, bool live);
/* Free @snap; if it could not be @stored, what is in it has changed again. */
void zone_table_drop_snapshot(ZoneTable *t, ZoneSnapshot *snap, bool stored);

/*
 * Claims: instead of a record, the store can keep how far the data of a zone has
 * grown since its record was stored, with a checksum of that; so it need not
 * make the data durable first.  That is possible for a zone if nothing but
 * writes with checksums has changed it, for few zones, and little data.
 */
typedef struct ZoneClaim {
    uint32_t zone;
    uint8_t epoch;               /* of the record */
    uint64_t from, to;           /* end of data: stored, and now */
    ZoneChecksum sum;            /* of what is between */
} ZoneClaim;

#define ZONE_CLAIMS_MAX 127
#define ZONE_CLAIMS_MAX_BYTES (16 * 1024 * 1024)

/* Claims can be kept; until then, everything is for records. */
void zone_table_enable_claims(ZoneTable *t);
/*
 * If claims can stand for all that is not in records, put them into @claims, of
 * ZONE_CLAIMS_MAX, in the order of their zones, and return their number; -1 if
 * they cannot.  Taking a snapshot makes an end of them: it has all in records.
 */
int zone_table_get_claims(ZoneTable *t, ZoneClaim *claims);
/* The same, as it will be if @w, which has a checksum, ends well and next. */
int zone_table_get_claims_with(ZoneTable *t, ZoneClaim *claims,
                               const ZoneWrite *w);
/*
 * Claims of zone @index that the store has kept are void as soon as its record,
 * which has another epoch now, none of those in the bits of @taken, is stored: it
 * has to be, and is in the next snapshot.
 */
void zone_table_next_epoch(ZoneTable *t, uint32_t index, uint32_t taken);
#define ZONE_EPOCHS 16

/* All zones from @first on have to be stored again. */
void zone_table_mark_dirty(ZoneTable *t, uint32_t first);
bool zone_table_is_dirty(ZoneTable *t);

#endif
