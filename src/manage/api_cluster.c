/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of the node within its cluster: the app down and up, joining, leaving.
 *
 * A change of membership takes up to four steps, with the app stopped:
 *
 *   check   the other cluster says that it would let this node in: nothing has changed yet
 *   leave   a member of the present cluster forgets this node
 *   reset   everything is deleted here; the node has a new id
 *   join    the other cluster takes the new id in, and says who its members are
 *
 * From the second on, the node knows after whatever has cut one short (src/cluster/change.h), and goes on when it
 * starts (src/daemon/app.c).
 *
 * One at a time: a later command, also start_app, supersedes one that waits for an answer. Its caller may have given up
 * long ago, and the answer must not do anything to what the node is by then. It is the operator's last word that counts.
 */
#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/manage/api.h"
#include "src/manage/members.h"
#include "src/manage/remote.h"

enum {
	CLUSTER_PORT = 25672,
	ERR_MAX = 512,
	PORT_MAX = 65535,
	KNOCK_MS = 3000, /* for the answer of a node that is to be given up */
};

/* ---- the app ---- */

static void on_app_done(void *arg, const char *why)
{
	struct api_call *c = arg;
	const struct api_node *n = api_node(c);
	bool final;
	mem_free(n->trouble(n->arg, &final));
	if (why == NULL)
		api_ok(c, NULL);
	else
		api_fail(c, final ? API_REFUSED : API_UNAVAILABLE, "node %s: %s", n->name, why);
}

static void start_app(struct api_call *c)
{
	const struct api_node *n = api_node(c);
	switch (n->app(n->arg)) {
	case API_APP_STOPPED:
		api_supersede(c, "start_app");
		n->start_app(n->arg, on_app_done, c);
		break;
	case API_APP_RUNNING:
		api_ok(c, NULL);
		break;
	case API_APP_STARTING:
		api_fail(c, API_STARTING, "node %s: its app is being started already", n->name);
		break;
	default:
		on_app_done(c, "its app is being stopped right now");
	}
}

/* One that goes down by itself, to start anew, stays down then. */
static void stop_app(struct api_call *c)
{
	const struct api_node *n = api_node(c);
	if (n->app(n->arg) == API_APP_STOPPED)
		api_ok(c, NULL);
	else
		n->stop_app(n->arg, on_app_done, c);
}

/* Ends the call and returns false if the app is not stopped. */
static bool app_is_stopped(struct api_call *c)
{
	const struct api_node *n = api_node(c);
	if (n->app(n->arg) == API_APP_STOPPED)
		return true;
	api_fail(c, API_RUNNING,
		"this command requires the 'warren' app to be stopped on the target node. Stop it with "
		"'warrenctl stop_app'.");
	return false;
}

/* ---- a change of membership ---- */

struct changing {
	struct api_call *call;
	uint64_t number; /* of api_supersede() */
	struct change to;
	enum broker_node_type type;
	char *name, *address; /* of the member to be joined; NULL: none, or any of its cluster */
	size_t next;          /* in the membership: the next member to be asked to forget this node */
	size_t via;           /* in `to`: the next one to be asked to let this node in */
	char *refusal;        /* of one that could not, or NULL */
	bool unsure;          /* somebody may have forgotten this node, or may yet */
};

static struct changing *change_new(struct api_call *c, const char *verb)
{
	struct changing *ch = MEM_NEW(struct changing);
	ch->call = c;
	ch->number = api_supersede(c, verb);
	return ch;
}

static const struct api_node *own(const struct changing *ch)
{
	return api_node(ch->call);
}

static const struct membership *membership_now(const struct changing *ch)
{
	return own(ch)->membership(own(ch)->arg);
}

static struct api_call *change_end(struct changing *ch)
{
	struct api_call *c = ch->call;
	change_done(&ch->to);
	mem_free(ch->name);
	mem_free(ch->address);
	mem_free(ch->refusal);
	mem_free(ch);
	return c;
}

static void change_fail(struct changing *ch, enum api_error code, const char *text)
{
	api_fail(change_end(ch), code, "%s", text);
}

