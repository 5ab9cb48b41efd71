# What a power cut may leave of a disk.
#
# A flush covers what had ended before it began, and counts when it has ended.
# Of everything else that had begun before the cut, any sectors may be there, and
# the file may have grown or not.  (Two writes to one sector are in the order of
# their ends, as on any disk; which sectors are there is all that can vary.)
#
# SPDX-License-Identifier: GPL-2.0-or-later

from eventlog import FLUSH, NEVER, TRUNCATE

SECTOR = 512


class Disk:
    def __init__(self, content):
        self.data = bytearray(content)

    def resize(self, length):
        if length < len(self.data):
            del self.data[length:]
        else:
            self.data.extend(bytes(length - len(self.data)))

    def apply(self, event, sectors=None):
        """All of an event, or only some sectors of a write (their numbers)."""
        if event.kind == TRUNCATE:
            self.resize(event.offset)
            return
        content = event.data or bytes(event.length)
        pieces = [(0, event.done)] if sectors is None else [
            (n * SECTOR, min((n + 1) * SECTOR, event.done)) for n in sectors]
        for first, last in pieces:
            start, end = event.offset + first, event.offset + last
            if start < end:
                self.resize(max(end, len(self.data)))
                self.data[start:end] = content[first:last]


class Replay:
    """The disks of one run, from one flush to the next."""
    def __init__(self, contents, events, begin, end):
        self.disks = [Disk(content) for content in contents]
        self.flushes = [e for e in events if e.kind == FLUSH and e.good]
        self.changes = sorted((e for e in events if e.is_disk and e.kind != FLUSH),
                              key=lambda e: (e.end, e.begin))
        ends = sorted(e.end for e in self.flushes)
        # [first, last] moments at which the cut may come, flush by flush
        self.windows = [(first + 1, last) for first, last
                        in zip([begin - 1] + ends, ends + [end])]

    def enter(self, window):
        """Make durable what is when this window begins; windows go forward."""
        cut = self.windows[window][0]
        frontier = {f.disk: f.begin for f in sorted(self.flushes, key=lambda f: f.begin)
                    if f.end < cut}
        rest = []
        for event in self.changes:
            if event.end < frontier.get(event.disk, -1):
                self.disks[event.disk].apply(event)
            else:
                rest.append(event)
        self.changes = rest

    def cut(self, moment, rng):
        """The disks after a power cut that came now."""
        volatile = [e for e in self.changes if e.begin < moment]
        keep = chooser(volatile, rng)
        disks = [Disk(disk.data) for disk in self.disks]
        for event in volatile:
            if keep(event):
                disks[event.disk].apply(event, torn(event, rng))
        return disks


def chooser(volatile, rng):
    """A way to choose what of it has reached the disk."""
    if not volatile:
        return lambda event: False
    one = rng.choice(volatile)
    near = lambda e: (e.disk, e.offset >> 14) == (one.disk, one.offset >> 14)
    share = rng.choice((.1, .5, .9))
    some = lambda e: rng.random() < share
    ended = lambda e: e.end != NEVER
    return rng.choice((
        lambda e: False, lambda e: True, ended,
        lambda e: e.disk == one.disk, lambda e: e.disk != one.disk,
        lambda e: e is one, lambda e: e is not one,
        near, lambda e: not near(e), some, some, some,
        lambda e: near(e) and some(e), lambda e: near(e) or some(e)))


def torn(event, rng):
    """None for a write that is whole, else the sectors of it that are there."""
    count = -(-event.length // SECTOR)
    if event.kind == TRUNCATE or count < 2 or rng.random() < .5:
        return None
    at = rng.randrange(count + 1)
    return rng.choice((range(at), range(at, count),
                       [n for n in range(count) if rng.random() < .5]))
