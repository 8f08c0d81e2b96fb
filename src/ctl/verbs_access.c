/* SPDX-License-Identifier: Apache-2.0
 *
 * Virtual hosts, users, permissions.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/buf.h"
#include "src/ctl/verb.h"

enum { PASSWORD_MAX = 1024, CALL_S = 60 };

/* ---- virtual hosts ---- */

static int add_vhost(struct ctl *c)
{
	const struct options *o = &c->options;
	ctl_say(c, "Adding vhost \"%s\" ...", ctl_arg(c, 0));
	return ctl_do(c, "add_vhost",
		json_pack("{ssss*ss*ss*}", "name", ctl_arg(c, 0), "description", o->description,
			"tags", o->tags, "default_queue_type", o->default_queue_type));
}

static int delete_vhost(struct ctl *c)
{
	ctl_say(c, "Deleting vhost \"%s\" ...", ctl_arg(c, 0));
	return ctl_do(c, "delete_vhost", json_pack("{ss}", "name", ctl_arg(c, 0)));
}

/* ---- users ---- */

/* The password of the arguments, or a line of standard input. */
static const char *password(const struct ctl *c, char line[PASSWORD_MAX])
{
	if (ctl_arg(c, 1) != NULL)
		return ctl_arg(c, 1);
	if (isatty(STDIN_FILENO))
		fputs("Password: ", stderr);
	if (fgets(line, PASSWORD_MAX, stdin) == NULL)
		return NULL;
	line[strcspn(line, "\r\n")] = '\0';
	return line;
}

#define NO_PASSWORD "Password is not provided via argument or stdin"

/* `without`: the exit status if there is no password. */
static int with_password(struct ctl *c, const char *verb, int without)
{
	char line[PASSWORD_MAX];
	const char *secret = password(c, line);
	if (secret == NULL)
		return ctl_error(c, without, NO_PASSWORD);
	return ctl_call(c, verb, json_pack("{ssss}", "user", ctl_arg(c, 0), "password", secret), CALL_S, NULL);
}

static int add_user(struct ctl *c)
{
	if (ctl_arg(c, 0)[0] == '\0')
		return ctl_bad_argument(c, "user cannot be an empty string");
	ctl_say(c, "Adding user \"%s\" ...", ctl_arg(c, 0));
	int status = with_password(c, "add_user", CTL_DATA);
	if (status != CTL_OK)
		return status;
	ctl_say(c,
		"Done. Don't forget to grant the user permissions to some virtual hosts! "
		"See '%s help set_permissions' to learn more.",
		c->program);
	return ctl_done(c);
}

static int change_password(struct ctl *c)
{
	ctl_say(c, "Changing password for user \"%s\" ...", ctl_arg(c, 0));
	int status = with_password(c, "change_password", CTL_SOFTWARE);
	return status == CTL_OK ? ctl_done(c) : status;
}

static int authenticate_user(struct ctl *c)
{
	char line[PASSWORD_MAX];
	struct call call;
	ctl_say(c, "Authenticating user \"%s\" ...", ctl_arg(c, 0));
	const char *secret = password(c, line);
	if (secret == NULL)
		return ctl_error(c, CTL_SOFTWARE, NO_PASSWORD);
	if (ctl_try(c, &call, "authenticate_user",
		    json_pack("{ssss}", "user", ctl_arg(c, 0), "password", secret), 60) != 0)
		return ctl_error(c, strcmp(call.error, "refused") == 0 ? CTL_DATA : call_exit(&call),
			"%s", call.message);
	json_decref(call.result);
	ctl_say(c, "Success");
	return c->options.format == FORMAT_JSON ? ctl_found(c, CTL_OK, NULL, "Success") : CTL_OK;
}

static int delete_user(struct ctl *c)
{
	ctl_say(c, "Deleting user \"%s\" ...", ctl_arg(c, 0));
	return ctl_do(c, "delete_user", json_pack("{ss}", "user", ctl_arg(c, 0)));
}

static int clear_password(struct ctl *c)
{
	ctl_say(c, "Clearing password for user \"%s\" ...", ctl_arg(c, 0));
	return ctl_do(c, "clear_password", json_pack("{ss}", "user", ctl_arg(c, 0)));
}

