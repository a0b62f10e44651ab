"""What a long run is doing: a line for each step when it ends, and one when it begins.

A terminal has one line that says what is going on; it becomes the step's own when that has ended.
Elsewhere a step has two plain lines, the second with the time it took.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Final

from reproducibility.findings import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

_CLEAR: Final = "\r\033[K"
_WIDTH: Final = 80
"""Of a terminal that does not say."""


class Step:
    """Something that takes a while."""

    def __init__(self) -> None:
        self.outcome = ""
        """What came of it, in a few words; empty if all went well."""


class Progress:
    """Says what is going on; without a stream, nothing."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._is_terminal = stream is not None and stream.isatty()
        self._current = ""

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[Step]:
        """Say that something begins, and how long it took when it has ended."""
        step = Step()
        start = time.monotonic()
        self._current = what
        self._begin(what)
        try:
            yield step
        except BaseException:
            self._begin("")
            raise
        seconds = f"{time.monotonic() - start:.1f} s"
        self._end(
            f"{what}: {step.outcome} after {seconds}" if step.outcome else f"{what}: {seconds}"
        )

    def detail(self, text: str) -> None:
        """Say what a step is at; only on a terminal."""
        if self._is_terminal:
            self._begin(f"{self._current}: {text}" if text else self._current)

    def _begin(self, text: str) -> None:
        if self._is_terminal:
            self._write(_CLEAR + self._fit(text))
        elif text:
            self._write(f"{shown(text)}\n")

    def _end(self, text: str) -> None:
        line = f"{_CLEAR}{self._fit(text)}" if self._is_terminal else shown(text)
        self._write(f"{line}\n")

    def _fit(self, text: str) -> str:
        """Cut a text to the width of the terminal: a longer line could not be taken back."""
        width = 0
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                width = os.get_terminal_size(self._stream.fileno()).columns
        return shown(text)[: (width or _WIDTH) - 1]

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()
