/* SPDX-License-Identifier: Apache-2.0 */
#include "src/ctl/likeness.h"

#include <stdbool.h>
#include <string.h>

enum { WORD_MAX = 63 };

static int length(const char *word)
{
	return (int)strnlen(word, WORD_MAX);
}

/* Octets of `a` that `b` has, too, not more than `near` away: marks them in both. */
static int match(const char *a, const char *b, int near, bool *in_a, bool *in_b)
{
	int found = 0;
	for (int i = 0; i < length(a); i++)
		for (int k = i > near ? i - near : 0; k < length(b) && k <= i + near; k++)
			if (!in_b[k] && a[i] == b[k]) {
				in_a[i] = in_b[k] = true;
				found++;
				break;
			}
	return found;
}

/* Of those the ones that come in another order. */
static int misplaced(const char *a, const char *b, const bool *in_a, const bool *in_b)
{
	int n = 0, k = 0;
	for (int i = 0; i < length(a); i++) {
		if (!in_a[i])
			continue;
		while (!in_b[k])
			k++;
		n += a[i] != b[k++];
	}
	return n;
}

double likeness_of(const char *a, const char *b)
{
	bool in_a[WORD_MAX] = {false}, in_b[WORD_MAX] = {false};
	int longer = length(a) > length(b) ? length(a) : length(b);
	int near = longer / 2 > 0 ? longer / 2 - 1 : 0;
	double m = match(a, b, near, in_a, in_b);
	if (m == 0)
		return 0;
	double moved = misplaced(a, b, in_a, in_b) / 2.0;
	return (m / length(a) + m / length(b) + (m - moved) / m) / 3;
}
