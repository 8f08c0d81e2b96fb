#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A disk that fills up: publishers are held, consumers drain and their acks count, and publishing goes
on by itself when there is room again. On a small tmpfs of the test's own; needs root.

usage: full_disk.py; WARREND names the program.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "compat"))
sys.path.insert(0, here)
from broker import Broker, find_python  # noqa: E402

try:
    import pika
except ImportError:
    python = find_python("pika")
    if python is None or python == sys.executable:
        print("skipped: no Python with pika")
        sys.exit(77)
    os.execv(python, [python] + sys.argv)

from alarms import Publisher  # noqa: E402

SECONDS = 60
DISK_MIB = 96
BODY = b"x" * 16384


class FullDisk(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="warren-disk-")
        self.addCleanup(shutil.rmtree, self.top, True)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm" % DISK_MIB, "tmpfs", self.top],
                                 capture_output=True, text=True)
        if mounted.returncode != 0:
            self.skipTest("no tmpfs of our own: " + mounted.stderr.strip())
        self.addCleanup(subprocess.run, ["umount", "-l", self.top])
        # No alarm by the limit: the store itself has to notice.
        self.broker = Broker(os.path.join(self.top, "data"), settings=["disk_free_limit.absolute=0"])
        self.broker.start()
        self.addCleanup(self.broker.kill)
        self.channel = self.connect().channel()
        self.channel.queue_declare("q", durable=True)

    def connect(self):
        connection = pika.BlockingConnection(pika.URLParameters(self.broker.url))
        self.addCleanup(self.close, connection)
        return connection

    @staticmethod
    def close(connection):
        with contextlib.suppress(pika.exceptions.AMQPError):  # the broker may have gone before
            connection.close()

    def check_store(self):
        self.broker.stop()
        done = subprocess.run([Broker.program(), "--check-store", self.broker.datadir], capture_output=True,
                              text=True, timeout=SECONDS)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_full_disk_holds_publishers_and_recovers_by_itself(self):
        count = 3 * DISK_MIB * (1 << 20) // len(BODY)
        publisher = Publisher(self.broker.port, "q", count, BODY)
        self.addCleanup(publisher.close)
        self.assertTrue(publisher.blocked.wait(SECONDS), "never blocked")
        self.assertEqual(publisher.reason, "low on disk")
        # Drained with acks: three disks full pass through one.
        got, deadline = 0, time.monotonic() + SECONDS
        for method, _, body in self.channel.consume("q", inactivity_timeout=1):
            self.assertLess(time.monotonic(), deadline, "%d of %d" % (got, count))
            if method is None:
                continue
            self.assertEqual(len(body), len(BODY))
            self.channel.basic_ack(method.delivery_tag)
            got += 1
            if got == count:
                break
        self.channel.cancel()
        self.assertTrue(publisher.done.is_set())
        self.check_store()

    def test_first_start_on_a_full_disk_is_refused_in_words(self):
        self.broker.stop()
        with open(os.path.join(self.top, "fill"), "wb") as f, contextlib.suppress(OSError):
            while True:
                f.write(b"\0" * 65536)
        done = subprocess.run([Broker.program(), "-d", os.path.join(self.top, "new"), "-s",
                               "listeners.tcp.default=127.0.0.1:0", "-s", "cluster.listener=127.0.0.1:0"],
                              capture_output=True, text=True, timeout=SECONDS)
        self.assertIn(done.returncode, (4, 8), done.stderr)
        self.assertTrue(done.stderr.strip())

    def test_killed_on_a_full_disk_it_starts_again_and_serves_what_was_there(self):
        publisher = Publisher(self.broker.port, "q", 3 * DISK_MIB * (1 << 20) // len(BODY), BODY)
        self.assertTrue(publisher.blocked.wait(SECONDS), "never blocked")
        before = self.channel.queue_declare("q", passive=True, durable=True).method.message_count
        self.assertGreater(before, 0)
        publisher.close()
        self.broker.kill()
        self.broker.start()
        channel = self.connect().channel()
        after = channel.queue_declare("q", passive=True, durable=True).method.message_count
        self.assertGreaterEqual(after, before)
        self.assertEqual(channel.queue_purge("q").method.message_count, after)
        channel.confirm_delivery()
        channel.basic_publish("", "q", BODY)  # confirmed: there is room again
        self.check_store()


if __name__ == "__main__":
    result = unittest.main(exit=False).result
    failed = len(result.failures) + len(result.errors)
    print("%d passed, %d failed, %d skipped" % (
        result.testsRun - failed - len(result.skipped), failed, len(result.skipped)))
    sys.exit(1 if failed else 77 if len(result.skipped) == result.testsRun else 0)
