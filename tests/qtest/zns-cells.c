/*
 * Tests of NVMe namespaces on a zoned disk
 *
 * Every command in every state of a zone
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zns-driver.h"

/* --- Every command in every state --- */

const StateInfo states[NR_STATES] = {
    [S_EMPTY] = { "an empty zone", EMPTY, 0 },
    [S_IOPEN] = { "an implicitly open zone", IOPEN, WRITTEN },
    [S_EOPEN] = { "an explicitly open zone", EOPEN, WRITTEN },
    [S_OPENED] = { "a zone that was only opened", EOPEN, 0 },
    [S_CLOSED] = { "a closed zone", CLOSED, WRITTEN },
    [S_UNWRITTEN] = { "a zone that was only opened and closed", CLOSED, 0 },
    [S_FULL] = { "a full zone", FULL, NO_WP },
    [S_RDONLY] = { "a read-only zone", RDONLY, NO_WP },
    [S_OFFLINE] = { "an offline zone", OFFLINE, NO_WP },
};

/* Where writes to a zone without a valid write pointer are tried */
static int position(State s)
{
    return states[s].wp == NO_WP ? WRITTEN : states[s].wp;
}

unsigned prepare(Controller *c, State s)
{
    Machine *m = c->m;
    unsigned i = s == S_RDONLY ? m->fresh_rdonly++ :
                 s == S_OFFLINE ? m->fresh_offline++ : m->fresh++;

    g_assert_cmpint(m->fresh, <, m->setup->zones - 2 * m->setup->worn);
    g_assert_cmpint(m->fresh_rdonly, <=, m->setup->zones);
    if (s == S_EOPEN || s == S_OPENED || s == S_UNWRITTEN) {
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, i * ZONE), ==, OK);
    }
    if (s == S_IOPEN || s == S_EOPEN || s == S_CLOSED || s == S_FULL) {
        g_assert_cmphex(write_at(c, i * ZONE, WRITTEN, 0x11), ==, OK);
    }
    if (s == S_CLOSED || s == S_UNWRITTEN) {
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_CLOSE, i * ZONE), ==, OK);
    }
    if (s == S_FULL) {
        g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, i * ZONE), ==, OK);
    }
    assert_zone(c, i, states[s].zs, states[s].wp);
    return i;
}

typedef struct Outcome {
    uint16_t status;
    uint8_t zs;             /* 0: nothing changes */
    int wp;
} Outcome;

typedef uint16_t Action(Controller *c, uint64_t zslba, int wp);

/* Zone 0 is where Copy reads. */
#define COPY_SOURCE     0

static uint16_t do_write(Controller *c, uint64_t zslba, int wp)
{
    return write_at(c, zslba + wp, 2, 0x22);
}

static uint16_t do_write_rest(Controller *c, uint64_t zslba, int wp)
{
    return write_at(c, zslba + wp, CAP - wp, 0x22);
}

static uint16_t do_write_behind(Controller *c, uint64_t zslba, int wp)
{
    return write_at(c, wp ? zslba : zslba + 1, 1, 0x22);
}

static uint16_t do_write_ahead(Controller *c, uint64_t zslba, int wp)
{
    return write_at(c, zslba + wp + 1, 1, 0x22);
}

static uint16_t do_write_past(Controller *c, uint64_t zslba, int wp)
{
    return write_at(c, zslba + wp, CAP - wp + 1, 0x22);
}

static uint16_t do_write_next(Controller *c, uint64_t zslba, int wp)
{
    return write_at(c, zslba + wp, ZONE - wp + 1, 0x22);
}

static uint16_t do_write_unwritable(Controller *c, uint64_t zslba, int wp)
{
    return write_at(c, zslba + CAP, 1, 0x22);
}

/* A data pointer that is wrong in its second page only */
uint16_t do_write_bad_prp(Controller *c, uint64_t zslba, int wp)
{
    Command cmd = write_command(c, NVME_CMD_WRITE, zslba + wp, 2, 0);

    cmd.dw[8] += 8;
    return check(io(c, cmd));
}

static uint16_t do_append(Controller *c, uint64_t zslba, int wp)
{
    uint64_t slba;
    uint16_t status = append(c, zslba, 2, 0x22, &slba);

    if (status == OK) {
        g_assert_cmpint(slba, ==, zslba + wp);
    }
    return status;
}

