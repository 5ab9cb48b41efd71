# A driver of an NVMe controller with a zoned namespace
#
# SPDX-License-Identifier: GPL-2.0-or-later

import struct

from driver import BUFFER, DEPTH, PAGE, Driver, only_answer, zone_state

ENTRIES = DEPTH + 1
BLOCK = 4096
OPCODES = {'flush': 0, 'write': 1, 'read': 2, 'zeroes': 8, 'append': 0x7d,
           'report': 0x7a}
ACTIONS = {'close': 1, 'finish': 2, 'open': 3, 'reset': 4}
STATUS = {0: 'ok', 0x1b8: 'boundary', 0x1b9: 'full', 0x1ba: 'rdonly',
          0x1bb: 'offline', 0x1bc: 'unaligned', 0x1bd: 'active', 0x1be: 'open',
          0x1bf: 'transition', 0x80: 'range', 0x02: 'field'}
MANAGEMENT = ('open', 'close', 'finish', 'reset')


class Ring:
    """A submission queue and its completion queue"""
    def __init__(self, device, index, base):
        self.device, self.index = device, index
        self.submissions, self.completions = base, base + 2 * PAGE
        self.tail = self.head = 0
        self.phase = 1
        memory = device.machine.memory
        memory[base:base + 4 * PAGE] = bytes(4 * PAGE)

    def doorbell(self, completion, value):
        self.device.machine.write(4, self.device.registers + 0x1000 +
                                  8 * self.index + 4 * completion, value)

    def add(self, words):
        struct.pack_into('<16I', self.device.machine.memory,
                         self.submissions + 64 * self.tail, *words)
        self.tail = (self.tail + 1) % ENTRIES

    def kick(self):
        self.doorbell(0, self.tail)

    def take(self):
        """(identifier, status, result) of each command that is done"""
        taken, machine = [], self.device.machine
        while True:
            entry = self.completions + 16 * self.head
            last = machine.words.load(4, entry + 12)
            if last >> 16 & 1 != self.phase:
                break
            # Not before the phase was seen
            result, = struct.unpack_from('<Q', machine.memory, entry)
            taken.append((last & 0xffff, last >> 17 & 0x7ff, result))
            self.head = (self.head + 1) % ENTRIES
            self.phase ^= self.head == 0
        if taken:
            self.doorbell(1, self.head)
        return taken


class Nvme(Driver):
    def __init__(self, machine, slot, number):
        super().__init__(machine, slot, number)
        self.lists = self.base + 0x40000
        self.registers = machine.place_bar(slot, 0)
        for i in range(DEPTH):
            pages = range(self.buffers + i * BUFFER + PAGE,
                          self.buffers + (i + 1) * BUFFER, PAGE)
            struct.pack_into(f'<{len(pages)}Q', machine.memory, self.lists + i * PAGE,
                             *pages)
        self.start()

    def register(self, offset, value, size=4):
        self.machine.write(size, self.registers + offset, value)

    def start(self):
        self.register(0x14, 0)
        self.admin = Ring(self, 0, self.base)
        self.ring = Ring(self, 1, self.base + 0x10000)
        self.register(0x24, (ENTRIES - 1) << 16 | (ENTRIES - 1))
        self.register(0x28, self.admin.submissions, 8)
        self.register(0x30, self.admin.completions, 8)
        self.register(0x14, 1 | 6 << 4 | 6 << 16 | 4 << 20)
        assert self.machine.read(4, self.registers + 0x1c) == 1
        for opcode, base, flags in ((5, self.ring.completions, 1),
                                    (1, self.ring.submissions, 1 << 16 | 1)):
            words = [opcode, 0, 0, 0, 0, 0, base, 0, 0, 0,
                     (ENTRIES - 1) << 16 | 1, flags, 0, 0, 0, 0]
            assert self.once(self.admin, words)[1] == 0

    @staticmethod
    def once(ring, words):
        ring.add(words)
        ring.kick()
        return only_answer(ring.take, words)

    def moved(self, machine):
        raise NotImplementedError

    def error(self, op, name):
        if op.kind in MANAGEMENT and name in ('full', 'rdonly', 'offline'):
            return 'transition'
        return name

    def words(self, slot, op):
        action = op.kind.removesuffix('-all')
        buffer = self.buffer(slot)
        second = (buffer + PAGE if op.size <= 2 * PAGE else self.lists + slot * PAGE)
        lba = op.offset // BLOCK
        words = [0, 1, 0, 0, 0, 0, buffer, 0, second, 0, lba, 0, 0, 0, 0, 0]
        if action in ACTIONS:
            words[0] = 0x79
            words[13] = ACTIONS[action] | op.kind.endswith('-all') << 8
        else:
            words[0] = OPCODES[op.kind]
            words[12] = (op.size // 4 if op.kind == 'report' else
                         max(op.size // BLOCK, 1)) - 1
            words[12] |= op.fua << 30
            if op.kind == 'flush':
                words[10] = words[12] = 0
        words[0] |= slot << 16
        return words

    def submit(self, slot, op):
        self.fill(slot, op)
        self.ring.add(self.words(slot, op))

    def kick(self):
        self.ring.kick()

    def done(self):
        return [(slot, STATUS.get(status, f'status {status:#x}'), result * BLOCK)
                for slot, status, result in self.ring.take()]

    def size(self):
        words = [6, 1, 0, 0, 0, 0, self.buffers, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        assert self.once(self.admin, words)[1] == 0
        return struct.unpack_from('<Q', self.machine.memory, self.buffers)[0] * BLOCK

    def report(self, op):
        status, _ = self.now(op)
        assert status == 'ok', status
        data = self.data(0, op.size)
        count, = struct.unpack_from('<Q', data)
        zones = []
        for i in range(count):
            _, state, cap, start, wp = struct.unpack_from('<BB6xQQQ', data, 64 + 64 * i)
            zones.append((zone_state(state >> 4), start * BLOCK, cap * BLOCK,
                          (wp - start) * BLOCK))
        return zones
