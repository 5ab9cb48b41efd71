/*
 * A host that is slow, stands still, fails, or cannot allocate space
 *
 * Preloaded to a program, this makes its calls on files take longer, wait, or
 * fail.  Calls are of these kinds: "read", "write", "flush", "resize",
 * "allocate" (space with fallocate()) and "punch" (holes).
 *
 * FALLOCATE_MS, PUNCH_MS: so many milliseconds longer
 * FALLOCATE_ERRNO: allocating fails so
 * FALLOCATE_LOG: a file that is told of those that allocate or punch,
 *   one line when they begin and one when they end: "allocate" or "punch",
 *   "begin" or "end", offset, length
 *
 * HOST_FILE: the file that the rest is about
 * HOST_FAULTS: a directory in which a test says, at any time, what is to happen.
 *   Calls of a kind stand still while "hold-KIND" exists; "begun" gets a byte for
 *   each that does.  "fail" has "KINDS ERRNO FIRST LAST": calls of
 *   these kinds fail, the first of them being number FIRST since this was said.
 *   KINDS are separated by commas.  "calls" has a byte for each of them.
 *
 * Only for the tests, with aio=threads.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int number(const char *name)
{
    const char *value = getenv(name);

    return value ? atoi(value) : 0;
}

static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

static void append(const char *path, const char *text, size_t n)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);

    if (fd < 0 || write(fd, text, n) != n) {
        abort();
    }
    close(fd);
}

/* --- Calls that a test holds or lets fail --- */

static bool is_file(int fd)
{
    const char *name = getenv("HOST_FILE");
    struct stat file, st;

    return name && stat(name, &file) == 0 && fstat(fd, &st) == 0 &&
           st.st_ino == file.st_ino && st.st_dev == file.st_dev;
}

static void in_directory(char *path, const char *name, const char *kind)
{
    snprintf(path, PATH_MAX, "%s/%s%s", getenv("HOST_FAULTS"), name, kind);
}

static void hold(const char *kind)
{
    char path[PATH_MAX], begun[PATH_MAX];

    in_directory(path, "hold-", kind);
    in_directory(begun, "begun", "");
    for (bool first = true; access(path, F_OK) == 0; first = false) {
        if (first) {
            append(begun, kind, 1);
        }
        usleep(500);
    }
}

/* The errno of a call, or 0 */
static int fault(const char *kind)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char said[100];
    static int calls;
    char path[PATH_MAX], line[100] = "", kinds[100], *word, *rest;
    int error = 0, first, last, ret = 0;
    FILE *f;

    in_directory(path, "fail", "");
    f = fopen(path, "r");
    if (!f) {
        return 0;
    }
    pthread_mutex_lock(&lock);
    if (fgets(line, sizeof(line), f) &&
        sscanf(line, "%99s %d %d %d", kinds, &error, &first, &last) == 4) {
        if (strcmp(line, said)) {
            strcpy(said, line);
            calls = 0;
        }
        for (word = strtok_r(kinds, ",", &rest); word;
             word = strtok_r(NULL, ",", &rest)) {
            if (!strcmp(word, kind)) {
                in_directory(path, "calls", "");
                append(path, kind, 1);
                ret = calls >= first && calls <= last ? error : 0;
                calls++;
            }
        }
    }
    pthread_mutex_unlock(&lock);
    fclose(f);
    return ret;
}

/* May this call be made?  Otherwise errno says why not. */
static bool may(int fd, const char *kind)
{
    int error;

    if (!getenv("HOST_FAULTS") || !is_file(fd)) {
        return true;
    }
    hold(kind);
    error = fault(kind);
    errno = error;
    return !error;
}

ssize_t pwrite64(int fd, const void *buffer, size_t bytes, off64_t offset)
{
    ssize_t (*next)(int, const void *, size_t, off64_t) = real("pwrite64");

    return may(fd, "write") ? next(fd, buffer, bytes, offset) : -1;
}

ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t offset)
{
    ssize_t (*next)(int, const struct iovec *, int, off64_t) =
        real("pwritev64");

    return may(fd, "write") ? next(fd, iov, n, offset) : -1;
}

ssize_t pread64(int fd, void *buffer, size_t bytes, off64_t offset)
{
    ssize_t (*next)(int, void *, size_t, off64_t) = real("pread64");

    return may(fd, "read") ? next(fd, buffer, bytes, offset) : -1;
}

ssize_t preadv64(int fd, const struct iovec *iov, int n, off64_t offset)
{
    ssize_t (*next)(int, const struct iovec *, int, off64_t) =
        real("preadv64");

    return may(fd, "read") ? next(fd, iov, n, offset) : -1;
}

int fdatasync(int fd)
{
    /* Nobody loses power here, and a busy disk takes long */
    return may(fd, "flush") ? 0 : -1;
}

int ftruncate64(int fd, off64_t length)
{
    int (*next)(int, off64_t) = real("ftruncate64");

    return may(fd, "resize") ? next(fd, length) : -1;
}

/* --- Space --- */

static void tell(const char *kind, const char *what, off64_t offset,
                 off64_t len)
{
    const char *path = getenv("FALLOCATE_LOG");
    char line[100];

    if (path) {
        append(path, line, snprintf(line, sizeof(line), "%s %s %lld %lld\n",
                                    kind, what, (long long)offset,
                                    (long long)len));
    }
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
    int (*next)(int, int, off64_t, off64_t) = real("fallocate64");
    const char *kind = mode == 0 ? "allocate" :
                       mode & FALLOC_FL_PUNCH_HOLE ? "punch" : NULL;
    int ret = -1, error = 0;

    if (!kind) {
        return next(fd, mode, offset, len);
    }
    tell(kind, "begin", offset, len);
    usleep(1000 * number(mode == 0 ? "FALLOCATE_MS" : "PUNCH_MS"));
    if (!may(fd, kind)) {
        error = errno;
    } else if (mode == 0) {
        error = number("FALLOCATE_ERRNO");
    }
    if (!error) {
        ret = next(fd, mode, offset, len);
        error = errno;
    }
    tell(kind, "end", offset, len);
    errno = error;
    return ret;
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    return fallocate64(fd, mode, offset, len);
}
