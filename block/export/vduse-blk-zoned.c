/*
 * VDUSE exports of zoned nodes: going on with the device of another daemon
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "linux/vduse.h"
#include "vduse-blk-zoned.h"

/* What the driver of a device has been told */
typedef struct Record {
    uint64_t features;
    struct virtio_blk_config config;    /* without the capacity */
    uint64_t clean;         /* all its requests are done and flushed */
} Record;

static char *record_path(const char *log)
{
    return g_strconcat(log, ".zones", NULL);
}

static bool read_record(const char *path, Record *record)
{
    g_autofree char *data = NULL;
    gsize size;

    if (!g_file_get_contents(path, &data, &size, NULL) ||
        size != sizeof(*record)) {
        return false;
    }
    memcpy(record, data, size);
    return true;
}

static bool write_record(const char *path, const Record *record, Error **errp)
{
    g_autoptr(GError) error = NULL;

    if (!g_file_set_contents(path, (const char *)record, sizeof(*record),
                             &error)) {
        error_setg(errp, "Cannot record the zones of the export: %s",
                   error->message);
        return false;
    }
    return true;
}

bool vduse_blk_zoned_in_use(const VirtIOBlkZoned *z, const char *name)
{
    char buffer[VDUSE_NAME_MAX];
    bool busy;
    int fd;

    if (z->model == BLK_Z_NONE) {
        return false;
    }
    fd = qemu_open_old("/dev/vduse/control", O_RDWR);
    if (fd < 0) {
        return false;
    }
    pstrcpy(buffer, sizeof(buffer), name);
    busy = ioctl(fd, VDUSE_DESTROY_DEV, buffer) < 0 && errno == EBUSY;
    close(fd);
    return busy;
}

bool vduse_blk_zoned_start(VirtIOBlkZoned *z, VduseDev *dev, const char *log,
                           bool in_use, uint64_t features,
                           const struct virtio_blk_config *config,
                           Error **errp)
{
    g_autofree char *path = record_path(log);
    Record record = { .features = features, .config = *config, .clean = true };
    Record before;

    if (z->model == BLK_Z_NONE) {
        return true;
    }
    record.config.capacity = 0;
    if (in_use) {
        z->needs_reset = !read_record(path, &before) ||
                         memcmp(&before, &record, sizeof(record));
        if (z->needs_reset) {
            warn_report("The disk has a driver, and the export that it had did "
                        "not end in order, or was another one: all requests "
                        "fail until the driver resets the disk");
        }
        vduse_dev_update_config(dev, sizeof(*config), 0, (char *)config);
    }
    record.clean = false;
    return write_record(path, &record, errp);
}

void vduse_blk_zoned_end(VirtIOBlkZoned *z, BlockBackend *blk,
                         const char *log, bool in_use)
{
    g_autofree char *path = record_path(log);
    Record record;

    if (z->model == BLK_Z_NONE) {
        return;
    }
    if (!in_use) {
        unlink(path);
    } else if (!z->needs_reset && blk_flush(blk) == 0 &&
               read_record(path, &record)) {
        record.clean = true;
        write_record(path, &record, NULL);
    }
}
