#!/usr/bin/python3
# tests/stress: what its drivers tell QEMU through memory, what its model allows
#
# SPDX-License-Identifier: GPL-2.0-or-later

import mmap
import os
import random
import signal
import sys
import types
import unittest

from sandbox import TOP, main

sys.dont_write_bytecode = True
sys.path.insert(0, str(TOP / 'tests/stress'))

import machine
import mutants
import virtio
from explain import LARGEST, explain
from model import (ACTIVE, CLOSED, EMPTY, EOPEN, FULL, IOPEN, OPEN, WRITES, Disk, Op,
                   Rules, Wrong, content)


class TestIndex(unittest.TestCase):
    def test_index_of_ring_is_never_another(self):
        """
        A device that polls sees the index before or after requests were added, and
        nothing else; it would take requests that are none.
        """
        memory = mmap.mmap(-1, machine.MEMORY)
        words = machine.Words(memory)
        device = types.SimpleNamespace(machine=types.SimpleNamespace(
            memory=memory, words=words, write=lambda *_: None))
        queue = virtio.Queue(device, 0, machine.ARENAS)
        queue.notify = 0
        queue.added = before = 0x1ff
        queue.kick()
        guest = os.fork()
        if not guest:
            while True:
                for queue.added in (0x200, before):
                    queue.kick()
        seen, last, changes = set(), before, 0
        try:
            while changes < 1000:
                now = words.load(2, queue.available + 2)
                seen.add(now)
                changes += now != last
                last = now
        finally:
            os.kill(guest, signal.SIGKILL)
            os.waitpid(guest, 0)
        self.assertEqual(seen, {before, 0x200})


KiB = 1024


class TestModel(unittest.TestCase):
    """Two zones can be open: zone 0 is, explicitly, zone 1 implicitly."""
    def setUp(self):
        self.disk = Disk(Rules(256 * KiB, 192 * KiB, 0, 2, 0, 64 * KiB, 4 * KiB), 4)
        for zone, state, wp in ((0, EOPEN, 4), (1, IOPEN, 4), (2, CLOSED, 184),
                                (3, CLOSED, 4)):
            self.disk.zones[zone].state = state
            self.disk.zones[zone].wp = self.disk.zones[zone].end = wp * KiB

    def explain(self, ops, *report):
        for number, op in enumerate(ops):
            op.number, op.offset = number, op.zone * 256 * KiB + op.offset
        explain(self.disk, ops, [(state, wp * KiB) for state, wp in report],
                lambda op, name: name, self.disk.content)

    @staticmethod
    def write_and_open(size):
        return [Op('write', 2, 184 * KiB, size * KiB, data=bytes(size * KiB),
                   status='ok'),
                Op('open', 3, status='ok'), Op('open', 2, status='open'),
                Op('close', 2, status='ok')]

    def test_zone_that_becomes_full_is_closed_for_another(self):
        """It is full when the write is done, which was begun when it was open."""
        self.explain(self.write_and_open(8), (EOPEN, 4), (CLOSED, 4), (FULL, 192),
                     (EOPEN, 4))
        self.assertEqual(self.disk.zones[2].state, FULL)

    def test_no_more_zones_are_open_than_may_be(self):
        with self.assertRaisesRegex(Wrong, 'no order'):
            self.explain(self.write_and_open(8), (EOPEN, 4), (IOPEN, 4), (FULL, 192),
                         (EOPEN, 4))

    def test_full_zone_cannot_be_closed(self):
        with self.assertRaisesRegex(Wrong, 'no order'):
            self.explain([Op('finish', 2, status='ok'), Op('write', 2, 184 * KiB,
                                                           8 * KiB, status='full'),
                          Op('close', 2, status='ok'), Op('open', 2, status='open')],
                         (EOPEN, 4), (IOPEN, 4), (FULL, 192), (CLOSED, 4))


