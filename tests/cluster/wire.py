# SPDX-License-Identifier: Apache-2.0
"""Hosts of a network of their own: a network namespace each, and between them a switch that cuts, loses and delays.

    with Wire(["a", "b"]) as wire:
        subprocess.Popen(wire.host("a").command(["warrend", ...]))
        with wire.host("b").inside():
            socket.create_connection((wire.host("a").address, 5672))
        wire.cut("a", "b")                  # one way; wire.heal() puts all right

A host is known to the others by its name. Its interface is a tunnel (TUN) whose other end a process of ours has: it
hands every packet from host to host, in user space, so that the kernel needs no netem, bridge or netfilter. Above it
are the kernel's own TCP, its retransmissions and its time limits. Needs root and /dev/net/tun.
"""

import contextlib
import ctypes
import fcntl
import heapq
import itertools
import json
import os
import random
import re
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454ca, 1, 0x1000
CLONE_NEWNET = 0x40000000
MTU = 1500
QUEUE = 256 * 1024  # octets that wait where a way is thin; then packets are lost
WAY = {"cut": False, "loss": 0, "delay": 0, "jitter": 0, "rate": 0}
NETWORK = "10.137.0.%d"
ETC, RUN = "/etc/netns", "/run/netns"
libc = ctypes.CDLL(None, use_errno=True)


