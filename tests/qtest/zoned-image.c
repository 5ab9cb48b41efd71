/*
 * Zoned qcow2 images for the tests of zoned devices
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "libqtest.h"
#include "zoned-image.h"

static void run_qemu_img(const char *arguments)
{
    g_autofree char *command = g_strdup_printf("%s %s",
                                               getenv("QTEST_QEMU_IMG"),
                                               arguments);
    g_autofree char *err = NULL;
    int status;

    g_assert_true(g_spawn_command_line_sync(command, NULL, &err, &status,
                                            NULL));
    if (status) {
        g_test_message("%s: %s", command, err);
    }
    g_assert_cmpint(status, ==, 0);
}

static void remove_image(void *path)
{
    unlink(path);
}

/* An empty file that is removed at an abort */
static char *new_file(void)
{
    char *path;
    int fd = g_file_open_tmp("zoned-XXXXXX.qcow2", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    qtest_add_abrt_handler(remove_image, path);
    return path;
}

char *zoned_image_create(const char *options, const char *size)
{
    char *path = new_file();
    g_autofree char *arguments = g_strdup_printf("create -q -f qcow2 %s %s %s",
                                                 options, path, size);

    run_qemu_img(arguments);
    return path;
}

bool zoned_image_supported(void)
{
    g_autofree char *command = g_strdup_printf(
        "%s create -f qcow2 -o help -", getenv("QTEST_QEMU_IMG"));
    g_autofree char *options = NULL;

    return g_spawn_command_line_sync(command, &options, NULL, NULL, NULL) &&
           strstr(options, "zone.mode");
}

char *zoned_image_create_raw(uint64_t size)
{
    char *path = new_file();

    g_assert_cmpint(truncate(path, size), ==, 0);
    return path;
}

char *zoned_image_copy(const char *path)
{
    char *copy = new_file();
    g_autofree char *data = NULL;
    size_t size;

    g_assert_true(g_file_get_contents(path, &data, &size, NULL));
    g_assert_true(g_file_set_contents(copy, data, size, NULL));
    return copy;
}

void zoned_image_amend(const char *path, const char *options)
{
    g_autofree char *arguments = g_strdup_printf("amend -q -f qcow2 -o %s %s",
                                                 options, path);

    run_qemu_img(arguments);
}

void zoned_image_delete(char *path)
{
    qtest_remove_abrt_handler(path);
    unlink(path);
    g_free(path);
}

/* Where the zone table of the image begins (docs/interop/qcow2-zoned.rst) */
static uint64_t zone_table_offset(const uint8_t *header)
{
    uint32_t pos = ldl_be_p(header + 100);

    while (ldl_be_p(header + pos) != 0x5a4f4e45) {
        g_assert_cmphex(ldl_be_p(header + pos), !=, 0);
        pos += 8 + ROUND_UP(ldl_be_p(header + pos + 4), 8);
    }
    return ldq_be_p(header + pos + 8 + 48);
}

uint64_t zoned_image_record_offset(const char *path, unsigned zone)
{
    uint8_t header[64 * KiB];
    int fd = open(path, O_RDONLY);

    g_assert_cmpint(pread(fd, header, sizeof(header), 0), ==, sizeof(header));
    close(fd);
    return zone_table_offset(header) + zone * 16;
}

/* Open the image, and find the record of @zone. */
static int open_at_record(const char *path, unsigned zone)
{
    int fd = open(path, O_RDWR);

    lseek(fd, zoned_image_record_offset(path, zone), SEEK_SET);
    return fd;
}

void zoned_image_wear_out(const char *path, unsigned zone, uint64_t state,
                          uint64_t wp)
{
    uint64_t record[2] = { cpu_to_be64(state << 60 | wp), cpu_to_be64(wp) };
    int fd = open_at_record(path, zone);

    g_assert_cmpint(write(fd, record, sizeof(record)), ==, sizeof(record));
    close(fd);
}

void zoned_image_set_attributes(const char *path, unsigned zone,
                                uint8_t attributes)
{
    uint64_t word;
    int fd = open_at_record(path, zone);

    g_assert_cmpint(read(fd, &word, sizeof(word)), ==, sizeof(word));
    word |= cpu_to_be64((uint64_t)attributes << 51);
    lseek(fd, -sizeof(word), SEEK_CUR);
    g_assert_cmpint(write(fd, &word, sizeof(word)), ==, sizeof(word));
    close(fd);
}

/* --- A zoned device of the host --- */

static char *host_zoned_library;

bool host_zoned_find(const char *program)
{
    g_autofree char *directory = g_path_get_dirname(program);

    host_zoned_library = g_build_filename(directory, "libhost-zoned.so", NULL);
    return g_file_test(host_zoned_library, G_FILE_TEST_EXISTS);
}

static void set_number(const char *name, uint64_t value)
{
    g_autofree char *text = g_strdup_printf("%" PRIu64, value);

    g_setenv(name, text, true);
}

void host_zoned_begin(const char *path, const HostZoned *host)
{
    g_setenv("LD_PRELOAD", host_zoned_library, true);
    g_setenv("HOST_ZONED_FILE", path, true);
    g_setenv("HOST_ZONED_MODEL", host->model, true);
    set_number("HOST_ZONED_SIZE", host->size);
    set_number("HOST_ZONED_ZONE", host->zone_size);
    set_number("HOST_ZONED_CONV", host->conventional);
    set_number("HOST_ZONED_MAX_OPEN", host->max_open);
    g_setenv("HOST_ZONED_STATES", host->states ?: "", true);
    g_setenv("HOST_ZONED_REPORT_DELAY", host->delay ?: "0", true);
    g_setenv("HOST_ZONED_READ_DELAY", host->delay ?: "0", true);
}

void host_zoned_end(void)
{
    g_unsetenv("LD_PRELOAD");
}

/* --- The machine that has the disk --- */

#define TIMEOUT_US      (30 * G_USEC_PER_SEC)

bool machine_has_status(QTestState *qts, const char *status)
{
    QDict *answer = qtest_qmp_assert_success_ref(qts, "{'execute':"
                                                 " 'query-status'}");
    bool is = g_str_equal(qdict_get_str(answer, "status"), status);

    qobject_unref(answer);
    return is;
}

void machine_wait_for_status(QTestState *qts, const char *status)
{
    gint64 deadline = g_get_monotonic_time() + TIMEOUT_US;

    while (!machine_has_status(qts, status)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(1000);
    }
}

char *machine_end_of_migration(QTestState *qts)
{
    gint64 deadline = g_get_monotonic_time() + TIMEOUT_US;

    for (;;) {
        QDict *answer = qtest_qmp_assert_success_ref(qts, "{'execute':"
                                                     " 'query-migrate'}");
        g_autofree char *status =
            g_strdup(qdict_get_try_str(answer, "status") ?: "none");

        qobject_unref(answer);
        if (g_str_equal(status, "completed") || g_str_equal(status, "failed")) {
            return g_steal_pointer(&status);
        }
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(10000);
    }
}

QDict *machine_statistics(QTestState *qts)
{
    QDict *answer = qtest_qmp(qts, "{'execute': 'query-blockstats'}");
    QList *list = qdict_get_qlist(answer, "return");
    QDict *stats;

    g_assert_cmpint(qlist_size(list), ==, 1);
    stats = qobject_ref(qdict_get_qdict(qobject_to(QDict, qlist_peek(list)),
                                        "stats"));
    qobject_unref(answer);
    return stats;
}

bool machine_logs(void)
{
#ifdef CONFIG_TRACE_LOG
    return true;
#else
    g_test_skip("QEMU is built without the log trace backend");
    return false;
#endif
}

int64_t machine_iothread(QTestState *qts)
{
    QDict *answer = qtest_qmp(qts, "{'execute': 'query-iothreads'}");
    QList *list = qdict_get_qlist(answer, "return");
    int64_t id;

    g_assert_cmpint(qlist_size(list), ==, 1);
    id = qdict_get_int(qobject_to(QDict, qlist_peek(list)), "thread-id");
    qobject_unref(answer);
    return id;
}

void machine_begin_section(QTestState *qts, const char *node, const char *image)
{
    qtest_qmp_assert_success(qts, "{'execute': 'blockdev-add', 'arguments':"
                             " {'node-name': 'other', 'driver': 'qcow2',"
                             "  'file': {'driver': 'file', 'filename': %s}}}",
                             image);
    qtest_qmp_assert_success(qts, "{'execute': 'blockdev-mirror',"
                             " 'arguments': {'job-id': 'job', 'sync': 'full',"
                             " 'device': %s, 'target': 'other',"
                             " 'auto-finalize': false}}", node);
    qtest_qmp_eventwait(qts, "BLOCK_JOB_READY");
    qtest_qmp_assert_success(qts, "{'execute': 'job-complete',"
                             " 'arguments': {'id': 'job'}}");
    qtest_qmp_eventwait(qts, "BLOCK_JOB_PENDING");
}

void machine_end_section(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{'execute': 'job-finalize',"
                             " 'arguments': {'id': 'job'}}");
    qtest_qmp_eventwait(qts, "BLOCK_JOB_COMPLETED");
}
