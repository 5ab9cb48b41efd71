/*
 * The guest's memory as one buffer
 *
 * dma_blk_io() makes several requests of one where not all of the memory can be
 * mapped at a time.  Writes to zones must not be split: these functions map all
 * of it or nothing, and who gets nothing has to copy the data.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SYSTEM_DMA_MAP_H
#define SYSTEM_DMA_MAP_H

#include "qemu/iov.h"
#include "system/dma.h"

/* @accessed: the memory was read or written, and not just mapped */
static inline void dma_unmap_qiov(QEMUIOVector *qiov, const QEMUSGList *sg,
                                  DMADirection dir, bool accessed)
{
    for (int i = 0; i < qiov->niov; i++) {
        size_t len = qiov->iov[i].iov_len;

        dma_memory_unmap(sg->as, qiov->iov[i].iov_base, len, dir,
                         accessed ? len : 0);
    }
    qemu_iovec_reset(qiov);
}

/*
 * Map the first @bytes of @sg, which is not shorter, to @qiov, which is empty;
 * it stays so if this returns false.
 */
static inline bool dma_map_qiov(QEMUIOVector *qiov, const QEMUSGList *sg,
                                uint64_t bytes, DMADirection dir)
{
    for (int i = 0; qiov->size < bytes; i++) {
        dma_addr_t want = MIN(sg->sg[i].len, bytes - qiov->size), len = want;
        void *mem = dma_memory_map(sg->as, sg->sg[i].base, &len, dir,
                                   MEMTXATTRS_UNSPECIFIED);

        if (mem) {
            qemu_iovec_add(qiov, mem, len);
        }
        if (!mem || len < want) {
            dma_unmap_qiov(qiov, sg, dir, false);
            return false;
        }
    }
    return true;
}

#endif