static uint16_t do_append_rest(Controller *c, uint64_t zslba, int wp)
{
    unsigned left = CAP - wp;
    uint16_t status = OK;

    while (status == OK && left) {
        unsigned n = MIN(left, APPEND_MAX);
        uint64_t slba;

        status = append(c, zslba, n, 0x22, &slba);
        left -= n;
    }
    return status;
}

/* One more than what is left after all of it but three blocks */
static uint16_t do_append_past(Controller *c, uint64_t zslba, int wp)
{
    uint64_t slba;
    uint16_t status = write_at(c, zslba + wp, CAP - wp - 3, 0x22);

    return status == OK ? append(c, zslba, 4, 0x22, &slba) : status;
}

static uint16_t do_append_inside(Controller *c, uint64_t zslba, int wp)
{
    uint64_t slba;

    return append(c, zslba + 1, 1, 0x22, &slba);
}

static uint16_t do_append_large(Controller *c, uint64_t zslba, int wp)
{
    uint64_t slba;

    return append(c, zslba, APPEND_MAX + 1, 0x22, &slba);
}

uint16_t do_append_bad_prp(Controller *c, uint64_t zslba, int wp)
{
    Command cmd = write_command(c, NVME_CMD_ZONE_APPEND, zslba, 2, 0);

    cmd.dw[8] += 8;
    return check(io(c, cmd));
}

static uint16_t do_zeroes(Controller *c, uint64_t zslba, int wp)
{
    return write_zeroes(c, zslba + wp, 2);
}

static uint16_t do_zeroes_rest(Controller *c, uint64_t zslba, int wp)
{
    return write_zeroes(c, zslba + wp, CAP - wp);
}

static uint16_t do_zeroes_ahead(Controller *c, uint64_t zslba, int wp)
{
    return write_zeroes(c, zslba + wp + 1, 1);
}

static uint16_t do_zeroes_past(Controller *c, uint64_t zslba, int wp)
{
    return write_zeroes(c, zslba + wp, CAP - wp + 1);
}

static uint16_t do_copy(Controller *c, uint64_t zslba, int wp)
{
    return copy(c, zslba + wp, COPY_SOURCE, 2);
}

static uint16_t do_copy_rest(Controller *c, uint64_t zslba, int wp)
{
    return copy(c, zslba + wp, COPY_SOURCE, CAP - wp);
}

static uint16_t do_copy_ahead(Controller *c, uint64_t zslba, int wp)
{
    return copy(c, zslba + wp + 1, COPY_SOURCE, 1);
}

static uint16_t do_copy_past(Controller *c, uint64_t zslba, int wp)
{
    return copy(c, zslba + wp, COPY_SOURCE, CAP - wp + 1);
}

static uint16_t do_copy_from(Controller *c, uint64_t zslba, int wp)
{
    unsigned target = prepare(c, S_EMPTY);
    uint16_t status = copy(c, target * ZONE, zslba, WRITTEN);

    assert_zone(c, target, status ? EMPTY : IOPEN, status ? 0 : WRITTEN);
    return status;
}

static uint16_t do_copy_across(Controller *c, uint64_t zslba, int wp)
{
    return copy(c, prepare(c, S_EMPTY) * ZONE, zslba + ZONE - 1, 2);
}

uint16_t do_close(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, NVME_ZONE_ACTION_CLOSE, zslba);
}

uint16_t do_finish(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, NVME_ZONE_ACTION_FINISH, zslba);
}

uint16_t do_open(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, NVME_ZONE_ACTION_OPEN, zslba);
}

uint16_t do_reset(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, NVME_ZONE_ACTION_RESET, zslba);
}

static uint16_t do_offline(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, NVME_ZONE_ACTION_OFFLINE, zslba);
}

static uint16_t do_reserved(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, 6, zslba);
}

static uint16_t do_reset_inside(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, NVME_ZONE_ACTION_RESET, zslba + 1);
}

static uint16_t do_read(Controller *c, uint64_t zslba, int wp)
{
    return read_from(c, zslba, CAP);
}

static uint16_t do_read_unwritable(Controller *c, uint64_t zslba, int wp)
{
    uint16_t status = read_from(c, zslba + CAP, ZONE - CAP);

    if (status == OK) {
        assert_buffer(c, 0, (ZONE - CAP) * BLOCK, 0);
    }
    return status;
}

