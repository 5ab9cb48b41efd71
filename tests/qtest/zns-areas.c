/*
 * Tests of NVMe namespaces on a zoned disk
 *
 * What a command may write in the memory of its host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "zns-driver.h"

/* The most that any controller here transfers */
#define MOST_BYTES      (2 * MiB)
#define MOST_ENTRIES    4096

static uint64_t pointer(const Command *cmd, unsigned dw)
{
    return cmd->dw[dw] | (uint64_t)cmd->dw[dw + 1] << 32;
}

/* Block and metadata of a namespace with zones in memory */
static unsigned metadata_size(const Controller *c)
{
    const char *options = c->m->memory ? c->m->setup->memory : "";

    return strstr(options, ",ms=8") ? 8 : 0;
}

static bool has_extended_blocks(const Controller *c)
{
    return metadata_size(c) && strstr(c->m->setup->memory, ",mset=1");
}

static uint64_t feature_length(const Command *cmd)
{
    switch ((uint8_t)cmd->dw[10]) {
    case NVME_TIMESTAMP:
        return 8;
    case NVME_HOST_BEHAVIOR_SUPPORT:
        return 512;
    default:
        return 0;
    }
}

static uint64_t admin_length(const Command *cmd)
{
    switch ((uint8_t)cmd->dw[0]) {
    case NVME_ADM_CMD_IDENTIFY:
        return 4096;
    case NVME_ADM_CMD_GET_LOG_PAGE:
        return ((cmd->dw[10] >> 16 | (uint64_t)(cmd->dw[11] & 0xffff) << 16) +
                1) * 4;
    case NVME_ADM_CMD_GET_FEATURES:
        return feature_length(cmd);
    case NVME_ADM_CMD_DIRECTIVE_RECV:
        return ((uint64_t)cmd->dw[10] + 1) * 4;
    default:
        return 0;
    }
}

static uint64_t io_length(const Controller *c, const Command *cmd)
{
    unsigned blocks = (cmd->dw[12] & 0xffff) + 1;

    switch ((uint8_t)cmd->dw[0]) {
    case NVME_CMD_READ:
        return blocks * (BLOCK + (has_extended_blocks(c) ? 8 : 0));
    case NVME_CMD_ZONE_MGMT_RECV:
        return ((uint64_t)cmd->dw[12] + 1) * 4;
    case NVME_CMD_IO_MGMT_RECV:
        return ((uint64_t)cmd->dw[11] + 1) * 4;
    default:
        return 0;
    }
}

static void allow_prps(Controller *c, uint64_t owner, const Command *cmd,
                       uint64_t len)
{
    uint64_t page = c->page_size, first = pointer(cmd, 6);
    uint64_t second = pointer(cmd, 8);
    uint64_t done = MIN(len, page - first % page);

    guest_allow(c->m->ram, owner, first, done);
    if (done < len && len - done <= page) {
        guest_allow(c->m->ram, owner, second, len - done);
        return;
    }
    while (done < len) {
        bool last = second % page == page - 8;
        uint64_t entry;

        if (second > GUEST_MEMORY_SIZE - 8) {
            return;
        }
        guest_read(c->m->ram, second, &entry, sizeof(entry));
        entry = le64_to_cpu(entry);
        if (last && len - done > page) {
            second = entry;
            continue;
        }
        guest_allow(c->m->ram, owner, entry, MIN(page, len - done));
        done += MIN(page, len - done);
        second += 8;
    }
}

static void allow_sgl(Controller *c, uint64_t owner, const Command *cmd)
{
    NvmeSglDescriptor d = {
        .addr = cpu_to_le64(pointer(cmd, 6)), .len = cpu_to_le32(cmd->dw[8]),
        .type = cmd->dw[9] >> 24,
    };
    uint64_t at = 0;
    unsigned entries = 1;

    for (unsigned n = 0; n < MOST_ENTRIES; n++) {
        uint64_t addr = le64_to_cpu(d.addr), len = le32_to_cpu(d.len);

        switch (d.type >> 4) {
        case NVME_SGL_DESCR_TYPE_DATA_BLOCK:
            guest_allow(c->m->ram, owner, addr, len);
            break;
        case NVME_SGL_DESCR_TYPE_BIT_BUCKET:
            /* Part of the data, but nobody's memory */
            guest_allow(c->m->ram, owner, UINT64_MAX - len, len);
            break;
        case NVME_SGL_DESCR_TYPE_SEGMENT:
        case NVME_SGL_DESCR_TYPE_LAST_SEGMENT:
            at = addr;
            entries = len / sizeof(d) + 1;
            break;
        default:
            return;
        }
        if (--entries == 0 || at > GUEST_MEMORY_SIZE - sizeof(d)) {
            return;
        }
        guest_read(c->m->ram, at, &d, sizeof(d));
        at += sizeof(d);
    }
}

uint64_t allow_data(Controller *c, const Queue *q, uint64_t owner,
                    const Command *cmd)
{
    bool is_io = q == &c->io;
    uint64_t len = is_io ? io_length(c, cmd) : admin_length(cmd);

    if (!len || len > MOST_BYTES) {
        return 0;
    }
    if (cmd->dw[0] >> 14 & 3) {
        allow_sgl(c, owner, cmd);
    } else {
        allow_prps(c, owner, cmd, len);
    }
    if (is_io && (uint8_t)cmd->dw[0] == NVME_CMD_READ && metadata_size(c) &&
        !has_extended_blocks(c)) {
        uint64_t metadata = len / BLOCK * metadata_size(c);

        guest_allow(c->m->ram, owner, pointer(cmd, 4), metadata);
        len += metadata;
    }
    return len;
}
