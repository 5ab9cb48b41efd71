/*
 * Tests of NVMe namespaces on a zoned disk
 *
 * What survives resets, shutdowns and crashes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zns-driver.h"

/* --- What survives (ZNS 1.1, 2.1.1.2 and the initial state) --- */

typedef void Event(Machine *m);

void all_shut_down(Machine *m)
{
    for (int i = 0; i < MAX(m->setup->controllers, 1); i++) {
        shutdown_controller(&m->controller[i], CC_SHUTDOWN);
    }
    for (int i = 0; i < MAX(m->setup->controllers, 1); i++) {
        reset_controller(&m->controller[i]);
    }
}

static void all_reset(Machine *m)
{
    for (int i = 0; i < MAX(m->setup->controllers, 1); i++) {
        reset_controller(&m->controller[i]);
    }
}

static void one_shut_down(Machine *m)
{
    shutdown_controller(&m->controller[1], CC_SHUTDOWN);
    reset_controller(&m->controller[1]);
}

static void system_reset(Machine *m)
{
    qtest_system_reset(m->qts);
    for (int i = 0; i < MAX(m->setup->controllers, 1); i++) {
        Controller *c = &m->controller[i];

        qpci_device_enable(c->pci);
        qpci_config_writel(c->pci, PCI_BASE_ADDRESS_0, c->bar.addr);
        start_controller(c, CC_ALL_SETS);
    }
}

static void flush_and_crash(Machine *m)
{
    g_assert_cmphex(flush(&m->controller[0]), ==, OK);
    crash_machine(m);
}

static const struct {
    const char *name;
    Event *event;
    bool power_cycle;
    bool two;
    bool loses_memory;
} events[] = {
    { "a shutdown", all_shut_down, true },
    { "a shutdown of both controllers", all_shut_down, true, true },
    { "a shutdown of one of two controllers", one_shut_down, false, true },
    { "a reset of the controller", all_reset },
    { "a reset of both controllers", all_reset, false, true },
    { "a reset of the system", system_reset },
    { "another QEMU", restart_machine, true, .loses_memory = true },
    { "a flush and a crash", flush_and_crash, true, .loses_memory = true },
};

/* What each event leaves; QEMU's own zones are lost with another QEMU */
static void test_survival(const void *opaque)
{
    unsigned i = GPOINTER_TO_UINT(opaque);
    Controller *c = get_clean(events[i].two ? &two_controllers : &standard);

    for (State s = S_EMPTY; s <= S_FULL; s++) {
        prepare(c, s);
    }
    events[i].event(c->m);
    for (State s = S_EMPTY; s <= S_FULL; s++) {
        bool was_active = states[s].zs != EMPTY && states[s].zs != FULL;

        assert_zone(c, s, !events[i].power_cycle || !was_active ? states[s].zs :
                    states[s].wp ? CLOSED : EMPTY, states[s].wp);
        if (states[s].wp == WRITTEN || s == S_FULL) {
            assert_blocks(c, s * ZONE, WRITTEN, 0x11);
        }
    }
}

static void test_worn_zones_stay(void)
{
    Machine *m = get_machine(&cells);
    Controller *c = &m->controller[0];

    manage_all(c, NVME_ZONE_ACTION_RESET);
    all_shut_down(m);
    assert_zone(c, 1023, RDONLY, NO_WP);
    assert_zone(c, 1023 - 100, OFFLINE, NO_WP);
    crash_machine(m);
    assert_zone(c, 1023, RDONLY, NO_WP);
    assert_zone(c, 1023 - 100, OFFLINE, NO_WP);
}

/* Management commands are durable when they complete. */
static void test_crash_after_management(void)
{
    Controller *c = get_clean(&standard);

    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(write_at(c, i * ZONE, 2, 0x12), ==, OK);
    }
    g_assert_cmphex(flush(c), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, 0), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, ZONE), ==, OK);
    crash_machine(c->m);
    assert_zone(c, 0, EMPTY, 0);
    assert_zone(c, 1, FULL, NO_WP);
    assert_zone(c, 2, CLOSED, 2);
    assert_blocks(c, 0, 2, 0);
    assert_blocks(c, ZONE, 2, 0x12);
    assert_blocks(c, ZONE + 2, 2, 0);
}

