/*
 * A zoned block device for programs that think they use one of the host
 *
 * Preloaded to qemu-io, this makes the regular file that HOST_ZONED_FILE
 * names look like a zoned block device, host-managed if HOST_ZONED_MODEL does
 * not say host-aware: what the kernel would tell of it in sysfs, the ioctls
 * for zones, and the rules of sequential zones for everything that writes.
 * Zones are empty when the program starts, except as HOST_ZONED_STATES says
 * ("3:14,4:13": zone 3 is full, zone 4 is read-only). There can be
 * HOST_ZONED_MAX_OPEN open zones, if set. The file HOST_ZONED_FILE.KEY, if
 * there is one, is what sysfs has in queue/KEY. With HOST_ZONED_TOGETHER=N
 * a write waits, for 20 seconds at most, until N have been there at once.
 * Flushes, ioctls, refused writes and how many writes are there at once are
 * told on standard error in lines that begin with "device:".
 *
 * Only for the tests: there is one device, aio=threads only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/blkzoned.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_ZONES   64
#define DEVICE      makedev(259, 4095)

static struct {
    uint64_t wp;            /* in bytes, from the start of the device */
    unsigned cond;
} zones[MAX_ZONES];

static uint64_t zone_size, size, capacity;
static unsigned nr_zones, nr_conv, max_open;
static bool host_aware;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t number(const char *name, uint64_t fallback)
{
    const char *value = getenv(name);
    long long n;

    return value && sscanf(value, "%lli", &n) == 1 ? n : fallback;
}

static void __attribute__((constructor)) init(void)
{
    const char *states = getenv("HOST_ZONED_STATES");
    const char *model = getenv("HOST_ZONED_MODEL");
    unsigned zone, cond;

    zone_size = number("HOST_ZONED_ZONE", 1 << 20);
    capacity = number("HOST_ZONED_CAPACITY", zone_size);
    size = number("HOST_ZONED_SIZE", 8 << 20);
    nr_conv = number("HOST_ZONED_CONV", 0);
    max_open = number("HOST_ZONED_MAX_OPEN", 0);
    nr_zones = (size + zone_size - 1) / zone_size;
    host_aware = model && !strcmp(model, "host-aware");
    for (unsigned i = 0; i < nr_zones; i++) {
        zones[i].wp = i * zone_size;
        zones[i].cond = i < nr_conv ? BLK_ZONE_COND_NOT_WP
                                    : BLK_ZONE_COND_EMPTY;
    }
    while (states && sscanf(states, "%u:%u", &zone, &cond) == 2) {
        zones[zone].cond = cond;
        states = strchr(states, ',');
        states = states ? states + 1 : NULL;
    }
}

static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

static bool is_device(int fd)
{
    int (*real_fstat)(int, struct stat *) = real("fstat");
    const char *name = getenv("HOST_ZONED_FILE");
    struct stat file, st;

    return name && stat(name, &file) == 0 && real_fstat(fd, &st) == 0 &&
           st.st_ino == file.st_ino && st.st_dev == file.st_dev;
}

static uint64_t zone_end(unsigned i)
{
    return (i + 1) * zone_size < size ? (i + 1) * zone_size : size;
}

static uint64_t writable_end(unsigned i)
{
    uint64_t end = i * zone_size + capacity;

    return i < nr_conv || end > zone_end(i) ? zone_end(i) : end;
}

static void pause_for(const char *name)
{
    usleep(number(name, 0));
}

static bool is_open(unsigned i)
{
    return zones[i].cond == BLK_ZONE_COND_IMP_OPEN ||
           zones[i].cond == BLK_ZONE_COND_EXP_OPEN;
}

static void close_zone(unsigned i)
{
    zones[i].cond = zones[i].wp == i * zone_size ? BLK_ZONE_COND_EMPTY
                                                 : BLK_ZONE_COND_CLOSED;
}

