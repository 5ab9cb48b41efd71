#!/usr/bin/python3
# Break each check of the scripts once; the tests beside this file must notice.
#
# Usage: tests/scripts/mutants.py [WORD...]     those with a WORD in them
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sandbox import TOP

# The file, what stands there once, and what stands there instead; by test file.
MUTANTS = {
    'test_series.py': [
        ('series', 'if len(line) > MESSAGE_WIDTH', 'if len(line) > 999'),
        ('series', '    if late:\n', '    if False:\n'),
        ('series', 'arrives.get(used, -1) > number', 'arrives.get(used, -1) < -1'),
        ('series', "if Path(path).name == 'meson.build':", 'if False:'),
        ('series', '    if include:\n', '    if False:\n'),
        ('series', '        if module:\n', '        if False:\n'),
        ('series', '    if different:\n', '    if False:\n'),
        ('series', 'if not claimed:', 'if False:'),
        ('series', 'if not message:', 'if False:'),
        ('series', '    if left:\n', '    if False:\n'),
        ('series', "self.author = author.group(1) if author else None",
         'self.author = None'),
        ('series', "'--empty=drop', ", ''),
        ('series', "'*** BLURB HERE ***', body.strip()",
         "'*** BLURB HERE ***', ''"),
        ('series', '        start = end\n', ''),
        ('series', '    if bad:\n', '    if False:\n'),
        ('series', "if found.group(1) == 'WARNING' and what in ACCEPTED_WARNINGS:",
         "if found.group(1) == 'WARNING':"),
        ('series', "if found.group(1) == 'WARNING' and what", 'if what'),
        ('series', "options - {'--check', '--checkpatch', '--build'} or first",
         'first'),
        ('series', 'last is not None and last < first', 'False'),
        ('series', 'if first > len(steps):', 'if False:'),
        ('build_steps.py', "+ ' --enable-werror'", ''),
        ('build_steps.py', 'new.rename(target)',
         'open(target, "wb").write(data) if target.exists() else new.rename(target)'),
        ('build_steps.py', 'return done.stdout if done.returncode else None',
         'return None'),
        ('build_steps.py', "if bad or re.search(r'^not ok', output, re.M):",
         "if re.search(r'^not ok', output, re.M):"),
        ('build_steps.py', "if bad or re.search(r'^not ok', output, re.M):",
         'if bad:'),
        ('build_steps.py', 'if digest in results:', 'if True:'),
        ('build_steps.py', 'if digest in results:', 'if False:'),
        ('build_steps.py', '        if output is None:\n            results.add',
         '        if True:\n            results.add'),
        ('build_steps.py', "git(tree, 'diff-tree', '-r', 'base', commit).decode(),",
         ''),
        ('build_steps.py', 'if number < first or', 'if'),
        ('build_steps.py', 'last is not None and number > last', 'False'),
        ('build_steps.py', '    if bad:\n', '    if False:\n'),
    ],
    'test_overlay.py': [
        ('tree.py', 'own is None or (own and hunks_id(hunks) not in diff.split())',
         'own is None'),
        ('tree.py', 'return max(fitting', 'return min(fitting'),
        ('tree.py', 'return own_series() + [', 'return ['),
        ('tree.py', '        if name not in series():\n', '        if False:\n'),
        ('tree.py', "    if not split_patch(diff)[1]:\n        return ''\n", ''),
        ('tree.py', "+ ('x' if executable else '')", ''),
        ('overlay', '    if hidden:\n', '    if False:\n'),
        ('overlay', '    if both:\n', '    if False:\n'),
        ('overlay', '    if quilt.returncode:\n', '    if False:\n'),
        ('overlay', "'--fuzz=0'", "'--fuzz=2'"),
        ('overlay', 'if sha256(QEMU / path) not in (None, recorded, wanted):',
         'if False:'),
        ('overlay',
         'if sha256(QEMU / path) not in (None, digest, sha256(TOP / path)):',
         'if False:'),
        ('overlay', 'for path in sorted(quilt_paths() | set(',
         'for path in sorted(set('),
        ('overlay', 'if edits and not force:', 'if edits:'),
        ('overlay', 'if edits and not force:', 'if False:'),
        ('overlay', 'if number(qemu_version()) != number(version):', 'if False:'),
        ('overlay', 'if version != versions()[0]:', 'if False:'),
        ('overlay', '    take_refreshed()\n', ''),
        ('overlay', '        if not written.exists():\n            die(',
         '        if False:\n            die('),
        ('overlay',
         'if name not in overrides() or patch_text(name) != written.read_text():',
         'if False:'),
        ('overlay', '    lost = any(', '    lost = False and any('),
        ('overlay', 'if sha256(source) == sha256(target):', 'if False:'),
        ('overlay', '    new.chmod(source.stat().st_mode)\n', ''),
        ('overlay', 'for path in set(state[\'overlay\']) - set(files)',
         'for path in ()'),
        ('overlay', "if not (PRISTINE / 'VERSION').exists():", 'if False:'),
    ],
    'test_port.py': [
        ('port', "    if apply(hunks) and git('write-tree').stdout == merged:",
         '    if apply(hunks):'),
        ('port', '    if left:\n', '    if False:\n'),
        ('port', '    if not merge(commit_of_default):\n        stop(name)\n',
         '    merge(commit_of_default)\n'),
        ('port', 'if patches_version() == versions()[0]:', 'if False:'),
        ('port', '    RESOLVED.mkdir(exist_ok=True)\n'
         "    (REPOSITORY / '.git/rr-cache').symlink_to(RESOLVED)\n", ''),
        ('port', 'if own and hunks_id(hunks) not in diff.split():', 'if False:'),
        ('port', 'if own is not None and apply(own):', 'if apply(own or ""):'),
        ('port', '        path.unlink(missing_ok=True)\n', ''),
        ('port', "    die(f'there is no source of QEMU", "    print(f'x"),
        ('port', "            die(f'patches/{name} does not apply to QEMU",
         "            print(f'"),
        ('port', "            die(f'patches/{patches_version()}/{name} does not",
         "            print(f'"),
        ('port', '    for name in own_series():\n', '    for name in ():\n'),
        ('tree.py', "    words = re.sub(r'^Of hunks: .*\\n', '', words, "
         'flags=re.M)\n', "    words = ''\n"),
    ],
    'test_configure.py': [
        ('../configure', 'is_known "$version" ||', 'true ||'),
        ('../configure', '"${wanted:-$default}" | "${wanted:-$default}".*) ;;',
         '*) ;;'),
        ('../configure', 'is_listed "$wanted" ||', 'true ||'),
        ('../configure', '[ -z "$source" ] || [ -z "$wanted" ] ||', 'true ||'),
        ('../configure', '"$(pwd -P)"/build/* | "$build"/*) die', 'none) die'),
        ('../configure', '"${source:-/dev/null}"/*) die', 'none) die'),
        ('../configure', '[ "$build" != "$top" ] ||', 'true ||'),
        ('../configure', '[ ! -d "$build/qemu" ] || scripts/overlay --check-edits ||',
         'true ||'),
        ('../configure', '        .git | build) ;;\n', ''),
        ('../configure', 'cp -a --reflink=auto', 'mv'),
        ('../configure', '[ -n "$version" ] && [ -f "$1/block/qcow2.c" ]',
         'true ||'),
    ],
}

