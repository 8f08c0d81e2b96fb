/* SPDX-License-Identifier: Apache-2.0
 *
 * Files and lines: to keys and values, which config_set() takes.
 */
#include "src/daemon/config_priv.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/buf.h"
#include "src/base/mem.h"

enum {
	MALFORMED_TOLD = 10, /* lines of a file; the others are only counted */
};

/* ---- lines ---- */

static struct slice trim(struct slice s)
{
	while (s.n > 0 && isspace(s.p[0]))
		s = slice_make(s.p + 1, s.n - 1);
	while (s.n > 0 && isspace(s.p[s.n - 1]))
		s.n--;
	return s;
}

static bool key_valid(struct slice key)
{
	for (size_t i = 0; i < key.n; i++) {
		if (!isalnum(key.p[i]) && strchr("_.-\\@%/", key.p[i]) == NULL)
			return false;
	}
	return key.n > 0;
}

/* Takes quotes and comment off. Returns NULL, or what is wrong. */
static const char *value_strip(struct slice *v)
{
	uint8_t quote = v->n > 0 ? v->p[0] : 0;
	if (quote != '\'' && quote != '"') {
		const uint8_t *hash = v->n > 0 ? memchr(v->p, '#', v->n) : NULL;
		if (hash != NULL)
			*v = trim(slice_make(v->p, (size_t)(hash - v->p)));
		return v->n > 0 ? NULL : "no value";
	}
	const uint8_t *end = memchr(v->p + 1, quote, v->n - 1);
	if (end == NULL)
		return "a quote is not closed";
	struct slice rest = trim(slice_make(end + 1, (size_t)(v->p + v->n - end - 1)));
	if (rest.n > 0 && rest.p[0] != '#')
		return "something follows the closing quote";
	*v = slice_make(v->p + 1, (size_t)(end - v->p - 1));
	return NULL;
}

/* Returns NULL with an empty key for a line without a setting, or what is wrong. */
static const char *line_split(struct slice line, struct slice *ret_key, struct slice *ret_value)
{
	*ret_key = *ret_value = slice_make(NULL, 0);
	line = trim(line);
	if (line.n == 0 || line.p[0] == '#')
		return NULL;
	if (line.n > CONFIG_LINE_MAX)
		return "the line is too long";
	if (memchr(line.p, '\0', line.n) != NULL)
		return "the line has a NUL byte";
	const uint8_t *equals = memchr(line.p, '=', line.n);
	if (equals == NULL)
		return "no \"=\"";
	size_t at = (size_t)(equals - line.p);
	*ret_key = trim(slice_make(line.p, at));
	*ret_value = trim(slice_make(equals + 1, line.n - at - 1));
	return key_valid(*ret_key) ? value_strip(ret_value) : "the key is malformed";
}

static int pair_apply(struct config *c, const char *where, struct slice k, struct slice v)
{
	if (k.n == 0)
		return 0;
	char *key = mem_printf("%.*s", SLICE_FMT(k));
	char *value = mem_printf("%.*s", SLICE_FMT(v));
	int rc = config_set(c, where, key, value);
	mem_free(key);
	mem_free(value);
	return rc;
}

/* A text under way, line by line. */
struct lines {
	const char *name;
	unsigned no;
	unsigned malformed;
};

static int line_apply(struct config *c, struct lines *l, struct slice line)
{
	struct slice k, v;
	const char *wrong = line_split(line, &k, &v);
	if (wrong != NULL && ++l->malformed > MALFORMED_TOLD)
		return -1;
	int rc = -1;
	char *where = mem_printf("%s:%u", l->name, l->no);
	if (wrong != NULL)
		config_say(c, LOG_ERROR, "%s: %s", where, wrong);
	else
		rc = pair_apply(c, where, k, v);
	mem_free(where);
	return rc;
}

/* Some editors begin a file in UTF-8 with one. */
static struct slice without_byte_order_mark(struct slice text)
{
	static const uint8_t mark[] = {0xef, 0xbb, 0xbf};
	if (text.n < sizeof mark || memcmp(text.p, mark, sizeof mark) != 0)
		return text;
	return slice_make(text.p + sizeof mark, text.n - sizeof mark);
}

int config_parse(struct config *c, const char *name, struct slice text)
{
	struct lines l = {.name = name};
	int rc = 0;
	text = without_byte_order_mark(text);
	while (text.n > 0) {
		const uint8_t *end = memchr(text.p, '\n', text.n);
		size_t n = end != NULL ? (size_t)(end - text.p) : text.n;
		l.no++;
		rc |= line_apply(c, &l, slice_make(text.p, n));
		n += end != NULL;
		text = slice_make(text.p + n, text.n - n);
	}
	if (l.malformed > MALFORMED_TOLD)
		config_say(c, LOG_ERROR, "%s:%u: %u malformed lines more; is it a configuration file?", name,
			l.no, l.malformed - MALFORMED_TOLD);
	return rc;
}

bool config_pair_valid(const char *pair)
{
	struct slice k, v;
	return line_split(slice_str(pair), &k, &v) == NULL && k.n > 0;
}

int config_set_pair(struct config *c, const char *pair)
{
	if (!config_pair_valid(pair)) {
		config_say(c, LOG_ERROR, "-s %.*s: not KEY=VALUE", (int)strcspn(pair, "="), pair);
		return -1;
	}
	struct slice k, v;
	line_split(slice_str(pair), &k, &v);
	return pair_apply(c, "-s", k, v);
}

/* ---- files ---- */

/* A directory may hold anything. Opening a FIFO would wait for its writer. */
static bool is_regular(struct config *c, const char *path)
{
	struct stat st;
	if (stat(path, &st) != 0 || S_ISREG(st.st_mode)) /* what cannot be asked cannot be read */
		return true;
	config_say(c, LOG_ERROR, "cannot read %s: it is not a regular file", path);
	return false;
}

/* Returns 0 or an errno. */
static int load(FILE *f, struct buf *to)
{
	enum { PIECE = 16 * 1024 };
	while (!feof(f)) {
		buf_reserve(to, PIECE);
		to->n += fread(to->p + to->n, 1, PIECE, f);
		if (ferror(f))
			return errno;
		if (to->n > CONFIG_FILE_MAX)
			return EFBIG;
	}
	return 0;
}

static int read_file(struct config *c, const char *path)
{
	struct buf text = BUF_EMPTY;
	FILE *f = fopen(path, "re");
	int err = f != NULL ? load(f, &text) : errno;
	if (f != NULL)
		fclose(f);
	int rc = -1;
	if (err != 0)
		config_say(c, LOG_ERROR, "cannot read %s: %s", path, strerror(err));
	else
		rc = config_parse(c, path, buf_slice(&text));
	buf_done(&text);
	return rc;
}

static int is_conf(const struct dirent *d)
{
	size_t n = strlen(d->d_name);
	return n > 5 && d->d_name[0] != '.' && strcmp(d->d_name + n - 5, ".conf") == 0;
}

/* Not alphasort(): the order must not depend on the locale. */
static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

int config_read(struct config *c, const char *path)
{
	struct dirent **files;
	int n = scandir(path, &files, is_conf, by_bytes);
	if (n < 0)
		return read_file(c, path);
	int rc = 0;
	for (int i = 0; i < n; i++) {
		char *file = mem_printf("%s/%s", path, files[i]->d_name);
		if (!is_regular(c, file) || read_file(c, file) != 0)
			rc = -1;
		mem_free(file);
		free(files[i]);
	}
	free(files);
	return rc;
}
