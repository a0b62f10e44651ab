"""A layer: from the entries of its spec to the bytes of its tar.

Specification: image-spec v1.1.1, layer.md. The tar is that of `formats.tar` (docs/FORMAT.md,
sections Layer spec and Tar): names relative without `./`, directories with a trailing slash, the
first name of a hard-linked file in path order is the file, the others are links to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.formats import tar
from pipeline.formats.mtree import Entry, Kind, path_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pipeline.formats.digest import Sink

_BATCH: Final = 1 << 20
"""Bytes gathered before they go to the hash and the compressor."""


def _header(entry: Entry, first: bytes) -> bytes:
    if not isinstance(entry.user, int) or not isinstance(entry.group, int):
        raise TypeError(f"{entry.path}: owner is not resolved")
    name = path_bytes(entry.path)
    size, link = 0, b""
    if entry.kind is Kind.DIRECTORY:
        name += b"/"
        kind = tar.DIRECTORY
    elif entry.kind is Kind.LINK:
        kind = tar.SYMLINK
        link = path_bytes(entry.link)
    elif first:
        kind = tar.HARDLINK
        link = first
    else:
        kind = tar.REGULAR
        size = entry.size
    return tar.header(
        name,
        kind,
        mode=entry.mode,
        uid=entry.user,
        gid=entry.group,
        mtime=entry.mtime,
        size=size,
        link=link,
        fflags=entry.flags.encode(),
    )


def layer_size(entries: Iterable[Entry]) -> int:
    """Return the length of the tar that `write_layer` makes of these entries."""
    total = len(tar.END)
    firsts: dict[int, bytes] = {}
    for entry in entries:
        first = firsts.get(entry.inode, b"") if entry.inode else b""
        total += _header_size(entry, first)
        if entry.kind is Kind.FILE and not first:
            total += entry.size + -entry.size % tar.BLOCK
            if entry.inode:
                firsts[entry.inode] = path_bytes(entry.path)
    return total


def _header_size(entry: Entry, first: bytes) -> int:
    name = path_bytes(entry.path) + b"/"
    link = first or path_bytes(entry.link)
    numbers = (int(entry.user), int(entry.group), entry.size, entry.mtime)
    if tar.is_plain(name, link, numbers, entry.flags):
        return tar.BLOCK
    return len(_header(entry, first))


def write_layer(
    entries: Sequence[Entry], content: Callable[[Entry], Iterable[bytes]], sink: Sink
) -> None:
    """Write the tar of a layer.

    Args:
        entries: sorted by path, owners are ids, hard links numbered (`mtree.number_links`).
        content: yields the bytes of a file, in all exactly `entry.size`.
        sink: takes the tar in large pieces.
    """
    firsts: dict[int, bytes] = {}
    pending: list[bytes] = []
    gathered = 0
    for entry in entries:
        first = firsts.get(entry.inode, b"") if entry.inode else b""
        block = _header(entry, first)
        pending.append(block)
        gathered += len(block)
        if entry.kind is Kind.FILE and not first:
            if entry.inode:
                firsts[entry.inode] = path_bytes(entry.path)
            written = 0
            for data in content(entry):
                pending.append(data)
                written += len(data)
                gathered += len(data)
                if gathered >= _BATCH:
                    sink.write(b"".join(pending))
                    pending, gathered = [], 0
            if written != entry.size:
                raise ValueError(f"{entry.path}: got {written} bytes of content, want {entry.size}")
            pad = tar.padding(written)
            pending.append(pad)
            gathered += len(pad)
    pending.append(tar.END)
    sink.write(b"".join(pending))
