/*
 * Tests of virtio-blk on a zoned disk: every request in every state of a zone
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zoned-driver.h"

/* --- Every request in every state --- */

typedef enum State {
    CONV, EMPTY, IOPEN, EOPEN, UNWRITTEN, CLOSED, FULL, RDONLY, OFFLINE,
} State;

static const struct {
    const char *name;
    unsigned zone;          /* the one that is used for it */
    uint64_t wp;            /* from its start; what is below is OLD */
    const char *zones;      /* described */
} states[] = {
    [CONV] = { "a conventional zone", 1, 8 * KiB, "" },
    [EMPTY] = { "an empty zone", 3, 0, "" },
    [IOPEN] = { "an implicitly open zone", 3, 8 * KiB, "3:iopen@8K" },
    [EOPEN] = { "an explicitly open zone", 3, 8 * KiB, "3:eopen@8K" },
    [UNWRITTEN] = { "an explicitly open zone without data", 3, 0,
                    "3:eopen@0K" },
    [CLOSED] = { "a closed zone", 3, 8 * KiB, "3:closed@8K" },
    [FULL] = { "a full zone", 3, 8 * KiB, "3:full" },
    [RDONLY] = { "a read-only zone", ZONE_RDONLY, 8 * KiB,
                 "14:rdonly 15:offline" },
    [OFFLINE] = { "an offline zone", ZONE_OFFLINE, 8 * KiB,
                  "14:rdonly 15:offline" },
};

static Disk *prepare(State state)
{
    unsigned zone = states[state].zone;
    bool worn = state == RDONLY || state == OFFLINE;
    Disk *d = get_disk(worn ? &worn_out : &large_append);

    if (state == EOPEN || state == UNWRITTEN) {
        assert_ok(zone_open(d, zone));
    }
    if (states[state].wp && !worn) {
        assert_ok(write_at(d, zone * ZONE, states[state].wp, OLD));
    }
    if (state == CLOSED) {
        assert_ok(zone_close(d, zone));
    }
    if (state == FULL) {
        assert_ok(zone_finish(d, zone));
    }
    assert_zones(d, states[state].zones);
    return d;
}

typedef enum Action {
    READ,
    WRITE, WRITE_REST, WRITE_AHEAD, WRITE_BEHIND, WRITE_PAST,
    APPEND, APPEND_REST, APPEND_PAST,
    ZEROES, ZEROES_AHEAD,
    OPEN, CLOSE, FINISH, RESET, RESET_ALL,
} Action;

static const char *const actions[] = {
    [READ] = "a read from the start of",
    [WRITE] = "a write at the write pointer of",
    [WRITE_REST] = "a write of all that is left in",
    [WRITE_AHEAD] = "a write ahead of the write pointer of",
    [WRITE_BEHIND] = "a write behind the write pointer of",
    [WRITE_PAST] = "a write past the capacity of",
    [APPEND] = "an append to",
    [APPEND_REST] = "an append of all that is left in",
    [APPEND_PAST] = "an append past the capacity of",
    [ZEROES] = "a write of zeroes at the write pointer of",
    [ZEROES_AHEAD] = "a write of zeroes ahead of the write pointer of",
    [OPEN] = "an open of",
    [CLOSE] = "a close of",
    [FINISH] = "a finish of",
    [RESET] = "a reset of",
    [RESET_ALL] = "a reset of all with",
};

typedef struct Cell {
    State state;
    Action action;
    const char *status;
    const char *after;      /* zones after it; NULL: as before */
} Cell;

