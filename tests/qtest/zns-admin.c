/*
 * Tests of NVMe namespaces on a zoned disk
 *
 * Format, attachment, SMART, set up and unplug
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zns-driver.h"

/* --- Admin commands --- */

Result format(Controller *c, uint32_t nsid, uint32_t dw10)
{
    Command cmd = { .dw = { NVME_ADM_CMD_FORMAT_NVM, nsid } };

    cmd.dw[10] = dw10;
    return admin(c, cmd);
}

/* All zones are empty then, or nothing has changed */
static void test_format(void)
{
    Controller *c = get_mixed();

    g_assert_cmphex(format(c, NSID, 1).status, ==, INVALID_FORMAT);
    g_assert_cmphex(format(c, NSID, 1 << 5).status, ==, INVALID_FORMAT);
    assert_zone(c, S_FULL, FULL, NO_WP);
    for (int i = 0; i < 2; i++) {
        g_assert_cmphex(format(c, i ? NSID : UINT32_MAX, 0).status, ==, OK);
        for (unsigned z = 0; z < 16; z++) {
            assert_zone(c, z, EMPTY, 0);
        }
        assert_blocks(c, S_FULL * ZONE, ZONE, 0);
        assert_size(c);
        g_assert_cmphex(write_at(c, S_FULL * ZONE, 2, 0x31), ==, OK);
    }
}

static void test_format_failed(void)
{
    Machine *m = new_machine(&flush_errors);
    Controller *c = &m->controller[0];

    g_assert_cmphex(write_at(c, 0, 2, 0x31), ==, OK);
    g_assert_cmphex(format(c, NSID, 0).status, ==, NVME_INTERNAL_DEV_ERROR);
    /* It has not changed anything, and is over */
    assert_zone(c, 0, IOPEN, 2);
    assert_blocks(c, 0, 2, 0x31);
    delete_machine(m);
}

static void test_format_worn(void)
{
    Machine *m = new_machine(&cells);
    Controller *c = &m->controller[0];

    g_assert_cmphex(format(c, NSID, 0).status, ==, OK);
    assert_zone(c, 1023, OFFLINE, NO_WP);
    assert_zone(c, 1023 - 100, OFFLINE, NO_WP);
    assert_zone(c, 0, EMPTY, 0);
    delete_machine(m);
}

static Result attach(Controller *c, bool on)
{
    Command cmd = { .dw = { NVME_ADM_CMD_NS_ATTACHMENT, NSID } };
    uint16_t list[2] = { cpu_to_le16(1), 0 };

    cmd.dw[10] = !on;
    guest_fill(c->m->ram, c->buffer, 0, 4096);
    guest_write(c->m->ram, c->buffer, list, sizeof(list));
    return admin(c, with_data(c, cmd, 0, 4096));
}

/* A reset attaches no namespace */
static void test_detached_stays_detached(void)
{
    Controller *c = get_clean(&standard);

    g_assert_cmphex(attach(c, false).status, ==, OK);
    g_assert_cmphex(io(c, command(NVME_CMD_READ, 0, 0, 0)).status, ==,
                    INVALID_FIELD);
    reset_controller(c);
    g_assert_cmphex(io(c, command(NVME_CMD_READ, 0, 0, 0)).status, ==,
                    INVALID_FIELD);
    g_assert_cmphex(attach(c, true).status, ==, OK);
    assert_zone(c, 0, EMPTY, 0);
    reset_controller(c);
    g_assert_cmphex(attach(c, false).status, ==, OK);
    g_assert_cmphex(attach(c, true).status, ==, OK);
}

/* Without its command set, the namespace is not there */
static void test_nvm_command_set_only(void)
{
    Controller *c = get_clean(&standard);

    stop_controller(c);
    start_controller(c, 0);
    g_assert_cmphex(io(c, command(NVME_CMD_ZONE_MGMT_SEND, 0, 0,
                                  NVME_ZONE_ACTION_OPEN)).status, ==,
                    INVALID_FIELD);
    reset_controller(c);
    assert_zone(c, 0, EMPTY, 0);
}

/* --- How it can be set up --- */

