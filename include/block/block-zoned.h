/*
 * Zoned storage: what every user of the block layer's zone API relies on
 *
 * The operations themselves (bdrv_co_zone_report/mgmt/append/get_ext and their
 * blk_ counterparts) are declared in block-io.h and block-backend-io.h.  This
 * header holds the contract between the drivers below that API and the front
 * ends above it: what the operations mean, and which errno stands for which
 * broken zone rule.  All positions and sizes are bytes.
 *
 * Operations of bdrv_co_zone_mgmt() on whole zones, [offset, offset + len):
 *
 *  BLK_ZO_OPEN, CLOSE, FINISH, RESET
 *  BLK_ZO_OFFLINE        read-only zones become offline, for good
 *  BLK_ZO_SET_EXT        an empty zone becomes closed and gets the descriptor
 *                        extension @ext (BlockLimits.zones.ext_size bytes)
 *  BLK_ZO_POWER_CYCLE    open zones become closed; and those that nothing was
 *                        written to, and have no extension, become empty
 *  BLK_ZO_FORCE_RDONLY, FORCE_OFFLINE, FORCE_REPAIR
 *                        what a failing medium does, from any state, and back
 *                        to the state that the write pointer stands for
 *  BLK_ZO_SET_ATTRIBUTES what a controller does on its own (ZNS 1.1):
 *                        of BDRV_ZA_SETTABLE, the zones have those afterwards
 *                        that the flags say (BDRV_ZONE_ATTRIBUTES()).  An
 *                        active zone that was "finished by the controller"
 *                        becomes full.  Their state must allow it
 *
 * and of a part of a zone:
 *
 *  BLK_ZO_ZRWA_COMMIT    the write pointer of the zone at @offset moves to
 *                        @offset + @len, which is in its random write area
 *
 * Whatever they change is durable when they return, except that a zone is open.
 * Those that name several zones change all of them or none.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_H
#define BLOCK_ZONED_H

#include "block/block-common.h"

/*
 * The zones of a node, as BlockLimits.zones has them for all who use it.  The
 * fields behind @write_granularity are zero where the driver does not know.
 * Has no padding, so that two can be compared and hashed as memory.
 */
typedef struct BlockZoneLimits {
    BlockZoneModel model;
    uint32_t nr_zones;          /* the last one may be shorter */
    uint64_t size;              /* distance of two zone starts */
    uint64_t max_append;        /* largest zone append, 0: none is possible */
    uint32_t max_open;          /* zones, 0: no limit */
    uint32_t max_active;        /* zones, 0: no limit */
    uint32_t write_granularity; /* unit of writes to sequential zones */
    uint32_t max_zrwa;          /* zones with a random write area, 0: no limit */
    uint64_t capacity;          /* writable part of a sequential zone */
    uint64_t ext_size;          /* of a descriptor extension, 0: none */
    uint64_t zrwa_size;         /* of a random write area, 0: none */
    uint64_t zrwa_granularity;  /* of its commits; divides size and capacity */
} BlockZoneLimits;

QEMU_BUILD_BUG_ON(sizeof(BlockZoneLimits) != 72);

/* Nothing that a user of the zones can see is different. */
static inline bool bdrv_same_zones(const BlockZoneLimits *a,
                                   const BlockZoneLimits *b)
{
    return a->model == b->model &&
           (a->model == BLK_Z_NONE || !memcmp(a, b, sizeof(*a)));
}

typedef enum BlockZoneFlags {
    /*
     * Act on those zones of the range that the operation applies to, and
     * leave the others alone: ZNS "Select All", virtio ZONE_RESET_ALL.  With
     * SET_ATTRIBUTES, those whose state allows it.
     */
    BDRV_ZONE_ALL = 1 << 0,
    /*
     * Closing a zone that was opened and never written makes it Closed, as
     * ZNS has it; without the flag Empty, as virtio and ZBC have it.
     */
    BDRV_ZONE_CLOSE_EMPTY = 1 << 1,
    /* With OPEN and SET_EXT of an empty zone: give it a random write area */
    BDRV_ZONE_ZRWA = 1 << 2,
    /* blk_co_zone_mgmt() only: the same as BDRV_REQ_NO_QUEUE */
    BDRV_ZONE_NO_QUEUE = 1 << 3,
    /*
     * With OPEN and CLOSE of one zone: good where nothing is to be done, OPEN
     * of a full zone, CLOSE of an empty or full one, as ZBC has it.
     */
    BDRV_ZONE_LENIENT = 1 << 4,
    /* With SET_ATTRIBUTES, see BDRV_ZONE_ATTRIBUTES() */
    BDRV_ZONE_ATTRIBUTES_MASK = 0xff << 8,
} BlockZoneFlags;

