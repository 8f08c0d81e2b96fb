/* SPDX-License-Identifier: Apache-2.0 */
#include "src/session/auth.h"

#include "src/amqp/table.h"
#include "src/broker/password.h"

const char *auth_name(struct slice mechanism)
{
	return slice_is(mechanism, "PLAIN") ? "PLAIN" : slice_is(mechanism, "AMQPLAIN") ? "AMQPLAIN" : NULL;
}

bool auth_knows(struct slice mechanism)
{
	return auth_name(mechanism) != NULL;
}

/* authzid NUL authcid NUL password; the first is ignored. */
static bool auth_parse_plain(struct slice response, struct slice *user, struct slice *password)
{
	const uint8_t *end = response.p + response.n;
	const uint8_t *first = response.n > 0 ? memchr(response.p, 0, response.n) : NULL;
	if (first == NULL)
		return false;
	const uint8_t *second = memchr(first + 1, 0, (size_t)(end - first - 1));
	if (second == NULL)
		return false;
	*user = slice_make(first + 1, (size_t)(second - first - 1));
	*password = slice_make(second + 1, (size_t)(end - second - 1));
	return true;
}

static bool auth_parse_amqplain(struct slice response, struct slice *user, struct slice *password)
{
	struct amqp_value login, secret;
	if (!amqp_table_check(response) || !amqp_table_get(response, "LOGIN", &login) ||
		!amqp_table_get(response, "PASSWORD", &secret) || login.type != 'S' ||
		secret.type != 'S')
		return false;
	*user = login.u.s;
	*password = secret.u.s;
	return true;
}

static bool auth_loopback_only(const struct session_env *env, struct slice user)
{
	for (const char *const *name = env->limits->loopback_users; *name != NULL; name++)
		if (slice_is(user, *name))
			return true;
	return false;
}

const char *auth_check(struct session_env *env, bool loopback, struct slice mechanism,
	struct slice response, struct auth_login *ret)
{
	struct slice name, password;
	bool parsed = slice_is(mechanism, "PLAIN")
			      ? auth_parse_plain(response, &name, &password)
			      : auth_parse_amqplain(response, &name, &password);
	if (!parsed)
		return "malformed response";
	struct broker_user *user = broker_user_find(env->broker, name);
	if (user == NULL || !broker_password_check(user->hash, user->algorithm, password))
		return "invalid credentials";
	if (!loopback && auth_loopback_only(env, name))
		return "user can only connect via localhost";
	ret->user = user->name;
	return NULL;
}
