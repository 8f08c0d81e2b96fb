/* SPDX-License-Identifier: Apache-2.0
 *
 * Is what somebody wants to set as a policy fine? For whoever proposes SET_POLICY; with the texts of
 * RabbitMQ 3.10.
 */
#ifndef WARREN_BROKER_POLICY_CHECK_H
#define WARREN_BROKER_POLICY_CHECK_H

#include "src/base/buf.h"
#include "src/broker/policy.h"

/* As the operator has written it. */
struct policy_text {
	enum broker_policy_kind kind;
	struct slice name;
	struct slice pattern;
	struct slice apply_to;   /* empty: all */
	struct slice definition; /* JSON */
};

/* True: apply_to and definition of `ret` are what the text says, the latter a table that is appended
 * to `table` (empty at first); pattern is the text's; priority is left alone. False: the reason is
 * appended to `why`:
 *
 *   Validation failed\n\n<<"often">> is not a valid message TTL
 *   JSON decoding error. Reason: ...
 */
bool policy_check(const struct policy_text *text, struct broker_policy_spec *ret,
	struct buf *table, struct buf *why);

#endif
