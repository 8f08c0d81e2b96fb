/* SPDX-License-Identifier: Apache-2.0
 *
 * A batch grows in a block that starts small: most batches are one small publish. The unused rest
 * is given back when the batch is proposed, as its block stays in memory with the entry.
 */
#include "raft/group.h"

enum {
	BATCH_BEGIN = 1024,
	BATCH_QUICK = 64 * 1024, /* up to here a batch grows four times at a step, then twice */
};

static size_t grown(size_t cap, size_t need)
{
	if (cap == 0)
		cap = BATCH_BEGIN;
	while (cap < need)
		cap *= cap < BATCH_QUICK ? 4 : 2;
	return cap;
}

/* Who gave us the block keeps it until the entry is applied, to give it again. */
static struct blob *moved(const struct batch *b, size_t cap)
{
	struct blob *to = blob_new(cap);
	memcpy(to->data, b->blob->data, b->n);
	blob_unref(b->blob);
	return to;
}

static void reserve(struct batch *b, size_t need)
{
	if (b->blob == NULL)
		b->blob = blob_new(grown(0, need));
	else if (b->blob->cap < need && blob_is_shared(b->blob))
		b->blob = moved(b, grown(b->blob->cap, need));
	else if (b->blob->cap < need)
		b->blob = blob_grow(b->blob, grown(b->blob->cap, need));
}

uint8_t *batch_put(struct batch *b, size_t n)
{
	size_t at = b->n > 0 ? b->n : GROUP_ENTRY_HEADER;
	reserve(b, at + n);
	if (b->n == 0)
		memset(b->blob->data, 0, GROUP_ENTRY_HEADER);
	b->n = at + n;
	return b->blob->data + at;
}
