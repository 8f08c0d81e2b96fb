#!/usr/bin/env php
<?php
// SPDX-License-Identifier: Apache-2.0
// The PHP extension amqp, which rests on the C library rabbitmq-c.

if (!extension_loaded('amqp')) {
    echo "no PHP extension amqp\n";
    exit(77);
}

const EXCHANGE = 'compat.php_amqp';
const QUEUE = 'compat.php_amqp.durable';
const MISSING = 'compat.php_amqp.missing';
const NUMBERS = 20; // persistent messages that have to survive the restart
const WAIT = 30;
const PERSISTENT = ['delivery_mode' => 2];
const HEADERS = [
    'bool' => true,
    'int' => -42,
    'long' => 1 << 40,
    'double' => 2.5,
    'text' => 'grüße',
    'none' => null,
    'list' => ['one', 'two'], // the extension leaves out all but strings
    'table' => ['inner' => ['deep' => 'x']],
];

function check($condition, $what)
{
    if (!$condition) {
        throw new Exception($what);
    }
}

function check_equal($got, $want, $what)
{
    check($got === $want, sprintf('%s: got %.500s, want %.500s', $what, var_export($got, true), var_export($want, true)));
}

function number($i)
{
    return "message $i";
}

function exchange($channel)
{
    $exchange = new AMQPExchange($channel);
    $exchange->setName(EXCHANGE);
    $exchange->setType(AMQP_EX_TYPE_DIRECT);
    $exchange->setFlags(AMQP_DURABLE);
    return $exchange;
}

function queue($channel, $name = QUEUE, $flags = AMQP_DURABLE)
{
    $queue = new AMQPQueue($channel);
    if ($name !== '') { // else the broker chooses one
        $queue->setName($name);
    }
    $queue->setFlags($flags);
    return $queue;
}

/** Wait until the confirm handler has counted $count acknowledgements. */
function await_confirms($channel, $count)
{
    $acked = 0;
    $channel->setConfirmCallback(
        function ($tag, $multiple) use (&$acked, $count) {
            $acked = $multiple ? $tag : $acked + 1;
            return $acked < $count;
        },
        function () {
            throw new Exception('the broker answered a publish with basic.nack');
        }
    );
    $channel->waitForConfirm(WAIT);
}

/** Publish, and get the answer to a method behind it: the broker has the message. */
function publish($queue, $exchange, $body, $properties = PERSISTENT)
{
    $exchange->publish($body, 'key', AMQP_NOPARAM, $properties);
    $queue->declareQueue();
}

function get($queue, $flags = AMQP_AUTOACK)
{
    $message = $queue->get($flags);
    check($message, 'the queue is empty');
    return $message;
}

function confirms($connection)
{
    $channel = new AMQPChannel($connection);
    $channel->confirmSelect();
    for ($i = 0; $i < 50; $i++) {
        exchange($channel)->publish((string)$i, 'key', AMQP_NOPARAM, PERSISTENT);
    }
    await_confirms($channel, 50);
}

function consume($connection)
{
    $channel = new AMQPChannel($connection);
    $channel->qos(0, 7);
    $queue = queue($channel);
    $seen = [];
    $queue->consume(function ($message, $queue) use (&$seen) {
        $seen[] = (int)$message->getBody();
        $queue->ack($message->getDeliveryTag());
        return count($seen) < 50;
    });
    $queue->cancel();
    check_equal($seen, range(0, 49), 'consumed messages');
}

function get_and_nack($queue, $exchange)
{
    publish($queue, $exchange, 'again');
    $message = get($queue, AMQP_NOPARAM);
    check(!$message->isRedelivery(), 'redelivered is set on the first delivery');
    $queue->nack($message->getDeliveryTag(), AMQP_REQUEUE);
    $message = get($queue, AMQP_NOPARAM);
    check_equal($message->getBody(), 'again', 'requeued message');
    check($message->isRedelivery(), 'redelivered is not set after a requeue');
    $queue->reject($message->getDeliveryTag());
    check_equal($queue->get(), false, 'get of an empty queue');
}

function bodies_and_headers($queue, $exchange)
{
    $big = str_repeat('large body, ', 90000);
    publish($queue, $exchange, $big);
    check(get($queue)->getBody() === $big, 'the large body came back changed');
    publish($queue, $exchange, '');
    check_equal((string)get($queue)->getBody(), '', 'empty body');

    $headers = HEADERS + ['time' => new AMQPTimestamp(1700000000), 'decimal' => new AMQPDecimal(2, 314)];
    publish($queue, $exchange, 'x', PERSISTENT + ['headers' => $headers, 'content_type' => 'text/plain',
        'priority' => 5, 'correlation_id' => 'corr', 'reply_to' => 'reply', 'expiration' => '60000',
        'message_id' => 'id', 'timestamp' => 1700000000, 'type' => 'kind', 'app_id' => 'app']);
    $message = get($queue);
    foreach (HEADERS as $key => $value) {
        check_equal($message->getHeaders()[$key] ?? null, $value, "header $key");
    }
    check_equal((string)$message->getHeader('time'), '1700000000', 'header time');
    check_equal($message->getHeader('decimal')->getSignificand(), 314, 'header decimal');
    check_equal(
        [$message->getContentType(), $message->getPriority(), $message->getCorrelationId(), $message->getReplyTo(),
            $message->getExpiration(), $message->getMessageId(), $message->getType(), $message->getAppId()],
        ['text/plain', 5, 'corr', 'reply', '60000', 'id', 'kind', 'app'],
        'properties'
    );
}

