/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cluster/change.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/cluster/kept_file.h"

enum { CHANGE_VERSION = 1, LINE_MAX_OCTETS = 1024, STEP_MAX = 8, WORD_MAX = 300 };

static const char *const steps[] = {
	[CHANGE_NONE] = "", [CHANGE_LEAVE] = "leave", [CHANGE_WIPE] = "wipe", [CHANGE_JOIN] = "join"};

void change_done(struct change *c)
{
	for (size_t i = 0; i < c->n_vias; i++) {
		mem_free(c->vias[i].name);
		mem_free(c->vias[i].address);
	}
	mem_free(c->vias);
	*c = (struct change){0};
}

void change_add_via(struct change *c, const char *name, const char *address)
{
	c->vias = mem_realloc(c->vias, (c->n_vias + 1) * sizeof *c->vias);
	c->vias[c->n_vias++] = (struct change_via){mem_strdup(name), mem_strdup(address)};
}

struct change change_copy(const struct change *c)
{
	struct change ret = {.step = c->step, .type = c->type};
	for (size_t i = 0; i < c->n_vias; i++)
		change_add_via(&ret, c->vias[i].name, c->vias[i].address);
	return ret;
}

/* ---- reading ---- */

static bool take_step(struct change *c, const char *word)
{
	for (enum change_step s = CHANGE_LEAVE; s <= CHANGE_JOIN; s++)
		if (strcmp(word, steps[s]) == 0)
			c->step = s;
	return c->step != CHANGE_NONE;
}

static bool take_type(struct change *c, bool *ret_joins, const char *word)
{
	*ret_joins = strcmp(word, "none") != 0;
	c->type = strcmp(word, "ram") == 0 ? BROKER_NODE_RAM : BROKER_NODE_DISC;
	return !*ret_joins || strcmp(word, broker_node_type_name(c->type)) == 0;
}

static bool take_via(struct change *c, const char *line)
{
	char name[WORD_MAX], address[WORD_MAX];
	if (sscanf(line, "via %299s %299s", name, address) != 2)
		return false;
	change_add_via(c, name, address);
	return true;
}

static bool take_line(struct change *c, bool *joins, unsigned no, const char *line)
{
	unsigned version;
	char word[STEP_MAX];
	switch (no) {
	case 1:
		return sscanf(line, "warren change %u", &version) == 1 && version == CHANGE_VERSION;
	case 2:
		return sscanf(line, "step %7s", word) == 1 && take_step(c, word);
	case 3:
		return sscanf(line, "as %7s", word) == 1 && take_type(c, joins, word);
	default:
		return *joins && take_via(c, line);
	}
}

/* Who joins has somebody who lets it in; and only who joins has that step. */
static bool is_whole(const struct change *c, bool joins, unsigned lines)
{
	return lines >= 3 && joins == change_joins(c) && (joins || c->step != CHANGE_JOIN);
}

static int take_file(struct change *c, FILE *f, const char *path, char *err, size_t err_n)
{
	char line[LINE_MAX_OCTETS];
	bool joins = false;
	unsigned no = 0;
	while (fgets(line, sizeof line, f) != NULL)
		if (!take_line(c, &joins, ++no, line)) {
			snprintf(err, err_n, "%s:%u is not understood", path, no);
			return -1;
		}
	if (!ferror(f) && is_whole(c, joins, no))
		return 0;
	snprintf(err, err_n, "%s is not complete", path);
	return -1;
}

int change_read(struct change *ret, const char *dir, char *err, size_t err_n)
{
	char *path = mem_printf("%s/" CHANGE_NAME, dir);
	FILE *f = fopen(path, "re");
	int rc = 0;
	*ret = (struct change){0};
	if (f != NULL) {
		rc = take_file(ret, f, path, err, err_n);
		fclose(f);
	} else if (errno != ENOENT && errno != ENOTDIR) {
		snprintf(err, err_n, "%s cannot be read: %s", path, strerror(errno));
		rc = -1;
	}
	mem_free(path);
	if (rc != 0)
		change_done(ret);
	return rc;
}

/* ---- writing ---- */

static void put_line(struct buf *b, char *line)
{
	buf_put_slice(b, slice_str(line));
	mem_free(line);
}

int change_write(const struct change *c, const char *dir, char *err, size_t err_n)
{
	struct buf b = BUF_EMPTY;
	if (c->step == CHANGE_NONE)
		return kept_file_remove(dir, CHANGE_NAME, err, err_n);
	put_line(&b, mem_printf("warren change %d\nstep %s\nas %s\n", CHANGE_VERSION, steps[c->step],
			     change_joins(c) ? broker_node_type_name(c->type) : "none"));
	for (size_t i = 0; i < c->n_vias; i++)
		put_line(&b, mem_printf("via %s %s\n", c->vias[i].name, c->vias[i].address));
	int rc = kept_file_put(dir, CHANGE_NAME, buf_slice(&b), err, err_n);
	buf_done(&b);
	return rc;
}
