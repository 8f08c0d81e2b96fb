/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/membership.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/broker/broker.h"
#include "src/cluster/kept_file.h"

enum { MEMBERSHIP_VERSION = 1, LINE_MAX_OCTETS = 1024, TYPE_MAX = 8, WORD_MAX = 300 };

void membership_done(struct membership *r)
{
	for (size_t i = 0; i < r->n_nodes; i++) {
		mem_free(r->nodes[i].name);
		mem_free(r->nodes[i].address);
	}
	mem_free(r->nodes);
	*r = (struct membership){0};
}

void membership_add(struct membership *r, uint64_t id, enum broker_node_type type, struct slice name,
	struct slice address)
{
	r->nodes = mem_realloc(r->nodes, (r->n_nodes + 1) * sizeof *r->nodes);
	r->nodes[r->n_nodes++] = (struct membership_node){.id = id,
		.type = type,
		.name = mem_printf("%.*s", SLICE_FMT(name)),
		.address = mem_printf("%.*s", SLICE_FMT(address))};
}

const struct membership_node *membership_find(const struct membership *r, uint64_t id)
{
	for (size_t i = 0; i < r->n_nodes; i++)
		if (r->nodes[i].id == id)
			return &r->nodes[i];
	return NULL;
}

const struct membership_node *membership_named(const struct membership *r, const char *name)
{
	for (size_t i = 0; i < r->n_nodes; i++)
		if (strcmp(r->nodes[i].name, name) == 0)
			return &r->nodes[i];
	return NULL;
}

void membership_of(struct membership *ret, const struct broker *b, uint64_t self)
{
	const struct broker_node *own = broker_node_find(b, self);
	*ret = (struct membership){0};
	if (own == NULL || b->n_nodes < 2)
		return;
	ret->cluster_id = b->cluster_id;
	ret->type = own->type;
	for (size_t i = 0; i < b->n_nodes; i++)
		membership_add(ret, b->nodes[i]->id, b->nodes[i]->type, b->nodes[i]->name,
			b->nodes[i]->address);
}

static bool node_equal(const struct membership_node *a, const struct membership_node *b)
{
	return a->id == b->id && a->type == b->type && strcmp(a->name, b->name) == 0 &&
	       strcmp(a->address, b->address) == 0;
}

bool membership_equal(const struct membership *a, const struct membership *b)
{
	bool same = a->cluster_id == b->cluster_id && a->type == b->type && a->n_nodes == b->n_nodes;
	for (size_t i = 0; same && i < a->n_nodes; i++)
		same = node_equal(&a->nodes[i], &b->nodes[i]);
	return same;
}

bool membership_alone(const struct membership *r, uint64_t self)
{
	size_t others = 0, lost = 0;
	for (size_t i = 0; i < r->n_nodes; i++) {
		others += r->nodes[i].id != self;
		lost += r->nodes[i].id != self && r->nodes[i].lost;
	}
	return others > 0 && lost == others;
}

/* ---- reading ---- */

static bool type_of(const char *word, enum broker_node_type *ret)
{
	*ret = BROKER_NODE_DISC;
	if (strcmp(word, "disc") == 0)
		return true;
	*ret = BROKER_NODE_RAM;
	return strcmp(word, "ram") == 0;
}

static bool take_node(struct membership *r, const char *line)
{
	char type[TYPE_MAX], name[WORD_MAX], address[WORD_MAX], lost[TYPE_MAX];
	enum broker_node_type t;
	uint64_t id;
	int n = sscanf(line, "node %16" SCNx64 " %7s %299s %299s %7s", &id, type, name, address, lost);
	if (n < 4 || id == 0 || !type_of(type, &t) || (n == 5 && strcmp(lost, "lost") != 0))
		return false;
	membership_add(r, id, t, slice_str(name), slice_str(address));
	r->nodes[r->n_nodes - 1].lost = n == 5;
	return true;
}

static bool take_line(struct membership *r, unsigned no, const char *line)
{
	unsigned version;
	char type[TYPE_MAX];
	switch (no) {
	case 1:
		return sscanf(line, "warren cluster %u", &version) == 1 &&
		       version == MEMBERSHIP_VERSION;
	case 2:
		return sscanf(line, "id %16" SCNx64, &r->cluster_id) == 1 && r->cluster_id != 0;
	case 3:
		return sscanf(line, "type %7s", type) == 1 && type_of(type, &r->type);
	default:
		return take_node(r, line);
	}
}

int membership_read(struct membership *ret, const char *dir, char *err, size_t err_n)
{
	char line[LINE_MAX_OCTETS];
	char *path = mem_printf("%s/" MEMBERSHIP_NAME, dir);
	FILE *f = fopen(path, "re");
	unsigned no = 0;
	int rc = 0;
	*ret = (struct membership){0};
	if (f == NULL && errno != ENOENT && errno != ENOTDIR) {
		snprintf(err, err_n, "%s cannot be read: %s", path, strerror(errno));
		rc = -1;
	}
	while (f != NULL && rc == 0 && fgets(line, sizeof line, f) != NULL)
		if (!take_line(ret, ++no, line)) {
			snprintf(err, err_n, "%s:%u is not understood", path, no);
			rc = -1;
		}
	if (f != NULL && rc == 0 && (no < 3 || ferror(f))) {
		snprintf(err, err_n, "%s is not complete", path);
		rc = -1;
	}
	if (f != NULL)
		fclose(f);
	mem_free(path);
	if (rc != 0)
		membership_done(ret);
	return rc;
}

/* ---- writing ---- */

static void put_line(struct buf *b, char *line)
{
	buf_put_slice(b, slice_str(line));
	mem_free(line);
}

static void put_membership(struct buf *b, const struct membership *r)
{
	put_line(b, mem_printf("warren cluster %d\nid %016" PRIx64 "\ntype %s\n", MEMBERSHIP_VERSION,
			    r->cluster_id, broker_node_type_name(r->type)));
	for (size_t i = 0; i < r->n_nodes; i++)
		put_line(b, mem_printf("node %016" PRIx64 " %s %s %s%s\n", r->nodes[i].id,
				    broker_node_type_name(r->nodes[i].type), r->nodes[i].name,
				    r->nodes[i].address, r->nodes[i].lost ? " lost" : ""));
}

int membership_write(const struct membership *r, const char *dir, char *err, size_t err_n)
{
	struct buf b = BUF_EMPTY;
	if (r->cluster_id == 0)
		return kept_file_remove(dir, MEMBERSHIP_NAME, err, err_n);
	put_membership(&b, r);
	int rc = kept_file_put(dir, MEMBERSHIP_NAME, buf_slice(&b), err, err_n);
	buf_done(&b);
	return rc;
}
