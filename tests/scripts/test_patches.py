#!/usr/bin/python3
# The patches themselves, as far as it can be told without a compiler: they apply,
# each step has what it includes and compiles, and is in QEMU's style.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import subprocess
import unittest

from sandbox import TOP, main


class TestPatches(unittest.TestCase):
    def series(self, option):
        done = subprocess.run([TOP / 'scripts/series', option], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_all_apply_in_an_order_in_which_they_can_be_built(self):
        self.assertIn('git am applies all', self.series('--check'))

    def test_checkpatch_finds_no_error(self):
        self.assertIn('checkpatch finds no error', self.series('--checkpatch'))

    def test_lines_of_qapi_documentation_are_as_every_version_wants_them(self):
        """10.0 takes longer ones."""
        for path in sorted((TOP / 'qapi').glob('*.json')):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if line.startswith('#'):
                    self.assertLessEqual(len(line), 70, f'{path.name}:{number}')


if __name__ == '__main__':
    main()
