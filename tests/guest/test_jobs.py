#!/usr/bin/env python3
#
# Jobs on the zoned disks of a Linux guest that writes: backups, mirrors, streams
# and commits.
#
# fio writes, verifies and resets zones of one disk, and btrfs is on the other; it
# is given files, and relocates what it has.  Jobs start slowly, so that the guest
# is ahead of them, and are let go then.  What has come out is booted: fio verifies
# it, and btrfs is scrubbed and checked.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import shutil
import subprocess
import time

from guest import BUILD, GuestError, qemu_img
from test_btrfs import MOUNT
from test_migration import BAD, Load, Monitor, VERIFY
from zonetest import EMPTY, FULL, KIB, MIB, ZONE, create_image, pattern
import tap

# Files of the btrfs, the last KEPT of them; "rounds" has the last that is stored
SIZE = 500_000
KEPT = 12
FILES = f'''
(
i=1
until [ -e /tmp/stop ]; do
    pattern "round $i" {SIZE} > /mnt/fs/$i && sync -f /mnt/fs &&
        [ $(stat -c %s /mnt/fs/$i) = {SIZE} ] || exit 1
    echo $i > /tmp/new; mv /tmp/new /tmp/rounds
    rm -f /mnt/fs/$((i - {KEPT}))
    [ $((i % 12)) != 0 ] || btrfs balance start -dusage=70 /mnt/fs || exit 1
    i=$((i + 1))
done
echo files ended
) > /tmp/files.log 2>&1 &
echo 0 > /tmp/rounds
'''

# The names of files that are as they were written, and of those that are not
COMPARE = f'''
cd /mnt/fs
for i in *; do
    if pattern "round $i" {SIZE} | cmp -s - $i; then echo $i; else echo -$i; fi
done
'''


def node(name, path):
    return {'driver': 'qcow2', 'node-name': name,
            'file': {'driver': 'file', 'filename': str(path)}}


def action(kind, **arguments):
    """An action of a transaction."""
    return {'type': kind, 'data': keys(arguments)}


def keys(arguments):
    return {key.replace('_', '-'): value for key, value in arguments.items()}


class JobMonitor(Monitor):
    def __call__(self, command, **arguments):
        return super().__call__(command, **keys(arguments))


