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
    from collections.abc import Callable, Iterator

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
    source: PageBuffer | None = None
    """The overflow page that is being read, to be freed when the next one is at hand."""

    def append(self, key: bytes, data: bytes) -> None:
        if self.is_leaving(key):
            self.leaves = self._append_to(self.leaves, key, data)
        else:
            self.stays = self._append_to(self.stays, key, data)

    def _append_to(self, target: PageBuffer, key: bytes, data: bytes) -> PageBuffer:
        if not target.append(key, data):
            target = self.table.add_overflow(target)
            target.put(key, data)
        return target

    def relink(self, first: PageBuffer) -> PageBuffer | None:
        """Hang a big pair behind its bucket; return the page that followed it."""
        if self.is_leaving(read_big_key(self.table, first)):
            self.leaves, following = relink_big(self.table, first, self.leaves)
        else:
            self.stays, following = relink_big(self.table, first, self.stays)
        return following

    def follow(self, buffer: PageBuffer) -> PageBuffer:
        """Return the page after an ordinary one, and free the page read before that."""
        following = self.table.follow(buffer, buffer_link(buffer))
        if self.source is not None:
            self.table.free_overflow(self.source)
        self.source = following
        return following


def split_bucket(
    table: PageTable, old: PageBuffer, new: PageBuffer, is_leaving: Callable[[bytes], bool]
) -> None:
    """Move the pairs of `old` that leave it to the empty bucket `new`."""
