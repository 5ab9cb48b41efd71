/*
 * Work on a zoned image and log it, or look at what a power cut left of one
 *
 * usage: zone-workload run IMAGE LOG SEED REQUESTS DEPTH ZONES MIX \
 *                          FAIL_WRITES FAIL_FLUSHES [JOB [TARGET]]
 *        zone-workload look < IMAGES
 *
 * IMAGE is a filename as QEMU has it, "json:..." for instance; "look" takes
 * one in each line.  tests/crash/run knows what the results mean.
 *
 * run: DEPTH coroutines make REQUESTS requests, most of them to ZONES sequential
 * zones.  MIX has a letter and a weight for each kind of request,
 * as in "d60r5s3".  All is logged in the order in which it happens, together
 * with what happens to the "crash-disk" that IMAGE may lie on; of
 * FAIL_WRITES writes to that one fails (0: none), and so for flushes.  A JOB
 * (crash-jobs.h) runs beside them; some requests wait until it is over.
 *
 * Every sector written says which request wrote it and how far it is from the
 * beginning of that request.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qapi/error.h"
#include "crypto/secret.h"
#include "block/block_int.h"
#include "block/snapshot.h"
#include "qom/object.h"
#include "system/block-backend.h"
#include "block-program.h"
#include "crash-disk.h"
#include "crash-jobs.h"

#define SECTOR ((size_t)BDRV_SECTOR_SIZE)
#define SECTOR_WORDS (SECTOR / sizeof(uint64_t))
#define MAX_SECTORS 16          /* of a request */

/* --- Zones --- */

static BlockZoneDescriptor *zones;
static unsigned int nr_zones, nr_conventional;

