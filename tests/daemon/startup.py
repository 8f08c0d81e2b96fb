#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How warrend starts and ends: exit statuses, the line that says why, signals, the store check.

usage: startup.py [unittest arguments]; WARREND names the program.
"""

import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
WARREND = os.environ.get("WARREND", os.path.join(HERE, "..", "..", "warrend"))
SECONDS = 60

OK, FAILURE, PORT_IN_USE, DIRECTORY, NEWER, DAMAGED, LOCKED, USAGE, CONFIG = 0, 1, 3, 4, 5, 6, 7, 64, 78


class Node:
    """A warrend in a directory, its log in memory."""

    def __init__(self, directory, *settings, port=0, options=(), user=None):
        arguments = [WARREND, "-d", directory, "-n", "warren@localhost",
                     "-s", "listeners.tcp.default=127.0.0.1:%d" % port, "-s", "cluster.listener=127.0.0.1:0"]
        for s in settings:
            arguments += ["-s", s]
        self.stderr = tempfile.TemporaryFile("a+")  # whose end is the end, wherever we read
        self.process = subprocess.Popen(arguments + list(options), stderr=self.stderr, stdin=subprocess.DEVNULL,
                                        user=user)
        self.log = ""

    def read(self):
        self.stderr.seek(0)
        self.log = self.stderr.read()

    def wait_for(self, text):
        deadline = time.monotonic() + SECONDS
        while text not in self.log:
            if time.monotonic() > deadline:
                raise AssertionError("no '%s' in the log:\n%s" % (text, self.log))
            ended = self.process.poll() is not None
            self.read()
            if ended and text not in self.log:
                raise AssertionError("ended with %d before '%s':\n%s" % (self.process.returncode, text, self.log))
            time.sleep(0.01)
        return self

    def ready(self):
        return self.wait_for("is ready")

    def port(self):
        line = [x for x in self.log.splitlines() if "started TCP listener" in x][0]
        return int(line.rsplit(":", 1)[1])

    def end(self, signum=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(signum)
        return self.wait()

    def wait(self):
        try:
            status = self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("did not end:\n" + self.log)
        self.read()
        self.stderr.close()
        return status


class Startup(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="warren-startup-")
        self.addCleanup(shutil.rmtree, self.top, True)
        self.directory = os.path.join(self.top, "data")
        self.nodes = []

    def tearDown(self):
        for node in self.nodes:
            if node.process.poll() is None:
                node.process.kill()
                node.process.wait()
            node.stderr.close()

    def node(self, *settings, directory=None, **how):
        node = Node(directory or self.directory, *settings, **how)
        self.nodes.append(node)
        return node

    def refused(self, node, status, *texts):
        self.assertEqual(node.wait(), status, node.log)
        for text in texts:
            self.assertIn(text, node.log)

    def check(self, directory=None):
        # A page that cannot be read is a signal, which a sanitizer would take for a fault of ours.
        options = "handle_sigbus=0:handle_segv=0"
        env = dict(os.environ, ASAN_OPTIONS=options, TSAN_OPTIONS=options)
        done = subprocess.run([WARREND, "--check-store", directory or self.directory], text=True, env=env,
                              capture_output=True, timeout=SECONDS)
        return done.returncode, done.stdout + done.stderr

    def test_starts_on_an_empty_directory_and_ends_on_sigterm(self):
        self.assertEqual(self.node().ready().end(), OK)

    def test_ends_on_sigint_too(self):
        self.assertEqual(self.node().ready().end(signal.SIGINT), OK)

    def test_finds_its_data_again(self):
        first = self.node().ready()
        self.assertEqual(first.end(), OK)
        self.assertIn("start number 1", first.log)
        second = self.node().ready()
        self.assertIn("start number 2", second.log)
        self.assertEqual(second.end(), OK)

    def test_ends_on_sigterm_at_any_moment_of_the_start(self):
        node = self.node().ready()
        declare(node.port(), 60)
        self.assertEqual(node.end(), OK)
        for i in range(20):
            node = self.node().wait_for("data in")
            time.sleep(i * 0.001)
            self.assertEqual(node.end(), OK, node.log)
        status, text = self.check()
        self.assertEqual(status, OK, text)

    def test_sighup_stops_nothing(self):
        node = self.node().ready()
        node.process.send_signal(signal.SIGHUP)
        self.assertEqual(login(node.port(), "guest", "guest", "/"), "open")
        self.assertEqual(node.end(), OK)

    def test_no_signal_ends_a_node_that_is_being_stopped(self):
        for signum in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT) * 5:
            node = self.node().ready()
            node.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + SECONDS
            while node.process.poll() is None:
                self.assertLess(time.monotonic(), deadline, node.log)
                node.process.send_signal(signum)
            self.assertEqual(node.wait(), OK, node.log)

    def test_closed_standard_files_do_not_become_files_of_the_store(self):
        closed = subprocess.Popen([WARREND, "-d", self.directory, "-n", "warren@localhost", "-s",
                                   "listeners.tcp.default=127.0.0.1:0", "-s", "cluster.listener=127.0.0.1:0"],
                                  preexec_fn=lambda: [os.close(fd) for fd in (0, 1, 2)])
        deadline = time.monotonic() + SECONDS
        while not os.path.exists(os.path.join(self.directory, "reserve")):
            self.assertLess(time.monotonic(), deadline)
            self.assertIsNone(closed.poll())
            time.sleep(0.01)
        closed.send_signal(signal.SIGTERM)
        self.assertEqual(closed.wait(SECONDS), OK)
        for name in os.listdir(self.directory):
            with open(os.path.join(self.directory, name), "rb") as f:
                self.assertNotIn(b"[info]", f.read(), name)

    def test_too_few_descriptors_are_an_error_in_words(self):
        few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
        done = subprocess.run([WARREND, "-d", self.directory], preexec_fn=few, text=True, capture_output=True,
                              timeout=SECONDS)
        self.assertEqual(done.returncode, FAILURE)
        self.assertIn("file descriptors", done.stderr)

    def test_port_in_use(self):
        holder = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(holder.close)
        port = holder.getsockname()[1]
        self.refused(self.node(port=port), PORT_IN_USE, "127.0.0.1:%d" % port, "address already in use")
        self.assertFalse(os.path.exists(self.directory), "the store was opened before")

    def test_cluster_port_in_use(self):
        holder = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(holder.close)
        port = holder.getsockname()[1]
        self.refused(self.node("cluster.listener=127.0.0.1:%d" % port), PORT_IN_USE,
                     "cluster.listener 127.0.0.1:%d: address already in use" % port)

    def test_what_is_no_node_is_sent_away_from_the_cluster_port(self):
        node = self.node().ready()
        line = [x for x in node.log.splitlines() if "other nodes may connect to" in x][0]
        address = ("127.0.0.1", int(line.rsplit(":", 1)[1]))
        for octets in (b"AMQP\0\0\x09\x01", b"GET / HTTP/1.1\r\n\r\n", os.urandom(300)):
            with socket.create_connection(address, timeout=SECONDS) as s:
                s.sendall(octets)
                self.assertEqual(s.recv(1), b"")
        with socket.create_connection(address, timeout=SECONDS):
            node.wait_for("not a greeting of a Warren node")
            self.assertEqual(node.end(), OK, node.log)  # somebody who says nothing does not hold it up

    def test_cookie_is_made_once(self):
        self.assertEqual(self.node().ready().end(), OK)
        path = os.path.join(self.directory, ".cookie")
        self.assertEqual(os.stat(path).st_mode & 0o7777, 0o400)
        with open(path) as f:
            first = f.read()
        self.assertGreaterEqual(len(first.strip()), 20)
        self.assertEqual(self.node().ready().end(), OK)
        with open(path) as f:
            self.assertEqual(f.read(), first)

    def test_cookie_that_others_can_read_is_refused(self):
        self.assertEqual(self.node().ready().end(), OK)
        path = os.path.join(self.directory, ".cookie")
        os.chmod(path, 0o440)
        self.refused(self.node(), DIRECTORY, path, "must be 400 or 600")
        os.chmod(path, 0o600)
        self.assertEqual(self.node().ready().end(), OK)

    def test_cookie_file_of_the_configuration(self):
        path = os.path.join(self.top, "secret")
        setting = "cluster.cookie_file=" + path
        self.refused(self.node(setting), CONFIG, path, "No such file")
        with open(path, "w") as f:
            f.write("SECRETSECRET\n")
        os.chmod(path, 0o600)
        node = self.node(setting).ready()
        self.assertEqual(node.end(), OK)
        self.assertNotIn("SECRET", node.log)
        self.assertFalse(os.path.exists(os.path.join(self.directory, ".cookie")))

    def test_times_of_links_must_fit(self):
        self.refused(self.node("cluster.net_timeout_ms=300", "cluster.heartbeat_interval_ms=200"), CONFIG,
                     "cluster.net_timeout_ms (300) is below two times cluster.heartbeat_interval_ms (200)")

    def test_second_process_on_one_store(self):
        self.node().ready()
        self.refused(self.node(), LOCKED, self.directory)
        self.assertEqual(self.check()[0], LOCKED)

    def test_second_process_on_one_store_whose_lock_files_are_gone(self):
        first = self.node().ready()
        for name in "lock", "lock.mdb":
            os.unlink(os.path.join(self.directory, name))
        self.refused(self.node(), LOCKED, self.directory)
        self.assertEqual(first.end(), OK)
        self.assertEqual(self.node().ready().end(), OK)

    def test_data_file_that_is_gone_is_not_made_anew(self):
        self.assertEqual(self.node().ready().end(), OK)
        data = os.path.join(self.directory, "data.mdb")
        os.truncate(data, 0)
        self.refused(self.node(), DAMAGED, data[:-9], "is empty", "there was a store here")
        os.unlink(data)
        self.refused(self.node(), DAMAGED, "is missing", "there was a store here")
        status, text = self.check()
        self.assertEqual(status, DAMAGED, text)
        shutil.rmtree(self.directory)
        self.assertEqual(self.node().ready().end(), OK)

    def test_creation_that_was_cut_short_is_finished(self):
        os.mkdir(self.directory)
        with open(os.path.join(self.directory, "data.mdb"), "wb") as f:
            f.write(bytes(4096))
        status, text = self.check()
        self.assertEqual(status, FAILURE, text)
        self.assertIn("cut short", text)
        self.assertEqual(self.node().ready().end(), OK)
        self.assertEqual(self.check()[0], OK)

    def test_check_of_a_tree_of_pages_that_leads_nowhere(self):
        node = self.node().ready()
        declare(node.port(), 60)
        self.assertEqual(node.end(), OK)
        data = os.path.join(self.directory, "data.mdb")
        with open(data, "rb") as f:
            pages = len(f.read()) // 4096
        whole = os.path.join(self.top, "whole")
        shutil.copytree(self.directory, whole)
        for page in range(2, pages):
            with open(data, "r+b") as f:
                f.seek(page * 4096 + 8)
                f.write(b"\xff" * 1024)
            status, text = self.check()
            self.assertIn(status, (OK, DAMAGED), text)  # a page may be free
            if status == DAMAGED:
                self.assertIn("damaged", text)
            shutil.copy(os.path.join(whole, "data.mdb"), data)

    def test_directory_that_cannot_be_made(self):
        blocked = os.path.join(self.top, "file")
        with open(blocked, "w") as f:
            f.write("not a directory")
        self.refused(self.node(directory=os.path.join(blocked, "data")), DIRECTORY, blocked)

    def test_directory_that_is_not_writable(self):
        os.mkdir(self.directory, 0o555)
        os.chmod(self.top, 0o755)
        # Root may write anywhere; nobody may not.
        nobody = 65534 if os.geteuid() == 0 else None
        self.refused(self.node(user=nobody), DIRECTORY, self.directory)

    def test_damaged_store(self):
        self.assertEqual(self.node().ready().end(), OK)
        data = os.path.join(self.directory, "data.mdb")
        with open(data, "r+b") as f:
            f.seek(0)
            f.write(b"\xff" * 8192)
        self.refused(self.node(), DAMAGED, self.directory)
        self.assertEqual(self.check()[0], DAMAGED)

    def test_check_of_a_good_store(self):
        self.assertEqual(self.node().ready().end(), OK)
        status, text = self.check()
        self.assertEqual(status, OK, text)

    def test_check_of_a_missing_store(self):
        status, text = self.check(os.path.join(self.top, "nowhere"))
        self.assertNotEqual(status, OK)
        self.assertIn("nowhere", text)

    def test_unknown_key_is_a_warning_that_names_the_line(self):
        conf = os.path.join(self.top, "warren.conf")
        with open(conf, "w") as f:
            f.write("# one\nno.such.key = 1\n")
        node = self.node(options=("-c", conf)).ready()
        self.assertIn("warren.conf:2", node.log)
        self.assertIn("no.such.key", node.log)
        self.assertIn("[warning]", node.log)
        self.assertEqual(node.end(), OK)

    def test_bad_value_is_an_error_that_names_the_line(self):
        conf = os.path.join(self.top, "warren.conf")
        with open(conf, "w") as f:
            f.write("\nchannel_max = many\n")
        self.refused(self.node(options=("-c", conf)), CONFIG, "warren.conf:2", "channel_max")

    def test_bad_options(self):
        done = subprocess.run([WARREND, "--no-such-option"], text=True, capture_output=True, timeout=SECONDS)
        self.assertEqual(done.returncode, USAGE)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        done = subprocess.run([WARREND, "-s", "foo"], text=True, capture_output=True, timeout=SECONDS)
        self.assertEqual((done.returncode, done.stderr),
                         (USAGE, "warrend: -s foo: is not KEY=VALUE (see --help)\n"))

    def test_directory_of_configuration_files_with_a_fifo(self):
        conf = os.path.join(self.top, "conf.d")
        os.mkdir(conf)
        os.mkfifo(os.path.join(conf, "10-pipe.conf"))
        self.refused(self.node(options=("-c", conf)), CONFIG, "10-pipe.conf", "not a regular file")

    def test_silent_client_is_dropped_after_the_handshake_timeout(self):
        node = self.node("handshake_timeout=500").ready()
        with socket.create_connection(("127.0.0.1", node.port()), timeout=SECONDS) as s:
            self.assertEqual(s.recv(1), b"")
        node.wait_for("handshake_timeout")

    def test_a_stop_waits_two_seconds_for_clients_that_do_not_answer_and_no_more(self):
        for attempt in range(5):  # a busy machine takes longer, but not each time
            took = self.seconds_to_stop_beside_silent_clients()
            self.assertGreaterEqual(took, 1.9)
            if took < 5:
                return
        self.fail("%.1f s" % took)  # looked at each second; with a linger behind that it would be 6

    def seconds_to_stop_beside_silent_clients(self):
        node = self.node().ready()
        with Client(node.port()) as idle, socket.create_connection(("127.0.0.1", node.port())):
            self.assertEqual(idle.login("guest", "guest", "/"), "open")
            began = time.monotonic()
            self.assertEqual(node.end(), OK)
            return time.monotonic() - began

    def test_default_user_of_the_configuration_is_made_in_an_empty_store(self):
        node = self.node("default_user=alice", "default_pass=secret", "default_vhost=shop").ready()
        self.assertEqual(login(node.port(), "alice", "secret", "shop"), "open")
        self.assertEqual(login(node.port(), "alice", "wrong", "shop"), "refused")
        self.assertEqual(login(node.port(), "guest", "guest", "/"), "refused")
        self.assertEqual(node.end(), OK)
        node = self.node("default_user=bob", "default_pass=secret").ready()
        self.assertEqual(login(node.port(), "alice", "secret", "shop"), "open")
        self.assertEqual(login(node.port(), "bob", "secret", "/"), "refused")
        self.assertEqual(node.end(), OK)


def short(text):
    return bytes([len(text)]) + text.encode()


def long(raw):
    return struct.pack(">I", len(raw)) + raw


class Client:
    """As much of AMQP as these tests need."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    def send(self, cls, number, payload, channel=0):
        body = struct.pack(">HH", cls, number) + payload
        self.socket.sendall(struct.pack(">BHI", 1, channel, len(body)) + body + b"\xce")

    def receive(self):
        """Class and method of the next frame, None at the end."""
        head = self.stream.read(7)
        if len(head) < 7:
            return None
        self.payload = self.stream.read(struct.unpack(">BHI", head)[2] + 1)
        return struct.unpack(">HH", self.payload[:4])

    def login(self, user, password, vhost, blocked=False):
        """'open' or 'refused'; `blocked`: announces that connection.blocked is understood."""
        capability = short("connection.blocked") + b"t\x01"
        properties = short("capabilities") + b"F" + long(capability) if blocked else b""
        self.socket.sendall(b"AMQP\0\0\x09\x01")
        if self.receive() != (10, 10):
            raise AssertionError("no connection.start")
        response = b"\0" + user.encode() + b"\0" + password.encode()
        self.send(10, 11, long(properties) + short("PLAIN") + long(response) + short("en_US"))
        if self.receive() != (10, 30):
            return "refused"
        self.send(10, 31, struct.pack(">HIH", 2047, 131072, 0))
        self.send(10, 40, short(vhost) + short("") + b"\0")
        return "open" if self.receive() == (10, 41) else "refused"


def login(port, user, password, vhost):
    with Client(port) as client:
        return client.login(user, password, vhost)


def declare(port, count):
    """Durable queues."""
    with Client(port) as client:
        client.login("guest", "guest", "/")
        client.send(20, 10, short(""), channel=1)
        answers = [client.receive()]
        for i in range(count):
            client.send(50, 10, b"\0\0" + short("q%d" % i) + b"\x02" + long(b""), channel=1)
            answers.append(client.receive())
        if answers != [(20, 11)] + [(50, 11)] * count:
            raise AssertionError("not all queues were declared: %s" % answers)


if __name__ == "__main__":
    result = unittest.main(exit=False).result
    failed = len(result.failures) + len(result.errors)
    print("%d passed, %d failed, %d skipped" % (
        result.testsRun - failed - len(result.skipped), failed, len(result.skipped)))
    sys.exit(1 if failed else 0)
