/* SPDX-License-Identifier: Apache-2.0
 *
 * The formats on disk, held fast by golden files (golden/NAME.hex): what this program writes is what
 * they say, what they say is read, and every shortened, lengthened or flipped form is refused.
 * WARREN_GOLDEN=write writes the files anew, which is right only together with a new version.
 */
#include "tests/unit/storage/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "storage/directory.h"
#include "storage/format.h"
#include "storage/journal.h"
#include "storage/lmdb_log.h"

static char *golden_path(const char *name)
{
	const char *file = __FILE__;
	return mem_printf("%.*s/golden/%s.hex", (int)(strrchr(file, '/') - file), file, name);
}

static void golden_write(const char *name, struct slice bytes)
{
	char *path = golden_path(name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	for (size_t i = 0; i < bytes.n; i++)
		fprintf(f, "%02x%s", bytes.p[i], i % 16 == 15 || i + 1 == bytes.n ? "\n" : " ");
	fclose(f);
	mem_free(path);
}

static void golden_read(const char *name, struct buf *b)
{
	char *path = golden_path(name);
	FILE *f = fopen(path, "r");
	unsigned byte;
	if (f == NULL)
		fail_msg("%s is missing", path);
	while (fscanf(f, "%2x", &byte) == 1)
		buf_put_u8(b, (uint8_t)byte);
	fclose(f);
	mem_free(path);
}

typedef int (*decoder)(struct slice value);

/* Everything that is nearly right must be refused; newer versions with their own error. */
static void check_refusals(struct slice good, decoder decode)
{
	uint8_t *p = mem_alloc(good.n + 1);
	assert_int_equal(decode(good), 0);
	for (size_t n = 0; n < good.n; n++) {
		uint8_t *shorter = mem_dup(good.p, n); /* its end is where a sanitizer sees it */
		assert_int_equal(decode(slice_make(shorter, n)), STORE_DAMAGED);
		mem_free(shorter);
	}
	memcpy(p, good.p, good.n);
	p[good.n] = 0;
	assert_int_equal(decode(slice_make(p, good.n + 1)), STORE_DAMAGED);
	for (size_t bit = 0; bit < good.n * 8; bit++) {
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		int rc = decode(slice_make(p, good.n));
		assert_true(rc == STORE_DAMAGED || rc == STORE_NEWER);
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	mem_free(p);
}

static void check_golden(const char *name, struct slice bytes, decoder decode)
{
	struct buf golden = BUF_EMPTY;
	if (getenv("WARREN_GOLDEN") != NULL)
		golden_write(name, bytes);
	golden_read(name, &golden);
	assert_true(slice_eq(buf_slice(&golden), bytes));
	check_refusals(buf_slice(&golden), decode);
	buf_done(&golden);
}

static int decode_meta(struct slice value)
{
	struct store_identity id;
	uint64_t generation;
	unsigned format;
	int rc = meta_decode(value, &id, &generation, &format);
	if (rc == 0) {
		assert_int_equal(id.node_id, 0x1122334455667788);
		assert_int_equal(id.incarnation, 42);
		assert_int_equal(generation, format == 1 ? 0 : 99);
	}
	return rc;
}

static void meta(void **state)
{
	(void)state;
	uint8_t bytes[META_BYTES];
	const struct store_identity id = {.node_id = 0x1122334455667788, .incarnation = 42};
	meta_encode(bytes, &id, 99);
	check_golden("meta", slice_make(bytes, sizeof bytes), decode_meta);
}

/* As it was before there was a journal. */
static void meta_of_format_1(void **state)
{
	(void)state;
	struct buf golden = BUF_EMPTY;
	golden_read("meta_1", &golden);
	check_refusals(buf_slice(&golden), decode_meta);
	buf_done(&golden);
}

/* ---- the journal ---- */

static char journal_dir[] = "/tmp/warren-format-XXXXXX";

enum { JOURNAL_NODE = 77, JOURNAL_GENERATION = 3 };

static int each_request(void *arg, uint64_t log, struct store_req *req)
{
	unsigned *n = arg;
	if (*n == 0) {
		assert_int_equal(log, 0x0102030405060708);
		assert_int_equal(req->op, STORE_OP_HARD);
		assert_int_equal(req->u.hard.term, 9);
		assert_int_equal(req->u.hard.vote, 10);
	} else if (*n == 1) {
		const struct store_entry *e = req->u.append.entries;
		assert_int_equal(log, 11);
		assert_int_equal(req->op, STORE_OP_APPEND);
		assert_int_equal(req->u.append.first, 12);
		assert_int_equal(req->u.append.n, 2);
		assert_int_equal(e[0].term, 13);
		assert_int_equal(e[0].type, 14);
		assert_true(slice_is(slice_make(e[0].p, e[0].n), "first"));
		assert_int_equal(e[1].n, 0);
	} else if (*n == 2) {
		assert_int_equal(req->op, STORE_OP_TRUNCATE);
		assert_int_equal(req->u.truncate.index, 15);
	} else {
		assert_int_equal(req->op, STORE_OP_DROP);
	}
	++*n;
	return 0;
}

static void add_request(struct list *requests, struct store_log *log, struct store_req *req)
{
	req->log = log;
	list_push_back(requests, &req->link);
}

/* All kinds, in one record. */
static void write_requests(struct journal *j)
{
	struct list requests;
	struct group_state one_group = {.id = 0x0102030405060708}, two_group = {.id = 11};
	struct lmdb_log one = {.group = &one_group}, two = {.group = &two_group};
	struct store_entry entries[] = {
		{.term = 13, .type = 14, .p = (const uint8_t *)"first", .n = 5}, {.term = 13, .type = 1}};
	struct store_req hard = {.op = STORE_OP_HARD}, append = {.op = STORE_OP_APPEND};
	struct store_req truncate = {.op = STORE_OP_TRUNCATE}, drop = {.op = STORE_OP_DROP};
	hard.u.hard.term = 9;
	hard.u.hard.vote = 10;
	append.u.append.first = 12;
	append.u.append.entries = entries;
	append.u.append.n = 2;
	truncate.u.truncate.index = 15;
	list_init(&requests);
	add_request(&requests, &one.base, &hard);
	add_request(&requests, &two.base, &append);
	add_request(&requests, &two.base, &truncate);
	add_request(&requests, &two.base, &drop);
	assert_true(journal_takes(j, &requests));
	assert_int_equal(journal_write(j, &requests), 0);
}

static struct buf journal_bytes(const char *path)
{
	struct buf b = BUF_EMPTY;
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fread(buf_put(&b, JOURNAL_BYTES), 1, JOURNAL_BYTES, f), JOURNAL_BYTES);
	fclose(f);
	return b;
}

static void check_journal_bytes(const char *name, struct slice bytes)
{
	struct buf golden = BUF_EMPTY;
	if (getenv("WARREN_GOLDEN") != NULL)
		golden_write(name, bytes);
	golden_read(name, &golden);
	assert_true(slice_eq(buf_slice(&golden), bytes));
	buf_done(&golden);
}

static void journal(void **state)
{
	(void)state;
	struct journal j;
	const char *why;
	unsigned n = 0;
	assert_non_null(mkdtemp(journal_dir));
	char *path = mem_printf("%s/journal", journal_dir);
	assert_int_equal(journal_create(&j, journal_dir, JOURNAL_NODE), 0);
	/* What is random otherwise. */
	uint8_t header[JOURNAL_HEADER];
	j.salt = 0x1122334455667788;
	journal_header_encode(header, &j, JOURNAL_NODE);
	assert_int_equal(pwrite(j.fd, header, sizeof header, 0), sizeof header);
	journal_restart(&j, JOURNAL_GENERATION);
	write_requests(&j);
	journal_close(&j);

	struct buf b = journal_bytes(path);
	check_journal_bytes("journal_header", slice_make(b.p, JOURNAL_HEADER));
	check_journal_bytes("journal_record", slice_make(b.p + JOURNAL_BLOCK, 192));
	for (size_t i = JOURNAL_BLOCK + 192; i < b.n; i++)
		assert_int_equal(b.p[i], 0);
	buf_done(&b);

	assert_int_equal(journal_open(&j, journal_dir, JOURNAL_NODE, false), 0);
	assert_int_equal(journal_read(&j, JOURNAL_GENERATION, each_request, &n, &why), 0);
	assert_int_equal(n, 4);
	journal_close(&j);
	remove(path);
	remove(journal_dir);
	mem_free(path);
}

static int decode_hard(struct slice value)
{
	struct hard_row row;
	int rc = hard_decode(value, 77, &row);
	if (rc == 0) {
		assert_int_equal(row.term, 3);
		assert_int_equal(row.vote, 0x0102030405060708);
		assert_int_equal(row.since, 9);
		assert_false(row.staged);
	}
	return rc;
}

static int decode_staged(struct slice value)
{
	struct hard_row row;
	int rc = hard_decode(value, 77 | STORE_GROUP_END, &row);
	if (rc == 0) {
		assert_int_equal(row.since, 9);
		assert_true(row.staged);
	}
	return rc;
}

static void hard(void **state)
{
	(void)state;
	uint8_t bytes[HARD_BYTES];
	struct hard_row row = {.term = 3, .vote = 0x0102030405060708, .since = 9};
	hard_encode(bytes, 77, &row);
	check_golden("hard", slice_make(bytes, sizeof bytes), decode_hard);
	struct hard_row staged = {.since = 9, .staged = true};
	uint8_t other[HARD_BYTES];
	hard_encode(other, 77 | STORE_GROUP_END, &staged);
	check_golden("staged", slice_make(other, sizeof other), decode_staged);
	/* under another key it is damage, too */
	assert_int_equal(hard_decode(slice_make(bytes, sizeof bytes), 78, &row), STORE_DAMAGED);
}

static int decode_snap(struct slice value)
{
	struct snap_row row;
	int rc = snap_decode(value, 77, &row);
	if (rc == 0) {
		assert_int_equal(row.index, 1000);
		assert_int_equal(row.term, 5);
		assert_int_equal(row.conf_index, 7);
		assert_true(slice_is(row.conf, "members"));
		assert_true(slice_is(row.data, "the state of the machine"));
	}
	return rc;
}

static void snap(void **state)
{
	(void)state;
	const struct snap_row row = {
		.index = 1000,
		.term = 5,
		.conf_index = 7,
		.conf = slice_str("members"),
		.data = slice_str("the state of the machine"),
	};
	uint8_t bytes[256];
	snap_encode(bytes, 77, &row);
	check_golden("snap", slice_make(bytes, snap_bytes(&row)), decode_snap);
}

static int decode_row(struct slice stored)
{
	struct slice value;
	int rc = row_decode(stored, slice_str("queue/orders"), &value);
	if (rc == 0)
		assert_true(slice_is(value, "durable"));
	return rc;
}

static void row(void **state)
{
	(void)state;
	uint8_t bytes[64];
	row_encode(bytes, slice_str("queue/orders"), slice_str("durable"));
	check_golden("row", slice_make(bytes, ROW_HEADER + 7), decode_row);
}

static const struct slot slots[] = {
	{.group = 1, .index = 10, .term = 2, .checksum = 0x1111, .length = 100, .type = 3},
	{.group = 1, .index = 11, .term = 2, .checksum = 0x2222, .length = 0, .flags = DIRECTORY_MOVED},
	{.group = UINT64_MAX, .index = 1, .term = 9, .checksum = 0x3333, .length = 7, .type = 0xffff},
};

static void compare_slots(struct directory *d)
{
	struct slot s;
	uint32_t offset = RECORD_HEADER;
	assert_int_equal(d->n, 3);
	assert_int_equal(d->record_bytes, RECORD_HEADER + 107);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(directory_next(d, &s));
		assert_int_equal(s.group, slots[i].group);
		assert_int_equal(s.index, slots[i].index);
		assert_int_equal(s.term, slots[i].term);
		assert_int_equal(s.checksum, slots[i].checksum);
		assert_int_equal(s.length, slots[i].length);
		assert_int_equal(s.type, slots[i].type);
		assert_int_equal(s.flags, slots[i].flags);
		assert_int_equal(s.offset, offset);
		offset += s.length;
	}
	assert_false(directory_next(d, &s));
}

