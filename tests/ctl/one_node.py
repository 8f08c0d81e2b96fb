# SPDX-License-Identifier: Apache-2.0
"""One node and its control tool, for the tests of this folder.

    class Verbs(OneNode): ...
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "compat"))

from broker import Broker, exit_on_sigterm, find_python  # noqa: E402, F401

NODE = "warren@localhost"


def program():
    beside = os.path.join(os.path.dirname(os.path.abspath(Broker.program())), "warrenctl")
    return os.environ.get("WARRENCTL") or beside


def with_pika():
    """Runs the test again with a Python that has pika, or ends it as skipped."""
    python = find_python("pika")
    if not python:
        print("no Python module pika")
        sys.exit(77)
    os.execv(python, [python] + sys.argv)


class OneNode(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="ctl-")
        os.environ["WARREN_RUN_DIR"] = os.path.join(cls.directory, "run")
        cls.broker = Broker(os.path.join(cls.directory, "data"))
        cls.broker.start()

    @classmethod
    def tearDownClass(cls):
        cls.broker.stop()
        shutil.rmtree(cls.directory)

    def run_ctl(self, *arguments, node=NODE, stdin="", program_=None):
        """The finished process."""
        return subprocess.run([program_ or program(), "-n", node, *arguments], input=stdin, capture_output=True,
                              text=True, timeout=60)

    def ctl(self, *arguments):
        """Standard output of a verb that goes well and says nothing beside it."""
        r = self.run_ctl("-q", *arguments)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        return r.stdout

    def refused(self, *arguments):
        """Standard error of a verb that fails."""
        r = self.run_ctl("-q", *arguments)
        self.assertNotEqual(r.returncode, 0)
        return r.stderr
