# Drivers of a few functions for disks with zones, over qtest
#
# Each takes requests for the zones of a disk, which are at multiples of SIZE, and
# reports what the device answers.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import struct
import time
from typing import Any, Callable, List, NamedTuple

SLOT = 4
BLOCK = 4096
# Of a zone
SIZE = 1 << 20

# Guest memory; what is below belongs to the firmware
RINGS = 0x100000
BUFFERS = 0x200000

# A busy machine
PATIENCE = 240


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Answer(NamedTuple):
    #: of the request, as it was returned by the function that sent it
    tag: int
    #: 0 for success
    status: int
    #: where an append has written
    offset: int


class Adapter:
    """A PCI device with registers in one memory BAR"""
    BAR = 0xe0000000
    BAR_REGISTER: int

    def __init__(self, vm: Any) -> None:
        self.vm = vm

    def plug(self) -> None:
        """After the power came, or a reset of the machine or the function"""
        self.config(self.BAR_REGISTER, self.BAR)
        self.config(self.BAR_REGISTER + 4, 0)
        self.config(0x04, 6)

    def config(self, register: int, value: int) -> None:
        self.vm.qtest(f'outl 0xcf8 {0x80000000 | SLOT << 11 | register:#x}')
        self.vm.qtest(f'outl 0xcfc {value:#x}')

    def unplug(self) -> None:
        """What the firmware of the guest does when it is asked to"""
        self.vm.qtest(f'outl 0xae08 {1 << SLOT:#x}')

    def store(self, register: int, value: int, size: str = 'l') -> None:
        self.vm.qtest(f'write{size} {self.BAR + register:#x} {value:#x}')

    def load(self, register: int, size: str = 'l') -> int:
        answer = self.vm.qtest(f'read{size} {self.BAR + register:#x}')
        return int(answer.split()[1], 16)

    def store_memory(self, address: int, data: bytes) -> None:
        self.vm.qtest(f'write {address:#x} {len(data):#x} 0x{data.hex()}')

    def load_memory(self, address: int, length: int) -> bytes:
        answer = self.vm.qtest(f'read {address:#x} {length:#x}').split()[1]
        return bytes.fromhex(answer[2:])

    # --- What all of them have ---

    def start(self) -> None:
        raise NotImplementedError

    def append(self, zone: int, pattern: int) -> int:
        """One block of this byte, behind the last; returns the tag."""
        raise NotImplementedError

    def reset(self, zone: int) -> int:
        raise NotImplementedError

    def finish(self, zone: int) -> int:
        raise NotImplementedError

    def flush(self) -> int:
        raise NotImplementedError

    def answers(self) -> List[Answer]:
        """Those that have come since the last call"""
        raise NotImplementedError

    def answer_memory(self) -> bytes:
        """All memory that the device writes answers to"""
        raise NotImplementedError

    def wait(self, count: int = 1) -> List[Answer]:
        """So many answers, and all that there are then"""
        found: List[Answer] = []

        def enough() -> bool:
            found.extend(self.answers())
            return len(found) >= count

        wait_until(enough)
        return found


class Queue:
    """A submission queue and its completion queue"""
    ENTRIES = 16

    def __init__(self, number: int) -> None:
        self.sq = RINGS + 0x4000 * number
        self.cq = self.sq + 0x2000
        self.tail = self.head = self.next_cid = 0
        self.phase = 1


