/*
 * The zone table on a disk whose power may be cut, written by several threads
 *
 * The image lies on a disk in memory that watches the zone table.  What was
 * written since the last flush may be there after a power cut or not, sector by
 * sector; so of each sector all versions are kept that a cut could leave.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "block/aio-wait.h"
#include "block/block_int.h"
#include "iothread.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "system/block-backend.h"

#define THREADS     4
#define WORKERS     16              /* coroutines, of all threads together */
#define ROUNDS      8
#define MAX_ACTIVE  6
#define NR_ZONES    4096            /* 16 blocks of the zone table */
#define BLOCK       (4 * KiB)
#define ZONE        (2 * BLOCK)     /* one write makes it active, two full */

/* --- The zone table as a power cut may leave it --- */

#define RECORD_BYTES    16
#define SECTOR_RECORDS  (BDRV_SECTOR_SIZE / RECORD_BYTES)
#define NR_SECTORS      (NR_ZONES / SECTOR_RECORDS)

typedef struct Version {
    uint64_t moment;            /* when it was written */
    unsigned int active;        /* zones */
} Version;

static QemuMutex disk_lock;     /* of all here */
static uint8_t *disk_data;
static int64_t disk_length;
static uint64_t moment;         /* counts writes */
static uint64_t table_offset;   /* 0: not watched yet */
/* What a power cut may leave of each sector; the first is durable */
static GArray *versions[NR_SECTORS];
static unsigned int most_active;

/* docs/interop/qcow2-zoned.rst: neither empty nor full, and not conventional */
static bool record_is_active(const uint8_t *record, unsigned int zone)
{
    uint64_t start = zone * ZONE;
    uint64_t word = ldq_be_p(record), data_end = ldq_be_p(record + 8);
    uint64_t wp = word & MAKE_64BIT_MASK(0, 51);
    unsigned int state = word >> 60;

    return state <= 3 && wp < start + ZONE && (wp > start || data_end > start);
}

static unsigned int count_active(unsigned int sector)
{
    const uint8_t *record = disk_data + table_offset +
                            sector * BDRV_SECTOR_SIZE;
    unsigned int n = 0;

    for (int i = 0; i < SECTOR_RECORDS; i++, record += RECORD_BYTES) {
        n += record_is_active(record, sector * SECTOR_RECORDS + i);
    }
    return n;
}

static unsigned int most_active_in(unsigned int sector)
{
    unsigned int most = 0;

    for (guint i = 0; i < versions[sector]->len; i++) {
        most = MAX(most, g_array_index(versions[sector], Version, i).active);
    }
    return most;
}

/* What has been written may be on the disk after a power cut, or not. */
static void table_written(uint64_t offset, uint64_t bytes)
{
    unsigned int active = 0;

    if (!table_offset || offset >= table_offset + NR_ZONES * RECORD_BYTES ||
        offset + bytes <= table_offset) {
        return;
    }
    moment++;
    for (unsigned int i = 0; i < NR_SECTORS; i++) {
        uint64_t at = table_offset + i * BDRV_SECTOR_SIZE;

        if (at >= offset && at < offset + bytes) {
            Version v = { .moment = moment, .active = count_active(i) };

            g_array_append_val(versions[i], v);
        }
        active += most_active_in(i);
    }
    most_active = MAX(most_active, active);
}

/* A flush has ended that began at @begun: what was written before is durable. */
static void table_flushed(uint64_t begun)
{
    for (unsigned int i = 0; i < NR_SECTORS; i++) {
        while (versions[i]->len > 1 &&
               g_array_index(versions[i], Version, 1).moment <= begun) {
            g_array_remove_index(versions[i], 0);
        }
    }
}

/* --- The disk --- */

#define DISK_BYTES (64 * MiB)

