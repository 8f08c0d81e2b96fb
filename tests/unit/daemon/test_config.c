/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/daemon/config.h"

struct fixture {
	struct config c;
	unsigned errors, warnings, infos;
	char last[1024];
};

static void on_note(void *arg, enum log_level level, const char *text)
{
	struct fixture *f = arg;
	f->errors += level == LOG_ERROR;
	f->warnings += level == LOG_WARNING;
	f->infos += level == LOG_INFO;
	snprintf(f->last, sizeof f->last, "%s", text);
}

static int setup(void **state)
{
	struct fixture *f = MEM_NEW(struct fixture);
	config_init(&f->c, on_note, f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	config_done(&f->c);
	mem_free(f);
	return 0;
}

static int parse(struct fixture *f, const char *text)
{
	return config_parse(&f->c, "test.conf", slice_str(text));
}

static bool has_name(const struct config_names *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++) {
		if (strcmp(names->p[i], name) == 0)
			return true;
	}
	return false;
}

/* ---- defaults ---- */

static void test_the_defaults_are_those_of_rabbitmq(void **state)
{
	struct fixture *f = *state;
	struct config *c = &f->c;
	assert_int_equal(config_finish(c), 0);
	assert_int_equal(f->errors + f->warnings + f->infos, 0);
	assert_int_equal(c->listeners.n, 1);
	assert_null(c->listeners.p[0].address.host);
	assert_int_equal(c->listeners.p[0].address.port, 5672);
	assert_int_equal(c->cluster_listener.port, 25672);
	assert_int_equal(c->handshake_timeout_ms, 10000);
	assert_int_equal(c->heartbeat_s, 60);
	assert_int_equal(c->frame_max, 131072);
	assert_int_equal(c->initial_frame_max, 4096);
	assert_int_equal(c->channel_max, 2047);
	assert_int_equal(c->message_bytes_max, 134217728);
	assert_int_equal(c->consumer_timeout_ms, 1800000);
	assert_int_equal(c->tcp_backlog, 128);
	assert_true(c->tcp_nodelay);
	assert_string_equal(c->default_user, "guest");
	assert_string_equal(c->default_pass, "guest");
	assert_string_equal(c->default_vhost, "/");
	assert_string_equal(c->default_configure, ".*");
	assert_true(has_name(&c->default_user_tags, "administrator"));
	assert_true(has_name(&c->loopback_users, "guest"));
	assert_string_equal(c->cluster_name, "");
	assert_int_equal(c->log_level, LOG_INFO);
	assert_int_equal(c->worker_threads, 0);
	assert_true(c->memory_limit.relative);
	assert_true(c->memory_limit.share > 0.399 && c->memory_limit.share < 0.401);
	assert_false(c->disk_free_limit.relative);
	assert_int_equal(c->disk_free_limit.bytes, 50000000);
}

/* ---- lines ---- */

static void test_lines_comments_and_quotes(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "# a comment\n"
				  "\n"
				  "   \t \r\n"
				  "default_user = alice # the boss\r\n"
				  "default_pass='p#ss = \"word\"'   # quoted\n"
				  "  default_vhost   =   \"with space \"\n"
				  "cluster_name = two words"),
		0);
	assert_string_equal(f->c.default_user, "alice");
	assert_string_equal(f->c.default_pass, "p#ss = \"word\"");
	assert_string_equal(f->c.default_vhost, "with space ");
	assert_string_equal(f->c.cluster_name, "two words");
	assert_int_equal(f->errors + f->warnings + f->infos, 0);
}

static void test_a_later_line_wins(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "heartbeat = 10\nheartbeat = 20\n"), 0);
	assert_int_equal(f->c.heartbeat_s, 20);
	assert_int_equal(config_set_pair(&f->c, "heartbeat=30"), 0);
	assert_int_equal(f->c.heartbeat_s, 30);
}

