# Tables of what was measured, and whether targets are met.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from disks import MIB
from measure import (ALL, ALONE, BESIDE, BLOCKS, EMPTY, FUA, JOBS, NULL_PLAIN, NULL_ZONED, RESETS,
                     SPACE_A_ZONE, SPACE_PART, STATES, TINY_ZONES, UNIT,
                     ZONE_COUNTS, spread)

WORKS = ('first write', 'rewrite', 'read')
NAMES = ('zoned', 'zoned, append', 'qcow2', 'qcow2, falloc', 'raw')

TO_RAW, TO_QCOW2 = 0.95, 1.0
FLUSH_TO_RAW = 0.7
VARIANT_TO_QCOW2 = 0.9
RESET_TO_UNIT, DISCARD_TO_RESET = 0.95, 10
UNMAP_TIMES = 2
TAIL_TIMES = 2
JOB_TO_QCOW2, LOSS_TO_QCOW2 = 0.9, 1.1
OPEN_MS, BYTES_A_ZONE = 100, 64


class Tables:
    def __init__(self):
        self.targets = []

    def verdict(self, name, values, least):
        """Of a target that the values be @least or more"""
        _, median, upper = spread(values)
        return self.judge(name, median, median >= least, upper >= least,
                          f'at least {least:g}')

    def verdict_below(self, name, values, most):
        """Of a target that the values be @most or less"""
        lower, median, _ = spread(values)
        return self.judge(name, median, median <= most, lower <= most,
                          f'at most {most:g}')

    def judge(self, name, median, met, met_at_times, target):
        word = 'met' if met else 'noise' if met_at_times else 'missed'
        self.targets.append({'name': name, 'value': median, 'target': target,
                             'verdict': word})
        return word

    def print_summary(self):
        words = [target['verdict'] for target in self.targets]
        print('\nTargets: ' + ', '.join(
            f'{words.count(word)} {word}' for word in ('met', 'noise', 'missed')))
        for target in self.targets:
            if target['verdict'] != 'met':
                print(f'  {target["verdict"]}: {target["name"]}: '
                      f'{target["value"]:.2f}, target {target["target"]}')


def show(values, digits=2):
    low, median, high = spread(values)
    return f'{median:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})'


def heading(words, *lines):
    print('', words, '=' * len(words), *lines, sep='\n')


def throughput_table(tables, samples, thin):
    heading('Throughput', 'Ratio to raw in the same round, and of zoned to qcow2.',
            'First write: to a new image; rewrite: once more, zones reset before.',
            f'Targets: zoned >= {TO_RAW} of raw and >= {TO_QCOW2} of qcow2, writes '
            'and appends;', 'and after a first write the image takes no more than '
            f'the data and 1/{SPACE_PART} of it, or {SPACE_A_ZONE // MIB} MiB a '
            'zone.')
    layout = '{:>4} {:>5} {:13} {:>10} {:>18} {:>18}  {}'
    for work in WORKS:
        print('\n' + work)
        print(layout.format('size', 'depth', '', 'MB/s', 'to raw', 'to qcow2',
                            'target'))
        for block, depth in samples.cells(work):
            cell = (work, block, depth)
            for name in NAMES:
                key = (*cell, name)
                if key not in samples.rounds:
                    continue
                to_raw = samples.ratio(key, (*cell, 'raw'))
                to_qcow2 = samples.ratio(key, (*cell, 'qcow2'))
                verdicts, is_zoned = [], name.startswith('zoned')
                about = f'{work}, {block}, depth {depth}, {name}'
                if is_zoned and work != 'read':
                    verdicts = [
                        tables.verdict(f'{about}, to raw', to_raw, TO_RAW),
                        tables.verdict(f'{about}, to qcow2', to_qcow2, TO_QCOW2)]
                if key in thin.rounds:
                    verdicts.append('space ' + tables.verdict_below(
                        f'{about}, space by what is allowed', thin.rounds[key], 1))
                print(layout.format(
                    block, depth, name, f'{spread(samples.rounds[key])[1]:.0f}',
                    show(to_raw) if name != 'raw' else '',
                    show(to_qcow2) if is_zoned else '',
                    ', '.join(verdicts)).rstrip())


