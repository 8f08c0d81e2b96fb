/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/host_priv.h"

#include "src/base/log.h"
#include "src/loop/timer.h"

enum {
	COMPLETE_MS = 1000, /* for whoever deleted a queue to take its definition away */
	TIMER_MAX_MS = 3600 * 1000, /* longer waits are cut: the wall clock may be set meanwhile */
};

/* ---- time ---- */

/* Who deleted it takes the definition away when the answer is there. Were that done from here as well, it
 * could overtake the answer, which goes another way: the queue would be gone for its own deleter. But whoever
 * deleted it may be gone before its definition is. */
static void host_complete(struct queue_host *h)
{
	if (h->ended || h->completing)
		return;
	h->completing = true;
	timer_set(h->timer, COMPLETE_MS);
}

static void host_arm(struct queue_host *h)
{
	uint64_t at = h->leading ? machine_deadline(h->machine) : UINT64_MAX;
	if (at == UINT64_MAX || (h->armed != 0 && h->armed <= at))
		return;
	uint64_t now = h->all->config.worker->wall_ms;
	uint64_t delay = at > now ? at - now : 0;
	if (delay > TIMER_MAX_MS)
		delay = TIMER_MAX_MS;
	h->armed = now + delay > 0 ? now + delay : 1;
	timer_set(h->timer, delay);
}

void host_on_timer(void *arg)
{
	struct queue_host *h = arg;
	h->armed = 0;
	if (!h->leading)
		return;
	if (h->completing) {
		host_tell_ended(h);
		return;
	}
	if (machine_deadline(h->machine) <= h->all->config.worker->wall_ms) {
		struct buf b = BUF_EMPTY;
		command_put_time(&b);
		host_propose(h, &b);
		buf_done(&b);
		/* Armed again when it is applied. */
		return;
	}
	host_arm(h);
}

/* ---- the group's state machine ---- */

static void host_seal(void *arg, uint8_t *header)
{
	struct queue_host *h = arg;
	uint64_t now = h->all->config.worker->wall_ms;
	uint64_t last = machine_stamp(h->machine);
	command_put_entry_header(header, now > last ? now : last);
}

static void host_apply(void *arg, uint64_t index, struct blob *blob, const uint8_t *p, size_t n)
{
	struct queue_host *h = arg;
	h->applying = (struct entry_view){h->id, index, blob, p, n};
	if (machine_apply(h->machine, index, p, n, &host_sink, h) != 0)
		log_error("queue", "group %lu: entry %lu is malformed", (unsigned long)h->id,
			(unsigned long)index);
	h->applying = (struct entry_view){0};
	if (h->leading && machine_gone(h->machine))
		host_complete(h);
	if (!list_empty(&h->lazy) && host_has_ready(h))
		host_hurry(h); /* a consumer may wait for what its acknowledgements make room for */
	host_arm(h);
}

static void host_snapshot(
	void *arg, uint64_t previous, struct buf *data, struct buf *live, struct buf *rows)
{
	struct queue_host *h = arg;
	(void)rows;
	machine_snapshot(h->machine, data);
	machine_live(h->machine, previous, live);
}

static void host_snapshot_done(void *arg, uint64_t index)
{
	(void)arg;
	(void)index;
}

static int host_restore(void *arg, uint64_t index, struct slice data)
{
	struct queue_host *h = arg;
	(void)index;
	machine_free(h->machine);
	h->machine = machine_new();
	return machine_restore(h->machine, data, h->all->config.state_max);
}

/* Tried out beside the state that is there. */
static bool host_accepts(void *arg, struct slice data)
{
	struct queue_host *h = arg;
	struct machine *m = machine_new();
	bool ok = machine_restore(m, data, h->all->config.state_max) == 0;
	machine_free(m);
	return ok;
}

static void host_live(void *arg, struct buf *live)
{
	struct queue_host *h = arg;
	machine_live(h->machine, 0, live);
}

/* ---- clients that are gone ---- */

void host_drop_clients(struct queue_host *h, uint16_t node, uint32_t incarnation)
{
	struct buf b = BUF_EMPTY;
	command_put_client_down(&b, &(struct command_client_down){
					    .client = client_id_make(node, incarnation, 0),
					    .node = true});
	host_propose(h, &b);
	buf_done(&b);
}

struct search {
	uint16_t node;
	uint32_t incarnation;
	bool found;
};

