/* SPDX-License-Identifier: Apache-2.0 */
#include "src/manage/remote.h"

#include <stdlib.h>

#include "src/base/mem.h"

enum {
	REMOTE_MS = 20000, /* a little more than the metadata waits for a leader */
	UNLINKED_MS = 2000,
};

/* ---- requests of others ---- */

static void on_reply(void *arg, json_t *reply)
{
	char *text = json_dumps(reply, JSON_COMPACT);
	json_decref(reply);
	caller_reply(arg, slice_str(text));
	free(text);
}

void remote_on_request(void *arg, struct caller_request *r)
{
	struct api *const *api = arg;
	json_t *request = json_loadb((const char *)r->octets.p, r->octets.n, 0, NULL);
	api_request(*api, request, on_reply, r);
	json_decref(request);
}

/* ---- our own ---- */

struct remote {
	remote_done *done;
	void *arg;
};

static void on_answer(void *arg, struct slice octets, const char *why)
{
	struct remote *r = arg;
	json_t *reply = NULL;
	if (why == NULL) {
		/* Names and tables of clients may hold anything. */
		reply = json_loadb((const char *)octets.p, octets.n, JSON_ALLOW_NUL, NULL);
		why = reply == NULL ? "its reply cannot be understood" : NULL;
	}
	r->done(r->arg, reply, why);
	json_decref(reply);
	mem_free(r);
}

static void remote_send(struct links *ls, uint64_t node, const char *address, const char *name, const char *verb,
	json_t *args, unsigned timeout_ms, remote_done *done, void *arg)
{
	struct remote *r = MEM_NEW(struct remote);
	json_t *request = json_pack("{ssso}", "verb", verb, "args", args);
	char *text = json_dumps(request, JSON_COMPACT);
	*r = (struct remote){done, arg};
	links_inquire(ls, node, address, name, slice_str(text), timeout_ms, on_answer, r);
	free(text);
	json_decref(request);
}

void remote_call(struct links *ls, const char *address, const char *name, const char *verb,
	json_t *args, remote_done *done, void *arg)
{
	remote_send(ls, 0, address, name, verb, args, REMOTE_MS, done, arg);
}

void remote_view(struct links *ls, uint64_t node, const char *address, const char *name,
	const char *verb, json_t *args, remote_done *done, void *arg)
{
	remote_send(ls, node, address, name, verb, args, links_linked(ls, node) ? REMOTE_MS : UNLINKED_MS,
		done, arg);
}

void remote_look(struct links *ls, const struct broker_node *n, const char *verb, unsigned timeout_ms,
	remote_done *done, void *arg)
{
	char *address = mem_printf("%.*s", SLICE_FMT(n->address));
	char *name = mem_printf("%.*s", SLICE_FMT(n->name));
	remote_send(ls, n->id, address, name, verb, json_object(), timeout_ms, done, arg);
	mem_free(address);
	mem_free(name);
}

void remote_ask(struct links *ls, const char *address, const char *verb, unsigned timeout_ms,
	remote_done *done, void *arg)
{
	remote_send(ls, 0, address, NULL, verb, json_object(), timeout_ms, done, arg);
}
