/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters, limits, topic permissions, metadata of vhosts.
 */
#include "tests/unit/broker/fixture.h"

static enum broker_code add_user(struct broker *b, const char *name)
{
	struct buf c = BUF_EMPTY;
	broker_put_add_user(&c, slice_str(name), S("hash"), BROKER_PASSWORD_SHA256, NONE);
	return apply(b, &c).code;
}

static struct broker_result set_parameter(struct broker *b, const char *vhost,
	const char *component, const char *name, const char *value)
{
	struct buf c = BUF_EMPTY;
	broker_put_set_parameter(&c, slice_str(vhost), slice_str(component), slice_str(name),
		slice_str(value));
	return apply(b, &c);
}

static struct broker_result clear_parameter(
	struct broker *b, const char *vhost, const char *component, const char *name)
{
	struct buf c = BUF_EMPTY;
	broker_put_clear_parameter(&c, slice_str(vhost), slice_str(component), slice_str(name));
	return apply(b, &c);
}

static void parameters_are_kept_by_component_and_name(void **state)
{
	struct broker *b = *state;
	assert_int_equal(set_parameter(b, "/", "shovel", "a", "1").code, BROKER_OK);
	assert_int_equal(set_parameter(b, "/", "shovel", "b", "2").code, BROKER_OK);
	assert_int_equal(set_parameter(b, "/", "federation-upstream", "a", "3").code, BROKER_OK);
	assert_int_equal(set_parameter(b, "/", "shovel", "a", "4").code, BROKER_OK);
	const struct broker_parameter *p = broker_parameter_find(root(b), S("shovel"), S("a"));
	assert_true(slice_is(p->value, "4"));
	assert_ptr_equal(p, broker_parameter_first(root(b)));
	p = broker_parameter_next(broker_parameter_next(p));
	assert_true(slice_is(p->value, "3"));
	assert_null(broker_parameter_next(p));
	assert_int_equal(clear_parameter(b, "/", "shovel", "a").code, BROKER_OK);
	struct broker_result r = clear_parameter(b, "/", "shovel", "a");
	assert_int_equal(r.code, BROKER_NOT_FOUND);
	assert_int_equal(r.resource, BROKER_PARAMETER);
	r = set_parameter(b, "absent", "shovel", "a", "1");
	assert_int_equal(r.code, BROKER_NOT_FOUND);
	assert_int_equal(r.resource, BROKER_VHOST);
	assert_int_equal(set_parameter(b, "/", "", "a", "1").code, BROKER_MALFORMED);
	assert_int_equal(set_parameter(b, "/", "c", "", "1").code, BROKER_BAD_NAME);
}

static void global_parameters_are_nobodys(void **state)
{
	struct broker *b = *state;
	assert_int_equal(set_parameter(b, "", "", "mqtt_default_vhosts", "{}").code, BROKER_OK);
	const struct broker_parameter *p =
		broker_parameter_find_global(b, S("mqtt_default_vhosts"));
	assert_ptr_equal(p, broker_parameter_first_global(b));
	assert_null(broker_parameter_next(p));
	assert_null(broker_parameter_first(root(b)));
	assert_int_equal(clear_parameter(b, "", "", "mqtt_default_vhosts").code, BROKER_OK);
	assert_null(broker_parameter_first_global(b));
}

static struct broker_result set_vhost_limits(
	struct broker *b, int64_t max_connections, int64_t max_queues)
{
	struct buf c = BUF_EMPTY;
	broker_put_set_vhost_limits(
		&c, S("/"), &(struct broker_vhost_limits){max_connections, max_queues});
	return apply(b, &c);
}

