/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>

#include "src/broker/broker.h"

static pcre2_code *compile(struct slice pattern, int *error, PCRE2_SIZE *where)
{
	const uint8_t *p = pattern.p != NULL ? pattern.p : (const uint8_t *)"";
	return pcre2_compile(p, pattern.n, 0, error, where, NULL);
}

void *broker_pattern_compile(struct slice pattern)
{
	int error;
	PCRE2_SIZE where;
	return compile(pattern, &error, &where);
}

void broker_pattern_free(void *code)
{
	pcre2_code_free(code);
}

bool broker_pattern_matches(struct broker *b, const void *code, struct slice name)
{
	/* PCRE2 takes no NULL subject, not even an empty one. */
	const uint8_t *subject = name.p != NULL ? name.p : (const uint8_t *)"";
	return code != NULL && pcre2_match(code, subject, name.n, 0, 0, b->match_data,
				       b->match_context) >= 0;
}

bool broker_pattern_fault(struct slice pattern, char text[PATTERN_WHY_MAX], size_t *where)
{
	int error = 0;
	PCRE2_SIZE at = 0;
	pcre2_code *code = compile(pattern, &error, &at);
	if (code != NULL) {
		pcre2_code_free(code);
		return true;
	}
	pcre2_get_error_message(error, (PCRE2_UCHAR *)text, PATTERN_WHY_MAX);
	*where = at;
	return false;
}

bool broker_pattern_check(struct slice pattern, char *text, size_t cap)
{
	char why[PATTERN_WHY_MAX];
	size_t where;
	if (broker_pattern_fault(pattern, why, &where))
		return true;
	snprintf(text, cap, "%s", why);
	return false;
}
