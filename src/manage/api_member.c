/* SPDX-License-Identifier: Apache-2.0
 *
 * What a member of a cluster does for others: lets nodes in, lets them go, says who is in it.
 */
#include <inttypes.h>
#include <stdio.h>

#include "src/base/mem.h"
#include "src/broker/command.h"
#include "src/broker/member.h"
#include "src/manage/api.h"
#include "src/manage/json.h"
#include "src/manage/members.h"
#include "src/manage/remote.h"
#include "src/manage/warnings.h"

enum {
	DOWN_MS = 20 * 1000, /* in which a node that has died is called down, by far */
	SIGN_MS = 1500,      /* for a sign of life of a node that runs, as far as is known */
};

static uint64_t now_ms(const struct api_call *c)
{
	return api_node(c)->shards[0].worker->now_ms;
}

/* The node that the arguments name by its id; 0: none. */
static uint64_t id_arg(struct api_call *c)
{
	uint64_t id = 0;
	const char *text = json_string_value(json_object_get(c->args, "id"));
	return text != NULL && member_id_get(text, &id) ? id : 0;
}

/* ---- who is in it ---- */

/* "state" is as this node sees it: "up", "down". */
static json_t *node_row(const struct api_call *c, const struct broker_node *n)
{
	char id[MEMBER_ID_MAX];
	return json_pack("{sssosossss*}", "id", member_id_put(id, n->id), "name",
		json_of_slice(n->name), "address", json_of_slice(n->address), "type",
		broker_node_type_name(n->type), "state", warnings_runs(c, n) ? "up" : "down");
}

static json_t *members(struct api_call *c)
{
	const struct broker *b = api_broker(c);
	char id[MEMBER_ID_MAX];
	json_t *nodes = json_array();
	for (size_t i = 0; i < b->n_nodes; i++)
		json_array_append_new(nodes, node_row(c, b->nodes[i]));
	return json_pack("{ssso}", "cluster_id", member_id_put(id, b->cluster_id), "nodes", nodes);
}

/* Waits for signs of life of the nodes that run: a link stands for a while after its other end was frozen. */
struct roll_call {
	struct api_call *call;
	json_t *members;
	unsigned waiting; /* for nodes, and for all of them being asked */
};

struct called {
	struct roll_call *roll;
	json_t *row; /* the node's */
};

static void roll_answered(struct roll_call *r)
{
	if (--r->waiting > 0)
		return;
	api_ok(r->call, r->members);
	mem_free(r);
}

static void on_sign(void *arg, json_t *reply, const char *why)
{
	struct called *d = arg;
	(void)why;
	if (reply == NULL)
		json_object_set_new(d->row, "state", json_string("unresponsive"));
	json_decref(d->row);
	roll_answered(d->roll);
	mem_free(d);
}

static void roll_call(struct api_call *c)
{
	const struct broker *b = api_broker(c);
	const struct api_node *node = api_node(c);
	struct roll_call *r = MEM_NEW(struct roll_call);
	*r = (struct roll_call){c, members(c), 1};
	for (size_t i = 0; i < b->n_nodes; i++) {
		const struct broker_node *n = b->nodes[i];
		if (n->id == node->id(node->arg) || !warnings_runs(c, n))
			continue;
		struct called *d = MEM_NEW(struct called);
		*d = (struct called){r, json_incref(json_array_get(json_object_get(r->members, "nodes"), i))};
		r->waiting++;
		remote_look(node->links, n, "ping", SIGN_MS, on_sign, d);
	}
	roll_answered(r);
}

/* With "ask": the state is "up" only if the node says so itself. */
static void cluster_nodes(struct api_call *c)
{
	if (json_is_true(json_object_get(c->args, "ask")))
		roll_call(c);
	else
		api_ok(c, members(c));
}

