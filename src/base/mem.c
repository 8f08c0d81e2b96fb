/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/mem.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *mem_check(void *p)
{
	if (p == NULL) {
		fputs("warrend: out of memory\n", stderr);
		abort();
	}
	return p;
}

void *mem_alloc(size_t n)
{
	return mem_check(malloc(n ? n : 1));
}

void *mem_zalloc(size_t n)
{
	return mem_check(calloc(1, n ? n : 1));
}

void *mem_realloc(void *p, size_t n)
{
	return mem_check(realloc(p, n ? n : 1));
}

void *mem_dup(const void *p, size_t n)
{
	void *copy = mem_alloc(n);
	if (n > 0)
		memcpy(copy, p, n);
	return copy;
}

char *mem_strdup(const char *s)
{
	return mem_dup(s, strlen(s) + 1);
}

char *mem_vprintf(const char *fmt, va_list ap)
{
	char *s = NULL;
	int n = vasprintf(&s, fmt, ap);
	return mem_check(n < 0 ? NULL : s);
}

char *mem_printf(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *s = mem_vprintf(fmt, ap);
	va_end(ap);
	return s;
}

void mem_free(void *p)
{
	free(p);
}

/* jemalloc's, where it is linked. */
extern int mallctl(const char *name, void *old, size_t *old_n, void *new, size_t new_n)
	__attribute__((weak));

void mem_release(void)
{
	if (mallctl == NULL)
		malloc_trim(0);
	else
		mallctl("arena.4096.purge", NULL, NULL, NULL, 0); /* MALLCTL_ARENAS_ALL */
}
