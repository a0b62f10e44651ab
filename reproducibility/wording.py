"""Numbers, sizes and digests in the words of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN: Final = 3


def plural(count: int, one: str, many: str = "") -> str:
    """Count things: `1 file`, `2 files`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def size_text(size: int) -> str:
    """Write a size for people."""
    if size < 1000:  # noqa: PLR2004
        return f"{size} B"
    for power, unit in enumerate(("kB", "MB", "GB"), 1):
        value = size / 1000**power
        if value < 999.95:  # noqa: PLR2004 - what would be shown as 1000.0
            return f"{value:.1f} {unit}"
    return f"{size / 1000**4:.1f} TB"


def short_digest(digest: str) -> str:
    """Shorten a digest for people."""
    prefix, colon, rest = digest.partition(":")
    return f"{prefix}:{rest[:12]}…" if colon and len(rest) > 12 else digest  # noqa: PLR2004


def some_of(names: Sequence[str]) -> str:
    """Name the first of some things, and count the others."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
