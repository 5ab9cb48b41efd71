# Hosts that are slow, stand still or fail, for tests of zoned qcow2 images
#
# Programs that a test starts have the calls of tests/host-zoned/host-faults.c.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import contextlib
import os
import shutil
import subprocess
import time
import unittest
from typing import Any, Callable, Iterator, List, Tuple

import iotests
from zoned_qcow2 import ZonedTestCase

SOURCE = os.path.join(os.path.dirname(os.path.realpath(__file__)),
                      '../host-zoned/host-faults.c')

# A machine that does other things, too
PATIENCE = 240


class HostTestCase(ZonedTestCase):
    library: str

    @classmethod
    def setUpClass(cls) -> None:
        compiler = shutil.which('cc') or shutil.which('gcc')
        if not compiler:
            raise unittest.SkipTest('no C compiler')
        cls.library = os.path.join(iotests.test_dir, 'host-faults.so')
        subprocess.run([compiler, '-shared', '-fPIC', '-O1', '-o', cls.library,
                        SOURCE, '-ldl', '-pthread'], check=True)

    @classmethod
    def tearDownClass(cls) -> None:
        os.unlink(cls.library)

    def setUp(self) -> None:
        super().setUp()
        self.log = self.file('fallocate.log')
        self.faults = os.path.join(iotests.test_dir, 'faults')
        shutil.rmtree(self.faults, ignore_errors=True)
        os.mkdir(self.faults)
        self.addCleanup(shutil.rmtree, self.faults)
        self.said = 0

    # --- What the host is like ---

    def host(self, **variables: Any) -> None:
        """From now on, programs have such a host, for this test."""
        variables = {f'{name.upper()}': str(value)
                     for name, value in variables.items()}
        variables.update(LD_PRELOAD=self.library, FALLOCATE_LOG=self.log,
                         HOST_FAULTS=self.faults)
        variables.setdefault('HOST_FILE', self.path)
        os.environ.update(variables)
        for name in variables:
            self.addCleanup(os.environ.pop, name, None)

    def hold(self, *kinds: str) -> None:
        """Calls of these kinds stand still, if they have not begun yet."""
        for kind in kinds:
            with open(os.path.join(self.faults, f'hold-{kind}'), 'w',
                      encoding='ascii'):
                pass

    def release(self, *kinds: str) -> None:
        for name in [f'hold-{kind}' for kind in kinds] or \
                os.listdir(self.faults):
            if name.startswith('hold-'):
                iotests.try_remove(os.path.join(self.faults, name))

    def held(self) -> int:
        """How many calls have been held so far"""
        return self._count('begun')

    def wait_held(self, count: int = 1) -> None:
        self.wait_for(lambda: self.held() >= count)

    def break_host(self, kinds: str, error: int, first: int = 0,
             last: int = 10 ** 9) -> None:
        """Of the calls of @kinds from now on, these fail."""
        self.said += 1
        path = os.path.join(self.faults, 'fail')
        iotests.try_remove(os.path.join(self.faults, 'calls'))
        with open(path + '.new', 'w', encoding='ascii') as file:
            file.write(f'{kinds} {error} {first} {last} {self.said}\n')
        os.rename(path + '.new', path)

    def heal(self) -> int:
        """The host is well again; returns how many calls there were."""
        iotests.try_remove(os.path.join(self.faults, 'fail'))
        return self._count('calls')

    @contextlib.contextmanager
    def failing(self, kinds: str, error: int, first: int = 0,
                last: int = 10 ** 9) -> Iterator[None]:
        self.break_host(kinds, error, first, last)
        try:
            yield
        finally:
            self.heal()

    def _count(self, name: str) -> int:
        path = os.path.join(self.faults, name)
        return os.stat(path).st_size if os.path.exists(path) else 0

    # --- What it has been asked for ---

    def calls(self, kind: str, what: str = 'end') -> List[Tuple[int, int]]:
        """Offset and length of the calls that have been made."""
        if not os.path.exists(self.log):
            return []
        with open(self.log, encoding='ascii') as log:
            lines = [line.split() for line in log]
        return [(int(line[2]), int(line[3])) for line in lines
                if line[:2] == [kind, what]]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def wait_for_calls(self, kind: str, count: int, what: str = 'end') -> None:
        self.wait_for(lambda: len(self.calls(kind, what)) >= count)
