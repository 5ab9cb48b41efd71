#!/usr/bin/python3
# What operations of zones ask of the server of an image: counted by nbdkit, and
# compared with the table in docs/devel/zoned-emulation.rst.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import re
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import remote
from remote import MiB, NbdKit, QemuIo, wait_until
import tap

TABLE = Path(__file__).resolve().parents[2] / 'docs/devel/zoned-emulation.rst'
COLUMNS = 'reads', 'writes', 'flushes', 'round trips'
ZONES = {'size': 64 * MiB, 'zone.mode': 'host-managed', 'zone.size': 1 * MiB}
LINE = re.compile(r'connection=(\d+) (\.\.\.)?(Read|Write|Zero|Trim|Flush) id=(\d+)')

# Names, and what is done; the last command is what counts
STEPS = [
    ('first write of a zone', 'write 1M 4k'),
    ('flush after it', 'flush'),
    ('write, append', 'zap 1M 4k', 'zap 1M 4k'),
    ('flush after several', 'flush'),
    ('write, a flush comes after each', 'write 1036k 4k', 'flush', 'write 1040k 4k',
     'flush', 'write 1044k 4k'),
    ('flush then', 'flush'),
    ('flush, nothing written', 'flush'),
    ('write that fills a zone', 'write 2M 512k', 'flush', 'write 2560k 512k'),
    ('flush, a zone became full', 'flush'),
    ('read', 'read 1M 4k'),
    ('read above the write pointer', 'read 1536k 4k'),
    ('report, open, close', 'zrp 0 64', 'zo 3M 1M', 'zc 3M 1M'),
    ('reset', 'zrs 2M 1M'),
    ('reset, writes not flushed yet', 'write 2M 4k', 'write 1048k 4k', 'zrs 2M 1M'),
    ('reset of all zones', 'zrs 0 64M'),
    ('finish', 'write 3M 4k', 'flush', 'zf 3M 1M'),
]


class Counted(NbdKit):
    """Requests that are made together overlap: each takes some milliseconds."""
    def __init__(self, directory):
        super().__init__(directory, '--filter=log', '--filter=delay', 'rdelay=20ms',
                         'wdelay=20ms', f'logfile={directory}/log')
        self.seen = 0

    def requests(self):
        """(kind, connection and number, has ended) of all since the last time"""
        lines = self.path('log').read_text().splitlines()
        found = [LINE.search(line) for line in lines[self.seen:]]
        self.seen = len(lines)
        return [(m[3], (m[1], m[4]), bool(m[2])) for m in found if m]


def count(requests):
    """Reads, writes (zeroes, too), flushes; how many have waited for each other."""
    kinds, level, done = [], {}, 0
    for kind, number, has_ended in requests:
        if has_ended:
            done = max(done, level.get(number, 0))
        else:
            kinds.append(kind)
            level[number] = done + 1
    return (kinds.count('Read'), kinds.count('Write') + kinds.count('Zero'),
            kinds.count('Flush'), max(level.values(), default=0))


def table():
    """{operation: numbers} as the document has it"""
    text = TABLE.read_text()
    rows = re.findall(r'^(\S.*?)  +' + r' +'.join([r'(\d+)'] * len(COLUMNS)) + '$',
                      text, re.M)
    return {name: tuple(map(int, numbers)) for name, *numbers in rows}


class Cost(remote.Case):
    maxDiff = None
    PREFIX = 'cost: '

    def setUp(self):
        super().setUp()
        self.need(remote.missing('nbdkit'))
        self.server = self.storage(Counted)
        self.server.prepare()
        words = ','.join(f'{key}={value}' for key, value in ZONES.items())
        remote.run(remote.QEMU_IMG, 'create', '-q', '-f', 'qcow2', '-o', words,
                   self.server.url())
        self.counted = {}

    def open(self):
        node = {'driver': 'qcow2', 'discard': 'ignore', 'file': self.server.node()}
        io = QemuIo('json:' + json.dumps(node))
        self.addCleanup(io.kill)
        self.assertEqual(io.opened, '')
        return io

    def count(self, name):
        self.counted[name] = count(self.server.requests())

    def step(self, io, name, *commands):
        """The last of them is what is counted."""
        *before, last = commands
        for command in before:
            self.assertNotRegex(io.ask(command), 'fail|rror', command)
        self.server.requests()
        self.assertNotRegex(io.ask(last), 'fail|rror', last)
        self.count(name)

    def qemu_img(self, name, *words):
        """With opening and closing it"""
        remote.run(remote.QEMU_IMG, *words, self.server.url())
        self.count(name)

    def test_table(self):
        """each operation does what docs/devel/zoned-emulation.rst says"""
        self.server.requests()
        io = self.open()
        self.count('open')
        # Two zones written, and what qcow2 does at first is done
        for command in 'write 0 4k', 'flush', 'write 10M 4k', 'flush':
            io.ask(command)
        for name, *commands in STEPS:
            self.step(io, name, *commands)
        self.server.requests()
        io.close()
        wait_until('the end', lambda: 'Disconnect' in self.server.path('log').read_text()
                   .splitlines()[-1])
        self.count('close, after a flush')
        self.qemu_img('qemu-img snapshot -c', 'snapshot', '-c', 'name')
        self.qemu_img('qemu-img check', 'check')
        said = table()
        different = [f'{name}: {self.counted.get(name)}, said to be {said.get(name)}'
                     for name in {**self.counted, **said}
                     if self.counted.get(name) != said.get(name)]
        self.assertEqual(different, [])


if __name__ == '__main__':
    remote.isolate()
    tap.main()