def flush_table(tables, samples):
    heading('Flushes', 'First write to a new image, ratio to raw in the same round.'
            f'  {FUA}: each write is', 'durable when it completes, as in writethrough '
            'mode.',
            f'Targets: durable after every write, zoned >= {TO_QCOW2} of qcow2; '
            f'4k: >= {FLUSH_TO_RAW} of raw.')
    layout = '{:>4} {:>5} {:>11} {:13} {:>10} {:>18} {:>18}  {}'
    print(layout.format('size', 'depth', 'flush every', '', 'MB/s', 'to raw',
                        'to qcow2', 'target'))
    for case in samples.cells():
        for name in ('zoned', 'zoned, append', 'qcow2', 'raw'):
            key = (*case, name)
            if key not in samples.rounds:
                continue
            to_raw = samples.ratio(key, (*case, 'raw'))
            to_qcow2 = samples.ratio(key, (*case, 'qcow2'))
            verdicts, is_zoned = [], name.startswith('zoned')
            if is_zoned and case[2] in (1, FUA):
                what = FUA if case[2] == FUA else 'flush after every write'
                about = f'{case[0]}, {what}, {name}'
                verdicts.append(tables.verdict(f'{about}, to qcow2', to_qcow2,
                                               TO_QCOW2))
                if case[0] == '4k':
                    verdicts.append(tables.verdict(f'{about}, to raw', to_raw,
                                                   FLUSH_TO_RAW))
            print(layout.format(
                *case, name, f'{spread(samples.rounds[key])[1]:.1f}',
                show(to_raw) if name != 'raw' else '',
                show(to_qcow2) if is_zoned else '',
                ', '.join(verdicts)).rstrip())


def unmap_table(tables, samples):
    heading('Space that comes and goes',
            'discard=unmap for image and file.  Second pass: all was given back '
            'after the first,', 'by a reset, or a discard.  Ratios in the same '
            'round.',
            f'Targets: zoned >= {TO_RAW} of raw and >= {TO_QCOW2} of qcow2.')
    layout = '{:11} {:>4} {:>5} {:6} {:>10} {:>18} {:>18}  {}'
    print(layout.format('', 'size', 'depth', '', 'MB/s', 'to raw', 'to qcow2',
                        'target'))
    for cell in samples.cells():
        work, block, depth = cell
        for name in ('zoned', 'qcow2', 'raw'):
            key = (*cell, name)
            to_raw = samples.ratio(key, (*cell, 'raw'))
            to_qcow2 = samples.ratio(key, (*cell, 'qcow2'))
            verdict, about = '', f'unmap, {work}, {block}, depth {depth}'
            if name == 'zoned':
                verdict = ', '.join((
                    tables.verdict(f'{about}, to raw', to_raw, TO_RAW),
                    tables.verdict(f'{about}, to qcow2', to_qcow2, TO_QCOW2)))
            print(layout.format(
                *cell, name, f'{spread(samples.rounds[key])[1]:.0f}',
                show(to_raw) if name != 'raw' else '',
                show(to_qcow2) if name == 'zoned' else '', verdict).rstrip())


def variant_table(tables, samples):
    heading('Other options', 'First write to a new image, with zones and without, '
            'otherwise the same options.', 'Ratio in the same round.',
            f'Target: zoned >= {VARIANT_TO_QCOW2} of qcow2.')
    layout = '{:14} {:>4} {:>5} {:>12} {:>12} {:>18}  {}'
    print(layout.format('', 'size', 'depth', 'zoned, MB/s', 'qcow2, MB/s', 'ratio',
                        'target'))
    for cell in samples.cells():
        ratio = samples.ratio((*cell, 'zoned'), (*cell, 'qcow2'))
        variant, block, depth = cell
        print(layout.format(
            *cell, *(f'{spread(samples.rounds[*cell, name])[1]:.0f}'
                     for name in ('zoned', 'qcow2')), show(ratio),
            tables.verdict(f'{variant}, {block}, depth {depth}', ratio,
                           VARIANT_TO_QCOW2)))


