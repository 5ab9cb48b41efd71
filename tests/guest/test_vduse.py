#!/usr/bin/env python3
#
# A zoned image as a disk of the host, without a virtual machine: a storage
# daemon exports it with VDUSE, here in the guest, which plays the host.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import atexit
import functools
import json
from pathlib import Path
import shutil
import tempfile
import unittest

from guest import Guest, IMAGE, prepare, SRC
from test_host_device import bundle, make_disk
from zonetest import (EMPTY, FULL, GEOMETRY, KIB, MIB, ZONE, ZoneCase,
                      pattern, sha256)
import test_blkzone
import tap

PROGRAMS = ['qemu-img', 'storage-daemon/qemu-storage-daemon']
VDPA = 'python3 /mnt/host/vdpa.py '
IMAGE_FILE = '/mnt/images/zbc.qcow2'

PRELUDE = '''\
import sys, time
sys.path.insert(0, '/mnt/host')
from vdpa import *

def fresh():
    """Empty all zones."""
    disk = Disk().start()
    assert disk.do(RESET_ALL)[0] == OK
    disk.close()

def stays(disk):
    """The daemon lives, for the next driver, and all zones are empty."""
    disk.close()
    assert Disk().start().zones() == [(1, 0)] * 4
'''


@functools.cache
def host():
    """The guest that all cases share, with our programs in /mnt/host."""
    prepare()
    directory = Path(tempfile.mkdtemp(prefix='vduse-', dir=IMAGE))
    atexit.register(shutil.rmtree, directory)
    top = directory / 'host'
    bundle(top, PROGRAMS)
    shutil.copy(SRC / 'tests/guest/vdpa.py', top)
    make_disk(top, directory / 'host.img')
    with open(directory / 'images.img', 'wb') as file:
        file.truncate(4 << 30)
    args = ['-smp', 4]
    for name, options in ('host', ',read-only=on'), ('images', ''):
        args += ['-blockdev', f'driver=raw,node-name={name}{options},'
                 f'file.driver=file,file.filename={directory}/{name}.img',
                 '-device', f'virtio-blk-pci,drive={name}']
    guest = Guest(args)
    atexit.register(guest.kill)
    guest.start()
    guest.check('mkdir -p /mnt/host /mnt/images; mount -o ro /dev/vda /mnt/host\n'
                'mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=1 /dev/vdb\n'
                'mount /dev/vdb /mnt/images\n'
                'modprobe -a vduse zonefs')
    return guest


class Vduse(ZoneCase):
    """The disk is that of a storage daemon in the guest, with 4 queues."""
    PREFIX = 'vduse, '
    EXPORT = 'writable=on,num-queues=4'
    DAEMON = ''
    NODE = ''
    # The bus driver of the vDPA device
    DRIVER = 'virtio_vdpa'

    @classmethod
    def setUpClass(cls):
        cls.disk = tap.options().disk
        if cls.disk != 'image':
            raise unittest.SkipTest(f'{cls.disk} is not exported')
        cls.geometry = GEOMETRY | cls.OPTIONS
        cls.dev, cls.guest = '', host()
        cls.addClassCleanup(cls.remove_all)
        options = ' '.join(f'-o {k}={v}' for k, v in cls.geometry.items())
        cls.check(f'modprobe {cls.DRIVER}\n'
                  '/mnt/host/obj/qemu-img create -q -f qcow2 '
                  f'{options} {IMAGE_FILE}')
        cls.start()
        cls.add()

    @classmethod
    def tearDownClass(cls):
        cls.remove()
        cls.stop()

    @classmethod
    def remove_all(cls):
        cls.guest.run('umount /mnt/z; [ -d /sys/bus/vdpa/devices/disk1 ] && '
                      f'{VDPA} dev del disk1; '
                      'kill $(cat /run/daemon.pid); sleep 1; '
                      'kill -9 $(cat /run/daemon.pid)\n'
                      f'rm -f /tmp/vduse-blk-* {IMAGE_FILE}; '
                      f'modprobe -r {cls.DRIVER}')

    @classmethod
    def start(cls, **more):
        """Start the daemon."""
        status, output = cls.start_status(**more)
        if status:
            raise AssertionError(output)

    @classmethod
    def start_status(cls, export=None, node=None):
        return cls.guest.run(
            '/mnt/host/obj/storage-daemon/qemu-storage-daemon --daemonize '
            '--pidfile /run/daemon.pid --chardev socket,path=/run/qmp,'
            'server=on,wait=off,id=monitor1 --monitor chardev=monitor1 '
            f'{cls.DAEMON} --blockdev node-name=image,driver=qcow2,'
            f'file.driver=file,file.filename={IMAGE_FILE} '
            f'{node or cls.NODE} --export vduse-blk,id=export1,name=disk1,'
            f'node-name={"drive1" if node or cls.NODE else "image"},'
            f'{export or cls.EXPORT}')

    @classmethod
    def stop(cls, kill=False):
        """End the daemon."""
        cls.check(f'pid=$(cat /run/daemon.pid); kill {"-9" * kill} $pid\n'
                  'for i in $(seq 300); do\n'
                  '[ -d /proc/$pid ] || exit 0; sleep 0.1; done; exit 1')

    @classmethod
    def add(cls):
        """Have the host make a disk of the export."""
        cls.check(f'{VDPA} dev add name disk1 mgmtdev vduse')
        if cls.DRIVER == 'virtio_vdpa':
            cls.dev = '/dev/' + cls.check(
                'for i in $(seq 300); do\n'
                'name=$(ls /sys/bus/vdpa/devices/disk1/virtio*/block) && '
                '[ "$(lsblk -dno SIZE /dev/$name)" ] && echo $name && exit\n'
                'sleep 0.1; done 2> /dev/null; exit 1').strip()

    @classmethod
    def remove(cls):
        cls.check(f'{VDPA} dev del disk1')

    def reboot(self, kill=False):
        """End the daemon, and have its disk made anew."""
        if not kill:
            self.remove()
        self.stop(kill)
        self.start()
        if kill:
            self.remove()
        self.add()

    def qmp(self, command, **arguments):
        return json.loads(self.check(
            f"{VDPA} qmp /run/qmp {command} '{json.dumps(arguments)}'"))


