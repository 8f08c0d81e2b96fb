/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/control.h"

#include <assert.h>

#include "src/base/mem.h"

enum { HEAD = 4 };

struct control {
	struct link *link;
	control_fn *call;
	void *arg;
	struct request *present; /* under way, or NULL */
};

struct request {
	struct control_call call;
	struct handshake_identity from;
	uint8_t octets[];
};

struct control *control_new(struct link *l, control_fn *call, void *arg)
{
	struct control *c = MEM_NEW(struct control);
	*c = (struct control){.link = l, .call = call, .arg = arg};
	return c;
}

static void request_begin(struct control *c, const uint8_t *p, size_t n)
{
	struct request *r = mem_alloc(sizeof *r + n);
	memcpy(r->octets, p, n);
	r->from = *link_peer(c->link);
	r->call = (struct control_call){slice_make(r->octets, n), &r->from, c};
	c->present = r;
	link_pause(c->link);
	c->call(c->arg, &r->call);
}

size_t control_octets(struct control *c, const uint8_t *p, size_t n)
{
	if (c->present != NULL || n < HEAD)
		return 0;
	size_t size = load_u32le(p);
	if (size > CONTROL_REQUEST_MAX) {
		link_close(c->link, HANDSHAKE_GARBAGE, "a request that is too long");
		return n;
	}
	if (n < HEAD + size)
		return 0;
	request_begin(c, p + HEAD, size);
	return HEAD + size;
}

void control_reply(struct control_call *call, struct slice reply)
{
	struct request *r = (struct request *)call;
	struct control *c = call->control;
	assert(reply.n <= UINT32_MAX);
	if (c != NULL) {
		struct buf *out = link_out(c->link);
		buf_put_u32le(out, (uint32_t)reply.n);
		buf_put_slice(out, reply);
		c->present = NULL;
		link_resume(c->link);
		link_write(c->link);
	}
	mem_free(r);
}

void control_free(struct control *c)
{
	if (c->present != NULL)
		c->present->call.control = NULL;
	mem_free(c);
}
