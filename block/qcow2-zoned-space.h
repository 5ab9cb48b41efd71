/*
 * Zoned qcow2: the space that zones have on the host
 *
 * A zone that is mapped has a place in the file, but the host gives it space in
 * steps: ahead of the writer, in the background.  After a reset with
 * discard=unmap the space is given back in the background, too.
 *
 * Units are bytes, offsets those of the guest.  No function fails: what cannot
 * be done costs space or time only.  Any thread may call those that are
 * marked coroutine_fn, the others while the node is drained or closed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_QCOW2_ZONED_SPACE_H
#define BLOCK_QCOW2_ZONED_SPACE_H

#include "block/block_int.h"
#include "block/zone-table.h"

typedef struct Qcow2ZonedSpace Qcow2ZonedSpace;

Qcow2ZonedSpace *qcow2_zoned_space_new(void);
/* Nothing is in progress. */
void qcow2_zoned_space_free(Qcow2ZonedSpace *space);

/*
 * The zones have other places, or there are @nr_zones now: forget what they
 * have, and which of it was to be given back.
 */
void qcow2_zoned_space_forget(Qcow2ZonedSpace *space, uint32_t nr_zones);

/* --- Writes --- */

/*
 * @w is reserved: wait until no hole is being punched where it goes.  Before
 * the zone is mapped.
 */
void coroutine_fn GRAPH_RDLOCK
qcow2_zoned_space_wait(BlockDriverState *bs, const ZoneWrite *w);

/* The step that @w ends in is mapped: see to space for the next write. */
void coroutine_fn GRAPH_RDLOCK
qcow2_zoned_space_ahead(BlockDriverState *bs, const ZoneWrite *w);

/*
 * A write has failed with -ENOSPC.  Give back what zones have ahead of their
 * writers.  Returns true if the write should be tried again: there is more space
 * than before it, when qcow2_zoned_space_given_back() was @given_back.
 */
bool coroutine_fn GRAPH_RDLOCK
qcow2_zoned_space_full(BlockDriverState *bs, unsigned int given_back);
unsigned int qcow2_zoned_space_given_back(BlockDriverState *bs);

/* --- Resets --- */

/* The reset of zone @i is durable, and has not ended yet. */
void qcow2_zoned_space_unused(BlockDriverState *bs, uint32_t i);

/*
 * These zones have been reset: give back, in the background, what those have of
 * which this was said, or that hold nothing.
 */
void coroutine_fn qcow2_zoned_space_give_back(BlockDriverState *bs,
                                              uint32_t first, uint32_t last);

/* Go on with it after a drained section. */
void qcow2_zoned_space_start(BlockDriverState *bs);

/*
 * The node is being closed, and drained: do what is left, but no longer than
 * two seconds.
 */
void coroutine_mixed_fn GRAPH_RDLOCK
qcow2_zoned_space_finish(BlockDriverState *bs);

/* Give nothing back any more; returns when nothing is in progress. */
void GRAPH_RDLOCK qcow2_zoned_space_drop(BlockDriverState *bs);

#endif
