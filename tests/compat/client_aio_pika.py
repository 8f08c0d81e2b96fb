#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""aio-pika (asyncio, over aiormq and pamqp)."""

import asyncio
import datetime
import sys

from clientlib import BIG, NUMBERS, PHASE_SECONDS, WAIT, check, check_equal, main, number

try:
    import aio_pika
    from aio_pika import DeliveryMode, ExchangeType, Message
    from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError
except ImportError:
    print("no Python module aio_pika")
    sys.exit(77)

EXCHANGE = "compat.aio_pika"
QUEUE = "compat.aio_pika.durable"
# The library mangles negative and floating numbers, so there are none.
HEADERS = {"bool": True, "int": 42, "long": 1 << 40, "text": "grüße", "none": None,
           "time": datetime.datetime(2024, 2, 29, 12, 30, 45),
           "list": [1, "two", False], "table": {"inner": {"deep": "x"}}}


def persistent(body):
    return Message(body, delivery_mode=DeliveryMode.PERSISTENT)


async def get(queue, **options):
    return await queue.get(timeout=WAIT, **options)


async def publish_and_consume(channel, exchange, queue):
    await asyncio.gather(*[exchange.publish(persistent(b"%d" % i), "key") for i in range(50)])
    await channel.set_qos(prefetch_count=7)
    seen = []
    async with queue.iterator(timeout=WAIT) as messages:
        async for message in messages:
            seen.append(message.body)
            await message.ack()
            if len(seen) == 50:
                break
    check_equal(seen, [b"%d" % i for i in range(50)], "consumed messages")


async def get_and_nack(exchange, queue):
    await exchange.publish(persistent(b"again"), "key")
    message = await get(queue)
    check(not message.redelivered, "redelivered is set on the first delivery")
    await message.nack(requeue=True)
    message = await get(queue)
    check_equal(message.body, b"again", "requeued message")
    check(message.redelivered, "redelivered is not set after a requeue")
    await message.reject(requeue=False)
    check_equal(await get(queue, fail=False), None, "get of an empty queue")


async def bodies_and_headers(exchange, queue):
    await exchange.publish(persistent(BIG), "key")
    check((await get(queue, no_ack=True)).body == BIG, "the large body came back changed")
    await exchange.publish(persistent(b""), "key")
    check_equal((await get(queue, no_ack=True)).body, b"", "empty body")
    await exchange.publish(Message(b"x", headers=HEADERS, priority=5, correlation_id="corr", reply_to="reply",
                                   expiration=60, message_id="id", type="kind", app_id="app"), "key")
    got = await get(queue, no_ack=True)
    check_equal(dict(got.headers.items()), HEADERS, "headers")
    check_equal((got.priority, got.correlation_id, got.reply_to, got.message_id, got.type, got.app_id),
                (5, "corr", "reply", "id", "kind", "app"), "properties")


async def mandatory(connection):
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    exchange = await channel.get_exchange(EXCHANGE)
    try:
        await exchange.publish(Message(b"lost"), "nowhere", mandatory=True)
    except DeliveryError as e:
        check_equal(e.message.delivery.reply_text, "NO_ROUTE", "basic.return")
    else:
        raise AssertionError("an unroutable mandatory message was not returned")


async def purge_and_delete(channel, exchange, queue):
    for _ in range(3):
        await exchange.publish(Message(b"x"), "key")
    check_equal((await queue.purge()).message_count, 3, "purged messages")
    other = await channel.declare_queue("compat.aio_pika.other")
    await channel.default_exchange.publish(Message(b"x"), other.name)
    check_equal((await other.delete(if_empty=False)).message_count, 1, "messages deleted with the queue")


async def missing_queue(connection):
    channel = await connection.channel()
    try:
        await channel.declare_queue("compat.aio_pika.missing", passive=True)
    except ChannelNotFoundEntity as e:
        check_equal(str(e), "NOT_FOUND - no queue 'compat.aio_pika.missing' in vhost '/'", "passive declare")
    else:
        raise AssertionError("a passive declare of a missing queue succeeded")


async def phase1(url):
    connection = await aio_pika.connect(url, timeout=WAIT)
    async with connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.queue_delete(QUEUE)
        await channel.exchange_delete(EXCHANGE)
        exchange = await channel.declare_exchange(EXCHANGE, ExchangeType.DIRECT, durable=True)
        queue = await channel.declare_queue(QUEUE, durable=True)
        await queue.bind(exchange, "key")
        await publish_and_consume(channel, exchange, queue)
        await get_and_nack(exchange, queue)
        await bodies_and_headers(exchange, queue)
        await mandatory(connection)
        await purge_and_delete(channel, exchange, queue)
        await missing_queue(connection)
        for i in range(NUMBERS):
            await exchange.publish(persistent(number(i)), "key")


async def phase2(url):
    connection = await aio_pika.connect(url, timeout=WAIT)
    async with connection:
        channel = await connection.channel(publisher_confirms=True)
        queue = await channel.declare_queue(QUEUE, passive=True)
        check_equal(queue.declaration_result.message_count, NUMBERS, "messages after the restart")
        for i in range(NUMBERS):
            check_equal((await get(queue, no_ack=True)).body, number(i), "message %d after the restart" % i)
        exchange = await channel.get_exchange(EXCHANGE)
        await exchange.publish(Message(b"after"), "key", mandatory=True)
        check_equal((await get(queue, no_ack=True)).body, b"after", "the durable binding after the restart")
        await queue.delete(if_unused=False, if_empty=False)
        await exchange.delete()


def bounded(phase):
    return lambda url: asyncio.run(asyncio.wait_for(phase(url), PHASE_SECONDS - 10))


main(bounded(phase1), bounded(phase2))
