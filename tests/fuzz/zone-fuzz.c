/*
 * Use images that may be crafted, as a guest and an administrator would
 *
 * usage: zone-fuzz < IMAGES
 *
 * Each line has the length of an image, its kind ("luks", "data-file" or
 * "plain") and the name of a file with its beginning, the rest is zeroes.  The
 * image is opened, used, checked, repaired and used again, from a copy in
 * memory.  tests/fuzz/run knows what may come of that; here is only what must
 * never happen: more than two seconds of work in one go, or thirty of waiting,
 * end the process with a signal.  The address sanitizer ends it as well, also
 * for an allocation of more than a gigabyte.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "block/block_int.h"
#include "block/zoned-compat.h"
#include "block/snapshot.h"
#include "crypto/secret.h"
#include "qom/object.h"
#include "system/block-backend.h"
#include "block-program.h"

#define BUSY_SECONDS 2
#define STUCK_SECONDS 30
#define KiB ((int64_t)1024)
#define SHOWN_ZONES 64          /* no more are printed, or read */
#define USED_ZONES 4
#define IO_BYTES (4 * KiB)

/* --- A disk in memory --- */

#define MAX_LENGTH (256 * 1024 * KiB)

/* The image, and an external data file that is empty at first */
static RamDisk disk = { .max_length = MAX_LENGTH };
static RamDisk data_disk = { .max_length = MAX_LENGTH };

static void make_disk(RamDisk *d)
{
    d->data = mmap(NULL, MAX_LENGTH, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    g_assert(d->data != MAP_FAILED);
}

static void clear_disk(RamDisk *d)
{
    g_assert(madvise(d->data, MAX_LENGTH, MADV_DONTNEED) == 0);
    d->length = 0;
}

static void insert_disk(const char *path, int64_t length)
{
    g_autofree char *content = NULL;
    gsize bytes;

    g_assert(g_file_get_contents(path, &content, &bytes, NULL));
    g_assert(bytes <= length && length <= MAX_LENGTH);
    clear_disk(&disk);
    clear_disk(&data_disk);
    memcpy(disk.data, content, bytes);
    disk.length = length;
}

static int fuzz_disk_open(BlockDriverState *bs, QDict *options, int flags,
                          Error **errp)
{
    RamDisk **d = bs->opaque;

    *d = g_str_equal(qdict_get_str(options, "filename"), "data") ? &data_disk
                                                                 : &disk;
    qdict_del(options, "filename");
    return 0;
}

static int64_t coroutine_fn fuzz_disk_co_getlength(BlockDriverState *bs)
{
    RamDisk **d = bs->opaque;

    return (*d)->length;
}

static int coroutine_fn
fuzz_disk_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes,
                    QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    RamDisk **d = bs->opaque;

    g_assert(!bytes ||
             offset + bytes <= QEMU_ALIGN_UP((*d)->length, BDRV_SECTOR_SIZE));
    ram_disk_read(*d, offset, qiov);
    return 0;
}

static int coroutine_fn
fuzz_disk_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes,
                     QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    RamDisk **d = bs->opaque;

    return ram_disk_write(*d, offset, bytes, qiov);
}

static int coroutine_fn
fuzz_disk_co_pwrite_zeroes(BlockDriverState *bs, int64_t offset, int64_t bytes,
                           BdrvRequestFlags flags)
{
    RamDisk **d = bs->opaque;

    return ram_disk_write(*d, offset, bytes, NULL);
}

static int coroutine_fn
fuzz_disk_co_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                      PreallocMode prealloc, BdrvRequestFlags flags,
                      Error **errp)
{
    RamDisk **d = bs->opaque;

    return ram_disk_truncate(*d, offset, errp);
}

