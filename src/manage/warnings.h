/* SPDX-License-Identifier: Apache-2.0
 *
 * What an operator should look at, as far as this node can tell. Worker 0, while clients are served.
 */
#ifndef WARREN_MANAGE_WARNINGS_H
#define WARREN_MANAGE_WARNINGS_H

#include "src/manage/api.h"

/* Sentences, an array; a new reference. */
json_t *warnings_now(const struct api_call *c);
/* It is this node, or there is a link to it. */
bool warnings_reaches(const struct api_call *c, const struct broker_node *n);
/* It is up as the table has it, and in reach. The first alone says little: nobody is called down without a majority. */
bool warnings_runs(const struct api_call *c, const struct broker_node *n);

#endif
