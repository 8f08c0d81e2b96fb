/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/delay.h"

void delay_send(struct delay *d, uint64_t last, uint64_t now)
{
	if (d->index != 0)
		return;
	d->index = last;
	d->begun_ms = now;
}

void delay_answer(struct delay *d, uint64_t match, uint64_t now)
{
	if (d->index == 0 || match < d->index)
		return;
	d->index = 0;
	d->known = true;
	d->ms = now - d->begun_ms;
}

bool delay_within(const struct delay *d, uint64_t ms, uint64_t now)
{
	return d->known && d->ms <= ms && (d->index == 0 || now - d->begun_ms <= ms);
}
