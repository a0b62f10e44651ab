"""Progress of downloads, for people: a bar on a terminal, one line otherwise."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Self

from pipeline.host.terminal import printable

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TextIO

    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from pipeline.host.fetch import WantedFile


def human_size(size: int) -> str:
    """Write a number of bytes with a decimal unit: `12.3 MB`."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":  # noqa: PLR2004
            return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def note(text: str, *, stream: TextIO | None = None) -> None:
    """Print what is being done that takes its time and has no bar."""
    out = stream if stream is not None else (sys.__stderr__ or sys.stderr)
    out.write(f"{printable(text)}\n")
    out.flush()


class Downloads:
    """A `pipeline.host.fetch.Progress`; a context manager around the downloads."""

    def __init__(self, what: str, files: int, size: int, *, stream: TextIO | None = None) -> None:
        self._what = what
        self._files = files
        self._total = size
        self._stream = stream if stream is not None else (sys.__stderr__ or sys.stderr)
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        text = f"{self._what}: {self._files} files, {human_size(self._total)}"
        if not self._stream.isatty():
            self._stream.write(f"{text}\n")
            return self
        from rich.console import Console  # noqa: PLC0415  - slow to import, seldom needed
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=self._stream),
            transient=True,
        )
        self._task = self._bar.add_task(f"{self._what}, {self._files} files", total=self._total)
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, wanted: WantedFile, size: int, /) -> None:
        """Hear that `size` bytes of a file are here."""
        with self._lock:
            self._sizes[str(wanted.sum)] = size
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, completed=sum(self._sizes.values()))
