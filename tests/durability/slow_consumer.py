#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A fast publisher against a consumer that reads slowly, or not at all.

usage: slow_consumer.py [--seconds N] [--workers N] [--report] [--keep DIR]

For each way of consuming, N seconds: the broker's memory must stay bounded
and a third, well-behaved connection must keep getting its answers quickly.
Then the consumer reads on and must find its messages complete and in order.
With --report limits are not asserted.
"""

import argparse
import json
import os
import select
import shutil
import struct
import threading
import time

from checks import Checks, disk_use, memory, work_directory
from load import SECONDS, Link, Wrong, connect, declare, frame, header_frame, publish_prefix, run
from broker import Broker
import rawamqp

MIB = 1 << 20
BODY_BYTES = 1024
BATCH = 64
SLOW_BYTES = 2048         # that the slow reader takes at a time, some 20 times a second
RSS_LIMIT = 150 * MIB
ANSWER_LIMIT, ATTEMPTS = 1.0, 4  # the machine may be busy: one attempt has to keep to the limit
CATCH_UP = 20000          # messages that are read in the end, or all if there are less
QUEUE = "slow"


class Blaster(threading.Thread):
    """Publishes numbered messages without confirms as fast as the socket takes them."""

    def __init__(self, broker):
        super().__init__(daemon=True)
        self.raw = connect(broker)
        self.stop = threading.Event()
        self.error = None
        self.sent = 0  # messages handed to the socket in full
        frames = publish_prefix(QUEUE) + header_frame(BODY_BYTES) + frame(rawamqp.BODY, bytes(BODY_BYTES))
        self.before, self.after = frames[:-BODY_BYTES - 1], frames[-BODY_BYTES + 7:]

    def run(self):
        s = self.raw.socket
        s.setblocking(False)
        try:
            while not self.stop.is_set():
                left = memoryview(b"".join(self.before + struct.pack(">Q", self.sent + i) + self.after
                                           for i in range(BATCH)))
                while left and not self.stop.is_set():
                    if select.select([], [s], [], 0.1)[1]:
                        left = left[s.send(left):]
                if not left:
                    self.sent += BATCH
        except OSError as e:
            self.error = e

    def end(self):
        self.stop.set()
        self.join(SECONDS)
        self.raw.close()


class Taker:
    """The slow consumer: checks the order, acks nothing."""

    def __init__(self):
        self.count = 0

    def fill(self, link):
        pass

    def on_delivery(self, tag, redelivered, body):
        number = struct.unpack_from(">Q", body)[0]
        if number != self.count or redelivered or len(body) != BODY_BYTES:
            raise Wrong("message %d came where %d was due" % (number, self.count))
        self.count += 1


class Probe:
    """The third connection: publishes, gets and asks, one thing at a time."""

    def __init__(self, broker):
        self.raw = connect(broker)
        declare(self.raw, "probe")
        self.raw.call(1, rawamqp.CONFIRM_SELECT, b"\0", rawamqp.CONFIRM_SELECT_OK)
        self.slowest, self.rounds = {}, 0

    def time(self, name, call, *args):
        before = time.monotonic()
        result = call(*args)
        self.slowest[name] = max(self.slowest.get(name, 0), round(time.monotonic() - before, 3))
        return result

    def publish(self):
        self.raw.publish(1, "probe", b"are you there", properties=b"\x10\x00\x02")
        self.raw.expect(rawamqp.ACK)

    def round(self):
        self.time("publish", self.publish)
        if self.time("get", self.raw.get, 1, "probe") is None:
            raise Wrong("the message published and confirmed is not there")
        self.time("declare", declare, self.raw, "probe")
        self.time("passive", declare, self.raw, QUEUE, 1)
        self.rounds += 1


class Slow:
    """The slow consumer's side, served from the probe's loop."""

    def __init__(self, broker, no_ack, reads):
        raw = connect(broker)
        declare(raw, QUEUE)
        raw.consume(1, QUEUE, bits=2 if no_ack else 0)
        self.taker, self.reads = Taker(), reads
        self.link = Link(raw, self.taker)

    def step(self):
        if not self.reads:
            return
        try:
            self.link.buffer += self.link.socket.recv(SLOW_BYTES)
        except BlockingIOError:
            return
        self.link.parse()

    def catch_up(self, sent):
        wanted = min(self.taker.count + CATCH_UP, sent)
        run([self.link], lambda: self.link.closed or self.taker.count >= wanted, SECONDS, "the consumer catches up")
        if self.link.closed:
            raise Wrong("the consumer's connection was closed")


def watch(broker, blaster, slow, probe, seconds):
    """Returns the highest memory seen: whole, and without mapped files."""
    end = time.monotonic() + seconds
    peak = {"VmRSS": 0, "RssAnon": 0}
    while time.monotonic() < end:
        probe.round()
        slow.step()
        now = memory(broker.process.pid)
        peak = {k: max(v, now[k]) for k, v in peak.items()}
        if blaster.error:
            raise Wrong("the publisher's connection broke: %s" % blaster.error)
        time.sleep(0.05)
    return peak


def one_way(broker, seconds, no_ack, reads):
    blaster, probe = Blaster(broker), Probe(broker)
    slow = Slow(broker, no_ack, reads)
    try:
        blaster.start()
        peak = watch(broker, blaster, slow, probe, seconds)
        blaster.end()
        disk = disk_use(broker.datadir)
        before = time.monotonic()
        slow.catch_up(blaster.sent)
        caught_up = time.monotonic() - before
    finally:
        blaster.end()
        slow.link.close()
        probe.raw.close()
    return {"no_ack": no_ack, "reads": reads, "sent": blaster.sent, "taken": slow.taker.count,
            "peak_rss": peak["VmRSS"], "peak_anon": peak["RssAnon"], "disk": disk, "rounds": probe.rounds,
            "slowest": probe.slowest, "catch_up_seconds": round(caught_up, 2)}


def test(checks, directory, no_ack, reads, options):
    what = "%s, %s" % ("auto-ack" if no_ack else "manual ack", "reads slowly" if reads else "does not read")
    for attempt in range(ATTEMPTS):
        name = "%s-%d" % (what.replace(", ", "-").replace(" ", "-"), attempt)
        figures = measure(checks, os.path.join(directory, name), what, no_ack, reads, options)
        quick = options.report or figures and max(figures["slowest"].values()) < ANSWER_LIMIT
        if quick or not figures:
            break
    if figures:
        checks.expect("%s: answers %s" % (what, figures["slowest"]), quick)


def measure(checks, datadir, what, no_ack, reads, options):
    """The figures, None if something failed."""
    settings = ["worker_threads=%d" % options.workers] if options.workers else []
    broker, figures = Broker(datadir, settings=settings), None
    try:
        with checks.part(what, broker):
            broker.start()
            figures = one_way(broker, options.seconds, no_ack, reads)
            print(json.dumps(figures), flush=True)
            checks.expect("%s: memory %d" % (what, figures["peak_rss"]),
                          options.report or figures["peak_rss"] < RSS_LIMIT)
            broker.stop()
            checks.quiet(broker)
    finally:
        broker.kill()
    if not options.keep:
        shutil.rmtree(datadir, ignore_errors=True)
    return figures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--keep", metavar="DIR")
    options = parser.parse_args()
    checks = Checks()
    with work_directory(options.keep) as directory:
        for no_ack in (True, False):
            for reads in (False, True):
                test(checks, directory, no_ack, reads, options)
    checks.finish()


if __name__ == "__main__":
    main()
