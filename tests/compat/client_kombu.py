#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kombu, the messaging layer of Celery (over py-amqp)."""

import sys

from clientlib import BIG, NUMBERS, WAIT, check, check_equal, main, number

try:
    import kombu
    from amqp.exceptions import NotFound
except ImportError:
    print("no Python module kombu")
    sys.exit(77)

EXCHANGE = kombu.Exchange("compat.kombu", "topic", durable=True)
QUEUE = kombu.Queue("compat.kombu.durable", EXCHANGE, routing_key="key.#", durable=True)
HEADERS = {"bool": True, "int": -42, "long": 1 << 40, "float": 2.5, "text": "grüße", "none": None,
           "list": [1, "two", False], "table": {"inner": {"deep": "x"}}}


def connect(url):
    return kombu.Connection(url, connect_timeout=WAIT, heartbeat=60, transport_options={
        "confirm_publish": True, "read_timeout": WAIT, "write_timeout": WAIT})


def raw(producer, body, **options):
    producer.publish(body, exchange=EXCHANGE, content_type="application/octet-stream",
                     content_encoding="binary", **{"routing_key": "key.raw", **options})


def get(queue, no_ack=True):
    message = queue.get(no_ack=no_ack)
    check(message is not None, "the queue is empty")
    return message


def publish_and_consume(connection, channel, producer):
    for i in range(50):
        producer.publish({"number": i}, exchange=EXCHANGE, routing_key="key.json", serializer="json")
    seen = []

    def received(body, message):
        seen.append(body["number"])
        message.ack()

    with kombu.Consumer(channel, [QUEUE], callbacks=[received], accept=["json"], prefetch_count=7):
        while len(seen) < 50:
            connection.drain_events(timeout=WAIT)
    check_equal(seen, list(range(50)), "consumed messages")


def get_and_requeue(queue, producer):
    raw(producer, b"again")
    message = get(queue, no_ack=False)
    check(not message.delivery_info["redelivered"], "redelivered is set on the first delivery")
    message.requeue()
    message = get(queue, no_ack=False)
    check_equal(message.body, b"again", "requeued message")
    check(message.delivery_info["redelivered"], "redelivered is not set after a requeue")
    message.reject()
    check_equal(queue.get(), None, "get of an empty queue")


def bodies_and_headers(queue, producer):
    raw(producer, BIG)
    check(get(queue).body == BIG, "the large body came back changed")
    raw(producer, BIG, compression="zlib")
    check(get(queue).payload == BIG, "the compressed body came back changed")
    raw(producer, b"")
    check_equal(bytes(get(queue).body or b""), b"", "empty body")
    raw(producer, b"x", headers=HEADERS, priority=5, expiration=60)
    message = get(queue)
    check_equal({k: message.headers[k] for k in HEADERS}, HEADERS, "headers")
    check_equal((message.properties["priority"], message.properties["expiration"]), (5, "60000"), "properties")


def mandatory(channel):
    returned = []
    producer = kombu.Producer(channel, on_return=lambda error, *where: returned.append((error, where)))
    raw(producer, b"lost", routing_key="nowhere", mandatory=True)
    check_equal(len(returned), 1, "returned messages")
    error, where = returned[0]
    check_equal((error.reply_code, error.reply_text), (312, "NO_ROUTE"), "basic.return")
    check_equal(where[:2], (EXCHANGE.name, "nowhere"), "returned from")


def simple_queue(connection):
    with connection.SimpleQueue("compat.kombu.simple") as queue:
        queue.put({"a": 1})
        message = queue.get(timeout=WAIT)
        check_equal(message.payload, {"a": 1}, "SimpleQueue message")
        message.ack()
        queue.consumer.cancel()
        queue.queue.delete()
        queue.consumer.channel.exchange_delete("compat.kombu.simple")


def purge(queue, producer):
    for _ in range(3):
        raw(producer, b"x")
    check_equal(queue.purge(), 3, "purged messages")


def missing_queue(connection):
    try:
        connection.channel().queue_declare("compat.kombu.missing", passive=True)
    except NotFound as e:
        check_equal((e.reply_code, e.reply_text),
                    (404, "NOT_FOUND - no queue 'compat.kombu.missing' in vhost '/'"), "passive declare")
    else:
        raise AssertionError("a passive declare of a missing queue succeeded")


def phase1(url):
    with connect(url) as connection:
        channel = connection.channel()
        queue = QUEUE(channel)
        queue.delete()
        EXCHANGE(channel).delete()
        queue.declare()
        producer = kombu.Producer(channel)
        publish_and_consume(connection, channel, producer)
        get_and_requeue(queue, producer)
        bodies_and_headers(queue, producer)
        mandatory(channel)
        simple_queue(connection)
        purge(queue, producer)
        missing_queue(connection)
        for i in range(NUMBERS):
            raw(producer, number(i))


def phase2(url):
    with connect(url) as connection:
        channel = connection.channel()
        queue = QUEUE(channel)
        check_equal(channel.queue_declare(QUEUE.name, passive=True).message_count, NUMBERS,
                    "messages after the restart")
        for i in range(NUMBERS):
            check_equal(get(queue).body, number(i), "message %d after the restart" % i)
        raw(kombu.Producer(channel), b"after", mandatory=True)
        check_equal(get(queue).body, b"after", "the durable binding after the restart")
        queue.delete()
        EXCHANGE(channel).delete()


main(phase1, phase2)
