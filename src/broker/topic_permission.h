/* SPDX-License-Identifier: Apache-2.0
 *
 * Topic permissions: which routing keys a user may publish with to a topic exchange, and bind it by.
 * Where none is set for user, vhost and exchange, every key will do.
 */
#ifndef WARREN_BROKER_TOPIC_PERMISSION_H
#define WARREN_BROKER_TOPIC_PERMISSION_H

#include "src/base/bytes.h"
#include "src/base/list.h"
#include "src/broker/row.h"
#include "src/broker/user.h"

struct broker;
struct broker_exchange;
struct broker_vhost;

/* Indexes. */
enum { BROKER_TOPIC_WRITE = 0, BROKER_TOPIC_READ = 1, BROKER_TOPIC_RIGHTS };

/* Read only for everyone outside src/broker. Stable while the permission exists. */
struct broker_topic_permission {
	struct broker_user *user;
	struct broker_vhost *vhost;
	struct slice exchange;                     /* owned; the exchange need not exist */
	struct slice pattern[BROKER_TOPIC_RIGHTS]; /* owned; may have {username} and {vhost} in it */
	void *code[BROKER_TOPIC_RIGHTS];           /* compiled with these filled in; NULL: as
						    * struct broker_permission */

	struct list by_user;  /* in user.topic_permissions */
	struct list by_vhost; /* in vhost.topic_permissions */
	struct broker_row row;
};

/* The permission, or NULL. */
struct broker_topic_permission *broker_topic_permission_find(
	const struct broker_user *u, const struct broker_vhost *v, struct slice exchange);

/* May the user publish to (BROKER_WRITE) or bind (BROKER_READ) the exchange with this routing key?
 * True for exchanges of other types than topic. */
bool broker_may_topic(struct broker *b, const struct broker_user *u,
	const struct broker_exchange *x, enum broker_right right, struct slice key);

/* Of a user, and of a vhost, in the order in which they were first set. */
struct broker_topic_permission *broker_topic_permission_first_of_user(const struct broker_user *u);
struct broker_topic_permission *broker_topic_permission_next_of_user(
	const struct broker_user *u, const struct broker_topic_permission *p);
struct broker_topic_permission *broker_topic_permission_first_of_vhost(
	const struct broker_vhost *v);
struct broker_topic_permission *broker_topic_permission_next_of_vhost(
	const struct broker_vhost *v, const struct broker_topic_permission *p);

/* ---- for apply*.c, rows*.c and the entities only ---- */

/* There must be none yet. Everything is copied. */
struct broker_topic_permission *broker_topic_permission_new(
	struct broker_user *u, struct broker_vhost *v, uint64_t number, struct slice exchange);
void broker_topic_permission_set(
	struct broker_topic_permission *p, const struct slice pattern[BROKER_TOPIC_RIGHTS]);
void broker_topic_permission_delete(struct broker_topic_permission *p);

#endif
