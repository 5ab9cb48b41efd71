#!/usr/bin/env python3
#
# Boot the Linux guest of scripts/guest-image under TCG and run scripts in it.
#
# As a module: class Guest.  As a program, for people: see --help.
#
# Environment: QEMU_BUILD   directory of qemu-system-x86_64 and qemu-img
#              GUEST_LINUX  "newest", "oldest", "arm64-16k" or "arm64-64k", see
#                           scripts/guest-image
#              GUEST_IMAGE  directory of a guest image that is used as it is
#
# SPDX-License-Identifier: GPL-2.0-or-later

import argparse
import os
from pathlib import Path
import re
import secrets
import select
import subprocess
import sys
import tempfile
import time

SRC = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get('QEMU_BUILD', SRC / 'build'))
LINUX = os.environ.get('GUEST_LINUX') or 'default'
IMAGE = Path(os.environ.get('GUEST_IMAGE') or SRC / 'build' / (
    'guest' if LINUX == 'default' else f'guest-{LINUX}'))

if LINUX.startswith('arm64-'):
    # scripts/check-arm64 builds it
    QEMU = BUILD / 'arm64/qemu-system-aarch64'
    # The first with all sizes of pages; later ones sign pointers, which is slow
    MACHINE = ['-machine', 'virt', '-cpu', 'neoverse-n1']
    CONSOLE = 'ttyAMA0'
else:
    QEMU = BUILD / 'qemu-system-x86_64'
    MACHINE = ['-machine', 'q35', '-cpu', 'max']
    CONSOLE = 'ttyS0'

# no_timer_check: on a busy host Linux finds TCG's timer not working, and panics
# tsc=nowatchdog: 7.3.4 compares the clocks of two CPUs with interrupts off, and for
# ever if the other one is in stop_machine(), which waits for the first
CMDLINE = (f'console={CONSOLE} root=PARTUUID=7a6f6e65-01 rootwait ro init=/init '
           'panic=-1 oops=panic loglevel=5 no_timer_check tsc=nowatchdog')

# What TCG does to Linux on a busy host, while it boots: a vCPU loses its timer for
# good, or one runs into code that another one has just patched.
TCG_FAULT = re.compile(r'Possible timer handling issue|Oops: int3|'
                       r'APIC calibration not consistent.*\s*\Z')
BOOTS = 3

# The kernel line from which on to show a console log
TROUBLE = re.compile(r'BUG:|Oops:|Kernel panic|WARNING:|blocked for more')


class GuestError(Exception):
    """The guest did not do what every guest should do."""


def prepare():
    """Build the guest image unless it is up to date."""
    if not QEMU.exists():
        raise GuestError(f'{QEMU} does not exist; '
                         'run "make" or "make check-arm64", or set QEMU_BUILD')
    if not os.environ.get('GUEST_IMAGE'):
        subprocess.run([SRC / 'scripts/guest-image', LINUX], check=True,
                       stdout=sys.stderr)


def firmware():
    """Arguments for a QEMU that has no firmware next to it."""
    if (QEMU.resolve().parent / 'qemu-bundle').exists():
        return []
    return ['-L', '/usr/share/seabios', '-L', '/usr/share/qemu']