static void fail_unasked(struct changing *ch, const char *name, const char *why)
{
	char *who = mem_strdup(name);
	api_fail(change_end(ch), API_UNAVAILABLE, "unable to ask node %s: %s", who, why);
	mem_free(who);
}

static void fail_with(struct changing *ch, const char *name, const json_t *reply)
{
	char *who = mem_printf("%s: ", name);
	api_pass(change_end(ch), who, reply);
	mem_free(who);
}

static bool app_runs(const struct changing *ch)
{
	return own(ch)->app(own(ch)->arg) != API_APP_STOPPED;
}

/* To be asked whenever it has waited. False after having ended the change, and nothing else: the node is another
 * command's now. */
static bool change_stands(struct changing *ch)
{
	const char *by = api_superseded(ch->call, ch->number);
	if (by == NULL && !app_runs(ch))
		return true;
	api_fail(change_end(ch), API_REFUSED, "'%s' came meanwhile: this command does not go on",
		by != NULL ? by : "start_app");
	return false;
}

/* False after having ended the change: it does not go on, or the member did not do it. */
static bool change_answered(struct changing *ch, const json_t *reply, const char *why)
{
	if (!change_stands(ch))
		return false;
	if (reply != NULL && json_is_true(json_object_get(reply, "ok")))
		return true;
	if (reply != NULL)
		fail_with(ch, ch->name, reply);
	else
		fail_unasked(ch, ch->name, why);
	return false;
}

static json_t *join_args(const struct changing *ch, bool check)
{
	const struct api_node *n = own(ch);
	return members_join_args(n->id(n->arg), n->name, n->address, ch->type, check);
}

/* -- join -- */

/* From here on it takes the node's own start to become a member, if this fails. */
static void change_join(struct changing *ch);

static void take_members(struct changing *ch, json_t *reply)
{
	const struct api_node *n = own(ch);
	struct membership membership;
	char err[ERR_MAX];
	if (!members_get(json_object_get(reply, "result"), ch->type, &membership)) {
		change_fail(ch, API_UNAVAILABLE, "the other node's answer is not understood");
	} else if (membership_find(&membership, n->id(n->arg)) == NULL) {
		membership_done(&membership);
		change_fail(ch, API_REFUSED, "the cluster has let the node in, and forgotten it already");
	} else if (n->join(n->arg, &membership, err, sizeof err) != 0) {
		change_fail(ch, API_REFUSED, err);
	} else {
		api_ok(change_end(ch), NULL);
	}
}

static void fail_to_join(struct changing *ch, const json_t *reply, const char *why)
{
	const char *name = ch->to.vias[ch->via - 1].name;
	if (reply != NULL)
		fail_with(ch, name, reply);
	else
		fail_unasked(ch, name, why);
}

static void on_join_answer(void *arg, json_t *reply, const char *why)
{
	struct changing *ch = arg;
	if (!change_stands(ch))
		return;
	if (json_is_true(json_object_get(reply, "ok")))
		take_members(ch, reply);
	else if (ch->via < ch->to.n_vias)
		change_join(ch);
	else
		fail_to_join(ch, reply, why);
}

static void change_join(struct changing *ch)
{
	const struct change_via *v = &ch->to.vias[ch->via++];
	remote_call(own(ch)->links, v->address, v->name, "cluster_join", join_args(ch, false), on_join_answer, ch);
}

/* -- reset -- */

static void change_reset(struct changing *ch)
{
	const struct api_node *n = own(ch);
	char err[ERR_MAX];
	if (n->reset(n->arg, err, sizeof err) != 0)
		change_fail(ch, API_REFUSED, err);
	else if (change_joins(&ch->to))
		change_join(ch);
	else
		api_ok(change_end(ch), NULL);
}

/* -- leave -- */

static void change_leave(struct changing *ch);

enum { DOUBT_MAX = 200 };

/* Ends the change of a node that nobody is known to have forgotten. If nobody has, that is taken back; else it is for
 * the next start to find out, and `ret` says so behind the reason. */
