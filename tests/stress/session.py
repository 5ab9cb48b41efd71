# Random operations on the disks of a machine, while random things are done to it.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import collections
import random
import time

from jobs import JOBS, Backup
from machine import Machine, wait_until
from model import OFFLINE, RDONLY, Op, Wrong
from target import MAX_ZONES, TARGETS, ZONE, qemu_img

SHOWN = 40
DEPTHS = (1, 1, 2, 4, 8, 16, 32)
CONDITIONS = ('read-only', 'offline', 'offline', 'good', 'good')


class Session:
    """All is decided by @seed, but for what depends on which request is faster."""
    def __init__(self, directory, seed, front_ends):
        self.directory, self.seed = directory, seed
        rng = random.Random(f'{seed}')
        self.targets = [TARGETS[name](directory, rng) for name in front_ends]
        self.operations = 1         # the number of the next, see content()
        self.batches = self.lives = 0
        self.log = open(directory / 'log', 'w', encoding='utf-8')
        self.last = collections.deque(maxlen=SHOWN)
        self.counts = collections.Counter()
        self.machine, self.here = None, []
        self.restored = None        # a disk with a zone that is good again
        self.ending = None          # a job that was told to end

    def note(self, text):
        self.last.append(text)
        self.log.write(f'{text}\n')

    # --- Lives of the machine ---

    def options(self):
        options = ['-object', 'iothread,id=thread'] if self.thread else []
        for target in self.here:
            options += target.file_options(self.discard) + target.options(self.thread)
        return options

    def power_on(self):
        rng = random.Random(f'{self.seed} life {self.lives}')
        self.thread, self.discard = rng.random() < 0.5, rng.random() < 0.5
        self.movable = rng.random() < 0.5
        self.here = [t for t in self.targets if t.migrates] if self.movable else []
        self.here = self.here or self.targets
        self.movable = all(t.migrates for t in self.here)
        self.lives += 1
        names = ' '.join(target.name for target in self.here)
        self.note(f'life {self.lives}: {names}' + ' iothread' * self.thread +
                  ' discard' * self.discard)
        self.machine = Machine(self.directory, f'qemu{self.lives}', self.options())
        for target in self.here:
            target.power_on(self.machine)

    def begin(self):
        self.power_on()
        for target in self.here:
            target.check([])
            target.compare()

    def quit(self):
        self.note('quit')
        self.machine.quit()
        for target in self.here:
            target.disk.all_durable()
            target.disk.power_cycle()
            target.check_images(crashed=False)

    def restart(self, rng):
        self.quit()
        for target in self.here:
            self.between_lives(target, rng)
        self.begin()

    def between_lives(self, target, rng):
        if target.snapshots and rng.random() < 0.5:
            name = rng.choice(sorted(target.snapshots))
            self.snapshot_offline(target, name)
        elif len(target.images) > 1 and rng.random() < 0.5:
            self.note(f'{target.name}: commit')
            self.counts['commit'] += 1
            target.commit()

    def snapshot_offline(self, target, name):
        saved = target.snapshots[name]
        if saved and len(saved[1]) == len(target.disk.data):
            self.note(f'{target.name}: go to snapshot {name}')
            self.counts['snapshot-goto'] += 1
            qemu_img('snapshot', '-a', name, target.images[-1])
            target.disk.restore(saved)
            target.disk.power_cycle()
            qemu_img('check', '-q', target.images[-1])
        else:
            self.note(f'{target.name}: delete snapshot {name}')
            qemu_img('snapshot', '-d', name, target.images[-1])
            del target.snapshots[name]

    def kill(self, rng):
        """Requests are in flight, or not."""
        if rng.random() < 0.75:
            self.write_durably(rng)
        flights = {}
        for target in self.here:
            count = rng.choice((0, 0, 1, 4, 16))
            flights[target] = self.one_kind_a_zone(
                target.random_ops(rng, count, self.operations) if count else [])
            self.operations += count
            target.submit(flights[target])
            for op in flights[target]:
                self.note(f'{target.name} {op} (then killed)')
        for target in self.here:
            target.driver.kick()
        time.sleep(rng.choice((0, 0, 0.0005, 0.002)))
        self.note('kill')
        self.machine.kill()
        for target in self.here:
            target.check_images(crashed=True)
        self.power_on_same()
        for target in self.here:
            contents = target.contents()
            target.disk.after_crash(target.report(), contents, flights[target])
            target.disk.power_cycle()
            target.check([])
            target.compare()

    def write_durably(self, rng):
        """Nothing else makes durable what these write."""
        orders = {}
        for target in self.here:
            op = target.durable_op(rng, self.operations)
            if op:
                self.operations += 1
                target.submit([op])
                orders[target] = []
        self.kick(rng)
        self.finish(orders)

    @staticmethod
    def one_kind_a_zone(ops):
        """What a crash may leave is only known if requests do not depend."""
        kinds, result = {}, []
        for op in ops:
            if op.kind.endswith('-all'):
                continue
            kind = 'data' if op.kind in ('write', 'zeroes') else op.kind
            if op.kind in ('read', 'report') or kinds.setdefault(op.zone, kind) == kind:
                result.append(op)
        return result

    def power_on_same(self):
        here = self.here
        self.lives += 1
        self.note(f'life {self.lives}')
        self.machine = Machine(self.directory, f'qemu{self.lives}', self.options())
        for target in here:
            target.power_on(self.machine)

    # --- Operations, with QMP in between ---

    def submit(self, rng):
        """
        Some for each disk; the devices are not told yet.  Returns for each disk the
        list of those that are done.
        """
        for target in self.here:
            ops = target.random_ops(rng, rng.choice(DEPTHS), self.operations)
            self.operations += len(ops)
            self.counts.update(op.kind for op in ops)
            target.submit(ops)
        return {target: [] for target in self.here}

    def batch(self):
        rng = random.Random(f'{self.seed} batch {self.batches}')
        self.batches += 1
        orders = self.submit(rng)
        meanwhile = None
        if rng.random() < 0.25:
            target = rng.choice(self.here)
            meanwhile = rng.choice(self.MEANWHILE)(self, target, rng)
        if rng.random() < 0.5:
            self.kick(rng)
            self.do_meanwhile(meanwhile, orders)
        else:
            self.do_meanwhile(meanwhile, orders, lambda: self.kick(rng))
        self.finish(orders)
        if self.ending:
            self.ending.finish()
            self.ending = None
        if self.restored:
            self.restored.compare()
            self.restored = None
        for target in self.here:
            if target.job:
                target.job.look()
            elif target.backup and rng.random() < 0.1:
                self.backup(target, rng)        # the next one to it

    def kick(self, rng):
        for target in rng.sample(self.here, len(self.here)):
            target.driver.kick()

    def do_meanwhile(self, meanwhile, orders, kick=None):
        """Send the QMP commands; kick the devices after the first was sent."""
        if not meanwhile:
            if kick:
                kick()
            return
        target, commands, then = meanwhile
        answers = []
        for command, arguments in commands:
            self.note(f'{target.name} {command} {arguments}')
            self.counts[command] += 1
            self.machine.start_qmp(command, arguments)
            if kick:
                kick()
                kick = None
            answers.append(self.machine.finish_qmp())
        then(target, answers, orders[target])

    def finish(self, orders):
        for target, order in orders.items():
            try:
                wait_until(lambda target=target, order=order: target.poll(order),
                           f'{target.name}: all operations are done', self.machine.clock)
            finally:
                for op in order:
                    self.note(f'{target.name} {op}')
                for op in target.slots.values():
                    self.note(f'{target.name} {op}: no answer')
        for target, order in orders.items():
            try:
                target.check(order)
            except Wrong as wrong:
                raise Wrong(f'{target.name}: {wrong}') from wrong

    # --- What is done while operations are in flight ---

    @staticmethod
    def all_good(target, answers, order):
        for good, answer in answers:
            if not good:
                raise Wrong(f'{target.name}: {answer}')

    def stop(self, target, rng):
        return target, [('stop', {}), ('query-block-zones', {'node-name': target.node}),
                        ('cont', {})], self.all_good

    def look(self, target, rng):
        return target, [('query-block-zones', {'node-name': target.node}),
                        ('query-blockstats', {})], self.all_good

    def condition(self, target, rng):
        rules, bad = target.rules, [i for i, zone in enumerate(target.disk.zones)
                                    if zone.state in (RDONLY, OFFLINE)]
        condition = rng.choice(CONDITIONS)
        # Nobody sees whether a zone was reset or finished before it was offline.
        zones = bad if bad and condition == 'good' else [
            i for i in range(rules.conventional, len(target.disk.zones))
            if condition == 'good' or not target.is_ended(i)]
        if not zones:
            return self.look(target, rng)
        zone = rng.choice(zones)
        op = Op('condition', zone, number=self.operations, condition=condition)
        self.operations += 1

        def then(target, answers, order):
            op.status = 'ok' if answers[0][0] else 'failed'
            order.append(op)
            if condition == 'offline' and target.job:
                target.job.offline = True
            if condition == 'good' and bad and op.status == 'ok':
                self.restored = target
        return target, [('block-zone-set-condition',
                         {'node-name': target.node, 'condition': condition,
                          'offset': target.disk.start(zone)})], then

    def throttle(self, target, rng):
        target.throttled = not target.throttled
        limit = rng.choice((500, 2000)) if target.throttled else 0
        return target, [('block_set_io_throttle',
                         {'id': target.qdev, 'iops': limit, 'iops_rd': 0,
                          'iops_wr': 0, 'bps': 0, 'bps_rd': 0, 'bps_wr': 0})],\
            self.all_good

    def job(self, target, rng):
        """Begin one, or end that which waits for it."""
        if target.job:
            commands = target.job.ends()
            if not commands:
                return self.look(target, rng)
            self.ending = target.job
            return target, commands, self.all_good
        return self.begin_job(target, rng, [job for job in JOBS if job != Backup])

    def begin_job(self, target, rng, kinds):
        kinds = [kind for kind in kinds if kind.is_possible(target)]
        job = rng.choice(kinds)(self, target, rng)

        def then(target, answers, order):
            if not answers[-1][0]:
                job.refused()
            self.all_good(target, answers, order)
            target.job = job
        return target, job.start(), then

    def snapshot(self, target, rng):
        """What it has is not known, but the disk must not notice."""
        if target.job:
            return self.job(target, rng)
        name = f's{self.operations}'

        def then(target, answers, order):
            self.all_good(target, answers, order)
            target.snapshots[name] = None
        return target, [('blockdev-snapshot-internal-sync',
                         {'device': target.node, 'name': name})], then

    def drop_snapshot(self, target, rng):
        if not target.snapshots or target.job:
            return self.snapshot(target, rng)
        name = rng.choice(sorted(target.snapshots))

        def then(target, answers, order):
            self.all_good(target, answers, order)
            del target.snapshots[name]
        return target, [('blockdev-snapshot-delete-internal-sync',
                         {'device': target.node, 'name': name})], then

    def overlay(self, target, rng):
        if len(target.images) > 2 or target.job:
            return self.job(target, rng)
        target.overlays += 1
        node = f'{target.name}-{target.overlays}'
        image = self.directory / f'{node}.qcow2'
        for name in list(target.bitmaps):
            target.check_bitmap(name)

        def then(target, answers, order):
            self.all_good(target, answers, order)
            target.forget_backup()
            target.sizes[len(target.images) - 1:] = [len(target.disk.zones)]
            target.images.append(image)
            target.node = node
            target.snapshots = {}
        return target, [('blockdev-snapshot-sync',
                         {'node-name': target.node, 'snapshot-file': str(image),
                          'snapshot-node-name': node})], then

    MEANWHILE = [stop, look, condition, condition, throttle, snapshot, drop_snapshot,
                 overlay, overlay, job, job, job]

    # --- What is done while nothing is in flight ---

    def backup(self, target, rng):
        """What the disk is when nothing is in flight is known."""
        if not target.job:
            meanwhile = self.begin_job(target, rng, [Backup])
            self.do_meanwhile(meanwhile, {target: []})

    def known_snapshot(self, target, rng):
        if target.job:
            return
        name = f'k{self.operations}'
        self.machine.qmp('blockdev-snapshot-internal-sync', device=target.node, name=name)
        target.snapshots[name] = target.disk.copy_zones()

    def resize(self, target, rng):
        if target.job:
            return target.job.finish()
        disk = target.disk
        count = rng.randint(max(target.rules.conventional + 8, len(disk.zones) - 3),
                            min(MAX_ZONES, len(disk.zones) + 3))
        self.note(f'{target.name}: {count} zones')
        target.forget_backup()
        good, answer = self.machine.try_qmp('block_resize', node_name=target.node,
                                            size=count * ZONE)
        possible = target.resizes and (count >= len(disk.zones) or
                                       disk.can_shrink_to(count))
        if target.snapshots and count < len(disk.zones):
            possible = good         # old snapshots may be in the way
        if good != possible:
            raise Wrong(f'{target.name}: resize to {count} zones: {answer}')
        if good:
            disk.resize(count)
        target.driver.size()    # SCSI has a unit attention
        target.compare()

    def bitmap(self, target, rng):
        if target.job:
            return
        if target.bitmaps:
            name = rng.choice(sorted(target.bitmaps))
            self.note(f'{target.name}: check bitmap {name}')
            return target.check_bitmap(name)
        name = f'b{self.operations}'
        self.note(f'{target.name}: bitmap {name}')
        self.machine.qmp('block-dirty-bitmap-add', node=target.node, name=name,
                         granularity=rng.choice((4096, 65536)))
        target.bitmaps[name] = bytes(target.disk.data)

    def system_reset(self, target, rng):
        self.machine.qmp('system_reset')
        self.machine.wait_event('RESET')
        for target in self.here:
            target.power_on(self.machine)
            target.check([])

    def compare(self, target, rng):
        for target in self.here:
            target.compare()

    def refused_qmp(self, target, rng):
        """Zones in use are not changed by QMP."""
        zone = rng.randrange(target.rules.conventional, len(target.disk.zones))
        command = rng.choice(('block-zone-reset', 'block-zone-finish'))
        good, _ = self.machine.try_qmp(command, node_name=target.node,
                                       offset=target.disk.start(zone))
        if good:
            raise Wrong(f'{target.name}: {command} of a zone in use')

    def migrate(self, target, rng):
        """Operations are in flight; they end here or there."""
        if not self.movable:
            return self.compare(target, rng)
        for target in self.here:
            if target.job:
                target.job.cancel()
            target.forget_backup()
            for name in list(target.bitmaps):
                target.check_bitmap(name)
            if target.throttled:
                self.machine.qmp('block_set_io_throttle', id=target.qdev, iops=0,
                                 iops_rd=0, iops_wr=0, bps=0, bps_rd=0, bps_wr=0)
                target.throttled = False
        self.lives += 1
        path = self.directory / 'migration'
        other = Machine(self.directory, f'qemu{self.lives}',
                        [*self.options(), '-incoming', 'defer'])
        other.qmp('migrate-incoming', uri=f'unix:{path}')
        orders = self.submit(rng)
        self.kick(rng)
        self.machine.qmp('migrate', uri=f'unix:{path}')

        def over():
            status = self.machine.qmp('query-migrate').get('status')
            if status in ('failed', 'cancelled'):
                raise Wrong(f'migration: {self.machine.qmp("query-migrate")}')
            return status == 'completed'
        wait_until(over, 'migration')
        wait_until(lambda: other.qmp('query-status')['running'], 'machine goes on')
        self.machine.quit()
        self.machine = other
        for target in self.here:
            target.machine = other
            target.driver.moved(other)
        self.finish(orders)
        path.unlink(missing_ok=True)

    QUIET = [known_snapshot, resize, resize, bitmap, bitmap, backup, backup, backup,
             system_reset, compare, refused_qmp, migrate]

    def quiet(self, rng):
        """Once in a while, between batches"""
        chance = rng.random()
        if chance < 0.02:
            self.counts['kill'] += 1
            self.kill(rng)
        elif chance < 0.04:
            self.counts['restart'] += 1
            self.restart(rng)
        elif chance < 0.12:
            what = rng.choice(self.QUIET)
            target = rng.choice(self.here)
            self.note(f'{target.name} {what.__name__}')
            self.counts[what.__name__] += 1
            what(self, target, rng)

    def run(self, seconds, operations):
        """Until so many operations were done, or so many seconds are over."""
        end = time.monotonic() + seconds if seconds else None
        self.begin()
        while (operations is None or self.operations < operations) and \
                (end is None or time.monotonic() < end):
            self.batch()
            self.quiet(random.Random(f'{self.seed} quiet {self.batches}'))
        for target in self.here:
            target.compare()
            if target.job:
                target.job.finish()
        self.quit()

    def drop(self):
        """End it; if something is wrong, what QEMU was doing is of interest."""
        self.log.flush()
        if self.machine and self.machine.process.poll() is None:
            self.machine.kill()
