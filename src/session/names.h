/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of exchanges and queues as clients may give them.
 */
#ifndef WARREN_SESSION_NAMES_H
#define WARREN_SESSION_NAMES_H

#include "src/base/bytes.h"

enum { NAME_MAX_OCTETS = 255 };

/* The name without CR and LF, as RabbitMQ reads it; in `room` if any had to go. */
struct slice name_clean(struct slice name, char room[NAME_MAX_OCTETS]);
/* Starts with "amq.": not for clients to make. */
bool name_is_reserved(struct slice name);
/* Writes prefix and 22 random characters; returns the name. */
struct slice name_generate(
	const char *prefix, uint32_t (*random)(void *arg), void *arg, char room[NAME_MAX_OCTETS]);

#endif
