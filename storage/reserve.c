/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/mem.h"

enum { RESERVE_BYTES = 16 << 20 };

void reserve_open(struct reserve *r, const char *dir)
{
	char *name = mem_printf("%s/reserve", dir);
	struct stat st;
	*r = (struct reserve){.fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0640)};
	mem_free(name);
	r->unable = r->fd < 0;
	r->held = !r->unable && fstat(r->fd, &st) == 0 && st.st_blocks * 512LL >= RESERVE_BYTES;
}

void reserve_close(struct reserve *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
}

bool reserve_fill(struct reserve *r)
{
	if (r->held || r->unable)
		return true;
	if (fallocate(r->fd, 0, 0, RESERVE_BYTES) == 0) {
		r->held = true;
		return true;
	}
	int e = errno;
	if (ftruncate(r->fd, 0) != 0) /* a part may have been allocated */
		r->unable = true;
	r->unable = r->unable || (e != ENOSPC && e != EDQUOT && e != EINTR);
	return r->unable;
}

bool reserve_spend(struct reserve *r)
{
	if (!r->held)
		return false;
	r->held = false;
	return ftruncate(r->fd, 0) == 0;
}
