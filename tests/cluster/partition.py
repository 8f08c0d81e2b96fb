#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three nodes on hosts of their own, whose network is cut, loses packets and is slow, under a confirmed load.

usage: partition.py [--long] [--only WORD]; WARREND names the broker. Needs root and /dev/net/tun (wire.py).

Each fault has a load of its own on mirrored queues, whose every message is checked, beside a pika client, and
clients on the host that is cut off. Nobody restarts a node. Within 10 s after healing all nodes say the same about
the cluster, and all of them serve.

--long cuts every node off in every way for 1, 10 and 60 s, lets each stand still as long, and restarts all in turn.
"""

import argparse
import json
import os
import random
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
import wire as wires  # noqa: E402

try:
    import pika
    from pika.adapters.utils.connection_workflow import AMQPConnectorException
except ImportError:
    pika = None

SKIP = 77
NODES = ["a", "b", "c"]
CLIENTS = "clients"
SETTLED = 10   # seconds after healing until all are one again
PATIENCE = 10  # seconds without a leader until clients are told
SILENT = 2     # seconds until a link is lost
ANSWERS = 5    # seconds until a node that is cut off has told an operator what it knows
RATE = 2100    # messages per second of all of them
SETTINGS = ["loopback_users=none"]  # the clients have a host of their own
DURABLE = 2
PERSISTENT = b"\x10\x00\x02"


class Fault:
    """What is done, and for how long."""

    def __init__(self, name, seconds, do, undo=None, alone=None, steps=1, restarts=False):
        self.name, self.seconds, self.do = name, seconds, do
        self.undo = undo or (lambda: None)  # beside healing the network
        self.alone = alone  # the node that is cut off from all, if any
        self.steps = steps  # do(step) is called so often, each for its share of the time
        self.restarts = restarts  # it is a restart of nodes


class Load:
    """A warren-perf per node on a host that reaches all of them, each with a queue of its own, that begins there; every
    message is checked."""

    def __init__(self, c, host, name):
        self.queues = ["%s-%d" % (name, i) for i in range(len(c.nodes))]
        self.processes = [self.start(c.nodes[i:] + c.nodes[:i], host, queue) for i, queue in enumerate(self.queues)]

    @staticmethod
    def start(nodes, host, queue):
        uris = ",".join("amqp://guest:guest@%s:%d/" % (n.address, n.port) for n in nodes)
        return subprocess.Popen(host.command(
            [beside("warren-perf"), "--uri", uris, "--queue", queue, "--size", "256", "--persistent", "--confirm", "2000",
             "--ack-every", "20", "--rate", str(RATE // len(nodes)), "--seconds", "3600", "--heartbeat", "1", "--reconnect",
             "--verify", "--drain-idle", "15", "--json", "--quiet"]),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end(self):
        """All that was due is published, and has arrived. Returns the figures of each."""
        for process in self.processes:
            process.terminate()
        figures = []
        for queue, process in zip(self.queues, self.processes):
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, "load of %s: status %d\n%s\n%s" % (
                queue, process.returncode, out, err[-3000:])
            figures.append(json.loads(out))
        return figures

    def kill(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.communicate()


class Steady(threading.Thread):
    """A pika client that publishes, waits for each confirm, and goes on at the next node when it loses one."""

    def __init__(self, c, host, queue):
        super().__init__(daemon=True)
        self.c, self.host, self.queue = c, host, queue
        self.over = threading.Event()
        self.confirmed = []
        self.unsure = set()  # neither confirmed nor refused: may be there or not
        self.failures = 0

    def connect(self, node):
        with self.host.inside():
            return pika.BlockingConnection(pika.ConnectionParameters(
                node.address, node.port, heartbeat=2, socket_timeout=2, stack_timeout=4, blocked_connection_timeout=20))

    def publish(self, channel, number):
        try:
            channel.basic_publish("", self.queue, b"%d" % number, pika.BasicProperties(delivery_mode=2))
            self.confirmed.append(number)
        except Exception as e:
            self.unsure.add(number)
            if not isinstance(e, pika.exceptions.NackError):
                raise

    def run(self):
        number = 0
        while not self.over.is_set():
            try:
                connection = self.connect(self.c.nodes[(number + self.failures) % len(self.c.nodes)])
                channel = connection.channel()
                channel.queue_declare(self.queue, durable=True)
                channel.confirm_delivery()
                while not self.over.is_set():
                    number += 1
                    self.publish(channel, number)
                    connection.sleep(0.01)
                connection.close()
            except (pika.exceptions.AMQPError, AMQPConnectorException, OSError):
                self.failures += 1
                self.over.wait(0.1)

    def check(self):
        assert self.is_alive(), "the pika client has ended"
        self.over.set()
        self.join(60)
        assert not self.is_alive(), "the pika client hangs"
        got = drain(self.c.nodes[0], self.queue)
        numbers = [int(body) for body in got]
        missing = set(self.confirmed) - set(numbers)
        assert not missing, "of the pika client, confirmed and missing: %s" % sorted(missing)[:20]
        once = [n for n in numbers if n not in self.unsure]
        assert once == self.confirmed, "of the pika client: not once and in order"
        return len(numbers)


def connect(node):
    """From the node's own host."""
    with node.here():
        raw = rawamqp.Raw(node.address, node.port)
    raw.open()
    raw.open_channel()
    return raw


