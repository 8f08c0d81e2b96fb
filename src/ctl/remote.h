/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection to a node elsewhere, over the port where other nodes connect, by one who knows the
 * cluster's cookie (src/cluster/handshake.h). Blocks.
 */
#ifndef WARREN_CTL_REMOTE_H
#define WARREN_CTL_REMOTE_H

#include <stddef.h>

enum { REMOTE_PORT = 25672, REMOTE_NAME_MAX = 300 };

/* "name@host:port" or "name@host" taken apart. */
struct remote_node {
	char name[REMOTE_NAME_MAX];
	char host[REMOTE_NAME_MAX];
	char port[8];
};
/* 0, or -1 if it is neither. */
int remote_parse(struct remote_node *ret, const char *node);

/* Connects and proves it; requests go as over the control socket. `cookie_file` NULL: ~/.warren.cookie.
 * A descriptor, or -1 with a sentence in `err`. */
int remote_connect(const struct remote_node *node, const char *cookie_file, double timeout_s,
	char *err, size_t err_n);

#endif