static void get_zones(BlockBackend *blk)
{
    g_free(zones);
    nr_zones = blk_bs(blk)->bl.zones.nr_zones;
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

/* What request @id has attached to a zone */
static void *make_ext(uint64_t id, uint32_t size)
{
    size_t sectors = DIV_ROUND_UP(size, SECTOR);
    uint64_t *ext = g_malloc(sectors * SECTOR);

    for (size_t i = 0; i < sectors; i++) {
        fill_sector(ext + i * SECTOR_WORDS, id, i);
    }
    return ext;
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
static uint64_t requests_made, requests_left, requests_later;
static unsigned int workers;
static char pause_wanted;       /* 'n', 'g' or 't': without requests in progress */
static GArray *snapshots;       /* uint64_t: their names */

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

/* What is to be attached to a zone is made up here. */
static int coroutine_fn manage(char kind, BlockZoneOp op, BlockZoneFlags flags,
                               uint64_t offset, uint64_t bytes)
{
    uint64_t id = crash_log_begin(kind, flags & BDRV_ZONE_ZRWA ? 1 : 0, offset,
                                  bytes, NULL);
    g_autofree void *ext = op == BLK_ZO_SET_EXT ?
        make_ext(id, blk_bs(work_blk)->bl.zones.ext_size) : NULL;
    int ret = blk_co_zone_mgmt(work_blk, op, flags, offset, bytes, ext);

    crash_log_end(id, offset, 0, ret);
    return ret;
}

static int coroutine_fn manage_zone(char kind, BlockZoneOp op, unsigned int i)
{
    int ret = manage(kind, op, 0, zones[i].start, zones[i].length);

    if (ret == 0 && op == BLK_ZO_RESET) {
        next_write[i] = zones[i].start;
    }
    return ret;
}

static BlockZoneDescriptor coroutine_fn look_at_zone(unsigned int i)
{
    BlockZoneDescriptor z;
    unsigned int one = 1;

    g_assert(blk_co_zone_report(work_blk, zones[i].start, &one, &z) == 0);
    return z;
}

static BlockZoneFlags maybe_zrwa(void)
{
    return blk_bs(work_blk)->bl.zones.zrwa_size && crash_random(2) ?
           BDRV_ZONE_ZRWA : 0;
}

/* Something that only an empty zone can have */
static void coroutine_fn equip(char kind, BlockZoneOp op, BlockZoneFlags flags,
                               unsigned int i)
{
    if (look_at_zone(i).state != BLK_ZS_EMPTY && crash_random(2)) {
        manage_zone('r', BLK_ZO_RESET, i);
    }
    manage(kind, op, flags, zones[i].start, zones[i].length);
}

/* Explicit commit; of a zone that has a random write area, if one is found */
static void coroutine_fn commit_zrwa(unsigned int i)
{
    const BlockLimits *bl = &blk_bs(work_blk)->bl;
    BlockZoneDescriptor z = look_at_zone(i);
    uint64_t units = bl->zones.zrwa_size / bl->zones.zrwa_granularity, wp;

    for (int tries = 0; !(z.attributes & BDRV_ZA_ZRWA) && tries < 10; tries++) {
        z = look_at_zone(pick_zone());
    }
    wp = z.wp + bl->zones.zrwa_granularity * (1 + crash_random(units));
    manage('k', BLK_ZO_ZRWA_COMMIT, 0, z.start,
           MIN(wp, z.start + z.cap) - z.start);
}

/* A zone that was made read-only or offline gets good again. */
static void coroutine_fn repair(void)
{
    for (unsigned int i = nr_conventional; i < nr_zones; i++) {
        BlockZoneState state = look_at_zone(i).state;

        if ((state == BLK_ZS_RDONLY || state == BLK_ZS_OFFLINE) &&
            crash_random(2)) {
            manage_zone('h', BLK_ZO_FORCE_REPAIR, i);
            return;
        }
    }
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

/* Anywhere in the random write area, and a little behind it */
static void coroutine_fn write_zrwa(const BlockZoneDescriptor *z,
                                    BdrvRequestFlags flags)
{
    uint64_t area = blk_bs(work_blk)->bl.zones.zrwa_size / SECTOR;
    uint64_t rest = (z->start + z->cap - z->wp) / SECTOR;
    uint64_t first = crash_random(MIN(area + area / 4, rest));
    size_t sectors = 1 + crash_random(crash_random(4) ? MAX_SECTORS / 4
                                                      : MAX_SECTORS);

    submit('w', z->wp + first * SECTOR, SECTOR * MIN(sectors, rest - first),
           flags);
}

/* Even zones get appends, odd ones writes. */
static void coroutine_fn write_data(unsigned int i, BdrvRequestFlags flags)
{
    uint64_t end = zones[i].start + zones[i].cap, offset = next_write[i];
    size_t bytes = SECTOR * (crash_random(4) ? 1 + crash_random(MAX_SECTORS)
                                             : 1);
    BlockZoneDescriptor now = look_at_zone(i);
    int64_t ret;

    if (now.attributes & BDRV_ZA_ZRWA) {
        write_zrwa(&now, flags);
        return;
    }
    if (i % 2 == 0) {
        ret = submit('a', zones[i].start, bytes, flags);
    } else {
        bytes = MIN(bytes, end > offset ? end - offset : SECTOR);
        next_write[i] += bytes;
        ret = submit('w', offset, bytes, flags);
        if (ret < 0) {
            next_write[i] = look_at_zone(i).wp;
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
    case 'e':           /* data, each with a flush */
        write_data(i, 0);
        flush();
        break;
    case 's':           /* flush */
        flush();
        break;
    case 'r':
        manage_zone(kind, BLK_ZO_RESET, i);
        break;
    case 'R':           /* reset all */
        manage('r', BLK_ZO_RESET, BDRV_ZONE_ALL, 0,
               nr_zones * zones[0].length);
        break;
    case 'f':
        manage_zone(kind, BLK_ZO_FINISH, i);
        break;
    case 'n':           /* internal snapshot: made or deleted */
    case 'g':           /* internal snapshot: gone back to */
    case 't':           /* one more zone */
    case 'p':           /* until a hole is being punched */
        pause_wanted = kind;
        break;
    case 'o':
        manage_zone(kind, BLK_ZO_OPEN, i);
        break;
    case 'c':
        manage_zone(kind, BLK_ZO_CLOSE, i);
        break;
    case 'x':           /* descriptor extension */
        equip(kind, BLK_ZO_SET_EXT, maybe_zrwa(), i);
        break;
    case 'z':           /* open with a random write area */
        equip(kind, BLK_ZO_OPEN, BDRV_ZONE_ZRWA, i);
        break;
    case 'k':           /* commit what is in it */
        commit_zrwa(i);
        break;
    case 'b':           /* a medium that fails, and gets good again */
        manage_zone(kind, BLK_ZO_FORCE_RDONLY, i);
        break;
    case 'l':
        manage_zone(kind, BLK_ZO_FORCE_OFFLINE, i);
        break;
    case 'h':
        repair();
        break;
    default:
        g_assert_not_reached();
    }
}

static void coroutine_fn worker(void *opaque)
{
    while (requests_left > requests_later && !pause_wanted) {
        requests_left--;
        requests_made++;
        request(mix->str[crash_random(mix->len)]);
    }
    workers--;
}

/* Where the zones are to be written next, without requests in progress */
static void find_write_pointers(void)
{
    unsigned int n = nr_zones;
    g_autofree BlockZoneDescriptor *now = g_new(BlockZoneDescriptor, n);

    g_assert(blk_zone_report(work_blk, 0, &n, now) == 0);
    for (unsigned int i = 0; i < n; i++) {
        next_write[i] = now[i].wp;
    }
}

static void make_snapshot(void)
{
    static uint64_t made;
    uint64_t name = ++made, id = crash_log_begin('n', 0, name, 0, NULL);
    QEMUSnapshotInfo sn = { 0 };

    GRAPH_RDLOCK_GUARD_MAINLOOP();

    snprintf(sn.name, sizeof(sn.name), "s%" PRIu64, name);
    g_assert(bdrv_snapshot_create(blk_bs(work_blk), &sn) == 0);
    crash_log_end(id, name, 0, 0);
    g_array_append_val(snapshots, name);
}

static void delete_snapshot(void)
{
    uint64_t name = g_array_index(snapshots, uint64_t, 0);
    uint64_t id = crash_log_begin('m', 0, name, 0, NULL);
    g_autofree char *text = g_strdup_printf("s%" PRIu64, name);

    GRAPH_RDLOCK_GUARD_MAINLOOP();

    bdrv_snapshot_delete(blk_bs(work_blk), NULL, text, &error_fatal);
    crash_log_end(id, name, 0, 0);
    g_array_remove_index(snapshots, 0);
}

static void go_back(void)
{
    uint64_t name = g_array_index(snapshots, uint64_t,
                                  crash_random(snapshots->len));
    uint64_t id = crash_log_begin('g', 0, name, 0, NULL);
    g_autofree char *text = g_strdup_printf("s%" PRIu64, name);

    bdrv_snapshot_goto(blk_bs(work_blk), text, &error_fatal);
    crash_log_end(id, name, 0, 0);
    find_write_pointers();
}

static void grow(void)
{
    int64_t length = blk_getlength(work_blk) + zones[0].length;
    uint64_t id = crash_log_begin('i', 0, length, 0, NULL);

    blk_truncate(work_blk, length, true, PREALLOC_MODE_OFF, 0, &error_fatal);
    crash_log_end(id, length, 0, 0);
    get_zones(work_blk);
    next_write = g_renew(uint64_t, next_write, nr_zones);
    find_write_pointers();
}

/* Holes in the background begin when there have been no resets for a while. */
static void wait_for_hole(void)
{
    int64_t end = g_get_monotonic_time() + 50 * 1000;
    uint32_t before = crash_discards;

    while (crash_discards == before && g_get_monotonic_time() < end) {
        aio_poll(qemu_get_aio_context(), false);
    }
}

/* What needs that no requests are in progress */
static void pause_for(char kind)
{
    if (kind == 'p') {
        wait_for_hole();
    } else if (kind == 't') {
        grow();
    } else if (kind == 'g' && snapshots->len) {
        go_back();
    } else if (crash_random(3) < snapshots->len) {
        delete_snapshot();
    } else {
        make_snapshot();
    }
}

static void work(unsigned int depth)
{
    for (unsigned int i = 0; i < depth; i++) {
        workers++;
        qemu_coroutine_enter(qemu_coroutine_create(worker, NULL));
    }
    while (crash_jobs_step(workers, requests_made) || workers) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

static void coroutine_fn flush_entry(void *opaque)
{
    flush();
}

static void run(char **argv)
{
    const char *image = argv[0], *log = argv[1], *what = argv[9];
    unsigned int depth = block_program_number(argv[4]);
    uint64_t id;

    crash_log_open(log);
    crash_rand = g_rand_new_with_seed(block_program_number(argv[2]));
    requests_left = block_program_number(argv[3]);
    parse_mix(argv[6]);

    /* Jobs want the length to stay */
    work_blk = blk_new_open(image, NULL, NULL,
                            BDRV_O_RDWR | (what ? 0 : BDRV_O_RESIZE),
                            &error_fatal);
    get_zones(work_blk);
    hot_zones = MIN(block_program_number(argv[5]), nr_zones - nr_conventional);
    next_write = g_new(uint64_t, nr_zones);
    find_write_pointers();
    snapshots = g_array_new(false, false, sizeof(uint64_t));
    crash_fail_writes = block_program_number(argv[7]);
    crash_fail_flushes = block_program_number(argv[8]);

    if (what) {
        requests_later = requests_left / 4;
        crash_jobs_init(what, work_blk, argv[10]);
    }

    work(depth);
    while (pause_wanted) {
        pause_for(pause_wanted);
        pause_wanted = 0;
        work(depth);
    }
    if (what) {
        requests_later = 0;
        work(depth);
    }
    crash_fail_writes = crash_fail_flushes = 0;
    block_program_run(flush_entry, NULL);
    id = crash_log_begin('p', 0, 0, blk_getlength(work_blk), NULL);
    blk_unref(work_blk);
    crash_log_end(id, 0, 0, 0);
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

/*
 * "zone": number, start, length, capacity, write pointer, state, attributes
 */
static void print_zones(void)
{
    for (unsigned int i = 0; i < nr_zones; i++) {
        const BlockZoneDescriptor *z = &zones[i];

        printf("zone %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
               " %d %d\n", i, z->start, z->length, z->cap, z->wp, z->state,
               z->attributes);
    }
}

/* "ext": zone, request that has set its extension, or -1 for rubbish */
static void coroutine_fn print_exts(void *opaque)
{
    BlockBackend *blk = opaque;
    uint32_t size = blk_bs(blk)->bl.zones.ext_size;
    g_autofree uint64_t *ext = g_malloc(size);

    for (unsigned int i = 0; i < nr_zones; i++) {
        g_autofree void *expected = NULL;
        int ret;

        if (!(zones[i].attributes & BDRV_ZA_EXT)) {
            continue;
        }
        ret = blk_co_zone_get_ext(blk, zones[i].start, ext);
        expected = make_ext(ext[0], size);
        printf("ext %u %" PRId64 "\n", i,
               ret == 0 && !memcmp(ext, expected, size) ? ext[0] : -1);
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

        if (zones[i].state == BLK_ZS_OFFLINE ? ret != -ENODEV : ret < 0) {
            printf("unreadable %u %d\n", i, ret);
        } else if (ret == 0) {
            print_runs(zones[i].start, buf, zones[i].length / SECTOR);
        }
    }
}

/*
 * "next": zone, result.  Life must go on after the power cut, in a zone of this
 * state, with a random write area or not.
 */
static void write_somewhere(BlockBackend *blk, BlockZoneState state,
                            bool zrwa)
{
    uint64_t buf[SECTOR_WORDS], back[SECTOR_WORDS];
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, SECTOR);
    unsigned int i;
    int64_t offset;
    int ret;

    i = nr_conventional;
    while (zones[i].state != state ||
           !(zones[i].attributes & BDRV_ZA_ZRWA) == zrwa) {
        if (++i == nr_zones) {
            return;
        }
    }
    fill_sector(buf, UINT64_MAX / 2, 0);
    if (zrwa) {
        offset = zones[i].wp;
        ret = blk_pwrite(blk, offset, SECTOR, buf, 0);
    } else {
        offset = zones[i].start;
        ret = blk_zone_append(blk, &offset, &qiov, 0);
    }
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
    block_program_run(print_exts, blk);
    print_data(blk);
    print_check(blk);
    write_somewhere(blk, BLK_ZS_CLOSED, false);
    write_somewhere(blk, BLK_ZS_CLOSED, true);
    write_somewhere(blk, BLK_ZS_EMPTY, false);
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
    block_program_init(argv[0]);
    object_new_with_props(TYPE_QCRYPTO_SECRET, object_get_objects_root(), "key",
                          &error_fatal, "data", "crash", NULL);

    if (argc >= 11 && argc <= 13 && g_str_equal(argv[1], "run")) {
        run(argv + 2);
    } else if (argc == 2 && g_str_equal(argv[1], "look")) {
        look();
    } else {
        fprintf(stderr, "usage: see zone-workload.c\n");
        return 1;
    }
    return 0;
}
