# Workloads: what is done to which kind of image, recorded and looked at.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import program
from eventlog import Event, FINISH, SYNC, read_log
from epoch import CONVENTIONAL, FULL, SECTOR
from oracle import Oracle, Seen
from powercut import Replay

QEMU_IMG = program.OBJ / 'qemu-img'
SECRET = ['--object', 'secret,id=key,data=crash']
ONLY_LEAKS = 3          # exit status of qemu-img check
KiB = 1024

# 64 zones, two of them conventional
SMALL_ZONES = {'size': 64 * 64 * KiB, 'zone.size': 64 * KiB, 'zone.capacity': 48 * KiB,
               'zone.conventional_zones': 2, 'zone.max_append_bytes': 8 * KiB,
               'zone.max_open_zones': 6, 'zone.max_active_zones': 8}
# 256 zones, their records in 8 sectors
TINY_ZONES = {**SMALL_ZONES, 'zone.size': 16 * KiB, 'zone.capacity': 4 * KiB,
              'zone.max_append_bytes': 4 * KiB}
# 1024 zones, their records in 4 blocks of those that the table is written in
MANY_ZONES = {'size': 4096 * KiB, 'zone.size': 4 * KiB}
# As NVMe namespaces have them: extensions of three sectors, random write areas
ZNS_ZONES = {**SMALL_ZONES, 'zone.max_active_zones': 12,
             'zone.descriptor_extension_size': 1536, 'zone.zrwa_size': 16 * KiB,
             'zone.zrwa_flush_granularity': KiB, 'zone.zrwa_zones': 4}
# Without a limit, zones that are not active may have claims
OPEN_ZONES = {**SMALL_ZONES, 'zone.max_open_zones': 0, 'zone.max_active_zones': 0}
# 256 of them, more than a block has claims
MORE_ZONES = {**OPEN_ZONES, 'zone.size': 16 * KiB, 'zone.capacity': 12 * KiB}
# 128 that are not full soon: all have claims in one block, in all its sectors
WIDE_ZONES = {'size': 8192 * KiB, 'zone.size': 64 * KiB}
BIG_ZONES = {'size': 4096 * KiB, 'zone.size': 1024 * KiB}
# Four times what is mapped at a time with clusters of 512 bytes
STEP_ZONES = {'size': 8192 * KiB, 'zone.size': 4096 * KiB}


LUKS = {'cluster_size': 4096, 'encrypt.format': 'luks',
        'encrypt.key-secret': 'key', 'encrypt.iter-time': 1}
VARIANTS = {
    '4k': {'cluster_size': 4096},
    '512': {'cluster_size': 512},
    'luks': LUKS,
    'data-file': {'cluster_size': 4096, 'data_file': 'data'},
    'extended-l2': {'cluster_size': 16384, 'extended_l2': 'on'},
    'default': {},
    'mapped': {'cluster_size': 4096, 'preallocation': 'metadata'},
    'lazy': {'cluster_size': 4096, 'lazy_refcounts': 'on'},
    'lazy-luks': {**LUKS, 'lazy_refcounts': 'on'},
    'lazy-mapped': {'cluster_size': 4096, 'lazy_refcounts': 'on',
                    'preallocation': 'metadata'},
}


# Where a reset leaves what was written where it is
KEPT = 'default', 'lazy'
# Left out of the quick selection
SLOW = 'lazy-luks', 'lazy-mapped'
# Those of an overlay: it is never preallocated
OVERLAY = tuple(v for v in VARIANTS if 'mapped' not in v)
# Those of a mirror's target.  With lazy refcounts, qcow2 lets clusters be used again
# before it is durable that they were discarded: as long as the target is incomplete
# one may have two references.
MIRRORED = tuple(v for v in VARIANTS if 'lazy' not in v)
SMALL_CLUSTERS = tuple(v for v in VARIANTS if v != 'default')


