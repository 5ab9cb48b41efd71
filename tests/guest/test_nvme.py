#!/usr/bin/env python3
#
# The tests of a zoned disk on an NVMe namespace, and what only NVMe has,
# through nvme-cli.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re

from zonetest import EMPTY, KIB, MIB, Namespace, ZONE, parse_report, pattern
import test_blkzone
import tap


class Disk(Namespace, test_blkzone.Disk):
    pass


@tap.full
class Zones(Namespace, test_blkzone.Zones):
    def test_close_unwritten(self):
        """closing an open zone without data makes it closed"""
        self.check(self.zone_op('open', 3) + self.zone_op('close', 3))
        self.assertZones({3: ('cl', 0)})


@tap.full
class Restart(Namespace, test_blkzone.Restart):
    pass


class Commands(Namespace):
    """nvme-cli's zns plugin"""

    OPTIONS = {'zone.descriptor_extension_size': 64, 'zone.zrwa_size': '64k',
               'zone.zrwa_flush_granularity': '16k', 'zone.zrwa_zones': 2}

    def setUp(self):
        self.check('blkzone reset $DEV')

    def zns(self, command):
        return self.check(f'nvme zns {command}')

    def slba(self, zone):
        return zone * ZONE // self.BLOCK

    def attributes(self, zone):
        output = self.zns(f'report-zones $DEV -s {self.slba(zone)} -d 1')
        return int(re.search(r'Attrs: (0x)?([0-9a-fA-F]+)', output)[2], 16)

    def test_list(self):
        """nvme list has the disk"""
        self.assertIn(self.dev, self.check('nvme list'))

    def test_id_ns(self):
        """id-ns shows limits, zone size and extension size"""
        output = self.zns('id-ns $DEV')
        for field, value in (('mar', '0x7'), ('mor', '0x5')):
            self.assertRegex(output, rf'(?m)^{field} *: *{value}$')
        self.assertRegex(output, f'zsze:{self.slba(1):#x} *zdes:1')

    def test_report(self):
        """report-zones lists 12 empty zones"""
        output = self.zns('report-zones $DEV')
        self.assertEqual(len(re.findall('State: 0x10', output)), 12)

    def test_append(self):
        """appends go to the write pointer, and say where that was"""
        for i in range(2):
            output = self.check(
                f"pattern 'append {i}' 4096 > /tmp/data\n"
                f'nvme zns zone-append $DEV -s {self.slba(2)} -z 4096 '
                '-d /tmp/data')
            position = self.slba(2) + i * 4096 // self.BLOCK
            self.assertIn(f'data to LBA {position:x}\n', output)
        self.assertZones({2: ('oi', 8 * KIB)})
        self.assertData(2, 0, pattern('append 0', 4096) +
                        pattern('append 1', 4096))

    def test_management(self):
        """open-zone, close-zone, finish-zone and reset-zone work"""
        slba = self.slba(1)
        for command, state in (('open-zone', 'oe'), ('close-zone', 'cl'),
                               ('finish-zone', 'fu'), ('reset-zone', 'em')):
            self.zns(f'{command} $DEV -s {slba}')
            self.assertEqual(self.report()[1][0], state)

    def test_descriptor_extension(self):
        """a descriptor extension is kept over a restart"""
        self.check("pattern 'extension' 64 > /tmp/data\n"
                   f'nvme zns set-zone-desc $DEV -s {self.slba(4)} '
                   '-d /tmp/data')
        self.assertEqual(self.report()[4], ('cl', 0))
        self.assertEqual(self.attributes(4) & 0x80, 0x80)
        self.reboot()
        self.assertEqual(self.report()[4], ('cl', 0))
        output = self.check(
            f'nvme zns report-zones $DEV -s {self.slba(4)} -d 1 -e -o binary '
            '| tail -c 64')
        self.assertEqual(output, pattern('extension', 64).decode())

    def test_random_write_area(self):
        """a zone with a random write area takes writes in any order"""
        slba = self.slba(5)
        self.zns(f'open-zone $DEV -s {slba} --zrwaa')
        self.assertEqual(self.attributes(5) & 0x08, 0x08)
        write = ("pattern '{0}' 4096 > /tmp/data\n"
                 'nvme write $DEV -s {1} -c 7 -z 4096 -d /tmp/data\n')
        self.check(write.format('second', slba + 8) +
                   write.format('first', slba) +
                   write.format('again', slba + 8))
        self.assertEqual(self.report()[5], ('oe', 0))
        self.zns(f'zrwa-flush-zone $DEV -l {slba + 31}')
        self.assertEqual(self.report()[5], ('oe', 16 * KIB))
        self.assertData(5, 0, pattern('first', 4096) + pattern('again', 4096) +
                        bytes(8 * KIB))


