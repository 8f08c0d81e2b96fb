/* SPDX-License-Identifier: Apache-2.0
 *
 * Some bytes of disk held back in the file DIR/reserve, given up when the disk is full: so that what
 * makes room (acknowledgements are appended, too) can still be written while publishers are blocked.
 *
 *   held  --no space-->  spent  --there are as many bytes free again-->  held
 *
 * While it is spent the store counts as blocked.
 */
#ifndef WARREN_STORAGE_RESERVE_H
#define WARREN_STORAGE_RESERVE_H

#include <stdbool.h>

struct reserve {
	int fd; /* -1: none */
	bool held;
	bool unable; /* the file system cannot allocate ahead */
};

/* An unopened reserve has nothing. A file that cannot be made is an unable one. */
void reserve_open(struct reserve *r, const char *dir);
void reserve_close(struct reserve *r);
/* Takes the bytes; true if they are held now, or cannot be for another reason than a full disk. */
bool reserve_fill(struct reserve *r);
/* Gives them up; false if they were not held. */
bool reserve_spend(struct reserve *r);

#endif
