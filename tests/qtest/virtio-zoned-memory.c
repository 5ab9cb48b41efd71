/*
 * Tests of virtio-blk on a zoned disk: where the guest has its data
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zoned-driver.h"

void add_memory_tests(void)
{
}
