/* SPDX-License-Identifier: Apache-2.0
 *
 * Is a declaration the same as what exists? With RabbitMQ's texts for when it is not.
 */
#ifndef WARREN_BROKER_EQUIVALENT_H
#define WARREN_BROKER_EQUIVALENT_H

#include "src/base/bytes.h"
#include "src/broker/exchange.h"
#include "src/broker/queue.h"

/* True if the declaration is equivalent. Otherwise `text` (cap > 0 octets with the NUL, cut if too
 * long) gets the explanation of the 406:
 *
 *   inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'
 *
 * Compared are durable and auto_delete, then the arguments known to RabbitMQ, in its order; x-args
 * that it does not know are ignored; a missing x-queue-type is classic. Exclusiveness is not
 * compared: that is a 405 and the session's to see from spec.exclusive and spec.owner. */
bool broker_queue_equivalent(const struct broker_queue *q, const struct broker_queue_spec *declared,
	char *text, size_t cap);

/* Compared are type, durable, auto_delete, internal, alternate-exchange. */
bool broker_exchange_equivalent(const struct broker_exchange *x,
	const struct broker_exchange_spec *declared, char *text, size_t cap);

#endif
