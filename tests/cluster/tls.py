#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TLS between nodes, with certificates that openssl makes: who gets in, who does not, and what both ends say.

usage: tls.py [unittest arguments]; WARREND names the broker.
"""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

from cluster import COOKIE, Cluster, beside, exit_on_sigterm, wait_until  # noqa: E402

CONFIG, UNAVAILABLE, SOFTWARE = 78, 69, 70
GREETING_S = 5
STRANGERS = 40


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Authority:
    """A directory with a CA, and what it signs."""

    def __init__(self, directory, name):
        self.directory, self.name = directory, name
        self.cert, self.key = self.path("ca.pem"), self.path("ca.key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                "-subj", "/CN=%s" % name, "-keyout", self.key, "-out", self.cert)

    def path(self, what):
        return os.path.join(self.directory, "%s-%s" % (self.name, what))

    def sign(self, name, days=30):
        """(certificate, key) of a node."""
        cert, key, request = self.path(name + ".pem"), self.path(name + ".key"), self.path(name + ".csr")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=%s" % name,
                "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-days",
                str(days), "-out", cert)
        os.chmod(key, 0o600)
        return cert, key


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="tls-")
        cls.ours = Authority(cls.directory.name, "ours")
        cls.theirs = Authority(cls.directory.name, "theirs")
        cls.good = cls.ours.sign("node")
        cls.expired = cls.ours.sign("expired", -1)
        cls.foreign = cls.theirs.sign("node")

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def settings(self, pair, ca=None, verify="verify_peer"):
        return ["cluster.ssl_options.cacertfile=%s" % (ca or self.ours).cert,
                "cluster.ssl_options.certfile=%s" % pair[0], "cluster.ssl_options.keyfile=%s" % pair[1],
                "cluster.ssl_options.verify=%s" % verify]

    def nodes(self, *settings):
        c = Cluster(len(settings))
        self.addCleanup(c.close)
        for node, s in zip(c.nodes, settings):
            node.settings += s
        c.start()
        return c

    def says(self, node, text):
        wait_until(lambda: text in node.log(), 15, lambda: "%s says: %s\n%s" % (node.name, text, node.log()[-2500:]))

    def refuses(self, c, of_joiner, of_member):
        """The second node does not get in, and each end says why."""
        a, b = c.nodes
        b.ctl("stop_app")
        r = b.ctl("join_cluster", "%s:%d" % (a.name, a.cluster_port), check=False)
        self.assertEqual(r.returncode, UNAVAILABLE, r.stdout + r.stderr)
        self.assertIn(of_joiner, r.stderr)
        self.says(a, of_member)
        b.ctl("start_app")

    def test_cluster(self):
        c = self.nodes(*[self.settings(self.good)] * 3)
        self.says(c.nodes[0], "(TLS)")
        for node in c.nodes[1:]:
            c.join(node)
        c.wait_running(3)
        c.nodes[0].ctl("add_vhost", "v")
        wait_until(lambda: "v" in c.nodes[2].ctl("list_vhosts", "-s").split(), 10, "the vhost is everywhere")
        c.nodes[0].kill()
        c.wait_running(2)
        c.nodes[0].start()
        c.wait_running(3)

    def serves_certificate(self, node):
        """The serial number of what the node shows to those who connect."""
        r = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % node.cluster_port, "-cert", self.good[0],
                            "-key", self.good[1]], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
        pem = r.stdout[r.stdout.index("-----BEGIN"):]
        return subprocess.run(["openssl", "x509", "-noout", "-serial"], input=pem, capture_output=True, text=True,
                              check=True).stdout

    def test_new_certificates_without_a_restart(self):
        used = tuple(os.path.join(self.directory.name, "renewed." + kind) for kind in ("pem", "key"))

        def put(pair):
            for source, target in zip(pair, used):
                shutil.copy(source, target + ".new")
                os.rename(target + ".new", target)
        put(self.ours.sign("short"))
        c = self.nodes(self.settings(used), self.settings(self.good))
        a, b = c.nodes
        c.join(b)
        c.wait_running(2)
        first = self.serves_certificate(a)
        put(self.ours.sign("long"))
        self.assertEqual(self.serves_certificate(a), first)
        a.process.send_signal(signal.SIGHUP)
        self.says(a, "the certificates have been read again")
        second = self.serves_certificate(a)
        self.assertNotEqual(second, first)
        # The link stays; a new one is made with the new certificate.
        self.assertNotIn("lost", b.log())
        b.stop()
        b.start()
        c.wait_running(2)
        put(self.ours.sign("longer"))
        self.assertEqual(a.ctl("eval", "ssl:clear_pem_cache()."), "ok\n")
        third = self.serves_certificate(a)
        self.assertNotIn(third, (first, second))
        # What cannot be used changes nothing.
        put((self.good[0], self.foreign[1]))
        r = a.ctl("reload_certificates", check=False)
        self.assertEqual(r.returncode, UNAVAILABLE)
        self.assertIn("key values mismatch; the certificates that were read before are used on", r.stderr)
        self.assertEqual(self.serves_certificate(a), third)
        put((self.good[0], self.good[1]))
        a.ctl("reload_certificates")
        self.assertNotEqual(self.serves_certificate(a), third)
        self.assertNotEqual(a.ctl("eval", "1 + 1.", check=False).returncode, 0)

    def test_wrong_authority(self):
        c = self.nodes(self.settings(self.good), self.settings(self.foreign, self.theirs))
        self.refuses(c, "the certificate of the other end is not accepted", "TLS: the other end refuses the connection")

    def test_certificate_of_another_authority(self):
        """Only the member objects: it says so, and the other end hears of it."""
        c = self.nodes(self.settings(self.good), self.settings(self.foreign))
        self.refuses(c, "TLS: the other end refuses the connection: unknown CA",
                     "the certificate of the other end is not accepted")

    def test_expired(self):
        c = self.nodes(self.settings(self.good), self.settings(self.expired))
        self.refuses(c, "TLS: the other end refuses the connection: certificate expired",
                     "TLS: the certificate of the other end is not accepted: certificate has expired")

    def test_plain_node_joins(self):
        c = self.nodes(self.settings(self.good), [])
        self.refuses(c, "%s does not use TLS, and the other end does" % c.nodes[1].name,
                     "the other end does not use TLS, and this one does")

    def test_tls_node_joins_plain_one(self):
        c = self.nodes([], self.settings(self.good))
        self.refuses(c, "the other end does not use TLS, and this one does",
                     "%s does not use TLS, and the other end does" % c.nodes[0].name)

    def test_no_certificate(self):
        c = self.nodes(self.settings(self.good))
        a = c.nodes[0]
        context = ssl.create_default_context(cafile=self.ours.cert)
        context.check_hostname = False
        with socket.create_connection(("127.0.0.1", a.cluster_port)) as raw:
            raw.settimeout(10)
            with self.assertRaises(OSError):
                with context.wrap_socket(raw) as s:
                    while s.recv(1):
                        pass
                    raise OSError("closed")
        self.says(a, "TLS: the other end has no certificate")

    def test_old_protocol(self):
        c = self.nodes(self.settings(self.good))
        a = c.nodes[0]
        r = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % a.cluster_port, "-tls1_1", "-cipher",
                            "ALL@SECLEVEL=0"], stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
        self.assertNotEqual(r.returncode, 0)
        self.says(a, "unsupported protocol")

    def test_not_verified(self):
        """Ciphered only; the cookie decides, and it is bound to the connection."""
        c = self.nodes(*[self.settings(self.foreign, verify="verify_none"),
                         self.settings(self.good, verify="verify_none")])
        c.join(c.nodes[1])
        c.wait_running(2)

    def test_garbage_and_half_handshakes(self):
        c = self.nodes(self.settings(self.good))
        a = c.nodes[0]
        hello = self.client_hello()
        open_ones = []
        for i in range(STRANGERS):
            s = socket.create_connection(("127.0.0.1", a.cluster_port))
            self.addCleanup(s.close)
            open_ones.append(s)
            s.sendall([b"", hello[:50], hello, hello + os.urandom(2000), b"\x16\x03\x01\xff\xff" + os.urandom(500),
                       os.urandom(300), b"\x15\x03\x01\x00\x02\x02\x28"][i % 7])
        began = time.monotonic()
        for s in open_ones:  # whatever it is, it ends in time
            s.settimeout(3 * GREETING_S)
            try:
                while s.recv(4096):
                    pass
            except ConnectionError:
                pass
        self.assertLess(time.monotonic() - began, 3 * GREETING_S)
        self.assertTrue(a.alive())
        self.assertIn(a.name, a.ctl("cluster_status"))

    def client_hello(self):
        out = ssl.MemoryBIO()
        context = ssl.create_default_context()
        o = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="x")
        try:
            o.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return out.read()

    def ctl(self, node, *options):
        cookie = os.path.join(self.directory.name, "cookie")
        if not os.path.exists(cookie):
            with open(os.open(cookie, os.O_WRONLY | os.O_CREAT, 0o400), "w") as f:
                f.write(COOKIE)
        env = dict(os.environ, WARREN_RUN_DIR=os.path.join(self.directory.name, "nowhere"))
        return subprocess.run([beside("warrenctl"), "-n", "%s:%d" % (node.name, node.cluster_port), "--cookie-file",
                               cookie, *options, "list_users"], capture_output=True, text=True, env=env, timeout=30)

    def test_tool_from_elsewhere(self):
        c = self.nodes(self.settings(self.good))
        a = c.nodes[0]
        files = ["--certfile", self.good[0], "--keyfile", self.good[1]]
        r = self.ctl(a, "--cacertfile", self.ours.cert, *files)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn("guest", r.stdout)
        r = self.ctl(a, *files)
        self.assertEqual(r.returncode, 0, r.stderr)
        r = self.ctl(a, "--cacertfile", self.theirs.cert, *files)
        self.assertIn("the certificate of the other end is not accepted", r.stderr)
        r = self.ctl(a, "--cacertfile", self.ours.cert, "--certfile", self.foreign[0], "--keyfile", self.foreign[1])
        self.assertEqual(r.returncode, UNAVAILABLE, r.stderr)
        self.says(a, "the certificate of the other end is not accepted")
        r = self.ctl(a)
        self.assertIn("warrenctl does not use TLS, and the other end does", r.stderr)
        self.assertIn("needs --certfile and --keyfile", self.ctl(a, "--cacertfile", self.ours.cert).stderr)

    def refused_start(self, settings, text):
        c = Cluster(1)
        self.addCleanup(c.close)
        a = c.nodes[0]
        a.settings += settings
        a.start(wait=False)
        self.assertEqual(a.process.wait(20), CONFIG)
        self.assertIn(text, a.log())

    def test_files(self):
        cert, key = self.ours.sign("open")
        os.chmod(key, 0o644)
        self.refused_start(self.settings((cert, key)), "has mode 644: others must not have access")
        os.chmod(key, 0o600)
        self.refused_start(self.settings((cert, self.good[1])), "%s cannot be used: key values mismatch" % self.good[1])
        self.refused_start(self.settings((cert, key + "x")), "%sx cannot be read: No such file" % key)
        self.refused_start(self.settings((key, key)), "%s cannot be used" % key)
        self.refused_start(["cluster.ssl_options.certfile=%s" % cert], "needs certfile, keyfile and")


if __name__ == "__main__":
    exit_on_sigterm()
    unittest.main()
