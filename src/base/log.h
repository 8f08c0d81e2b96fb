/* SPDX-License-Identifier: Apache-2.0
 *
 * One structured line per event on stderr: time, level, category, text.
 *
 *   2026-11-29 10:43:14.123456+00:00 [info] <connection> accepting AMQP connection ...
 *
 * Any thread; a line is one write.
 */
#ifndef WARREN_BASE_LOG_H
#define WARREN_BASE_LOG_H

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR, LOG_NONE };

/* Lines below `level` are dropped (default LOG_INFO). */
void log_set_level(enum log_level level);

/* "debug", "info", "warning", "error", "none", and syslog's other names, which stand for the nearest of these that
 * shows no less; -1 if it is none of them. */
int log_level_of(const char *name);

/* Once, before there are other threads: if standard error is a file, that is remembered by its name. */
void log_begin(void);
/* The file's path; NULL if standard error is none. */
const char *log_file(void);
/* Opens the file anew, as after somebody has moved it away; lines go there from now on. 0, or -1 with errno, and they
 * go where they went. Without a file nothing is done. */
int log_reopen(void);

void log_line(enum log_level level, const char *category, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_debug(cat, ...) log_line(LOG_DEBUG, cat, __VA_ARGS__)
#define log_info(cat, ...) log_line(LOG_INFO, cat, __VA_ARGS__)
#define log_warning(cat, ...) log_line(LOG_WARNING, cat, __VA_ARGS__)
#define log_error(cat, ...) log_line(LOG_ERROR, cat, __VA_ARGS__)

#endif
