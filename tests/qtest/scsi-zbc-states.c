/*
 * Tests of SCSI disks with zones: every command in every condition of a zone
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "scsi-zbc-driver.h"

/* --- Every command in every condition --- */

typedef enum State {
    CONV, EMPTY, IOPEN, EOPEN, UNWRITTEN, CLOSED, FULL, RDONLY, OFFLINE,
} State;

static const struct {
    const char *name;
    unsigned zone;          /* the one that is used for it */
    uint64_t wp;            /* from its start; what is below is OLD */
    const char *zones;      /* described */
} states[] = {
    [CONV] = { "a-conventional-zone", 1, 8 * KiB, "" },
    [EMPTY] = { "an-empty-zone", 3, 0, "" },
    [IOPEN] = { "an-implicitly-open-zone", 3, 8 * KiB, "3:iopen@8K" },
    [EOPEN] = { "an-explicitly-open-zone", 3, 8 * KiB, "3:eopen@8K" },
    [UNWRITTEN] = { "an-explicitly-open-zone-without-data", 3, 0,
                    "3:eopen@0K" },
    [CLOSED] = { "a-closed-zone", 3, 8 * KiB, "3:closed@8K" },
    [FULL] = { "a-full-zone", 3, 8 * KiB, "3:full" },
    [RDONLY] = { "a-read-only-zone", ZONE_RDONLY, 8 * KiB,
                 "14:rdonly 15:offline" },
    [OFFLINE] = { "an-offline-zone", ZONE_OFFLINE, 8 * KiB,
                  "14:rdonly 15:offline" },
};

static Disk *prepare(State state)
{
    unsigned zone = states[state].zone;
    bool worn = state == RDONLY || state == OFFLINE;
    Disk *d = get_disk(worn ? &worn_out : &standard);

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
    READ, VERIFY,
    WRITE, WRITE_REST, WRITE_AHEAD, WRITE_BEHIND, WRITE_PAST,
    SAME, SAME_AHEAD, ZEROES, ZEROES_AHEAD,
    OPEN, CLOSE, FINISH, RESET,
    OPEN_ALL, CLOSE_ALL, FINISH_ALL, RESET_ALL, FORMAT,
} Action;

static const char *const actions[] = {
    [READ] = "read",
    [VERIFY] = "verify",
    [WRITE] = "write",
    [WRITE_REST] = "write-the-rest",
    [WRITE_AHEAD] = "write-ahead",
    [WRITE_BEHIND] = "write-behind",
    [WRITE_PAST] = "write-past-the-end",
    [SAME] = "write-same",
    [SAME_AHEAD] = "write-same-ahead",
    [ZEROES] = "write-zeroes",
    [ZEROES_AHEAD] = "write-zeroes-ahead",
    [OPEN] = "open",
    [CLOSE] = "close",
    [FINISH] = "finish",
    [RESET] = "reset",
    [OPEN_ALL] = "open-all",
    [CLOSE_ALL] = "close-all",
    [FINISH_ALL] = "finish-all",
    [RESET_ALL] = "reset-all",
    [FORMAT] = "format",
};

typedef struct Cell {
    State state;
    Action action;
    uint32_t sense;
    const char *after;      /* zones after it; NULL: as before */
} Cell;

