/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/queue_border.h"

#include <assert.h>

#include "src/base/mem.h"
#include "src/daemon/node.h"
#include "src/queue/event.h"
#include "src/queue/resume.h"

/* What the envelope's tag says of a message to a host. */
enum { TAG_SECTION = 0, TAG_RESUME = 1 };

static struct broker *border_broker(const struct shard *s)
{
	return catalog_broker(s->catalog);
}

static struct shard *border_shard(const struct shard *s, uint64_t group)
{
	return &s->node->shards[group % s->node->n_shards];
}

/* ---- to the host ---- */

struct host_mail {
	struct mail mail;
	uint64_t group;
	struct blob *blob;
	size_t n;
	bool resume;
};

static void border_hand(struct shard *to, uint64_t group, struct blob *blob, size_t n, bool resume)
{
	if (!resume) {
		queue_hosts_submit(to->hosts, group, blob, n);
		return;
	}
	queue_hosts_resume(to->hosts, group, slice_make(blob->data, n));
	blob_unref(blob);
}

static void border_on_host_mail(struct mail *m, struct worker *w)
{
	struct host_mail *hm = (struct host_mail *)m;
	border_hand(w->data, hm->group, hm->blob, hm->n, hm->resume);
	mem_free(hm);
}

static void border_here(struct shard *s, uint64_t group, struct blob *blob, size_t n, bool resume)
{
	struct shard *to = border_shard(s, group);
	if (to == s) {
		border_hand(s, group, blob, n, resume);
		return;
	}
	struct host_mail *m = MEM_NEW(struct host_mail);
	*m = (struct host_mail){{NULL, border_on_host_mail}, group, blob, n, resume};
	worker_post(&to->worker, &m->mail);
}

static bool border_serves(const struct shard *s, uint64_t node)
{
	return node == s->node->identity.node_id || link_port_linked(s->links, node);
}

static void border_submit(void *arg, uint64_t group, uint64_t node, struct blob *blob, size_t n)
{
	struct shard *s = arg;
	if (node == s->node->identity.node_id)
		border_here(s, group, blob, n, false);
	else
		link_port_send(s->links, node,
			&(struct envelope){
				.kind = ENVELOPE_SECTION, .tag = TAG_SECTION, .group = group},
			blob, COMMAND_ENTRY_HEADER, n);
}

static bool border_resume(void *arg, uint64_t group, uint64_t node, struct blob *blob, size_t n)
{
	struct shard *s = arg;
	bool served = border_serves(s, node);
	if (node == s->node->identity.node_id)
		border_here(s, group, blob, n, true);
	else
		link_port_send(s->links, node,
			&(struct envelope){
				.kind = ENVELOPE_SECTION, .tag = TAG_RESUME, .group = group},
			blob, 0, n);
	return served;
}

/* ---- where the leader may be ---- */

/* The members' nodes that can be reached, beginning with the own one and the preferred one; returns
 * how many. */
static unsigned border_candidates(
	const struct shard *s, const struct broker_queue *q, uint64_t ret[BROKER_MEMBERS_MAX])
{
	unsigned n = 0;
	for (unsigned i = 0; i < q->n_members; i++) {
		const struct broker_member *m = &q->members[i];
		const struct broker_node *node = broker_node_by_number(border_broker(s), m->node);
		if (m->state == BROKER_MEMBER_LEAVING || node == NULL || !border_serves(s, node->id))
			continue;
		ret[n++] = node->id;
		if (node->id != s->node->identity.node_id)
			continue;
		ret[n - 1] = ret[0];
		ret[0] = node->id;
	}
	return n;
}

static unsigned border_staying(const struct broker_queue *q)
{
	unsigned n = 0;
	for (unsigned i = 0; i < q->n_members; i++)
		n += q->members[i].state != BROKER_MEMBER_LEAVING;
	return n;
}

/* A queue that is not defined is for the own host to tell. */
static uint64_t border_route(void *arg, uint64_t group, unsigned attempt)
{
	struct shard *s = arg;
	const struct broker_queue *q = broker_queue_by_group(border_broker(s), group);
	uint64_t nodes[BROKER_MEMBERS_MAX];
	if (q == NULL)
		return s->node->identity.node_id;
	unsigned n = border_candidates(s, q, nodes);
	if (n > 0)
		return nodes[attempt % n];
	return border_staying(q) > 1 ? 0 : QUEUE_NOWHERE;
}

struct queue_border queue_border_of(struct shard *s)
{
	return (struct queue_border){
		.submit = border_submit, .resume = border_resume, .route = border_route, .arg = s};
}

/* ---- to the clients ---- */

