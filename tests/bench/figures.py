# The table of docs/system/qcow2-zoned-figures.rst.inc, from what was measured.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from disks import MIB
from measure import ALL, FUA, UNIT, VARIANTS, ZONE_COUNTS, spread


def median(values):
    return spread(values)[1]


class Figures:
    """Rows: what, of zoned images, and of others or how many times those"""
    def __init__(self):
        self.rows = []

    def rates(self, what, samples, *cell, name='zoned', others=('raw', 'qcow2')):
        """MB/s, and ratios in the same round"""
        key = (*cell, name)
        if key in samples.rounds:
            self.rows.append([what, f'{median(samples.rounds[key]):.0f} MB/s', *(
                f'{median(samples.ratio(key, (*cell, other))):.2f} times'
                if (*cell, other) in samples.rounds else '-'
                for other in others)])

    def row(self, *words):
        self.rows.append(list(words))

    def rst(self, about):
        title = ['what', 'zoned', 'raw', 'without zones']
        rows = [title, *self.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(title))]
        rule = '  '.join('=' * width for width in widths)
        lines = ['  '.join(word.ljust(width) for word, width in zip(row, widths))
                 .rstrip() for row in rows]
        return '\n'.join([
            '..',
            '   SPDX-License-Identifier: GPL-2.0-or-later',
            '',
            f'   Measured on {about["date"]}: {about["cpus"]} CPUs, '
            f'aio={about["aio"]}.', '',
            rule, lines[0], rule, *lines[1:], rule, ''])


def rst(options, about, measured):
    figures = Figures()
    for block, depth in (('4k', 1), ('4k', 32), ('64k', 8), ('1M', 8)):
        figures.rates(f'first write, {block}, depth {depth}', measured.throughput,
                      'first write', block, depth)
    figures.rates('append, 4k, depth 32', measured.throughput,
                  'first write', '4k', 32, name='zoned, append')
    for block in ('4k', '16k', '64k'):
        figures.rates(f'write and flush, {block}', measured.flushes, block, 1, 1)
    figures.rates('append and flush, 4k', measured.flushes, '4k', 1, 1,
                  name='zoned, append')
    figures.rates('writethrough, 4k', measured.flushes, '4k', 1, FUA)
    for work in ('first pass', 'second pass'):
        figures.rates(f'unmap, {work}, 4k, depth 32', measured.unmap, work,
                      '4k', 32)
    for variant in VARIANTS:
        figures.rates(f'{variant}, 4k, depth 32', measured.variants, variant,
                      '4k', 32)
    add_others(figures, options, measured)
    return figures.rst(about)


def add_others(figures, options, measured):
    for row, name, *what in measured.space.rounds:
        if name == 'zoned' and what == ['open']:
            def of(who, row=row):
                return f'{median(measured.space.rounds[row, who, "open"]):.1f} MiB'
            figures.row(f'space, {row}', *map(of, ('zoned', 'raw', 'qcow2')))
    tails, resets = measured.tails, measured.resets
    for what in ('99.99%', 'slowest'):
        if tails.rounds:
            figures.row(f'4k write, {what}', *(
                f'{median(tails.rounds[name, what]) / 1000:.1f} ms'
                for name in ('zoned', 'raw')), '-')
    key = (MIB, 'one by one')
    if (*key, UNIT) in resets.rounds:
        figures.row('reset of a zone; 4k and flush on raw', *(
            f'{median(resets.rounds[*key, name]):.0f} us'
            for name in ('reset', UNIT)), '-')
    for name in ('reset', 'reset, unmap'):
        if (ALL, name) in resets.rounds:
            figures.row(f'{name} of {options.reset_all[0]} zones at once',
                        f'{median(resets.rounds[ALL, name]):.1f} ms', '-', '-')
    if measured.opens.rounds:
        count = max(ZONE_COUNTS)
        milliseconds = median(measured.opens.rounds[count, 'full', 'open'])
        figures.row(f'open {count} zones', f'{milliseconds:.0f} ms', '-', '-')