static const Cell cells[] = {
    { CONV, READ, OK },
    { CONV, VERIFY, OK },
    { CONV, WRITE, OK },
    { CONV, WRITE_REST, OK },
    { CONV, WRITE_AHEAD, OK },
    { CONV, WRITE_BEHIND, OK },
    { CONV, WRITE_PAST, WRITE_BORDER },
    { CONV, SAME, OK },
    { CONV, SAME_AHEAD, OK },
    { CONV, ZEROES, OK },
    { CONV, ZEROES_AHEAD, OK },
    { CONV, OPEN, BAD_FIELD },
    { CONV, CLOSE, BAD_FIELD },
    { CONV, FINISH, BAD_FIELD },
    { CONV, RESET, BAD_FIELD },
    { CONV, OPEN_ALL, OK },
    { CONV, CLOSE_ALL, OK },
    { CONV, FINISH_ALL, OK },
    { CONV, RESET_ALL, OK },
    { CONV, FORMAT, OK },

    { EMPTY, READ, OK },
    { EMPTY, VERIFY, OK },
    { EMPTY, WRITE, OK, "3:iopen@4K" },
    { EMPTY, WRITE_REST, OK, "3:full" },
    { EMPTY, WRITE_AHEAD, UNALIGNED },
    { EMPTY, WRITE_PAST, WRITE_BORDER },
    { EMPTY, SAME, OK, "3:iopen@4K" },
    { EMPTY, SAME_AHEAD, UNALIGNED },
    { EMPTY, ZEROES, OK, "3:iopen@4K" },
    { EMPTY, ZEROES_AHEAD, UNALIGNED },
    { EMPTY, OPEN, OK, "3:eopen@0K" },
    { EMPTY, CLOSE, OK },
    { EMPTY, FINISH, OK, "3:full" },
    { EMPTY, RESET, OK },
    /* None of these is for empty zones */
    { EMPTY, OPEN_ALL, OK },
    { EMPTY, CLOSE_ALL, OK },
    { EMPTY, FINISH_ALL, OK },
    { EMPTY, RESET_ALL, OK },
    { EMPTY, FORMAT, OK },

    { IOPEN, READ, OK },
    { IOPEN, VERIFY, OK },
    { IOPEN, WRITE, OK, "3:iopen@12K" },
    { IOPEN, WRITE_REST, OK, "3:full" },
    { IOPEN, WRITE_AHEAD, UNALIGNED },
    { IOPEN, WRITE_BEHIND, UNALIGNED },
    { IOPEN, WRITE_PAST, WRITE_BORDER },
    { IOPEN, SAME, OK, "3:iopen@12K" },
    { IOPEN, SAME_AHEAD, UNALIGNED },
    { IOPEN, ZEROES, OK, "3:iopen@12K" },
    { IOPEN, ZEROES_AHEAD, UNALIGNED },
    { IOPEN, OPEN, OK, "3:eopen@8K" },
    { IOPEN, CLOSE, OK, "3:closed@8K" },
    { IOPEN, FINISH, OK, "3:full" },
    { IOPEN, RESET, OK, "" },
    { IOPEN, OPEN_ALL, OK },
    { IOPEN, CLOSE_ALL, OK, "3:closed@8K" },
    { IOPEN, FINISH_ALL, OK, "3:full" },
    { IOPEN, RESET_ALL, OK, "" },
    { IOPEN, FORMAT, OK, "" },

    { EOPEN, READ, OK },
    { EOPEN, VERIFY, OK },
    { EOPEN, WRITE, OK, "3:eopen@12K" },
    { EOPEN, WRITE_REST, OK, "3:full" },
    { EOPEN, WRITE_AHEAD, UNALIGNED },
    { EOPEN, WRITE_BEHIND, UNALIGNED },
    { EOPEN, WRITE_PAST, WRITE_BORDER },
    { EOPEN, SAME, OK, "3:eopen@12K" },
    { EOPEN, ZEROES, OK, "3:eopen@12K" },
    { EOPEN, OPEN, OK },
    { EOPEN, CLOSE, OK, "3:closed@8K" },
    { EOPEN, FINISH, OK, "3:full" },
    { EOPEN, RESET, OK, "" },
    { EOPEN, OPEN_ALL, OK },
    { EOPEN, CLOSE_ALL, OK, "3:closed@8K" },
    { EOPEN, FINISH_ALL, OK, "3:full" },
    { EOPEN, RESET_ALL, OK, "" },
    { EOPEN, FORMAT, OK, "" },

    { UNWRITTEN, READ, OK },
    { UNWRITTEN, WRITE, OK, "3:eopen@4K" },
    { UNWRITTEN, WRITE_REST, OK, "3:full" },
    { UNWRITTEN, WRITE_AHEAD, UNALIGNED },
    { UNWRITTEN, WRITE_PAST, WRITE_BORDER },
    { UNWRITTEN, OPEN, OK },
    /* It becomes empty, not closed */
    { UNWRITTEN, CLOSE, OK, "" },
    { UNWRITTEN, FINISH, OK, "3:full" },
    { UNWRITTEN, RESET, OK, "" },
    { UNWRITTEN, OPEN_ALL, OK },
    { UNWRITTEN, CLOSE_ALL, OK, "" },
    { UNWRITTEN, FINISH_ALL, OK, "3:full" },
    { UNWRITTEN, RESET_ALL, OK, "" },

    { CLOSED, READ, OK },
    { CLOSED, VERIFY, OK },
    { CLOSED, WRITE, OK, "3:iopen@12K" },
    { CLOSED, WRITE_REST, OK, "3:full" },
    { CLOSED, WRITE_AHEAD, UNALIGNED },
    { CLOSED, WRITE_BEHIND, UNALIGNED },
    { CLOSED, WRITE_PAST, WRITE_BORDER },
    { CLOSED, SAME, OK, "3:iopen@12K" },
    { CLOSED, ZEROES, OK, "3:iopen@12K" },
    { CLOSED, OPEN, OK, "3:eopen@8K" },
    { CLOSED, CLOSE, OK },
    { CLOSED, FINISH, OK, "3:full" },
    { CLOSED, RESET, OK, "" },
    { CLOSED, OPEN_ALL, OK, "3:eopen@8K" },
    { CLOSED, CLOSE_ALL, OK },
    { CLOSED, FINISH_ALL, OK, "3:full" },
    { CLOSED, RESET_ALL, OK, "" },
    { CLOSED, FORMAT, OK, "" },

    { FULL, READ, OK },
    { FULL, VERIFY, OK },
    /* Full is no boundary violation, but a border is seen first */
    { FULL, WRITE, BAD_FIELD },
    { FULL, WRITE_REST, BAD_FIELD },
    { FULL, WRITE_AHEAD, BAD_FIELD },
    { FULL, WRITE_BEHIND, BAD_FIELD },
    { FULL, WRITE_PAST, WRITE_BORDER },
    { FULL, SAME, BAD_FIELD },
    { FULL, ZEROES, BAD_FIELD },
    { FULL, OPEN, OK },
    { FULL, CLOSE, OK },
    { FULL, FINISH, OK },
    { FULL, RESET, OK, "" },
    { FULL, OPEN_ALL, OK },
    { FULL, CLOSE_ALL, OK },
    { FULL, FINISH_ALL, OK },
    { FULL, RESET_ALL, OK, "" },
    { FULL, FORMAT, OK, "" },

    { RDONLY, READ, OK },
    { RDONLY, VERIFY, OK },
    { RDONLY, WRITE, READ_ONLY },
    { RDONLY, WRITE_AHEAD, READ_ONLY },
    { RDONLY, WRITE_BEHIND, READ_ONLY },
    { RDONLY, WRITE_PAST, WRITE_BORDER },
    { RDONLY, SAME, READ_ONLY },
    { RDONLY, ZEROES, READ_ONLY },
    { RDONLY, OPEN, READ_ONLY },
    { RDONLY, CLOSE, READ_ONLY },
    { RDONLY, FINISH, READ_ONLY },
    { RDONLY, RESET, READ_ONLY },
    { RDONLY, OPEN_ALL, OK },
    { RDONLY, CLOSE_ALL, OK },
    { RDONLY, FINISH_ALL, OK },
    { RDONLY, RESET_ALL, OK },
    { RDONLY, FORMAT, OK },

    { OFFLINE, READ, OFFLINE_ZONE },
    { OFFLINE, VERIFY, OFFLINE_ZONE },
    { OFFLINE, WRITE, OFFLINE_ZONE },
    { OFFLINE, WRITE_AHEAD, OFFLINE_ZONE },
    { OFFLINE, WRITE_BEHIND, OFFLINE_ZONE },
    { OFFLINE, WRITE_PAST, OUT_OF_RANGE },
    { OFFLINE, SAME, OFFLINE_ZONE },
    { OFFLINE, ZEROES, OFFLINE_ZONE },
    { OFFLINE, OPEN, OFFLINE_ZONE },
    { OFFLINE, CLOSE, OFFLINE_ZONE },
    { OFFLINE, FINISH, OFFLINE_ZONE },
    { OFFLINE, RESET, OFFLINE_ZONE },
    { OFFLINE, OPEN_ALL, OK },
    { OFFLINE, CLOSE_ALL, OK },
    { OFFLINE, FINISH_ALL, OK },
    { OFFLINE, RESET_ALL, OK },
    { OFFLINE, FORMAT, OK },
};

