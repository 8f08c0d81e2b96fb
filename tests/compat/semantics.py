#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What AMQP 0-9-1 and RabbitMQ's extensions promise, tested over the wire.

usage: semantics.py [-v] [Class[.test]]...

A fresh warrend is started for the run; with COMPAT_URL the tests use that
broker (see broker.py), and then answers that RabbitMQ 3.10 gives and Warren,
following 4.x, does not are accepted too: look for `self.old_rabbit`.
"""

import concurrent.futures
import contextlib
import datetime
import os
import re
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import unittest

from broker import Broker, exit_on_sigterm, find_python

try:
    import pika
    from pika.exceptions import (AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker, NackError,
                                 ProbableAuthenticationError, UnroutableError)
except ImportError:
    _python = find_python("pika")
    if not _python:
        print("no Python module pika")
        sys.exit(77)
    os.execv(_python, [_python] + sys.argv)

import rawamqp
from rawamqp import Raw, Typed, longstr, shortstr, table

TEST_SECONDS = 120  # a machine with much else to do is slow, but not still
WAIT_SECONDS = 30
REPLY_TO = "amq.rabbitmq.reply-to"

broker = None
_log = ""  # what the broker logged, once it is gone


def setUpModule():
    global broker
    exit_on_sigterm()
    signal.signal(signal.SIGALRM, _too_long)
    directory = tempfile.mkdtemp(prefix="warren-semantics-")
    unittest.addModuleCleanup(shutil.rmtree, directory, ignore_errors=True)
    broker = Broker(os.path.join(directory, "data"))
    broker.start()
    unittest.addModuleCleanup(_stop)


def _stop():
    global _log
    try:
        broker.stop()
    finally:
        broker.kill()
        _log = broker.log_tail()


def _too_long(*_):
    raise TimeoutError("the broker did not answer in time")


def persistent(**properties):
    return pika.BasicProperties(delivery_mode=2, **properties)


def cut(text):
    """A reply text as RabbitMQ fits it into a short string."""
    data = text.encode()
    return text if len(data) <= 255 else data[:252].decode() + "..."


class Deliveries(list):
    """What a consumer got: (method, properties, body)."""

    tag = None

    def add(self, _channel, method, properties, body):
        self.append((method, properties, body))

    @property
    def bodies(self):
        return [body for _, _, body in self]

    @property
    def tags(self):
        return [method.delivery_tag for method, _, _ in self]


class Case(unittest.TestCase):
    """Connections, names and expectations; everything made here is removed after the test."""

    maxDiff = None
    longMessage = True

    def setUp(self):
        signal.alarm(TEST_SECONDS)
        self.addCleanup(signal.alarm, 0)
        self.addCleanup(self._check_broker)
        self.names = 0
        self.made = []
        self.connections = []
        self.addCleanup(self._remove)
        self.old_rabbit = broker.external
        self.connection = self.connect()
        self.ch = self.connection.channel()

    def _check_broker(self):
        if not broker.alive():
            log = broker.log_tail()
            broker.kill()
            broker.start()
            self.fail("the broker died\n" + log)

    def _remove(self):
        for connection in self.connections:
            signal.alarm(WAIT_SECONDS)
            with contextlib.suppress(AMQPError, OSError):
                connection.close()
        if not self.made or not broker.alive():
            return
        signal.alarm(TEST_SECONDS)
        with contextlib.closing(pika.BlockingConnection(self.parameters())) as admin:
            for kind, name in self.made:
                with contextlib.suppress(ChannelClosedByBroker):
                    getattr(admin.channel(), kind + "_delete")(name)

    def parameters(self, **options):
        parameters = pika.URLParameters(broker.url)
        parameters.socket_timeout = parameters.stack_timeout = WAIT_SECONDS
        parameters.blocked_connection_timeout = WAIT_SECONDS
        for key, value in options.items():
            setattr(parameters, key, value)
        return parameters

    def connect(self, **options):
        connection = pika.BlockingConnection(self.parameters(**options))
        self.connections.append(connection)
        return connection

    def raw(self):
        raw = Raw(broker.host, broker.port)
        self.addCleanup(raw.close)
        return raw

    def opened(self, **options):
        """A raw connection, with channel 1 open."""
        raw = self.raw().open(**{"user": broker.user, "password": broker.password, **options})
        raw.open_channel(1)
        return raw

    def name(self, kind="queue"):
        self.names += 1
        name = "semantics.%s.%d" % (self._testMethodName, self.names)
        self.made.append((kind, name))
        return name

    def queue(self, arguments=None, **options):
        name = self.name()
        self.ch.queue_declare(name, arguments=arguments, **options)
        return name

    def exchange(self, kind="fanout", **options):
        name = self.name("exchange")
        self.ch.exchange_declare(name, kind, **options)
        return name

    def publish(self, key, *bodies, exchange="", channel=None, properties=None, **fields):
        for body in bodies:
            (channel or self.ch).basic_publish(exchange, key, body, properties or pika.BasicProperties(**fields))

    def get(self, queue, auto_ack=True, channel=None):
        """basic.get until there is a message: (method, properties, body)."""
        found = []

        def there():
            message = (channel or self.ch).basic_get(queue, auto_ack=auto_ack)
            if message[0]:
                found.append(message)
            return found

        self.wait(there, "a message in " + queue)
        return found[0]

    def drain(self, queue):
        bodies = []
        while True:
            method, _, body = self.ch.basic_get(queue, auto_ack=True)
            if not method:
                return bodies
            bodies.append(body)

    def count(self, queue):
        return self.ch.queue_declare(queue, passive=True).method.message_count

    def consumers(self, queue):
        return self.ch.queue_declare(queue, passive=True).method.consumer_count

    def wait_count(self, queue, count):
        self.wait(lambda: self.count(queue) == count, "%d messages in %s" % (count, queue))

    def exists(self, kind, name):
        """Is there such a queue or exchange? Asked on a channel of its own."""
        channel = self.connection.channel()
        try:
            getattr(channel, kind + "_declare")(name, passive=True)
        except ChannelClosedByBroker as e:
            self.assertEqual(e.reply_code, 404, e.reply_text)
            return False
        channel.close()
        return True

    def wait(self, condition, what, seconds=WAIT_SECONDS):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                self.fail("not within %g s: %s" % (seconds, what))
            time.sleep(0.01)

    def consume(self, queue, channel=None, **options):
        deliveries = Deliveries()
        deliveries.tag = (channel or self.ch).basic_consume(queue, deliveries.add, **options)
        return deliveries

    def pump(self, *connections):
        for connection in connections or [self.connection]:
            connection.process_data_events(time_limit=0.01)

    def wait_deliveries(self, deliveries, count, connection=None):
        def enough():
            self.pump(connection or self.connection)
            return len(deliveries) >= count

        self.wait(enough, "%d deliveries" % count)
        self.assertEqual(len(deliveries), count, "deliveries")

    def settle(self, *connections):
        """Give deliveries that should not come a moment to come all the same."""
        for _ in range(5):
            self.pump(*connections)

    def match(self, text, expected):
        if isinstance(expected, re.Pattern):
            self.assertRegex(text, expected)
        else:
            self.assertEqual(text, expected)

    @contextlib.contextmanager
    def channel_error(self, code, text, channel=None):
        """The body, or the method behind it, closes the channel with that code and text."""
        channel = channel or self.ch
        try:
            yield
            channel.exchange_declare("amq.direct", passive=True)
        except ChannelClosedByBroker as e:
            self.match(e.reply_text, text)
            self.assertEqual(e.reply_code, code)
        else:
            self.fail("no channel error %d %s" % (code, text))
        self.assertTrue(channel.connection.is_open, "the connection closed too")
        if channel is self.ch:
            self.ch = self.connection.channel()

    @contextlib.contextmanager
    def connection_error(self, code, text, channel=None):
        channel = channel or self.ch
        try:
            yield
            channel.exchange_declare("amq.direct", passive=True)
        except ConnectionClosedByBroker as e:
            self.match(e.reply_text, text)
            self.assertEqual(e.reply_code, code)
        else:
            self.fail("no connection error %d %s" % (code, text))
        if channel is self.ch:
            self.connection = self.connect()
            self.ch = self.connection.channel()

    def login_refused(self, raw, code, text, method=None):
        """As raw_close; RabbitMQ 3.10 just closes the socket, after three seconds."""
        if self.old_rabbit:
            self.assertEqual(raw.wait_closed(), b"")
        else:
            self.raw_close(raw, code, text, method)

    def raw_close(self, raw, code, text=None, method=None, soft=False):
        """The next thing on the raw connection is a close with that code and text."""
        got = raw.expect_close(rawamqp.CHANNEL_CLOSE if soft else rawamqp.CLOSE)
        self.assertEqual(got[0], code, got[1])
        if text is not None:
            self.match(got[1], text)
        if method is not None:
            self.assertEqual(got[2], method, "failed method")


class TestHandshake(Case):
    def test_wrong_protocol_header_is_answered_with_amqp0091_and_closed(self):
        for header in (b"AMQP\0\0\x0a\0", b"AMQP\0\x09\x09\x09", b"GET / HTTP/1.1\r\n\r\n"):
            with self.subTest(header=header):
                raw = self.raw()
                raw.send(header)
                self.assertEqual(raw.wait_closed(), b"AMQP\0\0\x09\x01")

    def test_start_offers_version_0_9_plain_amqplain_and_en_us(self):
        raw = self.raw().open(user=broker.user, password=broker.password)
        self.assertEqual(raw.version, (0, 9))
        self.assertTrue({b"PLAIN", b"AMQPLAIN"} <= set(raw.mechanisms.split()), raw.mechanisms)
        self.assertIn(b"en_US", raw.locales.split())

    def test_server_properties(self):
        properties = self.raw().open(user=broker.user, password=broker.password).server_properties
        for key in ("product", "version", "platform", "cluster_name", "copyright", "information"):
            self.assertEqual(properties[key][0], "S", key)
            self.assertTrue(properties[key][1], key)

    def test_server_capabilities(self):
        properties = self.raw().open(user=broker.user, password=broker.password).server_properties
        self.assertEqual(properties["capabilities"], ("F", {name: ("t", True) for name in (
            "publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify",
            "connection.blocked", "consumer_priorities", "authentication_failure_close", "per_consumer_qos",
            "direct_reply_to")}))

    def test_tune_defaults(self):
        raw = self.raw()
        raw.handshake(broker.user, broker.password)
        self.assertEqual(raw.receive_tune(), (2047, 131072, 60))

    def test_amqplain_login(self):
        response = table({"LOGIN": broker.user, "PASSWORD": broker.password})[4:]
        self.raw().open(mechanism="AMQPLAIN", response=response)

    def test_bad_password_with_authentication_failure_close_gets_403(self):
        raw = self.raw()
        raw.handshake(broker.user, "wrong", capabilities={"authentication_failure_close": True})
        self.raw_close(raw, 403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
                       "For details see the broker logfile.")

    def test_bad_amqplain_password_names_that_mechanism(self):
        raw = self.raw()
        raw.handshake(mechanism="AMQPLAIN", response=table({"LOGIN": broker.user, "PASSWORD": "wrong"})[4:],
                      capabilities={"authentication_failure_close": True})
        self.raw_close(raw, 403, "ACCESS_REFUSED - Login was refused using authentication mechanism AMQPLAIN. "
                       "For details see the broker logfile.")

    def test_unknown_user_gets_the_same_answer_as_a_bad_password(self):
        raw = self.raw()
        raw.handshake("nobody", "wrong", capabilities={"authentication_failure_close": True})
        self.raw_close(raw, 403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
                       "For details see the broker logfile.")

    def test_bad_password_without_the_capability_just_closes_the_socket(self):
        raw = self.raw()
        raw.handshake(broker.user, "wrong")
        self.assertEqual(raw.wait_closed(), b"")

    def test_blank_password_cannot_log_in(self):
        raw = self.raw()
        raw.handshake(broker.user, "", capabilities={"authentication_failure_close": True})
        self.raw_close(raw, 403)

    def test_bad_password_in_pika(self):
        with self.assertRaises(ProbableAuthenticationError):
            self.connect(credentials=pika.PlainCredentials(broker.user, "wrong"))

    def test_unknown_mechanism_503(self):
        raw = self.raw()
        raw.handshake(mechanism="X-NONE", capabilities={"authentication_failure_close": True})
        self.login_refused(raw, 503, "COMMAND_INVALID - unknown authentication mechanism 'X-NONE'")

    def test_unknown_vhost_530(self):
        raw = self.raw()
        raw.handshake(broker.user, broker.password)
        raw.receive_tune()
        raw.send_tune_ok()
        raw.send_open("missing")
        self.raw_close(raw, 530, "NOT_ALLOWED - vhost missing not found", rawamqp.OPEN)

    def test_method_before_start_ok_closes(self):
        raw = self.raw()
        raw.send(rawamqp.PROTOCOL_HEADER)
        raw.expect(rawamqp.START)
        raw.method(0, rawamqp.OPEN, shortstr("/") + shortstr("") + b"\0")
        raw.wait_closed()

    def test_update_secret_is_answered(self):
        raw = self.opened()
        raw.call(0, (10, 70), longstr(broker.password) + shortstr("refresh"), (10, 71))

    def test_connection_close_is_answered(self):
        raw = self.raw().open(user=broker.user, password=broker.password)
        raw.call(0, rawamqp.CLOSE, struct.pack(">H", 200) + shortstr("bye") + b"\0\0\0\0", rawamqp.CLOSE_OK)


class TestTuning(Case):
    def tuned(self, **options):
        """A connection whose tune-ok asks for these."""
        raw = self.raw()
        raw.handshake(broker.user, broker.password)
        raw.receive_tune()
        raw.send_tune_ok(**options)
        return raw

    def test_channel_max_above_the_offer_530(self):
        self.login_refused(self.tuned(channel_max=2048), 530, "NOT_ALLOWED - negotiated channel_max = 2048 is higher "
                       "than the maximum allowed value (2047)", rawamqp.TUNE_OK)

    def test_channel_max_0_is_no_limit_530(self):
        self.login_refused(self.tuned(channel_max=0), 530, "NOT_ALLOWED - negotiated channel_max = no limit is higher "
                       "than the maximum allowed value (2047)")

    def test_frame_max_above_the_offer_530(self):
        self.login_refused(self.tuned(frame_max=131073), 530, "NOT_ALLOWED - negotiated frame_max = 131073 is higher "
                       "than the maximum allowed value (131072)")

    def test_frame_max_below_the_minimum_530(self):
        self.login_refused(self.tuned(frame_max=4095), 530, "NOT_ALLOWED - negotiated frame_max = 4095 is lower "
                       "than the minimum allowed value (4096)")

    def test_frame_max_4096_is_accepted_and_kept_to(self):
        raw = self.opened(frame_max=4096)
        queue = raw.declare(1, "", bits=4)
        body = bytes(range(256)) * 80
        raw.publish(1, queue, body, frame_max=4096)
        raw.method(1, rawamqp.GET, b"\0\0" + shortstr(queue) + b"\1")
        raw.expect(rawamqp.GET_OK)
        raw.receive_frame()
        got = b""
        while len(got) < len(body):
            _, _, part = raw.receive_frame()
            self.assertLessEqual(len(part), 4096 - 8)
            got += part
        self.assertEqual(got, body)

    def test_more_channels_than_negotiated_530(self):
        raw = self.raw().open(user=broker.user, password=broker.password, channel_max=2)
        raw.open_channel(1)
        raw.open_channel(2)
        raw.method(3, rawamqp.CHANNEL_OPEN, shortstr(""))
        self.raw_close(raw, 530, "NOT_ALLOWED - number of channels opened (2) has reached the negotiated "
                       "channel_max (2)")


class TestPatience(Case):
    def test_what_takes_seconds(self):
        """At the same time, each on a connection of its own."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            futures = [(what, pool.submit(what)) for what in (
                self.login_has_to_be_done_within_ten_seconds,
                self.broker_sends_heartbeats_at_half_the_interval,
                self.silent_peer_is_dropped_after_two_intervals,
                self.heartbeat_0_sends_none,
                self.other_traffic_counts_as_heartbeat)]
        for what, future in futures:
            with self.subTest(what.__name__):
                future.result()

    def login_has_to_be_done_within_ten_seconds(self):
        raw = self.raw()
        begin = time.monotonic()
        raw.wait_closed(10 + WAIT_SECONDS)
        self.assertGreater(time.monotonic() - begin, 8)

    def broker_sends_heartbeats_at_half_the_interval(self):
        raw = self.raw().open(user=broker.user, password=broker.password, heartbeat=2)
        for _ in range(2):
            kind, channel, payload = raw.receive_frame(6)
            self.assertEqual((kind, channel, payload), (rawamqp.HEARTBEAT, 0, b""))
            raw.frame(rawamqp.HEARTBEAT, 0)

    def silent_peer_is_dropped_after_two_intervals(self):
        raw = self.raw().open(user=broker.user, password=broker.password, heartbeat=1)
        begin = time.monotonic()
        raw.wait_closed()
        self.assertGreater(time.monotonic() - begin, 0.9)

    def heartbeat_0_sends_none(self):
        raw = self.raw().open(user=broker.user, password=broker.password, heartbeat=0)
        with self.assertRaises(TimeoutError):
            raw.receive_frame(1.5)

    def other_traffic_counts_as_heartbeat(self):
        raw = self.opened(heartbeat=2)
        begin = time.monotonic()
        while time.monotonic() - begin < 6:
            raw.get(1, raw.declare(1, "", bits=4))
            time.sleep(0.3)


