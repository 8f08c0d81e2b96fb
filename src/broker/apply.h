/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files that apply commands (apply.c, apply_settings.c, apply_cluster.c) share. Inside this
 * folder only.
 */
#ifndef WARREN_BROKER_APPLY_H
#define WARREN_BROKER_APPLY_H

#include "src/base/bytes.h"
#include "src/broker/broker.h"

/* False, with the result filled in. */
bool apply_refuse(struct broker_result *ret, enum broker_code code, enum broker_resource resource);
/* All of the command has been read and it was well formed; else refuses. */
bool apply_decoded(const struct reader *r, struct broker_result *ret);
/* A name that something new shall have; else refuses. */
bool apply_name_ok(struct slice name, struct broker_result *ret, enum broker_resource resource);
/* NULL if there is none, which is refused. */
struct broker_vhost *apply_vhost(struct broker *b, struct slice name, struct broker_result *ret);
struct broker_user *apply_user(struct broker *b, struct slice name, struct broker_result *ret);
/* Would have been deleted by a NODE_UP or NODE_DOWN that came first. */
bool apply_is_over(const struct broker *b, const struct broker_queue_spec *s);

/* One per command: reads its fields, checks, changes. */
#define APPLY(name) void name(struct broker *b, struct reader *r, struct broker_result *ret)

/* apply_settings.c */
APPLY(apply_set_policy);
APPLY(apply_clear_policy);
APPLY(apply_set_parameter);
APPLY(apply_clear_parameter);
APPLY(apply_set_vhost_limits);
APPLY(apply_set_user_limits);
APPLY(apply_set_topic_permissions);
APPLY(apply_clear_topic_permissions);
APPLY(apply_set_vhost_metadata);

/* apply_cluster.c */
APPLY(apply_node_up);
APPLY(apply_node_down);
APPLY(apply_join_node);
APPLY(apply_forget_node);
APPLY(apply_set_node_type);
APPLY(apply_member_chosen);
APPLY(apply_member_promoted);
APPLY(apply_member_gone);
APPLY(apply_replace_members);
APPLY(apply_set_drained);
APPLY(apply_prefer_leaders);
APPLY(apply_add_members);
APPLY(apply_delete_members);

#endif