/* For a node that looks for its cluster (src/manage/formation.h). */
static void cluster_peer(struct api_call *c)
{
	const struct api_node *n = api_node(c);
	const struct broker *b = api_broker(c);
	const struct membership *m = n->membership(n->arg);
	uint64_t cluster = m->cluster_id != 0 ? m->cluster_id : b != NULL ? b->cluster_id : 0;
	char id[MEMBER_ID_MAX], cluster_id[MEMBER_ID_MAX];
	bool blank = n->blank(n->arg);
	api_ok(c, json_pack("{sssssssssbsb}", "id", member_id_put(id, n->id(n->arg)), "name", n->name,
			  "type", broker_node_type_name(blank ? n->first_type : m->type), "cluster_id",
			  member_id_put(cluster_id, blank ? 0 : cluster), "blank", blank, "ready",
			  api_ready(c)));
}

/* -- does the cluster know a node? -- */

static void answer_known(struct api_call *c, bool known)
{
	char id[MEMBER_ID_MAX];
	api_ok(c, json_pack("{sssb}", "cluster_id", member_id_put(id, api_broker(c)->cluster_id), "known", known));
}

static void on_known(struct api_call *c, const struct broker_result *r)
{
	answer_known(c, r->code != BROKER_NOT_FOUND);
}

/* What is not in this node's copy of the table may be in the log already. So it is asked there, by a command that
 * changes nothing: nobody is up in incarnation 0. */
static void cluster_knows(struct api_call *c)
{
	struct buf b = BUF_EMPTY;
	uint64_t id = id_arg(c);
	if (broker_node_find(api_broker(c), id) != NULL) {
		answer_known(c, true);
		return;
	}
	broker_put_node_down(&b, id, 0, NULL, BROKER_ALL_ABSENT);
	api_propose(c, &b, on_known);
}

/* ---- joining ---- */

struct joiner {
	uint64_t id;
	const char *name, *address, *version;
	enum broker_node_type type;
};

static bool joiner_get(struct api_call *c, struct joiner *j)
{
	const char *id, *type;
	if (!api_args(c, "{ssssssssss}", "id", &id, "name", &j->name, "address", &j->address,
		    "type", &type, "version", &j->version))
		return false;
	j->type = strcmp(type, "ram") == 0 ? BROKER_NODE_RAM : BROKER_NODE_DISC;
	if (member_id_get(id, &j->id))
		return true;
	api_fail(c, API_BAD_REQUEST, "the node's id is not understood");
	return false;
}

/* "1.2" of "1.2.3". */
static size_t series(const char *version)
{
	const char *last = strrchr(version, '.');
	return last != NULL ? (size_t)(last - version) : strlen(version);
}

static bool version_fits(const char *version)
{
	size_t n = series(PACKAGE_VERSION);
	return series(version) == n && memcmp(version, PACKAGE_VERSION, n) == 0;
}

/* An attempt to join that was cut short: the node has never been up. */
static bool is_stillborn(const struct broker_node *n)
{
	return n->incarnation == 0 && !n->up;
}

static bool has_vote(const struct broker_member *m)
{
	return m->state == BROKER_MEMBER_INITIAL || m->state == BROKER_MEMBER_VOTER;
}

/* Without what is on this node the queue has no majority. */
static bool needs_node(const struct broker_queue *q, const struct broker_node *n)
{
	unsigned all = 0, here = 0;
	for (unsigned i = 0; i < q->n_members; i++) {
		all += has_vote(&q->members[i]);
		here += has_vote(&q->members[i]) && q->members[i].node == n->number;
	}
	return here > 0 && 2 * (all - here) <= all && !broker_queue_in_memory(q);
}

static bool some_queue_needs(const struct broker *b, const struct broker_node *n)
{
	const struct broker_queue *q = b->queues_by_group;
	for (; q != NULL; q = q->hh_group.next)
		if (needs_node(q, n))
			return true;
	return false;
}

/* With "replace": the node has lost its data, for another id comes with its name, and it is down. It gives
 * way unless a queue would be lost with it, which may be on a disk that is only not there at the moment. */
static bool gives_way(struct api_call *c, const struct broker_node *n)
{
	return is_stillborn(n) || (json_is_true(json_object_get(c->args, "replace")) && !n->up &&
					  !some_queue_needs(api_broker(c), n));
}

