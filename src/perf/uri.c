/* SPDX-License-Identifier: Apache-2.0 */
#include "src/perf/uri.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"

#define SCHEME "amqp://"

static int hex(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* A copy of text[n] with %XX replaced; NULL if a %XX is wrong or says NUL. */
static char *decoded(const char *text, size_t n)
{
	char *out = mem_alloc(n + 1);
	size_t used = 0;
	for (size_t i = 0; i < n; i++) {
		char c = text[i];
		if (c == '%') {
			if (n - i < 3 || !isxdigit((unsigned char)text[i + 1]) ||
				!isxdigit((unsigned char)text[i + 2])) {
				mem_free(out);
				return NULL;
			}
			c = (char)(hex(text[i + 1]) << 4 | hex(text[i + 2]));
			i += 2;
		}
		out[used++] = c;
	}
	out[used] = '\0';
	if (strlen(out) == used)
		return out;
	mem_free(out);
	return NULL;
}

static bool set(char **field, const char *text, size_t n)
{
	char *value = decoded(text, n);
	if (value == NULL)
		return false;
	mem_free(*field);
	*field = value;
	return true;
}

/* USER or USER:PASSWORD */
static bool set_login(struct uri *u, const char *text, size_t n)
{
	const char *colon = memchr(text, ':', n);
	size_t user_n = colon != NULL ? (size_t)(colon - text) : n;
	if (!set(&u->user, text, user_n))
		return false;
	return colon == NULL || set(&u->password, colon + 1, n - user_n - 1);
}

static bool set_port(struct uri *u, const char *text, size_t n)
{
	if (n == 0 || n >= sizeof u->port || strspn(text, "0123456789") < n)
		return false;
	memcpy(u->port, text, n);
	u->port[n] = '\0';
	long port = strtol(u->port, NULL, 10);
	return port > 0 && port <= 65535;
}

/* HOST, HOST:PORT, [HOST] or [HOST]:PORT; nothing at all keeps the default */
static bool set_host(struct uri *u, const char *text, size_t n)
{
	const char *colon;
	if (n > 0 && text[0] == '[') {
		const char *end = memchr(text, ']', n);
		if (end == NULL || !set(&u->host, text + 1, (size_t)(end - text - 1)))
			return false;
		colon = end + 1 < text + n ? end + 1 : NULL;
		if (colon != NULL && *colon != ':')
			return false;
	} else {
		colon = memchr(text, ':', n);
		size_t host_n = colon != NULL ? (size_t)(colon - text) : n;
		if (host_n > 0 && !set(&u->host, text, host_n))
			return false;
	}
	return colon == NULL || set_port(u, colon + 1, n - (size_t)(colon + 1 - text));
}

static bool parse(struct uri *u, const char *rest)
{
	size_t n = strcspn(rest, "/?");
	const char *path = rest + n;
	const char *at = memchr(rest, '@', n);
	if (at != NULL) {
		if (!set_login(u, rest, (size_t)(at - rest)))
			return false;
		n -= (size_t)(at + 1 - rest);
		rest = at + 1;
	}
	if (!set_host(u, rest, n) || *path == '?')
		return false;
	if (*path != '/' || path[1] == '\0')
		return true;
	return strpbrk(path + 1, "/?") == NULL && set(&u->vhost, path + 1, strlen(path + 1));
}

int uri_parse(struct uri *u, const char *text, char *err, size_t err_n)
{
	*u = (struct uri){
		.user = mem_strdup("guest"),
		.password = mem_strdup("guest"),
		.host = mem_strdup("127.0.0.1"),
		.vhost = mem_strdup("/"),
		.port = "5672",
	};
	if (strncmp(text, SCHEME, strlen(SCHEME)) == 0 && parse(u, text + strlen(SCHEME)))
		return 0;
	snprintf(err, err_n, "%s: is not of the form amqp://USER:PASSWORD@HOST:PORT/VHOST", text);
	return -1;
}

void uri_done(struct uri *u)
{
	mem_free(u->user);
	mem_free(u->password);
	mem_free(u->host);
	mem_free(u->vhost);
	*u = (struct uri){0};
}
