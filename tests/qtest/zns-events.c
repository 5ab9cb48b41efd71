/*
 * Tests of NVMe namespaces on a zoned disk
 *
 * Zones that fail, and events
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zns-driver.h"

/* --- Zones that fail, and events --- */

void set_condition(Controller *c, unsigned zone, const char *condition)
{
    qtest_qmp_assert_success(c->m->qts,
        "{ 'execute': 'block-zone-set-condition', 'arguments': {"
        "  'node-name': 'z0', 'offset': %" PRId64 ", 'condition': %s } }",
        (int64_t)zone * ZONE_BYTES, condition);
}

#define ZONE_CHANGED    0xbfef02ull     /* log page, information, notice */

void enable_events(Controller *c, bool on)
{
    g_assert_cmphex(set_feature(c, NVME_ASYNCHRONOUS_EVENT_CONF, 0,
                                on ? 1u << 27 : 0).status, ==, OK);
}

unsigned request_event(Controller *c)
{
    return submit(c, &c->admin,
                  (Command) { .dw = { NVME_ADM_CMD_ASYNC_EV_REQ } });
}

bool event_is_there(Controller *c, unsigned cid)
{
    while (take_completion(c, &c->admin)) {
        /* More may be there */
    }
    return c->admin.command[cid].done;
}

/* Get the Changed Zone List to the buffer. */
static uint16_t get_changed(Controller *c, bool keep)
{
    Command cmd = { .dw = { NVME_ADM_CMD_GET_LOG_PAGE, NSID } };

    cmd.dw[10] = 0xbf | keep << 15 | 1023 << 16;
    return admin(c, with_data(c, cmd, 0, 4096)).status;
}

void assert_changed(Controller *c, bool keep, unsigned nr,
                    const unsigned *zones)
{
    g_assert_cmphex(get_changed(c, keep), ==, OK);
    g_assert_cmpint(field(c, 0, 8), ==, nr);
    for (unsigned i = 0; i < nr; i++) {
        g_assert_cmpint(field(c, 8 + 8 * i, 8), ==, zones[i] * ZONE);
    }
    for (unsigned i = nr; i < 511; i++) {
        g_assert_cmpint(field(c, 8 + 8 * i, 8), ==, 0);
    }
}

/* As virtio-blk counts them */
static void test_statistics(void)
{
    static const Setup setup = { .zones = 16 };
    Machine *m = new_machine(&setup);
    Controller *c = &m->controller[0];
    QDict *answer, *stats, *management;
    uint64_t slba;

    g_assert_cmphex(append(c, 0, 1, 0x41, &slba), ==, OK);
    g_assert_cmphex(append(c, 0, 3, 0x41, &slba), ==, OK);
    g_assert_cmphex(write_at(c, 4, 2, 0x42), ==, OK);
    g_assert_cmphex(write_at(c, 0, 2, 0x43), ==, INVALID_WRITE);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, ZONE), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, 0), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_CLOSE, 0), ==, TRANSITION);
    g_assert_cmphex(append(c, 0, 1, 0x44, &slba), ==, IS_FULL);

    answer = qtest_qmp(m->qts, "{'execute': 'query-blockstats'}");
    stats = qdict_get_qdict(qobject_to(QDict, qlist_peek(
        qdict_get_qlist(answer, "return"))), "stats");
    management = qdict_get_qdict(stats, "zone-mgmt");
    g_assert_cmpint(qdict_get_int(stats, "zone_append_operations"), ==, 2);
    g_assert_cmpint(qdict_get_int(stats, "zone_append_bytes"), ==, 4 * BLOCK);
    g_assert_cmpint(qdict_get_int(stats, "failed_zone_append_operations"), ==,
                    1);
    g_assert_cmpint(qdict_get_int(stats, "wr_operations"), ==, 1);
    g_assert_cmpint(qdict_get_int(stats, "failed_wr_operations"), ==, 1);
    g_assert_cmpint(qdict_get_int(management, "operations"), ==, 2);
    g_assert_cmpint(qdict_get_int(management, "failed-operations"), ==, 1);
    qobject_unref(answer);
    delete_machine(m);
}