static bool may_join(struct api_call *c, const struct joiner *j)
{
	const struct broker_node *n = broker_node_by_name(api_broker(c), slice_str(j->name));
	if (!version_fits(j->version)) {
		api_fail(c, API_REFUSED,
			"inconsistent_cluster: node %s runs Warren %s, this cluster runs Warren %s",
			j->name, j->version, PACKAGE_VERSION);
		return false;
	}
	if (n == NULL || n->id == j->id || gives_way(c, n))
		return true;
	api_fail(c, API_REFUSED,
		"inconsistent_cluster: a node called %s is a member of this cluster already. If it was "
		"reset without telling the others, remove it first with "
		"'forget_cluster_node %s'",
		j->name, j->name);
	return false;
}

static void on_joined(struct api_call *c, const struct broker_result *r)
{
	if (r->code == BROKER_OK || r->code == BROKER_EXISTS)
		api_ok(c, members(c));
	else if (r->code == BROKER_FULL)
		api_fail(c, API_REFUSED, "the cluster has given out all numbers for nodes");
	else
		api_fail(c, API_REFUSED, "the node cannot join: %s", broker_code_text(r->code));
}

static void propose_join(struct api_call *c)
{
	struct joiner j;
	struct buf b = BUF_EMPTY;
	if (!joiner_get(c, &j))
		return;
	broker_put_join_node(&b, j.id, slice_str(j.name), slice_str(j.address), j.type);
	api_propose(c, &b, on_joined);
}

static void on_former_gone(struct api_call *c, const struct broker_result *r)
{
	(void)r;
	propose_join(c);
}

/* With "check": only says whether it would be let in. */
static void cluster_join(struct api_call *c)
{
	struct joiner j;
	struct buf b = BUF_EMPTY;
	if (!joiner_get(c, &j) || !may_join(c, &j))
		return;
	const struct broker_node *n = broker_node_by_name(api_broker(c), slice_str(j.name));
	if (json_is_true(json_object_get(c->args, "check"))) {
		if (!api_fails_in_minority(c))
			api_ok(c, NULL);
	} else if (n != NULL && n->id != j.id) {
		broker_put_forget_node(&b, n->id);
		api_propose(c, &b, on_former_gone);
	} else {
		propose_join(c);
	}
}

/* ---- leaving ---- */

static void fail_last_disc(struct api_call *c)
{
	api_fail(c, API_REFUSED,
		"You cannot reset a node when it is the only disc node in a cluster. Please convert "
		"another node of the cluster to a disc node first.");
}

static void on_left(struct api_call *c, const struct broker_result *r)
{
	switch (r->code) {
	case BROKER_OK:
	case BROKER_NOT_FOUND:
		api_ok(c, NULL);
		break;
	case BROKER_LAST_DISC:
		fail_last_disc(c);
		break;
	default:
		api_fail(c, API_REFUSED, "the node cannot leave: %s", broker_code_text(r->code));
	}
}

static void on_leaver_down(struct api_call *c, const struct broker_result *r);

/* The incarnation in which it says so. */
static uint64_t leaver_incarnation(const struct api_call *c)
{
	return (uint64_t)json_integer_value(json_object_get(c->args, "incarnation"));
}

static void propose_leaver_down(struct api_call *c, uint64_t incarnation)
{
	struct buf b = BUF_EMPTY;
	broker_put_node_down(&b, id_arg(c), incarnation, NULL, BROKER_ALL_ABSENT);
	api_propose(c, &b, on_leaver_down);
}

/* This node's copy of the table is as new as the request now. Another incarnation than the leaver's own may be up: an
 * earlier one has ended, for it has had a later one; a later one runs, and takes back what an earlier one wanted. */
static void on_leaver_down(struct api_call *c, const struct broker_result *r)
{
	struct buf b = BUF_EMPTY;
	const struct broker_node *n = broker_node_find(api_broker(c), id_arg(c));
	if (r->code == BROKER_NOT_FOUND || n == NULL) {
		api_ok(c, NULL);
	} else if (n->incarnation > leaver_incarnation(c)) {
		api_fail(c, API_REFUSED, "the node cannot leave: its app was started meanwhile");
	} else if (n->up) {
		propose_leaver_down(c, n->incarnation);
	} else {
		broker_put_forget_node(&b, n->id);
		api_propose(c, &b, on_left);
	}
}

