/*
 * Zone appends and writes to an NVMe namespace, from within Linux, through
 * io_uring passthrough: neither fio nor the block layer has zone append for
 * programs.
 *
 * Usage: nvme-load DEVICE append|write BLOCK DEPTH BYTES MILLISECONDS
 *
 * DEVICE is the character device (/dev/ng0n1).  Zones are written in order from
 * the first one; they must be empty.  Stops after so many bytes or
 * milliseconds, whichever comes first, and prints the bytes that were written
 * and the nanoseconds that this took.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <err.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/nvme_ioctl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    ADMIN_IDENTIFY = 0x06,
    CMD_WRITE = 0x01,
    CMD_ZONE_RECEIVE = 0x7a,
    CMD_APPEND = 0x7d,
    CNS_NAMESPACE = 0x00,
    BUFFER = 4096,
};

typedef struct Zone {
    uint64_t start;             /* in logical blocks, as all here */
    uint64_t capacity;
} Zone;

typedef struct Namespace {
    int fd;
    uint32_t id;
    uint32_t block_size;
} Namespace;

/* With entries of 128 and completions of 32 bytes, as passthrough wants */
typedef struct Ring {
    int fd;
    unsigned *sq_tail, *sq_mask, *sq_array;
    unsigned *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *entries;
    struct io_uring_cqe *completions;
    unsigned to_submit;
} Ring;

static uint64_t little_endian(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;

    while (size--) {
        value = value << 8 | bytes[size];
    }
    return value;
}

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

static void *aligned(size_t size)
{
    void *buffer;

    if (posix_memalign(&buffer, 4096, size)) {
        errx(1, "no memory");
    }
    memset(buffer, 0x5a, size);
    return buffer;
}

static void passthru(Namespace *ns, unsigned long request,
                     struct nvme_passthru_cmd *cmd, void *buffer)
{
    int status;

    cmd->nsid = ns->id;
    cmd->addr = (uintptr_t)buffer;
    cmd->data_len = BUFFER;
    status = ioctl(ns->fd, request, cmd);
    if (status) {
        errx(1, "command %#x: status %#x", cmd->opcode, status);
    }
}

static void open_namespace(Namespace *ns, const char *path)
{
    struct nvme_passthru_cmd identify = {
        .opcode = ADMIN_IDENTIFY, .cdw10 = CNS_NAMESPACE,
    };
    uint8_t *id = aligned(BUFFER);

    ns->fd = open(path, O_RDWR);
    if (ns->fd < 0) {
        err(1, "%s", path);
    }
    ns->id = ioctl(ns->fd, NVME_IOCTL_ID);
    passthru(ns, NVME_IOCTL_ADMIN_CMD, &identify, id);
    /* The LBA format in use, and its data size as a power of two */
    ns->block_size = 1U << id[128 + 4 * (id[26] & 0xf) + 2];
    free(id);
}

/* The first zone, or the next after @previous */
static Zone next_zone(Namespace *ns, const Zone *previous)
{
    static uint64_t zone_size;
    uint64_t from = previous ? previous->start + zone_size : 0;
    struct nvme_passthru_cmd receive = {
        .opcode = CMD_ZONE_RECEIVE,
        .cdw10 = from, .cdw11 = from >> 32, .cdw12 = BUFFER / 4 - 1,
    };
    uint8_t *report = aligned(BUFFER), *zone = report + 64;
    Zone result;

    passthru(ns, NVME_IOCTL_IO_CMD, &receive, report);
    if (!previous) {
        zone_size = little_endian(zone + 64 + 16, 8);
    }
    if (zone[1] >> 4 != 1 || little_endian(zone + 16, 8) != from) {
        errx(1, "zone at %#lx is not empty", from);
    }
    result = (Zone) { .start = from, .capacity = little_endian(zone + 8, 8) };
    free(report);
    return result;
}

static void *map(Ring *ring, size_t size, off_t offset)
{
    void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_POPULATE, ring->fd, offset);

    if (mapped == MAP_FAILED) {
        err(1, "io_uring mmap");
    }
    return mapped;
}

