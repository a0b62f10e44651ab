"""Real programs that tests run: a missing one is a failure, unless the environment allows it."""

from __future__ import annotations

import os
import shutil

import pytest

OPTIONAL = "PKGBASE_OCI_OPTIONAL_TOOLS"
"""With the value `missing-ok`, tests that need a missing program are skipped."""


def require_program(name: str) -> str:
    """Return the path of a program; fail, or skip where that is allowed, if there is none."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        if os.environ.get(OPTIONAL) == "missing-ok":
            pytest.skip(f"no {name} here")
        pytest.fail(f"no {name} here; install it, or set {OPTIONAL}=missing-ok", pytrace=False)
    return path


def require_root() -> None:
    """Skip unless the tests run as root: nobody else may set owners."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