def space_table(tables, samples):
    heading("Space in the host's file system", 'MiB.  Open: after a flush; closed: '
            'after that.',
            f'Target: zoned <= data and 1/{SPACE_PART} of it, or '
            f'{SPACE_A_ZONE // MIB} MiB for each zone', 'that was written; after a '
            'reset: when closed, as space is given back behind it.')
    layout = '{:30} {:13} {:>8} {:>8} {:>8} {:>8}  {}'
    print(layout.format('', '', 'data', 'open', 'closed', 'allowed', 'target'))
    for row, name, what in samples.rounds:
        if what != 'open':
            continue
        values = {of: samples.rounds[row, name, of]
                  for of in ('data', 'open', 'closed', 'allowed')}
        verdict = ''
        if name.startswith('zoned'):
            verdict = ', '.join(
                tables.verdict_below(f'space, {row}, {name}, {of}, MiB',
                                     values[of], values['allowed'][0])
                for of in ('open', 'closed')
                # Space is given back behind a reset
                if of == 'closed' or row != EMPTY)
        print(layout.format(row, name, *(f'{spread(of)[1]:.1f}'
                                         for of in values.values()),
                            verdict).rstrip())


def tail_table(tables, samples, size):
    heading(f'The slowest write of a first pass over {size // MIB} MiB of one zone',
            'Microseconds of a 4 KiB write, 8 at a time; ratio to raw in the same '
            'round.',
            f'Target: zoned takes at most {TAIL_TIMES} times as long as raw.')
    layout = '{:8} {:>28} {:>28} {:>20}  {}'
    print(layout.format('', 'zoned', 'raw', 'times raw', 'target'))
    for what in ('median', '99.99%', 'slowest'):
        ratio = samples.ratio(('zoned', what), ('raw', what))
        print(layout.format(
            what, *(show(samples.rounds[name, what], 0)
                    for name in ('zoned', 'raw')), show(ratio),
            tables.verdict_below(f'tail, {what}, times raw', ratio, TAIL_TIMES)))


def reset_table(tables, samples, count, zone_size):
    heading(f'Reset of {count} zones of {zone_size // MIB} MiB, all written',
            'Microseconds a zone.  A reset is durable when it completes; "discard,',
            'flush" is, too.  Discards give the space back (discard=unmap), as '
            '"reset, unmap"', f'does.  "{UNIT}": a write to a raw file, overwriting, '
            'and a flush; nothing that is', 'durable costs less.',
            f'Targets: a reset alone costs at most what "{UNIT}" does '
            f'(>= {RESET_TO_UNIT}); resets', 'that come together are '
            f'{DISCARD_TO_RESET} times cheaper than discards of the same range.')
    layout = '{:15} {:14} {:>26} {:>20} {:>22} {:>22}  {}'
    print(layout.format('', '', 'us', 'unit is times', 'discard is times',
                        'discard, flush', 'target'))
    for way in RESETS:
        if (zone_size, way, UNIT) not in samples.rounds:
            continue
        for name in ('reset', 'reset, unmap', 'discard', 'discard, flush', UNIT):
            ratios = [samples.ratio((zone_size, way, other), (zone_size, way, name))
                      for other in (UNIT, 'discard', 'discard, flush')]
            is_reset, verdicts = name.startswith('reset'), []
            about = f'{zone_size // MIB} MiB, {way}'
            if is_reset and way == 'one by one':
                verdicts.append(tables.verdict(f'"{UNIT}" to {name}, {about}',
                                               ratios[0], RESET_TO_UNIT))
            elif name == 'reset':
                verdicts += [
                    tables.verdict(f'{other} to {name}, {about}', ratio,
                                   DISCARD_TO_RESET)
                    for other, ratio in zip(('discard', 'discard, flush'),
                                            ratios[1:])]
            print(layout.format(
                way, name, show(samples.rounds[zone_size, way, name], 1),
                *(show(ratio, 1 if i else 2) if is_reset else ''
                  for i, ratio in enumerate(ratios)),
                ', '.join(verdicts)).rstrip())


