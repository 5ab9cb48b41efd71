/*
 * Tests of SCSI disks without zones: defects that zoned ones have shown
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "scsi-zbc-driver.h"

/* ZONE COUNT is no length of data. */
static void test_zbc_out(void)
{
    static const Setup setup = { .plain = true };
    Disk *d = new_disk(&setup);

    assert_sense(zbc_out(d, RESET_ZONE, 0, 2, 0), BAD_OPCODE);
    delete_disk(d);
}

static void test_write_same_without_data(void)
{
    static const Setup setup = { .plain = true };
    Disk *d = new_disk(&setup);
    Command c = cdb16(d, WRITE_SAME_16, 1, 4 * KiB, 8 * KiB);

    assert_ok(write_at(d, 0, 64 * KiB, OLD));
    assert_ok(submit(d, &c));
    assert_data(d, 0, 4 * KiB, OLD);
    assert_data(d, 4 * KiB, 8 * KiB, 0);
    assert_data(d, 12 * KiB, 52 * KiB, OLD);
    delete_disk(d);
}

/* 4 GiB and 4 KiB of it, with 32 bits 4 KiB */
static void test_write_same_large(const void *opaque)
{
    static const Setup setup = { .plain = true, .size = "6G" };
    Disk *d = new_disk(&setup);
    Command c = cdb16(d, WRITE_SAME_16, opaque ? 1 : 0, 1 * GiB,
                      4 * GiB + 4 * KiB);

    c.out_len = opaque ? 0 : SECTOR;
    assert_ok(write_at(d, 1 * GiB - 4 * KiB, 12 * KiB, OLD));
    assert_ok(write_at(d, 3 * GiB, 4 * KiB, OLD));
    assert_ok(write_at(d, 5 * GiB, 8 * KiB, OLD));
    assert_ok(submit(d, &c));
    assert_data(d, 1 * GiB - 4 * KiB, 4 * KiB, OLD);
    assert_data(d, 1 * GiB, 8 * KiB, 0);
    assert_data(d, 3 * GiB, 4 * KiB, 0);
    assert_data(d, 5 * GiB, 4 * KiB, 0);
    assert_data(d, 5 * GiB + 4 * KiB, 4 * KiB, OLD);
    delete_disk(d);
}

/* The flush fails, not the write: it is not written again, or elsewhere. */
static void test_stopped_fua(void)
{
    static const Setup setup = {
        .plain = true,
        .debug = ",inject-error.0.event=write_aio,inject-error.0.iotype=flush"
                 ",inject-error.0.errno=28,inject-error.0.once=on",
    };
    Disk *d = new_disk(&setup);
    Command w = cdb16(d, WRITE_16, 8, 1 * MiB, 8 * KiB);

    w.out_len = 8 * KiB;
    w.fill = NEW;
    start_command(d, &w);
    wait_for_stop(d);
    qtest_qmp_assert_success(d->qts, "{'execute': 'cont'}");
    assert_ok(finish_command(d, &w));
    assert_data(d, 1 * MiB, 8 * KiB, NEW);
    assert_data(d, 1 * MiB + 8 * KiB, 64 * KiB, 0);
    delete_disk(d);
}

void add_plain_tests(void)
{
    add("plain/zbc-out", test_zbc_out);
    add("plain/write-same-without-data", test_write_same_without_data);
    add_with("plain/write-same-large", NULL, test_write_same_large);
    add_with("plain/write-same-large-without-data", "no data",
             test_write_same_large);
    add("plain/stopped-fua", test_stopped_fua);
}
