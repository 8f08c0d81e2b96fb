/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands between the store, with LMDB, and the kernel: the program's own pwrite(), writev(),
 * fdatasync() and so on are found first by the library. Passes everything on unless told otherwise;
 * can let writes fail, and can record what happened to data.mdb and journal, for making the files
 * that a crash would have left.
 */
#ifndef WARREN_TESTS_UNIT_STORAGE_FAKE_DISK_H
#define WARREN_TESTS_UNIT_STORAGE_FAKE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum disk_fault {
	DISK_WORKS,
	DISK_FULL,       /* writes to data.mdb fail with ENOSPC */
	DISK_TIGHT,      /* so, until the reserve is given up; it cannot be taken again */
	DISK_NEARLY,     /* they come out short, and statvfs() says there is no room */
	DISK_FAILS_SYNC, /* fdatasync() of data.mdb or journal fails with EIO */
	DISK_SMALL,      /* there is so much room as fake_disk_capacity() said, for all files */
	DISK_NO_OVERWRITE, /* writes to journal fail with ENOSPC: a file system that copies on write */
};

void fake_disk_set(enum disk_fault fault);
/* Bytes, of DISK_SMALL. */
void fake_disk_capacity(uint64_t bytes);
/* Calls that were made to fail so far. */
unsigned fake_disk_failed(void);

/* Starts recording, with the files of the store's directory as they are (they must be synced). `mark`
 * is stored with each event. */
void fake_disk_record(const char *dir, const _Atomic uint64_t *mark);
/* Stops and returns the number of events. */
size_t fake_disk_stop(void);
/* The mark at event `at`. */
uint64_t fake_disk_mark(size_t at);
/* True if the event is a hole being punched. */
bool fake_disk_is_hole(size_t at);
/* True if all that was written before event `at` is safe: there is but one thing a crash can leave. */
bool fake_disk_is_synced(size_t at);
/* The number of writes to the journal among the events. */
size_t fake_disk_journal_writes(void);
/* Makes the files in `dir` what a crash just before event `at` would have left: everything before the
 * last sync of a file is there, of what follows it each sector is or is not, as `random` decides;
 * 0: none is. */
void fake_disk_crash(size_t at, const char *dir, uint64_t random);
/* Forgets the recording. */
void fake_disk_forget(void);

#endif
