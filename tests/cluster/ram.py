#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A RAM node beside two disc nodes: it serves clients, is never counted, and writes nothing for them.

usage: ram.py [--seconds S] [--rate R]; WARREND names the broker.

One load that checks every message goes through all nodes while the RAM node is killed and stopped, the
disc nodes are killed in turn, and the node changes its type both ways. Another, as fast as it goes,
shows that the RAM node's data directory does not grow.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

from cluster import Cluster, beside, exit_on_sigterm, wait_until  # noqa: E402
import rawamqp  # noqa: E402

NAMES = ["ram-0", "ram-1", "ram-2"]
SIZE = 1024


def uri(node):
    return "amqp://guest:guest@127.0.0.1:%d/" % node.port


def load(nodes, rate):
    """Through all of the nodes; it moves on to the next one when its own is lost."""
    return subprocess.Popen(
        [beside("warren-perf"), "--uri", ",".join(uri(n) for n in nodes), "--queue", "ram-%i", "--queues", "3",
         "--producers", "3", "--consumers", "3", "--size", str(SIZE), "--persistent", "--confirm", "200",
         "--ack-every", "10", "--rate", str(rate), "--seconds", "3600", "--reconnect", "--verify", "--json", "--quiet"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, "load: status %d\n%s\n%s" % (process.returncode, out, err)
    s = json.loads(out)
    print("%d published, %d confirmed, longest time without a confirm %.0f ms, %d connections lost; %s" % (
        s["published"]["total"], s["confirmed"]["total"], s["confirmed"]["longest_gap_ms"], s["connections"]["lost"],
        json.dumps(s["verify"])), flush=True)


def octets(node):
    return sum(os.stat(os.path.join(node.directory, f)).st_blocks * 512 for f in os.listdir(node.directory))


def confirmed(process, c):
    """Something new is confirmed: the queues are led and the load goes on."""
    assert process.poll() is None, process.communicate()
    row = next(n for n in c.nodes if n.alive()).queues("state")
    return all(row[n]["state"] == "running" for n in NAMES if n in row)


def counted(c, ram):
    """The RAM node's member of each queue follows and does not vote."""
    for name, row in c.nodes[0].queues("synchronised_slave_pids", "members", "leader").items():
        if name in NAMES:
            assert row["leader"] != ram.name, "a RAM node leads %s" % name


def declare(node, queue):
    raw = rawamqp.Raw("127.0.0.1", node.port).open()
    raw.open_channel()
    raw.declare(1, queue, 2)
    raw.close()


def keeps_its_size(ram, megabytes):
    before = octets(ram)
    subprocess.run([beside("warren-perf"), "--uri", uri(ram), "--queue", "much", "--size", str(SIZE), "--persistent",
                    "--confirm", "500", "--ack-every", "50", "--messages", str(megabytes * 1024), "--quiet"],
                   check=True, stdout=subprocess.DEVNULL)
    after = octets(ram)
    print("%d MiB through the RAM node: its data directory had %d KiB, has %d KiB" % (
        megabytes, before >> 10, after >> 10), flush=True)
    assert after <= before + (1 << 20)


def comes_back(c, node):
    node.start()
    c.wait_running(len(c.nodes))
    c.wait_synchronised(NAMES)


def is_shown(c, ram):
    status = c.nodes[0].json("cluster_status")
    assert status["ram_nodes"] == [ram.name], status
    assert status["disk_nodes"] == [n.name for n in c.nodes if n is not ram], status
    return status["warnings"]


def changes_type(c, node, kind):
    node.ctl("stop_app")
    node.ctl("change_cluster_node_type", kind)
    node.ctl("start_app")
    c.wait_running(len(c.nodes))


def refusals(c, ram):
    """The last disc node stays one, and stays."""
    first, second = c.nodes[0], c.nodes[1]
    declare(first, "kept")
    c.wait_synchronised(["kept"])
    assert is_shown(c, ram) == []
    second.ctl("stop_app")
    second.ctl("reset")
    second.kill()
    c.nodes.remove(second)
    c.wait_running(2)
    first.ctl("stop_app")
    for arguments in (("reset",), ("change_cluster_node_type", "ram")):
        r = first.ctl(*arguments, check=False)
        assert r.returncode != 0 and "only disc node" in r.stderr, (arguments, r.stderr)
        print("%s on the only disc node: %s" % (" ".join(arguments), r.stderr.strip().replace("\n", " ")))
    first.ctl("start_app")
    c.wait_running(2)
    warning, = wait_until(lambda: is_shown(c, ram), 20, "the queue has one member on a disc node")
    assert warning.startswith("1 of the queues that are to be mirrored, 'kept' in vhost '/'"), warning
    print(warning)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1, help="between one event and the next")
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=40)
    options = parser.parse_args()
    exit_on_sigterm()
    with Cluster(3) as c:
        ram = c.nodes[2]
        c.start()
        c.join(c.nodes[1])
        c.join(ram, "--ram")
        c.wait_running(3)
        c.mirror_all()
        is_shown(c, ram)
        process = load([ram] + c.nodes[:2], options.rate)
        wait_until(lambda: all(n in c.nodes[0].queues() for n in NAMES), 20, "the load's queues")
        c.wait_synchronised(NAMES)
        time.sleep(options.seconds)
        counted(c, ram)
        keeps_its_size(ram, options.megabytes)
        for how in (ram.kill, ram.stop):
            how()
            time.sleep(options.seconds)
            assert confirmed(process, c)
            ram.start()
            c.wait_running(3)
            counted(c, ram)
            print("the RAM node was away (%s) and is back" % how.__name__, flush=True)
        for node in c.nodes[:2]:
            node.kill()
            time.sleep(options.seconds)
            comes_back(c, node)
            counted(c, ram)
            print("%s was killed and is back" % node.name, flush=True)
        changes_type(c, ram, "disc")
        assert c.nodes[0].json("cluster_status")["ram_nodes"] == []
        c.wait_synchronised(NAMES)
        print("the RAM node is a disc node with copies", flush=True)
        c.nodes[0].kill()  # two of three go on
        time.sleep(options.seconds)
        c.nodes[0].start()
        c.wait_running(3)
        c.wait_synchronised(NAMES)
        changes_type(c, ram, "ram")
        is_shown(c, ram)
        print("and a RAM node again", flush=True)
        time.sleep(options.seconds)
        counted(c, ram)
        ended(process)
        refusals(c, ram)
    return 0


if __name__ == "__main__":
    sys.exit(main())
