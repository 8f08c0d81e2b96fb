/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/raft/world.h"

#include <malloc.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif

#ifdef HAVE_ASAN
size_t __sanitizer_get_current_allocated_bytes(void);

size_t heap_in_use(void)
{
	return __sanitizer_get_current_allocated_bytes();
}
#else
size_t heap_in_use(void)
{
	struct mallinfo2 m = mallinfo2();
	return m.uordblks + m.hblkhd;
}
#endif

/* ---- world ---- */

static uint64_t now_ms(void *arg)
{
	struct world *w = arg;
	return w->now_ms;
}

static uint32_t random_number(void *arg)
{
	(void)arg;
	static uint32_t x = 1;
	return x = x * 1664525 + 1013904223;
}

static void wake(void *arg)
{
	struct world *w = arg;
	eventfd_write(w->wake, 1);
}

void world_init(struct world *w, struct disk *disk, struct store *store, size_t cache_bytes)
{
	static bool installed;
	if (!installed)
		groups_global_init();
	installed = true;
	*w = (struct world){.disk = disk, .store = store, .now_ms = 1000};
	w->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	store_port_init(&w->port, store, wake, w);
	w->groups = groups_new(&(struct groups_config){
		.port = &w->port,
		.now_ms = now_ms,
		.random = random_number,
		.arg = w,
		.cache_bytes = cache_bytes,
	});
}

void world_done(struct world *w)
{
	assert_int_equal(groups_count(w->groups), 0);
	assert_false(groups_flush(w->groups));
	groups_free(w->groups);
	store_port_done(&w->port);
	close(w->wake);
}

bool world_round(struct world *w)
{
	w->now_ms++;
	bool any = w->disk != NULL && !w->hold && disk_commit(w->disk, UINT32_MAX) > 0;
	any |= store_port_poll(&w->port) > 0;
	any |= groups_flush(w->groups);
	store_port_flush(&w->port);
	assert_int_equal(groups_tick(w->groups), 0);
	return any;
}

void world_turn(struct world *w)
{
	while (world_round(w))
		;
}

void world_until(struct world *w, bool (*until)(void *arg), void *arg)
{
	while (!until(arg)) {
		world_turn(w);
		if (until(arg))
			return;
		assert_non_null(w->store);
		struct pollfd p = {.fd = w->wake, .events = POLLIN};
		assert_int_equal(poll(&p, 1, 300000), 1); /* else nothing will ever happen */
		eventfd_t n;
		eventfd_read(w->wake, &n);
	}
}

/* ---- toy ---- */

static void hash(struct toy *t, const void *p, size_t n)
{
	const uint8_t *b = p;
	uint64_t h = t->hash;
	for (size_t i = 0; i < n; i++)
		h = (h ^ b[i]) * 1099511628211u;
	t->hash = h;
}

static void set_needed(struct toy *t, uint64_t index, bool needed)
{
	if (index >= t->needed_cap) {
		uint64_t cap = 2 * index + 64;
		t->needed = mem_realloc(t->needed, cap);
		memset(t->needed + t->needed_cap, 0, cap - t->needed_cap);
		t->needed_cap = cap;
	}
	t->needed[index] = needed;
}

static void toy_seal(void *arg, uint8_t *header)
{
	struct toy *t = arg;
	t->seals++;
	store_u64le(header, t->world->now_ms);
	store_u64le(header + 8, 0x7365616c);
}

static void toy_apply(void *arg, uint64_t index, struct blob *blob, const uint8_t *p, size_t n)
{
	struct toy *t = arg;
	assert_false(t->busy); /* nothing completes inside the call that queued it */
	assert_true(index > t->last_index);
	assert_true(p >= blob->data && p + n <= blob->data + blob->cap);
	t->last_index = index;
	t->last_n = n;
	t->entries++;
	if (t->keeps)
		set_needed(t, index, true);
	struct reader r = reader_make(p, n);
	get_u64le(&r);
	t->first_stamp_bad += get_u64le(&r) != 0x7365616c;
	hash(t, &index, sizeof index);
	while (reader_left(&r) > 0) {
		uint32_t size = get_u32le(&r);
		struct slice s = get_slice(&r, size);
		assert_false(r.bad);
		hash(t, s.p, s.n);
		t->sections++;
	}
}

static void put_live(struct toy *t, uint64_t from, uint64_t to, struct buf *live)
{
	struct store_range range = {0};
	for (uint64_t i = from; i <= to && i < t->needed_cap; i++) {
		if (!t->needed[i])
			continue;
		if (range.from != 0 && range.to + 1 == i) {
			range.to = i;
			continue;
		}
		if (range.from != 0)
			buf_put_bytes(live, &range, sizeof range);
		range = (struct store_range){.from = i, .to = i};
	}
	if (range.from != 0)
		buf_put_bytes(live, &range, sizeof range);
}