/* Can zone @i be open?  An implicitly open zone is closed for it if need be. */
static bool make_room(unsigned i)
{
    unsigned open = 0, implicit = nr_zones;

    for (unsigned k = 0; k < nr_zones; k++) {
        open += is_open(k);
        if (zones[k].cond == BLK_ZONE_COND_IMP_OPEN && implicit == nr_zones) {
            implicit = k;
        }
    }
    if (is_open(i) || !max_open || open < max_open) {
        return true;
    }
    if (implicit < nr_zones) {
        close_zone(implicit);
    }
    return implicit < nr_zones;
}

/* What the kernel does with a write: cut it at zone ends, then it is checked */
static int write_zones(uint64_t offset, uint64_t bytes)
{
    int ret = 0;

    pthread_mutex_lock(&lock);
    if (offset > size || bytes > size - offset) {
        ret = EINVAL;
    }
    while (ret == 0 && bytes) {
        unsigned i = offset / zone_size;
        uint64_t n = zone_end(i) - offset < bytes ? zone_end(i) - offset
                                                  : bytes;

        if (i >= nr_conv) {
            if ((offset != zones[i].wp && !host_aware) ||
                offset + n > writable_end(i) ||
                zones[i].cond >= BLK_ZONE_COND_READONLY) {
                fprintf(stderr, "device: refused 0x%llx\n",
                        (unsigned long long)offset);
                ret = EIO;
                break;
            }
            if (!make_room(i)) {
                ret = ETOOMANYREFS;
                break;
            }
            if (offset + n > zones[i].wp) {
                zones[i].wp = offset + n;
            }
            if (zones[i].wp == writable_end(i)) {
                zones[i].cond = BLK_ZONE_COND_FULL;
            } else if (!is_open(i)) {
                zones[i].cond = BLK_ZONE_COND_IMP_OPEN;
            }
        }
        offset += n;
        bytes -= n;
    }
    pthread_mutex_unlock(&lock);
    return ret;
}

static int report_zones(struct blk_zone_report *report)
{
    struct blk_zone *z = report->zones;
    uint64_t offset = report->sector * 512;
    unsigned n = 0;

    for (unsigned i = offset / zone_size;
         offset < size && i < nr_zones && n < report->nr_zones; i++, n++) {
        bool full = zones[i].cond == BLK_ZONE_COND_FULL;

        z[n] = (struct blk_zone) {
            .start = i * zone_size / 512,
            .len = (zone_end(i) - i * zone_size) / 512,
            .capacity = (writable_end(i) - i * zone_size) / 512,
            .wp = (full ? zone_end(i) : zones[i].wp) / 512,
            .type = i < nr_conv ? BLK_ZONE_TYPE_CONVENTIONAL
                    : host_aware ? BLK_ZONE_TYPE_SEQWRITE_PREF
                                 : BLK_ZONE_TYPE_SEQWRITE_REQ,
            .cond = zones[i].cond,
        };
    }
    report->nr_zones = n;
    report->flags = BLK_ZONE_REP_CAPACITY;
    return 0;
}

/* What was written to the zone reads as zeroes. */
static void reset_zone(int fd, unsigned i)
{
    int (*real_fallocate)(int, int, off64_t, off64_t) = real("fallocate64");

    real_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                   i * zone_size, zone_end(i) - i * zone_size);
    zones[i].wp = i * zone_size;
    zones[i].cond = BLK_ZONE_COND_EMPTY;
}

/* An errno */
static int manage_zone(int fd, unsigned long op, unsigned i)
{
    int error = 0;

    switch (op) {
    case BLKRESETZONE:
        reset_zone(fd, i);
        break;
    case BLKFINISHZONE:
        zones[i].cond = BLK_ZONE_COND_FULL;
        break;
    case BLKOPENZONE:
        if (make_room(i)) {
            zones[i].cond = BLK_ZONE_COND_EXP_OPEN;
        } else {
            error = ETOOMANYREFS;
        }
        break;
    default:
        close_zone(i);
        break;
    }
    return error;
}

