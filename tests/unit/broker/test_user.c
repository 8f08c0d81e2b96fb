/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/broker/fixture.h"

static struct broker_result add_user(struct broker *b, const char *name, const char *tags)
{
	struct buf c = BUF_EMPTY;
	broker_put_add_user(
		&c, slice_str(name), S("hash"), BROKER_PASSWORD_SHA256, slice_str(tags));
	return apply(b, &c);
}

static struct broker_result permit(struct broker *b, const char *user, const char *vhost,
	const char *configure, const char *write, const char *read)
{
	struct buf c = BUF_EMPTY;
	broker_put_set_permissions(&c, slice_str(user), slice_str(vhost), slice_str(configure),
		slice_str(write), slice_str(read));
	return apply(b, &c);
}

static struct broker_user *user(struct broker *b, const char *name)
{
	return broker_user_find(b, slice_str(name));
}

static void assert_result(
	struct broker_result r, enum broker_code code, enum broker_resource resource)
{
	assert_string_equal(broker_code_text(r.code), broker_code_text(code));
	assert_int_equal(r.resource, resource);
}

static void users_come_and_go(void **state)
{
	struct broker *b = *state;
	struct buf c = BUF_EMPTY;
	assert_result(add_user(b, "u", "administrator, monitoring"), BROKER_OK, BROKER_NOTHING);
	assert_result(add_user(b, "u", ""), BROKER_EXISTS, BROKER_USER);
	assert_result(add_user(b, "", ""), BROKER_BAD_NAME, BROKER_USER);
	assert_true(broker_user_has_tag(user(b, "u"), "administrator"));
	assert_true(broker_user_has_tag(user(b, "u"), "monitoring"));
	assert_false(broker_user_has_tag(user(b, "u"), "admin"));
	assert_false(broker_user_has_tag(user(b, "u"), ""));

	broker_put_set_tags(&c, S("u"), S("policymaker"));
	assert_result(apply(b, &c), BROKER_OK, BROKER_NOTHING);
	assert_true(broker_user_has_tag(user(b, "u"), "policymaker"));
	assert_false(broker_user_has_tag(user(b, "u"), "administrator"));
	broker_put_set_tags(&c, S("no"), NONE);
	assert_result(apply(b, &c), BROKER_NOT_FOUND, BROKER_USER);

	broker_put_change_password(&c, S("u"), S("new"), BROKER_PASSWORD_SHA512);
	assert_result(apply(b, &c), BROKER_OK, BROKER_NOTHING);
	assert_true(slice_is(user(b, "u")->hash, "new"));
	assert_int_equal(user(b, "u")->algorithm, BROKER_PASSWORD_SHA512);
	broker_put_change_password(&c, S("no"), NONE, BROKER_PASSWORD_SHA256);
	assert_result(apply(b, &c), BROKER_NOT_FOUND, BROKER_USER);

	broker_put_delete_user(&c, S("u"));
	assert_result(apply(b, &c), BROKER_OK, BROKER_NOTHING);
	assert_null(user(b, "u"));
	broker_put_delete_user(&c, S("u"));
	assert_result(apply(b, &c), BROKER_NOT_FOUND, BROKER_USER);
}

static void permissions_are_patterns(void **state)
{
	struct broker *b = *state;
	add_user(b, "u", "");
	struct broker_user *u = user(b, "u");
	assert_false(broker_may(b, u, root(b), BROKER_READ, S("q")));
	assert_null(broker_permission_find(u, root(b)));
	assert_result(permit(b, "u", "/", "^own-", "log|own", ".*"), BROKER_OK, BROKER_NOTHING);
	assert_true(broker_may(b, u, root(b), BROKER_CONFIGURE, S("own-q")));
	assert_false(broker_may(b, u, root(b), BROKER_CONFIGURE, S("my-own-q")));
	assert_true(broker_may(b, u, root(b), BROKER_WRITE, S("my-own-q"))); /* unanchored */
	assert_true(broker_may(b, u, root(b), BROKER_WRITE, S("catalogue")));
	assert_false(broker_may(b, u, root(b), BROKER_WRITE, S("x")));
	assert_true(broker_may(b, u, root(b), BROKER_READ, S("x")));
	assert_true(broker_may(b, u, root(b), BROKER_READ, slice_make(NULL, 0)));
	assert_false(broker_may(b, NULL, root(b), BROKER_READ, S("x")));
	assert_false(broker_may(b, u, NULL, BROKER_READ, S("x")));
}

