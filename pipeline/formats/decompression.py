"""Decompression in bounded memory and to a bounded size.

zstd, xz, gzip, bzip2 and none, told apart by their magic as libarchive does. A stream must be whole
(a truncated frame is an error even if all data came out) and nothing may follow it but further
frames of the same kind. RFC 8878 (zstd) section 3.1.1 describes the walk of `_check_zstd_frames`.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import TYPE_CHECKING, Final, Protocol

import zstandard

from pipeline.errors import ArchiveError, TooLargeError
from pipeline.formats.algorithm import MAGIC, Algorithm, detect
from pipeline.formats.digest import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from pipeline.formats.digest import Source

_MAX_WINDOW: Final = 1 << 27
_XZ_MEMORY: Final = 192 << 20
_RATIO: Final = 256
_SMALL: Final = 64 << 20
_LARGEST: Final = 16 << 30


def expansion_limit(compressed_size: int) -> int:
    """Return how many bytes an archive of this size may expand to before it counts as a bomb."""
    return min(_SMALL + _RATIO * compressed_size, _LARGEST)


class _Decompressor(Protocol):
    """What lzma and bz2 give, and `_Zlib` below imitates."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, /, max_length: int = -1) -> bytes: ...


class _Zlib:
    """zlib's decompressor for one gzip member, with the interface of lzma's."""

    def __init__(self) -> None:
        self._state = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._state.eof

    @property
    def unused_data(self) -> bytes:
        return self._state.unused_data

    def decompress(self, data: bytes, /, max_length: int = -1) -> bytes:
        out = self._state.decompress(self._state.unconsumed_tail + data, max(max_length, 0))
        self.needs_input = not self._state.unconsumed_tail
        return out


class _Bounded:
    """Count what comes out of a source and stop at the limit."""

    def __init__(self, source: Source, limit: int, what: str) -> None:
        self._source = source
        self._left = limit
        self._limit = limit
        self._what = what

    def read(self, size: int, /) -> bytes:
        data = self._source.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise TooLargeError(f"{self._what}, decompressed", self._limit)
        return data


class _Frames:
    """Concatenated frames of xz, gzip or bzip2, decompressed in bounded memory."""

    def __init__(self, source: Source, start: Callable[[], _Decompressor], name: str) -> None:
        self._source = source
        self._start = start
        self._name = name
        self._state: _Decompressor | None = start()
        self._input = b""

    def read(self, size: int, /) -> bytes:
        pieces = []
        wanted = size
        while wanted and self._state is not None:
            piece = self._step(self._state, wanted)
            pieces.append(piece)
            wanted -= len(piece)
        return b"".join(pieces)

    def _step(self, state: _Decompressor, wanted: int) -> bytes:
        if state.eof:
            self._next_frame(state)
            return b""
        if state.needs_input and not self._input:
            self._input = self._source.read(CHUNK)
            if not self._input:
                raise ArchiveError(f"truncated {self._name} stream")
        data, self._input = self._input, b""
        try:
            return state.decompress(data, wanted)
        except (lzma.LZMAError, OSError, ValueError, zlib.error, EOFError) as e:
            raise ArchiveError(f"damaged {self._name} stream: {e}") from None

    def _next_frame(self, state: _Decompressor) -> None:
        rest = state.unused_data + self._input
        while len(rest) < MAGIC and (more := self._source.read(CHUNK)):
            rest += more
        self._input = rest
        if not rest:
            self._state = None
        elif detect(rest[:MAGIC]).value == self._name:
            self._state = self._start()
        else:
            raise ArchiveError(f"garbage after the {self._name} stream")


class _Zstd:
    """zstandard's stream reader with our errors."""

    def __init__(self, source: BinaryIO) -> None:
        context = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
        self._reader = context.stream_reader(source, read_across_frames=True, closefd=False)

    def read(self, size: int, /) -> bytes:
        try:
            return self._reader.read(size)
        except zstandard.ZstdError as e:
            raise ArchiveError(f"damaged zstd stream: {e}") from None


def _check_zstd_frames(source: BinaryIO) -> None:
    """Walk the frame and block headers to the end of the file: whole frames, nothing else.

    libzstd's streaming interface, as the Python binding shows it, cannot tell a frame that is cut
    short from one that is complete.
    """
    source.seek(0)
    while magic := source.read(4):
        if magic[1:] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50:  # noqa: PLR2004
            _advance(source, int.from_bytes(_take(source, 4), "little"))
        elif magic == b"\x28\xb5\x2f\xfd":
            _walk_frame(source)
        else:
            raise ArchiveError("garbage after the zstd stream")
    source.seek(0)


def _walk_frame(source: BinaryIO) -> None:
    descriptor = _take(source, 1)[0]
    single_segment = bool(descriptor & 0x20)
    size_code = descriptor >> 6
    size_bytes = (1 if single_segment else 0, 2, 4, 8)[size_code]
    dictionary = (0, 1, 2, 4)[descriptor & 3]
    _advance(source, (0 if single_segment else 1) + dictionary + size_bytes)
    last = False
    while not last:
        block = int.from_bytes(_take(source, 3), "little")
        last = bool(block & 1)
        kind = block >> 1 & 3
        _advance(source, 1 if kind == 1 else block >> 3)
    if descriptor & 0x04:
        _advance(source, 4)


def _take(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) != size:
        raise ArchiveError("truncated zstd stream")
    return data


def _advance(source: BinaryIO, size: int) -> None:
    if size:
        source.seek(size - 1, 1)
        _take(source, 1)


def open_decompressed(source: BinaryIO, *, limit: int, what: str) -> Source:
    """Return a stream of the decompressed content of a seekable file.

    Args:
        source: positioned anywhere; read from its start.
        limit: bytes of output after which reading raises TooLargeError.
        what: name for error messages.

    Raises:
        ArchiveError: the stream is damaged, truncated, or followed by something else.
    """
    source.seek(0)
    algorithm = detect(source.read(MAGIC))
    source.seek(0)
    inner: Source
    if algorithm is Algorithm.ZSTD:
        _check_zstd_frames(source)
        inner = _Zstd(source)
    elif algorithm is Algorithm.XZ:
        inner = _Frames(
            source, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY), "xz"
        )
    elif algorithm is Algorithm.GZIP:
        inner = _Frames(source, _Zlib, "gzip")
    elif algorithm is Algorithm.BZIP2:
        inner = _Frames(source, bz2.BZ2Decompressor, "bzip2")
    else:
        inner = source
    return _Bounded(inner, limit, what)
