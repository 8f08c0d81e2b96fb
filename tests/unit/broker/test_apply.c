/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/buf.h"
#include "tests/unit/broker/fixture.h"

#define A300                                                                                       \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
	"aaaa"                                                                                     \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
	"aaaa"                                                                                     \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
	"aaaa"                                                                                     \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void assert_result(
	struct broker_result r, enum broker_code code, enum broker_resource resource)
{
	assert_string_equal(broker_code_text(r.code), broker_code_text(code));
	assert_int_equal(r.resource, resource);
}

/* ---- vhosts ---- */

static struct broker_result vhost_command(struct broker *b, const char *name, bool add)
{
	struct buf c = BUF_EMPTY;
	if (add)
		broker_put_add_vhost(&c, slice_str(name), S("text"), S("t1,t2"), S("quorum"));
	else
		broker_put_delete_vhost(&c, slice_str(name));
	return apply(b, &c);
}

static void vhosts_come_with_their_exchanges(void **state)
{
	static const struct {
		const char *name;
		enum broker_exchange_type type;
		bool internal;
	} expected[] = {
		{"", BROKER_EXCHANGE_DIRECT, false},
		{"amq.direct", BROKER_EXCHANGE_DIRECT, false},
		{"amq.fanout", BROKER_EXCHANGE_FANOUT, false},
		{"amq.topic", BROKER_EXCHANGE_TOPIC, false},
		{"amq.headers", BROKER_EXCHANGE_HEADERS, false},
		{"amq.match", BROKER_EXCHANGE_HEADERS, false},
		{"amq.rabbitmq.trace", BROKER_EXCHANGE_TOPIC, true},
	};
	struct broker *b = *state;
	assert_result(vhost_command(b, "v", true), BROKER_OK, BROKER_NOTHING);
	assert_result(vhost_command(b, "v", true), BROKER_EXISTS, BROKER_VHOST);
	struct broker_vhost *v = broker_vhost_find(b, S("v"));
	assert_true(slice_is(v->description, "text"));
	assert_true(slice_is(v->tags, "t1,t2"));
	assert_true(slice_is(v->default_queue_type, "quorum"));
	assert_int_equal(v->n_exchanges, 7);
	for (int i = 0; i < 7; i++) {
		struct broker_exchange *x = broker_exchange_find(v, slice_str(expected[i].name));
		assert_non_null(x);
		assert_int_equal(x->spec.type, expected[i].type);
		assert_int_equal(x->spec.internal, expected[i].internal);
		assert_true(x->spec.durable);
		assert_true(broker_exchange_is_system(x));
	}
	assert_ptr_equal(v->default_exchange, broker_exchange_find(v, NONE));
}

static void vhosts_need_a_name_of_their_own(void **state)
{
	struct broker *b = *state;
	assert_result(vhost_command(b, "", true), BROKER_BAD_NAME, BROKER_VHOST);
	assert_result(vhost_command(b, A300, true), BROKER_BAD_NAME, BROKER_VHOST);
	assert_result(vhost_command(b, "v", false), BROKER_NOT_FOUND, BROKER_VHOST);
	assert_result(vhost_command(b, A300, false), BROKER_NOT_FOUND, BROKER_VHOST);
}

static void deleting_a_vhost_deletes_what_is_in_it(void **state)
{
	struct broker *b = *state;
	uint64_t group = declare_queue(b, "q")->group;
	struct buf c = BUF_EMPTY;
	declare_auto_delete(b, "x");
	declare_auto_delete(b, "y");
	bind_exchange(b, "x", "y", "");
	bind_queue(b, "y", "q", "");
	bind_queue(b, "x", "q", "");
	broker_put_add_user(&c, S("u"), NONE, BROKER_PASSWORD_SHA256, NONE);
	apply(b, &c);
	broker_put_set_permissions(&c, S("u"), S("/"), NONE, NONE, NONE);
	assert_result(apply(b, &c), BROKER_OK, BROKER_NOTHING);
	assert_result(vhost_command(b, "/", false), BROKER_OK, BROKER_NOTHING);
	assert_null(root(b));
	assert_null(broker_queue_by_group(b, group));
	assert_int_equal(b->n_queues + b->n_exchanges + b->n_bindings + b->n_vhosts, 0);
	assert_null(broker_permission_first_of_user(broker_user_find(b, S("u"))));
}

