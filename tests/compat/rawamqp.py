# SPDX-License-Identifier: Apache-2.0
"""A small AMQP 0-9-1 client that says what it is told to, right or wrong."""

import select
import socket
import struct
import time

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
PROTOCOL_HEADER = b"AMQP\0\0\x09\x01"

START, START_OK, TUNE, TUNE_OK = (10, 10), (10, 11), (10, 30), (10, 31)
OPEN, OPEN_OK, CLOSE, CLOSE_OK = (10, 40), (10, 41), (10, 50), (10, 51)
CHANNEL_OPEN, CHANNEL_OPEN_OK, CHANNEL_CLOSE, CHANNEL_CLOSE_OK = (20, 10), (20, 11), (20, 40), (20, 41)
ACCESS_REQUEST, ACCESS_REQUEST_OK = (30, 10), (30, 11)
QUEUE_DECLARE, QUEUE_DECLARE_OK = (50, 10), (50, 11)
QOS, QOS_OK, CONSUME, CONSUME_OK, CANCEL = (60, 10), (60, 11), (60, 20), (60, 21), (60, 30)
PUBLISH, RETURN, DELIVER, GET, GET_OK, GET_EMPTY = (60, 40), (60, 50), (60, 60), (60, 70), (60, 71), (60, 72)
ACK, RECOVER_ASYNC, NACK = (60, 80), (60, 100), (60, 120)
CONFIRM_SELECT, CONFIRM_SELECT_OK = (85, 10), (85, 11)

SECONDS = 30  # a machine with much else to do is slow, but not still