static uint16_t do_read_across(Controller *c, uint64_t zslba, int wp)
{
    return read_from(c, zslba + ZONE - 1, 2);
}

/* The zone reads as it was written, or as zeroes. */
static uint16_t do_compare(Controller *c, uint64_t zslba, int wp)
{
    g_autofree uint8_t *data = g_malloc(BLOCK);
    uint16_t status = read_from(c, zslba, 1);

    guest_read(c->m->ram, c->buffer, data, BLOCK);
    return check(io(c, with_data(c, command(NVME_CMD_COMPARE, zslba, 0, 0), 0,
                                 BLOCK))) == status ? status : 0xffff;
}

uint16_t do_compare_across(Controller *c, uint64_t zslba, int wp)
{
    return check(io(c, with_data(c, command(NVME_CMD_COMPARE, zslba + ZONE - 1,
                                            1, 0), 0, 2 * BLOCK)));
}

uint16_t do_verify(Controller *c, uint64_t zslba, int wp)
{
    return check(io(c, command(NVME_CMD_VERIFY, zslba, CAP - 1, 0)));
}

uint16_t do_verify_across(Controller *c, uint64_t zslba, int wp)
{
    return check(io(c, command(NVME_CMD_VERIFY, zslba + ZONE - 1, 1, 0)));
}

uint16_t do_deallocate(Controller *c, uint64_t zslba, int wp)
{
    NvmeDsmRange range = {
        .nlb = cpu_to_le32(CAP), .slba = cpu_to_le64(zslba),
    };
    Command cmd = command(NVME_CMD_DSM, (uint64_t)NVME_DSMGMT_AD << 32, 0, 0);

    guest_write(c->m->ram, c->buffer, &range, sizeof(range));
    return check(io(c, with_data(c, cmd, 0, sizeof(range))));
}

uint16_t set_extension(Controller *c, uint64_t zslba, uint8_t value,
                       uint32_t flags)
{
    guest_fill(c->m->ram, c->buffer, value, EXTENSION);
    return check(io(c, with_data(c, command(NVME_CMD_ZONE_MGMT_SEND, zslba, 0,
                                            NVME_ZONE_ACTION_SET_ZD_EXT |
                                            flags), 0, EXTENSION)));
}

uint16_t do_set_extension(Controller *c, uint64_t zslba, int wp)
{
    return set_extension(c, zslba, 0x5e, 0);
}

static uint16_t do_set_extension_zrwa(Controller *c, uint64_t zslba, int wp)
{
    return set_extension(c, zslba, 0x5e, WITH_ZRWA);
}

uint16_t do_open_zrwa(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, NVME_ZONE_ACTION_OPEN | WITH_ZRWA, zslba);
}

static uint16_t do_commit(Controller *c, uint64_t zslba, int wp)
{
    return manage(c, NVME_ZONE_ACTION_ZRWA_FLUSH, zslba + wp + 1);
}

#define UNCHANGED       { OK }
#define TO(zs, wp)      { OK, zs, wp }
#define FAILS(status)   { status }
#define ALWAYS(...) { \
    __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, \
    __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__ }

/* A write-type command that moves the write pointer by @n blocks */
#define ADVANCES(n) { \
    TO(IOPEN, n), TO(IOPEN, WRITTEN + n), TO(EOPEN, WRITTEN + n), \
    TO(EOPEN, n), TO(IOPEN, WRITTEN + n), TO(IOPEN, n), \
    FAILS(IS_FULL), FAILS(IS_READ_ONLY), FAILS(IS_OFFLINE) }
#define FILLS { \
    TO(FULL, NO_WP), TO(FULL, NO_WP), TO(FULL, NO_WP), TO(FULL, NO_WP), \
    TO(FULL, NO_WP), TO(FULL, NO_WP), \
    FAILS(IS_FULL), FAILS(IS_READ_ONLY), FAILS(IS_OFFLINE) }
/* A write-type command that breaks another rule than that of the state */
#define BREAKS(status) { \
    FAILS(status), FAILS(status), FAILS(status), FAILS(status), \
    FAILS(status), FAILS(status), \
    FAILS(IS_FULL), FAILS(IS_READ_ONLY), FAILS(IS_OFFLINE) }
