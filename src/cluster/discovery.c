/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/discovery.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"

enum { PORT_MAX = 65535, PORT_DIGITS_MAX = 5 };

__attribute__((format(printf, 2, 3))) static void wait_for(struct discovery *ret, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(ret->text, sizeof ret->text, fmt, ap);
	va_end(ap);
	ret->verdict = DISCOVERY_WAIT;
}

static bool is_member(const struct discovery_peer *p)
{
	return p->why == NULL && !p->blank;
}

/* ---- a cluster is there ---- */

/* False, with what is wrong, if the members belong to several. */
static bool one_cluster(struct discovery *ret, const struct discovery_peer *peers, size_t n)
{
	const struct discovery_peer *first = NULL;
	for (size_t i = 0; i < n; i++) {
		if (!is_member(&peers[i]) || peers[i].cluster_id == 0)
			continue;
		if (first == NULL)
			first = &peers[i];
		if (peers[i].cluster_id == first->cluster_id)
			continue;
		wait_for(ret, "%.100s and %.100s belong to different clusters: which one is meant?",
			first->name, peers[i].name);
		return false;
	}
	return true;
}

static void join_one(
	struct discovery *ret, const struct discovery_peer *peers, size_t n, unsigned turn)
{
	for (size_t i = 0; i < n; i++) {
		size_t at = (i + turn) % n;
		if (!is_member(&peers[at]) || !peers[at].ready)
			continue;
		ret->verdict = DISCOVERY_JOIN;
		ret->member = at;
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (is_member(&peers[i]))
			wait_for(ret, "%.100s is in a cluster, but lets nobody in yet", peers[i].name);
}

/* ---- there is none ---- */

static bool is_before(const struct discovery_peer *a, const struct discovery_peer *b)
{
	int order = strcmp(a->name, b->name);
	return order != 0 ? order < 0 : a->id < b->id;
}

static bool is_counted(const struct discovery_peer *peers, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (peers[j].id == peers[i].id)
			return true;
	return false;
}

static unsigned count_nodes(
	const struct discovery_peer *self, const struct discovery_peer *peers, size_t n)
{
	unsigned count = 1;
	for (size_t i = 0; i < n; i++)
		count += peers[i].id != self->id && !is_counted(peers, i);
	return count;
}

static void found_or_wait(struct discovery *ret, const struct discovery_peer *self,
	const struct discovery_peer *peers, size_t n)
{
	const struct discovery_peer *least = self->type == BROKER_NODE_DISC ? self : NULL;
	for (size_t i = 0; i < n; i++)
		if (peers[i].type == BROKER_NODE_DISC && (least == NULL || is_before(&peers[i], least)))
			least = &peers[i];
	if (least == NULL)
		wait_for(ret, "none of the nodes is to be a disc node");
	else if (least->id != self->id)
		wait_for(ret, "%.100s is to found the cluster", least->name);
	else
		ret->verdict = DISCOVERY_FOUND;
}

void discovery_decide(struct discovery *ret, const struct discovery_peer *self,
	const struct discovery_peer *peers, size_t n, unsigned expected, unsigned turn)
{
	const struct discovery_peer *silent = NULL;
	bool member = false;
	*ret = (struct discovery){.verdict = DISCOVERY_WAIT};
	for (size_t i = 0; i < n; i++) {
		member |= is_member(&peers[i]);
		if (peers[i].why != NULL && silent == NULL)
			silent = &peers[i];
	}
	if (member) {
		if (one_cluster(ret, peers, n))
			join_one(ret, peers, n, turn);
		return;
	}
	if (silent != NULL) {
		wait_for(ret, "%.200s does not say whether it is in a cluster: %.200s", silent->address,
			silent->why);
		return;
	}
	unsigned there = count_nodes(self, peers, n);
	if (there < expected)
		wait_for(ret, "%u of %u expected nodes are there", there, expected);
	else
		found_or_wait(ret, self, peers, n);
}

/* ---- addresses ---- */

static bool is_port(const char *text)
{
	size_t n = strlen(text);
	long port = strtol(text, NULL, 10);
	return n > 0 && n <= PORT_DIGITS_MAX && strspn(text, "0123456789") == n && port >= 1 &&
	       port <= PORT_MAX;
}

/* Where the host ends: at the port's colon or at the text's end; NULL if it is no host. */
static const char *host_end(const char *host)
{
	const char *end = host[0] == '[' ? strchr(host, ']') : host + strcspn(host, ":");
	if (end != NULL && host[0] == '[')
		end++;
	return end == NULL || end == host || (*end != '\0' && *end != ':') ? NULL : end;
}

char *discovery_address(const char *peer, unsigned port)
{
	const char *at = strchr(peer, '@');
	const char *end = at != NULL && at != peer ? host_end(at + 1) : NULL;
	for (const char *p = peer; *p != '\0'; p++)
		if (isspace((unsigned char)*p))
			return NULL;
	if (end == NULL || (*end == ':' && !is_port(end + 1)))
		return NULL;
	return *end == ':' ? mem_strdup(at + 1) : mem_printf("%s:%u", at + 1, port);
}
