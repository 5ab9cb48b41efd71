# What is measured, in rounds: in each round every format has its turn, in
# alternating order, so that a machine that gets slower is slower for all.
# Samples are kept by round; ratios are between those of the same round.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import statistics
import subprocess
import sys
import time

import program
from disks import GIB, KIB, MIB, Bench, Disk, zoned

BLOCKS = {'4k': 4 * KIB, '64k': 64 * KIB, '1M': MIB}
DEPTHS = (1, 8, 32)
# Block size, depth, a flush after so many writes
FLUSHES = (('4k', 1, 1), ('64k', 1, 1), ('4k', 32, 32), ('4k', 32, 1024))
RESETS = ('one by one', '32 at a time', 'in one request')
# Zones, and their size: many small ones, and some of the size that disks have
RESET_CASES = ((1000, MIB), (64, 64 * MIB))
ZONE_COUNTS = (1000, 100000, 1000000)
TINY_ZONES = 16
STATES = ('empty', 'full')

SIZE = 2 * GIB
ZONE_SIZE = 256 * MIB
# A slow format gets so much more time for the work than raw did
PATIENCE = 4
SETTLE_SECONDS, SETTLE_BYTES = 2, 256 * KIB


class Samples:
    """Numbers by what was measured, and in each of them by round"""
    def __init__(self):
        self.rounds = {}

    def add(self, key, value):
        self.rounds.setdefault(key, []).append(value)

    def ratio(self, key, other):
        return [a / b for a, b in zip(self.rounds[key], self.rounds[other])]


def spread(values):
    """Lower quartile, median, upper quartile"""
    if len(values) == 1:
        return values * 3
    return statistics.quantiles(values, n=4, method='inclusive')


def rate(result):
    done, nanoseconds = result
    return done / nanoseconds * 1000        # MB/s