static int decode_dir(struct slice value)
{
	struct directory d;
	int rc = directory_open(&d, value, 1234);
	if (rc == 0)
		compare_slots(&d);
	return rc;
}

static void dir(void **state)
{
	(void)state;
	struct buf b = BUF_EMPTY;
	directory_begin(&b, 3, RECORD_HEADER + 107);
	for (unsigned i = 0; i < 3; i++)
		directory_add(&b, &slots[i]);
	directory_seal(&b, 1234);
	assert_int_equal(b.n + RECORD_HEADER + 107, record_footprint(3, 107));
	check_golden("dir", buf_slice(&b), decode_dir);
	/* marking a slot */
	struct directory d;
	struct slot s;
	directory_unseal(&b);
	directory_mark(&b, 1, DIRECTORY_TRUNCATED);
	directory_seal(&b, 1234);
	assert_int_equal(directory_open(&d, buf_slice(&b), 1234), 0);
	assert_true(directory_next(&d, &s) && s.flags == 0);
	assert_true(directory_next(&d, &s) && s.flags == (DIRECTORY_MOVED | DIRECTORY_TRUNCATED));
	assert_int_equal(directory_open(&d, buf_slice(&b), 1235), STORE_DAMAGED);
	buf_done(&b);
}

static void record(void **state)
{
	(void)state;
	struct buf golden = BUF_EMPTY;
	uint8_t bytes[RECORD_HEADER + 5];
	record_encode_header(bytes, 1);
	memcpy(bytes + RECORD_HEADER, "entry", 5);
	if (getenv("WARREN_GOLDEN") != NULL)
		golden_write("log", slice_make(bytes, sizeof bytes));
	golden_read("log", &golden);
	assert_true(slice_eq(buf_slice(&golden), slice_make(bytes, sizeof bytes)));
	assert_int_equal(record_check_header(buf_slice(&golden), 1), 0);
	assert_int_equal(record_check_header(buf_slice(&golden), 2), STORE_DAMAGED);
	assert_int_equal(record_check_header(slice_make(bytes, 7), 1), STORE_DAMAGED);
	bytes[1]++;
	assert_int_equal(record_check_header(slice_make(bytes, sizeof bytes), 1), STORE_NEWER);
	/* the entry's checksum is part of the format */
	assert_true(entry_checksum(1, 2, 3, "entry", 5) == 0x6d7e42148dcdbe4e);
	buf_done(&golden);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(meta),
		cmocka_unit_test(meta_of_format_1),
		cmocka_unit_test(journal),
		cmocka_unit_test(hard),
		cmocka_unit_test(snap),
		cmocka_unit_test(row),
		cmocka_unit_test(dir),
		cmocka_unit_test(record),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
