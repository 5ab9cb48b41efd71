#!/usr/bin/env python3
#
# btrfs, which writes with zone append, on a zoned qcow2 image.
#
# At eight active zones Linux 6.12 has none left for data when metadata is
# duplicated, as it is by default: a write to a file too large to be kept inline
# waits for ever, on any device.  So the large file here has "-m single".
#
# SPDX-License-Identifier: GPL-2.0-or-later

from zonetest import FULL, FilesCase, MIB, ZONE, restarts
import tap

MOUNT = 'modprobe btrfs; mkdir -p /mnt/fs; mount -t btrfs $DEV /mnt/fs\n'


class BtrfsCase(FilesCase):
    OPTIONS = {'zone.max_append_bytes': 4096}

    def make(self, options=''):
        self.check('modprobe btrfs; mountpoint -q /mnt/fs && umount /mnt/fs\n'
                   f'mkfs.btrfs -q -f {options} $DEV\n{MOUNT}')

    def verify(self):
        self.check(MOUNT)
        self.assertFiles()
        self.check('umount /mnt/fs; btrfs check $DEV', timeout=300)

    def assertScrubbed(self):
        output = self.check('btrfs scrub start -B /mnt/fs')
        self.assertIn('no errors found', output)


class Geometry(BtrfsCase):
    """The smallest limits that btrfs accepts, and its default profile."""

    @restarts
    def test_hello(self):
        """a subvolume with a small file is there after a restart"""
        self.make()
        self.check('btrfs subvolume create /mnt/fs/sub\n'
                   'echo hello > /mnt/fs/sub/hello.txt; umount /mnt/fs')
        before = self.report()
        self.reboot()
        after = self.report()
        self.assertEqual([pointer for _, pointer in after],
                         [pointer for _, pointer in before])
        self.check(MOUNT)
        self.assertEqual(self.check('cat /mnt/fs/sub/hello.txt'), 'hello\n')


class Data(BtrfsCase):
    """Data through zone append, over more than one zone."""
    LARGEST_APPEND = 131072
    OPTIONS = {'zone.max_append_bytes': LARGEST_APPEND}

    def setUp(self):
        self.make('-m single')

    def test_remount(self):
        """files are the same after a remount; the file system is sound"""
        self.put_all()
        self.check('umount /mnt/fs')
        self.verify()

    def test_zones(self):
        """data of 80 MB fills a zone and begins the next, to the byte"""
        self.put_all()
        self.check('umount /mnt/fs')
        capacity = int(self.geometry['zone.capacity'].removesuffix('M')) * MIB
        written = [capacity if state == 'fu' else pointer
                   for state, pointer in self.report()]
        # Of metadata there is less.
        data = sorted(size for size in written if size > 4 * MIB)
        # Blocks of 4096; what is small is kept inline
        self.assertEqual(sum(data), sum(-(-size // 4096) * 4096
                                        for size in self.FILES.values()
                                        if size > 4096))
        self.assertEqual(len(data), 2)
        # When writeback runs while the file still grows, extents are not all of
        # the size of an append, and the next one may not fit in the zone; then
        # btrfs begins the second zone rather than split it.
        self.assertLess(capacity - data[1], self.LARGEST_APPEND)

    @tap.full
    def test_scrub(self):
        """a scrub finds no checksum error"""
        self.put_all()
        self.assertScrubbed()

    @tap.full
    def test_delete(self):
        """deleting everything and writing again works"""
        self.put_all()
        self.check('rm /mnt/fs/*; sync; btrfs balance start -dusage=0 /mnt/fs')
        self.put_all()
        self.check('umount /mnt/fs')
        self.verify()

    @restarts
    def test_restart(self):
        """files are the same in a new QEMU process"""
        self.put_all()
        self.check('umount /mnt/fs')
        self.reboot()
        self.verify()
        self.halt()
        self.check_images()
        self.boot()

    @restarts
    def test_kill(self):
        """files that were synced are there after SIGKILL"""
        self.put_all()
        self.check('sync')
        # Writes that are under way when QEMU ends must do no harm.
        self.kill_while_writing()
        self.verify()
        self.halt(kill=True)
        self.check_images()
        self.boot()


@tap.full
class TwoDisks(BtrfsCase):
    """A file system on two disks, the second larger than the first."""
    OPTIONS = {'zone.max_append_bytes': 131072}
    MORE_DISKS = ({'size': '4G'},)

    def setUp(self):
        self.make('-m single -d single /dev/vdb')

    def test_write(self):
        """two disks: data of several zones is the same after a remount"""
        self.put_all()
        self.put('more', 120_000_000)
        self.check('umount /mnt/fs')
        # btrfs takes zones from the disk with more room.
        written = [zone for zone in self.report('/dev/vdb')
                   if zone == FULL or (zone[1] or 0) > ZONE // 2]
        self.assertGreaterEqual(len(written), 3)
        self.verify()

    def test_balance(self):
        """two disks: a full balance moves all data and loses none"""
        self.put_all()
        self.check('sync; btrfs balance start --full-balance /mnt/fs',
                   timeout=300)
        self.assertScrubbed()
        self.check('umount /mnt/fs')
        self.verify()

    def test_remove(self):
        """two disks: one can be removed and added again"""
        self.put_all()
        self.check('btrfs device remove /dev/vdb /mnt/fs\n'
                   'btrfs device add -f /dev/vdb /mnt/fs\n'
                   'btrfs balance start --full-balance /mnt/fs\n'
                   'umount /mnt/fs', timeout=300)
        self.verify()

    @restarts
    def test_kill(self):
        """two disks: synced files are there after SIGKILL in a balance"""
        self.put_all()
        self.check('sync')
        self.guest.send('btrfs balance start --full-balance /mnt/fs &\n'
                        'sleep 0.3; echo balancing; wait; sleep 300')
        self.guest.wait_for('balancing\n')
        self.reboot(kill=True)
        self.check(f'modprobe btrfs; btrfs device scan; {MOUNT}')
        self.assertScrubbed()
        self.check('umount /mnt/fs')
        self.verify()
        self.halt(kill=True)
        self.check_images()
        self.boot()


@tap.full
class Raid1(BtrfsCase):
    """Metadata on two disks; data on one, as Linux has no other data yet."""
    OPTIONS = {'zone.max_append_bytes': 131072}
    MORE_DISKS = ({},)

    def mount(self):
        self.check(f'modprobe btrfs; btrfs device scan > /dev/null\n{MOUNT}')

    def test_profiles(self):
        """raid1: not for data, which mkfs.btrfs says"""
        self.check_fails('mkfs.btrfs -q -f -m raid1 -d raid1 $DEV /dev/vdb',
                         'zoned mode does not yet support')

    @restarts
    def test_kill(self):
        """raid1: synced files are there after each SIGKILL; scrub finds nothing"""
        self.make('-m raid1 -d single /dev/vdb')
        self.put_all()
        self.check('sync')
        for _ in range(3):
            self.kill_while_writing()
            self.mount()
            self.assertFiles()
            self.assertScrubbed()
        self.check('umount /mnt/fs')
        self.check('btrfs check $DEV; btrfs check /dev/vdb', timeout=300)
        self.halt(kill=True)
        self.check_images()
        self.boot()


if __name__ == '__main__':
    tap.main()
