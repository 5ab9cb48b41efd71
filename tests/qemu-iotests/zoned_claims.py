# The claims of a zoned qcow2 image, as docs/interop/qcow2-zoned.rst has them
#
# SPDX-License-Identifier: GPL-2.0-or-later

import struct
import zlib
from typing import Dict, List, NamedTuple, Optional

from zoned_qcow2 import EXT_LEN, MiB, Header

BLOCK_LEN = 4096
BLOCK_MAGIC = 0x5a434c4d
HEAD, CLAIM = struct.Struct('>IIQQQ'), struct.Struct('>IIQQQ')
MOST_CLAIMS, MOST_BYTES = 127, 16 * MiB
EPOCHS = 16
END_OF_DATA = (1 << 60) - 1     # in the second word of a record


def checksum(data: bytes) -> int:
    return zlib.crc32(data) << 32 | zlib.adler32(data)


class Claim(NamedTuple):
    zone: int
    epoch: int
    begin: int          # "from" in the document
    end: int            # "to"
    checksum: int


class Block(NamedTuple):
    """A claim block; what is not said is as it must be."""
    sequence: int
    claims: List[Claim]
    magic: int = BLOCK_MAGIC
    count: Optional[int] = None
    reserved: int = 0
    checksum: Optional[int] = None

    def pack(self) -> bytes:
        count = len(self.claims) if self.count is None else self.count
        head = HEAD.pack(self.magic, count, self.sequence, self.reserved, 0)
        data = head + b''.join(CLAIM.pack(*claim) for claim in self.claims)
        data = data.ljust(BLOCK_LEN, b'\0')
        value = checksum(data) if self.checksum is None else self.checksum
        return data[:24] + struct.pack('>Q', value) + data[32:]


def unpack(data: bytes) -> Optional[Block]:
    """The block, if its checksum is right"""
    magic, count, sequence, reserved, value = HEAD.unpack_from(data)
    if (magic != BLOCK_MAGIC or
            value != checksum(data[:24] + bytes(8) + data[32:])):
        return None
    claims = [Claim(*CLAIM.unpack_from(data, (n + 1) * CLAIM.size))
              for n in range(count)]
    return Block(sequence, claims, magic, count, reserved, value)


class ClaimArea:
    """Where an image has its claims."""
    def __init__(self, path: str) -> None:
        self.path = path
        data = Header(path).extension_data()
        self.offset = (struct.unpack_from('>Q', data, EXT_LEN)[0]
                       if len(data) > EXT_LEN else 0)

    def write(self, offset: int, data: bytes) -> None:
        with open(self.path, 'r+b') as image:
            image.seek(offset)
            image.write(data)

    def read(self, offset: int, length: int) -> bytes:
        with open(self.path, 'rb') as image:
            image.seek(offset)
            return image.read(length)

    def put(self, slot: int, block: Block) -> None:
        self.write(self.offset + slot * BLOCK_LEN, block.pack())

    def blocks(self) -> List[Optional[Block]]:
        return [unpack(self.read(self.offset + slot * BLOCK_LEN, BLOCK_LEN))
                for slot in range(2)]

    def newest(self) -> Optional[Block]:
        found = [block for block in self.blocks() if block]
        return max(found, key=lambda block: block.sequence, default=None)

    def claims(self) -> Dict[int, Claim]:
        """Those of the newest block, by zone"""
        newest = self.newest()
        return {c.zone: c for c in newest.claims} if newest else {}

    def epochs(self) -> List[int]:
        return [second >> 60 for _, second in Header(self.path).records()]

    def pointers(self) -> List[int]:
        """The end of data in each record, from the start of its zone"""
        header = Header(self.path)
        return [(second & END_OF_DATA) - zone * header.fields['zone_size']
                for zone, (_, second) in enumerate(header.records())]
