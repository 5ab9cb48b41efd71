/*
 * Work on a zoned image and log it, or look at what a power cut left of one
 *
 * usage: zone-workload run IMAGE LOG SEED REQUESTS DEPTH ZONES MIX \
 *                          FAIL_WRITES FAIL_FLUSHES
 *        zone-workload look < IMAGES
 *
 * IMAGE is a filename as QEMU has it, "json:..." for instance; "look" takes
 * one in each line.  tests/crash/run knows what the results mean.
 *
 * run: DEPTH coroutines make REQUESTS requests, most of them to ZONES sequential
 * zones.  MIX has a letter and a weight for each kind of request,
 * as in "d60r5s3".  All is logged in the order in which it happens, together
 * with what happens to the "crash-disk" that IMAGE may lie on; of
 * FAIL_WRITES writes to that one fails (0: none), and so for flushes.
 *
 * Every sector written says which request wrote it and how far it is from the
 * beginning of that request.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qapi/error.h"
#include "crypto/init.h"
#include "crypto/secret.h"
#include "block/block_int.h"
#include "block/snapshot.h"
#include "qom/object.h"
#include "system/block-backend.h"
#include "crash-disk.h"

#define SECTOR ((size_t)BDRV_SECTOR_SIZE)
#define SECTOR_WORDS (SECTOR / sizeof(uint64_t))
#define MAX_SECTORS 16          /* of a request */

/* --- Zones --- */

static BlockZoneDescriptor *zones;
static unsigned int nr_zones, nr_conventional;

static void get_zones(BlockBackend *blk)
{
    g_free(zones);
    nr_zones = blk_bs(blk)->bl.nr_zones;
    zones = g_new(BlockZoneDescriptor, nr_zones);
    g_assert(blk_zone_report(blk, 0, &nr_zones, zones) == 0);
    for (nr_conventional = 0; zones[nr_conventional].type == BLK_ZT_CONV; ) {
        nr_conventional++;
    }
}

/* --- Data --- */

static void fill_sector(uint64_t *p, uint64_t id, uint64_t index)
{
    uint64_t x = id * 0x9e3779b97f4a7c15 + index;

    p[0] = id;
    p[1] = index;
    for (unsigned i = 2; i < SECTOR_WORDS; i++) {
        x = x * 6364136223846793005 + 1442695040888963407;
        p[i] = x;
    }
}

static bool sector_is_intact(const uint64_t *p)
{
    uint64_t expected[SECTOR_WORDS];

    fill_sector(expected, p[0], p[1]);
    return !memcmp(p, expected, SECTOR);
}

/* --- run --- */

static BlockBackend *work_blk;
static uint64_t *next_write;    /* of each zone */
static unsigned int hot_zones;
static GString *mix;    /* a letter for each kind, as often as it weighs */
static uint64_t requests_left;
static unsigned int workers;
static bool snapshot_wanted;
static GQueue snapshots = G_QUEUE_INIT;     /* their names */

static void parse_mix(const char *s)
{
    mix = g_string_new("");
    while (*s) {
        char kind = *s++;
        unsigned long weight;

        g_assert(qemu_strtoul(s, &s, 10, &weight) == 0 || *s);
        for (; weight; weight--) {
            g_string_append_c(mix, kind);
        }
    }
}

static unsigned int pick_zone(void)
{
    unsigned int sequential = nr_zones - nr_conventional;
    /* The hot ones are all over the table; odd, for both even and odd ones */
    unsigned int distance = (sequential / hot_zones) | 1;
    unsigned int pick = crash_random(16) ? crash_random(hot_zones) * distance
                                         : crash_random(sequential);

    return nr_conventional + pick % sequential;
}

static int coroutine_fn manage(char kind, BlockZoneOp op, uint64_t offset,
                               uint64_t bytes)
{
    uint64_t id = crash_log_begin(kind, 0, offset, bytes, NULL);
    int ret = blk_co_zone_mgmt(work_blk, op, 0, offset, bytes, NULL);

    crash_log_end(id, offset, 0, ret);
    return ret;
}

static int coroutine_fn manage_zone(char kind, BlockZoneOp op, unsigned int i)
{
    int ret = manage(kind, op, zones[i].start, zones[i].length);

    if (ret == 0 && op == BLK_ZO_RESET) {
        next_write[i] = zones[i].start;
    }
    return ret;
}

/* Returns where the data has got to, or a negative errno. */
static int64_t coroutine_fn submit(char kind, uint64_t offset, size_t bytes,
                                   BdrvRequestFlags flags)
{
    uint64_t id = crash_log_begin(kind, flags & BDRV_REQ_FUA ? 1 : 0,
                                  offset, bytes, NULL);
    uint64_t *buf = blk_blockalign(work_blk, bytes);
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, bytes);
    int64_t position = offset;
    int ret;

    for (size_t i = 0; i < bytes / SECTOR; i++) {
        fill_sector(buf + i * SECTOR_WORDS, id, i);
    }
    ret = kind == 'a' ? blk_co_zone_append(work_blk, &position, &qiov, flags) :
          blk_co_pwritev(work_blk, offset, bytes, &qiov, flags);
    crash_log_end(id, position, 0, ret);
    qemu_vfree(buf);
    return ret < 0 ? ret : position;
}

