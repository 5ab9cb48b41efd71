#!/usr/bin/env python3
#
# A ZBC disk of the host that is passed through: our QEMU runs in the guest,
# which plays the host, with a disk of Linux' scsi_debug.  The device test drives
# it there.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re
import shutil

from test_host_device import OBJ, HostCase, write_script
import tap

TEST = 'tests/qtest/scsi-zbc-test'
FIRMWARE = 'qemu-bundle/usr/local/share/qemu'
QEMU = ('#!/bin/sh\nexec /mnt/host/obj/qemu-system-x86_64 -L /mnt/host/share '
        '"$@"\n')

# The zones that the device test wants
SCSI_DEBUG = r'''
modprobe -a sd_mod sg
modprobe scsi_debug zbc=managed dev_size_mb=64 zone_size_mb=4 zone_nr_conv=2 \
    zone_max_open=3 sector_size=512 physblk_exp=0
for i in $(seq 300); do
    [ "$(lsblk -dno SIZE /dev/sda)" ] && exit; sleep 0.1
done
exit 1
'''

RUN = f'''
cd /tmp
export QTEST_QEMU_BINARY=/mnt/host/qtest/qemu-system-x86_64 QTEST_QEMU_IMG=/bin/true
export ZBC_DISK=/dev/sda
lun=$(cd /sys/block/sda/device; basename $(pwd -P))
export ZBC_ERRORS=/sys/kernel/debug/scsi_debug/$lun/error
/mnt/host/obj/{TEST} --tap -k 2>&1 '''

CONDITIONS = ['a-conventional-zone', 'an-empty-zone', 'an-implicitly-open-zone',
              'an-explicitly-open-zone', 'an-explicitly-open-zone-without-data',
              'a-closed-zone', 'a-full-zone']


class Passthrough(HostCase):
    PROGRAMS = ['qemu-system-x86_64', TEST]
    PREFIX = 'scsi-block on scsi_debug: '

    @classmethod
    def bundle(cls, top):
        super().bundle(top)
        write_script(top / 'qtest/qemu-system-x86_64', QEMU)
        (top / 'share').mkdir()
        for name in 'bios-256k.bin', 'kvmvapic.bin':
            shutil.copy(OBJ / FIRMWARE / name, top / 'share')

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.guest.check(SCSI_DEBUG)

    def run_tests(self, least, *names):
        """Run these points, or directories of them; there are a few at least."""
        paths = ' '.join(f'-p /x86_64/scsi-zbc/passed-through/{name}'
                         for name in names)
        _, output = self.guest.run(f'{RUN}{paths}', timeout=900)
        self.assertNotRegex(output, '(?m)^not ok|^Bail out', output)
        self.assertGreaterEqual(len(re.findall('(?m)^ok ', output)), least,
                                output)

    def test_identity(self):
        """it is the host's disk"""
        self.run_tests(1, 'identity')

    def test_zone_count(self):
        """ZBC OUT transfers no data"""
        self.run_tests(1, 'zone-count')

    def test_report(self):
        """a report with room for many zones"""
        self.run_tests(1, 'long-report')

    def test_senses(self):
        """broken rules do not stop the machine, failures do"""
        self.run_tests(2, 'senses')

    @tap.full
    def test_states(self):
        """commands in all conditions of a zone"""
        self.run_tests(80, *(f'states/{name}' for name in CONDITIONS))

    @tap.full
    def test_management(self):
        """the zones that ZBC OUT names"""
        self.run_tests(2, 'management')

    def test_open_limit(self):
        """the limit of open zones"""
        self.run_tests(4, 'open-limit')


if __name__ == '__main__':
    tap.main()
