/* SPDX-License-Identifier: Apache-2.0
 *
 * Logging in: the SASL mechanisms PLAIN (RFC 4616) and AMQPLAIN (a field table with LOGIN and
 * PASSWORD) over the broker's users.
 */
#ifndef WARREN_SESSION_AUTH_H
#define WARREN_SESSION_AUTH_H

#include "src/session/env.h"

#define AUTH_MECHANISMS "AMQPLAIN PLAIN"

struct auth_login {
	struct slice user; /* inside the broker; valid until the next command */
};

bool auth_knows(struct slice mechanism);
/* Its name, static; NULL of one that is not known. */
const char *auth_name(struct slice mechanism);
/* NULL if the login is granted, else the reason for the log (never for the client). */
const char *auth_check(struct session_env *env, bool loopback, struct slice mechanism,
	struct slice response, struct auth_login *ret);

#endif
