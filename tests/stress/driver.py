# What the drivers have in common.  A request has a slot: BUFFER bytes of guest memory
# for data, and what the driver needs.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from machine import ARENAS, Failure, wait_until
from model import CLOSED, CONV, EMPTY, EOPEN, FULL, IOPEN, OFFLINE, RDONLY

DEPTH = 64                  # slots
BUFFER = 256 << 10
PAGE = 4096
ARENA = 17 << 20            # memory of a driver
STATES = {0: CONV, 1: EMPTY, 2: IOPEN, 3: EOPEN, 4: CLOSED, 13: RDONLY, 14: FULL,
          15: OFFLINE}


def zone_state(code):
    """All three standards have the same codes."""
    return STATES.get(code, f'state {code:#x}')


def only_answer(done, what, meanwhile=None):
    """@done() lists what is done; there has to come one."""
    answers = []
    wait_until(lambda: answers.extend(done()) or answers, what, meanwhile)
    if len(answers) > 1:
        raise Failure(f'{what}: more than one answer: {answers}')
    return answers[0]


class Driver:
    """
    A driver has submit(), kick() and done(), which lists (slot, status, position) of
    requests that are done; error(), size() and report().
    """
    def __init__(self, machine, slot, number):
        self.machine, self.slot = machine, slot
        self.base = ARENAS + number * ARENA
        self.buffers = self.base + 0x80000

    def buffer(self, slot):
        return self.buffers + slot * BUFFER

    def data(self, slot, size):
        return self.machine.memory[self.buffer(slot):self.buffer(slot) + size]

    def fill(self, slot, op):
        """Put there what is written."""
        if op.data is not None and op.kind != 'zeroes':
            self.machine.memory[self.buffer(slot):self.buffer(slot) + op.size] = op.data

    def now(self, op):
        """(status, position) of a request, with nothing else in flight"""
        self.submit(0, op)
        self.kick()
        return only_answer(self.done, op, self.machine.clock)[1:]
