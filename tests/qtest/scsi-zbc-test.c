/*
 * Tests of SCSI disks with zones, seen from the guest's side of the queue
 *
 * A scsi-hd on a zoned qcow2 image, or on a zoned device of the host, is a
 * host-managed ZBC disk; scsi-block passes one through.  It is driven
 * without a guest here, so that every command can be sent, the broken ones
 * too; after each, the sense, the data and the report of all zones must be
 * exactly right.
 *
 * The rules are those of ZBC, ZBC-2, SBC-4 and SPC-5; docs/devel/zoned-scsi.rst
 * lists them.  The points of scsi-block (passed-through/) need a guest with
 * scsi_debug.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "scsi-zbc-driver.h"

int main(int argc, char **argv)
{
    int ret;

    find_host_zones(argv[0]);
    g_test_init(&argc, &argv, NULL);
    if (!have_qemu_img()) {
        g_test_message("QTEST_QEMU_IMG not set or qemu-img missing");
        return g_test_run();
    }
    add_identity_tests();
    add_report_tests();
    add_states_tests();
    add_rw_tests();
    add_memory_tests();
    add_medium_tests();
    add_life_tests();
    add_plain_tests();
    add_passthrough_tests();
    ret = g_test_run();
    delete_shared_disk();
    return ret;
}
