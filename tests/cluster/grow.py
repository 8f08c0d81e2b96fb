#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A queue with a long backlog gets mirrors while it, and a mirrored queue beside it, are under load.

usage: grow.py [--messages N] [--rate R] [--seconds S] [--rounds N]; WARREND names the broker.

First policies copy at once (ha-sync-mode automatic), to one mirror and then to another: confirms before,
during and after. Then mirrors that an operator has to ask for: sync_queue begins the copy,
cancel_sync_queue ends it. Last, nodes leave and come back empty under a load that checks every message.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

from cluster import Cluster, beside, exit_on_sigterm, wait_until  # noqa: E402
import rawamqp  # noqa: E402

SIZE = 1024
COPY_SECONDS = 600
ALL = '{"ha-mode":"all","ha-sync-mode":"%s"}'


def perf(node, *arguments):
    return [beside("warren-perf"), "--uri", "amqp://guest:guest@127.0.0.1:%d/" % node.port, "--size", str(SIZE),
            "--persistent", "--confirm", "1000", "--json", *arguments]


class Load:
    """A publisher at a fixed rate, which ends when it is told, and the worst of its seconds."""

    def __init__(self, node, queue, rate, *arguments):
        self.process = subprocess.Popen(
            perf(node, "--queue", queue, "--rate", str(rate), "--seconds", "3600", "--keep", *arguments),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr))
        self.reader.start()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        out = self.process.stdout.read()
        status = self.process.wait(120)
        self.reader.join()
        assert status == 0, "load: status %d\n%s\n%s" % (status, out, "".join(self.lines[-5:]))
        return json.loads(out)

    def worst_second(self):
        p99 = [int(m.group(1)) for m in re.finditer(r"confirm p50 \d+ p99 (\d+) us", "".join(self.lines))]
        return max(p99, default=0)


def loads(c, rate):
    """On the queue that is copied, and on the one beside it, through the node that leads both."""
    node = c.nodes[0]
    return {"grows": Load(node, "grows", rate, "--mode", "publish"), "beside": Load(node, "beside", rate)}


def told(phase, running):
    figures = {}
    for name, load in running.items():
        summary = load.end()
        c = summary["latency_us"]["confirm"]
        figures[name] = c
        print("%-28s %-7s confirms p50 %6.2f  p99 %7.2f  p99.9 %7.2f  max %7.2f ms; p99 of the worst second %7.2f ms"
              % (phase, name, c["p50"] / 1e3, c["p99"] / 1e3, c["p99_9"] / 1e3, c["max"] / 1e3,
                 load.worst_second() / 1e3), flush=True)
    return figures


def resident(node, key="VmRSS"):
    with open("/proc/%d/status" % node.process.pid) as f:
        return int(re.search(key + r":\s+(\d+)", f.read()).group(1)) // 1024


def memory(c, what):
    print("%s: resident (without files) %s MiB, highest %s MiB, processor s %s" % (
        what, ", ".join("%d (%d)" % (resident(n), resident(n, "RssAnon")) for n in c.nodes),
        ", ".join(str(resident(n, "VmHWM")) for n in c.nodes), ", ".join("%.1f" % cpu(n) for n in c.nodes)), flush=True)


