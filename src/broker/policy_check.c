/* SPDX-License-Identifier: Apache-2.0
 *
 * RabbitMQ has validators by module; where several would refuse, one text is given, in this order:
 * that of the locator, of the general keys by name, of mirroring, of federation, of unknown keys.
 */
#include "src/broker/policy_check.h"

#include <stdio.h>


#include "src/broker/broker.h"
#include "src/broker/definition.h"
#include "src/broker/pattern.h"

/* ---- texts ---- */

static void put(struct buf *out, const char *text)
{
	buf_put_slice(out, slice_str(text));
}

/* False, with "<before><value><after>" as the reason. */
static bool refuse(struct buf *why, const char *before, json_t *value, const char *after)
{
	put(why, before);
	if (value != NULL)
		definition_put_term(why, value);
	put(why, after);
	return false;
}

/* ---- kinds of values ---- */

static bool is_text(json_t *v, const char *text)
{
	return json_is_string(v) && strcmp(json_string_value(v), text) == 0;
}

static bool is_one_of(json_t *v, const char *const *words)
{
	for (; *words != NULL; words++)
		if (is_text(v, *words))
			return true;
	return false;
}

static bool is_string(json_t *v)
{
	return json_is_string(v);
}

static bool is_count(json_t *v)
{
	return json_is_integer(v) && json_integer_value(v) >= 0;
}

static bool is_positive(json_t *v)
{
	return json_is_integer(v) && json_integer_value(v) > 0;
}

static bool is_segment_size(json_t *v)
{
	return is_count(v) && json_integer_value(v) <= 3000000000;
}

static bool is_strategy(json_t *v)
{
	return is_one_of(v, (const char *const[]){"at-most-once", "at-least-once", NULL});
}

static bool is_queue_mode(json_t *v)
{
	return is_one_of(v, (const char *const[]){"default", "lazy", NULL});
}

static bool is_queue_version(json_t *v)
{
	return json_is_integer(v) && (json_integer_value(v) == 1 || json_integer_value(v) == 2);
}

static bool is_overflow(json_t *v)
{
	return is_one_of(v, (const char *const[]){"drop-head", "reject-publish",
				     "reject-publish-dlx", NULL});
}

static bool is_leader_locator(json_t *v)
{
	return is_one_of(v, (const char *const[]){"client-local", "balanced", "random",
				     "least-leaders", NULL});
}

static bool is_master_locator(json_t *v)
{
	return is_one_of(
		v, (const char *const[]){"client-local", "min-masters", "random", NULL});
}

/* A positive number and one of Y M D h m s. */
static bool is_age(json_t *v)
{
	if (!json_is_string(v))
		return false;
	const char *s = json_string_value(v);
	size_t digits = strspn(s, "0123456789");
	return digits > 0 && strspn(s, "0") < digits && s[digits] != '\0' &&
	       strchr("YMDhms", s[digits]) != NULL && s[digits + 1] == '\0';
}

/* ---- general keys ---- */

static const struct key_rule {
	const char *key;
	bool (*is)(json_t *v);
	const char *refusal; /* behind the value */
	bool for_operator;   /* operator policies may have it */
} rules[] = {
	{"alternate-exchange", is_string, " is not a valid alternate exchange name", false},
	{"dead-letter-exchange", is_string, " is not a valid dead letter exchange name", false},
	{"dead-letter-routing-key", is_string, " is not a valid dead letter routing key", false},
	{"dead-letter-strategy", is_strategy, " is not a valid dead letter strategy", false},
	{"delivery-limit", is_count, " is not a valid delivery limit", true},
	{"expires", is_positive, " is not a valid queue expiry", true},
	{"initial-cluster-size", is_count, " is not a valid cluster size", false},
	{"max-age", is_age, " is not a valid max age", false},
	{"max-in-memory-bytes", is_count, " is not a valid maximum memory in bytes", true},
	{"max-in-memory-length", is_count, " is not a valid maximum memory in bytes", true},
	{"max-length", is_count, " is not a valid maximum length", true},
	{"max-length-bytes", is_count, " is not a valid maximum length in bytes", true},
	{"message-ttl", is_count, " is not a valid message TTL", true},
	{"overflow", is_overflow, " is not a valid overflow value", false},
	{"queue-leader-locator", is_leader_locator, " is not a valid queue leader locator value",
		false},
	{"queue-mode", is_queue_mode, " is not a valid queue-mode value", false},
	{"queue-version", is_queue_version, " is not a valid queue-version value", false},
	{"stream-max-segment-size-bytes", is_segment_size, " is not a valid segment size", false},
};

static bool check_general(json_t *definition, bool for_operator, struct buf *why)
{
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
		json_t *v = json_object_get(definition, rules[i].key);
		if (v != NULL && (rules[i].for_operator || !for_operator) && !rules[i].is(v))
			return refuse(why, "", v, rules[i].refusal);
	}
	return true;
}