static void a_vhost_takes_as_many_queues_as_it_may(void **state)
{
	struct broker *b = *state;
	assert_int_equal(set_vhost_limits(b, BROKER_LIMIT_KEEP, 2).code, BROKER_OK);
	assert_non_null(declare_queue(b, "a"));
	assert_non_null(declare_queue(b, "b"));
	struct broker_result r =
		declare_queue_spec(b, "c", (struct broker_queue_spec){.durable = true});
	assert_int_equal(r.code, BROKER_LIMIT);
	assert_int_equal(r.limit, 2);
	assert_null(queue(b, "c"));
	/* What exists is no new one. */
	r = declare_queue_spec(b, "a", (struct broker_queue_spec){.durable = true});
	assert_int_equal(r.code, BROKER_EXISTS);
	set_vhost_limits(b, 7, BROKER_LIMIT_KEEP);
	assert_int_equal(root(b)->limits.max_queues, 2);
	assert_int_equal(root(b)->limits.max_connections, 7);
	set_vhost_limits(b, BROKER_LIMIT_NONE, -1);
	assert_int_equal(root(b)->limits.max_connections, BROKER_LIMIT_NONE);
	assert_non_null(declare_queue(b, "c"));
	set_vhost_limits(b, BROKER_LIMIT_KEEP, 0);
	assert_null(declare_queue(b, "d"));
}

static void users_have_limits(void **state)
{
	struct broker *b = *state;
	struct buf c = BUF_EMPTY;
	add_user(b, "u");
	broker_put_set_user_limits(&c, S("u"), &(struct broker_user_limits){3, BROKER_LIMIT_KEEP});
	assert_int_equal(apply(b, &c).code, BROKER_OK);
	const struct broker_user *u = broker_user_find(b, S("u"));
	assert_int_equal(u->limits.max_connections, 3);
	assert_int_equal(u->limits.max_channels, BROKER_LIMIT_NONE);
	broker_put_set_user_limits(&c, S("v"), &(struct broker_user_limits){3, 3});
	assert_int_equal(apply(b, &c).code, BROKER_NOT_FOUND);
}

/* ---- topic permissions ---- */

static struct broker_result set_topic_permissions(
	struct broker *b, const char *exchange_name, const char *write, const char *read)
{
	struct buf c = BUF_EMPTY;
	broker_put_set_topic_permissions(&c, S("ann"), S("/"), slice_str(exchange_name),
		slice_str(write), slice_str(read));
	return apply(b, &c);
}

static bool may(struct broker *b, const char *exchange_name, enum broker_right right,
	const char *key)
{
	return broker_may_topic(b, broker_user_find(b, S("ann")), exchange(b, exchange_name), right,
		slice_str(key));
}

static void topic_permissions_are_for_keys(void **state)
{
	struct broker *b = *state;
	add_user(b, "ann");
	uint64_t version = b->auth_version;
	assert_true(may(b, "amq.topic", BROKER_WRITE, "anything"));
	assert_int_equal(set_topic_permissions(b, "amq.topic", "^a\\.", "b$").code, BROKER_OK);
	assert_true(b->auth_version > version);
	assert_true(may(b, "amq.topic", BROKER_WRITE, "a.x"));
	assert_false(may(b, "amq.topic", BROKER_WRITE, "x.a.x"));
	assert_true(may(b, "amq.topic", BROKER_READ, "x.b"));
	assert_false(may(b, "amq.topic", BROKER_READ, "a.x"));
	/* Nothing but topic exchanges is meant, and no other one. */
	assert_int_equal(set_topic_permissions(b, "amq.direct", "", "").code, BROKER_OK);
	assert_true(may(b, "amq.direct", BROKER_WRITE, "x"));
	declare_exchange(b, "t", BROKER_EXCHANGE_TOPIC);
	assert_true(may(b, "t", BROKER_WRITE, "x"));
	/* Empty is for the empty key, a bad one for none. */
	set_topic_permissions(b, "amq.topic", "", "(");
	assert_true(may(b, "amq.topic", BROKER_WRITE, ""));
	assert_false(may(b, "amq.topic", BROKER_WRITE, "a.x"));
	assert_false(may(b, "amq.topic", BROKER_READ, ""));
}

