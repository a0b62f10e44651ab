"""`diff`: compare two images, archives or root file systems and explain the differences."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.host.store import write_atomically
from pipeline.host.terminal import one_line
from reproducibility.causes import Cause
from reproducibility.compare import Options, compare
from reproducibility.diffoscope import Diffoscope, tool_version
from reproducibility.findings import Report
from reproducibility.report import ARTIFACTS, clear_artifacts, render_json, write_report
from reproducibility.report_terminal import print_report

if TYPE_CHECKING:
    from collections.abc import Callable

_SOURCES: Final = """\
sources:
  oci:PATH[:NAME]            an OCI layout, or one image of it
  oci:PATH@sha256:DIGEST     one image by digest
  oci-archive:FILE[:NAME]    the same as a tar
  docker-archive:FILE[:NAME] what `docker save` writes
  rootfs:PATH                a root file system: directory or tar
  PATH                       whatever is there

exit status:
  0  reproducible    1  different    2  could not tell
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the arguments."""
    parser = subparsers.add_parser(
        "diff",
        help="compare two images and explain the differences",
        description=__doc__,
        epilog=_SOURCES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("a", metavar="A", help="one side")
    parser.add_argument("b", metavar="B", help="the other side")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write all reports there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the JSON report there")
    parser.add_argument("--title", default="", help="title of the report")
    parser.add_argument(
        "--platform",
        action="append",
        default=[],
        metavar="OS/ARCH",
        help="compare only this platform (repeatable)",
    )
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        type=_cause,
        metavar="CAUSE",
        help=f"report, but do not count: {', '.join(Cause)} (repeatable)",
    )
    parser.add_argument(
        "--flatten", action="store_true", help="compare files only, however they are layered"
    )
    parser.add_argument("--no-diffoscope", action="store_true", help="do without diffoscope")
    parser.add_argument("--diffoscope", default="", metavar="PROGRAM", help="run this program")
    parser.add_argument(
        "--diffoscope-timeout",
        type=float,
        default=Diffoscope().timeout,
        metavar="SECONDS",
        help="time for diffoscope in all (default: %(default)g)",
    )
    parser.add_argument("--timings", action="store_true", help="say how long it took")
    parser.add_argument("--quiet", action="store_true", help="print nothing; the status tells")


def _title(a: str, b: str) -> str:
    """Name both sides in short, if that tells them apart."""
    short = [name.rpartition("/")[2] for name in (a, b)]
    short = [tail.partition(":")[2] or tail for tail in short]
    left, right = short if short[0] != short[1] else (a, b)
    return f"{left} and {right}"


def _cause(text: str) -> Cause:
    try:
        return Cause(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, want one of {', '.join(Cause)}") from None


def run(arguments: argparse.Namespace) -> int:
    """Compare, write, print; return the exit status."""
    settings = None
    if not arguments.no_diffoscope:
        settings = Diffoscope(program=arguments.diffoscope, timeout=arguments.diffoscope_timeout)
    folder: Path | None = arguments.report
    if folder is not None:
        clear_artifacts(folder)
    progress = _progress(quiet=arguments.quiet)
    comparison = compare(
        arguments.a,
        arguments.b,
        Options(
            platforms=tuple(arguments.platform),
            ignored=tuple(arguments.ignore),
            flatten=arguments.flatten,
            diffoscope=settings,
            artifacts=folder / ARTIFACTS if folder else None,
            progress=progress,
        ),
    )
    progress("")
    if not arguments.timings:
        comparison = replace(comparison, timings=())
    report = Report(
        title=arguments.title or _title(comparison.a.name, comparison.b.name),
        comparisons=(comparison,),
        matrix=None,
        notes=(),
        generated=None,
        tools=tool_version(settings) if comparison.files else (),
        timings=(),
    )
    if arguments.json is not None:
        write_atomically(arguments.json, render_json(report))
    if folder is not None:
        write_report(report, folder)
    if not arguments.quiet:
        print_report(report, sys.stdout)
        if folder is not None:
            sys.stdout.write(f"report: {folder / 'index.html'}\n")
    return report.verdict.exit_code


def _progress(*, quiet: bool) -> Callable[[str], None]:
    """Return a progress line on the terminal, or nothing."""
    if quiet or not sys.stderr.isatty():
        return lambda _: None

    def show(text: str) -> None:
        sys.stderr.write(f"\r\033[K{one_line(text)[:78]}\r")
        sys.stderr.flush()

    return show
