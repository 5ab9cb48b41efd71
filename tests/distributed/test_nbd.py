#!/usr/bin/python3
# Zoned images over NBD: servers and clients that are killed, connections that are
# cut, errors, delays.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import re
import sys
import time

sys.dont_write_bytecode = True

import remote
import mutants
import program
from remote import (KiB, MiB, NbdKit, Proxy, QemuIo, QemuNbd, WAIT, kill_server,
                    nothing, restart_server, wait_until, work_on)
import tap


def cut(client, image, rng):
    for _ in range(3):
        image.storage.proxy.cut()
        work_on(client, image, rng)


def errors(client, image, rng):
    """From a server that has some for a while."""
    image.path('errors-now').touch()
    work_on(client, image, rng)
    image.path('errors-now').unlink()
    work_on(client, image, rng)


class Nbd(remote.Case):
    def nbdkit(self, *options):
        self.need(remote.missing('nbdkit'))
        return self.storage(NbdKit, *options)

    def proxied(self, storage):
        storage.proxy = Proxy(storage)
        self.addCleanup(storage.proxy.close)
        return storage


class Killed(Nbd):
    """Everything acknowledged is there, and no write pointer lies"""
    PREFIX = 'nbd: '

    def test_client(self):
        """the client is killed"""
        self.rounds(self.storage(QemuNbd), nothing)

    @tap.full
    def test_client_delay(self):
        """the client is killed, with a slow server that has its requests"""
        self.rounds(self.storage(remote.SlowQemuNbd), nothing)

    def test_server(self):
        """the server is killed, and the client gets errors"""
        self.rounds(self.storage(QemuNbd), kill_server)

    def test_server_reconnect(self):
        """the server is killed and started, the client reconnects"""
        self.rounds(self.storage(QemuNbd), restart_server, reconnect=WAIT)

    @tap.full
    def test_server_cache(self):
        """the server loses all that was not flushed"""
        self.rounds(self.nbdkit('--filter=cache', 'cache=writeback'), kill_server)

    @tap.full
    def test_write_through(self):
        """a server that writes through loses nothing, the client reconnects"""
        self.rounds(self.nbdkit('--filter=cache', 'cache=writethrough'), restart_server,
                    reconnect=WAIT)

    @tap.full
    def test_mutant(self):
        """a client that does not flush a reset is noticed"""
        mutant, = (m for m in mutants.MUTANTS if m.name == 'reset-not-flushed')
        self.tool = program.build_mutant(mutant)
        storage = self.nbdkit('--filter=cache', 'cache=writeback')
        with self.assertRaises(AssertionError):
            # Each time with some luck
            for _ in range(10):
                self.rounds(storage, kill_server)

    @tap.full
    def test_cut(self):
        """the connection is cut, and the client gets errors"""
        self.rounds(self.proxied(self.storage(QemuNbd, '-e', '0')), cut)

    def test_cut_reconnect(self):
        """the connection is cut again and again, the client reconnects"""
        self.rounds(self.proxied(self.storage(QemuNbd, '-e', '0')), cut, reconnect=WAIT)

    @tap.full
    def test_write_errors(self):
        """some writes fail in the server"""
        self.rounds(self.nbdkit('--filter=error', 'error-pwrite=EIO',
                                'error-pwrite-rate=5%', 'error-zero=EIO',
                                'error-zero-rate=5%', 'error-trim=EIO',
                                'error-trim-rate=20%',
                                f'error-file={self.scratch}/server/errors-now'), errors)

    @tap.full
    def test_all_errors(self):
        """some requests of all kinds fail in the server"""
        # Where an L2 table is linked, a flush that fails corrupts any qcow2 image
        self.rounds(self.nbdkit('--filter=error', 'error=EIO', 'error-rate=5%',
                                f'error-file={self.scratch}/server/errors-now'), errors,
                    variants=['mapped', 'lazy-mapped'])


ZONES = {'size': 4 * MiB, 'zone.mode': 'host-managed', 'zone.size': 64 * KiB,
         'zone.max_open_zones': 4, 'zone.max_active_zones': 6, 'cluster_size': 4096}
EMPTY, IMPLICIT, CLOSED, FULL = 1, 2, 4, 14
EIO = 'Input/output error'


