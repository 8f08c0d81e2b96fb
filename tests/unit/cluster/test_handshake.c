/* SPDX-License-Identifier: Apache-2.0
 *
 * Two handshakes with each other, octets carried by the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "src/cluster/handshake.h"

struct end {
	struct handshake h;
	struct handshake_key key;
	struct buf out;
	uint8_t nonce[HANDSHAKE_NONCE];
	enum handshake_code answer; /* to ASKS */
	unsigned asked;
	size_t chunk; /* octets are brought so many at a time */
};

struct pair {
	struct end d, a;    /* dialler, acceptor */
	struct buf sent[2]; /* all that they have said, by role */
};

static struct handshake_identity identity(uint64_t id, const char *name)
{
	struct handshake_identity i = {.version_min = 1,
		.version_max = 1,
		.kind = HANDSHAKE_LINK,
		.node_id = id,
		.incarnation = 10 + id,
		.cluster_id = 99};
	strcpy(i.name, name);
	strcpy(i.product, "0.1");
	return i;
}

static void end_begin(
	struct end *e, enum handshake_role role, struct handshake_identity id, const char *cookie)
{
	handshake_key_make(&e->key, slice_str(cookie));
	memset(e->nonce, role == HANDSHAKE_DIALLER ? 0xd1 : 0xac, sizeof e->nonce);
	e->chunk = SIZE_MAX;
	handshake_begin(&e->h, role, &id, &e->key, e->nonce, &e->out);
}

static void begin(struct pair *p, const char *cookie_d, const char *cookie_a)
{
	*p = (struct pair){0};
	end_begin(&p->d, HANDSHAKE_DIALLER, identity(1, "warren@a"), cookie_d);
	end_begin(&p->a, HANDSHAKE_ACCEPTOR, identity(2, "warren@b"), cookie_a);
}

static void done(struct pair *p)
{
	handshake_done(&p->d.h);
	handshake_done(&p->a.h);
	buf_done(&p->d.out);
	buf_done(&p->a.out);
	buf_done(&p->sent[0]);
	buf_done(&p->sent[1]);
}

/* As link.c does. Returns how many octets were taken. */
static size_t take(struct end *e, const uint8_t *p, size_t n)
{
	size_t used = 0;
	do {
		used += handshake_take(&e->h, p + used, n - used, &e->out);
		if (e->h.state != HANDSHAKE_ASKS)
			break;
		e->asked++;
		if (e->answer == HANDSHAKE_OK)
			handshake_admit(&e->h, &e->out);
		else
			handshake_refuse(&e->h, e->answer, "you are not wanted", &e->out);
	} while (e->h.state == HANDSHAKE_MORE);
	return used;
}

static bool carry(struct pair *p, struct end *from, struct end *to, struct buf *in)
{
	buf_put_slice(&p->sent[from->h.role], buf_slice(&from->out));
	buf_put_slice(in, buf_slice(&from->out));
	buf_clear(&from->out);
	size_t n = in->n;
	for (size_t have = 0; have < in->n && to->h.state == HANDSHAKE_MORE;) {
		have += to->chunk < in->n - have ? to->chunk : in->n - have;
		size_t used = take(to, in->p, have);
		buf_consume(in, used);
		have -= used;
	}
	return n > 0;
}

/* Until nobody has anything to say. */
static void run(struct pair *p)
{
	struct buf to_a = BUF_EMPTY, to_d = BUF_EMPTY;
	for (int i = 0; i < 10; i++) {
		carry(p, &p->d, &p->a, &to_a);
		carry(p, &p->a, &p->d, &to_d);
	}
	buf_done(&to_a);
	buf_done(&to_d);
}

static void assert_failed(const struct end *e, enum handshake_code code, const char *text)
{
	assert_int_equal(e->h.state, HANDSHAKE_FAILED);
	assert_int_equal(e->h.code, code);
	if (strstr(e->h.text, text) == NULL)
		fail_msg("'%s' is not in '%s'", text, e->h.text);
}

