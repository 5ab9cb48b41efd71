# Zoned images to begin with, and where things are in them.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import struct
import subprocess
import zlib

from program import OBJ

KiB = 1024
EXT_MAGIC = 0x5a4f4e45
EXT_LEN, EXT_FULL_LEN = 80, 88      # without and with a claim area
RECORD_LEN = 16
ZONED_BIT = 1 << 40
EXTENDED_L2_BIT = 1 << 4
BLOCK_MAGIC = 0x5a434c4d
BLOCK_LEN, CLAIM_LEN, MAX_CLAIMS = 4096, 32, 127
AREA_LEN = 2 * BLOCK_LEN
MAX_CLAIMED = 16 << 20
# In an entry of an L1 or L2 table
COPIED, COMPRESSED, ALL_ZERO, OFFSET_MASK = 1 << 63, 1 << 62, 1, 0xfffffffffffe00

BLOCK_HEAD, CLAIM = struct.Struct('>IIQQQ'), struct.Struct('>IIQQQ')

# Name, offset in the extension, size
FIELDS = [
    ('model', 0, 1), ('reserved', 1, 3), ('flags', 4, 4), ('zone_size', 8, 8),
    ('zone_capacity', 16, 8), ('nr_zones', 24, 4), ('conventional_zones', 28, 4),
    ('max_open_zones', 32, 4), ('max_active_zones', 36, 4),
    ('max_append_bytes', 40, 4), ('descriptor_extension_size', 44, 4),
    ('table_offset', 48, 8), ('descriptor_extension_offset', 56, 8),
    ('zrwa_size', 64, 4), ('zrwa_flush_granularity', 68, 4), ('zrwa_zones', 72, 4),
    ('reserved2', 76, 4), ('claims_offset', 80, 8)]

# Options of qemu-img create, qemu-io's commands on what that made, and records
# that no command of qemu-io makes: by zone, state and attributes, and how far the
# write pointer and the end of data are from the start
SMALL = {'size': 1024 * KiB, 'zone.mode': 'host-managed', 'zone.size': 128 * KiB,
         'zone.capacity': 96 * KiB, 'zone.conventional_zones': 1,
         'zone.max_open_zones': 3, 'zone.max_active_zones': 5}
FILL = ['write -P 1 0 20k', 'write -P 2 128k 96k', 'write -P 3 256k 4k',
        'write -P 4 384k 512', 'zf 384k 128k', 'write -P 5 512k 9k']
BASES = {
    '4k': ({**SMALL, 'cluster_size': 4 * KiB}, FILL),
    '512': ({**SMALL, 'cluster_size': 512, 'size': 1000 * KiB,
             'zone.conventional_zones': 0}, FILL[1:]),
    '64k': ({**SMALL, 'zone.max_active_zones': 0, 'zone.max_open_zones': 0}, FILL),
    'subclusters': ({**SMALL, 'cluster_size': 16 * KiB, 'extended_l2': 'on'}, FILL),
    'small-refcounts': ({**SMALL, 'cluster_size': 4 * KiB, 'refcount_bits': 1}, FILL),
    # Descriptor extensions and random write areas
    'areas': ({**SMALL, 'cluster_size': 4 * KiB, 'zone.descriptor_extension_size': 128,
               'zone.zrwa_size': 16 * KiB, 'zone.zrwa_flush_granularity': 4 * KiB,
               'zone.zrwa_zones': 3}, FILL,
              {1: (0, 0x81, 96 * KiB, 96 * KiB), 2: (0, 0x88, 4 * KiB, 12 * KiB),
               4: (0, 0x08, 8 * KiB, 6 * KiB), 6: (0, 0x80, 0, 0)}),
    # What a controller recommends
    'recommended': ({**SMALL, 'cluster_size': 4 * KiB}, FILL,
                    {2: (0, 0x02, 4 * KiB, 4 * KiB), 3: (14, 0x05, 96 * KiB, 512)}),
    'luks': ({**SMALL, 'cluster_size': 4 * KiB, 'encrypt.format': 'luks',
              'encrypt.key-secret': 'key', 'encrypt.iter-time': 1}, FILL),
    'data-file': ({**SMALL, 'cluster_size': 4 * KiB, 'data_file': '{data}'}, FILL),
    # More than claims may be about
    'big': ({'size': 80 * 1024 * KiB, 'zone.mode': 'host-managed',
             'zone.size': 32 * 1024 * KiB, 'cluster_size': 64 * KiB},
            ['write -P 1 0 8k', 'write -P 2 32M 512']),
    # Many records and little else
    'zones': ({'size': 2400 * KiB, 'zone.mode': 'host-managed', 'zone.size': 4 * KiB,
               'cluster_size': 4 * KiB}, ['write 4k 4k', 'write 2396k 1k']),
}


