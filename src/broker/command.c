/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/command.h"

#include "src/broker/codec.h"

/* Of the formats below. A command whose fields change gets the next one. */
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

void broker_put_node_up(struct buf *out, uint64_t node, uint64_t incarnation)
{
	begin(out, BROKER_NODE_UP);
	buf_put_u64le(out, node);
	buf_put_u64le(out, incarnation);
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