static void test_every_fault_names_its_line(void **state)
{
	struct fixture *f = *state;
	static const char *const cases[][2] = {
		{"\n\nheartbeat", "test.conf:3: no \"=\""},
		{"heartbeat =", "test.conf:1: no value"},
		{"heartbeat = # none", "test.conf:1: no value"},
		{"= 5", "test.conf:1: the key is malformed"},
		{"heart beat = 5", "test.conf:1: the key is malformed"},
		{"default_user = 'bob", "test.conf:1: a quote is not closed"},
		{"default_user = '", "test.conf:1: a quote is not closed"},
		{"default_user = 'bob' by", "test.conf:1: something follows the closing quote"},
		{"heartbeat = ten",
			"test.conf:1: heartbeat = ten: must be an integer (0 to 65535)"},
		{"heartbeat = -1", "test.conf:1: heartbeat = -1: must be an integer (0 to 65535)"},
		{"heartbeat = 65536", "test.conf:1: heartbeat = 65536: must be an integer in range "
				      "(0 to 65535)"},
		{"tcp_listen_options.nodelay = yes",
			"test.conf:1: tcp_listen_options.nodelay = yes: must be true or false"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(parse(f, cases[i][0]), -1);
		assert_string_equal(f->last, cases[i][1]);
	}
	assert_int_equal(f->errors, sizeof cases / sizeof cases[0]);
}

static void test_all_faults_of_a_file_are_told(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "heartbeat = a\nframe_max = b\nchannel_max = 7\n"), -1);
	assert_int_equal(f->errors, 2);
	assert_int_equal(f->c.channel_max, 7);
	assert_int_equal(f->c.heartbeat_s, 60);
}

static void test_a_password_is_not_repeated(void **state)
{
	struct fixture *f = *state;
	char text[400];
	snprintf(text, sizeof text, "default_pass = %0300d", 7);
	assert_int_equal(parse(f, text), -1);
	assert_null(strstr(f->last, "0007"));
	assert_int_equal(config_set_pair(&f->c, "default_pass='secret"), -1);
	assert_null(strstr(f->last, "secret"));
}

static void test_unknown_and_idle_keys_do_not_stop_the_node(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "\nhartbeat = 5\n"), 0);
	assert_int_equal(f->warnings, 1);
	assert_string_equal(f->last, "test.conf:2: unknown key hartbeat, ignored");
	assert_int_equal(parse(f, "management.tcp.port = 15672\n"
				  "ssl_options.verify = verify_peer\n"
				  "cluster_formation.etcd.host = a\n"
				  "log.file.level = info\n"
				  "listeners.ssl = none\n"
				  "listeners.ssl.default = 5671\n"
				  "tcp_listen_options.keepalive = true\n"),
		0);
	assert_int_equal(f->warnings, 1);
	assert_int_equal(f->infos, 7);
	assert_string_equal(
		f->last, "test.conf:7: tcp_listen_options.keepalive has no effect in Warren");
}

/* ---- types ---- */

static void test_peers(void **state)
{
	struct fixture *f = *state;
	const struct config_peers *peers = &f->c.peers;
	assert_int_equal(parse(f, "cluster_formation.peer_discovery_backend = rabbit_peer_discovery_classic_config\n"
				  "cluster_formation.classic_config.nodes.2 = rabbit@host2\n"
				  "cluster_formation.classic_config.nodes.1 = warren@host1:4\n"
				  "cluster_formation.classic_config.nodes.2 = rabbit@host3\n"
				  "cluster_formation.discovery_retry_interval = 2s\n"
				  "cluster_formation.node_type = ram\n"),
		0);
	assert_int_equal(config_finish(&f->c), 0);
	assert_int_equal(peers->n, 2);
	assert_string_equal(peers->p[0].node, "rabbit@host3");
	assert_string_equal(peers->p[1].node, "warren@host1:4");
	assert_int_equal(f->c.peers_interval_ms, 2000);
	assert_true(f->c.first_ram);
	assert_int_equal(config_set_pair(&f->c, "cluster_formation.classic_config.nodes.3=host"), -1);
}

/* Who would not find its cluster must not found one. */
static void test_peers_that_cannot_be_found(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(
		config_set_pair(&f->c, "cluster_formation.peer_discovery_backend=rabbit_peer_discovery_k8s"),
		-1);
	assert_int_equal(config_set_pair(&f->c, "cluster_formation.peer_discovery_backend=dns"), 0);
	assert_int_equal(config_finish(&f->c), -1);
	assert_int_equal(config_set_pair(&f->c, "cluster_formation.dns.hostname=all.example"), 0);
	assert_int_equal(config_finish(&f->c), -1);
	assert_int_equal(config_set_pair(&f->c, "cluster_formation.target_cluster_size_hint=3"), 0);
	assert_int_equal(config_finish(&f->c), 0);
}

