/* SPDX-License-Identifier: Apache-2.0
 *
 * What a node remembers of the cluster that it is in, and of a change of that: in memory, and in the files `cluster`
 * and `change`.
 */
#include <stdio.h>
#include <string.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/daemon/node.h"

enum { ERR_MAX = 512, ERASE_AGAIN_S = 5 };

/* ---- a change of membership ---- */

/* The step is on the disk, or is not taken. */
static int node_step(struct node *n, enum change_step step, char *err, size_t err_n)
{
	enum change_step before = n->change.step;
	n->change.step = step;
	if (change_write(&n->change, n->data_dir, err, err_n) == 0)
		return 0;
	n->change.step = before;
	return -1;
}

static int node_end_change(struct node *n, char *err, size_t err_n)
{
	if (n->change.step == CHANGE_NONE)
		return 0;
	if (node_step(n, CHANGE_NONE, err, err_n) != 0)
		return -1;
	change_done(&n->change);
	return 0;
}

int node_begin_change(void *arg, const struct change *change, char *err, size_t err_n)
{
	struct node *n = arg;
	struct change before = n->change;
	n->change = change_copy(change);
	int rc = node_step(n, n->change.step, err, err_n);
	if (rc != 0) {
		log_error("node", "%s", err);
		change_done(&n->change);
		n->change = before;
	} else {
		change_done(&before);
		node_end_taking_back(n);
	}
	return rc;
}

/* Whatever the disk says, this process does not leave any more; a later one would, if the members have forgotten it by
 * then. */
static void node_erase_change(void *arg)
{
	struct node *n = arg;
	char err[ERR_MAX];
	if (change_write(&n->change, n->data_dir, err, sizeof err) == 0) {
		node_end_taking_back(n);
		return;
	}
	log_error("node", "%s; tried again in %d s", err, ERASE_AGAIN_S);
	if (n->taking_back == NULL)
		n->taking_back = timer_new(&n->shards[0].worker, node_erase_change, n);
	timer_set(n->taking_back, ERASE_AGAIN_S * 1000);
}

void node_take_back(void *arg)
{
	struct node *n = arg;
	if (n->change.step != CHANGE_LEAVE)
		return;
	change_done(&n->change);
	node_erase_change(n);
}

void node_end_taking_back(struct node *n)
{
	timer_free(n->taking_back);
	n->taking_back = NULL;
}

int node_has_left(struct node *n, char *err, size_t err_n)
{
	return node_step(n, CHANGE_WIPE, err, err_n);
}

/* A crash repeats what is missing: as long as the step is this one, nobody else knows the new id. */
int node_wipe_data(struct node *n, char *err, size_t err_n)
{
	log_info("node", "the node is reset: everything in %s is deleted", n->data_dir);
	app_forget_trouble(&n->app);
	membership_done(&n->membership);
	if (membership_write(&n->membership, n->data_dir, err, err_n) != 0 ||
		store_wipe(n->data_dir, n->claim, err, err_n) != 0)
		return -1;
	return change_joins(&n->change) ? node_step(n, CHANGE_JOIN, err, err_n) : node_end_change(n, err, err_n);
}

/* The new store's identity is this node's from now on, whether or not the app is started. */
static int node_take_identity(struct node *n, char *err, size_t err_n)
{
	struct store *store;
	if (store_open(&store, n->data_dir, n->claim, err, err_n) != 0)
		return -1;
	n->identity = *store_identity(store);
	n->blank = true;
	store_close(store);
	links_set_identity(n->links, n->identity.node_id, n->identity.incarnation, 0);
	return 0;
}

int node_reset(void *arg, char *err, size_t err_n)
{
	struct node *n = arg;
	if (n->change.step != CHANGE_LEAVE && n->change.step != CHANGE_WIPE)
		snprintf(err, err_n, "%s has not been told to delete what it has", n->name);
	else if ((n->change.step == CHANGE_WIPE || node_has_left(n, err, err_n) == 0) &&
		 node_wipe_data(n, err, err_n) == 0 && node_take_identity(n, err, err_n) == 0)
		return 0;
	log_error("node", "%s", err);
	return -1;
}

