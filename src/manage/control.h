/* SPDX-License-Identifier: Apache-2.0
 *
 * The control socket: a Unix socket on worker 0 that carries requests of the API and their replies,
 * each as a 32-bit length (big endian) and so many octets of JSON. One request at a time per
 * connection; a further one waits unread.
 */
#ifndef WARREN_MANAGE_CONTROL_H
#define WARREN_MANAGE_CONTROL_H

#include "src/manage/api.h"

enum {
	CONTROL_REQUEST_MAX = 16 << 20, /* octets; a longer request ends its connection */
	CONTROL_CONNECTIONS_MAX = 64,
};

struct control;

/* Listens on the path of the node (control_path()), making the directory (mode 750) if it is not
 * there, and replacing a socket on which nobody listens. NULL with the reason in `err`. */
struct control *control_new(
	struct worker *w, struct api *api, const char *node_name, char *err, size_t err_n);
/* Ends the listener, its file and its connections, also those with a call under way, whose replies
 * are dropped. Freed by the loop later. */
void control_close(struct control *c);

#endif
