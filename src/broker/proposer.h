/* SPDX-License-Identifier: Apache-2.0
 *
 * Proposers: the workers that propose commands, so that a command which is sent again, as after a
 * change of leader, has no second effect and the answer that it had. A proposer numbers its commands
 * from 1; remembered are the last one applied, and the answers it has not heard of.
 *
 * An id is a client's of src/queue/command.h: node 16 | incarnation 32 | worker 16 bits. A node's
 * newer incarnation ends the older ones.
 */
#ifndef WARREN_BROKER_PROPOSER_H
#define WARREN_BROKER_PROPOSER_H

#include "src/base/buf.h"
#include "src/broker/broker.h"

/* Answers remembered of a proposer; the oldest is given up for one more. Who proposes has no more
 * commands under way. */
enum { BROKER_ANSWERS_MAX = 4096 };

/* What there is to say again of a result. */
struct broker_answer {
	uint8_t code;     /* enum broker_code */
	uint8_t resource; /* enum broker_resource */
	uint8_t of;       /* BROKER_QUEUE, BROKER_EXCHANGE, BROKER_NODE: what `number` is of; or
			   * BROKER_NOTHING */
	uint64_t number;  /* group, row number, id; of nothing: the limit */
};

struct broker_proposer {
	uint64_t id;
	uint64_t last_seq;
	struct broker_answer *answers; /* of the sequences up to last_seq, the last one last */
	uint32_t n_answers, answers_cap;
	struct broker_row row;
};

/* Applies the command as broker_apply() does, unless it is a repeat: then `ret` is as it was, and its
 * pointers are NULL if what they were to is gone. A repeat whose answer was heard, and whatever a
 * past incarnation of a node says, is answered with BROKER_STALE and changes nothing. */
void broker_apply_once(struct broker *b, uint64_t proposer, uint64_t seq, struct slice command,
	struct broker_result *ret);
/* The last sequence of the proposer that has been applied; 0: none. One that does not follow it is
 * not to be applied: what is between was lost on the way, and comes again in order. */
uint64_t broker_proposer_last(const struct broker *b, uint64_t proposer);
/* The proposer knows the answers up to this sequence. */
void broker_heard(struct broker *b, uint64_t proposer, uint64_t seq);

/* ---- for src/broker only ---- */

struct broker_proposer *broker_proposer_find(const struct broker *b, uint64_t id);
struct broker_proposer *broker_proposer_new(struct broker *b, uint64_t id);
void broker_proposer_delete(struct broker *b, struct broker_proposer *p);
/* Makes one what the other is, but for its id. */
void broker_proposer_copy(
	struct broker *b, struct broker_proposer *p, const struct broker_proposer *from);
void broker_proposers_free(struct broker *b);
/* The row's value behind its version. */
void broker_put_proposer(struct buf *out, const struct broker_proposer *p);
/* False if it is malformed or there already. */
bool broker_load_proposer(struct broker *b, uint64_t id, struct reader *r);

#endif
