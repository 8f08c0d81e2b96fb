# SPDX-License-Identifier: Apache-2.0
"""Publishers with books: what was confirmed to them is compared with what the queues hold.

    p = Publisher("queue", ports)      # a thread; publishes, reconnects, publishes again what was not confirmed
    p.pause(); ...; p.go_on()          # between two messages; what is under way is waited for, or given up
    p.check(drain(port, "queue"))      # AssertionError if something is missing, corrupt or out of order
"""

import hashlib
import threading
import time

import rawamqp
from rawamqp import shortstr, table

DURABLE, NO_ACK = 2, 2
PERSISTENT = b"\x10\x00\x02"
WINDOW = 50
GONE = (OSError, rawamqp.Closed, rawamqp.Unexpected)


def connect(port):
    raw = rawamqp.Raw("127.0.0.1", port).open()
    raw.open_channel()
    return raw


def body(queue, number):
    text = b"%s:%d:" % (queue.encode(), number)
    return text + hashlib.sha256(text).hexdigest().encode() * (1 + number % 7)


class Publisher:
    def __init__(self, queue, ports, rate=800, durable=True):
        self.queue, self.ports, self.rate = queue, ports, rate
        self.flags = DURABLE if durable else 0
        self.sent = 0         # numbers below it were published
        self.confirmed = -1   # numbers up to it were confirmed
        self.settled = -1     # numbers up to it were taken from the queue
        self.wrong = None
        self.running, self.paused = True, threading.Event()
        self.idle = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        turn = 0
        try:
            while self.running:
                if self.paused.is_set():
                    self.idle.set()
                    time.sleep(0.01)
                    continue
                turn += 1
                try:
                    self.publish(connect(self.ports[turn % len(self.ports)]))
                except GONE:
                    time.sleep(0.02)
        except Exception as e:  # noqa: BLE001
            self.wrong = e

    def publish(self, raw):
        """Until the connection is lost or nothing is wanted. All of the window that was not confirmed goes again."""
        try:
            raw.declare(1, self.queue, self.flags)
            raw.call(1, (85, 10), b"\0", (85, 11))
            base = self.confirmed  # delivery tag N is number base + N
            following = base + 1
            while self.running and not self.paused.is_set():
                while following - self.confirmed <= WINDOW:
                    raw.publish(1, self.queue, body(self.queue, following), properties=PERSISTENT)
                    following += 1
                    self.sent = max(self.sent, following)
                ack = raw.expect((60, 80))
                tag, several = ack.unpack(">Q"), ack.unpack("B") & 1
                # One by one they come in order, as they go to one queue.
                assert several or base + tag == self.confirmed + 1, (base, tag, several, self.confirmed)
                self.confirmed = base + tag
                time.sleep(1 / self.rate)
            while self.confirmed < following - 1:
                ack = raw.expect((60, 80), seconds=5)
                tag, _ = ack.unpack(">Q"), ack.unpack("B")
                self.confirmed = base + tag
        finally:
            raw.close()

    def pause(self, seconds=30):
        self.idle.clear()
        self.paused.set()
        assert self.idle.wait(seconds), "%s: the publisher does not pause" % self.queue
        assert self.wrong is None, self.wrong

    def go_on(self):
        self.paused.clear()

    def end(self):
        self.running = False
        self.thread.join(30)
        assert self.wrong is None, self.wrong

    def check(self, got, taken=True):
        """`got`: bodies in the order of the queue. With `taken` they are there no more."""
        order, seen = [], set()
        for b in got:
            number = int(b.split(b":")[1])
            assert b == body(self.queue, number), "%s: %r is corrupt" % (self.queue, b[:60])
            assert number < self.sent, "%s: %d was never published" % (self.queue, number)
            if number not in seen and number > self.settled:
                order.append(number)
            seen.add(number)
        assert order == sorted(order), "%s: out of order" % self.queue
        missing = set(range(self.settled + 1, self.confirmed + 1)) - seen
        assert not missing, "%s: %d of %d confirmed ones are missing, the first is %d" % (
            self.queue, len(missing), self.confirmed - self.settled, min(missing))
        if taken:
            self.settled = max(self.settled, self.confirmed, max(order, default=-1))
            self.confirmed = max(self.confirmed, self.settled)


def drain(port, queue, keep=False):
    """All messages of the queue in its order; with `keep` they return there."""
    raw = connect(port)
    try:
        counted = raw.call(1, (50, 10), b"\0\0" + shortstr(queue) + b"\1" + table({}), (50, 11))
        counted.shortstr()
        n = counted.unpack(">L")
        raw.consume(1, queue, bits=0 if keep else NO_ACK)
        got = []
        while len(got) < n:
            raw.expect((60, 60))
            got.append(raw.receive_content()[1])
        return got
    finally:
        raw.close()
