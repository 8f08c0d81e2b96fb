/* SPDX-License-Identifier: Apache-2.0
 *
 * warrend: options, configuration, then the node.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/daemon/config.h"
#include "src/daemon/node.h"
#include "src/daemon/options.h"

#define DEFAULT_DATA_DIR "/var/lib/warren"

enum { NAME_MAX_OCTETS = 256, ERR_MAX = 512, DESCRIPTORS_LEAST = 64 };

/* jemalloc's options, where it is linked: memory that a burst has used goes back to the system
 * within seconds, also if the node is idle then. */
extern const char *malloc_conf;
const char *malloc_conf = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";

static void main_note(void *arg, enum log_level level, const char *text)
{
	(void)arg;
	log_line(level, "config", "%s", text);
}

/* All that is wrong is told, not just the first. */
static int main_configure(struct config *c, const struct options *o)
{
	int rc = 0;
	config_init(c, main_note, NULL);
	if (o->config_path != NULL)
		rc |= config_read(c, o->config_path);
	for (size_t i = 0; i < o->settings_n; i++)
		rc |= config_set_pair(c, o->settings[i]);
	return rc | config_finish(c);
}

/* "warren@" and the host's name up to its first dot. */
static const char *main_default_name(char name[NAME_MAX_OCTETS])
{
	char host[NAME_MAX_OCTETS - 8] = "localhost";
	gethostname(host, sizeof host - 1);
	host[strcspn(host, ".")] = '\0';
	snprintf(name, NAME_MAX_OCTETS, "warren@%s", host);
	return name;
}

static int main_run(const struct options *o)
{
	struct config config;
	char name[NAME_MAX_OCTETS];
	int rc = NODE_EXIT_CONFIG;
	if (main_configure(&config, o) == 0) {
		struct node node = {
			.config = &config,
			.name = o->node_name != NULL ? o->node_name : main_default_name(name),
			.data_dir = o->data_dir != NULL ? o->data_dir : DEFAULT_DATA_DIR,
		};
		log_begin();
		log_set_level(config.log_level);
		rc = node_run(&node);
	}
	config_done(&config);
	return rc;
}

static int main_check_here(const struct options *o)
{
	char err[ERR_MAX];
	int rc = store_check(o->data_dir, err, sizeof err);
	if (rc == 0)
		return NODE_EXIT_OK;
	fprintf(stderr, "warrend: %s\n", err);
	return node_store_exit(rc);
}

/* LMDB has no checksums of its own: in a damaged tree of pages it may follow a number to where there
 * is nothing. So the check may die, and that, too, is a finding. */
static int main_check_store(const struct options *o)
{
	int status = 0;
	int64_t bytes = store_length(o->data_dir);
	pid_t child = fork();
	if (child == 0)
		exit(main_check_here(o));
	if (child < 0 || waitpid(child, &status, 0) != child)
		return main_check_here(o);
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	store_cut(o->data_dir, bytes);
	fprintf(stderr, "warrend: store %s is damaged: its tree of pages cannot be followed (%s)\n",
		o->data_dir, strsignal(WTERMSIG(status)));
	return NODE_EXIT_DAMAGED;
}

static int main_act(const struct options *o)
{
	switch (o->action) {
	case OPTIONS_CHECK_STORE:
		return main_check_store(o);
	case OPTIONS_VERSION:
		options_print_version(stdout);
		return NODE_EXIT_OK;
	case OPTIONS_HELP:
		options_print_help(stdout);
		return NODE_EXIT_OK;
	default:
		return main_run(o);
	}
}

/* Files of ours must never get the numbers that others write their output to. */
static void main_fill_standard_files(void)
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

/* As many descriptors as we may have; false if that is too few for anything to work. */
static bool main_raise_descriptors(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return true;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	return getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= DESCRIPTORS_LEAST;
}

int main(int argc, char **argv)
{
	main_fill_standard_files();
	if (!main_raise_descriptors()) {
		fprintf(stderr, "warrend: fewer than %d file descriptors are allowed\n",
			DESCRIPTORS_LEAST);
		return NODE_EXIT_FAILURE;
	}
	struct options o;
	char err[ERR_MAX];
	int rc = NODE_EXIT_USAGE;
	if (options_parse(&o, argc, argv, err, sizeof err) == 0)
		rc = main_act(&o);
	else
		fprintf(stderr, "warrend: %s\n", err);
	options_done(&o);
	return rc;
}
