#!/usr/bin/python3
# scripts/check: how it counts what meson logs.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import contextlib
import importlib.util
import io
import sys
import unittest
from importlib.machinery import SourceFileLoader
from unittest import mock

from sandbox import TOP, main

sys.dont_write_bytecode = True
sys.path.insert(0, str(TOP / 'scripts'))
loader = SourceFileLoader('check', str(TOP / 'scripts/check'))
check = importlib.util.module_from_spec(
    importlib.util.spec_from_loader('check', loader))
loader.exec_module(check)


class TestCheck(unittest.TestCase):
    def lines(self, *programs):
        """What is printed about programs given as (result, output)."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            check.tally_of({'name': f'suite / prog{i}', 'result': result,
                            'stdout': output}
                           for i, (result, output) in enumerate(programs)
                           ).report()
        return out.getvalue().splitlines()

    def test_each_point_counts(self):
        lines = self.lines(('OK', '1..2\nok 1 - a\nok 2 - b\n'),
                           ('OK', 'TAP version 13\nok qcow2 001\n1..1\n'))
        self.assertEqual(lines, ['3 passed, 0 failed'])

    def test_failures_are_named(self):
        lines = self.lines(('FAIL', 'ok 1 - a\nnot ok 2 - b c\n1..2\n'))
        self.assertEqual(lines, ['FAILED: prog0: b c', '1 passed, 1 failed'])

    def test_failures_say_why(self):
        lines = self.lines(('OK', 'an error that was wanted\nok 1 a\n'),
                           ('ERROR', '1..1\n# QEMU ended with status -6\n'
                            '# at once\nBail out! setUpClass\n'))
        self.assertEqual(lines[:2], ['prog1 said: QEMU ended with status -6',
                                     'prog1 said: Bail out! setUpClass'])
        self.assertEqual(lines[-1], '1 passed, 1 failed')

    def test_skips_are_named_with_reasons(self):
        lines = self.lines(('OK', 'ok 1 a # SKIP no KVM here\nok 2 b\n1..2\n'))
        self.assertEqual(lines, ['skipped: prog0: a (no KVM here)',
                                 '1 passed, 0 failed, 1 skipped'])

    def test_program_may_skip_as_a_whole(self):
        lines = self.lines(('SKIP', '1..0 # SKIP no kernel\n'))
        self.assertEqual(lines, ['skipped: prog0 (no kernel)',
                                 '0 passed, 0 failed, 1 skipped'])

    def test_crash_after_good_points_is_a_failure(self):
        lines = self.lines(('ERROR', 'ok 1 a\n'))
        self.assertEqual(lines[-1], '1 passed, 1 failed')
        self.assertIn('prog0', lines[0])

    def test_timeout_is_a_failure(self):
        self.assertEqual(self.lines(('TIMEOUT', 'ok 1 a\n'))[-1],
                         '1 passed, 1 failed')

    def test_program_without_a_test_is_a_failure(self):
        self.assertEqual(self.lines(('OK', '1..0\n'))[-1], '0 passed, 1 failed')

    def test_comments_and_other_output_do_not_count(self):
        lines = self.lines(('OK', '# ok 1\nokay\nok 1 /zone/open\n    ok 1 sub\n'))
        self.assertEqual(lines, ['1 passed, 0 failed'])

    def test_expected_failure_is_no_failure(self):
        lines = self.lines(('OK', 'not ok 1 a # TODO later\nok 2 b\n1..2\n'))
        self.assertEqual(lines[-1], '2 passed, 0 failed')

    def second_run_of(self, *tests):
        """Names that get a second run, which they pass, and the results."""
        again = []

        def run(suites, names, **kwargs):
            again.extend(names)
            return [{'name': f'qemu-zoned:iotests-qemu / {name}', 'result': 'OK'}
                    for name in names]
        with mock.patch.object(check, 'run', run), \
             contextlib.redirect_stdout(io.StringIO()):
            done = check.run_again([{'name': f'qemu-zoned:{name}',
                                     'result': result}
                                    for name, result in tests])
        return again, [test['result'] for test in done]

    def test_only_qemu_iotests_get_a_second_run(self):
        again, results = self.second_run_of(
            ('iotests-qemu / 161', 'ERROR'), ('iotests-qemu / 001', 'OK'),
            ('iotests / zoned-qcow2', 'ERROR'), ('unit / test-zone-threads', 'FAIL'))
        self.assertEqual(again, ['161'])
        self.assertEqual(results, ['OK', 'OK', 'ERROR', 'FAIL'])

    def test_many_failures_get_no_second_run(self):
        again, results = self.second_run_of(
            *((f'iotests-qemu / {i}', 'FAIL') for i in range(check.MAX_AGAIN + 1)))
        self.assertEqual(again, [])
        self.assertEqual(set(results), {'FAIL'})

    def test_suite_without_a_test_is_a_failure(self):
        tally = check.Tally()
        check.add_empty_suites(tally, ['unit', 'guest'],
                               [{'name': 'qemu-zoned:unit / test-zone-threads'}])
        self.assertEqual(tally.failed, [('suite guest', 'no test ran')])


if __name__ == '__main__':
    main()