static struct api_call *change_give_up(struct changing *ch, char ret[DOUBT_MAX])
{
	ret[0] = '\0';
	if (ch->unsure)
		snprintf(ret, DOUBT_MAX,
			". It is not known whether the cluster forgets the node: 'start_app' finds out, and goes on with "
			"what was begun if it has");
	else
		own(ch)->take_back(own(ch)->arg);
	return change_end(ch);
}

/* Of the member that was asked last. */
static void change_note_refusal(struct changing *ch, const char *message)
{
	mem_free(ch->refusal);
	ch->refusal = mem_printf("%s: %s", membership_now(ch)->nodes[ch->next - 1].name, message);
}

static void change_refused(struct changing *ch, const char *message)
{
	char doubt[DOUBT_MAX];
	struct api_call *c = change_give_up(ch, doubt);
	api_fail(c, API_REFUSED, "%s%s", message, doubt);
}

static void on_leave_answer(void *arg, json_t *reply, const char *why)
{
	struct changing *ch = arg;
	const char *error = "", *message = "";
	(void)why;
	if (!change_stands(ch))
		return;
	json_unpack(reply, "{s?ss?s}", "error", &error, "message", &message);
	ch->unsure |= reply == NULL || json_is_true(json_object_get(reply, "unsure"));
	if (json_is_true(json_object_get(reply, "ok"))) {
		change_reset(ch);
	} else if (strcmp(error, "refused") == 0) {
		change_refused(ch, message);
	} else {
		if (strcmp(error, "unavailable") == 0)
			change_note_refusal(ch, message);
		change_leave(ch);
	}
}

static void change_fail_to_leave(struct changing *ch)
{
	char *refusal = ch->refusal;
	char doubt[DOUBT_MAX];
	ch->refusal = NULL;
	struct api_call *c = change_give_up(ch, doubt);
	if (refusal != NULL)
		api_fail(c, API_UNAVAILABLE, "%s%s. 'force_reset' resets the node without telling the others.", refusal,
			doubt);
	else
		api_fail(c, API_UNAVAILABLE,
			"Could not find any online cluster nodes%s. If the cluster has changed, you can "
			"use the 'update_cluster_nodes' command; 'force_reset' resets the node without "
			"telling the others.",
			doubt);
	mem_free(refusal);
}

static void change_leave(struct changing *ch)
{
	const struct api_node *n = own(ch);
	const struct membership *r = membership_now(ch);
	char id[MEMBER_ID_MAX];
	while (ch->next < r->n_nodes && r->nodes[ch->next].id == n->id(n->arg))
		ch->next++;
	if (ch->next >= r->n_nodes) {
		change_fail_to_leave(ch);
		return;
	}
	const struct membership_node *to = &r->nodes[ch->next++];
	json_t *args = json_pack("{sssI}", "id", member_id_put(id, n->id(n->arg)), "incarnation",
		(json_int_t)n->incarnation(n->arg));
	remote_call(n->links, to->address, to->name, "cluster_leave", args, on_leave_answer, ch);
}

/* -- begin -- */

/* With `quietly` no member is told; nor is one that has begun earlier and come further than that. */
static void change_begin(struct changing *ch, bool quietly)
{
	const struct api_node *n = own(ch);
	enum change_step before = n->change(n->arg)->step;
	char err[ERR_MAX];
	quietly |= membership_now(ch)->n_nodes <= 1 || before == CHANGE_WIPE;
	ch->to.type = ch->type;
	ch->to.step = quietly ? CHANGE_WIPE : CHANGE_LEAVE;
	ch->unsure = before == CHANGE_LEAVE;
	if (n->begin(n->arg, &ch->to, err, sizeof err) != 0)
		change_fail(ch, API_REFUSED, err);
	else if (ch->to.step == CHANGE_LEAVE)
		change_leave(ch);
	else
		change_reset(ch);
}

/* -- check -- */

static void on_check_answer(void *arg, json_t *reply, const char *why)
{
	struct changing *ch = arg;
	if (!change_answered(ch, reply, why))
		return;
	change_add_via(&ch->to, ch->name, ch->address);
	change_begin(ch, false);
}

static void change_check(struct changing *ch)
{
	remote_call(own(ch)->links, ch->address, ch->name, "cluster_join", join_args(ch, true),
		on_check_answer, ch);
}

