#!/usr/bin/python3
# tests/bench: a target that is not reached is said to be missed.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import contextlib
import io
import sys
import unittest

from sandbox import TOP, main

sys.dont_write_bytecode = True
sys.path.insert(0, str(TOP / 'tests/bench'))

import tables
import zone_table
from measure import ALL, ALONE, BESIDE, EMPTY, FUA, JOBS, RESETS, STATES, \
    TINY_ZONES, UNIT, ZONE_COUNTS, Samples
from disks import MIB

GOOD, BAD = 'met', 'missed'


class TestTargets(unittest.TestCase):
    """Each table with figures that are good, and that are bad, for zones"""

    def samples(self, values):
        samples = Samples()
        samples.rounds = {key: [value] * 3 for key, value in values.items()}
        return samples

    def judge(self, verdict, count, table, *args):
        judged = tables.Tables()
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            table(judged, *args)
            judged.print_summary()
        self.assertEqual([target['verdict'] for target in judged.targets],
                         [verdict] * count)
        summary = out.getvalue().rpartition('\nTargets: ')[2]
        self.assertIn(f'{count} {verdict}', summary)
        self.assertEqual(summary.count('  missed: '),
                         count if verdict == BAD else 0)

    def test_throughput(self):
        for verdict, mine, taken in ((GOOD, 100, 1), (BAD, 94, 1.01)):
            cell = ('first write', '4k', 1)
            self.judge(verdict, 6, tables.throughput_table, self.samples({
                (*cell, 'zoned'): mine, (*cell, 'zoned, append'): mine,
                (*cell, 'qcow2'): 100, (*cell, 'raw'): 100}), self.samples({
                    (*cell, 'zoned'): taken, (*cell, 'zoned, append'): taken}))

    def test_jobs(self):
        for verdict, mine, loss in ((GOOD, 90, 2.1), (BAD, 89, 2.3)):
            values = {(ALONE, 'zoned'): 100, (ALONE, 'qcow2'): 100,
                      (BESIDE, 'zoned'): 100 / loss, (BESIDE, 'qcow2'): 50}
            for job in JOBS:
                values |= {(job, 'zoned'): mine, (job, 'qcow2'): 100}
            self.judge(verdict, 6, tables.job_table, self.samples(values))

    def test_flushes(self):
        for verdict, mine in ((GOOD, 100), (BAD, 69)):
            values = {}
            for cell in (('4k', 1, 1), ('64k', 1, 1), ('4k', 1, FUA)):
                values |= {(*cell, 'zoned'): mine, (*cell, 'qcow2'): 100,
                           (*cell, 'raw'): 100}
            self.judge(verdict, 5, tables.flush_table, self.samples(values))

    def test_unmap(self):
        for verdict, mine in ((GOOD, 100), (BAD, 94)):
            values = {}
            for work in ('first pass', 'second pass'):
                cell = (work, '4k', 1)
                values |= {(*cell, 'zoned'): mine, (*cell, 'qcow2'): 100,
                           (*cell, 'raw'): 100}
            self.judge(verdict, 4, tables.unmap_table, self.samples(values))

    def test_variants(self):
        for verdict, mine in ((GOOD, 90), (BAD, 89)):
            self.judge(verdict, 1, tables.variant_table, self.samples({
                ('LUKS', '4k', 1, 'zoned'): mine, ('LUKS', '4k', 1, 'qcow2'): 100}))

    def test_space(self):
        for verdict, taken in ((GOOD, 40), (BAD, 41)):
            values = {}
            for row in ('sparse', EMPTY):
                values |= {(row, 'zoned', 'open'): taken,
                           (row, 'zoned', 'closed'): taken,
                           (row, 'zoned', 'data'): 0, (row, 'zoned', 'allowed'): 40}
            self.judge(verdict, 3, tables.space_table, self.samples(values))

    def test_tail(self):
        for verdict, mine in ((GOOD, 2), (BAD, 2.1)):
            self.judge(verdict, 3, tables.tail_table, self.samples({
                (name, what): value for name, value in (('zoned', mine), ('raw', 1))
                for what in ('median', '99.99%', 'slowest')}), MIB)

    def test_resets(self):
        for verdict, mine, unit in ((GOOD, 10, 9.6), (BAD, 11, 9.6)):
            self.judge(verdict, 6, tables.reset_table, self.samples({
                (MIB, way, name): value for way in RESETS for name, value in (
                    ('reset', mine), ('reset, unmap', mine), ('discard', 100),
                    ('discard, flush', 100), (UNIT, unit))}), 100, MIB)

    def test_reset_of_all(self):
        for verdict, mine in ((GOOD, 2), (BAD, 2.1)):
            self.judge(verdict, 1, tables.reset_all_table, self.samples({
                (ALL, 'reset'): 1, (ALL, 'reset', 'closed'): 1,
                (ALL, 'reset, unmap'): mine,
                (ALL, 'reset, unmap', 'closed'): mine}), 100, MIB)

    def test_open(self):
        most = max(ZONE_COUNTS)
        for verdict, milliseconds, each in ((GOOD, 100, 64), (BAD, 101, 65)):
            values = {}
            for count in (TINY_ZONES, *ZONE_COUNTS):
                for state in STATES:
                    kib = each * most / 1024 if count == most else 0
                    values |= {(count, state, 'open'): milliseconds,
                               (count, state, 'report'): 1, (count, state, 'info'): 1,
                               (count, state, 'KiB'): kib,
                               (count, state, 'most KiB'): kib}
            self.judge(verdict, 4, tables.open_table, self.samples(values))

    def test_zone_table(self):
        for verdict, mine in ((GOOD, 110), (BAD, 111)):
            self.judge(verdict, 1, zone_table.table, self.samples({
                ('write, 1 thread',): 100, ('write, 2 threads, 2 tables',): 100,
                ('write, 2 threads, 2 zones',): mine}))

    def test_noise_is_neither(self):
        judged = tables.Tables()
        self.assertEqual(judged.verdict('a', [0.9, 0.9, 1, 1, 0.9], 1), 'noise')
        self.assertEqual(judged.verdict_below('a', [2, 2, 1, 1, 2], 1), 'noise')


if __name__ == '__main__':
    main()
