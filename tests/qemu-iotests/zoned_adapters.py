# Drivers of a few functions for disks with zones, over qtest
#
# Each takes requests for the zones of a disk, which are at multiples of SIZE,
# and reports what the device answers.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import struct
import time
from typing import Any, Callable, Dict, List, NamedTuple

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


class VirtioAdapter(Adapter):
    """
    A modern device of virtio.  Each request has a slot with three descriptors
    and a page: what it is, what it writes, what the device answers.
    """
    BAR_REGISTER = 0x20
    VERSION_1 = 1 << 32
    # Requests and descriptors of a queue; where QEMU has what of its BAR
    SLOTS = 16
    ENTRIES = 64
    DEVICE_CONFIG, NOTIFY = 0x2000, 0x3000
    # Driver status
    READY, DRIVER_OK, NEEDS_RESET = 1 | 2 | 8, 4, 0x40
    # Features that are taken, and numbers of queues
    FEATURES: int
    QUEUES: List[int]

    def start(self) -> None:
        self.store(0x14, 0, 'b')
        wait_until(lambda: self.load(0x14, 'b') == 0)
        features = self.FEATURES | self.VERSION_1
        for word in range(2):
            self.store(0x08, word)
            self.store(0x0c, features >> 32 * word & 0xffffffff)
        self.store(0x14, self.READY, 'b')
        assert self.load(0x14, 'b') == self.READY
        #: of each queue: how many requests it got and gave back
        self.added = {queue: 0 for queue in self.QUEUES}
        self.taken = {queue: 0 for queue in self.QUEUES}
        for queue in self.QUEUES:
            ring = self._ring(queue)
            self.store_memory(ring, bytes(0x3000))
            self.store(0x16, queue, 'w')
            self.store(0x18, self.ENTRIES, 'w')
            for i in range(3):
                self.store(0x20 + 8 * i, ring + 0x1000 * i)
                self.store(0x24 + 8 * i, 0)
            self.store(0x1c, 1, 'w')
        self.store(0x14, self.READY | self.DRIVER_OK, 'b')

    def _ring(self, queue: int) -> int:
        """Descriptors; the other two rings have the pages after them."""
        return RINGS + 0x4000 * queue

    def page(self, queue: int, tag: int) -> int:
        return BUFFERS + 2 * BLOCK * (self.SLOTS * queue + tag)

    def submit(self, queue: int, header: bytes, data: bytes,
               answer: int) -> int:
        """@answer: its length.  Tags are slots, used once."""
        tag = self.added[queue]
        assert tag < self.SLOTS
        page, ring = self.page(queue, tag), self._ring(queue)
        self.store_memory(page, header.ljust(0x100, b'\0') + b'\xff' * answer)
        self.store_memory(page + BLOCK, data or b'\0')
        parts = [(page, len(header), 0), (page + BLOCK, len(data), 0),
                 (page + 0x100, answer, 2)]
        parts = [part for part in parts if part[1]]
        for i, (address, length, flags) in enumerate(parts):
            last = i + 1 == len(parts)
            self.store_memory(ring + 16 * (3 * tag + i),
                              struct.pack('<QIHH', address, length,
                                          flags | (0 if last else 1),
                                          0 if last else 3 * tag + i + 1))
        self.store_memory(ring + 0x1004 + 2 * (tag % self.ENTRIES),
                          struct.pack('<H', 3 * tag))
        self.added[queue] += 1
        self.store_memory(ring + 0x1002, struct.pack('<H', self.added[queue]))
        self.store(self.NOTIFY + 4 * queue, queue, 'w')
        return tag

    def used(self, queue: int) -> List[int]:
        """The tags that the device has given back since the last call"""
        ring = self._ring(queue) + 0x2000
        index, = struct.unpack('<H', self.load_memory(ring + 2, 2))
        tags = []
        while self.taken[queue] != index:
            place = ring + 4 + 8 * (self.taken[queue] % self.ENTRIES)
            head, = struct.unpack('<I', self.load_memory(place, 4))
            tags.append(head // 3)
            self.taken[queue] += 1
        return tags

    def answer_of(self, queue: int, tag: int, length: int) -> bytes:
        return self.load_memory(self.page(queue, tag) + 0x100, length)

    def answer_memory(self) -> bytes:
        queue = self.QUEUES[-1]
        return (self.load_memory(self._ring(queue) + 0x2000, 0x1000) +
                self.load_memory(self.page(queue, 0), 2 * BLOCK * self.SLOTS))


class VirtioBlkAdapter(VirtioAdapter):
    # Flush, zoned
    FEATURES = 1 << 9 | 1 << 17
    QUEUES = [0]
    # Types of requests
    READ, WRITE, FLUSH, APPEND, FINISH, RESET = 0, 1, 4, 15, 22, 24

    def request(self, kind: int, offset: int = 0, data: bytes = b'',
                answer: int = 0) -> int:
        """@answer: its length, without the status"""
        tag = self.submit(0, struct.pack('<IIQ', kind, 0, offset // 512), data,
                          answer + 1)
        self.lengths[tag] = answer
        return tag

    def append(self, zone: int, pattern: int) -> int:
        return self.request(self.APPEND, zone * SIZE, bytes([pattern]) * BLOCK,
                            8)

    def write(self, offset: int, pattern: int) -> int:
        return self.request(self.WRITE, offset, bytes([pattern]) * BLOCK)

    def read(self, offset: int) -> bytes:
        """A block, when there are no other requests"""
        tag = self.request(self.READ, offset, answer=BLOCK)
        answer, = self.wait()
        assert answer[:2] == (tag, 0), answer
        return self.answer_of(0, tag, BLOCK)

    def reset(self, zone: int) -> int:
        return self.request(self.RESET, zone * SIZE)

    def finish(self, zone: int) -> int:
        return self.request(self.FINISH, zone * SIZE)

    def flush(self) -> int:
        return self.request(self.FLUSH)

    def start(self) -> None:
        super().start()
        self.lengths: Dict[int, int] = {}

    def answers(self) -> List[Answer]:
        found = []
        for tag in self.used(0):
            length = self.lengths[tag]
            answer = self.answer_of(0, tag, length + 1)
            sector = struct.unpack('<Q', answer[:8])[0] if length == 8 else 0
            found.append(Answer(tag, answer[-1], 512 * sector % SIZE))
        return found


class VirtioScsiAdapter(VirtioAdapter):
    """
    With a disk at target 0.  SCSI has no appends: what is written goes where
    the write pointer is.  Answers have the response in bits 8 to 15.
    """
    FEATURES = 0
    # For task management, and requests; the one between them has events
    CONTROL, QUEUES = 0, [0, 1, 2]
    REQUESTS = 2
    LUN = bytes([1, 0, 0x40, 0, 0, 0, 0, 0])
    ABORT_TASK, NEXUS_RESET, LUN_RESET = 0, 4, 5
    # Statuses: responses of virtio, and one of SCSI
    ABORTED, WAS_RESET = 2 << 8, 4 << 8
    CHECK_CONDITION = 2

    def start(self) -> None:
        super().start()
        self.places: Dict[int, int] = {}
        # Unit attentions
        while True:
            self.command(bytes(6))
            if not self.wait()[0].status:
                break

    def command(self, cdb: bytes, data: bytes = b'') -> int:
        tag = self.added[self.REQUESTS]
        header = self.LUN + struct.pack('<QBBB', tag, 0, 0, 0)
        return self.submit(self.REQUESTS, header + cdb.ljust(32, b'\0'), data,
                           108)

    def submit_task(self, function: int, tag: int = 0) -> int:
        return self.submit(self.CONTROL,
                           struct.pack('<II', 0, function) + self.LUN +
                           struct.pack('<Q', tag), b'', 1)

    def task_answers(self) -> List[int]:
        """Responses of task management that have come"""
        return [self.answer_of(self.CONTROL, tag, 1)[0]
                for tag in self.used(self.CONTROL)]

    def write(self, offset: int, pattern: int) -> int:
        """WRITE (16) of a block"""
        tag = self.command(struct.pack('>BBQIH', 0x8a, 0, offset // 512,
                                       BLOCK // 512, 0),
                           bytes([pattern]) * BLOCK)
        self.places[tag] = offset % SIZE
        return tag

    def append(self, zone: int, pattern: int) -> int:
        return self.write(zone * SIZE + self.pointer(zone), pattern)

    def pointer(self, zone: int) -> int:
        """As REPORT ZONES would say"""
        zones = self.vm.cmd('query-block-zones', node_name='disk')['zones']
        return zones[zone]['write-pointer'] - zones[zone]['start']

    def _send(self, action: int, zone: int) -> int:
        return self.command(struct.pack('>BBQIBB', 0x94, action,
                                        zone * SIZE // 512, 0, 0, 0))

    def reset(self, zone: int) -> int:
        return self._send(4, zone)

    def finish(self, zone: int) -> int:
        return self._send(2, zone)

    def flush(self) -> int:
        """SYNCHRONIZE CACHE (16)"""
        return self.command(bytes([0x91]) + bytes(15))

    def answers(self) -> List[Answer]:
        found = []
        for tag in self.used(self.REQUESTS):
            answer = self.answer_of(self.REQUESTS, tag, 12)
            found.append(Answer(tag, answer[10] | answer[11] << 8,
                                self.places.get(tag, 0)))
        return found
