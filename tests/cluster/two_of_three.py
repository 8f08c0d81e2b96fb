#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Queues with two mirrors on three nodes, under a confirmed load: one of the two nodes dies, and the queue goes on
with the other one. Nothing that was confirmed is missing or out of order.

usage: two_of_three.py [unittest arguments]; WARREND names the broker.
"""

import json
import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

from books import Publisher, drain  # noqa: E402
from cluster import Cluster, exit_on_sigterm, wait_until  # noqa: E402

GAP = 15  # seconds; measured ones are far below
TWO = {"ha-mode": "exactly", "ha-params": 2, "ha-sync-mode": "automatic"}


class TwoOfThree(unittest.TestCase):
    def begin(self, *settings, nodes=3, durable=True):
        self.cluster = c = Cluster(nodes, settings)
        self.publishers = []
        self.addCleanup(self.tear_down)
        c.form()
        c.nodes[0].ctl("set_policy", "two", "^two-", json.dumps(TWO))
        ports = [n.port for n in c.nodes]
        self.publishers += [Publisher("two-%d" % i, ports[i:] + ports[:i], durable=durable)
                            for i in range(nodes)]
        self.flows()
        self.whole()

    def tear_down(self):
        for p in self.publishers:
            p.running = False
        self.cluster.close()

    def flows(self):
        before = [p.confirmed for p in self.publishers]
        wait_until(lambda: all(p.confirmed > b + 50 for p, b in zip(self.publishers, before)), 30,
                   lambda: "the load goes on: %s" % [(p.queue, p.confirmed, p.wrong) for p in self.publishers])

    def rows(self, node):
        rows = node.queues("leader", "members", "online", "synchronised_slave_pids")
        return [rows[p.queue] for p in self.publishers]

    def whole(self, asked=None):
        """Each queue has two members that have everything."""
        asked = asked or self.cluster.nodes[0]
        wait_until(lambda: all(len(r["online"]) == 2 and len(r["synchronised_slave_pids"] or []) == 1
                               for r in self.rows(asked)), 40, lambda: "two in step: %s" % self.rows(asked))

    def comes_back(self, node):
        node.start()
        self.cluster.wait_running(3)
        self.whole()

    def node(self, name):
        return next(n for n in self.cluster.nodes if n.name == name)

    def other(self, *nodes):
        return next(n for n in self.cluster.nodes if n not in nodes)

    def pair(self, p):
        """The queue's leader, and its mirror."""
        row = self.cluster.nodes[0].queues("leader", "members")[p.queue]
        leader = self.node(row["leader"])
        return leader, self.node(next(m for m in row["members"] if m != leader.name))

    def gap(self, p, what):
        """Seconds until the queue confirms again."""
        begun, before = time.monotonic(), p.confirmed
        wait_until(lambda: p.confirmed > before + 60, GAP, lambda: "%s: %s goes on" % (what, p.queue))
        print("%s: %s goes on after %.1f s" % (what, p.queue, time.monotonic() - begun), file=sys.stderr)

    def check(self):
        for p in self.publishers:
            p.pause(60)
        for i, p in enumerate(self.publishers):
            p.check(drain(self.cluster.nodes[i].port, p.queue))
        for p in self.publishers:
            p.go_on()

    def test_the_survivor_goes_on(self):
        self.begin()
        for i, which in enumerate((0, 1, 0, 1)):
            p = self.publishers[i % 3]
            pair = self.pair(p)
            pair[which].kill()
            self.gap(p, "the %s dies" % ("leader", "mirror")[which])
            self.flows()
            self.comes_back(pair[which])
            # Each of the two has everything.
            pair[1 - which].kill()
            self.gap(p, "the survivor dies, too")
            self.comes_back(pair[1 - which])
            self.check()

    def test_the_survivor_in_memory_goes_on(self):
        """A queue that is not durable lives with what is in it as long as one of the two has it all."""
        self.begin(durable=False)
        for i, which in enumerate((0, 1, 0, 1)):
            p = self.publishers[i % 3]
            pair = self.pair(p)
            if i < 2:
                pair[which].kill()
            else:
                pair[which].stop()
            self.gap(p, "the %s %s" % (("leader", "mirror")[which], "dies" if i < 2 else "stops"))
            self.comes_back(pair[which])
            # Another one has a copy of all by then.
            pair[1 - which].kill()
            self.gap(p, "the survivor dies, too")
            self.comes_back(pair[1 - which])
            self.check()

    def test_of_two_nodes_the_queue_in_memory_waits_for_the_other(self):
        """They have no metadata meanwhile; who comes back has nothing of what it had."""
        self.begin(nodes=2, durable=False)
        for which in (0, 1, 0):
            for p in self.publishers:
                p.pause()
            pair = self.pair(self.publishers[0])
            pair[which].kill()
            pair[which].start()
            self.cluster.wait_running(2)
            for p in self.publishers:
                p.go_on()
            self.gap(self.publishers[0], "the %s has begun anew" % ("leader", "mirror")[which])
            self.whole()
            self.check()

    def test_who_is_not_back_yet_does_not_count(self):
        """The survivor dies as soon as the other is back: the queue goes on if that had all, or else waits."""
        self.begin()
        for _ in range(3):
            p = self.publishers[0]
            leader, mirror = self.pair(p)
            leader.kill()
            self.gap(p, "the leader dies")
            leader.start()
            mirror.kill()
            time.sleep(1)
            mirror.start()
            self.cluster.wait_running(3)
            self.flows()
            self.whole()
            self.check()

    def test_a_mirror_that_stays_away_is_replaced(self):
        self.begin("cluster.replace_after_ms=3000")
        p = self.publishers[0]
        leader, mirror = self.pair(p)
        third = self.other(leader, mirror)
        leader.kill()
        self.gap(p, "the leader dies")
        self.whole(mirror)
        self.assertEqual(sorted(mirror.queues("members")[p.queue]["members"]), sorted([mirror.name, third.name]))
        mirror.kill()
        leader.start()
        self.gap(p, "the survivor dies, too")
        mirror.start()
        self.cluster.wait_running(3)
        self.whole()
        self.check()

    def test_a_forgotten_nodes_mirror_is_replaced(self):
        self.begin()
        p = self.publishers[0]
        leader, mirror = self.pair(p)
        third = self.other(leader, mirror)
        mirror.kill()
        self.gap(p, "the mirror dies")
        wait_until(lambda: mirror.name not in leader.json("cluster_status")["running_nodes"], 20, "it counts as down")
        leader.ctl("forget_cluster_node", mirror.name)
        self.whole(leader)
        self.assertEqual(sorted(leader.queues("members")[p.queue]["members"]), sorted([leader.name, third.name]))
        self.flows()
        for x in self.publishers:
            x.pause(60)
        for x in self.publishers:
            x.check(drain(leader.port, x.queue))

    def test_who_is_critical(self):
        """The other one of two in step goes on; one that is alone is missed."""
        def is_critical(node):
            r = node.ctl("check_if_node_is_mirror_sync_critical", check=False)
            return {0: False, 69: True}[r.returncode]

        def nobody_is():  # as soon as each node has heard who votes
            wait_until(lambda: not any(is_critical(n) for n in self.cluster.nodes), 20, "nobody is critical")
        self.begin()
        p = self.publishers[0]
        leader, mirror = self.pair(p)
        nobody_is()
        mirror.kill()
        self.gap(p, "the mirror dies")
        self.assertTrue(is_critical(leader))
        mirror.start()
        self.cluster.wait_running(3)
        self.whole()
        nobody_is()

    def test_an_orderly_stop(self):
        self.begin()
        for which in (0, 1):
            p = self.publishers[0]
            pair = self.pair(p)
            pair[which].stop()
            self.gap(p, "the %s stops" % ("leader", "mirror")[which])
            self.comes_back(pair[which])
            self.check()


if __name__ == "__main__":
    exit_on_sigterm()
    unittest.main(verbosity=2)
