#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The command line tools of rabbitmq-c. They know no confirms, no nack, no
# mandatory and no purge, declare no exchange, and bind no durable queue.
set -u

# Without the slash at the end, which the tools would take for an empty vhost name.
url=${1%/} phase=${2-}
queue=compat.amqp_tools.durable
bound=compat.amqp_tools.bound
key=compat.amqp_tools.key
numbers=20 # persistent messages that have to survive the restart

fail() { echo "client_amqp_tools: $*" >&2; exit 1; }
tool() { local name=$1; shift; timeout 60 "amqp-$name" --url="$url" "$@"; }
publish() { tool publish -r "$queue" -p "$@" || fail "amqp-publish $* failed"; }

equal() { # what, got, wanted
	[[ $2 = "$3" ]] || fail "$1: got '${2:0:500}', want '${3:0:500}'"
}

get_is() { # what, wanted body
	local body
	body=$(tool get -q "$queue") || fail "$1: amqp-get failed with status $?"
	equal "$1" "$body" "$2"
}

refused() { # text wanted on standard error, command...
	local want=$1 got
	shift
	got=$("$@" 2>&1) && fail "$* succeeded"
	[[ $got = *"$want"* ]] || fail "$*: got '$got', want '$want'"
}

phase1() {
	tool delete-queue -q "$queue" >/dev/null || fail "deleting a queue that does not exist failed"
	equal "declare" "$(tool declare-queue -q "$queue" -d)" "$queue"
	consume_bound

	publish -b text -H "header: value" -C text/plain -t reply
	get_is "message with properties" text
	head -c 1048576 /dev/zero | tr '\0' x | publish
	equal "octets of the large body" "$(tool get -q "$queue" | wc -c)" 1048576
	publish -b ''
	get_is "empty body" ''
	tool get -q "$queue" >/dev/null 2>&1
	equal "status of amqp-get on an empty queue" $? 2

	refused "404, message: NOT_FOUND - no queue 'compat.amqp_tools.missing' in vhost '/'" \
		tool get -q compat.amqp_tools.missing
	refused "406, message: PRECONDITION_FAILED - inequivalent arg 'durable' for queue '$queue' in vhost '/': received 'false' but current is 'true'" \
		tool declare-queue -q "$queue"

	for ((i = 0; i < numbers; i++)); do publish -b "message $i"; done
	refused "406, message: PRECONDITION_FAILED - queue '$queue' in vhost '/' not empty" \
		tool delete-queue -q "$queue" -e
}

consume_bound() { # amqp-consume declares a transient queue, binds it, and acknowledges
	local directory consumer i
	directory=$(mktemp -d) || exit 1
	trap 'rm -rf "$directory"; kill $(jobs -p) 2>/dev/null; wait' EXIT
	tool consume -q "$bound" -e amq.direct -r "$key" -p 3 -c 5 cat >"$directory/consumed" &
	consumer=$!
	for ((i = 0; i < 300; i++)); do # nothing arrives before the binding is there
		[[ -s $directory/consumed ]] && break
		tool publish -e amq.direct -r "$key" -b $'probe\n' || fail "amqp-publish failed"
		sleep 0.1
	done
	for ((i = 1; i < 5; i++)); do tool publish -e amq.direct -r "$key" -b $'probe\n'; done
	wait "$consumer" || fail "amqp-consume failed"
	equal "consumed messages" "$(sort "$directory/consumed" | uniq -c | tr -s ' ')" " 5 probe"
	tool delete-queue -q "$bound" >/dev/null || fail "delete failed"
}

phase2() {
	for ((i = 0; i < numbers; i++)); do get_is "message $i after the restart" "message $i"; done
	publish -b after
	get_is "message published after the restart" after
	equal "messages deleted with the queue" "$(tool delete-queue -q "$queue")" 0
}

command -v amqp-publish >/dev/null || { echo "amqp-tools are not installed"; exit 77; }
case $phase in
phase1 | phase2) $phase ;;
*) fail "usage: $0 URL phase1|phase2" ;;
esac
exit 0
