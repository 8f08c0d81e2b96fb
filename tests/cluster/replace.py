#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nodes come and go under a confirmed load, by the documented commands: one that has lost its data comes back, one is
replaced by another of another name, a fourth joins and leaves. Nothing that was confirmed is missing or out of order,
and the load goes on.

usage: replace.py [unittest arguments]; WARREND names the broker.
"""

import json
import os
import shutil
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

from books import Publisher, drain  # noqa: E402
from cluster import Cluster, Node, exit_on_sigterm, wait_until  # noqa: E402

KINDS = {"all": {"ha-mode": "all", "ha-sync-mode": "automatic"},
         "exactly": {"ha-mode": "exactly", "ha-params": 3, "ha-sync-mode": "automatic"}}


class Replace(unittest.TestCase):
    def setUp(self):
        self.cluster = c = Cluster(3)
        self.publishers = []
        self.addCleanup(self.tear_down, self.id())
        c.form()
        for kind, definition in KINDS.items():
            c.nodes[0].ctl("set_policy", kind, "^%s-" % kind, json.dumps(definition))
        ports = [n.port for n in c.nodes]
        self.publishers += [Publisher("%s-%d" % (kind, i), ports[i:] + ports[:i]) for kind in KINDS for i in range(3)]
        self.queues = [p.queue for p in self.publishers]
        self.goes_on()
        self.everywhere(c.nodes)

    def tear_down(self, _):
        for p in self.publishers:
            p.running = False
        self.cluster.close()

    def goes_on(self):
        before = [p.confirmed for p in self.publishers]
        wait_until(lambda: all(p.confirmed > b + 50 for p, b in zip(self.publishers, before)), 30,
                   lambda: "the load goes on: %s" % [(p.queue, p.confirmed, p.wrong) for p in self.publishers])

    def forget(self, node, by):
        """A node that was killed is down as soon as that is noticed."""
        wait_until(lambda: by.ctl("forget_cluster_node", node.name, check=False).returncode == 0, 15,
                   "%s is forgotten" % node.name)

    def everywhere(self, nodes, kinds=KINDS):
        """All queues have their members on these nodes, and each has what the others have."""
        names = sorted(n.name for n in nodes)
        asked = nodes[0]

        def done():
            rows = asked.queues("members", "online", "synchronised_slave_pids")
            return all(sorted(rows[q]["members"]) == sorted(rows[q]["online"]) == names and
                       len(rows[q]["synchronised_slave_pids"] or []) == len(names) - 1
                       for q in self.queues if q.split("-")[0] in kinds)
        wait_until(done, 30, lambda: "members on %s: %s" % (
            names, asked.queues("members", "synchronised_slave_pids", "leader")))

    def each_alone_can_be_missed(self):
        """With any one node away the others have all that was confirmed."""
        for node in self.cluster.nodes:
            node.kill()
            self.goes_on()
            node.start()
            self.cluster.wait_running(len(self.cluster.nodes))
            self.everywhere(self.cluster.nodes[:3])

    def all_is_there(self):
        for p in self.publishers:
            p.pause()
        for p in self.publishers:
            p.check(drain(self.cluster.nodes[0].port, p.queue))

    def test_a_node_has_lost_its_data(self):
        first, second, third = self.cluster.nodes
        third.kill()
        self.goes_on()
        shutil.rmtree(third.directory)
        self.forget(third, first)
        third.start()
        self.cluster.join(third)
        self.cluster.wait_running(3)
        self.everywhere([first, second, third])
        self.each_alone_can_be_missed()
        self.all_is_there()

    def test_a_node_is_replaced_by_another(self):
        first, second, third = self.cluster.nodes
        first.kill()
        self.goes_on()
        fourth = Node(self.cluster, 4, [])
        fourth.start()
        self.cluster.nodes = [second, third, fourth]
        self.cluster.join(fourth)
        self.forget(first, third)
        self.cluster.wait_running(3)
        self.everywhere([second, third, fourth])
        for p in self.publishers:
            p.ports = [n.port for n in self.cluster.nodes]
        self.each_alone_can_be_missed()
        self.all_is_there()

    def test_a_fourth_joins_and_leaves(self):
        three = list(self.cluster.nodes)
        for _ in range(2):
            fourth = Node(self.cluster, 4, [])
            fourth.start()
            self.cluster.nodes = three + [fourth]
            self.cluster.join(fourth)
            self.cluster.wait_running(4)
            self.everywhere(self.cluster.nodes, kinds=["all"])
            self.goes_on()
            fourth.ctl("stop_app")
            three[0].ctl("forget_cluster_node", fourth.name)
            fourth.kill()
            shutil.rmtree(fourth.directory)
            self.cluster.nodes = three
            self.everywhere(three)
            self.goes_on()
        self.all_is_there()


if __name__ == "__main__":
    exit_on_sigterm()
    unittest.main()
