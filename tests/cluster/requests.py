#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Direct reply-to between nodes: whoever asks, whoever answers and the queue in between may each be on a node of its own.

    WARREND=... tests/cluster/requests.py
"""

import contextlib
import signal
import threading
import time
import unittest

import pika
import pika.exceptions

from cluster import Cluster, exit_on_sigterm, wait_until

PSEUDO, QUEUE = "amq.rabbitmq.reply-to", "requests"
SECONDS = 60


class Requests(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(3)
        self.addCleanup(self.cluster.__exit__, None)
        self.cluster.form()
        asking, self.holding, answering = self.cluster.nodes
        self.asking = asking
        self.connect(self.holding).channel().queue_declare(QUEUE)
        self.requester, self.server = self.connect(asking), self.connect(answering)
        self.asks, self.answers = self.requester.channel(), self.server.channel()
        self.answers.confirm_delivery()
        self.replies = []
        self.tag = self.asks.basic_consume(PSEUDO, self.on_reply, auto_ack=True)

    def connect(self, node):
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", node.port, heartbeat=0))
        self.addCleanup(self.end, connection)
        return connection

    @staticmethod
    def end(connection):
        with contextlib.suppress(pika.exceptions.AMQPError):  # with its node
            connection.close()

    def on_reply(self, _channel, method, properties, body):
        self.replies.append((method.exchange, method.consumer_tag, properties.correlation_id, body))

    def ask(self, correlation):
        """The address that whoever answers is given."""
        self.asks.basic_publish("", QUEUE, b"?", pika.BasicProperties(reply_to=PSEUDO, correlation_id=correlation))
        found = []
        wait_until(lambda: found.append(self.answers.basic_get(QUEUE, auto_ack=True)) or found[-1][0], SECONDS, "a request")
        self.assertEqual(found[-1][1].correlation_id, correlation)
        return found[-1][1].reply_to

    def answer(self, address, correlation, body):
        self.answers.basic_publish("", address, body, pika.BasicProperties(correlation_id=correlation), mandatory=True)

    def wait_replies(self, n):
        deadline = time.monotonic() + SECONDS
        while len(self.replies) < n and time.monotonic() < deadline:
            self.requester.process_data_events(1)
        self.assertEqual(len(self.replies), n)

    def lives(self, address):
        channel = self.server.channel()
        try:
            channel.queue_declare(address, passive=True)
        except pika.exceptions.ChannelClosedByBroker as e:
            self.assertEqual(e.reply_code, 404)
            return False
        channel.close()
        return True

    def test_replies_reach_the_requester(self):
        bodies = [b"", b"42"] + [bytes([i]) * 1500000 for i in range(3)] + [b"%d" % i for i in range(100)]
        for i, body in enumerate(bodies):
            self.answer(self.ask(str(i)), str(i), body)
        self.wait_replies(len(bodies))
        self.assertEqual(self.replies, [("", self.tag, str(i), body) for i, body in enumerate(bodies)])

    def test_whether_the_requester_lives_is_known_elsewhere(self):
        address = self.ask("1")
        self.assertTrue(self.lives(address))
        node, worker, identity = address[len(PSEUDO) + 1:].split(".")
        self.assertFalse(self.lives("%s.%s.%s.%x" % (PSEUDO, node, worker, int(identity, 16) ^ 1)))
        self.assertFalse(self.lives("%s.%s.ff.%s" % (PSEUDO, node, identity)), "there is no such worker")
        self.assertFalse(self.lives("%s.77.0.%s" % (PSEUDO, identity)), "there is no such node")
        self.requester.close()
        wait_until(lambda: not self.lives(address), SECONDS, "the end of the requester is known")
        self.answer(address, "1", b"for nobody")  # as to any queue that has gone since: not returned

    def test_who_answers_is_told_when_the_requesters_node_is_gone(self):
        address = self.ask("1")
        self.asking.kill()
        self.cluster.wait_running(2)
        self.assertFalse(self.lives(address))
        with self.assertRaises(pika.exceptions.UnroutableError):
            self.answer(address, "1", b"for nobody")

    def test_a_question_ends_with_the_link(self):
        address = self.ask("1")
        self.asking.process.send_signal(signal.SIGSTOP)
        killer = threading.Timer(1, self.asking.process.kill)
        killer.start()
        try:
            self.assertFalse(self.lives(address))
        finally:
            killer.join()


if __name__ == "__main__":
    exit_on_sigterm()
    unittest.main()
