#!/usr/bin/python3
# configure, on a stand-in for QEMU whose own configure notes what it was given.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import shutil

from sandbox import HOOK, TOP, Sandbox, main

QEMU_CONFIGURE = '''#!/bin/sh
for arg; do echo "$arg"; done > arguments
echo run >> ../runs
touch build.ninja
'''


class TestConfigure(Sandbox):
    def setUp(self):
        super().setUp()
        shutil.copy(TOP / 'configure', self.top)
        shutil.rmtree(self.top / 'build')
        self.source = self.top / 'my-qemu'
        self.write('my-qemu/VERSION', '10.0.13\n')
        self.write('my-qemu/block/io.c', 'one\ntwo\nthree\n')
        self.write('my-qemu/block/qcow2.c', '')
        self.write('my-qemu/.git/config', '')
        self.write('my-qemu/build/old', '')
        self.write('my-qemu/.editorconfig', '')
        self.write('my-qemu/configure', QEMU_CONFIGURE)
        (self.source / 'configure').chmod(0o755)

    def configure(self, *args):
        return self.succeed('./configure', '--qemu-source=my-qemu', *args)

    def arguments(self):
        return (self.top / 'build/obj/arguments').read_text().splitlines()

    def runs(self):
        return len((self.top / 'build/runs').read_text().splitlines())

    def content(self):
        """All of the source that was named, with what says when it changed."""
        return {path: (path.stat().st_mtime_ns, path.stat().st_mode,
                       path.read_bytes() if path.is_file() else None)
                for path in self.source.rglob('*')}

    def test_copies_the_named_source_and_leaves_it_alone(self):
        before = self.content()
        self.configure()
        self.assertEqual(self.content(), before)
        pristine = self.top / 'build/pristine'
        self.assertFalse((pristine / '.git').exists())
        self.assertFalse((pristine / 'build').exists())
        self.assertTrue((pristine / '.editorconfig').exists())
        self.assertEqual((self.qemu / 'block/io.c').read_text(),
                         'one\nhook\ntwo\nthree\n')

    def test_source_may_be_named_from_another_directory(self):
        self.succeed('../configure', '--qemu-source=../my-qemu',
                     cwd=self.top / 'block')
        self.assertEqual(self.runs(), 1)

    def test_passes_options_on_to_qemu(self):
        self.configure('--enable-asan', '--', '--extra-cflags=-O0 -g', "--x=it's")
        for option in ('--enable-asan', '--extra-cflags=-O0 -g', "--x=it's",
                       '--target-list=x86_64-softmmu'):
            self.assertIn(option, self.arguments())

    def test_second_run_does_not_configure_qemu_again(self):
        self.configure()
        self.configure()
        self.assertEqual(self.runs(), 1)

    def test_other_options_configure_qemu_again(self):
        self.configure()
        self.configure('--enable-ubsan')
        self.assertEqual(self.runs(), 2)
        self.assertIn('--enable-ubsan', self.arguments())

    def test_config_status_repeats_the_options(self):
        self.configure('--enable-asan', '--', "--x=it's me")
        self.succeed(self.top / 'build/config.status', cwd='/')
        self.assertEqual(self.runs(), 1)
        shutil.rmtree(self.top / 'build/obj')
        self.succeed(self.top / 'build/config.status', cwd='/')
        self.assertIn("--x=it's me", self.arguments())
        self.assertIn('--enable-asan', self.arguments())

    def test_changed_source_makes_the_build_start_anew(self):
        self.configure()
        self.write('my-qemu/block/raw.c', 'new\n')
        self.configure()
        self.assertEqual(self.runs(), 2)
        self.assertEqual((self.qemu / 'block/raw.c').read_text(), 'new\n')

    def test_changed_source_does_not_cost_edits(self):
        self.configure()
        self.write('build/qemu/block/io.c', 'edited\n')
        self.write('my-qemu/block/raw.c', 'new\n')
        self.fail_with('edits would be lost', './configure',
                       '--qemu-source=my-qemu')
        self.assertEqual((self.qemu / 'block/io.c').read_text(), 'edited\n')

    def test_other_version_is_a_warning(self):
        self.write('my-qemu/VERSION', '10.1.0\n')
        self.assertIn('warning: this is QEMU 10.1.0; the patches are kept for '
                      '10.0, 10.2', self.configure())

    def test_other_version_that_a_patch_does_not_fit_is_left_alone(self):
        self.write('my-qemu/VERSION', '11.0.0\n')
        self.write('my-qemu/block/io.c', 'one\n2\nthree\n')
        before = self.content()
        for message in ('warning: this is QEMU 11.0.0',
                        'Patch hook.patch does not apply',
                        'does not apply to QEMU 11.0.0; the patches are kept for '
                        '10.0, 10.2, and it may need some of its own: '
                        'docs/devel/building.rst, "Another version of QEMU"'):
            self.fail_with(message, './configure', '--qemu-source=my-qemu')
        self.assertEqual(self.content(), before)
        self.assertFalse((self.top / 'build/obj').exists())

    def test_finds_the_version_of_a_source(self):
        self.write('my-qemu/VERSION', '10.2.1\n')
        self.write('my-qemu/block/io.c', 'one\n2\nthree\n')
        self.write_override('10.2', 'hook.patch', self.OWN)
        output = self.configure()
        self.assertNotIn('warning', output)
        self.assertIn('builds QEMU 10.2.1 in build/obj', output)
        self.assertEqual((self.qemu / 'block/io.c').read_text(),
                         'one\nhook\n2\nthree\n')

    OWN = HOOK[HOOK.index('--- a/'):].replace(' two', ' 2')

    def test_patch_that_fails_is_shown_and_leaves_the_source_alone(self):
        self.write('my-qemu/VERSION', '11.0.0\n')
        self.write('my-qemu/block/io.c', '1\n2\n3\n')
        self.fail_with('Patch hook.patch does not apply', './configure',
                       '--qemu-source=my-qemu')
        self.fail_with('"Another version of QEMU"', './configure',
                       '--qemu-source=my-qemu')
        self.assertEqual((self.source / 'block/io.c').read_text(), '1\n2\n3\n')

    def fake_debian(self):
        """Debian's sources: what is asked for is noted, what comes is my-qemu."""
        self.write('scripts/private-apt', '#!/bin/sh\nshift\n'
                   f'echo "$@" >> {self.top}/asked\ntouch qemu_1.dsc\n')
        self.write('bin/dpkg-source', '#!/bin/sh\n'
                   f'cp -r {self.source} "$4"\ncase $3 in\n*-10.2/*) '
                   'echo 10.2.2 > "$4/VERSION" ;;\nesac\n')
        for path in ('scripts/private-apt', 'bin/dpkg-source'):
            (self.top / path).chmod(0o755)
        self.path = {'PATH': f'{self.top}/bin:{os.environ["PATH"]}'}

    def asked(self):
        return [line.split()[0] + ' ' + line.split()[-1] for line
                in (self.top / 'asked').read_text().splitlines()]

    def test_fetches_the_version_that_is_asked_for(self):
        self.fake_debian()
        self.succeed('./configure', '--qemu-version=10.2', env=self.path)
        self.assertEqual(self.asked(), ['sid qemu=1:10.2.2+ds-1'])
        self.succeed('build/config.status', env=self.path)
        self.assertEqual(self.asked(), ['sid qemu=1:10.2.2+ds-1'])
        self.assertEqual((self.qemu / 'VERSION').read_text(), '10.2.2\n')
        self.succeed('./configure', env=self.path)
        self.assertEqual(self.asked()[1:], ['trixie qemu'])
        self.assertEqual((self.qemu / 'VERSION').read_text(), '10.0.13\n')

    def test_versions_can_be_built_beside_each_other(self):
        self.fake_debian()
        self.succeed('./configure', env=self.path)
        before = (self.top / 'build/config.status').read_text()
        output = self.succeed('./configure', '--qemu-version=10.2',
                              '--build-dir=other', env=self.path)
        self.assertIn("'make QEMU_BUILD=other' builds QEMU 10.2.2 in other/obj",
                      output)
        self.assertEqual((self.top / 'other/qemu/VERSION').read_text(), '10.2.2\n')
        self.assertEqual((self.qemu / 'VERSION').read_text(), '10.0.13\n')
        self.assertEqual((self.top / 'build/config.status').read_text(), before)
        shutil.rmtree(self.top / 'other/obj')
        self.succeed('other/config.status', env=self.path)
        self.assertTrue((self.top / 'other/obj/build.ninja').exists())
        self.assertEqual(self.asked(), ['trixie qemu', 'sid qemu=1:10.2.2+ds-1'])

    def test_refuses_versions_without_patches(self):
        for version in ('10.1', '', '10', '10.0 10.2', '.*'):
            self.fail_with('the patches are kept for 10.0, 10.2', './configure',
                           f'--qemu-version={version}')
        self.fail_with('give one of both', './configure', '--qemu-version=10.2',
                       '--qemu-source=my-qemu')
        self.assertIn('is fetched: 10.0 10.2', self.succeed('./configure', '--help'))

    def test_refuses_a_build_directory_in_the_source(self):
        self.fail_with('would be changed', './configure',
                       '--qemu-source=my-qemu', '--build-dir=my-qemu/zoned')
        self.fail_with('a directory of its own', './configure', '--build-dir=.')

    def test_refuses_what_is_not_qemu(self):
        self.fail_with('is no QEMU source tree', './configure',
                       '--qemu-source=block')
        self.fail_with('there is no directory', './configure',
                       '--qemu-source=missing')

    def test_refuses_a_source_in_its_own_build_directory(self):
        self.configure()
        self.fail_with('name a tree outside build/', './configure',
                       '--qemu-source=build/pristine')

    def test_refuses_unknown_options(self):
        self.fail_with("QEMU's own options go after --", './configure', '--foo')

    def test_shows_why_qemu_could_not_be_configured(self):
        self.write('my-qemu/configure', '#!/bin/sh\necho no such thing\nexit 1\n')
        (self.source / 'configure').chmod(0o755)
        self.fail_with('no such thing', './configure', '--qemu-source=my-qemu')


if __name__ == '__main__':
    main()