class TestOneZone(unittest.TestCase):
    """Much is in flight in one zone: here, all that QEMU did in seed 77050."""
    BLOCK = 4 * KiB
    #: Blocks of the writes between resets
    WRITES = ((2,), (8, 8, 4, 8), (8, 1, 4, 4, 1, 8), (4, 4, 16, 1), (4, 1), (16, 1), (8,),
              (2,))

    def setUp(self):
        self.disk = Disk(Rules(256 * KiB, 192 * KiB, 0, 0, 0, 64 * KiB, 4 * KiB), 1)
        zone, = self.disk.zones
        zone.state, zone.wp, zone.end = EOPEN, 16 * self.BLOCK, 16 * self.BLOCK
        self.ops, at = [], 16
        self.did('open')
        for sizes in self.WRITES:
            for blocks in sizes:
                self.did('write', at, blocks)
                at += blocks
            self.did('reset')
            at = 0
        self.ops.pop()      # the last write stays

    def did(self, kind, at=0, blocks=0):
        number = len(self.ops) + 1
        self.ops.append(Op(kind, 0, at * self.BLOCK, blocks * self.BLOCK, number,
                           status='ok', data=content(number, blocks * self.BLOCK)))

    def explain(self, written):
        explain(self.disk, self.ops, [(IOPEN, 2 * self.BLOCK)], lambda op, name: name,
                lambda zone: written.data.ljust(256 * KiB, b'\0'))

    def test_it_is_explained(self):
        LARGEST['moments of a zone'] = 0
        self.explain(self.ops[-1])
        self.assertEqual(self.disk.zones[0].wp, 2 * self.BLOCK)
        self.assertLess(LARGEST['moments of a zone'], 50000)

    def test_write_that_is_nowhere(self):
        with self.assertRaisesRegex(Wrong, 'no order of these operations'):
            self.ops[1].offset += 3 * self.BLOCK
            self.explain(self.ops[-1])

    def test_other_write_stays(self):
        with self.assertRaisesRegex(Wrong, 'no order of these operations'):
            self.explain(self.ops[-3])

    def test_zeroes_below_a_write_before_a_reset(self):
        self.ops = []
        self.did('write', 16, 1)
        self.did('zeroes', 17, 1)
        self.did('write', 18, 1)
        self.did('reset')
        self.did('write', 0, 2)
        self.explain(self.ops[-1])