typedef struct Refusal {
    const char *name;
    const char *image;          /* options of qemu-img create */
    const char *device;         /* options of the namespace, with a comma */
    const char *error;          /* part of the message; NULL: it starts */
    const char *warning;        /* part of the only one when it starts */
} Refusal;

#define PLAIN   "size=256M"
#define IMAGE   "size=16M,zone.mode=host-managed,zone.size=1M," \
                "zone.capacity=768k,zone.max_open_zones=3," \
                "zone.max_active_zones=4"

#define IN_MEMORY "kept in memory"

static const Refusal refusals[] = {
    { "setup/conventional-zones-are-refused",
      "size=16M,zone.mode=host-managed,zone.size=1M,zone.conventional_zones=1",
      "", "conventional" },
    { "setup/a-smaller-last-zone-is-refused",
      "size=16777728,zone.mode=host-managed,zone.size=1M", "", "last zone" },
    { "setup/a-small-append-limit-is-refused",
      IMAGE ",zone.max_append_bytes=4k", "", "zone append limit 4096" },
    { "setup/blocks-that-do-not-fit-the-capacity-are-refused", IMAGE,
      ",logical_block_size=524288", "zone capacity 786432" },
    { "setup/blocks-beyond-the-append-limit-are-refused",
      "size=16M,zone.mode=host-managed,zone.size=1M,zone.max_append_bytes=8k",
      ",logical_block_size=65536,physical_block_size=65536",
      "logical_block_size 65536 is larger than the zone append limit 8192" },
    { "setup/blocks-of-the-append-limit-work",
      "size=16M,zone.mode=host-managed,zone.size=1M,zone.max_append_bytes=64k",
      ",logical_block_size=65536,physical_block_size=65536", NULL },
    { "setup/metadata-is-refused", IMAGE, ",ms=8", "ms=8" },
    { "setup/protection-information-is-refused", IMAGE, ",ms=8,pi=1", "ms=8" },
    { "setup/another-zone-size-is-refused", IMAGE, ",zoned.zone_size=2M",
      "zoned.zone_size" },
    { "setup/the-default-zone-size-of-QEMU-is-refused-too", IMAGE,
      ",zoned=on,zoned.zone_size=128M", "zoned.zone_size" },
    { "setup/another-capacity-is-refused", IMAGE, ",zoned.zone_capacity=1M",
      "zoned.zone_capacity" },
    { "setup/another-limit-of-active-zones-is-refused", IMAGE,
      ",zoned.max_active=5", "zoned.max_active" },
    { "setup/another-limit-of-open-zones-is-refused", IMAGE,
      ",zoned.max_open=2", "zoned.max_open" },
    { "setup/another-extension-size-is-refused", IMAGE,
      ",zoned.descr_ext_size=64", "zoned.descr_ext_size" },
    { "setup/another-random-write-area-is-refused", IMAGE,
      ",zoned.zrwas=64k", "zoned.zrwas" },
    { "setup/another-granularity-of-it-is-refused", IMAGE,
      ",zoned.zrwafg=4k", "zoned.zrwafg" },
    { "setup/another-number-of-them-is-refused", IMAGE,
      ",zoned.numzrwa=2", "zoned.numzrwa" },
    { "setup/a-random-write-area-beyond-16-bits-is-refused",
      "size=64M,zone.mode=host-managed,zone.size=64M,zone.zrwa_size=32M,"
      "zone.zrwa_flush_granularity=4k", "", "random write area size 33554432" },
    { "setup/a-granularity-below-a-block-is-refused",
      IMAGE ",zone.zrwa_size=64k,zone.zrwa_flush_granularity=4k",
      ",logical_block_size=8192,physical_block_size=8192",
      "random write area granularity 4096" },
    { "setup/no-property-is-needed", IMAGE, "", NULL },
    { "setup/properties-may-say-what-the-image-says", IMAGE,
      ",zoned=on,zoned.zone_size=1M,zoned.zone_capacity=768k,"
      "zoned.max_open=3,zoned.max_active=4,zoned.cross_read=on", NULL },
    { "setup/blocks-of-4-KiB-fit", IMAGE,
      ",logical_block_size=4096,physical_block_size=4096", NULL },

    { "setup/mdts-0-is-refused", PLAIN, " -device nvme,serial=m,mdts=0",
      "mdts is 0, it must be 1 to 9" },
    { "setup/mdts-10-is-refused", PLAIN, " -device nvme,serial=m,mdts=10",
      "mdts is 10, it must be 1 to 9" },
    { "setup/mdts-31-is-refused", PLAIN, " -device nvme,serial=m,mdts=31",
      "mdts is 31, it must be 1 to 9" },
    { "setup/mdts-32-is-refused", PLAIN, " -device nvme,serial=m,mdts=32",
      "mdts is 32, it must be 1 to 9" },
    { "setup/mdts-255-is-refused", PLAIN, " -device nvme,serial=m,mdts=255",
      "mdts is 255, it must be 1 to 9" },
    { "setup/mdts-9-works", PLAIN, " -device nvme,serial=m,mdts=9", NULL },

    /* QEMU's own zones in memory */
    { "setup/zones-in-memory-a-granularity-below-a-block-is-refused", PLAIN,
      ",logical_block_size=4096,physical_block_size=4096,zoned=on,"
      "zoned.zone_size=1M,zoned.zrwas=32k,zoned.zrwafg=512", "zoned.zrwafg" },
    { "setup/zones-in-memory-a-granularity-of-0-is-refused", PLAIN,
      ",zoned=on,zoned.zone_size=1M,zoned.zrwas=32k,zoned.zrwafg=0",
      "zoned.zrwafg" },
    { "setup/zones-in-memory-one-that-cannot-fill-the-zone-is-refused", PLAIN,
      ",zoned=on,zoned.zone_size=1M,zoned.zone_capacity=800k,"
      "zoned.zrwas=64k,zoned.zrwafg=64k", "zone capacity" },
    { "setup/zones-in-memory-an-area-beyond-16-bits-is-refused", PLAIN,
      ",zoned=on,zoned.zone_size=64M,zoned.zrwas=32M", "zoned.zrwas" },
    { "setup/zones-in-memory-the-granularity-has-a-default", PLAIN,
      ",zoned=on,zoned.zone_size=1M,zoned.zrwas=32k", NULL, IN_MEMORY },
    { "setup/zones-in-memory-the-zone-size-has-a-default", PLAIN,
      ",zoned=on", NULL, IN_MEMORY },
};

