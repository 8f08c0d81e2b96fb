/* SPDX-License-Identifier: Apache-2.0 */
#include "src/session/reply_to.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/session/consumer.h"
#include "src/session/names.h"

#define PREFIX REPLY_TO_QUEUE "."

enum {
	ADDRESS_MAX = SESSION_REPLY_ADDRESS_MAX,
	REQUESTER_OUT_MAX = 16 << 20, /* output that waits for a requester to read */
};

bool reply_to_is_queue(struct slice name)
{
	return slice_is(name, REPLY_TO_QUEUE);
}

bool reply_to_is_address(struct slice name)
{
	return name.n > strlen(PREFIX) && memcmp(name.p, PREFIX, strlen(PREFIX)) == 0;
}

/* ---- addresses ---- */

static struct slice address_print(const struct channel *ch, char text[ADDRESS_MAX])
{
	const struct session_env *env = channel_env(ch);
	int n = snprintf(text, ADDRESS_MAX, PREFIX "%x.%llx", env->worker->no,
		(unsigned long long)ch->reply_id);
	return slice_make(text, (size_t)n);
}

/* The environment that the address names, or NULL. */
static struct session_env *address_parse(
	const struct session_env *env, struct slice address, uint64_t *ret_id)
{
	char text[ADDRESS_MAX];
	if (address.n >= sizeof text)
		return NULL;
	memcpy(text, address.p, address.n);
	text[address.n] = '\0';
	char *end;
	unsigned long worker = strtoul(text + strlen(PREFIX), &end, 16);
	if (*end != '.' || worker >= env->n_peers)
		return NULL;
	*ret_id = strtoull(end + 1, &end, 16);
	return *end == '\0' && *ret_id != 0 ? env->peers[worker] : NULL;
}

static struct channel *requester_find(const struct session_env *env, uint64_t id)
{
	LIST_EACH(node, &env->requesters)
	{
		struct channel *ch = LIST_ENTRY(node, struct channel, requester);
		if (ch->reply_id == id)
			return ch;
	}
	return NULL;
}

/* ---- the requester's side ---- */

/* Unique over all starts of the node: an address must not outlive its requester. */
static uint64_t requester_id(struct session_env *env)
{
	return (uint64_t)env->random(env->arg) << 32 | (++env->next_requester & UINT32_MAX);
}

void reply_to_consume(struct channel *ch, const struct amqp_basic_consume *m)
{
	struct session_env *env = channel_env(ch);
	char room[NAME_MAX_OCTETS];
	struct slice tag = m->consumer_tag;
	if (ch->reply_tag.p != NULL) {
		channel_error(ch, 406, AMQP_BASIC_CONSUME, "reply consumer already set");
		return;
	}
	if (!m->no_ack) {
		channel_error(ch, 406, AMQP_BASIC_CONSUME, "reply consumer cannot acknowledge");
		return;
	}
	if (tag.n == 0)
		tag = name_generate("amq.ctag-", env->random, env->arg, room);
	if (consumer_find(ch, tag) != NULL) {
		channel_error(ch, 530, AMQP_BASIC_CONSUME, "attempt to reuse consumer tag '%.*s'",
			SLICE_FMT(tag));
		return;
	}
	ch->reply_tag = slice_make(mem_dup(tag.p, tag.n), tag.n);
	ch->reply_id = requester_id(env);
	list_push_back(&env->requesters, &ch->requester);
	if (!m->nowait)
		channel_send(ch, &(struct amqp_method){.id = AMQP_BASIC_CONSUME_OK,
					 .u.basic_consume_ok.consumer_tag = ch->reply_tag});
}

void reply_to_forget(struct channel *ch)
{
	list_remove(&ch->requester);
	mem_free((void *)ch->reply_tag.p);
	ch->reply_tag = slice_make(NULL, 0);
	ch->reply_id = 0;
}

bool reply_to_cancel(struct channel *ch, struct slice tag)
{
	if (ch->reply_tag.p == NULL || !slice_eq(ch->reply_tag, tag))
		return false;
	reply_to_forget(ch);
	return true;
}

