#!/usr/bin/env python3
#
# A disk of 16 TiB with zones of 1 TiB, the largest that an image can have, on
# virtio-blk and on NVMe.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import unittest

from zonetest import KIB, MIB, Namespace, ZoneCase, pattern
import tap
import zonetest

TIB = 1 << 40
ZONES = 16
LAST = ZONES - 1


class Disk(ZoneCase):
    OPTIONS = {'size': '16T', 'zone.size': '1T', 'zone.capacity': '1T'}

    @classmethod
    def setUpClass(cls):
        if tap.options().disk != 'image':
            raise unittest.SkipTest('a disk in memory would be too large')
        super().setUpClass()

    def assertZones(self, expected):
        self.assertEqual(dict(enumerate(self.report())),
                         {zone: ('em', 0) for zone in range(ZONES)} | expected)

    def test_limits(self):
        """Linux has the size of the disk and of its zones"""
        output = self.check('blockdev --getsize64 $DEV\n'
                            'cd /sys/block/${DEV#/dev/}/queue\n'
                            'cat zoned chunk_sectors nr_zones')
        self.assertEqual(output.split(), [str(ZONES * TIB), 'host-managed',
                                          str(TIB // 512), str(ZONES)])

    def test_use(self):
        """writes, resets and finishes in the first and last zone, over a reboot"""
        self.check('blkzone reset $DEV')
        self.assertZones({})
        self.check(self.write(0, 0, MIB, 'first') +
                   self.write(7, 0, 64 * KIB, 'middle') +
                   self.write(LAST, 0, MIB, 'last') +
                   self.write(LAST, MIB, 4 * KIB, 'more') +
                   self.zone_op('finish', 7))
        for offset in (4 * KIB, 2 << 30, 4 << 30, TIB - 4 * KIB):
            self.check_fails(self.write(LAST, offset, 4 * KIB, 'bad'),
                             'Input/output error')
        written = {7: zonetest.FULL, LAST: ('oi', MIB + 4 * KIB)}
        self.assertZones({0: ('oi', MIB)} | written)
        self.check(self.zone_op('reset', 0) + self.write(0, 0, 8 * KIB, 'new'))
        self.assertZones({0: ('oi', 8 * KIB)} | written)
        self.reboot()
        self.assertZones({0: ('cl', 8 * KIB), 7: zonetest.FULL,
                          LAST: ('cl', MIB + 4 * KIB)})
        self.assertData(0, 0, pattern('new', 8 * KIB) + bytes(MIB))
        self.assertData(7, 0, pattern('middle', 64 * KIB) + bytes(MIB))
        self.assertData(LAST, 0, pattern('last', MIB) +
                        pattern('more', 4 * KIB) + bytes(MIB))
        self.check('blkzone reset $DEV')
        self.assertZones({})


class NvmeDisk(Namespace, Disk):
    PREFIX = 'NVMe, '


if __name__ == '__main__':
    # What the helpers compute with
    zonetest.ZONE = TIB
    tap.main()
