#!/usr/bin/env python3
#
# A zoned qcow2 image on virtio-blk, seen by Linux through blkzone and dd.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from zonetest import (EMPTY, FULL, KIB, MIB, ZONE, ZoneCase, image_only,
                      pattern, restarts)
import tap


class Disk(ZoneCase):
    def test_lsblk(self):
        """lsblk shows a host-managed disk of 12 zones of 64M"""
        fields = self.check('lsblk -dbno ZONED,ZONE-SZ,ZONE-NR $DEV').split()
        self.assertEqual(fields, ['host-managed', str(ZONE), '12'])

    def test_limits(self):
        """the block layer has the limits of the image"""
        output = self.check(
            'cd /sys/block/${DEV#/dev/}/queue\n'
            'cat zoned chunk_sectors nr_zones max_open_zones max_active_zones '
            'zone_append_max_bytes')
        self.assertEqual(output.split(), ['host-managed', str(ZONE // 512),
                                          '12', '6', '8', '131072'])

    def test_fresh(self):
        """the zones of a fresh disk are empty, of full capacity"""
        lines = self.check('blkzone report $DEV').splitlines()
        self.assertEqual(lines, [
            f'  start: 0x{start:09x}, len 0x020000, cap 0x020000, '
            'wptr 0x000000 reset:0 non-seq:0, zcond: 1(em) '
            '[type: 2(SEQ_WRITE_REQUIRED)]'
            for start in range(0, 12 * ZONE // 512, ZONE // 512)])


class Zones(ZoneCase):
    def setUp(self):
        self.check('blkzone reset $DEV')
        self.assertZones({})

    def test_open(self):
        """an explicit open shows in the report"""
        self.check(self.zone_op('open', 3))
        self.assertZones({3: ('oe', 0)})

    def test_close_unwritten(self):
        """closing an open zone without data makes it empty"""
        self.check(self.zone_op('open', 3) + self.zone_op('close', 3))
        self.assertZones({})

    def test_close_written(self):
        """closing a zone with data keeps its write pointer"""
        self.check(self.zone_op('open', 3) + self.write(3, 0, 64 * KIB, 'a') +
                   self.zone_op('close', 3))
        self.assertZones({3: ('cl', 64 * KIB)})

    def test_finish(self):
        """finish makes an empty, a written and the last zone full"""
        self.check(self.zone_op('finish', 0) +
                   self.write(1, 0, 64 * KIB, 'a') + self.zone_op('finish', 1) +
                   self.zone_op('finish', 11))
        self.assertZones({0: FULL, 1: FULL, 11: FULL})
        self.assertData(1, 0, pattern('a', 64 * KIB) + bytes(64 * KIB))

    def test_reset(self):
        """reset empties one zone and no other; its data reads as zeroes"""
        self.check(self.write(4, 0, 64 * KIB, 'a') +
                   self.write(5, 0, 64 * KIB, 'b') +
                   self.write(6, 0, 64 * KIB, 'c') + self.zone_op('reset', 5))
        self.assertZones({4: ('oi', 64 * KIB), 6: ('oi', 64 * KIB)})
        self.assertData(4, 0, pattern('a', 64 * KIB))
        self.assertData(5, 0, self.unwritten(64 * KIB))
        self.assertData(6, 0, pattern('c', 64 * KIB))

    def test_reset_all(self):
        """reset of the whole disk empties open, closed and full zones"""
        self.check(self.write(0, 0, 64 * KIB, 'a') + self.zone_op('close', 0) +
                   self.zone_op('open', 1) + self.zone_op('finish', 2) +
                   self.write(11, 0, 64 * KIB, 'b'))
        self.assertZones({0: ('cl', 64 * KIB), 1: ('oe', 0), 2: FULL,
                          11: ('oi', 64 * KIB)})
        self.check('blkzone reset $DEV')
        self.assertZones({})
        self.assertData(11, 0, self.unwritten(64 * KIB))

    def test_rewrite(self):
        """a zone that was reset takes new data from its start"""
        self.check(self.write(2, 0, MIB, 'old') + self.zone_op('reset', 2) +
                   self.write(2, 0, 64 * KIB, 'new'))
        self.assertZones({2: ('oi', 64 * KIB)})
        self.assertData(2, 0, pattern('new', 64 * KIB) +
                        self.unwritten(MIB - 64 * KIB))

    def test_open_limit(self):
        """the seventh explicit open is refused, and changes nothing"""
        self.check(''.join(self.zone_op('open', zone) for zone in range(6)))
        self.check_fails(self.zone_op('open', 6), 'Too many references')
        self.assertZones({zone: ('oe', 0) for zone in range(6)})

    def test_open_limit_write(self):
        """a write that finds six explicitly open zones is refused"""
        self.check(''.join(self.zone_op('open', zone) for zone in range(6)))
        self.check_fails(self.write(6, 0, 4 * KIB, 'a'), 'Too many references')
        self.assertZones({zone: ('oe', 0) for zone in range(6)})
        self.assertData(6, 0, self.unwritten(4 * KIB))

    def test_active_limit(self):
        """writes close zones at the open limit, and stop at the active limit"""
        self.check(''.join(self.write(zone, 0, 4 * KIB, f'zone {zone}')
                           for zone in range(8)))
        self.check_fails(self.write(8, 0, 4 * KIB, 'a'), 'Value too large')
        zones = self.report()
        self.assertEqual([pointer for _, pointer in zones],
                         8 * [4 * KIB] + 4 * [0])
        self.assertEqual(sorted(state for state, _ in zones),
                         2 * ['cl'] + 4 * ['em'] + 6 * ['oi'])
        for zone in range(8):
            self.assertData(zone, 0, pattern(f'zone {zone}', 4 * KIB))

    @image_only('Linux and QEMU refuse this')
    def test_closed_at_limits(self):
        """a closed zone takes writes when both limits are reached"""
        self.check(''.join(self.write(zone, 0, 4 * KIB, 'a')
                           for zone in range(8)))
        closed = [zone for zone, state in enumerate(self.report())
                  if state == ('cl', 4 * KIB)]
        self.assertEqual(len(closed), 2)
        for zone in closed:
            self.check(self.write(zone, 4 * KIB, 4 * KIB, 'b'))
            self.assertEqual(self.report()[zone], ('oi', 8 * KIB))
        self.assertEqual(sorted(state for state, _ in self.report()),
                         2 * ['cl'] + 4 * ['em'] + 6 * ['oi'])

    def test_limit_returns(self):
        """finishing an active zone makes room for another"""
        self.check(''.join(self.write(zone, 0, 4 * KIB, 'a')
                           for zone in range(8)))
        self.check(self.zone_op('finish', 0) + self.write(8, 0, 4 * KIB, 'b'))
        zones = self.report()
        self.assertEqual(zones[0], FULL)
        self.assertEqual(zones[8], ('oi', 4 * KIB))

    def test_sequential(self):
        """sequential writes move the write pointer, and read back"""
        self.check(self.write(7, 0, MIB, 'first') +
                   self.write(7, MIB, 512 * KIB, 'second') +
                   self.write(7, MIB + 512 * KIB, 512, 'third'))
        self.assertZones({7: ('oi', MIB + 512 * KIB + 512)})
        self.assertData(7, 0, pattern('first', MIB) +
                        pattern('second', 512 * KIB) + pattern('third', 512))

    def test_out_of_order(self):
        """writes elsewhere than at the pointer fail, and move nothing"""
        self.check(self.write(7, 0, 64 * KIB, 'good'))
        for offset in (0, 60 * KIB, 68 * KIB, 32 * MIB):
            self.check_refused(self.write(7, offset, 4 * KIB, 'bad'))
        self.check_refused(self.write(8, 4 * KIB, 4 * KIB, 'bad'))
        self.assertZones({7: ('oi', 64 * KIB)})
        self.assertData(7, 0, pattern('good', 64 * KIB) +
                        self.unwritten(64 * KIB))
        self.assertData(7, 32 * MIB, self.unwritten(4 * KIB))
        # The next good write goes through: neither VM nor zone is stuck.
        self.check(self.write(7, 64 * KIB, 4 * KIB, 'more'))
        self.assertZones({7: ('oi', 68 * KIB)})

    def test_full(self):
        """a zone written to its end is full, and refuses writes"""
        self.check(self.write(9, 0, ZONE, 'all of it'))
        self.assertZones({9: FULL})
        self.check_refused(self.write(9, 0, 4 * KIB, 'bad'))
        self.assertZones({9: FULL})
        self.assertData(9, 0, pattern('all of it', ZONE))

    def test_finished(self):
        """a finished zone refuses writes at its old pointer"""
        self.check(self.write(9, 0, 64 * KIB, 'a') + self.zone_op('finish', 9))
        self.check_refused(self.write(9, 64 * KIB, 4 * KIB, 'bad'))
        self.assertData(9, 0, pattern('a', 64 * KIB) + bytes(4 * KIB))

    def test_zeroes(self):
        """reads above the write pointer give zeroes, to the zone's end"""
        self.check(self.write(10, 0, 20 * KIB, 'a'))
        self.assertData(10, 0, pattern('a', 20 * KIB) +
                        self.unwritten(ZONE - 20 * KIB))
        self.assertData(11, 0, self.unwritten(ZONE))

    def test_fio(self):
        """fio's zoned mode verifies random zones written at depth 8"""
        self.check('fio --name=zbd --filename=$DEV --direct=1 --zonemode=zbd '
                   '--rw=randwrite --bs=16K --ioengine=libaio --iodepth=8 '
                   '--max_open_zones=4 --io_size=8M --size=256M '
                   '--verify=crc32c --do_verify=1 --verify_state_save=0')


class Restart(ZoneCase):
    def fill(self):
        self.check('blkzone reset $DEV\n' +
                   self.write(0, 0, MIB, 'implicitly open') +
                   self.zone_op('open', 1) + self.zone_op('open', 2) +
                   self.write(1, 0, 12 * KIB, 'open') +
                   self.write(3, 0, 512, 'closed') + self.zone_op('close', 3) +
                   self.write(4, 0, 64 * KIB, 'finished') +
                   self.zone_op('finish', 4) +
                   self.write(11, 0, ZONE, 'last'))
        self.assertZones({0: ('oi', MIB), 1: ('oe', 12 * KIB), 2: ('oe', 0),
                          3: ('cl', 512), 4: FULL, 11: FULL})

    def verify(self):
        self.assertZones({0: ('cl', MIB), 1: ('cl', 12 * KIB), 2: EMPTY,
                          3: ('cl', 512), 4: FULL, 11: FULL})
        self.assertData(0, 0, pattern('implicitly open', MIB) + bytes(MIB))
        self.assertData(1, 0, pattern('open', 12 * KIB) + bytes(4 * KIB))
        self.assertData(3, 0, pattern('closed', 512) + bytes(3584))
        self.assertData(4, 0, pattern('finished', 64 * KIB) + bytes(64 * KIB))
        self.assertData(11, 0, pattern('last', ZONE))

    @restarts
    def test_poweroff(self):
        """pointers and data outlive QEMU; open zones are closed"""
        self.fill()
        self.reboot()
        self.verify()

    @restarts
    def test_continue(self):
        """a closed zone goes on at its pointer after the restart"""
        self.fill()
        self.reboot()
        self.check(self.write(1, 12 * KIB, 4 * KIB, 'more'))
        self.assertEqual(self.report()[1], ('oi', 16 * KIB))
        self.assertData(1, 0, pattern('open', 12 * KIB) +
                        pattern('more', 4 * KIB))

    @restarts
    def test_kill(self):
        """pointers and data that were flushed outlive SIGKILL"""
        self.fill()
        # fsync of the device; a plain sync sends no flush
        self.check('sync $DEV')
        self.reboot(kill=True)
        self.verify()


if __name__ == '__main__':
    tap.main()
