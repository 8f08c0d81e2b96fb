#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an operator changes in a running node with warrenctl, and waits for: limits, the log, memory; under RabbitMQ's names, too.

usage: operate.py [unittest arguments]; WARREND names the broker, WARRENCTL the tool.
"""

import json
import os
import subprocess
import time
import unittest

from one_node import HERE, NODE, Broker, OneNode, exit_on_sigterm, program, with_pika

try:
    import pika
except ImportError:
    with_pika()

OK, USAGE, DATA, UNAVAILABLE, SOFTWARE, TIMEOUT = 0, 64, 65, 69, 70, 75
SECONDS = 20
OTHER = "other@localhost"


class Operate(OneNode):
    def expect(self, *arguments, out=None, status=OK, err=None, **options):
        r = self.run_ctl(*arguments, **options)
        self.assertEqual(r.returncode, status, r.stdout + r.stderr)
        if out is not None:
            self.assertEqual(r.stdout, out)
        if err is not None or status == OK:
            self.assertEqual(r.stderr, err or "")
        return r

    def misused(self, sentence, *arguments, status=USAGE):
        err = self.expect(*arguments, status=status, out="").stderr
        self.assertEqual(err.split("\nArguments given:")[0], "Error (argument validation): " + sentence)

    def status(self):
        return json.loads(self.expect("status", "--formatter", "json").stdout)

    # ---- limits ----

    def blocked(self, connection):
        """What the broker has said of blocking, in its order."""
        heard = []
        connection.add_on_connection_blocked_callback(lambda _c, f: heard.append(f.method.reason))
        connection.add_on_connection_unblocked_callback(lambda _c, _f: heard.append(None))
        return heard

    def wait_heard(self, connection, heard, expected):
        deadline = time.monotonic() + SECONDS
        while heard != expected:
            self.assertLess(time.monotonic(), deadline, heard)
            connection.process_data_events(0.05)

    def test_a_watermark_holds_publishers_at_once(self):
        connection = pika.BlockingConnection(pika.URLParameters(self.broker.url))
        self.addCleanup(lambda: connection.is_open and connection.close())
        self.addCleanup(self.ctl, "set_vm_memory_high_watermark", "0.4")
        heard, channel = self.blocked(connection), connection.channel()
        channel.queue_declare("held", durable=True)
        self.addCleanup(self.ctl, "delete_queue", "held")
        self.expect("set_vm_memory_high_watermark", "0", out="Setting memory threshold on %s to 0 ...\n" % NODE)
        line = "Memory alarm on node %s" % NODE
        self.expect("-q", "check_local_alarms", out="", err="Error:\n%s\n" % line, status=UNAVAILABLE)
        self.expect("-s", "check_local_alarms", out="", err="", status=UNAVAILABLE)
        self.expect("-q", "check_alarms", out="", err=line + "\n", status=UNAVAILABLE)
        self.expect("-q", "alarms", out=line + "\n")
        r = self.expect("check_alarms", "--formatter", "json", status=UNAVAILABLE, out="")
        self.assertEqual(json.loads(r.stderr), {"global": [], "local": [line], "result": "error",
                                                "message": "Node %s reported alarms" % NODE})
        r = self.expect("node_health_check", "-q", status=SOFTWARE, out="")
        self.assertEqual(r.stderr, "Error:\nError: health check failed. Message: resource alarm(s) in effect:"
                                   "[{resource_limit,memory,%s}]\n" % NODE)
        channel.basic_publish("", "held", b"x")
        self.wait_heard(connection, heard, ["low on memory"])
        self.expect("set_vm_memory_high_watermark", "absolute", "1TB",
                    out="Setting memory threshold on %s to 1TB bytes ...\n" % NODE)
        self.wait_heard(connection, heard, ["low on memory", None])
        self.expect("-q", "check_local_alarms", out="Node %s reported no local alarms\n" % NODE)
        self.expect("-s", "check_local_alarms", out="")
        self.expect("-q", "node_health_check", out="Health check passed\n")
        status = self.status()
        self.assertEqual((status["vm_memory_high_watermark_setting"], status["vm_memory_high_watermark_limit"]),
                         ({"absolute": 10 ** 12}, 10 ** 12))
        self.assertIn("Memory high watermark setting: 1000.0 gb, computed to: 1000.0 gb\n", self.expect("status").stdout)
        self.ctl("set_vm_memory_high_watermark", "0.4")
        self.assertEqual(self.status()["vm_memory_high_watermark_setting"], {"relative": 0.4})

    def test_a_watermark_that_is_none(self):
        before = self.status()["vm_memory_high_watermark_limit"]
        verb = "set_vm_memory_high_watermark"
        self.misused("not enough arguments.", verb)
        self.misused("not enough arguments.", verb, "absolute")
        self.misused("too many arguments.", verb, "0.5", "1")
        self.misused("Bad argument.", verb, "half", status=DATA)
        self.misused("Bad argument.", verb, "0.4x", status=DATA)
        self.misused("Bad argument: The threshold should be a fraction between 0.0 and 1.0", verb, "1.5", status=DATA)
        self.misused("Bad argument.", verb, "absolute", "much", status=DATA)
        self.misused("Bad argument: Invalid units.", verb, "absolute", "10XB", status=DATA)
        self.misused("Bad argument: The threshold should be an integer.", verb, "absolute", "10.5MB", status=DATA)
        self.assertEqual(self.status()["vm_memory_high_watermark_limit"], before)

    def test_a_disk_limit(self):
        self.addCleanup(self.ctl, "set_disk_free_limit", "50MB")
        self.expect("set_disk_free_limit", "1000TB", out="Setting disk free limit on %s to 1000TB bytes ...\n" % NODE)
        self.expect("-q", "check_local_alarms", status=UNAVAILABLE,
                    err="Error:\nFree disk space alarm on node %s\n" % NODE)
        self.expect("set_disk_free_limit", "mem_relative", "0",
                    out="Setting disk free limit on %s to 0 times the total RAM ...\n" % NODE)
        self.assertEqual(self.status()["disk_free_limit"], 0)
        self.expect("-q", "check_local_alarms")
        self.misused("Bad argument.", "set_disk_free_limit", "1.5", status=DATA)
        self.misused("Bad argument.", "set_disk_free_limit", "mem_relative", "much", status=DATA)
        self.misused("not enough arguments.", "set_disk_free_limit", "mem_relative")
        self.misused("too many arguments.", "set_disk_free_limit", "1", "2")
        self.assertEqual(self.status()["disk_free_limit"], 0)

    def test_limits_end_with_the_app(self):
        for verb in "set_disk_free_limit", "set_vm_memory_high_watermark":
            self.assertIn("until its app starts again", " ".join(self.ctl("help", verb).split()))
        self.ctl("set_disk_free_limit", "1MiB")
        self.assertEqual(self.status()["disk_free_limit"], 1 << 20)
        self.ctl("stop_app")
        self.assertNotIn("disk_free_limit", self.status())
        not_ready = "Error:\nthis command requires the 'warren' app to be running on the target node. " \
                    "Start it with 'warrenctl start_app'.\n"
        for verb in (["set_disk_free_limit", "2MiB"], ["check_local_alarms"], ["check_alarms"], ["alarms"], ["listeners"],
                     ["check_port_connectivity"], ["check_port_listener", "1"], ["check_virtual_hosts"],
                     ["node_health_check"], ["list_unresponsive_queues"]):
            self.expect("-q", *verb, status=USAGE, out="", err=not_ready)
        self.expect("-q", "check_running", status=UNAVAILABLE, out="", err="Error:\nWarren on node %s is not running or has "
                    "not fully booted yet (check with is_booting)\n" % NODE)
        self.expect("-q", "ping")
        self.expect("-q", "log_location")
        self.ctl("start_app")
        self.assertEqual(self.status()["disk_free_limit"], 50000000)

    # ---- the log ----

    def told(self, level):
        """How many lines of the log say that the level is set."""
        with open(self.broker.log_path) as f:
            return f.read().count("an operator sets the log level to %s\n" % level)

    def test_a_level(self):
        self.addCleanup(self.ctl, "set_log_level", "info")
        self.expect("set_log_level", "error", out='Setting log level to "error" ...\n')
        before = self.told("error")
        self.assertGreater(before, 0)
        for level in "critical", "alert", "error", "none", "debug":
            self.ctl("set_log_level", level)
        self.assertEqual(self.told("error"), before)
        self.ctl("set_log_level", "error")
        self.assertEqual(self.told("error"), before + 1)
        self.expect("set_log_level", "loud", status=UNAVAILABLE,
                    err="Error:\nlevel loud is not supported. Try one of debug, info, warning, error, critical, none\n")
        self.misused("too many arguments.", "set_log_level", "info", "connection")

    def test_a_log_file_is_opened_anew(self):
        path = os.path.realpath(self.broker.log_path)
        self.expect("log_location", out="Log file location(s) on node %s ...\n%s\n" % (NODE, path))
        os.rename(path, path + ".1")
        self.expect("rotate_logs", out="Node %s has opened its log file %s anew\n" % (NODE, path))
        self.ctl("set_log_level", "info")
        self.assertEqual(self.told("info"), 1)
        # One that cannot be opened is left alone.
        os.rename(path, path + ".2")
        os.mkdir(path)
        self.expect("rotate_logs", status=UNAVAILABLE, out="", err="Error:\n%s cannot be opened anew: Is a directory; the "
                    "log goes where it went\n" % path)
        self.ctl("set_log_level", "info")
        os.rmdir(path)
        os.rename(path + ".2", path)
        self.assertEqual(self.told("info"), 2)

    # ---- waiting ----

    def start_other(self):
        process = subprocess.Popen(
            [Broker.program(), "-d", os.path.join(self.directory, "other"), "-n", OTHER, "-s", "listeners.tcp=none", "-s",
             "cluster.listener=127.0.0.1:0"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_waiting_for_a_process(self):
        process = self.start_other()
        self.expect("wait", "--pid", str(process.pid), "-t", str(SECONDS), node=OTHER, out=(
            "Waiting for node '{0}' to answer while OS process '{1}' is running\n"
            "Waiting for application 'warren' to start on node '{0}'\n"
            "Application 'warren' is running on node '{0}'\n").format(OTHER, process.pid))
        self.expect("rotate_logs", node=OTHER, out="Node %s writes its log to standard error, which is no file: there is "
                    "nothing to rotate\n" % OTHER)
        self.expect("-q", "log_location", node=OTHER, out="<stderr>\n")
        self.expect("stop_app", "-q", node=OTHER)
        self.expect("wait", "-q", "-P", str(process.pid), node=OTHER, status=UNAVAILABLE,
                    err="Error:\nwarren_is_not_running\n")
        process.kill()
        process.wait()
        self.expect("wait", "-q", "--pid", str(process.pid), node=OTHER, status=UNAVAILABLE,
                    err="Error:\nprocess_not_running\n")

    def test_the_end_of_a_process(self):
        path = os.path.join(self.directory, "other.pid")
        process = self.start_other()
        with open(path, "w") as f:
            f.write("%d\n" % process.pid)
        self.expect("wait", path, "-q", "-t", str(SECONDS), node=OTHER)
        # It has ended, whether or not somebody has taken the status of the process: that would be us.
        tool = subprocess.Popen([program(), "-n", OTHER, "stop", path], stdout=subprocess.PIPE, text=True)
        self.assertEqual(tool.communicate(timeout=SECONDS)[0], "Stopping and halting node %s ...\n" % OTHER)
        self.assertEqual(tool.returncode, OK)
        self.assertEqual(process.wait(timeout=SECONDS), 0)
        self.expect("stop", "-q", node=OTHER, status=UNAVAILABLE)
        self.expect("stop", "--idempotent", node=OTHER, out="Stopping and halting node {0} ...\nNode {0} is no longer "
                    "running\n".format(OTHER))
        process = self.start_other()
        self.expect("wait", "--pid", str(process.pid), "-q", "-t", str(SECONDS), node=OTHER)
        self.expect("shutdown", "--no-wait", node=OTHER, out="Shutting down node %s ...\n" % OTHER)
        self.assertEqual(process.wait(timeout=SECONDS), 0)

    def test_waiting_for_a_pid_file(self):
        path = os.path.join(self.directory, "pid")
        self.expect("wait", path, "-q", "-t", "0.3", status=TIMEOUT)
        tool = subprocess.Popen([program(), "-n", NODE, "wait", path, "-t", str(SECONDS)], stdout=subprocess.PIPE, text=True)
        self.assertEqual(tool.stdout.readline(), "Waiting for pid file '%s' to appear\n" % path)
        with open(path, "w") as f:
            f.write("%d\n" % self.broker.process.pid)
        self.assertEqual(tool.communicate(timeout=SECONDS)[0].splitlines()[0], "pid is %d" % self.broker.process.pid)
        self.assertEqual(tool.returncode, OK)
        with open(path, "w") as f:
            f.write("pid\n")
        self.expect("wait", path, "-q", status=UNAVAILABLE, err="Error:\ngarbage_in_pid_file: %s\n" % path)
        self.misused('"No pid or pidfile specified"', "wait")
        self.misused('"Cannot specify both pid and pidfile"', "wait", path, "--pid", "1")
        self.misused("Invalid options for this command:\n--pid : one", "wait", "--pid", "one")

    # ---- others ----

    def test_memory_is_given_back(self):
        self.expect("force_gc", out="Will ask node %s to give memory that is free back to the system\n" % NODE)
        self.expect("force_gc", "--formatter", "json", out='{"node":"%s","result":"ok"}\n' % NODE)

    def test_tags_of_a_vhost(self):
        self.expect("set_vhost_tags", "/", "a", "b", out='Setting tags for virtual host "/" to [a, b] ...\n')
        self.assertEqual(self.ctl("list_vhosts", "name", "tags"), "name\ttags\n/\t[a, b]\n")
        self.expect("set_vhost_tags", "/", out='Setting tags for virtual host "/" to [] ...\n')
        self.assertEqual(self.ctl("list_vhosts", "name", "tags"), "name\ttags\n/\t[]\n")
        self.expect("set_vhost_tags", "none", "a", status=DATA)

    def test_unresponsive_queues(self):
        self.expect("list_unresponsive_queues", out="Listing unresponsive queues for vhost / ...\n")
        self.expect("list_unresponsive_queues", "--formatter", "json", out="[\n]\n")
        self.misused("Info key(s) bogus are not supported", "list_unresponsive_queues", "name", "bogus")
        self.misused("Invalid options for this command:\n--queue-timeout : soon", "list_unresponsive_queues",
                     "--queue-timeout", "soon")

    def test_after_an_upgrade(self):
        self.expect("post_upgrade", out="Executing post upgrade tasks...\nRebalancing queue masters...\n")

    def test_columns_and_headers(self):
        self.expect("list_users", "-q", "--no-table-headers", out="guest\t[administrator]\n")
        self.assertIn("quorum_queue\tstable\tenabled\n", self.expect("list_feature_flags", "name", "stability", "state").stdout)
        self.misused("Info key(s) bogus are not supported", "list_feature_flags", "name", "bogus")
        names = self.expect("help", "--list-commands").stdout
        self.assertIn("   list_users ", names)
        self.assertNotIn("Usage", names)

    def test_csv_is_quoted(self):
        self.expect("list_users", "-s", "--formatter", "csv", out='"user","tags"\n"guest","[administrator]"\n')

    def test_options_as_rabbitmqctl_takes_them(self):
        rows = "guest\t[administrator]\n"
        self.expect("list_users", "-s", "--longnames", "--print-stacktrace", "--vhost=/", "--timeout=5", out=rows)
        self.expect("list_users", "-s", "-l", "-t5", "--rabbitmq-home", "/usr", out=rows)
        self.expect("-q", "list_users", "--no-quiet", out="Listing users ...\nuser\ttags\n" + rows)
        r = subprocess.run([program(), "--node=" + NODE, "--silent", "list_users"], capture_output=True, text=True, timeout=60)
        self.assertEqual((r.returncode, r.stdout, r.stderr), (OK, rows, ""))
        self.expect("--offline", "list_users", status=USAGE)
        self.expect("list_users", "--formatter", "erlang", status=USAGE, out="",
                    err="Error (argument validation): Invalid options for this command:\n--formatter : erlang\n"
                        "The formatters are table, pretty_table, csv and json\n")

    def test_under_the_other_names(self):
        """What probes of containers and scripts of upgrades call."""
        for name, arguments in (("rabbitmq-diagnostics", ["check_running"]),
                                ("rabbitmq-diagnostics", ["check_local_alarms"]),
                                ("rabbitmq-diagnostics", ["check_port_connectivity"]),
                                ("rabbitmq-diagnostics", ["log_location"]),
                                ("rabbitmq-diagnostics", ["node_health_check"]),
                                ("rabbitmq-queues", ["check_if_node_is_quorum_critical"]),
                                ("rabbitmq-queues", ["check_if_node_is_mirror_sync_critical"]),
                                ("rabbitmq-upgrade", ["await_online_quorum_plus_one"]),
                                ("rabbitmq-upgrade", ["post_upgrade"]),
                                ("rabbitmqctl", ["rotate_logs"]),
                                ("rabbitmqctl", ["force_gc"])):
            link = os.path.join(self.directory, name)
            if not os.path.exists(link):
                os.symlink(os.path.abspath(program()), link)
            self.expect(*arguments, program_=link)
            self.assertIn(name + " [--node <node>]", self.expect("help", *arguments, program_=link).stdout)

    def completed(self, *words):
        """What the completion of bash offers for the last word."""
        script = os.path.join(HERE, "..", "..", "packaging", "completion", "warrenctl")
        code = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _warrenctl; printf "%s\\n" "${COMPREPLY[@]}"'
        r = subprocess.run(["bash", "-c", code, script, program(), *words], capture_output=True, text=True, timeout=60)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        return r.stdout.split()

    def test_completion_offers_each_option_once(self):
        self.assertIn("list_unresponsive_queues", self.completed("list_"))
        offered = self.completed("list_unresponsive_queues", "--")
        self.assertEqual(len(offered), len(set(offered)), offered)
        self.assertTrue({"--node", "--quiet", "--queue-timeout", "--local"} <= set(offered), offered)
        self.assertEqual(self.completed("wait", "--p"), ["--pid"])
        self.assertEqual(self.completed("memory_breakdown", "--unit", "m"), ["mb"])


if __name__ == "__main__":
    exit_on_sigterm()
    unittest.main()
