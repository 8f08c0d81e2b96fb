/* SPDX-License-Identifier: Apache-2.0
 *
 * Policies and operator policies: properties for all queues and exchanges whose names match a
 * pattern, at once and until the policy is cleared.
 *
 * Of each kind at most one applies to an object: among those that match, the one with the highest
 * priority, and of equal ones that whose name sorts first (RabbitMQ leaves that open). A pattern is
 * a regular expression that may match anywhere in the name. A policy with a key that a type of queue
 * cannot have is not for queues of that type (as in RabbitMQ, where ha-mode is no matter of quorum
 * queues); unlike there, classic queues have delivery-limit, dead-letter-strategy and
 * queue-leader-locator, too.
 *
 * What is in a definition has been checked by whoever proposed it: see policy_check.h. Here, any
 * table is taken, and a value of the wrong kind counts as not there.
 */
#ifndef WARREN_BROKER_POLICY_H
#define WARREN_BROKER_POLICY_H

#include "src/base/bytes.h"
#include "src/broker/row.h"

struct broker;
struct broker_vhost;
struct broker_queue;
struct broker_exchange;

/* In commands and rows; never reused. Also indexes. */
enum broker_policy_kind { BROKER_POLICY_USER = 0, BROKER_POLICY_OPERATOR = 1, BROKER_POLICY_KINDS };

/* In commands and rows; never reused. */
enum broker_apply_to {
	BROKER_APPLY_TO_ALL = 0,
	BROKER_APPLY_TO_QUEUES = 1,
	BROKER_APPLY_TO_EXCHANGES = 2,
	BROKER_APPLY_TO_CLASSIC_QUEUES = 3,
	BROKER_APPLY_TO_QUORUM_QUEUES = 4,
	BROKER_APPLY_TO_STREAMS = 5,
	BROKER_APPLY_TO_VALUES
};

/* What SET_POLICY says, beyond the name. `definition` is a table without its length. */
struct broker_policy_spec {
	struct slice pattern;
	enum broker_apply_to apply_to;
	int64_t priority;
	struct slice definition;
};

/* Read only for everyone outside src/broker. Stable while the policy exists. */
struct broker_policy {
	struct broker_vhost *vhost;
	enum broker_policy_kind kind;
	struct slice name;              /* owned */
	struct broker_policy_spec spec; /* slices owned */
	void *code;                     /* the pattern, compiled; NULL: matches nothing */
	uint8_t unfit;                  /* types of queues it is not for: 1 << enum broker_queue_type */
	struct broker_row row;
};

/* The policy with this name, or NULL. */
struct broker_policy *broker_policy_find(
	const struct broker_vhost *v, enum broker_policy_kind kind, struct slice name);
/* The i-th of a vhost in the order in which they are tried; NULL past the last. */
struct broker_policy *broker_policy_at(
	const struct broker_vhost *v, enum broker_policy_kind kind, size_t i);
/* Does it match the object, whether or not another one comes before it? */
bool broker_policy_fits_queue(const struct broker_policy *p, const struct broker_queue *q);
bool broker_policy_fits_exchange(const struct broker_policy *p, const struct broker_exchange *x);

/* "all", "queues", "exchanges", "classic_queues", "quorum_queues", "streams"; static. */
const char *broker_apply_to_name(enum broker_apply_to a);
/* False if there is no such word. */
bool broker_apply_to_of(struct slice name, enum broker_apply_to *ret);

/* ---- for apply*.c, rows*.c and the entities only ---- */

/* There must be none of this name and kind. Everything is copied. */
struct broker_policy *broker_policy_new(struct broker_vhost *v, uint64_t number,
	enum broker_policy_kind kind, struct slice name, const struct broker_policy_spec *spec);
/* Replaces what it says; the watch is told of the queues that are concerned. */
void broker_policy_set(struct broker_policy *p, const struct broker_policy_spec *spec);
void broker_policy_delete(struct broker_policy *p);
/* Gives a new object its effective policy. */
void broker_policy_enter_queue(struct broker_queue *q);
void broker_policy_enter_exchange(struct broker_exchange *x);

#endif
