/*
 * Backups of zoned disks
 *
 * A backup is of one point in time: the zones as they were when the job began,
 * each with its data.  Where a zone had no data then, there is nothing to copy,
 * whatever is written there later.
 *
 * A target with zones takes the data in any order and past the zone rules, and
 * shows none of it; it gets all zones at once when everything is there.  A target
 * without zones gets zeroes where a zone had no data.
 *
 * To an earlier backup (sync=bitmap), what has changed since is copied.  Its zones
 * become empty at the beginning, because it is neither of both meanwhile.  Of a
 * zone that had less data then, what is more is copied whatever the bitmap says;
 * so a backup that was interrupted can be done again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_BACKUP_H
#define BLOCK_ZONED_BACKUP_H

#include "block/block-copy.h"
#include "block/block_int-common.h"
#include "block/blockjob_int.h"
#include "block/zone-table.h"

/* What a driver with zones of its own does for a backup of them, or to them */
typedef struct BlockZoneTransfer {
    /*
     * For a node that shows no zones: can what is behind it receive them?  It has
     * neither copy nor any sync but full.
     */
    bool (*takes_zones)(BlockDriverState *bs);
    /* A copy of the zones of @bs, which is drained; for zone_table_free() */
    ZoneTable *(*copy)(BlockDriverState *bs);
    /*
     * As zone_table_stored(): the bytes from @offset on that are data, or none
     */
    int64_t (*stored)(BlockDriverState *bs, int64_t offset, int64_t bytes,
                      bool *data);
    /* Read such data, of an offline zone, too */
    int coroutine_fn GRAPH_RDLOCK_PTR
    (*read)(BlockDriverState *bs, int64_t offset, int64_t bytes,
            QEMUIOVector *qiov, size_t qiov_offset);
    /*
     * Can @bs receive these zones?  With @sync=full its own must be empty, but
     * for conventional ones; with top it must be a new overlay; with any other
     * it can have any.  With @same_limits, it must have those of @zones.  Called
     * in the main loop.
     */
    bool GRAPH_RDLOCK_PTR
    (*can_receive)(BlockDriverState *bs, ZoneTable *zones, MirrorSyncMode sync,
                   bool same_limits, Error **errp);
    /*
     * All zones become empty, for good.  From here on, until end or give_up, what
     * is written to @bs is data to be received: in any order, and not to be read.
     * The arguments are those that can_receive has had.  Drained.  The error
     * may be left to the caller.
     */
    int coroutine_fn GRAPH_RDLOCK_PTR
    (*begin)(BlockDriverState *bs, ZoneTable *zones, bool same_limits,
             Error **errp);
    /* The descriptor extension of zone @i, while receiving */
    int coroutine_fn GRAPH_RDLOCK_PTR
    (*ext)(BlockDriverState *bs, uint32_t i, const void *ext, size_t bytes);
    /*
     * All data is there: @bs has these zones from here on, without power unless
     * they are @live.  A crash leaves all of them, or none.  Drained.
     */
    int coroutine_fn GRAPH_RDLOCK_PTR
    (*end)(BlockDriverState *bs, ZoneTable *zones, bool live);
    /*
     * The same for the commit of the overlay @top, which has these zones and their
     * extensions.  The zones of @bs stay as they are until the end, and nothing
     * is to be written where the overlay reads what they hold.
     */
    int coroutine_fn GRAPH_RDLOCK_PTR
    (*begin_commit)(BlockDriverState *bs, BlockDriverState *top, Error **errp);
    int coroutine_fn GRAPH_RDLOCK_PTR
    (*end_commit)(BlockDriverState *bs, ZoneTable *zones, BlockDriverState *top,
                  bool live);
    /* Nothing is received any more; the zones stay.  After end, too. */
    void (*give_up)(BlockDriverState *bs);
} BlockZoneTransfer;

/* The node that gets the zones when @bs is the target, NULL if there is none */
BlockDriverState *GRAPH_RDLOCK zoned_transfer_target(BlockDriverState *bs);

/*
 * Can @target receive @zones, those of @source?  See can_receive; with @sync=top, it
 * has to have what @source has from its backing file.  In the main loop.
 */
bool GRAPH_UNLOCKED zoned_transfer_check(BlockDriverState *target,
                                         BlockDriverState *source,
                                         ZoneTable *zones, MirrorSyncMode sync,
                                         bool same_limits, Error **errp);

