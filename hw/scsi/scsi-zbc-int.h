/*
 * SCSI disks: host-managed ZBC disks, whose zones live in the block node
 *
 * What the files of it share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_SCSI_ZBC_INT_H
#define HW_SCSI_ZBC_INT_H

#include "block/accounting.h"
#include "block/block-zoned.h"
#include "qemu/coroutine.h"
#include "scsi-zbc.h"
#include "system/block-backend.h"

/* Service actions of ZBC_OUT and ZBC_IN */
#define ZBC_OUT_CLOSE           0x01
#define ZBC_OUT_FINISH          0x02
#define ZBC_OUT_OPEN            0x03
#define ZBC_OUT_RESET           0x04
#define ZBC_IN_REPORT_ZONES     0x00

struct SCSIZbc {
    /*
     * What the guest was told when it found the disk.  Only the number of
     * zones can change, and with it the size of the disk.
     */
    BlockZoneLimits limits;
    uint32_t physical_block;    /* bytes, unit of writes to sequential zones */
    uint64_t max_transfer;      /* bytes */
    /* One bit for each of limits.nr_zones; zones behind them are sequential */
    unsigned long *conventional;
    bool received;              /* they were migrated here */
};

typedef struct ZbcReq ZbcReq;

/* All that is known of an opcode */
typedef struct ZbcCommand {
    /*
     * What can be told from the CDB and the geometry; sets ZbcReq.start and
     * .bytes.  With .bytes 0, the command is done if it is @ranged.  In flight,
     * and again when the command is retried.
     */
    SCSISense coroutine_fn (*check)(ZbcReq *r);
    /*
     * Returns 0, ZBC_SENSE, or a negative errno.  Without BDRV_REQ_NO_QUEUE a
     * call of the block layer waits for ever here.
     */
    int coroutine_fn (*run)(ZbcReq *r);
    enum BlockAcctType acct;
    bool ranged;
} ZbcCommand;

/* Returned by ZbcCommand.run: ZbcReq.sense is the result. */
#define ZBC_SENSE 1

struct ZbcReq {
    SCSIRequest req;
    const ZbcCommand *command;
    BlockAcctCookie acct;
    uint64_t start, bytes;      /* range of the disk */
    SCSISense sense;            /* see ZBC_SENSE */
    /* Data that is copied from or to the guest's buffers... */
    uint8_t *buf;
    uint32_t buf_len;
    /* ...or, without @buf, bytes that are in these already */
    uint64_t sent;
};

static inline SCSIZbc *zbc_of(const ZbcReq *r)
{
    return r->req.dev->zbc;
}

static inline BlockBackend *zbc_blk(const ZbcReq *r)
{
    return r->req.dev->conf.blk;
}

static inline uint64_t zbc_bytes(const ZbcReq *r, uint64_t blocks)
{
    return blocks * r->req.dev->blocksize;
}

static inline uint64_t zbc_blocks(const ZbcReq *r, uint64_t bytes)
{
    return bytes / r->req.dev->blocksize;
}

/* The size of the disk in bytes */
uint64_t coroutine_mixed_fn zbc_size(const ZbcReq *r);

bool zbc_is_conventional(const SCSIZbc *z, uint64_t zone);

/* A result of ZbcCommand.run that is no error of the host */
int zbc_fail(ZbcReq *r, SCSISense sense);

/* Does the node still have the zones that the guest was told? */
bool zbc_zones_unchanged(const ZbcReq *r);

void zbc_drop_buf(ZbcReq *r);
/* Get a new buffer of @len bytes, all zero. */
bool zbc_alloc_buf(ZbcReq *r, uint64_t len);

#define ZBC_OK SENSE_CODE(NO_SENSE)

/* --- Data commands, in scsi-zbc-io.c --- */

SCSISense coroutine_fn zbc_check_read(ZbcReq *r);
SCSISense coroutine_fn zbc_check_verify(ZbcReq *r);
SCSISense coroutine_fn zbc_check_write(ZbcReq *r);
SCSISense coroutine_fn zbc_check_write_same(ZbcReq *r);
SCSISense coroutine_fn zbc_check_flush(ZbcReq *r);

/* Have the first @len bytes of the data that the guest sends in r->buf. */
bool zbc_fetch(ZbcReq *r, uint64_t len);

/*
 * Put data at @offset of the guest's buffers.  What of these is no memory gets
 * none, as with all commands.
 */
void zbc_put(ZbcReq *r, uint64_t offset, const void *data, uint64_t len);

int coroutine_fn zbc_read(ZbcReq *r);
int coroutine_fn zbc_verify(ZbcReq *r);
int coroutine_fn zbc_write(ZbcReq *r);
int coroutine_fn zbc_write_same(ZbcReq *r);
int coroutine_fn zbc_flush(ZbcReq *r);

/* --- Commands of zones, in scsi-zbc-zones.c --- */

SCSISense coroutine_fn zbc_check_out(ZbcReq *r);
SCSISense coroutine_fn zbc_check_report(ZbcReq *r);
SCSISense coroutine_fn zbc_check_format(ZbcReq *r);

int coroutine_fn zbc_out(ZbcReq *r);
int coroutine_fn zbc_report(ZbcReq *r);
int coroutine_fn zbc_format(ZbcReq *r);

/* --- REPORT SUPPORTED OPERATION CODES, in scsi-zbc-opcodes.c --- */

/* Is it one of the list? */
bool zbc_has_opcode(uint8_t opcode);
SCSISense coroutine_fn zbc_check_opcodes(ZbcReq *r);

int coroutine_fn zbc_report_opcodes(ZbcReq *r);

#endif
