# SPDX-License-Identifier: Apache-2.0
"""Three nodes on loopback, or on hosts of their own (wire.py), their control tool, and nginx in front of them.

    with Cluster(3) as c:
        c.form()                          # the documented commands
        c.nodes[1].kill(); c.nodes[1].start()

Each node has a directory of its own, ports of its own, and the same cookie.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

from broker import Broker, free_port  # noqa: E402

START_SECONDS = 30
COOKIE = "a-secret-of-all-three"
NGINX_CONF = """\
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log warn;
{module}
events {{ worker_connections 1024; }}
stream {{
    upstream warren {{
{servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        proxy_connect_timeout 1s;
        proxy_timeout 1h;
        proxy_pass warren;
    }}
}}
"""
MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"


def beside(program):
    return os.path.join(os.path.dirname(os.path.abspath(Broker.program())), program)


def wait_until(condition, seconds, what):
    """The first true value of condition(); AssertionError when time is up."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("after %g s still not: %s" % (seconds, what() if callable(what) else what))
        time.sleep(0.05)


def listens(port, address="127.0.0.1"):
    try:
        socket.create_connection((address, port), timeout=1).close()
        return True
    except OSError:
        return False


class Node:
    def __init__(self, cluster, number, settings, host=None):
        self.host = host
        self.name = "warren@%s" % host.name if host else "w%d@localhost" % number
        self.address = host.address if host else "127.0.0.1"
        self.cluster = cluster
        self.directory = os.path.join(cluster.directory, "w%d" % number)
        self.port, self.cluster_port = free_port(), free_port()
        self.settings = settings
        self.process = None

    @property
    def log_path(self):
        return os.path.join(self.cluster.directory, self.name + ".log")

    def log(self):
        if not os.path.exists(self.log_path):
            return ""
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def write_cookie(self):
        os.makedirs(self.directory, exist_ok=True)
        path = os.path.join(self.directory, ".cookie")
        if not os.path.exists(path):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o400), "w") as f:
                f.write(COOKIE)

    def start(self, wait=True):
        self.write_cookie()
        command = [Broker.program(), "-d", self.directory, "-n", self.name]
        for s in ["listeners.tcp.default=%s:%d" % (self.address, self.port),
                  "cluster.listener=%s:%d" % (self.address, self.cluster_port)] + self.settings:
            command += ["-s", s]
        if self.host:
            command = self.host.command(command)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds=START_SECONDS):
        wait_until(self.serves, seconds, lambda: "%s serves clients\n%s" % (self.name, self.log()[-3000:]))

    def serves(self):
        with self.here():
            return listens(self.port, self.address)

    def here(self):
        """Sockets that are made in this context are on the node's own host."""
        return self.host.inside() if self.host else contextlib.nullcontext()

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(START_SECONDS) == 0, self.log()[-3000:]

    def ctl(self, *arguments, check=True, timeout=60, program=None):
        """The control tool's standard output; with check=False the finished process."""
        r = subprocess.run([program or beside("warrenctl"), "-n", self.name, *arguments], capture_output=True, text=True,
                           timeout=timeout)
        if not check:
            return r
        assert r.returncode == 0, "%s %s: %d\n%s%s" % (self.name, arguments, r.returncode, r.stdout, r.stderr)
        return r.stdout

    def json(self, *arguments):
        return json.loads(self.ctl(*arguments, "--formatter", "json"))

    def queues(self, *columns):
        """name -> row of the queues of vhost "/"."""
        return {row["name"]: row for row in self.json("list_queues", "name", *columns)}


class Cluster:
    def __init__(self, n=3, settings=(), hosts=()):
        self.directory = tempfile.mkdtemp(prefix="cluster-")
        self.nodes = [Node(self, i + 1, list(settings), host) for i, host in enumerate(hosts or [None] * n)]
        self.front = None
        self.nginx = None
        os.environ["WARREN_RUN_DIR"] = os.path.join(self.directory, "run")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.end()
        if kind is not None:
            for node in self.nodes:
                print("---- %s\n%s" % (node.log_path, node.log()[-6000:]), file=sys.stderr)
        self.close()

    def close(self):
        """Ends all processes, and removes what they have left."""
        self.end()
        shutil.rmtree(self.directory, ignore_errors=True)

    def end(self):
        if self.nginx is not None and self.nginx.poll() is None:
            self.nginx.terminate()  # killed, it would leave its workers behind
            self.nginx.wait()
        for process in [node.process for node in self.nodes]:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()

    def start(self):
        for node in self.nodes:
            node.start()

    def join(self, node, *options):
        """What the documentation says an operator does on the node that joins."""
        first = self.nodes[0]
        node.ctl("stop_app")
        node.ctl("join_cluster", *options, "%s:%d" % (first.name, first.cluster_port))
        if not options:
            node.ctl("change_cluster_node_type", "disc")  # it is one already
        node.ctl("start_app")

    def form(self):
        self.start()
        for node in self.nodes[1:]:
            self.join(node)
        self.wait_running(len(self.nodes))

    def wait_running(self, n, seconds=START_SECONDS):
        """All living nodes agree on who runs."""
        def agreed():
            views = [sorted(node.json("cluster_status")["running_nodes"]) for node in self.nodes if node.alive()]
            return all(v == views[0] for v in views) and len(views[0]) == n
        wait_until(agreed, seconds, "%d nodes run" % n)

    def mirror_all(self):
        self.nodes[0].ctl("set_policy", "-p", "/", "ha-all", ".*", '{"ha-mode":"all","ha-sync-mode":"automatic"}')

    def wait_synchronised(self, queues=None, n=None, seconds=60):
        """Every queue has all its mirrors, and they are in step."""
        n = n or len(self.nodes)

        def done():
            rows = next(node for node in self.nodes if node.alive()).queues("synchronised_slave_pids", "state")
            mine = {k: v for k, v in rows.items() if queues is None or k in queues}
            return mine and all(len(row["synchronised_slave_pids"] or []) == n - 1 for row in mine.values())
        wait_until(done, seconds, "%d synchronised mirrors" % (n - 1))

    def start_nginx(self):
        """A TCP load balancer in front of all nodes; returns its port."""
        self.front = free_port()
        conf = os.path.join(self.directory, "nginx.conf")
        servers = "\n".join("        server 127.0.0.1:%d max_fails=1 fail_timeout=1s;" % n.port for n in self.nodes)
        module = "load_module %s;" % MODULE if os.path.exists(MODULE) else ""
        with open(conf, "w") as f:
            f.write(NGINX_CONF.format(directory=self.directory, module=module, servers=servers, port=self.front))
        self.nginx = subprocess.Popen(["nginx", "-p", self.directory, "-c", conf], stdin=subprocess.DEVNULL)
        wait_until(lambda: listens(self.front), START_SECONDS, "nginx listens")
        return self.front


def exit_on_sigterm():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
