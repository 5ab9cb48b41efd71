/*
 * Zone checksum: what a claim says of the data of a zone
 *
 * CRC-32 (RFC 1952) and Adler-32 (RFC 1950) side by side, both of zlib: fast,
 * incremental, and the checksum of a whole follows from those of its parts.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONE_CHECKSUM_H
#define BLOCK_ZONE_CHECKSUM_H

typedef struct ZoneChecksum {
    uint32_t crc, adler;
} ZoneChecksum;

/* Of no data */
#define ZONE_CHECKSUM_INIT ((ZoneChecksum) { .crc = 0, .adler = 1 })

/* Go on with @bytes that follow, less than 4 GiB. */
void zone_checksum_update(ZoneChecksum *sum, const void *buf, size_t bytes);
/* The same, with the checksum @next of these bytes */
void zone_checksum_append(ZoneChecksum *sum, const ZoneChecksum *next,
                          uint64_t bytes);
/* Both in one number, as it is on disk */
uint64_t zone_checksum_value(const ZoneChecksum *sum);

#endif
