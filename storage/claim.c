/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CLAIM_FILE_MODE = 0640 };

static const char *claim_path(char path[PATH_MAX], const char *dir, const char *name)
{
	snprintf(path, PATH_MAX, "%s/%s", dir, name);
	return path;
}

static int lock_directory(struct claim *c, const char *dir)
{
	c->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dir_fd < 0)
		return errno;
	if (flock(c->dir_fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
		return 0; /* some network file systems lock no directories; then there is the file */
	return EWOULDBLOCK;
}

static int lock_file(struct claim *c, const char *dir)
{
	char path[PATH_MAX];
	c->file_fd = open(claim_path(path, dir, "lock"), O_RDWR | O_CREAT | O_CLOEXEC, CLAIM_FILE_MODE);
	if (c->file_fd < 0)
		return errno;
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	if (fcntl(c->file_fd, F_OFD_SETLK, &whole) == 0)
		return 0;
	return errno == EAGAIN || errno == EACCES ? EWOULDBLOCK : errno;
}

int claim_take(struct claim *c, const char *dir)
{
	*c = (struct claim)CLAIM_NONE;
	int rc = lock_directory(c, dir);
	if (rc == 0)
		rc = lock_file(c, dir);
	if (rc != 0)
		claim_release(c);
	return rc;
}

void claim_release(struct claim *c)
{
	if (c->file_fd >= 0)
		close(c->file_fd);
	if (c->dir_fd >= 0)
		close(c->dir_fd);
	*c = (struct claim)CLAIM_NONE;
}

void claim_settle(struct claim *c, uint64_t node_id)
{
	struct stat st;
	char text[64];
	if (fstat(c->file_fd, &st) != 0 || st.st_size > 0)
		return;
	int n = snprintf(text, sizeof text, "node %016" PRIx64 "\n", node_id);
	if (pwrite(c->file_fd, text, (size_t)n, 0) == n)
		fsync(c->file_fd);
}

static bool has_size(const char *dir, const char *name)
{
	char path[PATH_MAX];
	struct stat st;
	return stat(claim_path(path, dir, name), &st) == 0 && st.st_size > 0;
}

/* The reserve is filled by a store that is open. */
bool claim_settled(const char *dir)
{
	return has_size(dir, "lock") || has_size(dir, "reserve");
}
