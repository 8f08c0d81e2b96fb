/* SPDX-License-Identifier: Apache-2.0
 *
 * Under test: src/broker, the metadata state machine: applying commands, routing, rows.
 *
 *   input := step*        step := what u8 | its choices
 *
 * Step RAW applies bytes as they are; the others build a command from few names, so that commands
 * meet each other; ROUTE routes a message; STORE moves changed rows into a model of the store; WHOLE
 * hands the whole state over as bytes, damaged ones, too.
 *
 * Invariants:
 *  - any bytes can be applied; what is not answered with OK has changed nothing (digest);
 *  - the answer's group, queue and exchange are what can be found;
 *  - routing gives distinct queues that exist;
 *  - the rows told as dirty make a store from which a broker of the same digest can be loaded, and
 * so do all rows;
 *  - a loaded broker answers further commands as the original does;
 *  - a broker that was handed the whole state is the same one; from bytes that are refused nothing has
 *    changed.
 */
#include "src/amqp/table.h"
#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/broker/broker.h"
#include "src/broker/command.h"
#include "src/broker/route.h"
#include "src/broker/rows.h"
#include "src/broker/whole.h"
#include "tests/fuzz/fuzz.h"

enum { STEPS_MAX = 120, RAW_MAX = 600, DIGEST_EACH = 8, RELOADS_MAX = 2 };

enum step {
	STEP_RAW,
	STEP_EXCHANGE,
	STEP_QUEUE,
	STEP_BIND,
	STEP_UNBIND,
	STEP_DELETE_EXCHANGE,
	STEP_DELETE_QUEUE,
	STEP_VHOST,
	STEP_DELETE_VHOST,
	STEP_USER,
	STEP_PERMISSIONS,
	STEP_NODE,
	STEP_ROUTE,
	STEP_MAY,
	STEP_STORE,
	STEP_RELOAD,
	STEP_POLICY,
	STEP_SETTING,
	STEP_CLUSTER,
	STEP_WHOLE,
	STEPS
};

/* ---- a store ---- */

struct stored {
	uint8_t key[BROKER_ROW_KEY_SIZE];
	struct slice value; /* owned */
};

struct store_model {
	struct stored *p;
	size_t n;
};

static void store_put(void *arg, struct slice key, struct slice value)
{
	struct store_model *s = arg;
	CHECK(key.n == BROKER_ROW_KEY_SIZE);
	size_t i = 0;
	while (i < s->n && memcmp(s->p[i].key, key.p, key.n) != 0)
		i++;
	if (i < s->n)
		fuzz_free(s->p[i].value);
	if (value.p == NULL) {
		if (i < s->n)
			s->p[i] = s->p[--s->n];
		return;
	}
	if (i == s->n)
		s->p = mem_realloc(s->p, ++s->n * sizeof *s->p);
	memcpy(s->p[i].key, key.p, key.n);
	s->p[i].value = fuzz_exact(value);
}

static int by_key(const void *a, const void *b)
{
	return memcmp(a, b, BROKER_ROW_KEY_SIZE);
}

static struct broker *store_load(struct store_model *s)
{
	struct broker *b = broker_new(NULL);
	if (s->n > 0)
		qsort(s->p, s->n, sizeof *s->p, by_key);
	for (size_t i = 0; i < s->n; i++)
		CHECK(broker_load_row(
			b, slice_make(s->p[i].key, sizeof s->p[i].key), s->p[i].value));
	return b;
}

static void store_done(struct store_model *s)
{
	for (size_t i = 0; i < s->n; i++)
		fuzz_free(s->p[i].value);
	mem_free(s->p);
	*s = (struct store_model){0};
}

/* ---- choices ---- */

struct run {
	struct reader in;
	struct broker *broker;
	struct broker *twin; /* loaded from rows; gets the same commands; or NULL */
	struct store_model store;
	struct broker_route route;
	struct buf command, arguments;
	uint64_t digest; /* of now, if known */
	bool digest_known;
	unsigned commands, reloads;
};

static struct slice pick(struct run *r, const char *const *names, size_t n)
{
	return slice_str(names[get_u8(&r->in) % n]);
}