static void crash_and_assert(Controller *c, int wp, uint8_t value)
{
    crash_machine(c->m);
    assert_zone(c, 1, CLOSED, wp);
    assert_blocks(c, ZONE, wp, value);
}

static Controller *get_fua_source(void)
{
    Controller *c = get_clean(&standard);

    g_assert_cmphex(write_at(c, 0, 2, 0x12), ==, OK);
    g_assert_cmphex(flush(c), ==, OK);
    fill(c, 0, 2, 0x12);
    return c;
}

/* A write with FUA is durable without a flush */
static void test_crash_after_fua_write(void)
{
    Controller *c = get_fua_source();

    g_assert_cmphex(check(io(c, write_command(c, NVME_CMD_WRITE, ZONE, 2,
                                              FUA))), ==, OK);
    crash_and_assert(c, 2, 0x12);
}

static void test_crash_after_fua_append(void)
{
    Controller *c = get_fua_source();

    g_assert_cmphex(check(io(c, write_command(c, NVME_CMD_ZONE_APPEND, ZONE, 2,
                                              FUA))), ==, OK);
    crash_and_assert(c, 2, 0x12);
}

static void test_crash_after_fua_zeroes(void)
{
    Controller *c = get_fua_source();

    g_assert_cmphex(check(io(c, command(NVME_CMD_WRITE_ZEROES, ZONE, 1 | FUA,
                                        0))), ==, OK);
    crash_and_assert(c, 2, 0);
}

static void test_crash_after_fua_copy(void)
{
    Controller *c = get_fua_source();
    Source source = { .slba = 0, .nlb = 2 };
    Command cmd = copy_command(c, ZONE, 0, &source, 1);

    cmd.dw[12] |= FUA;
    g_assert_cmphex(check(io(c, cmd)), ==, OK);
    crash_and_assert(c, 2, 0x12);
}

static void test_crash_after_fua_read(void)
{
    Controller *c = get_fua_source();

    g_assert_cmphex(write_at(c, ZONE, 2, 0x34), ==, OK);
    g_assert_cmphex(check(io(c, with_data(c, command(NVME_CMD_READ, ZONE,
                                                     1 | FUA, 0),
                                          0, 2 * BLOCK))), ==, OK);
    crash_and_assert(c, 2, 0x34);
}

static void test_crash_without_write_cache(void)
{
    Controller *c = get_fua_source();
    uint64_t slba;

    g_assert_cmphex(set_feature(c, NVME_VOLATILE_WRITE_CACHE, 0, 0).status, ==,
                    OK);
    g_assert_cmphex(write_at(c, ZONE, 2, 0x12), ==, OK);
    g_assert_cmphex(append(c, ZONE, 2, 0x12, &slba), ==, OK);
    crash_and_assert(c, 4, 0x12);
}

/* --- Two controllers --- */

static void test_shared_zones(void)
{
    Controller *c = get_clean(&two_controllers);
    Controller *d = &c->m->controller[1];

    g_assert_cmphex(write_at(c, 0, 2, 0x12), ==, OK);
    g_assert_cmphex(write_at(d, 2, 2, 0x13), ==, OK);
    g_assert_cmphex(write_at(d, 2, 2, 0x13), ==, INVALID_WRITE);
    assert_zone(c, 0, IOPEN, 4);
    assert_zone(d, 0, IOPEN, 4);
    assert_blocks(d, 0, 2, 0x12);
    assert_blocks(c, 2, 2, 0x13);
}

static void test_shutdown_one_after_the_other(void)
{
    Controller *c = get_clean(&two_controllers);
    Controller *d = &c->m->controller[1];

    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 0), ==, OK);
    shutdown_controller(c, CC_SHUTDOWN);
    assert_zone(d, 0, EOPEN, 0);
    shutdown_controller(d, CC_SHUTDOWN);
    reset_controller(d);
    assert_zone(d, 0, EMPTY, 0);
    reset_controller(c);
}

/* --- What survives, row by row --- */

/*
 * Every kind of zone after each kind of end.  Zone 0 is brought to a state;
 * what it is and reads must be there afterwards, but where the zones lose their
 * power, it becomes what the row says.
 */

static const Setup lasting = {
    .zones = 16,
    .image = ZNS_FEATURES ",zone.max_open_zones=3,zone.max_active_zones=4",
};

