#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measure what queues and connections cost that nobody uses, and hold it to limits.

usage: at_rest.py [--queues N] [--connections N] [--report]

N durable queues are declared one after the other, the broker is restarted, a
message goes through each of them; N connections with a channel are opened and
send something. The last line but one is JSON with the figures: resident bytes
each, and commits of the store per declaration. With --report limits are not
asserted: for builds with sanitizers, which need more of everything.
"""

import argparse
import json
import os
import resource
import struct

from checks import Checks, work_directory
from footprint import Figures, settled_memory
from load import connect, declare_arguments
from broker import Broker
import rawamqp

KIB = 1 << 10
NEW_QUEUE_LIMIT, USED_QUEUE_LIMIT, CONNECTION_LIMIT = 4 * KIB, 20 * KIB, 10 * KIB
COMMITS_LIMIT = 1.3  # of a declaration; the rest is work that the store does now and then
DESCRIPTORS = 4096


def commits(broker):
    """Transactions that the store has committed: the newer of data.mdb's two meta pages says it."""
    with open(os.path.join(broker.datadir, "data.mdb"), "rb") as f:
        pages = [f.read(4096) for _ in range(2)]
    return max(struct.unpack_from("<Q", page, 144)[0] for page in pages)


def declare_queues(broker, n):
    raw = connect(broker)
    for i in range(n):
        raw.call(1, rawamqp.QUEUE_DECLARE, declare_arguments("q%d" % i, 2), rawamqp.QUEUE_DECLARE_OK)
    raw.close()


def use_queues(broker, n):
    raw = connect(broker)
    for i in range(n):
        raw.publish(1, "q%d" % i, b"a message")
    for i in range(n):
        assert raw.get(1, "q%d" % i) is not None
    raw.close()


def own_memory(broker):
    """Without pages of the data file, which come and go."""
    return settled_memory(broker.process.pid, "RssAnon")


def per(figures, checks, report, name, grown, n, limit):
    figures.limit(checks, report, name, round(grown / n), limit)


def measure_queues(checks, broker, n, report, figures):
    broker.start()
    declare_queues(broker, 1)
    idle, before = own_memory(broker), commits(broker)
    declare_queues(broker, n)
    figures.limit(checks, report, "commits_per_declaration", (commits(broker) - before) / n, COMMITS_LIMIT)
    per(figures, checks, report, "new_queue", own_memory(broker) - idle, n, NEW_QUEUE_LIMIT)
    broker.stop()
    broker.start()
    per(figures, checks, report, "restarted_queue", own_memory(broker) - idle, n, NEW_QUEUE_LIMIT)
    use_queues(broker, n)
    per(figures, checks, report, "used_queue", own_memory(broker) - idle, n, USED_QUEUE_LIMIT)
    broker.stop()
    broker.start()
    per(figures, checks, report, "used_queue_restarted", own_memory(broker) - idle, n,
        USED_QUEUE_LIMIT)
    broker.stop()


def measure_connections(checks, broker, n, report, figures):
    broker.start()
    connect(broker).close()
    idle = own_memory(broker)
    links = [connect(broker) for _ in range(n)]
    per(figures, checks, report, "connection", own_memory(broker) - idle, n, CONNECTION_LIMIT)
    for raw in links:
        raw.publish(1, "nowhere", bytes(1024))
        raw.call(1, rawamqp.QOS, struct.pack(">IHB", 0, 10, 0), rawamqp.QOS_OK)
    per(figures, checks, report, "used_connection", own_memory(broker) - idle, n, CONNECTION_LIMIT)
    for raw in links:
        raw.close()
    broker.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--queues", type=int, default=3000)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, DESCRIPTORS), hard))
    checks, figures = Checks(), Figures()
    with work_directory() as directory:
        for part, n in ((measure_queues, options.queues), (measure_connections, options.connections)):
            broker = Broker(os.path.join(directory, part.__name__))
            try:
                with checks.part(part.__name__, broker):
                    part(checks, broker, n, options.report, figures)
                    checks.quiet(broker)
            finally:
                broker.kill()
    print(json.dumps(figures), flush=True)
    checks.finish()


if __name__ == "__main__":
    main()
