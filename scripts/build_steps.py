# Compile each step of the series, and run the tests that it brings; for
# scripts/series --build.
#
# build/series-build/qemu is QEMU's source with the steps up to one of them, and
# build/series-build/obj its build directory; so only what a step changes is
# compiled.  results.json names what has been built without a failure, by a hash of
# all that goes into it; log/ has the output of those that failed.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from tree import BUILD, PRISTINE, die

DIR = BUILD / 'series-build'
SOURCE = DIR / 'qemu'
OBJ = DIR / 'obj'
RESULTS = DIR / 'results.json'
INSTALLED = DIR / 'installed.json'
LOG = DIR / 'log'
PROGRAMS = ['qemu-img', 'qemu-io', 'qemu-nbd', 'qemu-system-x86_64',
            'storage-daemon/qemu-storage-daemon']
TIMEOUT = 1800      # seconds, of one test


def link_or_copy(source, target):
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def environment():
    """Let ccache, if it is there, know the same file in another tree."""
    env = dict(os.environ)
    env.setdefault('CCACHE_BASEDIR', str(DIR))
    env.setdefault('CCACHE_NOHASHDIR', '1')
    compiler = shutil.which('cc')
    if (shutil.which('ccache') and compiler and 'CC' not in env and
            'ccache' not in os.path.realpath(compiler)):
        env['CC'] = 'ccache cc'
    return env


def git(tree, *args):
    return subprocess.run(('git',) + args, cwd=tree, check=True,
                          stdout=subprocess.PIPE).stdout


def install(tree, commit, paths):
    """Make these files of the source what they are in a commit, or pristine."""
    known = set(os.fsdecode(git(tree, 'ls-tree', '-r', '-z', '--name-only',
                                commit)).split('\0'))
    for path in paths:
        target = SOURCE / path
        if path not in known:
            target.unlink(missing_ok=True)
            continue
        data = git(tree, 'show', f'{commit}:{path}')
        if target.exists() and target.read_bytes() == data:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        # Never write into the file: it may be a link to that of pristine.
        new = target.with_name(target.name + '.new')
        new.write_bytes(data)
        mode = git(tree, 'ls-tree', commit, '--', path).split()[0]
        new.chmod(0o755 if mode == b'100755' else 0o644)
        new.rename(target)


def forget_others(paths):
    """Have pristine what an earlier series changed, and this one does not."""
    earlier = json.loads(INSTALLED.read_text()) if INSTALLED.exists() else []
    for path in set(earlier) - set(paths):
        (SOURCE / path).unlink(missing_ok=True)
        if (PRISTINE / path).is_file():
            # Not a link: it has to be newer than what was compiled of it.
            shutil.copy(PRISTINE / path, SOURCE / path)
    INSTALLED.write_text(json.dumps(paths))


def options():
    """Those of the build that is there; a warning is an error here.

    Without optimization a file takes a third of the time, and there are 1,400
    of them where a step changes a header that all have.
    """
    return ((BUILD / 'obj/options').read_text().strip() +
            ' --enable-werror -Doptimization=0 -Ddebug=false')


