/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules that make libraft 0.15 safe and live (raft/README.md says what each is for), as
 * switches. The product passes no table: all rules hold. A test gives a registry a table in which
 * one is switched off, and shows that what the rule prevents then happens.
 */
#ifndef WARREN_RAFT_RULES_H
#define WARREN_RAFT_RULES_H

#include <stdbool.h>

/* true: the rule is not obeyed. */
struct rules_off {
	bool r1_clamp;         /* an answer claims at most what its request covered */
	bool r2_barrier;       /* a new leader commits a barrier before it counts */
	bool r2_withhold;      /* no entries of a term before one of it is durable here */
	bool r3_one;           /* one entry under way */
	bool r4_never_fails;   /* off: the next append of a command fails */
	bool r5_new_term;      /* a sole voter starts in a new term */
	bool r6_anchor;        /* probes below the log start are anchored at the commit index */
	bool r7_never_refuses; /* off: sending results fails */
	bool r8_no_tick;       /* no tick while a follower writes, nor votes while it installs */
	bool r9_copy;          /* off: a TimeoutNow's request is called back */
	bool r10_busy;         /* no snapshot while a configuration is uncommitted */
	bool r10_rollback;     /* configurations are rolled back by us */
	bool r11_votes;        /* votes whatever its own configuration calls it */
	bool r12_term;         /* a refused pre-vote tells a higher term */
	bool r13_gives_up;     /* a leader whose disk stands still gives leadership up */
	bool r14_vouches;      /* who is no voter vouches only for what may have been counted */
	bool hard_barrier;     /* messages wait behind term and vote */
	bool split;            /* large appends are cut and not repeated */
	bool split_commit;     /* what is cut off is not called committed */
	bool mask_rejected;    /* rejections are masked while a snapshot streams */
	bool under_way_stays;  /* what is under way to members that keep up stays in the log */
	bool waiting_bounded;  /* what waits for a link is bounded */
	bool streams_wait;     /* a stream that waits for the link has not stalled */
	bool laggards_stay;    /* no snapshot that takes from a member what it is catching up on */
	bool thaw_on_link;     /* a lost link or a new incarnation thaws */
	bool apart;            /* candidates keep as far apart as messages take */
	bool freeze_asks;      /* off: a leader freezes without asking the others */
};

#endif