/*
 * Attributes of a zone, as in byte 2 of a ZNS zone descriptor (ZNS 1.1, 4.4).
 * To finish is recommended in active zones only, to reset in full ones.
 */
#define BDRV_ZA_FINISHED_BY_CONTROLLER 0x01
#define BDRV_ZA_FINISH_RECOMMENDED 0x02
#define BDRV_ZA_RESET_RECOMMENDED 0x04
#define BDRV_ZA_ZRWA 0x08
#define BDRV_ZA_EXT 0x80

#define BDRV_ZA_RECOMMENDED \
    (BDRV_ZA_FINISH_RECOMMENDED | BDRV_ZA_RESET_RECOMMENDED)
#define BDRV_ZA_SETTABLE (BDRV_ZA_FINISHED_BY_CONTROLLER | BDRV_ZA_RECOMMENDED)

/* Attributes as flags of BLK_ZO_SET_ATTRIBUTES */
#define BDRV_ZONE_ATTRIBUTES(attributes) ((attributes) << 8)

/* Not every host has these */
#ifndef ETOOMANYREFS
#define ETOOMANYREFS 4100
#endif
#ifndef EUSERS
#define EUSERS 4101
#endif

/*
 * Errno contract.  A driver with zones returns exactly these for requests
 * that break a zone rule, from reads, writes, appends and zone management; a
 * front end maps each one once.
 *
 *  errno          rule                                virtio 1.3, 5.2.6   ZNS
 *  -ERANGE        crosses a zone end or the           INVALID_CMD         B8h
 *                 zone capacity
 *  -ESPIPE        write not at the write pointer, or  UNALIGNED_WP        BCh
 *                 not in units of the granularity
 *  -EFBIG         zone is full                        INVALID_CMD         B9h
 *  -EROFS         zone is read-only                   INVALID_CMD         BAh
 *  -ENODEV        zone is offline                     INVALID_CMD         BBh
 *  -EOVERFLOW     no active zone resource left        ACTIVE_RESOURCE     BDh
 *  -ETOOMANYREFS  no open zone resource left          OPEN_RESOURCE       BEh
 *  -ENOTTY        random write area: the zone has     -                   B6h
 *                 none, cannot get one in its state,
 *                 takes no appends because of it; or
 *                 the commit is not in it
 *  -EUSERS        no random write area left           -                   B7h
 *  -EINVAL        no such transition, not a zone      INVALID_CMD         BFh
 *                 start, wrong zone type, append
 *                 above its limit
 *
 * The guest is the author of such a request, not the medium: a front end must
 * complete it with a status and never apply its werror/rerror policy.  Real
 * I/O errors pass unchanged, but never as one of those before -EINVAL: a driver
 * turns an I/O error that collides with them into -EIO (bdrv_zone_io_error).
 * -EINVAL does not count here, because plain requests use it for other things
 * too; only zone management and append give it the meaning above.
 */
static inline bool bdrv_is_zone_error(int ret)
{
    switch (ret) {
    case -ERANGE:
    case -ESPIPE:
    case -EFBIG:
    case -EROFS:
    case -ENODEV:
    case -EOVERFLOW:
    case -ETOOMANYREFS:
    case -ENOTTY:
    case -EUSERS:
        return true;
    default:
        return false;
    }
}

/* The errno to report for @ret, the result of real I/O on a zoned node. */
static inline int bdrv_zone_io_error(int ret)
{
    return bdrv_is_zone_error(ret) ? -EIO : ret;
}

/* Likewise for zone management and append, where -EINVAL is a rule, too */
static inline int bdrv_zone_op_io_error(int ret)
{
    return ret == -EINVAL ? -EIO : bdrv_zone_io_error(ret);
}

#endif