class Workload(NamedTuple):
    name: str
    zones: dict
    requests: int
    depth: int
    hot: int            # zones that get most of the requests
    mix: str            # as zone-workload has it
    fail_writes: int = 0        # one of so many fails
    fail_flushes: int = 0
    variants: tuple = tuple(VARIANTS)
    base_mix: str = ''          # what is done to a backing file before, if any
    lives: bool = False         # goes on after a power cut, and is cut again
    job: str = ''               # runs meanwhile; crash-jobs.h has their names
    below: tuple = ()           # backing files of the disk then, all with base_mix
    dropped: tuple = ()         # those of them that may go when the job is over
    quick: tuple = ()           # variants of the quick selection; none: all but SLOW

    def is_slow(self, variant):
        """Is it left out of the quick selection?"""
        return variant not in self.quick if self.quick else variant in SLOW

    @property
    def moves_to(self):
        """What becomes the disk"""
        return 'target' if self.has_target else 'base'

    @property
    def has_target(self):
        return bool(self.job) and (not self.below or self.has_overlay)

    @property
    def only_read(self):
        """Images that nobody writes"""
        return () if self.job in ('commit', 'active') else self.below

    @property
    def has_overlay(self):
        """Is the target above the base, too?"""
        return self.job == 'mirrortop'


