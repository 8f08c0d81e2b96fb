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
	b->next_member = 1;
	b->next_node = 1;
	if (watch != NULL)
		b->watch = *watch;
	list_init(&b->parameters);
	list_init(&b->doomed);
	list_init(&b->rows_dirty);
	broker_row_init(b, &b->row, BROKER_ROW_GLOBAL, 0);
	create_match(b);
	return b;
}

static void delete_nodes(struct broker *b)
{
	while (b->n_nodes > 0)
		broker_node_delete(b->nodes[b->n_nodes - 1]);
	mem_free(b->nodes);
}

static void delete_parameters(struct broker *b)
{
	while (!list_empty(&b->parameters))
		broker_parameter_delete(
			LIST_ENTRY(b->parameters.next, struct broker_parameter, link));
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
	delete_parameters(b);
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
		[BROKER_LIMIT] = "limit reached",
		[BROKER_RUNNING] = "node is running",
		[BROKER_LAST_DISC] = "last disc node",
		[BROKER_UNCHANGED] = "unchanged",
		[BROKER_NAME_TAKEN] = "name taken",
		[BROKER_FULL] = "no number left",
		[BROKER_LAST_MEMBER] = "last member that votes",
		[BROKER_UNAVAILABLE] = "no leader",
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

uint64_t broker_cluster_id(uint64_t founder, uint64_t incarnation)
{
	uint64_t h = XXH3_64bits_withSeed(&founder, sizeof founder, incarnation);
	return h != 0 ? h : 1;
}

void broker_queue_changed(struct broker_queue *q)
{
	struct broker *b = q->vhost->broker;
	if (b->watch.queue_changed != NULL && !b->loading)
		b->watch.queue_changed(b->watch.arg, q);
}
