/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/mem.h"

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

char *mem_printf(const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&s, fmt, ap);
	va_end(ap);
	return mem_check(n < 0 ? NULL : s);
}

void mem_free(void *p)
{
	free(p);
}
