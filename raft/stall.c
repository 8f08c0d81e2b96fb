/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/stall.h"

#include <inttypes.h>

#include "raft/group_priv.h"
#include "src/base/log.h"

enum { SAY_MS = 10000 }; /* a disk has thousands of groups, of which one is enough to be named */

void stall_moves(struct group *g)
{
	g->stall = (struct stall){.moved_ms = groups_now(g->groups)};
}

static bool stands_still(const struct group *g)
{
	return g->io.writes > 0 &&
	       groups_now(g->groups) - g->stall.moved_ms >= groups_stall_ms(g->groups);
}

static void say(struct group *g, const char *what)
{
	struct groups *gs = g->groups;
	uint64_t now = groups_now(gs);
	if (gs->stall_said_ms != 0 && now - gs->stall_said_ms < SAY_MS)
		return;
	gs->stall_said_ms = now;
	log_warning("raft",
		"group %" PRIu64 ": writes have stood still for %" PRIu64 " ms: %s", g->id,
		now - g->stall.moved_ms, what);
}

void stall_tick(struct group *g)
{
	struct stall *s = &g->stall;
	if (!g->leading_raft) {
		s->asked = s->silent = false;
		return;
	}
	if (!stands_still(g) || s->silent || !RULE(g, r13_gives_up) ||
		!membership_others_elect(g))
		return;
	if (!s->asked) {
		s->asked = true;
		if (membership_hand_over(g)) {
			say(g, "leadership is handed over");
			return;
		}
	}
	if (g->transfer.in_raft)
		return;
	s->silent = true;
	say(g, "leadership is given up");
}