static void test_listeners(void **state)
{
	struct fixture *f = *state;
	struct config_listeners *l = &f->c.listeners;
	assert_int_equal(parse(f, "listeners.tcp.default = 5673\n"
				  "listeners.tcp.1 = 127.0.0.1:5674\n"
				  "listeners.tcp.six = [::1]:5675\n"
				  "listeners.tcp.bare = ::1:5676\n"
				  "listeners.tcp.1 = 0.0.0.0:0\n"),
		0);
	assert_int_equal(config_finish(&f->c), 0);
	assert_int_equal(l->n, 4);
	assert_null(l->p[0].address.host);
	assert_int_equal(l->p[0].address.port, 5673);
	assert_string_equal(l->p[1].name, "1");
	assert_string_equal(l->p[1].address.host, "0.0.0.0");
	assert_int_equal(l->p[1].address.port, 0);
	assert_string_equal(l->p[2].address.host, "[::1]");
	assert_string_equal(l->p[3].address.host, "[::1]");
	assert_int_equal(l->p[3].address.port, 5676);
}

static void test_no_listener_at_all(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "listeners.tcp.1 = 5673\nlisteners.tcp = none\n"), 0);
	assert_int_equal(config_finish(&f->c), 0);
	assert_int_equal(f->c.listeners.n, 0);
}

static void test_what_is_no_address(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {"", ":", ":5672", "localhost:5672", "127.0.0.1",
		"127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:x", "[::1]", "[::1:5672", "[1.2.3.4]:1",
		"[]:1", "1.2.3:1", "99999999999999999999999", "5672 "};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char line[100];
		snprintf(line, sizeof line, "cluster.listener = '%s'", bad[i]);
		assert_int_equal(parse(f, line), -1);
	}
	assert_int_equal(f->c.cluster_listener.port, 25672);
}

static void check_size(struct fixture *f, const char *text, uint64_t expected)
{
	char line[100];
	snprintf(line, sizeof line, "disk_free_limit.absolute = %s", text);
	assert_int_equal(parse(f, line), 0);
	assert_int_equal(f->c.disk_free_limit.bytes, expected);
}

static void test_sizes_have_the_units_of_rabbitmq(void **state)
{
	struct fixture *f = *state;
	check_size(f, "12345", 12345);
	check_size(f, "1k", 1024);
	check_size(f, "1KiB", 1024);
	check_size(f, "1kB", 1000);
	check_size(f, "3M", 3 * 1048576);
	check_size(f, "3MiB", 3 * 1048576);
	check_size(f, "3MB", 3000000);
	check_size(f, "2GB", 2000000000);
	check_size(f, "2GiB", 2147483648);
	check_size(f, "1tb", 1000000000000);
	assert_int_equal(parse(f, "disk_free_limit.absolute = 1XB"), -1);
	assert_int_equal(parse(f, "disk_free_limit.absolute = MB"), -1);
	assert_int_equal(parse(f, "disk_free_limit.absolute = 18446744073709551615GB"), -1);
	assert_int_equal(parse(f, "disk_free_limit.absolute = 1.5GB"), -1);
}

static void test_shares(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "vm_memory_high_watermark.absolute = 1GB"), 0);
	assert_false(f->c.memory_limit.relative);
	assert_int_equal(parse(f, "vm_memory_high_watermark.relative = 0.25"), 0);
	assert_true(f->c.memory_limit.relative);
	assert_true(f->c.memory_limit.share == 0.25);
	assert_int_equal(parse(f, "vm_memory_high_watermark.relative = .5"), 0);
	assert_int_equal(parse(f, "vm_memory_high_watermark.relative = 1.01"), -1);
	assert_int_equal(parse(f, "vm_memory_high_watermark.relative = ."), -1);
	assert_int_equal(parse(f, "vm_memory_high_watermark.relative = inf"), -1);
	assert_int_equal(parse(f, "vm_memory_high_watermark.relative = 0.5x"), -1);
	assert_true(f->c.memory_limit.share == 0.5);
}