def shortstr(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("B", len(data)) + data


def longstr(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack(">I", len(data)) + data


class Typed:
    """A field value with an explicit type octet: Typed("b", 10)."""

    FORMATS = {"t": ">?", "b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I", "l": ">q",
               "L": ">q", "f": ">f", "d": ">d", "T": ">Q"}

    def __init__(self, kind, value):
        self.kind, self.value = kind, value

    def encode(self):
        if self.kind in self.FORMATS:
            data = struct.pack(self.FORMATS[self.kind], self.value)
        elif self.kind in "Sx":
            data = longstr(self.value)
        elif self.kind == "D":
            data = struct.pack(">Bi", *self.value)
        elif self.kind == "A":
            data = longstr(b"".join(typed(v).encode() for v in self.value))
        elif self.kind == "F":
            data = table(self.value)
        else:
            data = b""
        return self.kind.encode() + data


def typed(value):
    if isinstance(value, Typed):
        return value
    if isinstance(value, bool):
        return Typed("t", value)
    if isinstance(value, int):
        return Typed("I", value)
    if isinstance(value, dict):
        return Typed("F", value)
    if isinstance(value, list):
        return Typed("A", value)
    return Typed("S", value)


def table(values):
    return longstr(b"".join(shortstr(k) + typed(v).encode() for k, v in values.items()))


class Reader:
    """Take values off the front of some octets."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        chunk = self.data[self.at:self.at + count]
        if len(chunk) < count:
            raise ValueError("truncated")
        self.at += count
        return chunk

    def unpack(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def shortstr(self):
        return self.take(self.unpack("B")).decode()

    def longstr(self):
        return self.take(self.unpack(">I"))

    def value(self):
        """One field value as (type octet, value)."""
        kind = self.take(1).decode()
        if kind in Typed.FORMATS:
            return kind, self.unpack(Typed.FORMATS[kind])
        if kind == "D":
            return kind, (self.unpack("B"), self.unpack(">i"))
        if kind in "Sx":
            return kind, self.longstr()
        if kind == "F":
            return kind, self.table()
        if kind == "A":
            inner, values = Reader(self.longstr()), []
            while inner.at < len(inner.data):
                values.append(inner.value())
            return kind, values
        if kind == "V":
            return kind, None
        raise ValueError("unknown field type %r" % kind)

    def table(self):
        inner, values = Reader(self.longstr()), {}
        while inner.at < len(inner.data):
            key = inner.shortstr()
            values[key] = inner.value()
        return values


class Closed(Exception):
    """The broker closed the socket."""


class Unexpected(Exception):
    """Another frame came than the one waited for."""


class Raw:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), timeout=SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.server_properties = {}
        self.mechanisms = b""
        self.tune = None

    def close(self):
        self.socket.close()

    # Octets and frames

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, count, seconds=SECONDS):
        deadline = time.monotonic() + seconds
        while len(self.buffer) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                raise TimeoutError("nothing from the broker within %g s" % seconds)
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed("closed by the broker, last octets %r" % self.buffer)
            self.buffer += data
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def wait_closed(self, seconds=SECONDS):
        """Read until the broker closes; return what came before."""
        got = b""
        try:
            deadline = time.monotonic() + seconds
            while True:
                got += self.receive(1, max(0, deadline - time.monotonic()))
        except Closed:
            return got

    def frame(self, kind, channel, payload=b"", end=b"\xce"):
        self.send(struct.pack(">BHI", kind, channel, len(payload)) + payload + end)

    def receive_frame(self, seconds=SECONDS):
        kind, channel, size = struct.unpack(">BHI", self.receive(7, seconds))
        payload = self.receive(size + 1, seconds)
        if payload[-1:] != b"\xce":
            raise Unexpected("frame without an end octet")
        return kind, channel, payload[:-1]

    # Methods and content

    def method(self, channel, method, arguments=b""):
        self.frame(METHOD, channel, struct.pack(">HH", *method) + arguments)

    def receive_method(self, seconds=SECONDS):
        """The next method as (channel, method, Reader); heartbeats are skipped."""
        while True:
            kind, channel, payload = self.receive_frame(seconds)
            if kind == METHOD:
                return channel, struct.unpack(">HH", payload[:4]), Reader(payload[4:])
            if kind != HEARTBEAT:
                raise Unexpected("frame of type %d where a method is due" % kind)

    def expect(self, method, seconds=SECONDS):
        """The arguments of the next method, which has to be that one."""
        channel, got, arguments = self.receive_method(seconds)
        if got != method:
            detail = ""
            if got in (CLOSE, CHANNEL_CLOSE):
                detail = " %d %s" % (arguments.unpack(">H"), arguments.shortstr())
            raise Unexpected("method %s%s on channel %d, expected %s" % (got, detail, channel, method))
        return arguments

    def call(self, channel, method, arguments, answer):
        self.method(channel, method, arguments)
        return self.expect(answer)

    def receive_content(self):
        """(property octets, body) of the content that follows a method."""
        kind, _, payload = self.receive_frame()
        if kind != HEADER:
            raise Unexpected("frame of type %d where a content header is due" % kind)
        size = struct.unpack(">Q", payload[4:12])[0]
        body = b""
        while len(body) < size:
            kind, _, part = self.receive_frame()
            if kind != BODY:
                raise Unexpected("frame of type %d where a body is due" % kind)
            body += part
        return payload[12:], body

    def publish(self, channel, key, body=b"", exchange="", bits=0, properties=b"\0\0", frame_max=131072):
        """bits: 1 mandatory, 2 immediate. properties: flags and values, encoded."""
        self.method(channel, PUBLISH, b"\0\0" + shortstr(exchange) + shortstr(key) + struct.pack("B", bits))
        self.frame(HEADER, channel, struct.pack(">HHQ", 60, 0, len(body)) + properties)
        for at in range(0, len(body), frame_max - 8):
            self.frame(BODY, channel, body[at:at + frame_max - 8])

    # The usual sequences

    def handshake(self, user="guest", password="guest", mechanism="PLAIN", response=None, capabilities=None,
                  properties=None):
        """Up to start-ok."""
        self.send(PROTOCOL_HEADER)
        start = self.expect(START)
        self.version = (start.unpack("B"), start.unpack("B"))
        self.server_properties = start.table()
        self.mechanisms = start.longstr()
        self.locales = start.longstr()
        if response is None:
            response = "\0%s\0%s" % (user, password)
        properties = {"product": "raw", "capabilities": capabilities or {}, **(properties or {})}
        self.method(0, START_OK, table(properties) + shortstr(mechanism) + longstr(response) + shortstr("en_US"))

    def receive_tune(self):
        tune = self.expect(TUNE)
        self.tune = (tune.unpack(">H"), tune.unpack(">I"), tune.unpack(">H"))
        return self.tune

    def send_tune_ok(self, channel_max=None, frame_max=None, heartbeat=0):
        self.method(0, TUNE_OK, struct.pack(">HIH", self.tune[0] if channel_max is None else channel_max,
                                            self.tune[1] if frame_max is None else frame_max, heartbeat))

    def send_open(self, vhost="/"):
        self.method(0, OPEN, shortstr(vhost) + shortstr("") + b"\0")

    def open(self, vhost="/", channel_max=None, frame_max=None, heartbeat=0, **handshake):
        self.handshake(**handshake)
        self.receive_tune()
        self.send_tune_ok(channel_max, frame_max, heartbeat)
        self.send_open(vhost)
        self.expect(OPEN_OK)
        return self

    def open_channel(self, channel=1):
        self.call(channel, CHANNEL_OPEN, shortstr(""), CHANNEL_OPEN_OK)

    def declare(self, channel, queue, bits=0, arguments=None):
        """bits: 1 passive, 2 durable, 4 exclusive, 8 auto-delete. Returns the name."""
        return self.call(channel, QUEUE_DECLARE, b"\0\0" + shortstr(queue) + struct.pack("B", bits)
                         + table(arguments or {}), QUEUE_DECLARE_OK).shortstr()

    def consume(self, channel, queue, tag="", bits=0, arguments=None):
        """bits: 1 no-local, 2 no-ack, 4 exclusive."""
        return self.call(channel, CONSUME, b"\0\0" + shortstr(queue) + shortstr(tag) + struct.pack("B", bits)
                         + table(arguments or {}), CONSUME_OK).shortstr()

    def get(self, channel, queue, no_ack=True):
        """(redelivered, property octets, body), or None if the queue is empty."""
        self.method(channel, GET, b"\0\0" + shortstr(queue) + struct.pack("B", no_ack))
        _, method, arguments = self.receive_method()
        if method == GET_EMPTY:
            return None
        if method != GET_OK:
            raise Unexpected("method %s, expected basic.get-ok" % (method,))
        arguments.unpack(">Q")
        return (bool(arguments.unpack("B")), *self.receive_content())

    def expect_close(self, method=CLOSE):
        """(code, text, (class, method)) of the close that comes next."""
        close = self.expect(method)
        return close.unpack(">H"), close.shortstr(), (close.unpack(">H"), close.unpack(">H"))
