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
 * has no length of its own: whoever packs several into an entry frames them. From the first release on the
 * fields and the meaning of a command in a version are fixed, since logs hold it: a change is another version.
 *
 * What does not depend on the state is the caller's to check before: reserved names, CR and LF in
 * names, values of arguments, patterns, x-match.
 */
#ifndef WARREN_BROKER_COMMAND_H
#define WARREN_BROKER_COMMAND_H

#include "src/base/buf.h"
#include "src/broker/binding.h"
#include "src/broker/exchange.h"
#include "src/broker/limit.h"
#include "src/broker/node.h"
#include "src/broker/policy.h"
#include "src/broker/queue.h"
#include "src/broker/topic_permission.h"
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
	BROKER_DECLARE_QUEUE = 13,    /* EXISTS; NOT_FOUND vhost; STALE; LIMIT */
	BROKER_DELETE_QUEUE = 14,     /* NOT_FOUND */
	BROKER_SET_CLUSTER_NAME = 15,
	BROKER_NODE_UP = 16, /* OK also if the incarnation is old news; NOT_FOUND node: it is not in
			      * the table, which is not empty; NAME_TAKEN */
	BROKER_BEGIN_QUEUE = 17, /* NOT_FOUND; OK also if it has begun */
	BROKER_SET_POLICY = 18,         /* NOT_FOUND vhost; replaces */
	BROKER_CLEAR_POLICY = 19,       /* NOT_FOUND vhost or policy */
	BROKER_SET_PARAMETER = 20,      /* NOT_FOUND vhost; replaces */
	BROKER_CLEAR_PARAMETER = 21,    /* NOT_FOUND vhost or parameter */
	BROKER_SET_VHOST_LIMITS = 22,   /* NOT_FOUND */
	BROKER_SET_USER_LIMITS = 23,    /* NOT_FOUND */
	BROKER_SET_TOPIC_PERMISSIONS = 24,   /* NOT_FOUND user or vhost; replaces */
	BROKER_CLEAR_TOPIC_PERMISSIONS = 25, /* NOT_FOUND user or vhost; OK if there were none */
	BROKER_SET_VHOST_METADATA = 26, /* NOT_FOUND */
	BROKER_JOIN_NODE = 27,          /* EXISTS; NAME_TAKEN; FULL; REFUSED: the table is empty */
	BROKER_FORGET_NODE = 28,        /* NOT_FOUND; RUNNING; LAST_DISC */
	BROKER_NODE_DOWN = 29,          /* OK also if it is old news; NOT_FOUND */
	BROKER_SET_NODE_TYPE = 30,      /* NOT_FOUND; RUNNING; LAST_DISC; UNCHANGED */
	BROKER_MEMBER_PROMOTED = 31,    /* NOT_FOUND queue or member; OK also if it votes already */
	BROKER_MEMBER_GONE = 32,        /* NOT_FOUND queue or member; REFUSED: it is not leaving, or a
					 * newer leader may have promoted it */
	BROKER_REPLACE_MEMBERS = 33,    /* NOT_FOUND; RUNNING */
	BROKER_SET_DRAINED = 34,        /* NOT_FOUND */
	/* Of several queues; refused, as the first that is, if none of them changes. */
	BROKER_PREFER_LEADERS = 35, /* NOT_FOUND queue or member; REFUSED: it does not vote */
	BROKER_ADD_MEMBERS = 36,    /* NOT_FOUND node or queue; OK also if one is there; REFUSED: no
				     * quorum queue, an exclusive one, or one that could not vote there;
				     * FULL */
	BROKER_DELETE_MEMBERS = 37, /* NOT_FOUND node or queue; OK also if none is there; REFUSED: no
				     * quorum queue; LAST_MEMBER */
	BROKER_MEMBER_CHOSEN = 38, /* NOT_FOUND queue or member; REFUSED: it is leaving, never votes, there
				    * is a newer leader, or a lost member is not out of the group */
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

/* ---- nodes ---- */

/* A node has started with this incarnation: what died with its older ones goes (exclusive queues of
 * its connections, its members in memory, queues that had no others). Into an empty table it puts
 * the node as the first one, a disc node. Name and address replace what was known. */
void broker_put_node_up(struct buf *out, uint64_t node, uint64_t incarnation, struct slice name,
	struct slice address);
