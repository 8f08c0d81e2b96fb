/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime parameters: values that other parts (shovels, federation, tools) keep in the metadata. The
 * broker does not look into them.
 */
#ifndef WARREN_BROKER_PARAMETER_H
#define WARREN_BROKER_PARAMETER_H

#include "src/base/bytes.h"
#include "src/base/list.h"
#include "src/broker/row.h"

struct broker;
struct broker_vhost;

/* Read only for everyone outside src/broker. Stable while the parameter exists. */
struct broker_parameter {
	struct broker *broker;
	struct broker_vhost *vhost; /* NULL: global */
	struct slice component;     /* owned; "shovel", "federation-upstream", ...; empty: global */
	struct slice name;          /* owned */
	struct slice value;         /* owned: JSON text */

	struct list link; /* in vhost.parameters or broker.parameters */
	struct broker_row row;
};

/* The parameter, or NULL. */
struct broker_parameter *broker_parameter_find(
	const struct broker_vhost *v, struct slice component, struct slice name);
struct broker_parameter *broker_parameter_find_global(const struct broker *b, struct slice name);

/* In the order in which they were first set. */
struct broker_parameter *broker_parameter_first(const struct broker_vhost *v);
struct broker_parameter *broker_parameter_first_global(const struct broker *b);
struct broker_parameter *broker_parameter_next(const struct broker_parameter *p);

/* ---- for apply*.c, rows*.c and vhost.c only ---- */

/* There must be none yet; v is NULL for a global one. Everything is copied. */
struct broker_parameter *broker_parameter_new(struct broker *b, struct broker_vhost *v,
	uint64_t number, struct slice component, struct slice name, struct slice value);
void broker_parameter_set(struct broker_parameter *p, struct slice value);
void broker_parameter_delete(struct broker_parameter *p);

#endif