static void test_durations(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "handshake_timeout = 5s\nconsumer_timeout = 2h"), 0);
	assert_int_equal(f->c.handshake_timeout_ms, 5000);
	assert_int_equal(f->c.consumer_timeout_ms, 7200000);
	assert_int_equal(parse(f, "handshake_timeout = 250"), 0);
	assert_int_equal(f->c.handshake_timeout_ms, 250);
	assert_int_equal(parse(f, "handshake_timeout = 5y"), -1);
	assert_int_equal(parse(f, "handshake_timeout = 0"), -1);
}

static void test_levels(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "log.console.level = debug"), 0);
	assert_int_equal(f->c.log_level, LOG_DEBUG);
	assert_int_equal(parse(f, "log.console.level = critical"), 0);
	assert_int_equal(f->c.log_level, LOG_ERROR);
	assert_int_equal(parse(f, "log.console.level = emergency"), 0);
	assert_int_equal(f->c.log_level, LOG_ERROR);
	assert_int_equal(parse(f, "log.console.level = notice"), 0);
	assert_int_equal(f->c.log_level, LOG_INFO);
	assert_int_equal(parse(f, "log.console.level = loud"), -1);
}

static void test_locators(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "queue_master_locator = min-masters"), 0);
	assert_string_equal(f->c.queue_master_locator, "min-masters");
	assert_string_equal(f->c.queue_leader_locator, "client-local");
	assert_int_equal(parse(f, "queue_leader_locator = balanced"), 0);
	assert_int_equal(parse(f, "queue_leader_locator = nearby"), -1);
}

static void test_no_limit_is_the_highest_limit(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "frame_max = 0\nchannel_max = 0\n"), 0);
	assert_int_equal(f->c.frame_max, 16 * 1024 * 1024);
	assert_int_equal(f->c.channel_max, 65535);
	assert_int_equal(parse(f, "frame_max = 4095"), -1);
}

static void test_names(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "loopback_users.guest = false\n"
				  "loopback_users.some\\.body = true\n"
				  "default_user_tags.monitoring = true\n"),
		0);
	assert_int_equal(config_finish(&f->c), 0);
	assert_false(has_name(&f->c.loopback_users, "guest"));
	assert_true(has_name(&f->c.loopback_users, "some.body"));
	assert_true(has_name(&f->c.default_user_tags, "monitoring"));
	assert_false(has_name(&f->c.default_user_tags, "administrator"));
	assert_int_equal(parse(f, "loopback_users = none"), 0);
	assert_int_equal(f->c.loopback_users.n, 0);
	assert_int_equal(parse(f, "loopback_users = guest"), -1);
}

static void test_keys_are_checked_against_each_other(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "frame_max = 8192\ninitial_frame_max = 16384\n"), 0);
	assert_int_equal(config_finish(&f->c), -1);
	assert_string_equal(f->last, "initial_frame_max (16384) is above frame_max (8192)");
}

static void test_pairs(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(config_set_pair(&f->c, "default_user = x"), 0);
	assert_string_equal(f->c.default_user, "x");
	assert_int_equal(config_set_pair(&f->c, "nonsense"), -1);
	assert_string_equal(f->last, "-s nonsense: not KEY=VALUE");
	assert_int_equal(config_set_pair(&f->c, "# = 1"), -1);
	assert_int_equal(config_set_pair(&f->c, ""), -1);
}

static void test_a_byte_order_mark_is_passed_over(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "\xef\xbb\xbfheartbeat = 5\n"), 0);
	assert_int_equal(f->c.heartbeat_s, 5);
	assert_int_equal(parse(f, "\n\xef\xbb\xbfheartbeat = 6\n"), -1);
	assert_string_equal(f->last, "test.conf:2: the key is malformed");
}

static void test_of_many_malformed_lines_the_first_are_told(void **state)
{
	struct fixture *f = *state;
	char text[3000] = "";
	for (unsigned i = 0; i < 500; i++)
		strcat(text, i == 300 ? "heartbeat = x\n" : "junk\n");
	assert_int_equal(parse(f, text), -1);
	assert_int_equal(f->errors, 10 + 1 + 1); /* what has a form is always told */
	assert_string_equal(
		f->last, "test.conf:500: 489 malformed lines more; is it a configuration file?");
}

