"""Berkeley DB 1.85 hash files, as FreeBSD's C library writes them.

Specification: FreeBSD `lib/libc/db/hash/` (`hash.c`, `hash_page.c`, `hash_buf.c`, `hash_bigkey.c`,
`hash_func.c`) as of FreeBSD 14 to 16, on a little-endian machine; `dbopen(3)` and `hash(3)`. The
bytes are those of the library, stale bytes in free space included. They depend on the order of the
pairs and on the parameters alone.

How a table grows:

1. A pair goes on the last page of its bucket's chain, or on an overflow page added to it.
2. After a pair that added an overflow page, or that raised the pairs per bucket above `ffactor`,
   one bucket is added, and the bucket that held its keys is split.

Left out: overwriting and deleting (none of the programs that make system databases does it),
B-trees and record numbers. Reading is in `db185_read`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import FormatError
from pipeline.formats.db185_big import insert_big, last_page, match_big, page_after_big
from pipeline.formats.db185_header import (
    MAX_BSIZE,
    MAX_BUCKETS,
    MIN_BSIZE,
    ByteOrder,
    HashHeader,
    hash4,
)
from pipeline.formats.db185_split import split_bucket
from pipeline.formats.db185_table import PageTable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.formats.db185_page import PageBuffer


@dataclass(frozen=True, slots=True, kw_only=True)
class HashParameters:
    """What a program passes to `dbopen` for a new file, the defaults written out."""

    bsize: int
    """Page size, a power of two."""
    ffactor: int
    """Pairs per bucket; `db185_table.DEFAULT_FFACTOR` leaves it to the first overflow."""
    nelem: int
    """Expected pairs; decides the first number of buckets."""
    cachesize: int
    """Bytes of buffers; decides which stale bytes are left in a file."""
    lorder: ByteOrder

    def __post_init__(self) -> None:
        if self.bsize & (self.bsize - 1) or not MIN_BSIZE <= self.bsize <= MAX_BSIZE:
            raise ValueError(f"bsize: got {self.bsize}, want a power of two")
        if min(self.ffactor, self.nelem, self.cachesize) < 1:
            raise ValueError("ffactor, nelem and cachesize: want at least 1")
        if self.buckets > MAX_BUCKETS:
            raise ValueError(f"nelem: got {self.buckets} buckets, want at most {MAX_BUCKETS}")

    @property
    def buckets(self) -> int:
        """Buckets of the empty table: a power of two, at least two."""
        wanted = max((self.nelem - 1) // self.ffactor + 1, 2)
        return 1 << (wanted - 1).bit_length()


def build_hash_file(pairs: Iterable[tuple[bytes, bytes]], parameters: HashParameters) -> bytes:
    """Return the file that results from putting pairs in order, never overwriting.

    A pair whose key exists is dropped, but looking for it may change the stale bytes of the file:
    pass every pair that the original program puts.

    Raises:
        FormatError: the pairs need more buckets or overflow pages than the format has.
    """
    builder = _Builder(parameters)
    for key, data in pairs:
        builder.put(key, data)
    return builder.to_bytes()


class _Builder:
    __slots__ = ("_high_mask", "_keys", "_low_mask", "_max_bucket", "_parameters", "_table")

    def __init__(self, parameters: HashParameters) -> None:
        self._parameters = parameters
        self._table = PageTable(
            bsize=parameters.bsize,
            buckets=parameters.buckets,
            ffactor=parameters.ffactor,
            lorder=parameters.lorder,
            cachesize=parameters.cachesize,
        )
        self._keys: set[bytes] = set()
        self._max_bucket = self._low_mask = parameters.buckets - 1
        self._high_mask = 2 * parameters.buckets - 1

    def put(self, key: bytes, data: bytes) -> None:
        """Store a pair unless the key exists."""
        first = self._table.bucket(self._bucket_of(key))
        first.is_pinned = True
        last = self._find_end(first, key)
        if last is not None:
            has_overflowed = self._append(last, key, data)
            self._keys.add(key)
            per_bucket = len(self._keys) // (self._max_bucket + 1)
            if has_overflowed or per_bucket > self._table.ffactor:
                self._expand()
        first.is_pinned = False

    def to_bytes(self) -> bytes:
        """Return the file."""
        space, pool = self._table.space, self._table.pool
        pool.flush()
        pages = pool.written | space.bitmap_pages(self._parameters.lorder)
        header = self._header().to_bytes()
        bsize = self._parameters.bsize
        result = bytearray((max(pages) + 1) * bsize)
        result[: len(header)] = header
        for number, page in pages.items():
            result[number * bsize : (number + 1) * bsize] = page
        return bytes(result)

    def _header(self) -> HashHeader:
        space = self._table.space
        return HashHeader(
            lorder=self._parameters.lorder,
            bsize=self._parameters.bsize,
            ovfl_point=space.point,
            last_freed=space.last_freed,
            max_bucket=self._max_bucket,
            high_mask=self._high_mask,
            low_mask=self._low_mask,
            ffactor=self._table.ffactor,
            nkeys=len(self._keys),
            spares=tuple(space.spares),
            bitmaps=(*space.addresses, *[0] * (32 - len(space.addresses))),
        )

    def _bucket_of(self, key: bytes) -> int:
        bucket = hash4(key) & self._high_mask
        return bucket if bucket <= self._max_bucket else bucket & self._low_mask

    def _find_end(self, buffer: PageBuffer, key: bytes) -> PageBuffer | None:
        """Return the last page of a chain, or nothing if the key is found on the way.

        Every page on the way is asked of the pool, for the order of use. The keys on an ordinary
        page need comparing only if the key is known to be somewhere.
        """
        is_known = key in self._keys
        while True:
            if buffer.holds_big:
                if match_big(self._table, buffer, key):
                    return None
                last = last_page(self._table, buffer)
                following = page_after_big(self._table, last)
                if following is None:
                    return last
                buffer = following
                continue
            if is_known and buffer.has_key(key):
                return None
            link = buffer.link
            if not link:
                return buffer
            buffer = self._table.follow(buffer, link)

    def _append(self, last: PageBuffer, key: bytes, data: bytes) -> bool:
        """Append a pair to a chain; return whether it got an overflow page."""
        if last.append(key, data):
            return False
        added = self._table.add_overflow(last)
        if not added.append(key, data):
            if not data:
                raise ValueError("a big pair without data has no defined form")
            insert_big(self._table, added, key, data)
        return True

    def _expand(self) -> None:
        """Add a bucket and split the one that held its keys."""
        number = self._max_bucket + 1
        if number == MAX_BUCKETS:
            raise FormatError(f"hash file: got more than {MAX_BUCKETS} buckets")
        old_number = number & self._low_mask
        self._max_bucket = number
        self._table.space.grow(number)
        if number > self._high_mask:
            self._low_mask = self._high_mask
            self._high_mask = number | self._low_mask
        old, new = self._table.bucket(old_number), self._table.bucket(number)
        for buffer in (old, new):
            buffer.is_modified = buffer.is_pinned = True
        split_bucket(self._table, old, new, lambda key: self._bucket_of(key) != old_number)
        old.is_pinned = new.is_pinned = False
