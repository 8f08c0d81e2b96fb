#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three nodes on hosts of their own (tests/cluster/wire.py) that are far apart, or behind a thin link.

usage: far.py failover [--ms 0,20,100] [--kills N] [--queues N]
           how long publishers hear of no confirm when the node that leads their queues is killed: so many ms each way between
           all nodes, each publisher on a host of another node than that
       far.py share [--rate 3600000] [--ms 20] [--mbit 20] [--seconds N]
           the third node is behind a link of so many Mbit/s, which the entries of queues at the first one fill (octets per
           second); what a consumer and a publisher there get of another queue of the first node

WARREND names the broker. Needs root and /dev/net/tun.
"""

import argparse
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cluster"))

from cluster import Broker, Cluster, beside, exit_on_sigterm, wait_until  # noqa: E402
from wire import Wire  # noqa: E402

NODES = ["a", "b", "c"]
SETTINGS = ["loopback_users=none", "log.console.level=warning"]
BEFORE_SECONDS, SECONDS = 3, 11
SIZE = 1024


def perf(node, *arguments):
    """A load on the node's own host."""
    command = [beside("warren-perf"), "--uri", "amqp://guest:guest@%s:%d/" % (node.address, node.port), "--json", "--quiet",
               "--keep", *[str(a) for a in arguments]]
    return subprocess.Popen(node.host.command(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def figures(process):
    out, err = process.communicate(timeout=300)
    try:
        return json.loads(out)
    except ValueError:
        raise AssertionError("load: status %d\n%s" % (process.returncode, err[-2000:])) from None


def declare(node, name):
    figures(perf(node, "--queue", name, "--mode", "publish", "--messages", 1, "--persistent", "--confirm", 1))


# ---- failover ----

def set_distance(wire, ms):
    for a in NODES:
        for b in NODES:
            if a != b:
                wire.delay(a, b, ms / 1000)


def kill(cluster, node, queues):
    """The longest gap of each publisher, in ms."""
    others = [n for n in cluster.nodes if n is not node]
    load = [perf(others[i % 2], "--queue", name, "--mode", "publish", "--persistent", "--confirm", 200, "--rate", 50,
                 "--size", 256, "--seconds", SECONDS, "--no-declare") for i, name in enumerate(queues)]
    time.sleep(BEFORE_SECONDS)
    node.kill()
    gaps = [figures(p)["confirmed"]["longest_gap_ms"] for p in load]
    node.start()
    cluster.wait_running(len(NODES))
    return gaps


def wait_led(cluster, node, queues):
    def led():
        rows = node.queues("pid", "state")
        return all(node.name in str(rows.get(q, {}).get("pid")) for q in queues)
    wait_until(led, 60, "%s leads its queues" % node.name)
    cluster.wait_synchronised(queues)


def failover(options):
    for ms in [float(x) for x in options.ms.split(",")]:
        with Wire(NODES) as wire, Cluster(hosts=wire.hosts, settings=SETTINGS) as c:
            set_distance(wire, ms)
            c.form()
            c.mirror_all()
            queues = {n: ["%s-%d" % (n.host.name, i) for i in range(options.queues)] for n in c.nodes}
            for n in c.nodes:
                for name in queues[n]:
                    declare(n, name)
            gaps = []
            for i in range(options.kills):
                node = c.nodes[i % len(c.nodes)]
                wait_led(c, node, queues[node])
                gaps += kill(c, node, queues[node])
            gaps.sort()
            print("%3g ms each way: %d failovers, no confirm for %d ms (median), %d (90 of 100), %d (longest)" % (
                ms, len(gaps), gaps[len(gaps) // 2], gaps[len(gaps) * 9 // 10], gaps[-1]), flush=True)


# ---- sharing a thin link ----

def share(options):
    with Wire(NODES) as wire, Cluster(hosts=wire.hosts, settings=SETTINGS) as c:
        c.form()
        near, _, behind = c.nodes
        near.ctl("set_policy", "-p", "/", "ha-all", "^entries", '{"ha-mode":"all","ha-sync-mode":"automatic"}')
        entries = ["entries-%d" % i for i in range(options.queues)]
        for name in entries + ["there", "back"]:
            declare(near, name)
        c.wait_synchronised(entries)
        for n in NODES[:2]:
            wire.set_way(n, "c", delay=float(options.ms) / 1000, rate=options.mbit * 1e6 / 8)
            wire.set_way("c", n, delay=float(options.ms) / 1000)
        seconds = options.seconds
        n = options.queues
        entries = perf(near, "--queue", "entries-%i", "--queues", n, "--producers", n, "--consumers", n, "--size", options.size,
                       "--persistent", "--confirm", 200, "--rate", options.rate / options.size / n, "--seconds", seconds + 10,
                       "--no-declare")
        time.sleep(5)
        there = perf(behind, "--queue", "there", "--mode", "consume", "--no-declare", "--seconds", seconds, "--prefetch", 2000,
                     "--ack-every", 100)
        feed = perf(near, "--queue", "there", "--mode", "publish", "--size", SIZE, "--rate", 1500, "--seconds", seconds,
                    "--no-declare", "--confirm", 500)
        back = perf(behind, "--queue", "back", "--size", 64, "--rate", 20, "--confirm", 20, "--seconds", seconds,
                    "--no-declare", "--drain-max", 5)
        got, echo, fed, all_entries = figures(there), figures(back), figures(feed), figures(entries)
        print("behind the link: %d messages of %d octets delivered per second of %d; a message from there and back: %.2f s "
              "(median), %.2f s (99 of 100); entries: %d confirmed per second, %.1f ms (median)" % (
                  got["received"]["per_second"], SIZE, fed["confirmed"]["per_second"],
                  echo["latency_us"]["end_to_end"]["p50"] / 1e6, echo["latency_us"]["end_to_end"]["p99"] / 1e6,
                  all_entries["confirmed"]["per_second"], all_entries["latency_us"]["confirm"]["p50"] / 1e3), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["failover", "share"])
    parser.add_argument("--ms", default=None)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--queues", type=int, default=10)
    parser.add_argument("--rate", type=float, default=3.6e6)
    parser.add_argument("--size", type=int, default=100 * 1024, help="of messages that become entries (%(default)s)")
    parser.add_argument("--mbit", type=float, default=20)
    parser.add_argument("--seconds", type=int, default=15)
    options = parser.parse_args()
    options.ms = options.ms or {"failover": "0,20,100", "share": "20"}[options.what]
    exit_on_sigterm()
    Broker.program()
    {"failover": failover, "share": share}[options.what](options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
