/* SPDX-License-Identifier: Apache-2.0
 *
 * Bindings from an exchange to a queue or another exchange. Identity is (source, destination and
 * its kind, key, arguments): the same again is the same binding. The implicit bindings of the
 * default exchange are not stored.
 */
#ifndef WARREN_BROKER_BINDING_H
#define WARREN_BROKER_BINDING_H

#include <uthash.h>

#include "src/base/bytes.h"
#include "src/broker/row.h"

struct broker;
struct broker_exchange;
struct broker_queue;
struct broker_headers_pattern;
struct broker_binding_set;

/* In commands and on disk; never reused. */
enum broker_destination { BROKER_TO_QUEUE = 0, BROKER_TO_EXCHANGE = 1 };

/* Read only for everyone outside src/broker. Stable while the binding exists. */
struct broker_binding {
	struct broker_exchange *source;
	enum broker_destination kind;
	struct broker_queue *queue;       /* kind BROKER_TO_QUEUE, else NULL */
	struct broker_exchange *exchange; /* kind BROKER_TO_EXCHANGE, else NULL */
	struct slice key;                 /* inside identity */
	struct slice arguments;           /* inside identity */
	struct slice identity;            /* owned: see binding.c */

	struct list by_destination; /* in queue.destinations or exchange.destinations */

	struct broker_binding_set *set;         /* match_*.c: where the matcher keeps it, ... */
	size_t slot;                            /* ... and at which place */
	struct broker_headers_pattern *pattern; /* match_headers.c */

	struct broker_row row;
	UT_hash_handle hh; /* in source.bindings */
};

/* The name of the destination. Borrowed from it. */
struct slice broker_binding_destination_name(const struct broker_binding *bi);

/* The binding with this identity, or NULL. `destination` is a struct broker_queue or
 * broker_exchange as kind says. */
struct broker_binding *broker_binding_find(const struct broker_exchange *source,
	enum broker_destination kind, const void *destination, struct slice key,
	struct slice arguments);

/* A binding's properties_key as in RabbitMQ's HTTP API is made by src/manage; these are the lists.
 */
struct broker_binding *broker_binding_first_from(const struct broker_exchange *x);
struct broker_binding *broker_binding_next_from(
	const struct broker_exchange *x, const struct broker_binding *bi);
struct broker_binding *broker_binding_first_to_queue(const struct broker_queue *q);
struct broker_binding *broker_binding_next_to_queue(
	const struct broker_queue *q, const struct broker_binding *bi);
struct broker_binding *broker_binding_first_to_exchange(const struct broker_exchange *x);
struct broker_binding *broker_binding_next_to_exchange(
	const struct broker_exchange *x, const struct broker_binding *bi);

/* False if x-match is there and none of all, any, all-with-x, any-with-x: the session refuses a
 * binding to a headers exchange then (406). */
bool broker_binding_check_headers(struct slice arguments);

/* ---- for apply.c and rows.c only ---- */

/* The identity must be free. Key and arguments are copied. */
struct broker_binding *broker_binding_new(struct broker_exchange *source, uint64_t number,
	enum broker_destination kind, void *destination, struct slice key, struct slice arguments);
/* Removes it; its source goes to broker.doomed if it is auto-delete and this was its last. */
void broker_binding_delete(struct broker_binding *bi);

#endif
