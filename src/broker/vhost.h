/* SPDX-License-Identifier: Apache-2.0
 *
 * A virtual host: the name space of exchanges and queues.
 */
#ifndef WARREN_BROKER_VHOST_H
#define WARREN_BROKER_VHOST_H

#include <uthash.h>

#include "src/base/bytes.h"
#include "src/broker/limit.h"
#include "src/broker/policy.h"
#include "src/broker/row.h"

struct broker;
struct broker_exchange;
struct broker_queue;

/* Read only for everyone outside src/broker. Stable while the vhost exists. */
struct broker_vhost {
	struct broker *broker;
	struct slice name;                        /* owned */
	struct slice description;                 /* owned */
	struct slice tags;                        /* owned; comma separated */
	struct slice default_queue_type;          /* owned; empty: classic */
	struct broker_exchange *default_exchange; /* "" */

	struct broker_exchange *exchanges; /* uthash by name, handle hh */
	struct broker_queue *queues;       /* uthash by name, handle hh */
	struct list permissions;           /* struct broker_permission.by_vhost */
	struct list topic_permissions;     /* struct broker_topic_permission.by_vhost */
	struct list parameters;            /* struct broker_parameter.link */
	struct list effectives;            /* struct broker_effective.link */
	struct broker_policy **policies[BROKER_POLICY_KINDS]; /* in the order they are tried in */
	size_t n_policies[BROKER_POLICY_KINDS];
	struct broker_vhost_limits limits;
	size_t n_exchanges, n_queues, n_bindings;

	struct broker_row row;
	UT_hash_handle hh; /* in broker.vhosts */
	UT_hash_handle hh_number;
};

/* The vhost with this name, or NULL. */
struct broker_vhost *broker_vhost_find(const struct broker *b, struct slice name);

/* for (struct broker_vhost *v = broker_vhost_first(b); v != NULL; v = broker_vhost_next(v)).
 * No command may be applied during an iteration; this holds for all iterations of src/broker. */
struct broker_vhost *broker_vhost_first(const struct broker *b);
struct broker_vhost *broker_vhost_next(const struct broker_vhost *v);

/* ---- for apply.c and rows.c only ---- */

/* A vhost with nothing but the default exchange, which is not a row of its own; the name must be
 * free. Strings are copied. Tells the watch. */
struct broker_vhost *broker_vhost_new(struct broker *b, uint64_t number, struct slice name,
	struct slice description, struct slice tags, struct slice default_queue_type);
void broker_vhost_set_metadata(struct broker_vhost *v, struct slice description, struct slice tags,
	struct slice default_queue_type);
void broker_vhost_set_limits(struct broker_vhost *v, const struct broker_vhost_limits *limits);
/* Creates the other exchanges that every vhost starts with: amq.direct and so on. */
void broker_vhost_populate(struct broker_vhost *v);
/* Removes it with everything in it, telling the watch. */
void broker_vhost_delete(struct broker_vhost *v);
struct broker_vhost *broker_vhost_by_number(const struct broker *b, uint64_t number);

#endif
