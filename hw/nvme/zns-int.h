/*
 * NVMe: zoned namespaces whose zones live in the block node
 *
 * What the files of it share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_NVME_ZNS_INT_H
#define HW_NVME_ZNS_INT_H

#include "block/block-zoned.h"
#include "system/block-backend.h"
#include "zns.h"

typedef struct ZnsChangedList ZnsChangedList;

struct NvmeZbd {
    /* What the guest was told; another node here has the same zones */
    BlockZoneLimits limits;
    ZnsChangedList *changed[NVME_MAX_CONTROLLERS];
};

/* --- Units --- */

static inline BlockBackend *zns_blk(NvmeNamespace *ns)
{
    return ns->blkconf.blk;
}

static inline uint64_t zns_blocks(NvmeNamespace *ns, uint64_t bytes)
{
    return bytes >> ns->lbaf.ds;
}

static inline uint64_t zns_bytes(NvmeNamespace *ns, uint64_t blocks)
{
    return blocks << ns->lbaf.ds;
}

static inline uint64_t zns_total_bytes(const BlockZoneLimits *zl)
{
    return (uint64_t)zl->nr_zones * zl->size;
}

/*
 * The status for the result of a block layer call.  -EINVAL is @invalid, which
 * depends on the call; what is not the guest's doing is @failed.
 */
uint16_t zns_status(int ret, uint16_t invalid, uint16_t failed);

/* Checks that need no zone */
uint16_t zns_check_range(NvmeNamespace *ns, uint64_t slba, uint64_t nlb);
/* A limit of 1 << @order pages of the smallest size; 0 is none */
uint16_t zns_check_limit(NvmeCtrl *n, uint64_t bytes, uint8_t order);
uint16_t zns_check_writable(NvmeNamespace *ns);

/* Fill @buf with the data of the command, which are @len bytes. */
uint16_t zns_fetch(NvmeCtrl *n, NvmeRequest *req, void *buf, size_t len);
void zns_account(NvmeRequest *req, uint64_t bytes, enum BlockAcctType type);

/*
 * A command, from its first check to its status.  All data that it needs are in
 * @req, which belongs to it until it returns.
 */
typedef uint16_t coroutine_fn ZnsCommand(NvmeCtrl *n, NvmeRequest *req);

ZnsCommand zns_read, zns_compare, zns_verify;
ZnsCommand zns_write, zns_write_zeroes, zns_append, zns_copy, zns_dsm;
ZnsCommand zns_mgmt_send, zns_mgmt_receive;

#endif
