#
# What the guest tests of zoned disks share: the image, the guest that has it,
# zone reports and test patterns.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import functools
import hashlib
import itertools
import json
import math
from pathlib import Path
import re
import shutil
import subprocess
import tempfile
import time
import unittest

from guest import BUILD, Guest, GuestError, IMAGE, prepare, qemu_img
import tap

KIB = 1024
MIB = 1024 * KIB
ZONE = 64 * MIB

GEOMETRY = {
    'size': '768M',
    'zone.mode': 'host-managed',
    'zone.size': '64M',
    'zone.capacity': '64M',
    'zone.conventional_zones': 0,
    'zone.max_append_bytes': 131072,
    'zone.max_open_zones': 6,
    'zone.max_active_zones': 8,
}

NULL_BLK = '''
modprobe configfs
mount -t configfs config /sys/kernel/config
modprobe null_blk nr_devices=0
dir=/sys/kernel/config/nullb/nullb0
mkdir $dir
set_all() { for kv; do echo ${kv#*=} > $dir/${kv%%=*}; done; }
set_all zoned=1 memory_backed=1 blocksize=512 max_sectors=2560 '''


def create_image(path, geometry):
    options = itertools.chain.from_iterable(
        ('-o', f'{key}={value}') for key, value in geometry.items())
    return qemu_img('create', '-f', 'qcow2', path, *options)


def disk_args(*paths):
    """The QEMU arguments that attach zoned images."""
    args = []
    for number, path in enumerate(paths, 1):
        args += ['-blockdev', f'node-name=drive{number},driver=qcow2,'
                              f'file.driver=file,file.filename={path}',
                 '-device', f'virtio-blk-pci,drive=drive{number}']
    return args


class StorageDaemon:
    """A storage daemon that exports a zoned image for vhost-user-blk-pci."""

    def __init__(self, path):
        # Not beside the image: the name of a socket must be short.
        self.dir = Path(tempfile.mkdtemp(prefix='zoned-'))
        self.socket = self.dir / 'disk'
        pidfile = self.dir / 'pid'
        self.proc = subprocess.Popen([
            BUILD / 'qemu-storage-daemon', '--pidfile', pidfile,
            '--blockdev', 'node-name=drive1,driver=qcow2,file.driver=file,'
                          f'file.filename={path}',
            '--export', 'vhost-user-blk,id=export1,node-name=drive1,'
                        'writable=on,num-queues=2,addr.type=unix,'
                        f'addr.path={self.socket}'])
        deadline = time.monotonic() + 60
        while not pidfile.exists():
            if self.proc.poll() is not None or time.monotonic() > deadline:
                self.end(kill=True)
                raise GuestError('the storage daemon does not start')
            time.sleep(0.05)

    def args(self):
        """The QEMU arguments that attach what it exports."""
        return ['-object', 'memory-backend-memfd,id=memory,size=1G,share=on',
                '-machine', 'memory-backend=memory',
                '-chardev', f'socket,id=disk1,path={self.socket}',
                '-device', 'vhost-user-blk-pci,chardev=disk1']

    def end(self, kill=False):
        """Let it close the image, or do not; return its exit status."""
        if kill:
            self.proc.kill()
        else:
            self.proc.terminate()
        status = self.proc.wait(60)
        shutil.rmtree(self.dir, ignore_errors=True)
        return status


def null_blk(geometry):
    """A script that makes /dev/nullb0 with this geometry."""
    def mib(option):
        return geometry[option].removesuffix('M')
    values = {
        'size': mib('size'),
        'zone_size': mib('zone.size'),
        'zone_capacity': mib('zone.capacity'),
        'zone_nr_conv': geometry['zone.conventional_zones'],
        'zone_append_max_sectors': geometry['zone.max_append_bytes'] // 512,
        'zone_max_open': geometry['zone.max_open_zones'],
        'zone_max_active': geometry['zone.max_active_zones'],
        'power': 1,
    }
    return NULL_BLK + ' '.join(f'{k}={v}' for k, v in values.items())


