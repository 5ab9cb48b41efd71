# Disks to measure, and the program that does it (zone-bench.c).
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'crash'))

import program

QEMU_IMG = program.OBJ / 'qemu-img'
SECRET, PASSPHRASE = 'sec0', 'bench'
# Time to derive the key is not what is measured
LUKS = ('encrypt.format=luks', f'encrypt.key-secret={SECRET}',
        'encrypt.iter-time=10')

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def build():
    return program.build_program(program.OBJ / 'tests/bench/zone-bench',
                                 HERE / 'zone-bench.c')


class Unknown(RuntimeError):
    """A command that zone-bench, of another build, does not have"""


class Bench:
    """zone-bench; call it with a command to get the numbers it answers."""
    def __init__(self, tool):
        self.has_secret = False
        self.process = subprocess.Popen([tool], text=True,
                                        stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def __call__(self, *words):
        line = ' '.join(map(str, words))
        self.process.stdin.write(f'{line}\n')
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if answer.startswith(('error see zone-bench.c', 'error no such command')):
            raise Unknown(f'zone-bench there has no "{line}"')
        if not answer or answer.startswith('error'):
            raise RuntimeError(f'{line}: {answer or "zone-bench died"}')
        numbers = [int(word) for word in answer.split()]
        return numbers if len(numbers) > 1 else numbers[0]

    def memory(self):
        """
        KiB resident, and the most so far.  (ru_maxrss begins with what the
        process that started it had.)
        """
        lines = Path(f'/proc/{self.process.pid}/status').read_text().splitlines()
        status = dict(line.split(':', 1) for line in lines)
        return [int(status[name].split()[0]) for name in ('VmRSS', 'VmHWM')]

    def need_secret(self):
        if not self.has_secret:
            self('secret', SECRET, PASSPHRASE)
            self.has_secret = True

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
    """
    An image or raw file; @tool is the qemu-img that makes it.  @unmap:
    discards give space back; @encrypted: with LUKS; @data_file: beside it.
    @options are for -blockdev.
    """
    def __init__(self, bench, name, path, driver, cache, create=(),
                 tool=QEMU_IMG, unmap=False, encrypted=False, data_file=False,
                 **options):
        self.bench, self.name, self.path = bench, name, path
        self.driver, self.tool, self.encrypted = driver, tool, encrypted
        self.create_options, self.files = list(create), [path]
        discard = {'discard': 'unmap'} if unmap else {}
        self.blockdev = {'driver': driver, **options, **discard,
                         'cache': cache['cache'],
                         'file': self.file(path, cache, discard)}
        if encrypted:
            self.create_options += LUKS
            self.blockdev['encrypt'] = {'key-secret': SECRET}
        if data_file:
            data = Path(f'{path}.data')
            self.files.append(data)
            self.create_options.append(f'data_file={data}')
            self.blockdev['data-file'] = self.file(data, cache, discard)

    @staticmethod
    def file(path, cache, discard):
        return {'driver': 'file', 'filename': str(path), **cache, **discard}

    def create(self, size):
        new = Path(f'{self.path}.new')
        if not self.encrypted:
            self.make(self.path, size)
        else:
            # To derive keys takes seconds
            if not new.exists():
                self.make(new, size)
            shutil.copyfile(new, self.path)
        # What the file system has to do for it is not measured
        for path in self.files:
            descriptor = os.open(path, os.O_RDWR)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)

    def make(self, path, size):
        words = [word for option in self.create_options
                 for word in ('-o', option)]
        if self.encrypted:
            words += ['--object', f'secret,id={SECRET},data={PASSPHRASE}']
        program.run([self.tool, 'create', '-q', '-f', self.driver, *words,
                     path, str(size)])

    def filename(self):
        return 'json:' + json.dumps(self.blockdev, separators=(',', ':'))

    def open(self):
        if self.encrypted:
            self.bench.need_secret()
        return self.bench('open', self.name, self.filename())

    def make_overlay(self, base):
        """With the zones of @base, if it has some"""
        program.run([self.tool, 'create', '-q', '-f', self.driver, '-F',
                     base.driver, '-b', base.path, self.path])

    def close(self):
        self.bench('close', self.name)

    def fresh(self, size):
        self.create(size)
        self.open()

    def unlink(self):
        for path in self.files:
            path.unlink(missing_ok=True)

    def remove(self):
        self.close()
        self.unlink()

    def space(self):
        """Bytes that it takes in the host's file system"""
        return sum(os.stat(path).st_blocks * 512 for path in self.files)

    def flush(self):
        return self.bench('flush', self.name)

    def load(self, kind, block, depth, count, flush=0, milliseconds=60000,
             step=None):
        """Bytes done, and nanoseconds; with a @step, @count is what it spans"""
        return self.bench(kind, self.name, block, depth, flush, count,
                          milliseconds, *([step] if step else []))


def zoned(zone_size, *more):
    return ('zone.mode=host-managed', f'zone.size={zone_size}',
            f'zone.max_append_bytes={min(zone_size, MIB)}', *more)
