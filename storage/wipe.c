/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "storage/claim.h"

static int remove_file(const char *dir, const char *name)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	return unlink(path) == 0 || errno == ENOENT ? 0 : errno;
}

static int sync_claimed(const struct claim *c)
{
	return fsync(c->dir_fd) == 0 || errno == EINVAL ? 0 : errno;
}

/* The removal of data.mdb is the wipe: before it the store is whole (one whose directory does not know
 * that it was used), after it the next start makes one. */
static int wipe(const struct claim *c, const char *dir)
{
	static const char *const rest[] = {"lock.mdb", "journal"};
	int rc = remove_file(dir, "reserve");
	if (rc == 0)
		rc = ftruncate(c->file_fd, 0) == 0 && fsync(c->file_fd) == 0 ? sync_claimed(c) : errno;
	if (rc == 0)
		rc = remove_file(dir, "data.mdb");
	if (rc == 0)
		rc = sync_claimed(c);
	for (size_t i = 0; i < sizeof rest / sizeof *rest && rc == 0; i++)
		rc = remove_file(dir, rest[i]);
	return rc == 0 ? sync_claimed(c) : rc;
}

int store_wipe(const char *dir, const struct claim *claim, char *err, size_t err_n)
{
	struct claim own = CLAIM_NONE;
	int rc = claim == NULL ? claim_take(&own, dir) : 0;
	if (rc == EWOULDBLOCK) {
		snprintf(err, err_n, "store %s is in use by another process", dir);
		return STORE_LOCKED;
	}
	if (rc == 0)
		rc = wipe(claim != NULL ? claim : &own, dir);
	claim_release(&own);
	if (rc == 0)
		return STORE_OK;
	snprintf(err, err_n, "store %s cannot be wiped: %s", dir, strerror(rc));
	return STORE_IO;
}
