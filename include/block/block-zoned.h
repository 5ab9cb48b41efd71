/*
 * Zoned storage: what every user of the block layer's zone API relies on
 *
 * The operations themselves (bdrv_co_zone_report/mgmt/append and their blk_
 * counterparts) are declared in block-io.h and block-backend-io.h.  This
 * header holds the contract between the drivers below that API and the front
 * ends above it: which errno stands for which broken zone rule.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_H
#define BLOCK_ZONED_H

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
 *  -EINVAL        no such transition, not a zone      INVALID_CMD         BFh
 *                 start, wrong zone type, append
 *                 above its limit
 *
 * The guest is the author of such a request, not the medium: a front end must
 * complete it with a status and never apply its werror/rerror policy.  Real
 * I/O errors pass unchanged, but never as one of the first seven: a driver
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

#endif
