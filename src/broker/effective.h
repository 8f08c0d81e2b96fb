/* SPDX-License-Identifier: Apache-2.0
 *
 * What a policy and an operator policy say together. Shared by all queues and exchanges of a vhost
 * to which the same two apply.
 *
 * Merged key by key: where both have one, the smaller number holds; of two ha-modes that which makes
 * more copies, with its ha-params; of other values the operator's.
 * How an object's own arguments compare with this is up to the reader, after RabbitMQ's rule: of two
 * numbers the smaller one holds, of other values the argument.
 */
#ifndef WARREN_BROKER_EFFECTIVE_H
#define WARREN_BROKER_EFFECTIVE_H

#include "src/amqp/table.h"
#include "src/base/list.h"

struct broker_policy;
struct broker_vhost;

/* ha-mode and ha-params, or the lack of them. */
enum broker_ha_mode { BROKER_HA_NONE, BROKER_HA_ALL, BROKER_HA_EXACTLY, BROKER_HA_NODES };

/* Read only for everyone outside src/broker. Stays as it is: when a policy changes, its objects get
 * another one. */
struct broker_effective {
	const struct broker_policy *policy;          /* NULL: only the operator's */
	const struct broker_policy *operator_policy; /* NULL: none */
	struct slice definition;                     /* owned: the merged table, without its length */

	enum broker_ha_mode ha_mode;
	uint32_t ha_count;     /* BROKER_HA_EXACTLY */
	struct slice ha_nodes; /* BROKER_HA_NODES: the array, inside definition */

	bool stale;       /* policy.c: one of the two is about to change */
	size_t refs;      /* queues and exchanges that have it */
	struct list link; /* in vhost.effectives */
};

/* It has an ha-mode. `e` may be NULL. */
static inline bool broker_effective_mirrors(const struct broker_effective *e)
{
	return e != NULL && e->ha_mode != BROKER_HA_NONE;
}

/* The value of a key; false if there is none. `e` may be NULL. */
bool broker_effective_get(
	const struct broker_effective *e, const char *key, struct amqp_value *ret);

/* ---- for policy.c only ---- */

/* That of the two policies, with one more reference; NULL if both are. */
struct broker_effective *broker_effective_of(struct broker_vhost *v,
	const struct broker_policy *policy, const struct broker_policy *operator_policy);
/* Gives a reference back; NULL is fine. */
void broker_effective_unref(struct broker_effective *e);

#endif