static void last_flush(Controller *c)
{
    g_assert_cmphex(flush(c), ==, OK);
}

static void last_written(Controller *c)
{
    g_assert_cmphex(write_at(c, 0, WRITTEN, 0x81), ==, OK);
    last_flush(c);
}

void last_empty(Controller *c)
{
    last_written(c);
    g_assert_cmphex(do_reset(c, 0, 0), ==, OK);
}

static void last_opened(Controller *c)
{
    g_assert_cmphex(do_open(c, 0, 0), ==, OK);
}

static void last_explicit(Controller *c)
{
    last_opened(c);
    last_written(c);
}

static void last_closed(Controller *c)
{
    last_written(c);
    g_assert_cmphex(do_close(c, 0, 0), ==, OK);
}

static void last_unwritten(Controller *c)
{
    last_opened(c);
    g_assert_cmphex(do_close(c, 0, 0), ==, OK);
}

static void last_finished(Controller *c)
{
    last_written(c);
    g_assert_cmphex(do_finish(c, 0, 0), ==, OK);
}

static void last_filled(Controller *c)
{
    g_assert_cmphex(write_at(c, 0, CAP, 0x82), ==, OK);
    last_flush(c);
}

static void last_rdonly(Controller *c)
{
    last_written(c);
    set_condition(c, 0, "read-only");
}

static void last_offline(Controller *c)
{
    last_written(c);
    set_condition(c, 0, "offline");
}

static void last_extension(Controller *c)
{
    g_assert_cmphex(set_extension(c, 0, 0xe7, 0), ==, OK);
}

static void last_extension_open(Controller *c)
{
    last_extension(c);
    last_opened(c);
}

static void last_extension_full(Controller *c)
{
    last_extension(c);
    last_finished(c);
}

static void last_extension_rdonly(Controller *c)
{
    last_extension(c);
    last_rdonly(c);
}

/* No command does this: QEMU, where it repairs an image */
static void last_by_controller(Controller *c)
{
    Machine *m = c->m;

    last_finished(c);
    stop_machine(m);
    zoned_image_set_attributes(m->image, 0, NVME_ZA_FINISHED_BY_CTLR);
    start_machine(m);
}

static void last_to_reset(Controller *c)
{
    last_finished(c);
    set_attributes(c, 0, NVME_ZA_RESET_RECOMMENDED);
}

static void last_to_finish(Controller *c)
{
    last_explicit(c);
    set_attributes(c, 0, NVME_ZA_FINISH_RECOMMENDED);
}

static void last_to_finish_unwritten(Controller *c)
{
    last_opened(c);
    set_attributes(c, 0, NVME_ZA_FINISH_RECOMMENDED);
}

static void last_area(Controller *c)
{
    g_assert_cmphex(do_open_zrwa(c, 0, 0), ==, OK);
    g_assert_cmphex(write_at(c, 2, 2, 0x83), ==, OK);
    last_flush(c);
}

static void last_area_unwritten(Controller *c)
{
    g_assert_cmphex(do_open_zrwa(c, 0, 0), ==, OK);
}

static void last_area_committed(Controller *c)
{
    last_area(c);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_ZRWA_FLUSH, 3), ==, OK);
}