static void test_two_nodes_get_to_know_each_other(void **state)
{
	(void)state;
	for (size_t chunk = 1; chunk < 80; chunk += 13) {
		struct pair p;
		begin(&p, "cookie", "cookie");
		p.d.chunk = p.a.chunk = chunk;
		run(&p);
		assert_int_equal(p.d.h.state, HANDSHAKE_DONE);
		assert_int_equal(p.a.h.state, HANDSHAKE_DONE);
		assert_int_equal(p.d.asked, 1);
		assert_int_equal(p.a.asked, 1);
		assert_string_equal(p.d.h.peer.name, "warren@b");
		assert_string_equal(p.a.h.peer.name, "warren@a");
		assert_int_equal(p.a.h.peer.node_id, 1);
		assert_int_equal(p.a.h.peer.incarnation, 11);
		assert_int_equal(p.a.h.peer.cluster_id, 99);
		assert_string_equal(p.a.h.peer.product, "0.1");
		assert_int_equal(p.a.h.peer.kind, HANDSHAKE_LINK);
		done(&p);
	}
}

static void test_the_acceptor_takes_on_the_kind(void **state)
{
	(void)state;
	struct pair p = {0};
	struct handshake_identity tool = identity(0, "warrenctl");
	tool.kind = HANDSHAKE_CONTROL;
	end_begin(&p.d, HANDSHAKE_DIALLER, tool, "cookie");
	end_begin(&p.a, HANDSHAKE_ACCEPTOR, identity(2, "warren@b"), "cookie");
	run(&p);
	assert_int_equal(p.d.h.state, HANDSHAKE_DONE);
	assert_int_equal(p.a.h.peer.kind, HANDSHAKE_CONTROL);
	assert_int_equal(p.d.h.peer.kind, HANDSHAKE_CONTROL);
	done(&p);
}

static void test_octets_behind_the_handshake_are_left_alone(void **state)
{
	(void)state;
	struct pair p;
	begin(&p, "cookie", "cookie");
	take(&p.a, p.d.out.p, p.d.out.n);
	buf_clear(&p.d.out);
	take(&p.d, p.a.out.p, p.a.out.n);
	buf_clear(&p.a.out);
	buf_put_bytes(&p.d.out, "next", 4);
	assert_int_equal(take(&p.a, p.d.out.p, p.d.out.n), p.d.out.n - 4);
	assert_int_equal(p.a.h.state, HANDSHAKE_DONE);
	done(&p);
}

static void test_another_cookie_is_noticed_and_told(void **state)
{
	(void)state;
	struct pair p;
	begin(&p, "cookie", "Cookie");
	run(&p);
	assert_failed(&p.a, HANDSHAKE_COOKIE, "the cookies of warren@b and warren@a differ");
	assert_failed(&p.d, HANDSHAKE_COOKIE, "the cookies of warren@b and warren@a differ");
	assert_true(p.d.h.by_peer);
	assert_false(p.a.h.by_peer);
	assert_int_equal(p.a.asked, 0); /* nobody who has proved nothing */
	done(&p);
}

static void test_the_acceptor_must_prove_it_too(void **state)
{
	(void)state;
	struct pair p, q;
	begin(&p, "cookie", "cookie");
	begin(&q, "Cookie", "Cookie"); /* an acceptor that lets everybody in */
	take(&p.a, p.d.out.p, p.d.out.n);
	take(&p.d, p.a.out.p, p.a.out.n);
	/* What it says instead of a proof of the same hellos. */
	run(&q);
	size_t n = q.sent[HANDSHAKE_ACCEPTOR].n;
	struct slice proof = slice_make(
		q.sent[HANDSHAKE_ACCEPTOR].p + n - 8 - HANDSHAKE_PROOF, 8 + HANDSHAKE_PROOF);
	take(&p.d, proof.p, proof.n);
	assert_failed(&p.d, HANDSHAKE_COOKIE, "cookies");
	done(&p);
	done(&q);
}

