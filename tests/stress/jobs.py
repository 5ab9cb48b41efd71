# Jobs on the image of a disk while the guest goes on
#
# A job is started at any moment, and looked at now and then.  No guest notices any:
# what the disk has to be is what the model says, whatever the job does.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re

from explain import is_reported
from machine import wait_until
from model import OFFLINE, Wrong, describe_zones
from target import ZONE, qemu_img

KiB = 1024
#: What QMP calls the states of zones
STATES = {'not-write-pointer': 'conventional', 'empty': 'empty', 'closed': 'closed',
          'implicitly-open': 'iopen', 'explicitly-open': 'eopen', 'full': 'full',
          'read-only': 'rdonly', 'offline': 'offline'}
SPEEDS = (0, 0, 256 * KiB, 4096 * KiB)
PATIENCE = 20       # looks at a job that is slow on purpose
ENDED = ('waiting', 'pending', 'aborting', 'concluded')


class Job:
    """One at a time of a target; start() gives the QMP commands that begin it."""
    def __init__(self, session, target, rng):
        self.session, self.target, self.rng = session, target, rng
        self.name = f'{target.name}-job-{session.operations}'
        self.speed, self.looks, self.hurry = rng.choice(SPEEDS), 0, False
        self.cancelled = False      # whatever else it was told
        # A zone is offline, or was
        self.offline = any(zone.state == OFFLINE for zone in target.disk.zones)

    def start(self):
        return [(self.command, {'job-id': self.name, 'speed': self.speed,
                                'device': self.target.node, 'auto-dismiss': False,
                                **self.arguments()})]

    def may_fail(self, error):
        return False

    def refused(self):
        """It was not begun."""

    def ready(self):
        """It is, and waits for its end; only mirrors are ever."""

    def ends(self):
        """The QMP commands that end it, None if it does not wait for that"""

    def over(self, good):
        """It has ended."""

    def cut(self):
        """QEMU has ended before."""

    def status(self):
        for job in self.session.machine.qmp('query-jobs'):
            if job['id'] == self.name:
                return job
        raise Wrong(f'{self.name}: the job is gone')

    def look(self):
        """Has it ended?"""
        status = self.status()
        self.looks += 1
        if status['status'] == 'ready':
            self.ready()
        elif status['status'] == 'concluded':
            self.conclude(status.get('error'))
            return True
        elif self.looks == PATIENCE and self.speed:
            self.hasten()
        return False

    def hasten(self):
        good, answer = self.session.machine.try_qmp('block-job-set-speed',
                                                    device=self.name, speed=0)
        # It may have ended since it was looked at
        if not good and self.status()['status'] not in ENDED:
            raise Wrong(f'{self.name}: {answer}')

    def conclude(self, error):
        self.session.machine.qmp('job-dismiss', id=self.name)
        self.session.note(f'{self.name} has ended: {error or "well"}')
        what = type(self).__name__
        self.session.counts[f'job {what} {"failed" if error else "done"}'] += 1
        if error and not self.may_fail(error):
            raise Wrong(f'{self.name}: {error}')
        self.target.job = None
        self.over(not error)

    def finish(self):
        """Wait until it ends."""
        machine = self.session.machine
        self.hurry = True
        if self.speed:
            self.hasten()
        wait_until(self.look, self.name, machine.clock)

    def cancel(self):
        self.cancelled = True
        self.session.machine.try_qmp('block-job-cancel', device=self.name)
        self.may_fail = lambda error: True
        wait_until(self.look, self.name, self.session.machine.clock)


class Stream(Job):
    """Bring what backing files have into the image."""
    command = 'block-stream'

    def __init__(self, session, target, rng):
        super().__init__(session, target, rng)
        self.base = target.images[0] if len(target.images) > 2 and rng.random() < 0.5 \
            else None

    @staticmethod
    def is_possible(target):
        return len(target.images) > 1

    def arguments(self):
        # What is no longer there cannot be gone back to
        self.target.forget_snapshots()
        return {'base': str(self.base)} if self.base else {}

    def may_fail(self, error):
        return self.offline

    def over(self, good):
        if good:
            self.target.leave_images(1 if self.base else 0, len(self.target.images) - 1)


