#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""warren-perf against a real broker: short verified loads in each mode, and what it says of them.

usage: smoke.py [unittest arguments]; WARREND names the broker, WARREN_PERF the program.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

from broker import Broker, exit_on_sigterm, free_port  # noqa: E402

SECONDS = 120
PROGRESS = re.compile(r"(?m)^ *\d+\.\d s  ")
OK, SETUP, BROKEN, UNVERIFIED, STALLED, USAGE = 0, 1, 2, 3, 4, 64


def program():
    """$WARREN_PERF, else the one beside the broker, else the one in the source tree."""
    beside = os.path.join(os.path.dirname(os.path.abspath(Broker.program())), "warren-perf")
    return os.environ.get("WARREN_PERF") or beside


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    @property
    def json(self):
        return json.loads(self.out)


def start(*arguments):
    return subprocess.Popen([program()] + [str(a) for a in arguments], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def await_progress(process):
    """Until it has said for the first time how far it is: after a second, more or less."""
    for line in process.stderr:
        if PROGRESS.search(line):
            return
    raise AssertionError("it ended without a word of progress")


def finish(process):
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError("did not end:\n" + process.communicate()[1]) from None
    return Result(process.returncode, out, err)


class PerfTest(unittest.TestCase):
    settings = ()

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="warren-perf-")
        cls.broker = Broker(os.path.join(cls.directory, "data"), settings=cls.settings)
        cls.broker.start()

    @classmethod
    def tearDownClass(cls):
        try:
            cls.broker.stop()
        finally:
            shutil.rmtree(cls.directory, ignore_errors=True)

    def perf(self, *arguments, status=OK):
        """Runs it with --json and checks what is true of every run."""
        r = finish(start("--uri", self.broker.url, "--json", *arguments))
        self.assertEqual(r.status, status, r.out + r.err)
        self.assertEqual(r.json["status"], status)
        return r.json

    def verified(self, *arguments):
        d = self.perf("--verify", "--size", "40-400", *arguments)
        v = d["verify"]
        self.assertTrue(v["passed"], v)
        for key in "duplicates", "corrupt", "out_of_order":
            self.assertEqual(v[key], 0, key)
        return d


