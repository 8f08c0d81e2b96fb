#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The disk fails below a broker under load: it must end rather than guess, and lose nothing confirmed.

usage: disk_faults.py [--rounds N] [--seed N] [--workers N] [--keep DIR]

fault.c is built and preloaded: writes and syncs of files of the data
directory fail with EIO, for ever or only once (as the kernel reports a failed
sync), with ENOSPC, or come out short. After each fault the broker is started
without it, and the books of all clients are compared with what it holds.
"""

import argparse
import contextlib
import mmap
import os
import signal
import struct
import subprocess
import sys
import time

from checks import Checks, check_store, work_directory
from kill import LOADED, check_kept, check_taken
from load import SECONDS, Wrong, run
from scene import Scene
from broker import Broker

HERE = os.path.dirname(os.path.abspath(__file__))
NONE, WRITE_EIO, SYNC_EIO, WRITE_ENOSPC, WRITE_SHORT, READ_EIO = range(6)
ALWAYS = 0xFFFFFFFF
DISK, ABORTED = 8, -signal.SIGABRT
ENDING = "ending the process"
KEPT_PER_FAULT = 4000  # at most published to the queue without consumer


class Fault:
    """The library, and its control."""

    def __init__(self, directory, datadir):
        self.library = os.path.join(directory, "fault.so")
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", self.library,
                        os.path.join(HERE, "fault.c"), "-ldl"], check=True)
        self.path = os.path.join(directory, "fault.control")
        with open(self.path, "w+b") as f:
            f.write(bytes(12))
            f.flush()
            self.map = mmap.mmap(f.fileno(), 12)
        self.datadir = datadir

    def set(self, fault, times=ALWAYS):
        struct.pack_into("=III", self.map, 0, NONE, 0, 0)
        struct.pack_into("=I", self.map, 4, times)
        struct.pack_into("=I", self.map, 0, fault)

    def failed(self):
        return struct.unpack_from("=I", self.map, 8)[0]

    @contextlib.contextmanager
    def below(self):
        """Programs that are started meanwhile have the library below them."""
        asan = os.environ.get("ASAN_OPTIONS", "")
        mine = {"LD_PRELOAD": self.library, "FAULT_CONTROL": self.path, "FAULT_DIR": self.datadir,
                "ASAN_OPTIONS": asan + ":verify_asan_link_order=0"}
        before = {name: os.environ.get(name) for name in mine}
        os.environ.update(mine)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def last_log_line(broker):
    with open(broker.log_path, errors="replace") as log:
        lines = log.read().splitlines()
    return lines[-1] if lines else ""


def start_below(scene, fault):
    fault.set(NONE)
    with fault.below():
        scene.start()
    scene.load(LOADED, scene.rng.uniform(0.05, 0.3))


def expect_end(scene, fault):
    """Serves the clients until the broker has ended by itself, and looks how."""
    process = scene.broker.process
    run(scene.links, lambda: process.poll() is not None, SECONDS, "the broker ends")
    scene.kill()
    line = last_log_line(scene.broker)
    if process.returncode != ABORTED or ENDING not in line:
        raise Wrong("it ended with %d and '%s'" % (process.returncode, line))
    if fault.failed() == 0:
        raise Wrong("nothing had failed")


def fails_for_good(scene, fault, kind):
    start_below(scene, fault)
    fault.set(kind)
    expect_end(scene, fault)


def fails_once(scene, fault, kind):
    start_below(scene, fault)
    fault.set(kind, 1)
    expect_end(scene, fault)
    if fault.failed() != 1:
        raise Wrong("it failed %d times" % fault.failed())


def full_for_a_while(scene, fault):
    start_below(scene, fault)
    fault.set(WRITE_ENOSPC)
    run(scene.links, lambda: fault.failed() > 5, SECONDS, "the disk is full")
    end = time.monotonic() + 0.5
    run(scene.links, lambda: time.monotonic() > end, SECONDS, "time on a full disk")
    fault.set(NONE)
    scene.kept.limit = scene.kept.sequence + KEPT_PER_FAULT
    for actor in scene.actors:
        actor.fresh = 0
    scene.load(LOADED, 0.1)
    scene.kill()


def short_once(scene, fault):
    """It may go on where it left off, or end."""
    start_below(scene, fault)
    fault.set(WRITE_SHORT, 1)
    process = scene.broker.process
    run(scene.links, lambda: fault.failed() == 1, SECONDS, "a write comes out short")
    end = time.monotonic() + 0.3
    run(scene.links, lambda: time.monotonic() > end or process.poll() is not None, SECONDS, "time after that")
    if process.poll() is not None:
        expect_end(scene, fault)
    else:
        scene.kill()


def fails_at_start(scene, fault, kind, times):
    fault.set(kind, times)
    broker = scene.broker
    with fault.below():
        broker._launch()
    status = broker.process.wait(SECONDS)
    broker.kill()
    line = last_log_line(broker)
    if status != DISK and not (status == ABORTED and ENDING in line):
        raise Wrong("it ended with %d and '%s'" % (status, line))


def check_fails(scene, fault):
    fault.set(READ_EIO)
    with fault.below():
        done = subprocess.run([Broker.program(), "--check-store", scene.broker.datadir], capture_output=True,
                              text=True, timeout=SECONDS)
    if done.returncode != DISK or "Input/output error" not in done.stderr:
        raise Wrong("--check-store ended with %d and '%s'" % (done.returncode, done.stderr))


FAULTS = [
    ("writes fail", lambda s, f: fails_for_good(s, f, WRITE_EIO)),
    ("syncs fail", lambda s, f: fails_for_good(s, f, SYNC_EIO)),
    ("one write fails", lambda s, f: fails_once(s, f, WRITE_EIO)),
    ("one sync fails", lambda s, f: fails_once(s, f, SYNC_EIO)),
    ("no space for a while", full_for_a_while),
    ("one write comes out short", short_once),
    ("writes fail at the start", lambda s, f: fails_at_start(s, f, WRITE_EIO, ALWAYS)),
    ("syncs fail at the start", lambda s, f: fails_at_start(s, f, SYNC_EIO, ALWAYS)),
    ("one sync fails at the start", lambda s, f: fails_at_start(s, f, SYNC_EIO, 1)),
    ("reads fail in a check", check_fails),
]


def test(checks, scene, fault, rounds):
    for _ in range(rounds):
        for what, inject in FAULTS:
            scene.kept.limit = scene.kept.sequence + KEPT_PER_FAULT
            with checks.part(what, scene.broker):
                inject(scene, fault)
                check_store(scene.broker.datadir)
            if checks.failed:
                return
    with checks.part("all is there", scene.broker):
        scene.start()
        scene.drain()
        scene.hang_up()
        check_taken(scene)
        check_kept(scene)
        scene.broker.stop()
        check_store(scene.broker.datadir)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--keep", metavar="DIR")
    options = parser.parse_args()
    print("seed %d" % options.seed, flush=True)
    checks = Checks()
    with work_directory(options.keep) as directory:
        datadir = os.path.join(directory, "data")
        try:
            fault = Fault(directory, datadir)
        except (OSError, subprocess.CalledProcessError) as e:
            print("skipped: no compiler: %s" % e)
            sys.exit(77)
        scene = Scene(datadir, options.seed, options.workers)
        try:
            test(checks, scene, fault, options.rounds)
        finally:
            scene.hang_up()
            scene.broker.kill()
    checks.finish()


if __name__ == "__main__":
    main()
