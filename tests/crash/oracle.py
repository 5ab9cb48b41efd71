# What must, may and must not be on a zoned disk after a power cut.
#
# Knows only what was asked of the zones and answered, never what an image holds
# or how.  A request may have happened at any moment between when it was made and
# when it was answered.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from collections import defaultdict

from eventlog import DATA, FINISH, NEVER, RESET, SNAPSHOT, SYNC

SECTOR = 512
CONVENTIONAL, EMPTY, CLOSED, FULL = 0, 1, 4, 14
NO_RESOURCE = -75       # EOVERFLOW


class Seen:
    """What "zone-workload look" has printed about one image."""
    def __init__(self, lines):
        self.zones, self.runs = [], defaultdict(list)
        self.checks, self.nexts, self.broken = [], [], []
        for line in lines:
            word, *rest = line.split()
            if word == 'zone':
                self.zones.append(Zone(*map(int, rest)))
            elif word == 'run':
                self.add_run(*map(int, rest))
            elif word == 'check':
                self.checks.append(tuple(map(int, rest)))
            elif word == 'next':
                self.nexts.append(tuple(map(int, rest)))
            else:
                self.broken.append(line)

    def add_run(self, offset, sectors, number, first):
        zone = next(z for z in reversed(self.zones) if z.start <= offset)
        self.runs[zone.index].append((offset, sectors * SECTOR, number, first))


class Zone:
    def __init__(self, index, start, length, capacity, wp, state):
        self.index, self.start, self.length = index, start, length
        self.end, self.wp, self.state = start + capacity, wp, state


