#!/usr/bin/env python3
#
# The tests of a zoned disk, on one that a storage daemon exports and
# vhost-user-blk-pci shows to the guest.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import test_blkzone
import tap


class Disk(test_blkzone.Disk):
    EXPORTED = True


class Zones(test_blkzone.Zones):
    EXPORTED = True


class Restart(test_blkzone.Restart):
    EXPORTED = True


if __name__ == '__main__':
    tap.main()
