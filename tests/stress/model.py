# What a zoned disk must do, by the standards (virtio 1.3, ZNS, ZBC).
#
# explain.py goes by these rules where requests are in flight together.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import copy
import struct
from dataclasses import dataclass, field
from typing import Optional

CONV, EMPTY, IOPEN, EOPEN, CLOSED, RDONLY, FULL, OFFLINE = (
    'conventional', 'empty', 'iopen', 'eopen', 'closed', 'rdonly', 'full', 'offline')
OPEN = (IOPEN, EOPEN)
ACTIVE = (IOPEN, EOPEN, CLOSED)
WRITES = ('write', 'append', 'zeroes')
SECTOR = 512


@dataclass
class Rules:
    """How a disk is divided, and in what the standards differ"""
    zone_size: int
    capacity: int
    conventional: int
    max_open: int
    max_active: int
    max_append: int
    block: int
    # What becomes of an explicitly open zone without data that is closed
    closed_unwritten: str = EMPTY
    # Is it an error to close an empty or full zone, to open a full one?
    lenient: bool = False
    crossing_reads: bool = False


@dataclass
class Op:
    kind: str
    zone: int = 0
    offset: int = 0             # on the disk
    size: int = 0
    number: int = 0
    condition: str = ''
    fua: bool = False           # durable when it is done
    data: Optional[bytes] = field(default=None, repr=False)
    status: Optional[str] = None    # None: there was no answer
    position: Optional[int] = None
    answer: Optional[bytes] = field(default=None, repr=False)

    def __str__(self):
        text = f'{self.number}: {self.kind} zone {self.zone}'
        if self.size:
            text += f' {self.offset:#x}+{self.size:#x}'
        if self.condition:
            text += f' {self.condition}'
        if self.fua:
            text += ' FUA'
        if self.status is None:
            return text
        text += f': {self.status}'
        if self.kind == 'append' and self.status == 'ok':
            text += f' at {self.position:#x}'
        return text


