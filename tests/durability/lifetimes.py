#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A few messages that stay among very many that pass: disk use must follow those that stay.

usage: lifetimes.py [--messages N] [--queues N] [--stages N] [--workers N] [--report] [--keep DIR]

Twice, first with one queue, then with many: N messages of 1 KiB pass through
the queues. In each stage a further consumer takes one message of each queue and does
not acknowledge it, so that those which stay are spread over all that was ever
written. A line of JSON per
stage: messages per second, bytes on disk. In the end what was held is given
back, and every message must come again as it was.
"""

import argparse
import json
import os
import time

from checks import Checks, disk_use, work_directory
from load import METHOD_ID, SECONDS, Link, Wrong, connect, consume_frame, declare, declare_arguments, frame, qos, run
from perf import Perf
from scene import count_ready
from broker import Broker, BrokerError, wait_until
import rawamqp

MIB = 1 << 20
BODY_BYTES = 1024
# The reserve (16 MiB), what the cleaner leaves lying (16 MiB), free pages of the file that are kept
# for the next commits (64 MiB).
DISK_ALLOWANCE = 96 * MIB
# Raft's log before a snapshot is due, of a queue and of all of a worker's.
LOG_BYTES, WORKER_LOG_BYTES = 1 * MIB, 64 * MIB
HELD_BYTES = 16 * 1024  # an entry that holds one message, and others that came in the same turn
LONG_SECONDS, SLOWEST = 8, 2.5  # a stage as long as that may be compared; and may take so many times the first
SETTLE_SECONDS = 30
ATTACH_SECONDS = 120


class Holder:
    """Takes one message of each queue and keeps it."""

    def __init__(self, broker, queues):
        raw = connect(broker)
        qos(raw, 1)
        self.wanted, self.bodies = len(queues), []
        self.link = Link(raw, self)
        self.attached = False
        for queue in queues:
            self.link.out += consume_frame(queue)
        self.link.out += frame(rawamqp.METHOD, METHOD_ID.pack(*rawamqp.QUEUE_DECLARE)
                               + declare_arguments(queues[0], 1))

    def fill(self, link):
        pass

    def on_declared(self, ready):
        self.attached = True

    def on_delivery(self, tag, redelivered, body):
        self.bodies.append(body)

    def full(self):
        return len(self.bodies) >= self.wanted


def attach(broker, queues):
    holder = Holder(broker, queues)
    run([holder.link], lambda: holder.attached, ATTACH_SECONDS, "%d consumers are attached" % len(queues))
    return holder


def hold(holder, queues):
    run([holder.link], holder.full, SECONDS, "each of %d queues gives a message" % len(queues),
        lambda: len(holder.bodies))


def stage(broker, pattern, queues, messages):
    holder = attach(broker, queues)
    perf = Perf(broker, "--messages", messages, "--size", BODY_BYTES, "--persistent", "--queues", len(queues),
                "--queue", pattern, "--no-declare", "--spread", "--producers", 2, "--consumers", len(queues),
                "--channels", 200, "--confirm", 1000, "--prefetch", 500, "--ack-every", 10, "--drain-idle", 1)
    try:
        hold(holder, queues)
        began = time.monotonic()
        summary = perf.finish()
        return holder, {"messages": messages, "confirmed_per_second": round(summary["confirmed"]["per_second"]),
                        "seconds": round(time.monotonic() - began, 1)}
    finally:
        perf.end()


def give_back(broker, queues, holders):
    """Messages that were held return when their consumers go; all are there, unchanged."""
    held = sorted(body for holder in holders for body in holder.bodies)
    for holder in holders:
        holder.link.close()
    wait_until(lambda: sum(count_ready(broker, q) for q in queues) == len(held), SETTLE_SECONDS,
               "%d messages are back" % len(held))
    raw = connect(broker)
    got = []
    for queue in queues:
        for _ in holders:
            message = raw.get(1, queue, no_ack=True)
            if message is None:
                raise Wrong("%s has less than was held" % queue)
            got.append(message[2])
    raw.close()
    if sorted(got) != held:
        raise Wrong("what came back is not what was held")


def disk_limit(options, queues, held):
    workers = options.workers or os.cpu_count()
    log = min(queues * LOG_BYTES, workers * WORKER_LOG_BYTES)
    return DISK_ALLOWANCE + 2 * (log + held * HELD_BYTES)  # twice: the cleaner begins at half


def pass_by(checks, broker, pattern, count, options):
    queues = [pattern.replace("%i", str(i)) for i in range(count)]
    raw = connect(broker)
    for queue in queues:
        declare(raw, queue)
    raw.close()
    holders, seconds = [], []
    for _ in range(options.stages):
        holder, figures = stage(broker, pattern, queues, options.messages // options.stages)
        holders.append(holder)
        seconds.append(figures["seconds"])
        limit = disk_limit(options, count, count * len(holders))
        try:
            wait_until(lambda: disk_use(broker.datadir) < limit or options.report, SETTLE_SECONDS, "disk use falls")
        except BrokerError:
            pass  # the check below says so
        figures.update(queues=count, held=sum(len(h.bodies) for h in holders), disk=disk_use(broker.datadir))
        print(json.dumps(figures), flush=True)
        checks.expect("disk use %d with %d messages held, limit %d" % (figures["disk"], figures["held"], limit),
                      options.report or figures["disk"] < limit)
    if seconds[0] > LONG_SECONDS:
        checks.expect("the rate is stable: %s" % seconds, options.report or max(seconds) < SLOWEST * seconds[0])
    give_back(broker, queues, holders)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=300000)
    parser.add_argument("--queues", type=int, default=50)
    parser.add_argument("--stages", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--keep", metavar="DIR")
    options = parser.parse_args()
    checks = Checks()
    with work_directory(options.keep) as directory:
        for count in (1, options.queues):
            settings = ["worker_threads=%d" % options.workers] if options.workers else []
            broker = Broker(os.path.join(directory, "%d" % count), settings=settings)
            try:
                with checks.part("%d queues" % count, broker):
                    broker.start()
                    pass_by(checks, broker, "stay-%i", count, options)
                    broker.stop()
                    checks.quiet(broker)
            finally:
                broker.kill()
    checks.finish()


if __name__ == "__main__":
    main()
