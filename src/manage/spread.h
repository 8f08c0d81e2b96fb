/* SPDX-License-Identifier: Apache-2.0
 *
 * Asks the other nodes that run for their rows of a verb, and joins them with this node's. A call with
 * the argument "local" is one of those questions: it is answered with this node's rows alone.
 */
#ifndef WARREN_MANAGE_SPREAD_H
#define WARREN_MANAGE_SPREAD_H

#include "src/manage/api.h"

/* `rows` are this node's, an array that is taken over. Ends the call with all rows, or with what
 * `finish` (NULL: nothing) makes of them, which takes them over and ends the call. The rows of a node
 * that does not answer are missing, and the reply says of which. */
void spread(struct api_call *c, const char *verb, json_t *rows,
	void (*finish)(struct api_call *c, json_t *rows));

#endif