def reset_all_table(tables, samples, count, zone_size):
    heading(f'Reset of {count} zones of {zone_size // MIB} MiB with 4 KiB '
            'each, in one request', 'Milliseconds.  Closed: until the image is '
            'closed, all space given back.',
            f'Target: with unmap at most {UNMAP_TIMES} times as long, until the '
            'request completes.')
    layout = '{:14} {:>26} {:>26} {:>20}  {}'
    print(layout.format('', 'completes', 'closed', 'times', 'target'))
    for name in ('reset', 'reset, unmap'):
        times = samples.ratio((ALL, name), (ALL, 'reset'))
        print(layout.format(
            name, show(samples.rounds[ALL, name], 1),
            show(samples.rounds[ALL, name, 'closed'], 1), show(times),
            tables.verdict_below('reset of all, with unmap, times', times,
                                 UNMAP_TIMES) if name != 'reset' else '').rstrip())


def open_table(tables, samples):
    heading('Open and report', 'In a process of its own.  Memory: what the process '
            'has resident, and the most', 'that it had, less what one with '
            f'{TINY_ZONES} zones has.',
            f'Targets for {max(ZONE_COUNTS)} zones: open < {OPEN_MS} ms, memory <= '
            f'{BYTES_A_ZONE} bytes a zone.')
    layout = '{:>8} {:6} {:>22} {:>20} {:>22} {:>12} {:>11} {:>8}  {}'
    print(layout.format('zones', '', 'open, ms', 'report, ms', 'qemu-img info, ms',
                        'memory, MiB', 'bytes/zone', 'at most', 'target'))
    for count in (TINY_ZONES, *ZONE_COUNTS):
        for state in STATES:
            def of(what, count=count):
                return samples.rounds[count, state, what]
            more, most = ([(a - b) * 1024
                           for a, b in zip(of(what), of(what, TINY_ZONES))]
                          for what in ('KiB', 'most KiB'))
            each = [value / count for value in more]
            verdict = ''
            if count == max(ZONE_COUNTS):
                about = f'{count} {state} zones'
                verdict = ', '.join((
                    tables.verdict_below(f'open {about}, ms', of('open'), OPEN_MS),
                    tables.verdict_below(f'{about}, bytes a zone', each,
                                         BYTES_A_ZONE)))
            print(layout.format(
                count, state, show(of('open'), 1), show(of('report'), 1),
                show(of('info'), 1), f'{spread(more)[1] / MIB:.1f}',
                *(f'{spread(of)[1] / count:.1f}' if count > TINY_ZONES else ''
                  for of in (more, most)),
                verdict).rstrip())


def job_table(tables, samples):
    heading('Jobs',
            'A backup with sync=full and a mirror until the target is closed, block-stream,',
            'block-commit of what is not in use, and of what is until the backing file has',
            'all, of a zoned image and of plain qcow2 with the same data.  A writer, 64 KiB',
            'and depth 1, where there is no data yet, alone and while the backup copies; it',
            'loses the first through the second.',
            f'Targets: jobs >= {JOB_TO_QCOW2} of qcow2, loss <= {LOSS_TO_QCOW2} of '
            "qcow2's.")
    layout = '{:16} {:>10} {:>10} {:>18}  {}'
    print(layout.format('', 'zoned', 'qcow2', 'ratio', 'target'))
    for work in (*JOBS, ALONE, BESIDE):
        zoned, plain = (samples.rounds[work, name] for name in ('zoned', 'qcow2'))
        ratio = samples.ratio((work, 'zoned'), (work, 'qcow2'))
        verdict = tables.verdict(work, ratio, JOB_TO_QCOW2) \
            if work in JOBS else ''
        print(layout.format(work, f'{spread(zoned)[1]:.0f}',
                            f'{spread(plain)[1]:.0f}', show(ratio),
                            verdict).rstrip())
    loss = {name: samples.ratio((ALONE, name), (BESIDE, name))
            for name in ('zoned', 'qcow2')}
    ratio = [a / b for a, b in zip(loss['zoned'], loss['qcow2'])]
    print(layout.format('loss', *(f'{spread(of)[1]:.2f}' for of in loss.values()),
                        show(ratio), tables.verdict_below(
                            'loss of a writer beside a backup', ratio,
                            LOSS_TO_QCOW2)))