static void check_versions(uint16_t min, uint16_t max, bool good)
{
	struct pair p = {0};
	struct handshake_identity new = identity(1, "warren@new");
	new.version_min = min;
	new.version_max = max;
	strcpy(new.product, "9.7");
	end_begin(&p.d, HANDSHAKE_DIALLER, new, "cookie");
	end_begin(&p.a, HANDSHAKE_ACCEPTOR, identity(2, "warren@old"), "cookie");
	run(&p);
	assert_int_equal(p.a.h.state, good ? HANDSHAKE_DONE : HANDSHAKE_FAILED);
	if (!good) {
		char text[64];
		snprintf(text, sizeof text,
			min == max ? "warren@new (Warren 9.7) version %u"
				   : "warren@new (Warren 9.7) versions %u to %u",
			min, max);
		assert_failed(&p.a, HANDSHAKE_VERSION_UNKNOWN, text);
		assert_failed(&p.a, HANDSHAKE_VERSION_UNKNOWN,
			"warren@old (Warren 0.1) speaks version 1 of");
		assert_string_equal(p.d.h.text, p.a.h.text);
		assert_true(p.d.h.by_peer);
	}
	done(&p);
}

static void test_versions_that_do_not_meet_are_both_named(void **state)
{
	(void)state;
	check_versions(2, 2, false);
	check_versions(2, 7, false);
	check_versions(0, 0, false);
	check_versions(1, 7, true);
	check_versions(0, 1, true);
}

/* A later hello may have more behind what we know: it is covered by the proofs all the same. */
static void test_what_a_later_version_adds_is_ignored(void **state)
{
	(void)state;
	struct pair p;
	begin(&p, "cookie", "cookie");
	buf_put_bytes(&p.d.h.hellos[HANDSHAKE_DIALLER], "more", 4);
	store_u16le(p.d.out.p + 6, (uint16_t)(load_u16le(p.d.out.p + 6) + 4));
	buf_put_bytes(&p.d.out, "more", 4);
	run(&p);
	assert_int_equal(p.d.h.state, HANDSHAKE_DONE);
	assert_int_equal(p.a.h.state, HANDSHAKE_DONE);
	done(&p);
}

static void test_either_end_may_refuse(void **state)
{
	(void)state;
	struct pair p;
	begin(&p, "cookie", "cookie");
	p.d.answer = HANDSHAKE_NAME;
	run(&p);
	assert_failed(&p.d, HANDSHAKE_NAME, "you are not wanted");
	assert_failed(&p.a, HANDSHAKE_NAME, "you are not wanted");
	assert_true(p.a.h.by_peer);
	/* It has proved nothing to whom it did not want. */
	assert_int_equal(p.a.asked, 0);
	done(&p);
	begin(&p, "cookie", "cookie");
	p.a.answer = HANDSHAKE_STRANGER;
	run(&p);
	assert_failed(&p.d, HANDSHAKE_STRANGER, "you are not wanted");
	assert_failed(&p.a, HANDSHAKE_STRANGER, "you are not wanted");
	done(&p);
}

/* ---- attacks ---- */

static void test_a_recording_is_worth_nothing(void **state)
{
	(void)state;
	struct pair p, q;
	begin(&p, "cookie", "cookie");
	run(&p);
	q = (struct pair){0};
	end_begin(&q.a, HANDSHAKE_ACCEPTOR, identity(2, "warren@b"), "cookie");
	q.a.h.nonce[0] ^= 1; /* another connection */
	take(&q.a, p.sent[HANDSHAKE_DIALLER].p, p.sent[HANDSHAKE_DIALLER].n);
	assert_failed(&q.a, HANDSHAKE_COOKIE, "differ");
	done(&q);
	q = (struct pair){0};
	end_begin(&q.d, HANDSHAKE_DIALLER, identity(1, "warren@a"), "cookie");
	q.d.h.nonce[0] ^= 1;
	buf_done(&q.d.h.hellos[0]); /* its hello as it would be with that nonce */
	buf_clear(&q.d.out);
	uint8_t nonce[HANDSHAKE_NONCE];
	memset(nonce, 7, sizeof nonce);
	struct handshake_identity a = identity(1, "warren@a");
	handshake_begin(&q.d.h, HANDSHAKE_DIALLER, &a, &q.d.key, nonce, &q.d.out);
	take(&q.d, p.sent[HANDSHAKE_ACCEPTOR].p, p.sent[HANDSHAKE_ACCEPTOR].n);
	assert_failed(&q.d, HANDSHAKE_COOKIE, "differ");
	done(&q);
	done(&p);
}

