#!/usr/bin/env php
<?php
// SPDX-License-Identifier: Apache-2.0
// php-amqplib, the client written in PHP.

if ((include 'PhpAmqpLib/autoload.php') === false) {
    echo "no PHP library php-amqplib\n";
    exit(77);
}

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPProtocolChannelException;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

const EXCHANGE = 'compat.php_amqplib';
const QUEUE = 'compat.php_amqplib.durable';
const MISSING = 'compat.php_amqplib.missing';
const NUMBERS = 20; // persistent messages that have to survive the restart
const WAIT = 30;
const HEADERS = [
    'bool' => true,
    'int' => -42,
    'long' => 1 << 40,
    'text' => 'grüße',
    'none' => null,
    'list' => [1, 'two', false],
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

function message($body, $properties = [])
{
    return new AMQPMessage($body, $properties + ['delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT]);
}

function publish($channel, $message)
{
    $channel->basic_publish($message, EXCHANGE, 'key');
    $channel->wait_for_pending_acks(WAIT);
}

function get($channel, $no_ack = true)
{
    $message = $channel->basic_get(QUEUE, $no_ack);
    check($message !== null, 'the queue is empty');
    return $message;
}

function publish_and_consume($channel)
{
    $acked = 0;
    $channel->set_ack_handler(function () use (&$acked) {
        $acked++;
    });
    for ($i = 0; $i < 50; $i++) {
        $channel->basic_publish(message((string)$i), EXCHANGE, 'key');
    }
    $channel->wait_for_pending_acks(WAIT);
    check_equal($acked, 50, 'confirmed messages');

    $channel->basic_qos(0, 7, false);
    $seen = [];
    $channel->basic_consume(QUEUE, 'reader', false, false, false, false, function ($message) use (&$seen) {
        $seen[] = (int)$message->body;
        $message->ack();
    });
    while (count($seen) < 50) {
        $channel->wait(null, false, WAIT);
    }
    $channel->basic_cancel('reader');
    check_equal($seen, range(0, 49), 'consumed messages');
}

function get_and_nack($channel)
{
    publish($channel, message('again'));
    $message = get($channel, false);
    check(!$message->isRedelivered(), 'redelivered is set on the first delivery');
    $message->nack(true);
    $message = get($channel, false);
    check_equal($message->body, 'again', 'requeued message');
    check($message->isRedelivered(), 'redelivered is not set after a requeue');
    $message->reject(false);
    check_equal($channel->basic_get(QUEUE), null, 'get of an empty queue');
}

function bodies_and_headers($channel)
{
    $big = str_repeat('large body, ', 90000);
    publish($channel, message($big));
    check(get($channel)->body === $big, 'the large body came back changed');
    publish($channel, message(''));
    check_equal(get($channel)->body, '', 'empty body');

    $properties = ['content_type' => 'text/plain', 'priority' => 5, 'correlation_id' => 'corr', 'reply_to' => 'reply',
        'expiration' => '60000', 'message_id' => 'id', 'timestamp' => 1700000000, 'type' => 'kind', 'app_id' => 'app'];
    $time = new DateTime('@1700000000');
    $headers = new AMQPTable(HEADERS + ['time' => $time, 'decimal' => new PhpAmqpLib\Wire\AMQPDecimal(314, 2)]);
    publish($channel, message('x', $properties + ['application_headers' => $headers]));
    $got = get($channel)->get_properties();
    $got_headers = $got['application_headers']->getNativeData();
    foreach (HEADERS as $key => $value) {
        check_equal($got_headers[$key], $value, "header $key");
    }
    check_equal($got_headers['time']->getTimestamp(), 1700000000, 'header time');
    check_equal([$got_headers['decimal']->getN(), $got_headers['decimal']->getE()], [314, 2], 'header decimal');
    foreach ($properties as $key => $value) {
        check_equal($got[$key], $value, "property $key");
    }
}

function mandatory($channel)
{
    $returned = [];
    $channel->set_return_listener(function ($code, $text, $exchange, $key, $message) use (&$returned) {
        $returned[] = [$code, $text, $exchange, $key, $message->body];
    });
    $channel->basic_publish(message('lost'), EXCHANGE, 'nowhere', true);
    $channel->wait_for_pending_acks_returns(WAIT);
    check_equal($returned, [[312, 'NO_ROUTE', EXCHANGE, 'nowhere', 'lost']], 'basic.return');
}

function purge_and_delete($channel)
{
    for ($i = 0; $i < 3; $i++) {
        publish($channel, message('x'));
    }
    check_equal($channel->queue_purge(QUEUE), 3, 'purged messages');
    [$other] = $channel->queue_declare('', false, false, true);
    $channel->basic_publish(message('x'), '', $other);
    $channel->wait_for_pending_acks(WAIT);
    check_equal($channel->queue_delete($other), 1, 'messages deleted with the queue');
}

function missing_queue($connection)
{
    try {
        $connection->channel()->queue_declare(MISSING, true);
    } catch (AMQPProtocolChannelException $e) {
        check_equal([$e->amqp_reply_code, $e->amqp_reply_text, $e->amqp_method_sig],
            [404, "NOT_FOUND - no queue '" . MISSING . "' in vhost '/'", [50, 10]], 'passive declare');
        return;
    }
    throw new Exception('a passive declare of a missing queue succeeded');
}

function phase1($connection)
{
    $channel = $connection->channel();
    $channel->queue_delete(QUEUE);
    $channel->exchange_delete(EXCHANGE);
    $channel->exchange_declare(EXCHANGE, 'direct', false, true, false);
    $channel->queue_declare(QUEUE, false, true, false, false);
    $channel->queue_bind(QUEUE, EXCHANGE, 'key');
    $channel->confirm_select();
    publish_and_consume($channel);
    get_and_nack($channel);
    bodies_and_headers($channel);
    mandatory($channel);
    purge_and_delete($channel);
    missing_queue($connection);
    for ($i = 0; $i < NUMBERS; $i++) {
        publish($channel, message(number($i)));
    }
}

function phase2($connection)
{
    $channel = $connection->channel();
    $channel->confirm_select();
    [, $count] = $channel->queue_declare(QUEUE, true);
    check_equal($count, NUMBERS, 'messages after the restart');
    for ($i = 0; $i < NUMBERS; $i++) {
        check_equal(get($channel)->body, number($i), "message $i after the restart");
    }
    publish($channel, message('after'));
    check_equal(get($channel)->body, 'after', 'message through the durable binding after the restart');
    $channel->queue_delete(QUEUE);
    $channel->exchange_delete(EXCHANGE);
}

$phase = $argv[2] ?? '';
if (!in_array($phase, ['phase1', 'phase2'], true)) {
    fwrite(STDERR, "usage: {$argv[0]} URL phase1|phase2\n");
    exit(1);
}
$url = parse_url($argv[1]);
try {
    $connection = new AMQPStreamConnection($url['host'], $url['port'], $url['user'], $url['pass'], '/', false,
        'AMQPLAIN', null, 'en_US', WAIT, 2 * WAIT, null, false, WAIT, WAIT);
    $phase($connection);
    $connection->close();
} catch (Throwable $e) {
    fwrite(STDERR, "$e\n");
    exit(1);
}