static void the_empty_pattern_matches_the_empty_name(void **state)
{
	struct broker *b = *state;
	add_user(b, "u", "");
	permit(b, "u", "/", "", "^$", "");
	assert_true(broker_may(b, user(b, "u"), root(b), BROKER_CONFIGURE, NONE));
	assert_false(broker_may(b, user(b, "u"), root(b), BROKER_CONFIGURE, S("q")));
	assert_true(broker_may(b, user(b, "u"), root(b), BROKER_WRITE, NONE));
	assert_false(broker_may(b, user(b, "u"), root(b), BROKER_WRITE, S("q")));
}

static void a_bad_pattern_matches_nothing(void **state)
{
	struct broker *b = *state;
	char why[128] = "";
	add_user(b, "u", "");
	assert_result(permit(b, "u", "/", "(", "[a", ".*"), BROKER_OK, BROKER_NOTHING);
	assert_false(broker_may(b, user(b, "u"), root(b), BROKER_CONFIGURE, S("(")));
	assert_false(broker_may(b, user(b, "u"), root(b), BROKER_CONFIGURE, NONE));
	assert_true(broker_may(b, user(b, "u"), root(b), BROKER_READ, S("(")));
	assert_false(broker_pattern_check(S("("), why, sizeof why));
	assert_string_equal(why, "missing closing parenthesis");
	assert_true(broker_pattern_check(S(".*"), why, sizeof why));
	assert_true(broker_pattern_check(NONE, why, sizeof why));
}

/* The first alternative is tried in 2^18 ways before the second one would match. */
static void an_endless_pattern_is_a_no(void **state)
{
	struct broker *b = *state;
	add_user(b, "u", "");
	permit(b, "u", "/", "^(?:a|a)*c|^a", "^(a|b)*$", "^a");
	struct broker_user *u = user(b, "u");
	assert_false(broker_may(b, u, root(b), BROKER_CONFIGURE, S("aaaaaaaaaaaaaaaaaa")));
	assert_true(broker_may(b, u, root(b), BROKER_CONFIGURE, S("aaa")));
	char name[255];
	memset(name, 'a', sizeof name);
	assert_true(broker_may(b, u, root(b), BROKER_WRITE, slice_make(name, sizeof name)));
}

static void permissions_are_replaced_and_cleared(void **state)
{
	struct broker *b = *state;
	struct buf c = BUF_EMPTY;
	int n = 0;
	add_user(b, "u", "");
	add_vhost(b, "v");
	assert_result(permit(b, "no", "no", "", "", ""), BROKER_NOT_FOUND, BROKER_USER);
	assert_result(permit(b, "u", "no", "", "", ""), BROKER_NOT_FOUND, BROKER_VHOST);
	permit(b, "u", "/", "a", "b", "c");
	permit(b, "u", "v", "a", "b", "c");
	permit(b, "u", "/", "b", "b", "c");
	assert_false(broker_may(b, user(b, "u"), root(b), BROKER_CONFIGURE, S("a")));
	assert_true(broker_may(b, user(b, "u"), root(b), BROKER_CONFIGURE, S("b")));
	for (struct broker_permission *p = broker_permission_first_of_user(user(b, "u")); p != NULL;
		p = broker_permission_next_of_user(p))
		n++;
	for (struct broker_permission *p = broker_permission_first_of_vhost(root(b)); p != NULL;
		p = broker_permission_next_of_vhost(root(b), p))
		n += 10;
	assert_int_equal(n, 12);

	for (int i = 0; i < 2; i++) {
		broker_put_clear_permissions(&c, S("u"), S("/"));
		assert_result(apply(b, &c), BROKER_OK, BROKER_NOTHING);
	}
	assert_null(broker_permission_find(user(b, "u"), root(b)));
	broker_put_clear_permissions(&c, S("no"), S("/"));
	assert_result(apply(b, &c), BROKER_NOT_FOUND, BROKER_USER);
	broker_put_clear_permissions(&c, S("u"), S("no"));
	assert_result(apply(b, &c), BROKER_NOT_FOUND, BROKER_VHOST);

	broker_put_delete_user(&c, S("u"));
	apply(b, &c);
	assert_null(broker_permission_first_of_vhost(broker_vhost_find(b, S("v"))));
}

