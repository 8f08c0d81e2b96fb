# SPDX-License-Identifier: Apache-2.0
"""Pipelined AMQP clients in one poll loop, and books of what they sent and got.

A Link is one connection with one channel. Its actor (Publisher, Consumer,
Bulk, ...) says what to send in fill() and is told what arrives by on_*().
The actors outlive their links: after a crash they start again with a new one.

Every publish has a serial number of its publisher, resends included, so the
broker may hold for each life of the publisher's link exactly a beginning of
what was sent in it, which covers everything confirmed.
"""

import os
import random
import select
import struct
import sys
import time
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "compat"))

import rawamqp  # noqa: E402
from rawamqp import Raw, Unexpected  # noqa: E402

SECONDS = 60
READ_SIZE = 256 * 1024
SEND_AHEAD = 512 * 1024
PERSISTENT = b"\x10\x00\x02"

FRAME = struct.Struct(">BHI")
METHOD_ID = struct.Struct(">HH")
TAG_AND_BIT = struct.Struct(">QB")
SIZE = struct.Struct(">Q")


class Wrong(Exception):
    """The broker did what it must not do."""


def connect(broker, capabilities=None):
    raw = Raw(broker.host, broker.port).open(user=broker.user, password=broker.password,
                                             capabilities=capabilities)
    raw.open_channel()
    return raw


def declare(raw, queue, bits=2, arguments=None):
    """Number of ready messages. bits as Raw.declare: durable by default, 1 passive."""
    answer = raw.call(1, rawamqp.QUEUE_DECLARE, declare_arguments(queue, bits, arguments),
                      rawamqp.QUEUE_DECLARE_OK)
    answer.shortstr()
    return answer.unpack(">I")


def declare_arguments(queue, bits, arguments=None):
    return b"\0\0" + rawamqp.shortstr(queue) + struct.pack("B", bits) + rawamqp.table(arguments or {})


def qos(raw, prefetch):
    raw.call(1, rawamqp.QOS, struct.pack(">IHB", 0, prefetch, 0), rawamqp.QOS_OK)


def frame(kind, payload):
    return FRAME.pack(kind, 1, len(payload)) + payload + b"\xce"


def publish_prefix(queue):
    """The method frame of a publish to the queue by the default exchange."""
    return frame(rawamqp.METHOD, METHOD_ID.pack(*rawamqp.PUBLISH) + b"\0\0" + rawamqp.shortstr("")
                 + rawamqp.shortstr(queue) + b"\0")


def header_frame(size, properties=PERSISTENT):
    return frame(rawamqp.HEADER, struct.pack(">HHQ", 60, 0, size) + properties)


def consume_frame(queue):
    """Consumes with acknowledgements; nobody answers."""
    no_wait = b"\x08"
    return frame(rawamqp.METHOD, METHOD_ID.pack(*rawamqp.CONSUME) + b"\0\0" + rawamqp.shortstr(queue)
                 + rawamqp.shortstr("") + no_wait + rawamqp.table({}))


def ack_frame(tag, multiple):
    return frame(rawamqp.METHOD, METHOD_ID.pack(*rawamqp.ACK) + TAG_AND_BIT.pack(tag, multiple))


# ---- links ------------------------------------------------------------------------------------

