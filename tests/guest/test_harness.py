#!/usr/bin/env python3
#
# The harness itself: what a test relies on when it says "ok".
#
# SPDX-License-Identifier: GPL-2.0-or-later

import subprocess
import sys
import time
import unittest

from guest import Guest, GuestError, SRC, prepare
import tap


class Shared(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        prepare()
        cls.guest = Guest()
        cls.addClassCleanup(cls.guest.kill)
        cls.guest.start()

    @classmethod
    def tearDownClass(cls):
        cls.guest.poweroff()
        cls.guest.remove_log()

    def test_status(self):
        """the exit status of a script comes back"""
        for status in (0, 1, 77, 255):
            self.assertEqual(self.guest.run(f'exit {status}'), (status, ''))

    def test_signal(self):
        """a script that is killed by a signal has failed"""
        status, _ = self.guest.run('kill -9 $$')
        self.assertEqual(status, 128 + 9)

    def test_check(self):
        """check() raises when any command fails, also within a pipe"""
        self.assertEqual(self.guest.check('echo a; echo b >&2'), 'a\nb\n')
        for script in ('false; true', 'false | true'):
            with self.assertRaisesRegex(GuestError, 'with status 1'):
                self.guest.check(script)

    def test_output(self):
        """output is complete: long, without a last newline, odd bytes"""
        numbers = ''.join(f'{i}\n' for i in range(1, 200001))
        self.assertEqual(self.guest.run('seq 200000'), (0, numbers))
        self.assertEqual(self.guest.run('printf "a\\r\\t\\001\\004 0\\n\\nb"'),
                         (0, 'a\r\t\1\4 0\n\nb'))

    def test_long_script(self):
        """a long script with quotes arrives as it is"""
        text = '\n'.join(f'line {i}: \'"$x\\' for i in range(5000))
        self.assertEqual(self.guest.run(f"cat <<'END'\n{text}\nEND\n"),
                         (0, text + '\n'))

    def test_stdin(self):
        """a script that reads its input gets end of file"""
        self.assertEqual(self.guest.run('cat; read x; echo $?'), (0, '1\n'))

    def test_wait_for(self):
        """the host can wait for a line of a script that runs on"""
        self.guest.send('echo one; sleep 30; echo two')
        self.guest.wait_for('one\n')
        self.assertNotIn(b'two', self.guest._output)
        self.assertEqual(self.guest.finish(), (0, 'one\ntwo\n'))


class Failures(unittest.TestCase):
    """Each of these costs a guest."""

    def setUp(self):
        self.guest = Guest().start()
        self.addCleanup(self.guest.remove_log)
        self.addCleanup(self.guest.kill)

    def assertEnded(self):
        self.assertIsNotNone(self.guest.proc.poll())

    def test_panic(self):
        """a kernel panic is a failure, with the kernel's words"""
        with self.assertRaisesRegex(GuestError, 'sysrq triggered crash'):
            self.guest.run('echo c > /proc/sysrq-trigger')
        self.assertEnded()

    def test_early_poweroff(self):
        """a guest that goes away within a script is a failure"""
        with self.assertRaisesRegex(GuestError, 'QEMU ended with status 0'):
            self.guest.run('echo o > /proc/sysrq-trigger; sleep 60')
        self.assertEnded()

    def test_timeout(self):
        """a script that takes too long is a failure, and QEMU is gone"""
        start = time.monotonic()
        with self.assertRaisesRegex(GuestError, '(?s)no answer.*so far:\nhi\n'):
            self.guest.run('echo hi; sleep 300', timeout=20)
        self.assertLess(time.monotonic() - start, 140)
        self.assertEnded()

    def test_wait_for_nothing(self):
        """a script that ends before it says what is waited for is a failure"""
        start = time.monotonic()
        self.guest.send('echo one; exit 3')
        with self.assertRaisesRegex(GuestError, '(?s)ended too early.*one\n'):
            self.guest.wait_for('two\n')
        self.assertLess(time.monotonic() - start, 140)
        self.assertEnded()

    def test_kill(self):
        """kill() ends QEMU with SIGKILL"""
        self.guest.send('echo ready; sleep 300')
        self.guest.wait_for('ready')
        self.guest.kill()
        self.assertEqual(self.guest.proc.returncode, -9)


class Program(unittest.TestCase):
    def test_bad_qemu(self):
        """QEMU's own error message is shown"""
        guest = Guest(['-device', 'no-such-device'])
        self.addCleanup(guest.remove_log)
        with self.assertRaisesRegex(GuestError, "'no-such-device'"):
            guest.start()

    def test_program(self):
        """guest.py runs a command and takes over its status"""
        proc = subprocess.run(
            [sys.executable, SRC / 'tests/guest/guest.py',
             '-c', 'echo from $(uname -s); exit 3'],
            stdout=subprocess.PIPE, text=True, check=False)
        self.assertEqual((proc.returncode, proc.stdout), (3, 'from Linux\n'))


if __name__ == '__main__':
    tap.main()
