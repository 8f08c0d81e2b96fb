#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three nodes lose power at once, under a confirmed load, again and again; each loses another part of what it had
written and not synced. They start in any order: nothing that was confirmed is missing or out of order, and all agree.

usage: power.py [--rounds N] [--seed N]; WARREND names the broker. Needs a C compiler, for unsynced.c.

Before that, a round with disks that lie about what is synced: it must be noticed that messages are missing, or
the other rounds would prove nothing.
"""

import argparse
import mmap
import os
import random
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

from books import Publisher, connect, drain  # noqa: E402
from cluster import Cluster, Node, exit_on_sigterm, wait_until  # noqa: E402
from rawamqp import shortstr, table  # noqa: E402

SKIP = 77
AREA, HEAD, SECTOR = 64 << 20, 16, 512  # unsynced.c; what a disk writes as a whole
FILES = ("data.mdb", "journal")
READY_SECONDS = 60
PATIENCE = 8  # times the rounds that were asked for


class Disk:
    """What a node has written and not synced."""

    def __init__(self, directory, datadir):
        self.path, self.datadir = directory, datadir
        with open(self.path, "w+b") as f:
            f.truncate(8 + len(FILES) * (8 + AREA))
            self.map = mmap.mmap(f.fileno(), 0)

    def lie(self, yes):
        struct.pack_into("=Q", self.map, 0, yes)

    def records(self, i):
        at = 8 + i * (8 + AREA)
        end = at + 8 + struct.unpack_from("=Q", self.map, at)[0]
        at += 8
        found = []
        while at < end:
            where, written, had = struct.unpack_from("=QII", self.map, at)
            found.append((where, written, self.map[at + HEAD:at + HEAD + had]))
            at += HEAD + had
        return found

    def forget(self):
        for i in range(len(FILES)):
            struct.pack_into("=Q", self.map, 8 + i * (8 + AREA), 0)

    def lose(self, rng, everything=False):
        """Takes writes back, whole ones and single sectors; returns how many octets."""
        lost = 0
        for i, name in enumerate(FILES):
            share = 1 if everything else rng.choice((0, 0.2, 0.8, 1))
            with open(os.path.join(self.datadir, name), "r+b") as f:
                for where, written, had in reversed(self.records(i)):
                    old = had + bytes(written - len(had))
                    for at in range(0, written, SECTOR):
                        if rng.random() < share:
                            f.seek(where + at)
                            lost += f.write(old[at:at + SECTOR])
        self.forget()
        return lost


class PoweredNode(Node):
    def __init__(self, cluster, number, library):
        super().__init__(cluster, number, [])
        os.makedirs(self.directory)
        self.disk = Disk(os.path.join(cluster.directory, "unsynced%d" % number), os.path.realpath(self.directory))
        self.library = library

    def start(self, wait=True):
        mine = {"LD_PRELOAD": self.library, "UNSYNCED_LOG": self.disk.path, "UNSYNCED_DIR": self.disk.datadir,
                "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
        before = {name: os.environ.get(name) for name in mine}
        os.environ.update(mine)
        try:
            super().start(wait=False)
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        if wait:
            self.wait_ready()


class Scene:
    def __init__(self, c, rng):
        self.c, self.rng = c, rng
        self.ports = [n.port for n in c.nodes]
        self.publishers = [Publisher("power-%d" % i, self.ports[i:] + self.ports[:i]) for i in range(len(c.nodes))]
        self.declared = []  # exchanges of which we were told that they are there
        self.lost = 0
        wait_until(lambda: all(p.confirmed > 100 for p in self.publishers), 30, "load flows")
        c.wait_synchronised([p.queue for p in self.publishers])

    def load(self):
        for p in self.publishers:
            p.go_on()
        before = [p.confirmed for p in self.publishers]
        wait_until(lambda: all(p.confirmed > b + 50 for p, b in zip(self.publishers, before)), 30, "load flows")
        end = time.monotonic() + self.rng.uniform(0, 0.5)
        while time.monotonic() < end:
            self.declare()

    def declare(self):
        raw = connect(self.rng.choice(self.ports))
        name = "x%d" % len(self.declared)
        raw.call(1, (40, 10), b"\0\0" + shortstr(name) + shortstr("fanout") + b"\2" + table({}), (40, 11))
        raw.close()
        self.declared.append(name)

    def lose_power(self, everything=False):
        for node in self.rng.sample(self.c.nodes, len(self.c.nodes)):
            node.process.kill()
        for node in self.c.nodes:
            node.process.wait()
        for p in self.publishers:
            p.pause()
        self.lost += sum(node.disk.lose(self.rng, everything) for node in self.c.nodes)

    def start(self):
        for node in self.rng.sample(self.c.nodes, len(self.c.nodes)):
            node.start(wait=False)
            time.sleep(self.rng.choice((0, 0, 0.1, 0.6)))
        for node in self.c.nodes:
            node.wait_ready(READY_SECONDS)
        self.c.wait_running(len(self.c.nodes))

    def check(self):
        for p in self.publishers:
            p.check(drain(self.rng.choice(self.ports), p.queue))
        for node in self.c.nodes:
            there = {row["name"] for row in node.json("list_exchanges", "name")}
            missing = set(self.declared) - there
            assert not missing, "%s lacks %s" % (node.name, sorted(missing))
        views = [(n.queues("members"), n.json("list_exchanges", "name")) for n in self.c.nodes]
        assert all(v == views[0] for v in views), views

    def members_agree(self):
        """Whoever leads has the same: each node's app is stopped in turn, so that others do."""
        first, leaders = {}, {}
        self.c.wait_synchronised([p.queue for p in self.publishers])
        for away in [None] + self.c.nodes:
            if away is not None:
                away.ctl("stop_app")
            node = next(n for n in self.c.nodes if n is not away)
            for p in self.publishers:
                got = drain(node.port, p.queue, keep=True)
                assert got == first.setdefault(p.queue, got), "members of %s differ" % p.queue
                p.check(got, taken=False)
                leaders.setdefault(p.queue, set()).add(node.queues("leader")[p.queue]["leader"])
            if away is not None:
                away.ctl("start_app")
                self.c.wait_running(len(self.c.nodes))
                self.c.wait_synchronised([p.queue for p in self.publishers])
        assert all(len(names) > 1 for names in leaders.values()), leaders

    def end(self):
        for p in self.publishers:
            p.go_on()
        for p in self.publishers:
            p.end()


