"""Entry: one path of a layer or of a root file system, whatever it was read from.

Richer than an mtree entry: what a foreign writer may put into a tar header is kept, so that a
difference in it can be shown.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence


class Kind(enum.StrEnum):
    """What an entry is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hard link"
    CHARACTER = "character device"
    BLOCK = "block device"
    FIFO = "fifo"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One path."""

    path: str
    """Relative, no `./`, no trailing slash; the root itself is empty; surrogates for odd bytes."""
    kind: Kind
    mode: int
    uid: int
    gid: int
    uname: str
    gname: str
    mtime: int
    fraction: str
    """Decimals of the mtime without trailing zeros."""
    size: int
    link: str
    """Target: verbatim for a symlink, the other entry's path for a hard link."""
    flags: str
    device: str
    """`major,minor` of a device."""
    attributes: tuple[tuple[str, str], ...]
    """Extended attributes, ACLs and other pax records that carry metadata, sorted."""
    dialect: str
    """`ustar`, `pax`, `gnu`, `v7`; empty for what comes from a directory."""
    form: str
    """What else is particular in how the header is written: `pax mtime`, `type bits in mode`."""
    raw: bytes
    """Short digest of the header blocks; empty for what comes from a directory."""
    ordinal: int
    """Position in the archive, from 0."""
    digest: str
    """sha256 of the content, as hex digits; empty for what has none."""
    content: int
    """Ordinal of the entry whose content this is: its own, or that of a hard link's target."""

    @property
    def key(self) -> bytes:
        """Sort key: bytewise by component, so that a directory is followed by what is in it."""
        return sort_key(self.path)


_FIELDS: Final = attrgetter(*(name for name in Entry.__slots__ if name != "kind"))
_NAMES: Final = tuple(name for name in Entry.__slots__ if name != "kind")


def entry_to_tuple(entry: Entry) -> tuple[Any, ...]:
    """Return an entry as a tuple of plain values."""
    return (entry.kind.value, *_FIELDS(entry))


def entry_from_tuple(values: Sequence[object]) -> Entry:
    """Undo `entry_to_tuple`."""
    fields = dict(zip(_NAMES, values[1:], strict=True))
    return Entry(kind=Kind(values[0]), **fields)  # type: ignore[arg-type]


def path_bytes(path: str) -> bytes:
    """Return the bytes of a path."""
    return path.encode("utf-8", "surrogateescape")


def sort_key(path: str) -> bytes:
    """Return the key by which paths are compared."""
    return path_bytes(path).replace(b"/", b"\0")


def normalise_path(name: str) -> str:
    """Strip what writers put around a path; `..` stays, so that it shows."""
    return "/".join(c for c in name.split("/") if c not in ("", "."))
