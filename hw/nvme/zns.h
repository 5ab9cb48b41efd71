/*
 * NVMe: zoned namespaces whose zones live in the block node
 *
 * A namespace on a host-managed block node has NvmeNamespace.zbd and is a
 * zoned namespace (ZNS Command Set 1.1) with the zones of that node.  The node
 * is the one that knows their states; QEMU's own emulation of zones in memory
 * (NvmeNamespaceParams.zoned) is not involved.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_NVME_ZNS_H
#define HW_NVME_ZNS_H

#include "nvme.h"

/* The default of properties for which 0 is a value that can be given */
#define NVME_ZBD_NOT_GIVEN UINT32_MAX

/*
 * If the node has zones, can @ns have them?  To be called before the block
 * sizes are set: the default is what the zones need.
 */
bool nvme_zbd_probe(NvmeNamespace *ns, Error **errp);
/* Its zbd, and everything in the identify data that depends on the zones */
void nvme_zbd_init(NvmeNamespace *ns);
void nvme_zbd_cleanup(NvmeNamespace *ns);

/* Namespace @ns gets attached to @n. */
void nvme_zbd_attach(NvmeCtrl *n, NvmeNamespace *ns);
/* Zone Append Size Limit of the controller */
uint8_t nvme_zbd_zasl(NvmeCtrl *n);

/* Returns false if the opcode is one that zones make no difference to. */
bool nvme_zbd_io_cmd(NvmeCtrl *n, NvmeRequest *req);

/* For a Copy to another namespace: may the source be read? */
uint16_t nvme_zbd_check_read(NvmeNamespace *ns, uint64_t slba, uint32_t nlb);
/* The status for the result of a read of @ns, which need not have zones */
uint16_t nvme_zbd_read_status(NvmeNamespace *ns, int ret);

/*
 * Format NVM.  No zone can be made empty that is read-only: so these go offline
 * first, and all others are reset then.
 */
typedef enum NvmeZbdFormatStep {
    NVME_ZBD_FORMAT_OFFLINE,
    NVME_ZBD_FORMAT_RESET,
    NVME_ZBD_FORMAT_DONE,
} NvmeZbdFormatStep;

BlockAIOCB *nvme_zbd_format(NvmeNamespace *ns, NvmeZbdFormatStep step,
                            BlockCompletionFunc *cb, void *opaque);

/* Get Log Page, Changed Zone List */
uint16_t nvme_zbd_changed_zones(NvmeCtrl *n, uint8_t rae, size_t len,
                                uint64_t off, NvmeRequest *req);

/* The subsystem of @n is shut down, after which the power may be cut. */
void nvme_zbd_shutdown(NvmeCtrl *n);
/* Controller @n is reset. */
void nvme_zbd_reset(NvmeCtrl *n);

#endif
