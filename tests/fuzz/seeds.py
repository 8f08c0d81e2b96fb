#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the seeds of the corpora: small inputs with real bytes, one idea each.

    seeds.py [WHAT...]      into corpus/WHAT/, by default for all targets

What else is in a corpus was found by a fuzzer. Formats of inputs are in fuzz_WHAT.c.
"""

import glob
import json
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

import rawamqp  # noqa: E402
from rawamqp import Typed, longstr, shortstr, table  # noqa: E402


def pairs(values):
    return table(values)[4:]


def method(ids, arguments=b""):
    return struct.pack(">HH", *ids) + arguments


def frame(kind, channel, payload=b"", end=b"\xce"):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


def header(size, properties=b"\0\0", cls=60):
    return struct.pack(">HHQ", cls, 0, size) + properties


RICH = {"t": True, "b": Typed("b", -1), "B": Typed("B", 200), "s": Typed("s", -300), "u": Typed("u", 60000),
        "I": -70000, "i": Typed("i", 4000000000), "l": Typed("l", -5000000000), "L": Typed("L", 5000000000),
        "f": Typed("f", 1.5), "d": Typed("d", 1e23), "D": Typed("D", (2, 12345)), "S": "text",
        "x": Typed("x", b"\0\1\xff"), "A": [1, "two", {"three": 3}, [4]], "T": Typed("T", 1700000000),
        "F": {"x-match": "all", "n": 1}, "V": Typed("V", None)}


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"a": value}
    return value


ALL_PROPERTIES = (b"\xff\xfc" + shortstr("text/plain") + shortstr("utf-8") + table(RICH) + b"\x02\x05"
                  + shortstr("correlation") + shortstr("amq.rabbitmq.reply-to") + shortstr("60000")
                  + shortstr("id-1") + struct.pack(">Q", 1700000000) + shortstr("kind") + shortstr("guest")
                  + shortstr("app") + shortstr("cluster"))

START_OK = method((10, 11), table({"product": "fuzz", "capabilities": {
    "consumer_cancel_notify": True, "authentication_failure_close": True, "basic.nack": True}})
    + shortstr("PLAIN") + longstr("\0guest\0guest") + shortstr("en_US"))
AMQPLAIN = method((10, 11), table({}) + shortstr("AMQPLAIN")
                  + longstr(pairs({"LOGIN": "guest", "PASSWORD": "guest"})) + shortstr("en_US"))
TUNE_OK = method((10, 31), struct.pack(">HIH", 8, 4096, 60))
OPEN = method((10, 40), shortstr("/") + shortstr("") + b"\0")
CHANNEL_OPEN = method((20, 10), shortstr(""))


def declare(queue, bits=0, arguments=None):
    return method((50, 10), b"\0\0" + shortstr(queue) + bytes([bits]) + table(arguments or {}))


def exchange(name, kind, bits=0, arguments=None):
    return method((40, 10), b"\0\0" + shortstr(name) + shortstr(kind) + bytes([bits]) + table(arguments or {}))


def bind(queue, source, key="", arguments=None):
    return method((50, 20), b"\0\0" + shortstr(queue) + shortstr(source) + shortstr(key) + b"\0"
                  + table(arguments or {}))


def publish(key, source="", bits=0):
    return method((60, 40), b"\0\0" + shortstr(source) + shortstr(key) + bytes([bits]))


def consume(queue, tag="", bits=0, arguments=None):
    return method((60, 20), b"\0\0" + shortstr(queue) + shortstr(tag) + bytes([bits]) + table(arguments or {}))


def get(queue, no_ack=False):
    return method((60, 70), b"\0\0" + shortstr(queue) + bytes([no_ack]))


def settle(ids, tag, bits=None):
    return method(ids, struct.pack(">Q", tag) + (b"" if bits is None else bytes([bits])))


def qos(count, bits=0):
    return method((60, 10), struct.pack(">IHB", 0, count, bits))


METHODS = {
    "start": method((10, 10), b"\0\x09" + table({"product": "x"}) + longstr("PLAIN") + longstr("en_US")),
    "start-ok": START_OK, "amqplain": AMQPLAIN, "tune-ok": TUNE_OK, "open": OPEN,
    "close": method((10, 50), b"\0\xc8" + shortstr("bye") + b"\0\0\0\0"), "close-ok": method((10, 51)),
    "blocked": method((10, 60), shortstr("memory")), "channel-open": CHANNEL_OPEN,
    "flow": method((20, 20), b"\1"), "exchange-declare": exchange("x", "topic", 3, RICH),
    "exchange-delete": method((40, 20), b"\0\0" + shortstr("x") + b"\1"),
    "exchange-bind": method((40, 30), b"\0\0" + shortstr("a") + shortstr("b") + shortstr("k") + b"\0" + table({})),
    "queue-declare": declare("q", 2, {"x-max-length": 10, "x-queue-type": "classic"}),
    "queue-bind": bind("q", "x", "a.*.#", {"x-match": "any"}),
    "queue-purge": method((50, 30), b"\0\0" + shortstr("q") + b"\0"),
    "queue-delete": method((50, 40), b"\0\0" + shortstr("q") + b"\3"), "qos": qos(10, 1),
    "consume": consume("q", "tag", 2, {"x-priority": 3}), "publish": publish("key", "x", 3),
    "deliver": method((60, 60), shortstr("t") + struct.pack(">QB", 9, 1) + shortstr("x") + shortstr("k")),
    "get": get("q", True), "ack": settle((60, 80), 7, 1), "nack": settle((60, 120), 7, 3),
    "reject": settle((60, 90), 7, 1), "recover": method((60, 110), b"\1"), "confirm": method((85, 10), b"\0"),
    "tx": method((90, 10)), "unknown": method((60, 99)), "not-utf8": declare(b"\xff\xfe"),
}


def frames():
    yield "empty", b"\0\0"
    stream = rawamqp.PROTOCOL_HEADER + frame(1, 0, START_OK) + frame(1, 0, TUNE_OK) + frame(8, 0)
    yield "handshake", b"\4\1" + stream[8:]
    yield "greeting", b"\4\2" + stream
    yield "greeting-other", b"\4\0HTTP/1.1 200 OK\r\n"
    yield "greeting-091", b"\4\0AMQP\1\1\0\x09"
    yield "content", b"\5\3" + frame(1, 1, publish("q")) + frame(2, 1, header(5)) + frame(3, 1, b"hello")
    yield "bad-end", b"\4\2" + frame(1, 0, CHANNEL_OPEN, b"\xcd") + frame(8, 0)
    yield "bad-type", b"\4\2" + frame(8, 0) + frame(99, 1, b"\1\2\3")
    yield "too-large", b"\2\2" + frame(3, 1, b"x" * 80)
    yield "claims-4gib", b"\0\5" + struct.pack(">BHI", 3, 65535, 0xffffffff) + b"x" * 20


def methods():
    return METHODS.items()


def tables():
    def two(a, b):
        return bytes([255 * len(a) // max(1, len(a) + len(b))]) + a + b
    yield "empty", b"\0"
    yield "rich", bytes([128]) + pairs(RICH) * 2
    yield "arguments", two(pairs({"x-max-length": 10, "x-overflow": "reject-publish"}),
                           pairs({"x-max-length": Typed("l", 10), "x-overflow": "drop-head"}))
    yield "headers", b"\xff" + pairs({"x-match": "any-with-x", "CC": ["a", "b"], "n": 1})
    yield "deep-63", b"\xff" + pairs(nested(63))
    yield "deep-64", b"\xff" + pairs(nested(64))
    yield "deep-array", b"\xff" + pairs({"a": [[[[[[]]]]]]})
    yield "truncated", b"\xff" + pairs(RICH)[:-3]
    yield "nan", b"\x80" + pairs({"d": Typed("d", float("nan"))}) * 2
    yield "unknown-type", b"\xff\1kZ\0\0\0\0"


def properties():
    yield "none", header(0)
    yield "all", header(1000, ALL_PROPERTIES)
    yield "persistent", header(5, b"\x10\0\2")
    yield "headers", header(5, b"\x20\0" + table(RICH))
    yield "expiration", header(5, b"\x09\x00" + b"\7" + shortstr("1000"))
    yield "continuation", header(5, b"\0\1\0\0")
    yield "weight", struct.pack(">HHQ", 60, 1, 5) + b"\0\0"
    yield "truncated", header(5, ALL_PROPERTIES[:-4])
    yield "bad-headers", header(5, b"\x20\0" + longstr(b"\1kZ"))


def configs():
    yield "empty", b""
    yield "usual", (b"# a node\nlisteners.tcp.default = 5672\nlisteners.tcp.local = [::1]:5673\n"
                    b"default_pass = 'with # in it' # comment\nloopback_users.guest = false\n"
                    b"frame_max = 131072\nheartbeat = 30\nvm_memory_high_watermark.relative = 0.6\n"
                    b"disk_free_limit.absolute = 2GiB\nlog.console.level = warning\n")
    yield "idle", b"management.tcp.port = 15672\ncluster_formation.etcd.ssl_options.verify = none\n"
    yield "wrong", b"frame_max = 12\nno equals\nkey with spaces = 1\nhandshake_timeout = 10 years\n= x\nx =\n"
    yield "quotes", b"default_user = \"a\"\ndefault_vhost = 'open\ndefault_pass = 'a' b\ncluster_name = \"\"\n"
    yield "names", (b"loopback_users = none\nloopback_users.a\\.b = true\ndefault_user_tags.x = true\n"
                    b"default_user_tags.x = false\nlisteners.tcp = none\n")
    yield "numbers", (b"heartbeat = 99999999999999999999999\nfrage = 1\nmax_message_size = 1.5MB\n"
                      b"vm_memory_high_watermark.relative = .5\ndisk_free_limit.relative = 1e3\n"
                      b"max_message_size = 512MiB\nchannel_max = 0\nconsumer_timeout = 365d\n")
    yield "addresses", (b"cluster.listener = 127.0.0.1:0\nlisteners.tcp.a = ::1:1\nlisteners.tcp.b = [::1:2\n"
                        b"listeners.tcp.c = 1.2.3.4.5:1\nlisteners.tcp.d = :5672\nlisteners.tcp.e = 70000\n")
    yield "peers", (b"cluster_formation.peer_discovery_backend = classic_config\n"
                    b"cluster_formation.classic_config.nodes.1 = a@[::1]:5\n"
                    b"cluster_formation.classic_config.nodes.2 = b@c\n")
    yield "nul", b"default_user = a\0b\r\nheartbeat = 10\r\n"


# What command_put_*() and machine_snapshot() write (a queue with consumers, priorities, dead letters).
ENTRIES = [bytes.fromhex(text) for text in [
    ("0151000000000000e8030000000000000300000000000000010000000000000003000000740000000a04000031000000"
     "60ea000000000000ffffffffffffffff0500000000000000ffffffffffffffff0300000000000000000203000000646c"
     "780200000017000000010000000000000002000000a08601000000000074616702040000140000000200000000000000"
     "000000000000000000000000"),
    ("0151000000000000f203000000000000030000000000000004000000000000000400000088000000010100001e000000"
     "ffffffff020000000300000000016b000061206c6f6e67657220626f64790101010016000000f4010000020000000300"
     "000000016b000068656c6c6f010102001e000000ffffffff020000000300000000016b000061206c6f6e67657220626f"
     "64790101000016000000ffffffff020000000300000000016b000068656c6c6f"),
    ("0151000000000000060400000000000003000000000000000c0000000000000006000000b0000000010100001e000000"
     "ffffffff020000000300000000016b000061206c6f6e67657220626f64790101010016000000f4010000020000000300"
     "000000016b000068656c6c6f010102001e000000ffffffff020000000300000000016b000061206c6f6e67657220626f"
     "64790101000016000000ffffffff020000000300000000016b000068656c6c6f05010000140000000100000001000000"
     "000000000100000000000000060000000400000002000000"),
    ("015100000000000010040000000000000300000000000000120000000000000005000000a4000000010100001e000000"
     "ffffffff020000000300000000016b000061206c6f6e67657220626f64790101010016000000f4010000020000000300"
     "000000016b000068656c6c6f010102001e000000ffffffff020000000300000000016b000061206c6f6e67657220626f"
     "64790101000016000000ffffffff020000000300000000016b000068656c6c6f05020000140000000100000002000000"
     "000000000200000000000000"),
    ("01510000000000001a040000000000000300000000000000170000000000000001000000080000000b00000000000000"),
]]
SNAPSHOTS = [bytes.fromhex(text) for text in [
    ("57524e51010002f20705e80704020000000a0400003100000060ea000000000000ffffffffffffffff05000000000000"
     "00ffffffffffffffff0300000000000000000203000000646c78010300000000000000070301020201020028000000c8"
     "1f3403000092010000000014000201000202004e00f50300c81f14000301000302006c000000c81f3400000203000000"
     "000000000100000000000000000002a08d06120203746167020106020000010101000003000000000000000200000004"
     "000000000000000000000000000000"),
    ("57524e5101000486080d86080c040001050a0400003100000060ea000000000000ffffffffffffffff05000000000000"
     "00ffffffffffffffff0300000000000000000203000000646c78010300000000000000110301060401020028000000c8"
     "1f3403000092010000000014010100280000002834030000920100000000140101002800000028340300009201000000"
     "0014000203000202004e00f503020401c81f2900140100000303000302006c0000020401c81f29003401000000020300"
     "0000000000000100000000000000000002a08d061f030374616702020401000001020201000300000000000000020000"
     "0004000000000000000501000101080000000000050e0a02020100010208000102020002021300000200"),
    ("57524e510100069a0811860810050001090a0400003100000060ea000000000000ffffffffffffffff05000000000000"
     "00ffffffffffffffff0300000000000000000203000000646c78010300000000000000170301080401020028000000c8"
     "1f3403000092010000000014010100280000002834030000920100000000140101002800000028340300009201000000"
     "001401010028000000283403000092010000000014000204000202004e00f503030401c81f2901140101000304000302"
     "006c0000030401c81f290134010100000203000000000000000100000000000000000002a08d06240403746167020306"
     "020100010a00000003000000000000000200000004000000000000000501000101080000000000090e1e020201140102"
     "0814010202140202131400021a0a0102020a0202130a0002050a010100"),
]]


def _name(text):
    return struct.pack("<H", len(text)) + text


def _long(text):
    return struct.pack("<I", len(text)) + text


def _command(number, *fields):
    return struct.pack("<HB", number, 1) + b"".join(fields)


def _policy(name, definition, kind=0, priority=0):
    return _command(18, _name(b"/"), _name(name), bytes([kind]), _long(b""), b"\0", struct.pack("<q", priority),
                    _long(definition))


def _text(key, value):
    return bytes([len(key)]) + key + b"S" + struct.pack(">I", len(value)) + value


def _number(key, value):
    return bytes([len(key)]) + key + b"l" + struct.pack(">q", value)


_HA = _text(b"ha-mode", b"exactly") + _number(b"ha-params", 2)
_NODE = struct.Struct("<Q")
# Policies, settings, nodes, members.
CLUSTER_COMMANDS = {
    "policy": _policy(b"p", _HA + _number(b"max-length", 5)),
    "operator": _policy(b"o", _number(b"max-length", 3) + _text(b"ha-mode", b"all"), kind=1),
    "alternate": _policy(b"a", _text(b"alternate-exchange", b"amq.fanout"), priority=2),
    "clear_policy": _command(19, _name(b"/"), _name(b"p"), b"\0"),
    "parameter": _command(20, _name(b"/"), _name(b"shovel"), _name(b"s"), _long(b"{}")),
    "global_parameter": _command(20, _name(b""), _name(b""), _name(b"g"), _long(b"1")),
    "clear_parameter": _command(21, _name(b"/"), _name(b"shovel"), _name(b"s")),
    "vhost_limits": _command(22, _name(b"/"), struct.pack("<qq", -1, 2)),
    "user_limits": _command(23, _name(b"guest"), struct.pack("<qq", 1, 2)),
    "topic_permissions": _command(24, _name(b"guest"), _name(b"/"), _name(b"amq.topic"), _long(b"^a"), _long(b".*")),
    "clear_topic_permissions": _command(25, _name(b"guest"), _name(b"/"), _name(b"")),
    "vhost_metadata": _command(26, _name(b"/"), _long(b"d"), _long(b"t"), _name(b"quorum")),
    "join": _command(27, _NODE.pack(2), _name(b"b@host"), _name(b"h:1"), b"\0"),
    "second_up": _command(16, _NODE.pack(2), _NODE.pack(1), _name(b"b@host"), _name(b"h:1")),
    "join_ram": _command(27, _NODE.pack(3), _name(b"c@host"), _name(b"h:2"), b"\1"),
    "third_up": _command(16, _NODE.pack(3), _NODE.pack(1), _name(b"c@host"), _name(b"h:2")),
    "promoted": _command(31, _NODE.pack(1), _NODE.pack(2)),
    "down": _command(29, _NODE.pack(2), _NODE.pack(1)),
    "replace": _command(33, _NODE.pack(2)),
    "type": _command(30, _NODE.pack(2), b"\1"),
    "drained": _command(34, _NODE.pack(1), b"\1"),
    "prefer": _command(35, struct.pack("<I", 2), _NODE.pack(1), _NODE.pack(1), _NODE.pack(2), _NODE.pack(1)),
    "add_members": _command(36, _NODE.pack(3), struct.pack("<I", 2), _NODE.pack(1), _NODE.pack(2)),
    "delete_members": _command(37, _NODE.pack(3), struct.pack("<I", 2), _NODE.pack(1), _NODE.pack(2)),
    "forget": _command(28, _NODE.pack(2)),
    "gone": _command(32, _NODE.pack(1), _NODE.pack(2)),
}
COMMANDS = {name: bytes.fromhex(text) for name, text in {
    "add_vhost": "01000101002f1400000044656661756c74207669727475616c20686f7374000000000000",
    "add_user": "030001050067756573740400000068617368000d00000061646d696e6973747261746f72",
    "permissions": "0700010500677565737401002f020000002e2a020000002e2a020000002e2a",
    "queue": ("0d000101002f010071010000000000000000000000000000000000000000000000000100000000000000010000000000"
        "0000000000000000000000000000"),
    "bind": "0b000101002f0900616d712e746f706963000100710300612e2300000000",
    "unbind": "0c000101002f0900616d712e746f706963000100710300612e2300000000",
    "exchange": "09000101002f010078030000000000",
    "delete_exchange": "0a000101002f01007801",
    "delete_queue": "0e00010100000000000000",
    "node_up": "10000101000000000000000200000000000000" "06006140686f7374" "0000",
    "name": "0f0001010063",
    "delete_vhost": "02000101002f",
}.items()}


def queues():
    def raw(*parts):
        return b"".join(struct.pack("<H", len(p) | 0x8000) + p for p in parts)
    yield "entries", b"\x80" + raw(*ENTRIES)
    for i, s in enumerate(SNAPSHOTS):
        yield "snapshot-%d" % i, b"\xc0" + struct.pack("<H", len(s)) + s + b"\x85\0\1\x12\1\0\1"
    publish_two = b"\x01\x00\x05\x2d\x40ab\x2d\x40cd"
    attach = b"\x02\x00\x02\x01\x01\xff"
    yield "deliver", b"\0" + publish_two + attach + b"\x81\0\2\2\1\1\1" + b"\x05\0\2\2\5\2\1"
    yield "get", b"\0" + publish_two + b"\1\0\6\1\x11\0\x15\0" + b"\x81\0\2\2\x11\1\1"
    yield "limits", b"\0" + b"\0\0\0\x09\x25\x04\x08\x02\x03" + publish_two * 3 + b"\x7f\0\0\x0a" + publish_two
    yield "down", b"\0" + publish_two + attach + b"\x81\0\0\x0b\2" + attach + b"\1\0\0\x07"


def brokers():
    def raw(*names):
        return b"".join(b"\0" + struct.pack("<H", len(COMMANDS[n])) + COMMANDS[n] for n in names)
    yield "raw", raw(*COMMANDS)
    cluster = [b"\0" + struct.pack("<H", len(c)) + c for c in CLUSTER_COMMANDS.values()]
    begin = raw("add_vhost", "add_user", "node_up", "queue")
    yield "raw-cluster", begin + b"".join(cluster) + b"\x0e\x0f"
    yield "raw-cluster-stored", begin + b"".join(c + b"\x0e" for c in cluster) + b"\x13\0"
    yield "raw-cluster-whole", begin + b"".join(c + b"\x13\0" for c in cluster[:12]) + b"\x0e"
    yield "raw-cluster-damaged", begin + b"".join(cluster[:14]) + b"\x13\x01\x40\0\x13\x01\x90\0"
    yield "raw-bind", raw("queue", "bind", "unbind", "exchange", "delete_queue")
    queue, route = b"\x02\0%c\0\1\1", b"\x0c\0%c\0%s\0"
    topic = queue % 0 + queue % 1 + b"".join(b"\x03\0\x02\0%c%c\0" % (q, key) for q in (0, 1) for key in b"\xb6\xb7\xb8\xb9\xba\xbb")
    yield "topic", topic + b"".join(route % (2, b"%c" % n + b"a.b.c.d.e"[:n]) for n in range(10)) + b"\x0e\x0f" + topic
    yield "headers", (queue % 0 + b"\x03\0\x04\0\0\x80\x06\x01" + b"\x03\0\x04\0\0\x81\x02\x03"
                      + b"\x0c\0\x04\0\x80\x04" + b"\x0c\0\x04\0\x80\x20\x0e")
    yield "exchanges", (b"\x01\0\5\0\x09" + b"\x01\0\6\x01\x07\0" + queue % 0 + b"\x03\0\5\1\6\x80\0"
                        + b"\x03\0\6\0\0\x80\0" + b"\x0c\0\5\0\x80\0" + b"\x0e\x04\0\5\1\6\x80\0\x0e\x0f")
    yield "owners", b"\x02\0\0\0\2\x04" + b"\x02\0\1\0\0\x04" + b"\x0b\x05\x0b\x0a\x0e"
    yield "users", (b"\x09\x1b\x03bobxyz" + b"\x0a\x03bob\0\x45^q.*[" + b"\x0d\x03bob\0\x80\1" + b"\x0a\x03bob\0\x80"
                    + b"\x09\x00\x03bob\x0e")


def borders():
    """Steps: see fuzz_border.c."""
    attach, attach_getter, publish = b"\x0b\0\0", b"\x0b\x30\0", b"\x0b\x0b\x20ab"
    get, settle, cancel, ask, held_back = b"\x0b\2", b"\x0b\x08", b"\x0b\1", b"\x0b\4", b"\x4b"
    used = attach + attach_getter + publish * 3

    def told(kind, more=b"", by=3, consumer=0, number=8, seq=8, status=0, message=b"\x20ab"):
        """One event."""
        return (bytes([1 if by == 3 else 0x81, 0, kind | consumer * 16]) + message
                + bytes([number, seq, status]) + more)
    led = told(12, b"\x63")
    believed = led + told(10, b"\1")  # the honest follow the liar
    events = [(kind, b"\x08" if kind > 9 else b"") for kind in range(13)]
    yield "honest", used + get + settle + cancel + publish + ask + b"\x0b\3" + b"\x0b\x0a" + b"\x77"
    yield "deleted", used + b"\x0b\xf5" + publish + get
    yield "away", used + b"\xc8" + publish + b"\x47" * 4 + b"\x88" + publish
    for kind, more in events:
        yield "event-%d-stranger" % kind, used + told(kind, more) + publish
        yield "event-%d-leader" % kind, used + told(kind, more, by=1) + publish + get
        yield "event-%d-believed" % kind, used + believed + publish + get + told(kind, more) * 2 + b"\xf7"
    yield "given-up", used + believed + publish + b"\xf7" * 14 + publish + attach
    yield "bad-message", used + told(0, by=1, message=b"\x2a\1xab") + told(2, by=1, consumer=4, message=b"\x29\0ab")
    section = struct.Struct("<QQQII").pack
    command = struct.pack("<BBHI", 6, 0, 0, 0)
    liar, raw = 3 << 48 | 1 << 16, lambda what, octets: bytes([what]) + struct.pack("<H", len(octets)) + octets
    yield "raw-section", used + raw(6, section(liar, 1, 0, 1, 8) + command)
    yield "raw-section-short", used + raw(6, section(liar, 1, 0, 9, 8) + command)
    yield "raw-section-skips", used + raw(6, section(liar, 1, 0, 0xffffffff, 0)) + raw(6, section(liar, 9, 8, 1, 0))
    yield "raw-section-over", used + raw(6, section(liar, 1 << 63, (1 << 64) - 1, 1, 8) + command)
    resume = struct.Struct("<IIQI").pack
    yield "raw-resume", used + raw(0x46, resume(1, 1, liar, 1) + struct.pack("<IQ", 1, 0))
    yield "raw-resume-short", used + raw(0x46, resume(1, 1, liar, 0x15555556) + struct.pack("<IQ", 1, 0))
    yield "raw-resume-version", used + raw(0x46, resume(2, 1, liar, 0))
    event = struct.Struct("<IIQ").pack
    yield "raw-event-short", used + raw(0x80, event(1, 99, 5) + b"x" * 20)
    yield "raw-event-unknown", used + raw(0x80, event(10, 0, 5))
    yield "raw-event-empty", used + b"".join(raw(0x80, event(kind, 0, 5)) for kind in range(12))
    sections = b"".join(bytes([4, 3, 1, 9 + i, 8, kind]) for i, kind in enumerate((0, 0xa0, 2, 1, 3)))
    yield "sections", publish * 3 + sections + b"\5\3\1\1\0\x08" + b"\x59" + publish


def stores():
    def golden(name):
        with open(os.path.join(HERE, "..", "unit", "storage", "golden", name + ".hex")) as f:
            return bytes.fromhex("".join(f.read().split()))
    for i, name in enumerate(["meta", "hard", "snap", "row", "dir", "log"]):
        for sealed in (0, 1):
            yield "%s-%d" % (name, sealed), struct.pack("<BBQ", i, sealed, 7) + b"k" + golden(name)


def sessions():
    """stage, cut, steps: see fuzz_session.c."""
    def on(channel, *payloads):
        return b"".join(bytes([0, channel, len(p)]) + p for p in payloads)
    (nothing, greeted, started, tuned, opened, channel, declared, consuming, unacked, confirm, tx, reply,
     dead) = (bytes([n, 0]) for n in range(13))
    tick = b"\x0e\x15"
    for i in range(13):
        yield "stage-%d" % i, bytes([i, 0])
        yield "stage-%d-pieces" % i, bytes([i, 129 + i % 4]) + b"\x0b\x08\x08\0\0\2ab"
    handshake = rawamqp.PROTOCOL_HEADER + frame(1, 0, AMQPLAIN) + frame(1, 0, TUNE_OK) + frame(1, 0, OPEN)
    yield "raw-handshake", b"\0\x81" + b"\7" + bytes([len(handshake)]) + handshake
    yield "other-protocol", nothing + b"\7\x10HTTP/1.1 GET / \n"
    yield "bad-login", greeted + on(0, START_OK.replace(b"\0guest\0guest", b"\0guest\0wrong"))
    yield "vhost-missing", tuned + on(0, OPEN.replace(b"\1/", b"\1x"))
    yield "all-methods", channel + b"".join(on(1, p) for p in METHODS.values() if len(p) < 256)
    yield "exchange", channel + on(1, exchange("x", "topic", 2), declare("q2", 0, {"x-max-priority": 3}),
                                   bind("q2", "x", "k"), METHODS["exchange-bind"], METHODS["exchange-delete"])
    yield "arguments", channel + on(1, declare("q3", 0, {"x-max-length": 1, "x-overflow": "reject-publish"}),
                                    declare("q3", 0, {"x-max-length": 2}))
    yield "publish-frames", declared + (on(1, publish("q", "", 3)) + b"\4\1\x0e" + header(5) + b"\5\1\5hello")
    yield "publish-two-channels", declared + (on(2, CHANNEL_OPEN) + on(1, publish("q")) + on(2, publish("q"))
                                              + b"\4\2\x0e" + header(2) + b"\4\1\x0e" + header(2)
                                              + b"\5\2\1a\5\1\1b\5\2\1c\5\1\1d")
    yield "unexpected-body", declared + b"\5\1\1a"
    yield "heartbeats", opened + b"\6\x08\0\0" + b"\x0e\x56" + b"\x0e\xfe" + b"\x0e\xfe"
    yield "settle", unacked + b"\x0a\x10\x0a\x29\x0a\x1a" + on(1, settle((60, 80), 0, 1)) + b"\x0b\x08"
    yield "recover", unacked + b"\x0a\x0b\x0b\x09\x0a\x34"
    yield "confirm", confirm + b"\x08\1\0\1a\xc8\x0d\1\0\1b\x08\x1c\0\0\x0b\x08"
    yield "tx", tx + b"\x08\0\0\1a\x0b\5\x08\0\0\1b\x0b\6\x0b\x08\x0a\x10\x0b\5"
    yield "reply-to", reply + (b"\x08\0\4\0\1a\x0b\x08" + b"\x0e\x13\6\x0b\x08"
                               + on(1, publish("amq.rabbitmq.reply-to.x")))
    yield "dead-letters", dead + b"\x0e\x46\x0b\x92\x08\4\0\1z\x08\4\0\1y\x08\4\3\1x" + tick
    yield "exclusive", channel + b"\x0b\x27\x0e\x13\6\x0e\x17\x0b\x27\x0e\2"
    yield "stalled", unacked + b"\x0e\0" + b"\x08\x40\0\0" * 6 + b"\x0a\x24\x0e\1"
    yield "alarm", declared + b"\x0e\x44\x08\0\0\1a\x0e\x04\x0b\x08"
    yield "three-clients", consuming + b"\x0e\x13\7\x0e\x23\x08\x0e\7" + b"\x08\0\0\1a" * 6 + b"\x0e\x12\x0e\x02"
    yield "gone-in-content", declared + on(1, publish("q")) + b"\4\1\x0e" + header(50) + b"\5\1\5hello\x0e\2"
    yield "channels", opened + b"".join(on(n, CHANNEL_OPEN) for n in (1, 2, 3, 241)) + b"\x0b\1\x0b\x46\x0b\0"
    def queue(flags, more=b""):
        return b"\x0b\x13" + struct.pack("<H", flags) + more
    for bit in range(14):
        yield "declare-%d" % bit, channel + queue(1 << bit, b"\2") + b"\x08\x09\0\1a" * 3 + tick + queue(0)
    yield "reject", confirm + queue(0x1006, b"\1") + b"\x08\x09\0\1a" * 3
    yield "auto-delete", channel + queue(0x0c00) + on(1, consume("f", "t")) + b"\x0b\x09"
    yield "expires", channel + queue(0x0401, b"\1") + b"\x0e\xfe" + queue(0x0401, b"\1")
    yield "single-active", channel + queue(0x1410) + on(1, consume("f", "a"), consume("f", "b")) + b"\x08\x09\0\1a" * 2
    yield "delivery-limit", channel + queue(0x0560, b"\1") + b"\x08\x09\0\1a" + on(1, get("f")) + b"\x0a\x19" * 3
    yield "cc", declared + b"\x08\x0c\5\1a\x08\1\5\1a\x0b\x08"
    yield "reply", (reply + b"\x08\0\4\1a\x0b\x08" + b"\x0b\x14\1\x0b\x14\0" + b"\x0e\x13\6\x0b\x14\0\x0b\x14\1"
                    + b"\x0e\2\x0b\x14\0")
    there, nowhere = (on(1, declare("amq.rabbitmq.reply-to.%d.0.5" % node, 1)) for node in (2, 3))
    yield "reply-nodes", (reply + b"\x0e\x0f\x02\1a" + b"\x0e\x0f\x06\6\0\0\1\0\0\0" + there + b"\x0e\x0f\x08\5\1\0\0\0\1"
                          + there + b"\x0e\x0f\xf0" + nowhere + there + b"\x0e\xfe"
                          + on(1, publish("amq.rabbitmq.reply-to.2.0.5")) + b"\4\1\x0e" + header(1) + b"\5\1\1a")
    yield "flood-stalled", consuming + b"\x0e\0\x0b\x15\x1f\x0e\1\x0a\x04"
    yield "flood-gone", consuming + b"\x0e\0\x0b\x15\x1f\x0e\2"
    yield "delete-under-consumer", consuming + b"\x0b\x0b\x08\0\0\1a\x0b\x0c"


def wires():
    """tests/fuzz/fuzz_wire.c"""
    def message(kind, body, flags=0, version=1):
        return struct.pack("<BBHIQQQQ", version, kind, flags, 40 + len(body), 7, 3, 1, 2) + body
    def entries(*sizes):
        return (struct.pack("<II", len(sizes), 0) + b"".join(struct.pack("<QIB3x", 2, n, 1) for n in sizes)
                + b"".join(b"e" * n for n in sizes))
    u64 = struct.Struct("<Q").pack
    bodies = {1: u64(5) + u64(2) + u64(4) + entries(3, 0, 8), 2: u64(0) + u64(9), 3: u64(9) + u64(2), 4: b"",
              5: u64(9) + u64(2), 6: u64(9) + u64(2), 7: u64(9), 8: u64(9),
              9: u64(1) * 6 + struct.pack("<II", 4, 0) + b"conf", 10: u64(1) + u64(0) + b"state",
              11: u64(1) + u64(0) + entries(5), 12: u64(1) * 3}
    for kind, body in bodies.items():
        yield "decode-%d" % kind, b"\0" + message(kind, body)
    yield "decode-version", b"\0" + message(4, b"", version=2)
    yield "decode-short", b"\0" + message(3, b"123")
    for kind in range(12):
        for name, near in (("same", 8), ("newer", 10), ("older", 6)):
            told = bytes([0, kind, 0, near, 8, near, 8, 1, 8, 5, 1])
            more = b"\2" + bytes([near, 1, 3]) + b"abc" + bytes([near, 2, 0]) + b"\x14"
            yield "group-%d-%s" % (kind + 1, name), b"\x80" + (told + more) * 3


def links():
    def part(kind, body):
        return b"WRNL" + struct.pack("<BBH", kind, 0, len(body)) + body

    def hello(low=1, high=1, name=b"warren@x", product=b"0.1", kind=1, more=b""):
        return part(1, struct.pack("<HHB", low, high, len(name)) + name + bytes([len(product)]) + product
                    + struct.pack("<BQQQ", kind, 7, 3, 4) + b"n" * 32 + more)

    def refused(code, text):
        return part(3, bytes([code, len(text)]) + text)

    def honest(mode, n, more=b""):
        return struct.pack("<BBH", mode, 5, n) + more

    for mode, who in ((4, "acceptor"), (5, "dialler")):
        yield who + "-bound", honest(mode, 9999)
        yield who + "-bound-elsewhere", honest(mode + 4, 9999)
    for mode, who in ((0, "acceptor"), (1, "dialler")):
        yield who + "-honest", honest(mode, 9999)
        yield who + "-honest-and-more", honest(mode, 9999, b"\0" * 8)
        yield who + "-another-proof", honest(mode, 80 if mode else 90, hello() + part(2, b"p" * 32))
        yield who + "-hello", honest(mode, 0, hello() + part(2, b"p" * 32))
        yield who + "-tool", honest(mode, 0, hello(kind=2) + part(2, b"p" * 31))
        yield who + "-later", honest(mode, 0, hello(high=9, more=b"what version 9 adds"))
        yield who + "-too-late", honest(mode, 0, hello(8, 9))
        yield who + "-long-names", honest(mode, 0, hello(8, 9, b"\x01" * 255, b"9" * 63))
        yield who + "-refused", honest(mode, 0, refused(7, b"we are linked already"))
        yield who + "-amqp", honest(mode, 0, b"AMQP\0\0\x09\x01")
        yield who + "-huge", honest(mode, 0, b"WRNL\1\0\xff\xff")

    def fragment(lane, flags, body, total=None):
        if total is not None:
            body = struct.pack("<I", total) + body
        return struct.pack("<IBBH", len(body), lane, flags, 0) + body

    envelope = struct.pack("<BBHIQ", 2, 1, 0, 0, 77)
    whole = fragment(2, 3, envelope + b"section", len(envelope) + 7)
    yield "lanes-whole", b"\2\x09" + whole * 3
    yield "lanes-heartbeats", b"\2\x09" + fragment(0, 0, b"") * 4 + whole
    yield "lanes-interleaved", (b"\2\x09" + fragment(3, 1, envelope, 48) + whole + fragment(3, 0, b"x" * 16)
                                + fragment(0, 0, b"") + fragment(1, 3, envelope, 16) + fragment(3, 2, b"y" * 16))
    yield "lanes-goodbye", b"\2\x09" + whole + fragment(0, 4, b"warren@x stops") + whole
    yield "lanes-large", b"\2\x09" + fragment(1, 1, envelope, 1 << 30)
    yield "lanes-too-large", b"\2\x09" + fragment(1, 1, envelope, (1 << 30) + 1)
    yield "lanes-faults", b"\2\x09" + whole + fragment(2, 0, b"x")
    def reply(text, size=None):
        data = text if isinstance(text, bytes) else json.dumps(text).encode()
        return b"\x80\x07" + struct.pack(">I", len(data) if size is None else size) + data

    node = {"id": "89abcdef01234567", "name": "w1@host", "address": "host:25672", "type": "disc"}
    members = {"cluster_id": "0123456789abcdef", "nodes": [node, dict(node, id="1", type="ram")]}
    yield "reply-members", reply({"ok": True, "result": members})
    yield "reply-nobody", reply({"ok": True, "result": dict(members, nodes=[])})
    yield "reply-no-id", reply({"ok": True, "result": dict(members, cluster_id="0")})
    yield "reply-lines", reply({"ok": True, "result": dict(members, nodes=[dict(node, name="w1@host\nnode 1")])})
    yield "reply-long", reply({"ok": True, "result": dict(members, nodes=[dict(node, address="h" * 300)])})
    yield "reply-nul", reply({"ok": True, "result": dict(members, nodes=[dict(node, name="w\0")])})
    yield "reply-types", reply({"ok": 1, "result": {"cluster_id": 7, "nodes": {"0": 1}}})
    yield "reply-error", reply({"ok": False, "error": "refused", "message": "no"})
    yield "reply-deep", reply(b"[" * 3000)
    yield "reply-not-json", reply(b"\xff\xfe{")
    yield "reply-short", reply({"ok": True}, 60000)
    yield "reply-too-long", reply({"ok": True}, 70000)
    yield "messages", b"\3" + b"".join(struct.pack("<BHB", i % 4, i * 1777 % 65536, i) for i in range(60))


SEEDS = {"frame": frames, "method": methods, "table": tables, "props": properties, "config": configs,
         "queue": queues, "session": sessions, "link": links, "border": borders,
         "broker": brokers, "store": stores, "wire": wires}


def main():
    for what in sys.argv[1:] or SEEDS:
        folder = os.path.join(HERE, "corpus", what)
        os.makedirs(folder, exist_ok=True)
        for name, data in SEEDS[what]():
            with open(os.path.join(folder, name), "wb") as f:
                f.write(data)
        print(what, len(glob.glob(os.path.join(folder, "*"))), "files")


if __name__ == "__main__":
    main()