class NvmeAdapter(Adapter):
    """A controller with one queue, and a namespace with blocks of 4 KiB"""
    BAR_REGISTER = 0x10
    ADMIN, IO = 0, 1
    # Registers
    CAP, CC, CSTS, NSSR, AQA, ASQ, ACQ, DOORBELLS = (
        0x00, 0x14, 0x1c, 0x20, 0x24, 0x28, 0x30, 0x1000)
    CC_ON = 1 | 6 << 4 | 6 << 16 | 4 << 20
    # Opcodes
    DELETE_SQ, CREATE_SQ, DELETE_CQ, CREATE_CQ, ABORT = 0, 1, 4, 5, 8
    FLUSH, ZONE_SEND, ZONE_APPEND = 0, 0x79, 0x7d
    # Zone Send Actions
    FINISH, RESET = 2, 4
    # Statuses
    ABORT_REQUESTED = 7

    def start(self) -> None:
        self.queues = [Queue(self.ADMIN), Queue(self.IO)]
        admin, queue = self.queues
        for q in self.queues:
            self.store_memory(q.cq, bytes(16 * q.ENTRIES))
        self.store(self.AQA, (admin.ENTRIES - 1) << 16 | (admin.ENTRIES - 1))
        self.store(self.ASQ, admin.sq, 'q')
        self.store(self.ACQ, admin.cq, 'q')
        self.store(self.CC, self.CC_ON)
        wait_until(lambda: self.load(self.CSTS) & 1 == 1)
        size = (queue.ENTRIES - 1) << 16 | self.IO
        self.administer(self.CREATE_CQ, size, 1, prp=queue.cq)
        self.administer(self.CREATE_SQ, size, self.IO << 16 | 1, prp=queue.sq)

    def submit(self, number: int, opcode: int, *dwords: int,
               prp: int = 0) -> int:
        """Returns the identifier; @dwords are those from 10 on."""
        queue = self.queues[number]
        cid = queue.next_cid
        queue.next_cid += 1
        words = list(dwords) + [0] * (6 - len(dwords))
        self.store_memory(queue.sq + 64 * queue.tail,
                          struct.pack('<IIQQQQ6I', opcode | cid << 16,
                                      int(number == self.IO), 0, 0, prp, 0,
                                      *words))
        queue.tail = (queue.tail + 1) % queue.ENTRIES
        self.store(self.DOORBELLS + 8 * number, queue.tail)
        return cid

    def completions(self, number: int) -> List[Answer]:
        queue = self.queues[number]
        found = []
        while True:
            value, _, _, cid, status = struct.unpack(
                '<QHHHH', self.load_memory(queue.cq + 16 * queue.head, 16))
            if status & 1 != queue.phase:
                return found
            found.append(Answer(cid, status >> 1 & 0x7ff, BLOCK * value))
            queue.head = (queue.head + 1) % queue.ENTRIES
            queue.phase ^= queue.head == 0
            self.store(self.DOORBELLS + 8 * number + 4, queue.head)

    def administer(self, opcode: int, *dwords: int, prp: int = 0) -> int:
        """Returns dwords 0 and 1 of the completion."""
        cid = self.submit(self.ADMIN, opcode, *dwords, prp=prp)
        found: List[Answer] = []

        def done() -> bool:
            found.extend(self.completions(self.ADMIN))
            return bool(found)

        wait_until(done)
        answer, = found
        assert answer[:2] == (cid, 0), answer
        return answer.offset // BLOCK

    def append(self, zone: int, pattern: int) -> int:
        address = BUFFERS + BLOCK * self.queues[self.IO].next_cid
        self.store_memory(address, bytes([pattern]) * BLOCK)
        return self.submit(self.IO, self.ZONE_APPEND, zone * SIZE // BLOCK, 0,
                           prp=address)

    def _send(self, action: int, zone: int) -> int:
        return self.submit(self.IO, self.ZONE_SEND, zone * SIZE // BLOCK, 0, 0,
                           action)

    def reset(self, zone: int) -> int:
        return self._send(self.RESET, zone)

    def finish(self, zone: int) -> int:
        return self._send(self.FINISH, zone)

    def flush(self) -> int:
        return self.submit(self.IO, self.FLUSH)

    def answers(self) -> List[Answer]:
        return self.completions(self.IO)

    def answer_memory(self) -> bytes:
        return self.load_memory(self.queues[self.IO].cq, 16 * Queue.ENTRIES)