class Measurements:
    def __init__(self, tool, bench, directory, cache, options):
        self.tool, self.bench, self.directory = tool, bench, directory
        self.cache, self.options = cache, options
        self.throughput, self.flushes = Samples(), Samples()
        self.resets, self.opens = Samples(), Samples()
        self.guest, self.guest_cpu = Samples(), Samples()
        self.scratch, self.settled = self.disk('scratch', 'raw'), 0
        self.scratch.fresh(SETTLE_BYTES)

    def say(self, words):
        print(f'{time.monotonic() - self.options.started:5.0f} s  {words}',
              file=sys.stderr, flush=True)

    def disk(self, name, driver, create=(), **options):
        path = self.directory / name.replace(' ', '-')
        return Disk(self.bench, path.name, path, driver, self.cache, create,
                    **options)

    def formats(self):
        return {
            'zoned': self.disk('zoned', 'qcow2', zoned(ZONE_SIZE)),
            'qcow2': self.disk('qcow2', 'qcow2'),
            'raw': self.disk('raw', 'raw')}

    def rounds(self, number, disks):
        for n in range(number):
            yield list(disks.items())[::-1 if n % 2 else 1]

    def settle(self):
        """
        What comes first after a flush can be slow for a second on some
        machines, whichever format it is.  Write elsewhere until that is over.
        """
        end = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < end:
            now = rate(self.scratch.load('write', 4 * KIB, 1, SETTLE_BYTES))
            self.settled = max(self.settled, now)
            if now > self.settled / 2:
                break

    # --- Throughput ---

    def calibrate(self, disk, block, depth, flush=0):
        """So many bytes take raw about as long as was asked for."""
        disk.fresh(SIZE)
        done, _ = disk.load('write', block, depth, SIZE, flush,
                            self.options.milliseconds)
        disk.remove()
        return done

    def cell(self, block_name, depth):
        block = BLOCKS[block_name]
        disks = self.formats()
        disks['zoned, append'] = self.disk('append', 'qcow2', zoned(ZONE_SIZE))
        disks['qcow2, falloc'] = self.disk('falloc', 'qcow2',
                                           ('preallocation=falloc',))
        count = self.calibrate(disks['raw'], block, depth)
        patience = PATIENCE * self.options.milliseconds

        def measure(work, name, disk, count):
            kind = 'read' if work == 'read' else \
                'append' if name == 'zoned, append' else 'write'
            result = disk.load(kind, block, depth, count, 0, patience)
            self.throughput.add((work, block_name, depth, name), rate(result))
            return result[0]

        for turn in self.rounds(self.options.rounds, disks):
            done = {}
            for _, disk in turn:
                disk.fresh(SIZE)
            for name, disk in turn:
                self.settle()
                done[name] = measure('first write', name, disk, count)
            for name, disk in turn:
                if name.startswith('zoned'):
                    disk.load('reset', SIZE, 1, SIZE)
            for name, disk in turn:
                self.settle()
                done[name] = measure('rewrite', name, disk, done[name])
            for name, disk in turn:
                if name != 'zoned, append':
                    measure('read', name, disk, done[name])
                disk.remove()

    def measure_throughput(self):
        for block in BLOCKS:
            for depth in DEPTHS:
                self.say(f'write, append, read: {block}, depth {depth}')
                self.cell(block, depth)

    # --- Flushes ---

    def measure_flushes(self):
        disks = self.formats()
        for case in FLUSHES:
            block, depth, flush = case
            self.say(f'{block}, depth {depth}, flush every {flush}')
            count = self.calibrate(disks['raw'], BLOCKS[block], depth, flush)
            for turn in self.rounds(self.options.rounds, disks):
                for name, disk in turn:
                    disk.fresh(SIZE)
                    self.settle()
                    result = disk.load(
                        'write', BLOCKS[block], depth, count, flush,
                        PATIENCE * self.options.milliseconds)
                    self.flushes.add((*case, name), rate(result))
                    disk.remove()

    # --- Reset and discard ---

    def measure_resets(self):
        for count, zone_size in RESET_CASES:
            self.measure_resets_of(count, zone_size)

    def measure_resets_of(self, count, zone_size):
        size = count * zone_size
        disks = {
            'reset': self.disk('reset', 'qcow2', zoned(zone_size)),
            'reset, unmap': self.disk('unmap', 'qcow2', zoned(zone_size),
                                      discard='unmap'),
            'discard': self.disk('discard', 'qcow2', discard='unmap')}
        disks['discard'].blockdev['file']['discard'] = 'unmap'
        disks['reset, unmap'].blockdev['file']['discard'] = 'unmap'
        ways = {'one by one': (zone_size, 1), '32 at a time': (zone_size, 32),
                'in one request': (size, 1)}

        def measure(way, name, disk, kind, flush):
            block, depth = ways[way]
            disk.load('write', MIB, 32, size)
            disk.flush()
            _, nanoseconds = disk.load(kind, block, depth, size, flush)
            disk.flush()
            self.resets.add((zone_size, way, name),
                            nanoseconds / count / 1000)

        for disk in disks.values():
            disk.fresh(size)
        for way in RESETS:
            self.say(f'{count} resets and discards of {zone_size // MIB} MiB, '
                     f'{way}')
            for turn in self.rounds(self.options.reset_rounds, disks):
                for name, disk in turn:
                    if name == 'discard':
                        measure(way, 'discard', disk, 'discard', 0)
                        measure(way, 'discard, flush', disk, 'discard', 1)
                    else:
                        measure(way, name, disk, 'reset', 0)
        for disk in disks.values():
            disk.remove()

    # --- Many zones ---

    def open_once(self, count, state, disk):
        """Milliseconds to open and report, most KiB; in a process of its own"""
        bench = Bench(self.tool)
        disk.bench = bench
        try:
            nanoseconds = disk.open()
            kibibytes = bench('memory')
            _, reported = bench('report', disk.name)
            self.opens.add((count, state, 'open'), nanoseconds / 1e6)
            self.opens.add((count, state, 'report'), reported / 1e6)
            self.opens.add((count, state, 'KiB'), kibibytes)
            disk.close()
        finally:
            bench.end()
            disk.bench = self.bench

    def info_once(self, count, state, disk):
        start = time.monotonic()
        process = subprocess.Popen([program.OBJ / 'qemu-img', 'info', disk.path],
                                   stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        assert status == 0
        self.opens.add((count, state, 'info'),
                       (time.monotonic() - start) * 1000)
        self.opens.add((count, state, 'info KiB'), usage.ru_maxrss)

    def measure_opens(self):
        disks = {}
        for count in (TINY_ZONES, *ZONE_COUNTS):
            for state in STATES:
                disk = self.disk(f'zones {count} {state}', 'qcow2', zoned(MIB))
                size = count * MIB
                disk.create(size)
                if state == 'full':
                    disk.open()
                    disk.load('finish', size, 1, size)
                    disk.close()
                disks[count, state] = disk
        self.say('open and report many zones')
        for turn in self.rounds(self.options.open_rounds, disks):
            for (count, state), disk in turn:
                self.open_once(count, state, disk)
                self.info_once(count, state, disk)
        for disk in disks.values():
            disk.path.unlink()
