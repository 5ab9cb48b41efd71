#!/usr/bin/env python3
#
# One zoned disk with a queue for each CPU, handled by four I/O threads.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json

from zonetest import FilesCase
import tap

THREADS = [f'thread{i}' for i in range(4)]


class Multiqueue(FilesCase):
    OPTIONS = {'size': '512M', 'zone.size': '8M', 'zone.capacity': '8M',
               'zone.conventional_zones': 8, 'zone.max_open_zones': 16,
               'zone.max_active_zones': 16}

    @classmethod
    def attach(cls):
        if cls.disk != 'image':
            return super().attach()
        args = ['-smp', '4']
        for thread in THREADS:
            args += ['-object', f'iothread,id={thread}']
        device = {'driver': 'virtio-blk-pci', 'drive': 'drive1',
                  'iothread-vq-mapping': [{'iothread': thread}
                                          for thread in THREADS]}
        return args + ['-blockdev', 'node-name=drive1,driver=qcow2,'
                       f'file.driver=file,file.filename={cls.images[0]}',
                       '-device', json.dumps(device)]

    def fio(self, *options, timeout=300):
        return self.check(
            'fio --name=job --filename=$DEV --direct=1 --zonemode=zbd '
            '--ioengine=libaio --iodepth=16 --numjobs=8 --offset=64M '
            '--offset_increment=56M --size=16M --group_reporting=1 '
            '--max_open_zones=2 --job_max_open_zones=2 --thread=1 ' +
            ' '.join(options), timeout=timeout)

    def test_queues(self):
        """the disk has four queues"""
        output = self.check('ls /sys/block/${DEV#/dev/}/mq')
        self.assertEqual(output.split(), ['0', '1', '2', '3'])

    def test_verify(self):
        """eight jobs write zones, and all that they wrote is verified"""
        self.fio('--rw=write --bs=16K --io_size=8M --verify=crc32c '
                 '--do_verify=1 --verify_state_save=0')
        self.check_after()

    @tap.full
    def test_minute(self):
        """eight jobs read, write and reset zones for a minute"""
        self.check('blkzone reset $DEV')
        # fio resets a zone when it is full and its turn comes again.
        self.fio('--rw=randrw --bsrange=4K-64K --time_based --runtime=60')
        self.check_after()


if __name__ == '__main__':
    tap.main()
