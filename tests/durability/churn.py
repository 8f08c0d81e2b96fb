#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Much data through a small store: its file must stay small, and the rate must not fall.

usage: churn.py [--gigabytes N] [--every S] [--workers N] [--report] [--keep DIR]

Four publishers with confirms and four consumers that acknowledge, messages of
200 octets to 256 KiB. A line of JSON each S seconds: messages per second,
how many the consumers are behind, bytes on disk, memory. With --report limits are not asserted. By hand:
--gigabytes 34 is a matter of minutes.
"""

import argparse
import json
import os

from checks import Checks, work_directory
from perf import Perf
from broker import Broker

MIB = 1 << 20
SIZES, MEAN_BYTES = "200-2k:60,2k-16k:25,16k-64k:10,64k-256k:5", 15000
PUBLISHERS, UNCONFIRMED, UNACKED = 4, 100, 200
DISK_ALLOWANCE = 192 * MIB  # above what the consumers are behind
RSS_LIMIT = 400 * MIB
SLOWEST_SHARE = 0.4     # of the mean rate, in any period


def churn(checks, broker, options):
    messages = int(options.gigabytes * 1e9 / MEAN_BYTES)
    perf = Perf(broker, "--messages", messages, "--size", SIZES, "--persistent", "--queues", PUBLISHERS,
                "--producers", PUBLISHERS, "--consumers", PUBLISHERS, "--confirm", UNCONFIRMED,
                "--prefetch", UNACKED, "--ack-every", 10, "--verify")
    samples = []
    try:
        while perf.wait(options.every):
            samples.append(perf.sample())
            print(json.dumps(samples[-1]), flush=True)
        summary = perf.finish()
        after = perf.sample()
    finally:
        perf.end()
    print(json.dumps({"messages": messages, "octets": round(summary["received"]["octets_per_second"]
                                                            * summary["received"]["window_s"]),
                      "disk_after": after["disk"]}), flush=True)
    checks.expect("all came, unchanged and in order", summary["verify"]["passed"], summary["verify"])
    if options.report or not samples:
        return
    checks.expect("disk use", all(s["disk"] < DISK_ALLOWANCE + 2 * max(0, s["behind"]) * MEAN_BYTES
                                  for s in samples), samples)
    checks.expect("memory", max(s["rss"] for s in samples) < RSS_LIMIT, max(s["rss"] for s in samples))
    if len(samples) >= 10:
        rates = [s["consumed"] for s in samples]
        checks.expect("the rate is stable", min(rates) > SLOWEST_SHARE * sum(rates) / len(rates), rates)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=0.6)
    parser.add_argument("--every", type=float, default=2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--keep", metavar="DIR")
    options = parser.parse_args()
    checks = Checks()
    with work_directory(options.keep) as directory:
        settings = ["worker_threads=%d" % options.workers] if options.workers else []
        broker = Broker(os.path.join(directory, "data"), settings=settings)
        try:
            with checks.part("churning", broker):
                broker.start()
                churn(checks, broker, options)
                broker.stop()
                checks.quiet(broker)
        finally:
            broker.kill()
    checks.finish()


if __name__ == "__main__":
    main()