/* Nobody could commit that it leaves: the metadata's only voter is stopped. */
static bool is_last_disc(const struct broker_node *n)
{
	return n->type == BROKER_NODE_DISC && broker_nodes_of_type(n->broker, BROKER_NODE_DISC) == 1;
}

/* A node says that it is down, for its app is stopped, and wants to be forgotten. That this node does not know it proves
 * nothing: its copy of the table may be older than the other's joining. */
static void cluster_leave(struct api_call *c)
{
	const char *id;
	json_int_t incarnation;
	if (!api_args(c, "{sssI}", "id", &id, "incarnation", &incarnation))
		return;
	const struct broker_node *n = broker_node_find(api_broker(c), id_arg(c));
	if (n != NULL && is_last_disc(n))
		fail_last_disc(c);
	else
		propose_leaver_down(c, (uint64_t)incarnation);
}

/* Not this one, and no link to it stands. */
static bool is_out_of_reach(const struct api_call *c, const struct broker_node *n)
{
	const struct api_node *node = api_node(c);
	return n != NULL && n->id != node->id(node->arg) && !links_linked(node->links, n->id);
}

static void fail_running(struct api_call *c, const char *name)
{
	if (is_out_of_reach(c, broker_node_by_name(api_broker(c), slice_str(name))))
		api_fail(c, API_REFUSED,
			"node %s cannot be reached from node %s, but has not been called down: others may reach it, "
			"or cluster.node_down_ms is not over. Try again later",
			name, api_node(c)->name);
	else
		api_fail(c, API_REFUSED,
			"the app on node %s must be stopped with 'warrenctl -n %s stop_app' before it "
			"can be removed",
			name, name);
}

static void fail_no_member(struct api_call *c)
{
	api_fail(c, API_UNAVAILABLE, "The node selected is not in the cluster.");
}

/* One that is up as the table has it, and not linked, has died a moment ago, most likely. */
static bool is_to_be_down(const struct api_call *c, const struct broker_node *n)
{
	return n != NULL && n->up && is_out_of_reach(c, n) && now_ms(c) < c->until_ms;
}

static void forget_when_down(struct api_call *c);

static void on_forgotten(struct api_call *c, const struct broker_result *r)
{
	const char *name = json_string_value(json_object_get(c->args, "node"));
	switch (r->code) {
	case BROKER_OK:
		api_ok(c, NULL);
		break;
	case BROKER_RUNNING: /* the end of its link may have been seen meanwhile */
		if (is_to_be_down(c, broker_node_by_name(api_broker(c), slice_str(name))))
			api_again(c, forget_when_down);
		else
			fail_running(c, name);
		break;
	case BROKER_LAST_DISC:
		api_fail(c, API_REFUSED, "%s is the only disc node of the cluster", name);
		break;
	default:
		fail_no_member(c);
	}
}

static void forget_when_down(struct api_call *c)
{
	const char *name = json_string_value(json_object_get(c->args, "node"));
	const struct broker_node *n = broker_node_by_name(api_broker(c), slice_str(name));
	struct buf b = BUF_EMPTY;
	if (n == NULL) {
		fail_no_member(c);
	} else if (is_to_be_down(c, n)) {
		if (!api_fails_in_minority(c))
			api_again(c, forget_when_down);
	} else {
		broker_put_forget_node(&b, n->id);
		api_propose(c, &b, on_forgotten);
	}
}

/* An operator says that a node will not come back. */
static void forget_cluster_node(struct api_call *c)
{
	const char *name;
	c->until_ms = now_ms(c) + DOWN_MS;
	if (api_args(c, "{ss}", "node", &name))
		forget_when_down(c);
}

const struct api_verb api_member_verbs[] = {
	{"cluster_nodes", cluster_nodes, false},
	{"cluster_peer", cluster_peer, true},
	{"cluster_knows", cluster_knows, false},
	{"cluster_join", cluster_join, false},
	{"cluster_leave", cluster_leave, false},
	{"forget_cluster_node", forget_cluster_node, false},
	{NULL, NULL, false},
};