/* What gives an empty zone a random write area */
#define EMPTY_ONLY(zs) { \
    TO(zs, 0), FAILS(INVALID_OP), FAILS(INVALID_OP), FAILS(INVALID_OP), \
    FAILS(INVALID_OP), FAILS(INVALID_OP), FAILS(INVALID_OP), \
    FAILS(INVALID_OP), FAILS(INVALID_OP) }
#define READS(status) { \
    FAILS(status), FAILS(status), FAILS(status), FAILS(status), \
    FAILS(status), FAILS(status), FAILS(status), FAILS(status), \
    FAILS(IS_OFFLINE) }

static const struct {
    const char *name;
    Action *action;
    Outcome outcome[NR_STATES];
    const Setup *setup;     /* if not cells */
} rows[] = {
    /* Nothing changes before the data is there */
    { "a write at the write pointer of", do_write, ADVANCES(2) },
    { "a write of all that is left in", do_write_rest, FILLS },
    { "a write behind the write pointer of", do_write_behind,
      BREAKS(INVALID_WRITE) },
    { "a write ahead of the write pointer of", do_write_ahead,
      BREAKS(INVALID_WRITE) },
    { "a write past the capacity of", do_write_past, BREAKS(BOUNDARY) },
    { "a write into the zone after", do_write_next, BREAKS(BOUNDARY) },
    { "a write to what is not writable of", do_write_unwritable,
      BREAKS(INVALID_WRITE) },
    { "a write with a bad data pointer to", do_write_bad_prp,
      ALWAYS(FAILS(PRP_OFFSET)) },
    { "an append to", do_append, ADVANCES(2) },
    { "an append of all that is left in", do_append_rest, FILLS },
    { "an append past the capacity of", do_append_past, {
        { BOUNDARY, IOPEN, CAP - 3 }, { BOUNDARY, IOPEN, CAP - 3 },
        { BOUNDARY, EOPEN, CAP - 3 }, { BOUNDARY, EOPEN, CAP - 3 },
        { BOUNDARY, IOPEN, CAP - 3 }, { BOUNDARY, IOPEN, CAP - 3 },
        FAILS(IS_FULL), FAILS(IS_READ_ONLY), FAILS(IS_OFFLINE) } },
    { "an append to the second block of", do_append_inside,
      ALWAYS(FAILS(INVALID_FIELD)) },
    { "an append that is too large to", do_append_large,
      ALWAYS(FAILS(INVALID_FIELD)) },
    { "an append with a bad data pointer to", do_append_bad_prp,
      ALWAYS(FAILS(PRP_OFFSET)) },
    { "zeroes at the write pointer of", do_zeroes, ADVANCES(2) },
    { "zeroes in all that is left in", do_zeroes_rest, FILLS },
    { "zeroes ahead of the write pointer of", do_zeroes_ahead,
      BREAKS(INVALID_WRITE) },
    { "zeroes past the capacity of", do_zeroes_past, BREAKS(BOUNDARY) },
    /* A copy that fails takes no resource, and has the status of a write */
    { "a copy to the write pointer of", do_copy, ADVANCES(2) },
    { "a copy to all that is left in", do_copy_rest, FILLS },
    { "a copy ahead of the write pointer of", do_copy_ahead,
      BREAKS(INVALID_WRITE) },
    { "a copy past the capacity of", do_copy_past, BREAKS(BOUNDARY) },
    { "a copy from", do_copy_from, READS(OK) },
    { "a copy of blocks in two zones the first of them", do_copy_across,
      ALWAYS(FAILS(BOUNDARY)) },

    { "a close of", do_close, {
        FAILS(TRANSITION), TO(CLOSED, WRITTEN), TO(CLOSED, WRITTEN),
        TO(CLOSED, 0), UNCHANGED, UNCHANGED,
        FAILS(TRANSITION), FAILS(TRANSITION), FAILS(TRANSITION) } },
    { "a finish of", do_finish, {
        TO(FULL, NO_WP), TO(FULL, NO_WP), TO(FULL, NO_WP), TO(FULL, NO_WP),
        TO(FULL, NO_WP), TO(FULL, NO_WP),
        UNCHANGED, FAILS(TRANSITION), FAILS(TRANSITION) } },
    { "an open of", do_open, {
        TO(EOPEN, 0), TO(EOPEN, WRITTEN), UNCHANGED, UNCHANGED,
        TO(EOPEN, WRITTEN), TO(EOPEN, 0),
        FAILS(TRANSITION), FAILS(TRANSITION), FAILS(TRANSITION) } },
    { "a reset of", do_reset, {
        UNCHANGED, TO(EMPTY, 0), TO(EMPTY, 0), TO(EMPTY, 0), TO(EMPTY, 0),
        TO(EMPTY, 0), TO(EMPTY, 0), FAILS(TRANSITION), FAILS(TRANSITION) } },
    { "offline for", do_offline, {
        FAILS(TRANSITION), FAILS(TRANSITION), FAILS(TRANSITION),
        FAILS(TRANSITION), FAILS(TRANSITION), FAILS(TRANSITION),
        FAILS(TRANSITION), TO(OFFLINE, NO_WP), UNCHANGED } },
    { "a reserved action on", do_reserved, ALWAYS(FAILS(INVALID_FIELD)) },
    { "a reset of the second block of", do_reset_inside,
      ALWAYS(FAILS(INVALID_FIELD)) },

    { "a read of", do_read, READS(OK) },
    { "a read of what is not writable of", do_read_unwritable, READS(OK) },
    { "a read across the end of", do_read_across, ALWAYS(FAILS(BOUNDARY)) },
    /* These stay within a zone, too */
    { "a compare with", do_compare, READS(OK) },
    { "a compare across the end of", do_compare_across,
      ALWAYS(FAILS(BOUNDARY)) },
    { "a verify of", do_verify, READS(OK) },
    { "a verify across the end of", do_verify_across,
      ALWAYS(FAILS(BOUNDARY)) },
    { "a deallocation in", do_deallocate, READS(OK) },

    { "an extension without room for", do_set_extension,
      ALWAYS(FAILS(INVALID_FIELD)) },
    { "an extension for", do_set_extension, {
        TO(CLOSED, 0), FAILS(TRANSITION), FAILS(TRANSITION),
        FAILS(TRANSITION), FAILS(TRANSITION), FAILS(TRANSITION),
        FAILS(TRANSITION), FAILS(TRANSITION), FAILS(TRANSITION) },
      &feature_cells },
    /* One command can give both */
    { "an extension and a random write area for", do_set_extension_zrwa,
      EMPTY_ONLY(CLOSED), &feature_cells },
    /* A zone with data gets none */
    { "an open with random write area of", do_open_zrwa, EMPTY_ONLY(EOPEN),
      &feature_cells },
    { "an open with random write area where there are none of", do_open_zrwa,
      ALWAYS(FAILS(INVALID_OP)) },
    /* Where there is no area */
    { "a commit in", do_commit, ALWAYS(FAILS(INVALID_OP)), &feature_cells },
    { "a commit where there are no random write areas in", do_commit,
      ALWAYS(FAILS(INVALID_OP)) },
};

