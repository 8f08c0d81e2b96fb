/* SPDX-License-Identifier: Apache-2.0
 *
 * The state as rows of a store: key and value, changed in one transaction with the applied index.
 *
 *   key:    kind:8 number:64 (big endian, so that keys sort in the order of loading)
 *   value:  version:8 fields (little endian; see rows.c)
 *
 * The store adds its checksum. Rows are loaded in the order of their keys.
 */
#ifndef WARREN_BROKER_ROWS_H
#define WARREN_BROKER_ROWS_H

#include "src/base/buf.h"

struct broker;
struct broker_row;

#define BROKER_ROW_KEY_SIZE 9

/* Called per row; key and value are valid during the call. value.p == NULL: the row is deleted. */
typedef void (*broker_row_cb)(void *arg, struct slice key, struct slice value);

/* The rows changed or deleted since the last broker_rows_clean(), in no order, each at most once.
 * Does not change anything: may be called again if the transaction failed. */
void broker_dirty_rows(struct broker *b, broker_row_cb each, void *arg);

/* The store has (or will surely have) what broker_dirty_rows() told. */
void broker_rows_clean(struct broker *b);

/* All rows, in the order of their keys: for sending the whole state to another node. */
void broker_all_rows(struct broker *b, broker_row_cb each, void *arg);

/* Adds one row to a broker that is being loaded, which was empty at first. False if the row is
 * malformed, of an unknown version, there already, or refers to a row that is not there: the
 * broker is of no use then and to be freed. The row counts as stored. The watch is told. */
bool broker_load_row(struct broker *b, struct slice key, struct slice value);

/* A hash of all rows in the order of their keys: equal on all nodes at the same applied index. */
uint64_t broker_digest(struct broker *b);

/* ---- for src/broker only ---- */

/* All rows in the order of their keys. */
struct broker_rows {
	const struct broker_row **p; /* for mem_free() */
	size_t n;
};

struct broker_rows broker_rows_of(const struct broker *b);
/* Below, at or above 0 as x's key is below y's, the same, or above. */
int broker_row_order(const struct broker_row *x, const struct broker_row *y);
void broker_put_row_key(uint8_t key[BROKER_ROW_KEY_SIZE], const struct broker_row *r);
/* The value, with its version. */
void broker_put_row(struct buf *out, const struct broker_row *r);

#endif
