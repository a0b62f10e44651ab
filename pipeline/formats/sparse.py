"""Sparse members of tar archives: which parts of a file are stored.

Specification: the GNU tar manual, "Storing Sparse Files": the old GNU format (type S), and the
versions 0.0, 0.1 and 1.0 of the pax format; bsdtar writes 1.0. Other systems' (SUN.holesdata,
star's) are not known here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PREFIX: Final = "GNU.sparse."

_BLOCK: Final = 512
_PAIR: Final = struct.Struct("12s12s")
_HEADER_PAIRS: Final = slice(386, 386 + 4 * _PAIR.size)
_HEADER_EXTENDED: Final = 482
_HEADER_REAL_SIZE: Final = slice(483, 495)
_EXTENSION_PAIRS: Final = slice(0, 21 * _PAIR.size)
_EXTENSION_EXTENDED: Final = 504
_MAX_EXTENTS: Final = 1 << 20
_MAX_DIGITS: Final = 20


@dataclass(frozen=True, slots=True)
class Extent:
    """A stored part of a file."""

    offset: int
    """In the file."""
    position: int
    """In the archive."""
    size: int


@dataclass(frozen=True, slots=True)
class SparseMap:
    """Where the stored parts of a file belong, and how long it is."""

    pairs: tuple[tuple[int, int], ...]
    """Offset in the file and size, as stored one after the other."""
    size: int

    def extents(self, position: int, stored: int) -> tuple[Extent, ...]:
        """Return the stored parts.

        Args:
            position: where the content begins in the archive.
            stored: its size there.

        Raises:
            ArchiveError: they overlap, leave the file, or are not what is stored.
        """
        result = []
        cursor = 0
        taken = 0
        for offset, size in self.pairs:
            if offset < cursor or offset + size > self.size:
                raise ArchiveError(f"sparse member: a part at {offset} of {size} bytes")
            if size:
                result.append(Extent(offset, position + taken, size))
            cursor = offset + size
            taken += size
        if taken != stored:
            raise ArchiveError(f"sparse member: got {stored} stored bytes, want {taken}")
        return tuple(result)


def read_gnu_map(block: bytes, read: Callable[[], bytes]) -> SparseMap:
    """Read the map of the old GNU format.

    Args:
        block: the member's header.
        read: gives the block that follows.
    """
    pairs = list(_struct_pairs(block[_HEADER_PAIRS]))
    size = _octal(block[_HEADER_REAL_SIZE])
    is_extended = block[_HEADER_EXTENDED]
    while is_extended:
        block = read()
        pairs += _struct_pairs(block[_EXTENSION_PAIRS])
        is_extended = block[_EXTENSION_EXTENDED]
        _check_count(len(pairs))
    return SparseMap(tuple(pairs), size)


def read_pax_map(
    records: Sequence[tuple[str, str]], read: Callable[[], bytes]
) -> tuple[SparseMap, int]:
    """Read the map of one of the pax formats.

    Args:
        records: the pax records of the member, those of format 0.0 repeated.
        read: gives the next block of the content, where format 1.0 has its map.

    Returns:
        The map, and the number of blocks of content that were read.
    """
    named = dict(records)
    version = (named.get(f"{PREFIX}major"), named.get(f"{PREFIX}minor"))
    if version == ("1", "0"):
        numbers = _Lines(read)
        count = next(numbers)
        _check_count(count)
        pairs = tuple((next(numbers), next(numbers)) for _ in range(count))
        return SparseMap(pairs, _size(named, "realsize")), numbers.blocks
    if version not in ((None, None), ("0", "0"), ("0", "1")):
        raise ArchiveError(f"sparse member of version {version[0]}.{version[1]}, want 0 or 1.0")
    if f"{PREFIX}map" in named:
        flat = [_decimal(n) for n in named[f"{PREFIX}map"].split(",")]
    else:
        parts = (f"{PREFIX}offset", f"{PREFIX}numbytes")
        flat = [_decimal(value) for key, value in records if key in parts]
    if len(flat) % 2:
        raise ArchiveError("sparse member: a part without a size")
    _check_count(len(flat))
    pairs = tuple(zip(flat[::2], flat[1::2], strict=True))
    return SparseMap(pairs, _size(named, "size")), 0


class _Lines:
    """The decimal numbers, a line each, with which the content of format 1.0 begins."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._rest = b""
        self.blocks = 0

    def __next__(self) -> int:
        while b"\n" not in self._rest:
            if len(self._rest) > _MAX_DIGITS:
                raise ArchiveError("sparse member: malformed map")
            self._rest += self._read()
            self.blocks += 1
        line, _, self._rest = self._rest.partition(b"\n")
        return _decimal(line.decode("latin-1"))


def _check_count(count: int) -> None:
    if count > _MAX_EXTENTS:
        raise ArchiveError(f"sparse member: {count} parts, want at most {_MAX_EXTENTS}")


def _struct_pairs(raw: bytes) -> Iterator[tuple[int, int]]:
    for offset, size in _PAIR.iter_unpack(raw):
        if size.strip(b"\0 "):
            yield _octal(offset), _octal(size)


def _octal(raw: bytes) -> int:
    if raw[0] == 0x80:  # noqa: PLR2004 - GNU's base 256
        return int.from_bytes(raw[1:], "big")
    text = raw.strip(b"\0 ")
    if text.strip(b"01234567"):
        raise ArchiveError(f"sparse member: got {raw!r}, want octal digits")
    return int(text or b"0", 8)


def _decimal(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
        raise ArchiveError(f"sparse member: got {text[:40]!r}, want a number")
    return int(text)


def _size(records: Mapping[str, str], name: str) -> int:
    if PREFIX + name not in records:
        raise ArchiveError(f"sparse member without {PREFIX}{name}")
    return _decimal(records[PREFIX + name])
