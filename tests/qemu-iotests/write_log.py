# What blklogwrites saw of the writes to an image
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import struct
from typing import Iterable, Iterator, List, Optional, Tuple

Entry = Optional[Tuple[int, bytes]]


def log_entries(path: str) -> Iterator[Entry]:
    """(offset, data) of each write and None for each flush blklogwrites saw"""
    if os.stat(path).st_size == 0:
        return
    with open(path, 'rb') as log:
        _, _, count, sector = struct.unpack('<QQQI', log.read(28))
        pos = sector
        for _ in range(count):
            log.seek(pos)
            first, sectors, flags, _ = struct.unpack('<QQQQ', log.read(32))
            pos += sector
            assert not flags & ~3, 'neither write nor flush'
            log.seek(pos)
            if sectors:
                yield first * sector, log.read(sectors * sector)
                pos += sectors * sector
            if flags & 3:
                yield None


def after_writes(image: bytes, writes: Iterable[Tuple[int, bytes]]) -> bytes:
    result = bytearray(image)
    for offset, data in writes:
        result.extend(bytes(max(0, offset + len(data) - len(result))))
        result[offset:offset + len(data)] = data
    return bytes(result)


def after_power_cuts(image: bytes, entries: Iterable[Entry]) -> Iterator[bytes]:
    """
    What a power cut may leave of @image: all writes up to a flush, with none
    or one of those between it and the next flush.
    """
    window: List[Tuple[int, bytes]] = []
    for entry in [None, *entries, None]:
        if entry:
            window.append(entry)
            continue
        yield from (after_writes(image, [write]) for write in window)
        image = after_writes(image, window)
        window = []
        yield image