static int watched_open(BlockDriverState *bs, QDict *options, int flags,
                        Error **errp)
{
    g_autofree char *content = NULL;
    gsize length;

    g_assert_true(g_file_get_contents(qdict_get_str(options, "filename"),
                                      &content, &length, NULL));
    g_assert_cmpuint(length, <=, DISK_BYTES);
    qdict_del(options, "filename");
    disk_data = g_malloc0(DISK_BYTES);
    disk_length = length;
    memcpy(disk_data, content, length);
    return 0;
}

static void watched_close(BlockDriverState *bs)
{
    g_free(disk_data);
    table_offset = 0;
}

static int64_t coroutine_fn watched_co_getlength(BlockDriverState *bs)
{
    return qatomic_read(&disk_length);
}

static int coroutine_fn
watched_co_truncate(BlockDriverState *bs, int64_t offset, bool exact,
                    PreallocMode prealloc, BdrvRequestFlags flags, Error **errp)
{
    g_assert_cmpint(offset, <=, DISK_BYTES);
    qatomic_set(&disk_length, offset);
    return 0;
}

static int coroutine_fn
watched_co_preadv(BlockDriverState *bs, int64_t offset, int64_t bytes,
                  QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    QEMU_LOCK_GUARD(&disk_lock);

    qemu_iovec_from_buf(qiov, 0, disk_data + offset, bytes);
    return 0;
}

/* Others in this thread go on meanwhile. */
static void coroutine_fn take_some_time(void)
{
    aio_co_schedule(qemu_get_current_aio_context(), qemu_coroutine_self());
    qemu_coroutine_yield();
}

static int coroutine_fn
watched_co_pwritev(BlockDriverState *bs, int64_t offset, int64_t bytes,
                   QEMUIOVector *qiov, BdrvRequestFlags flags)
{
    g_assert_cmpint(offset + bytes, <=, DISK_BYTES);
    take_some_time();
    WITH_QEMU_LOCK_GUARD(&disk_lock) {
        qemu_iovec_to_buf(qiov, 0, disk_data + offset, bytes);
        disk_length = MAX(disk_length, offset + bytes);
        table_written(offset, bytes);
    }
    return 0;
}

static int coroutine_fn watched_co_flush(BlockDriverState *bs)
{
    uint64_t begun;

    WITH_QEMU_LOCK_GUARD(&disk_lock) {
        begun = moment;
    }
    take_some_time();
    WITH_QEMU_LOCK_GUARD(&disk_lock) {
        table_flushed(begun);
    }
    return 0;
}

static BlockDriver watched_disk = {
    .format_name            = "watched-disk",
    .protocol_name          = "watched-disk",
    .bdrv_open              = watched_open,
    .bdrv_close             = watched_close,
    .bdrv_co_getlength      = watched_co_getlength,
    .bdrv_co_truncate       = watched_co_truncate,
    .bdrv_co_preadv         = watched_co_preadv,
    .bdrv_co_pwritev        = watched_co_pwritev,
    .bdrv_co_flush_to_disk  = watched_co_flush,
};

/* The offset of the zone table is in the header extension "ZONE". */
static void watch_table(void)
{
    const uint8_t *p = disk_data + ldl_be_p(disk_data + 100);

    while (ldl_be_p(p) != 0x5a4f4e45) {
        g_assert_cmphex(ldl_be_p(p), !=, 0);
        p += 8 + ROUND_UP(ldl_be_p(p + 4), 8);
    }
    table_offset = ldq_be_p(p + 8 + 48);
    most_active = 0;
    for (unsigned int i = 0; i < NR_SECTORS; i++) {
        Version v = { .active = count_active(i) };

        g_array_set_size(versions[i], 0);
        g_array_append_val(versions[i], v);
    }
}

/* --- What workers do --- */

static BlockBackend *blk;
static IOThread *threads[THREADS];
static void *data;              /* a block of zeroes */
static unsigned int next_zone;
static int running;

/* Half a zone; waits while too many are active. */
static void coroutine_fn append_half(unsigned int zone)
{
    int64_t offset = zone * ZONE;
    QEMUIOVector qiov;
    int ret;

    qemu_iovec_init_buf(&qiov, data, BLOCK);
    while ((ret = blk_co_zone_append(blk, &offset, &qiov, 0)) == -EOVERFLOW) {
        take_some_time();
    }
    g_assert_cmpint(ret, ==, 0);
}