def guest_table(tables, rates, costs):
    heading('NVMe in a Linux guest',
            'A namespace on zoned qcow2, and one with zones in memory on a raw '
            'file, in one boot.',
            '"write" and "append" are NVMe commands through io_uring, "fio write" '
            "is Linux's block", 'layer.  CPU time of a request: of the main thread, '
            'where device and image are handled,', 'and of all threads, which '
            'without KVM is mostly that of emulated CPUs; it spreads less',
            'than throughput when the machine has other work.',
            f'Target: throughput >= {TO_RAW} of zones in memory.')
    layout = '{:9} {:>4} {:>5} {:>7} {:>18} {:>8} {:>18} {:>18}  {}'
    print(layout.format('', 'size', 'depth', 'MB/s', 'to volatile', 'main, us',
                        'to volatile', 'all, to volatile', 'target'))
    for *cell, name in rates.rounds:
        if name == 'zoned':
            def against(samples, *more, cell=tuple(cell)):
                return samples.ratio((*cell, 'zoned', *more),
                                     (*cell, 'volatile', *more))
            ratio, key = against(rates), (*cell, 'zoned')
            verdict = tables.verdict(
                f'{cell[0]}, {cell[1]}, depth {cell[2]}, in a guest', ratio,
                TO_RAW)
            print(layout.format(
                *cell, f'{spread(rates.rounds[key])[1]:.1f}', show(ratio),
                f'{spread(costs.rounds[(*key, "main")])[1] / 1000:.1f}',
                show(against(costs, 'main')), show(against(costs, 'all')),
                verdict))


def scsi_table(tables, rates, costs):
    heading('SCSI in a Linux guest',
            'A scsi-hd on zoned qcow2 and one on a raw file, and a virtio-blk on '
            'zoned qcow2,', "in one boot, through Linux's block layer.  CPU time of "
            "a request: of QEMU's main", 'thread, where devices and images are '
            'handled.',
            f'Target: throughput of zoned SCSI >= {TO_RAW} of raw SCSI.')
    layout = '{:6} {:>4} {:>5} {:>7} {:>18} {:>18} {:>8} {:>18}  {}'
    print(layout.format('', 'size', 'depth', 'MB/s', 'to raw', 'to virtio-blk',
                        'main, us', 'to raw', 'target'))
    for *cell, name in rates.rounds:
        if name != 'zoned':
            continue
        key, raw = (*cell, 'zoned'), (*cell, 'raw')
        ratio = rates.ratio(key, raw)
        verdict = tables.verdict(
            f'SCSI {cell[0]}, {cell[1]}, depth {cell[2]}, in a guest', ratio,
            TO_RAW)
        print(layout.format(
            *cell, f'{spread(rates.rounds[key])[1]:.1f}', show(ratio),
            show(rates.ratio(key, (*cell, 'virtio-blk'))),
            f'{spread(costs.rounds[(*key, "main")])[1] / 1000:.1f}',
            show(costs.ratio((*key, 'main'), (*raw, 'main'))), verdict))
    scsi_control(rates, costs)


def scsi_control(rates, costs):
    print('\nMicroseconds that zones cost a request: of SCSI, all and in the main '
          "thread; and of\nLinux's null_blk, which nothing of QEMU takes part in.")
    layout = '{:6} {:>4} {:>5} {:>22} {:>22} {:>22}'
    print(layout.format('', 'size', 'depth', 'SCSI', 'main', 'null_blk'))
    for *cell, name in rates.rounds:
        if name == NULL_ZONED:
            def more(samples, of, zoned, plain, *end, cell=tuple(cell)):
                return show(samples.more((*cell, zoned, *end),
                                         (*cell, plain, *end), of), 1)

            def microseconds(rate, size=BLOCKS[cell[1]]):
                return size / rate

            print(layout.format(
                *cell, more(rates, microseconds, 'zoned', 'raw'),
                more(costs, lambda cost: cost / 1000, 'zoned', 'raw', 'main'),
                more(rates, microseconds, NULL_ZONED, NULL_PLAIN)))