/* ---- exchanges ---- */

static void an_exchange_is_declared_once(void **state)
{
	struct broker *b = *state;
	const struct broker_exchange_spec spec = {.type = BROKER_EXCHANGE_TOPIC, .internal = true};
	struct broker_result r = declare_exchange_spec(b, "x", spec);
	assert_result(r, BROKER_OK, BROKER_NOTHING);
	assert_ptr_equal(r.exchange, exchange(b, "x"));
	assert_int_equal(r.exchange->spec.type, BROKER_EXCHANGE_TOPIC);
	assert_true(r.exchange->spec.internal);
	assert_false(r.exchange->spec.durable);
	uint64_t digest = broker_digest(b);
	struct broker_result again =
		declare_exchange_spec(b, "x", (struct broker_exchange_spec){0});
	assert_result(again, BROKER_EXISTS, BROKER_EXCHANGE);
	assert_ptr_equal(again.exchange, r.exchange);
	assert_result(declare_exchange_spec(b, "", spec), BROKER_EXISTS, BROKER_EXCHANGE);
	assert_result(declare_exchange_spec(b, A300, spec), BROKER_BAD_NAME, BROKER_EXCHANGE);
	assert_true(broker_digest(b) == digest);
	struct buf c = BUF_EMPTY;
	broker_put_declare_exchange(&c, S("no"), S("x"), &spec);
	assert_result(apply(b, &c), BROKER_NOT_FOUND, BROKER_VHOST);
}

static void deleting_an_exchange(void **state)
{
	struct broker *b = *state;
	struct buf c = BUF_EMPTY;
	declare_exchange(b, "x", BROKER_EXCHANGE_DIRECT);
	declare_queue(b, "q");
	bind_queue(b, "x", "q", "k");
	bind_exchange(b, "amq.topic", "x", "#");
	assert_result(delete_exchange(b, "no", false), BROKER_NOT_FOUND, BROKER_EXCHANGE);
	assert_result(delete_exchange(b, "", false), BROKER_REFUSED, BROKER_EXCHANGE);
	assert_result(delete_exchange(b, "amq.topic", false), BROKER_REFUSED, BROKER_EXCHANGE);
	assert_result(delete_exchange(b, "x", true), BROKER_IN_USE, BROKER_EXCHANGE);
	assert_int_equal(b->n_bindings, 2);
	assert_result(delete_exchange(b, "x", false), BROKER_OK, BROKER_NOTHING);
	assert_int_equal(b->n_bindings, 0);
	assert_null(exchange(b, "x"));
	/* Being a destination is not being in use. */
	declare_exchange(b, "x", BROKER_EXCHANGE_DIRECT);
	bind_exchange(b, "amq.topic", "x", "#");
	assert_result(delete_exchange(b, "x", true), BROKER_OK, BROKER_NOTHING);
	broker_put_delete_exchange(&c, S("no"), S("x"), false);
	assert_result(apply(b, &c), BROKER_NOT_FOUND, BROKER_VHOST);
}

/* ---- bindings ---- */

