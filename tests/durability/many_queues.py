#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many queues, each a Raft group of its own, with a few messages in each.

usage: many_queues.py [--queues N] [--messages N] [--workers N] [--report] [--keep DIR]

N durable queues are declared, filled round robin with confirms, the broker is
restarted, and everything is consumed: all there, in order, nothing twice. The
last line but two is JSON with the figures. With --report limits are not
asserted. By hand: --queues 10000.
"""

import argparse
import json
import os
import struct
import time

from checks import Checks, disk_use, work_directory
from footprint import restart_seconds, settled_memory
from load import (METHOD_ID, SECONDS, Link, Wrong, ack_frame, connect, consume_frame, declare_arguments, frame,
                  header_frame, publish_prefix, qos, run)
from broker import Broker
import rawamqp

BODY_BYTES = 1024
WINDOW = 2000
QUEUE_LIMIT = 48 * 1024   # bytes of memory per queue, besides the messages' own
START_LIMIT, START_QUEUE_LIMIT = 2.0, 0.001  # seconds, and per queue


def name(queue):
    return "many-%d" % queue


class Declarer:
    """Declares one queue after the other, and always has some on their way."""

    AHEAD = 100

    def __init__(self, queues):
        self.queues, self.sent, self.done = queues, 0, 0

    def fill(self, link):
        while self.sent < self.queues and self.sent - self.done < self.AHEAD:
            link.out += frame(rawamqp.METHOD, METHOD_ID.pack(*rawamqp.QUEUE_DECLARE)
                              + declare_arguments(name(self.sent), 2))
            self.sent += 1

    def on_declared(self, ready):
        self.done += 1


class Filler:
    """Message i goes to queue i modulo their number."""

    def __init__(self, queues, each):
        self.queues, self.total = queues, queues * each
        self.sent, self.open = 0, {}

    def fill(self, link):
        chunks = []
        while self.sent < self.total and len(self.open) < WINDOW:
            queue = self.sent % self.queues
            body = struct.pack(">II", queue, self.sent // self.queues).ljust(BODY_BYTES, b"m")
            chunks += [publish_prefix(name(queue)), header_frame(BODY_BYTES), frame(rawamqp.BODY, body)]
            self.sent += 1
            self.open[self.sent] = True
        link.out += b"".join(chunks)

    def on_ack(self, tag, multiple):
        if not multiple:
            del self.open[tag]
            return
        for t in list(self.open):
            if t > tag:
                break
            del self.open[t]

    def confirmed(self):
        return self.sent - len(self.open)


class Taker:
    """Consumes all queues on one channel."""

    def __init__(self, queues, each):
        self.queues, self.each = queues, each
        self.next = [0] * queues
        self.count = self.last = self.acked = 0

    def begin(self, link):
        for queue in range(self.queues):
            link.out += consume_frame(name(queue))

    def fill(self, link):
        if self.last > self.acked:
            link.out += ack_frame(self.last, True)
            self.acked = self.last

    def on_delivery(self, tag, redelivered, body):
        queue, number = struct.unpack_from(">II", body)
        if redelivered or number != self.next[queue] or len(body) != BODY_BYTES:
            raise Wrong("%s: message %d came where %d was due" % (name(queue), number, self.next[queue]))
        self.next[queue] += 1
        self.last = tag
        self.count += 1


def timed(figures, what, call, *args):
    before = time.monotonic()
    result = call(*args)
    figures[what] = round(time.monotonic() - before, 2)
    return result


def declare_all(broker, queues):
    link = Link(connect(broker), Declarer(queues))
    actor = link.actor
    run([link], lambda: actor.done >= queues, SECONDS, "%d queues are declared" % queues, lambda: actor.done)
    link.close()


def fill_all(broker, queues, each):
    raw = connect(broker)
    raw.call(1, rawamqp.CONFIRM_SELECT, b"\0", rawamqp.CONFIRM_SELECT_OK)
    link = Link(raw, Filler(queues, each))
    actor = link.actor
    run([link], lambda: actor.confirmed() >= actor.total, SECONDS, "all is confirmed", actor.confirmed)
    link.close()


def take_all(broker, queues, each):
    raw = connect(broker)
    qos(raw, 100)
    link = Link(raw, Taker(queues, each))
    actor = link.actor
    actor.begin(link)
    run([link], lambda: actor.count >= queues * each, SECONDS, "all is delivered", lambda: actor.count)
    link.close()
    if actor.next != [each] * queues:
        raise Wrong("some queues had more or less than was published to them")


def measure(checks, broker, options):
    queues, each = options.queues, options.messages
    figures = {"queues": queues, "messages": queues * each}
    broker.start()
    pid = broker.process.pid
    idle = settled_memory(pid)
    timed(figures, "declare_seconds", declare_all, broker, queues)
    figures["empty_bytes_per_queue"] = (settled_memory(pid) - idle) // queues
    timed(figures, "publish_seconds", fill_all, broker, queues, each)
    figures["full_bytes_per_queue"] = (settled_memory(pid) - idle) // queues
    figures["disk"] = disk_use(broker.datadir)
    timed(figures, "stop_seconds", broker.stop)
    limit = START_LIMIT + START_QUEUE_LIMIT * queues
    figures["start_seconds"] = restart_seconds(broker, broker.stop, limit)
    pid = broker.process.pid
    figures["restarted_bytes_per_queue"] = (settled_memory(pid) - idle) // queues
    figures["start_after_kill_seconds"] = restart_seconds(broker, broker.kill, limit)
    timed(figures, "consume_seconds", take_all, broker, queues, each)
    figures["drained_bytes_per_queue"] = (settled_memory(broker.process.pid) - idle) // queues
    timed(figures, "last_stop_seconds", broker.stop)
    print(json.dumps(figures), flush=True)
    for which in "empty", "full", "restarted", "drained":
        size = figures["%s_bytes_per_queue" % which]
        most = QUEUE_LIMIT + (0 if which == "empty" else each * BODY_BYTES)
        checks.expect("%s queue: %d bytes, limit %d" % (which, size, most), options.report or size < most)
    for which in "start_seconds", "start_after_kill_seconds":
        checks.expect("%s: %s, limit %s" % (which, figures[which], limit), options.report or figures[which] < limit)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--queues", type=int, default=500)
    parser.add_argument("--messages", type=int, default=10, help="in each queue")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--keep", metavar="DIR")
    options = parser.parse_args()
    checks = Checks()
    with work_directory(options.keep) as directory:
        settings = ["worker_threads=%d" % options.workers] if options.workers else []
        broker = Broker(os.path.join(directory, "data"), settings=settings)
        try:
            with checks.part("%d queues" % options.queues, broker):
                measure(checks, broker, options)
                checks.quiet(broker)
        finally:
            broker.kill()
    checks.finish()


if __name__ == "__main__":
    main()