def begin(library, rng):
    c = Cluster(3)
    c.nodes = [PoweredNode(c, i + 1, library) for i in range(3)]
    c.form()
    c.mirror_all()
    return c, Scene(c, rng)


def lying_disks_are_noticed(library, rng):
    c, scene = begin(library, rng)
    with c:
        for p in scene.publishers:
            p.pause()
        for node in c.nodes:
            node.disk.lie(True)
        scene.load()
        scene.lose_power(everything=True)
        for node in c.nodes:
            node.disk.lie(False)
        scene.start()
        try:
            scene.check()
        except AssertionError as e:
            print("lying disks: %s" % e, flush=True)
        else:
            raise AssertionError("disks have lost what was confirmed, and nobody noticed")
        for p in scene.publishers:
            p.running = False


def test(library, rng, rounds):
    c, scene = begin(library, rng)
    with c:
        round_ = 0
        # Few moments have writes that are not synced yet: without one nothing was tried.
        while round_ < rounds or (scene.lost == 0 and round_ < PATIENCE * rounds):
            round_ += 1
            scene.load()
            scene.lose_power()
            scene.start()
            if round_ >= rounds:
                scene.members_agree()
            scene.check()
            if round_ % 10 == 0 or round_ >= rounds:
                print("%d losses of power, %d confirmed, %d exchanges, %d KiB taken back" % (
                    round_, sum(p.confirmed for p in scene.publishers), len(scene.declared), scene.lost // 1024),
                    flush=True)
        scene.end()
        assert scene.lost > 0, "no write was ever taken back"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    options = parser.parse_args()
    exit_on_sigterm()
    print("seed %d" % options.seed, flush=True)
    with Cluster(0) as place:
        library = os.path.join(place.directory, "unsynced.so")
        try:
            subprocess.run(os.environ.get("CC", "cc").split() + [
                "-shared", "-fPIC", "-O1", "-o", library, os.path.join(HERE, "unsynced.c"), "-ldl"], check=True)
        except (OSError, subprocess.CalledProcessError) as e:
            print("skipped: no compiler: %s" % e)
            return SKIP
        lying_disks_are_noticed(library, random.Random(options.seed))
        test(library, random.Random(options.seed), options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