class TestHeartbeat(Case):
    def test_heartbeat_on_channel_1_is_505(self):
        raw = self.opened()
        raw.frame(rawamqp.HEARTBEAT, 1)
        self.raw_close(raw, 505, re.compile("^UNEXPECTED_FRAME - "))


class TestFrames(Case):
    def test_wrong_end_octet_501(self):
        raw = self.opened()
        raw.frame(rawamqp.METHOD, 1, struct.pack(">HH", *rawamqp.CHANNEL_OPEN) + b"\0", end=b"\xcd")
        self.raw_close(raw, 501, re.compile("^FRAME_ERROR - "))

    def test_oversize_frame_501(self):
        raw = self.opened(frame_max=4096)
        queue = raw.declare(1, "", bits=4)
        raw.publish(1, queue, bytes(5000), frame_max=131072)
        self.raw_close(raw, 501, re.compile("^FRAME_ERROR - type 3, (all|first 16) octets = "))

    def test_unknown_frame_type_is_refused(self):
        raw = self.opened()
        raw.frame(7, 1, b"")
        code, text, _ = raw.expect_close()
        self.assertIn(code, (501, 505), text)

    def test_unknown_method_closes_the_connection(self):
        raw = self.opened()
        raw.method(1, (99, 99))
        if self.old_rabbit:  # it crashes the connection
            raw.wait_closed()
        else:
            self.raw_close(raw, 503, re.compile("^COMMAND_INVALID - "))

    def test_truncated_method_arguments_close_the_connection(self):
        raw = self.opened()
        raw.method(1, rawamqp.QUEUE_DECLARE, b"\0\0\x09abc")
        code, text, _ = raw.expect_close()
        self.assertIn(code, (501, 502, 541) if self.old_rabbit else (501, 502), text)

    def test_method_where_a_content_header_is_due_505(self):
        raw = self.opened()
        raw.method(1, rawamqp.PUBLISH, b"\0\0" + shortstr("") + shortstr("x") + b"\0")
        raw.method(1, rawamqp.CONFIRM_SELECT, b"\0")
        self.raw_close(raw, 505, re.compile("^UNEXPECTED_FRAME - "))

    def test_content_where_a_method_is_due_505(self):
        raw = self.opened()
        raw.frame(rawamqp.BODY, 1, b"x")
        self.raw_close(raw, 505, re.compile("^UNEXPECTED_FRAME - "))

    def test_content_header_of_another_class_505(self):
        raw = self.opened()
        raw.method(1, rawamqp.PUBLISH, b"\0\0" + shortstr("") + shortstr("x") + b"\0")
        raw.frame(rawamqp.HEADER, 1, struct.pack(">HHQH", 50, 0, 0, 0))
        self.raw_close(raw, 505, re.compile("^UNEXPECTED_FRAME - "))

    def test_body_longer_than_announced_is_refused(self):
        raw = self.opened()
        raw.method(1, rawamqp.PUBLISH, b"\0\0" + shortstr("") + shortstr("x") + b"\0")
        raw.frame(rawamqp.HEADER, 1, struct.pack(">HHQH", 60, 0, 2, 0))
        raw.frame(rawamqp.BODY, 1, b"four")
        if not self.old_rabbit:  # it waits for ever
            code, text, _ = raw.expect_close()
            self.assertIn(code, (501, 505), text)

    def test_reserved_connection_0_for_a_channel_method_is_refused(self):
        raw = self.opened()
        raw.method(0, rawamqp.QUEUE_DECLARE, b"\0\0" + shortstr("x") + b"\0" + table({}))
        code, text, _ = raw.expect_close()
        self.assertIn(code, (503, 504), text)

    def test_all_field_types_survive_a_round_trip(self):
        sent = {"t": Typed("t", True), "b": Typed("b", -2), "B": Typed("B", 200), "s": Typed("s", -300),
                "u": Typed("u", 60000), "I": Typed("I", -70000), "i": Typed("i", 4000000000),
                "l": Typed("l", -(1 << 40)), "f": Typed("f", 2.5), "d": Typed("d", -0.25),
                "D": Typed("D", (2, 314)), "S": Typed("S", b"text \xff"), "x": Typed("x", b"\0\1"),
                "T": Typed("T", 1700000000), "V": Typed("V", None), "A": Typed("A", [1, "two", [True]]),
                "F": Typed("F", {"inner": Typed("F", {})})}
        raw = self.opened()
        queue = raw.declare(1, "", bits=4)
        raw.publish(1, queue, b"", properties=struct.pack(">H", 1 << 13) + table(sent))
        _, properties, _ = raw.get(1, queue)
        self.assertEqual(properties[:2], struct.pack(">H", 1 << 13))
        got = rawamqp.Reader(properties[2:]).table()
        for key, value in sent.items():
            self.assertEqual(got[key], rawamqp.Reader(value.encode()).value(), "field type " + key)

    def test_field_type_L_is_read_as_signed_64_bit(self):
        raw = self.opened()
        queue = raw.declare(1, "", bits=4)
        raw.publish(1, queue, b"", properties=struct.pack(">H", 1 << 13) + table({"n": Typed("L", 1 << 40)}))
        self.assertEqual(rawamqp.Reader(raw.get(1, queue)[1][2:]).table()["n"][1], 1 << 40)

    def test_all_properties_survive_a_round_trip(self):
        queue = self.queue()
        sent = pika.BasicProperties(
            content_type="a", content_encoding="b", headers={"h": 1}, delivery_mode=2, priority=3, correlation_id="c",
            reply_to="d", expiration="60000", message_id="e", timestamp=1700000000, type="f", user_id=broker.user,
            app_id="g", cluster_id="h")
        self.publish(queue, b"x", properties=sent)
        self.assertEqual(vars(self.get(queue)[1]), vars(sent))

    def test_large_body_in_many_frames(self):
        queue = self.queue()
        body = os.urandom(3 << 20)
        self.publish(queue, body)
        self.assertTrue(self.get(queue)[2] == body, "the body came back changed")

    def test_empty_body(self):
        queue = self.queue()
        self.publish(queue, b"")
        self.assertEqual(self.get(queue)[2], b"")


class TestChannel(Case):
    def test_open_twice_504(self):
        raw = self.opened()
        raw.method(1, rawamqp.CHANNEL_OPEN, shortstr(""))
        self.raw_close(raw, 504, "CHANNEL_ERROR - second 'channel.open' seen", rawamqp.CHANNEL_OPEN)

    def test_use_before_open_504(self):
        raw = self.opened()
        raw.method(2, rawamqp.CONFIRM_SELECT, b"\0")
        self.raw_close(raw, 504, "CHANNEL_ERROR - expected 'channel.open'")

    def test_failed_method_is_named_in_the_close(self):
        raw = self.opened()
        raw.method(1, rawamqp.QUEUE_DECLARE, b"\0\0" + shortstr("missing") + b"\1" + table({}))
        self.raw_close(raw, 404, "NOT_FOUND - no queue 'missing' in vhost '/'", rawamqp.QUEUE_DECLARE, soft=True)

    def test_after_its_close_the_broker_ignores_all_but_close_ok(self):
        raw = self.opened()
        raw.method(1, rawamqp.QUEUE_DECLARE, b"\0\0" + shortstr("missing") + b"\1" + table({}))
        raw.publish(1, "missing", b"ignored", exchange="missing too")
        raw.method(1, rawamqp.QUEUE_DECLARE, b"\0\0" + shortstr("missing") + b"\1" + table({}))
        self.raw_close(raw, 404, soft=True)
        raw.method(1, rawamqp.CHANNEL_CLOSE_OK)
        raw.open_channel(1)
        self.assertTrue(raw.declare(1, "", bits=4))

    def test_channel_error_leaves_other_channels_alone(self):
        other = self.connection.channel()
        with self.channel_error(404, "NOT_FOUND - no queue 'missing' in vhost '/'"):
            self.ch.queue_declare("missing", passive=True)
        other.exchange_declare("amq.direct", passive=True)

    def test_long_reply_text_is_cut_to_252_octets_and_an_ellipsis(self):
        name = "q" * 255
        with self.channel_error(404, cut("NOT_FOUND - no queue '%s' in vhost '/'" % name)):
            self.ch.queue_declare(name, passive=True)

    def test_closing_a_channel_requeues_what_it_had_unacked(self):
        queue = self.queue()
        self.publish(queue, b"a", b"b")
        channel = self.connection.channel()
        self.get(queue, auto_ack=False, channel=channel)
        channel.close()
        self.wait_count(queue, 2)
        method, _, body = self.get(queue)
        self.assertEqual((body, method.redelivered), (b"a", True))

    def test_line_ends_are_taken_out_of_names_everywhere(self):
        name = self.queue()
        odd = name[:3] + "\r\n" + name[3:]
        self.publish(name, b"x")
        self.wait_count(name, 1)
        self.ch.queue_bind(odd, "amq.direct", "key")
        self.assertEqual(self.get(odd)[2], b"x")
        self.ch.queue_delete(odd)
        self.assertFalse(self.exists("queue", name))

    def test_a_lost_connection_requeues_what_it_had_unacked(self):
        queue = self.queue()
        self.publish(queue, b"a", b"b")
        self.wait_count(queue, 2)
        raw = self.opened()
        self.assertEqual(raw.get(1, queue, no_ack=False)[2], b"a")
        raw.close()
        self.wait_count(queue, 2)
        self.assertEqual([self.get(queue)[2], self.get(queue)[2]], [b"a", b"b"])

    def test_flow_inactive_540(self):
        with self.connection_error(540, "NOT_IMPLEMENTED - active=false"):
            self.ch.flow(False)

    def test_flow_active_is_answered(self):
        self.assertTrue(self.ch.flow(True))

    def test_access_request_gives_ticket_1(self):
        raw = self.opened()
        answer = raw.call(1, rawamqp.ACCESS_REQUEST, shortstr("/data") + b"\x1c", rawamqp.ACCESS_REQUEST_OK)
        self.assertEqual(answer.unpack(">H"), 1)


class TestExchange(Case):
    def test_predeclared_exchanges(self):
        for name in ("amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match", "amq.rabbitmq.trace"):
            self.ch.exchange_declare(name, passive=True)

    def test_passive_declare_of_a_missing_exchange_404(self):
        with self.channel_error(404, "NOT_FOUND - no exchange 'missing' in vhost '/'"):
            self.ch.exchange_declare("missing", passive=True)

    def test_declare_again_with_the_same_properties(self):
        name = self.exchange("topic", durable=True)
        self.ch.exchange_declare(name, "topic", durable=True)

    def test_inequivalent_type_406(self):
        name = self.exchange("topic")
        with self.channel_error(406, "PRECONDITION_FAILED - inequivalent arg 'type' for exchange '%s' in vhost '/': "
                                "received 'direct' but current is 'topic'" % name):
            self.ch.exchange_declare(name, "direct")

    def test_inequivalent_durable_406(self):
        name = self.exchange("topic")
        with self.channel_error(406, "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange '%s' in vhost "
                                "'/': received 'true' but current is 'false'" % name):
            self.ch.exchange_declare(name, "topic", durable=True)

    def test_inequivalent_auto_delete_406(self):
        name = self.exchange("topic")
        with self.channel_error(406, "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for exchange '%s' in "
                                "vhost '/': received 'true' but current is 'false'" % name):
            self.ch.exchange_declare(name, "topic", auto_delete=True)

    def test_inequivalent_internal_406(self):
        name = self.exchange("topic")
        with self.channel_error(406, "PRECONDITION_FAILED - inequivalent arg 'internal' for exchange '%s' in vhost "
                                "'/': received 'true' but current is 'false'" % name):
            self.ch.exchange_declare(name, "topic", internal=True)

    def test_inequivalent_alternate_exchange_406(self):
        name = self.exchange("topic")
        with self.channel_error(406, "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange '%s' "
                                "in vhost '/': received the value 'other' of type 'longstr' but current is none"
                                % name):
            self.ch.exchange_declare(name, "topic", arguments={"alternate-exchange": "other"})

    def test_unknown_type(self):
        if self.old_rabbit:  # 3.x: a connection error
            with self.connection_error(503, "COMMAND_INVALID - unknown exchange type 'nonesuch'"):
                self.ch.exchange_declare(self.name("exchange"), "nonesuch")
        else:
            with self.channel_error(406, "PRECONDITION_FAILED - unknown exchange type 'nonesuch'"):
                self.ch.exchange_declare(self.name("exchange"), "nonesuch")

    def test_reserved_name_403(self):
        with self.channel_error(403, "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'"):
            self.ch.exchange_declare("amq.mine", "direct")

    def test_declaring_a_predeclared_exchange_as_it_is(self):
        self.ch.exchange_declare("amq.direct", "direct", durable=True)

    def test_declaring_the_default_exchange_403(self):
        with self.channel_error(403, "ACCESS_REFUSED - operation not permitted on the default exchange"):
            self.ch.exchange_declare("", "direct", durable=True)

    def test_deleting_the_default_exchange_403(self):
        with self.channel_error(403, "ACCESS_REFUSED - operation not permitted on the default exchange"):
            self.ch.exchange_delete("")

    def test_deleting_a_system_exchange_403(self):
        with self.channel_error(403, "ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not "
                                "allowed"):
            self.ch.exchange_delete("amq.topic")

    def test_binding_to_the_default_exchange_403(self):
        queue = self.queue()
        with self.channel_error(403, "ACCESS_REFUSED - operation not permitted on the default exchange"):
            self.ch.queue_bind(queue, "", "key")

    def test_unbinding_from_the_default_exchange_403(self):
        queue = self.queue()
        with self.channel_error(403, "ACCESS_REFUSED - operation not permitted on the default exchange"):
            self.ch.queue_unbind(queue, "", queue)

    def test_delete_is_idempotent(self):
        self.ch.exchange_delete("missing")

    def test_delete_if_unused_of_a_bound_exchange_406(self):
        name = self.exchange()
        self.ch.queue_bind(self.queue(), name)
        with self.channel_error(406, "PRECONDITION_FAILED - exchange '%s' in vhost '/' in use" % name):
            self.ch.exchange_delete(name, if_unused=True)

    def test_delete_if_unused_of_an_unused_exchange(self):
        name = self.exchange()
        self.ch.exchange_delete(name, if_unused=True)
        self.assertFalse(self.exists("exchange", name))

    def test_auto_delete_goes_with_its_last_binding(self):
        name, first, second = self.exchange(auto_delete=True), self.queue(), self.queue()
        self.ch.queue_bind(first, name)
        self.ch.queue_bind(second, name)
        self.ch.queue_unbind(first, name)
        self.assertTrue(self.exists("exchange", name))
        self.ch.queue_unbind(second, name)
        self.wait(lambda: not self.exists("exchange", name), "the exchange is deleted")

    def test_auto_delete_goes_with_the_queue_of_its_last_binding(self):
        name, queue = self.exchange(auto_delete=True), self.queue()
        self.ch.queue_bind(queue, name)
        self.ch.queue_delete(queue)
        self.wait(lambda: not self.exists("exchange", name), "the exchange is deleted")

    def test_auto_delete_stays_when_never_bound(self):
        name = self.exchange(auto_delete=True)
        self.assertTrue(self.exists("exchange", name))

    def test_auto_delete_counts_only_bindings_as_source(self):
        name, source = self.exchange(auto_delete=True), self.exchange()
        self.ch.exchange_bind(name, source)
        self.ch.exchange_unbind(name, source)
        self.assertTrue(self.exists("exchange", name))

    def test_publish_to_internal_exchange_403(self):
        name = self.exchange(internal=True)
        with self.channel_error(403, "ACCESS_REFUSED - cannot publish to internal exchange '%s' in vhost '/'" % name):
            self.publish("key", b"x", exchange=name)