static const struct {
    const char *name;
    void (*prepare)(Controller *c);
    /* After a loss of power; without one, nothing changes */
    uint8_t zs;
    int wp;
    uint8_t attributes;
} lasts[] = {
    { "an empty zone stays empty", last_empty, EMPTY, 0 },
    { "an implicitly open zone is closed", last_written, CLOSED, WRITTEN },
    { "an explicitly open zone is closed", last_explicit, CLOSED, WRITTEN },
    { "a zone that was only opened is empty", last_opened, EMPTY, 0 },
    { "an open zone with an extension is closed", last_extension_open, CLOSED,
      0, 0x80 },
    { "a closed zone stays closed", last_closed, CLOSED, WRITTEN },
    { "a zone that was only opened and closed is empty", last_unwritten,
      EMPTY, 0 },
    { "a closed zone with an extension stays closed", last_extension, CLOSED,
      0, 0x80 },
    { "a zone that was finished stays full", last_finished, FULL, NO_WP },
    { "a zone that was written to the end stays full", last_filled, FULL,
      NO_WP },
    { "a read-only zone stays so", last_rdonly, RDONLY, WRITTEN },
    { "an offline zone stays so", last_offline, OFFLINE, NO_WP },
    { "a full zone keeps its extension", last_extension_full, FULL, NO_WP,
      0x80 },
    { "a read-only zone keeps its extension", last_extension_rdonly, RDONLY,
      WRITTEN, 0x80 },
    { "that the controller finished a zone is kept", last_by_controller, FULL,
      NO_WP, 0x01 },
    { "that a reset is recommended is kept", last_to_reset, FULL, NO_WP, 0x04 },
    { "that finishing is recommended is kept", last_to_finish, CLOSED, WRITTEN,
      0x02 },
    { "nothing is recommended of an empty zone", last_to_finish_unwritten,
      EMPTY, 0 },
    { "a random write area is kept with what it holds", last_area, CLOSED, 0,
      0x08 },
    { "a random write area that holds nothing is lost", last_area_unwritten,
      EMPTY, 0 },
    { "a commit of a random write area is kept", last_area_committed, CLOSED,
      4, 0x08 },
};

static const struct {
    const char *name;
    Event *event;
    bool power_cycle;
} last_events[] = {
    { "shutdown", all_shut_down, true },
    { "controller reset", all_reset },
    { "restart", restart_machine, true },
    { "kill", crash_machine, true },
};

typedef struct Lasting {
    unsigned row, event;
} Lasting;

static void test_lasting(const void *opaque)
{
    const Lasting *l = opaque;
    Controller *c = get_clean(&lasting);
    g_autofree uint8_t *before = g_malloc(CAP * BLOCK);
    g_autofree uint8_t *after = g_malloc(CAP * BLOCK);
    Zone was, is;
    uint16_t status;

    set_condition(c, 0, "good");
    g_assert_cmphex(do_reset(c, 0, 0), ==, OK);
    lasts[l->row].prepare(c);
    was = get_zone(c, 0);
    status = read_from(c, 0, CAP);
    guest_read(c->m->ram, c->buffer, before, CAP * BLOCK);

    last_events[l->event].event(c->m);
    is = get_zone(c, 0);
    if (last_events[l->event].power_cycle) {
        g_assert_cmphex(is.state, ==, lasts[l->row].zs);
        g_assert_cmphex(is.attributes, ==, lasts[l->row].attributes);
        if (lasts[l->row].wp != NO_WP) {
            g_assert_cmpint(is.wp, ==, lasts[l->row].wp);
        }
    } else {
        g_assert_cmphex(is.state, ==, was.state);
        g_assert_cmphex(is.attributes, ==, was.attributes);
        g_assert_cmpint(is.wp, ==, was.wp);
    }
    g_assert_cmphex(read_from(c, 0, CAP), ==, status);
    guest_read(c->m->ram, c->buffer, after, CAP * BLOCK);
    g_assert_cmpmem(before, CAP * BLOCK, after, CAP * BLOCK);
    assert_extension(c, 0, is.attributes & 0x80 ? 0xe7 : 0);
    /* Those with a recommendation, or finished by the controller */
    g_assert_cmphex(receive(c, 0, 128, 9 << 8), ==, OK);
    g_assert_cmpint(report_count(c), ==, (is.attributes & 7) != 0);
    set_condition(c, 0, "good");
}

/* What was not flushed may be lost, from the end. */
static void test_lasting_tail(const void *opaque)
{
    const Lasting *l = opaque;
    Controller *c = get_clean(&lasting);
    int wp;

    last_written(c);
    g_assert_cmphex(write_at(c, WRITTEN, 6, 0x84), ==, OK);
    last_events[l->event].event(c->m);
    wp = get_zone(c, 0).wp;
    g_assert_cmpint(wp, >=, WRITTEN);
    g_assert_cmpint(wp, <=, WRITTEN + 6);
    assert_zone(c, 0, last_events[l->event].power_cycle ? CLOSED : IOPEN, wp);
    assert_blocks(c, 0, WRITTEN, 0x81);
    if (wp > WRITTEN) {
        assert_blocks(c, WRITTEN, wp - WRITTEN, 0x84);
    }
    assert_blocks(c, wp, CAP - wp, 0);
}

