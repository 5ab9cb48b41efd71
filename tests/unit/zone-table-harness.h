/*
 * What the unit tests of the zone table share
 *
 * A small device; requests whose "I/O" is a coroutine that waits to be told how
 * it ended; comparisons that say in which cell of a table they failed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_ZONE_TABLE_HARNESS_H
#define TESTS_ZONE_TABLE_HARNESS_H

#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "block/block-zoned.h"
#include "block/zone-table.h"

#define ZONE        (1 * MiB)
#define CAPACITY    (768 * KiB)
#define BLOCK       (4 * KiB)
#define WRITTEN     (256 * KiB)     /* in a zone that has some data */
#define NR_ZONES    16
#define NR_CONV     2
#define FIRST_SEQ   NR_CONV

/* Where the first sequential zone begins, and where its capacity ends */
#define BEGIN (FIRST_SEQ * ZONE)
#define END (BEGIN + CAPACITY)

#define AREA    (64 * KiB)      /* of a random write area */
#define GRAIN   (16 * KiB)      /* of its commits */
#define ZA_ALL  (BDRV_ZA_FINISHED_BY_CONTROLLER | BDRV_ZA_ZRWA | BDRV_ZA_EXT)

/* The result of something that has not come yet */
#define WAITING     INT_MAX

#define NW BLK_ZS_NOT_WP
#define EM BLK_ZS_EMPTY
#define IO BLK_ZS_IOPEN
#define EO BLK_ZS_EOPEN
#define CL BLK_ZS_CLOSED
#define FU BLK_ZS_FULL
#define RO BLK_ZS_RDONLY
#define OF BLK_ZS_OFFLINE

ZoneGeometry standard_geometry(void);
ZoneTable *new_table(void);
ZoneTable *new_limited_table(uint32_t max_open, uint32_t max_active);
ZoneGeometry zns_geometry(void);
ZoneTable *new_zns_table(uint32_t max_active, uint32_t max_zrwa);

/* --- Comparing: a failure says in which cell it happened --- */

bool expect_ret(const char *cell, int got, int want);
bool expect_state(const char *cell, BlockZoneState got, BlockZoneState want);
bool expect_value(const char *cell, const char *what,
                  uint64_t got, uint64_t want);

/* --- Requests: each one in a coroutine of its own --- */

typedef enum RequestKind { WRITE, APPEND, MGMT } RequestKind;

typedef struct Request {
    ZoneTable *t;
    RequestKind kind;
    BlockZoneOp op;
    BlockZoneFlags flags;
    uint64_t offset, bytes;     /* of an append: the position, once begun */

    int begun;                  /* result of the begin call, or WAITING */
    int ended;                  /* result of the whole request, or WAITING */
    unsigned int order;         /* how many had ended before it */
    int io_ret;
    bool ext_late;              /* the test calls zone_table_ext_written() */
    Coroutine *co;
    ZoneWrite w;
    ZoneMgmt m;
} Request;

/* How many requests have ended */
extern unsigned int requests_ended;

/* Begin a request and leave it in the middle of its I/O */
void start(Request *r, const Request *what);

void start_write(Request *r, ZoneTable *t, uint64_t offset, uint64_t bytes);
void start_append(Request *r, ZoneTable *t, uint32_t zone, uint64_t bytes);
void start_mgmt(Request *r, ZoneTable *t, BlockZoneOp op,
                uint32_t zone, uint32_t nr);

/* Let the I/O of a request end, and nothing else run */
void end_io(Request *r, int io_ret);

/* Let the I/O of a request end; with others below, it may still wait then. */
int finish(Request *r, int io_ret);

/* From begin to end in one go; nothing may make it wait. */
int run(Request *r, const Request *what);

int do_write(ZoneTable *t, uint64_t offset, uint64_t bytes);
int do_append(ZoneTable *t, uint32_t zone, uint64_t bytes, uint64_t *position);
int do_mgmt_flags(ZoneTable *t, BlockZoneOp op, BlockZoneFlags flags,
                  uint32_t zone, uint32_t nr);
int do_mgmt(ZoneTable *t, BlockZoneOp op, uint32_t zone);

/* --- Looking at zones --- */

BlockZoneDescriptor report_zone(ZoneTable *t, uint32_t zone);
BlockZoneState state_of(ZoneTable *t, uint32_t zone);

/* Bytes below the write pointer */
uint64_t written_in(ZoneTable *t, uint32_t zone);

ZoneRecord record_of(ZoneTable *t, uint32_t zone, bool live);
uint32_t nr_open(ZoneTable *t);
uint32_t nr_active(ZoneTable *t);

/* The counts must agree with the states that are reported. */
bool expect_counts(const char *cell, ZoneTable *t);

/* Put a zone into a state, with this much written to it */
void put_zone(ZoneTable *t, uint32_t zone, BlockZoneState state,
              uint64_t written);

bool expect_record(const char *cell, ZoneRecord got, ZoneRecord want);

/* --- Situations that a zone can be in --- */

typedef struct Situation {
    const char *name;
    BlockZoneState state;
    uint64_t written;
} Situation;

#define NR_SITUATIONS 12

extern const Situation situations[NR_SITUATIONS];

uint32_t put_situation(ZoneTable *t, const Situation *s);
void expect_zone(const char *cell, ZoneTable *t, uint32_t zone,
                 BlockZoneState state, uint64_t written,
                 uint64_t data);

/* --- Extensions and random write areas --- */

/* Put a zone into a state; positions count from its start */
void put_zns_zone(ZoneTable *t, uint32_t zone, BlockZoneState state,
                  uint8_t attributes, uint64_t wp, uint64_t data_end);

uint8_t attributes_of(ZoneTable *t, uint32_t zone);
uint64_t data_end_of(ZoneTable *t, uint32_t zone);
void start_commit(Request *r, ZoneTable *t, uint32_t zone, uint64_t upto);
int do_commit(ZoneTable *t, uint32_t zone, uint64_t upto);
int do_open_zrwa(ZoneTable *t, uint32_t zone);

/* How many random write areas can still be had; none is kept */
uint32_t zrwa_left(ZoneTable *t);

/* --- Orders in which requests end --- */

void swap(int *a, int *b);

/* Next permutation of @n numbers in lexicographic order */
bool next_permutation(int *order, int n);

void identity(int *order, int n);
char *order_name(const char *what, const int *order, int n);

/* --- The store --- */

/* The blocks of a snapshot, as their numbers with spaces between */
void expect_blocks(const ZoneSnapshot *snap, const char *blocks);
/* The next snapshot has these blocks; it is stored. */
void expect_dirty(ZoneTable *t, const char *blocks);
/* All that has changed is stored. */
void store_all(ZoneTable *t);
/* Does a reset that has begun change @zone? */
bool resets_zone(ZoneTable *t, const ZoneMgmt *m, uint32_t zone);

#endif
