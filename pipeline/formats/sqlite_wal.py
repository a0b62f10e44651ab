"""SQLite's write-ahead log: a database and its log in, the database that both mean out.

Specification: https://www.sqlite.org/fileformat2.html, section 4 ("The Write-Ahead Log"). The
result is what a reader through SQLite would see. Refused, where SQLite passes over it in silence:
a log that is damaged or ends within a change (docs/format/normalisation.md, N22).
"""

from __future__ import annotations

import struct
from typing import Final

from pipeline.errors import DatabaseError

_HEADER: Final = struct.Struct(">8I")
"""Magic, version, page size, sequence, two salts, two checksums."""
_FRAME: Final = struct.Struct(">6I")
"""Page, pages of the database after a commit (or 0), two salts, two checksums."""
_ORDERS: Final = {0x377F0682: "<", 0x377F0683: ">"}
"""Magic to the order of bytes in the words that the checksums add up."""
_VERSION: Final = 3_007_000
_SUMMED_HEADER: Final = 24
_SUMMED_FRAME: Final = 8
_SALTS: Final = slice(8, 16)
_HEADER_SALTS: Final = slice(16, 24)
_PAGE_SIZES: Final = frozenset(1 << n for n in range(9, 17))
_PAGE_SIZE: Final = slice(16, 18)
_MAX_SIZE: Final = 1 << 30
"""Bytes of a database; a log of a few frames cannot make us build a larger one."""

HINT: Final = "let pkg finish it (pkg shell 'PRAGMA wal_checkpoint(TRUNCATE)') and try again"


def is_empty_wal(wal: bytes) -> bool:
    """Say whether a log has no frame: it is no longer than its header."""
    return len(wal) <= _HEADER.size


def fold_wal(raw: bytes, wal: bytes) -> bytes:
    """Return the database with everything that its log has committed.

    Args:
        raw: the database file.
        wal: the file `-wal` beside it; empty if there is none.

    Raises:
        DatabaseError: the log is damaged, of another database, or ends within a change.
    """
    if is_empty_wal(wal):
        return raw
    page_size = _check_header(wal)
    own = int.from_bytes(raw[_PAGE_SIZE], "big")
    if page_size != (1 << 16 if own == 1 else own):
        raise DatabaseError(
            f"a write-ahead log with pages of {page_size} bytes beside a database of {own}"
        )
    pages, count = _committed(wal, page_size)
    if not pages:
        return raw
    if count * page_size > _MAX_SIZE:
        raise DatabaseError(f"the write-ahead log promises {count} pages of {page_size} bytes")
    folded = bytearray(raw[: count * page_size])
    folded += bytes(count * page_size - len(folded))
    for page, offset in pages.items():
        if page <= count:
            folded[(page - 1) * page_size : page * page_size] = wal[offset : offset + page_size]
    return bytes(folded)


def _check_header(wal: bytes) -> int:
    """Check the log's header; return the size of its pages."""
    magic, version, page_size, *_ = _HEADER.unpack_from(wal)
    if magic not in _ORDERS or version != _VERSION or page_size not in _PAGE_SIZES:
        raise DatabaseError(f"got a write-ahead log that begins with {wal[:12].hex()}", hint=HINT)
    if _header_sums(wal) != _HEADER.unpack_from(wal)[6:]:
        raise DatabaseError("the header of the write-ahead log is damaged", hint=HINT)
    return int(page_size)


def _header_sums(wal: bytes) -> tuple[int, int]:
    order = _ORDERS[_HEADER.unpack_from(wal)[0]]
    return _add((0, 0), wal[:_SUMMED_HEADER], order)


def _add(sums: tuple[int, int], data: bytes, order: str) -> tuple[int, int]:
    """Add data to the checksums (section 4.2)."""
    first, second = sums
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for word in words:
        first = (first + word + second) & 0xFFFFFFFF
        second = (second + next(words) + first) & 0xFFFFFFFF
    return first, second


def _committed(wal: bytes, page_size: int) -> tuple[dict[int, int], int]:
    """Return the offset of each page's last version, and the number of pages of the database.

    Frames with other salts are of an earlier generation: the database has them already.
    """
    order = _ORDERS[_HEADER.unpack_from(wal)[0]]
    sums = _header_sums(wal)
    pages: dict[int, int] = {}
    count = after = 0
    is_open = False
    for offset in range(_HEADER.size, len(wal), _FRAME.size + page_size):
        frame = memoryview(wal)[offset : offset + _FRAME.size + page_size]
        is_open = len(frame) < _FRAME.size or frame[_SALTS] == wal[_HEADER_SALTS]
        if not is_open:
            break
        if len(frame) < _FRAME.size + page_size:
            break
        sums = _add(sums, bytes(frame[:_SUMMED_FRAME]), order)
        sums = _add(sums, bytes(frame[_FRAME.size :]), order)
        page, after, _, _, *recorded = _FRAME.unpack_from(frame)
        if sums != tuple(recorded) or page == 0:
            break
        pages[page] = offset + _FRAME.size
        count = after or count
        is_open = after == 0
    if is_open:
        raise DatabaseError(
            "the write-ahead log ends within a change, or is damaged there", hint=HINT
        )
    return pages, count
