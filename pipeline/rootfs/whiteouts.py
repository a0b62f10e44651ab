"""Whiteouts: how a layer says that something below it is gone.

Specification: image-spec v1.1.1, layer.md, section Whiteouts. Rules N18 and N19 of
docs/format/normalisation.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.errors import ArchiveError
from pipeline.formats.mtree import Entry, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX: Final = ".wh."
OPAQUE: Final = ".wh..wh..opq"
"""In a directory: nothing of what lower layers have in it is visible."""

_RESERVED: Final = ".wh..wh."
"""Other names that begin so are AUFS's own; no client unpacks them."""
_MODE: Final = 0o644


def is_whiteout(path: str) -> bool:
    """Say whether a path is a whiteout, or below a name that only whiteouts may have."""
    return path.startswith(PREFIX) or f"/{PREFIX}" in path


def whiteout_of(path: str) -> str:
    """Return the whiteout that hides a path."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{PREFIX}{name}"


def hides(name: str, path: str) -> bool:
    """Say whether a member of a layer hides a path of the layers below."""
    folder, slash, last = name.rpartition("/")
    if last == OPAQUE:
        return path.startswith(folder + slash)
    hidden = folder + slash + last.removeprefix(PREFIX)
    return last.startswith(PREFIX) and f"{path}/".startswith(f"{hidden}/")


def whiteout_entries(
    whiteouts: Iterable[str], entries: Mapping[str, Entry], *, mtime: int
) -> dict[str, Entry]:
    """Return the entries of a layer's whiteouts, by path.

    Args:
        whiteouts: paths with the names that they have in the layer.
        entries: everything else that the layer has.
        mtime: of every whiteout; it means nothing.

    Raises:
        ArchiveError: a name that hides nothing.
    """
    result = {}
    for path in whiteouts:
        canonical = _canonical(path, entries)
        if canonical is not None:
            result[canonical] = Entry(
                path=canonical, kind=Kind.FILE, mode=_MODE, user=0, group=0, mtime=mtime
            )
    return result


def _canonical(path: str, entries: Mapping[str, Entry]) -> str | None:
    """Return the whiteout to write, None if it would say nothing.

    A whiteout hides what is below its layer, but some clients apply it to what they have unpacked
    so far. One of a path that the layer brings itself is therefore written in another way.
    """
    folder, slash, name = path.rpartition("/")
    if f"/{_RESERVED}" in f"/{folder}/" or (name.startswith(_RESERVED) and name != OPAQUE):
        return None
    hidden = name.removeprefix(PREFIX)
    if is_whiteout(folder) or hidden in ("", ".", ".."):
        raise ArchiveError("a whiteout of nothing", context=repr(path))
    if name == OPAQUE:
        return path
    replacement = entries.get(f"{folder}{slash}{hidden}")
    if replacement is None:
        return path
    if replacement.kind is Kind.DIRECTORY:
        return f"{replacement.path}/{OPAQUE}"
    return None