def cpu(node):
    with open("/proc/%d/stat" % node.process.pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def mirrors_of(c, queue):
    row = c.nodes[0].queues("slave_pids", "synchronised_slave_pids", "messages")[queue]
    return len(row["slave_pids"] or []), len(row["synchronised_slave_pids"] or []), row["messages"]


def fill(c, messages):
    begun = time.monotonic()
    subprocess.run(perf(c.nodes[0], "--queue", "grows", "--mode", "publish", "--messages", str(messages), "--keep",
                        "--quiet"), check=True, stdout=subprocess.DEVNULL)
    print("%d messages of %d octets published in %.1f s" % (messages, SIZE, time.monotonic() - begun), flush=True)


def policy(c, mode):
    c.nodes[0].ctl("set_policy", "grow", "^grows$", ALL % mode)


def without_policy(c):
    c.nodes[0].ctl("clear_policy", "grow")
    wait_until(lambda: mirrors_of(c, "grows")[0] == 0, 60, "the mirrors are gone")


def under_load(c, o, phase, what):
    running = loads(c, o.rate)
    time.sleep(1)
    what()
    return told(phase, running)


def told_times(during, before):
    print("99 %% of the confirms, in times of before: %s" % ", ".join(
        "%s %.2f" % (name, during[name]["p99"] / before[name]["p99"]) for name in during), flush=True)


def grown(c, mirrors):
    """One mirror at a time: the confirms of a queue that got its first one wait for that one from then on."""
    c.nodes[0].ctl("set_policy", "grow", "^grows$",
                   '{"ha-mode":"exactly","ha-params":%d,"ha-sync-mode":"automatic"}' % (1 + mirrors))
    begun = time.monotonic()
    wait_until(lambda: mirrors_of(c, "grows")[1] == mirrors, COPY_SECONDS, "%d mirrors have everything" % mirrors)
    print("copied in %.1f s" % (time.monotonic() - begun))


def automatic(c, o):
    before = under_load(c, o, "with one member", lambda: time.sleep(o.seconds))
    memory(c, "before")
    begun = time.monotonic()
    during = under_load(c, o, "copied to a mirror", lambda: grown(c, 1))
    told_times(during, before)
    before = under_load(c, o, "with a mirror", lambda: time.sleep(o.seconds))
    during = under_load(c, o, "copied to another", lambda: grown(c, 2))
    told_times(during, before)
    print("both, and the time between, took %.1f s" % (time.monotonic() - begun))
    memory(c, "after the copies")
    under_load(c, o, "with two mirrors", lambda: time.sleep(o.seconds))
    for node in c.nodes:
        print("%s: %d MiB on disk" % (node.name, sum(
            os.stat(os.path.join(node.directory, f)).st_blocks for f in os.listdir(node.directory)) >> 11))


def written(node):
    """Octets that the process has handed to the disk."""
    with open("/proc/%d/io" % node.process.pid) as f:
        return int(re.search(r"write_bytes: (\d+)", f.read()).group(1))


def timed(node, *arguments):
    begun = time.monotonic()
    node.ctl(*arguments)
    return time.monotonic() - begun


def rest(node):
    """Octets written in a while in which nobody publishes."""
    before = written(node)
    time.sleep(1)
    return written(node) - before


def served_at(node):
    """Clients of a node with a mirror that has nothing are served by the leader."""
    raw = rawamqp.Raw("127.0.0.1", node.port).open()
    raw.open_channel()
    assert raw.get(1, "grows") is not None
    raw.close()


def by_hand(c, o):
    """Nothing is copied before an operator says so, nor after he says that it is to end."""
    first, others = c.nodes[0], c.nodes[1:]
    policy(c, "manual")
    wait_until(lambda: mirrors_of(c, "grows")[0] == 2, 30, "two mirrors")
    assert all(rest(n) < SIZE * o.messages / 10 for n in others), "a mirror that nobody synchronised is copied to"
    assert mirrors_of(c, "grows")[1] == 0
    served_at(others[0])
    before = sum(written(n) for n in others)
    asked = timed(first, "sync_queue", "grows")
    wait_until(lambda: sum(written(n) for n in others) - before > SIZE * o.messages / 10, 60, "the copy has begun")
    ended = timed(first, "cancel_sync_queue", "grows")
    done = mirrors_of(c, "grows")[1]
    copied = sum(written(n) for n in others) - before
    still = [rest(n) for n in others]
    print("sync_queue answered in %.2f s, cancel_sync_queue in %.2f s, when %d MiB were written; %s KiB in a second "
          "after it" % (asked, ended, copied >> 20, ", ".join("%d" % (n >> 10) for n in still)), flush=True)
    if o.messages >= 200000:  # else the copy may be over before it is cancelled
        assert ended < 1, "cancel_sync_queue took %.1f s" % ended
        assert done == 0 and mirrors_of(c, "grows")[1] == 0, "cancelled, and copied all the same"
        assert all(n < 4 << 20 for n in still), "the copy goes on"
    begun = time.monotonic()
    first.ctl("sync_queue", "grows")
    wait_until(lambda: mirrors_of(c, "grows")[1] == 2, COPY_SECONDS, "two mirrors have everything")
    print("asked again: copied to two mirrors in %.1f s" % (time.monotonic() - begun), flush=True)


def leave_and_join(c, node):
    """What an operator does with a node that is replaced by an empty one."""
    node.ctl("stop_app")
    node.ctl("reset")
    node.ctl("start_app")
    c.join(node)
    c.wait_running(len(c.nodes))


def come_and_go(c, o):
    """Each node but the one that clients of others depend on leaves, empty comes back, and gets its copies."""
    names = ["goes-%d" % i for i in range(2)]
    c.nodes[0].ctl("set_policy", "goes", "^goes-", ALL % "automatic")
    uris = ",".join("amqp://guest:guest@127.0.0.1:%d/" % n.port for n in c.nodes)
    load = Load(c.nodes[0], "goes-%i", o.rate, "--uri", uris, "--queues", "2", "--producers", "2", "--consumers", "2",
                "--ack-every", "10", "--reconnect", "--verify", "--prefetch", "100")
    wait_until(lambda: all(n in c.nodes[0].queues() for n in names), 20, "the load's queues")
    c.wait_synchronised(names)
    for node in c.nodes[1:] * o.rounds:
        time.sleep(o.seconds / 2)
        begun = time.monotonic()
        leave_and_join(c, node)
        c.wait_synchronised(names)
        print("%s left, came back empty, and has everything: %.1f s" % (node.name, time.monotonic() - begun), flush=True)
    s = load.end()
    print("while nodes came and went: %d published, %d confirmed; %s; longest time without a confirm %.0f ms" % (
        s["published"]["total"], s["confirmed"]["total"], json.dumps(s["verify"]), s["confirmed"]["longest_gap_ms"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20000)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    exit_on_sigterm()
    with Cluster(3) as c:
        c.form()
        c.nodes[0].ctl("set_policy", "beside", "^beside$", ALL % "automatic")
        fill(c, options.messages)
        automatic(c, options)
        without_policy(c)
        by_hand(c, options)
        come_and_go(c, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