static BlockDriver bdrv_fuzz_disk = {
    .format_name            = "fuzz-disk",
    .protocol_name          = "fuzz-disk",
    .instance_size          = sizeof(RamDisk *),
    .bdrv_open              = fuzz_disk_open,
    .bdrv_co_getlength      = fuzz_disk_co_getlength,
    .bdrv_co_preadv         = fuzz_disk_co_preadv,
    .bdrv_co_pwritev        = fuzz_disk_co_pwritev,
    .bdrv_co_pwrite_zeroes  = fuzz_disk_co_pwrite_zeroes,
    .bdrv_co_truncate       = fuzz_disk_co_truncate,
};

static void fuzz_disk_init(void)
{
    bdrv_register(&bdrv_fuzz_disk);
}

block_init(fuzz_disk_init);

/* --- Time --- */

/*
 * What comes now gets as much time as anything does; more where there are
 * millions of zones, since the sanitizers make it several times slower.
 */
static void begin(const char *what)
{
    struct itimerval busy = {
        .it_value.tv_sec = BUSY_SECONDS + disk.length / (8 * 1024 * KiB),
    };

    printf("begin %s\n", what);
    fflush(stdout);
    setitimer(ITIMER_PROF, &busy, NULL);
    alarm(STUCK_SECONDS);
}

/* --- Using an image --- */

static bool is_luks, has_data_file;

static BlockBackend *open_image(int flags)
{
    QDict *options = qdict_new();
    Error *local_err = NULL;
    BlockBackend *blk;

    qdict_put_str(options, "driver", "qcow2");
    qdict_put_str(options, "file.driver", "fuzz-disk");
    qdict_put_str(options, "file.filename", "image");
    if (has_data_file) {
        qdict_put_str(options, "data-file.driver", "fuzz-disk");
        qdict_put_str(options, "data-file.filename", "data");
    }
    if (is_luks) {
        qdict_put_str(options, "encrypt.format", "luks");
        qdict_put_str(options, "encrypt.key-secret", "key");
    }
    blk = blk_new_open(NULL, NULL, options, flags, &local_err);
    if (!blk) {
        printf("refused %s\n", error_get_pretty(local_err));
        error_free(local_err);
    }
    return blk;
}

/* All zones there are, or the first ones; to be freed */
static BlockZoneDescriptor * coroutine_fn
get_zones(BlockBackend *blk, unsigned int *n)
{
    BlockZoneDescriptor *zones = g_new(BlockZoneDescriptor, SHOWN_ZONES);
    int ret;

    *n = SHOWN_ZONES;
    ret = blk_co_zone_report(blk, 0, n, zones);
    if (ret < 0) {
        printf("report %d\n", ret);
        *n = 0;
    }
    return zones;
}

/*
 * "zone": number, start, length, capacity, pointer, type, state, attributes, and
 * a checksum of its descriptor extension or "-"
 */
static void coroutine_fn print_zones(BlockBackend *blk)
{
    unsigned int n;
    g_autofree BlockZoneDescriptor *zones = get_zones(blk, &n);
    uint32_t ext_size = blk_bs(blk)->bl.zones.ext_size;
    g_autofree uint8_t *ext = g_malloc(ext_size);

    printf("size %" PRId64 "\n", blk_co_getlength(blk));
    for (unsigned int i = 0; i < n; i++) {
        const BlockZoneDescriptor *z = &zones[i];
        g_autofree char *sum = NULL;

        if ((z->attributes & BDRV_ZA_EXT) &&
            blk_co_zone_get_ext(blk, z->start, ext) == 0) {
            sum = g_compute_checksum_for_data(G_CHECKSUM_MD5, ext, ext_size);
        }
        printf("zone %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
               " %d %d %d %s\n", i, z->start, z->length, z->cap, z->wp, z->type,
               z->state, z->attributes, sum ?: "-");
    }
}

