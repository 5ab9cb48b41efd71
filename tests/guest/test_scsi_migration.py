#!/usr/bin/env python3
#
# Live migration of a Linux guest that writes to a zoned SCSI disk.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from zonetest import ScsiDisk, ZONE
import test_migration
import tap


@tap.full
class Migration(ScsiDisk, test_migration.Migration):
    CAPACITY = ZONE
    OPTIONS = {}
    QUICK = {'test_migrate'}


if __name__ == '__main__':
    tap.main()