static void test_conditions(void)
{
    Machine *m = new_machine(&standard);
    Controller *c = &m->controller[0];

    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(write_at(c, i * ZONE, 2, 0x41), ==, OK);
    }
    set_condition(c, 0, "read-only");
    set_condition(c, 1, "offline");
    set_condition(c, 2, "read-only");
    assert_zone(c, 0, RDONLY, NO_WP);
    assert_zone(c, 1, OFFLINE, NO_WP);
    g_assert_cmphex(write_at(c, 2, 2, 0), ==, IS_READ_ONLY);
    assert_blocks(c, 0, 2, 0x41);
    g_assert_cmphex(read_from(c, ZONE, 2), ==, IS_OFFLINE);
    restart_machine(m);
    assert_zone(c, 0, RDONLY, NO_WP);
    assert_zone(c, 1, OFFLINE, NO_WP);
    set_condition(c, 0, "good");
    assert_zone(c, 0, CLOSED, 2);
    g_assert_cmphex(write_at(c, 2, 2, 0x42), ==, OK);
    g_assert_cmphex(manage_all(c, NVME_ZONE_ACTION_OFFLINE), ==, OK);
    assert_zone(c, 2, OFFLINE, NO_WP);
    assert_zone(c, 0, IOPEN, 4);
    delete_machine(m);
}

/* G-54 */
static void test_events(void)
{
    Machine *m = new_machine(&two_controllers);
    Controller *c = &m->controller[0], *d = &m->controller[1];
    static const unsigned one[] = { 3 }, two[] = { 3, 4 };
    unsigned cid, cid_d;

    enable_events(c, true);
    cid = request_event(c);
    cid_d = request_event(d);
    g_assert_cmphex(write_at(c, 0, CAP, 0), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, 0), ==, OK);
    g_assert_false(event_is_there(c, cid));
    assert_changed(c, false, 0, NULL);

    set_condition(c, 3, "read-only");
    g_assert_cmphex(wait_for(c, &c->admin, cid).value, ==,
                    ZONE_CHANGED | (uint64_t)NSID << 32);
    assert_changed(c, true, 1, one);
    assert_changed(c, true, 1, one);

    /* Nothing more until the log is read */
    cid = request_event(c);
    set_condition(c, 4, "offline");
    set_condition(c, 3, "offline");
    g_assert_false(event_is_there(c, cid));
    assert_changed(c, false, 2, two);
    assert_changed(c, false, 0, NULL);
    g_assert_false(event_is_there(c, cid));
    set_condition(c, 3, "good");
    g_assert_cmphex(wait_for(c, &c->admin, cid).value, ==,
                    ZONE_CHANGED | (uint64_t)NSID << 32);

    /* The other controller wants no events, but has a list of its own */
    g_assert_false(event_is_there(d, cid_d));
    assert_changed(d, false, 2, two);
    reset_controller(c);
    assert_changed(c, false, 0, NULL);
    delete_machine(m);
}

static void test_events_too_many(void)
{
    Machine *m = new_machine(&many_zones);
    Controller *c = &m->controller[0];

    for (unsigned i = 0; i < 511; i++) {
        set_condition(c, i, "read-only");
    }
    g_assert_cmphex(get_changed(c, true), ==, OK);
    g_assert_cmpint(field(c, 0, 8), ==, 511);
    g_assert_cmpint(field(c, 4088, 8), ==, 510 * ZONE);
    set_condition(c, 511, "read-only");
    g_assert_cmphex(get_changed(c, false), ==, OK);
    g_assert_cmphex(field(c, 0, 8), ==, 0xffff);
    g_assert_cmpint(field(c, 8, 8), ==, 0);
    set_condition(c, 511, "good");
    g_assert_cmphex(get_changed(c, false), ==, OK);
    g_assert_cmphex(field(c, 0, 8), ==, 1);
    delete_machine(m);
}

static void test_events_of_plain(void)
{
    Controller *c = get_clean(&with_plain);
    Command cmd = { .dw = { NVME_ADM_CMD_GET_LOG_PAGE, 2 } };

    cmd.dw[10] = 0xbf | 1023 << 16;
    g_assert_cmphex(admin(c, with_data(c, cmd, 0, 4096)).status, ==,
                    INVALID_FIELD);
    cmd.dw[1] = UINT32_MAX;
    g_assert_cmphex(admin(c, with_data(c, cmd, 0, 4096)).status, ==,
                    INVALID_FIELD);
}

void add_events_tests(void)
{
    add("accounting/appends-and-zone-management-are-counted", test_statistics);
    add("failing/zones-become-read-only-and-offline", test_conditions);
    add("failing/there-are-events-and-a-list-of-the-zones", test_events);
    add("failing/the-list-may-be-too-short", test_events_too_many);
    add("failing/a-plain-namespace-has-no-list", test_events_of_plain);
}
