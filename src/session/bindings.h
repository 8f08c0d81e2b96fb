/* SPDX-License-Identifier: Apache-2.0
 *
 * Binding and unbinding, the same for queue.bind and exchange.bind.
 */
#ifndef WARREN_SESSION_BINDINGS_H
#define WARREN_SESSION_BINDINGS_H

#include "src/broker/command.h"
#include "src/session/channel.h"

struct bindings_change {
	uint32_t method;
	uint32_t answer; /* method id of the ...-ok */
	bool nowait;
	bool remove;
	struct broker_binding_spec spec; /* vhost is filled in */
};

/* Checks names, rights (write on the destination, read on the source) and arguments, then proposes
 * it; answers when done. */
void bindings_change(struct channel *ch, const struct bindings_change *change);

#endif
