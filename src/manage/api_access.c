/* SPDX-License-Identifier: Apache-2.0
 *
 * Virtual hosts, users and permissions.
 */
#include <sys/random.h>

#include "src/broker/command.h"
#include "src/manage/api.h"
#include "src/manage/json.h"

enum { WHY_MAX = 256 };

/* A text argument; json_unpack() writes its two fields. */
struct text {
	const char *p;
	size_t n;
};

static struct slice text_slice(const struct text *t)
{
	return slice_make(t->p, t->n);
}

/* ---- vhosts ---- */

static void list_vhosts(struct api_call *c)
{
	struct broker *b = api_broker(c);
	json_t *rows = json_array();
	for (struct broker_vhost *v = broker_vhost_first(b); v != NULL; v = broker_vhost_next(v)) {
		json_t *row = json_pack("{sosososbso}", "name", json_of_slice(v->name),
			"description", json_of_slice(v->description), "tags", json_of_tags(v->tags),
			"tracing", 0, "default_queue_type", json_of_slice(v->default_queue_type));
		json_object_set_new(row, "cluster_state",
			json_pack("{ss}", api_node(c)->name, "running"));
		json_array_append_new(rows, row);
	}
	api_ok(c, rows);
}

static void on_vhost_added(struct api_call *c, const struct broker_result *r)
{
	if (r->code == BROKER_OK || r->code == BROKER_EXISTS)
		api_ok(c, json_boolean(r->code == BROKER_OK));
	else
		api_fail(c, API_BAD_REQUEST, "a virtual host's name has 1 to %d octets",
			BROKER_NAME_MAX);
}

static void add_vhost(struct api_call *c)
{
	struct text name, description = {"", 0}, tags = {"", 0}, type = {"", 0};
	struct buf b = BUF_EMPTY;
	if (!api_args(c, "{ss%s?s%s?s%s?s%}", "name", &name.p, &name.n, "description",
		    &description.p, &description.n, "tags", &tags.p, &tags.n,
		    "default_queue_type", &type.p, &type.n) ||
		!api_queue_type(c, text_slice(&type)))
		return;
	broker_put_add_vhost(&b, text_slice(&name), text_slice(&description), text_slice(&tags),
		text_slice(&type));
	api_propose(c, &b, on_vhost_added);
}

static void on_vhost_deleted(struct api_call *c, const struct broker_result *r)
{
	if (r->code == BROKER_OK)
		api_ok(c, NULL);
	else
		api_fail(c, API_NOT_FOUND, "Virtual host '%s' does not exist",
			json_string_value(json_object_get(c->args, "name")));
}

static void delete_vhost(struct api_call *c)
{
	struct text name;
	struct buf b = BUF_EMPTY;
	if (!api_args(c, "{ss%}", "name", &name.p, &name.n))
		return;
	broker_put_delete_vhost(&b, text_slice(&name));
	api_propose(c, &b, on_vhost_deleted);
}

/* ---- users ---- */

static void list_users(struct api_call *c)
{
	struct broker *b = api_broker(c);
	json_t *rows = json_array();
	for (struct broker_user *u = broker_user_first(b); u != NULL; u = broker_user_next(u))
		json_array_append_new(rows, json_pack("{soso}", "user", json_of_slice(u->name),
						    "tags", json_of_tags(u->tags)));
	api_ok(c, rows);
}

static size_t hash_of(char hash[BROKER_PASSWORD_HASH_MAX], struct slice password)
{
	uint8_t salt[BROKER_SALT_SIZE] = {0};
	ssize_t ignored = getrandom(salt, sizeof salt, 0);
	(void)ignored;
	return broker_password_hash(hash, BROKER_PASSWORD_SHA256, salt, password);
}

static const char *user_of(struct api_call *c)
{
	return json_string_value(json_object_get(c->args, "user"));
}

static void on_user_added(struct api_call *c, const struct broker_result *r)
{
	if (r->code == BROKER_OK)
		api_ok(c, NULL);
	else if (r->code == BROKER_EXISTS)
		api_fail(c, API_EXISTS, "User \"%s\" already exists", user_of(c));
	else
		api_fail(c, API_BAD_REQUEST, "a user's name has 1 to %d octets", BROKER_NAME_MAX);
}

static void add_user(struct api_call *c)
{
	struct text user, password, tags = {"", 0};
	char hash[BROKER_PASSWORD_HASH_MAX];
	struct buf b = BUF_EMPTY;
	if (!api_args(c, "{ss%ss%s?s%}", "user", &user.p, &user.n, "password", &password.p,
		    &password.n, "tags", &tags.p, &tags.n))
		return;
	size_t n = hash_of(hash, text_slice(&password));
	broker_put_add_user(&b, text_slice(&user), slice_make(hash, n), BROKER_PASSWORD_SHA256,
		text_slice(&tags));
	api_propose(c, &b, on_user_added);
}

/* Of commands that need the user to be there. */
static void on_user_changed(struct api_call *c, const struct broker_result *r)
{
	if (r->code == BROKER_OK)
		api_ok(c, NULL);
	else if (r->resource == BROKER_VHOST)
		api_fail(c, API_NOT_FOUND, "Virtual host '%s' does not exist",
			json_string_value(json_object_get(c->args, "vhost")));
	else
		api_fail(c, API_NOT_FOUND, "User \"%s\" does not exist", user_of(c));
}

static void delete_user(struct api_call *c)
{
	struct text user;
	struct buf b = BUF_EMPTY;
	if (!api_args(c, "{ss%}", "user", &user.p, &user.n))
		return;
	broker_put_delete_user(&b, text_slice(&user));
	api_propose(c, &b, on_user_changed);
}

