# An NVMe namespace on zoned qcow2 beside QEMU's namespace with zones in memory on
# a raw file: two disks of one Linux guest, in turns.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import sys
from pathlib import Path

from disks import GIB, HERE, KIB, MIB, Disk, program, zoned

sys.path.insert(0, str(HERE.parent / 'guest'))
import guest as linux

KINDS = ('fio write', 'write', 'append')
BLOCKS = {'4k': 4 * KIB, '64k': 64 * KIB}
DEPTHS = (1, 32)
# fio takes a while to start, of which CPU time has no account of its own
FIO_TIMES = 4
SIZE, ZONE_SIZE = GIB, 64 * MIB


def build_load():
    out = program.OBJ / 'tests/bench/nvme-load'
    source = HERE / 'nvme-load.c'
    if not program.is_current(out, [source]):
        program.run(['cc', '-O2', '-Wall', '-static', '-o', out, source])
    return out


class NvmeDisk:
    def __init__(self, name, path, driver, cache, create, options):
        self.name, self.options = name, options
        self.disk = Disk(None, name, path, driver, cache, create)
        self.device = None

    def args(self):
        self.disk.create(SIZE)
        blockdev = self.disk.blockdev | {'node-name': self.name}
        # One queue, so that writes arrive in the order in which they are sent
        return ['-blockdev', json.dumps(blockdev),
                '-device', f'nvme,id={self.name}-c,serial={self.name},'
                           'max_ioqpairs=1',
                '-device', f'nvme-ns,drive={self.name},bus={self.name}-c,nsid=1,'
                           'logical_block_size=4096,physical_block_size=4096' +
                           self.options]

    def find(self, guest):
        name = guest.check('cd /sys/class/nvme; for c in *; do '
                           f'grep -qw {self.name} $c/serial && echo $c; done; true')
        self.device = f'{name.strip()}n1'


class GuestLoad:
    """Samples of MB/s, and of QEMU's CPU nanoseconds for a request"""

    def __init__(self, measurements):
        self.options, self.say = measurements.options, measurements.say
        self.rates, self.costs = measurements.guest, measurements.guest_cpu
        directory, cache = measurements.directory, measurements.cache
        self.disks = [
            NvmeDisk('zoned', directory / 'nvme-zoned', 'qcow2', cache,
                     zoned(ZONE_SIZE), ''),
            NvmeDisk('volatile', directory / 'nvme-volatile', 'raw', cache, (),
                     f',zoned=on,zoned.zone_size={ZONE_SIZE},'
                     f'zoned.zone_capacity={ZONE_SIZE}')]
        # A disk is the easiest way for a file into the guest.
        self.tool = directory / 'nvme-load.img'
        data = build_load().read_bytes()
        self.tool.write_bytes(data + bytes(-len(data) % 512))

    def measure(self):
        args = ['-blockdev', 'driver=raw,node-name=tool,read-only=on,'
                             f'file.driver=file,file.filename={self.tool}',
                '-device', 'virtio-blk-pci,drive=tool']
        for disk in self.disks:
            args += disk.args()
        with linux.Guest(args) as guest:
            guest.check('cat /dev/vda > /tmp/nvme-load; chmod +x /tmp/nvme-load')
            for disk in self.disks:
                disk.find(guest)
                # So that all zones have space in the file
                self.sample(guest, disk, 'append', 64 * KIB, 32, 60000)
            for n in range(self.options.rounds):
                self.say(f'NVMe in a guest: round {n + 1}')
                self.round(guest, self.disks[::-1 if n % 2 else 1])
            guest.poweroff()

    def round(self, guest, disks):
        for kind in KINDS:
            for block, size in BLOCKS.items():
                for depth in DEPTHS:
                    for disk in disks:
                        rate, main, every = self.sample(
                            guest, disk, kind, size, depth,
                            self.options.milliseconds)
                        key = kind, block, depth, disk.name
                        self.rates.add(key, rate)
                        self.costs.add((*key, 'main'), main)
                        self.costs.add((*key, 'all'), every)

    def sample(self, guest, disk, kind, size, depth, milliseconds):
        guest.check(f'blkzone reset /dev/{disk.device}; sync')
        if kind == 'fio write':
            command = (f'fio --name=job --filename=/dev/{disk.device} --direct=1 '
                       '--zonemode=zbd --rw=write --ioengine=io_uring '
                       f'--bs={size} --iodepth={depth} --time_based '
                       f'--runtime={FIO_TIMES * milliseconds}ms --output-format=json')
        else:
            command = (f'/tmp/nvme-load /dev/{disk.device.replace("nvme", "ng")} '
                       f'{kind} {size} {depth} {SIZE} {milliseconds}')
        before = self.busy(guest)
        output = guest.check(command)
        after = self.busy(guest)
        if kind == 'fio write':
            job = json.loads(output[output.index('{'):])['jobs'][0]['write']
            done = job['io_bytes']
            nanoseconds = job['runtime'] * 1e6
        else:
            done, nanoseconds = map(int, output.split())
        return (done / nanoseconds * 1000,
                *((b - a) / (done / size) for a, b in zip(before, after)))

    def busy(self, guest):
        """Nanoseconds that QEMU's main thread has run, and all that there are"""
        pid = guest.proc.pid
        threads = {int(path.parent.name): int(path.read_text().split()[0])
                   for path in Path(f'/proc/{pid}/task').glob('*/schedstat')}
        return threads[pid], sum(threads.values())


def measure(measurements):
    linux.prepare()
    GuestLoad(measurements).measure()
