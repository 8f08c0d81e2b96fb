#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Things that happen at the same moment: what one worker has answered and another is to know, queues
on their way out, clients that vanish in the middle, queues that cannot be served.

usage: races.py [unittest arguments]; WARREND names the program. Needs a C compiler, for late.c.
"""

import os
import random
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "compat"))
from broker import Broker, late  # noqa: E402
from rawamqp import (ACK, CANCEL, CHANNEL_CLOSE, CLOSE, CLOSE_OK, CONFIRM_SELECT, CONFIRM_SELECT_OK,  # noqa: E402
                     DELIVER, METHOD, NACK, QOS, QOS_OK, QUEUE_DECLARE, QUEUE_DECLARE_OK, RETURN, Raw, Reader,
                     shortstr, table)

QUEUE_DELETE, QUEUE_DELETE_OK, CANCEL_OK = (50, 40), (50, 41), (60, 31)
CONSUME = (60, 20)
PASSIVE, DURABLE, EXCLUSIVE, AUTO_DELETE, NOWAIT = 1, 2, 4, 8, 16
SECONDS = 60


class Races(unittest.TestCase):
    def start(self, workers, **how):
        directory = tempfile.mkdtemp(prefix="warren-races-")
        self.addCleanup(shutil.rmtree, directory, True)
        self.broker = Broker(directory, settings=["worker_threads=%d" % workers], **how)
        self.broker.settings = [s for s in self.broker.settings if s != "worker_threads=3"]
        self.broker.start()
        self.addCleanup(self.broker.kill)

    def connect(self, channels=1):
        client = Raw("127.0.0.1", self.broker.port)
        self.addCleanup(client.close)
        client.open()
        for number in range(1, channels + 1):
            client.open_channel(number)
        return client

    @staticmethod
    def confirms(client):
        client.call(1, CONFIRM_SELECT, b"\0", CONFIRM_SELECT_OK)

    @staticmethod
    def declaration(queue, bits):
        return b"\0\0" + shortstr(queue) + bytes([bits]) + table({})

    def answer_of(self, client):
        """The next ack, nack, return or close."""
        while True:
            kind, _, payload = client.receive_frame(SECONDS)
            if kind == METHOD:
                method = struct.unpack(">HH", payload[:4])
                if method in (ACK, NACK, RETURN, CLOSE, CHANNEL_CLOSE):
                    return method

    def publish_after_declare(self, how):
        """Whoever was told that a queue exists reaches it, from any worker."""
        workers, rounds = 8, 300
        self.start(workers)
        clients = [self.connect() for _ in range(workers)]
        for client in clients:
            self.confirms(client)
        checker = self.connect()
        pick = random.Random(1)
        for i in range(rounds):
            at = pick.randrange(workers)
            how(clients[at], clients[(at + pick.randrange(1, workers)) % workers], "r%d" % i)
        for i in range(rounds):
            answer = checker.call(1, QUEUE_DECLARE, self.declaration("r%d" % i, PASSIVE), QUEUE_DECLARE_OK)
            answer.shortstr()
            self.assertEqual(answer.unpack(">I"), 1, "queue r%d" % i)

    def test_a_publish_in_one_write_with_the_declaration_reaches_the_queue(self):
        def pipelined(client, _, queue):
            whole, send = bytearray(), client.send
            client.send = whole.extend
            client.method(1, QUEUE_DECLARE, self.declaration(queue, NOWAIT | DURABLE))
            client.publish(1, queue, b"precious", bits=1)
            client.send = send
            client.send(bytes(whole))
            self.assertEqual(self.answer_of(client), ACK)

        self.publish_after_declare(pipelined)

    def test_a_publish_on_another_connection_after_declare_ok_reaches_the_queue(self):
        def elsewhere(client, other, queue):
            client.declare(1, queue, DURABLE)
            other.publish(1, queue, b"precious", bits=1)
            self.assertEqual(self.answer_of(other), ACK)

        self.publish_after_declare(elsewhere)

    def test_an_auto_delete_queue_can_be_declared_again_at_once(self):
        self.start(2)
        for i in range(50):
            queue = "again%d" % i
            client = self.connect()
            client.declare(1, queue, AUTO_DELETE)
            client.consume(1, queue, "tag")
            client.method(0, CLOSE, struct.pack(">H", 200) + shortstr("") + b"\0\0\0\0")
            client.expect(CLOSE_OK)
            client.close()
            self.connect().declare(1, queue, AUTO_DELETE)

    def test_a_queue_can_be_declared_while_another_connection_deletes_it(self):
        self.start(2)
        one, two = self.connect(), self.connect()
        for i in range(50):
            queue = "d%d" % i
            one.declare(1, queue, DURABLE)
            one.method(1, QUEUE_DELETE, b"\0\0" + shortstr(queue) + b"\0")
            time.sleep(0.001 * (i % 5))
            two.declare(1, queue, DURABLE)
            one.expect(QUEUE_DELETE_OK)

    def test_whoever_deletes_a_queue_is_told_what_was_in_it(self):
        """The definition's end is another worker's news than the queue's own answer."""
        late(self)
        self.start(3)
        clients = [self.connect() for _ in range(6)]
        for client in clients:
            self.confirms(client)
        for i in range(60):
            queue, client, deleter = "counted%d" % i, clients[i % 6], clients[(i + 1 + i // 6) % 6]
            client.declare(1, queue, DURABLE)
            client.publish(1, queue, b"one")
            self.assertEqual(self.answer_of(client), ACK)
            answer = deleter.call(1, QUEUE_DELETE, b"\0\0" + shortstr(queue) + b"\0", QUEUE_DELETE_OK)
            self.assertEqual(answer.unpack(">I"), 1, queue)

    def test_clients_that_vanish_in_the_middle_leave_no_name_behind(self):
        self.start(2)
        for i in range(50):
            client = self.connect()
            client.method(1, QUEUE_DECLARE, self.declaration("x%d" % i, EXCLUSIVE))
            other = self.connect()
            other.declare(1, "z%d" % i, DURABLE)
            other.method(1, QUEUE_DELETE, b"\0\0" + shortstr("z%d" % i) + b"\0")
            for gone in (client, other):
                gone.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                gone.close()
        deadline = time.monotonic() + SECONDS
        for i in range(50):
            for queue in ("x%d" % i, "z%d" % i):
                while not self.declared(queue):
                    self.assertLess(time.monotonic(), deadline, "%s cannot be declared" % queue)
                    time.sleep(0.02)

    def declared(self, queue):
        client = self.connect()
        client.method(1, QUEUE_DECLARE, self.declaration(queue, DURABLE))
        method = client.receive_method(SECONDS)[1]
        client.close()
        return method == QUEUE_DECLARE_OK

    def test_nothing_is_delivered_after_cancel_ok(self):
        self.start(1)
        client = self.connect(2)
        for queue in ("a", "b"):
            client.declare(1, queue)
            client.publish(2, queue, b"x")
            client.publish(2, queue, b"x")
        client.call(1, QOS, struct.pack(">IHB", 0, 1, 1), QOS_OK)
        client.consume(1, "a", "A")
        self.assertEqual(self.delivery(client)[0], "A")
        # b's first message is held: the channel has its one delivery.
        client.call(1, CONSUME, b"\0\0" + shortstr("b") + shortstr("B") + b"\0" + table({}), (60, 21))
        client.call(1, CANCEL, shortstr("B") + b"\0", CANCEL_OK)
        client.method(1, ACK, struct.pack(">QB", 1, 0))
        self.assertEqual(self.delivery(client)[0], "A")
        answer = client.call(1, QUEUE_DECLARE, self.declaration("b", PASSIVE), QUEUE_DECLARE_OK)
        answer.shortstr()
        self.assertEqual(answer.unpack(">I"), 2)

    def delivery(self, client):
        while True:
            kind, _, payload = client.receive_frame(SECONDS)
            if kind == METHOD and struct.unpack(">HH", payload[:4]) == DELIVER:
                reader = Reader(payload[4:])
                client.receive_content()
                return reader.shortstr(), reader.unpack(">Q")

    def test_a_queue_with_a_damaged_message_is_refused_and_the_others_go_on(self):
        self.start(2)
        client = self.connect()
        self.confirms(client)
        for queue, body in (("bad", b"MARKER" * 150), ("good", b"other" * 150)):
            client.declare(1, queue, DURABLE)
            client.publish(1, queue, body)
            self.assertEqual(self.answer_of(client), ACK)
        self.broker.stop()  # which leaves nothing in the journal
        self.damage(b"MARKERMARKER")
        self.broker.start()
        client = self.connect()
        self.confirms(client)
        client.publish(1, "bad", b"never confirmed", bits=1)
        self.assertEqual(self.answer_of(client), NACK)
        client.method(1, QUEUE_DECLARE, self.declaration("bad", DURABLE))
        self.assertEqual(self.answer_of(client), CHANNEL_CLOSE)
        other = self.connect()
        self.assertIsNotNone(other.get(1, "good"))
        self.assertIn("cannot be opened", self.broker.log_tail())

    def test_an_acknowledgement_alone_is_durable_soon(self):
        """It may wait for company, but not for ever."""
        self.start(2)
        for patience in (0.05, 0.5, 5):
            client = self.connect()
            client.declare(1, "acked", DURABLE)
            self.confirms(client)
            client.publish(1, "acked", b"x")
            self.assertEqual(self.answer_of(client), ACK)
            client.consume(1, "acked", "tag")
            _, tag = self.delivery(client)
            client.method(1, ACK, struct.pack(">QB", tag, 0))
            time.sleep(patience)
            self.broker.kill()
            self.broker.start()
            if self.connect().get(1, "acked") is None:
                return
        self.fail("the acknowledgement never reached the disk")

    def damage(self, marker):
        path = os.path.join(self.broker.datadir, "data.mdb")
        with open(path, "r+b") as f:
            content = f.read()
            at = content.find(marker)
            self.assertGreaterEqual(at, 0)
            while at >= 0:
                f.seek(at + 3)
                f.write(b"?")
                at = content.find(marker, at + 900)

    def test_a_direct_reply_waits_for_nobody_for_ever(self):
        self.start(2)
        requester, replier = self.connect(), self.connect()
        requester.consume(1, "amq.rabbitmq.reply-to", "r", bits=2)
        replier.declare(1, "requests")
        requester.publish(1, "requests", b"?", properties=struct.pack(">H", 1 << 9) +
                          shortstr("amq.rabbitmq.reply-to"))
        deadline, got = time.monotonic() + SECONDS, None
        while got is None:
            self.assertLess(time.monotonic(), deadline)
            got = replier.get(1, "requests")
        properties = got[1]
        address = properties[3:3 + properties[2]].decode()
        before = self.resident()
        for _ in range(600):
            replier.publish(1, address, b"x" * 1000000)
        replier.declare(1, "behind them all")
        self.assertLess(self.resident() - before, 450)

    def resident(self):
        """MiB of memory of its own."""
        with open("/proc/%d/status" % self.broker.process.pid) as f:
            return int([line for line in f if line.startswith("RssAnon")][0].split()[1]) // 1024


if __name__ == "__main__":
    signal.alarm(900)
    result = unittest.main(exit=False).result
    failed = len(result.failures) + len(result.errors)
    print("%d passed, %d failed, %d skipped" % (
        result.testsRun - failed - len(result.skipped), failed, len(result.skipped)))
    sys.exit(1 if failed else 0)
