/* SPDX-License-Identifier: Apache-2.0
 *
 * A small file of the data directory that is complete and on the disk, or as it was before. Blocks.
 */
#ifndef WARREN_CLUSTER_KEPT_FILE_H
#define WARREN_CLUSTER_KEPT_FILE_H

#include <stddef.h>

#include "src/base/bytes.h"

/* 0, or -1 with one line in `err`. */
int kept_file_put(const char *dir, const char *name, struct slice content, char *err, size_t err_n);
/* There is none from now on. As above. */
int kept_file_remove(const char *dir, const char *name, char *err, size_t err_n);

#endif
