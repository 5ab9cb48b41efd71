#!/usr/bin/env python3
#
# fio's own tests of zoned disks on NVMe namespaces of zoned qcow2 images.
#
# With --disk volatile they run on a namespace of the same geometry of which
# QEMU keeps the zones in memory; the same cases pass there.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from guest import prepare
from test_fio import GEOMETRY, NEVER, Fio, add_cases
from zonetest import Namespace
import tap


class NvmeFio(Namespace, Fio):
    # NVMe has no conventional zones at all
    SKIPS = f'{NEVER}|does not have enough conventional zones|' \
            r'does not have \d+ conventional zones'


class Sequential(NvmeFio):
    """capacity equals zone size"""
    OPTIONS = GEOMETRY


class Limits(NvmeFio):
    """smaller capacity and limits"""
    OPTIONS = GEOMETRY | {'size': '640M', 'zone.size': '4M',
                          'zone.capacity': '3M', 'zone.max_open_zones': 16,
                          'zone.max_active_zones': 20}
    QUICK = {'test_8', 'test_15'}


if __name__ == '__main__':
    prepare()
    add_cases(Sequential)
    add_cases(Limits)
    tap.main()
