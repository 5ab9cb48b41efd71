#!/usr/bin/env python3
#
# What the pages in docs/system say that is typed in a guest; what is typed on the
# host is run by the iotest zoned-docs.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re

from guest import SRC
from zonetest import Namespace, ScsiDisk, ZoneCase
import tap

BLOCK = re.compile(r'\.\. not run here: in a guest\n\n'
                   r'\.\. code-block:: console\n\n((?: {3}.*\n)+)')


def commands(page):
    """What a page has for a guest: [command, lines that are shown]"""
    found = []
    for block in BLOCK.findall((SRC / 'docs/system' / page).read_text()):
        for line in block.splitlines():
            if line.startswith('   # '):
                found.append((line.removeprefix('   # '), []))
            else:
                found[-1][1].append(line.strip())
    return found


class FirstSteps(ZoneCase):
    # As the page has it
    OPTIONS = {'size': '16G', 'zone.max_open_zones': 64,
               'zone.max_active_zones': 0, 'zone.max_append_bytes': 524288}

    def test_first_steps(self):
        """the commands of docs/system/zoned-storage.rst for a guest succeed"""
        script = commands('zoned-storage.rst')
        self.assertGreater(len(script), 3)
        # What udev and mount do in a distribution
        self.check('modprobe btrfs\n')
        for command, shown in script:
            output = self.check(command.replace('/dev/vda', '$DEV') + '\n',
                                timeout=120)
            if shown and self.dev == '/dev/vda':
                self.assertEqual(output.splitlines(), shown)
        self.check('echo zoned > /mnt/file; umount /mnt')


@tap.full
class FirstStepsOfNvme(Namespace, FirstSteps):
    """What /dev/vda is with an NVMe controller"""


@tap.full
class FirstStepsOfScsi(ScsiDisk, FirstSteps):
    """What /dev/vda is with a SCSI adapter"""


if __name__ == '__main__':
    tap.main()