static int manage_zones(int fd, unsigned long op,
                        const struct blk_zone_range *range)
{
    uint64_t offset = range->sector * 512, bytes = range->nr_sectors * 512;
    bool all = op == BLKRESETZONE && bytes == size;
    int ret = 0;

    fprintf(stderr, "device: management of 0x%llx\n",
            (unsigned long long)offset);
    pthread_mutex_lock(&lock);
    for (unsigned i = offset / zone_size;
         i * zone_size < offset + bytes && !ret; i++) {
        bool worn = zones[i].cond == BLK_ZONE_COND_READONLY ||
                    zones[i].cond == BLK_ZONE_COND_OFFLINE;

        if (i >= nr_conv && !worn) {
            ret = manage_zone(fd, op, i);
        } else if (!all) {
            ret = EIO;
        }
    }
    pthread_mutex_unlock(&lock);
    errno = ret;
    return ret ? -1 : 0;
}

static int device_ioctl(int fd, unsigned long request, void *argument)
{
    switch (request) {
    case BLKREPORTZONE:
        pause_for("HOST_ZONED_REPORT_DELAY");
        return report_zones(argument);
    case BLKRESETZONE:
    case BLKOPENZONE:
    case BLKCLOSEZONE:
    case BLKFINISHZONE:
        return manage_zones(fd, request, argument);
    case BLKZEROOUT: {
        uint64_t *range = argument;
        int ret = write_zones(range[0], range[1]);

        errno = ret;
        return ret ? -1 : 0;
    }
    case BLKDISCARD:
        fprintf(stderr, "device: discard\n");
        return 0;
    case BLKROGET:
        *(int *)argument = 0;
        return 0;
    case BLKSSZGET:
        *(int *)argument = 512;
        return 0;
    case BLKPBSZGET:
        *(unsigned *)argument = number("HOST_ZONED_PHYSICAL", 512);
        return 0;
    default:
        errno = ENOTTY;
        return -1;
    }
}

/* --- What the program calls --- */

int ioctl(int fd, unsigned long request, ...)
{
    int (*real_ioctl)(int, unsigned long, void *) = real("ioctl");
    void *argument;
    va_list ap;

    va_start(ap, request);
    argument = va_arg(ap, void *);
    va_end(ap);
    return is_device(fd) ? device_ioctl(fd, request, argument)
                         : real_ioctl(fd, request, argument);
}

int fstat64(int fd, struct stat64 *st)
{
    int (*real_fstat)(int, struct stat64 *) = real("fstat64");
    int ret = real_fstat(fd, st);

    if (ret == 0 && is_device(fd)) {
        st->st_mode = S_IFBLK | 0600;
        st->st_rdev = DEVICE;
    }
    return ret;
}

int fdatasync(int fd)
{
    int (*real_fdatasync)(int) = real("fdatasync");

    if (is_device(fd)) {
        fprintf(stderr, "device: flush\n");
    }
    return real_fdatasync(fd);
}

/* Another write is there (@change 1) or gone (-1): the most there ever were */
static unsigned count_writes(int change)
{
    static unsigned writes, most;
    unsigned ret;

    pthread_mutex_lock(&lock);
    writes += change;
    if (writes > most) {
        most = writes;
        if (most > 1) {
            fprintf(stderr, "device: %u writes at once\n", most);
        }
    }
    ret = most;
    pthread_mutex_unlock(&lock);
    return ret;
}

static int device_write(int fd, uint64_t offset, uint64_t bytes)
{
    int ret = 0;

    if (is_device(fd)) {
        uint64_t together = number("HOST_ZONED_TOGETHER", 0);

        count_writes(1);
        ret = write_zones(offset, bytes);
        for (int ms = 0; count_writes(0) < together && ms < 20000; ms++) {
            usleep(1000);
        }
        pause_for("HOST_ZONED_DELAY");
        count_writes(-1);
    }
    errno = ret;
    return ret;
}

