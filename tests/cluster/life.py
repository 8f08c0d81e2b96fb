#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The life of a node within its cluster: joining, leaving, what is refused, and in which words.

usage: life.py [unittest arguments]; WARREND names the broker.
"""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

from cluster import Cluster, beside, exit_on_sigterm, free_port, listens, wait_until  # noqa: E402
import rawamqp  # noqa: E402

OK, IN_USE, USAGE, DATA, UNAVAILABLE, SOFTWARE, TIMEOUT = 0, 7, 64, 65, 69, 70, 75
DURABLE = 2
HASTE = 9  # seconds until an operator is told: less than the ten after which clients are
STOP_FIRST = "Error:\nthis command requires the 'warren' app to be stopped on the target node. " \
             "Stop it with 'warrenctl stop_app'.\n"
START_FIRST = "this command requires the 'warren' app to be running on the target node. " \
              "Start it with 'warrenctl start_app'.\n"


def at(node):
    return "%s:%d" % (node.name, node.cluster_port)


class Life(unittest.TestCase):
    def cluster(self, n, *settings):
        c = Cluster(n, settings)
        self.addCleanup(c.close)
        c.start()
        return c

    def refused(self, node, *arguments, status=UNAVAILABLE, text=None):
        r = node.ctl(*arguments, check=False)
        self.assertEqual(r.returncode, status, r.stdout + r.stderr)
        if text is not None:
            self.assertEqual(r.stderr, text if text.startswith("Error") else "Error:\n" + text)
        return r.stderr

    def types(self, node):
        status = node.json("cluster_status")
        return status["disk_nodes"], status["ram_nodes"]

    def test_three_nodes(self):
        c = self.cluster(3)
        a, b, d = c.nodes
        c.join(b)
        self.assertEqual(b.ctl("stop_app"), "Stopping warren application on node %s ...\n" % b.name)
        self.assertEqual(b.ctl("join_cluster", at(a)), "Clustering node %s with %s\n"
                         "The node is already a member of this cluster\n" % (b.name, at(a)))
        b.ctl("start_app")
        c.join(d, "--ram")
        c.wait_running(3)
        for node in c.nodes:
            self.assertEqual(self.types(node), ([a.name, b.name], [d.name]))
        a.ctl("set_cluster_name", "three")
        wait_until(lambda: d.json("cluster_status")["cluster_name"] == "three", 10, "the name is everywhere")
        a.ctl("await_online_nodes", "3", "-t", "10")
        text = a.ctl("cluster_status")
        for part in ("Basics\n\nCluster name: three\n", "Disk Nodes\n\n%s\n%s\n" % (a.name, b.name),
                     "RAM Nodes\n\n%s\n" % d.name, "Running Nodes\n\n%s\n%s\n%s\n" % (a.name, b.name, d.name),
                     "Network Partitions\n\n(none)\n", "Alarms\n\n(none)\n",
                     "Node: %s, status: not under maintenance\n" % d.name):
            self.assertIn(part, text)
        # The metadata is everywhere, and stays with those that stay.
        a.ctl("add_vhost", "v")
        wait_until(lambda: "v" in d.ctl("list_vhosts", "-s").split(), 10, "the vhost is everywhere")
        # The RAM node becomes a disc node, and finds its cluster again after a restart.
        d.ctl("stop_app")
        self.assertEqual(d.ctl("change_cluster_node_type", "ram"),
                         "Turning %s into a ram node\nNode type is already ram\n" % d.name)
        self.assertEqual(d.ctl("-q", "change_cluster_node_type", "ram"), "Node type is already ram\n")
        self.assertEqual(d.ctl("change_cluster_node_type", "disc"), "Turning %s into a disc node\n" % d.name)
        d.ctl("start_app")
        c.wait_running(3)
        self.assertEqual(self.types(a), ([a.name, b.name, d.name], []))
        d.stop()
        d.start()
        c.wait_running(3)
        self.assertIn("v", d.ctl("list_vhosts", "-s").split())
        # All of them stop and start, in whatever order.
        for node in c.nodes:
            node.stop()
        for node in (b, d, a):
            node.start(wait=False)
        for node in c.nodes:
            node.wait_ready()
        c.wait_running(3)
        # One leaves by itself, one is removed.
        d.ctl("stop_app")
        d.ctl("reset")
        d.ctl("start_app")
        self.assertEqual(self.types(d), ([d.name], []))
        self.assertNotIn("v", d.ctl("list_vhosts", "-s").split())
        c.nodes = [a, b]
        c.wait_running(2)
        self.assertEqual(self.types(a), ([a.name, b.name], []))
        self.refused(a, "forget_cluster_node", d.name, status=UNAVAILABLE, text="The node selected is not in the cluster.\n")
        self.refused(b, "forget_cluster_node", a.name,
                     text="the app on node %s must be stopped with 'warrenctl -n %s stop_app' before it can be "
                          "removed\n" % (a.name, a.name))
        d.stop()

    def test_lists_are_of_all_nodes(self):
        c = self.cluster(2)
        a, b = c.nodes
        c.join(b)
        c.wait_running(2)
        raws = []
        for node in c.nodes:
            raw = rawamqp.Raw("127.0.0.1", node.port).open()
            self.addCleanup(raw.close)
            raw.open_channel()
            queue = "at.%s" % node.name
            raw.declare(1, queue, DURABLE)
            raw.call(1, (85, 10), b"\0", (85, 11))
            raw.publish(1, queue, b"x", properties=b"\x10\x00\x02")
            raw.expect((60, 80))
            raws.append(raw)
        columns = ("messages", "state", "leader", "members", "online", "pid")
        for node in c.nodes:
            rows = wait_until(lambda: len(node.queues()) == 2 and node.queues(*columns), 10, "both queues are listed")
            for owner in c.nodes:
                row = rows["at.%s" % owner.name]
                self.assertEqual([row[k] for k in ("messages", "state", "leader", "members")],
                                 [1, "running", owner.name, [owner.name]])
                self.assertTrue(row["pid"].startswith("<%s." % owner.name))
            self.assertEqual(len(node.ctl("list_connections", "-s").splitlines()), 2)
            self.assertEqual(len(node.ctl("list_channels", "-s").splitlines()), 2)
        self.assertEqual(list(a.json("list_queues", "name", "--local")), [{"name": "at.%s" % a.name}])
        names = [line for line in a.ctl("list_connections", "-s", "name").splitlines() if line.endswith(":%d" % b.port)]
        self.assertEqual(len(names), 1)
        a.ctl("close_connection", names[0], "bye")
        self.assertEqual(raws[1].expect_close()[:2], (320, "CONNECTION_FORCED - bye"))
        b.kill()
        wait_until(lambda: a.queues("state")["at.%s" % b.name]["state"] == "down", 20, "the queue of b is down")
        self.assertEqual([row["name"] for row in a.json("list_queues", "name", "--offline")], ["at.%s" % b.name])
        self.assertEqual([row["name"] for row in a.json("list_queues", "name", "--online")], ["at.%s" % a.name])

    def elsewhere(self, node, *arguments):
        """The tool on a machine where no node runs."""
        environment = dict(os.environ, WARREN_RUN_DIR=os.path.join(node.cluster.directory, "none"))
        return subprocess.run([beside("warrenctl"), "-n", at(node), *arguments], env=environment, capture_output=True,
                              text=True, timeout=60)

    def test_mirrors_are_synchronised_by_hand(self):
        c = self.cluster(2)
        a, b = c.nodes
        c.join(b)
        c.wait_running(2)
        raw = rawamqp.Raw("127.0.0.1", a.port).open()
        self.addCleanup(raw.close)
        raw.open_channel()
        raw.declare(1, "later", DURABLE)
        raw.call(1, (85, 10), b"\0", (85, 11))
        raw.publish(1, "later", b"x", properties=b"\x10\x00\x02")
        raw.expect((60, 80))
        self.refused(a, "sync_queue", "later", status=UNAVAILABLE, text="not_mirrored\n")
        self.refused(a, "sync_queue", "none", status=UNAVAILABLE, text="not_found\n")
        a.ctl("set_policy", "manual", "later", '{"ha-mode":"all"}')
        wait_until(lambda: len(b.queues("slave_pids")["later"]["slave_pids"] or []) == 1, 20, "there is a mirror")
        self.assertEqual(b.ctl("cancel_sync_queue", "later"),
                         "Stopping synchronising queue 'later' in vhost '/' ...\n")
        self.assertEqual(b.ctl("sync_queue", "later"), "Synchronising queue 'later' in vhost '/' ...\n")
        c.wait_synchronised(["later"])

    def test_synchronising_goes_on_under_another_leader(self):
        c = self.cluster(3)
        a, b, d = c.nodes
        for node in b, d:
            c.join(node)
        c.wait_running(3)
        nodes = '{"ha-mode":"nodes","ha-params":["%s","%s"],"ha-sync-mode":"automatic"}' % (a.name, b.name)
        a.ctl("set_policy", "two", "both", nodes)
        raw = rawamqp.Raw("127.0.0.1", a.port).open()
        self.addCleanup(raw.close)
        raw.open_channel()
        raw.declare(1, "both", DURABLE)
        self.put(a, b"x")
        c.wait_synchronised(["both"], n=2)
        a.ctl("set_policy", "two", "both", '{"ha-mode":"all","ha-sync-mode":"manual"}')
        wait_until(lambda: len(a.queues("slave_pids")["both"]["slave_pids"] or []) == 2, 20, "there is another mirror")
        d.kill()
        a.ctl("sync_queue", "both")
        a.ctl("transfer_leadership", "both", b.name)
        wait_until(lambda: a.queues("leader")["both"]["leader"] == b.name, 20, "it is led by the other")
        d.start()
        c.wait_synchronised(["both"])

    def test_tool_elsewhere(self):
        c = self.cluster(1)
        node = c.nodes[0]
        cookie = os.path.join(node.directory, ".cookie")
        r = self.elsewhere(node, "--cookie-file", cookie, "list_users", "-s")
        self.assertEqual((r.returncode, r.stdout), (OK, "guest\t[administrator]\n"), r.stderr)
        wrong = os.path.join(c.directory, "wrong")
        with open(os.open(wrong, os.O_WRONLY | os.O_CREAT, 0o400), "w") as f:
            f.write("wrong")
        r = self.elsewhere(node, "--cookie-file", wrong, "list_users", "-s")
        self.assertEqual((r.returncode, r.stdout), (UNAVAILABLE, ""))
        self.assertIn("cookie", r.stderr)
        node.name = "other@localhost"
        r = self.elsewhere(node, "--cookie-file", cookie, "list_users", "-s")
        self.assertEqual((r.returncode, r.stdout), (UNAVAILABLE, ""))
        self.assertIn("there is another node: w1@localhost", r.stderr)
        node.name = "w1@localhost"
        node.ctl("stop_app")
        r = self.elsewhere(node, "--cookie-file", cookie, "ping", "-q")
        self.assertEqual(r.returncode, OK, r.stderr)
        # The numbers of its machine's processes are not those of this one's.
        for command in ["shutdown"], ["stop", "no.pid"]:
            r = self.elsewhere(node, "--cookie-file", cookie, *command)
            self.assertEqual(r.returncode, USAGE, r.stderr)
            self.assertIn("node %s is elsewhere" % at(node), r.stderr)
        self.assertIsNone(node.process.poll())
        r = self.elsewhere(node, "--cookie-file", cookie, "shutdown", "--no-wait")
        self.assertEqual(r.returncode, OK, r.stderr)
        self.assertEqual(node.process.wait(20), 0)

    def test_other_address_and_name(self):
        """Whoever moves tells the others by coming up; whoever was away asks one of them."""
        c = self.cluster(3)
        a, b, d = c.nodes
        c.join(b)
        c.join(d)
        c.wait_running(3)
        d.stop()
        b.stop()
        b.cluster_port, b.name = free_port(), "moved@localhost"
        b.start()
        wait_until(lambda: self.types(a) == ([a.name, b.name, d.name], []), 20, "the other one knows the new name")
        d.start()
        c.wait_running(3)
        self.assertEqual(self.types(d), ([a.name, b.name, d.name], []))
        d.ctl("stop_app")
        self.assertEqual(d.ctl("update_cluster_nodes", at(b)), "Will seed %s from %s on next start\n"
                         % (d.name, at(b)))
        d.ctl("start_app")
        c.wait_running(3)

    def test_refused(self):
        c = self.cluster(2)
        a, b = c.nodes
        self.refused(b, "join_cluster", at(a), status=USAGE, text=STOP_FIRST)
        self.refused(b, "reset", status=USAGE, text=STOP_FIRST)
        self.refused(b, "force_reset", status=USAGE, text=STOP_FIRST)
        self.refused(b, "change_cluster_node_type", "ram", status=USAGE, text=STOP_FIRST)
        b.ctl("stop_app")
        self.refused(b, "join_cluster", at(b), status=SOFTWARE, text="Cannot cluster node with itself\n")
        self.refused(b, "join_cluster", "nonsense")
        self.refused(b, "change_cluster_node_type", "ram", status=UNAVAILABLE, text="Non-clustered nodes can only be disc nodes.\n")
        self.refused(b, "change_cluster_node_type", "tape", status=DATA)
        other = "other@localhost:%d" % a.cluster_port
        self.assertIn("but reached %s" % a.name, self.refused(b, "join_cluster", other, status=UNAVAILABLE))
        a.ctl("stop_app")
        self.refused(b, "join_cluster", at(a), status=UNAVAILABLE, text="%s: %s" % (a.name, START_FIRST))
        a.ctl("start_app")
        a.stop()
        self.assertIn("connection refused", self.refused(b, "join_cluster", at(a), status=UNAVAILABLE))
        a.start()
        # What could not join has lost nothing.
        b.ctl("start_app")
        self.assertEqual(self.types(b), ([b.name], []))

    def test_another_cookie(self):
        c = Cluster(2)
        self.addCleanup(c.close)
        a, b = c.nodes
        os.makedirs(b.directory)
        with open(os.open(os.path.join(b.directory, ".cookie"), os.O_WRONLY | os.O_CREAT, 0o400), "w") as f:
            f.write("another-secret")
        c.start()
        b.ctl("stop_app")
        self.assertIn("cookie", self.refused(b, "join_cluster", at(a), status=UNAVAILABLE))

    def test_joined_node_that_dies_before_it_starts(self):
        c = self.cluster(3)
        a, b, d = c.nodes
        c.join(d)
        b.ctl("stop_app")
        b.ctl("join_cluster", at(a))
        b.kill()
        self.assertEqual(a.json("cluster_status")["running_nodes"], [a.name, d.name])
        b.start()
        c.wait_running(3)
        # The same on the way out: what the node knew is gone, and the others know.
        b.ctl("stop_app")
        b.ctl("reset")
        b.kill()
        b.start()
        self.assertEqual(self.types(b), ([b.name], []))
        self.assertEqual(self.types(a), ([a.name, d.name], []))
        # And in again.
        c.join(b)
        c.wait_running(3)

    def test_cluster_without_its_majority(self):
        """The app that waits for the others can be stopped again, and the node reset."""
        c = self.cluster(2)
        a, b = c.nodes
        c.join(b)
        c.wait_running(2)
        a.kill()
        b.stop()
        b.start(wait=False)
        wait_until(lambda: b.ctl("ping", check=False).returncode == OK, 10, "it can be asked")
        self.assertIn("is starting", self.refused(b, "list_users", status=USAGE))
        b.ctl("stop_app")
        self.assertIn("Could not find any online cluster nodes", self.refused(b, "reset", status=UNAVAILABLE))
        b.ctl("force_reset")
        b.ctl("start_app")
        self.assertEqual(self.types(b), ([b.name], []))

    def test_minority_lets_nobody_in_or_out(self):
        c = self.cluster(4)
        a, b, d, stranger = c.nodes
        c.join(b)
        c.join(d)
        wait_until(lambda: len(a.json("cluster_status")["running_nodes"]) == 3, 20, "three nodes run")
        d.ctl("stop_app")
        b.kill()
        stranger.ctl("stop_app")
        for arguments, node in (("reset",), d), (("join_cluster", at(a)), stranger):
            began = time.monotonic()
            text = self.refused(node, *arguments, status=UNAVAILABLE)
            self.assertIn("%s: no majority of the cluster's nodes can be reached: 1 of 3 " % a.name, text)
            self.assertIn("(not reached: %s, %s)" % (b.name, d.name), text)
            self.assertLess(time.monotonic() - began, HASTE)
        # Nothing has been deleted.
        stranger.ctl("start_app")
        self.assertEqual(self.types(stranger), ([stranger.name], []))
        d.ctl("start_app")
        wait_until(lambda: a.ctl("forget_cluster_node", b.name, check=False).returncode == OK, 20, "b is forgotten")

    def test_ram_node_without_its_disc_node(self):
        """It has no vote, and waits for no election."""
        c = self.cluster(2)
        a, b = c.nodes
        c.join(b, "--ram")
        c.wait_running(2)
        raw = rawamqp.Raw("127.0.0.1", b.port).open()
        self.addCleanup(raw.close)
        raw.open_channel()
        a.kill()
        raw.method(1, rawamqp.QUEUE_DECLARE, b"\0\0" + rawamqp.shortstr("new") + b"\2" + rawamqp.table({}))
        began = time.monotonic()
        for arguments in ("forget_cluster_node", a.name), ("add_vhost", "v"):
            self.assertIn("1 of 2 are running or reachable from node '%s' (not reached: %s)" % (b.name, a.name),
                          self.refused(b, *arguments, status=UNAVAILABLE))
        self.assertLess(time.monotonic() - began, HASTE)
        code, text, _ = raw.expect_close()
        self.assertEqual((code, "1 of 2" in text), (541, True), text)

    def test_forgotten_as_soon_as_it_has_stopped(self):
        """A node that stops in good order says so: nobody has to wait until it is called down."""
        c = self.cluster(3)
        a, b, d = c.nodes
        c.join(b)
        c.join(d)
        c.wait_running(3)
        b.ctl("stop_app")
        a.ctl("forget_cluster_node", b.name)
        b.ctl("force_reset")
        b.ctl("start_app")
        d.process.terminate()
        self.assertEqual(d.process.wait(), 0)
        a.ctl("forget_cluster_node", d.name)
        self.assertEqual(self.types(a), ([a.name], []))

    def test_forgotten_one_joins_when_it_is_reset(self):
        """Whether it is a member still, the cluster knows, not the node."""
        c = self.cluster(2)
        a, b = c.nodes
        c.join(b)
        c.wait_running(2)
        b.ctl("stop_app")
        self.assertIn("already a member", b.ctl("join_cluster", at(a)))
        a.ctl("forget_cluster_node", b.name)
        self.assertIn("no member of that cluster any more", self.refused(b, "join_cluster", at(a)))
        b.ctl("reset")
        b.ctl("join_cluster", at(a))
        b.ctl("start_app")
        c.wait_running(2)
        # One that cannot be asked is believed to be a fellow.
        b.ctl("stop_app")
        a.kill()
        self.assertIn("already a member", b.ctl("join_cluster", at(a)))

    def test_forgotten_one_is_told_when_it_starts(self):
        c = self.cluster(3)
        a, b, d = c.nodes
        c.join(b)
        c.join(d)
        c.wait_running(3)
        b.ctl("stop_app")
        a.ctl("forget_cluster_node", b.name)
        began = time.monotonic()
        text = self.refused(b, "start_app")
        self.assertLess(time.monotonic() - began, HASTE)
        self.assertRegex(text, "^Error:\nnode %s: inconsistent_cluster: %s is not a member of the cluster of (%s|%s) any more: it was "
                         "removed while it was down or cut off. Delete what it has with 'warrenctl reset', then use 'warrenctl join_cluster' "
                         "to make it a member again\n$" % (b.name, b.name, a.name, d.name))
        self.assertEqual(self.refused(b, "await_startup"), text)
        # Its process stays, also from its start on, so that it can be reset.
        b.stop()
        b.start(wait=False)
        wait_until(lambda: b.ctl("await_startup", "-t", "1", check=False).returncode == UNAVAILABLE, 20, "it is told")
        self.assertEqual(b.log().count("inconsistent_cluster: "), 2)
        b.ctl("reset")
        self.assertEqual(b.ctl("await_startup", "-t", "0", check=False).returncode, TIMEOUT)
        b.ctl("join_cluster", at(a))
        b.ctl("start_app")
        c.wait_running(3)

    def test_forgotten_one_that_runs_is_told(self):
        """It stood still, was called down and removed: when it goes on it does not serve clients any more."""
        c = self.cluster(3, "cluster.heartbeat_interval_ms=50", "cluster.net_timeout_ms=250",
                         "cluster.node_down_ms=100")
        a, b, d = c.nodes
        c.join(b)
        c.join(d)
        c.wait_running(3)
        # Also those that have run since before the others joined.
        for gone, other in ((b, a), (a, d)):
            raw = rawamqp.Raw("127.0.0.1", gone.port).open()
            self.addCleanup(raw.close)
            gone.process.send_signal(signal.SIGSTOP)
            try:
                wait_until(lambda: gone.name not in other.json("cluster_status")["running_nodes"], 20, "the link is lost")
                other.ctl("forget_cluster_node", gone.name)
            finally:
                gone.process.send_signal(signal.SIGCONT)
            # Told when its app is down and not before, though a client that does not answer holds the end up for two seconds.
            wait_until(lambda: gone.ctl("await_startup", "-t", "0", check=False).returncode == UNAVAILABLE, 20, "it is told")
            self.assertIn("does not serve clients any more", gone.log().rpartition("inconsistent_cluster: ")[2])
            self.assertFalse(listens(gone.port))
            self.assertEqual(raw.expect_close()[0], 320)
            sentence = gone.log().rpartition("inconsistent_cluster: ")[2].splitlines()[0]
            self.assertRegex(sentence, "^%s is not a member of the cluster of .* it was removed while it was down or cut off. Delete "
                             "what it has with 'warrenctl reset', then use" % gone.name)
            self.assertEqual(gone.json("cluster_status")["warnings"], ["inconsistent_cluster: " + sentence])
            for verb in "await_startup", "start_app":
                self.assertIn("inconsistent_cluster: %s is not a member" % gone.name, self.refused(gone, verb))
            gone.ctl("reset")
            gone.ctl("join_cluster", at(other))
            gone.ctl("start_app")
            c.wait_running(3)
            self.assertNotIn("inconsistent_cluster", str(gone.json("cluster_status")["warnings"]))
        self.assertNotIn("inconsistent_cluster", d.log())

    def test_majority_runs_whoever_was_told_to_go_on_without_it(self):
        """Two of three were only silent when the third gave them up. It refuses them for ever: that does not stop them."""
        c = self.cluster(3, "cluster.heartbeat_interval_ms=50", "cluster.net_timeout_ms=250")
        a, b, d = c.nodes
        c.join(b)
        c.join(d)
        c.wait_running(3)
        a.ctl("stop_app")
        for node in b, d:
            node.process.send_signal(signal.SIGSTOP)
        try:
            for node in b, d:
                a.ctl("forget_cluster_node", "--offline", node.name)
            a.ctl("start_app")
        finally:
            for node in b, d:
                node.process.send_signal(signal.SIGCONT)
        refusal = "is not a member of the cluster of %s" % a.name
        for node in b, d:
            wait_until(lambda: refusal in node.log(), 20, "it is sent away")
        # They answer with each other, and what they decide holds.
        wait_until(lambda: all(sorted(node.json("cluster_status")["running_nodes"]) == [b.name, d.name] for node in (b, d)), 20,
                   "they are linked with each other")
        wait_until(lambda: b.json("cluster_status")["warnings"] == [], 20, "one of them leads")
        b.ctl("add_vhost", "theirs")
        wait_until(lambda: "theirs" in d.ctl("list_vhosts", "-q"), 20, "the two go on")
        time.sleep(3)  # they could have asked it several times
        for node in b, d:
            self.assertNotIn("inconsistent_cluster", node.log())
            self.assertEqual(node.ctl("check_running", check=False).returncode, OK)

    def test_who_waits_for_others_says_for_whom(self):
        c = self.cluster(3)
        a, b, d = c.nodes
        c.join(b)
        c.join(d)
        c.wait_running(3)
        for node in c.nodes:
            node.kill()
        b.start(wait=False)
        wait_until(lambda: b.ctl("ping", check=False).returncode == OK, 20, "it can be asked")
        self.assertNotIn("the cluster's 0 disk nodes", b.ctl("cluster_status"))
        waits = ". %s waits for its cluster: " % b.name
        text = self.refused(b, "await_startup", "-t", "2", status=TIMEOUT)
        self.assertIn("Error:\noperation await_startup on node %s timed out%s" % (b.name, waits), text)
        for other in a, d:
            self.assertIn("%s at 127.0.0.1:%d: " % (other.name, other.cluster_port), text)
        self.assertEqual(text.count("connection refused"), 2, text)
        b.ctl("stop_app")
        self.assertIn("operation start_app on node %s timed out%s" % (b.name, waits),
                      self.refused(b, "start_app", "-t", "2", status=TIMEOUT))
        # Once, though it waits on.
        wait_until(lambda: waits[2:] in b.log(), 20, "the log says so, too")
        time.sleep(2)
        self.assertEqual(b.log().count(waits[2:]), 1)
        d.start(wait=False)
        self.assertEqual(b.ctl("await_startup"), "")

    def test_killed_one_is_forgotten_whoever_has_its_port(self):
        """It runs as long as a link to it stands, not as long as somebody answers there."""
        c = self.cluster(3, "cluster.node_down_ms=3000")
        a, b, d = c.nodes
        c.join(b)
        c.join(d)
        c.wait_running(3)
        b.kill()
        other = socket.create_server(("127.0.0.1", b.cluster_port))
        self.addCleanup(other.close)
        a.ctl("forget_cluster_node", b.name)
        self.assertEqual(self.types(a), ([a.name, d.name], []))
        # One that is there is not waited for.
        self.refused(a, "forget_cluster_node", d.name,
                     text="the app on node %s must be stopped with 'warrenctl -n %s stop_app' before it can be "
                          "removed\n" % (d.name, d.name))

    def test_one_that_dies_while_it_is_forgotten(self):
        """Its link stood when that was asked for, and does not when it is decided."""
        c = self.cluster(3, "cluster.net_timeout_ms=60000")
        a, b, d = c.nodes
        c.join(b)
        c.join(d)
        c.wait_running(3)
        for node in b, d:  # so that nothing is decided
            node.process.send_signal(signal.SIGSTOP)
        try:
            forgetting = subprocess.Popen([beside("warrenctl"), "-n", a.name, "forget_cluster_node", b.name],
                                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            time.sleep(0.3)
            b.kill()
            wait_until(lambda: "link to %s lost" % b.name in a.log(), 5, "the end of the link is seen")
        finally:
            d.process.send_signal(signal.SIGCONT)
        said = forgetting.communicate(timeout=60)[0]
        self.assertEqual(forgetting.returncode, OK, said)
        self.assertEqual(self.types(a), ([a.name, d.name], []))

    def test_lists_name_whoever_falls_silent(self):
        """Asked while the others do not know yet that it has."""
        c = self.cluster(3, "cluster.node_down_ms=3600000")
        a, b, d = c.nodes
        c.join(b)
        c.join(d)
        c.wait_running(3)
        listing = [("list_queues", "-s"), ("list_connections", "-s"), ("cluster_status", "--formatter", "json")]
        missing = "Warning: what node %s knows is missing: " % b.name
        b.process.send_signal(signal.SIGSTOP)
        try:
            asked = [subprocess.Popen([beside("warrenctl"), "-n", a.name, *arguments], stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True) for arguments in listing]
            began = time.monotonic()
            answers = [process.communicate(timeout=60) for process in asked]
            self.assertLess(time.monotonic() - began, HASTE)
            self.assertEqual([process.returncode for process in asked], [OK] * 3, answers)
            for _, err in answers[:2]:
                self.assertTrue(err.startswith(missing), err)
            status = json.loads(answers[2][0])
            self.assertEqual((status["running_nodes"], status["partitions"]), ([a.name, d.name], {a.name: [b.name]}))
            # And afterwards.
            r = a.ctl("list_queues", "-s", check=False)
            self.assertIn(missing, r.stderr)
        finally:
            b.process.send_signal(signal.SIGCONT)
        c.wait_running(3)
        self.assertEqual(a.ctl("list_queues", "-s", check=False).stderr, "")

    def slow_to_stop(self):
        """A node of three whose client does not answer, which holds its end up for two seconds; and what makes the others
        call it down."""
        c = self.cluster(3, "cluster.heartbeat_interval_ms=50", "cluster.net_timeout_ms=250",
                         "cluster.node_down_ms=100")
        a, b, d = c.nodes
        c.join(b)
        c.join(d)
        c.wait_running(3)
        raw = rawamqp.Raw("127.0.0.1", b.port).open()
        self.addCleanup(raw.close)

        def stand_still():
            b.process.send_signal(signal.SIGSTOP)
            try:
                wait_until(lambda: "node %s is down" % b.name in a.log() + d.log(), 20, "it is called down")
            finally:
                b.process.send_signal(signal.SIGCONT)
        return b, stand_still

    def test_called_down_while_it_stops(self):
        """What an operator stops stays down, also if the others have taken it for dead meanwhile."""
        b, stand_still = self.slow_to_stop()
        stopping = subprocess.Popen([beside("warrenctl"), "-n", b.name, "stop_app"], stdout=subprocess.DEVNULL)
        self.addCleanup(stopping.wait)
        wait_until(lambda: not listens(b.port), 10, "the app is being stopped")
        stand_still()
        self.assertEqual(stopping.wait(60), OK)
        self.assertEqual(b.ctl("reset"), "Resetting node %s ...\n" % b.name)

    def test_stopped_while_it_is_to_start_anew(self):
        """It was called down and goes down by itself, to come up again: if an operator stops it, it stays down."""
        b, stand_still = self.slow_to_stop()
        stand_still()
        wait_until(lambda: "it starts anew" in b.log(), 20, "it hears of it")
        b.ctl("stop_app")
        self.assertFalse(listens(b.port))
        self.assertEqual(b.ctl("reset"), "Resetting node %s ...\n" % b.name)

    def test_who_stood_still_calls_nobody_down_for_that_time(self):
        """The leader lost the link to a node, then stood still; when it goes on the node is there again for all others."""
        c = self.cluster(3, "cluster.heartbeat_interval_ms=50", "cluster.net_timeout_ms=250",
                         "cluster.node_down_ms=2000")
        leader, node, third = c.nodes
        c.join(node)
        c.join(third)
        c.wait_running(3)
        node.process.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: "link to %s lost" % node.name in leader.log(), 10, "the leader has lost the link")
            leader.process.send_signal(signal.SIGSTOP)
        finally:
            node.process.send_signal(signal.SIGCONT)
        try:
            wait_until(lambda: "leads the metadata" in node.log() + third.log(), 10, "another one leads")
            # The first one's time goes on.
            wait_until(lambda: "node %s is down" % leader.name in node.log() + third.log(), 10, "it is called down")
        finally:
            leader.process.send_signal(signal.SIGCONT)
        c.wait_running(3)
        self.assertNotIn("node %s is down" % node.name, "".join(n.log() for n in c.nodes))
        self.assertNotIn("starts anew", node.log())

    def two_with_a_queue(self):
        c = self.cluster(2)
        a, b = c.nodes
        c.join(b)
        c.wait_running(2)
        c.mirror_all()
        raw = rawamqp.Raw("127.0.0.1", a.port).open()
        raw.open_channel()
        raw.declare(1, "both", DURABLE)
        raw.close()
        self.put(a, b"first")
        c.wait_synchronised(["both"])
        return c, a, b

    def put(self, node, body):
        raw = rawamqp.Raw("127.0.0.1", node.port).open()
        raw.open_channel()
        raw.call(1, (85, 10), b"\0", (85, 11))
        raw.publish(1, "both", body, properties=b"\x10\x00\x02")
        raw.expect((60, 80))
        raw.close()

    def take_all(self, node):
        raw = rawamqp.Raw("127.0.0.1", node.port).open()
        raw.open_channel()
        got = []
        while (message := raw.get(1, "both")) is not None:
            got.append(message[2])
        raw.close()
        return got

    def test_two_nodes_go_on_when_one_stops(self):
        """Whoever stops in good order, and whoever leads: the other goes on alone, until both are back."""
        c, a, b = self.two_with_a_queue()
        for stops, stays in ((a, b), (b, a), (b, a), (a, b)):
            stops.ctl("stop_app")
            stays.ctl("add_vhost", "while-%s-is-away" % stops.name)
            self.put(stays, stops.name.encode())
            stays.ctl("delete_vhost", "while-%s-is-away" % stops.name)
            # Alone it also comes back alone.
            stays.kill()
            stays.start()
            stops.ctl("start_app")
            c.wait_running(2)
            c.wait_synchronised(["both"])
        a.process.terminate()
        b.process.terminate()
        for node in c.nodes:
            self.assertEqual(node.process.wait(30), 0)
            node.start(wait=False)
        for node in c.nodes:
            node.wait_ready()
        want = [b"first", a.name.encode(), b.name.encode(), b.name.encode(), a.name.encode()]
        self.assertEqual(self.take_all(b), want)

    def test_one_of_two_leaves(self):
        c, a, b = self.two_with_a_queue()
        b.ctl("stop_app")
        b.ctl("change_cluster_node_type", "ram")
        b.ctl("start_app")
        c.wait_running(2)
        self.assertEqual(self.types(a), ([a.name], [b.name]))
        b.ctl("stop_app")
        b.ctl("change_cluster_node_type", "disc")
        b.ctl("start_app")
        c.wait_running(2)
        c.wait_synchronised(["both"])
        b.ctl("stop_app")
        b.ctl("reset")
        b.ctl("start_app")
        self.assertEqual(self.types(a), ([a.name], []))
        self.assertEqual(self.types(b), ([b.name], []))
        self.put(a, b"second")
        c.join(b)
        c.wait_running(2)
        c.wait_synchronised(["both"])
        a.ctl("stop_app")
        b.ctl("forget_cluster_node", a.name)
        self.assertEqual(self.types(b), ([b.name], []))
        self.put(b, b"third")
        self.assertEqual(self.take_all(b), [b"first", b"second", b"third"])

    def test_stopped_app_keeps_its_directory(self):
        c = self.cluster(1)
        node = c.nodes[0]
        node.ctl("stop_app")
        second = [beside("warrend"), "-d", node.directory, "-n", "second@localhost", "-s",
                  "listeners.tcp.default=127.0.0.1:%d" % free_port(), "-s", "cluster.listener=127.0.0.1:0"]
        r = subprocess.run(second, capture_output=True, text=True, timeout=30)
        self.assertEqual(r.returncode, IN_USE, r.stderr)
        self.assertIn("is in use by another process", r.stderr)
        node.ctl("reset")
        r = subprocess.run(second, capture_output=True, text=True, timeout=30)
        self.assertEqual(r.returncode, IN_USE, r.stderr)
        node.ctl("start_app")
        node.stop()

    def test_survivor_of_two(self):
        """Half of a cluster is lost for good: the other half goes on when an operator says so."""
        c, a, b = self.two_with_a_queue()
        self.refused(a, "forget_cluster_node", "--offline", b.name, status=USAGE, text=STOP_FIRST)
        b.kill()
        a.ctl("stop_app")
        self.refused(a, "forget_cluster_node", "--offline", "other@localhost",
                     text="The node selected is not in the cluster.\n")
        self.refused(a, "forget_cluster_node", "--offline", a.name)
        a.ctl("forget_cluster_node", "--offline", b.name)
        a.ctl("start_app")
        self.assertEqual(self.types(a), ([a.name], []))
        self.assertEqual(self.put(a, b"second") or self.take_all(a), [b"first", b"second"])
        # Who comes back all the same is a stranger, until it has been reset.
        b.start(wait=False)
        wait_until(lambda: "is not a member of the cluster" in b.log(), 20, "it is sent away")
        b.ctl("stop_app")
        b.ctl("reset")
        c.join(b)
        c.wait_running(2)
        c.wait_synchronised(["both"])

    def test_survivor_of_three(self):
        c = self.cluster(3)
        a, b, d = c.nodes
        for node in b, d:
            c.join(node)
        c.wait_running(3)
        c.mirror_all()
        for node in c.nodes:
            raw = rawamqp.Raw("127.0.0.1", node.port).open()
            raw.open_channel()
            for i in range(5):
                raw.declare(1, "of-%s-%d" % (node.name, i), DURABLE)
            if node is a:
                raw.declare(1, "both", DURABLE)
            raw.close()
        c.wait_synchronised()
        c.nodes = [d]
        b.kill()
        self.put(a, b"first")  # by a majority that the survivor is part of
        a.kill()
        d.ctl("stop_app")
        # What cannot be written down has not been said.
        in_the_way = os.path.join(d.directory, "cluster.next")
        os.mkdir(in_the_way)
        self.assertIn("cannot be written", self.refused(d, "force_boot"))
        os.rmdir(in_the_way)
        # One of two lost ones is not enough: the other is waited for.
        self.assertIn("The node is forgotten when this one runs in the cluster",
                      d.ctl("forget_cluster_node", "--offline", a.name))
        d.kill()
        d.start(wait=False)
        wait_until(lambda: d.ctl("ping", check=False).returncode == OK, 10, "it can be asked")
        self.assertIn("is starting", self.refused(d, "list_users", status=USAGE))
        d.ctl("stop_app")
        d.ctl("force_boot")
        d.kill()  # what was said is kept
        d.start()
        self.assertEqual(self.types(d), ([d.name], []))
        rows = wait_until(lambda: self.all_running(d), 20, lambda: "the queues are led: %s" % d.queues("state"))
        self.assertEqual(len(rows), 16)
        for row in rows.values():
            self.assertEqual(row["members"], [d.name])
        self.put(d, b"second")
        d.kill()
        d.start()
        self.assertEqual(self.take_all(d), [b"first", b"second"])

    @staticmethod
    def all_running(node):
        rows = node.queues("state", "members")
        return rows if all(row["state"] == "running" for row in rows.values()) else None

    def test_nobody_is_given_up_who_answers(self):
        """Else there would be two clusters."""
        c, a, b = self.two_with_a_queue()
        a.ctl("stop_app")
        offline = "forget_cluster_node", "--offline", b.name
        for verb in ("force_boot",), offline:
            self.assertIn("node %s is there and serves clients: it would go on as the cluster" % b.name,
                          self.refused(a, *verb))
        b.ctl("stop_app")
        for verb in ("force_boot",), offline:
            self.assertIn("node %s is there, though it does not serve clients" % b.name, self.refused(a, *verb))
        # Nothing has been changed by that.
        with open(os.path.join(a.directory, "cluster")) as f:
            self.assertNotIn("lost", f.read())
        b.ctl("start_app")
        a.ctl("start_app")
        c.wait_running(2)
        # Somebody else at its address is not the member.
        a.ctl("stop_app")
        b.stop()
        shutil.rmtree(b.directory)
        b.start()
        self.assertIn("goes on alone", a.ctl("force_boot"))
        a.ctl("start_app")
        self.assertEqual(self.types(a), ([a.name], []))
        self.assertEqual(self.take_all(a), [b"first"])

    def test_given_up_by_force(self):
        c, a, b = self.two_with_a_queue()
        a.ctl("stop_app")
        a.ctl("force_boot", "--force")
        a.ctl("start_app")
        self.assertEqual((self.types(a), self.types(b)), (([a.name], []), ([a.name, b.name], [])))

    def test_what_a_node_of_a_minority_says(self):
        c = self.cluster(3)
        a, b, d = c.nodes
        for node in b, d:
            c.join(node)
        c.wait_running(3)
        # Of a queue that is to have one member none is missing.
        a.ctl("set_policy", "one", "^one$", '{"ha-mode":"exactly","ha-params":1}')
        a.ctl("set_policy", "all", "^all$", '{"ha-mode":"all"}')
        raw = rawamqp.Raw("127.0.0.1", a.port).open()
        raw.open_channel()
        for name in "one", "all", "plain":
            raw.declare(1, name, DURABLE)
        raw.close()
        c.wait_synchronised(["all"])

        def view():
            status = a.json("cluster_status")
            return status["running_nodes"], status["partitions"], [w.split(":")[0] for w in status["warnings"]]
        self.assertEqual(view(), ([a.name, b.name, d.name], {}, []))
        self.assertNotIn("Warnings", a.ctl("cluster_status"))
        b.kill()
        d.kill()
        wait_until(lambda: view() == ([a.name], {a.name: [b.name, d.name]}, ["this node is in a minority"]), 20, view)
        text = a.ctl("cluster_status")
        self.assertIn("Node %s cannot communicate with %s, %s\n" % (a.name, b.name, d.name), text)
        self.assertIn("\nWarnings\n\nthis node is in a minority: it reaches 1 of the cluster's 3 disk nodes", text)
        self.refuses_maintenance(a)
        b.start()
        wait_until(lambda: view() == ([a.name, b.name], {}, []), 20, view)
        a.ctl("await_online_nodes", "2", "-t", "10")
        wait_until(lambda: a.ctl("node_health_check", check=False).returncode == OK, 20, "it is well")
        self.assertNotIn("minority", self.refused(a, "check_if_node_is_mirror_sync_critical", status=UNAVAILABLE))

    def refuses_maintenance(self, node):
        """In a minority, with a mirrored queue, "all", and without a quorum queue. Nobody has called the others down."""
        critical = "classic mirrored queue 'all' in vhost '/' would lose its majority of synchronised replicas if node %s " \
                   "is stopped\n" % node.name
        self.assertIn(critical, self.refused(node, "check_if_node_is_mirror_sync_critical", status=UNAVAILABLE))
        self.assertEqual(node.queues("online")["all"]["online"], [node.name])
        self.refused(node, "await_online_synchronized_mirror", "-t", "0.3")
        text = self.refused(node, "await_online_nodes", "2", "-t", "0.3", status=SOFTWARE)
        self.assertTrue(text.startswith("Error:\nError: timed out while waiting. Not enough nodes joined %s's cluster.\n" % node.name))
        self.assertEqual(text.count(" is down"), 2, text)
        node.ctl("await_online_nodes", "1", "-t", "0.3")
        # Its members may look for a leader yet.
        wait_until(lambda: node.ctl("check_if_node_is_quorum_critical", check=False).returncode == UNAVAILABLE, 20,
                   "the quorum check fails")
        minority = "node %s is in a minority: it does not reach a majority of the cluster's disk nodes\n" % node.name
        r = node.ctl("check_if_node_is_quorum_critical", "-q", check=False)
        self.assertEqual((r.returncode, r.stdout, r.stderr), (UNAVAILABLE, "", minority))
        r = node.ctl("check_if_node_is_mirror_sync_critical", "-q", check=False)
        self.assertEqual((r.returncode, r.stdout), (UNAVAILABLE, ""))
        self.assertTrue(r.stderr.startswith(minority) and critical in r.stderr, r.stderr)
        self.refused(node, "await_online_quorum_plus_one", "-t", "0.3")
        self.assertIn("does not reach a majority", self.refused(node, "node_health_check", status=SOFTWARE))

    def test_lost_node_is_forgotten_by_the_others(self):
        c = self.cluster(3)
        a, b, d = c.nodes
        for node in b, d:
            c.join(node)
        c.wait_running(3)
        for node in c.nodes:
            node.kill()
        a.start(wait=False)
        wait_until(lambda: a.ctl("ping", check=False).returncode == OK, 10, "it can be asked")
        a.ctl("stop_app")
        a.ctl("forget_cluster_node", "--offline", d.name)
        b.start(wait=False)
        a.ctl("start_app")
        wait_until(lambda: self.types(a)[0] == [a.name, b.name], 20, "it is forgotten")

    def test_member_that_was_reset_in_silence(self):
        c = self.cluster(2)
        a, b = c.nodes
        c.join(b)
        c.wait_running(2)
        b.ctl("stop_app")
        b.ctl("force_reset")
        self.assertIn("a node called %s is a member of this cluster already" % b.name,
                      self.refused(b, "join_cluster", at(a)))

    def write_change(self, node, step):
        path = os.path.join(node.directory, "change")
        with open(path, "w") as f:
            f.write("warren change 1\nstep %s\nas %s\n" % (step, "none" if step == "leave" else "disc\nvia x@localhost localhost:1"))
        return path

    def put_in_the_way(self, path):
        """A file that cannot be replaced or removed, whoever tries."""
        if os.path.exists(path):
            os.unlink(path)
        os.mkdir(path)

    def test_start_that_cannot_go_on_says_why(self):
        """It was to leave, has been forgotten, and what it has cannot be deleted."""
        c = self.cluster(2)
        a, b = c.nodes
        c.join(b)
        c.wait_running(2)
        b.stop()
        a.ctl("forget_cluster_node", b.name)
        a.kill()
        self.write_change(b, "leave")
        b.start(wait=False)
        wait_until(lambda: b.ctl("ping", check=False).returncode == OK, 10, "it can be asked")
        b.ctl("stop_app")
        started = "an operator starts the app"
        before = b.log().count(started)
        control = socket.socket(socket.AF_UNIX)  # warrenctl asks anew after a while
        self.addCleanup(control.close)
        control.settimeout(60)
        control.connect(os.path.join(os.environ["WARREN_RUN_DIR"], b.name + ".sock"))
        request = json.dumps({"verb": "start_app", "args": {}}).encode()
        control.sendall(struct.pack(">I", len(request)) + request)
        wait_until(lambda: b.log().count(started) == before + 1, 10, "it is starting")
        self.put_in_the_way(os.path.join(b.directory, "cluster"))
        a.start()
        said = control.makefile("rb").read()
        self.assertTrue(said, "the connection was closed without an answer")
        reply = json.loads(said[4:])
        self.assertFalse(reply["ok"])
        self.assertIn("%s/cluster cannot be written: Is a directory" % b.directory, reply["message"])
        self.assertEqual(b.process.wait(30), 8)  # NODE_EXIT_DISK

    def test_leave_that_cannot_be_taken_back_at_once(self):
        """The file of it is removed as soon as that is possible."""
        c = self.cluster(2)
        a, b = c.nodes
        c.join(b)
        c.wait_running(2)
        a.kill()
        b.kill()
        path = self.write_change(b, "leave")
        b.start(wait=False)
        wait_until(lambda: b.ctl("ping", check=False).returncode == OK, 10, "it has read that")
        self.put_in_the_way(path)
        a.start(wait=False)
        b.wait_ready()
        wait_until(lambda: "change cannot be written" in b.log(), 10, "it has tried")
        self.assertTrue(os.path.exists(path))
        os.rmdir(path)
        self.write_change(b, "leave")
        wait_until(lambda: not os.path.exists(path), 30, "it has tried again")
        c.wait_running(2)

    def test_directory_of_another_process_is_left_alone(self):
        c = self.cluster(2)
        a, b = c.nodes
        c.join(b)
        path = self.write_change(b, "join")
        r = subprocess.run([os.environ["WARREND"], "-d", b.directory, "-n", "other@localhost", "-s",
                            "listeners.tcp.default=127.0.0.1:%d" % free_port(), "-s",
                            "cluster.listener=127.0.0.1:%d" % free_port()], capture_output=True, timeout=30)
        self.assertEqual(r.returncode, 7, r.stderr)  # NODE_EXIT_LOCKED
        self.assertTrue(os.path.exists(path))


if __name__ == "__main__":
    exit_on_sigterm()
    unittest.main()
