#!/usr/bin/env python3
#
# dm-zoned, which makes a disk with random writes of a zoned one, on a zoned
# qcow2 image, with ext4 on top.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from zonetest import FilesCase, restarts
import tap

# Nobody but the library makes /dev/mapper/dmz-vda.
START = '''
modprobe dm-zoned
export DM_DISABLE_UDEV=1
dmzadm --start $DEV > /tmp/dmzadm
'''
STOP = '''
export DM_DISABLE_UDEV=1
dmzadm --stop $DEV > /tmp/dmzadm
'''
MOUNT = 'mkdir -p /mnt/fs; mount /dev/mapper/dmz-${DEV#/dev/} /mnt/fs\n'


class DmZonedCase(FilesCase):
    """
    Metadata and a cache in conventional zones; the rest is sequential.

    Without limits: dm-zoned knows none of active zones.  With 6 open and 8
    active ones its reclaim writes to more ("Align zone 63 wp 0 to 364 blocks
    failed -5"), tries all zones again and again, and a job of random writes
    never ends.  On null_blk with these limits it is the same.
    """
    OPTIONS = {'size': '512M', 'zone.size': '8M', 'zone.capacity': '8M',
               'zone.conventional_zones': 16, 'zone.max_open_zones': 0,
               'zone.max_active_zones': 0}

    def setUp(self):
        self.stop()
        self.check('dmzadm --format $DEV --force > /tmp/dmzadm\n' + START +
                   'mkfs.ext4 -q /dev/mapper/dmz-${DEV#/dev/}\n' + MOUNT)

    def stop(self):
        self.check('mountpoint -q /mnt/fs && umount /mnt/fs\n'
                   '[ ! -e /dev/mapper/dmz-${DEV#/dev/} ] || {\n' + STOP + '}')

    def verify(self):
        """The file system, its files, and dm-zoned's metadata are sound."""
        self.check('e2fsck -fn /dev/mapper/dmz-${DEV#/dev/}\n' + MOUNT)
        self.assertFiles()
        self.stop()
        output = self.check('dmzadm --check $DEV')
        self.assertIn('No error detected', output)


class Files(DmZonedCase):
    def test_remount(self):
        """files are the same when the target is stopped and started"""
        self.put_all()
        self.stop()
        self.check(START)
        # More than the cache has room for
        written = sum(state != 'em' for state, _ in self.report()[16:])
        self.assertGreater(written, 0)
        self.verify()

    @tap.full
    def test_random(self):
        """fio verifies random writes, for which chunks are moved"""
        self.check('umount /mnt/fs')
        self.check('fio --name=random --filename=/dev/mapper/dmz-${DEV#/dev/} '
                   '--direct=1 --rw=randwrite --bs=4K --ioengine=libaio '
                   '--iodepth=16 --io_size=2M --verify=crc32c --do_verify=1 '
                   '--verify_state_save=0', timeout=300)
        self.stop()
        self.assertIn('No error detected', self.check('dmzadm --check $DEV'))

    @tap.full
    def test_reclaim(self):
        """reclaim resets zones whose data was written again elsewhere"""
        for i in range(4):
            self.check(f'pattern round{i} 150M > /mnt/fs/big; sync')
        self.put_all()
        self.check('rm /mnt/fs/big')
        self.stop()
        self.check(START)
        self.verify()

    @tap.full
    @restarts
    def test_kill(self):
        """files that were synced are there after SIGKILL"""
        self.put_all()
        self.check('sync')
        self.kill_while_writing()
        # The journal of ext4 needs a mount before e2fsck can look.
        self.check(START + MOUNT + 'umount /mnt/fs')
        self.verify()
        self.halt()
        self.check_images()
        self.boot()


if __name__ == '__main__':
    tap.main()
