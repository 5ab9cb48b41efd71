/*
 * Zones and the jobs and commands for whole disks
 *
 * Functions that are not for coroutines are called in the main loop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_JOBS_H
#define BLOCK_ZONED_JOBS_H

#include "block/block_int-common.h"

/*
 * For operations that cannot keep data and zones together: true, and an error
 * that says that @what cannot be done, if @bs has zones.
 */
bool bdrv_refuse_zoned(BlockDriverState *bs, const char *what, Error **errp);

/*
 * Call @func, which reads or writes metadata, with a read lock of the graph.  It is a
 * coroutine because the main loop polls meanwhile, and must not hold that lock.
 */
typedef int coroutine_fn ZonedCoroutine(void *opaque);
int zoned_call_coroutine(ZonedCoroutine *func, void *opaque);

/*
 * May data of the backing files be brought to @bs (block-stream)?  If it has zones,
 * neither these nor what is read changes.
 */
bool GRAPH_UNLOCKED zoned_may_stream(BlockDriverState *bs, Error **errp);

/*
 * @bs is to become the overlay of @base, whose requests are drained and whose
 * data is flushed.  If one has zones, @bs takes over those of @base with all
 * their states.  False, with an error, if it cannot.  In the main loop; a caller
 * may hold its graph lock, as for bdrv_append().
 */
bool zoned_inherit(BlockDriverState *bs, BlockDriverState *base, Error **errp);

/*
 * Bring data and zones of the overlay @bs to its backing file @base, which has
 * zones, and empty the overlay.  No requests reach @bs meanwhile.
 */
int GRAPH_UNLOCKED zoned_commit(BlockDriverState *bs, BlockDriverState *base,
                                Error **errp);

/*
 * The same for the backing file that @bs has, if that has zones; reports errors.
 * False if it has none: nothing is done.
 */
bool GRAPH_UNLOCKED zoned_commit_to_backing(BlockDriverState *bs, int *ret);

/*
 * For block-commit of the images from @top down to the overlay of @base while a
 * guest uses an image above them: can data and zones, if there are any, be brought
 * to @base?
 */
bool GRAPH_UNLOCKED zoned_may_commit(BlockDriverState *top,
                                     BlockDriverState *base, Error **errp);

/* Such a job; the functions below do what it does to zones */
typedef struct ZonedCommit ZonedCommit;

/*
 * Before the job begins, when @base can be written.  NULL if it has no zones;
 * zoned_may_commit() was true.
 */
ZonedCommit *GRAPH_UNLOCKED zoned_commit_start(BlockDriverState *top,
                                               BlockDriverState *last,
                                               BlockDriverState *base);

/*
 * What follows is in qcow2-zoned-create.c: zoned images with overlays are qcow2
 * images.  A commit from @top down to @last, the overlay of @base; NULL, with an
 * error, if these have not the same zones.
 */
ZonedCommit *GRAPH_RDLOCK zoned_commit_new(BlockDriverState *top,
                                           BlockDriverState *last,
                                           BlockDriverState *base,
                                           Error **errp);
/* Where data is in the base is going to change, or has.  Drained. */
void zoned_commit_forget(ZonedCommit *c);
void zoned_commit_free(ZonedCommit *c);

/*
 * Check what is to be done, and empty the zones of the base that nothing is
 * inherited from; durable.  Returns 0, or a negative errno with an error set.
 */
int coroutine_fn GRAPH_RDLOCK zoned_commit_begin(ZonedCommit *c, Error **errp);

/*
 * Bring what there is at @offset, at most *@bytes, which becomes the number of
 * bytes that are done with and can be more if nothing is to be copied; @buf holds
 * *@bytes.  Returns 1 if something was copied, 0 if not, or a negative errno, then
 * *@in_source says whether reading failed.
 */
int coroutine_fn GRAPH_RDLOCK
zoned_commit_copy(ZonedCommit *c, int64_t offset, int64_t *bytes, void *buf,
                  bool *in_source);

/* All has been copied: give the base the zones of the top, durable. */
int coroutine_fn GRAPH_RDLOCK zoned_commit_end(ZonedCommit *c);

#endif
