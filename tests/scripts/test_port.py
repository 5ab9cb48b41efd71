#!/usr/bin/python3
# scripts/port: patches of another version of QEMU, made from the default's.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import shutil

from sandbox import HOOK, Sandbox, main

HUNKS = HOOK[HOOK.index('--- a/'):]


class TestPort(Sandbox):
    def setUp(self):
        super().setUp()
        self.new = self.top / 'build/versions/10.2'
        shutil.copytree(self.pristine, self.new / 'pristine')
        self.write('build/versions/10.2/pristine/VERSION', '10.2.2\n')
        self.own = self.top / 'patches/10.2/hook.patch.diff'
        self.env = {'QEMU_BUILD': str(self.new)}

    def port(self, *args):
        return self.succeed('scripts/port', *args, env=self.env)

    def new_source(self, text):
        self.write('build/versions/10.2/pristine/block/io.c', text)

    def result(self, text='block/io.c'):
        self.succeed('scripts/overlay', env=self.env)
        return (self.new / 'qemu' / text).read_text()

    def test_patch_that_applies_is_left_alone(self):
        self.new_source('one\ntwo\nthree\nfour\n')
        self.assertIn('10.2 differs in 0', self.port())
        self.assertFalse(self.own.exists())
        self.assertEqual(self.result(), 'one\nhook\ntwo\nthree\nfour\n')

    def have_other_context(self):
        self.write('build/pristine/block/io.c', 'a\none\ntwo\nthree\nb\n')
        self.write('patches/hook.patch', HOOK.replace(
            '@@ -1,3 +1,4 @@\n one\n+hook\n two\n three\n',
            '@@ -1,4 +1,5 @@\n a\n one\n+hook\n two\n three\n'))
        self.new_source('A\none\ntwo\nthree\nb\n')

    def test_other_context_is_merged(self):
        self.have_other_context()
        self.assertIn('wrote patches/10.2/hook.patch.diff', self.port())
        self.assertEqual(self.result(), 'A\none\nhook\ntwo\nthree\nb\n')
        self.assertNotIn('The header', self.own.read_text())
        self.assertNotIn('wrote', self.port())

    def test_file_that_was_renamed_is_found(self):
        lines = ''.join(f'line {i}\n' for i in range(30))
        self.write('build/pristine/block/io.c', 'one\ntwo\nthree\n' + lines)
        (self.new / 'pristine/block/io.c').unlink()
        self.write('build/versions/10.2/pristine/block/in-out.c',
                   'one\ntwo\nthree\n' + lines)
        self.port()
        self.assertEqual(self.result('block/in-out.c'),
                         'one\nhook\ntwo\nthree\n' + lines)

    def test_conflict_stops_until_it_is_resolved(self):
        self.new_source('one\n2\nthree\n')
        message = 'hook.patch conflicts with QEMU 10.2.2 in block/io.c'
        self.fail_with(message, 'scripts/port', env=self.env)
        self.fail_with('conflicts are left in block/io.c', 'scripts/port',
                       '--continue', env=self.env)
        self.write('build/versions/10.2/port/block/io.c',
                   'one\nhook 2\n2\nthree\n')
        self.port('--continue')
        self.assertEqual(self.result(), 'one\nhook 2\n2\nthree\n')
        self.assertEqual((self.top / 'patches/hook.patch').read_text(), HOOK)
        self.assertNotIn('wrote', self.port())
        self.fail_with('nothing to go on with', 'scripts/port', '--continue',
                       env=self.env)

    def test_conflict_is_resolved_once(self):
        self.test_conflict_stops_until_it_is_resolved()
        self.own.unlink()
        self.assertIn('wrote', self.port())
        self.assertEqual(self.result(), 'one\nhook 2\n2\nthree\n')

    def test_diff_that_still_fits_is_kept_for_new_hunks(self):
        self.new_source('one\n2\nthree\n')
        self.write_override('10.2', 'hook.patch', HUNKS.replace(' two', ' 2'))
        self.own.write_text('Two is 2.\n' + self.own.read_text())
        self.write('patches/hook.patch', HOOK.replace('+1,4', '+1,5')
                   .replace(' three\n', ' three\n+four\n'))
        self.assertIn('wrote', self.port())
        self.assertTrue(self.own.read_text().startswith('Two is 2.\nOf hunks: '))
        self.assertEqual(self.result(), 'one\nhook\n2\nthree\nfour\n')
        self.assertNotIn('wrote', self.port())

    def test_diff_that_does_not_fit_is_made_anew(self):
        self.have_other_context()
        self.write_override('10.2', 'hook.patch', HUNKS.replace('+hook', '+own'),
                            of=HOOK.replace('+hook', '+old'))
        self.own.write_text('A is new.\n' + self.own.read_text())
        self.assertIn('hook.patch.diff does not fit any more', self.port())
        self.assertTrue(self.own.read_text().startswith('A is new.\nOf hunks: '))
        self.assertEqual(self.result(), 'A\none\nhook\ntwo\nthree\nb\n')

    def test_diff_that_is_not_needed_any_more_is_removed(self):
        self.write_override('10.2', 'hook.patch', HUNKS.replace('+hook', '+own'),
                            of=HOOK.replace('+hook', '+old'))
        self.assertIn('10.2 differs in 0', self.port())
        self.assertFalse(self.own.exists())
        self.assertEqual(self.result(), 'one\nhook\ntwo\nthree\n')

    def test_place_that_only_looks_right_is_not_taken(self):
        block = 'f()\n{\n    x\n}\n'
        lines = ''.join(f'line {i}\n' for i in range(20))
        self.write('build/pristine/block/io.c',
                   'one()\n' + block + lines + 'two()\n' + block)
        self.write('patches/hook.patch', HOOK[:HOOK.index('@@')] +
                   '@@ -28,2 +28,3 @@\n {\n+    hook\n     x\n')
        more = ''.join(f'more {i}\n' for i in range(24))
        self.new_source(more + 'one()\n' + block + lines + 'two()\n' + block)
        self.port()
        self.assertEqual(self.result(), more + 'one()\n' + block + lines +
                         'two()\n' + block.replace('x', 'hook\n    x'))

    def test_what_a_version_does_without_stays_away(self):
        self.write('patches/10.2/hook.patch.diff', 'It is in 10.2.\n')
        self.new_source('one\n2\nthree\n')
        self.port()
        self.assertEqual(self.own.read_text(), 'It is in 10.2.\n')
        self.assertEqual(self.result(), 'one\n2\nthree\n')

    def test_patches_that_only_this_version_has_come_first(self):
        self.new_source('one\n2\nthree\n')
        self.write('patches/10.2/series', 'two.patch\n')
        self.write('patches/10.2/two.patch', '''two

--- a/block/io.c
+++ b/block/io.c
@@ -1,3 +1,3 @@
 one
-2
+two
 three
''')
        self.assertIn('2 patches, of which 10.2 differs in 0', self.port())
        self.assertEqual(self.result(), 'one\nhook\ntwo\nthree\n')

    def test_refuses_patches_that_do_not_apply(self):
        self.write('patches/10.2/series', 'two.patch\n')
        self.write('patches/10.2/two.patch', HOOK.replace(' two', ' 2'))
        self.fail_with('patches/10.2/two.patch does not apply', 'scripts/port',
                       env=self.env)
        self.write('patches/hook.patch', HOOK.replace(' two', ' 2'))
        self.fail_with('patches/hook.patch does not apply to QEMU 10.0',
                       'scripts/port', env=self.env)

    def test_refuses_the_default_version(self):
        self.fail_with('patches/ itself is for QEMU 10.0', 'scripts/port')

    def test_needs_the_source_of_the_default(self):
        shutil.rmtree(self.pristine)
        self.fail_with('there is no source of QEMU 10.0', 'scripts/port',
                       env=self.env)


if __name__ == '__main__':
    main()
