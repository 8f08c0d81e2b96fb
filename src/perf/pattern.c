/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/pattern.h"

#include <stdio.h>
#include <string.h>

#include "src/base/mem.h"

enum { NAME_MAX_OCTETS = 255, NUMBER_DIGITS = 10 };

/* Walks over a pattern and counts its "%i"; -1 if something else follows a percent sign. */
static int numbers(const char *pattern)
{
	int n = 0;
	for (const char *p = pattern; (p = strchr(p, '%')) != NULL; p += 2) {
		if (p[1] == 'i')
			n++;
		else if (p[1] != '%')
			return -1;
	}
	return n;
}

bool pattern_valid(const char *pattern)
{
	int n = numbers(pattern);
	return n >= 0 && strlen(pattern) + (size_t)n * NUMBER_DIGITS <= NAME_MAX_OCTETS;
}

bool pattern_varies(const char *pattern)
{
	return numbers(pattern) > 0;
}

char *pattern_expand(const char *pattern, unsigned number)
{
	char *name = mem_alloc(strlen(pattern) + (size_t)numbers(pattern) * NUMBER_DIGITS + 1);
	char *out = name;
	for (const char *p = pattern; *p != '\0'; p++) {
		if (*p != '%')
			*out++ = *p;
		else if (*++p == 'i')
			out += sprintf(out, "%u", number);
		else
			*out++ = '%';
	}
	*out = '\0';
	return name;
}
