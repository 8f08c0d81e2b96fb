/* SPDX-License-Identifier: Apache-2.0
 *
 * Class confirm: RabbitMQ's publisher confirms.
 */
#include "src/session/channel.h"
#include "src/session/confirm.h"

static void on_dirty(void *arg)
{
	struct channel *ch = arg;
	connection_out(ch->conn);
}

void on_confirm_method(struct channel *ch, const struct amqp_method *m)
{
	if (m->id != AMQP_CONFIRM_SELECT) {
		connection_error(
			ch->conn, 503, m->id, "unexpected method '%s'", amqp_method_name(m->id));
		return;
	}
	if (ch->mode == CHANNEL_TX) {
		channel_error(ch, 406, m->id, "cannot switch from tx to confirm mode");
		return;
	}
	if (ch->confirm == NULL)
		ch->confirm = confirm_new(on_dirty, ch);
	ch->mode = CHANNEL_CONFIRM;
	if (!m->u.confirm_select.nowait)
		channel_send(ch, &(struct amqp_method){.id = AMQP_CONFIRM_SELECT_OK});
}