/* Around the places where something may be wrong */
static void coroutine_fn read_zones(BlockBackend *blk)
{
    unsigned int n;
    g_autofree BlockZoneDescriptor *zones = get_zones(blk, &n);
    g_autofree uint8_t *buf = g_malloc(2 * IO_BYTES);
    g_autofree uint8_t *ext = g_malloc(blk_bs(blk)->bl.zones.ext_size);

    for (unsigned int i = 0; i < n; i++) {
        const BlockZoneDescriptor *z = &zones[i];
        int64_t end = z->start + z->length;

        blk_co_pread(blk, z->start, MIN(IO_BYTES, z->length), buf, 0);
        if (z->wp > z->start && z->wp < end) {
            int64_t from = MAX(z->start, z->wp - IO_BYTES);

            blk_co_pread(blk, from, MIN(2 * IO_BYTES, end - from), buf, 0);
        }
        blk_co_pread(blk, end - 512, 512, buf, 0);
        blk_co_zone_get_ext(blk, z->start, ext);
    }
}

/* "lost": a zone that does not hold what was written there, and where */
static void coroutine_fn
write_and_read(BlockBackend *blk, const BlockZoneDescriptor *z, bool append)
{
    g_autofree uint8_t *buf = g_malloc(IO_BYTES), *back = g_malloc(IO_BYTES);
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, IO_BYTES);
    int64_t offset = append ? z->start : z->wp;
    int ret;

    memset(buf, 0x11 + (z->start >> 12) % 0xee, IO_BYTES);
    ret = append ? blk_co_zone_append(blk, &offset, &qiov, 0) :
          blk_co_pwrite(blk, offset, IO_BYTES, buf, 0);
    if (ret < 0) {
        return;
    }
    ret = blk_co_pread(blk, offset, IO_BYTES, back, 0);
    if (ret < 0 || memcmp(buf, back, IO_BYTES)) {
        printf("lost 0x%" PRIx64 " %d\n", offset, ret);
    }
}

static BlockZoneDescriptor coroutine_fn
look_at_zone(BlockBackend *blk, int64_t start)
{
    BlockZoneDescriptor z = { 0 };
    unsigned int n = 1;

    blk_co_zone_report(blk, start, &n, &z);
    return z;
}

static void coroutine_fn zone_op(BlockBackend *blk, BlockZoneOp op,
                                 int64_t offset, int64_t bytes)
{
    blk_co_zone_mgmt(blk, op, 0, offset, bytes, NULL);
}

static void coroutine_fn
set_ext(BlockBackend *blk, const BlockZoneDescriptor *z, BlockZoneFlags flags)
{
    uint32_t size = blk_bs(blk)->bl.zones.ext_size;
    g_autofree uint8_t *ext = g_malloc0(size), *back = g_malloc0(size);

    if (!size) {
        return;
    }
    memset(ext, 0x11 + (z->start >> 12) % 0xee, size);
    if (blk_co_zone_mgmt(blk, BLK_ZO_SET_EXT, flags, z->start, z->length,
                         ext) == 0 &&
        (blk_co_zone_get_ext(blk, z->start, back) < 0 ||
         memcmp(ext, back, size))) {
        printf("lost extension of 0x%" PRIx64 "\n", z->start);
    }
}

/* An empty one: its extension, and a random write area from the end down */
static void coroutine_fn use_area(BlockBackend *blk,
                                  const BlockZoneDescriptor *z)
{
    const BlockLimits *bl = &blk_bs(blk)->bl;
    BlockZoneDescriptor part = *z;

    set_ext(blk, z, bl->zones.zrwa_size ? BDRV_ZONE_ZRWA : 0);
    blk_co_zone_mgmt(blk, BLK_ZO_OPEN, bl->zones.zrwa_size ? BDRV_ZONE_ZRWA : 0,
                     z->start, z->length, NULL);
    part.wp = z->start + 2 * bl->zones.zrwa_size - IO_BYTES;
    if (bl->zones.zrwa_size >= IO_BYTES) {
        write_and_read(blk, &part, false);
    }
    part.wp = z->start + bl->zones.zrwa_size;
    write_and_read(blk, &part, false);
    blk_co_zone_mgmt(blk, BLK_ZO_ZRWA_COMMIT, 0, z->start,
                     MIN(z->cap, bl->zones.zrwa_size), NULL);
    blk_co_flush(blk);
    write_and_read(blk, &part, false);
    blk_co_zone_mgmt(blk, BLK_ZO_CLOSE, BDRV_ZONE_CLOSE_EMPTY, z->start,
                     z->length, NULL);
}

