/* SPDX-License-Identifier: Apache-2.0
 *
 * What the writer and the reader of a machine's snapshot agree on; the layout is in
 * machine_snapshot.c.
 */
#ifndef WARREN_QUEUE_MACHINE_SNAPSHOT_H
#define WARREN_QUEUE_MACHINE_SNAPSHOT_H

#define MACHINE_SNAPSHOT_MAGIC "WRNQ"
enum { MACHINE_SNAPSHOT_VERSION = 2, MACHINE_SNAPSHOT_HASH = 8 };

#endif
