"""diffoscope on the files that differ, as a process on a leash.

https://diffoscope.org. The program is large, slow on archives, and may be missing, crash, hang or
write without end. None of this touches the verdict, which is known before. So it runs

* only on the files that differ, laid out in two directories that pair them by role;
* in a process group of its own, ended as a whole when its time or its output is used up;
* with exit status 1 believed only if a report was written: a crash has status 1 as well;
* in batches, several at a time, unexplained files first; of a batch that failed, each file is
  tried alone while there is time.

What it wrote is kept beside the report. The beginning of what it says of a file is the excerpt.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reproducibility.diffoscope_report import lines_by_file, read_report
from reproducibility.excerpt import limit_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from reproducibility.contents import KeptFile, Workplace
    from reproducibility.findings import FileResult

_POLL: Final = 0.02
_BATCH: Final = 8
_MAX_WORKERS: Final = 4
_MAX_FILE: Final = 16 << 20
"""Bytes of a file that diffoscope is shown; the built-in excerpt has to do for larger ones."""
_STDERR_SHOWN: Final = 160
_VERSION_TIMEOUT: Final = 10
_IDENTICAL, _DIFFERENT = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Diffoscope:
    """How diffoscope is run."""

    program: str = ""
    """Path or name; empty means the one of this Python installation, or that on PATH."""
    timeout: float = 60.0
    """Seconds for all of it."""
    timeout_one: float = 30.0
    """Seconds for one run, which is shown a few files."""
    max_output: int = 32 << 20
    """Bytes that one run may write."""
    max_files: int = 400
    """Files that are shown to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deep:
    """What came of it."""

    files: tuple[FileResult, ...]
    artifacts: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One run of the program."""

    document: Mapping[str, object] | None
    """Its JSON report, if it is to be believed."""
    failure: str
    """Why there is none; empty if there is, or if it saw no difference."""
    artifacts: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Outcome:
    """What came of some files."""

    lines: list[tuple[str, list[str]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    late: int = 0

    def add(self, other: _Outcome) -> None:
        """Take in what came of others."""
        self.lines += other.lines
        self.failures += other.failures
        self.artifacts += other.artifacts
        self.late += other.late


def find_program(name: str) -> str | None:
    """Return the path of diffoscope: as given, beside this Python, or on PATH."""
    if name:
        return shutil.which(name)
    beside = Path(sys.executable).with_name("diffoscope")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("diffoscope")


def deepen(
    workplace: Workplace,
    settings: Diffoscope | None,
    *,
    artifacts: Path | None,
    progress: Callable[[str], None],
) -> Deep:
    """Return the files of a workplace with excerpts from diffoscope where there are any.

    Args:
        workplace: the files, below `A` and `B`.
        settings: how to run it; None means not at all.
        artifacts: the directory that keeps its reports.
        progress: told what is going on.
    """
    files = {kept.relative: kept.result for kept in workplace.kept}
    if settings is None or not files:
        return Deep(files=tuple(files.values()), artifacts=(), notes=())
    program = find_program(settings.program)
    if program is None:
        note = f"no {settings.program or 'diffoscope'} here: excerpts are the built-in ones"
        return Deep(files=tuple(files.values()), artifacts=(), notes=(note,))
    session = _Session(program, settings, workplace, artifacts)
    for relative, lines in session.excerpts(progress):
        if relative not in files:
            continue
        excerpt = limit_lines(lines)
        files[relative] = replace(
            files[relative],
            excerpt=excerpt.lines,
            excerpt_by="diffoscope",
            truncated=excerpt.truncated,
        )
    return Deep(
        files=tuple(files.values()),
        artifacts=tuple(session.artifacts),
        notes=tuple(session.notes()),
    )


class _Session:
    """All runs of one comparison; they share the time."""

    def __init__(
        self, program: str, settings: Diffoscope, workplace: Workplace, artifacts: Path | None
    ) -> None:
        self._program = program
        self._settings = settings
        self._workplace = workplace
        self._keep = artifacts
        self._end = time.monotonic() + settings.timeout
        self._failures: list[str] = []
        self._late = 0
        self._unfit = 0
        self.artifacts: list[str] = []

    def notes(self) -> Iterator[str]:
        """Yield what went wrong, once each."""
        yield from dict.fromkeys(self._failures)
        if self._unfit:
            yield f"diffoscope was not shown {self._unfit} files: too many or too large"
        if self._late:
            yield f"diffoscope had no time for {self._late} files"

    def excerpts(self, progress: Callable[[str], None]) -> Iterator[tuple[str, list[str]]]:
        """Yield path and lines of each file that diffoscope had something to say about."""
        fit = [k for k in self._workplace.kept if _size(k) <= _MAX_FILE]
        fit.sort(key=lambda kept: not kept.is_unexplained)
        chosen = fit[: self._settings.max_files]
        self._unfit = len(self._workplace.kept) - len(chosen)
        batches = [chosen[start : start + _BATCH] for start in range(0, len(chosen), _BATCH)]
        progress(f"diffoscope on {len(chosen)} files")
        with ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_WORKERS)) as pool:
            for outcome in pool.map(self._batch, batches, (f"{n}" for n in itertools.count(1))):
                self._late += outcome.late
                self._failures += outcome.failures
                self.artifacts += outcome.artifacts
                yield from outcome.lines

    def _batch(self, batch: Sequence[KeptFile], name: str) -> _Outcome:
        """Show files to it, all at once or, if that fails, one by one."""
        outcome = _Outcome()
        if time.monotonic() >= self._end:
            outcome.late = len(batch)
            return outcome
        run = self._run(batch, name)
        outcome.artifacts += run.artifacts
        if not run.failure:
            outcome.lines += lines_by_file(run.document)
        elif len(batch) == 1:
            outcome.failures.append(run.failure)
        else:
            for number, kept in enumerate(batch, 1):
                one = self._batch([kept], f"{name}.{number}")
                outcome.add(one)
            if outcome.late == len(batch):
                outcome.failures.append(run.failure)
        return outcome

    def _run(self, batch: Sequence[KeptFile], name: str) -> _Run:
        left = max(min(self._end - time.monotonic(), self._settings.timeout_one), _POLL)
        with tempfile.TemporaryDirectory(prefix="diffoscope-") as folder:
            view = Path(folder)
            self._lay_out(view, batch)
            status, stderr = self._execute(view, left)
            run = self._judge(view, status, stderr)
            if run.document is None:
                return run
            return replace(run, artifacts=tuple(self._keep_reports(view, name)))

    def _lay_out(self, view: Path, batch: Sequence[KeptFile]) -> None:
        """Link the files into two directories of the run's own, whose names are in its report."""
        for kept in batch:
            for side in ("A", "B"):
                target = view / side / kept.relative
                target.parent.mkdir(parents=True, exist_ok=True)
                source = self._workplace.root / side / kept.relative
                try:
                    os.link(source, target)
                except OSError:
                    shutil.copyfile(source, target)
        (view / "tmp").mkdir()

    def _execute(self, view: Path, seconds: float) -> tuple[int | str, str]:
        """Run it; return its status, or why it was ended."""
        environment = {
            **os.environ,
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "TMPDIR": str(view / "tmp"),
            "SOURCE_DATE_EPOCH": "0",
        }
        argv = [
            self._program,
            "--exclude-directory-metadata=yes",
            "--no-progress",
            "--json=report.json",
            "--html=report.html",
            "A",
            "B",
        ]
        with (view / "stderr").open("wb") as stderr:
            try:
                process = subprocess.Popen(  # noqa: S603 - our arguments
                    argv,
                    cwd=view,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    start_new_session=True,
                )
            except OSError as e:
                return f"cannot be run: {e.strerror}", ""
            status = self._watch(process, view, seconds)
        with (view / "stderr").open("rb") as f:
            return status, f.read(1 << 16).decode("utf-8", "replace")

    def _watch(self, process: subprocess.Popen[bytes], view: Path, seconds: float) -> int | str:
        deadline = time.monotonic() + seconds
        reason = ""
        try:
            while not reason:
                try:
                    return process.wait(_POLL)
                except subprocess.TimeoutExpired:
                    pass
                if time.monotonic() >= deadline:
                    reason = f"did not finish in {seconds:.0f} s"
                elif _written(view) > self._settings.max_output:
                    reason = f"wrote more than {self._settings.max_output} bytes"
        finally:
            _end_group(process)
        return reason

    def _judge(self, view: Path, status: int | str, stderr: str) -> _Run:
        """Decide whether to believe what it wrote."""
        if isinstance(status, str):
            return _Run(document=None, failure=f"diffoscope {status}")
        report = view / "report.json"
        if status == _IDENTICAL:
            return _Run(document=None, failure="")
        if status == _DIFFERENT and _written(view) <= self._settings.max_output:
            document = read_report(report)
            if document is not None:
                return _Run(document=document, failure="")
        last = (stderr.strip().splitlines() or ["no message"])[-1][:_STDERR_SHOWN]
        what = f"crashed (exit status {status})" if status == _DIFFERENT else f"failed ({status})"
        return _Run(document=None, failure=f"diffoscope {what}: {last}")

    def _keep_reports(self, view: Path, name: str) -> Iterator[str]:
        if self._keep is None:
            return
        self._keep.mkdir(parents=True, exist_ok=True)
        for kind in ("html", "json"):
            source = view / f"report.{kind}"
            if source.exists():
                target = self._keep / f"diffoscope-{name}.{kind}"
                shutil.move(source, target)
                yield f"{self._keep.name}/{target.name}"


def _size(kept: KeptFile) -> int:
    return max(kept.result.a.size, kept.result.b.size)


def _written(view: Path) -> int:
    """Return the bytes of the reports so far."""
    total = 0
    for name in ("report.json", "report.html", "stderr"):
        try:
            total += (view / name).stat().st_size
        except OSError:
            continue
    return total


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the process and whatever it started; the group is the child's own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tool_version(settings: Diffoscope | None) -> tuple[str, ...]:
    """Return diffoscope's name and version, or nothing."""
    program = None if settings is None else find_program(settings.program)
    if program is None:
        return ()
    try:
        result = subprocess.run(  # noqa: S603 - our arguments
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    words = result.stdout[:80].decode("utf-8", "replace").split()
    return (" ".join(words[:2]),) if words else ()
