#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Parameters, limits, topic permissions: set with warrenctl, listed, and seen by clients.

usage: settings.py [unittest arguments]; WARREND names the broker, WARRENCTL the tool.
"""

import unittest

from one_node import OneNode, exit_on_sigterm, with_pika

try:
    import pika
    from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker
except ImportError:
    with_pika()


class Settings(OneNode):
    def channel(self):
        connection = pika.BlockingConnection(pika.URLParameters(self.broker.url))
        self.addCleanup(lambda: connection.is_open and connection.close())
        return connection.channel()

    def closed(self, code, text):
        test = self

        class Expectation:
            def __enter__(self):
                pass

            def __exit__(self, kind, error, _traceback):
                test.assertIs(kind, ChannelClosedByBroker)
                test.assertEqual((error.reply_code, error.reply_text), (code, text))
                return True
        return Expectation()

    def test_parameters(self):
        self.ctl("set_parameter", "shovel", "one", '{"src-uri":"amqp://"}')
        self.ctl("set_parameter", "shovel", "two", "2")
        self.assertEqual(self.ctl("list_parameters"),
                         'component\tname\tvalue\nshovel\tone\t{"src-uri":"amqp://"}\nshovel\ttwo\t2\n')
        self.ctl("clear_parameter", "shovel", "one")
        self.ctl("clear_parameter", "shovel", "two")
        self.assertEqual(self.refused("clear_parameter", "shovel", "two"), "Error:\nParameter does not exist\n")
        self.assertIn("JSON decoding error. Reason: ", self.refused("set_parameter", "shovel", "x", "{"))

    def test_global_parameters(self):
        self.ctl("set_global_parameter", "answer", "42")
        self.assertEqual(self.ctl("list_global_parameters"), "name\tvalue\nanswer\t42\n")
        self.ctl("clear_global_parameter", "answer")
        self.assertEqual(self.ctl("list_global_parameters"), "")

    def test_a_vhosts_limit_of_queues(self):
        channel = self.channel()
        self.ctl("set_vhost_limits", '{"max-queues": 1, "max-connections": 100}')
        self.addCleanup(self.ctl, "clear_vhost_limits")
        self.assertEqual(self.ctl("list_vhost_limits"), '{"max-connections":100,"max-queues":1}\n')
        self.assertEqual(self.ctl("list_vhost_limits", "--global"),
                         'vhost\tlimits\n/\t{"max-connections":100,"max-queues":1}\n')
        channel.queue_declare("first", durable=True)
        channel.queue_declare("first", durable=True)
        with self.closed(406, "PRECONDITION_FAILED - cannot declare queue 'second': queue limit in vhost '/' (1) "
                              "is reached"):
            channel.queue_declare("second")
        self.ctl("set_vhost_limits", '{"max-queues": -1}')
        channel = self.channel()
        channel.queue_declare("second")
        channel.queue_delete("first")
        channel.queue_delete("second")
        self.assertEqual(self.refused("set_vhost_limits", '{"max-queues": "many"}'),
                         'Error:\nValidation failed\n\nmax-queues should be a number, actually was <<"many">>\n')
        self.assertEqual(self.refused("set_vhost_limits", '{"max-cats": 9}'),
                         'Error:\nValidation failed\n\nUnrecognised terms [{<<"max-cats">>,9}] in limits\n')

    def refused_connection(self, text):
        with self.assertRaises(AMQPError) as caught:
            pika.BlockingConnection(pika.URLParameters(self.broker.url))
        self.assertIn(text, repr(caught.exception).replace("\\", ""))

    def test_a_vhosts_limit_of_connections(self):
        self.ctl("set_vhost_limits", '{"max-connections": 2}')
        self.addCleanup(self.ctl, "clear_vhost_limits")
        first = pika.BlockingConnection(pika.URLParameters(self.broker.url))
        self.channel()
        self.refused_connection("access to vhost '/' refused for user 'guest': connection limit (2) is reached")
        # One that is gone makes room at once.
        first.close()
        self.channel()
        self.refused_connection("connection limit (2) is reached")
        self.ctl("set_vhost_limits", '{"max-connections": -1}')
        self.channel()

    def test_a_users_limits(self):
        self.addCleanup(self.ctl, "clear_user_limits", "guest", "all")
        self.ctl("set_user_limits", "guest", '{"max-connections": 1, "max-channels": 2}')
        channel = self.channel()
        self.refused_connection("connection refused for user 'guest': user connection limit (1) is reached")
        second = channel.connection.channel()
        second.close()
        channel.connection.channel()
        with self.assertRaises(ConnectionClosedByBroker) as caught:
            channel.connection.channel()
        self.assertEqual((caught.exception.reply_code, caught.exception.reply_text),
                         (530, "NOT_ALLOWED - number of channels opened for user 'guest' has reached the maximum "
                               "allowed user limit of (2)"))
        self.ctl("set_user_limits", "guest", '{"max-channels": -1}')
        self.channel().connection.channel().connection.channel()

    def test_limits_of_users(self):
        self.ctl("set_user_limits", "guest", '{"max-connections": 9}')
        self.ctl("set_user_limits", "guest", '{"max-channels": 5}')
        self.assertEqual(self.ctl("list_user_limits"),
                         'user\tlimits\nguest\t{"max-connections":9,"max-channels":5}\n')
        self.ctl("clear_user_limits", "guest", "max-connections")
        self.assertEqual(self.ctl("list_user_limits", "--user", "guest"), '{"max-channels":5}\n')
        self.ctl("clear_user_limits", "guest", "all")
        self.assertEqual(self.ctl("list_user_limits"), "")
        self.assertEqual(self.refused("set_user_limits", "nobody", "{}"), 'Error:\nUser "nobody" does not exist\n')

    def test_topic_permissions(self):
        channel = self.channel()
        channel.queue_declare("topics", durable=True)
        self.addCleanup(self.channel().queue_delete, "topics")
        self.ctl("set_topic_permissions", "guest", "amq.topic", "^{username}\\.", "^open")
        self.addCleanup(self.ctl, "clear_topic_permissions", "guest")
        self.assertEqual(self.ctl("list_topic_permissions"),
                         "user\texchange\twrite\tread\nguest\tamq.topic\t^{username}\\\\.\t^open\n")
        self.assertEqual(self.ctl("list_user_topic_permissions", "guest"),
                         "vhost\texchange\twrite\tread\n/\tamq.topic\t^{username}\\\\.\t^open\n")
        channel.queue_bind("topics", "amq.topic", "open.#")
        with self.closed(403, "ACCESS_REFUSED - read access to topic 'closed' in exchange 'amq.topic' in vhost '/' "
                              "refused for user 'guest'"):
            channel.queue_bind("topics", "amq.topic", "closed")
        channel = self.channel()
        channel.confirm_delivery()
        channel.basic_publish("amq.topic", "guest.x", b"")
        with self.closed(403, "ACCESS_REFUSED - write access to topic 'open.x' in exchange 'amq.topic' in vhost '/' "
                              "refused for user 'guest'"):
            channel.basic_publish("amq.topic", "open.x", b"")
        # What was allowed a moment ago is asked again after a change.
        channel = self.channel()
        channel.confirm_delivery()
        channel.basic_publish("amq.topic", "guest.x", b"")
        self.ctl("set_topic_permissions", "guest", "amq.topic", "^nothing$", ".*")
        with self.closed(403, "ACCESS_REFUSED - write access to topic 'guest.x' in exchange 'amq.topic' in vhost '/' "
                              "refused for user 'guest'"):
            channel.basic_publish("amq.topic", "guest.x", b"")
        self.ctl("clear_topic_permissions", "guest", "amq.topic")
        channel = self.channel()
        channel.basic_publish("amq.topic", "open.x", b"")
        channel.queue_bind("topics", "amq.topic", "closed")

    def test_metadata_of_a_vhost(self):
        self.ctl("add_vhost", "described", "--description", "first")
        self.ctl("update_vhost_metadata", "described", "--tags", "a,b")
        self.assertIn("described\tfirst\t[a, b]\n", self.ctl("list_vhosts", "name", "description", "tags"))
        self.ctl("delete_vhost", "described")


if __name__ == "__main__":
    exit_on_sigterm()
    unittest.main()
