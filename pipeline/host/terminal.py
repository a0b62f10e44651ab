"""Text for people: what others have written can neither steer a terminal nor hide in it."""

from __future__ import annotations

from typing import Final

_LONGEST: Final = 2000


def printable(text: str, *, keep: str = "\t\n") -> str:
    r"""Return text with what is not printable as escapes, `\x1b` for ESC.

    Messages quote what repositories, registries and archives say of themselves. Control characters
    among that would recolour, retitle or clear a terminal, and marks of direction reorder a line.

    Args:
        text: anything.
        keep: characters that stay though they are not printable.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """Return text as one line of bounded length; whole documents may be quoted in it."""
    line = printable(text[: _LONGEST + 1], keep="")
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
