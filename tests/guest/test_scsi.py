#!/usr/bin/env python3
#
# The tests of a zoned disk on a SCSI disk, and what only SCSI has, through
# sg3-utils.  Then random commands to this disk and to scsi_debug, the one that
# Linux has in software: the results are the same, but where the standard leaves
# a choice.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re
import unittest

from zonetest import EMPTY, FULL, KIB, ScsiDisk, ZONE, pattern
import test_blkzone
import tap


class Disk(ScsiDisk, test_blkzone.Disk):
    def test_limits(self):
        """the block layer has the limits of the image"""
        output = self.check(
            'cd /sys/block/${DEV#/dev/}/queue\n'
            'cat zoned chunk_sectors nr_zones max_open_zones max_active_zones '
            'zone_write_granularity')
        self.assertEqual(output.split(), ['host-managed', str(ZONE // 512),
                                          '12', '6', '0', str(self.PHYSICAL)])

    def test_discovery(self):
        """the kernel finds nothing wrong with the disk"""
        output = self.check('dmesg | grep "sd 0:0:0:0"')
        self.assertIn('Host-managed zoned block device', output)
        self.assertIn('12 zones of 131072 logical blocks', output)
        self.assertNotRegex(output, 'runt|constrained|invalid|[Ff]ailed')


@tap.full
class Disk512e(Disk):
    """Writes in blocks of 4096"""
    PREFIX = 'SCSI, 512e: '
    PHYSICAL = 4096


@tap.full
class Zones(ScsiDisk, test_blkzone.Zones):
    QUICK = {'test_open_limit', 'test_out_of_order'}

    def test_active_limit(self):
        """writes close zones at the open limit, any number of them"""
        self.check(''.join(self.write(zone, 0, 4 * KIB, f'zone {zone}')
                           for zone in range(12)))
        zones = self.report()
        self.assertEqual([pointer for _, pointer in zones], 12 * [4 * KIB])
        self.assertEqual(sorted(state for state, _ in zones),
                         6 * ['cl'] + 6 * ['oi'])

    def test_closed_at_limits(self):
        """a closed zone takes writes when the limit is reached"""
        self.check(''.join(self.write(zone, 0, 4 * KIB, 'a')
                           for zone in range(7)))
        closed = [zone for zone, state in enumerate(self.report())
                  if state == ('cl', 4 * KIB)]
        self.assertEqual(len(closed), 1)
        self.check(self.write(closed[0], 4 * KIB, 4 * KIB, 'b'))
        self.assertEqual(self.report()[closed[0]], ('oi', 8 * KIB))

    def test_limit_returns(self):
        """finishing an open zone makes room for another"""
        self.check(''.join(self.zone_op('open', zone) for zone in range(6)))
        self.check(self.zone_op('finish', 0) + self.write(8, 0, 4 * KIB, 'b'))
        zones = self.report()
        self.assertEqual(zones[0], FULL)
        self.assertEqual(zones[8], ('oi', 4 * KIB))


@tap.full
class Restart(ScsiDisk, test_blkzone.Restart):
    QUICK = {'test_kill'}


class Commands(ScsiDisk):
    """sg3-utils"""
    OPTIONS = {'zone.conventional_zones': 1}

    # Exit statuses
    ILLEGAL, OPCODE, LBA_RANGE, PROTECTED = 5, 9, 22, 7

    def setUp(self):
        # Linux has to know, or it takes the old pointers for true
        self.check('blkzone reset $DEV')

    def lba(self, zone):
        return zone * ZONE // self.BLOCK

    def status(self, command):
        status, output = self.run_script(command)
        self.assertNotRegex(output, 'not found|usage')
        return status

    def conditions(self, *options):
        """The conditions that sg_rep_zones prints"""
        output = self.check(f'sg_rep_zones {" ".join(options)} $DEV')
        return re.findall(r'Zone condition: (.*)', output)

    def test_identity(self):
        """sg_inq, sg_vpd and sg_readcap know a host-managed disk"""
        self.assertIn('PDT=20', self.check('sg_inq $DEV'))
        self.assertIn('ZBC', self.check('sg_inq -d $DEV'))
        pages = self.check('sg_vpd -l $DEV')
        self.assertIn('Zoned block device characteristics', pages)
        self.assertNotIn('Logical block provisioning', pages)
        output = self.check('sg_vpd -p zbdc $DEV')
        self.assertRegex(output, 'URSWRZ: 1')
        self.assertRegex(output, '[Mm]aximum number of open sequential write '
                                 'required zones: (0x)?6')
        output = self.check('sg_readcap -l $DEV')
        self.assertIn(f'Last LBA={12 * ZONE // self.BLOCK - 1}', output)

    def test_report(self):
        """sg_rep_zones: each option, and from within a zone"""
        self.check(self.write(2, 0, 4 * KIB, 'a') +
                   f'sg_zone --open -z {self.lba(3)} $DEV\n'
                   f'sg_zone --finish -z {self.lba(4)} $DEV')
        count = {option: len(self.conditions(f'-o {option}'))
                 for option in (0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 63)}
        self.assertEqual(count, {0: 12, 1: 8, 2: 1, 3: 1, 4: 0, 5: 1, 6: 0,
                                 7: 0, 16: 0, 17: 0, 63: 1})
        self.assertEqual(len(self.conditions(f'-s {self.lba(9) + 5}')), 3)
        self.assertEqual(len(self.conditions('-m 192 -p')), 2)
        # More in one command: Linux may find memory too scattered for it
        self.assertEqual(len(self.conditions('-m 262144')), 12)

    def test_report_errors(self):
        """sg_rep_zones: a start behind the disk, and a bad option"""
        self.assertEqual(self.status(f'sg_rep_zones -s {self.lba(12)} $DEV'),
                         self.LBA_RANGE)
        self.assertEqual(self.status('sg_rep_zones -o 10 $DEV'), self.ILLEGAL)

    def test_management(self):
        """sg_zone and sg_reset_wp change the condition of a zone"""
        zone = f'-z {self.lba(5)} $DEV'
        self.check(f'sg_zone --open {zone}')
        self.assertEqual(self.report()[5], ('oe', 0))
        self.check(self.write(5, 0, 4 * KIB, 'a') + f'sg_zone --close {zone}')
        self.assertEqual(self.report()[5], ('cl', 4 * KIB))
        self.check(f'sg_zone --finish {zone}')
        self.assertEqual(self.report()[5], FULL)
        # What is to be done already is good
        self.check(f'sg_zone --open {zone}\nsg_zone --close {zone}')
        self.assertEqual(self.report()[5], FULL)
        self.check(f'sg_reset_wp {zone}')
        self.assertEqual(self.report()[5], EMPTY)

    def test_management_of_all(self):
        """sg_zone --all acts on those zones that it applies to"""
        self.check(self.write(1, 0, 4 * KIB, 'a') +
                   self.write(2, 0, 4 * KIB, 'b') + 'sg_zone --close --all $DEV')
        self.assertEqual(self.report()[1:4],
                         2 * [('cl', 4 * KIB)] + [EMPTY])
        self.check('sg_zone --open --all $DEV')
        self.assertEqual(self.report()[1:4],
                         2 * [('oe', 4 * KIB)] + [EMPTY])
        self.check('sg_zone --finish --all $DEV')
        self.assertEqual(self.report()[1:4], 2 * [FULL] + [EMPTY])
        self.check('sg_reset_wp --all $DEV')
        self.assertEqual(self.report()[1:], 11 * [EMPTY])

    def test_management_errors(self):
        """sg_zone: conventional zones, the middle of one, behind the disk"""
        for lba, status in ((0, self.ILLEGAL),
                            (self.lba(5) + 1, self.ILLEGAL),
                            (self.lba(12), self.LBA_RANGE)):
            for operation in '--open', '--close', '--finish':
                self.assertEqual(
                    self.status(f'sg_zone {operation} -z {lba} $DEV'), status)
            self.assertEqual(self.status(f'sg_reset_wp -z {lba} $DEV'), status)

    def test_open_limit(self):
        """sg_zone --open of one more than the limit is "data protect\""""
        self.check(''.join(f'sg_zone --open -z {self.lba(1 + i)} $DEV\n'
                           for i in range(6)))
        self.assertEqual(self.status(f'sg_zone --open -z {self.lba(8)} $DEV'),
                         self.PROTECTED)

    def test_flush(self):
        """sg_sync: SYNCHRONIZE CACHE of 10 and 16 bytes"""
        self.check(self.write(5, 0, 4 * KIB, 'a') +
                   'sg_sync $DEV\nsg_sync --16 $DEV')
        self.assertEqual(self.report()[5], ('oi', 4 * KIB))

    def test_write_same(self):
        """sg_write_same: a pattern, or zeroes without one"""
        self.check("pattern 'a block' 512 > /tmp/block\n"
                   f'sg_write_same --16 -i /tmp/block -l {self.lba(5)} -n 8 '
                   '-x 512 $DEV\n'
                   f'sg_write_same --16 --ndob -l {self.lba(5) + 8} -n 8 $DEV')
        self.assertEqual(self.report()[5], ('oi', 8 * KIB))
        self.assertData(5, 0, 8 * pattern('a block', 512) + bytes(4 * KIB))

    def test_verify(self):
        """sg_verify: any blocks but those behind the disk"""
        self.check(f'sg_verify --16 -l {self.lba(5)} -c 64 $DEV')
        self.assertEqual(self.status(
            f'sg_verify --16 -l {self.lba(12)} -c 1 $DEV'), self.LBA_RANGE)

    def test_no_discard(self):
        """there is no discard, by sg_unmap or blkdiscard"""
        self.assertEqual(self.status(f'sg_unmap -l {self.lba(5)} -n 8 $DEV'),
                         self.OPCODE)
        self.check_fails(f'blkdiscard -o {5 * ZONE} -l 4096 $DEV',
                         'not supported')

    def test_zeroout(self):
        """blkdiscard -z writes zeroes at the write pointer"""
        self.check(f'blkdiscard -z -o {5 * ZONE} -l 1M $DEV')
        self.assertEqual(self.report()[5], ('oi', 1024 * KIB))

    def test_log(self):
        """none of this is an I/O error of QEMU's"""
        self.assertNotIn('blk_update_request: I/O error',
                         self.check('dmesg'))


# One SCSI command after the other to two disks: how each ends, and what the
# zones are like then.
COMPARE = r'''
import ctypes, fcntl, os, random, struct, sys

SG_IO = 0x2285
BLOCK, ZONE, ZONES, MAX_OPEN = 512, 8192, 16, 3
HEADER = '@iiBBHIPPPIIiPBBBBHHiII'

class Disk:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR)

    def command(self, cdb, out=b'', room=0):
        """Returns the sense, 0 for none, and data."""
        cmd = ctypes.create_string_buffer(bytes(cdb), len(cdb))
        size = len(out) or room
        data = ctypes.create_string_buffer(bytes(out) or b'', size or 1)
        sense = ctypes.create_string_buffer(64)
        header = bytearray(struct.pack(
            HEADER, ord('S'), -2 if out else -3 if room else -1, len(cdb), 64,
            0, size, ctypes.addressof(data), ctypes.addressof(cmd),
            ctypes.addressof(sense), 20000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0))
        fcntl.ioctl(self.fd, SG_IO, header)
        fields = struct.unpack(HEADER, header)
        status, host = fields[13], fields[17]
        if host:
            return ('host', host), b''
        if status == 2:
            s = sense.raw
            if s[0] & 0x7f in (0x72, 0x73):
                return (s[1] & 15, s[2], s[3]), b''
            return (s[2] & 15, s[12], s[13]), b''
        return status, data.raw[:room]

    def zones(self):
        """(condition, write pointer if there is one) of each zone"""
        sense, data = self.command(cdb16(0x95, 0, 0, 64 + 64 * ZONES),
                                   room=64 + 64 * ZONES)
        assert sense == 0, sense
        result = []
        for i in range(ZONES):
            z = data[64 + 64 * i:128 + 64 * i]
            condition = z[1] >> 4
            wp = struct.unpack('>Q', z[24:32])[0] - i * ZONE
            result.append((condition, wp if condition in (1, 2, 3, 4)
                           else None))
        return result

def cdb16(opcode, flags, lba, length, byte14=0):
    return struct.pack('>BBQIBB', opcode, flags, lba, length, byte14, 0)

def choose(rand, zones):
    """A command, and its data or the room for it"""
    zone = rand.randrange(ZONES)
    start = zone * ZONE
    wp = start + (zones[zone][1] or 0)
    kind = rand.randrange(12)
    length = rand.choice((1, 7, 8, 16, 64))
    if kind < 4:
        where = rand.choice((wp, wp, wp, wp, wp + 1, start, start + ZONE - 8))
        return cdb16(0x8a, 0, where, length), os.urandom(length * BLOCK), 0
    if kind < 6:
        where = rand.choice((wp, start, start + ZONE - 8,
                             start + rand.randrange(ZONE)))
        return cdb16(0x88, 0, where, length), b'', length * BLOCK
    if kind < 10:
        where = rand.choice((start, start, start, start, start + 1,
                             ZONES * ZONE, 1 << 60))
        return cdb16(0x94, rand.choice((1, 2, 3, 3, 4)), where, 0), b'', 0
    if kind < 11:
        return (cdb16(0x94, rand.choice((1, 2, 3, 4)), where_any(rand), 0,
                      rand.choice((0, 0, 1))), b'', 0)
    option = rand.choice((0, 1, 2, 3, 4, 5, 6, 7, 0x10, 0x11, 0x3f, 9, 0x0a))
    return (cdb16(0x95, 0, rand.choice((0, start, start + 9, ZONES * ZONE)),
                  64 + 64 * ZONES, option | rand.choice((0, 0x80))), b'',
            64 + 64 * ZONES)

def where_any(rand):
    return rand.choice((0, ZONE, 5, ZONES * ZONE - 1, (1 << 64) - 1))

def explained(cdb, ours, theirs):
    """The standard allows either, or has changed."""
    # READ BOUNDARY VIOLATION of ZBC-2 for ATTEMPT TO READ INVALID DATA
    return (ours == (5, 0x21, 7) and theirs == (5, 0x21, 6))

def compare(rounds, seed):
    rand = random.Random(seed)
    ours, theirs = Disk(sys.argv[1]), Disk(sys.argv[2])
    differences = chosen = beyond = 0
    zones = reset(ours, theirs)
    for i in range(rounds):
        cdb, out, room = choose(rand, zones)
        results = [disk.command(cdb, out, room) for disk in (ours, theirs)]
        a, b = ours.zones(), theirs.zones()
        same_data = (cdb[0] == 0x95 or results[0][1] == results[1][1])
        if results[0][0] != results[1][0] and not explained(
                cdb, results[0][0], results[1][0]):
            print(f'{i}: {cdb.hex()}: {results[0][0]}, not {results[1][0]}; '
                  f'zones were {zones}')
            differences += 1
        elif not same_data:
            print(f'{i}: {cdb.hex()}: other data')
            differences += 1
        elif a != b:
            # scsi_debug 6.12 opens "all" zones one by one, also those that it
            # has closed for others meanwhile: more than there may be
            if cdb[:2] == b'\x94\3' and \
               sum(c == 3 for c, _ in b) > MAX_OPEN >= sum(c == 3 for c, _ in a):
                beyond += 1
            # Which implicitly open zone is closed for another is free
            elif sorted(c for c, _ in a) == sorted(c for c, _ in b) and \
               [p for _, p in a] == [p for _, p in b]:
                chosen += 1
            else:
                print(f'{i}: {cdb.hex()}: {results[0][0]}: zones {a}, not {b}; '
                      f'they were {zones}')
                differences += 1
        zones = a
        if a != b or rand.randrange(200) == 0:
            zones = reset(ours, theirs)
    print(f'{rounds} commands, {differences} differences, {chosen} times '
          f'another zone was closed, {beyond} times scsi_debug had more open '
          'zones than it may have')

def reset(*disks):
    for disk in disks:
        sense, _ = disk.command(cdb16(0x94, 4, 0, 0, 1))
        assert sense == 0, sense
    return disks[0].zones()

compare(int(sys.argv[3]), int(sys.argv[4]))
'''


class Compared(ScsiDisk):
    """The same commands to scsi_debug"""
    PREFIX = 'SCSI, beside scsi_debug: '
    OPTIONS = {'size': '64M', 'zone.size': '4M', 'zone.conventional_zones': 2,
               'zone.max_open_zones': 3}

    @classmethod
    def boot(cls):
        super().boot()
        if cls.disk == 'image':
            if cls.run_script('modprobe -nq scsi_debug')[0]:
                raise unittest.SkipTest('this Linux has no scsi_debug')
            cls.check('modprobe scsi_debug zbc=managed zone_size_mb=4 '
                      'zone_nr_conv=2 zone_max_open=3 dev_size_mb=64 '
                      'sector_size=512 physblk_exp=0\n' +
                      cls.wait_for_disk('/dev/sdb'))

    def compare(self, rounds, seed):
        output = self.check(f"python3 - $DEV /dev/sdb {rounds} {seed} << 'END'"
                            f'\n{COMPARE}END', timeout=900)
        self.assertIn(f'{rounds} commands, 0 differences', output, output)

    def test_kind(self):
        """both are host-managed disks with the same zones"""
        output = self.check('lsblk -dbno ZONED,ZONE-SZ,ZONE-NR $DEV /dev/sdb')
        first, second = output.splitlines()
        self.assertEqual(first.split(), second.split())

    def test_short(self):
        """1000 random commands have the same results"""
        self.compare(1000, 1)

    @tap.full
    def test_long(self):
        """8000 random commands have the same results"""
        self.compare(8000, 2)


if __name__ == '__main__':
    tap.main()
