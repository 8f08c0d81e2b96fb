#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A resource alarm on one node holds the publishers of all nodes, and goes with its node.

usage: blocked.py [unittest arguments]; WARREND names the broker.
"""

import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "daemon"))
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

from alarms import Publisher  # noqa: E402
from cluster import Cluster, exit_on_sigterm, wait_until  # noqa: E402

SECONDS = 30
NO_DISK = "disk_free_limit.absolute=%d" % (1 << 60)
NO_MEMORY = "vm_memory_high_watermark.absolute=1"


class Blocked(unittest.TestCase):
    def publisher(self, node):
        p = Publisher(node.port, "q", 1, b"held")
        self.addCleanup(p.close)
        return p

    def is_held(self, node, reason):
        p = self.publisher(node)
        self.assertTrue(p.blocked.wait(SECONDS), "never blocked")
        self.assertEqual(p.reason, reason)
        return p

    def alarms(self, node, verb):
        return sorted((a["node"], a["resource"]) for a in node.json(verb)["alarms"])

    def all_see(self, c, alarms):
        for node in c.nodes:
            if node.alive():
                for verb in ("status", "cluster_status"):
                    wait_until(lambda: self.alarms(node, verb) == alarms, SECONDS,
                               lambda: "%s of %s: %r" % (verb, node.name, self.alarms(node, verb)))

    def test_alarms_of_others(self):
        c = Cluster(3)
        self.addCleanup(c.close)
        c.form()
        a, b, d = c.nodes
        self.all_see(c, [])
        d.stop()
        d.settings.append(NO_DISK)
        d.start()
        c.wait_running(3)
        self.all_see(c, [(d.name, "disk")])
        self.assertEqual(a.ctl("check_local_alarms", check=False).returncode, 0)
        self.assertNotEqual(a.ctl("check_alarms", check=False).returncode, 0)
        self.assertNotEqual(d.ctl("check_local_alarms", check=False).returncode, 0)
        first = self.is_held(a, "low on disk")
        other = self.is_held(b, "low on disk")
        self.assertIn("disk resource limit alarm on node %s: publishers are blocked" % d.name, a.log())
        # Who only heard of it says nothing of its own.
        for node in c.nodes:
            self.assertNotIn("no resource limit alarm on node", node.log())
        b.stop()
        b.settings.append(NO_MEMORY)
        b.start()
        c.wait_running(3)
        self.all_see(c, [(b.name, "memory"), (d.name, "disk")])
        second = self.is_held(a, "low on memory & disk")
        # A node that is gone has no alarm.
        d.kill()
        c.wait_running(2)
        self.all_see(c, [(b.name, "memory")])
        third = self.is_held(a, "low on memory")
        self.assertFalse(first.unblocked.is_set())
        d.settings.remove(NO_DISK)
        d.start()
        c.wait_running(3)
        b.stop()
        for p in (first, second, third):
            self.assertTrue(p.unblocked.wait(SECONDS), "never released")
            self.assertTrue(p.done.wait(SECONDS))
        self.assertFalse(other.unblocked.is_set())  # its own node went down under it
        c.wait_running(2)
        self.all_see(c, [])


if __name__ == "__main__":
    exit_on_sigterm()
    unittest.main()