class Disk(Vduse, test_blkzone.Disk):
    def test_queues(self):
        """it has the four queues of the export"""
        self.assertEqual(self.check('ls /sys/block/${DEV#/dev/}/mq').split(),
                         ['0', '1', '2', '3'])

    def test_resize(self):
        """a larger image makes it larger"""
        self.qmp('block_resize', **{'node-name': 'image', 'size': 14 * ZONE})
        self.check('for i in $(seq 300); do\n'
                   f'[ $(lsblk -dbno SIZE $DEV) = {14 * ZONE} ] && exit\n'
                   'sleep 0.1; done; exit 1')
        self.remove()
        self.add()
        self.assertEqual(self.report(), 14 * [EMPTY])
        self.check(self.write(13, 0, 64 * KIB, 'last'))
        self.assertEqual(self.report()[13], ('oi', 64 * KIB))


@tap.full
class Zones(Vduse, test_blkzone.Zones):
    QUICK = {'test_open', 'test_close_written', 'test_finish', 'test_reset',
             'test_reset_all', 'test_active_limit', 'test_out_of_order'}


class Restart(Vduse, test_blkzone.Restart):
    DAEMON = '--object iothread,id=thread1'
    EXPORT = 'writable=on,num-queues=4,iothread=thread1'
    test_poweroff = tap.full(test_blkzone.Restart.test_poweroff)
    test_continue = tap.full(test_blkzone.Restart.test_continue)


