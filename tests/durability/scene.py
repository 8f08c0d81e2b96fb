# SPDX-License-Identifier: Apache-2.0
"""A broker under load: two durable queues with a publisher each, one of them with a consumer."""

import random
import time

from load import SECONDS, Consumer, Publisher, Reader, Wrong, connect, declare, run
from broker import Broker


class Quiet:
    """Listens for an actor and sends nothing."""

    def __init__(self, actor):
        for name in ("on_ack", "on_delivery", "on_declared"):
            setattr(self, name, getattr(actor, name, None))

    def fill(self, link):
        pass


class Scene:
    def __init__(self, datadir, seed, workers=0):
        self.broker = Broker(datadir, settings=["worker_threads=%d" % workers] if workers else [])
        self.rng = random.Random(seed)
        self.kept = Publisher(1, "kept", random.Random(seed + 1))
        self.taken = Publisher(2, "taken", random.Random(seed + 2))
        self.consumer = Consumer(self.taken, random.Random(seed + 3))
        self.actors = [self.kept, self.taken, self.consumer]
        self.links = []
        self.start_seconds = 0  # of the slowest start

    def start(self):
        before = time.monotonic()
        self.broker.start()
        self.start_seconds = max(self.start_seconds, time.monotonic() - before)
        for actor in self.actors:
            self.links.append(actor.start(self.broker))

    def serve(self, until, what, progress=lambda: None):
        def condition():
            if any(link.closed for link in self.links):
                raise Wrong("the broker has closed a connection while waiting for: %s" % what)
            return until()
        run(self.links, condition, SECONDS, what, progress)

    def load(self, least, seconds):
        """Load until so many confirms and deliveries have come in this life, and for the seconds then."""
        self.serve(lambda: min(a.fresh for a in self.actors) >= least, "load flows")
        end = time.monotonic() + seconds
        self.serve(lambda: time.monotonic() >= end, "time under load")

    def kill(self):
        """SIGKILL. What the broker had sent before still counts."""
        self.broker.kill()
        for link in self.links:
            link.out.clear()
            link.actor = Quiet(link.actor)
        run(self.links, lambda: all(link.closed for link in self.links), SECONDS, "connections end")
        self.links = []

    def drain(self):
        """Resend and publish no more; confirm and consume all there is."""
        for publisher in (self.kept, self.taken):
            publisher.running = False
        self.consumer.draining = True
        self.serve(lambda: self.kept.idle() and self.taken.idle(), "all is confirmed", lambda: self.kept.fresh)
        self.consumer.ready = None
        self.serve(self.consumer.empty, "all is consumed", lambda: self.consumer.fresh)

    def hang_up(self):
        for link in self.links:
            link.close()
        self.links = []


def count_ready(broker, queue):
    raw = connect(broker)
    try:
        return declare(raw, queue, bits=1)
    finally:
        raw.close()


def read_serials(broker, publisher):
    """What the publisher's queue holds, in order: a list of (serial, redelivered)."""
    got = []
    reader = Reader(publisher.queue, lambda redelivered, body: got.append((publisher.identify(body), redelivered)))
    reader.read(broker, count_ready(broker, publisher.queue))
    return got
