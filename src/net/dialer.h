/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds a host and connects to it: all its addresses in turn, within one time limit.
 */
#ifndef WARREN_NET_DIALER_H
#define WARREN_NET_DIALER_H

#include "src/loop/worker.h"

struct dialer;

/* `address` is "host:port", "1.2.3.4:port" or "[::1]:port". done() is called once, never from
 * inside: with a connected, non-blocking socket that is the receiver's, or a negative errno of the
 * last attempt (-1 if it has none) and `why` ("connection refused"). The dialer is gone then. An address gets an equal share of the time that
 * is left. */
struct dialer *dialer_new(struct worker *w, const char *address, unsigned limit_ms,
	void (*done)(void *arg, int fd, const char *why), void *arg);
/* done() will not be called. (A name that is being looked up keeps the loop until that ends.) */
void dialer_cancel(struct dialer *d);

#endif
