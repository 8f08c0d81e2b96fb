/* SPDX-License-Identifier: Apache-2.0
 *
 * Under test: src/daemon/config.c and config_text.c, configuration files and -s options.
 *
 *   input := the text of a configuration file
 *
 * Invariants:
 *  - every note starts with the file's name and a line number within the text;
 *  - a text that is refused was noted as an error, one that is accepted was not;
 *  - what was accepted is within the limits that the rest of the program relies on;
 *  - the same text has the same outcome a second time, also on top of the first.
 */
#include <string.h>

#include "src/base/mem.h"
#include "src/daemon/config.h"
#include "tests/fuzz/fuzz.h"

struct notes {
	unsigned n, errors;
	unsigned lines; /* of the text */
};

static void on_note(void *arg, enum log_level level, const char *text)
{
	static const char name[] = "fuzz.conf:";
	struct notes *notes = arg;
	notes->n++;
	notes->errors += level == LOG_ERROR;
	if (notes->lines == 0) /* not in a file */
		return;
	CHECK(strncmp(text, name, sizeof name - 1) == 0);
	unsigned long line = strtoul(text + sizeof name - 1, NULL, 10);
	CHECK(line >= 1 && line <= notes->lines);
}

static bool between(uint64_t v, uint64_t least, uint64_t most)
{
	return v >= least && v <= most;
}

static void check_text(const char *s, size_t least, size_t most)
{
	CHECK(s != NULL && strlen(s) >= least && strlen(s) <= most);
}

static void check_limits(const struct config *c)
{
	CHECK(between(c->tcp_backlog, 1, 65535) && between(c->worker_threads, 0, 256));
	CHECK(between(c->frame_max, 4096, 16 << 20) && between(c->channel_max, 1, 65535));
	CHECK(between(c->initial_frame_max, 4096, c->frame_max));
	CHECK(between(c->heartbeat_s, 0, 65535) && between(c->handshake_timeout_ms, 1, 86400000));
	CHECK(between(c->message_bytes_max, 1, 512 << 20));
	CHECK(c->cluster_listener.port <= 65535);
	CHECK(c->listeners.n <= CONFIG_LISTENERS_MAX);
	for (size_t i = 0; i < c->listeners.n; i++)
		CHECK(c->listeners.p[i].name != NULL && c->listeners.p[i].address.port <= 65535);
	CHECK(c->loopback_users.n <= CONFIG_NAMES_MAX);
	CHECK(c->default_user_tags.n <= CONFIG_NAMES_MAX);
	for (size_t i = 0; i < c->loopback_users.n; i++)
		check_text(c->loopback_users.p[i], 1, 255);
	check_text(c->default_user, 1, 255);
	check_text(c->default_pass, 0, 255);
	check_text(c->default_vhost, 1, 255);
	check_text(c->default_configure, 0, 4096);
	CHECK(c->log_level >= LOG_DEBUG && c->log_level <= LOG_NONE);
	CHECK(!c->memory_limit.relative ||
		(c->memory_limit.share >= 0 && c->memory_limit.share <= 1));
	CHECK(!c->disk_free_limit.relative ||
		(c->disk_free_limit.share >= 0 && c->disk_free_limit.share <= 100));
}

static unsigned lines_of(struct slice text)
{
	unsigned n = 1;
	for (size_t i = 0; i < text.n; i++)
		n += text.p[i] == '\n';
	return n;
}

static void check_file(struct slice text)
{
	struct notes notes = {0};
	struct config c;
	config_init(&c, on_note, &notes);
	CHECK(notes.n == 0);
	notes.lines = lines_of(text);
	int rc = config_parse(&c, "fuzz.conf", text);
	CHECK(rc == 0 || rc == -1);
	CHECK((rc != 0) == (notes.errors > 0));
	unsigned first = notes.n;
	notes.n = 0;
	CHECK(config_parse(&c, "fuzz.conf", text) == rc && notes.n == first);
	notes.lines = 0;
	notes.errors = 0;
	int finished = config_finish(&c);
	CHECK((finished != 0) == (notes.errors > 0));
	if (finished == 0)
		check_limits(&c);
	config_done(&c);
}

static void check_pair(struct slice text)
{
	struct notes notes = {0};
	struct config c;
	char *pair = mem_printf("%.*s", SLICE_FMT(text));
	config_init(&c, on_note, &notes);
	int rc = config_set_pair(&c, pair);
	CHECK((rc != 0) == (notes.errors > 0));
	config_done(&c);
	mem_free(pair);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = fuzz_exact(slice_make(data, size));
	check_file(text);
	check_pair(text);
	fuzz_free(text);
	return 0;
}
