/*
 * The memory of a guest, and what a device may change in it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qemu/bswap.h"
#include "libqtest.h"
#include "guest-memory.h"

#define PAGE    4096

typedef struct Area {
    uint64_t owner, addr, len;
} Area;

struct GuestMemory {
    char *path;
    char *options;
    int fd;
    uint8_t *ram;           /* what is there */
    uint8_t *expected;      /* what has to be there, outside of @areas */
    GArray *areas;
};

static void remove_file(void *opaque)
{
    GuestMemory *m = opaque;

    unlink(m->path);
}

GuestMemory *guest_new(void)
{
    GuestMemory *m = g_new0(GuestMemory, 1);

    m->fd = g_file_open_tmp("zoned-ram-XXXXXX", &m->path, NULL);
    g_assert_cmpint(m->fd, >=, 0);
    qtest_add_abrt_handler(remove_file, m);
    g_assert_cmpint(ftruncate(m->fd, GUEST_MEMORY_SIZE), ==, 0);
    m->ram = mmap(NULL, GUEST_MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                  m->fd, 0);
    m->expected = mmap(NULL, GUEST_MEMORY_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert_true(m->ram != MAP_FAILED && m->expected != MAP_FAILED);
    m->areas = g_array_new(false, false, sizeof(Area));
    m->options = g_strdup_printf(
        "-m %uM -machine memory-backend=ram -object memory-backend-file,id=ram,"
        "size=%uM,share=on,mem-path=%s", (unsigned)(GUEST_MEMORY_SIZE / MiB),
        (unsigned)(GUEST_MEMORY_SIZE / MiB), m->path);
    return m;
}

void guest_delete(GuestMemory *m)
{
    munmap(m->ram, GUEST_MEMORY_SIZE);
    munmap(m->expected, GUEST_MEMORY_SIZE);
    close(m->fd);
    qtest_remove_abrt_handler(m);
    unlink(m->path);
    g_array_free(m->areas, true);
    g_free(m->path);
    g_free(m->options);
    g_free(m);
}

const char *guest_options(const GuestMemory *m)
{
    return m->options;
}

/*
 * The next part of the memory that somebody has ever written, from @from on.
 * The rest is zero here and there.
 */
static bool next_part(const GuestMemory *m, uint64_t from, uint64_t *start,
                      uint64_t *end)
{
    off_t data = lseek(m->fd, from, SEEK_DATA), hole;

    if (data < 0) {
        /* No more, or the file system cannot tell */
        data = errno == ENXIO ? GUEST_MEMORY_SIZE : from;
    }
    hole = data < GUEST_MEMORY_SIZE ? lseek(m->fd, data, SEEK_HOLE) : -1;
    *start = data;
    *end = hole < 0 ? GUEST_MEMORY_SIZE : hole;
    return *start < GUEST_MEMORY_SIZE;
}

void guest_started(GuestMemory *m)
{
    uint64_t start, end;

    for (end = 0; next_part(m, end, &start, &end); ) {
        memcpy(m->expected + start, m->ram + start, end - start);
    }
}

void guest_migrated(GuestMemory *m, const GuestMemory *from)
{
    uint64_t start, end;

    for (end = 0; next_part(from, end, &start, &end); ) {
        memcpy(m->expected + start, from->expected + start, end - start);
    }
    g_array_append_vals(m->areas, from->areas->data, from->areas->len);
}

/* --- What the guest does --- */

static bool is_memory(uint64_t addr, uint64_t len)
{
    return addr <= GUEST_MEMORY_SIZE && len <= GUEST_MEMORY_SIZE - addr;
}

void guest_write(GuestMemory *m, uint64_t addr, const void *data, size_t len)
{
    g_assert_true(is_memory(addr, len));
    memcpy(m->ram + addr, data, len);
    memcpy(m->expected + addr, data, len);
}

void guest_fill(GuestMemory *m, uint64_t addr, uint8_t value, size_t len)
{
    g_assert_true(is_memory(addr, len));
    memset(m->ram + addr, value, len);
    memset(m->expected + addr, value, len);
}

void guest_writeq(GuestMemory *m, uint64_t addr, uint64_t value)
{
    value = cpu_to_le64(value);
    guest_write(m, addr, &value, sizeof(value));
}

void guest_read(const GuestMemory *m, uint64_t addr, void *data, size_t len)
{
    g_assert_true(is_memory(addr, len));
    memcpy(data, m->ram + addr, len);
}

void guest_accept(GuestMemory *m, uint64_t addr, uint64_t len)
{
    if (addr < GUEST_MEMORY_SIZE) {
        memcpy(m->expected + addr, m->ram + addr,
               MIN(len, GUEST_MEMORY_SIZE - addr));
    }
}

/* --- What the device does --- */

static Area *area(const GuestMemory *m, unsigned i)
{
    return &g_array_index(m->areas, Area, i);
}

void guest_allow(GuestMemory *m, uint64_t owner, uint64_t addr, uint64_t len)
{
    Area new = { .owner = owner, .addr = addr, .len = len };
    Area *last = m->areas->len ? area(m, m->areas->len - 1) : NULL;

    if (last && last->owner == owner && last->addr + last->len == addr) {
        last->len += len;
    } else {
        g_array_append_val(m->areas, new);
    }
}

void guest_done(GuestMemory *m, uint64_t owner, uint64_t bytes)
{
    for (unsigned i = 0; i < m->areas->len; ) {
        Area *a = area(m, i);
        uint64_t written = MIN(a->len, bytes);

        if (a->owner != owner) {
            i++;
            continue;
        }
        guest_accept(m, a->addr, written);
        bytes -= written;
        g_array_remove_index(m->areas, i);
    }
    g_assert_cmphex(bytes, ==, 0);
}

void guest_forget(GuestMemory *m, uint64_t addr, uint64_t len)
{
    for (unsigned i = 0; i < m->areas->len; ) {
        Area *a = area(m, i);

        if (a->owner < addr || a->owner - addr >= len) {
            i++;
            continue;
        }
        guest_accept(m, a->addr, a->len);
        g_array_remove_index(m->areas, i);
    }
}

/* The end of the areas that @addr is in, or @addr */
static uint64_t allowed_until(const GuestMemory *m, uint64_t addr)
{
    for (unsigned i = 0; i < m->areas->len; i++) {
        const Area *a = area(m, i);

        if (addr >= a->addr && addr - a->addr < a->len) {
            addr = a->addr + a->len;
            i = -1;
        }
    }
    return addr;
}

static void G_NORETURN fail(const GuestMemory *m, uint64_t addr)
{
    uint64_t last = addr;

    for (uint64_t i = addr; i < QEMU_ALIGN_DOWN(addr, PAGE) + PAGE; i++) {
        last = m->ram[i] != m->expected[i] ? i : last;
    }
    g_printerr("# guest memory from 0x%" PRIx64 " to 0x%" PRIx64
               " is not what it was: 0x%02x instead of 0x%02x\n", addr, last,
               m->ram[addr], m->expected[addr]);
    for (unsigned i = 0; i < m->areas->len; i++) {
        g_printerr("# allowed: 0x%" PRIx64 ", 0x%" PRIx64 " bytes\n",
                   area(m, i)->addr, area(m, i)->len);
    }
    g_assert_not_reached();
}

static void check_page(const GuestMemory *m, uint64_t start, uint64_t end)
{
    for (uint64_t i = start; i < end; i++) {
        if (m->ram[i] != m->expected[i]) {
            uint64_t next = allowed_until(m, i);

            if (next == i) {
                fail(m, i);
            }
            i = next - 1;
        }
    }
}

void guest_check(const GuestMemory *m)
{
    uint64_t start, end;

    for (end = 0; next_part(m, end, &start, &end); ) {
        for (uint64_t i = start; i < end; i += PAGE) {
            uint64_t n = MIN(PAGE, end - i);

            if (memcmp(m->ram + i, m->expected + i, n)) {
                check_page(m, i, i + n);
            }
        }
    }
}

/* --- Queues of virtio --- */

static uint16_t ring_word(const GuestMemory *m, uint64_t addr)
{
    g_assert_true(is_memory(addr, 2));
    return lduw_le_p(m->ram + addr);
}

static uint64_t used_entry(const QVirtQueue *vq, uint16_t index)
{
    return vq->used + 4 + 8 * (index % vq->size);
}

static uint64_t descriptor(const QVirtQueue *vq, uint32_t i)
{
    return vq->desc + 16 * i;
}

void guest_queue_started(GuestMemory *m, const QVirtQueue *vq)
{
    guest_accept(m, vq->desc, qvring_size(vq->size, vq->align));
    /* The flags, and the index */
    guest_allow(m, vq->used, vq->used, 4);
}

static void allow_chain(GuestMemory *m, const QVirtQueue *vq, uint32_t head)
{
    uint32_t i = head;
    uint16_t flags;

    do {
        const uint8_t *d = m->ram + descriptor(vq, i);

        flags = lduw_le_p(d + 12);
        if (flags & VRING_DESC_F_WRITE) {
            guest_allow(m, descriptor(vq, head), ldq_le_p(d),
                        (uint32_t)ldl_le_p(d + 8));
        }
        i = lduw_le_p(d + 14);
    } while (flags & VRING_DESC_F_NEXT);
}

void guest_queue_offered(GuestMemory *m, const QVirtQueue *vq, unsigned n)
{
    uint16_t index = ring_word(m, vq->avail + 2) - n;

    guest_accept(m, vq->desc, vq->used - vq->desc);
    for (unsigned i = 0; i < n; i++, index++) {
        guest_allow(m, used_entry(vq, index), used_entry(vq, index), 8);
        allow_chain(m, vq, ring_word(m, vq->avail + 4 +
                                        2 * (index % vq->size)));
    }
}

void guest_queue_taken(GuestMemory *m, const QVirtQueue *vq)
{
    guest_done(m, used_entry(vq, vq->last_used_idx), 8);
}

void guest_queue_done(GuestMemory *m, const QVirtQueue *vq, uint32_t head,
                      uint64_t bytes)
{
    guest_done(m, descriptor(vq, head), bytes);
}