class TestRouting(Case):
    def bound(self, exchange, *keys, arguments=None):
        queue = self.queue()
        for key in keys:
            self.ch.queue_bind(queue, exchange, key, arguments=arguments)
        return queue

    def test_default_exchange_routes_by_queue_name(self):
        queue = self.queue()
        self.publish(queue, b"x")
        method, _, _ = self.get(queue)
        self.assertEqual((method.exchange, method.routing_key), ("", queue))

    def test_direct(self):
        exchange = self.exchange("direct")
        one, two = self.bound(exchange, "a"), self.bound(exchange, "a", "b")
        self.publish("a", b"1", exchange=exchange)
        self.publish("b", b"2", exchange=exchange)
        self.publish("A", b"3", exchange=exchange)
        self.assertEqual(self.drain(one), [b"1"])
        self.assertEqual(self.drain(two), [b"1", b"2"])

    def test_fanout_ignores_the_key_and_makes_one_copy_per_queue(self):
        exchange = self.exchange("fanout")
        one, two = self.bound(exchange, "a", "b"), self.bound(exchange, "")
        self.publish("c", b"1", exchange=exchange)
        self.assertEqual((self.drain(one), self.drain(two)), ([b"1"], [b"1"]))

    def test_topic(self):
        exchange = self.exchange("topic")
        cases = {
            "a.b": (["a.b", "a.*", "*.b", "#", "a.#", "#.b", "a.b.#", "#.a.b", "a.#.b", "*.*", "*.#", "#.#"],
                    ["a", "b", "*", "a.b.*", "*.a.b", "a.b.c", "A.B", ""]),
            "a": (["a", "*", "#", "a.#", "#.a", "*.#"], ["a.*", "*.a", "*.*", ""]),
            "": (["", "#", "#.#"], ["*", "*.#", "a"] if not self.old_rabbit else ["a"]),
            "a..b": (["a..b", "a.*.b", "a.#.b"], ["a.b", "*.*"]),
            "a.b.c.d": (["a.#.d", "*.b.#", "#.c.*", "a.*.*.d", "#.d"], ["a.*.d", "*.b", "#.c"]),
        }
        for key, (matching, others) in cases.items():
            for pattern in matching + others:
                with self.subTest(key=key, pattern=pattern):
                    queue = self.bound(exchange, pattern)
                    self.publish(key, b"x", exchange=exchange)
                    self.assertEqual(len(self.drain(queue)), int(pattern in matching))
                    self.ch.queue_delete(queue)

    def test_topic_delivers_one_copy_though_two_bindings_match(self):
        exchange = self.exchange("topic")
        queue = self.bound(exchange, "a.*", "#")
        self.publish("a.b", b"x", exchange=exchange)
        self.assertEqual(self.drain(queue), [b"x"])

    def test_topic_unbind_of_one_pattern_leaves_the_others(self):
        exchange = self.exchange("topic")
        queue = self.bound(exchange, "a.*", "a.b.#")
        self.ch.queue_unbind(queue, exchange, "a.*")
        self.publish("a.c", b"no", exchange=exchange)
        self.publish("a.b", b"yes", exchange=exchange)
        self.assertEqual(self.drain(queue), [b"yes"])

    def headers_match(self, arguments, headers):
        exchange = self.exchange("headers")
        queue = self.bound(exchange, "", arguments=arguments)
        self.publish("", b"x", exchange=exchange, headers=headers)
        return len(self.drain(queue)) == 1

    def test_headers_all_is_the_default(self):
        self.assertTrue(self.headers_match({"a": 1, "b": "x"}, {"a": 1, "b": "x", "c": 0}))
        self.assertFalse(self.headers_match({"a": 1, "b": "x"}, {"a": 1}))
        self.assertFalse(self.headers_match({"a": 1, "b": "x"}, {"a": 1, "b": "y"}))

    def test_headers_any(self):
        self.assertTrue(self.headers_match({"x-match": "any", "a": 1, "b": "x"}, {"b": "x"}))
        self.assertFalse(self.headers_match({"x-match": "any", "a": 1, "b": "x"}, {"a": 2}))
        self.assertFalse(self.headers_match({"x-match": "any", "a": 1}, None))

    def test_headers_void_means_presence(self):
        self.assertTrue(self.headers_match({"x-match": "all", "a": None}, {"a": "whatever"}))
        self.assertFalse(self.headers_match({"x-match": "all", "a": None}, {"b": "whatever"}))

    def test_headers_empty_binding(self):
        self.assertTrue(self.headers_match({"x-match": "all"}, {"a": 1}))
        self.assertFalse(self.headers_match({"x-match": "any"}, {"a": 1}))

    def test_headers_keys_with_x_are_ignored_unless_with_x(self):
        self.assertTrue(self.headers_match({"x-match": "all", "x-a": 1, "b": 1}, {"b": 1}))
        self.assertFalse(self.headers_match({"x-match": "all-with-x", "x-a": 1, "b": 1}, {"b": 1}))
        self.assertTrue(self.headers_match({"x-match": "any-with-x", "x-a": 1, "b": 1}, {"x-a": 1}))
        self.assertFalse(self.headers_match({"x-match": "any", "x-a": 1, "b": 1}, {"x-a": 1}))

    def test_headers_bad_x_match_406(self):
        exchange, queue = self.exchange("headers"), self.queue()
        with self.channel_error(406, re.compile("^PRECONDITION_FAILED - .*x-match")):
            self.ch.queue_bind(queue, exchange, arguments={"x-match": "some"})

    def test_bindings_differing_in_arguments_are_two(self):
        exchange, queue = self.exchange("headers"), self.queue()
        self.ch.queue_bind(queue, exchange, "", {"a": 1})
        self.ch.queue_bind(queue, exchange, "", {"b": 1})
        self.ch.queue_unbind(queue, exchange, "", {"a": 1})
        self.publish("", b"no", exchange=exchange, headers={"a": 1})
        self.publish("", b"yes", exchange=exchange, headers={"b": 1})
        self.assertEqual(self.drain(queue), [b"yes"])

    def test_bind_missing_queue_404(self):
        with self.channel_error(404, "NOT_FOUND - no queue 'missing' in vhost '/'"):
            self.ch.queue_bind("missing", "amq.direct", "key")

    def test_bind_to_missing_exchange_404(self):
        queue = self.queue()
        with self.channel_error(404, "NOT_FOUND - no exchange 'missing' in vhost '/'"):
            self.ch.queue_bind(queue, "missing", "key")

    def test_bind_names_the_first_missing_resource(self):
        with self.channel_error(404, re.compile("^NOT_FOUND - no (queue 'missing'|exchange 'missing too') in vhost")):
            self.ch.queue_bind("missing", "missing too", "key")

    def test_unbind_of_a_missing_binding_succeeds(self):
        self.ch.queue_unbind(self.queue(), "amq.direct", "never bound")

    def test_unbind_from_a_missing_exchange_succeeds(self):
        self.ch.queue_unbind(self.queue(), "missing", "key")

    def test_binding_twice_is_one_binding(self):
        exchange, queue = self.exchange("direct"), self.queue()
        self.ch.queue_bind(queue, exchange, "key")
        self.ch.queue_bind(queue, exchange, "key")
        self.ch.queue_unbind(queue, exchange, "key")
        self.publish("key", b"x", exchange=exchange)
        self.assertEqual(self.drain(queue), [])

    def test_exchange_to_exchange_binding(self):
        source, target = self.exchange("direct"), self.exchange("topic")
        queue = self.bound(target, "a.*")
        self.ch.exchange_bind(target, source, "a.b")
        self.publish("a.b", b"yes", exchange=source)
        self.publish("a.c", b"no", exchange=source)
        method, _, body = self.get(queue)
        self.assertEqual((body, method.exchange, method.routing_key), (b"yes", source, "a.b"))
        self.ch.exchange_unbind(target, source, "a.b")
        self.publish("a.b", b"no", exchange=source)
        self.assertEqual(self.drain(queue), [])

    def test_exchange_binding_cycle_ends_and_delivers_once(self):
        one, two = self.exchange(), self.exchange()
        self.ch.exchange_bind(one, two)
        self.ch.exchange_bind(two, one)
        queue = self.bound(one, "")
        self.ch.queue_bind(queue, two, "")
        self.publish("", b"x", exchange=one)
        self.assertEqual(self.drain(queue), [b"x"])

    def test_exchange_bind_of_missing_exchange_404(self):
        with self.channel_error(404, "NOT_FOUND - no exchange 'missing' in vhost '/'"):
            self.ch.exchange_bind("missing", "amq.fanout")

    def test_deleting_an_exchange_removes_its_bindings(self):
        exchange, queue = self.exchange("direct"), self.queue()
        self.ch.queue_bind(queue, exchange, "key")
        self.ch.exchange_delete(exchange)
        self.ch.exchange_declare(exchange, "direct")
        self.publish("key", b"x", exchange=exchange)
        self.assertEqual(self.drain(queue), [])

    def test_deleting_a_queue_removes_its_bindings(self):
        exchange, queue = self.exchange("direct"), self.queue()
        self.ch.queue_bind(queue, exchange, "key")
        self.ch.queue_delete(queue)
        self.ch.queue_declare(queue)
        self.publish("key", b"x", exchange=exchange)
        self.assertEqual(self.drain(queue), [])

    def test_alternate_exchange_takes_the_unroutable(self):
        alternate = self.exchange()
        queue = self.bound(alternate, "")
        exchange = self.exchange("direct", arguments={"alternate-exchange": alternate})
        self.publish("nowhere", b"x", exchange=exchange)
        method, _, body = self.get(queue)
        self.assertEqual((body, method.exchange, method.routing_key), (b"x", exchange, "nowhere"))

    def test_alternate_exchange_prevents_the_return(self):
        alternate = self.exchange()
        self.bound(alternate, "")
        exchange = self.exchange("direct", arguments={"alternate-exchange": alternate})
        self.ch.confirm_delivery()
        self.ch.basic_publish(exchange, "nowhere", b"x", mandatory=True)

    def test_alternate_exchange_without_a_route_still_returns(self):
        exchange = self.exchange("direct", arguments={"alternate-exchange": self.exchange()})
        self.ch.confirm_delivery()
        with self.assertRaises(UnroutableError):
            self.ch.basic_publish(exchange, "nowhere", b"x", mandatory=True)

    def test_missing_alternate_exchange_drops(self):
        exchange = self.exchange("direct", arguments={"alternate-exchange": "missing"})
        self.ch.confirm_delivery()
        self.ch.basic_publish(exchange, "nowhere", b"x")

    def test_alternate_exchange_cycle_ends(self):
        one, two = self.name("exchange"), self.name("exchange")
        self.ch.exchange_declare(one, "direct", arguments={"alternate-exchange": two})
        self.ch.exchange_declare(two, "direct", arguments={"alternate-exchange": one})
        self.ch.confirm_delivery()
        self.ch.basic_publish(one, "nowhere", b"x")

    def test_cc_and_bcc_route_to_more_queues_once_each(self):
        to, cc, bcc = self.queue(), self.queue(), self.queue()
        self.publish(to, b"x", headers={"CC": [cc, to], "BCC": [bcc, cc], "other": 1})
        for queue in (to, cc, bcc):
            method, properties, _ = self.get(queue)
            self.assertEqual(properties.headers, {"CC": [cc, to], "other": 1}, "BCC is removed, CC kept")
            self.assertEqual(method.routing_key, to)
            self.assertEqual(self.drain(queue), [])

    def test_cc_that_is_no_array_406(self):
        with self.channel_error(406, "PRECONDITION_FAILED - invalid message: "
                                "{unacceptable_type_in_header,\"CC\",longstr}"):
            self.publish("nowhere", b"x", headers={"CC": "text"})

    def test_cc_entries_that_are_no_strings_are_ignored(self):
        queue = self.queue()
        self.publish("nowhere", b"x", headers={"CC": [1, queue]})
        self.assertEqual(self.drain(queue), [b"x"])


class TestQueue(Case):
    def inequivalent(self, queue, key, received, current):
        return self.channel_error(406, "PRECONDITION_FAILED - inequivalent arg '%s' for queue '%s' in vhost '/': "
                                  "received %s but current is %s" % (key, queue, received, current))

    def test_declare_answers_name_and_counts(self):
        name = self.name()
        answer = self.ch.queue_declare(name).method
        self.assertEqual((answer.queue, answer.message_count, answer.consumer_count), (name, 0, 0))
        self.publish(name, b"x", b"y")
        self.consume(name, channel=self.connection.channel())
        answer = self.ch.queue_declare(name).method
        self.assertEqual(answer.consumer_count, 1)

    def test_passive_declare_counts_ready_messages_only(self):
        queue = self.queue()
        self.publish(queue, b"x", b"y")
        self.get(queue, auto_ack=False)
        self.assertEqual(self.count(queue), 1)

    def test_passive_declare_of_a_missing_queue_404(self):
        with self.channel_error(404, "NOT_FOUND - no queue 'missing' in vhost '/'"):
            self.ch.queue_declare("missing", passive=True)

    def test_passive_declare_ignores_the_other_arguments(self):
        queue = self.queue()
        self.ch.queue_declare(queue, passive=True, durable=True, auto_delete=True,
                              arguments={"x-message-ttl": 5})

    def test_inequivalent_durable_406(self):
        queue = self.queue(durable=True)
        with self.inequivalent(queue, "durable", "'false'", "'true'"):
            self.ch.queue_declare(queue)

    def test_inequivalent_auto_delete_406(self):
        queue = self.queue()
        with self.inequivalent(queue, "auto_delete", "'true'", "'false'"):
            self.ch.queue_declare(queue, auto_delete=True)

    def test_inequivalent_argument_where_none_was_406(self):
        queue = self.queue()
        with self.inequivalent(queue, "x-message-ttl", "the value '10' of type 'signedint'", "none"):
            self.ch.queue_declare(queue, arguments={"x-message-ttl": 10})

    def test_inequivalent_argument_missing_406(self):
        queue = self.queue({"x-max-length": 5})
        with self.inequivalent(queue, "x-max-length", "none", "the value '5' of type 'signedint'"):
            self.ch.queue_declare(queue)

    def test_inequivalent_argument_of_another_value_406(self):
        queue = self.queue({"x-dead-letter-exchange": "a"})
        with self.inequivalent(queue, "x-dead-letter-exchange", "'b'", "'a'"):
            self.ch.queue_declare(queue, arguments={"x-dead-letter-exchange": "b"})

    def test_inequivalent_argument_of_another_number_406(self):
        queue = self.queue({"x-max-length": 5})
        with self.inequivalent(queue, "x-max-length", "'10'", "'5'"):
            self.ch.queue_declare(queue, arguments={"x-max-length": 10})

    def test_integer_widths_are_equivalent(self):
        raw = self.opened()
        queue = self.queue({"x-message-ttl": 10})
        for kind in "bBsuIil":
            raw.declare(1, queue, arguments={"x-message-ttl": Typed(kind, 10)})

    def test_unknown_arguments_are_not_compared(self):
        queue = self.queue({"x-something": 1})
        self.ch.queue_declare(queue, arguments={"x-other": 2})

    def test_no_queue_type_equals_classic(self):
        self.ch.queue_declare(self.queue(durable=True), durable=True, arguments={"x-queue-type": "classic"})

    def test_unknown_queue_type_406(self):
        with self.channel_error(406, re.compile("^PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue ")):
            self.queue({"x-queue-type": "nonesuch"})

    def locked(self, queue):
        return cut("RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '%s' in vhost '/'. It could be "
                   "originally declared on another connection or the exclusive property value does not match that "
                   "of the original declaration." % queue)

    def test_exclusive_queue_from_another_connection_405(self):
        queue = self.queue(exclusive=True)
        self.ch.queue_bind(queue, "amq.direct", "key")
        other = self.connect()
        uses = {
            "declare": lambda ch: ch.queue_declare(queue, exclusive=True),
            "passive declare": lambda ch: ch.queue_declare(queue, passive=True),
            "declare non-exclusive": lambda ch: ch.queue_declare(queue),
            "bind": lambda ch: ch.queue_bind(queue, "amq.direct", "key"),
            "unbind": lambda ch: ch.queue_unbind(queue, "amq.direct", "key"),
            "purge": lambda ch: ch.queue_purge(queue),
            "get": lambda ch: ch.basic_get(queue),
            "consume": lambda ch: ch.basic_consume(queue, lambda *_: None),
            "delete": lambda ch: ch.queue_delete(queue),
        }
        for what, use in uses.items():
            with self.subTest(what):
                channel = other.channel()
                with self.channel_error(405, self.locked(queue), channel):
                    use(channel)

    def test_exclusive_declare_over_a_shared_queue_405(self):
        queue = self.queue()
        with self.channel_error(405, self.locked(queue)):
            self.ch.queue_declare(queue, exclusive=True)

    def test_exclusive_queue_takes_publishes_of_others(self):
        queue = self.queue(exclusive=True)
        self.publish(queue, b"x", channel=self.connect().channel())
        self.assertEqual(self.get(queue)[2], b"x")

    def test_exclusive_queue_dies_with_its_connection(self):
        other = self.connect()
        queue = self.name()
        other.channel().queue_declare(queue, exclusive=True)
        other.close()
        self.wait(lambda: not self.exists("queue", queue), "the queue is deleted")

    def test_reserved_name_403(self):
        with self.channel_error(403, "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'"):
            self.ch.queue_declare("amq.mine")

    def test_reserved_name_passive_404(self):
        with self.channel_error(404, "NOT_FOUND - no queue 'amq.mine' in vhost '/'"):
            self.ch.queue_declare("amq.mine", passive=True)

    def test_reserved_name_of_an_existing_queue_may_be_declared_passively(self):
        name = self.ch.queue_declare("", exclusive=True).method.queue
        self.ch.queue_declare(name, passive=True)

    def test_line_breaks_are_stripped_from_names(self):
        name = self.name()
        self.assertEqual(self.opened().declare(1, name[:5] + "\r\n" + name[5:]), name)

    def test_name_of_255_octets(self):
        name = self.name().ljust(255, "x")
        self.made.append(("queue", name))
        self.ch.queue_declare(name)
        self.publish(name, b"x")
        self.assertEqual(self.get(name)[2], b"x")

    def test_name_in_utf8(self):
        name = self.name() + "-schlüssel-キュー"
        self.made.append(("queue", name))
        self.assertEqual(self.ch.queue_declare(name).method.queue, name)

    def test_server_named_queue(self):
        first = self.ch.queue_declare("", exclusive=True).method.queue
        second = self.ch.queue_declare("", exclusive=True).method.queue
        self.assertRegex(first, r"^amq\.gen-.{10,}$")
        self.assertNotEqual(first, second)

    def test_empty_name_means_the_last_declared_queue(self):
        queue = self.queue()
        exchange = self.exchange("direct")
        self.ch.queue_bind("", exchange, "")  # the empty key stands for the name too
        self.publish(queue, b"x", exchange=exchange)
        self.assertEqual(self.get("")[2], b"x")
        self.assertEqual(self.ch.queue_purge("").method.message_count, 0)
        self.ch.queue_delete("")
        self.assertFalse(self.exists("queue", queue))

    def test_empty_name_without_a_declared_queue_404(self):
        with self.channel_error(404, "NOT_FOUND - no previously declared queue"):
            self.ch.queue_purge("")

    def test_delete_answers_the_message_count(self):
        queue = self.queue()
        self.publish(queue, b"x", b"y")
        self.assertEqual(self.ch.queue_delete(queue).method.message_count, 2)

    def test_delete_is_idempotent(self):
        self.assertEqual(self.ch.queue_delete("missing").method.message_count, 0)

    def test_delete_if_unused_with_a_consumer_406(self):
        queue = self.queue()
        self.consume(queue, channel=self.connection.channel())
        with self.channel_error(406, "PRECONDITION_FAILED - queue '%s' in vhost '/' in use" % queue):
            self.ch.queue_delete(queue, if_unused=True)

    def test_delete_if_empty_with_messages_406(self):
        queue = self.queue()
        self.publish(queue, b"x")
        with self.channel_error(406, "PRECONDITION_FAILED - queue '%s' in vhost '/' not empty" % queue):
            self.ch.queue_delete(queue, if_empty=True)

    def test_purge_removes_ready_messages_only(self):
        queue = self.queue()
        self.publish(queue, b"a", b"b", b"c")
        method, _, _ = self.get(queue, auto_ack=False)
        self.assertEqual(self.ch.queue_purge(queue).method.message_count, 2)
        self.ch.basic_nack(method.delivery_tag, requeue=True)
        self.assertEqual(self.get(queue)[2], b"a")

    def test_purge_of_a_missing_queue_404(self):
        with self.channel_error(404, "NOT_FOUND - no queue 'missing' in vhost '/'"):
            self.ch.queue_purge("missing")

    def test_auto_delete_goes_with_its_last_consumer(self):
        queue = self.queue(auto_delete=True)
        first, second = self.consume(queue), self.consume(queue)
        self.ch.basic_cancel(first.tag)
        self.assertTrue(self.exists("queue", queue))
        self.ch.basic_cancel(second.tag)
        self.assertFalse(self.exists("queue", queue))

    def test_auto_delete_goes_with_the_channel_of_its_last_consumer(self):
        queue = self.queue(auto_delete=True)
        channel = self.connection.channel()
        self.consume(queue, channel=channel)
        channel.close()
        self.assertFalse(self.exists("queue", queue))

    def test_auto_delete_has_happened_when_its_end_is_answered(self):
        """Whoever is told of the end of the last consumer, however it ends, can rely on it elsewhere."""
        other = self.connect()
        mandatory = other.channel()
        mandatory.confirm_delivery()

        def channel_error(_, channel):
            with self.channel_error(406, re.compile("unknown delivery tag"), channel=channel):
                channel.basic_ack(999)

        def connection_error(_, channel):
            with self.connection_error(540, re.compile("^NOT_IMPLEMENTED"), channel=channel):
                channel.basic_qos(prefetch_size=1)

        ends = [lambda connection, channel: channel.basic_cancel("tag"),
                lambda connection, channel: channel.close(),
                lambda connection, channel: connection.close(), channel_error, connection_error]
        for end in ends * 10:
            queue = self.queue(auto_delete=True)
            connection = self.connect()
            channel = connection.channel()
            channel.basic_consume(queue, lambda *_: None, consumer_tag="tag")
            end(connection, channel)
            with self.assertRaises(UnroutableError):
                mandatory.basic_publish("", queue, b"x", mandatory=True)
            connection.is_open and connection.close()

    def test_exclusive_is_free_when_a_connection_error_is_told(self):
        for _ in range(10):
            owner = self.connect()
            channel = owner.channel()
            queue = self.name()
            channel.queue_declare(queue, exclusive=True)
            with self.connection_error(540, re.compile("^NOT_IMPLEMENTED"), channel=channel):
                channel.basic_qos(prefetch_size=1)
            self.ch.queue_declare(queue)

    def test_auto_delete_stays_without_a_consumer_ever(self):
        queue = self.name()
        other = self.connect()
        other.channel().queue_declare(queue, auto_delete=True)
        other.close()
        self.get_nothing(queue)
        self.assertTrue(self.exists("queue", queue))

    def get_nothing(self, queue):
        self.assertEqual(self.ch.basic_get(queue)[0], None)

    def test_get_empty(self):
        self.get_nothing(self.queue())

    def test_get_tells_how_many_remain(self):
        queue = self.queue()
        self.publish(queue, b"a", b"b", b"c")
        self.assertEqual([self.get(queue)[0].message_count for _ in range(3)], [2, 1, 0])

    def test_get_of_a_missing_queue_404(self):
        with self.channel_error(404, "NOT_FOUND - no queue 'missing' in vhost '/'"):
            self.ch.basic_get("missing")