class Files(Vduse):
    """zonefs is mounted, with a file per zone."""

    def setUp(self):
        self.check('blkzone reset $DEV; mkzonefs -f $DEV; mkdir -p /mnt/z\n'
                   'mount -t zonefs -o explicit-open $DEV /mnt/z')

    def tearDown(self):
        self.run_script('umount /mnt/z')

    def append(self, name, size, text):
        return (f"pattern '{text}' {size} | dd of=/mnt/z/seq/{name} bs=4K "
                'iflag=fullblock oflag=append,direct conv=notrunc '
                'status=none\n')

    def assertFile(self, name, data):
        output = self.check(f'stat -c %s /mnt/z/seq/{name}; sha256sum < '
                            f'/mnt/z/seq/{name}')
        self.assertEqual(output.split()[:2], [str(len(data)), sha256(data)])

    def test_files(self):
        """each zone is a file of zonefs that appends go to"""
        self.check(self.append(0, 256 * KIB, 'first') +
                   self.append(10, 8 * KIB, 'last') +
                   'truncate -s 0 /mnt/z/seq/0\n' +
                   self.append(0, 64 * KIB, 'second'))
        self.assertFile(0, pattern('second', 64 * KIB))
        self.assertFile(10, pattern('last', 8 * KIB))
        self.assertZones({0: FULL, 1: ('cl', 64 * KIB), 11: ('cl', 8 * KIB)})

    def test_daemon(self):
        """another daemon goes on with a disk that is in use"""
        self.check(self.append(3, 64 * KIB, 'before'))
        self.stop()
        self.assertEqual(self.check(f"({self.append(3, 64 * KIB, 'after')}) &\n"
                                    'sleep 1; jobs -r | wc -l'), '1\n')
        self.start()
        self.check('for i in $(seq 300); do [ $(stat -c %s /mnt/z/seq/3) = '
                   f'{128 * KIB} ] && exit; sleep 0.1; done; exit 1')
        self.assertFile(3, pattern('before', 64 * KIB) +
                        pattern('after', 64 * KIB))

    def test_killed_daemon(self):
        """after SIGKILL of the daemon a disk that is in use only fails"""
        self.check(self.append(5, 64 * KIB, 'before') + 'sync /mnt/z/seq/5\n')
        self.stop(kill=True)
        self.start()
        status, output = self.run_script(self.append(5, 4 * KIB, 'bad'))
        self.assertNotEqual(status, 0)
        self.assertIn('Input/output error', output)
        self.check_refused('dd if=$DEV bs=4K count=1 iflag=direct of=/dev/null')
        self.check('umount /mnt/z')
        self.remove()
        self.add()
        self.check('mount -t zonefs -o explicit-open $DEV /mnt/z')
        self.assertFile(5, pattern('before', 64 * KIB))
        self.check(self.append(5, 4 * KIB, 'after'))
        self.assertFile(5, pattern('before', 64 * KIB) +
                        pattern('after', 4 * KIB))

    @tap.full
    def test_fio(self):
        """fio writes and verifies at a depth of 8"""
        self.check('umount /mnt/z; blkzone reset $DEV\n'
                   'fio --name=zbd --filename=$DEV --direct=1 --zonemode=zbd '
                   '--rw=randwrite --bs=16K --ioengine=libaio --iodepth=8 '
                   '--max_open_zones=4 --io_size=64M --size=256M --numjobs=1 '
                   '--verify=crc32c --do_verify=1 --verify_state_save=0\n'
                   'blkzone reset $DEV; mkzonefs -f $DEV\n'
                   'mount -t zonefs -o explicit-open $DEV /mnt/z',
                   timeout=600)

    def test_removal(self):
        """the device is removed while the disk is written"""
        self.check('umount /mnt/z; blkzone reset $DEV\n'
                   "written() { awk '{print $7}' /sys/block/${DEV#/dev/}/stat; }\n"
                   'before=$(written)\n'
                   'dd if=/dev/zero of=$DEV bs=64K oflag=direct 2> /tmp/dd &\n'
                   'until [ $(written) -gt $before ]; do sleep 0.1; done\n'
                   f'{VDPA} dev del disk1; ! wait $!\n')
        self.add()
        written = [pointer for state, pointer in self.report()]
        self.assertEqual(written[0] is None or written[0] > 0, True)
        self.assertEqual(self.qmp('query-block-exports')[0]['id'], 'export1')
        self.check('blkzone reset $DEV\n' + self.write(1, 0, 4 * KIB, 'a') +
                   'mkzonefs -f $DEV; mount -t zonefs $DEV /mnt/z')


class Options(Vduse):
    """Exports with other options; started anew for each."""

    def again(self, export):
        self.remove()
        self.stop()
        self.start(export=export)
        self.add()

    def test_read_only(self):
        """a read-only export can be read, and shows its zones"""
        self.check(self.write(2, 0, 64 * KIB, 'a'))
        self.again('writable=off')
        self.assertEqual(self.check('lsblk -dno RO,ZONED $DEV').split(),
                         ['1', 'host-managed'])
        self.assertZones({2: ('cl', 64 * KIB)})
        self.assertData(2, 0, pattern('a', 64 * KIB) + bytes(4 * KIB))
        status, _ = self.run_script(self.zone_op('reset', 2))
        self.assertNotEqual(status, 0)
        self.assertZones({2: ('cl', 64 * KIB)})

    def test_block_size(self):
        """blocks of 4096 bytes, and few descriptors"""
        self.again('writable=on,logical-block-size=4096,queue-size=16')
        self.assertEqual(self.check('lsblk -dno LOG-SEC,MIN-IO $DEV').split(),
                         ['4096', '4096'])
        self.check(self.write(3, 0, MIB, 'a'))
        self.assertData(3, 0, pattern('a', MIB))

    def test_other_zones(self):
        """a disk in use becomes another one when its driver starts anew"""
        self.stop()
        self.start(export='writable=on,logical-block-size=4096')
        self.check_refused('dd if=$DEV bs=4K count=1 iflag=direct of=/dev/null')
        self.remove()
        self.add()
        self.assertEqual(self.check('lsblk -dno LOG-SEC $DEV').strip(), '4096')
        self.check(self.write(4, 0, MIB, 'a'))

    def test_refused(self):
        """options that do not fit the zones"""
        self.remove()
        self.stop()
        status, output = self.start_status(
            export='writable=on,logical-block-size=3000')
        self.assertEqual(status, 1)
        self.assertIn('logical-block-size', output)
        self.start()
        self.add()


