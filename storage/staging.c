/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/staging.h"

#include "storage/env.h"
#include "storage/format.h"

static bool is_leftover(MDB_val key, MDB_val val)
{
	bool ok;
	struct hard_row row;
	uint64_t log = env_number(key, &ok);
	return ok && hard_decode(env_slice(val), log, &row) == 0 && row.staged;
}

int staging_forget(MDB_txn *txn, MDB_dbi hard)
{
	MDB_cursor *cursor;
	MDB_val key, val;
	int rc = mdb_cursor_open(txn, hard, &cursor);
	if (rc != 0)
		return rc;
	while ((rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) == 0)
		if (is_leftover(key, val) && (rc = mdb_cursor_del(cursor, 0)) != 0)
			break;
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}
