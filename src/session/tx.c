/* SPDX-License-Identifier: Apache-2.0 */
#include "src/session/tx.h"

#include "src/base/mem.h"
#include "src/session/channel.h"
#include "src/session/consumer.h"
#include "src/session/room.h"

/* Of the publishes in one transaction, all of which are held in memory. */
enum { TX_BYTES_MAX = 256 << 20 };

/* One enqueue: the groups it goes to, then its bytes as an enqueue command. */
struct tx_publish {
	struct list link;
	unsigned n, at; /* queues; those that have it */
	uint64_t *groups;
	uint8_t *command;
	size_t command_n;
};

struct tx_settle {
	struct unacked_item item;
	enum settle_outcome outcome;
};

struct tx {
	struct queue_publisher publisher;
	struct room room;        /* of a commit that waits */
	bool sending;            /* the commit has more to send */
	struct channel *channel; /* NULL once it is gone */
	struct list publishes;
	struct tx_settle *settles;
	size_t n_settles, settles_cap;
	size_t bytes;          /* of the publishes */
	size_t answers;        /* of the commit under way */
	bool refused;          /* some queue refused a publish of it */
	struct channel_op *op; /* the commit under way */
};

static void tx_settled(struct queue_publisher *p, uint64_t tag, bool refused);
static void tx_go_on(struct room *r);

struct tx *tx_new(struct channel *ch)
{
	struct tx *tx = MEM_NEW(struct tx);
	tx->publisher.settled = tx_settled;
	tx->channel = ch;
	room_init(&tx->room, channel_env(ch), tx_go_on);
	list_init(&tx->publishes);
	return tx;
}

static void tx_publish_free(struct tx_publish *p)
{
	list_remove(&p->link);
	mem_free(p->groups);
	mem_free(p->command);
	mem_free(p);
}

static void tx_clear(struct tx *tx)
{
	while (!list_empty(&tx->publishes))
		tx_publish_free(LIST_ENTRY(tx->publishes.next, struct tx_publish, link));
	tx->n_settles = 0;
	tx->bytes = 0;
}

static void tx_destroy(struct tx *tx)
{
	if (tx->op != NULL)
		channel_op_end(tx->op);
	room_leave(&tx->room);
	tx_clear(tx);
	mem_free(tx->settles);
	mem_free(tx);
}

void tx_free(struct tx *tx)
{
	if (tx == NULL)
		return;
	tx->channel = NULL;
	if (tx->sending) { /* what is not sent yet never is */
		tx->sending = false;
		tx->answers--;
	}
	if (tx->answers == 0)
		tx_destroy(tx);
	else
		room_leave(&tx->room);
}

void tx_publish(struct tx *tx, const uint64_t *groups, unsigned n, const struct message *m)
{
	if (n == 0)
		return;
	tx->bytes += command_enqueue_size(m);
	if (tx->bytes > TX_BYTES_MAX) {
		channel_error(tx->channel, 406, AMQP_BASIC_PUBLISH,
			"transaction is larger than %d bytes", TX_BYTES_MAX);
		return;
	}
	struct tx_publish *p = MEM_NEW(struct tx_publish);
	p->n = n;
	p->groups = mem_dup(groups, n * sizeof *groups);
	p->command_n = command_enqueue_size(m);
	p->command = mem_alloc(p->command_n);
	command_put_enqueue(p->command, m);
	list_push_back(&tx->publishes, &p->link);
}

void tx_settle(struct tx *tx, const struct unacked_item *item, enum settle_outcome outcome)
{
	if (tx->n_settles == tx->settles_cap) {
		tx->settles_cap = tx->settles_cap ? tx->settles_cap * 2 : 16;
		tx->settles = mem_realloc(tx->settles, tx->settles_cap * sizeof *tx->settles);
	}
	tx->settles[tx->n_settles++] = (struct tx_settle){*item, outcome};
}

/* ---- commit and rollback ---- */

static void tx_committed(struct tx *tx)
{
	struct channel *ch = tx->channel;
	struct channel_op *op = tx->op;
	tx->op = NULL;
	if (tx->refused)
		channel_error(ch, 406, AMQP_TX_COMMIT, "partial tx completion");
	else
		channel_send(ch, &(struct amqp_method){.id = AMQP_TX_COMMIT_OK});
	channel_op_end(op);
}