/* Even zones get appends, odd ones writes. */
static void coroutine_fn write_data(unsigned int i, BdrvRequestFlags flags)
{
    uint64_t end = zones[i].start + zones[i].cap, offset = next_write[i];
    size_t bytes = SECTOR * (crash_random(4) ? 1 + crash_random(MAX_SECTORS)
                                             : 1);
    BlockZoneDescriptor now;
    unsigned int one = 1;
    int64_t ret;

    if (i % 2 == 0) {
        ret = submit('a', zones[i].start, bytes, flags);
    } else {
        bytes = MIN(bytes, end > offset ? end - offset : SECTOR);
        next_write[i] += bytes;
        ret = submit('w', offset, bytes, flags);
        if (ret < 0 && blk_co_zone_report(work_blk, offset, &one, &now) == 0) {
            next_write[i] = now.wp;
        }
    }
    if (ret == -EFBIG && crash_random(3) == 0) {
        manage_zone('r', BLK_ZO_RESET, i);
    }
}

static void coroutine_fn write_conventional(void)
{
    uint64_t sectors = nr_conventional * zones[0].length / SECTOR;

    submit('v', crash_random(sectors - MAX_SECTORS) * SECTOR,
           SECTOR * (1 + crash_random(MAX_SECTORS)), 0);
}

static void coroutine_fn flush(void)
{
    uint64_t id = crash_log_begin('s', 0, 0, 0, NULL);

    crash_log_end(id, 0, 0, blk_co_flush(work_blk));
}

static void coroutine_fn request(char kind)
{
    unsigned int i = pick_zone();

    switch (kind) {
    case 'd':           /* data */
        write_data(i, 0);
        break;
    case 'u':           /* data with FUA */
        write_data(i, BDRV_REQ_FUA);
        break;
    case 'v':           /* conventional zones */
        write_conventional();
        break;
    case 's':           /* flush */
        flush();
        break;
    case 'r':
        manage_zone(kind, BLK_ZO_RESET, i);
        break;
    case 'R':           /* reset all */
        manage('r', BLK_ZO_RESET, 0, blk_getlength(work_blk));
        break;
    case 'f':
        manage_zone(kind, BLK_ZO_FINISH, i);
        break;
    case 'n':           /* internal snapshot: made or deleted */
        snapshot_wanted = true;
        break;
    case 'o':
        manage_zone(kind, BLK_ZO_OPEN, i);
        break;
    case 'c':
        manage_zone(kind, BLK_ZO_CLOSE, i);
        break;
    default:
        g_assert_not_reached();
    }
}

static void coroutine_fn worker(void *opaque)
{
    while (requests_left && !snapshot_wanted) {
        requests_left--;
        request(mix->str[crash_random(mix->len)]);
    }
    workers--;
}

/* Without requests in progress.  What the zones hold does not change. */
static void make_or_delete_snapshot(void)
{
    static unsigned int made;
    uint64_t id = crash_log_begin('n', 0, 0, 0, NULL);
    g_autofree char *name = NULL;

    GRAPH_RDLOCK_GUARD_MAINLOOP();

    if (crash_random(3) < snapshots.length) {
        name = g_queue_pop_head(&snapshots);
        bdrv_snapshot_delete(blk_bs(work_blk), NULL, name, &error_fatal);
    } else {
        QEMUSnapshotInfo sn = { 0 };

        name = g_strdup_printf("%u", ++made);
        pstrcpy(sn.name, sizeof(sn.name), name);
        g_assert(bdrv_snapshot_create(blk_bs(work_blk), &sn) == 0);
        g_queue_push_tail(&snapshots, g_steal_pointer(&name));
    }
    crash_log_end(id, 0, 0, 0);
    snapshot_wanted = false;
}

