/* SPDX-License-Identifier: Apache-2.0 */
#include "src/session/reply_to.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/blob.h"
#include "src/base/mem.h"
#include "src/session/consumer.h"
#include "src/session/names.h"

#define PREFIX REPLY_TO_QUEUE "."

enum {
	ADDRESS_MAX = SESSION_REPLY_ADDRESS_MAX,
	REQUESTER_OUT_MAX = 16 << 20, /* output that waits for a requester to read */
	QUESTION_SIZE = 14,
	QUESTION_MS = 5000, /* then whoever is asked for is not known to live: its node may be on its way down */
	ANSWER_SIZE = 5,
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

/* Of a requester. */
struct address {
	uint64_t node;
	unsigned worker;
	uint64_t id;
};

static struct slice address_print(const struct channel *ch, char text[ADDRESS_MAX])
{
	const struct session_env *env = channel_env(ch);
	int n = snprintf(text, ADDRESS_MAX, PREFIX "%llx.%x.%llx", (unsigned long long)env->node_id,
		env->worker->no, (unsigned long long)ch->reply_id);
	return slice_make(text, (size_t)n);
}

static bool is_here(const struct session_env *env, const struct address *a)
{
	return a->node == env->node_id;
}

/* False: nobody has such an address. */
static bool address_parse(const struct session_env *env, struct slice name, struct address *ret)
{
	char text[ADDRESS_MAX];
	if (name.n >= sizeof text)
		return false;
	memcpy(text, name.p, name.n);
	text[name.n] = '\0';
	char *end;
	ret->node = strtoull(text + strlen(PREFIX), &end, 16);
	if (*end != '.')
		return false;
	unsigned long worker = strtoul(end + 1, &end, 16);
	if (*end != '.' || worker > UINT16_MAX)
		return false;
	ret->worker = (unsigned)worker;
	ret->id = strtoull(end + 1, &end, 16);
	if (*end != '\0' || ret->id == 0)
		return false;
	return is_here(env, ret) ? ret->worker < env->n_peers : env->tell != NULL;
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

static void reply_to_worker(struct session_env *to, uint64_t id, const struct message *m)
{
	size_t n = command_enqueue_size(m);
	struct reply_mail *r = mem_alloc(sizeof *r + n);
	*r = (struct reply_mail){.mail.deliver = reply_on_mail, .to = to, .id = id, .n = n};
	command_put_enqueue(r->command, m);
	worker_post(to->worker, &r->mail);
}

static bool reply_to_node(struct session_env *env, const struct address *a, const struct message *m)
{
	size_t n = sizeof a->id + command_enqueue_size(m);
	struct blob *blob = blob_new(n);
	store_u64le(blob->data, a->id);
	command_put_enqueue(blob->data + sizeof a->id, m);
	return env->tell(env->arg, a->node, (uint16_t)a->worker, SESSION_REPLY, blob, n);
}

bool reply_to_send(struct channel *ch, struct slice address, const struct message *m)
{
	struct session_env *env = channel_env(ch);
	struct address a;
	if (!address_parse(env, address, &a))
		return false;
	if (!is_here(env, &a))
		return reply_to_node(env, &a, m);
	if (env->peers[a.worker] != env) {
		reply_to_worker(env->peers[a.worker], a.id, m);
		return true;
	}
	if (requester_find(env, a.id) == NULL)
		return false;
	requester_deliver(env, a.id, m);
	return true;
}

static bool receive_reply(struct session_env *env, struct reader r)
{
	uint64_t id = get_u64le(&r);
	struct message m;
	if (r.bad || command_message_at(r.p, reader_left(&r), 0, &m) != 0)
		return false;
	requester_deliver(env, id, &m);
	return true;
}

/* ---- does the requester live? ---- */

/* Goes to the requester's worker and comes back; or waits for another node's answer. */
struct reply_question {
	struct mail mail;
	struct session_env *from, *to;
	struct channel_op *op;
	uint64_t id;
	bool found;
	struct list link; /* in session_env.questions */
	uint64_t node;
	uint32_t no;
	uint64_t since_ms;
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

static void question_end(struct reply_question *q, bool found)
{
	struct channel_op *op = q->op;
	list_remove(&q->link);
	if (op->channel != NULL)
		declare_answer(op->channel, op->name, op->nowait, found);
	channel_op_end(op);
	mem_free(q);
}

static void reply_on_answer(struct mail *mail, struct worker *w)
{
	struct reply_question *q = (struct reply_question *)mail;
	(void)w;
	question_end(q, q->found);
}

static void reply_on_question(struct mail *mail, struct worker *w)
{
	struct reply_question *q = (struct reply_question *)mail;
	(void)w;
	q->found = requester_find(q->to, q->id) != NULL;
	q->mail.deliver = reply_on_answer;
	worker_post(q->from->worker, &q->mail);
}

static struct reply_question *question_new(
	struct channel *ch, struct slice name, bool nowait, const struct address *a)
{
	struct reply_question *q = MEM_NEW(struct reply_question);
	q->op = channel_op_begin(ch, AMQP_QUEUE_DECLARE, name);
	q->op->nowait = nowait;
	q->from = channel_env(ch);
	q->id = a->id;
	q->node = a->node;
	list_init(&q->link);
	return q;
}

static void ask_worker(struct reply_question *q, struct session_env *to)
{
	q->to = to;
	q->mail.deliver = reply_on_question;
	worker_post(to->worker, &q->mail);
}

static void ask_node(struct reply_question *q, uint16_t worker)
{
	struct session_env *env = q->from;
	struct blob *blob = blob_new(QUESTION_SIZE);
	q->no = ++env->next_question;
	q->since_ms = env->worker->now_ms;
	list_push_back(&env->questions, &q->link);
	store_u64le(blob->data, q->id);
	store_u16le(blob->data + 8, (uint16_t)env->worker->no);
	store_u32le(blob->data + 10, q->no);
	if (!env->tell(env->arg, q->node, worker, SESSION_QUESTION, blob, QUESTION_SIZE))
		question_end(q, false);
}

void reply_to_declare(struct channel *ch, struct slice name, bool nowait)
{
	struct session_env *env = channel_env(ch);
	struct address a;
	if (!reply_to_is_address(name) || !address_parse(env, name, &a))
		declare_answer(ch, name, nowait, reply_to_is_queue(name));
	else if (is_here(env, &a))
		ask_worker(question_new(ch, name, nowait, &a), env->peers[a.worker]);
	else
		ask_node(question_new(ch, name, nowait, &a), (uint16_t)a.worker);
}

static bool receive_question(struct session_env *env, uint64_t node, struct reader r)
{
	uint64_t id = get_u64le(&r);
	uint16_t worker = get_u16le(&r);
	uint32_t no = get_u32le(&r);
	if (r.bad || reader_left(&r) > 0)
		return false;
	struct blob *blob = blob_new(ANSWER_SIZE);
	store_u32le(blob->data, no);
	blob->data[4] = requester_find(env, id) != NULL;
	env->tell(env->arg, node, worker, SESSION_ANSWER, blob, ANSWER_SIZE);
	return true;
}

/* One that is not waited for any more is fine. */
static bool receive_answer(struct session_env *env, uint64_t node, struct reader r)
{
	uint32_t no = get_u32le(&r);
	uint8_t found = get_u8(&r);
	if (r.bad || reader_left(&r) > 0 || found > 1)
		return false;
	LIST_EACH(at, &env->questions)
	{
		struct reply_question *q = LIST_ENTRY(at, struct reply_question, link);
		if (q->no != no || q->node != node)
			continue;
		question_end(q, found);
		return true;
	}
	return true;
}

/* ---- other nodes ---- */

bool reply_to_receive(struct session_env *env, uint64_t node, uint32_t word, struct slice octets)
{
	struct reader r = reader_make(octets.p, octets.n);
	switch (word) {
	case SESSION_REPLY:
		return receive_reply(env, r);
	case SESSION_QUESTION:
		return receive_question(env, node, r);
	case SESSION_ANSWER:
		return receive_answer(env, node, r);
	default:
		return true; /* from a newer node */
	}
}

void reply_to_link_down(struct session_env *env, uint64_t node)
{
	LIST_EACH_SAFE(at, &env->questions)
	{
		struct reply_question *q = LIST_ENTRY(at, struct reply_question, link);
		if (q->node == node)
			question_end(q, false);
	}
}

void reply_to_tick(struct session_env *env)
{
	LIST_EACH_SAFE(at, &env->questions)
	{
		struct reply_question *q = LIST_ENTRY(at, struct reply_question, link);
		if (env->worker->now_ms - q->since_ms >= QUESTION_MS)
			question_end(q, false);
	}
}

void reply_to_done(struct session_env *env)
{
	while (!list_empty(&env->questions))
		question_end(LIST_ENTRY(env->questions.next, struct reply_question, link), false);
}
