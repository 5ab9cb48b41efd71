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

/* An event names the namespace, and its list the zones */
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

/* --- What a controller does on its own --- */

static QDict *try_attributes(Controller *c, unsigned zone, uint8_t attributes)
{
    QList *list = qlist_new();

    if (attributes & NVME_ZA_FINISHED_BY_CTLR) {
        qlist_append_str(list, "finished-by-controller");
    }
    if (attributes & NVME_ZA_FINISH_RECOMMENDED) {
        qlist_append_str(list, "finish-recommended");
    }
    if (attributes & NVME_ZA_RESET_RECOMMENDED) {
        qlist_append_str(list, "reset-recommended");
    }
    return qtest_qmp(c->m->qts,
        "{ 'execute': 'block-zone-set-attributes', 'arguments': {"
        "  'node-name': 'z0', 'offset': %" PRId64 ", 'attributes': %p } }",
        (int64_t)zone * ZONE_BYTES, list);
}

void set_attributes(Controller *c, unsigned zone, uint8_t attributes)
{
    QDict *answer = try_attributes(c, zone, attributes);

    g_assert_true(qdict_haskey(answer, "return"));
    qobject_unref(answer);
}

static void assert_attributes(Controller *c, unsigned zone, unsigned state,
                              uint8_t attributes)
{
    Zone z = get_zone(c, zone);

    g_assert_cmpint(z.state, ==, state);
    g_assert_cmphex(z.attributes, ==, attributes);
}

/* The list has @zone, there is an event, and after that there is neither. */
static void assert_event_once(Controller *c, unsigned *cid, unsigned zone)
{
    g_assert_cmphex(wait_for(c, &c->admin, *cid).value, ==,
                    ZONE_CHANGED | (uint64_t)NSID << 32);
    assert_changed(c, false, 1, &zone);
    *cid = request_event(c);
    g_assert_false(event_is_there(c, *cid));
    assert_changed(c, false, 0, NULL);
}

static void test_finish_recommended(void)
{
    Machine *m = new_machine(&standard);
    Controller *c = &m->controller[0];
    unsigned cid;

    enable_events(c, true);
    cid = request_event(c);
    g_assert_cmphex(write_at(c, 3 * ZONE, 2, 0x41), ==, OK);
    set_attributes(c, 3, NVME_ZA_FINISH_RECOMMENDED);
    assert_event_once(c, &cid, 3);
    assert_attributes(c, 3, IOPEN, NVME_ZA_FINISH_RECOMMENDED);
    assert_zone(c, 3, IOPEN, 2);
    assert_attributes(c, 2, EMPTY, 0);
    assert_attributes(c, 4, EMPTY, 0);

    /* Nothing has changed */
    set_attributes(c, 3, NVME_ZA_FINISH_RECOMMENDED);
    g_assert_false(event_is_there(c, cid));
    assert_changed(c, false, 0, NULL);

    /* It is not recommended any more */
    set_attributes(c, 3, 0);
    assert_event_once(c, &cid, 3);
    assert_attributes(c, 3, IOPEN, 0);

    /* Whatever the host does with the zone is no event, and it can write it. */
    set_attributes(c, 3, NVME_ZA_FINISH_RECOMMENDED);
    assert_event_once(c, &cid, 3);
    g_assert_cmphex(write_at(c, 3 * ZONE + 2, 2, 0x42), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_CLOSE, 3 * ZONE), ==, OK);
    assert_attributes(c, 3, CLOSED, NVME_ZA_FINISH_RECOMMENDED);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_FINISH, 3 * ZONE), ==, OK);
    assert_attributes(c, 3, FULL, 0);
    g_assert_false(event_is_there(c, cid));
    assert_changed(c, false, 0, NULL);
    assert_blocks(c, 3 * ZONE, 2, 0x41);
    assert_blocks(c, 3 * ZONE + 2, 2, 0x42);
    delete_machine(m);
}

