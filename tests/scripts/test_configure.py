#!/usr/bin/python3
# configure, on a stand-in for QEMU whose own configure notes what it was given.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import shutil

from sandbox import TOP, Sandbox, main

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

    def test_copies_the_named_source_and_leaves_it_alone(self):
        def content():
            return {path: path.read_bytes() for path in self.source.rglob('*')
                    if path.is_file()}
        before = content()
        self.configure()
        self.assertEqual(content(), before)
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
        self.assertIn('warning: this is QEMU 10.1.0', self.configure())

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
