/* SPDX-License-Identifier: Apache-2.0
 *
 * A listening TCP socket on one worker; accepted sockets are handed out by descriptor, so that they
 * can go to any worker.
 */
#ifndef WARREN_NET_LISTENER_H
#define WARREN_NET_LISTENER_H

#include "src/loop/worker.h"

struct listener;

/* `address` "ADDR", "[ADDR6]" or NULL for all interfaces; port 0 lets the kernel choose. On failure
 * NULL with a positive *ret_errno and `err` "listener 0.0.0.0:5672: address already in use". */
struct listener *listener_new(struct worker *w, const char *address, unsigned port, int backlog,
	void (*accepted)(void *arg, int fd), void *arg, char *err, size_t err_n, int *ret_errno);
unsigned listener_port(const struct listener *l);
/* Stops accepting; freed by the loop later. */
void listener_close(struct listener *l);

#endif