static uint32_t write_same(Disk *d, uint64_t offset, uint64_t bytes,
                           uint8_t fill)
{
    Command c = cdb16(d, WRITE_SAME_16, fill ? 0 : 1, offset, bytes);

    c.out_len = fill ? d->block : 0;
    c.fill = fill;
    return submit(d, &c);
}

static uint32_t perform(Disk *d, State state, Action action)
{
    unsigned zone = states[state].zone;
    uint64_t start = zone * ZONE, wp = start + states[state].wp;
    Command format = { .cdb = { FORMAT_UNIT } };

    switch (action) {
    case READ:
        return read_at(d, start, 16 * KiB, NULL);
    case VERIFY:
        return verify_at(d, start, 16 * KiB);
    case WRITE:
        return write_at(d, wp, 4 * KiB, NEW);
    case WRITE_REST:
        return write_at(d, wp, start + ZONE - wp, NEW);
    case WRITE_AHEAD:
        return write_at(d, wp + 4 * KiB, 4 * KiB, NEW);
    case WRITE_BEHIND:
        return write_at(d, wp - 4 * KiB, 4 * KiB, NEW);
    case WRITE_PAST:
        return write_at(d, wp, start + ZONE - wp + 512, NEW);
    case SAME:
        return write_same(d, wp, 4 * KiB, NEW);
    case SAME_AHEAD:
        return write_same(d, wp + 4 * KiB, 4 * KiB, NEW);
    case ZEROES:
        return write_same(d, wp, 4 * KiB, 0);
    case ZEROES_AHEAD:
        return write_same(d, wp + 4 * KiB, 4 * KiB, 0);
    case OPEN:
        return zone_open(d, zone);
    case CLOSE:
        return zone_close(d, zone);
    case FINISH:
        return zone_finish(d, zone);
    case RESET:
        return zone_reset(d, zone);
    case OPEN_ALL:
        return on_all(d, OPEN_ZONE);
    case CLOSE_ALL:
        return on_all(d, CLOSE_ZONE);
    case FINISH_ALL:
        return on_all(d, FINISH_ZONE);
    case RESET_ALL:
        return on_all(d, RESET_ZONE);
    case FORMAT:
        return submit(d, &format);
    }
    g_assert_not_reached();
}