# What is done to images below, to a disk above them, and to one that is copied
BELOW_MIX = 'd70v10s5f3x5z5'
CHAIN_MIX = 'd60u2v6s5r5R1f3o2c2x2z2k2b1h1'
DISK_MIX = 'd60u2v6s5r5f3o2c2x2z2k2b1l1h2'
# What was offline when it moved has lost its data for good
MIRROR_MIX = DISK_MIX.replace('l1', '')
# Clusters become shared and are copied; there are none in a data file
IN_IMAGE = tuple(v for v in VARIANTS if v != 'data-file')
WORKLOADS = [
    Workload('mixed', SMALL_ZONES, 400, 24, 10, 'd60u2v6s5r5R1f3o2c2'),
    Workload('append', BIG_ZONES, 400, 32, 1, 'd95s5', lives=True),
    Workload('steps', STEP_ZONES, 900, 32, 1, 'd380u12s8r1p2', variants=('512',),
             lives=True),
    Workload('reset', SMALL_ZONES, 300, 8, 12, 'd50s3r12R1', lives=True),
    # Zones that are written while holes are punched in them and beside them
    Workload('holes', SMALL_ZONES, 400, 8, 4, 'd70s4r6R2p4', lives=True,
             variants=('4k', 'luks', 'data-file', 'extended-l2')),
    Workload('finish', {**SMALL_ZONES, 'zone.capacity': 8 * KiB}, 400, 8, 10,
             'd60s3f16r8', lives=True),
    Workload('snapshots', SMALL_ZONES, 400, 16, 10, 'd60u2v4s5r5n3f2',
             variants=IN_IMAGE),
    Workload('goto', ZNS_ZONES, 400, 16, 10, 'd60u2v4s5r5n4g3f2x4z4k2b1l1h2',
             variants=IN_IMAGE),
    Workload('zns', ZNS_ZONES, 500, 16, 8, 'd70u3s6r3f2x6z12k4b1l1h4o2c1'),
    Workload('overlay', ZNS_ZONES, 300, 16, 10, 'd60u2v6s5r5R1f3o2c2x2z2k2b1h1',
             variants=OVERLAY, base_mix='d70v10s5f3x5z5'),
    # Zones come and go, so that the limits matter; with more of them, most
    # requests only hear that there are too many active zones
    Workload('fill', TINY_ZONES, 1600, 16, 24, 'd97s3', variants=('4k', '512', 'lazy')),
    # Of zones that are full already, but not on the disk
    Workload('refinish', TINY_ZONES, 400, 2, 20, 'd80f14r6',
             variants=('4k', 'lazy'), lives=True),
    Workload('errors', SMALL_ZONES, 500, 32, 4, 'd74s6r6f6', fail_writes=40),
    # A flush that fails while qcow2 links an L2 table corrupts the image: with
    # these there are none to link, so lazy refcounts make no difference
    Workload('flusherrors', MANY_ZONES, 400, 4, 1000, 'd70s20r10', fail_writes=20,
             fail_flushes=8, variants=('mapped', 'lazy-mapped')),
    # An extension that was not set, as far as is known, is set again
    Workload('exterrors', {**ZNS_ZONES, 'zone.max_active_zones': 0}, 400, 4, 6,
             'x50r8d8s4', fail_writes=12, fail_flushes=8,
             variants=('mapped', 'lazy-mapped')),
    # Every write durable when it has ended, or soon: a flush after each, FUA
    Workload('durable', OPEN_ZONES, 300, 4, 10, 'e60u20d10r4f2R1', lives=True),
    Workload('lonely', BIG_ZONES, 120, 1, 2, 'e70u20r6f2', lives=True),
    Workload('turns', MORE_ZONES, 600, 8, 200, 'e50u20d20s3r5f2',
             variants=SMALL_CLUSTERS, lives=True),
    # Zones that are finished while they are written
    Workload('finishing', {**OPEN_ZONES, 'zone.capacity': 16 * KiB}, 400, 12, 3,
             'e40d15u10s5f18r12', lives=True),
    # So many claims in a block that it is torn between them
    Workload('spread', WIDE_ZONES, 500, 3, 110, 'e90u10', lives=True,
             variants=('4k', '512', 'luks', 'data-file', 'lazy')),
    Workload('limited', TINY_ZONES, 600, 6, 16, 'e60u20d10r8f2',
             variants=SMALL_CLUSTERS, lives=True),
    Workload('saved', OPEN_ZONES, 300, 4, 8, 'e60u20d5r5f2n4g4', variants=IN_IMAGE),
    Workload('grown', OPEN_ZONES, 200, 4, 8, 'e60u20d5r5f2t4'),
    Workload('above', OPEN_ZONES, 200, 4, 10, 'e60u20d5r5f2R1', variants=OVERLAY,
             base_mix='d70s5f3', lives=True),
    Workload('durerrors', OPEN_ZONES, 300, 4, 6, 'e60u20r5f3', fail_writes=40),
    Workload('claimerrors', {**MANY_ZONES, 'zone.size': 16 * KiB}, 400, 4, 40,
             'e60u20r10', fail_writes=20, fail_flushes=12,
             variants=('mapped', 'lazy-mapped')),
    # Jobs
    Workload('stream', ZNS_ZONES, 300, 16, 10, CHAIN_MIX, variants=OVERLAY,
             base_mix=BELOW_MIX, job='stream', below=('upper', 'mid', 'base'),
             dropped=('upper', 'mid', 'base'), quick=('4k',)),
    Workload('streambase', OPEN_ZONES, 300, 16, 10, 'd50e20u10s5r5f2',
             variants=OVERLAY, base_mix=BELOW_MIX, job='streambase',
             below=('upper', 'mid', 'base'), dropped=('upper', 'mid'),
             quick=('data-file',)),
    Workload('commit', ZNS_ZONES, 300, 16, 10, CHAIN_MIX, variants=OVERLAY,
             base_mix=BELOW_MIX, job='commit', below=('upper', 'mid', 'base'),
             dropped=('upper', 'mid'), quick=('default',)),
    Workload('active', ZNS_ZONES, 400, 16, 10, CHAIN_MIX, variants=OVERLAY,
             base_mix=BELOW_MIX, job='active', below=('upper', 'mid', 'base'),
             dropped=('image', 'upper', 'mid'), quick=('512',)),
    Workload('backup', ZNS_ZONES, 400, 16, 10, DISK_MIX, job='backup',
             quick=('4k',)),
    Workload('incremental', ZNS_ZONES, 600, 16, 10, DISK_MIX, job='incremental',
             quick=('512',)),
    Workload('mirror', ZNS_ZONES, 500, 16, 10, MIRROR_MIX, job='mirror',
             variants=MIRRORED, quick=('4k', 'default')),
    Workload('mirrortop', ZNS_ZONES, 500, 16, 10, CHAIN_MIX, base_mix=BELOW_MIX,
             job='mirrortop', below=('base',), dropped=('image',),
             variants=tuple(v for v in MIRRORED if v in OVERLAY),
             quick=('default',)),
    Workload('copy', ZNS_ZONES, 400, 16, 10, DISK_MIX, job='copy',
             variants=MIRRORED, quick=('luks',)),
]