/* ---- joining ---- */

/* "name@host", "name@host:port" */
static bool target_get(struct changing *ch, const char *node)
{
	const char *at = strchr(node, '@');
	const char *colon = at != NULL ? strrchr(at, ':') : NULL;
	size_t n = colon != NULL ? (size_t)(colon - node) : strlen(node);
	long port = colon != NULL ? strtol(colon + 1, NULL, 10) : CLUSTER_PORT;
	if (at == NULL || at == node || at[1] == '\0' || port < 1 || port > PORT_MAX)
		return false;
	ch->name = mem_printf("%.*s", (int)n, node);
	ch->address = mem_printf("%.*s:%ld", (int)(n - (size_t)(at + 1 - node)), at + 1, port);
	return true;
}

static bool type_get(struct api_call *c, enum broker_node_type *ret)
{
	const char *type = json_string_value(json_object_get(c->args, "type"));
	*ret = BROKER_NODE_DISC;
	if (type == NULL || strcmp(type, "disc") == 0 || strcmp(type, "disk") == 0)
		return true;
	*ret = BROKER_NODE_RAM;
	if (strcmp(type, "ram") == 0)
		return true;
	api_fail(c, API_BAD_REQUEST, "The node type must be either disc or ram.");
	return false;
}

/* Of a node that this one knows as a fellow: it may have been told meanwhile to forget this one. Who cannot say is
 * believed to be one still. */
static void on_fellow_answer(void *arg, json_t *reply, const char *why)
{
	struct changing *ch = arg;
	struct membership theirs;
	bool knows_us = true;
	(void)why;
	if (!change_stands(ch))
		return;
	if (members_get(json_object_get(reply, "result"), membership_now(ch)->type, &theirs)) {
		knows_us = membership_find(&theirs, own(ch)->id(own(ch)->arg)) != NULL;
		membership_done(&theirs);
	}
	if (knows_us)
		api_ok(change_end(ch), json_string("The node is already a member of this cluster"));
	else
		change_fail(ch, API_REFUSED,
			"inconsistent_cluster: this node is no member of that cluster any more, though it has "
			"been one. Delete what it has with 'warrenctl reset', then join");
}

static void join_cluster(struct api_call *c)
{
	const char *node;
	enum broker_node_type type;
	if (!api_args(c, "{ss}", "node", &node) || !type_get(c, &type) || !app_is_stopped(c))
		return;
	struct changing *ch = change_new(c, "join_cluster");
	ch->type = type;
	if (!target_get(ch, node))
		change_fail(ch, API_BAD_REQUEST, "a node to join is called NAME@HOST or NAME@HOST:PORT");
	else if (strcmp(ch->name, own(ch)->name) == 0)
		change_fail(ch, API_REFUSED, "Cannot cluster node with itself");
	else if (membership_named(membership_now(ch), ch->name) != NULL)
		remote_call(own(ch)->links, ch->address, ch->name, "cluster_nodes", json_object(),
			on_fellow_answer, ch);
	else
		change_check(ch);
}

/* Leaves and comes back as what it is to be: with another id, for what it has had is gone. */
static void change_type(struct api_call *c)
{
	enum broker_node_type type;
	const struct api_node *n = api_node(c);
	const struct membership *r = n->membership(n->arg);
	if (!type_get(c, &type) || !app_is_stopped(c))
		return;
	if ((r->cluster_id != 0 ? r->type : BROKER_NODE_DISC) == type) {
		api_ok(c, json_sprintf("Node type is already %s", broker_node_type_name(type)));
		return;
	}
	if (r->n_nodes < 2) {
		api_fail(c, API_UNAVAILABLE, "Non-clustered nodes can only be disc nodes.");
		return;
	}
	struct changing *ch = change_new(c, "change_cluster_node_type");
	ch->type = type;
	for (size_t i = 0; i < r->n_nodes; i++)
		if (r->nodes[i].id != n->id(n->arg))
			change_add_via(&ch->to, r->nodes[i].name, r->nodes[i].address);
	change_begin(ch, false);
}

/* ---- leaving ---- */

