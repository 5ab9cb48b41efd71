/*
 * What differs between the versions of QEMU that zoned storage is kept for
 *
 * The newest of them has the name; an older one is made to look like it here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BLOCK_ZONED_COMPAT_H
#define BLOCK_ZONED_COMPAT_H

#include "block/block-common.h"

#define ZONED_QEMU_VERSION (QEMU_VERSION_MAJOR * 100 + QEMU_VERSION_MINOR)

/* What a caller of .bdrv_co_block_status() wants to know */
#if ZONED_QEMU_VERSION >= 1001
typedef unsigned int ZonedStatusMode;   /* BDRV_WANT_* */
#else
typedef bool ZonedStatusMode;           /* where there are zeroes */
#define BDRV_WANT_ZERO true
#endif

/* blk_co_pdiscard() has flags in 10.0, not in 10.1 and 10.2, and then again. */
#if ZONED_QEMU_VERSION == 1001 || ZONED_QEMU_VERSION == 1002
#define zoned_co_pdiscard(blk, offset, bytes) \
    blk_co_pdiscard(blk, offset, bytes)
#else
#define zoned_co_pdiscard(blk, offset, bytes) \
    blk_co_pdiscard(blk, offset, bytes, 0)
#endif

/* Since 10.2, who changes the graph has drained and locked it. */
#if ZONED_QEMU_VERSION >= 1002
#define zoned_set_backing_hd(bs, backing_hd, errp) ({ \
    int ret_; \
    bdrv_graph_wrlock_drained(); \
    ret_ = bdrv_set_backing_hd(bs, backing_hd, errp); \
    bdrv_graph_wrunlock(); \
    ret_; \
})
#else
#define zoned_set_backing_hd(bs, backing_hd, errp) \
    bdrv_set_backing_hd(bs, backing_hd, errp)
#endif

/* Since 10.2, what is wrong with a migration stream is in an Error. */
#if ZONED_QEMU_VERSION >= 1002
#define zoned_vmstate_save(f, vmsd, s) \
    vmstate_save_state(f, vmsd, s, NULL, &error_fatal)
#define zoned_vmstate_load(f, vmsd, s) ({ \
    Error *err_ = NULL; \
    int ret_ = vmstate_load_state(f, vmsd, s, (vmsd)->version_id, &err_); \
    if (err_) { \
        error_report_err(err_); \
    } \
    ret_; \
})
#else
#define zoned_vmstate_save(f, vmsd, s) vmstate_save_state(f, vmsd, s, NULL)
#define zoned_vmstate_load(f, vmsd, s) \
    vmstate_load_state(f, vmsd, s, (vmsd)->version_id)
#endif

/* A backup, of what is in @bitmap if there is one; the default of what else there is */
#if ZONED_QEMU_VERSION >= 1001
#define zoned_backup_job_create(id, bs, target, bitmap, perf, errp) \
    backup_job_create(id, bs, target, 0, \
                      (bitmap) ? MIRROR_SYNC_MODE_BITMAP \
                               : MIRROR_SYNC_MODE_FULL, \
                      bitmap, BITMAP_SYNC_MODE_ON_SUCCESS, false, false, NULL, \
                      perf, BLOCKDEV_ON_ERROR_REPORT, \
                      BLOCKDEV_ON_ERROR_REPORT, ON_CBW_ERROR_BREAK_GUEST_WRITE, \
                      JOB_DEFAULT, \
                      NULL, NULL, NULL, errp)
#else
#define zoned_backup_job_create(id, bs, target, bitmap, perf, errp) \
    backup_job_create(id, bs, target, 0, \
                      (bitmap) ? MIRROR_SYNC_MODE_BITMAP \
                               : MIRROR_SYNC_MODE_FULL, \
                      bitmap, BITMAP_SYNC_MODE_ON_SUCCESS, false, false, NULL, \
                      perf, BLOCKDEV_ON_ERROR_REPORT, \
                      BLOCKDEV_ON_ERROR_REPORT, JOB_DEFAULT, \
                      NULL, NULL, NULL, errp)
#endif

#endif