/* A command that was refused has changed no data, either. */
static void check_data(Disk *d, const Cell *cell)
{
    uint64_t start = states[cell->state].zone * ZONE;
    uint64_t wp = start + states[cell->state].wp;
    bool reset = cell->after && !*cell->after && cell->state != UNWRITTEN;
    bool changes = cell->sense == OK && cell->action >= WRITE &&
                   cell->action <= ZEROES_AHEAD;

    if (cell->state == OFFLINE || cell->state == CONV ||
        cell->state == RDONLY) {
        return;
    }
    if (wp > start) {
        assert_data(d, start, wp - start, reset ? 0 : OLD);
    }
    if (!changes) {
        assert_data(d, wp, 64 * KiB, 0);
    } else if (cell->action == WRITE || cell->action == SAME) {
        assert_data(d, wp, 4 * KiB, NEW);
        assert_data(d, wp + 4 * KiB, 4 * KiB, 0);
    } else if (cell->action == WRITE_REST) {
        assert_data(d, wp, start + ZONE - wp, NEW);
    } else {
        assert_data(d, wp, 64 * KiB, 0);
    }
}

static void test_cell(const void *opaque)
{
    const Cell *cell = opaque;
    Disk *d = prepare(cell->state);

    assert_sense(perform(d, cell->state, cell->action), cell->sense);
    assert_zones(d, cell->after ?: states[cell->state].zones);
    check_data(d, cell);
    assert_vm_runs(d);
}

