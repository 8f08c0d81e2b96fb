#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measure memory, disk use and restart time with a long queue, and hold them to limits.

usage: footprint.py [--messages N] [--workers N] [--report] [--keep DIR]

N persistent messages of 1 KiB go to a durable queue without consumer, the
broker is restarted, a consumer takes them all. The last line but one is JSON
with the figures (bytes and seconds). With --report limits are not asserted:
for builds with sanitizers, which need more of everything.
"""

import argparse
import json
import os
import struct
import time

from checks import Checks, disk_use, memory, work_directory
from load import (SECONDS, Link, Reader, Wrong, connect, declare, frame, header_frame,
                  publish_prefix, run)
from scene import count_ready
from broker import Broker, BrokerError, wait_until
import rawamqp

MIB = 1 << 20
BODY_BYTES = 1024
WINDOW = 2000
IDLE_LIMIT = 25 * MIB
GROWTH_LIMIT, GROWTH_LEAST, GROWTH_MESSAGES = 100 * MIB, 60 * MIB, 1000000
START_LIMIT, RESTARTS = 2.0, 5
PEAK_LIMIT = 20 * MIB  # a backlog that is many times as large needs no more
DISK_ALLOWANCE, DISK_SHARE, DISK_SECONDS = 64 * MIB, 10, 30


class Filler:
    """Publishes numbered messages with confirms."""

    def __init__(self, queue, messages):
        self.messages, self.sent, self.confirmed = messages, 0, 0
        frames = publish_prefix(queue) + header_frame(BODY_BYTES) + frame(rawamqp.BODY, bytes(BODY_BYTES))
        self.before, self.after = frames[:-BODY_BYTES - 1], frames[-BODY_BYTES + 7:]
        self.missing = set()  # confirmed late, one by one

    def fill(self, link):
        n = min(self.messages - self.sent, WINDOW - (self.sent - self.confirmed))
        if n >= WINDOW // 10 or n == self.messages - self.sent:
            link.out += b"".join(self.before + struct.pack(">Q", self.sent + i) + self.after for i in range(n))
            self.sent += n

    def on_ack(self, tag, multiple):
        if multiple:
            self.confirmed = max(self.confirmed, tag)
        else:
            self.missing.add(tag)
        while self.confirmed + 1 in self.missing:
            self.confirmed += 1
            self.missing.discard(self.confirmed)


class Figures(dict):
    def limit(self, checks, report, name, value, limit):
        self[name] = value
        checks.expect("%s: %s, limit %s" % (name, value, limit), report or value < limit)


def fill(broker, queue, messages):
    raw = connect(broker)
    declare(raw, queue)
    raw.call(1, rawamqp.CONFIRM_SELECT, b"\0", rawamqp.CONFIRM_SELECT_OK)
    filler = Filler(queue, messages)
    link = Link(raw, filler)
    try:
        run([link], lambda: filler.confirmed >= messages, SECONDS, "%d messages are confirmed" % messages,
            lambda: filler.confirmed)
    finally:
        link.close()


def restart_seconds(broker, end, limit):
    """How long it takes until the port accepts after end(); the best of a few times, as the machine may be busy."""
    best = float("inf")
    for _ in range(RESTARTS):
        end()
        before = time.monotonic()
        broker.start()
        best = min(best, round(time.monotonic() - before, 3))
        if best < limit:
            break
    return best


def drain(broker, queue, messages):
    numbers = 0

    def take(redelivered, body):
        nonlocal numbers
        if struct.unpack_from(">Q", body)[0] != numbers or len(body) != BODY_BYTES:
            raise Wrong("message %d came where %d was due" % (struct.unpack_from(">Q", body)[0], numbers))
        numbers += 1
    Reader(queue, take).read(broker, messages)


def timed(figures, name, messages, call):
    before = time.monotonic()
    call()
    figures[name] = round(messages / (time.monotonic() - before))


def settled_memory(pid, kind="VmRSS"):
    """Resident memory once it no longer changes much, within some seconds."""
    deadline = time.monotonic() + 3
    last = memory(pid)[kind]
    while True:
        time.sleep(0.3)
        now = memory(pid)[kind]
        if abs(now - last) < MIB / 4 or time.monotonic() > deadline:
            return now
        last = now


def measure(checks, broker, messages, report):
    figures = Figures(messages=messages, payload=messages * BODY_BYTES)
    broker.start()
    idle = settled_memory(broker.process.pid)
    figures.limit(checks, report, "idle_rss", idle, IDLE_LIMIT)
    timed(figures, "published_per_second", messages, lambda: fill(broker, "long", messages))
    growth_limit = max(GROWTH_LEAST, GROWTH_LIMIT * messages // GROWTH_MESSAGES)
    figures.limit(checks, report, "filled_rss_growth", settled_memory(broker.process.pid) - idle, growth_limit)
    figures["filled"] = memory(broker.process.pid)
    figures["filled_disk"] = disk_use(broker.datadir)
    figures.limit(checks, report, "restart_seconds", restart_seconds(broker, broker.stop, START_LIMIT), START_LIMIT)
    figures.limit(checks, report, "restarted_rss_growth", settled_memory(broker.process.pid) - idle, growth_limit)
    figures.limit(checks, report, "restart_after_kill_seconds", restart_seconds(broker, broker.kill, START_LIMIT),
                  START_LIMIT)
    ready = count_ready(broker, "long")
    checks.expect("queue count", ready == messages, "%d of %d" % (ready, messages))
    timed(figures, "consumed_per_second", messages, lambda: drain(broker, "long", messages))
    disk_limit = figures["payload"] // DISK_SHARE + DISK_ALLOWANCE
    before = time.monotonic()
    try:
        wait_until(lambda: disk_use(broker.datadir) < disk_limit, DISK_SECONDS, "disk use falls")
    except BrokerError:
        pass  # the limit below says so
    figures["drained_disk_seconds"] = round(time.monotonic() - before, 2)
    figures.limit(checks, report, "drained_disk", disk_use(broker.datadir), disk_limit)
    figures["drained_rss_growth"] = settled_memory(broker.process.pid) - idle  # pages of the file, mostly
    figures["peak"] = memory(broker.process.pid)
    figures.limit(checks, report, "drained_peak_growth", figures["peak"]["VmHWM"] - idle, PEAK_LIMIT)
    broker.stop()
    print(json.dumps(figures), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=200000)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--keep", metavar="DIR")
    options = parser.parse_args()
    checks = Checks()
    with work_directory(options.keep) as directory:
        settings = ["worker_threads=%d" % options.workers] if options.workers else []
        broker = Broker(os.path.join(directory, "data"), settings=settings)
        try:
            with checks.part("measuring", broker):
                measure(checks, broker, options.messages, options.report)
                checks.quiet(broker)
        finally:
            broker.kill()
    checks.finish()


if __name__ == "__main__":
    main()