static void a_binding_is_what_it_says(void **state)
{
	struct broker *b = *state;
	struct buf args = BUF_EMPTY;
	declare_queue(b, "q");
	struct broker_binding_spec s = binding_spec("amq.direct", BROKER_TO_QUEUE, "q", "k");
	assert_result(bind_spec(b, s), BROKER_OK, BROKER_NOTHING);
	assert_result(bind_spec(b, s), BROKER_EXISTS, BROKER_NOTHING);
	s.key = S("l");
	assert_result(bind_spec(b, s), BROKER_OK, BROKER_NOTHING);
	amqp_table_put_int(&args, "n", 1);
	s.arguments = buf_slice(&args);
	assert_result(bind_spec(b, s), BROKER_OK, BROKER_NOTHING);
	assert_int_equal(b->n_bindings, 3);
	assert_int_equal(queue(b, "q")->n_destinations, 3);

	struct broker_exchange *x = exchange(b, "amq.direct");
	struct broker_binding *bi =
		broker_binding_find(x, BROKER_TO_QUEUE, queue(b, "q"), S("l"), buf_slice(&args));
	assert_non_null(bi);
	assert_true(slice_is(bi->key, "l"));
	assert_true(slice_eq(bi->arguments, buf_slice(&args)));
	assert_true(slice_is(broker_binding_destination_name(bi), "q"));

	assert_result(unbind_spec(b, s), BROKER_OK, BROKER_NOTHING);
	assert_result(unbind_spec(b, s), BROKER_OK, BROKER_NOTHING);
	assert_int_equal(b->n_bindings, 2);
	buf_done(&args);
}

static void a_binding_needs_both_ends(void **state)
{
	struct broker *b = *state;
	declare_queue(b, "q");
	declare_exchange(b, "x", BROKER_EXCHANGE_FANOUT);
	struct broker_result (*const both[])(struct broker *, struct broker_binding_spec) = {
		bind_spec, unbind_spec};
	for (int i = 0; i < 2; i++) {
		struct broker_binding_spec s = binding_spec("x", BROKER_TO_QUEUE, "q", "k");
		s.vhost = S("no");
		assert_result(both[i](b, s), BROKER_NOT_FOUND, BROKER_VHOST);
		s = binding_spec("no", BROKER_TO_QUEUE, "no", "k");
		assert_result(both[i](b, s), BROKER_NOT_FOUND, BROKER_EXCHANGE);
		s = binding_spec("x", BROKER_TO_QUEUE, "no", "k");
		assert_result(both[i](b, s), BROKER_NOT_FOUND, BROKER_QUEUE);
		s = binding_spec("x", BROKER_TO_EXCHANGE, "no", "k");
		assert_result(both[i](b, s), BROKER_NOT_FOUND, BROKER_DESTINATION);
		s = binding_spec("", BROKER_TO_QUEUE, "q", "k");
		assert_result(both[i](b, s), BROKER_REFUSED, BROKER_EXCHANGE);
		s = binding_spec("x", BROKER_TO_EXCHANGE, "", "k");
		assert_result(both[i](b, s), BROKER_REFUSED, BROKER_DESTINATION);
		s = binding_spec("x", BROKER_TO_QUEUE, "q", A300);
		assert_result(both[i](b, s), BROKER_BAD_NAME, BROKER_NOTHING);
	}
	assert_int_equal(b->n_bindings, 0);
}

static void bindings_are_listed_from_both_ends(void **state)
{
	struct broker *b = *state;
	int n = 0;
	declare_queue(b, "q");
	declare_exchange(b, "x", BROKER_EXCHANGE_FANOUT);
	bind_queue(b, "x", "q", "1");
	bind_queue(b, "x", "q", "2");
	bind_exchange(b, "x", "amq.topic", "3");
	struct broker_exchange *x = exchange(b, "x"), *topic = exchange(b, "amq.topic");
	struct broker_queue *q = queue(b, "q");
	for (struct broker_binding *bi = broker_binding_first_from(x); bi != NULL;
		bi = broker_binding_next_from(x, bi))
		n++;
	for (struct broker_binding *bi = broker_binding_first_to_queue(q); bi != NULL;
		bi = broker_binding_next_to_queue(q, bi))
		n += 10;
	for (struct broker_binding *bi = broker_binding_first_to_exchange(topic); bi != NULL;
		bi = broker_binding_next_to_exchange(topic, bi))
		n += 100;
	assert_int_equal(n, 123);
}

