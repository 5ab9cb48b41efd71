/*
 * Jobs beside the requests of zone-workload
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CRASH_JOBS_H
#define CRASH_JOBS_H

#include "system/block-backend.h"

/*
 * Is to do this with the disk of @blk; @target is a filename, or NULL:
 *
 *   stream                 all backing files of node "top"
 *   streambase             those above node "base"
 *   commit                 the images from node "upper" down to node "base"
 *   active                 all overlays of node "base", which becomes the disk
 *   backup                 a full backup
 *   incremental            another one, to the same target, after it
 *   mirror                 moves to the target
 *   mirrortop              moves to the target, an overlay of the same image
 *   copy                   a mirror that is left when it is ready
 */
void crash_jobs_init(const char *what, BlockBackend *blk, const char *target);

/*
 * After each turn of the event loop, when @done requests have been made: what
 * comes next is done, if it is time for that.  The disk is in use (@busy), or it
 * is left alone until this is false: all is over, or a mirror is ready, and moves
 * later.
 */
bool crash_jobs_step(bool busy, uint64_t done);

#endif
