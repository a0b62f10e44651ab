"""What doit says while it runs: a bar on a terminal, plain lines otherwise, a table at the end."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any, Final, TextIO

from doit.reporter import ConsoleReporter

from pipeline.host.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rich.progress import Progress, TaskID

HINT: Final = "  hint: "
"""Begins the second line of a failure."""

_LOUD: Final = ("fetch", "update", "push", "audit")
"""Tasks that show their own progress."""

Summary = "Callable[[frozenset[str], frozenset[str]], Sequence[Sequence[str]]]"

_summaries: list[Callable[[frozenset[str], frozenset[str]], Sequence[Sequence[str]]]] = []
_warnings: list[Callable[[], str | None]] = []
_missing: set[str] = set()


def say(text: str) -> None:
    """Print a line of a task's own output."""
    sys.stdout.write(f"{printable(text)}\n")
    sys.stdout.flush()


def add_summary(
    summary: Callable[[frozenset[str], frozenset[str]], Sequence[Sequence[str]]],
) -> None:
    """Have rows printed at the end of a run that succeeded.

    Args:
        summary: given the names of all tasks that took part, and of those whose outputs were not
            there before, returns rows; the first row is the head.
    """
    _summaries.append(summary)


def add_warning(warning: Callable[[], str | None]) -> None:
    """Have a sentence printed before anything is built, if there is reason to."""
    _warnings.append(warning)


def note_missing(name: str) -> None:
    """Remember that a task's outputs are not there, so that it is going to build them."""
    _missing.add(name)


def _is_loud(task: Any) -> bool:
    return task.name.partition(":")[0] in _LOUD


def _closure(tasks: Mapping[str, Any], names: Iterable[str]) -> frozenset[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            task = tasks[name]
            waiting.extend((*task.task_dep, *task.setup_tasks))
    return frozenset(found)


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Align rows in columns; the last column is flush right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        lines.append("  ".join((*cells, row[-1].rjust(widths[-1]))).rstrip())
    return "\n".join(lines) + "\n"


class Reporter(ConsoleReporter):  # type: ignore[misc]
    """Reports a run; doit calls the methods."""

    desc = "a bar on a terminal, plain lines otherwise, and a table of images at the end"

    def __init__(self, outstream: TextIO, options: Mapping[str, Any]) -> None:
        super().__init__(outstream, options)
        if isinstance(outstream, io.TextIOWrapper):
            outstream.reconfigure(errors="replace")  # the bar has characters that ASCII lacks
        self._tasks: Mapping[str, Any] = {}
        self._names: frozenset[str] = frozenset()
        self._done = 0
        self._bar: Progress | None = None
        self._bar_task: TaskID | None = None
        self._has_warned = False

    # ------------------------------------------------------------ doit's events

    def initialize(self, tasks: Mapping[str, Any], selected_tasks: Sequence[str]) -> None:
        """Hear which tasks there are, and which of them were asked for."""
        self._tasks = tasks
        self._names = _closure(tasks, selected_tasks)

    def execute_task(self, task: Any) -> None:
        """Hear that a task's action starts."""
        if not task.actions:
            return
        self._warn()
        if _is_loud(task) or not self.outstream.isatty():
            self._stop()
            if not _is_loud(task):
                kind, _, name = task.name.partition(":")
                self.write(f"{kind:<8} {name}\n" if name else f"{kind}\n")
            return
        self._start()
        if self._bar is not None and self._bar_task is not None:
            self._bar.update(self._bar_task, description=task.name)

    def add_success(self, task: Any) -> None:
        """Hear that a task has succeeded."""
        self._advance()

    def skip_uptodate(self, task: Any) -> None:
        """Hear that there was nothing to do."""
        self._advance()

    def skip_ignore(self, task: Any) -> None:
        """Hear that a task is ignored, by `doit ignore`."""
        self._advance()
        self.write(f"ignored  {task.name}\n")

    def add_failure(self, task: Any, fail: Any) -> None:
        """Hear that a task has failed."""
        self._stop()
        if fail.report:
            self.failures.append({"task": task, "exception": fail})
            self.write(f"failed   {task.name}: {self._reason(fail)}\n")

    def complete_run(self) -> None:
        """Hear that it is over."""
        self._stop()
        for message in self.runtime_errors:
            self.write(f"error: {message}\n")
        if self.failures or self.runtime_errors:
            return
        for summary in _summaries:
            rows = summary(self._names, frozenset(_missing))
            if len(rows) > 1:
                self.write(format_table(rows))

    # ------------------------------------------------------------ parts

    def write(self, text: str) -> None:
        """Write at once: whoever reads a pipe wants to see how far it is, or has seen enough."""
        try:
            self.outstream.write(text)
            self.outstream.flush()
        except BrokenPipeError:  # `doit build | head`: the work goes on
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.outstream.fileno())
            os.close(nowhere)

    @staticmethod
    def _reason(fail: Any) -> str:
        """Return a failure's message; for a bug, with its traceback."""
        return str(fail.get_msg()).strip()

    def _warn(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            for warning in _warnings:
                text = warning()
                if text is not None:
                    self.write(f"warning: {text}\n")

    def _start(self) -> None:
        """Show the bar; only after doit has started its workers, for it runs a thread."""
        if self._bar is None:
            from rich.console import Console  # noqa: PLC0415  - slow to import, seldom needed
            from rich.progress import (  # noqa: PLC0415
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
            )

            self._bar = Progress(
                MofNCompleteColumn(),
                BarColumn(bar_width=24),
                TextColumn("{task.description}"),
                console=Console(file=self.outstream),
                transient=True,
            )
            self._bar_task = self._bar.add_task("", total=len(self._names), completed=self._done)
            self._bar.start()

    def _advance(self) -> None:
        self._done += 1
        if self._bar is not None and self._bar_task is not None:
            self._bar.update(self._bar_task, completed=self._done)

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
