#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long a publisher hears of no confirm when a node is killed: three nodes, a load balancer in front of them, three
publishers and consumers with a queue each, 700 messages of 1 KiB per second and publisher, all verified.

usage: failover.py [--rounds N]                              three nodes of $WARREND, mirrored by a policy
       failover.py --running PORT:PIDFILE,... --restart COMMAND [--queue-arguments LIST]
                                                            three nodes of any broker that run already

Each node is killed in turn by SIGKILL, 4 seconds after the load has begun. Needs nginx with its stream module.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cluster"))

from cluster import Broker, Cluster, beside, exit_on_sigterm, listens, wait_until  # noqa: E402
from broker import answers  # noqa: E402

RATE, QUEUES = 700, 3
BEFORE_SECONDS, SECONDS, REST_SECONDS = 4, 12, 5
READY_SECONDS = 120


class Running:
    """A node that somebody else has started."""

    def __init__(self, text):
        port, self.pidfile = text.split(":")
        self.port = int(port)

    def kill(self):
        with open(self.pidfile) as f:
            os.kill(int(f.read()), signal.SIGKILL)
        wait_until(lambda: not listens(self.port), 10, "port %d is closed" % self.port)


def publishers(front, arguments):
    more = ["--queue-arguments", arguments] if arguments else []
    return [subprocess.Popen(
        [beside("warren-perf"), "--uri", "amqp://guest:guest@127.0.0.1:%d/" % front, "--queue", "failover-%d" % i,
         "--size", "1k", "--persistent", "--confirm", "200", "--ack-every", "20", "--rate", str(RATE), "--seconds",
         str(SECONDS), "--reconnect", "--reconnect-delay", "50", "--verify", "--json", "--quiet", *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for i in range(QUEUES)]


def measure(front, node, arguments):
    """Of each publisher its longest gap, in milliseconds; and how many messages are missing or out of order."""
    load = publishers(front, arguments)
    time.sleep(BEFORE_SECONDS)
    node.kill()
    gaps, wrong = [], 0
    for p in load:
        out, err = p.communicate(timeout=SECONDS + 120)
        try:
            figures = json.loads(out)
        except ValueError:
            raise AssertionError("load: status %d\n%s" % (p.returncode, err[-2000:])) from None
        books = figures["verify"]
        wrong += books["missing_confirmed"] + books["corrupt"] + books["out_of_order"]
        gaps.append(figures["confirmed"]["longest_gap_ms"])
    return gaps, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--running")
    parser.add_argument("--restart")
    parser.add_argument("--queue-arguments")
    options = parser.parse_args()
    exit_on_sigterm()
    Broker.program()
    with Cluster(0 if options.running else 3) as c:
        if options.running:
            c.nodes = [Running(text) for text in options.running.split(",")]
        else:
            c.form()
            c.mirror_all()
        front = c.start_nginx()
        all_gaps, all_wrong = [], 0
        for _ in range(options.rounds):
            for node in c.nodes:
                gaps, wrong = measure(front, node, options.queue_arguments)
                print("port %d killed: no confirm for %s ms; %d messages missing, corrupt or out of order" % (
                    node.port, ", ".join("%d" % g for g in gaps), wrong), flush=True)
                all_gaps += gaps
                all_wrong += wrong
                if options.running:
                    subprocess.run(options.restart, shell=True, check=True, stdout=subprocess.DEVNULL)
                else:
                    node.start()
                    c.wait_running(len(c.nodes))
                wait_until(lambda: answers("127.0.0.1", node.port), READY_SECONDS, "it serves clients")
                time.sleep(REST_SECONDS)
        all_gaps.sort()
        print("median %d ms, longest %d ms, %d wrong" % (all_gaps[len(all_gaps) // 2], all_gaps[-1], all_wrong))
        if options.running:
            c.nodes = []
    return 0


if __name__ == "__main__":
    sys.exit(main())
