/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/sizes.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>

#include "src/perf/mix.h"

/* Reads a number up to `most` at *p, with a unit if it may have one, and moves *p behind it. */
static bool number(const char **p, uint64_t most, bool units, uint32_t *ret)
{
	if (!isdigit((unsigned char)**p))
		return false;
	char *end;
	unsigned long long v = strtoull(*p, &end, 10);
	if (v > most)
		return false;
	if (units && (*end == 'k' || *end == 'm'))
		v <<= *end++ == 'k' ? 10 : 20;
	*p = end;
	*ret = (uint32_t)v;
	return v <= most;
}

static bool size(const char **p, uint32_t *ret)
{
	return number(p, SIZES_LARGEST, true, ret);
}

/* MIN[-MAX][:WEIGHT] */
static bool part(const char **p, struct sizes_part *ret)
{
	if (!size(p, &ret->min))
		return false;
	ret->max = ret->min;
	ret->weight = 1;
	if (**p == '-' && (++*p, !size(p, &ret->max)))
		return false;
	if (**p == ':' && (++*p, !number(p, SIZES_WEIGHT_MAX, false, &ret->weight)))
		return false;
	return ret->min <= ret->max && ret->weight > 0;
}

static void add(struct sizes *s, const struct sizes_part *p)
{
	if (s->parts == 0 || p->min < s->min)
		s->min = p->min;
	if (p->max > s->max)
		s->max = p->max;
	s->weight += p->weight;
	s->part[s->parts++] = *p;
}

int sizes_parse(struct sizes *s, const char *text)
{
	*s = (struct sizes){0};
	for (;;) {
		struct sizes_part p;
		if (s->parts == SIZES_PARTS_MAX || !part(&text, &p))
			return -1;
		add(s, &p);
		if (*text == '\0')
			return 0;
		if (*text++ != ',')
			return -1;
	}
}

uint32_t sizes_pick(const struct sizes *s, uint64_t random)
{
	const struct sizes_part *p = s->part;
	if (s->parts > 1) {
		uint32_t at = (uint32_t)(random % s->weight);
		for (; at >= p->weight; p++)
			at -= p->weight;
	}
	return p->min == p->max ? p->min
				: p->min + (uint32_t)(mix64(random) % (p->max - p->min + 1));
}
