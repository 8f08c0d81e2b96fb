/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's side of the store: what was submitted and not yet handed over, and what came back.
 */
#include "storage/port.h"

#include <assert.h>

#include "storage/lmdb_store.h"

void store_port_init(struct store_port *port, struct store *store, void (*wake)(void *arg), void *arg)
{
	list_init(&port->submitted);
	list_init(&port->completed);
	port->store = store;
	port->shared = store != NULL ? outbox_new(&store->inbox) : NULL;
	port->wake = wake;
	port->arg = arg;
}

void store_port_done(struct store_port *port)
{
	store_port_flush(port); /* releases and closes that nobody waits for */
	assert(list_empty(&port->submitted));
	assert(list_empty(&port->completed));
	outbox_free(port_outbox(port));
	port->shared = NULL;
}

void store_port_flush(struct store_port *port)
{
	struct outbox *out = port_outbox(port);
	if (out == NULL || list_empty(&port->submitted))
		return;
	out->flushes++;
	inbox_put(out->inbox, &port->submitted);
}

void store_port_write(struct store_port *port)
{
	struct outbox *out = port_outbox(port);
	if (out != NULL && writer_write_lone(&port->store->writer, port))
		out->flushes++;
	else
		store_port_flush(port);
}

unsigned store_port_poll(struct store_port *port)
{
	/* `done` may submit, and memory logs complete at once: what is completed from here on waits
	 * for the next call, or two groups talking to each other would keep the worker here. */
	struct list ready;
	list_init(&ready);
	if (port->shared != NULL)
		outbox_take(port_outbox(port), &ready);
	list_move_all(&ready, &port->completed);
	unsigned n = 0;
	for (struct list *node; (node = list_pop(&ready)) != NULL; n++) {
		struct store_req *req = LIST_ENTRY(node, struct store_req, link);
		req->done(req);
	}
	return n;
}

bool store_port_ready(const struct store_port *port)
{
	const struct outbox *out = port->shared;
	return !list_empty(&port->completed) ||
		(out != NULL && atomic_load_explicit(&out->ready, memory_order_relaxed));
}