/* Neighbours of a zone that is full are opened in other blocks of the table. */
static void coroutine_fn filling_worker(void *opaque)
{
    GRand *rand = g_rand_new_with_seed(GPOINTER_TO_UINT(opaque));
    unsigned int n;

    while ((n = qatomic_fetch_inc(&next_zone)) < NR_ZONES) {
        unsigned int zone = n * 257 % NR_ZONES;

        append_half(zone);
        if (g_rand_int_range(rand, 0, 4) == 0) {
            g_assert_cmpint(blk_co_flush(blk), ==, 0);
        }
        append_half(zone);
    }
    g_rand_free(rand);
    qatomic_dec(&running);
    aio_wait_kick();
}

/* --- The tests --- */

static void open_node(const char *options)
{
    g_autofree char *image = NULL, *name = NULL;
    int fd = g_file_open_tmp("zone-power-cut-XXXXXX", &image, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    bdrv_img_create(image, "qcow2", NULL, NULL, (char *)options,
                    NR_ZONES * ZONE, BDRV_O_RDWR, true, &error_fatal);
    name = g_strdup_printf("json:{'driver': 'qcow2', 'file': {'driver': "
                           "'watched-disk', 'filename': '%s'}}", image);
    blk = blk_new_open(name, NULL, NULL, BDRV_O_RDWR, &error_fatal);
    unlink(image);
    watch_table();
}

/* A zone becomes full in one thread, and another zone gets its resource. */
static void check_active_limit(unsigned int nr_threads)
{
    g_autofree char *options = g_strdup_printf(
        "cluster_size=4096,zone.mode=host-managed,zone.size=8192,"
        "zone.max_active_zones=%d", MAX_ACTIVE);

    open_node(options);
    for (unsigned int round = 0; round < ROUNDS; round++) {
        next_zone = 0;
        running = WORKERS;
        for (unsigned int i = 0; i < WORKERS; i++) {
            aio_co_enter(iothread_get_aio_context(threads[i % nr_threads]),
                         qemu_coroutine_create(filling_worker,
                                               GUINT_TO_POINTER(i)));
        }
        AIO_WAIT_WHILE_UNLOCKED(NULL, qatomic_read(&running) > 0);
        g_assert_cmpuint(most_active, >, 1);
        g_assert_cmpuint(most_active, <=, MAX_ACTIVE);
        g_assert_cmpint(blk_zone_mgmt(blk, BLK_ZO_RESET, BDRV_ZONE_ALL, 0,
                                      NR_ZONES * ZONE, NULL), ==, 0);
    }
    blk_unref(blk);
}

static void test_one_thread(void)
{
    check_active_limit(1);
}

static void test_several_threads(void)
{
    check_active_limit(THREADS);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    bdrv_init();
    bdrv_register(&watched_disk);
    qemu_init_main_loop(&error_fatal);
    qemu_mutex_init(&disk_lock);
    data = qemu_memalign(BLOCK, BLOCK);
    memset(data, 0, BLOCK);
    for (unsigned int i = 0; i < NR_SECTORS; i++) {
        versions[i] = g_array_new(false, false, sizeof(Version));
    }
    for (unsigned int i = 0; i < THREADS; i++) {
        threads[i] = iothread_new();
    }

    g_test_add_func("/zone-power-cut/active-limit/one-thread",
                    test_one_thread);
    g_test_add_func("/zone-power-cut/active-limit/several-threads",
                    test_several_threads);
    ret = g_test_run();

    for (unsigned int i = 0; i < THREADS; i++) {
        iothread_join(threads[i]);
    }
    for (unsigned int i = 0; i < NR_SECTORS; i++) {
        g_array_free(versions[i], true);
    }
    qemu_vfree(data);
    return ret;
}
