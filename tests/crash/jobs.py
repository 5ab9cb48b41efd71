# Workloads with a job beside them: what a cut leaves of the disk and of the target.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import shutil
import subprocess

from epoch import CONVENTIONAL
from eventlog import JOB, NEVER, PIVOT, POINT, SYNC, Event
from oracle import History, Oracle
from workload import VARIANTS, Recording, qemu_img_check

LAST_WINDOWS = 12                       # of a job
BELOW = {'cluster_size': 4096}          # images below the disk


class JobRecording(Recording):
    """
    A chain of images, of which the first is the disk, or a disk and a target.
    Headers name backing files without a directory, so that what a cut has left can
    be opened beside them.
    """
    ENDLESS = 20000             # a quarter of them waits for the job
    KILLED_WITHIN = .1

    def __init__(self, directory, workload, variant, seed):
        super().__init__(directory, workload, variant, seed)
        self.layers = ['image', *workload.below]
        self.target = 'target' if workload.has_target else None
        # In the order in which they are opened: that of the disks in the log
        self.files = []
        for name in [*self.layers, *([self.target] if self.target else [])]:
            self.files.append(name)
            if 'data_file' in self.options(name):
                self.files.append(self.options(name)['data_file'])

    def options(self, name):
        if name in self.workload.below:
            return BELOW
        options = VARIANTS[self.variant]
        return ({**options, 'data_file': f'{name}.data'} if 'data_file' in options
                else options)

    # --- Images ---

    def create(self, tool):
        self.directory.mkdir(parents=True, exist_ok=True)
        self.path('log').unlink(missing_ok=True)
        zones = {'zone.mode': 'host-managed', **self.workload.zones}
        below = None
        for name in reversed(self.layers):
            if below:
                self.create_file(name, self.options(name), '-b', below, '-F', 'qcow2')
            else:
                self.create_file(name, {**zones, **self.options(name)})
            # Not so much that nothing is left for the images above
            if name != 'image':
                subprocess.run(self.command(tool, self.chain(name, 'file'),
                                            self.workload.requests // 3,
                                            self.workload.base_mix),
                               check=True, timeout=120)
            below = name
        if self.workload.has_overlay:
            self.create_file(self.target, self.options(self.target),
                             '-b', 'base', '-F', 'qcow2')
        elif self.target:
            self.create_file(self.target, {**zones, **self.options(self.target)})
        if len(self.layers) > 1:
            shutil.copy(self.path('log'), self.path('base-log'))

    def node(self, name, driver, directory=None):
        """One image, without what is below it"""
        def file(name):
            return {'driver': driver,
                    'filename': str((directory or self.directory) / name)}
        node = {'driver': 'qcow2', 'file': file(name)}
        if self.discards:
            node['discard'] = 'unmap'
        if 'data_file' in self.options(name):
            node['data-file'] = file(self.options(name)['data_file'])
        if 'encrypt.format' in self.options(name):
            node['encrypt'] = {'format': 'luks', 'key-secret': 'key'}
        return node

    def chain(self, name, driver, directory=None):
        """The image and all below it, as nodes with their names"""
        layers = self.layers[self.layers.index(name):]
        result = None
        for layer in reversed(layers):
            node = {**self.node(layer, driver, directory), 'node-name': layer}
            result = {**node, 'backing': result} if result else node
        return 'json:' + json.dumps(result)

    def found(self, name, directory):
        """As somebody opens it who has this directory"""
        return 'json:' + json.dumps(self.node(name, 'file', directory))

    # --- Recording ---

    def work(self, tool, driver, requests):
        command = self.command(tool, self.chain('image', driver), requests,
                               self.workload.mix)
        command.append(self.workload.job)
        if self.target:
            node = self.node(self.target, driver)
            if self.workload.has_overlay:
                node['backing'] = 'base'
            command.append('json:' + json.dumps(node))
        return command

    def judge(self, events):
        return JobOracle(events, self.workload)

    def pick_window(self, rng):
        """Half of them where the job ends, which takes a few flushes of many"""
        windows = self.replay.windows
        ends = [e.end for e in self.oracle.jobs if e.end != NEVER]
        if not ends or rng.random() < .5:
            return super().pick_window(rng)
        last = sum(first <= max(ends) for first, _ in windows)
        return rng.randrange(max(last - LAST_WINDOWS, 0), last)

    # --- Judging ---

    def try_cut(self, looker, window, number):
        directory = self.path('cut')
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        moment = self.cut(window, number, lambda name: directory / name)
        wrong = [f'{name}: it was written' for name in self.workload.only_read
                 if (directory / name).read_bytes() != self.path(name).read_bytes()]
        over, moved = self.oracle.is_over(moment), False
        if number % 2 and not over and not self.target:
            self.repeat(looker.tool, directory)
            over = True
            moved = bool(self.oracle.pivots)
        found = Found(self, looker, over, directory, moved)
        return (wrong + self.oracle.judge(moment, found) +
                (found.check() if number == 0 else []))

    def repeat(self, tool, directory):
        """The job that was cut is done again, and nothing else."""
        self.path('again-log').unlink(missing_ok=True)
        command = self.command(tool, self.chain('image', 'file', directory), 0, 'd1')
        command[command.index(str(self.path('log')))] = self.path('again-log')
        subprocess.run([*command, self.workload.job], check=True, timeout=120,
                       stderr=subprocess.DEVNULL)

    def judge_killed(self, looker):
        over = self.oracle.is_over(self.length)
        found = Found(self, looker, over, self.directory)
        return self.oracle.judge(self.length, found) + found.check()


