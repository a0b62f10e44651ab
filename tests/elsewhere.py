"""Run code in other processes whose surroundings differ in everything that must not matter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

SURROUNDINGS: Final = (
    {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C", "umask": "022", "cwd": str(ROOT)},
    {
        "PYTHONHASHSEED": "4242",
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C.UTF-8",
        "umask": "077",
        "cwd": "/",
        "SOURCE_DATE_EPOCH": "1",
        "PYTHONUTF8": "1",
    },
    {
        "PYTHONHASHSEED": "77",
        "TZ": "America/St_Johns",
        "LC_ALL": "POSIX",
        "LANG": "tr_TR.UTF-8",
        "umask": "000",
        "cwd": "/usr",
        "PYTHONUTF8": "0",
        "HOME": "/nonexistent",
    },
)


def run_elsewhere(code: str, *arguments: str) -> set[str]:
    """Run code in each of the surroundings and return the distinct things that it printed."""
    printed = set()
    for surroundings in SURROUNDINGS:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            **{key: value for key, value in surroundings.items() if key not in ("umask", "cwd")},
        }
        result = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=surroundings["cwd"],
            umask=int(surroundings["umask"], 8),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        printed.add(result.stdout)
    return printed