class Loads(PerfTest):
    def test_both_with_confirms(self):
        d = self.verified("--messages", 5000, "--confirm", 100, "--persistent")
        self.assertTrue(d["drained"])
        for kind in "published", "confirmed", "received":
            self.assertEqual(d[kind]["total"], 5000, kind)
        self.assertEqual(d["verify"]["missing_confirmed"], 0)
        self.assertEqual(d["verify"]["unique"], 5000)
        for which in "confirm", "end_to_end":
            self.assertEqual(d["latency_us"][which]["count"], 5000)
            self.assertLessEqual(d["latency_us"][which]["p50"], d["latency_us"][which]["p99"])

    def test_publish_then_consume(self):
        queue = "kept-%i"
        d = self.verified("--mode", "publish", "--messages", 3000, "--confirm", 50, "--queues", 2, "--queue", queue,
                          "--producers", 3, "--spread", "--keep")
        self.assertEqual(d["received"]["total"], 0)
        d = self.verified("--mode", "consume", "--queues", 2, "--queue", queue, "--ack-every", 10)
        self.assertEqual(d["received"]["total"], 3000)
        self.assertEqual(d["verify"]["holes"], 0)
        self.assertIsNone(d["verify"]["missing_confirmed"])
        # The same again finds them empty, and deletes them.
        d = self.perf("--messages", 10, "--queues", 2, "--queue", queue, "--producers", 2, "--consumers", 2)
        self.assertEqual(d["received"]["total"], 10)

    def test_channels_share_connections(self):
        d = self.verified("--messages", 2000, "--confirm", 20, "--producers", 6, "--consumers", 5, "--channels", 4,
                          "--queues", 3, "--ack-every", 5)
        self.assertEqual(d["connections"]["opened"], 4)
        self.assertEqual(d["received"]["total"], 2000)

    def test_fanout_reaches_every_queue(self):
        d = self.verified("--messages", 1000, "--confirm", 20, "--exchange", "perf.fanout", "--exchange-type", "fanout",
                          "--queues", 3, "--consumers", 3, "--transient")
        self.assertEqual(d["received"]["total"], 3000)
        self.assertEqual(d["verify"]["unique"], 3000)

    def test_topic_with_a_key_per_queue(self):
        d = self.verified("--messages", 600, "--exchange", "amq.topic", "--routing-key", "a.%i.b", "--binding-key",
                          "*.%i.#", "--queues", 4, "--consumers", 2, "--spread", "--ack-every", 0)
        self.assertEqual(d["received"]["total"], 600)

    def test_bodies_larger_than_a_frame(self):
        d = self.perf("--verify", "--size", "40:3,20k:1,200k-300k:1", "--messages", 100, "--confirm", 10,
                      "--frame-max", 4096)
        self.assertEqual(d["verify"]["unique"], 100)

    def test_rate_is_kept_and_measured_after_the_warm_up(self):
        d = self.perf("--rate", 500, "--producers", 2, "--seconds", 2, "--warmup", 1, "--confirm", 100)
        published, latency = d["published"], d["latency_us"]["confirm"]
        # On a busy machine all stand still now and then: so much may fall on the other side of each end of the window.
        pause = max(d[kind]["longest_gap_ms"] for kind in ("published", "confirmed")) + latency["max"] / 1000
        delta = 50 + 2 * pause
        self.assertAlmostEqual(published["window"], 1000 * published["window_s"], delta=delta)
        self.assertAlmostEqual(published["total"], 1000 + 1000 * published["window_s"], delta=delta)
        self.assertAlmostEqual(latency["count"], 1000 * published["window_s"], delta=delta)
        self.assertAlmostEqual(published["per_second"], published["window"] / published["window_s"], delta=1)
        self.assertAlmostEqual(published["window_s"], 2, delta=delta / 1000)

    def test_idle_connections(self):
        d = self.perf("--producers", 0, "--consumers", 0, "--idle-connections", 100, "--seconds", 1)
        self.assertEqual(d["mode"], "idle")
        self.assertEqual(d["connections"]["opened"], 100)

    def test_properties(self):
        d = self.verified("--messages", 500, "--priority", "0-4", "--expiration", 60000, "--headers", "a=1,b=text",
                          "--queue-arguments", "x-max-priority=4", "--queue", "priorities", "--prefetch", 500)
        self.assertEqual(d["received"]["total"], 500)

    def test_text_summary_and_progress(self):
        r = finish(start("--uri", self.broker.url, "--seconds", 1.5, "--rate", 100, "--confirm", 10))
        self.assertEqual(r.status, OK, r.err)
        for word in "published", "confirmed", "received", "end-to-end", "p99.9":
            self.assertIn(word, r.out)
        self.assertRegex(r.err, PROGRESS)
        r = finish(start("--uri", self.broker.url, "--messages", 10, "--quiet"))
        self.assertEqual((r.status, r.err), (OK, ""))


