/*
 * VDUSE exports of zoned nodes: going on with the device of another daemon
 *
 * The kernel keeps a VDUSE device for its driver when the daemon ends, and the
 * next daemon with the same name takes it over.  libvduse then does again what
 * was in flight.  With zones that would append twice, or write where the driver
 * has data: the driver may only go on if the daemon before has ended in order,
 * with all requests done and flushed.  A file beside libvduse's log tells so.
 *
 * To be called in the main thread.  Nodes without zones are left alone.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VDUSE_BLK_ZONED_H
#define VDUSE_BLK_ZONED_H

#include "block/virtio-blk-zoned.h"
#include "subprojects/libvduse/libvduse.h"

/*
 * Remove the device @name if it is there without a driver: it has the config
 * space of an earlier export.  Returns true if a driver has it.
 */
bool vduse_blk_zoned_in_use(const VirtIOBlkZoned *z, const char *name);

/*
 * Take over @dev, of which libvduse's log is the file @log.  If @in_use, its
 * config space becomes @config, and unless the driver can go on with it, @z
 * needs a reset.  Fails if that cannot be recorded for the next daemon.
 */
bool vduse_blk_zoned_start(VirtIOBlkZoned *z, VduseDev *dev, const char *log,
                           bool in_use, uint64_t features,
                           const struct virtio_blk_config *config,
                           Error **errp);

/*
 * The export ends.  If @in_use, the next daemon can go on, provided that @blk
 * can be flushed; else nothing is left of it.
 */
void vduse_blk_zoned_end(VirtIOBlkZoned *z, BlockBackend *blk,
                         const char *log, bool in_use);

#endif
