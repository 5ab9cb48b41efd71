#!/usr/bin/env python3
#
# What Linux does with zones by itself: conditions that it keeps in memory (since
# 6.19), writes at a queue depth of 1 (since 7.1), swap that it refuses, the superblocks of btrfs on large pages.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import unittest

from guest import LINUX
from test_failures import FailingDisk
from zonetest import EMPTY, FULL, KIB, Namespace, ScsiDisk, ZONE, ZoneCase
import tap

# Of each zone its condition, pointer and capacity, as the disk has it and as
# Linux has it, where that is something else.  Linux knows zones that are
# implicitly open, explicitly open and closed as active ones.
COMPARE = '''
import fcntl, os, struct, sys

BLKREPORTZONEV2 = 0xc010128e
CACHED = 1 << 31
ACTIVE = 0xff
NO_POINTER = 0, 13, 14, 15

def report(disk, flags):
    buffer = bytearray(struct.pack('=QII', 0, 64, flags) + bytes(64 * 64))
    fcntl.ioctl(disk, BLKREPORTZONEV2, buffer)
    for i in range(struct.unpack_from('=QI', buffer)[1]):
        zone = struct.unpack_from('=QQQBB6xQ', buffer, 16 + 64 * i)
        start, size, pointer, kind, state, capacity = zone
        yield (start, size, None if state in NO_POINTER else pointer, kind,
               ACTIVE if state in (2, 3, 4) else state, capacity)

disk = os.open(sys.argv[1], os.O_RDONLY)
real, cached = list(report(disk, 0)), list(report(disk, CACHED))
for i, zones in enumerate(zip(real, cached)):
    if zones[0] != zones[1]:
        print('zone', i, *zones)
print(len(real), len(cached))
'''


class Cached(FailingDisk, ZoneCase):
    """One conventional zone, and a capacity below the zone size"""
    PREFIX = 'cached conditions: '
    OPTIONS = {'zone.conventional_zones': 1, 'zone.capacity': '48M'}

    def setUp(self):
        if self.run_script('[ -e /sys/block/vda/queue/zoned_qd1_writes ]')[0]:
            self.skipTest('this Linux keeps no conditions')
        self.check('blkzone reset $DEV')

    def differences(self):
        """Lines for zones of which Linux has something else."""
        *lines, counts = self.check(
            f"python3 - $DEV << 'END'\n{COMPARE}END").splitlines()
        self.assertEqual(counts, '12 12')
        return lines

    def assertCached(self):
        self.assertEqual(self.differences(), [])

    def rescan(self):
        """Let the driver find the disk anew."""
        self.check('cd /sys/bus/virtio/drivers/virtio_blk\n'
                   'disk=$(basename $(readlink /sys/block/vda/device))\n'
                   'echo $disk > unbind; echo $disk > bind\n'
                   'until [ -b $DEV ]; do sleep 0.1; done')

    def test_written(self):
        """of zones that are written, full, finished, opened, closed, reset"""
        self.assertCached()
        self.check(self.write(1, 0, 48 << 20, 'full') +
                   self.write(2, 0, 64 * KIB, 'some') +
                   self.write(3, 0, 64 * KIB, 'finished') +
                   self.zone_op('finish', 3) + self.zone_op('finish', 4) +
                   self.zone_op('open', 5) +
                   self.write(6, 0, 64 * KIB, 'closed') +
                   self.zone_op('close', 6) +
                   self.write(7, 0, 64 * KIB, 'reset') +
                   self.zone_op('reset', 7))
        self.assertCached()
        zones = self.report()
        self.assertEqual((zones[1], zones[3], zones[4], zones[7]),
                         (FULL, FULL, FULL, EMPTY))
        self.check(self.zone_op('reset', 1) + self.zone_op('reset', 3) +
                   self.write(1, 0, 64 * KIB, 'again'))
        self.assertCached()
        self.rescan()
        self.assertCached()

    def test_failed(self):
        """of zones that were read-only or offline when Linux found the disk"""
        self.check(self.write(8, 0, 64 * KIB, 'a') +
                   self.write(9, 0, 64 * KIB, 'b'))
        for zone, condition in ((8, 'read-only'), (9, 'offline'),
                                (10, 'read-only'), (11, 'offline')):
            self.set_condition(zone, condition)
            self.addCleanup(self.set_condition, zone, 'good')
        self.rescan()
        self.assertCached()
        for zone in 8, 9, 10, 11:
            self.check_refused(self.write(zone, 0, 64 * KIB, 'bad'))
        self.check(self.write(7, 0, 64 * KIB, 'good'))
        self.assertCached()

    def test_fails_later(self):
        """of one that goes offline in use it has "full", until it looks anew"""
        self.check(self.write(2, 0, 64 * KIB, 'a'))
        self.set_condition(2, 'offline')
        self.addCleanup(self.set_condition, 2, 'good')
        self.check_refused(self.write(2, 64 * KIB, 64 * KIB, 'b'))
        self.assertEqual(self.differences(), [
            'zone 2 (262144, 131072, None, 2, 15, 98304) '
            '(262144, 131072, None, 2, 14, 98304)'])
        self.rescan()
        self.assertCached()


