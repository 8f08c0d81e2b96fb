/* SPDX-License-Identifier: Apache-2.0
 *
 * Where queues have their members and leaders, by an operator's hand; maintenance of a node.
 */
#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/broker/balance.h"
#include "src/broker/command.h"
#include "src/manage/api.h"
#include "src/manage/gather.h"
#include "src/manage/json.h"
#include "src/manage/spread.h"
#include "src/manage/warnings.h"
#include "src/queue/command.h"

/* ---- arguments ---- */

static struct slice text_of(const json_t *args, const char *key)
{
	const char *text = json_string_value(json_object_get(args, key));
	return slice_str(text != NULL ? text : "");
}

static const struct broker_node *node_named(const struct api_call *c)
{
	return broker_node_by_name(api_broker(c), text_of(c->args, "node"));
}

static bool pattern_fits(struct api_call *c, const char *key)
{
	char why[256];
	if (broker_pattern_check(text_of(c->args, key), why, sizeof why))
		return true;
	api_fail(c, API_BAD_REQUEST, "Invalid regular expression \"%s\": %s",
		(const char *)text_of(c->args, key).p, why);
	return false;
}

/* The queues that the patterns choose; ends the call and returns false if one is wrong. */
static bool choice_get(struct api_call *c, struct broker_choice *ret)
{
	ret->vhost_pattern = text_of(c->args, "vhost_pattern");
	ret->queue_pattern = text_of(c->args, "queue_pattern");
	return pattern_fits(c, "vhost_pattern") && pattern_fits(c, "queue_pattern");
}

/* ---- members of one queue ---- */

static void on_member_changed(struct api_call *c, const struct broker_result *r)
{
	if (r->code == BROKER_OK)
		api_ok(c, NULL);
	else if (r->code == BROKER_NOT_FOUND)
		api_fail(c, API_NOT_FOUND, "not_found");
	else if (r->code == BROKER_LAST_MEMBER)
		api_fail(c, API_REFUSED, "last_node");
	else if (r->resource == BROKER_NODE)
		api_fail(c, API_REFUSED, "a member on a RAM node could never lead the queue");
	else
		api_fail(c, API_REFUSED, "%s", broker_code_text(r->code));
}

/* Ends the call and returns NULL unless it is a queue whose members operators choose. */
static struct broker_queue *quorum_queue_named(struct api_call *c)
{
	struct broker_queue *q = api_queue(c);
	if (q == NULL || q->type == BROKER_QUEUE_QUORUM)
		return q;
	api_fail(c, API_REFUSED, "Cannot add members to a classic queue%s",
		broker_queue_is_replicated(q) ? ": its mirrors follow from its policy (ha-mode)" : "");
	return NULL;
}

static void add_member(struct api_call *c)
{
	struct buf b = BUF_EMPTY;
	struct broker_queue *q = quorum_queue_named(c);
	if (q == NULL)
		return;
	const struct broker_node *n = node_named(c);
	if (n == NULL || !n->up) {
		api_fail(c, API_REFUSED, "node_not_running");
		return;
	}
	broker_put_add_members(&b, n->id, &q->group, 1);
	api_propose(c, &b, on_member_changed);
}

static void delete_member(struct api_call *c)
{
	struct buf b = BUF_EMPTY;
	struct broker_queue *q = quorum_queue_named(c);
	if (q == NULL)
		return;
	const struct broker_node *n = node_named(c);
	if (n == NULL) {
		api_ok(c, NULL);
		return;
	}
	broker_put_delete_members(&b, n->id, &q->group, 1);
	api_propose(c, &b, on_member_changed);
}

/* ---- members of many queues ---- */

static size_t members_of(const struct broker_queue *q)
{
	size_t n = 0;
	for (size_t i = 0; i < q->n_members; i++)
		n += q->members[i].state != BROKER_MEMBER_LEAVING;
	return n;
}

static json_t *size_row(const struct broker_queue *q, const char *result)
{
	return json_pack("{sosososIss}", "group", json_integer((json_int_t)q->group), "vhost",
		json_of_slice(q->vhost->name), "name", json_of_slice(q->name), "size",
		(json_int_t)members_of(q), "result", result);
}