/* --- ZBC OUT: what it names --- */

static void test_zone_id(void)
{
    Disk *d = get_disk(&standard);
    uint64_t zone = 3 * ZONE / SECTOR;
    const struct {
        uint64_t id;
        uint32_t sense;
    } ids[] = {
        { zone + 1, BAD_FIELD },
        { zone - 1, BAD_FIELD },
        { 1, BAD_FIELD },
        { 0, BAD_FIELD },
        { DISK / SECTOR - 1, BAD_FIELD },
        { DISK / SECTOR, OUT_OF_RANGE },
        { DISK / SECTOR + 1, OUT_OF_RANGE },
        { 1ull << 55, OUT_OF_RANGE },
        { INT64_MAX, OUT_OF_RANGE },
        { UINT64_MAX, OUT_OF_RANGE },
        /* These are zone 0 or 3 when the upper bits get lost */
        { 1ull << 32, OUT_OF_RANGE },
        { zone | 1ull << 32, OUT_OF_RANGE },
        { zone | 1ull << 55, OUT_OF_RANGE },
    };

    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
    for (int i = 0; i < ARRAY_SIZE(ids); i++) {
        for (unsigned action = CLOSE_ZONE; action <= RESET_ZONE; action++) {
            assert_sense(zbc_out(d, action, ids[i].id, 0, 0), ids[i].sense);
            assert_zones(d, "3:iopen@4K");
        }
    }
}

/* ZBC knows no number of zones; one of 1 is what ZBC-2 says it means. */
static void test_zone_count(void)
{
    static const unsigned too_many[] = { 2, 3, 0xff, 0x100, 0xffff };
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
    assert_ok(write_at(d, 4 * ZONE, 4 * KiB, OLD));
    for (int i = 0; i < ARRAY_SIZE(too_many); i++) {
        for (unsigned action = CLOSE_ZONE; action <= RESET_ZONE; action++) {
            assert_sense(zbc_out(d, action, 3 * ZONE / SECTOR, too_many[i], 0),
                         BAD_FIELD);
            assert_zones(d, "3:iopen@4K 4:iopen@4K");
        }
    }
    assert_ok(zbc_out(d, CLOSE_ZONE, 3 * ZONE / SECTOR, 1, 0));
    assert_zones(d, "3:closed@4K 4:iopen@4K");
    assert_ok(zbc_out(d, CLOSE_ZONE, 3 * ZONE / SECTOR, 2, 1));
    assert_zones(d, "3:closed@4K 4:closed@4K");
}

