#!/usr/bin/env python3
#
# The driver host_device on a zoned disk of the host: our programs run in the
# guest, which plays the host, on its null_blk.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
from pathlib import Path
import re
import shutil
import subprocess
import tempfile
import unittest

from guest import BUILD, Guest, IMAGE, prepare
from zonetest import FULL, GEOMETRY, MIB, ZONE, null_blk, parse_report
import tap

OBJ = BUILD / 'obj'
PROGRAMS = ['qemu-img', 'qemu-io', 'qemu-nbd', 'qemu-system-x86_64',
            'storage-daemon/qemu-storage-daemon',
            'tests/unit/test-zone-threads']
IOTESTS = 'tests/qemu-iotests'
LOADER = '/lib64/ld-linux-x86-64.so.2'

# Programs of the host run with its libraries, wherever the disk is mounted.
WRAPPER = '''\
#!/bin/sh
exec /mnt/host/lib/{loader} --inhibit-cache --argv0 {name} \\
    --library-path /mnt/host/lib /mnt/host/bin/{name} "$@"
'''
SUDO = '#!/bin/sh\n[ "$1" != -n ] || shift\nexec "$@"\n'


ZONE4 = 4 * ZONE


def write_script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def bundle(top, programs=PROGRAMS):
    """Collect programs, their libraries, and QEMU's iotests in a directory."""
    for name in ('bin', 'lib', f'obj/{IOTESTS}', f'src/{IOTESTS}/tests',
                 f'src/{IOTESTS}/sample_images'):
        (top / name).mkdir(parents=True)
    libraries = {LOADER}
    for path in programs:
        name = Path(path).name
        subprocess.run(['strip', '-o', top / 'bin' / name, OBJ / path],
                       check=True)
        write_script(top / 'obj' / path,
                     WRAPPER.format(loader=Path(LOADER).name, name=name))
        listing = subprocess.run(['ldd', OBJ / path], check=True, text=True,
                                 stdout=subprocess.PIPE).stdout
        libraries.update(re.findall(r'=> (/\S+)', listing))
    for path in libraries:
        shutil.copy(path, top / 'lib')

    source = BUILD / 'qemu' / IOTESTS
    for path in (source / 'check', *source.glob('*.py'),
                 *source.glob('common.*'), *source.glob('tests/zoned*')):
        shutil.copy(path, top / 'src' / path.relative_to(BUILD / 'qemu'))
    write_script(top / 'sbin/sudo', SUDO)