# pattern TEXT SIZE in the guest is pattern(TEXT, SIZE) here.
PREAMBLE = 'pattern() { yes "$1" | head -c "$2" || true; }\n'


def pattern(text, size):
    """A line of text, again and again."""
    line = f'{text}\n'.encode()
    return (line * (size // len(line) + 1))[:size]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def parse_report(text):
    """List the zones of "blkzone report": (condition, write pointer).

    Conditions are two letters as printed (em, oi, oe, cl, fu, nw); the write
    pointer is in bytes from the zone's start, None where it means nothing.
    """
    zones = []
    for line in text.splitlines():
        match = re.search(r'wptr (\S+) .*zcond:\s*\d+\((\w\w)\)', line)
        pointer, cond = match.groups()
        zones.append((cond, None if cond in ('fu', 'nw') or pointer == 'N/A'
                      else int(pointer, 16) * 512))
    return zones


EMPTY = ('em', 0)
FULL = ('fu', None)


def image_only(reason):
    """Decorate a test that makes no sense on other disks."""
    def decorate(test):
        @functools.wraps(test)
        def wrapper(self):
            if self.disk != 'image':
                self.skipTest(reason)
            test(self)
        return wrapper
    return decorate


restarts = image_only('zones in memory do not outlive it')


class ZoneCase(unittest.TestCase):
    """Cases that share one zoned disk and, until reboot(), one guest."""

    # Overrides of GEOMETRY
    OPTIONS = {}
    # The image is exported by a storage daemon
    EXPORTED = False
    # Overrides for further disks, /dev/vdb and so on
    MORE_DISKS = ()
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        prepare()
        cls.geometry = GEOMETRY | cls.OPTIONS
        cls.guest = None
        cls.disk = tap.options().disk
        if cls.disk != 'image' and (cls.EXPORTED or cls.MORE_DISKS):
            raise unittest.SkipTest(f'{cls.disk} is set up for one disk, and '
                                    'not exported')
        cls.daemon = None
        cls.dev = '/dev/nullb0' if cls.disk == 'null-blk' else '/dev/vda'
        cls.dir = Path(tempfile.mkdtemp(prefix='zoned-', dir=IMAGE))
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.images = []
        for options in ({}, *cls.MORE_DISKS) if cls.disk == 'image' else ():
            cls.images.append(cls.dir / f'zbc{len(cls.images)}.qcow2')
            create_image(cls.images[-1], cls.geometry | options)
        cls.boot()

    @classmethod
    def tearDownClass(cls):
        cls.halt()

    @classmethod
    def boot(cls):
        cls.guest = Guest([] if cls.disk == 'null-blk' else cls.attach())
        cls.addClassCleanup(cls.guest.kill)
        cls.guest.start()
        if cls.disk == 'null-blk':
            cls.check(null_blk(cls.geometry))

    @classmethod
    def attach(cls):
        """The QEMU arguments for the disks."""
        if cls.disk == 'volatile':
            raise unittest.SkipTest('zones in memory are those of NVMe')
        if not cls.EXPORTED:
            return disk_args(*cls.images)
        cls.daemon = StorageDaemon(cls.images[0])
        cls.addClassCleanup(cls.daemon.end, kill=True)
        return cls.daemon.args()

    @classmethod
    def halt(cls, kill=False):
        """End QEMU (and the storage daemon), by power-off or SIGKILL."""
        if kill:
            cls.guest.kill()
        else:
            cls.guest.poweroff()
        cls.guest.remove_log()
        if cls.daemon and cls.daemon.end(kill) and not kill:
            raise GuestError('the storage daemon failed')

    def reboot(self, kill=False):
        """Go on in a new QEMU process."""
        self.halt(kill)
        self.boot()

    @classmethod
    def run_script(cls, script, timeout=None):
        return cls.guest.run(f'DEV={cls.dev}\n{PREAMBLE}{script}', timeout)

    @classmethod
    def check(cls, script, timeout=None):
        """Run a script of which no command may fail; return its output."""
        return cls.guest.check(f'DEV={cls.dev}\n{PREAMBLE}{script}', timeout)

    def check_fails(self, script, message):
        """Run a command that must fail and say message."""
        status, output = self.run_script(script)
        self.assertNotEqual(status, 0, output)
        self.assertIn(message, output)

    def check_refused(self, script):
        """Run a write that the disk, or Linux for it, must refuse."""
        status, output = self.run_script(script)
        self.assertNotEqual(status, 0, output)
        self.assertRegex(output, '(Input/output|Remote I/O) error')

    def report(self, dev='$DEV'):
        return parse_report(self.check(f'blkzone report {dev}'))

    def zone_op(self, operation, zone):
        """The command line for an operation on one zone."""
        return f'blkzone {operation} -o {zone * ZONE // 512} -c 1 $DEV\n'

    def write(self, zone, offset, size, text):
        """The command line that writes pattern(text, size) into a zone."""
        # A short last block would not be written with O_DIRECT.
        block = math.gcd(size, 64 * KIB)
        return (f"pattern '{text}' {size} | dd of=$DEV bs={block} "
                'iflag=fullblock oflag=direct,seek_bytes conv=notrunc '
                f'status=none seek={zone * ZONE + offset}\n')

    def unwritten(self, size):
        """What reads above a write pointer give: zeroes (null_blk: ones)."""
        return (b'\xff' if self.disk == 'null-blk' else b'\0') * size

    def checksum(self, zone, offset, size):
        """The SHA-256 of what the disk has there, not of any cache."""
        output = self.check(
            'dd if=$DEV bs=64K iflag=direct,skip_bytes,count_bytes '
            f'status=none skip={zone * ZONE + offset} count={size} | sha256sum')
        return output.split()[0]

    def assertZones(self, expected):
        """expected: {zone: (condition, pointer)}; all others are empty."""
        self.assertEqual(dict(enumerate(self.report())),
                         {zone: EMPTY for zone in range(12)} | expected)

    def assertData(self, zone, offset, data):
        self.assertEqual(self.checksum(zone, offset, len(data)), sha256(data))


class Namespace(ZoneCase):
    """The disk is the only namespace of an NVMe controller."""
    PREFIX = 'NVMe, '
    BLOCK = 512

    @classmethod
    def attach(cls):
        if cls.disk == 'volatile':
            drive, options = cls.volatile()
        else:
            drive, options = ('driver=qcow2,file.driver=file,'
                              f'file.filename={cls.images[0]}'), ''
        return ['-blockdev', f'node-name=drive1,{drive}',
                '-device', 'nvme,id=nvme0,serial=zoned',
                '-device', 'nvme-ns,drive=drive1,bus=nvme0,nsid=1,'
                           f'logical_block_size={cls.BLOCK},'
                           f'physical_block_size={cls.BLOCK}{options}']

    @classmethod
    def volatile(cls):
        """A raw file, and options for a namespace with zones in memory."""
        if cls.geometry['zone.conventional_zones']:
            raise unittest.SkipTest('NVMe has no conventional zones')
        path = cls.dir / 'volatile.raw'
        qemu_img('create', '-f', 'raw', path, cls.geometry['size'])
        values = {'zone_size': 'size', 'zone_capacity': 'capacity',
                  'max_open': 'max_open_zones',
                  'max_active': 'max_active_zones'}
        return f'driver=raw,file.driver=file,file.filename={path}', ''.join(
            f',zoned.{key}={cls.geometry[f"zone.{value}"]}'
            for key, value in values.items()) + ',zoned=on'

    @classmethod
    def boot(cls):
        super().boot()
        cls.dev = '/dev/' + cls.guest.check(
            "lsblk -dno NAME,ZONED | awk '$2 == \"host-managed\" {print $1}'"
        ).strip()


class ScsiDisk(ZoneCase):
    """The disk is a SCSI disk, /dev/sda."""
    PREFIX = 'SCSI, '
    BLOCK = 512
    PHYSICAL = 512

    @classmethod
    def setUpClass(cls):
        # ZBC knows neither a limit of active zones nor a smaller capacity
        cls.OPTIONS = cls.OPTIONS | {'zone.max_active_zones': 0}
        if cls.OPTIONS.get('zone.size'):
            cls.OPTIONS['zone.capacity'] = cls.OPTIONS['zone.size']
        super().setUpClass()

    @classmethod
    def attach(cls):
        if cls.disk != 'image':
            raise unittest.SkipTest(f'{cls.disk} is no SCSI disk')
        args = ['-device', 'virtio-scsi-pci,id=scsi0']
        for lun, path in enumerate(cls.images):
            args += ['-blockdev', f'node-name=drive{lun + 1},driver=qcow2,'
                                  f'file.driver=file,file.filename={path}',
                     '-device', f'scsi-hd,drive=drive{lun + 1},bus=scsi0.0,'
                                f'scsi-id=0,lun={lun},'
                                f'logical_block_size={cls.BLOCK},'
                                f'physical_block_size={cls.PHYSICAL}']
        return args

    @classmethod
    def boot(cls):
        super().boot()
        if cls.disk == 'image':
            cls.dev = '/dev/sda'
            cls.check('modprobe -a virtio_scsi sd_mod sg\n' +
                      cls.wait_for_disk('$DEV'))

    @staticmethod
    def wait_for_disk(dev):
        """The kernel looks for disks by itself, and zones take a while."""
        return ('for i in $(seq 1000); do\n'
                f'[ "$(lsblk -dno SIZE {dev})" ] && exit; sleep 0.1\n'
                'done; exit 1')


class FilesCase(ZoneCase):
    """A file system of these tests is mounted at /mnt/fs."""
    FILES = {'small': 100, 'medium': 100_000, 'large': 80_000_000}

    def put(self, name, size):
        # In whole pages: one that is stored in two steps is in two places
        self.check(f'pattern {name} {size} | '
                   f'dd of=/mnt/fs/{name} bs=1M iflag=fullblock status=none')

    def put_all(self):
        for name, size in self.FILES.items():
            self.put(name, size)

    def assertFile(self, name, size):
        output = self.check(f'sha256sum < /mnt/fs/{name}')
        self.assertEqual(output.split()[0], sha256(pattern(name, size)))

    def assertFiles(self):
        for name, size in self.FILES.items():
            self.assertFile(name, size)

    def kill_while_writing(self):
        """SIGKILL QEMU when a file has grown a few times, and start it anew."""
        self.guest.send('i=0; while echo round $((i++)); do '
                        'head -c 300K /dev/urandom >> /mnt/fs/unsynced; '
                        'sync -d /mnt/fs/unsynced; done')
        self.guest.wait_for('round 5\n')
        self.reboot(kill=True)

    def check_after(self):
        """The image is sound, and the zones are where the guest saw them."""
        before = [pointer for _, pointer in self.report()]
        self.halt()
        self.check_images()
        self.boot()
        self.assertEqual([pointer for _, pointer in self.report()], before)

    def check_images(self):
        """qemu-img check finds no error; leaked clusters are allowed."""
        for image in self.images:
            proc = subprocess.run(
                [BUILD / 'qemu-img', 'check', '--output=json', image],
                stdout=subprocess.PIPE, text=True, check=False)
            self.assertIn(proc.returncode, (0, 3), proc.stdout)
            result = json.loads(proc.stdout)
            self.assertEqual(result['check-errors'], 0)
            self.assertEqual(result.get('corruptions', 0), 0)
