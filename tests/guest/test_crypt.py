#!/usr/bin/env python3
#
# dm-crypt on zoned qcow2 images, with btrfs and zonefs on it.  Linux does zone
# appends to it by writes, one after the other in each zone.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from zonetest import MIB, Namespace, pattern
import test_btrfs
import test_zonefs
import tap


class Crypt:
    """The disk of the tests is /dev/dm-0, with 512-byte blocks"""

    @classmethod
    def boot(cls):
        cls.dev = '/dev/vda'
        super().boot()
        cls.check('modprobe dm-crypt; export DM_DISABLE_UDEV=1\n'
                  'dmsetup create crypt --table "0 $(blockdev --getsz $DEV) '
                  'crypt aes-xts-plain64 $(printf %064d 7) 0 $DEV 0"')
        cls.dev = '/dev/dm-0'


@tap.full
class Btrfs(Crypt, test_btrfs.Data):
    PREFIX = 'dm-crypt, btrfs -m single: '
    # By Linux itself
    LARGEST_APPEND = MIB

    def test_encrypted(self):
        """what a file has is not in the image"""
        self.put_all()
        self.check('umount /mnt/fs')
        self.halt()
        image = self.images[0].read_bytes()
        self.assertGreater(len(image), self.FILES['large'])
        self.assertNotIn(pattern('large', 512), image)
        self.boot()


@tap.full
class Zonefs(Crypt, test_zonefs.Sequential):
    PREFIX = 'dm-crypt, zonefs: '


@tap.full
class ZonefsOfNvme(Crypt, Namespace, test_zonefs.Sequential):
    PREFIX = 'dm-crypt, zonefs, NVMe: '


if __name__ == '__main__':
    tap.main()
