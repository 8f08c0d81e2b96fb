/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/broker.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "src/broker/hash.h"
#include "src/broker/proposer.h"

/* A permission's pattern is an operator's, but the name it is matched with is anybody's: a pattern
 * that backtracks without end must not stop a worker. Names have 255 octets; honest patterns need
 * some hundred steps. */
#define MATCH_STEPS_MAX 20000
#define MATCH_HEAP_KIB_MAX 1024

static void create_match(struct broker *b)
{
	pcre2_match_context *ctx = pcre2_match_context_create(NULL);
	pcre2_match_data *data = pcre2_match_data_create(1, NULL);
	if (ctx == NULL || data == NULL)
		abort(); /* out of memory, as in src/base/mem.h */
	pcre2_set_match_limit(ctx, MATCH_STEPS_MAX);
	pcre2_set_heap_limit(ctx, MATCH_HEAP_KIB_MAX);
	b->match_context = ctx;
	b->match_data = data;
}

struct broker *broker_new(const struct broker_watch *watch)
{
	struct broker *b = MEM_NEW(struct broker);
	b->version = 1;
	b->auth_version = 1;
	b->cluster_name = broker_own(slice_make(NULL, 0));
	b->next_group = 1;
	b->next_number = 1;
	if (watch != NULL)
		b->watch = *watch;
	list_init(&b->doomed);
	list_init(&b->rows_dirty);
	broker_row_init(b, &b->row, BROKER_ROW_GLOBAL, 0);
	create_match(b);
	return b;
}

static void delete_nodes(struct broker *b)
{
	struct broker_node *n, *next;
	HASH_ITER(hh, b->nodes, n, next)
	{
		HASH_DEL(b->nodes, n);
		mem_free(n);
	}
}

void broker_free(struct broker *b)
{
	if (b == NULL)
		return;
	b->watch = (struct broker_watch){0};
	while (b->users != NULL)
		broker_user_delete(b->users);
	while (b->vhosts != NULL)
		broker_vhost_delete(b->vhosts);
	delete_nodes(b);
	broker_proposers_free(b);
	broker_disown(&b->cluster_name);
	pcre2_match_data_free(b->match_data);
	pcre2_match_context_free(b->match_context);
	mem_free(b->rows_deleted);
	mem_free(b);
}

const char *broker_code_text(enum broker_code code)
{
	static const char *const texts[BROKER_CODES] = {
		[BROKER_OK] = "ok",
		[BROKER_EXISTS] = "exists",
		[BROKER_NOT_FOUND] = "not found",
		[BROKER_IN_USE] = "in use",
		[BROKER_REFUSED] = "refused",
		[BROKER_BAD_NAME] = "bad name",
		[BROKER_STALE] = "stale incarnation",
		[BROKER_MALFORMED] = "malformed command",
		[BROKER_UNKNOWN] = "unknown command",
	};
	return (unsigned)code < BROKER_CODES ? texts[code] : "unknown code";
}

uint64_t broker_next_number(struct broker *b)
{
	broker_row_touch(b, &b->row);
	return b->next_number++;
}

void broker_set_cluster_name(struct broker *b, struct slice name)
{
	broker_disown(&b->cluster_name);
	b->cluster_name = broker_own(name);
	broker_row_touch(b, &b->row);
}

struct broker_node *broker_node_find(const struct broker *b, uint64_t id)
{
	struct broker_node *n;
	HASH_FIND(hh, b->nodes, &id, sizeof id, n);
	return n;
}

struct broker_node *broker_node_new(struct broker *b, uint64_t id, uint64_t incarnation)
{
	struct broker_node *n = MEM_NEW(struct broker_node);
	n->id = id;
	n->incarnation = incarnation;
	broker_row_init(b, &n->row, BROKER_ROW_NODE, id);
	HASH_ADD(hh, b->nodes, id, sizeof n->id, n);
	return n;
}

uint64_t broker_node_incarnation(const struct broker *b, uint64_t node)
{
	const struct broker_node *n = broker_node_find(b, node);
	return n == NULL ? 0 : n->incarnation;
}
