/*
 * Tests of virtio-blk on a zoned disk, seen from the guest's side of the queue
 *
 * A guest kernel sends only requests that make sense.  Here a virtio-blk-pci
 * device on a zoned qcow2 image is driven without one, so that every request
 * can be sent, the broken ones too; after each, the status, the data and the
 * report of all zones must be exactly right.  Most tests run once more with
 * the image in a storage daemon, whose vhost-user-blk export does the requests.
 *
 * The rules are those of virtio 1.3, section 5.2.6; docs/devel/zoned-virtio.rst
 * has what it leaves open.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zoned-driver.h"

int main(int argc, char **argv)
{
    int ret;

    find_host_zones(argv[0]);
    g_test_init(&argc, &argv, NULL);
    if (!have_qemu_img()) {
        g_test_message("QTEST_QEMU_IMG not set or qemu-img missing");
        return g_test_run();
    }
    add_config_tests();
    add_report_tests();
    add_states_tests();
    add_management_tests();
    add_rw_tests();
    add_append_tests();
    add_limits_tests();
    add_kick_tests();
    add_medium_tests();
    add_memory_tests();
    add_life_tests();
    ret = g_test_run();
    delete_shared_disk();
    return ret;
}
