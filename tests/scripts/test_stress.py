#!/usr/bin/python3
# tests/stress: what its drivers tell QEMU through memory, what its model allows
#
# SPDX-License-Identifier: GPL-2.0-or-later

import mmap
import os
import signal
import sys
import types
import unittest

from sandbox import TOP, main

sys.dont_write_bytecode = True
sys.path.insert(0, str(TOP / 'tests/stress'))

import machine
import virtio
from model import CLOSED, EOPEN, FULL, IOPEN, Disk, Op, Rules, Wrong


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
        self.disk.recent = [1]

    def explain(self, ops, *report):
        for number, op in enumerate(ops):
            op.number, op.offset = number, op.zone * 256 * KiB + op.offset
        self.disk.explain(ops, [(state, wp * KiB) for state, wp in report],
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


if __name__ == '__main__':
    main()
