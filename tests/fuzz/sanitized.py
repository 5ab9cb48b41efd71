# Compile zone-fuzz with sanitizers, and QEMU's block layer in it.
#
# Only the files that an image from anywhere gets to see are compiled once more;
# all others are taken from QEMU's build as they are.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import os
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'crash'))

import program
from program import OBJ, QEMU

OUT = OBJ / 'tests/fuzz'
SANITIZE = ['-fsanitize=address,undefined', '-fno-sanitize-recover=undefined',
            '-fno-omit-frame-pointer', '-g', '-O1', '-Wno-error',
            '-U_FORTIFY_SOURCE']
WATCHED = ['block.c', 'block/block-backend.c', 'block/io.c', 'block/qcow2*.c',
           'block/snapshot.c', 'block/zone*.c', 'util/iov.c', 'util/hbitmap.c',
           # The sanitizer has to know where the stacks are
           'util/coroutine-ucontext.c']
ENVIRONMENT = {
    'ASAN_OPTIONS': 'detect_leaks=0:max_allocation_size_mb=1024:'
                    'allocator_may_return_null=0:quarantine_size_mb=16',
    'UBSAN_OPTIONS': 'print_stacktrace=1',
}


def commands():
    """How QEMU's build compiles: words by source, relative to QEMU's tree"""
    found = {}
    for entry in json.loads((OBJ / 'compile_commands.json').read_text()):
        path = Path(os.path.normpath(OBJ / entry['file']))
        if path.is_relative_to(QEMU):
            found[str(path.relative_to(QEMU))] = shlex.split(entry['command'])
    return found


def compiled(command, source, out, more=()):
    """The object of @source, compiled as @command does it; only if it is old."""
    at = command.index('-c')
    words = command[:at] + command[at + 2:]
    depends = out.with_suffix('.d')
    for option, value in (('-o', out), ('-MF', depends), ('-MQ', out)):
        words[words.index(option) + 1] = str(value)
    if not is_current(out, depends):
        program.run([word for word in words if word != '-flto'] +
                    [*SANITIZE, *more, '-c', str(source)])
    return out


def is_current(out, depends):
    if not out.exists() or not depends.exists():
        return False
    rule = depends.read_text().replace('\\\n', ' ')
    sources = rule.split(':', 1)[1].split('\n')[0].split()
    return program.is_current(out, [__file__, *(OBJ / name for name in sources)])


def watched_sources():
    known = commands()
    names = [str(path.relative_to(QEMU)) for pattern in WATCHED
             for path in sorted(QEMU.glob(pattern))]
    return known, [name for name in names if name in known]


def build(changed=None, name='zone-fuzz'):
    """
    The program.  @changed is (source, text) of a file to be compiled with
    another text than it has; the result is called @name then.
    """
    OUT.mkdir(parents=True, exist_ok=True)
    known, sources = watched_sources()
    model = known[f'{program.MODEL}.c']
    jobs = [(known[name], QEMU / name, object_of(name)) for name in sources]
    jobs += [(model, source, OUT / f'{source.stem}.o', [f'-I{program.HERE}'])
             for source in (HERE / 'zone-fuzz.c', program.HERE / 'block-program.c')]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda job: compiled(*job), jobs))
    replaced = {f'libblock.a.p/{name.replace("/", "_")}.o' for name in sources}
    if changed:
        source, text = changed
        copy = OUT / f'{name}.c'
        copy.write_text(text)
        objects[sources.index(source)] = compiled(
            known[source], copy, OUT / f'{name}.o', [f'-I{QEMU / "block"}'])
    out = OUT / name
    if not program.is_current(out, [*objects, __file__]):
        program.link(out, objects, replaced, SANITIZE)
    return out


def object_of(source):
    return OUT / (source.replace('/', '_') + '.o')