class Answers(PerfTest):
    """What the broker refuses, and how it ends."""

    def test_returned(self):
        d = self.perf("--mode", "publish", "--mandatory", "--exchange", "amq.direct", "--routing-key", "nowhere",
                      "--no-declare", "--messages", 20, "--confirm", 5)
        self.assertEqual(d["returned"], 20)
        self.assertIn("312 NO_ROUTE", d["errors"][0])

    def test_nacked(self):
        d = self.perf("--mode", "publish", "--messages", 50, "--confirm", 5, "--queue", "short",
                      "--queue-arguments", "x-max-length=10,x-overflow=reject-publish")
        self.assertEqual((d["confirmed"]["total"], d["nacked"]), (10, 40))

    def test_channel_closed(self):
        d = self.perf("--mode", "publish", "--exchange", "nowhere", "--no-declare", "--seconds", 30, status=BROKEN)
        self.assertEqual(d["connections"]["channels_closed"], 1)
        self.assertIn("404 NOT_FOUND", d["errors"][0])

    def test_queue_missing(self):
        d = self.perf("--mode", "consume", "--queue", "nowhere", status=SETUP)
        self.assertIn("404 NOT_FOUND", d["errors"][0])

    def test_consumer_cancelled(self):
        self.perf("--mode", "publish", "--queue", "cancelled", "--messages", 1, "--keep")
        reader = start("--uri", self.broker.url, "--json", "--mode", "consume", "--queue", "cancelled", "--seconds", 60)
        await_progress(reader)
        # This one deletes the queue in the end.
        self.perf("--mode", "publish", "--queue", "cancelled", "--messages", 1)
        r = finish(reader)
        self.assertEqual(r.status, BROKEN, r.out)
        self.assertEqual(r.json["connections"]["consumers_cancelled"], 1)

    def test_too_few_descriptors(self):
        few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        done = subprocess.run([program(), "--uri", self.broker.url, "--json", "--producers", "0", "--consumers", "0",
                               "--idle-connections", "100", "--seconds", "1"], preexec_fn=few, capture_output=True,
                              text=True, timeout=SECONDS)
        self.assertEqual(done.returncode, SETUP, done.stderr)
        self.assertIn("ulimit -n", json.loads(done.stdout)["errors"][0])

    def test_as_many_descriptors_as_allowed(self):
        few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 400))
        done = subprocess.run([program(), "--uri", self.broker.url, "--json", "--producers", "0", "--consumers", "0",
                               "--idle-connections", "100", "--seconds", "1"], preexec_fn=few, capture_output=True,
                              text=True, timeout=SECONDS)
        self.assertEqual(done.returncode, OK, done.stderr)

    def test_login_refused(self):
        url = self.broker.url.replace("guest:guest", "guest:wrong")
        r = finish(start("--uri", url, "--json"))
        self.assertEqual(r.status, SETUP)
        self.assertIn("403 ACCESS_REFUSED", r.json["errors"][0])

    def test_nobody_there(self):
        dead = "amqp://127.0.0.1:%d" % free_port()
        self.assertEqual(finish(start("--uri", dead)).status, SETUP)
        r = finish(start("--uri", dead, "--uri", self.broker.url, "--messages", 10, "--json"))
        self.assertEqual(r.status, OK, r.err)

    def test_usage(self):
        for line in "--nothing", "word", "--rate", "--rate x", "--verify --size 16", "--uri http://x":
            r = finish(start(*line.split()))
            self.assertEqual(r.status, USAGE, line)
            self.assertEqual(r.err.count("\n"), 1)

    def test_interrupt_ends_it_in_order(self):
        process = start("--uri", self.broker.url, "--json", "--seconds", 60, "--rate", 100, "--confirm", 10)
        await_progress(process)
        process.send_signal(signal.SIGINT)
        r = finish(process)
        self.assertEqual(r.status, OK, r.err)
        self.assertTrue(r.json["interrupted"])
        self.assertTrue(r.json["drained"])


class Blocked(PerfTest):
    settings = ["disk_free_limit.absolute=1000TB"]

    def test_blocked_is_shown_and_ends_in_time(self):
        if self.broker.external:
            self.skipTest("needs a setting")
        r = finish(start("--uri", self.broker.url, "--json", "--seconds", 2, "--rate", 100, "--confirm", 10,
                         "--drain-idle", 1))
        self.assertEqual(r.status, STALLED, r.err)
        self.assertEqual(r.json["connections"]["blocked"], 1)
        self.assertGreater(r.json["due_unsent"], 150)
        self.assertIn("1 BLOCKED", r.err)


class Restart(PerfTest):
    def run_through(self, *arguments):
        process = start("--uri", self.broker.url, "--json", "--rate", 500, "--seconds", 8, "--verify", "--size", 64,
                        "--persistent", "--confirm", 50, *arguments)
        await_progress(process)
        self.broker.kill()
        time.sleep(0.5)
        self.broker.start()
        return finish(process)

    def test_a_killed_broker_loses_nothing_confirmed(self):
        if self.broker.external:
            self.skipTest("cannot kill it")
        r = self.run_through("--reconnect", "--producers", 2, "--consumers", 2)
        self.assertEqual(r.status, OK, r.out + r.err)
        v = r.json["verify"]
        self.assertEqual((v["missing_confirmed"], v["corrupt"], v["out_of_order"]), (0, 0, 0))
        self.assertEqual(r.json["connections"]["reconnected"], 5)
        self.assertGreater(r.json["published"]["longest_gap_ms"], 400)
        # No coordinated omission: the pause is in the latencies of what was due in it.
        self.assertGreater(r.json["latency_us"]["confirm"]["p99"], 200000)

    def test_without_reconnect_it_ends(self):
        if self.broker.external:
            self.skipTest("cannot kill it")
        r = self.run_through()
        self.assertIn(r.status, (BROKEN, UNVERIFIED), r.err)
        self.assertGreater(r.json["connections"]["lost"], 0)


if __name__ == "__main__":
    exit_on_sigterm()
    unittest.main()
