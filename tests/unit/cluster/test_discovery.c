/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/cluster/discovery.h"

static const struct discovery_peer a = {.address = "a:1", .name = "w@a", .id = 30, .blank = true},
				   b = {.address = "b:1", .name = "w@b", .id = 20, .blank = true},
				   c = {.address = "c:1", .name = "w@c", .id = 10, .blank = true};

static struct discovery_peer silent(struct discovery_peer p)
{
	return (struct discovery_peer){.address = p.address, .why = "connection refused"};
}

static struct discovery_peer member(struct discovery_peer p, uint64_t cluster, bool ready)
{
	p.blank = false;
	p.cluster_id = cluster;
	p.ready = ready;
	return p;
}

static struct discovery decided(struct discovery_peer self, const struct discovery_peer *peers, size_t n,
	unsigned expected, unsigned turn)
{
	struct discovery d;
	discovery_decide(&d, &self, peers, n, expected, turn);
	return d;
}

static enum discovery_verdict verdict(struct discovery_peer self, const struct discovery_peer *peers, size_t n)
{
	return decided(self, peers, n, 0, 0).verdict;
}

/* Each of the three has heard of the others: exactly one founds, whoever is in its own list or not. */
static void test_one_founds(void **state)
{
	const struct discovery_peer all[] = {c, a, b}, of_a[] = {b, c}, of_b[] = {c, a}, of_c[] = {a, b};
	(void)state;
	assert_int_equal(verdict(a, all, 3), DISCOVERY_FOUND);
	assert_int_equal(verdict(a, of_a, 2), DISCOVERY_FOUND);
	assert_int_equal(verdict(b, all, 3), DISCOVERY_WAIT);
	assert_int_equal(verdict(b, of_b, 2), DISCOVERY_WAIT);
	assert_int_equal(verdict(c, of_c, 2), DISCOVERY_WAIT);
	assert_string_equal(decided(c, of_c, 2, 0, 0).text, "w@a is to found the cluster");
	assert_int_equal(verdict(a, NULL, 0), DISCOVERY_FOUND);
}

static void test_same_names(void **state)
{
	struct discovery_peer other = a;
	(void)state;
	other.id = 5;
	assert_int_equal(verdict(a, &other, 1), DISCOVERY_WAIT);
	assert_int_equal(verdict(other, &a, 1), DISCOVERY_FOUND);
}

/* One of the list that does not answer may be the last member of the cluster that others were wiped of. */
static void test_silence_is_no_answer(void **state)
{
	const struct discovery_peer peers[] = {b, silent(c)};
	struct discovery d = decided(a, peers, 2, 2, 0);
	(void)state;
	assert_int_equal(d.verdict, DISCOVERY_WAIT);
	assert_string_equal(d.text, "c:1 does not say whether it is in a cluster: connection refused");
}

static void test_member_is_joined(void **state)
{
	const struct discovery_peer peers[] = {silent(b), member(c, 7, true)};
	struct discovery d = decided(a, peers, 2, 3, 0);
	(void)state;
	assert_int_equal(d.verdict, DISCOVERY_JOIN);
	assert_int_equal(d.member, 1);
}

static void test_members_take_turns(void **state)
{
	const struct discovery_peer peers[] = {member(b, 7, true), member(c, 7, true)};
	(void)state;
	assert_int_equal(decided(a, peers, 2, 0, 0).member, 0);
	assert_int_equal(decided(a, peers, 2, 0, 1).member, 1);
	assert_int_equal(decided(a, peers, 2, 0, 2).member, 0);
}

static void test_member_that_is_not_ready(void **state)
{
	const struct discovery_peer peers[] = {b, member(c, 0, false)};
	struct discovery d = decided(a, peers, 2, 0, 0);
	(void)state;
	assert_int_equal(d.verdict, DISCOVERY_WAIT);
	assert_string_equal(d.text, "w@c is in a cluster, but lets nobody in yet");
}

