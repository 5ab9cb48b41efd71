# A disk under test: its images, its front end, and its model.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import functools
import json
import os
import subprocess

from driver import DEPTH
from explain import explain
from machine import Machine, wait_until
from model import (ACTIVE, CONV, EMPTY, OFFLINE, SECTOR, Disk, Op, Rules, Wrong,
                   content, describe_sector)
from nvme import Nvme
from virtio import Scsi, VirtioBlk

KiB = 1024
ZONE = 256 * KiB
ZONES = 20
MAX_ZONES = 26
LENGTHS = (1, 1, 2, 4, 8, 16)       # blocks of 4 KiB of a write
CHANGES = ('write', 'append', 'zeroes', 'reset', 'finish', 'condition')
#: Operations, and how often
MIX = {'write': 40, 'append': 20, 'zeroes': 4, 'read': 12, 'flush': 6, 'reset': 6,
       'finish': 3, 'open': 5, 'close': 5, 'report': 1}


def qemu_img(*arguments, good=(0,)):
    done = subprocess.run([Machine.qemu_img, *map(str, arguments)], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode not in good:
        raise Wrong(f'qemu-img {" ".join(map(str, arguments))}: status '
                    f'{done.returncode}: {done.stdout.strip()}')
    return done.stdout


class Target:
    """What differs between front ends is in the classes below."""
    MIX, ALL = MIX, ('reset-all',)
    FUA = ()                    # operations that may have the flag
    migrates = resizes = True
    qdev = property(lambda self: self.name)

    def __init__(self, directory, rng):
        self.directory, self.machine, self.driver = directory, None, None
        self.cluster = rng.choice((4, 16, 64)) * KiB
        self.rules = self.make_rules(rng)
        self.disk = Disk(self.rules, ZONES)
        self.images = [directory / f'{self.name}.qcow2']
        self.sizes = [ZONES]        # in zones, of the backing files
        # Images that may have less than the one below them, to which that above them was
        # committed without becoming the guest's
        self.behind = set()
        self.overlays = 0
        self.node = f'{self.name}-0'
        self.snapshots = {}         # of the newest image: name -> what it has, or None
        self.bitmaps = {}           # name -> what the disk had
        self.throttled = False
        self.job = self.backup = None
        self.create(self.images[0], ZONES)

    def create(self, path, zones):
        rules = self.rules
        qemu_img('create', '-f', 'qcow2', '-o',
                 f'cluster_size={self.cluster},zone.mode=host-managed,'
                 f'zone.size={rules.zone_size},zone.capacity={rules.capacity},'
                 f'zone.conventional_zones={rules.conventional},'
                 f'zone.max_open_zones={rules.max_open},'
                 f'zone.max_active_zones={rules.max_active},'
                 f'zone.max_append_bytes={rules.max_append}',
                 path, zones * rules.zone_size)

    def power_on(self, machine):
        self.machine = machine
        self.driver = self.make_driver(machine)

    def file_options(self, discard):
        self.node = f'{self.name}-{self.overlays}'
        more = ',discard=unmap' if discard else ''
        return ['-blockdev', f'driver=qcow2,node-name={self.node}{more},'
                             f'file.driver=file,file.filename={self.images[-1]}'
                             + more.replace('discard', 'file.discard')]

    # --- Operations ---

    def error(self, op, name):
        return 'failed' if op.kind == 'condition' else self.driver.error(op, name)

    def random_ops(self, rng, count, number):
        """
        So many operations to be in flight together.  Where they go depends on
        what the zones are like.
        """
        zones = len(self.disk.zones)
        active = [i for i, zone in enumerate(self.disk.zones) if zone.state in ACTIVE]
        favourites = [rng.choice(active) if active and rng.random() < 0.6 else
                      rng.randrange(zones) for _ in range(rng.choice((1, 2, 4, 6)))]
        expected = [zone.wp for zone in self.disk.zones]
        if rng.random() < 0.02:
            kind = rng.choice(self.ALL)
            return [Op(kind, number=number)]
        ops = []
        for n in range(count):
            kind = rng.choices(list(self.MIX), self.MIX.values())[0]
            zone = rng.choice(favourites)
            ops.append(self.make_op(rng, kind, zone, number + n, n, expected))
        return ops

    def make_op(self, rng, kind, zone, number, n, expected):
        rules, start = self.rules, self.disk.start(zone)
        op = Op(kind, zone, start, number=number)
        size = 4 * KiB * rng.choice(LENGTHS)
        if rng.random() < 0.3:
            size = max(rules.block, size - rules.block * rng.randrange(
                4 * KiB // rules.block))
        odd = rng.random()
        somewhere = rng.randrange(rules.zone_size // rules.block) * rules.block
        if kind in ('write', 'zeroes'):
            if zone < rules.conventional:
                # Apart from others in flight
                part = rules.zone_size // 32
                size = min(size, part)
                op.offset += n % 32 * part + min(somewhere % part, part - size)
            elif odd < 0.05:
                op.offset += min(somewhere, rules.zone_size - rules.block)
            else:
                op.offset += expected[zone]
                if odd < 0.9:
                    size = min(size, max(rules.capacity - expected[zone], rules.block))
                expected[zone] = min(expected[zone] + size, rules.capacity)
            last = len(self.disk.zones) * rules.zone_size
            if op.offset >= last:
                op.offset = last - rules.block
            size = min(size, last - op.offset)
            op.size = size
            op.zone = op.offset // rules.zone_size
        elif kind == 'append':
            op.size = min(size, rules.max_append)
            expected[zone] = min(expected[zone] + op.size, rules.capacity)
        elif kind == 'read':
            op.offset += min(somewhere, rules.zone_size - size)
            op.size = size
        elif kind == 'report':
            op.size = 4096
        elif kind == 'reset':
            expected[zone] = 0
        if kind in self.FUA:
            op.fua = rng.random() < 0.1
        if kind in ('write', 'append'):
            op.data = content(number, op.size)
        return op

    def durable_op(self, rng, number):
        """One with FUA, None if the front end has not that"""
        if not self.FUA:
            return None
        zones = self.disk.zones
        good = [i for i, zone in enumerate(zones) if zone.state in (EMPTY, *ACTIVE)]
        op = self.make_op(rng, rng.choice(self.FUA), rng.choice(good or [0]), number, 0,
                          [zone.wp for zone in zones])
        op.fua = True
        return op

    def submit(self, ops):
        assert len(ops) <= DEPTH
        self.slots = dict(enumerate(ops))
        for slot, op in self.slots.items():
            self.driver.submit(slot, op)

    def is_ended(self, zone):
        """Is a reset or finish in flight?"""
        return any(op.kind.endswith('-all') or
                   op.zone == zone and op.kind in ('reset', 'finish')
                   for op in self.slots.values())

    def poll(self, order):
        """Take what is done, and add it to @order; True when all is."""
        for slot, status, position in self.driver.done():
            op = self.slots.pop(slot, None)
            if not op:
                raise Wrong(f'{self.name}: {status} for request {slot}, which is not '
                            'in flight')
            op.status, op.position = status, position
            if op.kind == 'read' and status == 'ok':
                op.answer = self.driver.data(slot, op.size)
            order.append(op)
        return not self.slots

    def check(self, order):
        """All operations in @order were in flight together; what it was right?"""
        changed = {op.zone for op in order if op.kind in CHANGES}
        everything = any(op.kind.endswith('-all') for op in order)
        for op in order:
            if op.answer is not None and op.zone not in changed and not everything:
                expected = self.disk.data[op.offset:op.offset + op.size]
                if op.answer != expected:
                    self.tell_difference(op.offset, op.answer, expected)
        read = functools.cache(self.read_zone)
        explain(self.disk, order, self.report(), self.error, read)

    def read_zone(self, zone):
        self.driver.now(Op('read', zone, self.disk.start(zone), ZONE))
        return self.driver.data(0, ZONE)

    def tell_difference(self, offset, seen, expected):
        for at in range(0, len(expected), SECTOR):
            if seen[at:at + SECTOR] != expected[at:at + SECTOR]:
                zone = (offset + at) // ZONE
                raise Wrong(f'zone {zone} at {(offset + at) % ZONE:#x}: '
                            f'{describe_sector(seen[at:at + SECTOR])} instead of '
                            f'{describe_sector(expected[at:at + SECTOR])}')

    def report(self):
        """(state, write pointer) of each zone; their places must be right."""
        found = self.driver.report(Op('report', size=4096))
        rules = self.rules
        if len(found) != len(self.disk.zones):
            raise Wrong(f'{len(found)} zones instead of {len(self.disk.zones)}')
        for i, (state, start, capacity, _) in enumerate(found):
            if (start, capacity) != (i * rules.zone_size, self.disk.cap(i)) or \
                    (state == CONV) != (i < rules.conventional):
                raise Wrong(f'zone {i} is {state} at {start:#x}+{capacity:#x}')
        return [(state, wp) for state, _, _, wp in found]

    def contents(self):
        """All zones, None for those that are offline"""
        found = {}
        for first in range(0, len(self.disk.zones), DEPTH):
            zones = range(first, min(first + DEPTH, len(self.disk.zones)))
            ops = [Op('read', i, self.disk.start(i), ZONE) for i in zones]
            order = []
            self.submit(ops)
            self.driver.kick()
            wait_until(lambda: self.poll(order), 'reads of all zones',
                       self.machine.clock)
            found |= {op.zone: op for op in order}
        return [found[i].answer if found[i].status == 'ok' else None
                for i in range(len(self.disk.zones))]

    def compare(self):
        """All of the disk"""
        for i, seen in enumerate(self.contents()):
            zone = self.disk.zones[i]
            if (seen is None) != (zone.state == OFFLINE):
                raise Wrong(f'zone {i}, {zone.state}, could '
                            f'{"not " if seen is None else ""}be read')
            if seen is not None and seen != self.disk.content(i):
                self.tell_difference(self.disk.start(i), seen, self.disk.content(i))
        if self.driver.size() != len(self.disk.data):
            raise Wrong(f'size {self.driver.size()} instead of {len(self.disk.data)}')

    # --- Between lives ---

    def check_images(self, crashed):
        self.bitmaps = {}
        self.forget_backup()
        self.throttled = False
        if self.job:
            self.job_was_cut()
        for image in self.images:       # jobs write those below, too
            if crashed:
                self.repair_leaks(image)
            else:
                qemu_img('check', '-q', image)

    def job_was_cut(self):
        """It has ended with QEMU; the images may be those before or after it."""
        chain = json.loads(qemu_img('info', '--output=json', '--backing-chain',
                                    self.images[-1]))
        names = {image['filename'] for image in chain}
        for n in reversed(range(len(self.images))):
            if str(self.images[n]) not in names:
                self.drop_images(n, n + 1)
        self.job.cut()
        self.job = None

    def drop_images(self, first, end):
        """They are no longer in the chain."""
        self.sizes[len(self.images) - 1:] = [len(self.disk.zones)]
        self.behind.difference_update(self.images[first:end])
        for image in self.images[first:end]:
            image.unlink()
        del self.images[first:end], self.sizes[first:end]

    def leave_images(self, first, end):
        """
        They are no longer in the chain.  Nodes that were not made for an overlay stay,
        with what is below them, until they are deleted.
        """
        for image in reversed(self.images[first:end]):
            for node in self.nodes_of(image):
                self.machine.qmp('blockdev-del', node_name=node)
            qemu_img('check', '-q', '-U', image)    # the disk may have those below it
        self.drop_images(first, end)

    def nodes_of(self, image):
        return [node['node-name'] for node in self.machine.qmp('query-named-block-nodes')
                if node['drv'] == 'qcow2' and node['file'] == str(image)]

    def node_of_guest(self):
        return next(device['inserted']['node-name']
                    for device in self.machine.qmp('query-block')
                    if device.get('qdev') == self.qdev)

    def forget_backup(self):
        """There is no next one to it."""
        if self.backup:
            self.backup.path.unlink()
            self.backup = None

    def forget_snapshots(self):
        """Nobody knows what they have."""
        self.snapshots = dict.fromkeys(self.snapshots)

    @staticmethod
    def repair_leaks(image):
        """
        A crash may leave clusters that nobody refers to, nothing worse.  Those past the
        end of the file are not checked before something is written there.
        """
        size = image.stat().st_size
        os.truncate(image, size + 16 * KiB * KiB)
        qemu_img('check', '-q', image, good=(0, 3))
        qemu_img('check', '-q', '-r', 'leaks', image)
        os.truncate(image, size)

    def commit(self):
        """Bring the overlays into the image."""
        self.sizes[len(self.images) - 1:] = [len(self.disk.zones)]
        while len(self.images) > 1:
            top, size = self.images[-1], self.sizes[-1]
            if size < self.sizes[-2]:
                qemu_img('commit', '-q', top, good=(1,))
                return
            qemu_img('commit', '-q', top)
            top.unlink()
            self.images.pop()
            self.behind.discard(self.images[-1])
            self.sizes[-2:] = [size]
            self.snapshots = {}
            qemu_img('check', '-q', self.images[-1])

    def qmp_zones(self):
        """What QMP says of the zones"""
        return self.machine.qmp('query-block-zones', node_name=self.node)['zones']

    def dirty(self, name):
        """Ranges (offset, length) that a bitmap has"""
        machine, path = self.machine, self.directory / 'nbd'
        machine.qmp('block-dirty-bitmap-disable', node=self.node, name=name)
        machine.qmp('nbd-server-start', addr={'type': 'unix',
                                              'data': {'path': str(path)}})
        machine.qmp('block-export-add', type='nbd', id='export', name='disk',
                    node_name=self.node, bitmaps=[name])
        found = json.loads(qemu_img(
            'map', '--output=json', '--image-opts',
            f'driver=nbd,server.type=unix,server.path={path},export=disk,'
            f'x-dirty-bitmap=qemu:dirty-bitmap:{name}'))
        machine.qmp('nbd-server-stop')
        return [(r['start'], r['length']) for r in found if not r['data']]

    def check_bitmap(self, name):
        before, now = self.bitmaps.pop(name), self.disk.data
        covered = bytearray(len(now) // SECTOR)
        for start, length in self.dirty(name):
            first, last = start // SECTOR, (start + length) // SECTOR
            covered[first:last] = b'\1' * (last - first)
        for at in range(0, min(len(before), len(now)), 4 * KiB):
            if before[at:at + 4 * KiB] != now[at:at + 4 * KiB]:
                for n in range(at, at + 4 * KiB, SECTOR):
                    if before[n:n + SECTOR] != now[n:n + SECTOR] and \
                            not covered[n // SECTOR] and \
                            self.disk.zones[n // ZONE].state != OFFLINE:
                        raise Wrong(f'bitmap {name}: zone {n // ZONE} at {n % ZONE:#x} '
                                    'has changed and is not dirty')
        self.machine.qmp('block-dirty-bitmap-remove', node=self.node, name=name)


class VirtioTarget(Target):
    name, slot, number = 'virtio', 4, 0
    qdev = '/machine/peripheral/virtio/virtio-backend'

    def make_rules(self, rng):
        return Rules(ZONE, 192 * KiB, 2, rng.choice((2, 3)), rng.choice((4, 5, 0)),
                     64 * KiB, SECTOR)

    def options(self, thread):
        more = ',iothread=thread' if thread else ''
        return ['-device', f'virtio-blk-pci,id={self.name},drive={self.node},'
                           f'addr={self.slot:x},disable-legacy=on,queue-size=256,'
                           f'num-queues=1{more}']

    def make_driver(self, machine):
        return VirtioBlk(machine, self.slot, self.number)


class ScsiTarget(Target):
    name, slot, number = 'scsi', 5, 1
    MIX = {kind: weight for kind, weight in MIX.items() if kind != 'append'}
    ALL = ('reset-all', 'finish-all', 'close-all')
    FUA = ('write',)

    def make_rules(self, rng):
        return Rules(ZONE, ZONE, 2, rng.choice((2, 3)), 0, 64 * KiB, SECTOR,
                     lenient=True)

    def options(self, thread):
        more = ',iothread=thread' if thread else ''
        return ['-device', f'virtio-scsi-pci,id=adapter,addr={self.slot:x},'
                           f'disable-legacy=on,num_queues=1,virtqueue_size=256{more}',
                '-device', f'scsi-hd,id={self.name},bus=adapter.0,drive={self.node}']

    def make_driver(self, machine):
        return Scsi(machine, self.slot, self.number)


class NvmeTarget(Target):
    name, slot, number = 'nvme', 6, 2
    ALL = ('reset-all', 'finish-all', 'close-all')
    FUA = ('write', 'append', 'zeroes')
    migrates = resizes = False

    def make_rules(self, rng):
        return Rules(ZONE, 192 * KiB, 0, rng.choice((2, 3)), rng.choice((4, 5, 0)),
                     64 * KiB, 4 * KiB, closed_unwritten='closed')

    def options(self, thread):
        return ['-device', f'nvme,id=controller,serial=stress,addr={self.slot:x}',
                '-device', f'nvme-ns,id={self.name},bus=controller,drive={self.node},'
                           'logical_block_size=4096,physical_block_size=4096']

    def make_driver(self, machine):
        return Nvme(machine, self.slot, self.number)


TARGETS = {target.name: target for target in (VirtioTarget, ScsiTarget, NvmeTarget)}
