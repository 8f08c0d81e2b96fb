/* SPDX-License-Identifier: Apache-2.0
 *
 *   dialling -> greeting -> asked -> over -> gone
 */
#include "src/cluster/inquiry.h"

#include <stdio.h>

#include "src/base/mem.h"
#include "src/cluster/letter.h"
#include "src/loop/timer.h"
#include "src/net/dialer.h"

enum { TEXT_MAX = 512 };

struct inquiry {
	struct list link_in; /* in the owner's list */
	struct inquiry_config config;
	struct handshake_identity self;
	struct link_limits limits;
	char *name, *address;
	struct buf request;
	struct dialer *dialer; /* NULL: not dialling */
	struct link *link;     /* NULL: none yet, or gone */
	struct timer *timer;
	bool over;
};

static void inquiry_free(struct inquiry *q)
{
	timer_free(q->timer);
	buf_done(&q->request);
	mem_free(q->name);
	mem_free(q->address);
	mem_free(q);
}

static void inquiry_end(struct inquiry *q, struct slice reply, const char *why)
{
	if (q->over)
		return;
	q->over = true;
	list_remove(&q->link_in);
	timer_stop(q->timer);
	if (q->dialer != NULL)
		dialer_cancel(q->dialer);
	q->dialer = NULL;
	q->config.done(q->config.arg, reply, why);
	if (q->link == NULL)
		inquiry_free(q);
	else
		link_close(q->link, HANDSHAKE_OK, "");
}

static void inquiry_fail(struct inquiry *q, const char *why)
{
	inquiry_end(q, slice_make(NULL, 0), why);
}

static void inquiry_on_time(void *arg)
{
	struct inquiry *q = arg;
	inquiry_fail(q, q->link == NULL ? "it cannot be reached: connection timed out"
					: "it does not answer");
}

/* ---- the connection ---- */

static enum handshake_code inquiry_admit(void *arg, struct link *l, char *text, size_t n)
{
	const struct inquiry *q = arg;
	const struct handshake_identity *peer = link_peer(l);
	if (q->name == NULL || strcmp(q->name, peer->name) == 0)
		return HANDSHAKE_OK;
	snprintf(text, n, "%.60s looked for %.60s at %.60s, but reached %.60s", q->self.name, q->name,
		q->address, peer->name);
	return HANDSHAKE_NAME;
}

static void inquiry_on_up(void *arg, struct link *l)
{
	struct inquiry *q = arg;
	letter_put(link_out(l), buf_slice(&q->request));
	link_write(l);
}

static bool inquiry_on_message(
	void *arg, struct link *l, enum lane lane, struct blob *blob, size_t n)
{
	(void)arg;
	(void)l;
	(void)lane;
	(void)n;
	blob_unref(blob);
	return false;
}

static size_t inquiry_on_octets(void *arg, struct link *l, const uint8_t *p, size_t n)
{
	struct inquiry *q = arg;
	(void)l;
	struct slice reply;
	enum letter found = q->over ? LETTER_TOO_LONG : letter_get(p, n, INQUIRY_REPLY_MAX, &reply);
	if (found == LETTER_MORE)
		return 0;
	if (found == LETTER_WHOLE)
		inquiry_end(q, reply, NULL);
	else
		inquiry_fail(q, "its reply is too long");
	return n;
}

static void inquiry_on_writable(void *arg, struct link *l)
{
	(void)arg;
	(void)l;
}

static void inquiry_on_ended(void *arg, struct link *l, enum link_end why, const char *text)
{
	(void)l;
	(void)why;
	inquiry_fail(arg, text);
}

static void inquiry_on_gone(void *arg, struct link *l)
{
	struct inquiry *q = arg;
	(void)l;
	q->link = NULL;
	inquiry_free(q);
}

static const struct link_owner inquiry_owner = {
	.admit = inquiry_admit,
	.up = inquiry_on_up,
	.message = inquiry_on_message,
	.octets = inquiry_on_octets,
	.writable = inquiry_on_writable,
	.ended = inquiry_on_ended,
	.gone = inquiry_on_gone,
};

static void inquiry_on_dialled(void *arg, int fd, const char *why)
{
	struct inquiry *q = arg;
	char text[TEXT_MAX];
	q->dialer = NULL;
	if (fd >= 0)
		q->link = link_new(q->config.worker, fd, HANDSHAKE_DIALLER, &q->self, q->config.key,
			&q->limits, *q->config.tls, &inquiry_owner, q);
	if (q->link != NULL)
		return;
	snprintf(text, sizeof text, "it cannot be reached at %s: %s", q->address,
		fd >= 0 ? "the system refuses another connection" : why);
	inquiry_fail(q, text);
}

struct inquiry *inquiry_new(const struct inquiry_config *config, struct list *inquiries)
{
	struct inquiry *q = MEM_NEW(struct inquiry);
	q->config = *config;
	q->self = *config->self;
	q->self.kind = HANDSHAKE_CONTROL;
	q->limits = *config->limits;
	q->name = config->name != NULL ? mem_strdup(config->name) : NULL;
	q->address = mem_strdup(config->address);
	buf_put_slice(&q->request, config->request);
	list_push_back(inquiries, &q->link_in);
	q->timer = timer_new(config->worker, inquiry_on_time, q);
	timer_set(q->timer, config->timeout_ms);
	unsigned dial_ms = config->timeout_ms < INQUIRY_DIAL_MS ? config->timeout_ms : INQUIRY_DIAL_MS;
	q->dialer = dialer_new(config->worker, q->address, dial_ms, inquiry_on_dialled, q);
	return q;
}

void inquiries_end(struct list *inquiries, const char *why)
{
	while (!list_empty(inquiries))
		inquiry_fail(LIST_ENTRY(inquiries->next, struct inquiry, link_in), why);
}

void inquiries_end_of(struct list *inquiries, uint64_t node, const char *why)
{
	struct list mine;
	list_init(&mine);
	LIST_EACH_SAFE(link, inquiries)
	{
		if (LIST_ENTRY(link, struct inquiry, link_in)->config.node != node)
			continue;
		list_remove(link);
		list_push_back(&mine, link);
	}
	inquiries_end(&mine, why);
}
