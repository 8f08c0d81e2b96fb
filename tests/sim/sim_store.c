/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim_store.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "src/base/mem.h"

struct store {
	struct sim_box *box;
	bool watched;
};

static struct list boxes;

void sim_store_begin(void)
{
	list_init(&boxes);
}

void sim_box_init(struct sim_box *b, struct sim *sim, const char *dir, void (*ready)(void *arg),
	void *arg)
{
	*b = (struct sim_box){.dir = dir};
	sim_disk_init(&b->disk, sim, ready, arg);
	list_push_back(&boxes, &b->link);
}

void sim_box_done(struct sim_box *b)
{
	sim_disk_done(&b->disk);
	list_remove(&b->link);
}

void sim_box_wipe(struct sim_box *b)
{
	sim_disk_wipe(&b->disk);
	b->identity = (struct store_identity){0};
}

/* ---- the store ---- */

/* A machine runs one process at a time. */
int store_claim(struct claim **ret, const char *dir, char *err, size_t err_n)
{
	(void)dir;
	(void)err;
	(void)err_n;
	*ret = NULL;
	return STORE_OK;
}

void store_unclaim(struct claim *c)
{
	(void)c;
}

int store_open(struct store **ret, const char *dir, const struct claim *claim, char *err, size_t err_n)
{
	struct sim_box *box = NULL;
	(void)claim;
	LIST_EACH(node, &boxes)
	if (strcmp(LIST_ENTRY(node, struct sim_box, link)->dir, dir) == 0)
		box = LIST_ENTRY(node, struct sim_box, link);
	if (box == NULL) {
		snprintf(err, err_n, "%s: there is no such disk", dir);
		return STORE_DENIED;
	}
	sim_disk_restart(&box->disk);
	if (box->identity.node_id == 0)
		box->identity = (struct store_identity){.node_id = sim_random(box->disk.sim) | 1};
	box->identity.incarnation++;
	*ret = MEM_NEW(struct store);
	(*ret)->box = box;
	return STORE_OK;
}

void store_close(struct store *s)
{
	mem_free(s);
}

const struct store_identity *store_identity(const struct store *s)
{
	return &s->box->identity;
}

bool store_blocked(struct store *s)
{
	(void)s;
	return false;
}

void store_watch(struct store *s, void (*changed)(void *arg), void *arg)
{
	(void)arg;
	s->watched = changed != NULL;
}

void store_each_group(struct store *s, void (*each)(void *arg, uint64_t group), void *arg)
{
	sim_disk_each(&s->box->disk, each, arg);
}

int store_each_row(struct store *s, void (*each)(void *arg, struct slice key, struct slice value),
	void *arg)
{
	sim_disk_each_row(&s->box->disk, each, arg);
	return STORE_OK;
}

struct store_log *store_log_open(struct store_port *port, uint64_t group)
{
	return sim_disk_open(&port->store->box->disk, port, group);
}

/* ---- ports ---- */

void store_port_init(struct store_port *port, struct store *store, void (*wake)(void *arg), void *arg)
{
	*port = (struct store_port){.store = store, .wake = wake, .arg = arg};
	list_init(&port->submitted);
	list_init(&port->completed);
}

void store_port_done(struct store_port *port)
{
	store_port_flush(port);
	assert(list_empty(&port->completed));
}

void store_port_flush(struct store_port *port)
{
	if (port->store != NULL)
		sim_disk_flush(&port->store->box->disk);
}

void store_port_write(struct store_port *port)
{
	store_port_flush(port);
}

unsigned store_port_poll(struct store_port *port)
{
	struct list ready;
	unsigned n = 0;
	list_init(&ready);
	list_move_all(&ready, &port->completed);
	for (struct list *node; (node = list_pop(&ready)) != NULL; n++) {
		struct store_req *req = LIST_ENTRY(node, struct store_req, link);
		req->done(req);
	}
	return n;
}

bool store_port_ready(const struct store_port *port)
{
	return !list_empty(&port->completed);
}
