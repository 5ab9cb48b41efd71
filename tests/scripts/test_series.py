#!/usr/bin/python3
# scripts/series: what it writes is what "git am" needs.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from sandbox import HOOK, Sandbox, main

RAW = '''raw: comment

--- a/block/raw.c
+++ b/block/raw.c
@@ -1 +1,2 @@
 raw
+more
'''


class TestSeries(Sandbox):
    def setUp(self):
        super().setUp()
        self.write('tests/zoned.c', 'test\n')
        self.succeed('git', 'init', '-q')
        self.succeed('git', 'config', 'user.name', 'A Developer')
        self.succeed('git', 'config', 'user.email', 'developer@example.com')
        self.write('.gitignore', 'build/\n__pycache__/\n')
        self.succeed('scripts/overlay')

    def patches(self):
        return {path.name: path.read_text() for path
                in sorted((self.top / 'build/series').glob('*.patch'))}

    def test_result_is_the_tree_that_is_built(self):
        self.assertIn('4 files are as in build/qemu',
                      self.succeed('scripts/series', '--check'))

    def test_hook_and_claimed_files_are_one_step(self):
        self.succeed('scripts/series')
        name, text = list(self.patches().items())[0]
        self.assertEqual(name, '0001-block-call-the-zone-code.patch')
        for line in ('+hook', '+zoned', '+header', 'The header says why.'):
            self.assertIn(line, text)
        self.assertNotIn('Overlay:', text)
        self.assertNotIn('+test', text)

    def test_unclaimed_files_are_the_last_step(self):
        self.succeed('scripts/series')
        name, text = list(self.patches().items())[-1]
        self.assertEqual(name, '0002-qemu-zoned-tests-and-documentation.patch')
        self.assertIn('+test', text)

    def test_step_of_our_files_only_is_no_patch_of_quilt(self):
        self.write('patches/raw.patch', RAW)
        self.write('patches/series', '#step test.step  # first\n'
                   '# hook.patch\nhook.patch # last\nraw.patch\n')
        self.write('patches/test.step', 'tests: test zones\n\n'
                   'Overlay: tests/*\n')
        self.succeed('scripts/overlay')
        self.assertIn('git am applies all', self.succeed('scripts/series', '--check'))
        self.assertEqual([name[5:] for name in self.patches()],
                         ['tests-test-zones.patch',
                          'block-call-the-zone-code.patch', 'raw-comment.patch'])
        self.assertNotIn('test.step', self.succeed('quilt', 'series',
                                                   cwd=self.qemu))

    def test_header_may_be_plain_lines(self):
        self.write('patches/hook.patch', HOOK.replace('Subject: ', '')
                   .replace('\nThe', 'The'))
        self.succeed('scripts/series')
        text = list(self.patches().values())[0]
        self.assertIn('Subject: [PATCH 1/2] block: call the zone code\n', text)
        self.assertIn('\nThe header says why.\n', text)

    def test_author_of_the_header_stays_the_author(self):
        self.write('patches/hook.patch',
                   'From: An Author <author@example.com>\n' + HOOK)
        self.succeed('scripts/series')
        text = list(self.patches().values())[0]
        self.assertIn('From: An Author <author@example.com>', text)
        self.assertIn('Signed-off-by: A Developer <developer@example.com>', text)

    def test_steps_are_in_the_order_of_the_series(self):
        self.write('patches/series', 'raw.patch\nhook.patch\n')
        self.write('patches/raw.patch', '''raw: comment

Overlay: tests/zoned.c

--- a/block/raw.c
+++ b/block/raw.c
@@ -1 +1,2 @@
 raw
+more
''')
        self.succeed('scripts/overlay')
        self.succeed('scripts/series', '--check')
        self.assertEqual(list(self.patches()),
                         ['0001-raw-comment.patch',
                          '0002-block-call-the-zone-code.patch'])

    def test_refuses_a_claim_without_a_file(self):
        self.write('patches/hook.patch',
                   HOOK.replace('block/zoned.c', 'block/zonned.c'))
        self.fail_with('no file is left for "Overlay: block/zonned.c"',
                       'scripts/series')

    def test_check_sees_a_difference_from_what_is_built(self):
        self.write('block/zoned.c', 'changed\n')
        self.fail_with('differs from build/qemu after git am: block/zoned.c',
                       'scripts/series', '--check')

    def test_without_patches_our_files_are_the_series(self):
        self.write('patches/series', '')
        self.succeed('scripts/overlay')
        self.succeed('scripts/series', '--check')
        self.assertEqual(len(self.patches()), 1)

    def test_is_for_the_version_that_is_built(self):
        own = HOOK[HOOK.index('--- a/'):].replace(' two', ' 2')
        self.write('build/pristine/VERSION', '10.2.2\n')
        self.write('build/pristine/block/io.c', 'one\n2\nthree\n')
        self.write_override('10.2', 'hook.patch', own)
        self.succeed('scripts/overlay', '--force')
        self.succeed('scripts/series', '--check')
        text = list(self.patches().values())[0]
        self.assertIn('The header says why.', text)
        self.assertIn(' 2\n', text)
        self.assertNotIn('Of hunks', text)

    def test_step_that_a_version_does_without_is_left_out(self):
        self.write('build/pristine/VERSION', '10.2.2\n')
        self.write('patches/hook.patch', HOOK.replace('Overlay:', 'Files:'))
        self.write('patches/10.2/hook.patch.diff', 'It is in 10.2.\n')
        self.succeed('scripts/overlay', '--force')
        self.succeed('scripts/series', '--check')
        self.assertEqual(list(self.patches()),
                         ['0001-qemu-zoned-tests-and-documentation.patch'])

    def two_series(self):
        """A fix, and on top of it the hook with our files."""
        self.write('patches/series', 'fixes/raw.patch\nzoned/hook.patch\n')
        self.write('patches/fixes/raw.patch', RAW)
        self.write('patches/zoned/hook.patch', HOOK)
        self.succeed('scripts/overlay')

    def test_each_directory_is_a_series(self):
        self.two_series()
        self.write('patches/zoned/cover-letter', 'block: zones\n\nAll of it.\n')
        self.succeed('scripts/series', '--check')
        out = self.top / 'build/series'
        self.assertEqual([str(path.relative_to(out))
                          for path in sorted(out.rglob('*.patch'))],
                         ['fixes/0001-raw-comment.patch',
                          'zoned/0000-cover-letter.patch',
                          'zoned/0001-block-call-the-zone-code.patch',
                          'zoned/0002-qemu-zoned-tests-and-documentation.patch'])
        letter = (out / 'zoned/0000-cover-letter.patch').read_text()
        self.assertIn('Subject: [PATCH 0/2] block: zones\n', letter)
        self.assertIn('\nAll of it.\n', letter)
        self.assertNotIn('***', letter)
        self.assertNotIn('raw', letter)

    def test_refuses_a_wide_message(self):
        self.write('patches/hook.patch', HOOK.replace('says why', 'says ' * 15))
        self.fail_with('messages are at most 75 columns wide',
                       'scripts/series', '--check')

    def test_refuses_a_header_that_arrives_later(self):
        self.write('patches/series', 'raw.patch\nhook.patch\n')
        self.write('patches/raw.patch', RAW.replace(
            '+more', '+#include "zoned.h"'))
        self.succeed('scripts/overlay')
        self.fail_with('patches/raw.patch: block/raw.c needs include/zoned.h, '
                       'which arrives with hook.patch',
                       'scripts/series', '--check')

    def test_refuses_to_compile_a_file_that_arrives_later(self):
        self.write('build/pristine/block/meson.build', 'files(\n)\n')
        self.write('patches/series', 'meson.patch\nhook.patch\n')
        self.write('patches/meson.patch', '''block: compile it

--- a/block/meson.build
+++ b/block/meson.build
@@ -1,2 +1,3 @@
 files(
+  'zoned.c',
 )
''')
        self.succeed('scripts/overlay', '--force')
        self.fail_with('block/meson.build needs block/zoned.c',
                       'scripts/series', '--check')

    def test_refuses_an_interface_that_arrives_later(self):
        self.write('qapi/zoned.json', '{}\n')
        self.write('patches/series', 'raw.patch\nhook.patch\n')
        self.write('patches/raw.patch', RAW.replace(
            '+more', '+#include "qapi/qapi-visit-zoned.h"'))
        self.write('patches/hook.patch', HOOK.replace(
            'Overlay:', 'Overlay: qapi/zoned.json'))
        self.succeed('scripts/overlay')
        self.fail_with('block/raw.c needs qapi/zoned.json', 'scripts/series',
                       '--check')

    def test_refuses_a_patch_without_a_message(self):
        self.write('patches/hook.patch', HOOK[HOOK.index('--- a/'):])
        self.succeed('scripts/overlay')
        self.fail_with('patches/hook.patch has no header', 'scripts/series')

    def checkpatch(self, line):
        """Have QEMU's checker say this of each patch."""
        self.write('build/pristine/scripts/checkpatch.pl',
                   f'#!/bin/sh\necho "0001-x.patch:7: {line}"\n')
        (self.pristine / 'scripts/checkpatch.pl').chmod(0o755)
        return self.run_script('scripts/series', '--checkpatch')

    def test_errors_of_checkpatch_are_refused(self):
        for error in 'trailing whitespace', 'line over 80 characters':
            done = self.checkpatch(f'ERROR: {error}')
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(f"says:\n0001-x.patch:7: ERROR: {error}", done.stdout)

    def test_warnings_of_checkpatch_need_a_reason(self):
        done = self.checkpatch('WARNING: line over 80 characters')
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn('warns 1 times: line over 80 characters (none is over 90',
                      done.stdout)
        done = self.checkpatch('WARNING: Block comments use a leading /*')
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('says:\n0001-x.patch:7: WARNING: Block comments', done.stdout)

    def test_refuses_unknown_options_and_ranges(self):
        for args in (['--chekc'], ['--build', '4-2'], ['--build', '0']):
            self.fail_with('usage:', 'scripts/series', *args)
        done = self.build('3')
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('there is no step 3: there are 2', done.stdout)

    def build(self, *args):
        """Build the steps of a QEMU whose one source does not compile if broken."""
        self.write('build/pristine/configure', r'''#!/bin/sh
echo "$@" > arguments
mkdir -p tests/qemu-iotests
cat > build.ninja <<'END'
rule compile
  command = ! grep -h 'error[:]' $in && mkdir -p storage-daemon && cat $in > $out
rule script
  command = cp $in $out && chmod +x $out
build tests/unit/test-zoned: script ../qemu/tests/unit/test-zoned.c
END
for program in qemu-img qemu-io qemu-nbd qemu-system-x86_64 \
               storage-daemon/qemu-storage-daemon; do
    echo "build $program: compile ../qemu/block/io.c ../qemu/block/raw.c"
done >> build.ninja
''')
        (self.pristine / 'configure').chmod(0o755)
        self.write('build/obj/options', '')
        return self.run_script('scripts/series', '--build', *args)

    def test_builds_each_step(self):
        self.two_series()
        done = self.build()
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn('1/3 fixes/raw: ok', done.stdout)
        self.assertIn('3 of 3 steps build', done.stdout)
        self.assert_pristine_untouched()

    def test_names_every_step_that_does_not_build(self):
        self.two_series()
        self.write('patches/fixes/raw.patch', RAW.replace('+more', '+error: here'))
        self.write('patches/zoned/hook.patch', HOOK + '''--- a/block/raw.c
+++ b/block/raw.c
@@ -1,2 +1 @@
 raw
-error: here
''')
        self.succeed('scripts/overlay')
        done = self.build()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('1/3 fixes/raw: DOES NOT BUILD\n    error: here\n',
                      done.stdout)
        self.assertIn('2/3 zoned/hook: ok', done.stdout)
        self.assertIn('these do not: 1/3 fixes/raw ', done.stdout)
        done = self.build('1-1')
        self.assertIn('1/3 fixes/raw: DOES NOT BUILD', done.stdout)
        self.assertNotEqual(done.returncode, 0)

    def test_warnings_are_errors(self):
        self.build()
        self.assertIn('--enable-werror', (
            self.top / 'build/series-build/obj/arguments').read_text())

    def test_runs_the_tests_of_a_step(self):
        self.write('patches/series', 'raw.patch\nhook.patch\n')
        self.write('patches/raw.patch', RAW)
        self.write('patches/hook.patch', HOOK.replace(
            'Overlay:', 'Overlay: tests/unit/test-zoned.c'))
        for script, said in (('echo ok 1', '2/3 hook: ok'),
                             ('echo not ok 1', 'FAILED: tests/unit/test-zoned'),
                             ('exit 1', 'FAILED: tests/unit/test-zoned')):
            self.write('tests/unit/test-zoned.c', f'#!/bin/sh\n{script}\n')
            self.succeed('scripts/overlay')
            done = self.build('1-2')
            self.assertIn(said, done.stdout)
            self.assertIn('1/3 raw: ok' if script == 'echo ok 1' else
                          '1/3 raw: built before', done.stdout)
            self.assertEqual(done.returncode == 0, script == 'echo ok 1')

    def test_builds_only_what_has_changed(self):
        self.two_series()
        self.build()
        done = self.build()
        self.assertEqual(done.stdout.count('built before'), 3, done.stdout)
        self.write('patches/zoned/hook.patch', HOOK.replace('+hook', '+other'))
        self.succeed('scripts/overlay')
        done = self.build()
        self.assertIn('1/3 fixes/raw: built before', done.stdout)
        self.assertIn('2/3 zoned/hook: ok', done.stdout)

    def test_builds_without_what_the_last_series_had(self):
        self.two_series()
        self.write('patches/fixes/raw.patch', RAW.replace('+more', '+error: here'))
        self.succeed('scripts/overlay')
        self.assertIn('DOES NOT BUILD', self.build().stdout)
        self.write('patches/series', 'zoned/hook.patch\n')
        self.succeed('scripts/overlay')
        done = self.build()
        self.assertIn('1/2 zoned/hook: ok', done.stdout)
        self.assert_pristine_untouched()

    def test_goes_on_where_configuring_was_interrupted(self):
        self.build('1-1')
        obj = self.top / 'build/series-build/obj'
        (obj / 'build.ninja').unlink()
        (obj / 'kept').touch()
        done = self.build('2-2')
        self.assertIn('2/2 last: ok', done.stdout)
        self.assertTrue((obj / 'kept').exists())

    def test_builds_a_range(self):
        self.two_series()
        self.assertIn('1 of 1 steps', self.build('2-2').stdout)
        done = self.build('2')
        self.assertIn('2/3 zoned/hook: built before', done.stdout)
        self.assertIn('3/3 zoned/last: ok', done.stdout)


if __name__ == '__main__':
    main()
