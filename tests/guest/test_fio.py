#!/usr/bin/env python3
#
# fio's own tests of zoned disks (t/zbd/test-zbd-support) on zoned qcow2 images
# of several geometries.  Each case of fio's is a test here.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re

from guest import IMAGE, prepare
from zonetest import ZoneCase
import tap

# A test that reads the whole disk is as slow as the disk is large.  Some want
# 130 sequential zones, or 16 MiB of conventional ones.
GEOMETRY = {'size': '160M', 'zone.size': '1M', 'zone.capacity': '1M',
            'zone.max_open_zones': 0, 'zone.max_active_zones': 0}

# What a virtio-blk disk with zones is not
NEVER = r'is not a (SCSI device|regular block device)'

# The tests are those of fio 3.33, and the guest has fio 3.39.  These fail in
# the same way on null_blk, in all four geometries: it is fio that has changed.
CHANGED = {
    33: 'this fio writes no block that goes beyond io_size',
    34: 'this fio takes block sizes that do not divide the zone size',
    54: 'this fio has no experimental_verify for zones',
}


def fio_cases():
    """Yield number and description of each case."""
    text = (IMAGE / 'fio/test-zbd-support').read_text()
    for match in re.finditer(r'^((?:# .*\n)*)test(\d+)\(\)', text, re.M):
        comment = ' '.join(line[2:] for line in match[1].splitlines())
        yield int(match[2]), re.split(r'\.(?: |$)', comment)[0]


@tap.full
class Fio(ZoneCase):
    SKIPS = NEVER

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.check('cp -r /usr/src/fio /tmp; modprobe mq-deadline || true')

    def run_case(self, number):
        if number in CHANGED:
            self.skipTest(CHANGED[number])
        # Some write zones block by block: 12,288 writes, each a round trip, were
        # 30 s of CPU for QEMU on arm64, and 213 s where ten others ran.
        _, output = self.run_script(
            'cd /tmp/fio/t/zbd\n'
            f'./test-zbd-support -w -t {number} $DEV\n'
            f'grep -v "^zbd " test-zbd-support.log.{number} | tail -n 25\n'
            'rm -f *.log.*', timeout=1800)
        result = re.search(r'^Running test .* (PASS|SKIP|FAIL) *(.*)', output,
                           re.M)
        if result and result[1] == 'SKIP':
            self.assertRegex(result[2], self.SKIPS)
            self.skipTest(result[2])
        self.assertTrue(result and result[1] == 'PASS', output)


class Sequential(Fio):
    """no conventional zones"""
    OPTIONS = GEOMETRY
    SKIPS = f'{NEVER}|does not have enough conventional zones|' \
            r'does not have \d+ conventional zones'


class Conventional(Fio):
    """with conventional zones"""
    OPTIONS = GEOMETRY | {'zone.conventional_zones': 20}


class Capacity(Fio):
    """capacity smaller than zone size"""
    OPTIONS = GEOMETRY | {'size': '640M', 'zone.size': '4M',
                          'zone.capacity': '3M', 'zone.conventional_zones': 20}


class Limits(Fio):
    """open and active limits"""
    OPTIONS = GEOMETRY | {'zone.conventional_zones': 20,
                          'zone.max_open_zones': 16,
                          'zone.max_active_zones': 20}
    # A few that differ in what they ask of the disk
    QUICK = {'test_8', 'test_13', 'test_15', 'test_17', 'test_26', 'test_53'}


def add_cases(cls):
    """Make a test of each case, on the disk of this class."""
    for number, text in fio_cases():
        def test(self, number=number):
            self.run_case(number)
        test.__doc__ = (f'{cls.__doc__}: fio case {number}' +
                        (f', {text}' if text else ''))
        setattr(cls, f'test_{number}', test)


if __name__ == '__main__':
    prepare()
    for geometry in Fio.__subclasses__():
        add_cases(geometry)
    del geometry    # tap runs every class that it finds in the module
    tap.main()