#define PICK(r, ...)                                \
	pick(r, (const char *const[]){__VA_ARGS__}, \
		sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static struct slice some_vhost(struct run *r)
{
	return PICK(r, "/", "/", "/", "v", "");
}

static struct slice some_exchange(struct run *r)
{
	return PICK(
		r, "", "amq.direct", "amq.topic", "amq.fanout", "amq.headers", "a", "b", "c", "d");
}

static struct slice some_queue(struct run *r)
{
	return PICK(r, "q", "r", "s", "t", "");
}

static struct slice some_key(struct run *r)
{
	uint8_t n = get_u8(&r->in);
	if (n < 128)
		return fuzz_take(&r->in, n % 16);
	static const char *const keys[] = {"", "a", "a.b", "*", "#", "a.*.#", "#.b.#", "*.*", "q"};
	return slice_str(keys[n % (sizeof keys / sizeof *keys)]);
}

static struct slice some_name(struct run *r)
{
	uint8_t n = get_u8(&r->in);
	return n < 32 ? fuzz_take(&r->in, n) : slice_str(n & 1 ? "guest" : "alice");
}

/* A table from the input if it is one, or a built one. */
static struct slice some_table(struct run *r)
{
	uint8_t what = get_u8(&r->in);
	struct buf *b = &r->arguments;
	buf_clear(b);
	if (what >= 192) {
		struct slice raw = fuzz_take(&r->in, what - 192);
		return amqp_table_check(raw) ? raw : slice_make(NULL, 0);
	}
	if (what & 1)
		amqp_table_put_string(b, "alternate-exchange", some_exchange(r));
	if (what & 2)
		amqp_table_put_string(
			b, "x-match", PICK(r, "all", "any", "all-with-x", "any-with-x", "odd"));
	if (what & 4)
		amqp_table_put_int(b, "n", what & 8);
	if (what & 16)
		amqp_table_put_string(
			b, "x-queue-type", PICK(r, "classic", "quorum", "stream", "?"));
	if (what & 32)
		amqp_table_put_void(b, "x-void");
	return buf_slice(b);
}

/* ---- commands ---- */

static void put_exchange(struct run *r)
{
	struct slice vhost = some_vhost(r), name = some_exchange(r), arguments = some_table(r);
	uint8_t bits = get_u8(&r->in);
	broker_put_declare_exchange(&r->command, vhost, name,
		&(struct broker_exchange_spec){.type = bits % BROKER_EXCHANGE_TYPES,
			.durable = bits & 4,
			.auto_delete = bits & 8,
			.internal = bits & 16,
			.arguments = arguments});
}

static void put_queue(struct run *r)
{
	struct slice vhost = some_vhost(r), name = some_queue(r), arguments = some_table(r);
	uint8_t bits = get_u8(&r->in), who = get_u8(&r->in);
	broker_put_declare_queue(&r->command, vhost, name,
		&(struct broker_queue_spec){.durable = bits & 1,
			.exclusive = bits & 2,
			.auto_delete = bits & 4,
			.owner = {bits & 2 ? 1u + who % 3 : 0, bits & 2 ? who / 3 % 4 : 0,
				who / 16},
			.home_node = 1 + who % 3,
			.home_incarnation = who / 3 % 4,
			.created_ms = bits,
			.arguments = arguments});
}

static void put_binding(struct run *r, bool bind)
{
	struct broker_binding_spec s = {.vhost = some_vhost(r), .source = some_exchange(r)};
	s.kind = get_u8(&r->in) & 1 ? BROKER_TO_EXCHANGE : BROKER_TO_QUEUE;
	s.destination = s.kind == BROKER_TO_QUEUE ? some_queue(r) : some_exchange(r);
	s.key = some_key(r);
	s.arguments = some_table(r);
	if (bind)
		broker_put_bind(&r->command, &s);
	else
		broker_put_unbind(&r->command, &s);
}

static void put_user(struct run *r)
{
	uint8_t what = get_u8(&r->in);
	struct slice name = some_name(r), text = fuzz_take(&r->in, what / 8);
	switch (what % 4) {
	case 0:
		broker_put_delete_user(&r->command, name);
		break;
	case 1:
		broker_put_change_password(&r->command, name, text, BROKER_PASSWORD_SHA512);
		break;
	case 2:
		broker_put_set_tags(&r->command, name, text);
		break;
	default:
		broker_put_add_user(&r->command, name, text, BROKER_PASSWORD_SHA256,
			slice_str("administrator"));
	}
}

static struct slice node_name(uint64_t node)
{
	static const char *const names[] = {"a@host", "b@host", "c@host", "d@host"};
	return slice_str(names[node % 4]);
}

static void put_permissions(struct run *r)
{
	struct slice user = some_name(r), vhost = some_vhost(r);
	uint8_t n = get_u8(&r->in);
	struct slice own = fuzz_take(&r->in, n % 24);
	struct slice any = slice_str(".*");
	if (n & 128)
		broker_put_clear_permissions(&r->command, user, vhost);
	else
		broker_put_set_permissions(&r->command, user, vhost, any, own, n & 64 ? own : any);
}

static void put_definition(struct run *r, struct buf *d)
{
	uint8_t what = get_u8(&r->in);
	if (what & 1)
		amqp_table_put_string(d, "ha-mode", PICK(r, "all", "exactly", "nodes", "some"));
	if (what & 2)
		amqp_table_put_long(d, "ha-params", get_u8(&r->in) % 5);
	if (what & 4) {
		size_t mark = amqp_table_begin_array(d, "ha-params");
		amqp_array_put_string(d, node_name(get_u8(&r->in)));
		amqp_array_put_string(d, node_name(get_u8(&r->in)));
		amqp_table_end(d, mark);
	}
	if (what & 8)
		amqp_table_put_long(d, "max-length", get_u8(&r->in));
	if (what & 16)
		amqp_table_put_string(d, "alternate-exchange", some_exchange(r));
	if (what & 32)
		amqp_table_put_string(d, "queue-master-locator",
			PICK(r, "min-masters", "client-local", "random", "?"));
}

static void put_policy(struct run *r)
{
	struct buf d = BUF_EMPTY;
	uint8_t what = get_u8(&r->in);
	struct slice vhost = some_vhost(r), name = PICK(r, "p", "o", "n", "");
	enum broker_policy_kind kind = what & 1;
	put_definition(r, &d);
	struct slice raw = what & 2 ? some_table(r) : buf_slice(&d);
	struct slice pattern = what & 4 ? some_key(r) : PICK(r, "", "q", "^[rs]", "(");
	if (what & 8)
		broker_put_clear_policy(&r->command, vhost, name, kind);
	else
		broker_put_set_policy(&r->command, vhost, name, kind,
			&(struct broker_policy_spec){.pattern = pattern,
				.apply_to = (what >> 4) % BROKER_APPLY_TO_VALUES,
				.priority = what >> 6,
				.definition = raw});
	buf_done(&d);
}

static void put_setting(struct run *r)
{
	uint8_t what = get_u8(&r->in);
	struct slice vhost = some_vhost(r), user = some_name(r), name = some_queue(r);
	struct slice exchange = some_exchange(r), text = fuzz_take(&r->in, what / 16);
	struct buf *b = &r->command;
	int64_t limit = (int8_t)get_u8(&r->in);
	switch (what % 8) {
	case 0:
		broker_put_set_parameter(b, vhost, PICK(r, "", "shovel"), name, text);
		break;
	case 1:
		broker_put_clear_parameter(b, vhost, PICK(r, "", "shovel"), name);
		break;
	case 2:
		broker_put_set_vhost_limits(
			b, vhost, &(struct broker_vhost_limits){BROKER_LIMIT_KEEP, limit});
		break;
	case 3:
		broker_put_set_user_limits(
			b, user, &(struct broker_user_limits){limit, BROKER_LIMIT_NONE});
		break;
	case 4:
	case 5:
		broker_put_set_topic_permissions(b, user, vhost, exchange, text, text);
		break;
	case 6:
		broker_put_clear_topic_permissions(b, user, vhost, exchange);
		break;
	default:
		broker_put_set_vhost_metadata(b, vhost, text, text, text);
	}
}

/* About one queue, or it and its neighbours. */
static void put_by_hand(struct buf *b, uint8_t what, uint64_t node, uint64_t group)
{
	uint64_t groups[] = {group, group + 1, group + 2};
	struct broker_preference prefer[] = {{group, node}, {group + 1, 1 + what / 5}};
	size_t n = what / 10;
	switch (what % 5) {
	case 0:
		broker_put_set_drained(b, node, what / 5 % 2);
		break;
	case 1:
		broker_put_prefer_leaders(b, prefer, n % 3);
		break;
	case 2:
		broker_put_add_members(b, node, groups, n);
		break;
	case 3:
		broker_put_delete_members(b, node, groups, n);
		break;
	default:
		if (n % 2)
			broker_put_member_chosen(b, group, what / 5, n);
		else
			broker_put_member_gone(b, group, what / 5, n, what % 5);
	}
}

static void put_cluster(struct run *r)
{
	uint8_t what = get_u8(&r->in), id = 1 + get_u8(&r->in) % 4, group = get_u8(&r->in);
	struct buf *b = &r->command;
	switch (what % 8) {
	case 0:
	case 1:
		broker_put_join_node(
			b, id, node_name(id), slice_str("h:1"), what / 8 % BROKER_NODE_TYPES);
		break;
	case 2:
		broker_put_forget_node(b, id);
		break;
	case 3:
		broker_put_node_down(b, id, broker_node_incarnation(r->broker, id),
			(const uint64_t[]){1 + what / 16 % 4}, what / 8 % 2);
		break;
	case 4:
		broker_put_set_node_type(b, id, what / 8 % BROKER_NODE_TYPES);
		break;
	case 5:
		broker_put_replace_members(b, id);
		break;
	case 6:
		broker_put_member_promoted(b, group, what / 8);
		break;
	default:
		put_by_hand(b, what / 8, id, group);
	}
}

static void put_raw(struct run *r)
{
	uint16_t n = get_u16le(&r->in);
	buf_put_slice(&r->command, fuzz_take(&r->in, n % RAW_MAX));
}

static bool put_command(struct run *r, enum step what)
{
	struct buf *b = &r->command;
	struct slice none = slice_make(NULL, 0);
	buf_clear(b);
	switch (what) {
	case STEP_RAW:
		put_raw(r);
		return true;
	case STEP_EXCHANGE:
		put_exchange(r);
		return true;
	case STEP_QUEUE:
		put_queue(r);
		return true;
	case STEP_BIND:
	case STEP_UNBIND:
		put_binding(r, what == STEP_BIND);
		return true;
	case STEP_DELETE_EXCHANGE: {
		struct slice vhost = some_vhost(r), name = some_exchange(r);
		broker_put_delete_exchange(b, vhost, name, get_u8(&r->in) & 1);
		return true;
	}
	case STEP_DELETE_QUEUE:
		broker_put_delete_queue(b, get_u8(&r->in));
		return true;
	case STEP_VHOST:
		broker_put_add_vhost(b, some_vhost(r), slice_str("text"), none, none);
		return true;
	case STEP_DELETE_VHOST:
		broker_put_delete_vhost(b, some_vhost(r));
		return true;
	case STEP_USER:
		put_user(r);
		return true;
	case STEP_PERMISSIONS:
		put_permissions(r);
		return true;
	case STEP_POLICY:
		put_policy(r);
		return true;
	case STEP_SETTING:
		put_setting(r);
		return true;
	case STEP_CLUSTER:
		put_cluster(r);
		return true;
	case STEP_NODE: {
		uint8_t n = get_u8(&r->in);
		if (n < 200)
			broker_put_node_up(b, 1 + n % 3, n / 3 % 4, node_name(1 + n % 3),
				slice_str("host:25672"));
		else
			broker_put_set_cluster_name(b, some_name(r));
		return true;
	}
	default:
		return false;
	}
}

static void check_result(struct broker *b, const struct broker_result *ret)
{
	CHECK((unsigned)ret->code < BROKER_CODES && broker_code_text(ret->code) != NULL);
	if (ret->queue != NULL) {
		CHECK(ret->queue->group == ret->group);
		CHECK(broker_queue_by_group(b, ret->group) == ret->queue);
		CHECK(broker_queue_find(ret->queue->vhost, ret->queue->name) == ret->queue);
	}
	if (ret->exchange != NULL)
		CHECK(broker_exchange_find(ret->exchange->vhost, ret->exchange->name) ==
			ret->exchange);
}

/* A digest reads the whole state, so what made commands leave is looked at now and then only. */
static bool digest_before(struct run *r, bool always)
{
	if (r->digest_known || (!always && r->commands++ % DIGEST_EACH != 0))
		return r->digest_known;
	r->digest = broker_digest(r->broker);
	r->digest_known = true;
	return true;
}

static void apply(struct run *r, bool raw)
{
	struct slice command = fuzz_exact(buf_slice(&r->command));
	struct broker_result ret, other;
	bool known = digest_before(r, raw);
	broker_apply(r->broker, command, &ret);
	check_result(r->broker, &ret);
	if (ret.code == BROKER_OK)
		r->digest_known = false;
	else if (known)
		CHECK(broker_digest(r->broker) == r->digest);
	if (r->twin != NULL) {
		broker_apply(r->twin, command, &other);
		CHECK(other.code == ret.code && other.resource == ret.resource);
		CHECK(other.group == ret.group);
	}
	fuzz_free(command);
}

/* ---- other steps ---- */

static void route(struct run *r)
{
	struct slice keys[3], vhost = some_vhost(r), name = some_exchange(r);
	size_t n = 1 + get_u8(&r->in) % 3;
	for (size_t i = 0; i < n; i++)
		keys[i] = some_key(r);
	struct slice headers = some_table(r);
	struct broker_vhost *v = broker_vhost_find(r->broker, vhost);
	struct broker_exchange *x = v != NULL ? broker_exchange_find(v, name) : NULL;
	if (x == NULL)
		return;
	broker_route_begin(r->broker, &r->route);
	broker_route_keys(r->broker, x, keys, n, headers, &r->route);
	CHECK(r->route.n <= r->broker->n_queues);
	for (size_t i = 0; i < r->route.n; i++) {
		struct broker_queue *q = r->route.queues[i];
		CHECK(broker_queue_by_group(r->broker, q->group) == q && q->vhost == v);
		for (size_t k = 0; k < i; k++)
			CHECK(r->route.queues[k] != q);
	}
}

static void may(struct run *r)
{
	struct slice user = some_name(r), vhost = some_vhost(r), name = some_key(r);
	broker_may(r->broker, broker_user_find(r->broker, user),
		broker_vhost_find(r->broker, vhost), get_u8(&r->in) % BROKER_RIGHTS, name);
}

static void save(struct run *r)
{
	broker_dirty_rows(r->broker, store_put, &r->store);
	broker_rows_clean(r->broker);
}

static void check_loaded(struct store_model *s, uint64_t digest)
{
	struct broker *b = store_load(s);
	CHECK(broker_digest(b) == digest);
	broker_free(b);
}

static void reload(struct run *r)
{
	if (r->reloads == RELOADS_MAX)
		return;
	r->reloads++;
	struct store_model all = {0};
	broker_all_rows(r->broker, store_put, &all);
	broker_free(r->twin);
	r->twin = store_load(&all);
	store_done(&all);
	CHECK(broker_digest(r->twin) == broker_digest(r->broker));
}

/* A broker that lags becomes the one that does not; bytes that are no state change nothing. */
static void whole(struct run *r)
{
	struct buf b = BUF_EMPTY;
	uint8_t damage = get_u8(&r->in);
	if (r->reloads == RELOADS_MAX)
		return;
	r->reloads++;
	broker_whole(r->broker, &b);
	if (r->twin == NULL)
		r->twin = broker_new(NULL);
	if (damage & 1)
		b.p[get_u16le(&r->in) % b.n] ^= (uint8_t)(damage | 1);
	uint64_t before = broker_digest(r->twin);
	struct slice exact = fuzz_exact(buf_slice(&b));
	bool taken = broker_become(r->twin, exact);
	fuzz_free(exact);
	CHECK(taken || broker_digest(r->twin) == before);
	CHECK(taken || (damage & 1));
	if (damage & 1) {
		broker_free(r->twin);
		r->twin = NULL;
	} else {
		CHECK(broker_digest(r->twin) == broker_digest(r->broker));
	}
	buf_done(&b);
}

static void step(struct run *r)
{
	enum step what = get_u8(&r->in) % STEPS;
	if (put_command(r, what))
		apply(r, what == STEP_RAW);
	else if (what == STEP_ROUTE)
		route(r);
	else if (what == STEP_MAY)
		may(r);
	else if (what == STEP_STORE)
		save(r);
	else if (what == STEP_WHOLE)
		whole(r);
	else
		reload(r);
}

static void each_seed(void *arg, struct slice command)
{
	struct run *r = arg;
	buf_clear(&r->command);
	buf_put_slice(&r->command, command);
	apply(r, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run r = {.in = reader_make(data, size), .broker = broker_new(NULL)};
	broker_seed(slice_str("hash"), each_seed, &r);
	for (unsigned i = 0; i < STEPS_MAX && reader_left(&r.in) > 0; i++)
		step(&r);
	save(&r);
	check_loaded(&r.store, broker_digest(r.broker));
	if (r.twin != NULL)
		CHECK(broker_digest(r.twin) == broker_digest(r.broker));
	broker_route_done(&r.route);
	store_done(&r.store);
	broker_free(r.broker);
	broker_free(r.twin);
	buf_done(&r.command);
	buf_done(&r.arguments);
	return 0;
}
