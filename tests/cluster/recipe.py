#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The recipe: three nodes made one broker by the documented commands, nginx in front, clients that
know only nginx; each node killed in turn, again and again, under a confirmed load.

usage: recipe.py [--rounds N] [--seconds-up S]; WARREND names the broker. Needs nginx with its stream module.

First without a policy: a queue is unavailable while its node is down, and complete afterwards. Then
with mirrors on all nodes: nothing that was confirmed is missing, changed or out of order.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

from cluster import Cluster, beside, exit_on_sigterm, wait_until  # noqa: E402
import rawamqp  # noqa: E402

SKIP = 77
MESSAGES = 200
DURABLE = 2


def connect(port):
    raw = rawamqp.Raw("127.0.0.1", port).open()
    raw.open_channel()
    return raw


def try_connect(port):
    """nginx may still believe in a node that has just been killed."""
    try:
        return connect(port)
    except (OSError, rawamqp.Closed, rawamqp.Unexpected):
        return None


def publish_confirmed(raw, queue, bodies):
    raw.call(1, (85, 10), b"\0", (85, 11))
    for body in bodies:
        raw.publish(1, queue, body, properties=b"\x10\x00\x02")
    last = 0
    while last < len(bodies):
        ack = raw.expect((60, 80))
        last = ack.unpack(">Q")


def without_policy(c):
    port = c.front
    raw = wait_until(lambda: try_connect(port), 20, "a connection through nginx")
    raw.declare(1, "alone", DURABLE)
    bodies = [b"%d" % i for i in range(MESSAGES)]
    publish_confirmed(raw, "alone", bodies)
    raw.close()
    row = c.nodes[0].queues("leader", "members")["alone"]
    assert row["members"] == [row["leader"]], row
    home = next(n for n in c.nodes if n.name == row["leader"])
    home.kill()

    wanted = "NOT_FOUND - home node '%s' of durable queue 'alone' in vhost '/' is down or inaccessible" % home.name

    def refused():
        raw = try_connect(port)
        if raw is None:
            return False
        try:
            raw.method(1, (50, 10), b"\0\0" + rawamqp.shortstr("alone") + b"\2" + rawamqp.table({}))
            code, text, _ = raw.expect_close((20, 40))
            assert code == 404, (code, text)
            return text == wanted
        except rawamqp.Unexpected as e:
            raise AssertionError("declare of a queue whose node is down: %s" % e) from None
        finally:
            raw.close()
    wait_until(refused, 20, "404 for a queue whose home is down: " + wanted)
    home.start()
    c.wait_running(len(c.nodes))

    raw = wait_until(lambda: try_connect(port), 20, "a connection through nginx")
    got = []
    while True:
        message = raw.get(1, "alone")
        if message is None:
            break
        got.append(message[2])
    assert got == bodies, "%d of %d messages after the home came back" % (len(got), len(bodies))
    raw.close()
    print("without a policy: 404 while %s was down, %d of %d messages afterwards" % (home.name, len(got), len(bodies)))


class Load:
    """warren-perf through nginx; it checks every message."""

    def __init__(self, port, seconds, rate, queues):
        uri = "amqp://guest:guest@127.0.0.1:%d/" % port
        self.process = subprocess.Popen(
            [beside("warren-perf"), "--uri", uri, "--producers", str(queues), "--consumers", str(queues), "--queues",
             str(queues), "--queue", "recipe-%i", "--size", "1k", "--persistent", "--confirm", "200", "--ack-every",
             "20", "--rate", str(rate), "--seconds", str(seconds), "--reconnect", "--verify", "--json", "--quiet"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end(self, seconds):
        out, err = self.process.communicate(timeout=seconds)
        assert self.process.returncode == 0, "load: status %d\n%s\n%s" % (self.process.returncode, out, err)
        return json.loads(out)


def with_mirrors(c, rounds, up):
    c.mirror_all()
    c.wait_synchronised(["alone"])
    seconds = int(rounds * len(c.nodes) * up * 2.5) + 5
    load = Load(c.front, seconds, 700, 3)
    names = ["recipe-%d" % i for i in range(3)]
    wait_until(lambda: all(n in c.nodes[0].queues() for n in names), 20, "the load's queues")
    c.wait_synchronised(names)
    for round_ in range(rounds):
        for node in c.nodes:
            time.sleep(up)
            assert load.process.poll() is None, load.end(1)
            node.kill()
            time.sleep(up / 2)
            node.start()
            c.wait_running(len(c.nodes))
            c.wait_synchronised(names)
            print("round %d: %s killed and back" % (round_ + 1, node.name), flush=True)
    figures = load.end(seconds + 120)
    print(json.dumps(figures))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds-up", type=float, default=2)
    options = parser.parse_args()
    exit_on_sigterm()
    if shutil.which("nginx") is None:
        print("nginx is missing: skipped")
        return SKIP
    with Cluster(3) as c:
        c.form()
        c.start_nginx()
        without_policy(c)
        with_mirrors(c, options.rounds, options.seconds_up)
    return 0


if __name__ == "__main__":
    sys.exit(main())
