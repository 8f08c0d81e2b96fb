/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of the shim through which other members' messages reach libraft: they wait for writes that
 * libraft cannot bear them beside, and are put right. Rules R6, R8 (waiting), R10 (roll-back), R11
 * and R14 live here.
 */
#ifndef WARREN_RAFT_GROUP_INBOX_H
#define WARREN_RAFT_GROUP_INBOX_H

#include "raft/group_net.h"

/* A message for this group has arrived: in `blob`, decoded as `w`. */
void group_inbox_receive(struct group *g, uint64_t node, const struct wire *w, struct blob *blob);
/* Something that held messages back may have ended: a write. */
void group_inbox_unblock(struct group *g);
/* An answer that raft shall believe to have come from member `from`. */
void group_inbox_answer(struct group *g, const struct peer *from, uint64_t last);
/* What waits is forgotten. */
void group_inbox_clear(struct group *g);

#endif