# Single writes, each to a zone that was reset; says how many failed, and in
# how many seconds
SINGLE_WRITES = '''
import fcntl, mmap, os, struct, sys, time

BLKRESETZONE = 0x40101283
disk = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
zone, count = int(sys.argv[2]), int(sys.argv[3])
data = mmap.mmap(-1, 4096)
failed, start = 0, time.monotonic()
for i in range(count):
    offset = (1 + i % 8) * zone
    try:
        if i % 8 == i % 64:
            fcntl.ioctl(disk, BLKRESETZONE,
                        struct.pack('=QQ', offset // 512, zone // 512))
        os.pwrite(disk, data, offset + i // 8 % 8 * 4096)
    except OSError:
        failed += 1
print(failed, round(time.monotonic() - start, 1))
'''


class QueueDepth(ZoneCase):
    """What docs/system/zoned-virtio.rst says of it"""
    PREFIX = 'queue depth 1: '
    WRITES = 640

    def setUp(self):
        status, self.value = self.run_script(
            'cat /sys/block/${DEV#/dev/}/queue/zoned_qd1_writes')
        if status:
            self.skipTest('this Linux has no zoned_qd1_writes')

    def single_writes(self, depth1):
        output = self.check(
            f'echo {depth1} > /sys/block/${{DEV#/dev/}}/queue/zoned_qd1_writes\n'
            f"python3 - $DEV {ZONE} {self.WRITES} << 'END'\n"
            f'{SINGLE_WRITES}END', timeout=600)
        print(f'# {self.dev}, zoned_qd1_writes {depth1}: of {self.WRITES} '
              f'writes {output.split()[0]} failed, {output.split()[1]} s',
              flush=True)
        return int(output.split()[0])

    def test_writes(self):
        """without it no write fails; with it, see above"""
        self.single_writes(1)
        self.assertEqual(self.single_writes(0), 0)

    def test_default(self):
        """Linux has it on for a virtio disk"""
        output = self.check('cd /sys/bus/virtio/drivers/virtio_blk\n'
                            'disk=$(basename $(readlink /sys/block/vda/device))\n'
                            'echo $disk > unbind; echo $disk > bind\n'
                            'cat /sys/block/vda/queue/rotational '
                            '/sys/block/vda/queue/zoned_qd1_writes')
        self.assertEqual(output, '1\n1\n')


class NotRotating:
    """The guest's init does nothing about these."""

    def test_default(self):
        """Linux has it off"""
        self.assertEqual(self.value, '0\n')


@tap.full
class QueueDepthOfNvme(NotRotating, Namespace, QueueDepth):
    PREFIX = 'queue depth 1, NVMe: '


@tap.full
class QueueDepthOfScsi(NotRotating, ScsiDisk, QueueDepth):
    PREFIX = 'queue depth 1, SCSI: '


class Swap(ZoneCase):
    OPTIONS = {'zone.conventional_zones': 2}

    def test_swap(self):
        """Linux swaps to no disk with zones, and leaves it as it is"""
        self.check('mkswap -q $DEV')
        before = self.check('blkzone report $DEV')
        self.check_fails('swapon $DEV', 'Invalid argument')
        self.assertEqual(self.check('cat /proc/swaps | tail -n +2'), '')
        self.assertEqual(self.check('blkzone report $DEV'), before)


@tap.full
@unittest.skipUnless(LINUX.startswith('arm64-'), 'here pages are not large')
class LargePages(ZoneCase):
    """What docs/system/zoned-storage.rst says of btrfs; on null_blk it is the same"""

    def test_superblocks(self):
        """large pages: btrfs takes the first superblock of a page for the newest"""
        page = LINUX.removeprefix('arm64-')
        self.check(f'modprobe btrfs; mkfs.btrfs -q -f -s {page} $DEV\n'
                   'mkdir -p /mnt/fs; mount -t btrfs $DEV /mnt/fs\n'
                   'mkdir /mnt/fs/sub; umount /mnt/fs')
        newest = self.check('btrfs inspect-internal dump-super $DEV | '
                            'sed -n "s/^generation[[:space:]]*//p"')
        mounted, *files = self.check(
            'mount -t btrfs -o ro $DEV /mnt/fs\n'
            'cat /sys/fs/btrfs/*-*/generation; ls /mnt/fs; umount /mnt/fs').split()
        self.assertLess(int(mounted), int(newest))
        self.assertEqual(files, [])


if __name__ == '__main__':
    tap.main()
