# A zoned SCSI disk beside a SCSI disk on a raw file and a zoned virtio-blk disk:
# disks of one Linux guest, in turns.  So are two of Linux's null_blk, with zones
# and without: by what the zones cost there, QEMU's part can be told from Linux's.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json

from disks import GIB, KIB, MIB, Disk, zoned
from guest_load import FIO_TIMES, GuestLoad, linux
from measure import NULL_PLAIN, NULL_ZONED

WORKS = ('write', 'read')
BLOCKS = {'4k': 4 * KIB, '64k': 64 * KIB}
DEPTHS = (1, 32)
# The cells of work and depth with the time of one request in them
CONTROL = 'write', 1
SIZE, ZONE_SIZE = GIB, 64 * MIB

SCSI = 'scsi-hd,bus=scsi0.0,scsi-id={}'
BLOCK_OF_SCSI = '/sys/bus/scsi/devices/0:0:{}:0/block'


class GuestDisk:
    """@device is what QEMU makes of the node, @block where the guest has it."""
    def __init__(self, name, path, driver, cache, create, device, block):
        self.name, self.node, self.block = name, f'node-{name}', block
        self.device, self.is_zoned = device, bool(create)
        self.disk = Disk(None, name, path, driver, cache, create)

    def args(self):
        self.disk.create(SIZE)
        blockdev = self.disk.blockdev | {'node-name': self.node}
        return ['-blockdev', json.dumps(blockdev), '-device',
                f'{self.device},drive={self.node},'
                'logical_block_size=4096,physical_block_size=4096']

    def find(self, guest):
        self.dev = guest.check(
            'for i in $(seq 300); do\n'
            f'ls {self.block} 2>/dev/null | grep . && exit; sleep 0.1\n'
            'done; exit 1').strip()
        guest.check(f'until [ $(cat /sys/block/{self.dev}/size) != 0 ]; do '
                    'sleep 0.1; done')


class NullDisk:
    """A disk that Linux makes up: nothing of QEMU takes part"""
    def __init__(self, name, settings):
        self.name = self.dev = name
        self.is_zoned = 'zoned' in settings
        self.settings = {'size': SIZE // MIB, 'blocksize': 4096} | settings

    def find(self, guest):
        settings = '; '.join(f'echo {value} > {key}'
                             for key, value in self.settings.items())
        guest.check('modprobe null_blk nr_devices=0\n'
                    'cd /sys/kernel/config\n'
                    '[ -d nullb ] || mount -t configfs config .\n'
                    f'cd /sys/kernel/config/nullb; mkdir {self.name}; '
                    f'cd {self.name}; {settings}; echo 1 > power\n'
                    f'until [ -b /dev/{self.dev} ]; do sleep 0.1; done')


class ScsiLoad:
    """Samples of MB/s, and of QEMU's CPU nanoseconds for a request"""
    busy = GuestLoad.busy

    def __init__(self, measurements):
        self.options, self.say = measurements.options, measurements.say
        self.rates, self.costs = measurements.scsi, measurements.scsi_cpu
        directory, cache = measurements.directory, measurements.cache
        self.disks = [
            GuestDisk(name, directory / f'scsi-{name}', driver, cache, create,
                      device, block)
            for name, driver, create, device, block in (
                ('zoned', 'qcow2', zoned(ZONE_SIZE), SCSI.format(0),
                 BLOCK_OF_SCSI.format(0)),
                ('raw', 'raw', (), SCSI.format(1), BLOCK_OF_SCSI.format(1)),
                ('virtio-blk', 'qcow2', zoned(ZONE_SIZE), 'virtio-blk-pci',
                 '/sys/bus/virtio/drivers/virtio_blk/virtio*/block'))]
        self.controls = [
            NullDisk(NULL_ZONED, {'zoned': 1, 'zone_size': ZONE_SIZE // MIB}),
            NullDisk(NULL_PLAIN, {})]

    def measure(self):
        args = ['-device', 'virtio-scsi-pci,id=scsi0']
        for disk in self.disks:
            args += disk.args()
        with linux.Guest(args) as guest:
            guest.check('modprobe -a virtio_scsi sd_mod')
            for disk in self.disks:
                disk.find(guest)
                # So that all of it has space in the file
                self.sample(guest, disk, 'write', 64 * KIB, 32, 15000)
            for disk in self.controls:
                disk.find(guest)
            for n in range(self.options.rounds):
                self.say(f'SCSI in a guest: round {n + 1}')
                self.round(guest, -1 if n % 2 else 1)
            guest.poweroff()

    def round(self, guest, step):
        for work in WORKS:
            for block, size in BLOCKS.items():
                for depth in DEPTHS:
                    is_control = (work, depth) == CONTROL
                    disks = self.disks + self.controls * is_control
                    for disk in disks[::step]:
                        rate, main, every = self.sample(
                            guest, disk, work, size, depth,
                            FIO_TIMES * self.options.milliseconds)
                        key = work, block, depth, disk.name
                        self.rates.add(key, rate)
                        self.costs.add((*key, 'main'), main)
                        self.costs.add((*key, 'all'), every)

    def sample(self, guest, disk, work, size, depth, milliseconds):
        if work == 'write':
            reset = f'blkzone reset /dev/{disk.dev}; ' if disk.is_zoned else ''
            guest.check(f'{reset}sync')
        # Of all disks, because fio's own zones cost a tenth of a write here
        zonemode = f'--zonemode=zbd --zonesize={ZONE_SIZE} ' \
                   if work == 'write' else ''
        command = (f'fio --name=job --filename=/dev/{disk.dev} --direct=1 '
                   f'{zonemode}--rw={work} --ioengine=io_uring --bs={size} '
                   f'--iodepth={depth} --time_based --runtime={milliseconds}ms '
                   '--output-format=json')
        before = self.busy(guest)
        output = guest.check(command)
        after = self.busy(guest)
        job = json.loads(output[output.index('{'):])['jobs'][0][work]
        done = max(job['io_bytes'], 1)
        return (done / (job['runtime'] * 1e6) * 1000,
                *((b - a) / (done / size) for a, b in zip(before, after)))


def measure(measurements):
    linux.prepare()
    ScsiLoad(measurements).measure()
