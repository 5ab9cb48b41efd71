# What this repository adds to QEMU, as data: the overlay files and the series.
# For the scripts beside it; knows nothing of how QEMU is built.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import fnmatch
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILD = TOP / 'build'
PRISTINE = BUILD / 'pristine'
QEMU = BUILD / 'qemu'
PATCHES = TOP / 'patches'

# Below these, every file is QEMU's from the day the series is applied ...
OVERLAY_DIRS = ('block', 'docs', 'hw', 'include', 'qapi', 'tests')
# ... but for what serves this repository only.
LOCAL = ('docs/devel/building.rst', 'tests/bench/*', 'tests/crash/*',
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


def series():
    """Names of the patches in the order in which they apply."""
    try:
        lines = (PATCHES / 'series').read_text().splitlines()
    except FileNotFoundError:
        return []
    words = [line.split('#')[0].split() for line in lines]
    return [word[0] for word in words if word]


def patch_text(name):
    try:
        return (PATCHES / name).read_text()
    except FileNotFoundError:
        die(f'patches/series names {name}, and there is no patches/{name}')


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