/* The rows were made of what was asked; now each says what has come of it. */
static void on_many_changed(struct api_call *c, bool grows)
{
	json_t *asked = json_object_get(c->args, "asked"), *rows = json_array(), *group;
	const struct broker_node *n = node_named(c);
	size_t i;
	json_array_foreach(asked, i, group)
	{
		const struct broker_queue *q = broker_queue_by_group(
			api_broker(c), (uint64_t)json_integer_value(group));
		if (q == NULL)
			continue;
		bool is_there = n != NULL && broker_member_on(q, n->number) != NULL;
		const char *fault = grows ? "error: the queue cannot have a member there"
					  : "error: the last node cannot be removed";
		json_array_append_new(rows, size_row(q, is_there == grows ? "ok" : fault));
	}
	api_ok(c, rows);
}

static void on_grown(struct api_call *c, const struct broker_result *r)
{
	(void)r;
	on_many_changed(c, true);
}

static void on_shrunk(struct api_call *c, const struct broker_result *r)
{
	(void)r;
	on_many_changed(c, false);
}

static void change_many(struct api_call *c, const struct broker_node *n, bool grows, bool even)
{
	struct broker_choice choice = {.quorum = true};
	struct buf b = BUF_EMPTY;
	json_t *asked = json_array();
	size_t n_queues, n_asked = 0;
	json_object_set_new(c->args, "asked", asked);
	if (!choice_get(c, &choice))
		return;
	struct broker_queue **queues = broker_choose(api_broker(c), &choice, &n_queues);
	uint64_t *groups = mem_alloc((n_queues + 1) * sizeof *groups);
	for (size_t i = 0; i < n_queues; i++) {
		bool is_there = broker_member_on(queues[i], n->number) != NULL;
		if (is_there == grows || (even && members_of(queues[i]) % 2 != 0))
			continue;
		groups[n_asked++] = queues[i]->group;
		json_array_append_new(asked, json_integer((json_int_t)queues[i]->group));
	}
	if (grows)
		broker_put_add_members(&b, n->id, groups, n_asked);
	else
		broker_put_delete_members(&b, n->id, groups, n_asked);
	mem_free(queues);
	mem_free(groups);
	api_propose(c, &b, grows ? on_grown : on_shrunk);
}

static void grow(struct api_call *c)
{
	const char *strategy;
	const struct broker_node *n = node_named(c);
	if (!api_args(c, "{ss}", "strategy", &strategy))
		return;
	bool even = strcmp(strategy, "even") == 0;
	if (!even && strcmp(strategy, "all") != 0)
		api_fail(c, API_BAD_REQUEST, "strategy '%s' is not recognised.", strategy);
	else if (n == NULL || !n->up)
		api_ok(c, json_array());
	else
		change_many(c, n, true, even);
}

static void shrink(struct api_call *c)
{
	const struct broker_node *n = node_named(c);
	if (n == NULL)
		api_ok(c, json_array());
	else
		change_many(c, n, false, false);
}

/* ---- leaders ---- */

static void on_preferred(struct api_call *c, const struct broker_result *r)
{
	if (r->code == BROKER_OK)
		api_ok(c, NULL);
	else if (r->code == BROKER_REFUSED)
		api_fail(c, API_REFUSED,
			"the queue's member on that node has not caught up and does not vote yet");
	else
		api_fail(c, API_NOT_FOUND, "not_found");
}

static void transfer_leadership(struct api_call *c)
{
	struct buf b = BUF_EMPTY;
	struct broker_queue *q = api_queue(c);
	if (q == NULL)
		return;
	const struct broker_node *n = node_named(c);
	const struct broker_member *m = n != NULL ? broker_member_on(q, n->number) : NULL;
	if (n == NULL || !broker_node_serves(n)) {
		api_fail(c, API_REFUSED, n != NULL && n->drained ? "node_in_maintenance"
								 : "node_not_running");
	} else if (m == NULL) {
		api_fail(c, API_REFUSED, "the queue has no member on that node");
	} else {
		broker_put_prefer_leaders(
			&b, &(struct broker_preference){q->group, m->id}, 1);
		api_propose(c, &b, on_preferred);
	}
}

struct lead_count {
	json_int_t classic, quorum;
};

