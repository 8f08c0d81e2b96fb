/* SPDX-License-Identifier: Apache-2.0
 *
 * What a backend provides for a store_log; storage/store.c calls it. All on the owner's thread.
 */
#ifndef WARREN_STORAGE_LOG_OPS_H
#define WARREN_STORAGE_LOG_OPS_H

#include "storage/store.h"

struct store_log_ops {
	int (*load)(struct store_log *log, struct store_load *ret_load);
	/* Carries out or queues a request whose op, log and operands are filled in. */
	void (*submit)(struct store_log *log, struct store_req *req);
	void (*retain)(struct store_log *log, const struct store_range *live, unsigned n);
	void (*release)(struct store_log *log, uint64_t index);
	int (*fetch)(struct store_log *log, uint64_t index, struct blob **ret_blob,
		const uint8_t **ret_p, size_t *ret_n);
	struct store_log *(*stage)(struct store_log *log);
	void (*close)(struct store_log *log);
};

#endif