class TestNoWait(Case):
    """Methods with nowait set do their work and are not answered."""

    def setUp(self):
        super().setUp()
        self.r = self.opened()

    def not_answered(self):
        self.r.call(1, rawamqp.CONFIRM_SELECT, b"\0", rawamqp.CONFIRM_SELECT_OK)

    def test_queue_methods(self):
        queue = self.name()
        self.r.method(1, rawamqp.QUEUE_DECLARE, b"\0\0" + shortstr(queue) + b"\x10" + table({}))
        self.r.method(1, (50, 20), b"\0\0" + shortstr(queue) + shortstr("amq.direct") + shortstr(queue) + b"\1"
                      + table({}))
        self.r.publish(1, queue, b"x", exchange="amq.direct")
        self.not_answered()
        self.assertEqual(self.get(queue)[2], b"x")
        self.r.publish(1, queue, b"y")
        self.r.method(1, (50, 30), b"\0\0" + shortstr(queue) + b"\1")
        self.assertEqual(self.r.expect(rawamqp.ACK).unpack(">Q"), 1)
        self.assertEqual(self.r.get(1, queue), None)
        self.r.method(1, (50, 40), b"\0\0" + shortstr(queue) + b"\4")
        self.not_answered()
        self.assertFalse(self.exists("queue", queue))

    def test_exchange_methods(self):
        exchange = self.name("exchange")
        self.r.method(1, (40, 10), b"\0\0" + shortstr(exchange) + shortstr("fanout") + b"\x10" + table({}))
        self.r.method(1, (40, 30), b"\0\0" + shortstr(exchange) + shortstr("amq.fanout") + shortstr("") + b"\1"
                      + table({}))
        self.not_answered()
        self.assertTrue(self.exists("exchange", exchange))
        self.r.method(1, (40, 40), b"\0\0" + shortstr(exchange) + shortstr("amq.fanout") + shortstr("") + b"\1"
                      + table({}))
        self.r.method(1, (40, 20), b"\0\0" + shortstr(exchange) + b"\2")
        self.not_answered()
        self.assertFalse(self.exists("exchange", exchange))

    def test_consume_and_cancel(self):
        queue = self.queue()
        self.r.method(1, rawamqp.CONSUME, b"\0\0" + shortstr(queue) + shortstr("mine") + b"\x0a" + table({}))
        self.not_answered()
        self.assertEqual(self.consumers(queue), 1)
        self.r.method(1, rawamqp.CANCEL, shortstr("mine") + b"\1")
        self.not_answered()
        self.assertEqual(self.consumers(queue), 0)


class TestQueueArguments(Case):
    def refused(self, arguments, key, reason):
        name = self.name()
        reason = reason if isinstance(reason, str) else "|".join(reason)
        pattern = "^PRECONDITION_FAILED - invalid arg '%s' for queue '%s' in vhost '/': (%s)$" % (key, name, reason)
        with self.channel_error(406, re.compile(pattern)):
            self.ch.queue_declare(name, arguments=arguments)

    def test_message_ttl_negative_406(self):
        self.refused({"x-message-ttl": -1}, "x-message-ttl", "{value_negative,-1}")

    def test_message_ttl_too_big_406(self):
        self.refused({"x-message-ttl": 1 << 40}, "x-message-ttl", "{value_too_large,%d}" % (1 << 40))

    def test_message_ttl_text_406(self):
        self.refused({"x-message-ttl": "10"}, "x-message-ttl", '"expected integer, got longstr"')

    def test_expires_zero_406(self):
        self.refused({"x-expires": 0}, "x-expires", "{value_zero,0}")

    def test_expires_negative_406(self):
        self.refused({"x-expires": -5}, "x-expires", "{value_negative,-5}")

    def test_max_length_negative_406(self):
        self.refused({"x-max-length": -1}, "x-max-length", "{value_negative,-1}")

    def test_max_length_bytes_text_406(self):
        self.refused({"x-max-length-bytes": "many"}, "x-max-length-bytes", '"expected integer, got longstr"')

    def test_max_priority_too_big_406(self):
        self.refused({"x-max-priority": 256}, "x-max-priority", "{max_value_exceeded,256}")

    def test_max_priority_negative_406(self):
        self.refused({"x-max-priority": -1}, "x-max-priority", "{value_negative,-1}")

    def test_overflow_unknown_406(self):
        self.refused({"x-overflow": "nonesuch"}, "x-overflow", "{?invalid_overflow.*")

    def test_dead_letter_routing_key_without_exchange_406(self):
        self.refused({"x-dead-letter-routing-key": "key"}, "x-dead-letter-routing-key",
                     "routing_key_but_no_dlx_defined")

    def test_dead_letter_exchange_of_wrong_type_406(self):
        name = self.name()
        with self.channel_error(406, re.compile("^PRECONDITION_FAILED - invalid (arg|type).*'x-dead-letter-exchange'")):
            self.ch.queue_declare(name, arguments={"x-dead-letter-exchange": 1})

    def test_single_active_consumer_of_wrong_type_406(self):
        self.refused({"x-single-active-consumer": "yes"}, "x-single-active-consumer", "{unacceptable_type,longstr}")

    def test_argument_that_classic_queues_do_not_take_406(self):
        name = self.name()
        with self.channel_error(406, re.compile(
                "^PRECONDITION_FAILED - invalid arg 'x-max-age' for queue '%s' in vhost '/' of queue type "
                "%s$" % (re.escape(name), "rabbit_classic_queue" if self.old_rabbit else "classic"))):
            self.ch.queue_declare(name, arguments={"x-max-age": "1D", "x-queue-type": "classic"})

    def test_classic_queues_have_a_delivery_limit_too(self):
        if self.old_rabbit:
            self.skipTest("quorum queues only")
        self.queue({"x-delivery-limit": 3, "x-queue-type": "classic"})

    def test_queue_mode_and_version_are_accepted(self):
        self.queue({"x-queue-mode": "lazy", "x-queue-version": 2}, durable=True)

    def test_master_locator_is_accepted(self):
        self.queue({"x-queue-master-locator": "client-local"}, durable=True)


class TestPublish(Case):
    def test_order_is_kept(self):
        queue = self.queue()
        bodies = [b"%d" % i for i in range(500)]
        self.publish(queue, *bodies)
        self.assertEqual(self.drain(queue), bodies)

    def test_missing_exchange_404(self):
        with self.channel_error(404, "NOT_FOUND - no exchange 'missing' in vhost '/'"):
            self.publish("key", b"x", exchange="missing")

    def test_unroutable_is_dropped_without_mandatory(self):
        self.ch.confirm_delivery()
        self.publish("nowhere", b"x")

    def test_mandatory_unroutable_is_returned_312(self):
        self.ch.confirm_delivery()
        with self.assertRaises(UnroutableError) as caught:
            self.ch.basic_publish("amq.direct", "nowhere", b"lost", persistent(message_id="id"), mandatory=True)
        message = caught.exception.messages[0]
        self.assertEqual((message.method.reply_code, message.method.reply_text, message.method.exchange,
                          message.method.routing_key, message.properties.message_id, message.body),
                         (312, "NO_ROUTE", "amq.direct", "nowhere", "id", b"lost"))

    def test_mandatory_return_comes_before_the_confirm(self):
        raw = self.opened()
        raw.call(1, rawamqp.CONFIRM_SELECT, b"\0", rawamqp.CONFIRM_SELECT_OK)
        raw.publish(1, "nowhere", b"lost", bits=1)
        self.assertEqual(raw.expect(rawamqp.RETURN).unpack(">H"), 312)
        self.assertEqual(raw.receive_content()[1], b"lost")
        self.assertEqual(raw.expect(rawamqp.ACK).unpack(">Q"), 1)

    def test_mandatory_routable_is_not_returned(self):
        queue = self.queue()
        self.ch.confirm_delivery()
        self.ch.basic_publish("", queue, b"x", mandatory=True)
        self.assertEqual(self.drain(queue), [b"x"])

    def test_immediate_540(self):
        raw = self.opened()
        raw.publish(1, "nowhere", b"x", bits=2)
        self.raw_close(raw, 540, "NOT_IMPLEMENTED - immediate=true", rawamqp.PUBLISH)

    def test_user_id_of_the_login_is_accepted(self):
        queue = self.queue()
        self.publish(queue, b"x", user_id=broker.user)
        self.assertEqual(self.get(queue)[1].user_id, broker.user)

    def test_user_id_of_another_user_406(self):
        with self.channel_error(406, "PRECONDITION_FAILED - user_id property set to 'other' but authenticated user "
                                "was '%s'" % broker.user):
            self.publish("nowhere", b"x", user_id="other")

    def test_body_above_max_message_size_406(self):
        # 128 MiB by default; the header alone is enough to be refused.
        raw = self.opened()
        size = (600 << 20) + 1
        raw.method(1, rawamqp.PUBLISH, b"\0\0" + shortstr("") + shortstr("x") + b"\0")
        raw.frame(rawamqp.HEADER, 1, struct.pack(">HHQH", 60, 0, size, 0))
        if self.old_rabbit:  # 3.10 looks at the size only when the whole body is there
            return
        self.raw_close(raw, 406, re.compile("^PRECONDITION_FAILED - message size %d is larger than configured max "
                                            r"size \d+$" % size), rawamqp.PUBLISH, soft=True)