def set_up(env):
    """The source and its build directory, if they are not as they must be."""
    wanted = json.dumps([(PRISTINE / 'VERSION').read_text(), options()])
    made_for = DIR / 'made-for'
    if not made_for.exists() or made_for.read_text() != wanted:
        shutil.rmtree(DIR, ignore_errors=True)
        DIR.mkdir()
        shutil.copytree(PRISTINE, SOURCE, symlinks=True,
                        copy_function=link_or_copy,
                        ignore=lambda directory, _: {'.pc'}
                        if Path(directory) == PRISTINE else ())
        OBJ.mkdir()
    elif (OBJ / 'build.ninja').exists():
        return
    # It is gone where meson was interrupted when it made it anew.
    done = subprocess.run(f'../qemu/configure {options()}', shell=True, cwd=OBJ,
                          env=env, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode:
        die(f"QEMU's configure failed:\n{done.stdout[-2000:]}")
    made_for.write_text(wanted)


def firmware():
    """QEMU's tests look for it only where an uninstalled QEMU would have it."""
    here = BUILD / 'obj/qemu-bundle/usr/local/share/qemu'
    there = OBJ / 'qemu-bundle/usr/local/share/qemu'
    if here.is_dir():
        there.mkdir(parents=True, exist_ok=True)
        for file in here.iterdir():
            if not os.path.lexists(there / file.name):
                (there / file.name).symlink_to(file.resolve())


def names(paths, pattern):
    return sorted({match.group(1) for match in
                   (re.fullmatch(pattern, path) for path in paths) if match})


def unit_tests(paths):
    return [f'tests/unit/{name}' for name in
            names(paths, r'tests/unit/(test-[\w-]+)\.c')]


def qtests(paths):
    return [f'tests/qtest/{name}' for name in
            names(paths, r'tests/qtest/([\w-]+-test)\.c')]


def preloaded(paths):
    """What tests preload, and no program is linked with"""
    return (['tests/qtest/libhost-zoned.so']
            if 'tests/host-zoned/preload.c' in paths else [])


def iotests(paths):
    return sorted(set(names(paths, r'tests/qemu-iotests/(?:tests/)?([\w-]+)')) |
                  set(names(paths, r'tests/qemu-iotests/(?:tests/)?([\w-]+)\.out')))


def test_commands(paths):
    """Name and command of each test that belongs to these files."""
    for test in unit_tests(paths) + qtests(paths):
        yield test, [OBJ / test, '--tap', '-k']
    for test in iotests(paths):
        yield f'iotest {test}', [
            '/usr/bin/python3', OBJ / 'tests/qemu-iotests/check', '-tap', '-qcow2',
            test, '--source-dir', SOURCE / 'tests/qemu-iotests',
            '--build-dir', OBJ / 'tests/qemu-iotests']


def run_tests(paths, env):
    """What failed, and what it printed."""
    env = dict(env, QTEST_QEMU_BINARY=str(OBJ / 'qemu-system-x86_64'),
               QTEST_QEMU_IMG=str(OBJ / 'qemu-img'),
               QTEST_QEMU_STORAGE_DAEMON_BINARY=str(
                   OBJ / 'storage-daemon/qemu-storage-daemon'),
               PYTHON='/usr/bin/python3', TEST_DIR=str(DIR / 'scratch'))
    (DIR / 'scratch').mkdir(exist_ok=True)
    failed = []
    said = ''
    count = 0
    for name, command in test_commands(paths):
        count += 1
        try:
            done = subprocess.run(command, cwd=OBJ / 'tests/qemu-iotests', env=env,
                                  stdin=subprocess.DEVNULL, text=True,
                                  errors='replace', timeout=TIMEOUT,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            output, bad = done.stdout, done.returncode != 0
        except subprocess.TimeoutExpired:
            output, bad = 'timeout\n', True
        if bad or re.search(r'^not ok', output, re.M):
            failed.append(name)
            said += f'--- {name}\n{output}'
    return count, failed, said


def compile_step(tests, env):
    """The output of ninja if it failed."""
    done = subprocess.run(['ninja', '-C', OBJ, '-k', '0', *PROGRAMS, *tests],
                          env=env, text=True, errors='replace',
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout if done.returncode else None


def first_errors(output):
    """The lines that tell most of what went wrong."""
    lines = [line for line in output.splitlines()
             if re.search(r'error:|undefined reference|ERROR|^not ok|^--- ', line)]
    return lines[:8] or output.splitlines()[-8:]


def digest_of(tree, commit):
    # What is as in pristine does not count, whether a later step changes it or not.
    inputs = [git(tree, 'diff-tree', '-r', 'base', commit).decode(),
              (PRISTINE / 'VERSION').read_text(), options()]
    return hashlib.sha256('\0'.join(inputs).encode()).hexdigest()


def build_step(tree, step, paths, present, tests_of, env):
    """What is to be said of a step, and what it printed if it failed."""
    begin = time.monotonic()
    install(tree, step.commit, paths)
    firmware()
    output = compile_step(unit_tests(present) + qtests(present) +
                          preloaded(present), env)
    if output is None:
        count, failed, output = run_tests(tests_of, env)
        if not failed:
            return f'ok ({time.monotonic() - begin:.0f} s, {count} tests)', None
        return f'FAILED: {", ".join(failed)}', output
    return 'DOES NOT BUILD', output


def build(tree, steps, paths, first, last):
    """Build the steps from number first to last (None: to the end)."""
    if not (BUILD / 'obj/options').exists():
        die('QEMU is not configured; run ./configure')
    env = environment()
    set_up(env)
    forget_others(paths)
    LOG.mkdir(exist_ok=True)
    results = set(json.loads(RESULTS.read_text())) if RESULTS.exists() else set()
    bad = []
    done = 0
    # A test of QEMU's that a step changes is there from the beginning.
    changed = {path for step in steps for path in step.paths}
    for number, step in enumerate(steps, 1):
        if number < first or last is not None and number > last:
            continue
        present = [path for earlier in steps[:number] for path in earlier.files]
        present += [path for path in changed if (PRISTINE / path).exists()]
        label = f'{number}/{len(steps)} {os.path.splitext(step.name)[0]}'
        digest = digest_of(tree, step.commit)
        done += 1
        if digest in results:
            print(f'{label}: built before', flush=True)
            continue
        # The last step is all there is: so is what it has to pass.
        tests_of = (present if number == len(steps) else
                    step.files + step.paths)
        said, output = build_step(tree, step, paths, present, tests_of, env)
        print(f'{label}: {said}', flush=True)
        log = LOG / f'{number:03}-{Path(step.name).stem}.log'
        log.unlink(missing_ok=True)
        if output is None:
            results.add(digest)
            RESULTS.write_text(json.dumps(sorted(results)))
            continue
        bad.append(label)
        log.write_text(output)
        for line in first_errors(output):
            print(f'    {line[:160]}', flush=True)
    print(f'series: {done - len(bad)} of {done} steps build and pass their tests')
    if bad:
        die('these do not: ' + ', '.join(bad) + f' (output in {os.path.relpath(LOG)})')
