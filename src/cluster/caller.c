/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/caller.h"

#include <assert.h>

#include "src/base/mem.h"
#include "src/cluster/letter.h"

/* With what it points to. */
struct request {
	struct caller_request r;
	struct handshake_identity from;
	uint8_t octets[];
};

struct caller {
	struct link *link;
	caller_fn *call;
	void *arg;
	struct request *present; /* not answered yet, or NULL */
};

struct caller *caller_new(struct link *l, caller_fn *call, void *arg)
{
	struct caller *c = MEM_NEW(struct caller);
	*c = (struct caller){.link = l, .call = call, .arg = arg};
	return c;
}

static void request_begin(struct caller *c, const uint8_t *p, size_t n)
{
	struct request *r = mem_alloc(sizeof *r + n);
	memcpy(r->octets, p, n);
	r->from = *link_peer(c->link);
	r->r = (struct caller_request){slice_make(r->octets, n), &r->from, c};
	c->present = r;
	link_pause(c->link);
	c->call(c->arg, &r->r);
}

size_t caller_octets(struct caller *c, const uint8_t *p, size_t n)
{
	struct slice request;
	if (c->present != NULL)
		return 0;
	switch (letter_get(p, n, CALLER_REQUEST_MAX, &request)) {
	case LETTER_WHOLE:
		request_begin(c, request.p, request.n);
		return LETTER_HEAD + request.n;
	case LETTER_TOO_LONG:
		link_close(c->link, HANDSHAKE_GARBAGE, "a request that is too long");
		return n;
	default:
		return 0;
	}
}

void caller_reply(struct caller_request *r, struct slice reply)
{
	struct request *request = LIST_ENTRY(r, struct request, r);
	struct caller *c = r->caller;
	assert(reply.n <= UINT32_MAX);
	if (c != NULL) {
		letter_put(link_out(c->link), reply);
		c->present = NULL;
		link_resume(c->link);
		link_write(c->link);
	}
	mem_free(request);
}

void caller_free(struct caller *c)
{
	if (c->present != NULL)
		c->present->r.caller = NULL;
	mem_free(c);
}