static const Cell cells[] = {
    /* Reads and writes anywhere, no appends */
    { CONV, READ, "OK" },
    { CONV, WRITE, "OK" },
    { CONV, WRITE_REST, "OK" },
    { CONV, WRITE_AHEAD, "OK" },
    { CONV, WRITE_BEHIND, "OK" },
    { CONV, ZEROES, "OK" },
    { CONV, ZEROES_AHEAD, "OK" },
    { CONV, APPEND, "INVALID_CMD" },
    { CONV, APPEND_REST, "INVALID_CMD" },
    { CONV, APPEND_PAST, "INVALID_CMD" },
    /* Not subject to zone management; a reset of all passes over it */
    { CONV, OPEN, "INVALID_CMD" },
    { CONV, CLOSE, "INVALID_CMD" },
    { CONV, FINISH, "INVALID_CMD" },
    { CONV, RESET, "INVALID_CMD" },
    { CONV, RESET_ALL, "OK" },

    /* What is written goes to the write pointer, and opens the zone */
    { EMPTY, READ, "OK" },
    { EMPTY, WRITE, "OK", "3:iopen@4K" },
    { EMPTY, WRITE_REST, "OK", "3:full" },
    { EMPTY, WRITE_AHEAD, "UNALIGNED_WP" },
    { EMPTY, WRITE_PAST, "INVALID_CMD" },
    { EMPTY, APPEND, "OK", "3:iopen@4K" },
    { EMPTY, APPEND_REST, "OK", "3:full" },
    { EMPTY, APPEND_PAST, "INVALID_CMD" },
    { EMPTY, ZEROES, "OK", "3:iopen@4K" },
    { EMPTY, ZEROES_AHEAD, "UNALIGNED_WP" },
    /* There is nothing to close */
    { EMPTY, OPEN, "OK", "3:eopen@0K" },
    { EMPTY, CLOSE, "INVALID_CMD" },
    { EMPTY, FINISH, "OK", "3:full" },
    { EMPTY, RESET, "OK" },
    { EMPTY, RESET_ALL, "OK" },

    { IOPEN, READ, "OK" },
    { IOPEN, WRITE, "OK", "3:iopen@12K" },
    { IOPEN, WRITE_REST, "OK", "3:full" },
    { IOPEN, WRITE_AHEAD, "UNALIGNED_WP" },
    { IOPEN, WRITE_BEHIND, "UNALIGNED_WP" },
    { IOPEN, WRITE_PAST, "INVALID_CMD" },
    { IOPEN, APPEND, "OK", "3:iopen@12K" },
    { IOPEN, APPEND_REST, "OK", "3:full" },
    { IOPEN, APPEND_PAST, "INVALID_CMD" },
    { IOPEN, ZEROES, "OK", "3:iopen@12K" },
    { IOPEN, ZEROES_AHEAD, "UNALIGNED_WP" },
    /* An open makes it explicitly open */
    { IOPEN, OPEN, "OK", "3:eopen@8K" },
    { IOPEN, CLOSE, "OK", "3:closed@8K" },
    { IOPEN, FINISH, "OK", "3:full" },
    { IOPEN, RESET, "OK", "" },
    { IOPEN, RESET_ALL, "OK", "" },

    { EOPEN, READ, "OK" },
    { EOPEN, WRITE, "OK", "3:eopen@12K" },
    { EOPEN, WRITE_REST, "OK", "3:full" },
    { EOPEN, WRITE_AHEAD, "UNALIGNED_WP" },
    { EOPEN, WRITE_BEHIND, "UNALIGNED_WP" },
    { EOPEN, WRITE_PAST, "INVALID_CMD" },
    { EOPEN, APPEND, "OK", "3:eopen@12K" },
    { EOPEN, APPEND_REST, "OK", "3:full" },
    { EOPEN, APPEND_PAST, "INVALID_CMD" },
    { EOPEN, ZEROES, "OK", "3:eopen@12K" },
    { EOPEN, ZEROES_AHEAD, "UNALIGNED_WP" },
    /* An open leaves it as it is */
    { EOPEN, OPEN, "OK" },
    { EOPEN, CLOSE, "OK", "3:closed@8K" },
    { EOPEN, FINISH, "OK", "3:full" },
    { EOPEN, RESET, "OK", "" },
    { EOPEN, RESET_ALL, "OK", "" },

    { UNWRITTEN, READ, "OK" },
    { UNWRITTEN, WRITE, "OK", "3:eopen@4K" },
    { UNWRITTEN, WRITE_REST, "OK", "3:full" },
    { UNWRITTEN, WRITE_AHEAD, "UNALIGNED_WP" },
    { UNWRITTEN, WRITE_PAST, "INVALID_CMD" },
    { UNWRITTEN, APPEND, "OK", "3:eopen@4K" },
    { UNWRITTEN, APPEND_REST, "OK", "3:full" },
    { UNWRITTEN, APPEND_PAST, "INVALID_CMD" },
    /* A close of a zone without data makes it empty */
    { UNWRITTEN, OPEN, "OK" },
    { UNWRITTEN, CLOSE, "OK", "" },
    { UNWRITTEN, FINISH, "OK", "3:full" },
    { UNWRITTEN, RESET, "OK", "" },
    { UNWRITTEN, RESET_ALL, "OK", "" },

    { CLOSED, READ, "OK" },
    { CLOSED, WRITE, "OK", "3:iopen@12K" },
    { CLOSED, WRITE_REST, "OK", "3:full" },
    { CLOSED, WRITE_AHEAD, "UNALIGNED_WP" },
    { CLOSED, WRITE_BEHIND, "UNALIGNED_WP" },
    { CLOSED, WRITE_PAST, "INVALID_CMD" },
    { CLOSED, APPEND, "OK", "3:iopen@12K" },
    { CLOSED, APPEND_REST, "OK", "3:full" },
    { CLOSED, APPEND_PAST, "INVALID_CMD" },
    { CLOSED, ZEROES, "OK", "3:iopen@12K" },
    { CLOSED, ZEROES_AHEAD, "UNALIGNED_WP" },
    /* A close leaves it as it is */
    { CLOSED, OPEN, "OK", "3:eopen@8K" },
    { CLOSED, CLOSE, "OK" },
    { CLOSED, FINISH, "OK", "3:full" },
    { CLOSED, RESET, "OK", "" },
    { CLOSED, RESET_ALL, "OK", "" },

    /* Nothing can be written, unwritten blocks are zero */
    { FULL, READ, "OK" },
    { FULL, WRITE, "INVALID_CMD" },
    { FULL, WRITE_REST, "INVALID_CMD" },
    { FULL, WRITE_AHEAD, "INVALID_CMD" },
    { FULL, WRITE_BEHIND, "INVALID_CMD" },
    { FULL, WRITE_PAST, "INVALID_CMD" },
    { FULL, APPEND, "INVALID_CMD" },
    { FULL, APPEND_REST, "INVALID_CMD" },
    { FULL, APPEND_PAST, "INVALID_CMD" },
    { FULL, ZEROES, "INVALID_CMD" },
    { FULL, ZEROES_AHEAD, "INVALID_CMD" },
    /* A finish leaves it as it is, and only a reset changes it */
    { FULL, OPEN, "INVALID_CMD" },
    { FULL, CLOSE, "INVALID_CMD" },
    { FULL, FINISH, "OK" },
    { FULL, RESET, "OK", "" },
    { FULL, RESET_ALL, "OK", "" },

    /* Only reads are done; a reset of all passes over it */
    { RDONLY, READ, "OK" },
    { RDONLY, WRITE, "INVALID_CMD" },
    { RDONLY, WRITE_REST, "INVALID_CMD" },
    { RDONLY, WRITE_AHEAD, "INVALID_CMD" },
    { RDONLY, WRITE_BEHIND, "INVALID_CMD" },
    { RDONLY, WRITE_PAST, "INVALID_CMD" },
    { RDONLY, APPEND, "INVALID_CMD" },
    { RDONLY, APPEND_REST, "INVALID_CMD" },
    { RDONLY, APPEND_PAST, "INVALID_CMD" },
    { RDONLY, ZEROES, "INVALID_CMD" },
    { RDONLY, ZEROES_AHEAD, "INVALID_CMD" },
    { RDONLY, OPEN, "INVALID_CMD" },
    { RDONLY, CLOSE, "INVALID_CMD" },
    { RDONLY, FINISH, "INVALID_CMD" },
    { RDONLY, RESET, "INVALID_CMD" },
    { RDONLY, RESET_ALL, "OK" },

    /* Nothing is done; a reset of all passes over it */
    { OFFLINE, READ, "INVALID_CMD" },
    { OFFLINE, WRITE, "INVALID_CMD" },
    { OFFLINE, WRITE_REST, "INVALID_CMD" },
    { OFFLINE, WRITE_AHEAD, "INVALID_CMD" },
    { OFFLINE, WRITE_BEHIND, "INVALID_CMD" },
    { OFFLINE, WRITE_PAST, "INVALID_CMD" },
    { OFFLINE, APPEND, "INVALID_CMD" },
    { OFFLINE, APPEND_REST, "INVALID_CMD" },
    { OFFLINE, APPEND_PAST, "INVALID_CMD" },
    { OFFLINE, ZEROES, "INVALID_CMD" },
    { OFFLINE, ZEROES_AHEAD, "INVALID_CMD" },
    { OFFLINE, OPEN, "INVALID_CMD" },
    { OFFLINE, CLOSE, "INVALID_CMD" },
    { OFFLINE, FINISH, "INVALID_CMD" },
    { OFFLINE, RESET, "INVALID_CMD" },
    { OFFLINE, RESET_ALL, "OK" },
};

