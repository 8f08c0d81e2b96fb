#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kill the broker at random moments under load; nothing confirmed may be lost.

usage: kill.py [--kills N] [--seed N] [--workers N] [--keep DIR]

After each SIGKILL the broker is started again (sometimes killed once more
while it starts), the clients reconnect and the publishers resend what was not
confirmed. The data stay in DIR if that is given.
"""

import argparse
import os
import time

from checks import Checks, check_store, work_directory
from load import NEW, Wrong
from scene import Scene, count_ready, read_serials

CHECK_EVERY = 5        # kills between two --check-store
EARLY_EVERY = 7        # kills between two that are followed by one more during the start
LOADED = 20            # confirms and deliveries that show that the load flows
KEPT_PER_KILL = 4000   # at most published to the queue without consumer


def one_kill(scene, number):
    scene.start()
    scene.load(LOADED, scene.rng.uniform(0.05, 0.4))
    scene.kill()
    if number % EARLY_EVERY == 0:
        scene.broker._launch()
        time.sleep(scene.rng.uniform(0, 0.05))
        scene.broker.kill()
    if number % CHECK_EVERY == 0:
        check_store(scene.broker.datadir)


def check_taken(scene):
    scene.taken.check_content(scene.consumer.order)
    lost = [serial for serial, state in scene.consumer.state.items() if state == NEW]
    if lost:
        raise Wrong("%d messages were delivered, not acked and never came again" % len(lost))
    ready = count_ready(scene.broker, scene.taken.queue)
    if ready:
        raise Wrong("%d messages are there again after all were acked" % ready)


def check_kept(scene):
    got = read_serials(scene.broker, scene.kept)
    scene.kept.check_content([serial for serial, _ in got])
    marked = sum(redelivered for _, redelivered in got)
    if marked:
        raise Wrong("%d messages are marked as redelivered that nobody had" % marked)


def test(checks, scene, kills):
    for number in range(1, kills + 1):
        scene.kept.limit = number * KEPT_PER_KILL
        with checks.part("kill %d" % number, scene.broker):
            one_kill(scene, number)
        if checks.failed:
            return
    with checks.part("drain", scene.broker):
        scene.start()
        scene.drain()
        scene.hang_up()
        scene.broker.kill()
        check_store(scene.broker.datadir)
        scene.broker.start()
    with checks.part("queue with a consumer", scene.broker):
        check_taken(scene)
    with checks.part("queue without a consumer", scene.broker):
        check_kept(scene)
    with checks.part("orderly end", scene.broker):
        scene.broker.stop()
        check_store(scene.broker.datadir)
    checks.quiet(scene.broker)
    print("%d + %d published, %d of them again; %d delivered, %d of them again; slowest start %.2f s" % (
        len(scene.kept.sent), len(scene.taken.sent),
        len(scene.kept.sent) - scene.kept.sequence + len(scene.taken.sent) - scene.taken.sequence,
        len(scene.consumer.order) + scene.consumer.repeats, scene.consumer.repeats, scene.start_seconds))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--keep", metavar="DIR")
    options = parser.parse_args()
    print("seed %d" % options.seed, flush=True)
    checks = Checks()
    with work_directory(options.keep) as directory:
        scene = Scene(os.path.join(directory, "data"), options.seed, options.workers)
        try:
            test(checks, scene, options.kills)
        finally:
            scene.hang_up()
            scene.broker.kill()
    checks.finish()


if __name__ == "__main__":
    main()
