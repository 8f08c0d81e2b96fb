/* SPDX-License-Identifier: Apache-2.0
 *
 * The secret that the nodes of a cluster share, and its tools: a file with one line of text, as
 * Erlang keeps it.
 *
 *   printable ASCII, COOKIE_MAX octets at most; line ends behind it do not count
 *
 * Nobody but the file's owner may be able to read it, and the owner is who runs the node.
 */
#ifndef WARREN_CLUSTER_COOKIE_H
#define WARREN_CLUSTER_COOKIE_H

#include <stddef.h>

enum { COOKIE_MAX = 255 };
#define COOKIE_NAME ".cookie" /* in the data directory */

struct cookie {
	char text[COOKIE_MAX + 1];
	size_t n;
};

/* Reads a cookie; blocks, before the loops run. 0, or -1 with one line in `err`, which never shows
 * any of the file's bytes. */
int cookie_read(struct cookie *ret, const char *path, char *err, size_t err_n);
/* Reads `directory`/.cookie; where there is none, one is made first, of random letters, mode 400,
 * complete and on the disk or not there at all. 0 or -1 as above. */
int cookie_read_or_make(struct cookie *ret, const char *directory, char *err, size_t err_n);
/* Overwrites the secret. */
void cookie_wipe(struct cookie *c);

#endif
