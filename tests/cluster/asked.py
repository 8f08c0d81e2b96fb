#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an operator is told while others do not answer: who runs, which queue is out of reach, what a start waits for. Soon,
and with the reason.

    WARREND=... tests/cluster/asked.py
"""

import json
import os
import signal
import subprocess
import time
import unittest

import pika

from cluster import Cluster, beside, exit_on_sigterm, wait_until

OK, UNAVAILABLE, SOFTWARE, TIMEOUT = 0, 69, 70, 75
SOON = 7  # seconds; without a word of its own a request ends after ten


def declare(node, queue):
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", node.port, heartbeat=0))
    connection.channel().queue_declare(queue, durable=True)
    connection.close()


def is_booting(node):
    r = node.ctl("is_booting", "--formatter", "json", check=False)
    return r.returncode == OK and json.loads(r.stdout)["result"]


class Asked(unittest.TestCase):
    def cluster(self, *settings):
        c = Cluster(3, settings)
        self.addCleanup(c.__exit__, None)
        c.form()
        return c

    def refused(self, node, *arguments, status=UNAVAILABLE):
        """Standard error, and the seconds that it took."""
        began = time.monotonic()
        r = node.ctl("-q", *arguments, check=False)
        self.assertEqual((r.returncode, r.stdout), (status, ""), r.stderr)
        return r.stderr, time.monotonic() - began

    def freeze(self, *nodes):
        for node in nodes:
            node.process.send_signal(signal.SIGSTOP)
            self.addCleanup(node.process.send_signal, signal.SIGCONT)

    def test_frozen_node_does_not_run(self):
        """Its link stands, and says nothing."""
        first, second, third = self.cluster("cluster.net_timeout_ms=30000").nodes
        self.freeze(third)
        text, _ = self.refused(first, "await_online_nodes", "3", "-t", "0", status=SOFTWARE)
        self.assertIn("\n%s is unresponsive\n" % third.name, text)
        first.ctl("await_online_nodes", "2", "-t", "0")
        began = time.monotonic()
        status = first.json("cluster_status")
        self.assertLess(time.monotonic() - began, 15)
        self.assertEqual((status["running_nodes"], status["partitions"]),
                         ([first.name, second.name], {first.name: [third.name]}))
        third.process.send_signal(signal.SIGCONT)
        first.ctl("await_online_nodes", "3")

    def test_queue_out_of_reach(self):
        c = self.cluster()
        first, second, third = c.nodes
        c.mirror_all()
        declare(first, "mirrored")
        c.wait_synchronised(["mirrored"])
        first.ctl("set_policy", "alone", "^alone$", '{"max-length":10}', "--priority", "1")
        declare(third, "alone")
        third.kill()
        wait_until(lambda: first.json("cluster_status")["running_nodes"] == [first.name, second.name], 20, "its link is lost")
        sentence = "Error:\nno majority of the nodes of queue '%s' in vhost '/' can be reached: %d of %d are running or " \
                   "reachable from node '%s' (not reached: %s); nothing was done\n"
        for verb in "purge_queue", "delete_queue":
            text, took = self.refused(first, verb, "alone")
            self.assertEqual(text, sentence % ("alone", 0, 1, first.name, third.name))
            self.assertLess(took, SOON)
        first.ctl("purge_queue", "mirrored")
        second.kill()
        wait_until(lambda: first.json("cluster_status")["running_nodes"] == [first.name], 20, "its link is lost")
        for verb in "purge_queue", "delete_queue":
            text, took = self.refused(first, verb, "mirrored")
            self.assertEqual(text, sentence % ("mirrored", 1, 3, first.name, "%s, %s" % (second.name, third.name)))
            self.assertLess(took, SOON)
        second.start()
        c.wait_running(2)
        wait_until(lambda: first.ctl("delete_queue", "mirrored", check=False).returncode == OK, 20, "there is a majority again")

    def test_queue_that_falls_out_of_reach(self):
        """While its leader is asked."""
        c = self.cluster()
        first, second, third = c.nodes
        c.mirror_all()
        declare(second, "mirrored")
        c.wait_synchronised(["mirrored"])
        self.freeze(second, third)
        text, took = self.refused(first, "purge_queue", "mirrored")
        self.assertIn("the nodes of queue 'mirrored' in vhost '/' can be reached: 1 of 3 are running or reachable from node '%s' "
                      "(not reached: %s, %s); " % (first.name, second.name, third.name), text)
        self.assertLess(took, SOON)
        for node in second, third:
            node.process.send_signal(signal.SIGCONT)
        c.wait_running(3)
        wait_until(lambda: first.ctl("purge_queue", "mirrored", check=False).returncode == OK, 20, "it is served again")

    def test_start_that_is_under_way(self):
        """It is waited for, whoever has begun it."""
        c = self.cluster()
        first, second, third = c.nodes
        for node in c.nodes:
            node.kill()
        first.start(wait=False)
        wait_until(lambda: is_booting(first), 20, "it can be asked")
        waits = "%s waits for its cluster: " % first.name
        wait_until(lambda: waits in first.ctl("start_app", "-t", "1", check=False).stdout, 20, "it says for whom")
        r = first.ctl("start_app", "-t", "1", check=False)
        self.assertEqual(r.returncode, TIMEOUT, r.stderr)
        self.assertTrue(r.stdout.startswith("Starting node %s ...\n%s" % (first.name, waits)), r.stdout)
        self.assertIn("Error:\noperation start_app on node %s timed out. %s" % (first.name, waits), r.stderr)
        tool = subprocess.Popen([beside("warrenctl"), "-n", first.name, "start_app", "-t", "60"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=os.environ)
        self.addCleanup(lambda: tool.poll() is None and tool.kill())
        second.start(wait=False)
        out, err = tool.communicate(timeout=90)
        self.assertEqual((tool.returncode, err), (OK, ""))
        first.ctl("check_running")
        # What is stopped meanwhile does not start.
        second.kill()
        first.ctl("stop_app")
        tool = subprocess.Popen([beside("warrenctl"), "-q", "-n", first.name, "start_app"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=os.environ)
        self.addCleanup(lambda: tool.poll() is None and tool.kill())
        wait_until(lambda: is_booting(first), 20, "it starts")
        first.ctl("stop_app")
        out, err = tool.communicate(timeout=60)
        self.assertEqual((tool.returncode, out), (UNAVAILABLE, ""), err)


if __name__ == "__main__":
    exit_on_sigterm()
    unittest.main()
