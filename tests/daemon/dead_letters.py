#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many big messages die at one time, and each goes to many queues: memory stays within the windows, all arrive.

usage: dead_letters.py [unittest arguments]; WARREND names the program.
"""

import os
import shutil
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "compat"))
from broker import Broker, find_python  # noqa: E402

try:
    import pika
except ImportError:
    python = find_python("pika")
    if python is None or python == sys.executable:
        print("skipped: no Python with pika")
        sys.exit(77)
    os.execv(python, [python] + sys.argv)

MIB = 1024 * 1024
LETTERS, TARGETS, BODY = 96, 6, b"x" * MIB
# The copies would take 576 MiB at once; a worker's window is 64 MiB, and the way of what is in it a few times that.
GROWTH_MAX = 400 * MIB
SECONDS = 120


class DeadLetters(unittest.TestCase):
    def test_memory(self):
        directory = tempfile.mkdtemp(prefix="warren-dead-letters-")
        self.addCleanup(shutil.rmtree, directory, True)
        broker = Broker(directory, settings=["worker_threads=1"])
        broker.start()
        self.addCleanup(broker.kill)
        connection = pika.BlockingConnection(pika.URLParameters(broker.url))
        ch = connection.channel()
        ch.exchange_declare("dlx", "fanout")
        targets = ["t%d" % i for i in range(TARGETS)]
        for t in targets:
            ch.queue_declare(t, durable=True)
            ch.queue_bind(t, "dlx")
        ch.queue_declare("q", durable=True, arguments={"x-dead-letter-exchange": "dlx"})
        ch.confirm_delivery()
        for _ in range(LETTERS):
            ch.basic_publish("", "q", BODY)
        for _ in range(LETTERS):
            method, _, _ = ch.basic_get("q")
        self.forget_peak(broker.process.pid)
        before = self.peak(broker.process.pid)
        ch.basic_nack(method.delivery_tag, multiple=True, requeue=False)
        deadline = time.monotonic() + SECONDS
        while any(ch.queue_declare(t, passive=True).method.message_count < LETTERS for t in targets):
            self.assertLess(time.monotonic(), deadline, "the letters do not arrive")
            time.sleep(0.05)
        self.assertLess(self.peak(broker.process.pid) - before, GROWTH_MAX)
        for t in targets:
            self.assertEqual(ch.queue_declare(t, passive=True).method.message_count, LETTERS)
        connection.close()

    def forget_peak(self, pid):
        with open("/proc/%d/clear_refs" % pid, "w") as f:
            f.write("5")

    def peak(self, pid):
        with open("/proc/%d/status" % pid) as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))


if __name__ == "__main__":
    unittest.main()