class TestConsume(Case):
    def test_deliver_carries_tag_exchange_key_and_flag(self):
        queue = self.queue()
        got = self.consume(queue, consumer_tag="mine")
        self.publish(queue, b"x")
        self.wait_deliveries(got, 1)
        method = got[0][0]
        self.assertEqual((method.consumer_tag, method.delivery_tag, method.exchange, method.routing_key,
                          method.redelivered), ("mine", 1, "", queue, False))

    def test_empty_tag_is_replaced(self):
        raw = self.opened()
        queue = raw.declare(1, "", bits=4)
        self.assertRegex(raw.consume(1, queue), r"^amq\.ctag-.{10,}$")

    def test_tag_reuse_530(self):
        raw = self.opened()
        queue = raw.declare(1, "", bits=4)
        raw.consume(1, queue, "mine")
        raw.method(1, rawamqp.CONSUME, b"\0\0" + shortstr(queue) + shortstr("mine") + b"\0" + table({}))
        self.raw_close(raw, 530, "NOT_ALLOWED - attempt to reuse consumer tag 'mine'", rawamqp.CONSUME)

    def test_tag_may_be_used_on_two_channels(self):
        raw = self.opened()
        raw.open_channel(2)
        queue = raw.declare(1, "", bits=4)
        raw.consume(1, queue, "mine")
        raw.consume(2, queue, "mine")

    def test_missing_queue_404(self):
        with self.channel_error(404, "NOT_FOUND - no queue 'missing' in vhost '/'"):
            self.ch.basic_consume("missing", lambda *_: None)

    def test_exclusive_consumer_refuses_others_403(self):
        queue = self.queue()
        self.consume(queue, exclusive=True)
        channel = self.connection.channel()
        with self.channel_error(403, "ACCESS_REFUSED - queue '%s' in vhost '/' in exclusive use" % queue, channel):
            self.consume(queue, channel=channel)

    def test_exclusive_consumer_beside_others_403(self):
        queue = self.queue()
        self.consume(queue)
        channel = self.connection.channel()
        with self.channel_error(403, "ACCESS_REFUSED - queue '%s' in vhost '/' in exclusive use" % queue, channel):
            self.consume(queue, channel=channel, exclusive=True)

    def test_exclusive_consumer_gone_frees_the_queue(self):
        queue = self.queue()
        got = self.consume(queue, exclusive=True)
        self.ch.basic_cancel(got.tag)
        self.consume(queue, exclusive=True)

    def test_cancel_of_an_unknown_tag_is_answered(self):
        raw = self.opened()
        raw.method(1, rawamqp.CANCEL, shortstr("unknown") + b"\0")
        self.assertEqual(raw.expect((60, 31)).shortstr(), "unknown")

    def test_cancel_leaves_the_unacked_outstanding(self):
        raw = self.opened()
        queue = raw.declare(1, "", bits=4)
        raw.consume(1, queue, "mine")
        raw.publish(1, queue, b"x")
        tag = self.delivery_tag(raw)
        raw.call(1, rawamqp.CANCEL, shortstr("mine") + b"\0", (60, 31))
        self.assertEqual(raw.get(1, queue), None)
        raw.method(1, rawamqp.ACK, struct.pack(">QB", tag, 0))
        self.assertEqual(raw.get(1, queue), None)

    def delivery_tag(self, raw):
        deliver = raw.expect(rawamqp.DELIVER)
        raw.receive_content()
        deliver.shortstr()
        return deliver.unpack(">Q")

    def test_no_ack_consumer_needs_no_acks(self):
        queue = self.queue()
        self.publish(queue, *[b"%d" % i for i in range(100)])
        got = self.consume(queue, auto_ack=True)
        self.wait_deliveries(got, 100)
        self.ch.close()
        self.ch = self.connection.channel()
        self.assertEqual(self.count(queue), 0)

    def test_no_local_is_accepted_and_ignored(self):
        raw = self.opened()
        queue = raw.declare(1, "", bits=4)
        raw.consume(1, queue, bits=1 | 2)
        raw.publish(1, queue, b"own")
        raw.expect(rawamqp.DELIVER)
        self.assertEqual(raw.receive_content()[1], b"own")

    def test_round_robin_between_consumers(self):
        queue = self.queue()
        first, second = self.consume(queue, auto_ack=True), self.consume(queue, auto_ack=True)
        self.publish(queue, *[b"%d" % i for i in range(20)])
        self.wait(lambda: self.pump() or len(first) + len(second) == 20, "20 deliveries")
        self.assertEqual((len(first), len(second)), (10, 10))

    def test_cancel_notify_on_queue_delete(self):
        queue = self.queue()
        cancelled = []
        channel = self.connection.channel()
        channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
        got = self.consume(queue, channel=channel)
        self.ch.queue_delete(queue)
        self.wait(lambda: self.pump() or cancelled, "basic.cancel")
        self.assertEqual(cancelled, [got.tag])

    def test_cancel_notify_only_to_clients_that_announced_it(self):
        raw = self.opened()
        queue = self.queue()
        raw.consume(1, queue)
        self.ch.queue_delete(queue)
        with self.assertRaises(TimeoutError):
            raw.receive_method(0.3)

    def test_cancel_notify_has_nowait_set(self):
        raw = self.opened(capabilities={"consumer_cancel_notify": True})
        queue = self.queue()
        raw.consume(1, queue, "mine")
        self.ch.queue_delete(queue)
        cancel = raw.expect(rawamqp.CANCEL)
        self.assertEqual((cancel.shortstr(), cancel.unpack("B")), ("mine", 1))

    def test_priority_consumer_is_served_first(self):
        queue = self.queue()
        low, high = self.connection.channel(), self.connection.channel()
        high.basic_qos(prefetch_count=2)
        got_low = self.consume(queue, channel=low, arguments={"x-priority": -1})
        got_high = self.consume(queue, channel=high, arguments={"x-priority": 5})
        self.publish(queue, b"1", b"2", b"3")
        self.wait(lambda: self.pump() or len(got_low) + len(got_high) == 3, "3 deliveries")
        self.assertEqual((got_high.bodies, got_low.bodies), ([b"1", b"2"], [b"3"]))

    def test_cancel_on_ha_failover_is_accepted(self):
        self.consume(self.queue(), arguments={"x-cancel-on-ha-failover": True})

    def test_priority_of_wrong_type_406(self):
        queue = self.queue()
        with self.channel_error(406, re.compile("^PRECONDITION_FAILED - .*x-priority")):
            self.consume(queue, arguments={"x-priority": "high"})


class TestAcks(Case):
    def test_ack_of_an_unknown_tag_406(self):
        with self.channel_error(406, "PRECONDITION_FAILED - unknown delivery tag 99"):
            self.ch.basic_ack(99)

    def test_nack_of_an_unknown_tag_406(self):
        with self.channel_error(406, "PRECONDITION_FAILED - unknown delivery tag 99"):
            self.ch.basic_nack(99)

    def test_reject_of_an_unknown_tag_406(self):
        with self.channel_error(406, "PRECONDITION_FAILED - unknown delivery tag 99"):
            self.ch.basic_reject(99)

    def test_ack_twice_406(self):
        queue = self.queue()
        self.publish(queue, b"x")
        method, _, _ = self.get(queue, auto_ack=False)
        self.ch.basic_ack(method.delivery_tag)
        with self.channel_error(406, "PRECONDITION_FAILED - unknown delivery tag 1"):
            self.ch.basic_ack(method.delivery_tag)

    def test_ack_multiple_of_an_unknown_tag_406(self):
        with self.channel_error(406, "PRECONDITION_FAILED - unknown delivery tag 5"):
            self.ch.basic_ack(5, multiple=True)

    def test_tag_0_multiple_acks_all(self):
        queue = self.queue()
        self.publish(queue, b"a", b"b", b"c")
        for _ in range(3):
            self.get(queue, auto_ack=False)
        self.ch.basic_ack(0, multiple=True)
        self.ch.close()
        self.ch = self.connection.channel()
        self.assertEqual(self.count(queue), 0)

    def test_tag_0_multiple_with_nothing_outstanding_is_fine(self):
        self.ch.basic_ack(0, multiple=True)
        self.ch.exchange_declare("amq.direct", passive=True)

    def test_ack_multiple_covers_the_earlier_ones(self):
        queue = self.queue()
        self.publish(queue, b"a", b"b", b"c")
        tags = [self.get(queue, auto_ack=False)[0].delivery_tag for _ in range(3)]
        self.ch.basic_ack(tags[1], multiple=True)
        self.ch.close()
        self.ch = self.connection.channel()
        self.wait_count(queue, 1)
        self.assertEqual(self.drain(queue), [b"c"])

    def test_nack_multiple_requeues_in_order(self):
        queue = self.queue()
        self.publish(queue, b"a", b"b", b"c", b"d")
        tags = [self.get(queue, auto_ack=False)[0].delivery_tag for _ in range(3)]
        self.ch.basic_nack(tags[2], multiple=True, requeue=True)
        self.assertEqual(self.drain(queue), [b"a", b"b", b"c", b"d"])

    def test_nack_without_requeue_drops(self):
        queue = self.queue()
        self.publish(queue, b"a", b"b")
        self.ch.basic_nack(self.get(queue, auto_ack=False)[0].delivery_tag, requeue=False)
        self.assertEqual(self.drain(queue), [b"b"])

    def test_requeue_sets_redelivered(self):
        queue = self.queue()
        self.publish(queue, b"a")
        method, _, _ = self.get(queue, auto_ack=False)
        self.assertFalse(method.redelivered)
        self.ch.basic_reject(method.delivery_tag, requeue=True)
        self.assertTrue(self.get(queue)[0].redelivered)

    def test_requeue_puts_a_message_at_its_old_place(self):
        queue = self.queue()
        self.publish(queue, b"a", b"b", b"c")
        tags = [self.get(queue, auto_ack=False)[0].delivery_tag for _ in range(2)]
        self.ch.basic_reject(tags[1], requeue=True)
        self.ch.basic_reject(tags[0], requeue=True)
        self.assertEqual(self.drain(queue), [b"a", b"b", b"c"])

    def test_acks_of_another_channel_are_unknown_406(self):
        queue = self.queue()
        self.publish(queue, b"a")
        self.get(queue, auto_ack=False)
        other = self.connection.channel()
        with self.channel_error(406, "PRECONDITION_FAILED - unknown delivery tag 1", other):
            other.basic_ack(1)

    def test_recover_requeues_all(self):
        queue = self.queue()
        self.publish(queue, b"a", b"b")
        for _ in range(2):
            self.get(queue, auto_ack=False)
        self.ch.basic_recover(requeue=True)
        method, _, body = self.get(queue)
        self.assertEqual((body, method.redelivered), (b"a", True))
        self.assertEqual(self.drain(queue), [b"b"])

    def test_recover_without_requeue_540(self):
        with self.connection_error(540, "NOT_IMPLEMENTED - requeue=false"):
            self.ch.basic_recover(requeue=False)

    def test_recover_async_has_no_answer(self):
        raw = self.opened()
        queue = raw.declare(1, "", bits=4)
        raw.publish(1, queue, b"a")
        raw.get(1, queue, no_ack=False)
        raw.method(1, rawamqp.RECOVER_ASYNC, b"\1")
        self.assertEqual(raw.get(1, queue)[0], True)


class TestQos(Case):
    def test_per_consumer_prefetch(self):
        queue = self.queue()
        self.publish(queue, *[b"%d" % i for i in range(10)])
        self.ch.basic_qos(prefetch_count=3)
        first = self.consume(queue)
        self.wait_deliveries(first, 3)
        second = self.consume(queue)
        self.wait_deliveries(second, 3)
        self.settle()
        self.assertEqual((len(first), len(second)), (3, 3))
        self.ch.basic_ack(first.tags[0])
        self.wait_deliveries(first, 4)

    def test_prefetch_applies_to_new_consumers_only(self):
        queue = self.queue()
        self.ch.basic_qos(prefetch_count=1)
        got = self.consume(queue)
        self.ch.basic_qos(prefetch_count=5)
        self.publish(queue, *[b"%d" % i for i in range(4)])
        self.wait_deliveries(got, 1)
        self.settle()
        self.assertEqual(len(got), 1)

    def test_global_prefetch_is_one_limit_for_the_channel(self):
        queue = self.queue()
        self.publish(queue, *[b"%d" % i for i in range(10)])
        self.ch.basic_qos(prefetch_count=3, global_qos=True)
        first, second = self.consume(queue), self.consume(queue)
        self.wait(lambda: self.pump() or len(first) + len(second) == 3, "3 deliveries")
        self.settle()
        self.assertEqual(len(first) + len(second), 3)
        self.ch.basic_ack((first or second).tags[0])
        self.wait(lambda: self.pump() or len(first) + len(second) == 4, "one more delivery")

    def test_global_and_per_consumer_prefetch_both_hold(self):
        queue = self.queue()
        self.publish(queue, *[b"%d" % i for i in range(10)])
        self.ch.basic_qos(prefetch_count=2)
        self.ch.basic_qos(prefetch_count=3, global_qos=True)
        got = self.consume(queue)
        self.wait_deliveries(got, 2)
        self.settle()
        self.assertEqual(len(got), 2)
        other = self.consume(queue)
        self.wait_deliveries(other, 1)
        self.settle()
        self.assertEqual((len(got), len(other)), (2, 1))

    def test_global_prefetch_is_raised_for_consumers_that_are_there(self):
        queue = self.queue()
        self.publish(queue, *[b"%d" % i for i in range(10)])
        self.ch.basic_qos(prefetch_count=2, global_qos=True)
        got = self.consume(queue)
        self.wait_deliveries(got, 2)
        self.ch.basic_qos(prefetch_count=5, global_qos=True)
        self.wait_deliveries(got, 5)
        self.settle()
        self.assertEqual(len(got), 5)
        self.ch.basic_qos(prefetch_count=0, global_qos=True)
        self.wait_deliveries(got, 10)

    def test_global_prefetch_is_lowered_for_consumers_that_are_there(self):
        queue = self.queue()
        got = self.consume(queue)
        self.publish(queue, *[b"%d" % i for i in range(4)])
        self.wait_deliveries(got, 4)
        self.ch.basic_qos(prefetch_count=2, global_qos=True)
        self.publish(queue, b"4")
        self.settle()
        self.assertEqual(len(got), 4)
        self.ch.basic_ack(got.tags[1], multiple=True)
        self.settle()
        self.assertEqual(len(got), 4)
        self.ch.basic_ack(got.tags[2])
        self.wait_deliveries(got, 5)

    def test_prefetch_0_is_no_limit(self):
        queue = self.queue()
        self.publish(queue, *[b"%d" % i for i in range(300)])
        self.ch.basic_qos(prefetch_count=0)
        self.wait_deliveries(self.consume(queue), 300)

    def test_prefetch_does_not_limit_get(self):
        queue = self.queue()
        self.publish(queue, b"a", b"b")
        self.ch.basic_qos(prefetch_count=1)
        self.get(queue, auto_ack=False)
        self.assertEqual(self.get(queue, auto_ack=False)[2], b"b")

    def test_ack_multiple_gives_all_credit_back(self):
        queue = self.queue()
        self.publish(queue, *[b"%d" % i for i in range(6)])
        self.ch.basic_qos(prefetch_count=3)
        got = self.consume(queue)
        self.wait_deliveries(got, 3)
        self.ch.basic_ack(got.tags[2], multiple=True)
        self.wait_deliveries(got, 6)
        self.assertEqual(got.bodies, [b"%d" % i for i in range(6)])

    def test_prefetch_size_540(self):
        with self.connection_error(540, "NOT_IMPLEMENTED - prefetch_size!=0 (10)"):
            self.ch.basic_qos(prefetch_size=10)


@contextlib.contextmanager
def peak_memory_below(limit_mib):
    """What the broker's memory grows by meanwhile, at its peak, is less than that. With a sanitizer most
    of it is the sanitizer's: nothing can be said then."""
    if broker.sanitized():
        yield
        return

    def status(key):
        with open("/proc/%d/status" % broker.process.pid) as lines:
            return next(int(line.split()[1]) >> 10 for line in lines if line.startswith(key + ":"))

    with open("/proc/%d/clear_refs" % broker.process.pid, "w") as clear:
        clear.write("5")
    before = status("VmRSS")
    yield
    peak = status("VmHWM") - before
    if peak >= limit_mib:
        raise AssertionError("%d MiB at its peak" % peak)


class TestFanOut(Case):
    """A body that many queues get: memory is bounded by a window, not by their number."""

    QUEUES = 120
    BODY = b"x" * (4 << 20)
    LIMIT_MIB = 360  # all copies at once would be 480 and more

    def setUp(self):
        super().setUp()
        if broker.external:
            self.skipTest("its memory cannot be read")
        self.source = self.exchange()
        n = self.QUEUES
        if broker.sanitized():  # each octet is slow there, and memory is not judged
            n, self.BODY = n // 10, self.BODY[:1 << 19]
        self.queues = [self.queue(durable=True) for _ in range(n)]
        for queue in self.queues:
            self.ch.queue_bind(queue, self.source)

    def test_a_large_body_for_many_queues(self):
        self.ch.confirm_delivery()
        with peak_memory_below(self.LIMIT_MIB):
            self.publish("", self.BODY, exchange=self.source)
        for queue in self.queues:
            self.assertEqual(self.count(queue), 1)
        self.assertEqual(self.get(self.queues[-1])[2], self.BODY)

    def test_a_large_body_for_many_queues_in_a_transaction(self):
        tx = self.connection.channel()
        tx.tx_select()
        with peak_memory_below(self.LIMIT_MIB):
            self.publish("", self.BODY, exchange=self.source, channel=tx)
            tx.tx_commit()
        for queue in self.queues:
            self.assertEqual(self.count(queue), 1)

    def test_the_publisher_goes_in_the_middle(self):
        raw = self.opened()
        raw.call(1, rawamqp.CONFIRM_SELECT, b"\0", rawamqp.CONFIRM_SELECT_OK)
        raw.publish(1, "", self.BODY, exchange=self.source)
        raw.publish(1, "", b"behind it", exchange=self.source)
        raw.close()
        tx = self.opened()
        tx.call(1, (90, 10), b"", (90, 11))
        tx.publish(1, "", self.BODY, exchange=self.source)
        tx.method(1, (90, 20))
        tx.close()
        self.ch.confirm_delivery()
        self.publish(self.queues[-1], b"after")
        self.assertIn(b"after", self.drain(self.queues[-1]))


