# For the tests beside this file: a small stand-in for the repository, with a
# "QEMU" of a few files, and a runner that prints TAP.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import difflib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent

HOOK = '''Subject: block: call the zone code

The header says why.

Overlay: block/zoned.c include/*.h

--- a/block/io.c
+++ b/block/io.c
@@ -1,3 +1,4 @@
 one
+hook
 two
 three
'''


class Sandbox(unittest.TestCase):
    """Each test gets a repository of its own in self.top."""

    def setUp(self):
        tmp = tempfile.TemporaryDirectory()
        self.addCleanup(tmp.cleanup)
        self.top = Path(tmp.name).resolve()
        shutil.copytree(TOP / 'scripts', self.top / 'scripts',
                        ignore=shutil.ignore_patterns('__pycache__'))
        self.pristine = self.top / 'build/pristine'
        self.qemu = self.top / 'build/qemu'
        self.write('build/pristine/VERSION', '10.0.13\n')
        self.write('build/pristine/block/io.c', 'one\ntwo\nthree\n')
        self.write('build/pristine/block/raw.c', 'raw\n')
        self.write('block/zoned.c', 'zoned\n')
        self.write('include/zoned.h', 'header\n')
        self.write('patches/versions', '# the default first\n'
                   '10.0 trixie\n10.2 sid 1:10.2.2+ds-1\n')
        self.write('patches/series', '# the order\nhook.patch\n')
        self.write('patches/hook.patch', HOOK)

    def write(self, path, text):
        """Write by rename, as an editor and quilt do."""
        path = self.top / path
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(path.name + '.new')
        new.write_text(text)
        new.rename(path)

    def write_override(self, version, name, own, of=None):
        """Other hunks of a patch for a version, as a diff of patches/name."""
        base = of or (self.top / 'patches' / name).read_text()
        base = base[base.index('--- a/'):]
        digest = hashlib.sha256(base.encode()).hexdigest()[:12]
        diff = ''.join(difflib.unified_diff(base.splitlines(True),
                                            own.splitlines(True), name, name, n=1))
        self.write(f'patches/{version}/{name}.diff', f'Of hunks: {digest}\n{diff}')

    def run_script(self, *args, **kwargs):
        kwargs.setdefault('cwd', self.top)
        environ = {key: value for key, value in os.environ.items()
                   if key != 'QEMU_BUILD'}
        kwargs['env'] = environ | kwargs.get('env', {})
        return subprocess.run(args, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              **kwargs)

    def succeed(self, *args, **kwargs):
        done = self.run_script(*args, **kwargs)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def fail_with(self, message, *args, **kwargs):
        done = self.run_script(*args, **kwargs)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertIn(message, done.stdout)

    def assert_pristine_untouched(self):
        self.assertEqual((self.pristine / 'block/io.c').read_text(),
                         'one\ntwo\nthree\n')
        self.assertEqual((self.pristine / 'block/raw.c').read_text(), 'raw\n')


class TapResult(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.number = 0

    def point(self, ok, test, note=''):
        self.number += 1
        name = test.id().split('.')[-1].removeprefix('test_').replace('_', ' ')
        print(f'{ok} {self.number} - {name}{note}', flush=True)

    def addSuccess(self, test):
        self.point('ok', test)

    def addSkip(self, test, reason):
        self.point('ok', test, f' # SKIP {reason}')

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.point('not ok', test)
        for line in ''.join(traceback.format_exception(*err)).splitlines():
            print(f'# {line}', flush=True)

    addError = addFailure


def main():
    """All tests of the file, or those with one of the words given in their name."""
    words = sys.argv[1:]
    tests = [test for suite in unittest.defaultTestLoader.loadTestsFromModule(
             sys.modules['__main__']) for test in suite
             if not words or any(word in test.id() for word in words)]
    print(f'1..{len(tests)}')
    result = TapResult()
    unittest.TestSuite(tests).run(result)
    sys.exit(0 if result.wasSuccessful() else 1)
