# Disks to measure, and the program that does it (zone-bench.c).
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'crash'))

import program

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def build():
    return program.build_program(program.OBJ / 'tests/bench/zone-bench',
                                 HERE / 'zone-bench.c')


def qemu_img(*words):
    program.run([program.OBJ / 'qemu-img', *map(str, words)])


class Bench:
    """zone-bench; call it with a command to get the numbers it answers."""
    def __init__(self, tool):
        self.process = subprocess.Popen([tool], text=True,
                                        stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def __call__(self, *words):
        line = ' '.join(map(str, words))
        self.process.stdin.write(f'{line}\n')
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer or answer.startswith('error'):
            raise RuntimeError(f'{line}: {answer or "zone-bench died"}')
        numbers = [int(word) for word in answer.split()]
        return numbers if len(numbers) > 1 else numbers[0]

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def find_cache(bench, directory):
    """-blockdev options of the file: the best that this machine can do"""
    path = directory / 'probe'
    path.write_bytes(bytes(MIB))
    try:
        for direct, aio in ((True, 'native'), (True, 'io_uring'),
                            (True, 'threads'), (False, 'threads')):
            options = {'cache': {'direct': direct}, 'aio': aio}
            disk = Disk(bench, 'probe', path, 'raw', options)
            try:
                disk.open()
                disk.load('write', 4096, 1, 4096)
                disk.close()
                return options
            except RuntimeError:
                continue
        raise RuntimeError(f'cannot write to {directory}')
    finally:
        path.unlink()


class Disk:
    def __init__(self, bench, name, path, driver, cache, create=(),
                 **options):
        self.bench, self.name, self.path = bench, name, path
        self.driver, self.create_options = driver, create
        self.blockdev = {'driver': driver, **options, **cache, 'file': {
            'driver': 'file', 'filename': str(path), **cache}}
        del self.blockdev['aio']

    def create(self, size):
        options = [word for option in self.create_options
                   for word in ('-o', option)]
        qemu_img('create', '-q', '-f', self.driver, *options, self.path, size)
        # What the file system has to do for it is not measured
        descriptor = os.open(self.path, os.O_RDWR)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)

    def open(self):
        filename = json.dumps(self.blockdev, separators=(',', ':'))
        return self.bench('open', self.name, f'json:{filename}')

    def close(self):
        self.bench('close', self.name)

    def fresh(self, size):
        self.create(size)
        self.open()

    def remove(self):
        self.close()
        self.path.unlink()

    def flush(self):
        return self.bench('flush', self.name)

    def load(self, kind, block, depth, count, flush=0, milliseconds=60000):
        """Bytes done, and nanoseconds"""
        return self.bench(kind, self.name, block, depth, flush, count,
                          milliseconds)


def zoned(zone_size, *more):
    return ('zone.mode=host-managed', f'zone.size={zone_size}',
            f'zone.max_append_bytes={min(zone_size, MIB)}', *more)
