/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LINE_MAX = 2048 };

static _Atomic int log_lowest = LOG_INFO;
static const char *const log_names[] = {"debug", "info", "warning", "error", "none"};

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_lowest, (int)level, memory_order_relaxed);
}

int log_level_of(const char *name)
{
	for (int i = LOG_DEBUG; i <= LOG_NONE; i++)
		if (strcmp(name, log_names[i]) == 0)
			return i;
	return -1;
}

/* Control characters in what peers sent must not forge lines. */
static void log_clean(char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			s[i] = ' ';
}

void log_line(enum log_level level, const char *category, const char *fmt, ...)
{
	if ((int)level < atomic_load_explicit(&log_lowest, memory_order_relaxed))
		return;
	char line[LOG_LINE_MAX];
	struct timespec ts;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	size_t n = strftime(line, sizeof line, "%Y-%m-%d %H:%M:%S", &tm);
	n += (size_t)snprintf(line + n, sizeof line - n, ".%06ld+00:00 [%s] <%s> ",
		ts.tv_nsec / 1000, log_names[level], category);
	va_list ap;
	va_start(ap, fmt);
	int m = vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
	va_end(ap);
	if (m < 0)
		return;
	size_t room = sizeof line - n - 2;
	size_t text = (size_t)m < room ? (size_t)m : room;
	log_clean(line + n, text);
	n += text;
	line[n++] = '\n';
	ssize_t ignored = write(STDERR_FILENO, line, n);
	(void)ignored;
}
