"""A build that only looks around: started in place of doit, it writes down what it sees.

`interpreter` writes a program that an audit takes for a Python; `seen` reads what it has seen.
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.tasks.project import ROOT

if TYPE_CHECKING:
    from reproducibility.double_build import Build

FILE = Path("build/store/memo/seen.json")
"""Among what is kept of a build."""
LOCALE = ("LANG", "LC_ALL", "LANGUAGE", "PYTHONUTF8", "PYTHONCOERCECLOCALE")
KNOWN = (*LOCALE, "TZ", "PYTHONHASHSEED", "PATH", "HOME", "TMPDIR", "PYTHONPATH", "TERM")
CLOCK = ("LD_PRELOAD", "FAKETIME", "FAKETIME_FMT", "NO_FAKE_STAT", "DONT_FAKE_MONOTONIC")
IGNORED = (
    *CLOCK,
    "FAKETIME_FORCE_MONOTONIC_FIX",
    "FAKETIME_SHARED",
    "SPY",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
)


def interpreter(path: Path, *, name: str = "spy", then: str = "") -> str:
    """Write a program that looks around when it is asked to run doit.

    Args:
        path: of the program.
        name: what it calls itself.
        then: a line of shell that is run instead of looking around.
    """
    python, spy = shlex.quote(sys.executable), shlex.quote(__file__)
    act = then or f"SPY={name} PYTHONPATH={shlex.quote(str(ROOT))} exec {python} {spy}"
    text = f'#!/bin/sh\n[ "$2" != doit ] || {{ {act} "$@"; exit $?; }}\nexec {python} "$@"\n'
    path.write_text(text if not then else text.replace(' "$@"; exit $?', "; exit $?"))
    path.chmod(0o755)
    return str(path)


def seen(build: Build) -> dict[str, Any]:
    """Return what a build has seen."""
    assert not build.failure, build.failure
    path = build.layout.parent / "memo" / FILE.name
    value = json.loads(path.read_bytes())
    assert isinstance(value, dict)
    return value


def look_around() -> dict[str, Any]:
    """Return everything that a variation changes, and what isolation hides."""
    mask = os.umask(0)
    os.umask(mask)
    tasks = [a for a in sys.argv[3:] if ":" in a or a in ("build", "sbom", "provenance")]
    first = time.time()
    time.sleep(0) if "LD_PRELOAD" not in os.environ else None
    known = {*KNOWN, *IGNORED}
    return {
        "time-zone": time.strftime("%z %Z", time.localtime(0)),
        "locale": [os.environ.get(name) for name in LOCALE],
        "umask": mask,
        "build-path": str(Path.cwd()),
        "home": _below_stage("HOME"),
        "temporary-directory": _below_stage("TMPDIR"),
        "user": [os.getuid(), os.getgid(), os.getgroups()],
        "host-name": socket.gethostname(),
        "hash-seed": os.environ.get("PYTHONHASHSEED"),
        "directory-order": os.listdir("../code/pipeline"),  # noqa: PTH208  - its order matters
        "clock": int(first) // 3600,
        "cpus": [os.cpu_count(), sorted(os.sched_getaffinity(0))],
        "jobs": sys.argv[sys.argv.index("-n") + 1],
        "task-order": tasks,
        "store": FILE.exists(),
        "python": os.environ["SPY"],
        "file-system": _file_system(),
        "search-path": os.environ["PATH"],
        "environment": sorted(name for name in os.environ if name not in known),
        "terminal": [os.isatty(1), os.environ.get("TERM")],
        "address-layout": ctypes.cast(ctypes.CDLL(None).printf, ctypes.c_void_p).value,
        "kernel": os.uname().release,
        "process-ids": os.getpid(),
        "hash": hash("a"),
        "files": sorted(_files()),
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),  # noqa: PTH208
        "interfaces": sorted(name for _, name in socket.if_nameindex()),
    }


def _below_stage(variable: str) -> str:
    stage = str(Path.cwd().parent)
    return os.environ[variable].replace(stage, "STAGE")


def _files() -> list[str]:
    stage = Path.cwd().parent
    return [str(p.relative_to(stage)) for p in stage.rglob("*") if p.is_file()]


def _file_system() -> str:
    """Return whether the files of the stage lie on a tmpfs that is mounted for them."""
    for line in os.fsdecode(Path("/proc/self/mounts").read_bytes()).splitlines():
        _, place, kind, *_ = line.split(" ")
        path = place.encode("latin-1", "replace").decode("unicode_escape", "replace")
        if kind == "tmpfs" and (
            path.endswith(("/under", "/site")) or path == str(Path.cwd().parent)
        ):
            return "tmpfs"
    return "disk"


if __name__ == "__main__":
    observed = look_around()
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(observed))
