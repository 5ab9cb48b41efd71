/*
 * Zoned qcow2 images for the tests of zoned devices, and what has them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_ZONED_IMAGE_H
#define TESTS_ZONED_IMAGE_H

#include "libqtest.h"

/*
 * Create an image in the directory for temporary files, with "qemu-img create
 * @options PATH @size".  A test that aborts removes it.
 */
char *zoned_image_create(const char *options, const char *size);

/* Can qemu-img create such an image? */
bool zoned_image_supported(void);

/* A file of zeroes, for a device that has zones of its own */
char *zoned_image_create_raw(uint64_t size);

/* Another image with what is in the file now, as after a crash of its writer */
char *zoned_image_copy(const char *path);

/* "qemu-img amend -o @options" of an image that nobody else writes */
void zoned_image_amend(const char *path, const char *options);

/* Remove the image, and free @path. */
void zoned_image_delete(char *path);

/* Where the record of a zone is in the file */
uint64_t zoned_image_record_offset(const char *path, unsigned zone);

/*
 * Make a zone read-only (@state is 13) or offline (15) in an image that nobody
 * uses, and let it have data up to @wp, which is counted from the disk's start.
 */
void zoned_image_wear_out(const char *path, unsigned zone, uint64_t state,
                          uint64_t wp);

/* Give a zone these attributes, too (bits of ZNS), in an image at rest. */
void zoned_image_set_attributes(const char *path, unsigned zone,
                                uint8_t attributes);

/* --- A zoned device of the host, made of a file --- */

typedef struct HostZoned {
    const char *model;      /* "host-managed" or "host-aware" */
    uint64_t size;          /* bytes */
    uint64_t zone_size;     /* bytes */
    unsigned conventional;  /* zones, the first ones */
    unsigned max_open;      /* zones, 0: no limit */
    const char *states;     /* of zones, as tests/host-zoned/preload.c has it */
    const char *delay;      /* of reads and reports, in microseconds, or NULL */
} HostZoned;

/* Find the library that does this, beside the test @program. */
bool host_zoned_find(const char *program);

/*
 * From here to host_zoned_end(), programs that are started find the file @path
 * to be such a device, new and empty.
 */
void host_zoned_begin(const char *path, const HostZoned *host);
void host_zoned_end(void);

/* --- The machine that has the disk --- */

bool machine_has_status(QTestState *qts, const char *status);
void machine_wait_for_status(QTestState *qts, const char *status);
/* Wait until it is "completed" or "failed", for the side that is asked. */
char *machine_end_of_migration(QTestState *qts);
/* What query-blockstats has of the only disk */
QDict *machine_statistics(QTestState *qts);
/* If not, as it is built without the log trace backend, skip the test. */
bool machine_logs(void);
/* The only iothread, as the system and names of logs ("-d tid") have it */
int64_t machine_iothread(QTestState *qts);
/*
 * Hold @node in a drained section: that of a mirror to @image, a copy of it by
 * then, which waits for being finalized.
 */
void machine_begin_section(QTestState *qts, const char *node, const char *image);
void machine_end_section(QTestState *qts);

#endif