static void test_setup(const void *opaque)
{
    const Refusal *r = opaque;
    g_autofree char *options = g_strdup_printf("-o %s", r->image);
    g_autofree char *run = NULL, *out = NULL, *err = NULL;
    char *path = zoned_image_create(options, "");
    const char *argv[] = { "/bin/sh", "-c", NULL, NULL };
    const char *message;
    int status;

    argv[2] = run = g_strdup_printf(
        "echo quit | %s -nodefaults -machine pc -display none -accel qtest "
        "-monitor stdio -drive file=%s,id=z0,format=qcow2,if=none "
        "-device nvme,id=c0,serial=zns -device nvme-ns,drive=z0,bus=c0%s",
        getenv("QTEST_QEMU_BINARY"), path, r->device);
    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT,
                               NULL, NULL, &out, &err, &status, NULL));
    message = strstr(err, "qemu-system");
    if (!r->error && !r->warning ? !!message
        : !strstr(err, r->error ?: r->warning) ||
          (r->warning && strstr(message + 1, "qemu-system"))) {
        g_test_message("%s", err);
        g_test_fail();
    }
    g_assert_cmpint(status == 0, ==, !r->error);
    zoned_image_delete(path);
}

/* --- SMART / Health --- */

typedef struct Smart {
    uint64_t units_read, units_written;     /* 1000 sectors, rounded up */
    uint64_t read_commands, write_commands;
} Smart;

static Smart smart(Controller *c)
{
    Command cmd = command(NVME_ADM_CMD_GET_LOG_PAGE,
                          NVME_LOG_SMART_INFO | 127 << 16, 0, 0);
    NvmeSmartLog log;

    g_assert_cmphex(check(admin(c, with_data(c, cmd, 0, sizeof(log)))), ==, OK);
    guest_read(c->m->ram, c->buffer, &log, sizeof(log));
    return (Smart) {
        .units_read = le64_to_cpu(log.data_units_read[0]),
        .units_written = le64_to_cpu(log.data_units_written[0]),
        .read_commands = le64_to_cpu(log.host_read_commands[0]),
        .write_commands = le64_to_cpu(log.host_write_commands[0]),
    };
}

