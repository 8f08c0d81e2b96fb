#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Changes of membership that an operator did not wait for: what is answered late does nothing to a node that has been
told something else meanwhile.

usage: late.py [unittest arguments]; WARREND names the broker.
"""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from cluster import Cluster, beside, exit_on_sigterm, wait_until  # noqa: E402

OK, UNAVAILABLE = 0, 69
SECONDS = 60
NEVER_JOINED = "0123456789abcdef"


def at(node):
    return "%s:%d" % (node.name, node.cluster_port)


class Request:
    """A verb of a node's API, on its control socket."""

    def __init__(self, node, verb, /, **args):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SECONDS)
        self.socket.connect(os.path.join(os.environ["WARREN_RUN_DIR"], node.name + ".sock"))
        octets = json.dumps({"verb": verb, "args": args}).encode()
        self.socket.sendall(struct.pack(">I", len(octets)) + octets)

    def reply(self):
        with self.socket, self.socket.makefile("rb") as f:
            return json.loads(f.read(struct.unpack(">I", f.read(4))[0]))


def ask(node, verb, /, **args):
    return Request(node, verb, **args).reply()


class Late(unittest.TestCase):
    def cluster(self, n, members):
        c = Cluster(n)
        self.addCleanup(c.close)
        c.start()
        for node in c.nodes[1:members]:
            c.join(node)
        wait_until(lambda: all(sorted(node.json("cluster_status")["running_nodes"]) == [m.name for m in c.nodes[:members]]
                               for node in c.nodes[:members]), 30, "all run")
        return c

    def begin(self, node, *arguments):
        return subprocess.Popen([beside("warrenctl"), "-n", node.name, *arguments], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def reset_that_waits(self, node, frozen):
        """A reset of a stopped node that waits for the answer of one that stands still."""
        node.ctl("stop_app")
        frozen.process.send_signal(signal.SIGSTOP)
        self.addCleanup(frozen.process.send_signal, signal.SIGCONT)
        reset = self.begin(node, "reset")
        wait_until(lambda: self.has_change(node), 10, "the reset has begun")
        return reset

    def has_change(self, node):
        return os.path.exists(os.path.join(node.directory, "change"))

    def change(self, node):
        with open(os.path.join(node.directory, "change")) as f:
            return f.read()

    def expect_superseded(self, process, by):
        _, err = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, UNAVAILABLE, err)
        self.assertEqual(err, "Error:\n'%s' came meanwhile: this command does not go on\n" % by)

    def members(self, node):
        return sorted(node.json("cluster_status")["disk_nodes"])

    def test_started_while_it_is_reset(self):
        """It is the member that it was, whether the other one answers or dies."""
        c = self.cluster(3, 3)
        a, b, d = c.nodes
        names = [node.name for node in c.nodes]
        for end in signal.SIGCONT, signal.SIGKILL:
            reset = self.reset_that_waits(d, a)
            d.ctl("start_app")
            self.assertFalse(self.has_change(d))
            a.process.send_signal(end)
            self.expect_superseded(reset, "start_app")
            if end == signal.SIGCONT:
                c.wait_running(3)
            self.assertEqual((self.members(b), self.members(d)), (names, names))
            self.assertTrue(d.serves())

    def test_joined_elsewhere_while_it_is_reset(self):
        c = self.cluster(3, 2)
        a, b, other = c.nodes
        reset = self.reset_that_waits(b, a)
        b.ctl("force_reset")
        b.ctl("join_cluster", at(other))
        a.process.send_signal(signal.SIGCONT)
        self.expect_superseded(reset, "join_cluster")
        b.ctl("start_app")
        for node in b, other:
            self.assertEqual(self.members(node), [b.name, other.name])

    def test_second_one_when_the_first_was_given_up(self):
        """Also while the first still waits."""
        c = self.cluster(4, 3)
        a, b, d, other = c.nodes
        with self.reset_that_waits(d, a) as reset:
            reset.kill()
        joining = self.begin(d, "join_cluster", at(other))
        wait_until(lambda: "via %s" % other.name in self.change(d), 10, "it has begun")
        a.process.send_signal(signal.SIGCONT)
        _, err = joining.communicate(timeout=SECONDS)
        self.assertEqual(joining.returncode, OK, err)
        d.ctl("start_app")
        for node in d, other:
            self.assertEqual(self.members(node), [d.name, other.name])
        self.assertEqual(self.members(b), [a.name, b.name])

    def test_leave_of_an_earlier_life(self):
        c = self.cluster(2, 2)
        a, b = c.nodes
        b.ctl("stop_app")
        b.ctl("start_app")
        c.wait_running(2)
        me = ask(b, "cluster_peer")["result"]["id"]
        reply = ask(a, "cluster_leave", id=me, incarnation=1)
        self.assertEqual(reply, {"ok": False, "error": "refused",
                                 "message": "the node cannot leave: its app was started meanwhile"})
        c.wait_running(2)

    def test_who_does_not_know_a_node_does_not_say_that_it_has_left(self):
        """Its copy of the table may be older than the other's joining."""
        c = self.cluster(3, 3)
        a, b, d = c.nodes
        self.assertTrue(ask(a, "cluster_leave", id=NEVER_JOINED, incarnation=1)["ok"])
        b.kill()
        d.kill()
        reply = ask(a, "cluster_leave", id=NEVER_JOINED, incarnation=1)
        self.assertEqual((reply["ok"], reply["error"]), (False, "unavailable"), reply)

    def test_nobody_says_whether_it_has_left(self):
        """The next start finds out."""
        c = self.cluster(3, 3)
        a, b, d = c.nodes
        reset = self.reset_that_waits(d, a)
        b.kill()
        a.kill()
        _, err = reset.communicate(timeout=SECONDS)
        self.assertEqual(reset.returncode, UNAVAILABLE, err)
        self.assertIn("It is not known whether the cluster forgets the node: 'start_app' finds out", err)
        self.assertTrue(self.has_change(d))
        a.start(wait=False)
        b.start(wait=False)
        d.ctl("start_app")
        c.wait_running(3)
        self.assertFalse(self.has_change(d))
        self.assertIn("is a member still: that is taken back", d.log())

    def test_addresses_that_come_while_it_joins(self):
        """The cluster has let it in already; it has been told that by nobody."""
        c = self.cluster(2, 1)
        a, b = c.nodes
        b.ctl("stop_app")
        b.ctl("force_reset")
        b.stop()
        with socket.create_server(("127.0.0.1", 0)) as mute:
            with open(os.path.join(b.directory, "change"), "w") as f:
                f.write("warren change 1\nstep join\nas disc\nvia mute@localhost 127.0.0.1:%d\n" % mute.getsockname()[1])
            mute.settimeout(SECONDS)
            b.start(wait=False)
            mute.accept()[0].close()
            b.ctl("stop_app")
            me = ask(b, "cluster_peer")["result"]["id"]
            reply = ask(a, "cluster_join", id=me, name=b.name, address="localhost:%d" % b.cluster_port, type="disc",
                        version=b.ctl("version").strip())
            self.assertTrue(reply["ok"], reply)
            a.process.send_signal(signal.SIGSTOP)
            update = Request(b, "update_cluster_nodes", node=at(a))
            ask(b, "ping")
            start = self.begin(b, "start_app")
            asked = mute.accept()[0]  # whom it asks has not changed
            a.process.send_signal(signal.SIGCONT)
            self.assertEqual(update.reply()["message"], "'start_app' came meanwhile: this command does not go on")
            asked.close()
            mute.accept()[0].close()
            b.ctl("stop_app")
            start.communicate(timeout=SECONDS)
        b.ctl("update_cluster_nodes", at(a))
        b.ctl("start_app")
        c.wait_running(2)


def main():
    exit_on_sigterm()
    return not unittest.main(exit=False).result.wasSuccessful()


if __name__ == "__main__":
    sys.exit(main())
