/*
 * SCSI disks: host-managed ZBC disks, whose zones live in the block node
 *
 * A scsi-hd on a host-managed block node has SCSIDevice.zbc, and is a disk of
 * type 14h (ZBC, INCITS 536) with the zones of that node.  The node is the one
 * that knows their conditions and write pointers; none is kept here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_SCSI_ZBC_H
#define HW_SCSI_ZBC_H

#include "hw/scsi/emulation.h"
#include "hw/scsi/scsi.h"
#include "migration/vmstate.h"

/* --- Attachment --- */

/*
 * If the node has zones, choose what suits them where the user has not: block
 * sizes, and a medium that does not rotate (@rotation_rate is 1; 0: not
 * reported).  To be called before the sizes are checked.
 */
void scsi_zbc_set_defaults(SCSIDevice *dev, uint16_t *rotation_rate);

/*
 * If the node has zones, make @dev a ZBC disk, or fail where that cannot show
 * them.  To be called with the block sizes known.
 *
 * @removable: the medium can be changed
 * @max_io_size: the largest transfer in bytes, 0: no limit
 */
bool scsi_zbc_create(SCSIDevice *dev, bool removable, uint64_t max_io_size,
                     Error **errp);
void scsi_zbc_destroy(SCSIDevice *dev);

/*
 * Belongs to the state of a SCSIDevice.  The guest relies on what it was told
 * of the zones, so the other side of a migration must have the same.
 */
extern const VMStateDescription vmstate_scsi_zbc;
int scsi_zbc_post_load(void *opaque, int version_id);

/* --- Commands --- */

/*
 * What executes @opcode on a ZBC disk; NULL: what does so on any other disk.
 */
const SCSIReqOps *scsi_zbc_reqops(uint8_t opcode);

/* --- Identity: to be called for ZBC disks only --- */

/* Complete the standard INQUIRY data; returns their length in bytes. */
int scsi_zbc_inquiry(uint8_t *buf);
/* The list of the VPD pages of any disk is followed by these; likewise. */
int scsi_zbc_vpd_pages(uint8_t *buf);
void scsi_zbc_block_limits(SCSIDevice *dev, SCSIBlockLimits *bl);
/* VPD page B6h without its header; likewise */
int scsi_zbc_characteristics(SCSIDevice *dev, uint8_t *buf);
/*
 * Does the block descriptor @bd of MODE SELECT (8 bytes, SBC-4) leave the block
 * size and the number of blocks as they are?  It has no zones to choose from.
 */
bool scsi_zbc_may_select(SCSIDevice *dev, const uint8_t *bd);

#endif
