/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/pace.h"

enum {
	SLOW_MS = 8,       /* a burst that takes so much longer than the quickest was too large */
	SPARED = 2,        /* of a pause, in times of the burst before it */
	HURRY_SHARE = 4,   /* no such part of what goes over may gather meanwhile */
	LATE_BURSTS = 128, /* after so many the quickest may be one of these only: links and disks change */
};

void pace_init(struct pace *p)
{
	*p = (struct pace){
		.burst = PACE_BURST_LEAST,
		.least_ms = UINT64_MAX - SLOW_MS,
		.least_of_late_ms = UINT64_MAX - SLOW_MS,
	};
}

void pace_begin(struct pace *p, uint64_t now)
{
	p->begun_ms = now;
}

static void learn(struct pace *p, uint64_t took)
{
	if (took < p->least_of_late_ms)
		p->least_of_late_ms = took;
	if (took < p->least_ms)
		p->least_ms = took;
	if (++p->bursts < LATE_BURSTS)
		return;
	p->least_ms = p->least_of_late_ms;
	p->least_of_late_ms = UINT64_MAX - SLOW_MS;
	p->bursts = 0;
}

/* How long it took says how busy the other is: its disk is everybody's. */
static void size_burst(struct pace *p, uint64_t took)
{
	if ((took > p->least_ms + SLOW_MS && p->burst > PACE_BURST_LEAST) || p->burst > PACE_BURST_MOST)
		p->burst /= 2;
	else if (took < p->least_ms + SLOW_MS / 2 && p->burst < PACE_BURST_MOST)
		p->burst *= 2;
}

void pace_hurry(struct pace *p)
{
	p->burst = PACE_BURST_HURRY;
}

unsigned pace_end(struct pace *p, uint64_t now, size_t sent, size_t gathered)
{
	uint64_t took = now - p->begun_ms;
	if (gathered >= PACE_GATHERED_MAX || gathered > sent / HURRY_SHARE) {
		pace_hurry(p);
		return 0;
	}
	learn(p, took);
	size_burst(p, took);
	/* Less and less, not none at once: that others would notice. */
	uint64_t pause = SPARED * took < PACE_PAUSE_MAX_MS ? SPARED * took : PACE_PAUSE_MAX_MS;
	uint64_t spared = PACE_GATHERED_MAX - gathered;
	return (unsigned)((pause * spared + PACE_GATHERED_MAX - 1) / PACE_GATHERED_MAX);
}
