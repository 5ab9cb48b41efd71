#!/usr/bin/env python3
#
# Linux before 6.10, which keeps writes in order by the scheduler mq-deadline, and
# before 6.3, which knows no zones of virtio-blk:
#
#     GUEST_LINUX=oldest tests/guest/test_old.py
#
# SPDX-License-Identifier: GPL-2.0-or-later

import unittest

from guest import LINUX, Guest, qemu_img
from test_multiqueue import Multiqueue
from zonetest import Namespace, ZoneCase
import tap


class OfOldest:
    @classmethod
    def setUpClass(cls):
        if LINUX != 'oldest' or tap.options().disk != 'image':
            raise unittest.SkipTest('this is about an old Linux and an image')
        super().setUpClass()


@tap.full
class Nvme(OfOldest, Namespace, Multiqueue):
    """A queue for each of four CPUs"""
    PREFIX = 'old Linux, NVMe: '
    OPTIONS = Multiqueue.OPTIONS | {'zone.conventional_zones': 0}

    @classmethod
    def attach(cls):
        return ['-smp', '4', *super().attach()]

    @classmethod
    def boot(cls):
        super().boot()
        # With more than one queue there is none by default
        cls.check('echo mq-deadline > /sys/block/${DEV#/dev/}/queue/scheduler')


@tap.full
class Virtio(OfOldest, ZoneCase):
    """All disks are virtio disks, and the zoned one is the first."""
    PREFIX = 'old Linux, virtio-blk: '

    @classmethod
    def boot(cls):
        zoned = cls.attach()
        zoned[-1] += ',addr=2'
        other = cls.dir / 'other.raw'
        if not other.exists():
            qemu_img('create', '-f', 'raw', other, '16M')
        cls.guest = Guest(
            [*zoned, '-drive', f'if=none,id=other,format=raw,file={other}',
             '-device', 'virtio-blk-pci,drive=other,addr=1d.0'],
            root='virtio-blk-pci')
        cls.addClassCleanup(cls.guest.kill)
        cls.guest.start()

    def test_boots(self):
        """it boots from its other disk, and has no disk with zones"""
        self.check('dmesg | grep "virtio_blk.* device refuses features"')
        sizes = [int(size) for size in self.check('lsblk -bdno SIZE').split()]
        self.assertEqual(len(sizes), 2)
        self.assertIn(16 << 20, sizes)
        self.assertNotIn(768 << 20, sizes)

    def test_others(self):
        """other virtio disks work, now and after a reboot"""
        for _ in range(2):
            self.check('for disk in vda vdb; do\n'
                       '[ $(< /sys/block/$disk/size) = 32768 ] && break; done\n'
                       'pattern text 16M | dd of=/dev/$disk bs=1M status=none '
                       'iflag=fullblock oflag=direct\n'
                       'pattern text 16M | cmp - /dev/$disk')
            self.reboot()

    def test_unchanged(self):
        """the disk with zones is as it was made"""
        self.halt()
        report = qemu_img('zone', 'report', self.images[0])
        self.assertIn('12 empty', report)
        self.assertIn('No errors', qemu_img('check', self.images[0]))
        self.boot()


if __name__ == '__main__':
    tap.main()
