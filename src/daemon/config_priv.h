/* SPDX-License-Identifier: Apache-2.0
 *
 * What the configuration's files know of each other: config.c (keys and their values), config_text.c (files,
 * lines and -s to keys and values).
 */
#ifndef WARREN_DAEMON_CONFIG_PRIV_H
#define WARREN_DAEMON_CONFIG_PRIV_H

#include "src/daemon/config.h"

/* A sentence for config.note. */
void config_say(struct config *c, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Gives a key a value; `where` is "FILE:LINE". 0, or -1 after saying what is wrong with the value. A key that is not
 * known, or has no effect, is said too, and is no fault. */
int config_set(struct config *c, const char *where, const char *key, const char *value);

#endif