static void coroutine_fn use_zone(BlockBackend *blk, unsigned int i,
                     const BlockZoneDescriptor *old)
{
    const BlockLimits *bl = &blk_bs(blk)->bl;
    int64_t start = old->start, length = old->length;
    BlockZoneDescriptor z;

    write_and_read(blk, old, false);
    z = look_at_zone(blk, start);
    write_and_read(blk, &z, true);
    blk_co_pwrite_zeroes(blk, start, IO_BYTES, BDRV_REQ_MAY_UNMAP);
    zoned_co_pdiscard(blk, start, MIN(length, IO_BYTES));
    zone_op(blk, BLK_ZO_OPEN, start, length);
    zone_op(blk, i % 2 ? BLK_ZO_CLOSE : BLK_ZO_FINISH, start, length);
    if (i % 4 >= 2) {
        zone_op(blk, BLK_ZO_RESET, start, length);
        z = look_at_zone(blk, start);
        if (bl->zones.ext_size || bl->zones.zrwa_size) {
            use_area(blk, &z);
        } else {
            write_and_read(blk, &z, i % 4 == 2);
        }
    }
    if (i % 3 == 0) {
        blk_co_flush(blk);
    }
}

static void coroutine_fn use_zones(BlockBackend *blk)
{
    unsigned int n;
    g_autofree BlockZoneDescriptor *zones = get_zones(blk, &n);

    for (unsigned int i = 0; i < MIN(n, USED_ZONES); i++) {
        use_zone(blk, i, &zones[i]);
    }
    if (n > USED_ZONES) {
        use_zone(blk, n - 1, &zones[n - 1]);
    }
    blk_co_flush(blk);
}

/*
 * A guest's life in one coroutine: switching between them is what takes the
 * address sanitizer most of its time.
 */
typedef void coroutine_fn (*GuestFunc)(BlockBackend *blk);

typedef struct Guest {
    BlockBackend *blk;
    GuestFunc live;
} Guest;

static void coroutine_fn guest_entry(void *opaque)
{
    Guest *g = opaque;

    g->live(g->blk);
}

static void run_guest(BlockBackend *blk, GuestFunc live)
{
    Guest g = { .blk = blk, .live = live };

    block_program_run(guest_entry, &g);
}

static int list_snapshots(BlockBackend *blk, QEMUSnapshotInfo **list)
{
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    *list = NULL;
    return bdrv_snapshot_list(blk_bs(blk), list);
}

/* "snapshot": number, result of going back to it */
static void go_back(BlockBackend *blk)
{
    QEMUSnapshotInfo *list;
    int n = list_snapshots(blk, &list);

    for (int i = 0; i < MIN(n, 4); i++) {
        Error *local_err = NULL;
        int ret = bdrv_snapshot_goto(blk_bs(blk), list[i].id_str, &local_err);

        printf("snapshot %d %d\n", i, ret);
        error_free(local_err);
        if (ret == 0) {
            run_guest(blk, i ? read_zones : use_zones);
        }
    }
    g_free(list);
}

