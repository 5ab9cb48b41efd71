/*
 * Tests of NVMe namespaces on a zoned disk, seen from the host's side of the
 * queues
 *
 * A driver of a few functions sends commands that no operating system would;
 * after each, the status and the zones must be exactly right.  The rules are
 * those of the ZNS Command Set 1.1.  Points that begin with "in-memory" are about
 * QEMU's own zones in memory, all others about zones in the image.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zns-driver.h"

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    /* What QEMU allocates is not zero by chance */
    g_setenv("MALLOC_PERTURB_", "165", true);
    if (!getenv("QTEST_QEMU_IMG")) {
        g_test_message("QTEST_QEMU_IMG is not set");
        return g_test_run();
    }
    have_images = zoned_image_supported();
    qtest_add_abrt_handler((void (*)(void *))delete_shared_machine, NULL);
    add_cells_tests();
    add_report_tests();
    add_limits_tests();
    add_data_tests();
    add_queue_tests();
    add_survival_tests();
    add_admin_tests();
    add_features_tests();
    add_events_tests();
    add_memory_tests();
    add_pointers_tests();
    add_transfer_tests();

    ret = g_test_run();
    delete_shared_machine();
    return ret;
}
