#!/usr/bin/env python3
#
# zonefs on a zoned qcow2 image: every zone is a file, its size is the write
# pointer.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from zonetest import FULL, KIB, MIB, ZONE, ZoneCase, pattern, restarts, sha256
import tap


class ZonefsCase(ZoneCase):
    """zonefs on /mnt/z, with explicit opens; starts anew for each test."""
    FORMAT = ''

    def setUp(self):
        self.check('mountpoint -q /mnt/z && umount /mnt/z\n'
                   'modprobe zonefs; blkzone reset $DEV\n'
                   f'mkzonefs -f {self.FORMAT} $DEV')
        self.mount()

    def mount(self):
        self.check('mkdir -p /mnt/z\n'
                   'mount -t zonefs -o explicit-open,errors=remount-ro $DEV '
                   '/mnt/z')

    def remount(self):
        self.check('umount /mnt/z')
        self.mount()

    def append(self, name, size, text):
        """The command line that appends pattern(text, size) to a file."""
        return (f"pattern '{text}' {size} | dd of=/mnt/z/{name} bs=4K "
                'iflag=fullblock oflag=append,direct conv=notrunc '
                'status=none\n')

    def sizes(self):
        """The sizes of the sequential files, in the order of the zones."""
        return [int(size) for size in self.check(
            'cd /mnt/z/seq; stat -c %s $(ls | sort -n)').split()]

    def assertFile(self, name, data):
        output = self.check(f'stat -c %s /mnt/z/{name}; '
                            f'dd if=/mnt/z/{name} bs=64K iflag=direct '
                            'status=none | sha256sum')
        self.assertEqual(output.split()[:2], [str(len(data)), sha256(data)])


