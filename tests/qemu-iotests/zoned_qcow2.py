# What the tests of zoned qcow2 images share
#
# A test case creates an image, opens it with qemu-io, and compares what the
# zones look like with one word per zone: 'empty', 'full', 'conv' or 'offline',
# and for those with a write pointer inside 'iopen+N', 'eopen+N', 'closed+N' or
# 'rdonly+N', N being bytes from the start of the zone.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import faulthandler
import os
import re
import struct
import time
from contextlib import contextmanager
from typing import (Any, Callable, Dict, Iterator, List, NamedTuple, Optional,
                    Tuple)

import iotests

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

INCOMPATIBLE_ZONED = 1 << 40
EXT_MAGIC = 0x5a4f4e45
EXT_LEN = 80
RECORD_LEN = 16
# In the first word of a record
HAS_EXTENSION = 0x80 << 51

# Zone states: as qemu-io prints them, and in the record of a zone
STATES = {0: 'conv', 1: 'empty', 2: 'iopen', 3: 'eopen', 4: 'closed',
          13: 'rdonly', 14: 'full', 15: 'offline'}
STATE_NAMES = {0: 'not-write-pointer', 1: 'empty', 2: 'implicitly-open',
               3: 'explicitly-open', 4: 'closed', 13: 'read-only', 14: 'full',
               15: 'offline'}

# What every option is unless a test says otherwise: four zones of 1 MiB
GEOMETRY = {'zone.mode': 'host-managed', 'zone.size': '1M'}

# Seconds after which write pointers are stored without a flush of the guest
STORE_SOON = 2

# Zone rules and the words that strerror() has for them
CROSSES = 'Numerical result out of range'                       # ERANGE
NOT_AT_WP = 'Illegal seek'                                      # ESPIPE
FULL = 'File too large'                                         # EFBIG
READ_ONLY = 'Read-only file system'                             # EROFS
OFFLINE = 'No such device'                                      # ENODEV
ACTIVE_LIMIT = 'Value too large for defined data type'          # EOVERFLOW
OPEN_LIMIT = 'Too many references: cannot splice'               # ETOOMANYREFS
INVALID = 'Invalid argument'                                    # EINVAL
NOT_PERMITTED = 'Operation not permitted'                       # EPERM
NOT_SUPPORTED = 'Operation not supported'                       # ENOTSUP
READ_ONLY_NODE = 'Block node is read-only'
IO_ERROR = 'Input/output error'                                 # EIO


class Zone(NamedTuple):
    start: int
    length: int
    capacity: int
    wp: int
    state: str
    sequential: bool

    def word(self) -> str:
        """The zone in one word, see above."""
        if self.state in ('conv', 'empty', 'full', 'offline'):
            return self.state
        return f'{self.state}+{self.wp - self.start}'


class ZoneRules(AssertionError):
    """Something about a zone is not as a rule wants it."""


def parse_report(output: str) -> List[Zone]:
    """Zones from what the command zone_report prints."""
    zones = []
    for line in output.splitlines():
        match = re.fullmatch(r'start: 0x([0-9a-f]+), len 0x([0-9a-f]+), '
                             r'cap 0x([0-9a-f]+), wptr 0x([0-9a-f]+), '
                             r'zcond:(\d+), \[type: (\d+)\]'
                             r'(?:, state: ([a-z-]+))?', line)
        if not match:
            raise ZoneRules(f'not a zone: {line!r}')
        start, length, capacity, wp = (int(n, 16) * 512
                                       for n in match.groups()[:4])
        state, kind = int(match.group(5)), int(match.group(6))
        zone = Zone(start, length, capacity, wp, STATES[state], kind == 2)
        if match.group(7) not in (None, STATE_NAMES[state]):
            raise ZoneRules(f'not the name of the state: {line}')

        # These hold for every zone there is
        if zone.state == 'empty' and zone.wp != zone.start or \
           zone.state == 'full' and zone.wp != zone.start + zone.length or \
           zone.sequential == (zone.state == 'conv') or \
           not 0 < zone.capacity <= zone.length:
            raise ZoneRules(f'not a sound zone: {line}')
        zones.append(zone)
    return zones


