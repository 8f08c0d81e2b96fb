/* SPDX-License-Identifier: Apache-2.0
 *
 * Sizes as people write them, in RabbitMQ's units: "k" and "KiB" are 1024, "KB" is 1000, in any case.
 */
#ifndef WARREN_BASE_SIZE_H
#define WARREN_BASE_SIZE_H

#include <stdbool.h>
#include <stdint.h>

/* "1000", "512MiB", "2GB" in bytes. False if the text is no whole number with such a unit or none, or the size does
 * not fit. Any thread. */
bool size_parse(const char *text, uint64_t *ret);

#endif