/* This incarnation of the node is over, or has to be taken for it: the same goes, but nothing if
 * a newer one is known. Of two voters on two nodes the one goes on whose node is up, while the other's is down; none
 * on one of the `n` nodes `absent`, of which is not known now whether they are there. May be told again when that is known. */
enum { BROKER_ALL_ABSENT = UINT16_MAX }; /* as n: nothing is known of any */
void broker_put_node_down(
	struct buf *out, uint64_t node, uint64_t incarnation, const uint64_t *absent, uint16_t n);
/* Takes a node in. It counts as down until its NODE_UP. */
void broker_put_join_node(struct buf *out, uint64_t node, struct slice name, struct slice address,
	enum broker_node_type type);
/* It is no member of the cluster any more, and neither of any queue. Durable queues that had no
 * voting member elsewhere are deleted, but for those whose lost member has an heir (member.h). */
void broker_put_forget_node(struct buf *out, uint64_t node);
void broker_put_set_node_type(struct buf *out, uint64_t node, enum broker_node_type type);

/* ---- members of queues (src/broker/member.h) ---- */

/* By the leader of the queue's group in a term: it is about to promote a joining member; that has become
 * a voter; a leaving one is out of the group, and `by` is the leader's own member, which is there. */
void broker_put_member_chosen(struct buf *out, uint64_t group, uint64_t member, uint64_t term);
void broker_put_member_promoted(struct buf *out, uint64_t group, uint64_t member);
void broker_put_member_gone(
	struct buf *out, uint64_t group, uint64_t member, uint64_t term, uint64_t by);
/* By the leader of group 0, when a node has been down for long: queues that want a number of members
 * get others in place of those on that node, if there are nodes for them. */
void broker_put_replace_members(struct buf *out, uint64_t node);

/* The node is in maintenance from now on: queues are to be led elsewhere; or not any more, which its
 * next NODE_UP says as well. */
void broker_put_set_drained(struct buf *out, uint64_t node, bool drained);

/* The leader of a queue is best at this member. */
struct broker_preference {
	uint64_t group, member;
};

void broker_put_prefer_leaders(struct buf *out, const struct broker_preference *p, size_t n);
/* By an operator's hand: quorum queues get a member on the node, or lose theirs. */
void broker_put_add_members(struct buf *out, uint64_t node, const uint64_t *groups, size_t n);
void broker_put_delete_members(struct buf *out, uint64_t node, const uint64_t *groups, size_t n);

/* ---- policies, parameters, limits ---- */

void broker_put_set_policy(struct buf *out, struct slice vhost, struct slice name,
	enum broker_policy_kind kind, const struct broker_policy_spec *spec);
void broker_put_clear_policy(
	struct buf *out, struct slice vhost, struct slice name, enum broker_policy_kind kind);

/* With vhost and component empty: a global one. `value` is JSON text; it is not looked into. */
void broker_put_set_parameter(struct buf *out, struct slice vhost, struct slice component,
	struct slice name, struct slice value);
void broker_put_clear_parameter(
	struct buf *out, struct slice vhost, struct slice component, struct slice name);

/* Each is a number, BROKER_LIMIT_NONE to clear it, or BROKER_LIMIT_KEEP. */
void broker_put_set_vhost_limits(
	struct buf *out, struct slice vhost, const struct broker_vhost_limits *limits);
void broker_put_set_user_limits(
	struct buf *out, struct slice user, const struct broker_user_limits *limits);

void broker_put_set_topic_permissions(struct buf *out, struct slice user, struct slice vhost,
	struct slice exchange, struct slice write, struct slice read);
/* With `exchange` empty: those for all exchanges of the vhost. */
void broker_put_clear_topic_permissions(
	struct buf *out, struct slice user, struct slice vhost, struct slice exchange);

void broker_put_set_vhost_metadata(struct buf *out, struct slice vhost, struct slice description,
	struct slice tags, struct slice default_queue_type);

/* The commands of a fresh cluster: vhost "/", user guest with the tag administrator and all
 * permissions in it. One call of `each` per command, in order; the bytes are valid during the
 * call. `hash` is guest's password hash (SHA-256). */
void broker_seed(struct slice hash, void (*each)(void *arg, struct slice command), void *arg);

#endif
