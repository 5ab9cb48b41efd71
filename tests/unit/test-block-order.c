/*
 * Requests of one thread stay in order when the graph is drained or changes
 *
 * The block layer promises no order of requests that are in flight together.  But
 * a zoned disk refuses a write that is not at the zone's write pointer, and drivers
 * of such disks count on a path that is not changed for no reason.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "block/aio-wait.h"
#include "block/block_int.h"
#include "iothread.h"
#include "system/block-backend.h"

#define BLOCK 512
#define EARLY 8                 /* writes that have to wait */
#define LATE 2                  /* and those that come when they need not */
#define WRITES (EARLY + LATE)

typedef struct Disk {
    BlockDriverState *bs;
    BlockBackend *blk;
    AioContext *ctx;
    uint8_t buf[BLOCK];
    QEMUIOVector qiov;
    int64_t order[WRITES];      /* of blocks, as the driver has seen them */
    int arrived;
    int done;                   /* atomic */
    /* Between the thread that writes and the main loop */
    QemuSemaphore waiting, ended;
} Disk;

static Disk disk;

static int coroutine_fn order_co_pwritev(BlockDriverState *bs, int64_t offset,
                                         int64_t bytes, QEMUIOVector *qiov,
                                         BdrvRequestFlags flags)
{
    g_assert_cmpint(disk.arrived, <, WRITES);
    disk.order[disk.arrived++] = offset / BLOCK;
    return 0;
}

static int64_t coroutine_fn order_co_getlength(BlockDriverState *bs)
{
    return WRITES * BLOCK;
}

static BlockDriver bdrv_order = {
    .format_name            = "test-order",
    .bdrv_co_pwritev        = order_co_pwritev,
    .bdrv_co_getlength      = order_co_getlength,
};

static void write_done(void *opaque, int ret)
{
    g_assert_cmpint(ret, ==, 0);
    qatomic_inc(&disk.done);
    aio_wait_kick();
}

static void start_writes(int first, int n)
{
    for (int i = first; i < first + n; i++) {
        blk_aio_pwritev(disk.blk, i * BLOCK, &disk.qiov, 0, write_done, NULL);
    }
}

/* The thread sees nothing between the end of what made it wait and this. */
static void write_early_and_late(void *opaque)
{
    start_writes(0, EARLY);
    qemu_sem_post(&disk.waiting);
    qemu_sem_wait(&disk.ended);
    start_writes(EARLY, LATE);
}

static void drain(void)
{
    bdrv_drained_begin(disk.bs);
}

static void undrain(void)
{
    bdrv_drained_end(disk.bs);
}

static void change(void)
{
    bdrv_graph_wrlock();
}

static void end_change(void)
{
    bdrv_graph_wrunlock();
}

/* As jobs do when they put a filter above a node, or take it away */
static void drain_and_change(void)
{
    drain();
    change();
}

static void end_change_and_undrain(void)
{
    end_change();
    undrain();
}

/* Requests that have been drained wait for the graph next. */
static void undrain_and_end_change(void)
{
    undrain();
    end_change();
}

typedef struct Case {
    const char *name;
    void (*begin)(void);
    void (*end)(void);
} Case;

static void open_disk(AioContext *ctx)
{
    disk.bs = bdrv_new_open_driver(&bdrv_order, "disk", BDRV_O_RDWR,
                                   &error_abort);
    disk.blk = blk_new(qemu_get_aio_context(), BLK_PERM_ALL, BLK_PERM_ALL);
    blk_insert_bs(disk.blk, disk.bs, &error_abort);
    blk_set_aio_context(disk.blk, ctx, &error_abort);
    disk.ctx = ctx;
    disk.arrived = 0;
    qatomic_set(&disk.done, 0);
    qemu_iovec_init_buf(&disk.qiov, disk.buf, BLOCK);
    qemu_sem_init(&disk.waiting, 0);
    qemu_sem_init(&disk.ended, 0);
}

static void close_disk(void)
{
    blk_set_aio_context(disk.blk, qemu_get_aio_context(), &error_abort);
    blk_unref(disk.blk);
    bdrv_unref(disk.bs);
    qemu_sem_destroy(&disk.waiting);
    qemu_sem_destroy(&disk.ended);
}

static void check_order(void)
{
    AIO_WAIT_WHILE_UNLOCKED(NULL, qatomic_read(&disk.done) < WRITES);
    for (int i = 0; i < WRITES; i++) {
        g_assert_cmpint(disk.order[i], ==, i);
    }
}

static void test_thread(const void *opaque)
{
    const Case *c = opaque;
    IOThread *thread = iothread_new();

    open_disk(iothread_get_aio_context(thread));
    c->begin();
    aio_bh_schedule_oneshot(disk.ctx, write_early_and_late, NULL);
    qemu_sem_wait(&disk.waiting);
    g_assert_cmpint(qatomic_read(&disk.done), ==, 0);
    c->end();
    qemu_sem_post(&disk.ended);
    check_order();
    close_disk();
    iothread_join(thread);
}

static void test_main_loop(const void *opaque)
{
    const Case *c = opaque;

    open_disk(qemu_get_aio_context());
    c->begin();
    start_writes(0, EARLY);
    g_assert_cmpint(qatomic_read(&disk.done), ==, 0);
    c->end();
    start_writes(EARLY, LATE);
    check_order();
    close_disk();
}

int main(int argc, char **argv)
{
    static const Case cases[] = {
        { "drain", drain, undrain },
        { "change", change, end_change },
        { "drain-and-change", drain_and_change, end_change_and_undrain },
        { "drain-then-change", drain_and_change, undrain_and_end_change },
    };

    g_test_init(&argc, &argv, NULL);
    bdrv_init();
    qemu_init_main_loop(&error_fatal);

    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *main_loop = g_strdup_printf("/block-order/main-loop/%s",
                                                     cases[i].name);
        g_autofree char *thread = g_strdup_printf("/block-order/thread/%s",
                                                  cases[i].name);

        g_test_add_data_func(main_loop, &cases[i], test_main_loop);
        g_test_add_data_func(thread, &cases[i], test_thread);
    }
    return g_test_run();
}