class Sequential(ZonefsCase):
    """Zone 0 holds the super block: the file seq/N is zone N + 1."""

    def test_files(self):
        """eleven empty files, each as large as a zone may become"""
        self.assertEqual(self.sizes(), 11 * [0])
        blocks = self.check('stat -c %b /mnt/z/seq/*').split()
        self.assertEqual(blocks, 11 * [str(ZONE // 512)])
        self.assertZones({0: FULL})

    def test_append(self):
        """appends make the file grow, as far as the write pointer moves"""
        self.check(self.append('seq/0', 256 * KIB, 'first') +
                   self.append('seq/0', 4 * KIB, 'second') +
                   self.append('seq/10', 8 * KIB, 'last'))
        self.assertEqual(self.sizes(), [260 * KIB] + 9 * [0] + [8 * KIB])
        self.assertFile('seq/0', pattern('first', 256 * KIB) +
                        pattern('second', 4 * KIB))
        self.assertZones({0: FULL, 1: ('cl', 260 * KIB), 11: ('cl', 8 * KIB)})

    def test_elsewhere(self):
        """writes elsewhere than at the end are refused"""
        self.check(self.append('seq/0', 64 * KIB, 'a'))
        for block in (0, 15, 17):
            self.check_fails('dd if=/dev/zero of=/mnt/z/seq/0 bs=4K count=1 '
                             f'oflag=direct conv=notrunc seek={block}',
                             'Invalid argument')
        self.assertFile('seq/0', pattern('a', 64 * KIB))

    def test_remount(self):
        """sizes and data are the same after a remount"""
        self.check(self.append('seq/3', MIB, 'a') +
                   self.append('seq/4', 4 * KIB, 'b'))
        self.remount()
        self.assertEqual(self.sizes(), 3 * [0] + [MIB, 4 * KIB] + 6 * [0])
        self.assertFile('seq/3', pattern('a', MIB))
        self.assertFile('seq/4', pattern('b', 4 * KIB))

    def test_truncate(self):
        """truncation to zero resets the zone, to the maximum finishes it"""
        self.check(self.append('seq/1', 64 * KIB, 'a') +
                   self.append('seq/2', 64 * KIB, 'b') +
                   'truncate -s 0 /mnt/z/seq/1\n'
                   f'truncate -s {ZONE} /mnt/z/seq/2')
        self.assertZones({0: FULL, 3: FULL})
        self.assertEqual(self.sizes(), [0, 0, ZONE] + 8 * [0])
        self.check_fails('truncate -s 4096 /mnt/z/seq/2',
                         'Operation not permitted')
        self.check(self.append('seq/1', 4 * KIB, 'new'))
        self.assertFile('seq/1', pattern('new', 4 * KIB))

    def test_open_files(self):
        """six files open for writing are six open zones; a seventh is busy"""
        self.check_fails('''
            for i in 0 1 2 3 4 5; do
                eval "exec 1$i<> /mnt/z/seq/$i" || exit 1
            done
            blkzone report $DEV > /tmp/report
            exec 20<> /mnt/z/seq/6''', '/mnt/z/seq/6: Device or resource busy')
        output = self.check('grep -c "(oe)" /tmp/report')
        self.assertEqual(output, '6\n')
        self.assertZones({0: FULL})

    def test_full(self):
        """a file filled to the end of its zone takes no more"""
        self.check(f"pattern x {ZONE} | dd of=/mnt/z/seq/5 bs=1M status=none "
                   'iflag=fullblock oflag=append,direct conv=notrunc')
        self.check_fails(self.append('seq/5', 4 * KIB, 'more'),
                         'File too large')
        self.assertZones({0: FULL, 6: FULL})
        self.assertFile('seq/5', pattern('x', ZONE))

    @restarts
    def test_restart(self):
        """sizes and data are the same in a new QEMU process"""
        self.check(self.append('seq/0', MIB, 'a') +
                   self.append('seq/10', 12 * KIB, 'b') + 'umount /mnt/z')
        self.reboot()
        self.mount()
        self.assertEqual(self.sizes(), [MIB] + 9 * [0] + [12 * KIB])
        self.assertFile('seq/0', pattern('a', MIB))
        self.assertFile('seq/10', pattern('b', 12 * KIB))
        self.check(self.append('seq/10', 4 * KIB, 'c'))
        self.assertFile('seq/10', pattern('b', 12 * KIB) +
                        pattern('c', 4 * KIB))

    @restarts
    def test_kill(self):
        """data that was synced is there after SIGKILL"""
        self.check(self.append('seq/7', MIB, 'a') + 'sync -f /mnt/z\n'
                   'sync /mnt/z/seq/7')
        self.reboot(kill=True)
        self.mount()
        self.assertFile('seq/7', pattern('a', MIB))


class Conventional(ZonefsCase):
    """Three conventional zones, the first for the super block."""
    OPTIONS = {'zone.conventional_zones': 3, 'zone.capacity': '48M'}
    FORMAT = '-o aggr_cnv'

    def test_files(self):
        """one file of two conventional zones, nine sequential ones of 48M"""
        output = self.check('stat -c %s/%b /mnt/z/cnv/*; '
                            'stat -c %s/%b /mnt/z/seq/*')
        self.assertEqual(output.split(),
                         [f'{2 * ZONE}/{2 * ZONE // 512}'] +
                         9 * [f'0/{48 * MIB // 512}'])

    def test_conventional(self):
        """conventional zones take writes anywhere, again and again"""
        self.check('''
            put() { pattern $1 4096 | dd of=/mnt/z/cnv/0 bs=4K seek=$2 \\
                    oflag=direct conv=notrunc status=none; }
            put first 16384; put second 5; put third 5; put fourth 16383''')
        self.remount()
        for text, block in (('third', 5), ('fourth', 16383), ('first', 16384)):
            output = self.check('dd if=/mnt/z/cnv/0 bs=4K count=1 '
                                f'skip={block} status=none | sha256sum')
            self.assertEqual(output.split()[0], sha256(pattern(text, 4096)))
        self.assertEqual(self.report(), 3 * [('nw', None)] + 9 * [('em', 0)])

    def test_capacity(self):
        """a file takes as much as the zone's capacity and no more"""
        self.check(f"pattern x {48 * MIB} | dd of=/mnt/z/seq/0 bs=1M "
                   'iflag=fullblock oflag=append,direct conv=notrunc '
                   'status=none')
        self.check_fails(self.append('seq/0', 4 * KIB, 'more'),
                         'File too large')
        self.assertEqual(self.report()[3], FULL)
        self.assertFile('seq/0', pattern('x', 48 * MIB))

    def test_gap(self):
        """between capacity and zone size nothing can be written"""
        self.check('umount /mnt/z\n' + self.write(5, 0, 48 * MIB, 'x'))
        self.check_fails(self.write(5, 48 * MIB, 4 * KIB, 'bad'),
                         'Input/output error')
        self.assertEqual(self.report()[5], FULL)


if __name__ == '__main__':
    tap.main()