/* With ALL, neither the zone nor the number is looked at. */
static void test_all_ignores_zone(void)
{
    static const uint64_t ids[] = {
        1, DISK / SECTOR, UINT64_MAX, ZONE / SECTOR,
    };
    Disk *d = get_disk(&standard);

    for (int i = 0; i < ARRAY_SIZE(ids); i++) {
        assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
        assert_ok(zbc_out(d, CLOSE_ZONE, ids[i], 9, 1));
        assert_zones(d, "3:closed@4K");
        assert_ok(zbc_out(d, OPEN_ZONE, ids[i], 9, 1));
        assert_zones(d, "3:eopen@4K");
        assert_ok(zbc_out(d, FINISH_ZONE, ids[i], 9, 1));
        assert_zones(d, "3:full");
        assert_ok(zbc_out(d, RESET_ZONE, ids[i], 9, 1));
        assert_zones(d, "");
    }
}

static void test_all_conditions_at_once(void)
{
    Disk *d = get_disk(&worn_out);

    assert_ok(write_at(d, 4 * ZONE, 4 * KiB, OLD));
    assert_ok(zone_close(d, 4));
    assert_ok(zone_finish(d, 5));
    assert_ok(zone_open(d, 3));
    assert_ok(write_at(d, 2 * ZONE, 4 * KiB, OLD));
    assert_zones(d, "2:iopen@4K 3:eopen@0K 4:closed@4K 5:full 14:rdonly "
                 "15:offline");
    assert_ok(on_all(d, OPEN_ZONE));
    assert_zones(d, "2:iopen@4K 3:eopen@0K 4:eopen@4K 5:full 14:rdonly "
                 "15:offline");
    assert_ok(on_all(d, CLOSE_ZONE));
    assert_zones(d, "2:closed@4K 4:closed@4K 5:full 14:rdonly 15:offline");
    assert_ok(on_all(d, FINISH_ZONE));
    assert_zones(d, "2:full 4:full 5:full 14:rdonly 15:offline");
    assert_ok(on_all(d, RESET_ZONE));
    assert_zones(d, "14:rdonly 15:offline");
}

/* --- The limit of open zones --- */

static void test_open_limit(void)
{
    Disk *d = get_disk(&standard);
    const char *zones = "3:eopen@0K 4:eopen@0K 5:eopen@0K 6:closed@4K";

    assert_ok(write_at(d, 6 * ZONE, 4 * KiB, OLD));
    assert_ok(zone_close(d, 6));
    for (int i = 0; i < MAX_OPEN; i++) {
        assert_ok(zone_open(d, 3 + i));
    }
    assert_zones(d, zones);
    assert_sense(zone_open(d, 7), NO_RESOURCES);
    assert_sense(zone_open(d, 6), NO_RESOURCES);
    assert_sense(write_at(d, 7 * ZONE, 4 * KiB, NEW), NO_RESOURCES);
    assert_sense(write_at(d, 6 * ZONE + 4 * KiB, 4 * KiB, NEW), NO_RESOURCES);
    assert_zones(d, zones);
    assert_data(d, 7 * ZONE, 4 * KiB, 0);
    /* An open zone can still be written, and all can be managed */
    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, NEW));
    assert_ok(zone_open(d, 3));
    assert_ok(zone_finish(d, 8));
    assert_zones(d, "3:eopen@4K 4:eopen@0K 5:eopen@0K 6:closed@4K 8:full");
    assert_ok(zone_close(d, 4));
    assert_ok(write_at(d, 7 * ZONE, 4 * KiB, NEW));
    assert_zones(d, "3:eopen@4K 5:eopen@0K 6:closed@4K 7:iopen@4K 8:full");
}

/* An implicitly open zone makes room, whoever needs it. */
static void test_implicit_close(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(zone_open(d, 3));
    assert_ok(write_at(d, 4 * ZONE, 4 * KiB, OLD));
    assert_ok(write_at(d, 5 * ZONE, 4 * KiB, OLD));
    assert_ok(write_at(d, 6 * ZONE, 4 * KiB, OLD));
    assert_zones(d, "3:eopen@0K 4:closed@4K 5:iopen@4K 6:iopen@4K");
    assert_ok(zone_open(d, 7));
    assert_ok(zone_open(d, 8));
    assert_zones(d, "3:eopen@0K 4:closed@4K 5:closed@4K 6:closed@4K "
                 "7:eopen@0K 8:eopen@0K");
}

