/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the control socket of a node is: NAME.sock in the run directory, which is $WARREN_RUN_DIR,
 * else /run/warren for root and the user that owns it, else $XDG_RUNTIME_DIR/warren.
 */
#ifndef WARREN_MANAGE_CONTROL_PATH_H
#define WARREN_MANAGE_CONTROL_PATH_H

#include <stdbool.h>
#include <stddef.h>

enum { CONTROL_PATH_MAX = 108 }; /* of sockaddr_un.sun_path */

/* The path of a node's socket; false if it would be too long. Reads the environment. */
bool control_path(char ret[CONTROL_PATH_MAX], const char *node_name);

#endif
