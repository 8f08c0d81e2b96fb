/* SPDX-License-Identifier: Apache-2.0
 *
 * warrenctl: from arguments to exit status. Called by another name (rabbitmqctl), it says that name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/ctl/verb.h"

enum { NAME_MAX_OCTETS = 256, ERR_MAX = 512 };

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash != NULL ? slash + 1 : path;
}

/* warren@ and the host's name up to its first dot, as warrend's. */
static const char *default_node(char name[NAME_MAX_OCTETS])
{
	char host[NAME_MAX_OCTETS - 8] = "localhost";
	const char *own = getenv("WARREN_NODENAME");
	if (own != NULL && own[0] != '\0')
		return own;
	gethostname(host, sizeof host - 1);
	host[strcspn(host, ".")] = '\0';
	snprintf(name, NAME_MAX_OCTETS, "warren@%s", host);
	return name;
}

static int run_verb(struct ctl *c)
{
	const struct ctl_verb *v = c->verb;
	const struct options *o = &c->options;
	/* -p is accepted everywhere, as scripts are used to. */
	unsigned odd = o->given & ~(v->accepts | OPTION_VHOST);
	if (odd != 0)
		return ctl_misuse(c, "Invalid options for this command:\n%s : ", options_name(odd));
	if (o->n_args < v->least)
		return ctl_misuse(c, "not enough arguments.");
	if (o->n_args > v->most)
		return ctl_misuse(c, "too many arguments.");
	return v->run(c);
}

static int run(struct ctl *c)
{
	const struct options *o = &c->options;
	if (c->node[0] == '\0' || c->node[0] == '@') {
		fputs("Unsupported node name: the part before the @ is missing. A node is called NAME@HOST, or "
		      "NAME@HOST:PORT where its cluster.listener is on another port\n", stderr);
		return CTL_DATA;
	}
	if (o->verb == NULL) {
		help_all(c);
		return o->help ? CTL_OK : CTL_USAGE;
	}
	c->verb = verb_find(o->verb);
	if (c->verb == NULL) {
		help_unknown(c, o->verb);
		return CTL_USAGE;
	}
	if (o->help) {
		c->options.args[0] = o->verb;
		c->options.n_args = 1;
		c->verb = verb_find("help");
	}
	return run_verb(c);
}

int main(int argc, char **argv)
{
	char name[NAME_MAX_OCTETS], err[ERR_MAX];
	struct ctl c = {.program = base_name(argv[0])};
	int status = CTL_USAGE;
	if (options_parse(&c.options, argc, argv, err, sizeof err) != 0) {
		fprintf(stderr, "Error (argument validation): %s\n", err);
	} else {
		c.node = c.options.node != NULL ? c.options.node : default_node(name);
		status = run(&c);
	}
	options_done(&c.options);
	return fflush(stdout) != 0 && status == CTL_OK ? CTL_SOFTWARE : status;
}
