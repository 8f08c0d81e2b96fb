/* SPDX-License-Identifier: Apache-2.0
 *
 * What the broker knows, as JSON values. All functions return a new reference. Any thread.
 */
#ifndef WARREN_MANAGE_JSON_H
#define WARREN_MANAGE_JSON_H

#include <jansson.h>

#include "src/broker/effective.h"

/* A string; octets that are not UTF-8 are taken for Latin-1. */
json_t *json_of_slice(struct slice s);
/* A field table (without its length) as [[key, type, value], ...]; types are RabbitMQ's words. */
json_t *json_of_table(struct slice table);
/* "a,b" as ["a", "b"]; empty: []. */
json_t *json_of_tags(struct slice tags);
/* "<node.incarnation.serial.channel>": what RabbitMQ shows as a process. */
json_t *json_of_pid(const char *node, uint64_t incarnation, uint64_t serial, unsigned channel);
/* The policy's name; "" if none applies. */
json_t *json_of_policy(const struct broker_effective *e);
/* A consumer within the cluster: its client's id, and its number there. */
json_t *json_of_consumer(uint64_t client, uint32_t consumer);

#endif
