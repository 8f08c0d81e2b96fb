/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection to a node elsewhere, over the port where other nodes connect, by one who knows the
 * cluster's cookie (src/cluster/handshake.h). Blocks.
 */
#ifndef WARREN_CTL_REMOTE_H
#define WARREN_CTL_REMOTE_H

#include <stddef.h>
#include <sys/types.h>

enum { REMOTE_PORT = 25672, REMOTE_NAME_MAX = 300 };

/* "name@host:port" or "name@host" taken apart. */
struct remote_node {
	char name[REMOTE_NAME_MAX];
	char host[REMOTE_NAME_MAX];
	char port[8];
};
/* 0, or -1 if it is neither. */
int remote_parse(struct remote_node *ret, const char *node);

struct ssl_st;

/* A connection to a node, here or elsewhere. */
struct remote {
	int fd;
	struct ssl_st *ssl; /* NULL: no TLS */
};

/* What says who we are. */
struct remote_proof {
	const char *cookie_file; /* NULL: ~/.warren.cookie */
	/* All NULL: no TLS. Without the first one the node's certificate is not looked at. */
	const char *cacertfile, *certfile, *keyfile;
};

/* Connects and proves it; requests go as over the control socket. 0, or -1 with a sentence in `err`. */
int remote_connect(struct remote *ret, const struct remote_node *node, const struct remote_proof *proof,
	double timeout_s, char *err, size_t err_n);
/* As send() and recv(). */
ssize_t remote_send(struct remote *r, const void *p, size_t n);
ssize_t remote_receive(struct remote *r, void *p, size_t n);
void remote_close(struct remote *r);

#endif
