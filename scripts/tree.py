# What this repository adds to QEMU, as data: the overlay files and the series.
# For the scripts beside it; knows nothing of how QEMU is built.
#
# Environment: QEMU_BUILD  the build directory, if it is not build
#
# SPDX-License-Identifier: GPL-2.0-or-later

import fnmatch
import functools
import hashlib
import os
import re
import subprocess
import sys
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
         'tests/bench/*', 'tests/crash/*',
         'tests/fuzz/*', 'tests/guest/*', 'tests/scripts/*',
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


def series():
    """Names of the patches in the order in which they apply."""
    return [words[0] for words in _table('series')]


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
        die(f'patches/series names {path.name}, and there is no '
            f'{path.relative_to(TOP)}')


def overrides():
    """Names of the patches that this version has hunks of its own for."""
    own = PATCHES / patches_version()
    return sorted(str(path.relative_to(own)) for path in own.rglob('*.patch'))


def patch_path(name):
    """The file with the hunks of a patch for this version."""
    own = PATCHES / patches_version() / name
    return own if own.is_file() else PATCHES / name


def patch_text(name):
    """A patch for this version: the header is always that of patches/name."""
    text = _read(PATCHES / name)
    path = patch_path(name)
    if path == PATCHES / name:
        return text
    return split_patch(text)[0] + split_patch(_read(path))[1]


def hunks_id(text):
    """Names the hunks of a patch, whatever its header says."""
    return hashlib.sha256(split_patch(text)[1].encode()).hexdigest()[:12]


def refuse_stale_overrides():
    """Each must be of a patch of the series, and made from its hunks of today.

    One without hunks says why this version needs none.
    """
    names = series()
    version = patches_version()
    for name in overrides():
        if name not in names:
            die(f'patches/{version}/{name}: patches/series has no {name}')
        header, hunks = split_patch(_read(PATCHES / version / name))
        of = _read(PATCHES / name)
        if hunks and split_patch(of)[1] and (
                f'Overrides: {hunks_id(of)}' not in header.splitlines()):
            die(f'patches/{version}/{name} was made from other hunks than those '
                f'of patches/{name}; scripts/port makes it anew')


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
