/*
 * What test programs have in common that are linked with QEMU's block layer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "block/block.h"
#include "crypto/init.h"
#include "qom/object.h"
#include "trace/control.h"
#include "block-program.h"

void block_program_init(const char *name)
{
    error_init(name);
    /* As QEMU's programs do, for connections that are lost */
    signal(SIGPIPE, SIG_IGN);
    module_call_init(MODULE_INIT_TRACE);
    qcrypto_init(&error_fatal);
    module_call_init(MODULE_INIT_QOM);
    bdrv_init();
    qemu_init_main_loop(&error_fatal);
}

uint64_t block_program_number(const char *s)
{
    uint64_t n;

    g_assert(qemu_strtou64(s, NULL, 10, &n) == 0);
    return n;
}

typedef struct Call {
    CoroutineEntry *f;
    void *opaque;
    bool done;
} Call;

static void coroutine_fn call_entry(void *opaque)
{
    Call *call = opaque;

    call->f(call->opaque);
    call->done = true;
}

void block_program_run(CoroutineEntry *f, void *opaque)
{
    Call call = { .f = f, .opaque = opaque };

    qemu_coroutine_enter(qemu_coroutine_create(call_entry, &call));
    while (!call.done) {
        aio_poll(qemu_get_aio_context(), true);
    }
}

void ram_disk_read(const RamDisk *d, int64_t offset, QEMUIOVector *qiov)
{
    g_assert(!qiov->size || offset + qiov->size <= d->max_length);
    qemu_iovec_from_buf(qiov, 0, d->data + offset, qiov->size);
}

int ram_disk_write(RamDisk *d, int64_t offset, int64_t bytes,
                   QEMUIOVector *qiov)
{
    if (offset + bytes > d->max_length) {
        return -ENOSPC;
    }
    if (qiov) {
        qemu_iovec_to_buf(qiov, 0, d->data + offset, bytes);
    } else {
        memset(d->data + offset, 0, bytes);
    }
    d->length = MAX(d->length, bytes ? offset + bytes : 0);
    return 0;
}

int ram_disk_truncate(RamDisk *d, int64_t length, Error **errp)
{
    if (length > d->max_length) {
        error_setg(errp, "the disk in memory is full");
        return -ENOSPC;
    }
    if (length < d->length) {
        memset(d->data + length, 0, d->length - length);
    }
    d->length = length;
    return 0;
}
