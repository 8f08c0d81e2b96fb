/* SPDX-License-Identifier: Apache-2.0 */
#include "src/net/lookup.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "src/base/mem.h"

enum { ADDRESS_TEXT = INET6_ADDRSTRLEN + 2 };

struct lookup {
	struct worker *worker;
	uv_getaddrinfo_t request;
	struct mail refused; /* where libuv took no request */
	int status;
	void (*done)(void *arg, const char *const *addresses, size_t n, const char *why); /* NULL: cancelled */
	void *arg;
	size_t n;
	const char *addresses[LOOKUP_ADDRESSES_MAX];
	char texts[LOOKUP_ADDRESSES_MAX][ADDRESS_TEXT];
};

static bool put_text(char text[ADDRESS_TEXT], const struct sockaddr *sa)
{
	char ip[INET6_ADDRSTRLEN];
	if (sa->sa_family == AF_INET &&
		inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, ip, sizeof ip) != NULL)
		snprintf(text, ADDRESS_TEXT, "%s", ip);
	else if (sa->sa_family == AF_INET6 &&
		 inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)sa)->sin6_addr, ip, sizeof ip) != NULL)
		snprintf(text, ADDRESS_TEXT, "[%s]", ip);
	else
		return false;
	return true;
}

static bool is_known(const struct lookup *l, const char *text)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->texts[i], text) == 0)
			return true;
	return false;
}

static void take_all(struct lookup *l, const struct addrinfo *found)
{
	for (; found != NULL && l->n < LOOKUP_ADDRESSES_MAX; found = found->ai_next) {
		char *text = l->texts[l->n];
		if (!put_text(text, found->ai_addr) || is_known(l, text))
			continue;
		l->addresses[l->n++] = text;
	}
}

static void tell(struct lookup *l)
{
	const char *why = l->status != 0 ? uv_strerror(l->status) : l->n == 0 ? "the host has no address" : NULL;
	if (l->done != NULL)
		l->done(l->arg, l->addresses, l->n, why);
	mem_free(l);
}

static void on_found(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
	struct lookup *l = request->data;
	l->status = status;
	if (status == 0)
		take_all(l, found);
	uv_freeaddrinfo(found);
	worker_deliver(l->worker);
	tell(l);
}

static void on_refused(struct mail *m, struct worker *w)
{
	(void)w;
	tell((struct lookup *)((char *)m - offsetof(struct lookup, refused)));
}

struct lookup *lookup_new(struct worker *w, const char *host,
	void (*done)(void *arg, const char *const *addresses, size_t n, const char *why), void *arg)
{
	static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct lookup *l = MEM_NEW(struct lookup);
	l->worker = w;
	l->done = done;
	l->arg = arg;
	l->request.data = l;
	l->refused.deliver = on_refused;
	l->status = uv_getaddrinfo(&w->loop, &l->request, on_found, host, NULL, &hints);
	if (l->status != 0)
		worker_post(w, &l->refused);
	return l;
}

void lookup_cancel(struct lookup *l)
{
	l->done = NULL;
	if (l->status == 0)
		uv_cancel((uv_req_t *)&l->request);
}
