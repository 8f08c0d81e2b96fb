/* SPDX-License-Identifier: Apache-2.0
 *
 * Group 0's home with a real group of one member; links are what a test says. The linker (--wrap=group_open) shows how
 * the home is told of entries, so that a test can tell it of what a group would never let through.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "raft/groups.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/broker/command.h"
#include "src/cluster/catalog.h"
#include "src/cluster/catalog_entry.h"
#include "src/queue/command.h"
#include "storage/store.h"
#include "tests/fuzz/fake_loop.h"

enum { NODE = 1, OTHER = 2, INCARNATION = 1, ROUNDS_MAX = 1000, CACHE_BYTES = 1 << 20, LONG_MS = 1000 };

struct world {
	struct worker worker;
	struct store_port port;
	struct groups *groups;
	struct catalog *catalog;
	struct catalog *catalogs[1];
	struct catalog_home *home;
	const struct group_app *app; /* of group 0; likewise the next */
	void *app_arg;
	bool linked; /* with OTHER */
	unsigned echoes;
	bool closed;
};

static struct world *W;

/* ---- around the home ---- */

int __wrap_group_open(struct group **ret, struct groups *gs, const struct group_spec *spec);
int __real_group_open(struct group **ret, struct groups *gs, const struct group_spec *spec);

int __wrap_group_open(struct group **ret, struct groups *gs, const struct group_spec *spec)
{
	W->app = spec->app;
	W->app_arg = spec->arg;
	return __real_group_open(ret, gs, spec);
}

bool link_port_linked(const struct link_port *p, uint64_t node)
{
	(void)p;
	return W->linked && node == OTHER;
}

void link_port_send_copy(struct link_port *p, uint64_t node, const struct envelope *e, struct slice octets)
{
	(void)p;
	(void)node;
	(void)octets;
	W->echoes += e->kind == ENVELOPE_CATALOG_ECHO;
}

static void on_wake(void *arg)
{
	(void)arg;
}

static uint64_t now_ms(void *arg)
{
	return ((struct world *)arg)->worker.now_ms;
}

static uint32_t any_number(void *arg)
{
	(void)arg;
	return 4;
}

static void on_applied(void *arg)
{
	(void)arg;
}

static void on_leading(void *arg, bool yes)
{
	(void)arg;
	(void)yes;
}

static void on_closed(void *arg)
{
	((struct world *)arg)->closed = true;
}

static void turn(struct world *w)
{
	bool any = true;
	for (unsigned rounds = 0; any; rounds++) {
		assert_true(rounds < ROUNDS_MAX);
		any = worker_deliver(&w->worker);
		any |= store_port_poll(&w->port) > 0;
		any |= catalog_flush(w->catalog);
		any |= groups_flush(w->groups);
		store_port_flush(&w->port);
		any |= store_port_ready(&w->port) || w->worker.due != NULL;
	}
}

static void propose(struct world *w, struct buf *b, struct catalog_request *r)
{
	catalog_propose(w->catalog, buf_slice(b), r);
	buf_done(b);
	turn(w);
}

static void add_vhost(struct world *w, const char *name, struct catalog_request *r)
{
	struct buf b = BUF_EMPTY;
	struct slice none = slice_make(NULL, 0);
	broker_put_add_vhost(&b, slice_str(name), none, none, none);
	propose(w, &b, r);
}

static int setup(void **state)
{
	struct world *w = W = MEM_NEW(struct world);
	struct buf b = BUF_EMPTY;
	log_set_level(LOG_NONE);
	worker_init(&w->worker, 0);
	store_port_init(&w->port, NULL, on_wake, w);
	w->groups = groups_new(&(struct groups_config){.port = &w->port,
		.now_ms = now_ms,
		.random = any_number,
		.arg = w,
		.cache_bytes = CACHE_BYTES});
	w->catalog = w->catalogs[0] = catalog_new(&(struct catalog_config){.worker = &w->worker,
		.client_id = client_id_make(NODE, INCARNATION, 0),
		.watch = &(struct broker_watch){0},
		.applied = on_applied,
		.arg = w});
	catalog_connect(w->catalog, w->catalogs, 1);
	struct catalog_home_config config = {.groups = w->groups,
		.log = memory_log_open(&w->port, 0),
		.self = NODE,
		.node = NODE,
		.catalogs = w->catalogs,
		.n_catalogs = 1,
		.leading = on_leading,
		.closed = on_closed,
		.arg = w};
	assert_int_equal(catalog_home_open(&w->home, &config), 0);
	turn(w);
	broker_put_node_up(&b, NODE, INCARNATION, slice_str("w1@host"), slice_str("host:1"));
	propose(w, &b, NULL);
	broker_put_join_node(&b, OTHER, slice_str("w2@host"), slice_str("host:2"), BROKER_NODE_DISC);
	propose(w, &b, NULL);
	assert_int_equal(catalog_broker(w->catalog)->n_nodes, 2);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	catalog_home_close(w->home);
	turn(w);
	assert_true(w->closed);
	assert_int_equal(fake_timers(), 0);
	catalog_free(w->catalog);
	groups_free(w->groups);
	store_port_done(&w->port);
	worker_done(&w->worker);
	mem_free(w);
	return 0;
}

/* ---- who waits ---- */

struct asker {
	struct catalog_request request;
	unsigned answers;
};

