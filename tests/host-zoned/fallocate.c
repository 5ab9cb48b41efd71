/*
 * A host on which fallocate() is slow, fails or does not exist
 *
 * Preloaded to a program, this makes calls that allocate space, and
 * those that punch holes, take FALLOCATE_MS and PUNCH_MS milliseconds
 * longer, and those that allocate fail with the errno FALLOCATE_ERRNO.  Both
 * are told in FALLOCATE_LOG, one line when they begin and one when they end:
 * "allocate" or "punch", "begin" or "end", offset, length.
 *
 * Only for the tests.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int number(const char *name)
{
    const char *value = getenv(name);

    return value ? atoi(value) : 0;
}

static void tell(const char *kind, const char *what, off64_t offset,
                 off64_t len)
{
    const char *path = getenv("FALLOCATE_LOG");
    char line[100];
    int n, fd;

    if (!path) {
        return;
    }
    n = snprintf(line, sizeof(line), "%s %s %lld %lld\n", kind, what,
                 (long long)offset, (long long)len);
    fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (fd < 0 || write(fd, line, n) != n) {
        abort();
    }
    close(fd);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
    static int (*next)(int, int, off64_t, off64_t);
    const char *kind = mode == 0 ? "allocate" :
                       mode & FALLOC_FL_PUNCH_HOLE ? "punch" : NULL;
    int ret = -1, error = 0;

    if (!next) {
        next = (int (*)(int, int, off64_t, off64_t))dlsym(RTLD_NEXT,
                                                         "fallocate64");
    }
    if (!kind) {
        return next(fd, mode, offset, len);
    }
    tell(kind, "begin", offset, len);
    usleep(1000 * number(mode == 0 ? "FALLOCATE_MS" : "PUNCH_MS"));
    if (mode == 0) {
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
