/*
 * SCSI disks: host-managed ZBC disks, whose zones live in the block node
 *
 * REPORT SUPPORTED OPERATION CODES: which commands there are, and which bits
 * of their CDBs mean something (SPC-5).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "scsi/constants.h"
#include "scsi-zbc-int.h"

#define NO_ACTION               (-1)
#define REPORT_OPCODES          0x0c

/* REPORTING OPTIONS */
#define OPTION_ALL              0
#define OPTION_OPCODE           1
#define OPTION_ACTION           2
#define OPTION_ANY              3

#define SUPPORT_NONE            1
#define SUPPORT_STANDARD        3

/* Two of them, which say that there are none */
#define TIMEOUTS_LEN            12

typedef struct ZbcOpcode {
    uint8_t opcode;
    int8_t action;
    uint8_t len;
    uint8_t usage[15];          /* of the CDB from byte 1 on */
} ZbcOpcode;

/* Those with an address and a length; @flags: byte 1 */
#define RW6(op) \
    { op, NO_ACTION, 6, { 0x1f, [1 ... 3] = 0xff } }
#define RW10(op, flags) \
    { op, NO_ACTION, 10, { flags, [1 ... 4] = 0xff, [6 ... 7] = 0xff } }
#define RW12(op, flags) \
    { op, NO_ACTION, 12, { flags, [1 ... 8] = 0xff } }
#define RW16(op, flags) \
    { op, NO_ACTION, 16, { flags, [1 ... 12] = 0xff } }
#define OUT(action) \
    { ZBC_OUT, action, 16, \
      { 0x1f, [1 ... 8] = 0xff, [11 ... 12] = 0xff, [13] = 0x01 } }

static const ZbcOpcode opcodes[] = {
    { TEST_UNIT_READY, NO_ACTION, 6 },
    { REQUEST_SENSE, NO_ACTION, 6, { 0x01, 0, 0, 0xff } },
    { FORMAT_UNIT, NO_ACTION, 6, { 0xf8 } },
    RW6(READ_6),
    RW6(WRITE_6),
    { INQUIRY, NO_ACTION, 6, { 0x01, [1 ... 3] = 0xff } },
    { MODE_SELECT, NO_ACTION, 6, { 0x11, 0, 0, 0xff } },
    { RESERVE, NO_ACTION, 6, { 0x01 } },
    { RELEASE, NO_ACTION, 6, { 0x01 } },
    { MODE_SENSE, NO_ACTION, 6, { 0x08, [1 ... 3] = 0xff } },
    { START_STOP, NO_ACTION, 6, { 0x01, 0, 0, 0xf3 } },
    { ALLOW_MEDIUM_REMOVAL, NO_ACTION, 6, { 0, 0, 0, 0x01 } },
    { READ_CAPACITY_10, NO_ACTION, 10, { [1 ... 4] = 0xff, [7] = 0x01 } },
    RW10(READ_10, 0xf8),
    RW10(WRITE_10, 0xf8),
    { SEEK_10, NO_ACTION, 10, { [1 ... 4] = 0xff } },
    RW10(WRITE_VERIFY_10, 0xf0),
    RW10(VERIFY_10, 0xf6),
    RW10(SYNCHRONIZE_CACHE, 0x02),
    RW10(WRITE_SAME_10, 0xf8),
    { MODE_SELECT_10, NO_ACTION, 10, { 0x11, [6 ... 7] = 0xff } },
    { RESERVE_10, NO_ACTION, 10, { 0x03 } },
    { RELEASE_10, NO_ACTION, 10, { 0x03 } },
    { MODE_SENSE_10, NO_ACTION, 10,
      { 0x08, [1 ... 2] = 0xff, [6 ... 7] = 0xff } },
    RW16(READ_16, 0xf8),
    RW16(WRITE_16, 0xf8),
    RW16(WRITE_VERIFY_16, 0xf0),
    RW16(VERIFY_16, 0xf6),
    RW16(SYNCHRONIZE_CACHE_16, 0x02),
    RW16(WRITE_SAME_16, 0xf9),
    OUT(ZBC_OUT_CLOSE),
    OUT(ZBC_OUT_FINISH),
    OUT(ZBC_OUT_OPEN),
    OUT(ZBC_OUT_RESET),
    { ZBC_IN, ZBC_IN_REPORT_ZONES, 16,
      { 0x1f, [1 ... 12] = 0xff, [13] = 0xbf } },
    { SERVICE_ACTION_IN_16, SAI_READ_CAPACITY_16, 16,
      { 0x1f, [1 ... 12] = 0xff, [13] = 0x01 } },
    { REPORT_LUNS, NO_ACTION, 12, { [1] = 0xff, [5 ... 8] = 0xff } },
    { MAINTENANCE_IN, REPORT_OPCODES, 12, { 0x1f, 0x87, [2 ... 8] = 0xff } },
    RW12(READ_12, 0xf8),
    RW12(WRITE_12, 0xf8),
    RW12(WRITE_VERIFY_12, 0xf0),
    RW12(VERIFY_12, 0xf6),
};

