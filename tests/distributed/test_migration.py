#!/usr/bin/python3
# Migration between two QEMUs that have an image on the same server.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import remote
from remote import (KiB, MiB, NbdKit, Nfs, QemuIo, QemuNbd, Rbd, Ssh, WAIT,
                    wait_until)
import tap

ZONES = {'size': 6 * MiB, 'zone.mode': 'host-managed', 'zone.size': 1 * MiB,
         'zone.max_open_zones': 2, 'zone.max_active_zones': 4}
EMPTY, IMPLICIT, EXPLICIT, CLOSED, FULL = 1, 2, 3, 4, 14
DEVICE = '/machine/peripheral/dev/virtio-backend'


class Qemu:
    """A machine without a guest, as far as its monitor goes"""
    def __init__(self, case, name, node, *more):
        self.path = case.scratch / name
        node = {'driver': 'qcow2', 'node-name': 'disk', 'file': node}
        self.child = subprocess.Popen(
            [remote.OBJ / 'qemu-system-x86_64', '-accel', 'qtest', '-nodefaults',
             '-L', '/usr/share/seabios', '-L', '/usr/share/qemu',
             '-display', 'none', '-machine', 'pc', '-object', 'iothread,id=thread',
             '-blockdev', json.dumps(node),
             '-device', 'virtio-blk,drive=disk,id=dev,iothread=thread',
             '-qmp', f'unix:{self.path},server=on,wait=off', *more],
            stdout=open(case.scratch / f'{name}-output', 'wb'))
        case.addCleanup(self.kill)
        self.socket = socket.socket(socket.AF_UNIX)
        wait_until('a monitor', lambda: self.child.poll() is not None or
                   self.socket.connect_ex(str(self.path)) == 0)
        self.file = self.socket.makefile('rw')
        self.file.readline()
        self.ask('qmp_capabilities')

    def kill(self):
        self.child.kill()
        self.child.wait()

    def ask(self, command, **arguments):
        print(json.dumps({'execute': command, 'arguments': arguments}),
              file=self.file, flush=True)
        while True:
            line = self.file.readline()
            assert line, f'QEMU has ended at {command}'
            answer = json.loads(line)
            assert 'error' not in answer, f'{command}: {answer}'
            if 'return' in answer:
                return answer['return']

    def io(self, *commands):
        """qemu-io, which says to the monitor or on standard output how it went"""
        for command in commands:
            text = self.ask('human-monitor-command', **{
                'command-line': f'qemu-io -d {DEVICE} "{command}"'})
            text += Path(f'{self.path}-output').read_text()
            assert not re.search('fail|rror', text), f'{command}: {text}'

    def zones(self):
        node, = (n for n in self.ask('query-named-block-nodes')
                 if n['node-name'] == 'disk')
        states = node['image']['format-specific']['data']['zone']['states']
        return {state: n for state, n in states.items() if n}

    def migrate(self, target, uri):
        target.ask('migrate-incoming', uri=uri)
        self.ask('migrate', uri=uri)
        for qemu in self, target:
            wait_until('the end of a migration',
                       lambda: qemu.ask('query-migrate').get('status') == 'completed')


class Migration(remote.Case):
    """Zones stay as they are; the target writes on"""
    PREFIX = 'migration: '

    def check(self, storage, **options):
        storage.prepare()
        words = ','.join(f'{key}={value}' for key, value in ZONES.items())
        remote.run(remote.QEMU_IMG, 'create', '-q', '-f', 'qcow2', '-o', words,
                   storage.url())
        node = storage.node(**options)
        source = Qemu(self, 'source', node)
        target = Qemu(self, 'target', node, '-incoming', 'defer')
        # In memory only, apart from what is finished
        source.io('zap -P 0x13 2M 12k', 'zc 2M 1M', 'write -P 0x14 3M 4k', 'zf 3M 1M',
                  'write -P 0x11 0 64k', 'zo 1M 1M', 'write -P 0x12 1M 4k')
        states = {'explicitly-open': 1, 'implicitly-open': 1, 'closed': 1, 'full': 1,
                  'empty': 2}
        self.assertEqual(source.zones(), states)
        source.migrate(target, f'unix:{self.scratch}/migration')
        self.assertEqual(target.zones(), states)
        target.io('zap -P 0x15 1M 4k', 'flush', 'zrs 3M 1M', 'write -P 0x16 64k 4k')
        source.kill()
        target.io('write -P 0x17 2060k 4k', 'flush')
        target.kill()
        io = QemuIo('json:' + json.dumps({'driver': 'qcow2', 'file': storage.node()}))
        self.addCleanup(io.kill)
        zones = [(int(wp, 16) * 512, int(state)) for wp, state in re.findall(
            r'wptr (0x[0-9a-f]+).*?zcond:\s*(\d+)', io.ask('zrp 0 4'))]
        self.assertEqual(zones, [(68 * KiB, CLOSED), (1032 * KiB, CLOSED),
                                 (2064 * KiB, CLOSED), (3072 * KiB, EMPTY)])
        for pattern, where in ((0x11, '0 64k'), (0x16, '64k 4k'), (0x12, '1M 4k'),
                               (0x15, '1028k 4k'), (0x13, '2M 12k'), (0x17, '2060k 4k')):
            self.assertNotRegex(io.ask(f'read -P {pattern} {where}'),
                                'fail|rror|erification', where)
        self.assertEqual(io.close()[1], 0)
        self.assertIn('No errors', remote.run(remote.QEMU_IMG, 'check', storage.url()))

    def test_nbd(self):
        """qemu-nbd, with two clients at a time"""
        self.check(self.storage(QemuNbd, '-e', '2'))

    def test_nbd_reconnect(self):
        """nbdkit, with reconnect-delay"""
        self.need(remote.missing('nbdkit'))
        self.check(self.storage(NbdKit), reconnect=WAIT)

    def test_ssh(self):
        """SSH"""
        self.need(remote.missing(*Ssh.PROGRAMS) or remote.no_driver('ssh'))
        self.check(self.storage(Ssh))

    def test_nfs(self):
        """NFS"""
        self.need(remote.missing(*Nfs.PROGRAMS) or remote.no_driver('nfs'))
        self.check(self.storage(Nfs))

    def test_rbd(self):
        """RBD"""
        self.need(remote.missing(*Rbd.PROGRAMS) or remote.no_driver('rbd'))
        self.check(Rbd(self.scratch / 'server'))

    def test_rbd_no_cache(self):
        """RBD, without a cache"""
        self.need(remote.missing(*Rbd.PROGRAMS) or remote.no_driver('rbd'))
        self.check(Rbd(self.scratch / 'server'), cache={'direct': True})


if __name__ == '__main__':
    remote.isolate()
    tap.main()
