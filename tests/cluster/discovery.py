#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nodes that find their cluster by themselves: whatever starts when, there is never a second one.

usage: discovery.py [unittest arguments]; WARREND names the broker.
"""

import os
import random
import shutil
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

from cluster import Cluster, exit_on_sigterm, wait_until  # noqa: E402
import rawamqp  # noqa: E402

LIST = "cluster_formation.classic_config.nodes.%d=rabbit@127.0.0.1:%d"
FAST = ["cluster_formation.discovery_retry_interval=50", "cluster.node_down_ms=500"]
ROUNDS = 10


def cluster_ids(c):
    """The ids of the clusters that the nodes know, of their files and of living ones."""
    ids = set()
    for node in c.nodes:
        path = os.path.join(node.directory, "cluster")
        if os.path.exists(path):
            with open(path) as f:
                ids.add(f.read().split("\n")[1])
    return ids


def founders(c):
    return [n.name for n in c.nodes if n.process and "%s founds the cluster" % n.name in n.log()]


class Discovery(unittest.TestCase):
    def cluster(self, n=3, settings=()):
        c = Cluster(n)
        self.addCleanup(c.close)
        for node in c.nodes:
            node.settings += [LIST % (i + 1, other.cluster_port) for i, other in enumerate(c.nodes)]
            node.settings += FAST + list(settings)
        return c

    def formed(self, c, n=None):
        for node in c.nodes:
            if node.alive():
                node.wait_ready()
        c.wait_running(n or len(c.nodes))
        self.assertEqual(len(cluster_ids(c)), 1)

    def wipe(self, node):
        shutil.rmtree(node.directory)

    def waits(self, node, text):
        wait_until(lambda: text in node.log(), 20, lambda: "%s waits: %s\n%s" % (node.name, text, node.log()[-2000:]))

    def test_all_at_once(self):
        for _ in range(ROUNDS):
            c = self.cluster()
            for node in random.sample(c.nodes, 3):
                node.start(wait=False)
            self.formed(c)
            self.assertEqual(founders(c), [c.nodes[0].name])
            c.close()

    def test_one_after_the_other_in_any_order(self):
        c = self.cluster()
        a, b, d = c.nodes
        d.start(wait=False)
        self.waits(d, "does not say whether it is in a cluster")
        a.start(wait=False)
        self.waits(a, "127.0.0.1:%d does not say whether it is in a cluster" % b.cluster_port)
        self.assertIn("is starting", a.ctl("list_queues", check=False).stderr)
        r = a.ctl("await_startup", "-t", "0", check=False)
        self.assertEqual(r.returncode, 75)
        self.assertIn("timed out. %s looks for its cluster: " % a.name, r.stderr)
        self.assertIn("127.0.0.1:%d does not say whether it is in a cluster" % b.cluster_port, r.stderr)
        self.assertEqual(founders(c), [])
        b.start(wait=False)
        self.formed(c)
        self.assertEqual(founders(c), [a.name])
        # A restart looks for nobody; each comes back to its cluster.
        for node in c.nodes:
            node.stop()
        for node in (d, b, a):
            node.start(wait=False)
        self.formed(c)

    def test_killed_in_the_middle(self):
        rng = random.Random(1)
        c = self.cluster()
        for node in c.nodes:
            node.start(wait=False)
        for _ in range(6):
            victim = rng.choice(c.nodes)
            wait_until(lambda: "looking for" in victim.log() or "founds" in victim.log() or "joins" in victim.log(),
                       20, "it has begun")
            victim.kill()
            victim.start(wait=False)
        self.formed(c)

    def test_wiped_founder(self):
        c = self.cluster()
        a, b, d = c.nodes
        for node in c.nodes:
            node.start(wait=False)
        self.formed(c)
        b.ctl("add_vhost", "kept")
        a.kill()
        self.wipe(a)
        # While the others are away it waits: it cannot know that there is no cluster.
        b.stop()
        d.stop()
        a.start(wait=False)
        self.waits(a, "does not say whether it is in a cluster")
        b.start(wait=False)
        self.waits(a, "%s is in a cluster, but lets nobody in yet" % b.name)
        d.start(wait=False)
        self.formed(c)
        self.assertIn("kept", a.ctl("list_vhosts", "-s").split())
        self.assertEqual(a.log().count("founds the cluster"), 1)

    def test_wiped_node_that_alone_had_a_queue(self):
        """Its disk may only not be there: nothing is deleted before an operator says so."""
        c = self.cluster()
        a, b, d = c.nodes
        for node in c.nodes:
            node.start(wait=False)
        self.formed(c)
        raw = rawamqp.Raw("127.0.0.1", d.port).open()
        raw.open_channel()
        raw.declare(1, "alone", 2)
        raw.close()
        d.kill()
        self.wipe(d)
        d.start(wait=False)
        self.waits(d, "a node called %s is a member of this cluster already" % d.name)
        # Not only out of reach: its port answers, with somebody else.
        wait_until(lambda: "node %s is down" % d.name in a.log() + b.log(), 20, "it is called down")
        self.assertIn("alone", a.queues())
        a.ctl("forget_cluster_node", d.name)
        self.formed(c)

    def test_dns(self):
        c = Cluster(2)
        self.addCleanup(c.close)
        a, b = c.nodes
        dns = FAST + ["cluster_formation.peer_discovery_backend=rabbit_peer_discovery_dns",
                      "cluster_formation.dns.hostname=localhost"]
        a.settings += dns + ["cluster_formation.target_cluster_size_hint=1"]
        # The same port at another address: the system's resolver knows only the first one.
        b.settings += dns + ["cluster_formation.target_cluster_size_hint=2", "cluster_formation.node_type=ram",
                             "cluster.listener=127.0.0.2:%d" % a.cluster_port]
        b.start(wait=False)
        self.waits(b, "does not say whether it is in a cluster")
        a.start()
        b.wait_ready()
        c.wait_running(2)
        self.assertEqual(a.json("cluster_status")["ram_nodes"], [b.name])
        self.assertEqual(len(cluster_ids(c)), 1)

    def test_too_few(self):
        c = Cluster(1)
        self.addCleanup(c.close)
        a = c.nodes[0]
        a.settings += FAST + [LIST % (1, a.cluster_port), "cluster_formation.target_cluster_size_hint=2",
                              "cluster_formation.discovery_retry_limit=3"]
        a.start(wait=False)
        self.assertEqual(a.process.wait(20), 1)
        self.assertIn("no cluster was found: 1 of 2 expected nodes are there", a.log())
        self.assertNotIn("founds the cluster", a.log())

    def test_stopped_while_it_looks(self):
        c = self.cluster(2)
        a = c.nodes[0]
        a.start(wait=False)
        self.waits(a, "does not say whether it is in a cluster")
        a.ctl("stop_app")
        a.ctl("reset")
        r = a.ctl("status", check=False)
        self.assertEqual(r.returncode, 0, r.stderr)
        a.stop()


if __name__ == "__main__":
    exit_on_sigterm()
    unittest.main()