static void on_answer(struct catalog_request *r, const struct broker_result *result)
{
	struct asker *a = LIST_ENTRY(r, struct asker, request);
	assert_int_equal(result->code, BROKER_OK);
	a->answers++;
}

static struct asker asker_make(void)
{
	return (struct asker){.request = {.done = on_answer, .everywhere = true}};
}

/* What is held for others is answered when they are gone, whoever finds that out: it was once not, if an entry was
 * applied before the home was told that the link is down, and then never. */
static void held_for_one_that_is_gone(void **state)
{
	struct world *w = *state;
	struct asker held = asker_make(), next = asker_make();
	w->linked = true;
	add_vhost(w, "first", &held.request);
	assert_int_equal(held.answers, 0); /* OTHER does not say that it has that */
	w->linked = false;
	add_vhost(w, "second", &next.request);
	assert_int_equal(held.answers, 1);
	assert_int_equal(next.answers, 1);
	catalog_home_link_down(w->home, OTHER);
	fake_time(&w->worker, LONG_MS);
	turn(w);
	assert_int_equal(held.answers, 1);
}

static void held_until_the_other_one_has_it(void **state)
{
	struct world *w = *state;
	struct asker held = asker_make();
	uint8_t echo[16];
	w->linked = true;
	add_vhost(w, "first", &held.request);
	assert_int_equal(held.answers, 0);
	store_u64le(echo, client_id_make(NODE, INCARNATION, 0));
	store_u64le(echo + 8, held.request.seq);
	for (size_t n = 0; n < sizeof echo; n++)
		assert_false(catalog_home_echo(w->home, OTHER, echo, n));
	assert_int_equal(held.answers, 0);
	assert_true(catalog_home_echo(w->home, OTHER, echo, sizeof echo));
	assert_int_equal(held.answers, 1);
}

/* ---- entries ---- */

/* The octets at the end of a page, behind which nothing can be read. */
struct edge {
	uint8_t *pages;
	size_t page;
};

static struct edge edge_make(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(mprotect(p + page, page, PROT_NONE), 0);
	return (struct edge){p, page};
}

static uint8_t *edge_put(const struct edge *e, const uint8_t *p, size_t n)
{
	return memcpy(e->pages + e->page - n, p, n);
}

static struct buf entry_of(const char *vhost)
{
	struct buf b = BUF_EMPTY, command = BUF_EMPTY;
	struct slice none = slice_make(NULL, 0);
	uint8_t header[GROUP_ENTRY_HEADER] = {CATALOG_ENTRY_VERSION, CATALOG_KIND};
	broker_put_add_vhost(&command, slice_str(vhost), none, none, none);
	buf_put_bytes(&b, header, sizeof header);
	size_t at = b.n;
	buf_put(&b, COMMAND_SECTION_HEADER);
	buf_put_u32le(&b, (uint32_t)command.n);
	buf_put_slice(&b, buf_slice(&command));
	command_put_section_header(b.p + at, client_id_make(OTHER, INCARNATION, 0), 1, 0, 1,
		(uint32_t)(b.n - at - COMMAND_SECTION_HEADER));
	buf_done(&command);
	return b;
}

/* Each of the lengths that an entry may have been cut to changes nothing and nothing is read behind it. */
static void entry_that_is_cut_off(void **state)
{
	struct world *w = *state;
	struct edge e = edge_make();
	struct buf b = entry_of("of-another");
	struct blob *blob = blob_new(b.n);
	struct broker *broker = catalog_broker(w->catalog);
	size_t vhosts = broker->n_vhosts;
	for (size_t n = 0; n <= b.n; n++) {
		w->linked = n % 2 != 0;
		assert_int_equal(broker->n_vhosts, vhosts);
		w->app->apply(w->app_arg, n + 1, blob, edge_put(&e, b.p, n), n);
	}
	assert_int_equal(broker->n_vhosts, vhosts + 1);
	blob_unref(blob);
	buf_done(&b);
	munmap(e.pages, 2 * e.page);
	/* And it goes on. */
	struct asker a = asker_make();
	w->linked = false;
	add_vhost(w, "next", &a.request);
	assert_int_equal(a.answers, 1);
}

/* Likewise of what a node sends as a section. */
static void section_that_is_cut_off(void **state)
{
	struct world *w = *state;
	struct edge e = edge_make();
	struct buf b = entry_of("of-another");
	size_t size = b.n - GROUP_ENTRY_HEADER;
	for (size_t n = 0; n < size; n++)
		assert_false(catalog_home_receive(w->home, edge_put(&e, b.p + GROUP_ENTRY_HEADER, n), n));
	size_t vhosts = catalog_broker(w->catalog)->n_vhosts;
	assert_true(catalog_home_receive(w->home, edge_put(&e, b.p + GROUP_ENTRY_HEADER, size), size));
	turn(w);
	assert_int_equal(catalog_broker(w->catalog)->n_vhosts, vhosts + 1);
	buf_done(&b);
	munmap(e.pages, 2 * e.page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(held_for_one_that_is_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(held_until_the_other_one_has_it, setup, teardown),
		cmocka_unit_test_setup_teardown(entry_that_is_cut_off, setup, teardown),
		cmocka_unit_test_setup_teardown(section_that_is_cut_off, setup, teardown),
	};
	groups_global_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
