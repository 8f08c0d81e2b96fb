# SPDX-License-Identifier: Apache-2.0
"""What the scripts of this directory have in common: a count of checks, a store to work in."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback

from load import Wrong  # also finds tests/compat
from broker import Broker, BrokerError, exit_on_sigterm

CHECK_STORE_SECONDS = 60
BAD_LOG = re.compile(r"\[error\](?!.*CONNECTION_FORCED.*'shutdown')|Sanitizer|runtime error:")


class Checks:
    """Counts what passed and failed, says what failed."""

    def __init__(self):
        self.passed = self.failed = 0
        self.started = time.monotonic()
        exit_on_sigterm()

    def expect(self, what, good, detail=""):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print("FAIL %s%s" % (what, ": " + str(detail) if detail != "" else ""), flush=True)
        return good

    @contextlib.contextmanager
    def part(self, what, broker=None):
        """One check: fails with the exception of its block, which is not passed on."""
        try:
            yield
        except (Wrong, BrokerError, TimeoutError, OSError, subprocess.SubprocessError) as e:
            self.expect(what, False, e)
            if broker is not None and not isinstance(e, BrokerError):
                print(broker.log_tail())
        except Exception:
            self.expect(what, False, traceback.format_exc())
            if broker is not None:
                print(broker.log_tail())
        else:
            self.expect(what, True)

    def quiet(self, broker):
        """One check: the broker has logged no error, and no sanitizer has spoken up."""
        with open(broker.log_path, errors="replace") as log:
            bad = [line for line in log if BAD_LOG.search(line)]
        self.expect("nothing bad in the log", not bad, "\n" + "".join(bad[:20]))

    def finish(self):
        print("%.1f s" % (time.monotonic() - self.started))
        print("%d passed, %d failed" % (self.passed, self.failed), flush=True)
        sys.exit(1 if self.failed or not self.passed else 0)


@contextlib.contextmanager
def work_directory(keep=None):
    """A directory that goes away; not if `keep` names one."""
    if keep:
        os.makedirs(keep)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="warren-durability-") as directory:
        yield directory


def check_store(datadir):
    """Wrong if the store, which nobody has open, is damaged."""
    done = subprocess.run([Broker.program(), "--check-store", datadir], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=CHECK_STORE_SECONDS,
                          errors="replace")
    if done.returncode != 0:
        raise Wrong("--check-store ended with status %d\n%s" % (done.returncode, done.stdout[-2000:]))


def memory(pid):
    """Memory of a process in bytes: {"VmRSS": ..., "VmHWM": ..., "RssAnon": ..., "RssFile": ...}."""
    with open("/proc/%d/status" % pid) as f:
        return {k: int(v) * 1024 for k, v in re.findall(r"^(VmRSS|VmHWM|RssAnon|RssFile):\s*(\d+) kB", f.read(),
                                                        re.M)}


def disk_use(directory):
    """Bytes of the blocks that the files occupy."""
    return sum(os.lstat(os.path.join(d, f)).st_blocks * 512
               for d, _, files in os.walk(directory) for f in files)