/* ---- queues ---- */

static void a_queue_gets_a_group_of_its_own(void **state)
{
	struct broker *b = *state;
	struct buf args = BUF_EMPTY, c = BUF_EMPTY;
	amqp_table_put_string(&args, "x-queue-type", S("quorum"));
	const struct broker_queue_spec spec = {.exclusive = true,
		.auto_delete = true,
		.owner = {1, 2, 3},
		.home_node = 4,
		.home_incarnation = 5,
		.created_ms = 6,
		.arguments = buf_slice(&args)};
	struct broker_result r = declare_queue_spec(b, "q", spec);
	assert_result(r, BROKER_OK, BROKER_NOTHING);
	assert_int_equal(r.group, 1);
	assert_ptr_equal(r.queue, broker_queue_by_group(b, 1));
	assert_ptr_equal(r.queue, queue(b, "q"));
	const struct broker_queue_spec *s = &r.queue->spec;
	assert_true(s->exclusive && s->auto_delete && !s->durable);
	assert_true(broker_connection_id_eq(s->owner, spec.owner));
	assert_int_equal(s->home_node, 4);
	assert_int_equal(s->home_incarnation, 5);
	assert_int_equal(s->created_ms, 6);
	assert_int_equal(r.queue->type, BROKER_QUEUE_QUORUM);

	struct broker_result again = declare_queue_spec(b, "q", (struct broker_queue_spec){0});
	assert_result(again, BROKER_EXISTS, BROKER_QUEUE);
	assert_int_equal(again.group, 1);
	assert_ptr_equal(again.queue, r.queue);
	assert_int_equal(declare_queue(b, "p")->group, 2);
	assert_result(delete_queue(b, 1), BROKER_OK, BROKER_NOTHING);
	assert_result(delete_queue(b, 1), BROKER_NOT_FOUND, BROKER_QUEUE);
	assert_int_equal(declare_queue(b, "q")->group, 3);

	assert_result(declare_queue_spec(b, "", spec), BROKER_BAD_NAME, BROKER_QUEUE);
	assert_result(declare_queue_spec(b, A300, spec), BROKER_BAD_NAME, BROKER_QUEUE);
	broker_put_declare_queue(&c, S("no"), S("q"), &spec);
	assert_result(apply(b, &c), BROKER_NOT_FOUND, BROKER_VHOST);
	buf_done(&args);
}

static void malformed_arguments_are_refused(void **state)
{
	struct broker *b = *state;
	struct broker_queue_spec q = {.arguments = S("\5abc")};
	struct broker_exchange_spec x = {.arguments = S("\1aS\0\0\1\0")};
	struct broker_binding_spec bi = binding_spec("amq.direct", BROKER_TO_QUEUE, "q", "");
	bi.arguments = S("\1a?");
	assert_result(declare_queue_spec(b, "q", q), BROKER_MALFORMED, BROKER_NOTHING);
	assert_result(declare_exchange_spec(b, "x", x), BROKER_MALFORMED, BROKER_NOTHING);
	assert_result(bind_spec(b, bi), BROKER_MALFORMED, BROKER_NOTHING);
}

static void an_auto_delete_exchange_goes_with_its_last_binding(void **state)
{
	struct broker *b = *state;
	declare_queue(b, "q");
	declare_queue(b, "p");
	declare_auto_delete(b, "x");
	assert_non_null(exchange(b, "x")); /* it never had one */
	bind_queue(b, "x", "q", "1");
	bind_queue(b, "x", "p", "1");
	unbind_queue(b, "x", "q", "1");
	assert_non_null(exchange(b, "x"));
	unbind_queue(b, "x", "p", "1");
	assert_null(exchange(b, "x"));

	declare_auto_delete(b, "x");
	bind_queue(b, "x", "q", "1");
	bind_queue(b, "x", "q", "2");
	delete_queue(b, queue(b, "q")->group);
	assert_null(exchange(b, "x"));

	/* Losing bindings as a destination is no reason. */
	declare_auto_delete(b, "x");
	bind_exchange(b, "amq.fanout", "x", "");
	unbind_spec(b, binding_spec("amq.fanout", BROKER_TO_EXCHANGE, "x", ""));
	assert_non_null(exchange(b, "x"));
}

