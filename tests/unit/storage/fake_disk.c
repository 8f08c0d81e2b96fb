/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/storage/fake_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "src/base/mem.h"

enum { PAGE = 4096, SECTOR = 512 };

enum file_no { FILE_DATA, FILE_JOURNAL, N_FILES };

static const char *const file_names[N_FILES] = {"data.mdb", "journal"};

enum event_kind { EVENT_WRITE, EVENT_DURABLE_WRITE, EVENT_HOLE, EVENT_SYNC };

struct event {
	enum event_kind kind;
	enum file_no file;
	off_t offset;
	size_t n;
	uint8_t *bytes; /* of a write */
	uint64_t mark;
};

/* One that is recorded. */
struct file {
	struct stat st;
	uint8_t *before; /* its bytes when recording began */
	size_t before_n;
};

static struct {
	_Atomic int fault;
	_Atomic uint64_t capacity;
	_Atomic unsigned failed;
	_Atomic bool reserve_spent;
	_Atomic bool no_room; /* the last write did not fit */
	_Atomic bool recording;
	pthread_mutex_t lock;
	struct file files[N_FILES];
	const _Atomic uint64_t *mark;
	struct event *events;
	size_t n, cap;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

void fake_disk_set(enum disk_fault fault)
{
	atomic_store(&disk.reserve_spent, false);
	atomic_store(&disk.fault, fault);
}

void fake_disk_capacity(uint64_t bytes)
{
	atomic_store(&disk.capacity, bytes);
}

unsigned fake_disk_failed(void)
{
	return atomic_load(&disk.failed);
}

/* Its length; 0: not known. */
static size_t path_of(int fd, char path[256])
{
	char link[64];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, 255);
	path[n > 0 ? n : 0] = 0;
	return n > 0 ? (size_t)n : 0;
}

/* Files only: completions and logs must get through. */
static bool is_file(int fd, enum file_no no)
{
	char path[256];
	size_t suffix = strlen(file_names[no]) + 1;
	size_t n = path_of(fd, path);
	if (n <= suffix || path[n - suffix] != '/')
		return false;
	return memcmp(path + n + 1 - suffix, file_names[no], suffix - 1) == 0;
}

static bool is_data_file(int fd)
{
	return is_file(fd, FILE_DATA);
}

static void add_event(int fd, enum event_kind kind, const void *p, size_t n, off_t offset)
{
	struct stat st;
	if (!atomic_load(&disk.recording) || fstat(fd, &st) != 0)
		return;
	pthread_mutex_lock(&disk.lock);
	enum file_no file = 0;
	while (file < N_FILES && (st.st_ino != disk.files[file].st.st_ino ||
					 st.st_dev != disk.files[file].st.st_dev))
		file++;
	if (file < N_FILES) {
		if (disk.n == disk.cap) {
			disk.cap = disk.cap == 0 ? 1024 : disk.cap * 2;
			disk.events = mem_realloc(disk.events, disk.cap * sizeof *disk.events);
		}
		disk.events[disk.n++] = (struct event){
			.kind = kind,
			.file = file,
			.offset = offset,
			.n = n,
			.bytes = p != NULL ? mem_dup(p, n) : NULL,
			.mark = atomic_load(disk.mark),
		};
	}
	pthread_mutex_unlock(&disk.lock);
}

/* LMDB's meta pages go through a descriptor that syncs each write. */
static enum event_kind write_kind(int fd)
{
	return (fcntl(fd, F_GETFL) & O_DSYNC) != 0 ? EVENT_DURABLE_WRITE : EVENT_WRITE;
}

/* ---- a small disk ---- */

