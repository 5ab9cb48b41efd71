# What a zoned disk must do, by the standards (virtio 1.3, ZNS, ZBC).
#
# Requests that are in flight together take effect in some order, which nobody
# tells: an order is looked for that explains all answers and the report that
# comes after them.  If there is none, the disk is wrong.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import struct
from dataclasses import dataclass, field
from typing import Optional

CONV, EMPTY, IOPEN, EOPEN, CLOSED, RDONLY, FULL, OFFLINE = (
    'conventional', 'empty', 'iopen', 'eopen', 'closed', 'rdonly', 'full', 'offline')
OPEN = (IOPEN, EOPEN)
ACTIVE = (IOPEN, EOPEN, CLOSED)
WRITES = ('write', 'append', 'zeroes')
SECTOR = 512
SEARCH_LIMIT = 50000


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
    """What operation @number writes: each sector tells where it comes from"""
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
        self.recent = []            # implicitly open zones, by their last use
        self.crowded = False        # some operations found no resources
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

    # --- The rules: what one operation may do ---

    def outcomes(self, zones, recent, op):
        """
        (statuses, position, zones, recent) of all that may happen; an error
        changes nothing.
        """
        method = getattr(self, f'may_{op.kind.replace("-", "_")}')
        return method(zones, recent, op)

    def opening(self, zones, recent, i, state):
        """Zones after @i was opened, or the errors that this gives."""
        old, wp = zones[i]
        if old in OPEN:
            state = EOPEN if EOPEN in (old, state) else IOPEN
            return set(), [(self.put(zones, i, state, wp), self.use(recent, i, state))]
        active = sum(s in ACTIVE for s, _ in zones)
        if old == EMPTY and self.rules.max_active and active >= self.rules.max_active:
            return {'active'}, []
        opened = sum(s in OPEN for s, _ in zones)
        if not self.rules.max_open or opened < self.rules.max_open:
            return set(), [(self.put(zones, i, state, wp), self.use(recent, i, state))]
        victims = [v for v in recent if zones[v][0] == IOPEN]
        if not victims:
            return {'open'}, []
        after = []
        for v in victims:
            closed = self.put(zones, v, CLOSED, zones[v][1])
            rest = tuple(r for r in recent if r != v)
            after.append((self.put(closed, i, state, wp), self.use(rest, i, state)))
        return set(), after

    @staticmethod
    def put(zones, i, state, wp):
        return (*zones[:i], (state, wp), *zones[i + 1:])

    @staticmethod
    def use(recent, i, state):
        rest = tuple(r for r in recent if r != i)
        return (*rest, i) if state == IOPEN else rest

    @staticmethod
    def failing(errors):
        return [(errors, None, None, None)]

    def may_write(self, zones, recent, op, append=False):
        state, wp = zones[op.zone]
        if state == CONV:
            if append:
                return self.failing({'invalid'})
            return [({'ok'}, None, zones, recent)]
        # Any error that applies, if there are several
        errors = {FULL: {'full'}, RDONLY: {state}, OFFLINE: {state}}.get(state, set())
        at = wp if append else op.offset - self.start(op.zone)
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
        if errors:
            return self.failing(errors)
        errors, after = self.opening(zones, recent, op.zone, IOPEN)
        if errors:
            return self.failing(errors)
        position = self.start(op.zone) + wp
        result = []
        for changed, used in after:
            state = changed[op.zone][0]
            if end < self.rules.capacity or self.crowded:
                result.append(({'ok'}, position,
                               self.put(changed, op.zone, state, end), used))
            if end == self.rules.capacity:
                result.append(({'ok'}, position,
                               self.put(changed, op.zone, FULL, end),
                               self.use(used, op.zone, FULL)))
        return result

    def is_filling(self, state):
        """
        A write up to the capacity opens the zone when it begins, and makes it full
        when it is done.  Meanwhile the zone can be closed for others.
        """
        return state[0] in ACTIVE and state[1] == self.rules.capacity

    def filled(self, zones, recent):
        """Such writes are done."""
        filling = [i for i, state in enumerate(zones) if self.is_filling(state)]
        for i in filling:
            zones = self.put(zones, i, FULL, self.rules.capacity)
            recent = self.use(recent, i, FULL)
        return zones, recent

    def may_append(self, zones, recent, op):
        return self.may_write(zones, recent, op, append=True)

    may_zeroes = may_write

    def may_read(self, zones, recent, op):
        if zones[op.zone][0] == OFFLINE:
            return self.failing({'offline'})
        return [({'ok'}, None, zones, recent)]

    def may_flush(self, zones, recent, op):
        return [({'ok'}, None, zones, recent)]

    may_report = may_flush

    def may_reset(self, zones, recent, op):
        state, _ = zones[op.zone]
        if state in (RDONLY, OFFLINE):
            return self.failing({state})
        if state == CONV:
            return self.failing({'invalid'})
        return [({'ok'}, None, self.put(zones, op.zone, EMPTY, 0),
                 self.use(recent, op.zone, EMPTY))]

    def may_finish(self, zones, recent, op):
        state, _ = zones[op.zone]
        if state in (RDONLY, OFFLINE):
            return self.failing({state})
        if state == CONV:
            return self.failing({'invalid'})
        return [({'ok'}, None, self.put(zones, op.zone, FULL, self.rules.capacity),
                 self.use(recent, op.zone, FULL))]

    def may_open(self, zones, recent, op):
        state, _ = zones[op.zone]
        if state in (RDONLY, OFFLINE):
            return self.failing({state})
        if state == CONV:
            return self.failing({'invalid'})
        if state == FULL:
            return ([({'ok'}, None, zones, recent)] if self.rules.lenient
                    else self.failing({'transition'}))
        errors, after = self.opening(zones, recent, op.zone, EOPEN)
        if errors:
            return self.failing(errors)
        return [({'ok'}, None, changed, used) for changed, used in after]

    def may_close(self, zones, recent, op):
        state, wp = zones[op.zone]
        if state in (RDONLY, OFFLINE):
            return self.failing({state})
        if state == CONV:
            return self.failing({'invalid'})
        if state in (EMPTY, FULL):
            return ([({'ok'}, None, zones, recent)] if self.rules.lenient
                    else self.failing({'transition'}))
        if state in OPEN:
            state = CLOSED if wp else self.rules.closed_unwritten
        return [({'ok'}, None, self.put(zones, op.zone, state, wp),
                 self.use(recent, op.zone, state))]

    def on_all(self, zones, recent, states, one):
        """@one is done to all zones in @states."""
        for i, (state, _) in enumerate(zones):
            if state in states:
                (_, _, zones, recent), = one(zones, recent, Op('', i))
        return [({'ok'}, None, zones, recent)]

    def may_reset_all(self, zones, recent, op):
        return self.on_all(zones, recent, (*ACTIVE, FULL), self.may_reset)

    def may_finish_all(self, zones, recent, op):
        return self.on_all(zones, recent, ACTIVE, self.may_finish)

    def may_close_all(self, zones, recent, op):
        return self.on_all(zones, recent, OPEN, self.may_close)

    def may_condition(self, zones, recent, op):
        """The medium of a zone fails, or is good again."""
        state, wp = zones[op.zone]
        new = {'read-only': RDONLY, 'offline': OFFLINE}.get(op.condition)
        if not new:
            if state not in (RDONLY, OFFLINE):
                return [({'ok'}, None, zones, recent)]
            new = FULL if wp == self.rules.capacity else CLOSED if wp else EMPTY
            active = sum(s in ACTIVE for s, _ in zones)
            if new == CLOSED and self.rules.max_active and \
                    active >= self.rules.max_active:
                return self.failing({'active'})
        return [({'ok'}, None, self.put(zones, op.zone, new, wp),
                 self.use(recent, op.zone, new))]

    # --- An order that explains what was seen ---

    def explain(self, ops, report, error, read):
        """
        Find an order of @ops that leads to @report, (state, write pointer) of
        each zone, and do them here.  @error has the status that the front end
        has for an error, @read what the disk has in a zone.
        """
        zones = tuple((z.state, z.wp) for z in self.zones)
        self.crowded = any(op.status in ('open', 'active') for op in ops)
        # Most have their effect in the order in which they were sent
        for sequence in (sorted(ops, key=lambda op: op.number), ops):
            search = Search(self, sequence, report, error, read)
            order = search.run(zones, tuple(self.recent))
            if order is not None or not search.exhausted:
                break
        if order is None:
            raise Wrong(f'{"few orders" if search.exhausted else "no order"} of these '
                        'operations explain the answers and the zones after them\n'
                        f'before: {describe_zones(zones)}\n'
                        f'after: {describe_zones(report)}')
        begun = [(z.end, z.state) for z in self.zones]
        pending = len(self.unflushed)
        emptied = set()
        for op, (states, recent) in order:
            self.do(op, states, emptied)
            self.recent = list(recent)
        for zone in self.zones:
            if self.is_filling((zone.state, zone.wp)):
                zone.state, zone.settled = FULL, False
        if any(op.kind == 'flush' and op.status == 'ok' for op in ops):
            self.flushed(begun, emptied, pending)

    def do(self, op, states, emptied):
        """The operation has led to @states."""
        before = [z.state for z in self.zones]
        ends = [z.end for z in self.zones]
        for zone, (state, wp) in zip(self.zones, states):
            zone.state, zone.wp = state, wp
        kind = op.kind.removesuffix('-all')
        if op.status == 'ok' and kind in WRITES:
            self.wrote(op, ends[op.zone])
        elif kind in ('reset', 'finish', 'condition'):
            for i, zone in enumerate(self.zones):
                if i != op.zone and not op.kind.endswith('-all'):
                    continue
                if kind == 'reset' and zone.state == EMPTY:
                    if before[i] != EMPTY or zone.end:
                        emptied.add(i)
                    self.empty(i)
                elif (kind == 'finish' and zone.state == FULL and before[i] != FULL or
                      kind == 'condition' and op.status == 'ok' and before[i] != CONV):
                    zone.durable, zone.settled = zone.end, True

    def wrote(self, op, end):
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
            if zone.state == FULL:
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
        self.recent = []

    def copy_zones(self):
        return [zone.copy() for zone in self.zones], bytes(self.data)

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
        self.recent = []
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