class Lost(Nbd):
    """What one client sees while its server is away"""
    PREFIX = 'nbd: '

    def image(self, storage, **options):
        words = ','.join(f'{key}={value}' for key, value in ZONES.items())
        storage.prepare()
        remote.run(remote.QEMU_IMG, 'create', '-q', '-f', 'qcow2', '-o', words,
                   storage.url())
        self.storage_ = storage
        return self.open(**options)

    def open(self, **options):
        io = QemuIo('json:' + remote.json.dumps(
            {'driver': 'qcow2', 'file': self.storage_.node(**options)}))
        self.addCleanup(io.kill)
        self.assertEqual(io.opened, '')
        return io

    def good(self, io, *commands):
        for command in commands:
            text = io.ask(command)
            self.assertNotRegex(text, 'fail|rror', command)

    def fails(self, io, *commands, why=EIO):
        for command in commands:
            self.assertIn(why, io.ask(command), command)

    def zones(self, io, count):
        """(write pointer, state) of the first zones, as qemu-io reports them."""
        text = io.ask(f'zrp 0 {count}')
        return [(int(wp, 16) * 512, int(state)) for wp, state in
                re.findall(r'wptr (0x[0-9a-f]+).*?zcond:\s*(\d+)', text)]

    def test_no_reconnect(self):
        """without reconnect-delay all requests fail, and zones stay as they were"""
        io = self.image(self.storage(QemuNbd))
        self.good(io, 'write 0 8k', 'flush', 'zf 128k 64k', 'zap 64k 4k', 'flush',
                  'write 192k 4k', 'flush')
        before = self.zones(io, 5)
        self.storage_.kill()
        self.fails(io, 'write 8k 4k', 'zrs 128k 64k', 'zf 0 64k',
                   'write 256k 4k', 'read 0 4k')
        self.storage_.start()
        self.fails(io, 'write 8k 4k', 'read 0 4k')
        self.assertEqual(self.zones(io, 5), before)
        text, status = io.close()
        self.assertNotIn('ssertion', text)
        again = self.open()
        closed = [(wp, CLOSED if state == IMPLICIT else state) for wp, state in before]
        self.assertEqual(self.zones(again, 5), closed)


    def test_waits(self):
        """with reconnect-delay requests wait for the server, and do not fail"""
        io = self.image(self.storage(QemuNbd), reconnect=WAIT)
        self.good(io, 'write -P 1 0 4k', 'flush')
        self.storage_.kill()
        io.send('write -P 2 4k 4k')
        time.sleep(.2)
        self.storage_.start()
        self.assertNotRegex(io.answer(), 'fail|rror')
        self.good(io, 'zf 64k 64k', 'zap -P 3 0 4k', 'flush')
        self.assertEqual(io.close()[1], 0)
        again = self.open()
        self.assertEqual(self.zones(again, 3), [(12 * KiB, CLOSED), (128 * KiB, FULL),
                                                (128 * KiB, EMPTY)])
        self.has_pattern(again, (1, 0), (2, 4), (3, 8))

    def test_too_late(self):
        """after reconnect-delay requests fail; with the server back, all goes on"""
        io = self.image(self.storage(QemuNbd), reconnect=1)
        self.good(io, 'write -P 1 0 4k', 'flush')
        self.storage_.kill()
        self.fails(io, 'write -P 9 4k 4k', 'zrs 0 64k', 'write -P 9 64k 4k')
        self.assertEqual(self.zones(io, 2), [(4 * KiB, IMPLICIT), (64 * KiB, EMPTY)])
        self.storage_.start()
        wait_until('that it is connected again',
                   lambda: 'fail' not in io.ask('write -P 2 4k 4k'))
        self.good(io, 'zap -P 3 0 4k', 'flush', 'zf 64k 64k')
        io.close()
        again = self.open()
        self.assertEqual(self.zones(again, 2), [(12 * KiB, CLOSED), (128 * KiB, FULL)])
        self.has_pattern(again, (1, 0), (2, 4), (3, 8))

    def test_lost_answers(self):
        """what was done when its answer got lost is done once"""
        io = self.image(self.proxied(self.storage(QemuNbd, '-e', '0')), reconnect=WAIT)
        self.good(io, 'write -P 1 0 4k', 'flush', 'write 64k 64k', 'flush')
        for command in ('zap -P 2 0 4k', 'flush', 'zf 128k 64k', 'zrs 64k 64k',
                        'write -P 3 8k 4k'):
            self.lose_answer(io, command)
            self.assertNotRegex(io.answer(), 'fail|rror', command)
        expected = [(12 * KiB, IMPLICIT), (64 * KiB, EMPTY), (192 * KiB, FULL)]
        self.assertEqual(self.zones(io, 3), expected)
        self.assertEqual(io.close()[1], 0)
        again = self.open()
        self.assertEqual(self.zones(again, 3), [(12 * KiB, CLOSED), *expected[1:]])
        self.has_pattern(again, (1, 0), (2, 4), (3, 8))

    def after_power_loss(self, cache):
        """The image, when the server's machine had one between write and flush."""
        io = self.image(self.nbdkit('--filter=cache', f'cache={cache}'), reconnect=WAIT)
        self.good(io, 'write -P 1 0 4k', 'flush', 'write -P 2 4k 4k')
        self.storage_.restart()
        self.good(io, 'flush', 'write -P 3 8k 4k', 'flush')
        self.assertEqual(io.close()[1], 0)
        again = self.open()
        self.assertEqual(self.zones(again, 1), [(12 * KiB, CLOSED)])
        self.has_pattern(again, (1, 0), (3, 8))
        return again

    def test_lost_cache(self):
        """a server loses its cache: what was written is gone, no request says so"""
        again = self.after_power_loss('writeback')
        self.assertIn('Pattern verification failed', again.ask('read -P 2 4k 4k'))

    def test_no_cache(self):
        """a server that writes through has what was written"""
        self.has_pattern(self.after_power_loss('writethrough'), (2, 4))

    def lose_answer(self, io, command):
        """If it asks the server at all."""
        proxy = self.storage_.proxy
        proxy.swallow, proxy.swallowed = True, 0
        io.send(command)
        wait_until('an answer that gets lost', lambda: proxy.swallowed)
        proxy.swallow = False
        proxy.cut()

    def test_lost_answer_fails(self):
        """an append of which the answer got lost fails without reconnect-delay"""
        io = self.image(self.proxied(self.storage(QemuNbd, '-e', '0')))
        self.good(io, 'write -P 1 0 4k', 'flush')
        self.lose_answer(io, 'zap -P 2 0 4k')
        self.assertIn(EIO, io.answer())
        self.assertEqual(self.zones(io, 1), [(4 * KiB, IMPLICIT)])
        io.close()
        again = self.open()
        # It may be there or not, as after a crash of the client
        (pointer, state), = self.zones(again, 1)
        self.assertIn(pointer, (4 * KiB, 8 * KiB))
        self.assertEqual(state, CLOSED)
        self.good(again, 'zap -P 3 0 4k')
        self.has_pattern(again, (1, 0), (3, pointer // KiB),
                         *[(2, 4)] * (pointer == 8 * KiB))

    def has_pattern(self, io, *places):
        for pattern, at in places:
            text = io.ask(f'read -P {pattern} {at}k 4k')
            self.assertNotRegex(text, 'fail|rror|erification', f'{pattern} at {at}k')

    def test_too_small(self):
        """an export that is too small: no space left, and nothing else is wrong"""
        self.too_small(self.storage(QemuNbd))

    def test_too_small_nbdkit(self):
        """likewise with nbdkit"""
        self.too_small(self.nbdkit())

    def too_small(self, storage):
        io = self.image(storage)
        io.close()
        storage.kill()
        os.truncate(storage.path('disk'), 1 * MiB)
        storage.start()
        io = self.open(reconnect=WAIT)
        for zone in range(64):
            text = io.ask(f'write {zone * 64}k 64k')
            if 'fail' in text:
                break
        self.assertIn('No space left', text)
        self.assertGreater(zone, 8)
        before = self.zones(io, 64)
        self.assertEqual(before[zone], (zone * 64 * KiB, EMPTY))
        self.good(io, 'zrs 0 64k', 'write -P 4 0 64k', 'flush')
        storage.kill()
        os.truncate(storage.path('disk'), remote.ROOM)
        storage.start()
        # A server that was enlarged is connected, and the guest goes on
        self.good(io, f'write {zone * 64}k 64k', f'zrs {zone * 64}k 64k')
        io.close()
        self.assertIn('No errors', remote.run(remote.QEMU_IMG, 'check', storage.url()))
        after = [(wp, CLOSED if state == IMPLICIT else state) for wp, state in before]
        self.assertEqual(self.zones(self.open(), 64), after)

    def test_read_only(self):
        """a read-only export is refused for writing, and can be read"""
        storage = self.storage(QemuNbd)
        self.image(storage).close()
        storage.options = ['-r']
        storage.restart()
        image = 'json:' + remote.json.dumps({'driver': 'qcow2', 'file': storage.node()})
        self.assertIn('NBD export is read-only', QemuIo(image).opened)
        io = QemuIo(image, '-r')
        self.assertEqual(self.zones(io, 1), [(0, EMPTY)])
        self.assertEqual(io.close()[1], 0)

    def test_one_client(self):
        """qemu-nbd lets a second client wait for the end of the first"""
        io = self.image(self.storage(QemuNbd))
        second = remote.subprocess.Popen(
            [remote.QEMU_IMG, 'zone', 'report', '--count', '1', self.storage_.url()],
            text=True, stdout=remote.subprocess.PIPE)
        self.good(io, 'write 0 4k')
        self.assertIsNone(second.poll())
        self.assertEqual(io.close()[1], 0)
        self.assertRegex(second.communicate()[0], '4 KiB .* closed')


if __name__ == '__main__':
    remote.isolate()
    tap.main()
