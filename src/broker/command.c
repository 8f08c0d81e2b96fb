/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/command.h"

#include "src/broker/codec.h"

/* Of the formats below. A command whose fields or effects change gets the next one. */
#define VERSION 1

static void begin(struct buf *out, enum broker_command number)
{
	buf_put_u16le(out, (uint16_t)number);
	buf_put_u8(out, VERSION);
}

void broker_put_add_vhost(struct buf *out, struct slice name, struct slice description,
	struct slice tags, struct slice default_queue_type)
{
	begin(out, BROKER_ADD_VHOST);
	broker_put_name(out, name);
	broker_put_long(out, description);
	broker_put_long(out, tags);
	broker_put_name(out, default_queue_type);
}

void broker_put_delete_vhost(struct buf *out, struct slice name)
{
	begin(out, BROKER_DELETE_VHOST);
	broker_put_name(out, name);
}

void broker_put_add_user(struct buf *out, struct slice name, struct slice hash,
	enum broker_password_algorithm algorithm, struct slice tags)
{
	begin(out, BROKER_ADD_USER);
	broker_put_name(out, name);
	broker_put_long(out, hash);
	buf_put_u8(out, (uint8_t)algorithm);
	broker_put_long(out, tags);
}

void broker_put_delete_user(struct buf *out, struct slice name)
{
	begin(out, BROKER_DELETE_USER);
	broker_put_name(out, name);
}

void broker_put_change_password(struct buf *out, struct slice name, struct slice hash,
	enum broker_password_algorithm algorithm)
{
	begin(out, BROKER_CHANGE_PASSWORD);
	broker_put_name(out, name);
	broker_put_long(out, hash);
	buf_put_u8(out, (uint8_t)algorithm);
}

void broker_put_set_tags(struct buf *out, struct slice name, struct slice tags)
{
	begin(out, BROKER_SET_TAGS);
	broker_put_name(out, name);
	broker_put_long(out, tags);
}

void broker_put_set_permissions(struct buf *out, struct slice user, struct slice vhost,
	struct slice configure, struct slice write, struct slice read)
{
	begin(out, BROKER_SET_PERMISSIONS);
	broker_put_name(out, user);
	broker_put_name(out, vhost);
	broker_put_long(out, configure);
	broker_put_long(out, write);
	broker_put_long(out, read);
}

void broker_put_clear_permissions(struct buf *out, struct slice user, struct slice vhost)
{
	begin(out, BROKER_CLEAR_PERMISSIONS);
	broker_put_name(out, user);
	broker_put_name(out, vhost);
}

void broker_put_declare_exchange(struct buf *out, struct slice vhost, struct slice name,
	const struct broker_exchange_spec *spec)
{
	begin(out, BROKER_DECLARE_EXCHANGE);
	broker_put_name(out, vhost);
	broker_put_name(out, name);
	broker_put_exchange_spec(out, spec);
}

void broker_put_delete_exchange(
	struct buf *out, struct slice vhost, struct slice name, bool if_unused)
{
	begin(out, BROKER_DELETE_EXCHANGE);
	broker_put_name(out, vhost);
	broker_put_name(out, name);
	buf_put_u8(out, if_unused);
}

static void put_binding(struct buf *out, const struct broker_binding_spec *spec)
{
	broker_put_name(out, spec->vhost);
	broker_put_name(out, spec->source);
	buf_put_u8(out, (uint8_t)spec->kind);
	broker_put_name(out, spec->destination);
	broker_put_name(out, spec->key);
	broker_put_long(out, spec->arguments);
}

void broker_put_bind(struct buf *out, const struct broker_binding_spec *spec)
{
	begin(out, BROKER_BIND);
	put_binding(out, spec);
}

void broker_put_unbind(struct buf *out, const struct broker_binding_spec *spec)
{
	begin(out, BROKER_UNBIND);
	put_binding(out, spec);
}

void broker_put_declare_queue(struct buf *out, struct slice vhost, struct slice name,
	const struct broker_queue_spec *spec)
{
	begin(out, BROKER_DECLARE_QUEUE);
	broker_put_name(out, vhost);
	broker_put_name(out, name);
	broker_put_queue_spec(out, spec);
}