/* Write and Zone Append move the host's data, Copy and Write Zeroes do not. */
static void test_smart(void)
{
    static const Setup setup = {
        .zones = 128,
        .memory = "",
    };
    Machine *m = new_machine(&setup);
    Controller *c = &m->controller[0];
    uint64_t slba;
    Smart s;

    for (unsigned i = 0; i < 80; i++) {
        g_assert_cmphex(append(c, i * ZONE, APPEND_MAX, 0x41, &slba), ==, OK);
        g_assert_cmphex(write_at(c, i * ZONE + APPEND_MAX, 8, 0x42), ==, OK);
    }
    g_assert_cmphex(write_at(c, 0, 1, 0x43), ==, INVALID_WRITE);
    s = smart(c);
    g_assert_cmpint(s.write_commands, ==, 160);
    g_assert_cmpint(s.units_written, ==,
                    DIV_ROUND_UP(80 * 24 * (BLOCK / 512), 1000));
    g_assert_cmpint(s.read_commands, ==, 0);
    g_assert_cmpint(s.units_read, ==, 0);

    g_assert_cmphex(write_zeroes(c, 24, 4), ==, OK);
    g_assert_cmphex(copy(c, ZONE + 24, 0, 4), ==, OK);
    s = smart(c);
    g_assert_cmpint(s.write_commands, ==, 160);
    g_assert_cmpint(s.units_written, ==,
                    DIV_ROUND_UP(80 * 24 * (BLOCK / 512), 1000));
    g_assert_cmpint(s.read_commands, ==, 0);

    g_assert_cmphex(read_from(c, 0, 1), ==, OK);
    g_assert_cmphex(check(io(c, with_data(c, command(NVME_CMD_COMPARE, 0, 0, 0),
                                          0, BLOCK))), ==, OK);
    g_assert_cmphex(check(io(c, command(NVME_CMD_VERIFY, 0, 0, 0))), ==, OK);
    s = smart(c);
    g_assert_cmpint(s.read_commands, ==, 3);
    g_assert_cmpint(s.units_read, ==, 1);
    delete_machine(m);
}

/* --- Format of all namespaces --- */

/* Namespace 1 can have formats that namespace 2, with the zones, cannot. */
static void test_format_all_or_none(void)
{
    static const Setup setup = {
        .zones = 16,
        .namespace = ",nsid=2 "
                     "-blockdev driver=null-co,node-name=p0,size=16777216,"
                     "read-zeroes=on -device nvme-ns,drive=p0,bus=c0,nsid=1,"
                     "logical_block_size=4096,physical_block_size=4096",
    };
    Machine *m = new_machine(&setup);
    Controller *c = &m->controller[0];
    unsigned before;

    identify(c, 0, 0, 1);
    before = field(c, 26, 1) & 0xf;
    g_assert_cmpint(field(c, 25, 1), >, 1);
    g_assert_cmpint(before, !=, 1);
    g_assert_cmphex(format(c, UINT32_MAX, 1).status, ==, INVALID_FORMAT);
    identify(c, 0, 0, 1);
    g_assert_cmpint(field(c, 26, 1) & 0xf, ==, before);
    g_assert_cmphex(format(c, 1, 1).status, ==, OK);
    identify(c, 0, 0, 1);
    g_assert_cmpint(field(c, 26, 1) & 0xf, ==, 1);
    delete_machine(m);
}

/* --- The property drive of the controller --- */

const Setup legacy = { .zones = 16, .legacy = true };

static void start_again(Machine *m)
{
    Controller *c = &m->controller[0];

    qpci_device_enable(c->pci);
    qpci_config_writel(c->pci, PCI_BASE_ADDRESS_0, c->bar.addr);
    start_controller(c, CC_ALL_SETS);
}

