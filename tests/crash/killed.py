# A process that works on a zoned image and is killed: qemu-io, or
# qemu-storage-daemon whose client is a qemu-io.
#
# That gets one command after the other, and what it answers goes into a log as
# zone-workload writes it: what was answered before the kill must be there.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import struct
import subprocess
import threading
import time

import program
from eventlog import END, ENTRY, FINISH, RESET, SYNC

KiB = 1024
SECTOR = 512
WORD = (1 << 64) - 1
PROMPT = 'qemu-io> '
SECRET = ['--object', 'secret,id=key,data=crash']
ZONES = 6               # so many are written to


def sector(number, index):
    """What zone-workload writes: number, index, and words that depend on them"""
    words, x = [number, index], number * 0x9e3779b97f4a7c15 + index & WORD
    while len(words) < SECTOR // 8:
        x = x * 6364136223846793005 + 1442695040888963407 & WORD
        words.append(x)
    return struct.pack(f'={len(words)}Q', *words)


class KilledQemuIo:
    #: What may be asked, and how often: write, flush, reset, finish
    KINDS = {'w': 12, 's': 3, 'r': 1, 'f': 1}

    def __init__(self, recording, rng):
        self.recording, self.rng = recording, rng
        self.number, self.killed = 0, False
        zones = recording.workload.zones
        self.size, self.capacity = zones['zone.size'], zones['zone.capacity']
        first = zones['zone.conventional_zones']
        self.written = {i * self.size: 0 for i in range(first, first + ZONES)}

    def log(self, kind, number, offset, length=0, result=0):
        self.file.write(ENTRY.pack(ord(kind), 0, number, offset, length, result))

    def answer(self):
        """All up to the next prompt; None if qemu-io is gone."""
        text = ''
        while not text.endswith(PROMPT):
            character = self.child.stdout.read(1)
            if not character:
                return None
            text += character
        return text

    def ask(self, command):
        try:
            self.child.stdin.write(f'{command}\n')
            self.child.stdin.flush()
        except BrokenPipeError:
            return None
        return self.answer()

    def request(self, kind, offset, length, command):
        self.number += 1
        self.log(kind, self.number, offset, length)
        if kind == 'w':
            data = b''.join(sector(self.number, n) for n in range(length // SECTOR))
            self.recording.path('sectors').write_bytes(data)
        answer = self.ask(command)
        if answer is None or 'fail' in answer or 'rror' in answer:
            assert self.killed, answer
            return False
        if kind == SYNC and self.killed:
            return False        # qemu-io does not tell that a flush has failed
        self.log(END, self.number, offset)
        return True

    def step(self):
        """One request; False when qemu-io is gone."""
        zone = self.rng.choice(list(self.written))
        done = self.written[zone]
        kind = self.rng.choices(list(self.KINDS), self.KINDS.values())[0]
        full = kind == 'w' and done == self.capacity
        if kind == 's' or full and 'r' not in self.KINDS:
            return self.request(SYNC, 0, 0, 'flush')
        if kind == 'w' and not full:
            length = min(SECTOR * self.rng.randint(1, 24), self.capacity - done)
            self.written[zone] += length
            return self.request('w', zone + done, length, 'write -s '
                                f'{self.recording.path("sectors")} {zone + done} {length}')
        self.written[zone] = self.capacity if kind == 'f' else 0
        return self.request(FINISH if kind == 'f' else RESET, zone, self.size,
                            f'{"zf" if kind == "f" else "zrs"} {zone} {self.size}')

    def qemu_io(self, *image):
        return subprocess.Popen(
            [program.OBJ / 'qemu-io', '-t', 'writeback', *SECRET, *image],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self):
        self.child = self.victim = self.qemu_io(self.recording.blockdev('file'))

    def kill(self):
        self.killed = True
        self.victim.kill()

    def run(self):
        with open(self.recording.path('log'), 'wb') as self.file:
            self.start()
            self.answer()
            killer = threading.Timer(self.rng.uniform(0, .5), self.kill)
            killer.start()
            while self.step():
                pass
            killer.join()
            self.victim.wait()
            self.child.kill()
            self.child.wait()


class KilledDaemon(KilledQemuIo):
    #: NBD knows nothing of zones
    KINDS = {'w': 12, 's': 3}

    def start(self):
        socket = self.recording.path('nbd')
        pidfile = self.recording.path('pid')
        node = json.loads(self.recording.blockdev('file').removeprefix('json:'))
        self.victim = subprocess.Popen(
            [program.OBJ / 'storage-daemon/qemu-storage-daemon', *SECRET,
             '--blockdev', json.dumps({**node, 'node-name': 'disk'}),
             '--nbd-server', f'addr.type=unix,addr.path={socket}',
             '--export', 'type=nbd,id=export,node-name=disk,writable=on',
             '--pidfile', pidfile])
        while not pidfile.exists():
            assert self.victim.poll() is None
            time.sleep(.01)
        self.child = self.qemu_io('-f', 'raw', f'nbd+unix:///disk?socket={socket}')
