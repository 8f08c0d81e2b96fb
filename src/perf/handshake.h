/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client says while it opens a connection (AMQP 0-9-1 section 2.2.4): the answers to
 * connection.start and connection.tune. Pure; appends frames to a buffer.
 */
#ifndef WARREN_PERF_HANDSHAKE_H
#define WARREN_PERF_HANDSHAKE_H

#include "src/amqp/method.h"
#include "src/base/buf.h"
#include "src/perf/uri.h"

/* What was agreed on. */
struct handshake_terms {
	uint32_t frame_max; /* of either side's frames */
	uint32_t channel_max;
	unsigned heartbeat_s;
};

void handshake_greet(struct buf *out);

/* Answers connection.start with the login of `u` (PLAIN); `name` is for the broker's listings. */
void handshake_login(struct buf *out, const struct uri *u, const char *name);

/* Answers connection.tune and opens the vhost. `wanted` has the wishes in it (heartbeat_s UINT_MAX:
 * what the broker says; channel_max is needed, not wished for) and becomes what was agreed on.
 * False if the broker allows too few channels. */
bool handshake_tune(struct buf *out, const struct uri *u, const struct amqp_connection_tune *m,
	struct handshake_terms *wanted);

#endif