/* The first is the example of RabbitMQ's documentation; the others were made with Python. */
static const struct {
	enum broker_password_algorithm algorithm;
	const char *hash;
} test12[] = {
	{BROKER_PASSWORD_SHA256, "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"},
	{BROKER_PASSWORD_SHA512, "kI3GChuNuIYf8lRbCCxZjgjKwsY19ns6+uFO0zcXRBGA/"
				 "XGJPYD8OWMy7EB8TaOmAzjP2azv84GbINYwX2cD"
				 "Wb4DHnc="},
	{BROKER_PASSWORD_MD5, "kI3GChNpte2FApYFXScl+0dIluk="},
};

static void password_hashes_are_rabbitmqs(void **state)
{
	(void)state;
	static const uint8_t salt[4] = {0x90, 0x8d, 0xc6, 0x0a};
	char made[BROKER_PASSWORD_HASH_MAX];
	for (size_t i = 0; i < 3; i++) {
		struct slice hash = slice_str(test12[i].hash);
		enum broker_password_algorithm algorithm = test12[i].algorithm;
		size_t n = broker_password_hash(made, algorithm, salt, S("test12"));
		assert_string_equal(made, test12[i].hash);
		assert_int_equal(n, hash.n);
		assert_true(broker_password_check(hash, algorithm, S("test12")));
		assert_false(broker_password_check(hash, algorithm, S("test13")));
		assert_false(broker_password_check(hash, (algorithm + 1) % 3, S("test12")));
	}
	assert_int_equal(broker_password_hash(made, BROKER_PASSWORD_ALGORITHMS, salt, S("x")), 0);
}

static void no_password_never_logs_in(void **state)
{
	(void)state;
	static const uint8_t salt[4] = {1, 2, 3, 4};
	char blank[BROKER_PASSWORD_HASH_MAX];
	size_t n = broker_password_hash(blank, BROKER_PASSWORD_SHA256, salt, NONE);
	assert_false(broker_password_check(slice_make(blank, n), BROKER_PASSWORD_SHA256, NONE));
	assert_false(broker_password_check(NONE, BROKER_PASSWORD_SHA256, S("x")));
	assert_false(broker_password_check(NONE, BROKER_PASSWORD_SHA256, NONE));
}

static void malformed_hashes_never_match(void **state)
{
	(void)state;
	struct dice d = dice_new(__func__);
	static const char *const bad[] = {"", "=", "====", "AAAA", "AQIDBA==", "AQID", "!!!!",
		"kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2PO",
		"kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2PORAAAA"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(broker_password_check(
			slice_str(bad[i]), BROKER_PASSWORD_SHA256, S("test12")));
	for (int i = 0; i < 20000; i++) {
		size_t n = roll(&d, 120);
		uint8_t *text = mem_alloc(n);
		for (size_t k = 0; k < n; k++)
			text[k] = (uint8_t)(roll(&d, 8) ? 'A' + roll(&d, 26) : roll(&d, 256));
		broker_password_check(slice_make(text, n), roll(&d, 3), S("test12"));
		mem_free(text);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(users_come_and_go),
		TEST(permissions_are_patterns),
		TEST(the_empty_pattern_matches_the_empty_name),
		TEST(a_bad_pattern_matches_nothing),
		TEST(an_endless_pattern_is_a_no),
		TEST(permissions_are_replaced_and_cleared),
		cmocka_unit_test(password_hashes_are_rabbitmqs),
		cmocka_unit_test(no_password_never_logs_in),
		cmocka_unit_test(malformed_hashes_never_match),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