function mandatory($connection)
{
    $channel = new AMQPChannel($connection);
    $returned = null;
    $channel->setReturnCallback(function ($code, $text, $exchange, $key, $properties, $body) use (&$returned) {
        $returned = [$code, $text, $exchange, $key, $body];
        return false;
    });
    exchange($channel)->publish('lost', 'nowhere', AMQP_MANDATORY);
    $channel->waitForBasicReturn(WAIT);
    check_equal($returned, [312, 'NO_ROUTE', EXCHANGE, 'nowhere', 'lost'], 'basic.return');
}

function transaction($connection, $queue)
{
    $channel = new AMQPChannel($connection);
    $channel->startTransaction();
    exchange($channel)->publish('never', 'key');
    $channel->rollbackTransaction();
    exchange($channel)->publish('committed', 'key');
    $channel->commitTransaction();
    check_equal(get($queue)->getBody(), 'committed', 'message of a committed transaction');
}

function purge_and_delete($channel, $queue, $exchange)
{
    for ($i = 0; $i < 3; $i++) {
        publish($queue, $exchange, 'x');
    }
    $queue->purge();
    check_equal($queue->declareQueue(), 0, 'messages after the purge');
    $other = queue($channel, '', AMQP_EXCLUSIVE);
    $other->declareQueue();
    $other->bind(EXCHANGE, 'other');
    $exchange->publish('x', 'other');
    check_equal($other->delete(), 1, 'messages deleted with the queue');
}

function missing_queue($connection)
{
    try {
        queue(new AMQPChannel($connection), MISSING, AMQP_PASSIVE)->declareQueue();
    } catch (AMQPQueueException $e) {
        check_equal([$e->getCode(), $e->getMessage()],
            [404, "Server channel error: 404, message: NOT_FOUND - no queue '" . MISSING . "' in vhost '/'"],
            'passive declare');
        return;
    }
    throw new Exception('a passive declare of a missing queue succeeded');
}

function phase1($connection)
{
    $channel = new AMQPChannel($connection);
    $queue = queue($channel);
    $queue->delete();
    $exchange = exchange($channel);
    $exchange->delete();
    $exchange->declareExchange();
    $queue->declareQueue();
    $queue->bind(EXCHANGE, 'key');
    confirms($connection);
    consume($connection);
    get_and_nack($queue, $exchange);
    bodies_and_headers($queue, $exchange);
    mandatory($connection);
    transaction($connection, $queue);
    purge_and_delete($channel, $queue, $exchange);
    missing_queue($connection);
    $confirming = new AMQPChannel($connection);
    $confirming->confirmSelect();
    for ($i = 0; $i < NUMBERS; $i++) {
        exchange($confirming)->publish(number($i), 'key', AMQP_NOPARAM, PERSISTENT);
    }
    await_confirms($confirming, NUMBERS);
}

function phase2($connection)
{
    $channel = new AMQPChannel($connection);
    $queue = queue($channel);
    check_equal($queue->declareQueue(), NUMBERS, 'messages after the restart');
    for ($i = 0; $i < NUMBERS; $i++) {
        check_equal(get($queue)->getBody(), number($i), "message $i after the restart");
    }
    $exchange = exchange($channel);
    publish($queue, $exchange, 'after');
    check_equal(get($queue)->getBody(), 'after', 'message through the durable binding after the restart');
    $queue->delete();
    $exchange->delete();
}

$phase = $argv[2] ?? '';
if (!in_array($phase, ['phase1', 'phase2'], true)) {
    fwrite(STDERR, "usage: {$argv[0]} URL phase1|phase2\n");
    exit(1);
}
$url = parse_url($argv[1]);
try {
    $connection = new AMQPConnection(['host' => $url['host'], 'port' => $url['port'], 'login' => $url['user'],
        'password' => $url['pass'], 'vhost' => '/', 'connect_timeout' => WAIT, 'read_timeout' => WAIT,
        'write_timeout' => WAIT, 'rpc_timeout' => WAIT]);
    $connection->connect();
    $phase($connection);
    $connection->disconnect();
} catch (Throwable $e) {
    fwrite(STDERR, "$e\n");
    exit(1);
}
