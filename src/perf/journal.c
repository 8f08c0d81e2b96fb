/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/journal.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "src/base/mem.h"

void journal_done(struct journal *j)
{
	for (unsigned i = 0; i < j->kept_n; i++)
		mem_free(j->kept[i]);
	*j = (struct journal){0};
}

static bool is_error(enum journal_kind kind)
{
	return kind != JOURNAL_BLOCKED && kind != JOURNAL_RECONNECTED;
}

void journal_note(struct journal *j, enum journal_kind kind, const char *fmt, ...)
{
	uint64_t n = ++j->count[kind];
	if (n > JOURNAL_SHOWN)
		return;
	char line[512];
	va_list args;
	va_start(args, fmt);
	vsnprintf(line, sizeof line, fmt, args);
	va_end(args);
	fprintf(stderr, "warren-perf: %s%s\n", line,
		n == JOURNAL_SHOWN && kind != JOURNAL_FAILED ? " (and no more of these)" : "");
	if (is_error(kind) && j->kept_n < JOURNAL_KEPT)
		j->kept[j->kept_n++] = mem_strdup(line);
}