def drain(node, queue):
    raw = connect(node)
    bodies = []
    while True:
        message = raw.get(1, queue)
        if message is None:
            break
        bodies.append(message[2])
    raw.close()
    return bodies


def trouble(node, queue):
    """Why the queue does not take a message over this node and give one back; None if it does."""
    raw = None
    try:
        raw = connect(node)
        raw.call(1, rawamqp.CONFIRM_SELECT, b"\0", rawamqp.CONFIRM_SELECT_OK)
        raw.publish(1, queue, b"probe", properties=PERSISTENT)
        raw.expect(rawamqp.ACK, 2)
        return None if raw.get(1, queue) else "the queue is empty"
    except (OSError, rawamqp.Closed, rawamqp.Unexpected) as e:
        return str(e)
    finally:
        if raw is not None:
            raw.close()


class Inside(threading.Thread):
    """Clients on the host of the node that is cut off, and what they see until it is healed."""

    def __init__(self, node, names):
        super().__init__(daemon=True)
        self.node, self.names = node, names
        self.raw = connect(node)
        self.raw.call(1, rawamqp.CONFIRM_SELECT, b"\0", rawamqp.CONFIRM_SELECT_OK)
        self.local = connect(node)
        self.local.call(1, rawamqp.CONFIRM_SELECT, b"\0", rawamqp.CONFIRM_SELECT_OK)
        self.reader = connect(node)
        self.declarer = connect(node)
        self.over = threading.Event()
        self.answers = {}   # body -> (method, when)
        self.served = 0     # of the queue whose only member is here
        self.local_failed = None
        self.closed = None
        self.declared = None
        self.sent = []
        self.began = 0.0

    def begin(self):
        """The node is cut off from now on."""
        self.began = time.monotonic()
        self.reader.method(1, rawamqp.GET, b"\0\0" + rawamqp.shortstr(self.names["stale"]) + b"\1")
        self.declarer.method(1, rawamqp.QUEUE_DECLARE, b"\0\0" + rawamqp.shortstr(self.names["new"]) + b"\2"
                             + rawamqp.table({}))
        self.start()

    def run(self):
        while not self.over.is_set():
            self.publish()
            self.serve_local()
            self.over.wait(0.1)

    def publish(self):
        if self.closed is not None:
            return
        try:
            body = b"inside-%d" % len(self.sent)
            self.raw.publish(1, self.names["mirrored"], body, properties=PERSISTENT)
            self.sent.append(body)
            self.take_answers(0.02)
        except (OSError, rawamqp.Closed) as e:
            self.closed = str(e) or "closed"

    def take_answers(self, seconds):
        """Acks and nacks, until none comes for so long."""
        while True:
            try:
                _, method, arguments = self.raw.receive_method(seconds)
            except TimeoutError:
                return
            if method in (rawamqp.ACK, rawamqp.NACK):
                tag, bits = arguments.unpack(">Q"), arguments.unpack("B")
                for n in range(1 if bits & 1 else tag, tag + 1):
                    self.answers.setdefault(self.sent[n - 1], (method, time.monotonic()))
            elif method == rawamqp.CLOSE:
                self.closed = "%d %s" % (arguments.unpack(">H"), arguments.shortstr())
                return

    def serve_local(self):
        if self.local_failed is not None:
            return
        try:
            body = b"%d" % self.served
            self.local.publish(1, self.names["local"], body, properties=PERSISTENT)
            self.local.expect(rawamqp.ACK, 5)
            message = self.local.get(1, self.names["local"])
            if message is None or message[2] != body:
                raise AssertionError("got %r instead of %r" % (message, body))
            self.served += 1
        except (OSError, rawamqp.Closed, rawamqp.Unexpected, TimeoutError, AssertionError) as e:
            self.local_failed = "%.1f s after the cut: %s" % (time.monotonic() - self.began, e)

    def with_method(self, method):
        return [body for body in self.sent if self.answers.get(body, (None,))[0] == method]

    def check_before_healing(self, seconds):
        """Only what is certain from within."""
        self.over.set()
        self.join(30)
        assert not self.is_alive(), "the clients on the host that is cut off hang"
        assert not self.with_method(rawamqp.ACK), "confirmed by a node that is cut off: %s" % self.with_method(
            rawamqp.ACK)[:5]
        assert self.local_failed is None, "the queue whose only member is here: " + self.local_failed
        self.check_stale()
        if seconds >= 10:  # longer than links that have not noticed yet
            began = time.monotonic()
            status = self.node.json("cluster_status")
            self.node.queues()
            took = time.monotonic() - began
            assert took < 2 * ANSWERS, "cluster_status and list_queues took %.1f s" % took
            assert status["running_nodes"] == [self.node.name], status["running_nodes"]
            assert status["warnings"][0].startswith("this node is in a minority"), status["warnings"]
        if seconds > PATIENCE + 2 * SILENT + 1:
            assert self.closed is not None or self.with_method(rawamqp.NACK), "after %g s neither nacked nor closed" % seconds
            self.check_declare()

    def check_stale(self):
        try:
            _, method, arguments = self.reader.receive_method(0.1)
        except (TimeoutError, OSError, rawamqp.Closed):
            return
        assert method not in (rawamqp.GET_OK, rawamqp.GET_EMPTY), "a node that is cut off answers basic.get"

    def check_declare(self):
        code, text, _ = self.declarer.expect_close()
        assert code == 541 and "1 of 3" in text, (code, text)
        self.declared = text

    def check_after_healing(self):
        """Nothing is left open, and what was confirmed is there."""
        deadline = time.monotonic() + 20
        while self.closed is None and len(self.answers) < len(self.sent) and time.monotonic() < deadline:
            try:
                self.take_answers(0.2)
            except (OSError, rawamqp.Closed) as e:
                self.closed = str(e) or "closed"
        assert self.closed is not None or len(self.answers) == len(self.sent), \
            "%d of %d publishes got no answer" % (len(self.sent) - len(self.answers), len(self.sent))
        for raw in (self.raw, self.local, self.reader, self.declarer):
            raw.close()
        return self.with_method(rawamqp.ACK), self.with_method(rawamqp.NACK)


