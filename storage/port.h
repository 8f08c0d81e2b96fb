/* SPDX-License-Identifier: Apache-2.0
 *
 * What the rest of the store may do with a port; the worker's functions are in storage/store.h.
 */
#ifndef WARREN_STORAGE_PORT_H
#define WARREN_STORAGE_PORT_H

#include "storage/handover.h"
#include "storage/store.h"

/* NULL for a port of memory logs only. */
static inline struct outbox *port_outbox(const struct store_port *port)
{
	return port->shared;
}

#endif
