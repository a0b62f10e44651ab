"""The overflow pages of a Berkeley DB 1.85 hash file: how many, where, and which are free.

Specification: FreeBSD `lib/libc/db/hash/hash_page.c` (`overflow_page`, `__free_ovflpage`,
`__ibitmap`). Every overflow page has a number, counted from 1 over the whole file; bit `number - 1`
of the bitmaps says whether it is in use. Bits of pages that do not exist yet are ones, so that a
search never finds them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError
from pipeline.formats import db185_header as header

if TYPE_CHECKING:
    from pipeline.formats.db185_header import ByteOrder

_MAP_BITS: Final = 32
_ALL_SET: Final = 0xFFFFFFFF
_MAX_BITMAPS: Final = 32


class OverflowSpace:
    """The allocator of overflow pages; changes while a file is built."""

    __slots__ = ("addresses", "bsize", "hdrpages", "last_freed", "maps", "point", "spares")

    def __init__(self, *, bsize: int, buckets: int) -> None:
        self.bsize = bsize
        self.hdrpages = header.hdrpages_of(bsize)
        self.point = (buckets - 1).bit_length()
        """The current split point (`ovfl_point`)."""
        self.spares = [0] * header.SPLIT_POINTS
        self.spares[self.point] = self.spares[self.point + 1] = self.point + 1
        self.last_freed = 2
        self.maps: list[list[int]] = []
        self.addresses: list[int] = []
        self._add_bitmap(address=(self.point << header.SPLIT_SHIFT) + 1, used=self.point + 1)

    def allocate(self) -> int:
        """Return the address of a page that was free, or of a new one."""
        number = self._take_free()
        return self._extend() if number is None else self._address_of(number)

    def free(self, address: int) -> None:
        """Give a page back."""
        split = address >> header.SPLIT_SHIFT
        bit = self._before(split) + (address & header.SPLIT_MASK) - 1
        self.last_freed = min(self.last_freed, bit)
        page, bit = divmod(bit, self.bsize * 8)
        self.maps[page][bit // _MAP_BITS] &= ~(1 << bit % _MAP_BITS)

    def grow(self, max_bucket: int) -> None:
        """Follow the table, which now ends with `max_bucket`."""
        split = max_bucket.bit_length()
        if split > self.point:
            self.spares[split] = self.spares[self.point]
            self.point = split

    def page_of_bucket(self, bucket: int) -> int:
        """Return the page number of a bucket."""
        return header.page_of_bucket(bucket, hdrpages=self.hdrpages, spares=self.spares)

    def page_of_overflow(self, address: int) -> int:
        """Return the page number of an overflow address."""
        return header.page_of_overflow(address, hdrpages=self.hdrpages, spares=self.spares)

    def bitmap_pages(self, order: ByteOrder) -> dict[int, bytes]:
        """Return the bitmap pages by page number."""
        words = struct.Struct(f"{order.prefix}{self.bsize // 4}I")
        return {
            self.page_of_overflow(address): words.pack(*bits)
            for address, bits in zip(self.addresses, self.maps, strict=True)
        }

    def _before(self, split: int) -> int:
        """Return how many overflow pages belong to earlier split points."""
        return self.spares[split - 1] if split else 0

    def _add_bitmap(self, *, address: int, used: int) -> None:
        """Add a bitmap whose first bit is its own page; `used` pages exist from there on."""
        if len(self.maps) == _MAX_BITMAPS:
            raise FormatError(f"hash file: got more than {_MAX_BITMAPS} bitmap pages")
        bits = [_ALL_SET] * (self.bsize * 8 // _MAP_BITS)
        last = (used - 1) // _MAP_BITS
        bits[:last] = [0] * last
        bits[last] = (_ALL_SET << used % _MAP_BITS) & _ALL_SET
        bits[0] |= 1
        self.maps.append(bits)
        self.addresses.append(address)

    def _take_free(self) -> int | None:
        """Mark the first free page from `last_freed` on as used and return its number."""
        bits = self.bsize * 8
        last_page, last_bit = divmod(self.spares[self.point] - 1, bits)
        first_page, first_bit = divmod(self.last_freed, bits)
        start = first_bit // _MAP_BITS
        for page in range(first_page, last_page + 1):
            words = self.maps[page]
            end = (last_bit if page == last_page else bits - 1) // _MAP_BITS + 1
            for index in range(start, end):
                free = ~words[index] & _ALL_SET
                if free:
                    lowest = free & -free
                    words[index] |= lowest
                    bit = page * bits + index * _MAP_BITS + lowest.bit_length() - 1
                    # The page just given away, not the next one; none before it is free.
                    self.last_freed = bit
                    return bit + 1
            start = 0
        return None

    def _address_of(self, number: int) -> int:
        split = next(
            (i for i in range(self.point) if number <= self.spares[i]),
            self.point,
        )
        offset = number - self._before(split)
        if offset >= header.SPLIT_MASK:
            # Only a page that was used before comes here; the library has no use for its address.
            raise FormatError(
                f"hash file: got {offset} overflow pages in one split point,"
                f" want fewer than {header.SPLIT_MASK}"
            )
        return (split << header.SPLIT_SHIFT) + offset

    def _extend(self) -> int:
        """Return the address of a page beyond all that exist."""
        bits = self.bsize * 8
        last_bit = (self.spares[self.point] - 1) % bits
        self.last_freed = self.spares[self.point]
        offset = self._next_offset(wrapped=1)
        if last_bit == bits - 1:
            self._add_bitmap(address=(self.point << header.SPLIT_SHIFT) + offset, used=1)
            offset = self._next_offset(wrapped=0)
        else:
            word, bit = divmod(last_bit + 1, _MAP_BITS)
            self.maps[-1][word] |= 1 << bit
        return (self.point << header.SPLIT_SHIFT) + offset

    def _next_offset(self, *, wrapped: int) -> int:
        """Count one more page and return its offset, in the next split point if this is full."""
        self.spares[self.point] += 1
        offset = self.spares[self.point] - self._before(self.point)
        if offset <= header.SPLIT_MASK:
            return offset
        if self.point + 1 >= header.SPLIT_POINTS:
            raise FormatError(f"hash file: got more than {header.SPLIT_POINTS} split points")
        self.point += 1
        self.spares[self.point] = self.spares[self.point - 1]
        self.spares[self.point - 1] -= 1
        return wrapped