/* What was written is there, and the drive is free */
static void test_unplug(void)
{
    Controller *c = get_clean(&legacy);
    static const unsigned one[] = { 3 };
    QDict *answer;

    g_assert_cmphex(write_at(c, 0, 2, 0x91), ==, OK);
    g_assert_cmphex(do_open(c, ZONE, 0), ==, OK);
    set_condition(c, 3, "read-only");
    assert_changed(c, false, 1, one);
    qpci_unplug_acpi_device_test(c->m->qts, "c0", PCI_SLOT);
    set_condition(c, 3, "good");

    /* With blocks that the zones cannot have, and as it was */
    answer = qtest_qmp(c->m->qts, "{ 'execute': 'device_add', 'arguments': {"
                       "  'driver': 'nvme', 'id': 'c0', 'serial': 'zns',"
                       "  'drive': 'z0', 'addr': '4',"
                       "  'logical_block_size': 524288 } }");
    g_assert_nonnull(strstr(qdict_get_str(qdict_get_qdict(answer, "error"),
                                          "desc"), "zone size"));
    qobject_unref(answer);
    qtest_qmp_device_add(c->m->qts, "nvme", "c0", "{ 'serial': 'zns',"
                         "  'drive': 'z0', 'addr': '4',"
                         "  'logical_block_size': 4096 }");
    start_again(c->m);
    assert_zone(c, 0, CLOSED, 2);
    assert_zone(c, 1, EMPTY, 0);
    assert_changed(c, false, 0, NULL);
    assert_blocks(c, 0, 2, 0x91);
    delete_shared_machine();
}

/* The controller goes, and everything that is in the way of its drive. */
static void unplug(const Setup *setup, const char *drive, const char *busy)
{
    Machine *m = new_machine(setup);
    Controller *c = &m->controller[0];

    fill(c, 0, 1, 0x71);
    if (busy) {
        hold_back(c, busy);
    }
    for (unsigned i = 0; busy && i < 3; i++) {
        submit(c, &c->io, write_command(c, NVME_CMD_WRITE, i, 1, 0));
    }
    qpci_unplug_acpi_device_test(c->m->qts, "c0", PCI_SLOT);
    qtest_qmp_assert_success(m->qts, "{ 'execute': 'blockdev-del',"
                             "  'arguments': { 'node-name': %s } }", drive);
    delete_machine(m);
}

static void test_unplug_namespace(void)
{
    static const Setup setup = {
        .zones = 16, .own_subsystem = true, .memory = "",
    };

    unplug(&setup, "z0", NULL);
}

static void test_unplug_in_flight(void)
{
    static const Setup setup = {
        .zones = 16, .own_subsystem = true, .memory = "",
    };

    unplug(&setup, "z0", "n1");
}

static void test_unplug_in_flight_with_drive(void)
{
    static const Setup setup = {
        .zones = 16, .legacy = true,
    };

    unplug(&setup, "z0", "c0");
}

static void test_unplug_plain(void)
{
    static const Setup setup = {
        .zones = 16, .own_subsystem = true,
        .namespace = " -blockdev driver=null-co,node-name=p0,size=16777216 "
                     "-device nvme-ns,drive=p0,bus=c0,nsid=2",
    };

    unplug(&setup, "p0", NULL);
}

void add_admin_tests(void)
{
    add("admin/format-empties-all-zones", test_format);
    add("admin/a-format-that-fails-changes-nothing", test_format_failed);
    add("admin/format-takes-read-only-zones-offline", test_format_worn);
    add("admin/a-namespace-that-was-detached-stays-so",
        test_detached_stays_detached);
    add("admin/without-its-command-set-the-namespace-is-not-there",
        test_nvm_command_set_only);
    add("setup/the-drive-of-a-controller-can-be-unplugged", test_unplug);
    add("admin/format-all-or-none", test_format_all_or_none);
    add("accounting/smart-counts-user-data", test_smart);
    add_in_memory("accounting/smart-counts-user-data", test_smart);
    add("unplug/namespace-goes-too", test_unplug_namespace);
    add("unplug/in-flight", test_unplug_in_flight);
    add("unplug/in-flight-with-drive", test_unplug_in_flight_with_drive);
    add("unplug/plain-namespace", test_unplug_plain);
    add_in_memory("unplug/namespace-goes-too", test_unplug_namespace);
    add_in_memory("unplug/in-flight", test_unplug_in_flight);
    for (int i = 0; i < ARRAY_SIZE(refusals); i++) {
        add_with(refusals[i].name, &refusals[i], test_setup);
    }
}
