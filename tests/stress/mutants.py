# Ways to break QEMU; the stress test must notice each.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import shlex
import subprocess
import sys
from typing import NamedTuple

from machine import BUILD

OBJ, QEMU = BUILD / 'obj', BUILD / 'qemu'
OUT = OBJ / 'tests/stress'
PROGRAMS = ('qemu-system-x86_64', 'qemu-img')


class Mutant(NamedTuple):
    name: str
    source: str
    old: str            # occurs once in it
    new: str


MUTANTS = [
    Mutant('reset-leaves-end-of-data', 'block/zone-table.c',
           '    qatomic_set_u64(&z->data_end, r.data_end);\n'
           '    z->was_empty = false;\n',
           '    if (state != BLK_ZS_EMPTY) {\n'
           '        qatomic_set_u64(&z->data_end, r.data_end);\n    }\n'
           '    z->was_empty = false;\n'),
    Mutant('offline-in-backing-file', 'block/qcow2-zoned-io.c',
           'if (n == -ENODEV && (stored || is_backing_file(bs))) {',
           'if (n == -ENODEV && stored) {'),
    Mutant('append-at-wrong-place', 'block/qcow2-zoned-io.c',
           '    if (ret == 0) {\n        *offset = position;\n    }\n'
           '    return bdrv_zone_op_io_error(ret);\n',
           '    if (ret == 0) {\n'
           '        *offset = MAX(position, qiov->size) - qiov->size;\n    }\n'
           '    return bdrv_zone_op_io_error(ret);\n'),
    Mutant('implicit-close-not-done', 'block/zone-table.c',
           '            close_one(t);\n',
           ''),
    Mutant('flush-forgets-a-zone', 'block/zone-table.c',
           '    if (block_is_dirty(t, w->zone)) {\n        return;\n    }\n',
           '    if (block_is_dirty(t, w->zone) || w->zone % 8 == 5) {\n'
           '        return;\n    }\n'),
    Mutant('commit-leaves-claims', 'block/qcow2-zoned-create.c',
           '    qemu_co_mutex_lock(&s->zoned->store_lock);\n'
           '    ret = qcow2_zones_store_locked(c->base, false);\n'
           '    qemu_co_mutex_unlock(&s->zoned->store_lock);\n',
           '    (void)s;\n    ret = qcow2_zones_store(c->base);\n'),
    Mutant('append-ignores-fua', 'block/zoned-io.c',
           '    if (ret == 0 && (flags & BDRV_REQ_FUA)) {\n'
           '        ret = bdrv_zone_io_error(bdrv_co_flush(bs));\n    }\n',
           ''),
    Mutant('resize-loses-last-zone', 'block/zone-table.c',
           '    for (uint32_t i = 0; i < MIN(nr_zones, old_nr_zones); i++) {\n'
           '        move_zone(',
           '    for (uint32_t i = 0; i < MIN(nr_zones, old_nr_zones) - 1; i++) {\n'
           '        move_zone('),
    Mutant('mirror-forgets-appends', 'block/zoned-mirror.c',
           '        bdrv_set_dirty_bitmap(dirty, *offset, qiov->size);\n',
           '        (void)dirty;\n'),
    Mutant('backup-loses-what-is-reset', 'block/zoned-backup.c',
           '            ret = zb->copy(zb->filter, start, zone_end - start, 0);\n',
           '            ret = 0;\n'),
]


def commands():
    done = subprocess.run(['ninja', '-t', 'compdb', '-x'], cwd=OBJ, check=True,
                          stdout=subprocess.PIPE, text=True)
    return {c['output']: shlex.split(c['command']) for c in json.loads(done.stdout)}


def build(mutant):
    """The programs with a changed copy of one source"""
    known = commands()
    OUT.mkdir(parents=True, exist_ok=True)
    text = (QEMU / mutant.source).read_text()
    if text.count(mutant.old) != 1:
        sys.exit(f'mutant {mutant.name} no longer fits the source')
    copy = OUT / f'{mutant.name}.c'
    copy.write_text(text.replace(mutant.old, mutant.new))
    plain = f'libblock.a.p/{mutant.source.replace("/", "_")}.o'
    words = known[plain]
    for option in ('-o', '-MF', '-MQ'):
        words[words.index(option) + 1] = str(OUT / f'{mutant.name}.o')
    words[words.index('-MF') + 1] += '.d'
    words[words.index('-c') + 1] = str(copy)
    run([*words, f'-I{(QEMU / mutant.source).parent}', '-Wno-error'])
    for program in PROGRAMS:
        words = known[program]
        words[words.index(plain)] = str(OUT / f'{mutant.name}.o')
        # Firmware is looked for beside it
        words[words.index('-o') + 1] = f'{program}-mutant'
        run(words)
    return [OBJ / f'{program}-mutant' for program in PROGRAMS]


def run(words):
    done = subprocess.run(words, cwd=OBJ, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f'{shlex.join(words)}\n{done.stdout}')
