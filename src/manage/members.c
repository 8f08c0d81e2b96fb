/* SPDX-License-Identifier: Apache-2.0 */
#include "src/manage/members.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *member_id_put(char text[MEMBER_ID_MAX], uint64_t id)
{
	snprintf(text, MEMBER_ID_MAX, "%016" PRIx64, id);
	return text;
}

bool member_id_get(const char *text, uint64_t *ret)
{
	int used = 0;
	return sscanf(text, "%16" SCNx64 "%n", ret, &used) == 1 && text[used] == '\0' && *ret != 0;
}

/* What is written to a file of words and lines. */
static bool is_word(const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return false;
	return *text != '\0' && strlen(text) < 256;
}

static bool member_get(json_t *row, struct membership *ret)
{
	const char *id, *name, *address, *type;
	uint64_t n;
	if (json_unpack(row, "{ssssssss}", "id", &id, "name", &name, "address", &address, "type",
		    &type) != 0 ||
		!member_id_get(id, &n) || !is_word(name) || !is_word(address))
		return false;
	membership_add(ret, n, strcmp(type, "ram") == 0 ? BROKER_NODE_RAM : BROKER_NODE_DISC,
		slice_str(name), slice_str(address));
	return true;
}

bool members_get(const json_t *members, enum broker_node_type type, struct membership *ret)
{
	const char *id = json_string_value(json_object_get(members, "cluster_id"));
	const json_t *nodes = json_object_get(members, "nodes");
	bool good = id != NULL && json_array_size(nodes) > 0;
	*ret = (struct membership){.type = type};
	good = good && member_id_get(id, &ret->cluster_id);
	for (size_t i = 0; good && i < json_array_size(nodes); i++)
		good = member_get(json_array_get(nodes, i), ret);
	if (!good)
		membership_done(ret);
	return good;
}

json_t *members_join_args(uint64_t id, const char *name, const char *address, enum broker_node_type type, bool check)
{
	char text[MEMBER_ID_MAX];
	return json_pack("{sssssssssssb}", "id", member_id_put(text, id), "name", name, "address", address, "type",
		broker_node_type_name(type), "version", PACKAGE_VERSION, "check", check);
}
