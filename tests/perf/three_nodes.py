#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three nodes that mirror every queue, under load: rates, latencies, CPU time of all three together.

usage: three_nodes.py [options]; WARREND names the broker, WARREN_PERF the load tool.

Persistent messages of 1 KiB with --confirm confirms in flight, acknowledged every 100, one producer and one consumer for
each queue. The contenders take turns, and medians over the rounds are printed. A contender is a build of ours, which
gets three nodes of its own (--build), or three nodes of any broker that run already (--running).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cluster"))

from cluster import Broker, Cluster, beside, exit_on_sigterm  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
LOAD = ["--size", "1024", "--persistent", "--prefetch", "1000", "--ack-every", "100"]
DRAIN_SECONDS = 120
QUIET = ["log.console.level=warning", "loopback_users=none"]


class Contender:
    """Three nodes by port and pid."""

    def __init__(self, name, nodes, arguments=None):
        self.name = name
        self.ports = [port for port, _ in nodes]
        self.pids = [pid for _, pid in nodes]
        self.arguments = ["--queue-arguments", arguments] if arguments else []

    def cpu(self):
        """Seconds of all three so far."""
        total = 0
        for pid in self.pids:
            with open("/proc/%d/stat" % pid) as f:
                user, system = f.read().rpartition(")")[2].split()[11:13]
                total += int(user) + int(system)
        return total / TICKS

    def uri(self, via):
        """Queues belong to the first node, where they are declared."""
        ports = {"leader": self.ports[:1], "follower": self.ports[1:2], "all": self.ports}[via]
        return ",".join("amqp://guest:guest@127.0.0.1:%d/" % p for p in ports)


def perf(*arguments):
    program = os.environ.get("WARREN_PERF") or beside("warren-perf")
    done = subprocess.run([program, "--json", "--quiet", *[str(a) for a in arguments]], stdout=subprocess.PIPE,
                          text=True)
    if done.returncode != 0:
        sys.exit("%s %s: status %d\n%s" % (program, arguments, done.returncode, done.stdout))
    return json.loads(done.stdout)


def measure(contender, queues, options):
    """One run: rate, percentiles of the confirms in ms, CPU seconds per million messages."""
    shape = ["--queues", queues, "--queue", "three-%i" if queues > 1 else "three", *contender.arguments]
    # The first node is to lead, wherever the clients are.
    perf("--uri", contender.uri("leader"), "--mode", "publish", "--messages", queues, "--producers", queues, "--keep",
         *shape)
    load = ["--confirm", options.confirm, "--seconds", options.seconds, "--warmup", options.warmup, "--producers", queues, "--consumers", queues]
    if options.rate:
        load += ["--rate", options.rate / queues]
    before = contender.cpu()
    d = perf("--uri", contender.uri(options.via), "--drain-max", DRAIN_SECONDS, *LOAD, *load, *shape)
    cpu = (contender.cpu() - before) * 1e6 / d["confirmed"]["total"]
    late = d["latency_us"]["confirm" if options.latency == "confirm" else "end_to_end"]
    return [d["confirmed"]["per_second"], d["received"]["per_second"]] + \
        [late[p] / 1e3 for p in ("p50", "p99", "p99_9")] + [cpu]


def show(name, queues, figures):
    print("%-16s %6d  %9.0f %9.0f  %8.2f %8.2f %8.2f  %7.1f" % (name, queues, *figures), flush=True)


def compare(contenders, queues, options):
    runs = {c.name: [] for c in contenders}
    for _ in range(options.rounds):
        for c in contenders:
            runs[c.name].append(measure(c, queues, options))
            if options.each:
                show("  " + c.name, queues, runs[c.name][-1])
    for c in contenders:
        show(c.name, queues, [statistics.median(column) for column in zip(*runs[c.name])])


def running(text):
    name, _, rest = text.partition("=")
    nodes, _, arguments = rest.partition(";")
    return Contender(name, [tuple(int(x) for x in n.split(":")) for n in nodes.split(",")], arguments)


def start(name, program):
    os.environ["WARREND"] = program
    cluster = Cluster(3, settings=QUIET)
    try:
        cluster.form()
        cluster.mirror_all()
    except BaseException:
        cluster.close()
        raise
    return cluster, Contender(name, [(n.port, n.process.pid) for n in cluster.nodes])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", action="append", default=[], metavar="NAME=WARREND",
                        help="a build of ours; without any: $WARREND")
    parser.add_argument("--running", action="append", default=[], type=running,
                        metavar="NAME=PORT:PID,PORT:PID,PORT:PID[;ARGUMENTS]",
                        help="nodes that run already; ARGUMENTS of its queues, as x-queue-type=quorum")
    parser.add_argument("--queues", default="1,10", help="numbers of queues to measure with (%(default)s)")
    parser.add_argument("--via", choices=["leader", "follower", "all"], default="leader",
                        help="the node that clients connect to (%(default)s)")
    parser.add_argument("--confirm", type=int, default=1000, help="confirms in flight per producer (%(default)s)")
    parser.add_argument("--rate", type=float, help="messages per second in all, an open loop; else as many as go")
    parser.add_argument("--latency", choices=["confirm", "end-to-end"], default="confirm",
                        help="of which the percentiles are (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warmup", type=float, default=1)
    parser.add_argument("--each", action="store_true", help="print every run")
    options = parser.parse_args()
    builds = [b.partition("=")[::2] for b in options.build] or ([("warren", Broker.program())])
    clusters, contenders = [], []
    try:
        for name, program in builds:
            cluster, contender = start(name, os.path.abspath(program))
            clusters.append(cluster)
            contenders.append(contender)
        contenders += options.running
        print("%-16s %6s  %9s %9s  %8s %8s %8s  %7s" % ("", "queues", "confirm/s", "deliver/s", "p50 ms", "p99 ms",
                                                        "p99.9 ms", "CPU s/M"), flush=True)
        for queues in options.queues.split(","):
            compare(contenders, int(queues), options)
    finally:
        for cluster in clusters:
            cluster.__exit__(None)


if __name__ == "__main__":
    exit_on_sigterm()
    main()