static void user_and_vhost_are_filled_in(void **state)
{
	struct broker *b = *state;
	add_user(b, "ann");
	set_topic_permissions(b, "amq.topic", "^{username}-{vhost}\\.{client_id}?$", ".*");
	assert_true(may(b, "amq.topic", BROKER_WRITE, "ann-/.{client_id"));
	assert_false(may(b, "amq.topic", BROKER_WRITE, "bob-/.{client_id"));
}

static size_t count_of_user(struct broker *b)
{
	const struct broker_user *u = broker_user_find(b, S("ann"));
	size_t n = 0;
	for (const struct broker_topic_permission *p = broker_topic_permission_first_of_user(u);
		p != NULL; p = broker_topic_permission_next_of_user(u, p))
		n++;
	return n;
}

static size_t count_of_vhost(const struct broker_vhost *v)
{
	size_t n = 0;
	for (const struct broker_topic_permission *p = broker_topic_permission_first_of_vhost(v);
		p != NULL; p = broker_topic_permission_next_of_vhost(v, p))
		n++;
	return n;
}

static void topic_permissions_are_cleared_for_one_exchange_or_all(void **state)
{
	struct broker *b = *state;
	struct buf c = BUF_EMPTY;
	add_user(b, "ann");
	set_topic_permissions(b, "x", "", "");
	set_topic_permissions(b, "y", "", "");
	set_topic_permissions(b, "z", "", "");
	assert_int_equal(count_of_user(b), 3);
	broker_put_clear_topic_permissions(&c, S("ann"), S("/"), S("y"));
	assert_int_equal(apply(b, &c).code, BROKER_OK);
	assert_int_equal(count_of_user(b), 2);
	broker_put_clear_topic_permissions(&c, S("ann"), S("/"), NONE);
	assert_int_equal(apply(b, &c).code, BROKER_OK);
	assert_int_equal(count_of_user(b), 0);
	assert_int_equal(count_of_vhost(root(b)), 0);
	assert_int_equal(set_topic_permissions(b, "", "", "").code, BROKER_BAD_NAME);
}

static void topic_permissions_go_with_user_and_vhost(void **state)
{
	struct broker *b = *state;
	struct buf c = BUF_EMPTY;
	add_user(b, "ann");
	set_topic_permissions(b, "x", "", "");
	broker_put_delete_user(&c, S("ann"));
	apply(b, &c);
	assert_int_equal(count_of_vhost(root(b)), 0);
	add_user(b, "ann");
	set_topic_permissions(b, "x", "", "");
	broker_put_delete_vhost(&c, S("/"));
	apply(b, &c);
	assert_int_equal(count_of_user(b), 0);
}

static void a_vhosts_metadata_can_be_changed(void **state)
{
	struct broker *b = *state;
	struct buf c = BUF_EMPTY;
	broker_put_set_vhost_metadata(&c, S("/"), S("text"), S("a,b"), S("quorum"));
	assert_int_equal(apply(b, &c).code, BROKER_OK);
	assert_true(slice_is(root(b)->description, "text"));
	assert_true(slice_is(root(b)->tags, "a,b"));
	assert_true(slice_is(root(b)->default_queue_type, "quorum"));
	broker_put_set_vhost_metadata(&c, S("absent"), NONE, NONE, NONE);
	assert_int_equal(apply(b, &c).code, BROKER_NOT_FOUND);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(parameters_are_kept_by_component_and_name),
		TEST(global_parameters_are_nobodys),
		TEST(a_vhost_takes_as_many_queues_as_it_may),
		TEST(users_have_limits),
		TEST(topic_permissions_are_for_keys),
		TEST(user_and_vhost_are_filled_in),
		TEST(topic_permissions_are_cleared_for_one_exchange_or_all),
		TEST(topic_permissions_go_with_user_and_vhost),
		TEST(a_vhosts_metadata_can_be_changed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
