# Compile programs that are linked with QEMU's block layer, as its unit tests are;
# the flags come from QEMU's own build.  And zone-workload, also with mutants of the
# block layer in it.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import fcntl
import functools
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get('QEMU_BUILD') or
             HERE.parent.parent / 'build').absolute()
QEMU = BUILD / 'qemu'
OBJ = BUILD / 'obj'
# A program that is linked with the same libraries
MODEL = 'tests/unit/test-zone-threads'
OUT = OBJ / 'tests/crash'
# The sources of zone-workload, and those that mutants change
WORKLOAD = 'zone-workload', 'crash-disk', 'crash-jobs'
MUTATED = ('block/*zone*.c', 'block/qcow2-cluster.c', 'block.c', 'block/commit.c',
           'block/mirror.c', 'block/stream.c')


def run(command):
    done = subprocess.run(command, cwd=OBJ, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f'{shlex.join(map(str, command))}\n{done.stdout}')
    return done.stdout


@functools.cache
def compile_flags():
    """Those of the model's own source, without its name and output."""
    commands = json.loads((OBJ / 'compile_commands.json').read_text())
    command = next(c['command'] for c in commands
                   if c['file'].endswith(f'{MODEL}.c'))
    words = shlex.split(command)
    for option in ('-o', '-MF', '-MQ', '-c'):
        at = words.index(option)
        del words[at:at + 2]
    return [word for word in words if word not in ('-MD', '-flto')]


def compile_object(source, out, directory, *options):
    run([*compile_flags(), *options, f'-I{directory}', '-o', out, '-c', source])
    return out


@functools.cache
def link_command():
    return shlex.split(run(['ninja', '-t', 'commands', MODEL]).splitlines()[-1])


def link(out, objects, replaced=(), options=()):
    """
    Objects come first, so what they define wins over the library's; those in
    @replaced are left out.
    """
    words = link_command()
    at = words.index('-o')
    rest = [w for w in words[at + 2:]
            if w not in replaced and not w.startswith(f'{MODEL}.p/test-')]
    run([*words[:at + 1], str(out), *options, *map(str, objects), *rest,
         '-Wl,--allow-multiple-definition'])


def is_current(out, sources):
    return out.exists() and out.stat().st_mtime > max(
        Path(source).stat().st_mtime for source in sources)


def build_program(out, *sources):
    """A program with what all of them have in common, if it is not there yet."""
    out.parent.mkdir(exist_ok=True)
    sources = [*sources, HERE / 'block-program.c']
    with open(out.parent / 'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)        # several suites have the same ones
        if not is_current(out, [*sources, *HERE.glob('*.h'), __file__,
                                *OBJ.glob('libblock.a.p/*.o')]):
            link(out, [compile_object(source, out.parent / f'{source.stem}.o', HERE)
                       for source in sources])
    return out


def build():
    """The program, with the block layer as it is."""
    return build_program(OUT / 'zone-workload',
                         *(HERE / f'{name}.c' for name in WORKLOAD))


def build_mutant(mutant):
    """The program with changed copies of files in the block layer."""
    build()
    texts = {source: source.read_text() for pattern in MUTATED
             for source in QEMU.glob(pattern)}
    changed = {}
    for old, new in ((mutant.old, mutant.new), *mutant.also):
        sources = [source for source, text in texts.items() if old in text]
        if len(sources) != 1 or texts[sources[0]].count(old) != 1:
            sys.exit(f'mutant {mutant.name} no longer fits the source')
        changed[sources[0]] = texts[sources[0]] = texts[sources[0]].replace(old, new)
    out = OUT / f'zone-workload-{mutant.name}'
    objects = [OUT / f'{name}.o' for name in (*WORKLOAD, 'block-program')]
    for source, text in changed.items():
        copy = OUT / f'{mutant.name}-{source.name}'
        copy.write_text(text)
        objects.append(compile_object(copy, copy.with_suffix('.o'), QEMU / 'block',
                                      '-O0'))
    link(out, objects)
    return out
