/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LINE_MAX = 2048, LOG_FILE_MODE = 0640 };

static _Atomic int log_lowest = LOG_INFO;
static const char *const log_names[] = {"debug", "info", "warning", "error", "none"};
static char log_path[PATH_MAX]; /* "": no file */

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_lowest, (int)level, memory_order_relaxed);
}

int log_level_of(const char *name)
{
	for (int i = LOG_DEBUG; i <= LOG_NONE; i++)
		if (strcmp(name, log_names[i]) == 0)
			return i;
	if (strcmp(name, "notice") == 0)
		return LOG_INFO;
	if (strcmp(name, "critical") == 0 || strcmp(name, "alert") == 0 ||
		strcmp(name, "emergency") == 0)
		return LOG_ERROR;
	return -1;
}

void log_begin(void)
{
	struct stat st;
	if (fstat(STDERR_FILENO, &st) != 0 || !S_ISREG(st.st_mode))
		return;
	ssize_t n = readlink("/proc/self/fd/2", log_path, sizeof log_path - 1);
	log_path[n > 0 && st.st_nlink > 0 ? n : 0] = '\0';
}

const char *log_file(void)
{
	return log_path[0] != '\0' ? log_path : NULL;
}

/* dup2() puts the new file in the old one's place in one step: no line is lost in between. */
int log_reopen(void)
{
	if (log_file() == NULL)
		return 0;
	int fd = open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, LOG_FILE_MODE);
	if (fd < 0)
		return -1;
	int rc = dup2(fd, STDERR_FILENO);
	int err = errno;
	close(fd);
	errno = err;
	return rc < 0 ? -1 : 0;
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