static void test_reset_recommended(void)
{
    Machine *m = new_machine(&standard);
    Controller *c = &m->controller[0];
    unsigned cid;

    enable_events(c, true);
    cid = request_event(c);
    g_assert_cmphex(write_at(c, 3 * ZONE, CAP, 0x41), ==, OK);
    set_attributes(c, 3, NVME_ZA_RESET_RECOMMENDED);
    assert_event_once(c, &cid, 3);
    assert_attributes(c, 3, FULL, NVME_ZA_RESET_RECOMMENDED);
    set_attributes(c, 3, NVME_ZA_RESET_RECOMMENDED | NVME_ZA_FINISHED_BY_CTLR);
    assert_event_once(c, &cid, 3);
    restart_machine(m);
    assert_attributes(c, 3, FULL, NVME_ZA_RESET_RECOMMENDED |
                                  NVME_ZA_FINISHED_BY_CTLR);
    assert_blocks(c, 3 * ZONE, CAP, 0x41);
    enable_events(c, true);
    cid = request_event(c);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_RESET, 3 * ZONE), ==, OK);
    assert_attributes(c, 3, EMPTY, 0);
    g_assert_false(event_is_there(c, cid));
    assert_changed(c, false, 0, NULL);
    delete_machine(m);
}

/* Zone Active Excursion */
static void test_excursion(void)
{
    Machine *m = new_machine(&limited);
    Controller *c = &m->controller[0];
    static const unsigned zones[] = { 1, 2 };
    unsigned cid;

    enable_events(c, true);
    cid = request_event(c);
    g_assert_cmphex(write_at(c, ZONE, 2, 0x41), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 2 * ZONE), ==, OK);
    set_attributes(c, 1, NVME_ZA_FINISHED_BY_CTLR);
    set_attributes(c, 2, NVME_ZA_FINISHED_BY_CTLR);
    g_assert_cmphex(wait_for(c, &c->admin, cid).value, ==,
                    ZONE_CHANGED | (uint64_t)NSID << 32);
    assert_changed(c, false, 2, zones);
    assert_attributes(c, 1, FULL, NVME_ZA_FINISHED_BY_CTLR);
    assert_attributes(c, 2, FULL, NVME_ZA_FINISHED_BY_CTLR);
    g_assert_cmphex(write_at(c, ZONE + 2, 2, 0x42), ==, IS_FULL);
    assert_blocks(c, ZONE, 2, 0x41);
    assert_blocks(c, ZONE + 2, CAP - 2, 0);

    /* They have given their resources back: all of them can be had. */
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 3 * ZONE), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 4 * ZONE), ==, OK);
    g_assert_cmphex(manage(c, NVME_ZONE_ACTION_OPEN, 5 * ZONE), ==,
                    TOO_MANY_OPEN);

    restart_machine(m);
    assert_attributes(c, 1, FULL, NVME_ZA_FINISHED_BY_CTLR);
    assert_blocks(c, ZONE, 2, 0x41);
    assert_blocks(c, ZONE + 2, CAP - 2, 0);
    set_attributes(c, 1, 0);
    assert_attributes(c, 1, FULL, 0);
    delete_machine(m);
}

/* One that wants no events gets none; each has a list of its own. */
static void test_attributes_of_two(void)
{
    Machine *m = new_machine(&two_controllers);
    Controller *c = &m->controller[0], *d = &m->controller[1];
    static const unsigned zones[] = { 3, 4 };
    unsigned cid, cid_d;

    g_assert_cmphex(write_at(c, 3 * ZONE, CAP, 0), ==, OK);
    g_assert_cmphex(write_at(c, 4 * ZONE, 1, 0), ==, OK);
    enable_events(d, true);
    cid = request_event(c);
    cid_d = request_event(d);
    set_attributes(c, 3, NVME_ZA_RESET_RECOMMENDED);
    g_assert_cmphex(wait_for(d, &d->admin, cid_d).value, ==,
                    ZONE_CHANGED | (uint64_t)NSID << 32);

    /* One event until the list is read, then another one */
    cid_d = request_event(d);
    set_attributes(c, 4, NVME_ZA_FINISH_RECOMMENDED);
    set_attributes(c, 3, 0);
    g_assert_false(event_is_there(d, cid_d));
    assert_changed(d, false, 2, zones);
    set_attributes(c, 4, 0);
    g_assert_cmphex(wait_for(d, &d->admin, cid_d).value, ==,
                    ZONE_CHANGED | (uint64_t)NSID << 32);
    assert_changed(d, false, 1, &zones[1]);
    g_assert_false(event_is_there(c, cid));
    assert_changed(c, false, 2, zones);
    delete_machine(m);
}

