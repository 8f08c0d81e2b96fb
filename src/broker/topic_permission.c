/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/topic_permission.h"

#include "src/base/buf.h"
#include "src/broker/broker.h"
#include "src/broker/hash.h"
#include "src/broker/pattern.h"

static struct broker_topic_permission *of_user(const struct list *head, struct list *node)
{
	return node == head ? NULL : LIST_ENTRY(node, struct broker_topic_permission, by_user);
}

static struct broker_topic_permission *of_vhost(const struct list *head, struct list *node)
{
	return node == head ? NULL : LIST_ENTRY(node, struct broker_topic_permission, by_vhost);
}

struct broker_topic_permission *broker_topic_permission_first_of_user(const struct broker_user *u)
{
	return of_user(&u->topic_permissions, u->topic_permissions.next);
}

struct broker_topic_permission *broker_topic_permission_next_of_user(
	const struct broker_user *u, const struct broker_topic_permission *p)
{
	return of_user(&u->topic_permissions, p->by_user.next);
}

struct broker_topic_permission *broker_topic_permission_first_of_vhost(
	const struct broker_vhost *v)
{
	return of_vhost(&v->topic_permissions, v->topic_permissions.next);
}

struct broker_topic_permission *broker_topic_permission_next_of_vhost(
	const struct broker_vhost *v, const struct broker_topic_permission *p)
{
	return of_vhost(&v->topic_permissions, p->by_vhost.next);
}

struct broker_topic_permission *broker_topic_permission_find(
	const struct broker_user *u, const struct broker_vhost *v, struct slice exchange)
{
	struct broker_topic_permission *p = broker_topic_permission_first_of_user(u);
	while (p != NULL && !(p->vhost == v && slice_eq(p->exchange, exchange)))
		p = broker_topic_permission_next_of_user(u, p);
	return p;
}

struct broker_topic_permission *broker_topic_permission_new(
	struct broker_user *u, struct broker_vhost *v, uint64_t number, struct slice exchange)
{
	struct broker_topic_permission *p = MEM_NEW(struct broker_topic_permission);
	p->user = u;
	p->vhost = v;
	p->exchange = broker_own(exchange);
	for (int i = 0; i < BROKER_TOPIC_RIGHTS; i++)
		p->pattern[i] = broker_own(slice_make(NULL, 0));
	broker_row_init(u->broker, &p->row, BROKER_ROW_TOPIC_PERMISSION, number);
	list_push_back(&u->topic_permissions, &p->by_user);
	list_push_back(&v->topic_permissions, &p->by_vhost);
	u->broker->auth_version++;
	return p;
}

static bool starts_with(struct slice s, const char *word)
{
	size_t n = strlen(word);
	return s.n >= n && memcmp(s.p, word, n) == 0;
}

/* User and vhost are what the permission is for, so their names can be filled in once and for all.
 * They are not quoted: RabbitMQ does not, either. */
static void *compile(const struct broker_topic_permission *p, struct slice pattern)
{
	struct buf b = BUF_EMPTY;
	while (pattern.n > 0) {
		size_t n = 1;
		if (starts_with(pattern, "{username}")) {
			n = strlen("{username}");
			buf_put_slice(&b, p->user->name);
		} else if (starts_with(pattern, "{vhost}")) {
			n = strlen("{vhost}");
			buf_put_slice(&b, p->vhost->name);
		} else {
			buf_put_u8(&b, pattern.p[0]);
		}
		pattern = slice_make(pattern.p + n, pattern.n - n);
	}
	void *code = broker_pattern_compile(buf_slice(&b));
	buf_done(&b);
	return code;
}

void broker_topic_permission_set(
	struct broker_topic_permission *p, const struct slice pattern[BROKER_TOPIC_RIGHTS])
{
	for (int i = 0; i < BROKER_TOPIC_RIGHTS; i++) {
		broker_disown(&p->pattern[i]);
		broker_pattern_free(p->code[i]);
		p->pattern[i] = broker_own(pattern[i]);
		p->code[i] = pattern[i].n == 0 ? NULL : compile(p, pattern[i]);
	}
	p->user->broker->auth_version++;
	broker_row_touch(p->user->broker, &p->row);
}

void broker_topic_permission_delete(struct broker_topic_permission *p)
{
	struct broker *b = p->user->broker;
	list_remove(&p->by_user);
	list_remove(&p->by_vhost);
	b->auth_version++;
	broker_row_gone(b, &p->row);
	broker_disown(&p->exchange);
	for (int i = 0; i < BROKER_TOPIC_RIGHTS; i++) {
		broker_disown(&p->pattern[i]);
		broker_pattern_free(p->code[i]);
	}
	mem_free(p);
}

bool broker_may_topic(struct broker *b, const struct broker_user *u,
	const struct broker_exchange *x, enum broker_right right, struct slice key)
{
	if (x->spec.type != BROKER_EXCHANGE_TOPIC)
		return true;
	if (u == NULL)
		return false;
	const struct broker_topic_permission *p =
		broker_topic_permission_find(u, x->vhost, x->name);
	int i = right == BROKER_WRITE ? BROKER_TOPIC_WRITE : BROKER_TOPIC_READ;
	if (p == NULL)
		return true;
	if (p->pattern[i].n == 0)
		return key.n == 0;
	return broker_pattern_matches(b, p->code[i], key);
}
