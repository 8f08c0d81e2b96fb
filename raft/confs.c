/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/confs.h"

#include <stdlib.h>

#include "raft/configuration.h"
#include "src/base/mem.h"

void conf_copy(struct raft_configuration *ret, const struct raft_configuration *from)
{
	raft_configuration_init(ret);
	for (unsigned i = 0; i < from->n; i++) {
		const struct raft_server *s = &from->servers[i];
		if (raft_configuration_add(ret, s->id, s->address, s->role) != 0)
			abort(); /* it is one already, and allocation does not fail */
	}
}

const struct raft_server *conf_find(const struct raft_configuration *conf, uint64_t id)
{
	for (unsigned i = 0; i < conf->n; i++)
		if (conf->servers[i].id == id)
			return &conf->servers[i];
	return NULL;
}

static void add(struct confs *c, uint64_t index, const struct raft_configuration *conf)
{
	c->at = mem_realloc(c->at, (c->n + 1) * sizeof *c->at);
	c->at[c->n++] = (struct conf_at){.index = index, .conf = *conf};
}

static void drop_from(struct confs *c, unsigned n)
{
	while (c->n > n)
		raft_configuration_close(&c->at[--c->n].conf);
}

void confs_done(struct confs *c)
{
	drop_from(c, 0);
	mem_free(c->at);
	c->at = NULL;
}

void confs_reset(struct confs *c, uint64_t index, const struct raft_configuration *conf)
{
	struct raft_configuration copy;
	conf_copy(&copy, conf);
	drop_from(c, 0);
	add(c, index, &copy);
}

int confs_push(struct confs *c, uint64_t index, struct slice bytes)
{
	struct raft_configuration conf;
	if (configuration_decode(&conf, bytes) != 0)
		return -1;
	add(c, index, &conf);
	return 0;
}

void confs_truncate(struct confs *c, uint64_t index)
{
	while (c->n > 0 && c->at[c->n - 1].index >= index)
		drop_from(c, c->n - 1);
}

void confs_trim(struct confs *c, uint64_t index)
{
	while (c->n > 1 && c->at[1].index <= index) {
		raft_configuration_close(&c->at[0].conf);
		c->n--;
		memmove(c->at, c->at + 1, c->n * sizeof *c->at);
	}
}

const struct conf_at *confs_newest(const struct confs *c)
{
	return c->n > 0 ? &c->at[c->n - 1] : NULL;
}

const struct raft_server *confs_find(const struct confs *c, uint64_t id)
{
	const struct conf_at *newest = confs_newest(c);
	return newest != NULL ? conf_find(&newest->conf, id) : NULL;
}

const struct conf_at *confs_at(const struct confs *c, uint64_t index)
{
	for (unsigned i = c->n; i > 0; i--)
		if (c->at[i - 1].index <= index)
			return &c->at[i - 1];
	return NULL;
}
