/* SPDX-License-Identifier: Apache-2.0
 *
 * A library to be preloaded: remembers, for a loss of power, what a program has written to data.mdb and
 * journal below UNSYNCED_DIR and not synced. Before each write the octets that are there go to the file
 * UNSYNCED_LOG, which is mapped and so outlives the program; a sync that succeeds empties it. Whoever
 * puts any of them back (tests/cluster/power.py) has a disk as the loss of power may leave it.
 *
 *   log    := u64 lies, area of data.mdb, area of journal
 *   area   := u64 used, records, up to AREA octets
 *   record := u64 where, u32 octets written, u32 octets that were there, these
 *
 * With `lies` not 0 a sync does nothing: a disk that loses what it has confirmed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { AREA = 64 << 20, HEAD = 16 };

struct area {
	_Atomic uint64_t used;
	uint8_t bytes[AREA];
};

struct log {
	_Atomic uint64_t lies;
	struct area areas[2];
};

static struct log *undo;
static char names[2][PATH_MAX];

__attribute__((constructor)) static void begin(void)
{
	const char *name = getenv("UNSYNCED_LOG"), *dir = getenv("UNSYNCED_DIR");
	if (name == NULL || dir == NULL)
		return;
	snprintf(names[0], sizeof names[0], "%s/data.mdb", dir);
	snprintf(names[1], sizeof names[1], "%s/journal", dir);
	int fd = open(name, O_RDWR | O_CLOEXEC);
	void *p = fd < 0 ? MAP_FAILED
			 : mmap(NULL, sizeof *undo, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		abort();
	close(fd);
	undo = p;
}

static void *next(const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);
	if (p == NULL)
		abort();
	return p;
}

#define NEXT(name) ((__typeof__(&name))next(#name))

static struct area *area_of(int fd)
{
	char link[64], path[PATH_MAX];
	if (undo == NULL || fd <= STDERR_FILENO)
		return NULL;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof path - 1);
	if (n < 0)
		return NULL;
	path[n] = '\0';
	for (int i = 0; i < 2; i++)
		if (strcmp(path, names[i]) == 0)
			return &undo->areas[i];
	return NULL;
}

static int synced(int fd, int rc)
{
	struct area *a = area_of(fd);
	if (rc == 0 && a != NULL && undo->lies == 0)
		atomic_store(&a->used, 0);
	return rc;
}

/* The descriptor itself may be one for writing only, as LMDB's for its meta pages is. */
static uint32_t read_old(const struct area *a, uint8_t *to, size_t n, off_t at)
{
	int fd = open(names[a - undo->areas], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		abort();
	ssize_t r = pread(fd, to, n, at);
	close(fd);
	return r > 0 ? (uint32_t)r : 0;
}

/* The writer of a file is one thread, as is its sync. */
static void remember(int fd, off_t at, size_t n)
{
	struct area *a = area_of(fd);
	uint64_t where = (uint64_t)at;
	uint32_t written = (uint32_t)n, had;
	if (a == NULL || (undo->lies == 0 && (fcntl(fd, F_GETFL) & O_DSYNC) != 0))
		return;
	if (a->used + HEAD + n > AREA) {
		if (undo->lies != 0)
			abort(); /* it has lied for longer than it can remember */
		synced(fd, NEXT(fdatasync)(fd));
	}
	uint8_t *p = a->bytes + a->used;
	had = read_old(a, p + HEAD, n, at);
	memcpy(p, &where, sizeof where);
	memcpy(p + 8, &written, sizeof written);
	memcpy(p + 12, &had, sizeof had);
	atomic_store(&a->used, a->used + HEAD + had);
}

static size_t sum(const struct iovec *v, int count)
{
	size_t n = 0;
	for (int i = 0; i < count; i++)
		n += v[i].iov_len;
	return n;
}

#define WRITE(type, name, where, octets, decl, args)                                               \
	type name decl                                                                             \
	{                                                                                          \
		if (undo != NULL)                                                                  \
			remember(fd, where, octets);                                               \
		return NEXT(name) args;                                                            \
	}

#define HERE lseek(fd, 0, SEEK_CUR)

WRITE(ssize_t, write, HERE, n, (int fd, const void *p, size_t n), (fd, p, n))
WRITE(ssize_t, pwrite, at, n, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at))
WRITE(ssize_t, pwrite64, at, n, (int fd, const void *p, size_t n, off64_t at), (fd, p, n, at))
WRITE(ssize_t, writev, HERE, sum(v, count), (int fd, const struct iovec *v, int count), (fd, v, count))
WRITE(ssize_t, pwritev, at, sum(v, count), (int fd, const struct iovec *v, int count, off_t at),
	(fd, v, count, at))
WRITE(ssize_t, pwritev64, at, sum(v, count), (int fd, const struct iovec *v, int count, off64_t at),
	(fd, v, count, at))

int fsync(int fd)
{
	return synced(fd, NEXT(fsync)(fd));
}

int fdatasync(int fd)
{
	return synced(fd, NEXT(fdatasync)(fd));
}