static void assert_reported(Controller *c, uint8_t filter, unsigned nr,
                            const unsigned *zones)
{
    g_assert_cmphex(receive(c, 0, 64 + 16 * 64, filter << 8), ==, OK);
    g_assert_cmpint(field(c, 0, 8), ==, nr);
    for (unsigned i = 0; i < nr; i++) {
        g_assert_cmpint(field(c, 64 + 64 * i + 16, 8), ==, zones[i] * ZONE);
    }
}

/* Filter 9h of a report: zones with one of the three */
static void test_report_of_recommended(void)
{
    Machine *m = new_machine(&standard);
    Controller *c = &m->controller[0];
    static const unsigned zones[] = { 1, 2, 3 };

    g_assert_cmphex(write_at(c, 0, 1, 0), ==, OK);
    for (unsigned i = 1; i < 4; i++) {
        g_assert_cmphex(write_at(c, i * ZONE, i == 2 ? 1 : CAP, 0), ==, OK);
    }
    assert_reported(c, 9, 0, NULL);
    set_attributes(c, 1, NVME_ZA_RESET_RECOMMENDED);
    assert_reported(c, 9, 1, zones);
    set_attributes(c, 2, NVME_ZA_FINISH_RECOMMENDED);
    assert_reported(c, 9, 2, zones);
    set_attributes(c, 3, NVME_ZA_FINISHED_BY_CTLR);
    assert_reported(c, 9, 3, zones);
    set_attributes(c, 1, 0);
    assert_reported(c, 9, 2, zones + 1);
    delete_machine(m);
}

static void test_attributes_refused(void)
{
    Machine *m = new_machine(&standard);
    Controller *c = &m->controller[0];
    static const struct {
        unsigned zone;
        uint8_t attributes;
        const char *error;
    } tests[] = {
        { 3, NVME_ZA_RESET_RECOMMENDED,
          "Zone 3 cannot be marked reset-recommended: it is implicitly-open" },
        { 4, NVME_ZA_FINISH_RECOMMENDED,
          "Zone 4 cannot be marked finish-recommended: it is full" },
        { 5, NVME_ZA_FINISHED_BY_CTLR,
          "Zone 5 cannot be marked finished-by-controller: it is empty" },
        { 6, NVME_ZA_RESET_RECOMMENDED,
          "Zone 6 cannot be marked reset-recommended: it is read-only" },
        { 4, NVME_ZA_RESET_RECOMMENDED | NVME_ZA_FINISH_RECOMMENDED,
          "Zone 4 cannot be given these attributes: it is full" },
        { 16, 0, "offset (4194304) must be less than the size of node 'z0' "
          "(4194304)" },
    };
    unsigned cid;

    g_assert_cmphex(write_at(c, 3 * ZONE, 1, 0), ==, OK);
    g_assert_cmphex(write_at(c, 4 * ZONE, CAP, 0), ==, OK);
    set_condition(c, 6, "read-only");
    assert_changed(c, false, 1, &tests[3].zone);
    enable_events(c, true);
    cid = request_event(c);
    for (unsigned i = 0; i < ARRAY_SIZE(tests); i++) {
        QDict *answer = try_attributes(c, tests[i].zone, tests[i].attributes);

        g_assert_cmpstr(qdict_get_str(qdict_get_qdict(answer, "error"), "desc"),
                        ==, tests[i].error);
        qobject_unref(answer);
    }
    g_assert_false(event_is_there(c, cid));
    assert_changed(c, false, 0, NULL);
    assert_attributes(c, 3, IOPEN, 0);
    assert_attributes(c, 4, FULL, 0);
    assert_attributes(c, 5, EMPTY, 0);
    assert_attributes(c, 6, RDONLY, 0);
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
    add("recommended/to-finish-until-it-is-done-or-called-off",
        test_finish_recommended);
    add("recommended/to-reset-until-it-is-done", test_reset_recommended);
    add("recommended/an-excursion-finishes-a-zone", test_excursion);
    add("recommended/events-for-those-who-want-them", test_attributes_of_two);
    add("recommended/a-report-finds-these-zones", test_report_of_recommended);
    add("recommended/only-where-the-state-allows-it", test_attributes_refused);
}
