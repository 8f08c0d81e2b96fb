#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Members and leaders by an operator's hand, maintenance of a node, a node with another name: three nodes.

    WARREND=... tests/cluster/replicas.py
"""

import json
import os
import time
import unittest

import pika

from cluster import Cluster, beside, exit_on_sigterm, free_port, listens, wait_until

MOVE = 20    # seconds in which a leader or a member has moved
STICKS = 7   # longer than a leader away from its preferred node is left there
PERSISTENT = pika.BasicProperties(delivery_mode=2)
QUORUM = {"x-queue-type": "quorum"}


def connect(node):
    return pika.BlockingConnection(pika.ConnectionParameters(
        "127.0.0.1", node.port, heartbeat=0, blocked_connection_timeout=60, socket_timeout=30))


class Replicas(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(3)
        self.addCleanup(self.cluster.__exit__, None)
        self.cluster.form()
        self.first, self.second, self.third = self.cluster.nodes

    def declare(self, name, node=None, messages=0, **arguments):
        connection = connect(node or self.first)
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(name, durable=True, arguments=arguments.get("arguments"))
        for i in range(messages):
            channel.basic_publish("", name, b"%d" % i, PERSISTENT)
        connection.close()

    def row(self, name, node=None):
        return (node or self.first).queues("leader", "members", "messages", "state")[name]

    def wait_leader(self, name, leader):
        wait_until(lambda: self.row(name)["leader"] == leader.name and self.row(name)["state"] == "running", MOVE,
                   lambda: "%s leads %s: %s" % (leader.name, name, self.row(name)))

    def status(self, name, node=None):
        """node name -> raft state"""
        return {r["Node Name"]: r["Raft State"] for r in (node or self.first).json("quorum_status", name)}

    def wait_members(self, name, nodes):
        """These, all of them with a vote."""
        wanted = sorted(n.name for n in nodes)
        wait_until(lambda: sorted(k for k, v in self.status(name).items() if v in ("leader", "follower")) == wanted ==
                   sorted(self.status(name)), MOVE, lambda: "members %s of %s: %s" % (wanted, name, self.status(name)))

    def failed(self, node, *arguments):
        r = node.ctl(*arguments, check=False)
        self.assertNotEqual(r.returncode, 0, r.stdout)
        return r.returncode, r.stderr

    def leaders(self):
        return {name: row["leader"] for name, row in self.first.queues("leader").items()}

    def test_who_has_a_queue_for_himself(self):
        """Also when the consumer, the leader and the one who asks are on three nodes."""
        self.cluster.mirror_all()
        self.declare("x")
        self.declare("s", arguments={"x-single-active-consumer": True})
        self.cluster.wait_synchronised(["x", "s"])
        connection = connect(self.second)
        channel = connection.channel()
        for queue, tag, exclusive in (("x", "alone", True), ("s", "one", False), ("s", "two", False)):
            channel.basic_consume(queue, lambda *_: None, consumer_tag=tag, exclusive=exclusive)
        self.wait_leader("s", self.first)
        pid = self.third.json("list_channels", "pid")[0]["pid"]
        rows = self.third.queues("exclusive_consumer_pid", "exclusive_consumer_tag", "single_active_consumer_pid")
        self.assertEqual((rows["x"]["exclusive_consumer_pid"], rows["x"]["exclusive_consumer_tag"]), (pid, "alone"))
        self.assertEqual(rows["s"]["single_active_consumer_pid"], pid)
        self.assertEqual({r["consumer_tag"]: r["activity_status"]
                          for r in self.third.json("list_consumers", "consumer_tag", "activity_status")},
                         {"alone": "up", "one": "single_active", "two": "waiting"})
        connection.close()

    def test_a_leader_that_is_transferred_stays(self):
        self.declare("q", messages=20, arguments=QUORUM)
        self.cluster.mirror_all()
        self.declare("m", messages=20)
        self.cluster.wait_synchronised(["m"])
        for name in "q", "m":
            self.second.ctl("transfer_leadership", name, self.third.name)
            self.assertEqual(self.row(name)["leader"], self.third.name)
        time.sleep(STICKS)
        for name in "q", "m":
            self.assertEqual(self.row(name)["leader"], self.third.name)
        # It is where it belongs from now on: also after its node was away.
        self.third.kill()
        wait_until(lambda: self.row("q")["leader"] != self.third.name, MOVE, "another one leads")
        self.third.start()
        self.wait_leader("q", self.third)
        self.assertEqual(self.row("q")["messages"], 20)
        self.assertEqual(self.failed(self.first, "transfer_leadership", "none", self.third.name),
                         (69, "Error:\nnot_found\n"))
        self.assertEqual(self.failed(self.first, "transfer_leadership", "q", "other@host"),
                         (69, "Error:\nnode_not_running\n"))

    def test_leaders_are_spread(self):
        self.cluster.mirror_all()
        names = []
        for i in range(6):
            names += ["q%d" % i, "m%d" % i]
            self.declare("q%d" % i, arguments=QUORUM)
            self.declare("m%d" % i)
        self.cluster.wait_synchronised([n for n in names if n[0] == "m"])
        wait_until(lambda: set(self.leaders().values()) == {self.first.name}, MOVE, lambda: "the first leads: %s" % self.leaders())
        # Only those that are meant.
        self.first.ctl("rebalance", "classic", "--queue-pattern", "^m[0-2]$")
        self.assertEqual({k for k, v in self.leaders().items() if v != self.first.name} - {"m0", "m1", "m2"}, set())
        self.assertEqual(sorted(self.leaders()[n] for n in ("m0", "m1", "m2")),
                         sorted(n.name for n in self.cluster.nodes))
        rows = self.second.json("rebalance", "all")
        self.assertEqual(sorted(r["Node name"] for r in rows), sorted(n.name for n in self.cluster.nodes))
        self.assertEqual([r["Number of quorum queues"] + r["Number of replicated classic queues"] for r in rows],
                         [4, 4, 4])
        wait_until(lambda: sorted(list(self.leaders().values()).count(n.name) for n in self.cluster.nodes) ==
                   [4, 4, 4], MOVE, lambda: "four each: %s" % self.leaders())
        before = self.leaders()
        self.first.ctl("rebalance", "all")
        self.assertEqual(self.leaders(), before)
        self.assertEqual(self.failed(self.first, "rebalance", "bogus"),
                         (69, "Error:\ntype bogus is not supported. Try one of all, classic, quorum.\n"))

    def maintenance(self, node):
        return self.second.json("cluster_status")["maintenance_status"][node.name]

    def test_maintenance(self):
        self.cluster.mirror_all()
        for i in range(3):
            self.declare("m%d" % i, messages=10)
        self.cluster.wait_synchronised()
        wait_until(lambda: set(self.leaders().values()) == {self.first.name}, MOVE, lambda: "the first leads: %s" % self.leaders())
        self.assertEqual(self.maintenance(self.first), "not under maintenance")
        mine, others = connect(self.first), connect(self.second)
        self.first.ctl("drain")
        with self.assertRaises(pika.exceptions.ConnectionClosedByBroker) as told:
            mine.process_data_events(20)
        self.assertEqual((told.exception.reply_code, told.exception.reply_text),
                         (320, "CONNECTION_FORCED - Node was put into maintenance mode"))
        self.assertFalse(listens(self.first.port))
        self.assertNotIn(self.first.name, self.leaders().values())
        self.assertEqual(self.maintenance(self.first), "marked for maintenance")
        self.assertIn("Is under maintenance?: true\n", self.first.ctl("status"))
        self.assertIn("Node: %s, status: marked for maintenance\n" % self.first.name, self.third.ctl("cluster_status"))
        self.first.ctl("drain")
        others.channel().queue_declare("new", durable=True, arguments={"x-queue-master-locator": "min-masters"})
        self.assertNotEqual(self.row("new")["leader"], self.first.name)
        self.assertEqual(self.failed(self.second, "transfer_leadership", "m0", self.first.name),
                         (69, "Error:\nnode_in_maintenance\n"))
        time.sleep(STICKS)
        self.assertNotIn(self.first.name, self.leaders().values())
        # A copy is there all the same: of two that stay, one is enough for a majority.
        self.third.kill()
        wait_until(lambda: set(self.leaders().values()) == {self.second.name}, MOVE, "the second one leads")
        self.third.start()
        self.cluster.wait_running(3)
        self.cluster.wait_synchronised()
        self.first.ctl("revive")
        self.assertTrue(listens(self.first.port))
        self.assertEqual(self.maintenance(self.first), "not under maintenance")
        for i in range(3):
            self.wait_leader("m%d" % i, self.first)
            self.assertEqual(self.row("m%d" % i)["messages"], 10)
        # A start ends it, as with RabbitMQ.
        self.first.ctl("drain")
        self.first.ctl("stop_app")
        self.first.ctl("start_app")
        self.assertTrue(listens(self.first.port))
        self.assertEqual(self.maintenance(self.first), "not under maintenance")

    def test_members_by_hand(self):
        self.declare("one", messages=100, arguments=dict(QUORUM, **{"x-quorum-initial-group-size": 1}))
        self.declare("three", messages=10, arguments=QUORUM)
        self.cluster.mirror_all()
        self.declare("mirrored")
        self.wait_members("one", [self.first])
        self.second.ctl("add_member", "one", self.third.name)
        self.second.ctl("add_member", "one", self.third.name)
        self.wait_members("one", [self.first, self.third])
        self.assertEqual(self.first.json("grow", self.second.name, "even"),
                         [{"vhost": "/", "name": "one", "size": 3, "result": "ok"}])
        self.wait_members("one", self.cluster.nodes)
        self.assertEqual(self.first.json("grow", self.second.name, "all"), [])
        self.assertEqual(self.first.json("grow", "other@host", "all"), [])
        # They stay so, also over a start, and the leader can be the one that goes.
        self.first.ctl("delete_member", "one", self.first.name)
        self.wait_members("one", [self.second, self.third])
        for node in self.cluster.nodes:
            node.stop()
        for node in self.cluster.nodes:
            node.start(wait=False)
        for node in self.cluster.nodes:
            node.wait_ready()
        self.cluster.wait_running(3)
        self.wait_members("one", [self.second, self.third])
        self.wait_members("three", self.cluster.nodes)
        rows = {r["name"]: r for r in self.first.json("shrink", self.second.name)}
        self.assertEqual({k: (r["size"], r["result"]) for k, r in rows.items()}, {"one": (1, "ok"), "three": (2, "ok")})
        self.wait_members("one", [self.third])
        self.wait_members("three", [self.first, self.third])
        self.assertEqual(self.failed(self.first, "delete_member", "one", self.third.name),
                         (69, "Error:\nlast_node\n"))
        self.assertEqual(self.first.json("shrink", self.third.name),
                         [{"vhost": "/", "name": "one", "size": 1, "result": "error: the last node cannot be removed"},
                          {"vhost": "/", "name": "three", "size": 1, "result": "ok"}])
        wait_until(lambda: self.row("one")["messages"] == 100, MOVE, lambda: "100 messages: %s" % self.row("one"))
        for verb in "add_member", "delete_member":
            status, text = self.failed(self.first, verb, "mirrored", self.second.name)
            self.assertEqual(status, 69)
            self.assertIn("Cannot add members to a classic queue: its mirrors follow from its policy", text)
            self.assertEqual(self.failed(self.first, verb, "none", self.second.name), (69, "Error:\nnot_found\n"))
        self.assertEqual(self.failed(self.first, "add_member", "one", "other@host"),
                         (69, "Error:\nnode_not_running\n"))
        self.first.ctl("delete_member", "one", "other@host")
        self.assertEqual(self.failed(self.first, "grow", self.second.name, "some")[0], 64)

    def test_a_member_that_is_down_has_its_row(self):
        self.declare("q", messages=5, arguments=QUORUM)
        self.wait_members("q", self.cluster.nodes)
        self.third.kill()
        wait_until(lambda: self.status("q")[self.third.name] == "nodedown", MOVE, "the third one is down")
        rows = self.first.json("quorum_status", "q")
        leader = next(r for r in rows if r["Raft State"] == "leader")
        self.assertEqual(list(leader), ["Node Name", "Raft State", "Log Index", "Commit Index", "Snapshot Index",
                                        "Term", "Machine Version"])
        self.assertGreaterEqual(leader["Log Index"], leader["Commit Index"])
        self.assertGreater(leader["Commit Index"], 0)
        self.assertIn("│ Node Name", self.first.ctl("quorum_status", "q"))
        self.assertEqual(self.failed(self.first, "quorum_status", "none"), (69, "Error:\nnot_found\n"))

    def test_a_queue_that_was_never_used_has_its_leader(self):
        """No member has been opened yet; the one that will lead is known."""
        self.declare("c")
        for node in self.cluster.nodes:
            status = self.status("c", node)
            self.assertEqual(status, {self.row("c")["leader"]: "leader"})

    def test_majorities(self):
        self.cluster.mirror_all()
        self.declare("q", arguments=QUORUM)
        self.declare("m")
        self.cluster.wait_synchronised(["m"])
        self.wait_members("q", self.cluster.nodes)
        for verb in "check_if_node_is_quorum_critical", "check_if_node_is_mirror_sync_critical", \
                "await_online_quorum_plus_one", "await_online_synchronized_mirror":
            self.first.ctl(verb)
        self.third.kill()
        wait_until(lambda: self.status("q")[self.third.name] == "nodedown", MOVE, "the third one is down")
        r = self.first.ctl("-q", "check_if_node_is_quorum_critical", check=False)
        self.assertEqual((r.returncode, r.stdout, r.stderr),
                         (69, "", "queue 'q' in vhost '/' would lose quorum if node %s is stopped\n" % self.first.name))
        r = self.first.ctl("-q", "check_if_node_is_mirror_sync_critical", check=False)
        self.assertEqual(r.returncode, 69)
        self.assertIn("classic mirrored queue 'm' in vhost '/'", r.stderr)
        r = self.first.ctl("await_online_quorum_plus_one", "-t", "0.5", check=False)
        self.assertEqual(r.returncode, 69)
        self.third.start()
        self.first.ctl("await_online_quorum_plus_one")

    def test_unresponsive_queues(self):
        def unresponsive(timeout_ms, *options, node=self.first):
            return node.ctl("-q", "list_unresponsive_queues", "--queue-timeout", str(timeout_ms), *options)
        self.declare("here", node=self.first, messages=1)
        self.declare("there", node=self.third, messages=1)
        self.assertEqual(unresponsive(MOVE * 1000), "")
        self.third.kill()
        wait_until(lambda: self.row("there")["state"] == "down", MOVE, "the queue is down")
        self.assertEqual(unresponsive(0, "name", "recoverable_slaves"),
                         "name\trecoverable_slaves\nthere\t[%s]\n" % self.third.name)
        self.assertEqual(unresponsive(0, "--local"), "")
        self.third.start()
        # It answers before the time is over.
        self.assertEqual(unresponsive(MOVE * 1000), "")

    def test_another_name_and_address(self):
        """A node that moved comes back by starting it, with everything it had."""
        self.cluster.mirror_all()
        self.declare("mirrored", node=self.third, messages=10)
        self.cluster.wait_synchronised(["mirrored"])
        self.third.stop()
        old, self.third.name = self.third.name, "moved@localhost"
        self.first.ctl("rename_cluster_node", old, self.third.name)
        self.third.port, self.third.cluster_port = free_port(), free_port()
        self.third.start()
        self.cluster.wait_running(3)
        self.cluster.wait_synchronised(["mirrored"])
        self.wait_leader("mirrored", self.third)
        self.assertEqual(self.row("mirrored", self.third)["messages"], 10)
        self.assertNotIn(old, json.dumps(self.first.json("cluster_status")))

    def test_under_rabbitmq_names(self):
        """What scripts of operators call."""
        self.declare("q", arguments=QUORUM)
        for tool, arguments in (("rabbitmq-queues", ["rebalance", "all"]),
                                ("rabbitmq-queues", ["grow", self.second.name, "all"]),
                                ("rabbitmq-queues", ["quorum_status", "q"]),
                                ("rabbitmq-queues", ["check_if_node_is_quorum_critical"]),
                                ("rabbitmq-upgrade", ["await_online_quorum_plus_one"]),
                                ("rabbitmq-upgrade", ["drain"]),
                                ("rabbitmq-upgrade", ["revive"]),
                                ("rabbitmq-diagnostics", ["-q", "ping"]),
                                ("rabbitmq-diagnostics", ["-q", "check_running"]),
                                ("rabbitmq-diagnostics", ["-q", "status"]),
                                ("rabbitmq-diagnostics", ["check_local_alarms"]),
                                ("rabbitmq-diagnostics", ["check_port_connectivity"]),
                                ("rabbitmqctl", ["environment"])):
            link = os.path.join(self.cluster.directory, tool)
            if not os.path.exists(link):
                os.symlink(beside("warrenctl"), link)
            self.first.ctl(*arguments, program=link)


if __name__ == "__main__":
    exit_on_sigterm()
    unittest.main(verbosity=2)
