/* SPDX-License-Identifier: Apache-2.0
 *
 * main() of the programs replay_WHAT: gives files to a fuzz target, each once, without libFuzzer.
 * So `make check` runs every corpus and every regression with any compiler.
 *
 *   replay_WHAT [FILE or DIRECTORY]...     by default $srcdir/tests/fuzz/{corpus,regressions}/WHAT
 */
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/buf.h"
#include "src/base/mem.h"
#include "tests/fuzz/fuzz.h"

static unsigned files;

static void die(const char *path)
{
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	exit(2);
}

static void replay_file(const char *path)
{
	enum { PIECE = 64 * 1024 };
	struct buf b = BUF_EMPTY;
	FILE *f = fopen(path, "rb");
	if (f == NULL)
		die(path);
	size_t n;
	do {
		buf_reserve(&b, PIECE);
		n = fread(b.p + b.n, 1, PIECE, f);
		b.n += n;
	} while (n > 0);
	if (ferror(f))
		die(path);
	fclose(f);
	/* The last line of a log tells which file it was. */
	printf("%s\n", path);
	fflush(stdout);
	struct slice exact = fuzz_exact(buf_slice(&b));
	buf_done(&b);
	LLVMFuzzerTestOneInput(exact.p, exact.n);
	fuzz_free(exact);
	files++;
}

static void replay(const char *path);

static void replay_directory(const char *path)
{
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort);
	if (n < 0)
		die(path);
	for (int i = 0; i < n; i++) {
		char *file = mem_printf("%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.')
			replay(file);
		mem_free(file);
		free(names[i]);
	}
	free(names);
}

static void replay(const char *path)
{
	struct stat st;
	if (stat(path, &st) != 0)
		die(path);
	if (S_ISDIR(st.st_mode))
		replay_directory(path);
	else
		replay_file(path);
}

static void replay_own(char *program)
{
	static const char prefix[] = "replay_";
	const char *root = getenv("srcdir");
	const char *what = basename(program);
	if (strncmp(what, prefix, sizeof prefix - 1) == 0)
		what += sizeof prefix - 1;
	char *corpus = mem_printf("%s/tests/fuzz/corpus/%s", root != NULL ? root : ".", what);
	char *regressions =
		mem_printf("%s/tests/fuzz/regressions/%s", root != NULL ? root : ".", what);
	struct stat st;
	replay(corpus);
	if (stat(regressions, &st) == 0)
		replay(regressions);
	mem_free(corpus);
	mem_free(regressions);
}

int main(int argc, char **argv)
{
	if (argc == 1)
		replay_own(argv[0]);
	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	printf("%u files replayed\n", files);
	return files > 0 ? 0 : 2;
}
