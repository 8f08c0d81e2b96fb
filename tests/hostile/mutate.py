#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mutated handshakes and frame streams against a running broker.

usage: mutate.py [--streams N] [--seed N] [--threads N] [--report] [--keep DIR]

Each stream is a valid session (handshake, declarations, publishes, consumers,
settlements) of which some octets, frames or lengths were changed, sent over a
connection of its own in random pieces, which then ends in some way. Beside it
one well-behaved client publishes and consumes without pause, in a process of
its own. Asserted:

  - the broker lives to the end, ends in order, and its log shows no sanitizer's
    complaint;
  - the well-behaved client misses nothing, gets nothing wrong, and its p99
    round trip stays within LATENCY_FACTOR of what it was before (or below
    LATENCY_FLOOR), or, on a machine that is too busy for that, of what it is beside
    as many sessions that are not changed;
  - the broker's resident memory grows by at most GROWTH_LIMIT.

The same seed and number of threads make the same streams; when they arrive is
the machine's affair. --first N --only sends stream N alone. With --report the
limits on time and memory are not asserted: for busy machines and sanitizers.
"""

import argparse
import collections
import json
import multiprocessing
import os
import random
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

import rawamqp  # noqa: E402
from broker import Broker, BrokerError, exit_on_sigterm  # noqa: E402
from rawamqp import Typed, longstr, shortstr, table  # noqa: E402

MIB = 1 << 20
GROWTH_LIMIT = 30 * MIB
LATENCY_FACTOR, LATENCY_FLOOR = 3, 0.005
BASELINE_SECONDS = 3
WARM_SHARE = 10  # one stream in so many comes before memory is measured
QUIET_SECONDS = 0.03  # a peer that says nothing for so long has said all
ROUND_TRIP_LIMIT = 30
# A sanitizer's complaints, and entries that the broker made and cannot read itself.
LOG_FAULTS = ["runtime error", "Sanitizer", "is malformed", "cannot be understood", "Assertion"]
EXPIRES_MS = 3000  # queues that streams leave behind go by themselves


def frame(kind, channel, payload=b"", end=b"\xce"):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


def method(channel, ids, arguments=b""):
    return frame(rawamqp.METHOD, channel, struct.pack(">HH", *ids) + arguments)


# ---- valid sessions, as lists of pieces ----

def handshake(rng):
    plain = rng.random() < 0.8
    response = longstr("\0guest\0guest") if plain else longstr(table({"LOGIN": "guest", "PASSWORD": "guest"})[4:])
    properties = {"product": "hostile", "capabilities": {
        "consumer_cancel_notify": True, "authentication_failure_close": rng.random() < 0.5}}
    return [rawamqp.PROTOCOL_HEADER,
            method(0, rawamqp.START_OK, table(properties) + shortstr("PLAIN" if plain else "AMQPLAIN") + response
                   + shortstr("en_US")),
            method(0, rawamqp.TUNE_OK, struct.pack(">HIH", 8, rng.choice([4096, 8192, 131072]), rng.choice([0, 1]))),
            method(0, rawamqp.OPEN, shortstr("/") + shortstr("") + b"\0"),
            method(1, rawamqp.CHANNEL_OPEN, shortstr(""))]


def some_value(rng, depth=0):
    kind = rng.randrange(12)
    if kind < 2 and depth < 5:
        return {str(i): some_value(rng, depth + 1) for i in range(rng.randrange(4))}
    if kind < 4 and depth < 5:
        return [some_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return rng.choice([True, 1, "text", Typed("l", 1 << 40), Typed("d", 1.5), Typed("V", None), Typed("x", b"\0\xff"),
                       Typed("D", (2, 7)), Typed("T", 1), Typed("b", -1)])


def content(rng, channel=1):
    key = rng.choice(["h0", "h1", "h2", "nobody", "a.b.c"])
    exchange = rng.choice(["", "", "amq.topic", "amq.headers", "hx"])
    headers = {"n": 1, "x": some_value(rng)}
    if rng.random() < 0.2:
        headers["CC"] = ["h1", "h2"]
    properties = rng.choice([b"\0\0", b"\x10\0\2", b"\x20\0" + table(headers), b"\x01\0" + shortstr("100"),
                             b"\x02\0" + shortstr("amq.rabbitmq.reply-to")])
    body = rng.randbytes(rng.choice([0, 1, 100, 4000, 9000]))
    pieces = [method(channel, rawamqp.PUBLISH, b"\0\0" + shortstr(exchange) + shortstr(key)
                     + bytes([rng.choice([0, 0, 1, 2])])),
              frame(rawamqp.HEADER, channel, struct.pack(">HHQ", 60, 0, len(body)) + properties)]
    return pieces + [frame(rawamqp.BODY, channel, body[at:at + 4088]) for at in range(0, len(body), 4088)]


def declaration(rng):
    arguments = {"x-expires": EXPIRES_MS, "x-max-length": rng.choice([1, 20])}
    if rng.random() < 0.3:
        arguments["x-dead-letter-exchange"] = rng.choice(["", "amq.topic", "hx"])
    if rng.random() < 0.2:
        arguments["x-max-priority"] = 5
    bits = rng.choice([0, 8, 8, 12, 4])  # nothing durable: a full disk is another test's affair
    return method(1, rawamqp.QUEUE_DECLARE, b"\0\0" + shortstr(rng.choice(["h0", "h1", "h2", ""]))
                  + bytes([bits]) + table(arguments))


def action(rng):
    queue = shortstr(rng.choice(["h0", "h1", "h2"]))
    tag = struct.pack(">Q", rng.choice([0, 1, 2, 3, 1 << 40]))
    return rng.choice([
        lambda: content(rng), lambda: content(rng), lambda: content(rng, rng.choice([1, 2])),
        lambda: [declaration(rng)],
        lambda: [method(2, rawamqp.CHANNEL_OPEN, shortstr(""))],
        lambda: [method(1, rawamqp.CONSUME, b"\0\0" + queue + shortstr(rng.choice(["", "t"]))
                        + bytes([rng.choice([0, 2, 4])]) + table({"x-priority": 1}))],
        lambda: [method(1, rawamqp.CONSUME, b"\0\0" + shortstr("amq.rabbitmq.reply-to") + shortstr("r") + b"\2"
                        + table({}))],
        lambda: [method(1, rawamqp.GET, b"\0\0" + queue + bytes([rng.randrange(2)]))],
        lambda: [method(1, rawamqp.QOS, struct.pack(">IHB", 0, rng.randrange(4), rng.randrange(2)))],
        lambda: [method(1, rawamqp.ACK, tag + bytes([rng.randrange(2)]))],
        lambda: [method(1, rawamqp.NACK, tag + bytes([rng.randrange(4)]))],
        lambda: [method(1, (60, 90), tag + bytes([rng.randrange(2)]))],
        lambda: [method(1, (60, 110), b"\1")],
        lambda: [method(1, rawamqp.CANCEL, shortstr("t") + b"\0")],
        lambda: [method(1, rawamqp.CONFIRM_SELECT, b"\0")],
        lambda: [method(1, (90, rng.choice([10, 20, 30])))],
        lambda: [method(1, (40, 10), b"\0\0" + shortstr("hx") + shortstr(rng.choice(["topic", "headers", "fanout"]))
                        + b"\4" + table({"alternate-exchange": "amq.topic"}))],
        lambda: [method(1, (50, 20), b"\0\0" + queue + shortstr(rng.choice(["amq.topic", "amq.headers", "hx"]))
                        + shortstr(rng.choice(["#", "a.*", "a.b.c"])) + b"\0" + table({"x-match": "any", "n": 1}))],
        lambda: [method(1, (50, rng.choice([30, 40])), b"\0\0" + queue + b"\0")],
        lambda: [method(1, rawamqp.CHANNEL_CLOSE, b"\0\0" + shortstr("") + b"\0\0\0\0")],
        lambda: [method(1, rawamqp.CHANNEL_CLOSE_OK)],
        lambda: [frame(rawamqp.HEARTBEAT, 0)],
        lambda: [method(0, rawamqp.CLOSE, b"\0\0" + shortstr("") + b"\0\0\0\0")],
    ])()


# ---- mutations ----

INTERESTING = [b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\xff", b"\xff" * 8, b"\0" * 8,
               b"\xce", b"AMQP", b"\x01\0\0", struct.pack(">BHI", 1, 1, 0x7fffffff), struct.pack(">BHI", 3, 1, 4096)]


def mutate_octets(rng, piece):
    data = bytearray(piece)
    at = rng.randrange(len(data)) if data else 0
    what = rng.randrange(6)
    if what == 0 and data:
        data[at] ^= 1 << rng.randrange(8)
    elif what == 1 and data:
        data[at] = rng.randrange(256)
    elif what == 2:
        data[at:at] = rng.choice(INTERESTING)
    elif what == 3:
        del data[at:at + rng.randrange(1, 9)]
    elif what == 4:
        some = rng.choice(INTERESTING)
        data[at:at + len(some)] = some
    else:
        data[at:at] = data[at:at + rng.randrange(1, 40)]
    return bytes(data)


def mutate_payload(rng, piece):
    """As above, within a frame whose length is made right again."""
    if len(piece) < 9:
        return mutate_octets(rng, piece)
    kind, channel, _ = struct.unpack(">BHI", piece[:7])
    return frame(kind, channel, mutate_octets(rng, piece[7:-1]))


def odd_declaration(rng):
    """A declaration with arguments that nobody sends."""
    deep = table({})
    for _ in range(rng.choice([1, 10, 63, 64, 65, 300])):
        deep = longstr(b"\1aF" + deep)
    inside = table({"x": some_value(rng)}) if rng.random() < 0.5 else deep
    return method(1, rawamqp.QUEUE_DECLARE, b"\0\0" + shortstr("h0") + b"\x08" + inside)


def mutate(rng, pieces):
    at = rng.randrange(len(pieces))
    what = rng.randrange(10)
    if what < 3:
        pieces[at] = mutate_payload(rng, pieces[at])
    elif what < 5:
        pieces[at] = mutate_octets(rng, pieces[at])
    elif what == 5:
        pieces.insert(at, pieces[rng.randrange(len(pieces))])
    elif what == 6:
        del pieces[at]
    elif what == 7:
        other = rng.randrange(len(pieces))
        pieces[at], pieces[other] = pieces[other], pieces[at]
    elif what == 8:
        pieces[at] = odd_declaration(rng)
    else:
        pieces[at] = frame(rng.choice([1, 2, 3, 8, rng.randrange(256)]), rng.choice([0, 1, 2, 9, 65535]),
                           rng.randbytes(rng.randrange(60)))
    return pieces or [b""]


def stream(seed, number, mutated=True):
    """The pieces of a stream and how it ends."""
    rng = random.Random(seed * 1000003 + number)
    pieces = handshake(rng)
    opened = len(pieces)
    pieces.append(declaration(rng))
    for _ in range(rng.randrange(8)):
        pieces += action(rng)
    keep = opened if rng.random() < 0.7 else 0  # most come past the handshake
    head, tail = pieces[:keep], pieces[keep:]
    for _ in range(rng.choice([0, 1, 1, 2, 3, 8]) if mutated else 0):
        tail = mutate(rng, tail)
    return rng, head + tail, rng.choice(["wait", "wait", "close", "reset", "half"])


# ---- sending ----

class Attack:
    def __init__(self, broker, seed, mutated=True):
        self.broker, self.seed, self.mutated = broker, seed, mutated
        self.lock = threading.Lock()
        self.next = self.end = 0
        self.outcomes = collections.Counter()
        self.error = None

    def note(self, outcome):
        with self.lock:
            self.outcomes[outcome] += 1

    def take(self):
        with self.lock:
            if self.next >= self.end or self.error:
                return None
            self.next += 1
            return self.next - 1

    def send_one(self, number):
        rng, pieces, ending = stream(self.seed, number, self.mutated)
        data = b"".join(pieces)
        try:
            s = socket.create_connection((self.broker.host, self.broker.port), timeout=ROUND_TRIP_LIMIT)
        except OSError as e:
            raise BrokerError("stream %d cannot connect: %s" % (number, e)) from None
        with s:
            try:
                self.note(self.converse(rng, s, data, ending))
            except OSError as e:
                self.note("socket: " + e.__class__.__name__)

    def converse(self, rng, s, data, ending):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        cut = rng.choice([len(data), len(data), 1, 7, 100, 1460])
        if cut == 1:
            data = data[:600]
        for at in range(0, len(data), max(1, cut)):
            s.sendall(data[at:at + cut])
        if ending == "reset":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return "reset by us"
        if ending == "close":
            return "closed by us"
        if ending == "half":
            s.shutdown(socket.SHUT_WR)
        s.settimeout(QUIET_SECONDS)
        return self.listen(s)

    @staticmethod
    def listen(s):
        got = b""
        try:
            while len(got) < MIB:
                more = s.recv(65536)
                if not more:
                    return "closed: " + last_close(got)
                got += more
        except TimeoutError:
            return "open: " + last_close(got)
        return "open: much"

    def worker(self):
        try:
            number = self.take()
            while number is not None:
                self.send_one(number)
                number = self.take()
        except BaseException as e:  # told by run()
            self.error = self.error or e

    def run(self, first, count, threads):
        self.next, self.end = first, first + count
        workers = [threading.Thread(target=self.worker, daemon=True) for _ in range(threads)]
        for w in workers:
            w.start()
        for w in workers:
            w.join()
        if self.error:
            raise self.error


def last_close(data):
    """What the broker said of the connection or a channel at last; "?" if frames do not follow each other."""
    said = "nothing" if not data else "no close"
    if data.startswith(b"AMQP"):
        return "other protocol"
    at = 0
    while at + 8 <= len(data):
        kind, _, size = struct.unpack(">BHI", data[at:at + 7])
        payload, at = data[at + 7:at + 7 + size], at + 8 + size
        if at > len(data):
            break
        if data[at - 1] != 0xce:
            return "?"
        if kind == rawamqp.METHOD and payload[:4] in (b"\0\x0a\0\x32", b"\0\x14\0\x28"):
            said = str(struct.unpack(">H", payload[4:6])[0])
        elif kind == rawamqp.METHOD and payload[:4] == b"\0\x0a\0\x33":
            said = "close-ok"
    return said


# ---- the well-behaved client ----

def well_behaved(host, port, pipe):
    """Round trips until told to stop; "mark" asks for the times since the last mark."""
    raw = rawamqp.Raw(host, port).open()
    raw.open_channel(1)
    queue = raw.declare(1, "", 4)
    raw.consume(1, queue, "tag")
    times, number = [], 0
    pipe.send("ready")
    while True:
        if pipe.poll():
            word = pipe.recv()
            pipe.send(times)
            times = []
            if word == "stop":
                break
        number += 1
        body = struct.pack(">Q", number) * 32
        began = time.perf_counter()
        raw.publish(1, queue, body)
        deliver = raw.expect(rawamqp.DELIVER, ROUND_TRIP_LIMIT)
        _, got = raw.receive_content()
        times.append(time.perf_counter() - began)
        if got != body:
            raise AssertionError("message %d came with another body" % number)
        deliver.shortstr()
        raw.method(1, rawamqp.ACK, deliver.take(8) + b"\0")
        time.sleep(0.001)
    raw.method(0, rawamqp.CLOSE, b"\0\xc8" + shortstr("") + b"\0\0\0\0")
    raw.expect(rawamqp.CLOSE_OK)
    raw.close()


class Client:
    def __init__(self, broker):
        self.pipe, other = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=well_behaved, args=(broker.host, broker.port, other),
                                               daemon=True)
        self.process.start()
        other.close()
        self.get()

    def get(self):
        try:
            if self.pipe.poll(2 * ROUND_TRIP_LIMIT):
                return self.pipe.recv()
        except EOFError:
            pass
        raise BrokerError("the well-behaved client is stuck or failed")

    def times(self, word="mark"):
        try:
            self.pipe.send(word)
        except OSError:
            raise BrokerError("the well-behaved client failed") from None
        return self.get()


def percentile(times, share):
    return sorted(times)[int(len(times) * share)] if times else float("inf")


# ---- measuring ----

def resident(broker):
    with open("/proc/%d/status" % broker.process.pid) as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise BrokerError("no VmRSS")


def log_faults(broker):
    with open(broker.log_path, errors="replace") as f:
        return [line.strip() for line in f if any(words in line for words in LOG_FAULTS)]


def attack(broker, options):
    a = Attack(broker, options.seed)
    if options.only:
        a.run(options.first, 1, 1)
        print(dict(a.outcomes))
        return {"stream": options.first}, []
    client = Client(broker)
    time.sleep(BASELINE_SECONDS)
    before = client.times()
    warm = max(1, options.streams // WARM_SHARE)
    a.run(options.first, warm, options.threads)
    memory = resident(broker)
    client.times()
    began = time.monotonic()
    a.run(options.first + warm, options.streams - warm, options.threads)
    seconds = time.monotonic() - began
    during = client.times()
    limit = max(LATENCY_FACTOR * percentile(before, 0.99), LATENCY_FLOOR)
    if percentile(during, 0.99) > limit:
        Attack(broker, options.seed, mutated=False).run(options.first + warm, options.streams - warm, options.threads)
        limit = max(limit, LATENCY_FACTOR * percentile(client.times(), 0.99))
    client.times("stop")
    client.process.join(ROUND_TRIP_LIMIT)
    time.sleep(EXPIRES_MS / 1000 + 1)
    grown = resident(broker) - memory
    figures = {"streams": options.streams, "per_second": round((options.streams - warm) / max(seconds, 1e-9)),
               "rss_before_mib": round(memory / MIB, 1), "rss_growth_mib": round(grown / MIB, 1),
               "round_trips": len(during), "p99_before_ms": round(percentile(before, 0.99) * 1000, 2),
               "p99_during_ms": round(percentile(during, 0.99) * 1000, 2),
               "max_during_ms": round(max(during, default=0) * 1000, 2)}
    for outcome, n in a.outcomes.most_common():
        print("%7d %s" % (n, outcome))
    wrong = []
    if client.process.exitcode != 0:
        wrong.append("the well-behaved client ended with %s" % client.process.exitcode)
    if percentile(during, 0.99) > limit and not options.report:
        wrong.append("p99 round trip %.1f ms, limit %.1f ms" % (percentile(during, 0.99) * 1000, limit * 1000))
    if grown > GROWTH_LIMIT and not options.report:
        wrong.append("memory grew by %.1f MiB, limit %.1f" % (grown / MIB, GROWTH_LIMIT / MIB))
    return figures, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--first", type=int, default=0, help="number of the first stream")
    parser.add_argument("--only", action="store_true", help="send the first stream alone")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--keep", metavar="DIR", help="data directory, kept")
    options = parser.parse_args()
    print("seed %d" % options.seed, flush=True)
    exit_on_sigterm()
    # Freed blocks that a sanitizer holds back would look like growth.
    os.environ.setdefault("ASAN_OPTIONS", "quarantine_size_mb=4")
    directory = options.keep or tempfile.mkdtemp(prefix="warren-hostile-")
    broker = Broker(directory)
    wrong = []
    try:
        with broker:
            figures, wrong = attack(broker, options)
            if not broker.alive():
                wrong.append("the broker is gone")
        print(json.dumps(figures))
    except BrokerError as e:
        wrong.append(str(e))
    wrong += log_faults(broker)
    for text in wrong:
        print("FAIL: %s (seed %d)" % (text, options.seed))
    if not options.keep:
        shutil.rmtree(directory, ignore_errors=True)
    print("failed" if wrong else "passed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
