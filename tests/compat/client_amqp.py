#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""py-amqp, the client below kombu and Celery."""

import datetime
import decimal
import sys
import urllib.parse

from clientlib import BIG, NUMBERS, WAIT, check, check_equal, main, number

try:
    import amqp
except ImportError:
    print("no Python module amqp")
    sys.exit(77)

EXCHANGE = "compat.amqp"
QUEUE = "compat.amqp.durable"
HEADERS = {
    "bool": True,
    "int": -42,
    "long": 1 << 40,
    "float": 2.5,
    "text": "grüße",
    "decimal": decimal.Decimal("3.14"),
    "time": datetime.datetime(2024, 2, 29, 12, 30, 45),
    "none": None,
    "list": [1, "two", False, [3]],
    "table": {"inner": {"deep": "x"}, "empty": {}},
}


def connect(url):
    parts = urllib.parse.urlsplit(url)
    connection = amqp.Connection("%s:%d" % (parts.hostname, parts.port), userid=parts.username,
                                 password=parts.password, confirm_publish=True, connect_timeout=WAIT,
                                 read_timeout=WAIT, write_timeout=WAIT, heartbeat=60)
    connection.connect()
    return connection


def publish(channel, body, key="key", **options):
    """Publish; returns when the broker has confirmed."""
    properties = options.pop("properties", {"delivery_mode": 2})
    channel.basic_publish(amqp.Message(body, **properties), EXCHANGE, key, timeout=WAIT, **options)


def get(channel, no_ack=True):
    message = channel.basic_get(QUEUE, no_ack=no_ack)
    check(message is not None, "the queue is empty")
    return message


def as_bytes(body):
    return body.encode() if isinstance(body, str) else bytes(body)


def publish_and_consume(connection, channel):
    for i in range(50):
        publish(channel, b"%d" % i)
    seen = []

    def received(message):
        seen.append(as_bytes(message.body))
        channel.basic_ack(message.delivery_tag)

    channel.basic_qos(0, 7, False)
    tag = channel.basic_consume(QUEUE, callback=received)
    while len(seen) < 50:
        connection.drain_events(timeout=WAIT)
    channel.basic_cancel(tag)
    check_equal(seen, [b"%d" % i for i in range(50)], "consumed messages")


def get_and_nack(channel):
    publish(channel, b"again")
    message = get(channel, no_ack=False)
    check(not message.delivery_info["redelivered"], "redelivered is set on the first delivery")
    channel.basic_reject(message.delivery_tag, requeue=True)
    message = get(channel, no_ack=False)
    check_equal(as_bytes(message.body), b"again", "requeued message")
    check(message.delivery_info["redelivered"], "redelivered is not set after a requeue")
    channel.basic_recover(requeue=True)
    message = get(channel, no_ack=False)
    channel.basic_reject(message.delivery_tag, requeue=False)
    check_equal(channel.basic_get(QUEUE), None, "get of an empty queue")


def bodies_and_headers(channel):
    publish(channel, BIG)
    check(as_bytes(get(channel).body) == BIG, "the large body came back changed")
    publish(channel, b"")
    check_equal(as_bytes(get(channel).body), b"", "empty body")
    sent = {"content_type": "application/octet-stream", "application_headers": HEADERS, "delivery_mode": 1,
            "priority": 5, "correlation_id": "corr", "reply_to": "reply", "expiration": "60000",
            "message_id": "id", "timestamp": 1700000000, "type": "kind",
            "app_id": "app", "cluster_id": "cluster"}
    publish(channel, b"x", properties=sent)
    check_equal(get(channel).properties, sent, "properties")


def mandatory(channel):
    returned = []
    channel.events["basic_return"].add(lambda error, *where: returned.append((error, where)))
    publish(channel, b"lost", key="nowhere", mandatory=True)
    check_equal(len(returned), 1, "returned messages")
    error, where = returned[0]
    check_equal((error.reply_code, error.reply_text), (312, "NO_ROUTE"), "basic.return")
    check_equal(where[:2], (EXCHANGE, "nowhere"), "returned from")


def exchange_binding(channel):
    channel.exchange_declare(EXCHANGE + ".front", "fanout", auto_delete=False)
    channel.exchange_bind(EXCHANGE, EXCHANGE + ".front", "key")
    channel.basic_publish_confirm(amqp.Message(b"through"), EXCHANGE + ".front", "key")
    check_equal(as_bytes(get(channel).body), b"through", "message through an exchange binding")
    channel.exchange_unbind(EXCHANGE, EXCHANGE + ".front", "key")
    channel.exchange_delete(EXCHANGE + ".front")


def purge_and_delete(channel):
    for _ in range(3):
        publish(channel, b"x")
    check_equal(channel.queue_purge(QUEUE), 3, "purged messages")
    channel.queue_declare("compat.amqp.other", exclusive=True)
    channel.basic_publish_confirm(amqp.Message(b"x"), "", "compat.amqp.other")
    check_equal(channel.queue_delete("compat.amqp.other"), 1, "messages deleted with the queue")


def missing_queue(connection):
    try:
        connection.channel().queue_declare("compat.amqp.missing", passive=True)
    except amqp.NotFound as e:
        check_equal((e.reply_code, e.reply_text),
                    (404, "NOT_FOUND - no queue 'compat.amqp.missing' in vhost '/'"), "passive declare")
        check_equal(e.method_sig, (50, 10), "failed method")
    else:
        raise AssertionError("a passive declare of a missing queue succeeded")


def transaction(connection):
    channel = amqp.Channel(connection)
    channel.open()
    channel.tx_select()
    channel._basic_publish(amqp.Message(b"never"), EXCHANGE, "key")
    channel.tx_rollback()
    channel._basic_publish(amqp.Message(b"committed"), EXCHANGE, "key")
    channel.tx_commit()
    check_equal(as_bytes(get(channel).body), b"committed", "message of a committed transaction")
    channel.tx_commit()
    channel.close()


def phase1(url):
    connection = connect(url)
    channel = connection.channel()
    channel.queue_delete(QUEUE)
    channel.exchange_delete(EXCHANGE)
    channel.exchange_declare(EXCHANGE, "topic", durable=True, auto_delete=False)
    channel.queue_declare(QUEUE, durable=True, auto_delete=False)
    channel.queue_bind(QUEUE, EXCHANGE, "key")
    publish_and_consume(connection, channel)
    get_and_nack(channel)
    bodies_and_headers(channel)
    mandatory(channel)
    exchange_binding(channel)
    purge_and_delete(channel)
    missing_queue(connection)
    transaction(connection)
    for i in range(NUMBERS):
        publish(channel, number(i))
    connection.close()


def phase2(url):
    connection = connect(url)
    channel = connection.channel()
    check_equal(channel.queue_declare(QUEUE, passive=True).message_count, NUMBERS, "messages after the restart")
    for i in range(NUMBERS):
        check_equal(as_bytes(get(channel).body), number(i), "message %d after the restart" % i)
    publish(channel, b"after", mandatory=True)
    check_equal(as_bytes(get(channel).body), b"after", "the durable binding after the restart")
    channel.queue_delete(QUEUE)
    channel.exchange_delete(EXCHANGE)
    connection.close()


main(phase1, phase2)
