#!/usr/bin/env python3
#
# Zoned disks in other machines: behind an IOMMU, and as an NVMe namespace that
# two controllers have.  And one that changes the memory map while it runs.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import base64
import subprocess
import tempfile
import unittest

from guest import CMDLINE, Guest, prepare
from zonetest import KIB, Namespace, pattern
import test_blkzone
import test_nvme
import test_scsi
import test_zonefs
import tap


class Iommu:
    """Devices see nothing but what the driver has mapped for them"""

    @classmethod
    def attach(cls):
        args = super().attach()
        for i, arg in enumerate(args):
            if arg.startswith('virtio-'):
                args[i] += ',iommu_platform=on,disable-legacy=on'
        return ['-append', f'{CMDLINE} intel_iommu=on iommu.strict=1',
                '-device', 'intel-iommu', *args]

    @classmethod
    def halt(cls, kill=False):
        if not kill:
            cls.check('disk=$(readlink -f /sys/block/${DEV#/dev/})\n'
                      # PCI, or that of the controller or of the adapter
                      'while [ $disk != / ] && [ ! -e $disk/iommu_group ]; do\n'
                      'disk=$(dirname $disk); done; [ $disk != / ]\n'
                      '! dmesg | grep "DMAR.*fault"')
        super().halt(kill)


@tap.full
class IommuVirtio(Iommu, test_blkzone.Zones):
    PREFIX = 'IOMMU, virtio: '


@tap.full
class IommuNvme(Iommu, test_nvme.Reports128):
    PREFIX = 'IOMMU, NVMe, 128 zones, '


@tap.full
class IommuNvmeZonefs(Iommu, Namespace, test_zonefs.Sequential):
    PREFIX = 'IOMMU, NVMe, zonefs: '


@tap.full
class IommuScsi(Iommu, test_scsi.Zones):
    PREFIX = 'IOMMU, SCSI: '


@tap.full
class Multipath(Namespace):
    """One namespace of two controllers, which Linux has as one disk"""
    PREFIX = 'two controllers: '
    OPTIONS = {'size': '512M', 'zone.size': '8M', 'zone.capacity': '8M',
               'zone.max_open_zones': 16, 'zone.max_active_zones': 16}

    FIO = ('fio --name=job --filename=$DEV --direct=1 --zonemode=zbd '
           '--ioengine=libaio --iodepth=8 --numjobs=2 --size=256M '
           '--offset_increment=256M --bs=16K --group_reporting=1 '
           '--max_open_zones=2 --job_max_open_zones=2 --thread=1 --rw=write '
           '--verify=crc32c --do_verify=1 --verify_state_save=0 ')

    @classmethod
    def attach(cls):
        return ['-device', 'pcie-root-port,id=port1,chassis=1',
                '-device', 'pcie-root-port,id=port2,chassis=2',
                '-device', 'nvme-subsys,id=subsys0,nqn=zoned',
                '-device', 'nvme,serial=zoned,subsys=subsys0,bus=port1,id=ctrl1',
                '-device', 'nvme,serial=zoned,subsys=subsys0,bus=port2,id=ctrl2',
                '-blockdev', 'node-name=drive1,driver=qcow2,'
                f'file.driver=file,file.filename={cls.images[0]}',
                '-device', 'nvme-ns,drive=drive1,bus=ctrl1,nsid=1,shared=on']

    def setUp(self):
        self.check('blkzone reset $DEV')
        self.set_policy('numa')

    def set_policy(self, policy):
        """With any but "numa" writes at a depth of 2 overtake each other."""
        self.check('for file in /sys/class/nvme-subsystem/*/iopolicy; do\n'
                   f'echo {policy} > $file; done')

    def test_one_disk(self):
        """Linux has one zoned disk, and two paths to it"""
        disks = self.check('lsblk -dno NAME,ZONED | grep -c host-managed')
        self.assertEqual(disks, '1\n')
        self.assertEqual(self.check('ls /sys/class/nvme | wc -l'), '3\n')

    def test_verify(self):
        """writes of several zones at a depth of 8 are verified"""
        self.check(self.FIO + '--io_size=24M', timeout=300)

    def test_report(self):
        """what is written over one path shows in reports over the other"""
        self.set_policy('round-robin')
        for i in range(4):
            self.check(f"pattern {i} 4096 | dd of=$DEV bs=4K oflag=direct,"
                       f'seek_bytes conv=notrunc status=none seek={i * 4 * KIB}')
            zones = [self.report()[0] for _ in range(3)]
            self.assertEqual(zones, 3 * [('oi', (i + 1) * 4 * KIB)])

    def test_removed(self):
        """without one of the controllers the disk goes on over the other"""
        self.check("pattern before 65536 | dd of=$DEV bs=64K oflag=direct "
                   'conv=notrunc status=none iflag=fullblock')
        self.check('first=$(grep -l zoned /sys/class/nvme/*/serial | head -n 1)\n'
                   'echo 1 > ${first%serial}device/remove')
        self.assertEqual(self.check('ls /sys/class/nvme | wc -l'), '2\n')
        self.assertEqual(self.report()[0], ('oi', 64 * KIB))
        self.check("pattern after 65536 | dd of=$DEV bs=64K oflag=direct "
                   'conv=notrunc status=none seek=1 iflag=fullblock')
        self.assertEqual(self.report()[0], ('oi', 128 * KIB))
        self.assertData(0, 0, pattern('before', 64 * KIB) +
                        pattern('after', 64 * KIB))
        self.check(self.FIO + '--io_size=8M', timeout=300)


# Turn the memory of the PCI device FILE on and off for 10 seconds; without FILE,
# look whether time goes on as it should.
MAP_CHANGER = r'''
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static const char command[2][2] = { { 0, 0 }, { 2, 0 } };
    time_t end = time(0) + 10, last = time(0), now = last;
    int file = argc > 1 ? open(argv[1], O_RDWR) : -1;

    for (unsigned i = 0; now < end; i++) {
        if (argc > 1 && pwrite(file, command[i & 1], 2, 4) != 2) {
            return 1;
        }
        now = time(0);
        if (now < last || now > last + 60) {
            return 2;
        }
        last = now;
    }
    return 0;
}
'''


class MemoryMap(unittest.TestCase):
    def test_changes_below_a_clock(self):
        """vCPUs read a clock while another one changes the memory map"""
        prepare()
        with tempfile.NamedTemporaryFile() as program:
            subprocess.run(['cc', '-static', '-x', 'c', '-o', program.name, '-'],
                           input=MAP_CHANGER, text=True, check=True)
            with open(program.name, 'rb') as file:
                code = base64.b64encode(file.read()).decode()
        with Guest(['-smp', '4', '-device', 'pci-testdev,addr=05.0']) as guest:
            guest.check(
                f'base64 -d > /tmp/prog <<END\n{code}\nEND\n'
                'chmod +x /tmp/prog\n'
                'cd /sys/devices/system/clocksource/clocksource0\n'
                'echo hpet > current_clocksource\n'
                'for cpu in 1 2 3; do taskset -c $cpu /tmp/prog & pids+=" $!"; done\n'
                'taskset -c 0 /tmp/prog /sys/bus/pci/devices/0000:00:05.0/config\n'
                'for pid in $pids; do wait $pid; done')
            guest.poweroff()


if __name__ == '__main__':
    tap.main()
