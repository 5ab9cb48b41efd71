/*
 * Zone checksum: what a claim says of the data of a zone
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <zlib.h>
#include "block/zone-checksum.h"

void zone_checksum_update(ZoneChecksum *sum, const void *buf, size_t bytes)
{
    sum->crc = crc32(sum->crc, buf, bytes);
    sum->adler = adler32(sum->adler, buf, bytes);
}

void zone_checksum_append(ZoneChecksum *sum, const ZoneChecksum *next,
                          uint64_t bytes)
{
    sum->crc = crc32_combine(sum->crc, next->crc, bytes);
    sum->adler = adler32_combine(sum->adler, next->adler, bytes);
}

uint64_t zone_checksum_value(const ZoneChecksum *sum)
{
    return (uint64_t)sum->crc << 32 | sum->adler;
}
