"""Reading Berkeley DB 1.85 hash files, strictly.

Specification: as in `db185`. A file is accepted if every chain can be followed within it, every key
is in the bucket where a lookup searches it, and the number of keys is that of the header. Stale
bytes, holes and overflow pages that are in no chain are of no concern.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError
from pipeline.formats.db185_big import FULL_KEY, FULL_KEY_DATA, PARTIAL_KEY
from pipeline.formats.db185_header import (
    SPLIT_MASK,
    SPLIT_SHIFT,
    HashHeader,
    page_of_bucket,
    page_of_overflow,
)
from pipeline.formats.db185_page import MIN_OFFSET

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_SIZE: Final = 1 << 28
_LINKED: Final = 4
"""Word 0 of a page of a big pair that links to another page."""


@dataclass(frozen=True, slots=True)
class HashFile:
    """The content of a hash file."""

    header: HashHeader
    pairs: Mapping[bytes, bytes]
    """Data by key, in the order of the buckets."""


def parse_hash_file(raw: bytes) -> HashFile:
    """Read all pairs of a file.

    Raises:
        FormatError: the file is damaged, or not one of these.
    """
    if len(raw) > _MAX_SIZE:
        raise FormatError(f"hash file: got {len(raw)} bytes, want at most {_MAX_SIZE}")
    header = HashHeader.parse(raw)
    if len(raw) % header.bsize:
        raise FormatError(f"hash file: got {len(raw)} bytes, want whole pages of {header.bsize}")
    reader = _Reader(raw, header)
    for bucket in range(header.max_bucket + 1):
        reader.read_bucket(bucket)
    if len(reader.pairs) != header.nkeys:
        raise FormatError(f"hash file: got {len(reader.pairs)} keys, want {header.nkeys}")
    return HashFile(header, MappingProxyType(reader.pairs))


@dataclass(frozen=True, slots=True)
class _Page:
    number: int
    content: bytes
    words: tuple[int, ...]
    """Word 0, the words it counts and the two after them."""

    @property
    def count(self) -> int:
        return self.words[0]

    @property
    def free(self) -> int:
        return self.words[self.count + 1]

    def error(self, message: str) -> FormatError:
        return FormatError(f"hash file page {self.number}: {message}")

    def cut(self, start: int, end: int) -> bytes:
        """Return bytes of the heap."""
        if not 2 * len(self.words) <= start <= end:
            raise self.error(
                f"got offsets {start} and {end}, want a rising pair from {2 * len(self.words)}"
            )
        return self.content[start:end]


class _Reader:
    def __init__(self, raw: bytes, header: HashHeader) -> None:
        self._raw = raw
        self._header = header
        self._word_counts = struct.Struct(f"{header.lorder.prefix}H")
        self._seen: set[int] = set()
        self.pairs: dict[bytes, bytes] = {}

    def read_bucket(self, bucket: int) -> None:
        """Read the pairs of a bucket's chain."""
        header = self._header
        number = page_of_bucket(bucket, hdrpages=header.hdrpages, spares=header.spares)
        start = number * header.bsize
        # Buckets that were never used lie in a hole, or beyond the end.
        if start >= len(self._raw) or not self._word_counts.unpack_from(self._raw, start)[0]:
            return
        page: _Page | None = self._page(number)
        while page is not None:
            is_big = page.count and page.words[2] in {PARTIAL_KEY, FULL_KEY, FULL_KEY_DATA}
            page = self._read_big(page, bucket) if is_big else self._read_page(page, bucket)

    def _page(self, number: int) -> _Page:
        header = self._header
        start = number * header.bsize
        content = self._raw[start : start + header.bsize]
        if not content:
            raise FormatError(f"hash file page {number}: got a link to it, want one to a page")
        if number in self._seen:
            raise FormatError(f"hash file page {number}: got two links to it, want one")
        self._seen.add(number)
        count = self._word_counts.unpack_from(content)[0]
        if count % 2 or 2 * (count + 3) > header.bsize:
            raise FormatError(f"hash file page {number}: got {count} words, want pairs on the page")
        words = struct.unpack_from(f"{header.lorder.prefix}{count + 3}H", content)
        return _Page(number, content, words)

    def _follow(self, address: int) -> _Page:
        header = self._header
        if not address & SPLIT_MASK or address >> SPLIT_SHIFT > header.ovfl_point:
            raise FormatError(f"hash file: got overflow address {address:#x}, want one in use")
        return self._page(page_of_overflow(address, hdrpages=header.hdrpages, spares=header.spares))

    def _read_page(self, page: _Page, bucket: int) -> _Page | None:
        """Read ordinary pairs; return the page that the last words link to."""
        words = page.words
        end = len(page.content)
        for index in range(1, page.count, 2):
            middle, start = words[index], words[index + 1]
            if start < MIN_OFFSET:
                if start or index != page.count - 1:
                    raise page.error(f"got tag {start} in word {index + 1}, want an offset")
                return self._follow(middle)
            self._add(page, page.cut(middle, end), page.cut(start, middle), bucket)
            end = start
        return None

    def _read_big(self, page: _Page, bucket: int) -> _Page | None:
        """Read the big pair that begins on a page; return the page after it."""
        first = page
        key = [self._part(page)]
        while page.words[2] == PARTIAL_KEY:
            page = self._next_of_big(page)
            key.append(self._part(page))
        data: list[bytes] = []
        if page.words[2] == FULL_KEY_DATA:
            if page.count != _LINKED:
                raise page.error(f"got {page.count} words after a key, want {_LINKED}")
            data.append(page.cut(page.words[4], page.words[1]))
        if page.words[2] == FULL_KEY or not page.free:
            page = self._read_data(page, data)
        self._add(first, b"".join(key), b"".join(data), bucket)
        return self._follow(page.words[3]) if page.count == _LINKED else None

    def _read_data(self, page: _Page, data: list[bytes]) -> _Page:
        """Read the data that follows a page; return the last one."""
        while True:
            page = self._next_of_big(page)
            data.append(self._part(page))
            if page.words[2] == FULL_KEY_DATA:
                return page
            if page.words[2] != FULL_KEY:
                raise page.error(f"got tag {page.words[2]}, want {FULL_KEY} or {FULL_KEY_DATA}")

    def _next_of_big(self, page: _Page) -> _Page:
        if page.count != _LINKED:
            raise page.error(f"got {page.count} words within a big pair, want {_LINKED}")
        return self._follow(page.words[3])

    def _part(self, page: _Page) -> bytes:
        if page.count not in {2, _LINKED} or page.words[2] not in range(1, MIN_OFFSET):
            raise page.error("got an ordinary page, want a part of a big pair")
        return page.cut(page.words[1], len(page.content))

    def _add(self, page: _Page, key: bytes, data: bytes, bucket: int) -> None:
        if self._header.bucket_of(key) != bucket:
            raise page.error(f"got key {key[:40]!r} in bucket {bucket}, want it in its own")
        if key in self.pairs:
            raise page.error(f"got key {key[:40]!r} twice")
        self.pairs[key] = data