static void reset(struct api_call *c)
{
	if (app_is_stopped(c))
		change_begin(change_new(c, "reset"), false);
}

static void force_reset(struct api_call *c)
{
	if (app_is_stopped(c))
		change_begin(change_new(c, "force_reset"), true);
}

/* ---- others that will not come back ---- */

/* Ends the call and returns false if the node cannot go on with less than the cluster. */
static bool may_give_up(struct api_call *c)
{
	const struct api_node *n = api_node(c);
	if (!app_is_stopped(c))
		return false;
	enum change_step step = n->change(n->arg)->step;
	if (step == CHANGE_WIPE || step == CHANGE_JOIN)
		api_fail(c, API_REFUSED,
			"node %s cannot go on with what it has: it %s, as it was told to. 'start_app' goes on with that; "
			"'reset' makes an empty node of it, which joins nobody",
			n->name, step == CHANGE_WIPE ? "is to delete that" : "has deleted that, and is to join a cluster");
	else if (n->membership(n->arg)->type == BROKER_NODE_RAM)
		api_fail(c, API_REFUSED, "node %s is a RAM node: a disc node must go on first", n->name);
	else
		return true;
	return false;
}

/* Ends the call, saying what will come of it. */
static void give_up(struct api_call *c, uint64_t node)
{
	const struct api_node *n = api_node(c);
	const struct membership *r = n->membership(n->arg);
	char err[ERR_MAX];
	if (n->give_up(n->arg, node, err, sizeof err) != 0)
		api_fail(c, API_REFUSED, "%s", err);
	else if (membership_alone(r, n->id(n->arg)))
		api_ok(c, json_string("With the next start_app this node goes on alone, with what it has. What "
				      "only the others had is lost; they must not come back before they are "
				      "reset."));
	else if (r->n_nodes > 1)
		api_ok(c, json_string("The node is forgotten when this one runs in the cluster. If the others "
				      "will not come back either, remove them, too."));
	else
		api_ok(c, NULL);
}

/* -- are they really gone? -- */

/* Asks those that are to be given up whether they are there: they would go on as the cluster that this node takes
 * itself out of. With "force" nobody is asked. */
struct doubt {
	struct api_call *call;
	uint64_t number;  /* of api_supersede() */
	uint64_t node;    /* to be given up; 0: all others */
	unsigned waiting; /* for answers, and for all of them being asked */
	char *alive;      /* the name of one that has answered; NULL: none */
	bool serves;      /* it does so for clients */
};

struct knock {
	struct doubt *doubt;
	uint64_t id;
	char *name;
};

static void fail_alive(struct api_call *c, const char *name, bool serves)
{
	api_fail(c, API_REFUSED,
		"node %s %s: it would go on as the cluster with what it has, beside this one. %s; 'reset' or end "
		"those that are to be given up, or overrule this with --force",
		name, serves ? "is there and serves clients" : "is there, though it does not serve clients",
		serves ? "Start this node's app again: it belongs to that cluster"
		       : "If it can be started, start it and this node");
}

static void doubt_answered(struct doubt *d)
{
	if (--d->waiting > 0)
		return;
	struct api_call *c = d->call;
	const char *by = api_superseded(c, d->number);
	if (d->alive != NULL)
		fail_alive(c, d->alive, d->serves);
	else if (by != NULL)
		api_fail(c, API_REFUSED, "'%s' came meanwhile: this command does not go on", by);
	else if (may_give_up(c))
		give_up(c, d->node);
	mem_free(d->alive);
	mem_free(d);
}

static bool is_member(const json_t *peer, uint64_t id)
{
	const char *text = json_string_value(json_object_get(peer, "id"));
	uint64_t its;
	return text != NULL && member_id_get(text, &its) && its == id &&
	       !json_is_true(json_object_get(peer, "blank"));
}

static void on_knock(void *arg, json_t *reply, const char *why)
{
	struct knock *k = arg;
	struct doubt *d = k->doubt;
	const json_t *peer = json_object_get(reply, "result");
	bool serves = json_is_true(json_object_get(peer, "ready"));
	(void)why;
	/* Whoever serves clients is the better reason. */
	if (is_member(peer, k->id) && (d->alive == NULL || (serves && !d->serves))) {
		mem_free(d->alive);
		d->alive = k->name;
		d->serves = serves;
		k->name = NULL;
	}
	doubt_answered(d);
	mem_free(k->name);
	mem_free(k);
}

