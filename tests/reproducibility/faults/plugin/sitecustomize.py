"""Imported by Python at its start, where a test has put this folder on the module path."""

import importlib
import os
import platform
import sys

if "FAULTS_PYTHON" in os.environ:  # an interpreter that says it is another one
    platform.python_version = lambda: os.environ["FAULTS_PYTHON"]

if "doit" in sys.orig_argv:
    importlib.import_module("planted").install()