/* Of the chosen queues, by the node's number: where they are best led. */
static void count_leaders(
	struct broker *b, const struct broker_choice *choice, struct lead_count *by_number)
{
	size_t n;
	struct broker_queue **queues = broker_choose(b, choice, &n);
	for (size_t i = 0; i < n; i++) {
		if (queues[i]->n_members == 0)
			continue;
		struct lead_count *l = &by_number[queues[i]->members[0].node];
		if (queues[i]->type == BROKER_QUEUE_QUORUM)
			l->quorum++;
		else
			l->classic++;
	}
	mem_free(queues);
}

static bool choice_of_type(struct api_call *c, struct broker_choice *ret)
{
	const char *type = json_string_value(json_object_get(c->args, "type"));
	type = type != NULL ? type : "";
	bool all = strcmp(type, "all") == 0;
	ret->classic = all || strcmp(type, "classic") == 0;
	ret->quorum = all || strcmp(type, "quorum") == 0;
	if (ret->classic || ret->quorum)
		return choice_get(c, ret);
	api_fail(c, API_BAD_REQUEST,
		"type %s is not supported. Try one of all, classic, quorum.", type);
	return false;
}

static void on_balanced(struct api_call *c, const struct broker_result *r)
{
	struct broker *b = api_broker(c);
	struct broker_choice choice;
	(void)r; /* a queue may have gone meanwhile */
	if (!choice_of_type(c, &choice))
		return;
	struct lead_count *counts = mem_zalloc((UINT16_MAX + 1) * sizeof *counts);
	json_t *rows = json_array();
	count_leaders(b, &choice, counts);
	for (size_t i = 0; i < b->n_nodes; i++) {
		const struct broker_node *n = b->nodes[i];
		if (n->up)
			json_array_append_new(rows,
				json_pack("{sosIsI}", "Node name", json_of_slice(n->name),
					"Number of quorum queues", counts[n->number].quorum,
					"Number of replicated classic queues",
					counts[n->number].classic));
	}
	mem_free(counts);
	api_ok(c, rows);
}

static void rebalance(struct api_call *c)
{
	struct broker_choice choice;
	struct buf b = BUF_EMPTY;
	if (!choice_of_type(c, &choice))
		return;
	struct broker_moves moves = broker_balance(api_broker(c), &choice);
	broker_put_prefer_leaders(&b, moves.p, moves.n);
	mem_free(moves.p);
	api_propose(c, &b, on_balanced);
}

/* ---- majorities ---- */

/* The node of a member that votes; or NULL. */
static const struct broker_node *voting_at(const struct broker_queue *q, const struct broker_member *m)
{
	return broker_member_votes(q, m) ? broker_node_by_number(q->vhost->broker, m->node) : NULL;
}

/* So many members that vote are on nodes that are up. */
static size_t online(const struct broker_queue *q)
{
	size_t n = 0;
	for (size_t i = 0; i < q->n_members; i++) {
		const struct broker_node *at = voting_at(q, &q->members[i]);
		n += at != NULL && at->up;
	}
	return n;
}

static size_t voters(const struct broker_queue *q)
{
	size_t n = 0;
	for (size_t i = 0; i < q->n_members; i++)
		n += broker_member_votes(q, &q->members[i]);
	return n;
}

/* ---- who is led elsewhere than it should be ---- */

struct search {
	const struct api_shard *shard;
	json_t *rows;
};

/* It was handed over and nobody leads it yet, as far as is known here: it may come back. */
static bool is_on_its_way(const struct api_shard *s, const struct broker_queue *q)
{
	return q->n_members > 1 && group_leader(queue_hosts_group(s->hosts, q->group)) == 0 &&
	       online(q) > voters(q) / 2;
}

static void look_at(void *arg, uint64_t group, bool leads)
{
	struct search *s = arg;
	const struct broker_queue *q = broker_queue_by_group(s->shard->env->broker, group);
	if (q != NULL && (leads ? mirrors_misplaced(s->shard->mirrors, group)
				: is_on_its_way(s->shard, q)))
		json_array_append_new(s->rows, json_pack("{soso}", "vhost",
						       json_of_slice(q->vhost->name), "name",
						       json_of_slice(q->name)));
}

static void collect_misplaced(const struct api_shard *s, const struct api_node *node,
	const json_t *args, json_t *rows)
{
	struct search search = {s, rows};
	(void)node;
	(void)args;
	queue_hosts_each(s->hosts, look_at, &search);
}

