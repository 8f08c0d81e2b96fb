/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes of a cluster as JSON between nodes: ids are text, for JSON's numbers are too small.
 */
#ifndef WARREN_MANAGE_MEMBERS_H
#define WARREN_MANAGE_MEMBERS_H

#include <jansson.h>

#include "src/cluster/membership.h"

enum { MEMBER_ID_MAX = 17 };

/* 16 hexadecimal digits; returns `text`. */
const char *member_id_put(char text[MEMBER_ID_MAX], uint64_t id);
bool member_id_get(const char *text, uint64_t *ret);
/* { "cluster_id", "nodes": [{ "id", "name", "address", "type" }] } of a member, for a node of the type.
 * False, with *ret empty, if that is not what it is. */
bool members_get(const json_t *members, enum broker_node_type type, struct membership *ret);
/* Of cluster_join: this node wants to be let in, as one of the type; with `check` only to know whether it would be. A
 * new reference. */
json_t *members_join_args(uint64_t id, const char *name, const char *address, enum broker_node_type type, bool check);

#endif
