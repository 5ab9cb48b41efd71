# What is measured, in rounds: in each round every format has its turn, in
# alternating order, so that a machine that gets slower is slower for all.
# Samples are kept by round; ratios are between those of the same round.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import statistics
import subprocess
import sys
import time

from disks import GIB, KIB, MIB, QEMU_IMG, Bench, Disk, zoned

BLOCKS = {'4k': 4 * KIB, '64k': 64 * KIB, '1M': MIB}
DEPTHS = (1, 8, 32)
FLUSH_BLOCKS = {'4k': 4 * KIB, '16k': 16 * KIB, '64k': 64 * KIB}
FUA = 'FUA'
# Block size, depth, a flush after so many writes, or all durable by themselves
FLUSHES = (('4k', 1, 1), ('16k', 1, 1), ('64k', 1, 1), ('4k', 1, FUA),
           ('4k', 32, 32), ('4k', 32, 1024))
# Block size, depth: where space is given back by resets and discards, and where
# images have other options
PASSES = (('4k', 1), ('4k', 32), ('64k', 1), ('64k', 32))
RESETS = ('one by one', '32 at a time', 'in one request')
# Zones, and their size: many small ones, and some of the size that disks have
RESET_CASES = ((1000, MIB), (32, 64 * MIB))
# Zones with 4 KiB each, reset in one request
RESET_ALL = (20000, MIB)
ZONE_COUNTS = (1000, 100000, 1000000)
TINY_ZONES = 16
STATES = ('empty', 'full')

SIZE = 2 * GIB
ZONE_SIZE = 256 * MIB
# A slow format gets so much more time for the work than raw did
PATIENCE = 4
# Options for images with zones and without, each for both.  The last one has
# 131072 clusters in a zone.
VARIANTS = {
    'LUKS': {'encrypted': True},
    'data file': {'data_file': True},
    '4 KiB clusters': {'create': ('cluster_size=4096',)},
    '2 KiB clusters': {'create': ('cluster_size=2048',)},
}
# A file may take so much for a zone, besides its data; or this part of the data,
# as zones get their space ahead of the writer in steps of that
SPACE_A_ZONE, SPACE_PART = 4 * MIB, 8
# Zones that get a first write of 4 KiB each, and one pass over more than a zone
SPARSE_ZONES, SPACE_BYTES = 10, 300 * MIB
EMPTY = 'reset'
TAIL_ZONE, TAIL_DEPTH = 2 * GIB, 8
# A durable reset beside 4 KiB written to raw and flushed
# What jobs copy, and what a writer writes meanwhile
JOB_ZONE, JOB_BYTES = 64 * MIB, GIB
JOB_DEPTH = 8
# One after the other, as a guest writes to a zone
WRITER_BLOCK, WRITER_DEPTH = 64 * KIB, 1
WRITER_PART = 0.5
BACKUP, MIRROR, STREAM, COMMIT, ACTIVE = JOBS = (
    'backup', 'mirror', 'stream', 'commit', 'active commit')
ALONE, BESIDE = 'writer alone', 'writer beside it'
UNIT, UNIT_WRITES = '4 KiB, flush', 500
ALL = 'all'
# Disks of Linux alone
NULL_ZONED, NULL_PLAIN = 'null-zoned', 'null-plain'
SETTLE_SECONDS, SETTLE_BYTES = 2, 256 * KIB


class Samples:
    """Numbers by what was measured, and in each of them by round"""
    def __init__(self):
        self.rounds = {}

    def add(self, key, value):
        self.rounds.setdefault(key, []).append(value)

    def cells(self, *start):
        """What keys that begin so have next, but for the name at their end"""
        return list(dict.fromkeys(key[len(start):-1] for key in self.rounds
                                  if key[:len(start)] == start))

    def ratio(self, key, other):
        return [a / b for a, b in zip(self.rounds[key], self.rounds[other])]

    def more(self, key, other, of=lambda value: value):
        return [of(a) - of(b)
                for a, b in zip(self.rounds[key], self.rounds[other])]


