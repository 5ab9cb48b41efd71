#!/usr/bin/env python3
#
# Live migration of a Linux guest that writes to a zoned disk: two QEMU
# processes on one host share the image.
#
# QEMU migrates no machine with an NVMe controller, so the disk is virtio-blk,
# and so is the root disk.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import socket
import time
import unittest

from guest import Guest, GuestError
from zonetest import FULL, FilesCase, KIB, MIB, ZONE, create_image, pattern
import tap

# The kernel's and fio's words for what must not happen
BAD = r'I/O error|critical|WARNING|BUG|blocked for more'

# Each block of 4 KiB can be verified by itself
VERIFY = '--verify=crc32c --verify_interval=4096 --verify_state_save=0'

# Writes, verifies and resets four zones again and again until it is stopped
FIO = f'''
(
fio --name=load --filename=$DEV --direct=1 --zonemode=zbd --rw=write \\
    --bsrange=4K-64K --offset={6 * ZONE} --size={4 * ZONE} --ioengine=libaio \\
    --iodepth=16 --max_open_zones=2 {VERIFY} --verify_backlog=64 \\
    --time_based --runtime=600 &
echo $! > /tmp/fio.pid
status=0; wait $! || status=$?
echo fio ended with $status
) > /tmp/fio.log 2>&1 &
'''


