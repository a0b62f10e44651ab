"""One page of a Berkeley DB 1.85 hash file, while a file is built.

Specification: FreeBSD `lib/libc/db/hash/page.h` and `hash_page.c`. A page is an array of 16-bit
words that grows up and a heap of keys and data that grows down from its end:

    word 0        n, the number of words that follow, two for each pair
    words 1..n    pairs of offsets: of the key, then of its data below it
    word n + 1    free bytes between the words and the heap
    word n + 2    offset of the lowest byte of the heap

A second word below 4 is no offset but a tag. 0: the first word is the address of the next overflow
page, and nothing follows. 1, 2, 3: a part of a big pair (`db185_big`).

In memory the words are little-endian whatever the file's order, as on the machines whose output
is the reference: words that are left over when n shrinks are written as they are.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

MIN_OFFSET: Final = 4
"""The lowest second word that is an offset."""

_WORD: Final = struct.Struct("<H")
_PAIR: Final = struct.Struct("<HH")
_QUAD: Final = struct.Struct("<HHHH")
_HEAD: Final = struct.Struct("<HHH")
_LINK_SIZE: Final = 4


@dataclass(slots=True, eq=False)
class PageBuffer:
    """A page and what the buffer pool knows of it."""

    page: bytearray
    address: int = 0
    """Bucket number or overflow address."""
    following: PageBuffer | None = None
    """The buffer that last held the next overflow page; may be out of date."""
    is_bucket: bool = False
    is_modified: bool = False
    is_pinned: bool = False

    def reset(self) -> None:
        """Make an empty page of it; everything but the first three words stays."""
        size = len(self.page)
        _HEAD.pack_into(self.page, 0, 0, size - 6, size)

    @property
    def count(self) -> int:
        """Word 0."""
        count: int = _WORD.unpack_from(self.page)[0]
        return count

    def word(self, index: int) -> int:
        """Return one word."""
        value: int = _WORD.unpack_from(self.page, 2 * index)[0]
        return value

    def words(self) -> tuple[int, ...]:
        """Return word 0 and the words that it counts."""
        return struct.unpack_from(f"<{self.count + 1}H", self.page)

    def set_pair(self, index: int, first: int, second: int) -> None:
        """Set two words."""
        _PAIR.pack_into(self.page, 2 * index, first, second)

    def close_words(self, count: int, offset: int, free: int) -> None:
        """Set the words around the pairs."""
        _WORD.pack_into(self.page, 0, count)
        _PAIR.pack_into(self.page, 2 * count + 2, free, offset)

    def space(self) -> tuple[int, int]:
        """Return the free bytes and the offset of the heap."""
        free, offset = _PAIR.unpack_from(self.page, 2 * self.count + 2)
        return free, offset

    @property
    def link(self) -> int:
        """The address of the page after this one; 0 if this is the last of ordinary pairs."""
        count = self.count
        if not count:
            return 0
        address, tag = _PAIR.unpack_from(self.page, 2 * count - 2)
        return 0 if tag else address

    @property
    def holds_big(self) -> bool:
        """Whether a part of a big pair begins the page."""
        return 0 < self.word(2) < MIN_OFFSET

    def has_key(self, key: bytes) -> bool:
        """Say whether an ordinary pair of the page has this key."""
        words = self.words()
        end = len(self.page)
        for index in range(1, words[0], 2):
            if words[index + 1] >= MIN_OFFSET and self.page[words[index] : end] == key:
                return True
            end = words[index + 1]
        return False

    def append(self, key: bytes, data: bytes) -> bool:
        """Append an ordinary pair; return whether it fitted."""
        free = self.word(self.count + 1)
        if self.word(2) < MIN_OFFSET or len(key) + len(data) + 8 > free:
            return False
        self.put(key, data)
        return True

    def put(self, key: bytes, data: bytes) -> None:
        """Append an ordinary pair that is known to fit."""
        page = self.page
        count = self.count
        end = _WORD.unpack_from(page, 2 * count + 4)[0]
        middle = end - len(key)
        start = middle - len(data)
        page[start:end] = data + key
        _QUAD.pack_into(page, 2 * count + 2, middle, start, start - 2 * (count + 5), start)
        _WORD.pack_into(page, 0, count + 2)
        self.is_modified = True

    def append_link(self, address: int) -> None:
        """Append the address of the next overflow page."""
        count = self.count
        free, offset = self.space()
        _QUAD.pack_into(self.page, 2 * count + 2, address, 0, free - _LINK_SIZE, offset)
        _WORD.pack_into(self.page, 0, count + 2)
        self.is_modified = True