static void test_two_clusters(void **state)
{
	const struct discovery_peer peers[] = {member(b, 7, true), member(c, 8, true)};
	struct discovery d = decided(a, peers, 2, 0, 0);
	(void)state;
	assert_int_equal(d.verdict, DISCOVERY_WAIT);
	assert_string_equal(d.text, "w@b and w@c belong to different clusters: which one is meant?");
}

/* DNS knows a part of them, or one by two addresses. */
static void test_expected(void **state)
{
	const struct discovery_peer peers[] = {b, a, b};
	struct discovery d = decided(a, peers, 3, 3, 0);
	(void)state;
	assert_int_equal(d.verdict, DISCOVERY_WAIT);
	assert_string_equal(d.text, "2 of 3 expected nodes are there");
	assert_int_equal(decided(a, peers, 3, 2, 0).verdict, DISCOVERY_FOUND);
}

/* Each is shown another part of three nodes: only as many as there are, expected, keep two from founding. */
static void test_parts(void **state)
{
	(void)state;
	assert_int_equal(decided(a, &b, 1, 2, 0).verdict, DISCOVERY_FOUND);
	assert_int_equal(decided(b, &c, 1, 2, 0).verdict, DISCOVERY_FOUND);
	assert_int_equal(decided(a, &b, 1, 3, 0).verdict, DISCOVERY_WAIT);
	assert_int_equal(decided(b, &c, 1, 3, 0).verdict, DISCOVERY_WAIT);
}

static void test_ram_nodes_found_nothing(void **state)
{
	struct discovery_peer ram = a;
	(void)state;
	ram.type = BROKER_NODE_RAM;
	assert_int_equal(verdict(ram, &b, 1), DISCOVERY_WAIT);
	assert_int_equal(verdict(b, &ram, 1), DISCOVERY_FOUND);
	assert_int_equal(verdict(ram, NULL, 0), DISCOVERY_WAIT);
}

/* Every view that three nodes can have of one another, while nobody is a member: nobody founds who has not
 * heard of all, and no two found with full views. */
static void test_never_two(void **state)
{
	const struct discovery_peer nodes[] = {a, b, c};
	(void)state;
	for (unsigned heard = 0; heard < 1u << 9; heard++) {
		unsigned founders = 0;
		for (size_t i = 0; i < 3; i++) {
			struct discovery_peer peers[3];
			bool all = true;
			for (size_t j = 0; j < 3; j++) {
				bool yes = (heard >> (3 * i + j) & 1) != 0;
				peers[j] = yes ? nodes[j] : silent(nodes[j]);
				all &= yes;
			}
			bool founds = verdict(nodes[i], peers, 3) == DISCOVERY_FOUND;
			assert_true(all || !founds);
			founders += founds;
		}
		assert_true(founders <= 1);
	}
}

static void is_address(const char *peer, const char *want)
{
	char *address = discovery_address(peer, 25672);
	if (want == NULL)
		assert_null(address);
	else
		assert_string_equal(address, want);
	mem_free(address);
}

static void test_addresses(void **state)
{
	(void)state;
	is_address("rabbit@host1", "host1:25672");
	is_address("warren@host1:5", "host1:5");
	is_address("w@[::1]", "[::1]:25672");
	is_address("w@[::1]:65535", "[::1]:65535");
	is_address("host1", NULL);
	is_address("@host1", NULL);
	is_address("w@", NULL);
	is_address("w@:5", NULL);
	is_address("w@h:", NULL);
	is_address("w@h:0", NULL);
	is_address("w@h:65536", NULL);
	is_address("w@h:5x", NULL);
	is_address("w@h i", NULL);
	is_address("w@[::1", NULL);
	is_address("w@[::1]5", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_founds),
		cmocka_unit_test(test_same_names),
		cmocka_unit_test(test_silence_is_no_answer),
		cmocka_unit_test(test_member_is_joined),
		cmocka_unit_test(test_members_take_turns),
		cmocka_unit_test(test_member_that_is_not_ready),
		cmocka_unit_test(test_two_clusters),
		cmocka_unit_test(test_expected),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_ram_nodes_found_nothing),
		cmocka_unit_test(test_never_two),
		cmocka_unit_test(test_addresses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