class Example(Namespace):
    """The example of zonedstorage.io: 64 MiB zones of 62 MiB, 4 KiB blocks"""

    BLOCK = 4096
    OPTIONS = {'size': '2G', 'zone.capacity': '62M',
               'zone.max_open_zones': 16, 'zone.max_active_zones': 32,
               'zone.max_append_bytes': 131072}

    def test_report(self):
        """blkzone report shows 32 zones of 62 MiB capacity"""
        lines = self.check('blkzone report $DEV').splitlines()
        self.assertEqual(lines, [
            f'  start: 0x{i * 0x20000:09x}, len 0x020000, cap 0x01f000, '
            'wptr 0x000000 reset:0 non-seq:0, zcond: 1(em) '
            '[type: 2(SEQ_WRITE_REQUIRED)]' for i in range(32)])

    def test_capacity(self):
        """blkzone capacity is 32 times 62 MiB"""
        self.assertEqual(self.check('blkzone capacity $DEV').split()[-1],
                         f'{32 * 62 * MIB // 512:#011x}')

    def test_restart(self):
        """write pointers and data outlive QEMU"""
        self.check(self.write(0, 0, 62 * MIB, 'full') +
                   self.write(3, 0, 4 * KIB, 'one block'))
        self.reboot()
        zones = parse_report(self.check('blkzone report $DEV'))
        self.assertEqual([zones[0][0], zones[3], zones[4]],
                         ['fu', ('cl', 4 * KIB), EMPTY])
        self.assertData(0, 0, pattern('full', 62 * MIB))
        self.assertData(3, 0, pattern('one block', 4 * KIB) + bytes(4 * KIB))


# Ask for more zones than are left, from each zone on.
READ_REPORTS = '''
import fcntl, os, struct, sys

BLKREPORTZONE = 0xc0101282

def report(disk, sector, wanted):
    buffer = bytearray(struct.pack('=QII', sector, wanted, 0) +
                       bytes(64 * wanted))
    fcntl.ioctl(disk, BLKREPORTZONE, buffer)
    zones = struct.unpack_from('=QI', buffer)[1]
    return [bytes(buffer[16 + 64 * i:80 + 64 * i]) for i in range(zones)]

disk = os.open(sys.argv[1], os.O_RDONLY)
zones = report(disk, 0, 1000)
for i, zone in enumerate(zones):
    start = struct.unpack_from('=Q', zone)[0]
    for wanted in len(zones) - i, len(zones), 1000:
        if report(disk, start, wanted) != zones[i:]:
            print('zone', i, 'asked for', wanted)
print(len(zones), 'zones')
'''


class Reports128(Namespace):
    """Reports of 128 zones, of which the longest have lists of pages"""

    PREFIX = 'NVMe, 128 zones, '
    ZONES = 128
    OPTIONS = {'size': '2G', 'zone.size': '16M', 'zone.capacity': '16M'}

    @classmethod
    def boot(cls):
        super().boot()
        cls.check('for zone in 3 64 65 100; do dd if=/dev/zero of=$DEV bs=4K '
                  'count=1 oflag=direct,seek_bytes conv=notrunc status=none '
                  'seek=$((zone << 24)); done')

    def test_from_the_middle(self):
        """blkzone report -o prints the rest of the full report"""
        lines = self.check('blkzone report $DEV').splitlines()
        self.assertEqual(len(lines), self.ZONES)
        for zone in range(1, self.ZONES, 9):
            rest = self.check(f'blkzone report -o {zone * 0x8000} $DEV')
            self.assertEqual(rest.splitlines(), lines[zone:])

    def test_more_than_are_left(self):
        """the ioctl BLKREPORTZONE gives no other zones than there are"""
        output = self.check(f"python3 - $DEV << 'END'\n{READ_REPORTS}END")
        self.assertEqual(output, f'{self.ZONES} zones\n')


@tap.full
class Reports200(Reports128):
    """The same of 200"""

    PREFIX = 'NVMe, 200 zones, '
    ZONES = 200
    OPTIONS = Reports128.OPTIONS | {'size': '3200M'}


if __name__ == '__main__':
    tap.main()