void broker_put_delete_queue(struct buf *out, uint64_t group)
{
	begin(out, BROKER_DELETE_QUEUE);
	buf_put_u64le(out, group);
}

void broker_put_begin_queue(struct buf *out, uint64_t group)
{
	begin(out, BROKER_BEGIN_QUEUE);
	buf_put_u64le(out, group);
}

void broker_put_set_cluster_name(struct buf *out, struct slice name)
{
	begin(out, BROKER_SET_CLUSTER_NAME);
	broker_put_name(out, name);
}

void broker_put_node_up(struct buf *out, uint64_t node, uint64_t incarnation, struct slice name,
	struct slice address)
{
	begin(out, BROKER_NODE_UP);
	buf_put_u64le(out, node);
	buf_put_u64le(out, incarnation);
	broker_put_name(out, name);
	broker_put_name(out, address);
}

void broker_put_node_down(
	struct buf *out, uint64_t node, uint64_t incarnation, const uint64_t *absent, uint16_t n)
{
	begin(out, BROKER_NODE_DOWN);
	buf_put_u64le(out, node);
	buf_put_u64le(out, incarnation);
	buf_put_u16le(out, n);
	for (unsigned i = 0; n != BROKER_ALL_ABSENT && i < n; i++)
		buf_put_u64le(out, absent[i]);
}

void broker_put_join_node(struct buf *out, uint64_t node, struct slice name, struct slice address,
	enum broker_node_type type)
{
	begin(out, BROKER_JOIN_NODE);
	buf_put_u64le(out, node);
	broker_put_name(out, name);
	broker_put_name(out, address);
	buf_put_u8(out, (uint8_t)type);
}

void broker_put_forget_node(struct buf *out, uint64_t node)
{
	begin(out, BROKER_FORGET_NODE);
	buf_put_u64le(out, node);
}

void broker_put_set_node_type(struct buf *out, uint64_t node, enum broker_node_type type)
{
	begin(out, BROKER_SET_NODE_TYPE);
	buf_put_u64le(out, node);
	buf_put_u8(out, (uint8_t)type);
}

void broker_put_member_chosen(struct buf *out, uint64_t group, uint64_t member, uint64_t term)
{
	begin(out, BROKER_MEMBER_CHOSEN);
	buf_put_u64le(out, group);
	buf_put_u64le(out, member);
	buf_put_u64le(out, term);
}

void broker_put_member_promoted(struct buf *out, uint64_t group, uint64_t member)
{
	begin(out, BROKER_MEMBER_PROMOTED);
	buf_put_u64le(out, group);
	buf_put_u64le(out, member);
}

void broker_put_member_gone(
	struct buf *out, uint64_t group, uint64_t member, uint64_t term, uint64_t by)
{
	begin(out, BROKER_MEMBER_GONE);
	buf_put_u64le(out, group);
	buf_put_u64le(out, member);
	buf_put_u64le(out, term);
	buf_put_u64le(out, by);
}

void broker_put_replace_members(struct buf *out, uint64_t node)
{
	begin(out, BROKER_REPLACE_MEMBERS);
	buf_put_u64le(out, node);
}

void broker_put_set_drained(struct buf *out, uint64_t node, bool drained)
{
	begin(out, BROKER_SET_DRAINED);
	buf_put_u64le(out, node);
	buf_put_u8(out, drained);
}

void broker_put_prefer_leaders(struct buf *out, const struct broker_preference *p, size_t n)
{
	begin(out, BROKER_PREFER_LEADERS);
	buf_put_u32le(out, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		buf_put_u64le(out, p[i].group);
		buf_put_u64le(out, p[i].member);
	}
}

static void put_member_queues(struct buf *out, uint64_t node, const uint64_t *groups, size_t n)
{
	buf_put_u64le(out, node);
	buf_put_u32le(out, (uint32_t)n);
	for (size_t i = 0; i < n; i++)
		buf_put_u64le(out, groups[i]);
}

void broker_put_add_members(struct buf *out, uint64_t node, const uint64_t *groups, size_t n)
{
	begin(out, BROKER_ADD_MEMBERS);
	put_member_queues(out, node, groups, n);
}