/* A zone that gets full gives its resource back at once. */
static void test_full_zone_is_not_open(void)
{
    Disk *d = get_disk(&standard);

    for (int i = 0; i < MAX_OPEN; i++) {
        assert_ok(zone_open(d, 3 + i));
    }
    assert_ok(write_at(d, 3 * ZONE, ZONE, NEW));
    assert_ok(zone_open(d, 6));
    assert_ok(zone_finish(d, 4));
    assert_ok(zone_open(d, 7));
    assert_sense(zone_open(d, 8), NO_RESOURCES);
    assert_zones(d, "3:full 4:full 5:eopen@0K 6:eopen@0K 7:eopen@0K");
}

/* All of them or none */
static void test_open_all_limit(void)
{
    Disk *d = get_disk(&standard);

    for (int i = 0; i < MAX_OPEN + 1; i++) {
        assert_ok(write_at(d, (3 + i) * ZONE, 4 * KiB, OLD));
        assert_ok(zone_close(d, 3 + i));
    }
    assert_sense(on_all(d, OPEN_ZONE), NO_RESOURCES);
    assert_zones(d, "3:closed@4K 4:closed@4K 5:closed@4K 6:closed@4K");
    assert_ok(zone_reset(d, 4));
    assert_ok(on_all(d, OPEN_ZONE));
    assert_zones(d, "3:eopen@4K 5:eopen@4K 6:eopen@4K");
}

/* What was managed survives a loss of power, but that a zone is open. */
static void test_durable(void)
{
    Disk *d = new_disk(&standard), *copy;

    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
    assert_ok(write_at(d, 4 * ZONE, 4 * KiB, OLD));
    assert_ok(flush(d));
    assert_ok(zone_reset(d, 3));
    assert_ok(zone_finish(d, 5));
    assert_ok(zone_open(d, 6));
    copy = disk_after_crash(d);
    assert_zones(copy, "4:closed@4K 5:full");
    assert_data(copy, 3 * ZONE, 4 * KiB, 0);
    assert_data(copy, 4 * ZONE, 4 * KiB, OLD);
    delete_disk(copy);
    delete_disk(d);
}

/* What a disk that is passed through does with others is its own matter. */
static unsigned kinds_of(const Cell *cell)
{
    bool worn = cell->state == RDONLY || cell->state == OFFLINE;
    bool same = cell->action >= SAME && cell->action <= ZEROES_AHEAD;

    return worn || same || cell->action == FORMAT ? KINDS_WITH_IMAGE_AND_HOST
                                                  : ALL_KINDS;
}

void add_states_tests(void)
{
    for (int i = 0; i < ARRAY_SIZE(cells); i++) {
        g_autofree char *name = g_strdup_printf(
            "states/%s/%s", states[cells[i].state].name,
            actions[cells[i].action]);

        add_of_with(kinds_of(&cells[i]), name, &cells[i], test_cell);
    }
    add_of(ALL_KINDS, "management/zone-id", test_zone_id);
    add_of(KINDS_WITH_IMAGE_AND_HOST, "management/zone-count", test_zone_count);
    add_of(ALL_KINDS, "management/all-ignores-the-zone", test_all_ignores_zone);
    add_of(KINDS_WITH_IMAGE_AND_HOST, "management/all-conditions-at-once",
           test_all_conditions_at_once);
    add("management/durable", test_durable);
    add_of(ALL_KINDS, "open-limit/explicit", test_open_limit);
    add_of(ALL_KINDS, "open-limit/implicit-close", test_implicit_close);
    add_of(ALL_KINDS, "open-limit/full-zone", test_full_zone_is_not_open);
    add_of(ALL_KINDS, "open-limit/open-all", test_open_all_limit);
}
