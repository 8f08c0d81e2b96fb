/* SPDX-License-Identifier: Apache-2.0
 *
 * Users and what they may do in each vhost.
 *
 * Permissions are three PCRE2 patterns, unanchored, over bytes. The empty pattern matches only the
 * empty name. A pattern that does not compile matches nothing: whether it compiles may depend on
 * the library of a node, so it must not decide what is in the state. Check patterns with
 * broker_pattern_check() before making a command of them.
 */
#ifndef WARREN_BROKER_USER_H
#define WARREN_BROKER_USER_H

#include <uthash.h>

#include "src/base/bytes.h"
#include "src/broker/limit.h"
#include "src/broker/password.h"
#include "src/broker/row.h"

struct broker;
struct broker_vhost;
struct broker_permission;

/* Read only for everyone outside src/broker. Stable while the user exists. */
struct broker_user {
	struct broker *broker;
	struct slice name; /* owned */
	struct slice hash; /* owned; base64; empty: no login by password */
	enum broker_password_algorithm algorithm;
	struct slice tags; /* owned; comma separated: "administrator,monitoring" */
	struct broker_permission *permissions; /* uthash by vhost */
	struct list topic_permissions;         /* struct broker_topic_permission.by_user */
	struct broker_user_limits limits;

	struct broker_row row;
	UT_hash_handle hh; /* in broker.users */
	UT_hash_handle hh_number;
};

/* The bits are used as indexes into the arrays of struct broker_permission. */
enum broker_right { BROKER_CONFIGURE = 0, BROKER_WRITE = 1, BROKER_READ = 2, BROKER_RIGHTS };

struct broker_permission {
	struct broker_user *user;
	struct broker_vhost *vhost;
	struct slice pattern[BROKER_RIGHTS]; /* owned */
	void *code[BROKER_RIGHTS];           /* compiled; NULL: matches nothing, or pattern empty */

	struct list by_vhost; /* in vhost.permissions */
	struct broker_row row;
	UT_hash_handle hh; /* in user.permissions, key: vhost */
};

/* The user with this name, or NULL. */
struct broker_user *broker_user_find(const struct broker *b, struct slice name);
bool broker_user_has_tag(const struct broker_user *u, const char *tag);

/* The user's permissions in the vhost, or NULL: then it may not even open it. */
struct broker_permission *broker_permission_find(
	const struct broker_user *u, const struct broker_vhost *v);

/* May the user do this with the exchange or queue of this name? False if user or vhost is NULL or
 * there is no permission. For the default exchange RabbitMQ asks with the name "amq.default": so
 * must the caller. A pattern that takes too long to match counts as no. */
bool broker_may(struct broker *b, const struct broker_user *u, const struct broker_vhost *v,
	enum broker_right right, struct slice name);

/* True if the pattern compiles; otherwise `text` (cap > 0 octets with the NUL) says why not. */
bool broker_pattern_check(struct slice pattern, char *text, size_t cap);

/* In any order, the same until a user comes or goes; NULL at the end. */
struct broker_user *broker_user_first(const struct broker *b);
struct broker_user *broker_user_next(const struct broker_user *u);
/* Of a user, and of a vhost. */
struct broker_permission *broker_permission_first_of_user(const struct broker_user *u);
struct broker_permission *broker_permission_next_of_user(const struct broker_permission *p);
struct broker_permission *broker_permission_first_of_vhost(const struct broker_vhost *v);
struct broker_permission *broker_permission_next_of_vhost(
	const struct broker_vhost *v, const struct broker_permission *p);

/* ---- for apply.c and rows.c only ---- */

/* The name is new, and not empty; slices are copied. The row is touched by each of these. */
struct broker_user *broker_user_new(struct broker *b, uint64_t number, struct slice name,
	struct slice hash, enum broker_password_algorithm algorithm, struct slice tags);
void broker_user_set_password(
	struct broker_user *u, struct slice hash, enum broker_password_algorithm algorithm);
void broker_user_set_tags(struct broker_user *u, struct slice tags);
void broker_user_set_limits(struct broker_user *u, const struct broker_user_limits *limits);
/* With its permissions. */
void broker_user_delete(struct broker_user *u);
struct broker_user *broker_user_by_number(const struct broker *b, uint64_t number);

/* There must be none yet for the two. */
struct broker_permission *broker_permission_new(
	struct broker_user *u, struct broker_vhost *v, uint64_t number);
void broker_permission_set(struct broker_permission *p, const struct slice pattern[BROKER_RIGHTS]);
void broker_permission_delete(struct broker_permission *p);

#endif
