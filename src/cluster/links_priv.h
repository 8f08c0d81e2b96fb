/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of links know of each other. A contact is a connection, whatever comes of it; a peer is
 * a member of the cluster, whether there is a connection or not.
 *
 *   listener --> contact (accepted) --+                              +--> peer.link: up
 *                                     +-- greeting, contact_judge() --+--> caller
 *   peer.dialer --> peer.dialled -----+                              +--> refused
 *
 * All of it on worker 0's thread.
 */
#ifndef WARREN_CLUSTER_LINKS_PRIV_H
#define WARREN_CLUSTER_LINKS_PRIV_H

#include <uthash.h>

#include "src/cluster/links.h"

struct dialer;

enum { LINKS_TEXT_MAX = 512 }; /* of a sentence that says why not */

/* Another member of the cluster. */
struct peer {
	UT_hash_handle hh;
	struct links *links;
	uint64_t id;
	char *name;
	char *address;
	struct contact *link;    /* up, or NULL */
	struct contact *dialled; /* our own connection, not up yet, or NULL */
	struct dialer *dialer;   /* looks for it, or NULL */
	struct timer *redial;
	unsigned delay_ms;     /* of the last redial; 0: none failed since it was linked */
	unsigned round_trip_us; /* as the workers know it */
	/* As in struct links_peer: */
	uint64_t incarnation;
	uint64_t since_ms;
	bool refused, stranger;
	char error[LINKS_TEXT_MAX];
};

/* A connection. */
struct contact {
	struct list all;   /* in links.contacts, oldest first */
	struct list dirty; /* in links.dirty: link_flush() is due */
	struct links *links;
	struct link *link;
	struct peer *peer;     /* whose dialled or link it is, or NULL */
	struct caller *caller; /* or NULL */
	uint64_t serial;       /* of a link that is up, or was */
};

/* A worker's border. */
struct port {
	struct link_port *port;
	size_t unread;    /* octets posted and not looked at */
	unsigned letters; /* mails likewise */
};

struct links {
	struct worker *worker;
	struct handshake_identity self;
	struct handshake_key key;
	struct link_limits limits;
	struct ssl_ctx_st *tls;
	caller_fn *call;
	void *arg;
	struct port *ports;
	unsigned n_ports;
	struct listener *listener;
	struct peer *peers;
	struct list contacts, dirty;
	struct list inquiries;
	unsigned n_unproved, n_control;
	uint64_t serial; /* of the newest link */
	struct timer *tick;
	uint64_t ticked_ms;
	bool ticking;
	bool paused; /* links are not read: workers have enough to look at */
	bool closing, closed;
	bool away; /* no links are wanted */
	void (*closed_fn)(void *arg), (*left_fn)(void *arg);
	void *closed_arg, *left_arg;
	char refusal[LINKS_TEXT_MAX]; /* the last one that was logged */
	uint64_t refusal_ms;
};

/* ---- contact.c: connections ---- */

/* A connection from now on. Takes over `fd`; NULL if the system refuses it. Frees itself when its link is gone. */
struct contact *contact_new(struct links *ls, int fd, enum handshake_role role);
/* Its link_flush() is due. */
void contact_mark_dirty(struct contact *c);
/* We end it: `code` and `sentence` are what the other hears, `why` what the workers hear if it was a link. */
void contact_close(
	struct contact *c, enum link_end why, enum handshake_code code, const char *sentence);
/* If it is a link: tells the workers how far its peer is, if that is news. */
void contact_tell_round_trip(const struct contact *c);
/* Whoever connects and says nothing must not keep others out: one of them goes. */
void contact_drop_oldest_unproved(struct links *ls);

/* ---- welcome.c: who is welcome ---- */

/* Whether a contact that has said who it is may stay: HANDSHAKE_OK, or why not, with a sentence for both nodes in
 * text[n]. Asked at the greeting, and again when it is proved. */
enum handshake_code contact_judge(const struct contact *c, char *text, size_t n);

/* ---- peer.c: members, and dialling them ---- */

/* By its id, or NULL. */
struct peer *peer_find(const struct links *ls, uint64_t id);
/* Dials it after about so long, unless there is a connection by then. */
void peer_redial(struct peer *p, unsigned delay_ms);
/* At once; of two nodes the one with the larger id a little later, so that they do not meet halfway. */
void peer_dial_soon(struct peer *p);
/* An attempt of our own came to nothing: it is logged if it is news, and the next one is later. */
void peer_failed(struct peer *p, enum handshake_code code, const char *text);
/* Looks for it no more, and closes what was dialled, but for `except`. */
void peer_stop_dialling(struct peer *p, const struct contact *except);
/* Forgets all; none has a contact any more. */
void peers_free(struct links *ls);
/* Forgets one that was taken out of links.peers. */
void peer_free(struct peer *p);

/* ---- links.c ---- */

/* There are contacts: the next tick is due. */
void links_tick_soon(struct links *ls);
/* A contact has gone, or a worker has looked: tells if that was what links_close(), links_leave() waited for. */
void links_check_closed(struct links *ls);
void links_check_left(struct links *ls);

#endif