def is_one_size(target):
    """The commits want that of all images."""
    return len({*target.sizes[:len(target.images) - 1], len(target.disk.zones)}) == 1


class Commit(Job):
    """Merge an overlay that the guest does not write into its backing file."""
    command = 'block-commit'

    @staticmethod
    def is_possible(target):
        return len(target.images) > 2 and is_one_size(target)

    def arguments(self):
        return {'base': str(self.target.images[0]), 'top': str(self.target.images[1])}

    def may_fail(self, error):
        return self.target.images[1] in self.target.behind and \
            re.fullmatch(r"Zone \d+ of node '.*' has more data than when the overlay was "
                         'made', error)

    def over(self, good):
        if good:
            self.target.leave_images(1, 2)


class Copy(Job):
    """To another image; the guest may do anything meanwhile."""
    def __init__(self, session, target, rng):
        super().__init__(session, target, rng)
        target.overlays += 1
        self.node = f'{target.name}-{target.overlays}'
        self.make_target()

    def make_target(self):
        self.path = self.target.directory / f'{self.node}.qcow2'
        self.target.create(self.path, len(self.target.disk.zones))

    @staticmethod
    def is_possible(target):
        return True

    def start(self):
        return [('blockdev-add', {
            'driver': 'qcow2', 'node-name': self.node,
            'file': {'driver': 'file', 'filename': str(self.path)},
            **({'discard': 'unmap'} if self.session.discard else {}),
            **self.node_options()}), *super().start()]

    def node_options(self):
        return {}

    def arguments(self):
        return {'target': self.node, 'sync': 'full'}

    def refused(self):
        self.session.machine.try_qmp('blockdev-del', node_name=self.node)
        self.path.unlink()

    def cut(self):
        self.path.unlink()

    def compare(self, saved):
        """The image has to be the disk as it was then, after a clean end."""
        zones, data = saved
        machine = self.session.machine
        expected = [(zone.state, zone.wp) for zone in zones]
        seen = [(STATES[zone['state']], (zone.get('write-pointer') or zone['start']) -
                 zone['start']) for zone in
                machine.qmp('query-block-zones', node_name=self.node)['zones']]
        if not len(seen) == len(expected) or not all(
                is_reported(*zone, report) for zone, report in zip(expected, seen)):
            raise Wrong(f'{self.name}: {describe_zones(seen)}\n'
                        f'instead of {describe_zones(expected)}')
        machine.qmp('blockdev-del', node_name=self.node)
        qemu_img('check', '-q', self.path)
        raw = self.path.with_suffix('.raw')
        qemu_img('convert', '-O', 'raw', self.path, raw)
        found = raw.read_bytes()
        raw.unlink()
        for i, zone in enumerate(zones):
            if zone.state != OFFLINE:
                start = i * ZONE
                if found[start:start + ZONE] != data[start:start + ZONE]:
                    self.target.tell_difference(start, found[start:start + ZONE],
                                                data[start:start + ZONE])


class Backup(Copy):
    """
    Nothing is in flight when it begins: what it has to be is known.  A bitmap says
    what the next one has to copy to the same image.
    """
    command = 'blockdev-backup'

    def make_target(self):
        target = self.target
        self.last = target.backup
        if self.last:
            self.path = self.last.path
            return
        super().make_target()
        self.bitmap = f'{self.name}-bitmap'

    def start(self):
        self.saved = self.target.disk.after_power_cycle()
        if self.last:
            self.bitmap = self.last.bitmap
            return super().start()
        return [('block-dirty-bitmap-add', {'node': self.target.node,
                                            'name': self.bitmap}), *super().start()]

    def arguments(self):
        if not self.last:
            return super().arguments()
        return {'target': self.node, 'sync': 'incremental', 'bitmap': self.bitmap}

    def may_fail(self, error):
        return self.offline

    def over(self, good):
        self.target.backup = self
        if good:
            self.session.counts['incremental backup'] += bool(self.last)
            self.compare(self.saved)
        else:
            self.session.machine.qmp('blockdev-del', node_name=self.node)
            self.target.forget_backup()

    def cut(self):
        self.path.unlink(missing_ok=True)