/* x0 -> x1 -> ... -> q: so long that a recursion would show. */
static void a_cascade_runs_through_a_chain(void **state)
{
	struct broker *b = *state;
	char name[16], next[16];
	const int n = 50000;
	declare_queue(b, "q");
	for (int i = n; i >= 0; i--) {
		snprintf(name, sizeof name, "x%d", i);
		snprintf(next, sizeof next, "x%d", i + 1);
		declare_auto_delete(b, name);
		if (i == n)
			bind_queue(b, name, "q", "");
		else
			bind_exchange(b, name, next, "");
	}
	assert_int_equal(b->n_exchanges, 7 + n + 1);
	delete_queue(b, queue(b, "q")->group);
	assert_int_equal(b->n_exchanges, 7);
	assert_int_equal(b->n_bindings, 0);
}

static void a_cascade_ends_in_a_cycle(void **state)
{
	struct broker *b = *state;
	declare_auto_delete(b, "x");
	declare_auto_delete(b, "y");
	declare_auto_delete(b, "z");
	bind_exchange(b, "x", "y", "");
	bind_exchange(b, "y", "x", "");
	bind_exchange(b, "x", "x", "");
	bind_exchange(b, "z", "x", "");
	assert_result(delete_exchange(b, "x", false), BROKER_OK, BROKER_NOTHING);
	assert_null(exchange(b, "y"));
	assert_null(exchange(b, "z"));
	assert_int_equal(b->n_bindings, 0);
}

/* ---- nodes ---- */

static void declare_at(
	struct broker *b, const char *name, bool durable, uint64_t home, uint64_t incarnation)
{
	assert_non_null(declare_queue_spec(b, name,
		(struct broker_queue_spec){
			.durable = durable, .home_node = home, .home_incarnation = incarnation})
				.queue);
}

static void declare_exclusive(
	struct broker *b, const char *name, uint64_t node, uint64_t incarnation)
{
	assert_non_null(declare_queue_spec(b, name,
		(struct broker_queue_spec){
			.durable = true, .exclusive = true, .owner = {node, incarnation, 1}})
				.queue);
}

static void a_restarted_node_loses_what_died_with_it(void **state)
{
	struct broker *b = *state;
	node_up(b, 1, 10);
	node_up(b, 2, 10);
	declare_at(b, "durable", true, 1, 10);
	declare_at(b, "transient", false, 1, 10);
	declare_at(b, "elsewhere", false, 2, 10);
	declare_exclusive(b, "exclusive", 1, 10);
	declare_exclusive(b, "other", 2, 10);
	declare_auto_delete(b, "x");
	bind_queue(b, "x", "exclusive", "");
	bind_queue(b, "x", "transient", "");
	node_up(b, 1, 9);
	node_up(b, 1, 10);
	assert_int_equal(b->n_queues, 5);
	assert_result(node_up(b, 1, 11), BROKER_OK, BROKER_NOTHING);
	assert_int_equal(broker_node_incarnation(b, 1), 11);
	assert_null(queue(b, "transient"));
	assert_null(queue(b, "exclusive"));
	assert_null(exchange(b, "x"));
	assert_non_null(queue(b, "durable"));
	assert_non_null(queue(b, "elsewhere"));
	assert_non_null(queue(b, "other"));
}