# In the names of those tests that build something
BUILD_WORDS = ['build', 'runs', 'warnings_are', 'ranges']


def run(test, path, old, new):
    """The first point of a test file that fails when a script is broken so."""
    words = BUILD_WORDS if path == 'build_steps.py' else []
    with tempfile.TemporaryDirectory() as tmp:
        top = Path(tmp)
        for name in ('scripts', 'tests/scripts', 'patches'):
            shutil.copytree(TOP / name, top / name)
        shutil.copy(TOP / 'configure', top)
        script = top / 'scripts' / path
        text = script.read_text()
        if text.count(old) != 1:
            sys.exit(f'{old!r} is not in {path} once')
        script.write_text(text.replace(old, new))
        said = subprocess.run([sys.executable, f'tests/scripts/{test}',
                               '--failfast', *words], cwd=top, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True).stdout
    return re.findall(r'^not ok \d+ - (.*)', said, re.M)


def main(words):
    survived = 0
    for test, mutants in MUTANTS.items():
        for path, old, new in mutants:
            name = f'{path}: {old.strip()} -> {new.strip() or "nothing"}'
            if not all(word in f'{test} {name}' for word in words):
                continue
            failed = run(test, path, old, new)
            survived += not failed
            print((f'noticed by {failed[0]}' if failed else 'NOT NOTICED') +
                  f'\n    {" ".join(name.split())}',
                  flush=True)
    return f'{survived} mutants were not noticed' if survived else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
