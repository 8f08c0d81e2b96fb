#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pika, its blocking connection."""

import datetime
import decimal
import sys

from clientlib import BIG, NUMBERS, WAIT, check, check_equal, main, number

try:
    import pika
    from pika.exceptions import ChannelClosedByBroker, UnroutableError
except ImportError:
    print("no Python module pika")
    sys.exit(77)

EXCHANGE = "compat.pika"
QUEUE = "compat.pika.durable"
PERSISTENT = pika.BasicProperties(delivery_mode=2)
HEADERS = {
    "bool": True,
    "int": -42,
    "long": 1 << 40,
    "text": "grüße",
    "bytes": b"\0\xff",
    "decimal": decimal.Decimal("3.14"),
    "time": datetime.datetime(2024, 2, 29, 12, 30, 45),
    "none": None,
    "list": [1, "two", False, [3]],
    "table": {"inner": {"deep": "x"}, "empty": {}},
}


def connect(url):
    return pika.BlockingConnection(pika.URLParameters(url + "?socket_timeout=%d&heartbeat=60" % WAIT))


def get(channel, queue, auto_ack=True):
    method, properties, body = channel.basic_get(queue, auto_ack=auto_ack)
    check(method is not None, "queue %s is empty" % queue)
    return method, properties, body


def publish_and_consume(channel):
    for i in range(50):
        channel.basic_publish(EXCHANGE, "key", b"%d" % i, PERSISTENT)
    channel.basic_qos(prefetch_count=7)
    seen = []
    for method, _, body in channel.consume(QUEUE, inactivity_timeout=WAIT):
        check(method is not None, "only %d of 50 messages came" % len(seen))
        seen.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(seen) == 50:
            break
    channel.cancel()
    check_equal(seen, [b"%d" % i for i in range(50)], "consumed messages")


def get_and_nack(channel):
    channel.basic_publish(EXCHANGE, "key", b"again", PERSISTENT)
    method, _, _ = get(channel, QUEUE, auto_ack=False)
    check(not method.redelivered, "redelivered is set on the first delivery")
    channel.basic_nack(method.delivery_tag, requeue=True)
    method, _, body = get(channel, QUEUE, auto_ack=False)
    check_equal(body, b"again", "requeued message")
    check(method.redelivered, "redelivered is not set after a requeue")
    channel.basic_reject(method.delivery_tag, requeue=False)
    check_equal(channel.basic_get(QUEUE)[0], None, "get of an empty queue")


def bodies_and_headers(channel):
    channel.basic_publish(EXCHANGE, "key", BIG, PERSISTENT)
    check(get(channel, QUEUE)[2] == BIG, "the large body came back changed")
    channel.basic_publish(EXCHANGE, "key", b"", PERSISTENT)
    check_equal(get(channel, QUEUE)[2], b"", "empty body")

    sent = pika.BasicProperties(
        content_type="text/plain", content_encoding="utf-8", headers=HEADERS, delivery_mode=1, priority=5,
        correlation_id="corr", reply_to="reply", expiration="60000", message_id="id", timestamp=1700000000,
        type="kind", user_id=USER, app_id="app", cluster_id="cluster")
    channel.basic_publish(EXCHANGE, "key", b"x", sent)
    got = get(channel, QUEUE)[1]
    check_equal(got.headers, HEADERS, "headers")
    check_equal(vars(got), vars(sent), "properties")


def mandatory(channel):
    try:
        channel.basic_publish(EXCHANGE, "nowhere", b"lost", mandatory=True)
    except UnroutableError as e:
        returned = e.messages[0]
        check_equal((returned.method.reply_code, returned.method.reply_text), (312, "NO_ROUTE"), "basic.return")
        check_equal(returned.body, b"lost", "returned body")
    else:
        raise AssertionError("an unroutable mandatory message was not returned")


def purge_and_delete(channel):
    channel.queue_declare("compat.pika.other")
    for _ in range(3):
        channel.basic_publish("", "compat.pika.other", b"x")
    check_equal(channel.queue_purge("compat.pika.other").method.message_count, 3, "purged messages")
    channel.basic_publish("", "compat.pika.other", b"x")
    check_equal(channel.queue_delete("compat.pika.other").method.message_count, 1, "messages deleted with the queue")


def missing_queue(connection):
    channel = connection.channel()
    try:
        channel.queue_declare("compat.pika.missing", passive=True)
    except ChannelClosedByBroker as e:
        check_equal((e.reply_code, e.reply_text),
                    (404, "NOT_FOUND - no queue 'compat.pika.missing' in vhost '/'"), "passive declare")
    else:
        raise AssertionError("a passive declare of a missing queue succeeded")


def phase1(url):
    global USER
    USER = pika.URLParameters(url).credentials.username
    connection = connect(url)
    channel = connection.channel()
    channel.queue_delete(QUEUE)
    channel.exchange_delete(EXCHANGE)
    channel.exchange_declare(EXCHANGE, "direct", durable=True)
    channel.queue_declare(QUEUE, durable=True)
    channel.queue_bind(QUEUE, EXCHANGE, "key")
    channel.confirm_delivery()
    publish_and_consume(channel)
    get_and_nack(channel)
    bodies_and_headers(channel)
    mandatory(channel)
    purge_and_delete(channel)
    missing_queue(connection)
    for i in range(NUMBERS):
        channel.basic_publish(EXCHANGE, "key", number(i), PERSISTENT)
    connection.close()


def phase2(url):
    connection = connect(url)
    channel = connection.channel()
    check_equal(channel.queue_declare(QUEUE, passive=True).method.message_count, NUMBERS,
                "messages after the restart")
    for i in range(NUMBERS):
        check_equal(get(channel, QUEUE)[2], number(i), "message %d after the restart" % i)
    channel.confirm_delivery()
    channel.basic_publish(EXCHANGE, "key", b"after", PERSISTENT, mandatory=True)
    check_equal(get(channel, QUEUE)[2], b"after", "the durable binding after the restart")
    channel.queue_delete(QUEUE)
    channel.exchange_delete(EXCHANGE)
    connection.close()


main(phase1, phase2)
