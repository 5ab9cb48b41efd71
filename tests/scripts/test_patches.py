#!/usr/bin/python3
# The patches themselves, as far as it can be told without a compiler: they apply,
# each step has what it includes and compiles, and is in QEMU's style.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import fnmatch
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

from sandbox import TOP, main

sys.path.insert(0, str(TOP / 'scripts'))
from tree import overlay_files     # noqa: E402

QEMU = Path(os.environ.get('QEMU_BUILD') or TOP / 'build') / 'qemu'


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

    def test_every_new_file_has_an_entry_in_maintainers(self):
        entries = re.findall(r'^F:\s*(\S+)$', (QEMU / 'MAINTAINERS').read_text(),
                             re.M)
        entries = entries[entries.index('block/*zone*'):]
        missing = [path for path in overlay_files()
                   if not any(fnmatch.fnmatchcase(path, entry) or
                              entry.endswith('/') and path.startswith(entry)
                              for entry in entries)]
        self.assertEqual(missing, [])

    def test_lines_of_qapi_documentation_are_as_every_version_wants_them(self):
        """10.0 takes longer ones."""
        for path in sorted((TOP / 'qapi').glob('*.json')):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if line.startswith('#'):
                    self.assertLessEqual(len(line), 70, f'{path.name}:{number}')


if __name__ == '__main__':
    main()