class Disk(iotests.QemuIoInteractive):
    """
    An image opened by a qemu-io that takes one command after the other.

    Use it in a with statement; leaving that closes the image cleanly.  Other
    than qemu-io likes to have it, a reset leaves in the file what was there,
    for it must not show; say discard='unmap' where that is not wanted.
    """
    def __init__(self, path: str, *args: str, discard: str = 'ignore') -> None:
        super().__init__('-d', discard, *args, path)
        self.running = True

    def __enter__(self) -> 'Disk':
        return self

    def __exit__(self, *exc: Any) -> None:
        if self.running:
            self.close()

    def close(self) -> None:
        super().close()
        self.running = False
        # Not 0 where a command has failed, below where qemu-io crashed
        if self._p.returncode < 0:
            raise ZoneRules(f'qemu-io ended with {self._p.returncode}')

    def kill(self) -> None:
        """A crash: the image is not closed."""
        self._p.kill()
        self._p.communicate()
        self.running = False

    def do(self, *commands: str) -> None:
        """Commands that must succeed; they print nothing but numbers then."""
        for command in commands:
            output = self.cmd(command)
            if 'fail' in output or 'rror' in output:
                raise ZoneRules(f'{command}: {output.strip()}')

    def error(self, command: str) -> str:
        """The reason for which a command fails."""
        output = self.cmd(command).strip()
        match = re.fullmatch(r'(?:[\w -]+ failed|qemu-io): (.*)', output)
        if not match:
            raise ZoneRules(f'{command} did not fail: {output}')
        return match.group(1)

    def append(self, zone: int, length: int, pattern: int = 0xcd) -> int:
        """Append to the zone that starts at @zone, return the position."""
        output = self.cmd(f'zap -p -P {pattern} {zone} {length}').strip()
        match = re.fullmatch(r'After zap done, the append sector is '
                             r'0x([0-9a-f]+)', output)
        if not match:
            raise ZoneRules(f'append: {output}')
        return int(match.group(1), 16) * 512

    def holds(self, offset: int, length: int, pattern: int) -> bool:
        """Is the range full of this byte?"""
        output = self.cmd(f'read -P {pattern} {offset} {length}')
        if 'Pattern verification failed' in output:
            return False
        if f'read {length}/{length} bytes' not in output:
            raise ZoneRules(f'read {offset} {length}: {output.strip()}')
        return True

    def report(self, offset: int = 0, count: int = 64) -> List[Zone]:
        return parse_report(self.cmd(f'zrp {offset} {count}'))

    def zones(self) -> List[str]:
        """All zones of the disk, in one word each."""
        return [zone.word() for zone in self.report()]


class Header:
    """
    The header of a zoned image, for tests that damage it.

    Values are read at once; store() writes them back.  @tail is what the
    extension has behind the fields.
    """
    FIELDS = ('model', 'reserved', 'flags', 'zone_size', 'zone_capacity',
              'nr_zones', 'conventional_zones', 'max_open_zones',
              'max_active_zones', 'max_append_bytes',
              'descriptor_extension_size', 'table_offset',
              'descriptor_extension_offset', 'zrwa_size',
              'zrwa_flush_granularity', 'zrwa_zones', 'reserved2')
    FORMAT = '>B3sIQQIIIIIIQQIIII'

    def __init__(self, path: str) -> None:
        self.path = path
        with open(path, 'rb') as image:
            header = image.read(4096)
        self.cluster_size = 1 << struct.unpack_from('>I', header, 20)[0]
        self.incompatible = struct.unpack_from('>Q', header, 72)[0]
        self.first_extension = struct.unpack_from('>I', header, 100)[0]

        #: magic and data of every extension, in their order
        self.extensions: List[List[Any]] = []
        pos = self.first_extension
        while True:
            magic, length = struct.unpack_from('>II', header, pos)
            if magic == 0:
                break
            data = header[pos + 8:pos + 8 + length]
            self.extensions.append([magic, data])
            pos += 8 + (length + 7) // 8 * 8

        data = self.extension_data()
        values = struct.unpack_from(self.FORMAT, data)
        self.fields: Dict[str, Any] = dict(zip(self.FIELDS, values))
        self.tail = data[EXT_LEN:]

    def extension_data(self) -> bytes:
        """The zone extension as it was read."""
        found = [data for magic, data in self.extensions if magic == EXT_MAGIC]
        assert len(found) == 1
        return found[0]

    def records(self) -> List[Tuple[int, int]]:
        """The zone table: both words of every record."""
        with open(self.path, 'rb') as image:
            image.seek(self.fields['table_offset'])
            table = image.read(self.fields['nr_zones'] * RECORD_LEN)
        return list(struct.iter_unpack('>QQ', table))

    def record_offset(self, zone: int) -> int:
        return self.fields['table_offset'] + zone * RECORD_LEN

    def store_record(self, zone: int, first: int, second: int) -> None:
        with open(self.path, 'r+b') as image:
            image.seek(self.record_offset(zone))
            image.write(struct.pack('>QQ', first, second))

    def _place_of_extension(self, zone: int) -> int:
        size: int = self.fields['descriptor_extension_size']
        offset: int = self.fields['descriptor_extension_offset']
        return offset + zone * size

    def descriptor_extension(self, zone: int) -> Optional[bytes]:
        if not self.records()[zone][0] & HAS_EXTENSION:
            return None
        with open(self.path, 'rb') as image:
            image.seek(self._place_of_extension(zone))
            return image.read(self.fields['descriptor_extension_size'])

    def store_descriptor_extension(self, zone: int, data: bytes) -> None:
        """What a namespace of NVMe does to a zone with data"""
        first, second = self.records()[zone]
        self.store_record(zone, first | HAS_EXTENSION, second)
        with open(self.path, 'r+b') as image:
            image.seek(self._place_of_extension(zone))
            image.write(data)

    def store(self, length: int = 0) -> None:
        """Write the header; @length is one to claim for the extension."""
        out = b''
        for magic, data in self.extensions:
            claimed = len(data)
            if magic == EXT_MAGIC:
                values = [self.fields[name] for name in self.FIELDS]
                data = struct.pack(self.FORMAT, *values) + self.tail
                claimed = length or len(data)
            out += struct.pack('>II', magic, claimed)
            out += data + bytes(-len(data) % 8)
        out += bytes(8)
        with open(self.path, 'r+b') as image:
            image.seek(72)
            image.write(struct.pack('>Q', self.incompatible))
            image.seek(self.first_extension)
            image.write(out)


