/* SPDX-License-Identifier: Apache-2.0
 *
 * The messages between members, as bytes. Little endian; structs of ours, never libraft's.
 *
 *    0  u8   version, 1                  8  u64  group
 *    1  u8   kind                       16  u64  from   raft id of the sender
 *    2  u16  flags                      24  u64  to     raft id of the addressee
 *    4  u32  bytes of the whole         32  u64  term
 *   40  by kind:
 *
 *   APPEND          u64 prev_index, u64 prev_term, u64 commit, u32 n, u32 0
 *                   n times: u64 term, u32 bytes, u8 type, u8[3] 0;  then the bytes of the entries
 *   APPENDED        u64 rejected, u64 last
 *   VOTE            u64 last, u64 last_term            flags: disrupt, pre-vote
 *   VOTED           -                                  flags: granted, pre-vote, not pre-vote
 *   TIMEOUT_NOW     u64 last, u64 last_term
 *   FREEZE          u64 last, u64 last_term            "nothing will come: stop your clock"
 *   FROZEN          u64 last                           "I did"
 *   REMOVED         u64 index                          "you are no member (since this entry)"
 *   HERE            -                                  "this new group has started here"
 *   INSTALL         u64 stream, u64 index, u64 index_term, u64 conf_index, u64 data bytes,
 *                   u64 entries, u32 conf bytes, u32 0; the configuration
 *   INSTALL_STATE   u64 stream, u64 part; bytes of the state
 *   INSTALL_ENTRIES u64 stream, u64 part, u32 n, u32 0
 *                   n times: u64 index, u32 bytes, u8 1 if it is gone, u8[3] 0;  then their bytes
 *   INSTALL_ACK     u64 stream, u64 part, u64 index    flags: done, refused
 *
 * A message of an unknown version is refused with an error that names both.
 */
#ifndef WARREN_RAFT_WIRE_H
#define WARREN_RAFT_WIRE_H

#include "src/base/buf.h"

enum {
	WIRE_VERSION = 1,
	WIRE_HEAD = 40,      /* bytes before what depends on the kind */
	WIRE_FIXED_MAX = 96, /* no kind has more before its lists */
	WIRE_ENTRY = 16,     /* bytes of each entry of a list */
	WIRE_ENTRIES_MAX = 65536,
};

enum wire_kind { /* numbers are never used again */
	WIRE_APPEND = 1,
	WIRE_APPENDED = 2,
	WIRE_VOTE = 3,
	WIRE_VOTED = 4,
	WIRE_TIMEOUT_NOW = 5,
	WIRE_FREEZE = 6,
	WIRE_FROZEN = 7,
	WIRE_REMOVED = 8,
	WIRE_INSTALL = 9,
	WIRE_INSTALL_STATE = 10,
	WIRE_INSTALL_ENTRIES = 11,
	WIRE_INSTALL_ACK = 12,
	WIRE_HERE = 13,
};

enum wire_flag {
	WIRE_DISRUPT = 1,   /* VOTE */
	WIRE_PRE_VOTE = 2,  /* VOTE, VOTED */
	WIRE_GRANTED = 4,   /* VOTED */
	WIRE_REAL_VOTE = 8, /* VOTED: answers a VOTE that was no pre-vote */
	WIRE_DONE = 16,     /* INSTALL_ACK: installed */
	WIRE_REFUSED = 32,  /* INSTALL_ACK: this stream is not wanted (any more) */
};

/* A message without its lists and bytes; which fields count depends on the kind. */
struct wire {
	enum wire_kind kind;
	unsigned flags;
	uint64_t group;
	uint64_t from;
	uint64_t to;
	uint64_t term;
	uint64_t prev_index, prev_term, commit; /* APPEND */
	uint64_t rejected;                      /* APPENDED */
	uint64_t last, last_term;               /* APPENDED, VOTE, TIMEOUT_NOW, FREEZE, FROZEN */
	uint64_t index, index_term, conf_index; /* INSTALL, INSTALL_ACK (index), REMOVED (index) */
	uint64_t stream, part;                  /* INSTALL* */
	uint64_t data_n, entries_n;             /* INSTALL: what will come */
	uint32_t n;                             /* APPEND, INSTALL_ENTRIES: entries */
	struct slice list;  /* decoded: n times WIRE_ENTRY bytes, see wire_entry_of() */
	struct slice bytes; /* decoded: behind that; INSTALL: the configuration */
};

/* One entry of a list. */
struct wire_entry {
	uint64_t number; /* APPEND: term; INSTALL_ENTRIES: index */
	uint32_t n;
	uint8_t type; /* APPEND: libraft's; INSTALL_ENTRIES: 0 or WIRE_GONE */
};
enum { WIRE_GONE = 1 }; /* nobody will need this entry, although the state still says so */

/* Writes the head of a message: everything before the list. `more` bytes will follow (list and
 * bytes of entries, or the state's; for INSTALL the configuration). Returns bytes written, at most
 * WIRE_FIXED_MAX. */
size_t wire_encode(uint8_t *p, const struct wire *w, size_t more);
void wire_encode_entry(uint8_t *p, const struct wire_entry *e); /* WIRE_ENTRY bytes */

enum wire_err {
	WIRE_OK = 0,
	WIRE_MALFORMED = -1,
	WIRE_UNKNOWN_VERSION = -2,
	WIRE_UNKNOWN_KIND = -3,
};
/* A whole message. The slices point into `bytes`. *ret_w is filled in on success only. The list's
 * lengths add up to no more than what follows it. */
int wire_decode(struct wire *ret_w, struct slice bytes);
struct wire_entry wire_entry_of(const struct wire *w, unsigned i);

/* Of a message's head as wire_encode() wrote it, for who only sorts messages: its group, and
 * whether it is part of a snapshot's stream, which may be big and is in no hurry. */
static inline uint64_t wire_peek_group(const uint8_t *head)
{
	return load_u64le(head + 8);
}

static inline bool wire_peek_bulk(const uint8_t *head)
{
	return head[1] == WIRE_INSTALL_STATE || head[1] == WIRE_INSTALL_ENTRIES;
}

#endif
