/* SPDX-License-Identifier: Apache-2.0 */
#include "src/manage/warnings.h"

#include "src/amqp/table.h"
#include "src/base/mem.h"
#include "src/broker/member.h"
#include "src/manage/json.h"
#include "src/manage/remote.h"

enum { DISC_MEMBERS = 2 }; /* with fewer, what is confirmed is on one disk */

bool warnings_reaches(const struct api_call *c, const struct broker_node *n)
{
	const struct api_node *node = api_node(c);
	return n->id == node->id(node->arg) || links_linked(node->links, n->id);
}

bool warnings_runs(const struct api_call *c, const struct broker_node *n)
{
	return n->up && warnings_reaches(c, n);
}

/* Takes the text over; names may be any octets. */
static void warn(json_t *list, char *text)
{
	json_array_append_new(list, json_of_slice(slice_str(text)));
	mem_free(text);
}

/* ---- a majority ---- */

static void look_at_majority(const struct api_call *c, const struct broker *b, json_t *list)
{
	unsigned all = 0, reached = 0;
	if (catalog_leader(api_node(c)->shards[0].env->catalog) != 0)
		return;
	for (size_t i = 0; i < b->n_nodes; i++) {
		if (b->nodes[i]->type != BROKER_NODE_DISC)
			continue;
		all++;
		reached += warnings_reaches(c, b->nodes[i]);
	}
	if (all == 0)
		return; /* it waits for its cluster, and knows nothing of it yet */
	warn(list,
		mem_printf(2 * reached <= all
				     ? "this node is in a minority: it reaches %u of the cluster's %u disk nodes, "
				       "itself included; nothing can be declared here, and mirrored queues "
				       "that need the others take no messages"
				     : "no node leads the metadata now: nothing can be declared (%u of the "
				       "cluster's %u disk nodes can be reached)",
			reached, all));
}

/* ---- copies ---- */

static size_t named(struct slice nodes)
{
	struct reader r = reader_of(nodes);
	struct amqp_value v;
	size_t n = 0;
	while (amqp_array_next(&r, &v))
		n++;
	return n;
}

/* It is meant to survive the loss of a disk. */
static bool wants_copies(const struct broker_queue *q)
{
	const struct broker_effective *e = q->effective;
	if (broker_queue_in_memory(q) || !broker_queue_is_replicated(q))
		return false;
	if (q->type == BROKER_QUEUE_QUORUM || e == NULL || e->ha_mode == BROKER_HA_ALL)
		return true;
	return (e->ha_mode == BROKER_HA_EXACTLY ? e->ha_count : named(e->ha_nodes)) >= DISC_MEMBERS;
}

static size_t disc_members(const struct broker_queue *q)
{
	size_t n = 0;
	for (size_t i = 0; i < q->n_members; i++)
		n += broker_member_votes(q, &q->members[i]);
	return n;
}

static void look_at_copies(const struct broker *b, json_t *list)
{
	const struct broker_queue *first = NULL, *q = b->queues_by_group;
	size_t n = 0;
	for (; q != NULL; q = q->hh_group.next) {
		if (!wants_copies(q) || disc_members(q) >= DISC_MEMBERS)
			continue;
		first = first != NULL ? first : q;
		n++;
	}
	if (first != NULL)
		warn(list,
			mem_printf("%zu of the queues that are to be mirrored, '%.*s' in vhost '%.*s' among "
				     "them, have fewer than %d synchronised members on disk nodes: what is "
				     "confirmed there is lost with one disk",
				n, SLICE_FMT(first->name), SLICE_FMT(first->vhost->name), DISC_MEMBERS));
}

static void look_at_membership(const struct api_call *c, json_t *list)
{
	const struct api_node *node = api_node(c);
	bool final;
	char *trouble = node->trouble(node->arg, &final);
	if (trouble != NULL && (final || node->change(node->arg)->step != CHANGE_NONE))
		warn(list, trouble);
	else
		mem_free(trouble);
}

json_t *warnings_now(const struct api_call *c)
{
	const struct broker *b = api_broker(c);
	json_t *list = json_array();
	look_at_membership(c, list);
	if (b == NULL)
		return list;
	look_at_majority(c, b, list);
	look_at_copies(b, list);
	return list;
}
