/* SPDX-License-Identifier: Apache-2.0
 *
 * A port with a directory of its own, and the store's requests as calls that wait.
 */
#ifndef WARREN_TESTS_UNIT_STORAGE_RIG_H
#define WARREN_TESTS_UNIT_STORAGE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>

#include "storage/store.h"

struct rig {
	char dir[64]; /* of the store; empty: memory logs */
	struct store *store;
	struct store_port port;
	pthread_mutex_t lock;
	pthread_cond_t woken;
	unsigned wakes;
	unsigned polls;
};

/* Directories are made in memory from now on, if there is room and TMPDIR says nothing else: for tests
 * with thousands of stores, in which fake_disk.h is the disk that matters. */
void rig_in_memory(void);
/* A rig of memory logs. */
void rig_init_memory(struct rig *r);
/* A rig with a new store in a new directory. */
void rig_init_disk(struct rig *r);
/* Closes and opens the store; all logs must be closed. */
void rig_reopen(struct rig *r);
void rig_close(struct rig *r);
void rig_open(struct rig *r);
/* Removes the directory, too. */
void rig_done(struct rig *r);
/* The store must be closed; 0 or store_check()'s error, what it prints goes to /dev/null. */
int rig_check(struct rig *r);
struct store_log *rig_log(struct rig *r, uint64_t group);
/* Hands over what was submitted, every other time with store_port_write(), waits for some completions
 * and runs them. */
void rig_poll(struct rig *r);

/* A request that a rig waits for. */
struct rig_req {
	struct store_req req;
	bool done;
};
void rig_req_init(struct rig_req *q);
void rig_wait(struct rig *r, struct rig_req *q);

/* The bytes of an entry of the tests: a function of group, index and term. */
void entry_fill(uint8_t *p, size_t n, uint64_t group, uint64_t index, uint64_t term);
bool entry_is(const uint8_t *p, size_t n, uint64_t group, uint64_t index, uint64_t term);
/* Submits entries [first, first + n), each of `bytes`, without waiting. */
void append_submit(struct store_log *log, struct rig_req *q, uint64_t first, unsigned n,
	uint64_t term, size_t bytes);

/* These wait. */
void do_hard(struct rig *r, struct store_log *log, uint64_t term, uint64_t vote);
void do_append(struct rig *r, struct store_log *log, uint64_t first, unsigned n, uint64_t term,
	size_t bytes);
void do_truncate(struct rig *r, struct store_log *log, uint64_t index);
void do_snapshot(struct rig *r, struct store_log *log, uint64_t index, uint64_t term,
	const struct store_range *live, unsigned n_live);
/* Switches to a staged log and closes the former one. */
void do_switch(struct rig *r, struct store_log *log, struct store_log *staged, uint64_t index,
	uint64_t term);
/* The same with a new one, in which nothing is; returns it. */
struct store_log *do_install(struct rig *r, struct store_log *log, uint64_t index, uint64_t term);
void do_rows(struct rig *r, struct store_log *log, uint64_t index, struct store_row *rows,
	unsigned n_rows);
void do_drop(struct rig *r, struct store_log *log);

/* Whether entry `index` is there with the right bytes; fails the test if the bytes are wrong. */
bool has_entry(struct store_log *log, uint64_t index, uint64_t term, size_t bytes);
/* Loads and compares: last index, entries (terms by term_of if not NULL) and hard state. */
void check_load(struct store_log *log, uint64_t term, uint64_t vote, uint64_t snapshot,
	uint64_t last, size_t bytes);
/* Waits until the condition holds; fails the test after 20 s. */
void wait_until(bool (*holds)(void *arg), void *arg);

#endif
