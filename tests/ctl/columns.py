#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The columns of lists: each of RabbitMQ's 3.10 is known, and says what is so.

usage: columns.py [unittest arguments]; WARREND names the broker, WARRENCTL the tool.
"""

import json
import time
import unittest

from one_node import OneNode, exit_on_sigterm, with_pika

try:
    import pika
except ImportError:
    with_pika()

SECONDS = 20
STAMP = 1234567
QUEUES = """arguments auto_delete consumer_capacity consumer_utilisation consumers disk_reads disk_writes durable
    exclusive exclusive_consumer_pid exclusive_consumer_tag head_message_timestamp leader members memory message_bytes
    message_bytes_persistent message_bytes_ram message_bytes_ready message_bytes_unacknowledged messages
    messages_persistent messages_ram messages_ready messages_ready_ram messages_unacknowledged
    messages_unacknowledged_ram name online owner_pid pid policy slave_pids state synchronised_slave_pids type"""
CONNECTIONS = """auth_mechanism channel_max channels client_properties connected_at frame_max host name peer_cert_issuer
    peer_cert_subject peer_cert_validity peer_host peer_port pid port protocol recv_cnt recv_oct send_cnt send_oct
    send_pend ssl ssl_cipher ssl_hash ssl_key_exchange ssl_protocol state timeout user vhost"""
CHANNELS = """acks_uncommitted confirm connection consumer_count global_prefetch_count messages_unacknowledged
    messages_uncommitted messages_unconfirmed name number pid prefetch_count transactional user vhost"""
CONSUMERS = "ack_required active activity_status arguments channel_pid consumer_tag prefetch_count queue_name"
EXCHANGES = "arguments auto_delete durable internal name policy type"
BINDINGS = "arguments destination_kind destination_name routing_key source_kind source_name"
NO_TLS = ["peer_cert_issuer", "peer_cert_subject", "peer_cert_validity", "ssl_cipher", "ssl_hash", "ssl_key_exchange",
          "ssl_protocol"]


def ignore(*_):
    pass


class Columns(OneNode):
    def setUp(self):
        self.connection = pika.BlockingConnection(pika.URLParameters(self.broker.url))
        self.channel = self.connection.channel()

    def tearDown(self):
        self.connection.close()

    def rows(self, verb, columns):
        return json.loads(self.ctl(verb, "--formatter", "json", *columns.split()))

    def queue(self, name):
        row, = (r for r in self.rows("list_queues", QUEUES) if r["name"] == name)
        return row

    def queue_when(self, name, fits):
        """Its row, once that fits."""
        deadline = time.monotonic() + SECONDS
        while True:
            self.connection.process_data_events(0.02)
            row = self.queue(name)
            if fits(row):
                return row
            self.assertLess(time.monotonic(), deadline, row)

    def fill(self, name, durable):
        channel = self.connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(name, durable=durable)
        for stamp in STAMP, STAMP + 1, None, None:
            channel.basic_publish("", name, b"x" * 100, pika.BasicProperties(delivery_mode=2, timestamp=stamp))
        channel.close()

    def delete(self, *names):
        for name in names:
            self.channel.queue_delete(name)

    def test_durable_queue(self):
        self.fill("durable", True)
        self.channel.basic_qos(prefetch_count=1)
        self.channel.basic_consume("durable", ignore, exclusive=True, consumer_tag="alone")
        row = self.queue_when("durable", lambda r: r["messages_unacknowledged"] == 1)
        channel, = (c["pid"] for c in self.rows("list_channels", "pid consumer_count") if c["consumer_count"] == 1)
        self.assertEqual((row["exclusive_consumer_tag"], row["exclusive_consumer_pid"]), ("alone", channel))
        for column, value in {"messages": 4, "messages_ready": 3, "messages_persistent": 4, "messages_ram": 0,
                              "messages_ready_ram": 0, "messages_unacknowledged_ram": 0, "message_bytes": 400,
                              "message_bytes_persistent": 400, "message_bytes_ram": 0, "message_bytes_ready": 300,
                              "message_bytes_unacknowledged": 100, "disk_writes": 4, "disk_reads": 0, "consumers": 1,
                              "consumer_capacity": 0.0, "head_message_timestamp": STAMP + 1}.items():
            self.assertEqual(row[column], value, column)
        self.assertEqual(row["consumer_utilisation"], row["consumer_capacity"])
        self.assertTrue(100 < row["memory"] < 100000, row["memory"])
        self.channel.basic_cancel("alone")
        self.channel.basic_recover(requeue=True)
        row = self.queue_when("durable", lambda r: r["consumers"] == 0 and r["messages_ready"] == 4)
        self.assertEqual((row["exclusive_consumer_tag"], row["exclusive_consumer_pid"], row["consumer_capacity"]),
                         ("", "", 0))
        self.assertEqual(row["head_message_timestamp"], STAMP)
        self.delete("durable")

    def test_queue_in_memory(self):
        self.fill("memory", False)
        row = self.queue("memory")
        for column, value in {"messages_persistent": 0, "messages_ram": 4, "messages_ready_ram": 4,
                              "messages_unacknowledged_ram": 0, "message_bytes_ram": 400, "disk_writes": 0,
                              "disk_reads": 0, "message_bytes_persistent": 0}.items():
            self.assertEqual(row[column], value, column)
        self.assertGreater(row["memory"], 400)
        self.delete("memory")

    def test_queue_that_nobody_has_used(self):
        self.channel.queue_declare("fresh", durable=True)
        row = self.queue("fresh")
        without = {"exclusive_consumer_pid", "exclusive_consumer_tag", "head_message_timestamp", "owner_pid", "policy",
                   "slave_pids", "synchronised_slave_pids"}
        self.assertEqual({c for c, v in row.items() if v == ""}, without)
        self.channel.basic_consume("fresh", ignore)
        self.queue_when("fresh", lambda r: r["consumer_capacity"] == 1.0)
        self.delete("fresh")

    def test_only_queues_that_are_led_here(self):
        self.channel.queue_declare("fresh", durable=True)
        self.assertEqual(self.ctl("list_queues", "-s", "name", "--local"), "fresh\n")
        self.delete("fresh")

    def test_consumers(self):
        self.channel.queue_declare("single", durable=True, arguments={"x-single-active-consumer": True})
        self.channel.basic_qos(prefetch_count=7)
        self.channel.basic_consume("single", ignore, consumer_tag="one", arguments={"x-priority": 3})
        self.channel.basic_qos(prefetch_count=9)
        self.channel.basic_consume("single", ignore, consumer_tag="two", auto_ack=True)
        rows = {r["consumer_tag"]: r for r in self.rows("list_consumers", CONSUMERS)}
        state = {tag: [r[c] for c in ("prefetch_count", "ack_required", "active", "activity_status", "arguments")]
                 for tag, r in rows.items()}
        self.assertEqual(state, {"one": [7, True, True, "single_active", [["x-priority", "signedint", 3]]],
                                 "two": [9, False, False, "waiting", []]})
        row, = self.rows("list_queues", "name single_active_consumer_tag single_active_consumer_pid")
        self.assertEqual((row["single_active_consumer_tag"], row["single_active_consumer_pid"]),
                         ("one", rows["one"]["channel_pid"]))
        self.channel.basic_cancel("one")
        row, = self.rows("list_consumers", CONSUMERS)
        self.assertEqual((row["consumer_tag"], row["active"], row["activity_status"]), ("two", True, "single_active"))
        self.delete("single")

    def test_channels(self):
        self.channel.queue_declare("q", durable=True)
        self.channel.basic_publish("", "q", b"one")
        self.channel.tx_select()
        self.channel.basic_publish("", "q", b"two")
        method, _, _ = self.channel.basic_get("q")
        self.channel.basic_ack(method.delivery_tag)
        self.channel.queue_declare("q", durable=True, passive=True)  # behind the ack
        row, = self.rows("list_channels", CHANNELS)
        self.assertEqual((row["transactional"], row["messages_uncommitted"], row["acks_uncommitted"]), (True, 1, 1))
        self.channel.tx_commit()
        row, = self.rows("list_channels", CHANNELS)
        self.assertEqual((row["messages_uncommitted"], row["acks_uncommitted"]), (0, 0))
        self.assertEqual([c for c in row if row[c] == ""], [])
        self.delete("q")

    def test_connections(self):
        row, = self.rows("list_connections", CONNECTIONS)
        self.assertEqual(sorted(c for c in row if row[c] == ""), NO_TLS)
        self.assertTrue(0 < row["recv_cnt"] < row["recv_oct"] and 0 < row["send_cnt"] < row["send_oct"], row)
        self.assertIs(row["ssl"], False)

    def test_exchanges_and_bindings(self):
        for row in self.rows("list_exchanges", EXCHANGES):
            self.assertEqual({c for c in row if row[c] == ""} - {"name"}, {"policy"})
        self.channel.queue_declare("bound", durable=True)
        self.channel.queue_bind("bound", "amq.topic", "a.b")
        self.assertIn({"source_name": "amq.topic", "source_kind": "exchange", "destination_name": "bound",
                       "destination_kind": "queue", "routing_key": "a.b", "arguments": []},
                      self.rows("list_bindings", BINDINGS))
        self.delete("bound")


if __name__ == "__main__":
    exit_on_sigterm()
    unittest.main()
