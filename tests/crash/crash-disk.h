/*
 * A disk in memory that logs what happens to it, for power-loss tests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CRASH_DISK_H
#define CRASH_DISK_H

#include "qemu/iov.h"

/*
 * One log for all that happens, to disks and to zones, in the order in which
 * it does.  Everything runs in one thread, so this order is exact.
 */
typedef struct CrashEvent {
    uint32_t kind;      /* a letter; EVENT_END ends the event with this id */
    uint32_t disk;      /* which disk; for zone events: is it a FUA write? */
    uint64_t id;
    uint64_t offset;
    uint64_t bytes;     /* of EVENT_WRITE: the log has as many behind this */
    int64_t result;
} CrashEvent;

/* Of a disk; upper case */
#define EVENT_WRITE 'W'
#define EVENT_ZERO 'Z'
#define EVENT_TRUNCATE 'T'      /* offset: the new length */
#define EVENT_FLUSH 'F'
/* An event has ended; bytes: how much of it was done where that failed */
#define EVENT_END '.'

/* Shared by everything random; seeded once, so that a run can be repeated. */
extern GRand *crash_rand;
static inline uint32_t crash_random(uint32_t limit)
{
    return g_rand_int_range(crash_rand, 0, limit);
}

/* Of so many writes (flushes) one fails, half done; 0: none does */
extern uint32_t crash_fail_writes, crash_fail_flushes;

/* How many discards have begun */
extern uint32_t crash_discards;

/* What comes now is put behind what there is. */
void crash_log_open(const char *path);
uint64_t crash_log_begin(char kind, uint32_t disk, uint64_t offset,
                         uint64_t bytes, QEMUIOVector *payload);
void crash_log_end(uint64_t id, uint64_t offset, uint64_t bytes,
                   int64_t result);

#endif