class Scene:
    def __init__(self, c, wire):
        self.c, self.wire = c, wire
        self.clients = wire.host(CLIENTS)
        self.serial = 0
        self.last_views = ""

    def views(self):
        """What each node says about the cluster; equal when all is well."""
        def view(node):
            status = node.json("cluster_status")
            queues = node.queues("leader", "members", "online", "state")
            return {"running": sorted(status["running_nodes"]), "disk": sorted(status["disk_nodes"]),
                    "ram": sorted(status["ram_nodes"]),
                    "queues": {q: (r["leader"], sorted(r["members"]), sorted(r["online"] or []), r["state"])
                               for q, r in queues.items()}}
        return [view(n) for n in self.c.nodes]

    def agreed(self):
        try:
            views = self.views()
        except (AssertionError, subprocess.TimeoutExpired) as e:
            self.last_views = e
            return False
        self.last_views = json.dumps(views, indent=1)
        whole = all(sorted(q[2]) == sorted(q[1]) and q[0] for q in views[0]["queues"].values())
        return all(v == views[0] for v in views) and len(views[0]["running"]) == len(self.c.nodes) and whole

    @staticmethod
    def wait_serving(node, seconds):
        last = []

        def serves():
            last[:] = [trouble(node, "probe")]
            return last == [None]
        wait_until(serves, seconds, lambda: "%s serves: %s" % (node.name, last))

    def settled(self):
        """Seconds since healing until all agree and serve."""
        began = time.monotonic()
        wait_until(self.agreed, SETTLED, lambda: "all nodes agree: %s" % self.last_views)
        agreed = time.monotonic() - began
        for node in self.c.nodes:
            self.wait_serving(node, max(1, SETTLED - agreed))
        return agreed, time.monotonic() - began

    def check_alive(self):
        for node in self.c.nodes:
            assert node.alive(), "%s has ended: %s" % (node.name, node.log()[-3000:])

    def prepare_inside(self, node, name):
        """Queues for those on the host that will be cut off."""
        names = {"mirrored": name + "-inside", "stale": name + "-stale", "local": "alone-" + name, "new": name + "-new"}
        raw = connect(node)
        for queue in ("mirrored", "stale", "local"):
            raw.declare(1, names[queue], DURABLE)
        raw.call(1, rawamqp.CONFIRM_SELECT, b"\0", rawamqp.CONFIRM_SELECT_OK)
        for queue in ("stale", "local"):  # a queue's first use is a change of the metadata
            raw.publish(1, names[queue], b"old", properties=PERSISTENT)
            raw.expect(rawamqp.ACK)
        raw.get(1, names["local"])
        raw.close()
        self.c.wait_synchronised([names["mirrored"], names["stale"]])
        return Inside(node, names)

    def take_stale(self, name, alone):
        """The others take what the node that is cut off has, too."""
        other = next(n for n in self.c.nodes if n is not alone)

        def taken():
            raw = connect(other)
            try:
                raw.get(1, name + "-stale")  # one way the other's basic.get may have got through
                return True
            except (OSError, rawamqp.Closed, rawamqp.Unexpected, TimeoutError):
                return False
            finally:
                raw.close()
        wait_until(taken, 10, "the majority serves the queue")

    def run(self, fault):
        self.serial += 1
        name = "f%d" % self.serial
        alone = next((n for n in self.c.nodes if n.host.name == fault.alone), None)
        print("%-44s" % fault.name, end="", flush=True)
        load = Load(self.c, self.clients, name)
        steady = Steady(self.c, self.clients, name + "-pika") if pika else None
        try:
            self.under_load(fault, name, alone, load, steady)
        finally:
            fault.undo()
            self.wire.heal()
            load.kill()
            if steady:
                steady.over.set()

    def under_load(self, fault, name, alone, load, steady):
        wait_until(lambda: set(load.queues) <= set(self.c.nodes[0].queues()), 20, "the load's queues")
        self.c.wait_synchronised(load.queues)
        if steady:
            steady.start()
        inside = self.prepare_inside(alone, name) if alone else None
        time.sleep(0.5)
        self.do(fault, name, alone, inside)
        agreed, served = self.settled()
        self.check_alive()
        figures = load.end()
        line = {"agreed_s": round(agreed, 1), "served_s": round(served, 1),
                "longest_gaps_s": [round(f["confirmed"]["longest_gap_ms"] / 1000, 2) for f in figures],
                "confirmed": sum(f["confirmed"]["total"] for f in figures), "nacked": sum(f["nacked"] for f in figures)}
        if steady:
            line["pika"] = steady.check()
        if inside:
            line.update(self.check_inside(inside, name))
        print(json.dumps(line), flush=True)

    def do(self, fault, name, alone, inside):
        if inside and fault.seconds > SILENT:
            taker = threading.Thread(target=self.take_stale, args=(name, alone), daemon=True)
        for step in range(fault.steps):
            fault.do(step)
            if step == 0 and inside and fault.seconds > SILENT:
                inside.begin()
                taker.start()
            time.sleep(fault.seconds / fault.steps)
        if inside and fault.seconds > SILENT:
            inside.check_before_healing(fault.seconds)
            taker.join()
        fault.undo()
        self.wire.heal()

    def check_inside(self, inside, name):
        if not inside.sent:
            return {}
        acked, nacked = inside.check_after_healing()
        there = drain(self.c.nodes[0], name + "-inside")
        missing = [body for body in acked if body not in there]
        assert not missing, "confirmed on the node that was cut off, and missing: %s" % missing[:5]
        assert len(set(there)) == len(there), "twice in the queue: %s" % there
        return {"inside": {"published": len(inside.sent), "acked_after": len(acked), "nacked": len(nacked),
                           "closed": inside.closed, "local_served": inside.served, "declare": inside.declared}}


