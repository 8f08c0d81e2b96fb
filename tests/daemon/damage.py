#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stored messages that are damaged, with the broker stopped and running: the queue refuses, says so, and
can be deleted; the others go on.

usage: damage.py [unittest arguments]; WARREND names the program.
"""

import contextlib
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "compat"))
from broker import Broker, find_python, wait_until  # noqa: E402

try:
    import pika
except ImportError:
    python = find_python("pika")
    if python is None or python == sys.executable:
        print("skipped: no Python with pika")
        sys.exit(77)
    os.execv(python, [python] + sys.argv)

SECONDS = 60
DAMAGED = 6
PAGE = 4096
LEAF = 2
PERSISTENT = pika.BasicProperties(delivery_mode=2)


def body(queue, number, size=2000):
    return (b"%s-%06d." % (queue.encode(), number)).ljust(size, b"b")


class Damage(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="warren-damage-")
        self.addCleanup(shutil.rmtree, self.top, True)
        self.broker = Broker(os.path.join(self.top, "data"))
        self.broker.start()
        self.addCleanup(self.broker.kill)
        self.connections = []
        self.addCleanup(self.hang_up)

    def connect(self):
        connection = pika.BlockingConnection(pika.URLParameters(self.broker.url))
        self.connections.append(connection)
        return connection

    def hang_up(self):
        while self.connections:
            with contextlib.suppress(pika.exceptions.AMQPError):  # the broker may have gone before
                self.connections.pop().close()

    def stop(self):
        self.hang_up()
        self.broker.stop()

    def channel(self):
        return self.connect().channel()

    def fill(self, queue, count, size=2000, arguments=None):
        channel = self.channel()
        channel.queue_declare(queue, durable=True, arguments=arguments)
        for i in range(count):
            channel.basic_publish("", queue, body(queue, i, size), PERSISTENT)
        # The last one is confirmed, so all are.
        channel.confirm_delivery()
        channel.basic_publish("", queue, body(queue, count, size), PERSISTENT)

    def data(self):
        return os.path.join(self.broker.datadir, "data.mdb")

    def flip(self, text):
        """Changes a bit behind each place in the data file where the text is."""
        found = 0
        with open(self.data(), "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
            at = m.find(text)
            while at >= 0:
                m[at + 100] ^= 1
                found += 1
                at = m.find(text, at + 1)
        self.assertGreater(found, 0, "%s is not in the file" % text)

    def log(self):
        with open(self.broker.log_path, errors="replace") as f:
            return f.read()

    def check_store(self):
        done = subprocess.run([Broker.program(), "--check-store", self.broker.datadir], capture_output=True,
                              text=True, timeout=SECONDS)
        return done.returncode, done.stdout + done.stderr

    def take_all(self, queue, count):
        channel = self.channel()
        for i in range(count):
            method, _, got = channel.basic_get(queue)
            self.assertIsNotNone(method, "%s ended at %d" % (queue, i))
            self.assertEqual(got[:len(queue) + 8], body(queue, i)[:len(queue) + 8])
            channel.basic_ack(method.delivery_tag)

    def expect_refused(self, queue):
        """As a crashed queue of RabbitMQ's: 404 for who uses it, nacks for who publishes to it."""
        for use in (lambda c: c.queue_declare(queue, passive=True), lambda c: c.basic_get(queue),
                    lambda c: c.queue_purge(queue), lambda c: c.basic_consume(queue, lambda *_: None),
                    lambda c: c.queue_declare(queue, durable=True)):
            with self.assertRaises(pika.exceptions.ChannelClosedByBroker) as caught:
                use(self.channel())
            self.assertEqual(caught.exception.reply_code, 404)
            self.assertIn("has crashed and failed to restart", caught.exception.reply_text)
        channel = self.channel()
        channel.confirm_delivery()
        with self.assertRaises(pika.exceptions.NackError):
            channel.basic_publish("", queue, b"more", PERSISTENT)

    def expect_mended_by_deletion(self, queue, *others):
        channel = self.channel()
        channel.queue_delete(queue)
        channel.queue_declare(queue, durable=True)
        channel.confirm_delivery()
        channel.basic_publish("", queue, b"again", PERSISTENT)
        self.assertEqual(channel.basic_get(queue)[2], b"again")
        for other in others:
            self.channel().queue_purge(other)
        self.stop()
        self.broker.start()
        self.assertEqual(self.channel().queue_declare(queue, passive=True).method.message_count, 1)
        self.stop()
        # What nobody needs is gone from the disk, the damaged record with it.
        status, text = self.check_store()
        self.assertEqual(status, 0, text)

    def test_stopped_a_damaged_message_stops_its_queue_alone(self):
        self.fill("hurt", 50)
        # The last ones are in a record of their own: what others still need in the same one would keep it.
        self.stop()
        self.broker.start()
        self.fill("well", 50)
        self.stop()
        self.flip(body("hurt", 45)[:12])
        status, text = self.check_store()
        self.assertEqual(status, DAMAGED, text)
        self.assertRegex(text, r"damaged: group \d+, entry \d+\n")
        self.broker.start()
        self.assertRegex(self.log(), r"\[error\] <queue> queue 'hurt' in vhost '/' \(group \d+\) cannot be opened")
        self.assertRegex(self.log(), r"group \d+: entry \d+ and \d+ others of entries \d+ to \d+ cannot be read")
        self.expect_refused("hurt")
        self.take_all("well", 51)
        self.expect_mended_by_deletion("hurt", "well")

    def test_a_first_page_that_is_partly_zero_is_damage(self):
        self.fill("some", 5)
        self.stop()
        with open(self.data(), "r+b") as f:
            f.seek(24)
            f.write(bytes(4096 - 24))
        status, text = self.check_store()
        self.assertEqual(status, DAMAGED, text)
        self.broker._launch()
        self.assertEqual(self.broker.process.wait(SECONDS), DAMAGED, self.log())
        self.assertIn("first pages do not say how large a page is", self.log())

    def test_a_file_cut_off_serves_what_is_left_or_refuses(self):
        self.fill("first", 50)
        self.fill("last", 2000)
        self.stop()
        whole = os.path.getsize(self.data())
        os.truncate(self.data(), whole // 2)
        status, text = self.check_store()
        self.assertEqual(status, DAMAGED, text)
        self.assertEqual(os.path.getsize(self.data()), whole // 2, text)
        before = len(self.log())
        self.broker._launch()
        process = self.broker.process
        wait_until(lambda: "is ready" in self.log()[before:] or process.poll() is not None, SECONDS,
                   "it serves or refuses")
        if process.poll() is not None:
            self.assertEqual(process.returncode, DAMAGED, self.log())
            return
        # What the snapshots cover is read when it is due; then it is noticed, too.
        for queue, count in ("first", 51), ("last", 2001):
            self.take_what_comes(queue, count)
        self.assertRegex(self.log()[before:], "cannot be opened|cannot be read")

    def take_what_comes(self, queue, count):
        channel = self.channel()
        try:
            for i in range(count):
                self.assertEqual(channel.basic_get(queue, auto_ack=True)[2], body(queue, i))
        except pika.exceptions.ChannelClosedByBroker as e:
            self.assertIn("has crashed and failed to restart", e.reply_text)

    def leaves(self):
        """Where the leaf pages of LMDB's trees are that are in use or were: page number and flags say so."""
        with open(self.data(), "rb") as f:
            pages = iter(lambda: f.read(PAGE), b"")
            return [i * PAGE for i, page in enumerate(pages)
                    if i > 1 and struct.unpack_from("<QHH", page)[::2] == (i, LEAF)]

    def test_a_page_of_zeros_in_the_tree_is_survived_or_refused(self):
        """Of the pages of zeros that a file system leaves, any may be one of LMDB's tree."""
        channel = self.channel()
        for i in range(300):
            channel.queue_declare("q%d" % i, durable=True)
        self.stop()
        with open(self.data(), "rb") as f:
            good = f.read()
        leaves = self.leaves()
        self.assertGreater(len(leaves), 20)
        refused = 0
        for at in leaves:
            with open(self.data(), "wb") as f:
                f.write(good[:at] + bytes(PAGE) + good[at + PAGE:])
            before = len(self.log())
            self.broker._launch()
            process = self.broker.process
            wait_until(lambda: "is ready" in self.log()[before:] or process.poll() is not None, SECONDS,
                       "it serves or refuses")
            if process.poll() is None:
                self.broker.kill()
                continue
            self.assertEqual(process.returncode, DAMAGED, "page at %d: %s" % (at, self.log()[before:]))
            self.assertIn("damaged", self.log()[before:])
            refused += 1
        self.assertGreater(refused, 0)

    def test_running_a_damaged_message_stops_its_queue_when_it_is_due(self):
        # More than is kept in memory, so that the first ones are read from the disk.
        self.fill("hurt", 1000, 50000)
        self.fill("well", 10)
        unlucky = 300
        wait_until(lambda: self.in_file(body("hurt", unlucky)[:12]), SECONDS, "it is in the file")
        self.flip(body("hurt", unlucky)[:12])
        connection = self.connect()
        channel = connection.channel()
        got, cancelled = [], []
        channel.basic_qos(prefetch_count=10)
        channel.add_on_cancel_callback(cancelled.append)

        def take(ch, method, _, content):
            got.append(content)
            ch.basic_ack(method.delivery_tag)
        channel.basic_consume("hurt", take)
        deadline = time.monotonic() + SECONDS
        while not cancelled and time.monotonic() < deadline:
            connection.process_data_events(0.1)
        self.assertTrue(cancelled, "the consumer was not told; it got %d" % len(got))
        self.assertLessEqual(len(got), unlucky)
        self.assertEqual(got, [body("hurt", i, 50000) for i in range(len(got))])
        self.assertRegex(self.log(), r"\[error\] <queue> queue 'hurt' in vhost '/' \(group \d+\): entry \d+ cannot "
                         r"be read: .* not served any more")
        self.assertTrue(channel.is_open)
        self.expect_refused("hurt")
        self.take_all("well", 11)
        # Another start comes to the same end, without loss of what is in front.
        self.expect_mended_by_deletion("hurt", "well")

    def test_running_a_damaged_message_answers_a_get(self):
        self.fill("hurt", 1000, 50000)
        first = body("hurt", 0)[:12]
        wait_until(lambda: self.in_file(first), SECONDS, "it is in the file")
        self.flip(first)
        with self.assertRaises(pika.exceptions.ChannelClosedByBroker) as caught:
            self.channel().basic_get("hurt")
        self.assertEqual(caught.exception.reply_code, 404)
        self.expect_refused("hurt")

    def test_running_a_file_cut_off_ends_the_process_or_stops_the_queue(self):
        self.fill("hurt", 1000, 50000)
        os.truncate(self.data(), os.path.getsize(self.data()) // 8)
        process = self.broker.process
        with contextlib.suppress(pika.exceptions.AMQPError):
            channel = self.channel()
            while channel.basic_get("hurt", auto_ack=True)[0] is not None:
                pass
        wait_until(lambda: process.poll() is not None or "not served any more" in self.log(), SECONDS,
                   "it ends or serves the queue no more")
        if process.poll() is not None:
            self.assertEqual(process.returncode, -signal.SIGABRT)
            self.assertRegex(self.log().splitlines()[-1], "data.mdb cannot be .*; ending the process")

    def in_file(self, text):
        with open(self.data(), "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
            return m.find(text) >= 0


if __name__ == "__main__":
    result = unittest.main(exit=False).result
    failed = len(result.failures) + len(result.errors)
    print("%d passed, %d failed, %d skipped" % (
        result.testsRun - failed - len(result.skipped), failed, len(result.skipped)))
    sys.exit(1 if failed else 0)
