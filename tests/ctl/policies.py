#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Policies: set with warrenctl, seen by clients at once, on queues that are there and in use.

usage: policies.py [unittest arguments]; WARREND names the broker, WARRENCTL the tool.
"""

import json
import time
import unittest

from one_node import OneNode, exit_on_sigterm, with_pika

try:
    import pika
    from pika.exceptions import NackError
except ImportError:
    with_pika()

SECONDS = 20
PERSISTENT = pika.BasicProperties(delivery_mode=2)


class Policies(OneNode):
    def setUp(self):
        self.policies, self.queues = set(), []
        self.queue = self.id().rsplit(".", 1)[1]
        self.connect()

    def tearDown(self):
        for verb, name in list(self.policies):
            self.clear(name, verb)
        channel = self.connection.channel()
        for name in self.queues:
            channel.queue_delete(name)
        self.connection.close()

    def connect(self):
        self.connection = pika.BlockingConnection(pika.URLParameters(self.broker.url))
        self.channel = self.connection.channel()

    def set(self, definition, name="p", verb="set_policy", **options):
        extra = [part for key, value in options.items() for part in ("--" + key.replace("_", "-"), str(value))]
        self.ctl(verb, name, "^%s" % self.queue, json.dumps(definition), *extra)
        self.policies.add((verb.replace("set", "clear"), name))

    def clear(self, name="p", verb="clear_policy"):
        self.ctl(verb, name)
        self.policies.remove((verb, name))

    def declare(self, name=None, **arguments):
        name = name or self.queue
        arguments = {"x-" + k.replace("_", "-"): v for k, v in arguments.items()}
        self.channel.queue_declare(name, durable=True, arguments=arguments)
        self.queues.append(name)
        return name

    def publish(self, *bodies, queue=None):
        for body in bodies:
            self.channel.basic_publish("", queue or self.queue, body, PERSISTENT)

    def count(self, queue=None):
        return self.channel.queue_declare(queue or self.queue, passive=True).method.message_count

    def wait_count(self, count, queue=None):
        end = time.monotonic() + SECONDS
        while self.count(queue) != count:
            self.assertLess(time.monotonic(), end, "%d messages and not %d" % (self.count(queue), count))
            time.sleep(0.02)

    def get(self, queue=None):
        return self.channel.basic_get(queue or self.queue, auto_ack=True)[2]

    def row(self, *columns):
        rows = json.loads(self.ctl("list_queues", "name", *columns, "--formatter", "json"))
        return next(row for row in rows if row["name"] == self.queue)

    def test_a_limit_holds_for_a_queue_in_use(self):
        self.declare()
        self.publish(b"1", b"2", b"3", b"4")
        self.wait_count(4)
        self.set({"max-length": 2})
        self.publish(b"5")
        self.wait_count(2)
        self.assertEqual(self.get(), b"4")
        self.clear()
        self.publish(b"6", b"7", b"8")
        self.wait_count(4)

    def test_messages_that_are_there_expire(self):
        self.declare()
        self.publish(b"1", b"2")
        self.wait_count(2)
        self.set({"message-ttl": 10})
        self.wait_count(0)

    def test_the_dead_go_where_the_policy_says(self):
        self.declare()
        grave = self.declare("grave-" + self.queue)
        self.publish(b"1")
        self.wait_count(1)
        self.set({"message-ttl": 10, "dead-letter-exchange": "", "dead-letter-routing-key": grave})
        self.wait_count(1, grave)
        self.assertEqual(self.get(grave), b"1")

    def test_a_queue_that_nobody_has_used_expires(self):
        self.channel.queue_declare(self.queue, durable=True)
        self.set({"expires": 50})
        end = time.monotonic() + SECONDS
        while self.queue in self.ctl("list_queues", "name").split():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def test_a_used_queue_expires(self):
        self.channel.queue_declare(self.queue, durable=True)
        self.publish(b"1")
        self.wait_count(1)
        self.set({"expires": 50})
        end = time.monotonic() + SECONDS
        while self.queue in self.ctl("list_queues", "name").split():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def test_overflow_is_refused(self):
        self.declare()
        self.channel.confirm_delivery()
        self.publish(b"1")
        self.set({"max-length": 1, "overflow": "reject-publish"})
        with self.assertRaises(NackError):
            self.publish(b"2")
        self.clear()
        self.publish(b"3")

    def test_deliveries_are_limited(self):
        self.declare()
        self.publish(b"1")
        self.set({"delivery-limit": 1})
        for _ in range(2):
            method = self.channel.basic_get(self.queue)[0]
            self.channel.basic_nack(method.delivery_tag)
        self.wait_count(0)

    def test_of_argument_and_policy_the_smaller_number_holds(self):
        self.declare(max_length=3)
        self.set({"max-length": 5})
        self.publish(b"1", b"2", b"3", b"4", b"5", b"6")
        self.wait_count(3)
        self.set({"max-length": 2})
        self.publish(b"7")
        self.wait_count(2)

    def test_of_argument_and_policy_the_argument_holds(self):
        grave = self.declare("mine-" + self.queue)
        self.declare(dead_letter_exchange="", dead_letter_routing_key=grave)
        self.set({"message-ttl": 0, "dead-letter-exchange": "nowhere", "dead-letter-routing-key": "nothing"})
        self.publish(b"1")
        self.wait_count(1, grave)

    def test_an_operator_policy_caps(self):
        self.declare()
        self.set({"max-length": 4})
        self.set({"max-length": 2}, "o", "set_operator_policy")
        self.publish(b"1", b"2", b"3", b"4", b"5")
        self.wait_count(2)
        row = self.row("policy", "operator_policy", "effective_policy_definition")
        self.assertEqual(row, {"name": self.queue, "policy": "p", "operator_policy": "o",
                               "effective_policy_definition": {"max-length": 2}})

    def test_the_highest_priority_applies(self):
        self.declare()
        self.set({"max-length": 1}, "low", priority=1)
        self.set({"max-length": 3}, "high", priority=9)
        self.publish(b"1", b"2", b"3", b"4")
        self.wait_count(3)
        self.assertEqual(self.row("policy")["policy"], "high")
        self.clear("high")
        self.publish(b"5")
        self.wait_count(1)

    def test_an_alternate_exchange(self):
        self.declare()
        self.channel.exchange_declare(self.queue, "direct")
        self.channel.exchange_declare("else-" + self.queue, "fanout")
        self.channel.queue_bind(self.queue, "else-" + self.queue)
        self.channel.basic_publish(self.queue, "nowhere", b"1")
        self.count()  # what was sent before has been routed
        self.ctl("set_policy", "ae", "^%s$" % self.queue, '{"alternate-exchange":"else-%s"}' % self.queue,
                 "--apply-to", "exchanges")
        self.addCleanup(self.ctl, "clear_policy", "ae")
        self.channel.basic_publish(self.queue, "nowhere", b"2")
        self.wait_count(1)
        self.assertEqual(self.get(), b"2")

    def test_policies_are_there_after_a_restart(self):
        self.declare()
        self.set({"max-length": 1})
        self.publish(b"1", b"2")
        self.wait_count(1)
        before = self.ctl("list_policies")
        self.connection.close()
        self.broker.stop()
        self.broker.start()
        self.assertEqual(self.ctl("list_policies"), before)
        self.connect()
        self.wait_count(1)
        self.publish(b"3")
        self.wait_count(1)
        self.assertEqual(self.get(), b"3")

    def test_lists(self):
        self.ctl("set_policy", "lists", "^x", '{"message-ttl":5,"ha-mode":"all"}', "--priority", "7",
                 "--apply-to", "queues")
        self.addCleanup(self.ctl, "clear_policy", "lists")
        self.assertEqual(self.ctl("list_policies"),
                         "vhost\tname\tpattern\tapply-to\tdefinition\tpriority\n"
                         '/\tlists\t^x\tqueues\t{"ha-mode":"all","message-ttl":5}\t7\n')

    def test_what_would_lose_messages_is_answered_with_a_warning(self):
        for key in "ha-promote-on-failure", "ha-promote-on-shutdown":
            r = self.run_ctl("-q", "set_policy", "p", "^none$", '{"ha-mode":"all","%s":"always"}' % key)
            self.addCleanup(self.run_ctl, "clear_policy", "p")
            self.assertEqual((r.returncode, r.stdout), (0, ""))
            self.assertEqual(r.stderr, 'Warning:\n%s "always" is accepted and has no effect: a mirror that lacks '
                             'confirmed messages is never promoted\n' % key)
            self.assertIn('"%s":"always"' % key, self.ctl("list_policies"))
        self.ctl("set_policy", "p", "^none$", '{"ha-mode":"all","ha-promote-on-failure":"when-synced"}')

    def test_what_is_wrong_is_refused(self):
        self.assertEqual(self.refused("set_policy", "p", ".*", '{"message-ttl":"x"}'),
                         'Error:\nValidation failed\n\n<<"x">> is not a valid message TTL\n')
        self.assertEqual(self.refused("set_policy", "p", ".*", '{"ha-params":2}'),
                         "Error:\nValidation failed\n\nha-mode must be specified to specify ha-params, ha-sync-mode "
                         "or ha-promote-on-shutdown\n")
        self.assertEqual(self.refused("set_policy", "-p", "absent", "p", ".*", '{"message-ttl":1}'),
                         "Error:\nVirtual host 'absent' does not exist\n")
        self.assertEqual(self.refused("set_policy", "--priority", "much", "p", ".*", '{"message-ttl":1}'),
                         "Error (argument validation): Invalid options for this command:\n--priority : much\n")
        self.assertEqual(self.refused("set_policy", "--priority", "9" * 20, "p", ".*", '{"message-ttl":1}'),
                         'Error:\n<<"%s">> priority is out of range\n' % ("9" * 20))
        self.assertEqual(self.refused("clear_policy", "absent"), "Error:\nParameter does not exist\n")


if __name__ == "__main__":
    exit_on_sigterm()
    unittest.main()