static bool check_locator(json_t *definition, struct buf *why)
{
	json_t *v = json_object_get(definition, "queue-master-locator");
	return v == NULL || is_master_locator(v) ||
	       refuse(why, "", v, " invalid queue-master-locator value");
}

/* ---- mirroring ---- */

static bool check_names(json_t *params, struct buf *why)
{
	size_t i;
	json_t *v, *others = json_array();
	if (!json_is_array(params)) {
		json_decref(others);
		if (params != NULL)
			return refuse(why, "ha-mode=\"nodes\" takes a list, ", params, " given");
		return refuse(why, "ha-mode=\"nodes\" takes a list, none given", NULL, "");
	}
	json_array_foreach(params, i, v)
	{
		if (!json_is_string(v))
			json_array_append(others, v);
	}
	bool ok = json_array_size(others) == 0 ||
		  refuse(why, "ha-mode=\"nodes\" takes a list of strings, ", others,
			  " was not a string");
	json_decref(others);
	if (ok && json_array_size(params) == 0)
		return refuse(why, "ha-mode=\"nodes\" list must be non-empty", NULL, "");
	return ok;
}

static bool check_ha_params(json_t *mode, json_t *params, struct buf *why)
{
	if (is_text(mode, "all"))
		return params == NULL ||
		       refuse(why, "ha-mode=\"all\" does not take parameters", NULL, "");
	if (is_text(mode, "nodes"))
		return check_names(params, why);
	if (params == NULL)
		return refuse(why, "ha-mode=\"exactly\" takes an integer, none given", NULL, "");
	return is_positive(params) ||
	       refuse(why, "ha-mode=\"exactly\" takes an integer, ", params, " given");
}

static bool check_ha_sync(json_t *definition, struct buf *why)
{
	static const char *const modes[] = {"automatic", "manual", NULL};
	json_t *mode = json_object_get(definition, "ha-sync-mode");
	json_t *size = json_object_get(definition, "ha-sync-batch-size");
	if (mode != NULL && !is_one_of(mode, modes))
		return refuse(why, "ha-sync-mode must be \"manual\" or \"automatic\", got ", mode,
			"");
	return size == NULL || is_positive(size) ||
	       refuse(why, "ha-sync-batch-size takes an integer greater than 0, ", size, " given");
}

static bool check_ha_promote(json_t *definition, struct buf *why)
{
	static const char *const words[] = {"always", "when-synced", NULL};
	static const char *const keys[] = {"ha-promote-on-shutdown", "ha-promote-on-failure"};
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		json_t *v = json_object_get(definition, keys[i]);
		if (v == NULL || is_one_of(v, words))
			continue;
		put(why, keys[i]);
		return refuse(why, " must be \"always\" or \"when-synced\", got ", v, "");
	}
	return true;
}

static const char *const ha_keys[] = {"ha-mode", "ha-params", "ha-sync-mode", "ha-sync-batch-size",
	"ha-promote-on-shutdown", "ha-promote-on-failure"};
enum { HA_KEYS = sizeof ha_keys / sizeof *ha_keys, HA_OPERATOR_KEYS = 3 /* the first ones */ };

static bool check_ha(json_t *definition, bool for_operator, struct buf *why)
{
	static const char *const modes[] = {"all", "exactly", "nodes", NULL};
	json_t *mode = json_object_get(definition, "ha-mode");
	bool any = false;
	for (size_t i = 0; i < (for_operator ? HA_OPERATOR_KEYS : HA_KEYS); i++)
		any |= json_object_get(definition, ha_keys[i]) != NULL;
	if (!any)
		return true;
	if (mode == NULL)
		return refuse(why,
			"ha-mode must be specified to specify ha-params, ha-sync-mode or "
			"ha-promote-on-shutdown",
			NULL, "");
	if (!is_one_of(mode, modes))
		return refuse(why, "", mode, " is not a valid ha-mode value");
	return check_ha_params(mode, json_object_get(definition, "ha-params"), why) &&
	       check_ha_sync(definition, why) && check_ha_promote(definition, why);
}

/* ---- federation ---- */

static const char *const federation_keys[] = {
	"federation-upstream", "federation-upstream-set", "federation-upstream-pattern"};
enum { FEDERATION_KEYS = sizeof federation_keys / sizeof *federation_keys };

static bool check_federation(json_t *definition, struct buf *why)
{
	static const char *const refusals[] = {" is not a valid federation upstream name",
		" is not a valid federation upstream set name",
		" is not a valid federation upstream pattern name"};
	json_t *first = NULL;
	const char *refusal = "";
	for (size_t i = 0; i < FEDERATION_KEYS; i++) {
		json_t *v = json_object_get(definition, federation_keys[i]);
		if (v != NULL && first != NULL)
			return refuse(why,
				"cannot specify federation-upstream, federation-upstream-set or "
				"federation-upstream-pattern together",
				NULL, "");
		if (v != NULL) {
			first = v;
			refusal = refusals[i];
		}
	}
	return first == NULL || json_is_string(first) || refuse(why, "", first, refusal);
}