static void make_and_delete_snapshots(BlockBackend *blk)
{
    QEMUSnapshotInfo *list = NULL, sn = { .name = "fuzz" };
    int n;

    GRAPH_RDLOCK_GUARD_MAINLOOP();

    bdrv_snapshot_create(blk_bs(blk), &sn);
    n = bdrv_snapshot_list(blk_bs(blk), &list);
    for (int i = 0; i < MIN(n, 4); i++) {
        Error *local_err = NULL;

        bdrv_snapshot_delete(blk_bs(blk), list[i].id_str, list[i].name,
                             &local_err);
        error_free(local_err);
    }
    g_free(list);
}

static void load_snapshot(BlockBackend *blk, const char *id)
{
    Error *local_err = NULL;

    GRAPH_RDLOCK_GUARD_MAINLOOP();

    bdrv_snapshot_load_tmp(blk_bs(blk), id, NULL, &local_err);
    error_free(local_err);
}

/* Reading the zones of a snapshot, on a node of its own */
static void look_at_snapshots(void)
{
    BlockBackend *blk = open_image(0);
    QEMUSnapshotInfo *list;
    int n;

    if (!blk) {
        return;
    }
    run_guest(blk, print_zones);
    n = list_snapshots(blk, &list);
    for (int i = 0; i < MIN(n, 4); i++) {
        load_snapshot(blk, list[i].id_str);
        run_guest(blk, read_zones);
    }
    g_free(list);
    blk_unref(blk);
}

static void coroutine_fn reset_all(BlockBackend *blk)
{
    zone_op(blk, BLK_ZO_RESET, 0, blk_co_getlength(blk));
}

static void use(void)
{
    BlockBackend *blk = open_image(BDRV_O_RDWR | BDRV_O_UNMAP);

    if (!blk) {
        return;
    }
    run_guest(blk, print_zones);
    begin("read");
    run_guest(blk, read_zones);
    begin("use");
    run_guest(blk, use_zones);
    begin("snapshots");
    go_back(blk);
    make_and_delete_snapshots(blk);
    begin("reset");
    run_guest(blk, reset_all);
    begin("close");
    blk_unref(blk);
}

static void look(void)
{
    BlockBackend *blk = open_image(BDRV_O_RDWR | BDRV_O_UNMAP);

    if (blk) {
        run_guest(blk, print_zones);
        blk_unref(blk);
    }
}

/* "check": mode, result, corruptions, leaks, other errors, those fixed */
static void check(BdrvCheckMode mode)
{
    BdrvCheckResult r = { 0 };
    BlockBackend *blk = open_image(BDRV_O_CHECK | (mode ? BDRV_O_RDWR : 0));
    int ret;

    if (!blk) {
        return;
    }
    ret = bdrv_check(blk_bs(blk), &r, mode);
    printf("check %d %d %d %d %d %d\n", mode, ret, r.corruptions, r.leaks,
           r.check_errors, r.corruptions_fixed);
    blk_unref(blk);
}

static void try_image(const char *path, int64_t length)
{
    /* As it came, before anything is repaired */
    insert_disk(path, length);
    begin("look at snapshots of");
    look_at_snapshots();
    begin("open");
    use();
    begin("open again");
    look();

    insert_disk(path, length);
    begin("check");
    check(0);
    begin("repair");
    check(BDRV_FIX_LEAKS | BDRV_FIX_ERRORS);
    begin("check the repaired");
    check(0);
    begin("open the repaired");
    use();
    begin("end");
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;

    block_program_init(argv[0]);
    object_new_with_props(TYPE_QCRYPTO_SECRET, object_get_objects_root(), "key",
                          &error_fatal, "data", "fuzz", NULL);
    make_disk(&disk);
    make_disk(&data_disk);

    while ((len = getline(&line, &size, stdin)) > 0) {
        g_auto(GStrv) words = NULL;

        line[len - 1] = '\0';
        words = g_strsplit(line, " ", 3);
        is_luks = g_str_equal(words[1], "luks");
        has_data_file = g_str_equal(words[1], "data-file");
        try_image(words[2], block_program_number(words[0]));
        fflush(stdout);
    }
    free(line);
    return 0;
}