class Link:
    """An open connection, no longer blocking; `actor` hears of what comes in."""

    def __init__(self, raw, actor):
        self.socket, self.buffer = raw.socket, raw.buffer
        self.socket.setblocking(False)
        self.actor = actor
        self.out = bytearray()
        self.closed = False
        self.delivery = None
        self.size, self.parts, self.have = 0, [], 0

    def close(self):
        self.closed = True
        self.socket.close()

    def read(self):
        """Take in what is there."""
        while not self.closed:
            try:
                data = self.socket.recv(READ_SIZE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            self.buffer = self.buffer + data if self.buffer else data
            self.parse()
            if len(data) < READ_SIZE:
                return

    def write(self):
        if self.closed or not self.out:
            return
        try:
            sent = self.socket.send(self.out)
        except BlockingIOError:
            return
        except OSError:
            return  # what the broker wrote before is still to be read
        del self.out[:sent]

    def parse(self):
        data, at, end = self.buffer, 0, len(self.buffer)
        while end - at >= 8:
            kind, _, size = FRAME.unpack_from(data, at)
            stop = at + 8 + size
            if stop > end:
                break
            if data[stop - 1] != 0xCE:
                raise Wrong("frame without an end octet")
            if kind == rawamqp.METHOD:
                self.take_method(data, at + 7, stop - 1)
            elif kind == rawamqp.HEADER:
                self.size = SIZE.unpack_from(data, at + 11)[0]
                if self.size == 0:
                    self.take_body(b"")
            elif kind == rawamqp.BODY:
                self.take_body(data[at + 7:stop - 1])
            at = stop
        self.buffer = data[at:]

    def take_method(self, data, at, end):
        method = METHOD_ID.unpack_from(data, at)
        at += 4
        if method == rawamqp.DELIVER:
            self.delivery = TAG_AND_BIT.unpack_from(data, at + 1 + data[at])
        elif method == rawamqp.ACK:
            self.actor.on_ack(*TAG_AND_BIT.unpack_from(data, at))
        elif method == rawamqp.NACK:
            raise Wrong("a publish was refused: nack of %d" % SIZE.unpack_from(data, at))
        elif method == rawamqp.QUEUE_DECLARE_OK:
            self.actor.on_declared(*struct.unpack_from(">I", data, at + 1 + data[at]))
        elif method in (rawamqp.CLOSE, rawamqp.CHANNEL_CLOSE):
            arguments = rawamqp.Reader(data[at:end])
            raise Wrong("closed by the broker: %d %s" % (arguments.unpack(">H"), arguments.shortstr()))
        else:
            raise Unexpected("method %s" % (method,))

    def take_body(self, part):
        self.have += len(part)
        if self.have < self.size:
            self.parts.append(part)
            return
        if self.parts:
            part = b"".join(self.parts) + part
            self.parts = []
        self.have = 0
        self.actor.on_delivery(self.delivery[0], bool(self.delivery[1]), part)


def run(links, until, seconds, what, progress=lambda: None):
    """Serve the links until the condition holds; TimeoutError when time is up.

    With `progress` the time is up when its value has not changed for so long.
    """
    deadline, reached = time.monotonic() + seconds, progress()
    poll = select.poll()
    interest = {}
    while True:
        for link in links:
            if not link.closed and len(link.out) < SEND_AHEAD:
                link.actor.fill(link)
                link.write()
        if until():
            return
        if time.monotonic() > deadline:
            if progress() == reached:
                raise TimeoutError("after %g s still not: %s" % (seconds, what))
            deadline, reached = time.monotonic() + seconds, progress()
        serve_once(links, poll, interest)


def serve_once(links, poll, interest):
    for link in links:
        wanted = 0 if link.closed else select.POLLIN | (select.POLLOUT if link.out else 0)
        if interest.get(link, (0, 0))[1] == wanted:
            continue
        if link.closed:
            poll.unregister(interest.pop(link)[0])
        else:
            interest[link] = (link.socket.fileno(), wanted)
            poll.register(*interest[link])
    ready = dict(poll.poll(5))
    for link in links:
        events = ready.get(interest[link][0], 0) if link in interest else 0
        if events & select.POLLOUT:
            link.write()
        if events & ~select.POLLOUT:
            link.read()


# ---- bodies -----------------------------------------------------------------------------------

BODY = struct.Struct(">IIIII")  # checksum of the rest, publisher, sequence, attempt, serial
BODY_MIN, BODY_MAX = 100, 4096
NOISE = random.Random(1).randbytes(2 * BODY_MAX)


def make_body(rng, publisher, sequence, attempt, serial):
    size = int(rng.random() * (BODY_MAX - BODY_MIN + 1)) + BODY_MIN - BODY.size
    at = int(rng.random() * BODY_MAX)
    rest = struct.pack(">IIII", publisher, sequence, attempt, serial) + NOISE[at:at + size]
    return struct.pack(">I", zlib.crc32(rest)) + rest


def read_body(body):
    """(publisher, sequence, attempt, serial); Wrong if it is not what was sent."""
    if len(body) < BODY_MIN or zlib.crc32(memoryview(body)[4:]) != struct.unpack_from(">I", body)[0]:
        raise Wrong("a body of %d octets is corrupt: %r..." % (len(body), body[:24]))
    return BODY.unpack_from(body)[1:]


# ---- a publisher with confirms -----------------------------------------------------------------

class Publisher:
    """Sends sequences 1, 2, ... to one queue; after a crash the unconfirmed ones once more."""

    def __init__(self, number, queue, rng, window=200):
        self.number, self.queue, self.rng, self.window = number, queue, rng, window
        self.prefix = publish_prefix(queue)
        self.sent = []        # sequence and attempt of each serial, which is the place in this list
        self.confirmed = []   # of each serial: confirmed?
        self.lives = []       # first serial of each life
        self.sequence = 0     # last one used
        self.resend = []      # (sequence, attempt), the next one last
        self.waiting = {}     # delivery tag: serial, of the current life; in order
        self.running = True
        self.limit = sys.maxsize  # of sequences, where a queue shall not grow without bound
        self.fresh = 0        # confirms of this life

    def start(self, broker):
        raw = connect(broker)
        declare(raw, self.queue)
        raw.call(1, rawamqp.CONFIRM_SELECT, b"\0", rawamqp.CONFIRM_SELECT_OK)
        again = [self.sent[serial] for serial in self.waiting.values()]
        pending = [(s, a + 1) for s, a in again] + self.resend[::-1]
        self.resend = sorted(pending, reverse=True)
        self.waiting = {}
        self.lives.append(len(self.sent))
        self.fresh = 0
        return Link(raw, self)

    def idle(self):
        return not self.running and not self.waiting and not self.resend

    def fill(self, link):
        base = self.lives[-1] - 1
        chunks = []
        while len(self.waiting) < self.window and (
                self.resend or self.running and self.sequence < self.limit):
            if self.resend:
                what = self.resend.pop()
            else:
                self.sequence += 1
                what = (self.sequence, 1)
            serial = len(self.sent)
            self.sent.append(what)
            self.confirmed.append(False)
            self.waiting[serial - base] = serial
            body = make_body(self.rng, self.number, *what, serial)
            chunks += (self.prefix, header_frame(len(body)), frame(rawamqp.BODY, body))
        link.out += b"".join(chunks)

    def on_ack(self, tag, multiple):
        if tag not in self.waiting:
            raise Wrong("%s: confirm of %d, which is not outstanding" % (self.queue, tag))
        tags = [tag]
        if multiple:
            tags = []
            for t in self.waiting:
                if t > tag:
                    break
                tags.append(t)
        for t in tags:
            self.confirmed[self.waiting.pop(t)] = True
        self.fresh += len(tags)

    def check_content(self, serials):
        """`serials`, in the order received, are what the broker held in all lives."""
        at, ends = 0, self.lives[1:] + [len(self.sent)]
        for life, (first, end) in enumerate(zip(self.lives, ends)):
            have = 0
            while at < len(serials) and first <= serials[at] < end:
                if serials[at] != first + have:
                    raise Wrong("%s: in life %d came serial %d where %d was due"
                                % (self.queue, life, serials[at], first + have))
                at, have = at + 1, have + 1
            lost = sum(self.confirmed[first + have:end])
            if lost:
                raise Wrong("%s: %d confirmed messages of life %d are lost, the first after serial %d"
                            % (self.queue, lost, life, first + have - 1))
        if at < len(serials):
            raise Wrong("%s: serial %d is out of order" % (self.queue, serials[at]))
        missing = self.sequence - len({self.sent[s][0] for s in serials})
        if missing:
            raise Wrong("%s: %d sequences never arrived" % (self.queue, missing))

    def identify(self, body):
        """The serial a body was sent with."""
        publisher, sequence, attempt, serial = read_body(body)
        if publisher != self.number or serial >= len(self.sent) or self.sent[serial] != (sequence, attempt):
            raise Wrong("%s: a body that was never sent: publisher %d, sequence %d, attempt %d, serial %d"
                        % (self.queue, publisher, sequence, attempt, serial))
        return serial


# ---- a consumer with manual acks ---------------------------------------------------------------

NEW, ACKED, SETTLED = 0, 1, 2  # delivered; ack sent; the broker has answered something after the ack


class Consumer:
    """Gets a publisher's messages and acks them at random, singly and many at once."""

    BARRIER_SECONDS = 0.04
    BACKLOG = 3000  # messages the publisher may be ahead

    def __init__(self, publisher, rng, prefetch=100):
        self.publisher, self.queue, self.rng, self.prefetch = publisher, publisher.queue, rng, prefetch
        self.state = {}        # serial: NEW, ACKED or SETTLED
        self.order = []        # serials in the order they first came
        self.pending = {}      # delivery tag: serial, of this life, not acked; in order
        self.since_barrier = []
        self.barrier = None    # serials acked before the queue.declare that is under way
        self.next_barrier = 0
        self.life = 0
        self.fresh = 0         # deliveries of this life
        self.last = -1         # last serial of this life
        self.repeats = 0
        self.draining = False  # ack all there is
        self.ready = None      # count of the last answer

    def start(self, broker):
        raw = connect(broker)
        declare(raw, self.queue)
        qos(raw, self.prefetch)
        self.pending, self.since_barrier, self.barrier = {}, [], None
        self.life += 1
        self.fresh, self.last, self.ready = 0, -1, None
        raw.consume(1, self.queue)
        link = Link(raw, self)
        link.parse()
        return link

    def on_delivery(self, tag, redelivered, body):
        serial = self.publisher.identify(body)
        if serial <= self.last:
            raise Wrong("%s: serial %d came after %d" % (self.queue, serial, self.last))
        self.last = serial
        known = self.state.get(serial)
        if known is None:
            if redelivered and self.life == 1:
                raise Wrong("%s: serial %d is marked as redelivered at first" % (self.queue, serial))
            self.order.append(serial)
        elif known == SETTLED:
            raise Wrong("%s: serial %d came again after its ack had been taken" % (self.queue, serial))
        elif not redelivered:
            raise Wrong("%s: serial %d came again without a redelivered mark" % (self.queue, serial))
        else:
            self.repeats += 1
        self.state[serial] = NEW
        self.pending[tag] = serial
        self.fresh += 1

    def fill(self, link):
        self.publisher.limit = len(self.order) + self.BACKLOG
        if self.pending and (self.draining or self.rng.random() < 0.3):
            self.ack_some(link)
        now = time.monotonic()
        if self.barrier is None and now >= self.next_barrier and not link.closed:
            self.next_barrier = now + self.BARRIER_SECONDS
            self.barrier, self.since_barrier = self.since_barrier, []
            link.out += frame(rawamqp.METHOD, METHOD_ID.pack(*rawamqp.QUEUE_DECLARE)
                              + declare_arguments(self.queue, 1))

    def ack_some(self, link):
        tags = list(self.pending)
        multiple = self.draining or len(tags) > self.prefetch * 3 // 4 or self.rng.random() < 0.5
        if self.draining:
            tag = tags[-1]
        elif multiple:
            tag = self.rng.choice(tags)
        else:
            for tag in self.rng.sample(tags, min(len(tags), 5)):
                self.ack(link, tag, False)
            return
        self.ack(link, tag, True, [t for t in tags if t <= tag])

    def ack(self, link, tag, multiple, tags=None):
        link.out += ack_frame(tag, multiple)
        for t in tags or [tag]:
            serial = self.pending.pop(t)
            self.state[serial] = ACKED
            self.since_barrier.append(serial)

    def on_declared(self, ready):
        for serial in self.barrier:
            self.state[serial] = SETTLED
        self.barrier = None
        self.ready = ready

    def empty(self):
        """Is nothing left, and every ack answered?"""
        return self.ready == 0 and not self.pending and not self.since_barrier and not self.barrier


# ---- taking out what a queue holds ---------------------------------------------------------------

class Reader:
    """Takes messages from a queue: (redelivered, body) each by `take`, acked many at once."""

    def __init__(self, queue, take, no_ack=False, prefetch=1000):
        self.queue, self.take, self.no_ack, self.prefetch = queue, take, no_ack, prefetch
        self.count = self.last = self.acked = 0
        self.ready = None
        self.asked = False

    def start(self, broker):
        raw = connect(broker)
        if not self.no_ack:
            qos(raw, self.prefetch)
        raw.consume(1, self.queue, bits=2 if self.no_ack else 0)
        link = Link(raw, self)
        link.parse()
        return link

    def on_delivery(self, tag, redelivered, body):
        self.last = tag
        self.count += 1
        self.ready = None
        self.take(redelivered, body)

    def fill(self, link):
        if not self.no_ack and self.last > self.acked:
            link.out += ack_frame(self.last, True)
            self.acked = self.last

    def on_declared(self, ready):
        self.asked = False
        self.ready = ready

    def read(self, broker, expected):
        """Read so many messages; Wrong if there are more. Returns when the acks are taken."""
        link = self.start(broker)
        try:
            run([link], lambda: self.count >= expected, SECONDS,
                "%d messages come from %s" % (expected, self.queue), lambda: self.count)
            link.out += frame(rawamqp.METHOD, METHOD_ID.pack(*rawamqp.QUEUE_DECLARE)
                              + declare_arguments(self.queue, 1))
            run([link], lambda: self.ready is not None, SECONDS, "an answer about %s" % self.queue)
        finally:
            link.close()
        if self.count != expected or self.ready != 0:
            raise Wrong("%s: %d messages expected, %d came, %d left"
                        % (self.queue, expected, self.count, self.ready))