/* Do it.  *@offset and *@bytes become the range of the disk that it is for. */
static const char *act(Disk *d, const Cell *c, uint64_t *offset,
                       uint64_t *bytes)
{
    uint64_t start = states[c->state].zone * ZONE;
    uint64_t wp = start + states[c->state].wp;
    uint64_t end = start + (c->state == CONV ? ZONE : CAPACITY);

    *bytes = 4 * KiB;
    *offset = wp;
    switch (c->action) {
    case READ:
        *offset = start;
        *bytes = 16 * KiB;
        return read_at(d, start, *bytes, NULL);
    case WRITE_REST:
        *bytes = end - wp;
        break;
    case WRITE_AHEAD:
        *offset = wp + 4 * KiB;
        break;
    case WRITE_BEHIND:
        *offset = start;
        break;
    case WRITE_PAST:
        *bytes += end - wp;
        break;
    case APPEND:
        return append(d, start, *bytes, NEW, offset);
    case APPEND_REST:
        *bytes = end - wp;
        return append(d, start, *bytes, NEW, offset);
    case APPEND_PAST:
        *bytes += end - wp;
        return append(d, start, *bytes, NEW, offset);
    case ZEROES:
        return write_zeroes(d, *offset, *bytes);
    case ZEROES_AHEAD:
        *offset = wp + 4 * KiB;
        return write_zeroes(d, *offset, *bytes);
    case OPEN:
        return zone_open(d, states[c->state].zone);
    case CLOSE:
        return zone_close(d, states[c->state].zone);
    case FINISH:
        return zone_finish(d, states[c->state].zone);
    case RESET:
        return zone_reset(d, states[c->state].zone);
    case RESET_ALL:
        return reset_all(d);
    default:
        break;
    }
    return write_at(d, *offset, *bytes, NEW);
}