def set_namespace(path):
    with open(path) as f:
        if libc.setns(f.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns %s" % path)


def ip(*arguments):
    r = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if r.returncode != 0:
        raise OSError("ip %s: %s" % (" ".join(arguments), r.stderr.strip()))


def remove_namespace(name):
    with contextlib.suppress(OSError):
        ip("netns", "delete", name)
    shutil.rmtree(os.path.join(ETC, name), ignore_errors=True)


class Host:
    def __init__(self, name, number):
        self.name, self.number = name, number
        self.address = NETWORK % number
        self.namespace = "warren-%d-%s" % (os.getpid(), name)
        self.tun = None

    def make(self, hosts):
        etc = os.path.join(ETC, self.namespace)
        os.makedirs(etc)
        with open(os.path.join(etc, "hosts"), "w") as f:
            f.write("127.0.0.1 localhost\n" + "".join("%s %s\n" % (h.address, h.name) for h in hosts))
        ip("netns", "add", self.namespace)
        with self.inside():
            self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self.tun, TUNSETIFF, struct.pack("16sH22x", b"wire", IFF_TUN | IFF_NO_PI))
        for words in ("link set lo up", "addr add %s/24 dev wire" % self.address, "link set wire mtu %d up" % MTU,
                      "link set wire txqueuelen 10000"):
            ip("-n", self.namespace, *words.split())

    def remove(self):
        if self.tun is not None:
            os.close(self.tun)
        remove_namespace(self.namespace)

    def command(self, command):
        """The same command, run on this host. It keeps its process id."""
        return ["ip", "netns", "exec", self.namespace, *command]

    @contextlib.contextmanager
    def inside(self):
        """Sockets that this thread makes here are this host's, also afterwards."""
        with open("/proc/thread-self/ns/net") as before:
            set_namespace(os.path.join(RUN, self.namespace))
            try:
                yield self
            finally:
                if libc.setns(before.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")


def why_not():
    """Why no such network can be made here; None if it can."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    if shutil.which("ip") is None:
        return "ip (iproute2) is missing"
    probe = Host("probe", 1)
    try:
        probe.make([probe])
        ip(*probe.command(["true"])[1:])
    except OSError as e:
        return "no network namespaces with tunnels: %s" % e
    finally:
        probe.remove()
    return None


def remove_left_over():
    """Hosts of tests that were killed."""
    for name in os.listdir(RUN) if os.path.isdir(RUN) else []:
        maker = re.match(r"warren-(\d+)-", name)
        if maker and not os.path.exists("/proc/" + maker[1]):
            remove_namespace(name)


class Way:
    """What becomes of packets from one host to another."""

    def __init__(self, cut=False, loss=0.0, delay=0.0, jitter=0.0, rate=0):
        self.cut, self.loss, self.delay, self.jitter, self.rate = cut, loss, delay, jitter, rate
        self.free = self.last = 0.0  # a packet has left; one has arrived

    def arrival(self, now, n):
        """When n octets that are sent now arrive, behind those sent before; None if the queue is full."""
        if self.rate:
            if (self.free - now) * self.rate > QUEUE:
                return None
            self.free = max(now, self.free) + n / self.rate
        at = max(now, self.free) + self.delay + random.uniform(-self.jitter, self.jitter)
        self.last = max(at, self.last)
        return self.last


class Switch:
    """The process between the hosts. Commands come as one JSON object per datagram."""

    def __init__(self, hosts, control):
        self.tuns = {socket.inet_aton(h.address): h.tun for h in hosts}
        self.numbers = {socket.inet_aton(h.address): h.number for h in hosts}
        self.control = control
        self.ways = {}
        self.late = []  # heap of (due, serial, tun, packet)
        self.serial = itertools.count()

    def run(self):
        selector = selectors.DefaultSelector()
        selector.register(self.control, selectors.EVENT_READ, self.on_control)
        for tun in self.tuns.values():
            selector.register(tun, selectors.EVENT_READ, lambda tun=tun: self.on_tun(tun))
        while True:
            wait = max(0.0, self.late[0][0] - time.monotonic()) if self.late else None
            for key, _ in selector.select(wait):
                key.data()
            self.send_due()

    def on_control(self):
        words = self.control.recv(65536)
        if not words:
            os._exit(0)
        self.ways = {(w["from"], w["to"]): Way(**{k: w[k] for k in WAY}) for w in json.loads(words)}
        self.control.send(b"done")

    def on_tun(self, tun):
        for _ in range(64):
            try:
                packet = os.read(tun, 65536)
            except BlockingIOError:
                return
            self.forward(packet)

    def forward(self, packet):
        to = self.tuns.get(packet[16:20])
        if packet[0] >> 4 != 4 or to is None:
            return
        way = self.ways.get((self.numbers.get(packet[12:16]), self.numbers[packet[16:20]]))
        if way is None:
            self.write(to, packet)
        elif way.cut or random.random() < way.loss:
            pass
        elif way.delay or way.rate:
            at = way.arrival(time.monotonic(), len(packet))
            if at is not None:
                heapq.heappush(self.late, (at, next(self.serial), to, packet))
        else:
            self.write(to, packet)

    def send_due(self):
        now = time.monotonic()
        while self.late and self.late[0][0] <= now:
            _, _, to, packet = heapq.heappop(self.late)
            self.write(to, packet)

    @staticmethod
    def write(tun, packet):
        with contextlib.suppress(OSError):  # a full queue: the packet is lost, as in any network
            os.write(tun, packet)


class Wire:
    def __init__(self, names):
        self.hosts = [Host(name, i + 1) for i, name in enumerate(names)]
        self.ways = {}
        self.switch = 0
        self.control = None

    def __enter__(self):
        remove_left_over()
        try:
            for h in self.hosts:
                h.make(self.hosts)
            self.start_switch()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def start_switch(self):
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.switch = os.fork()
        if self.switch == 0:
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with its control socket
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                self.control.close()
                Switch(self.hosts, theirs).run()
            finally:
                os._exit(1)
        theirs.close()

    def close(self):
        if self.control is not None:
            self.control.close()
            os.waitpid(self.switch, 0)
        for h in self.hosts:
            h.remove()

    def host(self, name):
        return next(h for h in self.hosts if h.name == name)

    # What is done to the packets; each takes effect before it returns.

    def set_way(self, a, b, **what):
        way = self.ways.setdefault((self.host(a).number, self.host(b).number), dict(WAY))
        way.update(what)
        self.tell()

    def cut(self, a, b):
        """From a to b nothing arrives any more."""
        self.set_way(a, b, cut=True)

    def cut_both(self, a, b):
        self.cut(a, b)
        self.cut(b, a)

    def lose(self, a, b, share):
        self.set_way(a, b, loss=share)

    def delay(self, a, b, seconds, jitter=0):
        self.set_way(a, b, delay=seconds, jitter=jitter)

    def narrow(self, a, b, octets_per_second):
        self.set_way(a, b, rate=octets_per_second)

    def heal(self):
        self.ways = {}
        self.tell()

    def tell(self):
        ways = [{"from": a, "to": b, **way} for (a, b), way in self.ways.items()]
        self.control.send(json.dumps(ways).encode())
        assert self.control.recv(16) == b"done"
