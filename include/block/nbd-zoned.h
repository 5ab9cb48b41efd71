/*
 * Zones over NBD
 *
 * A mirror or a backup can give the zones of its source to a zoned node that is
 * exported by another QEMU or storage daemon.  docs/interop/nbd-zoned.rst has the
 * protocol: BlockZoneTransfer, step by step.  Everything else sees a disk
 * without zones.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_NBD_ZONED_H
#define BLOCK_NBD_ZONED_H

#include "block/block_int-common.h"
#include "block/export.h"
#include "block/zoned-backup.h"

/* An item of information of an export, with this content, and a command */
#define NBD_INFO_ZONES 0x5a4f
#define NBD_INFO_ZONES_CONTENT "qemu:zones"
#define NBD_CMD_ZONES 0x5a4f

/* --- What the payload of the command is, big-endian --- */

typedef enum NBDZonesOp {
    NBD_ZONES_GEOMETRY = 1,
    NBD_ZONES_RECORDS = 2,
    NBD_ZONES_BEGIN = 3,
    NBD_ZONES_EXT = 4,
    NBD_ZONES_END = 5,
} NBDZonesOp;

typedef struct NBDZonesHeader {
    uint32_t op;
    uint32_t arg;               /* of RECORDS and EXT: a zone */
} QEMU_PACKED NBDZonesHeader;

#define NBD_ZONES_SAME_LIMITS 1 /* arg of BEGIN */
#define NBD_ZONES_LIVE 1        /* arg of END */

typedef struct NBDZonesGeometry {
    uint64_t size;
    uint64_t zone_size;
    uint64_t capacity;
    uint64_t max_append;
    uint64_t ext_size;
    uint64_t zrwa_size;
    uint64_t zrwa_granularity;
    uint32_t conventional_zones;
    uint32_t max_open;
    uint32_t max_active;
    uint32_t max_zrwa;
    uint32_t write_granularity;
    uint32_t reserved;
} QEMU_PACKED NBDZonesGeometry;

typedef struct NBDZoneRecord {
    uint64_t wp;
    uint64_t data_end;
    uint8_t state;              /* BlockZoneState */
    uint8_t attributes;         /* BDRV_ZA_* */
    uint8_t reserved[6];
} QEMU_PACKED NBDZoneRecord;

QEMU_BUILD_BUG_ON(sizeof(NBDZonesGeometry) != 80);
QEMU_BUILD_BUG_ON(sizeof(NBDZoneRecord) != 24);

/* --- The server --- */

/* What a client does to the zones of an export, from its connection to the end */
typedef struct NBDZones NBDZones;

/* Can the node of @exp receive zones? */
bool coroutine_fn GRAPH_RDLOCK nbd_zones_offered(BlockExport *exp);

/*
 * A client has connected that knows the command.  *@from, of the export, is that
 * client whose zones it receives, or NULL.
 */
NBDZones *nbd_zones_new(BlockExport *exp, NBDZones **from);
/* The client has gone, and what it has not finished is given up. */
void nbd_zones_free(NBDZones *z);

/*
 * NBD_CMD_ZONES, one at a time.  Returns 0, or a negative errno; *@message becomes
 * what is wrong, or NULL; for g_free().
 */
int coroutine_fn nbd_zones_request(NBDZones *z, const void *payload, size_t len,
                                   char **message);

/* Requests that do not end before a drained section has: they are in it. */
int nbd_zones_draining(NBDZones *z);

/* In nbd/server.c: end the connections of other clients.  Only in the main loop. */
void nbd_zones_drop_others(BlockExport *exp, NBDZones *z);

/* --- The client --- */

extern const BlockZoneTransfer nbd_zone_transfer;

/* What follows is in nbd.c: does the server of @bs receive zones? */
bool nbd_takes_zones(BlockDriverState *bs);

/*
 * From here on, a connection that is lost does not come back: what the server has
 * received goes with it.
 */
void nbd_begin_zones(BlockDriverState *bs);
/* Connections can be lost again; if @drop, this one is, for good. */
void nbd_end_zones(BlockDriverState *bs, bool drop);

/*
 * NBD_CMD_ZONES with @payload.  *@message becomes what the server says of an error,
 * if it says something; for g_free().  Returns 0 or a negative errno.
 */
int coroutine_fn GRAPH_RDLOCK
nbd_co_request_zones(BlockDriverState *bs, QEMUIOVector *payload,
                     char **message);

#endif