static void work(unsigned int depth)
{
    for (unsigned int i = 0; i < depth; i++) {
        workers++;
        qemu_coroutine_enter(qemu_coroutine_create(worker, NULL));
    }
    while (workers) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

static uint64_t number(const char *s)
{
    uint64_t n;

    g_assert(qemu_strtou64(s, NULL, 10, &n) == 0);
    return n;
}

static void run(char **argv)
{
    const char *image = argv[0], *log = argv[1];
    unsigned int depth = number(argv[4]);

    crash_log_open(log);
    crash_rand = g_rand_new_with_seed(number(argv[2]));
    requests_left = number(argv[3]);
    parse_mix(argv[6]);

    work_blk = blk_new_open(image, NULL, NULL, BDRV_O_RDWR | BDRV_O_UNMAP,
                            &error_fatal);
    get_zones(work_blk);
    hot_zones = MIN(number(argv[5]), nr_zones - nr_conventional);
    next_write = g_new(uint64_t, nr_zones);
    for (unsigned int i = 0; i < nr_zones; i++) {
        next_write[i] = zones[i].wp;
    }
    crash_fail_writes = number(argv[7]);
    crash_fail_flushes = number(argv[8]);

    work(depth);
    while (snapshot_wanted) {
        make_or_delete_snapshot();
        work(depth);
    }
    crash_fail_writes = crash_fail_flushes = 0;
    blk_unref(work_blk);
}

/* --- look --- */

/* "check": corruptions, leaks, and what else went wrong */
static void print_check(BlockBackend *blk)
{
    BdrvCheckResult r = { 0 };
    int ret = bdrv_check(blk_bs(blk), &r, 0);

    printf("check %d %d %d\n", r.corruptions, r.leaks,
           ret < 0 ? ret : r.check_errors);
}

/* "zone": number, start, length, capacity, write pointer, state */
static void print_zones(void)
{
    for (unsigned int i = 0; i < nr_zones; i++) {
        const BlockZoneDescriptor *z = &zones[i];

        printf("zone %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %d\n",
               i, z->start, z->length, z->cap, z->wp, z->state);
    }
}

/*
 * "run": offset, sectors, request, index of the first sector in the request;
 * for sectors that go on like that.  Request 0 means zeroes, -1 rubbish.
 */
static void print_runs(uint64_t offset, const uint64_t *p, size_t sectors)
{
    size_t n;

    for (size_t done = 0; done < sectors; done += n, p += n * SECTOR_WORDS) {
        bool zero = buffer_is_zero(p, SECTOR), intact = sector_is_intact(p);
        const uint64_t *q = p + SECTOR_WORDS;

        for (n = 1; done + n < sectors; n++, q += SECTOR_WORDS) {
            if (zero ? !buffer_is_zero(q, SECTOR) :
                !intact || q[0] != p[0] || q[1] != p[1] + n ||
                !sector_is_intact(q)) {
                break;
            }
        }
        printf("run %" PRIu64 " %zu %" PRId64 " %" PRIu64 "\n",
               offset + done * SECTOR, n, zero ? 0 : intact ? p[0] : -1,
               zero || !intact ? 0 : p[1]);
    }
}

static void print_data(BlockBackend *blk)
{
    for (unsigned int i = 0; i < nr_zones; i++) {
        g_autofree uint64_t *buf = g_malloc(zones[i].length);
        int ret = blk_pread(blk, zones[i].start, zones[i].length, buf, 0);

        if (ret < 0) {
            printf("unreadable %u %d\n", i, ret);
        } else {
            print_runs(zones[i].start, buf, zones[i].length / SECTOR);
        }
    }
}

/* "next": zone, result.  Life must go on after the power cut. */
static void append_somewhere(BlockBackend *blk, BlockZoneState state)
{
    uint64_t buf[SECTOR_WORDS], back[SECTOR_WORDS];
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, SECTOR);
    unsigned int i;
    int64_t offset;
    int ret;

    for (i = nr_conventional; zones[i].state != state; ) {
        if (++i == nr_zones) {
            return;
        }
    }
    offset = zones[i].start;
    fill_sector(buf, UINT64_MAX / 2, 0);
    ret = blk_zone_append(blk, &offset, &qiov, 0);
    if (ret == 0) {
        ret = blk_flush(blk);
    }
    if (ret == 0) {
        ret = blk_pread(blk, offset, SECTOR, back, 0);
    }
    if (ret == 0 && (offset != zones[i].wp || memcmp(buf, back, SECTOR))) {
        ret = -EILSEQ;
    }
    printf("next %u %d\n", i, ret);
}

static void look_at(const char *image)
{
    Error *local_err = NULL;
    BlockBackend *blk = blk_new_open(image, NULL, NULL, BDRV_O_RDWR,
                                     &local_err);

    if (!blk) {
        printf("unopened %s\n", error_get_pretty(local_err));
        error_free(local_err);
        return;
    }
    get_zones(blk);
    print_zones();
    print_data(blk);
    print_check(blk);
    append_somewhere(blk, BLK_ZS_CLOSED);
    append_somewhere(blk, BLK_ZS_EMPTY);
    print_check(blk);
    blk_unref(blk);
}

static void look(void)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;

    while ((len = getline(&line, &size, stdin)) > 0) {
        line[len - 1] = '\0';
        look_at(line);
        printf("end\n");
        fflush(stdout);
    }
    free(line);
}

int main(int argc, char **argv)
{
    error_init(argv[0]);
    module_call_init(MODULE_INIT_TRACE);
    qcrypto_init(&error_fatal);
    module_call_init(MODULE_INIT_QOM);
    bdrv_init();
    qemu_init_main_loop(&error_fatal);
    object_new_with_props(TYPE_QCRYPTO_SECRET, object_get_objects_root(), "key",
                          &error_fatal, "data", "crash", NULL);

    if (argc == 11 && g_str_equal(argv[1], "run")) {
        run(argv + 2);
    } else if (argc == 2 && g_str_equal(argv[1], "look")) {
        look();
    } else {
        fprintf(stderr, "usage: see zone-workload.c\n");
        return 1;
    }
    return 0;
}
