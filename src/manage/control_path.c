/* SPDX-License-Identifier: Apache-2.0 */
#include "src/manage/control_path.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SYSTEM_RUN_DIR "/run/warren"

bool control_path(char ret[CONTROL_PATH_MAX], const char *node_name)
{
	const char *own = getenv("WARREN_RUN_DIR");
	const char *user = getenv("XDG_RUNTIME_DIR");
	int n;
	if (own != NULL && own[0] != '\0')
		n = snprintf(ret, CONTROL_PATH_MAX, "%s/%s.sock", own, node_name);
	else if (user == NULL || geteuid() == 0 || access(SYSTEM_RUN_DIR, W_OK) == 0)
		n = snprintf(ret, CONTROL_PATH_MAX, "%s/%s.sock", SYSTEM_RUN_DIR, node_name);
	else
		n = snprintf(ret, CONTROL_PATH_MAX, "%s/warren/%s.sock", user, node_name);
	return n > 0 && n < CONTROL_PATH_MAX;
}