static void on_own_misplaced(struct api_call *c, json_t *rows)
{
	spread(c, "misplaced_leaders", rows, NULL);
}

static void misplaced_leaders(struct api_call *c)
{
	gather(c, collect_misplaced, on_own_misplaced);
}

/* ---- the members of a queue as they see themselves ---- */

static const char *raft_state(const struct group *g, uint64_t self)
{
	struct group_member_state ms[BROKER_MEMBERS_MAX];
	unsigned n = group_members(g, ms, BROKER_MEMBERS_MAX);
	if (group_leading(g))
		return "leader";
	for (unsigned i = 0; i < n && i < BROKER_MEMBERS_MAX; i++)
		if (ms[i].id == self)
			return ms[i].voter ? "follower" : "promotable";
	return "unknown";
}

/* Nothing is known of its log. */
static json_t *member_row(const char *node, const char *state)
{
	return json_pack("{sssssssssssssi}", "Node Name", node, "Raft State", state, "Log Index", "",
		"Commit Index", "", "Snapshot Index", "", "Term", "", "Machine Version",
		COMMAND_ENTRY_VERSION);
}

static void collect_status(const struct api_shard *s, const struct api_node *node,
	const json_t *args, json_t *rows)
{
	struct broker_queue *q = gather_queue(s->env->broker, args);
	struct group *g = q != NULL ? queue_hosts_group(s->hosts, q->group) : NULL;
	if (g == NULL)
		return;
	struct group_indexes at = group_indexes(g);
	json_t *row = member_row(node->name, raft_state(g, queue_hosts_member(s->hosts, q->group)));
	json_object_set_new(row, "Log Index", json_integer((json_int_t)at.last));
	json_object_set_new(row, "Commit Index", json_integer((json_int_t)at.commit));
	json_object_set_new(row, "Snapshot Index",
		at.snapshot != 0 ? json_integer((json_int_t)at.snapshot)
				 : json_string("undefined"));
	json_object_set_new(row, "Term", json_integer((json_int_t)group_term(g)));
	json_array_append_new(rows, row);
}

static json_t *row_named(json_t *rows, struct slice node)
{
	size_t i;
	json_t *row;
	json_array_foreach(rows, i, row)
		if (slice_is(node, json_string_value(json_object_get(row, "Node Name"))))
			return json_incref(row);
	return NULL;
}

/* Of a queue that has not been used yet: no member has been opened, and nothing is in its log; the first one will
 * lead. */
static json_t *unused_row(const struct broker_queue *q, const struct broker_member *m, const char *node)
{
	json_t *row = member_row(node,
		m == &q->members[0] ? "leader" : broker_member_votes(q, m) ? "follower" : "promotable");
	json_object_set_new(row, "Log Index", json_integer(0));
	json_object_set_new(row, "Commit Index", json_integer(0));
	json_object_set_new(row, "Snapshot Index", json_string("undefined"));
	json_object_set_new(row, "Term", json_integer(0));
	return row;
}

/* Of one that has not answered. */
static json_t *silent_row(const struct api_call *c, const struct broker_queue *q, const struct broker_member *m,
	const struct broker_node *n)
{
	const struct broker_node *first = broker_node_by_number(q->vhost->broker, q->members[0].node);
	bool runs = warnings_runs(c, n);
	bool unused = !q->begun && first != NULL && warnings_runs(c, first);
	char *name = mem_printf("%.*s", SLICE_FMT(n->name));
	json_t *row = runs && unused ? unused_row(q, m, name) : member_row(name, runs ? "noproc" : "nodedown");
	mem_free(name);
	return row;
}

/* In the order of the members, with those that have not answered. */
static void on_statuses(struct api_call *c, json_t *rows)
{
	struct broker *b = api_broker(c);
	struct broker_queue *q = b != NULL ? gather_queue(b, c->args) : NULL;
	json_t *all = json_array();
	for (unsigned i = 0; q != NULL && i < q->n_members; i++) {
		const struct broker_member *m = &q->members[i];
		const struct broker_node *n = broker_node_by_number(b, m->node);
		if (n == NULL || m->state == BROKER_MEMBER_LEAVING)
			continue;
		json_t *row = row_named(rows, n->name);
		json_array_append_new(all, row != NULL ? row : silent_row(c, q, m, n));
	}
	json_decref(rows);
	api_ok(c, all);
}