static void a_late_declaration_is_stale(void **state)
{
	struct broker *b = *state;
	node_up(b, 1, 11);
	struct broker_queue_spec s = {.home_node = 1, .home_incarnation = 10};
	assert_result(declare_queue_spec(b, "q", s), BROKER_STALE, BROKER_QUEUE);
	s.durable = true;
	assert_result(declare_queue_spec(b, "q", s), BROKER_OK, BROKER_NOTHING);
	s.exclusive = true;
	s.owner = (struct broker_connection_id){1, 10, 1};
	assert_result(declare_queue_spec(b, "p", s), BROKER_STALE, BROKER_QUEUE);
	s.owner.incarnation = 11;
	assert_result(declare_queue_spec(b, "p", s), BROKER_OK, BROKER_NOTHING);
}

/* ---- the rest ---- */

static void the_cluster_has_a_name(void **state)
{
	struct broker *b = *state;
	struct buf c = BUF_EMPTY;
	assert_int_equal(b->cluster_name.n, 0);
	broker_put_set_cluster_name(&c, S("rabbits"));
	assert_result(apply(b, &c), BROKER_OK, BROKER_NOTHING);
	assert_true(slice_is(b->cluster_name, "rabbits"));
	broker_put_set_cluster_name(&c, S(A300));
	assert_result(apply(b, &c), BROKER_BAD_NAME, BROKER_NOTHING);
	assert_true(slice_is(b->cluster_name, "rabbits"));
}

static void what_is_not_known_changes_nothing(void **state)
{
	struct broker *b = *state;
	uint64_t digest = broker_digest(b);
	struct broker_result r;
	broker_apply(b, S("\x01\x01\x01 and more"), &r);
	assert_result(r, BROKER_UNKNOWN, BROKER_NOTHING);
	broker_apply(b, S("\x01\x00\x02 a newer form"), &r);
	assert_result(r, BROKER_UNKNOWN, BROKER_NOTHING);
	broker_apply(b, S("\x00\x00\x01"), &r);
	assert_result(r, BROKER_UNKNOWN, BROKER_NOTHING);
	broker_apply(b, S("\x01"), &r);
	assert_result(r, BROKER_MALFORMED, BROKER_NOTHING);
	broker_apply(b, NONE, &r);
	assert_result(r, BROKER_MALFORMED, BROKER_NOTHING);
	/* One octet too many. */
	broker_apply(b, S("\x02\x00\x01\x01\x00/!"), &r);
	assert_result(r, BROKER_MALFORMED, BROKER_NOTHING);
	assert_true(broker_digest(b) == digest);
}

/* The bytes of a command live in logs for years. */
static void the_bytes_of_a_command(void **state)
{
	(void)state;
	struct buf c = BUF_EMPTY;
	const struct broker_queue_spec spec = {.durable = true,
		.exclusive = true,
		.owner = {1, 2, 3},
		.home_node = 4,
		.home_incarnation = 5,
		.created_ms = 6,
		.arguments = S("\1nV")};
	broker_put_declare_queue(&c, S("/"), S("q"), &spec);
	assert_true(slice_eq(buf_slice(&c), S("\x0d\0\1"
					      "\1\0/\1\0q"
					      "\5"
					      "\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0"
					      "\4\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0"
					      "\3\0\0\0\1nV")));
	buf_clear(&c);
	struct broker_binding_spec s = binding_spec("x", BROKER_TO_EXCHANGE, "y", "k.#");
	broker_put_bind(&c, &s);
	assert_true(slice_eq(buf_slice(&c), S("\x0b\0\1\1\0/\1\0x\1\1\0y\3\0k.#\0\0\0\0")));
	buf_clear(&c);
	broker_put_node_up(&c, 1, 2, S("n"), S("a"));
	assert_true(slice_eq(buf_slice(&c), S("\x10\0\1\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\1\0n\1\0a")));
	buf_clear(&c);
	broker_put_set_policy(&c, S("/"), S("p"), BROKER_POLICY_OPERATOR,
		&(struct broker_policy_spec){.pattern = S("^q"),
			.apply_to = BROKER_APPLY_TO_EXCHANGES,
			.priority = -1,
			.definition = S("\1nV")});
	assert_true(slice_eq(buf_slice(&c), S("\x12\0\1\1\0/\1\0p\1\2\0\0\0^q\2"
					      "\377\377\377\377\377\377\377\377\3\0\0\0\1nV")));
	buf_clear(&c);
	broker_put_join_node(&c, 1, S("n"), S("a"), BROKER_NODE_RAM);
	assert_true(slice_eq(
		buf_slice(&c), S("\x1b\0\1\1\0\0\0\0\0\0\0\1\0n\1\0a\1")));
	buf_clear(&c);
	broker_put_member_gone(&c, 3, 4, 5, 6);
	assert_true(slice_eq(
		buf_slice(&c), S("\x20\0\1\3\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0")));
	buf_clear(&c);
	broker_put_node_down(&c, 1, 2, &(uint64_t){3}, 1);
	assert_true(slice_eq(
		buf_slice(&c), S("\x1d\0\1\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\1\0\3\0\0\0\0\0\0\0")));
	buf_clear(&c);
	broker_put_set_vhost_limits(&c, S("/"), &(struct broker_vhost_limits){1, BROKER_LIMIT_KEEP});
	assert_true(slice_eq(
		buf_slice(&c), S("\x16\0\1\1\0/\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\200")));
	buf_clear(&c);
	broker_put_set_topic_permissions(&c, S("u"), S("/"), S("x"), S("w"), S("r"));
	assert_true(slice_eq(buf_slice(&c),
		S("\x18\0\1\1\0u\1\0/\1\0x\1\0\0\0w\1\0\0\0r")));
	buf_done(&c);
}

