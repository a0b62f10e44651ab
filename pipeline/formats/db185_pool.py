"""The buffer pool of a Berkeley DB 1.85 hash file, whose recycling shows in the bytes.

Specification: FreeBSD `lib/libc/db/hash/hash_buf.c`. A page that is read for the first time is
initialised by setting three words; the rest of it keeps what the recycled buffer held before. So
the least recently used order decides which stale bytes stand in the free space of a page, and has
to be followed exactly where a table has more pages than buffers.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from pipeline.formats.db185_header import ByteOrder
from pipeline.formats.db185_page import PageBuffer

if TYPE_CHECKING:
    from pipeline.formats.db185_space import OverflowSpace

_MIN_BUFFERS: Final = 6


class BufferPool:
    """Pages in memory, and those that were written already; changes while a file is built."""

    __slots__ = ("_buckets", "_order", "_space", "_spare", "_swapped", "written")

    def __init__(self, space: OverflowSpace, *, lorder: ByteOrder, cachesize: int) -> None:
        self._space = space
        self._swapped = lorder is ByteOrder.BIG
        self._spare = max(-(-cachesize // space.bsize), _MIN_BUFFERS)
        self._order: OrderedDict[PageBuffer, None] = OrderedDict()
        """Least recently used first."""
        self._buckets: dict[int, PageBuffer] = {}
        self.written: dict[int, bytes] = {}
        """Page number to its bytes in the file."""

    def bucket(self, number: int) -> PageBuffer:
        """Return the primary page of a bucket."""
        buffer = self._buckets.get(number)
        if buffer is not None:
            self._order.move_to_end(buffer)
            return buffer
        buffer = self._take(None)
        buffer.address = number
        buffer.is_bucket = True
        self._buckets[number] = buffer
        self._fill(buffer, self.written.get(self._space.page_of_bucket(number)))
        return buffer

    def overflow(self, address: int, previous: PageBuffer, *, is_new: bool = False) -> PageBuffer:
        """Return the overflow page that follows `previous`."""
        buffer = previous.following
        # The number alone is compared: an overflow page has no directory of its own.
        if buffer is not None and buffer.address == address:
            self._order.move_to_end(buffer)
            return buffer
        buffer = self._take(previous)
        buffer.address = address
        previous.following = buffer
        page = None if is_new else self.written.get(self._space.page_of_overflow(address))
        self._fill(buffer, page)
        return buffer

    def release(self, buffer: PageBuffer) -> None:
        """Give up a freed overflow page: the next to be taken, and not written."""
        self._forget(buffer)
        buffer.following = None

    def flush(self) -> None:
        """Write what is modified."""
        for buffer in self._order:
            if buffer.is_bucket or buffer.address:
                self._write(buffer)

    def _fill(self, buffer: PageBuffer, page: bytes | None) -> None:
        if page is not None:
            buffer.page[:] = page
            if self._swapped:
                _swap_words(buffer.page, count=int.from_bytes(page[:2], "big"))
        if page is None or not buffer.count:
            buffer.reset()

    def _take(self, previous: PageBuffer | None) -> PageBuffer:
        """Return a buffer for another page, the most recently used one from now on."""
        candidate = next(iter(self._order), None)
        if (
            candidate is not None
            and not self._spare
            and previous is not None
            and self._is_chained(candidate, previous)
        ):
            self._spare += 1
        if candidate is None or self._spare or candidate.is_pinned:
            buffer = PageBuffer(bytearray(self._space.bsize))
            if self._spare:
                self._spare -= 1
        else:
            buffer = candidate
            if buffer.is_bucket or buffer.address:
                self._evict(buffer)
            buffer.following = None
            buffer.is_bucket = buffer.is_modified = False
        self._order[buffer] = None
        self._order.move_to_end(buffer)
        return buffer

    def _is_chained(self, first: PageBuffer, wanted: PageBuffer) -> bool:
        """Say whether a buffer lies on another's chain of overflow pages."""
        buffer = first.following
        # Links that are out of date could form a circle.
        steps = len(self._order)
        while buffer is not None and buffer is not wanted and steps:
            buffer = buffer.following
            steps -= 1
        return buffer is wanted

    def _evict(self, buffer: PageBuffer) -> None:
        """Write a page, and the overflow pages that can be reached only through it."""
        following = _address_after(buffer, 0)
        self._write(buffer)
        if buffer.is_bucket:
            del self._buckets[buffer.address]
        while (linked := buffer.following) is not None:
            buffer.following = None
            buffer = linked
            if buffer.is_bucket or buffer.address != following:
                return
            following = _address_after(buffer, following)
            self._write(buffer)
            self._forget(buffer)

    def _forget(self, buffer: PageBuffer) -> None:
        buffer.address = 0
        buffer.is_bucket = buffer.is_modified = buffer.is_pinned = False
        self._order.move_to_end(buffer, last=False)

    def _write(self, buffer: PageBuffer) -> None:
        if buffer.is_modified:
            number = (
                self._space.page_of_bucket(buffer.address)
                if buffer.is_bucket
                else self._space.page_of_overflow(buffer.address)
            )
            self.written[number] = self._to_file(buffer)

    def _to_file(self, buffer: PageBuffer) -> bytes:
        page = buffer.page
        if self._swapped:
            page = page.copy()
            _swap_words(page, count=buffer.count)
        return bytes(page)


def _address_after(buffer: PageBuffer, default: int) -> int:
    """Return the second last counted word, the next address if the page links to one."""
    count = buffer.count
    return buffer.word(count - 1) if count else default


def _swap_words(page: bytearray, *, count: int) -> None:
    """Swap the words in use; those left over from a fuller page keep their order."""
    end = 2 * (count + 3)
    page[0:end:2], page[1:end:2] = page[1:end:2], page[0:end:2]