def spread(values):
    """Lower quartile, median, upper quartile"""
    if len(values) == 1:
        return values * 3
    return statistics.quantiles(values, n=4, method='inclusive')


def rate(result):
    done, nanoseconds = result
    return done / nanoseconds * 1000        # MB/s


def zones_of(count):
    """As many of ZONE_SIZE has data in so many bytes from the start on"""
    return -(-count // ZONE_SIZE)


def allowed_space(data, zones):
    return data + max(zones * SPACE_A_ZONE, data // SPACE_PART)


class Measurements:
    def __init__(self, tool, bench, directory, cache, options):
        self.tool, self.bench, self.directory = tool, bench, directory
        self.cache, self.options = cache, options
        self.throughput, self.flushes = Samples(), Samples()
        self.unmap, self.variants = Samples(), Samples()
        self.resets, self.opens = Samples(), Samples()
        self.thin, self.space, self.tails = Samples(), Samples(), Samples()
        self.guest, self.guest_cpu = Samples(), Samples()
        self.scsi, self.scsi_cpu = Samples(), Samples()
        self.zone_table, self.jobs = Samples(), Samples()
        self.scratch, self.settled = self.disk('scratch', 'raw'), 0
        self.scratch.fresh(SETTLE_BYTES)

    def say(self, words):
        print(f'{time.monotonic() - self.options.started:5.0f} s  {words}',
              file=sys.stderr, flush=True)

    def wants(self, words):
        """Whether the rows so named are to be measured; says that they are"""
        wanted = not self.options.rows or any(
            text in words for text in self.options.rows)
        if wanted:
            self.say(words)
        return wanted

    def disk(self, name, driver, create=(), **options):
        path = self.directory / name.replace(' ', '-')
        return Disk(self.bench, path.name, path, driver, self.cache, create,
                    **options)

    def formats(self, create=(), unmap=False, **options):
        options['unmap'] = unmap
        return {
            'zoned': self.disk('zoned', 'qcow2', zoned(ZONE_SIZE, *create),
                               **options),
            'qcow2': self.disk('qcow2', 'qcow2', create, **options),
            'raw': self.disk('raw', 'raw', unmap=unmap)}

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

    def calibrate(self, disk, block, depth, flush=0):
        """So many bytes take raw about as long as was asked for."""
        disk.fresh(SIZE)
        kind, flush = ('fua', 0) if flush == FUA else ('write', flush)
        done, _ = disk.load(kind, block, depth, SIZE, flush,
                            self.options.milliseconds)
        disk.remove()
        return done

    # --- Throughput ---

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
                if name.startswith('zoned'):
                    # Thin is what takes no more than it may
                    self.thin.add(
                        ('first write', block_name, depth, name),
                        disk.space() / allowed_space(
                            done[name], zones_of(done[name])))
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
            for depth in self.options.depths:
                if self.wants(f'write, append, read: {block}, depth {depth}'):
                    self.cell(block, depth)

    # --- Flushes ---

    def measure_flushes(self):
        disks = self.formats()
        disks['zoned, append'] = self.disk('append', 'qcow2', zoned(ZONE_SIZE))
        for case in FLUSHES:
            block_name, depth, flush = case
            if not self.wants(f'{block_name}, depth {depth}, flush every {flush}'):
                continue
            block = FLUSH_BLOCKS[block_name]
            count = self.calibrate(disks['raw'], block, depth, flush)
            for turn in self.rounds(self.options.rounds, disks):
                for name, disk in turn:
                    kind = 'append' if 'append' in name else \
                        'fua' if flush == FUA else 'write'
                    if kind == 'append' and flush != 1:
                        continue
                    disk.fresh(SIZE)
                    self.settle()
                    result = disk.load(
                        kind, block, depth, count, 0 if flush == FUA else flush,
                        PATIENCE * self.options.milliseconds)
                    self.flushes.add((*case, name), rate(result))
                    disk.remove()

    # --- Space that comes and goes ---

    def measure_unmap(self):
        """Pass by pass, all that was written given back between them"""
        disks = self.formats(unmap=True)
        patience = PATIENCE * self.options.milliseconds
        for block_name, depth in self.options.passes:
            if not self.wants(f'unmap: {block_name}, depth {depth}'):
                continue
            block = BLOCKS[block_name]
            count = self.calibrate(disks['raw'], block, depth)
            for turn in self.rounds(self.options.fewer_rounds, disks):
                for name, disk in turn:
                    disk.fresh(SIZE)
                    for work in ('first pass', 'second pass'):
                        if work == 'second pass':
                            disk.load('reset' if name == 'zoned' else 'discard',
                                      SIZE, 1, SIZE)
                        self.settle()
                        result = disk.load('write', block, depth, count, 0,
                                           patience)
                        self.unmap.add((work, block_name, depth, name),
                                       rate(result))
                    disk.remove()

    # --- Images with other options ---

    def measure_variants(self):
        patience = PATIENCE * self.options.milliseconds
        for variant, options in VARIANTS.items():
            disks = self.formats(**options)
            raw = disks.pop('raw')
            for block_name, depth in self.options.passes:
                if not self.wants(f'{variant}: {block_name}, depth {depth}'):
                    continue
                block = BLOCKS[block_name]
                count = self.calibrate(raw, block, depth)
                for turn in self.rounds(self.options.fewer_rounds, disks):
                    for name, disk in turn:
                        disk.fresh(SIZE)
                        self.settle()
                        result = disk.load('write', block, depth, count, 0,
                                           patience)
                        self.variants.add((variant, block_name, depth, name),
                                          rate(result))
                        disk.remove()

    # --- Space in the host's file system ---

    def space_row(self, row, name, disk, data, zones):
        """MiB that may be taken, and are: in use, flushed; and when closed"""
        disk.flush()
        self.space.add((row, name, 'open'), disk.space() / MIB)
        disk.close()
        self.space.add((row, name, 'closed'), disk.space() / MIB)
        self.space.add((row, name, 'data'), data / MIB)
        self.space.add((row, name, 'allowed'),
                       allowed_space(data, zones) / MIB)

    def measure_space(self):
        if not self.wants('space of images'):
            return
        sparse = f'4 KiB in each of {SPARSE_ZONES} zones'
        dense = f'{SPACE_BYTES // MIB} MiB from the start on'
        again = 'reset, and written again'
        size = SPARSE_ZONES * ZONE_SIZE
        disks = self.formats()
        disks['zoned, unmap'] = self.disk('unmap', 'qcow2', zoned(ZONE_SIZE),
                                          unmap=True)
        for name, disk in disks.items():
            disk.fresh(size)
            disk.load('write', 4 * KIB, 1, size, step=ZONE_SIZE)
            self.space_row(sparse, name, disk, SPARSE_ZONES * 4 * KIB, SPARSE_ZONES)
            disk.unlink()
            disk.fresh(size)
            disk.load('write', 64 * KIB, 8, SPACE_BYTES)
            self.space_row(dense, name, disk, SPACE_BYTES, zones_of(SPACE_BYTES))
            if name == 'zoned, unmap':
                disk.open()
                disk.load('reset', size, 1, size)
                disk.load('write', 64 * KIB, 8, SPACE_BYTES)
                self.space_row(again, name, disk, SPACE_BYTES,
                               zones_of(SPACE_BYTES))
                disk.open()
                disk.load('reset', size, 1, size)
                self.space_row(EMPTY, name, disk, 0, zones_of(SPACE_BYTES))
            disk.unlink()

    # --- The slowest write ---

    def measure_tails(self):
        size = self.options.tail_bytes
        disks = {'zoned': self.disk('tail', 'qcow2', zoned(TAIL_ZONE)),
                 'raw': self.disk('raw', 'raw')}
        if not self.wants(f'the slowest write of {size // MIB} MiB'):
            return
        for turn in self.rounds(self.options.tail_rounds, disks):
            for name, disk in turn:
                disk.fresh(TAIL_ZONE)
                self.settle()
                disk.load('write', 4 * KIB, TAIL_DEPTH, size)
                for what, nanoseconds in zip(('median', '99.99%', 'slowest'),
                                             self.bench('latency')):
                    self.tails.add((name, what), nanoseconds / 1000)
                disk.remove()

    # --- Reset and discard ---

    def measure_resets(self):
        for count, zone_size in self.options.reset_cases:
            self.measure_resets_of(count, zone_size)
        self.measure_reset_all(*self.options.reset_all)

    def measure_resets_of(self, count, zone_size):
        size = count * zone_size
        disks = {
            'reset': self.disk('reset', 'qcow2', zoned(zone_size)),
            'reset, unmap': self.disk('unmap', 'qcow2', zoned(zone_size),
                                      unmap=True),
            'discard': self.disk('discard', 'qcow2', unmap=True)}
        ways = dict(zip(RESETS, ((zone_size, 1), (zone_size, 32), (size, 1))))

        def measure(way, name, disk, kind, flush):
            block, depth = ways[way]
            disk.load('write', MIB, 32, size)
            disk.flush()
            self.settle()
            _, nanoseconds = disk.load(kind, block, depth, size, flush)
            disk.flush()
            self.resets.add((zone_size, way, name),
                            nanoseconds / count / 1000)

        for disk in disks.values():
            disk.fresh(size)
        # What is durable costs at least this; the file has its space already.
        disks[UNIT] = unit = self.disk('unit', 'raw')
        unit.fresh(UNIT_WRITES * 4 * KIB)
        unit.load('write', 4 * KIB, 32, UNIT_WRITES * 4 * KIB)
        unit.flush()
        for way in ways:
            if not self.wants(f'{count} resets and discards of '
                              f'{zone_size // MIB} MiB, {way}'):
                continue
            for turn in self.rounds(self.options.reset_rounds, disks):
                for name, disk in turn:
                    if name == UNIT:
                        self.settle()
                        _, nanoseconds = disk.load('write', 4 * KIB, 1,
                                                   UNIT_WRITES * 4 * KIB, 1)
                        self.resets.add((zone_size, way, name),
                                        nanoseconds / UNIT_WRITES / 1000)
                    elif name == 'discard':
                        measure(way, 'discard', disk, 'discard', 0)
                        measure(way, 'discard, flush', disk, 'discard', 1)
                    else:
                        measure(way, name, disk, 'reset', 0)
        for disk in disks.values():
            disk.remove()

    def measure_reset_all(self, count, zone_size):
        """Milliseconds until it is done, and until the image is closed"""
        if not self.wants(f'reset of {count} zones, in one request'):
            return
        size = count * zone_size
        disks = {
            'reset': self.disk('reset', 'qcow2', zoned(zone_size)),
            'reset, unmap': self.disk('unmap', 'qcow2', zoned(zone_size),
                                      unmap=True)}
        for turn in self.rounds(self.options.reset_rounds, disks):
            for name, disk in turn:
                disk.fresh(size)
                disk.load('write', 4 * KIB, 32, size, step=zone_size)
                disk.flush()
                self.settle()
                _, nanoseconds = disk.load('reset', size, 1, size)
                start = time.monotonic()
                disk.close()
                closing = (time.monotonic() - start) * 1000
                self.resets.add((ALL, name), nanoseconds / 1e6)
                self.resets.add((ALL, name, 'closed'),
                                nanoseconds / 1e6 + closing)
                disk.unlink()

    # --- Jobs ---

    def beside(self, disk, start, seconds, target=None):
        """Writes where there is no data yet, with a backup to @target or without"""
        more = [target.filename()] if target else []
        return rate(self.bench('beside', disk.name, WRITER_BLOCK, WRITER_DEPTH,
                               start, self.options.job_bytes,
                               int(seconds * 1000), *more))

    def job_round(self, name, disk, target, overlay):
        size = self.options.job_bytes
        disk.fresh(4 * size)
        disk.load('write', MIB, JOB_DEPTH, size)
        disk.close()
        overlay.make_overlay(disk)
        overlay.open()
        self.settle()
        self.jobs.add((STREAM, name),
                      rate((size, self.bench('stream', overlay.name))))
        overlay.remove()

        disk.open()
        target.create(4 * size)
        self.settle()
        self.jobs.add((MIRROR, name),
                      rate((size, self.bench('mirror', disk.name,
                                             target.filename()))))
        target.unlink()
        target.create(4 * size)
        self.settle()
        # A plain disk's job counts what is not allocated, too
        _, nanoseconds = self.bench('backup', disk.name, target.filename())
        self.jobs.add((BACKUP, name), rate((size, nanoseconds)))
        target.unlink()

        # So long that there is data to copy all the time
        seconds = nanoseconds / 1e9 * WRITER_PART
        self.settle()
        self.jobs.add((ALONE, name), self.beside(disk, size, seconds))
        disk.flush()
        target.create(4 * size)
        self.settle()
        self.jobs.add((BESIDE, name), self.beside(disk, 2 * size, seconds,
                                                  target))
        target.unlink()
        disk.remove()

    def open_filled_overlay(self, disk, overlay):
        size = self.options.job_bytes
        disk.create(4 * size)
        overlay.make_overlay(disk)
        overlay.open()
        overlay.load('write', MIB, JOB_DEPTH, size)

    def commit_round(self, name, disk, middle, overlay):
        """Of the image in use, and of one that is not, to an empty backing file"""
        size = self.options.job_bytes
        self.open_filled_overlay(disk, middle)
        self.settle()
        self.jobs.add((ACTIVE, name),
                      rate((size, self.bench('commit-active', middle.name))))
        middle.remove()
        disk.unlink()

        self.open_filled_overlay(disk, middle)
        middle.close()
        overlay.make_overlay(middle)
        overlay.open()
        self.settle()
        self.jobs.add((COMMIT, name),
                      rate((size, self.bench('commit', overlay.name))))
        overlay.remove()
        middle.unlink()
        disk.unlink()

    def measure_jobs(self):
        if not self.wants('jobs'):
            return
        disks = {}
        for name, create in (('zoned', zoned(JOB_ZONE)), ('qcow2', ())):
            disks[name] = [self.disk(f'{kind} {name}', 'qcow2', create)
                           for kind in ('disk', 'target', 'overlay')]
        for turn in self.rounds(self.options.fewer_rounds, disks):
            for name, of in turn:
                self.job_round(name, *of)
                self.commit_round(name, *of)

    # --- Many zones ---

    def open_once(self, count, state, disk):
        """Milliseconds to open and report, KiB; in a process of its own"""
        bench = Bench(self.tool)
        disk.bench = bench
        try:
            nanoseconds = disk.open()
            kibibytes, most = bench.memory()
            _, reported = bench('report', disk.name)
            self.opens.add((count, state, 'open'), nanoseconds / 1e6)
            self.opens.add((count, state, 'report'), reported / 1e6)
            self.opens.add((count, state, 'KiB'), kibibytes)
            self.opens.add((count, state, 'most KiB'), most)
            disk.close()
        finally:
            bench.end()
            disk.bench = self.bench

    def info_once(self, count, state, disk):
        start = time.monotonic()
        subprocess.run([QEMU_IMG, 'info', disk.path], check=True,
                       stdout=subprocess.DEVNULL)
        self.opens.add((count, state, 'info'),
                       (time.monotonic() - start) * 1000)

    def measure_opens(self):
        if not self.wants('open and report many zones'):
            return
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
        for turn in self.rounds(self.options.open_rounds, disks):
            for (count, state), disk in turn:
                self.open_once(count, state, disk)
                self.info_once(count, state, disk)
        for disk in disks.values():
            disk.unlink()