/* ---- the membership ---- */

int node_remember(struct node *n, char *err, size_t err_n)
{
	int rc = membership_read(&n->membership, n->data_dir, err, err_n);
	return rc == 0 ? change_read(&n->change, n->data_dir, err, err_n) : rc;
}

int node_settle_change(struct node *n, char *err, size_t err_n)
{
	return n->change.step == CHANGE_JOIN && n->membership.cluster_id != 0 ? node_end_change(n, err, err_n) : 0;
}

static int node_write_membership(struct node *n, char *err, size_t err_n)
{
	if (membership_write(&n->membership, n->data_dir, err, err_n) == 0)
		return 0;
	log_error("node", "%s", err);
	return -1;
}

int node_take_membership(struct node *n, struct membership *membership, char *err, size_t err_n)
{
	app_forget_trouble(&n->app);
	membership_done(&n->membership);
	n->membership = *membership;
	n->blank = false;
	log_info("node", "%s is now a %s node of a cluster of %zu", n->name,
		broker_node_type_name(membership->type), membership->n_nodes);
	int rc = node_write_membership(n, err, err_n);
	return rc == 0 && n->change.step == CHANGE_JOIN ? node_end_change(n, err, err_n) : rc;
}

int node_join(void *arg, struct membership *membership, char *err, size_t err_n)
{
	const struct node *n = arg;
	if (n->app.state == APP_DOWN)
		return node_take_membership(arg, membership, err, err_n);
	membership_done(membership);
	snprintf(err, err_n, "the app was started meanwhile");
	return -1;
}

static struct membership_node *node_member(struct node *n, uint64_t id)
{
	return (struct membership_node *)(uintptr_t)membership_find(&n->membership, id);
}

/* The membership with one member, 0 for all others, given up. */
static struct membership node_membership_without(const struct node *n, uint64_t member)
{
	const struct membership *now = &n->membership;
	struct membership ret = {.cluster_id = now->cluster_id, .type = now->type};
	for (size_t i = 0; i < now->n_nodes; i++) {
		const struct membership_node *m = &now->nodes[i];
		bool meant = m->id != n->identity.node_id && (member == 0 || member == m->id);
		membership_add(&ret, m->id, m->type, slice_str(m->name), slice_str(m->address));
		ret.nodes[i].lost = m->lost || meant;
		if (meant)
			log_warning("node", "an operator gives %s up", m->name);
	}
	return ret;
}

/* What cannot be written is not done: the next start goes by what is remembered here. */
int node_give_up(void *arg, uint64_t member, char *err, size_t err_n)
{
	struct node *n = arg;
	struct membership before = n->membership;
	n->membership = node_membership_without(n, member);
	int rc = node_write_membership(n, err, err_n);
	if (rc == 0) {
		membership_done(&before);
	} else {
		membership_done(&n->membership);
		n->membership = before;
	}
	return rc;
}

void node_on_found(struct node *n, uint64_t member)
{
	char err[ERR_MAX];
	struct membership_node *m = node_member(n, member);
	if (m == NULL || !m->lost)
		return;
	log_warning("node", "%s was given up, and is there: it is not forgotten", m->name);
	m->lost = false;
	node_write_membership(n, err, sizeof err);
}

static void node_keep_lost(struct node *n, struct membership *now)
{
	for (size_t i = 0; i < now->n_nodes; i++) {
		const struct membership_node *before = node_member(n, now->nodes[i].id);
		now->nodes[i].lost = before != NULL && before->lost;
	}
}

void node_on_table(struct node *n, const struct broker *b)
{
	struct membership now;
	char err[ERR_MAX];
	if (broker_node_incarnation(b, n->identity.node_id) < n->identity.incarnation)
		return; /* a past state, or this node is in it no more: what is remembered is the way back */
	membership_of(&now, b, n->identity.node_id);
	if (membership_equal(&now, &n->membership)) {
		membership_done(&now);
		return;
	}
	node_keep_lost(n, &now);
	membership_done(&n->membership);
	n->membership = now;
	node_write_membership(n, err, sizeof err);
}