static void toy_snapshot(
	void *arg, uint64_t previous, struct buf *data, struct buf *live, struct buf *rows)
{
	struct toy *t = arg;
	(void)rows;
	assert_int_equal(previous, t->snapshot_index);
	buf_put_u64le(data, t->entries);
	buf_put_u64le(data, t->sections);
	buf_put_u64le(data, t->hash);
	struct buf all = BUF_EMPTY;
	put_live(t, 1, t->last_index, &all);
	buf_put_u64le(data, all.n);
	buf_put_slice(data, buf_slice(&all));
	buf_done(&all);
	memset(buf_put(data, t->state_pad), 0, t->state_pad);
	put_live(t, previous + 1, t->last_index, live);
	t->snapshot_index = group_applied(t->group);
	t->snapshots++;
}

static void toy_snapshot_done(void *arg, uint64_t index)
{
	struct toy *t = arg;
	/* Barriers are not seen here, so the snapshot may be a little further. */
	assert_true(index >= t->snapshot_index);
	t->snapshot_index = index;
	t->snapshots_done++;
	if (t->on_snapshot_done != NULL)
		t->on_snapshot_done(t);
}

static int toy_restore(void *arg, uint64_t index, struct slice data)
{
	struct toy *t = arg;
	if (t->refuses)
		return -1;
	struct reader r = reader_of(data);
	t->entries = get_u64le(&r);
	t->sections = get_u64le(&r);
	t->hash = get_u64le(&r);
	struct slice live = get_slice(&r, get_u64le(&r));
	assert_false(r.bad);
	for (size_t i = 0; i < live.n; i += sizeof(struct store_range)) {
		struct store_range range;
		memcpy(&range, live.p + i, sizeof range);
		for (uint64_t k = range.from; k <= range.to; k++)
			set_needed(t, k, true);
	}
	t->last_index = t->snapshot_index = index;
	t->restores++;
	return 0;
}

static void toy_live(void *arg, struct buf *live)
{
	struct toy *t = arg;
	put_live(t, 1, t->last_index, live);
}

static void toy_leading(void *arg, bool yes, uint64_t term)
{
	struct toy *t = arg;
	assert_false(t->busy);
	assert_int_not_equal(yes, t->leading);
	t->leading = yes;
	t->term = term;
	t->leads++;
	if (t->on_leading != NULL)
		t->on_leading(t);
}

static void toy_closed(void *arg)
{
	struct toy *t = arg;
	assert_false(t->busy);
	assert_false(t->closed);
	t->closed = true;
	t->group = NULL;
}

static const struct group_app toy_app = {
	.seal = toy_seal,
	.apply = toy_apply,
	.snapshot = toy_snapshot,
	.snapshot_done = toy_snapshot_done,
	.restore = toy_restore,
	.live = toy_live,
	.leading = toy_leading,
	.closed = toy_closed,
};

int toy_try_open(struct toy *t, struct world *w, uint64_t id)
{
	struct group_member self = {.id = 1, .voter = true};
	struct group_spec spec = {
		.id = id, .self = 1, .members = &self, .n_members = 1, .app = &toy_app};
	if (w->store != NULL)
		spec.log = store_log_open(&w->port, id);
	else if (w->disk != NULL)
		spec.log = disk_log_open(w->disk, &w->port, id);
	else
		spec.log = memory_log_open(&w->port, id);
	spec.arg = t;
	t->world = w;
	t->id = id;
	t->busy = true;
	int rv = group_open(&t->group, w->groups, &spec);
	t->busy = false;
	return rv;
}

void toy_open(struct toy *t, struct world *w, uint64_t id)
{
	*t = (struct toy){.keeps = true};
	assert_int_equal(toy_try_open(t, w, id), 0);
}

void toy_put(struct toy *t, const void *p, size_t n)
{
	t->busy = true;
	group_roll(t->group, 4 + n);
	struct batch *b = group_batch(t->group);
	store_u32le(batch_put(b, 4), (uint32_t)n);
	memcpy(batch_put(b, n), p, n);
	group_dirty(t->group);
	t->busy = false;
}

void toy_put_number(struct toy *t, uint64_t number, size_t n)
{
	uint8_t *p = mem_zalloc(n);
	memcpy(p, &number, n < sizeof number ? n : sizeof number);
	toy_put(t, p, n);
	mem_free(p);
}

void toy_release(struct toy *t, uint64_t index)
{
	set_needed(t, index, false);
	group_release(t->group, index);
}

void toy_close(struct toy *t, bool drop)
{
	t->busy = true;
	group_close(t->group, drop);
	t->busy = false;
}

static bool is_closed(void *arg)
{
	struct toy *t = arg;
	return t->closed;
}

void toy_end(struct toy *t)
{
	toy_close(t, false);
	world_until(t->world, is_closed, t);
	toy_free(t);
}

void toy_free(struct toy *t)
{
	assert_true(t->closed);
	mem_free(t->needed);
	t->needed = NULL;
}
