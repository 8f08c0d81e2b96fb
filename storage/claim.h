/* SPDX-License-Identifier: Apache-2.0
 *
 * That one process alone uses a data directory: a lock on the file `lock` in it, which also works on
 * network file systems, and one on the directory itself, which nobody can delete under us.
 *
 * And that it has been used: `lock` is empty until the first store in the directory is complete. So
 * a data file that is gone later is not taken for one that is still to be made.
 */
#ifndef WARREN_STORAGE_CLAIM_H
#define WARREN_STORAGE_CLAIM_H

#include <stdbool.h>
#include <stdint.h>

struct claim {
	int dir_fd;  /* -1: none */
	int file_fd; /* likewise */
};

#define CLAIM_NONE {-1, -1}

/* The directory exists. 0, EWOULDBLOCK if another process has it, or another errno. Ends with
 * claim_release() or the process, not with its children. */
int claim_take(struct claim *c, const char *dir);
void claim_release(struct claim *c);
/* A store of this node is complete in the directory. Durable when it returns, if the disk lets it:
 * a claim that does not know is only less watchful. */
void claim_settle(struct claim *c, uint64_t node_id);
/* Whether there ever was one; needs no claim. */
bool claim_settled(const char *dir);

#endif
