/* SPDX-License-Identifier: Apache-2.0 */
#include "src/manage/channels.h"

#include "src/manage/json.h"

void channels_each(const struct api_shard *s, const struct api_node *node, const json_t *args,
	json_t *rows, channels_fn *fn)
{
	LIST_EACH(link, &s->env->connections)
	{
		struct connection *c = LIST_ENTRY(link, struct connection, link);
		for (unsigned i = 0; c->state == CONNECTION_OPEN && i < c->n_slots; i++)
			if (c->channels[i] != NULL)
				fn(node, c, c->channels[i], args, rows);
	}
}

json_t *channels_pid(const struct api_node *node, const struct connection *c, unsigned channel)
{
	return json_of_pid(node->name, c->env->incarnation, c->serial, channel);
}

bool channels_in_vhost(const struct connection *c, const json_t *args)
{
	const json_t *v = json_object_get(args, "vhost");
	return slice_eq(c->vhost, json_is_string(v) ? slice_make(json_string_value(v), json_string_length(v))
						    : slice_str("/"));
}

json_t *channels_consumer(const struct connection *c, const struct consumer *co)
{
	return json_of_consumer(queue_clients_id(c->env->clients), co->queue.no);
}
