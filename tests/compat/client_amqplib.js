#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// amqplib for Node.js, its promise interface.
'use strict';

const assert = require('assert');

let amqp;
try {
  amqp = require('amqplib');
} catch {
  console.log('no node module amqplib');
  process.exit(77);
}

const PHASE_SECONDS = 180;
const EXCHANGE = 'compat.amqplib';
const QUEUE = 'compat.amqplib.durable';
const MISSING = 'compat.amqplib.missing';
const NUMBERS = 20; // persistent messages that have to survive the restart
const HEADERS = {
  bool: true,
  int: -42,
  long: 2 ** 40,
  double: 2.5,
  text: 'grüße',
  none: null,
  list: [1, 'two', false, [3]],
  table: { inner: { deep: 'x' } },
};

const number = (i) => `message ${i}`;
const persistent = { persistent: true };
const texts = (count) => Array.from({ length: count }, (_, i) => String(i));

async function get(channel, options = { noAck: true }) {
  const message = await channel.get(QUEUE, options);
  assert(message, `queue ${QUEUE} is empty`);
  return message;
}

async function publish(channel, body, options = persistent, key = 'key') {
  channel.publish(EXCHANGE, key, Buffer.from(body), options);
  await channel.waitForConfirms();
}

async function publishAndConsume(channel) {
  for (const text of texts(50)) channel.publish(EXCHANGE, 'key', Buffer.from(text), persistent);
  await channel.waitForConfirms();
  await channel.prefetch(7);
  const seen = [];
  await new Promise((resolve, reject) => {
    channel.consume(QUEUE, (message) => {
      if (!message) return reject(new Error('the consumer was cancelled'));
      seen.push(message.content.toString());
      channel.ack(message);
      if (seen.length === 50) resolve();
    }, { consumerTag: 'reader' }).catch(reject);
  });
  await channel.cancel('reader');
  assert.deepStrictEqual(seen, texts(50), 'consumed messages');
}

async function getAndNack(channel) {
  await publish(channel, 'again');
  let message = await get(channel, { noAck: false });
  assert(!message.fields.redelivered, 'redelivered is set on the first delivery');
  channel.nack(message, false, true);
  message = await get(channel, { noAck: false });
  assert.strictEqual(message.content.toString(), 'again', 'requeued message');
  assert(message.fields.redelivered, 'redelivered is not set after a requeue');
  channel.reject(message, false);
  assert.strictEqual(await channel.get(QUEUE), false, 'get of an empty queue');
}

async function bodiesAndHeaders(channel) {
  const big = Buffer.alloc(1 << 20, 'large body, ');
  await publish(channel, big);
  assert((await get(channel)).content.equals(big), 'the large body came back changed');
  await publish(channel, '');
  assert.strictEqual((await get(channel)).content.length, 0, 'empty body');

  await publish(channel, 'x', {
    headers: {
      ...HEADERS,
      time: { '!': 'timestamp', value: 1700000000 },
      decimal: { '!': 'decimal', value: { places: 2, digits: 314 } },
    },
    contentType: 'text/plain', priority: 5, correlationId: 'corr', replyTo: 'reply', expiration: '60000',
    messageId: 'id', timestamp: 1700000000, type: 'kind', appId: 'app',
  });
  const { properties } = await get(channel);
  for (const [key, value] of Object.entries(HEADERS)) {
    assert.deepStrictEqual(properties.headers[key], value, `header ${key}`);
  }
  assert.strictEqual(properties.headers.time.value, 1700000000, 'header time');
  assert.deepStrictEqual(properties.headers.decimal.value, { places: 2, digits: 314 }, 'header decimal');
  assert.deepStrictEqual(
    [properties.contentType, properties.priority, properties.correlationId, properties.replyTo,
      properties.expiration, properties.messageId, properties.timestamp, properties.type, properties.appId],
    ['text/plain', 5, 'corr', 'reply', '60000', 'id', 1700000000, 'kind', 'app'], 'properties');
}

async function mandatory(channel) {
  const returned = [];
  channel.once('return', (message) => returned.push(message));
  await publish(channel, 'lost', { mandatory: true }, 'nowhere');
  assert.strictEqual(returned.length, 1, 'no basic.return before the confirm');
  assert.deepStrictEqual([returned[0].fields.replyCode, returned[0].fields.replyText, returned[0].content.toString()],
    [312, 'NO_ROUTE', 'lost'], 'basic.return');
}

async function purgeAndDelete(channel) {
  for (let i = 0; i < 3; i++) await publish(channel, 'x');
  assert.strictEqual((await channel.purgeQueue(QUEUE)).messageCount, 3, 'purged messages');
  const { queue } = await channel.assertQueue('', { exclusive: true });
  channel.sendToQueue(queue, Buffer.from('x'));
  await channel.waitForConfirms();
  assert.strictEqual((await channel.deleteQueue(queue)).messageCount, 1, 'messages deleted with the queue');
}

async function missingQueue(connection) {
  const channel = await connection.createChannel();
  const closed = new Promise((resolve) => { channel.on('error', resolve); });
  await assert.rejects(channel.checkQueue(MISSING));
  const error = await closed;
  assert.strictEqual(error.code, 404, 'reply code of the passive declare');
  assert(error.message.includes(`NOT_FOUND - no queue '${MISSING}' in vhost '/'`), `text: ${error.message}`);
}

async function phase1(connection) {
  const channel = await connection.createConfirmChannel();
  await channel.deleteQueue(QUEUE);
  await channel.deleteExchange(EXCHANGE);
  await channel.assertExchange(EXCHANGE, 'headers', { durable: true });
  await channel.deleteExchange(EXCHANGE);
  await channel.assertExchange(EXCHANGE, 'direct', { durable: true });
  await channel.assertQueue(QUEUE, { durable: true });
  await channel.bindQueue(QUEUE, EXCHANGE, 'key');
  await publishAndConsume(channel);
  await getAndNack(channel);
  await bodiesAndHeaders(channel);
  await mandatory(channel);
  await purgeAndDelete(channel);
  await missingQueue(connection);
  for (let i = 0; i < NUMBERS; i++) await publish(channel, number(i));
}

async function phase2(connection) {
  const channel = await connection.createConfirmChannel();
  assert.strictEqual((await channel.checkQueue(QUEUE)).messageCount, NUMBERS, 'messages after the restart');
  for (let i = 0; i < NUMBERS; i++) {
    assert.strictEqual((await get(channel)).content.toString(), number(i), `message ${i} after the restart`);
  }
  await publish(channel, 'after', { mandatory: true });
  assert.strictEqual((await get(channel)).content.toString(), 'after', 'the durable binding after the restart');
  await channel.deleteQueue(QUEUE);
  await channel.deleteExchange(EXCHANGE);
}

async function main(url, phase) {
  const connection = await amqp.connect(url, { timeout: 30000 });
  await { phase1, phase2 }[phase](connection);
  await connection.close();
}

setTimeout(() => {
  console.error('the broker did not answer in time');
  process.exit(1);
}, PHASE_SECONDS * 1000).unref();

main(process.argv[2], process.argv[3]).then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