void broker_put_delete_members(struct buf *out, uint64_t node, const uint64_t *groups, size_t n)
{
	begin(out, BROKER_DELETE_MEMBERS);
	put_member_queues(out, node, groups, n);
}

void broker_put_set_policy(struct buf *out, struct slice vhost, struct slice name,
	enum broker_policy_kind kind, const struct broker_policy_spec *spec)
{
	begin(out, BROKER_SET_POLICY);
	broker_put_name(out, vhost);
	broker_put_name(out, name);
	buf_put_u8(out, (uint8_t)kind);
	broker_put_policy_spec(out, spec);
}

void broker_put_clear_policy(
	struct buf *out, struct slice vhost, struct slice name, enum broker_policy_kind kind)
{
	begin(out, BROKER_CLEAR_POLICY);
	broker_put_name(out, vhost);
	broker_put_name(out, name);
	buf_put_u8(out, (uint8_t)kind);
}

void broker_put_set_parameter(struct buf *out, struct slice vhost, struct slice component,
	struct slice name, struct slice value)
{
	begin(out, BROKER_SET_PARAMETER);
	broker_put_name(out, vhost);
	broker_put_name(out, component);
	broker_put_name(out, name);
	broker_put_long(out, value);
}

void broker_put_clear_parameter(
	struct buf *out, struct slice vhost, struct slice component, struct slice name)
{
	begin(out, BROKER_CLEAR_PARAMETER);
	broker_put_name(out, vhost);
	broker_put_name(out, component);
	broker_put_name(out, name);
}

void broker_put_set_vhost_limits(
	struct buf *out, struct slice vhost, const struct broker_vhost_limits *limits)
{
	begin(out, BROKER_SET_VHOST_LIMITS);
	broker_put_name(out, vhost);
	buf_put_u64le(out, (uint64_t)limits->max_connections);
	buf_put_u64le(out, (uint64_t)limits->max_queues);
}

void broker_put_set_user_limits(
	struct buf *out, struct slice user, const struct broker_user_limits *limits)
{
	begin(out, BROKER_SET_USER_LIMITS);
	broker_put_name(out, user);
	buf_put_u64le(out, (uint64_t)limits->max_connections);
	buf_put_u64le(out, (uint64_t)limits->max_channels);
}

void broker_put_set_topic_permissions(struct buf *out, struct slice user, struct slice vhost,
	struct slice exchange, struct slice write, struct slice read)
{
	begin(out, BROKER_SET_TOPIC_PERMISSIONS);
	broker_put_name(out, user);
	broker_put_name(out, vhost);
	broker_put_name(out, exchange);
	broker_put_long(out, write);
	broker_put_long(out, read);
}

void broker_put_clear_topic_permissions(
	struct buf *out, struct slice user, struct slice vhost, struct slice exchange)
{
	begin(out, BROKER_CLEAR_TOPIC_PERMISSIONS);
	broker_put_name(out, user);
	broker_put_name(out, vhost);
	broker_put_name(out, exchange);
}

void broker_put_set_vhost_metadata(struct buf *out, struct slice vhost, struct slice description,
	struct slice tags, struct slice default_queue_type)
{
	begin(out, BROKER_SET_VHOST_METADATA);
	broker_put_name(out, vhost);
	broker_put_long(out, description);
	broker_put_long(out, tags);
	broker_put_name(out, default_queue_type);
}

static void flush(struct buf *command, void (*each)(void *arg, struct slice command), void *arg)
{
	each(arg, buf_slice(command));
	buf_clear(command);
}

void broker_seed(struct slice hash, void (*each)(void *arg, struct slice command), void *arg)
{
	const struct slice vhost = slice_str("/"), user = slice_str("guest");
	const struct slice all = slice_str(".*"), none = slice_make("", 0);
	struct buf command = BUF_EMPTY;
	broker_put_add_vhost(&command, vhost, slice_str("Default virtual host"), none, none);
	flush(&command, each, arg);
	broker_put_add_user(
		&command, user, hash, BROKER_PASSWORD_SHA256, slice_str("administrator"));
	flush(&command, each, arg);
	broker_put_set_permissions(&command, user, vhost, all, all, all);
	flush(&command, each, arg);
	buf_done(&command);
}
