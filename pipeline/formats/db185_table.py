"""The pages of a Berkeley DB 1.85 hash table under construction, as its operations see them.

Specification: FreeBSD `lib/libc/db/hash/hash_page.c` (`__add_ovflpage`, `__free_ovflpage`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.formats.db185_pool import BufferPool
from pipeline.formats.db185_space import OverflowSpace

if TYPE_CHECKING:
    from pipeline.formats.db185_header import ByteOrder
    from pipeline.formats.db185_page import PageBuffer

DEFAULT_FFACTOR: Final = 65536
"""Stands for a fill factor that is yet to be found."""
_MIN_FFACTOR: Final = 4


class PageTable:
    """Buckets and their overflow pages; changes while a file is built."""

    __slots__ = ("bsize", "ffactor", "pool", "space")

    def __init__(
        self, *, bsize: int, buckets: int, ffactor: int, lorder: ByteOrder, cachesize: int
    ) -> None:
        self.bsize = bsize
        self.ffactor = ffactor
        self.space = OverflowSpace(bsize=bsize, buckets=buckets)
        self.pool = BufferPool(self.space, lorder=lorder, cachesize=cachesize)

    def bucket(self, number: int) -> PageBuffer:
        """Return the primary page of a bucket."""
        return self.pool.bucket(number)

    def follow(self, buffer: PageBuffer, address: int) -> PageBuffer:
        """Return an overflow page that exists."""
        return self.pool.overflow(address, buffer)

    def add_overflow(self, buffer: PageBuffer) -> PageBuffer:
        """Add an empty overflow page after a page and return it."""
        if self.ffactor == DEFAULT_FFACTOR:
            # The first page that overflows shows how many pairs a page can hold.
            self.ffactor = max(buffer.count // 2, _MIN_FFACTOR)
        address = self.space.allocate()
        added = self.pool.overflow(address, buffer, is_new=True)
        added.is_modified = True
        buffer.append_link(address)
        return added

    def free_overflow(self, buffer: PageBuffer) -> None:
        """Give an overflow page back."""
        self.space.free(buffer.address)
        self.pool.release(buffer)