/* The parts of a zone that a request of a cell could change by mistake */
static void read_zone(Disk *d, unsigned zone, uint8_t data[64 * KiB])
{
    if (zone == ZONE_OFFLINE) {
        memset(data, 0, 64 * KiB);
        return;
    }
    assert_ok(read_at(d, zone * ZONE, 32 * KiB, data));
    assert_ok(read_at(d, zone * ZONE + CAPACITY - 16 * KiB, 32 * KiB,
                      data + 32 * KiB));
}

/* What was written is there, and zeroes are where nothing was */
static void assert_data_after(Disk *d, const Cell *c, uint64_t offset,
                              uint64_t bytes)
{
    uint64_t start = states[c->state].zone * ZONE;
    uint64_t wp = start + states[c->state].wp;

    switch (c->action) {
    case APPEND:
    case APPEND_REST:
        g_assert_cmpint(offset, ==, wp);
        /* fall through */
    case WRITE:
    case WRITE_REST:
    case WRITE_AHEAD:
    case WRITE_BEHIND:
        assert_data(d, offset, bytes, NEW);
        break;
    case ZEROES:
    case ZEROES_AHEAD:
        assert_data(d, offset, bytes, 0);
        break;
    case RESET:
    case RESET_ALL:
        if (c->state != CONV && c->state != RDONLY && c->state != OFFLINE) {
            assert_data(d, start, 16 * KiB, 0);
        }
        break;
    default:
        if (wp > start && c->state != RDONLY) {
            assert_data(d, start, wp - start, OLD);
        }
        if (c->state != CONV) {
            assert_data(d, wp, 16 * KiB, 0);
        }
        break;
    }
}

/* A broken rule stops no VM, and changes no zone and no data */
static void test_cell(const void *opaque)
{
    const Cell *c = opaque;
    unsigned zone = states[c->state].zone;
    g_autofree uint8_t *before = g_malloc(64 * KiB);
    g_autofree uint8_t *after = g_malloc(64 * KiB);
    Disk *d = prepare(c->state);
    uint64_t offset, bytes;

    read_zone(d, zone, before);
    assert_status(act(d, c, &offset, &bytes), c->status);
    assert_zones(d, c->after ?: states[c->state].zones);
    if (g_str_equal(c->status, "OK")) {
        assert_data_after(d, c, offset, bytes);
    } else {
        read_zone(d, zone, after);
        g_assert_cmpmem(before, 64 * KiB, after, 64 * KiB);
    }
    assert_vm_runs(d);
}

static char *cell_name(const Cell *c)
{
    g_autofree char *outcome = NULL;
    char *name;

    if (!g_str_equal(c->status, "OK")) {
        outcome = g_strdup_printf("fails with %s", c->status);
    } else if (!c->after) {
        outcome = g_strdup("is OK and changes no zone");
    } else {
        outcome = g_strdup_printf("makes it %s", c->after[0] ?
                                  strchr(c->after, ':') + 1 : "empty");
    }
    name = g_strdup_printf("state/%s %s %s",
                           actions[c->action], states[c->state].name, outcome);
    return g_strdelimit(name, " ", '-');
}

/* --- Registration --- */

static void add_cells(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(cells); i++) {
        g_autofree char *name = cell_name(&cells[i]);

        add_with(name, &cells[i], test_cell);
    }
}

void add_states_tests(void)
{
    add_cells();
}
