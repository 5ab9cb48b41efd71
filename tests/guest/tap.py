#
# Run the unittest cases of a program and print the results as TAP.
#
# The first line of a test's docstring is its name, behind the PREFIX of its
# class if there is one.  Tests run in the order in which they are written, so
# that cases of one class can share a guest.  The option --quick leaves out those
# that are marked with @full.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import argparse
import sys
import traceback
import unittest

from guest import Guest, GuestError

def full(test):
    """
    Decorate a test or a class that a quick run leaves out; but not those that a
    class names in QUICK.
    """
    test.full = True
    return test


def is_full(test):
    name = test._testMethodName
    return (name not in getattr(test, 'QUICK', ()) and
            (getattr(test, 'full', False) or
             getattr(getattr(test, name), 'full', False)))


class Loader(unittest.TestLoader):
    def getTestCaseNames(self, testCaseClass):
        # Those of base classes first
        names = dict.fromkeys(name for cls in reversed(testCaseClass.__mro__)
                              for name in vars(cls))
        return [name for name in names if name.startswith('test')]

    def loadTestsFromModule(self, module, *_args, **_kwargs):
        cases = [c for c in vars(module).values()
                 if isinstance(c, type) and issubclass(c, unittest.TestCase) and
                 c.__module__ == module.__name__]
        return self.suiteClass(map(self.loadTestsFromTestCase, cases))


class Result(unittest.TestResult):
    """One line for each test, and diagnostics for those that failed."""

    def __init__(self, tests):
        super().__init__()
        self.tests = tests
        self.count = 0
        self.good = True

    def line(self, outcome, test, note=''):
        self.count += 1
        name = (getattr(test, 'PREFIX', '') +
                (test.shortDescription() or test.id()))
        print(f'{outcome} {self.count} - {name}{note}', flush=True)

    @staticmethod
    def comment(lines):
        for line in lines:
            print(f'# {line}', flush=True)

    def diagnose(self, err):
        self.good = False
        frames = [frame for frame in traceback.extract_tb(err[2])
                  if '/unittest/' not in frame.filename]
        text = ''.join(traceback.format_list(frames) +
                       traceback.format_exception_only(*err[:2]))
        self.comment(text.splitlines())

    def addSuccess(self, test):
        self.line('ok', test)

    def addSkip(self, test, reason):
        tests = [test]
        if not isinstance(test, unittest.TestCase):
            # setUpClass (NAME) stands for all tests of the class
            tests = [t for t in self.tests
                     if f'({unittest.util.strclass(type(t))})' in test.id()]
        for each in tests:
            self.line('ok', each, f' # SKIP {reason}')

    # Of a test marked with @unittest.expectedFailure
    def addExpectedFailure(self, test, err):
        self.line('not ok', test, ' # TODO a known defect')

    def addUnexpectedSuccess(self, test):
        self.good = False
        self.line('not ok', test)
        print('# It passes: it should not be marked any more.', flush=True)

    def addFailure(self, test, err):
        self.line('not ok', test)
        self.diagnose(err)
        # A GuestError has them already
        guest = getattr(test, 'guest', None)
        if guest and not issubclass(err[0], GuestError):
            self.comment(guest.words())

    def addError(self, test, err):
        if isinstance(test, unittest.TestCase):
            self.addFailure(test, err)
        else:
            # The set-up or clean-up of a class, which is no test
            self.diagnose(err)
            print(f'Bail out! {test}', flush=True)
            self.stop()


def options():
    """The command line of every test program."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--disk', default='image',
                        choices=('image', 'null-blk', 'volatile'),
                        help="run on the guest kernel's own zoned disk, or on "
                        'an NVMe namespace of which QEMU keeps the zones in '
                        'memory, to check the tests (what needs a restart is '
                        'skipped)')
    parser.add_argument('--quick', action='store_true',
                        help='run only a selection')
    parser.add_argument('-k', metavar='WORD', dest='word',
                        help='run only tests with this in their name')
    return parser.parse_args()


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


def main():
    word, quick = options().word, options().quick
    suite = Loader().loadTestsFromModule(sys.modules['__main__'])
    tests = [t for t in flatten(suite)
             if (not word or word in t.id() + (t.shortDescription() or ''))
             and not (quick and is_full(t))]
    print(f'1..{len(tests)}', flush=True)
    result = Result(tests)
    unittest.TestSuite(tests).run(result)
    if Guest.releases:
        print(f'# on Linux {", ".join(Guest.releases)}', flush=True)
    sys.exit(not (result.good and result.count == len(tests)))
