#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The metadata of three nodes: what is declared on one is on all, whoever dies; without a majority it is an
error that says so; and nothing is done twice or lost.

    WARREND=... tests/cluster/metadata.py
"""

import itertools
import select
import signal
import threading
import time
import unittest

import pika

from cluster import Cluster, exit_on_sigterm, wait_until
from broker import late  # noqa: E402: cluster.py says where it is
import rawamqp  # noqa: E402

PATIENCE = 10  # seconds without a leader until clients are told
FAILOVER = 5   # more than two elections take
CANCEL, CANCEL_OK, AUTO_DELETE = (60, 30), (60, 31), 8
PATIENT = 0.9  # seconds: a node that stands still is waited for a little longer
AWAY_SECONDS = 6  # for five the log keeps all that a node lacks that kept up before


def connect(node):
    return pika.BlockingConnection(pika.ConnectionParameters(
        "127.0.0.1", node.port, heartbeat=0, blocked_connection_timeout=60, socket_timeout=30))


def exchanges(node):
    return {row["name"] for row in node.json("list_exchanges", "name")}


def declare(node, name):
    """Seconds that it took."""
    began = time.monotonic()
    connection = connect(node)
    connection.channel().exchange_declare(name, durable=True)
    took = time.monotonic() - began
    connection.close()
    return took


class Metadata(unittest.TestCase):
    def setUp(self):
        calm = self.id().endswith("gets_the_whole")  # a node that is cut off is not to be called down
        self.cluster = Cluster(3, ["cluster.node_down_ms=3600000"] if calm else [])
        self.addCleanup(self.cluster.__exit__, None)
        self.cluster.form()

    def everywhere(self, name):
        for node in self.cluster.nodes:
            if node.alive():
                wait_until(lambda: name in exchanges(node), FAILOVER, "%s has %s" % (node.name, name))

    def test_what_one_declares_all_have(self):
        for i, node in enumerate(self.cluster.nodes):
            declare(node, "x%d" % i)
        for i in range(3):
            self.everywhere("x%d" % i)

    def test_declares_go_on_whoever_dies(self):
        for i, victim in enumerate(self.cluster.nodes):
            victim.kill()
            for j, node in enumerate(n for n in self.cluster.nodes if n.alive()):
                self.assertLess(declare(node, "after-%d-%d" % (i, j)), FAILOVER)
                self.everywhere("after-%d-%d" % (i, j))
            victim.start()
            self.everywhere("after-%d-0" % i)
            self.cluster.wait_running(3)
        self.leader().kill()
        for node in self.cluster.nodes:
            if node.alive():
                self.assertLess(declare(node, "at last on " + node.name), FAILOVER)

    def test_a_minority_is_told(self):
        first, second, third = self.cluster.nodes
        connection = connect(first)
        for node in second, third:
            node.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with self.assertRaises(pika.exceptions.ConnectionClosedByBroker) as told:
            connection.channel().queue_declare("minority")
        took = time.monotonic() - began
        self.assertGreater(took, PATIENCE - 1)
        self.assertLess(took, PATIENCE + 2 * FAILOVER)
        self.assertEqual(told.exception.reply_code, 541)
        self.assertIn("1 of 3", told.exception.reply_text)
        failed = first.ctl("add_vhost", "minority", check=False, timeout=60)
        self.assertEqual(failed.returncode, 69)
        self.assertIn("1 of 3", failed.stderr)
        # Its connection will have gone when this takes effect.
        with self.assertRaises(pika.exceptions.ConnectionClosedByBroker):
            connect(first).channel().queue_declare("orphan", exclusive=True)
        for node in second, third:
            node.process.send_signal(signal.SIGCONT)
        wait_until(lambda: self.goes_on(first), 30, "the first node serves clients again")
        self.cluster.wait_running(3)
        wait_until(lambda: "minority" in second.queues() and "orphan" not in second.queues(), 10,
                   "what was asked for took effect, but for the exclusive queue")

    def test_goodbyes_of_a_minority_take_no_ten_seconds(self):
        """Many clients wait no longer for close-ok. The queues go when there is a majority."""
        first, second, third = self.cluster.nodes
        connection = connect(first)
        connection.channel().queue_declare("own", exclusive=True)
        for node in second, third:
            node.kill()
        began = time.monotonic()
        connection.close()
        self.assertLess(time.monotonic() - began, PATIENCE - 1)
        second.start()
        wait_until(lambda: "own" not in first.queues(), 30, "the exclusive queue is gone")

    def test_operators_are_told_sooner(self):
        """Who is away, whatever they wanted to change; and whether that may take effect yet."""
        first, second, third = self.cluster.nodes
        for node in second, third:
            node.kill()
        for arguments, consequence in (
                (("add_vhost", "asked-for-early"), "it is not known whether this will be done"),
                (("add_vhost", "minority"), "nothing was done"),
                (("forget_cluster_node", second.name), "nothing was done"),
                (("set_policy", "p", ".*", '{"max-length":1}'), "nothing was done")):
            began = time.monotonic()
            failed = first.ctl(*arguments, check=False, timeout=60)
            self.assertLess(time.monotonic() - began, PATIENCE - 1)
            self.assertEqual(failed.returncode, 69)
            self.assertEqual(failed.stderr, "Error:\nno majority of the cluster's nodes can be reached: 1 of 3 are running or "
                             "reachable from node '%s' (not reached: %s, %s); %s\n"
                             % (first.name, second.name, third.name, consequence))
        second.start()
        wait_until(lambda: first.ctl("add_vhost", "majority", check=False).returncode == 0, 30, "a vhost is added")
        self.assertNotIn("minority", first.ctl("list_vhosts", "-s").split())

    def goes_on(self, node):
        try:
            declare(node, "again")
            return True
        except (pika.exceptions.AMQPError, OSError):
            return False

    def test_the_majority_goes_on_and_the_other_comes_back(self):
        first, second, third = self.cluster.nodes
        mine = connect(first)
        first.process.send_signal(signal.SIGSTOP)
        declare(second, "without-first")
        wait_until(lambda: "node %s is down" % first.name in second.log() + third.log(), 30, "it is called down")
        first.process.send_signal(signal.SIGCONT)
        # It was called down: its clients' connections end, and it starts anew.
        wait_until(lambda: self.is_closed(mine), 30, "connections of the first node end")
        wait_until(lambda: self.goes_on(first), 30, "the first node serves clients again")
        self.cluster.wait_running(3)
        self.everywhere("without-first")

    def is_closed(self, connection):
        try:
            connection.process_data_events(0)
            return connection.is_closed
        except pika.exceptions.AMQPError:
            return True

    def test_what_is_there_is_there_for_all(self):
        """Who was told that a queue is there finds it through any node, in the same moment."""
        nodes = self.cluster.nodes
        connections = [connect(node) for node in nodes]
        channels = [connection.channel() for connection in connections]
        for i in range(200):
            at, other = i % 3, (i + 1 + i // 3 % 2) % 3
            channels[at].queue_declare("seen-%d" % i)
            channels[other].queue_declare("seen-%d" % i, passive=True)
            channels[at].queue_delete("seen-%d" % i)
        # One that stands still keeps nobody for long.
        nodes[2].process.send_signal(signal.SIGSTOP)
        try:
            for i in range(10):
                channels[0].exchange_declare("still-%d" % i)
        finally:
            nodes[2].process.send_signal(signal.SIGCONT)

    def test_what_was_a_clients_own_is_gone_for_all(self):
        """Who has said goodbye to one node has its names free at another one."""
        for i in range(100):
            connection = connect(self.cluster.nodes[i % 3])
            connection.channel().queue_declare("own", exclusive=True)
            connection.close()

    def waits_for(self, still, name):
        """Whether a declaration is answered only when a node that stands still for a moment has gone on; else after a second."""
        connection = connect(self.leader())
        channel, resumed = connection.channel(), []

        def resume():
            resumed.append(time.monotonic())
            still.process.send_signal(signal.SIGCONT)
        timer = threading.Timer(0.3, resume)
        still.process.send_signal(signal.SIGSTOP)
        timer.start()
        began = time.monotonic()
        try:
            channel.exchange_declare(name)
            answered = time.monotonic()
        finally:
            timer.join()
        connection.close()
        return answered >= resumed[0] or answered - began >= 0.99

    def test_who_stands_still_for_a_moment_is_waited_for(self):
        """So that what is there is there for all on a busy machine, and with a disk that takes its time, too."""
        leader, tries = self.leader(), itertools.count()
        still = next(node for node in self.cluster.nodes if node is not leader)
        # One that has not caught up since it joined is not waited for yet.
        wait_until(lambda: self.waits_for(still, "try-%d" % next(tries)), 20, "it is waited for")

    def test_a_cancel_is_answered_when_its_auto_delete_queue_is_gone_for_all(self):
        """Its own node may know the end of the queue before the answer comes, and before another node does."""
        near = self.leader()
        holder, far = [node for node in self.cluster.nodes if node is not near]
        holder.stop()
        late(self, 300000)
        holder.start()
        self.cluster.wait_running(3)
        holds, asks = [rawamqp.Raw("127.0.0.1", node.port).open() for node in (holder, near)]
        for raw in holds, asks:
            self.addCleanup(raw.close)
            raw.open_channel()
        for i in range(20):
            holds.declare(1, "brief-%d" % i, AUTO_DELETE)
            asks.consume(1, "brief-%d" % i, "tag")
            far.process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            asks.method(1, CANCEL, rawamqp.shortstr("tag") + b"\0")
            answered = select.select([asks.socket], [], [], 0.4)[0]
            waited = time.monotonic() - began < PATIENT  # else it was this program that stood still
            far.process.send_signal(signal.SIGCONT)
            self.assertFalse(answered and waited, "answered while another node had not heard of it")
            asks.expect(CANCEL_OK, 60)

    def test_who_was_away_for_long_gets_the_whole(self):
        """More than the log keeps: the state comes as a whole, to a node that starts and to one that was only
        cut off, whose clients stay."""
        first, second, third = self.cluster.nodes
        connection = connect(third)
        channel = connection.channel()
        channel.queue_declare("doomed", durable=True)
        channel.queue_declare("stays", durable=True)
        cancelled = []
        channel.add_on_cancel_callback(cancelled.append)
        channel.basic_consume("doomed", lambda *_: None)
        for round, (away, back) in enumerate((
                (lambda: third.process.send_signal(signal.SIGSTOP),
                 lambda: third.process.send_signal(signal.SIGCONT)),
                (third.kill, third.start))):
            away()
            begun = time.monotonic()
            busy = connect(first).channel()
            for i in range(1400):
                if i == 700:  # until then all of it stays in the log, for a node that was away for a moment
                    busy.connection.sleep(max(0, begun + AWAY_SECONDS - time.monotonic()))
                busy.exchange_declare("round-%d-%d" % (round, i), durable=True)
                if i % 3 == 0:
                    busy.exchange_delete("round-%d-%d" % (round, i))
            if round == 0:
                busy.queue_delete("doomed")
            busy.exchange_declare("last-%d" % round, durable=True)
            back()
            wait_until(lambda: "last-%d" % round in exchanges(third), 30, "the state arrives")
            self.assertEqual(exchanges(third), exchanges(first))
            self.assertEqual(set(third.queues()), set(first.queues()))
            self.assertGreater(third.log().count("come as a whole"), round)
            if round == 0:
                wait_until(lambda: connection.process_data_events(0.1) or cancelled, 10, "the consumer is cancelled")
                channel.basic_publish("", "stays", b"still here")
                wait_until(lambda: channel.basic_get("stays", auto_ack=True)[2] == b"still here", 10, "a message passes")

    def test_in_whatever_order_they_start(self):
        nodes = self.cluster.nodes
        declare(nodes[0], "kept")
        for order in itertools.permutations(nodes):
            for node in nodes:
                node.stop()
            for node in order:
                node.start(wait=False)
                time.sleep(0.2)
            for node in order:
                node.wait_ready()
            self.cluster.wait_running(3)
            self.everywhere("kept")
        # While a node reads its log again, nobody is a stranger to it who is a member.
        for node in nodes:
            self.assertNotIn("no member of the cluster any more", node.log())

    def test_each_declare_is_done_once_while_the_leader_dies(self):
        """A queue named by the server is another one with each declare: none may be there twice."""
        answered = [[], [], []]
        each = 100  # at least, before the leader dies, and then
        died = threading.Event()
        whole = []  # those that nothing went wrong for

        def work(i):
            connection = connect(self.cluster.nodes[i])
            channel = connection.channel()

            def declare_one():
                answered[i].append(channel.queue_declare("").method.queue)
            try:
                while not died.is_set():
                    declare_one()
                for _ in range(each):
                    declare_one()
                whole.append(i)
            except (pika.exceptions.AMQPError, OSError):
                pass

        threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
        for t in threads:
            t.start()
        wait_until(lambda: all(len(a) > each for a in answered), 60, "all declare")
        victim = self.leader()
        victim.kill()
        died.set()
        for t in threads:
            t.join()
        dead = self.cluster.nodes.index(victim)
        alive = [node for node in self.cluster.nodes if node is not victim]
        self.assertEqual(sorted(whole), [i for i in range(3) if i != dead])
        for node in alive:
            have = list(node.queues())
            mine = [q for i, a in enumerate(answered) if i != dead for q in a]
            self.assertEqual(len(mine), len(set(mine)))
            self.assertLessEqual(set(mine), set(have))
            # Those of the node that died are gone with it, but for members elsewhere: they had none.
            self.assertEqual(len(set(have)), len(have))
            self.assertEqual(set(have) - set(mine) - set(answered[dead]) - self.unanswered(have, answered), set())

    def unanswered(self, have, answered):
        """The declare that was under way when its node died."""
        others = set(have) - {q for a in answered for q in a}
        self.assertLessEqual(len(others), 1)
        return others

    def leader(self):
        """The node that leads the metadata, on which all agree."""
        def agreed():
            names = {node.json("status")["metadata_leader"] for node in self.cluster.nodes if node.alive()}
            return names.pop() if len(names) == 1 else None
        name = wait_until(agreed, FAILOVER, "all know the same leader")
        return next(node for node in self.cluster.nodes if node.name == name)


if __name__ == "__main__":
    exit_on_sigterm()
    unittest.main(verbosity=2)
