# The zone table alone (zone-table-bench.c): what a call costs, and what two
# threads that share it cost.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import subprocess

from disks import HERE, program
from measure import Samples
from tables import heading, show

# What sharing one table may cost threads that use different zones
SHARED_TIMES = 1.1


def measure(*words):
    """Nanoseconds by case; the words are those of zone-table-bench"""
    tool = program.build_program(program.OBJ / 'tests/bench/zone-table-bench',
                                 HERE / 'zone-table-bench.c')
    out = subprocess.run([tool, *map(str, words)], text=True, check=True,
                         stdout=subprocess.PIPE).stdout
    samples = Samples()
    for line in out.splitlines():
        name, values = line.split(':')
        samples.rounds[name,] = [float(word) for word in values.split()]
    return samples


def table(judged, samples):
    heading('The zone table alone', 'Nanoseconds of a call, or of begin and end.',
            f'Target: two threads on different zones take at most {SHARED_TIMES} '
            'times as long as', 'with a table each.')
    layout = '{:37} {:>24} {:>20} {:>20}  {}'
    print(layout.format('', 'ns', 'to 1 thread', 'to 2 tables', 'target'))
    for name, in samples.rounds:
        kind, threads, *shared = name.split(', ')
        ratios, verdict = ['', ''], ''
        for i, other in enumerate((f'{kind}, 1 thread',
                                   f'{kind}, 2 threads, 2 tables')):
            if threads == '2 threads' and name != other:
                ratio = samples.ratio((name,), (other,))
                ratios[i] = show(ratio)
                if i and shared == ['2 zones']:
                    verdict = judged.verdict_below(
                        f'zone table, {name}, times as long', ratio, SHARED_TIMES)
        print(layout.format(name, show(samples.rounds[name,], 1), *ratios,
                            verdict).rstrip())
