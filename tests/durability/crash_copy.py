#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Copy the store of a broker under load and see what a broker makes of the copy.

usage: crash_copy.py [--copies N] [--seed N] [--workers N] [--keep DIR]

The broker is stopped by SIGSTOP while its directory is copied, so a copy is
what a crash at that moment would leave. A second broker must find in it all
that was confirmed and whose ack was not sent, in order and nothing twice. The
second broker is killed once as soon as it has started.
"""

import argparse
import os
import shutil
import signal
import subprocess

from checks import Checks, check_store, work_directory
from load import ACKED, SECONDS, SETTLED, Wrong
from scene import Scene, read_serials
from broker import Broker, wait_until

COPY_SECONDS = 60
KEPT_PER_COPY = 500  # messages published to the queue without consumer


def stopped(pid):
    """Have all threads come to a halt?"""
    states = []
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/stat" % (pid, task)) as f:
            states.append(f.read().rpartition(")")[2].split()[0])
    return all(s in "Tt" for s in states)


def take_copy(scene, to):
    """Copy the store as it is now; what the broker has sent by then counts as known."""
    pid = scene.broker.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: stopped(pid), SECONDS, "the broker has stopped")
        subprocess.run(["cp", "-a", scene.broker.datadir, to], check=True, timeout=COPY_SECONDS,
                       stdin=subprocess.DEVNULL)
        for link in scene.links:
            link.read()
    finally:
        os.kill(pid, signal.SIGCONT)


def check_kept(scene, broker):
    got = read_serials(broker, scene.kept)
    serials = [serial for serial, _ in got]
    confirmed = sum(scene.kept.confirmed)
    if serials != list(range(len(serials))) or len(serials) < confirmed:
        raise Wrong("%s: %d are confirmed, the copy has %d, in order: %s" % (
            scene.kept.queue, confirmed, len(serials), serials == sorted(serials)))
    if any(redelivered for _, redelivered in got):
        raise Wrong("%s: marked as redelivered" % scene.kept.queue)


def check_taken(scene, broker):
    """Nobody publishes while the copy is looked at: the books are those of its moment."""
    state, confirmed = scene.consumer.state, scene.taken.confirmed
    got = read_serials(broker, scene.taken)
    serials = [serial for serial, _ in got]
    if any(a >= b for a, b in zip(serials, serials[1:])):
        raise Wrong("%s: out of order" % scene.taken.queue)
    have = set(serials)
    top = serials[-1] if serials else -1
    for serial in range(len(confirmed)):
        known = state.get(serial)
        if serial in have:
            if known == SETTLED:
                raise Wrong("serial %d is there, its ack had been taken" % serial)
        elif known is None and (confirmed[serial] or serial < top):
            raise Wrong("serial %d is missing, it was %s and not delivered" % (
                serial, "confirmed" if confirmed[serial] else "published before others"))
        elif known not in (None, ACKED, SETTLED):
            raise Wrong("serial %d is missing, it was delivered and not acked" % serial)
    for serial, redelivered in got:
        if serial in state and not redelivered:
            raise Wrong("serial %d was delivered before and is not marked" % serial)


def look_at(scene, copy, checks, number):
    with checks.part("copy %d" % number):
        check_store(copy)
        broker = Broker(copy, settings=scene.broker.settings)
        try:
            broker.start()
            broker.kill()
            check_store(copy)
            broker.start()
            check_kept(scene, broker)
            check_taken(scene, broker)
            broker.stop()
            check_store(copy)
        finally:
            broker.kill()
    checks.quiet(broker)


def test(checks, scene, directory, copies, keep):
    with checks.part("start", scene.broker):
        scene.start()
    if checks.failed:
        return
    for number in range(1, copies + 1):
        for actor in scene.actors:
            actor.fresh = 0
        scene.kept.limit = number * KEPT_PER_COPY
        with checks.part("load %d" % number, scene.broker):
            scene.load(20, scene.rng.uniform(0.02, 0.2))
            copy = os.path.join(directory, "copy%d" % number)
            take_copy(scene, copy)
        if checks.failed:
            return
        look_at(scene, copy, checks, number)
        if not (keep and checks.failed):
            shutil.rmtree(copy)
        if checks.failed:
            return
    with checks.part("end", scene.broker):
        scene.drain()
        scene.taken.check_content(scene.consumer.order)
        scene.hang_up()
        scene.broker.stop()
        check_store(scene.broker.datadir)
    checks.quiet(scene.broker)
    print("%d + %d published, %d delivered" % (
        len(scene.kept.sent), len(scene.taken.sent), len(scene.consumer.order)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--keep", metavar="DIR")
    options = parser.parse_args()
    print("seed %d" % options.seed, flush=True)
    checks = Checks()
    with work_directory(options.keep) as directory:
        scene = Scene(os.path.join(directory, "data"), options.seed, options.workers)
        try:
            test(checks, scene, directory, options.copies, options.keep)
        finally:
            scene.hang_up()
            scene.broker.kill()
    checks.finish()


if __name__ == "__main__":
    main()
