/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/alarms.h"

#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/mem.h"

enum {
	CHECK_MS = 250,
	MARGIN = 32, /* cleared when a 32nd better than the limit: no flapping */
};

uint64_t alarms_amount(const struct config_amount *amount, uint64_t whole)
{
	return amount->relative ? (uint64_t)((double)whole * amount->share) : amount->bytes;
}

static bool over(bool raised, uint64_t used, uint64_t limit)
{
	return used > (raised ? limit - limit / MARGIN : limit);
}

static bool under(bool raised, uint64_t left, uint64_t limit)
{
	return left < (raised ? limit + limit / MARGIN : limit);
}

enum session_alarm alarms_judge(
	const struct alarms *a, uint64_t memory_used, uint64_t disk_free, bool store_blocked)
{
	enum session_alarm raised = SESSION_ALARM_NONE;
	if (over(a->raised & SESSION_ALARM_MEMORY, memory_used, a->memory_bytes))
		raised |= SESSION_ALARM_MEMORY;
	if (store_blocked || under(a->raised & SESSION_ALARM_DISK, disk_free, a->disk_free_bytes))
		raised |= SESSION_ALARM_DISK;
	return raised;
}

/* Resident memory of the process, without pages of files: those (the store's map above all) the
 * kernel takes back by itself when it needs room. */
uint64_t alarms_memory_used(void)
{
	unsigned long size, resident, shared;
	FILE *f = fopen("/proc/self/statm", "r");
	if (f == NULL)
		return 0;
	if (fscanf(f, "%lu %lu %lu", &size, &resident, &shared) != 3)
		resident = shared = 0;
	fclose(f);
	return (uint64_t)(resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t alarms_disk_free(const char *path)
{
	struct statvfs fs;
	if (statvfs(path, &fs) != 0)
		return UINT64_MAX; /* unknown is no alarm; writes will tell */
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

static void tell(const struct alarms *a, enum session_alarm which, const char *name)
{
	if (a->raised & which)
		log_warning("alarm", "%s resource limit alarm set: publishers are blocked", name);
	else
		log_warning("alarm", "%s resource limit alarm cleared", name);
}

static void alarms_check(struct alarms *a)
{
	enum session_alarm before = a->raised;
	a->raised = alarms_judge(
		a, alarms_memory_used(), alarms_disk_free(a->data_dir), store_blocked(a->store));
	enum session_alarm changed = before ^ a->raised;
	if (changed & SESSION_ALARM_MEMORY)
		tell(a, SESSION_ALARM_MEMORY, "memory");
	if (changed & SESSION_ALARM_DISK)
		tell(a, SESSION_ALARM_DISK, "disk");
	if (changed != SESSION_ALARM_NONE)
		a->changed(a->arg);
	timer_set(a->timer, CHECK_MS);
}

static void alarms_on_timer(void *arg)
{
	alarms_check(arg);
}

struct store_news {
	struct mail mail;
	struct alarms *alarms;
};

static void alarms_on_store_news(struct mail *m, struct worker *w)
{
	struct store_news *s = (struct store_news *)m;
	(void)w;
	if (s->alarms->timer != NULL)
		alarms_check(s->alarms);
	mem_free(s);
}

/* The writer's thread. A fast publisher fills much of a disk between two checks. */
static void alarms_on_store(void *arg)
{
	struct alarms *a = arg;
	struct store_news *s = MEM_NEW(struct store_news);
	*s = (struct store_news){{NULL, alarms_on_store_news}, a};
	worker_post(a->worker, &s->mail);
}

uint64_t alarms_machine_memory(void)
{
	uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	unsigned long long most;
	FILE *f = fopen("/sys/fs/cgroup/memory.max", "r");
	if (f == NULL)
		return machine;
	if (fscanf(f, "%llu", &most) == 1 && most < machine) /* "max" is no number */
		machine = most;
	fclose(f);
	return machine;
}

static void set_limit(struct alarms *a, enum session_alarm which, const struct config_amount *limit)
{
	bool memory = which == SESSION_ALARM_MEMORY;
	*(memory ? &a->memory_limit : &a->disk_limit) = *limit;
	*(memory ? &a->memory_bytes : &a->disk_free_bytes) =
		alarms_amount(limit, alarms_machine_memory());
}

static void tell_limits(const struct alarms *a)
{
	log_info("alarm", "memory high watermark set to %lu MiB, disk free limit to %lu MiB",
		(unsigned long)(a->memory_bytes >> 20), (unsigned long)(a->disk_free_bytes >> 20));
}

void alarms_start(struct alarms *a, struct worker *w, const struct config *config)
{
	set_limit(a, SESSION_ALARM_MEMORY, &config->memory_limit);
	set_limit(a, SESSION_ALARM_DISK, &config->disk_free_limit);
	a->worker = w;
	a->timer = timer_new(w, alarms_on_timer, a);
	store_watch(a->store, alarms_on_store, a);
	tell_limits(a);
	alarms_check(a); /* before the first client comes */
}

void alarms_limit(struct alarms *a, enum session_alarm which, const struct config_amount *limit)
{
	set_limit(a, which, limit);
	tell_limits(a);
	alarms_check(a);
}

void alarms_stop(struct alarms *a)
{
	store_watch(a->store, NULL, NULL);
	timer_free(a->timer);
	a->timer = NULL;
	mem_free(a->others);
	a->others = NULL;
	a->n_others = 0;
}

/* ---- other nodes ---- */

static enum session_alarm *other_get(struct alarms *a, uint64_t node)
{
	for (size_t i = 0; i < a->n_others; i++)
		if (a->others[i].node == node)
			return &a->others[i].raised;
	a->others = mem_realloc(a->others, (a->n_others + 1) * sizeof *a->others);
	a->others[a->n_others] = (struct alarms_other){node, SESSION_ALARM_NONE};
	return &a->others[a->n_others++].raised;
}

static void other_drop(struct alarms *a, uint64_t node)
{
	for (size_t i = 0; i < a->n_others; i++)
		if (a->others[i].node == node) {
			a->others[i] = a->others[--a->n_others];
			return;
		}
}

bool alarms_of_other(struct alarms *a, uint64_t node, enum session_alarm raised)
{
	if (a->timer == NULL)
		return false; /* stopped */
	enum session_alarm *known = other_get(a, node), before = *known;
	*known = raised & SESSION_ALARM_BOTH;
	if (*known == SESSION_ALARM_NONE)
		other_drop(a, node);
	return before != (raised & SESSION_ALARM_BOTH);
}

enum session_alarm alarms_everywhere(const struct alarms *a)
{
	enum session_alarm all = a->raised;
	for (size_t i = 0; i < a->n_others; i++)
		all |= a->others[i].raised;
	return all;
}
