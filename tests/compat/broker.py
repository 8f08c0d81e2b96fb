# SPDX-License-Identifier: Apache-2.0
"""Start and stop the broker under test.

    with Broker(datadir) as broker:
        use(broker.url)

The program is $WARREND, by default ../../warrend seen from this directory.
With COMPAT_URL=amqp://user:password@host:port/ set, Broker stands for that
running broker instead: start and stop do nothing, and `external` is true.
COMPAT_RESTART may hold a shell command that restarts it (used by restart()).
COMPAT_SETTINGS may hold further KEY=VALUE settings for every broker started.
"""

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest.mock
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
START_SECONDS = 60  # a machine with much else to do is slow, but not still
STOP_SECONDS = 60
LOG_TAIL = 200


class BrokerError(Exception):
    """The broker did not start, stop or answer in time."""


def find_python(module):
    """Return a Python interpreter that can import module, or None.

    Distribution packages serve the distribution's interpreter, which need not
    be the first python3 of the search path.
    """
    for python in dict.fromkeys([os.environ.get("COMPAT_PYTHON"), sys.executable, "/usr/bin/python3"]):
        if python and os.path.exists(python):
            probe = subprocess.run([python, "-c", "import " + module], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
            if probe.returncode == 0:
                return python
    return None


LEAST_PORT = 10000
given_ports = set()


def free_port():
    """A port below those that the system gives to clients: also while its owner is down nobody gets it by chance."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        end = int(f.read().split()[0])
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(LEAST_PORT, end) if end > LEAST_PORT else 0
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            port = s.getsockname()[1]
        if port not in given_ports:
            given_ports.add(port)
            return port


def answers(host, port, seconds=1):
    """Does the port accept a connection and speak AMQP?"""
    try:
        with socket.create_connection((host, port), timeout=seconds) as s:
            s.sendall(b"AMQP\0\0\x09\x01")
            return s.recv(1) == b"\x01"
    except OSError:
        return False


def wait_until(condition, seconds, what):
    """Poll condition until it is true; BrokerError when time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BrokerError("after %g s still not: %s" % (seconds, what))
        time.sleep(0.02)


def late(test, most_us=8000):
    """Brokers that are started in the rest of the test have tests/daemon/late.c below them: their workers stand still."""
    directory = tempfile.mkdtemp(prefix="warren-late-")
    test.addCleanup(shutil.rmtree, directory, True)
    library = os.path.join(directory, "late.so")
    source = os.path.join(HERE, "..", "daemon", "late.c")
    subprocess.run(os.environ.get("CC", "cc").split() + ["-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    asan = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    under = unittest.mock.patch.dict(os.environ, {"LD_PRELOAD": library, "ASAN_OPTIONS": asan,
                                                 "LATE_MOST_US": str(most_us)})
    under.start()
    test.addCleanup(under.stop)


class Broker:
    def __init__(self, datadir, port=None, settings=()):
        """settings: further `key=value` strings for -s."""
        self.datadir = os.path.abspath(datadir)
        self.fixed_port = port
        self.settings = list(settings) + os.environ.get("COMPAT_SETTINGS", "").split()
        self.process = None
        external = os.environ.get("COMPAT_URL")
        self.external = bool(external)
        if external:
            parts = urllib.parse.urlsplit(external)
            self.host, self.port = parts.hostname, parts.port or 5672
            self.user = urllib.parse.unquote(parts.username or "guest")
            self.password = urllib.parse.unquote(parts.password or "guest")
        else:
            self.host, self.port = "127.0.0.1", port
            self.user = self.password = "guest"

    @property
    def url(self):
        return "amqp://%s:%s@%s:%d/" % (self.user, self.password, self.host, self.port)

    @property
    def can_restart(self):
        return not self.external or "COMPAT_RESTART" in os.environ

    @property
    def log_path(self):
        return os.path.join(self.datadir, "log")

    @classmethod
    def sanitized(cls):
        """Built with --enable-sanitizer."""
        with open(cls.program(), "rb") as f:
            code = f.read()
        return b"__tsan_init" in code or b"__asan_init" in code

    @staticmethod
    def program():
        return os.environ.get("WARREND") or os.path.normpath(os.path.join(HERE, "..", "..", "warrend"))

    def alive(self):
        """Is the process there? (Of an external broker: does its port answer?)"""
        if self.external:
            return answers(self.host, self.port, 5)
        return self.process is not None and self.process.poll() is None

    def start(self):
        if self.external:
            wait_until(lambda: answers(self.host, self.port), START_SECONDS, "COMPAT_URL answers")
            return
        if self.alive():
            return
        if self.fixed_port is None and self.port is None:
            self.port = free_port()
        try:
            self._launch()
            wait_until(self._up, START_SECONDS, "port %d accepts connections" % self.port)
        except BrokerError as e:
            self.kill()
            raise BrokerError("%s\n%s" % (e, self.log_tail())) from None

    def _launch(self):
        os.makedirs(self.datadir, exist_ok=True)
        command = [self.program(), "-d", self.datadir, "-n", "warren@localhost"]
        for setting in ["listeners.tcp.default=127.0.0.1:%d" % self.port,
                        "cluster.listener=127.0.0.1:0"] + self.settings:
            command += ["-s", setting]
        with open(self.log_path, "ab") as log:
            try:
                self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            except OSError as e:
                raise BrokerError("cannot run %s: %s" % (command[0], e.strerror)) from e
        atexit.register(self.kill)

    def _up(self):
        if self.process.poll() is not None:
            raise BrokerError("the broker ended with status %d while starting" % self.process.returncode)
        return answers(self.host, self.port)

    def stop(self):
        """End it in the orderly way. BrokerError if it does not, or fails."""
        if self.external or self.process is None:
            return
        if self.alive():
            self.process.terminate()
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BrokerError("the broker did not end %d s after SIGTERM\n%s"
                              % (STOP_SECONDS, self.log_tail())) from None
        finally:
            self._forget()
        if status not in (0, -signal.SIGTERM):
            raise BrokerError("the broker ended with status %d\n%s" % (status, self.log_tail()))

    def kill(self):
        if self.external or self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self._forget()

    def _forget(self):
        self.process = None
        atexit.unregister(self.kill)

    def restart(self):
        """Stop and start on the same data and port."""
        if not self.external:
            self.stop()
            self.start()
        elif self.can_restart:
            subprocess.run(os.environ["COMPAT_RESTART"], shell=True, check=True, timeout=180,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            self.start()

    def log_tail(self):
        """The last lines of the log, with a headline; empty if there is none."""
        try:
            with open(self.log_path, errors="replace") as f:
                lines = f.readlines()[-LOG_TAIL:]
        except OSError:
            return ""
        return "broker log:\n" + "".join(lines) if lines else ""

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self.kill()


def exit_on_sigterm():
    """Let SIGTERM unwind the stack, so that brokers and directories go away."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