/* ---- unknown keys ---- */

static bool is_among(const char *key, const char *const *keys, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(key, keys[i]) == 0)
			return true;
	return false;
}

static bool is_known(const char *key, bool for_operator)
{
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
		if (strcmp(key, rules[i].key) == 0)
			return rules[i].for_operator || !for_operator;
	if (for_operator)
		return is_among(key, ha_keys, HA_OPERATOR_KEYS);
	return strcmp(key, "queue-master-locator") == 0 || is_among(key, ha_keys, HA_KEYS) ||
	       is_among(key, federation_keys, FEDERATION_KEYS);
}

static bool check_known(json_t *definition, bool for_operator, struct buf *why)
{
	const char *key;
	json_t *v;
	struct buf unknown = BUF_EMPTY;
	json_object_foreach(definition, key, v)
	{
		if (is_known(key, for_operator))
			continue;
		put(&unknown, unknown.n > 0 ? ",{" : "{");
		json_t *name = json_string(key);
		definition_put_term(&unknown, name);
		json_decref(name);
		put(&unknown, ",");
		definition_put_term(&unknown, v);
		put(&unknown, "}");
	}
	bool ok = unknown.n == 0;
	if (!ok) {
		put(why, "[");
		buf_put_slice(why, buf_slice(&unknown));
		put(why, "] are not recognised policy settings");
	}
	buf_done(&unknown);
	return ok;
}

/* ---- all of it ---- */

static bool check_definition(json_t *definition, bool for_operator, struct buf *why)
{
	if (!json_is_object(definition))
		return refuse(why, "definition must be a dictionary: ", definition, "");
	if (json_object_size(definition) == 0)
		return refuse(why, "no policy provided", NULL, "");
	return (for_operator || check_locator(definition, why)) &&
	       check_general(definition, for_operator, why) &&
	       check_ha(definition, for_operator, why) &&
	       (for_operator || check_federation(definition, why)) &&
	       check_known(definition, for_operator, why);
}

static bool check_apply_to(
	const struct policy_text *text, enum broker_apply_to *ret, struct buf *why)
{
	*ret = BROKER_APPLY_TO_ALL;
	if (text->apply_to.n == 0 || broker_apply_to_of(text->apply_to, ret))
		return true;
	put(why, "apply-to '");
	buf_put_slice(why, text->apply_to);
	put(why, "' unrecognised; should be 'queues', 'exchanges' or 'all'");
	return false;
}

static bool check_pattern(const struct policy_text *text, struct buf *why)
{
	char reason[PATTERN_WHY_MAX];
	size_t where = 0;
	if (broker_pattern_fault(text->pattern, reason, &where))
		return true;
	char term[PATTERN_WHY_MAX + 32];
	snprintf(term, sizeof term, "{\"%s\",%zu}", reason, where);
	put(why, "pattern should be regular expression but is invalid: ");
	put(why, term);
	return false;
}

/* Each fault is a line. */
static void end_line(struct buf *why, bool ok)
{
	if (!ok)
		buf_put_u8(why, '\n');
}

static bool check_all(const struct policy_text *text, json_t *definition,
	struct broker_policy_spec *ret, struct buf *why)
{
	struct buf lines = BUF_EMPTY;
	bool sound = check_definition(definition, text->kind == BROKER_POLICY_OPERATOR, &lines);
	end_line(&lines, sound);
	bool known = check_apply_to(text, &ret->apply_to, &lines);
	end_line(&lines, known);
	bool regular = check_pattern(text, &lines);
	end_line(&lines, regular);
	if (lines.n > 0) {
		put(why, "Validation failed\n\n");
		buf_put_bytes(why, lines.p, lines.n - 1);
	}
	buf_done(&lines);
	return sound && known && regular;
}

/* jansson's words, but for the one fault that RabbitMQ has words for. */
static void put_json_error(struct buf *why, const json_error_t *error)
{
	const char *key = strchr(error->text, '"');
	const char *end = strrchr(error->text, '"');
	if (json_error_code(error) == json_error_duplicate_key && key != NULL && end > key) {
		put(why, "Validation failed\n\n[<<");
		buf_put_bytes(why, key, (size_t)(end - key) + 1);
		put(why, ">>] duplicate keys not allowed");
		return;
	}
	put(why, "JSON decoding error. Reason: ");
	put(why, error->text);
}

bool policy_check(const struct policy_text *text, struct broker_policy_spec *ret,
	struct buf *table, struct buf *why)
{
	json_error_t error;
	json_t *definition = json_loadb((const char *)text->definition.p, text->definition.n,
		JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (definition == NULL) {
		put_json_error(why, &error);
		return false;
	}
	bool ok = check_all(text, definition, ret, why);
	/* What is known has short keys and at most a list as its value. */
	if (ok)
		definition_put_table(table, definition);
	json_decref(definition);
	ret->pattern = text->pattern;
	ret->definition = buf_slice(table);
	return ok;
}
