# What must, may and must not be on a zoned disk after a power cut.
#
# Knows only what was asked of the zones and answered, never what an image holds
# or how.  A request may have happened at any moment between when it was made and
# when it was answered.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import errno

from epoch import CLOSED, CONVENTIONAL, EMPTY, HAS_AREA, SECTOR, Epoch
from eventlog import (DATA, DELETE, GOTO, GROW, OFFLINE, RDONLY, RESET, SNAPSHOT,
                      SYNC)

NO_RESOURCE = -errno.EOVERFLOW


class Seen:
    """What "zone-workload look" has printed about one image."""
    def __init__(self, lines):
        self.zones, self.checks, self.nexts, self.broken = [], [], [], []
        for line in lines:
            word, *rest = line.split()
            if word == 'zone':
                self.zones.append(Zone(*map(int, rest)))
            elif word == 'run':
                self.add_run(*map(int, rest))
            elif word == 'ext':
                index, number = map(int, rest)
                self.zones[index].ext = number
            elif word == 'check':
                self.checks.append(tuple(map(int, rest)))
            elif word == 'next':
                self.nexts.append(tuple(map(int, rest)))
            else:
                self.broken.append(line)

    def add_run(self, offset, sectors, number, first):
        zone = next(z for z in reversed(self.zones) if z.start <= offset)
        zone.runs.append((offset, sectors * SECTOR, number, first))


class Zone:
    ext = None          # request that has set its descriptor extension

    def __init__(self, index, start, length, capacity, wp, state, attributes):
        self.index, self.start, self.length = index, start, length
        self.end, self.wp, self.state = start + capacity, wp, state
        self.attributes = attributes
        self.runs = []      # offset, bytes, request, index of the first sector

    @property
    def data_end(self):
        return max((offset + length for offset, length, number, _ in self.runs
                    if number), default=self.start)

    @property
    def is_empty(self):
        return self.state == EMPTY and self.data_end == self.start


class Oracle:
    def __init__(self, events, zones):
        self.max_active = zones.get('zone.max_active_zones')
        self.max_areas = zones.get('zone.zrwa_zones')
        self.grown = [e for e in events if e.kind == GROW]
        self.size = zones['size']
        events = [e for e in events if not e.is_disk and e.kind != GROW]
        self.snapshots = [e for e in events if e.kind in (SNAPSHOT, DELETE, GOTO)]
        self.gotos = [e for e in events if e.kind == GOTO]
        self.histories = list(histories(events, zones))

    def may_be_inconsistent(self, cut):
        """
        Plain qcow2 does not make or delete a snapshot, nor go back to one, in one
        step: references may be counted that are not there yet, with the flag of
        single ones.
        """
        return any(e.begin < cut <= e.end for e in self.snapshots)

    def judge(self, cut, seen):
        """What is wrong, as a list of texts."""
        return self.judge_image(cut, seen) + self.judge_zones(cut, seen.zones)

    def judge_image(self, cut, seen):
        """Whatever is in its zones"""
        wrong = list(seen.broken)
        if len(seen.checks) != 2 or not self.may_be_inconsistent(cut) and any(
                c or e for c, _leaks, e in seen.checks):
            wrong.append(f'check (corruptions, leaks, errors): {seen.checks}')
        wrong += [f'write to zone {i} after the cut: {ret}' for i, ret in seen.nexts
                  if ret not in (0, NO_RESOURCE)]
        active = sum(zone.state == CLOSED for zone in seen.zones)
        if self.max_active and active > self.max_active:
            wrong.append(f'{active} active zones, more than {self.max_active}')
        areas = sum(bool(zone.attributes & HAS_AREA) for zone in seen.zones)
        if self.max_areas and areas > self.max_areas:
            wrong.append(f'{areas} random write areas, more than {self.max_areas}')
        size = seen.zones[-1].start + seen.zones[-1].length if seen.zones else 0
        sizes = [self.size] + [e.offset for e in self.grown if e.begin < cut]
        sizes = sizes[sum(e.end < cut for e in self.grown):]
        if size not in sizes:
            wrong.append(f'the disk has {size} bytes, should be one of {sizes}')
        return wrong

    def judge_zones(self, cut, zones):
        done = sum(e.end < cut for e in self.gotos)
        wrong = self.histories[done].judge(cut, zones)
        if wrong and any(e.begin < cut <= e.end for e in self.gotos):
            return during_goto(cut, zones, *self.histories[done:done + 2])
        return wrong


def histories(events, zones):
    """
    What has happened to what the disk holds: until it goes back to a snapshot, from
    then to the next time, and so on.  A snapshot has all before it, durable.
    """
    happened, saved = [], {}
    for event in sorted(events, key=lambda e: e.begin):
        if event.kind == GOTO:
            yield History(happened, zones)
            happened = saved[event.offset][:]
        elif event.kind == SNAPSHOT:
            saved[event.offset] = [*happened, event]
        else:
            happened.append(event)
    yield History(happened, zones)


def during_goto(cut, zones, old, new):
    """All zones are as they were, or all as they get."""
    # Those without write pointer may have some of both
    conventional = [zone for zone in zones if zone.state == CONVENTIONAL]
    also = new.judge(cut, conventional)
    wrong = [text for text in old.judge(cut, conventional) if text in also]
    others = [zone for zone in zones if zone.state != CONVENTIONAL]
    return wrong + min((history.judge(cut, others) for history in (old, new)), key=len)


class History:
    #: Of a request that failed, only the answer may have got lost
    answers_get_lost = False

    def __init__(self, events, zones):
        self.zones = zones
        self.by_number = {e.number: e for e in events}
        self.flushes = [e for e in events if e.kind in (SYNC, SNAPSHOT) and e.good]
        self.others = [e for e in events if e.kind not in (SYNC, SNAPSHOT)]
        self.by_zone = {}

    def judge(self, cut, zones):
        covered = max((f.begin for f in self.flushes if f.end < cut), default=-1)
        return [f'zone {zone.index}: {text}' for zone in zones
                for text in (self.conventional if zone.state == CONVENTIONAL
                             else self.sequential)(cut, covered, zone)]

    def events_of(self, zone):
        if zone.index not in self.by_zone:
            self.by_zone[zone.index] = [
                e for e in self.others
                if e.offset < zone.end and e.offset + e.length > zone.start]
        return self.by_zone[zone.index]

    # --- Sequential zones ---

    def sequential(self, cut, covered, zone):
        wrong = []
        for empty in self.empty_moments(cut, zone):
            wrong = list(Epoch(self, zone, empty, cut, covered).wrong())
            if not wrong:
                break
        return wrong

    def empty_moments(self, cut, zone):
        """When the last reset may have happened: between request and answer."""
        events = self.events_of(zone)
        resets = [e for e in events if e.kind == RESET and e.good and e.end < cut]
        # A reset of all leaves alone what is read-only or offline
        failing = min((e.begin for e in events if e.kind in (RDONLY, OFFLINE)),
                      default=cut)
        sure = [e for e in resets if e.length == zone.length or e.end < failing]
        first = max((e.begin for e in sure), default=-1)
        # What waits for its writes happens last; what found it empty, at once
        return [first] + [moment for e in resets for moment in (e.begin, e.end)
                          if moment > first]

    # --- Conventional zones ---

    def conventional(self, cut, covered, zone):
        writes = [e for e in self.events_of(zone) if e.kind in DATA and e.begin < cut]
        for offset, length, number, first in zone.runs:
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
