/* SPDX-License-Identifier: Apache-2.0
 *
 * Definitions of policies between JSON, as operators write them, and field tables, as policies have
 * them. Numbers become 64-bit integers or doubles, objects tables, null a void value.
 */
#ifndef WARREN_BROKER_DEFINITION_H
#define WARREN_BROKER_DEFINITION_H

#include <jansson.h>

#include "src/base/buf.h"

/* Appends the members of a JSON object as a table, without its length, sorted by key. False if a key
 * is longer than 255 octets or it is nested too deeply for a table; `out` is as it was then. */
bool definition_put_table(struct buf *out, json_t *object);

/* The table as a JSON object (a new reference), the array likewise; what is malformed ends it. Bytes
 * that are no UTF-8 become U+FFFD, timestamps their numbers, decimals doubles. */
json_t *definition_of_table(struct slice table);
json_t *definition_of_array(struct slice array);

/* Appends a value as Erlang's ~p prints RabbitMQ's term for it: <<"text">>, 10, [1,<<"a">>]. */
void definition_put_term(struct buf *out, json_t *value);

#endif