static void on_own_status(struct api_call *c, json_t *rows)
{
	spread(c, "quorum_status", rows, on_statuses);
}

static void quorum_status(struct api_call *c)
{
	if (api_queue(c) != NULL)
		gather(c, collect_status, on_own_status);
}

/* ---- who needs this node ---- */

/* So many members that vote are on nodes that run as this one sees it, but for `self`, which this one is. */
static size_t others_running(const struct api_call *c, const struct broker_queue *q, const struct broker_node *self)
{
	size_t n = 0;
	for (size_t i = 0; i < q->n_members; i++) {
		const struct broker_node *at = voting_at(q, &q->members[i]);
		n += at != NULL && at != self && warnings_runs(c, at);
	}
	return n;
}

/* It would have no leader if the node stopped. */
static bool counts_on(const struct api_call *c, const struct broker_queue *q, const struct broker_node *self)
{
	const struct broker_member *m = broker_member_on(q, self->number);
	size_t n = m != NULL ? others_running(c, q, self) : 0;
	return m != NULL && n <= voters(q) / 2 && !(n > 0 && broker_member_is_survived(q, m));
}

/* Queues with a member on this node that would be without a majority if it stopped. In a minority that is said of all
 * of them: what the others have come to is not known here. */
static void critical_queues(struct api_call *c)
{
	struct broker_choice choice;
	struct broker *b = api_broker(c);
	const struct api_node *node = api_node(c);
	const struct broker_node *self = broker_node_find(b, node->id(node->arg));
	bool minority = catalog_in_minority(node->shards[0].env->catalog);
	json_t *rows = json_array();
	size_t n;
	if (!choice_of_type(c, &choice)) {
		json_decref(rows);
		return;
	}
	struct broker_queue **queues = broker_choose(b, &choice, &n);
	for (size_t i = 0; self != NULL && i < n; i++)
		if (minority ? broker_member_on(queues[i], self->number) != NULL : counts_on(c, queues[i], self))
			json_array_append_new(rows, json_pack("{soso}", "vhost",
							    json_of_slice(queues[i]->vhost->name),
							    "name", json_of_slice(queues[i]->name)));
	mem_free(queues);
	api_ok(c, json_pack("{sosbso}", "nodes", json_integer((json_int_t)b->n_nodes), "minority", minority, "queues",
			  rows));
}

/* ---- maintenance ---- */

static bool serves_clients(const struct api_node *node)
{
	struct api_listener l;
	for (unsigned i = 0; node->listener(node->arg, i, &l); i++)
		if (strcmp(l.protocol, "amqp") == 0)
			return true;
	return false;
}

static void on_drained(struct api_call *c, const struct broker_result *r)
{
	if (r->code == BROKER_OK)
		api_ok(c, NULL);
	else
		api_fail(c, API_REFUSED, "not done: %s", broker_code_text(r->code));
}

/* Its own copy has it, so the app has done what follows from it. */
static void on_revived(struct api_call *c, const struct broker_result *r)
{
	if (r->code == BROKER_OK && !serves_clients(api_node(c)))
		api_fail(c, API_REFUSED,
			"the node has no listener for clients now: its log says why");
	else
		on_drained(c, r);
}

static void maintain(struct api_call *c, bool drained,
	void (*applied)(struct api_call *c, const struct broker_result *r))
{
	const struct api_node *node = api_node(c);
	struct buf b = BUF_EMPTY;
	broker_put_set_drained(&b, node->id(node->arg), drained);
	api_propose(c, &b, applied);
}

static void drain(struct api_call *c)
{
	maintain(c, true, on_drained);
}

static void revive(struct api_call *c)
{
	maintain(c, false, on_revived);
}

const struct api_verb api_replica_verbs[] = {
	{"add_member", add_member, false},
	{"delete_member", delete_member, false},
	{"grow", grow, false},
	{"shrink", shrink, false},
	{"rebalance", rebalance, false},
	{"transfer_leadership", transfer_leadership, false},
	{"misplaced_leaders", misplaced_leaders, false},
	{"quorum_status", quorum_status, false},
	{"critical_queues", critical_queues, false},
	{"drain", drain, false},
	{"revive", revive, false},
	{NULL, NULL, false},
};
