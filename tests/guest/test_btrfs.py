#!/usr/bin/env python3
#
# btrfs, which writes with zone append, on a zoned qcow2 image.
#
# At eight active zones Linux 6.12 has none left for data when metadata is
# duplicated, as it is by default: a write to a file too large to be kept inline
# waits for ever, on any device.  So the large file here has "-m single".
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import subprocess

from guest import BUILD
from zonetest import ZoneCase, pattern, restarts, sha256
import tap

MOUNT = 'mkdir -p /mnt/b; mount -t btrfs $DEV /mnt/b\n'
FILES = {'small': 100, 'medium': 100_000, 'large': 80_000_000}


class BtrfsCase(ZoneCase):
    OPTIONS = {'zone.max_append_bytes': 4096}

    def make(self, options=''):
        self.check('modprobe btrfs; mountpoint -q /mnt/b && umount /mnt/b\n'
                   f'mkfs.btrfs -q -f {options} $DEV\n{MOUNT}')

    def put(self, name, size):
        self.check(f'pattern {name} {size} > /mnt/b/{name}')

    def assertFile(self, name, size):
        output = self.check(f'sha256sum < /mnt/b/{name}')
        self.assertEqual(output.split()[0], sha256(pattern(name, size)))

    def check_image(self):
        """qemu-img check finds no error; leaked clusters are allowed."""
        proc = subprocess.run(
            [BUILD / 'qemu-img', 'check', '--output=json', self.image],
            stdout=subprocess.PIPE, text=True, check=False)
        self.assertIn(proc.returncode, (0, 3), proc.stdout)
        result = json.loads(proc.stdout)
        self.assertEqual(result['check-errors'], 0)
        self.assertEqual(result.get('corruptions', 0), 0)


class Geometry(BtrfsCase):
    """The smallest limits that btrfs accepts, and its default profile."""

    @restarts
    def test_hello(self):
        """a subvolume with a small file is there after a restart"""
        self.make()
        self.check('btrfs subvolume create /mnt/b/sub\n'
                   'echo hello > /mnt/b/sub/hello.txt; umount /mnt/b')
        before = self.report()
        self.reboot()
        after = self.report()
        self.assertEqual([pointer for _, pointer in after],
                         [pointer for _, pointer in before])
        self.check(MOUNT)
        self.assertEqual(self.check('cat /mnt/b/sub/hello.txt'), 'hello\n')


class Data(BtrfsCase):
    """Data through zone append, over more than one zone."""
    OPTIONS = {'zone.max_append_bytes': 131072}

    def setUp(self):
        self.make('-m single')

    def put_all(self):
        for name, size in FILES.items():
            self.put(name, size)

    def verify(self):
        self.check(MOUNT)
        for name, size in FILES.items():
            self.assertFile(name, size)
        self.check('umount /mnt/b; btrfs check $DEV')

    def test_remount(self):
        """files are the same after a remount; the file system is sound"""
        self.put_all()
        self.check('umount /mnt/b')
        self.verify()

    def test_zones(self):
        """data of 80 MB has filled one zone and part of another"""
        self.put_all()
        self.check('umount /mnt/b')
        full = [zone for zone in self.report() if zone[0] == 'fu']
        self.assertEqual(len(full), 1)

    def test_scrub(self):
        """a scrub finds no checksum error"""
        self.put_all()
        output = self.check('btrfs scrub start -B /mnt/b')
        self.assertIn('no errors found', output)

    def test_delete(self):
        """deleting everything and writing again works"""
        self.put_all()
        self.check('rm /mnt/b/*; sync; btrfs balance start -dusage=0 /mnt/b')
        self.put_all()
        self.check('umount /mnt/b')
        self.verify()

    @restarts
    def test_restart(self):
        """files are the same in a new QEMU process"""
        self.put_all()
        self.check('umount /mnt/b')
        self.reboot()
        self.verify()
        self.halt()
        self.check_image()
        self.boot()

    @restarts
    def test_kill(self):
        """files that were synced are there after SIGKILL"""
        self.put_all()
        self.check('sync')
        # Writes that are under way when QEMU ends must do no harm.
        self.guest.send('i=0; while echo round $((i++)); do '
                        'head -c 300K /dev/urandom >> /mnt/b/unsynced; '
                        'sync -d /mnt/b/unsynced; done')
        self.guest.wait_for('round 5\n')
        self.reboot(kill=True)
        self.verify()
        self.halt(kill=True)
        self.check_image()
        self.boot()


if __name__ == '__main__':
    tap.main()
