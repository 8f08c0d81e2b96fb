#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The recipe: three nodes made one broker by the documented commands, nginx in front, clients that
know only nginx; each node killed in turn, again and again, under a confirmed load.

usage: recipe.py [--rounds N] [--seconds-up S]; WARREND names the broker. Needs nginx with its stream module.

First without a policy: a queue is unavailable while its node is down, and complete afterwards. Then
with mirrors on all nodes: nothing that was confirmed is missing, changed or out of order, at 2,000 confirmed
messages per second at least. The load is warren-perf, and beside it a client with pika, if there is one, that keeps books of its
own. How long no confirm came is printed.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

from broker import find_python  # noqa: E402
from cluster import Cluster, beside, exit_on_sigterm, wait_until  # noqa: E402
import rawamqp  # noqa: E402

try:
    import pika
except ImportError:
    pika = None

SKIP = 77
RATE, PRODUCERS = 700, 3  # of warren-perf; each to a queue of its own
CONFIRMED_PER_SECOND = 2000
TARGET_MS = 1500
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

    LONGEST_SECONDS = 3600

    def __init__(self, port, rate, queues):
        uri = "amqp://guest:guest@127.0.0.1:%d/" % port
        self.process = subprocess.Popen(
            [beside("warren-perf"), "--uri", uri, "--producers", str(queues), "--consumers", str(queues), "--queues",
             str(queues), "--queue", "recipe-%i", "--size", "1k", "--persistent", "--confirm", "200", "--ack-every",
             "20", "--rate", str(rate), "--seconds", str(self.LONGEST_SECONDS), "--reconnect", "--verify", "--json", "--quiet"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end(self, seconds):
        """Its figures, and for how many seconds it has published."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=seconds)
        assert self.process.returncode == 0, "load: status %d\n%s\n%s" % (self.process.returncode, out, err)
        figures = json.loads(out)
        return figures, figures["published"]["window_s"]


def numbered(i):
    text = b"%d:" % i
    return text + hashlib.sha256(text).hexdigest().encode()


class Pika:
    """A publisher that goes on when its message is confirmed, and a consumer, both with reconnection: no number that
    was confirmed is missing, and each arrives for the first time behind all smaller ones; but for those that went to a
    connection that broke, which may be known to be unacknowledged only when others have been delivered."""

    QUEUE = "recipe-pika"

    def __init__(self, port):
        self.parameters = pika.ConnectionParameters("127.0.0.1", port, heartbeat=0, socket_timeout=5)
        self.confirmed = []  # when
        self.first = []      # numbers in the order in which they arrived, not redelivered, for the first time
        self.seen = set()
        self.wrong = []
        self.publishing = self.consuming = True
        self.threads = [threading.Thread(target=self.keep, args=(work,), daemon=True)
                        for work in (self.publish, self.consume)]
        for t in self.threads:
            t.start()

    def keep(self, work):
        while True:
            try:
                connection = pika.BlockingConnection(self.parameters)
                channel = connection.channel()
                channel.queue_declare(self.QUEUE, durable=True)
                if work(channel):
                    connection.close()
                    return
            except (pika.exceptions.AMQPError, OSError):
                time.sleep(0.02)
            except Exception as e:
                self.wrong.append("%s: %r" % (work.__name__, e))
                return

    def publish(self, channel):
        channel.confirm_delivery()
        while self.publishing:
            channel.basic_publish("", self.QUEUE, numbered(len(self.confirmed)), pika.BasicProperties(delivery_mode=2))
            self.confirmed.append(time.monotonic())
        return True

    def consume(self, channel):
        for method, _, body in channel.consume(self.QUEUE, inactivity_timeout=0.2):
            if method is not None:
                self.take(body, method.redelivered)
                channel.basic_ack(method.delivery_tag)
            if not self.consuming:
                return True
        raise pika.exceptions.AMQPError("cancelled")

    def take(self, body, redelivered):
        number = int(body.split(b":")[0])
        if body != numbered(number):
            self.wrong.append("%r is corrupt" % body)
        if number not in self.seen and not redelivered:
            self.first.append(number)
        self.seen.add(number)

    def end(self, seconds):
        self.publishing = False
        self.threads[0].join(seconds)
        confirmed = len(self.confirmed)
        wait_until(lambda: len(self.seen) >= confirmed or self.wrong, seconds,
                   lambda: "all that was confirmed to pika has arrived: %d of %d" % (len(self.seen), confirmed))
        self.consuming = False
        self.threads[1].join(seconds)
        assert not self.wrong, self.wrong
        assert self.first == sorted(self.first), "pika: out of order"
        assert self.seen >= set(range(confirmed)), "pika: missing %s" % sorted(set(range(confirmed)) - self.seen)[:20]
        return confirmed

    def longest_gap(self, since):
        """Milliseconds in which no confirm came, from then on."""
        times = [since] + [t for t in self.confirmed if t > since]
        return max((b - a for a, b in zip(times, times[1:])), default=0) * 1000


def kill_each(c, rounds, up, load, pika_client, names):
    for round_ in range(rounds):
        for node in c.nodes:
            time.sleep(up)
            assert load.process.poll() is None, load.end(1)
            killed = time.monotonic()
            node.kill()
            time.sleep(up / 2)
            node.start()
            c.wait_running(len(c.nodes))
            c.wait_synchronised(names)
            gap = "" if pika_client is None else "; pika heard of no confirm for %d ms" % pika_client.longest_gap(killed)
            print("round %d: %s killed and back%s" % (round_ + 1, node.name, gap), flush=True)


def with_mirrors(c, rounds, up):
    c.mirror_all()
    c.wait_synchronised(["alone"])
    load = Load(c.front, RATE, PRODUCERS)
    pika_client = Pika(c.front) if pika is not None else None
    names = ["recipe-%d" % i for i in range(PRODUCERS)] + ([Pika.QUEUE] if pika is not None else [])
    wait_until(lambda: all(n in c.nodes[0].queues() for n in names), 20, "the load's queues")
    c.wait_synchronised(names)
    kill_each(c, rounds, up, load, pika_client, names)
    if pika_client is None:
        print("no pika: its client is left out")
    else:
        print("pika: %d confirmed, none missing, in order" % pika_client.end(60))
    figures, seconds = load.end(120)
    confirmed, books = figures["confirmed"], figures["verify"]
    print("warren-perf: %d confirmed in %d s, %d missing, %d corrupt, %d out of order; longest gap in confirms "
          "%d ms, of %d aimed at" % (confirmed["total"], seconds, books["missing_confirmed"], books["corrupt"],
                                     books["out_of_order"], confirmed["longest_gap_ms"], TARGET_MS))
    assert books["passed"] and books["missing_confirmed"] == books["corrupt"] == books["out_of_order"] == 0, books
    assert figures["connections"]["lost"] > 0, "no client noticed that nodes were killed"
    assert confirmed["total"] >= CONFIRMED_PER_SECOND * seconds, figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds-up", type=float, default=2)
    options = parser.parse_args()
    exit_on_sigterm()
    other = find_python("pika") if pika is None else None
    if other is not None:
        os.execv(other, [other] + sys.argv)
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
