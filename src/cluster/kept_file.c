/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/kept_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/mem.h"

enum { FILE_MODE = 0640 };

static int sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd >= 0 ? fsync(fd) : -1;
	if (fd >= 0)
		close(fd);
	return rc;
}

/* What does not fit is written in part at first: only the next attempt says why. */
static int write_all(int fd, struct slice s)
{
	while (s.n > 0) {
		ssize_t n = write(fd, s.p, s.n);
		if (n < 0 && errno != EINTR)
			return -1;
		s = n > 0 ? slice_make(s.p + n, s.n - (size_t)n) : s;
	}
	return fsync(fd);
}

static int replace(const char *path, const char *next, struct slice content)
{
	int fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
	if (fd < 0)
		return -1;
	int rc = write_all(fd, content), wrong = errno;
	if (close(fd) != 0 && rc == 0) {
		rc = -1;
		wrong = errno;
	}
	if (rc == 0 && rename(next, path) != 0) {
		rc = -1;
		wrong = errno;
	}
	if (rc != 0)
		unlink(next);
	errno = wrong;
	return rc;
}

/* Takes `path`. */
static int end(int rc, const char *dir, char *path, char *err, size_t err_n)
{
	if (rc == 0)
		rc = sync_dir(dir);
	if (rc != 0)
		snprintf(err, err_n, "%s cannot be written: %s", path, strerror(errno));
	mem_free(path);
	return rc;
}

int kept_file_put(const char *dir, const char *name, struct slice content, char *err, size_t err_n)
{
	char *path = mem_printf("%s/%s", dir, name), *next = mem_printf("%s.next", path);
	int rc = end(replace(path, next, content), dir, path, err, err_n);
	mem_free(next);
	return rc;
}

int kept_file_remove(const char *dir, const char *name, char *err, size_t err_n)
{
	char *path = mem_printf("%s/%s", dir, name);
	int rc = unlink(path) == 0 || errno == ENOENT ? 0 : -1;
	return end(rc, dir, path, err, err_n);
}
