/*
 * Tests of SCSI disks with zones: a ZBC disk of the host that is passed through
 *
 * ZBC_DISK names it, and ZBC_ERRORS, if it is one of Linux' scsi_debug, the file
 * that makes a command of it fail: /sys/kernel/debug/scsi_debug/LUN/error.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "scsi-zbc-driver.h"

static void test_identity(void)
{
    Disk *d = get_disk(&standard);
    uint8_t data[96];
    Command c = { .cdb = { INQUIRY, 0, 0, 0, sizeof(data) } };

    c.in_len = sizeof(data);
    c.in = data;
    assert_ok(submit(d, &c));
    g_assert_cmphex(data[0], ==, TYPE_ZBC);
    c.cdb[1] = 1;
    c.cdb[2] = 0xb6;
    assert_ok(submit(d, &c));
    g_assert_cmphex(data[0], ==, TYPE_ZBC);
    g_assert_cmphex(data[1], ==, 0xb6);
    g_assert_cmpint(get_be32(data + 16), ==, MAX_OPEN);
}

/* ZONE COUNT is where other commands have a length, and nothing is sent. */
static void test_zone_count(void)
{
    Disk *d = get_disk(&standard);

    assert_ok(write_at(d, 3 * ZONE, 4 * KiB, OLD));
    assert_ok(zbc_out(d, CLOSE_ZONE, 3 * ZONE / SECTOR, 1, 0));
    assert_zones(d, "3:closed@4K");
}

static void test_long_report(void)
{
    Disk *d = get_disk(&standard);
    g_autofree uint8_t *list = g_malloc(1 * MiB);
    Command c = report_command(0, 0, 1 * MiB, list);

    assert_ok(submit(d, &c));
    g_assert_cmpint(reported(list), ==, NR_ZONES);
    g_assert_cmpint(c.resid, ==, 1 * MiB - 64 - 64 * NR_ZONES);
}

/* --- Which errors are the guest's fault --- */

/* Let the next @opcode end with this sense. */
static void inject(uint8_t opcode, uint32_t sense)
{
    g_autofree char *rule = g_strdup_printf(
        "2 -1 0x%x 0 0 0x2 0x%x 0x%x 0x%x\n", opcode, sense >> 16,
        sense >> 8 & 0xff, sense & 0xff);
    int fd = open(getenv("ZBC_ERRORS"), O_WRONLY);

    g_assert_cmpint(write(fd, rule, strlen(rule)), ==, strlen(rule));
    close(fd);
}

/* They do not stop the machine, whatever werror and rerror say. */
static void test_senses_of_rules(void)
{
    static const struct {
        uint8_t opcode;
        uint32_t sense;
    } failures[] = {
        { WRITE_16, OUT_OF_RANGE }, { READ_16, OUT_OF_RANGE },
        { WRITE_16, UNALIGNED }, { WRITE_16, WRITE_BORDER },
        { READ_16, SENSE(5, 0x21, 0x06) }, { READ_16, READ_BORDER },
        { WRITE_16, BAD_FIELD }, { WRITE_16, READ_ONLY },
        { WRITE_16, OFFLINE_ZONE }, { READ_16, OFFLINE_ZONE },
        { WRITE_16, NO_RESOURCES },
    };
    Disk *d = get_disk(&standard);

    for (int i = 0; i < ARRAY_SIZE(failures); i++) {
        Command c = failures[i].opcode == WRITE_16
                    ? write_command(d, 3 * ZONE, 4 * KiB, NEW)
                    : read_command(d, 3 * ZONE, 4 * KiB, NULL);

        inject(failures[i].opcode, failures[i].sense);
        start_command(d, &c);
        assert_sense(finish_command(d, &c), failures[i].sense);
        assert_vm_runs(d);
        assert_zones(d, "");
    }
}

/* Real errors do, and the command is tried again. */
static void test_senses_of_failures(void)
{
    static const uint32_t senses[] = {
        SENSE(3, 0x0c, 0x00), SENSE(4, 0x44, 0x00), NO_SPACE,
    };
    Disk *d = get_disk(&standard);

    for (int i = 0; i < ARRAY_SIZE(senses); i++) {
        Command c = write_command(d, (3 + i) * ZONE, 4 * KiB, NEW);

        inject(WRITE_16, senses[i]);
        start_command(d, &c);
        wait_for_stop(d);
        qtest_qmp_assert_success(d->qts, "{'execute': 'cont'}");
        assert_ok(finish_command(d, &c));
        assert_data(d, (3 + i) * ZONE, 4 * KiB, NEW);
    }
    assert_zones(d, "3:iopen@4K 4:iopen@4K 5:iopen@4K");
}

void add_passthrough_tests(void)
{
    const unsigned kind = 1 << PASSED_THROUGH;

    add_of(kind, "identity", test_identity);
    add_of(kind, "zone-count", test_zone_count);
    add_of(kind, "long-report", test_long_report);
    if (getenv("ZBC_ERRORS")) {
        add_of(kind, "senses/of-broken-rules", test_senses_of_rules);
        add_of(kind, "senses/of-failures", test_senses_of_failures);
    }
}
