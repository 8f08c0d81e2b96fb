/* SPDX-License-Identifier: Apache-2.0
 *
 * A change of membership: what a node that is reset, or becomes a member elsewhere or as something else, must know to
 * go on with it whenever it dies meanwhile. In the file `change` of its data directory, from before anything is
 * destroyed until all is done; there is none at other times.
 *
 *   warren change 1              the format's version
 *   step leave                   what is under way: leave, wipe or join
 *   as ram                       what it is to be in the cluster that it joins: disc, ram; none: it joins none
 *   via w1@host host:25672       who is to let it in, one or another
 *   ...
 *
 *   leave   the members of its cluster are asked to forget it. It has all that it had: if they have, it goes on with
 *           the next step, else it is a member as before
 *   wipe    they have, or nobody is to be asked: what it has is deleted, and it gets another id
 *   join    it has nothing, and is let in under that id, now or later. Done twice it is done once
 */
#ifndef WARREN_CLUSTER_CHANGE_H
#define WARREN_CLUSTER_CHANGE_H

#include <stdbool.h>

#include "src/base/bytes.h"
#include "src/broker/node.h"

#define CHANGE_NAME "change" /* in the data directory */

enum change_step { CHANGE_NONE, CHANGE_LEAVE, CHANGE_WIPE, CHANGE_JOIN };

struct change_via {
	char *name, *address; /* owned */
};

struct change {
	enum change_step step;      /* CHANGE_NONE: there is none */
	enum broker_node_type type; /* if it joins */
	struct change_via *vias;
	size_t n_vias; /* 0: it joins nobody */
};

/* An empty one. */
void change_done(struct change *c);
struct change change_copy(const struct change *c);
/* Strings are copied. */
void change_add_via(struct change *c, const char *name, const char *address);
static inline bool change_joins(const struct change *c)
{
	return c->n_vias > 0;
}

/* Reads the file; without one *ret is empty. 0, or -1 with one line in `err`. Blocks; so does the next. */
int change_read(struct change *ret, const char *dir, char *err, size_t err_n);
/* Complete and on the disk, or as before; one that is none removes the file. 0 or -1 as above. */
int change_write(const struct change *c, const char *dir, char *err, size_t err_n);

#endif