class Jobs(Load):
    """The disks are the nodes "fio", which is $DEV, and "btrfs"."""
    PREFIX = 'fio on virtio-blk, btrfs on NVMe: '
    NODES = ('fio', 'btrfs')
    # A zone for btrfs is full after 16 rounds.  Of 12 zones Linux 7.3 has too few
    # left for a balance, and then for files.
    CAPACITY = 2 * MIB
    OPTIONS = {'zone.capacity': CAPACITY}
    MORE_DISKS = ({'size': '2G', 'zone.capacity': 8 * MIB,
                   'zone.max_open_zones': 0, 'zone.max_active_zones': 0},)
    DEVICES = ('virtio-blk-pci,drive=fio', 'nvme-ns,bus=nvme0,drive=btrfs')

    @classmethod
    def attach(cls):
        cls.monitor = JobMonitor(cls.dir / 'qmp')
        args = [*cls.monitor.args(), '-device', 'nvme,id=nvme0,serial=zoned']
        for name, path, device in zip(cls.NODES, cls.images, cls.DEVICES):
            args += ['-blockdev', json.dumps(node(name, path)),
                     '-device', device]
        return args

    @classmethod
    def boot(cls):
        super().boot()
        cls.monitor.connect()
        nvme = '/dev/' + cls.check(
            "lsblk -dno NAME,ZONED | awk '/^nvme.*host-managed/ {print $1}'"
        ).strip()
        cls.dev, cls.btrfs = ['/dev/vda' if 'virtio' in device else nvme
                              for device in cls.DEVICES]
        cls.mount = MOUNT.replace('$DEV', cls.btrfs)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.used = False

    def setUp(self):
        """Both disks are new, and have something."""
        if self.used:
            self.halt(kill=True)
            for path in self.dir.glob('*.qcow2*'):
                path.unlink()
            type(self).images = self.new_images('zbc')
            self.boot()
        type(self).used = True
        self.check(
            f'mkfs.btrfs -q -m single {self.btrfs}; {self.mount}\n'
            'fio --name=before --filename=$DEV --direct=1 --zonemode=zbd '
            f'--rw=write --bs=64K --size={3 * ZONE} '
            f'--io_size={3 * self.CAPACITY} {VERIFY} --do_verify=0\n' +
            self.write(3, 0, 100 * KIB, 'closed') + self.zone_op('close', 3) +
            self.write(4, 0, 60 * KIB, 'open') + self.zone_op('open', 5) +
            'dmesg -C')
        self.assertEqual(self.report()[:3], 3 * [FULL])

    def geometries(self):
        return [self.geometry | more for more in ({}, *self.MORE_DISKS)]

    def new_images(self, name):
        """Zoned images for both disks."""
        paths = []
        for number, geometry in enumerate(self.geometries()):
            paths.append(self.dir / f'{name}{number}.qcow2')
            create_image(paths[-1], geometry)
        return paths

    # --- What the guest does ---

    def start_loads(self):
        self.start_load()
        self.check(FILES)
        self.wait_for_rounds(2)

    def rounds(self):
        """The number of the last file that is stored"""
        return int(self.check('cat /tmp/rounds'))

    def wait_for_rounds(self, count):
        enough = self.rounds() + count
        deadline = time.monotonic() + 300
        while self.rounds() < enough:
            self.assertLess(time.monotonic(), deadline,
                            self.check('cat /tmp/files.log; dmesg | tail -n 60'))
            time.sleep(0.1)

    def go_on(self):
        """The guest resets and writes all zones that fio does."""
        self.wait_for_writes(5 * self.CAPACITY)
        self.wait_for_rounds(3)

    def stop_loads(self):
        """Whatever was written has been read again, and no I/O has failed."""
        self.check("touch /tmp/stop\n"
                   "until grep -qs 'files ended' /tmp/files.log; do\n"
                   "  kill -0 %s || break; sleep 0.1\n"
                   'done; grep ended /tmp/files.log' % '$(cat /tmp/fio.pid)')
        self.stop_load()

    def change(self):
        """Reset, write, finish and append to what is there before a job."""
        self.check(self.zone_op('reset', 0) +
                   self.write(0, 0, 200 * KIB, 'new') +
                   self.zone_op('reset', 1) +
                   self.write(3, 100 * KIB, 4 * KIB, 'more') +
                   self.write(4, 60 * KIB, 68 * KIB, 'more') +
                   self.zone_op('finish', 3) +
                   self.write(5, 0, 4 * KIB, 'new'))

    def assertChanged(self, conditions):
        """conditions: of the zones that are not full."""
        self.assertEqual(self.report()[:6], [
            (conditions[0], 200 * KIB), EMPTY, FULL, FULL,
            (conditions[1], 128 * KIB), (conditions[2], 4 * KIB)])
        self.assertData(0, 0, pattern('new', 200 * KIB) + bytes(KIB))
        self.assertData(1, 0, bytes(self.CAPACITY))
        self.assertData(3, 0, pattern('closed', 100 * KIB) +
                        pattern('more', 4 * KIB) + bytes(MIB))
        self.assertData(4, 0, pattern('open', 60 * KIB) +
                        pattern('more', 68 * KIB) + bytes(MIB))
        self.assertData(5, 0, pattern('new', 4 * KIB) + bytes(KIB))

    def assertUnchanged(self):
        self.assertEqual(self.report()[:6], 3 * [FULL] + [
            ('cl', 100 * KIB), ('cl', 60 * KIB), EMPTY])
        self.assertData(3, 0, pattern('closed', 100 * KIB) + bytes(MIB))
        self.assertData(4, 0, pattern('open', 60 * KIB) + bytes(MIB))

    def boot_from(self, images):
        """Go on with other images; the guest is powered off properly."""
        self.halt()
        type(self).images = images
        self.check_images()
        self.boot()

    def verify(self, stored, last=None, zones=(0, 1, 2)):
        """
        All files until stored are there and whole, but for those that were
        removed; there may be more until last.  What fio has written is good in
        these zones and where its load was.
        """
        last = last or stored
        for first, count in (*((zone, 1) for zone in zones), (6, 4)):
            size = sum(self.CAPACITY if state == 'fu' else pointer for
                       state, pointer in self.report()[first:first + count])
            self.check('fio --name=verify --filename=$DEV --direct=1 --rw=read '
                       f'--zonemode=zbd --offset={first * ZONE} '
                       f'--size={count * ZONE} --io_size={size} '
                       f'--bsrange=4K-64K --ioengine=libaio --iodepth=16 {VERIFY}')
        self.check(self.mount)
        found = {int(number) for number in self.check(COMPARE).split()}
        whole = {number for number in found if number > 0}
        self.assertGreaterEqual(
            whole, set(range(max(1, last - KEPT + 1), stored + 1)))
        self.assertLessEqual({-number for number in found - whole},
                             set(range(stored + 1, last + 1)))
        self.assertLessEqual(max(whole), last)
        self.assertIn('no errors found',
                      self.check('btrfs scrub start -B /mnt/fs'))
        self.check(f'umount /mnt/fs; btrfs check {self.btrfs}')
        self.assertNotRegex(self.check('dmesg'), BAD)

    # --- What is done to the disks ---

    def add_nodes(self, paths, name='target'):
        for disk, path in zip(self.NODES, paths):
            self.monitor('blockdev-add', **node(f'{name}-{disk}', path))

    def delete_nodes(self, name='target'):
        for disk in self.NODES:
            self.monitor('blockdev-del', node_name=f'{name}-{disk}')

    def copy_stopped(self, name='copy'):
        """Stop the guest and copy its images, as they are after a flush."""
        self.monitor('stop')
        copies = []
        for image in self.images:
            copies.append(image.with_suffix(f'.qcow2.{name}'))
            shutil.copyfile(image, copies[-1])
        return copies

    @staticmethod
    def slow(disk, arguments):
        """
        Of a job that is told of a disk by "DISK", and nearly stands still.
        """
        return {'job_id': disk, 'speed': 1, 'auto_dismiss': False,
                **{key: value.replace('DISK', disk)
                   for key, value in arguments.items()}}

    def start_slowly(self, command, **arguments):
        """Start a job for each disk."""
        for disk in self.NODES:
            self.monitor(command, **self.slow(disk, arguments))

    def backup_slowly(self, *actions, **arguments):
        """Start backups of both disks at one moment, with more actions."""
        self.monitor('transaction', actions=[*actions, *(
            action('blockdev-backup', device=disk, target=f'target-{disk}',
                   **self.slow(disk, arguments)) for disk in self.NODES)])

    def let_go(self):
        """One that has ended by itself, as the guest has overwritten all, need not."""
        for job in self.monitor('query-jobs'):
            try:
                self.monitor('block-job-set-speed', device=job['id'], speed=0)
            except GuestError as error:
                if "in state 'concluded'" not in str(error):
                    raise

    def assertSameData(self, images, copies):
        for image, copy in zip(images, copies):
            self.assertIn('Images are identical',
                          qemu_img('compare', image, copy))

    def assertSame(self, images, copies):
        """Data and zones are those of the copies."""
        self.assertSameData(images, copies)
        for image, copy in zip(images, copies):
            self.assertEqual(*(subprocess.check_output(
                [BUILD / 'qemu-io', '-r', '-c', 'zrp 0 64', path], text=True)
                for path in (image, copy)))

    @tap.full
    def test_backup(self):
        """a backup of both disks is what they were when it began"""
        targets = self.new_images('target')
        stored, last, copies = self.backup_stopped(targets)
        self.assertSame(targets, copies)
        self.boot_from(targets)
        self.assertUnchanged()
        self.verify(stored, last)

    @tap.full
    def test_plain(self):
        """so is one without zones, with zeroes above write pointers"""
        targets = [self.dir / f'target{number}.qcow2' for number in range(2)]
        for target, geometry in zip(targets, self.geometries()):
            qemu_img('create', '-f', 'qcow2', target, geometry['size'])
        _, _, copies = self.backup_stopped(targets)
        self.assertSameData(targets, copies)

    def backup_stopped(self, targets):
        """
        Make a backup that begins with the guest stopped.  Return the last file
        that it has, the last that it may have, and copies made at that moment.
        """
        self.start_loads()
        self.add_nodes(targets)
        stored = self.rounds()
        copies = self.copy_stopped()
        self.backup_slowly(sync='full')
        self.monitor('cont')
        last = self.rounds() + 1
        self.change()
        self.go_on()
        self.let_go()
        self.monitor.conclude(*self.NODES)
        self.stop_loads()
        self.assertChanged(('oi', 'oi', 'oe'))
        self.delete_nodes()
        return stored, last, copies

    @tap.full
    def test_running(self):
        """a backup that begins while the guest writes is as after a power cut"""
        self.start_loads()
        targets = self.new_images('target')
        self.add_nodes(targets)
        stored = self.rounds()
        self.backup_slowly(sync='full')
        last = self.rounds() + 1
        self.change()
        self.go_on()
        self.let_go()
        self.monitor.conclude(*self.NODES)
        self.stop_loads()
        self.boot_from(targets)
        self.assertUnchanged()
        self.verify(stored, last)

    @tap.full
    def test_stopped(self):
        """a guest that is stopped writes nothing, and then it goes on"""
        self.start_loads()
        for _ in range(40):
            copies = self.copy_stopped()
            time.sleep(0.1)
            self.assertSame(self.copy_stopped('later'), copies)
            self.monitor('cont')
            time.sleep(0.2)
        self.go_on()
        self.stop_loads()

    @tap.full
    def test_incremental(self):
        """a backup is brought up to date twice, with a bitmap"""
        self.start_loads()
        targets = self.new_images('target')
        self.add_nodes(targets)
        self.backup_slowly(
            *(action('block-dirty-bitmap-add', node=disk, name='changed')
              for disk in self.NODES), sync='full')
        for change in (self.change, lambda: None):
            change()
            self.go_on()
            self.let_go()
            self.monitor.conclude(*self.NODES)
            self.go_on()
            stored = self.rounds()
            copies = self.copy_stopped()
            self.backup_slowly(sync='incremental', bitmap='changed')
            self.monitor('cont')
            last = self.rounds() + 1
        self.go_on()
        self.let_go()
        self.monitor.conclude(*self.NODES)
        self.stop_loads()
        self.delete_nodes()
        self.assertSame(targets, copies)
        self.boot_from(targets)
        self.assertChanged(('cl', 'cl', 'cl'))
        self.verify(stored, last, zones=(2,))

    def mirror(self):
        """Copy to targets, until they have all but what comes."""
        self.start_loads()
        targets = self.new_images('target')
        self.add_nodes(targets)
        self.start_slowly('blockdev-mirror', device='DISK',
                          target='target-DISK', sync='full')
        self.change()
        self.get_ready()
        return targets

    def test_mirror(self):
        """the guest goes on with the targets of mirrors, and all is there"""
        targets = self.mirror()
        self.complete()
        self.monitor('blockdev-del', node_name='fio')
        self.monitor('blockdev-del', node_name='btrfs')
        self.go_on()
        self.stop_loads()
        stored = self.rounds()
        self.assertChanged(('oi', 'oi', 'oe'))
        self.check('umount /mnt/fs')
        zones = [self.report(), self.report(self.btrfs)]
        self.boot_from(targets)
        self.assertEqual(
            [self.report(), self.report(self.btrfs)],
            [[('cl' if state in ('oi', 'oe') else state, pointer)
              for state, pointer in report] for report in zones])
        self.assertChanged(('cl', 'cl', 'cl'))
        self.verify(stored, zones=(2,))

    @tap.full
    def test_copy(self):
        """a mirror that is ended by a cancel is a copy, as of then"""
        targets = self.mirror()
        stored = self.rounds()
        copies = self.copy_stopped()
        for disk in self.NODES:
            self.monitor('block-job-cancel', device=disk)
        self.monitor.conclude(*self.NODES)
        self.monitor('cont')
        last = self.rounds() + 1
        self.go_on()
        self.stop_loads()
        self.delete_nodes()
        self.assertSame(targets, copies)
        self.boot_from(targets)
        self.assertChanged(('cl', 'cl', 'cl'))
        self.verify(stored, last, zones=(2,))

    def overlays(self, name, backing):
        paths = [self.dir / f'{name}-{disk}.qcow2' for disk in self.NODES]
        for path, base, geometry in zip(paths, backing, self.geometries()):
            # QEMU would print that it creates one, to where the guest answers
            qemu_img('create', '-f', 'qcow2', '-u', '-F', 'qcow2', '-b', base,
                     path, geometry['size'])
        return paths

    def snapshot(self, name, below, backing):
        """Overlays for both disks, at one moment"""
        paths = self.overlays(name, backing)
        self.monitor('transaction', actions=[
            action('blockdev-snapshot-sync', mode='existing', format='qcow2',
                   node_name=below.replace('DISK', disk),
                   snapshot_file=str(path), snapshot_node_name=f'{name}-{disk}')
            for disk, path in zip(self.NODES, paths)])
        return paths

    def get_ready(self):
        """Let jobs go on that were begun slowly, until both are ready."""
        self.go_on()
        self.let_go()
        for disk in self.NODES:
            self.monitor.wait_for_job(disk, 'ready')
        self.go_on()

    def complete(self):
        """The guest gets what the jobs have made."""
        for disk in self.NODES:
            self.monitor('block-job-complete', device=disk)
        self.monitor.conclude(*self.NODES)

    def assertGoesOn(self, images):
        """The guest does, and has what was changed, also when it is booted again."""
        self.go_on()
        self.stop_loads()
        stored = self.rounds()
        self.assertChanged(('oi', 'oi', 'oe'))
        self.boot_from(images)
        self.assertChanged(('cl', 'cl', 'cl'))
        self.verify(stored, zones=(2,))

    @tap.full
    def test_chain(self):
        """snapshots are committed and streamed below a guest that writes"""
        self.start_loads()
        middle = self.snapshot('middle', 'DISK', self.images)
        self.change()
        self.go_on()
        upper = self.snapshot('upper', 'middle-DISK', middle)
        self.go_on()
        self.start_slowly('block-commit', device='upper-DISK',
                          top_node='middle-DISK', base_node='DISK')
        self.go_on()
        self.let_go()
        self.monitor.conclude(*self.NODES)
        self.go_on()
        top = self.snapshot('top', 'upper-DISK', upper)
        self.go_on()
        self.start_slowly('block-stream', device='top-DISK')
        self.go_on()
        self.let_go()
        self.monitor.conclude(*self.NODES)
        self.go_on()
        self.stop_loads()
        stored = self.rounds()
        self.assertChanged(('oi', 'oi', 'oe'))
        for path in top:
            self.assertNotIn('backing', qemu_img('info', '-U', path))
        self.boot_from(top)
        self.assertChanged(('cl', 'cl', 'cl'))
        self.verify(stored, zones=(2,))

    @tap.full
    def test_top(self):
        """of images with backing files, mirrors copy what those do not have"""
        self.start_loads()
        top = self.snapshot('top', 'DISK', self.images)
        targets = self.overlays('target', self.images)
        for disk, path in zip(self.NODES, targets):
            self.monitor('blockdev-add', backing=disk,
                         **node(f'target-{disk}', path))
        self.change()
        self.start_slowly('blockdev-mirror', device='top-DISK',
                          target='target-DISK', sync='top')
        self.get_ready()
        self.complete()
        for path in top:
            path.unlink()
        self.assertGoesOn(targets)

    @tap.full
    def test_active(self):
        """the image that the guest writes is committed, and it goes on below"""
        self.start_loads()
        top = self.snapshot('top', 'DISK', self.images)
        self.change()
        self.go_on()
        self.start_slowly('block-commit', device='top-DISK')
        self.get_ready()
        self.complete()
        for path in top:
            path.unlink()
        self.assertGoesOn(self.images)


@tap.full
class Exchanged(Jobs):
    """With appends of btrfs in flight in another thread"""
    PREFIX = 'fio on NVMe, btrfs on virtio-blk with an iothread: '
    DEVICES = ('nvme-ns,bus=nvme0,drive=fio',
               'virtio-blk-pci,drive=btrfs,iothread=thread0')

    @classmethod
    def attach(cls):
        return ['-object', 'iothread,id=thread0', *super().attach()]


if __name__ == '__main__':
    tap.main()
