#!/usr/bin/python3
# pyflakes has nothing to say about our Python programs, such as of unknown names.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import shutil
import subprocess
import sys
import unittest

from sandbox import TOP, main

sys.dont_write_bytecode = True


def programs():
    names = subprocess.check_output(['git', 'ls-files', '-z'], cwd=TOP, text=True)
    for path in map(TOP.joinpath, names.split('\0')[:-1]):
        if path.suffix == '.py' or path.is_file() and b'python' in path.open(
                'rb').readline():
            yield path


class TestPython(unittest.TestCase):
    @unittest.skipUnless(shutil.which('pyflakes3'), 'there is no pyflakes3')
    def test_names(self):
        """pyflakes finds nothing"""
        done = subprocess.run(['pyflakes3', *programs()], text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual((done.stdout, done.returncode), ('', 0))


if __name__ == '__main__':
    main()
