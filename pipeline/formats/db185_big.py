"""Pairs that do not fit a page of a Berkeley DB 1.85 hash file.

Specification: FreeBSD `lib/libc/db/hash/hash_bigkey.c`. A big pair has overflow pages of its own.
The second word of each is a tag, the first the offset of its part of the key, or of the data:

    PARTIAL_KEY    the key goes on on the next page
    FULL_KEY       the key ends here, the data begins on the next page (or goes on there)
    FULL_KEY_DATA  key or data end here; with a fourth word, data of its own begins there

A page that holds the whole data after the end of the key keeps a free byte, which tells it from one
whose data goes on. An ordinary page of the same bucket may follow the last page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pipeline.formats.db185_page import PageBuffer
    from pipeline.formats.db185_table import PageTable

PARTIAL_KEY: Final = 1
FULL_KEY: Final = 2
FULL_KEY_DATA: Final = 3

_OVERHEAD: Final = 8
"""The words of a part and of the link that may follow it."""
_UNLINKED: Final = 2
"""Word 0 of a page that links to no other; 4 with a link."""


def insert_big(table: PageTable, buffer: PageBuffer, key: bytes, data: bytes) -> None:
    """Write a pair on the empty overflow page `buffer` and pages after it."""
    # Views: the rest of a long pair is not copied for each page.
    buffer, rest = _insert_key(table, buffer, memoryview(key), memoryview(data))
    while rest:
        space = buffer.space()[0] - _OVERHEAD
        size = min(space, len(rest))
        if space == len(rest) == len(data):
            size -= 1
        part, rest = rest[:size], rest[size:]
        _put_part(buffer, part, FULL_KEY if rest else FULL_KEY_DATA)
        if rest:
            buffer = table.add_overflow(buffer)


def _insert_key(
    table: PageTable, buffer: PageBuffer, key: memoryview, data: memoryview
) -> tuple[PageBuffer, memoryview]:
    """Write the key; return the page after it and the data that did not go on its last page."""
    while True:
        space = buffer.space()[0] - _OVERHEAD
        part, key = key[:space], key[space:]
        _put_part(buffer, part, PARTIAL_KEY)
        added = table.add_overflow(buffer)
        if not key:
            break
        buffer = added
    free, offset = buffer.space()
    if not free or free == len(data):
        buffer.set_pair(1, buffer.word(1), FULL_KEY)
        return added, data
    part, data = data[:free], data[free:]
    start = offset - len(part)
    buffer.page[start:offset] = part
    buffer.set_pair(1, buffer.word(1), FULL_KEY_DATA)
    buffer.set_pair(3, buffer.word(3), start)
    buffer.close_words(4, start, free - len(part))
    return added, data


def _put_part(buffer: PageBuffer, part: memoryview, tag: int) -> None:
    end = len(buffer.page)
    start = end - len(part)
    buffer.page[start:end] = part
    buffer.set_pair(1, start, tag)
    buffer.close_words(_UNLINKED, start, start - 10)
    buffer.is_modified = True


def match_big(table: PageTable, buffer: PageBuffer, key: bytes) -> bool:
    """Say whether the big pair that begins on a page has this key."""
    rest = key
    while True:
        part = bytes(buffer.page[buffer.word(1) :])
        if buffer.word(2) != PARTIAL_KEY or len(part) > len(rest):
            return part == rest
        if not rest.startswith(part):
            return False
        rest = rest[len(part) :]
        buffer = table.follow(buffer, buffer.word(3))


def page_after_big(table: PageTable, last: PageBuffer) -> PageBuffer | None:
    """Return the page that follows the last page of a big pair."""
    return table.follow(last, last.word(3)) if last.count > _UNLINKED else None


def last_page(table: PageTable, buffer: PageBuffer) -> PageBuffer:
    """Return the last page of the big pair that begins on a page."""
    while not _is_last(buffer):
        buffer = table.follow(buffer, buffer.word(buffer.count - 1))
    return buffer


def _is_last(buffer: PageBuffer) -> bool:
    count = buffer.count
    return buffer.word(2) == FULL_KEY_DATA and (
        count == _UNLINKED or not buffer.word(count) or bool(buffer.word(count + 1))
    )


def read_big_key(table: PageTable, buffer: PageBuffer) -> bytes:
    """Return the key of the big pair that begins on a page.

    The original reads the data too: that changes the order of use of the buffers.
    """
    parts = [bytes(buffer.page[buffer.word(1) :])]
    while buffer.word(2) == PARTIAL_KEY:
        buffer = table.follow(buffer, buffer.word(3))
        parts.append(bytes(buffer.page[buffer.word(1) :]))
    last_page(table, buffer)
    return b"".join(parts)


def relink_big(
    table: PageTable, first: PageBuffer, target: PageBuffer
) -> tuple[PageBuffer, PageBuffer | None]:
    """Hang a big pair behind `target`.

    Returns:
        The page that takes what comes next, and the page that followed the pair in its old chain.
    """
    last = last_page(table, first)
    following = page_after_big(table, last)
    target.append_link(first.address)
    target.following = first
    last.is_modified = True
    if following is None:
        return last, None
    # The old link goes, and a fresh page takes its place so that the pair ends a chain again.
    second = last.word(4)
    free, offset = last.space()
    last.close_words(_UNLINKED, offset, free + 4)
    added = table.add_overflow(last)
    last.set_pair(3, last.word(3), second)
    return added, following
