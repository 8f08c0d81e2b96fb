#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nodes that are killed while their membership changes, at each point of what they do to their files: after the next
start each is what it was or what it was to be, and never a broker of its own that nobody wanted.

usage: dying.py [unittest arguments]; WARREND names the broker. Needs a C compiler, for dies.c.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from cluster import Cluster, exit_on_sigterm, wait_until  # noqa: E402

SKIP = 77
OK, UNAVAILABLE, SOFTWARE, TIMEOUT = 0, 69, 70, 75
LEFT = 3  # the point from which on the others have forgotten a node that leaves
OWN = "its-own"  # a virtual host of a node by itself


def at(node):
    return "%s:%d" % (node.name, node.cluster_port)


class Dying(unittest.TestCase):
    library = None

    def cluster(self, n):
        c = Cluster(n)
        self.addCleanup(c.close)
        c.start()
        return c

    def start_to_die(self, node, point, first="change", wait=True):
        """The process ends at that point of what is counted from this file on."""
        os.environ.update(LD_PRELOAD=self.library, DIES_DIR=node.directory, DIES_FROM=first, DIES_AT=str(point))
        try:
            node.start(wait=False)
        finally:
            for name in "LD_PRELOAD", "DIES_DIR", "DIES_FROM", "DIES_AT":
                os.environ.pop(name)
        if wait:
            node.wait_ready()

    def dies(self, node, *arguments):
        """Whether the command ended the process; else it was done."""
        r = node.ctl(*arguments, check=False)
        if r.returncode != OK:
            node.process.wait(10)
            return node.log().strip().rsplit("\n", 1)[-1].split("dies ", 1)[1]
        return None

    def type_of(self, node, seen_by):
        status = seen_by.json("cluster_status")
        return "ram" if node.name in status["ram_nodes"] else "disc" if node.name in status["disk_nodes"] else None

    def vhosts(self, node):
        return [row["name"] for row in node.json("list_vhosts")]

    def expect_nothing_left(self, node):
        self.assertFalse(os.path.exists(os.path.join(node.directory, "change")))

    def test_type_is_changed(self):
        c = self.cluster(3)
        a, b, d = c.nodes
        for node in b, d:
            c.join(node)
        c.wait_running(3)
        a.ctl("add_vhost", "of-the-cluster")
        points = []
        was, point, died = "disc", 1, True
        while died:
            to = "ram" if was == "disc" else "disc"
            d.stop()
            self.start_to_die(d, point)
            d.ctl("stop_app")
            died = self.dies(d, "change_cluster_node_type", to)
            points.append(died)
            if died:
                d.start()
            else:
                d.ctl("start_app")
            c.wait_running(3)
            is_now = self.type_of(d, a)
            self.assertEqual(is_now, self.type_of(d, d))
            self.assertIn(is_now, (to,) if point >= LEFT or not died else (was, to), died)
            self.assertIn("of-the-cluster", self.vhosts(d))
            self.expect_nothing_left(d)
            was, point = is_now, point + 1
        self.assertEqual(points, [
            "before renaming of change", "after renaming of change",  # it is to leave
            "before renaming of change", "after renaming of change",  # it has left, and is to be wiped
            "before removal of cluster", "after removal of cluster",
            "before removal of data.mdb", "after removal of data.mdb",
            "before renaming of change", "after renaming of change",  # it is to join
            "before renaming of cluster", "after renaming of cluster",
            "before removal of change", "after removal of change", None])
        self.assertIn("is a member still: that is taken back", d.log())
        self.assertIn("as it had begun to: it goes on with that", d.log())

    def test_joins(self):
        c = self.cluster(2)
        a, b = c.nodes
        a.ctl("add_vhost", "of-the-cluster")
        point, died, n_died = 1, True, 0
        while died:
            b.ctl("add_vhost", OWN)
            b.stop()
            self.start_to_die(b, point)
            b.ctl("stop_app")
            died = self.dies(b, "join_cluster", at(a))
            n_died += died is not None
            if died:
                b.start()
            else:
                b.ctl("start_app")
            if point == 1:  # nothing had begun
                self.assertIn(OWN, self.vhosts(b))
                self.assertEqual(self.type_of(b, a), None)
            else:
                c.wait_running(2)
                self.assertIn("of-the-cluster", self.vhosts(b))
                self.assertNotIn(OWN, self.vhosts(b))
            self.expect_nothing_left(b)
            if died:
                b.ctl("stop_app")
                b.ctl("reset")
                b.ctl("start_app")
                self.assertEqual(self.type_of(b, a), None)
            point += 1
        self.assertEqual(n_died, 12)

    def test_is_reset(self):
        c = self.cluster(2)
        a, b = c.nodes
        a.ctl("add_vhost", "of-the-cluster")
        point, died, n_died = 1, True, 0
        while died:
            c.join(b)
            c.wait_running(2)
            b.stop()
            self.start_to_die(b, point)
            b.ctl("stop_app")
            died = self.dies(b, "reset")
            n_died += died is not None
            if died:
                b.start()
            else:
                b.ctl("start_app")
            if point < LEFT:  # a member still
                c.wait_running(2)
                self.assertIn("of-the-cluster", self.vhosts(b))
                b.ctl("stop_app")
                b.ctl("reset")
                b.ctl("start_app")
            self.assertEqual((self.type_of(b, a), self.vhosts(b)), (None, ["/"]))
            self.expect_nothing_left(b)
            point += 1
        self.assertEqual(n_died, 10)

    def two_that_part(self, point):
        """A member that died on its way to become a RAM node, and the other one, which is not there any more."""
        c = self.cluster(2)
        a, b = c.nodes
        c.join(b)
        c.wait_running(2)
        b.stop()
        self.start_to_die(b, point)
        b.ctl("stop_app")
        self.assertTrue(self.dies(b, "change_cluster_node_type", "ram"))
        a.stop()
        b.start(wait=False)
        wait_until(lambda: b.ctl("ping", check=False).returncode == OK, 10, "it can be asked")
        return c, a, b

    def expect_waiting(self, node, text):
        r = node.ctl("await_startup", "-t", "2", check=False)
        self.assertEqual(r.returncode, TIMEOUT, r.stdout + r.stderr)
        self.assertIn(text, r.stderr)
        self.assertFalse(node.serves())

    def test_waits_for_who_lets_it_in(self):
        c, a, b = self.two_that_part(LEFT + 1)
        text = "%s waits to become a member of the cluster that it was told to join: %s at " % (b.name, a.name)
        self.expect_waiting(b, text)
        self.assertIn(text, b.log())
        self.assertTrue(any(text in w for w in b.json("cluster_status")["warnings"]), b.json("cluster_status"))
        # Stopped and started it does the same, whoever starts it.
        b.ctl("stop_app")
        self.assertTrue(any("has not finished what changes its membership" in w
                            for w in b.json("cluster_status")["warnings"]))
        # It has nothing that it could go on alone with.
        for verb in ("force_boot",), ("forget_cluster_node", "--offline", a.name):
            r = b.ctl(*verb, "--force", check=False)
            self.assertEqual(r.returncode, UNAVAILABLE, r.stdout + r.stderr)
            self.assertIn("it has deleted that, and is to join a cluster, as it was told to", r.stderr)
        r = b.ctl("start_app", "-t", "2", check=False)
        self.assertEqual(r.returncode, TIMEOUT, r.stderr)
        self.assertIn(text, r.stderr)
        a.start()
        c.wait_running(2)
        self.assertEqual(self.type_of(b, a), "ram")
        self.expect_nothing_left(b)

    def test_waits_for_who_knows_whether_it_has_left(self):
        c, a, b = self.two_that_part(LEFT)
        self.expect_waiting(b, "%s waits for its cluster: %s" % (b.name, a.name))
        a.start()
        c.wait_running(2)
        self.assertEqual(self.type_of(b, a), "ram")

    def test_operator_ends_it(self):
        c, a, b = self.two_that_part(LEFT + 1)
        b.ctl("stop_app")
        b.ctl("reset")
        self.expect_nothing_left(b)
        b.ctl("start_app")
        self.assertEqual(self.vhosts(b), ["/"])
        # Or lets it join elsewhere.
        a.start()
        c.join(b)
        c.wait_running(2)
        self.assertEqual(self.type_of(b, a), "disc")

    def test_refused_by_who_is_to_let_it_in(self):
        c, a, b = self.two_that_part(LEFT + 1)
        a.start()
        c.wait_running(2)
        # Nobody knows its name any more when another node has it.
        b.stop()
        self.start_to_die(b, LEFT + 1)
        b.ctl("stop_app")
        self.assertTrue(self.dies(b, "change_cluster_node_type", "disc"))
        kept = b.directory + ".kept"
        os.rename(b.directory, kept)
        b.start()
        c.join(b)
        c.wait_running(2)
        b.stop()
        shutil.rmtree(b.directory)
        os.rename(kept, b.directory)
        b.start(wait=False)
        wait_until(lambda: "a node called %s is a member of this cluster already" % b.name in b.log(), 20, "it is told")
        self.expect_waiting(b, "remove it first with 'forget_cluster_node %s'" % b.name)
        wait_until(lambda: a.ctl("forget_cluster_node", b.name, check=False).returncode == OK, 30, "that is forgotten")
        c.wait_running(2)

    def test_others_are_given_up(self):
        """What was said before is kept, or was not said."""
        c = self.cluster(2)
        a, b = c.nodes
        c.join(b)
        c.wait_running(2)
        a.ctl("add_vhost", "of-the-cluster")
        a.kill()
        for point, verb in (1, ("forget_cluster_node", "--offline", a.name)), (2, ("force_boot",)):
            b.kill()
            self.start_to_die(b, point, "cluster", wait=False)
            wait_until(lambda: b.ctl("stop_app", check=False).returncode == OK, 10, "its app is stopped")
            self.assertTrue(self.dies(b, *verb))
            b.start(wait=point == 2)
            if point == 1:
                wait_until(lambda: b.ctl("ping", check=False).returncode == OK, 10, "it can be asked")
                self.expect_waiting(b, "%s waits for its cluster" % b.name)
        self.assertEqual(b.json("cluster_status")["disk_nodes"], [b.name])
        self.assertIn("of-the-cluster", self.vhosts(b))


def main():
    exit_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="dying-") as place:
        Dying.library = os.path.join(place, "dies.so")
        try:
            subprocess.run(os.environ.get("CC", "cc").split() + [
                "-shared", "-fPIC", "-O1", "-o", Dying.library, os.path.join(HERE, "dies.c"), "-ldl"], check=True)
        except (OSError, subprocess.CalledProcessError) as e:
            print("skipped: no compiler: %s" % e)
            return SKIP
        return not unittest.main(exit=False).result.wasSuccessful()


if __name__ == "__main__":
    sys.exit(main())