/* ---- files ---- */

static void put_file(const char *dir, const char *name, const char *text)
{
	char path[300];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void remove_file(const char *dir, const char *name)
{
	char path[300];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	unlink(path);
}

static void test_a_directory_is_read_in_the_order_of_names(void **state)
{
	struct fixture *f = *state;
	char dir[] = "/tmp/warren-config-XXXXXX";
	assert_non_null(mkdtemp(dir));
	put_file(dir, "20-b.conf", "heartbeat = 20\nchannel_max = 20\n");
	put_file(dir, "10-a.conf", "heartbeat = 10\nframe_max = 10000\n");
	put_file(dir, "30-c.txt", "heartbeat = 30\n");
	put_file(dir, ".40-d.conf", "heartbeat = 40\n");
	assert_int_equal(config_read(&f->c, dir), 0);
	assert_int_equal(f->c.heartbeat_s, 20);
	assert_int_equal(f->c.channel_max, 20);
	assert_int_equal(f->c.frame_max, 10000);
	char path[300], expected[400];
	snprintf(path, sizeof path, "%s/20-b.conf", dir);
	put_file(dir, "20-b.conf", "heartbeat = x\n");
	assert_int_equal(config_read(&f->c, path), -1);
	snprintf(expected, sizeof expected, "%s:1: heartbeat = x: must be an integer (0 to 65535)",
		path);
	assert_string_equal(f->last, expected);
	static const char *const names[] = {"20-b.conf", "10-a.conf", "30-c.txt", ".40-d.conf"};
	for (size_t i = 0; i < 4; i++)
		remove_file(dir, names[i]);
	rmdir(dir);
}

static void test_only_regular_files_of_a_directory_are_read(void **state)
{
	struct fixture *f = *state;
	char dir[] = "/tmp/warren-config-XXXXXX";
	char path[300], expected[400];
	assert_non_null(mkdtemp(dir));
	put_file(dir, "20-b.conf", "heartbeat = 20\n");
	snprintf(path, sizeof path, "%s/10-a.conf", dir);
	snprintf(expected, sizeof expected, "cannot read %s: it is not a regular file", path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(config_read(&f->c, dir), -1);
	assert_string_equal(f->last, expected);
	assert_int_equal(f->c.heartbeat_s, 20);
	unlink(path);
	assert_int_equal(symlink("/dev/zero", path), 0);
	assert_int_equal(config_read(&f->c, dir), -1);
	assert_string_equal(f->last, expected);
	unlink(path);
	assert_int_equal(symlink("20-b.conf", path), 0);
	assert_int_equal(config_read(&f->c, dir), 0);
	unlink(path);
	remove_file(dir, "20-b.conf");
	rmdir(dir);
}

static void test_a_missing_file_is_an_error(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(config_read(&f->c, "no/such/file"), -1);
	assert_string_equal(f->last, "cannot read no/such/file: No such file or directory");
}

/* ---- mutations ---- */

static const char sample[] =
	"# sample\nlisteners.tcp.default = 5672\nlisteners.tcp.l = [::1]:5672\n"
	"cluster.listener = 127.0.0.1:25672\nhandshake_timeout = 10s\nheartbeat=60\n"
	"frame_max = 131072 # bytes\nmax_message_size = 128MiB\ndefault_user = 'bob'\n"
	"default_user_tags.management = true\nloopback_users.a\\.b = true\nloopback_users = none\n"
	"vm_memory_high_watermark.relative = 0.4\ndisk_free_limit.absolute = 2GB\n"
	"log.console.level = info\nmanagement.tcp.port = 15672\n";

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static size_t mutate(uint8_t *p, size_t n, uint32_t *seed)
{
	static const uint8_t favourites[] = "=#'\".:*[]\\\n\r\t -0919\0\xff";
	for (uint32_t i = 1 + next_random(seed) % 4; i > 0 && n > 1; i--) {
		size_t at = next_random(seed) % n;
		switch (next_random(seed) % 4) {
		case 0:
			p[at] = favourites[next_random(seed) % sizeof favourites];
			break;
		case 1:
			p[at] ^= (uint8_t)(1u << next_random(seed) % 8);
			break;
		case 2:
			memmove(p + at, p + at + 1, --n - at);
			break;
		default:
			n -= next_random(seed) % (n / 4 + 1);
			break;
		}
	}
	return n;
}

/* Whatever comes, every value stays within the table's limits. */
static void test_mutated_files_do_no_harm(void **state)
{
	(void)state;
	uint32_t seed = 1;
	for (int i = 0; i < 20000; i++) {
		struct fixture f = {0};
		size_t n = sizeof sample - 1;
		uint8_t *copy = mem_dup(sample, n);
		n = mutate(copy, n, &seed);
		copy = mem_realloc(copy, n); /* so that a sanitizer sees the end */
		config_init(&f.c, on_note, &f);
		int rc = config_parse(&f.c, "mutated", slice_make(copy, n));
		assert_int_equal(rc, f.errors > 0 ? -1 : 0);
		assert_true(f.c.heartbeat_s <= 65535);
		assert_true(f.c.frame_max >= 4096 && f.c.frame_max <= 16 * 1024 * 1024);
		assert_true(f.c.listeners.n <= 2);
		config_finish(&f.c);
		config_done(&f.c);
		mem_free(copy);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* ---- what is in effect ---- */

static void note_setting(void *arg, const char *key, const char *value)
{
	struct buf *b = arg;
	char line[512];
	int n = snprintf(line, sizeof line, "%s=%s\n", key, value);
	buf_put_bytes(b, line, (size_t)n);
}

static void test_what_is_in_effect_is_told_without_passwords(void **state)
{
	struct fixture *f = *state;
	struct buf b = BUF_EMPTY;
	assert_int_equal(parse(f, "listeners.tcp.a = 127.0.0.1:1234\n"
				  "default_pass = secret\n"
				  "disk_free_limit.relative = 1.5\n"
				  "cluster_formation.classic_config.nodes.1 = w@h1\n"
				  "default_user_tags.x = true\n"),
		0);
	assert_int_equal(config_finish(&f->c), 0);
	config_each(&f->c, note_setting, &b);
	buf_put_u8(&b, '\0');
	const char *text = (const char *)b.p;
	assert_non_null(strstr(text, "listeners.tcp.a=127.0.0.1:1234\n"));
	assert_non_null(strstr(text, "heartbeat=60\n"));
	assert_non_null(strstr(text, "disk_free_limit.relative=1.5\n"));
	assert_null(strstr(text, "disk_free_limit.absolute"));
	assert_non_null(strstr(text, "cluster_formation.classic_config.nodes.1=w@h1\n"));
	assert_non_null(strstr(text, "default_user_tags.x=true\n"));
	assert_non_null(strstr(text, "log.console.level=info\n"));
	assert_null(strstr(text, "secret"));
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_defaults_are_those_of_rabbitmq),
		TEST(test_what_is_in_effect_is_told_without_passwords),
		TEST(test_lines_comments_and_quotes),
		TEST(test_a_later_line_wins),
		TEST(test_every_fault_names_its_line),
		TEST(test_all_faults_of_a_file_are_told),
		TEST(test_a_password_is_not_repeated),
		TEST(test_unknown_and_idle_keys_do_not_stop_the_node),
		TEST(test_peers),
		TEST(test_peers_that_cannot_be_found),
		TEST(test_listeners),
		TEST(test_no_listener_at_all),
		TEST(test_what_is_no_address),
		TEST(test_sizes_have_the_units_of_rabbitmq),
		TEST(test_shares),
		TEST(test_durations),
		TEST(test_levels),
		TEST(test_locators),
		TEST(test_no_limit_is_the_highest_limit),
		TEST(test_names),
		TEST(test_keys_are_checked_against_each_other),
		TEST(test_pairs),
		TEST(test_a_directory_is_read_in_the_order_of_names),
		TEST(test_only_regular_files_of_a_directory_are_read),
		TEST(test_a_byte_order_mark_is_passed_over),
		TEST(test_of_many_malformed_lines_the_first_are_told),
		TEST(test_a_missing_file_is_an_error),
		cmocka_unit_test(test_mutated_files_do_no_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
