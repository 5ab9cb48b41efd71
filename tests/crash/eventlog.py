# The log of zone-workload (crash-disk.h has its format).
#
# Moments are positions in the log.  A cut at moment c has seen the entries
# before c.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import struct

ENTRY = struct.Struct('=IIQQQq')
NEVER = 1 << 62
WRITE, ZERO, TRUNCATE, FLUSH, END = 'WZTF.'
DATA = 'awv'            # append, write, write to conventional zones
RESET, FINISH, SYNC = 'rfs'
SNAPSHOT, DELETE, GOTO = 'nmg'      # offset: which snapshot
GROW = 'i'                          # offset: the new length
EXT, OPEN_AREA, COMMIT = 'xzk'      # for NVMe; of an extension, disk: with an area?
CLOSE, POWER_OFF = 'cp'
RDONLY, OFFLINE, REPAIR = 'blh'     # conditions that are forced
# Jobs: one; the moment of a backup or copy; the disk moves to another image
JOB, POINT, PIVOT = 'jqy'


class Event:
    """Something asked of a disk (upper case) or of the zones (lower case)."""
    def __init__(self, kind, disk, number, offset, length, begin, data):
        self.kind, self.disk, self.number = kind, disk, number
        self.offset, self.length, self.data = offset, length, data
        self.begin, self.end = begin, NEVER
        self.result = None
        self.position = None    # of an append: where the data is
        self.done = length      # how much of it was done

    def ended(self, moment, position, done, result):
        self.end, self.result = moment, result
        self.position = position
        if result < 0:
            self.done = done

    @property
    def good(self):
        return self.result == 0

    @property
    def is_disk(self):
        return self.kind.isupper()

    def __repr__(self):
        text = f'{self.kind} #{self.number} {self.offset:#x}+{self.length:#x} [{self.begin}'
        if self.end != NEVER:
            text += f' to {self.end}: {self.result}, {self.position:#x}'
        return text + ']'


def read_log(path):
    """(events in the order of their beginning, number of entries)"""
    raw = memoryview(path.read_bytes())
    events, at, moment = {}, 0, 0
    while at + ENTRY.size <= len(raw):
        kind, disk, number, offset, length, result = ENTRY.unpack_from(raw, at)
        kind, data = chr(kind), None
        at += ENTRY.size
        if kind == WRITE:
            data = raw[at:at + length]
            at += length
        if kind == END:
            events[number].ended(moment, offset, length, result)
        else:
            events[number] = Event(kind, disk, number, offset, length, moment, data)
        moment += 1
    return list(events.values()), moment