/* Offline zones cannot be read. */
static int device_read(int fd, uint64_t offset, uint64_t bytes)
{
    int ret = 0;

    if (is_device(fd)) {
        pthread_mutex_lock(&lock);
        for (unsigned i = offset / zone_size;
             i < nr_zones && i * zone_size < offset + bytes; i++) {
            if (zones[i].cond == BLK_ZONE_COND_OFFLINE) {
                ret = EIO;
            }
        }
        pthread_mutex_unlock(&lock);
        pause_for("HOST_ZONED_READ_DELAY");
    }
    errno = ret;
    return ret;
}

static uint64_t iov_bytes(const struct iovec *iov, int n)
{
    uint64_t bytes = 0;

    for (int i = 0; i < n; i++) {
        bytes += iov[i].iov_len;
    }
    return bytes;
}

ssize_t pwrite64(int fd, const void *buffer, size_t bytes, off64_t offset)
{
    ssize_t (*real_pwrite)(int, const void *, size_t, off64_t) =
        real("pwrite64");

    return device_write(fd, offset, bytes) ? -1
           : real_pwrite(fd, buffer, bytes, offset);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t offset)
{
    ssize_t (*real_pwritev)(int, const struct iovec *, int, off64_t) =
        real("pwritev64");

    return device_write(fd, offset, iov_bytes(iov, n)) ? -1
           : real_pwritev(fd, iov, n, offset);
}

ssize_t pread64(int fd, void *buffer, size_t bytes, off64_t offset)
{
    ssize_t (*real_pread)(int, void *, size_t, off64_t) = real("pread64");

    return device_read(fd, offset, bytes) ? -1
           : real_pread(fd, buffer, bytes, offset);
}

ssize_t preadv64(int fd, const struct iovec *iov, int n, off64_t offset)
{
    ssize_t (*real_preadv)(int, const struct iovec *, int, off64_t) =
        real("preadv64");

    return device_read(fd, offset, iov_bytes(iov, n)) ? -1
           : real_preadv(fd, iov, n, offset);
}

/* glib's, which QEMU reads sysfs with */
int g_file_get_contents(const char *name, char **text, size_t *length,
                        void *error)
{
    int (*real_get)(const char *, char **, size_t *, void *) =
        real("g_file_get_contents");
    void *(*allocate)(size_t) = real("g_malloc");
    char directory[64], value[32] = "", *other;
    const char *key;
    int found;

    snprintf(directory, sizeof(directory), "/sys/dev/block/%u:%u/queue/",
             major(DEVICE), minor(DEVICE));
    if (strncmp(name, directory, strlen(directory))) {
        return real_get(name, text, length, error);
    }
    key = name + strlen(directory);
    if (asprintf(&other, "%s.%s", getenv("HOST_ZONED_FILE"), key) < 0) {
        abort();
    }
    found = real_get(other, text, length, NULL);
    free(other);
    if (found) {
        return 1;
    }
    if (!strcmp(key, "zoned")) {
        strcpy(value, host_aware ? "host-aware\n" : "host-managed\n");
    } else if (!strcmp(key, "chunk_sectors")) {
        sprintf(value, "%llu\n", (unsigned long long)
                number("HOST_ZONED_CHUNK", zone_size / 512));
    } else if (!strcmp(key, "nr_zones")) {
        sprintf(value, "%u\n", nr_zones);
    } else if (!strcmp(key, "physical_block_size")) {
        sprintf(value, "%llu\n",
                (unsigned long long)number("HOST_ZONED_PHYSICAL", 512));
    } else if (!strcmp(key, "zone_write_granularity")) {
        sprintf(value, "%llu\n",
                (unsigned long long)number("HOST_ZONED_GRANULARITY", 512));
    } else if (!strcmp(key, "max_open_zones") && max_open) {
        sprintf(value, "%u\n", max_open);
    } else if (!strcmp(key, "zone_append_max_bytes")) {
        strcpy(value, "0\n");
    } else {
        return 0;
    }
    *text = allocate(sizeof(value));
    strcpy(*text, value);
    if (length) {
        *length = strlen(value);
    }
    return 1;
}
