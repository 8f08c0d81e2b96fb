/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands between LMDB and the kernel: the program's own pwrite(), writev(), fdatasync()
 * and so on are found first by the library. Passes everything on unless told otherwise; can let
 * writes fail, and can record what happened to data.mdb, for making the file that a crash would
 * have left.
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
	DISK_FAILS_SYNC, /* fdatasync() fails with EIO */
};

void fake_disk_set(enum disk_fault fault);
/* Calls that were made to fail so far. */
unsigned fake_disk_failed(void);

/* Starts recording, with the file as it is (it must be synced). `mark` is stored with each event. */
void fake_disk_record(const char *data_mdb, const _Atomic uint64_t *mark);
/* Stops and returns the number of events. */
size_t fake_disk_stop(void);
/* The mark at event `at`. */
uint64_t fake_disk_mark(size_t at);
/* True if the event is a hole being punched. */
bool fake_disk_is_hole(size_t at);
/* Makes `path` what a crash just before event `at` would have left: everything before the last sync
 * is there, of what follows it each page is or is not, as `random` decides. */
void fake_disk_crash(size_t at, const char *path, uint64_t random);
/* Forgets the recording. */
void fake_disk_forget(void);

#endif
