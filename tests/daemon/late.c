/* SPDX-License-Identifier: Apache-2.0
 *
 * Preloaded below the broker: a worker that has woken another one often stands still for a moment, as on a
 * machine with too few processors. What it does next, in the same turn, comes later than anything that the
 * other does about its mail, so that nothing may depend on who is first.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { OFTEN = 3, MOST_US = 8000 };

static unsigned most_us(void)
{
	const char *text = getenv("LATE_MOST_US");
	return text != NULL ? (unsigned)atoi(text) : MOST_US;
}

int eventfd_write(int fd, eventfd_t value)
{
	static _Thread_local unsigned seed;
	int before;
	if (seed == 0)
		seed = (unsigned)((uintptr_t)&seed >> 12) | 1;
	ssize_t n = write(fd, &value, sizeof value);
	before = errno;
	if (rand_r(&seed) % OFTEN == 0)
		usleep((useconds_t)(rand_r(&seed) % most_us()));
	errno = before;
	return n == (ssize_t)sizeof value ? 0 : -1;
}
