# Zoned images to begin with, and where things are in them.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import struct
import subprocess

from program import OBJ

KiB = 1024
EXT_MAGIC = 0x5a4f4e45
EXT_LEN = 80
RECORD_LEN = 16
ZONED_BIT = 1 << 40

# Name, offset in the extension, size
FIELDS = [
    ('model', 0, 1), ('reserved', 1, 3), ('flags', 4, 4), ('zone_size', 8, 8),
    ('zone_capacity', 16, 8), ('nr_zones', 24, 4), ('conventional_zones', 28, 4),
    ('max_open_zones', 32, 4), ('max_active_zones', 36, 4),
    ('max_append_bytes', 40, 4), ('descriptor_extension_size', 44, 4),
    ('table_offset', 48, 8), ('descriptor_extension_offset', 56, 8),
    ('zrwa_size', 64, 4), ('zrwa_flush_granularity', 68, 4), ('zrwa_zones', 72, 4),
    ('reserved2', 76, 4)]

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
    'luks': ({**SMALL, 'cluster_size': 4 * KiB, 'encrypt.format': 'luks',
              'encrypt.key-secret': 'key', 'encrypt.iter-time': 1}, FILL),
    'data-file': ({**SMALL, 'cluster_size': 4 * KiB, 'data_file': '{data}'}, FILL),
    # Many records and little else
    'zones': ({'size': 2400 * KiB, 'zone.mode': 'host-managed', 'zone.size': 4 * KiB,
               'cluster_size': 4 * KiB}, ['write 4k 4k', 'write 2396k 1k']),
}


SECRET = ['--object', 'secret,id=key,data=fuzz']
# There is no way to make internal snapshots of these
NO_SNAPSHOTS = 'small-refcounts', 'data-file'


class Image:
    """The bytes of an image, and its length if zeroes follow them."""
    def __init__(self, name, data):
        self.name, self.data, self.length = name, bytearray(data), len(data)
        #: What of it is no longer as QEMU made it: 'plain' qcow2, 'place' of a table
        self.touched = set()

    def copy(self):
        return Image(self.name, self.data)

    def get(self, offset, size):
        return int.from_bytes(self.data[offset:offset + size], 'big')

    @property
    def kind(self):
        return self.name if self.name in ('luks', 'data-file') else 'plain'

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
        return {name: self.get(offset + at, size) for name, at, size in FIELDS}

    def descriptor_extension(self, f, zone):
        size = f['descriptor_extension_size']
        at = f['descriptor_extension_offset'] + zone * size
        return bytes(self.data[at:at + size]).ljust(size, b'\0')

    def put_descriptor_extensions(self):
        f = self.fields()
        first, size = f['descriptor_extension_offset'], f['descriptor_extension_size']
        for n in range(f['nr_zones'] * size):
            self.put(first + n, 1, 7 * n + n // size)

    def put_record(self, zone, state, attributes, wp, data_end):
        f = self.fields()
        at, start = f['table_offset'] + zone * RECORD_LEN, zone * f['zone_size']
        self.put(at, 8, state << 60 | attributes << 51 | start + wp)
        self.put(at + 8, 8, start + data_end)

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
    image = Image(name, path.read_bytes())
    if image.get(60, 4):
        # When it was made is the only thing that differs from run to run
        image.data[image.get(64, 8) + 16:image.get(64, 8) + 24] = bytes(8)
    return image
