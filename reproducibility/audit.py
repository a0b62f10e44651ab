"""Audit a project: build it again under hostile variations, compare, explain, report.

    first build ──────────────────────────┐
    hostile builds, all variations each ──┴─► compare ─► same? ─► reproducible
                                                 │
    held build, all variations held ◄────────────┴ no ─► bisect: who is guilty of what

The verdict is known before anything is explained; what goes wrong in explaining becomes a note.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import ConfigurationError
from reproducibility.audit_report import HostileBuild, Seen, make_report
from reproducibility.audit_session import Session, Settings
from reproducibility.choices import Variation, select
from reproducibility.diffoscope import tool_version
from reproducibility.machine import Machine, probe_machine
from reproducibility.report import write_report
from reproducibility.variations import all_variations

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.stages.plan import Plan
    from pipeline.tasks.project import Project
    from reproducibility.bisect import Bisection
    from reproducibility.findings import Report


_MARK: Final = ".pkgbase-oci-audit"
"""In a directory that audits may empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """An audit that has been done."""

    report: Report
    files: tuple[Path, ...]
    """The report's, the page for people first."""
    machine: Machine
    variations: tuple[Variation, ...]
    hostile: tuple[HostileBuild, ...]
    bisection: Bisection | None
    """None where nothing differed."""


def audit(project: Project, settings: Settings) -> Audit:
    """Audit a project; the exit status is `report.verdict.exit_code`.

    Args:
        project: declaration, lock, store and, unless `is_fresh`, a layout.
        settings: how.

    Raises:
        PipelineError: there is nothing to audit, or nothing to audit it with.
    """
    start = time.monotonic()
    with _workplace(settings.work):
        # (1) what there is, and what this machine can vary
        plan = project.plan
        with settings.progress.step("what this machine can vary"):
            machine = probe_machine(settings.python, settings.others)
        variations = select(
            all_variations(machine, need=_need(plan)),
            only=settings.only,
            without=settings.without,
        )
        session = Session(project, settings, machine, variations)
        # (2) the first build, and the hostile ones
        first = session.first_build()
        hostile = session.hostile_builds()
        # (3) compare
        comparisons = session.compare(first, hostile)
        # (4) who is guilty?
        bisection = session.bisect(first, hostile)
        # (5) say it
        seen = Seen(
            plan=plan,
            machine=machine,
            variations=variations,
            first=first.made,
            hostile=hostile,
            comparisons=comparisons,
            bisection=bisection,
            is_stale=session.is_stale(first, bisection),
            notes=tuple(session.notes),
            builds=session.builder.count,
            milliseconds=int((time.monotonic() - start) * 1000),
        )
        report = make_report(
            seen,
            title=f"audit of {project.path.name}",
            generated=settings.generated,
            tools=_tools(machine, settings),
        )
        files = write_report(report, settings.report)
    return Audit(
        report=report,
        files=files,
        machine=machine,
        variations=variations,
        hostile=hostile,
        bisection=bisection,
    )


@contextlib.contextmanager
def _workplace(work: Path) -> Iterator[None]:
    """Have an empty directory to oneself, and leave nothing in it.

    Raises:
        ConfigurationError: another audit is using it, or it holds something else.
    """
    work.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(work, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"{work}: another audit is at work here") from None
        if any(work.iterdir()) and not (work / _MARK).exists():
            raise ConfigurationError(f"{work}: is not empty", hint="name a directory of its own")
        (work / _MARK).touch()
        _empty(work)
        try:
            yield
        finally:
            _empty(work)
            (work / _MARK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                work.rmdir()
    finally:
        os.close(descriptor)


def _empty(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _MARK:
            path.unlink()


def _need(plan: Plan) -> int:
    """Return about how many bytes a build takes: archives, what is in them, layers twice."""
    packages = [package for _, _, package in plan.packages()]
    return sum(3 * package.size + 2 * package.flatsize for package in packages)


def _tools(machine: Machine, settings: Settings) -> tuple[str, ...]:
    first = machine.interpreters[0]
    packages = (f"{name} {version}" for name, version in sorted(first.packages.items()))
    return (f"Python {first.version}", *packages, *tool_version(settings.diffoscope))