/*
 * Begin and end of a transfer, with @target drained, which the caller has a
 * reference to.  -ENOMEDIUM if it has gone.  In the main loop.
 */
bool GRAPH_UNLOCKED zoned_transfer_begin(BlockDriverState *target,
                                         ZoneTable *zones, bool same_limits,
                                         Error **errp);
bool GRAPH_UNLOCKED zoned_transfer_begin_commit(BlockDriverState *target,
                                                BlockDriverState *top,
                                                Error **errp);
int GRAPH_UNLOCKED zoned_transfer_end(BlockDriverState *target, ZoneTable *zones,
                                      bool live);
int GRAPH_UNLOCKED zoned_transfer_end_commit(BlockDriverState *target,
                                             ZoneTable *zones,
                                             BlockDriverState *top, bool live);

/* What it has received is lost.  In the main loop. */
void GRAPH_UNLOCKED zoned_transfer_give_up(BlockDriverState *target);

/* A new bitmap of the zones that have a descriptor extension */
unsigned long *zoned_transfer_exts(ZoneTable *zones);

/*
 * Nobody can read the data of an offline zone, not even a job: were the zone of the
 * target repaired, it must not have any.
 */
void zoned_transfer_empty_offline(ZoneTable *zones);

/* Can what was in a zone before @op not be had after it any more? */
bool zoned_op_ends_data(BlockZoneOp op);

typedef struct ZonedBackup ZonedBackup;

/*
 * Is this a backup that can be done, as far as it has to do with zones?  In the
 * main loop.
 */
bool GRAPH_UNLOCKED zoned_backup_check(BlockDriverState *source,
                                       BlockDriverState *target,
                                       MirrorSyncMode sync,
                                       bool discard_source, Error **errp);

/* May a copy-before-write filter that is not of a backup have these nodes? */
bool GRAPH_RDLOCK zoned_backup_may_filter(BlockDriverState *source,
                                          BlockDriverState *target,
                                          Error **errp);

/* What copy-before-write does: copy what is still to be copied of a range */
typedef int coroutine_fn ZonedBackupCopy(BlockDriverState *filter,
                                         uint64_t offset, uint64_t bytes,
                                         BdrvRequestFlags flags);

/*
 * The point in time is now: @source, the node below @filter, is drained.  From here
 * on, what changes it has to call one of the functions below first.  *@zb
 * becomes NULL if it has no zones.  False, with an error, if that cannot be.
 */
bool GRAPH_UNLOCKED zoned_backup_begin(BlockDriverState *filter,
                                       BlockDriverState *source,
                                       BdrvChild *target, BlockCopyState *bcs,
                                       MirrorSyncMode sync,
                                       ZonedBackupCopy *copy,
                                       ZonedBackup **zb, Error **errp);
/*
 * @bcs has what is to be copied, as @sync says: take account of what the target's
 * zones did not have, and of what no zone has.  Before anything is copied.  @zb
 * can be NULL.
 */
void zoned_backup_select(ZonedBackup *zb, BlockCopyState *bcs);
/* Give up what has not been finished, and free it. */
void GRAPH_UNLOCKED zoned_backup_free(ZonedBackup *zb);

/*
 * Before a write, an append to the zone at @offset, and zone management: copy
 * what they make an end of.  Writes and appends to a zone go on in the order of
 * these calls, and if one fails, so do those that waited behind it.  Return 0 or
 * a negative errno of I/O.
 */
int coroutine_fn GRAPH_RDLOCK
zoned_backup_before_write(ZonedBackup *zb, int64_t offset, int64_t bytes,
                          BdrvRequestFlags flags);
int coroutine_fn GRAPH_RDLOCK
zoned_backup_before_append(ZonedBackup *zb, int64_t offset);
int coroutine_fn GRAPH_RDLOCK
zoned_backup_before_mgmt(ZonedBackup *zb, BlockZoneOp op, int64_t offset,
                         int64_t len);

/*
 * In the job, before data is copied in the background: everything that is not
 * data.  Returns 0, also if @job is cancelled, or a negative errno.
 */
int coroutine_fn zoned_backup_run(ZonedBackup *zb, BlockJob *job,
                                  BlockdevOnError on_source_error,
                                  BlockdevOnError on_target_error);

/*
 * Everything has been copied: the target gets the zones.  In the main loop;
 * returns 0 or a negative errno.
 */
int GRAPH_UNLOCKED zoned_backup_finish(ZonedBackup *zb);

#endif
