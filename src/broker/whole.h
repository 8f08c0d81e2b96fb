/* SPDX-License-Identifier: Apache-2.0
 *
 * The whole state as bytes, for a node that is new or far behind, and becoming what such bytes say
 * while sessions and queues go on.
 *
 *   whole:  "WRNM" version:32 row*      row: key (9 octets) length:32 value, as in rows.h, sorted
 */
#ifndef WARREN_BROKER_WHOLE_H
#define WARREN_BROKER_WHOLE_H

#include "src/base/buf.h"

struct broker;

/* Appends the whole state. Bounded by it: a few hundred octets per queue. */
void broker_whole(struct broker *b, struct buf *out);

/* Makes the state what the bytes say. What is in both stays where it is (pointers to it stay valid) and
 * is changed if need be; the watch is told of what goes and comes, and of every queue that stays as
 * changed. The rows that differ are dirty then. If the state is not an earlier one of the same cluster,
 * everything goes first. False if the bytes are malformed: nothing has changed. */
bool broker_become(struct broker *b, struct slice whole);

#endif