bool zbc_has_opcode(uint8_t opcode)
{
    for (int i = 0; i < ARRAY_SIZE(opcodes); i++) {
        if (opcodes[i].opcode == opcode) {
            return true;
        }
    }
    return false;
}

static uint8_t option(const ZbcReq *r)
{
    return r->req.cmd.buf[2] & 7;
}

static bool wants_timeouts(const ZbcReq *r)
{
    return r->req.cmd.buf[2] & 0x80;
}

/* Returns NULL if there is none; @has_actions: if there is any, of others */
static const ZbcOpcode *find_opcode(const ZbcReq *r, bool *has_actions)
{
    uint8_t opcode = r->req.cmd.buf[3];
    uint16_t action = lduw_be_p(&r->req.cmd.buf[4]);

    *has_actions = false;
    for (int i = 0; i < ARRAY_SIZE(opcodes); i++) {
        if (opcodes[i].opcode != opcode) {
            continue;
        }
        if (opcodes[i].action == NO_ACTION) {
            return option(r) != OPTION_ANY || !action ? &opcodes[i] : NULL;
        }
        *has_actions = true;
        if (opcodes[i].action == action && option(r) != OPTION_OPCODE) {
            return &opcodes[i];
        }
    }
    return NULL;
}

SCSISense coroutine_fn zbc_check_opcodes(ZbcReq *r)
{
    const ZbcOpcode *found;
    bool has_actions;

    if ((r->req.cmd.buf[1] & 0x1f) != REPORT_OPCODES ||
        option(r) > OPTION_ANY) {
        return SENSE_CODE(INVALID_FIELD);
    }
    found = find_opcode(r, &has_actions);
    /* A command is named by what it has, an action or none */
    if ((option(r) == OPTION_OPCODE && has_actions) ||
        (option(r) == OPTION_ACTION && found && !has_actions)) {
        return SENSE_CODE(INVALID_FIELD);
    }
    return ZBC_OK;
}

/* Timeouts are zero, which means that there are none */
static uint8_t *put_timeouts(const ZbcReq *r, uint8_t *p)
{
    if (!wants_timeouts(r)) {
        return p;
    }
    stw_be_p(p, TIMEOUTS_LEN - 2);
    return p + TIMEOUTS_LEN;
}

static uint8_t *put_all(const ZbcReq *r, uint8_t *p)
{
    uint8_t *start = p;

    p += 4;
    for (int i = 0; i < ARRAY_SIZE(opcodes); i++) {
        bool has_action = opcodes[i].action != NO_ACTION;

        p[0] = opcodes[i].opcode;
        stw_be_p(p + 2, has_action ? opcodes[i].action : 0);
        p[5] = (wants_timeouts(r) ? 2 : 0) | has_action;
        stw_be_p(p + 6, opcodes[i].len);
        p = put_timeouts(r, p + 8);
    }
    stl_be_p(start, p - start - 4);
    return p;
}

static uint8_t *put_one(const ZbcReq *r, uint8_t *p)
{
    bool has_actions;
    const ZbcOpcode *found = find_opcode(r, &has_actions);

    if (!found) {
        p[1] = SUPPORT_NONE;
        return p + 4;
    }
    p[1] = (wants_timeouts(r) ? 0x80 : 0) | SUPPORT_STANDARD;
    stw_be_p(p + 2, found->len);
    p[4] = found->opcode;
    memcpy(p + 5, found->usage, found->len - 1);
    if (found->action != NO_ACTION) {
        p[5] = (p[5] & ~0x1f) | found->action;
    }
    return put_timeouts(r, p + 4 + found->len);
}

int coroutine_fn zbc_report_opcodes(ZbcReq *r)
{
    uint8_t *end;

    if (!zbc_alloc_buf(r, 64 + sizeof(opcodes) * 2)) {
        return zbc_fail(r, SENSE_CODE(TARGET_FAILURE));
    }
    end = option(r) == OPTION_ALL ? put_all(r, r->buf) : put_one(r, r->buf);
    r->buf_len = MIN(r->req.cmd.xfer, end - r->buf);
    return 0;
}