static void change_password(struct api_call *c)
{
	struct text user, password;
	char hash[BROKER_PASSWORD_HASH_MAX];
	struct buf b = BUF_EMPTY;
	if (!api_args(c, "{ss%ss%}", "user", &user.p, &user.n, "password", &password.p,
		    &password.n))
		return;
	size_t n = hash_of(hash, text_slice(&password));
	broker_put_change_password(
		&b, text_slice(&user), slice_make(hash, n), BROKER_PASSWORD_SHA256);
	api_propose(c, &b, on_user_changed);
}

static void clear_password(struct api_call *c)
{
	struct text user;
	struct buf b = BUF_EMPTY;
	if (!api_args(c, "{ss%}", "user", &user.p, &user.n))
		return;
	broker_put_change_password(
		&b, text_slice(&user), slice_make(NULL, 0), BROKER_PASSWORD_SHA256);
	api_propose(c, &b, on_user_changed);
}

static void set_user_tags(struct api_call *c)
{
	struct text user, tags;
	struct buf b = BUF_EMPTY;
	if (!api_args(c, "{ss%ss%}", "user", &user.p, &user.n, "tags", &tags.p, &tags.n))
		return;
	broker_put_set_tags(&b, text_slice(&user), text_slice(&tags));
	api_propose(c, &b, on_user_changed);
}

static void authenticate_user(struct api_call *c)
{
	struct text user, password;
	if (!api_args(c, "{ss%ss%}", "user", &user.p, &user.n, "password", &password.p,
		    &password.n))
		return;
	struct broker_user *u = broker_user_find(api_broker(c), text_slice(&user));
	if (u != NULL && broker_password_check(u->hash, u->algorithm, text_slice(&password)))
		api_ok(c, NULL);
	else
		api_fail(c, API_REFUSED,
			"Error: failed to authenticate user \"%s\"\nuser '%s' - invalid "
			"credentials",
			user.p, user.p);
}

/* ---- permissions ---- */

static json_t *permission_row(const struct broker_permission *p, const char *of, json_t *name)
{
	return json_pack("{sosososo}", of, name, "configure",
		json_of_slice(p->pattern[BROKER_CONFIGURE]), "write",
		json_of_slice(p->pattern[BROKER_WRITE]), "read",
		json_of_slice(p->pattern[BROKER_READ]));
}

static void list_permissions(struct api_call *c)
{
	struct broker_vhost *v = api_vhost(c);
	if (v == NULL)
		return;
	json_t *rows = json_array();
	for (struct broker_permission *p = broker_permission_first_of_vhost(v); p != NULL;
		p = broker_permission_next_of_vhost(v, p))
		json_array_append_new(
			rows, permission_row(p, "user", json_of_slice(p->user->name)));
	api_ok(c, rows);
}

static void list_user_permissions(struct api_call *c)
{
	struct text user;
	if (!api_args(c, "{ss%}", "user", &user.p, &user.n))
		return;
	struct broker_user *u = broker_user_find(api_broker(c), text_slice(&user));
	if (u == NULL) {
		api_fail(c, API_NOT_FOUND, "User \"%s\" does not exist", user.p);
		return;
	}
	json_t *rows = json_array();
	for (struct broker_permission *p = broker_permission_first_of_user(u); p != NULL;
		p = broker_permission_next_of_user(p))
		json_array_append_new(
			rows, permission_row(p, "vhost", json_of_slice(p->vhost->name)));
	api_ok(c, rows);
}

static bool pattern_fits(struct api_call *c, const struct text *pattern)
{
	char why[WHY_MAX];
	if (broker_pattern_check(text_slice(pattern), why, sizeof why))
		return true;
	api_fail(c, API_BAD_REQUEST, "Invalid regular expression \"%s\": %s", pattern->p, why);
	return false;
}

static void set_permissions(struct api_call *c)
{
	struct text user, vhost = {"/", 1}, configure, write, read;
	struct buf b = BUF_EMPTY;
	if (!api_args(c, "{ss%s?s%ss%ss%ss%}", "user", &user.p, &user.n, "vhost", &vhost.p,
		    &vhost.n, "configure", &configure.p, &configure.n, "write", &write.p,
		    &write.n, "read", &read.p, &read.n))
		return;
	if (!pattern_fits(c, &configure) || !pattern_fits(c, &write) || !pattern_fits(c, &read))
		return;
	broker_put_set_permissions(&b, text_slice(&user), text_slice(&vhost),
		text_slice(&configure), text_slice(&write), text_slice(&read));
	api_propose(c, &b, on_user_changed);
}

static void clear_permissions(struct api_call *c)
{
	struct text user, vhost = {"/", 1};
	struct buf b = BUF_EMPTY;
	if (!api_args(c, "{ss%s?s%}", "user", &user.p, &user.n, "vhost", &vhost.p, &vhost.n))
		return;
	broker_put_clear_permissions(&b, text_slice(&user), text_slice(&vhost));
	api_propose(c, &b, on_user_changed);
}

const struct api_verb api_access_verbs[] = {
	{"list_vhosts", list_vhosts, false},
	{"add_vhost", add_vhost, false},
	{"delete_vhost", delete_vhost, false},
	{"list_users", list_users, false},
	{"add_user", add_user, false},
	{"delete_user", delete_user, false},
	{"change_password", change_password, false},
	{"clear_password", clear_password, false},
	{"set_user_tags", set_user_tags, false},
	{"authenticate_user", authenticate_user, false},
	{"list_permissions", list_permissions, false},
	{"list_user_permissions", list_user_permissions, false},
	{"set_permissions", set_permissions, false},
	{"clear_permissions", clear_permissions, false},
	{NULL, NULL, false},
};