def qemu_img(*args):
    """Run qemu-img, return what it prints; raise GuestError if it fails."""
    proc = subprocess.run([str(a) for a in (BUILD / 'qemu-img', *args)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    if proc.returncode:
        raise GuestError(f'qemu-img {" ".join(map(str, args))}: '
                         f'status {proc.returncode}\n{proc.stdout}')
    return proc.stdout


class Guest:
    """A QEMU process with a guest in it.

    Usage:
        with Guest(['-blockdev', ..., '-device', ...]) as guest:
            status, output = guest.run('lsblk -z')
            guest.poweroff()

    A guest that is neither powered off nor killed when the context ends is
    killed.  Its console log is deleted unless something went wrong.
    """

    # Of the kernels that were booted
    releases = set()

    def __init__(self, devices=(), timeout=240, root='nvme,serial=guest-root'):
        """
        devices: QEMU arguments; timeout: seconds, for boot and each run; root:
        the device of the root disk, of which others come first in the guest.
        """
        self.devices = [str(arg) for arg in devices]
        self.root = root
        self.timeout = timeout
        self.boot_seconds = None
        self.proc = None
        self._token = None
        self._output = b''
        self.log = None

    def command(self):
        """The QEMU command line without the console and the agent."""
        initrd = IMAGE / 'initrd'
        return [str(arg) for arg in (
            QEMU, *firmware(), *MACHINE,
            '-accel', 'tcg,thread=multi', '-smp', '2',
            '-m', '1G', *(('-initrd', initrd) if initrd.exists() else ()),
            '-nodefaults', '-nic', 'none', '-display', 'none', '-no-reboot',
            # For words()
            '-trace', '*zone*_refused', '-trace', 'zone_table_write_failed',
            '-kernel', IMAGE / 'vmlinuz', '-append', CMDLINE,
            '-blockdev', 'node-name=guest-root,driver=raw,read-only=on,'
                         f'file.driver=file,file.filename={IMAGE}/root.img',
            '-device', f'{self.root},drive=guest-root,addr=1e.0',
            *self.devices)]

    def start(self):
        """Start QEMU, wait until the guest accepts scripts."""
        for boots in range(BOOTS):
            start = time.monotonic()
            self.launch()
            try:
                self.releases.add(self.check('uname -r').strip())
                break
            except GuestError:
                fault = TCG_FAULT.search(self.console())
                if not fault or boots + 1 == BOOTS:
                    raise
            print(f'# boots again after "{fault[0]}": {self.log}', flush=True)
        self.boot_seconds = time.monotonic() - start
        return self

    def launch(self):
        """Start QEMU; what is in the guest is another's matter (migration)."""
        logs = IMAGE / 'logs'
        logs.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f'{Path(sys.argv[0]).stem}-', suffix='.log', dir=logs)
        os.close(handle)
        self.log = Path(name)
        argv = self.command() + [
            '-serial', f'file:{self.log}', '-device', 'virtio-serial-pci',
            '-chardev', 'stdio,id=agent,signal=off',
            '-device', 'virtserialport,chardev=agent,name=agent']
        with open(f'{self.log}.qemu', 'wb') as errors:
            try:
                self.proc = subprocess.Popen(
                    argv, bufsize=0, stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE, stderr=errors)
            except OSError as error:
                self._fail(f'cannot run QEMU: {error}')

    def __enter__(self):
        return self.start()

    def __exit__(self, exc_type, exc, trace):
        self.kill()
        if exc_type is None:
            self.remove_log()

    def send(self, script):
        """Start a script in the guest; wait_for() and finish() follow it."""
        self._token = secrets.token_hex(8)
        self._output = b''
        data = script.encode()
        try:
            self.proc.stdin.write(f'{self._token} {len(data)}\n'.encode() +
                                  data)
        except BrokenPipeError:
            self._fail('QEMU ended')

    def wait_for(self, marker, timeout=None):
        """Wait until the running script has printed marker."""
        marker = re.escape(marker.encode())
        if not self._read(re.compile(b'(%s)|%s' % (marker, self._end())),
                          timeout)[1]:
            self._fail('the script ended too early')

    def finish(self, timeout=None):
        """Wait for the end of the script; return (status, output)."""
        match = self._read(re.compile(self._end()), timeout)
        return int(match[1]), self._output[:match.start()].decode(
            errors='backslashreplace')

    def run(self, script, timeout=None):
        """Run a bash script in the guest; return (status, output)."""
        self.send(script)
        return self.finish(timeout)

    def check(self, script, timeout=None):
        """Run a script of which no command may fail; return its output."""
        status, output = self.run(f'set -e -o pipefail\n{script}', timeout)
        if status:
            self._fail(f'script failed with status {status}:\n{script}\n'
                       f'--- its output:\n{output}', kill=False)
        return output

    def poweroff(self, timeout=None):
        """Unmount, power the guest off, and wait until QEMU has ended."""
        self.proc.stdin.close()
        try:
            status = self.proc.wait(timeout or self.timeout)
        except subprocess.TimeoutExpired:
            self._fail('no power-off in time')
        if status:
            self._fail(f'QEMU ended with status {status}')
        if 'reboot: Power down' not in self.console():
            self._fail('QEMU ended, but the guest did not power off')
        self._close()

    def kill(self):
        """End QEMU with SIGKILL, as a power loss."""
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        self._close()

    def remove_log(self):
        for name in (self.log, Path(f'{self.log}.qemu')):
            name.unlink(missing_ok=True)

    def console(self):
        """The kernel's log so far."""
        return self.log.read_text(errors='backslashreplace')

    def words(self):
        """What QEMU has printed, and the last writes that it refused"""
        errors = Path(f'{self.log}.qemu')
        return (errors.read_text(errors='backslashreplace').splitlines()[-20:]
                if errors.exists() else [])

    def _end(self):
        """What follows the output of the running script"""
        return self._token.encode() + rb' (\d+)\n\Z'

    def _read(self, pattern, timeout):
        """Read the guest's output until it matches pattern."""
        timeout = timeout or self.timeout
        deadline = time.monotonic() + timeout
        stdout = self.proc.stdout
        while not (match := pattern.search(self._output)):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([stdout], [], [], left)[0]:
                self._fail(f'no answer within {timeout} s')
            data = os.read(stdout.fileno(), 65536)
            if not data:
                status = self.proc.wait()
                self._fail(f'QEMU ended with status {status} while the guest '
                           'was running a script')
            self._output += data
        return match

    def _stacks(self):
        """Where the threads of QEMU are, if gdb is there to tell."""
        try:
            return subprocess.run(
                ['gdb', '-p', str(self.proc.pid), '-batch',
                 '-ex', 'thread apply all bt 12'],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True, timeout=60, check=False).stdout
        except (OSError, subprocess.TimeoutExpired):
            return ''

    def _fail(self, message, kill=True):
        if kill and self.proc and self.proc.poll() is None:
            message += self._stacks()
        if kill:
            self.kill()
            if self._output:
                message += ('\n--- output of the script so far:\n' +
                            self._output.decode(errors='backslashreplace'))
        parts = [message, *self.words()]
        lines = self.console().splitlines()
        trouble = next((i for i, line in enumerate(lines)
                        if TROUBLE.search(line)), len(lines))
        start = max(0, min(trouble, len(lines) - 10))
        parts.append(f'--- from {self.log}:')
        parts += lines[start:start + 30]
        raise GuestError('\n'.join(p for p in parts if p))

    def _close(self):
        if self.proc:
            self.proc.stdin.close()
            self.proc.stdout.close()
        errors = Path(f'{self.log}.qemu')
        if errors.exists() and not errors.stat().st_size:
            errors.unlink()


def main():
    parser = argparse.ArgumentParser(
        description='Boot the test guest; run a script in it, or a shell on '
        'the console (exit or ctrl-D powers off, ctrl-A X kills).',
        epilog='Example: guest.py -d zbc.qcow2 -c "lsblk -z"')
    parser.add_argument('-d', '--disk', action='append', default=[],
                        metavar='QCOW2', help='attach an image as virtio-blk '
                        'disk /dev/vda, /dev/vdb, ...')
    parser.add_argument('-c', '--command', help='run this in the guest')
    parser.add_argument('-t', '--timeout', type=float, default=600,
                        help='seconds for the script (default: %(default)s)')
    parser.add_argument('script', nargs='?', type=Path,
                        help='file to run in the guest')
    parser.add_argument('qemu_args', nargs='*', metavar='-- QEMU_ARG',
                        help='further arguments for QEMU')
    args = parser.parse_args()

    devices = list(args.qemu_args)
    for i, disk in enumerate(args.disk):
        devices += ['-blockdev', f'node-name=disk{i},driver=qcow2,'
                                 f'file.driver=file,file.filename={disk}',
                    '-device', f'virtio-blk-pci,drive=disk{i}']
    prepare()
    guest = Guest(devices, args.timeout)
    script = args.command or (args.script and args.script.read_text())
    if script is None:
        argv = guest.command() + ['-serial', 'mon:stdio']
        os.execv(argv[0], argv)
    with guest:
        status, output = guest.run(script)
        print(output, end='')
        guest.poweroff()
    sys.exit(status)


if __name__ == '__main__':
    try:
        main()
    except GuestError as error:
        sys.exit(f'guest: {error}')