class Program:
    """The faults."""

    def __init__(self, c, wire):
        self.c, self.wire = c, wire

    def others(self, name):
        return [h.name for h in self.wire.hosts if h.name != name]

    def cut_off(self, name, seconds, ways="both"):
        def do(_):
            for other in self.others(name):
                if ways in ("both", "out"):
                    self.wire.cut(name, other)
                if ways in ("both", "in"):
                    self.wire.cut(other, name)
        title = {"both": "%s cut off", "out": "%s heard by nobody", "in": "%s hears nobody"}[ways] % name
        return Fault("%s for %g s" % (title, seconds), seconds, do, alone=name)

    def partial(self, a, b, seconds):
        return Fault("%s and %s cut for %g s" % (a, b, seconds), seconds, lambda _: self.wire.cut_both(a, b))

    def ring(self, seconds):
        pairs = [("a", "b"), ("b", "c"), ("c", "a")]

        def do(step):
            self.wire.heal()
            self.wire.cut_both(*pairs[step % 3])
        return Fault("each pair in turn for %g s" % seconds, seconds * 3, do, steps=3)

    def lossy(self, share, seconds):
        def do(_):
            self.wire.lose("a", "b", share)
            self.wire.lose("b", "c", share / 2)
        return Fault("%d %% lost a->b, %d %% b->c for %g s" % (share * 100, share * 50, seconds), seconds, do)

    def slow(self, a, b, seconds):
        def do(_):
            self.wire.delay("a", "b", a)
            self.wire.delay("b", "a", b)
            self.wire.delay("c", "a", b)
        return Fault("a->b %d ms, b->a and c->a %d ms for %g s" % (a * 1000, b * 1000, seconds), seconds, do)

    def freeze(self, name, seconds):
        process = next(n for n in self.c.nodes if n.host.name == name).process

        def send(what):
            if process.poll() is None:
                process.send_signal(what)
        return Fault("%s stands still for %g s" % (name, seconds), seconds, lambda _: send(signal.SIGSTOP),
                     undo=lambda: send(signal.SIGCONT))

    def rolling(self):
        def do(step):
            self.c.nodes[step].stop()
            self.c.nodes[step].start()
            self.c.wait_running(len(self.c.nodes))
        return Fault("each node restarted in turn", 3 * len(NODES), do, steps=len(NODES), restarts=True)

    def short(self):
        return [self.cut_off("a", 1), self.cut_off("b", 10), self.cut_off("a", 4, "out"), self.cut_off("c", 4, "in"),
                self.partial("a", "b", 6), self.ring(3), self.lossy(0.1, 4), self.slow(0.02, 0.2, 4),
                self.freeze("a", 4)]

    def long(self):
        faults = []
        for seconds in (1, 10, 60):
            for name in NODES:
                faults += [self.cut_off(name, seconds, ways) for ways in ("both", "out", "in")]
            faults += [self.partial(a, b, seconds) for a, b in (("a", "b"), ("b", "c"), ("c", "a"))]
            faults += [self.freeze(name, seconds) for name in NODES]
            faults += [self.ring(seconds), self.lossy(0.05, seconds), self.lossy(0.2, seconds),
                       self.slow(0.02, 0.2, seconds), self.slow(0.2, 0.02, seconds)]
        return faults + [self.rolling()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="every node, every way, up to 60 s: half an hour")
    parser.add_argument("--only", help="faults whose name has this in it")
    options = parser.parse_args()
    exit_on_sigterm()
    missing = wires.why_not()
    if missing:
        print("%s: skipped" % missing)
        return SKIP
    with wires.Wire(NODES + [CLIENTS]) as wire, Cluster(settings=SETTINGS, hosts=[wire.host(n) for n in NODES]) as c:
        c.form()
        c.nodes[0].ctl("set_policy", "-p", "/", "ha-all", "^(f|probe)", '{"ha-mode":"all","ha-sync-mode":"automatic"}')
        raw = connect(c.nodes[0])
        raw.declare(1, "probe", DURABLE)
        raw.close()
        c.wait_synchronised(["probe"])
        program, scene = Program(c, wire), Scene(c, wire)
        for fault in program.long() if options.long else program.short():
            if not options.only or options.only in fault.name:
                scene.run(fault)
    return 0


if __name__ == "__main__":
    sys.exit(main())