def content(number, size):
    """
    What operation @number writes: each sector tells where it comes from.  That of
    operation 0 would begin with zeroes, as if nothing had been written.
    """
    assert number > 0
    return b''.join(struct.pack('<QQ', number, i) * (SECTOR // 16)
                    for i in range(size // SECTOR))


def describe_sector(data):
    number, index = struct.unpack_from('<QQ', data)
    if data == bytes(len(data)):
        return 'zeroes'
    if data == struct.pack('<QQ', number, index) * (SECTOR // 16):
        return f'sector {index} of operation {number}'
    return f'{data[:16].hex()}...'


def describe_zones(zones):
    """@zones: (state, write pointer) of all"""
    return ' '.join(f'{i}:{state}@{wp:#x}' for i, (state, wp) in enumerate(zones)
                    if state not in (CONV, EMPTY))


@dataclass
class Zone:
    state: str
    wp: int = 0             # from the start; read-only and offline zones have it
    end: int = 0            # what is below was written
    durable: int = 0        # what of that survives a crash, at least
    settled: bool = True    # a full zone is full after a crash, too

    def copy(self):
        return Zone(**self.__dict__)


class Wrong(Exception):
    """The disk has done what it must not do."""


class Disk:
    """The disk as it is, between operations"""
    def __init__(self, rules, zones):
        self.rules = rules
        self.zones = [Zone(CONV if i < rules.conventional else EMPTY)
                      for i in range(zones)]
        self.data = bytearray(zones * rules.zone_size)
        self.unflushed = []         # of conventional zones: (offset, data)
        self.stable = bytearray(rules.conventional * rules.zone_size)

    def start(self, zone):
        return zone * self.rules.zone_size

    def cap(self, zone):
        return (self.rules.zone_size if zone < self.rules.conventional
                else self.rules.capacity)

    def content(self, zone):
        start = self.start(zone)
        return bytes(self.data[start:start + self.rules.zone_size])

    # --- The rules: what one operation may do to its zone ---

    def outcome(self, i, state, wp, op):
        """
        (errors, states): the operation fails with any of @errors and changes nothing,
        or zone @i gets one of @states, (state, write pointer).  A zone that is not
        open before and is open then needs resources.
        """
        kind, _, everything = op.kind.partition('-')
        if everything and state not in self.TOUCHED[kind]:
            return set(), ((state, wp),)
        return getattr(self, f'may_{kind}')(i, state, wp, op)

    #: What is done to all zones is done to those.
    TOUCHED = {'reset': (*ACTIVE, FULL), 'finish': ACTIVE, 'close': OPEN}

    def may_write(self, i, state, wp, op, append=False):
        if state == CONV:
            return ({'invalid'}, ()) if append else (set(), ((state, wp),))
        # Any error that applies, if there are several
        errors = {FULL: {'full'}, RDONLY: {state}, OFFLINE: {state}}.get(state, set())
        at = wp if append else op.offset - self.start(i)
        end = at + op.size
        if not append and end > self.rules.zone_size:
            errors.add('boundary')
        elif not errors:
            if at != wp:
                errors.add('unaligned')
            if end > self.rules.capacity:
                errors.add('boundary')
        if append and op.size > self.rules.max_append:
            errors.add('field')
        # At the capacity it is not full yet, see is_filling()
        return errors, ((EOPEN if state == EOPEN else IOPEN, end),)

    def is_filling(self, state, wp):
        """
        A write up to the capacity opens the zone when it begins, and makes it full
        when it is done.  Meanwhile the zone can be closed for others.
        """
        return state in ACTIVE and wp == self.rules.capacity

    def may_append(self, i, state, wp, op):
        return self.may_write(i, state, wp, op, append=True)

    may_zeroes = may_write

    def may_read(self, i, state, wp, op):
        return {'offline'} if state == OFFLINE else set(), ((state, wp),)

    def may_flush(self, i, state, wp, op):
        return set(), ((state, wp),)

    may_report = may_flush

    @staticmethod
    def unmanageable(state):
        """Errors that all operations on a zone's state have"""
        return {RDONLY: {state}, OFFLINE: {state}, CONV: {'invalid'}}.get(state, set())

    def may_reset(self, i, state, wp, op):
        return self.unmanageable(state), ((EMPTY, 0),)

    def may_finish(self, i, state, wp, op):
        return self.unmanageable(state), ((FULL, self.rules.capacity),)

    def may_open(self, i, state, wp, op):
        if state == FULL:
            return set() if self.rules.lenient else {'transition'}, ((state, wp),)
        return self.unmanageable(state), ((EOPEN, wp),)

    def may_close(self, i, state, wp, op):
        if state in (EMPTY, FULL):
            return set() if self.rules.lenient else {'transition'}, ((state, wp),)
        new = CLOSED if wp or state == CLOSED else self.rules.closed_unwritten
        return self.unmanageable(state), ((new, wp),)

    def may_condition(self, i, state, wp, op):
        """The medium of a zone fails, or is good again."""
        new = {'read-only': RDONLY, 'offline': OFFLINE}.get(op.condition)
        if not new:
            new = state
            if state in (RDONLY, OFFLINE):
                new = FULL if wp == self.rules.capacity else CLOSED if wp else EMPTY
        return set(), ((new, wp),)

    # --- What has happened ---

    def happened(self, histories, ops):
        """@histories: (zone, [(operation, state, write pointer)]) of some zones"""
        begun = [(z.end, z.state) for z in self.zones]
        pending = len(self.unflushed)
        emptied = set()
        for i, history in histories:
            for op, state, wp in history:
                self.do(i, op, state, wp, emptied)
        if any(op.kind == 'flush' and op.status == 'ok' for op in ops):
            self.flushed(begun, emptied, pending)

    def do(self, i, op, state, wp, emptied):
        """The operation, None if it was none of the guest, has led to this."""
        zone = self.zones[i]
        before, filled = zone.state, zone.wp == self.rules.capacity
        zone.state, zone.wp = state, wp
        if not op or op.status != 'ok':
            return
        kind = op.kind.partition('-')[0]
        if kind in WRITES:
            self.wrote(op)
        elif kind == 'reset' and state == EMPTY:
            if before != EMPTY or zone.end:
                emptied.add(i)
            self.empty(i)
        elif (kind == 'finish' and state == FULL and not filled or
              kind == 'condition' and before != CONV):
            zone.durable, zone.settled = zone.end, True

    def wrote(self, op):
        zone = self.zones[op.zone]
        at = op.position if op.kind == 'append' else op.offset
        data = op.data if op.kind != 'zeroes' else bytes(op.size)
        self.data[at:at + op.size] = data
        if zone.state == CONV:
            self.unflushed.append((at, data))
            if op.fua:
                self.stable[at:at + op.size] = data
        else:
            zone.end = zone.wp
            if zone.wp == self.rules.capacity:
                zone.settled = op.fua
            if op.fua:
                zone.durable = zone.end

    def empty(self, i):
        zone, start = self.zones[i], self.start(i)
        self.data[start:start + self.rules.zone_size] = bytes(self.rules.zone_size)
        zone.end = zone.durable = 0
        zone.settled = True

    def flushed(self, begun, emptied, pending):
        """What had been done before the flush began is durable."""
        for i, (zone, (end, state)) in enumerate(zip(self.zones, begun)):
            if i not in emptied:
                zone.durable = max(zone.durable, end)
                zone.settled |= state == FULL
        for at, data in self.unflushed[:pending]:
            self.stable[at:at + len(data)] = data
        del self.unflushed[:pending]

    def all_durable(self):
        for zone in self.zones:
            zone.durable, zone.settled = zone.end, True
        self.stable[:] = self.data[:len(self.stable)]
        self.unflushed = []

    # --- Life of the disk ---

    def power_cycle(self):
        """A clean one: open zones are closed, or empty."""
        for zone in self.zones:
            if zone.state in ACTIVE:
                zone.state = CLOSED if zone.wp else EMPTY

    def copy_zones(self):
        return [zone.copy() for zone in self.zones], bytes(self.data)

    def after_power_cycle(self):
        """A copy, of which open zones are closed"""
        disk = copy.copy(self)
        disk.zones, data = self.copy_zones()
        disk.power_cycle()
        return disk.zones, data

    def restore(self, saved):
        zones, data = saved
        self.zones, self.data = [zone.copy() for zone in zones], bytearray(data)
        self.all_durable()

    def resize(self, count):
        size = count * self.rules.zone_size
        self.data = self.data[:size] + bytes(max(0, size - len(self.data)))
        self.zones = (self.zones[:count] +
                      [Zone(EMPTY) for _ in range(count - len(self.zones))])

    def can_shrink_to(self, count):
        return all(zone.state == EMPTY for zone in self.zones[count:])

    # --- After a crash ---

    def after_crash(self, report, contents, in_flight):
        """
        Compare zones and their contents with what a crash may leave, and go on
        from there.  @in_flight: operations that were not answered.
        """
        for i, ((state, wp), seen) in enumerate(zip(report, contents)):
            ops = [op for op in in_flight if op.zone == i and op.kind not in
                   ('read', 'flush', 'report')]
            if i < self.rules.conventional:
                self.conventional_after_crash(i, seen, ops)
            else:
                self.zone_after_crash(i, state, wp, seen, ops)
        self.all_durable()

    def conventional_after_crash(self, i, seen, ops):
        start = self.start(i)
        writes = [*self.unflushed,
                  *((op.offset, op.data if op.kind != 'zeroes' else bytes(op.size))
                    for op in ops if op.kind in ('write', 'zeroes'))]
        if seen == self.content(i):
            return
        for at in range(0, len(seen), SECTOR):
            sector = seen[at:at + SECTOR]
            legal = [self.stable[start + at:start + at + SECTOR]]
            legal += [data[start + at - offset:start + at - offset + SECTOR]
                      for offset, data in writes
                      if offset <= start + at < offset + len(data)]
            if sector not in legal:
                raise Wrong(f'zone {i}, {at:#x}: {describe_sector(sector)} after a crash')
        self.data[start:start + len(seen)] = seen

    def zone_after_crash(self, i, state, wp, seen, ops):
        zone, kinds = self.zones[i], {op.kind for op in ops}
        what = (f'zone {i} was {zone.state} with {zone.end:#x}, of which '
                f'{zone.durable:#x} are durable, and is {state} at {wp:#x}')
        if zone.state in (RDONLY, OFFLINE):
            if state != zone.state:
                raise Wrong(what)
            return self.compare(i, seen, zone.end) if state == RDONLY else None
        if 'reset' in kinds and state == EMPTY:
            self.compare(i, seen, 0)
            zone.state, zone.wp = EMPTY, 0
            return self.empty(i)
        more = sum(op.size for op in ops if op.kind in WRITES)
        highest = min(zone.end + more, self.rules.capacity)
        data_end = wp
        if state == FULL:
            if not (zone.state == FULL or 'finish' in kinds or
                    highest == self.rules.capacity):
                raise Wrong(what)
            data_end = self.rules.capacity if zone.state != FULL else zone.end
            if seen[:data_end] != self.content(i)[:data_end] or more:
                data_end = self.end_of_data(i, seen, ops)
                whole = zone.settled if zone.state == FULL else False
                if data_end < (zone.end if whole else zone.durable):
                    raise Wrong(f'{what}, with data up to {data_end:#x} only')
        elif state in (EMPTY, CLOSED):
            if zone.state == FULL and zone.settled or \
                    not zone.durable <= wp <= highest or \
                    (state == EMPTY) != (wp == 0):
                raise Wrong(what)
            self.end_of_data(i, seen, ops, wp)
        else:
            raise Wrong(what)
        zone.state, zone.end = state, data_end
        zone.wp = self.rules.capacity if state == FULL else wp
        start = self.start(i)
        self.data[start:start + len(seen)] = seen

    def compare(self, i, seen, end):
        expected = self.content(i)[:end].ljust(self.rules.zone_size, b'\0')
        if seen != expected:
            self.tell_difference(i, seen, expected)

    def tell_difference(self, i, seen, expected):
        at = next(n for n in range(0, len(expected), SECTOR)
                  if seen[n:n + SECTOR] != expected[n:n + SECTOR])
        raise Wrong(f'zone {i} at {at:#x}: {describe_sector(seen[at:at + SECTOR])} '
                    f'instead of {describe_sector(expected[at:at + SECTOR])}')

    def end_of_data(self, i, seen, ops, wp=None):
        """
        How far the zone has data that was written there, with zeroes above.  With
        @wp, that far it must have it.
        """
        zone, old, at = self.zones[i], self.content(i), 0
        end = min(zone.end, wp if wp is not None else zone.end)
        if seen[:end] == old[:end]:
            at = end
        else:
            while at < end and seen[at:at + SECTOR] == old[at:at + SECTOR]:
                at += SECTOR
        while at >= zone.end and at < (wp if wp is not None else len(seen)):
            if not self.from_flight(i, at, seen[at:at + SECTOR], ops):
                break
            at += SECTOR
        if wp is not None and at < wp or seen[at:] != bytes(len(seen) - at):
            raise Wrong(f'zone {i} at {at:#x}: {describe_sector(seen[at:at + SECTOR])} '
                        f'after a crash, write pointer {wp}')
        return at

    def from_flight(self, i, at, sector, ops):
        for op in ops:
            if op.kind == 'zeroes' and sector == bytes(SECTOR):
                return True
            if op.kind == 'write':
                inside = self.start(i) + at - op.offset
                if 0 <= inside < op.size and \
                        sector == op.data[inside:inside + SECTOR]:
                    return True
            if op.kind == 'append' and op.data:
                number, index = struct.unpack_from('<QQ', sector)
                if number == op.number and index < op.size // SECTOR and \
                        sector == op.data[index * SECTOR:(index + 1) * SECTOR]:
                    return True
        return False
