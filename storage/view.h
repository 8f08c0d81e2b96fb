/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread's read transaction, made once and renewed for each use: short, since a read transaction
 * that stays open makes the file grow at the rate of writing.
 */
#ifndef WARREN_STORAGE_VIEW_H
#define WARREN_STORAGE_VIEW_H

#include <lmdb.h>

struct view {
	MDB_txn *txn; /* NULL before the first use; else reset between uses */
};

/* 0 or LMDB's error. *ret_txn sees the newest commit, until view_end(). */
int view_begin(struct view *v, MDB_env *mdb, MDB_txn **ret_txn);
void view_end(struct view *v);
/* Not between begin and end; before the environment is closed. */
void view_done(struct view *v);

#endif