static void apply_seed(void *arg, struct slice command)
{
	struct broker_result r;
	broker_apply(arg, command, &r);
	assert_result(r, BROKER_OK, BROKER_NOTHING);
}

static void the_seed_lets_guest_in(void **state)
{
	(void)state;
	char hash[BROKER_PASSWORD_HASH_MAX];
	struct broker *b = broker_new(NULL);
	size_t n = broker_password_hash(
		hash, BROKER_PASSWORD_SHA256, (const uint8_t *)"salt", S("guest"));
	broker_seed(slice_make(hash, n), apply_seed, b);
	struct broker_user *u = broker_user_find(b, S("guest"));
	assert_true(broker_password_check(u->hash, u->algorithm, S("guest")));
	assert_true(broker_user_has_tag(u, "administrator"));
	for (int i = 0; i < BROKER_RIGHTS; i++)
		assert_true(broker_may(b, u, root(b), (enum broker_right)i, S("anything")));
	broker_free(b);
}

/* ---- the watch ---- */

struct seen {
	char text[512];
};

static void note(struct seen *s, const char *what, struct slice name)
{
	size_t n = strlen(s->text);
	snprintf(s->text + n, sizeof s->text - n, "%s%.*s ", what, SLICE_FMT(name));
}

static void on_queue_added(void *arg, struct broker_queue *q)
{
	q->data = arg;
	assert_ptr_equal(broker_queue_find(q->vhost, q->name), q);
	note(arg, "+q:", q->name);
}

static void on_queue_deleted(void *arg, struct broker_queue *q)
{
	assert_ptr_equal(q->data, arg);
	assert_null(broker_queue_find(q->vhost, q->name));
	note(arg, "-q:", q->name);
}

static void on_exchange_added(void *arg, struct broker_exchange *x)
{
	note(arg, "+x:", x->name);
}

static void on_exchange_deleted(void *arg, struct broker_exchange *x)
{
	assert_null(broker_exchange_find(x->vhost, x->name));
	note(arg, "-x:", x->name);
}

static void on_vhost_added(void *arg, struct broker_vhost *v)
{
	note(arg, "+v:", v->name);
}

static void on_vhost_deleted(void *arg, struct broker_vhost *v)
{
	note(arg, "-v:", v->name);
}

static void on_user_deleted(void *arg, struct broker_user *u)
{
	note(arg, "-u:", u->name);
}