class TestAllOrders(unittest.TestCase):
    """What is found in zones and resources is what trying all orders finds."""
    SIZE = 4 * KiB
    RULES = Rules(4 * SIZE, 3 * SIZE, 0, 2, 3, 4 * SIZE, SIZE)
    ZONES = 4
    NO_DATA = ((bytes(SIZE),) * 4,) * ZONES

    def test_random_operations(self):
        verdicts = {True: 0, False: 0}
        for seed in range(1500):
            rng = random.Random(seed)
            zones = tuple(self.random_zones(rng))
            expected = [wp for _, wp in zones]
            ops = [self.random_op(rng, seed % self.ZONES, expected, n)
                   for n in range(1, rng.randint(2, 7))]
            after, data = self.do_in_some_order(rng, zones, ops)
            if rng.random() < 0.5:
                self.spoil(rng, ops, after)
            disk = self.disk(zones)
            try:
                explain(disk, ops, after, lambda op, name: name,
                        lambda zone: b''.join(data[zone]))
                found = [(z.state, z.wp) for z in disk.zones]
            except Wrong:
                found = None
            # The data is looked at where there was a reset
            looked_at = {op.zone for op in ops if (op.kind, op.status) == ('reset', 'ok')}
            possible = self.can_lead_to(zones, ops, tuple(after), data, looked_at)
            self.assertEqual(found, after if possible else None,
                             f'seed {seed}: {zones} {list(map(str, ops))} {after}')
            verdicts[possible] += 1
        self.assertGreater(min(verdicts.values()), 300)

    def disk(self, zones):
        disk = Disk(self.RULES, self.ZONES)
        for zone, (zone.state, zone.wp) in zip(disk.zones, zones):
            zone.end = zone.wp
        return disk

    def random_zones(self, rng):
        opened, active = rng.choice((0, 1, 2)), rng.choice((0, 1))
        for i in range(self.ZONES):
            if i < opened:
                yield rng.choice(OPEN), self.SIZE * rng.randint(1, 2)
            elif i < opened + active:
                yield CLOSED, self.SIZE * rng.randint(1, 2)
            else:
                yield rng.choice(((EMPTY, 0), (EMPTY, 0), (FULL, 3 * self.SIZE)))

    def random_op(self, rng, favourite, expected, number):
        """@expected: where zones might be written"""
        zone = rng.choice((favourite, favourite, rng.randrange(self.ZONES)))
        op = Op(rng.choice(('zeroes', 'write', 'write', 'append', 'reset', 'finish',
                            'open', 'close')), zone, zone * 4 * self.SIZE, number=number)
        if op.kind in WRITES:
            op.size = self.SIZE * rng.randint(1, 2)
            op.data = content(number, op.size)
        if op.kind in ('write', 'zeroes'):
            op.offset += rng.choice((expected[zone], expected[zone],
                                     self.SIZE * rng.randrange(3)))
        expected[zone] = min(expected[zone] + op.size, 2 * self.SIZE)
        if op.kind == 'reset':
            expected[zone] = 0
        return op

    def moves(self, zones, op):
        """(status, zones): all that may happen, by the rules of one zone"""
        i = op.zone
        state, wp = zones[i]
        errors, states = self.disk(zones).outcome(i, state, wp, op)
        if errors:
            return [(error, zones) for error in errors]
        moves = []
        for new in states:
            changed = (*zones[:i], new, *zones[i + 1:])
            full = self.RULES.max_active and sum(s in ACTIVE for s, _ in zones) >= 3
            crowded = sum(s in OPEN for s, _ in zones) >= 2
            if new[0] in ACTIVE and state not in ACTIVE and full:
                moves.append(('active', zones))
            elif new[0] in OPEN and state not in OPEN and crowded:
                victims = [v for v, (s, _) in enumerate(zones) if s == IOPEN]
                moves += [('ok', (*changed[:v], (CLOSED, zones[v][1]), *changed[v + 1:]))
                          for v in victims] or [('open', zones)]
            else:
                moves.append(('ok', changed))
        return moves

    def filled(self, zones):
        """Writes to the capacity may be done."""
        for i, (state, wp) in enumerate(zones):
            if state in ACTIVE and wp == self.RULES.capacity:
                yield (*zones[:i], (FULL, wp), *zones[i + 1:])

    def written(self, data, zones, op):
        """@data, which each zone has in blocks, after @op was done in @zones"""
        blocks, at = list(data[op.zone]), zones[op.zone][1] // self.SIZE
        if op.kind == 'reset':
            blocks = [bytes(self.SIZE)] * 4
        elif op.kind in WRITES:
            for n in range(op.size // self.SIZE):
                blocks[at + n] = bytes(self.SIZE) if op.kind == 'zeroes' else \
                    op.data[n * self.SIZE:][:self.SIZE]
        return (*data[:op.zone], tuple(blocks), *data[op.zone + 1:])

    def do_in_some_order(self, rng, zones, ops):
        data = self.NO_DATA
        for op in rng.sample(ops, len(ops)):
            before = zones
            op.status, zones = rng.choice(self.moves(zones, op))
            if op.status == 'ok':
                op.position = op.zone * 4 * self.SIZE + before[op.zone][1]
                data = self.written(data, before, op)
            for zones in self.filled(zones):
                break
        return list(zones), data

    def spoil(self, rng, ops, after):
        if rng.random() < 0.5:
            op = rng.choice(ops)
            op.status = rng.choice(('ok', 'open', 'active', 'unaligned', 'transition'))
            op.position = self.SIZE * (op.zone * 4 + rng.randrange(3))
        else:
            zone = rng.randrange(self.ZONES)
            after[zone] = rng.choice(((IOPEN, self.SIZE), (CLOSED, self.SIZE), (EMPTY, 0),
                                      (FULL, 3 * self.SIZE), (EOPEN, 2 * self.SIZE)))

    def can_lead_to(self, zones, ops, after, data, looked_at):
        def is_right(found):
            return all(found[zone] == data[zone] for zone in looked_at)

        seen, todo = set(), [(zones, self.NO_DATA, frozenset(range(len(ops))))]
        while todo:
            state = todo.pop()
            if state in seen:
                continue
            seen.add(state)
            zones, found, left = state
            if not left and zones == after and is_right(found):
                return True
            todo += [(full, found, left) for full in self.filled(zones)]
            for n in left:
                op = ops[n]
                at = op.zone * 4 * self.SIZE + zones[op.zone][1]
                for status, changed in self.moves(zones, op):
                    if status == op.status != 'ok':
                        todo.append((changed, found, left - {n}))
                    elif status == op.status and (op.kind != 'append' or
                                                  op.position == at):
                        todo.append((changed, self.written(found, zones, op),
                                     left - {n}))
        return False


class TestMutants(unittest.TestCase):
    def test_each_fits_the_source(self):
        """They are only run by hand, so a change of the source is noticed here."""
        for mutant in mutants.MUTANTS:
            text = (mutants.QEMU / mutant.source).read_text()
            self.assertEqual(text.count(mutant.old), 1, mutant.name)


if __name__ == '__main__':
    main()
