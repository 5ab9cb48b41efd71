# The zone table alone (zone-table-bench.c): it prints its own figures.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import subprocess

from disks import HERE, program
from tables import heading

SOURCE = HERE / 'zone-table-bench.c'


def run(options):
    if not SOURCE.exists():
        return
    tool = program.build_program(program.OBJ / 'tests/bench/zone-table-bench',
                                 SOURCE)
    heading('The zone table alone')
    command = [tool, '--quick'] if options.quick else [tool]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, check=True)
    print(done.stdout.rstrip())
