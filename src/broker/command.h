/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands of the metadata group, as bytes.
 *
 *   command:  number:16 version:8 fields            little endian
 *   name:     length:16 bytes                       (more than BROKER_NAME_MAX is refused at apply)
 *   long:     length:32 bytes
 *   flags:    8 bits, the unused ones zero
 *
 * Each function appends one command to `out`; all slices are copied. Nothing is checked here but
 * that lengths fit their field: what is too long is cut to a length that apply refuses. A command
 * has no length of its own: whoever packs several into an entry frames them.
 *
 * What does not depend on the state is the caller's to check before: reserved names, CR and LF in
 * names, values of arguments, patterns, x-match.
 */
#ifndef WARREN_BROKER_COMMAND_H
#define WARREN_BROKER_COMMAND_H

#include "src/base/buf.h"
#include "src/broker/binding.h"
#include "src/broker/exchange.h"
#include "src/broker/queue.h"
#include "src/broker/user.h"

/* Numbers are never reused. The comments name the results beside OK, BAD_NAME and MALFORMED. */
enum broker_command {
	BROKER_ADD_VHOST = 1,         /* EXISTS */
	BROKER_DELETE_VHOST = 2,      /* NOT_FOUND */
	BROKER_ADD_USER = 3,          /* EXISTS */
	BROKER_DELETE_USER = 4,       /* NOT_FOUND */
	BROKER_CHANGE_PASSWORD = 5,   /* NOT_FOUND */
	BROKER_SET_TAGS = 6,          /* NOT_FOUND */
	BROKER_SET_PERMISSIONS = 7,   /* NOT_FOUND user or vhost; replaces */
	BROKER_CLEAR_PERMISSIONS = 8, /* NOT_FOUND user or vhost; OK if there were none */
	BROKER_DECLARE_EXCHANGE = 9,  /* EXISTS; NOT_FOUND vhost */
	BROKER_DELETE_EXCHANGE = 10,  /* NOT_FOUND vhost or exchange; IN_USE; REFUSED */
	BROKER_BIND = 11,             /* EXISTS; NOT_FOUND; REFUSED */
	BROKER_UNBIND = 12,           /* OK if there is none; NOT_FOUND as BIND; REFUSED */
	BROKER_DECLARE_QUEUE = 13,    /* EXISTS; NOT_FOUND vhost; STALE */
	BROKER_DELETE_QUEUE = 14,     /* NOT_FOUND */
	BROKER_SET_CLUSTER_NAME = 15,
	BROKER_NODE_UP = 16,     /* OK also if the incarnation is old news */
	BROKER_BEGIN_QUEUE = 17, /* NOT_FOUND; OK also if it has begun */
				 /* 18 and on: policies, parameters, limits, topic permissions */
};

void broker_put_add_vhost(struct buf *out, struct slice name, struct slice description,
	struct slice tags, struct slice default_queue_type);
void broker_put_delete_vhost(struct buf *out, struct slice name);

/* `hash` as broker_password_hash() makes it, or empty. */
void broker_put_add_user(struct buf *out, struct slice name, struct slice hash,
	enum broker_password_algorithm algorithm, struct slice tags);
void broker_put_delete_user(struct buf *out, struct slice name);
void broker_put_change_password(struct buf *out, struct slice name, struct slice hash,
	enum broker_password_algorithm algorithm);
void broker_put_set_tags(struct buf *out, struct slice name, struct slice tags);
void broker_put_set_permissions(struct buf *out, struct slice user, struct slice vhost,
	struct slice configure, struct slice write, struct slice read);
void broker_put_clear_permissions(struct buf *out, struct slice user, struct slice vhost);

void broker_put_declare_exchange(struct buf *out, struct slice vhost, struct slice name,
	const struct broker_exchange_spec *spec);
void broker_put_delete_exchange(
	struct buf *out, struct slice vhost, struct slice name, bool if_unused);

/* A binding by names. `arguments` is the table without its length. */
struct broker_binding_spec {
	struct slice vhost;
	struct slice source;
	enum broker_destination kind;
	struct slice destination;
	struct slice key;
	struct slice arguments;
};

void broker_put_bind(struct buf *out, const struct broker_binding_spec *spec);
void broker_put_unbind(struct buf *out, const struct broker_binding_spec *spec);

void broker_put_declare_queue(struct buf *out, struct slice vhost, struct slice name,
	const struct broker_queue_spec *spec);
/* By group, so that a late deletion never hits a new queue of the same name. */
void broker_put_delete_queue(struct buf *out, uint64_t group);
/* The queue's log exists and may be relied upon: see broker_queue.begun. By group, likewise. */
void broker_put_begin_queue(struct buf *out, uint64_t group);

void broker_put_set_cluster_name(struct buf *out, struct slice name);

/* A node has started with this incarnation: queues that died with its older ones are deleted
 * (exclusive ones of its connections, non-durable ones whose home it is). */
void broker_put_node_up(struct buf *out, uint64_t node, uint64_t incarnation);

/* The commands of a fresh cluster: vhost "/", user guest with the tag administrator and all
 * permissions in it. One call of `each` per command, in order; the bytes are valid during the
 * call. `hash` is guest's password hash (SHA-256). */
void broker_seed(struct slice hash, void (*each)(void *arg, struct slice command), void *arg);

#endif
