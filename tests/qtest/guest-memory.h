/*
 * The memory of a guest, and what a device may change in it
 *
 * All of the guest's memory is a file that the test has mapped.  The test says
 * what it writes there, and what the device may write for a command; when that
 * is complete, everything else has to be as it was.
 *
 * Addresses and lengths are in bytes.  One thread of the test uses it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_GUEST_MEMORY_H
#define TESTS_GUEST_MEMORY_H

#include "qemu/units.h"
#include "libqos/virtio.h"

#define GUEST_MEMORY_SIZE   (128 * MiB)

typedef struct GuestMemory GuestMemory;

GuestMemory *guest_new(void);
void guest_delete(GuestMemory *m);
/* The options of QEMU that make it use this memory */
const char *guest_options(const GuestMemory *m);
/* QEMU has started: what is there now is right. */
void guest_started(GuestMemory *m);
/*
 * The memory of @from, with the commands that are in progress, was moved here
 * by a migration.
 */
void guest_migrated(GuestMemory *m, const GuestMemory *from);

/* --- What the guest does --- */

void guest_write(GuestMemory *m, uint64_t addr, const void *data, size_t len);
void guest_fill(GuestMemory *m, uint64_t addr, uint8_t value, size_t len);
/* Little endian */
void guest_writeq(GuestMemory *m, uint64_t addr, uint64_t value);
void guest_read(const GuestMemory *m, uint64_t addr, void *data, size_t len);
/* It has been written past these functions. */
void guest_accept(GuestMemory *m, uint64_t addr, uint64_t len);

/* --- What the device does --- */

/*
 * The device may write there until guest_done().  @owner stands for the
 * command, and is the address of something that it has for itself.  An area
 * that is no memory takes part of the data, as any other.
 */
void guest_allow(GuestMemory *m, uint64_t owner, uint64_t addr, uint64_t len);
/*
 * The command is complete: of its areas, in the order of guest_allow(), the
 * device had @bytes to write, and no byte behind.
 */
void guest_done(GuestMemory *m, uint64_t owner, uint64_t bytes);
/* The commands whose @owner is there have ended, nobody knows how. */
void guest_forget(GuestMemory *m, uint64_t addr, uint64_t len);
/* Nothing was written but what is allowed. */
void guest_check(const GuestMemory *m);

/* --- Queues of virtio --- */

/* The queue is new. */
void guest_queue_started(GuestMemory *m, const QVirtQueue *vq);
/* The driver has just made the last @n requests available. */
void guest_queue_offered(GuestMemory *m, const QVirtQueue *vq, unsigned n);
/* It is about to take an answer of the used ring... */
void guest_queue_taken(GuestMemory *m, const QVirtQueue *vq);
/* ...to the request that begins with descriptor @head, with so much data. */
void guest_queue_done(GuestMemory *m, const QVirtQueue *vq, uint32_t head,
                      uint64_t bytes);

#endif