static void test_an_echo_proves_nothing(void **state)
{
	(void)state;
	struct pair p;
	begin(&p, "cookie", "cookie");
	struct buf echo = BUF_EMPTY;
	buf_put_slice(&echo, buf_slice(&p.d.out));
	take(&p.d, echo.p, echo.n);
	assert_failed(&p.d, HANDSHAKE_GARBAGE, "our own greeting");
	buf_done(&echo);
	done(&p);
}

/* The dialler's own proof, sent back behind an honest hello. */
static void test_a_proof_does_not_serve_the_other_role(void **state)
{
	(void)state;
	struct pair p;
	begin(&p, "cookie", "cookie");
	take(&p.a, p.d.out.p, p.d.out.n);
	buf_clear(&p.d.out);
	take(&p.d, p.a.out.p, p.a.out.n);
	assert_int_equal(p.d.out.n, 8 + HANDSHAKE_PROOF);
	struct buf back = BUF_EMPTY;
	buf_put_slice(&back, buf_slice(&p.d.out));
	take(&p.d, back.p, back.n);
	assert_failed(&p.d, HANDSHAKE_COOKIE, "differ");
	buf_done(&back);
	done(&p);
}

/* Any octet of the hellos that is changed on the way makes the proofs differ. */
static void test_what_is_said_cannot_be_changed_on_the_way(void **state)
{
	(void)state;
	struct pair p;
	begin(&p, "cookie", "cookie");
	size_t n = p.d.out.n;
	done(&p);
	for (size_t i = 8 + 4; i < n; i++) {
		begin(&p, "cookie", "cookie");
		p.d.out.p[i] ^= 1;
		run(&p);
		assert_int_equal(p.a.h.state, HANDSHAKE_FAILED);
		assert_int_not_equal(p.d.h.state, HANDSHAKE_DONE);
		done(&p);
	}
}

static void test_garbage_is_known_by_its_first_octets(void **state)
{
	(void)state;
	static const char *const bad[] = {"A", "GET / HTTP/1.1\r\n\r\n", "AMQP\0\0\x09\x01", "WRNX",
		"WRNL\x01\x01xxx", "WRNL\x01\x00\xff\xff"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct pair p;
		begin(&p, "cookie", "cookie");
		size_t n = strlen(bad[i]);
		take(&p.a, (const uint8_t *)bad[i], n < 8 && bad[i][0] == 'W' && n > 4 ? 8 : n);
		assert_failed(&p.a, HANDSHAKE_GARBAGE, "not a greeting of a Warren node");
		assert_int_equal(p.a.out.n, 0); /* nothing is answered */
		done(&p);
	}
}

/* A greeting of TLS to an acceptor, or an alert to a dialler: a node that is configured otherwise. */
static void test_tls_is_known_and_answered(void **state)
{
	(void)state;
	struct pair p;
	begin(&p, "cookie", "cookie");
	buf_clear(&p.d.out);
	take(&p.a, (const uint8_t *)"\x16", 1);
	assert_failed(&p.a, HANDSHAKE_TLS, "warren@b does not use TLS, and the other end does");
	assert_memory_equal(p.a.out.p, "WRNL\x03", 5);
	take(&p.d, (const uint8_t *)"\x15\x03\x01", 3);
	assert_failed(&p.d, HANDSHAKE_TLS, "warren@a does not use TLS, and the other end does");
	done(&p);
}

