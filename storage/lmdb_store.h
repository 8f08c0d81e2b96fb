/* SPDX-License-Identifier: Apache-2.0
 *
 * The node's store behind `struct store`.
 */
#ifndef WARREN_STORAGE_LMDB_STORE_H
#define WARREN_STORAGE_LMDB_STORE_H

#include "storage/env.h"
#include "storage/groups.h"
#include "storage/handover.h"
#include "storage/records.h"
#include "storage/store.h"
#include "storage/writer.h"

struct store {
	struct inbox inbox; /* every port's requests */
	struct env env;
	struct groups groups;
	struct records records; /* the writer's */
	struct writer writer;
};

#endif
