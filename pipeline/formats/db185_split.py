"""Splitting a bucket of a Berkeley DB 1.85 hash file in two.

Specification: FreeBSD `lib/libc/db/hash/hash_page.c` (`__split_page`, `ugly_split`) and
`hash_bigkey.c` (`__big_split`). Pairs that stay on a primary page are moved up over the gaps of
those that left; nothing is cleared. From the first overflow page on, every pair is copied to the
end of one of two growing chains, and the pages that it came from are freed one step later, so that
the chains cannot take the page that is being read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.formats.db185_big import read_big_key, relink_big
from pipeline.formats.db185_page import MIN_OFFSET

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.formats.db185_page import PageBuffer
    from pipeline.formats.db185_table import PageTable


@dataclass(slots=True)
class _Split:
    table: PageTable
    stays: PageBuffer
    """Last page of the old bucket."""
    leaves: PageBuffer
    """Last page of the new bucket."""
    is_leaving: Callable[[bytes], bool]

    def move_page(self, buffer: PageBuffer) -> PageBuffer | None:
        """Move what is on an overflow page; return the page after it."""
        words = buffer.words()
        count = words[0]
        end = self.table.bsize
        index = 1
        while index < count and words[index + 1] >= MIN_OFFSET:
            middle, start = words[index : index + 2]
            self._append(bytes(buffer.page[middle:end]), bytes(buffer.page[start:middle]))
            end = start
            index += 2
        if index < count and buffer.holds_big:
            return self._relink(buffer)
        following = None
        if index < count:
            _close(buffer, count - 2, self.table.bsize)
            following = self.table.follow(buffer, words[index])
        self.table.free_overflow(buffer)
        return following

    def _append(self, key: bytes, data: bytes) -> None:
        if self.is_leaving(key):
            self.leaves = self._append_to(self.leaves, key, data)
        else:
            self.stays = self._append_to(self.stays, key, data)

    def _append_to(self, target: PageBuffer, key: bytes, data: bytes) -> PageBuffer:
        if not target.append(key, data):
            target = self.table.add_overflow(target)
            target.put(key, data)
        return target

    def _relink(self, first: PageBuffer) -> PageBuffer | None:
        """Hang a big pair behind its bucket; return the page that followed it."""
        if self.is_leaving(read_big_key(self.table, first)):
            self.leaves, following = relink_big(self.table, first, self.leaves)
        else:
            self.stays, following = relink_big(self.table, first, self.stays)
        return following


def split_bucket(
    table: PageTable, old: PageBuffer, new: PageBuffer, is_leaving: Callable[[bytes], bool]
) -> None:
    """Move the pairs of `old` that leave it to the empty bucket `new`."""
    link = _compact(old, new, is_leaving)
    if not link:
        return
    split = _Split(table=table, stays=old, leaves=new, is_leaving=is_leaving)
    buffer: PageBuffer | None = table.follow(old, link)
    while buffer is not None:
        buffer = split.move_page(buffer)


def _compact(old: PageBuffer, new: PageBuffer, is_leaving: Callable[[bytes], bool]) -> int:
    """Move the pairs of a primary page; return the address of the page after it, or 0."""
    page = old.page
    words = old.words()
    link = old.link
    copy_to = end = len(page)
    kept = 0
    for index in range(1, words[0] - 1 if link else words[0], 2):
        middle, start = words[index : index + 2]
        key = bytes(page[middle:end])
        if is_leaving(key):
            new.put(key, bytes(page[start:middle]))
        else:
            if copy_to != end:
                moved = copy_to - end + start
                page[moved:copy_to] = page[start:end]
                old.set_pair(kept + 1, moved + middle - start, moved)
                copy_to = moved
            else:
                copy_to = start
            kept += 2
        end = start
    _close(old, kept, copy_to)
    return link


def _close(buffer: PageBuffer, count: int, offset: int) -> None:
    """Set the words around the pairs of a page that has lost some."""
    buffer.close_words(count, offset, offset - 2 * (count + 3))
