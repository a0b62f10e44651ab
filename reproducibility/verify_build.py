"""Building a claim in a process of its own (`verify_child`), and looking at what that has made.

The process parses what others have written: declaration, lock, archives. It gets them as files, and
nothing of ours: no environment, no network and no other processes where this machine has
namespaces, and bounded time, memory and space. It runs no code but this program's.

A claim is read by such a process before it is read here (`check_claim`): text can be written so
that reading it takes all memory.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import CommandError, PipelineError
from pipeline.host import command
from pipeline.host.layout import Layout
from pipeline.host.store import Store, copy_file
from reproducibility.interpreters import code_environment
from reproducibility.machine import Isolation, namespace_argv, stage_environment
from reproducibility.verify_child import (
    BUILD,
    CHECK,
    DECLARATION,
    LAYOUT,
    LOCK,
    ORDER,
    PROGRESS,
    RESULT,
    STORE,
    Order,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pipeline.formats.digest import Digest
    from reproducibility.verify_claim import Goal, Sources

CHECK_SECONDS: Final = 60.0
"""Time for reading a claim."""
_MAX_SAID: Final = 4 << 20
_MAX_RESULT: Final = 1 << 20
_GLANCE: Final = 0.2
_PROBE_SECONDS: Final = 20.0
_NOT_STARTED: Final = (125, 126, 127)
"""What setpriv, unshare and shells say of a program that they cannot run."""


class BuildError(PipelineError):
    """A claim could not be built."""


class HarmfulError(PipelineError):
    """A claim that cannot be read in reasonable time and memory."""


class StartError(PipelineError):
    """The process cannot be started, which is nobody's fault but this machine's."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a build may take."""

    seconds: float
    size: int
    """Bytes that it writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What has been built."""

    layout: Path
    root: Digest
    parts: dict[str, Digest]
    """Manifest of each platform, by the name of its architecture."""


# ---------------------------------------------------------------- the process


@functools.cache
def isolation() -> Isolation:
    """Find out whether this machine lets us have namespaces, and run Python in them."""
    if sys.platform != "linux":
        return Isolation.NONE
    for kind in (Isolation.ROOT, Isolation.USER):
        with contextlib.suppress(PipelineError):
            command.run(
                [*namespace_argv(kind), sys.executable, "-I", "-c", ""],
                environment=stage_environment(),
                timeout=_PROBE_SECONDS,
            )
            return kind
    return Isolation.NONE


@functools.cache
def _leash() -> tuple[str, ...]:
    """Return the command that ends another one with us, if there is one."""
    argv = ("setpriv", "--pdeathsig", "KILL")
    with contextlib.suppress(PipelineError):
        command.run([*argv, "true"], environment=stage_environment(), timeout=_PROBE_SECONDS)
        return argv
    return ()


def _run(mode: str, site: Path, *, timeout: float) -> None:
    """Run the process; raise BuildError if it fails, StartError if there never was one."""
    for name in ("home", "tmp"):
        (site / name).mkdir(exist_ok=True)
    (site / RESULT).unlink(missing_ok=True)
    argv = [
        *(*_leash(), *namespace_argv(isolation())),
        *(sys.executable, "-P", "-m", "reproducibility.verify_child", mode, str(site)),
    ]
    environment = {
        **stage_environment(),
        **command.inherited("LD_LIBRARY_PATH"),
        **code_environment(),
        "HOME": str(site / "home"),
        "TMPDIR": str(site / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        output = command.run(
            argv, environment=environment, timeout=timeout, limit=_MAX_SAID, check=False
        )
    except CommandError as e:
        raise BuildError(f"was stopped: {e.stderr}", hint="allow more: --timeout SECONDS") from None
    error, hint = _result(site)
    if error is None:
        said = (output.stdout + output.stderr).decode("utf-8", "replace").strip().splitlines()
        kind = StartError if output.status in _NOT_STARTED else BuildError
        raise kind(f"exit status {output.status}: {said[-1] if said else 'no message'}")
    if error:
        raise BuildError(error, hint=hint)


def _result(site: Path) -> tuple[str | None, str | None]:
    """Return what was wrong, empty for nothing, None where the process does not say; and a hint."""
    try:
        with (site / RESULT).open("rb") as f:
            d = json.loads(f.read(_MAX_RESULT))
        return str(d["error"]), d["hint"] and str(d["hint"])
    except (OSError, ValueError, LookupError, TypeError):
        return None, None


# ---------------------------------------------------------------- reading, building


def check_claim(sources: Sources, site: Path) -> None:
    """Have a claim read where nothing can be lost; then it may be read here.

    Raises:
        HarmfulError: that takes too much time or memory.
    """
    _write_claim(sources, site)
    try:
        _run(CHECK, site, timeout=CHECK_SECONDS)
    except BuildError as e:
        raise HarmfulError(f"reading it: {e}") from None


def _write_claim(sources: Sources, site: Path) -> None:
    site.mkdir(parents=True, exist_ok=True)
    (site / DECLARATION).write_bytes(sources.declaration)
    (site / LOCK).write_bytes(sources.lock)


def build_claim(
    sources: Sources,
    goal: Goal,
    site: Path,
    *,
    archives: Store,
    bounds: Bounds,
    say: Callable[[str], object],
) -> Built:
    """Build what a claim makes.

    Args:
        sources: the claim.
        goal: what of it.
        site: a directory for it alone.
        archives: the store that has them; nothing else of it is used.
        bounds: what it may take.
        say: told what is going on.

    Raises:
        BuildError: that fails, or takes too long.
    """
    _write_claim(sources, site)
    images = tuple(str(plan) for plan in goal.plans)
    order = Order(images=images, is_index=goal.is_index, limit=bounds.size)
    (site / ORDER).write_bytes(order.to_bytes())
    store = Store(site / STORE)
    needed = {p.digest for plan in goal.plans for a in plan.lineage for p in a.sources}
    for digest in sorted(needed):
        copy_file(archives.path(digest), store.path(digest))
    with _told(site / PROGRESS, say):
        _run(BUILD, site, timeout=bounds.seconds)
    for name in (STORE, "home", "tmp"):
        shutil.rmtree(site / name)
    references = Layout(site / LAYOUT).references()
    parts = {p.architecture: f"{p.reference}-{p.architecture}" for p in goal.plans}
    root = goal.reference if goal.is_index else parts[goal.plans[0].architecture]
    missing = [name for name in (root, *parts.values()) if name not in references]
    if missing:
        raise BuildError(f"the build has made no {missing[0]}")
    return Built(
        layout=site / LAYOUT,
        root=references[root].digest,
        parts={architecture: references[name].digest for architecture, name in parts.items()},
    )


@contextlib.contextmanager
def _told(path: Path, say: Callable[[str], object]) -> Iterator[None]:
    """Pass on the lines that a process writes into a file, as they come."""
    path.write_bytes(b"")
    finished = threading.Event()

    def watch() -> None:
        with path.open(encoding="utf-8", errors="replace") as f:
            is_last = False
            while not is_last:
                is_last = finished.wait(_GLANCE)
                for line in f:
                    say(line.rstrip("\n"))

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