static void knock(struct doubt *d, const struct membership_node *m)
{
	struct knock *k = MEM_NEW(struct knock);
	*k = (struct knock){d, m->id, mem_strdup(m->name)};
	d->waiting++;
	remote_ask(api_node(d->call)->links, m->address, "cluster_peer", KNOCK_MS, on_knock, k);
}

/* Ends the call. */
static void give_up_unless_alive(struct api_call *c, const char *verb, uint64_t node)
{
	const struct api_node *n = api_node(c);
	const struct membership *r = n->membership(n->arg);
	struct doubt *d = MEM_NEW(struct doubt);
	*d = (struct doubt){.call = c, .number = api_supersede(c, verb), .node = node, .waiting = 1};
	bool force = json_is_true(json_object_get(c->args, "force"));
	for (size_t i = 0; !force && i < r->n_nodes; i++)
		if (r->nodes[i].id != n->id(n->arg) && (node == 0 || node == r->nodes[i].id))
			knock(d, &r->nodes[i]);
	doubt_answered(d);
}

static void forget_offline(struct api_call *c)
{
	const char *name;
	const struct api_node *n = api_node(c);
	if (!api_args(c, "{ss}", "node", &name) || !may_give_up(c))
		return;
	const struct membership_node *m = membership_named(n->membership(n->arg), name);
	if (m == NULL)
		api_fail(c, API_REFUSED, "The node selected is not in the cluster.");
	else if (m->id == n->id(n->arg))
		api_fail(c, API_REFUSED, "a node cannot be removed by itself");
	else
		give_up_unless_alive(c, "forget_cluster_node --offline", m->id);
}

static void force_boot(struct api_call *c)
{
	if (may_give_up(c))
		give_up_unless_alive(c, "force_boot", 0);
}

/* ---- other addresses ---- */

static void on_seed_answer(void *arg, json_t *reply, const char *why)
{
	struct changing *ch = arg;
	const struct api_node *n = own(ch);
	struct membership membership;
	char err[ERR_MAX];
	if (!change_answered(ch, reply, why))
		return;
	if (!members_get(json_object_get(reply, "result"), membership_now(ch)->type, &membership)) {
		change_fail(ch, API_UNAVAILABLE, "the other node's answer is not understood");
	} else if (membership_find(&membership, n->id(n->arg)) == NULL) {
		membership_done(&membership);
		change_fail(ch, API_REFUSED,
			"inconsistent_cluster: the node is no member of that cluster: use join_cluster");
	} else if (n->join(n->arg, &membership, err, sizeof err) != 0) {
		change_fail(ch, API_REFUSED, err);
	} else {
		api_ok(change_end(ch), NULL);
	}
}

/* Learns where the others are now. */
static void update_cluster_nodes(struct api_call *c)
{
	const char *node;
	if (!api_args(c, "{ss}", "node", &node) || !app_is_stopped(c))
		return;
	struct changing *ch = change_new(c, "update_cluster_nodes");
	if (!target_get(ch, node))
		change_fail(ch, API_BAD_REQUEST, "a node is called NAME@HOST or NAME@HOST:PORT");
	else if (strcmp(ch->name, own(ch)->name) == 0)
		change_fail(ch, API_REFUSED, "Cannot cluster node with itself");
	else
		remote_call(own(ch)->links, ch->address, ch->name, "cluster_nodes", json_object(),
			on_seed_answer, ch);
}

const struct api_verb api_cluster_verbs[] = {
	{"start_app", start_app, true},
	{"stop_app", stop_app, true},
	{"join_cluster", join_cluster, true},
	{"change_cluster_node_type", change_type, true},
	{"reset", reset, true},
	{"force_reset", force_reset, true},
	{"forget_offline", forget_offline, true},
	{"force_boot", force_boot, true},
	{"update_cluster_nodes", update_cluster_nodes, true},
	{NULL, NULL, false},
};
