/* SPDX-License-Identifier: Apache-2.0
 *
 * Virtual time: events in the order of their times, ties in the order they were made, and one
 * source of chance. The same seed gives the same run.
 */
#ifndef WARREN_TESTS_SIM_H
#define WARREN_TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_event {
	uint64_t at_us;
	uint64_t seq;
	void (*run)(void *arg, uint64_t number);
	void *arg;
	uint64_t number;
};

struct sim {
	uint64_t now_us;
	uint64_t seq;
	uint64_t random;
	struct sim_event *heap;
	size_t n;
	size_t cap;
	uint64_t events; /* that ran */
};

void sim_init(struct sim *s, uint64_t seed);
void sim_done(struct sim *s);
void sim_after(struct sim *s, uint64_t us, void (*run)(void *arg, uint64_t number), void *arg,
	uint64_t number);
/* Runs what is due until the given time. */
void sim_until(struct sim *s, uint64_t us);

uint64_t sim_random(struct sim *s);
/* In [from, to]. */
uint64_t sim_between(struct sim *s, uint64_t from, uint64_t to);
bool sim_chance(struct sim *s, unsigned percent);

static inline uint64_t sim_now_ms(const struct sim *s)
{
	return s->now_us / 1000;
}

#endif