class Found:
    """The images in a directory after a cut"""
    def __init__(self, recording, looker, over, directory, moved=False):
        self.recording, self.looker, self.directory = recording, looker, directory
        self.moved = moved      # by another job after the cut
        # When the job is over, its user deletes what is no longer used.
        for name in recording.workload.dropped if over else ():
            (directory / name).unlink()

    def look(self, name):
        return self.looker.look(self.recording.found(name, self.directory))

    def check(self):
        names = ['image', self.recording.workload.moves_to]
        return [text for name in names if (self.directory / name).exists()
                for text in qemu_img_check(self.recording.found(name, self.directory))]


class JobOracle(Oracle):
    """
    The disk is as ever.  A target is empty or has all of what it was made for, and
    has it when the job has ended.
    """
    def __init__(self, events, workload):
        kinds = (JOB, POINT, PIVOT)
        super().__init__([e for e in events if e.kind not in kinds], workload.zones)
        self.workload = workload
        self.jobs = [e for e in events if e.kind == JOB]
        self.pivots = [e for e in events if e.kind == PIVOT]
        self.points = [e for e in events if e.kind == POINT]
        self.failed = [f'job failed: {e}' for e in self.jobs if e.result not in (None, 0)]
        work = [e for e in events if not e.is_disk and e.kind not in kinds]
        self.pictures = [Picture(work, workload.zones, point) for point in self.points]

    def is_over(self, moment):
        return bool(self.jobs) and all(e.end < moment for e in self.jobs)

    def judge(self, moment, found):
        wrong = self.failed[:]
        results = []
        if not found.moved and not any(e.end < moment for e in self.pivots):
            results.append(super().judge(moment, found.look('image')))
        if found.moved or any(e.begin < moment for e in self.pivots):
            # The disk when the job has ended; until then it may be
            seen = found.look(self.workload.moves_to)
            results.append([f'moved: {text}' for text in super().judge(moment, seen)])
            if self.workload.has_target:
                wrong += min(results[-1], self.incomplete(moment, seen), key=len)
        elif self.workload.has_target:
            wrong += [f'target: {text}'
                      for text in self.judge_target(moment, found.look('target'))]
        return wrong + min(results, key=len)

    def judge_target(self, moment, seen):
        """Before it may be the disk"""
        wrong = list(self.judge_image(moment, seen))
        # What may be there
        ended = sum(e.end < moment for e in self.jobs)
        begun = sum(e.begin < moment for e in self.jobs)
        pictures = [p for n, p in enumerate(self.pictures)
                    if ended - 1 <= n < begun and p.point.begin < moment]
        sequential = [zone for zone in seen.zones if zone.state != CONVENTIONAL]
        if begun > ended or not ended:
            results = [p.judge(sequential) for p in pictures]
            results.append(self.incomplete(moment, seen))
        else:
            results = [p.judge(seen.zones) for p in pictures]
        return wrong + min(results, key=len)

    def incomplete(self, moment, seen):
        """
        What is wrong if nobody is to take this for a copy of the disk.  An overlay has
        the zones of its backing file then, and is of no use.
        """
        if self.workload.has_overlay:
            return list(self.judge_image(moment, seen))
        return [*self.judge_image(moment, seen),
                *(f'zone {zone.index}: not empty' for zone in seen.zones
                  if zone.state != CONVENTIONAL and not zone.is_empty)]


class Picture:
    """The disk at one moment, with all that it had answered"""
    def __init__(self, events, zones, point):
        self.point, self.events, self.zones = point, events, zones

    def judge(self, zones):
        """What is wrong with these"""
        flush = Event(SYNC, 0, 0, 0, 0, self.point.begin, None)
        flush.ended(self.point.end, 0, 0, 0)
        history = History([*self.events, flush], self.zones)
        return history.judge(self.point.end + 1, zones)
