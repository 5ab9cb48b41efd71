#!/usr/bin/python3
# tests/stress: what its drivers tell QEMU through memory
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


if __name__ == '__main__':
    main()
