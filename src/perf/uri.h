/* SPDX-License-Identifier: Apache-2.0
 *
 * A broker's address: amqp://USER:PASSWORD@HOST:PORT/VHOST. Every part but the scheme may be left
 * out; %XX stands for an octet; a host may be an IPv6 address in brackets. An empty vhost is "/",
 * as most clients have it. Pure.
 */
#ifndef WARREN_PERF_URI_H
#define WARREN_PERF_URI_H

#include <stddef.h>

struct uri {
	char *user;     /* guest */
	char *password; /* guest */
	char *host;     /* 127.0.0.1 */
	char *vhost;    /* / */
	char port[6];   /* 5672 */
};

/* 0, or -1 with one line in `err`. uri_done() in either case. */
int uri_parse(struct uri *u, const char *text, char *err, size_t err_n);
void uri_done(struct uri *u);

#endif
