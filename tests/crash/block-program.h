/*
 * What test programs have in common that are linked with QEMU's block layer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_PROGRAM_H
#define BLOCK_PROGRAM_H

#include "qemu/coroutine.h"
#include "qemu/iov.h"

/* To be called first in main() */
void block_program_init(const char *name);

/* The number that all of @s is */
uint64_t block_program_number(const char *s);

/* Call @f(@opaque) in a coroutine, and wait until it has returned. */
void block_program_run(CoroutineEntry *f, void *opaque);

/* The content of a disk in memory; what is in @data above @length is zero. */
typedef struct RamDisk {
    uint8_t *data;
    int64_t length, max_length;
} RamDisk;

void ram_disk_read(const RamDisk *d, int64_t offset, QEMUIOVector *qiov);
/* Write @bytes of @qiov, or zeroes without one; -ENOSPC beyond max_length */
int ram_disk_write(RamDisk *d, int64_t offset, int64_t bytes,
                   QEMUIOVector *qiov);
int ram_disk_truncate(RamDisk *d, int64_t length, Error **errp);

#endif