class Recording:
    """One run of a workload, kept in a directory."""
    ENDLESS = 1 << 40           # requests
    KILLED_WITHIN = .3          # seconds

    def __init__(self, directory, workload, variant, seed):
        self.directory, self.workload, self.variant = Path(directory), workload, variant
        self.seed = seed
        self.files = ['image', *(['data'] if variant == 'data-file' else [])]

    @property
    def discards(self):
        return self.variant not in KEPT

    def path(self, name):
        return self.directory / name

    def create(self, tool):
        self.directory.mkdir(parents=True, exist_ok=True)
        self.path('log').unlink(missing_ok=True)
        zones = {'zone.mode': 'host-managed', **self.workload.zones}
        if self.workload.base_mix:
            self.create_file('base', {**zones, 'cluster_size': 4096})
            self.fill_base(tool)
            self.create_file('image', VARIANTS[self.variant],
                             '-b', self.path('base'), '-F', 'qcow2')
        else:
            self.create_file('image', {**zones, **VARIANTS[self.variant]})

    def create_file(self, name, options, *more):
        if 'data_file' in options:
            options = {**options, 'data_file': self.path(options['data_file'])}
        words = ','.join(f'{key}={value}' for key, value in options.items())
        subprocess.run([QEMU_IMG, 'create', '-q', *SECRET, '-f', 'qcow2',
                        *(['-o', words] if words else []), *more, self.path(name)],
                       check=True)

    def blockdev(self, driver, suffix=''):
        """The image's filename for QEMU; its files have @suffix and lie on @driver."""
        def node(name):
            return {'driver': driver, 'filename': str(self.path(name + suffix))}
        options = {'driver': 'qcow2', 'file': node('image')}
        if self.discards:
            options['discard'] = 'unmap'
        if 'data' in self.files:
            options['data-file'] = node('data')
        if self.workload.base_mix:
            options['backing'] = self.base()
        if 'encrypt.format' in VARIANTS[self.variant]:
            options['encrypt'] = {'format': 'luks', 'key-secret': 'key'}
        return 'json:' + json.dumps(options)

    def base(self):
        return {'driver': 'qcow2', 'file': {'driver': 'file',
                                            'filename': str(self.path('base'))}}

    def command(self, tool, image, requests, mix):
        w = self.workload
        return [str(word) for word in (
            tool, 'run', image, self.path('log'), self.seed, requests, w.depth, w.hot,
            mix, w.fail_writes, w.fail_flushes)]

    def fill_base(self, tool):
        if self.workload.base_mix:
            subprocess.run(self.command(tool, 'json:' + json.dumps(self.base()),
                                        self.workload.requests, self.workload.base_mix),
                           check=True, timeout=120)
            shutil.copy(self.path('log'), self.path('base-log'))

    def work(self, tool, driver, requests):
        return self.command(tool, self.blockdev(driver), requests, self.workload.mix)

    def record(self, tool):
        """Do the work on disks in memory; the files stay as they were."""
        self.create(tool)
        subprocess.run(self.work(tool, 'crash-disk', self.workload.requests),
                       check=True, timeout=120)

    def record_killed(self, tool, rng):
        """Do it on the files themselves, until a moment that nobody knows."""
        self.create(tool)
        self.path('log').touch()
        begun = self.path('log').stat().st_size
        child = subprocess.Popen(self.work(tool, 'file', self.ENDLESS))
        while self.path('log').stat().st_size == begun and child.poll() is None:
            time.sleep(.001)
        time.sleep(rng.uniform(0, self.KILLED_WITHIN))
        assert child.poll() is None, 'it has ended by itself'
        child.kill()
        child.wait()

    def load(self):
        begin = 0
        if self.path('base-log').exists():
            _, begin = read_log(self.path('base-log'))
        events, self.length = read_log(self.path('log'))
        self.replay = Replay([self.path(name).read_bytes() for name in self.files],
                             events, begin, self.length)
        self.oracle = self.judge(events)

    def judge(self, events):
        return Oracle(events, self.workload.zones)

    def pick_window(self, rng):
        return rng.randrange(len(self.replay.windows))

    def cut(self, window, number, path):
        """Cut the power in some way that the numbers stand for; returns when."""
        rng = random.Random(f'{self.seed}/{window}/{number}')
        first, last = self.replay.windows[window]
        moment = rng.randint(first, last)
        for name, disk in zip(self.files, self.replay.cut(moment, rng)):
            path(name).write_bytes(disk.data)
        return moment

    def judge_killed(self, looker):
        return self.oracle.judge(self.length, looker.look(self.blockdev('file')))

    def try_cut(self, looker, window, number):
        """What is wrong after this cut?"""
        moment = self.cut(window, number, lambda name: self.path(f'{name}.cut'))
        image = self.blockdev('file', '.cut')
        wrong = self.oracle.judge(moment, looker.look(image))
        if number == 0 and not self.oracle.may_be_inconsistent(moment):
            wrong += qemu_img_check(image)
        return wrong


