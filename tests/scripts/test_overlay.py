#!/usr/bin/python3
# scripts/overlay: what it installs, restores and refuses.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import shutil

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

    def test_patch_may_not_need_fuzz(self):
        self.write('build/pristine/block/io.c', 'one\ntwo\n3\n')
        self.fail_with('Patch hook.patch does not apply', 'scripts/overlay')

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

    def use_version(self, version, text='one\n2\nthree\n'):
        """Have a QEMU in which HOOK needs hunks of its own."""
        self.write('build/pristine/VERSION', version + '\n')
        self.write('build/pristine/block/io.c', text)

    OWN = HOOK[HOOK.index('--- a/'):].replace(' two', ' 2')

    def test_version_may_have_hunks_of_its_own(self):
        self.write_override('10.2', 'hook.patch', self.OWN)
        self.overlay()
        self.assertEqual(self.text('block/io.c'), 'one\nhook\ntwo\nthree\n')
        shutil.rmtree(self.top / 'build/qemu')
        self.use_version('10.2.2')
        self.overlay()
        self.assertEqual(self.text('block/io.c'), 'one\nhook\n2\nthree\n')
        self.assertEqual(self.overlay(), '')

    def test_version_may_need_no_hunks(self):
        self.use_version('10.2.2')
        self.write('patches/10.2/hook.patch.diff', 'It is in 10.2.\n')
        self.overlay()
        self.assertEqual(self.text('block/io.c'), 'one\n2\nthree\n')

    def test_version_may_have_patches_that_no_other_has(self):
        self.write('patches/10.2/series', 'two.patch\n')
        self.write('patches/10.2/two.patch', HOOK.replace('Overlay:', 'Files:')
                   .replace('+hook\n two', ' 2').replace(' 2\n', '-2\n+two\n')
                   .replace('-1,3 +1,4', '-1,3 +1,3'))
        self.overlay()
        self.assertEqual(self.text('block/io.c'), 'one\nhook\ntwo\nthree\n')
        shutil.rmtree(self.top / 'build/qemu')
        self.use_version('10.2.2')
        self.overlay()
        self.assertEqual(self.text('block/io.c'), 'one\nhook\ntwo\nthree\n')

    def test_unknown_version_takes_the_hunks_of_the_one_before(self):
        self.write_override('10.2', 'hook.patch', self.OWN)
        for version, text in (('10.1.0', 'two'), ('9.2.1', 'two'),
                              ('10.2.50', '2'), ('11.0.0', '2')):
            shutil.rmtree(self.top / 'build/qemu', ignore_errors=True)
            self.use_version(version, f'one\n{text}\nthree\n')
            self.overlay()
            self.assertEqual(self.text('block/io.c'), f'one\nhook\n{text}\nthree\n')

    def test_version_that_a_patch_does_not_fit_is_named(self):
        self.use_version('11.0.0')
        self.fail_with('Patch hook.patch does not apply', 'scripts/overlay')
        self.fail_with('does not apply to QEMU 11.0.0; the patches are kept for '
                       '10.0, 10.2', 'scripts/overlay')
        self.use_version('10.2.2')
        self.fail_with('scripts/port makes one that does', 'scripts/overlay')

    def test_refuses_hunks_made_from_other_hunks(self):
        self.use_version('10.2.2')
        self.write_override('10.2', 'hook.patch', self.OWN,
                            of=HOOK.replace('+hook', '+old hook'))
        self.fail_with('patches/10.2/hook.patch.diff is for other hunks than those '
                       'of patches/hook.patch', 'scripts/overlay')
        self.assertFalse(self.qemu.exists())

    def test_refuses_other_hunks_that_the_diff_applies_to(self):
        more = '--- a/block/raw.c\n+++ b/block/raw.c\n@@ -1 +1,2 @@\n raw\n+more\n'
        self.use_version('10.2.2')
        self.write('patches/hook.patch', HOOK + more)
        self.write_override('10.2', 'hook.patch', self.OWN + more)
        self.overlay()
        self.write('patches/hook.patch', HOOK + more.replace('+more', '+other'))
        self.fail_with('hook.patch.diff is for other hunks', 'scripts/overlay')

    def test_refuses_hunks_of_no_patch(self):
        self.use_version('10.2.2')
        self.write('patches/10.2/gone.patch.diff', 'why\n')
        self.fail_with('10.2/gone.patch.diff: no series has gone.patch', 'scripts/overlay')

    def refresh(self):
        self.use_version('10.2.2')
        self.write_override('10.2', 'hook.patch', self.OWN)
        self.overlay()
        self.write('build/qemu/block/io.c', 'one\nrefreshed\n2\nthree\n')
        self.quilt('refresh')

    def test_quilt_refresh_changes_the_patch_of_the_version_only(self):
        self.refresh()
        self.assertEqual(self.overlay(),
                         'overlay: patches/10.2/hook.patch.diff is refreshed\n')
        self.assertIn('++refreshed',
                      (self.top / 'patches/10.2/hook.patch.diff').read_text())
        self.assertEqual((self.top / 'patches/hook.patch').read_text(), HOOK)
        self.assertEqual(self.text('block/io.c'), 'one\nrefreshed\n2\nthree\n')
        self.assertEqual(self.overlay(), '')

    def test_refreshed_patch_that_has_changed_meanwhile_is_not_lost(self):
        self.refresh()
        self.write_override('10.2', 'hook.patch', self.OWN.replace('+hook', '+new'))
        self.fail_with('hook.patch was refreshed, and patches/ has changed',
                       'scripts/overlay')
        self.assertIn('+refreshed',
                      (self.top / 'build/patches/hook.patch').read_text())

    def test_patch_that_quilt_made_is_not_lost(self):
        self.use_version('10.2.2')
        self.write_override('10.2', 'hook.patch', self.OWN)
        self.overlay()
        self.quilt('new', 'new.patch')
        self.quilt('add', 'block/raw.c')
        self.write('build/qemu/block/raw.c', 'new\n')
        self.quilt('refresh')
        self.fail_with('build/patches/new.patch is in no series; move it to',
                       'scripts/overlay')
        self.assertIn('+new', (self.top / 'build/patches/new.patch').read_text())

    def test_patches_may_be_in_folders(self):
        self.write('patches/fixes/hook.patch', HOOK)
        self.write('patches/series', 'fixes/hook.patch\n')
        self.overlay()
        self.assertEqual(self.text('block/io.c'), 'one\nhook\ntwo\nthree\n')
        self.write('build/qemu/block/io.c', 'one\nedited\ntwo\nthree\n')
        self.fail_with('block/io.c', 'scripts/overlay')

    def test_build_directory_may_be_another(self):
        other = self.top / 'other'
        shutil.move(self.top / 'build', other)
        self.succeed('scripts/overlay', env={'QEMU_BUILD': str(other)})
        self.assertEqual((other / 'qemu/block/io.c').read_text(),
                         'one\nhook\ntwo\nthree\n')
        self.assertFalse((self.top / 'build').exists())


if __name__ == '__main__':
    main()