/* Of a user or a virtual host, the first argument; the others are the tags. */
static int set_tags(struct ctl *c, const char *verb, const char *of, const char *called)
{
	struct buf tags = BUF_EMPTY, shown = BUF_EMPTY;
	for (unsigned i = 1; i < c->options.n_args; i++) {
		if (i > 1) {
			buf_put_u8(&tags, ',');
			buf_put_bytes(&shown, ", ", 2);
		}
		buf_put_slice(&tags, slice_str(ctl_arg(c, i)));
		buf_put_slice(&shown, slice_str(ctl_arg(c, i)));
	}
	ctl_say(c, "Setting tags for %s \"%s\" to [%.*s] ...", called, ctl_arg(c, 0), (int)shown.n,
		shown.n > 0 ? (const char *)shown.p : "");
	json_t *args = json_pack("{ss}", of, ctl_arg(c, 0));
	json_object_set_new(args, "tags",
		json_stringn(tags.n > 0 ? (const char *)tags.p : "", tags.n));
	buf_done(&tags);
	buf_done(&shown);
	return ctl_do(c, verb, args);
}

static int set_user_tags(struct ctl *c)
{
	return set_tags(c, "set_user_tags", "user", "user");
}

static int set_vhost_tags(struct ctl *c)
{
	return set_tags(c, "update_vhost_metadata", "vhost", "virtual host");
}

/* ---- permissions ---- */

static int set_permissions(struct ctl *c)
{
	ctl_say(c, "Setting permissions for user \"%s\" in vhost \"%s\" ...", ctl_arg(c, 0),
		ctl_vhost(c));
	return ctl_do(c, "set_permissions",
		json_pack("{ssssssssss}", "user", ctl_arg(c, 0), "vhost", ctl_vhost(c), "configure",
			ctl_arg(c, 1), "write", ctl_arg(c, 2), "read", ctl_arg(c, 3)));
}

static int clear_permissions(struct ctl *c)
{
	ctl_say(c, "Clearing permissions for user \"%s\" in vhost \"%s\" ...", ctl_arg(c, 0),
		ctl_vhost(c));
	return ctl_do(c, "clear_permissions",
		json_pack("{ssss}", "user", ctl_arg(c, 0), "vhost", ctl_vhost(c)));
}

const struct ctl_verb verbs_access[] = {
	{"add_user", "Users", "<username> [<password>]", "Creates a user, without permissions", 1,
		2, 0, add_user},
	{"authenticate_user", "Users", "<username> [<password>]",
		"Says whether the password is the user's", 1, 2, 0, authenticate_user},
	{"change_password", "Users", "<username> [<password>]", "Changes a user's password", 1, 2,
		0, change_password},
	{"clear_password", "Users", "<username>", "Ends logins of a user by password", 1, 1, 0,
		clear_password},
	{"delete_user", "Users", "<username>", "Deletes a user", 1, 1, 0, delete_user},
	{"set_user_tags", "Users", "<username> [<tag> ...]", "Sets a user's tags", 1, VERB_ANY, 0,
		set_user_tags},
	{"clear_permissions", "Access Control", "<username>",
		"Takes a user's permissions in a virtual host away", 1, 1, OPTION_VHOST,
		clear_permissions},
	{"set_permissions", "Access Control", "<username> <conf> <write> <read>",
		"Sets a user's permissions in a virtual host", 4, 4, OPTION_VHOST, set_permissions},
	{"add_vhost", "Virtual hosts", "<vhost>", "Creates a virtual host", 1, 1,
		OPTION_VHOST_ATTRIBUTES, add_vhost},
	{"delete_vhost", "Virtual hosts", "<vhost>",
		"Deletes a virtual host with everything in it", 1, 1, 0, delete_vhost},
	{"set_vhost_tags", "Virtual hosts", "<vhost> [<tag> ...]", "Sets a virtual host's tags", 1,
		VERB_ANY, 0, set_vhost_tags},
	{NULL, NULL, NULL, NULL, 0, 0, 0, NULL},
};
