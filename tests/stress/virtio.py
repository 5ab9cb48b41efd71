# Drivers of virtio-blk and of SCSI disks behind virtio-scsi, as many as the
# stress test needs.
#
# A request has four descriptors, and a page for what is not data.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import struct

from driver import DEPTH, PAGE, Driver, only_answer, zone_state

QUEUE = 4 * DEPTH
F_NEXT, F_WRITE = 1, 2
VERSION_1 = 1 << 32


class Queue:
    """A split virtqueue with requests of up to four descriptors"""
    def __init__(self, device, index, base):
        self.device, self.index = device, index
        self.descriptors, self.available = base, base + 16 * QUEUE
        self.used = self.available + 2 * PAGE
        self.added = self.taken = 0
        memory = device.machine.memory
        memory[base:self.used + 4 + 8 * QUEUE] = bytes(self.used + 4 + 8 * QUEUE - base)

    def add(self, slot, buffers):
        """@buffers: (address, size, does the device write it?)"""
        memory = self.device.machine.memory
        buffers = [buffer for buffer in buffers if buffer[1]]
        for i, (address, size, writable) in enumerate(buffers):
            flags = (F_WRITE if writable else 0) | (F_NEXT if i + 1 < len(buffers)
                                                    else 0)
            struct.pack_into('<QIHH', memory, self.descriptors + 16 * (4 * slot + i),
                             address, size, flags, 4 * slot + i + 1)
        self.device.machine.words.store(
            2, self.available + 4 + 2 * (self.added % QUEUE), 4 * slot)
        self.added = self.added + 1 & 0xffff

    def kick(self):
        self.device.machine.words.store(2, self.available + 2, self.added)
        self.device.machine.write(2, self.notify, self.index)

    def take(self):
        """The slots of requests that are done"""
        machine, slots = self.device.machine, []
        end = machine.words.load(2, self.used + 2)
        while self.taken != end:
            head = machine.words.load(4, self.used + 4 + 8 * (self.taken % QUEUE))
            slots.append(head // 4)
            self.taken = self.taken + 1 & 0xffff
        return slots


class VirtioDevice(Driver):
    """What both have: PCI, features, queues"""
    def __init__(self, machine, slot, number):
        super().__init__(machine, slot, number)
        self.pages = self.base + 0x40000
        self.registers = machine.place_bar(slot, 4)
        self.find_registers()
        self.write(1, 0x14, 0)
        self.write(1, 0x14, 3)
        self.features = self.negotiate()
        self.write(1, 0x14, 11)
        assert self.machine.read(1, self.common + 0x14) == 11
        self.queues = [self.set_up(i) for i in range(self.QUEUES)]
        self.queue = self.queues[-1]
        self.write(1, 0x14, 15)

    def find_registers(self):
        at = self.machine.config(self.slot, 0x34) & 0xff
        while at:
            word = self.machine.config(self.slot, at)
            if word & 0xff == 9:
                offset = self.registers + self.machine.config(self.slot, at + 8)
                kind = word >> 24
                if kind == 1:
                    self.common = offset
                elif kind == 2:
                    self.notify = offset
                    self.multiplier = self.machine.config(self.slot, at + 16)
                elif kind == 4:
                    self.configuration = offset
            at = word >> 8 & 0xff

    def write(self, size, offset, value):
        self.machine.write(size, self.common + offset, value)

    def negotiate(self):
        offered = 0
        for i in range(2):
            self.write(4, 0, i)
            offered |= self.machine.read(4, self.common + 4) << 32 * i
        wanted = VERSION_1 | self.FEATURES
        assert offered & wanted == wanted, hex(offered)
        for i in range(2):
            self.write(4, 8, i)
            self.write(4, 12, wanted >> 32 * i & 0xffffffff)
        return wanted

    def set_up(self, index):
        queue = Queue(self, index, self.base + index * 0x10000)
        self.write(2, 0x16, index)
        size = min(QUEUE, self.machine.read(2, self.common + 0x18))
        assert size == QUEUE or index < self.QUEUES - 1, size
        self.write(2, 0x18, size)
        for offset, address in ((0x20, queue.descriptors), (0x28, queue.available),
                                (0x30, queue.used)):
            self.write(4, offset, address)
            self.write(4, offset + 4, 0)
        queue.notify = (self.notify + self.multiplier *
                        self.machine.read(2, self.common + 0x1e))
        self.write(2, 0x1c, 1)
        return queue

    def moved(self, machine):
        """The machine goes on in another process."""
        self.machine = machine

    def page(self, slot):
        return self.pages + slot * PAGE

    def kick(self):
        self.queue.kick()

    def done(self):
        """(slot, status, position) of each request that is done"""
        return [(slot, *self.result(slot)) for slot in self.queue.take()]

    def submit(self, slot, op):
        self.fill(slot, op)
        self.queue.add(slot, self.describe(slot, op))


class VirtioBlk(VirtioDevice):
    QUEUES = 1
    FEATURES = 1 << 17 | 1 << 9 | 1 << 14
    CODES = {'read': 0, 'write': 1, 'flush': 4, 'zeroes': 13, 'append': 15,
             'report': 16, 'open': 18, 'close': 20, 'finish': 22, 'reset': 24,
             'reset-all': 26}
    STATUS = {0: 'ok', 1: 'io', 2: 'unsupported', 3: 'invalid', 4: 'unaligned',
              5: 'open', 6: 'active', 0xff: 'nothing'}
    #: What errors of the model are called here
    ERRORS = {'unaligned': 'unaligned', 'open': 'open', 'active': 'active'}

    def error(self, op, name):
        return self.ERRORS.get(name, 'invalid')

    def describe(self, slot, op):
        page, buffer = self.page(slot), self.buffer(slot)
        sector = op.offset // 512 if op.kind not in ('flush', 'zeroes') else 0
        memory = self.machine.memory
        struct.pack_into('<IIQ', memory, page, self.CODES[op.kind], 0, sector)
        memory[page + 64:page + 80] = b'\xff' * 16
        head, status = (page, 16, False), (page + 72, 1, True)
        if op.kind == 'zeroes':
            struct.pack_into('<QII', memory, page + 16, op.offset // 512,
                             op.size // 512, 0)
            return [(page, 32, False), status]
        if op.kind == 'write':
            return [head, (buffer, op.size, False), status]
        if op.kind == 'append':
            return [head, (buffer, op.size, False), (page + 64, 9, True)]
        if op.kind in ('read', 'report'):
            return [head, (buffer, op.size, True), status]
        return [head, status]

    def result(self, slot):
        sector, status = struct.unpack_from('<QB', self.machine.memory,
                                            self.page(slot) + 64)
        return self.STATUS.get(status, f'status {status}'), sector * 512

    def size(self):
        return self.machine.read(8, self.configuration) * 512

    def report(self, op):
        """(state, start, capacity, write pointer from the start) of all zones"""
        status, _ = self.now(op)
        assert status == 'ok', status
        data = self.data(0, op.size)
        count, = struct.unpack_from('<Q', data)
        zones = []
        for i in range(count):
            cap, start, wp, _, state = struct.unpack_from('<QQQBB', data, 64 + 64 * i)
            zones.append((zone_state(state), 512 * start, 512 * cap, 512 * (wp - start)))
        return zones


class Scsi(VirtioDevice):
    QUEUES = 3
    FEATURES = 0
    BLOCK = 512
    SENSE = {(5, 0x21, 0x04): 'unaligned', (5, 0x21, 0x05): 'boundary',
             (5, 0x24, 0x00): 'invalid', (7, 0x27, 0x08): 'rdonly',
             (7, 0x2c, 0x0e): 'offline', (7, 0x55, 0x0e): 'open',
             (5, 0x21, 0x00): 'range', (5, 0x21, 0x07): 'boundary'}
    ACTIONS = {'close': 1, 'finish': 2, 'open': 3, 'reset': 4}

    def __init__(self, machine, slot, number):
        super().__init__(machine, slot, number)
        self.attention()

    def attention(self):
        """Take what the disk has to say before it obeys"""
        while self.command(bytes(6))[0] != 'ok':
            pass

    def error(self, op, name):
        return {'full': 'invalid', 'transition': 'invalid'}.get(name, name)

    def cdb(self, op):
        lba, count = op.offset // self.BLOCK, op.size // self.BLOCK
        if op.kind in ('read', 'write'):
            return struct.pack('>BBQIBB', 0x88 if op.kind == 'read' else 0x8a,
                               op.fua << 3, lba, count, 0, 0)
        if op.kind == 'zeroes':
            return struct.pack('>BBQIBB', 0x93, 1, lba, count, 0, 0)
        if op.kind == 'flush':
            return struct.pack('>BBQIBB', 0x91, 0, 0, 0, 0, 0)
        if op.kind == 'report':
            return struct.pack('>BBQIBB', 0x95, 0, lba, op.size, 0, 0)
        action, everything = (op.kind.removesuffix('-all'), op.kind.endswith('-all'))
        return struct.pack('>BBQIBB', 0x94, self.ACTIONS[action], lba, 0, everything, 0)

    def place(self, slot, cdb, written=0, read=0):
        page, memory = self.page(slot), self.machine.memory
        memory[page:page + 512] = bytes(512)
        memory[page:page + 8] = bytes((1, 0, 0x40, 0, 0, 0, 0, 0))
        struct.pack_into('<Q', memory, page + 8, slot + 1)
        memory[page + 19:page + 19 + len(cdb)] = cdb
        memory[page + 256 + 11] = 0xff
        return [(page, 51, False), (self.buffer(slot), written, False),
                (page + 256, 108, True), (self.buffer(slot), read, True)]

    def describe(self, slot, op):
        return self.place(slot, self.cdb(op), op.size if op.kind == 'write' else 0,
                          op.size if op.kind in ('read', 'report') else 0)

    def command(self, cdb, read=0):
        self.queue.add(0, self.place(0, cdb, 0, read))
        self.kick()
        return only_answer(self.done, cdb)[1:]

    def result(self, slot):
        at, memory = self.page(slot) + 256, self.machine.memory
        status, response = memory[at + 10], memory[at + 11]
        if response:
            return f'response {response}', None
        if status == 0:
            return 'ok', None
        sense = memory[at + 12:at + 12 + 18]
        key = (sense[2] & 15, sense[12], sense[13])
        return self.SENSE.get(key, 'sense %x/%02x/%02x' % key), None

    def size(self):
        self.attention()
        status, _ = self.command(struct.pack('>BBQIBB', 0x9e, 0x10, 0, 32, 0, 0), 32)
        assert status == 'ok', status
        last, = struct.unpack_from('>Q', self.data(0, 8))
        return (last + 1) * self.BLOCK

    def report(self, op):
        status, _ = self.now(op)
        if status.startswith('sense 6'):
            status, _ = self.now(op)
        assert status == 'ok', status
        data = self.data(0, op.size)
        count = struct.unpack_from('>I', data)[0] // 64
        zones = []
        for i in range(count):
            _, condition, length, start, wp = struct.unpack_from('>BB6xQQQ', data,
                                                                 64 + 64 * i)
            zones.append((zone_state(condition >> 4),
                          start * self.BLOCK, length * self.BLOCK,
                          (wp - start) * self.BLOCK))
        return zones