/* Resources are those of the zones that are active and open then. */
static void test_lasting_resources(const void *opaque)
{
    const Lasting *l = opaque;
    Controller *c = get_clean(&lasting);
    bool off = last_events[l->event].power_cycle;

    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(do_open(c, i * ZONE, 0), ==, OK);
    }
    g_assert_cmphex(write_at(c, 0, 1, 0x85), ==, OK);
    last_flush(c);
    last_events[l->event].event(c->m);
    /* One is closed now, and all others that were active are empty */
    for (unsigned i = 3; i < 6; i++) {
        g_assert_cmphex(do_open(c, i * ZONE, 0), ==, off ? OK : TOO_MANY_OPEN);
    }
    g_assert_cmphex(do_open(c, 6 * ZONE, 0), ==,
                    off ? TOO_MANY_ACTIVE : TOO_MANY_OPEN);
    g_assert_cmphex(do_open(c, 0, 0), ==, off ? TOO_MANY_OPEN : OK);
}

/* Neither the list of changed zones nor the wish for events outlives it. */
static void test_lasting_events(const void *opaque)
{
    const Lasting *l = opaque;
    Controller *c = get_clean(&lasting);
    unsigned cid;

    enable_events(c, true);
    set_condition(c, 3, "read-only");
    last_events[l->event].event(c->m);
    assert_changed(c, false, 0, NULL);
    cid = request_event(c);
    set_condition(c, 3, "good");
    g_assert_false(event_is_there(c, cid));
    reset_controller(c);
}

static void add_lasting(const char *name, unsigned row,
                        void (*test)(const void *))
{
    for (unsigned i = 0; have_images && i < ARRAY_SIZE(last_events); i++) {
        g_autofree char *full = g_strdup_printf("survival/%s/%s", name,
                                                last_events[i].name);
        g_autofree char *path = test_path(full);
        Lasting *l = g_new(Lasting, 1);

        *l = (Lasting) { row, i };
        qtest_add_data_func_full(path, l, test, g_free);
    }
}

static void run_survival_in_memory(const void *i)
{
    in_memory = true;
    test_survival(i);
    in_memory = false;
}

void add_survival_tests(void)
{
    for (int i = 0; i < ARRAY_SIZE(events); i++) {
        g_autofree char *full = g_strdup_printf(
            "survival/%s %s", events[i].name,
            events[i].power_cycle ? "closes open zones not more"
                                  : "changes no zone");
        g_autofree char *name = test_path(full);

        add_with(name, GUINT_TO_POINTER(i), test_survival);
        if (!events[i].loses_memory) {
            g_autofree char *memory = g_strdup_printf("in-memory/%s", name);

            qtest_add_data_func(memory, GUINT_TO_POINTER(i),
                                run_survival_in_memory);
        }
    }
    for (unsigned i = 0; i < ARRAY_SIZE(lasts); i++) {
        add_lasting(lasts[i].name, i, test_lasting);
    }
    add_lasting("writes-are-lost-from-the-end-only", 0, test_lasting_tail);
    add_lasting("resources-are-those-of-the-zones", 0, test_lasting_resources);
    add_lasting("events-are-forgotten", 0, test_lasting_events);
    add("survival/worn-zones-stay-so", test_worn_zones_stay);
    add("survival/a-crash-undoes-no-reset-and-no-finish",
        test_crash_after_management);
    add("survival/a-crash-undoes-no-write-with-FUA",
        test_crash_after_fua_write);
    add("survival/a-crash-undoes-no-append-with-FUA",
        test_crash_after_fua_append);
    add("survival/a-crash-undoes-no-zeroes-with-FUA",
        test_crash_after_fua_zeroes);
    add("survival/a-crash-undoes-no-copy-with-FUA", test_crash_after_fua_copy);
    add("survival/a-crash-undoes-nothing-that-was-read-with-FUA",
        test_crash_after_fua_read);
    add("survival/a-crash-undoes-nothing-without-a-write-cache",
        test_crash_without_write_cache);
    add("two-controllers/they-see-the-same-zones", test_shared_zones);
    add("two-controllers/the-last-one-that-shuts-down-closes-zones",
        test_shutdown_one_after_the_other);
    add_in_memory("the-last-controller-that-shuts-down-closes-zones",
                  test_shutdown_one_after_the_other);
}
