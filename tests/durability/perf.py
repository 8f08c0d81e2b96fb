# SPDX-License-Identifier: Apache-2.0
"""warren-perf as the load of a durability test, and what the broker takes up meanwhile."""

import json
import os
import re
import subprocess
import tempfile
import time

from checks import disk_use, memory
from load import Wrong
from broker import Broker

PROGRESS = re.compile(r"^ *[\d.]+ s  out (\d+)/s.*?  in (\d+)/s", re.M)


def program():
    """$WARREN_PERF, else the one beside the broker."""
    beside = os.path.join(os.path.dirname(os.path.abspath(Broker.program())), "warren-perf")
    return os.environ.get("WARREN_PERF") or beside


class Perf:
    def __init__(self, broker, *arguments):
        self.broker = broker
        self.err = tempfile.TemporaryFile("w+")  # a line per second
        self.begun = time.monotonic()
        self.lines = 0
        self.behind = 0
        self.process = subprocess.Popen([program(), "--uri", broker.url, "--json"] + [str(a) for a in arguments],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.err, text=True)

    def said(self):
        self.err.seek(0)
        return self.err.read()

    def wait(self, seconds):
        """False if it ended within that time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def sample(self):
        """Messages per second since the last sample, how many the consumers are behind, and what the
        broker takes up now."""
        lines = PROGRESS.findall(self.said())
        new, self.lines = lines[self.lines:], len(lines)
        total = [sum(int(line[i]) for line in new) for i in (0, 1)]
        mean = [round(n / max(1, len(new))) for n in total]
        self.behind += total[0] - total[1]
        now = memory(self.broker.process.pid)
        return {"second": round(time.monotonic() - self.begun), "published": mean[0], "consumed": mean[1],
                "behind": self.behind, "disk": disk_use(self.broker.datadir), "rss": now["VmRSS"], "anon": now["RssAnon"]}

    def finish(self):
        """Its summary; Wrong if it failed."""
        out = self.process.communicate()[0]
        if self.process.returncode != 0:
            raise Wrong("warren-perf ended with status %d\n%s%s" % (self.process.returncode, out, self.said()[-2000:]))
        return json.loads(out)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.err.close()