class TestTx(Case):
    def setUp(self):
        super().setUp()
        self.tx = self.connection.channel()

    def test_publishes_appear_on_commit(self):
        queue = self.queue()
        self.tx.tx_select()
        self.publish(queue, b"a", b"b", channel=self.tx)
        self.tx.exchange_declare("amq.direct", passive=True)
        self.assertEqual(self.count(queue), 0)
        self.tx.tx_commit()
        self.assertEqual(self.drain(queue), [b"a", b"b"])

    def test_publishes_vanish_on_rollback(self):
        queue = self.queue()
        self.tx.tx_select()
        self.publish(queue, b"a", channel=self.tx)
        self.tx.tx_rollback()
        self.tx.tx_commit()
        self.assertEqual(self.drain(queue), [])

    def test_publishes_vanish_with_the_channel(self):
        queue = self.queue()
        self.tx.tx_select()
        self.publish(queue, b"a", channel=self.tx)
        self.tx.close()
        self.assertEqual(self.drain(queue), [])

    def test_acks_take_effect_on_commit(self):
        queue = self.queue()
        self.publish(queue, b"a", b"b")
        self.tx.tx_select()
        self.tx.basic_ack(self.get(queue, auto_ack=False, channel=self.tx)[0].delivery_tag)
        self.tx.tx_commit()
        self.tx.basic_ack(self.get(queue, auto_ack=False, channel=self.tx)[0].delivery_tag)
        self.tx.close()  # uncommitted: the second comes back
        self.wait_count(queue, 1)
        self.assertEqual(self.drain(queue), [b"b"])

    def test_acks_can_be_repeated_after_rollback(self):
        queue = self.queue()
        self.publish(queue, b"a")
        self.tx.tx_select()
        tag = self.get(queue, auto_ack=False, channel=self.tx)[0].delivery_tag
        self.tx.basic_ack(tag)
        self.tx.tx_rollback()
        self.tx.basic_ack(tag)
        self.tx.tx_commit()
        self.tx.close()
        self.assertEqual(self.count(queue), 0)

    def test_reject_takes_effect_on_commit(self):
        queue = self.queue()
        self.publish(queue, b"a")
        self.tx.tx_select()
        self.tx.basic_reject(self.get(queue, auto_ack=False, channel=self.tx)[0].delivery_tag, requeue=True)
        self.tx.exchange_declare("amq.direct", passive=True)
        self.assertEqual(self.count(queue), 0)
        self.tx.tx_commit()
        self.assertEqual(self.drain(queue), [b"a"])

    def test_mandatory_is_returned_before_commit_ok(self):
        returned = []
        self.tx.add_on_return_callback(lambda ch, method, properties, body: returned.append(body))
        self.tx.tx_select()
        self.tx.basic_publish("", "nowhere", b"lost", mandatory=True)
        self.tx.tx_commit()
        self.pump()
        self.assertEqual(returned, [b"lost"])

    def test_select_twice_is_fine(self):
        self.tx.tx_select()
        self.tx.tx_select()

    def test_commit_without_select_406(self):
        with self.channel_error(406, "PRECONDITION_FAILED - channel is not transactional", self.tx):
            self.tx.tx_commit()

    def test_rollback_without_select_406(self):
        with self.channel_error(406, "PRECONDITION_FAILED - channel is not transactional", self.tx):
            self.tx.tx_rollback()

    def test_tx_to_confirm_406(self):
        self.tx.tx_select()
        with self.channel_error(406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode", self.tx):
            self.tx.confirm_delivery()

    def test_confirm_to_tx_406(self):
        self.tx.confirm_delivery()
        with self.channel_error(406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode", self.tx):
            self.tx.tx_select()

    def test_publish_to_a_missing_exchange_closes_at_once(self):
        self.tx.tx_select()
        with self.channel_error(404, "NOT_FOUND - no exchange 'missing' in vhost '/'", self.tx):
            self.publish("key", b"x", exchange="missing", channel=self.tx)

    def test_large_transaction(self):
        queue = self.queue()
        self.tx.tx_select()
        bodies = [b"%d" % i for i in range(1000)]
        self.publish(queue, *bodies, channel=self.tx)
        self.tx.tx_commit()
        self.assertEqual(self.drain(queue), bodies)


class TestConfirms(Case):
    def confirming(self, **options):
        raw = self.opened(**options)
        raw.call(1, rawamqp.CONFIRM_SELECT, b"\0", rawamqp.CONFIRM_SELECT_OK)
        return raw

    def collect(self, raw, count):
        """Until tags 1..count are settled: the sets of acked and nacked tags."""
        acked, nacked = set(), set()
        while len(acked) + len(nacked) < count:
            _, method, arguments = raw.receive_method()
            self.assertIn(method, (rawamqp.ACK, rawamqp.NACK))
            tag, multiple = arguments.unpack(">Q"), arguments.unpack("B") & 1
            tags = {t for t in range(1, tag + 1) if t not in acked | nacked} if multiple else {tag}
            self.assertFalse(tags & (acked | nacked), "a tag was confirmed twice")
            (acked if method == rawamqp.ACK else nacked).update(tags)
        return acked, nacked

    def test_every_publish_is_confirmed_once_counting_from_1(self):
        raw = self.confirming()
        queue = raw.declare(1, "", bits=4)
        for i in range(300):
            raw.publish(1, queue, b"%d" % i)
        self.assertEqual(self.collect(raw, 300), (set(range(1, 301)), set()))

    def test_persistent_publishes_to_a_durable_queue_are_confirmed(self):
        raw = self.confirming()
        queue = self.queue(durable=True)
        for i in range(300):
            raw.publish(1, queue, b"%d" % i, properties=struct.pack(">HB", 1 << 12, 2))
        self.assertEqual(self.collect(raw, 300), (set(range(1, 301)), set()))
        self.assertEqual(self.count(queue), 300)

    def test_counting_starts_with_confirm_select(self):
        raw = self.opened()
        raw.publish(1, "nowhere", b"before")
        raw.call(1, rawamqp.CONFIRM_SELECT, b"\0", rawamqp.CONFIRM_SELECT_OK)
        raw.publish(1, "nowhere", b"after")
        self.assertEqual(raw.expect(rawamqp.ACK).unpack(">Q"), 1)

    def test_select_twice_keeps_counting(self):
        raw = self.confirming()
        raw.publish(1, "nowhere", b"x")
        self.assertEqual(raw.expect(rawamqp.ACK).unpack(">Q"), 1)
        raw.call(1, rawamqp.CONFIRM_SELECT, b"\0", rawamqp.CONFIRM_SELECT_OK)
        raw.publish(1, "nowhere", b"x")
        self.assertEqual(raw.expect(rawamqp.ACK).unpack(">Q"), 2)

    def test_select_nowait_is_not_answered(self):
        raw = self.opened()
        raw.method(1, rawamqp.CONFIRM_SELECT, b"\1")
        raw.publish(1, "nowhere", b"x")
        raw.expect(rawamqp.ACK)

    def test_a_flood_of_one_connection_does_not_hold_confirms_of_another(self):
        """One never reads its confirms and has as much under way as it may; the other has one at a time."""
        flood = self.confirming()
        queue, other = self.queue(durable=True), self.queue(durable=True)
        over = threading.Event()

        def publish_on():
            with contextlib.suppress(OSError):
                while not over.is_set():
                    flood.publish(1, queue, b"x" * 65536, properties=struct.pack(">HB", 1 << 12, 2))

        thread = threading.Thread(target=publish_on, daemon=True)
        thread.start()
        try:
            self.wait(lambda: self.count(queue) > 100, "the flood has begun")
            self.ch.confirm_delivery()
            for i in range(50):
                self.publish(other, b"%d" % i)
            self.assertTrue(thread.is_alive())
        finally:
            over.set()
            flood.socket.shutdown(socket.SHUT_RDWR)
            thread.join(WAIT_SECONDS)
        self.assertEqual(self.count(other), 50)

    def test_unroutable_is_acked(self):
        self.ch.confirm_delivery()
        self.publish("nowhere", b"x")

    def test_message_for_several_queues_is_acked_once(self):
        raw = self.confirming()
        exchange = self.exchange()
        queues = [self.queue(), self.queue(durable=True)]
        for queue in queues:
            self.ch.queue_bind(queue, exchange)
        raw.publish(1, "", b"x", exchange=exchange)
        self.assertEqual(self.collect(raw, 1), ({1}, set()))
        with self.assertRaises(TimeoutError):
            raw.receive_method(0.1)
        self.assertEqual([self.count(q) for q in queues], [1, 1])

    def test_confirm_of_a_message_consumed_at_once(self):
        self.consume(self.queue(), auto_ack=True)
        self.ch.confirm_delivery()
        self.publish(self.queue(), b"x")

    def test_reject_publish_nacks(self):
        queue = self.queue({"x-max-length": 2, "x-overflow": "reject-publish"})
        self.ch.confirm_delivery()
        self.publish(queue, b"a", b"b")
        with self.assertRaises(NackError):
            self.publish(queue, b"c")
        self.assertEqual(self.drain(queue), [b"a", b"b"])
        self.publish(queue, b"d")

    def test_reject_publish_nacks_if_any_queue_rejects(self):
        exchange = self.exchange()
        full = self.queue({"x-max-length": 1, "x-overflow": "reject-publish"})
        roomy = self.queue()
        for queue in (full, roomy):
            self.ch.queue_bind(queue, exchange)
        self.ch.confirm_delivery()
        self.publish("", b"a", exchange=exchange)
        with self.assertRaises(NackError):
            self.publish("", b"b", exchange=exchange)
        self.assertEqual((self.drain(full), self.drain(roomy)), ([b"a"], [b"a", b"b"]))

    def test_reject_publish_drops_silently_without_confirms(self):
        queue = self.queue({"x-max-length": 1, "x-overflow": "reject-publish"})
        self.publish(queue, b"a", b"b")
        self.assertEqual(self.drain(queue), [b"a"])


class TestLength(Case):
    def test_drop_head_is_the_default(self):
        queue = self.queue({"x-max-length": 2})
        self.publish(queue, b"a", b"b", b"c")
        self.assertEqual(self.drain(queue), [b"b", b"c"])

    def test_drop_head_acks_the_publisher(self):
        queue = self.queue({"x-max-length": 1, "x-overflow": "drop-head"})
        self.ch.confirm_delivery()
        self.publish(queue, b"a", b"b")
        self.assertEqual(self.drain(queue), [b"b"])

    def test_max_length_0_keeps_nothing(self):
        queue = self.queue({"x-max-length": 0})
        self.publish(queue, b"a")
        self.assertEqual(self.drain(queue), [])

    def test_max_length_counts_ready_messages_only(self):
        queue = self.queue({"x-max-length": 2})
        self.publish(queue, b"a", b"b")
        self.get(queue, auto_ack=False)
        self.publish(queue, b"c")
        self.assertEqual(self.drain(queue), [b"b", b"c"])

    def test_max_length_bytes_counts_bodies(self):
        queue = self.queue({"x-max-length-bytes": 10})
        self.publish(queue, b"aaaaa", b"bbbbb", b"c", headers={"long": "x" * 100})
        self.assertEqual(self.drain(queue), [b"bbbbb", b"c"])

    def test_first_limit_hit_acts(self):
        queue = self.queue({"x-max-length": 3, "x-max-length-bytes": 4})
        self.publish(queue, b"aa", b"bb", b"cc")
        self.assertEqual(self.drain(queue), [b"bb", b"cc"])
        self.publish(queue, b"1", b"2", b"3", b"4")
        self.assertEqual(self.drain(queue), [b"2", b"3", b"4"])

    def test_reject_publish_dlx_dead_letters_the_rejected(self):
        dead = self.queue()
        queue = self.queue({"x-max-length": 1, "x-overflow": "reject-publish-dlx", "x-dead-letter-exchange": "",
                            "x-dead-letter-routing-key": dead})
        self.ch.confirm_delivery()
        self.publish(queue, b"a")
        with self.assertRaises(NackError):
            self.publish(queue, b"b")
        _, properties, body = self.get(dead)
        self.assertEqual((body, properties.headers["x-death"][0]["reason"]), (b"b", "maxlen"))
        self.assertEqual(self.drain(queue), [b"a"])


class TestTtl(Case):
    def setUp(self):
        super().setUp()
        self.ch.confirm_delivery()  # so that publish returns when the message is in its queue

    def expires(self, queue, *left):
        self.wait(lambda: self.count(queue) == len(left), "messages expire")
        self.assertEqual(self.drain(queue), list(left))

    def test_queue_message_ttl(self):
        queue = self.queue({"x-message-ttl": 60})
        self.publish(queue, b"a", b"b")
        self.expires(queue)

    def test_message_expiration(self):
        queue = self.queue()
        self.publish(queue, b"a", expiration="60")
        self.publish(queue, b"b")
        self.expires(queue, b"b")

    def test_message_expiration_bites_before_a_longer_queue_ttl(self):
        queue = self.queue({"x-message-ttl": 60000})
        self.publish(queue, b"a", expiration="60")
        self.expires(queue)

    def test_queue_ttl_bites_before_a_longer_expiration(self):
        queue = self.queue({"x-message-ttl": 60})
        self.publish(queue, b"a", expiration="60000")
        self.expires(queue)

    def test_messages_do_not_expire_early(self):
        queue = self.queue({"x-message-ttl": 500})
        begin = time.monotonic()
        self.publish(queue, b"a")
        self.wait(lambda: self.count(queue) == 0, "the message expires")
        self.assertGreater(time.monotonic() - begin, 0.45)

    def test_expired_messages_are_never_delivered(self):
        queue = self.queue()
        self.publish(queue, b"blocks the head")
        self.publish(queue, b"expires", expiration="50")
        self.publish(queue, b"stays")
        time.sleep(0.1)
        self.assertEqual(self.drain(queue), [b"blocks the head", b"stays"])

    def test_requeue_keeps_the_original_expiry(self):
        queue = self.queue({"x-message-ttl": 1000})
        got = self.consume(queue)  # who waits gets it before it can expire
        self.publish(queue, b"a")
        self.wait_deliveries(got, 1)
        self.ch.basic_cancel(got.tag)
        time.sleep(1.1)
        self.ch.basic_nack(got.tags[0], requeue=True)
        self.assertEqual(self.drain(queue), [])

    def test_unacked_messages_do_not_expire(self):
        queue = self.queue({"x-message-ttl": 50})
        got = self.consume(queue)
        self.publish(queue, b"a")
        self.wait_deliveries(got, 1)
        time.sleep(0.1)
        self.ch.basic_ack(got.tags[0])
        self.ch.exchange_declare("amq.direct", passive=True)

    def test_ttl_0_expires_without_a_consumer(self):
        queue = self.queue({"x-message-ttl": 0})
        self.publish(queue, b"a")
        self.expires(queue)

    def test_ttl_0_delivers_to_a_waiting_consumer(self):
        queue = self.queue({"x-message-ttl": 0})
        got = self.consume(queue, auto_ack=True)
        self.publish(queue, b"a")
        self.wait_deliveries(got, 1)

    def test_expiration_that_is_no_number_406(self):
        with self.channel_error(406, "PRECONDITION_FAILED - invalid expiration 'soon': no_integer"):
            self.publish("nowhere", b"x", expiration="soon")

    def test_expiration_with_a_unit_406(self):
        with self.channel_error(406, "PRECONDITION_FAILED - invalid expiration '10s': {leftover_string,\"s\"}"):
            self.publish("nowhere", b"x", expiration="10s")

    def test_expiration_negative_406(self):
        with self.channel_error(406, "PRECONDITION_FAILED - invalid expiration '-1': {value_negative,-1}"):
            self.publish("nowhere", b"x", expiration="-1")

    def test_queue_expires_when_unused(self):
        queue = self.queue({"x-expires": 100})
        time.sleep(0.15)
        self.wait(lambda: not self.exists("queue", queue), "the queue expires")

    def test_queue_with_a_consumer_does_not_expire(self):
        queue, got, lease = self.in_time(self.attached)
        time.sleep(lease * 2.5)
        self.assertEqual(self.consumers(queue), 1)
        self.ch.basic_cancel(got.tag)
        time.sleep(lease)
        self.wait(lambda: not self.exists("queue", queue), "the queue expires after its consumer left")

    def test_get_and_declare_renew_the_lease_of_a_queue(self):
        self.in_time(lambda lease: self.renewed(lease, self.use_by_get))
        self.in_time(lambda lease: self.renewed(lease, self.use_by_declaring))

    def in_time(self, attempt):
        """What attempt(lease) gives; with a longer lease if the machine was too slow for one, which is None."""
        for lease in 0.2, 1, 5, 20:
            result = attempt(lease)
            if result is not None:
                return result
        self.fail("too slow")

    def attached(self, lease):
        """A queue whose lease has ended by that of its consumer, which is attached."""
        queue, used = self.name(), time.monotonic()
        self.lease(queue, lease)
        try:
            return queue, self.consume(queue), lease
        except ChannelClosedByBroker as e:
            self.assertEqual(e.reply_code, 404, e.reply_text)
            self.ran_out(lease, used)

    def renewed(self, lease, use):
        """Used three times, with half the lease between two uses."""
        queue, used = self.name(), time.monotonic()
        self.lease(queue, lease)
        self.publish(queue, b"x")
        for _ in range(3):
            time.sleep(lease / 2)
            now = time.monotonic()
            if not use(queue, lease):
                return self.ran_out(lease, used)
            used = now
        return True

    def lease(self, queue, seconds):
        return self.ch.queue_declare(queue, arguments={"x-expires": int(seconds * 1000)}).method.message_count

    def use_by_get(self, queue, lease):
        try:
            self.ch.basic_get(queue)
            return True
        except ChannelClosedByBroker as e:
            self.assertEqual(e.reply_code, 404, e.reply_text)
            return False

    def use_by_declaring(self, queue, lease):
        return self.lease(queue, lease) == 1  # with what was in it; else it is another one

    def ran_out(self, lease, used):
        self.assertGreater(time.monotonic() - used, lease * 0.9, "the queue expired early")
        self.ch = self.connection.channel()
        self.ch.confirm_delivery()

    def test_publishing_does_not_renew_the_lease_of_a_queue(self):
        queue = self.queue({"x-expires": 300})

        def gone():
            time.sleep(0.1)
            try:
                self.ch.basic_publish("", queue, b"x", mandatory=True)
            except UnroutableError:
                return True

        self.wait(gone, "the queue expires")

    def test_expired_queue_does_not_dead_letter(self):
        dead = self.queue()
        queue = self.queue({"x-expires": 100, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
        self.publish(queue, b"x")
        time.sleep(0.15)
        self.wait(lambda: not self.exists("queue", queue), "the queue expires")
        self.assertEqual(self.drain(dead), [])


class TestDeadLetter(Case):
    def source(self, dead, **arguments):
        """A queue that dead-letters to the queue `dead`."""
        return self.queue({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead,
                           **{k.replace("_", "-"): v for k, v in arguments.items()}})

    def reject(self, queue, **options):
        self.ch.basic_reject(self.get(queue, auto_ack=False, **options)[0].delivery_tag, requeue=False)

    def check_death(self, death, queue, reason, count=1, exchange="", keys=None):
        self.assertEqual((death["queue"], death["reason"], death["count"], death["exchange"], death["routing-keys"]),
                         (queue, reason, count, exchange, keys or [queue]))
        age = datetime.datetime.utcnow() - death["time"]
        self.assertLess(abs(age.total_seconds()), 30, "time of death")

    def check_first(self, headers, queue, reason, exchange=""):
        self.assertEqual((headers["x-first-death-queue"], headers["x-first-death-reason"],
                          headers["x-first-death-exchange"]), (queue, reason, exchange))
        if not self.old_rabbit:  # 4.x
            self.assertEqual({"x-last-death-queue", "x-last-death-reason", "x-last-death-exchange"} - set(headers),
                             set())

    def test_rejected(self):
        dead = self.queue()
        queue = self.source(dead)
        self.publish(queue, b"x", headers={"mine": 1}, message_id="id", delivery_mode=2)
        self.reject(queue)
        method, properties, body = self.get(dead)
        self.assertEqual((body, method.routing_key, method.exchange, method.redelivered), (b"x", dead, "", False))
        self.assertEqual((properties.headers["mine"], properties.message_id, properties.delivery_mode), (1, "id", 2))
        self.assertEqual(len(properties.headers["x-death"]), 1)
        self.check_death(properties.headers["x-death"][0], queue, "rejected")
        self.check_first(properties.headers, queue, "rejected")

    def test_nack_multiple_dead_letters_in_order(self):
        dead = self.queue()
        queue = self.source(dead)
        self.publish(queue, b"a", b"b", b"c")
        tags = [self.get(queue, auto_ack=False)[0].delivery_tag for _ in range(3)]
        self.ch.basic_nack(tags[-1], multiple=True, requeue=False)
        self.wait_count(dead, 3)
        self.assertEqual(self.drain(dead), [b"a", b"b", b"c"])

    def test_expired_by_the_queue(self):
        dead = self.queue()
        queue = self.source(dead, x_message_ttl=30)
        self.publish(queue, b"x")
        headers = self.get(dead)[1].headers
        self.check_death(headers["x-death"][0], queue, "expired")
        self.assertNotIn("original-expiration", headers["x-death"][0])
        self.check_first(headers, queue, "expired")

    def test_expired_by_itself_loses_its_expiration(self):
        dead = self.queue()
        queue = self.source(dead)
        self.publish(queue, b"x", expiration="30")
        _, properties, _ = self.get(dead)
        self.assertEqual(properties.expiration, None)
        self.check_death(properties.headers["x-death"][0], queue, "expired")
        self.assertEqual(properties.headers["x-death"][0]["original-expiration"], "30")

    def test_dropped_by_max_length(self):
        dead = self.queue()
        queue = self.source(dead, x_max_length=1)
        self.publish(queue, b"a", b"b")
        _, properties, body = self.get(dead)
        self.assertEqual(body, b"a")
        self.check_death(properties.headers["x-death"][0], queue, "maxlen")

    def test_purge_and_delete_do_not_dead_letter(self):
        dead = self.queue()
        queue = self.source(dead)
        self.publish(queue, b"a")
        self.ch.queue_purge(queue)
        self.publish(queue, b"b")
        self.ch.queue_delete(queue)
        time.sleep(0.05)
        self.assertEqual(self.drain(dead), [])

    def test_key_is_kept_without_a_dead_letter_key(self):
        dead, exchange, dlx = self.queue(), self.exchange(), self.exchange("topic")
        queue = self.queue({"x-dead-letter-exchange": dlx})
        self.ch.queue_bind(queue, exchange)
        self.ch.queue_bind(dead, dlx, "a.b")
        self.publish("a.b", b"x", exchange=exchange)
        self.reject(queue)
        method, properties, _ = self.get(dead)
        self.assertEqual((method.exchange, method.routing_key), (dlx, "a.b"))
        self.check_death(properties.headers["x-death"][0], queue, "rejected", exchange=exchange, keys=["a.b"])
        self.check_first(properties.headers, queue, "rejected", exchange)

    def test_routing_keys_of_x_death_hold_cc_but_not_bcc(self):
        dead = self.queue()
        queue = self.source(dead)
        self.publish(queue, b"x", headers={"CC": ["other"], "BCC": ["hidden"]})
        self.reject(queue)
        headers = self.get(dead)[1].headers
        self.check_death(headers["x-death"][0], queue, "rejected", keys=[queue, "other"])
        self.assertNotIn("CC", headers, "CC goes when the key is replaced")
        self.assertNotIn("BCC", headers)

    def test_cc_routes_again_when_the_key_is_kept(self):
        one, two, dlx = self.queue(), self.queue(), self.exchange("direct")
        queue = self.queue({"x-dead-letter-exchange": dlx})
        self.ch.queue_bind(one, dlx, queue)
        self.ch.queue_bind(two, dlx, "copy")
        self.publish(queue, b"x", headers={"CC": ["copy"]})
        self.reject(queue)
        self.assertEqual((self.get(one)[2], self.get(two)[2]), (b"x", b"x"))

    def test_missing_exchange_drops(self):
        queue = self.queue({"x-dead-letter-exchange": "missing"})
        self.publish(queue, b"a", b"b")
        self.reject(queue)
        self.assertEqual(self.drain(queue), [b"b"])

    def test_second_death_of_the_same_kind_is_counted(self):
        # a message that a client rejects, and that comes back to the same queue
        queue = self.name()
        self.ch.queue_declare(queue, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue})
        self.publish(queue, b"x")
        for count in (1, 2, 3):
            self.reject(queue)
            method, properties, _ = self.get(queue, auto_ack=False)
            self.assertEqual(len(properties.headers["x-death"]), 1)
            self.check_death(properties.headers["x-death"][0], queue, "rejected", count=count)
            self.ch.basic_nack(method.delivery_tag, requeue=True)

    def test_newest_death_comes_first(self):
        last = self.queue()
        middle = self.source(last)
        first = self.source(middle, x_message_ttl=30)
        self.publish(first, b"x")
        self.reject(middle)
        headers = self.get(last)[1].headers
        self.assertEqual([(d["queue"], d["reason"]) for d in headers["x-death"]],
                         [(middle, "rejected"), (first, "expired")])
        self.check_first(headers, first, "expired")
        if not self.old_rabbit:
            self.assertEqual((headers["x-last-death-queue"], headers["x-last-death-reason"]), (middle, "rejected"))

    def test_deaths_by_two_reasons_in_one_queue_are_two_entries(self):
        queue = self.name()
        self.ch.queue_declare(queue, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue})
        self.publish(queue, b"x", expiration="60000")
        self.reject(queue)
        other = self.source(queue, x_message_ttl=30)
        _, properties, body = self.get(queue)
        self.publish(other, body, properties=properties)
        headers = self.get(queue)[1].headers
        deaths = [(d["queue"], d["reason"]) for d in headers["x-death"]]
        if self.old_rabbit:  # 4.x does not believe an x-death that a client sends
            self.assertEqual(deaths, [(other, "expired"), (queue, "rejected")])
        else:
            self.assertEqual(deaths[0], (other, "expired"))

    def test_cycle_without_a_reject_is_cut(self):
        one, two = self.name(), self.name()
        for queue, target, way in ((one, two, {"x-message-ttl": 50}), (two, one, {"x-max-length": 1})):
            self.ch.queue_declare(queue, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": target,
                                                    **way})
        self.publish(one, b"x")
        self.wait_count(two, 1)
        self.publish(two, b"y")  # drives the other out
        for _ in range(20):  # it would come back here, and after 50 ms drive this one out
            self.assertEqual((self.count(one), self.count(two)), (0, 1))
            time.sleep(0.01)
        self.assertEqual(self.get(two)[2], b"y")

    def test_cycle_with_a_reject_goes_on(self):
        work = self.name()
        delay = self.queue({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": work, "x-message-ttl": 30})
        self.ch.queue_declare(work, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": delay})
        self.publish(work, b"x")
        for count in (1, 2, 3):
            self.reject(work)
            self.wait_count(work, 1)
            method, properties, _ = self.get(work, auto_ack=False)
            self.assertEqual([(d["queue"], d["reason"], d["count"]) for d in properties.headers["x-death"]],
                             [(delay, "expired", count), (work, "rejected", count)])
            self.ch.basic_nack(method.delivery_tag, requeue=True)

    def test_types_of_the_x_death_fields(self):
        dead = self.queue()
        queue = self.source(dead)
        self.publish(queue, b"x", expiration="30")
        self.wait_count(dead, 1)
        raw = self.opened()
        properties = raw.get(1, dead)[1]
        headers = rawamqp.Reader(properties[2:]).table()
        self.assertEqual(headers["x-death"][0], "A")
        kind, death = headers["x-death"][1][0]
        self.assertEqual((kind, {key: value[0] for key, value in death.items()}),
                         ("F", {"count": "l", "reason": "S", "queue": "S", "time": "T", "exchange": "S",
                                "routing-keys": "A", "original-expiration": "S"}))
        self.assertEqual(death["routing-keys"][1], [("S", queue.encode())])
        self.assertEqual(headers["x-first-death-reason"], ("S", b"expired"))


class TestPriority(Case):
    def test_higher_priorities_come_first_and_keep_their_order(self):
        queue = self.queue({"x-max-priority": 5})
        for body, priority in ((b"none", None), (b"1", 1), (b"3a", 3), (b"0", 0), (b"3b", 3), (b"5", 5)):
            self.publish(queue, body, priority=priority)
        self.assertEqual(self.drain(queue), [b"5", b"3a", b"3b", b"1", b"none", b"0"])

    def test_priorities_above_the_maximum_are_clamped(self):
        queue = self.queue({"x-max-priority": 3})
        for body, priority in ((b"3", 3), (b"200", 200), (b"2", 2)):
            self.publish(queue, body, priority=priority)
        method, properties, body = self.get(queue)
        self.assertEqual(body, b"3")
        self.assertEqual(self.get(queue)[1].priority, 200, "the property itself is kept")
        self.assertEqual(self.drain(queue), [b"2"])

    def test_without_the_argument_priorities_do_nothing(self):
        queue = self.queue()
        self.publish(queue, b"low", priority=1)
        self.publish(queue, b"high", priority=9)
        self.assertEqual(self.drain(queue), [b"low", b"high"])

    def test_requeued_message_keeps_its_priority_and_place(self):
        queue = self.queue({"x-max-priority": 5})
        self.publish(queue, b"low", priority=1)
        self.publish(queue, b"high a", b"high b", priority=4)
        self.ch.basic_reject(self.get(queue, auto_ack=False)[0].delivery_tag, requeue=True)
        self.assertEqual(self.drain(queue), [b"high a", b"high b", b"low"])

    def test_message_count_covers_all_priorities(self):
        queue = self.queue({"x-max-priority": 5})
        for priority in range(5):
            self.publish(queue, b"x", priority=priority)
        self.wait_count(queue, 5)
        self.assertEqual(self.ch.queue_purge(queue).method.message_count, 5)


class TestSingleActiveConsumer(Case):
    def setUp(self):
        super().setUp()
        self.q = self.queue({"x-single-active-consumer": True})

    def test_only_the_first_consumer_is_served(self):
        first, second = self.consume(self.q, auto_ack=True), self.consume(self.q, auto_ack=True)
        self.publish(self.q, *[b"%d" % i for i in range(10)])
        self.wait_deliveries(first, 10)
        self.assertEqual(second, [])

    def test_cancel_hands_over_to_the_next(self):
        channels = [self.connection.channel() for _ in range(3)]
        consumers = [self.consume(self.q, channel=c, auto_ack=True) for c in channels]
        channels[0].basic_cancel(consumers[0].tag)
        self.publish(self.q, b"x")
        self.wait_deliveries(consumers[1], 1)
        channels[1].close()
        self.publish(self.q, b"y")
        self.wait_deliveries(consumers[2], 1)

    def test_unacked_of_a_lost_consumer_go_to_the_next(self):
        one, two = self.connection.channel(), self.connection.channel()
        first, second = self.consume(self.q, channel=one), self.consume(self.q, channel=two)
        self.publish(self.q, b"a", b"b")
        self.wait_deliveries(first, 2)
        one.close()
        self.wait_deliveries(second, 2)
        self.assertEqual(second.bodies, [b"a", b"b"])
        self.assertTrue(second[0][0].redelivered)

    def test_get_405(self):
        pattern = re.compile("^RESOURCE_LOCKED - cannot obtain access to locked queue '%s' in vhost '/'. "
                             "basic.get operations are not supported by (classic )?queues with single active "
                             "consumer$" % re.escape(self.q))
        if not self.old_rabbit:  # its classic queues allow it
            with self.channel_error(405, pattern):
                self.ch.basic_get(self.q)

    def test_exclusive_consumer_403(self):
        with self.channel_error(403, re.compile("^ACCESS_REFUSED - queue '%s' in vhost '/' in exclusive use"
                                                % re.escape(self.q))):
            self.consume(self.q, exclusive=True)


class TestReplyTo(Case):
    def setUp(self):
        super().setUp()
        self.requester = self.connection.channel()

    def request(self, queue):
        replies = self.consume(REPLY_TO, channel=self.requester, auto_ack=True)
        self.publish(queue, b"question", channel=self.requester, reply_to=REPLY_TO, correlation_id="7")
        return replies, self.get(queue)[1]

    def test_reply_reaches_the_requester(self):
        replies, properties = self.request(self.queue())
        self.assertRegex(properties.reply_to, r"^amq\.rabbitmq\.reply-to\.")
        server = self.connect()
        self.publish(properties.reply_to, b"answer", channel=server.channel(), correlation_id=properties.correlation_id)
        self.wait_deliveries(replies, 1)
        method, properties, body = replies[0]
        self.assertEqual((body, properties.correlation_id, method.exchange), (b"answer", "7", ""))

    def test_mandatory_reply_is_delivered_and_not_returned(self):
        replies, properties = self.request(self.queue())
        self.ch.confirm_delivery()
        try:
            self.ch.basic_publish("", properties.reply_to, b"answer", mandatory=True)
        except UnroutableError:
            if not self.old_rabbit:  # it returns what it delivers
                raise
        self.wait_deliveries(replies, 1)

    def test_generated_name_can_be_looked_up_while_the_requester_lives(self):
        _, properties = self.request(self.queue())
        self.ch.queue_declare(properties.reply_to, passive=True)
        self.requester.close()
        self.wait(lambda: not self.exists("queue", properties.reply_to), "the reply queue is gone")

    def test_reply_to_a_gone_requester_is_dropped(self):
        _, properties = self.request(self.queue())
        self.requester.close()
        self.ch.confirm_delivery()
        self.publish(properties.reply_to, b"too late")

    def test_consume_with_acks_406(self):
        with self.channel_error(406, "PRECONDITION_FAILED - reply consumer cannot acknowledge", self.requester):
            self.consume(REPLY_TO, channel=self.requester)

    def test_second_consumer_406(self):
        self.consume(REPLY_TO, channel=self.requester, auto_ack=True)
        with self.channel_error(406, "PRECONDITION_FAILED - reply consumer already set", self.requester):
            self.consume(REPLY_TO, channel=self.requester, auto_ack=True)

    def test_request_without_a_reply_consumer_406(self):
        with self.channel_error(406, "PRECONDITION_FAILED - fast reply consumer does not exist", self.requester):
            self.publish("nowhere", b"x", channel=self.requester, reply_to=REPLY_TO)

    def test_declaring_the_pseudo_queue_passively_succeeds(self):
        self.ch.queue_declare(REPLY_TO, passive=True)

    def test_cancel_ends_the_reply_consumer(self):
        replies = self.consume(REPLY_TO, channel=self.requester, auto_ack=True)
        self.requester.basic_cancel(replies.tag)
        self.consume(REPLY_TO, channel=self.requester, auto_ack=True)


class TestQuorumQueue(Case):
    """x-queue-type quorum on one node: what it adds to a classic queue."""

    def quorum(self, **arguments):
        return self.queue({"x-queue-type": "quorum", **{k.replace("_", "-"): v for k, v in arguments.items()}},
                          durable=True)

    def test_publish_confirm_consume_ack(self):
        queue = self.quorum()
        self.ch.confirm_delivery()
        bodies = [b"%d" % i for i in range(50)]
        for body in bodies:
            self.ch.basic_publish("", queue, body, persistent())
        got = self.consume(queue)
        self.wait_deliveries(got, 50)
        self.ch.basic_ack(got.tags[-1], multiple=True)
        self.assertEqual(got.bodies, bodies)

    def test_arguments_of_quorum_queues_are_accepted(self):
        self.quorum(x_quorum_initial_group_size=1, x_queue_leader_locator="client-local", x_max_in_memory_length=10,
                    x_max_in_memory_bytes=1000, x_delivery_limit=5, x_max_length=100, x_overflow="reject-publish",
                    x_dead_letter_exchange="", x_dead_letter_routing_key="dead",
                    x_dead_letter_strategy="at-least-once", x_single_active_consumer=True, x_expires=100000,
                    x_message_ttl=100000)

    def test_delivery_count_header(self):
        queue = self.quorum()
        self.publish(queue, b"x")
        method, properties, _ = self.get(queue, auto_ack=False)
        if not self.old_rabbit:  # it says 0 here
            self.assertNotIn("x-delivery-count", properties.headers or {})
        for count in (1, 2):
            self.ch.basic_reject(method.delivery_tag, requeue=True)
            method, properties, _ = self.get(queue, auto_ack=False)
            self.assertEqual(properties.headers["x-delivery-count"], count)
            self.assertTrue(method.redelivered)

    def test_delivery_limit_dead_letters(self):
        dead = self.queue()
        queue = self.quorum(x_delivery_limit=2, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
        self.publish(queue, b"x")
        for _ in range(3):
            self.ch.basic_reject(self.get(queue, auto_ack=False)[0].delivery_tag, requeue=True)
        _, properties, body = self.get(dead)
        self.assertEqual((body, properties.headers["x-death"][0]["reason"]), (b"x", "delivery_limit"))

    def test_inequivalent_queue_type_406(self):
        queue = self.quorum()
        with self.channel_error(406, "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue '%s' in vhost "
                                "'/': received 'classic' but current is 'quorum'" % queue):
            self.ch.queue_declare(queue, durable=True, arguments={"x-queue-type": "classic"})


class TestDetails(Case):
    """Small things that clients and their tests rely on."""

    def returned(self, channel=None):
        """Collects basic.return: (method, properties, body)."""
        got = Deliveries()
        (channel or self.ch).add_on_return_callback(got.add)
        return got

    def test_return_carries_everything_back(self):
        got = self.returned()
        source = self.exchange("direct")
        properties = persistent(headers={"h": 1}, message_id="m", reply_to="r", priority=3, expiration="60000")
        self.ch.basic_publish(source, "key", b"body", properties, mandatory=True)
        self.wait(lambda: self.pump() or got, "the return")
        method, back, body = got[0]
        self.assertEqual((method.reply_code, method.reply_text, method.exchange, method.routing_key, body),
                         (312, "NO_ROUTE", source, "key", b"body"))
        self.assertEqual(back, properties)

    def test_return_of_an_empty_body(self):
        got = self.returned()
        self.ch.basic_publish("", "nowhere", b"", mandatory=True)
        self.wait(lambda: self.pump() or got, "the return")
        self.assertEqual(got.bodies, [b""])

    def test_alternate_exchange_without_queues_returns(self):
        other = self.exchange()
        source = self.exchange(arguments={"alternate-exchange": other})
        got = self.returned()
        self.ch.basic_publish(source, "key", b"x", mandatory=True)
        self.wait(lambda: self.pump() or got, "the return")
        self.assertEqual(got[0][0].exchange, source)

    def test_missing_alternate_exchange_drops(self):
        source = self.exchange(arguments={"alternate-exchange": "missing"})
        self.ch.confirm_delivery()
        self.publish("key", b"x", exchange=source)

    def test_alternate_exchange_inequivalent_406(self):
        source = self.exchange()
        with self.channel_error(406, "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange '%s' in "
                                "vhost '/': received the value 'a' of type 'longstr' but current is none" % source):
            self.ch.exchange_declare(source, "fanout", arguments={"alternate-exchange": "a"})

    def test_expiration_of_more_than_ten_years_406(self):
        with self.channel_error(406, "PRECONDITION_FAILED - invalid expiration '315360000001': "
                                "{value_too_large,315360000001}"):
            self.publish("key", b"x", expiration="315360000001")

    def test_times_of_ten_years(self):
        queue = self.queue({"x-message-ttl": 315360000000, "x-expires": 315360000000})
        self.publish(queue, b"x", expiration="315360000000")
        self.publish(queue, b"y", expiration="4294967295")
        self.assertEqual(self.get(queue)[2], b"x")
        self.assertEqual(self.get(queue)[2], b"y")

    def test_times_of_more_than_ten_years_406(self):
        for key in ("x-message-ttl", "x-expires"):
            queue = self.name()
            with self.channel_error(406, "PRECONDITION_FAILED - invalid arg '%s' for queue '%s' in vhost '/': "
                                    "{value_too_large,315360000001}" % (key, queue)):
                self.ch.queue_declare(queue, arguments={key: 315360000001})

    def test_expiration_empty_406(self):
        with self.channel_error(406, "PRECONDITION_FAILED - invalid expiration '': no_integer"):
            self.publish("key", b"x", expiration="")

    def test_expiration_0_reaches_a_waiting_consumer_only(self):
        queue = self.queue()
        self.publish(queue, b"nobody", expiration="0")
        self.wait_count(queue, 0)
        got = self.consume(queue, auto_ack=True)
        self.publish(queue, b"somebody", expiration="0")
        self.wait_deliveries(got, 1)
        self.assertEqual(got.bodies, [b"somebody"])

    def test_an_expired_message_behind_a_live_one_waits(self):
        dead = self.queue()
        queue = self.queue({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
        self.publish(queue, b"long", expiration="60000")
        self.publish(queue, b"short", expiration="1")
        self.assertEqual(self.get(queue)[2], b"long")
        self.assertEqual(self.get(dead)[2], b"short")

    def test_max_length_bytes_with_reject_publish_dlx(self):
        dead = self.queue()
        queue = self.queue({"x-max-length-bytes": 10, "x-overflow": "reject-publish-dlx",
                            "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
        self.ch.confirm_delivery()
        self.publish(queue, b"12345678")
        with self.assertRaises(NackError):
            self.publish(queue, b"123456789")
        self.ch = self.connection.channel()
        _, properties, body = self.get(dead)
        self.assertEqual(body, b"123456789")
        self.assertEqual(properties.headers["x-death"][0]["reason"], "maxlen")
        self.assertEqual(self.drain(queue), [b"12345678"])

    def test_max_length_with_priorities_drops_the_next_to_be_delivered(self):
        queue = self.queue({"x-max-length": 2, "x-max-priority": 5})
        for priority in (1, 5, 3):
            self.publish(queue, b"%d" % priority, priority=priority)
        self.wait_count(queue, 2)
        self.assertEqual(self.drain(queue), [b"3", b"1"])

    def test_a_message_without_priority_has_priority_0(self):
        queue = self.queue({"x-max-priority": 2})
        self.publish(queue, b"none")
        self.publish(queue, b"zero", priority=0)
        self.publish(queue, b"one", priority=1)
        self.assertEqual(self.drain(queue), [b"one", b"none", b"zero"])

    def test_max_priority_256_406(self):
        queue = self.name()
        with self.channel_error(406, re.compile(r"^PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue '%s' in "
                                                r"vhost '/': \{max_value_exceeded,256\}$" % re.escape(queue))):
            self.ch.queue_declare(queue, arguments={"x-max-priority": 256})

    def test_a_lower_consumer_is_served_when_the_higher_has_no_credit(self):
        queue = self.queue()
        high = self.connection.channel()
        high.basic_qos(prefetch_count=1)
        low = self.consume(queue)
        first = self.consume(queue, channel=high, arguments={"x-priority": 10})
        self.publish(queue, b"1", b"2", b"3")
        self.wait(lambda: self.pump() or len(first) + len(low) == 3, "3 deliveries")
        self.assertEqual((first.bodies, low.bodies), ([b"1"], [b"2", b"3"]))

    def test_a_single_active_consumer_stays_when_a_higher_priority_comes(self):
        queue = self.queue({"x-single-active-consumer": True})
        first = self.consume(queue, auto_ack=True)
        second = self.consume(queue, auto_ack=True, arguments={"x-priority": 10})
        self.publish(queue, b"a", b"b")
        self.wait_deliveries(first, 2)
        self.assertEqual(second, [])

    def test_exclusive_queue_is_locked_for_every_method(self):
        other = self.connect()
        queue = self.name()
        self.ch.queue_declare(queue, exclusive=True)
        locked = re.compile("^RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '%s' in vhost '/'" % queue)
        for method in (lambda ch: ch.basic_get(queue), lambda ch: ch.queue_purge(queue),
                       lambda ch: ch.queue_delete(queue), lambda ch: ch.queue_bind(queue, "amq.fanout"),
                       lambda ch: ch.basic_consume(queue, lambda *_: None),
                       lambda ch: ch.queue_declare(queue, passive=True)):
            channel = other.channel()
            with self.channel_error(405, locked, channel=channel):
                method(channel)

    def test_exclusive_queue_of_a_lost_connection_goes(self):
        raw = self.opened()
        queue = raw.declare(1, self.name(), bits=4)
        raw.close()

        def free():
            channel = self.connection.channel()
            try:
                channel.queue_declare(queue)
            except ChannelClosedByBroker as e:
                self.assertEqual(e.reply_code, 405)
                return False
            return True

        self.wait(free, "the queue's name is free")

    def test_delete_if_unused_and_if_empty_looks_for_messages_first(self):
        queue = self.queue()
        self.publish(queue, b"x")
        self.wait_count(queue, 1)
        self.ch.basic_qos(prefetch_count=1)
        self.consume(queue)
        self.publish(queue, b"y", b"z")
        self.wait_count(queue, 2)
        with self.channel_error(406, "PRECONDITION_FAILED - queue '%s' in vhost '/' not empty" % queue):
            self.ch.queue_delete(queue, if_unused=True, if_empty=True)

    def test_reply_to_an_address_that_never_was_is_returned(self):
        got = self.returned()
        self.ch.basic_publish("", REPLY_TO + ".bogus", b"x", mandatory=True)
        self.wait(lambda: self.pump() or got, "the return")
        self.assertEqual(got[0][0].routing_key, REPLY_TO + ".bogus")

    def test_headers_binding_of_a_void_value_asks_for_presence(self):
        queue, source = self.queue(), self.exchange("headers")
        self.ch.queue_bind(queue, source, arguments={"x-match": "all", "h": None})
        self.publish("", b"there", exchange=source, headers={"h": "anything"})
        self.publish("", b"not there", exchange=source, headers={"g": 1})
        self.assertEqual(self.get(queue)[2], b"there")
        self.assertEqual(self.drain(queue), [])

    def test_headers_binding_compares_types(self):
        queue, source = self.queue(), self.exchange("headers")
        self.ch.queue_bind(queue, source, arguments={"x-match": "all", "h": 1})
        self.publish("", b"text", exchange=source, headers={"h": "1"})
        self.publish("", b"number", exchange=source, headers={"h": 1})
        self.assertEqual(self.get(queue)[2], b"number")
        self.assertEqual(self.drain(queue), [])

    def test_headers_binding_without_headers_matches_all_and_not_any(self):
        every, some, source = self.queue(), self.queue(), self.exchange("headers")
        self.ch.queue_bind(every, source, arguments={"x-match": "all"})
        self.ch.queue_bind(some, source, arguments={"x-match": "any"})
        self.ch.confirm_delivery()
        self.publish("", b"x", exchange=source)
        self.assertEqual((self.drain(every), self.drain(some)), ([b"x"], []))

    def test_x_death_survives_a_second_queue(self):
        end = self.queue()
        second = self.queue({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": end, "x-message-ttl": 1})
        first = self.queue({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": second})
        self.publish(first, b"x", headers={"mine": "kept"})
        self.ch.basic_reject(self.get(first, auto_ack=False)[0].delivery_tag, requeue=False)
        _, properties, _ = self.get(end)
        deaths = properties.headers["x-death"]
        self.assertEqual([(d["queue"], d["reason"], d["count"]) for d in deaths],
                         [(second, "expired", 1), (first, "rejected", 1)])
        self.assertEqual((properties.headers["x-first-death-queue"], properties.headers["mine"]), (first, "kept"))

    def test_after_a_channel_error_the_rest_is_ignored_until_close_ok(self):
        raw = self.opened()
        queue = self.queue()
        raw.method(1, rawamqp.ACK, struct.pack(">QB", 99, 0))
        raw.publish(1, queue, b"ignored")
        raw.method(1, (50, 10), b"\0\0" + shortstr("ignored") + b"\0" + table({}))
        raw.expect(rawamqp.CHANNEL_CLOSE)
        raw.method(1, rawamqp.CHANNEL_CLOSE_OK)
        raw.open_channel(1)
        raw.publish(1, queue, b"taken")
        self.assertEqual(self.get(queue)[2], b"taken")
        self.assertEqual(self.drain(queue), [])


class TestRestart(Case):
    """Stops and starts the broker under test."""

    def setUp(self):
        if not broker.can_restart:
            self.skipTest("no restart of a broker given by COMPAT_URL")
        super().setUp()

    def restart(self):
        signal.alarm(0)
        self.connection.close()
        broker.restart()
        signal.alarm(TEST_SECONDS)
        self.connection = self.connect()
        self.ch = self.connection.channel()

    def test_durable_things_survive_transient_things_do_not(self):
        durable, transient = self.queue(durable=True), self.queue()
        kept, lost = self.exchange("topic", durable=True), self.exchange("topic")
        self.ch.queue_bind(durable, kept, "a.#")
        self.ch.exchange_bind(kept, "amq.fanout", "")
        self.ch.confirm_delivery()
        self.publish(durable, b"transient")
        for i in range(100):
            self.publish(durable, b"%d" % i, properties=persistent(headers={"n": i}))
        self.publish(durable, b"big" * 100000, properties=persistent())
        acked, unacked = self.connection.channel(), self.connection.channel()
        self.drain_transient(durable)
        acked.basic_ack(self.get(durable, auto_ack=False, channel=acked)[0].delivery_tag)
        acked.close()
        self.get(durable, auto_ack=False, channel=unacked)
        self.restart()
        self.assertFalse(self.exists("queue", transient))
        self.assertFalse(self.exists("exchange", lost))
        method, properties, body = self.get(durable)
        self.assertEqual((body, properties.headers), (b"1", {"n": 1}))
        self.assertEqual([self.get(durable)[2] for _ in range(98)], [b"%d" % i for i in range(2, 100)])
        self.assertEqual(self.get(durable)[2], b"big" * 100000)
        self.publish("a.b", b"bound", exchange=kept)
        self.publish("a", b"bound twice", exchange="amq.fanout")
        self.assertEqual(self.drain(durable), [b"bound", b"bound twice"])

    def drain_transient(self, queue):
        self.assertEqual(self.get(queue)[2], b"transient")

    def test_a_durable_queue_keeps_transient_messages_too(self):
        queue = self.queue(durable=True)
        self.publish(queue, b"transient")
        self.publish(queue, b"persistent", properties=persistent())
        self.restart()
        kept = [b"persistent"] if self.old_rabbit else [b"transient", b"persistent"]
        self.assertEqual(self.drain(queue), kept)

    def test_shutdown_closes_connections_with_320(self):
        other = self.connect()
        signal.alarm(0)
        broker.restart()
        signal.alarm(TEST_SECONDS)
        with self.assertRaises(ConnectionClosedByBroker) as caught:
            while True:
                other.process_data_events(time_limit=0.1)
        self.assertEqual((caught.exception.reply_code, caught.exception.reply_text),
                         (320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"))

    def test_durable_queue_arguments_survive(self):
        dead = self.queue(durable=True)
        queue = self.queue({"x-max-length": 1, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead},
                           durable=True)
        self.restart()
        self.publish(queue, b"a", b"b", properties=persistent())
        self.assertEqual(self.get(dead)[2], b"a")


if __name__ == "__main__":
    program = unittest.main(exit=False)
    if not program.result.wasSuccessful():
        print(_log, file=sys.stderr)
        sys.exit(1)