class Driver(Vduse):
    """Another driver than Linux's, that sends what no guest does."""
    OPTIONS = {'size': '64M', 'zone.size': '4M', 'zone.capacity': '4M'}
    EXPORT = 'writable=on'
    DRIVER = 'vhost_vdpa'
    NODE = '--blockdev driver=throttle,node-name=drive1,file=image,' \
           'throttle-group=group1'
    DAEMON = '--object throttle-group,id=group1'

    def python(self, script):
        """Run a script with the driver; return what it prints."""
        return self.check(f"python3 - <<'END'\n{PRELUDE}{script}\nEND\n")

    def slow(self, ops, size=0):
        """
        So many operations per second from now on, 0: no limit.  One of more than
        size bytes counts as many; those of zones have none.
        """
        self.qmp('qom-set', path='/objects/group1', property='limits',
                 value={'iops-total': ops, 'iops-size': size})

    def test_config(self):
        """config space and features"""
        self.assertEqual(json.loads(self.python('''
disk = Disk().start()
print(json.dumps([disk.offered >> f & 1 for f in (F_ZONED, F_DISCARD, F_FLUSH, F_RO)] +
                 list(struct.unpack('<QIIII', disk.config(0, 8) + disk.config(20, 4) + bytes(12))[:2]) +
                 list(struct.unpack('<IIIIIBBBB', disk.config(72, 24)))))
''')), [1, 0, 1, 0, 131072, 512, 8192, 6, 8, 256, 512, 1, 0, 0, 0])

    def test_zone_requests(self):
        """appends, reports and operations on zones"""
        self.python('''
fresh()
disk = Disk().start()
for expected in 0, 8:
    status, answer = disk.do(APPEND, 8192, bytes([1 + expected]) * 4096, 8)
    assert status == OK and struct.unpack('<Q', answer)[0] == 8192 + expected
assert disk.do(IN, 8192, size=4096) == (OK, b'\\x01' * 4096)
assert disk.do(IN, 8200, size=4096) == (OK, b'\\x09' * 4096)
assert disk.do(OPEN, 0)[0] == OK
assert disk.do(FINISH, 16384)[0] == OK
assert disk.zones()[:2] == [(3, 0), (2, 16)], disk.zones()
assert disk.zones()[2][0] == 14 and disk.zones()[3] == (1, 0)
assert disk.do(CLOSE, 0)[0] == OK and disk.do(RESET, 8192)[0] == OK
assert disk.zones()[:2] == [(1, 0), (1, 0)]
assert disk.do(OUT, 8, bytes(4096))[0] == UNALIGNED
assert disk.do(OUT, 8200, bytes(4096))[0] == UNALIGNED
assert disk.do(OPEN, 1)[0] == INVALID
assert disk.do(APPEND, 8192, bytes(4096))[0] == INVALID
range_ = struct.pack('<QII', 8192, 8, 0)
assert disk.do(DISCARD, 0, range_)[0] == UNSUPP
assert disk.do(WRITE_ZEROES, 0, range_)[0] == OK
assert disk.zones()[1] == (2, 8)
assert disk.do(RESET_ALL, 77)[0] == OK
assert disk.zones() == [(1, 0)] * 4
''')

    def test_no_zones(self):
        """a driver that knows no zones is refused, and can write nothing"""
        self.python('''
fresh()
disk = Disk(refuse=[F_ZONED])
assert not disk.accepted
disk.start()
assert not disk.status() & DRIVER_OK
disk.request(OUT, 0, bytes(4096))
time.sleep(1)
assert disk.done() == 0
stays(disk)
''')

    def test_legacy(self):
        """a driver without VIRTIO_F_VERSION_1 is refused"""
        self.python('''
fresh()
disk = Disk(refuse=[F_VERSION_1])
assert not disk.accepted
disk.start()
assert not disk.status() & DRIVER_OK
stays(disk)
''')

    def fail_over(self):
        """Another daemon takes the place of one that was killed."""
        self.stop(kill=True)
        self.start()

    def assertStays(self, zones=4 * [[1, 0]]):
        """The daemon lives, and the zones are these."""
        self.assertEqual(json.loads(self.python(
            'print(json.dumps(Disk().start().zones()))')), zones)

    def test_malformed(self):
        """malformed requests are given back, and the disk goes on"""
        self.python('''
fresh()
disk = Disk().start()
heads = [disk.submit(bytes(16)), disk.submit(bytes(8), 1), disk.submit(1),
         disk.submit(struct.pack('<IIQ', APPEND, 0, 0) + bytes(4096))]
disk.wait()
assert sorted(disk.used()) == [(head, 0) for head in heads], disk.used()
assert disk.do(IN, 0, size=512) == (OK, bytes(512))
disk.set_status(0)
stays(disk)
''')
        self.remove()
        self.qmp('block-export-del', id='export1')
        self.check('for i in $(seq 300); do\n'
                   f'{VDPA} qmp /run/qmp query-block-exports | grep -q export1 '
                   '|| exit 0; sleep 0.1; done; exit 1')
        self.stop()
        self.start()
        self.add()

    def test_ring(self):
        """a ring that goes beyond its memory is not used"""
        self.python('''
fresh()
disk = Disk().start(used=IOVA + MEMORY - 4)
disk.request(IN, 0, size=512)
time.sleep(1)
assert disk.mem[-4:] == bytes(4)
stays(disk)
''')

    def test_reset(self):
        """a reset waits for the requests in flight"""
        self.slow(1, 1024)
        self.python('''
fresh()
disk = Disk().start()
for _ in range(3):
    disk.request(APPEND, 0, bytes(4096), 8)
disk.wait(2)
disk.set_status(0)
assert disk.done() == 3, disk.done()
''')
        self.slow(0)
        self.assertStays([[2, 24]] + 3 * [[1, 0]])

    def test_unmap(self):
        """so does a driver's taking its memory back"""
        self.slow(1, 1024)
        self.python('''
fresh()
disk = Disk().start()
for _ in range(3):
    disk.request(APPEND, 0, bytes(4096), 8)
disk.wait(2)
disk.map(3)
assert disk.done() == 3, disk.done()
''')
        self.slow(0)
        self.assertStays([[2, 24]] + 3 * [[1, 0]])

    def test_killed(self):
        """what was in flight when the daemon died is not repeated"""
        self.slow(1, 64)
        self.check(f"(python3 - <<'END'\n{PRELUDE}" + '''
fresh()
disk = Disk().start()
heads = [disk.request(APPEND, 0, bytes(4096), 8) for _ in range(3)]
disk.wait(1)
print('ready', flush=True)
disk.wait(3, 120)
assert [disk.answer(head)[-1] for head in heads] == [OK, IOERR, IOERR]
assert disk.do(APPEND, 0, bytes(4096), 8)[0] == IOERR
assert disk.do(REPORT, size=128)[0] == IOERR
assert disk.do(FLUSH)[0] == IOERR
print('done')
END
) > /tmp/driver 2>&1 &
for i in $(seq 300); do
grep -q ready /tmp/driver && exit; sleep 0.1; done; exit 1''')
        self.fail_over()
        self.assertEqual(self.check('''
for i in $(seq 300); do
grep -q -e done -e Error /tmp/driver && break; sleep 0.1; done
cat /tmp/driver'''), 'ready\ndone\n')
        zones = json.loads(self.python(
            'print(json.dumps(Disk().start().zones()))'))
        # What was done had not been flushed
        self.assertIn(zones[0], ([1, 0], [4, 8]))
        self.assertEqual(zones[1:], 3 * [[1, 0]])

    def test_no_flush(self):
        """a driver that cannot flush loses nothing when the daemon dies"""
        self.python('''
fresh()
disk = Disk(refuse=[F_FLUSH]).start()
assert disk.do(APPEND, 0, bytes(4096), 8)[0] == OK
''')
        self.fail_over()
        self.assertStays([[4, 8]] + 3 * [[1, 0]])


if __name__ == '__main__':
    tap.main()