class Search:
    """
    For an order, depth first.  Zones that are reset also have a trail, the
    operations that made what they hold: only the data tells orders apart that
    differ in it.
    """
    def __init__(self, disk, ops, report, error, read):
        self.disk, self.ops, self.exhausted = disk, ops, False
        self.report, self.error, self.read = report, error, read
        self.all = (1 << len(ops)) - 1
        self.seen = set()
        self.ends = {}          # what can_end() knows
        self.of_zone = {}
        # Zones that may be open at some moment
        self.opened = {i for i, zone in enumerate(disk.zones) if zone.state in OPEN}
        self.opened |= {op.zone for op in ops if op.status in (None, 'ok') and
                        op.kind in (*WRITES, 'open')}
        self.everywhere = 0     # operations on all zones
        self.traced = {op.zone for op in ops if op.kind == 'reset'}
        for n, op in enumerate(self.ops):
            if op.kind.endswith('-all'):
                self.everywhere |= 1 << n
                self.traced |= set(range(len(disk.zones)))
            elif op.kind not in ('read', 'flush', 'report'):
                self.of_zone[op.zone] = self.of_zone.get(op.zone, 0) | 1 << n

    def matches(self, i, state, done):
        """
        Can zone @i still become what was reported, with the operations that are
        not done?  An open zone can be closed for others.
        """
        if (self.of_zone.get(i, 0) | self.everywhere) & ~done:
            return True
        want, wp = self.report[i]
        if self.disk.is_filling(state):
            return want == FULL
        if state[0] != want and not (state[0] == IOPEN and want == CLOSED and
                                     done != self.all and self.closable(i)):
            return False
        return want not in ACTIVE or state[1] == wp

    def closable(self, i):
        """Are there enough other zones to open that this one may be closed for one?"""
        return len(self.opened - {i}) >= self.disk.rules.max_open > 0

    def steps(self, n, zones, recent):
        """All that operation @n can do here, if its answer was this"""
        op = self.ops[n]
        outcomes = self.disk.outcomes(zones, recent, op)
        filled = self.disk.filled(zones, recent)
        if filled[0] != zones:
            outcomes += self.disk.outcomes(*filled, op)
        for names, position, after, used in outcomes:
            if after is None:
                if op.status is None or \
                        op.status in {self.error(op, name) for name in names}:
                    yield zones, recent
            elif op.status in (None, 'ok'):
                if op.kind != 'append' or op.position in (None, position):
                    yield after, used

    def can_end(self, i, left, state):
        """
        Can the operations of zone @i that are @left lead to what was reported, if
        others do not matter?
        """
        known = self.ends.get((i, left, state))
        if known is None:
            known = self.ends[i, left, state] = self.find_end(i, left, state)
        return known

    def find_end(self, i, left, state):
        if not left:
            return self.matches(i, state, self.all) or \
                state[0] == IOPEN and self.report[i] == (CLOSED, state[1]) and \
                self.closable(i)
        zones = tuple(state if n == i else (EMPTY, 0)
                      for n in range(len(self.disk.zones)))
        active = []
        for n in range(len(self.ops)):
            if left & 1 << n:
                op = self.ops[n]
                if op.status in ('open', 'active', 'failed') or self.is_passive(op) and \
                        next(self.steps(n, zones, ()), None):
                    return self.can_end(i, left & ~(1 << n), state)
                active.append(n)
        for n in active:
            for after, _ in self.steps(n, zones, ()):
                if self.can_end(i, left & ~(1 << n), after[i]):
                    return True
        return state[0] == IOPEN and self.closable(i) and \
            self.can_end(i, left, (CLOSED, state[1]))

    def run(self, zones, recent):
        """Operations, each with what it has led to, or None"""
        if not self.ops:
            return [] if self.is_reported(zones) else None
        path = []
        stack = [self.choices(0, zones, recent, ())]
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
                if path:
                    path.pop()
                continue
            done, op, zones, recent, trail = step
            if done == self.all:
                if self.is_reported(zones) and self.has_data(zones, trail):
                    return [*path, (op, (zones, recent))]
                continue
            if (done, zones, trail) in self.seen:
                continue
            self.seen.add((done, zones, trail))
            if len(self.seen) > SEARCH_LIMIT:
                self.exhausted = True
                return None
            path.append((op, (zones, recent)))
            stack.append(self.choices(done, zones, recent, trail))
        return None

    def is_reported(self, zones):
        return all(self.matches(i, state, self.all) for i, state in enumerate(zones))

    def follow(self, trail, n, op, after):
        """The trail after operation @n, which has led to @after."""
        if op.kind in ('reset', 'reset-all'):
            emptied = {op.zone} if op.kind == 'reset' else self.traced
            return (*(t for t in trail if self.ops[t].zone not in emptied or
                      self.ops[t].kind == 'reset-all'), n)
        if op.zone in self.traced and op.status == 'ok' and \
                op.kind in WRITES:
            return (*trail, n)
        return trail

    def has_data(self, zones, trail):
        """Is the data of traced zones what their trails say?"""
        for i in self.traced:
            start = self.disk.start(i)
            if zones[i][0] in (OFFLINE, CONV):
                continue
            data = bytearray(self.disk.content(i))
            for op in (self.ops[n] for n in trail):
                if op.kind == 'reset-all' and zones[i] != (RDONLY, 0) and \
                        zones[i][0] == RDONLY:
                    continue
                if op.kind == 'reset-all' or op.kind == 'reset' and op.zone == i:
                    data = bytearray(len(data))
                elif op.zone == i and op.kind != 'reset':
                    at = (op.position if op.kind == 'append' else op.offset) - start
                    data[at:at + op.size] = op.data or bytes(op.size)
            if self.read(i) != data:
                return False
        return True

    def is_passive(self, op):
        """It has changed nothing, so it may as well be as soon as it can."""
        return (op.kind in ('read', 'flush', 'report') or
                op.status not in (None, 'ok'))

    def choices(self, done, zones, recent, trail):
        """What can be next: (operations that are done then, which, its result)"""
        left = [(1 << n, n, op) for n, op in enumerate(self.ops) if not done & 1 << n]
        for bit, n, op in left:
            if self.is_passive(op) and next(self.steps(n, zones, recent), None) and \
                    self.fits(op, zones, zones, done | bit):
                yield done | bit, op, zones, recent, trail
                return
        for bit, n, op in left:
            if self.is_passive(op):
                continue
            for after, used in self.steps(n, zones, recent):
                if self.fits(op, zones, after, done | bit):
                    yield done | bit, op, after, used, self.follow(trail, n, op, after)
            if op.status is None:
                yield done | bit, op, zones, recent, trail

    def can_be_exhausted(self, zones, done):
        """Can resources still run out for the operations that were told so?"""
        left = [op for n, op in enumerate(self.ops) if not done & 1 << n]
        for status, states, kinds, limit in (
                ('open', (EOPEN,), ('open',), self.disk.rules.max_open),
                ('active', ACTIVE, (*WRITES, 'open', 'condition'),
                 self.disk.rules.max_active)):
            refused = [op for op in left if op.status == status]
            if refused:
                taken = {i for i, zone in enumerate(zones) if zone[0] in states}
                taken |= {op.zone for op in left
                          if op.kind in kinds and op.status in (None, 'ok')}
                if any(len(taken - {op.zone}) < limit for op in refused):
                    return False
        return True

    def fits(self, op, before, after, done):
        if op.kind.endswith('-all'):
            return all(self.matches(i, state, done) for i, state in enumerate(after))
        if not all(self.matches(i, after[i], done) for i in range(len(after))
                   if i == op.zone or before[i] != after[i]):
            return False
        if not self.can_be_exhausted(after, done):
            return False
        return self.everywhere or self.is_passive(op) or op.status is None or \
            self.can_end(op.zone, self.of_zone[op.zone] & ~done, after[op.zone])
