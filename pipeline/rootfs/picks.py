"""Files of an image that no installed package brings: taken out of packages, or written inline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from pipeline.errors import DeclarationError
from pipeline.formats.mtree import Entry, Kind

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Sequence


def pick_entries(
    entries: Sequence[Entry], patterns: Iterable[tuple[str, re.Pattern[str]]], *, to: str, what: str
) -> tuple[Entry, ...]:
    """Take the entries that any pattern matches; every pattern has to match something.

    Args:
        entries: of the package, paths relative.
        patterns: as written, and compiled against absolute paths.
        to: absolute path that the single match moves to; empty to leave it.
        what: the package, for messages.

    Raises:
        DeclarationError: a pattern matches nothing.
    """
    chosen: dict[str, Entry] = {}
    for text, regex in patterns:
        found = [entry for entry in entries if regex.fullmatch(f"/{entry.path}")]
        if not found:
            raise DeclarationError(
                f"{text!r} matches no file of package {what}",
                hint="list its files with `doit info` or correct the path",
            )
        chosen.update((entry.path, entry) for entry in found)
    if to:
        (entry,) = chosen.values()
        return (replace(entry, path=to.lstrip("/"), inode=0),)
    return tuple(chosen.values())


def written_entry(  # noqa: PLR0913  - the fields of a declared file are what they are
    path: str,
    *,
    digest: str = "",
    size: int = 0,
    link: str = "",
    directory: bool = False,
    mode: int,
    user: str | int,
    group: str | int,
    mtime: int,
) -> Entry:
    """Return the entry of a file, symlink or directory that the declaration or the build writes."""
    kind = Kind.DIRECTORY if directory else Kind.LINK if link else Kind.FILE
    return Entry(
        path=path.lstrip("/"),
        kind=kind,
        mode=mode,
        user=user,
        group=group,
        mtime=mtime,
        size=size,
        digest=digest,
        link=link,
    )