static uint64_t bytes_of(const char *dir, const char *name)
{
	char path[512];
	struct stat st;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static uint64_t room_in(const char *dir)
{
	uint64_t used = bytes_of(dir, "data.mdb") + bytes_of(dir, "journal") + bytes_of(dir, "reserve");
	uint64_t capacity = atomic_load(&disk.capacity);
	return capacity > used ? capacity - used : 0;
}

/* Bytes of the range for which there is no block yet. */
static uint64_t missing(const char *path, off_t offset, size_t n)
{
	uint64_t sum = 0;
	off_t end = offset + (off_t)n;
	int fd = open(path, O_RDONLY | O_CLOEXEC); /* of its own: lseek() moves the writer's */
	while (fd >= 0 && offset < end) {
		off_t data = lseek(fd, offset, SEEK_DATA);
		off_t until = data < 0 || data > end ? end : data;
		sum += (uint64_t)(until - offset);
		offset = until < end ? lseek(fd, until, SEEK_HOLE) : end;
	}
	close(fd);
	return sum;
}

static bool fits(int fd, off_t offset, size_t n)
{
	char path[256];
	if (path_of(fd, path) == 0)
		return true;
	uint64_t need = missing(path, offset, n);
	*strrchr(path, '/') = 0;
	return need == 0 || need <= room_in(path);
}

/* The number of bytes that may be written, or -1. */
static ssize_t allowed(int fd, size_t n, off_t offset)
{
	int fault = atomic_load(&disk.fault);
	bool full = fault == DISK_FULL || fault == DISK_NEARLY ||
		(fault == DISK_TIGHT && !atomic_load(&disk.reserve_spent)) ||
		(fault == DISK_SMALL && is_data_file(fd) && !fits(fd, offset, n));
	if (fault == DISK_NO_OVERWRITE && is_file(fd, FILE_JOURNAL)) {
		atomic_fetch_add(&disk.failed, 1);
		errno = ENOSPC;
		return -1;
	}
	if (!is_data_file(fd))
		return (ssize_t)n;
	atomic_store(&disk.no_room, full);
	if (!full)
		return (ssize_t)n;
	atomic_fetch_add(&disk.failed, 1);
	if (fault == DISK_NEARLY && n > PAGE)
		return PAGE;
	errno = ENOSPC;
	return -1;
}

/* ---- what the library calls ---- */

ssize_t pwrite(int fd, const void *p, size_t n, off_t offset)
{
	ssize_t may = allowed(fd, n, offset);
	if (may < 0)
		return -1;
	add_event(fd, write_kind(fd), p, (size_t)may, offset);
	return syscall(SYS_pwrite64, fd, p, may, offset);
}

ssize_t writev(int fd, const struct iovec *iov, int n_iov)
{
	size_t n = 0;
	for (int i = 0; i < n_iov; i++)
		n += iov[i].iov_len;
	if (!is_data_file(fd))
		return syscall(SYS_writev, fd, iov, n_iov);
	ssize_t may = allowed(fd, n, lseek(fd, 0, SEEK_CUR));
	if (may < 0)
		return -1;
	uint8_t *all = mem_alloc(n);
	size_t used = 0;
	for (int i = 0; i < n_iov; used += iov[i++].iov_len)
		memcpy(all + used, iov[i].iov_base, iov[i].iov_len);
	add_event(fd, write_kind(fd), all, (size_t)may, lseek(fd, 0, SEEK_CUR));
	ssize_t rc = syscall(SYS_write, fd, all, may);
	mem_free(all);
	return rc;
}

int fdatasync(int fd)
{
	if (atomic_load(&disk.fault) == DISK_FAILS_SYNC &&
		(is_data_file(fd) || is_file(fd, FILE_JOURNAL))) {
		errno = EIO;
		return -1;
	}
	add_event(fd, EVENT_SYNC, NULL, 0, 0);
	return (int)syscall(SYS_fdatasync, fd);
}

int ftruncate(int fd, off_t n)
{
	if (atomic_load(&disk.fault) == DISK_TIGHT)
		atomic_store(&disk.reserve_spent, true);
	return (int)syscall(SYS_ftruncate, fd, n);
}

static bool may_allocate(int fd, off_t offset, off_t n)
{
	int fault = atomic_load(&disk.fault);
	return fault == DISK_WORKS || (fault == DISK_SMALL && fits(fd, offset, (size_t)n));
}

int fallocate(int fd, int mode, off_t offset, off_t n)
{
	if (mode == 0 && !may_allocate(fd, offset, n)) {
		errno = ENOSPC;
		return -1;
	}
	add_event(fd, EVENT_HOLE, NULL, (size_t)n, offset);
	return (int)syscall(SYS_fallocate, fd, mode, offset, n);
}

int statvfs(const char *path, struct statvfs *st)
{
	memset(st, 0, sizeof *st);
	st->f_frsize = PAGE;
	if (atomic_load(&disk.fault) == DISK_SMALL)
		st->f_bavail = room_in(path) / PAGE;
	else
		st->f_bavail = atomic_load(&disk.no_room) ? 3 : 1 << 20;
	return 0;
}

/* ---- recording and crashing ---- */

static int open_file(const char *dir, enum file_no no, int flags)
{
	char *path = mem_printf("%s/%s", dir, file_names[no]);
	int fd = open(path, flags, 0640);
	mem_free(path);
	return fd;
}

static void file_record(struct file *f, int fd)
{
	fstat(fd, &f->st);
	f->before_n = (size_t)f->st.st_size;
	f->before = mem_alloc(f->before_n);
	if (pread(fd, f->before, f->before_n, 0) != (ssize_t)f->before_n)
		abort();
	close(fd);
}

void fake_disk_record(const char *dir, const _Atomic uint64_t *mark)
{
	for (enum file_no no = 0; no < N_FILES; no++)
		file_record(&disk.files[no], open_file(dir, no, O_RDONLY));
	disk.mark = mark;
	disk.n = 0;
	atomic_store(&disk.recording, true);
}

size_t fake_disk_stop(void)
{
	atomic_store(&disk.recording, false);
	return disk.n;
}

uint64_t fake_disk_mark(size_t at)
{
	return disk.events[at].mark;
}

bool fake_disk_is_hole(size_t at)
{
	return disk.events[at].kind == EVENT_HOLE;
}

size_t fake_disk_journal_writes(void)
{
	size_t n = 0;
	for (size_t i = 0; i < disk.n; i++)
		n += disk.events[i].file == FILE_JOURNAL && disk.events[i].kind == EVENT_WRITE;
	return n;
}

static void apply(int fd, const struct event *e, size_t from, size_t n)
{
	if (e->kind == EVENT_HOLE)
		syscall(SYS_fallocate, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			e->offset + (off_t)from, n);
	else if (e->kind != EVENT_SYNC)
		syscall(SYS_pwrite64, fd, e->bytes + from, n, e->offset + (off_t)from);
}

/* Each sector of the event with even odds. */
static void apply_some(int fd, const struct event *e, uint64_t *random)
{
	size_t step = e->kind == EVENT_HOLE ? PAGE : SECTOR;
	for (size_t from = 0; *random != 0 && from < e->n; from += step) {
		*random = *random * 6364136223846793005u + 1442695040888963407u;
		if ((*random >> 33) % 2 == 0)
			apply(fd, e, from, e->n - from < step ? e->n - from : step);
	}
}

/* The end of what is safe of a file at event `at`: behind its last sync. */
static size_t synced(size_t at, enum file_no no)
{
	while (at > 0 && (disk.events[at - 1].kind != EVENT_SYNC || disk.events[at - 1].file != no))
		at--;
	return at;
}

bool fake_disk_is_synced(size_t at)
{
	for (enum file_no no = 0; no < N_FILES; no++)
		for (size_t i = synced(at, no); i < at; i++)
			if (disk.events[i].file == no && disk.events[i].kind != EVENT_DURABLE_WRITE)
				return false;
	return true;
}

static void file_crash(size_t at, enum file_no no, int fd, uint64_t *random)
{
	const struct file *f = &disk.files[no];
	size_t safe = synced(at, no);
	size_t n = f->before_n;
	while (n > 0 && f->before[n - 1] == 0)
		n--;
	/* Zeros at the end need no blocks that would have to be synced each time. */
	syscall(SYS_pwrite64, fd, f->before, n, 0);
	syscall(SYS_ftruncate, fd, f->before_n);
	for (size_t i = 0; i < at; i++) {
		const struct event *e = &disk.events[i];
		if (e->file != no)
			continue;
		if (i < safe || e->kind == EVENT_DURABLE_WRITE)
			apply(fd, e, 0, e->n);
		else
			apply_some(fd, e, random);
	}
	close(fd);
}

void fake_disk_crash(size_t at, const char *dir, uint64_t random)
{
	for (enum file_no no = 0; no < N_FILES; no++)
		file_crash(at, no, open_file(dir, no, O_RDWR | O_CREAT | O_TRUNC), &random);
}

void fake_disk_forget(void)
{
	for (size_t i = 0; i < disk.n; i++)
		mem_free(disk.events[i].bytes);
	mem_free(disk.events);
	for (enum file_no no = 0; no < N_FILES; no++) {
		mem_free(disk.files[no].before);
		disk.files[no].before = NULL;
	}
	disk.events = NULL;
	disk.n = disk.cap = 0;
}