static void test_a_proof_is_worth_nothing_on_another_connection_of_tls(void **state)
{
	(void)state;
	static const char *const bindings[][2] = {{"one", "one"}, {"one", "two"}, {"one", ""}, {"", "one"}};
	for (size_t i = 0; i < sizeof bindings / sizeof *bindings; i++) {
		struct pair p;
		begin(&p, "cookie", "cookie");
		handshake_bind(&p.d.h, slice_str(bindings[i][0]));
		handshake_bind(&p.a.h, slice_str(bindings[i][1]));
		run(&p);
		assert_int_equal(p.a.h.state, i == 0 ? HANDSHAKE_DONE : HANDSHAKE_FAILED);
		assert_int_equal(p.d.h.code, i == 0 ? HANDSHAKE_OK : HANDSHAKE_COOKIE);
		done(&p);
	}
}

static void test_parts_at_the_wrong_time_are_garbage(void **state)
{
	(void)state;
	struct pair p, q;
	begin(&q, "cookie", "cookie");
	run(&q);
	struct slice hello = slice_make(q.sent[0].p, q.sent[0].n - 8 - HANDSHAKE_PROOF);
	struct slice proof = slice_make(hello.p + hello.n, 8 + HANDSHAKE_PROOF);
	begin(&p, "cookie", "cookie");
	take(&p.a, proof.p, proof.n);
	assert_failed(&p.a, HANDSHAKE_GARBAGE, "wrong time");
	done(&p);
	begin(&p, "cookie", "cookie");
	take(&p.a, hello.p, hello.n);
	take(&p.a, hello.p, hello.n);
	assert_failed(&p.a, HANDSHAKE_GARBAGE, "wrong time");
	done(&p);
	/* An acceptor that proves before it was asked to. */
	begin(&p, "cookie", "cookie");
	take(&p.d, proof.p, proof.n);
	assert_failed(&p.d, HANDSHAKE_GARBAGE, "wrong time");
	done(&p);
	done(&q);
}

static void test_the_longest_names_fit(void **state)
{
	(void)state;
	struct pair p = {0};
	struct handshake_identity long_a = identity(1, ""), long_b = identity(2, "");
	memset(long_a.name, 'a', HANDSHAKE_NAME_MAX);
	memset(long_b.name, 'b', HANDSHAKE_NAME_MAX);
	memset(long_a.product, '1', HANDSHAKE_PRODUCT_MAX);
	end_begin(&p.d, HANDSHAKE_DIALLER, long_a, "cookie");
	end_begin(&p.a, HANDSHAKE_ACCEPTOR, long_b, "other");
	run(&p);
	assert_failed(&p.a, HANDSHAKE_COOKIE, "bbbbb and aaaa");
	assert_string_equal(p.a.h.peer.name, long_a.name);
	done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_nodes_get_to_know_each_other),
		cmocka_unit_test(test_the_acceptor_takes_on_the_kind),
		cmocka_unit_test(test_octets_behind_the_handshake_are_left_alone),
		cmocka_unit_test(test_another_cookie_is_noticed_and_told),
		cmocka_unit_test(test_the_acceptor_must_prove_it_too),
		cmocka_unit_test(test_versions_that_do_not_meet_are_both_named),
		cmocka_unit_test(test_what_a_later_version_adds_is_ignored),
		cmocka_unit_test(test_either_end_may_refuse),
		cmocka_unit_test(test_a_recording_is_worth_nothing),
		cmocka_unit_test(test_an_echo_proves_nothing),
		cmocka_unit_test(test_a_proof_does_not_serve_the_other_role),
		cmocka_unit_test(test_what_is_said_cannot_be_changed_on_the_way),
		cmocka_unit_test(test_garbage_is_known_by_its_first_octets),
		cmocka_unit_test(test_tls_is_known_and_answered),
		cmocka_unit_test(test_a_proof_is_worth_nothing_on_another_connection_of_tls),
		cmocka_unit_test(test_parts_at_the_wrong_time_are_garbage),
		cmocka_unit_test(test_the_longest_names_fit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
