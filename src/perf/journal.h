/* SPDX-License-Identifier: Apache-2.0
 *
 * What happened that a user should know of: lines on stderr as they come, the first few kept for
 * the summary, repetitions of a kind cut after some. One thread.
 */
#ifndef WARREN_PERF_JOURNAL_H
#define WARREN_PERF_JOURNAL_H

#include <stdint.h>

enum { JOURNAL_KEPT = 10, JOURNAL_SHOWN = 5 };

enum journal_kind {
	JOURNAL_LOST,        /* connections lost, or closed by the broker */
	JOURNAL_CHANNEL,     /* channels closed by the broker */
	JOURNAL_CANCEL,      /* consumers cancelled by the broker */
	JOURNAL_RETURN,      /* messages returned */
	JOURNAL_BLOCKED,     /* connections blocked */
	JOURNAL_RECONNECTED, /* connections that came back */
	JOURNAL_FAILED,      /* why the run failed */
	JOURNAL_KINDS,
};

struct journal {
	uint64_t count[JOURNAL_KINDS];
	char *kept[JOURNAL_KEPT]; /* the first lines of kinds that are errors */
	unsigned kept_n;
};

void journal_done(struct journal *j);

/* Counts it; prints and keeps it unless there were many of its kind. */
void journal_note(struct journal *j, enum journal_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
