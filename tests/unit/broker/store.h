/* SPDX-License-Identifier: Apache-2.0
 *
 * A store for a broker's rows.
 */
#ifndef WARREN_TEST_BROKER_STORE_H
#define WARREN_TEST_BROKER_STORE_H

#include "tests/unit/broker/fixture.h"

/* A store of rows: an array, sorted when it is read. */
struct row {
	uint8_t key[BROKER_ROW_KEY_SIZE];
	struct buf value;
};

struct store {
	struct row rows[4096];
	size_t n;
};

static inline struct row *store_find(struct store *s, struct slice key)
{
	for (size_t i = 0; i < s->n; i++) {
		if (memcmp(s->rows[i].key, key.p, key.n) == 0)
			return &s->rows[i];
	}
	return NULL;
}

static inline void store_delete(struct store *s, struct row *r)
{
	assert_non_null(r);
	buf_done(&r->value);
	*r = s->rows[--s->n];
}

static inline void store_put(void *arg, struct slice key, struct slice value)
{
	struct store *s = arg;
	assert_int_equal(key.n, BROKER_ROW_KEY_SIZE);
	struct row *r = store_find(s, key);
	if (value.p == NULL) {
		store_delete(s, r);
		return;
	}
	if (r == NULL) {
		assert_true(s->n < 4096);
		r = &s->rows[s->n++];
		memcpy(r->key, key.p, key.n);
		r->value = BUF_EMPTY;
	}
	buf_clear(&r->value);
	buf_put_slice(&r->value, value);
}

static inline int compare_rows(const void *a, const void *b)
{
	return memcmp(
		((const struct row *)a)->key, ((const struct row *)b)->key, BROKER_ROW_KEY_SIZE);
}

static inline void store_clear(struct store *s)
{
	for (size_t i = 0; i < s->n; i++)
		buf_done(&s->rows[i].value);
	s->n = 0;
}

static inline struct broker *store_load(struct store *s)
{
	struct broker *b = broker_new(NULL);
	qsort(s->rows, s->n, sizeof s->rows[0], compare_rows);
	for (size_t i = 0; i < s->n; i++)
		assert_true(broker_load_row(b, slice_make(s->rows[i].key, BROKER_ROW_KEY_SIZE),
			buf_slice(&s->rows[i].value)));
	return b;
}

static inline void store_save(struct store *s, struct broker *b)
{
	broker_dirty_rows(b, store_put, s);
	broker_rows_clean(b);
}

#endif
