#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The semantics with one worker thread: everything that crosses workers stays within one then."""

import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
os.environ["COMPAT_SETTINGS"] = "worker_threads=1"
os.execv(sys.executable, [sys.executable, os.path.join(here, "semantics.py")] + sys.argv[1:])
