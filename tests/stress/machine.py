# A QEMU without a guest: its devices are driven from here, with the qtest
# protocol; guest memory is a file that both have mapped.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import mmap
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

BUILD = Path(os.environ.get('QEMU_BUILD') or
             Path(__file__).resolve().parent.parent.parent / 'build').absolute()
MEMORY = 64 << 20
ARENAS = 8 << 20            # where guest memory for devices begins
BARS = 0xe0000000           # where device registers are put
BAR_SIZE = 1 << 20
UNDERSCORES = ('block_set_io_throttle',)
TIMEOUT = 300               # seconds for anything; a busy host is slow


class Failure(Exception):
    """QEMU has done what it must not do."""


def wait_until(condition, what, meanwhile=None):
    end = time.monotonic() + TIMEOUT
    pause = 0
    while not condition():
        if time.monotonic() > end:
            raise Failure(f'{what}: not after {TIMEOUT} seconds')
        if meanwhile:
            meanwhile()
        time.sleep(pause)
        pause = 0.0002


class Lines:
    """Lines of text over a socket"""
    def __init__(self, path):
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen(1)
        self.server.settimeout(TIMEOUT)
        self.rest = b''

    def accept(self):
        try:
            self.socket, _ = self.server.accept()
        except TimeoutError as error:
            raise Failure('QEMU has not started') from error
        self.socket.settimeout(TIMEOUT)

    def send(self, text):
        try:
            self.socket.sendall(text.encode() + b'\n')
        except OSError as error:
            raise Failure(f'QEMU is gone: {error}') from error

    def receive(self):
        while b'\n' not in self.rest:
            try:
                piece = self.socket.recv(1 << 16)
            except TimeoutError as error:
                raise Failure('QEMU does not answer') from error
            except OSError as error:
                raise Failure(f'QEMU is gone: {error}') from error
            if not piece:
                raise Failure('QEMU has ended')
            self.rest += piece
        line, self.rest = self.rest.split(b'\n', 1)
        return line.decode()

    def close(self):
        self.server.close()
        self.socket.close()


class Words:
    """
    Words of memory that say what the other side has done.  QEMU may look at any
    time: each is read and written at once.  struct.pack_into() writes zeroes first.
    """
    def __init__(self, memory):
        self.views = {2: memoryview(memory).cast('H'), 4: memoryview(memory).cast('I')}

    def load(self, size, address):
        return self.views[size][address // size]

    def store(self, size, address, value):
        self.views[size][address // size] = value


class Machine:
    program, qemu_img = BUILD / 'obj/qemu-system-x86_64', BUILD / 'obj/qemu-img'

    def __init__(self, directory, name, options):
        self.directory, self.name = Path(directory), name
        self.memory_path = self.directory / f'{name}.memory'
        self.log = self.directory / f'{name}.log'
        self.qtest = Lines(self.directory / f'{name}.qtest')
        self.monitor = Lines(self.directory / f'{name}.qmp')
        self.events = []            # since the last QMP command
        with open(self.memory_path, 'wb') as file:
            file.truncate(MEMORY)
        with open(self.memory_path, 'r+b') as file:
            self.memory = mmap.mmap(file.fileno(), MEMORY)
        self.words = Words(self.memory)
        path = self.directory / name
        command = [
            self.program, '-accel', 'qtest', '-nodefaults',
            '-display', 'none', '-nic', 'none', '-m', str(MEMORY >> 20),
            '-object', f'memory-backend-file,id=mem,size={MEMORY},share=on,'
                       f'mem-path={self.memory_path}',
            '-machine', 'pc,memory-backend=mem',
            '-chardev', f'socket,id=qtest,path={path}.qtest',
            '-qtest', 'chardev:qtest', '-qtest-log', '/dev/null',
            '-chardev', f'socket,id=qmp,path={path}.qmp',
            '-mon', 'chardev=qmp,mode=control', *options]
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(list(map(str, command)), stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL)
        self.accept(self.monitor)
        self.accept(self.qtest)
        self.monitor.receive()
        self.qmp('qmp_capabilities')

    def accept(self, lines):
        lines.server.settimeout(0.2)
        end = time.monotonic() + TIMEOUT
        while True:
            try:
                return lines.accept()
            except Failure:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise Failure(f'QEMU has not started: {self.errors()}') from None

    def errors(self):
        return self.log.read_text(errors='replace').strip()

    # --- qtest ---

    def ask(self, text):
        self.qtest.send(text)
        answer = self.qtest.receive().split()
        if answer[0] != 'OK':
            raise Failure(f'{text}: {answer}')
        return int(answer[1], 0) if len(answer) > 1 else None

    def clock(self):
        """The clock that throttling goes by only moves when it is told to."""
        self.ask('clock_step 1000000')

    def write(self, size, address, value):
        self.ask(f'write{" bw l   q"[size]} {address:#x} {value:#x}')

    def read(self, size, address):
        return self.ask(f'read{" bw l   q"[size]} {address:#x}')

    def config(self, slot, offset):
        self.ask(f'outl 0xcf8 {0x80000000 | slot << 11 | offset & ~3:#x}')
        return self.ask('inl 0xcfc')

    def set_config(self, slot, offset, value):
        self.ask(f'outl 0xcf8 {0x80000000 | slot << 11 | offset:#x}')
        self.ask(f'outl 0xcfc {value:#x}')

    def place_bar(self, slot, bar):
        """Map a memory BAR and let the device use memory; returns its address."""
        address = BARS + slot * BAR_SIZE
        self.set_config(slot, 0x10 + 4 * bar, address)
        if self.config(slot, 0x10 + 4 * bar) & 4:
            self.set_config(slot, 0x14 + 4 * bar, 0)
        self.set_config(slot, 4, 6)
        return address

    # --- QMP ---

    def start_qmp(self, command, arguments):
        arguments = {key: value for key, value in arguments.items()
                     if value is not None}
        self.events = []
        self.monitor.send(json.dumps({'execute': command, 'arguments': arguments}))

    def finish_qmp(self):
        """The answer: (True, what was returned) or (False, the error)"""
        while True:
            answer = json.loads(self.monitor.receive())
            if 'return' in answer:
                return True, answer['return']
            if 'error' in answer:
                return False, answer['error']['desc']
            self.events.append(answer['event'])

    def wait_event(self, name):
        """One since the last command was sent"""
        while name not in self.events:
            self.events.append(json.loads(self.monitor.receive())['event'])

    def try_qmp(self, command, **arguments):
        self.start_qmp(command, {key if command in UNDERSCORES else
                                 key.replace('_', '-'): value
                                 for key, value in arguments.items()})
        return self.finish_qmp()

    def qmp(self, command, **arguments):
        good, answer = self.try_qmp(command, **arguments)
        if not good:
            raise Failure(f'{command} {arguments}: {answer}')
        return answer

    # --- The end ---

    def keep_stacks(self):
        """What QEMU's threads are doing, for a person"""
        if shutil.which('gdb') and self.process.poll() is None:
            subprocess.run(['gdb', '-batch', '-p', str(self.process.pid),
                            '-ex', 'thread apply all backtrace'],
                           stdout=open(self.directory / 'stacks', 'wb'),
                           stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    def quit(self):
        self.qmp('quit')
        try:
            status = self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise Failure('QEMU does not end') from error
        self.close()
        if status:
            raise Failure(f'QEMU ended with status {status}: {self.errors()}')

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.close()

    def close(self):
        for lines in (self.qtest, self.monitor):
            lines.close()
        for suffix in ('memory', 'qtest', 'qmp'):
            (self.directory / f'{self.name}.{suffix}').unlink()
