/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/user.h"

#include "src/broker/broker.h"
#include "src/broker/hash.h"
#include "src/broker/pattern.h"

struct broker_user *broker_user_find(const struct broker *b, struct slice name)
{
	struct broker_user *u;
	HASH_FIND(hh, b->users, name.p, (unsigned)name.n, u);
	return u;
}

struct broker_user *broker_user_by_number(const struct broker *b, uint64_t number)
{
	struct broker_user *u;
	HASH_FIND(hh_number, b->users_by_number, &number, sizeof number, u);
	return u;
}

static struct slice trim(struct slice s)
{
	while (s.n > 0 && s.p[0] == ' ')
		s = slice_make(s.p + 1, s.n - 1);
	while (s.n > 0 && s.p[s.n - 1] == ' ')
		s.n--;
	return s;
}

bool broker_user_has_tag(const struct broker_user *u, const char *tag)
{
	struct slice rest = u->tags;
	while (rest.n > 0) {
		const uint8_t *comma = memchr(rest.p, ',', rest.n);
		size_t n = comma == NULL ? rest.n : (size_t)(comma - rest.p);
		if (slice_is(trim(slice_make(rest.p, n)), tag))
			return true;
		n += comma != NULL;
		rest = slice_make(rest.p + n, rest.n - n);
	}
	return false;
}

struct broker_user *broker_user_first(const struct broker *b)
{
	return b->users;
}

struct broker_user *broker_user_next(const struct broker_user *u)
{
	return u->hh.next;
}

struct broker_user *broker_user_new(struct broker *b, uint64_t number, struct slice name,
	struct slice hash, enum broker_password_algorithm algorithm, struct slice tags)
{
	struct broker_user *u = MEM_NEW(struct broker_user);
	u->broker = b;
	u->name = broker_own(name);
	u->hash = broker_own(hash);
	u->algorithm = algorithm;
	u->tags = broker_own(tags);
	u->limits = (struct broker_user_limits){BROKER_LIMIT_NONE, BROKER_LIMIT_NONE};
	list_init(&u->topic_permissions);
	broker_row_init(b, &u->row, BROKER_ROW_USER, number);
	HASH_ADD_KEYPTR(hh, b->users, u->name.p, (unsigned)u->name.n, u);
	HASH_ADD(hh_number, b->users_by_number, row.number, sizeof number, u);
	b->n_users++;
	b->auth_version++;
	return u;
}

static void changed(struct broker_user *u)
{
	u->broker->auth_version++;
	broker_row_touch(u->broker, &u->row);
}

void broker_user_set_password(
	struct broker_user *u, struct slice hash, enum broker_password_algorithm algorithm)
{
	broker_disown(&u->hash);
	u->hash = broker_own(hash);
	u->algorithm = algorithm;
	changed(u);
}

void broker_user_set_tags(struct broker_user *u, struct slice tags)
{
	broker_disown(&u->tags);
	u->tags = broker_own(tags);
	changed(u);
}

void broker_user_set_limits(struct broker_user *u, const struct broker_user_limits *limits)
{
	u->limits = *limits;
	changed(u);
}

void broker_user_delete(struct broker_user *u)
{
	struct broker *b = u->broker;
	while (u->permissions != NULL)
		broker_permission_delete(u->permissions);
	while (!list_empty(&u->topic_permissions))
		broker_topic_permission_delete(LIST_ENTRY(u->topic_permissions.next,
			struct broker_topic_permission, by_user));
	HASH_DELETE(hh, b->users, u);
	HASH_DELETE(hh_number, b->users_by_number, u);
	b->n_users--;
	b->auth_version++;
	broker_row_gone(b, &u->row);
	if (b->watch.user_deleted != NULL)
		b->watch.user_deleted(b->watch.arg, u);
	broker_disown(&u->name);
	broker_disown(&u->hash);
	broker_disown(&u->tags);
	mem_free(u);
}

struct broker_permission *broker_permission_find(
	const struct broker_user *u, const struct broker_vhost *v)
{
	struct broker_permission *p;
	HASH_FIND_PTR(u->permissions, &v, p);
	return p;
}

struct broker_permission *broker_permission_first_of_user(const struct broker_user *u)
{
	return u->permissions;
}

struct broker_permission *broker_permission_next_of_user(const struct broker_permission *p)
{
	return p->hh.next;
}

static struct broker_permission *at(const struct list *head, struct list *node)
{
	return node == head ? NULL : LIST_ENTRY(node, struct broker_permission, by_vhost);
}

struct broker_permission *broker_permission_first_of_vhost(const struct broker_vhost *v)
{
	return at(&v->permissions, v->permissions.next);
}

struct broker_permission *broker_permission_next_of_vhost(
	const struct broker_vhost *v, const struct broker_permission *p)
{
	return at(&v->permissions, p->by_vhost.next);
}

struct broker_permission *broker_permission_new(
	struct broker_user *u, struct broker_vhost *v, uint64_t number)
{
	struct broker_permission *p = MEM_NEW(struct broker_permission);
	p->user = u;
	p->vhost = v;
	for (int i = 0; i < BROKER_RIGHTS; i++)
		p->pattern[i] = broker_own(slice_make(NULL, 0));
	broker_row_init(u->broker, &p->row, BROKER_ROW_PERMISSION, number);
	HASH_ADD_PTR(u->permissions, vhost, p);
	list_push_back(&v->permissions, &p->by_vhost);
	u->broker->auth_version++;
	return p;
}

static void set_pattern(struct broker_permission *p, int right, struct slice pattern)
{
	broker_disown(&p->pattern[right]);
	broker_pattern_free(p->code[right]);
	p->pattern[right] = broker_own(pattern);
	p->code[right] = pattern.n == 0 ? NULL : broker_pattern_compile(pattern);
}

void broker_permission_set(struct broker_permission *p, const struct slice pattern[BROKER_RIGHTS])
{
	for (int i = 0; i < BROKER_RIGHTS; i++)
		set_pattern(p, i, pattern[i]);
	p->user->broker->auth_version++;
	broker_row_touch(p->user->broker, &p->row);
}

void broker_permission_delete(struct broker_permission *p)
{
	struct broker *b = p->user->broker;
	HASH_DEL(p->user->permissions, p);
	list_remove(&p->by_vhost);
	b->auth_version++;
	broker_row_gone(b, &p->row);
	for (int i = 0; i < BROKER_RIGHTS; i++) {
		broker_disown(&p->pattern[i]);
		broker_pattern_free(p->code[i]);
	}
	mem_free(p);
}

bool broker_may(struct broker *b, const struct broker_user *u, const struct broker_vhost *v,
	enum broker_right right, struct slice name)
{
	const struct broker_permission *p =
		u != NULL && v != NULL ? broker_permission_find(u, v) : NULL;
	if (p == NULL || (unsigned)right >= BROKER_RIGHTS)
		return false;
	if (p->pattern[right].n == 0)
		return name.n == 0;
	return broker_pattern_matches(b, p->code[right], name);
}
