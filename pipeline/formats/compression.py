"""Compression: readers with bounds, writers with pinned bytes.

Reading: zstd, xz, gzip, bzip2 and none, told apart by their magic as libarchive does. A stream must
be whole (a truncated frame is an error even if all data came out) and nothing may follow it but
further frames of the same kind. Output is bounded by the caller.

Writing (docs/FORMAT.md, section Compression):

1. zstd: one frame with content size, no checksum; multi-threaded mode with at least one worker, so
   that job boundaries, and with them the bytes, do not depend on the number of cores; job size
   `ZSTD_JOB_SIZE`; window and strategy as the level sets them.
2. gzip: members of `GZIP_MEMBER` bytes of input each (RFC 1952, section 2.2), header without name,
   time 0, OS 255; deflate data from libdeflate. An empty input is one empty member.
3. The library versions in `ZSTD_VERSION` and `GZIP_ENCODER` are part of output format 1.

RFC 8878 (zstd) section 3.1.1 describes the frame walk of `_check_zstd_frames`.
"""

from __future__ import annotations

import bz2
import enum
import lzma
import zlib
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import TYPE_CHECKING, Final, Protocol

import deflate
import zstandard

from pipeline.errors import ArchiveError, TooLargeError
from pipeline.formats.digest import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from pipeline.formats.digest import Sink, Source

ZSTD_VERSION: Final = (1, 5, 7)
"""libzstd of output format 1."""
GZIP_ENCODER: Final = "deflate 0.9.0"
"""The Python binding whose bundled libdeflate is that of output format 1."""

ZSTD_JOB_SIZE: Final = 4 << 20
GZIP_MEMBER: Final = 1 << 20

_MAX_WINDOW: Final = 1 << 27
_XZ_MEMORY: Final = 192 << 20
_RATIO: Final = 256
_SMALL: Final = 64 << 20
_LARGEST: Final = 16 << 30


class Algorithm(enum.StrEnum):
    """How a stream is compressed; values as images.toml spells them."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    XZ = "xz"
    BZIP2 = "bzip2"


def detect(head: bytes) -> Algorithm:
    """Tell the algorithm from the first six bytes."""
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return Algorithm.ZSTD
    if head.startswith(b"\xfd7zXZ\x00"):
        return Algorithm.XZ
    if head.startswith(b"\x1f\x8b"):
        return Algorithm.GZIP
    if head.startswith(b"BZh"):
        return Algorithm.BZIP2
    return Algorithm.NONE


def expansion_limit(compressed_size: int) -> int:
    """Return how many bytes an archive of this size may expand to before it counts as a bomb."""
    return min(_SMALL + _RATIO * compressed_size, _LARGEST)


# ---------------------------------------------------------------- reading


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
        rest = state.unused_data + self._input or self._source.read(CHUNK)
        self._input = rest
        if not rest:
            self._state = None
        elif detect(rest[:6].ljust(6, b"\0")).value == self._name:
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
    algorithm = detect(source.read(6))
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


# ---------------------------------------------------------------- writing


class Compressor(Protocol):
    """A sink that compresses into another sink."""

    def write(self, data: bytes, /) -> object:
        """Take content."""

    def close(self) -> None:
        """Write what is left; the sink below stays open."""


class _ZstdWriter:
    def __init__(self, sink: Sink, level: int, workers: int, size: int) -> None:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level, threads=workers, job_size=ZSTD_JOB_SIZE, write_content_size=1
        )
        context = zstandard.ZstdCompressor(compression_params=parameters)
        self._state = context.compressobj(size=size)
        self._sink = sink

    def write(self, data: bytes, /) -> None:
        out = self._state.compress(data)
        if out:
            self._sink.write(out)

    def close(self) -> None:
        self._sink.write(self._state.flush())


class _GzipWriter:
    """Independent members, so that all cores can work and the bytes stay the same."""

    def __init__(self, sink: Sink, level: int, workers: int) -> None:
        self._sink = sink
        self._level = level
        self._pool = ThreadPoolExecutor(workers)
        self._batch = 2 * workers
        self._buffer = bytearray()
        self._members = 0

    def _member(self, data: bytes) -> bytes:
        return bytes(deflate.gzip_compress(data, self._level))

    def _emit(self, members: list[bytes]) -> None:
        self._members += len(members)
        for compressed in self._pool.map(self._member, members):
            self._sink.write(compressed)

    def write(self, data: bytes, /) -> None:
        self._buffer += data
        count = len(self._buffer) // GZIP_MEMBER
        if count >= self._batch:
            view = bytes(self._buffer[: count * GZIP_MEMBER])
            del self._buffer[: count * GZIP_MEMBER]
            self._emit([view[i : i + GZIP_MEMBER] for i in range(0, len(view), GZIP_MEMBER)])

    def close(self) -> None:
        rest = bytes(self._buffer)
        if rest or not self._members:
            self._emit([rest[i : i + GZIP_MEMBER] for i in range(0, max(len(rest), 1), GZIP_MEMBER)])
        self._pool.shutdown()


class _StoreWriter:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, data: bytes, /) -> None:
        self._sink.write(data)

    def close(self) -> None:
        pass


def open_compressor(
    sink: Sink, algorithm: Algorithm, *, level: int, workers: int, size: int
) -> Compressor:
    """Return a compressor that writes to `sink`.

    Args:
        sink: takes the compressed bytes.
        algorithm: zstd, gzip or none.
        level: as the algorithm counts; see `LEVELS`.
        workers: threads; the bytes do not depend on it.
        size: bytes that will be written, exactly.
    """
    if algorithm is Algorithm.ZSTD:
        return _ZstdWriter(sink, level, max(workers, 1), size)
    if algorithm is Algorithm.GZIP:
        return _GzipWriter(sink, level, max(workers, 1))
    if algorithm is Algorithm.NONE:
        return _StoreWriter(sink)
    raise ValueError(f"layers are not written as {algorithm}")


LEVELS: Final = {Algorithm.ZSTD: (1, 19), Algorithm.GZIP: (1, 12), Algorithm.NONE: (0, 0)}
"""Lowest and highest level that a declaration may ask for."""


def encoder_versions() -> dict[str, str]:
    """Name the encoders that are installed, as recorded in provenance."""
    return {
        "gzip": f"deflate {metadata.version('deflate')}",
        "zstd": "zstd " + ".".join(map(str, zstandard.ZSTD_VERSION)),
    }


def unpinned_encoder(algorithm: Algorithm) -> str | None:
    """Return a sentence if this machine's encoder is not that of the output format, else None."""
    installed = encoder_versions()
    if algorithm is Algorithm.ZSTD and zstandard.ZSTD_VERSION != ZSTD_VERSION:
        want = ".".join(map(str, ZSTD_VERSION))
        return f"got {installed['zstd']}, want zstd {want}: layer digests may differ from others'"
    if algorithm is Algorithm.GZIP and installed["gzip"] != GZIP_ENCODER:
        return f"got {installed['gzip']}, want {GZIP_ENCODER}: layer digests may differ from others'"
    return None
