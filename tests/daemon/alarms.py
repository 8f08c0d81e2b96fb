#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Resource alarms: publishers are held and told, consumers go on, and all recovers by itself.

usage: alarms.py [unittest arguments]; WARREND names the program.
"""

import os
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "compat"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from broker import Broker, find_python  # noqa: E402
from startup import Client, short  # noqa: E402

try:
    import pika
except ImportError:
    python = find_python("pika")
    if python is None or python == sys.executable:
        print("skipped: no Python with pika")
        sys.exit(77)
    os.execv(python, [python] + sys.argv)

SECONDS = 30  # for one step: a machine with much else to do is slow, but not still
FRAME_MAX = 131072
BODY = b"x" * (256 * 1024)


class Publisher:
    """A plain client that publishes as fast as it may; one thread writes, one reads."""

    def __init__(self, port, queue, count, body):
        self.client = Client(port)
        assert self.client.login("guest", "guest", "/", blocked=True) == "open"
        self.client.send(20, 10, short(""), channel=1)
        assert self.client.receive() == (20, 11)
        self.queue, self.count, self.body = queue, count, body
        self.blocked, self.unblocked, self.done = threading.Event(), threading.Event(), threading.Event()
        self.reason, self.written = None, 0
        for target in (self.write, self.read):
            threading.Thread(target=target, daemon=True).start()

    def write(self):
        method = struct.pack(">HHH", 60, 40, 0) + short("") + short(self.queue) + b"\0"
        header = struct.pack(">HHQH", 60, 0, len(self.body), 0)
        message = frame(1, method) + frame(2, header)
        for at in range(0, len(self.body), FRAME_MAX - 8):
            message += frame(3, self.body[at:at + FRAME_MAX - 8])
        try:
            for _ in range(self.count):
                self.client.socket.sendall(message)
                self.written += 1
            self.done.set()
        except OSError:
            pass  # closed at the test's end

    def wait_blocked(self):
        """False if it has neither been blocked nor could go on for SECONDS."""
        written = -1
        while not self.blocked.is_set() and written != self.written:
            written = self.written
            self.blocked.wait(SECONDS)
        return self.blocked.is_set()

    def read(self):
        try:
            while True:
                method = self.client.receive()
                if method is None:
                    return
                if method == (10, 60):
                    self.reason = self.client.payload[5:5 + self.client.payload[4]].decode()
                    self.blocked.set()
                elif method == (10, 61):
                    self.unblocked.set()
        except (OSError, ValueError):
            pass

    def close(self):
        self.client.socket.shutdown(socket.SHUT_RDWR)
        self.client.socket.close()


def frame(kind, payload):
    return struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"


class Alarms(unittest.TestCase):
    def start(self, *settings):
        directory = tempfile.mkdtemp(prefix="warren-alarms-")
        self.addCleanup(shutil.rmtree, directory, True)
        broker = Broker(directory, settings=settings)
        broker.start()
        self.addCleanup(broker.kill)
        self.connection = pika.BlockingConnection(pika.URLParameters(broker.url))
        self.addCleanup(lambda: self.connection.is_open and self.connection.close())
        self.channel = self.connection.channel()
        return broker

    def drain(self, queue, until):
        """Consumes with acks until the event is set, which may take no longer than SECONDS of an empty queue."""
        empty_since = None
        while not until.is_set():
            method, _, _ = self.channel.basic_get(queue)
            if method is not None:
                self.channel.basic_ack(method.delivery_tag)
                empty_since = None
                continue
            empty_since = empty_since or time.monotonic()
            self.assertLess(time.monotonic(), empty_since + SECONDS, "not released although the queue is drained")
            time.sleep(0.02)

    def test_memory_alarm_holds_publishers_until_consumers_have_drained(self):
        limit = 300 * 1024 * 1024
        broker = self.start("vm_memory_high_watermark.absolute=%d" % limit)
        self.channel.queue_declare("q")  # transient: its messages live in memory
        publisher = Publisher(broker.port, "q", 2 * limit // len(BODY), BODY)
        self.addCleanup(publisher.close)
        self.assertTrue(publisher.wait_blocked(), "never blocked")
        self.assertEqual(publisher.reason, "low on memory")
        self.assertFalse(publisher.done.is_set())
        # Connections that do not publish notice nothing.
        self.channel.queue_declare("other")
        self.drain("q", publisher.unblocked)
        self.drain("q", publisher.done)

    def test_disk_alarm_holds_publishers_but_not_consumers(self):
        broker = self.start("disk_free_limit.absolute=%d" % (1 << 60))
        self.channel.queue_declare("q", durable=True)
        publisher = Publisher(broker.port, "q", 1, b"held")
        self.addCleanup(publisher.close)
        self.assertTrue(publisher.wait_blocked(), "never blocked")
        self.assertEqual(publisher.reason, "low on disk")
        self.assertIsNone(self.channel.basic_get("q")[0])
        self.assertIn("disk resource limit alarm set", broker.log_tail())


if __name__ == "__main__":
    result = unittest.main(exit=False).result
    failed = len(result.failures) + len(result.errors)
    print("%d passed, %d failed, %d skipped" % (
        result.testsRun - failed - len(result.skipped), failed, len(result.skipped)))
    sys.exit(1 if failed else 0)
