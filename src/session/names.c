/* SPDX-License-Identifier: Apache-2.0 */
#include "src/session/names.h"

enum { RANDOM_CHARS = 22 };

struct slice name_clean(struct slice name, char room[NAME_MAX_OCTETS])
{
	if (name.n == 0 ||
		(memchr(name.p, '\r', name.n) == NULL && memchr(name.p, '\n', name.n) == NULL))
		return name;
	size_t n = 0;
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] != '\r' && name.p[i] != '\n')
			room[n++] = (char)name.p[i];
	return slice_make(room, n);
}

bool name_is_reserved(struct slice name)
{
	return name.n >= 4 && memcmp(name.p, "amq.", 4) == 0;
}

struct slice name_generate(
	const char *prefix, uint32_t (*random)(void *arg), void *arg, char room[NAME_MAX_OCTETS])
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t n = strlen(prefix);
	memcpy(room, prefix, n);
	for (unsigned i = 0; i < RANDOM_CHARS; i++)
		room[n++] = alphabet[random(arg) & 63];
	return slice_make(room, n);
}