static void tx_settled(struct queue_publisher *p, uint64_t tag, bool refused)
{
	struct tx *tx = (struct tx *)p;
	(void)tag;
	tx->refused |= refused;
	if (--tx->answers > 0)
		return;
	if (tx->channel == NULL)
		tx_destroy(tx);
	else if (tx->op != NULL)
		tx_committed(tx);
}

/* As far as there is room; false if more is left. */
static bool tx_send(struct tx *tx, struct tx_publish *p)
{
	struct message m;
	struct session_env *env = channel_env(tx->channel);
	if (command_message_at(p->command, p->command_n, 0, &m) != 0)
		return true;
	for (; p->at < p->n && !queue_clients_full(env->clients); p->at++) {
		uint64_t group = p->groups[p->at];
		/* A queue deleted since is skipped, like a publish that was under way to it. */
		if (broker_queue_by_group(env->broker, group) == NULL)
			continue;
		tx->answers++;
		queue_publish(queue_clients_get(env->clients, group), &m, &tx->publisher, 0);
	}
	return p->at == p->n;
}

/* Each publish is let go when its queues have it. */
static bool tx_send_all(struct tx *tx)
{
	while (!list_empty(&tx->publishes)) {
		struct tx_publish *p = LIST_ENTRY(tx->publishes.next, struct tx_publish, link);
		if (!tx_send(tx, p))
			return false;
		tx_publish_free(p);
	}
	return true;
}

static void tx_commit(struct channel *ch)
{
	struct tx *tx = ch->tx;
	tx->op = channel_op_begin(ch, AMQP_TX_COMMIT, slice_make(NULL, 0));
	tx->refused = false;
	tx->answers = 1; /* ours, until all are sent */
	tx->sending = true;
	tx_go_on(&tx->room);
}

static void tx_go_on(struct room *r)
{
	struct tx *tx = (struct tx *)((char *)r - offsetof(struct tx, room));
	struct channel *ch = tx->channel;
	if (!tx_send_all(tx)) {
		room_wait(r);
		return;
	}
	tx->sending = false;
	for (size_t i = 0; i < tx->n_settles; i++) {
		struct unacked_item *item = &tx->settles[i].item;
		queue_settle(
			&item->consumer->queue, item->number, item->number, tx->settles[i].outcome);
	}
	for (size_t i = 0; i < tx->n_settles; i++) {
		struct consumer *c = tx->settles[i].item.consumer;
		tx->answers += queue_settle_notify(&c->queue, &tx->publisher);
		consumer_settled(c);
	}
	tx_clear(tx);
	consumer_release_held(ch);
	tx_settled(&tx->publisher, 0, false);
}

/* What was settled in the transaction is outstanding again, under its old tags. */
static void tx_rollback(struct channel *ch)
{
	struct tx *tx = ch->tx;
	for (size_t i = 0; i < tx->n_settles; i++)
		unacked_restore(&ch->unacked, &tx->settles[i].item);
	tx_clear(tx);
	channel_send(ch, &(struct amqp_method){.id = AMQP_TX_ROLLBACK_OK});
}

void on_tx_method(struct channel *ch, const struct amqp_method *m)
{
	if (m->id == AMQP_TX_SELECT) {
		if (ch->mode == CHANNEL_CONFIRM) {
			channel_error(ch, 406, m->id, "cannot switch from confirm to tx mode");
			return;
		}
		if (ch->tx == NULL)
			ch->tx = tx_new(ch);
		ch->mode = CHANNEL_TX;
		channel_send(ch, &(struct amqp_method){.id = AMQP_TX_SELECT_OK});
	} else if (ch->mode != CHANNEL_TX) {
		channel_error(ch, 406, m->id, "channel is not transactional");
	} else if (m->id == AMQP_TX_COMMIT) {
		tx_commit(ch);
	} else if (m->id == AMQP_TX_ROLLBACK) {
		tx_rollback(ch);
	} else {
		connection_error(
			ch->conn, 503, m->id, "unexpected method '%s'", amqp_method_name(m->id));
	}
}

size_t tx_publishes(const struct tx *tx)
{
	size_t n = 0;
	LIST_EACH(link, &tx->publishes) n++;
	return n;
}

size_t tx_settles(const struct tx *tx)
{
	return tx->n_settles;
}