class Oracle:
    def __init__(self, events, max_active):
        self.max_active = max_active
        events = [e for e in events if not e.is_disk]
        self.by_number = {e.number: e for e in events}
        self.flushes = [e for e in events if e.kind == SYNC and e.good]
        self.data = [e for e in events if e.kind in DATA]
        self.mgmt = [e for e in events if e.kind in (RESET, FINISH)]
        self.snapshots = [e for e in events if e.kind == SNAPSHOT]
        self.by_zone = {}

    def may_be_inconsistent(self, cut):
        """
        Plain qcow2 does not make or delete a snapshot in one step: references
        may be counted that are not there yet, with the flag of single ones.
        """
        return any(e.begin < cut <= e.end for e in self.snapshots)

    def judge(self, cut, seen):
        """What is wrong, as a list of texts."""
        wrong = list(seen.broken)
        if len(seen.checks) != 2 or not self.may_be_inconsistent(cut) and any(
                c or e for c, _leaks, e in seen.checks):
            wrong.append(f'check (corruptions, leaks, errors): {seen.checks}')
        wrong += [f'append to zone {i} after the cut: {ret}' for i, ret in seen.nexts
                  if ret not in (0, NO_RESOURCE)]
        active = sum(zone.state == CLOSED for zone in seen.zones)
        if self.max_active and active > self.max_active:
            wrong.append(f'{active} active zones, more than {self.max_active}')
        covered = max((f.begin for f in self.flushes if f.end < cut), default=-1)
        for zone in seen.zones:
            look = self.conventional if zone.state == CONVENTIONAL else self.sequential
            wrong += [f'zone {zone.index}: {text}'
                      for text in look(cut, covered, zone, seen.runs[zone.index])]
        return wrong

    # --- Sequential zones ---

    def events_of(self, zone):
        """(resets, finishes, writes) that concern a zone"""
        if zone.index not in self.by_zone:
            mine = [e for e in self.mgmt + self.data
                    if e.offset < zone.end and e.offset + e.length > zone.start]
            self.by_zone[zone.index] = [[e for e in mine if e.kind in kinds]
                                        for kinds in (RESET, FINISH, DATA)]
        return self.by_zone[zone.index]

    def pending(self, event, cut):
        """Not answered yet, or refused and no flush since that tells how it is."""
        if event.begin >= cut or event.good and event.end < cut:
            return False
        return event.end >= cut or not any(event.end < f.begin and f.end < cut
                                           for f in self.flushes)

    def sequential(self, cut, covered, zone, runs):
        wrong = []
        for empty in self.empty_moments(cut, zone):
            wrong = list(self.since(empty, cut, covered, zone, runs))
            if not wrong:
                break
        return wrong

    def empty_moments(self, cut, zone):
        """When the last reset may have happened: between request and answer."""
        resets = [e for e in self.events_of(zone)[0] if e.good and e.end < cut]
        first = max((e.begin for e in resets), default=-1)
        # What waits for its writes happens last; what found it empty, at once
        return [first] + [e.end for e in resets if e.end > first]

    def since(self, empty, cut, covered, zone, runs):
        """What is wrong if the zone was empty at this moment?"""
        resets, finishes, writes = self.events_of(zone)
        if zone.state == EMPTY and self.data_end(zone, runs) == zone.start and any(
                e.end > empty and self.pending(e, cut) for e in resets):
            return
        # Requests that were under way then may have come before or after it
        after = lambda e: e.good and empty < e.begin and e.end < cut
        finished = any(map(after, finishes))
        may_finish = finished or any(e.end > empty and
                                     (e.good and e.end < cut or self.pending(e, cut))
                                     for e in finishes)
        kept = [e for e in filter(after, writes)
                if finished or e.end < covered or e.disk]
        floor = max((e.position + e.length for e in kept), default=zone.start)
        # Where active zones are limited, what was filled but not flushed may
        # be full without its end
        may_finish |= bool(self.max_active) and any(
            e.end > empty and e.begin < cut and
            (e.end == NEVER or e.good and e.position + e.length == zone.end)
            for e in writes)
        yield from self.pointer(zone, runs, floor, finished, may_finish)
        yield from self.below_pointer(zone, runs, empty, cut)

    @staticmethod
    def data_end(zone, runs):
        return max((offset + length for offset, length, number, _ in runs if number),
                   default=zone.start)

    def pointer(self, zone, runs, floor, finished, may_finish):
        data_end = self.data_end(zone, runs)
        if zone.state not in (EMPTY, CLOSED, FULL):
            yield f'state {zone.state}'
        if zone.state != FULL and zone.wp != data_end:
            yield f'write pointer {zone.wp:#x}, data ends at {data_end:#x}'
        if data_end < floor:
            yield f'data ends at {data_end:#x}, there must be some up to {floor:#x}'
        if finished and zone.state != FULL:
            yield f'was finished, is in state {zone.state}'
        if zone.state == FULL and data_end < zone.end and not may_finish:
            yield f'full, but data ends at {data_end:#x} and nobody finished it'

    def below_pointer(self, zone, runs, empty, cut):
        data_end = self.data_end(zone, runs)
        for offset, length, number, first in runs:
            if number == 0 and offset < data_end:
                yield f'zeroes at {offset:#x}+{length:#x}'
            elif number and not self.may_be_there(zone, offset, length, number, first,
                                                  empty, cut):
                yield (f'wrong data at {offset:#x}+{length:#x}: sector {first} of '
                       f'{self.by_number.get(number, "rubbish")}')

    def may_be_there(self, zone, offset, length, number, first, empty, cut):
        event = self.by_number.get(number)
        if (not event or event.kind not in DATA or event.begin >= cut or
                event.end < empty or first * SECTOR + length > event.length):
            return False
        start = offset - first * SECTOR
        if event.end == NEVER:
            return (start >= zone.start if event.kind == 'a' and
                    event.offset == zone.start else start == event.offset)
        return event.good and start == event.position

    # --- Conventional zones ---

    def conventional(self, cut, covered, zone, runs):
        writes = [e for e in self.events_of(zone)[2] if e.begin < cut]
        for offset, length, number, first in runs:
            for n in range(length // SECTOR):
                at = offset + n * SECTOR
                here = [e for e in writes if e.offset <= at < e.offset + e.length]
                # What was written before this began is gone
                since = max((e.begin for e in here if e.good and e.end < covered),
                            default=-1)
                good = any(e.number == number and e.end >= since and
                           e.offset + (first + n) * SECTOR == at for e in here)
                if not good and (number or since >= 0):
                    yield (f'wrong data at {at:#x}: '
                           f'{self.by_number.get(number, number)}')
