/* SPDX-License-Identifier: Apache-2.0
 *
 * Exchanges.
 */
#ifndef WARREN_BROKER_EXCHANGE_H
#define WARREN_BROKER_EXCHANGE_H

#include <uthash.h>

#include "src/base/bytes.h"
#include "src/broker/row.h"

struct broker;
struct broker_vhost;
struct broker_binding;
struct broker_matcher;
struct broker_effective;

/* In commands and on disk; never reused. */
enum broker_exchange_type {
	BROKER_EXCHANGE_DIRECT = 0,
	BROKER_EXCHANGE_FANOUT = 1,
	BROKER_EXCHANGE_TOPIC = 2,
	BROKER_EXCHANGE_HEADERS = 3,
	BROKER_EXCHANGE_TYPES
};

/* What a declaration says, beyond the name. `arguments` is the table without its length. */
struct broker_exchange_spec {
	enum broker_exchange_type type;
	bool durable;
	bool auto_delete;
	bool internal;
	struct slice arguments;
};

/* Read only for everyone outside src/broker. Stable while the exchange exists. */
struct broker_exchange {
	struct broker_vhost *vhost;
	struct slice name;                /* owned */
	struct broker_exchange_spec spec; /* arguments owned */
	struct broker_effective *effective; /* its policies; NULL: none applies */
	struct slice alternate; /* of the argument or else the policy, inside of it; empty: none */

	struct list destinations; /* bindings to here: struct broker_binding.by_destination */
	struct broker_binding *bindings; /* those from here, uthash by identity */
	struct broker_matcher *matcher;  /* the index that routes, of the type's own kind */

	uint64_t mark;      /* route.c: last visit */
	struct list doomed; /* apply: waits for its automatic deletion */
	struct broker_row row;
	UT_hash_handle hh; /* in vhost.exchanges */
	UT_hash_handle hh_number;
};

/* "direct", "fanout", ...; static. */
const char *broker_exchange_type_name(enum broker_exchange_type type);
/* False if there is no such type. */
bool broker_exchange_type_of(struct slice name, enum broker_exchange_type *ret);

/* The exchange with this name ("" is the default exchange), or NULL. */
struct broker_exchange *broker_exchange_find(const struct broker_vhost *v, struct slice name);

/* True for "" and those whose name starts with "amq." : clients may not delete them. */
bool broker_exchange_is_system(const struct broker_exchange *x);

struct broker_exchange *broker_exchange_first(const struct broker_vhost *v);
struct broker_exchange *broker_exchange_next(const struct broker_exchange *x);

/* ---- for apply.c and rows.c only ---- */

/* The name must be free. Everything is copied. Tells the watch. */
struct broker_exchange *broker_exchange_new(struct broker_vhost *v, uint64_t number,
	struct slice name, const struct broker_exchange_spec *spec);
/* Removes it and its bindings both ways; what loses its last binding waits in broker.doomed. */
void broker_exchange_delete(struct broker_exchange *x);
/* Its effective policy is this one; takes over the reference. */
void broker_exchange_set_effective(struct broker_exchange *x, struct broker_effective *e);
/* Deletes the auto-delete exchanges that have just lost their last binding. */
void broker_exchange_reap(struct broker *b);
struct broker_exchange *broker_exchange_by_number(const struct broker *b, uint64_t number);

#endif