struct queue_clients *queue_border_clients(void *arg, uint64_t client, struct worker **ret_worker)
{
	struct shard *s = arg;
	struct node *node = s->node;
	unsigned no = client_id_worker(client);
	uint32_t incarnation = (uint32_t)node->identity.incarnation;
	if (no >= node->n_shards || client != client_id_make(s->number, incarnation, (uint16_t)no))
		return NULL;
	*ret_worker = &node->shards[no].worker;
	return node->shards[no].clients;
}

/* A link to a later life of the node is none to the client: that life has clients of the same
 * numbers. */
uint64_t queue_border_node(void *arg, uint64_t client)
{
	struct shard *s = arg;
	const struct broker_node *n =
		broker_node_by_number(border_broker(s), client_id_node(client));
	if (n == NULL || n->id == s->node->identity.node_id)
		return 0;
	/* To a later life of the node it would be nonsense, or worse, about clients of its own. */
	uint64_t incarnation = link_port_incarnation(s->links, n->id);
	return incarnation != 0 && (uint32_t)incarnation == client_id_incarnation(client) ? n->id : 0;
}

bool queue_border_gone(void *arg, uint64_t client)
{
	struct shard *s = arg;
	const struct broker *b = border_broker(s);
	const struct broker_node *n = broker_node_by_number(b, client_id_node(client));
	uint32_t incarnation = client_id_incarnation(client);
	if (n == NULL) /* forgotten, or not known yet */
		return b->next_node == 0 || client_id_node(client) < b->next_node;
	return incarnation < (uint32_t)n->incarnation ||
	       (incarnation == (uint32_t)n->incarnation && !n->up);
}

void queue_border_send(void *arg, uint64_t node, uint16_t worker, struct blob *blob, size_t n)
{
	struct shard *s = arg;
	link_port_send(s->links, node,
		&(struct envelope){.kind = ENVELOPE_EVENTS, .worker = worker}, blob, 0, n);
}

/* ---- from other nodes ---- */

/* What follows the envelope. */
static struct slice border_octets(const struct blob *blob, size_t n)
{
	return slice_make(blob->data + ENVELOPE_SIZE, n - ENVELOPE_SIZE);
}

static bool border_on_section(struct shard *s, uint64_t group, struct blob *blob, size_t n)
{
	static_assert((int)ENVELOPE_SIZE == (int)COMMAND_ENTRY_HEADER,
		"a section that arrives becomes a batch where it is");
	if (!command_section_fits(border_octets(blob, n))) {
		blob_unref(blob);
		return false;
	}
	queue_hosts_submit(s->hosts, group, blob, n);
	return true;
}

/* The client that a section or a resume is of; 0: it makes no sense. */
static uint64_t border_sender(const struct envelope *e, const struct blob *blob, size_t n)
{
	struct resume r;
	struct slice octets = border_octets(blob, n);
	if (e->tag == TAG_SECTION)
		return octets.n >= COMMAND_SECTION_HEADER ? load_u64le(octets.p) : 0;
	return resume_get(&r, octets) ? r.client : 0;
}

/* This node's metadata is of a time at which the client's node was not there yet, or not loaded: no host
 * could answer. The client is told to look again. */
static bool border_turns_away(struct shard *s, uint64_t node, const struct envelope *e,
	const struct blob *blob, size_t n)
{
	uint64_t client = e->kind == ENVELOPE_SECTION ? border_sender(e, blob, n) : 0;
	if (client == 0 || broker_node_by_number(border_broker(s), client_id_node(client)) != NULL)
		return false;
	struct event_mail *mail = event_mail_new_octets();
	size_t octets;
	event_put_moved(mail, e->group, 0);
	struct blob *events = event_mail_octets(mail, &octets);
	queue_border_send(s, node, client_id_worker(client), events, octets);
	return true;
}

bool queue_border_receive(struct shard *s, uint64_t node, const struct envelope *e,
	struct blob *blob, size_t n)
{
	bool fine = true;
	if (border_turns_away(s, node, e, blob, n) || !s->begun) {
		blob_unref(blob);
		return true;
	}
	if (e->kind == ENVELOPE_SECTION && e->tag == TAG_SECTION)
		return border_on_section(s, e->group, blob, n);
	struct slice octets = border_octets(blob, n);
	if (e->kind == ENVELOPE_SECTION && e->tag == TAG_RESUME)
		fine = queue_hosts_resume(s->hosts, e->group, octets);
	else if (e->kind == ENVELOPE_EVENTS)
		fine = event_receive(s->clients, node, blob, octets.p, octets.n);
	blob_unref(blob);
	return fine;
}
