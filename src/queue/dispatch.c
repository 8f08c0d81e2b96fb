/* SPDX-License-Identifier: Apache-2.0 */
#include "src/queue/dispatch.h"

#include "src/base/mem.h"

/* This turn's mail to one worker: of this node (`node` 0, `worker` set) or of another. */
struct letter {
	struct list link;
	uint64_t node;
	uint16_t no;
	struct worker *worker;
	struct event_mail *mail;
};

struct dispatch {
	struct dispatch_config config;
	struct list letters; /* a few: as many as workers that clients of these hosts are on */
	struct event_mail *own; /* of the letter to this worker, or NULL */
};

struct dispatch *dispatch_new(const struct dispatch_config *config)
{
	struct dispatch *o = MEM_NEW(struct dispatch);
	o->config = *config;
	list_init(&o->letters);
	return o;
}

void dispatch_free(struct dispatch *o)
{
	dispatch_flush(o);
	mem_free(o);
}

static struct letter *letter_to(
	struct dispatch *o, uint64_t node, uint16_t no, struct worker *w, struct queue_clients *to)
{
	LIST_EACH(link, &o->letters)
	{
		struct letter *l = LIST_ENTRY(link, struct letter, link);
		if (l->node == node && l->no == no)
			return l;
	}
	struct letter *l = MEM_NEW(struct letter);
	*l = (struct letter){.node = node,
		.no = no,
		.worker = w,
		.mail = node != 0 ? event_mail_new_octets() : event_mail_new(to, o->config.self)};
	list_push_back(&o->letters, &l->link);
	if (to == o->config.clients)
		o->own = l->mail;
	return l;
}

/* The mail to a client that is not of this worker; NULL: nobody. */
static struct event_mail *mail_beyond(struct dispatch *o, uint64_t client)
{
	const struct dispatch_config *c = &o->config;
	uint64_t node = c->node_of != NULL ? c->node_of(c->arg, client) : 0;
	return node != 0 ? letter_to(o, node, client_id_worker(client), NULL, NULL)->mail : NULL;
}

/* The registry if the client is of this worker; else NULL, and the mail or NULL. What is for this
 * worker goes straight unless something already waits for the turn's end: the order counts. */
static struct queue_clients *find(struct dispatch *o, uint64_t client, struct event_mail **ret)
{
	const struct dispatch_config *c = &o->config;
	struct worker *w;
	struct queue_clients *to = c->clients_of(c->arg, client, &w);
	*ret = NULL;
	if (to != NULL && to == c->clients && o->own == NULL)
		return to;
	*ret = to != NULL ? letter_to(o, 0, (uint16_t)w->no, w, to)->mail : mail_beyond(o, client);
	return NULL;
}

/* By mail, whoever it is; NULL: nobody. */
static struct event_mail *find_mail(struct dispatch *o, uint64_t client)
{
	const struct dispatch_config *c = &o->config;
	struct worker *w;
	struct queue_clients *to = c->clients_of(c->arg, client, &w);
	return to != NULL ? letter_to(o, 0, (uint16_t)w->no, w, to)->mail : mail_beyond(o, client);
}

bool dispatch_reaches(struct dispatch *o, uint64_t client)
{
	const struct dispatch_config *c = &o->config;
	struct worker *w;
	return c->clients_of(c->arg, client, &w) != NULL ||
	       (c->node_of != NULL && c->node_of(c->arg, client) != 0);
}

static void letter_send(struct dispatch *o, struct letter *l)
{
	if (l->mail == o->own) {
		o->own = NULL;
		event_mail_run(l->mail);
		return;
	}
	if (l->node == 0) {
		event_mail_post(l->mail, l->worker);
		return;
	}
	size_t n;
	struct blob *blob = event_mail_octets(l->mail, &n);
	o->config.send(o->config.arg, l->node, l->no, blob, n);
}

bool dispatch_flush(struct dispatch *o)
{
	bool any = !list_empty(&o->letters);
	struct list *link;
	while ((link = list_pop(&o->letters)) != NULL) {
		struct letter *l = LIST_ENTRY(link, struct letter, link);
		letter_send(o, l);
		mem_free(l);
	}
	return any;
}

/* ---- events ---- */

void dispatch_deliver(struct dispatch *o, uint64_t group, const struct machine_delivery *d,
	const struct event_message *at)
{
	struct event_mail *mail;
	struct queue_delivery qd;
	struct queue_clients *to = find(o, d->client, &mail);
	if (mail != NULL)
		event_put_deliver(mail, group, d, at);
	else if (to != NULL && event_delivery(&qd, d, at))
		queue_clients_deliver(to, o->config.self, group, d->consumer, &qd);
}

void dispatch_answer(struct dispatch *o, uint64_t group, const struct machine_answer *a,
	const struct event_message *at)
{
	struct event_mail *mail;
	struct queue_delivery qd;
	struct queue_clients *to = find(o, a->client, &mail);
	bool has = at != NULL && to != NULL && event_delivery(&qd, a->delivery, at);
	if (mail != NULL)
		event_put_answer(mail, group, a, at);
	else if (to != NULL)
		queue_clients_answer(to, o->config.self, group, a, has ? &qd : NULL);
}

void dispatch_refused(struct dispatch *o, uint64_t client, uint64_t group, uint64_t seq)
{
	struct event_mail *mail;
	struct queue_clients *to = find(o, client, &mail);
	if (mail != NULL)
		event_put_refused(mail, group, seq);
	else if (to != NULL)
		queue_clients_refused(to, o->config.self, group, seq);
}

void dispatch_applied(struct dispatch *o, uint64_t client, uint64_t group, uint64_t seq)
{
	struct event_mail *mail;
	struct queue_clients *to = find(o, client, &mail);
	if (mail != NULL)
		event_put_applied(mail, group, seq);
	else if (to != NULL)
		queue_clients_applied(to, o->config.self, group, seq);
}

void dispatch_cancelled(struct dispatch *o, uint64_t client, uint64_t group, uint32_t consumer)
{
	struct event_mail *mail;
	struct queue_clients *to = find(o, client, &mail);
	if (mail != NULL)
		event_put_cancelled(mail, group, consumer);
	else if (to != NULL)
		queue_clients_cancelled(to, o->config.self, group, consumer);
}

void dispatch_moved(struct dispatch *o, uint64_t client, uint64_t group, uint64_t to)
{
	struct event_mail *mail = find_mail(o, client);
	if (mail != NULL)
		event_put_moved(mail, group, to);
}

void dispatch_led(struct dispatch *o, uint64_t client, uint64_t group, uint64_t term)
{
	struct event_mail *mail = find_mail(o, client);
	if (mail != NULL)
		event_put_led(mail, group, term);
}

void dispatch_resumed(
	struct dispatch *o, uint64_t client, uint64_t group, uint32_t attempt, uint64_t term, uint64_t last)
{
	struct event_mail *mail = find_mail(o, client);
	if (mail != NULL)
		event_put_resumed(mail, group, attempt, term, last);
}

void dispatch_gone(struct dispatch *o, uint64_t client, uint64_t group)
{
	struct event_mail *mail = find_mail(o, client);
	if (mail != NULL)
		event_put_gone(mail, group);
}

void dispatch_unavailable(struct dispatch *o, uint64_t client, uint64_t group)
{
	struct event_mail *mail = find_mail(o, client);
	if (mail != NULL)
		event_put_unavailable(mail, group);
}
