# One zone since it was empty: what must, may and must not be in it.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import errno

from eventlog import (CLOSE, COMMIT, DATA, EXT, FINISH, NEVER, OFFLINE, OPEN_AREA,
                      POWER_OFF, RDONLY, REPAIR, RESET)

SECTOR = 512
# States of zones
CONVENTIONAL, EMPTY, CLOSED, READ_ONLY, FULL, GONE = 0, 1, 4, 13, 14, 15
HAS_AREA = 8        # an attribute
CONDITIONS = {READ_ONLY: RDONLY, GONE: OFFLINE}
FORCED = RDONLY + OFFLINE + REPAIR
FAILED = -errno.EIO
# What broke a rule of zones has changed nothing
RULES = {-getattr(errno, name) for name in (
    'ERANGE', 'ESPIPE', 'EFBIG', 'EROFS', 'ENODEV', 'EOVERFLOW', 'ETOOMANYREFS',
    'ENOTTY', 'EUSERS', 'EINVAL')}


class Epoch:
    """
    A zone that was empty at the moment @empty, and whatever had ended at @covered
    is flushed
    """
    def __init__(self, history, zone, empty, cut, covered):
        self.history, self.zone = history, zone
        self.empty, self.cut, self.covered = empty, cut, covered
        self.events = [e for e in history.events_of(zone)
                       if e.begin < cut and e.end > empty]
        self.area_size = history.zones.get('zone.zrwa_size')
        self.area_unit = history.zones.get('zone.zrwa_flush_granularity')
        finishes = [e for e in self.events if self.finishes(e)]
        self.finished = any(map(self.happened, finishes))
        self.may_finish = any(map(self.may_have_happened, finishes))
        # It may have a random write area
        self.area = any(e.kind == OPEN_AREA or e.kind == EXT and e.disk
                        for e in self.events if self.may_have_happened(e))

    # --- What happened ---

    def happened(self, event):
        """For sure, and after the zone was empty"""
        return event.good and self.empty < event.begin and event.end < self.cut

    def pending(self, event):
        """Not answered yet, or failed and no flush since that tells how it is"""
        if event.end >= self.cut:
            return True
        return not event.good and event.result not in RULES and not any(
            event.end < f.begin and f.end < self.cut for f in self.history.flushes)

    def may_have_happened(self, event):
        return self.pending(event) or event.good

    def of(self, kinds, test):
        return [e for e in self.events if e.kind in kinds and test(e)]

    def finishes(self, event):
        return event.kind == FINISH or (
            event.kind == COMMIT and event.offset + event.length == self.zone.end)

    def is_durable(self, write):
        return self.finished or write.end < self.covered or bool(write.disk)

    # --- Rules ---

    def wrong(self):
        if self.zone.is_empty and self.of(RESET, self.pending):
            return
        yield from self.condition()
        yield from self.extension()
        if self.zone.state == GONE:
            if self.zone.runs:
                yield 'offline, but readable'
            return
        yield from self.end_of_data()
        if self.area:
            yield from self.pointer_with_area()
            yield from self.data_with_area()
        else:
            yield from self.pointer()
            yield from self.data()

    def condition(self):
        """Read-only, offline, or neither: the last of what was forced"""
        done = self.of(FORCED, self.happened)
        last = max(done, key=lambda e: e.end, default=None)
        allowed = {last.kind if last else REPAIR} | {
            e.kind for e in self.of(FORCED, self.may_have_happened)
            if not last or e.end > last.begin}
        if CONDITIONS.get(self.zone.state, REPAIR) not in allowed:
            yield f'state {self.zone.state}, should be one of {allowed}'

    def extension(self):
        zone = self.zone
        for event in self.of(EXT, self.happened):
            if zone.ext is None and not any(
                    e.end > event.begin for e in
                    self.of(OFFLINE, self.may_have_happened)):
                yield f'lost its extension, {event}'
        if zone.ext is None:
            return
        event = self.history.by_number.get(zone.ext)
        if event not in self.of(EXT, self.may_have_happened):
            yield f'has a wrong extension: {event or "rubbish"}'
        elif any(event.end < e.begin for e in self.of(OFFLINE, self.happened)):
            yield f'was offline and has an extension: {event}'

    def end_of_data(self):
        zone = self.zone
        floor = max((e.position + e.length for e in self.of(DATA, self.happened)
                     if self.is_durable(e)), default=zone.start)
        if zone.data_end < floor:
            yield f'data ends at {zone.data_end:#x}, there must be some up to {floor:#x}'
        if zone.state not in (EMPTY, CLOSED, FULL, READ_ONLY):
            yield f'state {zone.state}'
        if self.finished and zone.state not in (FULL, READ_ONLY):
            yield f'was finished, is in state {zone.state}'

    def may_be_there(self, offset, length, number, first):
        """What was read at @offset: is it what was written there?"""
        event = self.history.by_number.get(number)
        if (not event or event.kind not in DATA or event.begin >= self.cut or
                event.end < self.empty or first * SECTOR + length > event.length):
            return False
        start = offset - first * SECTOR
        # A write with FUA that failed can have got there, but not be durable; and
        # one over readable data leaves there what it likes
        if event.end == NEVER or event.result == FAILED and (
                event.disk or self.area or
                self.history.answers_get_lost and self.pending(event)):
            return (start >= self.zone.start if event.kind == 'a' and
                    event.offset == self.zone.start else start == event.offset)
        return event.good and start == event.position

    def no_such_data(self, offset, length, number, first):
        return (f'wrong data at {offset:#x}+{length:#x}: sector {first} of '
                f'{self.history.by_number.get(number, "rubbish")}')

    # --- Without a random write area ---

    def pointer(self):
        zone, data_end = self.zone, self.zone.data_end
        if zone.attributes & HAS_AREA:
            yield 'has a random write area that nobody asked for'
        if zone.state in (EMPTY, CLOSED) and zone.wp != data_end:
            yield f'write pointer {zone.wp:#x}, data ends at {data_end:#x}'
        # Where active zones are limited, what was filled but not flushed may be
        # full without its end
        filled = self.history.zones.get('zone.max_active_zones') and any(
            e.end == NEVER or e.good and e.position + e.length == zone.end
            for e in self.of(DATA, lambda e: True))
        if zone.state == FULL and data_end < zone.end and not (
                self.may_finish or filled):
            yield f'full, but data ends at {data_end:#x} and nobody finished it'

    def data(self):
        for offset, length, number, first in self.zone.runs:
            if number == 0 and offset < self.zone.data_end:
                yield f'zeroes at {offset:#x}+{length:#x}'
            elif number and not self.may_be_there(offset, length, number, first):
                yield self.no_such_data(offset, length, number, first)

    # --- With a random write area ---

    def committed_by(self, event):
        """Where the write pointer is at least after a write or commit"""
        if event.kind == COMMIT:
            return event.offset + event.length
        position = event.offset if event.end == NEVER else event.position
        beyond = position + event.length - self.zone.start - self.area_size
        return self.zone.start + max(0, -(-beyond // self.area_unit) * self.area_unit)

    def pointer_with_area(self):
        zone = self.zone
        moved = {e: self.committed_by(e)
                 for e in self.of(DATA + COMMIT, self.may_have_happened)}
        if zone.state == FULL and self.must_have_area() and not self.may_finish:
            yield 'full, but nobody finished it'
        if zone.state not in (EMPTY, CLOSED):
            return
        if not zone.attributes & HAS_AREA:
            if zone.wp != zone.data_end:
                yield f'write pointer {zone.wp:#x}, data ends at {zone.data_end:#x}'
            if zone.state == CLOSED and self.must_have_area():
                yield 'lost its random write area'
            return
        lowest = max((wp for e, wp in moved.items() if self.happened(e) and
                      (e.kind == COMMIT or self.is_durable(e))), default=zone.start)
        highest = max(moved.values(), default=zone.start)
        if not lowest <= zone.wp <= highest:
            yield f'write pointer {zone.wp:#x}, not in {lowest:#x} to {highest:#x}'

    def must_have_area(self):
        """If it is not empty; closing an empty zone and failing takes it away."""
        given = [e for e in self.of(OPEN_AREA, self.happened)] + [
            e for e in self.of(EXT, self.happened) if e.disk]
        return given and not self.of(FORCED + CLOSE + POWER_OFF,
                                     self.may_have_happened)

    def data_with_area(self):
        """The last that was durable, or what was written after it"""
        zone, writes = self.zone, self.of(DATA, self.may_have_happened)
        movers = [(self.committed_by(e), e.begin)
                  for e in self.of(DATA + COMMIT, self.may_have_happened)]
        for offset, length, number, first in zone.runs:
            if number and not self.may_be_there(offset, length, number, first):
                yield self.no_such_data(offset, length, number, first)
                continue
            for n in range(length // SECTOR):
                at = offset + n * SECTOR
                if number or at < zone.data_end:
                    yield from self.sector_with_area(at, number, writes, movers)

    def sector_with_area(self, at, number, writes, movers):
        here = [e for e in writes if e.end != NEVER and
                e.position <= at < e.position + e.length]
        # Below the write pointer, all is durable that was written before that moved
        stable = -1
        if at < self.zone.wp and self.zone.attributes & HAS_AREA:
            stable = min((begin for wp, begin in movers if wp > at), default=-1)
        since = max((e.begin for e in here if self.happened(e) and
                     (self.is_durable(e) or e.end < stable)), default=-1)
        event = self.history.by_number.get(number)
        if event and event.end < since:
            yield f'old data at {at:#x}: {event}'
        if number:
            return
        # Zeroes are where a write left something out before any was here
        first = min((e.end for e in here if self.happened(e)), default=NEVER)
        if since >= 0 or not any(e.offset + e.length > at and e.begin < first
                                 for e in writes if e not in here):
            yield f'zeroes at {at:#x}'
