/* SPDX-License-Identifier: Apache-2.0
 *
 * All addresses of a host, from the system's resolver, without waiting for it.
 */
#ifndef WARREN_NET_LOOKUP_H
#define WARREN_NET_LOOKUP_H

#include "src/loop/worker.h"

struct lookup;

enum { LOOKUP_ADDRESSES_MAX = 256 }; /* more are left out */

/* done() is called once on the worker's thread, never from inside: with the addresses ("1.2.3.4",
 * "[::1]"), each once, valid inside the call; or with none and `why`. */
struct lookup *lookup_new(struct worker *w, const char *host,
	void (*done)(void *arg, const char *const *addresses, size_t n, const char *why), void *arg);
/* done() will not be called. (The lookup keeps the loop until the resolver ends.) */
void lookup_cancel(struct lookup *l);

#endif
