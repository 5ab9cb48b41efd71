#!/usr/bin/env python3
#
# zonefs and btrfs on NVMe namespaces of zoned qcow2 images.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from zonetest import Namespace
import test_btrfs
import test_zonefs
import tap


@tap.full
class Zonefs(Namespace, test_zonefs.Sequential):
    PREFIX = 'NVMe, zonefs: '
    BLOCK = 4096
    QUICK = {'test_restart'}


@tap.full
class Btrfs(Namespace, test_btrfs.Data):
    PREFIX = 'NVMe, btrfs -m single: '
    BLOCK = 4096


@tap.full
class BtrfsCapacity(Namespace, test_btrfs.Data):
    """The defaults of mkfs, and limits that leave room for them"""
    PREFIX = 'NVMe, btrfs, smaller capacity: '
    OPTIONS = test_btrfs.Data.OPTIONS | {
        'size': '2G', 'zone.capacity': '62M', 'zone.max_open_zones': 16,
        'zone.max_active_zones': 32}

    def setUp(self):
        self.make()


if __name__ == '__main__':
    tap.main()
