"""A short look at two contents without any other program: a unified diff, or a hex dump."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.host.terminal import printable
from reproducibility.findings import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MAX_LINES: Final = 120
MAX_WIDTH: Final = 240
_MAX_TEXT: Final = 1 << 20
_MAX_TEXT_LINES: Final = 4000
_CONTEXT: Final = 2
_HUNK_RE: Final = re.compile(r"@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@")
_ROW: Final = 16
_MAX_ROWS: Final = 24


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Lines of a unified diff."""

    lines: tuple[str, ...]
    truncated: bool


def make_excerpt(a: Path, b: Path) -> Excerpt:
    """Show where two files differ; only the beginning of large ones is looked at."""
    contents = []
    for path in (a, b):
        with path.open("rb") as f:
            contents.append(f.read(_MAX_TEXT + 1))
    x, y = contents
    if b"\0" in x[:4096] or b"\0" in y[:4096]:
        lines = list(difflib.unified_diff(*_dumps(x, y), lineterm="", n=1))
        return limit_lines(lines[2:])
    texts = [text_of(c[:_MAX_TEXT]).splitlines()[:_MAX_TEXT_LINES] for c in contents]
    start = max(_common(*texts) - _CONTEXT, 0)  # difflib is slow on long texts
    left, right = (text[start : start + 2 * MAX_LINES] for text in texts)
    lines = list(difflib.unified_diff(left, right, lineterm="", n=_CONTEXT))
    cut = max(len(x), len(y)) > _MAX_TEXT or any(
        len(text) > start + 2 * MAX_LINES for text in texts
    )
    excerpt = limit_lines(_renumbered(line, start) for line in lines[2:])
    return Excerpt(excerpt.lines, excerpt.truncated or cut)


def _common(a: list[str], b: list[str]) -> int:
    """Return how many lines both begin with."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def _renumbered(line: str, start: int) -> str:
    """Correct a hunk's line numbers for what was left out before it."""
    match = _HUNK_RE.fullmatch(line)
    if match is None:
        return line
    return (
        f"@@ -{int(match[1]) + start}{match[2] or ''} +{int(match[3]) + start}{match[4] or ''} @@"
    )


def _dumps(a: bytes, b: bytes) -> tuple[list[str], list[str]]:
    """Dump the rows that differ, first ones only."""
    rows = []
    for base in range(0, max(len(a), len(b)), _ROW):
        if a[base : base + _ROW] != b[base : base + _ROW]:
            rows.append(base)
            if len(rows) >= _MAX_ROWS:
                break
    return list(_dump(a, rows)), list(_dump(b, rows))


def _dump(content: bytes, rows: Iterable[int]) -> Iterator[str]:
    for base in rows:
        part = content[base : base + _ROW]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)  # noqa: PLR2004
        if part:
            yield f"{base:08x}: {part.hex(' ', -2):39}  {text}"


def limit_lines(lines: Iterable[str]) -> Excerpt:
    """Cut lines and their number; make them valid text."""
    kept: list[str] = []
    truncated = False
    for line in lines:
        if len(kept) == MAX_LINES:
            truncated = True
            break
        text = text_of(printable(line, keep="\t"))
        if len(text) > MAX_WIDTH:
            text, truncated = text[: MAX_WIDTH - 1] + "…", True
        kept.append(text)
    return Excerpt(tuple(kept), truncated)
