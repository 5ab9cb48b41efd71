#!/usr/bin/env python3
#
# fio's own tests of zoned disks on SCSI disks of zoned qcow2 images.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from guest import prepare
from test_fio import GEOMETRY, Fio, add_cases
from zonetest import ScsiDisk
import tap


class ScsiFio(ScsiDisk, Fio):
    SKIPS = r'is not a regular block device|does not have \d+ zones'


class Sequential(ScsiFio):
    """no conventional zones"""
    OPTIONS = GEOMETRY
    SKIPS = f'{ScsiFio.SKIPS}|does not have enough conventional zones|' \
            r'does not have \d+ conventional zones'

    def run_case(self, number):
        # The only case that gives it to fio
        if number == 32:
            self.skipTest("fio's script takes FFFFFFFFh, no limit of open "
                          'zones, for a limit')
        super().run_case(number)


class Limits(ScsiFio):
    """open limit, conventional zones"""
    OPTIONS = GEOMETRY | {'zone.conventional_zones': 20,
                          'zone.max_open_zones': 16}
    QUICK = {'test_8', 'test_15'}


if __name__ == '__main__':
    prepare()
    add_cases(Sequential)
    add_cases(Limits)
    tap.main()
