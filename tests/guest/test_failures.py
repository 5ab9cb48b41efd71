#!/usr/bin/env python3
#
# What file systems do when a zone goes offline under them, as
# docs/system/zoned-failures.rst tells.
#
# The zone fails while the file system is mounted; Linux finds out when it uses
# the zone.  XFS needs a newer Linux than that of the other tests, see Xfs.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import unittest

from guest import Guest
from test_btrfs import BtrfsCase
from test_migration import Monitor
from test_zonefs import ZonefsCase
from zonetest import EMPTY, FilesCase, KIB, ZONE, pattern
import tap


class FailingDisk:
    """The zones of the disk can be made to fail."""

    @classmethod
    def boot(cls):
        if cls.disk != 'image':
            raise unittest.SkipTest('other disks have no zones that fail')
        cls.monitor = Monitor(cls.dir / 'qmp')
        cls.guest = Guest(cls.attach() + cls.monitor.args())
        cls.addClassCleanup(cls.guest.kill)
        cls.guest.start()
        cls.monitor.connect()

    def set_condition(self, zone, condition):
        self.monitor('block-zone-set-condition', **{
            'node-name': 'drive1', 'offset': zone * ZONE,
            'condition': condition})

    def take_offline(self, zone):
        self.set_condition(zone, 'offline')
        self.addCleanup(self.set_condition, zone, 'good')

    def forget(self):
        """Let Linux read from the disk what it has in memory."""
        self.check('sync; echo 3 > /proc/sys/vm/drop_caches')

    def assertLogged(self, *messages):
        log = self.check('dmesg -c')
        for message in messages:
            self.assertIn(message, log)


class Zonefs(FailingDisk, ZonefsCase):
    """The third zone is the file seq/1."""
    PREFIX = 'zonefs: '

    def mount(self, errors='remount-ro'):
        self.check('mkdir -p /mnt/z; dmesg -C\n'
                   f'mount -t zonefs -o errors={errors} $DEV /mnt/z\n' +
                   self.append('seq/0', 16 * KIB, 'other') +
                   self.append('seq/1', 16 * KIB, 'lost'))

    def assertLost(self):
        """Of the file nothing can be read; others are as they were."""
        self.assertEqual(self.check('stat -c "%A %s" /mnt/z/seq/1'),
                         '---------- 0\n')
        self.assertFile('seq/0', pattern('other', 16 * KIB))
        self.assertLogged('Zone 262144: offline zone',
                          'read/write access disabled')

    def test_read_only(self):
        """by default a file that is lost makes the file system read-only"""
        self.take_offline(2)
        self.check_fails('cat /mnt/z/seq/1 > /dev/null', 'Input/output error')
        self.check_fails(self.append('seq/0', 4 * KIB, 'more'),
                         'Read-only file system')
        self.check('mount | grep "zonefs (ro,"')
        self.assertLost()

    @tap.full
    def test_others_go_on(self):
        """with errors=zone-ro the other files can be written"""
        self.check('umount /mnt/z; blkzone reset $DEV; mkzonefs -f $DEV')
        self.mount('zone-ro')
        self.take_offline(2)
        self.check_fails(self.append('seq/1', 4 * KIB, 'more'),
                         'Input/output error')
        self.assertLost()
        self.check(self.append('seq/2', 4 * KIB, 'new'))
        self.assertFile('seq/2', pattern('new', 4 * KIB))

    @tap.full
    def test_mount(self):
        """it is mounted without the file; with it when the zone is good"""
        self.take_offline(2)
        self.check('umount /mnt/z; mount -t zonefs $DEV /mnt/z')
        self.assertEqual(self.sizes()[:3], [16 * KIB, 0, 0])
        self.set_condition(2, 'good')
        self.check('umount /mnt/z; mount -t zonefs $DEV /mnt/z')
        self.assertFile('seq/1', pattern('lost', 16 * KIB))


class Btrfs(FailingDisk, BtrfsCase):
    """Data and metadata in a zone each"""
    PREFIX = 'btrfs: '
    OPTIONS = {'zone.max_append_bytes': 131072}
    FILES = {'one': 1_000_000, 'two': 3_000_000}

    def setUp(self):
        self.make('-m single -d single')
        self.put_all()
        self.check('sync; dmesg -C')
        sizes = [pointer or 0 for _, pointer in self.report()]
        self.data = sizes.index(max(sizes))

    def test_data(self):
        """files in the zone give I/O errors, and so does what is written"""
        self.take_offline(self.data)
        self.forget()
        for name in self.FILES:
            self.check_fails(f'cat /mnt/fs/{name} > /dev/null',
                             'Input/output error')
        self.put('new', 1_000_000)
        self.check_fails('sync -f /mnt/fs', 'Input/output error')
        self.check('mount | grep "btrfs (rw,"; umount /mnt/fs')

    @tap.full
    def test_mount(self):
        """it is not mounted any more, until the zone is good"""
        self.take_offline(self.data)
        self.check_fails('umount /mnt/fs; mount $DEV /mnt/fs',
                         "can't read superblock")
        self.assertLogged(f'offline/readonly zone {self.data} on device')
        self.set_condition(self.data, 'good')
        self.verify()


class Xfs(FailingDisk, FilesCase):
    """
    Metadata in conventional zones.  The guest has to be the newest:

        GUEST_LINUX=newest tests/guest/test_failures.py -k Xfs
    """
    PREFIX = 'XFS: '
    FIRST = 6
    OPTIONS = {'size': '2G', 'zone.conventional_zones': FIRST,
               'zone.max_active_zones': 0}
    FILES = {'one': 70_000_000, 'two': 20_000_000}

    def setUp(self):
        if self.run_script('mkfs.xfs 2>&1 | grep -q zoned=0')[0]:
            self.skipTest('mkfs.xfs of this guest knows no zones')
        # One that is shut down is no mount point for mountpoint
        self.check('umount -q /mnt/fs || true\n'
                   'modprobe xfs; mkfs.xfs -q -f -r zoned=1 $DEV > /dev/null\n'
                   'mkdir -p /mnt/fs')
        self.mount()

    def mount(self):
        self.check('dmesg -C; mount -t xfs $DEV /mnt/fs')

    def test_read(self):
        """a file in the zone gives I/O errors, and others can be written"""
        self.put_all()
        self.forget()
        self.take_offline(self.FIRST)
        self.check_fails('cat /mnt/fs/one > /dev/null', 'Input/output error')
        self.assertFile('two', self.FILES['two'])
        self.put('new', 1_000_000)
        self.forget()
        self.assertFile('new', 1_000_000)

    def test_write(self):
        """an error of a write shuts the file system down"""
        self.put('one', 1_000_000)
        self.check('sync')
        self.take_offline(self.FIRST)
        self.put('two', 1_000_000)
        self.check_fails('sync -f /mnt/fs; ls /mnt/fs', 'Input/output error')
        self.assertLogged('Shutting down filesystem')

    def test_unused(self):
        """of a zone that it does not use, it knows with the next mount"""
        self.put_all()
        self.check('sync')
        # It reads the last sector of the disk, so not the last one
        zone = len(self.report()) - 2
        self.assertEqual(self.report()[zone], EMPTY)
        self.take_offline(zone)
        self.put('new', 1_000_000)
        self.forget()
        self.assertFiles()
        self.check_fails('umount /mnt/fs; mount -t xfs $DEV /mnt/fs',
                         'failed mount system call')
        self.assertLogged(f'zone {zone - self.FIRST} has unsupported zone '
                          'condition 0xf')
        self.set_condition(zone, 'good')
        self.mount()
        self.assertFiles()


if __name__ == '__main__':
    tap.main()
