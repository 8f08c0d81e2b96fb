/* SPDX-License-Identifier: Apache-2.0
 *
 * A listening TCP socket on one worker; accepted sockets are handed out by descriptor, so that they
 * can go to any worker.
 */
#ifndef WARREN_NET_LISTENER_H
#define WARREN_NET_LISTENER_H

#include "src/loop/worker.h"

struct listener;

/* Takes the port: `address` "ADDR", "[ADDR6]" or NULL for all interfaces; port 0 lets the kernel
 * choose. Nobody can connect before listener_start(). On failure NULL with a positive *ret_errno and
 * `err` "listener 0.0.0.0:5672: address already in use". */
struct listener *listener_bind(
	const char *address, unsigned port, char *err, size_t err_n, int *ret_errno);
/* Accepts from now on, on the worker's thread: `accepted` owns the descriptor. Once, by the worker's
 * thread or before it runs. 0 or a positive errno with `err` as above; the listener is still to be
 * closed then. */
int listener_start(struct listener *l, struct worker *w, int backlog,
	void (*accepted)(void *arg, int fd), void *arg, char *err, size_t err_n);
unsigned listener_port(const struct listener *l);
/* Gives the port back; freed by the loop later, or at once if it was not started. */
void listener_close(struct listener *l);

#endif
