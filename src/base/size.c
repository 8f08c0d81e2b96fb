/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/size.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

static const struct {
	const char *name;
	uint64_t factor;
} units[] = {
	{"", 1},
	{"b", 1},
	{"k", 1ull << 10},
	{"kib", 1ull << 10},
	{"kb", 1000},
	{"m", 1ull << 20},
	{"mib", 1ull << 20},
	{"mb", 1000 * 1000},
	{"g", 1ull << 30},
	{"gib", 1ull << 30},
	{"gb", 1000 * 1000 * 1000},
	{"t", 1ull << 40},
	{"tib", 1ull << 40},
	{"tb", 1000ull * 1000 * 1000 * 1000},
};

bool size_parse(const char *text, uint64_t *ret)
{
	char *unit;
	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	unsigned long long n = strtoull(text, &unit, 10);
	if (errno != 0)
		return false;
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (strcasecmp(unit, units[i].name) == 0)
			return !__builtin_mul_overflow(n, units[i].factor, ret);
	return false;
}