def make_disk(directory, image):
    used = sum(path.lstat().st_size for path in directory.rglob('*'))
    env = os.environ | {'PATH': os.environ['PATH'] + ':/usr/sbin:/sbin'}
    image.touch()
    subprocess.run(['mke2fs', '-q', '-F', '-t', 'ext4', '-b', '4096', '-O',
                    '^has_journal', '-d', directory, image,
                    str((used * 5 // 4 + (8 << 20)) // 4096)],
                   check=True, env=env)


class HostCase(unittest.TestCase):
    """The guest has these programs of the host in /mnt/host/obj."""
    PROGRAMS = PROGRAMS
    maxDiff = None

    @classmethod
    def bundle(cls, top):
        """Collect what the guest gets as /mnt/host."""
        bundle(top, cls.PROGRAMS)

    @classmethod
    def setUpClass(cls):
        prepare()
        cls.dir = Path(tempfile.mkdtemp(prefix='host-', dir=IMAGE))
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.bundle(cls.dir / 'host')
        make_disk(cls.dir / 'host', cls.dir / 'host.img')
        cls.guest = Guest(['-blockdev', 'driver=raw,node-name=host,'
                           'read-only=on,file.driver=file,'
                           f'file.filename={cls.dir}/host.img',
                           '-device', 'virtio-blk-pci,drive=host'])
        cls.addClassCleanup(cls.guest.kill)
        cls.guest.start()
        cls.guest.check('mkdir -p /mnt/host; mount -o ro /dev/vda /mnt/host')

    @classmethod
    def tearDownClass(cls):
        cls.guest.poweroff()
        cls.guest.remove_log()

    def check(self, script, timeout=None):
        return self.guest.check(f'PATH=$PATH:/mnt/host/sbin:/mnt/host/obj\n'
                                f'{script}', timeout)


class Iotest(HostCase):
    @tap.full
    def test_zoned(self):
        """QEMU's own iotest zoned passes"""
        output = self.check('mkdir /tmp/iotest; cd /tmp/iotest\n'
                            f'python3 /mnt/host/src/{IOTESTS}/check -raw zoned '
                            f'--source-dir /mnt/host/src/{IOTESTS} '
                            f'--build-dir /mnt/host/obj/{IOTESTS}', timeout=300)
        self.assertIn('Passed all 1 iotests', output)


class LargeSectors(HostCase):
    """An image on a disk of the host with sectors of 4 KiB, O_DIRECT"""
    PROGRAMS = ['qemu-img', 'qemu-io']
    DISK = 'driver=qcow2,file.driver=host_device,file.filename=/dev/sda'
    # Writes of a zone, and how many of them at a time
    WRITES, DEPTH = 256, 32

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.guest.check('modprobe sd_mod\n'
                        'modprobe scsi_debug sector_size=4096 dev_size_mb=64\n'
                        'for i in $(seq 300); do\n'
                        '    [ -b /dev/sda ] && exit; sleep 0.1\n'
                        'done; exit 1')

    def qemu_io(self, commands, options='-n'):
        return self.check(f'qemu-io {options} --image-opts {self.DISK} '
                          "<<'END'\n" + '\n'.join(commands) + '\nEND')

    def try_writes(self, options=''):
        """Single sectors, many at a time, in three zones that are not full"""
        self.assertIn('4096', self.check('cat /sys/block/sda/queue/'
                                         'logical_block_size'))
        self.check('qemu-img create -f qcow2 -o zone.mode=host-managed,'
                   f'zone.size=1M{options} /dev/sda 4M')
        places = [(zone * MIB + 512 * i, (7 * zone + i) % 251 + 1)
                  for i in range(self.WRITES) for zone in range(3)]
        commands = []
        for i in range(0, len(places), 3 * self.DEPTH):
            commands += [f'aio_write -q -P {pattern} {offset} 512'
                         for offset, pattern in places[i:i + 3 * self.DEPTH]]
            commands += ['aio_flush']
        output = self.qemu_io(commands + ['flush'])
        self.assertNotIn('failed', output)
        output = self.qemu_io(['zrp 0 4'] +
                              [f'read -q -P {pattern} {offset} 512'
                               for offset, pattern in places], '-n -r')
        self.assertNotIn('failed', output)
        for zone in range(3):
            pointer = (zone * MIB + 512 * self.WRITES) // 512
            self.assertIn(f'wptr 0x{pointer:x},', output)
        self.check('qemu-img check /dev/sda')

    @tap.full
    def test_writes(self):
        """sectors of 512 bytes, 32 at a time in a zone, all are there"""
        self.try_writes()

    @tap.full
    def test_small_clusters(self):
        """the same with clusters that are smaller than the host's sectors"""
        self.try_writes(',cluster_size=512')


class Device(HostCase):
    """Conventional zones, capacity below zone size, limits."""
    OPTIONS = {'size': '1024M', 'zone.capacity': '48M',
               'zone.conventional_zones': 3, 'zone.max_append_bytes': 131072}

    def setUp(self):
        self.check('rmdir /sys/kernel/config/nullb/nullb0 2>/dev/null || true\n'
                   'mountpoint -q /sys/kernel/config || modprobe configfs\n' +
                   null_blk(GEOMETRY | self.OPTIONS).replace(
                       'mount -t configfs', 'mountpoint -q /sys/kernel/config '
                       '|| mount -t configfs'))

    def qemu_io(self, *commands, fails=False):
        """Run commands in one qemu-io; return what it prints."""
        words = ' '.join(f"-c '{command}'" for command in commands)
        status, output = self.guest.run(
            '/mnt/host/obj/qemu-io --image-opts -n '
            f'driver=host_device,filename=/dev/nullb0 {words}')
        self.assertEqual(status != 0, fails, output)
        return output

    def zone(self, number):
        return parse_report(self.check('blkzone report /dev/nullb0'))[number]

    def assertAppended(self, output, offset):
        self.assertIn(f'append sector is 0x{offset // 512:x}\n', output)

    def assertReport(self):
        """qemu-io and the kernel say the same of all zones."""
        kernel = [(int(start, 16), int(cap, 16), int(cond))
                  for start, cap, cond in re.findall(
                      r'start: 0x(\w+), len 0x\w+, cap 0x(\w+), .*'
                      r'zcond: ?(\d+)', self.check('blkzone report '
                                                   '/dev/nullb0'))]
        ours = [(int(start, 16), int(cap, 16), int(cond))
                for start, cap, cond in re.findall(
                    r'start: 0x(\w+), len 0x\w+, cap 0x(\w+), .*'
                    r'zcond: ?(\d+)', self.qemu_io('zrp 0 100'))]
        self.assertEqual(ours, kernel)

    def test_report(self):
        """a report has types, capacities and states as the kernel has them"""
        self.check('blkzone finish -o $((5 << 17)) -c 1 /dev/nullb0')
        self.assertReport()

    def test_write(self):
        """writes at the pointer work, those elsewhere fail and move nothing"""
        self.qemu_io(f'write {ZONE4} 64k', f'write {ZONE4 + 65536} 64k')
        self.qemu_io(f'write {ZONE4 + MIB} 64k', fails=True)
        self.qemu_io(f'write {ZONE4 + 131072} 4k')
        self.assertEqual(self.zone(4)[1], 135168)

    def test_capacity(self):
        """a write beyond the capacity fails, one up to it works"""
        end = ZONE4 + 48 * MIB
        self.qemu_io(*(f'write {offset} 4M'
                       for offset in range(ZONE4, end - 4 * MIB, 4 * MIB)),
                     f'write {end - 4 * MIB} 4092k')
        self.qemu_io(f'write {end - 4096} 8k', fails=True)
        self.qemu_io(f'write {end - 4096} 4k')
        self.assertEqual(self.zone(4), FULL)

    def test_after_write_error(self):
        """an append after a failed write goes to the write pointer"""
        output = self.qemu_io(f'write {ZONE4} 64k', f'write {ZONE4 + MIB} 64k',
                              f'zap -p {ZONE4} 4k', fails=True)
        self.assertIn('write failed', output)
        self.assertAppended(output, ZONE4 + 65536)
        self.assertEqual(self.zone(4)[1], 65536 + 4096)

    def test_after_append_error(self):
        """an append after a failed append goes to the write pointer"""
        # Nothing can be written while six other zones are explicitly open.
        self.check('blkzone open -o $((5 << 17)) -c 6 /dev/nullb0')
        output = self.qemu_io(f'zap -p {ZONE4} 4k',
                              f'zc {ZONE4 + ZONE} {6 * ZONE}',
                              f'zap -p {ZONE4} 4k', fails=True)
        self.assertIn('failed', output)
        self.assertAppended(output, ZONE4)
        self.assertEqual(self.zone(4)[1], 4096)

    def test_depth(self):
        """32 appends at a time to one zone all land where they are said to"""
        output = self.check(
            '/mnt/host/obj/tests/unit/test-zone-threads --tap '
            """'json:{"driver": "host_device", "cache": {"direct": true},"""
            """ "filename": "/dev/nullb0"}'""", timeout=300)
        self.assertNotIn('not ok', output)
        self.assertEqual(output.count('\nok '), 2, output)

    def daemon(self, cache):
        """Let qemu-storage-daemon export the disk; return status and output."""
        return self.guest.run(
            '/mnt/host/obj/storage-daemon/qemu-storage-daemon '
            '--blockdev driver=host_device,node-name=node,'
            f'filename=/dev/nullb0,cache.direct={cache} '
            '--nbd-server addr.type=unix,addr.path=/tmp/nbd '
            '--export type=nbd,id=export,node-name=node,writable=on '
            '--daemonize --pidfile /tmp/pid && kill $(cat /tmp/pid)')

    def test_daemon(self):
        """qemu-storage-daemon exports the disk"""
        self.assertEqual(self.daemon('on'), (0, ''))

    def test_page_cache(self):
        """writing through the page cache of the host is refused"""
        status, output = self.daemon('off')
        self.assertEqual(status, 1)
        self.assertIn('cache.direct=on', output)


if __name__ == '__main__':
    tap.main()
