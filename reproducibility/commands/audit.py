"""`audit`: build a project again under hostile variations, compare, and name the guilty."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from pipeline.host.terminal import one_line
from pipeline.tasks.project import DEFAULT, Project
from reproducibility.audit import audit
from reproducibility.audit_session import ROUNDS, TIMEOUT, Settings
from reproducibility.diffoscope import Diffoscope
from reproducibility.interpreters import found_interpreters
from reproducibility.machine import probe_machine
from reproducibility.progress import Progress
from reproducibility.report_terminal import print_report
from reproducibility.variations import all_variations
from reproducibility.verdict import Verdict

if TYPE_CHECKING:
    from reproducibility.audit import Audit

PYTHONS: Final = "PKGBASE_OCI_PYTHONS"
"""Variable with more interpreters, as --python takes them, separated by colons."""
REPORT: Final = "build/audit"
"""Folder of the report, beside the declaration; others than images.toml add their name."""

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it."""

_EPILOG: Final = """\
A project that has been built is measured by its layout; otherwise the first build is made as well.
What cannot be varied here is named in the report, with the reason.

exit status:
  0  reproducible    1  different    2  could not tell
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the arguments."""
    parser = subparsers.add_parser(
        "audit",
        help="build again under hostile variations and compare",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--config", type=Path, default=Path(DEFAULT), metavar="FILE", help="the declaration"
    )
    parser.add_argument("--store", type=Path, metavar="DIR", help="its store")
    parser.add_argument("--output", type=Path, metavar="DIR", help="its layout")
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help=f"where the report goes (default: {REPORT})"
    )
    parser.add_argument("--work", type=Path, metavar="DIR", help="where to build")
    parser.add_argument(
        "--variations",
        type=_names,
        default=(),
        metavar="A,B",
        help="vary only these, hold the rest",
    )
    parser.add_argument(
        "--without", type=_names, default=(), metavar="A,B", help="leave these alone"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=ROUNDS,
        metavar="N",
        help="hostile builds (default: %(default)s)",
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="PROGRAM",
        help="build with this interpreter as well: another Python, or one with another apsw"
        f" (repeatable; also {PYTHONS}; otherwise those on PATH)",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="make the first build as well, ignore the layout"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help="time for one build (default: %(default)g)",
    )
    parser.add_argument("--no-diffoscope", action="store_true", help="do without diffoscope")
    parser.add_argument("--list", action="store_true", help="only say what can be varied here")
    parser.add_argument("--quiet", action="store_true", help="print nothing; the status tells")


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def run(arguments: argparse.Namespace) -> int:
    """Audit, write, print; return the exit status."""
    others = _others(arguments.python)
    if arguments.list:
        _list_variations(others)
        return Verdict.REPRODUCIBLE.exit_code
    project = Project(arguments.config, store=arguments.store, output=arguments.output)
    report = arguments.report or project.root / _report_name(project)
    settings = Settings(
        report=report,
        work=arguments.work or report / "work",
        others=others,
        only=arguments.variations,
        without=arguments.without,
        rounds=arguments.rounds,
        timeout=arguments.timeout,
        is_fresh=arguments.fresh,
        diffoscope=None if arguments.no_diffoscope else Diffoscope(),
        generated=f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC",
        progress=Progress(None if arguments.quiet else sys.stderr),
    )
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = audit(project, settings)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing is left behind\n")
        return INTERRUPTED
    if not arguments.quiet:
        _print(result)
    return result.report.verdict.exit_code


def _report_name(project: Project) -> str:
    return REPORT if project.path.name == DEFAULT else f"{REPORT}-{project.path.stem}"


def _interrupt(*_: object) -> NoReturn:
    """Let a request to end have the effect of Ctrl-C, which leaves nothing behind."""
    raise KeyboardInterrupt


def _others(named: list[str]) -> tuple[str, ...]:
    """Return the interpreters that were named, or else those that can be found."""
    listed = os.environ.get(PYTHONS, "")
    return (*named, *filter(None, listed.split(os.pathsep))) or found_interpreters()


def _print(result: Audit) -> None:
    """Print the verdict, and of the variations those that stand out."""
    report = result.report
    print_report(replace(report, matrix=None, notes=()), sys.stdout)
    applied = [v.name for v in result.variations if v.is_possible]
    lines = [f"varied in {len(result.hostile)} builds: {', '.join(applied)}"]
    lines += report.notes
    lines.append(f"report: {result.files[0]}")
    sys.stdout.write("\n".join(map(one_line, lines)) + "\n")


def _list_variations(others: tuple[str, ...]) -> None:
    machine = probe_machine(sys.executable, others)
    for variation in all_variations(machine, need=0):
        values = ", ".join(setting.name for setting in variation.hostile)
        reasons = "; ".join(variation.impossible)
        text = f"{variation.held.name} → {values}" if values else "not possible here"
        sys.stdout.write(f"{variation.name:<20} {text}{f' ({reasons})' if reasons else ''}\n")
