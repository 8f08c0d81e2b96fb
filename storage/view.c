/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/view.h"

#include <stddef.h>

int view_begin(struct view *v, MDB_env *mdb, MDB_txn **ret_txn)
{
	int rc = v->txn != NULL ? mdb_txn_renew(v->txn) :
				  mdb_txn_begin(mdb, NULL, MDB_RDONLY, &v->txn);
	if (rc == 0)
		*ret_txn = v->txn;
	return rc;
}

void view_end(struct view *v)
{
	mdb_txn_reset(v->txn);
}

void view_done(struct view *v)
{
	if (v->txn != NULL)
		mdb_txn_abort(v->txn);
	v->txn = NULL;
}
