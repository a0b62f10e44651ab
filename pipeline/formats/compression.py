"""Compression with pinned bytes.

Rules (docs/FORMAT.md, section Compression):

1. zstd: one frame with content size, no checksum; multi-threaded mode with at least one worker, so
   that job boundaries, and with them the bytes, do not depend on the number of cores; job size
   `ZSTD_JOB_SIZE`; window and strategy as the level sets them.
2. gzip: members of `GZIP_MEMBER` bytes of input each (RFC 1952, section 2.2), header without name,
   time 0, OS 255; deflate data from libdeflate. An empty input is one empty member.
3. Threads are as many as were asked for, but no more than fit into `MEMORY`.
4. The library versions in `ZSTD_VERSION` and `GZIP_ENCODER` are part of output format 1.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Protocol

import deflate
import zstandard

from pipeline.formats.algorithm import (
    GZIP_ENCODER,
    GZIP_MEMBER,
    ZSTD_JOB_SIZE,
    ZSTD_VERSION,
    Algorithm,
)

if TYPE_CHECKING:
    from pipeline.formats.digest import Sink


MEMORY: Final = 128 << 20
"""Bytes that the threads of one compressor may use together, about."""


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
            self._emit(
                [rest[i : i + GZIP_MEMBER] for i in range(0, max(len(rest), 1), GZIP_MEMBER)]
            )
        self._pool.shutdown()


class _StoreWriter:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, data: bytes, /) -> None:
        self._sink.write(data)

    def close(self) -> None:
        pass


def zstd_memory(level: int) -> int:
    """Return the bytes that one thread of zstd needs at a level: its tables, a job in and out."""
    alone = zstandard.ZstdCompressionParameters.from_level(level)
    return int(alone.estimated_compression_context_size()) + 2 * ZSTD_JOB_SIZE


def _fitting(workers: int, memory: int) -> int:
    return max(1, min(workers, MEMORY // memory))


def open_compressor(
    sink: Sink, algorithm: Algorithm, *, level: int, workers: int, size: int
) -> Compressor:
    """Return a compressor that writes to `sink`.

    Args:
        sink: takes the compressed bytes.
        algorithm: zstd, gzip or none.
        level: as the algorithm counts; see `LEVELS`.
        workers: threads at the most (rule 3); the bytes do not depend on it.
        size: bytes that will be written, exactly.
    """
    if algorithm is Algorithm.ZSTD:
        return _ZstdWriter(sink, level, _fitting(workers, zstd_memory(level)), size)
    if algorithm is Algorithm.GZIP:
        return _GzipWriter(sink, level, _fitting(workers, 16 * GZIP_MEMBER))
    if algorithm is Algorithm.NONE:
        return _StoreWriter(sink)
    raise ValueError(f"layers are not written as {algorithm}")


def encoder_versions() -> dict[str, str]:
    """Name the encoders that are installed, as recorded in provenance."""
    return {
        "gzip": f"deflate {deflate.__version__}",
        "zstd": "zstd " + ".".join(map(str, zstandard.ZSTD_VERSION)),
    }


def unpinned_encoder(algorithm: Algorithm) -> str | None:
    """Return a sentence if this machine's encoder is not that of the output format, else None."""
    installed = encoder_versions()
    if algorithm is Algorithm.ZSTD and zstandard.ZSTD_VERSION != ZSTD_VERSION:
        want = ".".join(map(str, ZSTD_VERSION))
        return f"got {installed['zstd']}, want zstd {want}: layer digests may differ from others'"
    if algorithm is Algorithm.GZIP and installed["gzip"] != GZIP_ENCODER:
        return (
            f"got {installed['gzip']}, want {GZIP_ENCODER}: layer digests may differ from others'"
        )
    return None
