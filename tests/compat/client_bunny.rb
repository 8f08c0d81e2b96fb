#!/usr/bin/env ruby
# SPDX-License-Identifier: Apache-2.0
# Bunny, the Ruby client.

require "timeout"

begin
  require "bunny"
rescue LoadError
  puts "no Ruby library bunny"
  exit 77
end

PHASE_SECONDS = 180
EXCHANGE = "compat.bunny"
QUEUE = "compat.bunny.durable"
MISSING = "compat.bunny.missing"
NUMBERS = 20 # persistent messages that have to survive the restart
HEADERS = {
  "bool" => true,
  "int" => -42,
  "long" => 1 << 40,
  "double" => 2.5,
  "text" => "grüße",
  "time" => Time.at(1_700_000_000),
  "none" => nil,
  "list" => [1, "two", [3]], # the library loses false in a list
  "table" => { "inner" => { "deep" => "x" } }
}.freeze

def check_equal(got, want, what)
  raise "#{what}: got #{got.inspect[0, 500]}, want #{want.inspect[0, 500]}" unless got == want
end

def number(i)
  "message #{i}"
end

# Strings come back without an encoding.
def octets(value)
  value.is_a?(String) ? value.b : value
end

def publish(exchange, body, **options)
  exchange.publish(body, routing_key: "key", persistent: true, **options)
  check_equal(exchange.channel.wait_for_confirms, true, "confirms")
end

def get(queue, **options)
  delivery, properties, body = queue.pop(**options)
  raise "queue #{queue.name} is empty" if delivery.nil?

  [delivery, properties, body]
end

def publish_and_consume(channel, exchange, queue)
  50.times { |i| exchange.publish(i.to_s, routing_key: "key", persistent: true) }
  check_equal(channel.wait_for_confirms, true, "confirms")
  channel.prefetch(7)
  arrived = Queue.new
  consumer = queue.subscribe(manual_ack: true) do |delivery, _, body|
    channel.ack(delivery.delivery_tag)
    arrived << body
  end
  seen = Timeout.timeout(30) { Array.new(50) { arrived.pop } }
  consumer.cancel
  check_equal(seen, (0...50).map(&:to_s), "consumed messages")
end

def get_and_nack(channel, exchange, queue)
  publish(exchange, "again")
  delivery, = get(queue, manual_ack: true)
  check_equal(delivery.redelivered?, false, "redelivered on the first delivery")
  channel.nack(delivery.delivery_tag, false, true)
  delivery, _, body = get(queue, manual_ack: true)
  check_equal(body, "again", "requeued message")
  check_equal(delivery.redelivered?, true, "redelivered after a requeue")
  channel.reject(delivery.delivery_tag, false)
  check_equal(queue.pop.first, nil, "get of an empty queue")
end

def bodies_and_headers(exchange, queue)
  big = "large body, ".b * 90_000
  publish(exchange, big)
  check_equal(get(queue)[2].b == big, true, "large body unchanged")
  publish(exchange, "")
  check_equal(get(queue)[2].to_s, "", "empty body")
  properties = { content_type: "text/plain", priority: 5, correlation_id: "corr", reply_to: "reply",
                 expiration: "60000", message_id: "id", timestamp: 1_700_000_000, type: "kind",
                 app_id: "app" }
  publish(exchange, "x", headers: HEADERS, **properties)
  got = get(queue)[1]
  HEADERS.each { |key, value| check_equal(octets(got.headers[key]), octets(value), "header #{key}") }
  properties.each { |key, value| check_equal(key == :timestamp ? got[key].to_i : got[key], value, "property #{key}") }
end

def mandatory(exchange)
  returned = Queue.new
  exchange.on_return { |info, _, body| returned << [info.reply_code, info.reply_text, body] }
  exchange.publish("lost", routing_key: "nowhere", mandatory: true)
  check_equal(exchange.channel.wait_for_confirms, true, "confirm of an unroutable message")
  check_equal(Timeout.timeout(30) { returned.pop }, [312, "NO_ROUTE", "lost"], "basic.return")
end

def purge_and_delete(channel, exchange, queue)
  3.times { publish(exchange, "x") }
  check_equal(queue.message_count, 3, "messages before the purge")
  queue.purge
  check_equal(queue.message_count, 0, "messages after the purge")
  other = channel.queue("", exclusive: true)
  channel.default_exchange.publish("x", routing_key: other.name)
  channel.wait_for_confirms
  check_equal(other.delete.message_count, 1, "messages deleted with the queue")
end

def missing_queue(connection)
  connection.create_channel.queue_declare(MISSING, passive: true)
  raise "a passive declare of a missing queue succeeded"
rescue Bunny::NotFound => e
  check_equal([e.channel_close.reply_code, e.channel_close.reply_text],
              [404, "NOT_FOUND - no queue '#{MISSING}' in vhost '/'"], "passive declare")
end

def phase1(connection)
  channel = connection.create_channel
  channel.confirm_select
  channel.queue_delete(QUEUE)
  channel.exchange_delete(EXCHANGE)
  exchange = channel.direct(EXCHANGE, durable: true)
  queue = channel.queue(QUEUE, durable: true)
  queue.bind(exchange, routing_key: "key")
  publish_and_consume(channel, exchange, queue)
  get_and_nack(channel, exchange, queue)
  bodies_and_headers(exchange, queue)
  mandatory(exchange)
  purge_and_delete(channel, exchange, queue)
  missing_queue(connection)
  NUMBERS.times { |i| publish(exchange, number(i)) }
end

def phase2(connection)
  channel = connection.create_channel
  channel.confirm_select
  queue = channel.queue(QUEUE, passive: true)
  check_equal(queue.message_count, NUMBERS, "messages after the restart")
  NUMBERS.times { |i| check_equal(get(queue)[2], number(i), "message #{i} after the restart") }
  publish(channel.direct(EXCHANGE, durable: true), "after", mandatory: true)
  check_equal(get(queue)[2], "after", "message through the durable binding after the restart")
  queue.delete
  channel.exchange_delete(EXCHANGE)
end

url, phase = ARGV
abort "usage: #{$PROGRAM_NAME} URL phase1|phase2" unless %w[phase1 phase2].include?(phase)
Timeout.timeout(PHASE_SECONDS) do
  # Without the slash at the end, which Bunny would take for an empty vhost name.
  connection = Bunny.new(url.chomp("/"), automatically_recover: false, continuation_timeout: 30_000,
                                         log_level: :fatal)
  connection.start
  send(phase, connection)
  connection.close
end