typedef struct Cell {
    unsigned row;
    State state;
} Cell;

static void test_cell(const void *opaque)
{
    const Cell *cell = opaque;
    const Outcome *o = &rows[cell->row].outcome[cell->state];
    Machine *m = get_machine(rows[cell->row].setup ?: &cells);
    Controller *c = &m->controller[0];
    unsigned zone;

    if (m->fresh == COPY_SOURCE) {
        g_assert_cmphex(write_at(c, COPY_SOURCE, CAP, 0x33), ==, OK);
        m->fresh = COPY_SOURCE + 1;
    }
    zone = prepare(c, cell->state);
    g_assert_cmphex(rows[cell->row].action(c, zone * ZONE,
                                           position(cell->state)),
                    ==, o->status);
    assert_zone(c, zone, o->zs ?: states[cell->state].zs,
                o->zs ? o->wp : states[cell->state].wp);
}

static void add_cells(void)
{
    for (unsigned row = 0; row < ARRAY_SIZE(rows); row++) {
        for (State s = 0; s < NR_STATES; s++) {
            const Outcome *o = &rows[row].outcome[s];
            g_autofree char *name = g_strdup_printf(
                "cells/%s %s %s", rows[row].name, states[s].name,
                o->status ? "fails" : "succeeds");
            g_autofree char *path = test_path(name);
            Cell *cell = g_new(Cell, 1);

            *cell = (Cell) { row, s };
            qtest_add_data_func_full(path, cell, test_cell, g_free);
        }
    }
}

void add_cells_tests(void)
{
    if (have_images) {
        add_cells();
    }
}