def checksum(data):
    return zlib.crc32(data) << 32 | zlib.adler32(data)


class Claim:
    def __init__(self, zone, epoch, start, end, checksum):
        self.zone, self.epoch = zone, epoch
        self.start, self.end, self.checksum = start, end, checksum

    def fields(self):
        return self.zone, self.epoch, self.start, self.end, self.checksum


class Block:
    """A claim block, to be written; right but for what is changed."""
    def __init__(self, sequence, claims):
        self.magic, self.sequence, self.reserved = BLOCK_MAGIC, sequence, 0
        self.claims = sorted(claims, key=lambda c: c.zone)
        self.count = None       # if it is not that of the claims
        self.rest = b''         # behind them

    def bytes(self):
        count = len(self.claims) if self.count is None else self.count
        claims = b''.join(CLAIM.pack(*(n % (1 << bits) for n, bits in
                                       zip(c.fields(), (32, 32, 64, 64, 64))))
                          for c in self.claims)
        block = BLOCK_HEAD.pack(self.magic, count % (1 << 32),
                                self.sequence % (1 << 64), self.reserved, 0)
        block = (block + claims + self.rest).ljust(BLOCK_LEN, b'\0')[:BLOCK_LEN]
        return block[:24] + checksum(block).to_bytes(8, 'big') + block[32:]


SECRET = ['--object', 'secret,id=key,data=fuzz']
LARGE = 4096 * KiB      # of these images, zeroes at the end are left out
# There is no way to make internal snapshots of these, or no need
NO_SNAPSHOTS = 'small-refcounts', 'data-file', 'big'