class NextLife(Recording):
    """
    The same work goes on after a power cut.  First of all claims are stored and
    refcounts repaired, and that is cut as well.  What was found in sequential
    zones after the first cut must not get lost.
    """
    def __init__(self, directory, workload, variant, seed, looker):
        super().__init__(directory, workload, variant, seed)
        self.looker = looker

    def begin(self, recording, window, number):
        """With what this cut has left; what is wrong with that."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        if self.workload.base_mix:
            shutil.copy(recording.path('base'), self.path('base'))
        shutil.copy(recording.path('log'), self.path('first-log'))
        moment = recording.cut(window, number, self.path)
        return recording.oracle.judge(moment, self.look_at_first())

    def record(self, tool):
        shutil.copy(self.path('first-log'), self.path('log'))
        requests = random.Random(self.seed).choice((0, 10, self.workload.requests // 2))
        # A repair tells of each cluster
        with open(self.path('errors'), 'wb') as errors:
            subprocess.run(self.command(tool, self.blockdev('crash-disk'), requests,
                                        self.workload.mix),
                           check=True, timeout=120, stderr=errors)

    def look_at_first(self):
        for name in self.files:
            shutil.copy(self.path(name), self.path(name + '.first'))
        return self.looker.look(self.blockdev('file', '.first'))

    def load(self):
        _, begin = read_log(self.path('first-log'))
        events, self.length = read_log(self.path('log'))
        events = [e for e in events if e.begin >= begin]
        self.replay = Replay([self.path(name).read_bytes() for name in self.files],
                             events, begin, self.length)
        self.oracle = Oracle([*found(self.look_at_first()), *events],
                             self.workload.zones)

    def pick_window(self, rng):
        windows = len(self.replay.windows)
        return rng.randrange(min(windows, 8) if rng.random() < .5 else windows)


def found(seen):
    """Events, long ended, that explain what is in the zones."""
    def event(kind, number, offset, length, begin):
        e = Event(kind, 0, number, offset, length, begin, None)
        e.ended(begin + 1, offset, length, 0)
        return e

    for zone in (z for z in seen.zones if z.state != CONVENTIONAL):
        for offset, length, number, first in zone.runs:
            if number > 0:
                skipped = first * SECTOR
                yield event('w', number, offset - skipped, length + skipped, 0)
        if zone.state == FULL:
            yield event(FINISH, 0, zone.start, zone.length, 2)
    yield event(SYNC, 0, 0, 0, 4)


def qemu_img_check(image):
    """What the user's own tool says; it is slower, and so for a few only."""
    done = subprocess.run([QEMU_IMG, 'check', *SECRET, image], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return [] if done.returncode in (0, ONLY_LEAKS) else done.stdout.splitlines()[-3:]


class Looker:
    """zone-workload, looking at one image after the other."""
    def __init__(self, tool):
        self.tool, self.child = tool, None

    def look(self, image):
        if not self.child:
            self.child = subprocess.Popen([self.tool, 'look'], text=True,
                                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                          stderr=subprocess.DEVNULL)
        self.child.stdin.write(image + '\n')
        self.child.stdin.flush()
        lines = []
        for line in self.child.stdout:
            if line == 'end\n':
                return Seen(lines)
            lines.append(line.rstrip('\n'))
        lines.append(f'died of {self.child.wait()}')
        self.child = None
        return Seen(lines)
