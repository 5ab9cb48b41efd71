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

/*
 * If the node has zones, can @ns have them?  To be called before the block
 * sizes are set: the default is what the zones need.
 */
bool nvme_zns_probe(NvmeNamespace *ns, Error **errp);
/* Its zbd, and everything in the identify data that depends on the zones */
void nvme_zns_init(NvmeNamespace *ns);
void nvme_zns_cleanup(NvmeNamespace *ns);

/* Namespace @ns gets attached to @n. */
void nvme_zns_attach(NvmeCtrl *n, NvmeNamespace *ns);
/* Zone Append Size Limit of the controller */
uint8_t nvme_zns_zasl(NvmeCtrl *n);

/* Returns false if the opcode is one that zones make no difference to. */
bool nvme_zns_io_cmd(NvmeCtrl *n, NvmeRequest *req);

/* For a Copy to another namespace: may the source be read, and if it failed */
uint16_t nvme_zns_check_read(NvmeNamespace *ns, uint64_t slba, uint32_t nlb);
uint16_t nvme_zns_read_status(int ret);

/*
 * The next step of Format NVM, in place of writing zeroes; *@offset moves on
 * to the end of the namespace.
 */
BlockAIOCB *nvme_zns_format(NvmeNamespace *ns, int64_t *offset,
                            BlockCompletionFunc *cb, void *opaque);

/* Get Log Page, Changed Zone List */
uint16_t nvme_zns_changed_zones(NvmeCtrl *n, uint8_t rae, size_t len,
                                uint64_t off, NvmeRequest *req);

/*
 * Controller @n is about to report that its shutdown is complete.  Returns
 * whether it is the last one of its subsystem.
 */
bool nvme_zns_shutdown(NvmeCtrl *n);
void nvme_zns_reset(NvmeCtrl *n);

#endif