class Image:
    """The bytes of an image, and its length if zeroes follow them."""
    def __init__(self, name, data):
        self.name, self.data, self.length = name, bytearray(data), len(data)
        #: What of it is no longer as QEMU made it: 'plain' qcow2, 'place' of a table
        self.touched = set()

    def copy(self):
        image = Image(self.name, self.data)
        image.length = self.length
        return image

    def get(self, offset, size):
        return int.from_bytes(self.data[offset:offset + size], 'big')

    @property
    def kind(self):
        return self.name if self.name in ('luks', 'data-file') else 'plain'

    def bytes_at(self, offset, size):
        """What is in the file, with zeroes beyond its end"""
        return bytes(self.data[offset:offset + size]).ljust(size, b'\0')

    def put(self, offset, size, value):
        if offset + size <= len(self.data):
            value %= 1 << 8 * size
            self.data[offset:offset + size] = value.to_bytes(size, 'big')

    # --- qcow2's header ---

    @property
    def cluster_size(self):
        return 1 << self.get(20, 4) % 32

    @property
    def size(self):
        return self.get(24, 8)

    def l1_tables(self):
        """(offset, entries)"""
        yield self.get(40, 8), self.get(36, 4)

    def places(self):
        """(name, offset, bytes) of what plain qcow2 has in the file"""
        cluster = self.cluster_size
        yield 'header', 0, cluster
        for offset, entries in self.l1_tables():
            yield 'L1', offset, 8 * entries
            for n in range(entries):
                entry = self.get(offset + 8 * n, 8) & 0xfffffffffffe00
                if entry:
                    yield 'L2', entry, cluster
        table = self.get(48, 8)
        yield 'refcount table', table, self.get(56, 4) * cluster
        block = self.get(table, 8)
        if block:
            yield 'refcounts', block, cluster
        if self.get(60, 4):
            yield 'snapshots', self.get(64, 8), 40 + 40 + 16

    # --- The zone extension ---

    def extensions(self):
        """(magic, offset of the data, length) as far as they make sense"""
        offset, end = self.get(100, 4), self.cluster_size
        while offset + 8 <= end:
            magic, length = self.get(offset, 4), self.get(offset + 4, 4)
            if magic == 0 or length > end - offset - 8:
                return
            yield magic, offset + 8, length
            offset += 8 + (length + 7) // 8 * 8

    def zone_extension(self):
        return next(offset for magic, offset, _ in self.extensions()
                    if magic == EXT_MAGIC)

    def fields(self, offset=None):
        offset = self.zone_extension() if offset is None else offset
        length = self.get(offset - 4, 4)
        return {name: self.get(offset + at, size) if at < max(length, EXT_LEN) else 0
                for name, at, size in FIELDS}

    def descriptor_extension(self, f, zone):
        size = f['descriptor_extension_size']
        return self.bytes_at(f['descriptor_extension_offset'] + zone * size, size)

    def put_descriptor_extensions(self):
        f = self.fields()
        first, size = f['descriptor_extension_offset'], f['descriptor_extension_size']
        for n in range(f['nr_zones'] * size):
            self.put(first + n, 1, 7 * n + n // size)

    def put_record(self, zone, state, attributes, wp, data_end, epoch=0):
        f = self.fields()
        at, start = f['table_offset'] + zone * RECORD_LEN, zone * f['zone_size']
        self.put(at, 8, state << 60 | attributes << 51 | start + wp)
        self.put(at + 8, 8, epoch << 60 | start + data_end)

    # --- Claims ---

    def put_block(self, slot, block):
        self.put(self.fields()['claims_offset'] + slot * BLOCK_LEN, BLOCK_LEN,
                 int.from_bytes(block, 'big'))

    def data_of(self, start, end):
        """
        The bytes of the file that the disk has there, or None if some of them are
        not in clusters that are allocated, not compressed and not zero.
        """
        pieces, cluster = [], self.cluster_size
        while start < end:
            length = min(end - start, cluster - start % cluster)
            host = self.host_offset(start, length)
            if host is None:
                return None
            # The data file of a crafted image is empty
            pieces.append(bytes(length) if self.kind == 'data-file' else
                          self.bytes_at(host, length))
            start += length
        return b''.join(pieces)

    def host_offset(self, offset, length):
        """Of a range in one cluster"""
        cluster = self.cluster_size
        subclusters = self.get(72, 8) & EXTENDED_L2_BIT
        size = 16 if subclusters else 8
        index, within = divmod(offset, cluster)
        number, index = divmod(index, cluster // size)
        table = self.get(self.get(40, 8) + 8 * number, 8) & OFFSET_MASK
        if not table:
            return None
        entry = self.get(table + size * index, 8)
        host = entry & OFFSET_MASK
        if entry & COMPRESSED or not host and not (
                self.kind == 'data-file' and entry & COPIED):
            return None
        if subclusters:
            bitmap = self.get(table + size * index + 8, 8)
            first, last = within * 32 // cluster, (within + length - 1) * 32 // cluster
            wanted = (1 << last + 1) - (1 << first)
            if bitmap & wanted != wanted or bitmap >> 32 & wanted:
                return None
        elif entry & ALL_ZERO:
            return None
        return host + within

    # --- Snapshots ---

    def snapshot_extra(self):
        """Where the first snapshot names its zone table, or None"""
        offset = self.get(64, 8)
        if not self.get(60, 4) or self.get(offset + 36, 4) < 40:
            return None
        return offset + 40 + 24


def make(directory, name):
    options, commands, *records = BASES[name]
    path = directory / f'{name}.qcow2'
    words = ','.join(f'{key}={value}' for key, value in options.items())
    image = Image(name, b'')
    node = {'driver': 'qcow2', 'file': {'driver': 'file', 'filename': str(path)}}
    if image.kind == 'luks':
        node['encrypt'] = {'format': 'luks', 'key-secret': 'key'}
    filename = 'json:' + json.dumps(node)

    def run(tool, *args):
        subprocess.run([OBJ / tool, *args], check=True, stdout=subprocess.DEVNULL)

    def change(*commands):
        run('qemu-io', *SECRET, *(word for c in commands for word in ('-c', c)),
            filename)

    run('qemu-img', 'create', '-q', *SECRET, '-f', 'qcow2', '-o',
        words.format(data=directory / 'data'), path)
    change(*commands)
    if records:
        image = Image(name, path.read_bytes())
        for zone, record in records[0].items():
            image.put_record(zone, *record)
        image.put_descriptor_extensions()
        path.write_bytes(image.data)
    if name not in NO_SNAPSHOTS:
        run('qemu-img', 'snapshot', *SECRET, '-c', 'before', filename)
        change('write -P 7 640k 4k', 'zrs 128k 128k')
    content = path.read_bytes()
    image = Image(name, content.rstrip(b'\0'))
    image.length = len(content)
    if len(content) < LARGE:
        image.data = bytearray(content)
    if image.get(60, 4):
        # When it was made is the only thing that differs from run to run
        image.data[image.get(64, 8) + 16:image.get(64, 8) + 24] = bytes(8)
    return image
