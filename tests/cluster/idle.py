#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many mirrored queues on three nodes: what they cost at rest, and how long they are without a leader when
a node dies.

usage: idle.py [--queues N] [--seconds S] [--at-once]; WARREND names the broker.

After the first publish to each queue all is quiet: processor time, messages on the links, memory. Then
the node that leads most is killed: until every queue has another leader, and then a message to every
queue is confirmed. With --at-once these are published while the queues are without a leader.
"""

import argparse
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

from cluster import Cluster, beside, exit_on_sigterm, wait_until  # noqa: E402
import rawamqp  # noqa: E402

LIMIT_SECONDS = 120
WINDOW = 200  # messages that are not confirmed yet


def cpu(node):
    with open("/proc/%d/stat" % node.process.pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(node):
    with open("/proc/%d/status" % node.process.pid) as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) // 1024


def packets(c):
    """TCP segments with data that the links' sockets have sent, of all nodes."""
    out = subprocess.run(["ss", "-tiHn", "state", "established"], capture_output=True, text=True, check=True).stdout
    ports = {str(n.cluster_port) for n in c.nodes}
    lines = out.replace("\n\t", " ").splitlines()
    return sum(int(m.group(1)) for line in lines
               if {a.rsplit(":", 1)[-1] for a in line.split()[2:4]} & ports
               for m in [re.search(r"data_segs_out:(\d+)", line)] if m)


def name(i):
    return "idle-%d" % i


def connect(node):
    raw = rawamqp.Raw("127.0.0.1", node.port).open()
    raw.open_channel()
    return raw


def declare(node, n):
    raw = connect(node)
    for i in range(n):
        raw.declare(1, name(i), 2)
    raw.close()


def publish_to_each(node, n, window=WINDOW):
    """One message to each queue; returns when each of them was confirmed, in the order of that."""
    raw = connect(node)
    raw.call(1, (85, 10), b"\0", (85, 11))
    at, open_, sent = [], set(), 0
    while sent < n or open_:
        while sent < n and len(open_) < window:
            raw.publish(1, name(sent), b"x", properties=b"\x10\x00\x02")
            sent += 1
            open_.add(sent)
        f = raw.expect((60, 80))
        tag, multiple = f.unpack(">Q"), f.unpack("B")
        done = {t for t in open_ if t <= tag} if multiple else {tag}
        open_ -= done
        at += [time.monotonic()] * len(done)
    raw.close()
    return at


def led(node):
    return node.ctl("list_queues", "-s", "name", "state", "leader", timeout=300).splitlines()


def leaders(c, node):
    count = {n.name: 0 for n in c.nodes}
    for line in led(node):
        count[line.split("\t")[2]] += 1
    return count


def at_rest(c, seconds):
    before, segments = [cpu(n) for n in c.nodes], packets(c)
    time.sleep(seconds)
    used = [cpu(n) - b for n, b in zip(c.nodes, before)]
    print("at rest, %g s: %s %% of a core, %.1f segments per second on the links, resident %s MiB" % (
        seconds, ", ".join("%.2f" % (100 * u / seconds) for u in used), (packets(c) - segments) / seconds,
        ", ".join(str(resident(n)) for n in c.nodes)), flush=True)


def quiet(c):
    """Until nothing but the links' own heartbeats is heard: four a second, each way of three links."""
    def still():
        before = packets(c)
        time.sleep(1)
        return packets(c) - before < 60
    wait_until(still, LIMIT_SECONDS, "the queues rest")


def until_led(victim, others, n, lost=0):
    """Seconds until 95 % of those that were lost, and all of the queues, are led by nodes that live."""
    begun, most = time.monotonic(), None

    def all_are():
        nonlocal most
        rows = [line.split("\t") for line in led(others[0])]
        count = sum(r[1] == "running" and r[2] != victim.name for r in rows)
        assert len(rows) == n, "%d of %d queues are listed" % (len(rows), n)
        if most is None and count >= n - lost * 0.05:
            most = time.monotonic()
        return count == n
    wait_until(all_are, LIMIT_SECONDS, "every queue has a leader")
    return most - begun, time.monotonic() - begun


def a_node_dies(c, n, at_once):
    count = leaders(c, c.nodes[0])
    victim = max(c.nodes, key=lambda node: count[node.name])
    others = [node for node in c.nodes if node is not victim]
    print("leaders: %s" % count, flush=True)
    quiet(c)
    before = sum(cpu(node) for node in others)
    begun = time.monotonic()
    victim.process.kill()
    if not at_once:
        most, every = until_led(victim, others, n, count[victim.name])
        print("%s, which led %d of %d, was killed: 95 %% of them were led again after %.2f s, all after %.2f s; %.1f s of "
              "processor time on both nodes, with that of asking" % (
                  victim.name, count[victim.name], n, most, every, sum(cpu(node) for node in others) - before),
              flush=True)
        before, begun = sum(cpu(node) for node in others), time.monotonic()
    confirmed = publish_to_each(others[1], n, n if at_once else WINDOW)
    print("%s: one message to each of %d queues was confirmed, 95 %% after %.2f s, all after %.2f s; %.1f s of processor "
          "time on both nodes" % ("at once" if at_once else "then", n, confirmed[n * 95 // 100] - begun,
                                  confirmed[-1] - begun, sum(cpu(node) for node in others) - before), flush=True)
    until_led(victim, others, n)
    victim.process.wait()
    victim.start()
    c.wait_running(len(c.nodes))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queues", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--at-once", action="store_true", help="publish as soon as the node is killed")
    options = parser.parse_args()
    exit_on_sigterm()
    with Cluster(3) as c:
        c.form()
        c.mirror_all()
        begun = time.monotonic()
        for i, node in enumerate(c.nodes):
            declare(node, options.queues * (i + 1) // len(c.nodes))  # the earlier ones are there
        print("%d queues declared in %.1f s" % (options.queues, time.monotonic() - begun), flush=True)
        begun = time.monotonic()
        publish_to_each(c.nodes[0], options.queues)
        print("a message to each confirmed in %.1f s" % (time.monotonic() - begun), flush=True)
        quiet(c)
        at_rest(c, options.seconds)
        a_node_dies(c, options.queues, options.at_once)
    return 0


if __name__ == "__main__":
    sys.exit(main())
