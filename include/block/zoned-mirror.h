/*
 * Mirrors of zoned disks
 *
 * A mirror makes the bytes of the target those that can be read from the source,
 * in any order and past the zone rules: what a zone does not hold is zero.  So
 * everything that changes what can be read makes a range dirty, and the job needs
 * to know nothing of zones to converge.  Meanwhile, the target shows none of it.
 * It gets all zones at once, at the end, when the source is drained.
 *
 * The commit of the active image is a mirror to the base.  Its zones stay as they
 * are until the end, because the images above it still inherit from it; and it is
 * written only where they do not, as far as that is on disk.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_MIRROR_H
#define BLOCK_ZONED_MIRROR_H

#include "block/block_int-common.h"

typedef struct ZonedMirror ZonedMirror;

/*
 * Is this a mirror that can be done, as far as it has to do with zones?  In the
 * main loop.
 */
bool GRAPH_UNLOCKED zoned_mirror_check(BlockDriverState *source,
                                       BlockDriverState *target,
                                       bool is_commit, bool is_none_mode,
                                       MirrorCopyMode copy_mode, Error **errp);

/* The same for a job that has begun: false if its mode cannot be changed */
bool zoned_mirror_check_change(ZonedMirror *zm, Error **errp);

/*
 * With sync=top, what is copied at a time: @granularity, or a cluster of @target if
 * that is more.  The rest of a cluster that is written in part would be zeroes: who
 * receives zones has nothing of the backing file until it has them.  In the main
 * loop.
 */
uint32_t GRAPH_UNLOCKED zoned_mirror_granularity(BlockDriverState *target,
                                                 uint32_t granularity);

/*
 * drive-mirror has opened @target without its backing file, to get that at the end,
 * as *@mode says.  A zoned overlay is copied to with it: that of the source, which is
 * @backing, or its own.  Not in a read lock of the graph.
 */
bool GRAPH_UNLOCKED zoned_mirror_add_backing(BlockDriverState *target,
                                             BlockDriverState *backing,
                                             MirrorSyncMode sync,
                                             BlockMirrorBackingMode *mode,
                                             Error **errp);

/* Can the target take the place of the source?  @zm can be NULL. */
bool zoned_mirror_may_complete(ZonedMirror *zm, Error **errp);

/*
 * A mirror begins: @filter is above the source, which is drained, and makes ranges
 * dirty that are changed from here on.  NULL if there are no zones.  In the
 * main loop.
 */
ZonedMirror *GRAPH_UNLOCKED zoned_mirror_new(BlockDriverState *filter,
                                             bool is_commit);

/*
 * The target, that nobody else writes, receives data from here on.  False, with an
 * error, if it cannot.  What only @base and the images below it have is not copied.
 * In the main loop.
 */
bool GRAPH_UNLOCKED zoned_mirror_begin(ZonedMirror *zm,
                                       BlockDriverState *target,
                                       BlockDriverState *base, Error **errp);

/* Give up what has not been finished, and free it; @zm can be NULL. */
void zoned_mirror_free(ZonedMirror *zm);

/*
 * Everything has been copied, and source and target are flushed; the source is
 * drained: the target gets its zones.  Those that are open stay so if it takes
 * the place of the source (@live), or is in another process, where the guest may
 * go on.  In the main loop; returns 0 or a negative errno.
 */
int GRAPH_UNLOCKED zoned_mirror_finish(ZonedMirror *zm, bool live);

/* --- The guest's requests, in the filter --- */

/* Zone management and an append to the zone at *@offset, as in a filter */
int coroutine_fn GRAPH_RDLOCK
zoned_mirror_mgmt(BlockDriverState *filter, ZonedMirror *zm,
                  BdrvDirtyBitmap *dirty, BlockZoneOp op, BlockZoneFlags flags,
                  int64_t offset, int64_t len, const void *ext);
int coroutine_fn GRAPH_RDLOCK
zoned_mirror_append(BlockDriverState *filter, BdrvDirtyBitmap *dirty,
                    int64_t *offset, QEMUIOVector *qiov,
                    BdrvRequestFlags flags);

/* --- In the job --- */

/*
 * In the beginning, when the target is zeroed, or has what the base has: 1 if there is
 * something else in the first *@n bytes at @offset, 0 if not, or a negative errno.
 */
int coroutine_fn GRAPH_RDLOCK
zoned_mirror_to_copy(ZonedMirror *zm, int64_t offset, int64_t bytes,
                     int64_t *n);

/* Read what is to be copied.  @zm can be NULL. */
int coroutine_fn GRAPH_RDLOCK
zoned_mirror_read(ZonedMirror *zm, BdrvChild *source, int64_t offset,
                  int64_t bytes, QEMUIOVector *qiov);

/*
 * Write what was read, or zeroes (@qiov is NULL); of a commit, what the base may be
 * given.  @zm can be NULL.
 */
int coroutine_fn GRAPH_UNLOCKED
zoned_mirror_write(ZonedMirror *zm, BlockBackend *target, int64_t offset,
                   int64_t bytes, QEMUIOVector *qiov, BdrvRequestFlags flags);

/*
 * Drained: what could not be read when it was copied, and can be now, is dirty.
 * @zm can be NULL.
 */
void coroutine_fn GRAPH_UNLOCKED
zoned_mirror_check_dirty(ZonedMirror *zm, BdrvDirtyBitmap *dirty);

/*
 * Before the target is flushed: copy what is not data and has changed.  Returns 0
 * or a negative errno, then *@in_source says whether reading failed.  @zm can
 * be NULL.
 */
int coroutine_fn GRAPH_UNLOCKED
zoned_mirror_sync(ZonedMirror *zm, bool *in_source);

#endif
