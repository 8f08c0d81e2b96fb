/* SPDX-License-Identifier: Apache-2.0
 *
 * The verbs of warrenctl.
 */
#ifndef WARREN_CTL_VERB_H
#define WARREN_CTL_VERB_H

#include <sys/types.h>

#include "src/ctl/call.h"
#include "src/ctl/options.h"

/* Everything a verb works with. */
struct ctl {
	const char *program; /* as it was called: warrenctl, or a link's name */
	const char *node;    /* name@host */
	struct options options;
	const struct ctl_verb *verb;
};

enum { VERB_ANY = 1000 };

/* What sizes are shown in. */
struct ctl_unit {
	const char *name;
	double bytes;
};

struct ctl_verb {
	const char *name;
	const char *group;     /* heading in the list of verbs */
	const char *arguments; /* usage behind the name: "<username> <password>" */
	const char *summary;   /* one sentence */
	unsigned least, most;  /* arguments; VERB_ANY */
	unsigned accepts;      /* option_kind bits */
	int (*run)(struct ctl *c); /* an exit status */
};

/* NULL if there is none. */
const struct ctl_verb *verb_find(const char *name);
/* The i-th of all, in the order of groups; NULL behind the last. */
const struct ctl_verb *verb_at(unsigned i);

/* ---- for the verbs ---- */

const char *ctl_arg(const struct ctl *c, unsigned i);
/* The vhost of the options, or "/". */
const char *ctl_vhost(const struct ctl *c);
/* A line for people on standard output; nothing with --quiet, --silent or a format for machines. */
void ctl_say(const struct ctl *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "Error:" and the text on standard error; returns `status`. */
int ctl_error(const struct ctl *c, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* What a check has found: a line, also with --quiet, or as JSON the object, which is taken over; a "message" that is
 * null in it is the line, NULL is the line alone. On standard error unless `status` is CTL_OK; returns that. */
int ctl_found(const struct ctl *c, int status, json_t *found, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Wrong use: the sentence, the arguments as given, and the usage; returns 64. */
int ctl_misuse(const struct ctl *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* An argument that says nothing, and why (may be NULL), with the same; returns 65. */
int ctl_bad_argument(const struct ctl *c, const char *why);
/* Calls the API with the options' timeout (or `timeout_s`, 0 for none). `args` is taken over. 0 and
 * the result, a reference (ret may be NULL); else an exit status, after having told the error. */
int ctl_call(struct ctl *c, const char *verb, json_t *args, double timeout_s, json_t **ret);
/* The same without a word about errors; the caller looks at `call`. */
int ctl_try(struct ctl *c, struct call *call, const char *verb, json_t *args, double timeout_s);
/* The same for a verb that asks again and again, until its time is over: whatever that is, it asks once. */
int ctl_poll(struct ctl *c, struct call *call, const char *verb, json_t *args);
/* What has failed is that there is no such queue (or not its virtual host); RabbitMQ's word for that, or the reply's own words. */
bool ctl_lacks_queue(const struct call *call);
const char *ctl_reason(const struct call *call);
/* The end of what has gone well and has nothing to say: as JSON that it has. Returns 0. */
int ctl_done(const struct ctl *c);
/* Calls, says nothing more; 0 or an exit status. */
int ctl_do(struct ctl *c, const char *verb, json_t *args);
/* Calls a verb that answers rows, and prints them. */
int ctl_list(struct ctl *c, const char *verb, json_t *args, const char *const *columns, unsigned n);

extern const struct ctl_verb verbs_access[], verbs_policy[], verbs_settings[], verbs_list[],
	verbs_node[], verbs_cluster[], verbs_replica[], verbs_health[], verbs_tune[], verbs_wait[], verbs_help[];

/* verbs_node.c: parts of what several verbs print, waiting, and the time. */
int print_result_json(json_t *result); /* takes it over; returns CTL_OK */
void print_alarms(const json_t *alarms);
/* The app is starting: says for whom it waits, and waits for the end of that. An exit status; 75 if that does not
 * come in time. */
int ctl_await_start(struct ctl *c, double until_s);
void print_listeners(const json_t *listeners, bool nodes); /* with the names of their nodes */
void ctl_nap(void);
double ctl_now_s(void);
bool ctl_runs(pid_t pid); /* a process of this machine, whoever's it is, that has not ended */
/* That of --unit, or gb; NULL after telling that there is no such unit. */
const struct ctl_unit *ctl_unit(const struct ctl *c);
/* When -t, or five minutes, will be over, as ctl_now_s(). */
double ctl_deadline_s(const struct ctl *c);

/* help.c */
void help_usage(const struct ctl *c, const struct ctl_verb *v);
void help_all(const struct ctl *c);
/* On standard error: there is no such verb, which one may be meant, and where all are. */
void help_unknown(const struct ctl *c, const char *name);

#endif
