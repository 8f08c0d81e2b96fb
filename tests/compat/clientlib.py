# SPDX-License-Identifier: Apache-2.0
"""What the Python client scripts share: the two phases, and checks."""

import signal
import sys
import traceback

PHASE_SECONDS = 180  # a machine with much else to do is slow, but not still
WAIT = 30  # seconds for one answer
BIG = bytes(range(256)) * 4096  # 1 MiB, several frames
NUMBERS = 20  # persistent messages that have to survive the restart


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def check_equal(got, want, what):
    if got != want:
        raise AssertionError("%s: got %.500r, want %.500r" % (what, got, want))


def number(i):
    """Body i of the messages that survive the restart."""
    return b"message %d" % i


def _timeout(*_):
    raise TimeoutError("the broker did not answer in time")


def main(phase1, phase2):
    """Run `script URL phase1|phase2`."""
    phases = {"phase1": phase1, "phase2": phase2}
    if len(sys.argv) != 3 or sys.argv[2] not in phases:
        sys.exit("usage: %s URL phase1|phase2" % sys.argv[0])
    signal.signal(signal.SIGALRM, _timeout)
    signal.alarm(PHASE_SECONDS)
    try:
        phases[sys.argv[2]](sys.argv[1])
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