static void client_is_of(void *arg, uint64_t client)
{
	struct search *s = arg;
	if (client_id_node(client) == s->node && client_id_incarnation(client) <= s->incarnation)
		s->found = true;
}

void queue_hosts_node_gone(struct queue_hosts *hs, uint16_t node, uint32_t incarnation)
{
	struct queue_host *h, *next;
	HASH_ITER(hh, hs->by_id, h, next)
	{
		struct search s = {node, incarnation, false};
		if (h->leading)
			machine_each_client(h->machine, client_is_of, &s);
		if (s.found)
			host_drop_clients(h, node, incarnation);
	}
}

/* ---- leading ---- */

static void host_greet(void *arg, uint64_t client)
{
	struct queue_host *h = arg;
	if (host_is_over(h, client))
		host_drop_clients(h, client_id_node(client), client_id_incarnation(client));
	else
		dispatch_led(h->all->dispatch, client, h->id, h->term);
}

/* The lease of an unused queue starts anew with its leader: while none was there, nobody could use
 * it. */
static void host_renew_lease(struct queue_host *h)
{
	if (machine_config(h->machine)->expires_ms == CONFIG_NONE)
		return;
	struct buf b = BUF_EMPTY;
	command_put_status(&b, &(struct command_status){.touch = true});
	host_propose(h, &b);
	buf_done(&b);
}

static void host_set_config(struct queue_host *h)
{
	struct buf now = BUF_EMPTY;
	command_put_config(&now, machine_config(h->machine));
	if (!slice_eq(buf_slice(&now), buf_slice(&h->config)))
		host_propose(h, &h->config);
	buf_done(&now);
}

static void host_send_known_away(void *arg, uint64_t client)
{
	struct queue_host *h = arg;
	if (!expected_has(&h->expected, client))
		dispatch_moved(h->all->dispatch, client, h->id, 0);
}

void host_send_away(struct queue_host *h)
{
	for (uint32_t i = 0; i < h->expected.n; i++)
		dispatch_moved(h->all->dispatch, h->expected.a[i].client, h->id, 0);
	machine_each_client(h->machine, host_send_known_away, h);
	expected_done(&h->expected);
}

static void host_lead(struct queue_host *h)
{
	if (h->failed)
		return;
	h->leading = true;
	if (machine_gone(h->machine))
		host_complete(h);
	else
		host_set_config(h);
	machine_each_client(h->machine, host_greet, h);
	host_call_back(h);
	host_renew_lease(h);
	host_take_early(h);
	machine_resume(h->machine, &host_sink, h);
	host_arm(h);
	if (h->all->config.leads != NULL)
		h->all->config.leads(h->all->config.arg, h->id, true);
}

static void host_stop_leading(struct queue_host *h)
{
	bool led = h->leading;
	h->leading = false;
	h->completing = false;
	host_send_away(h);
	if (led && h->all->config.leads != NULL)
		h->all->config.leads(h->all->config.arg, h->id, false);
}

static void host_leading(void *arg, bool yes, uint64_t term)
{
	struct queue_host *h = arg;
	h->elected = yes;
	h->term = yes ? term : h->term;
	if (!yes) {
		host_stop_leading(h);
	} else if (h->begun)
		host_lead(h);
	else
		h->all->config.begin(h->all->config.arg, h->id);
}

void queue_hosts_begun(struct queue_hosts *hs, uint64_t group)
{
	struct queue_host *h = hosts_find(hs, group);
	if (h == NULL || h->begun)
		return;
	h->begun = true;
	if (h->elected)
		host_lead(h);
}

bool queue_hosts_configure(
	struct queue_hosts *hs, uint64_t group, const struct queue_config *config)
{
	struct queue_host *h = hosts_find(hs, group);
	if (h == NULL)
		return false;
	struct buf had = h->config;
	h->config = BUF_EMPTY;
	command_put_config(&h->config, config);
	/* Compared with what was last proposed, not with the machine: that may be on its way. */
	if (h->leading && !slice_eq(buf_slice(&had), buf_slice(&h->config)))
		host_propose(h, &h->config);
	buf_done(&had);
	return true;
}

const struct group_app host_app = {
	.seal = host_seal,
	.apply = host_apply,
	.snapshot = host_snapshot,
	.snapshot_done = host_snapshot_done,
	.restore = host_restore,
	.accepts = host_accepts,
	.live = host_live,
	.leading = host_leading,
	.closed = host_closed,
	.log_left = host_log_left,
};