class Monitor:
    """QMP of a QEMU that was started with args()."""

    def __init__(self, path):
        self.path = path

    def args(self):
        return ['-qmp', f'unix:{self.path},server=on,wait=off']

    def connect(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.socket.connect(str(self.path))
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.file = self.socket.makefile('rw')
        json.loads(self.file.readline())
        self('qmp_capabilities')

    def __call__(self, command, **arguments):
        self.file.write(json.dumps({'execute': command,
                                    'arguments': arguments}) + '\n')
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if 'error' in answer:
                raise GuestError(f'{command}: {answer["error"]["desc"]}')
            if 'return' in answer:
                return answer['return']

    def wait_for_migration(self, *states):
        deadline = time.monotonic() + 120
        while True:
            status = self('query-migrate')
            if status.get('status') in states:
                return status
            if (status.get('status') in ('completed', 'failed', 'cancelled') or
                    time.monotonic() > deadline):
                raise GuestError(f'migration: {status}')
            time.sleep(0.02)

    def job(self, name):
        return next(job for job in self('query-jobs') if job['id'] == name)

    def wait_for_job(self, name, status):
        deadline = time.monotonic() + 300
        while (job := self.job(name))['status'] != status:
            if job['status'] == 'concluded' or time.monotonic() > deadline:
                raise GuestError(f'job: {job}')
            time.sleep(0.05)
        return job

    def conclude(self, *names):
        """Wait until these jobs have ended well."""
        for name in names:
            job = self.wait_for_job(name, 'concluded')
            if 'error' in job:
                raise GuestError(f'job: {job}')
            self('job-dismiss', id=name)


class Load(FilesCase):
    """The guest of a monitor writes, resets and verifies zones of its disk."""
    CAPACITY = 4 * MIB
    OPTIONS = {'zone.capacity': CAPACITY}

    def start_load(self):
        self.check(FIO)
        self.wait_for_writes(MIB)

    def written(self):
        """Bytes that the guest has written to the disk since it booted."""
        return 512 * int(self.check('cat /sys/block/${DEV#/dev/}/stat')
                         .split()[6])

    def wait_for_writes(self, size):
        """Wait until the guest has written so much more."""
        enough = self.written() + size
        deadline = time.monotonic() + 300
        while self.written() < enough:
            self.assertLess(time.monotonic(), deadline,
                            self.check('tail -n 20 /tmp/fio.log; dmesg | '
                                       'tail -n 20'))
            time.sleep(0.1)

    def stop_load(self):
        """Stop fio, which found all data right; no I/O failed."""
        output = self.check('''
            kill $(cat /tmp/fio.pid)
            until grep -q '^fio ended' /tmp/fio.log; do sleep 0.1; done
            cat /tmp/fio.log''')
        # 128: by a signal
        self.assertIn('fio ended with 128\n', output)
        self.assertIn('err= 0:', output)
        self.assertNotIn('verify:', output)
        self.assertNotRegex(self.check('dmesg'), BAD)


class Migration(Load):
    @classmethod
    def boot(cls):
        if cls.disk != 'image':
            raise unittest.SkipTest('there is no image to share')
        cls.processes = 0
        cls.guest, cls.monitor = cls.new_process()
        cls.guest.start()
        cls.monitor.connect()

    @classmethod
    def new_process(cls, *args):
        cls.processes += 1
        monitor = Monitor(cls.dir / f'qmp{cls.processes}')
        guest = Guest([*cls.attach(), *monitor.args(), *args],
                      root='virtio-blk-pci')
        cls.addClassCleanup(guest.kill)
        return guest, monitor

    def begin_migration(self):
        """Start the other QEMU and a migration to it."""
        where = f'unix:{self.dir}/migration{self.processes}'
        other = self.launch_other(where)
        self.migrate_to(where)
        return other

    def launch_other(self, incoming):
        other = self.new_process('-incoming', incoming)
        other[0].launch()
        other[1].connect()
        return other

    def migrate_to(self, where):
        self.monitor('migrate-set-parameters', **{
            'max-bandwidth': 1 << 32, 'downtime-limit': 2000})
        self.monitor('migrate', uri=where)

    def migrate(self):
        """Go on in another QEMU process on the same image."""
        other, monitor = self.begin_migration()
        self.go_on_in(other, monitor)

    def go_on_in(self, other, monitor):
        self.monitor.wait_for_migration('completed')
        # The console log of the first one is as good as that of all.
        self.guest.kill()
        self.guest.remove_log()
        self.guest, self.monitor = type(self).guest, type(self).monitor = (
            other, monitor)
        deadline = time.monotonic() + 60
        while self.monitor('query-status')['status'] != 'running':
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def fill(self):
        self.check('blkzone reset $DEV\n' +
                   self.write(0, 0, self.CAPACITY, 'full') +
                   self.zone_op('open', 1) + self.write(1, 0, MIB, 'open') +
                   self.write(2, 0, 12 * KIB, 'closed') +
                   self.zone_op('close', 2) +
                   self.write(3, 0, 64 * KIB, 'finished') +
                   self.zone_op('finish', 3) + self.zone_op('open', 4))

    def verify(self):
        self.assertEqual(self.report()[:6], [
            FULL, ('oe', MIB), ('cl', 12 * KIB), FULL, ('oe', 0), ('em', 0)])
        self.assertData(0, 0, pattern('full', self.CAPACITY))
        self.assertData(1, 0, pattern('open', MIB) + bytes(MIB))
        self.assertData(2, 0, pattern('closed', 12 * KIB) + bytes(4 * KIB))
        self.assertData(3, 0, pattern('finished', 64 * KIB) + bytes(MIB))

    def test_migrate(self):
        """a guest that writes is migrated: zones and data stay, it goes on"""
        self.fill()
        self.start_load()
        self.migrate()
        self.wait_for_writes(2 * MIB)
        self.verify()
        self.stop_load()
        self.check(self.write(1, MIB, 4 * KIB, 'more') +
                   self.write(5, 0, 4 * KIB, 'new'))
        self.assertEqual(self.report()[1], ('oe', MIB + 4 * KIB))
        self.check_after()

    @tap.full
    def test_again(self):
        """a guest that writes is migrated six times in a row"""
        self.fill()
        self.start_load()
        for _ in range(6):
            self.migrate()
            self.wait_for_writes(4 * self.CAPACITY)
        self.verify()
        self.stop_load()
        self.check_after()

    @tap.full
    def test_cancel(self):
        """after a migration was cancelled, and one failed, the guest goes on"""
        self.fill()
        self.start_load()
        self.monitor('migrate-set-parameters', **{'max-bandwidth': 1 << 20})
        other, _ = self.begin_migration()
        self.monitor('migrate_cancel')
        self.monitor.wait_for_migration('cancelled')
        other.kill()
        other.remove_log()
        self.wait_for_writes(MIB)
        other, _ = self.begin_migration()
        other.kill()
        other.remove_log()
        self.monitor.wait_for_migration('failed')
        self.wait_for_writes(MIB)
        self.migrate()
        self.wait_for_writes(MIB)
        self.verify()
        self.stop_load()
        self.check_after()

    @tap.full
    def test_storage(self):
        """a guest that writes is migrated together with its disk, over NBD"""
        self.fill()
        self.start_load()
        old = self.images
        type(self).images = [self.dir / 'target.qcow2']
        create_image(self.images[0], self.geometry)
        other, monitor = self.launch_other('defer')
        address = {'type': 'unix', 'path': f'{self.dir}/nbd'}
        monitor('nbd-server-start', addr={
            'type': 'unix', 'data': {'path': address['path']}})
        monitor('block-export-add', type='nbd', id='export1', writable=True,
                **{'node-name': 'drive1'})
        where = f'unix:{self.dir}/migration-storage'
        monitor('migrate-incoming', uri=where)

        self.monitor('blockdev-add', driver='nbd', server=address,
                     export='drive1', **{'node-name': 'target1'})
        self.monitor('blockdev-mirror', device='drive1', target='target1',
                     sync='full', **{'job-id': 'job1', 'auto-dismiss': False})
        self.monitor.wait_for_job('job1', 'ready')
        self.wait_for_writes(4 * self.CAPACITY)
        self.monitor('migrate-set-capabilities', capabilities=[
            {'capability': 'pause-before-switchover', 'state': True}])
        self.migrate_to(where)
        self.monitor.wait_for_migration('pre-switchover')
        self.monitor('block-job-cancel', device='job1')
        self.monitor.conclude('job1')
        self.monitor('blockdev-del', **{'node-name': 'target1'})
        self.monitor('migrate-continue', state='pre-switchover')
        self.go_on_in(other, monitor)
        monitor('nbd-server-stop')
        old[0].unlink()

        self.wait_for_writes(4 * self.CAPACITY)
        self.verify()
        self.stop_load()
        self.check_after()


if __name__ == '__main__':
    tap.main()
