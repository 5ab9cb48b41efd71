#!/usr/bin/python3
# Break each check of the scripts once; the tests beside this file must notice.
#
# Usage: tests/scripts/mutants.py [WORD...]     those with all these words
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sandbox import TOP

# By test file: the script, the tests that have to fail (words in their names), what
# stands once in the script, and what stands there instead.
MUTANTS = {
    'test_series.py': [
        ('series', 'wide', 'if len(line) > MESSAGE_WIDTH', 'if len(line) > 999'),
        ('series', 'header_that', '    if late:\n', '    if False:\n'),
        ('series', 'compile_a', 'arrives.get(used, -1) > number',
         'arrives.get(used, -1) < -1'),
        ('series', 'compile_a', "if Path(path).name == 'meson.build':", 'if False:'),
        ('tree.py', 'step_of_our', "r'#step |[^#\\s]'", "r'[^#\\s]'"),
        ('series', 'header_that', '    if include:\n', '    if False:\n'),
        ('series', 'interface', '        if module:\n', '        if False:\n'),
        ('series', 'sees_a', '    if different:\n', '    if False:\n'),
        ('series', 'claim_without', 'if not claimed:', 'if False:'),
        ('series', 'without_a_message', 'if not message:', 'if False:'),
        ('series', 'unclaimed', '    if left:\n', '    if False:\n'),
        ('series', 'author', 'self.author = author.group(1) if author else None',
         'self.author = None'),
        ('series', 'each_dir', "'--empty=drop', ", ''),
        ('series', 'each_dir', "'*** BLURB HERE ***', body.strip()",
         "'*** BLURB HERE ***', ''"),
        ('series', 'each_dir', '        start = end\n', ''),
        ('series', 'of_checkpatch', '    if bad:\n', '    if False:\n'),
        ('series', 'of_checkpatch',
         "if found.group(1) == 'WARNING' and what in ACCEPTED_WARNINGS:",
         "if found.group(1) == 'WARNING':"),
        ('series', 'of_checkpatch', "if found.group(1) == 'WARNING' and what",
         'if what'),
        ('series', 'ranges',
         "options - {'--check', '--checkpatch', '--build'} or first",
         'first'),
        ('series', 'ranges', 'last is not None and last < first', 'False'),
        ('series', 'ranges', 'if first > len(steps):', 'if False:'),
        ('build_steps.py', 'warnings_are', "+ ' --enable-werror'", ''),
        ('build_steps.py', 'builds_each', 'new.rename(target)',
         'open(target, "wb").write(data) if target.exists() else new.rename(target)'),
        ('build_steps.py', 'not_build',
         'return done.stdout if done.returncode else None',
         'return None'),
        ('build_steps.py', 'runs', "if bad or re.search(r'^not ok', output, re.M):",
         "if re.search(r'^not ok', output, re.M):"),
        ('build_steps.py', 'runs', "if bad or re.search(r'^not ok', output, re.M):",
         'if bad:'),
        ('build_steps.py', 'builds_each', 'if digest in results:', 'if True:'),
        ('build_steps.py', 'only_what', 'if digest in results:', 'if False:'),
        ('build_steps.py', 'not_build',
         '        if output is None:\n            results.add',
         '        if True:\n            results.add'),
        ('build_steps.py', 'only_what',
         "git(tree, 'diff-tree', '-r', 'base', commit).decode(),",
         ''),
        ('build_steps.py', 'builds_without', '    forget_others(paths)\n', ''),
        ('build_steps.py', 'interrupted',
         "    elif (OBJ / 'build.ninja').exists():\n", '    else:\n'),
        ('build_steps.py', 'builds_a_range', 'if number < first or', 'if'),
        ('build_steps.py', 'builds_a_range', 'last is not None and number > last',
         'False'),
        ('build_steps.py', 'not_build', '    if bad:\n', '    if False:\n'),
    ],
    'test_overlay.py': [
        ('tree.py', 'other_hunks_that',
         'own is None or (own and hunks_id(hunks) not in diff.split())',
         'own is None'),
        ('tree.py', 'unknown_version', 'return max(fitting', 'return min(fitting'),
        ('tree.py', 'no_other', 'return own_series() + [', 'return ['),
        ('tree.py', 'of_no_patch', '        if name not in series():\n',
         '        if False:\n'),
        ('tree.py', 'no_hunks', "    if not split_patch(diff)[1]:\n        return ''\n",
         ''),
        ('tree.py', 'executable', "+ ('x' if executable else '')", ''),
        ('overlay', 'hide', '    if hidden:\n', '    if False:\n'),
        ('overlay', 'our_own', '    if both:\n', '    if False:\n'),
        ('overlay', 'failing_patch', '    if quilt.returncode:\n', '    if False:\n'),
        ('overlay', 'fuzz', "'--fuzz=0'", "'--fuzz=2'"),
        ('overlay', 'of_a_patched',
         'if sha256(QEMU / path) not in (None, recorded, wanted):',
         'if False:'),
        ('overlay', 'of_our_file',
         'if sha256(QEMU / path) not in (None, digest, sha256(TOP / path)):',
         'if False:'),
        ('overlay', 'one_more', 'for path in sorted(quilt_paths() | set(',
         'for path in sorted(set('),
        ('overlay', 'force', 'if edits and not force:', 'if edits:'),
        ('overlay', 'edits', 'if edits and not force:', 'if False:'),
        ('overlay', 'is_named', 'if number(qemu_version()) != number(version):',
         'if False:'),
        ('overlay', 'is_named', 'if version != versions()[0]:', 'if False:'),
        ('overlay', 'of_the_version', '    take_refreshed()\n', ''),
        ('overlay', 'quilt_made', '        if not written.exists():\n            die(',
         '        if False:\n            die('),
        ('overlay', 'meanwhile',
         'if name not in overrides() or patch_text(name) != written.read_text():',
         'if False:'),
        ('overlay', 'deleted', '    lost = any(', '    lost = False and any('),
        ('overlay', 'second_run', 'if sha256(source) == sha256(target):', 'if False:'),
        ('overlay', 'executable', '    new.chmod(source.stat().st_mode)\n', ''),
        ('overlay', 'is_gone', "for path in set(state['overlay']) - set(files)",
         'for path in ()'),
        ('overlay', 'without_source', "if not (PRISTINE / 'VERSION').exists():",
         'if False:'),
    ],
    'test_port.py': [
        ('port', 'looks_right',
         "    if apply(hunks) and git('write-tree').stdout == merged:",
         '    if apply(hunks):'),
        ('port', 'conflict_stops', '    if left:\n', '    if False:\n'),
        ('port', 'conflict_stops',
         '    if not merge(commit_of_default):\n        stop(name)\n',
         '    merge(commit_of_default)\n'),
        ('port', 'the_default', 'if patches_version() == versions()[0]:', 'if False:'),
        ('port', 'once',
         '    RESOLVED.mkdir(exist_ok=True)\n'
         "    (REPOSITORY / '.git/rr-cache').symlink_to(RESOLVED)\n",
         ''),
        ('port', 'still_fits', 'if own and hunks_id(hunks) not in diff.split():',
         'if False:'),
        ('port', 'not_fit', 'if own is not None and apply(own):',
         'if apply(own or ""):'),
        ('port', 'not_needed', '        path.unlink(missing_ok=True)\n', ''),
        ('port', 'source_of', "    die(f'there is no source of QEMU", "    print(f'x"),
        ('port', 'do_not_apply',
         "            die(f'patches/{name} does not apply to QEMU",
         "            print(f'"),
        ('port', 'do_not_apply',
         "            die(f'patches/{patches_version()}/{name} does not",
         "            print(f'"),
        ('port', 'come_first', '    for name in own_series():\n',
         '    for name in ():\n'),
        ('tree.py', 'still_fits',
         "    words = re.sub(r'^Of hunks: .*\\n', '', words, flags=re.M)\n",
         "    words = ''\n"),
    ],
    'test_configure.py': [
        ('../configure', 'other_version', 'is_known "$version" ||', 'true ||'),
        ('../configure', 'does_not_fit', 'is_known "$version" ||', 'true ||'),
        ('../configure', 'does_not_fit', 'cp -a --reflink=auto', 'mv'),
        ('../configure', 'does_not_fit', 'scripts/overlay\nconfigure_qemu\n',
         'scripts/overlay || true\nconfigure_qemu\n'),
        ('overlay', 'does_not_fit', '    if quilt.returncode:\n', '    if False:\n'),
        ('overlay', 'does_not_fit',
         "        sys.stderr.write(quilt.stdout)\n        die(f'the",
         "        die(f'the"),
        ('overlay', 'does_not_fit', 'if number(qemu_version()) != number(version):',
         'if False:'),
        ('../configure', 'fetches',
         '"${wanted:-$default}" | "${wanted:-$default}".*) ;;',
         '*) ;;'),
        ('../configure', 'without_patches', 'is_listed "$wanted" ||', 'true ||'),
        ('../configure', 'without_patches', '[ -z "$source" ] || [ -z "$wanted" ] ||',
         'true ||'),
        ('../configure', 'its_own_build', '"$(pwd -P)"/build/* | "$build"/*) die',
         'none) die'),
        ('../configure', 'in_the_source', '"${source:-/dev/null}"/*) die', 'none) die'),
        ('../configure', 'in_the_source', '[ "$build" != "$top" ] ||', 'true ||'),
        ('../configure', 'cost_edits',
         '[ ! -d "$build/qemu" ] || scripts/overlay --check-edits ||',
         'true ||'),
        ('../configure', 'copies', '        .git | build) ;;\n', ''),
        ('../configure', 'copies', 'cp -a --reflink=auto', 'mv'),
        ('../configure', 'not_qemu', '[ -n "$version" ] && [ -f "$1/block/qcow2.c" ]',
         'true ||'),
    ],
}


def run(test, path, names, old, new):
    """The points of a test file that fail when a script is broken so."""
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
                               names], cwd=top, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True).stdout
    return re.findall(r'^not ok \d+ - (.*)', said, re.M)


def main(words):
    survived = 0
    for test, mutants in MUTANTS.items():
        for path, names, old, new in mutants:
            name = f'{path}: {old.strip()} -> {new.strip() or "nothing"}'
            if not all(word in f'{test} {names} {name}' for word in words):
                continue
            failed = run(test, path, names, old, new)
            survived += not failed
            print((f'noticed by {failed[0]}' if failed else 'NOT NOTICED') +
                  f'\n    {" ".join(name.split())}',
                  flush=True)
    return f'{survived} mutants were not noticed' if survived else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
