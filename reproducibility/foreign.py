"""Text of somebody else, on its way to a terminal."""

from __future__ import annotations

from typing import Final

_LONGEST: Final = 2000


def printable(text: str) -> str:
    """Return text as a terminal may show it: one line, no control characters, bounded length."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: _LONGEST + 1])
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