static void on_queue_begun(void *arg, struct broker_queue *q)
{
	assert_true(q->begun);
	note(arg, "!q:", q->name);
}

static void on_queue_changed(void *arg, struct broker_queue *q)
{
	note(arg, "~q:", q->name);
}

static void assert_seen(struct seen *s, const char *text)
{
	assert_string_equal(s->text, text);
	*s->text = '\0';
}

static void the_watch_is_told(void **state)
{
	(void)state;
	struct seen seen = {{0}};
	struct buf c = BUF_EMPTY;
	const struct broker_watch watch = {&seen, on_queue_added, on_queue_deleted,
		on_exchange_added, on_exchange_deleted, on_vhost_added, on_vhost_deleted,
		on_user_deleted, on_queue_begun, on_queue_changed, NULL};
	struct broker *b = broker_new(&watch);
	add_vhost(b, "/");
	assert_seen(&seen,
		"+v:/ +x: +x:amq.direct +x:amq.fanout +x:amq.topic +x:amq.headers +x:amq.match "
		"+x:amq.rabbitmq.trace ");
	declare_queue(b, "q");
	declare_queue(b, "q");
	declare_auto_delete(b, "x");
	bind_queue(b, "x", "q", "");
	assert_seen(&seen, "+q:q +x:x ");
	for (unsigned i = 0; i < 2; i++) {
		broker_put_begin_queue(&c, 1);
		assert_int_equal(apply(b, &c).code, BROKER_OK);
	}
	assert_seen(&seen, "!q:q ");
	broker_put_begin_queue(&c, 2);
	assert_int_equal(apply(b, &c).code, BROKER_NOT_FOUND);
	delete_queue(b, 1);
	assert_seen(&seen, "-q:q -x:x ");
	broker_put_add_user(&c, S("u"), NONE, BROKER_PASSWORD_SHA256, NONE);
	apply(b, &c);
	broker_put_delete_user(&c, S("u"));
	apply(b, &c);
	assert_seen(&seen, "-u:u ");
	declare_queue(b, "q");
	*seen.text = '\0';
	vhost_command(b, "/", false);
	assert_memory_equal(seen.text, "-q:q -x:", 8);
	assert_string_equal(seen.text + strlen(seen.text) - 5, "-v:/ ");
	*seen.text = '\0';
	add_vhost(b, "/");
	*seen.text = '\0';
	broker_free(b);
	assert_seen(&seen, "");
}

static void every_code_has_a_text(void **state)
{
	(void)state;
	for (int i = 0; i < BROKER_CODES; i++)
		assert_string_not_equal(broker_code_text((enum broker_code)i), "unknown code");
	assert_string_equal(broker_code_text(BROKER_CODES), "unknown code");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(vhosts_come_with_their_exchanges),
		TEST(vhosts_need_a_name_of_their_own),
		TEST(deleting_a_vhost_deletes_what_is_in_it),
		TEST(an_exchange_is_declared_once),
		TEST(deleting_an_exchange),
		TEST(a_binding_is_what_it_says),
		TEST(a_binding_needs_both_ends),
		TEST(bindings_are_listed_from_both_ends),
		TEST(a_queue_gets_a_group_of_its_own),
		TEST(malformed_arguments_are_refused),
		TEST(an_auto_delete_exchange_goes_with_its_last_binding),
		TEST(a_cascade_runs_through_a_chain),
		TEST(a_cascade_ends_in_a_cycle),
		TEST(a_restarted_node_loses_what_died_with_it),
		TEST(a_late_declaration_is_stale),
		TEST(the_cluster_has_a_name),
		TEST(what_is_not_known_changes_nothing),
		cmocka_unit_test(the_bytes_of_a_command),
		cmocka_unit_test(the_seed_lets_guest_in),
		cmocka_unit_test(the_watch_is_told),
		cmocka_unit_test(every_code_has_a_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
