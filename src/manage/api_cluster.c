/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of the node within its cluster: the app down and up, joining, leaving.
 */
#include "src/manage/api.h"

/* ---- the app ---- */

static void on_app_done(void *arg, const char *why)
{
	struct api_call *c = arg;
	if (why == NULL)
		api_ok(c, NULL);
	else
		api_fail(c, API_UNAVAILABLE, "node %s: %s", api_node(c)->name, why);
}

static void start_app(struct api_call *c)
{
	const struct api_node *n = api_node(c);
	switch (n->app(n->arg)) {
	case API_APP_STOPPED:
		n->start_app(n->arg, on_app_done, c);
		break;
	case API_APP_RUNNING:
		api_ok(c, NULL);
		break;
	default:
		on_app_done(c, "its app is being started or stopped right now");
	}
}

static void stop_app(struct api_call *c)
{
	const struct api_node *n = api_node(c);
	switch (n->app(n->arg)) {
	case API_APP_STOPPED:
		api_ok(c, NULL);
		break;
	case API_APP_STOPPING:
		on_app_done(c, "its app is being stopped already");
		break;
	default:
		n->stop_app(n->arg, on_app_done, c);
	}
}

const struct api_verb api_cluster_verbs[] = {
	{"start_app", start_app, true},
	{"stop_app", stop_app, true},
	{NULL, NULL, false},
};
