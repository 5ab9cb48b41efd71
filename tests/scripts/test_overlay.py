#!/usr/bin/python3
# scripts/overlay: what it installs, restores and refuses.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os

from sandbox import HOOK, Sandbox, main


class TestOverlay(Sandbox):
    def overlay(self, *args):
        return self.succeed('scripts/overlay', *args)

    def quilt(self, *args):
        return self.succeed('quilt', '--quiltrc', '-', *args, cwd=self.qemu)

    def text(self, path):
        return (self.qemu / path).read_text()

    def test_installs_our_files_and_patches(self):
        self.overlay()
        self.assertEqual(self.text('block/zoned.c'), 'zoned\n')
        self.assertEqual(self.text('block/io.c'), 'one\nhook\ntwo\nthree\n')
        self.assertEqual(self.text('block/raw.c'), 'raw\n')
        self.assert_pristine_untouched()

    def test_untouched_files_keep_their_mtime(self):
        self.overlay()
        before = {path: path.stat().st_mtime_ns
                  for path in self.qemu.rglob('*.[ch]')}
        self.write('block/zoned.c', 'changed\n')
        self.overlay()
        changed = [str(path.relative_to(self.qemu)) for path, mtime
                   in before.items() if path.stat().st_mtime_ns != mtime]
        self.assertEqual(changed, ['block/zoned.c'])

    def test_second_run_says_and_changes_nothing(self):
        self.overlay()
        self.assertEqual(self.overlay(), '')

    def test_removes_a_file_that_is_gone(self):
        self.overlay()
        (self.top / 'block/zoned.c').unlink()
        self.overlay()
        self.assertFalse((self.qemu / 'block/zoned.c').exists())

    def test_restores_a_file_that_was_deleted_in_the_tree(self):
        self.overlay()
        (self.qemu / 'block/zoned.c').unlink()
        (self.qemu / 'block/io.c').unlink()
        self.overlay()
        self.assertEqual(self.text('block/zoned.c'), 'zoned\n')
        self.assertEqual(self.text('block/io.c'), 'one\nhook\ntwo\nthree\n')

    def test_installs_the_executable_bit(self):
        self.overlay()
        (self.top / 'block/zoned.c').chmod(0o755)
        self.overlay()
        self.assertTrue(os.access(self.qemu / 'block/zoned.c', os.X_OK))

    def test_takes_a_changed_patch(self):
        self.overlay()
        self.write('patches/hook.patch', HOOK.replace('+hook', '+other hook'))
        self.overlay()
        self.assertEqual(self.text('block/io.c'), 'one\nother hook\ntwo\nthree\n')
        self.assert_pristine_untouched()

    def test_file_back_to_pristine_is_newer_than_its_object(self):
        self.overlay()
        os.utime(self.pristine / 'block/io.c', (1, 1))
        self.write('patches/series', '')
        self.overlay()
        self.assertEqual(self.text('block/io.c'), 'one\ntwo\nthree\n')
        self.assertGreater((self.qemu / 'block/io.c').stat().st_mtime, 1)

    def test_works_without_patches(self):
        (self.top / 'patches/series').unlink()
        self.overlay()
        self.assertEqual(self.text('block/io.c'), 'one\ntwo\nthree\n')

    def test_patch_may_create_and_delete_files(self):
        self.write('patches/hook.patch', '''header

--- /dev/null
+++ b/block/new.c
@@ -0,0 +1 @@
+new
--- a/block/raw.c
+++ /dev/null
@@ -1 +0,0 @@
-raw
''')
        self.overlay()
        self.assertEqual(self.text('block/new.c'), 'new\n')
        self.assertFalse((self.qemu / 'block/raw.c').exists())
        self.write('patches/series', '')
        self.overlay()
        self.assertFalse((self.qemu / 'block/new.c').exists())
        self.assertEqual(self.text('block/raw.c'), 'raw\n')

    def test_refuses_to_hide_a_qemu_file(self):
        self.write('block/raw.c', 'ours\n')
        self.fail_with('would hide a QEMU file: block/raw.c', 'scripts/overlay')

    def test_refuses_a_patch_of_our_own_file(self):
        self.write('patches/hook.patch', HOOK.replace('block/io.c', 'block/zoned.c'))
        self.fail_with('a patch may not change a file of ours: block/zoned.c',
                       'scripts/overlay')

    def test_failing_patch_is_shown_and_changes_nothing(self):
        self.overlay()
        self.write('patches/hook.patch', HOOK.replace(' two', ' 2'))
        self.fail_with('Patch hook.patch does not apply', 'scripts/overlay')
        self.assertEqual(self.text('block/io.c'), 'one\nhook\ntwo\nthree\n')

    def test_refuses_edits_of_a_patched_file(self):
        self.overlay()
        self.write('build/qemu/block/io.c', 'one\nedited\ntwo\nthree\n')
        self.fail_with('block/io.c', 'scripts/overlay')
        self.fail_with('block/io.c', 'scripts/overlay', '--check-edits')
        self.write('patches/hook.patch', HOOK.replace('+hook', '+other hook'))
        self.fail_with('block/io.c', 'scripts/overlay')
        self.assertEqual(self.text('block/io.c'), 'one\nedited\ntwo\nthree\n')

    def test_refuses_edits_of_our_file(self):
        self.overlay()
        self.write('build/qemu/block/zoned.c', 'edited\n')
        self.write('block/zoned.c', 'changed\n')
        self.fail_with(f'the file to edit is {self.top}/block/zoned.c',
                       'scripts/overlay')

    def test_force_discards_edits(self):
        self.overlay()
        self.write('build/qemu/block/io.c', 'edited\n')
        self.write('build/qemu/block/zoned.c', 'edited\n')
        self.overlay('--force')
        self.assertEqual(self.text('block/zoned.c'), 'zoned\n')
        self.assertEqual(self.text('block/io.c'), 'one\nhook\ntwo\nthree\n')

    def test_quilt_refresh_in_the_tree_is_taken(self):
        self.overlay()
        self.write('build/qemu/block/io.c', 'one\nrefreshed\ntwo\nthree\n')
        self.quilt('refresh')
        self.assertIn('+refreshed', (self.top / 'patches/hook.patch').read_text())
        self.assertEqual(self.overlay(), '')
        self.assertEqual(self.text('block/io.c'), 'one\nrefreshed\ntwo\nthree\n')

    def test_quilt_edit_of_one_more_file_needs_a_refresh(self):
        self.overlay()
        self.quilt('add', 'block/raw.c')
        self.write('build/qemu/block/raw.c', 'edited\n')
        self.fail_with('block/raw.c', 'scripts/overlay')
        self.quilt('refresh')
        self.overlay()
        self.assertEqual(self.text('block/raw.c'), 'edited\n')
        self.assert_pristine_untouched()

    def test_refuses_popped_patches(self):
        self.overlay()
        self.quilt('pop')
        self.fail_with('quilt push', 'scripts/overlay')
        self.quilt('push')
        self.overlay()

    def test_without_source_says_what_to_do(self):
        (self.pristine / 'VERSION').unlink()
        self.fail_with('run ./configure', 'scripts/overlay')


if __name__ == '__main__':
    main()