bool reply_to_request(struct channel *ch, struct amqp_props *props, struct message *m)
{
	struct session_env *env = channel_env(ch);
	struct buf *out = &env->request_props;
	if (!(props->flags & AMQP_PROP_REPLY_TO) || !reply_to_is_queue(props->reply_to))
		return true;
	if (ch->reply_tag.p == NULL) {
		channel_error(ch, 406, AMQP_BASIC_PUBLISH, "fast reply consumer does not exist");
		return false;
	}
	props->reply_to = address_print(ch, env->reply_address);
	buf_clear(out);
	amqp_props_encode(out, props);
	m->props = buf_slice(out);
	return true;
}

/* ---- replies ---- */

static void requester_deliver(struct session_env *env, uint64_t id, const struct message *m)
{
	struct channel *ch = requester_find(env, id);
	if (ch == NULL || ch->closing || ch->conn->state != CONNECTION_OPEN)
		return; /* dropped, like a message to a queue that is gone */
	if (stream_pending(ch->conn->stream) > REQUESTER_OUT_MAX)
		return;
	struct buf *out = connection_out(ch->conn);
	amqp_put_deliver(out, ch->number, ch->reply_tag, ++ch->next_tag, false, m->envelope);
	amqp_put_content(out, ch->number, ch->conn->frame_max, AMQP_CLASS_BASIC, m->props, m->body);
}

/* A reply on its way to another worker, as an enqueue command. */
struct reply_mail {
	struct mail mail;
	struct session_env *to;
	uint64_t id;
	size_t n;
	uint8_t command[];
};

static void reply_on_mail(struct mail *mail, struct worker *w)
{
	struct reply_mail *r = (struct reply_mail *)mail;
	struct message m;
	(void)w;
	if (command_message_at(r->command, r->n, 0, &m) == 0)
		requester_deliver(r->to, r->id, &m);
	mem_free(r);
}

bool reply_to_send(struct channel *ch, struct slice address, const struct message *m)
{
	struct session_env *env = channel_env(ch);
	uint64_t id;
	struct session_env *to = address_parse(env, address, &id);
	if (to == NULL)
		return false;
	if (to == env) {
		if (requester_find(env, id) == NULL)
			return false;
		requester_deliver(env, id, m);
		return true;
	}
	size_t n = command_enqueue_size(m);
	struct reply_mail *r = mem_alloc(sizeof *r + n);
	*r = (struct reply_mail){.mail.deliver = reply_on_mail, .to = to, .id = id, .n = n};
	command_put_enqueue(r->command, m);
	worker_post(to->worker, &r->mail);
	return true;
}

/* ---- does the requester live? ---- */

/* Goes to the requester's worker and comes back. */
struct reply_question {
	struct mail mail;
	struct session_env *from, *to;
	struct channel_op *op;
	uint64_t id;
	bool found;
};

static void declare_answer(struct channel *ch, struct slice name, bool nowait, bool found)
{
	if (!found)
		channel_no_queue(ch, AMQP_QUEUE_DECLARE, name);
	else if (!nowait)
		channel_send(
			ch, &(struct amqp_method){.id = AMQP_QUEUE_DECLARE_OK,
				    .u.queue_declare_ok = {.queue = name, .consumer_count = 1}});
}

static void reply_on_answer(struct mail *mail, struct worker *w)
{
	struct reply_question *q = (struct reply_question *)mail;
	struct channel_op *op = q->op;
	(void)w;
	if (op->channel != NULL)
		declare_answer(op->channel, op->name, op->nowait, q->found);
	channel_op_end(op);
	mem_free(q);
}

static void reply_on_question(struct mail *mail, struct worker *w)
{
	struct reply_question *q = (struct reply_question *)mail;
	(void)w;
	q->found = requester_find(q->to, q->id) != NULL;
	q->mail.deliver = reply_on_answer;
	worker_post(q->from->worker, &q->mail);
}

void reply_to_declare(struct channel *ch, struct slice name, bool nowait)
{
	struct session_env *env = channel_env(ch);
	uint64_t id;
	struct session_env *to = reply_to_is_address(name) ? address_parse(env, name, &id) : NULL;
	if (to == NULL) {
		declare_answer(ch, name, nowait, reply_to_is_queue(name));
		return;
	}
	struct reply_question *q = MEM_NEW(struct reply_question);
	q->op = channel_op_begin(ch, AMQP_QUEUE_DECLARE, name);
	q->op->nowait = nowait;
	q->from = env;
	q->to = to;
	q->id = id;
	q->mail.deliver = reply_on_question;
	worker_post(to->worker, &q->mail);
}
