# What this repository adds to QEMU, as data: the overlay files and the series.
# For the scripts beside it; knows nothing of how QEMU is built.
#
# Environment: QEMU_BUILD  the build directory, if it is not build
#
# SPDX-License-Identifier: GPL-2.0-or-later

import difflib
import fnmatch
import functools
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get('QEMU_BUILD') or TOP / 'build').absolute()
PRISTINE = BUILD / 'pristine'
QEMU = BUILD / 'qemu'
PATCHES = TOP / 'patches'

# Below these, every file is QEMU's from the day the series is applied ...
OVERLAY_DIRS = ('block', 'docs', 'hw', 'include', 'qapi', 'tests')
# ... but for what serves this repository only.
LOCAL = ('docs/devel/building.rst', 'docs/devel/zoned-defects.rst',
         'tests/bench/*', 'tests/crash/*', 'tests/distributed/*',
         'tests/fuzz/*', 'tests/guest/*', 'tests/scripts/*', 'tests/stress/*',
         '*/__pycache__/*', '*~', '*.orig', '*.rej', '*.swp')


def die(message):
    sys.exit(f'{Path(sys.argv[0]).name}: {message}')


def _files_by_git():
    """Tracked and new files, or None where git does not know TOP."""
    def git(*args):
        return subprocess.run(('git', '-C', TOP) + args, check=True,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL).stdout
    try:
        if Path(os.fsdecode(git('rev-parse', '--show-toplevel').strip())) != TOP:
            return None
        names = git('ls-files', '-coz', '--exclude-standard', '--',
                    *OVERLAY_DIRS)
    except (OSError, subprocess.CalledProcessError):
        return None
    return [os.fsdecode(name) for name in names.split(b'\0') if name]


def _files_by_walking():
    return [str(path.relative_to(TOP)) for directory in OVERLAY_DIRS
            for path in (TOP / directory).rglob('*')]


def overlay_files():
    """Sorted paths of our files, relative to the top of both trees."""
    names = _files_by_git()
    if names is None:
        names = _files_by_walking()
    return sorted({name for name in names if (TOP / name).is_file() and
                   not any(fnmatch.fnmatchcase(name, local) for local in LOCAL)})


def _table(name):
    """The words of each line of a file in patches/; # begins a comment."""
    try:
        lines = (PATCHES / name).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [words for words in (line.split('#')[0].split() for line in lines)
            if words]


def own_series():
    """Names of the patches that only this version has; they apply first."""
    return [words[0] for words in _table(f'{patches_version()}/series')]


def series():
    """Names of the patches in the order in which they apply."""
    return own_series() + [words[0] for words in _table('series')]


def steps():
    """Names of the steps in their order.

    These are the patches and, in lines "#step NAME", which quilt skips, what has a
    message and files of ours and changes nothing of QEMU.
    """
    text = (PATCHES / 'series').read_text() if series() else ''
    names = [line.removeprefix('#step ').split('#')[0].strip()
             for line in text.splitlines() if re.match(r'#step |[^#\s]', line)]
    return own_series() + names


def versions():
    """Versions of QEMU that the patches are kept for, the default first."""
    return [words[0] for words in _table('versions')]


def number(version):
    """What two versions are compared by; 10.0 and 10.0.13 are one series."""
    return tuple(int(part) for part in re.findall(r'\d+', version)[:2])


@functools.lru_cache
def patches_version():
    """The version whose patches are for the source in build/pristine.

    For a version that the patches are not kept for, it is the last one before,
    or the default.
    """
    known = versions()
    try:
        wanted = number((PRISTINE / 'VERSION').read_text())
    except FileNotFoundError:
        return known[0]
    fitting = [version for version in known if number(version) <= wanted]
    return max(fitting, key=number, default=known[0])


def split_patch(text):
    """A patch as header and hunks."""
    start = re.search(r'^(?:diff |Index: |--- )', text, re.M)
    return (text[:start.start()], text[start.start():]) if start else (text, '')


def _read(path):
    try:
        return path.read_text()
    except FileNotFoundError:
        die(f'a series names {path.name}, and there is no '
            f'{path.relative_to(TOP)}')


def overrides():
    """Names of the patches that this version has other hunks for."""
    own = PATCHES / patches_version()
    return sorted(str(path.relative_to(own)).removesuffix('.diff')
                  for path in own.rglob('*.diff'))


def override_path(name):
    """What is different in the hunks of patches/name, as a diff of them."""
    return PATCHES / patches_version() / f'{name}.diff'


def patch_path(name):
    """The file that a patch is read from as it is; None where it has a diff."""
    if name in own_series():
        return PATCHES / patches_version() / name
    return None if override_path(name).exists() else PATCHES / name


def apply_override(hunks, diff):
    """The hunks of this version, from those of the default; None if it fails."""
    if not split_patch(diff)[1]:
        return ''
    with tempfile.TemporaryDirectory() as tmp:
        (Path(tmp) / 'hunks').write_text(hunks)
        done = subprocess.run(['patch', '-s', '-F0', '-r-', '-oown', 'hunks'],
                              cwd=tmp, input=diff, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return None if done.returncode else (Path(tmp) / 'own').read_text()


@functools.lru_cache(maxsize=None)
def patch_text(name):
    """A patch for this version."""
    if patch_path(name):
        return _read(patch_path(name))
    header, hunks = split_patch(_read(PATCHES / name))
    diff = override_path(name).read_text()
    own = apply_override(hunks, diff)
    if own is None or (own and hunks_id(hunks) not in diff.split()):
        die(f'{override_path(name).relative_to(TOP)} is for other hunks than '
            f'those of patches/{name}; scripts/port makes it anew')
    return header + own


def hunks_id(text):
    """Names the hunks of a patch, whatever its header says."""
    return hashlib.sha256(split_patch(text)[1].encode()).hexdigest()[:12]


def write_override(name, own):
    """Make the diff of a patch from its hunks for this version.

    What is above the diff stays, but for the line that says of which hunks.
    """
    path = override_path(name)
    hunks = split_patch(_read(PATCHES / name))[1]
    words = split_patch(path.read_text())[0] if path.exists() else ''
    words = re.sub(r'^Of hunks: .*\n', '', words, flags=re.M)
    diff = difflib.unified_diff(hunks.splitlines(True), own.splitlines(True),
                                name, name, n=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{words}Of hunks: {hunks_id(hunks)}\n{"".join(diff)}')
    patch_text.cache_clear()


def refuse_stray_overrides():
    for name in overrides():
        if name not in series():
            die(f'{override_path(name).relative_to(TOP)}: no series has {name}')


def patched_paths(text):
    """The paths that a patch (-p1) changes, creates or deletes."""
    return sorted(set(re.findall(r'^(?:---|\+\+\+) [^/\n]+/([^\t\n]+)',
                                 text, re.M)))


def series_hash():
    names = series()
    digest = hashlib.sha256()
    for name in names:
        digest.update(f'{name}\0{patch_text(name)}\0'.encode())
    return digest.hexdigest() if names else None


def sha256(path):
    """Hash of content and executable bit; None if there is no such file."""
    try:
        data = path.read_bytes()
        executable = path.stat().st_mode & 0o100
    except FileNotFoundError:
        return None
    return hashlib.sha256(data).hexdigest() + ('x' if executable else '')
