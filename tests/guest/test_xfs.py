#!/usr/bin/env python3
#
# XFS with zones: metadata in conventional zones or on another disk, data in
# sequential zones.
#
# The guest has to be the newest one (Linux 6.15 and xfsprogs that know zones):
#
#     GUEST_LINUX=newest tests/guest/test_xfs.py
#
# SPDX-License-Identifier: GPL-2.0-or-later

import unittest

from guest import qemu_img
from zonetest import FilesCase, MIB, Namespace, restarts
import tap

SMALL_ZONES = {'zone.size': '16M', 'zone.capacity': '16M',
               'zone.max_open_zones': 8, 'zone.max_active_zones': 0}

# Files of 1 MiB, with their number as content.  "fill" until 9 of 10 blocks are
# used; "churn" writes those with odd numbers anew, so that no zone becomes empty
# by itself; it tries again where XFS says that there is no space (Linux 7.3.4 did so
# once, on a busy host).  "compare" says which are not as they were written (0: all of
# them; 2: those that "churn" does not touch).
FILES = '''
import errno, os, time
def path(i):
    return f'/mnt/fs/f{i}'
def data(i):
    return b'%8d' % i * 131072
def write(i):
    with open(path(i), 'wb') as file:
        file.write(data(i))
def numbers():
    return sorted(int(name[1:]) for name in os.listdir('/mnt/fs'))
def fill():
    stat = os.statvfs('/mnt/fs')
    for i in range(stat.f_bavail * stat.f_frsize * 9 // 10 >> 20):
        write(i)
    os.sync()
def churn():
    odd = [i for i in numbers() if i % 2]
    for i in odd:
        os.remove(path(i))
    os.sync()
    for i in odd:
        for left in reversed(range(60)):
            try:
                write(i)
                break
            except OSError as error:
                if error.errno != errno.ENOSPC or not left:
                    raise
                time.sleep(1)
    os.sync()
    print('churned', flush=True)
def compare(even=0):
    for i in numbers():
        if not (even and i % 2):
            with open(path(i), 'rb') as file:
                if file.read() != data(i):
                    print('file', i, 'is not as it was')
    print(len(numbers()), 'files')
'''


def python(code):
    return f"python3 << 'END'\n{FILES}\n{code}\nEND\n"


class Xfs:
    """The tests, for each of the classes below"""
    # What mkfs.xfs, mount and xfs_repair call the file system
    MAKE = '-r zoned=1 $DEV'
    MOUNT = '$DEV'
    REPAIR = '$DEV'
    # Sectors, by the guest and its garbage collection
    WRITTEN = "awk '{print $7}' /sys/block/${DEV#/dev/}/stat"

    @classmethod
    def boot(cls):
        super().boot()
        if cls.run_script('mkfs.xfs 2>&1 | grep -q zoned=0')[0]:
            raise unittest.SkipTest('mkfs.xfs of this guest knows no zones')
        cls.check('modprobe xfs; mkdir -p /mnt/fs')

    def setUp(self):
        self.check('mountpoint -q /mnt/fs && umount /mnt/fs\n'
                   'blkzone reset $DEV\n'
                   f'mkfs.xfs -q -f {self.MAKE} > /dev/null')
        self.mount()

    def mount(self):
        self.check(f'dmesg -C; mount -t xfs {self.MOUNT} /mnt/fs')

    def unmount(self):
        """Unmount; the file system is sound."""
        self.check(f'umount /mnt/fs; xfs_repair -n {self.REPAIR} 2> /dev/null',
                   timeout=300)
        log = self.check('dmesg')
        self.assertNotRegex(log, 'I/O error|Corruption|Shutting|WARNING')

    def written(self):
        return sum(state not in ('em', 'nw') for state, _ in self.report())

    @tap.full
    def test_remount(self):
        """files are the same after a remount; the file system is sound"""
        self.put_all()
        self.unmount()
        # 80 MB
        self.assertGreaterEqual(self.written(), 5)
        self.mount()
        self.assertFiles()
        self.unmount()

    def fill(self):
        """Return the number of files."""
        self.check(python('fill()'), timeout=600)
        return int(self.check('ls /mnt/fs | wc -l'))

    def compare(self, *args):
        self.check('echo 3 > /proc/sys/vm/drop_caches')
        return self.check(python(f'compare({", ".join(map(str, args))})'),
                          timeout=600)

    def test_collect(self):
        """nine tenths full, garbage is collected and no file changed by it"""
        files = self.fill()
        before = int(self.check(self.WRITTEN))
        self.check(python('churn()\nchurn()'), timeout=600)
        written = (int(self.check(self.WRITTEN)) - before) * 512
        # What was in the zones with what is new has been moved
        self.assertGreater(written, files // 2 * 2 * MIB * 5 // 4)
        self.assertEqual(self.compare(), f'{files} files\n')
        self.unmount()
        self.mount()
        self.assertEqual(self.compare(), f'{files} files\n')
        self.unmount()

    @restarts
    def test_kill(self):
        """files that were synced are there after SIGKILL"""
        self.put_all()
        self.check('sync')
        self.kill_while_writing()
        self.mount()
        self.assertFiles()
        self.unmount()

    @tap.full
    @restarts
    def test_kill_collecting(self):
        """so they are when QEMU ends while garbage is collected"""
        self.fill()
        for _ in range(3):
            self.guest.send(python('while True: churn()'))
            self.guest.wait_for('churned\n', timeout=600)
            self.reboot(kill=True)
            self.mount()
            self.assertRegex(self.compare(2), r'^\d+ files\n$')
            self.unmount()
            self.mount()


class OneDisk(Xfs, FilesCase):
    """XFS wants 300 MiB for metadata: 20 conventional zones"""
    PREFIX = 'XFS, one disk: '
    OPTIONS = SMALL_ZONES | {'size': '512M', 'zone.conventional_zones': 20}


@tap.full
class TwoDisks(Xfs, FilesCase):
    """Metadata on a disk without zones, /dev/vdb"""
    PREFIX = 'XFS, two disks: '
    OPTIONS = SMALL_ZONES | {'size': '192M'}
    MAKE = '-r zoned=1,rtdev=$DEV /dev/vdb'
    MOUNT = '-o rtdev=$DEV /dev/vdb'
    REPAIR = '-r $DEV /dev/vdb'

    @classmethod
    def attach(cls):
        return super().attach() + cls.metadata_args()

    @classmethod
    def metadata_args(cls):
        metadata = cls.dir / 'metadata.raw'
        if not metadata.exists():
            qemu_img('create', '-f', 'raw', metadata, 320 * MIB)
        return ['-drive', f'if=none,id=metadata,format=raw,file={metadata}',
                '-device', 'virtio-blk-pci,drive=metadata']


class TwoDisksNvme(Namespace, TwoDisks):
    """The zones are those of an NVMe namespace, and the other is virtio"""
    PREFIX = 'XFS, data on NVMe: '
    BLOCK = 4096
    MAKE = '-r zoned=1,rtdev=$DEV /dev/vda'
    MOUNT = '-o rtdev=$DEV /dev/vda'
    REPAIR = '-r $DEV /dev/vda'

    @classmethod
    def attach(cls):
        return Namespace.attach.__func__(cls) + cls.metadata_args()


if __name__ == '__main__':
    tap.main()