class ZonedTestCase(iotests.QMPTestCase):
    """Each test has an image of its own at self.path."""
    maxDiff = None

    def setUp(self) -> None:
        self.path = os.path.join(iotests.test_dir, 'zoned.qcow2')
        self.other_files: List[str] = []

    def tearDown(self) -> None:
        for path in [self.path] + self.other_files:
            iotests.try_remove(path)

    def file(self, name: str) -> str:
        """The path of another file, which is removed in the end."""
        path = os.path.join(iotests.test_dir, name)
        self.other_files.append(path)
        return path

    @contextmanager
    def silence(self) -> Iterator[None]:
        """A daemon that is started here says nothing of what its clients do."""
        stderr = os.dup(2)
        with open(os.devnull, 'w', encoding='ascii') as null:
            os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)

    def create(self, size: str = '4M', *args: str, **options: Any) -> None:
        """
        Create an image with the zones of GEOMETRY and these options; for
        zone_X read zone.X.  An option that is None is left out.
        """
        opts: Dict[str, Any] = dict(GEOMETRY)
        for name, value in options.items():
            opts[re.sub('^zone_', 'zone.', name)] = value
        words = [f'{name}={value}' for name, value in opts.items()
                 if value is not None]
        iotests.qemu_img('create', '-f', iotests.imgfmt, *args,
                         '-o', ','.join(words), self.path, size)

    def open(self, *args: str, **kwargs: str) -> Disk:
        return Disk(self.path, *args, **kwargs)

    def assert_zones(self, disk: Disk, *words: str) -> None:
        self.assertEqual(disk.zones(), list(words))

    def assert_stored(self, *words: str) -> None:
        """The zones that the image has, opened anew and not to be changed."""
        with self.open('-r') as disk:
            self.assert_zones(disk, *words)

    def assert_holds(self, disk: Disk, offset: int, length: int,
                     pattern: int) -> None:
        self.assertTrue(disk.holds(offset, length, pattern),
                        f'not all of [{offset}, {offset + length}) '
                        f'is {pattern:#x}')

    def assert_clean(self, leaks: bool = False) -> None:
        """qemu-img check has nothing to say."""
        result = iotests.qemu_img_check(self.path)
        if leaks:
            result.pop('leaks', None)
        for key in ('leaks', 'corruptions', 'check-errors'):
            self.assertEqual(result.get(key, 0), 0, key)

    def img_error(self, *args: str) -> str:
        """What qemu-img prints when it fails, without names in front."""
        result = iotests.qemu_img(*args, check=False)
        self.assertEqual(result.returncode, 1, result.stdout)
        output = result.stdout.strip().removeprefix('qemu-img: ')
        return output.removeprefix(f'{self.path}: ')


def before_the_timer(run: Callable[[], Any]) -> Any:
    """What @run() returns, which counts flushes: those of a guest only."""
    for _ in range(10):
        begin = time.monotonic()
        result = run()
        if time.monotonic() - begin < STORE_SOON:
            return result
    raise AssertionError('this host is too slow to count flushes')


class StorageDaemon(iotests.QemuStorageDaemon):
    """One whose crash is a failure, wherever a test stops it"""
    def stop(self, kill_signal: int = 15) -> None:
        process = self._p
        super().stop(kill_signal)
        assert process and process.returncode in (0, -kill_signal), process


def main() -> None:
    """Run the tests of a file; they choose the creation options themselves."""
    # One that hangs says where, before it is ended (see meson.build).  What it has
    # started goes on.
    faulthandler.dump_traceback_later(500, exit=True)
    iotests.main(supported_fmts=['qcow2'], supported_protocols=['file'],
                 unsupported_imgopts=['compat', 'cluster_size', 'data_file',
                                      'encrypt', 'extended_l2',
                                      'lazy_refcounts', 'preallocation',
                                      'refcount_bits'])
