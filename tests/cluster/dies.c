/* SPDX-License-Identifier: Apache-2.0
 *
 * A library to be preloaded: ends the program by SIGKILL at one point of what it does to the files `change`, `cluster`
 * and `data.mdb` of the directory DIES_DIR. Each file that gets there by rename(), or is removed by unlink(), counts
 * twice: before that, and after it. Counting begins with the file DIES_FROM; the program dies at number DIES_AT, and
 * writes what it was about to do, or had done, to standard error.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *dir, *from;
static long at, counted;
static bool begun;

__attribute__((constructor)) static void begin(void)
{
	const char *number = getenv("DIES_AT");
	dir = getenv("DIES_DIR");
	from = getenv("DIES_FROM");
	at = number != NULL ? strtol(number, NULL, 10) : 0;
	unsetenv("LD_PRELOAD");
}

static bool counts(const char *path)
{
	static const char *const names[] = {"change", "cluster", "data.mdb"};
	size_t n = dir != NULL ? strlen(dir) : 0;
	if (at == 0 || n == 0 || from == NULL || strncmp(path, dir, n) != 0 || path[n] != '/')
		return false;
	begun |= strcmp(path + n + 1, from) == 0;
	for (size_t i = 0; begun && i < sizeof names / sizeof *names; i++)
		if (strcmp(path + n + 1, names[i]) == 0)
			return true;
	return false;
}

static void look(const char *when, const char *what, const char *path)
{
	if (!counts(path) || ++counted != at)
		return;
	dprintf(STDERR_FILENO, "dies %s %s of %s\n", when, what, path + strlen(dir) + 1);
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

static void *next(const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);
	if (p == NULL)
		abort();
	return p;
}

#define NEXT(name) ((__typeof__(&name))next(#name))

int rename(const char *old, const char *path)
{
	look("before", "renaming", path);
	int rc = NEXT(rename)(old, path);
	look("after", "renaming", path);
	return rc;
}

int unlink(const char *path)
{
	look("before", "removal", path);
	int rc = NEXT(unlink)(path);
	look("after", "removal", path);
	return rc;
}
