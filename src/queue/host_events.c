/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/host_priv.h"

/* ---- messages ---- */

void view_drop(struct entry_view *v)
{
	blob_unref(v->blob);
	*v = (struct entry_view){0};
}

/* What the machine says from here on reaches nobody: a message that it has given out and nobody got
 * must not look as if it were with a consumer. The clients are told when the turn ends. */
static void host_fail(struct queue_host *h, uint64_t index, int error)
{
	if (h->failed)
		return;
	h->failed = true;
	h->leading = false;
	list_push_back(&h->all->failing, &h->failing);
	h->all->config.failed(h->all->config.arg, h->id, index, error);
}

/* Points `at` to a message's entry: usually the one being applied, else one read back. If that cannot
 * be, the queue has failed. */
static bool host_locate(
	struct queue_host *h, uint64_t index, uint32_t offset, struct event_message *at)
{
	struct entry_view *v = &h->applying;
	if (v->index != index) {
		v = &h->all->fetched;
		if (v->group != h->id || v->index != index) {
			view_drop(v);
			int rc = group_fetch(h->group, index, &v->blob, &v->p, &v->n);
			if (rc != 0) {
				*v = (struct entry_view){0};
				host_fail(h, index, rc);
				return false;
			}
			v->group = h->id;
			v->index = index;
		}
	}
	*at = (struct event_message){v->blob, v->p, v->n, offset};
	return true;
}

/* ---- events ---- */

/* All clients of the node: those whose commands are still under way are not known to the machine. */
static void host_tell_unavailable(struct queue_host *h)
{
	const struct queue_hosts_config *c = &h->all->config;
	for (uint16_t no = 0; no < c->n_workers; no++)
		dispatch_unavailable(
			h->all->dispatch, client_id_make(c->node, c->incarnation, no), h->id);
}

static bool hosts_tell_failed(struct queue_hosts *hs)
{
	bool any = !list_empty(&hs->failing);
	struct list *node;
	while ((node = list_pop(&hs->failing)) != NULL)
		host_tell_unavailable(LIST_ENTRY(node, struct queue_host, failing));
	return any;
}

bool queue_hosts_flush(struct queue_hosts *hs)
{
	bool told = hosts_tell_failed(hs);
	view_drop(&hs->fetched);
	return dispatch_flush(hs->dispatch) || told;
}

static void host_on_deliver(void *arg, const struct machine_delivery *d)
{
	struct queue_host *h = arg;
	struct event_message at;
	if (h->leading && dispatch_reaches(h->all->dispatch, d->client) &&
		host_locate(h, d->index, d->offset, &at))
		dispatch_deliver(h->all->dispatch, h->id, d, &at);
}

static void host_on_answer(void *arg, const struct machine_answer *a)
{
	struct queue_host *h = arg;
	struct event_message at;
	if (!h->leading || !dispatch_reaches(h->all->dispatch, a->client))
		return;
	bool found =
		a->delivery != NULL && host_locate(h, a->delivery->index, a->delivery->offset, &at);
	if (!h->failed)
		dispatch_answer(h->all->dispatch, h->id, a, found ? &at : NULL);
}

static void host_on_refused(void *arg, uint64_t client, uint64_t seq)
{
	struct queue_host *h = arg;
	if (h->leading)
		dispatch_refused(h->all->dispatch, client, h->id, seq);
}

/* What a client has sent may be applied behind the end of its life: it ends once more. */
static void host_on_applied(void *arg, uint64_t client, uint64_t seq)
{
	struct queue_host *h = arg;
	if (!h->leading)
		return;
	dispatch_applied(h->all->dispatch, client, h->id, seq);
	if (host_is_over(h, client))
		host_drop_clients(h, client_id_node(client), client_id_incarnation(client));
}

static void host_on_cancelled(void *arg, uint64_t client, uint32_t consumer)
{
	struct queue_host *h = arg;
	if (h->leading)
		dispatch_cancelled(h->all->dispatch, client, h->id, consumer);
}

static void host_on_dead(void *arg, const struct machine_dead *d)
{
	struct queue_host *h = arg;
	struct event_message at;
	struct message m;
	if (!h->leading)
		return;
	if (host_locate(h, d->index, d->offset, &at) &&
		command_message_at(at.p, at.n, at.offset, &m) == 0)
		h->all->config.dead(h->all->config.arg, h->id, machine_config(h->machine), d, &m);
}

static void host_on_release(void *arg, uint64_t index)
{
	struct queue_host *h = arg;
	group_release(h->group, index);
}

void host_tell_ended(struct queue_host *h)
{
	if (h->ended)
		return;
	h->ended = true;
	h->all->config.ended(h->all->config.arg, h->id);
}

static void host_on_ended(void *arg, bool expired)
{
	struct queue_host *h = arg;
	(void)expired;
	if (h->leading)
		host_tell_ended(h);
}

const struct machine_sink host_sink = {
	.deliver = host_on_deliver,
	.answer = host_on_answer,
	.refused = host_on_refused,
	.applied = host_on_applied,
	.cancelled = host_on_cancelled,
	.dead = host_on_dead,
	.release = host_on_release,
	.ended = host_on_ended,
};
