/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/configuration.h"

enum { CONFIGURATION_FORMAT = 1 };

static bool role_is_known(int role)
{
	return role == RAFT_STANDBY || role == RAFT_VOTER || role == RAFT_SPARE;
}

static int decode_server(struct raft_configuration *conf, struct reader *r)
{
	uint64_t id = get_u64le(r);
	const uint8_t *address = r->p;
	size_t left = reader_left(r);
	const uint8_t *end = left > 0 ? memchr(address, 0, left) : NULL;
	if (end == NULL)
		return -1;
	get_bytes(r, (size_t)(end - address) + 1);
	int role = get_u8(r);
	if (r->bad || !role_is_known(role))
		return -1;
	return raft_configuration_add(conf, id, (const char *)address, role) == 0 ? 0 : -1;
}

int configuration_decode(struct raft_configuration *ret_conf, struct slice bytes)
{
	struct reader r = reader_of(bytes);
	struct raft_configuration conf;
	raft_configuration_init(&conf);
	int format = get_u8(&r);
	uint64_t n = get_u64le(&r);
	if (r.bad || format != CONFIGURATION_FORMAT)
		return -1;
	for (uint64_t i = 0; i < n; i++) {
		if (decode_server(&conf, &r) != 0) {
			raft_configuration_close(&conf);
			return -1;
		}
	}
	*ret_conf = conf;
	return 0;
}

bool configuration_sole_voter(const struct raft_configuration *conf, uint64_t id)
{
	bool self = false;
	unsigned voters = 0;
	for (unsigned i = 0; i < conf->n; i++) {
		if (conf->servers[i].role != RAFT_VOTER)
			continue;
		voters++;
		self = self || conf->servers[i].id == id;
	}
	return self && voters == 1;
}
