/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/cookie.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/mem.h"

enum {
	MADE_N = 32, /* letters: 150 bits */
	LETTERS = 26,
	FILE_MAX = COOKIE_MAX + 16, /* with line ends */
};

__attribute__((format(printf, 3, 4))) static int fail(char *err, size_t err_n, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err, err_n, fmt, ap);
	va_end(ap);
	return -1;
}

/* ---- reading ---- */

/* Any program that could read it could be a node of the cluster. */
static int check_file(int fd, const char *path, char *err, size_t err_n)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return fail(err, err_n, "cookie %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(err, err_n, "cookie %s is not a regular file", path);
	if (st.st_uid != geteuid())
		return fail(err, err_n,
			"cookie %s belongs to user %lu, but the node runs as user %lu", path,
			(unsigned long)st.st_uid, (unsigned long)geteuid());
	unsigned mode = st.st_mode & 07777;
	if (mode != 0400 && mode != 0600)
		return fail(err, err_n,
			"cookie %s has mode %03o: it must be 400 or 600, for its owner alone", path,
			mode);
	return 0;
}

static int parse(
	struct cookie *ret, const char *text, size_t n, const char *path, char *err, size_t err_n)
{
	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
		n--;
	if (n == 0)
		return fail(err, err_n, "cookie %s is empty", path);
	if (n > COOKIE_MAX)
		return fail(err, err_n, "cookie %s is longer than %d characters", path, COOKIE_MAX);
	for (size_t i = 0; i < n; i++)
		if (text[i] < ' ' || text[i] > '~')
			return fail(err, err_n,
				"cookie %s has a character that is not printable ASCII", path);
	memcpy(ret->text, text, n);
	ret->text[n] = '\0';
	ret->n = n;
	return 0;
}

static ssize_t read_all(int fd, char *p, size_t n)
{
	size_t got = 0;
	while (got < n) {
		ssize_t r = read(fd, p + got, n - got);
		if (r == 0)
			break;
		if (r < 0 && errno != EINTR)
			return -1;
		if (r > 0)
			got += (size_t)r;
	}
	return (ssize_t)got;
}

static int read_open(struct cookie *ret, int fd, const char *path, char *err, size_t err_n)
{
	char text[FILE_MAX];
	if (check_file(fd, path, err, err_n) != 0)
		return -1;
	ssize_t n = read_all(fd, text, sizeof text);
	int rc = n < 0 ? fail(err, err_n, "cannot read cookie %s: %s", path, strerror(errno))
		       : parse(ret, text, (size_t)n, path, err, err_n);
	OPENSSL_cleanse(text, sizeof text);
	return rc;
}

int cookie_read(struct cookie *ret, const char *path, char *err, size_t err_n)
{
	/* A pipe by this name must not hold up the start. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fail(err, err_n, "cannot open cookie %s: %s", path, strerror(errno));
	int rc = read_open(ret, fd, path, err, err_n);
	close(fd);
	return rc;
}

/* ---- making ---- */

static bool random_letters(char *p, size_t n)
{
	for (size_t i = 0; i < n;) {
		uint8_t r;
		if (getrandom(&r, 1, 0) != 1)
			return false;
		if (r < 256 / LETTERS * LETTERS) /* else the first letters would be likelier */
			p[i++] = (char)('A' + r % LETTERS);
	}
	return true;
}

static bool write_synced(int fd, const char *p, size_t n)
{
	return write(fd, p, n) == (ssize_t)n && fchmod(fd, 0400) == 0 && fsync(fd) == 0;
}

static bool sync_directory(const char *directory)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = fd >= 0 && fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	return ok;
}

/* Under another name first: a start that was cut off leaves no half of a cookie. */
static bool make(const char *directory, const char *path)
{
	char text[MADE_N + 1];
	char *fresh = mem_printf("%s/%s.new", directory, COOKIE_NAME);
	unlink(fresh);
	int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	text[MADE_N] = '\n';
	bool ok = fd >= 0 && random_letters(text, MADE_N) && write_synced(fd, text, sizeof text);
	OPENSSL_cleanse(text, sizeof text);
	ok = ok && rename(fresh, path) == 0 && sync_directory(directory);
	int err = errno;
	if (fd >= 0)
		close(fd);
	if (!ok)
		unlink(fresh);
	mem_free(fresh);
	errno = err;
	return ok;
}

int cookie_read_or_make(struct cookie *ret, const char *directory, char *err, size_t err_n)
{
	char *path = mem_printf("%s/%s", directory, COOKIE_NAME);
	int rc = 0;
	if (access(path, F_OK) != 0 && errno == ENOENT && !make(directory, path))
		rc = fail(err, err_n, "cannot make cookie %s: %s", path, strerror(errno));
	if (rc == 0)
		rc = cookie_read(ret, path, err, err_n);
	mem_free(path);
	return rc;
}

void cookie_wipe(struct cookie *c)
{
	OPENSSL_cleanse(c, sizeof *c);
}