class Switch(Job):
    """The guest may get another image at its end."""
    def __init__(self, session, target, rng):
        super().__init__(session, target, rng)
        self.waits = rng.choice((0, 1, 3, 10))      # looks when it is ready
        self.ending = None
        for name in list(target.bitmaps):
            target.check_bitmap(name)

    def may_fail(self, error):
        return self.offline

    def ready(self):
        if self.ending:
            return
        self.waits -= 1
        if self.hurry:
            self.waits = -1
            for command, arguments in self.ends():
                self.session.machine.qmp(command, **arguments)

    def ends(self):
        if self.ending or self.waits >= 0:
            return None
        # Of an offline zone the copy has no data
        self.ending = 'cancel' if self.offline or self.rng.random() < 0.25 else \
            'complete'
        return [(f'block-job-{self.ending}', {'device': self.name})]

    def over(self, good):
        target, node = self.target, self.target.node_of_guest()
        may_switch = good and self.ending == 'complete'
        may_stay = not may_switch or self.cancelled
        if node == target.node and may_stay:
            return self.stayed(good)
        if not may_switch or node != self.new_node():
            raise Wrong(f'{self.name}: the guest has node {node}')
        target.forget_backup()
        target.node, target.snapshots = node, {}
        return self.switched()

    def new_node(self):
        """That which the guest may get"""

    def switched(self):
        """The guest has the other image."""

    def stayed(self, good):
        """The guest has the image that it had."""


class CommitActive(Switch):
    """Merge the image that the guest writes into one below."""
    command = 'block-commit'

    @staticmethod
    def is_possible(target):
        return len(target.images) > 1 and is_one_size(target)

    def arguments(self):
        # What they have below them changes, whether the guest gets it or not
        self.target.forget_snapshots()
        self.base = self.rng.randrange(len(self.target.images) - 1)
        return {'base': str(self.target.images[self.base])}

    def new_node(self):
        return self.target.nodes_of(self.target.images[self.base])[0]

    def switched(self):
        target = self.target
        target.behind.discard(target.images[self.base])
        target.leave_images(self.base + 1, len(target.images))

    def stayed(self, good):
        if good:        # The base has what the guest's disk had then
            self.target.behind.update(self.target.images[self.base + 1:-1])


class Mirror(Switch, Copy):
    """To a new image"""
    command = 'blockdev-mirror'

    def arguments(self):
        return {**super().arguments(), 'buf-size': 256 * KiB}

    def new_node(self):
        return self.node

    def switched(self):
        target = self.target
        target.images.append(self.path)
        target.leave_images(0, len(target.images) - 1)

    def stayed(self, good):
        machine = self.session.machine
        machine.qmp('blockdev-del', node_name=self.node)
        if good:
            qemu_img('check', '-q', self.path)
        self.path.unlink()


class MirrorTop(Mirror):
    """The newest image only, to another overlay of what it is made for"""
    @staticmethod
    def is_possible(target):
        below = len(target.images) - 2
        return below >= 0 and target.sizes[below] == len(target.disk.zones)

    def make_target(self):
        self.path = self.target.directory / f'{self.node}.qcow2'
        qemu_img('create', '-f', 'qcow2', '-F', 'qcow2', '-b', self.target.images[-2],
                 '-o', f'cluster_size={self.rng.choice((4, 16, 64)) * KiB}', self.path)

    def node_options(self):
        """Below it are the nodes that are below the disk, or others."""
        target = self.target
        self.below = [node for image in reversed(target.images[:-1])
                      for node in target.nodes_of(image)]
        return {'backing': self.below[0]} if self.rng.random() < 0.5 else {}

    def arguments(self):
        return {**super().arguments(), 'sync': 'top'}

    def switched(self):
        target = self.target
        target.images.append(self.path)
        target.leave_images(len(target.images) - 2, len(target.images) - 1)
        for node in self.below:     # if they are not used any more
            self.session.machine.try_qmp('blockdev-del', node_name=node)
        for image in target.images:
            if len(target.nodes_of(image)) != 1:
                raise Wrong(f'{self.name}: nodes of {image}: {target.nodes_of(image)}')


JOBS = (Stream, Stream, Commit, Commit, CommitActive, CommitActive, Backup, Mirror,
        Mirror, MirrorTop)
