/* SPDX-License-Identifier: Apache-2.0
 *
 * A library to be preloaded: the disk below a program fails as it is told. It stands between the
 * program (LMDB in it) and the C library, and goes by directory: whatever file is below FAULT_DIR,
 * but for the standard files.
 *
 * FAULT_CONTROL names a file of 12 octets that is mapped, so that a test can turn a fault on while
 * the program runs: u32 what fails, u32 how often (counted down; all ones: always), u32 how often it
 * has failed so far.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum fault { NONE, WRITE_EIO, SYNC_EIO, WRITE_ENOSPC, WRITE_SHORT, READ_EIO };

struct control {
	_Atomic uint32_t fault;
	_Atomic uint32_t left;
	_Atomic uint32_t failed;
};

static struct control *control;
static char directory[PATH_MAX];

__attribute__((constructor)) static void begin(void)
{
	const char *name = getenv("FAULT_CONTROL"), *dir = getenv("FAULT_DIR");
	if (name == NULL || dir == NULL)
		return;
	snprintf(directory, sizeof directory, "%s/", dir);
	int fd = open(name, O_RDWR | O_CLOEXEC);
	void *p = fd < 0 ? MAP_FAILED
			 : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (p == MAP_FAILED)
		abort();
	control = p;
}

static int is_ours(int fd)
{
	char link[64], path[PATH_MAX];
	if (fd <= STDERR_FILENO)
		return 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof path - 1);
	if (n < 0)
		return 0;
	path[n] = '\0';
	return strncmp(path, directory, strlen(directory)) == 0;
}

/* Whether the call on fd fails this time. */
static int fails(enum fault fault, int fd)
{
	if (control == NULL || atomic_load(&control->fault) != fault || !is_ours(fd))
		return 0;
	uint32_t left = atomic_load(&control->left);
	do
		if (left == 0)
			return 0;
	while (left != UINT32_MAX && !atomic_compare_exchange_weak(&control->left, &left, left - 1));
	atomic_fetch_add(&control->failed, 1);
	return 1;
}

/* A full disk still takes what is written over blocks that are there. The first pages of a file are:
 * LMDB's meta pages. */
static int write_fails(int fd, off_t at)
{
	enum { IN_PLACE = 8192 };
	int e = fails(WRITE_EIO, fd)                           ? EIO
		: at >= IN_PLACE && fails(WRITE_ENOSPC, fd) ? ENOSPC
							     : 0;
	if (e != 0)
		errno = e;
	return e != 0;
}

static off_t position(int fd)
{
	return control != NULL ? lseek(fd, 0, SEEK_CUR) : 0;
}

static void *next(const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);
	if (p == NULL)
		abort();
	return p;
}

/* Only a half of what was asked for; of several pieces a half of the first. */
static size_t cut(int fd, size_t n)
{
	return n > 1 && fails(WRITE_SHORT, fd) ? n / 2 : n;
}

#define NEXT(name) ((__typeof__(&name))next(#name))

#define ONE_PIECE(name, where, decl, args)                                                         \
	ssize_t name decl                                                                          \
	{                                                                                          \
		if (write_fails(fd, where))                                                        \
			return -1;                                                                 \
		n = cut(fd, n);                                                                    \
		return NEXT(name) args;                                                            \
	}

ONE_PIECE(write, position(fd), (int fd, const void *p, size_t n), (fd, p, n))
ONE_PIECE(pwrite, at, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at))
ONE_PIECE(pwrite64, at, (int fd, const void *p, size_t n, off64_t at), (fd, p, n, at))

#define PIECES(name, where, decl, args)                                                            \
	ssize_t name decl                                                                          \
	{                                                                                          \
		if (write_fails(fd, where))                                                        \
			return -1;                                                                 \
		struct iovec half = v[0];                                                          \
		half.iov_len = cut(fd, v[0].iov_len);                                              \
		if (half.iov_len < v[0].iov_len) {                                                 \
			v = &half;                                                                 \
			count = 1;                                                                 \
		}                                                                                  \
		return NEXT(name) args;                                                            \
	}

PIECES(writev, position(fd), (int fd, const struct iovec *v, int count), (fd, v, count))
PIECES(pwritev, at, (int fd, const struct iovec *v, int count, off_t at), (fd, v, count, at))
PIECES(pwritev64, at, (int fd, const struct iovec *v, int count, off64_t at), (fd, v, count, at))
PIECES(pwritev2, at, (int fd, const struct iovec *v, int count, off_t at, int flags),
	(fd, v, count, at, flags))
PIECES(pwritev64v2, at, (int fd, const struct iovec *v, int count, off64_t at, int flags),
	(fd, v, count, at, flags))

#define FAILING(fault, type, name, decl, args)                                                     \
	type name decl                                                                             \
	{                                                                                          \
		if (fails(fault, fd)) {                                                            \
			errno = EIO;                                                               \
			return -1;                                                                 \
		}                                                                                  \
		return NEXT(name) args;                                                            \
	}

FAILING(SYNC_EIO, int, fsync, (int fd), (fd))
FAILING(SYNC_EIO, int, fdatasync, (int fd), (fd))
FAILING(SYNC_EIO, int, sync_file_range, (int fd, off64_t at, off64_t n, unsigned flags),
	(fd, at, n, flags))
FAILING(READ_EIO, ssize_t, pread, (int fd, void *p, size_t n, off_t at), (fd, p, n, at))
FAILING(READ_EIO, ssize_t, pread64, (int fd, void *p, size_t n, off64_t at), (fd, p, n, at))