static void open_ring(Ring *ring, unsigned depth)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SQE128 | IORING_SETUP_CQE32,
    };
    uint8_t *sq, *cq;

    ring->fd = syscall(__NR_io_uring_setup, depth, &params);
    if (ring->fd < 0) {
        err(1, "io_uring_setup");
    }
    sq = map(ring, params.sq_off.array + params.sq_entries * sizeof(unsigned),
             IORING_OFF_SQ_RING);
    cq = map(ring, params.cq_off.cqes +
             params.cq_entries * 2 * sizeof(struct io_uring_cqe),
             IORING_OFF_CQ_RING);
    ring->sq_tail = (unsigned *)(sq + params.sq_off.tail);
    ring->sq_mask = (unsigned *)(sq + params.sq_off.ring_mask);
    ring->sq_array = (unsigned *)(sq + params.sq_off.array);
    ring->cq_head = (unsigned *)(cq + params.cq_off.head);
    ring->cq_tail = (unsigned *)(cq + params.cq_off.tail);
    ring->cq_mask = (unsigned *)(cq + params.cq_off.ring_mask);
    ring->completions = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
    ring->entries = map(ring, params.sq_entries * 2 *
                        sizeof(struct io_uring_sqe), IORING_OFF_SQES);
    ring->to_submit = 0;
}

static void submit(Ring *ring, Namespace *ns, uint8_t opcode, uint64_t lba,
                   void *buffer, uint32_t size)
{
    unsigned tail = *ring->sq_tail, index = tail & *ring->sq_mask;
    struct io_uring_sqe *entry = &ring->entries[2 * index];
    struct nvme_uring_cmd *cmd = (struct nvme_uring_cmd *)entry->cmd;

    memset(entry, 0, 2 * sizeof(*entry));
    entry->opcode = IORING_OP_URING_CMD;
    entry->fd = ns->fd;
    entry->cmd_op = NVME_URING_CMD_IO;
    entry->user_data = lba;
    cmd->opcode = opcode;
    cmd->nsid = ns->id;
    cmd->addr = (uintptr_t)buffer;
    cmd->data_len = size;
    cmd->cdw10 = lba;
    cmd->cdw11 = lba >> 32;
    cmd->cdw12 = size / ns->block_size - 1;
    ring->sq_array[index] = index;
    __atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
    ring->to_submit++;
}

static void enter(Ring *ring, bool wait)
{
    int done = syscall(__NR_io_uring_enter, ring->fd, ring->to_submit, wait,
                       IORING_ENTER_GETEVENTS, NULL, 0);

    if (done < 0) {
        err(1, "io_uring_enter");
    }
    ring->to_submit -= done;
}

/* The completions there are; those of appends must be in the right zone */
static unsigned reap(Ring *ring, uint8_t opcode, uint64_t most)
{
    unsigned head = *ring->cq_head, count = 0;

    while (head != __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE)) {
        struct io_uring_cqe *cqe = &ring->completions[2 *
                                                      (head & *ring->cq_mask)];

        if (cqe->res) {
            errx(1, "request at %#llx: status %#x",
                 (unsigned long long)cqe->user_data, cqe->res);
        }
        if (opcode == CMD_APPEND && (cqe->big_cqe[0] < cqe->user_data ||
                                     cqe->big_cqe[0] >= cqe->user_data + most)) {
            errx(1, "append to %#llx went to %#llx",
                 (unsigned long long)cqe->user_data,
                 (unsigned long long)cqe->big_cqe[0]);
        }
        head++;
        count++;
    }
    __atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
    return count;
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        errx(1, "see nvme-load.c");
    }
    uint8_t opcode = strcmp(argv[2], "append") ? CMD_WRITE : CMD_APPEND;
    uint32_t size = atoi(argv[3]);
    unsigned depth = atoi(argv[4]), in_flight = 0;
    uint64_t most = strtoull(argv[5], NULL, 10) / size;
    uint64_t nanoseconds = strtoull(argv[6], NULL, 10) * 1000000;
    uint64_t begun = 0, done = 0, used = 0, start, end;
    void *buffer = aligned(size);
    Namespace ns;
    Ring ring;
    Zone zone;

    open_namespace(&ns, argv[1]);
    open_ring(&ring, depth);
    zone = next_zone(&ns, NULL);

    start = now();
    do {
        bool more = begun < most && now() - start < nanoseconds;
        unsigned count;

        for (; more && in_flight < depth && begun < most; in_flight++) {
            if (used + size / ns.block_size > zone.capacity) {
                zone = next_zone(&ns, &zone);
                used = 0;
            }
            submit(&ring, &ns, opcode,
                   zone.start + (opcode == CMD_APPEND ? 0 : used),
                   buffer, size);
            used += size / ns.block_size;
            begun++;
        }
        if (!in_flight) {
            break;
        }
        enter(&ring, true);
        count = reap(&ring, opcode, zone.capacity);
        done += count;
        in_flight -= count;
    } while (true);
    end = now();
    printf("%lu %lu\n", done * size, end - start);
    return 0;
}
